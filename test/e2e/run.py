#!/usr/bin/env python3
"""End-to-end tests: the real programs, real sockets, scripted peers.

    run.py --build DIR [--suite fast|patient|bulk|soak|valgrind|all]
           [-k PATTERN] [-j N] [--list]

Each test runs in a process of its own, starts and stops its own programs and
has a time limit. A line per test; below it what it measured, or, after a
failure, the reason and the ends of the programs' logs. The last line is
"N passed, N failed"; exit status 1 when one failed, 2 when none could run.
SOAK_SECONDS is the length of the soak's load, E2E_SEED what a test that cuts
at random printed.
"""

import argparse
import concurrent.futures
import ctypes
import importlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from lib import house                                       # noqa: E402

PASSED, FAILED = 0, 1
PR_SET_PDEATHSIG = 1
VALGRIND_IS_SLOWER = 10


def load_tests():
    for file in sorted(HERE.glob('test_*.py')):
        importlib.import_module(file.stem)
    return house.TESTS


def selected(tests, suite, pattern):
    return [name for name, function in tests.items()
            if suite in ('all', function.suite)
            and (not pattern or re.search(pattern, name))]


# --- one test, in its own process --------------------------------------------

def raise_limits():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe(error):
    """What failed, and the place in the test."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.basename(frame.filename) != 'run.py':
            place = os.path.basename(frame.filename)
            lines.append(f'  at {place}:{frame.lineno}: {frame.line}')
    return [f'{type(error).__name__}: {error}'] + lines[-6:]


def run_one(name, build):
    """Runs a test here. Prints why it failed; returns the exit status."""
    function = load_tests()[name]
    raise_limits()
    folder = tempfile.mkdtemp(prefix='inlets-e2e-')
    world = house.House(build, folder, function.suite == 'valgrind')
    # The runner sends it at the time limit, the kernel when the runner ends:
    # the test can say where it was, and put its programs away.
    signal.signal(signal.SIGALRM, time_is_up)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGALRM, 0, 0, 0)
    problems = []
    try:
        function(world)
    except (Exception, TimeIsUp) as error:
        problems = describe(error)
    problems += world.finish(bool(problems))
    for line in problems:
        print(line)
    if problems:
        for program in world.programs:
            print(f'--- {program.name}: {" ".join(program.argv)}')
            print('\n'.join(program.tail()))
    shutil.rmtree(folder, ignore_errors=True)
    return FAILED if problems else PASSED


class TimeIsUp(BaseException):
    """Nothing in a test may catch it by chance."""


def time_is_up(*_):
    # Once: what follows is putting the programs away.
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    raise TimeIsUp('the time limit of the test is reached')


# --- all tests ---------------------------------------------------------------

class Runner:
    def __init__(self, build, width):
        self.build, self.width = build, width
        self.lock = threading.Lock()
        self.passed = self.failed = 0

    def run(self, name, function):
        limit = function.timeout
        if function.suite == 'valgrind':
            limit *= VALGRIND_IS_SLOWER
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, __file__, '--build', self.build, '--one', name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace', start_new_session=True)
        output = self.wait(process, limit)
        self.report(name, process.returncode == PASSED, output,
                    time.monotonic() - began)

    @staticmethod
    def wait(process, limit):
        """The test's output. At the limit it is asked, then made to end."""
        try:
            return process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGALRM)
        try:
            return process.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            # The session is the test's own: the test and its programs.
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0] + '\nit had to be killed'

    def report(self, name, passed, output, seconds):
        with self.lock:
            word = 'ok  ' if passed else 'FAIL'
            print(f'{word} {name:{self.width}} {seconds:6.1f} s')
            self.passed += passed
            self.failed += not passed
            # What failed and why; of a passed test, what it measured.
            for line in output.rstrip().splitlines():
                print(f'    {line}')
            sys.stdout.flush()


def run_all(tests, names, build, jobs):
    runner = Runner(build, max(map(len, names), default=0))
    together = [n for n in names if not tests[n].alone]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(runner.run, name, tests[name])
                       for name in together]:
            future.result()
    for name in names:
        if tests[name].alone:
            runner.run(name, tests[name])
    print(f'{runner.passed} passed, {runner.failed} failed')
    return 1 if runner.failed or not runner.passed else 0


def missing(build):
    return [path for path in ('cmd/inlets-server', 'cmd/inlets-client')
            if not os.access(os.path.join(build, path), os.X_OK)]


def main():
    parser = argparse.ArgumentParser(
        description='End-to-end tests of inlets-server and inlets-client.')
    parser.add_argument('--build', metavar='DIR', required=True,
                        help='build folder with cmd/inlets-server in it')
    parser.add_argument('--suite', default='fast',
                        choices=('fast', 'patient', 'bulk', 'soak', 'valgrind',
                                 'all'))
    parser.add_argument('-k', metavar='PATTERN', help='only names that match')
    parser.add_argument('-j', metavar='N', type=int, help='tests at once',
                        default=min(4, 2 * (os.cpu_count() or 1)))
    parser.add_argument('--list', action='store_true', help='names only')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    if args.one:
        return run_one(args.one, build)
    tests = load_tests()
    names = selected(tests, args.suite, args.k)
    if args.list:
        print('\n'.join(f'{n}  ({tests[n].suite})' for n in names))
        return 0
    if lacking := missing(build):
        print(f'{build}: no {" and no ".join(lacking)}', file=sys.stderr)
        return 2
    if not names:
        print('no test matches', file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))
    return run_all(tests, names, build, max(1, args.j))


if __name__ == '__main__':
    sys.exit(main())
