/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading JSON of QMP; for qmp_*.c only. Unknown keys are fine, missing ones and wrong types are -EPROTO with the command
 * and the path ("query-iothreads: [2].thread-id is missing"). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct vbmq_err;

static inline void vbmq_json_freep(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(vbmq_json_freep)

/*
 * The value of "return" in *ret (borrowed from *ret_doc, which the caller releases). A QMP error is -EREMOTEIO (-ENOTSUP for
 * CommandNotFound), something that is no reply -EPROTO, too many bytes -EFBIG, no memory -ENOMEM.
 */
int vbmq_qmp_reply(const char *command, const char *reply, size_t len, json_t **ret_doc, json_t **ret,
		   struct vbmq_err *err);

int vbmq_qmp_check_array(const char *command, const json_t *j, size_t max, struct vbmq_err *err);
/* Members of the object that is item i of the returned array; i SIZE_MAX: of the returned object itself. */
int vbmq_qmp_get_u64(const char *command, const json_t *item, size_t i, const char *key, uint64_t min, uint64_t max,
		     uint64_t *ret, struct vbmq_err *err);
int vbmq_qmp_get_text(const char *command, const json_t *item, size_t i, const char *key, const char **ret,
		      struct vbmq_err *err);
int vbmq_qmp_get_bool(const char *command, const json_t *item, size_t i, const char *key, bool *ret,
		      struct vbmq_err *err);

/* "iothread7" -> 7; false for any other name. */
bool vbmq_qmp_iothread_id(const char *name, uint32_t *ret);
