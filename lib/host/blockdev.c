/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * From a path to a directory of /sys, and from there down to the hardware:
 *
 *   path -- device node: /sys/dev/block/MAJ:MIN     (recorded tree: /sys/class/block/NAME)
 *        \- file: the device of its file system; one without a number of its own (btrfs, overlay) by the source of the
 *           mount it lies on, in /proc/self/mountinfo; all members of a btrfs of several devices
 *
 *   directory of /sys: partition -> the directory above; slaves/ (dm, md, bcache) -> each of them; loop/backing_file -> that
 *           path; the head of an nvme multipath device (its directory is virtual) -> its paths through the controllers of
 *           the subsystem; anything else is a leaf: numa_node of the nearest ancestor that has one not -1
 *
 * All leaves must agree. Whatever cannot be followed (network block devices, ram disks, images of deleted files, a stack
 * deeper or wider than the limits) makes the answer "not known", which costs the planner an aim but never a wrong one.
 * Directories are remembered: a member that is met twice (two partitions of a disk) counts once, and a cycle ends.
 */
#include "host/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/host.h"
#include "host/sysroot.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define DEPTH_MAX 32u /* device on device on device */
#define SEEN_MAX 1024u /* directories looked at in one call */
#define MOUNTINFO_MAX (16u * 1024u * 1024u)

struct walk {
	const char *sysroot;
	char **seen; /* canonical directories */
	size_t n_seen;
	unsigned depth;
	char (*devices)[VBMQ_DEVICE_MAX + 1]; /* controllers met */
	size_t n_devices;
	bool unknown; /* a member without a node, or two that differ */
	bool found;
	int32_t node; /* with found */
};

static int walk_dir(struct walk *w, const char *dir);
static int walk_path(struct walk *w, const char *path);

/* Failing to find out is no error; running out of memory is. */
static int give_up(struct walk *w, int r)
{
	w->unknown = true;
	return r == -ENOMEM ? r : 0;
}

/* "a/b" in new memory, or NULL. */
static char *join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* Is there an entry of that name in dir? 1, 0 or -ENOMEM. */
static int has_entry(struct walk *w, const char *dir, const char *name)
{
	_cleanup_free_ char *path = join(dir, name);
	int fd;

	if (!path)
		return -ENOMEM;
	fd = vbmq_sysroot_open(w->sysroot, path, O_PATH);
	if (fd < 0)
		return 0;
	close(fd);
	return 1;
}

/* Cuts the last component off; false at the top. */
static bool parent_of(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return false;
	*slash = '\0';
	return true;
}

/* 1: dir was not seen before and is now remembered. */
static int remember(struct walk *w, const char *dir)
{
	char **slot;

	for (size_t i = 0; i < w->n_seen; i++)
		if (strcmp(w->seen[i], dir) == 0)
			return 0;
	if (w->n_seen >= SEEN_MAX)
		return -E2BIG;
	slot = vbmq_array_add(w->seen, w->n_seen, SEEN_MAX);
	if (!slot)
		return -ENOMEM;
	*slot = strdup(dir);
	if (!*slot) {
		w->n_seen--;
		return -ENOMEM;
	}
	return 1;
}

static void found_node(struct walk *w, int32_t node)
{
	if (w->found && w->node != node)
		w->unknown = true;
	w->found = true;
	w->node = node;
}

/* The node that one directory names; VBMQ_NODE_UNKNOWN without. 0 or -ENOMEM. */
static int read_numa_node(struct walk *w, const char *dir, int32_t *ret)
{
	_cleanup_free_ char *path = join(dir, "numa_node"), *line = NULL;
	int32_t node;
	int r;

	if (!path)
		return -ENOMEM;
	r = vbmq_sysroot_line(w->sysroot, path, &line);
	if (r == -ENOMEM)
		return r;
	if (r == 0 && vbmq_parse_i32(line, 0, (int32_t)VBMQ_NODES_MAX - 1, &node) == 0)
		*ret = node;
	else
		*ret = VBMQ_NODE_UNKNOWN;
	return 0;
}

/* "nvme0", "virtio12": a controller whose interrupts can be told apart. */
static bool is_controller(const char *name)
{
	size_t word = strncmp(name, "nvme", 4) == 0 ? 4 : strncmp(name, "virtio", 6) == 0 ? 6 : 0;

	return word && name[word] && name[word + strspn(name + word, "0123456789")] == '\0' &&
	       strlen(name) <= VBMQ_DEVICE_MAX;
}

static int note_controller(struct walk *w, const char *dir)
{
	_cleanup_free_ char *at = strdup(dir);
	char(*slot)[VBMQ_DEVICE_MAX + 1];
	const char *name;

	if (!at)
		return -ENOMEM;
	do {
		name = strrchr(at, '/') + 1;
	} while (!is_controller(name) && parent_of(at));
	if (!is_controller(name))
		return 0;
	for (size_t i = 0; i < w->n_devices; i++)
		if (strcmp(w->devices[i], name) == 0)
			return 0;
	if (w->n_devices == VBMQ_DEVICES_MAX)
		return 0;
	slot = vbmq_array_add(w->devices, w->n_devices, VBMQ_DEVICES_MAX);
	if (!slot)
		return -ENOMEM;
	strcpy(*slot, name);
	return 0;
}

static int walk_leaf(struct walk *w, const char *dir)
{
	_cleanup_free_ char *at = strdup(dir);
	int32_t node = VBMQ_NODE_UNKNOWN;
	int r;

	if (!at || note_controller(w, dir) < 0)
		return -ENOMEM;
	do {
		r = read_numa_node(w, at, &node);
		if (r < 0)
			return r;
		if (node != VBMQ_NODE_UNKNOWN) {
			found_node(w, node);
			return 0;
		}
	} while (parent_of(at));
	return give_up(w, 0);
}

/* Every device that dir/list/ links to. *ret_any: there was one. */
static int walk_members(struct walk *w, const char *dir, const char *list, bool *ret_any)
{
	_cleanup_free_ char *path = join(dir, list);
	char **names = NULL;
	size_t n = 0;
	int r;

	*ret_any = false;
	if (!path)
		return -ENOMEM;
	r = vbmq_sysroot_list(w->sysroot, path, &names, &n);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : give_up(w, r);
	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_free_ char *member = join(path, names[i]);

		*ret_any = true;
		r = member ? walk_dir(w, member) : -ENOMEM;
	}
	vbmq_sysroot_names_free(names, n);
	return r;
}

/*
 * The head nvme<S>n<N> of a multipath device lies in /sys/devices/virtual/nvme-subsystem/nvme-subsys<S>/; the subsystem
 * links its controllers nvme<C>, and each that leads to the namespace has a hidden disk nvme<S>c<C>n<N>. A tree recorded
 * without these disks: every controller counts.
 */
static int walk_nvme_head(struct walk *w, const char *dir)
{
	_cleanup_free_ char *subsystem = strdup(dir);
	unsigned instance, namespace;
	bool any = false;
	char **names = NULL;
	size_t n = 0;
	int r, end = 0;

	if (!subsystem)
		return -ENOMEM;
	if (sscanf(strrchr(dir, '/') + 1, "nvme%9un%9u%n", &instance, &namespace, &end) != 2 || !end ||
	    !parent_of(subsystem))
		return give_up(w, 0);
	r = vbmq_sysroot_list(w->sysroot, subsystem, &names, &n);
	if (r < 0)
		return give_up(w, r);
	for (int pass = 0; r == 0 && pass < 2 && !any; pass++) {
		for (size_t i = 0; r == 0 && i < n; i++) {
			_cleanup_free_ char *controller = NULL;
			unsigned c;
			char disk[64];

			end = 0;
			if (sscanf(names[i], "nvme%9u%n", &c, &end) != 1 || names[i][end] != '\0')
				continue;
			controller = join(subsystem, names[i]);
			snprintf(disk, sizeof(disk), "nvme%uc%un%u", instance, c, namespace);
			r = controller ? has_entry(w, controller, disk) : -ENOMEM;
			if (r == 1 || (r == 0 && pass == 1)) {
				any = true;
				r = walk_dir(w, controller);
			}
		}
	}
	vbmq_sysroot_names_free(names, n);
	return r == 0 && !any ? give_up(w, 0) : r;
}

/* loop/backing_file of dir. *ret_is: it is a loop device. */
static int walk_loop(struct walk *w, const char *dir, bool *ret_is)
{
	_cleanup_free_ char *path = join(dir, "loop/backing_file"), *file = NULL;
	int r;

	*ret_is = false;
	if (!path)
		return -ENOMEM;
	r = vbmq_sysroot_line(w->sysroot, path, &file);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	*ret_is = true;
	r = walk_path(w, file);
	return r < 0 ? give_up(w, r) : 0; /* "... (deleted)" among others */
}

static int walk_device(struct walk *w, const char *dir)
{
	bool done;
	int r;

	r = has_entry(w, dir, "partition");
	if (r == 1) {
		_cleanup_free_ char *disk = strdup(dir);

		if (!disk)
			return -ENOMEM;
		return parent_of(disk) ? walk_dir(w, disk) : give_up(w, 0);
	}
	if (r == 0)
		r = walk_members(w, dir, "slaves", &done);
	if (r < 0 || done)
		return r;
	r = walk_loop(w, dir, &done);
	if (r < 0 || done)
		return r;
	if (strncmp(dir, "/sys/devices/virtual/nvme-subsystem/", 36) == 0)
		return walk_nvme_head(w, dir);
	return walk_leaf(w, dir);
}

/* A device by any path into /sys. */
static int walk_dir(struct walk *w, const char *dir)
{
	_cleanup_free_ char *real = NULL;
	int r;

	r = vbmq_sysroot_real(w->sysroot, dir, &real);
	if (r < 0)
		return give_up(w, r);
	r = remember(w, real);
	if (r <= 0)
		return r < 0 ? give_up(w, r) : 0;
	if (w->depth >= DEPTH_MAX)
		return give_up(w, 0);
	w->depth++;
	r = walk_device(w, real);
	w->depth--;
	return r;
}

/* Octal escapes of mountinfo ("\040"), in place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* Does the mount point hold path? Length of the match + 1 (so that "/" counts), 0 if not. */
static size_t covers(const char *point, const char *path)
{
	size_t n = strlen(point);

	if (strcmp(point, "/") == 0)
		return 1;
	return strncmp(point, path, n) == 0 && (path[n] == '/' || path[n] == '\0') ? n + 1 : 0;
}

struct mount {
	unsigned maj, min;
	char *type; /* points into the text */
	char *source;
};

/* The mount that real lies on: longest mount point, the last of equals is on top. -ENOENT: none. Cuts text up. */
static int find_mount(char *text, const char *real, struct mount *ret)
{
	size_t best = 0;
	char *next;

	for (char *line = text; line && *line; line = next) {
		char *save = NULL, *field[10] = { NULL }, *tail;
		struct mount m;
		size_t match;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		tail = strstr(line, " - ");
		if (!tail)
			continue;
		*tail = '\0';
		for (size_t i = 0; i < 5; i++)
			field[i] = strtok_r(i ? NULL : line, " ", &save);
		m.type = strtok_r(tail + 3, " ", &save);
		m.source = strtok_r(NULL, " ", &save);
		if (!field[4] || !m.type || !m.source || sscanf(field[2], "%9u:%9u", &m.maj, &m.min) != 2)
			continue;
		unescape(field[4]);
		match = covers(field[4], real);
		if (match == 0 || match < best)
			continue;
		best = match;
		unescape(m.source);
		*ret = m;
	}
	return best ? 0 : -ENOENT;
}

static int walk_number(struct walk *w, const char *what, unsigned maj, unsigned min)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/dev/%s/%u:%u", what, maj, min);
	return walk_dir(w, path);
}

/* A btrfs lies on all devices of the file system that name (of /sys/class/block) belongs to. */
static int walk_btrfs(struct walk *w, const char *name)
{
	char **ids = NULL;
	size_t n = 0;
	bool any;
	int r;

	r = vbmq_sysroot_list(w->sysroot, "/sys/fs/btrfs", &ids, &n);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_free_ char *dir = join("/sys/fs/btrfs", ids[i]), *member = NULL;

		if (!dir || asprintf(&member, "devices/%s", name) < 0) {
			member = NULL;
			r = -ENOMEM;
			break;
		}
		r = has_entry(w, dir, member);
		if (r == 1)
			r = walk_members(w, dir, "devices", &any);
	}
	vbmq_sysroot_names_free(ids, n);
	return r;
}

/* A file by the mount it lies on. */
static int walk_mounted(struct walk *w, const char *real)
{
	_cleanup_free_ char *text = NULL, *source = NULL;
	struct mount m = { .maj = 0 };
	size_t len;
	int r;

	r = vbmq_sysroot_read(w->sysroot, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len);
	if (r == 0)
		r = find_mount(text, real, &m);
	if (r < 0)
		return give_up(w, r);
	if (m.maj != 0)
		return walk_number(w, "block", m.maj, m.min);
	if (m.source[0] != '/') /* overlay, tmpfs, zfs, host:/export */
		return give_up(w, 0);
	if (strcmp(m.type, "btrfs") == 0) {
		r = vbmq_sysroot_real(w->sysroot, m.source, &source);
		if (r == 0)
			r = walk_btrfs(w, strrchr(source, '/') + 1);
		if (r < 0)
			return give_up(w, r);
	}
	r = walk_path(w, m.source);
	return r < 0 ? give_up(w, r) : 0;
}

/* /dev/NAME of a recorded tree: 1 and walked, 0 if there is no device of that name, or -ENOMEM. */
static int walk_stand_in(struct walk *w, const char *real)
{
	_cleanup_free_ char *dir = NULL;
	char *name;
	int r;

	if (strncmp(real, "/dev/", 5) != 0)
		return 0;
	dir = join("/sys/class/block", real + 5);
	if (!dir)
		return -ENOMEM;
	name = dir + strlen("/sys/class/block/");
	for (char *c = name; *c; c++)
		if (*c == '/')
			*c = '!';
	r = has_entry(w, "/sys/class/block", name);
	if (r <= 0)
		return r;
	r = walk_dir(w, dir);
	return r < 0 ? r : 1;
}

/* Any path of the host; -ENOENT and -ENOMEM come out, everything else is "not known". */
static int walk_path(struct walk *w, const char *path)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;
	int fd, r;

	if (w->depth >= DEPTH_MAX)
		return give_up(w, 0);
	fd = vbmq_sysroot_open(w->sysroot, path, O_PATH);
	r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (r == 0)
		r = vbmq_sysroot_real(w->sysroot, path, &real);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ENOENT : give_up(w, r);
	if (S_ISBLK(st.st_mode))
		return walk_number(w, "block", major(st.st_rdev), minor(st.st_rdev));
	if (S_ISCHR(st.st_mode)) /* ng0n1, vhost-vdpa, vfio */
		return walk_number(w, "char", major(st.st_rdev), minor(st.st_rdev));
	w->depth++;
	if (w->sysroot) { /* the numbers of a recorded tree are those of this machine: only its texts count */
		r = walk_stand_in(w, real);
		if (r == 0)
			r = walk_mounted(w, real);
	} else if (major(st.st_dev) != 0) {
		r = walk_number(w, "block", major(st.st_dev), minor(st.st_dev));
	} else {
		r = walk_mounted(w, real);
	}
	w->depth--;
	return r < 0 ? r : 0;
}

int vbmq_blockdev_find(const char *sysroot, const char *path, int32_t *ret_node,
		       char (**ret_devices)[VBMQ_DEVICE_MAX + 1], size_t *ret_n_devices, struct vbmq_err *err)
{
	struct walk w = { .sysroot = sysroot && sysroot[strspn(sysroot, "/")] ? sysroot : NULL };
	int r;

	if (path[0] != '/')
		return vbmq_err_set(err, -EINVAL, "%s: a device or file must be given by its absolute path", path);
	r = walk_path(&w, path);
	vbmq_sysroot_names_free(w.seen, w.n_seen);
	if (r < 0) {
		free(w.devices);
		return r == -ENOENT ? vbmq_err_set(err, r, "%s: no such device or file", path) : vbmq_err_oom(err);
	}
	*ret_node = w.found && !w.unknown ? w.node : VBMQ_NODE_UNKNOWN;
	*ret_devices = w.devices;
	*ret_n_devices = w.n_devices;
	return 0;
}
