/* test_net.c: loop and listener, over real loopback sockets. The carrier has
 * test_net_tcp.c, the dialer test_net_dial.c. After each test the rig checks
 * that the loop closes and that no descriptor stayed open. */
#include "net_rig.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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
        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:d]:80",
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
    };

    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
