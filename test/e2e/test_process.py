"""The process: its user, its sandbox, and what systemd hands over."""

import errno
import os
import signal
import socket
import subprocess

from lib.certs import Authority
from lib.house import check, equal, free_port, test
from lib.origin import hello
from lib.procs import NO_LEAK_CHECK, Program

NOBODY = 65534


def status(program, key):
    for line in program.proc('status').decode().splitlines():
        if line.startswith(key + ':'):
            return line.split(':', 1)[1].split()
    raise AssertionError(f'no {key} in /proc/PID/status')


def need_root():
    check(os.geteuid() == 0, 'this test needs root (CI has it)')


def check_dropped(program, uid=NOBODY, kept=0):
    equal({*status(program, 'Uid')}, {str(uid)}, 'user')
    check('0' not in status(program, 'Gid'), 'still of group root')
    equal(status(program, 'Groups'), [], 'supplementary groups')
    for name in ('CapInh', 'CapAmb', 'CapBnd'):
        equal(int(status(program, name)[0], 16), 0, name)
    for name in ('CapPrm', 'CapEff'):
        equal(int(status(program, name)[0], 16), kept, name)
    equal(status(program, 'NoNewPrivs'), ['1'], 'no_new_privs')


@test()
def root_becomes_nobody(w):
    need_root()
    server, client, _ = w.pair(hello)
    for program in (server, client):
        check_dropped(program)
    equal(server.get('/').status, 200, 'a request')


@test()
def root_becomes_the_user_it_names(w):
    need_root()
    server, client, _ = w.pair(hello, '--user', '4242:4343',
                               client_flags=['--user', 'daemon'])
    check_dropped(server, 4242)
    equal({*status(server, 'Gid')}, {'4343'}, 'group')
    check_dropped(client, 1)
    equal(server.get('/').status, 200, 'a request')


@test()
def user_root_stays_and_warns(w):
    need_root()
    server = w.server('--user', 'root')
    equal({*status(server, 'Uid')}, {'0'}, 'user')
    server.wait_log('DANGER: still root')


@test()
def unknown_users_end_it(w):
    need_root()
    for user in ('no-such-user', 'nobody:no-such-group', ':', '4294967295'):
        ran = w.run('inlets-server', '--port', free_port(), '--bind-addr',
                    '127.0.0.1', '--user', user, code=1)
        check('--user' in ran.err, ran.err)


@test()
def hangup_reads_a_file_of_roots_again(w):
    """Its folder is root's alone: one capability is kept, and said."""
    need_root()
    os.chmod(w.folder, 0o700)
    one, two = w.origin(hello), w.origin(hello)
    path = w.file('upstreams', f'a.local={one.url}\n')
    server = w.server()
    client = w.client(server, flags=['--upstreams-from', path])
    client.wait_log('the right to read all files is kept')
    check_dropped(client, kept=1 << 2)
    w.file('upstreams', f'a.local={one.url}\nb.local={two.url}\n')
    client.process.send_signal(signal.SIGHUP)
    client.wait_log('reloaded.*added=1')


def probe(w, kind):
    path = w.file('probe.txt', 'x')
    ran = w.start(Program, 'probe', [w.path('test', 'sandbox_probe'), kind,
                                     path], env=NO_LEAK_CHECK)
    ran.wait_exit(0, 10)
    return {name: int(n) for name, n in map(str.split, ran.out.splitlines())}


@test()
def sandbox_refuses(w):
    denied = (errno.EPERM, errno.EACCES)
    for kind in ('server', 'client'):
        got = probe(w, kind)
        for name in ('write create unlink mkdir shadow_of_proc exec fork '
                     'ptrace init_module kill_parent bpf unshare packet '
                     'netlink raw').split():
            check(got[name] in denied, f'{kind}: {name} gave {got[name]}')
        for name in ('tcp', 'udp6', 'unix'):
            equal(got[name], 0, f'{kind}: {name}')
        if kind == 'server':
            check(got['passwd'] in denied, 'server: /etc/passwd')
            check(got['readable'] in denied, 'server: any file')
            if got['landlock'] >= 4:
                check(got['connect'] in denied, 'server: connect')
        else:
            equal(got['readable'], 0, 'client: the folder of its upstreams')
            equal(got['connect'], errno.ECONNREFUSED, 'client: connect')


@test()
def sandboxed_all_works(w):
    """Names, IPv6, reload, reconnect and drain as without."""
    origin = w.origin(hello)
    folder = os.path.join(w.folder, 'apart')
    os.mkdir(folder)
    ca = Authority(folder)
    path = w.file('upstreams', f'a.local={origin.url}\n')
    server = w.server('--sandbox', address='::1', env=NO_LEAK_CHECK)
    client = w.client(server, origin, env=NO_LEAK_CHECK, flags=[
        '--upstream', f's.local=https://127.0.0.1:1#ca:{ca.file}',
        '--sandbox', '--upstreams-from', path])
    for program in (server, client):
        program.wait_log('in the sandbox')
        equal(status(program, 'Seccomp'), ['2'], 'seccomp')
    equal(server.get('/').status, 200, 'a request')
    w.file('upstreams.new', f'a.local={origin.url}\nb.local={origin.url}\n')
    os.rename(os.path.join(w.folder, 'upstreams.new'), path)
    client.process.send_signal(signal.SIGHUP)
    line = client.wait_log('reloaded.*added=1')[0]
    check('changed=0' in line and 'unchanged=3' in line, line)


@test()
def systemd_sockets(w):
    """By the protocol: descriptors from 3 on, and three variables."""
    visitors, control = (socket.create_server(('127.0.0.1', 0))
                         for _ in range(2))
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = os.path.join(w.folder, 'notify')
    notify.bind(path)
    notify.settimeout(10)
    # dup2 clears close-on-exec; sh is the process that LISTEN_PID names.
    fds = (visitors.fileno(), control.fileno())
    process = subprocess.Popen(
        ['sh', '-c', f'exec 3<&{fds[0]} 4<&{fds[1]}; LISTEN_PID=$$ exec "$@"',
         'sh', w.path('cmd', 'inlets-server'), '--token-from', w.token_file],
        pass_fds=fds, stderr=subprocess.DEVNULL,
        env={**os.environ, **NO_LEAK_CHECK,
             'LISTEN_FDS': '2', 'NOTIFY_SOCKET': path,
             'LISTEN_FDNAMES': 'visitors:control'})
    try:
        equal(notify.recv(100), b'READY=1', 'told')
        with socket.create_connection(visitors.getsockname()) as visitor:
            visitor.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            visitor.settimeout(10)
            check(visitor.recv(100).startswith(b'HTTP/1.1 '), 'answer')
        process.terminate()
        equal(notify.recv(100), b'STOPPING=1', 'told')
        equal(process.wait(10), 0, 'exit status')
    finally:
        process.kill()
        process.wait()
        for s in (visitors, control, notify):
            s.close()


@test()
def wrong_systemd_sockets(w):
    command = [w.path('cmd', 'inlets-server'), '--bind-addr', '127.0.0.1']
    for fds, names, says in (('1', 'visitors', 'not a socket'),
                             ('x', '', 'LISTEN_FDS'), ('0', '', 'LISTEN_FDS'),
                             ('17', '', 'LISTEN_FDS')):
        ran = subprocess.run(
            ['sh', '-c', 'exec 3</dev/null; LISTEN_PID=$$ exec "$@"', 'sh',
             *command], capture_output=True, text=True, timeout=10,
            env={**os.environ, **NO_LEAK_CHECK,
                 'LISTEN_FDS': fds, 'LISTEN_FDNAMES': names})
        equal(ran.returncode, 2, f'exit status with LISTEN_FDS={fds}')
        check(says in ran.stderr, ran.stderr)
