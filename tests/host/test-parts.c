/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's own work on hand-made trees, and an irqbalance that is played by a thread on a socket below the root. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/irqbalance.h"
#include "host/nova.h"
#include "host/parts.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

#define V2 "/sys/fs/cgroup/cgroup.controllers = cpuset cpu io memory pids\n"

static void assert_cpus(const struct vbmq_cpuset *is, const char *want)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(is);

	assert_string_equal(text, want);
}

/* --- units ------------------------------------------------------------------------------------------------------------ */

static void test_units(void **state)
{
	struct tree *t = tree_from_text(V2 "/sys/fs/cgroup/system.slice/cpuset.cpus = 0-3,8\n"
					   "/sys/fs/cgroup/user.slice/cgroup.procs = 1\n");
	struct vbmq_part parts[VBMQ_PARTS];

	vbmq_parts_read(t->root, parts);
	assert_int_equal(parts[VBMQ_PART_SYSTEM].state, VBMQ_PART_OK);
	assert_cpus(&parts[VBMQ_PART_SYSTEM].cpus, "0-3,8");
	assert_int_equal(parts[VBMQ_PART_USER].state, VBMQ_PART_OK); /* no file: the controller is not on yet */
	assert_cpus(&parts[VBMQ_PART_USER].cpus, "");
	assert_int_equal(parts[VBMQ_PART_INIT].state, VBMQ_PART_ABSENT);
	assert_int_equal(parts[VBMQ_PART_IRQBALANCE].state, VBMQ_PART_ABSENT);
	tree_free(t);
}

static void test_a_limit_that_leaves_everything_is_none(void **state)
{
	static const struct {
		const char *limit, *online, *want;
	} cases[] = {
		{ "0-15", "0-15", "" }, /* what is left in the file after a limit was taken away */
		{ "0-31", "0-15", "" },	    { "0-15", "0-2,4-15", "" }, { "0-14", "0-15", "0-14" },
		{ "0-15", "0-16", "0-15" }, { "", "0-15", "" },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		char text[512];
		struct tree *t;
		struct vbmq_part parts[VBMQ_PARTS];
		struct vbmq_cpuset all;
		struct vbmq_err err = VBMQ_ERR_INIT;

		snprintf(text, sizeof(text),
			 V2 "/sys/fs/cgroup/user.slice/cpuset.cpus = %s\n/sys/devices/system/cpu/online = %s\n"
			    "/sys/devices/system/cpu/possible = 0-63\n",
			 cases[i].limit, cases[i].online);
		t = tree_from_text(text);
		vbmq_parts_read(t->root, parts);
		assert_int_equal(parts[VBMQ_PART_USER].state, VBMQ_PART_OK);
		assert_cpus(&parts[VBMQ_PART_USER].cpus, cases[i].want);
		assert_int_equal(vbmq_parts_possible(t->root, &all, &err), 0);
		assert_cpus(&all, "0-63");
		tree_free(t);
	}
}

static void test_units_that_cannot(void **state)
{
	static const struct {
		const char *tree;
		enum vbmq_part_state state;
	} cases[] = {
		{ "/sys/fs/cgroup/cgroup.controllers = cpuset_x cpu io\n/sys/fs/cgroup/system.slice/cgroup.procs = 1\n",
		  VBMQ_PART_NO_CPUSET },
		{ "/sys/fs/cgroup/systemd/system.slice/cgroup.procs = 1\n/sys/fs/cgroup/cpuset/cpuset.cpus = 0-3\n",
		  VBMQ_PART_CGROUP_V1 },
		{ "/sys/fs/cgroup/cpuset/cpuset.cpus = 0-3\n", VBMQ_PART_ABSENT },
		{ V2, VBMQ_PART_ABSENT },
		{ V2 "/sys/fs/cgroup/system.slice/cpuset.cpus = 0-3,\n", VBMQ_PART_ABSENT }, /* better than to set it */
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		struct tree *t = tree_from_text(cases[i].tree);
		struct vbmq_part parts[VBMQ_PARTS];

		vbmq_parts_read(t->root, parts);
		assert_int_equal(parts[VBMQ_PART_SYSTEM].state, cases[i].state);
		tree_free(t);
	}
}

static void test_process(void **state)
{
	static const struct {
		const char *cgroup;
		uint8_t want;
	} cases[] = {
		{ "0::/system.slice/libvirtd.service", 1 + VBMQ_PART_SYSTEM },
		{ "0::/user.slice/user-1000.slice/session-2.scope", 1 + VBMQ_PART_USER },
		{ "0::/init.scope", 1 + VBMQ_PART_INIT },
		{ "12:cpuset:/machine\\n1:name=systemd:/system.slice/x\\n0::/machine.slice/machine-qemu.scope", 0 },
		{ "12:cpuset:/system.slice\\n1:name=systemd:/system.slice/x", 0 },
		{ "0::/system.slicer/x", 0 },
		{ "0::/machine/qemu-1-db1.libvirt-qemu", 0 },
		{ "0::/", 0 },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		char text[256];
		struct tree *t;

		snprintf(text, sizeof(text), "/proc/42/cgroup = %s\n", cases[i].cgroup);
		t = tree_from_text(text);
		assert_int_equal(vbmq_parts_of_process(t->root, 42), cases[i].want);
		assert_int_equal(vbmq_parts_of_process(t->root, 43), 0);
		tree_free(t);
	}
}

static void test_mask(void **state)
{
	uint8_t mask[VBMQ_PARTS_MASK_MAX];
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;

	assert_int_equal(vbmq_parts_mask(&cpus, mask), 0);
	vbmq_cpuset_add(&cpus, 0);
	vbmq_cpuset_add(&cpus, 9);
	assert_int_equal(vbmq_parts_mask(&cpus, mask), 2);
	assert_int_equal(mask[0], 1);
	assert_int_equal(mask[1], 2);
	vbmq_cpuset_add(&cpus, VBMQ_CPUS_MAX - 1);
	assert_int_equal(vbmq_parts_mask(&cpus, mask), VBMQ_CPUS_MAX / 8);
	assert_int_equal(mask[VBMQ_CPUS_MAX / 8 - 1], 0x80);
}

static void test_nova(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: none */
	} cases[] = {
		{ "[DEFAULT]\\ncpu_dedicated_set = 1\\n[compute]\\n# cpu_dedicated_set=2\\ncpu_dedicated_set = "
		  "4-12,^8, 15\\n"
		  "[neutron]\\ncpu_dedicated_set = 3",
		  "4-7,9-12,15" },
		{ "[compute]\\ncpu_dedicated_set=1\\ncpu_shared_set=0\\n cpu_dedicated_set : 2-3", "2-3" },
		{ "[compute]\\ncpu_dedicated_set=", NULL },
		{ "[compute]\\ncpu_dedicated_set=$other", NULL },
		{ "[compute]\\ncpu_dedicated_sets=1\\ncpu_shared_set=0-3", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		struct vbmq_cpuset is = VBMQ_CPUSET_EMPTY;
		char text[512];
		struct tree *t;

		snprintf(text, sizeof(text), "/etc/nova/nova.conf = %s\n", cases[i].text);
		t = tree_from_text(text);
		assert_int_equal(vbmq_nova_dedicated(t->root, &is), cases[i].want != NULL);
		assert_cpus(&is, cases[i].want ? cases[i].want : "");
		assert_false(vbmq_nova_dedicated("/nowhere", &is));
		tree_free(t);
	}
}

/* --- irqbalance ------------------------------------------------------------------------------------------------------- */

struct irqbalance {
	struct tree *t;
	pthread_t thread;
	int fd, stop[2];
	char banned[256]; /* its answer */
	char spared[600]; /* ... " 5 7": interrupts it leaves alone */
	char told[512]; /* the last "settings" */
	atomic_int n_told;
	atomic_bool mute;
	uint32_t uid; /* of the last peer */
};

static void serve_one(struct irqbalance *b)
{
	char buf[500], control[CMSG_SPACE(sizeof(struct ucred))], reply[8192];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int fd = accept(b->fd, NULL, NULL);
	ssize_t n = recvmsg(fd, &msg, 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (n > 0 && c && c->cmsg_type == SCM_CREDENTIALS)
		b->uid = ((struct ucred *)(void *)CMSG_DATA(c))->uid;
	if (n > 9 && memcmp(buf, "settings ", 9) == 0) {
		memcpy(b->told, buf, (size_t)n);
		b->told[n] = '\0';
		atomic_fetch_add(&b->n_told, 1);
	} else if (n >= 5 && memcmp(buf, "setup", 5) == 0) {
		size_t len = (size_t)snprintf(reply, sizeof(reply), "SLEEP 10 ");

		for (const char *at = b->spared; *at; at += 1 + strcspn(at + 1, " "))
			len += (size_t)snprintf(reply + len, sizeof(reply) - len, "IRQ %d LOAD 1 DIFF 1 CLASS 2 ",
						atoi(at));
		snprintf(reply + len, sizeof(reply) - len, "BANNED %s", b->banned);
		if (send(fd, reply, strlen(reply), MSG_NOSIGNAL) < 0 && errno != EPIPE)
			abort(); /* EPIPE: who waited has given up */
	}
	close(fd);
}

static void *serve(void *arg)
{
	struct irqbalance *b = arg;

	for (;;) {
		struct pollfd fds[] = { { b->fd, POLLIN, 0 }, { b->stop[0], POLLIN, 0 } };

		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		if (!atomic_load(&b->mute))
			serve_one(b);
		else
			poll(NULL, 0, 10);
	}
}

/* pid: its number; environ: "A=b" or "". */
static void start(struct irqbalance *b, unsigned pid, const char *environ_line, const char *extra)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[1024], path[512];
	int one = 1;
	FILE *f;

	memset(b, 0, sizeof(*b));
	strcpy(b->banned, "00000000");
	snprintf(text, sizeof(text),
		 "/run/irqbalance/irqbalance1.sock = stale\n/run/irqbalance/other = x\n"
		 "/proc/%u/task/%u/stat = %u (irqbalance) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0\n%s",
		 pid, pid, pid, extra);
	b->t = tree_from_text(text);
	snprintf(path, sizeof(path), "%s/proc/%u/environ", b->t->root, pid);
	f = fopen(path, "w");
	assert_non_null(f);
	fwrite("PATH=/bin\0", 1, 10, f);
	fwrite(environ_line, 1, strlen(environ_line) + 1, f);
	fclose(f);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/run/irqbalance/irqbalance%u.sock", b->t->root, pid);
	b->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(b->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(b->fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
	assert_int_equal(listen(b->fd, 5), 0);
	assert_int_equal(pipe(b->stop), 0);
	assert_int_equal(pthread_create(&b->thread, NULL, serve, b), 0);
}

static void stop(struct irqbalance *b)
{
	close(b->stop[1]);
	pthread_join(b->thread, NULL);
	close(b->stop[0]);
	close(b->fd);
	tree_free(b->t);
}

static void wait_for_told(struct irqbalance *b, int n)
{
	for (int i = 0; i < 1000 && atomic_load(&b->n_told) < n; i++)
		poll(NULL, 0, 10);
	assert_int_equal(atomic_load(&b->n_told), n);
}

static struct vbmq_cpuset cpus(const char *list)
{
	struct vbmq_cpuset set;

	assert_int_equal(vbmq_cpulist_parse(list, strlen(list), 0, &set, NULL), 0);
	return set;
}

static void test_irqbalance(void **state)
{
	struct vbmq_cpuset want = cpus("2-3,36");
	struct irqbalance b;
	struct vbmq_part p;

	start(&b, 4242, "A=b", "");
	vbmq_irqbalance_read(b.t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_OK);
	assert_int_equal(p.pid, 4242);
	assert_int_equal(p.start, 777);
	assert_cpus(&p.cpus, "");
	assert_int_equal(vbmq_irqbalance_ban(b.t->root, &want, NULL), 0);
	wait_for_told(&b, 1);
	assert_string_equal(b.told, "settings cpus 2-3,36");
	assert_int_equal(b.uid, geteuid());
	/* it has not scanned since: what was set counts, and it is ours */
	vbmq_irqbalance_read(b.t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_OK);
	assert_cpus(&p.cpus, "2-3,36");
	assert_true(p.pending);
	vbmq_irqbalance_wait(b.t->root, 300); /* in vain */
	vbmq_irqbalance_read(b.t->root, &p);
	assert_true(p.pending);
	strcpy(b.banned, "10,0000000c"); /* it has scanned */
	vbmq_irqbalance_wait(b.t->root, 60000);
	vbmq_irqbalance_read(b.t->root, &p);
	assert_false(p.pending);
	assert_cpus(&p.cpus, "2-3,36");
	want = VBMQ_CPUSET_EMPTY;
	assert_int_equal(vbmq_irqbalance_ban(b.t->root, &want, NULL), 0);
	wait_for_told(&b, 2);
	assert_string_equal(b.told, "settings cpus NULL"); /* an empty list would end it */
	/* 1.9.2 sleeps in a scan and answers nobody: what is known holds */
	atomic_store(&b.mute, true);
	vbmq_irqbalance_read(b.t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_OK);
	assert_cpus(&p.cpus, "");
	stop(&b);
}

static void test_irqbalance_silent(void **state)
{
	struct irqbalance b;
	struct vbmq_part p;

	start(&b, 4243, "", "");
	atomic_store(&b.mute, true);
	vbmq_irqbalance_read(b.t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_SILENT);
	atomic_store(&b.mute, false);
	stop(&b);
}

/* Its list is the operator's, or another program's; its own, of isolated CPUs, is nobody's. */
static void test_irqbalance_foreign(void **state)
{
	static const struct {
		const char *env, *banned, *tree;
		enum vbmq_part_state state;
		const char *cpus;
	} cases[] = {
		{ "IRQBALANCE_BANNED_CPULIST=4-5", "00000030", "", VBMQ_PART_FOREIGN, "4-5" },
		{ "IRQBALANCE_BANNED_CPUS=30", "00000030", "", VBMQ_PART_FOREIGN, "4-5" },
		{ "IRQBALANCE_BANNED_CPULIST=", "00000000", "", VBMQ_PART_OK, "" },
		{ "XIRQBALANCE_BANNED_CPULIST=4", "00000000", "", VBMQ_PART_OK, "" },
		{ "", "00000030", "", VBMQ_PART_FOREIGN, "4-5" },
		{ "", "1,80000000", "", VBMQ_PART_FOREIGN, "31-32" },
		{ "", "0000000c", "/sys/devices/system/cpu/isolated = 2\n/sys/devices/system/cpu/nohz_full = 3\n",
		  VBMQ_PART_OK, "2-3" },
		{ "", "0000000c",
		  "/sys/devices/system/cpu/isolated = 2-3\n/sys/devices/system/cpu/nohz_full = (null)\n", VBMQ_PART_OK,
		  "2-3" },
		{ "", "nonsense", "", VBMQ_PART_SILENT, "" },
		{ "", "", "", VBMQ_PART_SILENT, "" },
	};

	for (unsigned i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		struct irqbalance b;
		struct vbmq_part p;

		start(&b, 5000 + i, cases[i].env, cases[i].tree);
		strcpy(b.banned, cases[i].banned);
		vbmq_irqbalance_read(b.t->root, &p);
		assert_int_equal(p.state, cases[i].state);
		assert_cpus(&p.cpus, cases[i].cpus);
		stop(&b);
	}
}

/* Single interrupts: ours come and go, what others had it leave alone stays. */
static void test_irqbalance_spares(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct irqbalance b;
	struct vbmq_part p;

	start(&b, 4244, "", "");
	strcpy(b.spared, " 5");
	vbmq_irqbalance_read(b.t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_OK);
	assert_true(vbmq_irqbalance_spares(5));
	assert_false(vbmq_irqbalance_spares(50));
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 50, true, &err), 0);
	wait_for_told(&b, 1);
	assert_string_equal(b.told, "settings ban irqs 5 50");
	assert_true(vbmq_irqbalance_spares(50)); /* before it is read again */
	strcpy(b.spared, " 5 50 7");
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 50, true, &err), 0); /* it does already */
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 5, true, &err), 0);
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 51, false, &err), 0);
	assert_int_equal(atomic_load(&b.n_told), 1);
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 50, false, &err), 0);
	wait_for_told(&b, 2);
	assert_string_equal(b.told, "settings ban irqs 5 7");
	strcpy(b.spared, " 7");
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 7, false, &err), 0);
	wait_for_told(&b, 3);
	assert_string_equal(b.told, "settings ban irqs NONE");
	/* a command has 500 bytes */
	b.spared[0] = '\0';
	for (int i = 0; i < 118; i++)
		strcat(b.spared, " 100");
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 100000, true, &err), 0);
	wait_for_told(&b, 4);
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 100000000, true, &err), 0);
	wait_for_told(&b, 5);
	strcat(b.spared, " 100000");
	assert_int_equal(vbmq_irqbalance_spare(b.t->root, 2000000000, true, &err), -E2BIG);
	assert_int_equal(atomic_load(&b.n_told), 5);
	stop(&b);
	assert_int_equal(vbmq_irqbalance_spare("/nowhere", 5, true, &err), 0); /* none runs */
}

static void test_irqbalance_refuses(void **state)
{
	struct tree *t = tree_from_text("/run/irqbalance/irqbalance77.sock = stale\n");
	struct vbmq_cpuset many = VBMQ_CPUSET_EMPTY;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_part p;

	vbmq_irqbalance_read(t->root, &p);
	assert_int_equal(p.state, VBMQ_PART_ABSENT);
	assert_int_equal(vbmq_irqbalance_ban(t->root, &many, &err), -ENOENT);
	for (unsigned c = 0; c < 400; c += 2)
		vbmq_cpuset_add(&many, c);
	err = VBMQ_ERR_INIT;
	assert_int_equal(vbmq_irqbalance_ban(t->root, &many, &err), -E2BIG);
	tree_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_a_limit_that_leaves_everything_is_none),
		cmocka_unit_test(test_units_that_cannot),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_nova),
		cmocka_unit_test(test_irqbalance),
		cmocka_unit_test(test_irqbalance_silent),
		cmocka_unit_test(test_irqbalance_foreign),
		cmocka_unit_test(test_irqbalance_spares),
		cmocka_unit_test(test_irqbalance_refuses),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("host-parts", tests, NULL, NULL);
}
