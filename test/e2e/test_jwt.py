"""Accounts whose clients show the token of an issuer (JWT): no secret of ours
is stored with them."""

import json
import os
import time

from lib.house import check, equal, soon, test, within
from lib.jwt import Key, b64, claims_of, hs256
from lib.origin import hello, named
from lib.procs import NO_LEAK_CHECK

from test_accounts import Book, ask, ask_from, read
from test_gate import handshake

ISSUER, AUDIENCE = 'https://issuer.test', 'inlets'
MAIN = 'repo:me/app:ref:refs/heads/main'


class Issued(Book):
    """An accounts file with an issuer of two keys."""

    def __init__(self, w):
        super().__init__(w)
        self.rsa = Key(w.folder, 'r1', 'RS256')
        self.ec = Key(w.folder, 'e1')
        self.keys(self.rsa.jwk(use='sig'), self.ec.jwk(alg='ES256'))

    def keys(self, *jwks, code=0, text=None):
        path = self.w.file('jwks.json',
                           text or json.dumps({'keys': list(jwks)}))
        return self.run('issuer', 'ci', '--url', ISSUER, '--audience',
                        AUDIENCE, '--keys', path, code=code)

    def write(self, issuers):
        """Replaces the file by one with these issuers."""
        with open(self.path, encoding='utf-8') as file:
            root = json.load(file)
        self.w.file('accounts.new', json.dumps({**root, 'issuers': issuers}))
        os.replace(os.path.join(self.w.folder, 'accounts.new'), self.path)

    def rule(self, name, host, *claims):
        flags = [flag for claim in claims for flag in ('--claim', claim)]
        self.run('add', name, '--host', host, '--issuer', 'ci', *flags)

    def claims(self, **more):
        said = {'issuer': ISSUER, 'audience': AUDIENCE, 'sub': MAIN, **more}
        return claims_of(**said)


@test()
def a_signed_token_opens_a_tunnel(w):
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    book.rule('pods', 'pod.test', 'sub=system:serviceaccount:dev:*',
              '/kubernetes.io/namespace=dev')
    server = book.server()
    for number, key in enumerate((book.rsa, book.ec)):
        token = w.file(f'{number}.jwt', key.token(book.claims()) + '\n')
        book.client(server, token, f'h{number}.app.test='
                    f'{w.origin(named("a")).url}')
        equal(server.get('/', f'h{number}.app.test').body, b'a', key.kind)
    pod = w.file('pod.jwt', book.ec.token(book.claims(
        sub='system:serviceaccount:dev:web', aud=['other', AUDIENCE],
        **{'kubernetes.io': {'namespace': 'dev'}})))
    book.client(server, pod, f'pod.test={w.origin(named("pod")).url}')
    equal(server.get('/', 'pod.test').body, b'pod', 'a pod')
    other = book.client(server, pod, f'x.app.test={w.origin(hello).url}',
                        ready=False)
    other.wait_exit(1)
    check('may not serve this host' in other.log, other.log)
    equal(len(server.lines('tunnel connected.*account=(app|pods)')), 4, 'logs')
    check('claims 1' in book.run('list').out, 'account list')
    for program in (server, other):
        check(read(pod) not in program.log and 'eyJ' not in program.log, 'log')


def changed(token, part, change):
    parts = token.split('.')
    parts[part] = change(parts[part])
    return '.'.join(parts)


def wrong_tokens(w, book):
    """What is refused, and what the server's log says of it."""
    now, ec, rsa = int(time.time()), book.ec, book.rsa
    stranger = Key(w.folder, 'e1-of-another')
    stranger.kid = 'e1'
    good = book.claims()

    def with_claims(**more):
        said = {**good, **more}
        return ec.token({k: v for k, v in said.items() if v is not None})
    unsigned = f'{b64({"alg": "none"})}.{b64(good)}.'
    malformed, odd = 'malformed', 'not signed by RS256 or ES256'
    unknown, late = 'not signed with a key', 'the token has expired'
    nobodys, extended = 'is none of its issuer', 'an extension'
    typed = 'of another type'
    early, aud = 'not valid yet', 'for another audience'
    return {
        'none': (unsigned, odd),
        'none, signed': (ec.token(good, alg='none'), odd),
        'None': (ec.token(good, alg='None'), odd),
        'HS256 by the public key': (hs256(good, rsa.public_pem(), kid='r1'),
                                    odd),
        'HS256 by its text': (hs256(good, b64(json.dumps(
            rsa.jwk())).encode(), kid='r1'), odd),
        'RS512': (rsa.token(good, alg='RS512'), odd),
        'ES384': (ec.token(good, alg='ES384'), odd),
        'a list of algorithms': (ec.token(good, alg=['ES256']), odd),
        'no algorithm': (ec.token(good, alg=None), odd),
        'case of the algorithm': (ec.token(good, alg='es256'), odd),
        'crit': (ec.token(good, crit=['exp']), extended),
        'b64': (ec.token(good, b64=False, crit=['b64']), extended),
        'typ of another purpose': (ec.token(good, typ='logout+jwt'), typed),
        'typ that is none': (ec.token(good, typ=5), typed),
        'kid of another kind': (ec.token(good, kid='r1'), nobodys),
        'unknown kid': (ec.token(good, kid='e2'), nobodys),
        'empty kid': (ec.token(good, kid=''), nobodys),
        'kid that is none': (ec.token(good, kid=5), 'kid is no text'),
        'RS256 said, ES256 done': (ec.token(good, alg='RS256', kid='r1'),
                                   unknown),
        "another's key": (stranger.token(good), unknown),
        'embedded key': (stranger.token(good, jwk=stranger.jwk()), unknown),
        'jku': (stranger.token(good, jku='http://127.0.0.1/'), unknown),
        'no signature': (changed(ec.token(good), 2, lambda x: ''), unknown),
        'short signature': (changed(ec.token(good), 2, lambda x: x[:-4]),
                            unknown),
        'long signature': (changed(ec.token(good), 2, lambda x: x + 'AAAA'),
                           unknown),
        'zero signature': (changed(ec.token(good), 2, lambda x: 'A' * 86),
                           unknown),
        'padding': (changed(ec.token(good), 2, lambda x: x + '=='), unknown),
        'other base64': (changed(ec.token(good), 2,
                                 lambda x: '+/' + x[2:]), unknown),
        'changed claims': (changed(ec.token(good), 1, lambda x: b64(
            {**good, 'sub': 'admin'})), unknown),
        'no exp': (with_claims(exp=None), 'no end'),
        'exp that is a text': (with_claims(exp=str(now + 99)), 'no end'),
        'exp below zero': (with_claims(exp=-1), 'no end'),
        'exp beyond': (with_claims(exp=10 ** 18), 'no end'),
        'expired': (with_claims(exp=now - 61), late),
        'long expired': (with_claims(exp=0), late),
        'nbf in the future': (with_claims(nbf=now + 300), early),
        'iat in the future': (with_claims(iat=now + 300), early),
        'nbf that is a text': (with_claims(nbf='now'), early),
        'other audience': (with_claims(aud='outlets'), aud),
        'no audience': (with_claims(aud=None), aud),
        'audiences without ours': (with_claims(aud=['a', 5, 'Inlets']), aud),
        'audience that is none': (with_claims(aud={'inlets': 1}), aud),
        'other issuer': (with_claims(iss=ISSUER + '/'), 'not in the file'),
        'no issuer': (with_claims(iss=None), 'not in the file'),
        'issuer in a list': (with_claims(iss=[ISSUER]), 'not in the file'),
        'other sub': (with_claims(sub=MAIN + 'x'), 'no account has a rule'),
        'sub in a list': (with_claims(sub=[MAIN]), 'no account has a rule'),
        'no sub': (with_claims(sub=None), 'no account has a rule'),
        'header that is no JSON': (changed(ec.token(good), 0,
                                           lambda x: b64('{')), malformed),
        'twice in the header': (changed(ec.token(good), 0, lambda x: b64(
            '{"alg":"ES256","alg":"none"}')), malformed),
        'twice in the claims': (changed(ec.token(good), 1, lambda x: b64(
            '{"sub":"a","sub":"b"}')), malformed),
        'claims that are a list': (changed(ec.token(good), 1,
                                           lambda x: b64([1])), malformed),
        'NUL in a claim': (changed(ec.token(good), 1, lambda x: b64(
            '{"iss":"' + ISSUER + '\\u0000"}')), malformed),
        'deep': (changed(ec.token(good), 1, lambda x: b64(
            '[' * 2500)), malformed),
        # These look like no token of an issuer: tokens of ours, and wrong.
        'four parts': (ec.token(good) + '.x', None),
        'two parts': ('.'.join(ec.token(good).split('.')[:2]), None),
        'no header': (changed(ec.token(good), 0, lambda x: ''), None),
        'oversized': (ec.token({**good, 'x': 'y' * 6000}), 'longer than 8192'),
    }


@test(timeout=90)
def what_is_no_token(w):
    """All are refused alike; why is in the server's log alone."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    server = book.server(token=True)
    said, wrong = set(), []
    for what, (token, why) in wrong_tokens(w, book).items():
        before = len(server.lines('token refused'))
        answer = ask(w, server, handshake(token))
        said.add((answer.status, answer.get('Inlets-Reason'),
                  answer.get('WWW-Authenticate')))
        lines = server.lines('token refused')[before:]
        if answer.status != 401 or len(lines) != (why is not None) or (
                why is not None and why not in lines[0]):
            wrong.append(f'{what}: {answer.status} {lines}')
    equal(wrong, [], 'cases')
    equal(len(said), 1, said)
    now = int(time.time())
    for what, claims in {
            'an hour': book.claims(), 'no nbf': book.claims(nbf=None),
            'no iat': book.claims(iat=None),
            'within the skew': book.claims(exp=now - 50),
            'early, within the skew': book.claims(nbf=now + 50, iat=now + 50),
            'fractions': book.claims(exp=now + 99.5),
            'audiences': book.claims(aud=['a', AUDIENCE]),
            'large': book.claims(groups=['g' * 40] * 120)}.items():
        answer = ask(w, server, handshake(book.ec.token(claims)))
        equal(answer.status, 101, what)
    for what, token in {
            'no kid': book.ec.token(book.claims(), kid=None),
            'no typ': book.rsa.token(book.claims(), typ=None),
            'typ': book.rsa.token(book.claims(), typ='at+jwt'),
            'long typ': book.ec.token(book.claims(),
                                      typ='application/jwt')}.items():
        equal(ask(w, server, handshake(token)).status, 101, what)
    check('eyJ' not in server.log, 'a token is in the log')


@test(timeout=60)
def sessions_end_with_their_token(w):
    """Unless a fresh one was shown before, which no request notices."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    os.chmod(w.folder, 0o755)   # root's client is somebody else by then
    server, go = book.server(), w.gate()
    origin = w.origin(lambda x: (go.wait(30), hello(x)))

    def token(name, seconds):   # 60 s of skew come on top
        path = w.file(name, book.ec.token(book.claims(seconds=seconds)))
        os.chmod(path, 0o644)
        return path
    kept, left = token('kept.jwt', -48), token('left.jwt', -48)
    first = book.client(server, kept, f'kept.app.test={origin.url}')
    second = book.client(server, left, f'left.app.test={origin.url}')
    waiting = w.visitor(server)
    waiting.ask(host='kept.app.test')
    origin.wait(1)
    os.replace(token('fresh.jwt', 300), kept)
    first.wait_log('token read anew')
    with within(30, 'the end of the other'):
        second.wait_log('this token has expired', timeout=30)
    go.set()
    equal(waiting.answer().status, 200, 'what ran meanwhile')
    equal(len(server.lines('tunnel ended')), 1, 'ended')
    os.replace(token('again.jwt', 300), left)
    soon(lambda: server.get('/', 'left.app.test').status == 200, 15,
         'it is back')


@test(timeout=60)
def a_download_outlives_its_token(w):
    """A fresh one in the file before the end: the body is whole, and the
    session is the same one."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    os.chmod(w.folder, 0o755)   # root's client is somebody else by then
    server, go = book.server(), w.gate()
    parts = [bytes([65 + i]) * 100000 for i in range(3)]

    def slow(x):
        x.start(200, [('Content-Length', str(300000))])
        x.send(parts[0])
        go.wait(30)
        x.send(parts[1])
        x.send(parts[2])
    path = w.file('a.jwt', book.ec.token(book.claims(seconds=-50)))
    os.chmod(path, 0o644)
    client = book.client(server, path, f'a.app.test={w.origin(slow).url}')
    visitor = w.visitor(server)
    visitor.ask(host='a.app.test')
    fresh = w.file('fresh.jwt', book.rsa.token(book.claims()))
    os.chmod(fresh, 0o644)
    os.replace(fresh, path)
    client.wait_log('token read anew')
    server.wait_log('tunnel websocket resumed')
    time.sleep(13)  # the first token's end, and a look at the dates
    go.set()
    equal(visitor.answer().body, b''.join(parts), 'the body')
    equal(server.lines('tunnel ended'), [], 'ended')
    equal(len(server.lines('tunnel connected')), 1, 'sessions')


@test()
def wrong_ones_are_counted_by_address(w):
    """Like any other wrong token, whatever is wrong with it."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    server = book.server('--proxy-protocol', '--trusted-proxy', '127.0.0.2')
    good = handshake(book.ec.token(book.claims()))
    bad = [handshake(book.ec.token(book.claims(**said))) for said in (
        {'aud': 'outlets'}, {'sub': 'you'}, {'exp': 0})]
    statuses = [ask_from(w, server, '192.0.2.1', bad[i % 3]).status
                for i in range(12)]
    equal(statuses, [401] * 10 + [429] * 2, 'twelve wrong ones')
    equal(ask_from(w, server, '192.0.2.1', good).status, 429, 'from there')
    equal(ask_from(w, server, '192.0.2.2', good).status, 101, 'elsewhere')
    equal(len(server.lines('token refused')), 10, 'looked at')


@test()
def one_issuer_for_two_audiences(w):
    """Each has its rules, and its keys may change."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    jwks = w.file('more.json', json.dumps([book.ec.jwk()]))
    argv = ('issuer', 'more', '--url', ISSUER, '--keys', jwks, '--audience')
    check('already' in book.run(*argv, AUDIENCE, code=1).err, 'the same')
    book.run(*argv, 'staging')
    ran = book.run('add', 'x', '--host', '*', '--issuer', 'ci', '--claim',
                   f'sub={MAIN}', code=1)
    check('there already' in ran.err, ran.err)
    book.run('add', 'staging', '--host', 's.test', '--issuer', 'more',
             '--claim', f'sub={MAIN}')
    server = book.server()
    token = w.file('s.jwt', book.ec.token(book.claims(aud='staging')))
    client = book.client(server, token, f's.test={w.origin(hello).url}')
    server.wait_log('tunnel connected.*account=staging')
    book.run(*argv, 'production')
    client.wait_log('not valid any more')


@test()
def tokens_that_name_no_key(w):
    """Four signatures are tried, and not every one there is."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    others = [Key(w.folder, f'o{i}') for i in range(4)]
    server = book.server()
    unnamed = handshake(book.ec.token(book.claims(), kid=None))
    book.keys(*(k.jwk() for k in others[:3]), book.ec.jwk(), book.rsa.jwk())
    server.wait_log('accounts reloaded')
    equal(ask(w, server, unnamed).status, 101, 'one of four')
    book.keys(*(k.jwk() for k in others), book.ec.jwk())
    server.wait_log('accounts reloaded', 2)
    equal(ask(w, server, unnamed).status, 401, 'one of five')
    server.wait_log('does not say which')
    equal(ask(w, server, handshake(book.ec.token(book.claims()))).status, 101,
          'named')


@test(timeout=90)
def keys_in_a_file_of_their_own(w):
    """As its issuer publishes them: read again when that file changes."""
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    os.mkdir(os.path.join(w.folder, 'keys'))
    path = os.path.join(w.folder, 'keys', 'ci.json')

    def publish(text):
        w.file('new.json', text if isinstance(text, str)
               else json.dumps({'keys': text}))
        os.replace(os.path.join(w.folder, 'new.json'), path)

    def use(name):
        book.write({'ci': {'issuer': ISSUER, 'audience': AUDIENCE,
                           'jwks': name}})
    use('keys/ci.json')
    argv = ('--port', '0', '--accounts', book.path)
    ran = w.run('inlets-server', *argv, code=1)
    check('keys/ci.json: ' in ran.err, 'there is no such file', ran.err)
    publish([book.ec.jwk()])
    server = book.server('--sandbox', env=NO_LEAK_CHECK)
    old = handshake(book.ec.token(book.claims()))
    equal(ask(w, server, old).status, 101, 'the key of the file')
    client = book.client(server, w.file('a.jwt', book.ec.token(book.claims())),
                         f'a.app.test={w.origin(hello).url}')
    new = Key(w.folder, 'e2')
    fresh = handshake(new.token(book.claims()))
    publish([new.jwk()])
    soon(lambda: ask(w, server, fresh).status == 101, 5, 'the new key')
    equal(ask(w, server, old).status, 401, 'the old key, gone')
    publish('{"keys": [')
    server.wait_log('keys of an issuer not reloaded, the old ones stay.*'
                    'ci.json: issuer ci: keys')
    equal(ask(w, server, fresh).status, 101, 'a damaged file')
    os.unlink(path)
    server.wait_log('keys of an issuer not reloaded', 2)
    equal(ask(w, server, fresh).status, 101, 'no file')
    # What else changes in the meantime is not put off.
    book.rule('bob', 'b.test', 'sub=bob')
    bob = handshake(new.token(book.claims(sub='bob')))
    soon(lambda: ask(w, server, bob).status == 101, 5, 'bob is there')
    book.run('remove', 'bob')
    soon(lambda: ask(w, server, bob).status == 401, 5, 'and gone')
    publish([book.ec.jwk()])
    soon(lambda: ask(w, server, old).status == 101, 5, 'it is back')
    check('accounts not reloaded' not in server.log, 'one was not taken')
    use('keys/no.json')
    server.wait_log('accounts not reloaded, the old ones stay.*no.json')
    equal(ask(w, server, old).status, 101, 'one that never was')
    # Another place, by its whole name, and it is that which is looked at.
    path = w.file('other.json', json.dumps({'keys': [new.jwk()]}))
    use(path)
    soon(lambda: ask(w, server, fresh).status == 101, 5, 'another file')
    publish([book.ec.jwk()])
    soon(lambda: ask(w, server, old).status == 101, 5, 'it has changed')
    equal(server.get('/', 'a.app.test').status, 200, 'who is there stays')
    equal(server.lines('tunnel ended.*account=app'), [], 'ended')
    check(client.running, 'the client')
    book.keys(new.jwk())    # from now on they are in the accounts file
    soon(lambda: ask(w, server, fresh).status == 101, 5, 'no file any more')


@test()
def keys_and_rules_change(w):
    book = Issued(w)
    book.rule('app', '*.app.test', f'sub={MAIN}')
    server = book.server()
    old = handshake(book.ec.token(book.claims()))
    equal(ask(w, server, old).status, 101, 'the old key')
    new = Key(w.folder, 'e2')
    fresh = handshake(new.token(book.claims()))
    equal(ask(w, server, fresh).status, 401, 'the new key, not known yet')
    client = book.client(server, w.file('a.jwt', book.ec.token(book.claims())),
                         f'a.app.test={w.origin(hello).url}')
    book.keys(new.jwk())
    soon(lambda: ask(w, server, fresh).status == 101, 5, 'the new key')
    equal(ask(w, server, old).status, 401, 'the old key, gone')
    equal(server.get('/', 'a.app.test').status, 200, 'who is there stays')
    book.change(lambda accounts: accounts['app'].update(claims=[
        {'issuer': 'ci', 'sub': 'somebody else'}]))
    client.wait_log('not valid any more')
    equal(ask(w, server, fresh).status, 401, 'the rule is another')


@test()
def mistakes(w):
    book = Issued(w)
    small = Key(w.folder, 'small', 'RS256', bits=1024)
    wide = Key(w.folder, 'wide', curve='P-384')
    book.keys(book.ec.jwk(), wide.jwk(), {'kty': 'oct', 'k': 'AA'},
              book.rsa.jwk(use='enc'), {'kty': 'OKP'})     # passed over
    good = read(book.path)
    for what, (jwks, words) in {
            'small RSA': ([small.jwk()], 'no public key'),
            'off the curve': ([book.ec.jwk(x=b64(bytes(32)))],
                              'no public key'),
            'short point': ([book.ec.jwk(y='AAAA')], 'no public key'),
            'padded': ([book.rsa.jwk(e='AQAB==')], 'no public key'),
            'no modulus': ([book.rsa.jwk(n='')], 'no public key'),
            'private': ([book.ec.jwk(d=b64(bytes(32)))], 'no public key'),
            'none for us': ([wide.jwk()], 'none is for signatures'),
            'none at all': ([], 'none is for signatures'),
            'too many': ([book.ec.jwk()] * 33, 'at most 32')}.items():
        ran = book.keys(*jwks, code=1)
        check(words in ran.err, what, ran.err)
        equal(read(book.path), good, 'the file')
    ran = book.keys(text='not json', code=1)
    check('not JSON' in ran.err, ran.err)
    for argv, words in (
            (('add', 'x', '--host', '*', '--issuer', 'ci'), 'go together'),
            (('add', 'x', '--host', '*', '--claim', 'a=b'), 'go together'),
            (('add', 'x', '--host', '*', '--issuer', 'ci', '--claim', 'sub'),
             'not like sub=VALUE'),
            (('issuer', 'x', '--url', ISSUER), 'needs --url'),
            (('rotate', 'x', '--claim', 'a=b'), 'only account add'),
            (('list', '--keys', 'x'), 'only account issuer')):
        check(words in book.run(*argv, code=2).err, argv)
    for claim, issuer, words in (('sub=*', 'ci', 'says nothing'),
                                 ('sub=', 'ci', 'says nothing'),
                                 ('sub=a', 'cd', 'none of the file')):
        ran = book.run('add', 'x', '--host', '*', '--issuer', issuer,
                       '--claim', claim, code=1)
        check(words in ran.err, claim, ran.err)
        equal(read(book.path), good, 'the file')
