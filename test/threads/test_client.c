/* test_client.c: inlets_client through its public functions, with real exit
 * nodes on one real loop: several of them, all addresses of a name, endpoints
 * that come and go.
 *
 * getaddrinfo is defined here: "exits.test" has the addresses that a test
 * says. Exit nodes are at 127.0.0.1, 127.0.0.2 and 127.0.0.3, with one port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <inlets/inlets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#define EXITS 3u
#define PATIENCE_MS 10000u

/* ---- the resolver: one bit for each address ----------------------------- */

static atomic_uint exits_known;

struct node {
    struct addrinfo info; /* first: freeaddrinfo frees it */
    struct sockaddr_in address;
};

static int our_addresses(struct addrinfo **ret)
{
    struct addrinfo **tail = ret;
    unsigned known = atomic_load(&exits_known);

    *ret = NULL;
    for (unsigned i = 0; i < EXITS; i++) {
        struct node *n = (known >> i & 1) == 0 ? NULL : calloc(1, sizeof(*n));

        if (n != NULL) {
            n->address.sin_family = AF_INET;
            n->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
            n->info.ai_family = AF_INET;
            n->info.ai_socktype = SOCK_STREAM;
            n->info.ai_addrlen = sizeof(n->address);
            n->info.ai_addr = (struct sockaddr *)&n->address;
            *tail = &n->info;
            tail = &n->info.ai_next;
        }
    }
    return *ret == NULL ? EAI_AGAIN : 0;
}

typedef int (*resolver_fn)(const char *, const char *, const struct addrinfo *,
                           struct addrinfo **);

/* The names of the parameters are of glibc's declaration. */
int getaddrinfo(const char *name, const char *service,
                const struct addrinfo *req, struct addrinfo **pai)
{
    resolver_fn real;

    if (strcmp(name, "exits.test") == 0) {
        return our_addresses(pai);
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, req, pai);
}

/* ---- the scene ----------------------------------------------------------- */

struct scene {
    uv_loop_t loop;
    uv_timer_t tick; /* so that uv_run comes back */
    struct inlets_server *exits[EXITS];
    unsigned port;
    struct inlets_client *client;
    enum inlets_client_state state;
    unsigned nready, nwaiting;
    int err;
    unsigned ncalls; /* of the handler */
    struct inlets_exchange *held;
};

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

#define RUN_UNTIL(s, condition)                                                \
    do {                                                                       \
        uint64_t due_ = uv_hrtime() / 1000000 + PATIENCE_MS;                   \
        while (!(condition)) {                                                 \
            assert_true(uv_hrtime() / 1000000 < due_);                         \
            (void)uv_run(&(s)->loop, UV_RUN_ONCE);                             \
        }                                                                      \
    } while (0)

static void open_exit(struct scene *s, unsigned i)
{
    struct inlets_server_opts opts;
    char address[32];

    inlets_server_opts_init(&opts);
    assert_int_equal(inlets_server_new(&s->exits[i], &s->loop, &opts), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.%u:%u", i + 1, s->port);
    assert_int_equal(
        inlets_server_listen(s->exits[i], address,
                             INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS),
        0);
    if (s->port == 0) {
        s->port = inlets_server_port(s->exits[i], 0);
    }
}

static void close_exit(struct scene *s, unsigned i)
{
    inlets_server_close(s->exits[i], NULL, NULL);
    s->exits[i] = NULL;
}

static void on_state(struct inlets_client *client,
                     enum inlets_client_state state, int err, void *user)
{
    struct scene *s = user;

    (void)client;
    s->state = state;
    s->err = err;
    s->nready += state == INLETS_CLIENT_READY;
    s->nwaiting += state == INLETS_CLIENT_WAITING;
}

/* What the handlers say. */
static char a[] = "a", b[] = "b", c[] = "c", u[] = "u", held[] = "held";

static void reply(struct inlets_exchange *x, const struct inlets_head *req,
                  void *user)
{
    const char *text = user;

    (void)req;
    (void)inlets_exchange_reply(x, 200, NULL,
                                (struct inlets_slice){text, strlen(text)});
}

/* Answers when told to. */
static void hold(struct inlets_exchange *x, const struct inlets_head *req,
                 void *user)
{
    struct scene *s = user;

    (void)req;
    s->ncalls++;
    s->held = x;
}

/* The same, and is withdrawn by its first request. */
static void hold_and_leave(struct inlets_exchange *x,
                           const struct inlets_head *req, void *user)
{
    struct scene *s = user;

    hold(x, req, user);
    assert_int_equal(s->ncalls, 1);
    assert_int_equal(inlets_client_withdraw(s->client, "h.test"), 0);
}

static void begin(struct scene *s, unsigned nexits)
{
    *s = (struct scene){0};
    assert_int_equal(uv_loop_init(&s->loop), 0);
    (void)uv_timer_init(&s->loop, &s->tick);
    (void)uv_timer_start(&s->tick, on_tick, 5, 5);
    for (unsigned i = 0; i < nexits; i++) {
        open_exit(s, i);
    }
}

/* urls: "127.0.0.1 127.0.0.2", or names. */
static void begin_client(struct scene *s, const char *const *hosts, size_t n,
                         bool all_addresses)
{
    struct inlets_client_opts opts;
    char text[4][64];
    const char *urls[4];

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(text[i], sizeof(text[i]), "ws://%s:%u", hosts[i],
                       s->port);
        urls[i] = text[i];
    }
    inlets_client_opts_init(&opts);
    opts.urls = urls;
    opts.nurls = n;
    opts.insecure = 1;
    opts.all_addresses = all_addresses;
    opts.on_state = on_state;
    opts.user = s;
    assert_int_equal(inlets_client_new(&s->client, &s->loop, &opts), 0);
    assert_int_equal(
        inlets_client_expose_handler(s->client, "a.test", reply, a), 0);
    assert_int_equal(inlets_client_start(s->client), 0);
}

static void finish(struct scene *s)
{
    inlets_client_close(s->client, NULL, NULL);
    for (unsigned i = 0; i < EXITS; i++) {
        inlets_server_close(s->exits[i], NULL, NULL);
    }
    uv_close((uv_handle_t *)&s->tick, NULL);
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

/* ---- visitors -------------------------------------------------------------
 */

struct visit {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    char request[128];
    char got[2048];
    size_t len;
    bool over, closed;
};

static void visit_closed(uv_handle_t *handle)
{
    ((struct visit *)handle->data)->closed = true;
}

static void visit_alloc(uv_handle_t *handle, size_t wish, uv_buf_t *buf)
{
    struct visit *v = handle->data;

    (void)wish;
    *buf =
        uv_buf_init(v->got + v->len, (unsigned)(sizeof(v->got) - 1 - v->len));
}

static void visit_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct visit *v = stream->data;

    (void)buf;
    if (n < 0) {
        v->over = true;
        uv_close((uv_handle_t *)stream, visit_closed);
    } else {
        v->len += (size_t)n;
    }
}

static void visit_connected(uv_connect_t *req, int status)
{
    struct visit *v = req->data;
    uv_buf_t buf = uv_buf_init(v->request, (unsigned)strlen(v->request));

    assert_int_equal(status, 0);
    assert_int_equal(uv_write(&v->write, (uv_stream_t *)&v->tcp, &buf, 1, NULL),
                     0);
    assert_int_equal(
        uv_read_start((uv_stream_t *)&v->tcp, visit_alloc, visit_read), 0);
}

static void visit(struct scene *s, struct visit *v, unsigned exit,
                  const char *host)
{
    struct sockaddr_in to;
    char ip[16];

    *v = (struct visit){0};
    (void)snprintf(v->request, sizeof(v->request),
                   "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                   host);
    (void)snprintf(ip, sizeof(ip), "127.0.0.%u", exit + 1);
    assert_int_equal(uv_ip4_addr(ip, (int)s->port, &to), 0);
    assert_int_equal(uv_tcp_init(&s->loop, &v->tcp), 0);
    v->tcp.data = v->connect.data = v;
    assert_int_equal(uv_tcp_connect(&v->connect, &v->tcp,
                                    (const struct sockaddr *)&to,
                                    visit_connected),
                     0);
}

static int status_of(const struct visit *v)
{
    return v->len > 12 ? atoi(v->got + 9) : 0;
}

/* The status, and the body behind it if `body` is wanted there. */
static int get(struct scene *s, unsigned exit, const char *host,
               const char *body)
{
    struct visit v;
    const char *behind;

    visit(s, &v, exit, host);
    RUN_UNTIL(s, v.closed);
    behind = strstr(v.got, "\r\n\r\n");
    if (body != NULL && status_of(&v) == 200) {
        assert_non_null(behind);
        assert_string_equal(behind + 4, body);
    }
    return status_of(&v);
}

static void wait_status(struct scene *s, unsigned exit, const char *host,
                        int status)
{
    RUN_UNTIL(s, get(s, exit, host, NULL) == status);
}

/* ---- several exit nodes ----------------------------------------------------
 */

static const char *const both[] = {"127.0.0.1", "127.0.0.2"};

/* Ready with the first; what happens to one is not told while another is. */
static void serves_through_all(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 2);
    begin_client(&s, both, 2, false);
    wait_status(&s, 0, "a.test", 200);
    wait_status(&s, 1, "a.test", 200);
    assert_int_equal(s.state, INLETS_CLIENT_READY);
    close_exit(&s, 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(get(&s, 1, "a.test", "a"), 200);
    }
    assert_int_equal(s.nready, 1);
    assert_int_equal(s.nwaiting, 0);
    open_exit(&s, 0);
    wait_status(&s, 0, "a.test", 200);
    assert_int_equal(s.nready, 1);
    close_exit(&s, 0);
    close_exit(&s, 1);
    RUN_UNTIL(&s, s.nwaiting > 0);
    finish(&s);
}

static void drains_all(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 2);
    begin_client(&s, both, 2, false);
    wait_status(&s, 0, "a.test", 200);
    wait_status(&s, 1, "a.test", 200);
    inlets_client_drain(s.client);
    RUN_UNTIL(&s, s.state == INLETS_CLIENT_STOPPED);
    assert_int_equal(s.err, 0);
    assert_int_equal(get(&s, 0, "a.test", NULL), 503);
    assert_int_equal(inlets_client_withdraw(s.client, "a.test"), INLETS_EINVAL);
    finish(&s);
}

/* A name whose addresses change, and one that cannot be resolved for a while:
 * what is lost makes it ask again. */
static void follows_all_addresses(void **state)
{
    static const char *const name[] = {"exits.test"};
    struct scene s;

    (void)state;
    begin(&s, 3);
    atomic_store(&exits_known, 0);
    begin_client(&s, name, 1, true);
    RUN_UNTIL(&s, s.nwaiting == 1);
    assert_int_equal(s.err, INLETS_EDNS);
    atomic_store(&exits_known, 3); /* the first and the second */
    wait_status(&s, 0, "a.test", 200);
    wait_status(&s, 1, "a.test", 200);
    assert_int_equal(get(&s, 2, "a.test", NULL), 503);
    /* The second dies and the third comes; the first is not in it any more,
     * but well. */
    atomic_store(&exits_known, 4);
    close_exit(&s, 1);
    wait_status(&s, 2, "a.test", 200);
    wait_status(&s, 0, "a.test", 503);
    assert_int_equal(s.nready, 1);
    /* The resolver fails: nothing is changed by that. */
    atomic_store(&exits_known, 0);
    close_exit(&s, 2);
    RUN_UNTIL(&s, s.nwaiting == 2);
    open_exit(&s, 2);
    wait_status(&s, 2, "a.test", 200);
    finish(&s);
}

static void many_are_refused_together(void **state)
{
    struct inlets_client_opts opts;
    const char *urls[] = {"ws://127.0.0.1:1", "ftp://127.0.0.2:1"};
    struct inlets_client *client = NULL;
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    inlets_client_opts_init(&opts);
    assert_int_equal(inlets_client_new(&client, &loop, &opts), INLETS_EINVAL);
    opts.urls = urls;
    opts.nurls = 2;
    assert_int_equal(inlets_client_new(&client, &loop, &opts), INLETS_EINVAL);
    assert_int_equal(inlets_client_check_url(urls[0], 0), 0);
    assert_int_equal(inlets_client_check_url(urls[1], 0), INLETS_EINVAL);
    assert_int_equal(inlets_client_check_url("wss://192.0.2.1", 0), 0);
    assert_int_equal(inlets_client_check_url("ws://192.0.2.1", 0),
                     INLETS_EINSECURE);
    opts.nurls = 1;
    opts.connections = 9;
    assert_int_equal(inlets_client_new(&client, &loop, &opts), INLETS_EINVAL);
    assert_null(client);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- endpoints that come and go ---------------------------------------------
 */

static void refuses_authorities(struct scene *s)
{
    struct inlets_made_certificate made;
    struct inlets_upstream_opts opts;

    inlets_upstream_opts_init(&opts);
    assert_null(opts.ca);
    assert_int_equal(inlets_certificate_make("x", &made), 0);
    assert_int_equal(inlets_client_check_ca(made.authority), 0);
    assert_int_equal(inlets_client_check_ca("garbage"), INLETS_EINVAL);
    assert_int_equal(inlets_client_check_ca(NULL), INLETS_EINVAL);
    opts.ca = "garbage";
    assert_int_equal(
        inlets_client_expose_upstream(s->client, "d.test", "https://x", &opts),
        INLETS_EINVAL);
    opts.ca = made.authority;
    assert_int_equal(
        inlets_client_expose_upstream(s->client, "d.test", "http://x", &opts),
        INLETS_EINVAL);
    assert_int_equal(inlets_client_expose_upstream(
                         s->client, "d.test", "https://x#skip-verify", &opts),
                     INLETS_EINVAL);
    assert_int_equal(
        inlets_client_replace_upstream(s->client, "d.test", "https://x", &opts),
        INLETS_ENOROUTE);
    assert_int_equal(
        inlets_client_expose_upstream(s->client, "d.test", "https://x", &opts),
        0);
    assert_int_equal(
        inlets_client_replace_upstream(s->client, "d.test", "https://y", &opts),
        0);
    inlets_made_certificate_fini(&made);
}

static void refuses_paths(void)
{
    char longest[] = "unix:/"
                     "0123456789012345678901234567890123456789012345678901234"
                     "567890123456789012345678901234567890123456789012345x";

    assert_int_equal(inlets_client_check_upstream("", "unix:/run/a"), 0);
    assert_int_equal(inlets_client_check_upstream("", "UNIX:/run/a"), 0);
    assert_int_equal(inlets_client_check_upstream("", "unix:"), INLETS_EINVAL);
    assert_int_equal(inlets_client_check_upstream("", "unix:a"), INLETS_EINVAL);
    assert_int_equal(inlets_client_check_upstream("", "unix:/a?b"),
                     INLETS_EINVAL);
    assert_int_equal(inlets_client_check_upstream("", "unix:/a#b"),
                     INLETS_EINVAL);
    assert_int_equal(strlen(longest), 5 + 108);
    assert_int_equal(inlets_client_check_upstream("", longest), INLETS_EINVAL);
    longest[5 + 107] = '\0';
    assert_int_equal(inlets_client_check_upstream("", longest), 0);
}

static void endpoints_come_and_go(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, 2);
    begin_client(&s, both, 2, false);
    wait_status(&s, 0, "a.test", 200);
    wait_status(&s, 1, "a.test", 200);
    assert_int_equal(inlets_client_expose_handler(s.client, "b.test", reply, b),
                     0);
    wait_status(&s, 0, "b.test", 200);
    wait_status(&s, 1, "b.test", 200);
    assert_int_equal(inlets_client_expose_handler(s.client, "B.test", reply, b),
                     INLETS_ECONFLICT);
    assert_int_equal(inlets_client_withdraw(s.client, "c.test"),
                     INLETS_ENOROUTE);
    assert_int_equal(inlets_client_replace_url(s.client, "c.test", "x:1"),
                     INLETS_ENOROUTE);
    assert_int_equal(inlets_client_expose_url(s.client, "c.test", "ftp://x"),
                     INLETS_EINVAL);
    assert_int_equal(
        inlets_client_expose_url(s.client, "c.test", "https://x#sha256:1"),
        INLETS_EINVAL);
    refuses_authorities(&s);
    refuses_paths();
    assert_int_equal(inlets_client_withdraw(s.client, "b.test"), 0);
    assert_int_equal(inlets_client_withdraw(s.client, "b.test"),
                     INLETS_ENOROUTE);
    wait_status(&s, 0, "b.test", 503);
    wait_status(&s, 1, "b.test", 503);
    /* A new session has what is there now, and nothing else. */
    assert_int_equal(inlets_client_expose_handler(s.client, "c.test", reply, c),
                     0);
    close_exit(&s, 0);
    open_exit(&s, 0);
    wait_status(&s, 0, "c.test", 200);
    assert_int_equal(get(&s, 0, "a.test", "a"), 200);
    assert_int_equal(get(&s, 0, "b.test", NULL), 503);
    assert_int_equal(s.nready, 1);
    finish(&s);
}

/* The handler's exchange goes on behind withdraw; it is not called again,
 * even for a request that came with the first. */
static void handler_withdrawn_while_it_works(void **state)
{
    struct visit visits[2];
    struct visit *first = &visits[0], *late = &visits[1];
    struct scene s;

    (void)state;
    begin(&s, 1);
    begin_client(&s, both, 1, false);
    wait_status(&s, 0, "a.test", 200);
    assert_int_equal(
        inlets_client_expose_handler(s.client, "h.test", hold_and_leave, &s),
        0);
    assert_int_equal(inlets_client_expose_handler(s.client, "b.test", reply, b),
                     0);
    wait_status(&s, 0, "b.test", 200); /* so it has heard of both */
    visit(&s, &visits[0], 0, "h.test");
    visit(&s, &visits[1], 0, "h.test");
    RUN_UNTIL(&s, visits[0].closed || visits[1].closed);
    if (visits[0].closed) {
        first = &visits[1];
        late = &visits[0];
    }
    assert_true(status_of(late) >= 500);
    assert_int_equal(s.ncalls, 1);
    assert_false(first->over);
    reply(s.held, NULL, held);
    RUN_UNTIL(&s, first->closed);
    assert_int_equal(status_of(first), 200);
    assert_non_null(strstr(first->got, "\r\n\r\nheld"));
    finish(&s);
}

/* Closed while an endpoint is leaving and its handler works. */
static void closed_while_endpoints_leave(void **state)
{
    struct visit first;
    struct scene s;

    (void)state;
    begin(&s, 1);
    begin_client(&s, both, 1, false);
    wait_status(&s, 0, "a.test", 200);
    assert_int_equal(inlets_client_expose_handler(s.client, "h.test", hold, &s),
                     0);
    assert_int_equal(
        inlets_client_expose_url(s.client, "u.test", "127.0.0.1:1"), 0);
    assert_int_equal(
        inlets_client_replace_url(s.client, "u.test", "127.0.0.1:2"), 0);
    do {
        visit(&s, &first, 0, "h.test");
        RUN_UNTIL(&s, first.closed || s.ncalls == 1);
    } while (s.ncalls == 0);
    assert_int_equal(inlets_client_withdraw(s.client, "h.test"), 0);
    assert_int_equal(inlets_client_withdraw(s.client, "u.test"), 0);
    assert_int_equal(inlets_client_expose_handler(s.client, "u.test", reply, u),
                     0);
    wait_status(&s, 0, "u.test", 200);
    inlets_client_close(s.client, NULL, NULL);
    s.client = NULL;
    RUN_UNTIL(&s, first.closed);
    assert_true(status_of(&first) >= 500);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_through_all),
        cmocka_unit_test(drains_all),
        cmocka_unit_test(follows_all_addresses),
        cmocka_unit_test(many_are_refused_together),
        cmocka_unit_test(endpoints_come_and_go),
        cmocka_unit_test(handler_withdrawn_while_it_works),
        cmocka_unit_test(closed_while_endpoints_leave),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
