"""Accounts with passwords: Basic authentication of tunnels (RFC 7617), hashed
slowly, away from the loop."""

import base64
import json
import os
import signal
import statistics
import time

from lib.house import check, equal, soon, test, within
from lib.origin import hello, named
from lib.procs import NO_LEAK_CHECK
from lib.wire import Wire, dial

from test_accounts import REFUSED, Book, ask, ask_from, read
from test_gate import handshake

PASSWORD = 'correct horse: battery'


class Passwords(Book):
    """An accounts file with passwords."""

    def password(self, name, password, *flags, verb='password', code=0):
        given = self.w.file('given-password', password + '\n')
        return self.run(verb, name, '--password-from', given, *flags,
                        code=code)

    def person(self, name, host, password=PASSWORD):
        """The file that its client takes."""
        self.password(name, password, '--host', host, verb='add')
        return self.w.file(f'{name}.login', f'{name}:{password}\n')

    def visit(self, server, login, upstream, **options):
        return self.w.client(server, upstream, token=False,
                             flags=['--basic-auth-from', login,
                                    *options.pop('flags', ())], **options)


def basic(text):
    return base64.b64encode(text.encode('latin-1')).decode()


def knock(credentials):
    """A handshake with these in its Authorization field."""
    return handshake('TOKEN').replace(b'Bearer TOKEN', credentials.encode())


@test()
def a_password_opens_a_tunnel(w):
    book = Passwords(w)
    login = book.person('ann', 'ann.test')
    with open(book.path, encoding='utf-8') as file:
        said = file.read()
    check('"$y$' in said and PASSWORD not in said, said)
    check('password' in book.run('list').out, 'account list')
    for flags in ((), ('--sandbox',)):
        # LeakSanitizer looks into other threads, which a sandbox forbids.
        server = book.server(*flags, env=NO_LEAK_CHECK if flags else None)
        client = book.visit(server, login,
                            f'ann.test={w.origin(named("a")).url}')
        equal(server.get('/', 'ann.test').body, b'a', 'through it')
        server.wait_log('tunnel connected.*account=ann')
        by_flag = w.client(server, f'ann.test={w.origin(named("a")).url}',
                           token=False,
                           flags=['--basic-auth', f'ann:{PASSWORD}'])
        for program in (client, by_flag, server):
            for where in ('cmdline', 'environ'):
                check(PASSWORD.encode() not in program.proc(where), where)
            check(PASSWORD not in program.log, 'the password is in a log')
            check(basic(f'ann:{PASSWORD}') not in program.log, 'encoded')
        other = book.visit(server, login,
                           f'bob.test={w.origin(named("b")).url}', ready=False)
        other.wait_exit(1)
        check('may not serve this host' in other.log, other.log)


@test(timeout=90)
def what_is_no_password(w):
    """All refused alike."""
    book = Passwords(w)
    book.person('ann', 'ann.test')
    token = read(book.add('tom', 'tom.test'))
    with open(book.path, encoding='utf-8') as file:
        hashed = json.load(file)['accounts']['ann']['password']
    server = book.server(token=True)
    good = basic(f'ann:{PASSWORD}')
    said = set()
    for what, credentials in {
            'wrong': 'Basic ' + basic('ann:correct horse: batterz'),
            'a beginning': 'Basic ' + basic('ann:' + PASSWORD[:-1]),
            'one byte more': 'Basic ' + basic(f'ann:{PASSWORD}x'),
            'other case': 'Basic ' + basic(f'ann:{PASSWORD.upper()}'),
            'unknown': 'Basic ' + basic(f'bob:{PASSWORD}'),
            'case of the name': 'Basic ' + basic(f'Ann:{PASSWORD}'),
            'nobody': 'Basic ' + basic(f':{PASSWORD}'),
            'long name': 'Basic ' + basic(f'{"a" * 65}:{PASSWORD}'),
            'NUL behind the name': 'Basic ' + basic(f'ann\0:{PASSWORD}'),
            'empty': 'Basic ' + basic('ann:'),
            'NUL': 'Basic ' + basic(f'ann:{PASSWORD}\0'),
            '257 bytes': 'Basic ' + basic('ann:' + 'x' * 257),
            'oversized': 'Basic ' + basic('ann:' + 'x' * 3000),
            'no colon': 'Basic ' + basic('ann'),
            'no base64': 'Basic ann:' + PASSWORD,
            'a cut': 'Basic ' + good[:-1],
            'nothing': 'Basic ',
            'only the scheme': 'Basic',
            'two in one': f'Basic {good}, Basic {good}',
            'another scheme': 'Digest ' + good,
            'the hash': 'Basic ' + basic(f'ann:{hashed}'),
            'the hash as a token': 'Bearer ' + hashed,
            'the password as a token': 'Bearer ' + PASSWORD,
            'a token as a password': 'Basic ' + basic(f'tom:{token}'),
            'a user without a password': 'Basic ' + basic('tom:'),
    }.items():
        answer = ask(w, server, knock(credentials))
        equal(answer.status, 401, what)
        said.add((answer.get('Inlets-Reason'), answer.get('WWW-Authenticate')))
    equal(len(said), 1, said)
    once = f'\r\nAuthorization: Basic {good}'.encode()
    twice = knock('Basic ' + good).replace(once, once + once)
    equal(ask(w, server, twice).status, 401, 'repeated')
    twin = knock('Basic ' + good).replace(b'Authorization:',
                                          b'Authorization_:')
    check(ask(w, server, twin).status in (400, 401), 'a twin')
    for right in ('Basic ', 'basic  ', 'BASIC '):
        equal(ask(w, server, knock(right + good)).status, 101, right)
    check(PASSWORD not in server.log and good not in server.log, 'the log')


@test()
def other_hashes(w):
    """What other programs write: htpasswd -B (bcrypt) for one."""
    hashes = {'bcrypt': ('$2b$04$1234567890123456789012Y.eJnqcrZGkUYlFzpTGzvt'
                         'kfR7g7dmi', None),
              'md5': ('$1$abcdefgh$hi5mvXxOFCYhNjiVkq3zP1', 'not a hash by'),
              'sha512': ('$6$abcdefgh$' + 'x' * 86, 'not a hash by'),
              'clear': (PASSWORD, 'not a hash by'),
              'empty': ('', 'not a hash by'),
              'cut': ('$y$j9T$SINa0dRPO4mRtr7riaJGS.', 'not a hash by'),
              'number': (5, 'not a hash by')}
    for name, (text, wrong) in hashes.items():
        path = w.file(f'{name}.json', json.dumps({'accounts': {'ann': {
            'hosts': ['*'], 'password': text}}}))
        ran = w.run('inlets-server', 'account', 'list', '--accounts', path)
        equal(ran.process.returncode, 1 if wrong else 0, f'{name}: {ran.err}')
        check(wrong is None or wrong in ran.err, ran.err)
        check(PASSWORD not in ran.err, 'it repeats what may be a secret')


@test(timeout=60)
def unknown_names_cost_the_same(w):
    book = Passwords(w)
    book.person('ann', 'ann.test')
    server = book.server()

    def took(user):
        began = time.monotonic()
        equal(ask(w, server, knock('Basic ' + basic(f'{user}:x'))).status, 401,
              user)
        return time.monotonic() - began
    known, unknown = [], []
    for number in range(9):
        known.append(took('ann'))
        unknown.append(took(f'bob{number}'))
    ratio = statistics.median(known) / statistics.median(unknown)
    print(f'{statistics.median(known) * 1000:.0f} ms each, ratio {ratio:.2f}')
    check(0.5 < ratio < 2, f'{ratio}: {known}, {unknown}')


@test(timeout=60)
def hashing_holds_up_nobody(w):
    """Requests pass while passwords are computed, and after those that were
    given up."""
    book = Passwords(w)
    login = book.person('ann', 'ann.test')
    server = book.server(token=True)
    w.client(server, f'x.test={w.origin(hello).url}')
    waiting = [w.keep(Wire(dial(server.tunnels), 20)) for _ in range(24)]
    for number, wire in enumerate(waiting):
        wire.send(knock('Basic ' + basic(f'ann:wrong {number}')))
    for _ in range(3):
        equal(server.get('/', 'x.test').status, 200, 'meanwhile')
    last = waiting.pop()
    last.sock.settimeout(0.001)
    try:
        last.head()
        check(False, 'all were answered before a request was')
    except TimeoutError:
        pass
    last.sock.settimeout(20)
    for number, wire in enumerate(waiting):
        if number % 3 == 1:
            wire.close()
        elif number % 3 == 2:
            wire.reset()
    statuses = {wire.head().status for wire in (*waiting[::3], last)}
    check(statuses <= {401, 429}, statuses)
    book.visit(server, login, f'ann.test={w.origin(named("a")).url}')
    equal(server.get('/', 'ann.test').body, b'a', 'afterwards')


@test(timeout=60)
def wrong_passwords_are_counted_by_address(w):
    book = Passwords(w)
    book.person('ann', 'ann.test')
    server = book.server('--proxy-protocol', '--trusted-proxy', '127.0.0.2')
    good = knock('Basic ' + basic(f'ann:{PASSWORD}'))
    equal([ask_from(w, server, '192.0.2.1', knock(
        'Basic ' + basic(f'ann:wrong {number}'))).status
        for number in range(11)], [401] * 10 + [429], 'eleven wrong ones')
    equal(ask_from(w, server, '192.0.2.1', good).status, 429, 'the right one')
    equal(ask_from(w, server, '192.0.2.2', good).status, 101, 'elsewhere')


@test(timeout=60)
def passwords_change(w):
    """A client that is connected by the old one is told; one whose file has
    the new one stays, with what runs through it."""
    book = Passwords(w)
    login = book.person('ann', 'ann.test')
    os.chmod(w.folder, 0o755)   # root's client is somebody else by then
    os.chmod(login, 0o644)
    server, go = book.server(), w.gate()
    origin = w.origin(lambda x: (go.wait(20), hello(x)))
    client = book.visit(server, login, f'ann.test={origin.url}')
    waiting = w.visitor(server)
    waiting.ask(host='ann.test')
    origin.wait(1)
    book.password('ann', 'another password')
    client.wait_log('password is not valid any more')
    check(waiting.answer().status in (502, 503), 'what ran')
    client.wait_log(REFUSED + '1')
    go.set()
    with open(login + '.new', 'w', encoding='utf-8') as file:
        file.write('ann:another password\n')
    os.replace(login + '.new', login)
    client.wait_log('token read anew')
    soon(lambda: server.get('/', 'ann.test').status == 200, 15, 'it is back')


@test(timeout=60)
def a_drain_with_knocks(w):
    book = Passwords(w)
    book.person('ann', 'ann.test')
    server = book.server()
    waiting = [w.keep(Wire(dial(server.tunnels), 20)) for _ in range(8)]
    for number, wire in enumerate(waiting):
        wire.send(knock('Basic ' + basic(f'ann:wrong {number}')))
    time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    with within(15, 'the end'):
        server.wait_exit(0, 15)


@test()
def mistakes(w):
    book = Passwords(w)
    login = book.person('ann', 'ann.test')
    token = w.file('a.token', 'secret\n')
    short = w.file('short', 'seven77\n')
    no_colon = w.file('no-colon', 'ann\n')
    missing = os.path.join(w.folder, 'missing')
    for argv, code, words in (
            (('--basic-auth-from', login, '--token-from', token), 2,
             'keep one of them'),
            (('--basic-auth', 'a:b', '--basic-auth-from', login), 2,
             'two sources for one secret'),
            (('--basic-auth-from', no_colon), 2, 'no colon'),
            (('--basic-auth', 'ann'), 2, 'no colon'),
            (('--basic-auth-from', missing), 2, missing)):
        ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1',
                    '--upstream', 'http://127.0.0.1:2', *argv)
        equal((ran.process.returncode, ran.out), (code, ''), argv)
        check(words in ran.err, ran.err)
    for argv, words in (
            (('password', 'ann'), '--password-from'),
            (('rotate', 'ann', '--password-from', short), 'only account add'),
            (('password', 'ann', '--password-from', short), '8 to 256'),
            (('add', 'bob', '--host', '*', '--password-from', short),
             '8 to 256'),
            (('password', 'bob', '--password-from', login), 'no account bob'),
            (('password', 'ann', '--password-from', missing), missing)):
        before = read(book.path)
        ran = w.run('inlets-server', 'account', *argv, '--accounts', book.path)
        check(ran.process.returncode != 0 and words in ran.err, ran.err)
        equal(read(book.path), before, 'the file')
    refused = book.visit(book.server(), w.file('wrong', 'ann:wrong one\n'),
                         'http://127.0.0.1:2', ready=False)
    refused.wait_exit(1)
    check('wrong one' not in refused.log, refused.log)
    check('401' in refused.log or 'refused' in refused.log, refused.log)
