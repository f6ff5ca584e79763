/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. The lines of a section are collected in struct draft; where the section ends, the draft becomes a
 * template: only then it is known how many vCPUs there are, which disks without a number of queues need.
 */

#include "codec/fleet_conf.h"

#include <errno.h>
#include <libxml/xmlstring.h>
#include <stdlib.h>
#include <string.h>

#include "codec/ini_read.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"
#include "util/strbuf.h"

#define TEMPLATE_NAME_MAX 40u

enum key {
	KEY_COUNT,
	KEY_NAME,
	KEY_VCPUS,
	KEY_MEMORY_NODES,
	KEY_DISK,
	KEY_IOTHREADS,
	KEY_EXCLUSIVE,
	KEY_POLL,
	KEY_PLACEMENT,
	KEY_PRIORITY,
	KEY_MANAGED,
	KEY_MAX,
};

static const struct vbmq_fleet_key keys[KEY_MAX] = {
	[KEY_COUNT] = { "count", "1", "0..10000", "How many guests of this template there are." },
	[KEY_NAME] = { "name", "TEMPLATE-%d", "a text with one %d or %0Nd",
		       "Names of the guests; %d stands for their number, from 1, %03d for three digits." },
	[KEY_VCPUS] = { "vcpus", "", "1..4096", "vCPUs of each guest." },
	[KEY_MEMORY_NODES] = { "memory-nodes", "any", "any | auto | list of nodes such as 0 or 0-1",
			       "Where the guests' memory lies. any: not known, may be everywhere; auto: on one node "
			       "each, "
			       "the one with the fewest vCPUs for its CPUs so far." },
	[KEY_DISK] = { "disk", NULL, "TARGET [queues=1..1024] [node=auto|N] [iothreads=auto|1..256]",
		       "A virtio disk; one line a disk. queues: as many as vCPUs unless said. node: NUMA node of its "
		       "device; auto: that of the guest's memory; unless said it is not known. iothreads: how many of "
		       "the "
		       "guest's I/O threads serve it." },
	[KEY_IOTHREADS] = { "iothreads", NULL, "auto | 1..256",
			    "I/O threads of each guest; default: the host policy's." },
	[KEY_EXCLUSIVE] = { "exclusive", NULL, "none | cpu | core",
			    "What each of them wants for itself; default: the same." },
	[KEY_POLL] = { "poll", NULL, "off | adaptive | dedicated", "How they poll; default: the same." },
	[KEY_PLACEMENT] = { "placement", NULL, "follow | dedicated",
			    "vCPUs: follow floats on the shared set, dedicated gives each a core; default: the same." },
	[KEY_PRIORITY] = { "priority", "0", "-1000..1000", "Who is served first when cores run short." },
	[KEY_MANAGED] = { "managed", "yes", "yes | no", "no: only held off dedicated cores." },
};

size_t vbmq_fleet_conf_n_keys(void)
{
	return KEY_MAX;
}

const struct vbmq_fleet_key *vbmq_fleet_conf_key(size_t index)
{
	return &keys[index];
}

struct draft {
	char name[TEMPLATE_NAME_MAX + 1];
	unsigned line; /* of its section; 0: none is open */
	bool seen[KEY_MAX];
	char *pattern; /* NULL: not said */
	uint32_t count;
	bool memory_auto;
	struct vbmq_cpuset auto_disks;
	uint32_t queues[VBMQ_DISKS_MAX]; /* by index of disk; 0: as many as vCPUs */
	struct vbmq_domain *model;
};

struct parser {
	const char *name; /* of the file */
	struct vbmq_fleet *fleet;
	struct draft draft;
	bool in_fleet; /* inside [fleet] */
	bool seen_fleet;
};

static void draft_done(struct draft *d)
{
	free(d->pattern);
	vbmq_domain_free(d->model);
	*d = (struct draft){ .line = 0 };
}

/* --- the end of a section --------------------------------------------------------------------------------------------- */

static int add_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	struct vbmq_thread *t = vbmq_array_add(d->threads, d->n_threads, VBMQ_VCPUS_MAX + 1);

	if (!t)
		return -ENOMEM;
	t->kind = kind;
	t->id = id;
	t->polling.max_ns = UINT64_MAX;
	t->polling.mode = VBMQ_POLL_UNSAID;
	return 0;
}

static int complete_model(struct draft *draft)
{
	struct vbmq_domain *d = draft->model;
	int r = 0;

	for (uint32_t v = 0; v < d->n_vcpus && r == 0; v++)
		r = add_thread(d, VBMQ_THREAD_VCPU, v);
	if (r == 0)
		r = add_thread(d, VBMQ_THREAD_EMULATOR, 0);
	for (size_t i = 0; i < d->n_disks && r == 0; i++) {
		struct vbmq_disk *disk = &d->disks[i];
		uint32_t n = draft->queues[i] ? draft->queues[i] : d->n_vcpus;

		if (n > VBMQ_QUEUES_MAX)
			n = VBMQ_QUEUES_MAX;
		disk->queues = calloc(n, sizeof(*disk->queues));
		if (!disk->queues)
			return -ENOMEM;
		disk->n_queues = n;
		vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	}
	return r;
}

static int end_section(struct parser *p, struct vbmq_err *err)
{
	struct draft *d = &p->draft;
	_cleanup_free_ char *origin = NULL;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char pattern[TEMPLATE_NAME_MAX + 4];
	struct vbmq_template *t;
	int r;

	if (!d->line)
		return 0;
	if (!d->seen[KEY_VCPUS])
		return vbmq_err_set(err, -EINVAL,
				    "template [%s] of line %u does not say how many vcpus its guests have", d->name,
				    d->line);
	if (complete_model(d) < 0)
		return vbmq_err_oom(err);
	strcpy(pattern, d->name);
	strcat(pattern, "-%d");
	vbmq_strbuf_printf(&b, "%s:%u", p->name, d->line);
	origin = vbmq_strbuf_steal(&b);
	if (!origin)
		return vbmq_err_oom(err);
	r = vbmq_fleet_add(p->fleet, origin, d->name, d->pattern ? d->pattern : pattern, d->count, VBMQ_STEAL(d->model),
			   err);
	if (r < 0)
		return r;
	t = &p->fleet->templates[p->fleet->n_templates - 1];
	t->memory_auto = d->memory_auto;
	t->auto_disks = d->auto_disks;
	draft_done(d);
	return 0;
}

/* --- its beginning ---------------------------------------------------------------------------------------------------- */

static int on_section(void *user, const char *section, unsigned line, struct vbmq_err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	struct parser *p = user;
	size_t len = strlen(section);
	int r = end_section(p, err);

	if (r < 0)
		return r;
	p->in_fleet = strcmp(section, "fleet") == 0;
	if (p->in_fleet)
		return 0;
	if (len == 0 || len > TEMPLATE_NAME_MAX || strspn(section, allowed) != len)
		return vbmq_err_set(err, -EINVAL,
				    "[%s]: a template's name has 1 to %u letters, digits, '.', '_' and '-'", section,
				    TEMPLATE_NAME_MAX);
	for (size_t i = 0; i < p->fleet->n_templates; i++)
		if (strcmp(p->fleet->templates[i].name, section) == 0)
			return vbmq_err_set(err, -EEXIST, "template [%s] is there twice, first in %s", section,
					    p->fleet->templates[i].origin);
	p->draft.model = vbmq_domain_new();
	if (!p->draft.model)
		return vbmq_err_oom(err);
	memcpy(p->draft.name, section, len + 1);
	p->draft.line = line;
	p->draft.count = 1;
	p->draft.model->state = VBMQ_DOMAIN_SHUTOFF;
	p->draft.model->wish.present = true;
	return 0;
}

/* --- its keys --------------------------------------------------------------------------------------------------------- */

static int parse_count(const char *value, int32_t max, int32_t *ret)
{
	if (strcmp(value, "auto") == 0) {
		*ret = VBMQ_COUNT_AUTO;
		return 0;
	}
	return vbmq_parse_i32(value, 1, max, ret);
}

static int parse_word(const char *value, const char *const *words, void *ret)
{
	int r = vbmq_parse_word(value, words);

	if (r < 0)
		return r;
	memcpy(ret, &r, sizeof(r)); /* enums are ints, as in conf.c */
	return 0;
}

/* "queues=4" of a disk's line. 0, -EINVAL or -ENOMEM. */
static int disk_option(struct draft *d, size_t index, const char *option, const char *value)
{
	struct vbmq_disk *disk = &d->model->disks[index];
	struct vbmq_disk_wish *wish;
	uint32_t node;

	if (strcmp(option, "queues") == 0)
		return vbmq_parse_u32(value, 1, VBMQ_QUEUES_MAX, &d->queues[index]);
	if (strcmp(option, "node") == 0) {
		if (strcmp(value, "auto") == 0) {
			vbmq_cpuset_add(&d->auto_disks, (unsigned)index);
			return 0;
		}
		if (vbmq_parse_u32(value, 0, VBMQ_NODES_MAX - 1, &node) < 0)
			return -EINVAL;
		disk->node = (int32_t)node;
		return 0;
	}
	if (strcmp(option, "iothreads") != 0)
		return -EINVAL;
	wish = vbmq_wish_disk(&d->model->wish, disk->target, true);
	if (!wish)
		return -ENOMEM;
	return parse_count(value, VBMQ_IOTHREADS_MAX, &wish->iothreads);
}

static int add_disk(struct draft *d, char *text, struct vbmq_err *err)
{
	char *save = NULL, *word = strtok_r(text, " \t", &save);
	const char *seen[3] = { NULL };
	struct vbmq_disk *disk;
	size_t index, n_seen = 0;
	int r;

	if (!word || strchr(word, '=') || strchr(word, '/') || strlen(word) > VBMQ_TARGET_MAX)
		return vbmq_err_set(err, -EINVAL, "disk=: the first word is its target, such as vda; then %s",
				    strchr(keys[KEY_DISK].range, '['));
	if (vbmq_domain_disk(d->model, word))
		return vbmq_err_set(err, -EEXIST, "disk %s is there twice", word);
	index = d->model->n_disks;
	if (index == VBMQ_DISKS_MAX)
		return vbmq_err_set(err, -E2BIG, "more than %u disks", VBMQ_DISKS_MAX);
	disk = vbmq_array_add(d->model->disks, d->model->n_disks, VBMQ_DISKS_MAX);
	if (!disk)
		return vbmq_err_oom(err);
	strcpy(disk->target, word);
	disk->node = VBMQ_NODE_UNKNOWN;
	while ((word = strtok_r(NULL, " \t", &save))) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		for (size_t i = 0; i < n_seen; i++)
			if (strcmp(seen[i], word) == 0)
				return vbmq_err_set(err, -EINVAL, "disk %s: '%s' is there twice", disk->target, word);
		r = value && n_seen < VBMQ_ELEMENTSOF(seen) ? disk_option(d, index, word, value) : -EINVAL;
		if (r == -ENOMEM)
			return vbmq_err_oom(err);
		if (r < 0)
			return vbmq_err_set(err, -EINVAL, "disk %s: '%s%s%s': allowed is %s", disk->target, word,
					    value ? "=" : "", value ? value : "", strchr(keys[KEY_DISK].range, '['));
		seen[n_seen++] = word;
	}
	return 0;
}

static int parse_nodes(struct draft *d, const char *value, struct vbmq_err *cause)
{
	d->memory_auto = strcmp(value, "auto") == 0;
	if (d->memory_auto || strcmp(value, "any") == 0)
		return 0;
	return *value ? vbmq_cpulist_parse(value, strlen(value), 0, &d->model->memory_nodes, cause) : -EINVAL;
}

static int parse_name(struct draft *d, const char *value, struct vbmq_err *cause)
{
	int r;

	if (!xmlCheckUTF8((const unsigned char *)value))
		return vbmq_err_set(cause, -EINVAL, "this is not UTF-8");
	r = vbmq_fleet_check_pattern(value, cause);
	if (r < 0)
		return r;
	d->pattern = strdup(value);
	return d->pattern ? 0 : -ENOMEM;
}

static int parse_value(struct draft *d, enum key key, const char *value, struct vbmq_err *cause)
{
	struct vbmq_wish *wish = &d->model->wish;
	bool flag;
	int r;

	switch (key) {
	case KEY_COUNT:
		return vbmq_parse_u32(value, 0, VBMQ_DOMAINS_MAX, &d->count);
	case KEY_NAME:
		return parse_name(d, value, cause);
	case KEY_VCPUS:
		return vbmq_parse_u32(value, 1, VBMQ_VCPUS_MAX, &d->model->n_vcpus);
	case KEY_MEMORY_NODES:
		return parse_nodes(d, value, cause);
	case KEY_IOTHREADS:
		return parse_count(value, VBMQ_IOTHREADS_MAX, &wish->iothreads);
	case KEY_EXCLUSIVE:
		return parse_word(value, vbmq_exclusive_words, &wish->exclusive);
	case KEY_POLL:
		return parse_word(value, vbmq_poll_words, &wish->poll);
	case KEY_PLACEMENT:
		return parse_word(value, vbmq_vcpus_words, &wish->vcpus);
	case KEY_PRIORITY:
		wish->has_priority = true;
		return vbmq_parse_i32(value, VBMQ_PRIORITY_MIN, VBMQ_PRIORITY_MAX, &wish->priority);
	case KEY_MANAGED:
		r = vbmq_parse_bool(value, &flag);
		if (r == 0)
			wish->enabled = flag ? VBMQ_YES : VBMQ_NO;
		return r;
	case KEY_DISK:
	case KEY_MAX:
		break;
	}
	return -EINVAL;
}

static int on_fleet_key(struct parser *p, const char *name, const char *value, struct vbmq_err *err)
{
	if (strcmp(name, "overcommit") != 0)
		return vbmq_err_set(err, -EINVAL, "there is no key '%s' in [fleet], only overcommit", name);
	if (p->seen_fleet)
		return vbmq_err_set(err, -EINVAL, "'%s' is there twice", name);
	p->seen_fleet = true;
	if (vbmq_parse_u32(value, 1, VBMQ_OVERCOMMIT_MAX, &p->fleet->overcommit) < 0)
		return vbmq_err_set(err, -EINVAL, "%s=%s: allowed is 1..%u", name, value, VBMQ_OVERCOMMIT_MAX);
	return 0;
}

static int on_key(void *user, const char *section, const char *name, const char *value, unsigned line,
		  struct vbmq_err *err)
{
	struct vbmq_err cause = VBMQ_ERR_INIT;
	_cleanup_free_ char *copy = NULL;
	struct parser *p = user;
	struct draft *d = &p->draft;
	enum key key = 0;
	int r;

	(void)section, (void)line;
	if (p->in_fleet)
		return on_fleet_key(p, name, value, err);
	if (!d->line)
		return vbmq_err_set(err, -EINVAL, "'%s' stands before any template: begin with a line such as [db]",
				    name);
	while (key < KEY_MAX && strcmp(keys[key].name, name) != 0)
		key++;
	if (key == KEY_MAX)
		return vbmq_err_set(err, -EINVAL, "a template has no key '%s' (vbmqctl(1), FLEETS, lists them)", name);
	if (d->seen[key] && key != KEY_DISK)
		return vbmq_err_set(err, -EINVAL, "'%s' is there twice", name);
	d->seen[key] = true;
	if (key == KEY_DISK) {
		copy = strdup(value);
		return copy ? add_disk(d, copy, err) : vbmq_err_oom(err);
	}
	r = parse_value(d, key, value, &cause);
	if (r == -ENOMEM)
		return vbmq_err_oom(err);
	if (r < 0)
		return vbmq_err_set(err, -EINVAL, "%s=%s: %s%s", name, value, cause.code ? "" : "allowed is ",
				    cause.code ? cause.text : keys[key].range);
	return 0;
}

/* --- a file ----------------------------------------------------------------------------------------------------------- */

int vbmq_fleet_conf_parse(const char *name, const char *text, size_t len, struct vbmq_fleet *ret, struct vbmq_err *err)
{
	struct parser p = { .name = name, .fleet = ret };
	const struct vbmq_ini_reader reader = { .section = on_section, .key = on_key, .user = &p };
	struct vbmq_err cause = VBMQ_ERR_INIT;
	const size_t had = ret->n_templates;
	int r;

	if (len > VBMQ_FLEET_CONF_MAX)
		return vbmq_err_set(err, -EINVAL, "%s: larger than %u bytes", name, VBMQ_FLEET_CONF_MAX);
	r = vbmq_ini_parse(name, text, len, &reader, err);
	if (r == 0) {
		r = end_section(&p, &cause);
		if (r < 0)
			vbmq_err_set(err, r, "%s: %s", name, cause.text);
	}
	if (r == 0 && ret->n_templates == had)
		r = vbmq_err_set(err, -EINVAL, "%s: no template: a section such as [db] with vcpus and disks", name);
	draft_done(&p.draft);
	return r;
}
