"""The exit node's gate: who gets a lane's next websocket, who is asked to take
a fresh one, and how many come back at once."""

import datetime
import re
import struct
import time

from lib import websocket
from lib.house import CONNECTED, check, equal, test
from lib.origin import Pattern, hello
from lib.tunnel import (END, HELLO, OPEN, SUBPROTOCOL, Peer, data, head,
                        route)
from lib.tunnel import hello as hello_frame
from lib.wire import Cut, Wire, dial, field_lines

LOST = r'tunnel websocket lost'
RESUMED = r'tunnel websocket resumed'
MIB = 1 << 20
TICKET, RESUME = 0x10, 0x11     # parameters of HELLO


def handshake(token, ticket=None):
    """The bytes of a request for a tunnel."""
    fields = [('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
              ('Sec-WebSocket-Version', '13'),
              ('Sec-WebSocket-Key', websocket.new_key()),
              ('Sec-WebSocket-Protocol', SUBPROTOCOL),
              ('Authorization', f'Bearer {token}')]
    if ticket:
        fields.append(('Inlets-Lane', ticket))
    return b'GET /tunnel HTTP/1.1\r\nHost: exit\r\n' + field_lines(fields) \
        + b'\r\n'


class Caller(Peer):
    """A client by hand. .answer is the head that the server sent; received:
    lane bytes that it has from another websocket."""

    def __init__(self, w, server, request, received=0):
        super().__init__(dial(server.tunnels), 10)
        self.received = received
        w.keep(self)
        self.send(request)
        self.answer = Wire.head(self)

    def begin(self):
        """Serves every host; returns what the server's HELLO says."""
        self.put(hello_frame(), route(1, ''))
        payload, said = self.wait_frame(HELLO).payload, {}
        while payload:
            key, length = struct.unpack('!HH', payload[:4])
            said[key] = payload[4:4 + length]
            payload = payload[4 + length:]
        return said

    def reply(self, stream, text):
        self.put(head(stream, length=len(text)), data(stream, text, END))


def ticket_of(caller, said):
    value = said[TICKET]
    return f'{value[:8].hex()}.0.{value[8:].hex()}.{caller.received}'


def secret_of(ticket):
    return ticket.split('.')[2]


@test()
def replayed_handshake_gets_nothing(w):
    server = w.server()
    first = Caller(w, server, handshake(w.token))
    said = first.begin()
    visitor = w.visitor(server)
    visitor.ask(target='/one')
    equal(first.wait_frame(OPEN).stream, 1, 'the visitor')
    ticket = ticket_of(first, said)
    first.reset()
    server.wait_log(LOST)
    request = handshake(w.token, ticket)
    second = Caller(w, server, request, first.received)
    answer = second.answer.get('Inlets-Lane')
    check(answer and secret_of(answer) != secret_of(ticket), second.answer)
    second.reply(1, b'from the second')
    equal(visitor.answer().body, b'from the second', 'after the resume')
    server.wait_log(RESUMED)

    # Who listened to all that has the handshake, byte for byte.
    thief = Caller(w, server, request)
    equal(thief.answer.status, 101, 'the replay')
    equal(thief.answer.get('Inlets-Lane'), None, 'the replay')
    other = thief.begin()
    check(other[TICKET] != said[TICKET], 'the same ticket')
    thief.close()
    no_token = Caller(w, server, handshake('wrong', answer))
    equal(no_token.answer.status, 401, 'without the token')
    visitor.ask(target='/two')
    equal(second.wait_frame(OPEN).stream, 2, 'the lane is still the second\'s')
    second.reply(2, b'still here')
    equal(visitor.answer().body, b'still here', 'the second')
    for text in (secret_of(ticket), secret_of(answer), said[TICKET][:8].hex()):
        check(text not in server.log, 'a ticket is in the log')


@test()
def malformed_tickets_are_refused(w):
    server = w.server()
    for ticket in ('x', '1.2.3.4', f'{"0" * 16}.0.{"0" * 32}.-1'):
        caller = Caller(w, server, handshake(w.token, ticket))
        equal(caller.answer.status, 400, ticket)
    caller = Caller(w, server, handshake(
        w.token, f'{"0" * 16}.1.{"0" * 32}.0'))
    equal(caller.answer.status, 503, 'a lane of a session that never was')


@test()
def window_of_0_turns_resuming_off(w):
    server = w.server('--resume-window', '0', '--connections', '1')
    caller = Caller(w, server, handshake(w.token))
    said = caller.begin()
    check(TICKET not in said and RESUME not in said, said)
    visitor = w.visitor(server)
    visitor.ask()
    caller.wait_frame(OPEN)
    caller.reset()
    check(visitor.answer().status in (502, 503), 'a late answer')
    server.wait_log('tunnel disconnected')
    equal(server.lines(LOST), [], 'lost')


def sends(pattern):
    def answer(x):
        if x.target != '/big':
            return hello(x)
        x.start(200, [('Content-Length', pattern.length)])
        for piece in pattern.pieces():
            x.send(piece)
    return answer


@test()
def flags_that_contradict_are_refused(w):
    for flags, says in ((['--rotate', '1m', '--resume-window', '0'], 'rotate'),
                        (['--rotate', '999ms'], 'rotate'),
                        (['--connections', '9'], '1 to 8'),
                        (['--connections', '0'], 'connections'),
                        (['--stick', 'ip'], 'stick'),
                        (['--congestion', 'cubic'], 'congestion')):
        ran = w.run('inlets-server', '-b', '127.0.0.1', *flags, code=2)
        check(says in ran.err, flags, ran.err)


@test()
def clients_move_when_asked(w):
    """SIGUSR1 while a download runs, which notices nothing."""
    import hashlib
    pattern = Pattern(24 * MIB)
    server, client, _ = w.pair(sends(pattern))
    visitor = w.visitor(server)
    visitor.ask(target='/big')
    digest, got, moves = hashlib.sha256(), 0, 0
    for piece in visitor.pieces(visitor.final_head()):
        digest.update(piece)
        got += len(piece)
        if got > (moves + 1) * 4 * MIB and moves < 5:
            moves += 1
            server.signal(10)
            server.wait_log(RESUMED, moves)
    equal((got, digest.hexdigest()), (pattern.length, pattern.digest()),
          'the download')
    equal(moves, 5, 'moves')
    equal(server.lines(LOST), [], 'none was lost in moving')
    equal(len(server.lines(CONNECTED)), 1, 'sessions')


@test()
def rotation_goes_on(w):
    server, client, _ = w.pair(hello, '--rotate', '1s')
    began = time.monotonic()
    with server.visitor() as visitor:
        while len(server.lines(RESUMED)) < 3:
            equal(visitor.get().status, 200, 'while it rotates')
            check(time.monotonic() < began + 10, 'it does not')
            time.sleep(0.05)
    check(time.monotonic() > began + 2.4, 'too often')
    equal(len(server.lines(CONNECTED)), 1, 'sessions')


@test()
def lane_that_is_lost_in_a_drain_is_resumed(w):
    """A port for clients alone stays open for those who have requests."""
    pattern = Pattern(16 * MIB)
    origin = w.origin(sends(pattern))
    server = w.server(control=True)
    relay = w.relay(server.tunnels)
    client = w.client(server, origin, via=('127.0.0.1', relay.port))
    visitor = w.visitor(server)
    visitor.ask(target='/big')
    pieces = visitor.pieces(visitor.final_head())
    got = len(next(pieces))
    server.signal(15)
    server.wait_log('draining')
    relay.cut()
    server.wait_log(RESUMED)
    stranger = Caller(w, server, handshake(w.token))
    equal(stranger.answer.status, 503, 'a new client')
    got += sum(len(piece) for piece in pieces)
    equal(got, pattern.length, 'the download')
    server.wait_exit(0)


def came_at(line):
    text = re.search(r'time="?([^" ]+)Z', line)[1]
    return datetime.datetime.fromisoformat(text).timestamp()


def crowd_at(moments, seconds):
    """The most that came within so many seconds."""
    moments = sorted(moments)
    return max(sum(at <= other < at + seconds for other in moments)
               for at in moments)


@test(alone=True, timeout=180)
def crowd_comes_back_spread_out(w):
    """N clients of a server that was killed and whose successor is there at
    once: they come within N / 50 s, as they were told, not all together."""
    count = 60 if w.sanitized else 150
    origin, server, successor = w.origin(hello), w.server(), w.server()
    relay = w.relay(server.tunnels)
    for _ in range(count):
        w.client(server, origin, via=('127.0.0.1', relay.port), ready=False)
    server.wait_log(CONNECTED, count, timeout=90)
    time.sleep(0.5)     # they have been told
    relay.target = successor.tunnels
    server.kill()
    successor.wait_log(CONNECTED, count, timeout=35)
    moments = [came_at(line) for line in successor.lines(CONNECTED)]
    most = crowd_at(moments, 1)
    check(most <= 100, f'{most} in one second')
    part = count / 50 / 3
    most = crowd_at(moments, part)
    check(most <= 0.7 * count, f'{most} of {count} in {part:.1f} s')
