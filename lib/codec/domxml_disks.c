/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The virtio-blk disks of a guest, and who else uses its I/O threads.
 *
 * Left out: CD-ROM and floppy drives, other buses, and vhost-user disks: those are served by another process, QEMU has no
 * I/O thread for them and refuses a map. Disks on a virtio-scsi controller share the controller's threads: they make a
 * thread busy, nothing more.
 *
 * Which thread serves a queue (hw/block/virtio-blk.c, hw/virtio/iothread-vq-mapping.c of QEMU): <iothreads> with <queue>
 * says it queue by queue; without, queue i is served by the i-th thread of the list, round robin; iothread=N means all by
 * N; nothing means all by the main loop. Queues that nobody counted: one a vCPU that QEMU starts with
 * (virtio_pci_optimal_num_queues() takes smp.cpus), on machine types before 5.2 and on transports other than PCI one in all.
 */

#include "codec/domxml_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define DISK_ELEMENTS_MAX 4096u /* of any bus; checked pairwise for equal targets */

static bool starts(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

/* libvirt's inference from the name where bus= is missing. */
static int is_virtio_bus(const xmlNode *target, const char *dev, bool *ret, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *bus = NULL;
	int r = vbmq_xml_attr(target, "bus", &bus, err);

	if (r >= 0)
		*ret = bus ? !strcmp(bus, "virtio") : starts(dev, "vd");
	return r;
}

int vbmq_domxml_is_virtio_blk(const char *name, xmlNode *disk, bool *ret, char **ret_target, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *dev = NULL;
	xmlNode *target;
	bool virtio = false;
	int r = vbmq_xml_only(name, disk, "target", &target, err);

	if (r >= 0 && target)
		r = vbmq_xml_attr(target, "dev", &dev, err);
	if (r < 0)
		return r;
	if (!dev)
		return vbmq_xml_fail(name, disk, -EINVAL, err, "<disk> needs a <target dev=>");
	if (!*dev || strlen(dev) > VBMQ_TARGET_MAX ||
	    dev[strspn(dev, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789_-")])
		return vbmq_xml_fail(name, target, -EINVAL, err,
				     "attribute 'dev' of <target>: '%.64s' is not a disk target such as 'vda'", dev);
	r = is_virtio_bus(target, dev, &virtio, err);
	if (r < 0)
		return r;
	if (vbmq_xml_attr_is(disk, "device", "cdrom") || vbmq_xml_attr_is(disk, "device", "floppy") ||
	    vbmq_xml_attr_is(disk, "type", "vhostuser"))
		virtio = false;
	*ret = virtio;
	*ret_target = VBMQ_STEAL(dev);
	return 0;
}

/* "pc-q35-5.1" -> before 5.2. Machine types of distributions ("pc-q35-rhel9.2.0") are taken for new ones. */
static bool is_old_machine(const char *machine)
{
	const char *dash = strrchr(machine, '-');
	_cleanup_free_ char *version = NULL;
	uint32_t major, minor;
	char *dot;

	if (!dash || !starts(machine, "pc-"))
		return false;
	version = strdup(dash + 1);
	dot = version ? strchr(version, '.') : NULL;
	if (!dot)
		return false;
	*dot = '\0';
	return vbmq_parse_u32(version, 0, 99, &major) >= 0 && vbmq_parse_u32(dot + 1, 0, 99, &minor) >= 0 &&
	       (major < 5 || (major == 5 && minor < 2));
}

static int default_queues(struct vbmq_domxml *x, xmlNode *disk, uint32_t *ret, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *machine = NULL;
	xmlNode *os, *type = NULL, *address = NULL;
	int r = vbmq_xml_only(x->name, x->root, "os", &os, err);

	if (r >= 0)
		r = vbmq_xml_only(x->name, os, "type", &type, err);
	if (r >= 0 && type)
		r = vbmq_xml_attr(type, "machine", &machine, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, disk, "address", &address, err);
	if (r < 0)
		return r;
	*ret = x->boot_vcpus < VBMQ_QUEUES_MAX ? x->boot_vcpus : VBMQ_QUEUES_MAX;
	if ((machine && is_old_machine(machine)) || (address && !vbmq_xml_attr_is(address, "type", "pci")))
		*ret = 1;
	return 0;
}

static int fill_queues(struct vbmq_disk *disk, uint32_t n, struct vbmq_err *err)
{
	disk->queues = calloc(n, sizeof(*disk->queues));
	if (!disk->queues)
		return vbmq_err_oom(err);
	disk->n_queues = n;
	return 0;
}

/* An I/O thread id in an attribute; 0: the attribute is not there. */
static int read_thread_id(struct vbmq_domxml *x, const xmlNode *node, const char *attribute, uint32_t *ret,
			  struct vbmq_err *err)
{
	uint32_t id = 0;
	int r = vbmq_xml_attr_u32(x->name, node, attribute, 1, UINT32_MAX, &id, err);

	if (r < 0)
		return r;
	if (r && !vbmq_cpuset_has(&x->iothreads, id))
		return vbmq_xml_fail(x->name, node, -EINVAL, err,
				     "attribute '%s' of <%s>: the domain has no I/O thread %u (see <iothreads>)",
				     attribute, (const char *)node->name, id);
	*ret = id;
	return 0;
}

/* <iothread id=><queue id=/>...: the queues one thread serves. mapped: what is taken already. */
static int read_queue_list(struct vbmq_domxml *x, xmlNode *thread, uint32_t id, struct vbmq_disk *disk,
			   struct vbmq_cpuset *mapped, struct vbmq_err *err)
{
	uint32_t q;

	VBMQ_XML_EACH(node, thread, "queue")
	{
		int r = vbmq_xml_attr_u32(x->name, node, "id", 0, UINT32_MAX, &q, err);

		if (r < 0)
			return r;
		if (!r)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "<queue> needs the attribute 'id'");
		if (q >= disk->n_queues)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "disk '%s' has queues 0 to %zu, no queue %u",
					     disk->target, disk->n_queues - 1, q);
		if (vbmq_cpuset_has(mapped, q))
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "queue %u of disk '%s' is mapped to I/O thread %u and to %u", q,
					     disk->target, disk->queues[q].iothread, id);
		vbmq_cpuset_add(mapped, q);
		disk->queues[q].iothread = id;
	}
	return 0;
}

/* <driver><iothreads>: the map. */
static int read_map(struct vbmq_domxml *x, xmlNode *list, struct vbmq_disk *disk, struct vbmq_err *err)
{
	struct vbmq_cpuset mapped = VBMQ_CPUSET_EMPTY, used = VBMQ_CPUSET_EMPTY;
	uint32_t order[VBMQ_IOTHREADS_MAX];
	size_t n = 0, with_queues = 0;

	VBMQ_XML_EACH(node, list, "iothread")
	{
		uint32_t id = 0;
		int r = read_thread_id(x, node, "id", &id, err);

		if (r < 0)
			return r;
		if (!id)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "<iothread> needs the attribute 'id'");
		if (vbmq_cpuset_has(&used, id))
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "I/O thread %u stands twice in the map of disk '%s'", id, disk->target);
		vbmq_cpuset_add(&used, id);
		order[n++] = id; /* no more than there are I/O threads: ids are known ones and unique */
		r = read_queue_list(x, node, id, disk, &mapped, err);
		if (r < 0)
			return r;
		with_queues += vbmq_xml_next(node->children, "queue") != NULL;
	}
	if (!n)
		return vbmq_xml_fail(x->name, list, -EINVAL, err, "the map of disk '%s' names no I/O thread",
				     disk->target);
	if (with_queues && with_queues < n)
		return vbmq_xml_fail(
			x->name, list, -EINVAL, err,
			"in the map of disk '%s' some I/O threads list queues and some do not; list them for all "
			"or for none",
			disk->target);
	if (with_queues && vbmq_cpuset_count(&mapped) < disk->n_queues)
		return vbmq_xml_fail(x->name, list, -EINVAL, err, "the map of disk '%s' covers %u of its %zu queues",
				     disk->target, vbmq_cpuset_count(&mapped), disk->n_queues);
	for (size_t q = 0; q < disk->n_queues && !with_queues; q++)
		disk->queues[q].iothread = order[q % n];
	disk->mapped = true;
	return 0;
}

/* Protocols whose clients in QEMU wait for a socket in the event loop: that ends all polling there. */
static bool is_polled(const xmlNode *source)
{
	static const char *const waiting[] = { "nbd", "iscsi", "ssh", "nfs", "http", "https", "ftp", "ftps", "tftp" };

	for (size_t i = 0; source && i < VBMQ_ELEMENTSOF(waiting); i++)
		if (vbmq_xml_attr_is(source, "protocol", waiting[i]))
			return false;
	return true;
}

/* How requests get from QEMU to the host. libvirt's default for files and devices is the thread pool. */
static void read_backend(xmlNode *node, const xmlNode *driver, struct vbmq_disk *disk)
{
	bool aio = driver && (vbmq_xml_attr_is(driver, "io", "native") || vbmq_xml_attr_is(driver, "io", "io_uring"));

	if (vbmq_xml_attr_is(node, "type", "network"))
		disk->no_poll = !is_polled(vbmq_xml_next(node->children, "source"));
	else if (!xmlHasProp(node, (const xmlChar *)"type") || vbmq_xml_attr_is(node, "type", "file") ||
		 vbmq_xml_attr_is(node, "type", "block"))
		disk->aio_threads = !aio;
}

static int read_driver(struct vbmq_domxml *x, xmlNode *node, struct vbmq_disk *disk, struct vbmq_err *err)
{
	xmlNode *driver, *list = NULL;
	uint32_t n = 0, id = 0;
	int r = vbmq_xml_only(x->name, node, "driver", &driver, err);

	if (r >= 0 && driver)
		r = vbmq_xml_attr_u32(x->name, driver, "queues", 0, VBMQ_QUEUES_MAX, &n, err);
	if (r >= 0 && driver)
		r = read_thread_id(x, driver, "iothread", &id, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, driver, "iothreads", &list, err);
	if (r >= 0 && !n) /* libvirt takes queues='0' for "not said" */
		r = default_queues(x, node, &n, err);
	if (r >= 0)
		r = fill_queues(disk, n, err);
	if (r < 0)
		return r;
	disk->no_ioeventfd = driver && vbmq_xml_attr_is(driver, "ioeventfd", "off");
	disk->started = !disk->no_ioeventfd;
	read_backend(node, driver, disk);
	if (id && list)
		return vbmq_xml_fail(x->name, list, -EINVAL, err,
				     "disk '%s' has both iothread= and <iothreads>; keep one", disk->target);
	if (list)
		return read_map(x, list, disk, err);
	for (size_t q = 0; q < disk->n_queues; q++)
		disk->queues[q].iothread = id;
	disk->mapped = id != 0;
	return 0;
}

static int copy_attr(const xmlNode *node, const char *attribute, char **ret, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	int r = vbmq_xml_attr(node, attribute, &text, err);

	if (r < 0 || !text || !*text)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : vbmq_err_oom(err);
}

/* What the disk lies on, as far as it has a path: type= says which attribute of <source> holds it. */
static int read_source(struct vbmq_domxml *x, xmlNode *node, struct vbmq_disk *disk, struct vbmq_err *err)
{
	static const struct {
		const char *type, *attribute;
	} paths[] = { { "file", "file" }, { "block", "dev" }, { "dir", "dir" }, { "vhostvdpa", "dev" } };
	xmlNode *alias, *source = NULL;
	int r = vbmq_xml_only(x->name, node, "alias", &alias, err);

	if (r >= 0 && alias)
		r = copy_attr(alias, "name", &disk->alias, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, node, "source", &source, err);
	if (r < 0 || !source)
		return r;
	if (!xmlHasProp(node, (const xmlChar *)"type"))
		return copy_attr(source, "file", &disk->source, err);
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(paths); i++)
		if (vbmq_xml_attr_is(node, "type", paths[i].type))
			return copy_attr(source, paths[i].attribute, &disk->source, err);
	return 0;
}

/* The estimate counts vCPUs 0, 1, 2...; where offline ones lie between, the n-th online one is meant. */
static void estimate_vcpus(struct vbmq_domxml *x, struct vbmq_disk *disk)
{
	const struct vbmq_thread *vcpus = x->d->threads; /* they come first, by id */

	vbmq_disk_estimate_vcpus(disk, x->d->n_vcpus);
	if (vcpus[x->d->n_vcpus - 1].id == x->d->n_vcpus - 1)
		return;
	for (size_t q = 0; q < disk->n_queues; q++) {
		struct vbmq_cpuset counted = disk->queues[q].vcpus, *ids = &disk->queues[q].vcpus;

		*ids = VBMQ_CPUSET_EMPTY;
		for (int n = vbmq_cpuset_next(&counted, 0); n >= 0; n = vbmq_cpuset_next(&counted, (unsigned)n + 1))
			vbmq_cpuset_add(ids, vcpus[n].id);
	}
}

static int read_disk(struct vbmq_domxml *x, xmlNode *node, const char *target, struct vbmq_err *err)
{
	struct vbmq_disk *disk;
	int r;

	if (x->d->n_disks >= VBMQ_DISKS_MAX)
		return vbmq_xml_fail(x->name, node, -E2BIG, err, "more than %u virtio disks", VBMQ_DISKS_MAX);
	disk = vbmq_array_add(x->d->disks, x->d->n_disks, VBMQ_DISKS_MAX);
	if (!disk)
		return vbmq_err_oom(err);
	disk->node = VBMQ_NODE_UNKNOWN;
	memcpy(disk->target, target, strlen(target) + 1);
	r = read_source(x, node, disk, err);
	if (r >= 0)
		r = read_driver(x, node, disk, err);
	if (r >= 0)
		estimate_vcpus(x, disk);
	return r;
}

/* Every device but virtio-blk disks: an iothread= or <iothreads> there makes the thread busy. */
static int read_other_user(struct vbmq_domxml *x, xmlNode *device, struct vbmq_err *err)
{
	xmlNode *driver, *list = NULL;
	uint32_t id = 0;
	int r;

	driver = vbmq_xml_next(device->children, "driver");
	if (!driver)
		return 0;
	r = read_thread_id(x, driver, "iothread", &id, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, driver, "iothreads", &list, err);
	if (r < 0)
		return r;
	if (id)
		vbmq_cpuset_add(&x->d->busy_iothreads, id);
	VBMQ_XML_EACH(node, list, "iothread")
	{
		r = read_thread_id(x, node, "id", &id, err);
		if (r < 0)
			return r;
		if (id)
			vbmq_cpuset_add(&x->d->busy_iothreads, id);
	}
	return 0;
}

struct targets {
	char **names; /* of libxml2 */
	size_t n;
};

static void targets_done(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		xmlFree(t->names[i]);
	free(t->names);
}

/* Takes target over. */
static int check_unique(struct vbmq_domxml *x, const xmlNode *disk, struct targets *seen, char *target,
			struct vbmq_err *err)
{
	_cleanup_xml_str_ char *mine = target;
	char **slot;

	for (size_t i = 0; i < seen->n; i++)
		if (!strcmp(seen->names[i], mine))
			return vbmq_xml_fail(x->name, disk, -EINVAL, err, "a second disk with the target '%s'", mine);
	if (seen->n >= DISK_ELEMENTS_MAX)
		return vbmq_xml_fail(x->name, disk, -E2BIG, err, "more than %u disks", DISK_ELEMENTS_MAX);
	slot = vbmq_array_add(seen->names, seen->n, DISK_ELEMENTS_MAX);
	if (!slot)
		return vbmq_err_oom(err);
	*slot = VBMQ_STEAL(mine);
	return 0;
}

static int by_target(const void *a, const void *b)
{
	return strcmp(((const struct vbmq_disk *)a)->target, ((const struct vbmq_disk *)b)->target);
}

int vbmq_domxml_disks(struct vbmq_domxml *x, struct vbmq_err *err)
{
	_cleanup_(targets_done) struct targets seen = { .names = NULL };
	xmlNode *devices;
	int r = vbmq_xml_only(x->name, x->root, "devices", &devices, err);

	for (xmlNode *n = r >= 0 && devices ? devices->children : NULL; n; n = n->next) {
		bool virtio = false;

		if (n->type != XML_ELEMENT_NODE || n->ns)
			continue;
		if (vbmq_xml_is(n, "disk")) {
			char *target = NULL;

			r = vbmq_domxml_is_virtio_blk(x->name, n, &virtio, &target, err);
			if (r >= 0)
				r = check_unique(x, n, &seen, target, err);
			if (r >= 0 && virtio)
				r = read_disk(x, n, seen.names[seen.n - 1], err);
		}
		if (r >= 0 && !virtio)
			r = read_other_user(x, n, err);
		if (r < 0)
			return r;
	}
	if (r >= 0 && x->d->n_disks)
		qsort(x->d->disks, x->d->n_disks, sizeof(*x->d->disks), by_target);
	return r;
}
