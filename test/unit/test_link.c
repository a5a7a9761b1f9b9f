/* test_link.c: links between a fake carrier and a fake machine, both of which
 * check the contract at each call. The machine is hostile: each of its
 * callbacks does each thing that the interface allows, in all combinations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/link.h"
#include "base/slice.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>

/* --- The rig --- */

enum callback { RX, RX_EOF, TX_TAKEN, TX_FILL, GONE, CALLBACKS };

enum action {
    NOTHING,
    CLOSE,
    CLOSE_TWICE,
    RESET,
    SHUTDOWN,
    LINGER,
    WRITE,
    WRITE_AND_LINGER,
    REPLACE,
    REPLACE_AND_CLOSE,
    UNSET,
    SETTLE,
    ACTIONS
};

struct machine {
    struct rig *rig;
    unsigned calls[CALLBACKS];
    unsigned gone;
    int gone_err;
    size_t room;
    char input[256];
    size_t ninput;
    size_t taken;
    size_t supply; /* bytes that tx_fill has to give */
    enum action actions[CALLBACKS];
};

struct rig {
    struct inl_env env;
    struct inl_link link;
    struct machine machine, second;
    const struct machine *current; /* who may be called */

    unsigned turns, released;
    bool was_reset;
    size_t window; /* how much the carrier takes in a turn */
    char sent[256];
    size_t nsent; /* all, also what did not fit into sent */
    bool holds_fin;
};

static struct rig rig;

static void act(struct machine *m, enum action action);

static void enter(struct machine *m, enum callback callback)
{
    struct rig *r = m->rig;

    assert_ptr_equal(m, r->current);
    assert_int_equal(m->gone, 0);
    assert_int_equal(r->released, 0);
    if (callback == GONE) {
        assert_true(r->link.closed);
        assert_int_equal(r->link.out.bytes, 0);
        assert_false(inl_list_linked(&r->link.dirty));
    } else {
        assert_false(r->link.closed);
        assert_false(r->link.lingering);
    }
    m->calls[callback]++;
}

/* What write and fill do would go on for ever. */
static void leave(struct machine *m, enum callback callback)
{
    if (m->calls[callback] <= 3) {
        act(m, m->actions[callback]);
    }
}

static void machine_rx(void *machine, const uint8_t *p, size_t n)
{
    struct machine *m = machine;

    enter(m, RX);
    assert_true(n <= m->room);
    assert_true(n <= sizeof(m->input) - m->ninput);
    memcpy(m->input + m->ninput, p, n);
    m->ninput += n;
    leave(m, RX);
}

static size_t machine_rx_room(void *machine)
{
    struct machine *m = machine;

    assert_ptr_equal(m, m->rig->current);
    assert_false(m->rig->link.closed);
    assert_false(m->rig->link.lingering);
    return m->room;
}

static void machine_rx_eof(void *machine)
{
    enter(machine, RX_EOF);
    leave(machine, RX_EOF);
}

static void machine_tx_taken(void *machine, size_t n)
{
    struct machine *m = machine;

    enter(m, TX_TAKEN);
    assert_true(n > 0);
    m->taken += n;
    leave(m, TX_TAKEN);
}

static void machine_tx_fill(void *machine)
{
    struct machine *m = machine;
    size_t n = m->supply < 10 ? m->supply : 10;

    enter(m, TX_FILL);
    assert_true(m->rig->link.out.bytes < INL_LINK_LOW_BYTES);
    m->supply -= n;
    assert_int_equal(inl_queue_append(&m->rig->link.out, "ffffffffff", n), 0);
    leave(m, TX_FILL);
}

static void machine_gone(void *machine, int err)
{
    struct machine *m = machine;

    enter(m, GONE);
    assert_int_equal(err, m->rig->link.err);
    leave(m, GONE);
    m->gone++;
    m->gone_err = err;
}

static const struct inl_machine_ops pulled = {
    machine_rx,       machine_rx_room, machine_rx_eof,
    machine_tx_taken, machine_tx_fill, machine_gone,
};

/* As little as a machine may be. */
static const struct inl_machine_ops plain = {
    machine_rx, machine_rx_room, machine_rx_eof, NULL, NULL, machine_gone,
};

static void replace(struct rig *r)
{
    if (r->current == &r->machine) {
        r->current = &r->second;
        inl_link_set_machine(&r->link, &plain, &r->second);
    }
}

static void act(struct machine *m, enum action action)
{
    struct inl_link *l = &m->rig->link;

    switch (action) {
    case NOTHING:
    case ACTIONS:
        break;
    case CLOSE_TWICE:
        inl_link_close(l, INLETS_EPROTO);
        inl_link_reset(l, INLETS_EINTERNAL);
        assert_int_equal(inl_link_write(l, "x", 1), INLETS_ECLOSED);
        inl_link_linger(l);
        inl_link_shutdown(l);
        inl_link_wake(l);
        break;
    case CLOSE:
        inl_link_close(l, INLETS_EPROTO);
        break;
    case RESET:
        inl_link_reset(l, INLETS_EPROTO);
        break;
    case SHUTDOWN:
        inl_link_shutdown(l);
        break;
    case LINGER:
        inl_link_linger(l);
        break;
    case WRITE_AND_LINGER:
        (void)inl_link_write(l, "bye", 3);
        inl_link_linger(l);
        break;
    case WRITE:
        (void)inl_link_write(l, "w", 1);
        break;
    case REPLACE_AND_CLOSE:
        replace(m->rig);
        inl_link_close(l, INLETS_EPROTO);
        break;
    case REPLACE:
        replace(m->rig);
        break;
    case UNSET:
        m->rig->current = NULL;
        inl_link_set_machine(l, NULL, NULL);
        break;
    case SETTLE:
        inl_env_settle(&m->rig->env);
        break;
    }
}

static void carrier_turn(struct inl_link *l)
{
    struct rig *r = inl_container(l, struct rig, link);
    struct iovec v[2];

    assert_false(l->closed);
    assert_int_equal(r->released, 0);
    r->turns++;
    for (size_t window = r->window; window > 0;) {
        size_t n;

        if (inl_link_tx_peek(l, v, 2) == 0) {
            break;
        }
        n = v[0].iov_len < window ? v[0].iov_len : window;
        if (r->nsent + n <= sizeof(r->sent)) {
            memcpy(r->sent + r->nsent, v[0].iov_base, n);
        }
        r->nsent += n;
        window -= n;
        inl_link_tx_done(l, n);
    }
    if (inl_link_wants_fin(l) && !r->holds_fin) {
        l->tx_ended = true;
        inl_link_wake(l);
    }
}

static void carrier_release(struct inl_link *l, bool reset)
{
    struct rig *r = inl_container(l, struct rig, link);

    assert_true(l->closed);
    assert_int_equal(r->released, 0);
    r->released++;
    r->was_reset = reset;
    inl_link_fini(l);
}

static const struct inl_carrier_ops carrier = {carrier_turn, carrier_release,
                                               NULL};

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    (void)env;
    memset(ptr, 4, n);
}

static const struct inl_env_ops env_ops = {fake_random, NULL};

static void begin_rig(struct rig *r, const struct inl_machine_ops *ops)
{
    memset(r, 0, sizeof(*r));
    inl_env_init(&r->env, &env_ops);
    r->env.now_ms = 1000;
    r->window = SIZE_MAX;
    r->machine = (struct machine){.rig = r, .room = 100};
    r->second = (struct machine){.rig = r, .room = 100};
    inl_link_init(&r->link, &r->env, &carrier);
    if (ops != NULL) {
        r->current = &r->machine;
        inl_link_set_machine(&r->link, ops, &r->machine);
    }
}

static void settle(void)
{
    inl_env_settle(&rig.env);
}

/* Lets time pass, one millisecond a turn. */
static void pass(uint64_t ms)
{
    for (; ms > 0; ms--) {
        rig.env.now_ms++;
        inl_env_fire_timers(&rig.env);
        settle();
    }
}

static void feed(const char *text)
{
    inl_link_rx(&rig.link, (const uint8_t *)text, strlen(text));
}

static int setup(void **state)
{
    (void)state;
    begin_rig(&rig, &pulled);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (rig.released == 0) {
        inl_link_close(&rig.link, 0);
        settle();
    }
    inl_env_fini(&rig.env);
    return alloc_live == 0 && rig.released == 1 ? 0 : -1;
}

static void assert_gone(int err, bool reset)
{
    settle();
    assert_int_equal(rig.machine.gone, 1);
    assert_int_equal(rig.machine.gone_err, err);
    assert_int_equal(rig.released, 1);
    assert_int_equal(rig.was_reset, reset);
}

static void assert_sent(const char *text)
{
    assert_int_equal(rig.nsent, strlen(text));
    assert_memory_equal(rig.sent, text, rig.nsent);
}

/* --- Bytes --- */

static void bytes_come_in(void **state)
{
    (void)state;
    assert_int_equal(inl_link_rx_room(&rig.link), 100);
    rig.env.now_ms = 1234;
    feed("hello ");
    feed("");
    feed("world");
    assert_memory_equal(rig.machine.input, "hello world", 11);
    assert_int_equal(rig.machine.calls[RX], 2);
    assert_int_equal(rig.link.bytes_in, 11);
    assert_int_equal(rig.link.rx_at_ms, 1234);
    inl_link_rx_eof(&rig.link);
    inl_link_rx_eof(&rig.link);
    feed("after the end");
    assert_int_equal(rig.machine.calls[RX_EOF], 1);
    assert_int_equal(rig.machine.calls[RX], 2);
    assert_int_equal(inl_link_rx_room(&rig.link), 0);
}

static void bytes_go_out_at_the_end_of_the_turn(void **state)
{
    (void)state;
    settle();
    rig.turns = 0;
    assert_int_equal(inl_link_write(&rig.link, "hello ", 6), 0);
    assert_int_equal(inl_link_write(&rig.link, "world", 5), 0);
    assert_int_equal(rig.turns, 0);
    settle();
    assert_int_equal(rig.turns, 1);
    assert_sent("hello world");
    assert_int_equal(rig.link.bytes_out, 11);
    assert_int_equal(rig.machine.taken, 11);
    settle();
    assert_int_equal(rig.turns, 1);
}

static void slow_carriers_take_a_part(void **state)
{
    (void)state;
    rig.window = 4;
    assert_int_equal(inl_link_write(&rig.link, "hello world", 11), 0);
    settle();
    assert_sent("hell");
    assert_int_equal(rig.link.out.bytes, 7);
    assert_int_equal(rig.machine.taken, 4);
    inl_link_wake(&rig.link);
    settle();
    assert_sent("hello wo");
}

static void machines_are_pulled_below_the_mark(void **state)
{
    static char bulk[INL_LINK_LOW_BYTES];

    (void)state;
    rig.machine.supply = 25;
    inl_link_wake(&rig.link);
    settle();
    assert_int_equal(rig.nsent, 25);
    assert_int_equal(rig.machine.supply, 0);
    rig.window = 0;
    rig.machine.calls[TX_FILL] = 0;
    assert_int_equal(inl_link_write(&rig.link, bulk, sizeof(bulk)), 0);
    assert_int_equal(inl_link_tx_peek(&rig.link, &(struct iovec){0}, 1), 1);
    assert_int_equal(rig.machine.calls[TX_FILL], 0);
    inl_link_tx_done(&rig.link, 1);
    assert_int_equal(inl_link_tx_peek(&rig.link, &(struct iovec){0}, 1), 1);
    assert_int_equal(rig.machine.calls[TX_FILL], 1);
}

static void no_memory_no_write(void **state)
{
    (void)state;
    settle();
    alloc_fail_nth = 1;
    assert_int_equal(inl_link_write(&rig.link, "x", 1), INLETS_ENOMEM);
    assert_int_equal(rig.link.out.bytes, 0);
    assert_false(inl_list_linked(&rig.link.dirty));
    assert_int_equal(inl_link_write(&rig.link, "x", 1), 0);
}

static void links_without_machine_wait(void **state)
{
    (void)state;
    inl_link_set_machine(&rig.link, NULL, NULL);
    rig.current = NULL;
    assert_int_equal(inl_link_rx_room(&rig.link), 0);
    assert_int_equal(inl_link_write(&rig.link, "x", 1), 0);
    settle();
    assert_sent("x");
    feed("dropped");
    inl_link_rx_eof(&rig.link);
    inl_link_close(&rig.link, 0);
    settle();
    assert_int_equal(rig.released, 1);
    assert_int_equal(rig.machine.gone, 0);
}

static void machines_need_no_optional_callbacks(void **state)
{
    (void)state;
    inl_link_set_machine(&rig.link, &plain, &rig.machine);
    assert_int_equal(inl_link_write(&rig.link, "x", 1), 0);
    settle();
    assert_sent("x");
    inl_link_close(&rig.link, 0);
    assert_gone(0, false);
}

/* --- Ends --- */

static void close_drops_what_is_not_sent(void **state)
{
    (void)state;
    assert_int_equal(inl_link_write(&rig.link, "hello", 5), 0);
    inl_link_close(&rig.link, INLETS_ETIMEDOUT);
    assert_int_equal(rig.machine.gone, 0); /* not in the call */
    assert_int_equal(rig.released, 0);
    assert_int_equal(rig.link.out.bytes, 0);
    assert_gone(INLETS_ETIMEDOUT, false);
    assert_sent("");
}

static void first_close_wins(void **state)
{
    (void)state;
    inl_link_reset(&rig.link, INLETS_EPROTO);
    inl_link_close(&rig.link, 0);
    inl_link_reset(&rig.link, INLETS_ENOMEM);
    assert_gone(INLETS_EPROTO, true);
}

static void closed_links_ignore_everything(void **state)
{
    struct iovec v;

    (void)state;
    inl_link_shutdown(&rig.link);
    assert_true(inl_link_wants_fin(&rig.link));
    inl_link_close(&rig.link, 0);
    feed("late");
    inl_link_rx_eof(&rig.link);
    assert_int_equal(inl_link_rx_room(&rig.link), 0);
    assert_int_equal(inl_link_tx_peek(&rig.link, &v, 1), 0);
    inl_link_tx_done(&rig.link, 77); /* a write that was on its way */
    assert_false(inl_link_wants_fin(&rig.link));
    assert_int_equal(inl_link_write(&rig.link, "x", 1), INLETS_ECLOSED);
    inl_link_shutdown(&rig.link);
    inl_link_linger(&rig.link);
    inl_link_wake(&rig.link);
    assert_false(inl_list_linked(&rig.link.dirty));
    assert_int_equal(rig.env.nheap, 0);
    rig.turns = 0;
    assert_gone(0, false);
    assert_int_equal(rig.turns, 0);
    assert_int_equal(rig.machine.calls[RX], 0);
}

static void shutdown_is_half_a_close(void **state)
{
    (void)state;
    rig.window = 3;
    rig.machine.supply = 100;
    assert_int_equal(inl_link_write(&rig.link, "hello", 5), 0);
    inl_link_shutdown(&rig.link);
    inl_link_shutdown(&rig.link);
    assert_int_equal(inl_link_write(&rig.link, "x", 1), INLETS_ECLOSED);
    settle();
    assert_false(rig.link.tx_ended);
    inl_link_wake(&rig.link);
    settle();
    assert_true(rig.link.tx_ended);
    assert_sent("hello"); /* and nobody was asked for more */
    feed("still here");
    assert_memory_equal(rig.machine.input, "still here", 10);
    inl_link_rx_eof(&rig.link);
    settle();
    assert_false(rig.link.closed); /* the machine's to say */
}

/* --- Lingering --- */

static void linger_ends_when_both_sides_have(void **state)
{
    (void)state;
    assert_int_equal(inl_link_write(&rig.link, "bye", 3), 0);
    inl_link_linger(&rig.link);
    inl_link_linger(&rig.link);
    settle();
    assert_sent("bye");
    assert_true(rig.link.tx_ended);
    assert_int_equal(inl_link_rx_room(&rig.link), 16 * 1024);
    feed("nobody listens");
    assert_int_equal(rig.link.bytes_in, 14);
    assert_int_equal(rig.machine.ninput, 0);
    assert_false(rig.link.closed);
    inl_link_rx_eof(&rig.link);
    assert_gone(0, false);
    assert_int_equal(rig.machine.calls[RX_EOF], 0);
    assert_int_equal(rig.machine.calls[TX_TAKEN], 0);
    assert_int_equal(rig.env.nheap, 0);
}

static void linger_after_the_peers_end_only_flushes(void **state)
{
    (void)state;
    inl_link_rx_eof(&rig.link);
    assert_int_equal(inl_link_write(&rig.link, "bye", 3), 0);
    rig.window = 2;
    inl_link_linger(&rig.link);
    settle();
    assert_false(rig.link.closed);
    inl_link_wake(&rig.link);
    assert_gone(0, false);
    assert_sent("bye");
}

static void linger_after_both_ends_closes(void **state)
{
    (void)state;
    inl_link_shutdown(&rig.link);
    settle();
    inl_link_rx_eof(&rig.link);
    inl_link_linger(&rig.link);
    assert_gone(0, false);
}

static void linger_has_an_end(void **state)
{
    (void)state;
    inl_link_linger(&rig.link);
    settle();
    pass(INL_LINK_LINGER_MS - 1);
    assert_false(rig.link.closed);
    pass(1);
    assert_gone(0, false); /* all was sent */
}

static void linger_of_a_peer_that_reads_nothing(void **state)
{
    (void)state;
    rig.window = 0;
    assert_int_equal(inl_link_write(&rig.link, "bye", 3), 0);
    inl_link_linger(&rig.link);
    pass(INL_LINK_LINGER_MS);
    assert_gone(INLETS_ETIMEDOUT, true);
}

static void slow_readers_get_time_within_bounds(void **state)
{
    static char bulk[100];
    uint64_t begin_ms = rig.env.now_ms;

    (void)state;
    rig.window = 1;
    assert_int_equal(inl_link_write(&rig.link, bulk, sizeof(bulk)), 0);
    inl_link_linger(&rig.link);
    while (!rig.link.closed) {
        assert_true(rig.env.now_ms <= begin_ms + INL_LINK_LINGER_MAX_MS);
        inl_link_wake(&rig.link);
        inl_link_linger(&rig.link); /* asking again gives no more time */
        settle();
        rig.env.now_ms += INL_LINK_LINGER_MS - 1;
        inl_env_fire_timers(&rig.env);
    }
    assert_true(rig.env.now_ms >= begin_ms + INL_LINK_LINGER_MAX_MS);
    assert_int_equal(rig.nsent, 16);
    assert_gone(INLETS_ETIMEDOUT, true);
}

static void linger_without_memory_closes(void **state)
{
    (void)state;
    settle();
    alloc_fail_nth = 1;
    inl_link_linger(&rig.link);
    assert_gone(INLETS_ENOMEM, true);
}

static void lingering_links_can_be_closed(void **state)
{
    (void)state;
    inl_link_linger(&rig.link);
    settle();
    inl_link_close(&rig.link, INLETS_ERESET); /* what the carrier found */
    assert_int_equal(rig.env.nheap, 0);       /* not only when it is freed */
    assert_gone(INLETS_ERESET, false);
    pass(INL_LINK_LINGER_MS + 1);
}

/* A reply that needs no answer: the peer left before our FIN was out. */
static void carriers_may_hold_the_fin(void **state)
{
    (void)state;
    rig.holds_fin = true;
    inl_link_linger(&rig.link);
    settle();
    assert_true(inl_link_wants_fin(&rig.link));
    inl_link_rx_eof(&rig.link);
    assert_false(rig.link.closed);
    rig.link.tx_ended = true;
    inl_link_wake(&rig.link);
    assert_gone(0, false);
}

/* --- Replacement --- */

static void machines_can_be_replaced_in_rx(void **state)
{
    (void)state;
    rig.machine.actions[RX] = REPLACE;
    settle();
    feed("GET");
    assert_true(inl_list_linked(&rig.link.dirty)); /* its room may differ */
    feed("frames");
    assert_memory_equal(rig.machine.input, "GET", 3);
    assert_memory_equal(rig.second.input, "frames", 6);
    inl_link_close(&rig.link, INLETS_ECLOSED);
    settle();
    assert_int_equal(rig.machine.gone, 0); /* it left by itself */
    assert_int_equal(rig.second.gone, 1);
    assert_int_equal(rig.second.gone_err, INLETS_ECLOSED);
}

static void replacement_after_close_gets_the_last_word(void **state)
{
    (void)state;
    inl_link_close(&rig.link, INLETS_EPROTO);
    replace(&rig);
    settle();
    assert_int_equal(rig.machine.gone, 0);
    assert_int_equal(rig.second.gone, 1);
}

/* --- Hostility --- */

/* A bit of everything that can happen to a link. The carrier goes on feeding
 * whatever the machine has done, as long as there is room. */
static void whole_life(void)
{
    rig.machine.supply = 25;
    rig.window = 7;
    settle();
    for (int i = 0; i < 4 && rig.released == 0; i++) {
        if (inl_link_rx_room(&rig.link) > 0) {
            feed("input");
            feed("more");
        }
        (void)inl_link_write(&rig.link, "output", 6);
        settle();
    }
    for (int i = 0; i < 2 && rig.released == 0; i++) {
        inl_link_rx_eof(&rig.link);
        feed("after the end");
        inl_link_wake(&rig.link);
        settle();
    }
    for (int i = 0; i < 50 && rig.released == 0; i++) {
        inl_link_linger(&rig.link);
        inl_link_wake(&rig.link);
        settle();
    }
}

static void run_hostile(enum callback callback, enum action action,
                        const struct inl_machine_ops *ops)
{
    begin_rig(&rig, ops);
    rig.machine.actions[callback] = action;
    rig.machine.actions[GONE] =
        rig.machine.actions[GONE] != NOTHING ? action : CLOSE_TWICE;
    rig.second.actions[callback] = CLOSE_TWICE;
    whole_life();
    assert_int_equal(rig.released, 1);
    if (action != UNSET) {
        assert_int_equal(rig.machine.gone + rig.second.gone, 1);
    }
    assert_int_equal(rig.env.nheap, 0);
    inl_env_fini(&rig.env);
    assert_int_equal(alloc_live, 0);
}

static void every_callback_does_everything(void **state)
{
    (void)state;
    for (enum callback c = 0; c < CALLBACKS; c++) {
        for (enum action a = 0; a < ACTIONS; a++) {
            if (c == GONE && a != CLOSE_TWICE && a != CLOSE && a != RESET &&
                a != LINGER && a != WRITE && a != SETTLE) {
                continue; /* the last call: nobody comes after it */
            }
            run_hostile(c, a, &pulled);
            run_hostile(c, a, &plain);
        }
    }
}

/* The same life with the n-th allocation failing. */
static void every_allocation_fails_once(void **state)
{
    (void)state;
    for (enum action a = 0; a < ACTIONS; a++) {
        for (size_t nth = 1; nth < 40; nth++) {
            begin_rig(&rig, &plain);
            rig.machine.actions[RX] = a;
            alloc_fail_nth = nth;
            whole_life();
            alloc_fail_nth = 0;
            assert_int_equal(rig.released, 1);
            inl_env_fini(&rig.env);
            assert_int_equal(alloc_live, 0);
        }
    }
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        LINK_TEST(bytes_come_in),
        LINK_TEST(bytes_go_out_at_the_end_of_the_turn),
        LINK_TEST(slow_carriers_take_a_part),
        LINK_TEST(machines_are_pulled_below_the_mark),
        LINK_TEST(no_memory_no_write),
        LINK_TEST(links_without_machine_wait),
        LINK_TEST(machines_need_no_optional_callbacks),
        LINK_TEST(close_drops_what_is_not_sent),
        LINK_TEST(first_close_wins),
        LINK_TEST(closed_links_ignore_everything),
        LINK_TEST(shutdown_is_half_a_close),
        LINK_TEST(linger_ends_when_both_sides_have),
        LINK_TEST(linger_after_the_peers_end_only_flushes),
        LINK_TEST(linger_after_both_ends_closes),
        LINK_TEST(linger_has_an_end),
        LINK_TEST(linger_of_a_peer_that_reads_nothing),
        LINK_TEST(slow_readers_get_time_within_bounds),
        LINK_TEST(linger_without_memory_closes),
        LINK_TEST(lingering_links_can_be_closed),
        LINK_TEST(carriers_may_hold_the_fin),
        LINK_TEST(machines_can_be_replaced_in_rx),
        LINK_TEST(replacement_after_close_gets_the_last_word),
        cmocka_unit_test(every_callback_does_everything),
        cmocka_unit_test(every_allocation_fails_once),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
