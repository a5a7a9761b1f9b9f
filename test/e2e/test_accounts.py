"""Accounts: who may open a tunnel and serve what, what changes while they are
connected, and how many wrong tokens an address may show."""

import datetime
import json
import os
import signal
import socket
import time

from lib.house import check, equal, soon, test, within
from lib.origin import hello, named
from lib.procs import Program
from lib.wire import Wire, dial

from test_gate import handshake

REFUSED = r'cannot connect.*status=40'


class Book:
    """An accounts file and the commands that change it."""

    def __init__(self, w):
        self.w = w
        self.path = os.path.join(w.folder, 'accounts.json')

    def run(self, *argv, code=0):
        return self.w.run('inlets-server', 'account', *argv, '--accounts',
                          self.path, code=code)

    def add(self, name, *hosts, flags=()):
        """Its token's file."""
        named_hosts = [flag for host in hosts for flag in ('--host', host)]
        return self.keep(name, self.run('add', name, *named_hosts, *flags).out)

    def rotate(self, name, *flags):
        return self.keep(name + '-new', self.run('rotate', name, *flags).out)

    def keep(self, name, token):
        check(token.startswith('inl_') and len(token.strip()) == 36, token)
        return self.w.file(f'{name}.token', token)

    def change(self, edit):
        """By hand, in one step, as an editor does."""
        with open(self.path, encoding='utf-8') as file:
            said = json.load(file)
        edit(said['accounts'])
        with open(self.path + '.edit', 'w', encoding='utf-8') as file:
            json.dump(said, file)
        os.replace(self.path + '.edit', self.path)

    def server(self, *flags, **options):
        options.setdefault('token', False)
        return self.w.server('--accounts', self.path, *flags, **options)

    def client(self, server, token, *upstreams, **options):
        flags = [*options.pop('flags', ()), '--token-from', token]
        return self.w.client(server, *upstreams, token=False, flags=flags,
                             **options)


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read().strip()


@test()
def hosts_belong_to_their_accounts(w):
    book = Book(w)
    alice = book.add('alice', 'alice.example.com', '*.alice.example.com')
    bob = book.add('bob', 'shared.example.com/bob')
    server = book.server()
    first, second = w.origin(named('alice')), w.origin(named('bob'))
    book.client(server, alice, f'alice.example.com={first.url}',
                f'a.alice.example.com={first.url}')
    book.client(server, bob, f'shared.example.com/bob={second.url}')
    taker = book.client(server, bob, f'alice.example.com={second.url}',
                        ready=False)
    taker.wait_exit(1)
    check('this account may not serve this host' in taker.log, taker.log)
    server.wait_log('endpoint refused.*alice.example.com .*account=bob')
    for _ in range(6):      # the owner's traffic is the owner's
        equal(server.get('/', 'alice.example.com').body, b'alice', 'the owner')
    equal(server.get('/', 'a.alice.example.com').body, b'alice', 'wildcard')
    equal(server.get('/bob/x', 'shared.example.com').body, b'bob', 'path')
    for line in server.lines('tunnel connected'):
        check('account=' in line, line)


@test()
def unknown_hosts_are_404_and_absent_ones_503(w):
    book = Book(w)
    book.add('alice', 'alice.example.com', '*.dev.example.com',
             'shared.example.com/api')
    server = book.server()
    for host, target, status in (
            ('alice.example.com', '/', 503), ('ALICE.example.com.', '/', 503),
            ('a.dev.example.com', '/x', 503), ('dev.example.com', '/', 404),
            ('a.b.dev.example.com', '/', 404), ('example.com', '/', 404),
            ('shared.example.com', '/api/1', 503),
            ('shared.example.com', '/apis', 404),
            ('shared.example.com', '/', 404), ('127.0.0.1', '/', 404)):
        equal(server.get(target, host).status, status, f'{host} {target}')


@test()
def a_token_beside_accounts_may_serve_every_host(w):
    book = Book(w)
    book.add('alice', 'alice.example.com')
    server = book.server(token=True)
    w.client(server, w.origin(named('all')))
    equal(server.get('/', 'any.example.org').body, b'all', 'the token')


@test()
def nobody_without_a_token(w):
    book = Book(w)
    good = read(book.add('alice', 'alice.example.com'))
    server = book.server()
    said = set()
    for token in ('', 'inl_', good[:-1], good + 'x', good.upper(),
                  'sha256:' + json.load(open(book.path, encoding='utf-8'))
                  ['accounts']['alice']['tokens'][0][7:], 'alice'):
        answer = ask(w, server, handshake(token))
        equal(answer.status, 401, token)
        said.add((answer.get('Inlets-Reason'), answer.get('WWW-Authenticate')))
    equal(len(said), 1, said)
    twice = handshake(good).replace(
        b'\r\n\r\n', f'\r\nAuthorization: Bearer {good}\r\n\r\n'.encode())
    equal(ask(w, server, twice).status, 401, 'the field twice')
    equal(ask(w, server, handshake(good)).status, 101, 'the right one')
    check(good not in server.log, 'a token is in the log')


def ask(w, server, request):
    wire = w.keep(Wire(dial(server.tunnels), 10))
    wire.send(request)
    return wire.head()


@test()
def removed_accounts_end(w):
    book = Book(w)
    alice, bob = book.add('alice', 'a.test'), book.add('bob', 'b.test')
    server, gate = book.server(), w.gate()
    origin = w.origin(lambda x: (gate.wait(20), hello(x)))
    client = book.client(server, alice, f'a.test={origin.url}')
    book.client(server, bob, f'b.test={w.origin(named("bob")).url}')
    waiting = w.visitor(server)
    waiting.ask(host='a.test')
    origin.wait(1)
    book.run('remove', 'alice')
    with within(5, 'the end of the tunnel'):
        client.wait_log('there is no such account any more')
        check(waiting.answer().status in (502, 503), 'a running request')
    client.wait_log(REFUSED + '1')
    equal(server.get('/', 'a.test').status, 404, 'its host')
    equal(server.get('/', 'b.test').body, b'bob', 'the other one')
    equal(len(server.lines('tunnel ended')), 1, 'ended')


@test()
def tokens_are_rotated(w):
    book = Book(w)
    old = book.add('alice', 'a.test')
    server = book.server()
    client = book.client(server, old, f'a.test={w.origin(named("old")).url}')
    new = book.rotate('alice')
    server.wait_log('accounts reloaded')
    book.client(server, new, f'a.test={w.origin(named("new")).url}')
    equal({server.get('/', 'a.test').body for _ in range(4)},
          {b'old', b'new'}, 'both are valid')
    book.rotate('alice', '--drop-old')
    client.wait_log('this token is not valid any more')
    soon(lambda: server.get('/', 'a.test').status == 503, 5, 'both are gone')
    equal(len(json.load(open(book.path, encoding='utf-8'))
              ['accounts']['alice']['tokens']), 1, 'tokens')


@test()
def clients_read_their_token_anew(w):
    """Made anew in its file, it is shown at once, which costs no request."""
    book = Book(w)
    path = book.add('alice', 'a.test')
    os.chmod(w.folder, 0o755)   # root's client is somebody else by then
    os.chmod(path, 0o644)
    server, x = book.server(), w.gate()
    origin = w.origin(lambda y: (x.wait(20), hello(y)))
    client = book.client(server, path, f'a.test={origin.url}')
    waiting = w.visitor(server)
    waiting.ask(host='a.test')
    origin.wait(1)
    new = read(book.rotate('alice'))
    with open(path + '.new', 'w', encoding='utf-8') as file:
        file.write(new + '\n')
    os.replace(path + '.new', path)
    client.wait_log('token read anew')
    server.wait_log('tunnel websocket resumed')
    book.run('rotate', 'alice')     # the first one is not valid any more
    server.wait_log('accounts reloaded', 2)
    x.set()
    equal(waiting.answer().status, 200, 'the request that ran meanwhile')
    equal(server.lines('tunnel ended'), [], 'ended')
    check(new not in client.log, 'a token is in the log')


@test()
def accounts_expire(w):
    now = datetime.datetime.now(datetime.timezone.utc)
    due = (now + datetime.timedelta(seconds=4)).strftime('%Y-%m-%dT%H:%M:%SZ')
    book = Book(w)
    alice = book.add('alice', 'a.test', flags=('--expires', due))
    past = book.add('bob', 'b.test', flags=('--expires', '2020-01-01'))
    server = book.server()
    client = book.client(server, alice, f'a.test={w.origin(hello).url}')
    late = book.client(server, past, f'b.test={w.origin(hello).url}',
                       ready=False)
    late.wait_exit(1)
    check('this account has expired' in late.log, late.log)
    equal(server.get('/', 'a.test').status, 200, 'until then')
    with within(9, 'the end'):
        client.wait_log('this account has expired')
    client.wait_log(REFUSED + '3')


@test()
def networks_of_accounts(w):
    book = Book(w)
    near = book.add('near', 'n.test', flags=('--from', '127.0.0.0/8'))
    far = book.add('far', 'f.test', flags=('--from', '192.0.2.0/24', '--from',
                                           '2001:db8::/32'))
    server = book.server('--proxy-protocol', '--trusted-proxy', '127.0.0.2')
    book.client(server, near, f'n.test={w.origin(hello).url}')
    client = book.client(server, far, f'f.test={w.origin(hello).url}',
                         ready=False)
    client.wait_exit(1)
    check('may not be used from this address' in client.log, client.log)
    for source, status in (('192.0.2.9', 101), ('192.0.3.1', 403)):
        answer = ask_from(w, server, source, handshake(read(far)))
        equal(answer.status, status, source)


def ask_from(w, server, source, request):
    """Through a proxy that names the client's address."""
    sock = socket.create_connection(server.tunnels, 10,
                                    source_address=('127.0.0.2', 0))
    wire = w.keep(Wire(sock, 10))
    wire.send(f'PROXY TCP4 {source} 127.0.0.1 4711 80\r\n'.encode() + request)
    return wire.head()


@test()
def wrong_tokens_are_counted_by_address(w):
    book = Book(w)
    good = read(book.add('alice', 'a.test'))
    server = book.server('--proxy-protocol', '--trusted-proxy', '127.0.0.2')
    bad = handshake('inl_' + 'x' * 32)
    statuses = [ask_from(w, server, '192.0.2.1', bad).status
                for _ in range(12)]
    equal(statuses, [401] * 10 + [429] * 2, 'twelve wrong ones')
    answer = ask_from(w, server, '192.0.2.1', handshake(good))
    equal(answer.status, 429, 'the right one, from there')
    check(answer.get('Retry-After'), answer)
    equal(ask_from(w, server, '192.0.2.2', handshake(good)).status, 101,
          'the right one from elsewhere')
    for _ in range(12):
        equal(ask(w, server, bad).status, 401, 'loopback is not counted')


@test()
def sessions_are_limited(w):
    book = Book(w)
    alice = book.add('alice', 'a.test', flags=('--sessions', '1'))
    server = book.server()
    first = book.client(server, alice, f'a.test={w.origin(named("1")).url}')
    second = book.client(server, alice, f'a.test={w.origin(named("2")).url}',
                         ready=False)
    second.wait_log('as many clients as it may have')
    equal(server.get('/', 'a.test').body, b'1', 'the first')
    check(second.running, 'it tries again')
    first.terminate()
    soon(second.is_serving, 20, 'the second')
    # One that has lost its websocket gives way, or its restart would wait.
    second.kill()
    third = book.client(server, alice, f'a.test={w.origin(named("3")).url}')
    equal(server.get('/', 'a.test').body, b'3', 'after a crash')
    check(third.running, 'the third')


@test()
def streams_are_limited(w):
    book = Book(w)
    alice = book.add('alice', 'a.test', flags=('--streams', '2'))
    bob = book.add('bob', 'b.test', flags=('--streams-per-second', '3'))
    server, gate = book.server(), w.gate()
    slow = w.origin(lambda x: (gate.wait(20), hello(x)))
    book.client(server, alice, f'a.test={slow.url}')
    book.client(server, bob, f'b.test={w.origin(hello).url}')
    visitors = [w.visitor(server) for _ in range(3)]
    for visitor in visitors[:2]:
        visitor.ask(host='a.test')
    slow.wait(2)
    visitors[2].ask(host='a.test')
    answer = visitors[2].answer()
    equal((answer.status, bool(answer.get('Retry-After'))), (503, True), '3rd')
    server.wait_log(r'limit=streams\b')
    gate.set()
    equal([v.answer().status for v in visitors[:2]], [200, 200], 'the others')
    statuses = [server.get('/', 'b.test').status for _ in range(6)]
    check(statuses.count(200) >= 3 and 503 in statuses, statuses)
    server.wait_log('limit=streams_per_second')
    time.sleep(1.1)     # that rate is per second of the real clock
    equal(server.get('/', 'b.test').status, 200, 'a second later')


@test()
def other_hosts_reach_connected_clients(w):
    book = Book(w)
    alice = book.add('alice', 'a.test', 'b.test')
    server = book.server()
    origin = w.origin(hello)
    client = book.client(server, alice, f'a.test={origin.url}',
                         f'b.test={origin.url}')
    soon(lambda: server.get('/', 'b.test').status == 200, 10, 'b')
    book.change(lambda accounts: accounts['alice'].update(hosts=['a.test']))
    client.wait_log('may not serve this host')
    equal(server.get('/', 'b.test').status, 404, 'b is not its own any more')
    server.wait_serving('a.test')
    book.change(lambda accounts: accounts['alice'].update(hosts=['*.test']))
    server.wait_serving('b.test')
    server.wait_serving('a.test')


@test()
def damaged_file_keeps_the_old_accounts(w):
    book = Book(w)
    alice = book.add('alice', 'a.test')
    server = book.server()
    book.client(server, alice, f'a.test={w.origin(hello).url}')
    with open(book.path, encoding='utf-8') as file:
        good = file.read()
    for text, words in (
            ('{"accounts": {', 'line 1'),
            (good.replace('"hosts"', '"host"'), "'host' is not known"),
            (good.replace('a.test', 'a b'), "'a b'"),
            (good.replace('sha256:', 'md5:'), 'tokens'),
            (good.replace('"alice"', '"al ice"'), "'al ice'")):
        w.file('accounts.json.new', text)
        os.replace(book.path + '.new', book.path)
        server.signal(signal.SIGHUP)
        server.wait_log('accounts not reloaded, the old ones stay')
        soon(lambda words=words: words in server.log, 5, words)
        equal(server.get('/', 'a.test').status, 200, text)
    refused = w.run('inlets-server', '--port', '0', '--accounts', book.path,
                    code=1)
    check("accounts.json: 'al ice'" in refused.err, refused.err)
    book.run('add', 'bob', '--host', 'b.test', code=1)
    with open(book.path, encoding='utf-8') as file:
        check('al ice' in file.read(), 'a damaged file was written over')


@test()
def commands_change_the_file_whole(w):
    book = Book(w)
    tokens = [read(book.add(f'n{i}', f'n{i}.test')) for i in range(3)]
    equal(len(set(tokens)), 3, 'tokens')
    equal(os.stat(book.path).st_mode & 0o777, 0o600, 'mode')
    with open(book.path, encoding='utf-8') as file:
        text = file.read()
    check(not any(token in text for token in tokens), 'a token in the file')
    os.chmod(book.path, 0o640)
    listed = book.run('list').out
    check(all(f'n{i}\n  hosts n{i}.test' in listed for i in range(3)), listed)
    book.run('remove', 'n1')
    equal(os.stat(book.path).st_mode & 0o777, 0o640, 'the mode stays')
    check('n1' not in book.run('list').out, 'n1')
    for argv, words in (
            (('add', 'n0', '--host', 'x.test'), 'already'),
            (('add', 'x', '--host', '*.*.test'), '*.*.test'),
            (('add', 'x y', '--host', 'x.test'), "'x y' is not a name"),
            (('add', 'x', '--host', 'x.test', '--from', '1.2.3'), '1.2.3'),
            (('remove', 'n1'), 'no account n1'),
            (('rotate', 'n9'), 'no account n9')):
        ran = book.run(*argv, code=1)
        check(words in ran.err and not ran.out, argv, ran.err)
    for argv, words in (
            (('add', 'x'), '--host'), (('add',), 'NAME'), ((), 'add, password'),
            (('list', 'x'), 'no NAME'), (('frob', 'x'), "'frob'"),
            (('remove', 'n0', '--sessions', '2'), 'only account add')):
        check(words in book.run(*argv, code=2).err, argv)
    equal(book.run('list').out.count('hosts'), 2, 'nothing has changed')


@test()
def commands_at_the_same_time_take_turns(w):
    book = Book(w)
    book.add('first', 'first.test')
    running = [w.start(Program, f'add{i}', [
        w.path('cmd', 'inlets-server'), 'account', 'add', f'n{i}', '--host',
        f'n{i}.test', '--accounts', book.path]) for i in range(8)]
    for program in running:
        program.wait_exit(0)
    equal(book.run('list').out.count('hosts'), 9, 'accounts')
