"""The upstream edge: what hostile or broken origins say, byte for byte, and
what the visitor gets of it. nginx and HAProxy pass some of it on as good; here
it is a 502 with its reason in the client's log, or, when the head had left, a
cut answer: never a clean end."""

import socket
import time

from lib import websocket
from lib.house import check, equal, free_port, none, soon, test, within
from lib.origin import hello
from lib.wire import Cut, Garbage

KIB, MIB = 1 << 10, 1 << 20
BAD = r'msg="?bad response from upstream'


def ok(fields='', body='', line='HTTP/1.1 200 OK'):
    """A response: fields and body as they are."""
    return f'{line}\r\n{fields}\r\n{body}'


def chunked(body, fields=''):
    return ok('Transfer-Encoding: chunked\r\n' + fields, body)


FIVE = 'Content-Length: 5\r\n'
GOOD = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'
SWITCH = 'HTTP/1.1 101 Go\r\n'

# Refused with 502, and why is in the log. (name, what the origin says)
REFUSED = [
    # RFC 9112 section 4: the status line
    ('4 nothing', ''),
    ('4 not HTTP', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'),
    ('4 garbage', '\x16\x03\x01\x02\x00garbage\r\n\r\n'),
    ('4 an answer of HTTP/0.9', '<html>hello</html>'),
    ('4 a request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
    ('4 only a version', ok(FIVE, 'hello', 'HTTP/1.1')),
    ('4 only a version and a space', ok(FIVE, 'hello', 'HTTP/1.1 ')),
    ('4 two spaces', ok(FIVE, 'hello', 'HTTP/1.1  200 OK')),
    ('4 a tab', ok(FIVE, 'hello', 'HTTP/1.1\t200 OK')),
    ('4 a space in front', ok(FIVE, 'hello', ' HTTP/1.1 200 OK')),
    ('4 an empty line in front', '\r\n' + ok(FIVE, 'hello')),
    ('4 status 99', ok(FIVE, 'hello', 'HTTP/1.1 99 OK')),
    ('4 status 099', ok(FIVE, 'hello', 'HTTP/1.1 099 OK')),
    ('4 status 000', ok(FIVE, 'hello', 'HTTP/1.1 000 OK')),
    ('4 status 600', ok(FIVE, 'hello', 'HTTP/1.1 600 OK')),
    ('4 status 999', ok(FIVE, 'hello', 'HTTP/1.1 999 OK')),
    ('4 status 1000', ok(FIVE, 'hello', 'HTTP/1.1 1000 OK')),
    ('4 status 2OO', ok(FIVE, 'hello', 'HTTP/1.1 2OO OK')),
    ('4 status +20', ok(FIVE, 'hello', 'HTTP/1.1 +20 OK')),
    ('4 status -200', ok(FIVE, 'hello', 'HTTP/1.1 -200 OK')),
    ('4 status 200.1', ok(FIVE, 'hello', 'HTTP/1.1 200.1 OK')),
    ('4 status 200OK', ok(FIVE, 'hello', 'HTTP/1.1 200OK')),
    ('4 no status', ok(FIVE, 'hello', 'HTTP/1.1 OK')),
    ('4 NUL in the reason', ok(FIVE, 'hello', 'HTTP/1.1 200 O\0K')),
    ('4 a control in the reason', ok(FIVE, 'hello', 'HTTP/1.1 200 O\x1bK')),
    ('4 CR in the reason', ok(FIVE, 'hello', 'HTTP/1.1 200 O\rK')),
    ('4 CR CR LF', ok(FIVE, 'hello', 'HTTP/1.1 200 OK\r')),
    ('4 a status line of 100 KiB', 'HTTP/1.1 200 ' + 'O' * 100 * KIB),
    # section 2.3: the version
    ('2.3 HTTP/2.0', ok(FIVE, 'hello', 'HTTP/2.0 200 OK')),
    ('2.3 HTTP/2', ok(FIVE, 'hello', 'HTTP/2 200')),
    ('2.3 HTTP/1.2', ok(FIVE, 'hello', 'HTTP/1.2 200 OK')),
    ('2.3 HTTP/1.10', ok(FIVE, 'hello', 'HTTP/1.10 200 OK')),
    ('2.3 HTTP/01.1', ok(FIVE, 'hello', 'HTTP/01.1 200 OK')),
    ('2.3 HTTP/1', ok(FIVE, 'hello', 'HTTP/1 200 OK')),
    ('2.3 HTTP/0.9', ok(FIVE, 'hello', 'HTTP/0.9 200 OK')),
    ('2.3 lower case', ok(FIVE, 'hello', 'http/1.1 200 OK')),
    ('2.3 ICY', ok(FIVE, 'hello', 'ICY 200 OK')),
    ('2.3 RTSP', ok(FIVE, 'hello', 'RTSP/1.0 200 OK')),
    # section 2.2: lines
    ('2.2 LF for CRLF', ok(FIVE, 'hello').replace('\r', '')),
    ('2.2 LF behind the status line',
     'HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello'),
    ('2.2 LF behind a field', ok('A: b\nContent-Length: 5\r\n', 'hello')),
    ('2.2 LF behind the head', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n'
     'hello'),
    ('2.2 CR for CRLF', ok(FIVE, 'hello').replace('\n', '')),
    ('2.2 a bare CR in a value', ok('A: b\rX: c\r\n' + FIVE, 'hello')),
    ('2.2 a bare CR in front of a name', ok('\rA: b\r\n' + FIVE, 'hello')),
    ('2.2 a space in front of the first field', ok(' A: b\r\n' + FIVE,
                                                    'hello')),
    # section 5: fields
    ('5 no colon', ok('Colon\r\n' + FIVE, 'hello')),
    ('5 no name', ok(': b\r\n' + FIVE, 'hello')),
    ('5 a space in the name', ok('A B: c\r\n' + FIVE, 'hello')),
    ('5 a bracket in the name', ok('A(b): c\r\n' + FIVE, 'hello')),
    ('5 NUL in the name', ok('A\0b: c\r\n' + FIVE, 'hello')),
    ('5 8 bits in the name', ok('A\xe9: c\r\n' + FIVE, 'hello')),
    ('5 NUL in the value', ok('A: b\0c\r\n' + FIVE, 'hello')),
    ('5 a control in the value', ok('A: b\x01c\r\n' + FIVE, 'hello')),
    ('5 DEL in the value', ok('A: b\x7fc\r\n' + FIVE, 'hello')),
    ('5.1 a space before the colon', ok('A : b\r\n' + FIVE, 'hello')),
    ('5.1 the same of the length', ok('Content-Length : 5\r\n', 'hello')),
    ('5.1 the same of the coding', ok('Transfer-Encoding : chunked\r\n',
                                      '0\r\n\r\n')),
    ('5.2 obs-fold', ok('A: b\r\n c\r\n' + FIVE, 'hello')),
    ('5.2 obs-fold with a tab', ok('A: b\r\n\tc\r\n' + FIVE, 'hello')),
    ('5.2 an empty obs-fold', ok('A: b\r\n \r\n' + FIVE, 'hello')),
    # section 6.1: Transfer-Encoding
    ('6.1 chunked and a length', chunked('5\r\nhello\r\n0\r\n\r\n', FIVE)),
    ('6.1 a length and chunked', ok(FIVE + 'Transfer-Encoding: chunked\r\n',
                                    '5\r\nhello\r\n0\r\n\r\n')),
    ('6.1 a bad length and chunked', ok(
        'Content-Length: x\r\nTransfer-Encoding: chunked\r\n',
        '5\r\nhello\r\n0\r\n\r\n')),
] + [
    (f'6.1 {coding!r}', ok(f'Transfer-Encoding: {coding}\r\n',
                           '5\r\nhello\r\n0\r\n\r\n'))
    for coding in ('identity', 'gzip', 'gzip, chunked', 'chunked, gzip',
                   'chunked, chunked', 'xchunked', 'chunkedx', 'chunke',
                   '"chunked"', 'chunked;q=1', 'chunked,', ', chunked', '',
                   'chunked\x0b', 'identity, chunked', 'x chunked')
] + [
    ('6.1 twice', chunked('5\r\nhello\r\n0\r\n\r\n',
                          'Transfer-Encoding: chunked\r\n')),
    ('6.1 gzip and chunked in two lines', ok(
        'Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n',
        '5\r\nhello\r\n0\r\n\r\n')),
    ('6.1 in HTTP/1.0', ok('Transfer-Encoding: chunked\r\n',
                           '5\r\nhello\r\n0\r\n\r\n', 'HTTP/1.0 200 OK')),
    ('6.1 with 204', ok('Transfer-Encoding: chunked\r\n',
                        '5\r\nhello\r\n0\r\n\r\n', 'HTTP/1.1 204 No')),
    # section 6.2, 6.3: Content-Length
] + [
    (f'6.2 {length!r}', ok(f'Content-Length: {length}\r\n', 'hello'))
    for length in ('+5', '-1', '-5', '5, 5', '5,5', '5, 6', '5 5', '5x', 'x',
                   '0x5', '5.0', '', '5;', '\x0b5', '٥', '1e1', '"5"',
                   '18446744073709551616', '18446744073709551621',
                   '9223372036854775808', '9' * 100)
] + [
    ('6.3 two equal lengths', ok(FIVE + FIVE, 'hello')),
    ('6.3 two lengths', ok(FIVE + 'Content-Length: 6\r\n', 'hello!')),
    ('6.3 two lengths, one bad', ok('Content-Length: x\r\n' + FIVE, 'hello')),
    ('8.6 a length of a 204', ok(FIVE, 'hello', 'HTTP/1.1 204 No')),
    # section 8: what is not whole
    ('8 half a status line', 'HTTP/1.1 20'),
    ('8 half a head', 'HTTP/1.1 200 OK\r\nContent-Le'),
    ('8 a head without its last line', 'HTTP/1.1 200 OK\r\n' + FIVE),
    ('8 only a 103', ok('Link: <a>\r\n', '', 'HTTP/1.1 103 Hints')),
    # RFC 9110 section 15.2: interim answers
    ('15.2 bytes behind a 100', ok('', 'hello', 'HTTP/1.1 100 Continue')),
    ('15.2 a length of a 103', ok(FIVE, 'hello' + GOOD,
                                  'HTTP/1.1 103 Hints')),
    ('15.2 a flood of 100', 'HTTP/1.1 100 Continue\r\n\r\n' * 20000 + GOOD),
    ('15.2 a flood of 103', ok('Link: <' + 'a' * 8000 + '>\r\n', '',
                               'HTTP/1.1 103 Hints') * 100 + GOOD),
    # sections 7.8 and 15.2.2: a switch that nobody asked for
    ('15.2.2 101 without a word', SWITCH + '\r\n'),
    ('15.2.2 101 to websocket', SWITCH + 'Upgrade: websocket\r\n'
     'Connection: Upgrade\r\n\r\n\x81\x05hello'),
    ('15.2.2 101 to h2c', SWITCH + 'Upgrade: h2c\r\nConnection: Upgrade\r\n'
     '\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    ('15.2.2 101 and an answer', SWITCH + 'Upgrade: HTTP/1.1\r\n'
     'Connection: Upgrade\r\n\r\n' + GOOD),
    # limits of ours
    ('a head of 70 KiB', ok('A: ' + 'b' * 15000 + '\r\n', 'hello').replace(
        '\r\n\r\n', '\r\n' + ('A: ' + 'b' * 15000 + '\r\n') * 5 + FIVE
        + '\r\n')),
    ('a field of 40 KiB', ok('A: ' + 'b' * 40000 + '\r\n' + FIVE, 'hello')),
    ('a name of 40 KiB', ok('A' * 40000 + ': b\r\n' + FIVE, 'hello')),
    ('a head of spaces', ok('A:' + ' ' * 100000 + 'b\r\n' + FIVE, 'hello')),
    ('500 fields', ok('A: b\r\n' * 500 + FIVE, 'hello')),
    ('129 fields', ok('A: b\r\n' * 128 + FIVE, 'hello')),
]

# The head is good, the body is not: 502 when that was seen in time, or else
# the answer is cut.
CUT = [
    ('8 short of its length', ok('Content-Length: 6\r\n', 'hello')),
    ('8 no byte of its body', ok('Content-Length: 6\r\n', '')),
    ('8 no chunk', chunked('')),
    ('8 half a chunk size', chunked('1')),
    ('8 half a chunk', chunked('8\r\nhello')),
    ('8 no end of a chunk', chunked('5\r\nhello')),
    ('8 no last chunk', chunked('5\r\nhello\r\n')),
    ('8 half the last chunk', chunked('5\r\nhello\r\n0')),
    ('8 no end of the last chunk', chunked('5\r\nhello\r\n0\r\n')),
    ('8 half the end of it', chunked('5\r\nhello\r\n0\r\n\r')),
    ('8 half a trailer', chunked('5\r\nhello\r\n0\r\nX-A: b\r\n')),
] + [
    (f'7.1 chunk size {size!r}', chunked(f'{size}\r\nhello\r\n0\r\n\r\n'))
    for size in ('', 'x', 'g', '-5', '+5', '0x5', ' 5', '5x', '5 5', '\t5',
                 '5\x0b', '\n5', '5\r', '"5"', '10000000000000005',
                 'fffffffffffffffff', '100000000000000000000', ';a=b', '5,5')
] + [
    ('7.1 a chunk size of 2^64 - 1', chunked(
        'ffffffffffffffff\r\nhello\r\n0\r\n\r\n')),
    ('7.1 LF behind the size', chunked('5\nhello\r\n0\r\n\r\n')),
    ('7.1 LF behind the data', chunked('5\r\nhello\n0\r\n\r\n')),
    ('7.1 LF behind the last chunk', chunked('5\r\nhello\r\n0\n\r\n')),
    ('7.1 LF at the end', chunked('5\r\nhello\r\n0\r\n\n')),
    ('7.1 nothing behind the data', chunked('5\r\nhello0\r\n\r\n')),
    ('7.1 data too long', chunked('5\r\nhello!\r\n0\r\n\r\n')),
    ('7.1 data too short', chunked('5\r\nhell\r\n0\r\n\r\n')),
    ('7.1 zeros without end', chunked('0' * 20000 + '5\r\nhello\r\n'
                                      '0\r\n\r\n')),
    ('7.1.1 an extension of 20,000 bytes', chunked(
        '5;a=' + 'b' * 20000 + '\r\nhello\r\n0\r\n\r\n')),
    ('7.1.1 2,000 small extensions', chunked(
        '1;abc=def\r\nh\r\n' * 2000 + '0\r\n\r\n')),
    ('7.1.1 an extension without a name',
     chunked('5;=b\r\nhello\r\n0\r\n\r\n')),
    ('7.1.1 an extension without a value',
     chunked('5;a=\r\nhello\r\n0\r\n\r\n')),
    ('7.1.1 NUL in an extension', chunked('5;a=\0\r\nhello\r\n0\r\n\r\n')),
    ('7.1.1 CR in an extension', chunked('5;a\rb\r\nhello\r\n0\r\n\r\n')),
    ('7.1.1 LF in an extension', chunked('5;a\nb\r\nhello\r\n0\r\n\r\n')),
    ('7.1.2 trailers of 20,000 bytes', chunked(
        '5\r\nhello\r\n0\r\n' + 'A: ' + 'b' * 10000 + '\r\n' + 'A: '
        + 'b' * 10000 + '\r\n\r\n')),
    ('7.1.2 200 trailers', chunked('5\r\nhello\r\n0\r\n' + 'A: b\r\n' * 200
                                   + '\r\n')),
    ('7.1.2 obs-fold in trailers', chunked('0\r\nA: b\r\n c\r\n\r\n')),
    ('7.1.2 a space before the colon', chunked('0\r\nA : b\r\n\r\n')),
    ('7.1.2 NUL in a trailer', chunked('0\r\nA: \0\r\n\r\n')),
    ('7.1.2 a length in trailers', chunked('5\r\nhello\r\n0\r\n' + FIVE
                                           + '\r\n')),
    ('7.1.2 a coding in trailers', chunked(
        '5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n')),
]

# Good, if unusual: (name, what the origin says, status, body)
PASSED = [
    ('4 no reason', ok(FIVE, 'hello', 'HTTP/1.1 200 '), 200, b'hello'),
    ('4 no reason and no space', ok(FIVE, 'hello', 'HTTP/1.1 200'), 200,
     b'hello'),
    ('4 spaces in the reason', ok(FIVE, 'hello', 'HTTP/1.1 200 it is fine'),
     200, b'hello'),
    ('4 8 bits in the reason', ok(FIVE, 'hello', 'HTTP/1.1 200 \xe9'), 200,
     b'hello'),
    ('4 status 599', ok(FIVE, 'hello', 'HTTP/1.1 599 X'), 599, b'hello'),
    ('5 no space behind the colon', ok('Content-Length:5\r\n', 'hello'), 200,
     b'hello'),
    ('5 spaces around the value', ok('Content-Length:   5  \r\nA: \t b \t\r\n',
                                        'hello'), 200, b'hello'),
    ('5 an empty value', ok('A:\r\n' + FIVE, 'hello'), 200, b'hello'),
    ('5 8 bits in the value', ok('A: \xe9\r\n' + FIVE, 'hello'), 200,
     b'hello'),
    ('5 case of names', ok('CONTENT-length: 5\r\n', 'hello'), 200, b'hello'),
    ('6.1 case of the coding', ok('Transfer-Encoding: CHUNKED\r\n',
                                  '5\r\nhello\r\n0\r\n\r\n'), 200, b'hello'),
    ('6.2 zeros in front', ok('Content-Length: 0005\r\n', 'hello'), 200,
     b'hello'),
    ('6.3 to the end of the connection', ok('', 'hello'), 200, b'hello'),
    ('6.3 the same with nothing', ok(), 200, b''),
    ('6.3 HTTP/1.0 to the end', ok('', 'hello', 'HTTP/1.0 200 OK'), 200,
     b'hello'),
    ('6.3 HTTP/1.0 with a length', ok(FIVE, 'hello', 'HTTP/1.0 200 OK'), 200,
     b'hello'),
    ('6.3 HTTP/1.0 keep-alive', ok('Connection: keep-alive\r\n' + FIVE,
                                   'hello', 'HTTP/1.0 200 OK'), 200, b'hello'),
    ('7.1 chunks', chunked('2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'), 200,
     b'hello'),
    ('7.1 case of sizes', chunked('A\r\nhellohello\r\n0\r\n\r\n'), 200,
     b'hellohello'),
    ('7.1 zeros in front', chunked('0005\r\nhello\r\n000\r\n\r\n'), 200,
     b'hello'),
    ('7.1.1 an extension', chunked('5;a=b\r\nhello\r\n0;c="d"\r\n\r\n'), 200,
     b'hello'),
    ('7.1.2 trailers', chunked('5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n'), 200,
     b'hello'),
    ('7.1.2 forbidden trailers', chunked(
        '5\r\nhello\r\n0\r\nSet-Cookie: a\r\nHost: b\r\nX-Sum: 1\r\n\r\n'),
     200, b'hello'),
    ('15.2 a 100 that nobody asked for',
     ok('', '', 'HTTP/1.1 100 Continue') + ok(FIVE, 'hello'), 200, b'hello'),
    ('15.2 some 103', ok('Link: <a>\r\n', '', 'HTTP/1.1 103 Hints') * 20
     + ok(FIVE, 'hello'), 200, b'hello'),
    ('15.2 an unknown 1xx', ok('', '', 'HTTP/1.1 199 What')
     + ok(FIVE, 'hello'), 200, b'hello'),
    ('15.3.5 204', ok('', '', 'HTTP/1.1 204 No'), 204, b''),
    ('15.3.5 204 with a length of 0', ok('Content-Length: 0\r\n', '',
                                         'HTTP/1.1 204 No'), 204, b''),
    ('15.3.5 204 with a body', ok('', GOOD, 'HTTP/1.1 204 No'), 204, b''),
    ('15.4.5 304', ok('ETag: "a"\r\n', '', 'HTTP/1.1 304 No'), 304, b''),
    ('15.4.5 304 with a length', ok(FIVE, '', 'HTTP/1.1 304 No'), 304, b''),
    ('15.4.5 304 with a body', ok(FIVE, 'hello', 'HTTP/1.1 304 No'), 304,
     b''),
    ('15.4.5 304 with chunks', chunked('5\r\nhello\r\n0\r\n\r\n').replace(
        '200', '304'), 304, b''),
    ('9.2 bytes behind a counted body', ok(FIVE, 'hello' + GOOD), 200,
     b'hello'),
    ('9.2 bytes behind chunks', chunked('5\r\nhello\r\n0\r\n\r\n' + GOOD),
     200, b'hello'),
    ('9.2 garbage behind the end', ok(FIVE, 'hello\0\0\r\n\r\n'), 200,
     b'hello'),
    ('128 fields', ok('A: b\r\n' * 127 + FIVE, 'hello'), 200, b'hello'),
]


def to_bytes(text):
    return text.encode('utf-8' if '٥' in text else 'latin-1')


class Scripts:
    """An origin that says scripts: /NUMBER/FRAGMENTS."""

    def __init__(self, cases, how='close'):
        self.cases = [to_bytes(case[1]) for case in cases]
        self.how = how

    def __call__(self, x):
        if x.target.startswith('/good'):
            return hello(x)
        _, number, step = x.target.split('/')
        data, step = self.cases[int(number)], int(step) or 1 << 30
        try:
            for start in range(0, len(data), step):
                x.send(data[start:start + step])
            if self.how == 'reset':
                time.sleep(0.05)    # an RST would overtake the bytes
        except OSError:
            pass                    # it has read enough
        getattr(x, self.how)()


def ask(server, number, step, version='HTTP/1.1'):
    with server.visitor(timeout=8) as visitor:
        visitor.ask(target=f'/{number}/{step}', version=version)
        return visitor.answer()


def steps_of(case):
    """Whole, and, what is about parsing, byte by byte."""
    return (0, 1) if len(case[1]) < 1000 else (0, 4096)


@test(timeout=120)
def bad_heads_are_502(w):
    server, client, origin = w.pair(Scripts(REFUSED))
    wrong, logged = [], 0
    for number, case in enumerate(REFUSED):
        for step in steps_of(case):
            try:
                answer = ask(server, number, step)
                if answer.status != 502 or b'evil' in answer.body:
                    wrong.append(f'{case[0]}: {answer.start}')
                elif leaks(answer, origin):
                    wrong.append(f'{case[0]}: it says where the origin is')
            except (Cut, Garbage, TimeoutError) as error:
                wrong.append(f'{case[0]}, step {step}: {error!r}')
            reasons = client.lines(BAD)
            if len(reasons) <= logged:
                wrong.append(f'{case[0]}: nothing in the log')
            logged = len(reasons)
    none(wrong)
    check(all('why=' in line for line in client.lines(BAD)), 'no reasons')
    equal(server.get('/good').status, 200, 'afterwards')
    equal(len(client.lines('tunnel connected')), 1, 'connects')


def leaks(answer, origin):
    text = answer.raw + (answer.body or b'')
    return any(bad in text for bad in (
        str(origin.port).encode(), b'127.0.0.1', b'localhost', b'upstream'))


@test(timeout=120)
def bad_bodies_are_cut(w):
    for how in ('close', 'reset'):
        server, client, _ = w.pair(Scripts(CUT, how))
        wrong, logged = [], 0
        for number, case in enumerate(CUT):
            for step in steps_of(case):
                for version in ('HTTP/1.1', 'HTTP/1.0'):
                    try:
                        answer = ask(server, number, step, version)
                        if answer.status != 502:
                            wrong.append(f'{case[0]}, {version}, {how}: a '
                                         f'clean end behind {answer.body!r}')
                    except Cut:
                        pass
                    except (Garbage, TimeoutError) as error:
                        wrong.append(f'{case[0]}: {error!r}')
                    if len(client.lines(BAD)) <= logged and how == 'close':
                        wrong.append(f'{case[0]}: nothing in the log')
                    logged = len(client.lines(BAD))
        none(wrong)
        equal(server.get('/good').status, 200, 'afterwards')


@test(timeout=120)
def unusual_answers_pass(w):
    server, client, _ = w.pair(Scripts(PASSED))
    wrong = []
    for number, (name, said, status, body) in enumerate(PASSED):
        for step in steps_of((name, said)):
            for version in ('HTTP/1.1', 'HTTP/1.0'):
                try:
                    answer = ask(server, number, step, version)
                except (Cut, Garbage, TimeoutError) as error:
                    wrong.append(f'{name}: {error!r}')
                    continue
                if (answer.status, answer.body) != (status, body):
                    wrong.append(f'{name}: {answer.start} {answer.body!r}')
                wrong += [f'{name}: a trailer {field}' for field, _ in
                          answer.trailers if field != 'X-Sum']
    none(wrong)
    equal(client.lines(BAD), [], 'complaints')


@test(timeout=60)
def head_answers_have_no_body(w):
    """What follows the head of an answer to HEAD is nobody's."""
    cases = [('a length', ok(FIVE)), ('a body', ok(FIVE, 'hello')),
             ('chunks', chunked('5\r\nhello\r\n0\r\n\r\n')),
             ('another answer', ok(FIVE, GOOD)), ('no length', ok())]
    server, _, _ = w.pair(Scripts(cases))
    wrong = []
    for number, case in enumerate(cases):
        for step in (0, 1):
            with w.visitor(server) as visitor:
                visitor.ask('HEAD', f'/{number}/{step}')
                answer = visitor.answer('HEAD')
                again = visitor.get('/good')
                if answer.status != 200 or again.body != b'hello from /good\n':
                    wrong.append(f'{case[0]}: {answer.start} {again.body!r}')
    none(wrong)


# --- which connections are used again ----------------------------------------

# name: (method, what the origin says; may the connection be used again?)
REUSE = {
    'a length': ('GET', ok(FIVE, 'hello'), True),
    'an empty body': ('GET', ok('Content-Length: 0\r\n'), True),
    'chunks': ('GET', chunked('5\r\nhello\r\n0\r\n\r\n'), True),
    'trailers': ('GET', chunked('5\r\nhello\r\n0\r\nA: b\r\n\r\n'), True),
    'HEAD': ('HEAD', ok(FIVE), True),
    'HEAD with chunks': ('HEAD', ok('Transfer-Encoding: chunked\r\n'), True),
    '204': ('GET', ok('', '', 'HTTP/1.1 204 No'), True),
    '304': ('GET', ok(FIVE, '', 'HTTP/1.1 304 No'), True),
    'behind a 103': ('GET', ok('', '', 'HTTP/1.1 103 Hints')
                     + ok(FIVE, 'hello'), True),
    'a body that was read': ('POST', ok(FIVE, 'hello'), True),
    'HTTP/1.0 that keeps it': ('GET', ok(
        FIVE + 'Connection: Keep-Alive\r\n', 'hello', 'HTTP/1.0 200 OK'),
        True),
    'HTTP/1.0': ('GET', ok(FIVE, 'hello', 'HTTP/1.0 200 OK'), False),
    'HTTP/1.0 that closes it': ('GET', ok(
        FIVE + 'Connection: close, keep-alive\r\n', 'hello',
        'HTTP/1.0 200 OK'), False),
    'close': ('GET', ok(FIVE + 'Connection: close\r\n', 'hello'), False),
    'Close in a list': ('GET', ok(FIVE + 'Connection: a , CLOSE\r\n',
                                  'hello'), False),
    'close in a second line': ('GET', ok(
        FIVE + 'Connection: a\r\nConnection: close\r\n', 'hello'), False),
    'bytes behind the end': ('GET', ok(FIVE, 'hello' + GOOD), False),
    'CR LF behind the end': ('GET', ok(FIVE, 'hello\r\n'), False),
    'bytes behind chunks': ('GET', chunked('0\r\n\r\n' + GOOD), False),
    'bytes behind a HEAD': ('HEAD', ok(FIVE, 'hello'), False),
    'chunks behind a HEAD': ('HEAD', chunked('0\r\n\r\n'), False),
    'bytes behind a 204': ('GET', ok('', GOOD, 'HTTP/1.1 204 No'), False),
    'bytes behind a 304': ('GET', ok(FIVE, 'hello', 'HTTP/1.1 304 No'),
                           False),
    'no time to keep it': ('GET', ok(FIVE + 'Keep-Alive: timeout=0\r\n',
                                     'hello'), False),
}


@test()
def connections_are_used_again_or_not(w):
    """RFC 9112 9.3, 9.6: only behind a whole, well framed exchange."""
    said = [case[1].encode() for case in REUSE.values()]

    def answer(x):
        if x.target == '/next':
            return hello(x)
        x.read()
        x.send(said[int(x.target[1:])])
    server, _, origin = w.pair(answer)
    wrong = []
    for number, (name, (method, _, again)) in enumerate(REUSE.items()):
        with w.visitor(server) as visitor:
            visitor.get(f'/{number}', method=method,
                        body=b'body' if method == 'POST' else None)
            got = visitor.get('/next')
        if (got.status, got.body) != (200, b'hello from /next\n'):
            wrong.append(f'{name}: {got.start} {got.body!r}')
        first, then = origin.exchanges[-2:]
        if (first.connection is then.connection) != again:
            wrong.append(f'{name}: {"not " if again else ""}used again')
    none(wrong)


@test()
def early_answers_end_their_connection(w):
    """The answer was whole before the request: who knows what the origin
    takes for the next one."""
    def answer(x):
        if x.method == 'POST' and x.target == '/early':
            x.exactly(4)
            x.send(ok(FIVE, 'hello').encode())
            return x.connection.fill('the rest')
        hello(x)
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/early', [('Content-Length', 8)])
        visitor.send(b'half')
        equal(visitor.answer().body, b'hello', 'the early answer')
        visitor.send(b'rest')
        try:
            equal(visitor.get('/next').body, b'hello from /next\n', 'next')
        except (Cut, OSError, Garbage):
            pass                # it may close behind an early answer
    equal(server.get('/next').body, b'hello from /next\n', 'the next')
    check(origin.opened > 1, 'the connection was used again')


@test()
def late_bytes_answer_nobody(w):
    """What comes on an idle connection is not the answer to the next
    request, however short before it."""
    def answer(x):
        x.reply(200, x.target.encode())
        if x.target.startswith('/poison'):
            time.sleep(int(x.target.split('/')[2]) / 1000)
            x.send(GOOD.encode())
    server, _, origin = w.pair(answer)
    for _ in range(10):
        for ms in (20, 5, 1):
            with w.visitor(server) as visitor:
                equal(visitor.get(f'/poison/{ms}').body,
                      f'/poison/{ms}'.encode(), 'the poisoned')
                time.sleep(0.03)
                equal(visitor.get('/next').body, b'/next', f'{ms} ms')
                equal(server.get(method='POST', body=b'x').body, b'/', 'POST')


# (method, body; is it asked for again?)
RETRIED = [
    ('GET', None, True), ('HEAD', None, True), ('OPTIONS', None, True),
    ('DELETE', None, True), ('PUT', None, True), ('PUT', b'', True),
    ('DELETE', b'', True), ('PUT', b'body', False), ('GET', b'body', False),
    ('POST', None, False), ('POST', b'', False), ('POST', b'body', False),
    ('PATCH', None, False), ('PATCH', b'body', False),
]


@test(timeout=90)
def second_tries(w):
    """RFC 9110 9.2.2, RFC 9112 9.3.1: a kept connection that dies instead of
    answering costs an idempotent request nothing; others are never asked
    twice."""
    def dies(x):
        nth = x.connection.nth = getattr(x.connection, 'nth', 0) + 1
        x.read()
        if x.target == '/first' or nth == 1 and x.target != '/always':
            return hello(x)
        if how == 'a byte':
            x.send(b'H')
            time.sleep(0.02)
        (x.reset if how == 'reset' else x.close)()
    server, _, origin = w.pair(dies)
    wrong = []
    for how in ('close', 'reset', 'a byte'):
        for number, (method, body, again) in enumerate(RETRIED):
            again = again and how != 'a byte'
            target = f'/{how[0]}{number}'
            equal(server.get('/first').status, 200, 'a kept connection')
            got = server.get(target, method=method, body=body)
            seen = origin.targets().count(target)
            if got.status != (200 if again else 502) or \
                    seen != (2 if again else 1):
                wrong.append(f'{how}, {method} {body}: {got.status}, '
                             f'asked {seen} times')
    how = 'close'
    equal(server.get('/first').status, 200, 'a kept connection')
    with within(1, 'the 502'):      # a fresh one that dies: twice is enough
        equal(server.get('/always').status, 502, 'dead twice')
    equal(origin.targets().count('/always'), 2, 'tries')
    none(wrong)


@test()
def fresh_connections_that_die(w):
    server, _, origin = w.pair(lambda x: (
        x.read(), (x.reset if x.target == '/rst' else x.close)()))
    for target in ('/fin', '/rst'):
        for method in ('GET', 'POST'):
            with within(1, 'the 502'):
                equal(server.get(target, method=method).status, 502, target)
    equal(len(origin.exchanges), 4, 'requests that came')


# --- when there is nothing to be had -----------------------------------------

@test()
def nobody_there(w):
    """502, 503, 504: in time, and without a word about the inside."""
    port = free_port()
    silent = socket.create_server(('127.0.0.1', 0))
    server = w.server('--gateway-timeout', '1s')
    client = w.client(server, f'refused.local=http://127.0.0.1:{port}/secret',
                      f'silent.local=http://127.0.0.1:'
                      f'{silent.getsockname()[1]}/secret',
                      'noname.local=http://nowhere.invalid:1/secret')
    for host, status, low, high in (('refused.local', 502, 0, 1),
                                    ('silent.local', 504, 0.9, 2),
                                    ('noname.local', 502, 0, 3),
                                    ('other.local', 503, 0, 1)):
        for method in ('GET', 'POST', 'HEAD'):
            with within(high, f'{status} for {host}', at_least=low):
                got = server.get('/path?a=<script>', host, method=method,
                                 body=b'x' if method == 'POST' else None)
            equal(got.status, status, host)
            equal(got.get('Retry-After') is not None, status == 503, host)
            text = got.raw + (got.body or b'')
            for bad in (b'127.0.0.1', str(port).encode(), b'nowhere',
                        b'secret', b'script', b'/path'):
                check(bad not in text, host, bad, text)
    check(client.lines('cannot be reached'), 'no reason in the log')
    silent.close()


@test()
def heads_that_never_end(w):
    """A byte now and then is no answer: 504, and the origin is rid of us."""
    def answer(x):
        piece = {'/line': b'O', '/field': b'x',
                 '/interim': b'HTTP/1.1 103 Hints\r\n\r\n'}[x.target]
        x.send({'/line': b'HTTP/1.1 200 ', '/interim': b'',
                '/field': b'HTTP/1.1 200 OK\r\nA: '}[x.target])
        try:
            for _ in range(100):
                x.send(piece)
                time.sleep(0.05)
            late.append(x.target)
        except OSError:
            pass
        x.close()
    late = []
    server, _, origin = w.pair(answer, '--gateway-timeout', '1s')
    for target in ('/line', '/field', '/interim'):
        with within(2, 'the 504', at_least=0.9):
            equal(server.get(target).status, 504, target)
    soon(lambda: not origin.alive, 2, 'the end at the origin')
    equal(late, [], 'not told')


@test()
def silence_behind_a_head_is_allowed(w):
    """Event streams say nothing for as long as they like; an answer that
    began in time is not timed out."""
    go = w.gate()

    def answer(x):
        x.start_chunked([('Content-Type', 'text/event-stream')])
        x.chunk(b'data: 1\n\n')
        check(go.wait(10), 'the test never said go')
        x.chunk(b'data: 2\n\n')
        x.last_chunk()
    server, _, _ = w.pair(answer, '--gateway-timeout', '500ms',
                          '--idle-timeout', '500ms', '--head-timeout', '500ms')
    with w.visitor(server) as visitor:
        visitor.ask()
        head = visitor.final_head()
        time.sleep(1.5)
        go.set()
        equal(visitor.body(head), b'data: 1\n\ndata: 2\n\n', 'the events')


# --- resets ------------------------------------------------------------------

def resetting(x):
    """Says /NUMBER bytes until close, or behind a 101, and resets at once."""
    kind, length = x.target[1:].split('/')
    try:
        x.send(switching('websocket') if kind == 'switch' else ok().encode())
        x.send(bytes(int(length)))
    except OSError:
        pass                    # it has read enough
    x.reset()


@test(timeout=120)
def a_reset_right_behind_bytes_is_no_end(w):
    """Between the bytes and the RST there is no time to read: the kernel
    tells of both at once, and libuv says "end" then (RFC 9112 section 8)."""
    server, _, _ = w.pair(resetting)
    wrong = []
    for number in range(40):
        for version in ('HTTP/1.1', 'HTTP/1.0'):
            length = (5, 60_000, 3_000_000)[number % 3]
            try:
                with server.visitor(timeout=8) as visitor:
                    visitor.ask(target=f'/close/{length}', version=version)
                    answer = visitor.answer()
                if answer.status != 502:
                    wrong.append(f'{length}, {version}: a clean end')
            except Cut as cut:
                if version == 'HTTP/1.0' and cut.how != 'reset':
                    wrong.append(f'{length}, {version}: {cut}')
    none(wrong)
    equal(len(server.lines('status=200.* result=ok')), 0, 'said to be good')


def answering_and_gone(x):
    """A whole answer of so many bytes: /HOW/LENGTH."""
    how, length = x.target[1:].split('/')
    x.send(ok(f'Content-Length: {length}\r\nConnection: close\r\n').encode())
    x.send(bytes(int(length)))
    if how == 'fin':
        return x.close()    # what the visitor uploads next meets a reset
    time.sleep(0.3)         # an RST would overtake the bytes
    return x.reset()


@test(timeout=90)
def a_whole_answer_outlives_its_upstream(w):
    """The visitor is slow to read, so that we are: what has come by the time
    that the upstream is gone is all read nevertheless."""
    server, _, _ = w.pair(answering_and_gone)
    wrong = []
    for how in ('fin', 'rst'):
        for length in (1000, 500_000, 700_000, 900_000):
            with server.visitor(timeout=15, rcvbuf=65536) as visitor:
                visitor.ask('POST', f'/{how}/{length}',
                            [('Content-Length', 50_010)])
                visitor.send(bytes(10))
                time.sleep(0.4)
                if how == 'fin':
                    visitor.send(bytes(50_000))
                time.sleep(1.4)
                try:
                    equal(len(visitor.answer().body), length, 'bytes')
                except Cut as cut:
                    wrong.append(f'{how} {length}: {cut}')
    none(wrong)


@test(timeout=60)
def a_reset_behind_a_switch_is_a_reset(w):
    server, _, _ = w.pair(resetting)
    ends = []
    for number in range(30):
        with server.visitor(timeout=8) as visitor:
            visitor.ask(target=f'/switch/{(5, 60_000, 300_000)[number % 3]}',
                        fields=WEBSOCKET)
            try:
                if visitor.final_head().status == 101:
                    ends.append(visitor.how_it_ends(5)[1])
            except Cut as cut:
                ends.append(cut.how)
    equal([end for end in ends if end != 'reset'], [], 'other ends')


@test(timeout=60)
def a_visitor_that_resets_right_behind_bytes(w):
    """Told as a reset at once, not as an end that may be a half-close."""
    def answer(x):
        if x.target == '/switch':
            x.send(switching('websocket'))
        seen.append(x.how_it_ends(5)[1])
    seen = []
    server, _, origin = w.pair(answer)
    for number in range(20):
        with server.visitor(timeout=8) as visitor:
            visitor.ask(target='/switch', fields=WEBSOCKET)
            equal(visitor.final_head().status, 101, 'status')
            visitor.send(bytes((5, 60_000, 300_000)[number % 3]))
            visitor.reset()
        soon(lambda: len(seen) > number, 5, 'the end at the origin')
    equal(seen, ['reset'] * 20, 'the ends')


# --- upgrades ----------------------------------------------------------------

KEY = websocket.new_key()
WEBSOCKET = [('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
             ('Sec-WebSocket-Version', '13'), ('Sec-WebSocket-Key', KEY)]


def switching(protocol, more=b''):
    return (f'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n'
            f'Upgrade: {protocol}\r\n\r\n').encode() + more


# A 101 to a request for websocket: (name, what the origin says, status)
SWITCHES = [
    ('right', switching('websocket'), 101),
    ('case', switching('WebSocket'), 101),
    ('a wrong accept is not ours to judge', switching(
        'websocket\r\nSec-WebSocket-Accept: x'), 101),
    ('another protocol', switching('foo'), 502),
    ('h2c', switching('h2c'), 502),
    ('two protocols', switching('websocket, foo'), 502),
    ('two lines', switching('websocket\r\nUpgrade: foo'), 502),
    ('no protocol', switching(''), 502),
    ('no Upgrade', b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n\r\n', 502),
    ('no Connection', b'HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n',
     502),
    ('a length', switching('websocket\r\nContent-Length: 5', b'hello'), 502),
    ('chunks', switching('websocket\r\nTransfer-Encoding: chunked'), 502),
    ('behind a 103', b'HTTP/1.1 103 Hints\r\n\r\n' + switching(
        'websocket'), 101),
]


@test()
def switches_of_protocol(w):
    """RFC 9110 7.8, 15.2.2."""
    said = dict(enumerate(case[1] for case in SWITCHES))

    def answer(x):
        x.send(said[int(x.target[1:])])
        x.wait_gone(5)
        x.close()
    server, client, _ = w.pair(answer)
    wrong = []
    for number, (name, _, status) in enumerate(SWITCHES):
        with w.visitor(server) as visitor:
            visitor.ask(target=f'/{number}', fields=WEBSOCKET)
            head = visitor.final_head()
            if head.status != status:
                wrong.append(f'{name}: {head.start}')
            elif status == 101 and (
                    head.get('Upgrade', '').lower() != 'websocket' or
                    'upgrade' not in head.get('Connection', '').lower()):
                wrong.append(f'{name}: {head.fields}')
    none(wrong)
    equal(len(client.lines(BAD)), sum(c[2] == 502 for c in SWITCHES), 'log')


EVIL = b'GET /evil HTTP/1.1\r\nHost: demo.local\r\n\r\n'


@test()
def refused_upgrades(w):
    """An ordinary answer with its body; what the visitor said in the new
    protocol already is no request, nor is it passed on."""
    def answer(x):
        if x.target == '/chunks':
            x.start_chunked(status=200)
            x.chunk(b'no')
            return x.last_chunk()
        x.reply(int(x.target[1:]), b'no')
    server, _, origin = w.pair(answer)
    for target in ('/200', '/403', '/426', '/500', '/chunks'):
        for early in (b'', EVIL):
            with w.visitor(server) as visitor:
                visitor.ask(target=target, fields=WEBSOCKET)
                visitor.send(early)
                answer = visitor.answer()
                equal((answer.status, answer.body),
                      (int(target[1:]) if target[1].isdigit() else 200,
                       b'no'), target)
                if not early:
                    visitor.send(EVIL)
                equal(visitor.how_it_ends(3)[0], b'', 'behind it')
    check('/evil' not in origin.targets(), 'early bytes became a request')
    equal(server.get('/200').status, 200, 'afterwards')


# No upgrade: the request goes on as an ordinary one. (method, fields, version,
# body)
NO_UPGRADES = {
    'no Connection': ('GET', [('Upgrade', 'websocket')], 'HTTP/1.1', None),
    'another Connection': ('GET', [('Connection', 'keep-alive'),
                                   ('Upgrade', 'websocket')], 'HTTP/1.1',
                           None),
    'no Upgrade': ('GET', [('Connection', 'Upgrade')], 'HTTP/1.1', None),
    'HTTP/1.0': ('GET', WEBSOCKET, 'HTTP/1.0', None),
    'a body': ('POST', WEBSOCKET, 'HTTP/1.1', b'body'),
    'another protocol': ('GET', [('Connection', 'Upgrade'),
                                 ('Upgrade', 'foo')], 'HTTP/1.1', None),
    'two protocols': ('GET', [('Connection', 'Upgrade'),
                              ('Upgrade', 'foo, websocket')], 'HTTP/1.1',
                      None),
    'h2c': ('GET', [('Connection', 'Upgrade, HTTP2-Settings'),
                    ('Upgrade', 'h2c'), ('HTTP2-Settings', 'AAMAAABk')],
            'HTTP/1.1', None),
    'TLS': ('GET', [('Connection', 'Upgrade'), ('Upgrade', 'TLS/1.2')],
            'HTTP/1.1', None),
}


@test()
def upgrades_that_are_none(w):
    """Such a request is answered. One behind it, too, when it can be nothing
    else: when no other protocol was asked for but h2c."""
    server, _, origin = w.pair(lambda x: x.reply(200, x.read() or b'plain'))
    for name, (method, fields, version, body) in NO_UPGRADES.items():
        with w.visitor(server) as visitor:
            visitor.ask(method, fields=fields, version=version, body=body)
            equal(visitor.answer().body, body or b'plain', name)
            seen = origin.requests[-1]
            check(not seen.has('Upgrade') and not seen.has('HTTP2-Settings'),
                  name, seen.fields)
            check('upgrade' not in seen.get('Connection', '').lower(), name)
            if name in ('no Connection', 'another Connection', 'no Upgrade',
                        'h2c'):
                equal(visitor.get('/next').body, b'plain', name)
            else:
                equal(visitor.how_it_ends(5), (b'', 'eof'), name)


@test()
def other_protocols_by_option(w):
    """--upgrade; the bytes go both ways, with half-closes."""
    def answer(x):
        protocol = x.request.get('Upgrade')
        if x.target == '/other' or protocol is None:
            return x.send(switching('foo') if protocol
                          else b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n'
                               b'\r\nno')
        x.send(switching(protocol, b'hello'))
        said.append(x.exactly(5))
        check(not x.fill('the half close'), 'bytes too many')
        x.send(b'still here')
        x.close()
    said = []
    server, _, origin = w.pair(answer, '--upgrade', 'echo/1', '--upgrade',
                               'other')
    for protocol in ('echo/1', 'ECHO/1', 'other', 'WebSocket'):
        with w.visitor(server) as visitor:
            visitor.ask(fields=[('Connection', 'upgrade'),
                                ('Upgrade', protocol)])
            head = visitor.final_head()
            equal((head.status, head.get('Upgrade').lower()),
                  (101, protocol.lower()), protocol)
            equal(visitor.exactly(5), b'hello', 'down')
            visitor.send(b'bytes')
            visitor.end()
            equal(visitor.how_it_ends(5), (b'still here', 'eof'), 'down')
            seen = origin.requests[-1]
            equal((seen.get('Connection').lower(),
                   seen.get('Upgrade').lower()),
                  ('upgrade', protocol.lower()), 'up')
            equal(len(seen.all('Upgrade')), 1, 'lines')
    equal(said, [b'bytes'] * 4, 'up')
    for protocol, target, status in (('echo', '/', 200), ('echo/2', '/', 200),
                                     ('h2c', '/', 200),
                                     ('echo/1', '/other', 502)):
        with w.visitor(server) as visitor:
            visitor.ask(target=target, fields=[('Connection', 'upgrade'),
                                               ('Upgrade', protocol)])
            equal(visitor.final_head().status, status, protocol)


@test()
def protocols_that_are_never_upgraded_to(w):
    for protocol in ('h2c', 'H2C', 'HTTP/2.0', 'TLS/1.3', 'a b', '', 'a,b'):
        ran = w.run('inlets-server', '--bind-addr', '127.0.0.1', '--upgrade',
                    protocol, code=None)
        check(ran.process.returncode not in (0, None), protocol)
        check('--upgrade' in ran.err, ran.err)
