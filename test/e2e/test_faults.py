"""Visitors that leave, upstreams that lie, answers that are cut."""

import select
import time

from lib.house import check, equal, soon, test, within
from lib.origin import hello
from lib.wire import Cut

MIB = 1 << 20


# --- upstreams ---------------------------------------------------------------

def cut_short(x):
    """An answer that stops in the middle; /KIND/HOW says which."""
    _, kind, how = x.target.split('/')
    if kind == 'counted':
        x.start(200, [('Content-Length', 1000)])
        x.send(b'a' * 500)
    elif kind == 'chunk':       # in the middle of a chunk
        x.start_chunked()
        x.send(b'3e8\r\n' + b'a' * 500)
    elif kind == 'chunks':      # between two
        x.start_chunked()
        x.chunk(b'a' * 500)
    elif kind == 'trailers':
        x.start_chunked()
        x.chunk(b'a' * 500)
        x.send(b'0\r\nX-Sum: 1\r\n')
    elif kind == 'close':       # only an RST tells this one from a whole one
        x.start(200)
        x.send(b'a' * 500)
    # The bytes first: an RST would overtake them.
    time.sleep(0.1)
    (x.reset if how == 'rst' else x.close)()


@test()
def cut_answers_never_end_cleanly(w):
    server, _, origin = w.pair(cut_short)
    cases = [f'/{kind}/{how}' for kind in ('counted', 'chunk', 'chunks',
                                           'trailers') for how in
             ('fin', 'rst')] + ['/close/rst']
    for target in cases:
        for version in ('HTTP/1.1', 'HTTP/1.0'):
            with w.visitor(server) as visitor:
                visitor.ask(target=target, version=version)
                try:
                    head = visitor.final_head()
                except Cut:
                    continue    # the reset overtook the head
                if head.status == 502:
                    continue    # the cut was noticed before the head left
                equal(head.status, 200, target)
                try:
                    body = visitor.body(head)
                except Cut:
                    continue
                raise AssertionError(f'{target} for {version} ended cleanly '
                                     f'with {len(body)} bytes')
    with w.visitor(server) as visitor:
        visitor.ask(target='/close/fin')
        equal(len(visitor.answer().body), 500, 'ended by close, whole')


BAD_ANSWERS = {
    'nothing': b'',
    'no HTTP': b'SSH-2.0-OpenSSH_9.6\r\n\r\n',
    'half a head': b'HTTP/1.1 200 OK\r\nContent-Le',
    'a bad status': b'HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n',
    'status 99': b'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n',
    'status 600': b'HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n',
    'a bad length': b'HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\na',
    'two lengths': b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n'
                   b'Content-Length: 2\r\n\r\nab',
    'length and chunks': b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n'
                         b'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n'
                         b'0\r\n\r\n',
    'a bad field': b'HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n',
    'NUL in a field': b'HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0'
                      b'\r\n\r\n',
    'a head too large': b'HTTP/1.1 200 OK\r\n' + b'X: ' + b'y' * 70000
                        + b'\r\nContent-Length: 0\r\n\r\n',
    '500 fields': b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n' * 500 + b'\r\n',
    'HTTP/2': b'HTTP/2 200\r\nContent-Length: 0\r\n\r\n',
    'a request': b'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    '101 that nobody asked for': b'HTTP/1.1 101 Go\r\nUpgrade: x\r\n'
                                 b'Connection: Upgrade\r\n\r\nraw',
    'only a 103': b'HTTP/1.1 103 Hints\r\n\r\n',
}


@test()
def bad_answers_are_502(w):
    bad = dict(enumerate(BAD_ANSWERS.values()))

    def answer(x):
        if x.target == '/good':
            return hello(x)
        x.send(bad[int(x.target[1:])])
        x.close()
    server, client, _ = w.pair(answer)
    for number, name in enumerate(BAD_ANSWERS):
        with w.visitor(server) as visitor:
            visitor.ask(target=f'/{number}')
            with within(3, f'the answer to {name}'):
                equal(visitor.final_head().status, 502, name)
        equal(server.get('/good').status, 200, f'after {name}')
    equal(len(client.lines('tunnel connected')), 1, 'connects')


@test()
def more_than_was_announced(w):
    """Bytes behind an answer are nobody's answer."""
    def answer(x):
        x.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
               b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        for _ in range(10):
            equal(visitor.get().body, b'ok', 'the body')


@test()
def gateway_timeout(w):
    def answer(x):
        if x.target == '/slow':
            x.connection.sock.settimeout(20)
            x.wait_gone(10)
            return x.close()
        hello(x)
    server, _, origin = w.pair(answer, '--gateway-timeout', '1s')
    with w.visitor(server) as visitor:
        with within(2.0, 'the 504', at_least=0.9):
            equal(visitor.get('/slow').status, 504, 'a silent upstream')
    soon(lambda: not any(x.target == '/slow' and x.connection in origin.alive
                         for x in origin.exchanges), 2,
         'cancelling the silent request')
    equal(server.get().status, 200, 'afterwards')


@test()
def upstream_comes_back(w):
    first = w.origin(hello)
    server = w.server()
    w.client(server, first)
    equal(server.get().status, 200, 'before')
    port = first.port
    first.close()
    equal(server.get().status, 502, 'while it is away')
    w.origin(hello, port=port)
    equal(server.get().status, 200, 'when it is back')


# --- visitors ----------------------------------------------------------------

@test()
def origin_sees_a_visitor_leave(w):
    """Before the head, in the body, in an upload; by RST, and by FIN where
    bytes flow that nobody takes any more."""
    took = []

    def answer(x):
        if x.target == '/body':
            x.start_chunked()
            x.chunk(b'first')
        if x.target == '/flow':
            x.start_chunked()
            x.sock.settimeout(10)
            try:
                while True:
                    x.chunk(b'x' * 1000)
                    time.sleep(0.01)
            except OSError:
                took.append(time.monotonic())
            return x.close()
        if x.target == '/upload':
            next(x.rest)
        x.wait_gone(10)
        took.append(time.monotonic())
        x.close()
    server, _, origin = w.pair(answer)
    for target, how in (('/head', 'reset'), ('/body', 'reset'),
                        ('/flow', 'reset'), ('/flow', 'close'),
                        ('/upload', 'reset'), ('/upload', 'close')):
        for _ in range(3):
            count = len(took)
            visitor = w.visitor(server)
            if target == '/upload':
                visitor.ask('POST', target, [('Content-Length', 10 * MIB)])
                visitor.send(b'u' * 1000)
            else:
                visitor.ask(target=target)
            if target in ('/body', '/flow'):
                next(visitor.pieces(visitor.final_head()))
            else:
                soon(lambda: origin.targets()[-1:] == [target], 3, 'arrival')
                time.sleep(0.05)
            left = time.monotonic()
            getattr(visitor, how)()
            soon(lambda: len(took) > count, 5, f'{how} in {target}')
            check(took[-1] - left < 1.0, f'{how} in {target} came to the '
                  f'origin {took[-1] - left:.2f} s later')


@test()
def sixty_visitors_leave_at_once(w):
    """None of their requests goes on at the origin."""
    def answer(x):
        x.start_chunked()
        x.chunk(b'first')
        x.wait_gone(10)
        x.close()
    server, client, origin = w.pair(answer)
    visitors = [w.visitor(server) for _ in range(60)]
    for visitor in visitors:
        visitor.ask()
    for visitor in visitors:
        next(visitor.pieces(visitor.final_head()))
    for visitor in visitors:
        visitor.reset()
    soon(lambda: not origin.alive, 2, 'the end of all 60 requests')


@test()
def cut_uploads_never_end_cleanly(w):
    ends = []

    def answer(x):
        try:
            ends.append(f'whole with {len(x.read())} bytes')
        except Cut as cut:
            ends.append('cut')
            raise cut
        x.reply(200, b'thanks')
    server, _, _ = w.pair(answer)
    for chunked in (False, True):
        for how in ('close', 'reset', 'end'):
            count = len(ends)
            visitor = w.visitor(server)
            visitor.ask('POST', fields=[
                ('Transfer-Encoding', 'chunked') if chunked
                else ('Content-Length', 1000)])
            (visitor.chunk if chunked else visitor.send)(b'u' * 500)
            time.sleep(0.05)
            getattr(visitor, how)()
            soon(lambda: len(ends) > count, 5, f'the end after {how}')
            equal(ends[-1], 'cut', f'an upload ended by {how}')


@test()
def slow_heads_are_timed_out(w):
    server, _, _ = w.pair(hello, '--head-timeout', '1s')
    for sent in (b'G', b'GET / HTTP/1.1\r\nHost: a\r\n',
                 b'POST / HTTP/1.1\r\nHost: a\r\nX: y'):
        with w.visitor(server) as visitor:
            visitor.send(sent)
            with within(2.5, 'giving up on a slow head', at_least=0.8):
                said, _ = visitor.how_it_ends(5)
            check(said == b'' or said.startswith(b'HTTP/1.1 408'), said[:50])
    with w.visitor(server) as visitor:      # a byte now and then is no help
        with within(2.5, 'giving up on a trickle', at_least=0.8):
            for byte in b'GET / HTTP/1.1\r\nHost: demo.local' * 9:
                if ready(visitor):
                    break
                visitor.send(bytes([byte]))
                time.sleep(0.05)
        equal(visitor.answer_head().status, 408, 'a trickle')


@test()
def idle_connections_are_closed(w):
    server, _, _ = w.pair(hello, '--idle-timeout', '1s')
    with w.visitor(server) as visitor:
        equal(visitor.get().status, 200, 'a request')
        with within(2.5, 'closing an idle connection', at_least=0.8):
            equal(visitor.how_it_ends(5), (b'', 'eof'), 'the end')


@test()
def slow_body_lives(w):
    """No limit for a head counts once the head is there."""
    server, _, _ = w.pair(lambda x: x.reply(200, x.read()), '--head-timeout',
                          '1s', '--idle-timeout', '1s')
    with w.visitor(server) as visitor:
        visitor.ask('POST', fields=[('Content-Length', 30)])
        for _ in range(30):
            visitor.send(b'b')
            time.sleep(0.08)
        equal(visitor.answer().body, b'b' * 30, 'a body of 2.4 s')


@test()
def slow_upstream_slows_the_visitor(w):
    """An upload that nobody reads stops at the windows and is not stored."""
    go = w.gate()

    def answer(x):
        go.wait(30)
        x.reply(200, str(len(x.read())))
    server, client, origin = w.pair(answer)
    before = server.rss_kib(), client.rss_kib()
    visitor = w.visitor(server, timeout=1.0)
    visitor.ask('POST', fields=[('Content-Length', 64 * MIB)])
    sent, block = 0, bytes(65536)
    try:
        while sent < 64 * MIB:
            sent += visitor.sock.send(block[:64 * MIB - sent])
    except TimeoutError:
        pass
    # The rest is what the kernel holds: three connections' buffers.
    check(sent < 40 * MIB, f'{sent} bytes were taken that nobody reads')
    grown = server.rss_kib() - before[0], client.rss_kib() - before[1]
    if not w.sanitized:
        check(max(grown) < 4 * 1024, f'memory grew by {grown} KiB')
    go.set()
    visitor.sock.settimeout(20)
    visitor.send(bytes(64 * MIB - sent))
    equal(visitor.answer().body, str(64 * MIB).encode(), 'bytes at the end')


@test()
def out_of_descriptors(w):
    """It stops accepting without a busy loop, keeps its tunnels, and is back
    when there are descriptors again."""
    origin = w.origin(hello)
    server = w.server(nofile=64)
    client = w.client(server, origin)
    kept = w.visitor(server)
    equal(kept.get().status, 200, 'before')
    crowd = [w.visitor(server) for _ in range(150)]
    before, began = server.cpu_seconds(), time.monotonic()
    equal(kept.get().status, 200, 'while full')
    time.sleep(1.0)
    used = server.cpu_seconds() - before
    took = time.monotonic() - began
    check(used < 0.5 * took, f'{used:.2f} s of CPU in {took:.2f} s, full')
    equal(kept.get().status, 200, 'while full')
    for visitor in crowd:
        visitor.close()
    with within(2.0, 'coming back'):
        equal(server.get().status, 200, 'afterwards')
    equal(len(client.lines('tunnel connected')), 1, 'connects')


@test()
def client_out_of_descriptors(w):
    """Requests that it cannot dial for are refused one by one."""
    hold = w.gate()

    def answer(x):
        if x.target == '/hold':
            hold.wait(30)
        hello(x)
    origin = w.origin(answer)
    server = w.server()
    client = w.client(server, origin, nofile=40)
    crowd = [w.visitor(server, timeout=20) for _ in range(60)]
    for visitor in crowd:
        visitor.ask(target='/hold')
    refused = soon(lambda: [v for v in crowd if ready(v)], 10, 'a refusal')
    for visitor in refused:
        check(visitor.answer().status in (502, 503), 'no descriptor is left')
    hold.set()
    for visitor in crowd:
        if visitor not in refused:
            check(visitor.answer().status in (200, 502, 503), 'the others')
    equal(server.get().status, 200, 'afterwards')
    equal(len(client.lines('tunnel connected')), 1, 'connects')


def ready(visitor):
    return bool(select.select([visitor.sock], [], [], 0)[0])


@test()
def max_streams(w):
    """Beyond it: 503 at once, and room again when one ends."""
    hold = w.gate()

    def answer(x):
        if x.target == '/hold':
            hold.wait(30)
        hello(x)
    server, _, origin = w.pair(answer, '--max-streams', '8')
    crowd = [w.visitor(server, timeout=20) for _ in range(8)]
    for visitor in crowd:
        visitor.ask(target='/hold')
    origin.wait(8)
    with within(1.0, 'the refusal'):
        equal(server.get().status, 503, 'the ninth')
    hold.set()
    for visitor in crowd:
        equal(visitor.answer().status, 200, 'the eight')
    equal(server.get().status, 200, 'afterwards')


@test()
def visitors_that_say_nothing(w):
    """Connections opened and closed without a byte leave nothing behind."""
    server, _, _ = w.pair(hello)
    server.get()
    before = server.fds()
    for round_number in range(3):
        crowd = [w.visitor(server) for _ in range(100)]
        for number, visitor in enumerate(crowd):
            (visitor.reset if number % 2 else visitor.close)()
    soon(lambda: server.fds() <= before + 2, 5, 'closing the descriptors')
    equal(server.get().status, 200, 'afterwards')


@test()
def requests_opened_and_aborted(w):
    """A visitor can open and abort as fast as it can; nothing grows."""
    server, client, origin = w.pair(hello)
    for _ in range(20):
        server.get()
    before = server.fds(), client.fds(), server.rss_kib(), client.rss_kib()
    for _ in range(600):
        visitor = server.visitor()
        visitor.ask()
        visitor.reset()
    equal(server.get().status, 200, 'afterwards')
    soon(lambda: server.fds() <= before[0] + 2
         and client.fds() <= before[1] + 34, 5, 'closing the descriptors')
    if not w.sanitized:
        grown = server.rss_kib() - before[2], client.rss_kib() - before[3]
        check(max(grown) < 4096, f'memory grew by {grown} KiB')
