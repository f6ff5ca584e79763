/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All of the canonical snapshot counts, also what looks volatile: thread ids and start times tell that a domain is not the
 * instance that was planned for, affinities that somebody moved a thread, "started" that a queue is not served by its
 * thread yet. None of it changes while nothing happens to the host, and a plan made before any of it must not be applied
 * after. What does change by itself (load, counters, the poll time of the moment) is not in the snapshot at all, but for one
 * thing: where the disks' interrupts come, as long as irqbalance moves them about. That does not count; a step that moves one
 * is right wherever it was.
 */

#include "codec/plan_id.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/cleanup.h"
#include "util/sha256.h"

int vbmq_plan_id(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, char ret[VBMQ_PLAN_ID_LEN + 1],
		 struct vbmq_err *err)
{
	_cleanup_free_ char *snapshot_text = NULL, *policy_text = NULL;
	struct vbmq_json_writer w = { .err = err };
	struct vbmq_sha256 sum;
	uint8_t digest[32];
	int r;

	r = vbmq_json_print(&w, vbmq_json_irqs_steady(vbmq_json_snapshot_new(&w, snapshot, false)), VBMQ_JSON_CANONICAL,
			    0, &snapshot_text);
	if (r < 0)
		return r;
	r = vbmq_json_print(&w, vbmq_json_policy_new(&w, policy), VBMQ_JSON_CANONICAL, 0, &policy_text);
	if (r < 0)
		return r;
	vbmq_sha256_init(&sum);
	vbmq_sha256_add(&sum, snapshot_text, strlen(snapshot_text));
	vbmq_sha256_add(&sum, "\n", 1);
	vbmq_sha256_add(&sum, policy_text, strlen(policy_text));
	vbmq_sha256_end(&sum, digest);
	vbmq_sha256_hex(digest, VBMQ_PLAN_ID_LEN, ret);
	return 0;
}

void vbmq_plan_id_rebalance(const char *id, uint32_t max_moves, char ret[VBMQ_PLAN_ID_LEN + 1])
{
	uint8_t moves[4] = { (uint8_t)(max_moves >> 24), (uint8_t)(max_moves >> 16), (uint8_t)(max_moves >> 8),
			     (uint8_t)max_moves };
	struct vbmq_sha256 sum;
	uint8_t digest[32];

	vbmq_sha256_init(&sum);
	vbmq_sha256_add(&sum, "rebalance\n", 10);
	vbmq_sha256_add(&sum, moves, sizeof(moves));
	vbmq_sha256_add(&sum, id, strlen(id));
	vbmq_sha256_end(&sum, digest);
	vbmq_sha256_hex(digest, VBMQ_PLAN_ID_LEN, ret);
}
