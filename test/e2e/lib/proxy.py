"""An HTTP proxy for CONNECT that a test can make behave like bad ones."""

import base64
import collections
import select
import socket
import threading
import time

from .wire import Cut, Garbage, Wire, dial

OPENED = b'HTTP/1.1 200 Connection established\r\n\r\n'
PIECE = 65536


class Proxy:
    """user: (name, password) or None; names: what it resolves, and to which
    addresses; idle: seconds after which a silent tunnel is cut; hold: how long
    bytes are held back, to be sent together; answer: what is said instead of
    opening a tunnel, then the connection ends, or with stays does not. All may
    be changed while it runs."""

    def __init__(self, user=None, names=None, idle=None, hold=0.0, answer=None,
                 stays=False, port=0):
        self.user, self.names = user, names or {}
        self.idle, self.hold = idle, hold
        self.answer, self.stays = answer, stays
        self.asked = []         # heads of requests
        self.opened = self.cuts = 0
        self.passed = 0         # bytes, both ways
        self.socks, self.threads = set(), []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.listener = socket.create_server(('127.0.0.1', port))
        self.address = self.listener.getsockname()
        self.spawn(self.accept)

    def url(self, user=None):
        """user: "name:password"."""
        host, port = self.address
        return f'http://{user + "@" if user else ""}{host}:{port}'

    def spawn(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.socks.add(sock)
            self.spawn(self.handle, sock)

    def handle(self, sock):
        wire = Wire(sock)
        try:
            head = wire.head()
            if head is None:
                return
            self.asked.append(head)
            if self.answer is not None:
                wire.send(self.answer)
                if self.stays:
                    self.over.wait(60)
            elif not self.is_known(head):
                wire.send(b'HTTP/1.1 407 Proxy Authentication Required\r\n'
                          b'Proxy-Authenticate: Basic realm="test"\r\n'
                          b'Content-Length: 0\r\n\r\n')
            else:
                self.tunnel(wire, head)
        except (Cut, Garbage, OSError):
            pass
        finally:
            with self.lock:
                self.socks.discard(sock)
            sock.close()

    def is_known(self, head):
        if self.user is None:
            return True
        pair = base64.b64encode(':'.join(self.user).encode()).decode()
        return head.get('Proxy-Authorization') == f'Basic {pair}'

    def tunnel(self, wire, head):
        host, _, port = head.target.rpartition(':')
        address = self.names.get(host, (host.strip('[]'), int(port)))
        try:
            far = dial(address)
        except OSError:
            wire.send(b'HTTP/1.1 502 No such place\r\n\r\n')
            return
        with self.lock:
            self.socks.add(far)
        try:
            self.opened += 1
            wire.send(OPENED)
            if wire.buf:
                far.sendall(wire.take(len(wire.buf)))
            self.carry(wire.sock, far)
        finally:
            with self.lock:
                self.socks.discard(far)
            far.close()

    def carry(self, near, far):
        """Until one ends, or all is silent for too long."""
        ways = {near: far, far: near}
        held = collections.deque()      # (due, to, bytes)
        last = time.monotonic()
        while not self.over.is_set():
            ready, _, _ = select.select(list(ways), [], [], 0.01 if held
                                        else 0.1)
            now = time.monotonic()
            for sock in ready:
                data = sock.recv(PIECE)
                if not data:
                    return
                last = now
                held.append((now + self.hold, ways[sock], data))
            if held and held[0][0] <= now:
                for _, to, data in held:
                    to.sendall(data)
                    self.passed += len(data)
                held.clear()
            if self.idle and now - last > self.idle:
                self.cuts += 1
                return

    def close(self):
        self.over.set()
        with self.lock:
            socks = list(self.socks)
        for sock in [self.listener, *socks]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()
        for thread in self.threads:
            thread.join(2)
