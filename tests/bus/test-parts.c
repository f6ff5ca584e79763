/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hands for systemd's units, on a private bus with a systemd that is played by a thread. It does what systemd 252 was
 * seen to do: a limit is written into the unit's cgroup, an empty one leaves the file there as it is.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-bus.h>

#include "bus/dropins.h"
#include "bus/open.h"
#include "bus/parts.h"
#include "core/diff.h"
#include "host/parts.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

#define CALLS_MAX 8u

#define TREE                                                                               \
	"/bus.conf = <busconfig><type>system</type><listen>unix:tmpdir=/tmp</listen>"      \
	"<auth>EXTERNAL</auth><policy context='default'><allow user='*'/><allow own='*'/>" \
	"<allow send_destination='*'/><allow receive_sender='*'/></policy></busconfig>\n"  \
	"/sys/fs/cgroup/cgroup.controllers = cpuset cpu io memory pids\n"                  \
	"/sys/fs/cgroup/system.slice/cpuset.cpus = 0-3\n"                                  \
	"/sys/fs/cgroup/user.slice/cpuset.cpus =\n"                                        \
	"/sys/fs/cgroup/init.scope/cgroup.procs = 1\n"                                     \
	"/sys/devices/system/cpu/online = 0-2,4-15\n"

struct call {
	char unit[64], cpus[64], sender[64];
	int runtime;
};

struct world {
	struct tree *t;
	pid_t dbus;
	char address[256];
	sd_bus *bus; /* systemd's */
	pthread_t thread;
	int stop[2];
	/* between two steps only one side touches these */
	struct call calls[CALLS_MAX];
	unsigned n_calls;
	unsigned n_reloads;
	atomic_bool refuse;
	struct vbmq_bus_parts own;
	struct vbmq_part_actuator parts;
};

/* --- systemd ---------------------------------------------------------------------------------------------------------- */

static void to_list(const uint8_t *mask, size_t n, char *ret, size_t size)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	_cleanup_free_ char *list = NULL;

	for (size_t bit = 0; bit < n * 8; bit++)
		if (mask[bit / 8] >> (bit % 8) & 1u)
			vbmq_cpuset_add(&cpus, (unsigned)bit);
	list = vbmq_cpulist_format(&cpus);
	snprintf(ret, size, "%s", list);
}

static int write_cgroup(const struct world *w, const struct call *c)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/%s/cpuset.cpus", w->t->root, c->unit);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	fprintf(f, "%s\n", c->cpus);
	return fclose(f) == 0 ? 0 : -errno;
}

static int set_unit_properties(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct world *w = data;
	struct call *c = &w->calls[w->n_calls];
	const char *unit, *name;
	const void *mask;
	size_t n;
	int r;

	if (atomic_load(&w->refuse))
		return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "not today");
	r = sd_bus_message_read(m, "sb", &unit, &c->runtime);
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "(sv)");
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_read(m, "s", &name);
	if (r >= 0 && strcmp(name, "AllowedCPUs") != 0)
		r = -EINVAL;
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &mask, &n);
	if (r < 0 || w->n_calls + 1 >= CALLS_MAX)
		return r < 0 ? r : -E2BIG;
	snprintf(c->unit, sizeof(c->unit), "%s", unit);
	snprintf(c->sender, sizeof(c->sender), "%s", sd_bus_message_get_sender(m));
	to_list(mask, n, c->cpus, sizeof(c->cpus));
	w->n_calls++;
	r = n ? write_cgroup(w, c) : 0;
	return r < 0 ? r : sd_bus_reply_method_return(m, "");
}

static int reload(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct world *w = data;

	if (atomic_load(&w->refuse))
		return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "not today");
	w->n_reloads++;
	return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("SetUnitProperties", "sba(sv)", "", set_unit_properties, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Reload", "", "", reload, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void *serve(void *arg)
{
	struct world *w = arg;
	struct pollfd fds[] = { { sd_bus_get_fd(w->bus), POLLIN, 0 }, { w->stop[0], POLLIN, 0 } };

	while (!fds[1].revents) {
		while (sd_bus_process(w->bus, NULL) > 0)
			;
		poll(fds, 2, -1);
	}
	return NULL;
}

/* --- the world -------------------------------------------------------------------------------------------------------- */

static void start_bus(struct world *w)
{
	_cleanup_free_ char *conf = NULL, *fd = NULL;
	int out[2];
	FILE *f;

	assert_int_equal(pipe(out), 0);
	assert_true(asprintf(&conf, "--config-file=%s/bus.conf", w->t->root) > 0);
	assert_true(asprintf(&fd, "--print-address=%d", out[1]) > 0);
	w->dbus = fork();
	assert_true(w->dbus >= 0);
	if (w->dbus == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(out[0]);
		execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", conf, fd, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	assert_non_null(f);
	if (!fgets(w->address, sizeof(w->address), f))
		fail_msg("dbus-daemon does not start");
	fclose(f);
	w->address[strcspn(w->address, "\n")] = '\0';
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->t = tree_from_text(TREE "/sys/devices/system/cpu/possible = 0-31\n");
	start_bus(w);
	assert_int_equal(vbmq_bus_open(w->address, &w->bus), 0);
	assert_true(sd_bus_add_object_vtable(w->bus, NULL, "/org/freedesktop/systemd1",
					     "org.freedesktop.systemd1.Manager", manager, w) >= 0);
	assert_true(sd_bus_request_name(w->bus, "org.freedesktop.systemd1", 0) >= 0);
	assert_int_equal(pipe(w->stop), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
	w->own = (struct vbmq_bus_parts){ .where = w->address, .sysroot = w->t->root };
	w->parts = vbmq_bus_parts_actuator(&w->own);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	vbmq_bus_parts_close(&w->own);
	vbmq_bus_parts_close(&w->own);
	close(w->stop[1]);
	pthread_join(w->thread, NULL);
	close(w->stop[0]);
	sd_bus_flush_close_unref(w->bus);
	kill(w->dbus, SIGTERM);
	waitpid(w->dbus, NULL, 0);
	tree_free(w->t);
	free(w);
	return 0;
}

static int limit(struct world *w, uint32_t part, const char *list, struct vbmq_err *err)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	struct vbmq_step step = { .op = VBMQ_STEP_LIMIT_SLICE,
				  .domain = VBMQ_STEP_OF_HOST,
				  .kind = VBMQ_THREAD_EMULATOR,
				  .id = part,
				  .cpus = &cpus };

	if (*list)
		assert_int_equal(vbmq_cpulist_parse(list, strlen(list), 0, &cpus, NULL), 0);
	return w->parts.ops->execute(w->parts.ctx, &step, err);
}

static void assert_observed(struct world *w, uint32_t part, const char *want)
{
	struct vbmq_step step = { .op = VBMQ_STEP_LIMIT_SLICE, .domain = VBMQ_STEP_OF_HOST, .id = part };
	struct vbmq_cpuset is = VBMQ_CPUSET_EMPTY;
	_cleanup_free_ char *list = NULL;

	assert_int_equal(w->parts.ops->observe(w->parts.ctx, &step, &is, NULL), 0);
	list = vbmq_cpulist_format(&is);
	assert_string_equal(list, want);
}

static void assert_call(const struct world *w, unsigned i, const char *unit, const char *cpus)
{
	assert_true(i < w->n_calls);
	assert_string_equal(w->calls[i].unit, unit);
	assert_string_equal(w->calls[i].cpus, cpus);
	assert_int_equal(w->calls[i].runtime, 1);
}

/* --- tests ------------------------------------------------------------------------------------------------------------ */

static void test_widened_before_the_limit_is_taken_away(void **state)
{
	struct world *w = *state;

	assert_observed(w, VBMQ_PART_SYSTEM, "0-3");
	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "", NULL), 0);
	assert_int_equal(w->n_calls, 2);
	assert_call(w, 0, "system.slice", "0-31");
	assert_call(w, 1, "system.slice", "");
	assert_observed(w, VBMQ_PART_SYSTEM, "");
}

static void test_a_limit_that_leaves_every_cpu_reads_as_none(void **state)
{
	struct world *w = *state;

	assert_int_equal(limit(w, VBMQ_PART_USER, "0-2,4-15", NULL), 0);
	assert_observed(w, VBMQ_PART_USER, "");
	assert_int_equal(limit(w, VBMQ_PART_USER, "0-2,4-14", NULL), 0);
	assert_observed(w, VBMQ_PART_USER, "0-2,4-14");
	assert_int_equal(limit(w, VBMQ_PART_USER, "0-15", NULL), 0); /* one of them is offline */
	assert_observed(w, VBMQ_PART_USER, "");
	assert_int_equal(w->n_calls, 3);
}

/* What it can have is not known: then the limit stays, rather than to stay without being seen. */
static void test_not_taken_away_where_it_cannot_be_widened(void **state)
{
	struct world *w = *state;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char path[512];

	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/possible", w->t->root);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "", &err), -ENODATA);
	assert_int_equal(w->n_calls, 0);
	assert_observed(w, VBMQ_PART_SYSTEM, "0-3");
}

static void test_one_connection_for_all_steps(void **state)
{
	struct world *w = *state;

	assert_null(w->own.bus);
	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "0-1", NULL), 0);
	assert_int_equal(limit(w, VBMQ_PART_USER, "0-1", NULL), 0);
	assert_int_equal(limit(w, VBMQ_PART_INIT, "0-1,12", NULL), 0);
	assert_int_equal(limit(w, VBMQ_PART_INIT, "", NULL), 0);
	assert_int_equal(w->n_calls, 5);
	assert_call(w, 0, "system.slice", "0-1");
	assert_call(w, 1, "user.slice", "0-1");
	assert_call(w, 2, "init.scope", "0-1,12");
	for (unsigned i = 1; i < w->n_calls; i++)
		assert_string_equal(w->calls[i].sender, w->calls[0].sender);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "0-1", NULL), 0);
	atomic_store(&w->refuse, true);
	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "0-2", &err), -EACCES);
	assert_non_null(strstr(err.text, "not today"));
	assert_null(w->own.bus);
	assert_observed(w, VBMQ_PART_SYSTEM, "0-1");
	atomic_store(&w->refuse, false);
	assert_int_equal(limit(w, VBMQ_PART_SYSTEM, "0-2", NULL), 0);
	assert_call(w, 1, "system.slice", "0-2");
	assert_string_not_equal(w->calls[1].sender, w->calls[0].sender);
}

static void test_no_bus(void **state)
{
	struct vbmq_bus_parts own = { .where = "unix:path=/nowhere/bus" };
	struct vbmq_part_actuator parts = vbmq_bus_parts_actuator(&own);
	struct vbmq_cpuset cpus = vbmq_cpuset_of(0);
	struct vbmq_step step = {
		.op = VBMQ_STEP_LIMIT_SLICE, .domain = VBMQ_STEP_OF_HOST, .id = VBMQ_PART_USER, .cpus = &cpus
	};
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(parts.ops->execute(parts.ctx, &step, &err), -ENOENT);
	assert_non_null(strstr(err.text, "AllowedCPUs="));
	vbmq_bus_parts_close(&own);
}

/* --- what limits leave behind ------------------------------------------------------------------------------------------ */

#define CONTROL "/run/systemd/system.control"
#define HEAD                                                                                                   \
	"# This is a drop-in unit file extension, created via \"systemctl set-property\"\n# or an equivalent " \
	"operation.\n"

static void put(struct world *w, const char *path, const char *text)
{
	_cleanup_free_ char *full = NULL;

	assert_true(asprintf(&full, CONTROL "/%s", path) > 0);
	tree_put(w->t, full, text);
}

static bool is_there(const struct world *w, const char *path)
{
	_cleanup_free_ char *full = NULL;

	assert_true(asprintf(&full, "%s" CONTROL "/%s", w->t->root, path) > 0);
	return access(full, F_OK) == 0;
}

static void test_dropins_that_say_nothing_are_removed(void **state)
{
	struct world *w = *state;

	put(w, "system.slice.d/50-AllowedCPUs.conf", HEAD "[Slice]\nAllowedCPUs=\n");
	put(w, "user.slice.d/50-AllowedCPUs.conf", HEAD "[Slice]\nAllowedCPUs=\nAllowedCPUs=\n");
	put(w, "user.slice.d/50-CPUWeight.conf", HEAD "[Slice]\nCPUWeight=50\n");
	put(w, "init.scope.d/50-AllowedCPUs.conf", HEAD "[Scope]\nAllowedCPUs=");
	put(w, "machine.slice.d/50-AllowedCPUs.conf", HEAD "[Slice]\nAllowedCPUs=\n");
	assert_int_equal(vbmq_bus_dropins_remove(&w->own, NULL), 3);
	assert_int_equal(w->n_reloads, 1);
	assert_false(is_there(w, "system.slice.d"));
	assert_false(is_there(w, "user.slice.d/50-AllowedCPUs.conf"));
	assert_true(is_there(w, "user.slice.d/50-CPUWeight.conf"));
	assert_false(is_there(w, "init.scope.d"));
	assert_true(is_there(w, "machine.slice.d/50-AllowedCPUs.conf"));
	assert_int_equal(vbmq_bus_dropins_remove(&w->own, NULL), 0);
	assert_int_equal(w->n_reloads, 1);
	assert_int_equal(w->n_calls, 0);
}

static void test_dropins_that_say_something_stay(void **state)
{
	struct world *w = *state;

	put(w, "system.slice.d/50-AllowedCPUs.conf", HEAD "[Slice]\nAllowedCPUs=\nAllowedCPUs=0-3\n");
	put(w, "user.slice.d/50-AllowedCPUs.conf", HEAD "[Slice]\nAllowedCPUs=\nCPUWeight=50\n");
	put(w, "init.scope.d/50-AllowedCPUs.conf", HEAD "[Scope]\n");
	assert_int_equal(vbmq_bus_dropins_remove(&w->own, NULL), 0);
	for (unsigned i = 0; i < VBMQ_SLICES; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s.d/50-AllowedCPUs.conf", vbmq_part_words[i]);
		assert_true(is_there(w, path));
	}
	assert_int_equal(w->n_reloads, 0);
	assert_null(w->own.bus);
}

static void test_a_dropin_that_cannot_be_read(void **state)
{
	struct world *w = *state;
	struct vbmq_err err = VBMQ_ERR_INIT;

	put(w, "system.slice.d/50-AllowedCPUs.conf/x", "");
	assert_int_equal(vbmq_bus_dropins_remove(&w->own, &err), -EISDIR);
	assert_non_null(strstr(err.text, "system.slice.d"));
	assert_int_equal(w->n_reloads, 0);
}

static void test_reload_refused(void **state)
{
	struct world *w = *state;
	struct vbmq_err err = VBMQ_ERR_INIT;

	put(w, "user.slice.d/50-AllowedCPUs.conf", "AllowedCPUs=\n");
	atomic_store(&w->refuse, true);
	assert_int_equal(vbmq_bus_dropins_remove(&w->own, &err), -EACCES);
	assert_non_null(strstr(err.text, "not today"));
	assert_false(is_there(w, "user.slice.d"));
	assert_null(w->own.bus);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_widened_before_the_limit_is_taken_away),
		TEST(test_a_limit_that_leaves_every_cpu_reads_as_none),
		TEST(test_not_taken_away_where_it_cannot_be_widened),
		TEST(test_one_connection_for_all_steps),
		TEST(test_refused),
		TEST(test_dropins_that_say_nothing_are_removed),
		TEST(test_dropins_that_say_something_stay),
		TEST(test_a_dropin_that_cannot_be_read),
		TEST(test_reload_refused),
		cmocka_unit_test(test_no_bus),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bus-parts", tests, NULL, NULL);
}
