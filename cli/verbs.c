/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one table of verbs. */

#include <string.h>

#include "cli.h"

#define O(x) (UINT64_C(1) << CLI_OPT_##x)
/* Where a snapshot comes from: vbmqd unless one of these is given (source.h). */
#define SOURCE                                                                                                \
	(O(DIRECT) | O(RUN_DIR) | O(SNAPSHOT) | O(HOST) | O(DOMAIN) | O(DEVICE) | O(POLICY) | O(CAPABILITY) | \
	 O(FLEET) | O(GUEST))

const struct cli_verb cli_verbs[] = {
	{ "status", "", 0, 0, SOURCE | O(SVG), "Which core belongs to whom, and what is wrong",
	  "A row a core, grouped by NUMA node and L3 domain: who owns it, which thread runs there, and '!' where\n"
	  "somebody else may run on a core that should be private. Below it the domains and the diagnostics.",
	  "", cmd_status },
	{ "topology", "", 0, 0, O(SNAPSHOT) | O(HOST) | O(DIRECT), "Nodes, L3 domains, cores and CPUs of the host",
	  "Without options: this machine. Needs neither vbmqd nor libvirt.", "", cmd_topology },
	{ "list", "", 0, 0, SOURCE | O(ALL), "Domains with their capability and I/O threads", NULL, "", cmd_list },
	{ "show", "DOMAIN", 1, 1, SOURCE, "Threads, disks and queues of one domain: what is and what should be", NULL,
	  "domain", cmd_show },
	{ "plan", "", 0, 0, SOURCE | O(FIT) | O(SVG),
	  "Compute the placement and the steps to it, without doing anything",
	  "Offline, without root and libvirt:\n"
	  "  vbmqctl plan --host 'synthetic:node:2 l3:4 core:4 pu:2' --domain db1.xml --device /dev/nvme0n1=0\n"
	  "  vbmqctl plan --snapshot host7.json --json\n"
	  "  vbmqctl plan --host 'synthetic:node:2 l3:4 core:8 pu:2' --fleet fleet.conf --max\n"
	  "Domains given as files are planned as they would be after their next start, and as managed unless their\n"
	  "metadata or --policy says otherwise. A fleet (see FLEETS in vbmqctl(1)) is planned on top of whatever host "
	  "is\n"
	  "given, also a captured or the live one, and summed up by template. Exit status 4 when a wish cannot be\n"
	  "fulfilled.",
	  "", cmd_plan },
	{ "explain", "[DOMAIN [THREAD]]", 0, 2, SOURCE, "Why every thread is where it is, and the next best place",
	  "THREAD is iothread1, vcpu0 and the like. Where a thread has a nearer core somewhere, it is told who has "
	  "that core;\n"
	  "where a wish is not fulfilled or a thread could stand nearer, what single change of the policy or of a "
	  "domain's\n"
	  "metadata would do. Each was tried by planning with it; the least intrusive comes first.",
	  "domain", cmd_explain },
	{ "apply", "", 0, 0, O(DRY_RUN) | O(PLAN_ID) | O(DIRECT) | O(POLICY) | O(RUN_DIR),
	  "Carry out the plan and read it back", NULL, "", cmd_apply },
	{ "rebalance", "", 0, 0,
	  O(DRY_RUN) | O(MAX_MOVES) | O(PLAN_ID) | O(DIRECT) | O(POLICY) | O(RUN_DIR) | O(SNAPSHOT),
	  "Place all guests better together, moving threads that stand well by themselves",
	  "The everyday plan lets a thread stand where it stands unless another place is better for it. So with "
	  "guests\n"
	  "coming and going, threads end up scattered over more L3 domains than they need. This computes the better\n"
	  "placement of all of them, shows its moves and what they are worth, and carries it out: one step after the\n"
	  "other, no two threads ever on one core. --dry-run only shows, and so does --snapshot. Where there is "
	  "nothing to\n"
	  "gain, nothing is changed; the result stays, the everyday plan does not undo it.",
	  "", cmd_rebalance },
	{ "verify", "", 0, 0, O(DIRECT) | O(SNAPSHOT) | O(POLICY) | O(RUN_DIR),
	  "Compare what is with what should be; exit status 5 on drift", NULL, "", cmd_verify },
	{ "configure", "DOMAIN", 1, 1, O(DRY_RUN) | O(REVERT) | O(POLICY) | O(STATE_DIR),
	  "Write I/O threads and queue map into a domain's persistent configuration",
	  "Holds from the domain's next start; the running instance is not touched. A map written by hand is kept.\n"
	  "With --dry-run the change is shown as a diff of the XML.",
	  "domain", cmd_configure },
	{ "capture", "", 0, 0,
	  O(DIRECT) | O(OUTPUT) | O(HOST) | O(DOMAIN) | O(DEVICE) | O(POLICY) | O(CAPABILITY) | O(RUN_DIR) | O(FLEET) |
		  O(GUEST),
	  "Write the snapshot: bug report, test fixture, input of --snapshot", NULL, "", cmd_capture },
	{ "restore", "[DOMAIN]", 0, 1, O(DRY_RUN) | O(DIRECT) | O(RUN_DIR), "Put everything back as it was found",
	  "vbmqd pauses itself afterwards (vbmqctl resume lets it work again). With --direct the undo record is "
	  "played\n"
	  "back without vbmqd, which must not be running then.",
	  "domain", cmd_restore },
	{ "watch", "", 0, 0, SOURCE | O(INTERVAL) | O(COUNT), "status, again and again", NULL, "", cmd_watch },
	{ "stats", "[DOMAIN...]", 0, -1, O(WATCH) | O(COUNT),
	  "What queues and I/O threads do: requests, kicks, interrupts, polling, load",
	  "Two looks at the guests, a second apart (with --watch=SECONDS: so many), and what happened between them. "
	  "The\n"
	  "counters are those of QEMU with the patches of VBMq; for other guests the time that the kernel has seen "
	  "their\n"
	  "threads run is all there is. Goes to libvirt, not to vbmqd.",
	  "domain", cmd_stats },
	{ "doctor", "", 0, 0, O(DIRECT) | O(RUN_DIR),
	  "What keeps this host or a guest from the full capability, and what to do", NULL, "", cmd_doctor },
	{ "validate", "FILE...", 1, -1, 0, "Check domain XML, metadata, configuration, snapshots and host descriptions",
	  "The kind of a file is told by its content. Errors name file, line and cause.", "file", cmd_validate },
	{ "pause", "", 0, 0, 0, "Let vbmqd watch but change nothing until resume", NULL, "", cmd_pause },
	{ "resume", "", 0, 0, 0, "Let vbmqd work again", NULL, "", cmd_resume },
	{ "reload", "", 0, 0, 0, "Let vbmqd read its configuration again", NULL, "", cmd_reload },
	{ "version", "", 0, 0, 0, "Versions of vbmqctl, vbmqd, libvirt and QEMU", NULL, "", cmd_version },
	{ "_complete", "", 0, 3, 0, NULL, NULL, "", cmd_complete },
	{ "_manual", "", 0, 0, 0, NULL, NULL, "", cmd_manual },
	{ .name = NULL },
};

const struct cli_verb *cli_find_verb(const char *name)
{
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}
