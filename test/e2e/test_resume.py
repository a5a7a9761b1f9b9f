"""Lanes outlive their websockets: what is under way survives cuts, frozen
links and sleep, up to the resume window; what does not is cut cleanly."""

import threading
import time

from lib.house import CONNECTED, Failure, check, equal, soon, test, within
from lib.relay import DOWN, UP, Cutter, Flipper, seeded
from lib.traffic import (CLEAN, GIB, KIB, MIB, Crowd, Refused, download,
                         events, expect, linked, small, talk, upload)
from lib.wire import Cut

SOON_DEAD = ('--ping', '300ms', '--dead', '1500ms')
CUTS = 10


def ways(connections):
    return ['--connections', str(connections)]


def times(traffic, target):
    """How often the origin was asked for it."""
    return traffic.origin.targets().count(target)


def cut_ten_times(relay, length):
    """At ten bytes of the transfer, which are the same for the same seed."""
    chance = seeded()
    relay.cut_at([relay.passed + chance.randrange(1000, length)
                  for _ in range(CUTS)])


def wait_cuts(relay, crowd=None):
    (crowd.soon if crowd else soon)(lambda: relay.cuts >= CUTS, 60, 'ten cuts')


# --- one kind of traffic, cut ten times --------------------------------------

def download_cut(w, length, connections):
    server, client, relay, traffic = linked(w, client_flags=ways(connections))
    cut_ten_times(relay, length)
    download(server, length, timeout=120)
    equal(relay.cuts, CUTS, 'cuts')
    equal(times(traffic, f'/down/{length}'), 1, 'requests at the origin')


def upload_cut(w, length, connections):
    server, client, relay, traffic = linked(w, client_flags=ways(connections))
    cut_ten_times(relay, length)
    upload(server, length, timeout=120)
    equal(relay.cuts, CUTS, 'cuts')
    equal(times(traffic, '/up'), 1, 'requests at the origin')


def websocket_cut(w, connections):
    server, client, relay, traffic = linked(w, client_flags=ways(connections))
    over = w.gate()
    with Crowd() as crowd:
        crowd.start('websocket', talk, server, over)
        with Cutter(relay, seeded(), 0.02, 0.3, times=CUTS):
            wait_cuts(relay, crowd)
        over.set()
    count = crowd.results['websocket']
    print(f'{count} messages')
    check(count > 50, f'only {count} messages')
    equal(times(traffic, '/ws'), 1, 'requests at the origin')


def event_stream_cut(w, connections):
    server, client, relay, traffic = linked(w, client_flags=ways(connections))
    with Crowd() as crowd:
        crowd.start('events', events, server)
        with Cutter(relay, seeded(), 0.02, 0.3, times=CUTS):
            wait_cuts(relay, crowd)
        traffic.over.set()
    count = crowd.results['events']
    print(f'{count} events')
    check(count > 50, f'only {count} events')
    equal(times(traffic, '/events/5'), 1, 'requests at the origin')


def all_cut(w, length, connections, timeout=60):
    """The four at once; the cuts come by the byte and by the clock."""
    server, client, relay, traffic = linked(w, client_flags=ways(connections))
    chance = seeded()
    relay.cut_at([chance.randrange(1000, length) for _ in range(CUTS // 2)])
    over = w.gate()
    with Crowd(timeout) as crowd:
        crowd.start('websocket', talk, server, over)
        crowd.start('events', events, server)
        loads = [crowd.start('download', download, server, length,
                             timeout=timeout),
                 crowd.start('upload', upload, server, length,
                             timeout=timeout)]
        with Cutter(relay, chance, 0.05, 0.4, times=CUTS):
            wait_cuts(relay, crowd)
        for thread in loads:
            thread.join(timeout)
        over.set()
        traffic.over.set()
    for target in (f'/down/{length}', '/up', '/ws', '/events/5'):
        equal(times(traffic, target), 1, f'{target} at the origin')
    print(f'{relay.cuts} cuts, {relay.opened} connections, {crowd.results}')


@test(timeout=90)
def download_of_32_mib_cut_ten_times_arrives_whole(w):
    download_cut(w, 32 * MIB, 1)


@test(timeout=90)
def upload_of_32_mib_cut_ten_times_arrives_whole(w):
    upload_cut(w, 32 * MIB, 1)


@test(timeout=90)
def websocket_cut_ten_times_loses_and_doubles_nothing(w):
    websocket_cut(w, 1)


@test(timeout=90)
def event_stream_cut_ten_times_loses_and_doubles_nothing(w):
    event_stream_cut(w, 1)


@test(timeout=120)
def all_four_at_once_cut_ten_times(w):
    all_cut(w, 24 * MIB, 1)


@test(timeout=120)
def four_connections_download_cut_ten_times(w):
    download_cut(w, 32 * MIB, 4)


@test(timeout=120)
def four_connections_upload_cut_ten_times(w):
    upload_cut(w, 32 * MIB, 4)


@test(timeout=120)
def four_connections_all_four_at_once_cut_ten_times(w):
    all_cut(w, 24 * MIB, 4)


@test(timeout=90)
def chunked_download_cut_ten_times_arrives_whole(w):
    server, client, relay, traffic = linked(w)
    cut_ten_times(relay, 32 * MIB)
    for kind in ('chunked', 'close'):
        download(server, 20 * MIB, kind)
    for kind in ('down', 'chunked', 'close'):
        download(server, 20 * KIB, kind, version='HTTP/1.0')
    equal(relay.cuts, CUTS, 'cuts')


@test(suite='bulk', timeout=240)
def download_of_1_gib_cut_ten_times_arrives_whole(w):
    download_cut(w, GIB, 1)


@test(suite='bulk', timeout=240)
def upload_of_1_gib_cut_ten_times_arrives_whole(w):
    upload_cut(w, GIB, 1)


@test(suite='bulk', timeout=480)
def all_four_at_once_of_1_gib_cut_ten_times(w):
    all_cut(w, GIB, 1, 400)


@test(suite='bulk', timeout=480)
def four_connections_all_four_at_once_of_1_gib_cut_ten_times(w):
    all_cut(w, GIB, 4, 400)


# --- proxies and links -------------------------------------------------------

@test(timeout=90)
def proxy_that_cuts_every_two_seconds_fails_no_request(w):
    """For 20 s, by FIN and by RST, while requests run one after another: on
    a kept connection, on new ones, with bodies."""
    server, client, relay, traffic = linked(
        w, '--max-requests-per-connection', '0')
    count = 0
    kept = w.visitor(server, timeout=20)
    with Cutter(relay, seeded(), 2.0, 2.0):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            equal(kept.get('/kept').status, 200, 'on the kept connection')
            small(server, count)
            small(server, count, 'POST')
            count += 1
    print(f'{3 * count} requests, {relay.cuts} cuts')
    check(relay.cuts >= 8, relay.cuts, 'cuts')


def begin_all(w, crowd, server, length=8 * MIB):
    """One of each kind, under way; returns what ends the websocket."""
    over = w.gate()
    crowd.start('websocket', talk, server, over)
    crowd.start('events', events, server)
    crowd.start('download', download, server, length)
    crowd.start('upload', upload, server, length)
    return over


@test(timeout=90)
def link_frozen_for_six_seconds_and_thawed(w):
    """Nothing passes, nobody says so: what ran goes on, and so do requests
    that came in the pause."""
    server, client, relay, traffic = linked(w, rate=4 * MIB)
    with Crowd() as crowd:
        over = begin_all(w, crowd, server)
        traffic.origin.wait(4)
        relay.freeze()
        time.sleep(6)
        crowd.check()
        relay.thaw()
        crowd.soon(lambda: small_or_none(server), 15, 'an answer after it')
        over.set()
        traffic.over.set()
    for target in (f'/down/{8 * MIB}', '/up', '/ws', '/events/5'):
        equal(times(traffic, target), 1, f'{target} at the origin')


def small_or_none(server):
    try:
        small(server, 'probe')
    except CLEAN:
        return False
    return True


@test(timeout=90)
def link_that_is_forgotten_is_replaced_before_it_is_dead(w):
    """NAT rebinding: nothing passes on the old connection, new ones work.
    The client comes over a new one long before the 20 s."""
    server, client, relay, traffic = linked(w, rate=4 * MIB)
    with Crowd() as crowd:
        over = begin_all(w, crowd, server)
        traffic.origin.wait(4)
        opened = relay.opened
        with within(14, 'another connection'):
            relay.freeze_old()
            crowd.soon(lambda: relay.opened > opened, 19, 'another connection')
            crowd.soon(lambda: small_or_none(server), 10, 'an answer')
        over.set()
        traffic.over.set()
    equal(times(traffic, '/up'), 1, 'uploads at the origin')


@test(timeout=90)
def link_that_passes_one_direction_only_is_replaced(w):
    for direction in (UP, DOWN):
        server, client, relay, traffic = linked(w, rate=4 * MIB)
        with Crowd() as crowd:
            over = begin_all(w, crowd, server, 2 * MIB)
            traffic.origin.wait(4)
            opened = relay.opened
            relay.freeze_old(direction)
            crowd.soon(lambda: relay.opened > opened, 19,
                 f"a connection ({direction} was stuck)")
            crowd.soon(lambda: small_or_none(server), 10, 'an answer')
            over.set()
            traffic.over.set()


@test(timeout=90)
def client_asleep_for_less_than_the_window_goes_on(w):
    """A laptop that is closed and opened."""
    server, client, relay, traffic = linked(w, both=SOON_DEAD, rate=4 * MIB)
    with Crowd() as crowd:
        over = begin_all(w, crowd, server)
        traffic.origin.wait(4)
        client.freeze()
        time.sleep(4)   # it is dead for the server after 1.5
        crowd.check()
        client.thaw()
        crowd.soon(lambda: small_or_none(server), 10, 'an answer after it')
        over.set()
        traffic.over.set()
    check(relay.opened >= 2, 'the server kept the old connection')
    for target in (f'/down/{8 * MIB}', '/up', '/ws', '/events/5'):
        equal(times(traffic, target), 1, f'{target} at the origin')


@test(timeout=90)
def long_link_cut_ten_times(w):
    """What is on the way is lost with the websocket: 40 ms of it."""
    server, client, relay, traffic = linked(w, delay=0.02)
    with Crowd() as crowd:
        over = begin_all(w, crowd, server)
        with Cutter(relay, seeded(), 0.1, 0.5, times=CUTS):
            wait_cuts(relay, crowd)
        over.set()
        traffic.over.set()


# --- after the window --------------------------------------------------------

def begin_held(w, server, framing, version='HTTP/1.1'):
    """A visitor in the middle of an answer: (visitor, the rest of it)."""
    visitor = w.visitor(server, timeout=30)
    visitor.ask(target=f'/held/{framing}', version=version)
    pieces = visitor.pieces(expect(visitor.final_head(), framing))
    equal(next(pieces)[:10], b'first half', 'the first half')
    return visitor, pieces


def must_be_cut(pieces, what):
    try:
        rest = b''.join(pieces)
    except Cut:
        return
    raise Failure(f'{what}: a cut answer ended cleanly, {rest!r}')


@test(timeout=90)
def after_the_window_answers_are_cut_and_never_ended(w):
    server, client, relay, traffic = linked(w, '--resume-window', '1s')
    held = {f'{framing} {version}': begin_held(w, server, framing, version)[1]
            for framing in ('counted', 'chunked', 'close')
            for version in ('HTTP/1.1', 'HTTP/1.0')}
    waiting = w.visitor(server, timeout=30)
    waiting.ask(target='/unanswered')
    traffic.origin.wait(len(held) + 1)
    relay.refusing = True
    relay.cut()
    with within(5, 'the end of what was cut off', at_least=0.5):
        for what, pieces in held.items():
            must_be_cut(pieces, what)
    answer = waiting.answer()
    check(answer.status in (502, 503, 504), 'without a head:', answer.status)
    relay.refusing = False
    with within(10, 'serving again'):
        soon(lambda: small_or_none(server), 15, 'the next connect')


@test(timeout=60)
def without_a_window_nothing_is_resumed(w):
    server, client, relay, traffic = linked(w, '--resume-window', '0')
    _, pieces = begin_held(w, server, 'counted')
    with within(3, 'the end of what was cut off'):
        relay.cut()
        must_be_cut(pieces, 'no window')
    soon(lambda: small_or_none(server), 10, 'the next connect')


@test()
def within_the_window_the_held_answers_end_whole(w):
    """The same as after the window, but it comes back in time."""
    server, client, relay, traffic = linked(w, '--resume-window', '20s',
                                            client_flags=['--retry-max',
                                                          '500ms'])
    held = {f'{framing} {version}': begin_held(w, server, framing, version)[1]
            for framing in ('counted', 'chunked', 'close')
            for version in ('HTTP/1.1', 'HTTP/1.0')}
    waiting = w.visitor(server, timeout=30)
    waiting.ask(target='/unanswered')
    traffic.origin.wait(len(held) + 1)
    opened = relay.opened
    relay.refusing = True
    relay.cut()
    soon(lambda: relay.opened >= opened + 3, 10, 'three attempts')
    relay.refusing = False
    traffic.over.set()
    for what, pieces in held.items():
        rest = b''.join(pieces)
        check(rest.endswith(b'second half'), what, 'ended with', rest)
    equal(waiting.answer().body, b'at last', 'the one without a head')


# --- new requests meanwhile --------------------------------------------------

@test(timeout=60)
def new_requests_wait_for_the_client_that_is_resumed(w):
    server, client, relay, traffic = linked(w)
    opened = relay.opened
    relay.refusing = True
    relay.cut()
    soon(lambda: relay.opened > opened, 5, 'an attempt')
    with Crowd(15) as crowd:
        for number in range(20):
            crowd.start(f'request {number}', small, server, number,
                        'POST' if number % 2 else 'GET')
        relay_back = threading.Timer(0.3, setattr,
                                     (relay, 'refusing', False))
        relay_back.start()
    equal(len(crowd.results), 20, 'answers')


@test(timeout=60)
def new_requests_are_503_when_it_does_not_come_in_two_seconds(w):
    server, client, relay, traffic = linked(w)
    relay.refusing = True
    relay.cut()
    with within(4, 'the answer', at_least=1.5):
        equal(server.get('/late', timeout=20).status, 503, 'without a client')
    relay.refusing = False
    soon(lambda: small_or_none(server), 15, 'the client')


# --- memory ------------------------------------------------------------------

# glibc then gives most pieces of bodies back to the system when they are
# freed. Not all: a piece that fits into a hole of the heap goes there, and a
# small one behind it keeps the heap from shrinking, so that what is resident
# afterwards creeps towards what it was at most. (Nine rounds: 0.7 MiB in use
# after each, 11 to 36 MiB resident, 52 MiB while frozen from the third on.)
GIVES_BACK = {'MALLOC_MMAP_THRESHOLD_': '8192', 'MALLOC_MMAP_MAX_': '1000000',
              'MALLOC_TRIM_THRESHOLD_': '131072'}


@test(suite='bulk', timeout=240)
def memory_for_a_frozen_client_is_bounded(w):
    """200 visitors upload and download to and from a client that does not
    take, five times: 24 MiB of kept bytes and a window of 256 KiB each at
    most, and the same memory is used again, once the windows have grown."""
    visitors, length = 200, 2 * MIB
    bound = 24 * KIB + visitors * 256 + 8 * KIB
    server, client, relay, traffic = linked(w, '--resume-window', '1m',
                                            env=GIVES_BACK)
    for number in range(20):
        small(server, number)
    before, frozen = server.rss_kib(), []
    for _ in range(5):
        relay.freeze()
        with Crowd(120) as crowd:
            for number in range(visitors):
                crowd.start(f'visitor {number}',
                            upload if number % 2 else download, server,
                            length, timeout=100)
            frozen.append(standing_still(crowd, server))
            relay.thaw()
        print(f'{before / KIB:.1f} MiB before, {frozen[-1] / KIB:.1f} while '
              f'frozen, {server.rss_kib() / KIB:.1f} afterwards')
        if not w.sanitized:
            check(max(frozen[-1], server.rss_kib()) - before < bound,
                  f'more than {bound} KiB for a frozen client')
    check(w.sanitized or frozen[4] <= frozen[2] + 8 * KIB,
          'it grows:', frozen)


def standing_still(crowd, server):
    """Waits until its memory grows no more; how much it is, in KiB."""
    seen = []
    crowd.soon(lambda: seen.append(server.rss_kib()) or len(seen) > 100 and
               max(seen) <= max(seen[:-80]) + 256, 60, 'standing still')
    return max(seen)


# --- bits --------------------------------------------------------------------

FLIPS = [(direction, place, bit) for direction in (UP, DOWN)
         for place, bit in ((0, 0), (0, 2), (0, 4), (0, 6), (0, 7), (1, 7),
                            (1, 1), (1, 6), ('kind', 3), ('type', 6),
                            ('type', 4), ('length', 4))]


@test(timeout=240)
def flipped_bits_end_the_session_with_a_reason(w):
    """Of headers of the websocket, of messages and of frames: whoever
    notices says so, visitors get a cut or 502, the next session works."""
    flipper = Flipper()
    server, client, relay, traffic = linked(
        w, '--resume-window', '2s', both=SOON_DEAD, tamper=flipper,
        client_flags=['--retry-max', '200ms'])
    for case in FLIPS:
        said = sum(len(p.lines(CONNECTED)) for p in (server, client))
        flipper.arm(*case)
        number = 0
        while not flipper.flipped.is_set():
            tolerated(server, case, number)
            number += 1
            check(number < 100, case, 'met no frame')
        for number in range(3):
            tolerated(server, case, number)
        soon(lambda: small_or_none(server), 15, f'serving after {case}')
        soon(lambda: sum(len(p.lines(CONNECTED))
                         for p in (server, client)) > said, 10,
             f'a new session after {case}')
        check(server.running and client.running, case, 'ended a program')


def tolerated(server, case, number):
    """A request that is whole or visibly not."""
    try:
        download(server, 100 * KIB, timeout=20)
        small(server, number)
    except (Cut, Refused):
        pass
    except Failure as error:
        raise Failure(f'{case}: {error}') from None
