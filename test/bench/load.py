"""Visitors: wrk, transfers, small requests, and crowds that hold still.

All of them go to a Subject's address, near. Sockets here are blocking ones
with a time limit, so that a subject that stops answering ends in a figure (or
in Unable) and never in a hang.
"""

import contextlib
import re
import selectors
import statistics
import subprocess
import time

from small import PATIENCE, answers, ask, connect, read_small
from subjects import BIG, Program, Unable, find, missing

PIECE = 1 << 20
UNITS = {'us': 1e-3, 'ms': 1.0, 's': 1e3, 'm': 6e4}


def wrk(subject, seconds, connections, path='/small', headers=()):
    """{'rate', 'count', 'errors', 'p50', 'p99'}; times in ms."""
    argv = [find('wrk') or missing('wrk'), '-t1', f'-c{connections}',
            f'-d{seconds}s', '--latency', '--timeout', '10s']
    for header in headers:
        argv += ['-H', header]
    with subject.place.near:
        ran = subprocess.run(argv + [subject.url(path)], text=True,
                             capture_output=True, check=False,
                             timeout=seconds + 20)
    out = ran.stdout
    if not (count := re.search(r'(\d+) requests in', out)):
        raise Unable(f'wrk: {ran.stderr.strip() or "no figures"}')
    errors = sum(map(int, re.findall(
        r'(?:connect|read|write|timeout|responses:) (\d+)', out)))
    return {'rate': float(re.search(r'Requests/sec:\s+([\d.]+)', out)[1]),
            'count': int(count[1]), 'errors': errors,
            'p50': percentile(out, 50), 'p99': percentile(out, 99)}


def percentile(out, percent):
    found = re.search(rf'^\s+{percent}%\s+([\d.]+)(us|ms|s|m)', out, re.M)
    return float(found[1]) * UNITS[found[2]] if found else None


def warm_up(subject, count=20, host='localhost'):
    """It is there, and what it keeps open is open."""
    if not all([answers(subject, host=host) for _ in range(count)]):
        raise Unable('it does not answer')


def first_answer(subject, began, limit=10):
    """Seconds since began."""
    while (now := time.monotonic()) < began + limit:
        if answers(subject, 1):
            return time.monotonic() - began
        time.sleep(max(0, now + 0.003 - time.monotonic()))
    raise Unable(f'no answer within {limit} s')


# --- transfers ---------------------------------------------------------------

def download(subject, seconds, streams=1):
    """Bytes that came within that time of the first request. A stream that
    is done starts again on the same connection."""
    room, total, left = bytearray(PIECE), 0, {}
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(selectors.DefaultSelector())
        for _ in range(streams):
            sock = stack.enter_context(connect(subject))
            poll.register(sock, selectors.EVENT_READ)
            left[sock] = BIG
        began = time.monotonic()
        deadline = began + seconds
        for sock in left:
            ask(sock, '/big')
            sock.setblocking(False)
        while left and (now := time.monotonic()) < deadline:
            for key, _ in poll.select(deadline - now):
                sock = key.fileobj
                got = sock.recv_into(room)
                total += got
                left[sock] -= got
                if got == 0:
                    poll.unregister(sock)
                    del left[sock]
                elif left[sock] <= 0:
                    # Heads are counted with the rest: some 200 bytes.
                    left[sock] += BIG
                    ask(sock, '/big')
    return total, time.monotonic() - began


def upload(subject, seconds):
    """Bytes sent until then; those still in buffers are a small part."""
    piece, total = memoryview(bytes(PIECE)), 0
    with connect(subject) as sock:
        began = time.monotonic()
        sock.sendall(b'POST /sink HTTP/1.1\r\nHost: localhost\r\n'
                     b'Content-Length: 1099511627776\r\n\r\n')
        while time.monotonic() < began + seconds:
            total += sock.send(piece)
        return total, time.monotonic() - began


def by_curl(subject, count):
    """Bytes a second of so many downloads, one after the other."""
    argv = [find('curl') or missing('curl'), '-sk', '-o', '/dev/null', '-w',
            '%{http_code} %{size_download} %{time_total}\\n',
            subject.url(f'/big?[1-{count}]')]
    with subject.place.near:
        ran = subprocess.run(argv, text=True, capture_output=True, check=False,
                             timeout=20 * count)
    got = [line.split() for line in ran.stdout.splitlines()]
    if [(code, size) for code, size, _ in got] != [('200', str(BIG))] * count:
        raise Unable(f'curl: {ran.stdout[:100]}')
    return count * BIG / sum(float(took) for *_, took in got)


def handshakes(subject, seconds, how, visitors=4):
    """(a second, in all) by openssl s_time, TLS 1.3, each with a request. how:
    'new', or 'reuse' for those that come back."""
    argv = [find('openssl') or missing('openssl'), 's_time', '-connect',
            f'{subject.address}:{subject.port}', f'-{how}', '-www', '/small',
            '-time', str(seconds), '-tls1_3']
    with subject.place.near:
        running = [subprocess.Popen(argv, text=True, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT)
                   for _ in range(visitors)]
    said = [program.communicate(timeout=seconds + 30)[0]
            for program in running]
    total = 0
    for out in said:
        found = re.search(r'(\d+) connections in \d+ real seconds', out)
        # A mark for each: "r" for one that was resumed, "*" for another.
        marks = set(''.join(re.findall(r'^[r*]+$', out, re.M)))
        if not found or marks != {'r' if how == 'reuse' else '*'}:
            raise Unable(f'openssl s_time: {marks} {out[-100:]}')
        total += int(found[1])
    return total / seconds, total


@contextlib.contextmanager
def full_download(subject):
    """curl in the background, again and again."""
    curl = find('curl') or missing('curl')
    with subject.place.near:
        program = Program(
            'curl', [curl, '-s', '-o', '/dev/null',
                     subject.url('/big?[1-1000]')], subject.place.folder)
    try:
        yield program
    finally:
        program.kill()


@contextlib.contextmanager
def stalled_downloads(subject, count=4):
    """Visitors who asked and do not read."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            ask(stack.enter_context(connect(subject)), '/big')
        time.sleep(1)
        yield


def small_times(subject, seconds, pause=0.05):
    """Milliseconds of small requests, one after the other, on one open
    connection; one that is not answered in PATIENCE counts as that long."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(subject) as sock:
            while time.monotonic() < end:
                began = time.monotonic()
                try:
                    ask(sock)
                    whole = read_small(sock)
                finally:
                    times.append(1000 * (time.monotonic() - began))
                if not whole:
                    break
                time.sleep(pause)
    if not times:
        raise Unable('no answer to a small request')
    return statistics.median(times)


# --- crowds ------------------------------------------------------------------

@contextlib.contextmanager
def crowd(subject, count, path='/small'):
    """That many visitors who were answered once, or got the first event of a
    stream, and stay."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            try:
                sock = stack.enter_context(connect(subject))
                ask(sock, path)
                good = read_small(sock) if path == '/small' \
                    else read_event(sock)
            except OSError:
                good = False
            if not good:
                raise Unable(f'of {count} visitors, number {number + 1} was '
                             'not answered')
        yield


def read_event(sock):
    got = b''
    while b'data: 1\n\n' not in got:
        piece = sock.recv(4096)
        if not piece:
            return False
        got += piece
    return got.startswith(b'HTTP/1.1 200')
