"""--visitors: who may visit what: tokens, addresses and limits by host and
path, decided on the exit node before anything goes to a client."""

import hashlib
import json
import os
import pathlib
import secrets
import signal
import time

from lib import websocket
from lib.house import Failure, check, equal, free_port, none, soon, test
from lib.origin import Pattern, echo, hello
from lib.wire import Cut

KIB = 1024
HOST = 'demo.local'
XFF = 'X-Forwarded-For'


def digest(token):
    return 'sha256:' + hashlib.sha256(token.encode()).hexdigest()


def bearer(token):
    return [('Authorization', f'Bearer {token}')]


class Rules:
    """A visitors file: one rule for HOST, unless others are given."""

    def __init__(self, w, *rules, **rule):
        self.path = os.path.join(w.folder, 'visitors.json')
        self.token = secrets.token_hex(20)
        self.reloads = 0
        if rule.pop('token', False):
            rule['tokens'] = [digest('another'), digest(self.token)]
        self.write(*rules, **rule)

    def write(self, *rules, **rule):
        self.put(json.dumps({'visitors': list(rules) if rules else
                             [{'host': HOST, **rule}]}, indent=1))

    def put(self, text):
        """In one step, as an editor does."""
        with open(self.path + '.new', 'w', encoding='utf-8') as file:
            file.write(text)
        os.replace(self.path + '.new', self.path)

    def change(self, server, *rules, **rule):
        self.write(*rules, **rule)
        server.signal(signal.SIGHUP)
        self.reloads += 1
        server.wait_log('visitors reloaded', self.reloads)

    def pair(self, w, answer, *flags, **options):
        return w.pair(answer, '--visitors', self.path, *flags, **options)


def from_proxy(server, client, fields=(), target='/', host=HOST):
    """By way of a trusted proxy, which names its client."""
    return server.get(target, host, fields=[(XFF, client), *fields])


# --- tokens -------------------------------------------------------------------

@test()
def tokens(w):
    rules = Rules(w, token=True)
    server, client, origin = rules.pair(w, hello, '--log-level', 'debug',
                                        client_flags=['--log-level', 'debug'])
    good, problems = rules.token, []
    basic = [('Authorization', 'Basic eDp5')]
    for name, fields, status in (
            ('right', bearer(good), 200),
            ('the other one', bearer('another'), 200),
            ('small letters', [('authorization', f'bearer {good}')], 200),
            ('large letters', [('AUTHORIZATION', f'BEARER {good}')], 200),
            ('missing', [], 401),
            ('wrong', bearer('x' * 40), 401),
            ('empty', bearer(''), 401),
            ('too short', bearer(good[:-1]), 401),
            ('too long', bearer(good + 'x'), 401),
            ('in large letters', bearer(good.upper()), 401),
            ('its digest', bearer(digest(good)), 401),
            ('another scheme', [('Authorization', f'Token {good}')], 401),
            ('no scheme', [('Authorization', good)], 401),
            ('basic', basic, 401),
            ('twice', bearer(good) * 2, 401),
            ('wrong, then right', bearer('x') + bearer(good), 401),
            ('basic, then right', basic + bearer(good), 401),
            ('right, then basic', bearer(good) + basic, 401),
            ('in a list', bearer(f'{good}, Basic eDp5'), 401),
            ('oversized', bearer('x' * 9000), 401),
            ('proxy', [('Proxy-Authorization', f'Bearer {good}')], 401),
            ('underscore', [('Proxy_Authorization', f'Bearer {good}')], 401),
            ('cookie', [('Cookie', f'Authorization=Bearer {good}')], 401),
            ('named by Connection',
             [('Connection', 'Authorization')] + bearer(good), 401)):
        passed = len(origin.requests)
        answer = server.get('/x', fields=fields)
        if answer.status != status:
            problems.append(f'{name}: {answer.status}')
        if len(origin.requests) != passed + (status == 200):
            problems.append(f'{name}: it reached the upstream')
    none(problems)
    server.wait_log('status=401.*result=EAUTH')
    for request in origin.requests:
        check(not request.has('Authorization'), 'the upstream was shown', good)
    for program in (server, client):
        check(good not in program.log, 'a token in the log of', program.name)
        check(digest(good)[7:] not in program.log, 'a digest in the log')


@test()
def folded_lines_are_no_credentials(w):
    rules = Rules(w, token=True)
    server, _, origin = rules.pair(w, hello)
    for line in (f'Authorization: Bearer\r\n {rules.token}',
                 f'Authorization : Bearer {rules.token}',
                 f'Authorization: Bearer {rules.token}\0'):
        visitor = w.visitor(server)
        visitor.send(f'GET / HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n\r\n'
                     .encode())
        equal(visitor.answer().status, 400, line)
    equal(len(origin.requests), 0, 'requests')


@test()
def refusals_say_what_is_needed(w):
    page = w.file('401.html', '<p>Ask Alice for a token.</p>')
    rules = Rules(w, {'host': HOST, 'tokens': [digest('good')]},
                  {'host': '*.other.test', 'deny': ['127.0.0.1']})
    server, *_ = rules.pair(w, hello)
    answer = server.get('/')
    equal(answer.get('WWW-Authenticate'), f'Bearer realm="{HOST}"', 'missing')
    check(b'request id' in answer.body, answer.body)
    answer = server.get('/', fields=bearer('bad'))
    equal(answer.all('WWW-Authenticate'),
          [f'Bearer realm="{HOST}", error="invalid_token"'], 'wrong')
    visitor = w.visitor(server)
    for _ in range(2):      # the connection stays, and HEAD has no body
        answer = visitor.get('/', method='HEAD')
        equal((answer.status, answer.body), (401, b''), 'HEAD')
    equal(visitor.get('/', fields=bearer('good')).status, 200, 'then')
    equal(server.get('/', method='OPTIONS', fields=[
        ('Origin', 'https://a.test'),
        ('Access-Control-Request-Method', 'PUT')]).status, 401, 'preflight')
    visitor.ask('POST', '/', [('Expect', '100-continue'),
                              ('Content-Length', 5)])
    equal(visitor.answer_head().status, 401, 'no 100 for who may not')
    answer = server.get('/', 'x.other.test')
    equal((answer.status, answer.has('WWW-Authenticate')), (403, False), 'deny')
    second = w.server('--visitors', rules.path, '--error-page', f'401={page}')
    w.client(second, w.origin(hello))
    answer = second.get('/')
    equal((answer.body, answer.status, bool(answer.get('WWW-Authenticate'))),
          (b'<p>Ask Alice for a token.</p>', 401, True), 'a page')


@test()
def paths_are_not_passed_by_other_spellings(w):
    rules = Rules(w, {'host': f'{HOST}/admin', 'tokens': [digest('good')]})
    server, _, origin = rules.pair(w, hello)
    problems = []
    for target, status in (
            ('/', 200), ('/administrator', 200), ('/x/admin', 200),
            ('/%7Ealice', 200), ('/x?/../admin', 200), ('/?x=/admin', 200),
            ('/admin', 401), ('/admin/', 401), ('/admin/x', 401),
            ('/admin?x', 401), (f'http://{HOST}/admin', 401),
            ('/admin?x#', 400), ('/%61dmin', 400), ('/%2561dmin', 400),
            ('/ADMIN', 400), ('//admin', 400), ('/x/../admin', 400),
            ('/./admin', 400), ('/x/%2e%2e/admin', 400), ('/admin%2fx', 400),
            ('/x/%252e./admin', 400), ('/x%2f..%2fadmin', 400),
            ('/admin;x', 400), ('/;/admin', 400), ('/\\admin', 400),
            ('/admin%00', 400), ('/admin%5c', 400)):
        passed = len(origin.requests)
        got = server.get(target).status
        if got != status:
            problems.append(f'{target}: {got}, not {status}')
        if got != 200 and len(origin.requests) > passed:
            problems.append(f'{target}: it reached the upstream')
    none(problems)
    for host in ('DEMO.local', 'demo.local.', 'demo.local:80', 'demo.local:'):
        equal(server.get('/admin', host).status, 401, host)
        equal(server.get('/admin', host, fields=bearer('good')).status, 200,
              host)
    visitor = w.visitor(server)
    visitor.send(f'GET http://{HOST}/admin HTTP/1.1\r\nHost: x.test\r\n\r\n'
                 .encode())
    check(visitor.answer().status in (400, 401), 'another Host')


@test()
def wrong_tokens_are_counted_by_address(w):
    rules = Rules(w, token=True)
    server, *_ = rules.pair(w, hello, '--trusted-proxy', '127.0.0.0/8')
    statuses = [from_proxy(server, '192.0.2.1', bearer('bad')).status
                for _ in range(12)]
    equal(statuses, [401] * 10 + [429] * 2, 'twelve wrong ones')
    good = bearer(rules.token)
    answer = from_proxy(server, '192.0.2.1', good)
    equal(answer.status, 429, 'the right one, from there')
    check(1 <= int(answer.get('Retry-After')) <= 6, answer)
    server.wait_log('limit=wrong_tokens')
    equal(from_proxy(server, '192.0.2.1').status, 401, 'none is no guess')
    equal(from_proxy(server, '192.0.2.2', good).status, 200, 'a neighbour')
    for _ in range(12):
        equal(server.get('/', fields=bearer('bad')).status, 401, 'the proxy')
    time.sleep(int(answer.get('Retry-After')) + 0.2)
    equal(from_proxy(server, '192.0.2.1', good).status, 200, 'later')


# --- addresses ----------------------------------------------------------------

@test()
def addresses(w):
    rules = Rules(w, allow=['192.0.2.0/24', '2001:db8::/32', '127.0.0.2'],
                  deny=['192.0.2.7', '2001:db8:0:1::/64'])
    server, _, origin = rules.pair(w, hello, '--trusted-proxy', '127.0.0.1')
    problems = []
    for client, status in (
            ('192.0.2.1', 200), ('::ffff:192.0.2.1', 200), ('192.0.2.7', 403),
            ('::ffff:192.0.2.7', 403), ('192.0.3.1', 403),
            ('2001:db8::1', 200), ('2001:DB8:0:0:0::1', 200),
            ('2001:db8:0:1::9', 403), ('2001:db9::1', 403),
            ('192.0.2.1, 192.0.3.1', 403), ('192.0.3.1, 192.0.2.1', 200),
            ('192.0.2.1, unknown', 403), ('', 403), ('192.0.2.1:80', None)):
        passed = len(origin.requests)
        got = from_proxy(server, client).status
        if status is not None and got != status:
            problems.append(f'{client}: {got}')
        if len(origin.requests) != passed + (got == 200):
            problems.append(f'{client}: reached the upstream, or did not')
    equal(server.get('/', fields=[('X_Forwarded_For', '192.0.2.1')]).status,
          403, 'its underscore twin')
    none(problems)
    server.wait_log('limit=deny')
    server.wait_log('limit=allow')
    # Who is not trusted is where it is, whatever it says.
    for source, said, status in (('127.0.0.2', '192.0.3.1', 200),
                                 ('127.0.0.3', '192.0.2.1', 403)):
        visitor = w.visitor(server, source=source)
        equal(visitor.get('/', [(XFF, said)]).status, status, source)


@test()
def addresses_by_proxy_protocol(w):
    rules = Rules(w, allow=['2001:db8::/32'], deny=['2001:db8::7'])
    server, *_ = rules.pair(w, hello, '--proxy-protocol', '--trusted-proxy',
                            '127.0.0.2')
    for client, status in (('2001:db8::1', 200), ('2001:db8::7', 403),
                           ('2001:db9::1', 403)):
        visitor = w.visitor(server, source='127.0.0.2')
        visitor.send(f'PROXY TCP6 {client} ::1 4711 80\r\n'.encode())
        equal(visitor.get('/', [(XFF, '2001:db8::1')]).status, status, client)


@test()
def addresses_of_ipv6(w):
    rules = Rules(w, allow=['::1'])
    server, *_ = rules.pair(w, hello, address='::1')
    equal(server.get('/').status, 200, 'allowed')
    rules.change(server, deny=['::/0'])
    equal(server.get('/').status, 403, 'denied')
    rules.change(server, deny=['0.0.0.0/0'])
    equal(server.get('/').status, 200, 'IPv4 is denied')


# --- limits -------------------------------------------------------------------

def in_less_than_a_second(act):
    """Rates are by the real clock: who was slower tries again."""
    for _ in range(3):
        began = time.monotonic()
        try:
            return act()
        except Failure:
            if time.monotonic() - began < 0.9:
                raise
            time.sleep(5)
    return act()


@test()
def rates(w):
    rules = Rules(w, requests_per_second=1, burst=4,
                  requests_per_second_per_address=1, burst_per_address=2)
    server, *_ = rules.pair(w, hello, '--trusted-proxy', '127.0.0.1')

    def fill():
        equal([from_proxy(server, '192.0.2.1').status for _ in range(3)],
              [200, 200, 429], 'one address')
        equal(from_proxy(server, '2001:db8::1').status, 200, 'another')
        # The same /64: who has one of its addresses has all of them.
        equal(from_proxy(server, '2001:db8::2').status, 200, 'its neighbour')
        answer = from_proxy(server, '2001:db8::3')
        equal((answer.status, answer.get('Retry-After')), (429, '1'), 'the /64')
        answer = from_proxy(server, '198.51.100.1')
        equal((answer.status, answer.get('Retry-After')), (429, '1'), 'all')
        equal(server.get('/', 'other.test').status, 200, 'another host')

    in_less_than_a_second(fill)
    server.wait_log('limit=requests_per_second_per_address')
    server.wait_log(r'limit=requests_per_second\b')
    time.sleep(4.2)
    in_less_than_a_second(fill)     # all is as it was


@test()
def bodies(w):
    rules = Rules(w, max_body=1000)
    server, _, origin = rules.pair(
        w, lambda x: (echo if x.target == '/echo' else hello)(x),
        '--max-body', '5000')

    def upload(target, size):
        visitor, passed = w.visitor(server), len(origin.requests)
        visitor.ask('POST', target, [('Transfer-Encoding', 'chunked')])
        visitor.chunk(b'x' * 500)
        origin.wait(passed + 1)
        visitor.chunk(b'x' * (size - 500))
        if size <= 1000:
            visitor.last_chunk()
        return visitor

    equal(server.get('/', method='POST', body=b'x' * 1000).status, 200, '1000')
    passed = len(origin.requests)
    equal(server.get('/', method='POST', body=b'x' * 1001).status, 413, '1001')
    equal(len(origin.requests), passed, 'it was known from the length')
    equal(upload('/', 1000).answer().status, 200, '1000 in chunks')
    equal(upload('/', 1001).answer().status, 413, '1001 in chunks')
    try:
        answer = upload('/echo', 1001).answer()
        check(answer.status == 413, answer)
    except Cut:
        pass        # the answer had begun: it must not look whole
    equal(server.get('/', 'other.test', method='POST', body=b'x' * 4000).status,
          200, 'another host')
    rules.change(server, max_body=10000)
    equal(server.get('/', method='POST', body=b'x' * 5001).status, 413,
          'what --max-body says is the most')


def is_free(server, slots, host=HOST):
    """Can so many run at once, and no more?"""
    visitors = [server.visitor(host=host) for _ in range(slots + 1)]
    try:
        for visitor in visitors[:slots]:
            visitor.ask(target='/hold')
        time.sleep(0.1)
        last = visitors[-1].get('/hold?')
        return last.status == 429 and not any(
            is_answered(visitor) for visitor in visitors[:slots])
    finally:
        for visitor in visitors:
            visitor.reset()


def is_answered(visitor):
    visitor.sock.settimeout(0.05)
    try:
        return bool(visitor.fill())
    except (TimeoutError, Cut):
        return False
    finally:
        visitor.sock.settimeout(10)


@test(timeout=120)
def slots_are_given_back(w):
    gate = w.gate()

    def answer(x):
        if x.target.startswith('/hold'):
            gate.wait(20)
            hello(x)
        elif x.target == '/websocket':
            x.upgrade()
            websocket.echo(x)
        elif x.target == '/early':
            x.reply(200, 'no need for the rest')
        elif x.target == '/half':
            x.start(200, [('Content-Length', 100)])
            x.send(b'x' * 10)
            x.reset()
        elif x.target == '/reset':
            x.reset()
        elif x.target == '/long':
            x.start(200, [('Content-Length', 1 << 30)])
            try:
                while not gate.is_set():
                    x.send(b'x' * 65536)
            except (OSError, Cut):
                pass
        else:
            hello(x)

    rules = Rules(w, concurrent=2)
    server, client, origin = rules.pair(w, answer, '--gateway-timeout', '1s')

    def plain():
        equal(server.get('/').status, 200, 'plain')

    def leaves(target, how, method='GET', fields=()):
        def act():
            visitor = w.visitor(server)
            visitor.ask(method, target, fields)
            time.sleep(0.05)
            getattr(visitor, how)()
        return act

    def bad_gateway():
        equal(server.get('/reset', method='POST', body=b'x').status, 502,
              'reset')

    def cut_answer():
        visitor = w.visitor(server)
        try:
            visitor.get('/half')
        except Cut:
            return
        check(False, 'half an answer was whole')

    def times_out():
        equal(server.get('/hold').status, 504, 'the gateway timeout')

    def early():
        visitor = w.visitor(server)
        visitor.ask('POST', '/early', [('Content-Length', 100000)])
        equal(visitor.answer().status, 200, 'an early answer')
        visitor.close()

    def upgrade(how):
        def act():
            visitor = w.visitor(server)
            check(visitor.upgrade('/websocket').accepted, 'the upgrade')
            visitor.send(websocket.frame(websocket.TEXT, b'hello'))
            equal(websocket.read_frame(visitor)[-1], b'hello', 'the echo')
            other, passed = w.visitor(server), len(origin.requests)
            other.ask(target='/hold')
            origin.wait(passed + 1)
            equal(server.get('/').status, 429, 'a websocket counts')
            other.reset()
            getattr(visitor, how)()
        return act

    def too_long():
        visitor = w.visitor(server)
        visitor.send(f'POST / HTTP/1.1\r\nHost: {HOST}\r\n'
                     'Transfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n'
                     .encode())
        equal(visitor.answer().status, 400, 'a bad chunk')

    for name, act in (
            ('plain', plain), ('left by FIN', leaves('/hold', 'close')),
            ('left by RST', leaves('/hold', 'reset')),
            ('left in an answer', leaves('/long', 'reset')),
            ('left in its body',
             leaves('/', 'reset', 'POST', [('Content-Length', 9)])),
            ('502', bad_gateway), ('half an answer', cut_answer),
            ('504', times_out), ('an early answer', early),
            ('a websocket, FIN', upgrade('close')),
            ('a websocket, RST', upgrade('reset')),
            ('a body of nonsense', too_long)):
        for _ in range(3):      # more often than there are slots
            act()
            soon(lambda: server.get('/').status == 200, 5, f'a slot: {name}')
        soon(lambda: is_free(server, 2), 10, f'all slots, after: {name}')
    server.wait_log('limit=concurrent')
    client.kill()
    soon(lambda: server.get('/').status == 503, 20, 'nobody serves')
    w.client(server, w.origin(answer))
    server.wait_serving()
    soon(lambda: is_free(server, 2), 10, 'all slots, after another client')


@test()
def slots_of_one_address(w):
    gate = w.gate()
    rules = Rules(w, concurrent_per_address=1)
    server, _, origin = rules.pair(w, lambda x: (gate.wait(20), hello(x)),
                                   '--trusted-proxy', '127.0.0.1')
    first, other = w.visitor(server), w.visitor(server)
    first.ask(fields=[(XFF, '2001:db8::1')])
    other.ask(fields=[(XFF, '2001:db8:0:1::1')])
    origin.wait(2)
    answer = from_proxy(server, '2001:db8::2')
    equal((answer.status, answer.get('Retry-After')), (429, '1'), 'its /64')
    rules.change(server, concurrent_per_address=1, max_body=5)
    equal(from_proxy(server, '2001:db8::1').status, 429, 'across a reload')
    server.wait_log('limit=concurrent_per_address')
    gate.set()
    equal([first.answer().status, other.answer().status], [200, 200], 'both')
    soon(lambda: from_proxy(server, '2001:db8::1').status == 200, 5, 'then')


@test(suite='bulk', timeout=120)
def many_addresses_take_bounded_memory(w):
    w.needs_release()
    rules = Rules(w, requests_per_second_per_address=1,
                  concurrent_per_address=2, tokens=[digest('good')])
    server, *_ = rules.pair(w, hello, '--trusted-proxy', '127.0.0.1',
                            '--max-requests-per-connection', '0')
    visitor = w.visitor(server)

    def visit(first, count):
        for i in range(first, first + count):
            address = f'10.{i >> 16}.{i >> 8 & 255}.{i & 255}'
            token = 'good' if i % 5 else 'bad'
            equal(visitor.get('/', [(XFF, address), *bearer(token)]).status,
                  200 if i % 5 else 401, address)

    visit(0, 1000)
    before = server.rss_kib()
    visit(1000, 12500)
    grown = server.rss_kib() - before
    print(f'12,500 addresses took {grown} KiB')
    check(grown < 4 * KIB, f'{grown} KiB for 12,500 addresses')
    late = [(XFF, '10.0.52.187'), *bearer('good')]
    check(429 in [visitor.get('/', late).status for _ in range(4)],
          'a late one is not remembered')


# --- the file -----------------------------------------------------------------

@test()
def changes_while_a_download_runs(w):
    size = 1 << 20
    half, go_on = w.gate(), w.gate()
    pattern = Pattern(size)

    def answer(x):
        if x.target != '/long':
            hello(x)
            return
        x.start(200, [('Content-Length', size)])
        data = b''.join(pattern.pieces())
        x.send(data[:size // 2])
        half.set()
        go_on.wait(30)
        x.send(data[size // 2:])

    rules = Rules(w, allow=['127.0.0.1'])
    server, *_ = rules.pair(w, answer)
    visitor = w.visitor(server, timeout=30)
    visitor.ask(target='/long')
    check(half.wait(10), 'half of it')
    rules.change(server, deny=['127.0.0.1'])
    equal(server.get('/').status, 403, 'after SIGHUP')
    rules.write(tokens=[digest('good')])
    server.wait_log('visitors reloaded', 2)     # by itself
    equal(server.get('/').status, 401, 'after the file changed')
    equal(server.get('/', fields=bearer('good')).status, 200, 'the token')
    rules.put('{"visitors": []}')
    server.wait_log('visitors reloaded.*visitors=0')
    equal(server.get('/').status, 200, 'without rules')
    go_on.set()
    got = visitor.digest(visitor.final_head())
    equal(got, (pattern.digest(), size), 'the download')


@test()
def damaged_file_keeps_the_old_rules(w):
    rules = Rules(w, token=True)
    server, *_ = rules.pair(w, hello)
    with open(rules.path, encoding='utf-8') as file:
        good = file.read()
    cases = (('', 'line 1'), ('{"visitors": [', 'line 1'),
             (good.replace('"tokens"', '"token"'), "line 3: rule 1 "),
             (good.replace('sha256:', ''), 'tokens: not sha256'),
             (good.replace(HOST, 'a b'), 'host: not like'),
             ('{"visitors": [{"host": "*"}]}', 'nothing but its host'))
    for text, words in cases:
        rules.put(text)
        server.signal(signal.SIGHUP)
        soon(lambda words=words: words in server.log, 5, words)
        equal(server.get('/').status, 401, text)
        ran = w.run('inlets-server', '--port', '0', '--control-addr',
                    '127.0.0.1', '--visitors', rules.path, code=1)
        check('visitors.json: ' in ran.err and words in ran.err, ran.err)
    os.remove(rules.path)
    server.signal(signal.SIGHUP)
    server.wait_log('not reloaded, the old ones stay.*No such file')
    equal(server.get('/').status, 401, 'without a file')
    w.run('inlets-server', '--port', '0', '--control-addr', '127.0.0.1',
          '--visitors', rules.path, code=1)
    equal(server.get('/', fields=bearer(rules.token)).status, 200, 'the old')


@test()
def probes_and_tunnels_are_not_visits(w):
    """A rule for all is for what clients serve."""
    rules = Rules(w, {'host': '*', 'tokens': [digest('good')]})
    server = w.server('--visitors', rules.path)
    equal(server.get('/healthz').status, 200, 'a probe')
    equal(server.get('/').status, 503, 'nobody serves')
    client = w.client(server, f'a.test={w.origin(hello).url}')
    soon(client.is_serving, 10, 'the client')
    equal(server.get('/', 'a.test').status, 401, 'a visit')
    equal(server.get('/', 'b.test').status, 503, 'of nobody')
    equal(server.get('/', 'a.test', fields=bearer('good')).status, 200, 'good')


# --- the README ---------------------------------------------------------------

@test()
def lines_of_the_readme(w):
    """As they are, but for the ports."""
    readme = pathlib.Path(__file__).parents[2] / 'README.md'
    lines = (readme.read_text(encoding='utf-8').partition('### Who may visit')
             [2].partition('```sh\n')[2].partition('```')[0])
    origin, port = w.origin(hello), free_port()
    for old, new in ((':8000', f':{port}'), ('http://127.0.0.1:3000',
                                             origin.url),
                     ('inlets-server ', f'inlets-server --port {port} ')):
        check(old in lines, old)
        lines = lines.replace(old, new)
    script = (f'cd "{w.folder}"; PATH="{w.path("cmd")}:$PATH"\n{lines}'
              f'curl -s -o /dev/null -w "%{{http_code}}" -H '
              f'"Host: app.example.com" http://127.0.0.1:{port}/\n'
              'kill $(jobs -p); wait\n')
    ran = w.run('bash', '-c', script, timeout=30)
    equal(ran.out, 'hello from /\n401', 'what curl says')
    check(not origin.requests[0].has('Authorization'), 'the token')
