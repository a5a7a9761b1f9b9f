"""What the exit node makes of visitors' bytes (RFC 9110, RFC 9112).

The tables have one line a case, named after the section that decides it.
Whatever is refused is answered, closed without a reset, and does not reach
the origin: neither itself nor a request hidden behind it.
"""

import time

from lib.house import check, equal, none, soon, test, within
from lib.origin import hello
from lib.wire import Cut

KIB, MIB = 1 << 10, 1 << 20
HIDDEN = b'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n'


def get(*lines, start=b'GET / HTTP/1.1', host=b'Host: a\r\n'):
    return (start + b'\r\n' + host + b''.join(x + b'\r\n' for x in lines)
            + b'\r\n')


def post(*lines, body=b''):
    return get(*lines, start=b'POST / HTTP/1.1') + body


def line(start):
    return get(start=start)


def host(value):
    return get(host=b'Host: ' + value + b'\r\n')


CL, TE = b'Content-Length: ', b'Transfer-Encoding: '
NIL = b'0\r\n\r\n'

# name: (status or statuses, bytes)
REFUSED = {
    # --- the length of a message
    '9112-6.3 CL and TE': (400, post(CL + b'5', TE + b'chunked', body=NIL)),
    '9112-6.3 TE and CL': (400, post(TE + b'chunked', CL + b'5', body=NIL)),
    '9112-6.3 CL 0 and TE': (400, post(CL + b'0', TE + b'chunked', body=NIL)),
    '9112-6.3 GET, CL and TE': (400, get(CL + b'5', TE + b'chunked')),
    '9112-6.3 unequal CLs': (400, post(CL + b'5', CL + b'6', body=b'abcde')),
    '9112-6.3 equal CLs': (400, post(CL + b'5', CL + b'5', body=b'abcde')),
    '9112-6.3 CL list': (400, post(CL + b'5, 5', body=b'abcde')),
    '9112-6.3 CL list, unequal': (400, post(CL + b'5, 6', body=b'abcde')),
    '9112-6.3 CL list, short': (400, post(CL + b'5,', body=b'abcde')),
    '9112-6.3 CL +5': (400, post(CL + b'+5', body=b'abcde')),
    '9112-6.3 CL -1': (400, post(CL + b'-1')),
    '9112-6.3 CL 0x5': (400, post(CL + b'0x5', body=b'abcde')),
    '9112-6.3 CL 5 5': (400, post(CL + b'5 5', body=b'abcde')),
    '9112-6.3 CL 1e1': (400, post(CL + b'1e1', body=b'abcde')),
    '9112-6.3 CL 5.0': (400, post(CL + b'5.0', body=b'abcde')),
    '9112-6.3 CL "5"': (400, post(CL + b'"5"', body=b'abcde')),
    '9112-6.3 CL 5;a': (400, post(CL + b'5;a', body=b'abcde')),
    '9112-6.3 CL empty': (400, post(CL)),
    '9112-6.3 CL letters': (400, post(CL + b'abc')),
    '9112-6.3 CL form feed': (400, post(CL + b'\f5', body=b'abcde')),
    '9112-6.3 CL 2^63': (400, post(CL + b'9223372036854775808')),
    '9112-6.3 CL 2^64': (400, post(CL + b'18446744073709551616')),
    '9112-6.3 CL 2^64 + 5': (400, post(CL + b'18446744073709551621')),
    '9112-6.3 CL of 100 nines': (400, post(CL + b'9' * 100)),
    '9112-6.3 CL space colon': (400, post(b'Content-Length : 5',
                                          body=b'abcde')),
    '9112-6.3 CL folded': (400, post(b'Content-Length:\r\n 5',
                                     body=b'abcde')),
    '9112-6.1 TE identity': ((400, 501), post(TE + b'identity')),
    '9112-6.1 TE gzip': ((400, 501), post(TE + b'gzip')),
    '9112-6.1 TE chunked, gzip': ((400, 501),
                                  post(TE + b'chunked, gzip', body=NIL)),
    '9112-6.1 TE gzip, chunked': ((400, 501),
                                  post(TE + b'gzip, chunked', body=NIL)),
    '9112-6.1 TE chunked, identity': (
        (400, 501), post(TE + b'chunked, identity', body=NIL)),
    '9112-6.1 TE xchunked': ((400, 501), post(TE + b'xchunked', body=NIL)),
    '9112-6.1 TE chunkedx': ((400, 501), post(TE + b'chunkedx', body=NIL)),
    '9112-6.1 TE chunked;q=1': ((400, 501),
                                post(TE + b'chunked;q=1', body=NIL)),
    '9112-6.1 TE chunked, chunked': ((400, 501),
                                     post(TE + b'chunked, chunked', body=NIL)),
    '9112-6.1 TE twice': ((400, 501), post(TE + b'chunked', TE + b'chunked',
                                           body=NIL)),
    '9112-6.1 TE chunked and identity': (
        (400, 501), post(TE + b'chunked', TE + b'identity', body=NIL)),
    '9112-6.1 TE identity and chunked': (
        (400, 501), post(TE + b'identity', TE + b'chunked', body=NIL)),
    '9112-6.1 TE empty': ((400, 501), post(TE)),
    '9112-6.1 TE , chunked': ((400, 501), post(TE + b', chunked', body=NIL)),
    '9112-6.1 TE chunked,': ((400, 501), post(TE + b'chunked,', body=NIL)),
    '9112-6.1 TE "chunked"': ((400, 501), post(TE + b'"chunked"', body=NIL)),
    '9112-6.1 TE vertical tab': (400, post(TE + b'\vchunked', body=NIL)),
    '9112-6.1 TE space colon': (400, post(b'Transfer-Encoding : chunked',
                                          body=NIL)),
    '9112-6.1 TE on a folded line': (400, post(
        b'Transfer-Encoding:\r\n chunked', body=NIL)),
    '9112-6.1 TE in HTTP/1.0': (400, get(
        TE + b'chunked', start=b'POST / HTTP/1.0') + NIL),
    # --- fields
    '9112-5.2 obs-fold': (400, get(b'X: a', b' b')),
    '9112-5.2 obs-fold with a tab': (400, get(b'X: a', b'\tb')),
    '9112-5.1 space before the colon': (400, get(b'X : a')),
    '9112-5.1 tab before the colon': (400, get(b'X\t: a')),
    '9110-5.1 space in a name': (400, get(b'X Y: a')),
    '9110-5.1 no name': (400, get(b': a')),
    '9110-5.1 no colon': (400, get(b'Xa')),
    '9110-5.1 slash in a name': (400, get(b'X/Y: a')),
    '9110-5.1 bracket in a name': (400, get(b'X[Y]: a')),
    '9110-5.1 UTF-8 in a name': (400, get(b'X\xc3\xa9: a')),
    '9110-5.1 NUL in a name': (400, get(b'X\0Y: a')),
    '9110-5.1 control in a name': (400, get(b'X\x01: a')),
    '9110-5.1 DEL in a name': (400, get(b'X\x7f: a')),
    '9110-5.5 NUL in a value': (400, get(b'X: a\0b')),
    '9110-5.5 control in a value': (400, get(b'X: a\x01b')),
    '9110-5.5 DEL in a value': (400, get(b'X: a\x7fb')),
    '9110-5.5 ESC in a value': (400, get(b'X: \x1b[31m')),
    '9112-2.2 CR in a value': (400, get(b'X: a\rb')),
    '9112-2.2 LF in a value': (400, get(b'X: a\nY: b')),
    '9112-2.2 CR CR LF': (400, get(b'X: a\r')),
    '9112-2.2 space before the first field': (
        400, get(host=b' Host: a\r\n')),
    '9112-2.2 tab before the first field': (400, get(host=b'\tX: a\r\n'
                                                          b'Host: a\r\n')),
    '9112-2.2 LF ends the lines': (400, b'GET / HTTP/1.1\nHost: a\n\n'),
    '9112-2.2 LF ends the start line': (400,
                                        b'GET / HTTP/1.1\nHost: a\r\n\r\n'),
    '9112-2.2 LF ends a field': (400, b'GET / HTTP/1.1\r\nHost: a\n\r\n'),
    '9112-2.2 LF ends the head': (400, b'GET / HTTP/1.1\r\nHost: a\r\n\n'),
    '9112-2.2 CR ends the lines': (400, b'GET / HTTP/1.1\rHost: a\r\r'),
    '9112-2.2 CR ends a field': (400, b'GET / HTTP/1.1\r\nHost: a\rX: b\r\n'
                                      b'\r\n'),
    # --- Host
    '9112-3.2.2 a backslash behind the host': (
        400, get(start=b'GET http://a\\x HTTP/1.1')),
    '9112-3.2 no Host': (400, get(host=b'')),
    '9112-3.2 two Hosts': (400, get(b'Host: b')),
    '9112-3.2 the same Host twice': (400, get(b'Host: a')),
    '9112-3.2 Host twice, case': (400, get(b'HOST: a')),
    '9112-3.2 Host empty': (400, host(b'')),
    '9112-3.2 Host list': (400, host(b'a, b')),
    '9112-3.2 Host list without space': (400, host(b'a,b')),
    '9112-3.2 Host with a space': (400, host(b'a b')),
    '9112-3.2 Host with a tab': (400, host(b'a\tb')),
    '9112-3.2 Host with a user': (400, host(b'u@a')),
    '9112-3.2 Host with user and password': (400, host(b'u:p@a')),
    '9112-3.2 Host with a path': (400, host(b'a/b')),
    '9112-3.2 Host with a scheme': (400, host(b'http://a')),
    '9112-3.2 Host with a query': (400, host(b'a?b')),
    '9112-3.2 Host with a fragment': (400, host(b'a#b')),
    '9112-3.2 Host with a backslash': (400, host(b'a\\b')),
    '9112-3.2 Host with a percent': (400, host(b'a%00b')),
    '9112-3.2 Host with quotes': (400, host(b'"a"')),
    '9112-3.2 Host with an angle': (400, host(b'<a>')),
    '9112-3.2 Host not in ASCII': (400, host(b'\xc3\xa9.example')),
    '9112-3.2 Host with NUL': (400, host(b'a\0b')),
    '9112-3.2 port of letters': (400, host(b'a:b')),
    '9112-3.2 port with letters': (400, host(b'a:80a')),
    '9112-3.2 port -1': (400, host(b'a:-1')),
    '9112-3.2 port +80': (400, host(b'a:+80')),
    '9112-3.2 port 65536': (400, host(b'a:65536')),
    '9112-3.2 port 99999': (400, host(b'a:99999')),
    '9112-3.2 port of 20 digits': (400, host(b'a:' + b'1' * 20)),
    '9112-3.2 two ports': (400, host(b'a:80:80')),
    '9112-3.2 port alone': (400, host(b':80')),
    '9112-3.2 empty label': (400, host(b'a..b')),
    '9112-3.2 dot alone': (400, host(b'.')),
    '9112-3.2 dot in front': (400, host(b'.a')),
    '9112-3.2 host of 300': (400, host(b'a' * 300)),
    '9112-3.2 bracket open': (400, host(b'[::1')),
    '9112-3.2 bracket closed': (400, host(b'::1]')),
    '9112-3.2 no brackets': (400, host(b'::1')),
    '9112-3.2 brackets empty': (400, host(b'[]')),
    '9112-3.2 a name in brackets': (400, host(b'[a]')),
    '9112-3.2 words behind brackets': (400, host(b'[::1]a')),
    '9112-3.2.2 another host': (400, line(b'GET http://b/ HTTP/1.1')),
    '9112-3.2.2 another port': (400, line(b'GET http://a:81/ HTTP/1.1')),
    '9112-3.2.2 a user': (400, line(b'GET http://u@a/ HTTP/1.1')),
    '9112-3.2.2 no host': (400, line(b'GET http:/// HTTP/1.1')),
    '9112-3.2.2 nothing': (400, line(b'GET http:// HTTP/1.1')),
    '9112-3.2.2 no Host field': (400, get(start=b'GET http://a/ HTTP/1.1',
                                          host=b'')),
    '9112-3.2.2 ftp': (400, line(b'GET ftp://a/ HTTP/1.1')),
    '9112-3.2.2 file': (400, line(b'GET file:///etc/passwd HTTP/1.1')),
    '9112-3.2.3 authority-form': (400, line(b'GET a:80 HTTP/1.1')),
    '9112-3.2.4 GET *': (400, line(b'GET * HTTP/1.1')),
    '9112-3.2.1 no slash': (400, line(b'GET x HTTP/1.1')),
    '9112-3.2.1 a query alone': (400, line(b'GET ?x HTTP/1.1')),
    '9112-3.2 a fragment': (400, line(b'GET /a#b HTTP/1.1')),
    '9112-3.2 a space in the target': (400, line(b'GET /a b HTTP/1.1')),
    '9112-3.2 a tab in the target': (400, line(b'GET /a\tb HTTP/1.1')),
    '9112-3.2 NUL in the target': (400, line(b'GET /a\0b HTTP/1.1')),
    '9112-3.2 a control in the target': (400, line(b'GET /a\x01b HTTP/1.1')),
    '9112-3.2 DEL in the target': (400, line(b'GET /a\x7fb HTTP/1.1')),
    '9112-3.2 UTF-8 in the target': (400, line(b'GET /\xc3\xa9 HTTP/1.1')),
    '9112-3.2 a byte of 0xff in it': (400, line(b'GET /\xff HTTP/1.1')),
    '9112-3.2 CR in the target': (400, line(b'GET /a\rb HTTP/1.1')),
    # --- start lines
    '9112-3 no target': (400, line(b'GET  HTTP/1.1')),
    '9112-3 two spaces': (400, line(b'GET  / HTTP/1.1')),
    '9112-3 two spaces behind': (400, line(b'GET /  HTTP/1.1')),
    '9112-3 a space at the end': (400, line(b'GET / HTTP/1.1 ')),
    '9112-3 a space in front': (400, line(b' GET / HTTP/1.1')),
    '9112-3 tabs': (400, line(b'GET\t/\tHTTP/1.1')),
    '9112-3 no version but a space': ((400, 505), line(b'GET / ')),
    '9112-2.3 http/1.1': (400, line(b'GET / http/1.1')),
    '9112-2.3 HTTP/1': (400, line(b'GET / HTTP/1')),
    '9112-2.3 HTTP/11': (400, line(b'GET / HTTP/11')),
    '9112-2.3 HTTP/1.10': (400, line(b'GET / HTTP/1.10')),
    '9112-2.3 HTTP/01.1': (400, line(b'GET / HTTP/01.1')),
    '9112-2.3 HTTP/1,1': (400, line(b'GET / HTTP/1,1')),
    '9112-2.3 HTTPS/1.1': (400, line(b'GET / HTTPS/1.1')),
    '9112-2.3 RTSP/1.0': (400, line(b'GET / RTSP/1.0')),
    '9112-2.3 ICE/1.0': (400, line(b'SOURCE / ICE/1.0')),
    '9112-2.3 HTTP/': (400, line(b'GET / HTTP/')),
    '9112-2.3 HTTP/1.2': (505, line(b'GET / HTTP/1.2')),
    '9112-2.3 HTTP/0.9': ((400, 505), line(b'GET / HTTP/0.9')),
    '9112-2.3 HTTP/2.0': (505, line(b'GET / HTTP/2.0')),
    '9112-2.3 HTTP/3.0': (505, line(b'GET / HTTP/3.0')),
    '9112-2.3 HTTP/9.9': (505, line(b'GET / HTTP/9.9')),
    '9112-2.3 a line of HTTP/0.9': ((400, 505), b'GET /\r\n\r\n'),
    '9113-3.4 the preface': ((400, 505), b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    'TLS on the plain port': (400, bytes.fromhex('16030100c8010000c40303')
                              + bytes(190)),
    'PROXY from nobody': ((400, 501), b'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n'
                          + get()),
    # --- methods
    '9110-9.3.6 CONNECT': ((405, 501), get(start=b'CONNECT a:80 HTTP/1.1',
                                           host=b'Host: a:80\r\n')),
    '9110-9.3.6 CONNECT a path': ((400, 405, 501),
                                  line(b'CONNECT / HTTP/1.1')),
    '9110-9.3.8 TRACE': ((405, 501), line(b'TRACE / HTTP/1.1')),
    '9110-9.1 unknown': (501, line(b'BREW / HTTP/1.1')),
    '9110-9.1 unknown, like GET': (501, line(b'GETX / HTTP/1.1')),
    '9110-9.1 unknown, shorter': (501, line(b'GE / HTTP/1.1')),
    '9110-9.1 unknown, 32 letters': (501, line(b'A' * 32 + b' / HTTP/1.1')),
    '9110-9.1 unknown, 500 letters': (
        501, line(b'A' * 500 + b' / HTTP/1.1')),
    '9110-9.1 lower case': ((400, 501), line(b'get / HTTP/1.1')),
    '9110-9.1 mixed case': ((400, 501), line(b'Get / HTTP/1.1')),
    '9110-9.1 not a token': (400, line(b'G@T / HTTP/1.1')),
    '9110-9.1 a quoted method': (400, line(b'"GET" / HTTP/1.1')),
    '9110-9.1 NUL in the method': (400, line(b'G\0T / HTTP/1.1')),
    # --- expectations
    '9110-10.1.1 Expect: other': (417, post(CL + b'1', b'Expect: magic',
                                            body=b'a')),
    '9110-10.1.1 Expect: two': (417, post(
        CL + b'1', b'Expect: 100-continue, magic', body=b'a')),
}

CHUNKED = TE + b'chunked'
# name: the body behind a good head; its head may reach the origin, its end not
BAD_BODIES = {
    '9112-7.1 17 digits': b'fffffffffffffffff\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 2^63': b'8000000000000000\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 2^64': b'10000000000000000\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 2^64 - 1': b'ffffffffffffffff\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 0x5': b'0x5\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 +5': b'+5\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 -5': b'-5\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 5 and a space': b'5 \r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 a space and 5': b' 5\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 5 and a tab': b'5\t\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 5_0': b'5_0\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 a letter': b'g\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 no size': b'\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 an extension alone': b';a=b\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1 NUL in the size': b'5\0\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 a long extension': b'5;a=' + b'b' * 9000
                                   + b'\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 many extensions': b'1;a=bcdefghij\r\na\r\n' * 900
                                  + b'0\r\n\r\n',
    '9112-7.1.1 no name': b'5;=b\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 no value': b'5;a=\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 no second value': b'5;a=b;c=;d\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 nothing': b'5;\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 NUL in an extension': b'5;a=\0\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 CR in an extension': b'5;a\rb\r\nabcde\r\n0\r\n\r\n',
    '9112-7.1.1 LF in an extension': b'5;a\nabcde\r\n0\r\n\r\n',
    '9112-7.1 LF behind the size': b'5\nabcde\r\n0\r\n\r\n',
    '9112-7.1 CR behind the size': b'5\rabcde\r\n0\r\n\r\n',
    '9112-7.1 LF behind the data': b'5\r\nabcde\n0\r\n\r\n',
    '9112-7.1 CR behind the data': b'5\r\nabcde\r0\r\n\r\n',
    '9112-7.1 nothing behind the data': b'5\r\nabcde0\r\n\r\n',
    '9112-7.1 more data': b'5\r\nabcdef\r\n0\r\n\r\n',
    '9112-7.1 less data': b'5\r\nabc\r\n0\r\n\r\n',
    '9112-7.1 LF behind the last size': b'0\n\r\n',
    '9112-7.1 LF at the end': b'0\r\n\n',
    '9112-7.1 CR at the end': b'0\r\n\rX',
    '9112-7.1.2 Content-Length': b'0\r\nContent-Length: 5\r\n\r\n',
    '9112-7.1.2 Transfer-Encoding': b'0\r\nTransfer-Encoding: chunked\r\n\r\n',
    '9112-7.1.2 a space before the colon': b'0\r\nX : y\r\n\r\n',
    '9112-7.1.2 obs-fold': b'0\r\nX: y\r\n z\r\n\r\n',
    '9112-7.1.2 no colon': b'0\r\nX\r\n\r\n',
    '9112-7.1.2 no name': b'0\r\n: y\r\n\r\n',
    '9112-7.1.2 NUL': b'0\r\nX: \0\r\n\r\n',
    '9112-7.1.2 LF': b'0\r\nX: y\n\r\n',
    '9112-7.1.2 a space in front': b'0\r\n X: y\r\n\r\n',
    '9112-7.1.2 over 8 KiB': b'0\r\n' + b'X: y\r\n' * 3000 + b'\r\n',
}


def send_all(visitor, data, fragmented):
    """Whole, or a byte at a time; who has its answer may have closed."""
    try:
        if not fragmented:
            visitor.send(data)
        for i in range(len(data) if fragmented else 0):
            visitor.send(data[i:i + 1])
    except OSError:
        pass


def refusal(w, server, data, fragmented):
    """(status, how it is wrong) of what comes before the end."""
    with w.visitor(server) as visitor:
        send_all(visitor, data, fragmented)
        try:
            said, how = visitor.how_it_ends(5)
        except TimeoutError:
            return 0, 'still open: ' + repr(bytes(visitor.buf[:80]))
    head = said.partition(b'\r\n\r\n')[0].lower()
    if not said.startswith(b'HTTP/1.1 '):
        return 0, f'{how} after {said[:80]!r}'
    wrong = []
    if how != 'eof':
        wrong.append(how)
    if b'\r\nconnection: close' not in head:
        wrong.append('no Connection: close')
    if said.count(b'HTTP/1.1 ') != 1:
        wrong.append('more than one answer')
    return int(said[9:12]), ', '.join(wrong)


def refused(w, fragmented):
    server, _, origin = w.pair(hello)
    problems = []
    for name, (wanted, data) in REFUSED.items():
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        came = len(origin.requests)
        status, wrong = refusal(w, server, data + HIDDEN, fragmented)
        if status not in wanted or wrong:
            problems.append(f'{name}: {status} {wrong}, wanted {wanted}')
        if len(origin.requests) != came:
            problems.append(f'{name}: {origin.requests[came:]} at the origin')
    none(problems)
    equal(server.get('/good').status, 200, 'afterwards')
    equal(origin.targets(), ['/good'], 'at the origin')


@test()
def bad_heads_are_refused(w):
    refused(w, False)


@test()
def bad_heads_byte_by_byte(w):
    refused(w, True)


def bad_bodies(w, fragmented):
    server, _, origin = w.pair(hello)
    problems = []
    for name, body in BAD_BODIES.items():
        if fragmented and len(body) > KIB:
            continue
        status, wrong = refusal(w, server, post(CHUNKED, body=body) + HIDDEN,
                                fragmented)
        if status not in (400, 431) or wrong:
            problems.append(f'{name}: {status} {wrong}')
    for request in origin.requests:
        if request.body is not None:
            problems.append(f'{request} with {request.body!r} at the origin')
    none(problems)
    check('/hidden' not in origin.targets(), 'a hidden request came')
    equal(server.get().status, 200, 'afterwards')


@test()
def bad_bodies_are_cut(w):
    bad_bodies(w, False)


@test()
def bad_bodies_byte_by_byte(w):
    bad_bodies(w, True)


# name: (bytes, target at the origin, Host there)
TAKEN = {
    '9112-2.2 an empty line before': (b'\r\n' + get(), '/', 'a'),
    '9112-3.2.1 dots': (line(b'GET /a/../b/%2e%2e/ HTTP/1.1'),
                        '/a/../b/%2e%2e/', 'a'),
    '9112-3.2.1 slashes': (line(b'GET //a///b HTTP/1.1'), '//a///b', 'a'),
    '9112-3.2.1 an encoded slash': (line(b'GET /a%2Fb%2f HTTP/1.1'),
                                    '/a%2Fb%2f', 'a'),
    '9112-3.2.1 an encoded NUL': (line(b'GET /%00 HTTP/1.1'), '/%00', 'a'),
    '9112-3.2.1 not an encoding': (line(b'GET /%zz% HTTP/1.1'), '/%zz%', 'a'),
    '9112-3.2.1 an empty query': (line(b'GET /? HTTP/1.1'), '/?', 'a'),
    '9112-3.2.1 question marks': (line(b'GET /??a=?&&b HTTP/1.1'),
                                  '/??a=?&&b', 'a'),
    '9112-3.2.1 what a URL lacks': (line(b'GET /a|b{}"<>\\^`;,: HTTP/1.1'),
                                    '/a|b{}"<>\\^`;,:', 'a'),
    '9112-3.2.1 4,000 bytes': (line(b'GET /' + b'a' * 4000 + b' HTTP/1.1'),
                               '/' + 'a' * 4000, 'a'),
    '9112-3.2.2 absolute-form': (line(b'GET http://a/b?c HTTP/1.1'), '/b?c',
                                 'a'),
    '9112-3.2.2 absolute-form, case': (line(b'GET HTTP://A/b HTTP/1.1'), '/b',
                                       'a'),
    '9112-3.2.2 without a path': (line(b'GET http://a HTTP/1.1'), '/', 'a'),
    '9112-3.2.2 a query without a path': (line(b'GET http://a?b HTTP/1.1'),
                                          '/?b', 'a'),
    '9112-3.2.2 the default port': (line(b'GET http://a:80/ HTTP/1.1'), '/',
                                    'a'),
    '9112-3.2 a port': (host(b'a:8080'), '/', 'a:8080'),
    '9112-3.2 brackets': (host(b'[::1]:80'), '/', '[::1]:80'),
    '9112-5.1 spaces around': (get(b'X: \t a b \t'), '/', 'a'),
    '9110-5.5 obs-text': (get(b'X: caf\xe9'), '/', 'a'),
    '9110-5.5 an empty value': (get(b'X:'), '/', 'a'),
    '9112-6.3 CL with zeros': (post(CL + b'005', body=b'abcde'), '/', 'a'),
    '9112-6.3 CL with spaces': (post(CL + b' 5 ', body=b'abcde'), '/', 'a'),
    '9112-7.1 TE CHUNKED': (post(TE + b'CHUNKED', body=b'5\r\nabcde\r\n'
                                 + NIL), '/', 'a'),
    '9112-7.1 zeros': (post(CHUNKED, body=b'0005\r\nabcde\r\n000\r\n\r\n'),
                       '/', 'a'),
    '9112-7.1 17 digits': (post(CHUNKED, body=b'0' * 16
                                + b'5\r\nabcde\r\n' + NIL), '/', 'a'),
    '9112-7.1.1 extensions': (post(
        CHUNKED, body=b'5;a=b;c="d\\"e";g=""\r\nabcde\r\n0;f\r\n\r\n'),
        '/', 'a'),
    '9110-7.8 h2c': (get(b'Connection: Upgrade, HTTP2-Settings',
                         b'Upgrade: h2c', b'HTTP2-Settings: AAMAAABkAAQ'),
                     '/', 'a'),
}


def taken(w, fragmented):
    server, _, origin = w.pair(hello)
    problems = []
    for name, (data, target, name_there) in TAKEN.items():
        came = len(origin.requests)
        with w.visitor(server) as visitor:
            send_all(visitor, data, fragmented)
            head = visitor.answer()
            if head.status != 200 or len(origin.requests) != came + 1:
                problems.append(f'{name}: {head.status}')
                continue
            request = origin.requests[came]
            if visitor.get('/next').status != 200:
                problems.append(f'{name}: not the next request')
        if (request.target, request.get('Host')) != (target, name_there):
            problems.append(f'{name}: {request.target!r} for '
                            f'{request.get("Host")!r}')
        if request.body != (b'abcde' if request.method == 'POST' else b''):
            problems.append(f'{name}: body {request.body!r}')
        for gone in ('Upgrade', 'HTTP2-Settings', 'Connection'):
            if 'h2c' in str(request.fields).lower() or (
                    'Upgrade' in request.fields):
                problems.append(f'{name}: {gone} at the origin')
    none(problems)


@test()
def good_heads_are_taken(w):
    taken(w, False)


@test()
def good_heads_byte_by_byte(w):
    taken(w, True)


# --- sizes -------------------------------------------------------------------

@test()
def too_much_is_refused(w):
    server, _, origin = w.pair(hello)
    cases = {
        '9112-3 a target of 9 KiB': (414, line(b'GET /' + b'a' * 9000
                                               + b' HTTP/1.1')),
        '9112-3 a target of 70 KiB': (414, line(b'GET /' + b'a' * 70000
                                                + b' HTTP/1.1')),
        '6585-5 a field of 17 KiB': (431, get(b'X: ' + b'a' * 17 * KIB)),
        '6585-5 a name of 17 KiB': (431, get(b'X' * 17 * KIB + b': a')),
        '6585-5 300 fields': (431, get(*[b'X: a'] * 300)),
        '6585-5 a head of 80 KiB': (431, get(*[b'X: ' + b'a' * 8 * KIB] * 10)),
    }
    problems = []
    for name, (wanted, data) in cases.items():
        status, wrong = refusal(w, server, data + HIDDEN, False)
        if status != wanted or wrong:
            problems.append(f'{name}: {status} {wrong}, wanted {wanted}')
    none(problems)
    equal(origin.requests, [], 'at the origin')


# --- who leaves --------------------------------------------------------------

def unread(server, visitor):
    """Bytes of the visitor that wait for the server in the kernel."""
    ends = [f'{p:04X}' for p in (server.visitors[1],
                                 visitor.sock.getsockname()[1])]
    with open('/proc/net/tcp', encoding='ascii') as file:
        for row in file:
            words = row.split()
            if [w.rpartition(':')[2] for w in words[1:3]] == ends:
                return int(words[4].partition(':')[2], 16)
    return 0


def cancelled(w, leave):
    """A big upload to an origin that reads none of it; then the visitor
    leaves, while nobody reads from it."""
    gate = w.gate()

    def answer(x):
        gate.wait(20)
        x.wait_gone(5)
    server, _, origin = w.pair(answer)
    visitor = w.visitor(server)
    visitor.ask('POST', '/stalled', [('Content-Length', 256 * MIB)])
    origin.wait()
    # As much as is taken, and no more: a FIN behind bytes that the other
    # kernel has no room for is never sent.
    for _ in range(16384):
        visitor.send(bytes(16 * KIB))
        if unread(server, visitor) and (time.sleep(0.1) or
                                        unread(server, visitor)):
            break
    else:
        raise AssertionError('the upload was not held')
    time.sleep(0.5)
    check('path=/stalled' not in server.log, 'it ended by itself')
    leave(visitor)
    soon(lambda: 'path=/stalled' in server.log, 2, 'the end of the request')
    gate.set()


@test()
def rst_while_reading_is_paused(w):
    cancelled(w, lambda visitor: visitor.reset())


@test()
def fin_while_reading_is_paused(w):
    cancelled(w, lambda visitor: visitor.close())


@test()
def rst_before_the_answer_cancels_at_once(w):
    gone = []

    def answer(x):
        gone.append(x.wait_gone(5))
    server, _, origin = w.pair(answer)
    visitor = w.visitor(server)
    visitor.ask()
    origin.wait()
    visitor.reset()
    soon(lambda: gone, 2, 'the end at the origin')
    check(gone[0] < 1, f'the origin was told after {gone[0]:.2f} s')


@test()
def refused_upload_reads_the_answer(w):
    """Who still sends a large body gets the answer, not a reset."""
    server, _, origin = w.pair(hello)
    with w.visitor(server) as visitor:
        visitor.send(post(CL + b'4000000', b'Expect: magic'))
        with within(5, 'the answer'):
            for _ in range(60):
                visitor.send(bytes(64 * KIB))
            equal(visitor.answer().status, 417, 'the answer')
            equal(visitor.how_it_ends(5)[1], 'eof', 'the end')
    equal(origin.requests, [], 'at the origin')


HANDSHAKE = (b'Connection: Upgrade', b'Upgrade: websocket',
             b'Sec-WebSocket-Version: 13',
             b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')


@test()
def bytes_behind_a_refused_upgrade_are_nothing(w):
    """Whether the origin refuses, or we answer or ignore it."""
    server, _, origin = w.pair(hello)
    for name, wanted, data in (
            ('refused', 200, get(*HANDSHAKE)),
            ('no length', 200, get(*HANDSHAKE, b'Content-Length: 0')),
            ('a body', 200, post(CL + b'1', *HANDSHAKE, body=b'a')),
            ('another protocol', 200, get(b'Connection: Upgrade',
                                          b'Upgrade: foo')),
            ('TLS', 200, get(b'Connection: Upgrade', b'Upgrade: TLS/1.0')),
            ('two protocols', 200, get(b'Connection: Upgrade',
                                       b'Upgrade: websocket, foo')),
            ('on two lines', 200, get(*HANDSHAKE, b'Upgrade: foo')),
            ('ours to answer', 204, get(*HANDSHAKE, b'Max-Forwards: 0',
                                        start=b'OPTIONS / HTTP/1.1'))):
        with w.visitor(server) as visitor:
            visitor.send(data + HIDDEN)
            equal(visitor.answer().status, wanted, name)
            equal(visitor.how_it_ends(5), (b'', 'eof'), name)
    equal(set(origin.targets()), {'/'}, 'at the origin')


@test()
def a_handshake_with_a_length_of_nothing(w):
    server, _, _ = w.pair(lambda x: x.upgrade())
    with w.visitor(server) as visitor:
        head = visitor.upgrade(fields=[('Content-Length', '0')])
        check(head.accepted, head)


@test()
def head_is_refused_without_a_body(w):
    """RFC 9110 9.3.2."""
    server, _, origin = w.pair(hello)
    problems = []
    for wanted, data in (
            (400, get(host=b'', start=b'HEAD / HTTP/1.1')),
            (400, get(b'X: a', b' b', start=b'HEAD / HTTP/1.1')),
            (400, get(b'Host: b', start=b'HEAD / HTTP/1.1')),
            (414, get(start=b'HEAD /' + b'a' * 9000 + b' HTTP/1.1')),
            (417, get(b'Expect: magic', start=b'HEAD / HTTP/1.1')),
            (431, get(b'X: ' + b'a' * 20000, start=b'HEAD / HTTP/1.1')),
            (505, get(start=b'HEAD / HTTP/3.0')),
            (401, get(*HANDSHAKE, start=b'HEAD /tunnel HTTP/1.1'))):
        with w.visitor(server) as visitor:
            send_all(visitor, data, False)
            said, _ = visitor.how_it_ends(5)
        head, _, body = said.partition(b'\r\n\r\n')
        if int(head[9:12]) != wanted or body or b'Content-Length' not in head:
            problems.append(f'{data[:40]}: {said}')
    none(problems)
    equal(origin.requests, [], 'at the origin')


@test()
def http10_is_told_what_becomes_of_the_connection(w):
    """RFC 9112 C.2.2; also by answers of our own."""
    server = w.server()
    with w.visitor(server) as visitor:
        for said in ('keep-alive', 'close'):
            visitor.ask(fields=[('Connection', said)], version='HTTP/1.0')
            head = visitor.answer()
            equal((head.status, head.get('Connection')), (503, said), said)
        equal(visitor.how_it_ends(5), (b'', 'eof'), 'the end')


@test()
def http10_expects_nothing(w):
    """RFC 9110 10.1.1."""
    server, _, origin = w.pair(hello)
    with w.visitor(server) as visitor:
        visitor.ask('POST', fields=[('Expect', '100-continue')], body=b'hello',
                    version='HTTP/1.0')
        equal(visitor.answer().status, 200, 'the answer')
    equal((origin.requests[0].has('Expect'), origin.requests[0].body),
          (False, b'hello'), 'at the origin')


# --- the tunnel's address ----------------------------------------------------

@test()
def tunnels_need_version_13(w):
    server, _, origin = w.pair(hello)
    for name, version in {'none': b'X: y', 'old':
                          b'Sec-WebSocket-Version: 8'}.items():
        data = get(b'Connection: Upgrade', b'Upgrade: websocket', version,
                   b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
                   b'Authorization: Bearer ' + w.token.encode(),
                   start=b'GET /tunnel HTTP/1.1')
        equal(refusal(w, server, data + HIDDEN, False), (426, ''), name)
        with w.visitor(server) as visitor:
            visitor.send(data)
            head = visitor.answer()  # RFC 9110 15.5.22
            equal((head.get('Upgrade'), head.get('Connection')),
                  ('websocket', 'close, upgrade'), name)
    equal(origin.requests, [], 'at the origin')


# --- limits that are options -------------------------------------------------

@test()
def max_body(w):
    server, _, origin = w.pair(hello, '--max-body', '10')
    equal(server.get(method='POST', body=b'x' * 10).status, 200, '10 bytes')
    problems = []
    for name, data in {
            'a length': post(CL + b'11', body=b'x' * 11),
            'chunks': post(CHUNKED, body=b'6\r\nabcdef\r\n5\r\nabcde\r\n'
                           + NIL),
            'a chunk': post(CHUNKED, body=b'ff\r\n' + b'x' * 255 + b'\r\n'
                            + NIL)}.items():
        status, wrong = refusal(w, server, data + HIDDEN, False)
        if status != 413 or wrong:
            problems.append(f'{name}: {status} {wrong}')
    none(problems)
    equal([r.body for r in origin.requests if r.body], [b'x' * 10],
          'whole at the origin')


@test()
def body_timeout(w):
    """Of the progress, not of the whole; then 408."""
    server, _, origin = w.pair(hello, '--body-timeout', '500ms')
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/slow', [('Content-Length', 10)])
        for _ in range(4):
            visitor.send(b'x')
            time.sleep(0.25)
        with within(5, 'the answer'):
            head = visitor.answer()
        equal((head.status, head.get('Connection')), (408, 'close'), 'answer')
        equal(visitor.how_it_ends(5)[1], 'eof', 'the end')
    equal([r.body for r in origin.requests], [None], 'at the origin')


@test()
def interim_answers_are_no_progress(w):
    """An upstream that reads nothing of an upload must not hold it for ever by
    what is no answer."""
    gate = w.gate()

    def answer(x):
        while not gate.wait(0.2):
            x.start(103)
    server, _, _ = w.pair(answer, '--gateway-timeout', '1s')
    with w.visitor(server) as visitor:
        visitor.ask('POST', '/up', [('Content-Length', 1 << 30)])
        visitor.sock.settimeout(0.5)
        try:
            while True:
                visitor.sock.send(b'x' * 65536)
        except TimeoutError:
            pass
        visitor.sock.settimeout(10)
        with within(4, 'the answer'):
            equal(visitor.answer().status, 504, 'an upload that stands still')
    gate.set()


@test()
def max_requests_per_connection(w):
    server, _, origin = w.pair(hello, '--max-requests-per-connection', '3')
    with w.visitor(server) as visitor:
        said = [visitor.get('/ok').get('Connection') for _ in range(3)]
        equal(said, [None, None, 'close'], 'Connection')
        equal(visitor.how_it_ends(5), (b'', 'eof'), 'the end')
    equal(len(origin.requests), 3, 'at the origin')


# --- order, and who stops sending --------------------------------------------

@test()
def pipelined_requests_are_answered_in_order(w):
    def answer(x):
        body = x.read()
        if x.target == '/0':
            time.sleep(0.3)
        x.reply(200, x.target.encode() + body)
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.send(b''.join(
            get(CL + b'5', start=b'POST /%d HTTP/1.1' % i) + b'abcde'
            if i % 3 == 1 else line(b'GET /%d HTTP/1.1' % i)
            for i in range(10)))
        for i in range(10):
            equal(visitor.body(visitor.head()),
                  b'/%d' % i + (b'abcde' if i % 3 == 1 else b''), i)
    equal(origin.targets(), [f'/{i}' for i in range(10)], 'at the origin')


@test()
def fin_waits_for_a_quick_answer(w):
    def answer(x):
        time.sleep(0.3)
        x.reply(200, b'quick')
    server, _, _ = w.pair(answer)
    with w.visitor(server) as visitor:
        visitor.send(get())
        visitor.end()
        equal(visitor.body(visitor.head()), b'quick', 'the answer')
        equal(visitor.how_it_ends(5), (b'', 'eof'), 'the end')


@test()
def a_plain_request_of_the_tunnel_path_is_the_origins(w):
    server, _, origin = w.pair(hello)
    equal(server.get('/tunnel').status, 200, 'the answer')
    equal(origin.targets(), ['/tunnel'], 'at the origin')


@test()
def connection_names_what_it_can(w):
    """Each field is looked for in it: so it has a limit of its own."""
    server, _, origin = w.pair(hello)
    for value, wanted in ((b'x' * 1000, 200), (b'a,' * 500, 200),
                          (b'a,' * 600, 431), (b',' * 1100, 431)):
        with w.visitor(server) as visitor:
            visitor.send(get(b'Connection: ' + value))
            equal(visitor.answer().status, wanted, value[:20])
    with w.visitor(server) as visitor:
        visitor.send(get(*[b'Connection: ' + b'y' * 100] * 12))
        equal(visitor.answer().status, 431, 'many lines')
    equal(len(origin.requests), 2, 'at the origin')


@test()
def only_websocket_is_a_tunnel(w):
    """Other upgrades of its path are ordinary requests."""
    server, _, origin = w.pair(hello)
    for fields in ((b'Connection: Upgrade, HTTP2-Settings', b'Upgrade: h2c',
                    b'HTTP2-Settings: AAMAAABkAAQ'),
                   (b'Connection: Upgrade', b'Upgrade: foo'),
                   (b'Connection: Upgrade', b'Upgrade: websocket, foo')):
        with w.visitor(server) as visitor:
            visitor.send(get(*fields, start=b'GET /tunnel HTTP/1.1'))
            equal(visitor.answer().status, 200, fields)
    equal(len(origin.requests), 3, 'at the origin')


@test()
def limits_are_named(w):
    """In the log, by the name of the flag."""
    server, _, _ = w.pair(
        lambda x: x.reply(200, x.read()) if x.target != '/hang'
        else x.wait_gone(10), '--log-level', 'debug', '--head-timeout', '300ms',
        '--idle-timeout', '300ms', '--body-timeout', '300ms',
        '--gateway-timeout', '500ms', '--max-requests-per-connection', '1',
        '--max-trailers', '10')
    for limit, data in (
            ('gateway_timeout', get(start=b'GET /hang HTTP/1.1')),
            ('body_timeout', post(CL + b'5', body=b'a')),
            ('max_requests_per_connection', get()),
            ('max_trailers', post(CHUNKED, body=b'0\r\nA: ' + b'b' * 30
                                  + b'\r\n\r\n')),
            ('head_timeout', b'')):
        with w.visitor(server) as visitor:
            visitor.send(data)
            visitor.how_it_ends(5)
        server.wait_log(f'limit={limit}')
    idle = w.server('--idle-timeout', '300ms', '--log-level', 'debug')
    with w.visitor(idle) as visitor:
        equal(visitor.get().status, 503, 'a request')
        visitor.how_it_ends(5)
    idle.wait_log('limit=idle_timeout')
