"""What is measured: direct, two nginx, ssh -R and inlets, started and stopped.

A Place is where the programs run: this machine, or the two ends of a Link. A
subject is the chain from a visitor (near) to the origin (far) and knows the
programs in the middle, whose time and memory count. All of it is stopped by
Place.stop, and by the kernel when this process dies.
"""

import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import netns
from small import answers

TICK = os.sysconf('SC_CLK_TCK')
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOCAL = '127.0.0.1'
BIG = 128 << 20         # bytes of /big
DESCRIPTORS = 200000    # if the kernel lets us
CONGESTION = 'cubic'    # on a link
LIBC = ctypes.CDLL(None)


class Unable(Exception):
    """A row cannot run here; the message says why in the table."""


def find(program):
    """Also where only root has them in the PATH."""
    path = os.environ.get('PATH', '') + ':/usr/sbin:/usr/local/sbin:/sbin'
    return shutil.which(program, path=path)


def nothing():
    return contextlib.nullcontext()


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# --- accounting --------------------------------------------------------------

def family(pids):
    """These processes and all that they started."""
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        try:
            tasks = os.listdir(f'/proc/{pid}/task')
            for task in tasks:
                with open(f'/proc/{pid}/task/{task}/children',
                          encoding='ascii') as file:
                    todo += map(int, file.read().split())
        except OSError:
            continue
        found.append(pid)
    return found


def cpu_seconds(pids):
    """User and system time of living processes and of waited-for children."""
    ticks = 0
    for pid in family(pids):
        with contextlib.suppress(OSError):
            with open(f'/proc/{pid}/stat', encoding='ascii',
                      errors='replace') as file:
                fields = file.read().rpartition(')')[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICK


def resident_kib(pids):
    total = 0
    for pid in family(pids):
        with contextlib.suppress(OSError):
            with open(f'/proc/{pid}/status', encoding='ascii',
                      errors='replace') as file:
                if found := re.search(r'VmRSS:\s+(\d+)', file.read()):
                    total += int(found[1])
    return total


# --- programs ----------------------------------------------------------------

class Program:
    """One that runs until it is stopped; its output is kept in a file."""

    def __init__(self, name, argv, folder):
        self.name, self.argv = name, argv
        self.log = os.path.join(folder, f'{name}.log')
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=folder, start_new_session=True,
                preexec_fn=die_with_parent)
        self.pid = self.process.pid

    def last_line(self):
        with open(self.log, encoding='utf-8', errors='replace') as log:
            lines = log.read().split('\n')
        return next((line for line in reversed(lines) if line), '')

    def kill(self):
        """It and what it started, at once: sshd has children that do not
        end with it."""
        pids = family([self.pid])
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pid in pids:
            wait_gone(pid)


def adopt_orphans():
    """What a killed program had started becomes ours, to be waited for."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_gone(pid):
    """A killed orphan becomes our child a moment after its parent's end."""
    deadline = time.monotonic() + 2
    while os.path.exists(f'/proc/{pid}') and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


# --- nginx -------------------------------------------------------------------

NGINX = '''
worker_processes 1; daemon off; master_process off;
worker_rlimit_nofile {descriptors};
pid {folder}/{name}.pid; error_log {folder}/{name}.errors;
events {{ worker_connections {connections}; }}
http {{
    access_log off; sendfile on; tcp_nodelay on;
    keepalive_requests 100000000; keepalive_timeout 3600s;
    client_max_body_size 0; client_header_timeout 3600s;
    client_body_temp_path {folder}/{name}.b; proxy_temp_path {folder}/{name}.p;
    fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u;
    scgi_temp_path {folder}/{name}.s;
    {server}
}}
'''
NGINX_ORIGIN = '''
    server {{ listen {at};
        location /small {{ return 200 "hello world\\n"; }}
        location /big {{ alias {big}; }} }}
'''
# As one would set it up for a tunnel: nothing is held back, nothing goes to
# disk; buffers as large as pay here.
NGINX_PROXY = '''
    upstream up {{ server {to}; keepalive 512; }}
    server {{ listen {at}{tls}; location / {{
        proxy_pass http://up; proxy_http_version 1.1;
        proxy_set_header Connection ""; proxy_set_header Host $http_host;
        proxy_buffering {buffering}; proxy_request_buffering off;
        proxy_buffers 16 64k; proxy_buffer_size 16k;
        proxy_busy_buffers_size 512k; client_body_buffer_size 64k;
        proxy_max_temp_file_size 0; proxy_read_timeout 3600s; }} }}
'''

# Sessions come back by tickets, as by inlets-server.
NGINX_TLS = ''' ssl; ssl_certificate {cert}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3'''


@functools.cache
def big_file():
    """What /big gives: in memory, on no disk, gone with this process."""
    fd = os.memfd_create('big')
    with open(fd, 'wb', closefd=False) as file:
        file.write(bytes(BIG))
    return f'/proc/{os.getpid()}/fd/{fd}'


# --- places ------------------------------------------------------------------

class Place:
    """A folder, ports, and programs near and far."""

    def __init__(self, build, folder, link=None, crowd=1000):
        self.build, self.folder, self.link = build, folder, link
        self.crowd = crowd
        self.near = link.near if link else nothing()
        self.far = link.far if link else nothing()
        self.near_address = netns.NEAR if link else LOCAL
        self.far_address = netns.FAR if link else LOCAL
        self.programs = []

    def port(self, side):
        with side, socket.socket() as sock:
            sock.bind((LOCAL, 0))
            return sock.getsockname()[1]

    def start(self, side, name, *argv):
        with side:
            program = Program(name, [str(a) for a in argv], self.folder)
        self.programs.append(program)
        return program

    def nginx(self, side, name, server):
        nginx = find('nginx') or missing('nginx')
        path = os.path.join(self.folder, name + '.conf')
        # The table of connections is touched at the start: it is memory.
        connections = 4 * self.crowd + 512
        with open(path, 'w', encoding='ascii') as file:
            file.write(NGINX.format(
                folder=self.folder, name=name, server=server,
                descriptors=connections, connections=connections))
        return self.start(side, name, nginx, '-c', path)

    def origin(self, kind):
        """'nginx', or 'holder' (origin.c). Returns its address."""
        port = self.port(self.far)
        at = f'{self.far_address}:{port}'
        if kind == 'nginx':
            self.nginx(self.far, 'origin',
                       NGINX_ORIGIN.format(at=at, big=big_file()))
        else:
            program = os.path.join(self.build, 'test', 'bench_origin')
            self.start(self.far, 'origin', program, self.far_address, port)
        wait_listening(self.far, self.far_address, port)
        return at

    def certificate(self):
        """(certificate, key), of P-256, made for this run."""
        cert, key = (os.path.join(self.folder, f'tls.{kind}')
                     for kind in ('crt', 'key'))
        subprocess.run(
            [find('openssl') or missing('openssl'), 'req', '-x509', '-newkey',
             'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
             '-subj', '/CN=localhost', '-addext',
             'subjectAltName=DNS:localhost', '-out', cert, '-keyout', key],
            check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return cert, key

    def stop(self):
        for program in reversed(self.programs):
            program.kill()
        self.programs.clear()


def use_congestion_control(link, name):
    """Of those who do not ask for another: what most systems have, whatever
    this one has. By route, since a namespace may not choose as default what
    the system keeps from unprivileged programs."""
    for here, there in ((link.near, link.far), (link.far, link.near)):
        with here:
            ran = subprocess.run(
                [find('ip') or missing('ip (iproute2)'), 'route', 'replace',
                 there.address, 'dev', 'link0', 'congctl', name],
                capture_output=True, text=True, check=False)
        if ran.returncode:
            raise Unable(f'no {name} here: {ran.stderr.strip()}')


def missing(program):
    raise Unable(f'{program} is not installed')


def wait_listening(side, address, port, timeout=10):
    deadline = time.monotonic() + timeout
    while True:
        try:
            with side:
                socket.create_connection((address, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise Unable(f'nothing listens on port {port}') from None
            time.sleep(0.005)


def wait_answered(subject, program, host, timeout=15):
    deadline = time.monotonic() + timeout
    while not answers(subject, 1, host):
        if program.process.poll() is not None or time.monotonic() > deadline:
            raise Unable(f'{program.name} did not start: '
                         f'{program.last_line()}')
        time.sleep(0.005)


# --- subjects ----------------------------------------------------------------

class Subject:
    """near: (address, port) for visitors; middle: pids that are counted."""

    name = None

    def __init__(self, place, origin, flags=(), hosts=0):
        self.place, self.origin, self.flags = place, origin, flags
        self.hosts = hosts      # h0.test and so on, instead of any host
        self.is_tls = 'tls' in flags    # for visitors
        self.address = self.port = self.server = None
        self.middle = []
        self.set_up()

    def cpu(self):
        return cpu_seconds(p.pid for p in self.middle)

    def resident(self):
        return resident_kib(p.pid for p in self.middle)

    def at_far(self):
        address, _, port = self.origin.rpartition(':')
        return address, int(port)

    def url(self, path):
        scheme = 'https' if self.is_tls else 'http'
        return f'{scheme}://{self.address}:{self.port}{path}'


class Direct(Subject):
    name = 'direct'

    def set_up(self):
        self.address, self.port = self.at_far()


class Nginx2(Subject):
    name = 'nginx2'

    def set_up(self):
        place = self.place
        buffering = 'off' if 'unbuffered' in self.flags else 'on'
        inner = place.port(place.far)
        at = f'{place.far_address}:{inner}'
        self.middle.append(place.nginx(place.far, 'inner', NGINX_PROXY.format(
            at=at, tls='', to=self.origin, buffering=buffering)))
        wait_listening(place.far, place.far_address, inner)
        self.address, self.port = LOCAL, place.port(place.near)
        tls = ''
        if self.is_tls:
            cert, key = place.certificate()
            tls = NGINX_TLS.format(cert=cert, key=key)
        self.outer = NGINX_PROXY.format(
            at=f'{LOCAL}:{self.port}', tls=tls, to=at, buffering=buffering)
        self.start_server()

    def start_server(self):
        place = self.place
        self.server = place.nginx(place.near, 'outer', self.outer)
        self.middle.append(self.server)
        wait_listening(place.near, LOCAL, self.port)


SSHD = '''
ListenAddress {address}:{port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
MaxSessions 100
MaxStartups 100
AllowTcpForwarding yes
ClientAliveInterval 10
ClientAliveCountMax 2
LogLevel ERROR
'''


def dies_with_parent():
    """For a child of the loop, which die_with_parent does not reach."""
    setpriv = find('setpriv')
    return [setpriv, '--pdeathsig', 'KILL'] if setpriv else []


class Ssh(Subject):
    """-R, with keys made for this run, from a loop as people run it."""

    name = 'ssh'

    def set_up(self):
        place = self.place
        for program in ('sshd', 'ssh', 'ssh-keygen'):
            if not find(program):
                missing(program)
        self.tunnel_port = place.port(place.near)
        self.make_keys()
        self.start_server()
        self.address, self.port = LOCAL, place.port(place.near)
        self.middle.append(place.start(
            place.far, 'ssh-client', 'sh', '-c',
            'while :; do "$@"; sleep 0.1; done', 'sh',
            *dies_with_parent(), find('ssh'), '-N',
            '-F', 'none', '-i', f'{place.folder}/user_key',
            '-p', self.tunnel_port, '-o', 'StrictHostKeyChecking=no',
            '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes',
            '-o', 'ExitOnForwardFailure=yes', '-o', 'LogLevel=ERROR',
            '-R', f'{LOCAL}:{self.port}:{self.origin}',
            place.near_address))
        wait_listening(place.near, LOCAL, self.port)

    def make_keys(self):
        folder = self.place.folder
        for name in ('host_key', 'user_key'):
            path = os.path.join(folder, name)
            if not os.path.exists(path):
                subprocess.run([find('ssh-keygen'), '-q', '-t', 'ed25519',
                                '-N', '', '-f', path], check=True,
                               stdin=subprocess.DEVNULL)
        path = os.path.join(folder, 'sshd.conf')
        with open(path, 'w', encoding='ascii') as file:
            file.write(SSHD.format(folder=folder, port=self.tunnel_port,
                                   address=self.place.near_address))

    def start_server(self):
        place = self.place
        with contextlib.suppress(OSError):
            os.makedirs('/run/sshd', mode=0o755, exist_ok=True)
        self.server = place.start(
            place.near, 'sshd', find('sshd'), '-D', '-e', '-f',
            f'{place.folder}/sshd.conf')
        self.middle.append(self.server)
        wait_listening(place.near, place.near_address, self.tunnel_port)


HOSTS_A_CLIENT = 1000   # INL_SESSION_MAX_ROUTES is a few more
PATIENT = ('--ping', '1h', '--dead', '2h')


class Inlets(Subject):
    name = 'inlets'

    def set_up(self):
        place = self.place
        self.address, self.port = LOCAL, place.port(place.near)
        self.tunnel_port = place.port(place.near)
        self.start_server()
        for first in range(0, max(1, self.hosts), HOSTS_A_CLIENT):
            self.start_client(first)

    def start_client(self, first):
        place, hosts = self.place, self.hosts_from(first)
        client = place.start(
            place.far, f'inlets-client-{first}', self.path('inlets-client'),
            '--url', f'ws://{place.near_address}:{self.tunnel_port}',
            '--token', 'bench', '--insecure', '--log-level', 'error',
            *self.client_flags(), *self.upstreams(hosts))
        wait_answered(self, client, hosts[-1].partition('=')[0] if hosts
                      else 'localhost')
        self.middle.append(client)

    def hosts_from(self, first):
        end = min(self.hosts, first + HOSTS_A_CLIENT)
        return [f'h{n}.test={self.origin}' for n in range(first, end)]

    def client_flags(self):
        """Those that --help lists; one that begins with ? may be missing."""
        said = subprocess.run([self.path('inlets-client'), '--help'],
                              capture_output=True, text=True,
                              check=False).stdout
        found = []
        for flag in (f for f in self.flags if '--' in f):
            name = flag.lstrip('?').partition('=')[0]
            if re.search(rf'{re.escape(name)}\b', said):
                found.append(flag.lstrip('?'))
            elif not flag.startswith('?'):
                raise Unable(f'inlets-client has no {name}')
        return found

    def upstreams(self, hosts):
        if not hosts:
            return [f'--upstream=http://{self.origin}']
        return ['--upstream=' + ','.join(hosts[i:i + 250])
                for i in range(0, len(hosts), 250)]

    def path(self, name):
        return os.path.join(self.place.build, 'cmd', name)

    def server_flags(self):
        return PATIENT if 'patient' in self.flags else ()

    @property
    def tunnels(self):
        return self.place.near_address, self.tunnel_port

    def ports(self):
        """By TLS visitors have a port, and that in clear is nobody's."""
        if not self.is_tls:
            return '--port', self.port
        cert, key = self.place.certificate()
        # wrk asks for an address by SNI, which nobody should (RFC 6066 3).
        return ('--port', self.place.port(self.place.near), '--tls-port',
                self.port, '--tls-cert', cert, '--tls-key', key,
                '--tls-default', 'localhost')

    def start_server(self):
        place = self.place
        self.server = place.start(
            place.near, 'inlets-server', self.path('inlets-server'),
            *self.ports(), '--data-addr', LOCAL,
            '--control-port', self.tunnel_port,
            '--control-addr', place.near_address, '--token', 'bench',
            '--max-streams', '65000', '--idle-timeout', '3600s',
            '--log-level', 'error', *self.server_flags())
        wait_listening(place.near, LOCAL, self.port)
        wait_listening(place.near, place.near_address, self.tunnel_port)
        self.middle.append(self.server)


SUBJECTS = {kind.name: kind for kind in (Direct, Nginx2, Ssh, Inlets)}


@contextlib.contextmanager
def running(name, build, *, origin='nginx', link=(), flags=(), hosts=0,
            crowd=1000):
    """A subject with all that it needs, stopped at the end."""
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix='inlets-bench-')
        # Deleted by who reads: sshd wants a world that only root writes.
        os.chmod(folder, 0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        wire = None
        if link:
            program = os.path.join(build, 'test', 'bench_link')
            try:
                wire = stack.enter_context(netns.Link(program, *link))
            except netns.LinkError as error:
                raise Unable(str(error)) from None
            use_congestion_control(wire, CONGESTION)
        place = Place(build, folder, wire, crowd)
        stack.callback(place.stop)
        yield SUBJECTS[name](place, place.origin(origin), flags, hosts)
