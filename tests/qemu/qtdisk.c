/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A virtio-blk-pci disk: plugged by device_add, set up through the legacy (I/O port) interface, unplugged by device_del and
 * the ejection that a guest's ACPI code would do.
 *
 * Which of QEMU's eventfds are the host notifiers? When ioeventfd starts, QEMU makes one guest notifier a queue, one for
 * configuration changes, then one host notifier a queue, each with the lowest free descriptor number. So the new eventfds in
 * ascending order are these. "New" is measured against those that were there before DRIVER_OK, or, after a restart of
 * ioeventfd, against those known not to be this disk's (kept up to date by every qt_disk_renew()). A count that is not
 * 2n+1 is an error, never a guess. kcmp() tells whether a descriptor is still the one that was fetched. A new one is put in
 * the old one's place by dup3(), so a load thread that kicks meanwhile needs no lock.
 *
 * Guest RAM: from 1 MiB on, 64 KiB of rings a queue, then headers and data of each queue.
 */

#include "qtvm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QT_SLOT 4 /* on PCI bus 0 */
#define QT_BAR 0xc000
#define QT_RINGS_ADDR (1u << 20)
#define QT_RINGS_SIZE (64u << 10)
#define QT_DEFAULT_SLOTS 85

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define ACPI_EJECT 0xae08
#define ACPI_BUS 0xae10

/* Legacy virtio-pci registers and bits, virtio specification 1.x, 4.1.4.8. */
#define REG_HOST_FEATURES 0
#define REG_GUEST_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_STATUS 18
#define REG_CONFIG 20
#define CONFIG_CAPACITY 0
#define CONFIG_QUEUES 34
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define F_BLK_FLUSH (1u << 9)
#define F_BLK_MQ (1u << 12)
#define F_EVENT_IDX (1u << 29)

static const char *disk_id(const struct qt_disk *d)
{
	return d->conf.id ? d->conf.id : "disk0";
}

/* --- eventfds ----------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* All eventfds of QEMU, ascending. */
static int list_eventfds(const struct qt_disk *d, int **ret, size_t *ret_n, struct vbmq_err *err)
{
	char path[64], target[64];
	struct dirent *e;
	int *list = NULL;
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", qt_vm_pid(d->vm));
	dir = opendir(path);
	if (!dir)
		return vbmq_err_set(err, -errno, "%s: %s", path, strerror(errno));
	while ((e = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
		int *p;

		if (len <= 0)
			continue;
		target[len] = 0;
		if (strcmp(target, "anon_inode:[eventfd]"))
			continue;
		p = realloc(list, (n + 1) * sizeof(*list));
		if (!p) {
			free(list);
			closedir(dir);
			return vbmq_err_oom(err);
		}
		list = p;
		list[n++] = atoi(e->d_name);
	}
	closedir(dir);
	if (n)
		qsort(list, n, sizeof(*list), by_number);
	*ret = list;
	*ret_n = n;
	return 0;
}

static bool has(const int *list, size_t n, int number)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == number)
			return true;
	return false;
}

/* All that are there now, but for this disk's own, are others'. */
static int note_others(struct qt_disk *d, bool own, struct vbmq_err *err)
{
	size_t n, kept = 0;
	int *list, r;

	r = list_eventfds(d, &list, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!own || !has(d->fds, 2 * d->n_queues + 1, list[i]))
			list[kept++] = list[i];
	free(d->others);
	d->others = list;
	d->n_others = kept;
	return 0;
}

static int fetch_eventfds(struct qt_disk *d, struct vbmq_err *err)
{
	size_t n, kept = 0, want = 2 * d->n_queues + 1;
	int *list, r = list_eventfds(d, &list, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!has(d->others, d->n_others, list[i]))
			list[kept++] = list[i];
	if (kept != want) {
		free(list);
		return vbmq_err_set(err, -EPROTO, "QEMU has %zu new eventfds, %zu were expected for %u queues", kept,
				    want, d->n_queues);
	}
	memcpy(d->fds, list, want * sizeof(*list));
	free(list);
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct qt_queue *q = &d->queues[i];
		int fd = qt_vm_getfd(d->vm, d->fds[d->n_queues + 1 + i]);

		if (fd < 0)
			return vbmq_err_set(err, fd, "an eventfd of QEMU: %s", strerror(-fd));
		if (q->kick_fd < 0) {
			q->kick_fd = fd;
			continue;
		}
		r = dup3(fd, q->kick_fd, O_CLOEXEC) < 0 ? -errno : 0;
		close(fd);
		if (r < 0)
			return vbmq_err_set(err, r, "dup3: %s", strerror(-r));
	}
	return 0;
}

static bool same_eventfds(const struct qt_disk *d)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		if (syscall(SYS_kcmp, getpid(), qt_vm_pid(d->vm), KCMP_FILE, d->queues[i].kick_fd,
			    d->fds[d->n_queues + 1 + i]))
			return false;
	return true;
}

int qt_disk_renew(struct qt_disk *d, struct vbmq_err *err)
{
	int r;

	if (same_eventfds(d)) {
		r = note_others(d, true, err);
		return r < 0 ? r : 0;
	}
	r = fetch_eventfds(d, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < d->n_queues; i++)
		qt_kick(&d->queues[i]);
	return 1;
}

void qt_disk_fresh_kicks(struct qt_disk *d, bool on)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		__atomic_store_n(&d->queues[i].fresh, on ? d->fds[d->n_queues + 1 + i] : -1, __ATOMIC_SEQ_CST);
}

/* --- PCI and virtio set-up ---------------------------------------------------------------------------------------- */

static int pci_write(struct qt_disk *d, uint8_t reg, uint32_t value, struct vbmq_err *err)
{
	int r = qt_out(d->vm, PCI_ADDRESS, 4, 0x80000000u | QT_SLOT << 11 | reg, err);

	return r < 0 ? r : qt_out(d->vm, PCI_DATA, 4, value, err);
}

static int pci_read(struct qt_disk *d, uint8_t reg, uint32_t *ret, struct vbmq_err *err)
{
	int r = qt_out(d->vm, PCI_ADDRESS, 4, 0x80000000u | QT_SLOT << 11 | reg, err);

	return r < 0 ? r : qt_in(d->vm, PCI_DATA, 4, ret, err);
}

static int reg_out(struct qt_disk *d, uint16_t reg, unsigned size, uint32_t value, struct vbmq_err *err)
{
	return qt_out(d->vm, (uint16_t)(QT_BAR + reg), size, value, err);
}

static int reg_in(struct qt_disk *d, uint16_t reg, unsigned size, uint32_t *ret, struct vbmq_err *err)
{
	return qt_in(d->vm, (uint16_t)(QT_BAR + reg), size, ret, err);
}

static int find_pci(struct qt_disk *d, struct vbmq_err *err)
{
	uint32_t id = 0;
	int r = pci_read(d, 0, &id, err);

	if (r < 0)
		return r;
	if (id != 0x10011af4) /* Red Hat, transitional virtio-blk */
		return vbmq_err_set(err, -ENODEV, "no virtio-blk device in PCI slot %d (ids %#x)", QT_SLOT, id);
	r = pci_write(d, 0x10, QT_BAR, err);
	if (r < 0)
		return r;
	return pci_write(d, 0x04, 0x7, err); /* I/O, memory, bus master */
}

static int agree_features(struct qt_disk *d, struct vbmq_err *err)
{
	uint32_t offered, want = F_BLK_FLUSH | F_BLK_MQ | (d->conf.event_idx ? F_EVENT_IDX : 0), lo, hi, queues = 1;
	int r = reg_out(d, REG_STATUS, 1, 0, err);

	if (r >= 0)
		r = reg_out(d, REG_STATUS, 1, STATUS_ACKNOWLEDGE | STATUS_DRIVER, err);
	if (r >= 0)
		r = reg_in(d, REG_HOST_FEATURES, 4, &offered, err);
	if (r < 0)
		return r;
	if (d->conf.event_idx && !(offered & F_EVENT_IDX))
		return vbmq_err_set(err, -ENOTSUP, "the device does not offer EVENT_IDX");
	r = reg_out(d, REG_GUEST_FEATURES, 4, offered & want, err);
	if (r >= 0)
		r = reg_in(d, REG_CONFIG + CONFIG_CAPACITY, 4, &lo, err);
	if (r >= 0)
		r = reg_in(d, REG_CONFIG + CONFIG_CAPACITY + 4, 4, &hi, err);
	if (r >= 0 && (offered & F_BLK_MQ))
		r = reg_in(d, REG_CONFIG + CONFIG_QUEUES, 2, &queues, err);
	if (r < 0)
		return r;
	if (queues != d->conf.queues)
		return vbmq_err_set(err, -EPROTO, "the device has %u queues instead of %u", queues, d->conf.queues);
	d->sectors = (uint64_t)hi << 32 | lo;
	return 0;
}

static int set_up_queue(struct qt_disk *d, unsigned i, uint64_t *at, struct vbmq_err *err)
{
	uint64_t rings = QT_RINGS_ADDR + (uint64_t)i * QT_RINGS_SIZE, avail;
	unsigned slots = d->conf.max_slots ? d->conf.max_slots : QT_DEFAULT_SLOTS;
	struct qt_queue *q = &d->queues[i];
	uint32_t size;
	int r = reg_out(d, REG_QUEUE_SELECT, 2, i, err);

	if (r >= 0)
		r = reg_in(d, REG_QUEUE_SIZE, 2, &size, err);
	if (r < 0)
		return r;
	if (size < 4 || size > 1024)
		return vbmq_err_set(err, -EPROTO, "queue %u has %u entries; 4 to 1024 are served here", i, size);
	if (q->slots && q->size != size)
		return vbmq_err_set(err, -EPROTO, "queue %u has changed its size", i);
	avail = rings + size * sizeof(struct qt_desc);
	q->index = i;
	q->size = size;
	q->event_idx = d->conf.event_idx;
	q->interrupts = d->conf.interrupts;
	q->desc = qt_ram(d->vm, rings);
	q->avail = qt_ram(d->vm, avail);
	q->used = qt_ram(d->vm, (avail + sizeof(struct qt_avail) + (size + 1) * sizeof(uint16_t) + 4095) & ~4095ull);
	if (q->slots) {
		qt_queue_again(q);
	} else {
		slots = slots < QT_SLOTS_MAX ? slots : QT_SLOTS_MAX;
		if (*at + slots * (64ull + d->conf.max_bytes) > d->vm->ram_size)
			return vbmq_err_set(err, -ENOSPC, "guest RAM is too small for %u requests of %u bytes a queue",
					    slots, d->conf.max_bytes);
		r = qt_queue_init(q, slots, *at + (uint64_t)slots * d->conf.max_bytes, *at, d->conf.max_bytes,
				  d->vm->ram, err);
		if (r < 0)
			return r;
		*at += (slots * (64ull + d->conf.max_bytes) + 4095) & ~4095ull;
	}
	return reg_out(d, REG_QUEUE_PFN, 4, (uint32_t)(rings >> 12), err);
}

static int add_device(struct qt_disk *d, struct vbmq_err *err)
{
	json_t *args = json_pack("{s:s, s:s, s:s, s:i, s:s}", "driver", "virtio-blk-pci", "id", disk_id(d), "drive",
				 d->conf.drive, "num-queues", (int)d->conf.queues, "addr", "0x4");

	if (!args)
		return vbmq_err_oom(err);
	if (d->conf.queue_size)
		json_object_set_new(args, "queue-size", json_integer(d->conf.queue_size));
	if (d->conf.props)
		json_object_update(args, (json_t *)(uintptr_t)d->conf.props);
	return qt_qmpj(d->vm, NULL, err, "device_add", args);
}

int qt_disk_plug(struct qt_disk *d, struct vbmq_err *err)
{
	uint64_t at = QT_RINGS_ADDR + QT_QUEUES_MAX * QT_RINGS_SIZE;
	int r = add_device(d, err);

	if (r >= 0)
		r = find_pci(d, err);
	if (r >= 0)
		r = agree_features(d, err);
	for (unsigned i = 0; r >= 0 && i < d->conf.queues; i++)
		r = set_up_queue(d, i, &at, err);
	if (r < 0)
		return r;
	d->n_queues = d->conf.queues;
	r = note_others(d, false, err);
	if (r >= 0)
		r = reg_out(d, REG_STATUS, 1, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK, err);
	if (r >= 0)
		r = fetch_eventfds(d, err);
	if (r < 0)
		return r;
	d->plugged = true;
	for (unsigned i = 0; i < d->n_queues; i++) {
		qt_publish(&d->queues[i]);
		qt_kick(&d->queues[i]);
	}
	return 0;
}

int qt_disk_new(struct qt_vm *vm, const struct qt_disk_conf *conf, struct qt_disk **ret, struct vbmq_err *err)
{
	struct qt_disk *d;
	int r;

	if (!conf->queues || conf->queues > QT_QUEUES_MAX || conf->max_bytes % QT_SECTOR)
		return vbmq_err_set(err, -EINVAL, "a disk of %u queues, requests of %u bytes", conf->queues,
				    conf->max_bytes);
	d = calloc(1, sizeof(*d));
	if (!d)
		return vbmq_err_oom(err);
	d->vm = vm;
	d->conf = *conf;
	if (!d->conf.max_bytes)
		d->conf.max_bytes = 16384;
	for (unsigned i = 0; i < QT_QUEUES_MAX; i++) {
		d->queues[i].kick_fd = d->queues[i].fresh = -1;
		d->queues[i].pidfd = vm->pidfd;
	}
	r = qt_disk_plug(d, err);
	if (r < 0) {
		qt_disk_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

struct qt_disk *qt_disk_free(struct qt_disk *d)
{
	if (!d)
		return NULL;
	for (unsigned i = 0; i < QT_QUEUES_MAX; i++) {
		if (d->queues[i].kick_fd >= 0)
			close(d->queues[i].kick_fd);
		qt_queue_fini(&d->queues[i]);
	}
	free(d->others);
	free(d);
	return NULL;
}

/* --- unplugging --------------------------------------------------------------------------------------------------- */

int qt_disk_unplug(struct qt_disk *d, struct vbmq_err *err)
{
	int r = qt_qmp(d->vm, NULL, err, "device_del", "{s:s}", "id", disk_id(d));

	if (r >= 0)
		r = qt_out(d->vm, ACPI_BUS, 4, 0, err);
	if (r >= 0)
		r = qt_out(d->vm, ACPI_EJECT, 4, 1u << QT_SLOT, err);
	if (r >= 0)
		r = qt_event(d->vm, "DEVICE_DELETED", "device", disk_id(d), NULL, err);
	if (r >= 0)
		d->plugged = false;
	return r;
}

int qt_disk_orphans(struct qt_disk *d, struct vbmq_err *err)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct qt_queue *q = &d->queues[i];

		for (unsigned k = 0; k < q->n_slots; k++) {
			struct qt_slot *s = &q->slots[k];
			uint16_t from_end = (uint16_t)(q->avail_idx - s->avail_at);

			if (s->busy && from_end > q->in_flight)
				return vbmq_err_set(
					err, -EPROTO,
					"queue %u: request %llu was taken by the device and never completed", i,
					(unsigned long long)s->seq);
		}
	}
	return 0;
}

int qt_disk_remap(struct qt_disk *d, json_t *mapping, struct vbmq_err *err)
{
	return qt_qmp(d->vm, NULL, err, "virtio-blk-set-iothread-vq-mapping", "{s:s, s:o*}", "id", disk_id(d),
		      "mapping", mapping);
}

/* --- diagnosis ---------------------------------------------------------------------------------------------------- */

static void dump_json(FILE *to, const char *what, json_t *v, int r, const struct vbmq_err *err)
{
	char *text = r < 0 ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

	fprintf(to, "# %s: %s\n", what, text ? text : err->text);
	free(text);
	if (r >= 0)
		json_decref(v);
}

static void dump_queue(const struct qt_queue *q, FILE *to)
{
	const uint16_t *event = (const uint16_t *)&q->used->ring[q->size];

	fprintf(to,
		"# queue %u, driver: size %u, avail %u (published %u), used %u (device: %u), in flight %u, used flags "
		"%#x, "
		"avail event %u, submitted %llu, completed %llu, kicks %llu\n",
		q->index, q->size, q->avail_idx, q->published, q->used_idx, q->used->idx, q->in_flight, q->used->flags,
		*event, (unsigned long long)q->n_submitted, (unsigned long long)q->n_completed,
		(unsigned long long)q->n_kicks);
}

static void dump_threads(struct qt_disk *d, FILE *to)
{
	char path[64], name[400], line[200];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", qt_vm_pid(d->vm));
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		FILE *f;

		snprintf(name, sizeof(name), "%s/%s/stat", path, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(name, "re");
		/* Idle workers of the thread pool tell nothing. */
		if (f && fgets(line, sizeof(line), f) && !strstr(line, "(worker) S"))
			fprintf(to, "# thread: %.60s\n", line);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

void qt_disk_diagnose(struct qt_disk *d, FILE *to)
{
	char path[128], text[2048], *save = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	json_t *v = NULL;
	int r = 0;

	for (unsigned i = 0; i < d->n_queues; i++)
		dump_queue(&d->queues[i], to);
	dump_threads(d, to);
	snprintf(path, sizeof(path), "/machine/peripheral/%s/virtio-backend", disk_id(d));
	for (unsigned i = 0; d->plugged && i < d->n_queues; i++) {
		r = qt_qmp(d->vm, &v, &err, "x-query-virtio-queue-status", "{s:s, s:i}", "path", path, "queue", (int)i);
		dump_json(to, "queue, device", v, r, &err);
	}
	if (qt_vm_alive(d->vm)) {
		r = qt_qmp(d->vm, &v, &err, "qom-get", "{s:s, s:s}", "path", path, "property", "iothread-vq-mapping");
		dump_json(to, "mapping", v, r, &err);
		r = qt_qmp(d->vm, &v, &err, "query-iothreads", NULL);
		dump_json(to, "I/O threads", v, r, &err);
		r = qt_qmp(d->vm, &v, &err, "query-block-jobs", NULL);
		dump_json(to, "jobs", v, r, &err);
	}
	qt_vm_stderr(d->vm, text, sizeof(text));
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		fprintf(to, "# QEMU: %s\n", l);
}

int qt_request(struct qt_disk *d, uint64_t *ret_ns, struct vbmq_err *err)
{
	struct qt_patience patience = { .vm = d->vm };
	struct qt_queue *q = &d->queues[0];
	struct qt_slot *s = qt_slot_get(q);
	uint64_t begin = qt_now();
	int r;

	s->type = QT_READ;
	s->sector = 0;
	s->bytes = QT_BLOCK;
	qt_submit(q, s);
	qt_publish(q);
	while ((r = qt_reap(q, &s, err)) == 0) {
		r = qt_patience(&patience, "a request", err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret_ns = qt_now() - begin;
	r = s->status ? vbmq_err_set(err, -EIO, "a read ended with status %u", s->status) : 0;
	qt_slot_put(q, s);
	return r;
}
