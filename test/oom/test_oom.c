/* Scenarios of the world with the n-th allocation failing, for every n (or
 * each k-th, where there are many): no crash, no leak, no impossible move;
 * what is answered as whole is whole; and when memory is there again, so is
 * the service. */
#include "world/suite.h"

#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs of one scenario at most; more allocations are strided. */
#define RUNS 150u

/* A chain that is not connected yet. */
struct scene {
    struct world_chain c;
    struct world_dev *second; /* started by who wants it */
    struct world_visitor *v[8];
    size_t nv;
};

static void handler(struct inlets_exchange *x, const struct inlets_head *req,
                    void *user);

static void scene_open(struct scene *s, uint64_t seed)
{
    struct world_net net = {1, 3000, 0, 20000};

    *s = (struct scene){0};
    s->c.w = world_new(seed);
    s->c.w->net = net;
    s->c.exit = world_exit_new(s->c.w);
    s->c.origin = world_origin_new(s->c.w, 8000);
    s->c.dev = world_dev_new(s->c.w);
    world_dev_upstream(s->c.dev, "app.test", 8000, "/base");
    world_dev_handler(s->c.dev, "l.test", handler, NULL);
    s->second = world_dev_new(s->c.w);
    world_dev_upstream(s->second, "app.test", 8000, "");
}

static struct world_visitor *visit(struct scene *s)
{
    return s->v[s->nv++] = world_visit(s->c.exit);
}

/* Reads the body and sends it back. */
struct echo {
    struct inlets_exchange *x;
    uint8_t kept[65536];
    size_t n;
};

static void echo_pump(struct echo *e)
{
    int64_t took = inlets_exchange_write(e->x, inl_slice(e->kept, e->n));

    if (took > 0) {
        memmove(e->kept, e->kept + took, e->n - (size_t)took);
        e->n -= (size_t)took;
    }
    if (took >= 0 && e->n == 0) {
        inlets_exchange_read(e->x, 4096);
    }
}

static void echo_body(struct inlets_exchange *x, struct inlets_slice data,
                      void *user)
{
    struct echo *e = user;

    (void)x;
    WORLD_CHECK(data.len <= sizeof(e->kept) - e->n);
    memcpy(e->kept + e->n, data.ptr, data.len);
    e->n += data.len;
    echo_pump(e);
}

static void echo_end(struct inlets_exchange *x,
                     const struct inlets_head *trailers, void *user)
{
    (void)trailers;
    (void)user;
    (void)inlets_exchange_end(x, NULL);
}

static void echo_writable(struct inlets_exchange *x, void *user)
{
    (void)x;
    echo_pump(user);
}

static void echo_close(struct inlets_exchange *x, int err, void *user)
{
    (void)x;
    (void)err;
    free(user);
}

static void handler(struct inlets_exchange *x, const struct inlets_head *req,
                    void *user)
{
    static const struct inlets_exchange_callbacks cbs = {
        echo_body, echo_end, echo_writable, echo_close};
    const struct inlets_head head = {.status = 200,
                                     .content_length = INLETS_LENGTH_UNKNOWN};
    struct echo *e = calloc(1, sizeof(*e));

    (void)req;
    (void)user;
    WORLD_CHECK(e != NULL);
    e->x = x;
    inlets_exchange_set_callbacks(x, &cbs, e);
    if (inlets_exchange_respond(x, &head) == 0) {
        inlets_exchange_read(x, 4096);
    } else {
        inlets_exchange_abort(x);
    }
}

/* ---- scenarios --------------------------------------------------------- */

static void connect_and_get(struct scene *s)
{
    struct world_visitor *v = visit(s);

    world_dev_start(s->c.dev);
    world_run(s->c.w, 200);
    world_get(v, "/len/20000");
    world_run(s->c.w, 500);
    if (!v->gone) {
        world_get(v, "/chunked/3000");
    }
    world_run(s->c.w, 500);
}

static void bodies(struct scene *s)
{
    struct world_visitor *v = visit(s), *u = visit(s);

    world_dev_start(s->c.dev);
    world_run(s->c.w, 200);
    wh_expect(&v->http, false);
    world_send(v, "POST /echo HTTP/1.1\r\nHost: app.test\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n");
    world_write_chunked(v->end, 5, 100000);
    wh_expect(&u->http, false);
    world_send(u, "POST /x HTTP/1.1\r\nHost: l.test\r\n"
                  "Content-Length: 90000\r\n\r\n");
    world_write_body(u->end, 5, 90000);
    world_run(s->c.w, 3000);
}

static void upgrade_and_trailers(struct scene *s)
{
    struct world_visitor *v = visit(s), *u = visit(s);

    world_dev_start(s->c.dev);
    world_run(s->c.w, 200);
    wh_expect(&v->http, false);
    world_send(v, "GET /upgrade HTTP/1.1\r\nHost: app.test\r\n"
                  "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                  "early");
    world_get(u, "/trailers/7");
    world_get(u, "/hints");
    world_run(s->c.w, 500);
    world_shutdown(v->end);
    world_run(s->c.w, 1000);
}

static void failover_and_cut(struct scene *s)
{
    world_dev_start(s->c.dev);
    world_dev_start(s->second);
    world_run(s->c.w, 200);
    for (unsigned i = 0; i < 4; i++) {
        world_get(visit(s), "/len/9000");
    }
    world_run(s->c.w, 2);
    if (s->c.dev->pipe != NULL) {
        world_cut(s->c.dev->pipe, WORLD_RST);
    }
    world_run(s->c.w, 2000);
    world_dev_drain(s->second);
    world_run(s->c.w, 500);
}

/* ---- the sweep --------------------------------------------------------- */

static void check_answers(const struct scene *s)
{
    for (size_t i = 0; i < s->nv; i++) {
        for (size_t k = 0; k < s->v[i]->nanswers; k++) {
            const struct world_answer *a = &s->v[i]->answers[k];

            if (a->complete && a->status == 200 && a->len > 3) {
                assert_true(a->hash == world_body_hash(5, (size_t)a->len));
            }
            if (a->complete && a->status == 200) {
                assert_true(a->len == 20000 || a->len == 3000 ||
                            a->len == 100000 || a->len == 90000 ||
                            a->len == 9000 || a->len == 3 || a->len == 5);
            }
        }
    }
}

/* Returns how many allocations the scenario made. */
static uint64_t run_failing(void (*scenario)(struct scene *), uint64_t nth,
                            uint64_t more)
{
    struct world_visitor *v;
    struct scene s;
    uint64_t before, made;

    scene_open(&s, 1);
    before = world_alloc.calls;
    world_alloc.fail_for = more;
    world_alloc.fail_at = nth == 0 ? 0 : before + nth;
    scenario(&s);
    world_alloc.fail_at = 0;
    made = world_alloc.calls - before;
    check_answers(&s);
    for (size_t i = 0; i < s.nv; i++) {
        world_visitor_free(s.v[i]);
    }
    /* memory is there again: so is everything else, soon */
    world_run(s.c.w, 40000);
    v = world_visit(s.c.exit);
    world_get(v, "/len/100");
    world_run(s.c.w, 1000);
    world_expect_answer(v, 0, 200, 100, world_body_hash(5, 100));
    world_visitor_free(v);
    world_dev_close(s.second);
    world_chain_close(&s.c);
    return made;
}

static void sweep(void (*scenario)(struct scene *))
{
    const char *only = getenv("WORLD_NTH");
    uint64_t made = run_failing(scenario, 0, 0);
    uint64_t stride = 1 + made / RUNS;

    if (only != NULL) {
        run_failing(scenario, strtoull(only, NULL, 10), 0);
        return;
    }
    for (uint64_t n = 1; n <= made; n += stride) {
        if (getenv("WORLD_SHOW") != NULL) {
            fprintf(stderr, "# %llu of %llu\n", (unsigned long long)n,
                    (unsigned long long)made);
        }
        run_failing(scenario, n, 0);
    }
    for (uint64_t n = 1; n <= made; n += 1 + made / 40) {
        run_failing(scenario, n, 1 + n % 30); /* memory is short for a while */
    }
}

static void test_connect_and_get(void **state)
{
    (void)state;
    sweep(connect_and_get);
}

static void test_bodies(void **state)
{
    (void)state;
    sweep(bodies);
}

static void test_upgrade_and_trailers(void **state)
{
    (void)state;
    sweep(upgrade_and_trailers);
}

static void test_failover_and_cut(void **state)
{
    (void)state;
    sweep(failover_and_cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_and_get),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_upgrade_and_trailers),
        cmocka_unit_test(test_failover_and_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
