/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pool of workers: results, overruns, late returns, stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/workers.h"
#include "util/err.h"

struct world {
	sd_event *event;
	struct vbmqd_workers *w;
	sem_t gate; /* what hanging jobs wait for */
	sem_t begun; /* one hanging job more */
	int n_done, n_late, n_returned;
	char returned[VBMQD_KEY_MAX], late[VBMQD_KEY_MAX];
	int n_freed; /* atomic */
};

struct job {
	struct vbmqd_job job;
	struct world *world;
	bool hang;
	int result;
};

static void run(struct vbmqd_job *job)
{
	struct job *j = (struct job *)job;

	if (j->hang) {
		sem_post(&j->world->begun);
		while (sem_wait(&j->world->gate) < 0)
			;
	}
	j->result = 42;
}

static void done(struct vbmqd_job *job)
{
	struct job *j = (struct job *)job;
	struct world *world = job->owner;

	assert_int_equal(j->result, 42);
	world->n_done++;
}

static void late(void *owner, const char *key)
{
	struct world *world = owner;

	strcpy(world->late, key);
	world->n_late++;
}

static struct vbmqd_job *destroy(struct vbmqd_job *job)
{
	struct job *j = (struct job *)job;

	__atomic_add_fetch(&j->world->n_freed, 1, __ATOMIC_SEQ_CST);
	free(j);
	return NULL;
}

static const struct vbmqd_job_ops ops = { "test", run, done, late, destroy };

static void returned(void *data, const char *key)
{
	struct world *world = data;

	strcpy(world->returned, key);
	world->n_returned++;
}

static struct job *new_job(struct world *world, const char *key, bool hang, uint64_t timeout_ms)
{
	struct job *j = calloc(1, sizeof(*j));

	assert_non_null(j);
	j->job = (struct vbmqd_job){ .ops = &ops, .timeout_ms = timeout_ms, .owner = world };
	strcpy(j->job.key, key);
	j->world = world;
	j->hang = hang;
	return j;
}

static void open_world(struct world *world, unsigned size)
{
	*world = (struct world){ .n_done = 0 };
	sem_init(&world->gate, 0, 0);
	sem_init(&world->begun, 0, 0);
	assert_true(sd_event_new(&world->event) >= 0);
	assert_int_equal(vbmqd_workers_new(world->event, size, returned, world, &world->w, NULL), 0);
}

static void close_world(struct world *world, int n_jobs)
{
	assert_true(vbmqd_workers_stop(world->w, 5000));
	vbmqd_workers_free(world->w);
	assert_int_equal(world->n_freed, n_jobs);
	sd_event_unref(world->event);
	sem_destroy(&world->gate);
	sem_destroy(&world->begun);
}

/* Runs the loop until *counter is value; fails after ten seconds. */
static void wait_for(struct world *world, const int *counter, int value)
{
	for (int i = 0; i < 1000 && *counter < value; i++)
		assert_true(sd_event_run(world->event, 10000) >= 0);
	assert_int_equal(*counter, value);
}

static void test_jobs_come_back(void **state)
{
	struct world world;

	open_world(&world, 3);
	for (int i = 0; i < 100; i++)
		vbmqd_workers_submit(world.w, &new_job(&world, "", false, 1000)->job);
	wait_for(&world, &world.n_done, 100);
	assert_int_equal(world.n_late, 0);
	close_world(&world, 100);
}

static void test_overrun_is_late_and_replaced(void **state)
{
	struct world world;

	open_world(&world, 1);
	vbmqd_workers_submit(world.w, &new_job(&world, "hung", true, 50)->job);
	vbmqd_workers_submit(world.w, &new_job(&world, "other", false, 1000)->job);
	wait_for(&world, &world.n_late, 1);
	assert_string_equal(world.late, "hung");
	assert_true(vbmqd_workers_key_lost(world.w, "hung"));
	assert_false(vbmqd_workers_key_lost(world.w, "other"));
	wait_for(&world, &world.n_done, 1); /* by the replacement */
	sem_post(&world.gate);
	wait_for(&world, &world.n_returned, 1);
	assert_string_equal(world.returned, "hung");
	assert_false(vbmqd_workers_key_lost(world.w, "hung"));
	assert_int_equal(world.n_done, 1); /* the late result was thrown away */
	close_world(&world, 2);
}

struct caller {
	struct world *world;
	struct job *job;
	int r;
};

static void *call(void *data)
{
	struct caller *c = data;

	c->r = vbmqd_workers_call(c->world->w, &c->job->job);
	return NULL;
}

static int call_in_thread(struct caller *c)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, call, c), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	return c->r;
}

static void test_call(void **state)
{
	struct world world;
	struct caller c = { .world = &world };

	open_world(&world, 1);
	c.job = new_job(&world, "a", false, 1000);
	assert_int_equal(call_in_thread(&c), 0);
	assert_int_equal(c.job->result, 42);
	destroy(&c.job->job);

	c.job = new_job(&world, "a", true, 50);
	assert_int_equal(call_in_thread(&c), -ETIMEDOUT);
	c.job = new_job(&world, "a", false, 1000); /* the same key: not started */
	assert_int_equal(call_in_thread(&c), -EBUSY);
	assert_int_equal(c.job->result, 0);
	destroy(&c.job->job);
	c.job = new_job(&world, "b", false, 1000);
	assert_int_equal(call_in_thread(&c), 0);
	destroy(&c.job->job);

	sem_post(&world.gate);
	wait_for(&world, &world.n_returned, 1);
	c.job = new_job(&world, "a", false, 1000);
	assert_int_equal(call_in_thread(&c), 0);
	destroy(&c.job->job);
	close_world(&world, 5);
}

static void test_stop_with_a_hung_job(void **state)
{
	struct world world;

	open_world(&world, 1);
	vbmqd_workers_submit(world.w, &new_job(&world, "hung", true, 0)->job);
	vbmqd_workers_submit(world.w, &new_job(&world, "queued", false, 0)->job);
	for (int i = 0; i < 5; i++)
		sd_event_run(world.event, 10000);
	assert_false(vbmqd_workers_stop(world.w, 50)); /* tells that a thread is left */
	sem_post(&world.gate);
	close_world(&world, 2);
}

static void *call_cancelled(void *data)
{
	struct caller *c = data;

	c->r = vbmqd_workers_call(c->world->w, &c->job->job);
	return NULL;
}

static void test_stop_frees_a_caller(void **state)
{
	struct world world;
	struct caller c = { .world = &world };
	pthread_t t;

	open_world(&world, 1);
	c.job = new_job(&world, "a", true, 60000);
	assert_int_equal(pthread_create(&t, NULL, call_cancelled, &c), 0);
	while (sem_wait(&world.begun) < 0)
		;
	assert_false(vbmqd_workers_stop(world.w, 50));
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(c.r, -ECANCELED);
	sem_post(&world.gate);
	close_world(&world, 1);
}

static void test_shrink_and_grow(void **state)
{
	struct world world;

	open_world(&world, 8);
	for (int i = 0; i < 50; i++)
		vbmqd_workers_submit(world.w, &new_job(&world, "", false, 1000)->job);
	vbmqd_workers_set_size(world.w, 1);
	wait_for(&world, &world.n_done, 50);
	vbmqd_workers_set_size(world.w, 4);
	for (int i = 0; i < 50; i++)
		vbmqd_workers_submit(world.w, &new_job(&world, "", false, 1000)->job);
	wait_for(&world, &world.n_done, 100);
	close_world(&world, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs_come_back),
		cmocka_unit_test(test_overrun_is_late_and_replaced),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_stop_with_a_hung_job),
		cmocka_unit_test(test_stop_frees_a_caller),
		cmocka_unit_test(test_shrink_and_grow),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
