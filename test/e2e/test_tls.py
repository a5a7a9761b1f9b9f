"""TLS on every leg: visitors by https, clients by wss, upstreams by https.
The other end is OpenSSL's, by Python or by its own program."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

from lib.certs import Authority, Pair, alert_of, never_answers, wrapping
from lib.house import Client, check, equal, free_port, listens, none, soon, \
    test, within
from lib.origin import hello
from lib.procs import NO_LEAK_CHECK
from lib.relay import Cutter, seeded
from lib.traffic import Traffic, digest_of
from lib.visitor import Visitor

MIB = 1 << 20
CANNOT = r'msg="cannot connect"'


def secure_server(w, *flags, **options):
    """A server whose .secure speaks TLS."""
    port = free_port()
    server = w.server('--tls-port', port, *flags, **options)
    server.secure = ('127.0.0.1', port)
    soon(lambda: listens(server.secure, server), 10, 'listening by TLS')
    return server


def secure_pair(w, answer, *flags, names=('localhost',), **options):
    """(server, client by wss, origin, authority)."""
    ca = Authority(w.folder)
    origin = w.origin(answer, timeout=60)
    server = secure_server(w, *ca.sign(*names).flags, *flags, **options)
    client = w.client(server, origin, url=url_of(server),
                      flags=['--ca-file', ca.file])
    return server, client, origin, ca


def url_of(server, host='localhost'):
    return f'wss://{host}:{server.secure[1]}'


def visit(server, ca, name='localhost', host=None, **options):
    return Visitor(server.secure, tls=ca.tls(name, **options),
                   host=host or name or 'demo.local')


# --- the whole way -----------------------------------------------------------

@test()
def the_whole_way(w):
    traffic = Traffic(w)
    server, client, _, ca = secure_pair(w, traffic)
    body = os.urandom(2 * MIB)
    with visit(server, ca) as visitor:
        for _ in range(2):      # on one connection
            visitor.ask(target=f'/down/{3 * MIB}')
            head = visitor.final_head()
            equal(visitor.digest(head), (digest_of(3 * MIB), 3 * MIB), 'down')
            visitor.ask('POST', '/up', body=body)
            answer = visitor.answer()
            check(hashlib.sha256(body).hexdigest().encode() in answer.body,
                  'up', answer.body)
    check(client.lines(r'url=wss://localhost'), client.log)


@test()
def what_upstreams_hear_of_it(w):
    server, _, origin, ca = secure_pair(w, hello)
    with visit(server, ca) as visitor:
        equal(visitor.get(fields=[('X-Forwarded-Proto', 'http')]).status, 200)
    request = origin.requests[0]
    equal((request.get('X-Forwarded-Proto'), request.get('X-Forwarded-Port')),
          ('https', str(server.secure[1])), 'https')
    equal(server.get().status, 200, 'beside it, in clear')
    equal(origin.requests[1].get('X-Forwarded-Proto'), 'http', 'http')


@test()
def websockets_by_tls(w):
    server, _, _, ca = secure_pair(w, lambda x: x.upgrade() and None)
    with visit(server, ca) as visitor:
        check(visitor.upgrade().accepted, 'no websocket')


@test()
def half_a_second_of_cuts(w):
    """Requests outlive the loss of a wss connection as of a ws one."""
    traffic = Traffic(w)
    ca = Authority(w.folder)
    traffic.origin = w.origin(traffic, timeout=60)
    server = secure_server(w, *ca.sign('localhost').flags)
    relay = w.relay(server.secure, rate=8 * MIB)
    client = w.client(server, traffic.origin,
                      url=f'wss://localhost:{relay.address[1]}',
                      flags=['--ca-file', ca.file])
    with visit(server, ca) as visitor, \
            Cutter(relay, seeded(), 0.2, 0.4, times=4):
        visitor.ask(target=f'/down/{12 * MIB}')
        equal(visitor.digest(visitor.final_head()),
              (digest_of(12 * MIB), 12 * MIB), 'cut four times')
    check(client.lines('tunnel websocket resumed'), 'never cut')


@test()
def from_http_to_https(w):
    """308, but for ACME and for who comes by https already."""
    server, _, origin, ca = secure_pair(
        w, hello, '--redirect-to-https', '--trusted-proxy', '127.0.0.2')
    port = server.secure[1]
    problems = []
    for method, target, host, wanted in (
            ('GET', '/a?b=/../%2e', 'a.test',
             f'https://a.test:{port}/a?b=/../%2e'),
            ('POST', '/', f'A.Test.:{server.visitors[1]}',
             f'https://a.test:{port}/'),
            ('HEAD', '//evil.test/', 'a.test',
             f'https://a.test:{port}//evil.test/'),
            ('GET', '/', '[::1]:80', f'https://[::1]:{port}/')):
        with w.visitor(server) as visitor:
            answer = visitor.get(target, host=host, method=method,
                                 body=b'x' if method == 'POST' else None)
            if (answer.status, answer.get('Location')) != (308, wanted):
                problems.append(f'{host}{target}: {answer.status} '
                                f'{answer.get("Location")}')
    none(problems)
    equal(origin.requests, [], 'at the origin')
    acme = '/.well-known/acme-challenge/token'
    equal(server.get(acme).status, 200, 'ACME')
    with visit(server, ca) as visitor:
        equal(visitor.get().status, 200, 'by https')
    with w.visitor(server, source='127.0.0.2') as visitor:
        equal(visitor.get(fields=[('X-Forwarded-Proto', 'https')]).status, 200,
              'TLS was done by a proxy')
        equal(visitor.get(fields=[('X-Forwarded-Proto', 'http')]).status, 308,
              'or not')


# --- which certificate -------------------------------------------------------

@test()
def certificates_by_name(w):
    """Exactly, then by "*."; the first for who names nobody."""
    ca = Authority(w.folder)
    pairs = {name: ca.sign(*names) for name, names in {
        'first': ('first.test', 'b.w.test'), 'wild': ('*.w.test',),
        'exact': ('a.w.test', 'A2.W.test')}.items()}
    server = secure_server(
        w, *(flag for pair in pairs.values() for flag in pair.flags))
    context = ca.context()
    context.check_hostname = False
    problems = []
    for name, wanted in (
            ('first.test', 'first'), ('FIRST.Test', 'first'),
            (None, 'first'), ('b.w.test', 'first'), ('a.w.test', 'exact'),
            ('a2.w.test', 'exact'), ('x.w.test', 'wild'),
            ('w.test', None), ('a.b.w.test', None), ('other.test', None),
            ('localhost', None)):
        try:
            with Visitor(server.secure, tls=ca.tls(name, context)) as visitor:
                der = visitor.sock.getpeercert(binary_form=True)
                digest = 'sha256:' + hashlib.sha256(der).hexdigest()
                got = next(n for n, p in pairs.items()
                           if p.fingerprint == digest)
        except ssl.SSLError as error:
            got = None
            if 'UNRECOGNIZED_NAME' not in alert_of(error):
                problems.append(f'{name}: {error}')
        if got != wanted:
            problems.append(f'{name}: {got}, not {wanted}')
    none(problems)


@test()
def an_address_is_no_name(w):
    """RFC 6066 section 3 forbids it, and some clients send it."""
    ca = Authority(w.folder)
    server = secure_server(w, *ca.sign('a.test').flags)
    ran = w.run('openssl', 's_client', '-brief', '-connect',
                '127.0.0.1:%d' % server.secure[1], '-servername', '127.0.0.1')
    check('CN = a.test' in ran.log, ran.log)


@test()
def a_default_for_unknown_names(w):
    ca = Authority(w.folder)
    server = secure_server(w, *ca.sign('a.test').flags,
                           *ca.sign('b.test').flags,
                           '--tls-default', 'b.test')
    context = ca.context()
    context.check_hostname = False
    for name, wanted in (('a.test', 'a.test'), ('z.test', 'b.test')):
        with Visitor(server.secure, tls=ca.tls(name, context)) as visitor:
            equal(visitor.sock.getpeercert()['subjectAltName'],
                  (('DNS', wanted),), name)


@test()
def other_hosts_are_misdirected(w):
    """RFC 9110 15.5.20: what was agreed on with one tenant is not for
    another."""
    ca = Authority(w.folder)
    origin = w.origin(hello)
    server = secure_server(w, *ca.sign('a.test', '*.a.test').flags,
                           *ca.sign('b.test').flags)
    w.client(server, origin)
    for name, host, wanted in (
            ('a.test', 'a.test', 200), ('a.test', 'A.test.', 200),
            ('a.test', f'a.test:{server.secure[1]}', 200),
            ('a.test', 'x.a.test', 200), ('a.test', 'b.test', 421),
            ('b.test', 'a.test', 421), ('a.test', 'x.y.a.test', 421)):
        with visit(server, ca, name, host) as visitor:
            equal(visitor.get().status, wanted, f'{name} {host}')
            if wanted == 421:
                equal(visitor.how_it_ends(5), (b'', 'eof'), 'then')
    equal(len(origin.requests), 4, 'at the origin')


# --- whom a client believes --------------------------------------------------

def is_refused(w, server, why, *flags, host='localhost', for_good=True):
    """The client says why, and shows nobody its token. What will hardly change
    is not tried again."""
    client = w.client(server, 'http://127.0.0.1:9', ready=False, flags=flags,
                      url=url_of(server, host))
    line = client.wait_log(CANNOT)[0]
    check('step=tls' in line and why in line, why, 'is not in', line)
    if for_good:
        client.wait_exit(1)
        check('--ca-file names' in client.log, client.log)
        equal(len(client.lines(CANNOT)), 1, 'attempts')
    else:
        client.terminate()
    check(not server.lines('tunnel connected'), why, 'it was let in')


@test()
def who_poses_as_an_exit_node(w):
    ca, other = Authority(w.folder), Authority(w.folder, 'other')
    pair = ca.sign('localhost', '127.0.0.1')
    server = secure_server(w, *pair.flags)
    is_refused(w, server, 'nobody that is trusted here')
    is_refused(w, server, 'nobody that is trusted here',
               '--ca-file', other.file)
    is_refused(w, server, 'another fingerprint',
               '--server-fingerprint', other.sign('localhost').fingerprint)
    wrong = secure_server(w, *ca.sign('other.test').flags,
                          '--tls-default', 'other.test')
    is_refused(w, wrong, 'for other.test, not for localhost',
               '--ca-file', ca.file)
    is_refused(w, wrong, 'for other.test, not for 127.0.0.1',
               '--ca-file', ca.file, host='127.0.0.1')


@test()
def who_is_believed(w):
    ca = Authority(w.folder)
    pair = ca.sign('localhost', '127.0.0.1')
    server = secure_server(w, *pair.flags)
    colons = pair.fingerprint[7:].upper()
    colons = 'SHA256:' + ':'.join(
        colons[i:i + 2] for i in range(0, len(colons), 2))
    for host, flags in (
            ('localhost', ['--ca-file', ca.file]),
            ('127.0.0.1', ['--ca-file', ca.file]),
            ('localhost', ['--server-fingerprint', pair.fingerprint]),
            ('127.0.0.1', ['--server-fingerprint', colons]),
            ('localhost', ['--tls-skip-verify'])):
        client = w.client(server, 'http://127.0.0.1:9', flags=flags,
                          url=url_of(server, host))
        equal(bool(client.lines('level=warn.*DANGER.*tls-skip-verify')),
              '--tls-skip-verify' in flags, flags)
        client.terminate()


@test()
def a_pinned_certificate_is_asked_for_by_name(w):
    """Or who has several would show the first."""
    ca = Authority(w.folder)
    first, second = ca.sign('first.test'), ca.sign('localhost')
    server = secure_server(w, *first.flags, *second.flags)
    is_refused(w, server, 'another fingerprint', '--server-fingerprint',
               first.fingerprint)
    w.client(server, 'http://127.0.0.1:9', url=url_of(server),
             flags=['--server-fingerprint', second.fingerprint])


@test()
def an_expired_certificate(w):
    ca = Authority(w.folder)
    pair = ca.sign('localhost', days='-1')
    let_read(w, ca)
    server = secure_server(w, *pair.flags)
    is_refused(w, server, 'has expired', '--ca-file', ca.file)
    until = time.strftime('%Y-%m-%dT', time.gmtime(time.time() - 86400))
    expired = f'level=warn.*expired.*file={pair.cert} at={until}'
    equal(len(server.lines(expired)), 1, 'warnings')
    ca.sign('localhost')
    server.signal(signal.SIGHUP)
    server.wait_log('msg="certificates reloaded"')
    equal(len(server.lines('expired')), 1, 'of a good one')
    ca.sign('localhost', days='-1')
    server.signal(signal.SIGHUP)
    server.wait_log(expired, count=2)


@test()
def no_fall_from_wss_to_ws(w):
    """A port in clear, and one that says nothing, get no byte of a request."""
    ca = Authority(w.folder)
    server = w.server()
    server.secure = server.visitors
    is_refused(w, server, 'is not TLS', '--ca-file', ca.file, for_good=False)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.settimeout(10)
        client = w.client(server, 'http://127.0.0.1:9', ready=False,
                          flags=['--ca-file', ca.file,
                                 '--connect-timeout', '1s'],
                          url='wss://localhost:%d' % listener.getsockname()[1])
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(10)
            equal(sock.recv(65536)[:2], b'\x16\x03', 'a handshake')
            client.wait_log(CANNOT + '.*step=tls')
        client.terminate()


# --- upstreams ---------------------------------------------------------------

@test()
def upstreams_by_https(w):
    ca = Authority(w.folder)
    pair = ca.sign('localhost')
    origin = w.origin(hello, tls=pair.context())
    url = f'https://localhost:{origin.port}'
    server = w.server()
    client = w.client(
        server, f'trusted.local={url}', f'pin.local={url}#{pair.fingerprint}',
        f'any.local={url}#skip-verify',
        f'no.local={url}#sha256:{"00" * 32}',
        f'name.local=https://127.0.0.1:{origin.port}',
        flags=['--ca-file', ca.file])
    for name, wanted in (('trusted', 200), ('pin', 200), ('any', 200),
                         ('no', 502), ('name', 502)):
        equal(server.get(host=f'{name}.local').status, wanted, name)
    equal(len(origin.requests), 3, 'at the origin')
    equal({r.get('X-Forwarded-Proto') for r in origin.requests}, {'http'},
          'what the visitor used')
    check(client.lines('another fingerprint'), 'no reason in the log')
    check(client.lines('not for 127.0.0.1'), 'no reason in the log')


@test()
def an_authority_for_each_upstream(w):
    """Each is believed of its own upstreams alone, whatever --ca-file says;
    the files are read again by SIGHUP."""
    one, two = Authority(w.folder, 'one'), Authority(w.folder, 'two')
    first, second = (w.origin(hello, tls=ca.sign('localhost').context())
                     for ca in (one, two))
    moving = os.path.join(w.folder, 'moving.pem')
    shutil.copy(one.file, moving)
    url_1, url_2 = (f'https://localhost:{o.port}' for o in (first, second))
    server = w.server()
    client = w.client(
        server, f'a.local={url_1}#ca:{one.file},b.local={url_2}#ca:{two.file}',
        f'c.local={url_1}#ca:{two.file}', f'd.local={url_2}',
        f'e.local={url_2}#ca:{moving}', flags=['--ca-file', one.file])
    asked = [('a', 200), ('b', 200), ('c', 502), ('d', 502), ('e', 502)]
    for name, wanted in asked:
        equal(server.get(host=f'{name}.local').status, wanted, name)
    equal(len(client.lines('msg="upstream cannot be reached".*nobody that is '
                           'trusted here')), 3, 'reasons')
    check(client.lines(f'serving.*endpoint=a.local .*ca={one.file}'), 'its ca')

    def hang_up(says):
        os.kill(client.pid, signal.SIGHUP)
        return client.wait_log(says)[-1]

    shutil.copy(two.file, moving)
    line = hang_up('msg=reloaded')
    check('changed=1' in line and 'unchanged=4' in line, line)
    equal(server.get(host='e.local').status, 200, 'its new authority')
    with open(moving, 'w', encoding='ascii') as file:
        file.write('garbage')
    line = hang_up('not reloaded')
    check('e.local' in line and f'{moving} has no certificate' in line, line)
    equal(server.get(host='e.local').status, 200, 'as before')


@test()
def an_upstreams_authority_that_is_none(w):
    """Table: what the program says of it at its start."""
    ca = Authority(w.folder)
    garbage = w.file('garbage.pem', 'no certificate')
    for upstream, says in (
            (f'a.test=https://x#ca:{w.folder}/none.pem',
             'a.test=https://x: cannot open ' + w.folder + '/none.pem'),
            (f'a.test=https://x#ca:{garbage}',
             f'a.test=https://x: {garbage} has no certificate'),
            (f'a.test=http://x#ca:{ca.file}', '#ca: is for https:// alone'),
            (f'https://x#skip-verify#ca:{ca.file}', '#ca:<file>')):
        ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1',
                    '--upstream', upstream, code=2)
        check(says in ran.err, upstream, ran.err)


@test()
def sessions_come_back_to_upstreams(w):
    """Both versions: the second handshake is a short one."""
    ca = Authority(w.folder)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ca.sign('localhost').context()
        context.minimum_version = context.maximum_version = version
        resumed = []

        def answer(x, resumed=resumed):
            resumed.append(x.connection.sock.session_reused)
            x.reply(200, b'ok', [('Connection', 'close')])

        origin = w.origin(answer, tls=context)
        server = w.server()
        client = w.client(server, f'https://localhost:{origin.port}',
                          flags=['--ca-file', ca.file])
        for _ in range(3):
            equal(server.get().status, 200, version)
        equal(resumed, [False, True, True], version)
        client.terminate()


@test()
def what_an_upstream_cuts_is_cut(w):
    """A FIN without close_notify ends nothing whole (RFC 8446 6.1)."""
    ca = Authority(w.folder)

    def answer(x):
        x.connection.send(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf')
        if x.target == '/cut':
            time.sleep(0.2)
            socket.socket.shutdown(x.connection.sock, socket.SHUT_RDWR)
        else:
            x.connection.sock.unwrap()
        x.closed = True

    origin = w.origin(answer, tls=ca.sign('localhost').context())
    server = w.server()
    w.client(server, f'https://localhost:{origin.port}',
             flags=['--ca-file', ca.file])
    equal(server.get('/whole').body, b'half', 'to its end')
    with w.visitor(server) as visitor:
        visitor.ask(target='/cut')
        said, how = visitor.how_it_ends(5)
    check(how == 'reset' or not said.endswith(b'0\r\n\r\n'),
          'a cut answer ended as if whole:', said, how)


# --- an exit node without a domain -------------------------------------------

def line_of(w, server):
    """What the log says that a client needs, but for its name."""
    line = server.wait_log('clients_use=')[0]
    line = line.partition('clients_use="')[2].partition('"')[0].split()
    equal(line[0], 'inlets-client', line)
    return [w.token_file if word == 'token' else word for word in line[1:]]


@test()
def a_certificate_of_its_own(w):
    """Made once; the line to paste works as it is; nobody else is believed."""
    folder = os.path.join(w.folder, 'made', 'here')
    server = secure_server(w, '--auto-tls', '--auto-tls-dir', folder)
    line = line_of(w, server)
    check(server.lines('certificate made'), server.log)
    origin = w.origin(hello)
    client = w.start(Client, 'client', [
        w.path('cmd', 'inlets-client'), *line[:-1], origin.url])
    soon(client.is_serving, 10, 'the line')
    equal(server.get().status, 200, 'through it')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(os.path.join(folder, 'authority.crt'))
    with Visitor(server.secure, host='localhost',
                 tls=wrapping(context, 'localhost')) as visitor:
        equal(visitor.get().status, 200, 'a visitor who has its authority')
    modes = {name: os.stat(os.path.join(folder, name)).st_mode & 0o777
             for name in os.listdir(folder)}
    equal(modes, {'exit-node.pem': 0o600, 'authority.crt': 0o644}, 'files')
    equal(os.stat(folder).st_mode & 0o777, 0o700, 'the folder')
    client.terminate()
    server.terminate()
    again = secure_server(w, '--auto-tls', '--auto-tls-dir', folder)
    check(line[3] in again.wait_log('--server-fingerprint sha256:')[0],
          'another one')
    other = secure_server(w, '--auto-tls', '--auto-tls-dir', folder + '2')
    is_refused(w, other, 'another fingerprint', '--server-fingerprint',
               line[3])


@test()
def its_file_is_never_half_written(w):
    """One that is damaged stays as it is; one that was begun is begun anew."""
    folder = os.path.join(w.folder, 'state')
    os.mkdir(folder)
    flags = ['--port', str(free_port()), '--data-addr', '127.0.0.1',
             '--control-addr', '127.0.0.1', '--auto-tls', '--auto-tls-dir',
             folder]
    file = os.path.join(folder, 'exit-node.pem')
    for name, text in ((file, 'half'), (file + '.new', 'left over')):
        with open(name, 'w', encoding='ascii') as half:
            half.write(text)
    ran = w.run('inlets-server', *flags)
    check(ran.process.returncode and f'{file} is damaged' in ran.log, ran.log)
    with open(file, encoding='ascii') as half:
        equal(half.read(), 'half', 'the damaged file')
    os.unlink(file)
    server = secure_server(w, '--auto-tls', '--auto-tls-dir', folder)
    server.wait_log('certificate made')
    equal(sorted(os.listdir(folder)), ['authority.crt', 'exit-node.pem'])
    with open(os.path.join(w.folder, 'file'), 'w', encoding='ascii'):
        pass
    flags[-1] = os.path.join(w.folder, 'file', 'x')
    ran = w.run('inlets-server', *flags)
    check(ran.process.returncode and 'cannot make the folder' in ran.log,
          ran.log)


@test()
def the_line_to_paste(w):
    """It works as it is, whatever else the exit node was told."""
    ca = Authority(w.folder)
    folder = os.path.join(w.folder, 'state')
    for flags in (['--tunnel-path', '/custom'], ca.sign('x.test').flags):
        server = w.server('--tls-port', '0', '--auto-tls', '--auto-tls-dir',
                          folder, *flags)
        client = w.start(Client, 'client', [
            w.path('cmd', 'inlets-client'), *line_of(w, server)])
        soon(client.is_serving, 10, f'with {flags}')
        client.terminate()
    for address in ('0.0.0.0', '::'):
        server = w.server('--tls-port', '0', '--auto-tls', '--auto-tls-dir',
                          folder, address=address, ready=False)
        url = line_of(w, server)[1]
        check(url.startswith(f'wss://{socket.gethostname()}:'), url)


@test()
def its_file_is_made_once(w):
    """Of two that begin in a fresh folder, one waits for the other."""
    folder = os.path.join(w.folder, 'state')
    os.mkdir(folder)
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    servers = [w.server('--tls-port', '0', '--auto-tls', '--auto-tls-dir',
                        folder, ready=False) for _ in range(2)]
    time.sleep(1)
    equal(os.listdir(folder), [], 'while another makes it')
    os.close(lock)
    lines = [server.wait_log('clients_use=')[0] for server in servers]
    equal(sorted('certificate made' in line for line in lines), [False, True])
    equal(len({line.partition('sha256:')[2][:64] for line in lines}), 1,
          'fingerprints')


# --- files that change -------------------------------------------------------

def let_read(w, ca):
    """For whom root becomes."""
    for folder in (w.folder, ca.folder):
        os.chmod(folder, 0o755)


def shown_by(server, ca, name='localhost'):
    with visit(server, ca, name) as visitor:
        return visitor.sock.getpeercert()['serialNumber']


@test()
def reloaded_by_sighup(w):
    """With a visitor and a client connected, who notice nothing."""
    server, client, _, ca = secure_pair(w, hello)
    pair = ca.sign('localhost')     # the same files, written anew
    let_read(w, ca)
    with visit(server, ca) as visitor:
        equal(visitor.get().status, 200, 'before')
        before = visitor.sock.getpeercert()['serialNumber']
        server.signal(signal.SIGHUP)
        server.wait_log('msg="certificates reloaded"')
        check(shown_by(server, ca) != before, 'the old one is shown')
        equal(visitor.get().status, 200, 'afterwards')
        with open(pair.cert, 'r+', encoding='ascii') as file:
            chain = file.read()
            file.write(chain[:len(chain) // 2])
        server.signal(signal.SIGHUP)
        line = server.wait_log('certificates not reloaded')[0]
        check(pair.cert in line and 'is cut short' in line, line)
        with open(pair.cert, 'w', encoding='ascii') as file:
            file.write(chain)
        with open(pair.key, 'w', encoding='ascii') as file:
            file.write('half a k')
        server.signal(signal.SIGHUP)
        line = server.wait_log('certificates not reloaded.*private key')[0]
        check(pair.cert in line, line)
        check(shown_by(server, ca) != before, 'nothing is shown')
        equal(visitor.get().status, 200, 'at last')
    equal(len(client.lines('tunnel connected')), 1, 'the client came again')


@test(suite='patient')
def reloaded_when_files_change(w):
    ca = Authority(w.folder)
    folder = os.path.join(w.folder, 'certs')
    os.mkdir(folder)
    let_read(w, ca)
    ca.sign('a.test', into=folder)
    server = secure_server(w, '--tls-dir', folder, '--sandbox',
                           env=NO_LEAK_CHECK)
    before = shown_by(server, ca, 'a.test')
    ca.sign('b.test', into=folder)
    ca.sign('a.test', into=ca.folder)
    for kind in ('key', 'crt'):
        shutil.copy(f'{ca.folder}/a.test.{kind}', f'{folder}/new')
        os.chmod(f'{folder}/new', 0o644)
        os.rename(f'{folder}/new', f'{folder}/a.test.{kind}')
    server.wait_log('msg="certificates reloaded".*certificates=2', timeout=25)
    check(shown_by(server, ca, 'a.test') != before, 'the old one is shown')
    shown_by(server, ca, 'b.test')


@test()
def reloaded_when_it_may_be_read(w):
    """A key that came with the wrong mode: chmod is all it takes."""
    ca = Authority(w.folder)
    pair = ca.sign('localhost')
    let_read(w, ca)
    server = secure_server(w, *pair.flags)
    before = shown_by(server, ca)
    new = ca.sign('localhost', as_file='new')
    os.chmod(new.key, 0)
    os.rename(new.key, pair.key)
    os.rename(new.cert, pair.cert)
    server.wait_log('certificates not reloaded.*cannot open %s' % pair.key)
    equal(shown_by(server, ca), before, 'meanwhile')
    os.chmod(pair.key, 0o644)
    server.wait_log('msg="certificates reloaded"')
    check(shown_by(server, ca) != before, 'the old one is shown')


@test()
def keys_that_others_may_read(w):
    """Are warned about, as tokens are; what systemd gives is not."""
    ca = Authority(w.folder)
    folder = os.path.join(w.folder, 'state')
    one, two = ca.sign('one.test'), ca.sign('two.test')
    let_read(w, ca)
    os.chmod(two.key, 0o640)
    flags = [*one.flags, *two.flags, '--auto-tls', '--auto-tls-dir', folder]
    secret = os.path.join(folder, 'exit-node.pem')
    said = 'level=warn.*private key.*file=(.*)'

    def warned(program):
        return [re.search(said, line)[1] for line in program.lines(said)]

    server = secure_server(w, *flags)
    equal(warned(server), [one.key], 'at first')
    server.terminate()
    os.chmod(secret, 0o644)
    equal(warned(secure_server(w, *flags)), [one.key, secret], 'the own one')
    equal(warned(secure_server(
        w, *one.flags, env={'CREDENTIALS_DIRECTORY': ca.folder})), [],
        'of systemd')
    for mode, wanted in ((0o644, [one.key]), (0o600, [])):
        os.chmod(one.key, mode)
        client = w.client(server, 'http://127.0.0.1:9', ready=False,
                          url='wss://localhost:9', flags=[
                              *one.client_flags, '--tls-skip-verify'])
        client.wait_log(CANNOT)
        equal(warned(client), wanted, oct(mode))
        client.terminate()


# --- versions, strangers -----------------------------------------------------

@test()
def versions(w):
    server, _, _, ca = secure_pair(w, hello)
    for version, fits in ((ssl.TLSVersion.TLSv1_3, True),
                          (ssl.TLSVersion.TLSv1_2, True),
                          (ssl.TLSVersion.TLSv1_1, False)):
        context = ca.context()
        context.set_ciphers('ALL:@SECLEVEL=0')
        context.minimum_version = context.maximum_version = version
        try:
            with visit(server, ca, context=context) as visitor:
                equal(visitor.get().status, 200, version)
                cipher = visitor.sock.cipher()[0]
                check('GCM' in cipher or 'CHACHA' in cipher, cipher)
                check(version > ssl.TLSVersion.TLSv1_2 or 'ECDHE' in cipher,
                      cipher)
            check(fits, version, 'was taken')
        except ssl.SSLError as error:
            check(not fits, version, error)


@test()
def http11_is_what_is_spoken(w):
    server, _, _, ca = secure_pair(w, hello)
    for offered, chosen in ((['h2', 'http/1.1'], 'http/1.1'), ([], None),
                            (['h2'], ssl.SSLError)):
        context = ca.context()
        if offered:
            context.set_alpn_protocols(offered)
        try:
            with visit(server, ca, context=context) as visitor:
                equal(visitor.sock.selected_alpn_protocol(), chosen, offered)
        except ssl.SSLError as error:
            equal(chosen, ssl.SSLError, f'{offered} {error}')


@test()
def sessions_come_back(w):
    """RFC 8446 2.2, RFC 5077: the second handshake is a short one."""
    server, _, _, ca = secure_pair(w, hello)
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = ca.context()
        context.minimum_version = context.maximum_version = version
        with visit(server, ca, context=context) as visitor:
            equal(visitor.get().status, 200, version)
            session = visitor.sock.session
        with visit(server, ca, context=context, session=session) as visitor:
            check(visitor.sock.session_reused, version, 'not resumed')
            equal(visitor.get().status, 200, version)


@test(alone=True)
def strangers_delay_nobody(w):
    """Silent ones, half hellos, rubbish, HTTP in clear: 1,500 of them, more
    than there may be handshakes, and a visitor is let in at once."""
    server, _, _, ca = secure_pair(w, hello)
    hello_begins = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'x' * 40
    rubbish = (b'', hello_begins, os.urandom(300), b'\x16\x03\x01\xff\xff',
               b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', b'\0' * 1000)
    socks = [never_answers(server.secure, rubbish[n % len(rubbish)])
             for n in range(1500)]
    with within(2, 'a visitor among them'), visit(server, ca) as visitor:
        equal(visitor.get().status, 200, 'among strangers')
    for sock in socks:
        sock.close()
    check(len(server.lines('TLS handshake failed')) < 20, 'a line for each')
    equal(server.get().status, 200, 'afterwards')


@test()
def a_silent_handshake_ends(w):
    server, _, _, _ = secure_pair(w, hello)
    with never_answers(server.secure) as sock, \
            within(7, 'the end', at_least=4):
        sock.settimeout(10)
        equal(sock.recv(100), b'', 'the end')


@test()
def a_visitor_who_leaves_without_a_word(w):
    """By RST, by FIN without close_notify: the upstream hears of it."""
    server, _, origin, ca = secure_pair(w, lambda x: x.wait_gone(5))
    for count, leave in enumerate((
            lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack('ii', 1, 0)),
            lambda s: None), 1):
        visitor = visit(server, ca)
        visitor.ask()
        origin.wait(count)
        with within(2, 'the cancellation'):
            leave(visitor.sock)
            visitor.close()
            soon(lambda n=count: len(server.lines('status=0 .*result=E')) == n,
                 3, 'a cancelled request')


# --- the command line --------------------------------------------------------

@test()
def flags_that_do_not_fit(w):
    ca = Authority(w.folder)
    pair, other = ca.sign('a.test'), ca.sign('b.test')
    cases = (
        (['--tls-port', '0'], 'needs certificates'),
        (pair.flags, 'no --tls-port'),
        (['--tls-port', '0', '--tls-cert', pair.cert], '1 --tls-cert and 0'),
        (['--tls-port', '0', '--tls-cert', pair.cert, '--tls-key', other.key],
         'the key belongs to another certificate'),
        (['--tls-port', '0', '--tls-cert', pair.key, '--tls-key', pair.key],
         'no certificate in PEM'),
        (['--tls-port', '0', '--tls-cert', '/nowhere', '--tls-key', pair.key],
         'cannot open /nowhere'),
        (['--tls-port', '0', '--tls-dir', w.folder], 'no NAME.crt'),
        (['--tls-port', '0', *pair.flags, '--tls-default', 'z.test'],
         'z.test'),
        (['--control-tls', *pair.flags], '--control-port'),
        (['--redirect-to-https'], '--tls-port'),
    )
    garbage = w.file('garbage.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n'
                     '-----END CERTIFICATE-----\n')
    problems = []
    for flags, why in cases:
        ran = w.run('inlets-server', '--port', str(free_port()),
                    '--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1',
                    *flags)
        if ran.process.returncode == 0 or why not in ran.log:
            problems.append(f'{flags}: {ran.log}')
    for flags, why in ((['--ca-file', '/nowhere'], 'cannot open /nowhere'),
                       (['--ca-file', pair.key], 'no certificate in PEM'),
                       (['--ca-file', garbage], 'no certificate in PEM'),
                       (['--server-fingerprint', 'sha256:12'], 'fingerprint')):
        ran = w.run('inlets-client', '--url', 'wss://localhost:9',
                    '--upstream', 'http://127.0.0.1:9', *flags)
        if ran.process.returncode == 0 or why not in ran.log:
            problems.append(f'{flags}: {ran.log}')
    none(problems)


@test()
def clients_on_a_port_of_their_own(w):
    ca = Authority(w.folder)
    origin = w.origin(hello)
    control = free_port()
    server = w.server('--control-tls', *ca.sign('localhost').flags,
                      control=control)
    w.client(server, origin, url=f'wss://localhost:{control}',
             flags=['--ca-file', ca.file])
    equal(server.get().status, 200, 'in clear, by wss')


# --- certificates of clients -------------------------------------------------

def asking_server(w, ca, clients, *flags, **options):
    """A server whose port for clients asks them for certificates."""
    server = w.server('--control-tls', *ca.sign('localhost').flags,
                      '--client-ca', clients.file, *flags, control=True,
                      **options)
    server.secure = server.tunnels
    return server


@test()
def certificates_of_clients(w):
    ca, people, other = (Authority(w.folder, n) for n in ('ca', 'p', 'o'))
    server = asking_server(w, ca, people)
    good = people.sign('laptop.test')
    for flags in (['--ca-file', ca.file], ['--tls-skip-verify'],
                  ['--server-fingerprint', Pair(
                      ca.folder, 'localhost').fingerprint]):
        client = w.client(server, 'http://127.0.0.1:9', url=url_of(server),
                          flags=[*good.client_flags, *flags])
        client.terminate()
    equal(len(server.lines('tunnel connected.*certificate=laptop.test')), 3,
          'names in the log')
    server.wait_log('tunnel disconnected', count=3)
    for pair, why in (
            (None, 'wants a certificate of this one'),
            (other.sign('laptop.test'), 'trusts nobody who signed'),
            (people.sign('old.test', days='-1'), 'has expired'),
            (people.sign('shop.test', usage='serverAuth'), 'does not accept'),
            (people.sign('any.test', usage='clientAuth'), None)):
        client = w.client(server, 'http://127.0.0.1:9', url=url_of(server),
                          ready=why is None,
                          flags=[*(pair.client_flags if pair else ()),
                                 '--ca-file', ca.file])
        if why is None:
            client.terminate()
            continue
        line = client.wait_log(CANNOT)[0]
        check('step=tls' in line and why in line, why, 'is not in', line)
        client.wait_exit(1)
        check('refuses this client' in client.log and
              '--client-cert FILE' in client.log, client.log)
        equal(len(client.lines(CANNOT)), 1, 'attempts')
    equal(len(server.lines('tunnel connected')), 4, 'tunnels')


@test()
def alerts_for_certificates_of_clients(w):
    """As OpenSSL names them, by TLS 1.2 and 1.3; what it does with the right
    one is to stay."""
    ca, people, other = (Authority(w.folder, n) for n in ('ca', 'p', 'o'))
    server = asking_server(w, ca, people)
    good, old = people.sign('a.test'), people.sign('b.test', days='-1')
    strange = other.sign('a.test')
    problems = []
    for pair, alerts in ((None, ('handshake failure', 'certificate required')),
                         (old, ('certificate expired',) * 2),
                         (strange, ('unknown ca',) * 2), (good, (None, None))):
        flags = ['-cert', pair.cert, '-key', pair.key] if pair else []
        for version, alert in zip(('-tls1_2', '-tls1_3'), alerts):
            ran = subprocess.run(
                ['openssl', 's_client', '-ign_eof', '-connect',
                 'localhost:%d' % server.secure[1], version, *flags],
                input=b'GET /healthz HTTP/1.1\r\nHost: a\r\n'
                b'Connection: close\r\n\r\n', capture_output=True,
                check=False, timeout=10)
            log = (ran.stdout + ran.stderr).decode()
            if ('alert ' + alert not in log) if alert else '200 OK' not in log:
                problems.append(f'{version} {alert}: {log[-600:]}')
    none(problems)


@test()
def sessions_do_not_come_back_where_certificates_are_asked_for(w):
    """A ticket would say nothing about who it is."""
    ca, people = Authority(w.folder), Authority(w.folder, 'people')
    server = asking_server(w, ca, people)
    pair = people.sign('a.test')
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = ca.context()
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(pair.cert, pair.key)
        session = None
        for _ in range(2):
            with visit(server, ca, context=context, session=session) as caller:
                equal(caller.get('/healthz').status, 200, version)
                check(not caller.sock.session_reused, version)
                session = caller.sock.session


@test()
def certificates_instead_of_tokens(w):
    """On all addresses; and visitors are never asked."""
    ca, people = Authority(w.folder), Authority(w.folder, 'people')
    pair = people.sign('a.test')
    origin = w.origin(hello)
    server = asking_server(w, ca, people, token=False, address='0.0.0.0')
    server.visitors = ('127.0.0.1', server.visitors[1])
    client = w.client(server, 'http://127.0.0.1:9', ready=False, token=False,
                      url=url_of(server), flags=['--ca-file', ca.file])
    client.wait_exit(1)
    w.client(server, origin, token=False, url=url_of(server),
             flags=[*pair.client_flags, '--ca-file', ca.file])
    equal(server.get().status, 200, 'a visitor')


@test()
def certificates_of_accounts(w):
    """Beside the token; what is taken from the file ends."""
    ca, people = Authority(w.folder), Authority(w.folder, 'people')
    mine, other = people.sign('mine.test'), people.sign('other.test')
    book = os.path.join(w.folder, 'accounts.json')

    def write(*pairs):
        with open(w.token_file, encoding='ascii') as file:
            token = hashlib.sha256(file.read().strip().encode()).hexdigest()
        text = json.dumps({'accounts': {'alice': {
            'hosts': ['*'], 'tokens': ['sha256:' + token],
            'certificates': [pair.fingerprint for pair in pairs]}}})
        with open(book, 'w', encoding='ascii') as file:
            file.write(text)

    def client(pair, **options):
        return w.client(server, 'http://127.0.0.1:9', url=url_of(server),
                        flags=[*pair.client_flags, '--ca-file', ca.file],
                        **options)

    write(mine)
    server = asking_server(w, ca, people, '--accounts', book, token=False)
    right = client(mine)
    wrong = client(other, ready=False)
    wrong.wait_exit(1)
    check('this account needs its certificate' in wrong.log, wrong.log)
    write(mine, other)
    server.signal(signal.SIGHUP)
    server.wait_log('accounts reloaded')
    second = client(other)
    write(other)
    server.signal(signal.SIGHUP)
    server.wait_log('tunnel ended.*this account needs its certificate')
    right.wait_log('this account needs its certificate')
    equal(len(server.lines('tunnel ended')), 1, 'tunnels that ended')
    check(second.is_serving(), 'the other one')
    equal(len(server.lines('tunnel connected.*account=alice.*'
                           'certificate=other.test')), 1, 'who it is')


@test()
def flags_of_certificates_of_clients(w):
    ca, people = Authority(w.folder), Authority(w.folder, 'people')
    own, pair, other = (people.sign(n) for n in ('own', 'a', 'b'))
    locked = os.path.join(w.folder, 'locked.key')
    ca.run('ec', '-in', pair.key, '-out', locked, '-aes128', '-passout',
           'pass:secret')
    problems = []
    for flags, why in (
            (['--client-ca', ca.file], 'needs --control-tls'),
            (['--client-ca', ca.file, '--tls-port', '0', *own.flags],
             'needs --control-tls'),
            (['--client-ca', pair.key, '--control-port', str(free_port()),
              '--control-tls', *own.flags], '--client-ca: %s has no cert'
             % pair.key)):
        ran = w.run('inlets-server', '--port', str(free_port()),
                    '--bind-addr', '127.0.0.1', *flags)
        if ran.process.returncode == 0 or why not in ran.log:
            problems.append(f'{flags}: {ran.log}')
    for cert, key, why in (
            (pair.cert, None, '--client-cert needs --client-key'),
            (None, pair.key, '--client-key needs --client-cert'),
            (pair.cert, '/nowhere', 'cannot open /nowhere'),
            (pair.key, pair.key, 'no certificate in PEM'),
            (pair.cert, locked, 'one with a password cannot'),
            (pair.cert, other.key, '--client-key %s: the key belongs to '
             'another certificate' % other.key)):
        flags = [*(('--client-cert', cert) if cert else ()),
                 *(('--client-key', key) if key else ())]
        ran = w.run('inlets-client', '--url', 'wss://localhost:9',
                    '--upstream', 'http://127.0.0.1:9', *flags)
        if ran.process.returncode != 2 or why not in ran.log:
            problems.append(f'{flags}: {ran.log}')
    none(problems)
