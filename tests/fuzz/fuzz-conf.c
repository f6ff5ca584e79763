/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbmqd.conf. What is refused leaves the configuration as it was; what is accepted is written and read back the same. */
#include <string.h>

#include "codec/conf.h"
#include "fuzz.h"
#include "util/cleanup.h"

static char *format(const struct vbmq_conf *c)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *text = NULL;
	int r = vbmq_conf_format(c, &text, &err);

	fuzz_check_err(r, &err);
	FUZZ_ASSERT(r == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *before = NULL, *after = NULL, *again = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_conf conf, back;
	int r;

	vbmq_conf_init(&conf);
	before = format(&conf);
	r = vbmq_conf_parse("fuzz.conf", (const char *)data, size, &conf, &err);
	fuzz_check_err(r, &err);
	after = format(&conf);
	if (r < 0) {
		FUZZ_ASSERT(strcmp(before, after) == 0);
	} else {
		vbmq_conf_init(&back);
		FUZZ_ASSERT(vbmq_conf_parse("again.conf", after, strlen(after), &back, NULL) == 0);
		again = format(&back);
		FUZZ_ASSERT(strcmp(again, after) == 0);
		vbmq_conf_done(&back);
	}
	vbmq_conf_done(&conf);
	return 0;
}
