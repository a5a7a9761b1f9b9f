/* test_threads.c: two servers and three clients on two loops in two threads of
 * one process, with visitors in a third. Nothing is shared but the allocator
 * hooks and what libuv and PSA have; ThreadSanitizer watches. In the end each
 * loop closes cleanly and no descriptor is left.
 *
 *   thread A: server 0, client 1 (to server 1)
 *   thread B: server 1, client 0 and 2 (to server 0)
 *
 * So both tunnels cross the threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <inlets/inlets.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

#define REQUESTS 40
#define BODY_BYTES (300 * 1024) /* more than one flow window */

struct half {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct inlets_server *server;
    struct inlets_client *clients[2];
    unsigned nclients;
    unsigned peer_port; /* of the other half's server */
    const char *hosts[2];
    int closed; /* uv_loop_close's answer */
};

static pthread_barrier_t servers_are_up;
static struct half halves[2] = {
    {.nclients = 1, .hosts = {"one.test"}},
    {.nclients = 2, .hosts = {"two.test", "two.test"}},
};
static unsigned ports[2];

/* Answers with as many bytes as the request's path says. */
struct answer {
    struct inlets_exchange *x;
    size_t left;
};

static void write_more(struct inlets_exchange *x, void *user)
{
    static const char zeros[16384];
    struct answer *a = user;

    while (a->left > 0) {
        size_t n = a->left < sizeof(zeros) ? a->left : sizeof(zeros);
        int64_t sent =
            inlets_exchange_write(x, (struct inlets_slice){zeros, n});

        if (sent <= 0) {
            return;
        }
        a->left -= (size_t)sent;
    }
    (void)inlets_exchange_end(x, NULL);
}

static void over(struct inlets_exchange *x, int err, void *user)
{
    (void)x;
    (void)err;
    free(user);
}

static void handle(struct inlets_exchange *x, const struct inlets_head *req,
                   void *user)
{
    const struct inlets_exchange_callbacks callbacks = {
        .on_writable = write_more, .on_close = over};
    const struct inlets_head head = {.status = 200,
                                     .content_length = BODY_BYTES};
    struct answer *a = calloc(1, sizeof(*a));

    (void)req;
    (void)user;
    if (a == NULL || inlets_exchange_respond(x, &head) != 0) {
        free(a);
        inlets_exchange_abort(x);
        return;
    }
    a->x = x;
    a->left = BODY_BYTES;
    inlets_exchange_set_callbacks(x, &callbacks, a);
    write_more(x, a);
}

static void on_stop(uv_async_t *async)
{
    struct half *h = async->data;

    for (unsigned i = 0; i < h->nclients; i++) {
        inlets_client_close(h->clients[i], NULL, NULL);
    }
    inlets_server_close(h->server, NULL, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static void make_server(struct half *h)
{
    struct inlets_server_opts opts;

    inlets_server_opts_init(&opts);
    opts.token = "between threads";
    assert_int_equal(inlets_server_new(&h->server, &h->loop, &opts), 0);
    assert_int_equal(
        inlets_server_listen(h->server, "127.0.0.1:0",
                             INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS),
        0);
    __atomic_store_n(&ports[h - halves], inlets_server_port(h->server, 0),
                     __ATOMIC_RELEASE);
}

static void make_client(struct half *h, unsigned i)
{
    struct inlets_client_opts opts;
    char url[64];

    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u",
                   ports[1 - (h - halves)]);
    inlets_client_opts_init(&opts);
    opts.url = url;
    opts.token = "between threads";
    assert_int_equal(inlets_client_new(&h->clients[i], &h->loop, &opts), 0);
    assert_int_equal(inlets_client_expose_handler(h->clients[i], h->hosts[i],
                                                  handle, NULL),
                     0);
    assert_int_equal(inlets_client_start(h->clients[i]), 0);
}

static void *run_half(void *arg)
{
    struct half *h = arg;

    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_int_equal(uv_async_init(&h->loop, &h->stop, on_stop), 0);
    h->stop.data = h;
    make_server(h);
    (void)pthread_barrier_wait(&servers_are_up);
    for (unsigned i = 0; i < h->nclients; i++) {
        make_client(h, i);
    }
    (void)pthread_barrier_wait(&servers_are_up); /* `stop` may be used */
    (void)uv_run(&h->loop, UV_RUN_DEFAULT);
    h->closed = uv_loop_close(&h->loop);
    return NULL;
}

/* One request on a connection of its own; the status, and the body's length. */
static int visit(unsigned port, const char *host, size_t *ret_bytes)
{
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char buf[65536];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int status = 0;
    size_t all = 0;
    ssize_t n;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    n = snprintf(buf, sizeof(buf),
                 "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                 host);
    assert_int_equal(write(fd, buf, (size_t)n), n);
    while ((n = read(fd, buf, sizeof(buf) - 1)) > 0) {
        if (all == 0) {
            const char *end;

            buf[n] = '\0';
            (void)sscanf(buf, "HTTP/1.1 %d", &status);
            end = strstr(buf, "\r\n\r\n");
            assert_non_null(end);
            n -= end + 4 - buf;
        }
        all += (size_t)n;
    }
    close(fd);
    *ret_bytes = all;
    return status;
}

static void wait_until_served(unsigned port, const char *host)
{
    size_t bytes;

    for (unsigned i = 0; i < 500; i++) {
        if (visit(port, host, &bytes) == 200) {
            return;
        }
        usleep(20000);
    }
    fail_msg("%s was never served", host);
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

/* libuv keeps a pipe of its own for the process from the first loop on. */
static unsigned descriptors_with_libuv(void)
{
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    return open_descriptors();
}

static void two_loops_in_two_threads(void **state)
{
    unsigned before = descriptors_with_libuv();

    (void)state;
    assert_int_equal(pthread_barrier_init(&servers_are_up, NULL, 2), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            pthread_create(&halves[i].thread, NULL, run_half, &halves[i]), 0);
    }
    while (__atomic_load_n(&ports[0], __ATOMIC_ACQUIRE) == 0 ||
           __atomic_load_n(&ports[1], __ATOMIC_ACQUIRE) == 0) {
        usleep(1000);
    }
    wait_until_served(ports[1], "one.test");
    wait_until_served(ports[0], "two.test");
    for (unsigned i = 0; i < REQUESTS; i++) {
        size_t bytes;

        assert_int_equal(visit(ports[i % 2], i % 2 == 0 ? "two.test"
                                                        : "one.test",
                               &bytes),
                         200);
        assert_int_equal(bytes, BODY_BYTES);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(uv_async_send(&halves[i].stop), 0);
        assert_int_equal(pthread_join(halves[i].thread, NULL), 0);
        assert_int_equal(halves[i].closed, 0);
    }
    (void)pthread_barrier_destroy(&servers_are_up);
    assert_int_equal(open_descriptors(), before);
}

/* Nobody is trusted by mistake. */
static void wrong_proxies_are_refused(void **state)
{
    static const char *const wrong[] = {"10.0.0.0/33", "::1 x", "proxy.local"};
    struct inlets_server_opts opts;
    struct inlets_server *server = NULL;
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    inlets_server_opts_init(&opts);
    assert_null(opts.trusted_proxies);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        opts.trusted_proxies = wrong[i];
        assert_int_equal(inlets_server_new(&server, &loop, &opts),
                         INLETS_EINVAL);
    }
    opts.proxy_protocol = 1;
    opts.trusted_proxies = " ,";
    assert_int_equal(inlets_server_new(&server, &loop, &opts), INLETS_EINVAL);
    opts.trusted_proxies = "10.0.0.0/8 ::1";
    assert_int_equal(inlets_server_new(&server, &loop, &opts), 0);
    inlets_server_close(server, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_proxies_are_refused),
        cmocka_unit_test(two_loops_in_two_threads),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
