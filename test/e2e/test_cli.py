"""Flags, environment, secrets, messages and exit statuses."""

import os
import re
import signal
import socket

from lib.house import Client, Server, check, equal, free_port, test, within
from lib.origin import hello

PROGRAMS = ('inlets-server', 'inlets-client')
MINIMUM = {'inlets-server': [], 'inlets-client': [
    '--url', 'ws://127.0.0.1:9', '--upstream', 'http://127.0.0.1:9']}


def refuses(w, program, *argv, says='', code=2, env=None):
    """It must end at once with a message on stderr."""
    ran = w.run(program, *argv, env=env)
    got = ran.process.returncode
    check(got == code if code is not None else got > 0,
          f'{program} {" ".join(map(str, argv))} exited with {got}')
    check(ran.err.strip(), 'nothing on stderr')
    check(re.search(says, ran.err, re.I), f'/{says}/ is not in:', ran.err)
    return ran


@test()
def help_fits_a_screen(w):
    for program in PROGRAMS:
        ran = w.run(program, '--help', code=0)
        lines = ran.out.splitlines()
        equal(ran.err, '', '--help on stderr')
        check(5 < len(lines) <= 30, program, len(lines), 'lines')
        check(max(map(len, lines)) <= 80, program, 'has a line over 80')
        check('xample' in ran.out, program, 'has no example')
        equal(w.run(program, '-h', code=0).out, ran.out, '-h')


@test()
def help_knows_every_flag(w):
    flags = {
        'inlets-server': 'port control-port data-addr control-addr token '
                         'token-from tunnel-path allow-anyone-to-serve-'
                         'any-host log-format',
        'inlets-client': 'url upstream token token-from insecure log-format'}
    for program, names in flags.items():
        said = w.run(program, '--help', code=0).out
        for name in names.split():
            check(f'--{name}' in said, f'{program} --help without --{name}')


@test()
def version_names_the_libraries(w):
    for program in PROGRAMS:
        ran = w.run(program, '--version', code=0)
        for name in (r'\d+\.\d+\.\d+', r'llhttp \d', r'libuv \d', r'wslay',
                     r'mbed ?TLS \d'):
            check(re.search(name, ran.out, re.I), f'{name} not in', ran.out)


@test()
def wrong_flags_exit_2(w):
    for program in PROGRAMS:
        rest = MINIMUM[program]
        refuses(w, program, '--no-such-flag', *rest, says='no-such-flag')
        refuses(w, program, '--token', says='--token')
        refuses(w, program, '-?', *rest)
        refuses(w, program, *rest, 'stray', says='stray')
        refuses(w, program, *rest, '--log-format', 'xml', says='xml|format')
        refuses(w, program, *rest, '--log-level', 'loud', says='loud|level')
        for value in ('', '10', '-1s', '1x', 'abc', '99999999999s'):
            refuses(w, program, *rest, '--ping', value, says='ping')
    for port in ('', '-1', '65536', '80x', 'http', '99999999999'):
        refuses(w, 'inlets-server', '--port', port, says='port')
        refuses(w, 'inlets-server', '--control-port', port, says='port')
    refuses(w, 'inlets-server', '--data-addr', 'no address', says='addr')
    refuses(w, 'inlets-server', '--tunnel-path', 'tunnel', says='path')
    refuses(w, 'inlets-server', '--max-streams', '0', says='streams')


@test()
def client_needs_url_and_upstream(w):
    refuses(w, 'inlets-client', '--url', 'ws://127.0.0.1:9', says='upstream')
    refuses(w, 'inlets-client', '--upstream', 'http://127.0.0.1:9',
            says='url')
    for url in ('', 'ws://', 'ftp://127.0.0.1', 'ws://127.0.0.1:0',
                'ws://127.0.0.1:70000', 'ws://user@/', 'ws://a b'):
        refuses(w, 'inlets-client', '--url', url, '--upstream',
                'http://127.0.0.1:9', says='url|address|port|scheme')
    for upstream in ('', '=', 'a.local=', '=http://127.0.0.1:9',
                     'a.local=ftp://127.0.0.1', 'http://127.0.0.1:0',
                     'http://', 'a b=http://127.0.0.1:9',
                     'a..b=http://127.0.0.1:9', '*.*.x=http://127.0.0.1:9',
                     'a*.x=http://127.0.0.1:9'):
        refuses(w, 'inlets-client', '--url', 'ws://127.0.0.1:9',
                '--upstream', upstream, says='upstream')


@test()
def two_upstreams_for_one_endpoint(w):
    for pair in (('a.local=http://127.0.0.1:1', 'A.LOCAL=http://127.0.0.1:2'),
                 ('http://127.0.0.1:1', 'http://127.0.0.1:2'),
                 ('a.local/x=http://127.0.0.1:1',
                  'a.local/x/=http://127.0.0.1:2'),
                 ('a.local=http://127.0.0.1:1,a.local=http://127.0.0.1:2',)):
        argv = [a for upstream in pair for a in ('--upstream', upstream)]
        refuses(w, 'inlets-client', '--url', 'ws://127.0.0.1:9', *argv,
                says='twice|already|two|both|conflict')


@test()
def clear_text_beyond_loopback_needs_insecure(w):
    """It says so, and before anything is sent."""
    with within(3.0, 'the refusal'):
        for url in ('ws://192.0.2.1:8000', '192.0.2.1:8000',
                    'http://[2001:db8::1]', 'ws://exit.example.com'):
            refuses(w, 'inlets-client', '--url', url, '--upstream',
                    'http://127.0.0.1:9', says='--insecure', code=None)


@test()
def insecure_allows_it(w):
    """0.0.0.0 leads to this machine, but is not a loopback address."""
    origin = w.origin(hello)
    server = w.server()
    port = server.tunnels[1]
    argv = ['--url', f'ws://0.0.0.0:{port}', '--token-from', w.token_file,
            '--upstream', origin.url]
    refuses(w, 'inlets-client', *argv, says='--insecure', code=None)
    w.start(Client, 'insecure', [w.path('cmd', 'inlets-client'), *argv,
                                 '--insecure'])
    equal(server.wait_serving(timeout=5).status, 200, 'with --insecure')


@test()
def server_without_a_token(w):
    """Only on loopback, or with the flag that names the danger."""
    port = free_port()
    flag = '--allow-anyone-to-serve-any-host'
    for argv in (['--port', port], ['--port', port, '--control-addr',
                                    '0.0.0.0'],
                 ['--port', port, '--data-addr', '127.0.0.1',
                  '--control-port', free_port(), '--control-addr', '::']):
        refuses(w, 'inlets-server', *argv, says=flag, code=None)
    origin = w.origin(hello)
    server = w.server(token=False)
    w.client(server, origin, token=False)
    equal(server.get().status, 200, 'no token, on loopback')
    anyone = w.start(Server, 'anyone', [
        w.path('cmd', 'inlets-server'), '--port', port, flag])
    anyone.visitors = anyone.tunnels = ('127.0.0.1', port)
    w.wait_listening(anyone)


@test()
def client_may_bring_a_token_that_nobody_asks_for(w):
    origin = w.origin(hello)
    server = w.server(token=False)
    w.client(server, origin)
    equal(server.get().status, 200, 'a token too many')


@test()
def refused_token_exits_1(w):
    origin = w.origin(hello)
    server = w.server()
    for name, text in (('wrong', 'wrong\n'), ('longer', w.token + 'x')):
        file = w.file(name, text)
        with within(5.0, 'the refusal'):
            refuses(w, 'inlets-client', '--url',
                    f'ws://127.0.0.1:{server.tunnels[1]}', '--token-from',
                    file, '--upstream', origin.url, code=1, says='token|401')
    none = w.client(server, origin, token=False, ready=False)
    none.wait_exit(1)
    check(re.search('token|401', none.err), none.err)
    check(server.lines('refused|401|token'), 'the server says nothing')


@test()
def signals_exit_0(w):
    for number in (signal.SIGTERM, signal.SIGINT):
        server, client, _ = w.pair(hello)
        for program in (client, server):
            program.signal(number)
            with within(3.0, f'{program.name} on {number}'):
                program.wait_exit(0)
    lonely = w.client(server, 'http://127.0.0.1:9', ready=False)
    lonely.wait_log(r'refused|connect')
    lonely.terminate()


@test()
def port_in_use_exits_1(w):
    taken = w.keep(socket.create_server(('127.0.0.1', 0)))
    port = taken.getsockname()[1]
    argv = ['--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1',
            '--token-from', w.token_file]
    says = f'{port}.*in use|in use.*{port}'
    refuses(w, 'inlets-server', '--port', port, *argv, code=1, says=says)
    refuses(w, 'inlets-server', '--port', free_port(), '--control-port', port,
            *argv, code=1, says=says)


@test()
def address_of_another_machine_exits_1(w):
    refuses(w, 'inlets-server', '--port', free_port(), '--data-addr',
            '192.0.2.1', '--token-from', w.token_file, code=1,
            says='192.0.2.1')


@test()
def port_0_and_the_log(w):
    server = w.start(Server, 'any-port', [
        w.path('cmd', 'inlets-server'), '--port', '0', '--data-addr',
        '127.0.0.1', '--control-addr', '127.0.0.1'])
    line = server.wait_log('msg="?listening')[0]
    port = int(re.search(r'address="?127\.0\.0\.1:(\d+)', line)[1])
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)


@test()
def all_addresses_by_default(w):
    port = free_port()
    server = w.start(Server, 'all', [
        w.path('cmd', 'inlets-server'), '--port', port, '--token-from',
        w.token_file])
    for host in ('127.0.0.1', '::1', '127.7.7.7'):
        server.visitors = server.tunnels = (host, port)
        w.wait_listening(server)
        equal(server.get().status, 503, host)


@test()
def data_and_control_addresses(w):
    server = w.server(control=True, control_address='127.0.0.2')
    w.client(server, w.origin(hello))
    equal(server.get().status, 200, 'data on 127.0.0.1')
    for host, (_, port) in (('127.0.0.1', server.tunnels),
                            ('127.0.0.2', server.visitors)):
        with socket.socket() as sock:
            check(sock.connect_ex((host, port)) != 0, host, port, 'answers')


@test()
def environment_token_and_port(w):
    port = free_port()
    addresses = ['--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1']
    env = {'TOKEN': w.token, 'PORT': str(port)}
    server = w.start(Server, 'by-env', [
        w.path('cmd', 'inlets-server'), *addresses], env=env)
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)
    origin = w.origin(hello)
    w.client(server, origin, token=False, env={'TOKEN': w.token})
    equal(server.get().status, 200, 'token and port of the environment')
    refused = w.client(server, origin, token=False, ready=False,
                       env={'TOKEN': 'wrong'})
    refused.wait_exit(1)
    other = free_port()
    flag = w.start(Server, 'by-flag', [
        w.path('cmd', 'inlets-server'), *addresses, '--port', other],
        env={'TOKEN': w.token, 'PORT': str(port)})
    flag.visitors = flag.tunnels = ('127.0.0.1', other)
    w.wait_listening(flag)
    refuses(w, 'inlets-server', *addresses, env={'PORT': 'x1'}, says='PORT')


@test()
def two_sources_of_one_secret(w):
    for program in PROGRAMS:
        for argv, env in (
                (['--token', w.token, '--token-from', w.token_file], {}),
                (['--token', w.token], {'TOKEN': w.token}),
                (['--token-from', w.token_file], {'TOKEN': w.token})):
            refuses(w, program, *MINIMUM[program], *argv, env=env,
                    says='token')


@test()
def token_files(w):
    for name, text in (('crlf', w.token + '\r\n'), ('plain', w.token),
                       ('lines', w.token + '\n\n')):
        server = w.server('--token-from', w.file(name, text), token=False)
        w.client(server, w.origin(hello))
        equal(server.get().status, 200, name)
    for program in PROGRAMS:
        rest = MINIMUM[program]
        refuses(w, program, *rest, '--token-from', w.folder + '/none',
                says='/none', code=None)
        refuses(w, program, *rest, '--token-from', w.file('empty', '\n'),
                says='empty', code=None)
        refuses(w, program, *rest, '--token-from', w.folder, code=None)
    alias = w.server('--token-file', w.token_file, token=False)
    client = w.client(alias, w.origin(hello), token=False,
                      flags=['--token-file', w.token_file])
    check(client.running, 'the client left')


@test()
def secrets_are_wiped_from_the_process_list(w):
    origin = w.origin(hello)
    secret = w.token.encode()
    for by_flag in (True, False):
        how = {'flags': ['--token', w.token]} if by_flag \
            else {'env': {'TOKEN': w.token}}
        server = w.server(*how.get('flags', ()), token=False,
                          env=how.get('env'))
        client = w.client(server, origin, token=False, **how)
        for program in (server, client):
            check(secret not in program.proc('cmdline'), program.name,
                  'shows it in its command line')
            check(secret not in program.proc('environ'), program.name,
                  'shows it in its environment')
            check(b'inlets' in program.proc('cmdline'), 'all is wiped')
        equal(server.get().status, 200, 'the token still works')
    equal_sign = w.server(f'--token={w.token}', token=False)
    check(secret not in equal_sign.proc('cmdline'), '--token=... shows')


@test()
def print_token(w):
    w.token_may_show = True
    server = w.server('--print-token')
    server.wait_log(w.token)


@test()
def flags_of_the_original(w):
    origin = w.origin(hello)
    server = w.server('--disable-transport-wrapping')
    w.client(server, origin, flags=['--strict-forwarding'])
    equal(server.get().status, 200, 'with old flags')
    equal(len(server.lines('disable-transport-wrapping')), 1,
          'lines about a flag that does nothing')


@test()
def no_descriptors_are_inherited_or_needed(w):
    """Closed standard streams do not become sockets that get log lines."""
    port = free_port()
    server = w.start(Server, 'closed', [
        'sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh',
        w.path('cmd', 'inlets-server'), '--port', port, '--data-addr',
        '127.0.0.1', '--control-addr', '127.0.0.1'])
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)
    for _ in range(3):
        answer = server.get()
        equal(answer.status, 503, 'an answer, and nothing but it')


@test()
def descriptor_limit_is_raised(w):
    server = w.start(Server, 'raised', [
        'sh', '-c', 'ulimit -S -n 64; exec "$@"', 'sh',
        w.path('cmd', 'inlets-server'), '--port', port := free_port(),
        '--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1'])
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)
    limits = server.proc('limits').decode()
    soft, hard = re.search(r'Max open files\s+(\d+)\s+(\d+)', limits).groups()
    equal(soft, hard, 'soft and hard limit')


@test()
def broken_log_is_survived(w):
    """Whoever read the log has gone."""
    reader, writer = os.pipe()
    server = w.start(Server, 'piped', [
        w.path('cmd', 'inlets-server'), '--port', port := free_port(),
        '--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1'],
        output=writer)
    os.close(writer)
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)
    for _ in range(3):
        equal(server.get().status, 503, 'with a log')
    os.close(reader)
    for _ in range(5):
        equal(server.get().status, 503, 'with a broken log')


@test()
def unread_log_is_survived(w):
    """A pipe that nobody reads fills up; visitors are answered anyway."""
    reader, writer = os.pipe()
    server = w.start(Server, 'unread', [
        w.path('cmd', 'inlets-server'), '--port', port := free_port(),
        '--data-addr', '127.0.0.1', '--control-addr', '127.0.0.1'],
        output=writer)
    os.close(writer)
    server.visitors = server.tunnels = ('127.0.0.1', port)
    w.wait_listening(server)
    with within(20, '2,000 requests and nobody who reads the log'):
        with w.visitor(server) as visitor:
            for number in range(2000):
                if number % 500 == 0:
                    visitor = w.visitor(server)
                equal(visitor.get('/' + 'x' * 100).status, 503, number)
    os.close(reader)
