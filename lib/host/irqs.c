/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A controller (nvme0, virtio1) is a directory of /sys; its message-signalled interrupts are in msi_irqs/ of the PCI device
 * that it hangs on. Which of its queues an interrupt serves is told by the action's name, a directory in /proc/irq/N:
 * nvme0q3 is the NVMe queue 3 (0: the admin queue, which no request goes through), that is hardware queue 2 of the
 * disk; virtio1-req.2 is the hardware queue 2. mq/Q/cpu_list of any of the controller's disks names the CPUs whose
 * requests go through hardware queue Q; all its disks share the queues.
 *
 * Whether one can be moved. Both drivers let the kernel spread their queues' vectors over the CPUs, and the kernel lets nobody
 * move such an interrupt (EIO, by now EPERM). Newer kernels show that by the missing write permission of smp_affinity,
 * older ones not at all; but an interrupt that only serves one request queue is always of that kind. What is left are
 * devices with fewer vectors than queues: one interrupt for the admin queue and all others (nvme0q0 and nvme0q1), or for all of a
 * virtio device's virtqueues (virtio1-virtqueues).
 *
 * Limits. Other drivers (SCSI host adapters) do not say which interrupt serves which queue. Devices without
 * message-signalled interrupts are left out, so are those over a network.
 */
#include "host/irqs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/irqbalance.h"
#include "host/sysroot.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define PROC_IRQ "/proc/irq"
#define PARENTS_MAX 4u /* from a controller to its PCI device */
#define HW_QUEUES_MAX 65536u
#define ALL_QUEUES UINT32_MAX

struct read {
	const char *sysroot;
	struct vbmq_snapshot *s;
};

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static char *join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* A CPU list, also one with spaces ("0, 1"). -ENOENT, -EBADMSG, -ENOMEM. */
static int read_cpus(const char *sysroot, const char *path, struct vbmq_cpuset *ret)
{
	_cleanup_free_ char *line = NULL;
	size_t n = 0;
	int r = vbmq_sysroot_line(sysroot, path, &line);

	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	for (const char *c = line; *c; c++)
		if (*c != ' ')
			line[n++] = *c;
	r = vbmq_cpulist_parse(line, n, 0, ret, NULL);
	return r == 0 || r == -ENOMEM ? r : -EBADMSG;
}

static int read_irq_cpus(const char *sysroot, uint32_t irq, const char *file, struct vbmq_cpuset *ret)
{
	char path[64];

	snprintf(path, sizeof(path), PROC_IRQ "/%u/%s", irq, file);
	return read_cpus(sysroot, path, ret);
}

static bool is_writable(const char *sysroot, uint32_t irq)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), PROC_IRQ "/%u/smp_affinity_list", irq);
	fd = vbmq_sysroot_open(sysroot, path, O_PATH);
	return fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_IWUSR);
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* Action of a queue that requests go through; *ret: hardware queue or ALL_QUEUES. */
static bool parse_action(const char *name, const char *device, uint32_t *ret)
{
	const char *rest = name + strlen(device);
	uint32_t n;

	if (strncmp(name, device, strlen(device)) != 0 || strlen(name) > VBMQ_TARGET_MAX)
		return false;
	if (strncmp(device, "virtio", 6) == 0 && strcmp(rest, "-virtqueues") == 0) {
		*ret = ALL_QUEUES;
		return true;
	}
	if (strncmp(device, "nvme", 4) == 0 && rest[0] == 'q' && vbmq_parse_u32(rest + 1, 1, HW_QUEUES_MAX, &n) == 0) {
		*ret = n - 1;
		return true;
	}
	if (strncmp(device, "virtio", 6) == 0 && strncmp(rest, "-req.", 5) == 0 &&
	    vbmq_parse_u32(rest + 5, 0, HW_QUEUES_MAX - 1, &n) == 0) {
		*ret = n;
		return true;
	}
	return false;
}

/* The directory of one of the controller's disks with its hardware queues, "/sys/.../mq". NULL: there is none. */
static int find_mq(const char *sysroot, const char *controller, const char *device, char **ret)
{
	bool nvme = strncmp(device, "nvme", 4) == 0;
	_cleanup_free_ char *dir = nvme ? strdup(controller) : join(controller, "block");
	char **names, **inside;
	size_t n, n_inside;
	int r;

	*ret = NULL;
	if (!dir)
		return -ENOMEM;
	r = vbmq_sysroot_list(sysroot, dir, &names, &n);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (size_t i = 0; r == 0 && !*ret && i < n; i++) {
		if (nvme && strncmp(names[i], "nvme", 4) != 0)
			continue;
		if (asprintf(ret, "%s/%s/mq", dir, names[i]) < 0) {
			*ret = NULL;
			r = -ENOMEM;
			break;
		}
		if (vbmq_sysroot_list(sysroot, *ret, &inside, &n_inside) == 0) {
			vbmq_sysroot_names_free(inside, n_inside);
			break;
		}
		free(*ret);
		*ret = NULL;
	}
	vbmq_sysroot_names_free(names, n);
	return r;
}

/* CPUs of hardware queue q (ALL_QUEUES: of all) are added. */
static int add_queue(const char *sysroot, const char *mq, uint32_t q, struct vbmq_cpuset *all)
{
	char **names = NULL;
	size_t n = 0;
	int r = vbmq_sysroot_list(sysroot, mq, &names, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_free_ char *path = NULL;
		struct vbmq_cpuset cpus;
		uint32_t number;

		if (vbmq_parse_u32(names[i], 0, HW_QUEUES_MAX, &number) < 0 || (q != ALL_QUEUES && number != q))
			continue;
		if (asprintf(&path, "%s/%s/cpu_list", mq, names[i]) < 0) {
			path = NULL;
			r = -ENOMEM;
		} else if (read_cpus(sysroot, path, &cpus) == 0) {
			*all = vbmq_cpuset_or(all, &cpus);
		}
	}
	vbmq_sysroot_names_free(names, n);
	return r == -ENOMEM ? r : 0;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static bool is_known(const struct vbmq_snapshot *s, uint32_t irq)
{
	for (size_t i = 0; i < s->n_irqs; i++)
		if (s->irqs[i].irq == irq)
			return true;
	return false;
}

/* Adds it with what /proc/irq says. -ENOENT: it cannot be read. */
static int add_irq(struct read *r, const struct vbmq_irq *from)
{
	struct vbmq_irq irq = *from, *slot;
	int code = read_irq_cpus(r->sysroot, irq.irq, "smp_affinity_list", &irq.affinity);

	if (code < 0 || is_known(r->s, irq.irq))
		return code == -ENOMEM ? code : 0;
	code = read_irq_cpus(r->sysroot, irq.irq, "effective_affinity_list", &irq.effective);
	if (code == -ENOMEM)
		return code;
	if (code < 0 || vbmq_cpuset_is_empty(&irq.effective))
		irq.effective = irq.affinity;
	if (irq.state == VBMQ_IRQ_MOVABLE && !is_writable(r->sysroot, irq.irq))
		irq.state = VBMQ_IRQ_MANAGED;
	if (irq.state == VBMQ_IRQ_MOVABLE && vbmq_irqbalance_spares(irq.irq))
		irq.state = VBMQ_IRQ_FOREIGN;
	slot = vbmq_array_add(r->s->irqs, r->s->n_irqs, VBMQ_IRQS_MAX);
	if (!slot)
		return r->s->n_irqs == VBMQ_IRQS_MAX ? 0 : -ENOMEM;
	*slot = irq;
	return 0;
}

/* Interrupt irq of the controller, if requests come by it. */
static int read_irq(struct read *r, const char *device, const char *mq, uint32_t number)
{
	struct vbmq_irq irq = { .irq = number };
	char dir[64], admin[VBMQ_DEVICE_MAX + 8];
	char **names;
	size_t n, n_queues = 0;
	bool shared = false;
	int code;

	snprintf(dir, sizeof(dir), PROC_IRQ "/%u", number);
	snprintf(admin, sizeof(admin), "%sq0", device);
	code = vbmq_sysroot_list(r->sysroot, dir, &names, &n);
	if (code < 0)
		return code == -ENOMEM ? code : 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		uint32_t q;

		shared |= strcmp(names[i], admin) == 0;
		if (!parse_action(names[i], device, &q))
			continue;
		if (n_queues++ == 0)
			strcpy(irq.name, names[i]);
		shared |= n_queues > 1 || q == ALL_QUEUES;
		code = add_queue(r->sysroot, mq, q, &irq.cpus);
	}
	vbmq_sysroot_names_free(names, n);
	if (code < 0 || vbmq_cpuset_is_empty(&irq.cpus))
		return code;
	strcpy(irq.device, device);
	irq.state = shared ? VBMQ_IRQ_MOVABLE : VBMQ_IRQ_MANAGED;
	return add_irq(r, &irq);
}

static int list_irqs(const char *sysroot, char *controller, char ***ret, size_t *ret_n)
{
	_cleanup_free_ char *at = strdup(controller);
	int r = -ENOENT;

	if (!at)
		return -ENOMEM;
	for (unsigned i = 0; r < 0 && r != -ENOMEM && i < PARENTS_MAX; i++) {
		_cleanup_free_ char *path = join(at, "msi_irqs");
		char *slash = strrchr(at, '/');

		r = path ? vbmq_sysroot_list(sysroot, path, ret, ret_n) : -ENOMEM;
		if (slash == at)
			break;
		*slash = '\0';
	}
	return r;
}

static int read_device(struct read *r, const char *device)
{
	bool nvme = strncmp(device, "nvme", 4) == 0;
	_cleanup_free_ char *link = join(nvme ? "/sys/class/nvme" : "/sys/bus/virtio/devices", device), *real = NULL,
			    *mq = NULL;
	char **names;
	size_t n;
	int code;

	if (!link)
		return -ENOMEM;
	code = vbmq_sysroot_real(r->sysroot, link, &real);
	if (code == 0)
		code = find_mq(r->sysroot, real, device, &mq);
	if (code == 0 && !mq)
		return 0;
	if (code == 0)
		code = list_irqs(r->sysroot, real, &names, &n);
	if (code < 0)
		return code == -ENOMEM ? code : 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		uint32_t irq;

		if (vbmq_parse_u32(names[i], 0, INT32_MAX, &irq) == 0)
			code = read_irq(r, device, mq, irq);
	}
	vbmq_sysroot_names_free(names, n);
	return code;
}

static bool has_action(const char *sysroot, uint32_t irq, const char *name)
{
	_cleanup_(closep) int fd = -1;
	char path[64 + VBMQ_TARGET_MAX];

	if (!*name || name[0] == '.' || strchr(name, '/'))
		return false;
	snprintf(path, sizeof(path), PROC_IRQ "/%u/%s", irq, name);
	fd = vbmq_sysroot_open(sysroot, path, O_PATH | O_DIRECTORY);
	return fd >= 0;
}

/* Those that nobody needs any more, but that we moved. */
static int read_of_undo(struct read *r, const struct vbmq_undo *undo)
{
	for (size_t i = 0; undo && i < undo->n_entries; i++) {
		const struct vbmq_undo_entry *e = &undo->entries[i];
		struct vbmq_irq irq = { .irq = e->id, .state = VBMQ_IRQ_MOVABLE };

		if (e->kind != VBMQ_UNDO_IRQ || !has_action(r->sysroot, e->id, e->target))
			continue;
		memcpy(irq.name, e->target, sizeof(irq.name));
		if (add_irq(r, &irq) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

/* The device of an earlier disk of s? */
static bool was_met(const struct vbmq_snapshot *s, size_t domain, size_t disk, const char *device)
{
	for (size_t i = 0; i <= domain; i++)
		for (size_t j = 0; j < (i < domain ? s->domains[i]->n_disks : disk); j++)
			for (size_t k = 0; k < s->domains[i]->disks[j].n_devices; k++)
				if (strcmp(s->domains[i]->disks[j].devices[k], device) == 0)
					return true;
	return false;
}

int vbmq_irqs_read(const char *sysroot, struct vbmq_snapshot *s, const struct vbmq_undo *undo)
{
	struct read r = { .sysroot = sysroot, .s = s };

	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_disks; j++) {
			const struct vbmq_disk *disk = &s->domains[i]->disks[j];

			for (size_t k = 0; k < disk->n_devices; k++)
				if (!was_met(s, i, j, disk->devices[k]) && read_device(&r, disk->devices[k]) < 0)
					return -ENOMEM;
		}
	return read_of_undo(&r, undo);
}

/* --- setting ---------------------------------------------------------------------------------------------------------- */

static int check(const char *sysroot, uint32_t irq, const char *name, struct vbmq_err *err)
{
	return has_action(sysroot, irq, name)
		       ? 0
		       : vbmq_err_set(err, -ENOENT, "interrupt %u is not %s (any more)", irq, name);
}

int vbmq_irqs_get(const char *sysroot, uint32_t irq, const char *name, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	int r = check(sysroot, irq, name, err);

	if (r < 0)
		return r;
	r = read_irq_cpus(sysroot, irq, "smp_affinity_list", ret);
	return r < 0 ? vbmq_err_set(err, r, PROC_IRQ "/%u/smp_affinity_list cannot be read: %s", irq, strerror(-r)) : 0;
}

static int write_affinity(const char *sysroot, uint32_t irq, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	_cleanup_free_ char *list = vbmq_cpulist_format(cpus);
	_cleanup_(closep) int fd = -1;
	char path[64];

	if (!list)
		return vbmq_err_oom(err);
	snprintf(path, sizeof(path), PROC_IRQ "/%u/smp_affinity_list", irq);
	fd = vbmq_sysroot_open(sysroot, path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return vbmq_err_set(err, fd == -EPERM || fd == -EACCES ? -ENOTSUP : fd, "%s cannot be written: %s",
				    path, strerror(-fd));
	if (write(fd, list, strlen(list)) >= 0)
		return 0;
	if (errno == EIO || errno == EPERM)
		return vbmq_err_set(err, -ENOTSUP, "the kernel does not let interrupt %u be moved", irq);
	if (errno == ENOSPC)
		return vbmq_err_set(err, -ENOSPC, "CPUs %s have no interrupt vector free for interrupt %u", list, irq);
	return vbmq_err_set(err, -errno, "%s: CPUs %s are not taken: %m", path, list);
}

int vbmq_irqs_set(const char *sysroot, uint32_t irq, const char *name, const struct vbmq_cpuset *cpus, bool stay,
		  struct vbmq_err *err)
{
	int r = check(sysroot, irq, name, err);

	if (r == 0 && stay)
		r = vbmq_irqbalance_spare(sysroot, irq, true, err);
	if (r == 0)
		r = write_affinity(sysroot, irq, cpus, err);
	if (r == 0 && !stay)
		r = vbmq_irqbalance_spare(sysroot, irq, false, err);
	else if (r < 0 && stay)
		vbmq_irqbalance_spare(sysroot, irq, false, NULL);
	return r;
}
