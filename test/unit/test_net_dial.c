/* test_net_dial.c: the dialer, with real sockets and a resolver of our own. */
#include "net_rig.h"

#include "unit/alloc.h"
#include "unit/resolver.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Places to dial ------------------------------------------------------ */

/* A port on 127.0.0.1 on which nobody listens, and which stays reserved. */
static int dead_port(unsigned *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

#define HOLE_FDS 4

/* A port whose backlog is full: a SYN gets no answer. */
struct hole {
    unsigned port;
    int fds[HOLE_FDS]; /* the first listens */
};

/* port 0: any. */
static void hole_open_at(struct hole *h, const char *address, unsigned port)
{
    struct sockaddr_in a;
    socklen_t size = sizeof(a);

    assert_int_equal(uv_ip4_addr(address, (int)port, &a), 0);
    h->fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(h->fds[0], (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(h->fds[0], (struct sockaddr *)&a, &size), 0);
    h->port = ntohs(a.sin_port);
    assert_int_equal(listen(h->fds[0], 0), 0);
    for (int i = 1; i < HOLE_FDS; i++) {
        h->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(h->fds[i] >= 0);
        assert_true(connect(h->fds[i], (struct sockaddr *)&a, sizeof(a)) == 0 ||
                    errno == EINPROGRESS);
    }
    (void)usleep(20000);
}

static void hole_open(struct hole *h)
{
    hole_open_at(h, "127.0.0.1", 0);
}

/* From now on it answers. Returns what waited in the backlog. */
static int hole_fill_in(struct hole *h)
{
    int fd = accept(h->fds[0], NULL, NULL);

    assert_true(fd >= 0);
    assert_int_equal(listen(h->fds[0], 8), 0);
    return fd;
}

static void hole_close(struct hole *h)
{
    for (int i = 0; i < HOLE_FDS; i++) {
        (void)close(h->fds[i]);
    }
}

/* Dials and expects an error. Returns how long it took. */
static uint64_t expect_error(struct rig *r, const char *host, unsigned port,
                             uint64_t timeout_ms, int err, const char *step)
{
    struct end end = {.rig = r, .room = 1};
    struct call call;
    uint64_t begin;

    assert_int_equal(call_start(&call, &end, host, port, timeout_ms), 0);
    assert_non_null(call.dial.impl);
    begin = r->loop.env.now_ms;
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, err);
    assert_string_equal(call.dial.step, step);
    assert_null(end.link);
    return r->loop.env.now_ms - begin;
}

/* Dials a listener and lets both ends say goodbye. */
static void expect_link(struct rig *r, const char *host, unsigned port,
                        struct end *server)
{
    struct end client = {.rig = r, .room = 1, .to_send = 1};
    struct call call;

    server->rig = r;
    server->room = 1;
    assert_int_equal(call_start(&call, &client, host, port, 5000), 0);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    RUN_UNTIL(r, client.gone && server->gone);
    assert_int_equal(server->received, 1);
}

static struct inl_listener *listen_at(struct rig *r, const char *address,
                                      struct end *server)
{
    struct inl_listener *l;

    server->rig = r;
    assert_int_equal(
        inl_listener_new(&l, &r->loop, address, end_listen, server), 0);
    return l;
}

/* --- Tests --------------------------------------------------------------- */

static void test_refused_at_once(void **state)
{
    unsigned port;
    int fd = dead_port(&port);

    assert_true(expect_error(*state, "127.0.0.1", port, 5000, INLETS_EREFUSED,
                             "connect") < 2000);
    assert_true(expect_error(*state, "one.test", port, 5000, INLETS_EREFUSED,
                             "connect") < 2000);
    (void)close(fd);
}

static void test_bad_arguments(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call call;
    char name[300];

    memset(name, 'a', sizeof(name));
    name[254] = '\0'; /* one more than a name may have */
    assert_int_equal(call_start(&call, &end, name, 80, 100), INLETS_EINVAL);
    assert_null(call.dial.impl);
    assert_int_equal(call_start(&call, &end, "", 80, 100), INLETS_EINVAL);
    assert_int_equal(call_start(&call, &end, NULL, 80, 100), INLETS_EINVAL);
    assert_int_equal(call_start(&call, &end, "a", 0, 100), INLETS_EINVAL);
    assert_int_equal(call_start(&call, &end, "a", 65536, 100), INLETS_EINVAL);
    inl_dial_cancel(&r->dialer, &call.dial); /* idle: harmless */
    assert_int_equal(call.done, 0);
}

static void test_unknown_name(void **state)
{
    expect_error(*state, "none.test", 80, 5000, INLETS_EDNS, "resolve");
}

/* The longest name that is allowed does get to the resolver. */
static void test_longest_name(void **state)
{
    char name[254];

    for (size_t i = 0; i < 248; i++) {
        name[i] = i % 50 == 49 ? '.' : 'a';
    }
    memcpy(name + 248, ".test", 6);
    expect_error(*state, name, 80, 5000, INLETS_EDNS, "resolve");
}

static void test_localhost(void **state)
{
    struct end server = {0};
    struct inl_listener *l = listen_at(*state, ":0", &server);

    expect_link(*state, "localhost", inl_listener_port(l), &server);
    inl_listener_close(l);
}

static void test_next_address_after_refusal(void **state)
{
    struct end server = {0};
    struct inl_listener *l = listen_at(*state, "127.0.0.2:0", &server);

    /* Nobody listens on the first two. The third is where it is. */
    expect_link(*state, "six.one.two.test", inl_listener_port(l), &server);
    inl_listener_close(l);
}

static void test_first_telling_error_is_reported(void **state)
{
    unsigned port;
    int fd = dead_port(&port);

    /* TCP cannot go to the broadcast address. The refusal says more than an
     * unreachable network, whichever comes first. */
    expect_error(*state, "reject.one.test", port, 5000, INLETS_EREFUSED,
                 "connect");
    expect_error(*state, "one.reject.test", port, 5000, INLETS_EREFUSED,
                 "connect");
    (void)close(fd);
}

/* Dials without leaving this machine. */
static int dial_here(struct rig *r, struct end *end, struct call *call,
                     const char *host, unsigned port)
{
    *end = (struct end){.rig = r, .room = 1, .to_send = 1};
    assert_int_equal(call_start(call, end, host, port, 5000), 0);
    call->dial.stays_here = true;
    RUN_UNTIL(r, call->done > 0);
    return call->err;
}

/* Whatever a name of this machine leads to. */
static void test_what_stays_here_goes_nowhere_else(void **state)
{
    static const char *const elsewhere[] = {"reject.test", "255.255.255.255",
                                            "192.0.2.1", "2001:db8::1"};
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1}, end;
    struct inl_listener *l = listen_at(r, "127.0.0.2:0", &server);
    unsigned port = inl_listener_port(l), dead;
    int fd = dead_port(&dead);
    struct call call;

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(dial_here(r, &end, &call, elsewhere[i], port),
                         INLETS_EINSECURE);
        assert_null(end.link);
    }
    assert_int_equal(dial_here(r, &end, &call, "reject.test", port),
                     INLETS_EINSECURE);
    assert_string_equal(call.dial.why,
                        "reject.test leads to 255.255.255.255, which is not "
                        "this machine: it could be read there");
    assert_int_equal(dial_here(r, &end, &call, "one.test", dead),
                     INLETS_EREFUSED);
    assert_int_equal(dial_here(r, &end, &call, "reject.two.test", port), 0);
    assert_string_equal(call.dial.why, "");
    RUN_UNTIL(r, end.gone && server.gone);
    assert_int_equal(server.received, 1);
    inl_listener_close(l);
    (void)close(fd);
}

static void test_unreachable_network(void **state)
{
    int err = INLETS_ENETWORK;

    expect_error(*state, "255.255.255.255", 80, 5000, err, "connect");
    expect_error(*state, "reject.test", 80, 5000, err, "connect");
}

static void test_deadline_while_connecting(void **state)
{
    struct hole one, two;
    uint64_t took;

    hole_open(&one);
    hole_open_at(&two, "127.0.0.2", one.port);
    took = expect_error(*state, "127.0.0.1", one.port, 200, INLETS_ETIMEDOUT,
                        "connect");
    assert_in_range(took, 200, 900);
    took = expect_error(*state, "one.two.test", one.port, 400, INLETS_ETIMEDOUT,
                        "connect");
    assert_in_range(took, 400, 1200);
    hole_close(&one);
    hole_close(&two);
}

static void test_deadline_in_the_past(void **state)
{
    struct rig *r = *state;

    expect_error(r, "slow.test", 80, 0, INLETS_ETIMEDOUT, "resolve");
    drain_slow(r);
}

static void test_deadline_while_resolving(void **state)
{
    struct rig *r = *state;
    uint64_t took;

    took = expect_error(r, "slow.test", 80, 50, INLETS_ETIMEDOUT, "resolve");
    assert_in_range(took, 50, 900);
    uv_sem_wait(&slow_asked);
    assert_true(r->loop.live > 0); /* the resolver's request is still there */
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.live == 0);
}

static void test_without_descriptors(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r, .room = 1};
    struct rlimit old, now;
    struct call call;
    int top;

    if (under_valgrind()) {
        return;
    }
    /* libuv opens a spare one with the first stream. */
    expect_error(r, "255.255.255.255", 80, 5000, INLETS_ENETWORK, "connect");
    top = dup(0);
    (void)close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    now = old;
    now.rlim_cur = (rlim_t)top;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(call_start(&call, &end, "127.0.0.1", 80, 5000), 0);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(call.err, INLETS_EMFILE);
}

/* --- The race (RFC 8305) ------------------------------------------------- */

static void test_next_address_joins_a_silent_one(void **state)
{
    struct rig *r = *state;
    struct end server = {0};
    struct inl_listener *l;
    struct hole h;
    char address[64];
    uint64_t begin;

    hole_open(&h);
    (void)snprintf(address, sizeof(address), "127.0.0.2:%u", h.port);
    l = listen_at(r, address, &server);
    begin = uv_now(&r->uv);
    expect_link(r, "one.two.test", h.port, &server);
    assert_in_range(uv_now(&r->uv) - begin, 240, 1500);
    inl_listener_close(l);
    hole_close(&h);
}

/* The one that was there first is still in it when the next has joined. */
static void test_first_address_may_win_late(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r, .room = 1, .keep_open = true};
    struct hole one, two;
    struct call call;
    int waited;

    hole_open(&one);
    hole_open_at(&two, "127.0.0.2", one.port);
    assert_int_equal(call_start(&call, &end, "one.two.test", one.port, 9000),
                     0);
    rig_pass(r, 400);
    waited = hole_fill_in(&one); /* the kernel repeats the SYN after 1 s */
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    assert_string_equal(end.link->peer_ip, "127.0.0.1");
    end_act(&end, CLOSE);
    RUN_UNTIL(r, end.gone);
    (void)close(waited);
    hole_close(&one);
    hole_close(&two);
}

/* Eleven waits would be 2750 ms. */
static void test_refusals_do_not_wait(void **state)
{
    struct rig *r = *state;
    struct end server = {0};
    struct inl_listener *l = listen_at(r, "127.0.1.12:0", &server);
    uint64_t begin = uv_now(&r->uv);

    expect_link(r, "dozen.test", inl_listener_port(l), &server);
    assert_in_range(uv_now(&r->uv) - begin, 0, 2000);
    inl_listener_close(l);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

    (void)close(fd);
    return has;
}

/* The thirteenth address is the second to be tried. */
static void test_families_take_turns(void **state)
{
    struct rig *r = *state;
    struct end server = {0};
    struct inl_listener *l;
    struct hole holes[12];
    uint64_t begin;

    if (!has_ipv6()) {
        skip();
    }
    l = listen_at(r, "[::1]:0", &server);
    for (unsigned i = 0; i < 12; i++) {
        hole_open_at(&holes[i], dozen[i], inl_listener_port(l));
    }
    begin = uv_now(&r->uv);
    expect_link(r, "dozen.six.test", inl_listener_port(l), &server);
    assert_in_range(uv_now(&r->uv) - begin, 240, 2000);
    inl_listener_close(l);
    for (unsigned i = 0; i < 12; i++) {
        hole_close(&holes[i]);
    }
}

/* Eleven silent addresses: eight sockets at a time, and the twelfth is still
 * found. */
static void test_attempts_are_bounded(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1};
    struct end client = {.rig = r, .room = 1};
    struct inl_listener *l = listen_at(r, "127.0.1.12:0", &server);
    struct hole holes[11];
    struct call call;
    int before, most = 0;

    for (unsigned i = 0; i < 11; i++) {
        hole_open_at(&holes[i], dozen[i], inl_listener_port(l));
    }
    /* libuv opens a spare one with the first stream. */
    expect_error(r, "255.255.255.255", 80, 5000, INLETS_ENETWORK, "connect");
    before = count_fds();
    assert_int_equal(
        call_start(&call, &client, "dozen.test", inl_listener_port(l), 9000),
        0);
    while (call.done == 0) {
        int now = count_fds();

        most = now > most ? now : most;
        rig_once(r);
    }
    assert_int_equal(call.err, 0);
    assert_int_equal(most - before, 8);
    RUN_UNTIL(r, client.gone && server.gone);
    inl_listener_close(l);
    for (unsigned i = 0; i < 11; i++) {
        hole_close(&holes[i]);
    }
}

/* --- Resolving (RFC 8305 section 3) -------------------------------------- */

/* The IPv6 answer never comes. */
static void test_one_family_does_not_wait_for_the_other(void **state)
{
    struct rig *r = *state;
    struct end client = {.rig = r, .room = 1, .to_send = 1};
    struct end server = {.room = 1};
    struct inl_listener *l = listen_at(r, "127.0.0.1:0", &server);
    struct call call;
    uint64_t began = uv_now(&r->uv);

    assert_int_equal(call_start(&call, &client, "slow6.one.test",
                                inl_listener_port(l), 9000),
                     0);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    assert_true(uv_now(&r->uv) - began >= 50);
    RUN_UNTIL(r, client.gone && server.gone);
    assert_true(r->loop.live > 0);
    inl_listener_close(l);
    drain_slow(r);
}

/* It comes when the IPv4 address is being tried, which is silent. */
static void test_late_family_joins_the_race(void **state)
{
    struct rig *r = *state;
    struct end client = {.rig = r, .room = 1, .to_send = 1};
    struct end server = {.room = 1};
    struct inl_listener *l;
    struct call call;
    struct hole h;

    if (!has_ipv6()) {
        skip();
    }
    l = listen_at(r, "[::1]:0", &server);
    hole_open_at(&h, "127.0.0.1", inl_listener_port(l));
    assert_int_equal(call_start(&call, &client, "slow6.one.six.test",
                                inl_listener_port(l), 9000),
                     0);
    rig_pass(r, 120);
    assert_string_equal(call.dial.step, "connect");
    uv_sem_post(&slow);
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    RUN_UNTIL(r, client.gone && server.gone);
    inl_listener_close(l);
    hole_close(&h);
    drain_slow(r);
}

/* A server that refuses is not hidden by a resolver that is half dead. */
static void test_refusal_does_not_wait_for_the_resolver(void **state)
{
    unsigned port;
    int fd = dead_port(&port);

    assert_true(expect_error(*state, "slow6.one.test", port, 9000,
                             INLETS_EREFUSED, "connect") < 4000);
    drain_slow(*state);
    (void)close(fd);
}

static void dial_known(struct rig *r, const char *host,
                       struct inl_dial_known *known)
{
    struct end client = {.rig = r, .room = 1, .to_send = 1};
    struct end server = {.room = 1};
    struct inl_listener *l = listen_at(r, "127.0.0.1:0", &server);
    struct call call;

    assert_int_equal(
        call_start(&call, &client, host, inl_listener_port(l), 9000), 0);
    call.dial.known = known; /* it begins at the end of the turn */
    RUN_UNTIL(r, call.done > 0);
    assert_int_equal(call.err, 0);
    RUN_UNTIL(r, client.gone && server.gone);
    inl_listener_close(l);
    assert_string_equal(known->addresses[0], "127.0.0.1");
}

/* A name was found once, and then the resolver fails, and then it is silent. */
static void test_known_addresses_are_kept(void **state)
{
    struct rig *r = *state;
    struct inl_dial_known known = {.addresses = {"127.0.0.9", "127.0.0.8"}};
    struct inl_dial_known none = {.addresses = {""}};

    dial_known(r, "one.test", &known);
    assert_string_equal(known.addresses[1], "127.0.0.9");
    assert_string_equal(known.addresses[2], "127.0.0.8");
    dial_known(r, "none.test", &known);
    assert_string_equal(known.addresses[1], "127.0.0.9");
    dial_known(r, "slow.test", &known);
    assert_true(r->loop.live > 0); /* it was not the resolver */
    drain_slow(r);
    dial_known(r, "one.test", &none);
    assert_string_equal(none.addresses[1], "");
}

/* --- Cancel -------------------------------------------------------------- */

static void cancel_twice(struct rig *r, struct call *call)
{
    inl_dial_cancel(&r->dialer, &call->dial);
    assert_null(call->dial.impl);
    inl_dial_cancel(&r->dialer, &call->dial);
    /* The caller's object may go now: nobody looks at it any more. */
    memset(call, 0xee, sizeof(*call));
}

static void test_cancel_at_once(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call call;

    assert_int_equal(call_start(&call, &end, "one.test", 80, 5000), 0);
    cancel_twice(r, &call);
    RUN_UNTIL(r, r->loop.live == 0);
    assert_null(end.link);
}

static void test_cancel_while_resolving(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call call;

    assert_int_equal(call_start(&call, &end, "slow.test", 80, 5000), 0);
    rig_once(r);
    uv_sem_wait(&slow_asked); /* on the thread: too late to cancel */
    cancel_twice(r, &call);
    rig_pass(r, 10);
    assert_true(r->loop.live > 0);
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.live == 0);
}

/* More than the pool has threads: those that wait can be cancelled. */
static void test_cancel_many_while_resolving(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call calls[12];
    int i;

    for (i = 0; i < 12; i++) {
        assert_int_equal(call_start(&calls[i], &end, "slow.test", 80, 5000), 0);
    }
    rig_once(r);
    uv_sem_wait(&slow_asked);
    for (i = 0; i < 12; i++) {
        cancel_twice(r, &calls[i]);
        uv_sem_post(&slow);
    }
    drain_slow(r);
}

static void test_cancel_while_connecting(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call call;
    struct hole h;

    hole_open(&h);
    assert_int_equal(call_start(&call, &end, "127.0.0.1", h.port, 5000), 0);
    rig_pass(r, 30);
    assert_string_equal(call.dial.step, "connect");
    cancel_twice(r, &call);
    RUN_UNTIL(r, r->loop.live == 0);
    hole_close(&h);
}

static void test_cancel_while_racing(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct hole one, two;
    struct call call;

    hole_open(&one);
    hole_open_at(&two, "127.0.0.2", one.port);
    assert_int_equal(call_start(&call, &end, "one.two.test", one.port, 5000),
                     0);
    rig_pass(r, 320);
    cancel_twice(r, &call);
    RUN_UNTIL(r, r->loop.live == 0);
    hole_close(&one);
    hole_close(&two);
}

/* The connection is there, but its event was not handled yet. */
static void test_cancel_when_connected(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1};
    struct end end = {.rig = r};
    struct inl_listener *l = listen_at(r, "127.0.0.1:0", &server);
    struct call call;

    assert_int_equal(
        call_start(&call, &end, "127.0.0.1", inl_listener_port(l), 5000), 0);
    inl_env_settle(&r->loop.env); /* connects */
    (void)usleep(1000);
    cancel_twice(r, &call);
    RUN_UNTIL(r, server.gone);
    inl_listener_close(l);
    assert_null(end.link);
}

/* done starts the next attempt with the same object, then cancels it. */
struct again {
    struct inl_dial dial; /* first */
    struct rig *rig;
    int left;
};

static void dial_again(struct inl_dial *dial, int err, struct inl_link *link)
{
    struct again *a = (struct again *)dial;

    assert_int_equal(err, INLETS_EREFUSED);
    assert_null(link);
    if (a->left-- > 0) {
        assert_int_equal(inl_dial_start(&a->rig->dialer, dial), 0);
        if (a->left == 0) {
            inl_dial_cancel(&a->rig->dialer, dial);
        }
    }
}

static void test_dial_again_from_done(void **state)
{
    struct rig *r = *state;
    struct again a = {.rig = r, .left = 3};
    unsigned port;
    int fd = dead_port(&port);

    inl_loop_enter(&r->loop);
    a.dial = (struct inl_dial){.host = "127.0.0.1",
                               .port = port,
                               .due_ms = r->loop.env.now_ms + 5000,
                               .done = dial_again};
    assert_int_equal(inl_dial_start(&r->dialer, &a.dial), 0);
    RUN_UNTIL(r, a.left == 0);
    assert_null(a.dial.impl);
    RUN_UNTIL(r, r->loop.live == 0);
    (void)close(fd);
}

static void done_without_machine(struct inl_dial *dial, int err,
                                 struct inl_link *link)
{
    assert_int_equal(err, 0);
    assert_non_null(link);
    dial->port = 0;
}

static void test_link_without_machine_is_closed(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1};
    struct inl_listener *l = listen_at(r, "127.0.0.1:0", &server);
    struct inl_dial dial = {.host = "127.0.0.1",
                            .port = inl_listener_port(l),
                            .due_ms = UINT64_MAX,
                            .done = done_without_machine};

    assert_int_equal(inl_dial_start(&r->dialer, &dial), 0);
    RUN_UNTIL(r, dial.port == 0 && server.gone);
    inl_listener_close(l);
}

/* Closing from `done` itself. */
static void test_misbehaviour_in_done(void **state)
{
    struct rig *r = *state;

    for (int action = CLOSE; action < ACTIONS; action++) {
        struct end server = {.room = 100};
        struct end client = {.rig = r, .room = 100, .to_send = 5};
        struct inl_listener *l = listen_at(r, "127.0.0.1:0", &server);
        struct call call;

        client.hook = AT_FILL; /* the first thing after done */
        client.action = (enum action)action;
        assert_int_equal(
            call_start(&call, &client, "127.0.0.1", inl_listener_port(l), 5000),
            0);
        RUN_UNTIL(r, client.gone && server.gone);
        inl_listener_close(l);
    }
}

/* The loop is closed with a name in the resolver: it waits for it. */
static void test_close_loop_while_resolving(void **state)
{
    struct rig *r = *state;
    struct end end = {.rig = r};
    struct call call;

    assert_int_equal(call_start(&call, &end, "slow.test", 80, 5000), 0);
    rig_once(r);
    uv_sem_wait(&slow_asked);
    cancel_twice(r, &call);
    inl_loop_close(&r->loop, NULL, NULL);
    rig_pass(r, 20);
    assert_int_equal(r->loop.own_handles, 2);
    uv_sem_post(&slow);
    RUN_UNTIL(r, r->loop.own_handles == 0);
    assert_int_equal(inl_loop_init(&r->loop, &r->uv), 0);
}

/* --- Memory -------------------------------------------------------------- */

static void test_every_allocation_fails_once(void **state)
{
    struct rig *r = *state;
    unsigned port;
    int fd = dead_port(&port);
    bool failed = true;

    for (size_t n = 1; failed; n++) {
        struct end end = {.rig = r};
        struct call call;

        alloc_fail_nth = n;
        if (call_start(&call, &end, "one.six.test", port, 5000) == 0) {
            RUN_UNTIL(r, call.done > 0);
            assert_true(call.err == INLETS_ENOMEM ||
                        call.err == INLETS_EREFUSED ||
                        call.err == INLETS_ENETWORK);
        }
        RUN_UNTIL(r, r->loop.live == 0);
        failed = alloc_fail_nth == 0;
        alloc_fail_nth = 0;
    }
    (void)close(fd);
}

/* The same in a race: whatever fails, it ends. */
static void test_every_allocation_fails_once_in_a_race(void **state)
{
    struct rig *r = *state;
    struct hole h;
    bool failed = true;

    hole_open(&h);
    for (size_t n = 1; failed; n++) {
        struct end end = {.rig = r};
        struct call call;

        alloc_fail_nth = n;
        if (call_start(&call, &end, "one.reject.two.test", h.port, 300) == 0) {
            RUN_UNTIL(r, call.done > 0);
            assert_true(call.err == INLETS_ENOMEM ||
                        call.err == INLETS_ETIMEDOUT ||
                        call.err == INLETS_EREFUSED);
        }
        RUN_UNTIL(r, r->loop.live == 0);
        failed = alloc_fail_nth == 0;
        alloc_fail_nth = 0;
    }
    hole_close(&h);
}

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_refused_at_once),
        NET_TEST(test_bad_arguments),
        NET_TEST(test_unknown_name),
        NET_TEST(test_longest_name),
        NET_TEST(test_localhost),
        NET_TEST(test_next_address_after_refusal),
        NET_TEST(test_first_telling_error_is_reported),
        NET_TEST(test_what_stays_here_goes_nowhere_else),
        NET_TEST(test_unreachable_network),
        NET_TEST(test_deadline_while_connecting),
        NET_TEST(test_deadline_in_the_past),
        NET_TEST(test_deadline_while_resolving),
        NET_TEST(test_without_descriptors),
        NET_TEST(test_next_address_joins_a_silent_one),
        NET_TEST(test_first_address_may_win_late),
        NET_TEST(test_refusals_do_not_wait),
        NET_TEST(test_families_take_turns),
        NET_TEST(test_attempts_are_bounded),
        NET_TEST(test_one_family_does_not_wait_for_the_other),
        NET_TEST(test_late_family_joins_the_race),
        NET_TEST(test_refusal_does_not_wait_for_the_resolver),
        NET_TEST(test_known_addresses_are_kept),
        NET_TEST(test_cancel_at_once),
        NET_TEST(test_cancel_while_resolving),
        NET_TEST(test_cancel_many_while_resolving),
        NET_TEST(test_cancel_while_connecting),
        NET_TEST(test_cancel_while_racing),
        NET_TEST(test_cancel_when_connected),
        NET_TEST(test_dial_again_from_done),
        NET_TEST(test_link_without_machine_is_closed),
        NET_TEST(test_misbehaviour_in_done),
        NET_TEST(test_close_loop_while_resolving),
        NET_TEST(test_every_allocation_fails_once),
        NET_TEST(test_every_allocation_fails_once_in_a_race),
    };

    resolver_init();
    alloc_install();
    return cmocka_run_group_tests_name("net_dial", tests, NULL, NULL);
}
