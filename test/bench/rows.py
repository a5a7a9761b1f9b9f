"""The rows of the table, and how each is measured.

A measure is a function of (Bench, subject name, number of the repeat) that
starts the subject, measures for a few seconds and returns {row: figure}. Rows
that one measure gives are registered with it, each with what issue 3 wants to
reach: a bound, or a bound of the ratio to a reference in the same run.
"""

import dataclasses
import statistics
import time

import load
import primitives
import tunnels
from subjects import SUBJECTS, Unable, running

GIB = 1 << 30
# Round trips of 100 and 20 ms; a queue of one round trip at that rate.
LONG = ('delay 50', 'rate 250mbit', 'queue 3000000')
SLOW = ('delay 10', 'rate 10mbit', 'queue 125000')
SLOW_RTT_MS, LONG_RTT_MS = 20, 100
# Of inlets-client, in the rows with a link; if it has it.
LANES = ('?--connections=auto',)
ALL = tuple(SUBJECTS)
MIDDLES = tuple(name for name in ALL if name != 'direct')


@dataclasses.dataclass
class Reach:
    """`least` or `most`, of the figure or of its ratio to `of`; or none."""

    least: float = None
    most: float = None
    of: str = None

    def __str__(self):
        if self.least is None and self.most is None:
            return '-'
        bound = self.least if self.least is not None else self.most
        unit = f'x {self.of}' if self.of else ''
        word = 'or more' if self.least is not None else 'or less'
        return f'{bound:g}{unit} {word}'

    def is_met(self, figure, figures):
        """None where nothing can be said."""
        if self.of:
            reference = figures.get(self.of)
            figure = figure / reference if reference else None
        if figure is None:
            return None
        if self.least is not None:
            return figure >= self.least
        return figure <= self.most if self.most is not None else None


@dataclasses.dataclass
class Row:
    name: str
    reach: Reach
    is_more_better: bool = False


@dataclasses.dataclass
class Measure:
    function: object
    rows: list
    subjects: tuple


MEASURES = []


def measure(*rows, subjects=ALL):
    def register(function):
        MEASURES.append(Measure(function, list(rows), subjects))
        return function
    return register


def least(name, *bound):
    return Row(name, Reach(least=bound[0], of=(*bound, None)[1]), True)


def most(name, *bound):
    return Row(name, Reach(most=bound[0], of=(*bound, None)[1]))


def more(name):
    return Row(name, Reach(), True)


def lossy(repeat):
    # The same losses for each subject of a repeat.
    return (*LONG, 'loss 0.01', f'seed {repeat + 1}')


# --- requests ----------------------------------------------------------------

REQUESTS = 'requests/s, keep-alive, 64 visitors'
REQUEST_CPU = 'CPU s per 1,000 such requests'
CONNECTIONS = 'requests/s, a new connection each, 64 visitors'


@measure(least(REQUESTS, 1.2, 'nginx2'), most(REQUEST_CPU, 0.035))
def keep_alive(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        before = subject.cpu()
        got = load.wrk(subject, bench.seconds(4), 64)
        return {REQUESTS: got['rate'],
                REQUEST_CPU: per_thousand(subject, before, got)}


def per_thousand(subject, before, got):
    if got['errors'] or not got['count']:
        raise Unable(f'{got["errors"]} errors in {got["count"]} requests')
    if not subject.middle:
        return None
    return 1000 * (subject.cpu() - before) / got['count']


@measure(least(CONNECTIONS, 0.9, 'nginx2'))
def new_connections(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        got = load.wrk(subject, bench.seconds(4), 64,
                       headers=['Connection: close'])
        return {CONNECTIONS: got['rate']}


# --- bytes -------------------------------------------------------------------

DOWN, DOWN_CPU = 'download, 1 stream, MB/s', 'CPU s per GiB down'
UP, UP_CPU = 'upload, 1 stream, MB/s', 'CPU s per GiB up'


def rate_and_cpu(subject, before, sent, rate_row, cpu_row):
    total, took = sent
    figures = {rate_row: total / took / 1e6}
    if subject.middle:
        figures[cpu_row] = (subject.cpu() - before) * GIB / total
    return figures


@measure(least(DOWN, 0.9, 'nginx2'), most(DOWN_CPU, 2.0))
def one_download(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        before = subject.cpu()
        sent = load.download(subject, bench.seconds(4))
        return rate_and_cpu(subject, before, sent, DOWN, DOWN_CPU)


@measure(least(UP, 0.9, 'nginx2'), most(UP_CPU, 2.5))
def one_upload(bench, name, _repeat):
    with running(name, bench.build, origin='holder') as subject:
        load.warm_up(subject)
        before = subject.cpu()
        sent = load.upload(subject, bench.seconds(4))
        return rate_and_cpu(subject, before, sent, UP, UP_CPU)


# --- TLS ---------------------------------------------------------------------

TLS_NEW = 'https: full handshakes/s, 4 visitors'
TLS_NEW_CPU = 'CPU s per 1,000 of them'
TLS_AGAIN = 'https: resumed handshakes/s, 4 visitors'
TLS_SMALL = 'https: requests/s, keep-alive, 64 visitors'
TLS_DOWN = 'https: download, 1 stream, MB/s'
# Of the library alone: Mbed TLS here, OpenSSL for nginx2.
PRIMITIVES = {
    f'library alone: {name}': name for name in (
        'chacha20-poly1305', 'aes-128-gcm', 'ecdsa-p256', 'ecdh-p256',
        'ecdh-x25519')}
NOT_SSH = ('nginx2', 'inlets')      # it has no TLS, and many take it minutes


@measure(more(TLS_NEW), Row(TLS_NEW_CPU, Reach()), subjects=NOT_SSH)
def tls_handshakes(bench, name, _repeat):
    with running(name, bench.build, flags=('tls',)) as subject:
        load.warm_up(subject)
        before = subject.cpu()
        rate, count = load.handshakes(subject, bench.seconds(4), 'new')
        return {TLS_NEW: rate,
                TLS_NEW_CPU: 1000 * (subject.cpu() - before) / count}


@measure(more(TLS_AGAIN), subjects=NOT_SSH)
def tls_resumed(bench, name, _repeat):
    with running(name, bench.build, flags=('tls',)) as subject:
        load.warm_up(subject)
        return {TLS_AGAIN: load.handshakes(subject, bench.seconds(4),
                                           'reuse')[0]}


@measure(more(TLS_SMALL), subjects=NOT_SSH)
def tls_keep_alive(bench, name, _repeat):
    with running(name, bench.build, flags=('tls',)) as subject:
        load.warm_up(subject)
        got = load.wrk(subject, bench.seconds(4), 64)
        if got['errors']:
            raise Unable(f'{got["errors"]} errors')
        return {TLS_SMALL: got['rate']}


@measure(more(TLS_DOWN), subjects=NOT_SSH)
def tls_download(bench, name, _repeat):
    with running(name, bench.build, flags=('tls',)) as subject:
        load.warm_up(subject)
        return {TLS_DOWN: load.by_curl(subject, 2 * bench.seconds(4)) / 1e6}


@measure(*map(more, PRIMITIVES), subjects=NOT_SSH)
def library_alone(bench, name, _repeat):
    speed = primitives.of_openssl if name == 'nginx2' else primitives.of_ours
    got = speed(bench.build)
    return {row: got[what] for row, what in PRIMITIVES.items()}


# --- memory ------------------------------------------------------------------

EMPTY = 'resident, nothing open, both programs, MiB'
IDLE = 'resident per idle keep-alive visitor, KiB'
EVENTS = 'resident per open event stream, KiB'


@measure(most(EMPTY, 8), subjects=MIDDLES)
def resident(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject, 1)
        time.sleep(0.3)
        return {EMPTY: subject.resident() / 1024}


def resident_each(bench, name, path, row):
    count = bench.crowd
    with running(name, bench.build, origin='holder',
                 flags=('unbuffered',) if name == 'nginx2' else ()) as subject:
        load.warm_up(subject, 1)
        before = subject.resident()
        with load.crowd(subject, count, path):
            time.sleep(0.5)
            return {row: (subject.resident() - before) / count}


@measure(most(IDLE, 2), subjects=MIDDLES)
def resident_idle(bench, name, _repeat):
    return resident_each(bench, name, '/small', IDLE)


@measure(most(EVENTS, 8), subjects=MIDDLES)
def resident_events(bench, name, _repeat):
    return resident_each(bench, name, '/events', EVENTS)


# --- a long link -------------------------------------------------------------

LONG_DOWN = '100 ms link: one download, MB/s, first 2 s'
LOSSY_ONE = '100 ms, 1 % loss: one download, MB/s'
LOSSY_EIGHT = '100 ms, 1 % loss: eight downloads, MB/s'
LOSSY_SMALL = '100 ms, 1 % loss: small request beside a download, p50 ms'
LOSSY_LANE = 'the same with --connections 1'


def linked_download(bench, name, link, seconds, streams, row):
    with running(name, bench.build, link=link, flags=LANES) as subject:
        load.warm_up(subject, 1)
        total, took = load.download(subject, seconds, streams)
        return {row: total / took / 1e6}


@measure(least(LONG_DOWN, 0.95, 'direct'))
def long_download(bench, name, _repeat):
    return linked_download(bench, name, LONG, 2, 1, LONG_DOWN)


@measure(least(LOSSY_ONE, 8))
def lossy_download(bench, name, repeat):
    return linked_download(bench, name, lossy(repeat), bench.seconds(6), 1,
                           LOSSY_ONE)


@measure(least(LOSSY_EIGHT, 10))
def lossy_downloads(bench, name, repeat):
    return linked_download(bench, name, lossy(repeat), bench.seconds(6), 8,
                           LOSSY_EIGHT)


def small_beside(bench, name, link, flags=LANES):
    with running(name, bench.build, link=link, flags=flags) as subject:
        load.warm_up(subject, 1)
        with load.full_download(subject):
            time.sleep(1.5)
            return load.small_times(subject, bench.seconds(5))


@measure(most(LOSSY_SMALL, LONG_RTT_MS + 10))
def lossy_small(bench, name, repeat):
    return {LOSSY_SMALL: small_beside(bench, name, lossy(repeat))}


@measure(most(LOSSY_LANE, LONG_RTT_MS + 100), subjects=('inlets',))
def lossy_one_lane(bench, name, repeat):
    return {LOSSY_LANE: small_beside(bench, name, lossy(repeat),
                                     ('--connections=1',))}


# --- trouble -----------------------------------------------------------------

RESTART = 'killed server restarted, first good answer, s'
STALLED = 'beside 4 downloads nobody reads, requests/s of idle'
BESIDE_50 = 'beside a full-speed download, p50 ms'
BESIDE_99 = 'beside a full-speed download, p99 ms'
SLOW_SMALL = '10 Mbit/s link filled: small request less round trip, ms'


@measure(most(RESTART, 0.06), subjects=MIDDLES)
def restart(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        # Longer than what a client takes for a tunnel that never worked.
        time.sleep(bench.seconds(2))
        began = time.monotonic()
        subject.server.kill()
        subject.start_server()
        return {RESTART: load.first_answer(subject, began)}


@measure(least(STALLED, 0.8))
def stalled(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        idle = beside = 0
        for _ in range(2):      # in turn: others have the machine, too
            idle += load.wrk(subject, bench.seconds(2), 1)['rate']
            with load.stalled_downloads(subject):
                beside += load.wrk(subject, bench.seconds(2), 1)['rate']
        if not idle:
            raise Unable('no answers at all')
        return {STALLED: beside / idle}


@measure(most(BESIDE_50, 0.7), most(BESIDE_99, 6))
def beside_download(bench, name, _repeat):
    with running(name, bench.build) as subject:
        load.warm_up(subject)
        with load.full_download(subject):
            time.sleep(0.3)
            got = load.wrk(subject, bench.seconds(4), 1)
        return {BESIDE_50: got['p50'], BESIDE_99: got['p99']}


@measure(most(SLOW_SMALL, 200))
def slow_small(bench, name, _repeat):
    return {SLOW_SMALL: small_beside(bench, name, SLOW) - SLOW_RTT_MS}


# --- growth ------------------------------------------------------------------

GROWTH = 'CPU per request beside {} against one'


def cost(bench, subject, headers=()):
    before = subject.cpu()
    got = load.wrk(subject, bench.seconds(2), 16, headers=headers)
    return per_thousand(subject, before, got)


def beside_crowd(bench, name, path, row):
    flags = ('unbuffered',) if name == 'nginx2' else ()
    with running(name, bench.build, origin='holder', flags=flags,
                 crowd=bench.many) as subject:
        load.warm_up(subject)
        alone = cost(bench, subject)
        with load.crowd(subject, bench.many, path):
            return {row: cost(bench, subject) / alone}


VISITORS_GROW, EVENTS_GROW, HOSTS_GROW, SESSIONS_GROW = (
    GROWTH.format(what) for what in (
        '10,000 idle visitors', '10,000 idle streams', '10,000 hosts',
        '10,000 idle clients'))


@measure(most(VISITORS_GROW, 1.3), subjects=NOT_SSH)
def growth_of_visitors(bench, name, _repeat):
    return beside_crowd(bench, name, '/small', VISITORS_GROW)


@measure(most(EVENTS_GROW, 1.3), subjects=NOT_SSH)
def growth_of_streams(bench, name, _repeat):
    return beside_crowd(bench, name, '/events', EVENTS_GROW)


@measure(most(HOSTS_GROW, 1.3), subjects=('inlets',))
def growth_of_hosts(bench, name, _repeat):
    costs = []
    for count in (1, bench.many):
        with running(name, bench.build, hosts=count) as subject:
            host = f'h{count // 2}.test'
            load.warm_up(subject, host=host)
            costs.append(cost(bench, subject, [f'Host: {host}']))
    return {HOSTS_GROW: costs[1] / costs[0]}


@measure(most(SESSIONS_GROW, 1.3), subjects=('inlets',))
def growth_of_sessions(bench, name, _repeat):
    with running(name, bench.build, flags=('patient',)) as subject:
        load.warm_up(subject)
        alone = cost(bench, subject)
        with tunnels.idle(subject, bench.many):
            return {SESSIONS_GROW: cost(bench, subject) / alone}


def median(figures):
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None
