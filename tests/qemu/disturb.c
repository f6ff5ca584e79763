/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs change the node under the disk: a mirror that is completed and a stream move it to another image, so every read after
 * it checks the copy as well; a backup is read when it is done and must show every block as of one moment between the
 * command's sending and its answer. Images are memfds: nothing to clean up, and no disk of the machine is loaded.
 *
 * Nodes that are no longer used are deleted some steps later, as jobs let go of them in their own time.
 */

#include "disturb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS (STRESS_IMAGE / QT_BLOCK)

uint32_t stress_below(struct stress_scene *s, uint32_t n)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return (uint32_t)(s->rng >> 20) % n;
}

static void node_name(const struct stress_image *i, char *name)
{
	snprintf(name, 16, "n%u", i->number);
}

static int memfd_image(struct stress_scene *s, uint64_t size, struct stress_image *ret, char *path,
		       struct vbmq_err *err)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size)) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return vbmq_err_set(err, r, "an image in memory: %s", strerror(-r));
	}
	ret->fd = fd;
	ret->number = s->n_images++;
	snprintf(path, 64, "/proc/%d/fd/%d", getpid(), fd);
	return 0;
}

static int raw_image(struct stress_scene *s, uint64_t size, struct stress_image *ret, struct vbmq_err *err)
{
	char path[64], name[16];
	int r = memfd_image(s, size, ret, path, err);

	if (r < 0)
		return r;
	node_name(ret, name);
	r = qt_qmp(s->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:{s:s, s:s, s:s}}", "driver", "raw", "node-name",
		   name, "file", "driver", "file", "filename", path, "locking", "off");
	if (r < 0) {
		close(ret->fd);
		ret->fd = -1;
	}
	return r;
}

int stress_image_new(struct stress_scene *s, bool null, uint64_t latency_ns, char *name, struct vbmq_err *err)
{
	int r;

	s->null = null;
	s->active.fd = s->target.fd = -1;
	if (!null) {
		r = raw_image(s, STRESS_IMAGE, &s->active, err);
	} else {
		s->active.number = s->n_images++;
		node_name(&s->active, name);
		r = qt_qmp(s->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:I, s:I}", "driver", "null-co", "node-name",
			   name, "size", (json_int_t)STRESS_IMAGE, "latency-ns", (json_int_t)latency_ns);
	}
	node_name(&s->active, name);
	return r;
}

void stress_scene_fini(struct stress_scene *s)
{
	for (unsigned i = 0; i < s->n_retired; i++)
		if (s->retired[i].fd >= 0)
			close(s->retired[i].fd);
	if (s->active.fd >= 0)
		close(s->active.fd);
	if (s->target.fd >= 0)
		close(s->target.fd);
	free(s->from);
	free(s->to);
	memset(s, 0, sizeof(*s));
	s->active.fd = s->target.fd = -1;
}

int stress_renew(struct stress_scene *s, struct vbmq_err *err)
{
	int r = qt_disk_renew(s->disk, err);

	if (r > 0)
		s->n_renewed++;
	return r;
}

int stress_resize(struct stress_scene *s, struct vbmq_err *err)
{
	uint64_t size = STRESS_IMAGE + (uint64_t)stress_below(s, 16) * 1048576;
	char name[16];
	int r;

	node_name(&s->active, name);
	r = qt_qmp(s->vm, NULL, err, "block_resize", "{s:s, s:I}", "node-name", name, "size", (json_int_t)size);
	s->n_resize++;
	/* null-co cannot, and while a job runs nobody may; it was drained all the same. */
	if (r == -EREMOTEIO && (s->null || s->job)) {
		s->n_resize_refused++;
		r = 0;
	}
	return r;
}

int stress_stop(struct stress_scene *s, int (*between)(void *arg, struct vbmq_err *err), void *arg,
		struct vbmq_err *err)
{
	int r;

	/* vCPUs are stopped first: no guest can publish or kick while the virtual machine is stopped, so the load may not. */
	qt_load_hold(s->load);
	r = qt_qmp(s->vm, NULL, err, "stop", NULL);
	s->n_stop++;
	if (r >= 0 && between)
		r = between(arg, err);
	if (r >= 0)
		r = qt_qmp(s->vm, NULL, err, "cont", NULL);
	if (r >= 0)
		r = stress_renew(s, err);
	if (r >= 0)
		qt_load_go(s->load);
	return r;
}

int stress_unplug(struct stress_scene *s, const json_t *props, struct vbmq_err *err)
{
	char name[16];
	int r;

	qt_load_hold(s->load);
	for (unsigned i = 0; i < s->disk->n_queues; i++)
		s->n_unplugged_with += qt_outstanding(&s->disk->queues[i]);
	r = qt_disk_unplug(s->disk, err);
	if (r >= 0)
		r = qt_load_settle(s->load, err);
	if (r >= 0)
		r = qt_disk_orphans(s->disk, err);
	if (r < 0)
		return r;

	node_name(&s->active, name);
	s->disk->conf.drive = name;
	s->disk->conf.props = props;
	r = qt_disk_plug(s->disk, err);
	s->disk->conf.drive = NULL;
	s->disk->conf.props = NULL;
	if (r < 0)
		return r;
	s->n_unplug++;
	qt_load_go(s->load);
	return 0;
}

/* --- jobs --------------------------------------------------------------------------------------------------------- */

static void job_id(const struct stress_scene *s, char *id)
{
	snprintf(id, 16, "job%u", s->job_number);
}

/* Deletes what can be deleted. A node that is still in use stays for the next time. */
static int del_retired(struct stress_scene *s, struct vbmq_err *err)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n_retired; i++) {
		char name[16];
		int r;

		node_name(&s->retired[i], name);
		r = qt_qmp(s->vm, NULL, err, "blockdev-del", "{s:s}", "node-name", name);
		if (r < 0 && r != -EREMOTEIO)
			return r;
		if (r == 0)
			close(s->retired[i].fd);
		else
			s->retired[kept++] = s->retired[i];
	}
	s->n_retired = kept;
	return kept < STRESS_RETIRED ? 0 : vbmq_err_prefix(err, "%u nodes cannot be deleted; the last: ", kept);
}

static void retire(struct stress_scene *s, struct stress_image *i)
{
	s->retired[s->n_retired++] = *i;
	i->fd = -1;
}

static void note_generations(struct stress_scene *s, bool to)
{
	qt_load_hold(s->load);
	for (uint64_t b = 0; b < BLOCKS; b++) {
		uint32_t done, asked;

		qt_load_generation(s->load, b, &done, &asked);
		if (to)
			s->to[b] = asked;
		else
			s->from[b] = done;
	}
	qt_load_go(s->load);
}

static int active_size(struct stress_scene *s, uint64_t *ret, struct vbmq_err *err)
{
	uint64_t size = 0;
	json_t *list, *n;
	char name[16];
	size_t i;
	int r;

	node_name(&s->active, name);
	r = qt_qmp(s->vm, &list, err, "query-named-block-nodes", "{s:b}", "flat", 1);
	if (r < 0)
		return r;
	json_array_foreach(list, i, n)
	{
		const char *node = json_string_value(json_object_get(n, "node-name"));

		if (node && !strcmp(node, name))
			size = (uint64_t)json_integer_value(
				json_object_get(json_object_get(n, "image"), "virtual-size"));
	}
	json_decref(list);
	if (!size)
		return vbmq_err_set(err, -EPROTO, "node %s has no size", name);
	*ret = size;
	return 0;
}

static int start_copy(struct stress_scene *s, enum stress_job kind, uint64_t size, struct vbmq_err *err)
{
	char source[16], target[16], id[16];
	int r = raw_image(s, size, &s->target, err);

	if (r < 0)
		return r;
	node_name(&s->active, source);
	node_name(&s->target, target);
	job_id(s, id);
	if (kind == JOB_BACKUP) {
		if (!s->from)
			s->from = calloc(BLOCKS, sizeof(*s->from));
		if (!s->to)
			s->to = calloc(BLOCKS, sizeof(*s->to));
		if (!s->from || !s->to)
			return vbmq_err_oom(err);
		note_generations(s, false);
	}

	r = qt_qmp(s->vm, NULL, err, kind == JOB_BACKUP ? "blockdev-backup" : "blockdev-mirror", "{s:s, s:s, s:s, s:s}",
		   "job-id", id, "device", source, "target", target, "sync", "full");
	if (r >= 0 && kind == JOB_BACKUP)
		note_generations(s, true);
	return r;
}

/* An empty qcow2 node over nothing; its backing file becomes what is active when it is put on top. */
static int overlay(struct stress_scene *s, uint64_t size, struct stress_image *ret, struct vbmq_err *err)
{
	char path[64], name[16], file[24], job[24];
	int r = memfd_image(s, 0, ret, path, err);

	if (r < 0)
		return r;
	node_name(ret, name);
	snprintf(file, sizeof(file), "%s-file", name);
	snprintf(job, sizeof(job), "create-%s", name);
	r = qt_qmp(s->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:s, s:s}", "driver", "file", "node-name", file,
		   "filename", path, "locking", "off");
	if (r >= 0)
		r = qt_qmp(s->vm, NULL, err, "blockdev-create", "{s:s, s:{s:s, s:s, s:I}}", "job-id", job, "options",
			   "driver", "qcow2", "file", file, "size", (json_int_t)size);
	for (bool concluded = false; r >= 0 && !concluded;) {
		json_t *data;

		r = qt_event(s->vm, "JOB_STATUS_CHANGE", "id", job, &data, err);
		if (r < 0)
			break;
		concluded = !strcmp(json_string_value(json_object_get(data, "status")), "concluded");
		json_decref(data);
	}
	if (r >= 0)
		r = qt_qmp(s->vm, NULL, err, "job-dismiss", "{s:s}", "id", job);
	if (r >= 0)
		r = qt_qmp(s->vm, NULL, err, "blockdev-del", "{s:s}", "node-name", file);
	if (r >= 0)
		r = qt_qmp(s->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:n, s:{s:s, s:s, s:s}}", "driver", "qcow2",
			   "node-name", name, "backing", "file", "driver", "file", "filename", path, "locking", "off");
	return r;
}

static int start_stream(struct stress_scene *s, uint64_t size, struct vbmq_err *err)
{
	char source[16], top[16], id[16];
	struct stress_image new = { .fd = -1 };
	int r = overlay(s, size, &new, err);

	if (r < 0)
		return r;
	node_name(&s->active, source);
	node_name(&new, top);
	job_id(s, id);
	r = qt_qmp(s->vm, NULL, err, "blockdev-snapshot", "{s:s, s:s}", "node", source, "overlay", top);
	if (r < 0)
		return r;
	s->target = s->active;
	s->active = new;
	return qt_qmp(s->vm, NULL, err, "block-stream", "{s:s, s:s}", "job-id", id, "device", top);
}

static int check_backup(struct stress_scene *s, struct vbmq_err *err)
{
	uint8_t data[QT_BLOCK] __attribute__((aligned(8)));

	for (uint64_t b = 0; b < BLOCKS; b++) {
		int r = pread(s->target.fd, data, sizeof(data), (off_t)(b * QT_BLOCK)) == QT_BLOCK
				? qt_load_check_block(s->load, b, data, s->from[b], s->to[b], err)
				: vbmq_err_set(err, -EIO, "the backup ends at block %llu", (unsigned long long)b);

		if (r < 0)
			return vbmq_err_prefix(err, "backup: ");
	}
	s->n_verified += BLOCKS;
	return 0;
}

/* The job has ended well; whose image is the disk's now? */
static int job_done(struct stress_scene *s, bool completed, struct vbmq_err *err)
{
	int r = 0;

	if (s->job == JOB_MIRROR && completed && !s->cancelled) {
		struct stress_image old = s->active;

		s->active = s->target;
		s->target = old;
	}
	if (s->job == JOB_BACKUP && completed)
		r = check_backup(s, err);
	if (completed && !s->cancelled)
		s->n_done[s->job]++;
	else
		s->n_cancelled++;
	retire(s, &s->target);
	qt_load_writes(s->load, s->write_percent);
	s->job = JOB_NONE;
	s->cancelled = false;
	qt_events_drop(s->vm);
	return r < 0 ? r : del_retired(s, err);
}

static int start_job(struct stress_scene *s, struct vbmq_err *err)
{
	enum stress_job kind = JOB_MIRROR + s->job_number % (JOB_KINDS - 1);
	uint64_t size = 0;
	int r = active_size(s, &size, err);

	if (r < 0)
		return r;
	s->job_number++;
	r = kind == JOB_STREAM ? start_stream(s, size, err) : start_copy(s, kind, size, err);
	if (r >= 0)
		s->job = kind;
	return r;
}

int stress_jobs(struct stress_scene *s, struct vbmq_err *err)
{
	json_t *data = NULL;
	bool cancelled;
	char id[16];
	int r = 0;

	if (!s->job)
		return start_job(s, err);
	job_id(s, id);
	/*
	 * A mirror that copies in the background needs times without writes to catch up; and one that copies with the writes
	 * (write-blocking) hangs in stock QEMU 10.0.2 when the disk has several I/O threads.
	 */
	if (s->job == JOB_MIRROR)
		qt_load_writes(s->load, stress_below(s, 8) ? 0 : s->write_percent);
	r = qt_qmp(s->vm, NULL, err, "query-status", NULL); /* events come with answers */
	if (r >= 0 && qt_event_came(s->vm, "BLOCK_JOB_READY", "device", id, NULL)) {
		s->cancelled = !stress_below(s, 4);
		r = qt_qmp(s->vm, NULL, err, s->cancelled ? "block-job-cancel" : "block-job-complete", "{s:s}",
			   "device", id);
	}
	cancelled = r >= 0 && qt_event_came(s->vm, "BLOCK_JOB_CANCELLED", "device", id, &data);
	if (cancelled || (r >= 0 && qt_event_came(s->vm, "BLOCK_JOB_COMPLETED", "device", id, &data))) {
		const char *text = json_string_value(json_object_get(data, "error"));

		r = text ? vbmq_err_set(err, -EIO, "job %d: %s", (int)s->job, text) : job_done(s, !cancelled, err);
		json_decref(data);
	}
	return r;
}

int stress_jobs_end(struct stress_scene *s, struct vbmq_err *err)
{
	struct qt_patience patience = { .vm = s->vm };

	while (s->job) {
		int r = stress_jobs(s, err);

		if (r >= 0)
			r = qt_patience(&patience, "the end of a block job", err);
		if (r < 0)
			return r;
		usleep(1000);
	}
	return 0;
}
