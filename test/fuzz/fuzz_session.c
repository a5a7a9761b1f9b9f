/* fuzz_session.c: a raw peer against a session, after the handshake and with
 * streams under way: as a client against an exit node, or as an exit node
 * against a dev machine. The input is a little script:
 *
 *   byte 0      who the peer is, how the net cuts pieces
 *   then records: what to do (1), numbers and bytes for it
 *
 * Other websockets come with tickets for its lanes, true ones or nearly so.
 * Well-formed frames, frames with any payload, lane bytes, websocket bytes,
 * and moments for the visitors to stall, read on and leave. Beyond not
 * crashing: the world closes, with no stream, timer or block of memory left,
 * and what the library sends is well formed (peer.c and visitor.c check). */
#include "base/slice.h"
#include "proto/ticket.h"
#include "world/peer.h"
#include <inlets/err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VISITORS 4u
#define RECORDS_MAX 200u

struct script {
    const uint8_t *at;
    size_t left;
};

static unsigned take(struct script *s)
{
    if (s->left == 0) {
        return 0;
    }
    s->left--;
    return *s->at++;
}

static unsigned take16(struct script *s)
{
    unsigned high = take(s);

    return high << 8 | take(s);
}

/* Up to n bytes of the script, to be used at once. */
static const uint8_t *take_bytes(struct script *s, size_t *n)
{
    const uint8_t *at = s->at;

    *n = *n < s->left ? *n : s->left;
    s->at += *n;
    s->left -= *n;
    return at;
}

static void any_frame(struct world_peer *p, struct script *s)
{
    unsigned type = take(s);
    unsigned flags = take(s);
    unsigned stream = take(s);
    size_t n = take(s);
    const uint8_t *payload = take_bytes(s, &n);

    peer_frame(p, type, flags, stream, payload, n);
}

static void any_bytes(struct world_peer *p, struct script *s, unsigned what)
{
    size_t n = take(s);
    const uint8_t *bytes = take_bytes(s, &n);

    if (what == 0) {
        peer_message(p, 0, bytes, n);
        p->tx_lane += n;
    } else if (what == 1) {
        peer_message(p, take(s), bytes, n);
        p->lax = true;
    } else if (what == 2) {
        peer_ws(p, take(s), bytes, n);
        p->lax = true;
    } else {
        world_write(p->end, bytes, n);
        p->lax = true;
    }
}

static const char *const targets[] = {
    "/sum",       "/echo",          "/hang",    "/early",
    "/len/40000", "/chunked/20000", "/upgrade", "/cutlen/9"};

/* One record that both roles know. */
static void step(struct world_peer *p, struct script *s, unsigned op)
{
    unsigned stream = take(s) % 8;

    switch (op) {
    case 0:
        any_frame(p, s);
        break;
    case 1:
        peer_honest_data(p, stream, p->data[stream % PEER_STREAMS], take16(s));
        break;
    case 2:
        peer_data(p, stream, take(s), take16(s));
        break;
    case 3:
        peer_credit(p, stream, (uint64_t)take16(s) << take(s) % 40);
        break;
    case 4:
        peer_reset(p, stream, take(s));
        break;
    case 5:
        peer_frame(p, 11, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        break;
    case 6:
        peer_ack(p, p->rx_lane - take(s) % 3);
        break;
    case 7:
        peer_head(p, stream, take(s) & 1, take16(s) % 600,
                  (int64_t)take16(s) - 3);
        break;
    case 8:
        peer_open(p, stream, take(s) & 1, take(s) % 3, "POST",
                  targets[take(s) % 8]);
        break;
    default:
        any_bytes(p, s, op % 4);
        break;
    }
}

/* ---- other websockets for its lanes ------------------------------------ */

#define COMERS 6u

/* Shows a ticket, true or nearly so, and then sends whatever. What comes is
 * not parsed: it may begin anywhere in the lane. */
struct comer {
    struct world_end *end; /* NULL: gone */
    char head[1024];       /* the answer to its handshake */
    size_t head_len;
};

static void comer_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct comer *c = e->user;
    size_t room = sizeof(c->head) - 1 - c->head_len;

    n = n < room ? n : room;
    memcpy(c->head + c->head_len, p, n);
    c->head_len += n;
}

static void comer_gone(struct world_end *e, int err)
{
    struct comer *c = e->user;

    (void)err;
    c->end = NULL;
}

static const struct world_raw_ops comer_ops = {.rx = comer_rx,
                                               .gone = comer_gone};

/* The newest ticket that anybody was answered with, or that of HELLO. */
static bool newest_ticket(const struct world_peer *p, const struct comer *c,
                          size_t n, struct inl_ticket *ret)
{
    struct inl_hello hello;

    while (n-- > 0) {
        const char *at = strstr(c[n].head, "Inlets-Lane: ");
        size_t len = at == NULL ? 0 : strcspn(at + 13, "\r");

        if (len > 0 && inl_ticket_parse(inl_slice(at + 13, len), ret) == 0) {
            return true;
        }
    }
    if (p->hello_len == 0 ||
        inl_frame_get_hello(inl_slice(p->hello, p->hello_len), &hello) != 0) {
        return false;
    }
    *ret = (struct inl_ticket){.session = hello.ticket};
    memcpy(ret->secret, hello.secret, sizeof(ret->secret));
    return true;
}

static void come(struct world_exit *x, const struct world_peer *p,
                 struct comer *all, size_t *n, struct script *s)
{
    static const char request[] =
        "GET /tunnel HTTP/1.1\r\nHost: exit\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: inlets.1\r\nInlets-Lane: ";
    struct inl_ticket t;
    char text[INL_TICKET_TEXT_MAX + 1];
    struct comer *c = &all[*n];
    struct world_pipe *pipe;

    if (*n == COMERS || !newest_ticket(p, all, *n, &t)) {
        return;
    }
    (*n)++;
    t.lane = take(s) % 4;
    t.received = t.lane == 0 ? p->rx_lane - take(s) % 3 : take(s) % 2;
    t.secret[0] ^= take(s) % 8 == 0;
    pipe = world_pipe(x->world, &x->world->net);
    c->end = &pipe->end[0];
    world_raw(c->end, &comer_ops, c);
    world_exit_accept(&pipe->end[1], x);
    world_write(c->end, request, sizeof(request) - 1);
    world_write(c->end, text, inl_ticket_format(&t, text));
    world_write(c->end, "\r\n\r\n", 4);
}

/* A masked binary message of up to 125 bytes, with a mask of zeros. */
static void comer_says(struct comer *c, struct script *s)
{
    size_t n = take(s) % 126;
    const uint8_t *bytes = take_bytes(s, &n);
    const uint8_t head[6] = {0x82, (uint8_t)(0x80 | n)};

    if (c->end != NULL) {
        world_write(c->end, head, sizeof(head));
        world_write(c->end, bytes, n);
    }
}

static void comer_acts(struct world_exit *x, const struct world_peer *p,
                       struct comer *all, size_t *n, struct script *s)
{
    unsigned what = take(s);
    struct comer *c = &all[*n == 0 ? 0 : what % *n];

    if (*n == 0 || what % 4 == 0) {
        come(x, p, all, n, s);
    } else if (what % 4 == 1 && c->end != NULL) {
        world_close(c->end, (what & 64) != 0);
        c->end = NULL;
    } else {
        comer_says(c, s);
    }
}

/* ---- as a client ------------------------------------------------------- */

static void visit(struct world_exit *x, struct world_visitor **v, unsigned i)
{
    v[i] = world_visit(x);
    wh_expect(&v[i]->http, i == 1);
    if (i == 2) {
        world_send(v[i], "POST /2 HTTP/1.1\r\nHost: app.test\r\n"
                         "Content-Length: 300000\r\n\r\n");
        world_write_body(v[i]->end, 1, 300000);
    } else if (i == 3) {
        world_send(v[i], "GET /3 HTTP/1.1\r\nHost: app.test\r\n"
                         "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                         "Sec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                         "\r\nraw bytes");
    } else {
        world_send(v[i], "%s /%u HTTP/1.1\r\nHost: app.test\r\n\r\n",
                   i == 1 ? "HEAD" : "GET", i);
    }
}

static void act(struct world *w, struct world_visitor **v, struct script *s)
{
    unsigned what = take(s);
    struct world_visitor *one = v[what % VISITORS];

    switch (what / VISITORS % 8) {
    case 0:
        one->end->paused = true;
        break;
    case 1:
        one->end->paused = false;
        break;
    case 2:
        world_visitor_leave(one, (what & 64) != 0);
        break;
    case 3:
        world_shutdown(one->end);
        break;
    default:
        world_run(w, what);
        break;
    }
}

static void against_exit(struct world *w, struct script *s)
{
    struct world_exit *x = world_exit_new(w);
    struct world_peer *p = peer_to_exit(x);
    struct world_visitor *v[VISITORS];
    struct comer comers[COMERS] = {0};
    size_t ncomers = 0;

    world_run(w, 10);
    peer_route(p, 1, "app.test");
    world_run(w, 10);
    for (unsigned i = 0; i < VISITORS; i++) {
        visit(x, v, i);
    }
    world_run(w, 10);
    for (unsigned i = 0;
         i < RECORDS_MAX && s->left > 0 && (!p->gone || ncomers > 0); i++) {
        unsigned op = take(s) % 16;

        if (op >= 14) {
            act(w, v, s);
        } else if (op == 13 || p->gone) {
            comer_acts(x, p, comers, &ncomers, s);
        } else {
            step(p, s, op);
        }
        if ((i & 3) == 3) {
            world_run(w, 1);
        }
    }
    world_run(w, 100);
    for (unsigned i = 0; i < VISITORS; i++) {
        world_visitor_free(v[i]);
    }
    for (size_t i = 0; i < ncomers; i++) {
        if (comers[i].end != NULL) {
            world_raw(comers[i].end, NULL, NULL);
            world_close(comers[i].end, true);
        }
    }
    peer_free(p);
    world_exit_close(x);
}

/* ---- as an exit node --------------------------------------------------- */

static void against_dev(struct world *w, struct script *s)
{
    struct world_peer *p = peer_as_exit(w);
    struct world_origin *o = world_origin_new(w, 8000);
    struct world_dev *d = world_dev_new(w);

    o->lax = true;
    world_dev_upstream(d, "app.test", 8000, "");
    world_dev_start(d);
    world_run(w, 20);
    d->stays_away = true;
    for (uint32_t i = 1; i <= VISITORS; i++) {
        peer_open(p, i, i % 2, 1, "POST", targets[i * 2 % 8]);
    }
    world_run(w, 10);
    for (unsigned i = 0; i < RECORDS_MAX && s->left > 0 && !p->gone; i++) {
        unsigned op = take(s) % 16;

        if (op == 15) {
            world_origin_drop(o, (take(s) & 1) != 0);
        } else if (op == 14) {
            world_run(w, take(s));
        } else {
            step(p, s, op);
        }
        if ((i & 3) == 3) {
            world_run(w, 1);
        }
    }
    world_run(w, 100);
    peer_free(p);
    world_dev_close(d);
    world_origin_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, size};
    unsigned mode = take(&s);
    struct world *w = world_new(mode);

    w->env.log_level = INLETS_LOG_ERROR;
    w->net.latency_ms = 0;
    w->net.fragment = (mode & 2) == 0 ? 0 : 300 + (mode >> 2) * 50;
    if ((mode & 1) == 0) {
        against_exit(w, &s);
    } else {
        against_dev(w, &s);
    }
    world_free(w);
    return 0;
}
