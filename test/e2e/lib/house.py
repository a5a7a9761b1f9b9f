"""One test's world: its programs, origins and visitors, and their end.

A test is a function with @test() in a test_ROOM.py:

    @test()
    def something_holds(w):
        server, client, origin = w.pair(hello)
        equal(server.get('/x').status, 200, 'a request')

`w` is a House. It starts what the test asks for, on free ports, with a token
of its own, and waits until it is ready. After the test it stops everything
and adds to its problems: a program that does not exit with 0 on SIGTERM or
that ended by itself, a report of a sanitizer, the token in a log, an error in
an origin's script, a child process that is still there.
"""

import contextlib
import ctypes
import functools
import os
import random
import secrets
import socket
import threading
import time

from .origin import Origin
from .procs import Program
from .relay import Relay
from .visitor import Visitor
from .wire import Cut, Garbage

# How the programs say things; every test that waits for a line uses these.
CONNECTED = r'msg="?tunnel connected|"msg": ?"tunnel connected"'
DISCONNECTED = r'msg="?tunnel (disconnected|closed|lost)' \
               r'|"msg": ?"tunnel (disconnected|closed|lost)'
OFFERED = r'msg="?serving\b|"msg": ?"serving"'
UP = r'msg="?endpoint up|"msg": ?"endpoint up"'
REQUEST = r'msg="?request\b|"msg": ?"request"'

VALGRIND = ('valgrind', '-q', '--error-exitcode=99', '--leak-check=full',
            '--errors-for-leak-kinds=definite,indirect')

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    keepalive_requests 1000000;
    server {{ listen {listen}; {locations} }}
}}
"""

PR_SET_CHILD_SUBREAPER = 36

TESTS = {}


class Failure(AssertionError):
    """An expectation that was not met."""


def test(suite='fast', timeout=60, alone=False):
    """Registers a test: a function of a House. alone: it measures time or
    memory, so nothing else may run beside it. The suites: fast; patient, which
    mostly waits; bulk, soak and valgrind, always alone."""
    def register(function):
        room = function.__module__.rpartition('test_')[2]
        name = f'{room}.{function.__name__}'
        function.suite, function.timeout = suite, timeout
        function.alone = alone or suite not in ('fast', 'patient')
        TESTS[name] = function
        return function
    return register


def check(condition, *what):
    if not condition:
        raise Failure(' '.join(str(w) for w in what) or 'check failed')


def equal(got, wanted, what=''):
    if got != wanted:
        raise Failure(f'{what}: got {got!r}, wanted {wanted!r}')


def none(problems):
    """There must be none in the list; all are shown."""
    if problems:
        raise Failure(f'{len(problems)} cases:\n  ' + '\n  '.join(problems))


def soon(probe, timeout=5.0, what='it'):
    """Waits until probe() gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        if got := probe():
            return got
        if time.monotonic() > deadline:
            raise Failure(f'{what} did not happen in {timeout} s')
        time.sleep(0.01)


@contextlib.contextmanager
def within(seconds, what, at_least=0.0):
    """The block takes that long, no longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    if not at_least <= took <= seconds:
        raise Failure(f'{what} took {took:.2f} s, '
                      f'wanted {at_least:g} to {seconds:g} s')


def free_port():
    """A port that nobody has, below those that the system hands out."""
    while True:
        port = random.randint(10240, 32000)
        with contextlib.ExitStack() as stack:
            try:
                for family, host in ((socket.AF_INET, '0.0.0.0'),
                                     (socket.AF_INET6, '::')):
                    sock = stack.enter_context(socket.socket(family))
                    if family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6,
                                        socket.IPV6_V6ONLY, 1)
                    sock.bind((host, port))
                return port
            except OSError:
                continue


class Server(Program):
    """inlets-server: .visitors and .tunnels are its two addresses."""

    good_exits = (0,)
    visitors = tunnels = None

    def visitor(self, **options):
        return Visitor(self.visitors, **options)

    def get(self, target='/', host='demo.local', fields=(), timeout=10.0,
            method='GET', body=None):
        """One request on a connection of its own."""
        with self.visitor(timeout=timeout, host=host) as visitor:
            return visitor.get(target, fields, method=method, body=body)

    def wait_serving(self, host='demo.local', timeout=10.0, target='/'):
        """Asks until something other than 503 comes."""
        def probe():
            try:
                answer = self.get(target, host, timeout=timeout)
            except (OSError, Cut, Garbage):
                return None
            return answer if answer.status != 503 else None
        return soon(probe, timeout, f'an answer for {host}')


class Client(Program):
    """inlets-client."""

    good_exits = (0,)

    def is_serving(self):
        """Has the server taken all its endpoints?"""
        if not self.running:
            raise Failure(f'{self.name} exited with '
                          f'{self.process.returncode}')
        offered, up = len(self.lines(OFFERED)), len(self.lines(UP))
        return up and up >= offered


class House:
    def __init__(self, build, folder, valgrind=False):
        self.build, self.folder = build, folder
        self.valgrind = valgrind
        self.token = 'tok' + secrets.token_hex(16)
        self.token_file = self.file('token', self.token + '\n')
        self.token_may_show = False
        self.programs, self.origins, self.gates = [], [], []
        self.stack = contextlib.ExitStack()
        # Orphans of our programs become ours, so none is overlooked.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    # --- furniture ---

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def path(self, *parts):
        return os.path.join(self.build, *parts)

    @functools.cached_property
    def sanitized(self):
        """Is this a build with AddressSanitizer? Its memory is not ours."""
        with open(self.path('cmd', 'inlets-server'), 'rb') as file:
            return b'__asan_' in file.read()

    def needs_release(self):
        check(not self.sanitized, 'this measures memory: it needs a build '
              'without sanitizers')

    def origin(self, answer, **options):
        origin = Origin(answer, **options)
        self.origins.append(origin)
        self.stack.callback(origin.close)
        return origin

    def relay(self, target, **options):
        relay = Relay(target, **options)
        self.stack.callback(relay.close)
        return relay

    def gate(self):
        """An event for scripts to wait for; set at the end at the latest."""
        gate = threading.Event()
        self.gates.append(gate)
        return gate

    def keep(self, closable):
        """Closes it when the test is over."""
        self.stack.callback(closable.close)
        return closable

    def visitor(self, server, **options):
        return self.keep(server.visitor(**options))

    # --- programs ---

    def start(self, kind, name, argv, **options):
        count = sum(p.name.startswith(name) for p in self.programs)
        if count:
            name = f'{name}-{count + 1}'
        if self.valgrind:
            options['wrap'] = VALGRIND
        program = kind(name, argv, self.folder, **options)
        self.programs.append(program)
        return program

    def run(self, program, *argv, env=None, code=None, timeout=10.0):
        """Runs a program that is to end by itself."""
        if program in ('inlets-server', 'inlets-client'):
            argv = [self.path('cmd', program), *argv]
        else:
            argv = [program, *argv]
        ran = self.start(Program, os.path.basename(program) + '-run', argv,
                         env=env)
        ran.wait_exit(code, timeout)
        return ran

    def server(self, *flags, port=None, control=None, token=True, env=None,
               address='127.0.0.1', control_address=None, nofile=None,
               ready=True):
        """Starts an exit node. control: True for a port of its own, or the
        port; ready: wait until it listens."""
        port = port or free_port()
        control_address = control_address or address
        argv = [self.path('cmd', 'inlets-server'), '--port', port,
                '--data-addr', address, '--control-addr', control_address]
        if control:
            control = free_port() if control is True else control
            argv += ['--control-port', control]
        if token:
            argv += ['--token-from', self.token_file]
        server = self.start(Server, 'server', [*argv, *flags], env=env,
                            nofile=nofile)
        server.visitors = (address, port)
        server.tunnels = (control_address, control or port)
        if ready:
            self.wait_listening(server)
        return server

    def wait_listening(self, server, timeout=10.0):
        for address in {server.visitors, server.tunnels}:
            soon(lambda: listens(address, server), timeout,
                 f'listening on {address}')

    def client(self, server, *upstreams, flags=(), token=True, env=None,
               ready=True, via=None, nofile=None, url=None):
        """Starts a client. upstreams: definitions or origins (for every
        host); via: the address of a relay instead of the server's; url: all
        of it."""
        host, port = via or server.tunnels
        host = f'[{host}]' if ':' in host else host
        argv = [self.path('cmd', 'inlets-client'),
                '--url', url or f'ws://{host}:{port}']
        if token:
            argv += ['--token-from', self.token_file]
        for upstream in upstreams:
            argv += ['--upstream', getattr(upstream, 'url', upstream)]
        client = self.start(Client, 'client', [*argv, *flags], env=env,
                            nofile=nofile)
        if ready:
            soon(client.is_serving, 60 if self.valgrind else 10,
                 f'{client.name} serving')
        return client

    def pair(self, answer, *flags, client_flags=(), host='', **options):
        """The usual three: (server, client, origin)."""
        origin = self.origin(answer)
        server = self.server(*flags, **options)
        upstream = f'{host}={origin.url}' if host else origin.url
        client = self.client(server, upstream, flags=client_flags)
        return server, client, origin

    def nginx(self, locations, path=None):
        """A real upstream; locations: the inside of its server block; path:
        of a socket, instead of a port."""
        port = free_port()
        config = self.file('nginx.conf', NGINX.format(
            folder=self.folder, locations=locations,
            listen=f'unix:{path}' if path else f'127.0.0.1:{port}'))
        nginx = self.start(Program, 'nginx', [
            'nginx', '-c', config, '-p', self.folder, '-e', 'stderr'])
        nginx.port = port
        soon(lambda: os.path.exists(path) if path
             else listens(('127.0.0.1', port), nginx), 10, 'nginx')
        return nginx

    # --- the end ---

    def finish(self, failed):
        """Everything is stopped; what went wrong is returned as a list.
        After a failure the programs are only put away."""
        problems = []
        for gate in self.gates:
            gate.set()
        with contextlib.suppress(OSError):
            self.stack.close()
        for program in reversed(self.programs):
            problems += self.put_away(program, failed)
        if not failed:
            for origin in self.origins:
                problems += [f'an origin\'s script: {error!r}'
                             for error in origin.errors]
        problems += leftovers()
        return problems

    def put_away(self, program, failed):
        problems = []
        if program.running:
            try:
                program.thaw()
                program.terminate(60 if self.valgrind else 15)
            except AssertionError as error:
                if not failed:
                    problems.append(f'on SIGTERM {error}')
                program.kill()
        elif program.ended_by is None:
            problems.append(f'{program.name} ended by itself with '
                            f'{program.process.returncode}')
        problems += [f'{program.name}: {line}'
                     for line in program.reports()[:5]]
        if self.token in program.log and not self.token_may_show:
            problems.append(f'{program.name} wrote the token to its log')
        return problems


def listens(address, program):
    if not program.running:
        raise Failure(f'{program.name} exited with '
                      f'{program.process.returncode}')
    family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
    with socket.socket(family) as sock:
        return sock.connect_ex(address) == 0


def leftovers():
    """Child processes that are still there, which are then ended."""
    found = []
    for task in os.listdir('/proc/self/task'):
        try:
            with open(f'/proc/self/task/{task}/children') as file:
                pids = file.read().split()
        except OSError:
            continue
        for pid in map(int, pids):
            with open(f'/proc/{pid}/cmdline', 'rb') as file:
                command = file.read().replace(b'\0', b' ').decode()
            # Without one it has ended: a helper of a sanitizer, ours since
            # its program is gone.
            if command:
                found.append(f'left running: {pid} {command}')
                os.kill(pid, 9)
            os.waitpid(pid, 0)
    return found
