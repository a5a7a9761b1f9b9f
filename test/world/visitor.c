/* visitor.c: visitors of the world: they send text and read answers with a
 * reader of their own. What they must never see is a cut answer as whole. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world_answer *current(struct world_visitor *v)
{
    return &v->answers[v->nanswers - 1];
}

static void on_head(struct wh *h, void *user)
{
    struct world_visitor *v = user;
    struct world_answer *a;

    if (h->status < 200 && h->status != 101) {
        v->interim++;
        return;
    }
    v->nanswers++;
    WORLD_CHECK(v->nanswers <= WORLD_ANSWERS);
    a = current(v);
    *a = (struct world_answer){.status = h->status,
                               .hash = WORLD_HASH_INIT,
                               .chunked = h->chunked,
                               .has_length = h->has_length,
                               .last = h->last};
    (void)snprintf(a->head, sizeof(a->head), "%s", h->head);
}

static void on_body(struct wh *h, const uint8_t *p, size_t n, void *user)
{
    struct world_visitor *v = user;

    if (h->state == WH_RAW) {
        for (size_t i = 0; i < n && v->raw_len + i < sizeof(v->raw_first) - 1;
             i++) {
            v->raw_first[v->raw_len + i] = (char)p[i];
        }
        v->raw_hash =
            world_hash(v->raw_len == 0 ? WORLD_HASH_INIT : v->raw_hash, p, n);
        v->raw_len += n;
        return;
    }
    current(v)->len += n;
    current(v)->hash = world_hash(current(v)->hash, p, n);
}

static void on_end(struct wh *h, void *user)
{
    struct world_visitor *v = user;
    struct world_answer *a = current(v);

    a->complete = true;
    if (h->state == WH_TRAILERS) {
        (void)wh_field(h, "X-Sum", 0, a->trailer, sizeof(a->trailer));
    }
}

static const struct wh_ops http_ops = {on_head, on_body, on_end};

static void raw_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct world_visitor *v = e->user;

    wh_feed(&v->http, p, n);
    if (v->http.state == WH_ERROR) {
        world_fail("visitor", 0, v->http.why);
    }
}

static void raw_eof(struct world_end *e)
{
    struct world_visitor *v = e->user;

    v->eof = true;
    (void)wh_eof(&v->http);
    if (v->http.state != WH_RAW) {
        world_close(e, false);
        v->gone = true;
    }
}

static void raw_gone(struct world_end *e, int err)
{
    struct world_visitor *v = e->user;

    (void)err;
    v->reset = v->gone = true;
}

static const struct world_raw_ops raw_ops = {raw_rx, raw_eof, raw_gone};

struct world_visitor *world_visitor_on(struct world *w, struct world_end *e)
{
    struct world_visitor *v = calloc(1, sizeof(*v));

    WORLD_CHECK(v != NULL);
    v->world = w;
    v->end = e;
    wh_init(&v->http, true, &http_ops, v);
    world_raw(e, &raw_ops, v);
    return v;
}

struct world_visitor *world_visit(struct world_exit *x)
{
    struct world_pipe *p = world_pipe(x->world, &x->world->net);

    world_exit_accept(&p->end[1], x);
    return world_visitor_on(x->world, &p->end[0]);
}

void world_send(struct world_visitor *v, const char *format, ...)
{
    char text[4096];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    WORLD_CHECK(n >= 0 && (size_t)n < sizeof(text));
    world_write(v->end, text, (size_t)n);
}

void world_get(struct world_visitor *v, const char *path)
{
    wh_expect(&v->http, false);
    world_send(v, "GET %s HTTP/1.1\r\nHost: app.test\r\n\r\n", path);
}

void world_visitor_leave(struct world_visitor *v, bool reset)
{
    world_close(v->end, reset);
    v->gone = true;
}

void world_visitor_free(struct world_visitor *v)
{
    world_raw(v->end, NULL, NULL);
    if (!v->end->closed) {
        world_close(v->end, false);
    }
    wh_fini(&v->http);
    free(v);
}

void world_expect_answer(struct world_visitor *v, size_t n, unsigned status,
                         uint64_t len, uint64_t hash)
{
    const struct world_answer *a = &v->answers[n];

    if (n >= v->nanswers || a->status != status || !a->complete ||
        a->len != len || a->hash != hash) {
        fprintf(stderr,
                "# answer %zu of %zu: status %u, %llu bytes, %s; wanted %u, "
                "%llu bytes; visitor %s\n%s\n",
                n, v->nanswers, a->status, (unsigned long long)a->len,
                a->complete ? "whole" : "cut", status, (unsigned long long)len,
                v->reset ? "was reset"
                : v->eof ? "saw FIN"
                         : "is there",
                a->head);
        world_fail("visitor", 0, "not the answer that was expected");
    }
}
