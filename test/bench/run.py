#!/usr/bin/env python3
"""The bench: inlets beside nginx twice, ssh -R, and no tunnel, in one run.

    test/bench/run.py --build build/release [--rows PATTERN] [--quick]
                      [--repeats 3] [--json FILE] [--markdown | --readme]

Prints the medians of the repeats, their ratio to nginx2 (nginx to nginx to
the origin: two HTTP hops, no tunnel), and what issue 3 wants to reach. In each
repeat the subjects take turns. What the rows mean is in README.md. Needs
nginx, wrk and curl; sshd for ssh; for the rows with a link /dev/net/tun,
iproute2, and root (or to be run below `unshare --user --map-root-user`). What
cannot run says why below the table. Exit status 1 only when nothing could be
measured.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import rows                                                 # noqa: E402
from subjects import (DESCRIPTORS, Unable, adopt_orphans,   # noqa: E402
                      find)

BEGIN, END = '<!-- table: begin -->', '<!-- table: end -->'


class Bench:
    """What the measures need to know."""

    def __init__(self, build, quick):
        self.build, self.quick = build, quick
        self.crowd = 200 if quick else 1000
        self.many = min(1000 if quick else 10000, raise_limits() // 2 - 100)

    def seconds(self, count):
        return max(1, count // 4) if self.quick else count


def raise_limits():
    """Ten thousand visitors are twice as many descriptors. Returns how many
    there are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# --- measuring ---------------------------------------------------------------

def selected(pattern):
    return [m for m in rows.MEASURES if not pattern
            or any(re.search(pattern, row.name) for row in m.rows)
            or re.search(pattern, m.function.__name__)]


class Figures:
    """{row: {subject: {'figures': [...], 'why': [...]}}}, as in the JSON."""

    def __init__(self, known=None):
        self.known = known or {}

    def forget(self, measures):
        for measure in measures:
            for row in measure.rows:
                self.known.pop(row.name, None)

    def add(self, row, subject, figure=None, why=None):
        cell = self.known.setdefault(row, {}).setdefault(
            subject, {'figures': [], 'why': []})
        if why:
            cell['why'].append(why)
        else:
            cell['figures'].append(figure)

    def median(self, row, subject):
        cell = self.known.get(row, {}).get(subject, {})
        return rows.median(cell.get('figures', ()))

    def why(self, row, subject):
        cell = self.known.get(row, {}).get(subject, {})
        return next(iter(cell.get('why', ())), None)

    def medians(self, row):
        return {name: self.median(row, name) for name in rows.ALL}


def attempt(bench, measure, subject, repeat, figures):
    """One measure of one subject. Returns what to tell the user."""
    try:
        got = measure.function(bench, subject, repeat)
    except (Unable, OSError, subprocess.SubprocessError) as error:
        why = str(error) or type(error).__name__
        for row in measure.rows:
            figures.add(row.name, subject, why=why)
        return why
    for row in measure.rows:
        if row.name in got:
            figures.add(row.name, subject, got[row.name])
    return ', '.join(show(got.get(row.name)) for row in measure.rows)


def measure_all(bench, measures, repeats, figures):
    total = sum(len(m.subjects) for m in measures) * repeats
    done = 0
    for measure in measures:
        for repeat in range(repeats):
            for subject in measure.subjects:
                done += 1
                began = time.monotonic()
                said = attempt(bench, measure, subject, repeat, figures)
                print(f'[{done}/{total}] {measure.function.__name__}, '
                      f'{subject}: {said} '
                      f'({time.monotonic() - began:.1f} s)',
                      file=sys.stderr, flush=True)


# --- showing -----------------------------------------------------------------

def show(figure):
    if figure is None:
        return '-'
    if abs(figure) >= 1000:
        return f'{figure:,.0f}'
    if abs(figure) >= 100:
        return f'{figure:.0f}'
    return f'{figure:.3g}'


class Table:
    """Rows of text, and the notes below them."""

    head = ('row', 'reach', 'here', 'reached', 'x nginx2',
            'nginx2', 'ssh', 'direct')

    def __init__(self, figures):
        self.figures, self.lines, self.notes = figures, [], []
        for measure in rows.MEASURES:
            for row in measure.rows:
                if row.name in figures.known:
                    self.lines.append(self.line(row, measure))

    def line(self, row, measure):
        medians = self.figures.medians(row.name)
        here, reference = medians['inlets'], medians['nginx2']
        ratio = here / reference if here is not None and reference else None
        verdict = {True: 'yes', False: 'no', None: '?'}[
            row.reach.is_met(here, medians) if here is not None else None]
        cells = {name: self.cell(row, name, measure) for name in medians}
        return (row.name, str(row.reach), cells['inlets'], verdict,
                show(ratio), cells['nginx2'], cells['ssh'], cells['direct'])

    def cell(self, row, subject, measure):
        text = show(self.figures.median(row.name, subject))
        why = self.figures.why(row.name, subject)
        if why and subject in measure.subjects:
            text += f' ({self.note(f"{subject}: {why}")})'
        return text

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1

    def plain(self):
        lines = [self.head, *self.lines]
        widths = [max(len(line[i]) for line in lines)
                  for i in range(len(self.head))]
        out = ['  '.join(cell.ljust(width) if i < 2 else cell.rjust(width)
                         for i, (cell, width) in enumerate(zip(line, widths)))
               .rstrip() for line in lines]
        return '\n'.join(out + [''] + self.numbered())

    def markdown(self):
        bar = '| --- | --- |' + ' ---: |' * (len(self.head) - 2)
        head = '| ' + ' | '.join(self.head) + ' |'
        out = [head, bar] + ['| ' + ' | '.join(line) + ' |'
                             for line in self.lines]
        return '\n'.join(out + [''] + self.numbered())

    def numbered(self):
        return [f'({number}) {note}  '
                for number, note in enumerate(self.notes, 1)]


def version(*argv):
    if not find(argv[0]):
        return f'no {argv[0]}'
    ran = subprocess.run([find(argv[0]), *argv[1:]], capture_output=True,
                         text=True, check=False, stdin=subprocess.DEVNULL)
    said = (ran.stdout + ran.stderr).strip() or argv[0]
    return said.splitlines()[0].split(' [')[0].split(',')[0]


def machine(args):
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        model = re.search(r'model name\s*:\s*(.*)', file.read())
    today = datetime.date.today().isoformat()
    how = 'quick; ' if args.quick else ''
    return (f'{today}, {os.cpu_count()} cores '
            f'({model[1] if model else platform.machine()}), Linux '
            f'{platform.release()}; {version("nginx", "-v")}; '
            f'{version("ssh", "-V")}; {version("wrk", "-v")}. '
            f'{how.capitalize()}repeats: {args.repeats}; load average before: '
            f'{os.getloadavg()[0]:.1f}. {args.remark}'.rstrip())


def update_readme(text):
    path = HERE / 'README.md'
    before, _, rest = path.read_text(encoding='utf-8').partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f'{before}{BEGIN}\n{text}\n{END}{after}',
                    encoding='utf-8')


# --- all ---------------------------------------------------------------------

def arguments():
    parser = argparse.ArgumentParser(
        description='inlets beside nginx twice, ssh -R, and no tunnel.')
    parser.add_argument('--build', metavar='DIR',
                        help='a release build, with its test tools')
    parser.add_argument('--rows', metavar='PATTERN',
                        help='only rows (or measures) that match')
    parser.add_argument('--quick', action='store_true',
                        help='a quarter of the time, smaller crowds')
    parser.add_argument('--repeats', metavar='N', type=int, default=3)
    parser.add_argument('--json', metavar='FILE', help='all figures')
    parser.add_argument('--from', metavar='FILE', dest='earlier',
                        help='a JSON of before, whose other rows are kept; '
                             'without --build it is only shown')
    parser.add_argument('--markdown', action='store_true')
    parser.add_argument('--readme', action='store_true',
                        help='put the table into README.md')
    parser.add_argument('--remark', metavar='TEXT', default='',
                        help='to be shown beside the machine')
    parser.add_argument('--list', action='store_true', help='rows only')
    args = parser.parse_args()
    if not (args.build or args.list or args.earlier):
        parser.error('--build is needed')
    return args


def run(args, measures):
    about, known = machine(args), {}
    if args.earlier:
        with open(args.earlier, encoding='utf-8') as file:
            earlier = json.load(file)
        known = earlier['rows']
        about = about if args.build else earlier['machine']
    figures = Figures(known)
    if args.build:
        build = os.path.abspath(args.build)
        for program in ('cmd/inlets-server', 'test/bench_link'):
            if not os.access(os.path.join(build, program), os.X_OK):
                sys.exit(f'run.py: no {program} in {build}')
        figures.forget(measures)
        measure_all(Bench(build, args.quick), measures, args.repeats, figures)
    return about, figures


def main():
    args = arguments()
    measures = selected(args.rows)
    if args.list:
        print('\n'.join(f'{row.name}  ({measure.function.__name__})'
                        for measure in measures for row in measure.rows))
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    adopt_orphans()
    try:
        about, figures = run(args, measures)
    except KeyboardInterrupt:
        print('run.py: stopped', file=sys.stderr)
        return 130
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump({'machine': about, 'rows': figures.known}, file,
                      indent=1)
    table = Table(figures)
    if args.readme:
        update_readme(f'{about}\n\n{table.markdown()}')
    print(f'{about}\n')
    print(table.markdown() if args.markdown else table.plain())
    measured = any(cell['figures'] for row in figures.known.values()
                   for cell in row.values())
    return 0 if measured else 1


if __name__ == '__main__':
    sys.exit(main())
