"""Peers of the tunnel that break its protocol (lib/proto/FRAME.md)."""

import socket
import struct
import threading
import time

from lib import tunnel, websocket
from lib.house import CONNECTED, check, equal, none, soon, test
from lib.origin import Origin, hello, named
from lib.tunnel import (CHARGED, END, GOAWAY, HELLO, OPEN, RESET, ROUTED,
                        Closed, TunnelClient, TunnelServer)
from lib.wire import Cut, Garbage, field_lines

KIB, MIB = 1 << 10, 1 << 20


def bystander(w, *flags):
    """A server with an honest client, which is to notice nothing."""
    origin = w.origin(named('honest'))
    server = w.server(*flags)
    client = w.client(server, f'honest.local={origin.url}')
    return server, client


def undisturbed(server, client):
    equal(server.get(host='honest.local').body, b'honest', 'the other tunnel')
    check(server.running and client.running, 'a program has left')
    equal(len(client.lines(CONNECTED)), 1, 'connects of the other client')


# --- a hostile client --------------------------------------------------------

def ws(payload, opcode=websocket.BINARY, **how):
    return websocket.frame(opcode, payload, **how)


LANE_HELLO = tunnel.LANE + tunnel.hello()

# name: (bytes on the websocket behind the handshake, codes it may close with)
BAD_WEBSOCKET = {
    'not masked': (ws(LANE_HELLO, mask=False), [1002]),
    'reserved bits': (ws(LANE_HELLO, rsv=4), [1002]),
    'a reserved opcode': (ws(b'x', opcode=3), [1002]),
    'a reserved control opcode': (ws(b'x', opcode=11), [1002]),
    'text': (ws(b'hello', opcode=websocket.TEXT), [1003]),
    'a long ping': (ws(b'p' * 126, opcode=websocket.PING), [1002]),
    'a ping in pieces': (ws(b'p', opcode=websocket.PING, fin=False), [1002]),
    'a continuation of nothing': (ws(b'x', opcode=0), [1002]),
    'a message inside a message': (ws(LANE_HELLO, fin=False)
                                   + ws(LANE_HELLO), [1002]),
    'a frame of 1 GiB': (ws(b'', length=1 << 30), [1009]),
    'a frame of 2^63': (ws(b'', length=1 << 63), [1002, 1009]),
    # Closed is closed, whatever the code in it.
    'a close of one byte': (ws(b'x', opcode=websocket.CLOSE), [1002, 1005]),
    'a close with code 1005': (ws(struct.pack('!H', 1005),
                                  opcode=websocket.CLOSE), [1002, 1005]),
    'a message without a kind': (ws(b''), [1002]),
    'an unknown kind': (ws(b'\x02abc'), [1002]),
    'an ACK of 7 bytes': (ws(b'\x01' + bytes(7)), [1002]),
    'an ACK of 9 bytes': (ws(b'\x01' + bytes(9)), [1002]),
    'an ACK of what was not sent': (ws(b'\x01' + b'\xff' * 8), [1002]),
    'a flood of pings': (ws(b'', opcode=websocket.PING) * 5000, [1008]),
    'a flood of empty fragments': (ws(tunnel.LANE, fin=False)
                                   + ws(b'', opcode=0, fin=False) * 5000,
                                   [1008]),
}


@test()
def bad_websocket_frames(w):
    server, client = bystander(w)
    wrong = []
    for name, (stream, codes) in BAD_WEBSOCKET.items():
        with TunnelClient(server, w.token, timeout=3) as bad:
            if (code := refusal(bad, stream)) not in codes:
                wrong.append(f'{name}: {code}, wanted one of {codes}')
        undisturbed(server, client)
    none(wrong)


def refusal(bad, stream):
    """Sends bytes on the websocket; the code that it is closed with."""
    try:
        bad.send(stream)
    except OSError:
        pass
    try:
        return bad.closing().code
    except TimeoutError:
        return 'still open'


H = tunnel.hello()
R = tunnel.route(1, 'bad.local')
# name: the frames; all are refused with 1002 before anything was opened
BAD_FRAMES = {
    'no hello first': tunnel.route(1, 'bad.local'),
    'two hellos': H + H,
    'version 2': tunnel.hello(version=2),
    'an empty hello': tunnel.frame(HELLO),
    'a hello that ends in a parameter': tunnel.frame(HELLO, 0, b'\0\1\0\4\0'),
    'an agent of 4,000 bytes': tunnel.hello(agent=b'a' * 4000),
    'an agent with controls': tunnel.hello(agent=b'a\n\x1b[31m'),
    'an unknown type': H + tunnel.frame(0x0c),
    'type 0': H + tunnel.frame(0),
    'an unknown type below 0x80': H + tunnel.frame(0x7f),
    'a hello on a stream': tunnel.frame(HELLO, 1, H[9:]),
    'a route on a stream': H + tunnel.frame(2, 1, R[9:]),
    'data on stream 0': H + tunnel.data(0, b'x'),
    'data of 16,385 bytes': H + tunnel.frame(7, 1, b'', length=16385),
    'a head of 16 MiB': H + tunnel.frame(6, 1, b'', length=(1 << 24) - 1),
    'a route of 5 KiB': H + tunnel.frame(2, 0, b'', length=5000),
    'empty data that ends nothing': H + tunnel.data(1),
    'a route of 3 bytes': H + tunnel.frame(2, 0, b'\0\0\1'),
    'a credit of 7 bytes': H + tunnel.frame(9, 0, bytes(7)),
    'a reset of 5 bytes': H + tunnel.frame(10, 1, bytes(5)),
    'a goaway of 4 bytes': H + tunnel.frame(GOAWAY, 0, bytes(4)),
    'data on a stream that never was': H + tunnel.data(1, b'x', END),
    'a head on a stream that never was': H + tunnel.head(9),
    'trailers on a stream that never was': H + tunnel.trailers(3, []),
    'credit on a stream that never was': H + tunnel.credit(5, 1 << 20),
    'a reset of a stream that never was': H + tunnel.reset(0x7fffffff),
    'an open from the client': H + tunnel.open_stream(1),
    'a routed from the client': H + tunnel.routed(1),
    'one route number twice': H + R + R,
}


@test()
def bad_frames(w):
    server, client = bystander(w)
    wrong = []
    for name, frames in BAD_FRAMES.items():
        with TunnelClient(server, w.token, timeout=3) as bad:
            if (code := refusal(bad, ws(tunnel.LANE + frames))) != 1002:
                wrong.append(f'{name}: {code}')
        undisturbed(server, client)
    none(wrong)


@test()
def bad_frames_byte_by_byte(w):
    """However the bytes are split."""
    server, client = bystander(w)
    for name in ('two hellos', 'data on a stream that never was',
                 'version 2'):
        with TunnelClient(server, w.token) as bad:
            for byte in BAD_FRAMES[name]:
                try:
                    bad.message(tunnel.LANE + bytes([byte]))
                except OSError:
                    break
            equal(bad.closing().code, 1002, name)
    undisturbed(server, client)


def opened(w, server, visitor, target='/x', method='GET', fields=()):
    """A tunnel of ours, with a visitor's request open on it:
    (tunnel, stream)."""
    bad = TunnelClient(server, w.token).serve('bad.local')
    w.keep(bad)
    visitor.ask(method, target, fields)
    return bad, bad.wait_frame(OPEN).stream


FREE = 16 * KIB

# name: frames on an open stream s that must end the session
BAD_ON_STREAM = {
    'a body before its head': lambda s: tunnel.data(s, b'x'),
    'trailers before the head': lambda s: tunnel.trailers(s, []),
    'two final heads': lambda s: tunnel.head(s) * 2,
    'a 1xx after the head': lambda s: tunnel.head(s) + tunnel.head(s, 103),
    'a 1xx with END': lambda s: tunnel.head(s, 103, flags=END),
    'status 600': lambda s: tunnel.head(s, 600),
    'status 99': lambda s: tunnel.head(s, 99),
    'length -3': lambda s: tunnel.head(s, length=-3),
    'a Content-Length field': lambda s: tunnel.head(
        s, fields=[(b'Content-Length', b'5')]),
    'a Transfer-Encoding field': lambda s: tunnel.head(
        s, fields=[(b'transfer-encoding', b'chunked')]),
    'a value with CR LF': lambda s: tunnel.head(
        s, fields=[(b'A', b'b\r\nSet-Cookie: c')]),
    'a name with a space': lambda s: tunnel.head(s, fields=[(b'A b', b'c')]),
    'an empty name': lambda s: tunnel.head(s, fields=[(b'', b'c')]),
    'a reason with CR LF': lambda s: tunnel.head(s, reason=b'OK\r\nA: b'),
    '1,000 fields': lambda s: tunnel.head(s, fields=[(b'A', b'b')] * 1000),
    'a field longer than the payload': lambda s: tunnel.frame(
        6, s, struct.pack('!HBqHHHH', 200, 0, -1, 0, 1, 1, 9999) + b'Ab'),
    'bytes behind the fields': lambda s: tunnel.frame(
        6, s, struct.pack('!HBqHH', 200, 0, -1, 0, 0) + b'more'),
    'Host in trailers': lambda s: tunnel.head(s) + tunnel.trailers(
        s, [(b'Host', b'x')]),
    'free bytes over 16 KiB': lambda s: tunnel.head(s) + tunnel.data(
        s, b'x' * FREE) + tunnel.data(s, b'x'),
    'more than the stream window': lambda s: tunnel.head(s) + tunnel.data(
        s, b'x' * FREE) + tunnel.data(s, b'x' * FREE, CHARGED) * 2000,
}


@test(timeout=90)
def bad_frames_on_a_stream(w):
    """The visitor whose answer it was gets a 502 or a cut answer, never a
    made-up one; all others notice nothing."""
    server, client = bystander(w)
    wrong = []
    for name, frames in BAD_ON_STREAM.items():
        with w.visitor(server, host='bad.local') as visitor:
            bad, stream = opened(w, server, visitor)
            bad.sock.settimeout(3)
            code = refusal(bad, messages(frames(stream)))
            if code != 1002:
                wrong.append(f'{name}: {code}')
            bad.close()
            try:
                answer = visitor.answer()
                check(answer.status == 502 or answer.body == b'x', name,
                      answer.raw[:100])
                check(b'Set-Cookie' not in answer.raw, 'injected')
            except (Cut, Garbage):
                pass
        undisturbed(server, client)
    none(wrong)


def messages(frames):
    """The lane bytes in messages of a fair size."""
    return b''.join(ws(tunnel.LANE + frames[start:start + 65536])
                    for start in range(0, len(frames), 65536))


@test()
def length_that_lies(w):
    """More or less body than the head said is cut, never passed as whole."""
    server, client = bystander(w)
    for body in (b'four', b'sixsix'):
        with w.visitor(server, host='bad.local') as visitor:
            bad, stream = opened(w, server, visitor)
            bad.put(tunnel.head(stream, length=5), tunnel.data(
                stream, body, END))
            head = visitor.final_head()
            if head.status != 502:
                try:
                    got = visitor.body(head)
                    check(len(body) > 5 and got == body[:5], got)
                    equal(visitor.how_it_ends(3)[0], b'', 'behind it')
                except Cut:
                    pass
            bad.close()
        undisturbed(server, client)


@test()
def reset_0_does_not_finish_an_answer(w):
    server, client = bystander(w)
    with w.visitor(server, host='bad.local') as visitor:
        bad, stream = opened(w, server, visitor)
        bad.put(tunnel.head(stream), tunnel.data(stream, b'half'),
                tunnel.reset(stream))
        head = visitor.final_head()
        try:
            body = visitor.body(head)
            raise AssertionError(f'a cut answer ended cleanly: {body}')
        except Cut:
            pass
    undisturbed(server, client)


@test()
def honest_by_hand(w):
    """The same client, well behaved: what the tests above rest on."""
    server, client = bystander(w)
    with w.visitor(server, host='bad.local') as visitor:
        bad, stream = opened(w, server, visitor, '/x?y=1')
        bad.put(tunnel.head(stream, 103, [(b'Link', b'<a>')]))
        bad.put(tunnel.frame(0x80, 9, b'skipped'),
                tunnel.head(stream, fields=[(b'X-A', b'b')]))
        bad.message(b'\x80an extension')
        for byte in tunnel.data(stream, b'body'):
            bad.message(tunnel.LANE + bytes([byte]))
        bad.put(tunnel.trailers(stream, [(b'X-T', b'u')]))
        answer = visitor.answer()
        equal((answer.status, answer.body, answer.trailers),
              (200, b'body', [('X-T', 'u')]), 'the answer')
        equal([h.status for h in answer.interim], [103], 'interim')
        late = [tunnel.data(stream, b'late', END), tunnel.reset(stream, 12)]
        bad.put(*late)      # crossed the end: normal
        visitor.ask(target='/again')
        again = bad.wait_frame(OPEN)
        check(again.stream > stream, 'stream numbers increase')
        bad.put(tunnel.head(again.stream, 204, length=-2, flags=END))
        equal(visitor.answer().status, 204, 'the next answer')
        bad.put(tunnel.unroute(1))
        soon(lambda: server.get(host='bad.local').status == 503, 3,
             'the end of the route')
    undisturbed(server, client)


BAD_ENDPOINTS = ['a b', 'a..b', '*', '*.', '*x.y', 'a/b c', 'a' * 300, '[::1',
                 'http://x', 'a:80', '\x00', 'a\n', '-' * 64 + '..']


@test()
def bad_endpoints_are_refused_one_by_one(w):
    server, client = bystander(w)
    with TunnelClient(server, w.token) as bad:
        bad.put(tunnel.hello(), *[
            tunnel.route(number, endpoint)
            for number, endpoint in enumerate(BAD_ENDPOINTS, 1)],
            tunnel.route(99, 'good.local'))
        try:
            while True:
                verdict = bad.wait_frame(ROUTED)
                number, error = struct.unpack('!II', verdict.payload[:8])
                if number == 99:
                    equal(error, 0, 'the good one')
                    break
                check(error, BAD_ENDPOINTS[number - 1], 'was accepted')
        except Closed as closed:    # controls are a protocol error
            equal(closed.code, 1002, closed)
    undisturbed(server, client)


@test()
def too_many_routes(w):
    server, client = bystander(w)
    before = server.rss_kib()
    with TunnelClient(server, w.token) as bad:
        bad.put(tunnel.hello())
        try:
            for number in range(1, 20000, 500):
                bad.put(*[tunnel.route(n, f'h{n}.local')
                          for n in range(number, number + 500)])
            while True:
                verdict = bad.wait_frame(ROUTED)
                number, error = struct.unpack('!II', verdict.payload[:8])
                if error:
                    break
                check(number <= 2000, number, 'routes were accepted')
        except (OSError, Closed):
            pass
    if not w.sanitized:
        check(server.rss_kib() - before < 16 * KIB, 'memory of the server')
    undisturbed(server, client)


@test()
def floods(w):
    """Resets, endless credit and data for a stream that is over end in 1008
    or nothing; memory does not grow by 16 MiB."""
    server, client = bystander(w)
    before = server.rss_kib()
    for name, flood in (
            ('resets', lambda s: tunnel.reset(s) * 1000),
            ('credits', lambda s: tunnel.credit(s, 1) * 1000),
            ('routes', lambda s: tunnel.unroute(7) * 1000),
            ('extensions', lambda s: tunnel.frame(0x80, 1, bytes(4096)) * 9),
            ('late data', lambda s: tunnel.data(s, bytes(FREE), CHARGED))):
        with w.visitor(server, host='bad.local') as visitor:
            bad, stream = opened(w, server, visitor)
            bad.put(tunnel.reset(stream, 9))
            equal(visitor.answer().status, 502, 'the reset request')
            deadline = time.monotonic() + 1.0
            try:
                while time.monotonic() < deadline:
                    bad.put(flood(stream))
            except OSError:
                pass
            undisturbed(server, client)
            bad.close()
    if not w.sanitized:
        check(server.rss_kib() - before < 16 * KIB, 'memory of the server')


@test()
def client_that_never_acknowledges(w):
    """What it is sent is kept for it, within a bound."""
    server, client = bystander(w)
    before = server.rss_kib()
    bad = TunnelClient(server, w.token)
    w.keep(bad)
    bad.acknowledges = False
    bad.serve('bad.local', stream_window=1 << 30, session_window=1 << 40)
    visitor = w.visitor(server, host='bad.local', timeout=1.0)
    visitor.ask('POST', fields=[('Content-Length', 512 * MIB)])
    bad.wait_frame(OPEN)
    reader = threading.Thread(target=bad.closing, daemon=True)
    reader.start()
    sent = 0
    try:
        while sent < 512 * MIB:
            sent += visitor.sock.send(bytes(65536))
    except OSError:
        pass
    check(sent < 100 * MIB, sent, 'bytes were taken for it')
    if not w.sanitized:
        grown = server.rss_kib() - before
        check(grown < 40 * KIB, f'memory grew by {grown} KiB')
    undisturbed(server, client)
    visitor.reset()
    bad.sock.shutdown(socket.SHUT_RDWR)
    reader.join(5)


@test()
def client_that_stops_reading(w):
    """Nor is memory used for one that does not even read."""
    server, client = bystander(w)
    bad = TunnelClient(server, w.token)
    w.keep(bad)
    bad.serve('bad.local', stream_window=1 << 30, session_window=1 << 40)
    before = server.rss_kib()
    visitors = [w.visitor(server, host='bad.local', timeout=0.5)
                for _ in range(8)]
    for visitor in visitors:
        visitor.ask('POST', fields=[('Content-Length', 512 * MIB)])
        try:
            for _ in range(1000):
                visitor.send(bytes(65536))
        except OSError:
            continue
        raise AssertionError('64 MiB were taken for nobody')
    if not w.sanitized:
        grown = server.rss_kib() - before
        check(grown < 24 * KIB, f'memory grew by {grown} KiB')
    undisturbed(server, client)


@test()
def handshakes_that_are_none(w):
    server, client = bystander(w)
    good = [('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
            ('Sec-WebSocket-Version', '13'),
            ('Sec-WebSocket-Key', websocket.new_key()),
            ('Sec-WebSocket-Protocol', tunnel.SUBPROTOCOL),
            ('Authorization', f'Bearer {w.token}')]

    def change(name, value):
        return [(n, value if n == name else v) for n, v in good
                if value is not None or n != name]
    cases = {
        'version 12': (change('Sec-WebSocket-Version', '12'), [426]),
        'no version': (change('Sec-WebSocket-Version', None), [400, 426]),
        'no key': (change('Sec-WebSocket-Key', None), [400]),
        'a short key': (change('Sec-WebSocket-Key', 'abcd'), [400]),
        'another protocol': (change('Sec-WebSocket-Protocol', 'chat'), [400]),
        'two keys': (good + [('Sec-WebSocket-Key', websocket.new_key())],
                     [400]),
        'a body': (good + [('Content-Length', 5)], [400]),
    }
    for name, (fields, statuses) in cases.items():
        with w.visitor(server) as wire:
            wire.send(b'GET /tunnel HTTP/1.1\r\nHost: exit\r\n'
                      + field_lines(fields) + b'\r\nhello')
            head = wire.answer_head()
            check(head.status in statuses, name, head)
            wire.body(head)
            equal(wire.how_it_ends(3)[0], b'', f'bytes after {name}')
    undisturbed(server, client)


@test()
def many_handshakes_without_a_word(w):
    """Tunnels that never say hello are closed and cost next to nothing."""
    server, client = bystander(w, '--dead', '2s', '--ping', '1s')
    before = server.fds()
    silent = [w.keep(TunnelClient(server, w.token)) for _ in range(50)]
    undisturbed(server, client)
    soon(lambda: server.fds() <= before + 2, 8, 'closing the silent ones')
    undisturbed(server, client)


# --- a hostile server --------------------------------------------------------

def client_of(w, exit_node, *upstreams, flags=()):
    return w.client(exit_node, *upstreams, flags=['--retry-max', '100ms',
                                                  *flags], ready=False)


def accepting(peer):
    """The polite beginning: hello, and all routes accepted."""
    peer.put(tunnel.hello())
    peer.wait_frame(HELLO)
    number, = struct.unpack('!I', peer.wait_frame(2).payload[:4])
    peer.put(tunnel.routed(number))
    return number


@test()
def client_serves_a_server_by_hand(w):
    done = []

    def script(peer):
        number = accepting(peer)
        peer.put(tunnel.open_stream(1, number, b'/x?y=1'))
        status, = struct.unpack('!H', peer.wait_frame(6).payload[:2])
        done.append((status, peer.wait_frame(7).payload))
        peer.closing()
    exit_node = w.keep(TunnelServer(script))
    client_of(w, exit_node, w.origin(hello))
    soon(lambda: done, 5, 'the answer')
    equal(done[0], (200, b'hello from /x?y=1\n'), 'the answer')


BAD_FROM_SERVER = {
    'an even worse type': lambda n: tunnel.frame(0x0c),
    'a second hello': lambda n: tunnel.hello(),
    'a route from the server': lambda n: tunnel.route(1, 'x'),
    'data on a stream that never was': lambda n: tunnel.data(1, b'x', END),
    'a head from the server': lambda n: tunnel.open_stream(1, n)
    + tunnel.head(1),
    'one stream number twice': lambda n: tunnel.open_stream(1, n) * 2,
    'a lower stream number': lambda n: tunnel.open_stream(5, n)
    + tunnel.open_stream(3, n),
    'data after the end': lambda n: tunnel.open_stream(1, n, flags=0)
    + tunnel.data(1, b'x', END) + tunnel.data(1, b'x'),
    'a target with CR LF': lambda n: tunnel.open_stream(
        1, n, b'/ HTTP/1.1\r\nX: y'),
    'a target without a slash': lambda n: tunnel.open_stream(1, n, b'x'),
    'a method with a space': lambda n: tunnel.open_stream(
        1, n, method=b'GET /'),
    'a host with CR LF': lambda n: tunnel.open_stream(
        1, n, host=b'a\r\nb: c'),
    'a Host field': lambda n: tunnel.open_stream(
        1, n, fields=[(b'Host', b'internal')]),
    'a Transfer-Encoding field': lambda n: tunnel.open_stream(
        1, n, fields=[(b'Transfer-Encoding', b'chunked')]),
    'more than the window': lambda n: tunnel.open_stream(
        1, n, length=-1, flags=0) + tunnel.data(1, b'x' * FREE)
    + tunnel.data(1, b'x' * FREE, CHARGED) * 2000,
    'free bytes over 16 KiB': lambda n: tunnel.open_stream(
        1, n, length=-1, flags=0) + tunnel.data(1, b'x' * FREE)
    + tunnel.data(1, b'x'),
}


@test(timeout=90)
def client_of_a_hostile_server(w):
    """It closes with 1002, stays, and tries again."""
    cases = list(BAD_FROM_SERVER.items())
    results = []

    def script(peer):
        if len(results) < len(cases):
            name, frames = cases[len(results)]
            number = accepting(peer)
            try:
                peer.put(frames(number))
            except OSError:
                pass
            try:
                code = peer.closing().code
            except TimeoutError:
                code = 'still open'
            results.append((name, code))
        else:
            peer.closing()
    exit_node = w.keep(TunnelServer(script, timeout=3))
    hold = w.gate()

    def answer(x):      # it never reads a body
        hold.wait(60)
        x.close()
    client = client_of(w, exit_node, w.origin(answer, timeout=60))
    soon(lambda: len(results) >= len(cases), 60, 'the end of all cases')
    none([f'{name}: {code}' for name, code in results if code != 1002])
    check(client.running, 'the client left')
    equal(exit_node.errors, [], 'errors of the script')


@test()
def client_connects_only_to_its_upstreams(w):
    """A server names routes by number; one that was never offered, or text
    in the place of the host, leads nowhere."""
    secret = w.origin(hello)
    statuses = []

    def script(peer):
        number = accepting(peer)
        for stream, (route, target, host) in enumerate((
                (number + 1, b'/', b'demo.local'), (0, b'/', b'demo.local'),
                (0xffffffff, b'/', b'demo.local'),
                (number, b'/', f'127.0.0.1:{secret.port}'.encode()),
                (number, f'//127.0.0.1:{secret.port}/'.encode(), b'x')), 1):
            peer.put(tunnel.open_stream(stream, route, target, host=host))
            got = peer.frame()
            while got.kind not in (6, RESET):
                got = peer.frame()
            statuses.append(got.kind)
        peer.closing()
    exit_node = w.keep(TunnelServer(script))
    real = w.origin(hello)
    client_of(w, exit_node, real)
    soon(lambda: len(statuses) == 5, 10, 'five answers')
    equal(statuses[:3], [RESET] * 3, 'routes that were never offered')
    equal(secret.opened, 0, 'connections to somewhere else')


BAD_HANDSHAKES = {
    'silence': b'',
    'no HTTP': b'SSH-2.0-x\r\n',
    '200': b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    '101 without a key': b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n'
                         b'Upgrade: websocket\r\n\r\n',
    '101 with a wrong key': b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n'
                            b'Upgrade: websocket\r\nSec-WebSocket-Accept: '
                            b'AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n',
    '302': b'HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:9/\r\n'
           b'Content-Length: 0\r\n\r\n',
    'a head without end': b'HTTP/1.1 101 Go\r\nX: ' + b'y' * 200000,
    '503': b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n',
}


TRANSIENT = ('silence', '503')


@test()
def client_of_something_else(w):
    """Whatever listens there: the client tries again, or, when that heals
    nothing, ends with the reason."""
    for name, said in BAD_HANDSHAKES.items():
        def answer(x, said=said):
            x.send(said)
            if not said:
                x.wait_gone(5)
            x.close()
        listener = w.keep(Origin(answer))
        listener.tunnels = (listener.host, listener.port)
        client = client_of(w, listener, 'http://127.0.0.1:9',
                           flags=['--connect-timeout', '1s'])
        soon(lambda: listener.opened > 1 or not client.running, 8,
             f'a decision about {name}')
        if client.running:
            client.wait_log('cannot connect|handshake')
            client.terminate()
        else:
            client.wait_exit(1)
            check(name not in TRANSIENT, f'the client left for {name}')
            check('handshake' in client.err, client.err)


@test()
def dead_server_is_noticed_by_the_client(w):
    """One that accepts and says nothing more."""
    silent = w.gate()
    exit_node = w.keep(TunnelServer(lambda peer: silent.wait(30)))
    client = client_of(w, exit_node, 'http://127.0.0.1:9',
                       flags=['--ping', '500ms', '--dead', '1500ms'])
    soon(lambda: len(exit_node.peers) >= 2, 8, 'another attempt')
    check(client.running, 'the client left')
