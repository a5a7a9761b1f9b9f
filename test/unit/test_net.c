/* test_net.c: loop, listener and TCP carrier over real loopback sockets. The
 * dialer has test_net_dial.c. After each test the rig checks that the loop
 * closes and that no descriptor stayed open. */
#include "net_rig.h"

#include "base/mem.h"
#include "base/slice.h"
#include "net/tcp.h"
#include <errno.h>
#include <inlets/alloc.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

/* --- Loop ---------------------------------------------------------------- */

static void test_loop_alone(void **state)
{
    rig_pass(*state, 10); /* opens and closes */
}

struct alarm {
    struct inl_timer timer;
    struct inl_env *env;
    uint64_t due_ms, fired_ms;
    int fired;
};

static void on_alarm(struct inl_timer *timer)
{
    struct alarm *a = inl_container(timer, struct alarm, timer);

    a->fired++;
    a->fired_ms = a->env->now_ms;
}

static void alarm_set(struct alarm *a, struct inl_loop *l, uint64_t ms)
{
    inl_loop_enter(l);
    *a = (struct alarm){.env = &l->env, .due_ms = l->env.now_ms + ms};
    inl_timer_init(&a->timer, on_alarm);
    assert_int_equal(inl_timer_at(&l->env, &a->timer, a->due_ms), 0);
}

static void test_timers_fire(void **state)
{
    struct rig *r = *state;
    struct alarm late, soon, moved, off;

    (void)uv_timer_stop(&r->tick); /* only ours must wake the loop */
    alarm_set(&late, &r->loop, 60);
    alarm_set(&moved, &r->loop, 10);
    alarm_set(&off, &r->loop, 20);
    (void)uv_run(&r->uv, UV_RUN_NOWAIT); /* arms the uv timer */
    alarm_set(&soon, &r->loop, 20);      /* earlier than what is armed */
    assert_int_equal(
        inl_timer_at(&r->loop.env, &moved.timer, moved.due_ms + 30), 0);
    inl_timer_off(&r->loop.env, &off.timer);
    RUN_UNTIL(r, late.fired > 0);
    assert_int_equal(soon.fired + moved.fired + late.fired, 3);
    assert_int_equal(off.fired, 0);
    assert_true(soon.fired_ms >= soon.due_ms);
    assert_true(moved.fired_ms >= moved.due_ms + 30);
    assert_true(soon.fired_ms <= moved.fired_ms);
    assert_true(moved.fired_ms <= late.fired_ms);
    (void)uv_timer_start(&r->tick, r->tick.timer_cb, 2, 2);
}

static void test_random_is_not_constant(void **state)
{
    struct rig *r = *state;
    uint8_t a[300], b[300];

    inl_env_random(&r->loop.env, a, sizeof(a));
    inl_env_random(&r->loop.env, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_true(inl_env_random_u32(&r->loop.env) !=
                    inl_env_random_u32(&r->loop.env) ||
                inl_env_random_u32(&r->loop.env) != 0);
}

static void on_closed_frees(void *user)
{
    struct inl_loop **l = user;

    free(*l);
    *l = NULL;
}

static void test_on_closed_may_free_the_loop(void **state)
{
    struct rig *r = *state;
    struct inl_loop *l = malloc(sizeof(*l));

    assert_non_null(l);
    assert_int_equal(inl_loop_init(l, &r->uv), 0); /* two on one uv loop */
    inl_loop_close(l, on_closed_frees, &l);
    RUN_UNTIL(r, l == NULL);
}

static void test_errors_have_numbers(void **state)
{
    (void)state;
    assert_int_equal(inl_error_from_uv(0), 0);
    assert_int_equal(inl_error_from_uv(UV_ECONNRESET), INLETS_ERESET);
    assert_int_equal(inl_error_from_uv(UV_EPIPE), INLETS_ERESET);
    assert_int_equal(inl_error_from_uv(UV_ECONNREFUSED), INLETS_EREFUSED);
    assert_int_equal(inl_error_from_uv(UV_EAI_NONAME), INLETS_EDNS);
    assert_int_equal(inl_error_from_uv(UV_EHOSTUNREACH), INLETS_ENETWORK);
    assert_int_equal(inl_error_from_uv(UV_EXDEV), INLETS_EIO);
}

/* --- Listener ------------------------------------------------------------ */

static int listen_once(struct rig *r, const char *address, unsigned *ret_port,
                       bool *ret_loopback)
{
    struct inl_listener *l = NULL;
    int err = inl_listener_new(&l, &r->loop, address, end_listen, NULL);

    assert_true((err == 0) == (l != NULL));
    if (l != NULL) {
        *ret_port = inl_listener_port(l);
        *ret_loopback = inl_listener_is_loopback(l);
    }
    inl_listener_close(l);
    return err;
}

static void test_listen_addresses(void **state)
{
    static const char *const bad[] = {
        "",
        ":",
        "80",
        "localhost:80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:-1",
        "1.2.3.4:65536",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[1.2.3.4]:80",
        "1.2.3.4 :80",
        "[::1:80",
        "[]:80",
        "1.2.3:80",
        "127.0.0.1:0x50",
        "[::ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff"
        "f:ffff:ffff:ffff:ffff:ffff:ffff]:80",
    };
    struct rig *r = *state;
    unsigned port = 0;
    bool loopback = false;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(listen_once(r, bad[i], &port, &loopback),
                         INLETS_EINVAL);
    }
    assert_int_equal(listen_once(r, NULL, &port, &loopback), INLETS_EINVAL);
    assert_int_equal(listen_once(r, "127.0.0.1:0", &port, &loopback), 0);
    assert_true(port > 0 && loopback);
    assert_int_equal(listen_once(r, "0.0.0.0:0", &port, &loopback), 0);
    assert_true(port > 0 && !loopback);
    assert_int_equal(listen_once(r, ":0", &port, &loopback), 0);
    assert_true(port > 0 && !loopback);
    assert_int_equal(listen_once(r, "192.0.2.1:0", &port, &loopback),
                     INLETS_EADDRNOTAVAIL);
}

static void test_listen_twice_is_in_use(void **state)
{
    struct rig *r = *state;
    struct inl_listener *l, *second = NULL;
    char address[64];

    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, NULL), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u",
                   inl_listener_port(l));
    assert_int_equal(
        inl_listener_new(&second, &r->loop, address, end_listen, NULL),
        INLETS_EADDRINUSE);
    assert_null(second);
    inl_listener_close(l);
    inl_listener_close(l); /* twice is once, until it is freed */
    /* The port is free at once. */
    assert_int_equal(inl_listener_new(&l, &r->loop, address, end_listen, NULL),
                     0);
    inl_listener_close(l);
    inl_listener_close(NULL);
}

static void test_dual_stack_shows_ipv4_as_ipv4(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1, .keep_open = true};
    struct inl_listener *l;
    char expected[64];
    struct sockaddr_in name;
    socklen_t size = sizeof(name);
    int fd;

    assert_int_equal(inl_listener_new(&l, &r->loop, ":0", end_listen, &server),
                     0);
    fd = raw_connect(inl_listener_port(l));
    RUN_UNTIL(r, server.link != NULL);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    (void)snprintf(expected, sizeof(expected), "127.0.0.1:%u",
                   ntohs(name.sin_port));
    assert_string_equal(server.link->peer, expected);
    assert_string_equal(server.link->peer_ip, "127.0.0.1");
    assert_true(server.link->peer_is_loopback);
    end_act(&server, CLOSE);
    RUN_UNTIL(r, server.gone);
    inl_listener_close(l);
    (void)close(fd);
}

static void test_ipv6(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1};
    struct end client = {.rig = r, .room = 1};
    struct inl_listener *l;
    struct call call;
    char expected[64];

    if (inl_listener_new(&l, &r->loop, "[::1]:0", end_listen, &server) != 0) {
        print_message("# there is no IPv6 on this machine\n");
        return;
    }
    assert_true(inl_listener_is_loopback(l));
    assert_int_equal(
        call_start(&call, &client, "::1", inl_listener_port(l), 5000), 0);
    RUN_UNTIL(r, client.link != NULL || call.done > 0);
    assert_int_equal(call.err, 0);
    (void)snprintf(expected, sizeof(expected), "[::1]:%u",
                   inl_listener_port(l));
    assert_string_equal(client.link->peer, expected);
    assert_string_equal(client.link->peer_ip, "::1");
    assert_true(client.link->peer_is_loopback);
    RUN_UNTIL(r, client.gone && server.gone);
    inl_listener_close(l);
}

#define VISITORS 40

struct crowd {
    struct end ends[VISITORS];
    int count;
};

static void join_crowd(struct inl_link *link, void *user)
{
    struct crowd *c = user;

    assert_true(c->count < VISITORS);
    end_attach(&c->ends[c->count++], link);
}

/* Leaves room for a few descriptors more; returns the old limit. */
static struct rlimit limit_fds(unsigned more)
{
    struct rlimit old, now;
    int top = dup(0);

    assert_true(top >= 0);
    (void)close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    now = old;
    now.rlim_cur = (rlim_t)top + more;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return old;
}

static void test_listener_without_descriptors(void **state)
{
    struct rig *r = *state;
    static struct crowd crowd;
    struct inl_listener *l;
    struct rlimit old;
    int fds[VISITORS];
    int i;

    if (under_valgrind()) {
        return;
    }
    crowd.count = 0;
    for (i = 0; i < VISITORS; i++) {
        crowd.ends[i] = (struct end){.rig = r, .room = 1, .keep_open = true};
    }
    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", join_crowd, &crowd), 0);
    rig_once(r); /* libuv opens what it needs */
    for (i = 0; i < VISITORS; i++) {
        fds[i] = raw_connect(inl_listener_port(l));
    }
    old = limit_fds(5);
    (void)uv_timer_stop(&r->tick);
    r->turns = 0;
    rig_pass(r, 450);
    assert_in_range(crowd.count, 3, 5);
    assert_int_equal(r->warnings, 1);
    assert_in_range(r->turns, 3, 40); /* no busy loop */

    /* Nobody was turned away: as some leave, others get in. */
    inl_link_close(crowd.ends[0].link, 0);
    inl_link_close(crowd.ends[1].link, 0);
    i = crowd.count;
    RUN_UNTIL(r, crowd.count == i + 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    RUN_UNTIL(r, crowd.count == VISITORS);
    inl_listener_close(l);
    (void)uv_timer_start(&r->tick, r->tick.timer_cb, 2, 2);
    for (i = 0; i < VISITORS; i++) {
        if (crowd.ends[i].link != NULL) {
            inl_link_close(crowd.ends[i].link, 0);
        }
        (void)close(fds[i]);
    }
}

static void test_close_listener_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1};
    struct inl_listener *l;
    struct rlimit old;
    int fd;

    if (under_valgrind()) {
        return;
    }
    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, &server), 0);
    rig_once(r);
    fd = raw_connect(inl_listener_port(l));
    old = limit_fds(0);
    RUN_UNTIL(r, r->warnings > 0);
    inl_listener_close(l);
    rig_pass(r, 150);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    (void)close(fd);
}

struct quitter {
    struct rig *rig;
    struct inl_listener *listener;
    struct end *end; /* NULL: the link gets no machine */
    int links;
};

static void quit_on_link(struct inl_link *link, void *user)
{
    struct quitter *q = user;

    q->links++;
    inl_listener_close(q->listener);
    if (q->end != NULL) {
        end_attach(q->end, link);
    }
}

static void test_close_listener_from_on_link(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1};
    struct quitter q = {.rig = r, .end = &server};
    int one, two;

    assert_int_equal(inl_listener_new(&q.listener, &r->loop, "127.0.0.1:0",
                                      quit_on_link, &q),
                     0);
    one = raw_connect(inl_listener_port(q.listener));
    two = raw_connect(inl_listener_port(q.listener));
    RUN_UNTIL(r, server.link != NULL);
    (void)close(one);
    (void)close(two);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(q.links, 1);
}

static void test_link_without_machine_is_closed(void **state)
{
    struct rig *r = *state;
    struct quitter q = {.rig = r};
    char c;
    int fd;

    assert_int_equal(inl_listener_new(&q.listener, &r->loop, "127.0.0.1:0",
                                      quit_on_link, &q),
                     0);
    fd = raw_connect(inl_listener_port(q.listener));
    RUN_UNTIL(r, q.links == 1);
    rig_once(r);
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    (void)close(fd);
}

/* --- TCP ----------------------------------------------------------------- */

static void check_whole(const struct end *from, const struct end *to)
{
    assert_int_equal(from->made, from->to_send);
    assert_int_equal(to->received, from->to_send);
    assert_false(to->bad);
    assert_true(to->eof);
    assert_int_equal(to->err, 0);
    assert_int_equal(to->gone, 1);
}

static void test_nothing_but_fins(void **state)
{
    struct rig *r = *state;
    struct end client = {.room = 1}, server = {.room = 1};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

static void test_half_close(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 10, .room = 4096};
    struct end server = {.room = 4096, .keep_open = true};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, server.eof);
    rig_pass(r, 20);
    assert_int_equal(client.gone + server.gone, 0);
    server.to_send = MIB;
    server.keep_open = false;
    inl_link_wake(server.link);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

/* One byte at a time, both ways. */
static void test_tiny_room(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 3000, .room = 1};
    struct end server = {.to_send = 3000, .room = 1};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

static uint64_t big(void)
{
    return (under_valgrind() ? 3 : 32) * (uint64_t)MIB;
}

static void test_big_both_ways_with_backpressure(void **state)
{
    struct rig *r = *state;
    struct end client = {
        .to_send = big(), .room = 70000, .pause_every = 3 * MIB};
    struct end server = {
        .to_send = big() + 12345, .room = 5000, .pause_every = MIB};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
    /* What waits in our memory is bounded, however slow the peer. */
    assert_true(client.out_peak <= 2 * INL_LINK_LOW_BYTES);
    assert_true(server.out_peak <= 2 * INL_LINK_LOW_BYTES);
}

static void test_big_one_way_unthrottled(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = big(), .room = 1};
    struct end server = {.room = MIB};
    struct alarm ping;

    connect_ends(r, &client, &server);
    alarm_set(&ping, &r->loop, 1);
    r->turns = 0;
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    /* The sender does not hold the loop: others get their turn. */
    assert_true(ping.fired == 1 && r->turns > (int)(big() / MIB / 2));
}

/* Bytes that the kernel has taken and not yet sent. */
static int kernel_unsent(struct inl_link *link)
{
    struct inl_tcp *t = inl_container(link, struct inl_tcp, link);
    uv_os_fd_t fd;
    int n = -1;

    assert_int_equal(uv_fileno((uv_handle_t *)&t->tcp, &fd), 0);
    assert_int_equal(ioctl(fd, SIOCOUTQNSD, &n), 0);
    return n;
}

/* A peer that never reads: the sender stops, and holds little. */
static void test_peer_that_does_not_read(void **state)
{
    struct rig *r = *state;
    struct end server = {.rig = r, .room = 1, .to_send = UINT64_MAX};
    struct inl_listener *l;
    uint64_t made;
    int fd;

    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, &server), 0);
    fd = raw_connect(inl_listener_port(l));
    do {
        made = server.made;
        rig_pass(r, 50);
    } while (made == 0 || made != server.made);
    assert_true(server.made - server.taken <= 2 * INL_LINK_LOW_BYTES);
    assert_true(kernel_unsent(server.link) <= 512 * 1024);

    /* It resets, with a write of ours in flight. */
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    inl_listener_close(l);
}

/* Closing with a write in flight must not pull the bytes from under it. */
static void test_close_with_write_in_flight(void **state)
{
    struct rig *r = *state;

    for (int i = 0; i < 4; i++) {
        struct end client = {.to_send = UINT64_MAX, .room = 1};
        struct end server = {.to_send = 1, .keep_open = true};

        connect_ends(r, &client, &server);
        rig_pass(r, 30);
        end_act(&client, i % 2 == 0 ? CLOSE : RESET);
        if (i / 2 == 0) {
            rig_once(r);
        }
        end_act(&server, CLOSE);
        RUN_UNTIL(r, client.gone && server.gone);
        assert_int_equal(client.err, INLETS_ECANCELED);
    }
}

/* The same between two callbacks of one poll: the reader, whose event came
 * first, closes the writer, whose socket is writable again. */
static void test_close_with_write_pending_in_this_poll(void **state)
{
    struct rig *r = *state;

    for (int i = 0; i < 8; i++) {
        struct end client = {.to_send = UINT64_MAX, .room = 1};
        struct end server = {.to_send = 1, .room = MIB, .keep_open = true};

        connect_ends(r, &client, &server);
        server.paused = true;
        rig_pass(r, 20);
        server.victim = &client;
        server.hook = AT_RX;
        server.action = i % 2 == 0 ? CLOSE : RESET;
        server.misbehave_after = (uint64_t)i * MIB / 4;
        server.paused = false;
        inl_link_wake(server.link);
        RUN_UNTIL(r, client.gone);
        server.hook = NOWHERE;
        end_act(&server, CLOSE);
        RUN_UNTIL(r, server.gone);
        assert_int_equal(client.err, INLETS_ECANCELED);
    }
}

/* --- Peers that leave ---------------------------------------------------- */

/* A raw peer at a server end that has been given its link. */
static int raw_peer(struct rig *r, struct end *server)
{
    struct inl_listener *l;
    int fd;

    server->rig = r;
    assert_int_equal(
        inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, server), 0);
    fd = raw_connect(inl_listener_port(l));
    RUN_UNTIL(r, server->link != NULL);
    inl_listener_close(l);
    return fd;
}

static void test_reset_while_reading(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    rig_pass(r, 10);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    assert_false(server.eof);
}

static void test_reset_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0, .keep_open = true};
    int fd = raw_peer(r, &server);
    uint64_t begin;

    assert_int_equal(send(fd, "data", 4, 0), 4);
    rig_pass(r, 10);
    assert_false(server.link->carrier->peer_left(server.link));
    begin = uv_now(&r->uv);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
    assert_int_equal(server.received, 0);
    assert_true(uv_now(&r->uv) - begin < 3000);
}

static void test_reset_after_eof(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    RUN_UNTIL(r, server.eof);
    raw_reset(fd);
    RUN_UNTIL(r, server.gone);
    assert_int_equal(server.err, INLETS_ERESET);
}

/* A FIN behind bytes that we do not read yet is no reason to lose them. */
static void test_fin_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0, .keep_open = true};
    struct end client = {.to_send = 5, .room = 1};

    connect_ends(r, &client, &server);
    rig_pass(r, 1500);
    assert_int_equal(server.gone, 0);
    assert_true(server.link->carrier->peer_left(server.link));
    server.room = 2;
    server.keep_open = false;
    inl_link_wake(server.link);
    RUN_UNTIL(r, client.gone && server.gone);
    check_whole(&client, &server);
    check_whole(&server, &client);
}

/* After both FINs the kernel's state is the same as after a reset. */
static void test_both_fins_while_paused(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 0};
    struct end client = {.to_send = 5000, .room = 100};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone);
    rig_pass(r, 1500);
    assert_int_equal(server.gone, 0);
    assert_true(server.link->carrier->peer_left(server.link));
    server.room = 100;
    inl_link_wake(server.link);
    RUN_UNTIL(r, server.gone);
    check_whole(&client, &server);
}

/* What the raw peer reads last: 0 after a FIN, -1 with errno otherwise. */
static int raw_end(int fd)
{
    char buf[4096];
    ssize_t n;

    do {
        n = recv(fd, buf, sizeof(buf), 0);
    } while (n > 0);
    return (int)n;
}

static void test_close_sends_fin_and_reset_rst(void **state)
{
    static const enum action before[] = {NOTHING, SHUTDOWN};
    struct rig *r = *state;

    for (size_t i = 0; i < 2; i++) {
        for (int wait = 0; wait < 2; wait++) {
            struct end server = {.room = 1, .keep_open = true};
            int fd = raw_peer(r, &server);

            end_act(&server, before[i]);
            for (int turn = 0; turn < wait * 10; turn++) {
                rig_once(r);
            }
            end_act(&server, RESET);
            RUN_UNTIL(r, server.gone);
            rig_once(r);
            if (before[i] == NOTHING) {
                assert_int_equal(raw_end(fd), -1);
                assert_int_equal(errno, ECONNRESET);
            } else if (wait == 1) {
                /* The FIN came first; the RST is seen by a write. */
                assert_int_equal(raw_end(fd), 0);
                assert_int_equal(send(fd, "x", 1, 0), -1);
            }
            (void)close(fd);
        }
    }
}

static void test_close_lets_the_peer_see_a_clean_end(void **state)
{
    struct rig *r = *state;
    struct end server = {.room = 1, .keep_open = true};
    int fd = raw_peer(r, &server);

    end_act(&server, CLOSE);
    RUN_UNTIL(r, server.gone);
    rig_once(r);
    assert_int_equal(raw_end(fd), 0);
    (void)close(fd);
}

/* linger: a peer that goes on sending still reads our last words. */
static void test_linger_discards(void **state)
{
    struct rig *r = *state;
    struct end client = {.to_send = 4 * MIB, .room = 100};
    struct end server = {.to_send = 100, .room = 100};

    connect_ends(r, &client, &server);
    RUN_UNTIL(r, server.made == 100);
    end_act(&server, LINGER);
    RUN_UNTIL(r, client.gone && server.gone);
    assert_int_equal(client.received, 100);
    assert_int_equal(client.err, 0);
    assert_int_equal(client.made, 4 * MIB);
}

/* --- Hostile callbacks --------------------------------------------------- */

static void hostile(struct rig *r, enum hook hook, enum action action,
                    bool both)
{
    struct end client = {
        .to_send = 300000, .room = 9000, .hook = hook, .action = action};
    struct end server = {.to_send = 200000, .room = 8000};

    if (both) {
        server.hook = hook;
        server.action = action;
    }
    connect_ends(r, &client, &server);
    RUN_UNTIL(r, client.gone && server.gone);
    assert_int_equal(client.gone, 1);
    assert_int_equal(server.gone, 1);
    assert_false(client.bad || server.bad);
}

static void test_misbehaviour_in_every_callback(void **state)
{
    for (int hook = AT_RX; hook <= AT_GONE; hook++) {
        for (int action = CLOSE; action < ACTIONS; action++) {
            hostile(*state, (enum hook)hook, (enum action)action, false);
            hostile(*state, (enum hook)hook, (enum action)action, true);
        }
    }
}

/* The loop is closed while connections are at work: they end first. */
static void test_close_loop_with_live_links(void **state)
{
    struct rig *r = *state;
    static struct end client, server;

    client = (struct end){.to_send = UINT64_MAX, .room = 1000};
    server = (struct end){.to_send = UINT64_MAX, .room = 1000};
    connect_ends(r, &client, &server);
    rig_pass(r, 20);
    inl_loop_close(&r->loop, NULL, NULL);
    rig_pass(r, 20);
    assert_int_equal(client.gone + server.gone, 0);
    end_act(&client, CLOSE);
    end_act(&server, RESET);
    RUN_UNTIL(r, r->loop.own_handles == 0);
    assert_int_equal(client.gone + server.gone, 2);
    /* For the rig's own teardown. */
    assert_int_equal(inl_loop_init(&r->loop, &r->uv), 0);
}

/* --- Memory -------------------------------------------------------------- */

static long fail_at; /* the n-th allocation; 0: none */

static bool fails(void)
{
    return fail_at > 0 && --fail_at == 0;
}

static void *bad_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *bad_calloc(size_t count, size_t size)
{
    return fails() ? NULL : calloc(count, size);
}

static void *bad_realloc(void *ptr, size_t size)
{
    return fails() ? NULL : realloc(ptr, size);
}

static const struct inlets_allocator bad_allocator = {bad_malloc, bad_calloc,
                                                      bad_realloc, free};

/* Connects, sends both ways. Every step may fail, nothing may leak. */
static void whole_life(struct rig *r)
{
    struct end client = {.rig = r, .to_send = 300000, .room = 9000};
    struct end server = {.rig = r, .to_send = 200000, .room = 8000};
    struct inl_listener *l;
    struct call call;

    if (inl_listener_new(&l, &r->loop, "127.0.0.1:0", end_listen, &server) !=
        0) {
        return;
    }
    if (call_start(&call, &client, "127.0.0.1", inl_listener_port(l), 5000) ==
        0) {
        RUN_UNTIL(r, call.done > 0);
        RUN_UNTIL(r, call.err != 0 || client.gone);
        RUN_UNTIL(r, server.link == NULL);
    }
    inl_listener_close(l);
}

static void test_every_allocation_fails_once(void **state)
{
    struct rig r;
    long n;
    bool failed = true;

    (void)state;
    for (n = 1; failed; n++) {
        fail_at = n;
        if (rig_start(&r) == 0) {
            whole_life(&r);
            failed = fail_at == 0;
            fail_at = 0;
            rig_stop(&r);
        }
    }
    assert_true(n > 5);
}

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_loop_alone),
        NET_TEST(test_timers_fire),
        NET_TEST(test_random_is_not_constant),
        NET_TEST(test_on_closed_may_free_the_loop),
        NET_TEST(test_errors_have_numbers),
        NET_TEST(test_listen_addresses),
        NET_TEST(test_listen_twice_is_in_use),
        NET_TEST(test_dual_stack_shows_ipv4_as_ipv4),
        NET_TEST(test_ipv6),
        NET_TEST(test_listener_without_descriptors),
        NET_TEST(test_close_listener_while_paused),
        NET_TEST(test_close_listener_from_on_link),
        NET_TEST(test_link_without_machine_is_closed),
        NET_TEST(test_nothing_but_fins),
        NET_TEST(test_half_close),
        NET_TEST(test_tiny_room),
        NET_TEST(test_big_both_ways_with_backpressure),
        NET_TEST(test_big_one_way_unthrottled),
        NET_TEST(test_peer_that_does_not_read),
        NET_TEST(test_close_with_write_in_flight),
        NET_TEST(test_close_with_write_pending_in_this_poll),
        NET_TEST(test_reset_while_reading),
        NET_TEST(test_reset_while_paused),
        NET_TEST(test_reset_after_eof),
        NET_TEST(test_fin_while_paused),
        NET_TEST(test_both_fins_while_paused),
        NET_TEST(test_close_sends_fin_and_reset_rst),
        NET_TEST(test_close_lets_the_peer_see_a_clean_end),
        NET_TEST(test_linger_discards),
        NET_TEST(test_misbehaviour_in_every_callback),
        NET_TEST(test_close_loop_with_live_links),
        cmocka_unit_test(test_every_allocation_fails_once),
    };

    if (inl_set_allocator(&bad_allocator) != 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
