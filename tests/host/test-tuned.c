/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TuneD's isolated cores from trees of its files, those of nobody's making included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/tuned.h"
#include "lib/tree.h"
#include "util/cleanup.h"

#define ACTIVE(names) "/etc/tuned/active_profile = " names "\n"
#define CPU_PARTITIONING "/etc/tuned/cpu-partitioning-variables.conf = "
#define BOOT(line) "/etc/tuned/bootcmdline = # by tuned\\nTUNED_BOOT_CMDLINE=\"" line "\"\\nTUNED_BOOT_INITRD_ADD=\n"

static void check(const char *text, const char *want, const char *want_profile)
{
	struct tree *t = tree_from_text(text);
	char profile[VBMQ_TUNED_PROFILE_MAX + 1] = "";
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	bool found = vbmq_tuned_isolated(t->root, &cpus, profile);
	_cleanup_free_ char *list = vbmq_cpulist_format(&cpus);

	if (found != (want != NULL) || strcmp(list, want ? want : "") != 0 || strcmp(profile, want_profile) != 0)
		fail_msg("%s: %s '%s' of '%s'", text, found ? "found" : "not found", list, profile);
	tree_free(t);
}

static void test_isolated(void **state)
{
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "# isolated_cores=1\\nisolated_cores=2,4-7\\n", "2,4-7",
	      "cpu-partitioning");
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=1\\n isolated_cores = \"2-7,!4,^5\" \\n",
	      "2-3,6-7", "cpu-partitioning"); /* the last one */
	check(ACTIVE("balanced cpu-partitioning") CPU_PARTITIONING "isolated_cores=3", "3", "cpu-partitioning");
	check(ACTIVE("realtime-virtual-host") "/etc/tuned/realtime-virtual-host-variables.conf = "
					      "isolated_cores=4-7\\nisolate_managed_irq=Y\n",
	      "4-7", "realtime-virtual-host");
	/* not active, or nothing set */
	check(ACTIVE("balanced") CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(ACTIVE("cpu-partitioning"), NULL, "");
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores_x=2\\nno_isolated_cores=2\\n", NULL, "");
}

static void test_own_profile(void **state)
{
	/* the operator's, made of TuneD's; /etc goes before /usr/lib */
	check(ACTIVE("mine") "/etc/tuned/mine/tuned.conf = [main]\\ninclude = throughput-performance, "
			     "cpu-partitioning\n"
			     "/usr/lib/tuned/mine/tuned.conf = include=balanced\n" CPU_PARTITIONING "isolated_cores=5",
	      "5", "cpu-partitioning");
	check(ACTIVE("mine") "/usr/lib/tuned/profiles/mine/tuned.conf = include=middle\n"
			     "/usr/lib/tuned/middle/tuned.conf = include=cpu-partitioning\n" CPU_PARTITIONING
			     "isolated_cores=5",
	      "5", "cpu-partitioning");
	/* in circles: looked at so often and no more */
	check(ACTIVE("mine") "/etc/tuned/mine/tuned.conf = include=mine mine mine mine mine mine mine mine mine mine "
			     "mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine "
			     "mine "
			     "mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine mine "
			     "mine\n",
	      NULL, "");
}

/* As shipped it is a function: what was worked out for the boot loader counts. */
static void test_function(void **state)
{
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=${f:calc_isolated_cores:1}\n" BOOT(
		      "nohz=on isolcpus=9 nohz_full=1-3,5-7 rcu_nocbs=1-3 tuned.non_isolcpus=00000011"),
	      "1-3,5-7", "cpu-partitioning");
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=${f:calc_isolated_cores:1}\n" BOOT("nohz=on"),
	      NULL, "");
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=${f:calc_isolated_cores:1}", NULL, "");
	check(ACTIVE("balanced") BOOT("nohz_full=1-3"), NULL, ""); /* left by an earlier profile */
}

static void test_hostile(void **state)
{
	static const char *const lists[] = {
		"0x1f", "2-", "-2", "7-2", "a", "99999", "2,,3", "2;3", "^2", "!", ",", "2-3-4", "$(reboot)",
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(lists); i++) {
		char text[256];

		snprintf(text, sizeof(text), ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=%s\n",
			 lists[i]);
		check(text, NULL, "");
	}
	check(ACTIVE("../cpu-partitioning") CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(ACTIVE("a/../cpu-partitioning") CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(ACTIVE("..") "/etc/tuned/..-variables.conf = isolated_cores=2\n", NULL, "");
	check(ACTIVE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		     "a"),
	      NULL, "");
	check("/etc/tuned/active_profile/x = directory\n" CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(ACTIVE("") CPU_PARTITIONING "isolated_cores=2", NULL, "");
	check(ACTIVE("cpu-partitioning") CPU_PARTITIONING "=\\nisolated_cores\\nisolated_cores=\\n=2", NULL, "");
}

/* A file larger than any of TuneD's is none of TuneD's. */
static void test_huge(void **state)
{
	struct tree *t = tree_from_text(ACTIVE("cpu-partitioning") CPU_PARTITIONING "isolated_cores=2\n");
	char profile[VBMQ_TUNED_PROFILE_MAX + 1], path[512];
	struct vbmq_cpuset cpus;
	FILE *f;

	assert_true(vbmq_tuned_isolated(t->root, &cpus, profile));
	snprintf(path, sizeof(path), "%s/etc/tuned/cpu-partitioning-variables.conf", t->root);
	f = fopen(path, "ae");
	assert_non_null(f);
	for (int i = 0; i < 70000; i++)
		fputc('#', f);
	fclose(f);
	assert_false(vbmq_tuned_isolated(t->root, &cpus, profile));
	tree_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_isolated), cmocka_unit_test(test_own_profile), cmocka_unit_test(test_function),
		cmocka_unit_test(test_hostile),	 cmocka_unit_test(test_huge),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("host-tuned", tests, NULL, NULL);
}
