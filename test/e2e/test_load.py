"""A thousand connections at once, hurried and slow. For the release build."""

import re
import threading
import time

from lib.house import check, equal, test
from lib.procs import Program

CROWD = 1000
SLOW_SECONDS = 12   # beyond the 10 s that a head may take


def url(server, path='/'):
    host, port = server.visitors
    return f'http://{host}:{port}{path}'


def before_nginx(w):
    w.needs_release()
    nginx = w.nginx('location / { return 200 "hello\\n"; } location /long { '
                    f'return 200 "{"long line " * 400}"; }}')
    server = w.server()
    client = w.client(server, f'http://127.0.0.1:{nginx.port}')
    server.wait_serving()
    return server, client


class Others:
    """Visitors with ordinary requests while the block runs."""

    def __init__(self, server):
        self.server, self.done = server, threading.Event()
        self.slowest, self.count, self.wrong = 0.0, 0, []
        self.thread = threading.Thread(target=self.visit, daemon=True)

    def visit(self):
        while not self.done.wait(0.1):
            began = time.monotonic()
            try:
                status = self.server.get('/').status
            except Exception as error:                  # told by none_wrong
                status = error
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.count += 1
            if status != 200:
                self.wrong.append(status)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def none_wrong(self):
        print(f'{self.count} others were answered, the slowest after '
              f'{1000 * self.slowest:.0f} ms')
        check(self.count > 10, self.count, 'others were answered')
        equal(self.wrong, [], 'others')


# slowhttptest's modes: heads and bodies that trickle, ranges without end, and
# readers of 5 bytes a second.
MODES = {
    'slow heads': ('-H', '-x', 24),
    'slow bodies': ('-B', '-s', 8192, '-x', 10),
    'ranges': ('-R', '-a', 5, '-b', 3000, '-t', 'HEAD'),
    'slow readers': ('-X', '-w', 10, '-y', 20, '-n', 1, '-z', 5, '-k', 3),
}


def attack(w, server, flags):
    return w.start(Program, 'slowhttptest', [
        'slowhttptest', '-c', CROWD, '-r', CROWD, '-i', 1, '-p', 3,
        '-l', SLOW_SECONDS, '-u', url(server, '/long'), *flags])


@test(suite='bulk', timeout=90)
def slowhttptest_in_four_modes_with_a_thousand_connections_each(w):
    """It never finds the service unavailable, and others do not notice."""
    server, client = before_nginx(w)
    with Others(server) as others:
        attacks = {name: attack(w, server, flags)
                   for name, flags in MODES.items()}
        for program in attacks.values():
            program.wait_exit(None, SLOW_SECONDS + 30)
    for name, program in attacks.items():
        said = re.sub(r'\x1b\[[0-9;]*m', '', program.out)
        check(re.search(r'service available: +YES', said), name, said[-2000:])
        check(not re.search(r'service available: +NO', said), name,
              said[-2000:])
    others.none_wrong()
    check(server.wait_log(r'status=408', timeout=15), 'slow heads end')
    for program in server, client:
        check(program.rss_kib() < 64 << 10, program.name, program.rss_kib())


@test(suite='bulk', timeout=60)
def h2load_and_wrk_with_a_thousand_connections(w):
    """No error that was not asked for."""
    server, client = before_nginx(w)
    ran = w.run('h2load', '--h1', '-c', CROWD, '-n', 20000, '-t', 1,
                url(server), code=0, timeout=50)
    for program in server, client:
        print(*program.lines(r'status=[^2]|result=(?!ok)'), sep='\n')
    found = re.search(r'(\d+) succeeded, (\d+) failed, (\d+) errored, '
                      r'(\d+) timeout', ran.out)
    equal(found and found.groups(), ('20000', '0', '0', '0'), ran.out)
    check('20000 2xx' in ran.out, ran.out)
    ran = w.run('wrk', '-t1', f'-c{CROWD}', '-d3s', '--timeout', '10s',
                url(server), code=0, timeout=30)
    check('Socket errors' not in ran.out and 'Non-2xx' not in ran.out, ran.out)
