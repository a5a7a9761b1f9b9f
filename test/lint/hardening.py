#!/usr/bin/env python3
"""Is what was built hardened? Usage: hardening.py [ROOT [BUILD]]

Reads the two programs and libinlets.so with readelf: position independent,
full RELRO, every symbol bound at the start, no stack or segment that can be
written and executed, stack protector; and, where the optimiser ran without a
sanitizer, FORTIFY_SOURCE. BUILD defaults to the current folder.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import tree


def build_folder():
    if len(sys.argv) > 2:
        return pathlib.Path(sys.argv[2]).resolve()
    return pathlib.Path.cwd()


def readelf(file):
    return subprocess.run(['readelf', '-W', '-h', '-l', '-d', '-n', '-s',
                           str(file)],
                          capture_output=True, text=True, check=True).stdout


def options(build):
    ran = subprocess.run(['meson', 'introspect', '--buildoptions', str(build)],
                         capture_output=True, text=True, check=True)
    return {o['name']: o['value'] for o in json.loads(ran.stdout)}


def faults(text, is_fortified):
    if not re.search(r'Type:\s+DYN', text):
        yield 'is not position independent'
    if 'GNU_RELRO' not in text:
        yield 'has no RELRO'
    if not re.search(r'BIND_NOW|Flags:.*NOW', text):
        yield 'binds lazily: RELRO is not full'
    stack = re.search(r'GNU_STACK.*', text)
    if not stack or re.search(r'\bRWE\b', stack.group()):
        yield 'has a stack that can be executed'
    if re.search(r'^\s*LOAD.*\bR?WE\b', text, re.M):
        yield 'has a segment that can be written and executed'
    if '__stack_chk_fail' not in text:
        yield 'has no stack protector'
    if re.search(r'\bTEXTREL\b', text):
        yield 'has text relocations'
    if is_fortified and not re.search(r'__\w+_chk\b(?<!stack_chk)', text):
        yield 'has no FORTIFY_SOURCE'


def main():
    problems = tree.Problems()
    build = build_folder()
    if not shutil.which('readelf'):
        problems.add('hardening.py', 0, 'there is no readelf (binutils)')
        return problems.exit('hardening')
    o = options(build)
    plain = str(o['b_sanitize']) in ('none', '[]')
    optimised = o['optimization'] not in ('0', 'g', 'plain')
    for name in ('cmd/inlets-server', 'cmd/inlets-client',
                 'lib/libinlets.so'):
        if not (build / name).exists():
            problems.add(name, 0, f'is not in {build}')
            continue
        text = readelf(build / name)
        # Not the note that the linker writes: it needs every object of every
        # static library to agree. The landing pads (endbr64) are there or not.
        if plain and 'X86-64' in text and (
                (build / name).read_bytes().count(b'\xf3\x0f\x1e\xfa') < 50):
            problems.add(name, 0, 'has no control-flow protection')
        for fault in faults(text, plain and optimised):
            problems.add(name, 0, fault)
    return problems.exit('hardening')


if __name__ == '__main__':
    sys.exit(main())
