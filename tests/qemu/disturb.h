/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What happens to a disk besides requests and remaps: its image, and the commands that drain it, move it, stop it or take it
 * away. A step is made between two remaps, by the control, while the load runs.
 */

#include "qtdrive.h"

enum stress_with {
	WITH_RESIZE = 1,
	WITH_STOP = 2,
	WITH_UNPLUG = 4,
	WITH_JOBS = 8,
};

enum stress_job { JOB_NONE, JOB_MIRROR, JOB_BACKUP, JOB_STREAM, JOB_KINDS };

#define STRESS_IMAGE (32u << 20) /* bytes that the load uses */
#define STRESS_RETIRED 16

/* An image in a memfd; QEMU opens it through this process's /proc. */
struct stress_image {
	int fd; /* -1: none, or null-co */
	unsigned number; /* of its node, "n<number>" */
};

struct stress_scene {
	struct qt_vm *vm;
	struct qt_disk *disk;
	struct qt_load *load;
	uint64_t rng;
	bool null; /* backend is null-co */
	unsigned write_percent; /* of the load */

	struct stress_image active, target; /* target: of the running job, or the node a stream works off */
	struct stress_image retired[STRESS_RETIRED]; /* blockdev-del to be made */
	unsigned n_retired, n_images;
	enum stress_job job;
	unsigned job_number;
	bool cancelled;
	uint32_t *from, *to; /* backup: what generation a block can have */

	uint64_t n_resize, n_resize_refused, n_stop, n_renewed, n_unplug, n_unplugged_with, n_done[JOB_KINDS],
		n_cancelled;
	uint64_t n_verified; /* blocks of backups */
};

uint32_t stress_below(struct stress_scene *s, uint32_t n);

/* The image and its node, before the disk: node name in name (16 bytes). latency_ns for null-co only. */
int stress_image_new(struct stress_scene *s, bool null, uint64_t latency_ns, char *name, struct vbmq_err *err);
void stress_scene_fini(struct stress_scene *s); /* after QEMU's end */

int stress_resize(struct stress_scene *s, struct vbmq_err *err);
/* stop ... cont; between is called in between if not NULL. */
int stress_stop(struct stress_scene *s, int (*between)(void *arg, struct vbmq_err *err), void *arg,
		struct vbmq_err *err);
/* With what is in flight; the disk comes back with props (borrowed) among its properties. */
int stress_unplug(struct stress_scene *s, const json_t *props, struct vbmq_err *err);
/* Starts a job if none runs, looks after it otherwise. */
int stress_jobs(struct stress_scene *s, struct vbmq_err *err);
/* Until no job runs. */
int stress_jobs_end(struct stress_scene *s, struct vbmq_err *err);

/* qt_disk_renew(), counted. */
int stress_renew(struct stress_scene *s, struct vbmq_err *err);
