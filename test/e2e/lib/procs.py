"""Starting, watching and stopping the programs."""

import os
import re
import signal
import subprocess
import time

# What a sanitizer or valgrind writes when it found something.
REPORTS = ('ERROR: AddressSanitizer', 'runtime error:', 'LeakSanitizer',
           'ThreadSanitizer', 'Assertion `', 'definitely lost',
           'Invalid read', 'Invalid write', 'uninitialised value')

SANITIZERS = {
    'ASAN_OPTIONS': 'detect_leaks=1:halt_on_error=1:exitcode=86:'
                    'strict_string_checks=1:detect_stack_use_after_return=1',
    'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1:exitcode=86',
    'LSAN_OPTIONS': 'exitcode=86',
}
# For programs in the sandbox: ASan's leak checker traces its own process, which
# is refused there.
NO_LEAK_CHECK = {'ASAN_OPTIONS': 'detect_leaks=0'}


def environment(extra=None):
    """A small one: nothing of the tester's (TOKEN, PORT, proxies)."""
    env = {'PATH': os.environ.get('PATH', '/usr/bin:/bin'),
           'LANG': 'C.UTF-8', 'HOME': '/nonexistent', **SANITIZERS}
    env.update(extra or {})
    return env


class Program:
    """One running program. Its output goes to files and is read back."""

    good_exits = (0, -signal.SIGTERM)   # after SIGTERM

    def __init__(self, name, argv, folder, env=None, nofile=None,
                 wrap=(), output=None):
        """nofile: its hard limit of descriptors; output: a descriptor that
        gets what it says, instead of the files that are read back."""
        self.name, self.argv = name, [str(a) for a in argv]
        self.ended_by = None    # the signal or wait that a test expected
        self.paths = [os.path.join(folder, f'{name}.{kind}')
                      for kind in ('out', 'err')]
        argv = [*wrap, *self.argv]
        if nofile:
            argv = ['sh', '-c', f'ulimit -n {nofile}; exec "$@"', 'sh', *argv]
        self.started = time.monotonic()
        with open(self.paths[0], 'wb') as out, \
                open(self.paths[1], 'wb') as err:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output or out,
                stderr=output or err, env=environment(env), cwd=folder)
        self.pid = self.process.pid

    # --- what it says ---

    @staticmethod
    def text(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()

    @property
    def out(self):
        return self.text(self.paths[0])

    @property
    def err(self):
        return self.text(self.paths[1])

    @property
    def log(self):
        return self.out + self.err

    def lines(self, pattern):
        """The lines of the log that match."""
        return [line for line in self.log.splitlines()
                if re.search(pattern, line)]

    def wait_log(self, pattern, count=1, timeout=10.0):
        """Waits for that many matching lines; returns them."""
        deadline = time.monotonic() + timeout
        while True:
            exited = self.process.poll() is not None
            found = self.lines(pattern)
            if len(found) >= count:
                return found
            if exited:
                raise AssertionError(f'{self.name} exited with '
                                     f'{self.process.returncode} before it '
                                     f'said /{pattern}/')
            if time.monotonic() > deadline:
                raise AssertionError(f'{self.name} did not say /{pattern}/ '
                                     f'{count} times in {timeout} s')
            time.sleep(0.01)

    def reports(self):
        """Lines of sanitizers and valgrind."""
        return [line for line in self.log.splitlines()
                if any(report in line for report in REPORTS)]

    # --- what it is ---

    @property
    def running(self):
        return self.process.poll() is None

    def proc(self, name):
        with open(f'/proc/{self.pid}/{name}', 'rb') as file:
            return file.read()

    def status_kib(self, key):
        found = re.search(rf'^{key}:\s+(\d+) kB', self.proc('status').decode(),
                          re.M)
        return int(found[1])

    def rss_kib(self):
        return self.status_kib('VmRSS')

    def peak_kib(self):
        return self.status_kib('VmHWM')

    def fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def cpu_seconds(self):
        fields = self.proc('stat').decode().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    # --- how it ends ---

    def wait_exit(self, code=None, timeout=10.0):
        """Waits for it to end by itself; checks the exit status."""
        try:
            got = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f'{self.name} still runs after {timeout} s') from None
        self.ended_by = 'itself'
        if code is not None and got != code:
            raise AssertionError(f'{self.name} exited with {got}, '
                                 f'wanted {code}')
        return got

    def signal(self, number):
        self.process.send_signal(number)

    def terminate(self, timeout=10.0):
        """SIGTERM; it must end as it should."""
        self.signal(signal.SIGTERM)
        got = self.wait_exit(None, timeout)
        if got not in self.good_exits:
            raise AssertionError(f'{self.name} exited with {got}')

    def kill(self):
        """SIGKILL, as the test wants it."""
        self.process.kill()
        self.process.wait()
        self.ended_by = 'SIGKILL'

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def tail(self, count=25):
        lines = self.log.splitlines()
        skipped = [f'... {len(lines) - count} lines'] \
            if len(lines) > count else []
        return skipped + lines[-count:]
