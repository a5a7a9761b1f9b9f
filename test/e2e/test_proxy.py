"""Out through an HTTP proxy: real ones, with and without a password, and ones
that do what proxies do on bad days."""

import os
import shutil
import threading

from lib.certs import Authority
from lib.house import check, equal, free_port, listens, soon, test, within
from lib.procs import Program
from lib.proxy import Proxy
from lib.traffic import KIB, MIB, Crowd, Traffic, download, events, small, \
    talk, upload

USER, PASSWORD = 'alice', 'pass:w/@rd%'
ESCAPED = 'alice:pass%3Aw%2F%40rd%25'

SQUID = """
http_port 127.0.0.1:{port}
pid_filename none
cache_log /dev/null
access_log stdio:{folder}/squid-access.log
cache deny all
memory_cache_shared off
netdb_filename none
pinger_enable off
coredump_dir {folder}
shutdown_lifetime 0 seconds
visible_hostname squid.test
{auth}
http_access {allow}
http_access deny all
"""
SQUID_AUTH = """
auth_param basic program {helper}
auth_param basic realm test
acl known proxy_auth REQUIRED
"""
# It reads a user and a password a line; squid writes %xx for what it finds
# unsafe in them.
SQUID_HELPER = """#!/bin/sh
while read -r line; do
    case $line in
    'alice pass:w/@rd%25') echo OK ;;
    *) echo ERR ;;
    esac
done
"""
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Connect
Allow 127.0.0.1
{auth}
"""


# --- the real ones -----------------------------------------------------------

def squid(w, user=False):
    """Debian's squid; as root it becomes another user, who must get at what it
    reads and writes."""
    folder = os.path.join(w.folder, 'squid')
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    os.chmod(w.folder, 0o711)
    helper = w.file('squid/helper', SQUID_HELPER)
    os.chmod(helper, 0o755)
    port = free_port()
    config = w.file('squid/squid.conf', SQUID.format(
        port=port, folder=folder, allow='allow known' if user else 'allow all',
        auth=SQUID_AUTH.format(helper=helper) if user else ''))
    os.chmod(config, 0o644)
    program = w.start(Program, 'squid', [
        program_of('squid'), '-N', '-n', f'test{port}', '-f', config])
    program.good_exits = (0, 1, -15)
    program.port = port
    soon(lambda: listens(('127.0.0.1', port), program), 20, 'squid')
    program.seen = lambda: read(f'{folder}/squid-access.log')
    return program


def tinyproxy(w, user=False):
    port = free_port()
    # Its file knows no quotes.
    config = w.file('tinyproxy.conf', TINYPROXY.format(
        port=port, auth='BasicAuth alice secretword' if user else ''))
    program = w.start(Program, 'tinyproxy', [
        program_of('tinyproxy'), '-d', '-c', config])
    program.port = port
    soon(lambda: listens(('127.0.0.1', port), program), 10, 'tinyproxy')
    program.seen = lambda: program.log
    return program


def program_of(name):
    """squid is where only root's PATH leads."""
    return shutil.which(name, path='/usr/sbin:/usr/bin:/usr/local/sbin:'
                        '/usr/local/bin:/sbin:/bin') or name


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


def through(w, proxy_url, *flags, env=None, url=None, ready=True):
    """(server, client, traffic) with a proxy in between."""
    traffic = Traffic(w)
    traffic.origin = w.origin(traffic, timeout=120)
    server = w.server()
    if proxy_url is not None:
        flags = ['--proxy', proxy_url, *flags]
    client = w.client(server, traffic.origin, flags=flags, env=env, via=url,
                      ready=ready)
    return server, client, traffic


def demo(server, client, *secrets):
    """All that a visitor does. Then the client ends, while there is a way out
    for its last words: without one it waits for it, as long as it resumes."""
    over = threading.Event()
    with Crowd(90) as crowd:
        crowd.start('websocket', talk, server, over)
        for number in range(5):
            small(server, number)
        small(server, 'post', 'POST')
        download(server, 2 * MIB)
        download(server, 200 * KIB, 'chunked')
        upload(server, 2 * MIB)
        upload(server, 200 * KIB, chunked=True)
        equal(events(server, 5, 20), 19, 'events')
        over.set()
    hushed(client, *secrets)
    client.terminate()


def proxied(client, proxy):
    """The log says which one, and nothing else of it."""
    line, = client.wait_log('msg="?through a proxy')
    check(f'proxy=http://127.0.0.1:{proxy}' in line, line)


@test(timeout=120)
def all_goes_through_squid(w):
    proxy = squid(w)
    server, client, _ = through(w, f'http://127.0.0.1:{proxy.port}')
    proxied(client, proxy.port)
    demo(server, client)
    soon(lambda: f'CONNECT 127.0.0.1:{server.tunnels[1]}' in proxy.seen(), 5,
         'squid having seen it')


@test(timeout=120)
def all_goes_through_squid_with_a_password(w):
    proxy = squid(w, user=True)
    server, client, _ = through(
        w, f'http://{ESCAPED}@127.0.0.1:{proxy.port}')
    proxied(client, proxy.port)
    demo(server, client, PASSWORD, ESCAPED)
    soon(lambda: f'CONNECT 127.0.0.1:{server.tunnels[1]} alice' in
         proxy.seen(), 5, 'squid having seen it')


@test(timeout=120)
def all_goes_through_tinyproxy(w):
    proxy = tinyproxy(w)
    server, client, _ = through(w, f'http://127.0.0.1:{proxy.port}')
    proxied(client, proxy.port)
    demo(server, client)
    check(f'CONNECT 127.0.0.1:{server.tunnels[1]}' in proxy.seen(),
          proxy.seen())


@test(timeout=120)
def all_goes_through_tinyproxy_with_a_password(w):
    proxy = tinyproxy(w, user=True)
    server, client, _ = through(
        w, f'http://alice:secretword@127.0.0.1:{proxy.port}')
    demo(server, client, 'secretword')


# --- who is refused ----------------------------------------------------------

def hushed(client, *secrets):
    """Neither the log nor the process list has them."""
    shown = client.proc('cmdline') + client.proc('environ') \
        if client.running else b''
    for secret in secrets:
        check(secret not in client.log, 'a secret in the log')
        check(secret.encode() not in shown, 'a secret in the process list')


def refused(w, proxy_url, status, words, *secrets):
    _, client, _ = through(w, proxy_url, '--log-level', 'debug', ready=False)
    client.wait_exit(1)
    line, = client.lines('msg="?cannot connect')
    check(f'step=proxy status={status} ' in line, line)
    check(words in line, line)
    check('no way to ws://' in client.log, client.log)
    hushed(client, *secrets)


@test()
def squid_refuses_plainly(w):
    proxy = squid(w, user=True)
    for user in ('', 'alice:wrongword@', 'bob:wrongword@'):
        refused(w, f'http://{user}127.0.0.1:{proxy.port}', 407,
                'said="Proxy Authentication Required"', 'wrongword')


@test()
def tinyproxy_refuses_plainly(w):
    proxy = tinyproxy(w, user=True)
    for user, status, words in (
            ('', 407, 'said="Proxy Authentication Required"'),
            ('alice:wrongword@', 401, 'said=Unauthorized')):
        refused(w, f'http://{user}127.0.0.1:{proxy.port}', status, words,
                'wrongword')


@test()
def what_will_not_change_is_not_asked_again(w):
    for answer, status, words in (
            (b'HTTP/1.1 403 Not from here\r\n\r\nno', 403,
             'said="Not from here"'),
            (b'HTTP/1.0 407 Who are you?\r\nProxy-Authenticate: NTLM\r\n\r\n',
             407, 'said="Who are you?; it takes NTLM; we have Basic"')):
        proxy = w.keep(Proxy(answer=answer))
        refused(w, proxy.url(), status, words)
        equal(len(proxy.asked), 1, 'attempts')


# --- who comes back ----------------------------------------------------------

@test()
def waits_for_a_proxy_that_is_down(w):
    port = free_port()
    server, client, _ = through(w, f'http://127.0.0.1:{port}', ready=False)
    client.wait_log('cannot connect.*step=proxy-connect.*refused', 2)
    proxy = w.keep(Proxy(port=port))
    soon(client.is_serving, 10, 'serving')
    small(server, 1)
    check(proxy.passed > 0, 'nothing went through the proxy')


@test()
def says_that_the_proxy_has_no_name(w):
    _, client, _ = through(w, 'http://no.such.proxy.invalid:3128',
                           '--insecure', ready=False)
    client.wait_log('cannot connect.*step=proxy-resolve', 1, 20)


GARBAGE = {
    'not HTTP': b'SSH-2.0-x\r\n',
    'a page': b'<html>busy</html>',
    'TLS': b'\x15\x03\x01\x00\x02\x02\x28',
    'half a head': b'HTTP/1.1 200 OK\r\nVia: ',
    'nothing': b'',
    'a redirect': b'HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n',
    'a bad gateway': b'HTTP/1.1 502 Bad Gateway\r\n\r\n<html>',
    'a long head': b'HTTP/1.1 200 OK\r\n' + b'A: b\r\n' * 5000,
    'a tunnel to nobody': b'HTTP/1.1 200 OK\r\n\r\n',
    'another server': b'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 503 Bad\r\n\r\n',
}


@test(timeout=120)
def garbage_is_survived(w):
    """Whatever it says: the next attempt is as good as new."""
    proxy = w.keep(Proxy())
    server, client, _ = through(w, proxy.url())
    for name, answer in GARBAGE.items():
        proxy.answer = answer
        before = len(client.lines('msg="?cannot connect'))
        cut_all(proxy)
        soon(lambda: len(client.lines('msg="?cannot connect')) > before, 10,
             f'{name}: noticed')
        check(client.running, name)
        proxy.answer = None
        soon(lambda: is_served(server), 20, f'{name}: serving again')


def cut_all(proxy):
    with proxy.lock:
        socks = list(proxy.socks)
    for sock in socks:
        try:
            sock.shutdown(2)
        except OSError:
            pass


def is_served(server):
    try:
        small(server, 'probe')
    except Exception:
        return False
    return True


@test(suite='patient')
def silence_of_a_proxy_ends_with_the_attempt(w):
    proxy = w.keep(Proxy(answer=b'HTTP/1.1 200', stays=True))
    _, client, _ = through(w, proxy.url(), '--connect-timeout', '2s',
                           ready=False)
    with within(4, 'two attempts', 2):
        client.wait_log('cannot connect.*step=proxy .*timed out', 1)


@test()
def silence_of_a_proxy_is_its_own_by_tls_too(w):
    proxy = w.keep(Proxy(answer=b'HTTP/1.1 200', stays=True))
    client = w.client(w.server(), 'http://127.0.0.1:9', ready=False,
                      url='wss://localhost:9', flags=[
                          '--proxy', proxy.url(), '--tls-skip-verify',
                          '--connect-timeout', '500ms'])
    client.wait_log('cannot connect.*step=proxy .*timed out')


# --- bad days ----------------------------------------------------------------

@test(timeout=120)
def all_goes_through_a_proxy_that_buffers(w):
    proxy = w.keep(Proxy(hold=0.05))
    server, client, _ = through(w, proxy.url())
    demo(server, client)


@test(suite='patient', timeout=120)
def idle_tunnels_that_are_cut_come_back(w):
    """After 5 s of silence: visitors who wait do not notice."""
    proxy = w.keep(Proxy(idle=5))
    server, client, traffic = through(w, proxy.url())
    with Crowd(60) as crowd:
        crowd.start('held', small_held, server)
        soon(lambda: proxy.cuts >= 2, 20, 'being cut')
        soon(lambda: proxy.opened >= 3, 5, 'coming back')
        small(server, 'meanwhile')
        traffic.over.set()
    check(len(client.lines('tunnel websocket resumed')) >= 2, client.log)


def small_held(server):
    answer = server.get('/unanswered', timeout=50)
    equal((answer.status, answer.body), (200, b'at last'), 'who waited')


@test(suite='patient', timeout=60)
def pings_keep_idle_tunnels(w):
    proxy = w.keep(Proxy(idle=5))
    server, _, _ = through(w, proxy.url(), '--ping', '2s')
    w.gate().wait(12)
    small(server, 'after')
    equal((proxy.cuts, proxy.opened), (0, 1), 'cuts, tunnels')


# --- which proxy -------------------------------------------------------------

@test()
def the_proxy_resolves_the_name(w):
    server = w.server()
    origin = w.origin(lambda x: x.reply(200, b'hi'))
    proxy = w.keep(Proxy(user=(USER, PASSWORD),
                         names={'exit.invalid': server.tunnels}))
    client = w.client(server, origin, via=('exit.invalid', 8123), flags=[
        '--insecure', '--all-addresses', '--proxy', proxy.url(ESCAPED)])
    equal(server.get().body, b'hi', 'an answer')
    head, = proxy.asked
    equal((head.start, head.get('Host')),
          ('CONNECT exit.invalid:8123 HTTP/1.1', 'exit.invalid:8123'), 'asked')
    check(client.lines('level=warn.*proxy resolves the name'), client.log)
    hushed(client, PASSWORD, ESCAPED)


@test()
def a_token_needs_leave_to_go_to_a_proxy_elsewhere(w):
    """The exit node's URL is this machine's, but the proxy is not."""
    for flags, code in (([], 2), (['--insecure'], None)):
        client = w.start(Program, 'client', [
            w.path('cmd', 'inlets-client'), '--url', 'ws://127.0.0.1:1',
            '--upstream', 'http://127.0.0.1:2', '--token', 'x',
            '--proxy', 'http://proxy.invalid:3128', *flags])
        if code is not None:
            client.wait_exit(code)
            check('--insecure' in client.err, client.err)
        else:
            client.wait_log('cannot connect')


@test()
def the_environment_says_which(w):
    """By curl's rules; a flag comes first."""
    first, second = w.keep(Proxy(user=('u', 'envword'))), w.keep(Proxy())
    good, other = first.url('u:envword'), second.url()
    dead = 'http://127.0.0.1:1'
    for env, flags, used in (
            ({'http_proxy': good}, [], first),
            ({'http_proxy': good, 'https_proxy': dead}, [], first),
            ({'http_proxy': '', 'ALL_PROXY': other}, [], second),
            ({'all_proxy': other, 'ALL_PROXY': dead}, [], second),
            ({'http_proxy': other, 'all_proxy': dead}, [], second),
            ({'https_proxy': dead, 'HTTPS_PROXY': dead}, [], None),
            ({'HTTP_PROXY': dead}, [], None),
            ({'http_proxy': dead, 'no_proxy': 'a.test, 127.0.0.0/8'}, [],
             None),
            ({'http_proxy': dead, 'NO_PROXY': '*'}, [], None),
            ({'http_proxy': other, 'NO_PROXY': '*', 'no_proxy': 'a.test'}, [],
             second),
            ({'http_proxy': other, 'NO_PROXY': '*'}, ['--no-proxy', 'a.test'],
             second),
            ({'http_proxy': 'socks5://x', 'NO_PROXY': '127.0.0.1'}, [], None),
            ({'http_proxy': dead}, ['--proxy', other], second),
            ({'http_proxy': dead}, ['--proxy', ''], None),
            ({'http_proxy': dead}, ['--proxy', 'none'], None),
            ({'NO_PROXY': '127.0.0.1'}, ['--proxy', dead], None),
            ({}, ['--proxy-from', w.file('proxy', good + '\n')], first)):
        case = f'{env} {flags}'
        before = {proxy: proxy.opened for proxy in (first, second)}
        server, client, _ = through(w, None, *flags, env=env)
        small(server, 1)
        for proxy in (first, second):
            equal(proxy.opened - before[proxy], int(proxy is used), case)
        hushed(client, 'envword')
        equal(bool(client.lines('level=warn.*HTTP_PROXY')),
              'HTTP_PROXY' in env, case)
        client.terminate()
        server.terminate()


@test()
def wrong_proxies_are_named(w):
    for env, flags, words in (
            ({}, ['--proxy', 'http://a:wrong@word@proxy:1'],
             "--proxy: 'http://...@proxy:1' is not like http://host:port"),
            ({}, ['--proxy', 'socks5://u:wrongword@proxy:1'],
             "--proxy: 'socks5://...@proxy:1': not supported"),
            ({'http_proxy': 'u:wrong word@proxy'}, [],
             "http_proxy in the environment: '...@proxy' is not like"),
            ({'ALL_PROXY': 'socks5h://proxy'}, [],
             "all_proxy in the environment: 'socks5h://proxy': not supp"),
            ({}, ['--proxy', 'proxy:1', '--proxy-from', '/x'],
             'two sources for one proxy'),
            ({}, ['--proxy-from', '/nonexistent/file'],
             'cannot open the proxy file /nonexistent/file'),
            ({}, ['--proxy', 'a:1', '--proxy', 'b:1'], 'given twice')):
        ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1', '--upstream',
                    'http://127.0.0.1:2', *flags, env=env, code=2)
        check(words in ran.err, ran.err)
        for secret in ('wrong@word', 'wrongword', 'wrong word'):
            check(secret not in ran.err, ran.err)


# --- TLS to it, and through it -----------------------------------------------

TERMINATOR = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen proxy
    bind 127.0.0.1:{port} ssl crt {pem}
    server plain 127.0.0.1:{behind}
"""


def with_tls(w, proxy, pair):
    """A proxy by https: HAProxy in front of one that has no TLS."""
    port = free_port()
    pem = w.file(f'{port}.pem', read(pair.cert) + read(pair.key))
    config = w.file(f'{port}.cfg', TERMINATOR.format(
        port=port, pem=pem, behind=proxy.port))
    program = w.start(Program, 'haproxy', ['haproxy', '-db', '-f', config])
    soon(lambda: listens(('127.0.0.1', port), program), 10, 'haproxy')
    return port


def secure_through(w, proxy_url, ca, *flags, **options):
    """(server, client) by wss, with a proxy in between (None: env has it)."""
    if proxy_url is not None:
        flags = ['--proxy', proxy_url, *flags]
    traffic = Traffic(w)
    traffic.origin = w.origin(traffic, timeout=120)
    port = free_port()
    server = w.server('--tls-port', port, *ca.sign('localhost').flags)
    client = w.client(
        server, traffic.origin, url=f'wss://localhost:{port}',
        flags=['--ca-file', ca.file, *flags], **options)
    return server, client


@test(timeout=120)
def wss_through_squid_with_a_password(w):
    proxy = squid(w, user=True)
    server, client = secure_through(
        w, f'http://{ESCAPED}@127.0.0.1:{proxy.port}', Authority(w.folder))
    demo(server, client, PASSWORD, ESCAPED)


@test(timeout=120)
def wss_through_a_proxy_by_https(w):
    """TLS to the proxy, and TLS through it, at once."""
    ca = Authority(w.folder)
    proxy = tinyproxy(w, user=True)
    port = with_tls(w, proxy, ca.sign('localhost', as_file='proxy'))
    server, client = secure_through(
        w, f'https://alice:secretword@localhost:{port}', ca)
    line, = client.wait_log('msg="?through a proxy')
    check(f'proxy=https://localhost:{port}' in line, line)
    demo(server, client, 'secretword')


@test()
def a_proxy_by_https_must_show_who_it_is(w):
    ca, other = Authority(w.folder), Authority(w.folder, 'other')
    proxy = tinyproxy(w)
    for pair, why in ((other.sign('localhost'), 'nobody that is trusted here'),
                      (ca.sign('proxy.test'), 'not for localhost')):
        port = with_tls(w, proxy, pair)
        _, client = secure_through(w, f'https://localhost:{port}', ca,
                                   ready=False)
        line = client.wait_log('msg="?cannot connect')[0]
        check('step=proxy-tls' in line and why in line, line)
        client.wait_exit(1)


@test()
def wss_has_a_variable_of_its_own(w):
    proxy = w.keep(Proxy(user=(USER, PASSWORD)))
    server, client = secure_through(w, None, Authority(w.folder), env={
        'HTTPS_PROXY': proxy.url(ESCAPED), 'http_proxy': 'http://127.0.0.1:1',
        'all_proxy': 'socks5://127.0.0.1:1'})
    demo(server, client, PASSWORD, ESCAPED)
    check(proxy.passed > MIB, 'not through the proxy')
    check(proxy.asked[0].target.startswith('localhost:'), proxy.asked[0])


@test()
def what_a_proxy_says_in_front_of_tls_is_told(w):
    proxy = w.keep(Proxy(answer=b'HTTP/1.1 403 Not there\r\n\r\n'))
    _, client = secure_through(w, proxy.url(), Authority(w.folder),
                               ready=False)
    client.wait_exit(1)
    line, = client.lines('cannot connect')
    check('step=proxy status=403 ' in line and 'said="Not there"' in line, line)
