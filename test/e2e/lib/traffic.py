"""Traffic of every kind through a tunnel, and what is right about it.

An origin (Traffic) and the visitors that go with it. Each visitor's function
returns when all was whole and in order; it raises Cut, Garbage, Refused or an
OSError when the exchange failed in a way that a visitor can see, and Failure
when it looked whole and was not.
"""

import functools
import hashlib
import socket
import threading
import time

from . import websocket
from .house import equal, soon
from .origin import Pattern
from .wire import Cut, Garbage

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Refused(Exception):
    """An answer that is not the origin's: 502, 503, 504."""


# What a visitor takes for a failure that it was told of.
CLEAN = (Cut, Garbage, Refused, ConnectionError)


@functools.lru_cache
def pattern(length):
    return Pattern(length)


@functools.lru_cache
def digest_of(length):
    return pattern(length).digest()


class Traffic:
    """The answers of an origin, by target:

    /down/N      N bytes, with their length     /chunked/N  in chunks
    /close/N     N bytes until the connection closes
    /up          the SHA-256 of what came       /ws         a websocket's echo
    /events/MS[/COUNT]  an event each MS milliseconds, until .over or so many
    /held        a head and half of a body; the rest when .over
    /unanswered  nothing before .over
    """

    def __init__(self, w):
        self.over = w.gate()

    def __call__(self, x):
        _, kind, *more = x.target.split('/')
        answer = getattr(self, f'do_{kind}', None)
        if answer is None:
            x.read()
            return x.reply(200, f'hello from {x.target}\n')
        answer(x, *more)

    def do_down(self, x, length):
        x.start(200, [('Content-Length', length)])
        for piece in pattern(int(length)).pieces():
            x.send(piece)

    def do_chunked(self, x, length):
        x.start_chunked()
        for piece in pattern(int(length)).pieces():
            x.chunk(piece)
        x.last_chunk()

    def do_close(self, x, length):
        x.start(200)
        for piece in pattern(int(length)).pieces():
            x.send(piece)
        x.close()

    def do_up(self, x):
        digest = hashlib.sha256()
        for piece in x.rest:
            digest.update(piece)
        x.reply(200, digest.hexdigest())

    def do_ws(self, x):
        x.upgrade()
        try:
            websocket.echo(x)
        finally:
            x.close()

    def do_events(self, x, pause_ms, most='0'):
        x.start_chunked([('Content-Type', 'text/event-stream')])
        number = 0
        while number != int(most) - 1 and \
                not self.over.wait(int(pause_ms) / 1000):
            x.chunk(b'data: %d\n\n' % number)
            number += 1
        x.chunk(b'data: last %d\n\n' % number)
        x.last_chunk()

    def do_held(self, x, framing='chunked'):
        """framing: counted, chunked or close."""
        if framing == 'chunked':
            x.start_chunked()
        else:
            x.start(200, [('Content-Length', 22)] if framing == 'counted'
                    else ())
        put = x.chunk if framing == 'chunked' else x.send
        put(b'first half ')
        self.over.wait(60)
        put(b'second half')
        if framing == 'chunked':
            x.last_chunk()
        elif framing == 'close':
            x.close()

    def do_unanswered(self, x):
        self.over.wait(60)
        x.read()
        x.reply(200, b'at last')


def linked(w, *flags, both=(), client_flags=(), control=None, env=None,
           **options):
    """(server, client, relay, traffic) with a relay in the tunnel; options
    are the relay's, env is the server's."""
    traffic = Traffic(w)
    traffic.origin = w.origin(traffic, timeout=120)
    server = w.server(*flags, *both, control=control, env=env)
    relay = w.relay(server.tunnels, **options)
    client = w.client(server, traffic.origin, via=relay.address,
                      flags=[*both, *client_flags])
    return server, client, relay, traffic


def expect(head, target, status=200):
    if head.status in (502, 503, 504):
        raise Refused(f'{target} was answered {head.status}')
    equal(head.status, status, target)
    return head


def small(server, number, method='GET'):
    """A request and its answer, on a connection of their own."""
    target = f'/small-{number}'
    body = b'x' * 100 if method == 'POST' else None
    answer = server.get(target, method=method, body=body, timeout=30)
    expect(answer, target)
    equal(answer.body, f'hello from {target}\n'.encode(), target)


def download(server, length, kind='down', version='HTTP/1.1', rcvbuf=None,
             pause=0.0, timeout=60):
    """pause: seconds between reads, for a slow reader."""
    target = f'/{kind}/{length}'
    with server.visitor(timeout=timeout, rcvbuf=rcvbuf) as visitor:
        visitor.ask(target=target, version=version)
        head = expect(visitor.final_head(), target)
        digest, got = hashlib.sha256(), 0
        for piece in visitor.pieces(head):
            digest.update(piece)
            got += len(piece)
            if pause:
                time.sleep(pause)
        equal((got, digest.hexdigest()), (length, digest_of(length)), target)
        if version == 'HTTP/1.1' and kind != 'close':
            # Nothing follows: one request, one response.
            visitor.ask(target='/after')
            after = expect(visitor.final_head(), 'after a download')
            equal(visitor.body(after), b'hello from /after\n', 'afterwards')


def upload(server, length, chunked=False, pause=0.0, timeout=60):
    with server.visitor(timeout=timeout) as visitor:
        framing = ('Transfer-Encoding', 'chunked') if chunked \
            else ('Content-Length', length)
        visitor.ask('PUT', '/up', [framing])
        try:
            for piece in pattern(length).pieces():
                (visitor.chunk if chunked else visitor.send)(piece)
                time.sleep(pause)
            if chunked:
                visitor.last_chunk()
        except (BrokenPipeError, ConnectionResetError):
            raise Cut('reset', 'an upload') from None
        head = expect(visitor.final_head(), '/up')
        equal(visitor.body(head).decode(), digest_of(length), 'an upload')


def talk(server, over, ahead=64, timeout=60):
    """A websocket: numbered messages of growing length come back, each once
    and in order, until over is set. Returns their number."""
    with server.visitor(timeout=timeout) as visitor:
        head = visitor.upgrade('/ws')
        if head.status != 101:
            expect(head, '/ws', 101)
        room, sent, failed = threading.Semaphore(ahead), [], []

        def write():
            try:
                while not over.is_set():
                    if not room.acquire(timeout=0.1):
                        continue
                    sent.append(number := len(sent))
                    visitor.send(websocket.frame(websocket.TEXT,
                                                 numbered(number)))
                visitor.send(websocket.frame(websocket.CLOSE, b'\x03\xe8'))
            except OSError as error:
                failed.append(error)
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            count = hear(visitor, room)
        except BaseException:
            over.set()
            shut(visitor)
            raise
        finally:
            writer.join(10)
        if failed:
            raise Cut('reset', 'a websocket')
        equal(count, len(sent), 'messages that came back')
        return count


def shut(wire):
    """Wakes the thread that writes to it."""
    try:
        wire.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def numbered(number):
    return b'%d %s' % (number, b'm' * (number * 37 % 3000))


def hear(visitor, room):
    """Reads the echoes until the close frame: their number."""
    count = 0
    while True:
        got = websocket.read_message(visitor)
        if got is None:
            raise Cut('eof', 'a websocket without a close frame')
        if got[0] == websocket.CLOSE:
            return count
        equal(got[1], numbered(count), 'a message')
        count += 1
        room.release()


def events(server, pause_ms=5, most=None, timeout=60):
    """An event stream, until Traffic.over or so many events. Returns their
    number."""
    with server.visitor(timeout=timeout) as visitor:
        visitor.ask(target=f'/events/{pause_ms}' +
                    (f'/{most}' if most else ''))
        head = expect(visitor.final_head(), '/events')
        text = bytearray()
        count = 0
        for piece in visitor.pieces(head):
            text += piece
            *whole, rest = text.split(b'\n\n')
            text = bytearray(rest)
            for event in whole:
                if event == b'data: last %d' % count:
                    count = -count - 1
                    continue
                equal(bytes(event), b'data: %d' % count, 'an event')
                count += 1
        if count >= 0:
            raise AssertionError(f'the event stream ended cleanly after '
                                 f'{count} events, without its last')
        return -count - 1


class Crowd:
    """Visitors at once, in threads. The first exception of one is raised
    when the block ends, which waits for all."""

    def __init__(self, timeout=60):
        self.timeout = timeout
        self.threads, self.errors, self.results = [], [], {}

    def start(self, name, function, *args, **options):
        def run():
            try:
                self.results[name] = function(*args, **options)
            except BaseException as error:
                self.errors.append((name, error))
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def soon(self, probe, timeout, what):
        """Waits until probe() gives something true; not when one failed."""
        return soon(lambda: self.check() or probe(), timeout, what)

    def check(self):
        for name, error in self.errors:
            print(f'{name}: {type(error).__name__}: {error}')
        if self.errors:
            raise self.errors[0][1]

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            return
        deadline = time.monotonic() + self.timeout
        for thread in self.threads:
            while thread.is_alive() and not self.errors:
                thread.join(0.1)
                if time.monotonic() > deadline:
                    raise AssertionError(f'{thread.name} still runs after '
                                         f'{self.timeout} s')
        self.check()
