/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts of disks on hand-made trees (the forms of /sys and /proc/irq are those of Linux 6.1 and 6.18; NVMe hardware was
 * not at hand, its drivers' names are from the kernel's source), and on this machine's own disk where there is one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/blockdev.h"
#include "host/irqbalance.h"
#include "host/irqs.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

#define PCI "/sys/devices/pci0000:00/"

/* Two namespaces on four CPUs: a queue a CPU pair, and the admin queue. */
#define NVME                                                                                                          \
	PCI "0000:01:00.0/msi_irqs/40 = msix\n" PCI "0000:01:00.0/msi_irqs/41 = msix\n" PCI                           \
	    "0000:01:00.0/msi_irqs/42 = msix\n" PCI "0000:01:00.0/nvme/nvme0/address = x\n" PCI                       \
	    "0000:01:00.0/nvme/nvme0/nvme0n1/mq/0/cpu_list = 0, 1\n" PCI                                              \
	    "0000:01:00.0/nvme/nvme0/nvme0n1/mq/1/cpu_list = 2, 3\n" PCI                                              \
	    "0000:01:00.0/nvme/nvme0/nvme0n2/mq/0/cpu_list = 0, 1\n" PCI "0000:01:00.0/numa_node = 0\n"               \
	    "/sys/class/nvme/nvme0 -> /sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0\n"                              \
	    "/sys/class/block/nvme0n1 -> /sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1\n"                   \
	    "/dev/nvme0n1 =\n"                                                                                        \
	    "/proc/irq/40/smp_affinity_list = 0-3\n/proc/irq/40/nvme0q0/\n"                                           \
	    "/proc/irq/41/smp_affinity_list = 0-1\n/proc/irq/41/effective_affinity_list = 1\n/proc/irq/41/nvme0q1/\n" \
	    "/proc/irq/42/smp_affinity_list = 2-3\n/proc/irq/42/effective_affinity_list = 2\n/proc/irq/42/nvme0q2/\n"

/* An NVMe with one vector for all its queues. */
#define ONE_VECTOR                                                                                                    \
	PCI "0000:02:00.0/msi_irqs/50 = msi\n" PCI "0000:02:00.0/nvme/nvme1/nvme1n1/mq/0/cpu_list = 0, 1, 2, 3\n"     \
	    "/sys/class/nvme/nvme1 -> /sys/devices/pci0000:00/0000:02:00.0/nvme/nvme1\n"                              \
	    "/sys/class/block/nvme1n1 -> /sys/devices/pci0000:00/0000:02:00.0/nvme/nvme1/nvme1n1\n"                   \
	    "/dev/nvme1n1 =\n"                                                                                        \
	    "/proc/irq/50/smp_affinity_list = 0-3\n/proc/irq/50/effective_affinity_list = 3\n/proc/irq/50/nvme1q0/\n" \
	    "/proc/irq/50/nvme1q1/\n"

/* Two virtio disks: a vector a queue, and one for all. */
#define VIRTIO                                                                                                  \
	PCI "0000:03:00.0/msi_irqs/60 = msix\n" PCI "0000:03:00.0/msi_irqs/61 = msix\n" PCI                     \
	    "0000:03:00.0/virtio1/block/vda/mq/0/cpu_list = 0, 1\n"                                             \
	    "/sys/bus/virtio/devices/virtio1 -> /sys/devices/pci0000:00/0000:03:00.0/virtio1\n"                 \
	    "/sys/class/block/vda -> /sys/devices/pci0000:00/0000:03:00.0/virtio1/block/vda\n"                  \
	    "/dev/vda =\n"                                                                                      \
	    "/proc/irq/60/smp_affinity_list = 0-3\n/proc/irq/60/virtio1-config/\n"                              \
	    "/proc/irq/61/smp_affinity_list = 0-3\n/proc/irq/61/virtio1-req.0/\n" PCI                           \
	    "0000:04:00.0/msi_irqs/70 = msix\n" PCI "0000:04:00.0/virtio12/block/vdb/mq/0/cpu_list = 0-1\n" PCI \
	    "0000:04:00.0/virtio12/block/vdb/mq/1/cpu_list = 2-3\n"                                             \
	    "/sys/bus/virtio/devices/virtio12 -> /sys/devices/pci0000:00/0000:04:00.0/virtio12\n"               \
	    "/sys/class/block/vdb -> /sys/devices/pci0000:00/0000:04:00.0/virtio12/block/vdb\n"                 \
	    "/dev/vdb =\n"                                                                                      \
	    "/proc/irq/70/smp_affinity_list = 0\n/proc/irq/70/virtio12-virtqueues/\n"

static void assert_cpus(const struct vbmq_cpuset *is, const char *want)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(is);

	assert_string_equal(text, want);
}

static struct vbmq_cpuset cpus(const char *list)
{
	struct vbmq_cpuset set = VBMQ_CPUSET_EMPTY;

	assert_int_equal(vbmq_cpulist_parse(list, strlen(list), 0, &set, NULL), 0);
	return set;
}

/* A snapshot of one guest with a disk on these devices, as vbmq_blockdev_find() names them. */
static struct vbmq_snapshot *snapshot_on(const char *root, const char *const *paths)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_domain *d = vbmq_domain_new();

	assert_true(s && d);
	d->name = strdup("db1");
	for (; *paths; paths++) {
		struct vbmq_disk *disk;

		d->disks = realloc(d->disks, (d->n_disks + 1) * sizeof(*d->disks));
		assert_non_null(d->disks);
		disk = &d->disks[d->n_disks++];
		memset(disk, 0, sizeof(*disk));
		assert_int_equal(vbmq_blockdev_find(root, *paths, &disk->node, &disk->devices, &disk->n_devices, NULL),
				 0);
	}
	assert_int_equal(vbmq_snapshot_add(s, d, NULL), 0);
	return s;
}

static const struct vbmq_irq *find(const struct vbmq_snapshot *s, uint32_t irq)
{
	for (size_t i = 0; i < s->n_irqs; i++)
		if (s->irqs[i].irq == irq)
			return &s->irqs[i];
	return NULL;
}

static void test_read(void **state)
{
	static const char *const paths[] = { "/dev/nvme0n1", "/dev/nvme1n1", "/dev/vda", "/dev/vdb", "/dev/vda", NULL };
	struct tree *t = tree_from_text(NVME ONE_VECTOR VIRTIO);
	struct vbmq_snapshot *s = snapshot_on(t->root, paths);
	const struct vbmq_irq *irq;

	assert_int_equal(vbmq_irqs_read(t->root, s, NULL), 0);
	assert_int_equal(s->n_irqs, 5);
	assert_null(find(s, 40)); /* no request comes by the admin queue */
	irq = find(s, 41);
	assert_string_equal(irq->name, "nvme0q1");
	assert_string_equal(irq->device, "nvme0");
	assert_cpus(&irq->cpus, "0-1");
	assert_cpus(&irq->affinity, "0-1");
	assert_cpus(&irq->effective, "1");
	assert_int_equal(irq->state, VBMQ_IRQ_MANAGED);
	assert_cpus(&find(s, 42)->cpus, "2-3");
	irq = find(s, 50);
	assert_string_equal(irq->name, "nvme1q1");
	assert_int_equal(irq->state, VBMQ_IRQ_MOVABLE);
	assert_cpus(&irq->cpus, "0-3");
	assert_cpus(&irq->effective, "3");
	assert_null(find(s, 60));
	assert_int_equal(find(s, 61)->state, VBMQ_IRQ_MANAGED);
	assert_cpus(&find(s, 61)->effective, "0-3"); /* the kernel does not say */
	irq = find(s, 70);
	assert_string_equal(irq->name, "virtio12-virtqueues");
	assert_int_equal(irq->state, VBMQ_IRQ_MOVABLE);
	assert_cpus(&irq->cpus, "0-3");
	vbmq_snapshot_free(s);
	tree_free(t);
}

/* What newer kernels say by the mode of the file. */
static void test_not_writable(void **state)
{
	static const char *const paths[] = { "/dev/nvme1n1", NULL };
	struct tree *t = tree_from_text(ONE_VECTOR);
	struct vbmq_snapshot *s = snapshot_on(t->root, paths);
	char path[512];

	snprintf(path, sizeof(path), "%s/proc/irq/50/smp_affinity_list", t->root);
	assert_int_equal(chmod(path, 0444), 0);
	assert_int_equal(vbmq_irqs_read(t->root, s, NULL), 0);
	assert_int_equal(find(s, 50)->state, VBMQ_IRQ_MANAGED);
	vbmq_snapshot_free(s);
	tree_free(t);
}

/* A device mapper volume over a partition and another disk; the nodes differ, the controllers are found all the same. */
static void test_stacked(void **state)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{ "/dev/dm-0", "nvme0 nvme1" },	   { "/dev/md0", "nvme0 nvme1" },
		{ "/dev/nvme0n1p1", "nvme0" },	   { "/dev/sda", "" },
		{ "/dev/nvme4n1", "nvme5 nvme6" },
	};
	struct tree *t = tree_from_text(
		NVME ONE_VECTOR PCI
		"0000:02:00.0/numa_node = 1\n" PCI "0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p1/partition = 1\n"
		"/sys/class/block/nvme0n1p1 -> "
		"/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p1\n/dev/nvme0n1p1 =\n"
		"/sys/devices/virtual/block/dm-0/slaves/nvme0n1p1 -> "
		"/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p1\n"
		"/sys/devices/virtual/block/dm-0/slaves/nvme1n1 -> "
		"/sys/devices/pci0000:00/0000:02:00.0/nvme/nvme1/nvme1n1\n"
		"/sys/class/block/dm-0 -> /sys/devices/virtual/block/dm-0\n/dev/dm-0 =\n"
		"/sys/devices/virtual/block/md0/slaves/dm-0 -> /sys/devices/virtual/block/dm-0\n"
		"/sys/class/block/md0 -> /sys/devices/virtual/block/md0\n/dev/md0 =\n" PCI
		"0000:09:00.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/size = 1\n"
		"/sys/class/block/sda -> "
		"/sys/devices/pci0000:00/0000:09:00.0/ata1/host0/target0:0:0/0:0:0:0/block/sda\n/dev/sda =\n"
		/* multipath: the head is virtual, its paths are hidden disks of two controllers */
		"/sys/devices/virtual/nvme-subsystem/nvme-subsys4/nvme4n1/size = 1\n"
		"/sys/devices/virtual/nvme-subsystem/nvme-subsys4/nvme5 -> "
		"/sys/devices/pci0000:00/0000:0a:00.0/nvme/nvme5\n"
		"/sys/devices/virtual/nvme-subsystem/nvme-subsys4/nvme6 -> "
		"/sys/devices/pci0000:00/0000:0b:00.0/nvme/nvme6\n" PCI
		"0000:0a:00.0/nvme/nvme5/nvme4c5n1/size = 1\n" PCI "0000:0b:00.0/nvme/nvme6/nvme4c6n1/size = 1\n"
		"/sys/class/block/nvme4n1 -> "
		"/sys/devices/virtual/nvme-subsystem/nvme-subsys4/nvme4n1\n/dev/nvme4n1 =\n");

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		char(*devices)[VBMQ_DEVICE_MAX + 1], is[256] = "";
		int32_t node;
		size_t n;

		assert_int_equal(vbmq_blockdev_find(t->root, cases[i].path, &node, &devices, &n, NULL), 0);
		for (size_t j = 0; j < n; j++) {
			strcat(is, j ? " " : "");
			strcat(is, devices[j]);
		}
		assert_string_equal(is, cases[i].want);
		free(devices);
	}
	tree_free(t);
}

/* Whatever /proc and /sys may hold: left out, not believed. */
static void test_hostile(void **state)
{
	static const char *const trees[] = {
		"", /* gone meanwhile */
		"/sys/class/nvme/nvme1 -> /sys/devices/none\n",
		"/sys/class/nvme/nvme1/nvme1n1/mq/0/cpu_list = 0\n", /* no interrupts: over a network */
		"/sys/class/nvme/nvme1/msi_irqs/50 = msi\n", /* no disk */
		"/sys/class/nvme/nvme1/msi_irqs/50 = msi\n/sys/class/nvme/nvme1/nvme1n1/mq/0/cpu_list = x\n"
		"/proc/irq/50/smp_affinity_list = 0\n/proc/irq/50/nvme1q1/\n",
		"/sys/class/nvme/nvme1/msi_irqs/50 = msi\n/sys/class/nvme/nvme1/nvme1n1/mq/0/cpu_list = 0\n"
		"/proc/irq/50/smp_affinity_list = 0-\n/proc/irq/50/nvme1q1/\n",
		"/sys/class/nvme/nvme1/msi_irqs/50 = msi\n/sys/class/nvme/nvme1/nvme1n1/mq/0/cpu_list = 0\n"
		"/proc/irq/50/smp_affinity_list = "
		"0\n/proc/irq/50/nvme1q/\n/proc/irq/50/nvme1q-1/\n/proc/irq/50/nvme1q1x/\n"
		"/proc/irq/50/nvme1q99999999999/\n/proc/irq/50/nvme11q1/\n/proc/irq/50/xnvme1q1/\n",
		"/sys/class/nvme/nvme1/msi_irqs/-5 = msi\n/sys/class/nvme/nvme1/msi_irqs/99999999999 = msi\n"
		"/sys/class/nvme/nvme1/msi_irqs/x = msi\n/sys/class/nvme/nvme1/nvme1n1/mq/0/cpu_list = 0\n",
		"/sys/class/nvme/nvme1/msi_irqs/50 = msi\n/sys/class/nvme/nvme1/nvme1n1/mq/7/cpu_list = 0\n"
		"/proc/irq/50/smp_affinity_list = 0\n/proc/irq/50/nvme1q1/\n", /* no such hardware queue */
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(trees); i++) {
		static const char device[1][VBMQ_DEVICE_MAX + 1] = { "nvme1" };
		static const char *const none[] = { NULL };
		struct tree *t = tree_from_text(trees[i]);
		struct vbmq_snapshot *s = snapshot_on(t->root, none);
		struct vbmq_domain *d = s->domains[0];

		d->disks = calloc(1, sizeof(*d->disks));
		d->n_disks = 1;
		assert_int_equal(vbmq_disk_set_devices(d->disks, device, 1), 0);
		assert_int_equal(vbmq_irqs_read(t->root, s, NULL), 0);
		assert_int_equal(s->n_irqs, 0);
		vbmq_snapshot_free(s);
		tree_free(t);
	}
}

static void test_set(void **state)
{
	struct tree *t = tree_from_text(ONE_VECTOR);
	struct vbmq_cpuset want = cpus("2"), is;
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(vbmq_irqs_set(t->root, 50, "nvme1q1", &want, true, &err), 0);
	assert_int_equal(vbmq_irqs_get(t->root, 50, "nvme1q1", &is, &err), 0);
	assert_cpus(&is, "2");
	assert_int_equal(vbmq_irqs_set(t->root, 50, "nvme2q1", &want, true, &err), -ENOENT);
	assert_int_equal(vbmq_irqs_get(t->root, 51, "nvme1q1", &is, &err), -ENOENT);
	assert_int_equal(vbmq_irqs_get(t->root, 50, "..", &is, &err), -ENOENT);
	assert_int_equal(vbmq_irqs_get(t->root, 50, "smp_affinity_list", &is, &err), -ENOENT);
	tree_free(t);
}

/* One that nobody uses any more is still read for the undo record; another one's number is not. */
static void test_of_the_undo_record(void **state)
{
	static const char *const none[] = { NULL };
	struct tree *t = tree_from_text(ONE_VECTOR NVME);
	struct vbmq_snapshot *s = snapshot_on(t->root, none);
	struct vbmq_undo *u = vbmq_undo_new();
	bool is_new;

	assert_non_null(vbmq_undo_entry(u, VBMQ_UNDO_IRQ, "", VBMQ_THREAD_EMULATOR, 50, 0, "nvme1q1", &is_new));
	assert_non_null(vbmq_undo_entry(u, VBMQ_UNDO_IRQ, "", VBMQ_THREAD_EMULATOR, 41, 0, "eth0-rx", &is_new));
	assert_int_equal(vbmq_irqs_read(t->root, s, u), 0);
	assert_int_equal(s->n_irqs, 1);
	assert_int_equal(s->irqs[0].irq, 50);
	assert_string_equal(s->irqs[0].device, "");
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
	tree_free(t);
}

/* --- this machine ----------------------------------------------------------------------------------------------------- */

/*
 * The interrupts of the disk that the build lies on, if it is a virtio or NVMe one: the kernel's answer must be what was
 * foretold. Each is asked for where it is already, so nothing changes, and that is looked at.
 */
static void test_this_machine(void **state)
{
	static const char *const paths[] = { "/", NULL };
	struct vbmq_snapshot *s = snapshot_on(NULL, paths);
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(vbmq_irqs_read(NULL, s, NULL), 0);
	if (s->n_irqs == 0)
		print_message("# no disk of this machine has interrupts to look at\n");
	for (size_t i = 0; i < s->n_irqs; i++) {
		const struct vbmq_irq *irq = &s->irqs[i];
		struct vbmq_cpuset is;
		int r;

		assert_false(vbmq_cpuset_is_empty(&irq->cpus));
		assert_int_equal(vbmq_irqs_get(NULL, irq->irq, irq->name, &is, &err), 0);
		assert_true(vbmq_cpuset_equal(&is, &irq->affinity));
		if (geteuid() != 0)
			continue;
		r = vbmq_irqs_set(NULL, irq->irq, irq->name, &is, false, &err);
		print_message("# interrupt %u (%s): %s, moving it says %d\n", irq->irq, irq->name,
			      vbmq_irq_state_words[irq->state], r);
		if (irq->state == VBMQ_IRQ_MANAGED)
			assert_true(r == -ENOTSUP || r == -EROFS);
		else
			assert_true(r == 0 || r == -EROFS);
		assert_int_equal(vbmq_irqs_get(NULL, irq->irq, irq->name, &is, &err), 0);
		assert_true(vbmq_cpuset_equal(&is, &irq->affinity));
	}
	vbmq_snapshot_free(s);
}

/* An interrupt of this machine that may be moved, of no queue (nothing comes by it but resizings): there and back. */
static void test_there_and_back(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	bool any = false;

	for (uint32_t number = 0; number < 1024 && geteuid() == 0 && !any; number++)
		for (unsigned device = 0; device < 32 && !any; device++) {
			struct vbmq_cpuset found, one = VBMQ_CPUSET_EMPTY, is;
			char name[32];
			int r;

			snprintf(name, sizeof(name), "virtio%u-config", device);
			if (vbmq_irqs_get(NULL, number, name, &found, &err) < 0)
				continue;
			any = true;
			vbmq_cpuset_add(&one, (unsigned)vbmq_cpuset_next(&found, 0));
			r = vbmq_irqs_set(NULL, number, name, &one, false, &err);
			if (r == 0) {
				assert_int_equal(vbmq_irqs_get(NULL, number, name, &is, &err), 0);
				r = vbmq_irqs_set(NULL, number, name, &found, false, &err);
				assert_true(vbmq_cpuset_equal(&is, &one));
				assert_int_equal(r, 0);
			} else {
				assert_true(r == -ENOTSUP || r == -EROFS);
			}
			assert_int_equal(vbmq_irqs_get(NULL, number, name, &is, &err), 0);
			assert_true(vbmq_cpuset_equal(&is, &found));
			print_message("# interrupt %u (%s): there and back says %d\n", number, name, r);
		}
	if (!any)
		print_message("# this machine has no interrupt to try it with\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	     cmocka_unit_test(test_not_writable),
		cmocka_unit_test(test_stacked),	     cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_set),	     cmocka_unit_test(test_of_the_undo_record),
		cmocka_unit_test(test_this_machine), cmocka_unit_test(test_there_and_back),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("host-irqs", tests, NULL, NULL);
}
