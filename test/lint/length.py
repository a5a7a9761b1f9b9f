#!/usr/bin/env python3
"""How long functions and files are. Usage: length.py [ROOT]

A function past 60 lines is listed, past 100 it is refused. A file past 800
lines is listed, past 1,200 it is refused. Tests, which are mostly tables, are
only listed. A function begins at its name and
ends at its closing brace in the first column.
"""

import re

import tree

LISTED_FUNCTION, LONGEST_FUNCTION = 60, 100
LISTED_FILE, LONGEST_FILE = 800, 1200
NAME = re.compile(r'(\w+)\s*\(')


def functions(lines):
    """(name, first line, number of lines) of each function."""
    first, name, start = 0, None, None
    for number, line in enumerate(lines, 1):
        if line.startswith('{'):
            start = number
            name = NAME.search(' '.join(lines[first:number - 1]))
        elif line.startswith('}') and start:
            if name:
                begin = next((n for n in range(first + 1, start + 1)
                              if name[1] in lines[n - 1]), start)
                yield name[1], begin, number - begin + 1
            first, start = number, None
        elif not line.strip() or line.startswith(('#', '}')):
            if start is None:
                first = number


def main():
    top, problems = tree.root(), tree.Problems()
    paths = tree.files(top)
    for path in tree.of_kind(paths, '.c', '.h'):
        lines = tree.code(tree.text(top, path)).splitlines()
        for name, line, length in functions(lines):
            if length > LONGEST_FUNCTION and path.parts[0] != 'test':
                problems.add(path, line, f'{name} has {length} lines, more '
                             f'than {LONGEST_FUNCTION}')
            elif length > LISTED_FUNCTION:
                print(f'{path}:{line}: (listed) {name} has {length} lines: '
                      'is there a seam?')
    for path in tree.of_kind(paths, '.c', '.h', '.py', '.sh'):
        length = len(tree.text(top, path).splitlines())
        if length > LONGEST_FILE and path.parts[0] != 'test':
            problems.add(path, length, f'the file is longer than '
                         f'{LONGEST_FILE} lines')
        elif length > LISTED_FILE:
            print(f'{path}:{length}: (listed) the file is longer than '
                  f'{LISTED_FILE} lines: does it hold one idea?')
    problems.exit('length')


main()
