#!/usr/bin/env python3
"""What clang-format does not see. Usage: style.py [ROOT]

80 columns in code (100 in scripts and build files), no tabs, no blanks at the
end of a line, a newline at the end of a file, LF only; a thing left for
later names its issue; no path of anybody's machine.
"""

import re

import tree

WIDTH = 80
WIDE = 100
SCRIPTS = {'.sh', '.build'}
CODE = {'.c', '.h', '.py'} | SCRIPTS
TEXT = CODE | {'.md', '.txt', '.map', '.1', '.wrap', '.service', '.yml',
               '.yaml', '.trace', ''}
# Its parts are apart so that this file does not find itself.
LATER = re.compile(r'\b(TO' 'DO|FIX' 'ME|XX' 'X)\\b')
ISSUE = re.compile(r'#\d+')
MACHINE = re.compile(r'(?:^|[^\w.])/(?:work|ro' 'ot|farm|home/\\w+'
                     r'|Users/\w+|tmp/bash_)[/_]')


def is_text(path):
    if 'corpus' in path.parts:
        return False
    return path.suffix in TEXT or path.name in ('meson_options.txt',)


def check_line(problems, path, number, line):
    width = WIDE if path.suffix in SCRIPTS else WIDTH
    if path.suffix in CODE and len(line) > width:
        problems.add(path, number, f'{len(line)} columns')
    if '\t' in line:
        problems.add(path, number, 'a tab')
    if line != line.rstrip() and path.suffix != '.md':
        problems.add(path, number, 'blanks at the end')
    if LATER.search(line) and not ISSUE.search(line):
        problems.add(path, number, 'left for later without an issue (#N)')
    if MACHINE.search(line):
        problems.add(path, number, "a path of somebody's machine")


def main():
    top, problems = tree.root(), tree.Problems()
    for path in tree.files(top):
        if not is_text(path):
            continue
        content = (top / path).read_bytes()
        if b'\r' in content:
            problems.add(path, 1, 'carriage returns')
        if content and not content.endswith(b'\n'):
            problems.add(path, content.count(b'\n') + 1,
                         'no newline at the end')
        lines = content.decode('utf-8', 'replace').splitlines()
        for number, line in enumerate(lines, 1):
            check_line(problems, path, number, line)
    problems.exit('style')


main()
