/* fuzz_pair.c: a visitor's bytes through the visitor's machine and the
 * upstream's serialiser. What comes out is read by an independent reader
 * (world/http.c): it must be well formed, be as many requests as the visitor
 * machine took, and each the same request: method, target, Host, body and
 * trailers. One that the two readers count differently is request smuggling;
 * one that was asked whole and never came is lost. */
#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS 64u

struct seen {
    char id[INL_REQUEST_ID_LEN + 1];
    uint64_t line; /* the hash of "METHOD TARGET", and of others: */
    uint64_t host, trailers;
    uint64_t len, hash; /* of the body */
    bool ended;
    bool stopped; /* by the visitor's side */
};

/* Between visitor and upstream: writes down what it passes on. */
struct tap {
    struct tap *next;
    struct inl_flow in, out;
    struct seen *seen;
};

struct rig {
    struct world *w;
    struct inl_service service;
    struct inl_service *upstream;
    struct tap *taps;
    struct seen asked[REQUESTS];
    size_t nasked;
    struct seen got[REQUESTS];
    size_t ngot;
    struct origin *origins;
};

static void start_hashes(struct seen *s)
{
    s->line = s->host = s->trailers = s->hash = WORLD_HASH_INIT;
}

static uint64_t add_slice(uint64_t hash, struct inlets_slice s)
{
    return world_hash(hash, s.ptr, s.len);
}

/* ---- the tap ----------------------------------------------------------- */

static void in_body(struct inl_flow *f, struct inlets_slice data)
{
    struct tap *t = inl_container(f, struct tap, in);

    t->seen->len += data.len;
    t->seen->hash = world_hash(t->seen->hash, data.ptr, data.len);
    inl_flow_body(&t->out, data);
}

static void in_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct tap *t = inl_container(f, struct tap, in);

    t->seen->ended = true;
    for (size_t i = 0; trailers != NULL && i < trailers->nfields; i++) {
        uint64_t *hash = &t->seen->trailers;

        *hash = add_slice(*hash, trailers->fields[i].name);
        *hash = add_slice(*hash, INL_LIT(": "));
        *hash = add_slice(*hash, trailers->fields[i].value);
        *hash = add_slice(*hash, INL_LIT("\r\n"));
    }
    inl_flow_end(&t->out, trailers);
}

static void in_stop(struct inl_flow *f, int err)
{
    struct tap *t = inl_container(f, struct tap, in);

    t->seen->stopped = true;
    inl_flow_stop(&t->out, err);
}

static void in_credit(struct inl_flow *f, size_t bytes)
{
    inl_flow_credit(&inl_container(f, struct tap, in)->out, bytes);
}

static void out_head(struct inl_flow *f, const struct inlets_head *head)
{
    inl_flow_head(&inl_container(f, struct tap, out)->in, head);
}

static void out_body(struct inl_flow *f, struct inlets_slice data)
{
    inl_flow_body(&inl_container(f, struct tap, out)->in, data);
}

static void out_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    inl_flow_end(&inl_container(f, struct tap, out)->in, trailers);
}

static void out_stop(struct inl_flow *f, int err)
{
    inl_flow_stop(&inl_container(f, struct tap, out)->in, err);
}

static void out_credit(struct inl_flow *f, size_t bytes)
{
    inl_flow_credit(&inl_container(f, struct tap, out)->in, bytes);
}

static const struct inl_flow_ops in_ops = {
    .body = in_body, .end = in_end, .stop = in_stop, .credit = in_credit};
static const struct inl_flow_ops out_ops = {.head = out_head,
                                            .body = out_body,
                                            .end = out_end,
                                            .stop = out_stop,
                                            .credit = out_credit};

static int tap_open(struct inl_service *s, const struct inl_request *req,
                    struct inl_flow *caller)
{
    struct rig *r = inl_container(s, struct rig, service);
    struct tap *t;
    int err;

    if (r->nasked == REQUESTS) {
        return INLETS_ELIMIT;
    }
    t = calloc(1, sizeof(*t));
    WORLD_CHECK(t != NULL);
    t->next = r->taps;
    r->taps = t;
    t->seen = &r->asked[r->nasked++];
    start_hashes(t->seen);
    WORLD_CHECK(req->id.len == INL_REQUEST_ID_LEN);
    memcpy(t->seen->id, req->id.ptr, req->id.len);
    t->seen->line = add_slice(t->seen->line, req->head->method);
    t->seen->line = add_slice(t->seen->line, INL_LIT(" "));
    t->seen->line = add_slice(t->seen->line, req->head->target);
    t->seen->host = add_slice(t->seen->host, req->head->host);
    inl_flow_init(&t->in, &in_ops);
    inl_flow_init(&t->out, &out_ops);
    err = inl_service_open(r->upstream, req, &t->out);
    if (err != 0) {
        r->nasked--;
        return err;
    }
    inl_flow_tie(caller, &t->in);
    return 0;
}

static const struct inl_service_ops tap_ops = {tap_open};

/* ---- the origin's reader ------------------------------------------------ */

struct origin {
    struct origin *next;
    struct rig *rig;
    struct world_end *end;
    struct wh http;
    struct seen *seen;
    bool is_head;
};

static void on_head(struct wh *h, void *user)
{
    struct origin *o = user;
    size_t len = strcspn(h->head, " ");
    char buf[1024];

    o->is_head = strncmp(h->head, "HEAD ", 5) == 0;
    WORLD_CHECK(o->rig->ngot < REQUESTS);
    o->seen = &o->rig->got[o->rig->ngot++];
    /* ours, and only ours: what a visitor says under this name is dropped */
    WORLD_CHECK(wh_field(h, "X-Request-Id", 1, buf, sizeof(buf)) == NULL);
    WORLD_CHECK(wh_field(h, "X-Request-Id", 0, o->seen->id,
                         sizeof(o->seen->id)) != NULL);
    start_hashes(o->seen);
    len += 1 + strcspn(h->head + len + 1, " ");
    o->seen->line = add_slice(o->seen->line, inl_slice(h->head, len));
    WORLD_CHECK(wh_field(h, "Host", 1, buf, sizeof(buf)) == NULL);
    WORLD_CHECK(wh_field(h, "Host", 0, buf, sizeof(buf)) != NULL);
    o->seen->host = add_slice(o->seen->host, inl_str(buf));
}

static void on_body(struct wh *h, const uint8_t *p, size_t n, void *user)
{
    struct origin *o = user;

    (void)h;
    o->seen->len += n;
    o->seen->hash = world_hash(o->seen->hash, p, n);
}

static void on_end(struct wh *h, void *user)
{
    struct origin *o = user;

    if (h->state == WH_TRAILERS) {
        o->seen->trailers = add_slice(o->seen->trailers, inl_str(h->head));
    }
    o->seen->ended = true;
    world_write(o->end, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                o->is_head ? 38 : 40);
}

static const struct wh_ops http_ops = {on_head, on_body, on_end};

static void origin_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct origin *o = e->user;

    wh_feed(&o->http, p, n);
    WORLD_CHECK(o->http.state != WH_ERROR);
}

static void origin_eof(struct world_end *e)
{
    world_close(e, false);
}

static const struct world_raw_ops origin_ops = {origin_rx, origin_eof, NULL};

static void on_accept(struct world_end *e, void *user)
{
    struct rig *r = user;
    struct origin *o = calloc(1, sizeof(*o));

    WORLD_CHECK(o != NULL);
    o->rig = r;
    o->end = e;
    o->next = r->origins;
    r->origins = o;
    wh_init(&o->http, false, &http_ops, o);
    world_raw(e, &origin_ops, o);
}

/* ---- the visitor -------------------------------------------------------- */

static void visitor_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    (void)e;
    (void)p;
    (void)n;
}

static const struct world_raw_ops visitor_ops = {visitor_rx, origin_eof, NULL};

static const struct seen *asked_as(const struct rig *r, const char *id)
{
    for (size_t i = 0; i < r->nasked; i++) {
        if (strcmp(r->asked[i].id, id) == 0) {
            return &r->asked[i];
        }
    }
    return NULL;
}

static const struct seen *got_as(const struct rig *r, const char *id)
{
    for (size_t i = 0; i < r->ngot; i++) {
        if (strcmp(r->got[i].id, id) == 0) {
            return &r->got[i];
        }
    }
    return NULL;
}

/* One that nobody asked for, or that comes twice, or is another one, is a
 * fault. (A request may be repeated only on a connection that died, and here
 * none dies.) */
static void check_got(const struct rig *r)
{
    for (size_t i = 0; i < r->ngot; i++) {
        const struct seen *g = &r->got[i];
        const struct seen *a = asked_as(r, g->id);

        WORLD_CHECK(a != NULL && a->line == g->line && a->host == g->host);
        WORLD_CHECK(g->len <= a->len);
        WORLD_CHECK(!g->ended ||
                    (a->ended && g->len == a->len && g->hash == a->hash &&
                     g->trailers == a->trailers));
        WORLD_CHECK(got_as(r, g->id) == g);
    }
}

/* What came whole and was not taken back is there. */
static void check_asked(const struct rig *r)
{
    for (size_t i = 0; i < r->nasked; i++) {
        const struct seen *a = &r->asked[i];
        const struct seen *g = got_as(r, a->id);

        WORLD_CHECK(!a->ended || a->stopped || (g != NULL && g->ended));
    }
}

static void free_rig(struct rig *r)
{
    while (r->taps != NULL) {
        struct tap *t = r->taps;

        r->taps = t->next;
        free(t);
    }
    while (r->origins != NULL) {
        struct origin *o = r->origins;

        r->origins = o->next;
        world_raw(o->end, NULL, NULL);
        if (!o->end->closed) {
            world_close(o->end, false);
        }
        wh_fini(&o->http);
        free(o);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;
    struct inl_upstream_config config = {.host = INL_LIT("origin"),
                                         .port = 80,
                                         .connect_ms = 1000,
                                         .idle_ms = 1000,
                                         .idle_max = 2};
    struct inl_visitor_config visitor;
    struct inl_upstream *upstream;
    struct inl_crowd visitors;
    struct world_pipe *pipe;
    unsigned mode = size > 0 ? data[0] : 0;

    if (size == 0 || size > 60000) {
        return 0;
    }
    r = (struct rig){.w = world_new(mode), .service = {&tap_ops}};
    r.w->env.log_level = INLETS_LOG_ERROR;
    r.w->net.latency_ms = 0;
    r.w->net.fragment = (mode & 1) == 0 ? 0 : 1 + (mode >> 1);
    config.env = &r.w->env;
    config.dialer = &r.w->dialer;
    upstream = inl_upstream_new(&config);
    WORLD_CHECK(upstream != NULL);
    r.upstream = inl_upstream_service(upstream);
    world_listen(r.w, "origin", 80, on_accept, &r);
    inl_visitor_config_init(&visitor);
    visitor.service = &r.service;
    visitor.port = INL_LIT("80");
    inl_crowd_init(&visitors, &r.w->env, 0, 0);
    pipe = world_pipe(r.w, &r.w->net);
    world_raw(&pipe->end[0], &visitor_ops, &r);
    inl_visitor_start(&visitor, &visitors,
                      world_link(&pipe->end[1], "203.0.113.9"));
    world_write(&pipe->end[0], data + 1, size - 1);
    world_run(r.w, 50);
    check_got(&r);
    check_asked(&r);
    world_shutdown(&pipe->end[0]);
    world_run(r.w, 100);
    check_got(&r);
    inl_visitors_close(&visitors);
    inl_upstream_close(upstream);
    world_run(r.w, 70000);
    check_got(&r);
    inl_crowd_fini(&visitors);
    free_rig(&r);
    world_raw(&pipe->end[0], NULL, NULL);
    if (!pipe->end[0].closed) {
        world_close(&pipe->end[0], false);
    }
    world_free(r.w);
    return 0;
}
