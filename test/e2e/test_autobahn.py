"""The ground of the Autobahn test suite for the websockets of the tunnel, at
both ends: what RFC 6455 allows works, what it forbids is closed with the
right code, and no other tunnel notices. The tables are numbered as there."""

import struct
import threading

from lib import tunnel, websocket
from lib.house import CONNECTED, check, equal, none, soon, test
from lib.origin import named
from lib.tunnel import ROUTED, Closed, TunnelClient, TunnelServer
from lib.websocket import BINARY, CLOSE, PING, PONG, TEXT

KIB, MIB = 1 << 10, 1 << 20
CONTINUE = 0


def one(opcode, payload=b'', fin=True, rsv=0, head=None):
    """A frame for either side, to be masked or not: (first byte, payload,
    what to say of the length or None)."""
    return (0x80 if fin else 0) | rsv << 4 | opcode, payload, head


def encode(frames, mask):
    """The bytes of frames; what is bytes already stays."""
    out = []
    for item in frames:
        if isinstance(item, bytes):
            out.append(item)
            continue
        first, payload, head = item
        made = websocket.frame(first & 15, payload, mask=mask)
        short = 2 if len(payload) < 126 else 4 if len(payload) < 65536 else 10
        if head is not None:
            head = bytes([head[0] | (0x80 if mask else 0)]) + head[1:]
        out.append(bytes([first]) + (head or made[1:short]) + made[short:])
    return b''.join(out)


def filler(size):
    """Bytes of the lane that mean nothing (FRAME.md: types from 0x80 on)."""
    first = size if size < 2000 else 1000 + size % 1000
    return b''.join(tunnel.frame(0x80, 9, bytes(n - 9)) for n in
                    [first] + [1000] * ((size - first) // 1000))


def close(code, reason=b''):
    return one(CLOSE, struct.pack('!H', code) + reason)


def length16(n):
    return bytes([126]) + struct.pack('!H', n)


def length64(n):
    return bytes([127]) + struct.pack('!Q', n)


LANE = tunnel.LANE

# Allowed. (name, frames behind a hello; PONG payloads that must come back)
FINE = [
    (f'1.2 a message of {size} bytes', [one(BINARY, LANE + filler(size - 1))],
     []) for size in (125, 126, 127, 128, 65535, 65536, 65537, MIB)
] + [
    ('2.1 an empty ping', [one(PING)], [b'']),
    ('2.2 a ping', [one(PING, b'Hello')], [b'Hello']),
    ('2.3 a ping of bytes', [one(PING, b'\0\xff\xfe\xfd')],
     [b'\0\xff\xfe\xfd']),
    ('2.4 a ping of 125 bytes', [one(PING, b'\xfe' * 125)], [b'\xfe' * 125]),
    ('2.7 a pong that nobody asked for', [one(PONG)], []),
    ('2.8 a pong with a payload', [one(PONG, b'unasked')], []),
    ('2.9 a pong, then a ping', [one(PONG, b'x'), one(PING, b'y')], [b'y']),
    ('2.10 ten pings', [one(PING, b'%d' % n) for n in range(10)],
     [b'%d' % n for n in range(10)]),
    ('5.3 two fragments', [one(BINARY, LANE + filler(9)[:4], fin=False),
                           one(CONTINUE, filler(9)[4:])], []),
    ('5.6 a ping between fragments',
     [one(BINARY, LANE + filler(9)[:4], fin=False), one(PING, b'between'),
      one(CONTINUE, filler(9)[4:])], [b'between']),
    ('5.7 a pong between fragments',
     [one(BINARY, LANE + filler(9)[:4], fin=False), one(PONG, b'between'),
      one(CONTINUE, filler(9)[4:])], []),
    ('5.19 pings between many fragments', [
        one(BINARY, LANE, fin=False), one(PING, b'1'),
        one(CONTINUE, filler(100)[:50], fin=False), one(PING, b'2'),
        one(CONTINUE, b'', fin=False), one(CONTINUE, filler(100)[50:],
                                           fin=False), one(PING, b'3'),
        one(CONTINUE)], [b'1', b'2', b'3']),
    ('5 a fragment of each byte', [
        one(BINARY, LANE, fin=False)] + [
        one(CONTINUE, filler(60)[n:n + 1], fin=False) for n in range(59)] + [
        one(CONTINUE, filler(60)[59:])], []),
    ('9.3 a message of 4 MiB in fragments of 64 KiB',
     [one(BINARY, LANE, fin=False)] + [
         one(CONTINUE, filler(64 * KIB), fin=False) for _ in range(64)]
     + [one(CONTINUE)], []),
    ('9.7 a thousand small messages', [one(BINARY, LANE + filler(10))] * 1000,
     []),
]

# Forbidden. (name, frames, code of the close)
BAD = [
    ('1.1 text', [one(TEXT, b'Hello')], 1003),
    ('1.1 an empty text', [one(TEXT)], 1003),
    ('6.1 fragmented text', [one(TEXT, b'Hel', fin=False),
                             one(CONTINUE, b'lo')], 1003),
    ('6.3 text that is not UTF-8', [one(TEXT, b'\xce\xba\xed\xa0\x80')],
     1003),
    ('a message without a kind', [one(BINARY)], 1002),
    ('2.5 a ping of 126 bytes', [one(PING, b'p' * 126)], 1002),
    ('2.5 a pong of 126 bytes', [one(PONG, b'p' * 126)], 1002),
    ('5.1 a ping in fragments', [one(PING, b'p', fin=False),
                                 one(CONTINUE, b'q')], 1002),
    ('5.2 a pong in fragments', [one(PONG, b'p', fin=False),
                                 one(CONTINUE, b'q')], 1002),
    ('5 a close in fragments', [one(CLOSE, b'\x03\xe8', fin=False)], 1002),
    ('5.9 a continuation of nothing', [one(CONTINUE, b'x')], 1002),
    ('5.10 the same without its end', [one(CONTINUE, b'x', fin=False)], 1002),
    ('5.11 a continuation behind a whole message',
     [one(BINARY, LANE + filler(9)), one(CONTINUE, b'x')], 1002),
    ('5.18 a message inside a message',
     [one(BINARY, LANE, fin=False), one(BINARY, LANE)], 1002),
    ('5.18 text inside a message',
     [one(BINARY, LANE, fin=False), one(TEXT, b'x')], 1002),
    ('9 a frame of 1 MiB and a byte', [one(
        BINARY, bytes(16), head=length64(MIB + 1))], 1009),
    ('9 a frame of 2^40 bytes', [one(BINARY, bytes(16),
                                      head=length64(1 << 40))], 1009),
    ('9 a fragment of 2^40 bytes', [
        one(BINARY, LANE, fin=False),
        one(CONTINUE, bytes(16), head=length64(1 << 40))], 1009),
    ('5.2 a length of 2^63', [one(BINARY, b'', head=length64(1 << 63))],
     1002),
    ('5.2 a length of 2^64 - 1', [one(BINARY, b'', head=length64((1 << 64)
                                                                 - 1))], 1002),
    ('5.2 10 bytes, told in 16 bits', [one(
        BINARY, LANE + filler(9), head=length16(10))], 1002),
    ('5.2 125 bytes, told in 16 bits', [one(
        BINARY, LANE + filler(124), head=length16(125))], 1002),
    ('5.2 10 bytes, told in 64 bits', [one(
        BINARY, LANE + filler(9), head=length64(10))], 1002),
    ('5.2 65,535 bytes, told in 64 bits', [one(
        BINARY, LANE + filler(65534), head=length64(65535))], 1002),
    ('5.2 a ping told in 16 bits', [one(PING, b'p', head=length16(1))], 1002),
    ('a flood of pings', [one(PING)] * 2000, 1008),
    ('a flood of pongs', [one(PONG)] * 2000, 1008),
    ('a flood of empty fragments', [one(BINARY, LANE, fin=False)]
     + [one(CONTINUE, b'', fin=False)] * 2000, 1008),
] + [
    (f'3 reserved bits {rsv} of opcode {opcode}',
     [one(opcode, payload, rsv=rsv)], 1002)
    for rsv in (1, 2, 3, 4, 5, 6, 7)
    for opcode, payload in ((BINARY, LANE + filler(9)), (PING, b'x'),
                            (CLOSE, b'\x03\xe8'))
] + [
    ('3 a reserved bit of a continuation',
     [one(BINARY, LANE, fin=False), one(CONTINUE, b'', rsv=4)], 1002),
] + [
    (f'4 opcode {opcode}', [one(opcode, payload)], 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    for payload in (b'', b'x')
]

# (name, close frame, code of the answer)
CLOSES = [
    ('7.3.1 nothing in it', one(CLOSE), 1005),
    ('7.3.2 one byte', one(CLOSE, b'\x03'), 1005),     # closed all the same
    ('7.3.3 a code', close(1000), 1000),
    ('7.3.4 a reason', close(1000, b'Hello'), 1000),
    ('7.3.5 a reason of 123 bytes', close(1000, b'*' * 123), 1000),
    ('7.3.6 a reason of 124 bytes', close(1000, b'*' * 124), 1002),
    ('7.5 a reason in UTF-8', close(1000, 'κόσμε'.encode()), 1000),
    ('7.5.1 not UTF-8', close(1000, b'\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0'
                                    b'\x80edited'), 1007),
    ('7.5.1 half a character', close(1000, b'\xce'), 1007),
    ('7.5.1 too long a form', close(1000, b'\xc0\xaf'), 1007),
] + [
    (f'7.7 code {code}', close(code), code) for code in (
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999,
        4000, 4999)
] + [
    (f'7.9 code {code}', close(code), 1002) for code in (
        0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
]


def pieces(data, step):
    return (data[at:at + step] for at in range(0, len(data), step))


def steps_of(name, data):
    """Whole, byte by byte, and in some odd size. Not the reasons of closes:
    proto/websocket.c says what wslay makes of their pieces."""
    if name.startswith('7.5'):
        return (1 << 30,)
    return (1 << 30, 1, 7) if len(data) < 3000 else (1 << 30, 1009)


class Pongs:
    """Reads what comes as frames: pongs are kept, the rest is dropped."""

    def __init__(self, peer):
        self.peer, self.got, self.code = peer, [], None

    def until(self, done):
        while not done():
            kind, _, payload = websocket.read_frame(self.peer)
            if kind == PONG:
                self.got.append(payload)
            elif kind == CLOSE:
                self.code = websocket.close_code(payload)
                return


def send_all(peer, data, step):
    try:
        for piece in pieces(data, step):
            peer.send(piece)
    except OSError:
        pass            # it has refused already


def code_of(peer):
    """The code of the close frame that comes; what else it did."""
    try:
        while True:
            got = websocket.read_frame(peer)
            if got is None:
                return 'an end without a close'
            if got[0] == CLOSE:
                return websocket.close_code(got[2])
    except TimeoutError:
        return 'silence'
    except Exception as error:
        return repr(error)


# --- the exit node's end -----------------------------------------------------

def bystander(w):
    server = w.server()
    origin = w.origin(named('ok'))
    return server, w.client(server, f'honest.local={origin.url}')


def undisturbed(server, client):
    equal(server.get(host='honest.local').body, b'ok', 'the other tunnel')
    equal(len(client.lines(CONNECTED)), 1, 'connects of the other client')


def hand(w, server):
    """A tunnel by hand that has said its hello."""
    peer = TunnelClient(server, w.token, timeout=5)
    peer.acknowledges = False
    peer.put(tunnel.hello())
    return peer


@test(timeout=120)
def server_takes_what_is_allowed(w):
    server, client = bystander(w)
    wrong = []
    for name, frames, pongs in FINE:
        data = encode(frames, mask=True)
        for step in steps_of(name, data):
            with hand(w, server) as peer:
                send_all(peer, data, step)
                # the tunnel still works: a route is answered
                peer.put(tunnel.route(1, 'hand.local'))
                reader = Pongs(peer)
                try:
                    reader.until(lambda: len(reader.got) >= len(pongs))
                    if reader.code is None:
                        peer.wait_frame(ROUTED)
                except (Closed, TimeoutError) as error:
                    wrong.append(f'{name}, {step}: {error!r}')
                if reader.got != pongs:
                    wrong.append(f'{name}, {step}: {reader.got} '
                                 f'{reader.code}')
    none(wrong)
    undisturbed(server, client)


@test(timeout=120)
def server_refuses_what_is_not(w):
    server, client = bystander(w)
    wrong = []
    for name, frames, code in BAD + [(n, [f], c) for n, f, c in CLOSES]:
        data = encode(frames, mask=True)
        for step in steps_of(name, data):
            with hand(w, server) as peer:
                send_all(peer, data, step)
                if (got := code_of(peer)) != code:
                    wrong.append(f'{name}, step {step}: {got}, not {code}')
                check(peer.how_it_ends(5)[1], 'no end')
    for name, frames, _ in FINE:    # who does not mask is refused
        with hand(w, server) as peer:
            send_all(peer, encode(frames, mask=False), 1 << 30)
            if (got := code_of(peer)) != 1002:
                wrong.append(f'{name}, unmasked: {got}')
    none(wrong)
    undisturbed(server, client)


@test()
def nothing_is_said_behind_a_close(w):
    """Autobahn 7.1: a ping or a message behind our close is not answered, and
    one close is answered by one."""
    server, client = bystander(w)
    for more in (one(PING, b'late'), one(BINARY, LANE + tunnel.route(
            1, 'late.local')), close(1001), one(TEXT, b'x')):
        with hand(w, server) as peer:
            peer.put(tunnel.route(2, 'soon.local'))
            peer.wait_frame(ROUTED)
            peer.send(encode([close(1000), more], mask=True))
            said = []
            while (got := websocket.read_frame(peer)) is not None:
                said.append((got[0], websocket.close_code(got[2])))
            equal([s for s in said if s[0] != BINARY], [(CLOSE, 1000)],
                  'behind the close')
        equal(server.get(host='late.local').status, 503, 'a late route')
    undisturbed(server, client)


# --- the client's end --------------------------------------------------------

class Cases:
    """An exit node by hand that gives each websocket that comes one case."""

    def __init__(self, cases, mask, verdict):
        self.cases = [(name, encode(frames, mask), rest)
                      for name, frames, rest in cases]
        self.verdict, self.wrong, self.at = verdict, [], 0
        self.lock = threading.Lock()

    @property
    def done(self):
        return self.at >= len(self.cases) and not self.lock.locked()

    def __call__(self, peer):
        # one at a time: a second lane of the client waits here
        with self.lock:
            if self.at >= len(self.cases):
                return
            name, data, rest = self.cases[self.at]
            try:
                peer.wait_frame(tunnel.HELLO)
                # the lane is the first's: no second one is asked for
                peer.put(tunnel.hello())
                send_all(peer, data, steps_of(name, data)[-1])
                if problem := self.verdict(peer, rest):
                    self.wrong.append(f'{name}: {problem}')
            except Exception as error:
                self.wrong.append(f'{name}: {error!r}')
            self.at += 1
            try:
                peer.send(encode([close(1001)], False))
            except OSError:
                pass


def with_cases(w, cases):
    exit_node = w.keep(TunnelServer(cases, timeout=5))
    # One client after the other: none waits for long before it tries again.
    while not cases.done:
        before = cases.at
        client = w.client(exit_node, w.origin(named('ok')), ready=False,
                          flags=('--connections', '1'))
        soon(lambda: cases.done or cases.at >= before + 12, 50,
             f'case {cases.at}')
        check(client.running, 'the client has left')
        client.terminate(10)
        client.ended_by = 'us'
    none(cases.wrong)
    equal(exit_node.errors, [], 'errors of the script')


def code_is(peer, code):
    got = code_of(peer)
    return '' if got == code else f'{got}, not {code}'


def pongs_are(peer, pongs):
    reader = Pongs(peer)
    peer.send(encode([one(PING, b'the last')], False))
    reader.until(lambda: b'the last' in reader.got)
    return '' if reader.got == pongs + [b'the last'] and not reader.code \
        else f'{reader.got} {reader.code}'


@test(timeout=120)
def client_takes_what_is_allowed(w):
    with_cases(w, Cases(FINE, False, pongs_are))


@test(timeout=120)
def client_refuses_what_is_not(w):
    masked = [('masked: ' + name, [encode(frames, True)], 1002)
              for name, frames, _ in FINE[:12]]
    # of the reserved bits and opcodes the first few
    few = [case for case in BAD if not case[0].startswith(('3 ', '4 '))
           or case[0].endswith(('4 of opcode 2', ' 3', ' 11'))]
    with_cases(w, Cases(few + masked + [(n, [f], c) for n, f, c in CLOSES],
                        False, code_is))
