#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The core library is pure: its undefined symbols are its own, util's, or in the short list below.

A stray open, time, getenv or printf in lib/core fails this test. Sanitizer and coverage hooks are passed over.
"""
import re
import subprocess
import sys

NM, CORE, UTIL = sys.argv[1:4]
ALLOWED = {"malloc", "calloc", "realloc", "reallocarray", "free", "memcpy", "memmove", "memset", "memcmp", "strcmp", "strncmp",
           "strlen", "strnlen", "strdup", "strchr", "strrchr", "strstr", "qsort", "qsort_r", "bsearch", "__stack_chk_fail",
           "__memcpy_chk", "__memmove_chk", "__memset_chk", "__strcpy_chk", "_GLOBAL_OFFSET_TABLE_", "__assert_fail"}
# What util may offer but core must not use: files.
UTIL_IMPURE = re.compile(r"^vbmq_file_")
HOOKS = re.compile(r"^(__asan|__ubsan|__tsan|__lsan|__sanitizer|__gcov|__llvm|__msan|_GLOBAL_)")


def symbols(archive, kinds):
    found = set()
    for line in subprocess.run([NM, archive], capture_output=True, text=True, check=True).stdout.splitlines():
        m = re.match(r"^[0-9a-f ]{16,17}\s*([A-Za-z])\s+(\S+)$", line)
        if m and m.group(1) in kinds:
            found.add(m.group(2))
    return found


defined = symbols(CORE, "TtDdBbRrVWC")
util = {s for s in symbols(UTIL, "TDBRVWC") if not UTIL_IMPURE.match(s)}
undefined = symbols(CORE, "U") - defined
strangers = sorted(s for s in undefined if s not in util and s not in ALLOWED and not HOOKS.match(s))
print("1..2")
print("%sok 1 - the library has symbols to judge" % ("" if len(defined) > 20 else "not "))
for s in strangers:
    print("# lib/core uses %s, which is neither util's nor in the allow-list of tests/style/purity.py" % s)
print("%sok 2 - core uses nothing but util and the allowed part of libc" % ("not " if strangers else ""))
sys.exit(bool(strangers) or len(defined) <= 20)
