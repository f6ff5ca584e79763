#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes a file's bytes as a C array: embed.py INPUT OUTPUT NAME. The library then needs no file at run time."""
import sys


def main():
    source, target, name = sys.argv[1:]
    with open(source, 'rb') as f:
        data = f.read()
    rows = [', '.join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
    with open(target, 'w', encoding='ascii') as f:
        f.write('/* Generated from a schema by schemas/embed.py. */\n#pragma once\n\n')
        f.write(f'static const char {name}[{len(data)}] = {{\n\t')
        f.write(',\n\t'.join(rows))
        f.write('\n};\n')


if __name__ == '__main__':
    main()
