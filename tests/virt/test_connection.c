/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opening, listing, reading and defining on libvirt's test driver: every connection has its own copy of node.xml. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "virt/act_libvirt.h"
#include "virt/compat.h"
#include "virt/read.h"

#define DB1_UUID "6695eb01-f6a4-8304-79aa-97f2502e1931"
#define N_THREADS 8

static char uri[4096];

static struct vbmq_virt *open_node(bool read_only)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt *v = NULL;

	if (vbmq_virt_open(uri, read_only, NULL, NULL, &v, &err) < 0)
		fail_msg("%s", err.text);
	return v;
}

static int setup(void **state)
{
	*state = open_node(false);
	return 0;
}

static int teardown(void **state)
{
	*state = vbmq_virt_close(*state);
	return 0;
}

static void test_open_fails(void **state)
{
	static const struct {
		const char *uri;
		int code;
	} cases[] = {
		{ "qemu+unix:///system?socket=/nonexistent/sock", -ENOTCONN },
		{ "test:///nonexistent/node.xml", 0 },
		{ "nonsense:///system", 0 },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		struct vbmq_virt *v = NULL;
		int r = vbmq_virt_open(cases[i].uri, false, NULL, NULL, &v, &err);

		assert_true(r < 0);
		assert_null(v);
		assert_int_equal(err.code, r);
		assert_non_null(strstr(err.text, cases[i].uri));
		if (cases[i].code)
			assert_int_equal(r, cases[i].code);
	}
	assert_null(vbmq_virt_close(NULL));
}

static void test_list(void **state)
{
	struct vbmq_virt_name *names;
	size_t n;

	assert_int_equal(vbmq_virt_list(*state, false, &names, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_string_equal(names[0].name, "app2");
	assert_string_equal(names[1].name, "bad3");
	assert_string_equal(names[2].name, "db1");
	assert_string_equal(names[2].uuid, DB1_UUID);
	assert_true(names[2].active);
	vbmq_virt_names_free(names, n);
}

static void test_versions(void **state)
{
	unsigned long lib = 0, hypervisor = 0;

	assert_int_equal(vbmq_virt_versions(*state, &lib, &hypervisor, NULL), 0);
	assert_true(lib >= 9000000);
	assert_true(vbmq_virt_alive(*state));
}

static void read_db1(struct vbmq_virt *v, const char *name)
{
	struct vbmq_err err = VBMQ_ERR_INIT, metadata = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;

	if (vbmq_virt_read_domain(v, name, &d, &metadata, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(metadata.code, 0);
	assert_string_equal(d->name, "db1");
	assert_string_equal(d->uuid, DB1_UUID);
	assert_int_equal(d->state, VBMQ_DOMAIN_RUNNING);
	assert_true(d->id > 0);
	assert_true(d->responsive);
	assert_int_equal(d->caps.bits, 0); /* no monitor: nothing can be done to it */
	assert_int_equal(d->pid, 0);
	assert_int_equal(d->n_vcpus, 2);
	assert_true(d->wish.present);
	assert_int_equal(d->wish.priority, 10);
	assert_true(vbmq_domain_thread(d, VBMQ_THREAD_VCPU, 1)->has_pin);
	assert_int_equal(d->n_disks, 1);
	assert_int_equal(d->disks[0].n_queues, 4);
	assert_int_equal(d->disks[0].queues[3].iothread, 2);
	vbmq_domain_free(d);
}

static void test_read(void **state)
{
	read_db1(*state, "db1");
	read_db1(*state, DB1_UUID);
}

static void test_read_bad_metadata(void **state)
{
	struct vbmq_err metadata = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;

	assert_int_equal(vbmq_virt_read_domain(*state, "bad3", &d, &metadata, NULL), 0);
	assert_int_equal(metadata.code, -EINVAL);
	assert_non_null(strstr(metadata.text, "many"));
	assert_false(d->wish.present);
	vbmq_domain_free(d);
	d = NULL;
	assert_int_equal(vbmq_virt_read_domain(*state, "bad3", &d, NULL, NULL), 0);
	vbmq_domain_free(d);
}

static void test_read_unknown(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	char *xml = NULL;

	assert_int_equal(vbmq_virt_read_domain(*state, "nobody", &d, NULL, &err), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_non_null(strstr(err.text, "nobody"));
	assert_null(d);
	assert_int_equal(vbmq_virt_domain_xml(*state, "nobody", false, &xml, NULL), -ENOENT);
	assert_null(xml);
}

static void test_xml_and_define(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	char *xml = NULL, *at;

	assert_int_equal(vbmq_virt_domain_xml(*state, "app2", true, &xml, NULL), 0);
	at = strstr(xml, ">1</vcpu>");
	assert_non_null(at);
	at[1] = '3';
	if (vbmq_virt_define(*state, xml, &err) < 0)
		fail_msg("%s", err.text);
	free(xml);
	/* the running one is as before */
	assert_int_equal(vbmq_virt_read_domain(*state, "app2", &d, NULL, NULL), 0);
	assert_int_equal(d->n_vcpus, 1);
	vbmq_domain_free(d);
	assert_int_equal(vbmq_virt_domain_xml(*state, "app2", true, &xml, NULL), 0);
	assert_non_null(strstr(xml, ">3</vcpu>"));
	free(xml);

	assert_int_equal(vbmq_virt_define(*state, "<domain type='test'><name>x</name>", &err), -EINVAL);
	assert_true(err.text[0]);
}

static void test_read_only(void **state)
{
	struct vbmq_virt *v = open_node(true);

	read_db1(v, "db1");
	assert_int_equal(vbmq_virt_define(v, "<domain type='test'><name>x</name></domain>", NULL), -EACCES);
	vbmq_virt_close(v);
}

/* Steps on a driver without monitor are refused with a reason, not pretended. */
static void test_steps(void **state)
{
	static const struct vbmq_task_ops no_tasks = { .get = NULL };
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_step step = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda" };
	struct vbmq_actuator act;
	struct vbmq_domain *d = NULL;
	uint32_t map[4] = { 1, 1, 2, 2 };

	assert_int_equal(vbmq_virt_read_domain(*state, "db1", &d, NULL, NULL), 0);
	vbmq_act_libvirt(*state, &no_tasks, &act);
	assert_int_equal(act.ops->check_domain(act.ctx, d, &err), 0);
	step.map = map;
	step.n_map = 4;
	assert_int_equal(act.ops->execute(act.ctx, d, NULL, &step, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "db1"));
	d->id++;
	assert_int_equal(act.ops->check_domain(act.ctx, d, &err), -ENOENT);
	vbmq_domain_free(d);
}

static void *reader(void *data)
{
	struct vbmq_domain *d = NULL;
	struct vbmq_virt_name *names;
	intptr_t failures = 0;
	size_t n;

	for (int i = 0; i < 20; i++) {
		if (vbmq_virt_read_domain(data, i % 2 ? "db1" : "app2", &d, NULL, NULL) < 0)
			failures++;
		else
			d = vbmq_domain_free(d);
		if (vbmq_virt_list(data, true, &names, &n, NULL) < 0)
			failures++;
		else
			vbmq_virt_names_free(names, n);
	}
	return (void *)failures;
}

static void test_concurrent(void **state)
{
	pthread_t threads[N_THREADS];

	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, *state), 0);
	for (size_t i = 0; i < N_THREADS; i++) {
		void *failures;

		pthread_join(threads[i], &failures);
		assert_null(failures);
	}
}

/* --- events --- */

static void on_event(void *data, enum vbmq_virt_event event, const char *uuid, const char *name, const char *reason)
{
	(*(unsigned *)data)++;
}

static void *loop_main(void *data)
{
	return (void *)(intptr_t)vbmq_virt_loop_run(data);
}

static void test_loop(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt *v = NULL;
	unsigned n = 0;
	bool stop = false;
	pthread_t loop;
	void *result;

	assert_int_equal(vbmq_virt_loop_init(&err), 0);
	assert_int_equal(vbmq_virt_loop_init(&err), 0);
	assert_int_equal(pthread_create(&loop, NULL, loop_main, &stop), 0);
	for (int i = 0; i < 3; i++) {
		if (vbmq_virt_open(uri, false, on_event, &n, &v, &err) < 0)
			fail_msg("%s", err.text);
		v = vbmq_virt_close(v);
	}
	assert_int_equal(n, 0);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	vbmq_virt_loop_wake();
	pthread_join(loop, &result);
	assert_null(result);
	/* libvirt lets callbacks go in its loop, by timers that are due now */
	for (int i = 0; i < 10; i++) {
		vbmq_virt_loop_wake();
		assert_int_equal(virEventRunDefaultImpl(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_bad_metadata, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xml_and_define, setup, teardown),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_concurrent, setup, teardown),
		cmocka_unit_test(test_loop),
	};
	const char *node = getenv("VBMQ_TEST_NODE");

	(void)snprintf(uri, sizeof(uri), "test://%s", node ? node : "/nonexistent");
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
