/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Moving the queues of a disk: what is said to QEMU's monitor, and what is made of its answers. The monitor is played. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/err.h"
#include "virt/act_libvirt.h"
#include "virt/private.h"
#include "virt/read.h"

#define DONE "{\"return\":{},\"id\":\"libvirt-1\"}"
#define DRAINED "{\"error\":{\"class\":\"GenericError\",\"desc\":\"device is being drained, try again\"}}"
#define STATS "\"stats\":{\"kicks\":0,\"poll-hits\":0,\"interrupts\":0,\"completed\":0,\"in-flight\":0,\"parked\":0}"

static char uri[4096];
static struct vbmq_virt *v;
static struct vbmq_domain *domain;
static struct vbmq_actuator actuator;

/* The monitor: answers n_busy times that the disk is drained, then with reply. */
static unsigned n_busy, n_asked;
static const char *reply;
static char asked[1024];

int __wrap_virDomainQemuMonitorCommand(virDomainPtr dom, const char *cmd, char **result, unsigned int flags);
int __wrap_virDomainQemuMonitorCommand(virDomainPtr dom, const char *cmd, char **result, unsigned int flags)
{
	(void)dom;
	(void)flags;
	snprintf(asked, sizeof(asked), "%s", cmd);
	*result = strdup(n_asked++ < n_busy ? DRAINED : reply);
	return *result ? 0 : -1;
}

static int setup(void **state)
{
	static struct vbmq_task_ops none;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_virt_open(uri, false, NULL, NULL, &v, &err) < 0 ||
	    vbmq_virt_read_domain(v, "db1", &domain, NULL, &err) < 0)
		fail_msg("%s", err.text);
	domain->caps.bits = VBMQ_CAP_PIN | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_PLACEMENT;
	domain->disks[0].alias = strdup("virtio-disk0");
	vbmq_act_libvirt(v, &none, &actuator);
	n_busy = n_asked = 0;
	reply = DONE;
	asked[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	domain = vbmq_domain_free(domain);
	v = vbmq_virt_close(v);
	return 0;
}

static int map(const uint32_t *ids, size_t n, struct vbmq_err *err)
{
	uint32_t copy[8];
	struct vbmq_step step = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda", .map = copy, .n_map = n };

	memcpy(copy, ids, n * sizeof(*ids));
	return actuator.ops->execute(actuator.ctx, domain, NULL, &step, err);
}

static void test_what_is_said(void **state)
{
	static const uint32_t spread[] = { 2, 1, 2, 1 }, to_main[] = { 0, 0, 0, 0 }, mixed[] = { 0, 1, 1, 1 };
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(map(spread, 4, &err), 0);
	assert_string_equal(
		asked, "{\"execute\":\"virtio-blk-set-iothread-vq-mapping\",\"arguments\":{\"id\":\"virtio-disk0\","
		       "\"mapping\":[{\"iothread\":\"iothread2\",\"vqs\":[0,2]},"
		       "{\"iothread\":\"iothread1\",\"vqs\":[1,3]}]}}");
	assert_int_equal(map(to_main, 4, &err), 0);
	assert_string_equal(asked, "{\"execute\":\"virtio-blk-set-iothread-vq-mapping\","
				   "\"arguments\":{\"id\":\"virtio-disk0\"}}");
	assert_int_equal(n_asked, 2);
	assert_int_equal(map(mixed, 4, &err), -EINVAL);
	assert_int_equal(map(mixed, 0, &err), -EINVAL);
	assert_int_equal(n_asked, 2);
}

/* A disk that is being drained is tried again, some times; never anything else is tried. */
static void test_drained(void **state)
{
	static const uint32_t spread[] = { 1, 1, 2, 2 };
	struct vbmq_err err = VBMQ_ERR_INIT;

	n_busy = 3;
	assert_int_equal(map(spread, 4, &err), 0);
	assert_int_equal(n_asked, 4);
	assert_int_equal(err.code, 0);
	n_busy = UINT32_MAX;
	n_asked = 0;
	assert_int_equal(map(spread, 4, &err), -EBUSY);
	assert_in_range(n_asked, 4, 20);
	assert_non_null(strstr(err.text, "device is being drained, try again"));
	assert_null(strstr(strstr(err.text, "drained") + 1, "drained")); /* said once */
	assert_non_null(strstr(asked, "iothread2"));
}

static void test_refused(void **state)
{
	static const uint32_t spread[] = { 1, 1, 2, 2 };
	struct vbmq_err err = VBMQ_ERR_INIT;

	reply = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"ioeventfd is required for iothread\"}}";
	assert_int_equal(map(spread, 4, &err), -EREMOTEIO);
	assert_int_equal(n_asked, 1);
	assert_non_null(strstr(err.text, "ioeventfd is required"));
	domain->caps.bits = VBMQ_CAP_PIN;
	assert_int_equal(map(spread, 4, &err), -ENOTSUP);
	assert_int_equal(n_asked, 1);
}

static int look(struct vbmq_observed *seen, struct vbmq_err *err)
{
	uint32_t wanted[4] = { 0 };
	const struct vbmq_step step = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda", .map = wanted, .n_map = 4 };

	*seen = (struct vbmq_observed){ .exists = false };
	return actuator.ops->observe(actuator.ctx, domain, NULL, &step, seen, err);
}

/* Read back from where QEMU really has the queues. */
static void test_read_back(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_observed seen;

	reply = "{\"return\":[{\"qom-path\":\"/machine/peripheral/virtio-disk0/"
		"virtio-backend\",\"id\":\"virtio-disk0\","
		"\"type\":\"virtio-blk\",\"ioeventfd-started\":true,\"queues\":["
		"{\"queue\":0,\"iothread\":\"iothread2\",\"thread-id\":7," STATS "},{\"queue\":1,\"thread-id\":6," STATS
		"},{\"queue\":2,\"iothread\":\"foreign\",\"thread-id\":8," STATS
		"},{\"queue\":3,\"iothread\":\"iothread1\",\"thread-id\":9," STATS "}]}]}";
	assert_int_equal(look(&seen, &err), 0);
	assert_string_equal(asked, "{\"execute\":\"query-virtio-placement\"}");
	assert_int_equal(seen.n_map, 4);
	assert_int_equal(seen.map[0], 2);
	assert_int_equal(seen.map[1], 0);
	assert_int_equal(seen.map[2], UINT32_MAX);
	assert_int_equal(seen.map[3], 1);
	free(seen.map);
	reply = "{\"return\":[]}";
	assert_int_equal(look(&seen, &err), -ENODEV);

	domain->caps.bits &= ~(uint32_t)VBMQ_CAP_PLACEMENT;
	reply = "{\"return\":[{\"iothread\":\"iothread1\",\"vqs\":[0,1,2,3]}]}";
	assert_int_equal(look(&seen, &err), 0);
	assert_non_null(strstr(asked, "iothread-vq-mapping"));
	assert_int_equal(seen.map[3], 1);
	free(seen.map);
	reply = "{\"return\":[]}";
	assert_int_equal(look(&seen, &err), 0);
	assert_int_equal(seen.map[3], 0);
	free(seen.map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drained, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_back, setup, teardown),
	};

	snprintf(uri, sizeof(uri), "test://%s", getenv("VBMQ_TEST_NODE"));
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
