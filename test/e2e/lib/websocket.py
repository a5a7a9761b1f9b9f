"""Websocket frames by hand (RFC 6455), right ones and wrong ones."""

import base64
import hashlib
import os
import struct

from .wire import Garbage

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def accept_for(key):
    digest = hashlib.sha1((key + GUID).encode()).digest()
    return base64.b64encode(digest).decode()


def frame(opcode, payload=b'', mask=True, fin=True, rsv=0, length=None):
    """The bytes of one frame. length: the one to claim, if not the real."""
    length = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if length < 126:
        head = struct.pack('!BB', first, bit | length)
    elif length < 65536:
        head = struct.pack('!BBH', first, bit | 126, length)
    else:
        head = struct.pack('!BBQ', first, bit | 127, length)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + xor(payload, key)


def xor(data, key):
    if not data:
        return b''
    whole = (key * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, 'big')
            ^ int.from_bytes(whole, 'big')).to_bytes(len(data), 'big')


def read_frame(wire):
    """(opcode, fin, payload) of the next frame; None at a clean end."""
    if not wire.buf and not wire.fill('the wait for a frame'):
        return None
    first, second = wire.exactly(2, 'a frame')
    if first & 0x70:
        raise Garbage(f'reserved bits {first:#x}')
    length = second & 0x7f
    if length == 126:
        length, = struct.unpack('!H', wire.exactly(2, 'a frame length'))
    elif length == 127:
        length, = struct.unpack('!Q', wire.exactly(8, 'a frame length'))
    key = wire.exactly(4, 'a mask') if second & 0x80 else None
    payload = wire.exactly(length, 'a frame payload')
    if key:
        payload = xor(payload, key)
    return first & 0x0f, bool(first & 0x80), payload


def read_message(wire, mask=True):
    """(opcode, payload) of the next message; pings are answered, None at a
    clean end. Close frames are returned as messages."""
    opcode, parts = None, []
    while (got := read_frame(wire)) is not None:
        kind, fin, payload = got
        if kind == PING:
            wire.send(frame(PONG, payload, mask=mask))
            continue
        if kind == PONG:
            continue
        if kind == CLOSE:
            return CLOSE, payload
        opcode = kind or opcode
        parts.append(payload)
        if fin:
            return opcode, b''.join(parts)
    return None


def close_code(payload):
    """The status code of a close frame; 1005 when it has none."""
    return struct.unpack('!H', payload[:2])[0] if len(payload) > 1 else 1005


def echo(wire):
    """Answers every message with itself until the other side closes."""
    while (got := read_message(wire, mask=False)) is not None:
        opcode, payload = got
        wire.send(frame(opcode, payload, mask=False))
        if opcode == CLOSE:
            return
