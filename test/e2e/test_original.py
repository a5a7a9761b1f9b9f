"""What failed in the original inlets (research: inlets-record, section 4)."""

import socket
import threading
import time

from lib import websocket
from lib.house import (CONNECTED, DISCONNECTED, check, equal, soon, test,
                       within)
from lib.origin import hello, named
from lib.visitor import Visitor
from lib.wire import Wire

MIB = 1 << 20


def big(x):
    """256 MiB on /big, hello elsewhere."""
    if x.target != '/big':
        return hello(x)
    x.start(200, [('Content-Length', 256 * MIB)])
    block = bytes(MIB)
    for _ in range(256):
        x.send(block)


@test(alone=True)
def stalled_visitors_delay_nobody(w):
    server, client, _ = w.pair(big)
    server.get()
    before = server.rss_kib(), client.rss_kib()
    stalled = []
    for _ in range(4):
        visitor = w.visitor(server, rcvbuf=65536)
        visitor.ask(target='/big')
        equal(visitor.final_head().status, 200, 'the big download')
        stalled.append(visitor)
    waits = []
    for number in range(40):
        began = time.monotonic()
        equal(server.get(f'/{number}').status, 200, 'beside stalled visitors')
        waits.append(time.monotonic() - began)
    waits.sort()
    check(waits[20] < 0.1, f'the median wait is {waits[20]:.3f} s')
    check(waits[-1] < 1.0, f'the longest wait is {waits[-1]:.3f} s')
    # A first window (256 KiB) each, and what TCP holds is not ours.
    grown = server.rss_kib() - before[0], client.rss_kib() - before[1]
    if not w.sanitized:     # whose quarantine keeps what was freed
        check(max(grown) < 8 * 1024, f'memory grew by {grown} KiB')
    # They are only slow, not broken.
    first = stalled[0]
    for _ in range(8):
        equal(first.exactly(MIB, 'the big download'), bytes(MIB), 'bytes')


@test(alone=True)
def a_hundred_stalled_visitors_delay_nobody(w):
    """More than the session's credit: small answers have room outside of it,
    and large ones are not shut out for good."""
    def answer(x):
        if x.target == '/mib':
            return x.reply(200, bytes(MIB))
        big(x)
    server, client, _ = w.pair(answer)
    for _ in range(100):
        visitor = w.visitor(server, rcvbuf=65536)
        visitor.ask(target='/big')
        equal(visitor.final_head().status, 200, 'the big download')
    time.sleep(1)   # until all that can be full is
    for number in range(20):
        with within(1.0, 'a small answer beside a hundred stalled ones'):
            equal(server.get(f'/{number}').status, 200, 'small')
    for _ in range(3):
        with within(10.0, 'a MiB beside a hundred stalled ones'):
            equal(len(server.get('/mib', timeout=30).body), MIB, 'length')


@test(alone=True)
def a_hundred_stalled_uploads_delay_nobody(w):
    """The same the other way: an upstream that reads nothing of them."""
    done = w.gate()

    def answer(x):
        if x.target == '/stall':
            done.wait(50)
            return x.close()
        x.reply(200, str(len(x.read())))
    server, client, _ = w.pair(answer)
    for _ in range(100):
        visitor = w.visitor(server, timeout=0.2)
        visitor.ask('PUT', '/stall', [('Content-Length', 256 * MIB)])
        visitor.sock.setblocking(False)
        try:
            for _ in range(64):
                visitor.sock.send(bytes(65536))
        except BlockingIOError:
            pass
    time.sleep(1)   # until all that can be full is
    for size in (0, 1000, 10000, MIB, MIB):
        with within(10.0, f'{size} bytes beside a hundred stalled uploads'):
            answer = server.get('/mib', method='PUT', body=bytes(size),
                                timeout=30)
        equal(answer.body, str(size).encode(), 'length')


@test()
def refused_dial_ends_one_request(w):
    good = w.origin(hello)
    gone = w.origin(hello)
    gone.close()
    server = w.server()
    client = w.client(server, f'bad.local={gone.url}',
                      f'good.local={good.url}')
    with w.visitor(server) as kept:
        equal(kept.get(host='good.local').status, 200, 'before')
        for _ in range(10):
            with within(1.0, 'the refusal'):
                answer = server.get(host='bad.local')
            equal(answer.status, 502, 'upstream down')
            check(str(gone.port).encode() not in answer.raw + answer.body
                  and b'127.0.0.1' not in answer.raw + answer.body,
                  'the 502 names an internal address:', answer.body)
            equal(kept.get(host='good.local').status, 200, 'after a 502')
    equal(len(client.lines(CONNECTED)), 1, 'connects of the client')
    equal(client.lines(DISCONNECTED), [], 'disconnects of the client')


@test()
def late_close_of_an_old_session(w):
    """The old session of the same client is closed long after the new one
    came: the new one keeps its routes."""
    origin = w.origin(hello)
    server = w.server('--dead', '60s', '--ping', '50s',
                      '--resume-window', '1s')
    relay = w.relay(server.tunnels)
    old = w.client(server, origin, via=('127.0.0.1', relay.port))
    equal(server.get().status, 200, 'the old session')
    relay.freeze()
    old.kill()
    w.client(server, origin)
    equal(server.get(timeout=9).status, 200, 'old and new session')
    relay.thaw()
    relay.hang_up()
    server.wait_log(DISCONNECTED)
    for _ in range(20):
        with within(1.0, 'a request after the late close'):
            equal(server.get().status, 200, 'after the late close')


@test(alone=True)
def frozen_first_client(w):
    first, second = w.origin(named('first')), w.origin(named('second'))
    server = w.server()
    frozen = w.client(server, f'demo.local={first.url}')
    equal(server.get().body, b'first', 'the first client')
    frozen.freeze()
    w.client(server, f'demo.local={second.url}')
    with within(8.0, 'an answer beside a frozen client'):
        equal(server.get().body, b'second', 'the first answer')
    for _ in range(20):
        with within(1.0, 'a later request'):
            equal(server.get().body, b'second', 'later answers')
    frozen.thaw()


@test()
def host_in_all_its_forms(w):
    demo, six = w.origin(named('demo')), w.origin(named('six'))
    server = w.server()
    w.client(server, f'Demo.Local={demo.url}', f'[::1]={six.url}')
    port = server.visitors[1]
    for host in ('demo.local', f'demo.local:{port}', 'DEMO.local',
                 'demo.local.', f'DeMo.LoCaL.:{port}', 'demo.local:80',
                 'demo.local:'):
        answer = server.get(host=host)
        equal((answer.status, answer.body), (200, b'demo'), f'Host: {host}')
    for host in ('[::1]', f'[::1]:{port}', '[::1]:80'):
        answer = server.get(host=host)
        equal((answer.status, answer.body), (200, b'six'), f'Host: {host}')
    for host in ('demo.locale', 'xdemo.local', 'local', 'demo', '[::2]'):
        equal(server.get(host=host).status, 503, f'Host: {host}')


@test()
def target_byte_for_byte(w):
    server, _, origin = w.pair(hello)
    targets = [
        '/?a=1', '/a?b=1?c=2', '/%2f%2F/..//x/./y', '//two//slashes',
        '/a;b=c?d=%20+&e=', '/?q=http://x.y/?z', '/%E2%82%AC?x=%00%0a',
        "/!$&'()*+,;=:@-._~", '/?', '/a%', '/?' + 'q' * 8000, '/a?b#',
        '/{}|\\^`"<>',
    ]
    with w.visitor(server) as visitor:
        for number, target in enumerate(targets):
            visitor.ask(target=target)
            answer = visitor.answer()
            if answer.status == 400 and target[-1] in '#>':
                visitor = w.visitor(server)     # strict is right as well
                continue
            equal(answer.status, 200, target)
            equal(origin.targets()[-1], target, 'the target at the origin')
    with w.visitor(server) as visitor:
        visitor.ask(target='http://demo.local/abs?x=1')
        equal(visitor.answer().status, 200, 'absolute form')
        equal(origin.targets()[-1], '/abs?x=1', 'absolute form')
        visitor.ask('OPTIONS', '*')
        equal(visitor.answer().status, 200, 'OPTIONS *')
        equal(origin.targets()[-1], '*', 'OPTIONS *')


def slow_pages(x):
    """/counted and /chunked: ten lines of HTML, each when the test has seen
    the one before."""
    line = b'<p>a line</p>\n'
    kind = [('Content-Type', 'text/html; charset=utf-8')]
    if x.target == '/counted':
        x.start(200, [*kind, ('Content-Length', 10 * len(line))])
    else:
        x.start_chunked(kind)
    for _ in range(10):
        if not x.connection.seen.acquire(timeout=10):
            return x.close()
        (x.send if x.target == '/counted' else x.chunk)(line)
    if x.target == '/chunked':
        x.last_chunk()


@test(alone=True)
def slow_html_arrives_as_it_is_produced(w):
    seen = threading.Semaphore(0)

    def answer(x):
        x.connection.seen = seen
        slow_pages(x)
    server, _, _ = w.pair(answer)
    for target in ('/counted', '/chunked'):
        with w.visitor(server) as visitor:
            visitor.ask(target=target)
            with within(1.0, 'the head of a page without a body yet'):
                pieces = visitor.pieces(visitor.final_head())
            for number in range(10):
                # The next line is written only after this one has come, so
                # whoever collects lines never gets the second one.
                with within(0.2, f'line {number} of {target}'):
                    seen.release()
                    equal(bytes(next(pieces)), b'<p>a line</p>\n', target)
            equal(list(pieces), [], 'after the last line')


def handshake(host, authorization):
    lines = [f'GET /tunnel HTTP/1.1', f'Host: {host}', 'Connection: Upgrade',
             'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
             f'Sec-WebSocket-Key: {websocket.new_key()}', *authorization]
    return '\r\n'.join([*lines, '', '']).encode()


@test()
def nothing_after_a_401(w):
    """A client that ignores the refusal gets no byte more."""
    server, _, origin = w.pair(hello)
    right = f'Authorization: Bearer {w.token}'
    for refused in (
            [], ['Authorization: Bearer wrong'], ['Authorization: Bearer'],
            [f'Authorization: Bearer {w.token}x'],
            [f'Authorization: Bearer {w.token[:-1]}'],
            [f'Authorization: Bearer {w.token.upper()}'],
            [f'Authorization: {w.token}'],
            [f'Authorization: Basic {w.token}'],
            [f'X-Authorization: Bearer {w.token}'],
            ['Authorization: Bearer wrong', right]):
        with Visitor(server.tunnels) as wire:
            # Frames right behind the request, as if it had been accepted.
            wire.send(handshake('demo.local', refused)
                      + websocket.frame(websocket.BINARY, b'\0hello'))
            head = wire.answer_head()
            equal(head.status, 401, f'{refused}')
            check(head.has('WWW-Authenticate'), 'a 401 says how')
            wire.body(head)
            for _ in range(3):
                equal(server.get().status, 200, 'a visitor meanwhile')
            rest, how = wire.how_it_ends(3.0)
            equal(rest, b'', 'bytes after the 401')
    check(origin.opened <= 3, 'the origin saw', origin.opened, 'connections')


@test()
def second_client_leaves(w):
    one, two = w.origin(named('one')), w.origin(named('two'))
    server = w.server()
    w.client(server, f'one.local={one.url}')
    for leave in ('terminate', 'kill'):
        other = w.client(server, f'two.local={two.url}')
        equal(server.get(host='one.local').body, b'one', 'the first')
        equal(server.get(host='two.local').body, b'two', 'the second')
        with w.visitor(server) as visitor:
            equal(visitor.get(host='one.local').body, b'one', 'kept')
            getattr(other, leave)()
            for _ in range(20):
                equal(visitor.get(host='one.local').body, b'one', leave)
                equal(server.get(host='one.local').body, b'one', leave)
        soon(lambda: server.get(host='two.local', timeout=15).status == 503,
             15, 'a 503 for the host that left')


def listen_on_80():
    """An address of this machine whose port 80 is ours; None if the system
    does not let us."""
    for last in range(2, 250):
        host = f'127.0.80.{last}'
        try:
            return socket.create_server((host, 80))
        except PermissionError:
            return None
        except OSError:
            continue
    return None


@test()
def upstream_without_a_port(w):
    """It means port 80. Where that may not be bound, the refusal in the log
    has to say so."""
    listener = listen_on_80()
    if listener is None:
        server = w.server()
        client = w.client(server, 'http://127.0.80.1')
        equal(server.get().status, 502, 'nobody on port 80')
        client.wait_log(r'127\.0\.80\.1:80\b')
        return
    w.keep(listener)
    server = w.server()
    w.client(server, f'a.local=http://{listener.getsockname()[0]}',
             f'b.local=http://{listener.getsockname()[0]}/base')
    for host, target in (('a.local', '/x'), ('b.local', '/base/x')):
        with w.visitor(server, host=host) as visitor:
            visitor.ask(target='/x')
            listener.settimeout(10)
            with Wire(listener.accept()[0]) as wire:
                equal(wire.head().target, target, 'the target on port 80')
                wire.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
                equal(visitor.answer().body, b'ok', 'from port 80')
