/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls with a deadline: jobs that hang until the test lets them go. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "virt/private.h"

#define UUID "00000000-0000-0000-0000-00000000000"

static char uri[4096];
static unsigned n_alive; /* jobs not destroyed yet; atomic */

struct hang_job {
	struct vbmq_call call;
	sem_t *go; /* NULL: does not hang */
	sem_t *destroyed; /* NULL: nobody waits for it */
};

static void hang_work(struct vbmq_call *call)
{
	struct hang_job *job = (struct hang_job *)call;

	while (job->go && sem_wait(job->go) < 0)
		;
}

static void hang_destroy(struct vbmq_call *call)
{
	struct hang_job *job = (struct hang_job *)call;
	sem_t *destroyed = job->destroyed;

	free(job);
	__atomic_sub_fetch(&n_alive, 1, __ATOMIC_SEQ_CST);
	if (destroyed)
		sem_post(destroyed);
}

static int run_as_is(struct vbmq_virt *v, const char *uuid, sem_t *go, sem_t *destroyed, bool always,
		     struct vbmq_err *err)
{
	struct hang_job *job = calloc(1, sizeof(*job));
	int r;

	assert_non_null(job);
	__atomic_add_fetch(&n_alive, 1, __ATOMIC_SEQ_CST);
	job->call.work = hang_work;
	job->call.destroy = hang_destroy;
	job->call.always = always;
	job->go = go;
	job->destroyed = destroyed;
	r = vbmq_call_run(v, uuid, &job->call, err);
	if (r == 0)
		hang_destroy(&job->call);
	return r;
}

/* What does not hang must not time out, however busy the machine is. */
static int run(struct vbmq_virt *v, const char *uuid, sem_t *go, sem_t *destroyed, bool always, struct vbmq_err *err)
{
	vbmq_virt_set_timeout(v, go ? 50 : 20000);
	return run_as_is(v, uuid, go, destroyed, always, err);
}

static int setup(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt *v = NULL;

	if (vbmq_virt_open(uri, false, NULL, NULL, &v, &err) < 0)
		fail_msg("%s", err.text);
	*state = v;
	return 0;
}

static int teardown(void **state)
{
	*state = vbmq_virt_close(*state);
	assert_int_equal(__atomic_load_n(&n_alive, __ATOMIC_SEQ_CST), 0);
	return 0;
}

/* A destroyed job has left the list of hung ones: thread_main() does that first. */
static void wait_n(sem_t *sem, unsigned n)
{
	while (n) {
		if (sem_wait(sem) == 0)
			n--;
	}
}

static void test_in_time(void **state)
{
	assert_int_equal(run(*state, UUID "1", NULL, NULL, false, NULL), 0);
	assert_int_equal(run(*state, NULL, NULL, NULL, false, NULL), 0);
}

static void test_hung_domain(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	sem_t go, destroyed;

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	assert_int_equal(run(*state, UUID "1", &go, &destroyed, false, &err), -ETIMEDOUT);
	assert_int_equal(err.code, -ETIMEDOUT);
	assert_non_null(strstr(err.text, "50 ms"));
	/* the same one is not tried again; others, and libvirtd, are */
	assert_int_equal(run(*state, UUID "1", NULL, NULL, false, NULL), -ETIMEDOUT);
	assert_int_equal(run(*state, UUID "2", NULL, NULL, false, NULL), 0);
	assert_int_equal(run(*state, NULL, NULL, NULL, false, NULL), 0);
	sem_post(&go);
	wait_n(&destroyed, 1);
	assert_int_equal(run(*state, UUID "1", NULL, NULL, false, NULL), 0);
}

static void test_hung_limit(void **state)
{
	static const char *const uuids[] = { UUID "1", UUID "2", UUID "3" };
	struct vbmq_err err = VBMQ_ERR_INIT;
	sem_t go, destroyed;

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	assert_int_equal(VBMQ_VIRT_HUNG_MAX, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(run(*state, uuids[i], &go, &destroyed, false, NULL), -ETIMEDOUT);
	assert_int_equal(run(*state, UUID "4", NULL, NULL, false, &err), -EBUSY);
	assert_int_equal(err.code, -EBUSY);
	assert_int_equal(run(*state, NULL, NULL, NULL, false, NULL), 0);
	for (size_t i = 0; i < 3; i++)
		sem_post(&go);
	wait_n(&destroyed, 3);
	assert_int_equal(run(*state, UUID "4", NULL, NULL, false, NULL), 0);
}

static void test_hung_libvirtd(void **state)
{
	sem_t go, destroyed;

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	assert_int_equal(run(*state, NULL, &go, &destroyed, false, NULL), -ETIMEDOUT);
	assert_int_equal(run(*state, NULL, NULL, NULL, false, NULL), -ETIMEDOUT);
	assert_int_equal(run(*state, UUID "1", NULL, NULL, false, NULL), -ETIMEDOUT);
	assert_int_equal(run(*state, NULL, NULL, NULL, true, NULL), 0); /* closing */
	sem_post(&go);
	wait_n(&destroyed, 1);
	assert_int_equal(run(*state, UUID "1", NULL, NULL, false, NULL), 0);
}

/* The connection may be closed while a call is left behind: the call keeps what it needs. */
static void test_close_with_hung(void **state)
{
	sem_t go, destroyed;

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	assert_int_equal(run(*state, UUID "1", &go, &destroyed, false, NULL), -ETIMEDOUT);
	*state = vbmq_virt_close(*state);
	sem_post(&go);
	wait_n(&destroyed, 1);
}

struct racer {
	struct vbmq_virt *v;
	sem_t *go, *destroyed;
	unsigned n;
};

static void *race_main(void *data)
{
	struct racer *r = data;

	if (run_as_is(r->v, UUID "7", r->go, r->destroyed, false, NULL) == -ETIMEDOUT)
		__atomic_add_fetch(&r->n, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Many callers on one domain at the same moment: each job is released once, and nothing stays behind. */
static void test_race(void **state)
{
	sem_t go, destroyed;
	struct racer racer = { .v = *state, .go = &go, .destroyed = &destroyed };
	pthread_t threads[8];

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	vbmq_virt_set_timeout(*state, 50);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_main, &racer), 0);
	for (size_t i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(racer.n, 8);
	for (size_t i = 0; i < 8; i++)
		sem_post(&go);
	wait_n(&destroyed, 8);
	assert_int_equal(run(*state, UUID "7", NULL, NULL, false, NULL), 0);
}

static unsigned n_nudges(struct vbmq_virt *v)
{
	unsigned n;

	pthread_mutex_lock(&v->lock);
	n = v->n_nudges;
	pthread_mutex_unlock(&v->lock);
	return n;
}

/* A nudge is for two calls on one connection; a few at a time, each of which ends by itself. */
static void test_nudge(void **state)
{
	struct vbmq_virt *v = *state;
	sem_t go, destroyed;

	sem_init(&go, 0, 0);
	sem_init(&destroyed, 0, 0);
	assert_int_equal(run(v, UUID "1", &go, &destroyed, false, NULL), -ETIMEDOUT);
	pthread_mutex_lock(&v->lock);
	vbmq_nudge(v);
	assert_int_equal(v->n_nudges, 0);
	pthread_mutex_unlock(&v->lock);
	assert_int_equal(run(v, UUID "2", &go, &destroyed, false, NULL), -ETIMEDOUT);
	pthread_mutex_lock(&v->lock);
	assert_int_equal(v->n_calls, 2);
	for (size_t i = 0; i < 10; i++)
		vbmq_nudge(v);
	assert_in_range(v->n_nudges, 1, 4);
	pthread_mutex_unlock(&v->lock);
	while (n_nudges(v))
		sched_yield();
	sem_post(&go);
	sem_post(&go);
	wait_n(&destroyed, 2);
	assert_int_equal(v->n_calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hung_domain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hung_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hung_libvirtd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_with_hung, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nudge, setup, teardown),
	};
	const char *node = getenv("VBMQ_TEST_NODE");

	(void)snprintf(uri, sizeof(uri), "test://%s", node ? node : "/nonexistent");
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
