/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "codec/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/conf_keys.h"
#include "codec/ini_read.h"
#include "util/err.h"
#include "util/parse.h"

#define SEEN_MAX 64u

struct parser {
	struct vbmq_conf *conf;
	bool seen[SEEN_MAX]; /* by index of key */
};

/* --- life --------------------------------------------------------------------------------------------------------- */

void vbmq_conf_init(struct vbmq_conf *c)
{
	*c = (struct vbmq_conf){
		.debounce_ms = 250,
		.recheck_ms = 60000,
		.call_timeout_ms = 10000,
		.retry_max_ms = 300000,
		.workers = 4,
	};
	vbmq_policy_init(&c->policy);
}

void vbmq_conf_done(struct vbmq_conf *c)
{
	free(c->uri);
	vbmq_policy_done(&c->policy);
	vbmq_conf_init(c);
}

int vbmq_conf_copy(const struct vbmq_conf *from, struct vbmq_conf *ret)
{
	struct vbmq_conf copy = *from;

	copy.uri = from->uri ? strdup(from->uri) : NULL;
	if (from->uri && !copy.uri)
		return -ENOMEM;
	if (vbmq_policy_copy(&from->policy, &copy.policy) < 0) {
		free(copy.uri);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

/* --- one value ---------------------------------------------------------------------------------------------------- */

static int parse_number(const struct vbmq_conf_entry *e, const char *value, void *field)
{
	switch (e->type) {
	case VBMQ_CONF_MSEC:
		return vbmq_parse_msec(value, (uint64_t)e->min, (uint64_t)e->max, field);
	case VBMQ_CONF_U64:
		return vbmq_parse_u64(value, (uint64_t)e->min, (uint64_t)e->max, field);
	case VBMQ_CONF_AUTO:
		if (strcmp(value, "auto") == 0) {
			*(uint32_t *)field = 0;
			return 0;
		}
		return vbmq_parse_u32(value, (uint32_t)e->min, (uint32_t)e->max, field);
	case VBMQ_CONF_COUNT:
		if (strcmp(value, "auto") == 0) {
			*(int32_t *)field = VBMQ_COUNT_AUTO;
			return 0;
		}
		return vbmq_parse_i32(value, (int32_t)e->min, (int32_t)e->max, field);
	case VBMQ_CONF_I32:
		return vbmq_parse_i32(value, (int32_t)e->min, (int32_t)e->max, field);
	default:
		return vbmq_parse_u32(value, (uint32_t)e->min, (uint32_t)e->max, field);
	}
}

static int parse_uri(const char *value, char **field, struct vbmq_err *cause)
{
	int r = vbmq_conf_check_uri(value, cause);
	char *copy;

	if (r < 0)
		return r;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int parse_cpus(const char *value, struct vbmq_cpuset *field, struct vbmq_err *cause)
{
	struct vbmq_cpuset set;
	int r;

	if (!*value) {
		*field = VBMQ_CPUSET_EMPTY;
		return 0;
	}
	r = vbmq_cpulist_parse(value, strlen(value), 0, &set, cause);
	if (r < 0)
		return r;
	*field = vbmq_cpuset_or(field, &set);
	return 0;
}

static int parse_value(const struct vbmq_conf_entry *e, const char *value, struct vbmq_conf *c, struct vbmq_err *cause)
{
	void *field = (char *)c + e->offset;
	int r;

	switch (e->type) {
	case VBMQ_CONF_URI:
		return parse_uri(value, field, cause);
	case VBMQ_CONF_BOOL:
		return vbmq_parse_bool(value, field);
	case VBMQ_CONF_FLAG:
	case VBMQ_CONF_WORD:
		r = vbmq_parse_word(value, e->words);
		if (r < 0)
			return r;
		if (e->type == VBMQ_CONF_FLAG)
			*(bool *)field = r == 1;
		else
			memcpy(field, &r, sizeof(r)); /* enums are ints: asserted below */
		return 0;
	case VBMQ_CONF_CPUS:
		return parse_cpus(value, field, cause);
	default:
		return parse_number(e, value, field);
	}
}

_Static_assert(sizeof(enum vbmq_exclusive) == sizeof(int) && sizeof(enum vbmq_poll) == sizeof(int) &&
		       sizeof(enum vbmq_vcpus) == sizeof(int) && sizeof(enum vbmq_drift) == sizeof(int),
	       "words are stored as int");

/* --- a file ------------------------------------------------------------------------------------------------------- */

static int on_section(void *user, const char *section, unsigned line, struct vbmq_err *err)
{
	(void)user, (void)line;
	for (size_t i = 0; i < vbmq_conf_n_entries; i++)
		if (strcmp(vbmq_conf_entries[i].key.section, section) == 0)
			return 0;
	return vbmq_err_set(err, -EINVAL, "section [%s] is not known, only [daemon], [policy] and [host] are", section);
}

static const struct vbmq_conf_entry *find_key(const char *section, const char *name, struct vbmq_err *err)
{
	for (size_t i = 0; i < vbmq_conf_n_entries; i++) {
		const struct vbmq_conf_key *key = &vbmq_conf_entries[i].key;

		if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
			return &vbmq_conf_entries[i];
	}
	if (!*section)
		vbmq_err_set(err, -EINVAL, "'%s' stands before any section ([daemon], [policy] or [host])", name);
	else
		vbmq_err_set(err, -EINVAL, "there is no key '%s' in [%s]", name, section);
	return NULL;
}

static int on_key(void *user, const char *section, const char *name, const char *value, unsigned line,
		  struct vbmq_err *err)
{
	const struct vbmq_conf_entry *e = find_key(section, name, err);
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct parser *p = user;
	size_t index;
	int r;

	(void)line;
	if (!e)
		return -EINVAL;
	index = (size_t)(e - vbmq_conf_entries);
	if (p->seen[index] && e->type != VBMQ_CONF_CPUS)
		return vbmq_err_set(err, -EINVAL, "'%s' is there twice", name);
	p->seen[index] = true;
	r = parse_value(e, value, p->conf, &cause);
	if (r == -ENOMEM)
		return vbmq_err_oom(err);
	if (r < 0 && cause.code < 0)
		return vbmq_err_set(err, -EINVAL, "%s=%s: %s", name, value, cause.text);
	if (r < 0)
		return vbmq_err_set(err, -EINVAL, "%s=%s: allowed is %s", name, value, e->key.range);
	return 0;
}

_Static_assert(SEEN_MAX >= 32, "one for every key");

int vbmq_conf_parse(const char *name, const char *text, size_t len, struct vbmq_conf *c, struct vbmq_err *err)
{
	struct vbmq_conf copy;
	struct parser p = { .conf = &copy };
	const struct vbmq_ini_reader reader = { .section = on_section, .key = on_key, .user = &p };
	int r;

	if (len > VBMQ_CONF_MAX)
		return vbmq_err_set(err, -EINVAL, "%s: larger than %u bytes", name, VBMQ_CONF_MAX);
	if (vbmq_conf_copy(c, &copy) < 0)
		return vbmq_err_oom(err);
	r = vbmq_ini_parse(name, text, len, &reader, err);
	if (r < 0) {
		vbmq_conf_done(&copy);
		return r;
	}
	vbmq_conf_done(c);
	*c = copy;
	return 0;
}
