"""A TCP relay between client and server that a test can make fail.

One thread carries all connections. What a test asks for (cut, freeze, ...)
is done by that thread, between two bytes, and is done when the call returns.
"Up" is from the client to the server, "down" is the other way.
"""

import collections
import os
import random
import select
import socket
import struct
import threading
import time

PIECE = 65536       # at most this much is taken at once
ROOM = 262144       # and at most this much is held in each direction
TICKS = 50          # a limited rate is spread over as many pieces a second
THIN_BUFFER = 32768     # so that the system does not hold what a thin line
THIN_SEGMENT = 1400     # would not, nor opens windows in large steps
LINGER_S = 5        # for the other side to answer a FIN

UP, DOWN = 'up', 'down'


class Way:
    """One direction of a connection: what is under way and what came."""

    def __init__(self, pair, name, source, sink):
        self.pair, self.name = pair, name
        self.source, self.sink = source, sink
        self.held = collections.deque()     # (due, bytes)
        self.size = 0
        self.passed = 0     # bytes that went on
        self.ready = 0.0    # when a limited rate lets more go
        self.frozen = False
        self.ended = self.done = False      # the FIN came, and went on


class Pair:
    """A connection: near is the client's socket, far the server's."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        self.up = Way(self, UP, near, far)
        self.down = Way(self, DOWN, far, near)
        self.ways = (self.up, self.down)


class Relay:
    """Forwards to target. rate: bytes a second in each direction; delay:
    seconds for every byte; tamper: a function of (way, bytes) that gives the
    bytes to pass on. All three may be changed while it runs."""

    def __init__(self, target, rate=None, delay=0.0, tamper=None):
        self.target, self.rate, self.delay = target, rate, delay
        self.tamper = tamper
        self.refusing = False   # new connections are reset
        self.opened = 0         # connections ever, refused ones too
        self.cuts = 0           # how often something was cut
        self.passed = 0         # bytes that went on, both ways
        self.pairs, self.lingering = [], []
        self.frozen = False     # all, new ones too
        self.trips = collections.deque()    # see cut_at
        self.orders = collections.deque()
        self.stopping = False
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        if rate:
            make_thin(self.listener)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.bell, self.ear = socket.socketpair()
        self.ear.setblocking(False)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # --- what a test asks for ---

    @property
    def address(self):
        return '127.0.0.1', self.port

    def freeze(self):
        """Nothing passes any more, nobody is told."""
        self.do(lambda: setattr(self, 'frozen', True))

    def freeze_old(self, *names):
        """As freeze, but connections that come later are not touched. names:
        only these directions (UP, DOWN)."""
        def order():
            for pair in self.pairs:
                for way in pair.ways:
                    way.frozen = not names or way.name in names
        self.do(order)

    def thaw(self):
        def order():
            self.frozen = False
            for pair in self.pairs:
                for way in pair.ways:
                    way.frozen = False
        self.do(order)

    def cut(self):
        """Resets every connection there is; what is on the way is lost."""
        self.do(self.cut_now)

    def hang_up(self):
        """Ends every connection there is by FIN; what is on the way is
        lost."""
        self.do(lambda: self.cut_now(fin=True))

    def cut_at(self, offsets):
        """Cuts when so many bytes have passed, in the middle of whatever it
        is; offsets: numbers of .passed."""
        self.do(lambda: setattr(self, 'trips',
                                collections.deque(sorted(offsets))))

    def close(self):
        self.stopping = True
        self.ring()
        self.thread.join(10)
        for sock in (self.bell, self.ear, self.listener):
            sock.close()

    # --- the thread ---

    def do(self, order):
        """Lets the thread do it, and waits for that."""
        done = threading.Event()
        self.orders.append((order, done))
        self.ring()
        if not done.wait(10) and not self.stopping:
            raise AssertionError('the relay hangs')

    def ring(self):
        try:
            self.bell.send(b'.')
        except OSError:
            pass

    def run(self):
        while not self.stopping:
            self.turn()
        for pair in list(self.pairs):
            self.drop(pair)
        for sock, _ in self.lingering:
            sock.close()

    def turn(self):
        now = time.monotonic()
        poller = select.poll()
        poller.register(self.ear, select.POLLIN)
        poller.register(self.listener, select.POLLIN)
        ways, wake = self.watch(poller, now)
        ready = {fd for fd, _ in poller.poll(
            max(0, (wake - time.monotonic()) * 1000 + 1))}
        if self.ear.fileno() in ready:
            self.obey()
        if self.listener.fileno() in ready:
            self.accept()
        self.bury(ready)
        now = time.monotonic()
        for way, reads, writes in ways:
            if way.pair in self.pairs and reads \
                    and way.source.fileno() in ready:
                self.take(way, now)
            # Without asking: almost always there is room.
            if way.pair in self.pairs:
                self.give(way, now)

    def watch(self, poller, now):
        """Says to poller what matters: ([(way, reads, writes)], until)."""
        wanted, ways, wake = {}, [], now + 60
        for pair in self.pairs:
            for way in pair.ways:
                moves = not self.frozen and not way.frozen
                due = max(way.held[0][0], way.ready) if way.held else None
                reads = moves and not way.ended and way.size < ROOM \
                    and (not self.rate or not way.held)
                writes = moves and due is not None and due <= now
                if moves and due is not None and due > now:
                    wake = min(wake, due)
                ways.append((way, reads, writes))
                for sock, on, bit in ((way.source, reads, select.POLLIN),
                                      (way.sink, writes, select.POLLOUT)):
                    if on:
                        wanted[sock] = wanted.get(sock, 0) | bit
        for sock, bits in wanted.items():
            poller.register(sock, bits)
        for sock, until in self.lingering:
            poller.register(sock, select.POLLIN)
            wake = min(wake, until)
        return ways, wake

    def obey(self):
        try:
            self.ear.recv(4096)
        except BlockingIOError:
            pass
        while self.orders:
            order, done = self.orders.popleft()
            order()
            done.set()

    def accept(self):
        try:
            near, _ = self.listener.accept()
        except OSError:
            return
        self.opened += 1
        if self.refusing:
            return reset(near)
        far = socket.socket()
        if self.rate:
            make_thin(far)
        try:
            far.settimeout(5)
            far.connect(self.target)
        except OSError:
            far.close()
            return reset(near)
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs.append(Pair(near, far))

    def take(self, way, now):
        most = PIECE if not self.rate else max(256, int(self.rate / TICKS))
        try:
            data = way.source.recv(most)
        except BlockingIOError:
            return
        except OSError:
            return self.drop(way.pair)
        if not data:
            way.ended = True
            return
        if self.tamper:
            data = self.tamper(way, data)
        if data:
            way.held.append((now + self.delay, memoryview(data)))
            way.size += len(data)

    def give(self, way, now):
        if self.frozen or way.frozen:
            return
        while way.held and way.held[0][0] <= now and way.ready <= now:
            piece = way.held[0][1]
            most = len(piece)
            if self.trips:
                most = min(most, max(0, self.trips[0] - self.passed))
            try:
                sent = way.sink.send(piece[:most]) if most else 0
            except BlockingIOError:
                return
            except OSError:
                return self.drop(way.pair)
            self.went(way, sent, now)
            if self.trips and self.passed >= self.trips[0]:
                self.trips.popleft()
                return self.cut_now()
        if way.ended and not way.held and not way.done:
            self.pass_end(way)

    def went(self, way, sent, now):
        due, piece = way.held.popleft()
        if sent < len(piece):
            way.held.appendleft((due, piece[sent:]))
        way.size -= sent
        way.passed += sent
        self.passed += sent
        if self.rate:
            way.ready = max(now, way.ready) + sent / self.rate

    def pass_end(self, way):
        way.done = True
        try:
            way.sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if all(other.done for other in way.pair.ways):
            self.pairs.remove(way.pair)
            way.source.close()
            way.sink.close()

    def drop(self, pair):
        """Its two sides are told by RST."""
        if pair in self.pairs:
            self.pairs.remove(pair)
            reset(pair.near)
            reset(pair.far)

    def cut_now(self, fin=False):
        pairs = list(self.pairs)
        self.cuts += bool(pairs)
        for pair in pairs:
            if not fin:
                self.drop(pair)
                continue
            self.pairs.remove(pair)
            for sock in (pair.near, pair.far):
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                self.lingering.append((sock, time.monotonic() + LINGER_S))

    def bury(self, ready):
        """Sockets that said FIN wait for that of the other side: closed
        sooner, with bytes to read, they would say RST."""
        left = []
        for sock, until in self.lingering:
            try:
                over = sock.fileno() in ready and not sock.recv(PIECE)
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over or time.monotonic() > until:
                sock.close()
            else:
                left.append((sock, until))
        self.lingering = left


def make_thin(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, THIN_BUFFER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, THIN_SEGMENT)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
    sock.close()


class Cutter:
    """Cuts a relay at random instants while a block runs: with Cutter(relay,
    random.Random(seed), 0.1, 0.5, times=10)."""

    def __init__(self, relay, chance, shortest, longest, times=None,
                 kinds=('cut', 'hang_up')):
        self.relay, self.chance, self.times = relay, chance, times
        self.pause = shortest, longest
        self.kinds = kinds
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        begun = self.relay.cuts
        while not self.over.wait(self.chance.uniform(*self.pause)):
            getattr(self.relay, self.chance.choice(self.kinds))()
            if self.times and self.relay.cuts - begun >= self.times:
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Flipper:
    """A tamper for relays: when armed, flips one bit of one websocket header
    or of what follows it, once. place:

    0        the first byte of the header: FIN, RSV, opcode
    1        the second: MASK, length
    'kind'   the kind of the message
    'type', 'length'    of the frame at the beginning of a LANE message: its
             type, the highest byte of its length
    """

    OFFSETS = {'kind': 0, 'type': 1, 'length': 3}

    def __init__(self):
        self.case = None
        self.flipped = threading.Event()
        self.at = {}    # way: where it is among its headers

    def arm(self, direction, place, bit):
        self.flipped.clear()
        self.case = direction, place, bit

    def __call__(self, way, data):
        state = self.at.setdefault(way, Framing())
        frames = list(state.frames(data))
        if self.case is None or self.case[0] != way.name:
            return data
        for at, header, kind in frames:
            if (at := self.find(at, header, kind, len(data))) is None:
                continue
            data = bytearray(data)
            data[at] ^= 1 << self.case[2]
            self.case = None
            self.flipped.set()
            break
        return bytes(data)

    def find(self, at, header, kind, end):
        """Where the byte of the case is; None when it is not here."""
        place = self.case[1]
        if header[0] & 0x0f not in (0, 2) or kind != 0:
            return None     # a LANE message: the peer waits for its bytes
        at += place if isinstance(place, int) \
            else len(header) + self.OFFSETS[place]
        return at if at < end else None


class Framing:
    """Where the websocket headers are in one direction's bytes."""

    def __init__(self):
        self.handshake = bytearray()    # until its end
        self.skip = 0       # bytes of payload before the next header
        self.part = bytearray()     # of a header that is split

    def frames(self, data):
        """Yields (offset, header, kind) of those that begin in data: the
        first byte of the payload without its mask, or None when it is not
        here."""
        at = 0
        if self.handshake is not None:
            before = len(self.handshake)
            self.handshake += data
            end = self.handshake.find(b'\r\n\r\n')
            if end < 0:
                return
            at, self.handshake = end + 4 - before, None
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                at += step
                continue
            begins = at - len(self.part)
            self.part.append(data[at])
            at += 1
            length, masked = self.measure()
            if length is None:
                continue
            self.skip = length
            header, self.part = bytes(self.part), bytearray()
            if begins < 0:
                continue
            kind = None
            if length and at < len(data):
                kind = data[at] ^ (header[-4] if masked else 0)
            yield begins, header, kind

    def measure(self):
        """(payload length, masked) when self.part is a whole header."""
        part = self.part
        if len(part) < 2:
            return None, False
        masked, length = bool(part[1] & 0x80), part[1] & 0x7f
        extra = {126: 2, 127: 8}.get(length, 0)
        if len(part) < 2 + extra + 4 * masked:
            return None, False
        if extra:
            length = int.from_bytes(part[2:2 + extra], 'big')
        return length, masked


def seeded():
    """A random generator. Its seed is in the output of the test, and can be
    given by E2E_SEED."""
    seed = int(os.environ.get('E2E_SEED') or random.randrange(1 << 32))
    print(f'E2E_SEED={seed}')
    return random.Random(seed)
