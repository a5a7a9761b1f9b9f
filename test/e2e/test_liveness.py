"""Who is dead is noticed, who is slow is not taken for dead, and stopping
loses nothing even while the link is bad."""

import signal
import time

from lib.house import DISCONNECTED, check, equal, soon, test, within
from lib.origin import named
from lib.relay import DOWN, UP, Cutter, seeded
from lib.traffic import (CLEAN, KIB, MIB, Crowd, digest_of,
                         download, events, expect, linked, small, talk, upload)

# What either program says when a websocket is lost, with the session or
# without.
LOST = DISCONNECTED + r'|msg="?(lane|connection|websocket|tunnel)[^"]* ' \
    r'(lost|gone|broken|interrupted)'
SOON_DEAD = ('--ping', '500ms', '--dead', '2s')


def notices(program, count, seconds, at_least, what):
    with within(seconds, f'{program.name} noticing {what}', at_least):
        program.wait_log(LOST, count + 1, timeout=seconds + 5)


# --- dead --------------------------------------------------------------------

def silence_is_noticed(w, flags, dead):
    """In both programs, and with each direction alone."""
    server, client, relay, _ = linked(w, both=flags)
    small(server, 0)
    counts = [len(p.lines(LOST)) for p in (server, client)]
    relay.freeze()
    began = time.monotonic()
    for program, count in zip((server, client), counts):
        program.wait_log(LOST, count + 1, timeout=dead + 6)
        took = time.monotonic() - began
        print(f'{program.name} noticed the silence after {took:.1f} s')
        check(took <= dead + 1.2, f'{program.name} noticed after {took:.2f} s')
        check(took >= dead / 2 - 0.6, f'{program.name} noticed too soon, '
              f'after {took:.2f} s')


@test(alone=True)
def silence_is_noticed_within_dead_and_a_second(w):
    silence_is_noticed(w, SOON_DEAD, 2)


@test(suite='patient')
def silence_is_noticed_within_21_s_by_default(w):
    silence_is_noticed(w, (), 20)


@test(alone=True)
def silence_of_one_direction_is_noticed_by_its_reader(w):
    for direction, reader in ((UP, 'server'), (DOWN, 'client')):
        server, client, relay, _ = linked(w, both=SOON_DEAD)
        small(server, 0)
        program = {'server': server, 'client': client}[reader]
        count = len(program.lines(LOST))
        relay.freeze_old(direction)
        notices(program, count, 3.2, 0.4, f'that {direction} is silent')
        soon(lambda: is_served(server), 10, 'serving again')


@test(alone=True)
def fin_and_rst_are_noticed_at_once(w):
    server, client, relay, _ = linked(w)
    for kind in ('hang_up', 'cut'):
        small(server, kind)
        counts = [len(p.lines(LOST)) for p in (server, client)]
        with within(1.0, f'noticing {kind}'):
            getattr(relay, kind)()
            for program, count in zip((server, client), counts):
                program.wait_log(LOST, count + 1)
        soon(lambda: is_served(server), 10, 'serving again')


def is_served(server):
    try:
        small(server, 'probe')
    except CLEAN:
        return False
    return True


@test(alone=True)
def frozen_client_is_skipped_when_another_serves_the_host(w):
    """Each in turn is frozen. A request may be caught before that shows;
    from then on everyone is served by the other, at once."""
    server = w.server('--ping', '500ms', '--dead', '10s')
    clients = [w.client(server, w.origin(named(name)),
                        flags=['--ping', '500ms', '--dead', '10s'])
               for name in ('first', 'second')]
    soon(lambda: {server.get().body for _ in range(4)} ==
         {b'first', b'second'}, 5, 'both serving')
    for frozen, other in zip(clients, (b'second', b'first')):
        frozen.freeze()
        with Crowd(30) as crowd:    # those that are caught
            for number in range(4):
                crowd.start(number, caught, server)
            soon(lambda: all_by(server, other), 4, f'only {other} serving')
            with within(2, 'twenty requests'):
                check(all_by(server, other, 20), 'the frozen one was asked')
            frozen.thaw()
        soon(lambda: {server.get().body for _ in range(4)} ==
             {b'first', b'second'}, 15, 'both serving again')


def caught(server):
    answer = server.get(timeout=25)
    check(answer.status in (200, 502, 503, 504), answer.status)


def all_by(server, name, count=4):
    """Is each of the next requests answered by that one, at once?"""
    for _ in range(count):
        try:
            if server.get(timeout=0.8).body != name:
                return False
        except TimeoutError:
            return False
    return True


# --- slow is not dead --------------------------------------------------------

def thin(w, length, flags):
    server, client, relay, _ = linked(
        w, both=flags, client_flags=['--connections', '1'], rate=20_000)
    download(server, length, timeout=60)
    upload(server, length // 4, timeout=60)
    equal(relay.opened, 1, 'connections')
    check(not client.lines(LOST), 'the client took it for lost')


@test(timeout=60)
def pings_pass_beside_data_on_a_thin_link(w):
    """100 kB over 20 kB/s, with a --dead that is shorter than that takes."""
    thin(w, 100_000, ('--ping', '300ms', '--dead', '2500ms'))


@test()
def idle_lanes_stay_as_they_are(w):
    """Pings are answered at once, so nobody comes to doubt a link on which
    nothing else is said."""
    server, client, relay, _ = linked(
        w, '--ping', '40s', '--dead', '60s', client_flags=[
            '--ping', '3s', '--dead', '20s', '--connections', '2'])
    soon(lambda: relay.opened == 2, 5, 'two connections')
    time.sleep(8)   # doubts come 2 s after a ping
    equal(relay.opened, 2, 'connections')
    check(not client.lines(LOST + '|resumed|moved'), 'it was doubted')


@test(suite='patient', timeout=120)
def bulk_of_600_kb_over_20_kb_a_second_reconnects_never(w):
    thin(w, 600_000, ())


@test(suite='patient', timeout=120)
def bulk_of_600_kb_over_20_kb_a_second_with_lanes_by_need(w):
    """With --connections auto a second one may be opened, and no third."""
    server, client, relay, _ = linked(w, rate=20_000)
    download(server, 600_000, timeout=90)
    check(relay.opened <= 2, relay.opened, 'connections')
    check(not client.lines(LOST), 'the client took it for lost')


@test(timeout=60)
def four_downloads_that_nobody_reads_delay_nobody(w):
    server, client, relay, _ = linked(w)
    for _ in range(4):
        visitor = w.visitor(server, rcvbuf=4096)
        visitor.ask(target=f'/down/{64 * MIB}')
        expect(visitor.final_head(), 'a download')
    # The room of their windows is used up when nothing passes any more.
    passed = []
    soon(lambda: passed.append(relay.passed) or len(passed) > 30 and
         passed[-1] - passed[-30] < 4 * KIB, 10, 'standing still')
    for number in range(50):
        with within(2, 'a request beside them'):
            small(server, number, 'POST' if number % 2 else 'GET')
    download(server, 4 * MIB)
    upload(server, 4 * MIB)


# --- stopping on a bad link --------------------------------------------------

@test(timeout=120)
def client_drains_while_its_lanes_are_cut(w):
    """What runs when it is told to stop ends whole."""
    for connections in ('1', '4'):
        server, client, relay, traffic = linked(
            w, client_flags=['--connections', connections], rate=8 * MIB)
        drained(w, client, server, relay, traffic)
        client.wait_exit(0, timeout=20)


@test(timeout=120)
def server_drains_while_its_lanes_are_cut(w):
    """Visitors are refused, but lanes may still be resumed at the port of
    the clients."""
    for connections in ('1', '4'):
        server, client, relay, traffic = linked(
            w, client_flags=['--connections', connections], rate=8 * MIB,
            control=True)
        drained(w, server, server, relay, traffic)
        server.wait_exit(0, timeout=20)
        client.wait_log(LOST)


def drained(w, program, server, relay, traffic):
    over = w.gate()
    with Crowd(60) as crowd:
        crowd.start('websocket', talk, server, over)
        crowd.start('events', events, server)
        crowd.start('download', download_once, server, 8 * MIB)
        crowd.start('upload', upload, server, 8 * MIB)
        traffic.origin.wait(4)
        program.signal(signal.SIGTERM)
        program.wait_log('drain|signal|stopp')
        begun = relay.cuts
        with Cutter(relay, seeded(), 0.1, 0.3, times=5):
            crowd.soon(lambda: relay.cuts - begun >= 5, 20, 'five cuts')
        check(program.running, 'it did not wait for what runs')
        over.set()
        traffic.over.set()


def download_once(server, length):
    """Without another request behind it: a server that drains takes none."""
    target = f'/chunked/{length}'
    with server.visitor(timeout=60) as visitor:
        visitor.ask(target=target)
        got = visitor.digest(expect(visitor.final_head(), target))
        equal(got, (digest_of(length), length), target)
