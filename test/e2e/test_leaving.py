"""A visitor who leaves, in every state of its connection: the origin hears of
it, and nothing of it stays."""

import contextlib
import itertools
import select
import time

from lib.house import check, equal, none, soon, test
from lib.origin import hello
from lib.wire import Cut

# The exit node is given a second (of which a FIN that may be a half-close takes
# 0.75); the machines that run this are given as much again.
NOTICED_S = 2.0
LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def until_left(x, timeout=10.0):
    """When the other side of the origin's connection ended it, be it behind
    bytes that nobody read."""
    poll = select.poll()
    poll.register(x.sock, LEFT)
    return time.monotonic() if poll.poll(timeout * 1000) else None


def send_until_left(x, pause):
    """Sends a download that never ends."""
    x.start_chunked()
    try:
        while True:
            x.chunk(bytes(16384))
            time.sleep(pause)
    except (Cut, OSError):
        return time.monotonic()


def scripted(ends):
    """An origin that writes down when each exchange was cancelled."""
    def answer(x):
        kind = x.target.strip('/')
        if kind == 'hello':
            hello(x)
            return
        if kind == 'websocket':
            x.upgrade()
        elif kind == 'events':
            x.start_chunked([('Content-Type', 'text/event-stream')])
            x.chunk(b'data: 1\n\n')
        elif kind == 'early':   # the answer is out, the upload goes on
            x.reply(200, b'hello\n')
        if kind in ('download', 'stalled'):
            ends[kind] = send_until_left(x, 0.002)
        else:
            ends[kind] = until_left(x)
        raise Cut('eof', 'this exchange')
    return answer


def ask_for(visitor, kind):
    """Brings a visitor into that state."""
    if kind == 'websocket':
        check(visitor.upgrade('/websocket').accepted, 'no websocket')
    elif kind in ('body', 'early'):
        visitor.ask('POST', f'/{kind}', [('Content-Length', 100000)])
        visitor.send(b'x' * 10)
    elif kind == 'chunks':
        visitor.ask('POST', '/chunks', [('Transfer-Encoding', 'chunked')])
        visitor.chunk(b'x' * 10)
    elif kind == 'paused':
        visitor.ask('POST', '/paused', [('Content-Length', 1 << 30)])
        visitor.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):  # until nobody takes more
            while True:
                visitor.sock.send(bytes(65536))
    else:
        visitor.ask(target=f'/{kind}')
    if kind in ('download', 'stalled', 'events', 'early'):
        visitor.final_head()
    if kind == 'stalled':
        time.sleep(1)   # until the buffers on the way are full


# Not asked for yet: none of it may reach the origin.
BEHIND = (b'', b'\r\n', b'G',
          b'GET /hello HTTP/1.1\r\nHost: demo.local\r\n\r\n')
STATES = ('waiting', 'body', 'chunks', 'paused', 'download', 'stalled',
          'events', 'websocket', 'early')


def leave_in_every_state(w, leave, states=STATES):
    ends, problems = {}, []
    server, _, origin = w.pair(scripted(ends))
    for kind in states:
        count = len(origin.requests)
        visitor = w.visitor(server, rcvbuf=4096 if kind == 'stalled' else None)
        ask_for(visitor, kind)
        soon(lambda: len(origin.requests) > count, 5, kind)
        time.sleep(0.1)
        left = time.monotonic()
        leave(visitor)
        try:
            soon(lambda: kind in ends, 5, kind)
        except AssertionError:
            problems.append(f'{kind}: the origin never heard of it')
            continue
        if ends[kind] is None or ends[kind] - left > NOTICED_S:
            problems.append(f'{kind}: {ends[kind]} after {left}')
    none(problems)
    equal(server.get('/hello').status, 200, 'others')
    soon(lambda: not origin.alive or all_idle(origin), 5, 'their end')


def all_idle(origin):
    """Only the connection of /hello is kept."""
    return len(origin.alive) <= 1


@test()
def by_rst(w):
    leave_in_every_state(w, lambda visitor: visitor.reset())


@test()
def by_closing(w):
    """Without "paused": a FIN behind bytes that the visitor's kernel cannot
    send is never sent (visitor_edge.fin_while_reading_is_paused has fewer)."""
    leave_in_every_state(w, lambda visitor: visitor.close(),
                         [state for state in STATES if state != 'paused'])


@test()
def by_fin_with_bytes_behind_the_request(w):
    """Bytes that wait for their turn hide no FIN: the end comes as soon as
    without them, whether the answer has begun or not."""
    ends, problems = {}, []
    server, _, origin = w.pair(scripted(ends))
    for kind, behind in itertools.product(('waiting', 'events', 'post'),
                                          BEHIND):
        how = 'end' if kind == 'waiting' else 'close'
        ends.clear()
        count = len(origin.requests)
        visitor = w.visitor(server)
        visitor.ask('POST' if kind == 'post' else 'GET', f'/{kind}',
                    body=b'whole' if kind == 'post' else None)
        visitor.send(behind)
        soon(lambda: len(origin.requests) > count, 5, kind)
        if kind == 'events':
            visitor.final_head()
            visitor.take(len(visitor.buf))
        time.sleep(0.05)
        left = time.monotonic()
        getattr(visitor, how)()
        soon(lambda: ends or time.monotonic() > left + 3, 5, 'time')
        if not ends or ends[kind] - left > NOTICED_S:
            problems.append(f'{kind} {behind} {how}: {ends} after {left}')
        visitor.close()
        soon(lambda: not origin.alive, 5, 'its end')
        equal(len(origin.requests), count + 1, 'at the origin')
    none(problems)


@test()
def half_closed_and_slow_gets_all(w):
    """Who closes its side and reads slowly, but does, has not left."""
    body = bytes(range(256)) * 32768

    def answer(x):
        x.read()
        x.reply(200, body)

    server, _, _ = w.pair(answer)
    with w.visitor(server, rcvbuf=65536, timeout=20) as visitor:
        visitor.ask()
        visitor.end()
        head = visitor.final_head()
        began, got = time.monotonic(), 0
        while time.monotonic() - began < 4:  # 40 kB/s
            got += len(visitor.exactly(8192))
            time.sleep(0.2)
        rest = visitor.exactly(len(body) - got)
        equal((head.status, rest == body[got:]), (200, True), 'the rest')


@test()
def before_the_request_is_whole(w):
    """Nothing of it reaches an origin, nothing of it stays."""
    server, _, origin = w.pair(hello)
    equal(server.get().status, 200, 'the first')
    before = server.fds()
    for data in (b'', b'G', b'GET / HTTP/1.1\r\n',
                 b'GET / HTTP/1.1\r\nHost: demo.local\r\n'):
        for how in ('reset', 'close', 'end'):
            visitor = w.visitor(server)
            visitor.send(data)
            time.sleep(0.02)
            getattr(visitor, how)()
    soon(lambda: server.fds() <= before, 5, 'their end')
    equal(len(origin.requests), 1, 'at the origin')


@test()
def two_hundred_at_once(w):
    ends = []

    def answer(x):
        if x.target == '/hello':
            hello(x)
            return
        ends.append(until_left(x))
        raise Cut('eof', 'this exchange')

    server, _, origin = w.pair(answer)
    visitors = [w.visitor(server) for _ in range(200)]
    for visitor in visitors:
        visitor.ask(target='/wait')
    origin.wait(200)
    left = time.monotonic()
    for visitor in visitors:
        visitor.reset()
    soon(lambda: len(ends) == 200, 5, 'all cancelled')
    check(None not in ends and max(ends) - left < NOTICED_S, 'in time')
    equal(server.get('/hello').status, 200, 'others')
