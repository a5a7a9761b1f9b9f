"""Several exit nodes at once, and endpoints that come and go while requests
run."""

import os
import re
import signal
import socket
import threading
import time

from lib.house import (CONNECTED, Client, check, equal, free_port, soon, test,
                       within)
from lib.origin import hello, named
from lib.wire import Cut, Garbage

RELOADED = r'msg="?reloaded'
NOT_RELOADED = r'msg="?not reloaded'
IGNORED = r'msg="?SIGHUP is ignored'


class Steady:
    """A visitor who asks for one host all the time. Everything but a 200 is
    a failure; bodies are counted."""

    def __init__(self, server, host):
        self.server, self.host = server, host
        self.bodies, self.failures = {}, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                got = self.server.get(host=self.host, timeout=10)
            except (OSError, Cut, Garbage) as error:
                self.failures.append(repr(error))
                continue
            if got.status != 200:
                self.failures.append(got.status)
            self.bodies[got.body] = self.bodies.get(got.body, 0) + 1

    def asked(self):
        return sum(self.bodies.values()) + len(self.failures)

    def stop(self):
        self.over.set()
        self.thread.join(15)
        equal(self.failures, [], f'failures at {self.host}')
        check(self.asked() > 5, f'{self.asked()} requests prove little')


def held(w):
    """An origin's script: /slow waits in the middle of its answer."""
    gate = w.gate()

    def answer(x):
        if x.target != '/slow':
            return hello(x)
        x.start_chunked()
        x.chunk(b'first half, ')
        gate.wait(30)
        x.chunk(b'second half')
        x.last_chunk()
    return gate, answer


def begin_slow(w, server, host='demo.local'):
    visitor = w.visitor(server, timeout=40, host=host)
    visitor.ask(target='/slow')
    pieces = visitor.pieces(visitor.final_head())
    equal(bytes(next(pieces)), b'first half, ', 'the first half')
    return pieces


def body_of(server, host):
    answer = server.get(host=host)
    return answer.body if answer.status == 200 else answer.status


# --- several exit nodes -------------------------------------------------------

def url(server):
    return f'ws://127.0.0.1:{server.tunnels[1]}'


@test(alone=True)
def two_servers_at_once(w):
    """One is killed and comes back: at the other nobody notices."""
    gate, answer = held(w)
    first, second = w.server(), w.server()
    client = w.client(first, w.origin(answer), flags=['--url', url(second)])
    for server in (first, second):
        equal(server.wait_serving().status, 200, 'either serves')
    pieces = begin_slow(w, second)
    steady = Steady(second, 'demo.local')
    first.kill()
    time.sleep(0.5)
    again = w.server(port=first.visitors[1])
    equal(again.wait_serving(timeout=5).status, 200, 'back at the first')
    gate.set()
    equal(b''.join(pieces), b'second half', 'what ran at the second')
    steady.stop()
    equal(len(second.lines(CONNECTED)), 1, 'connects at the second')


@test()
def one_server_of_two_is_enough_to_begin(w):
    """The other may refuse: the client stays, says so, and serves."""
    first = w.server()
    second = w.server('--token-from', w.file('other', 'another one'),
                      token=False)
    client = w.client(first, w.origin(hello), flags=['--url', url(second)])
    client.wait_log('401|token')
    equal(first.wait_serving().status, 200, 'where it is known')
    equal(second.get().status, 503, 'where it is not')
    check(client.running, 'it left')


@test()
def both_servers_refuse(w):
    """Then it leaves, as with one."""
    flags = ['--token-from', w.file('other', 'another one')]
    first = w.server(*flags, token=False)
    second = w.server(*flags, token=False)
    client = w.client(first, w.origin(hello), flags=['--url', url(second)],
                      ready=False)
    client.wait_exit(1)
    check('every --url refuses' in client.log, client.log)


@test()
def all_addresses_of_a_name(w):
    """As many as localhost has here; test_client.c has names with more."""
    addresses = sorted({found[4][0] for found in socket.getaddrinfo(
        'localhost', None, type=socket.SOCK_STREAM)})
    port = free_port()
    servers = [w.server(port=port, address=address) for address in addresses]
    client = w.start(Client, 'client', [
        w.path('cmd', 'inlets-client'), '--url', f'ws://localhost:{port}',
        '--all-addresses', '--token-from', w.token_file,
        '--upstream', w.origin(hello).url])
    for address, server in zip(addresses, servers):
        equal(server.wait_serving().status, 200, f'at {address}')
        check(client.lines(rf'localhost:{port} \({re.escape(address)}\)'),
              f'{address} is not in the log')
    servers[0].kill()
    again = w.server(port=port, address=addresses[0])
    equal(again.wait_serving(timeout=5).status, 200, 'back')


# --- SIGHUP -------------------------------------------------------------------

class Routes:
    """The file of --upstreams-from, and a client that has it."""

    def __init__(self, w, server, *lines):
        self.w, self.count, self.failed = w, 0, 0
        self.path = self.write(*lines)
        self.client = w.start(Client, 'client', [
            w.path('cmd', 'inlets-client'), '--url', url(server),
            '--token-from', w.token_file, '--upstreams-from', self.path])
        soon(self.client.is_serving, 10, 'serving')

    def write(self, *lines):
        return self.w.file('routes', ''.join(f'{line}\n' for line in lines))

    def hang_up(self):
        os.kill(self.client.pid, signal.SIGHUP)

    def reload(self, *lines):
        self.write(*lines)
        self.count += 1
        self.hang_up()
        return self.client.wait_log(RELOADED, self.count)[-1]

    def break_off(self, *lines):
        self.write(*lines)
        self.failed += 1
        self.hang_up()
        return self.client.wait_log(NOT_RELOADED, self.failed)[-1]


def counts(line):
    return tuple(int(word.partition('=')[2]) for word in line.split()
                 if word.startswith(('added=', 'changed=', 'removed=',
                                     'unchanged=')))


@test(alone=True)
def sighup_adds_changes_and_removes(w):
    """Without a gap for those that change, and without touching others."""
    origins = {name: w.origin(named(name)) for name in 'abcd'}
    server = w.server()
    routes = Routes(w, server, '# three', f'a.local={origins["a"].url}',
                    f'b.local={origins["b"].url}',
                    f'c.local={origins["c"].url}')
    kept, changed = Steady(server, 'a.local'), Steady(server, 'b.local')
    soon(lambda: kept.asked() > 5 and changed.asked() > 5, 10, 'requests')
    line = routes.reload(f'a.local={origins["a"].url}', '',
                         f'b.local={origins["d"].url}',
                         f'd.local={origins["d"].url}')
    equal(counts(line), (1, 1, 1, 1), 'added, changed, removed, unchanged')
    soon(lambda: body_of(server, 'd.local') == b'd', 5, 'the new one')
    soon(lambda: body_of(server, 'c.local') == 503, 5, 'the removed one')
    soon(lambda: changed.bodies.get(b'd', 0) > 5, 5, 'the changed one')
    before = changed.bodies[b'b']
    for back in range(4):       # to and fro
        routes.reload(f'a.local={origins["a"].url}',
                      f'b.local={origins["bd"[back % 2]].url}')
    time.sleep(0.3)
    kept.stop()
    changed.stop()
    equal(list(kept.bodies), [b'a'], 'who answered for a')
    check(changed.bodies[b'b'] > before, 'b came back')
    equal(body_of(server, 'b.local'), b'd', 'b in the end')
    equal(len(server.lines(CONNECTED)), 1, 'connects')


@test()
def sighup_with_a_broken_file_changes_nothing(w):
    origin = w.origin(hello)
    server = w.server()
    routes = Routes(w, server, f'a.local={origin.url}')
    good = f'b.local={origin.url}'
    for lines, says in (
            ((good, 'c.local='), 'line 2.*lacks a URL'),
            ((good, '', 'c.local=ftp://127.0.0.1'), 'line 3.*http://'),
            ((good, 'B.local=127.0.0.1:1'), 'line 2.*two upstreams'),
            (('# nothing',), 'defines nothing')):
        line = routes.break_off(*lines)
        check(routes.client.lines(f'{NOT_RELOADED}.*{says}'), line)
    os.unlink(routes.path)
    routes.failed += 1
    routes.hang_up()
    routes.client.wait_log(f'{NOT_RELOADED}.*No such file')
    equal(body_of(server, 'a.local'), hello_body(), 'what was served')
    equal(body_of(server, 'b.local'), 503, 'what was not')
    routes.reload(good)
    soon(lambda: body_of(server, 'b.local') == hello_body(), 5, 'mended')


def statuses(server, hosts):
    """How often which status."""
    got = {}
    for host in hosts:
        status = server.get(host=host).status
        got[status] = got.get(status, 0) + 1
    return got


@test(timeout=90)
def sighup_replaces_more_than_there_is_room_for(w):
    """Old and new ones are more than a session takes, the new ones are not:
    all of them are served, and one that only changes is never away."""
    old, new = w.origin(named('old')), w.origin(named('new'))
    server = w.server()
    routes = Routes(w, server, *[f'h{n}.local={old.url}' for n in range(700)],
                    f'a.local={old.url}')
    routes.client.wait_log('endpoint up', 701)
    steady = Steady(server, 'a.local')
    soon(lambda: steady.asked() > 5, 10, 'requests')
    line = routes.reload(*[f'g{n}.local={new.url}' for n in range(700)],
                         f'a.local={new.url}')
    equal(counts(line), (700, 1, 700, 0), 'added, changed, removed, unchanged')
    routes.client.wait_log('endpoint up', 1402)
    soon(lambda: steady.bodies.get(b'new', 0) > 5, 5, 'the changed one')
    steady.stop()
    equal(statuses(server, [f'g{n}.local' for n in range(700)]), {200: 700},
          'the new ones')
    equal(statuses(server, ['h0.local', 'h699.local']), {503: 2}, 'old ones')
    equal(routes.client.lines('endpoint refused|endpoints wait'), [],
          'refused or left waiting')


@test(timeout=90)
def more_endpoints_than_an_exit_node_takes(w):
    """The client says so, and what waits is served when others go: now, and
    in the next session too."""
    origin = w.origin(hello)
    server = w.server()
    hosts = [f'h{n}.local' for n in range(1030)]
    routes = Routes(w, server, f'{hosts[0]}={origin.url}')
    client = routes.client
    routes.reload(*[f'{host}={origin.url}' for host in hosts])
    client.wait_log('endpoint up', 1024)
    line = client.wait_log('endpoints wait until')[0]
    check('endpoints=6 ' in line and '1024' in line, line)
    equal(statuses(server, hosts[1020:]), {200: 4, 503: 6}, 'the last ten')
    routes.reload(*[f'{host}={origin.url}' for host in hosts[4:]])
    client.wait_log('endpoint up', 1028)
    check('endpoints=2 ' in client.wait_log('endpoints wait until', 2)[1],
          client.log[-500:])
    equal(statuses(server, hosts[1020:]), {200: 8, 503: 2}, 'the last ten')
    server.kill()
    again = w.server(port=server.visitors[1])
    client.wait_log('endpoint up', 1028 + 1024)
    equal(statuses(again, hosts[1020:]), {200: 8, 503: 2}, 'at the next one')
    routes.reload(*[f'{host}={origin.url}' for host in hosts[6:]])
    client.wait_log('endpoints wait no more')
    client.wait_log('endpoint up', 1028 + 1026)
    equal(statuses(again, hosts[1020:]), {200: 10}, 'in the end')


def hello_body():
    return b'hello from /\n'


@test()
def sighup_without_a_file_is_ignored(w):
    server, client, _ = w.pair(hello)
    os.kill(client.pid, signal.SIGHUP)
    client.wait_log(IGNORED)
    equal(server.get().status, 200, 'afterwards')


@test()
def broken_file_at_the_start(w):
    ran = w.run('inlets-client', '--url', 'ws://127.0.0.1:1',
                '--upstreams-from', w.file('routes', 'a=x\nb=\n'), code=2)
    check('line 2' in ran.err, ran.err)


@test()
def endpoint_removed_while_it_is_used(w):
    """The download goes on to its end, new requests do not come."""
    gate, answer = held(w)
    slow, other = w.origin(answer), w.origin(hello)
    server = w.server()
    routes = Routes(w, server, f'a.local={slow.url}', f'b.local={other.url}')
    pieces = begin_slow(w, server, 'a.local')
    routes.reload(f'b.local={other.url}')
    soon(lambda: body_of(server, 'a.local') == 503, 5, 'no new ones')
    time.sleep(0.3)
    gate.set()
    equal(b''.join(pieces), b'second half', 'the running download')
    routes.reload(f'a.local={slow.url}', f'b.local={other.url}')
    soon(lambda: body_of(server, 'a.local') == hello_body(), 5, 'back again')


@test(timeout=90)
def routes_that_come_and_go_leave_nothing(w):
    """A hundred reloads: descriptors are where they were."""
    origins = [w.origin(named(str(number))) for number in range(2)]
    server = w.server()
    routes = Routes(w, server, f'a.local={origins[0].url}')
    equal(body_of(server, 'a.local'), b'0', 'at first')
    before = routes.client.fds()
    for number in range(1, 101):
        routes.reload(f'a.local={origins[number % 2].url}',
                      f'host{number}.local={origins[0].url}')
        if number % 10 == 0:
            soon(lambda: body_of(server, f'host{number}.local') == b'0', 5,
                 'the newest')
    equal(body_of(server, 'a.local'), b'0', 'in the end')
    soon(lambda: routes.client.fds() <= before + 2, 20,
         f'{routes.client.fds()} descriptors, {before} before')


# --- requests that wait for a client ------------------------------------------

@test(alone=True)
def parked_requests_go_to_who_comes(w):
    """A POST that waits for a lost client goes to a second one at once. One
    that was sent when the first came back stays there, and runs once."""
    gate = w.gate()

    def slow(x):
        x.read()
        gate.wait(20)
        x.reply(200, b'first')
    first, second = w.origin(slow), w.origin(named('second'))
    server = w.server()
    relay = w.relay(server.tunnels)
    w.client(server, first, via=relay.address)
    relay.refusing = True
    relay.cut()
    time.sleep(0.2)
    sent = w.visitor(server, timeout=30)
    sent.ask('POST', '/sent', body=b'once')
    time.sleep(0.2)
    relay.refusing = False
    first.wait(1)
    relay.refusing = True
    relay.cut()
    time.sleep(0.2)
    parked = w.visitor(server, timeout=30)
    parked.ask('POST', '/parked', body=b'elsewhere')
    time.sleep(0.2)
    w.client(server, second)
    with within(1.0, 'the parked one'):
        equal(parked.answer().body, b'second', 'who answered')
    equal(second.targets(), ['/parked'], 'at the second')
    relay.refusing = False
    gate.set()
    equal(sent.answer().body, b'first', 'who answered the sent one')
    equal(first.targets(), ['/sent'], 'at the first')
