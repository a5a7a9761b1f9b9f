"""Visitors' websockets: the upgrade and the raw bytes after it."""

import os
import random
import struct
import subprocess
import sys
import threading
import time
import zlib

from lib import websocket
from lib.house import Failure, check, equal, soon, test, within
from lib.procs import Program
from lib.websocket import BINARY, CLOSE, TEXT
from lib.wire import Cut


def echo(x):
    x.upgrade()
    websocket.echo(x)
    x.close()


@test()
def echo_of_many_messages(w):
    server, _, origin = w.pair(echo)
    with w.visitor(server) as visitor:
        check(visitor.upgrade('/chat?x=1').accepted, 'no upgrade')
        equal(origin.targets(), ['/chat?x=1'], 'target')
        for number in range(300):
            text = f'message {number}'.encode()
            visitor.send(websocket.frame(TEXT, text))
            equal(websocket.read_message(visitor), (TEXT, text), 'echo')
        for size in (0, 125, 126, 65535, 65536, 300000):
            data = random.Random(size).randbytes(size)
            visitor.send(websocket.frame(BINARY, data))
            check(websocket.read_message(visitor) == (BINARY, data),
                  f'{size} bytes changed')
        visitor.send(websocket.frame(CLOSE, b'\x03\xe8bye'))
        equal(websocket.read_message(visitor), (CLOSE, b'\x03\xe8bye'), 'bye')
        equal(visitor.how_it_ends(3), (b'', 'eof'), 'the end')


@test()
def both_ways_at_once(w):
    """Two streams of bytes that do not wait for each other."""
    def answer(x):
        x.upgrade()
        reader = threading.Thread(target=read_all, args=(x, got))
        reader.start()
        for piece in down:
            x.send(piece)
        reader.join(20)
        x.close()

    def read_all(x, store):
        while x.fill('raw bytes'):
            store.append(x.take(len(x.buf)))
    up = [os.urandom(40000) for _ in range(50)]
    down = [os.urandom(40000) for _ in range(50)]
    got = []
    server, _, _ = w.pair(answer)
    with w.visitor(server, timeout=20) as visitor:
        check(visitor.upgrade().accepted, 'no upgrade')
        sender = threading.Thread(
            target=lambda: [visitor.send(p) for p in up] + [visitor.end()])
        sender.start()
        said, how = visitor.how_it_ends(20)
        sender.join(20)
    check(said == b''.join(down), 'the bytes down changed')
    equal(how, 'eof', 'the end')
    check(b''.join(got) == b''.join(up), 'the bytes up changed')


@test()
def half_close_of_either_side(w):
    def answer(x):
        x.upgrade()
        if x.target == '/visitor-first':
            x.send(x.exactly(5).upper())
            equal(x.fill('the end'), False, 'the half close at the origin')
            x.send(b'after your end')
        else:
            x.send(b'before my end')
            x.end()
            x.connection.said = x.exactly(5)
            said.append(x.connection.said)
        x.close()
    said = []
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        check(visitor.upgrade('/visitor-first').accepted, 'no upgrade')
        visitor.send(b'hello')
        equal(visitor.exactly(5), b'HELLO', 'echo')
        visitor.end()
        equal(visitor.how_it_ends(5), (b'after your end', 'eof'), 'down')
    with w.visitor(server) as visitor:
        check(visitor.upgrade('/origin-first').accepted, 'no upgrade')
        equal(visitor.exactly(13), b'before my end', 'down')
        equal(visitor.fill('the end'), False, 'the half close')
        visitor.send(b'still')
        soon(lambda: said == [b'still'], 3, 'bytes after the half close')


@test()
def bytes_right_behind_the_upgrade(w):
    """A visitor may send its first frames before the 101 has come."""
    server, _, _ = w.pair(echo)
    for _ in range(10):
        with w.visitor(server) as visitor:
            key = websocket.new_key()
            visitor.send(
                b'GET / HTTP/1.1\r\nHost: demo.local\r\nConnection: Upgrade'
                b'\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
                b'Sec-WebSocket-Key: ' + key.encode() + b'\r\n\r\n'
                + websocket.frame(TEXT, b'early'))
            equal(visitor.final_head().status, 101, 'upgrade')
            equal(websocket.read_message(visitor), (TEXT, b'early'), 'echo')


@test()
def refused_upgrade_is_an_answer(w):
    server, _, _ = w.pair(lambda x: x.reply(403, b'no'))
    visitor = w.visitor(server)
    for _ in range(3):
        head = visitor.upgrade()
        equal((head.status, visitor.body(head)), (403, b'no'), 'answer')
        if head.get('Connection', '').lower() == 'close':
            equal(visitor.how_it_ends(3), (b'', 'eof'), 'the end')
            visitor = w.visitor(server)


@test()
def websocket_fields_pass(w):
    """Subprotocols and extensions are the two ends' own business."""
    def answer(x):
        x.start(101, [
            ('Upgrade', 'websocket'), ('Connection', 'Upgrade'),
            ('Sec-WebSocket-Protocol', 'chat'),
            ('Sec-WebSocket-Extensions', 'permessage-deflate'),
            ('Sec-WebSocket-Accept', websocket.accept_for(
                x.request.get('Sec-WebSocket-Key')))])
        x.close()
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        head = visitor.upgrade(fields=[
            ('Sec-WebSocket-Protocol', 'chat, superchat'),
            ('Sec-WebSocket-Extensions', 'permessage-deflate')])
        check(head.accepted, 'no upgrade')
        equal(head.get('Sec-WebSocket-Protocol'), 'chat', 'down')
        equal(head.get('Sec-WebSocket-Extensions'), 'permessage-deflate',
              'down')
    seen = origin.requests[0]
    equal(seen.get('Sec-WebSocket-Protocol'), 'chat, superchat', 'up')
    equal(seen.get('Upgrade', '').lower(), 'websocket', 'Upgrade')
    check('upgrade' in seen.get('Connection', '').lower(), 'Connection')


@test()
def idle_websocket_outlives_every_timeout(w):
    server, _, _ = w.pair(echo, '--idle-timeout', '1s', '--head-timeout',
                          '1s', '--gateway-timeout', '1s')
    with w.visitor(server) as visitor:
        check(visitor.upgrade().accepted, 'no upgrade')
        time.sleep(2.5)
        visitor.send(websocket.frame(TEXT, b'still here'))
        equal(websocket.read_message(visitor), (TEXT, b'still here'), 'echo')


@test()
def either_end_vanishes(w):
    """A reset of one side is a reset or an end for the other, at once."""
    gone = []

    def answer(x):
        x.upgrade()
        if x.target == '/origin':
            x.exactly(2)
            return x.reset()
        try:
            while x.fill('frames'):
                x.take(len(x.buf))
        except Cut:
            pass
        gone.append(time.monotonic())
        x.close()
    server, _, origin = w.pair(answer)
    visitor = w.visitor(server)
    check(visitor.upgrade('/visitor').accepted, 'no upgrade')
    visitor.reset()
    left = time.monotonic()
    soon(lambda: gone, 3, 'the end at the origin')
    check(gone[0] - left < 1.0, 'seen', gone[0] - left, 's later')
    with w.visitor(server) as visitor:
        check(visitor.upgrade('/origin').accepted, 'no upgrade')
        visitor.send(b'go')
        with within(1.0, 'the end at the visitor'):
            equal(visitor.how_it_ends(5)[0], b'', 'bytes')


@test()
def h2c_is_never_passed(w):
    server, _, origin = w.pair(lambda x: x.reply(200, b'plain'))
    for value in ('h2c', 'h2c, websocket', 'websocket, h2c', 'TLS/1.2'):
        with w.visitor(server) as visitor:
            visitor.ask(fields=[
                ('Connection', 'Upgrade, HTTP2-Settings'), ('Upgrade', value),
                ('HTTP2-Settings', 'AAMAAABkAAQCAAAAAAIAAAAA')])
            equal(visitor.answer().body, b'plain', value)
            check(not origin.requests[-1].has('Upgrade'), value)


@test()
def frames_pass_as_they_are(w):
    """Pings, fragments, compressed frames, close codes and reasons are the two
    ends' business: every byte comes through, both ways."""
    deflated = zlib.compressobj(wbits=-15)
    packed = deflated.compress(b'hello ' * 99)
    packed += deflated.flush(zlib.Z_SYNC_FLUSH)
    payload = [
        (websocket.PING, b'are you there', {}),
        (websocket.PONG, b'unasked', {}),
        (TEXT, packed[:-4], {'rsv': 4}),
        (TEXT, b'one ', {'fin': False}), (websocket.PING, b'between', {}),
        (0, b'two', {}),
        (BINARY, b'', {}), (BINARY, os.urandom(70000), {}),
        (3, b'a reserved opcode', {'rsv': 7}),
        (CLOSE, struct.pack('!H', 4321) + 'schön'.encode(), {}),
        (CLOSE, struct.pack('!H', 999) + b'\xff', {})]
    up = b''.join(websocket.frame(op, data, mask=True, **how)
                  for op, data, how in payload)
    down = b''.join(websocket.frame(op, data, mask=False, **how)
                    for op, data, how in payload)

    def answer(x):
        x.upgrade()
        got.append(x.exactly(len(up)))
        x.send(down)
        x.close()
    got = []
    server, _, _ = w.pair(answer)
    for step in (len(up), 1000, 7):
        with w.visitor(server) as visitor:
            check(visitor.upgrade().accepted, 'no upgrade')
            for start in range(0, len(up), step):
                visitor.send(up[start:start + step])
            check(visitor.how_it_ends(10) == (down, 'eof'), 'down, by', step)
            check(got[-1] == up, 'up, by', step)


@test()
def one_message_of_8_mib(w):
    server, _, _ = w.pair(echo)
    data = random.Random(1).randbytes(8 << 20)
    with w.visitor(server, timeout=30) as visitor:
        check(visitor.upgrade().accepted, 'no upgrade')
        sender = threading.Thread(
            target=visitor.send, args=(websocket.frame(BINARY, data),))
        sender.start()
        check(websocket.read_message(visitor) == (BINARY, data), 'changed')
        sender.join(20)


LIBRARY = '''
import asyncio, os, sys, websockets

async def serve(ws):
    if ws.path == '/leave':
        return await ws.close(4002, 'going')
    try:
        async for message in ws:
            await ws.send(message)
    except websockets.ConnectionClosedError:
        pass    # any code but 1000 and 1001
    print('closed', ws.close_code, ws.close_reason, flush=True)

async def server():
    async with websockets.serve(serve, '127.0.0.1', 0, max_size=None,
                                subprotocols=['chat'], ping_interval=1) as s:
        print('port', s.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

async def client(url):
    async with websockets.connect(url, max_size=None, ping_interval=1,
                                  subprotocols=['other', 'chat']) as ws:
        assert ws.subprotocol == 'chat', ws.subprotocol
        assert [e.name for e in ws.extensions] == ['permessage-deflate'], ws
        for message in ('', 'text', 'schön' * 300000, os.urandom(5000000),
                        b'', b'a' * 9000000):
            await ws.send(message)
            assert await ws.recv() == message, len(message)
        await ws.send(['in ', 'frag', 'ments'])
        assert await ws.recv() == 'in fragments'
        await asyncio.wait_for(await ws.ping(b'ping'), 5)
        await asyncio.sleep(1.5)
        await ws.close(4001, 'enough')
        assert ws.close_code == 4001, ws.close_code
    async with websockets.connect(url + '/leave') as ws:
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (4002, 'going'), ws
    print('all is well', flush=True)

asyncio.run(server() if sys.argv[1] == 'server' else client(sys.argv[2]))
'''


def python_with_websockets():
    """The one that has Debian's python3-websockets."""
    for python in (sys.executable, '/usr/bin/python3'):
        try:
            if subprocess.run([python, '-c', 'import websockets'],
                              stderr=subprocess.DEVNULL).returncode == 0:
                return python
        except OSError:
            pass
    raise Failure('no Python here can import websockets: '
                  'install the package python3-websockets')


@test()
def a_real_library_at_both_ends(w):
    """python3-websockets: compression, subprotocols, pings, close codes."""
    python = python_with_websockets()
    script = w.file('library.py', LIBRARY)
    library = w.start(Program, 'library', [python, script, 'server'])
    library.good_exits = (-15,)
    port = soon(lambda: library.lines('port '), 10, 'its port')[0].split()[1]
    server = w.server()
    w.client(server, f'http://127.0.0.1:{port}')
    host, visitors = server.visitors
    ran = w.run(python, script, 'client', f'ws://{host}:{visitors}', code=0,
                timeout=30)
    check('all is well' in ran.out, ran.log)
    soon(lambda: library.lines('closed 4001 enough'), 5, 'the close code')
