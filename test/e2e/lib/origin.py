"""Scripted origins: raw servers that do exactly what a test wants.

An origin calls answer(x) for each request it reads, in a thread for each
connection. What the script leaves of the request body is read away after it,
and the connection is kept unless the script closed it.
"""

import os
import socket
import threading
import time

from . import websocket
from .wire import Cut, Garbage, Wire, field_lines


class Exchange(Wire):
    """One request at an origin; it writes on the origin's connection."""

    def __init__(self, connection, head):
        # Shares the connection's socket and buffer.
        self.sock, self.buf = connection.sock, connection.buf
        self.connection = connection
        self.closed = False
        self.request = head
        self.method, self.target = head.method, head.target
        self.came = time.monotonic()
        self.rest = self.pieces(head)   # of the request body

    def read(self):
        """The whole request body."""
        self.request.body = b''.join(self.rest)
        return self.request.body

    def start(self, status=200, fields=(), reason='Whatever'):
        self.send(f'HTTP/1.1 {status} {reason}\r\n'.encode()
                  + field_lines(fields) + b'\r\n')

    def start_chunked(self, fields=(), status=200):
        self.start(status, [('Transfer-Encoding', 'chunked'), *fields])

    def reply(self, status=200, body=b'', fields=()):
        if isinstance(body, str):
            body = body.encode()
        data = field_lines([('Content-Length', len(body)), *fields])
        self.send(f'HTTP/1.1 {status} Whatever\r\n'.encode() + data
                  + b'\r\n' + (b'' if self.method == 'HEAD' else body))

    def wait_gone(self, timeout):
        """Waits until the other side ended or reset; returns the seconds
        that took. Bytes that come are thrown away."""
        began = time.monotonic()
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                if time.monotonic() - began > timeout:
                    raise TimeoutError
        except ConnectionError:
            pass
        except TimeoutError:
            raise AssertionError(
                f'the origin still had its connection after {timeout} s')
        return time.monotonic() - began

    def upgrade(self):
        """Accepts a websocket."""
        self.start(101, [
            ('Upgrade', 'websocket'), ('Connection', 'Upgrade'),
            ('Sec-WebSocket-Accept', websocket.accept_for(
                self.request.get('Sec-WebSocket-Key', '')))])


class Origin:
    """A listening origin. answer: a function of an Exchange; tls: the context
    of a server; path: of a socket in the file system, instead of a port."""

    def __init__(self, answer, host='127.0.0.1', port=0, timeout=20.0,
                 backlog=1024, tls=None, path=None):
        self.answer, self.tls = answer, tls
        self.timeout = timeout
        self.exchanges = []     # all, in the order of their heads
        self.opened = 0         # connections ever
        self.errors = []        # what scripts raised that was not the wire
        self.alive = set()      # open connections
        self.stopping = False
        self.lock = threading.Condition()
        self.path = path
        self.listener = self.bind(host, port)
        self.listener.listen(backlog)
        if not path:
            self.host, self.port = self.listener.getsockname()[:2]
        self.threads = []
        self.spawn(self.accept)

    def bind(self, host, port):
        family = socket.AF_UNIX if self.path else \
            socket.AF_INET6 if ':' in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        if not self.path:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.path or (host, port))
        if self.path:
            os.chmod(self.path, 0o666)
        return listener

    @property
    def url(self):
        if self.path:
            return f'unix:{self.path}'
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'http{"s" if self.tls else ""}://{host}:{self.port}'

    @property
    def requests(self):
        return [x.request for x in self.exchanges]

    def targets(self):
        return [x.target for x in self.exchanges]

    def wait(self, count=1, timeout=10.0):
        """Waits for that many requests; returns the newest exchange."""
        with self.lock:
            if not self.lock.wait_for(
                    lambda: len(self.exchanges) >= count, timeout):
                raise AssertionError(
                    f'{len(self.exchanges)} requests came to the origin in '
                    f'{timeout} s, wanted {count}')
            return self.exchanges[count - 1]

    def spawn(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        while not self.stopping:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.tls:    # the first read shakes hands
                sock = self.tls.wrap_socket(sock, server_side=True,
                                            do_handshake_on_connect=False)
            connection = Wire(sock, self.timeout)
            with self.lock:
                self.opened += 1
                self.alive.add(connection)
            self.spawn(self.serve, connection)

    def serve(self, connection):
        try:
            while (head := connection.head()) is not None:
                if not self.exchange(connection, head):
                    break
        except (Cut, OSError):
            pass    # the other side left; a test that minds looks itself
        except Garbage as error:
            self.errors.append(error)
        except Exception as error:
            if not self.stopping:
                self.errors.append(error)
        finally:
            with self.lock:
                self.alive.discard(connection)
                self.lock.notify_all()
            connection.close()

    def exchange(self, connection, head):
        """Runs the script; False when the connection is done with."""
        x = Exchange(connection, head)
        with self.lock:
            self.exchanges.append(x)
            self.lock.notify_all()
        self.answer(x)
        if x.closed or head.get('Connection', '').lower() == 'close':
            return False
        for _ in x.rest:
            pass
        return True

    def stop_listening(self):
        """New connections are refused; those that are open go on."""
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def close(self):
        self.stop_listening()
        with self.lock:
            alive = list(self.alive)
        for connection in alive:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        deadline = time.monotonic() + 5
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))


def hello(x):
    """The plainest origin."""
    x.read()
    x.reply(200, f'hello from {x.target}\n')


def echo(x):
    """Answers with the request body, framed as it came."""
    if x.request.framing() == 'chunked':
        x.start_chunked()
        for piece in x.rest:
            x.chunk(piece)
        x.last_chunk(x.request.trailers)
    else:
        x.reply(200, x.read())


def named(name):
    """An origin that says who it is."""
    def answer(x):
        x.read()
        x.reply(200, name)
    return answer


class Pattern:
    """Bytes that are different at every offset that matters: a block whose
    length has no factor in common with any buffer's, over and over."""

    BLOCK = 1048573     # a prime

    def __init__(self, length, seed=1):
        import random
        self.length = length
        block = random.Random(seed).randbytes(self.BLOCK)
        self.block = memoryview(block)

    def pieces(self):
        left = self.length
        while left:
            piece = self.block[:min(left, self.BLOCK)]
            left -= len(piece)
            yield piece

    def digest(self):
        import hashlib
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()
