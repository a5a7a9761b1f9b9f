"""Bodies, framing and heads of HTTP/1.1 through the tunnel."""

import hashlib
import os
import random
import threading
import time
import zlib

from lib.house import check, equal, soon, test, within
from lib.origin import echo, hello
from lib.wire import Garbage, field_lines

KIB = 1024
MIB = 1 << 20
# Around the frames, the windows and the buffers on the way.
SIZES = [0, 1, 2, 1023, 1024, 1025, 16383, 16384, 16385, 32768, 65535, 65536,
         65537, 262143, 262144, 262145, 278529, MIB + 1]


# --- bodies ------------------------------------------------------------------

@test()
def bodies_of_all_sizes(w):
    """Counted and chunked, up and down."""
    server, _, _ = w.pair(echo)
    with w.visitor(server) as visitor:
        for size in SIZES:
            body = random.Random(size).randbytes(size)
            answer = visitor.get('/', method='POST', body=body)
            check(answer.body == body, f'{size} counted bytes changed')
            equal(answer.get('Content-Length'), str(size), 'length')
            visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked')])
            for start in range(0, size, 7001):
                visitor.chunk(body[start:start + 7001])
            visitor.last_chunk()
            answer = visitor.answer()
            check(answer.body == body, f'{size} chunked bytes changed')
            check(not answer.has('Content-Length'), 'a length was made up')


@test()
def eight_mib_both_ways(w):
    server, _, _ = w.pair(echo)
    body = os.urandom(8 * MIB)
    for _ in range(2):
        answer = server.get(method='POST', body=body)
        equal(hashlib.sha256(answer.body).hexdigest(),
              hashlib.sha256(body).hexdigest(), 'echo of 8 MiB')


@test()
def upload_is_streamed(w):
    """The origin sees each part before the visitor sends the next."""
    part, seen = b'p' * 1000, threading.Semaphore(0)

    def answer(x):
        for _ in range(5):
            got = 0
            while got < len(part):
                got += len(next(x.rest))
            seen.release()
        x.reply(200, b'all')
    server, _, _ = w.pair(answer)
    for chunked in (False, True):
        with w.visitor(server) as visitor:
            visitor.ask('POST', fields=[
                ('Transfer-Encoding', 'chunked') if chunked
                else ('Content-Length', 5 * len(part))])
            for number in range(5):
                (visitor.chunk if chunked else visitor.send)(part)
                check(seen.acquire(timeout=5), f'part {number} never came')
            if chunked:
                visitor.last_chunk()
            equal(visitor.answer().body, b'all', 'the answer')


@test()
def upload_and_download_at_once(w):
    """A conversation inside one exchange: part for part."""
    def answer(x):
        x.start_chunked()
        for piece in x.rest:
            x.chunk(piece.upper())
        x.last_chunk()
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked')])
        visitor.chunk(b'start')
        pieces = visitor.pieces(visitor.final_head())
        equal(bytes(next(pieces)), b'START', 'the first')
        for word in (b'one', b'two', b'three'):
            visitor.chunk(word)
            equal(bytes(next(pieces)), word.upper(), 'an answer part')
        visitor.last_chunk()
        equal(list(pieces), [], 'the end')


@test()
def trailers_both_ways(w):
    def answer(x):
        body = x.read()
        x.start_chunked([('Trailer', 'X-Sum, X-More')])
        x.chunk(body)
        x.last_chunk([('X-Sum', zlib.crc32(body)), ('X-More', 'a b c')])
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked'),
                                    ('TE', 'trailers'),
                                    ('Trailer', 'X-Up')])
        visitor.chunk(b'body')
        visitor.last_chunk([('X-Up', 'sent after')])
        answer = visitor.answer()
        equal(answer.body, b'body', 'the body')
        equal(answer.trailers, [('X-Sum', str(zlib.crc32(b'body'))),
                                ('X-More', 'a b c')], 'trailers down')
        equal(origin.requests[0].trailers, [('X-Up', 'sent after')],
              'trailers up')
        equal(visitor.get(method='POST', body=b'').status, 200, 'kept alive')


@test()
def trailers_smuggle_no_fields(w):
    """Framing and routing fields in trailers are dropped or refused."""
    server, _, origin = w.pair(echo)
    for name in ('Content-Length', 'Transfer-Encoding', 'Host'):
        with w.visitor(server) as visitor:
            visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked')])
            visitor.chunk(b'body')
            visitor.last_chunk([(name, '7'), ('X-Good', '1')])
            head = visitor.final_head()
            check(head.status in (200, 400, 502), head)
        for request in origin.requests:
            check(name not in dict(request.trailers), request.trailers)
    equal(server.get(method='POST', body=b'x').body, b'x', 'afterwards')


@test()
def head_204_and_304_have_no_body(w):
    def answer(x):
        x.read()
        if x.target == '/204':
            x.start(204, [('X-Kind', 'empty')])
        elif x.target == '/304':
            x.start(304, [('ETag', '"x"'), ('Content-Length', 1234)])
        elif x.target == '/chunked':
            x.start_chunked()   # to a HEAD: without one chunk
        else:
            x.start(200, [('Content-Length', 1234)])
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        for _ in range(2):
            head = visitor.get('/', method='HEAD')
            equal((head.status, head.get('Content-Length')), (200, '1234'),
                  'HEAD')
            equal(visitor.get('/chunked', method='HEAD').status, 200, 'HEAD')
            head = visitor.get('/204')
            equal((head.status, head.get('X-Kind')), (204, 'empty'), '204')
            check(not head.has('Content-Length')
                  and not head.has('Transfer-Encoding'), head.fields)
            head = visitor.get('/304')
            equal((head.status, head.get('ETag')), (304, '"x"'), '304')
        equal(bytes(visitor.buf), b'', 'bytes too many')


@test()
def methods(w):
    server, _, origin = w.pair(hello)
    with w.visitor(server) as visitor:
        for method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS',
                       'PROPFIND', 'REPORT'):
            equal(visitor.get(method=method).status, 200, method)
            equal(origin.requests[-1].method, method, 'at the origin')
        body = b'a body in a DELETE'
        visitor.get(method='DELETE', body=body)
        equal(origin.requests[-1].body, body, 'the body of a DELETE')


@test()
def statuses_and_reasons(w):
    server, _, _ = w.pair(lambda x: x.start(
        int(x.target[1:]), [('Content-Length', 0), ('X-A', 'b')],
        reason='Quite So'))
    with w.visitor(server) as visitor:
        for status in (200, 201, 207, 301, 307, 400, 401, 404, 418, 429, 451,
                       500, 502, 503, 504, 599):
            head = visitor.get(f'/{status}')
            equal((head.status, head.get('X-A')), (status, 'b'), 'answer')
            equal(head.reason, 'Quite So', 'reason')


# --- interim answers and Expect ----------------------------------------------

@test()
def expect_100_continue_end_to_end(w):
    """The 100 is the origin's, and so is a refusal without one."""
    go = w.gate()

    def answer(x):
        if x.target == '/no':
            x.reply(417, b'no')
            return x.close()
        check(go.wait(10), 'the test never said go')
        x.start(100)
        x.reply(200, x.read())
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/yes', [('Expect', '100-continue'),
                                     ('Content-Length', 5)])
        equal(origin.wait().request.get('Expect'), '100-continue', 'Expect')
        visitor.sock.settimeout(0.3)
        try:
            raise Garbage(f'the proxy said {visitor.answer_head()} by itself')
        except TimeoutError:
            pass
        visitor.sock.settimeout(10)
        go.set()
        equal(visitor.answer_head().status, 100, 'interim answer')
        visitor.send(b'hello')
        equal(visitor.answer().body, b'hello', 'the answer')
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/no', [('Expect', '100-continue'),
                                    ('Content-Length', 5)])
        head = visitor.answer()
        equal((head.status, head.interim), (417, []), 'the refusal')


@test()
def final_answers_to_half_a_request_say_close(w):
    """RFC 9110 10.1.1: the visitor need not send the body any more, so that
    nobody can tell its next request from the rest of this one. An upstream
    that wants the rest in spite of its good answer gets it."""
    def answer(x):
        status = int(x.target.split('/')[1])
        x.reply(status, b'early')
        if x.target.endswith('/more'):
            got.append(x.read())
    got = []
    server, _, origin = w.pair(answer)
    for status in (200, 302, 403, 413, 503):
        for expect in (True, False):
            fields = [('Expect', '100-continue')] * expect
            with w.visitor(server) as visitor:
                visitor.ask('POST', f'/{status}/', [('Content-Length', 5)] +
                            fields)
                head = visitor.answer()
                what = f'{status} {expect}'
                equal((head.status, head.body), (status, b'early'), what)
                close = expect or status >= 400
                equal(head.get('Connection'), 'close' if close else None, what)
                if expect:
                    visitor.send(b'GET /no HTTP/1.1\r\nHost: demo.local\r\n'
                                 b'\r\n')
                if close:   # RFC 9112 9.6: not only when the upload goes on
                    with within(2, 'the end'):
                        equal(visitor.how_it_ends(3), (b'', 'eof'), what)
    check('/no' not in origin.targets(), 'the next request was taken')
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/200/more', [('Content-Length', 5)])
        equal(visitor.answer().body, b'early', 'the early answer')
        visitor.send(b'hello')
        soon(lambda: got == [b'hello'], 5, 'the rest of the upload')
        equal(visitor.get('/201/').status, 201, 'the next')


@test()
def early_hints(w):
    go = w.gate()

    def answer(x):
        for number in range(3):
            x.start(103, [('Link', f'</{number}.css>; rel=preload')])
        check(go.wait(10), 'the hints never came')
        x.reply(200, b'page')
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask()
        for number in range(3):
            head = visitor.answer_head()
            equal((head.status, head.get('Link')),
                  (103, f'</{number}.css>; rel=preload'), 'hint')
        go.set()
        equal(visitor.answer().body, b'page', 'the page')


@test()
def http10_visitors_get_no_interim(w):
    def answer(x):
        x.start(103, [('Link', '<x>')])
        x.reply(200, b'page')
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask(version='HTTP/1.0')
        equal(visitor.answer_head().status, 200, 'the first head')


@test()
def early_answer_while_the_upload_goes_on(w):
    """The origin has read enough; the visitor is told, however much is still
    to come."""
    def answer(x):
        next(x.rest)
        x.reply(413, b'too much', [('Connection', 'close')])
        x.close()
    server, _, _ = w.pair(answer)
    for _ in range(5):
        with w.visitor(server) as visitor:
            visitor.ask('POST', fields=[('Content-Length', 64 * MIB)])
            visitor.send(bytes(64 * KIB))
            visitor.sock.settimeout(0.05)
            with within(5, 'the early answer'):
                head = early_head(visitor)
            equal(head.status, 413, 'early answer')
            visitor.sock.settimeout(5)
            equal(visitor.body(head), b'too much', 'its body')
    equal(server.get(method='POST', body=b'x' * 9).status, 413, 'afterwards')


def early_head(visitor):
    """Sends on until a head comes; an RST behind it is fine."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            visitor.send(bytes(64 * KIB))
        except OSError:     # it no longer reads; the answer is there
            pass
        try:
            return visitor.final_head()
        except TimeoutError:
            continue
    raise AssertionError('no early answer came')


# --- connections -------------------------------------------------------------

@test()
def keep_alive(w):
    server, _, _ = w.pair(hello)
    with w.visitor(server) as visitor:
        for number in range(100):
            answer = visitor.get(f'/{number}')
            equal(answer.body, f'hello from /{number}\n'.encode(), 'body')
            check(not answer.has('Connection'), answer.fields)
        visitor.ask(fields=[('Connection', 'close')])
        answer = visitor.answer()
        equal(answer.get('Connection', '').lower(), 'close', 'Connection')
        equal(visitor.how_it_ends(2), (b'', 'eof'), 'the end')


@test()
def pipelining_keeps_the_order(w):
    def answer(x):
        body = x.read()
        time.sleep(random.random() / 100)
        x.reply(200, x.target.encode() + b' ' + body)
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        stream, wanted = b'', []
        for number in range(40):
            body = b'b' * (number * 37 % 300)
            stream += (f'POST /{number} HTTP/1.1\r\nHost: demo.local\r\n'
                       f'Content-Length: {len(body)}\r\n\r\n').encode() + body
            wanted.append(f'/{number} '.encode() + body)
        visitor.send(stream)
        for body in wanted:
            equal(visitor.answer().body, body, 'in order')


@test()
def pipelined_requests_in_pieces(w):
    server, _, _ = w.pair(hello)
    stream = b''.join(
        f'GET /{n} HTTP/1.1\r\nHost: demo.local\r\n\r\n'.encode()
        for n in range(5))
    with w.visitor(server) as visitor:
        for byte in stream:
            visitor.send(bytes([byte]))
        for number in range(5):
            equal(visitor.answer().body, f'hello from /{number}\n'.encode(),
                  'in order')


@test()
def half_closed_visitor_is_answered(w):
    """printf ... | nc: the request is whole, so is the answer."""
    def answer(x):
        x.read()
        x.start_chunked()
        for number in range(5):
            time.sleep(0.05)
            x.chunk(b'part')
        x.last_chunk()
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask()
        visitor.end()
        equal(visitor.answer().body, b'part' * 5, 'the answer')
        equal(visitor.how_it_ends(3), (b'', 'eof'), 'the end')


@test()
def upstream_connections_are_kept(w):
    server, _, origin = w.pair(hello)
    with w.visitor(server) as visitor:
        for _ in range(100):
            equal(visitor.get().status, 200, 'one after the other')
    equal(origin.opened, 1, 'connections for requests in a row')
    visitors = [w.visitor(server) for _ in range(8)]
    for _ in range(20):
        for visitor in visitors:
            visitor.ask()
        for visitor in visitors:
            equal(visitor.answer().status, 200, 'eight at once')
    check(origin.opened <= 10, origin.opened, 'connections for 8 at once')


@test()
def upstream_that_closes_idle_connections(w):
    """Nobody pays for a kept connection that the origin had closed."""
    def answer(x):
        hello(x)
        x.close()       # without having said so
    server, _, _ = w.pair(answer)
    for pause in (0, 0.02):
        with w.visitor(server) as visitor:
            for number in range(30):
                equal(visitor.get(f'/{number}').status, 200,
                      f'request {number}, {pause} s behind the last')
                time.sleep(pause)


@test()
def upstream_that_says_close(w):
    server, _, origin = w.pair(lambda x: (
        x.reply(200, b'bye', [('Connection', 'close')]), x.close()))
    with w.visitor(server) as visitor:
        for _ in range(10):
            answer = visitor.get()
            equal(answer.body, b'bye', 'body')
            check(not answer.has('Connection'), 'hop-by-hop: Connection')
    equal(origin.opened, 10, 'connections')


@test()
def http10_visitors(w):
    def answer(x):
        if x.target == '/unknown':
            x.start_chunked()
            x.chunk(b'some ')
            x.chunk(b'thing')
            return x.last_chunk()
        hello(x)
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask(target='/unknown', version='HTTP/1.0')
        head = visitor.final_head()
        check(not head.has('Transfer-Encoding'), 'chunks for HTTP/1.0')
        equal(visitor.how_it_ends(3), (b'some thing', 'eof'), 'until close')
    with w.visitor(server) as visitor:
        visitor.ask(target='/counted', version='HTTP/1.0')
        equal(visitor.answer().body, b'hello from /counted\n', 'counted')
        equal(visitor.how_it_ends(3), (b'', 'eof'), 'closed')
    with w.visitor(server) as visitor:
        for _ in range(3):
            visitor.ask(version='HTTP/1.0',
                        fields=[('Connection', 'keep-alive')])
            answer = visitor.answer()
            if answer.get('Connection', '').lower() != 'keep-alive':
                break       # it may refuse, but must then close
        else:
            return
        equal(visitor.how_it_ends(3), (b'', 'eof'), 'closed')


@test()
def http10_upstream(w):
    def answer(x):
        x.read()
        x.send(b'HTTP/1.0 200 OK\r\n\r\nuntil the end')
        x.close()
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        for _ in range(3):
            answer = visitor.get()
            equal(answer.body, b'until the end', 'body')
            equal(answer.version, 'HTTP/1.1', 'our version')


@test()
def many_at_once_are_not_mixed_up(w):
    def answer(x):
        body = x.read()
        x.reply(200, x.target.encode() + b':' + body)
    server, _, _ = w.pair(answer)
    errors = []

    def visit(name):
        try:
            chance = random.Random(name)
            with server.visitor(timeout=30) as visitor:
                for number in range(25):
                    body = chance.randbytes(chance.choice(
                        (0, 10, 5000, 70000)))
                    got = visitor.get(f'/{name}/{number}', method='POST',
                                      body=body).body
                    check(got == f'/{name}/{number}:'.encode() + body,
                          f'visitor {name} request {number}: wrong body')
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=visit, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    equal(errors, [], 'errors of visitors')


# --- streaming ---------------------------------------------------------------

@test(alone=True)
def server_sent_events_without_delay(w):
    sent = []

    def answer(x):
        x.start(200, [('Content-Type', 'text/event-stream'),
                      ('Cache-Control', 'no-cache')])
        for number in range(20):
            sent.append(time.monotonic())
            x.send(f'data: {number}\n\n'.encode())
            time.sleep(0.05)
        x.close()
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask(fields=[('Accept', 'text/event-stream')])
        head = visitor.final_head()
        equal(head.get('Content-Type'), 'text/event-stream', 'type')
        for number, piece in enumerate(visitor.pieces(head)):
            late = time.monotonic() - sent[number]
            equal(bytes(piece), f'data: {number}\n\n'.encode(), 'event')
            check(late < 0.2, f'event {number} came {late:.3f} s late')
        equal(number, 19, 'the last event')


@test()
def thirty_quiet_seconds_are_no_timeout(w):
    """A stream whose bytes flow lives longer than any limit for a head."""
    def answer(x):
        x.start_chunked([('Content-Type', 'text/event-stream')])
        for _ in range(7):
            x.chunk(b'data: x\n\n')
            time.sleep(0.5)
        x.last_chunk()
    server, _, _ = w.pair(answer, '--gateway-timeout', '1s', '--idle-timeout',
                          '1s', '--head-timeout', '1s')
    equal(server.get().body, b'data: x\n\n' * 7, 'a stream of 3.5 s')


# --- fields ------------------------------------------------------------------

HOP_BY_HOP = [
    ('Connection', 'keep-alive, X-Private, close-not'), ('X-Private', 'no'),
    ('Keep-Alive', 'timeout=5'), ('Proxy-Connection', 'keep-alive'),
    ('TE', 'gzip'), ('Proxy-Authorization', 'Basic x'),
]


@test()
def hop_by_hop_fields_stop_here(w):
    def answer(x):
        x.read()
        x.reply(200, b'ok', [
            ('Connection', 'X-Inner'), ('X-Inner', '1'), ('X-Kept', '2'),
            ('Keep-Alive', 'timeout=5'), ('Proxy-Authenticate', 'Basic'),
            ('Proxy-Connection', 'keep-alive')])
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask(fields=[*HOP_BY_HOP, ('X-Kept', '1'),
                            ('Upgrade', 'h2c'), ('HTTP2-Settings', 'AAMAAABk')
                            ])
        down = visitor.answer()
        up = origin.requests[0]
        for name, _ in HOP_BY_HOP[1:] + [('Upgrade', ''),
                                         ('HTTP2-Settings', '')]:
            check(not up.has(name), f'{name} came to the origin')
        check('x-private' not in up.get('Connection', '').lower(),
              up.get('Connection'))
        equal(up.get('X-Kept'), '1', 'other fields up')
        for name in ('X-Inner', 'Keep-Alive', 'Proxy-Authenticate',
                     'Proxy-Connection'):
            check(not down.has(name), f'{name} came to the visitor')
        equal(down.get('X-Kept'), '2', 'other fields down')


@test()
def forwarded_fields_are_ours(w):
    server, _, origin = w.pair(hello)
    spoofed = [(name, 'evil') for name in (
        'X-Forwarded-For', 'x-forwarded-host', 'X-FORWARDED-PROTO',
        'Forwarded', 'X-Forwarded-For', 'X_Forwarded_For', 'X-Real-IP',
        'X-Forwarded-Port', 'X-Request-Id')]
    host = f'Demo.Local:{server.visitors[1]}'
    with w.visitor(server, source='127.0.0.9') as visitor:
        visitor.get(fields=spoofed, host=host)
    seen = origin.requests[0]
    for name, value in (('X-Forwarded-For', '127.0.0.9'),
                        ('X-Forwarded-Proto', 'http'),
                        ('X-Forwarded-Host', host), ('Host', host)):
        equal(seen.all(name), [value], name)
    check(b'evil' not in seen.raw, seen.raw)


@test()
def fields_pass_untouched(w):
    """Values, order and case of names; nothing is added that changes the
    answer."""
    up = [('x-CaSe', 'a'), ('X-Empty', ''), ('X-Twice', '1'),
          ('X-Twice', '2'), ('X-Utf8', '\xc3\xa4'), ('Cookie', 'a=1; b=2'),
          ('Authorization', 'Bearer visitor'), ('X-Last', 'a, b;c="d"')]
    down = [('Set-Cookie', 'a=1; Path=/'), ('Set-Cookie', 'b=2, c=3'),
            ('Access-Control-Allow-Origin', '*'), ('x-LoWer', 'z'),
            ('Set-Cookie', 'd=4; Expires=Wed, 09 Jun 2027 10:18:14 GMT'),
            ('Server', 'mine'), ('Date', 'Thu, 01 Jan 1970 00:00:00 GMT'),
            ('WWW-Authenticate', 'Basic realm="x"'),
            ('Location', 'http://127.0.0.1:3000/moved')]
    server, _, origin = w.pair(lambda x: x.reply(200, b'x', down))
    with w.visitor(server) as visitor:
        answer = visitor.get(fields=up)
    wanted = {name for name, _ in up}
    equal([f for f in origin.requests[0].fields if f[0] in wanted], up, 'up')
    check(not origin.requests[0].has('Accept-Encoding'),
          'an Accept-Encoding was added')
    wanted = {name for name, _ in down}
    equal([f for f in answer.fields if f[0] in wanted], down, 'down')


@test()
def encoded_bodies_pass_untouched(w):
    packed = zlib.compress(b'words ' * 10000)
    page = b'<a href="http://127.0.0.1:3000/">http://demo.local/</a>' * 100

    def answer(x):
        if x.target == '/page':
            return x.reply(200, page, [('Content-Type', 'text/html')])
        x.reply(200, packed, [('Content-Encoding', 'deflate')])
    server, _, _ = w.pair(answer)
    answer = server.get(fields=[('Accept-Encoding', 'deflate')])
    equal(answer.get('Content-Encoding'), 'deflate', 'encoding')
    check(answer.body == packed, 'the packed body changed')
    check(server.get('/page').body == page, 'HTML was rewritten')


@test()
def large_heads_pass(w):
    fields = [(f'X-Up-{n}', 'u' * 15000) for n in range(4)]
    cookies = [('Set-Cookie', f'{n}=' + 'c' * 4000) for n in range(14)]
    server, _, origin = w.pair(lambda x: x.reply(200, b'x', cookies))
    with w.visitor(server) as visitor:
        for _ in range(3):
            answer = visitor.get('/' + 'q' * 3000, fields=fields)
            equal(answer.all('Set-Cookie'), [v for _, v in cookies], 'down')
            for name, value in fields:
                equal(origin.requests[-1].get(name), value, 'up')


@test()
def heads_without_end(w):
    """64 KiB in all, 128 fields, 16 KiB each; 8 KiB of target."""
    server, _, origin = w.pair(hello)
    cases = {
        'one field over 16 KiB': (431, '/', [('X-A', 'a' * 17000)]),
        'a name over 16 KiB': (431, '/', [('X' * 17000, 'a')]),
        '200 fields': (431, '/', [(f'X-{n}', 'v') for n in range(200)]),
        'over 64 KiB': (431, '/', [(f'X-{n}', 'v' * 9000)
                                   for n in range(8)]),
        'a target over 8 KiB': (414, '/' + 't' * 9000, []),
        'a target over 64 KiB': (414, '/' + 't' * 70000, []),
    }
    for name, (status, target, fields) in cases.items():
        with w.visitor(server) as visitor:
            try:
                visitor.ask(target=target, fields=fields)
            except OSError:
                pass    # refused before all was sent
            equal(visitor.answer().status, status, name)
            check(visitor.how_it_ends(3)[0] == b'', f'bytes after {name}')
    endless(w, server)
    equal(origin.requests, [], 'requests that came to the origin')
    equal(server.get().status, 200, 'afterwards')


def endless(w, server):
    """A head that never ends is answered, and not read for ever."""
    with w.visitor(server) as visitor:
        visitor.send(b'GET / HTTP/1.1\r\nHost: a\r\n')
        deadline = time.monotonic() + 15
        try:
            while time.monotonic() < deadline:
                visitor.send(field_lines([('X-' + 'n' * 500, 'v' * 500)]))
                time.sleep(0.005)
        except OSError:
            return
        raise AssertionError('a head without end was read for 15 s')


GARBAGE = {
    'no Host': b'GET / HTTP/1.1\r\n\r\n',
    'two Hosts': b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    'the same Host twice': b'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n',
    'an empty line in front of nothing': b'\r\n\r\n\r\nnonsense\r\n\r\n',
    'a bad Host': b'GET / HTTP/1.1\r\nHost: a b\r\n\r\n',
    'a Host with a path': b'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n',
    'a Host with a user': b'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n',
    'space before the colon': b'GET / HTTP/1.1\r\nHost : a\r\n\r\n',
    'a folded line': b'GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n',
    'a field without a name': b'GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n',
    'NUL in a value': b'GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n',
    'CR in a value': b'GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n',
    'LF alone': b'GET / HTTP/1.1\nHost: a\n\n',
    'length and chunks': b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4'
                         b'\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'two lengths': b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n'
                   b'Content-Length: 2\r\n\r\nab',
    'a list of lengths': b'POST / HTTP/1.1\r\nHost: a\r\n'
                         b'Content-Length: 1, 1\r\n\r\na',
    'a signed length': b'POST / HTTP/1.1\r\nHost: a\r\n'
                       b'Content-Length: +1\r\n\r\na',
    'a negative length': b'POST / HTTP/1.1\r\nHost: a\r\n'
                         b'Content-Length: -1\r\n\r\n',
    'a length beyond 64 bits': b'POST / HTTP/1.1\r\nHost: a\r\n'
                               b'Content-Length: 18446744073709551617\r\n\r\n',
    'another coding': b'POST / HTTP/1.1\r\nHost: a\r\n'
                      b'Transfer-Encoding: xchunked\r\n\r\n',
    'chunked not last': b'POST / HTTP/1.1\r\nHost: a\r\n'
                        b'Transfer-Encoding: chunked, gzip\r\n\r\n',
    'chunked twice': b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: '
                     b'chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'a lower-case method': b'get / HTTP/1.1\r\nHost: a\r\n\r\n',
    'an unknown method': b'BREW / HTTP/1.1\r\nHost: a\r\n\r\n',
    'version 2': b'GET / HTTP/2.0\r\nHost: a\r\n\r\n',
    'version 1.2': b'GET / HTTP/1.2\r\nHost: a\r\n\r\n',
    'version 0.9': b'GET /\r\n\r\n',
    'CONNECT': b'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n',
    'TRACE': b'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n',
    'an HTTP/2 preface': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'TLS': bytes.fromhex('16030100c8010000c40303') + bytes(190),
    'SSH': b'SSH-2.0-OpenSSH_9.6\r\n',
    'a foreign absolute form':
        b'GET http://other.local/ HTTP/1.1\r\nHost: a\r\n\r\n',
    'a file URL': b'GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n',
    'a target that is no path': b'GET x HTTP/1.1\r\nHost: a\r\n\r\n',
    'a space in the target': b'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n',
    'NUL in the target': b'GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n',
    'PROXY protocol': b'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n'
                      b'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
}


@test()
def garbage_is_refused(w):
    """A 4xx or 5xx or nothing, a closed connection, and no trace of it at
    the origin, nor of a request hidden behind it."""
    server, _, origin = w.pair(hello)
    hidden = b'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n'
    for name, request in GARBAGE.items():
        with w.visitor(server) as visitor:
            visitor.send(request + hidden)
            said, _ = visitor.how_it_ends(12)
            status = said[9:12].decode()
            check(said[:9] == b'HTTP/1.1 ' and status in (
                '400', '405', '421', '501', '505'), f'{name}: {said[:60]!r}')
            equal(said.count(b'HTTP/1.1 '), 1, f'answers to {name}')
    equal(origin.targets(), [], 'at the origin')
    equal(server.get().status, 200, 'afterwards')


BAD_CHUNKS = {
    'no number': b'xyz\r\nabc\r\n0\r\n\r\n',
    'a negative size': b'-1\r\nabc\r\n0\r\n\r\n',
    'no end of chunk': b'3\r\nabcd\r\n0\r\n\r\n',
    'a size beyond 64 bits': b'fffffffffffffffff\r\nabc\r\n0\r\n\r\n',
    'LF alone': b'3\nabc\n0\n\n',
    'extensions without end': b'3;' + b'e' * 9000 + b'\r\nabc\r\n0\r\n\r\n',
    'many extensions': (b'1;' + b'e' * 100 + b'\r\na\r\n') * 200 + b'0\r\n\r\n',
    'trailers over 8 KiB': b'0\r\n' + b'X: y\r\n' * 3000 + b'\r\n',
}


@test()
def bad_chunks_end_the_request(w):
    """The origin may have seen the beginning, but never a whole request."""
    server, _, origin = w.pair(hello)
    for name, body in BAD_CHUNKS.items():
        with w.visitor(server) as visitor:
            visitor.ask('POST', '/chunks',
                        [('Transfer-Encoding', 'chunked')])
            try:
                visitor.send(body)
                said, _ = visitor.how_it_ends(5)
            except ConnectionError:
                said = b''
            check(not said.startswith(b'HTTP/1.1 2'), f'{name}: {said[:60]}')
    for request in origin.requests:
        equal(request.body, None, 'a whole request at the origin')
    equal(server.get().status, 200, 'afterwards')
