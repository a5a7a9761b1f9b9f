"""The tunnel protocol by hand (lib/proto/FRAME.md), so that a test can be a
client or a server, honest or hostile."""

import socket
import struct
import threading

from . import websocket
from .wire import Cut, Garbage, Wire, dial, field_lines

HELLO, ROUTE, UNROUTE, ROUTED, OPEN, HEAD, DATA, TRAILERS, CREDIT, RESET, \
    GOAWAY = range(1, 12)
END, CHARGED = 1, 2
LANE, ACK = b'\0', b'\1'
NO_BODY, UNKNOWN = -2, -1
SUBPROTOCOL = 'inlets.1'


def frame(kind, stream=0, payload=b'', flags=0, length=None):
    """length: the one to announce, if not the real one."""
    length = len(payload) if length is None else length
    return struct.pack('!BB', kind, flags) + length.to_bytes(3, 'big') \
        + struct.pack('!I', stream) + payload


def hello(stream_window=1 << 18, session_window=1 << 24, max_streams=16384,
          version=1, agent=b'test'):
    return frame(HELLO, 0, b''.join(
        struct.pack('!HH', key, len(value)) + value for key, value in (
            (1, struct.pack('!I', version)),
            (2, struct.pack('!I', stream_window)),
            (3, struct.pack('!Q', session_window)),
            (4, struct.pack('!I', max_streams)), (5, agent))))


def route(number, endpoint):
    return frame(ROUTE, 0, struct.pack('!I', number) + endpoint.encode())


def unroute(number):
    return frame(UNROUTE, 0, struct.pack('!I', number))


def routed(number, error=0, text=b''):
    return frame(ROUTED, 0, struct.pack('!II', number, error) + text)


def fields_of(fields):
    return b''.join(struct.pack('!HH', len(n), len(v)) + n + v
                    for n, v in fields)


def open_stream(stream, route_id=1, target=b'/', method=b'GET',
                host=b'demo.local', fields=(), length=NO_BODY, flags=END,
                head_flags=0, request_id=b'0123456789abcdef'):
    return frame(OPEN, stream, struct.pack(
        '!IBqBBHHH', route_id, head_flags, length, len(request_id),
        len(method), len(target), len(host), len(fields))
        + request_id + method + target + host + fields_of(fields), flags)


def head(stream, status=200, fields=(), length=UNKNOWN, flags=0,
         reason=b'OK', head_flags=0):
    return frame(HEAD, stream, struct.pack(
        '!HBqHH', status, head_flags, length, len(reason), len(fields))
        + reason + fields_of(fields), flags)


def data(stream, payload=b'', flags=0):
    return frame(DATA, stream, payload, flags)


def trailers(stream, fields):
    return frame(TRAILERS, stream,
                 struct.pack('!H', len(fields)) + fields_of(fields))


def credit(stream, limit):
    return frame(CREDIT, stream, struct.pack('!Q', limit))


def reset(stream, error=0):
    return frame(RESET, stream, struct.pack('!I', error))


def goaway(last=0, error=0, text=b''):
    return frame(GOAWAY, 0, struct.pack('!II', last, error) + text)


class Frame:
    """One that came."""

    def __init__(self, header, payload):
        self.kind, self.flags = header[0], header[1]
        self.stream, = struct.unpack('!I', header[5:9])
        self.payload = payload

    def __repr__(self):
        return (f'<frame {self.kind} stream {self.stream} flags {self.flags} '
                f'{self.payload[:60]!r}>')


class Closed(Exception):
    """The other side closed the websocket; code: 1006 without a frame."""

    def __init__(self, code, reason=b''):
        super().__init__(f'closed with {code} {reason!r}')
        self.code, self.reason = code, reason


class Peer(Wire):
    """One end of a tunnel on a connected, upgraded websocket."""

    mask = True     # clients mask

    def __init__(self, sock, timeout=10.0):
        super().__init__(sock, timeout)
        self.lane = bytearray()
        self.received = 0
        self.acknowledges = True

    def message(self, payload, opcode=websocket.BINARY):
        self.send(websocket.frame(opcode, payload, mask=self.mask))

    def put(self, *frames):
        """Frames, in one message of the lane, or several if they are long."""
        stream = b''.join(frames)
        for start in range(0, len(stream), 65536):
            self.message(LANE + stream[start:start + 65536])

    def frame(self):
        """The next frame. Acknowledges what came."""
        while True:
            length = int.from_bytes(self.lane[2:5], 'big')
            if len(self.lane) >= 9 and len(self.lane) >= 9 + length:
                header = bytes(self.lane[:9])
                payload = bytes(self.lane[9:9 + length])
                del self.lane[:9 + length]
                return Frame(header, payload)
            self.next_message()

    def next_message(self):
        try:
            got = websocket.read_message(self, self.mask)
        except Cut as cut:
            raise Closed(1006, str(cut).encode()) from None
        if got is None:
            raise Closed(1006)
        opcode, payload = got
        if opcode == websocket.CLOSE:
            raise Closed(websocket.close_code(payload), payload[2:])
        if payload[:1] != LANE:
            return
        self.lane += payload[1:]
        self.received += len(payload) - 1
        if self.acknowledges:
            self.message(ACK + struct.pack('!Q', self.received))

    def wait_frame(self, kind):
        while (got := self.frame()).kind != kind:
            pass
        return got

    def closing(self):
        """Reads on until the other side closes; hangs up and returns the
        Closed."""
        while True:
            try:
                self.frame()
            except Closed as closed:
                self.close()
                return closed


class TunnelClient(Peer):
    """A client. Nothing but the handshake is done by itself."""

    def __init__(self, server, token, path='/tunnel', timeout=10.0):
        super().__init__(dial(server.tunnels), timeout)
        key = websocket.new_key()
        self.send(f'GET {path} HTTP/1.1\r\nHost: exit\r\n'.encode()
                  + field_lines([
                      ('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
                      ('Sec-WebSocket-Version', '13'),
                      ('Sec-WebSocket-Key', key),
                      ('Sec-WebSocket-Protocol', SUBPROTOCOL),
                      ('Authorization', f'Bearer {token}')]) + b'\r\n')
        answer = Wire.head(self)
        if answer is None or answer.status != 101:
            raise Garbage(f'the handshake was answered {answer}')
        if answer.get('Sec-WebSocket-Accept') != websocket.accept_for(key) \
                or answer.get('Sec-WebSocket-Protocol') != SUBPROTOCOL:
            raise Garbage(f'a wrong handshake: {answer.raw!r}')

    def serve(self, *endpoints, **settings):
        """Says hello and offers endpoints with the numbers 1, 2, ..."""
        self.put(hello(**settings), *[
            route(number, endpoint)
            for number, endpoint in enumerate(endpoints, 1)])
        for _ in endpoints:
            verdict = self.wait_frame(ROUTED)
            error, = struct.unpack('!I', verdict.payload[4:8])
            if error:
                raise Garbage(f'a route was refused with {error}')
        return self


class TunnelServer:
    """An exit node: every client that connects is given to script(peer), in
    a thread of its own."""

    class End(Peer):
        mask = False

    def __init__(self, script, timeout=10.0):
        self.script, self.timeout = script, timeout
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.tunnels = self.listener.getsockname()
        self.peers, self.errors, self.threads = [], [], []
        self.stopping = False
        self.spawn(self.accept)

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
            self.spawn(self.handle, self.End(sock, self.timeout))

    def handle(self, peer):
        self.peers.append(peer)
        try:
            request = Wire.head(peer)
            peer.send(b'HTTP/1.1 101 Switching Protocols\r\n' + field_lines([
                ('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
                ('Sec-WebSocket-Protocol', SUBPROTOCOL),
                ('Sec-WebSocket-Accept', websocket.accept_for(
                    request.get('Sec-WebSocket-Key')))]) + b'\r\n')
            self.script(peer)
        except (Cut, Closed, OSError):
            pass
        except Exception as error:
            if not self.stopping:
                self.errors.append(error)
        finally:
            peer.close()

    def close(self):
        self.stopping = True
        for sock in [self.listener] + [p.sock for p in self.peers]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()
        for thread in self.threads:
            thread.join(2)
