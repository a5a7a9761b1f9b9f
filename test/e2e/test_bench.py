"""The bench runs, says what it found, and leaves nothing behind. Its emulated
link delays, loses, cuts and heals. No figure of speed is looked at."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from lib.house import check, equal, soon, test, within

BENCH = pathlib.Path(__file__).resolve().parent.parent / 'bench'
sys.path.insert(0, str(BENCH))

from netns import FAR, Link, LinkError                      # noqa: E402


def link(w, *commands):
    return w.keep(Link(w.path('test', 'bench_link'), *commands))


def datagram_pair(w, wire):
    """A socket near, connected to one far."""
    with wire.far:
        far = w.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        far.bind((FAR, 0))
    with wire.near:
        near = w.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    near.connect(far.getsockname())
    far.settimeout(5)
    return near, far


def arrives(near, far, seconds):
    near.send(b'x')
    far.settimeout(seconds)
    try:
        return far.recv(100) == b'x'
    except TimeoutError:
        return False


@test()
def link_delays(w):
    near, far = datagram_pair(w, link(w, 'delay 80'))
    with within(5, 'one way', at_least=0.08):
        check(arrives(near, far, 5), 'a datagram')


@test()
def link_cuts_freezes_and_heals(w):
    wire = link(w)
    near, far = datagram_pair(w, wire)
    check(arrives(near, far, 5), 'a datagram before the cut')
    wire.tell('cut')
    check(not arrives(near, far, 0.2), 'nothing through the cut')
    wire.tell('heal')
    check(arrives(near, far, 5), 'a datagram after it')
    wire.tell('freeze')
    check(not arrives(near, far, 0.2), 'nothing while frozen')
    wire.tell('heal')
    far.settimeout(5)
    equal(far.recv(100), b'x', 'what was held')
    wire.tell('cut 100')
    check(not arrives(near, far, 0.02), 'nothing at first')
    soon(lambda: arrives(near, far, 0.05), what='the end of a cut by time')
    wire.tell('far cut')
    check(arrives(near, far, 5), 'only the other direction is cut')


@test()
def link_loses_the_same_packets_again(w):
    found = []
    for _ in range(2):
        wire = link(w, 'loss 0.5', 'seed 7')
        near, far = datagram_pair(w, wire)
        for number in range(64):
            near.send(bytes([number]))
        soon(lambda: sum(wire.counts()['near'][what]
                         for what in ('passed', 'lost')) == 64)
        counts = wire.counts()['near']
        found.append([far.recv(100) for _ in range(counts['passed'])])
        check(8 < counts['lost'] < 56, counts)
    equal(found[0], found[1], 'the same seed')


@test()
def link_has_a_rate_and_a_short_queue(w):
    wire = link(w, 'rate 80kbit', 'queue 3000')
    near, far = datagram_pair(w, wire)
    for _ in range(6):
        near.send(bytes(1000))
    # Three fit (1,028 bytes each is 0.1 s), minus what is on the line.
    with within(5, 'two of them', at_least=0.15):
        for _ in range(2):
            equal(len(far.recv(2000)), 1000, 'a datagram')
    check(wire.counts()['near']['overflowed'] >= 3, wire.counts())


@test()
def link_refuses_what_it_does_not_know(w):
    wire = link(w)
    for wrong in ('los 0.1', 'delay', 'delay -1', 'rate 10mbot', 'near', ''):
        try:
            wire.tell(wrong)
        except LinkError:
            continue
        check(False, f'{wrong!r} was taken')
    wire.tell('rate 10mbit', 'near delay 5', 'rate 0')


def bench(w, *flags):
    return subprocess.Popen(
        [sys.executable, str(BENCH / 'run.py'), '--build', w.build, *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'TMPDIR': w.folder})


def left_behind(w):
    """Programs of the bench live in its folders, inside of ours."""
    found = [name for name in os.listdir(w.folder)
             if name.startswith('inlets-bench-')]
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if os.readlink(f'/proc/{pid}/cwd').startswith(w.folder):
                found.append(pid)
        except OSError:
            continue
    return found


@test(timeout=120, alone=True)
def bench_prints_a_table(w):
    run = bench(w, '--quick', '--repeats', '1', '--rows',
                'keep_alive|resident$|long_download')
    out, err = run.communicate(timeout=110)
    equal(run.returncode, 0, err)
    for row in ('requests/s, keep-alive', 'CPU s per 1,000', 'resident',
                '100 ms link'):
        line = next((x for x in out.splitlines() if x.startswith(row)), '')
        check(line, f'no row {row} in\n{out}\n{err}')
        check('(' not in line.split('direct')[-1].replace('(1)', ''), line)
    check('inlets:' not in out.partition('\n(')[2], out)
    equal(left_behind(w), [], 'left behind')


@test(timeout=60)
def bench_stops_at_once_and_leaves_nothing(w):
    run = bench(w, '--rows', 'lossy_download')
    soon(lambda: left_behind(w), 20, 'the start of something')
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)
    equal(run.returncode, 130, 'exit status')
    equal(left_behind(w), [], 'left behind')
