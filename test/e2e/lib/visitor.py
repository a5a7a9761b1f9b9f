"""A visitor: one raw connection to the exit node, with full control."""

import hashlib
import time

from . import websocket
from .wire import Garbage, Wire, dial, field_lines


class Visitor(Wire):
    """Sends exactly what it is told to and reads strictly."""

    def __init__(self, address, source=None, rcvbuf=None, timeout=10.0,
                 host='demo.local', tls=None):
        """tls: makes one socket of another (lib/certs.py)."""
        sock = dial(address, source, rcvbuf, timeout)
        super().__init__(tls(sock) if tls else sock, timeout)
        self.host = host

    def ask(self, method='GET', target='/', fields=(), body=None, host=None,
            version='HTTP/1.1'):
        """Sends a request head, and the body with its length if given."""
        fields = list(fields)
        if body is not None:
            fields.append(('Content-Length', len(body)))
        host = self.host if host is None else host
        self.send(f'{method} {target} {version}\r\nHost: {host}\r\n'
                  .encode('latin-1') + field_lines(fields) + b'\r\n'
                  + (body or b''))

    def answer_head(self):
        """The next response head, interim ones included."""
        head = self.head()
        if head is not None and head.status is None:
            raise Garbage(f'a request came: {head.start}')
        return head

    def final_head(self):
        """The next final head; the interim ones are in .interim."""
        interim = []
        while (head := self.answer_head()) is not None:
            if head.status >= 200 or head.status == 101:
                head.interim = interim
                head.came = time.monotonic()
                return head
            interim.append(head)
        raise Garbage('the connection ended without an answer')

    def answer(self, method='GET'):
        """A whole response."""
        head = self.final_head()
        self.body(head, method)
        return head

    def get(self, target='/', fields=(), host=None, method='GET', body=None):
        self.ask(method, target, fields, body, host)
        return self.answer(method)

    def digest(self, head, method='GET'):
        """(SHA-256 of the body, its length), without keeping it."""
        digest, length = hashlib.sha256(), 0
        for piece in self.pieces(head, method):
            digest.update(piece)
            length += len(piece)
        return digest.hexdigest(), length

    def upgrade(self, target='/', fields=(), host=None):
        """Asks for a websocket; returns the head of the answer."""
        key = websocket.new_key()
        self.ask('GET', target, [
            ('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
            ('Sec-WebSocket-Version', '13'), ('Sec-WebSocket-Key', key),
            *fields], host=host)
        head = self.final_head()
        head.accepted = (head.status == 101 and
                         head.get('Sec-WebSocket-Accept')
                         == websocket.accept_for(key))
        return head
