/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One step of the actuator as a job: what act_libvirt.c asks for and act_job.c does in the call's thread. */

#include "codec/qmp_reply.h"
#include "core/plan.h"
#include "virt/private.h"

struct vbmq_act_job {
	struct vbmq_call call;
	int (*act)(struct vbmq_act_job *job, virDomainPtr dom);
	char uuid[37];
	char *name;
	int32_t id;
	virDomainPtr dom; /* the caller knows that this instance runs; NULL: to be looked up */
	struct vbmq_caps caps;
	struct vbmq_step step; /* copy; its CPUs and its map are those below */
	struct vbmq_cpuset cpus;
	uint32_t *map;
	char *alias; /* of the disk, NULL: none */
	size_t n_queues; /* of the disk */

	int result;
	struct vbmq_err err;
	char *reply; /* query_map */
	struct vbmq_qmp_iothread *iothreads; /* query_iothreads, add_iothread, ask_and_pin_emulator */
	size_t n_iothreads;
};

int vbmq_act_pin_vcpu(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_pin_iothread(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_pin_emulator(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_ask_and_pin_emulator(struct vbmq_act_job *job, virDomainPtr dom); /* query_iothreads first */
int vbmq_act_add_iothread(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_del_iothread(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_set_polling(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_map_queues(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_query_iothreads(struct vbmq_act_job *job, virDomainPtr dom);
int vbmq_act_query_map(struct vbmq_act_job *job, virDomainPtr dom);
