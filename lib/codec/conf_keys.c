/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/conf_keys.h"

#include <errno.h>
#include <string.h>

#include "codec/json_policy.h"
#include "util/cleanup.h"
#include "util/err.h"

static const char *const mode_words[] = { "manage", "observe", NULL };
static const char *const default_words[] = { "off", "manage", NULL };

#define AT(member) offsetof(struct vbmq_conf, member)

/* clang-format off */
const struct vbmq_conf_entry vbmq_conf_entries[] = {
	{ { "daemon", "uri", "qemu:///system", "a libvirt URI",
	    "The libvirt connection whose domains are looked after." },
	  VBMQ_CONF_URI, AT(uri), 0, 0, NULL },
	{ { "daemon", "mode", "manage", "manage | observe",
	    "observe plans, reports and warns, but touches nothing." },
	  VBMQ_CONF_FLAG, AT(observe), 0, 0, mode_words },
	{ { "daemon", "debounce", "250ms", "10ms..60s",
	    "How long to wait for more events before a changed domain is looked at." },
	  VBMQ_CONF_MSEC, AT(debounce_ms), 10, 60000, NULL },
	{ { "daemon", "recheck", "1min", "1s..1h",
	    "How often everything is looked at again though no event came." },
	  VBMQ_CONF_MSEC, AT(recheck_ms), 1000, 3600000, NULL },
	{ { "daemon", "call-timeout", "10s", "1s..5min",
	    "How long one libvirt call on one domain may take before the domain counts as not answering." },
	  VBMQ_CONF_MSEC, AT(call_timeout_ms), 1000, 300000, NULL },
	{ { "daemon", "retry-max", "5min", "1s..1h",
	    "The longest pause between two attempts on a failed domain or a lost connection." },
	  VBMQ_CONF_MSEC, AT(retry_max_ms), 1000, 3600000, NULL },
	{ { "daemon", "workers", "4", "1..64",
	    "How many libvirt calls may be under way at once; one for a domain at most." },
	  VBMQ_CONF_U32, AT(workers), 1, 64, NULL },

	{ { "policy", "default", "off", "manage | off",
	    "What happens to domains without vbmq metadata: placed like the others, or only held off dedicated cores." },
	  VBMQ_CONF_FLAG, AT(policy.manage_by_default), 0, 0, default_words },
	{ { "policy", "hold-others", "yes", "yes | no",
	    "Whether floating threads of domains that are not managed are held to the shared set." },
	  VBMQ_CONF_BOOL, AT(policy.hold_others), 0, 0, NULL },
	{ { "policy", "iothreads", "auto", "auto | 1..256",
	    "I/O threads of a domain that says nothing itself." },
	  VBMQ_CONF_COUNT, AT(policy.defaults.iothreads), 1, VBMQ_IOTHREADS_MAX, NULL },
	{ { "policy", "exclusive", "core", "core | cpu | none",
	    "What an I/O thread has for itself: a whole core, one CPU of it, or nothing (it runs on the shared set)." },
	  VBMQ_CONF_WORD, AT(policy.defaults.exclusive), 0, 0, vbmq_exclusive_words },
	{ { "policy", "poll", "dedicated", "dedicated | adaptive | off",
	    "How I/O threads poll. dedicated spins, and is only ever used on a core of the thread's own." },
	  VBMQ_CONF_WORD, AT(policy.defaults.poll), 0, 0, vbmq_poll_words },
	{ { "policy", "vcpus", "follow", "follow | dedicated",
	    "follow keeps the vCPU pins a domain has; dedicated gives every vCPU a core of its own." },
	  VBMQ_CONF_WORD, AT(policy.defaults.vcpus), 0, 0, vbmq_vcpus_words },
	{ { "policy", "priority", "0", "-1000..1000",
	    "Who is served first when cores run short: the higher one." },
	  VBMQ_CONF_I32, AT(policy.defaults.priority), VBMQ_PRIORITY_MIN, VBMQ_PRIORITY_MAX, NULL },
	{ { "policy", "auto-max", "4", "1..64",
	    "The most I/O threads that iothreads=auto gives a domain whose load is not known." },
	  VBMQ_CONF_U32, AT(policy.auto_max), 1, VBMQ_AUTO_MAX_LIMIT, NULL },
	{ { "policy", "shared-min-cores", "auto", "auto | 1..4096",
	    "Cores that always stay in the shared set. auto: an eighth of them, and a CPU for four floating vCPUs up to half of them." },
	  VBMQ_CONF_AUTO, AT(policy.shared_min_cores), 1, VBMQ_CPUS_MAX, NULL },
	{ { "policy", "reserved-cpus", "", "a CPU list such as 0-3,32",
	    "CPUs that are never dedicated: housekeeping. May be repeated." },
	  VBMQ_CONF_CPUS, AT(policy.reserved), 0, 0, NULL },
	{ { "policy", "dedicated-cpus", "", "a CPU list such as 4-15",
	    "The only CPUs that may be dedicated; empty: all but the reserved ones. May be repeated." },
	  VBMQ_CONF_CPUS, AT(policy.dedicated), 0, 0, NULL },
	{ { "policy", "drift", "repair", "repair | respect",
	    "What happens to a thread that somebody else moved, or a queue map that somebody else changed: put back, or left with a warning." },
	  VBMQ_CONF_WORD, AT(policy.drift), 0, 0, vbmq_drift_words },
	{ { "policy", "move-gain", "32", "0..1000000",
	    "How much nearer its vCPUs a thread must come to leave its core: more than this for each thread moved. 64: one "
	    "vCPU, from another L3 domain to the same one. 0: whenever it is better." },
	  VBMQ_CONF_U32, AT(policy.move_gain), 0, VBMQ_MOVE_GAIN_MAX, NULL },
	{ { "policy", "poll-max-ns", "1000000", "0..1000000000",
	    "Longest polling of dedicated I/O threads on QEMU without poll-mode, in ns; above 1000000 the guest's monitor may stall." },
	  VBMQ_CONF_U64, AT(policy.poll_max_ns), 0, VBMQ_POLL_MAX_NS_LIMIT, NULL },
	{ { "policy", "poll-grow", "1000", "0..1000000000",
	    "Factor by which such polling grows." },
	  VBMQ_CONF_U32, AT(policy.poll_grow), 0, VBMQ_POLL_FACTOR_LIMIT, NULL },
	{ { "policy", "poll-shrink", "1", "0..1000000000",
	    "Divisor by which such polling shrinks; 1 never shrinks." },
	  VBMQ_CONF_U32, AT(policy.poll_shrink), 0, VBMQ_POLL_FACTOR_LIMIT, NULL },

	{ { "host", "slices", "yes", "yes | no",
	    "Whether the host's own services are kept off dedicated cores: AllowedCPUs= of system.slice, user.slice and init.scope, until the next boot at most." },
	  VBMQ_CONF_BOOL, AT(policy.limit_slices), 0, 0, NULL },
	{ { "host", "irqbalance", "yes", "yes | no",
	    "Whether a running irqbalance is told to keep interrupts off dedicated cores. A list of banned CPUs that was set otherwise is left alone." },
	  VBMQ_CONF_BOOL, AT(policy.ban_irqs), 0, 0, NULL },
	{ { "host", "interrupts", "yes", "yes | no",
	    "Whether interrupts of disks are moved to the cores of the I/O threads that submit to them, where the kernel lets them be moved." },
	  VBMQ_CONF_BOOL, AT(policy.move_irqs), 0, 0, NULL },
	{ { "host", "nova", "yes", "yes | no",
	    "Whether the CPUs of cpu_dedicated_set in /etc/nova/nova.conf are Nova's: never dedicated here, and not shared." },
	  VBMQ_CONF_BOOL, AT(policy.keep_off_nova), 0, 0, NULL },
};
/* clang-format on */

const size_t vbmq_conf_n_entries = VBMQ_ELEMENTSOF(vbmq_conf_entries);

size_t vbmq_conf_n_keys(void)
{
	return vbmq_conf_n_entries;
}

const struct vbmq_conf_key *vbmq_conf_key(size_t index)
{
	return index < vbmq_conf_n_entries ? &vbmq_conf_entries[index].key : NULL;
}

int vbmq_conf_check_uri(const char *uri, struct vbmq_err *err)
{
	const size_t n = strlen(uri), room = VBMQ_CONF_LINE_MAX - strlen("uri=");

	if (n == 0 || n > room)
		return vbmq_err_set(err, -EINVAL, "a URI of %zu bytes, allowed are 1..%zu", n, room);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)uri[i] <= ' ' || uri[i] == 0x7f)
			return vbmq_err_set(err, -EINVAL, "a URI has no white space or control characters");
	return 0;
}
