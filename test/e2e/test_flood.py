"""A flood on the TLS port: junk, and real hellos that never go on. Whoever is
honest is served meanwhile, by http and by https."""

import multiprocessing
import os
import socket
import ssl
import statistics
import time

from lib.certs import Authority
from lib.house import check, soon, test
from lib.origin import hello
from lib.visitor import Visitor
from test_tls import secure_server

SECONDS = 4
EACH_SECOND = 300
HELD = 3.0      # seconds that one of the flood stays


def a_hello(name):
    """A whole ClientHello of OpenSSL, with the key share of TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out,
                         server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError('a handshake with nobody')


def flood(address, text, count):
    """Runs in a process of its own. count: connections so far."""
    held, began = [], time.monotonic()
    while True:
        now = time.monotonic()
        while count.value < (now - began) * EACH_SECOND:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            held.append((now, sock, [text]))
            count.value += 1
        for _, sock, rest in held[-2 * EACH_SECOND:]:
            if rest:
                try:
                    sock.send(rest[0])
                    rest.clear()
                except BlockingIOError:
                    pass
                except OSError:
                    rest.clear()
        while held and now - held[0][0] > HELD:
            held.pop(0)[1].close()
        time.sleep(0.002)


class Flood:
    def __init__(self, address, text):
        self.count = multiprocessing.Value('L', 0)
        self.process = multiprocessing.Process(
            target=flood, args=(address, text, self.count), daemon=True)

    def __enter__(self):
        if self.process is not None:
            self.process.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


def times_of(ask, seconds=SECONDS):
    """Milliseconds of one request each 100 ms."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        ask()
        took = time.monotonic() - began
        times.append(1000 * took)
        time.sleep(max(0.0, 0.1 - took))
    return sorted(times)


def both(server, ca):
    """By http and by https in turn, a connection each."""
    context = ca.context()

    def clear():
        with Visitor(server.visitors) as visitor:
            check(visitor.get().status == 200, 'by http')

    def secure():
        # An address of its own, as strangers have.
        with Visitor(server.secure, source='127.0.0.2', host='localhost',
                     tls=ca.tls('localhost', context)) as visitor:
            check(visitor.get().status == 200, 'by https')

    http, https = [], []
    for _ in range(4):
        http += times_of(clear, SECONDS / 4)
        https += times_of(secure, SECONDS / 4)
    return sorted(http), sorted(https)


def shown(times):
    return (f'{statistics.median(times):.1f} ms, at most {times[-1]:.1f} ms '
            f'({len(times)})')


@test(alone=True, timeout=90)
def floods_delay_nobody(w):
    ca = Authority(w.folder)
    server = secure_server(w, *ca.sign('localhost').flags)
    w.client(server, w.origin(hello))
    slowest = 0
    for name, text in (('nobody', None), ('junk', os.urandom(400)),
                       ('hellos', a_hello('localhost'))):
        if text is None:
            http, https = both(server, ca)
        else:
            with Flood(server.secure, text) as crowd:
                soon(lambda c=crowd: c.count.value > EACH_SECOND, 10, 'a flood')
                http, https = both(server, ca)
                print(f'{crowd.count.value} of {name}')
        print(f'beside {name}: http {shown(http)}, https {shown(https)}')
        slowest = max(slowest, http[-1], https[-1])
    # Not how fast: that they were served at all, and nobody for long.
    check(slowest < 2000 * (5 if w.sanitized else 1), slowest, 'ms')
    check(len(server.lines('TLS handshake failed')) < 40, 'a line for each')
