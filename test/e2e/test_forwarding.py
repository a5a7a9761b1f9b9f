"""What goes on to the upstream, and whose request it is: hop-by-hop fields,
X-Forwarded-..., Via, Forwarded, trusted proxies and the PROXY protocol.

The tables have one line a case, named after the section that it is about:
what is sent, and what the origin must see (a list: exactly these lines of
that name; None: none).
"""

import datetime
import email.utils
import json
import re
import signal
import socket
import struct
import time

from lib import websocket
from lib.house import REQUEST, check, equal, free_port, listens, none, soon, \
    test, within
from lib.origin import echo, hello, named
from lib.procs import Program
from lib.wire import Cut

# Visitors come from one of these.
ANYBODY, TRUSTED = '127.0.0.9', '127.0.0.2'
HOST = 'Demo.Local:8123'

XFF, XFH, XFPROTO, XFPORT, XID = (
    'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Proto',
    'X-Forwarded-Port', 'X-Request-Id')


def differences(request, wanted):
    """What of `wanted` the request does not hold."""
    for name, values in wanted.items():
        if (got := request.all(name)) != (values or []):
            yield f'{name}: got {got}, wanted {values or "none"}'


def run_table(w, server, origin, table, source, before=b''):
    """Sends each case on a connection of its own; all problems at once."""
    problems = []
    for name, fields, wanted, *options in table:
        options = options[0] if options else {}
        count = len(origin.requests)
        with w.visitor(server, source=source) as visitor:
            visitor.send(before)
            visitor.ask(fields=fields, host=HOST, **options)
            status = visitor.answer().status
        if status != 200 or len(origin.requests) != count + 1:
            problems.append(f'{name}: status {status}')
            continue
        request = origin.requests[-1]
        problems += [f'{name}: {problem}' for problem
                     in differences(request, {'Host': [HOST], **wanted})]
        if b'evil' in request.raw:
            problems.append(f'{name}: evil in {request.raw}')
    none(problems)


# --- anybody -----------------------------------------------------------------

FROM_ANYBODY = [
    ('9110 7.6.1 Connection itself', [('Connection', 'close')],
     {'Connection': None}),
    ('9110 7.6.1 what Connection names', [
        ('Connection', 'close, X-Foo'), ('X-Foo', 'evil'), ('X-Bar', '1')],
     {'X-Foo': None, 'X-Bar': ['1']}),
    ('9110 7.6.1 in any case', [('connection', 'x-FOO'), ('X-Foo', 'evil')],
     {'X-Foo': None}),
    ('9110 7.6.1 in two lines, with empty elements', [
        ('Connection', 'X-A'), ('X-A', 'evil'), ('Connection', ' ,X-B,, '),
        ('X-B', 'evil'), ('X-C', '1')],
     {'X-A': None, 'X-B': None, 'X-C': ['1']}),
    ('9110 7.6.1 named twice, sent twice', [
        ('X-A', 'evil'), ('Connection', 'X-A, X-A'), ('x-a', 'evil')],
     {'X-A': None}),
    ('9110 7.6.1 Connection names what cannot go', [
        ('Connection', 'Host, Content-Length, Connection')],
     {'Connection': None}),
    ('9110 7.6.1 Connection names ours', [
        ('Connection', 'X-Forwarded-For, X-Request-Id, Via, X-Forwarded-Host')],
     {XFF: [ANYBODY], XFH: [HOST], 'Via': ['1.1 inlets']}),
    ('9110 7.6.1 known names without Connection', [
        ('Keep-Alive', 'timeout=5'), ('Proxy-Connection', 'keep-alive'),
        ('TE', 'trailers'), ('Proxy-Authorization', 'Basic evil'),
        ('Proxy-Authenticate', 'evil')],
     {'Keep-Alive': None, 'Proxy-Connection': None, 'TE': None,
      'Proxy-Authorization': None, 'Proxy-Authenticate': None}),
    ('9110 7.6.1 their twins', [
        ('Keep_Alive', 'evil'), ('Proxy_Connection', 'evil'),
        ('Transfer_Encoding', 'evil'), ('Content_Length', 'evil')],
     {'Keep_Alive': None, 'Proxy_Connection': None,
      'Transfer_Encoding': None, 'Content_Length': None}),
    ('9110 7.8 Upgrade without Connection', [('Upgrade', 'websocket')],
     {'Upgrade': None, 'Connection': None}),
    ('9110 7.8 h2c', [('Connection', 'Upgrade, HTTP2-Settings'),
                      ('Upgrade', 'h2c'), ('HTTP2-Settings', 'AAMAAABk')],
     {'Upgrade': None, 'Connection': None, 'HTTP2-Settings': None}),
    ('9110 6.6.2 Trailer is end-to-end', [('Trailer', 'X-Sum')],
     {'Trailer': ['X-Sum']}),
    ('9110 7.6.3 Via', [], {'Via': ['1.1 inlets']}),
    ('9110 7.6.3 Via of an HTTP/1.0 request', [], {'Via': ['1.0 inlets']},
     {'version': 'HTTP/1.0'}),
    ('9110 7.6.3 a chain', [('Via', '1.0 fred, 1.1 p.example.net (Apache)')],
     {'Via': ['1.0 fred, 1.1 p.example.net (Apache), 1.1 inlets']}),
    ('9110 7.6.3 a chain of lines', [('Via', '1.0 a'), ('X-B', 'c'),
                                     ('via', '1.1 b')],
     {'Via': ['1.0 a, 1.1 b, 1.1 inlets'], 'X-B': ['c']}),
    ('ours', [], {XFF: [ANYBODY], XFH: [HOST], XFPROTO: ['http'],
                  'Forwarded': None, 'X-Real-IP': None}),
    ('ours, sent by the visitor', [
        (XFF, 'evil'), (XFF, 'evil'), (XFH, 'evil'), (XFPROTO, 'evil'),
        (XFPORT, 'evil'), (XID, 'evil'), ('X-Real-IP', 'evil')],
     {XFF: [ANYBODY], XFH: [HOST], XFPROTO: ['http'], 'X-Real-IP': None}),
    ('ours, in small letters', [(name.lower(), 'evil') for name in (
        XFF, XFH, XFPROTO, XFPORT, XID)],
     {XFF: [ANYBODY], XFH: [HOST], XFPROTO: ['http']}),
    ('ours, their underscore twins', [
        (name.replace('-', '_'), 'evil') for name in (
            XFF, XFH, XFPROTO, XFPORT, XID, 'X-Real-IP')],
     {name.replace('-', '_'): None for name in (
         XFF, XFH, XFPROTO, XFPORT, XID)}),
    ('ours, half a twin', [('X_Forwarded-For', 'evil'),
                           ('X-Forwarded_For', 'evil')], {XFF: [ANYBODY]}),
    ('the rest of the family', [
        ('X-Forwarded-Prefix', 'evil'), ('X-Forwarded-User', 'evil'),
        ('X-Forwarded-Server', 'evil'), ('X_Forwarded_Ssl', 'evil')], {}),
    ('7239 Forwarded', [('Forwarded', 'for=evil'), ('forwarded', 'by=evil')],
     {'Forwarded': None}),
    ('CVE-2016-5385', [('Proxy', 'http://evil/'), ('PROXY', 'evil')],
     {'Proxy': None}),
    ('others go on', [('X-Forwarding', '1'), ('X-Request', '2'),
                      ('X_Other', '3'), ('Cache-Control', 'no-cache')],
     {'X-Forwarding': ['1'], 'X-Request': ['2'], 'X_Other': ['3'],
      'Cache-Control': ['no-cache']}),
]


@test()
def what_anybody_sends(w):
    """Also when there are trusted proxies, and somebody else sends it."""
    origin = w.origin(hello)
    for flags in ((), ('--trusted-proxy', TRUSTED)):
        server = w.server(*flags)
        w.client(server, origin)
        run_table(w, server, origin, FROM_ANYBODY, ANYBODY)
        equal(origin.requests[-1].all(XFPORT), [str(server.visitors[1])],
              'the port')
        check(re.fullmatch('[0-9a-f]{16}', origin.requests[-1].get(XID)),
              'the id')


@test()
def an_upgrade_keeps_to_the_rules(w):
    def answer(x):
        x.upgrade()
    server, _, origin = w.pair(answer)
    with w.visitor(server, source=ANYBODY) as visitor:
        check(visitor.upgrade(fields=[
            ('Connection', 'X-Foo'), ('X-Foo', 'evil'), ('Via', '1.1 a'),
            ('X-Forwarded-For', 'evil'), ('Sec-WebSocket-Protocol', 'chat')])
            .accepted, 'no websocket')
    request = origin.requests[0]
    none(list(differences(request, {
        'Connection': [request.get('Connection')], 'X-Foo': None,
        'Upgrade': ['websocket'], 'Via': ['1.1 a, 1.1 inlets'],
        XFF: [ANYBODY], 'Sec-WebSocket-Protocol': ['chat']})))
    equal(request.get('Connection').lower(), 'upgrade', 'Connection')


@test()
def options_count_their_hops(w):
    """9110 7.6.2, and a request behind it on the connection."""
    server, _, origin = w.pair(hello)
    with w.visitor(server) as visitor:
        for sent, wanted in (('5', '4'), ('1', '0'), ('x', 'x')):
            visitor.get('/', [('Max-Forwards', sent)], method='OPTIONS')
            equal(origin.requests[-1].all('Max-Forwards'), [wanted], sent)
        for target in ('/', '*'):
            answer = visitor.get(target, [('Max-Forwards', '0')],
                                 method='OPTIONS')
            equal((answer.status, answer.has('Content-Length')),
                  (204, False), 'the last hop')
        visitor.get('/', [('Max-Forwards', '0')])
        equal(origin.requests[-1].all('Max-Forwards'), ['0'], 'GET')
    equal(len(origin.requests), 4, 'requests at the origin')
    with w.visitor(server) as visitor:
        visitor.ask('OPTIONS', fields=[('Max-Forwards', '0')],
                    version='HTTP/1.0')
        equal(visitor.answer().status, 204, 'HTTP/1.0')
        equal(visitor.how_it_ends()[1], 'eof', 'its end')
    with w.visitor(server) as visitor:
        visitor.ask('OPTIONS', fields=[('Max-Forwards', '0')],
                    body=REQUEST_BYTES)
        said, _ = visitor.how_it_ends()
        equal(said.count(b'HTTP/1.1 '), 1, 'answers with a body behind')


@test()
def answers_have_a_date(w):
    """9110 6.6.1: the origin's own, or ours."""
    when = 'Thu, 01 Jan 1970 00:00:00 GMT'
    server, _, _ = w.pair(lambda x: x.reply(
        200, b'x', [('Date', when)] if x.target == '/own' else []))
    equal(server.get('/own').all('Date'), [when], 'its own')
    bad = w.visitor(server)
    bad.send(b'nonsense\r\n\r\n')
    for answer in (server.get('/'), bad.answer()):
        date = email.utils.parsedate_to_datetime(answer.get('Date'))
        check(abs(date.timestamp() - time.time()) < 60, answer.fields)
        equal(answer.get('Date'), email.utils.format_datetime(
            date.replace(tzinfo=datetime.timezone.utc), usegmt=True), 'form')


FROM_ORIGIN = [
    ('9110 7.6.1 what Connection names',
     [('Connection', 'close, X-Inner'), ('X-Inner', 'evil')],
     {'X-Inner': None}),
    ('9110 7.6.1 known names', [
        ('Keep-Alive', 'evil'), ('Proxy-Authenticate', 'evil'),
        ('Proxy-Authentication-Info', 'evil'), ('Upgrade', 'h2c'),
        ('Proxy-Connection', 'evil'), ('TE', 'evil')],
     {'Keep-Alive': None, 'Proxy-Authenticate': None, 'Upgrade': None,
      'Proxy-Authentication-Info': None, 'Proxy-Connection': None}),
    ('9110 7.6.3 a gateway may leave Via alone', [('Via', '1.1 origin')],
     {'Via': ['1.1 origin']}),
    ('others go on', [('Server', 'x'), ('X-Request-Id', 'its'),
                      ('Set-Cookie', 'a=b'), ('Set-Cookie', 'c=d')],
     {'Server': ['x'], 'X-Request-Id': ['its'],
      'Set-Cookie': ['a=b', 'c=d']}),
]


@test()
def what_an_origin_sends(w):
    server, _, _ = w.pair(
        lambda x: x.reply(200, b'x', FROM_ORIGIN[int(x.target[1:])][1]))
    problems = []
    for number, (name, _, wanted) in enumerate(FROM_ORIGIN):
        answer = server.get(f'/{number}')
        problems += [f'{name}: {problem}'
                     for problem in differences(answer, wanted)]
        if b'evil' in answer.raw:
            problems.append(f'{name}: evil in {answer.raw}')
    none(problems)


@test()
def trailers_keep_to_the_rules(w):
    """9110 7.6.1: Connection names trailers too; 6.5.1: nothing of ours."""
    sent = [('X-Sum', '1'), ('X-Inner', 'evil'), ('X_Forwarded_For', 'evil'),
            (XFF, 'evil'), ('X-Real-IP', 'evil'), ('Keep_Alive', 'evil')]

    def answer(x):
        x.read()
        x.start_chunked([('Connection', 'x-inner')])
        x.chunk(b'body')
        x.last_chunk(sent)
    server, _, origin = w.pair(answer)
    with w.visitor(server) as visitor:
        for _ in range(2):
            visitor.ask('POST', fields=[('Transfer-Encoding', 'chunked'),
                                        ('Connection', 'X-Inner')])
            visitor.chunk(b'body')
            visitor.last_chunk(sent)
            equal(visitor.answer().trailers, [('X-Sum', '1')], 'down')
            equal(origin.requests[-1].trailers, [('X-Sum', '1')], 'up')


# --- trusted proxies ---------------------------------------------------------

FROM_TRUSTED = [
    ('nothing said', [], {XFF: [TRUSTED], XFH: [HOST], XFPROTO: ['http']}),
    ('X-Forwarded-For is appended to', [(XFF, '198.51.100.7')],
     {XFF: [f'198.51.100.7, {TRUSTED}']}),
    ('X-Forwarded-For of several lines', [
        (XFF, '203.0.113.1'), (XFF, '2001:db8::1,198.51.100.7:4711')],
     {XFF: [f'203.0.113.1, 2001:db8::1, 198.51.100.7:4711, {TRUSTED}']}),
    ('X-Forwarded-For up to what is no address', [
        (XFF, '203.0.113.1, evil, 198.51.100.7')],
     {XFF: [f'198.51.100.7, {TRUSTED}']}),
    ('X-Forwarded-For named by Connection', [
        (XFF, '203.0.113.1'), ('Connection', XFF)], {XFF: [TRUSTED]}),
    ('X-Forwarded-Host and -Proto', [(XFH, 'shop.example'),
                                     (XFPROTO, 'https')],
     {XFH: ['shop.example'], XFPROTO: ['https'], XFPORT: ['443']}),
    ('X-Forwarded-Port', [(XFH, 'shop.example'), (XFPROTO, 'https'),
                          (XFPORT, '8443')], {XFPORT: ['8443']}),
    ('the port that the visitor wrote', [(XFPROTO, 'https')],
     {XFPORT: ['8123']}),
    ('two values', [(XFH, 'a, evil'), (XFPROTO, 'https, evil')],
     {XFH: [HOST], XFPROTO: ['http']}),
    ('two lines', [(XFH, 'a'), (XFH, 'evil'), (XFPROTO, 'https'),
                   (XFPROTO, 'https')], {XFH: [HOST], XFPROTO: ['http']}),
    ('values that make no sense', [
        (XFH, 'evil/'), (XFPROTO, 'evil'), (XFPORT, '0'), (XID, 'evil evil')],
     {XFH: [HOST], XFPROTO: ['http']}),
    ('twins never', [(name.replace('-', '_'), 'evil') for name in (
        XFF, XFH, XFPROTO, XFPORT, XID)],
     {XFF: [TRUSTED], XFH: [HOST], XFPROTO: ['http']}),
    ('X-Request-Id', [(XID, '7b44b0ca-7d2e-4ab5-8f64-0f8c4c2f21a7')],
     {XID: ['7b44b0ca-7d2e-4ab5-8f64-0f8c4c2f21a7']}),
    ('others of the family', [('X-Forwarded-Prefix', '/app')],
     {'X-Forwarded-Prefix': ['/app']}),
    ('what many proxies pass on unread', [
        ('Forwarded', 'for=evil'), ('X-Real-IP', 'evil'), ('Proxy', 'evil')],
     {'Forwarded': None, 'X-Real-IP': None}),
    ('9110 7.6.3 a chain', [('Via', '1.1 front')],
     {'Via': ['1.1 front, 1.1 inlets']}),
]


@test()
def what_a_trusted_proxy_sends(w):
    server, _, origin = w.pair(hello, '--trusted-proxy',
                               f'10.0.0.0/8, {TRUSTED}')
    run_table(w, server, origin, FROM_TRUSTED, TRUSTED)


def requests_in(program):
    return [json.loads(line) for line in program.lines(REQUEST)]


@test()
def the_client_is_the_last_untrusted(w):
    """In the logs, and the id is one in all of them."""
    server, client, origin = w.pair(
        hello, '--trusted-proxy', f'{TRUSTED}/32', '--trusted-proxy',
        '10.0.0.0/8,2001:db8::/32', '--log-format', 'json',
        client_flags=['--log-format', 'json'])
    cases = [
        (TRUSTED, '198.51.100.7', '198.51.100.7'),
        (TRUSTED, '192.0.2.1, 198.51.100.7', '198.51.100.7'),
        (TRUSTED, '198.51.100.7, 10.1.1.1, 2001:db8::1', '198.51.100.7'),
        (TRUSTED, '198.51.100.7, evil, 10.1.1.1', '10.1.1.1'),
        (TRUSTED, '10.2.2.2, 10.1.1.1', '10.2.2.2'),
        (TRUSTED, '[2001:DB9::1]:80', '2001:db9::1'),
        (TRUSTED, '::ffff:198.51.100.7', '198.51.100.7'),
        (TRUSTED, 'evil', TRUSTED),
        (ANYBODY, '198.51.100.7', ANYBODY),
        (ANYBODY, '10.1.1.1', ANYBODY),
    ]
    for number, (source, sent, _) in enumerate(cases):
        with w.visitor(server, source=source) as visitor:
            visitor.get(fields=[(XFF, sent), (XID, f'id-{number}')])
    for number, (source, sent, wanted) in enumerate(cases):
        line = requests_in(server)[number]
        equal(line['remote'], wanted, f'{sent} from {source}')
        equal(line['id'], origin.requests[number].get(XID), 'the id')
        equal(line['id'] == f'id-{number}', source == TRUSTED, 'whose id')


@test()
def visitors_behind_a_proxy_stick_by_their_own_address(w):
    server = w.server('--stick', 'address', '--trusted-proxy', TRUSTED)
    for name in ('one', 'two', 'three'):
        w.client(server, w.origin(named(name)))

    def ask(address):
        with w.visitor(server, source=TRUSTED) as visitor:
            return visitor.get(fields=[(XFF, address)]).body
    homes = {address: ask(address) for address in
             (f'198.51.100.{n}' for n in range(20))}
    check(len(set(homes.values())) > 1, 'all went to one client')
    for address, home in homes.items():
        equal(ask(address), home, address)


FORWARDED = [
    ('7239 4', [], {'Forwarded':
                    [f'for={TRUSTED};host="{HOST}";proto=http']}),
    ('7239 4 appended to', [
        ('Forwarded', 'for=192.0.2.1;proto=https'),
        ('Forwarded', 'for="[2001:db8::1]:4711"')],
     {'Forwarded': ['for=192.0.2.1;proto=https, for="[2001:db8::1]:4711", '
                    f'for={TRUSTED};host="{HOST}";proto=http']}),
    ('7239 4 an open quote', [('Forwarded', 'for="evil')],
     {'Forwarded': [f'for={TRUSTED};host="{HOST}";proto=http']}),
    ('7239 4 a quote that hides', [('Forwarded', 'for=evil, by="'),
                                   ('Forwarded', 'x=y')],
     {'Forwarded': [f'for={TRUSTED};host="{HOST}";proto=http']}),
]


@test()
def forwarded_by_option(w):
    server, _, origin = w.pair(hello, '--forwarded', '--trusted-proxy',
                               TRUSTED)
    run_table(w, server, origin, FORWARDED, TRUSTED)
    with w.visitor(server, source=ANYBODY) as visitor:
        visitor.get(fields=[('Forwarded', 'for=evil')], host='a.local')
    equal(origin.requests[-1].all('Forwarded'),
          [f'for={ANYBODY};host="a.local";proto=http'], 'from anybody')


@test()
def forwarded_of_ipv6(w):
    origin = w.origin(hello)
    server = w.server('--forwarded', address='::1')
    w.client(server, origin)
    server.get(host='[::1]:80')
    none(list(differences(origin.requests[0], {
        'Forwarded': ['for="[::1]";host="[::1]:80";proto=http'],
        XFF: ['::1']})))


# --- the PROXY protocol ------------------------------------------------------

SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'


def v2(source='198.51.100.7', port=4711, told=443, family=0x11, command=0x21,
       tlvs=b''):
    """A header of version 2; source: None for no addresses."""
    body = b''
    if source is not None:
        kind = socket.AF_INET6 if ':' in source else socket.AF_INET
        address = socket.inet_pton(kind, source)
        body = address + address + struct.pack('!HH', port, told)
    body += tlvs
    return SIGNATURE + struct.pack('!BBH', command, family, len(body)) + body


REQUEST_BYTES = b'GET / HTTP/1.1\r\nHost: demo.local\r\n\r\n'

# What is sent, X-Forwarded-For, X-Forwarded-Port (None: ours).
PROXY_HEADERS = [
    ('2.1 TCP4', b'PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n',
     '198.51.100.7', '443'),
    ('2.1 TCP6', b'PROXY TCP6 2001:DB8::7 2001:db8::1 4711 8443\r\n',
     '2001:db8::7', '8443'),
    ('2.1 UNKNOWN', b'PROXY UNKNOWN\r\n', TRUSTED, None),
    ('2.1 UNKNOWN, the longest', b'PROXY UNKNOWN ' + b'x' * 91 + b'\r\n',
     TRUSTED, None),
    ('2.2 TCP4', v2(), '198.51.100.7', '443'),
    ('2.2 TCP6', v2('2001:db8::7', family=0x21), '2001:db8::7', '443'),
    ('2.2 TCP6, mapped', v2('::ffff:198.51.100.7', family=0x21),
     '198.51.100.7', '443'),
    ('2.2 TLVs', v2(tlvs=b'\x04\0\x03abc\x02\0\x04demo'), '198.51.100.7',
     '443'),
    ('2.2 4 KiB of TLVs', v2(tlvs=b'\x04\x0f\xf1' + bytes(4081)),
     '198.51.100.7', '443'),
    ('2.2 LOCAL', v2(None, command=0x20, family=0), TRUSTED, None),
    ('2.2 LOCAL, addresses do not count', v2(command=0x20), TRUSTED, None),
    ('2.2 UNSPEC', v2(None, family=0), TRUSTED, None),
    ('2.2 UNIX', v2(None, family=0x31, tlvs=bytes(216)), TRUSTED, None),
    ('2.2 datagrams', v2(family=0x12), TRUSTED, None),
]

NO_PROXY_HEADERS = [
    ('2 none at all', b''),
    ('2 not first', b'\r\nPROXY UNKNOWN\r\n'),
    ('2.1 in small letters', b'proxy UNKNOWN\r\n'),
    ('2.1 a bare LF', b'PROXY UNKNOWN\n'),
    ('2.1 too long', b'PROXY UNKNOWN ' + b'x' * 92 + b'\r\n'),
    ('2.1 an unknown family', b'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n'),
    ('2.1 two spaces', b'PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n'),
    ('2.1 zeros in front', b'PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n'),
    ('2.1 a port too high', b'PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n'),
    ('2.1 IPv6 as TCP4', b'PROXY TCP4 ::1 ::1 1 2\r\n'),
    ('2.1 twice', b'PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n'),
    ('2.2 version 1', v2(command=0x11)),
    ('2.2 an unknown command', v2(command=0x22)),
    ('2.2 an unknown family', v2(family=0x41)),
    ('2.2 too short', v2('198.51.100.7', family=0x21)),
    ('2.2 too long', SIGNATURE + b'\x21\x11\xff\xff'),
]


def proxied(w, *flags, **options):
    return w.pair(hello, '--proxy-protocol', '--trusted-proxy', TRUSTED,
                  *flags, **options)


@test()
def proxy_headers_are_read(w):
    """Header and request in one segment; the fields of who is told are not
    those of the proxy."""
    server, _, origin = proxied(w, '--log-format', 'json')
    problems = []
    for name, header, address, port in PROXY_HEADERS:
        with w.visitor(server, source=TRUSTED) as visitor:
            visitor.send(header + REQUEST_BYTES.replace(
                b'\r\n\r\n', b'\r\nX-Forwarded-Host: told.local\r\n\r\n'))
            equal(visitor.answer().status, 200, name)
            visitor.get(fields=[(XFF, '192.0.2.99')])   # the same visitor
        believed = 'told.local' if 'LOCAL' in name else 'demo.local'
        problems += [f'{name}: {problem}' for problem in differences(
            origin.requests[-2], {
                XFF: [address], XFH: [believed],
                XFPORT: [port or str(server.visitors[1])]})]
        chain = [f'192.0.2.99, {address}' if 'LOCAL' in name else address]
        problems += [f'{name}, next: {problem}' for problem in differences(
            origin.requests[-1], {XFF: chain})]
        remote = requests_in(server)[-2]['remote']
        if remote != address:
            problems.append(f'{name}: remote {remote} in the log')
    none(problems)


@test()
def proxy_headers_in_pieces(w):
    """Cut at every byte, and byte by byte."""
    server, _, origin = proxied(w)
    for header in (PROXY_HEADERS[0][1], v2(tlvs=b'\4\0\0')):
        data = header + REQUEST_BYTES
        for cut in range(1, len(data)):
            with w.visitor(server, source=TRUSTED) as visitor:
                visitor.send(data[:cut])
                visitor.send(data[cut:])
                equal(visitor.answer().status, 200, f'cut at {cut}')
            equal(origin.requests[-1].all(XFF), ['198.51.100.7'], cut)
        with w.visitor(server, source=TRUSTED) as visitor:
            for byte in data:
                visitor.send(bytes([byte]))
            equal(visitor.answer().status, 200, 'byte by byte')


@test()
def who_must_send_a_proxy_header_must(w):
    server, _, origin = proxied(w)
    for name, data in NO_PROXY_HEADERS:
        with w.visitor(server, source=TRUSTED) as visitor:
            visitor.send(data + REQUEST_BYTES)
            said, _ = visitor.how_it_ends(5)
            # What comes behind a header is a request, and not a good one.
            check(said == b'' or 'twice' in name
                  and said.startswith(b'HTTP/1.1 400 '), f'{name}: {said}')
    equal(origin.requests, [], 'requests at the origin')
    refused = server.lines('connection refused')
    equal(len(refused), len(NO_PROXY_HEADERS) - 1, 'log lines')
    check(all(TRUSTED in line for line in refused), refused)


@test()
def others_must_not_send_a_proxy_header(w):
    """Whatever the flags; a bad request like any other."""
    flags = ('--proxy-protocol', '--trusted-proxy', TRUSTED)
    origin = w.origin(hello)
    for some, source in ((flags, ANYBODY), (flags[1:], TRUSTED),
                         ((), TRUSTED)):
        server = w.server(*some)
        w.client(server, origin)
        for name, header, *_ in PROXY_HEADERS:
            with w.visitor(server, source=source) as visitor:
                visitor.send(header + REQUEST_BYTES)
                said, _ = visitor.how_it_ends(5)
                check(said.startswith(b'HTTP/1.1 400 '), f'{name}: {said}')
        equal(origin.requests, [], 'requests at the origin')
        with w.visitor(server, source=ANYBODY) as visitor:
            equal(visitor.get().status, 200, 'an ordinary visitor')
        equal(origin.requests.pop().all(XFF), [ANYBODY], 'who it was')
        origin.exchanges.clear()


@test()
def half_a_proxy_header_waits_no_longer_than_a_head(w):
    server, _, _ = proxied(w, '--head-timeout', '400ms')
    for data in (b'', b'PROXY TCP4 1.2', v2()[:20]):
        with w.visitor(server, source=TRUSTED) as visitor:
            visitor.send(data)
            with within(3, 'a half header', at_least=0.3):
                equal(visitor.how_it_ends(5)[0], b'', 'what it says')
    equal(len(server.lines('did not arrive in time')), 2, 'log lines')
    # Behind the header a head has its time anew, and its 408.
    with w.visitor(server, source=TRUSTED) as visitor:
        visitor.send(v2() + b'GET / HT')
        equal(visitor.answer().status, 408, 'half a head')


@test()
def half_a_proxy_header_does_not_hold_up_the_end(w):
    """It is closed at once, while requests run to their end."""
    gate = w.gate()

    def answer(x):
        gate.wait()
        hello(x)
    server, _, origin = w.pair(answer, '--proxy-protocol', '--trusted-proxy',
                               TRUSTED)
    busy = w.visitor(server, source=TRUSTED)
    busy.send(v2() + REQUEST_BYTES)
    origin.wait()
    half = w.visitor(server, source=TRUSTED)
    half.send(v2()[:14])
    # A connection that came later is served, so the half has been seen.
    with w.visitor(server) as visitor:
        visitor.send(b'\x16')
        visitor.how_it_ends()
    server.signal(signal.SIGTERM)
    with within(3, 'the end of a half header'):
        equal(half.how_it_ends(5)[0], b'', 'what it says')
    gate.set()
    equal(busy.answer().status, 200, 'the running request')
    with within(3, 'the end'):
        server.wait_exit(0, 5)


@test()
def only_visitors_ports_take_proxy_headers(w):
    """Clients' ports are left alone, whoever connects."""
    server, _, _ = w.pair(hello, '--proxy-protocol', '--trusted-proxy',
                          '127.0.0.1', control=True)
    with w.visitor(server) as visitor:
        visitor.send(v2() + REQUEST_BYTES)
        equal(visitor.answer().status, 200, 'a visitor')


@test()
def trusted_proxies_are_checked_at_the_start(w):
    ran = w.run('inlets-server', '--trusted-proxy', '10.0.0.0/8,evil/8',
                '--bind-addr', '127.0.0.1', code=2)
    check("'evil/8'" in ran.err and '--trusted-proxy' in ran.err, ran.err)
    ran = w.run('inlets-server', '--proxy-protocol', '--bind-addr',
                '127.0.0.1', code=2)
    check('--trusted-proxy' in ran.err, ran.err)


# --- real proxies ------------------------------------------------------------

HAPROXY = '''
global
    maxconn 100
defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen visitors
    bind 127.0.0.1:{port}
    {lines}
'''


def haproxy(w, lines):
    """HAProxy with these lines in its only section; gives its address."""
    port = free_port()
    config = w.file(f'haproxy-{port}.cfg',
                    HAPROXY.format(port=port, lines=lines))
    program = w.start(Program, 'haproxy', ['haproxy', '-db', '-f', config])
    address = ('127.0.0.1', port)
    soon(lambda: listens(address, program), 10, 'haproxy')
    return address


def through(w, server, address, **options):
    """A visitor of the server who goes by way of a proxy."""
    ours, server.visitors = server.visitors, address
    try:
        return w.visitor(server, **options)
    finally:
        server.visitors = ours


@test()
def haproxy_by_tcp(w):
    """send-proxy and send-proxy-v2, and clients by the same way."""
    for option in ('send-proxy', 'send-proxy-v2',
                   'send-proxy-v2 proxy-v2-options crc32c,unique-id'):
        origin = w.origin(echo)
        server = w.server('--proxy-protocol', '--trusted-proxy', TRUSTED)
        host, port = server.visitors
        front = haproxy(w, f'''mode tcp
    server inlets {host}:{port} {option} source {TRUSTED}''')
        w.client(server, origin, via=front)
        with through(w, server, front, source=ANYBODY) as visitor:
            for body in (b'x', bytes(300000)):
                answer = visitor.get(method='POST', body=body,
                                     fields=[(XFF, 'evil')])
                equal((answer.status, answer.body == body), (200, True),
                      option)
        none(list(differences(origin.requests[-1], {
            XFF: [ANYBODY], XFPORT: [str(front[1])]})))


@test()
def haproxy_checks_leave_no_lines(w):
    """A check that only connects, every few seconds, fills no log."""
    server, _, _ = proxied(w)
    host, port = server.visitors
    haproxy(w, f'''mode tcp
    server inlets {host}:{port} send-proxy-v2 source {TRUSTED} check inter 50ms
    server bare {host}:{port} source {TRUSTED} check inter 50ms''')
    for _ in range(20):
        with w.visitor(server, source=TRUSTED):
            pass
    equal(server.get().status, 200, 'afterwards')
    equal(server.lines('refused'), [], 'log lines')


@test()
def haproxy_by_http(w):
    server, _, origin = w.pair(hello, '--trusted-proxy', TRUSTED)
    host, port = server.visitors
    front = haproxy(w, f'''mode http
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Port 443
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request del-header X-Request-Id
    server inlets {host}:{port} source {TRUSTED}''')
    with through(w, server, front, source=ANYBODY) as visitor:
        visitor.get(host='shop.example', fields=[
            (XFF, '203.0.113.1'), (XFH, 'evil'), (XID, 'evil')])
    none(list(differences(origin.requests[-1], {
        XFF: [f'203.0.113.1, {ANYBODY}, {TRUSTED}'], XFH: ['shop.example'],
        XFPROTO: ['https'], XFPORT: ['443']})))
    check('evil' not in origin.requests[-1].get(XID), 'the id')
    check(server.lines(f'remote="?{ANYBODY}'), server.log)


@test()
def nginx_in_front(w):
    """As the README has it, with a websocket."""
    def answer(x):
        x.upgrade() if x.request.has('Upgrade') else x.reply(200, b'hello')
    server, _, origin = w.pair(answer, '--trusted-proxy', TRUSTED)
    host, port = server.visitors
    nginx = w.nginx(f'''location / {{
        proxy_pass http://{host}:{port};
        proxy_bind {TRUSTED};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $http_connection;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Port 443;
        proxy_set_header X-Request-Id $request_id;
    }}''')
    front = ('127.0.0.1', nginx.port)
    with through(w, server, front, source=ANYBODY) as visitor:
        visitor.get(host='shop.example', fields=[
            (XFF, '203.0.113.1'), (XFH, 'evil'), (XID, 'evil')])
    none(list(differences(origin.requests[-1], {
        XFF: [f'203.0.113.1, {ANYBODY}, {TRUSTED}'], XFH: ['shop.example'],
        XFPROTO: ['https'], XFPORT: ['443']})))
    check(re.fullmatch('[0-9a-f]{32}', origin.requests[-1].get(XID)),
          'the id of nginx')
    check(server.lines(f'remote="?{ANYBODY}'), server.log)
    with through(w, server, front, source=ANYBODY) as visitor:
        check(visitor.upgrade().accepted, 'no websocket through nginx')


@test()
def curl_sends_a_proxy_header(w):
    server, _, origin = w.pair(hello, '--proxy-protocol', '--trusted-proxy',
                               TRUSTED)
    host, port = server.visitors
    ran = w.run('curl', '-sS', '--noproxy', '*', '--haproxy-protocol',
                '--interface', TRUSTED, f'http://{host}:{port}/', code=0)
    check('hello' in ran.out, ran.out)
    equal(origin.requests[0].all(XFF), [TRUSTED], 'who it was')
    ran = w.run('curl', '-sS', '--noproxy', '*', '--interface', TRUSTED,
                f'http://{host}:{port}/', code=None)
    check(ran.process.returncode in (52, 56), 'without a header')
