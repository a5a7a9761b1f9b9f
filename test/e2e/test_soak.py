"""Everything at once for a while, and then: is all as it was?

SOAK_SECONDS is how long the load lasts: 25 if not given, 3600 for an hour.
Two clients serve one host. The first stays, the second is stopped, killed
and frozen; the links of both are cut. Memory is looked at in builds without
sanitizers only.
"""

import collections
import os
import random
import socket
import threading
import time

from lib.house import check, equal, soon, test
from lib.relay import Cutter, seeded
from lib.traffic import (CLEAN, KIB, Crowd, Traffic, download, events, expect,
                         small, talk, upload)

SECONDS = float(os.environ.get('SOAK_SECONDS') or 25)
WARM_UP_S = 6
VISITORS = 24           # at any time
RSS_SLACK_KIB = 4 * KIB     # what an allocator may keep of a busy time
FDS_SLACK = 2           # a lane that is just being replaced
TIMEOUT_S = 30          # an answer that takes longer hangs
FLAGS = ('--ping', '1s', '--dead', '5s')


class Load:
    """Visitors of all kinds, one after another in each thread."""

    def __init__(self, server, chance):
        self.server, self.chance = server, chance
        self.over = threading.Event()
        self.counts = collections.Counter()
        self.lock = threading.Lock()

    def visit(self, seed):
        chance = random.Random(seed)
        kinds = [getattr(self, name) for name in sorted(dir(self))
                 if name.startswith('kind_')]
        weights = [8 if kind.__name__ == 'kind_small' else 1
                   for kind in kinds]
        while not self.over.is_set():
            kind, = chance.choices(kinds, weights)
            name, end = kind.__name__[5:], 'whole'
            try:
                kind(chance)
            except CLEAN:
                end = 'failed'
                # Not as fast as a refusal can be answered.
                self.over.wait(0.05)
            except Exception as error:
                raise AssertionError(f'{name}: {error!r}') from error
            with self.lock:
                self.counts[name, end] += 1

    def kind_small(self, chance):
        for number in range(chance.randrange(1, 20)):
            small(self.server, number, chance.choice(('GET', 'POST')))

    def kind_kept(self, chance):
        with self.server.visitor(timeout=TIMEOUT_S) as visitor:
            for number in range(20):
                expect(visitor.get(f'/{number}'), 'a kept connection')
                self.over.wait(chance.random() / 20)

    def kind_download(self, chance):
        download(self.server, chance.randrange(1, 4096 * KIB),
                 chance.choice(('down', 'chunked')), timeout=TIMEOUT_S)

    def kind_close_delimited(self, chance):
        download(self.server, chance.randrange(1, 512 * KIB), 'close',
                 chance.choice(('HTTP/1.0', 'HTTP/1.1')), timeout=TIMEOUT_S)

    def kind_upload(self, chance):
        upload(self.server, chance.randrange(1, 4096 * KIB),
               chance.random() < 0.5, timeout=TIMEOUT_S)

    def kind_slow_reader(self, chance):
        download(self.server, 400 * KIB, rcvbuf=8192, timeout=TIMEOUT_S,
                 pause=0.02)

    def kind_events(self, chance):
        events(self.server, 20, chance.randrange(10, 150),
               timeout=TIMEOUT_S)

    def kind_websocket(self, chance):
        enough = threading.Event()
        timer = threading.Timer(chance.uniform(0.1, 3), enough.set)
        timer.start()
        try:
            talk(self.server, enough, 8, timeout=TIMEOUT_S)
        finally:
            timer.cancel()

    def kind_aborted(self, chance):
        """Leaves without a word, at some moment."""
        with self.server.visitor(timeout=TIMEOUT_S) as visitor:
            target = chance.choice((f'/down/{8192 * KIB}', '/events/10/1000',
                                    '/small', '/up'))
            if target == '/up':
                visitor.ask('PUT', target, [('Content-Length', 1 << 20)])
                visitor.send(b'u' * chance.randrange(1 << 18))
            else:
                visitor.ask(target=target)
                if chance.random() < 0.7:
                    visitor.fill()
            self.over.wait(chance.random() / 4)
            (visitor.reset if chance.random() < 0.5 else visitor.close)()


class Second:
    """The client that is stopped, killed and frozen, over and over."""

    def __init__(self, w, start, chance):
        self.w, self.start, self.chance = w, start, chance
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            client = self.start()
            self.over.wait(self.chance.uniform(1, 4))
            getattr(self, self.chance.choice(('stop', 'kill', 'freeze')))(
                client)

    def stop(self, client):
        client.terminate(20)

    def kill(self, client):
        client.kill()

    def freeze(self, client):
        client.freeze()
        self.over.wait(self.chance.uniform(0.5, 6))
        client.thaw()
        self.over.wait(1)
        self.stop(client)


class Soak:
    def __init__(self, w):
        self.w, self.chance = w, seeded()
        self.origin = w.origin(Traffic(w), timeout=120)
        self.server = w.server('--resume-window', '3s', '--log-level', 'warn',
                               *FLAGS)
        self.relays = [w.relay(self.server.tunnels) for _ in range(2)]
        self.first = self.client(0, '--connections', '2')
        self.programs = self.server, self.first
        self.counts = collections.Counter()

    def client(self, number, *flags):
        return self.w.client(self.server, self.origin,
                             via=self.relays[number].address,
                             flags=[*FLAGS, '--drain', '4s', '--retry-max',
                                    '1s', *flags])

    def busy(self, seconds):
        load = Load(self.server, self.chance)
        second = Second(self.w, lambda: self.client(1),
                        random.Random(self.chance.random()))
        until = time.monotonic() + seconds
        with Crowd(seconds + 90) as crowd:
            crowd.start('the second client', second.run)
            for number in range(VISITORS):
                crowd.start(f'visitor {number}', load.visit,
                            self.chance.random())
            with self.cutter(0), self.cutter(1):
                while time.monotonic() < until and not crowd.errors:
                    self.tidy()
                    time.sleep(0.2)
            load.over.set()
            second.over.set()
        self.counts += load.counts

    def cutter(self, number):
        return Cutter(self.relays[number],
                      random.Random(self.chance.random()), 0.5, 4,
                      kinds=('cut', 'hang_up', 'freeze_old'))

    def tidy(self):
        """An hour of it would be much to remember."""
        del self.origin.exchanges[:-1000]
        self.origin.threads = [t for t in self.origin.threads
                               if t.is_alive()]

    def quiet(self):
        """Nothing under way, every lane fresh, no upstream kept."""
        for relay in self.relays:
            relay.cut()
        with self.origin.lock:
            alive = list(self.origin.alive)
        for connection in alive:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        soon(lambda: not self.origin.alive, 20, 'the end of all requests')
        soon(self.is_serving, 20, 'serving')

    def is_serving(self):
        try:
            small(self.server, 'quiet')
        except CLEAN:
            return False
        return True

    def sizes(self):
        return [(p.fds(), p.rss_kib()) for p in self.programs]


def grew(before, after, slack):
    return any(now > was + slack for was, now in zip(before, after))


def back(soak, before, what, which, slack):
    """Waits until that is as it was before."""
    def column(sizes):
        return [row[which] for row in sizes]
    deadline = time.monotonic() + 20
    while grew(column(before), column(soak.sizes()), slack):
        check(time.monotonic() < deadline, f'{what} of server and client:',
              column(before), 'before,', column(soak.sizes()), 'after')
        time.sleep(0.2)


@test(suite='soak', timeout=SECONDS + 180)
def after_the_storm_all_is_as_it_was(w):
    soak = Soak(w)
    soak.busy(WARM_UP_S)
    soak.quiet()
    before = settled(soak)
    soak.busy(SECONDS)
    soak.quiet()
    report(soak, before)
    back(soak, before, 'descriptors', 0, FDS_SLACK)
    if not w.sanitized:
        back(soak, before, 'KiB', 1, RSS_SLACK_KIB)
    for program in w.programs:
        equal(program.lines(r'impossible move|level="?error|"level": ?"error'),
              [], f'errors of {program.name}')
    for kind in {kind for kind, _ in soak.counts}:
        check(soak.counts[kind, 'whole'], f'no {kind} was whole')


def settled(soak):
    """The sizes, when the descriptors do not change any more."""
    seen = [soak.sizes()]

    def same():
        time.sleep(0.2)
        seen.append(soak.sizes())
        return len(seen) > 10 and len({tuple(fds for fds, _ in sizes)
                                       for sizes in seen[-10:]}) == 1
    soon(same, 20, 'quiet')
    return seen[-1]


def report(soak, before):
    kinds = sorted({kind for kind, _ in soak.counts})
    print(', '.join(f'{kind} {soak.counts[kind, "whole"]}+'
                    f'{soak.counts[kind, "failed"]}' for kind in kinds),
          '(whole+failed)')
    print(f'{sum(r.cuts for r in soak.relays)} cuts, '
          f'{sum(r.opened for r in soak.relays)} connections')
    for program, (fds, rss), (fds_now, rss_now) in zip(
            soak.programs, before, soak.sizes()):
        print(f'{program.name}: {fds} descriptors and {rss / KIB:.1f} MiB, '
              f'then {fds_now} and {rss_now / KIB:.1f}')
