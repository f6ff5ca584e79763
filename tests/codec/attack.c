/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "attack.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oom.h"

/* --- memory that runs out (oom.h); jansson is told ----------------------------------------------------------------- */

static bool failed_jansson;

static void *jansson_malloc(size_t n)
{
	if (oom_may_allocate())
		return oom_spare(n);
	failed_jansson = true;
	return NULL;
}

void attack_memory(int (*work)(void *data, struct vbmq_err *err), void *data)
{
	size_t n;

	json_set_alloc_funcs(jansson_malloc, free);
	for (n = 0;; n++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		int r;

		failed_jansson = false;
		oom_arm(n, true);
		r = work(data, &err);
		if (!oom_disarm()) {
			assert_int_equal(r, 0);
			break;
		}
		/* jansson's parser sometimes calls it a syntax error when it gets no memory */
		if (r != -ENOMEM && !(failed_jansson && (r == -EINVAL || r == -EPROTO)))
			fail_msg("allocation %zu failed and %d came out (%s)", n, r, err.text);
		assert_int_equal(err.code, r);
	}
	json_set_alloc_funcs(malloc, free);
	assert_true(n > 5); /* the wrapping works at all */
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

int attack_one(attack_parse parse, const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	char *exact = malloc(len > 0 ? len : 1);
	char *again = NULL;
	int r;

	assert_non_null(exact);
	memcpy(exact, text, len);
	*err = VBMQ_ERR_INIT;
	r = parse(exact, len, &again, err);
	free(exact);
	if (r < 0) {
		assert_int_equal(err->code, r);
		assert_null(again);
		if (!strstr(err->text, "doc"))
			fail_msg("the message does not name the document: %s", err->text);
	} else {
		assert_int_equal(err->code, 0);
		assert_non_null(again);
	}
	if (ret_again)
		*ret_again = again;
	else
		free(again);
	return r;
}

void attack_round_trip(attack_parse parse, const char *text)
{
	struct vbmq_err err;
	char *again;

	if (attack_one(parse, text, strlen(text), &again, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(again, text);
	free(again);
}

void attack_cuts(attack_parse parse, const char *text)
{
	size_t len = strlen(text);
	struct vbmq_err err;

	while (len > 0 && text[len - 1] == '\n')
		len--;
	for (size_t n = 0; n < len; n++)
		if (attack_one(parse, text, n, NULL, &err) == 0)
			fail_msg("parsed though cut at byte %zu of %zu", n, len);
}

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

size_t attack_flips(attack_parse parse, const char *text, size_t n)
{
	const size_t len = strlen(text);
	uint64_t state = 20261122;
	size_t refused = 0;
	char *bad = malloc(len);

	assert_non_null(bad);
	for (size_t i = 0; i < n; i++) {
		struct vbmq_err err;
		char *again = NULL;

		memcpy(bad, text, len);
		for (uint32_t flips = 1 + next_random(&state) % 3; flips > 0; flips--)
			bad[next_random(&state) % len] ^= (char)(1u << (next_random(&state) % 8));
		if (attack_one(parse, bad, len, &again, &err) < 0) {
			refused++;
			continue;
		}
		attack_round_trip(parse, again);
		free(again);
	}
	free(bad);
	return refused;
}

static char *replaced(const char *text, const struct attack_case *c)
{
	const char *at = strstr(text, c->from);
	size_t head, size;
	char *out;

	if (!at)
		fail_msg("the document does not have '%s'", c->from);
	head = (size_t)(at - text);
	size = strlen(text) - strlen(c->from) + strlen(c->to) + 1;
	out = malloc(size);
	assert_non_null(out);
	memcpy(out, text, head);
	strcpy(out + head, c->to);
	strcat(out, at + strlen(c->from));
	return out;
}

void attack_replace(attack_parse parse, const char *text, const struct attack_case *cases, size_t n_cases)
{
	for (size_t i = 0; i < n_cases; i++) {
		char *bad = replaced(text, &cases[i]);
		struct vbmq_err err;
		int r = attack_one(parse, bad, strlen(bad), NULL, &err);

		free(bad);
		if (!cases[i].error && r < 0)
			fail_msg("'%s' for '%s': %s", cases[i].to, cases[i].from, err.text);
		if (cases[i].error && r == 0)
			fail_msg("'%s' for '%s' was accepted", cases[i].to, cases[i].from);
		if (cases[i].error && !strstr(err.text, cases[i].error))
			fail_msg("'%s' for '%s': message is\n%s\nwithout\n%s", cases[i].to, cases[i].from, err.text,
				 cases[i].error);
	}
}
