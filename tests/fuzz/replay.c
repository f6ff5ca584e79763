/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzz target over files and directories of files: the corpus as a test, a crash file by hand. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/file.h"

static size_t n_files;

static int replay_file(const char *path)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ uint8_t *exact = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t len;

	if (vbmq_file_read(path, 64u << 20, &text, &len, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	exact = malloc(len ? len : 1); /* no byte more, so that a sanitizer sees a read beyond the end */
	if (!exact)
		return -1;
	memcpy(exact, text, len);
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(exact, len);
	n_files++;
	return 0;
}

static int replay(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n, r = 0;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path);
	n = scandir(path, &names, NULL, alphasort);
	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *file = NULL;

		if (names[i]->d_name[0] != '.' && asprintf(&file, "%s/%s", path, names[i]->d_name) > 0 &&
		    replay_file(file) < 0)
			r = -1;
		free(names[i]);
	}
	free(names);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	for (int i = 1; i < argc; i++)
		if (replay(argv[i]) < 0)
			r = 1;
	printf("%zu inputs\n", n_files);
	return n_files ? r : 1; /* nothing replayed is nothing tested */
}
