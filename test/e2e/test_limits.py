"""What visitors may take: connections, heads, and time to take an answer; and
the user's own pages for who is refused."""

import contextlib
import threading
import time

from lib.house import check, equal, none, soon, test, within
from lib.origin import hello
from lib.procs import NO_LEAK_CHECK
from lib.wire import Cut

TOLD = '127.0.0.2'
LIMIT = 'connection refused'


def told(w, server, address):
    """A visitor from elsewhere: a proxy says so."""
    visitor = w.visitor(server, source=TOLD)
    family = 'TCP6' if ':' in address else 'TCP4'
    local = '::1' if ':' in address else '192.0.2.9'
    visitor.send(f'PROXY {family} {address} {local} 4711 80\r\n'.encode())
    return visitor


def waiting(origin, visitor):
    """Its request has reached the origin, which is in no hurry."""
    count = len(origin.requests)
    visitor.ask(target='/wait')
    soon(lambda: len(origin.requests) > count, 5, 'the request')


# --- connections -------------------------------------------------------------

@test()
def max_visitors(w):
    """The longest idle gives way; without one, a 503 and a line in the log."""
    go = threading.Event()

    def answer(x):
        x.read()
        if x.target == '/wait':
            go.wait(20)
        x.reply(200, b'hello\n')

    server, _, origin = w.pair(answer, '--max-visitors', '3')
    first, second, third = (w.visitor(server) for _ in range(3))
    for visitor in (first, second, third):
        equal(visitor.get().status, 200, 'within the limit')
    equal(first.get().status, 200, 'again')  # now the second is idle longest
    fourth = w.visitor(server)
    equal(fourth.get().status, 200, 'one more')
    equal(second.how_it_ends(5), (b'', 'eof'), 'the longest idle')
    for visitor in (first, third, fourth):
        waiting(origin, visitor)
    fifth = w.visitor(server)
    head = fifth.answer()  # before it asks
    equal((head.status, head.get('Retry-After'), head.get('Connection')),
          (503, '2', 'close'), 'one too many')
    equal(fifth.how_it_ends(5), (b'', 'eof'), 'its end')
    check('limit=max_visitors' in server.lines(LIMIT)[0], 'the log')
    go.set()
    for visitor in (first, third, fourth):
        equal(visitor.answer().status, 200, 'those before')
    first.close()
    soon(lambda: server.get().status == 200, 5, 'room again')


@test()
def max_visitors_per_address(w):
    server, _, origin = w.pair(hello, '--max-visitors-per-address', '2',
                               '--proxy-protocol', '--trusted-proxy', TOLD)
    with contextlib.ExitStack() as stack:
        def come(address):
            visitor = stack.enter_context(told(w, server, address))
            visitor.ask()
            head = visitor.answer()
            return head.status, head.get('Connection')

        for name, address, wanted in (
                ('one', '203.0.113.1', (200, None)),
                ('two', '203.0.113.1', (200, None)),
                ('three', '203.0.113.1', (429, 'close')),
                ('another address', '203.0.113.2', (200, None)),
                ('one of IPv6', '2001:db8::1', (200, None)),
                ('its neighbour', '2001:db8::ffff:2', (200, None)),
                ('a third in its /64', '2001:db8::3', (429, 'close')),
                ('another /64', '2001:db8:0:1::1', (200, None)),
                ('loopback', '127.0.0.1', (200, None)),
                ('loopback', '127.0.0.1', (200, None)),
                ('loopback', '127.0.0.1', (200, None)),
                ('a trusted proxy', TOLD, (200, None)),
                ('a trusted proxy', TOLD, (200, None)),
                ('a trusted proxy', TOLD, (200, None))):
            equal(come(address), wanted, name)
    equal([line for line in server.lines(LIMIT)
           if 'limit=max_visitors_per_address' in line
           and 'remote=203.0.113.1' in line][:1] != [], True, 'the log')
    soon(lambda: come_again(w, server), 5, 'room again')


def come_again(w, server):
    with told(w, server, '203.0.113.1') as visitor:
        visitor.ask()
        return visitor.answer().status == 200


@test()
def a_flood_is_told_or_cut_and_nobody_waits(w):
    """Beyond those who are told, connections are reset; the log stays short,
    and who was there is served."""
    server, _, origin = w.pair(hello, '--max-visitors-per-address', '1',
                               '--proxy-protocol', '--trusted-proxy', TOLD)
    with told(w, server, '203.0.113.1') as first, \
            contextlib.ExitStack() as stack:
        first.ask()
        equal(first.answer().status, 200, 'the first')
        flood = [stack.enter_context(told(w, server, '203.0.113.1'))
                 for _ in range(400)]
        first.ask()
        with within(5, 'an answer beside the flood'):
            equal(first.answer().status, 200, 'the first again')
        ends = {'told': 0, 'cut': 0}
        for visitor in flood:
            try:
                equal(visitor.answer().status, 429, 'one too many')
                ends['told'] += 1
            except (Cut, ConnectionError):
                ends['cut'] += 1
        check(ends['told'] > 200 and ends['told'] + ends['cut'] == 400, ends)
    check(len(server.lines(LIMIT)) < 20, 'lines in the log')
    equal(len(origin.requests), 2, 'at the origin')


@test()
def clients_have_their_own_room(w):
    """Visitors who fill a node shut no client out of a port of its own."""
    origin = w.origin(hello)
    server = w.server('--max-visitors', '1', control=True)
    with w.visitor(server) as visitor:
        visitor.send(b'GET / HTTP/1.1\r\n')  # not idle any more
        w.client(server, origin.url)
        w.client(server, origin.url)  # who is a client is no caller
    soon(lambda: server.get().status == 200, 5, 'an answer')


# --- heads -------------------------------------------------------------------

@test()
def heads_and_trailers(w):
    server, _, origin = w.pair(hello, '--max-head', '2000', '--max-fields',
                               '10', '--max-trailers', '100')
    few = [(f'X-{i}', 'y') for i in range(8)]
    problems = []
    for name, wanted, fields, trailers in (
            ('a head', 200, [('X', 'y' * 1800)], ()),
            ('a long head', 431, [('X', 'y' * 2000)], ()),
            ('fields', 200, few, ()),
            ('a field too many', 431, few + [('X-A', '1'), ('X-B', '1')], ()),
            ('trailers', 200, [], [('X', 'y' * 80)]),
            ('long trailers', 431, [], [('X', 'y' * 200)])):
        with w.visitor(server) as visitor:
            if trailers:
                visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked')])
                visitor.chunk(b'x')
                visitor.last_chunk(trailers)
            else:
                visitor.ask(fields=fields)
            if (got := visitor.answer().status) != wanted:
                problems.append(f'{name}: {got}')
    none(problems)


# --- time to take an answer --------------------------------------------------

@test()
def who_takes_nothing_is_cut(w):
    """An answer that nobody takes ends, whole for nobody; one that is taken
    slowly does not, nor an event stream that has nothing to say. In the
    sandbox, which must let the server ask."""
    ended = []

    def answer(x):
        x.read()
        if x.target == '/events':
            x.start_chunked([('Content-Type', 'text/event-stream')])
            x.chunk(b'data: 1\n\n')
            time.sleep(2.5)
            x.chunk(b'data: 2\n\n')
            x.last_chunk()
            return
        x.start_chunked()
        try:
            for _ in range(1000):
                x.chunk(b'x' * 65536)
            x.last_chunk()
            ended.append('whole')
        except (Cut, OSError):
            ended.append('cut')

    server, _, _ = w.pair(answer, '--body-timeout', '1s', '--sandbox',
                          env=NO_LEAK_CHECK)
    with w.visitor(server, rcvbuf=4096) as stuck, \
            w.visitor(server) as events:
        stuck.ask(target='/stuck')
        events.ask(target='/events')
        stuck.final_head()
        equal(events.answer().body, b'data: 1\n\ndata: 2\n\n', 'the events')
        line = soon(lambda: server.lines('answer cut'), 10, 'the cut')[0]
        check('took none of it' in line, line)
        soon(lambda: ended == ['cut'], 5, 'the origin hears of it')
        soon(lambda: any('result=ETIMEDOUT' in line for line
                         in server.lines('path=/stuck')), 5, 'the log')
    with w.visitor(server, rcvbuf=4096) as slow:
        slow.ask(target='/slow')
        slow.final_head()
        for _ in range(12):
            time.sleep(0.25)
            slow.exactly(8192)
    equal(len(server.lines('answer cut')), 1, 'cuts')


# --- pages -------------------------------------------------------------------

@test()
def error_pages(w):
    gone = w.file('gone.html', '<p>back soon\n')
    other = w.file('other.json', '{"error": true}\n')
    server = w.server('--error-page', f'503={gone}', '--error-page',
                      f'4xx={other}')
    with w.visitor(server) as visitor:
        for method, body in (('GET', b'<p>back soon\n'), ('HEAD', b'')):
            head = visitor.get(method=method)
            equal((head.status, head.get('Content-Type'), head.body,
                   head.get('Content-Length'), head.get('Retry-After')),
                  (503, 'text/html; charset=utf-8', body, '13', '2'), method)
            check(any(f'id={head.get("X-Request-Id")}' in line for line
                      in server.lines('status=503')), 'the id')
        visitor.send(b'GET / HTTP/1.1\r\nHost: a b\r\n\r\n')
        head = visitor.answer()
        equal((head.status, head.get('Content-Type'), head.body),
              (400, 'application/json', b'{"error": true}\n'), '400')
    # a client has no use for them
    with w.visitor(server) as visitor:
        head = visitor.upgrade('/tunnel')
        visitor.body(head)
        equal((head.status, b'token' in head.body), (401, True), 'a tunnel')


@test()
def error_pages_that_are_none(w):
    page = w.file('page.html', 'x')
    large = w.file('large.html', 'x' * 65537)
    for value, words in (
            ('503', "'503' is not STATUS=FILE"),
            (f'200={page}', 'with a status from 400 to 599, 4xx or 5xx'),
            (f'6xx={page}', 'is not STATUS=FILE'),
            (f'50x={page}', 'is not STATUS=FILE'),
            (f'{page}', 'is not STATUS=FILE'),
            ('503=/nonexistent/page', 'cannot open /nonexistent/page: No such '
             'file or directory'),
            (f'503={w.folder}', 'Is a directory'),
            (f'503={large}', 'is over 65536 bytes')):
        ran = w.run('inlets-server', '--bind-addr', '127.0.0.1',
                    '--error-page', value, code=2)
        check(words in ran.err and '--error-page' in ran.err, value,
              ran.err)
