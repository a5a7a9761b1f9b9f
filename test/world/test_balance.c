/* test_balance.c: two clients for one host: who gets a request, who is left
 * out, what is taken elsewhere, and what never is. */
#include "world/suite.h"

#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG 7u

struct duo {
    struct world *w;
    struct world_exit *exit;
    struct world_dev *dev[2];
    struct world_origin *origin[2];
    unsigned ejected, back, moved; /* lines of the log */
    inlets_log_fn log;
    void *log_user;
};

static void on_log(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct duo *d = user;

    d->ejected += strcmp(event, "target ejected") == 0;
    d->back += strcmp(event, "target back") == 0;
    d->moved += strcmp(event, "request moved") == 0;
    d->log(level, event, fields, nfields, d->log_user);
}

static void duo_open(struct duo *d, uint64_t seed)
{
    *d = (struct duo){.w = world_new(seed)};
    d->log = d->w->env.log;
    d->log_user = d->w->env.log_user;
    d->w->env.log = on_log;
    d->w->env.log_user = d;
    d->exit = world_exit_new(d->w);
    for (unsigned i = 0; i < 2; i++) {
        d->origin[i] = world_origin_new(d->w, 8000 + i);
        d->dev[i] = world_dev_new(d->w);
        world_dev_upstream(d->dev[i], "app.test", 8000 + i, "");
        world_dev_start(d->dev[i]);
        world_run(d->w, 200); /* the first one is first in turn */
    }
    assert_int_equal(world_exit_ntunnels(d->exit), 2);
}

static void duo_close(struct duo *d)
{
    world_dev_close(d->dev[0]);
    world_dev_close(d->dev[1]);
    world_exit_close(d->exit);
    world_origin_free(d->origin[0]);
    world_origin_free(d->origin[1]);
    world_free(d->w);
}

static unsigned served(const struct duo *d)
{
    return d->origin[0]->nrequests + d->origin[1]->nrequests;
}

/* One request on a connection of its own; its status. */
static unsigned status_of(struct duo *d, const char *method, const char *path,
                          const char *more)
{
    struct world_visitor *v = world_visit(d->exit);
    unsigned status;

    wh_expect(&v->http, false);
    world_send(v, "%s %s HTTP/1.1\r\nHost: app.test\r\n%s\r\n", method, path,
               more);
    world_run(d->w, 20);
    status = world_is_whole(v, 0) ? v->answers[0].status : 0;
    world_visitor_free(v);
    return status;
}

static void expect_sum(struct world_visitor *v, size_t n, size_t len)
{
    char text[64];
    int size =
        snprintf(text, sizeof(text), "%llu %016llx", (unsigned long long)len,
                 (unsigned long long)world_body_hash(TAG, len));

    world_expect_answer(v, n, 200, (uint64_t)size,
                        world_hash(WORLD_HASH_INIT, text, (size_t)size));
}

/* ---- who gets it ------------------------------------------------------ */

static void test_least_busy(void **state)
{
    struct duo d;
    struct world_visitor *hanging[2];

    (void)state;
    duo_open(&d, 1);
    for (unsigned i = 0; i < 2; i++) {
        hanging[i] = world_visit(d.exit);
        world_get(hanging[i], "/hang");
        world_run(d.w, 20);
        assert_int_equal(d.origin[i]->nrequests, 1); /* in turn */
    }
    world_visitor_leave(hanging[1], true);
    world_run(d.w, 20);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
    }
    assert_int_equal(d.origin[0]->nrequests, 1);
    assert_int_equal(d.origin[1]->nrequests, 6);
    world_visitor_leave(hanging[0], true);
    world_run(d.w, 20);
    world_visitor_free(hanging[0]);
    world_visitor_free(hanging[1]);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
    }
    assert_int_equal(d.origin[0]->nrequests, 4);
    duo_close(&d);
}

/* Refused by its upstream: no visitor notices, and three times are enough. */
static void test_ejected_and_back(void **state)
{
    static const char *const methods[] = {"GET", "POST"};

    (void)state;
    for (unsigned m = 0; m < 2; m++) {
        struct duo d;

        duo_open(&d, 1);
        d.origin[0]->listener->mode = WORLD_REFUSE;
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(status_of(&d, methods[m], "/len/5", ""), 200);
        }
        assert_int_equal(d.ejected, 1);
        assert_int_equal(d.moved, 3);
        world_run(d.w, 1000);
        for (unsigned i = 0; i < 20; i++) { /* one of them is the probe */
            assert_int_equal(status_of(&d, methods[m], "/len/5", ""), 200);
        }
        assert_int_equal(d.moved, 4);
        assert_int_equal(d.ejected, 1);
        assert_int_equal(served(&d), 40);
        assert_int_equal(d.origin[0]->nrequests, 0);
        d.origin[0]->listener->mode = WORLD_ACCEPT;
        world_run(d.w, 2000);
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(status_of(&d, methods[m], "/len/5", ""), 200);
        }
        assert_int_equal(d.back, 1);
        assert_int_equal(d.moved, 4);
        assert_in_range(d.origin[0]->nrequests, 8, 12);
        duo_close(&d);
    }
}

/* It answers, but says 502; and when the other one does too, both serve. */
static void test_gateway_statuses_count(void **state)
{
    struct duo d;

    (void)state;
    duo_open(&d, 1);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(status_of(&d, "GET", "/empty/503", ""), 0);
        if (i == 4) {
            assert_int_equal(d.ejected, 1);
        }
    }
    assert_int_equal(d.ejected, 2);
    assert_int_equal(d.moved, 0); /* an answer is an answer */
    assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
    assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
    duo_close(&d);
}

/* ---- what is taken elsewhere ------------------------------------------ */

/* A body that was not sent goes to the other one, as far as it is held. */
static void test_unsent_body(void **state)
{
    static const size_t sizes[] = {
        0,     1, 1000, INL_FAILOVER_HOLD_BYTES, INL_FAILOVER_HOLD_BYTES + 1,
        300000};

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        size_t size = sizes[i % 6];
        bool chunked = i >= 6;
        struct world_visitor *v;
        struct duo d;

        duo_open(&d, i + 1);
        d.origin[0]->listener->mode = WORLD_REFUSE;
        v = world_visit(d.exit);
        wh_expect(&v->http, false);
        world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n");
        if (chunked) {
            world_send(v, "Transfer-Encoding: chunked\r\n\r\n");
            world_write_chunked(v->end, TAG, size);
        } else {
            world_send(v, "Content-Length: %zu\r\n\r\n", size);
            world_write_body(v->end, TAG, size);
        }
        world_run(d.w, 500);
        if (size <= INL_FAILOVER_HOLD_BYTES) {
            expect_sum(v, 0, size);
            assert_int_equal(d.moved, 1);
        } else {
            assert_int_equal(v->answers[0].status, 502);
            assert_int_equal(served(&d), 0);
        }
        world_visitor_free(v);
        duo_close(&d);
    }
}

/* Moved in the middle of its body; the rest, more than a window, follows. */
static void test_moved_within_its_body(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        const size_t sizes[] = {5000, 700000};
        size_t size = sizes[i % 2], first = 4000;
        struct world_visitor *v;
        uint8_t *body;
        struct duo d;

        duo_open(&d, i + 1);
        d.origin[0]->listener->mode = WORLD_REFUSE;
        v = world_visit(d.exit);
        wh_expect(&v->http, false);
        world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n");
        body = malloc(size);
        assert_non_null(body);
        for (size_t at = 0; at < size; at++) {
            body[at] = world_byte(TAG, at);
        }
        for (size_t at = 0; at < first; at += 1000) {
            world_send(v, "3e8\r\n");
            world_write(v->end, body + at, 1000);
            world_send(v, "\r\n");
            world_run(d.w, i < 2 ? 50 : 0);
        }
        world_run(d.w, 50);
        assert_int_equal(d.moved, 1);
        assert_int_equal(d.origin[1]->nrequests, 1);
        world_send(v, "%zx\r\n", size - first);
        world_write(v->end, body + first, size - first);
        world_send(v, "\r\n0\r\n\r\n");
        world_run(d.w, 2000);
        expect_sum(v, 0, size);
        free(body);
        world_visitor_free(v);
        duo_close(&d);
    }
}

/* Large bodies pass a host with a choice whole, both ways. */
static void test_large_bodies(void **state)
{
    struct world_visitor *v;
    struct duo d;

    (void)state;
    duo_open(&d, 3);
    v = world_visit(d.exit);
    for (unsigned i = 0; i < 2; i++) {
        wh_expect(&v->http, false);
        world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n");
        world_write_chunked(v->end, TAG, 900000);
        world_run(d.w, 3000);
        expect_sum(v, 2 * i, 900000);
        world_get(v, "/len/900000");
        world_run(d.w, 3000);
        world_expect_answer(v, 2 * i + 1, 200, 900000,
                            world_body_hash(5, 900000));
    }
    world_visitor_free(v);
    duo_close(&d);
}

/* ---- what never is ---------------------------------------------------- */

static const struct {
    const char *method, *more;
    bool repeated;
} repeats[] = {
    {"GET", "\r\n", true},
    {"HEAD", "\r\n", true},
    {"OPTIONS", "\r\n", true},
    {"PUT", "\r\n", true},
    {"DELETE", "Content-Length: 0\r\n\r\n", true},
    {"POST", "\r\n", false},
    {"POST", "Content-Length: 0\r\n\r\n", false},
    {"POST", "Content-Length: 2\r\n\r\nhi", false},
    {"PUT", "Content-Length: 2\r\n\r\nhi", false},
    {"PATCH", "\r\n", false},
    {"GET", "Content-Length: 2\r\n\r\nhi", false},
    {"GET",
     "Connection: Upgrade\r\nUpgrade: websocket\r\n"
     "Sec-WebSocket-Version: 13\r\n"
     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
     false},
};

/* The upstream has the request when its client dies. */
static void test_repeated_if_idempotent(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(repeats) / sizeof(repeats[0]); i++) {
        struct world_visitor *v;
        struct duo d;

        duo_open(&d, i + 1);
        v = world_visit(d.exit);
        wh_expect(&v->http, false);
        world_send(v, "%s /hang HTTP/1.1\r\nHost: app.test\r\n%s",
                   repeats[i].method, repeats[i].more);
        world_run(d.w, 30);
        assert_int_equal(d.origin[0]->nrequests, 1);
        d.dev[0]->stays_away = true;
        world_cut(d.dev[0]->pipe, WORLD_RST);
        world_run(d.w, 30000);
        assert_int_equal(served(&d), repeats[i].repeated ? 2 : 1);
        assert_int_equal(d.moved, repeats[i].repeated);
        if (!repeats[i].repeated) {
            assert_int_equal(v->answers[0].status, 502);
        }
        world_visitor_free(v);
        duo_close(&d);
    }
}

/* The upstream itself fails: tried at each client once, and no oftener. */
static void test_tried_once_each(void **state)
{
    struct duo d;

    (void)state;
    duo_open(&d, 1);
    assert_int_equal(status_of(&d, "GET", "/die", ""), 502);
    assert_int_equal(d.origin[0]->nrequests, 1);
    assert_int_equal(d.origin[1]->nrequests, 1);
    assert_int_equal(status_of(&d, "POST", "/die", ""), 502);
    assert_int_equal(served(&d), 3);
    /* once a byte of an answer has come, it stays */
    assert_int_equal(status_of(&d, "GET", "/hints", ""), 200);
    assert_int_equal(served(&d), 4);
    duo_close(&d);
}

/* ---- sticking --------------------------------------------------------- */

static void stick_get(struct world_visitor *v, const char *cookies)
{
    wh_expect(&v->http, false);
    world_send(v, "GET /len/5 HTTP/1.1\r\nHost: app.test\r\n%s\r\n", cookies);
    world_run(v->world, 20);
}

/* "inlets_stick=KEY" out of an answer; empty: it sets none. */
static void cookie_of(const struct world_answer *a, char *buf, size_t size)
{
    const char *at = strstr(a->head, "Set-Cookie: ");

    buf[0] = '\0';
    if (at != NULL) {
        (void)snprintf(buf, size, "%.*s", (int)strcspn(at + 12, ";"), at + 12);
    }
}

static void test_stick_by_cookie(void **state)
{
    struct world_visitor *v;
    char cookie[64], line[128], again[64];
    struct duo d;

    (void)state;
    duo_open(&d, 1);
    d.exit->router.stick = INL_STICK_COOKIE;
    v = world_visit(d.exit);
    stick_get(v, "");
    cookie_of(&v->answers[0], cookie, sizeof(cookie));
    assert_int_equal(strlen(cookie), strlen("inlets_stick=") + 16);
    assert_non_null(
        strstr(v->answers[0].head, "; Path=/; HttpOnly; SameSite=Lax\r\n"));
    (void)snprintf(line, sizeof(line), "Cookie: a=b; %s; c=d\r\n", cookie);
    for (size_t i = 1; i <= 4; i++) {
        stick_get(v, line);
        assert_int_equal(v->answers[i].status, 200);
        assert_null(strstr(v->answers[i].head, "Set-Cookie"));
        assert_int_equal(d.origin[0]->nrequests, 1 + i);
        assert_null(strstr(d.origin[0]->last_head, "inlets_stick"));
        assert_non_null(strstr(d.origin[0]->last_head, "a=b; c=d"));
    }
    (void)snprintf(line, sizeof(line), "Cookie: %s\r\n", cookie);
    stick_get(v, line); /* alone in its field */
    assert_null(strstr(d.origin[0]->last_head, "ookie"));
    d.origin[0]->listener->mode = WORLD_REFUSE;
    world_origin_drop(d.origin[0], false);
    world_run(d.w, 50);
    stick_get(v, line); /* taken elsewhere, and told so */
    assert_int_equal(v->answers[6].status, 200);
    cookie_of(&v->answers[6], again, sizeof(again));
    assert_int_equal(strlen(again), strlen(cookie));
    assert_string_not_equal(again, cookie);
    stick_get(v, "Cookie: inlets_stick=0123456789abcdef\r\n"); /* unknown */
    cookie_of(&v->answers[7], line, sizeof(line));
    assert_int_equal(strlen(line), strlen(cookie));
    world_visitor_free(v);
    duo_close(&d);
}

/* A POST through the only client gets its cookie too. */
static void test_cookie_of_the_only_one(void **state)
{
    struct world_chain c;
    struct world_visitor *v;
    char cookie[64];

    (void)state;
    world_chain_open(&c, 1, NULL);
    c.exit->router.stick = INL_STICK_COOKIE;
    v = world_visit(c.exit);
    wh_expect(&v->http, false);
    world_send(v, "POST /sum HTTP/1.1\r\nHost: app.test\r\n"
                  "Content-Length: 300000\r\n\r\n");
    world_write_body(v->end, TAG, 300000);
    world_run(c.w, 1000);
    expect_sum(v, 0, 300000);
    cookie_of(&v->answers[0], cookie, sizeof(cookie));
    assert_int_equal(strlen(cookie), strlen("inlets_stick=") + 16);
    world_visitor_free(v);
    world_chain_close(&c);
}

static void test_stick_by_address(void **state)
{
    struct duo d;
    unsigned other;

    (void)state;
    duo_open(&d, 1);
    d.exit->router.stick = INL_STICK_ADDRESS;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
        assert_int_equal(status_of(&d, "POST", "/len/5", ""), 200);
    }
    other = d.origin[0]->nrequests > 0 ? 1 : 0;
    assert_int_equal(d.origin[other]->nrequests, 0);
    assert_int_equal(served(&d), 20);
    world_dev_drain(d.dev[1 - other]);
    world_run(d.w, 100);
    assert_int_equal(status_of(&d, "GET", "/len/5", ""), 200);
    assert_int_equal(d.origin[other]->nrequests, 1);
    duo_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_busy),
        cmocka_unit_test(test_ejected_and_back),
        cmocka_unit_test(test_gateway_statuses_count),
        cmocka_unit_test(test_unsent_body),
        cmocka_unit_test(test_moved_within_its_body),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_repeated_if_idempotent),
        cmocka_unit_test(test_tried_once_each),
        cmocka_unit_test(test_stick_by_cookie),
        cmocka_unit_test(test_cookie_of_the_only_one),
        cmocka_unit_test(test_stick_by_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
