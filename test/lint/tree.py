#!/usr/bin/env python3
"""What lies in the tree. Usage: tree.py [ROOT]

Only the folders of the house at the top; nothing built, nothing fetched,
nothing large. Also what the other lint scripts share: the files of the tree,
and C without its comments.
"""

import pathlib
import re
import subprocess
import sys


def root():
    """The tree to look at: the first argument, or this one."""
    if len(sys.argv) > 1:
        return pathlib.Path(sys.argv[1]).resolve()
    return pathlib.Path(__file__).resolve().parents[2]


def files(top):
    """All files that are ours, as paths relative to top: what git has or
    would take; without git, all but what is built or fetched."""
    try:
        listed = subprocess.run(
            ['git', '-C', str(top), 'ls-files', '-coz', '--exclude-standard'],
            capture_output=True, text=True).stdout
    except OSError:     # no git here
        listed = ''
    if listed:
        names = listed.split('\0')
    else:
        names = [str(path.relative_to(top)) for path in top.rglob('*')]
    paths = sorted({pathlib.PurePosixPath(name) for name in names if name})
    return [path for path in paths if (top / path).is_file()
            and not is_foreign(path)]


def is_foreign(path):
    first = path.parts[0]
    return (first in ('.git', '.cache') or first.startswith('build')
            or '__pycache__' in path.parts
            or (first == 'subprojects' and len(path.parts) > 2
                and path.parts[1] != 'packagefiles'))


def of_kind(paths, *suffixes):
    return [path for path in paths if path.suffix in suffixes]


def text(top, path):
    return (top / path).read_text(encoding='utf-8', errors='replace')


PIECES = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code(source, keep_strings=False):
    """C source with comments (and strings) blanked; lines stay lines."""
    def blank(match):
        piece = match[0]
        if piece[0] in '"\'':
            return piece if keep_strings else piece[0] * 2
        return ' ' + '\n' * piece.count('\n')
    return PIECES.sub(blank, source)


FOLDERS = {'.ci', 'cmd', 'examples', 'include', 'lib', 'subprojects', 'test'}
BUILT = {'.o', '.so', '.a', '.pyc', '.gcda', '.gcno', '.orig', '.rej', '.log'}
LARGEST = 256 * 1024


def main():
    top, problems = root(), Problems()
    for path in files(top):
        size = (top / path).stat().st_size
        if len(path.parts) > 1 and path.parts[0] not in FOLDERS:
            problems.add(path, 1, f'{path.parts[0]} is no room of the house')
        if path.suffix in BUILT:
            problems.add(path, 1, 'this is made, not written')
        if size > LARGEST:
            problems.add(path, 1, f'{size} bytes: too large to be ours')
    problems.exit('tree')


class Problems:
    """Prints problems as they are found; the exit status in the end."""

    def __init__(self):
        self.count = 0

    def add(self, path, line, what):
        self.count += 1
        print(f'{path}:{line}: {what}')

    def exit(self, subject):
        print(f'{subject}: ' + (f'{self.count} problems' if self.count
                                else 'ok'))
        sys.exit(1 if self.count else 0)


if __name__ == '__main__':
    main()
