/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <vbmq:domain>: what is accepted is written and read back to the same bytes. */
#include <libxml/parser.h>
#include <string.h>

#include "codec/metadata.h"
#include "fuzz.h"
#include "util/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL, *again = NULL;
	struct vbmq_wish wish = VBMQ_WISH_INIT, back = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	r = vbmq_metadata_parse("fuzz.xml", (const char *)data, size, &wish, &err);
	fuzz_check_err(r, &err);
	if (r < 0)
		return 0;
	FUZZ_ASSERT(wish.present && wish.n_disks <= VBMQ_DISKS_MAX);
	FUZZ_ASSERT(vbmq_metadata_format(&wish, &text, &err) == 0);
	FUZZ_ASSERT(vbmq_metadata_parse("again.xml", text, strlen(text), &back, &err) == 0);
	FUZZ_ASSERT(vbmq_metadata_format(&back, &again, &err) == 0);
	FUZZ_ASSERT(strcmp(text, again) == 0);
	FUZZ_ASSERT(back.n_disks == wish.n_disks && back.priority == wish.priority && back.iothreads == wish.iothreads);
	vbmq_wish_done(&back);
	vbmq_wish_done(&wish);
	return 0;
}
