/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a domain stands with being read, when its reads take longer than cycles wait and rechecks come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/domain.h"

static void read_begins(struct vbmqd_domain *d)
{
	assert_int_equal(d->state, VBMQD_DOMAIN_DIRTY);
	d->state = VBMQD_DOMAIN_READING;
	d->dirty_again = false;
	d->fresh = true;
}

static void read_ends(struct vbmqd_domain *d, bool late)
{
	static const struct vbmq_err fine = VBMQ_ERR_INIT;

	assert_int_equal(d->state, VBMQD_DOMAIN_READING);
	vbmqd_domain_read_ok(d, vbmq_domain_new(), &fine);
	if (late)
		vbmqd_domain_late(d);
}

static struct vbmqd_domain *one(struct vbmqd_domains *all)
{
	*all = (struct vbmqd_domains){ .n = 0 };
	return vbmqd_domains_add(all, "11111111-2222-3333-4444-555555555555", "db1");
}

/* Each cycle surveys (rechecks are that frequent), and gives up waiting before the read is back. */
static void test_slower_than_rechecks(void **state)
{
	struct vbmqd_domains all;
	struct vbmqd_domain *d = one(&all);
	unsigned known = 0;

	for (int cycle = 0; cycle < 10; cycle++) {
		vbmqd_domain_begin(d, true);
		vbmqd_domain_listed(d);
		if (d->state == VBMQD_DOMAIN_DIRTY) {
			read_begins(d);
			/* the plan of this cycle is made without it; a recheck comes; the read is back */
			vbmqd_domain_listed(d);
			read_ends(d, true);
		} else {
			/* the plan knows it, and need not read it again before it applies */
			assert_int_equal(d->state, VBMQD_DOMAIN_CLEAN);
			assert_true(d->fresh);
			known++;
		}
	}
	assert_int_equal(known, 5);
	vbmqd_domains_done(&all);
}

/* What came with an event while it was being read is not taken for known. */
static void test_event_meanwhile(void **state)
{
	struct vbmqd_domains all;
	struct vbmqd_domain *d = one(&all);

	vbmqd_domain_begin(d, true);
	read_begins(d);
	vbmqd_domain_mark(d);
	read_ends(d, true);
	assert_int_equal(d->state, VBMQD_DOMAIN_DIRTY);
	vbmqd_domain_begin(d, true);
	assert_false(d->fresh);
	assert_int_equal(d->state, VBMQD_DOMAIN_DIRTY);
	vbmqd_domains_done(&all);
}

/* Who asks for what is now gets it read; a read in time is read again at the next survey. */
static void test_requests_and_quick_reads(void **state)
{
	struct vbmqd_domains all;
	struct vbmqd_domain *d = one(&all);

	vbmqd_domain_begin(d, true);
	read_begins(d);
	read_ends(d, true);
	vbmqd_domain_begin(d, false);
	assert_false(d->fresh);
	read_begins(d);
	read_ends(d, false);
	vbmqd_domain_begin(d, true);
	assert_int_equal(d->state, VBMQD_DOMAIN_CLEAN);
	assert_false(d->fresh);
	vbmqd_domain_listed(d);
	assert_int_equal(d->state, VBMQD_DOMAIN_DIRTY);
	vbmqd_domains_done(&all);
}

/* One that was read too late and failed is not known. */
static void test_late_and_failed(void **state)
{
	struct vbmqd_domains all;
	struct vbmqd_domain *d = one(&all);
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmqd_domain_begin(d, true);
	read_begins(d);
	vbmq_err_set(&err, -5, "no");
	vbmqd_domain_failed(d, &err, 1, 1000);
	vbmqd_domain_late(d);
	vbmqd_domain_begin(d, true);
	assert_false(d->fresh);
	vbmqd_domains_done(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slower_than_rechecks),
		cmocka_unit_test(test_event_meanwhile),
		cmocka_unit_test(test_requests_and_quick_reads),
		cmocka_unit_test(test_late_and_failed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bus-domain", tests, NULL, NULL);
}
