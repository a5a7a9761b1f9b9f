"""Much data, many visitors, little memory. For the release build."""

import hashlib
import re
import resource
import ssl
import threading
import time

from lib.house import check, equal, soon, test, within
from lib.origin import Pattern, hello
from lib.wire import Wire, dial
from test_tls import secure_pair, visit

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MEMORY_KIB = 20 * KIB


class Watch:
    """Samples the resident memory of programs while the block runs."""

    def __init__(self, *programs):
        self.programs = programs
        self.peaks = {p.name: 0 for p in programs}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def sample(self):
        while not self.done.wait(0.05):
            for program in self.programs:
                self.peaks[program.name] = max(self.peaks[program.name],
                                               program.rss_kib())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def below(self, limit_kib, what):
        for name, peak in self.peaks.items():
            print(f'{what}: {name} held {peak / KIB:.1f} MiB at most')
            check(peak < limit_kib, f'{what}: {name} held {peak} KiB')


def sends(pattern, kind='application/octet-stream', chunked=False):
    def answer(x):
        x.read()
        fields = [('Content-Type', kind)]
        if x.target != '/big':
            return x.reply(200, b'small')
        if chunked:
            x.start_chunked(fields)
        else:
            x.start(200, [*fields, ('Content-Length', pattern.length)])
        for piece in pattern.pieces():
            (x.chunk if chunked else x.send)(piece)
        if chunked:
            x.last_chunk()
    return answer


@test(suite='bulk', timeout=120)
def one_gib_down(w):
    w.needs_release()
    pattern = Pattern(GIB)
    server, client, _ = w.pair(sends(pattern))
    with w.visitor(server, timeout=30) as visitor, \
            Watch(server, client) as watch:
        visitor.ask(target='/big')
        began = time.monotonic()
        got = visitor.digest(visitor.final_head())
        took = time.monotonic() - began
    print(f'1 GiB down in {took:.1f} s')
    equal(got, (pattern.digest(), GIB), 'checksum and length')
    watch.below(MEMORY_KIB, '1 GiB down')


@test(suite='bulk', timeout=120)
def one_gib_up(w):
    w.needs_release()
    pattern = Pattern(GIB)

    def answer(x):
        digest = hashlib.sha256()
        for piece in x.rest:
            digest.update(piece)
        x.reply(200, digest.hexdigest())
    server, client, _ = w.pair(answer)
    with w.visitor(server, timeout=30) as visitor, \
            Watch(server, client) as watch:
        visitor.ask('PUT', '/big', [('Content-Length', GIB)])
        for piece in pattern.pieces():
            visitor.send(piece)
        got = visitor.answer().body.decode()
    equal(got, pattern.digest(), 'checksum')
    watch.below(MEMORY_KIB, '1 GiB up')


@test(suite='bulk', timeout=120)
def both_directions_of_256_mib_chunked(w):
    w.needs_release()
    pattern = Pattern(256 * MIB)

    def answer(x):
        x.start_chunked()
        for piece in x.rest:
            x.chunk(piece)
        x.last_chunk()
    server, client, _ = w.pair(answer)
    with w.visitor(server, timeout=30) as visitor, \
            Watch(server, client) as watch:
        visitor.ask('POST', '/echo', [('Transfer-Encoding', 'chunked')])

        def upload():
            for piece in pattern.pieces():
                visitor.chunk(piece)
            visitor.last_chunk()
        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        got = visitor.digest(visitor.final_head())
        thread.join(10)
    equal(got, (pattern.digest(), pattern.length), 'checksum and length')
    watch.below(MEMORY_KIB, '256 MiB both ways')


@test(suite='bulk', timeout=60)
def html_of_100_mib(w):
    """In the original: 314 MB of memory, and 1.5 s to the first byte."""
    w.needs_release()
    pattern = Pattern(100 * MIB)
    server, client, _ = w.pair(sends(pattern, 'text/html', chunked=True))
    with w.visitor(server, timeout=30) as visitor, \
            Watch(server, client) as watch:
        visitor.ask(target='/big')
        with within(0.5, 'the first byte'):
            head = visitor.final_head()
        got = visitor.digest(head)
    equal(got, (pattern.digest(), pattern.length), 'checksum and length')
    watch.below(MEMORY_KIB, '100 MiB of HTML')


@test(suite='bulk', timeout=120)
def ten_thousand_idle_visitors(w):
    """Under 4 KiB each, resident, on the server."""
    w.needs_release()
    count = 10000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < count + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 500, count + 500))
    server, _, _ = w.pair(hello, '--idle-timeout', '10m')
    for _ in range(50):
        server.get()
    before = server.rss_kib()
    visitors = []
    for number in range(count):
        wire = Wire(dial(server.visitors,
                         source=f'127.0.1.{number // 2500 + 1}'), 20)
        w.keep(wire)
        visitors.append(wire)
        wire.send(b'GET / HTTP/1.1\r\nHost: demo.local\r\n\r\n')
        if number >= 20:    # a few under way at any time
            finish(visitors[number - 20])
    for wire in visitors[-20:]:
        finish(wire)
    time.sleep(1)
    each = (server.rss_kib() - before) * KIB / count
    print(f'{each:.0f} bytes for an idle visitor, {server.fds()} descriptors')
    check(server.fds() > count, server.fds(), 'descriptors')
    check(each < 4 * KIB, f'{each:.0f} bytes for each idle visitor')
    with within(1.0, 'a new visitor beside them'):
        equal(server.get().status, 200, 'a new visitor')
    for wire in visitors[::100]:    # and they are still served
        wire.send(b'GET / HTTP/1.1\r\nHost: demo.local\r\n\r\n')
        finish(wire)


def idle_by_tls(w, version, count=500):
    """Under 48 KiB each, resident, on the server: 33 of them are the buffers of
    Mbed TLS for a record each way, which it never gives back."""
    w.needs_release()
    server, _, _, ca = secure_pair(w, hello, '--idle-timeout', '10m')
    context = ca.context()
    context.minimum_version = context.maximum_version = version
    for _ in range(50):
        with visit(server, ca, context=context) as visitor:
            equal(visitor.get().status, 200, 'one before')
    before = server.rss_kib()
    visitors = [w.keep(visit(server, ca, context=context))
                for _ in range(count)]
    for visitor in visitors:
        equal(visitor.get().status, 200, 'one of many')
    time.sleep(1)
    each = (server.rss_kib() - before) * KIB / count
    print(f'{each:.0f} bytes for an idle visitor')
    check(each < 48 * KIB, f'{each:.0f} bytes for each idle visitor')
    equal(visitors[0].get().status, 200, 'it is still served')


@test(suite='bulk')
def idle_visitors_by_tls_1_3(w):
    idle_by_tls(w, ssl.TLSVersion.TLSv1_3)


@test(suite='bulk')
def idle_visitors_by_tls_1_2(w):
    idle_by_tls(w, ssl.TLSVersion.TLSv1_2)


@test(suite='bulk', timeout=60)
def a_thousand_slow_heads(w):
    """Half a head of 4 KiB each: under 8 KiB on the server."""
    w.needs_release()
    server, _, _ = w.pair(hello, '--head-timeout', '1m')
    for _ in range(50):
        server.get()
    before = server.rss_kib()
    for _ in range(1000):
        visitor = w.visitor(server)
        visitor.send(b'GET / HTTP/1.1\r\nHost: a\r\nX: ' + b'x' * 4000)
    time.sleep(1)
    each = (server.rss_kib() - before) * KIB / 1000
    print(f'{each:.0f} bytes for a slow head of 4 KiB')
    check(each < 8 * KIB, f'{each:.0f} bytes for each slow head')
    with within(1.0, 'a visitor beside them'):
        equal(server.get().status, 200, 'a visitor')


def finish(wire):
    head = wire.head()
    equal(head.status, 200, 'an idle visitor\'s request')
    wire.body(head)


@test(suite='bulk', timeout=120)
def a_hundred_parallel_downloads(w):
    w.needs_release()
    pattern = Pattern(8 * MIB, seed=7)
    server, client, _ = w.pair(sends(pattern))
    wanted = pattern.digest(), pattern.length
    results = []

    def visit():
        try:
            with server.visitor(timeout=60) as visitor:
                visitor.ask(target='/big')
                results.append(visitor.digest(visitor.final_head()))
        except Exception as error:
            results.append(error)
    threads = [threading.Thread(target=visit) for _ in range(100)]
    with Watch(server, client) as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    equal([r for r in results if r != wanted], [], 'wrong downloads')
    equal(len(results), 100, 'downloads')
    # What one client may hold in bodies (TUNNEL.md), and itself.
    watch.below((64 + 4) * KIB, '100 downloads')


@test(suite='bulk', timeout=120)
def a_thousand_parallel_requests(w):
    """All intact, and none waits for long."""
    w.needs_release()
    def answer(x):
        x.read()
        x.reply(200, x.target)
    server, client, _ = w.pair(answer)
    visitors = [w.visitor(server, timeout=30) for _ in range(1000)]
    waits = []
    for visitor in visitors:
        visitor.began = time.monotonic()
        visitor.ask(target=f'/{id(visitor)}')
    for visitor in visitors:
        equal(visitor.answer().body, f'/{id(visitor)}'.encode(), 'body')
        waits.append(time.monotonic() - visitor.began)
    print(f'the longest of 1,000 took {max(waits):.2f} s')
    equal(server.get().status, 200, 'afterwards')


@test(suite='bulk', timeout=120)
def two_hundred_cancelled(w):
    """Of 200 visitors that leave, no request goes on at the origin."""
    def answer(x):
        x.start_chunked()
        x.chunk(b'first')
        x.wait_gone(30)
        x.close()
    server, _, origin = w.pair(answer)
    visitors = [w.visitor(server, timeout=30) for _ in range(200)]
    for visitor in visitors:
        visitor.ask()
    for visitor in visitors:
        next(visitor.pieces(visitor.final_head()))
    for visitor in visitors:
        visitor.reset()
    soon(lambda: not origin.alive, 2, 'the end of all 200 requests')


@test(suite='patient', timeout=120)
def thin_link(w):
    """600 kB over 20 kB/s: pings are not starved behind them."""
    pattern = Pattern(600_000)
    origin = w.origin(sends(pattern))
    server = w.server('--ping', '1s', '--dead', '6s')
    relay = w.relay(server.tunnels, rate=20_000)
    client = w.client(server, origin, via=('127.0.0.1', relay.port),
                      flags=['--ping', '1s', '--dead', '6s'])
    with w.visitor(server, timeout=60) as visitor:
        visitor.ask(target='/big')
        got = visitor.digest(visitor.final_head())
    equal(got, (pattern.digest(), pattern.length), 'checksum and length')
    equal(relay.opened, 1, 'connects')
    check(client.running, 'the client left')


@test(suite='bulk', timeout=60)
def wrk_64_connections(w):
    """Five seconds of load without an error."""
    w.needs_release()
    nginx = w.nginx('location / { return 200 "hello\\n"; }')
    server = w.server()
    client = w.client(server, f'http://127.0.0.1:{nginx.port}')
    host, port = server.visitors
    ran = w.run('wrk', '-t1', '-c64', '-d5s', '--latency',
                f'http://{host}:{port}/', code=0, timeout=30)
    rate = float(re.search(r'Requests/sec:\s+([\d.]+)', ran.out)[1])
    print(f'{rate:.0f} requests/s with 64 connections')
    check('Socket errors' not in ran.out, ran.out)
    check('Non-2xx' not in ran.out, ran.out)
    check(rate > 500, f'{rate} requests/s')
    for program in (server, client):
        check(program.rss_kib() < MEMORY_KIB, program.name, 'holds',
              program.rss_kib(), 'KiB')
