"""Killing, freezing and stopping either program at any moment. What goes on
over the next websocket is in test_resume.py."""

import datetime
import re
import threading
import time

from lib.house import (CONNECTED, DISCONNECTED, Client, check, equal,
                       free_port, soon, test, within)
from lib.origin import hello, named
from lib.wire import Cut, Garbage

# A websocket is gone; its session may live on.
LOST = r'msg="?tunnel websocket lost'
RESUMED = r'msg="?tunnel websocket resumed'
LISTENING = r'msg="?listening'
NO_RESUMING = ('--resume-window', '0')


class Held:
    """An origin that answers /slow only when told to: a head and half of the
    body at once, the rest after go()."""

    def __init__(self, w):
        self.gate = w.gate()

    def go(self):
        self.gate.set()

    def __call__(self, x):
        if x.target == '/unanswered':
            self.gate.wait(30)
            return hello(x)
        if x.target != '/slow':
            return hello(x)
        x.start_chunked()
        x.chunk(b'first half, ')
        if self.gate.wait(30):
            x.chunk(b'second half')
            x.last_chunk()
        else:
            x.close()


def begin_slow(w, server):
    """A visitor in the middle of an answer: (visitor, head, pieces)."""
    visitor = w.visitor(server, timeout=40)
    visitor.ask(target='/slow')
    head = visitor.final_head()
    pieces = visitor.pieces(head)
    equal(bytes(next(pieces)), b'first half, ', 'the first half')
    return visitor, head, pieces


def must_be_cut(pieces, what):
    try:
        rest = b''.join(pieces)
    except Cut:
        return
    raise AssertionError(f'{what}: a cut answer ended cleanly, {rest!r}')


# --- the server goes ---------------------------------------------------------

def stamp(line):
    text = re.search(r'time=(\S+)', line)[1]
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))


@test(alone=True)
def server_killed_and_restarted(w):
    """What ran is cut; the client is there within 100 ms of the new server,
    which does not know its session, and makes another of the same websocket."""
    held = Held(w)
    server, client, origin = w.pair(held)
    visitor, _, pieces = begin_slow(w, server)
    for number, pause in enumerate((0, 0.3, 0.8)):
        server.kill()
        must_be_cut(pieces, 'server killed')
        client.wait_log(LOST, number + 1)
        time.sleep(pause)
        server = w.server(port=server.visitors[1])
        with within(1.5, f'serving again, {pause} s away'):
            equal(server.wait_serving(timeout=5).status, 200, 'back')
        client.wait_log(DISCONNECTED, number + 1)
        came = (stamp(server.lines(CONNECTED)[0])
                - stamp(server.lines(LISTENING)[0])).total_seconds()
        print(f'connected {came:.3f} s behind the restart')
        check(came < (1 if w.sanitized else 0.2), f'it took {came:.3f} s')
        visitor, _, pieces = begin_slow(w, server)
    held.go()
    equal(b''.join(pieces), b'second half', 'the last one ends whole')
    check(client.running, 'the client gave up')


@test()
def server_away_for_a_while(w):
    """Spaced attempts, a line for each, next to no CPU."""
    server, client, relay, _ = linked(w, client_flags=['--retry-max', '2s'])
    relay.refusing = True
    relay.cut()
    client.wait_log(LOST)
    time.sleep(2)   # the quick steps of the first second
    said, tried = len(client.log.splitlines()), relay.opened
    cpu = client.cpu_seconds()
    time.sleep(8)
    said = len(client.log.splitlines()) - said
    tried = relay.opened - tried
    check(3 <= tried <= 40, f'{tried} attempts in 8 s')
    check(said <= tried + 2, f'{said} lines for {tried} attempts')
    used = client.cpu_seconds() - cpu
    check(used < (0.4 if w.sanitized else 0.08), f'{used:.2f} s of CPU in 8 s')
    relay.refusing = False
    with within(4, 'serving again'):
        equal(server.wait_serving().status, 200, 'back')


@test()
def client_starts_before_the_server(w):
    port, origin = free_port(), w.origin(hello)
    client = w.start(Client, 'client', [
        w.path('cmd', 'inlets-client'), '--url', f'ws://127.0.0.1:{port}',
        '--token-from', w.token_file, '--upstream', origin.url,
        '--retry-max', '1s'])
    client.wait_log('refused')
    server = w.server(port=port)
    equal(server.wait_serving().status, 200, 'when the server is there')


@test()
def token_changed_while_the_server_was_away(w):
    """Accepted once, refused later: it says so and stays, trying slowly."""
    server, client, _ = w.pair(hello)
    server.kill()
    other = w.server('--token-from', w.file('other', 'another one'),
                     token=False, port=server.visitors[1])
    client.wait_log('401|token|refused', timeout=10)
    time.sleep(1)
    check(client.running, 'it left, but had been accepted before')
    before = len(client.log.splitlines())
    time.sleep(2)
    check(len(client.log.splitlines()) - before <= 1, 'it keeps knocking')
    equal(other.get().status, 503, 'nobody serves there')


@test()
def server_drains_on_sigterm(w):
    held = Held(w)
    server, client, origin = w.pair(held)
    idle = w.visitor(server)
    equal(idle.get().status, 200, 'before')
    visitor, _, pieces = begin_slow(w, server)
    waiting = w.visitor(server, timeout=40)
    waiting.ask(target='/unanswered')
    origin.wait(3)
    server.signal(15)
    equal(idle.how_it_ends(3), (b'', 'eof'), 'an idle visitor')
    soon(lambda: refused(server), 5, 'refusing new connections')
    time.sleep(0.3)
    check(server.running, 'it did not wait for what runs')
    held.go()
    equal(b''.join(pieces), b'second half', 'the running answer')
    equal(waiting.answer().body, b'hello from /unanswered\n', 'the other')
    with within(3, 'the end after the last answer'):
        server.wait_exit(0)
    client.wait_log(DISCONNECTED)
    server = w.server(port=server.visitors[1])
    equal(server.wait_serving().status, 200, 'with the next server')


def refused(server):
    try:
        server.visitor().close()
    except ConnectionRefusedError:
        return True
    return False


@test()
def drain_has_a_limit(w):
    """What still runs when it is over is cut, not ended."""
    for stopped in ('server', 'client'):
        server, client, _ = w.pair(Held(w), '--drain', '1s',
                                   client_flags=['--drain', '1s'])
        visitor, _, pieces = begin_slow(w, server)
        program = {'server': server, 'client': client}[stopped]
        with within(3, 'the drain', at_least=0.8):
            program.signal(15)
            program.wait_exit(0)
        must_be_cut(pieces, f'{stopped} drained')


@test()
def second_signal_ends_at_once(w):
    for stopped in ('server', 'client'):
        server, client, _ = w.pair(Held(w))
        visitor, _, pieces = begin_slow(w, server)
        program = {'server': server, 'client': client}[stopped]
        program.signal(15)
        program.wait_log('drain|signal|stopp')
        program.signal(15)
        with within(2, 'the end'):
            program.wait_exit()
        must_be_cut(pieces, f'{stopped} stopped twice')


# --- the client goes ---------------------------------------------------------

@test(alone=True)
def client_killed_and_restarted(w):
    held = Held(w)
    server, client, origin = w.pair(held, '--resume-window', '1s')
    visitor, _, pieces = begin_slow(w, server)
    waiting = w.visitor(server, timeout=40)
    waiting.ask(target='/unanswered')
    origin.wait(2)
    client.kill()
    server.wait_log(LOST)
    with within(2.5, 'the answer without a client'):
        check(server.get().status in (502, 503), 'without a client')
    must_be_cut(pieces, 'client killed')
    check(waiting.final_head().status in (502, 503), 'the unanswered one')
    w.client(server, origin)
    with within(0.5, 'the answer of the new client'):
        equal(server.get().status, 200, 'with a client again')


@test()
def client_drains_on_sigterm(w):
    """New requests go elsewhere, running ones end whole."""
    held = Held(w)
    server, first, origin = w.pair(held)
    visitor, _, pieces = begin_slow(w, server)
    first.signal(15)
    second = w.origin(named('second'))
    w.client(server, second)
    for _ in range(10):
        equal(server.get().body, b'second', 'new requests')
    check(first.running, 'it did not wait for what runs')
    held.go()
    equal(b''.join(pieces), b'second half', 'the running answer')
    first.wait_exit(0, timeout=3)
    equal(server.get().body, b'second', 'afterwards')


@test()
def upload_when_the_client_is_killed(w):
    """The visitor is told, the origin sees a cut body."""
    cut = []

    def answer(x):
        try:
            x.read()
            x.reply(200, b'whole')
        except Cut:
            cut.append(True)
            raise
    server, client, origin = w.pair(answer, '--resume-window', '1s')
    visitor = w.visitor(server, timeout=20)
    visitor.ask('POST', fields=[('Content-Length', 1000)])
    visitor.send(b'u' * 500)
    origin.wait()
    client.kill()
    soon(lambda: cut, 5, 'the cut at the origin')
    try:
        check(visitor.final_head().status in (502, 503), 'the answer')
    except (Cut, Garbage):
        pass    # a connection that ends is an answer too


@test(timeout=90, alone=True)
def killed_at_any_moment(w):
    """A download of known bytes, and either program killed at some moment in
    it: a visitor has the whole, or knows that it has not."""
    body = bytes(range(256)) * 8192     # 2 MiB

    def answer(x):
        chunked = x.target == '/chunked'
        if chunked:
            x.start_chunked()
        else:
            x.start(200, [('Content-Length', len(body))])
        for start in range(0, len(body), 65536):
            (x.chunk if chunked else x.send)(body[start:start + 65536])
            time.sleep(0.005)   # so that there is a middle to be killed in
        if chunked:
            x.last_chunk()
    origin = w.origin(answer)
    flags = '--resume-window', '1s'
    server = w.server(*flags)
    client = w.client(server, origin)
    began = time.monotonic()
    for target in ('/counted', '/chunked'):
        check(download(server, target) == body, 'the undisturbed', target)
    takes = time.monotonic() - began
    whole = cut = 0
    for number in range(16):
        victim = (server, client)[number % 2]
        timer = threading.Timer(takes * number / 12, victim.process.kill)
        timer.start()
        for target in ('/counted', '/chunked'):
            got = download(server, target)
            check(got is None or got == body,
                  f'{target} ended cleanly with {len(got or b"")} bytes')
            whole, cut = whole + (got is not None), cut + (got is None)
        timer.join()
        victim.kill()
        if victim is server:
            server = w.server(*flags, port=server.visitors[1])
        else:
            client = w.client(server, origin)
        equal(server.wait_serving(target='/counted').status, 200, 'back')
    check(cut >= 3 and whole >= 3, f'{whole} whole and {cut} cut answers prove '
          'little')


def download(server, target):
    """The body, or None when the visitor could see that it is not whole."""
    try:
        answer = server.get(target, timeout=20)
    except (Cut, Garbage, ConnectionError):     # cut, unanswered, refused
        return None
    return answer.body if answer.status == 200 else None


# --- the link goes -----------------------------------------------------------

def linked(w, *flags, answer=hello, both=(), client_flags=(), **options):
    """(server, client, relay, origin) with a relay in the tunnel."""
    origin = w.origin(answer)
    server = w.server(*flags, *both)
    relay = w.relay(server.tunnels, **options)
    client = w.client(server, origin, via=('127.0.0.1', relay.port),
                      flags=[*both, *client_flags])
    return server, client, relay, origin


@test(alone=True)
def dead_link_is_noticed(w):
    """No FIN, no RST, only silence: both sides notice in --dead. Without
    resuming, what ran is cut at once."""
    held = Held(w)
    server, client, relay, _ = linked(w, answer=held, both=[
        '--ping', '500ms', '--dead', '2s', *NO_RESUMING])
    equal(server.get().status, 200, 'before')
    visitor, _, pieces = begin_slow(w, server)
    with within(4, 'noticing the silence', at_least=1.0):
        relay.freeze()
        server.wait_log(DISCONNECTED)
        client.wait_log(DISCONNECTED)
    must_be_cut(pieces, 'a dead link')
    equal(server.get().status, 503, 'nobody is there')
    relay.hang_up()
    relay.thaw()
    with within(15, 'coming back'):
        equal(server.wait_serving(timeout=15).status, 200, 'the link is back')


@test()
def quiet_link_is_not_dead(w):
    """Pings keep an idle tunnel, and a busy one."""
    server, client, _, _ = linked(w, both=['--ping', '300ms', '--dead',
                                           '1500ms'])
    time.sleep(4)
    equal(server.get().status, 200, 'after 4 s of quiet')
    equal(len(client.lines(CONNECTED)), 1, 'connects')


@test()
def link_that_is_reset(w):
    server, client, relay, _ = linked(w)
    for number in range(3):
        relay.cut()
        client.wait_log(LOST, number + 1)
        with within(3, 'coming back'):
            # The server may still hold the old link when it is asked.
            soon(lambda: server.wait_serving(timeout=5).status == 200, 5,
                 'serving again')


@test(timeout=90, alone=True)
def flapping_link_leaks_nothing(w):
    server, client, relay, _ = linked(w)

    def flap(times):
        for _ in range(times):
            count = len(client.lines(RESUMED))
            relay.cut()
            client.wait_log(RESUMED, count + 1)
            equal(server.wait_serving(timeout=5).status, 200, 'back')
    flap(3)
    before = [(p.fds(), p.rss_kib()) for p in (server, client)]
    flap(20)
    after = [(p.fds(), p.rss_kib()) for p in (server, client)]
    for (fds, rss), (fds_now, rss_now) in zip(before, after):
        check(fds_now <= fds + 2, f'{fds} descriptors, then {fds_now}')
        if not w.sanitized:
            check(rss_now < rss + 2048, f'{rss} KiB, then {rss_now}')


@test(alone=True)
def client_frozen_and_thawed(w):
    """As a laptop that is closed and opened: the tunnel is back soon, within
    the resume window with the session that it had."""
    server, client, _, _ = linked(w, both=['--ping', '500ms', '--dead', '2s'])
    client.freeze()
    server.wait_log(LOST, timeout=6)
    equal(server.get().status, 503, 'while it sleeps')
    client.thaw()
    with within(4, 'coming back after the sleep'):
        equal(server.wait_serving(timeout=8).status, 200, 'awake')
    equal(len(client.lines(CONNECTED)), 1, 'sessions')
