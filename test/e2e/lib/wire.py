"""HTTP/1.1 on a socket, byte by byte: what origins and visitors share.

Nothing here repairs or guesses: a message that stops early raises Cut, one
that is not HTTP raises Garbage.
"""

import socket
import struct


class Cut(Exception):
    """The peer stopped in the middle of a message; how: eof or reset."""

    def __init__(self, how, where):
        super().__init__(f'{how} in the middle of {where}')
        self.how = how


class Garbage(Exception):
    """What came is not HTTP/1.1."""


class Head:
    """A start line and fields, as they came."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode('latin-1').split('\r\n')
        self.start = lines[0]
        self.fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(':')
            if not colon or not name or name != name.strip():
                raise Garbage(f'field line {line!r}')
            self.fields.append((name, value.strip(' \t')))
        parts = self.start.split(' ', 2)
        if len(parts) < 2:
            raise Garbage(f'start line {self.start!r}')
        parts += ['']
        if parts[0].startswith('HTTP/'):
            self.version, self.status = parts[0], int(parts[1])
            self.reason = parts[2]
            self.method = self.target = None
        else:
            self.method, self.target, self.version = parts[:3]
            self.status = None
        self.interim = []   # responses: the 1xx heads before this one
        self.body = None    # set when it was read whole
        self.trailers = []

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def has(self, name):
        return bool(self.all(name))

    def framing(self, method=None):
        """'none', 'chunked', 'close' or a number of bytes (RFC 9112 6.3).
        method: of the request that a response answers."""
        if self.status is not None and (
                method == 'HEAD' or self.status < 200
                or self.status in (204, 304)):
            return 'none'
        if 'chunked' in (self.get('Transfer-Encoding') or '').lower():
            return 'chunked'
        lengths = set(self.all('Content-Length'))
        if len(lengths) > 1:
            raise Garbage(f'two lengths {lengths}')
        if lengths:
            return int(lengths.pop())
        return 'none' if self.status is None else 'close'

    def __repr__(self):
        return f'<{self.start}>'


class Wire:
    """A connected socket with a buffer for what was read too far."""

    def __init__(self, sock, timeout=10.0):
        self.sock = sock
        self.buf = bytearray()
        self.closed = False
        sock.settimeout(timeout)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # --- out ---

    def send(self, data):
        self.sock.sendall(data)

    def chunk(self, data):
        self.send(b'%x\r\n%b\r\n' % (len(data), data))

    def last_chunk(self, trailers=()):
        self.send(b'0\r\n' + field_lines(trailers) + b'\r\n')

    def end(self):
        """Half close: no more bytes from here."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        if not self.closed:
            self.closed = True
            self.sock.close()

    def reset(self):
        """Leave with an RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))
        self.close()

    # --- in ---

    def fill(self, where='nothing', most=262144):
        """Reads some bytes into the buffer; False at the end of stream."""
        try:
            data = self.sock.recv(most)
        except (ConnectionResetError, BrokenPipeError):
            raise Cut('reset', where) from None
        except TimeoutError:
            raise TimeoutError(
                f'no byte for {self.sock.gettimeout()} s in {where}; '
                f'have {bytes(self.buf[:200])!r}') from None
        self.buf += data
        return bool(data)

    def take(self, n):
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def exactly(self, n, where='bytes'):
        while len(self.buf) < n:
            if not self.fill(where):
                raise Cut('eof', where)
        return self.take(n)

    def until(self, mark, where, most=1 << 20):
        """What comes before mark, which is taken away too."""
        start = 0
        while (at := self.buf.find(mark, start)) < 0:
            if len(self.buf) > most:
                raise Garbage(f'no end of {where}')
            start = max(0, len(self.buf) - len(mark))
            if not self.fill(where):
                raise Cut('eof', where)
        data = self.take(at)
        del self.buf[:len(mark)]
        return data

    def head(self):
        """The next head; None when the peer ended between messages."""
        if not self.buf and not self.fill('the wait for a head'):
            return None
        return Head(self.until(b'\r\n\r\n', 'a head'))

    def pieces(self, head, method=None):
        """The body of head, piece by piece as the bytes come; trailers are
        in head.trailers when it is over."""
        framing = head.framing(method)
        if framing == 'chunked':
            yield from self.chunks(head)
        elif framing == 'close':
            if self.buf:
                yield self.take(len(self.buf))
            while self.fill('a body until close'):
                yield self.take(len(self.buf))
        elif framing != 'none':
            yield from self.counted(framing, 'a counted body')

    def counted(self, left, where):
        while left:
            if not self.buf and not self.fill(where):
                raise Cut('eof', f'{where}, {left} bytes missing')
            piece = self.take(min(left, len(self.buf)))
            left -= len(piece)
            yield piece

    def chunks(self, head):
        while True:
            line = self.until(b'\r\n', 'a chunk size')
            try:
                size = int(line.split(b';')[0], 16)
            except ValueError:
                raise Garbage(f'chunk size {line!r}') from None
            if size == 0:
                break
            yield from self.counted(size, 'a chunk')
            if self.exactly(2, 'the end of a chunk') != b'\r\n':
                raise Garbage('chunk without an end')
        while line := self.until(b'\r\n', 'trailers'):
            name, _, value = line.decode('latin-1').partition(':')
            head.trailers.append((name, value.strip()))

    def body(self, head, method=None):
        """The whole body; kept in head.body too."""
        head.body = b''.join(self.pieces(head, method))
        return head.body

    def how_it_ends(self, timeout=10.0):
        """Reads to the end: (bytes, 'eof' or 'reset')."""
        self.sock.settimeout(timeout)
        try:
            while self.fill('the wait for the end'):
                pass
            return self.take(len(self.buf)), 'eof'
        except Cut as cut:
            return self.take(len(self.buf)), cut.how

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def field_lines(fields):
    return b''.join(f'{name}: {value}\r\n'.encode('latin-1')
                    for name, value in fields)


def dial(address, source=None, rcvbuf=None, timeout=10.0):
    """A TCP connection; address: (host, port)."""
    family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            sock.bind((source, 0))
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
