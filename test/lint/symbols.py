#!/usr/bin/env python3
"""Which names leave the library. Usage: symbols.py [ROOT [BUILD]]

All that libinlets.so exports begins with inlets_; what is not static inside
it begins with inl_ or inlets_; no program or example uses an inl_ name.
BUILD defaults to the current folder, where Meson runs its tests.
"""

import pathlib
import re
import shutil
import subprocess
import sys

import tree

INTERNAL = re.compile(r'\b(inl_\w+|INL_\w+)')
# Names of a linker, a compiler or a sanitizer.
TOOLCHAIN = re.compile(r'_init|_fini|_edata|_end|__bss_start|__odr_asan.*'
                       r'|__(a|l|t|ub)san_.*|__sanitizer_.*|__start_.*'
                       r'|__stop_.*')


def build_folder():
    if len(sys.argv) > 2:
        return pathlib.Path(sys.argv[2]).resolve()
    return pathlib.Path.cwd()


def defined(*argv):
    """(kind, name) of the global symbols that a file defines."""
    ran = subprocess.run(['nm', '--defined-only', *map(str, argv)],
                         capture_output=True, text=True, check=True)
    for line in ran.stdout.splitlines():
        parts = line.split()
        if len(parts) == 3:
            yield parts[1], parts[2]


def check_exports(problems, library):
    exported = 0
    for kind, name in defined('-D', library):
        name = name.partition('@')[0]
        if kind == 'A' and name.startswith('INLETS_'):
            continue    # a version of the symbol map
        if name.startswith('inlets_'):
            exported += 1
        elif not TOOLCHAIN.fullmatch(name):
            problems.add(library.name, 0, f'exports {name}')
    if exported == 0:
        problems.add(library.name, 0, 'exports no inlets_ name at all')


def check_objects(problems, build):
    """Global names of our own objects: a static library shows them all."""
    for item in sorted(build.glob('lib/libinlets*.p/*.o')):
        for kind, name in defined('-g', item):
            if kind in 'TDBRCVW' and not name.startswith(('inl_', 'inlets_')) \
                    and not TOOLCHAIN.fullmatch(name):
                problems.add(item.name, 0, f'{name} is global: it should be '
                             'static, or begin with inl_')


def check_users(problems, top):
    for path in tree.of_kind(tree.files(top), '.c', '.h'):
        if path.parts[0] not in ('cmd', 'examples'):
            continue
        lines = tree.code(tree.text(top, path)).splitlines()
        for number, line in enumerate(lines, 1):
            for name in INTERNAL.findall(line):
                problems.add(path, number, f'{name} is not public')


def main():
    top, problems = tree.root(), tree.Problems()
    check_users(problems, top)
    build = build_folder()
    libraries = [path for path in sorted(build.glob('lib/libinlets.so*'))
                 if not path.is_symlink() and path.is_file()]
    if not shutil.which('nm'):
        problems.add('symbols.py', 0, 'there is no nm (binutils)')
    elif not libraries:
        problems.add('symbols.py', 0, f'no lib/libinlets.so in {build}: name '
                     'the build folder')
    else:
        check_exports(problems, libraries[0])
        check_objects(problems, build)
    problems.exit('symbols')


main()
