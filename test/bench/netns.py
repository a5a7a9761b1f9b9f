"""A long, narrow, lossy link between two network namespaces, and its cuts.

    with Link(os.path.join(build, 'test', 'bench_link')) as link:
        link.tell('delay 50', 'rate 250mbit', 'loss 0.01')
        with link.near:                 # this thread lives there meanwhile:
            subprocess.Popen(...)       # a program that stays there
            socket.create_connection(('198.18.0.2', 80))
        link.tell('cut 300')

A socket or a program stays in the namespace in which it was made. link.c
says what can be told. Needs root, or to run below
`unshare --user --map-root-user`. Nothing is left behind, however this process
ends: the namespaces live as long as the program link and those in them, and
link ends when its input does.
"""

import ctypes
import os
import select
import subprocess
import threading

CLONE_NEWNET = 0x40000000
NEAR, FAR = '198.18.0.1', '198.18.0.2'
PATIENCE = 10


class LinkError(Exception):
    """It cannot be had here, or did not understand."""


def set_namespace(fd):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f'setns: {os.strerror(number)}')


class Side:
    """One end: a context manager that moves the calling thread into it. May
    be nested, and used by several threads at once."""

    def __init__(self, pid, number, address):
        self.address = address
        self.path = f'/proc/{pid}/fd/{number}'
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.homes = threading.local()

    def __enter__(self):
        home = os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC)
        try:
            set_namespace(self.fd)
        except OSError:
            os.close(home)
            raise
        self.homes.stack = [*getattr(self.homes, 'stack', ()), home]
        return self

    def __exit__(self, *_):
        home = self.homes.stack.pop()
        try:
            set_namespace(home)
        finally:
            os.close(home)

    def close(self):
        os.close(self.fd)


class Link:
    def __init__(self, program, *commands):
        self.lock = threading.Lock()
        try:
            self.process = subprocess.Popen(
                [program, *commands], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                start_new_session=True)
        except OSError as error:
            raise LinkError(f'no emulated link: {error}') from None
        self.held = b''
        ready = self.line().split()
        if ready[:1] != ['ready']:
            self.process.kill()
            why = self.process.communicate()[1].decode().strip()
            raise LinkError(why or f'the link did not start: {ready}')
        self.near = Side(self.process.pid, ready[1], NEAR)
        self.far = Side(self.process.pid, ready[2], FAR)

    def line(self):
        while b'\n' not in self.held:
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise LinkError('the link does not answer')
            got = os.read(self.process.stdout.fileno(), 4096)
            if not got:
                return ''
            self.held += got
        line, _, self.held = self.held.partition(b'\n')
        return line.decode()

    def tell(self, *commands):
        """Each is in force when this returns."""
        with self.lock:
            for command in commands:
                self.process.stdin.write(command.encode() + b'\n')
                if (answer := self.line()) != 'ok':
                    raise LinkError(f'{command}: {answer or "it has ended"}')

    def counts(self):
        """{'near': {'passed': packets, 'bytes': ..., 'lost': ...}, ...}"""
        with self.lock:
            self.process.stdin.write(b'count\n')
            lines = [self.line(), self.line()]
            self.line()
        found = {}
        for line in lines:
            name, _, counts = line.partition(':')
            found[name] = {word: int(n) for n, word in
                           (part.split() for part in counts.split(','))}
        return found

    def close(self):
        """All that lives in the namespaces is to be stopped before."""
        for side in (self.near, self.far):
            side.close()
        try:
            self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
