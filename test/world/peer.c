/* peer.c: see peer.h. */
#include "peer.h"

#include "base/slice.h"
#include "proto/websocket.h"
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

/* ---- sending ---------------------------------------------------------- */

void peer_ws(struct world_peer *p, unsigned first_byte, const void *ptr,
             size_t n)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    const uint8_t *from = ptr;
    uint8_t header[14] = {(uint8_t)first_byte};
    size_t len = 2;
    uint8_t *copy = malloc(n + 1);

    WORLD_CHECK(copy != NULL);
    if (n < 126) {
        header[1] = (uint8_t)n;
    } else if (n < 65536) {
        header[1] = 126;
        header[len++] = (uint8_t)(n >> 8);
        header[len++] = (uint8_t)n;
    } else {
        header[1] = 127;
        for (size_t i = 0; i < 8; i++) {
            header[len++] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        }
    }
    if (p->is_client) {
        header[1] |= 0x80;
        memcpy(header + len, mask, 4);
        len += 4;
    }
    for (size_t i = 0; i < n; i++) {
        copy[i] = p->is_client ? from[i] ^ mask[i % 4] : from[i];
    }
    world_write(p->end, header, len);
    world_write(p->end, copy, n);
    free(copy);
}

void peer_message(struct world_peer *p, unsigned kind, const void *ptr,
                  size_t n)
{
    uint8_t *whole = malloc(n + 1);

    WORLD_CHECK(whole != NULL);
    whole[0] = (uint8_t)kind;
    if (n > 0) {
        memcpy(whole + 1, ptr, n);
    }
    peer_ws(p, 0x82, whole, n + 1);
    free(whole);
}

static size_t put_number(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
    return bytes;
}

void peer_ack(struct world_peer *p, uint64_t total)
{
    uint8_t be[8];

    peer_message(p, 1, be, put_number(be, total, 8));
}

void peer_batch(struct world_peer *p)
{
    p->batching = true;
}

void peer_flush(struct world_peer *p)
{
    p->batching = false;
    while (p->batch.len > 0) {
        size_t n = p->batch.len < 500000 ? p->batch.len : 500000;

        peer_message(p, 0, p->batch.ptr + p->batch.head, n);
        p->tx_lane += n;
        world_bytes_consume(&p->batch, n);
    }
}

void peer_frame(struct world_peer *p, unsigned type, unsigned flags,
                uint32_t stream, const void *payload, size_t n)
{
    uint8_t header[9];

    put_number(header, type, 1);
    put_number(header + 1, flags, 1);
    put_number(header + 2, n, 3);
    put_number(header + 5, stream, 4);
    world_bytes_append(&p->batch, header, sizeof(header));
    world_bytes_append(&p->batch, payload, n);
    if (!p->batching) {
        peer_flush(p);
    }
}

void peer_hello(struct world_peer *p)
{
    uint8_t b[64];
    size_t n = 0;

    n += put_number(b + n, 0x00010004, 4);
    n += put_number(b + n, 1, 4);
    n += put_number(b + n, 0x00020004, 4);
    n += put_number(b + n, 262144, 4);
    n += put_number(b + n, 0x00030008, 4);
    n += put_number(b + n, 16777216, 8);
    n += put_number(b + n, 0x00040004, 4);
    n += put_number(b + n, 16384, 4);
    peer_frame(p, 1, 0, 0, b, n);
}

void peer_route(struct world_peer *p, uint32_t id, const char *endpoint)
{
    uint8_t b[600];
    size_t n = put_number(b, id, 4);

    memcpy(b + n, endpoint, strlen(endpoint));
    peer_frame(p, 2, 0, 0, b, n + strlen(endpoint));
}

void peer_head(struct world_peer *p, uint32_t stream, unsigned flags,
               unsigned status, int64_t length)
{
    uint8_t b[32];
    size_t n = put_number(b, status, 2);

    n += put_number(b + n, status == 101, 1);
    n += put_number(b + n, (uint64_t)length, 8);
    n += put_number(b + n, 0, 4);
    peer_frame(p, 6, flags, stream, b, n);
}

void peer_open(struct world_peer *p, uint32_t stream, unsigned flags,
               uint32_t route, const char *method, const char *target)
{
    uint8_t b[600];
    size_t n = put_number(b, route, 4);

    n += put_number(b + n, 0, 1);
    n += put_number(b + n, (flags & 1) != 0 ? (uint64_t)-2 : (uint64_t)-1, 8);
    n += put_number(b + n, 1, 1);
    n += put_number(b + n, strlen(method), 1);
    n += put_number(b + n, strlen(target), 2);
    n += put_number(b + n, 8, 2);
    n += put_number(b + n, 0, 2);
    n += (size_t)sprintf((char *)b + n, "i%s%sapp.test", method, target);
    peer_frame(p, 5, flags, stream, b, n);
}

void peer_data(struct world_peer *p, uint32_t stream, unsigned flags, size_t n)
{
    static const uint8_t zeros[16384];

    do {
        size_t len = n < sizeof(zeros) ? n : sizeof(zeros);

        n -= len;
        peer_frame(p, 7, n > 0 ? flags & ~1u : flags, stream, zeros, len);
    } while (n > 0);
}

void peer_honest_data(struct world_peer *p, uint32_t stream, uint64_t at,
                      size_t n)
{
    if (at < 16384) {
        size_t first = 16384 - at < n ? (size_t)(16384 - at) : n;

        peer_data(p, stream, 0, first);
        n -= first;
    }
    if (n > 0) {
        peer_data(p, stream, 2, n);
    }
}

void peer_credit(struct world_peer *p, uint32_t stream, uint64_t limit)
{
    uint8_t be[8];

    peer_frame(p, 9, 0, stream, be, put_number(be, limit, 8));
}

void peer_reset(struct world_peer *p, uint32_t stream, uint32_t err)
{
    uint8_t be[4];

    peer_frame(p, 10, 0, stream, be, put_number(be, err, 4));
}

/* ---- receiving -------------------------------------------------------- */

static uint64_t number(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static void on_frame(struct world_peer *p, const uint8_t *f, size_t n)
{
    uint32_t stream = (uint32_t)number(f + 5, 4);

    WORLD_CHECK(f[0] < PEER_TYPES);
    p->frames[f[0]]++;
    if (f[0] == 1) {
        p->hello_len = n - 9;
        WORLD_CHECK(p->hello_len <= sizeof(p->hello));
        memcpy(p->hello, f + 9, p->hello_len);
    } else if (f[0] == 12) {
        p->spread_ms = (uint32_t)number(f + 9, 4);
    }
    WORLD_CHECK(stream == 0 || stream >= PEER_STREAMS || !p->reset[stream]);
    if (f[0] == 5) {
        WORLD_CHECK(stream > p->last_stream);
        p->last_stream = stream;
    } else if (f[0] == 7 && stream < PEER_STREAMS) {
        p->data[stream] += n - 9;
    } else if (f[0] == 10) {
        if (stream < PEER_STREAMS) {
            p->reset[stream] = true;
        }
        p->last_reset = stream;
        p->last_reset_err = (uint32_t)number(f + 9, 4);
    }
}

static void parse_lane(struct world_peer *p)
{
    while (p->lane.len >= 9) {
        const uint8_t *f = p->lane.ptr + p->lane.head;
        size_t n = (size_t)number(f + 2, 3) + 9;

        if (p->lane.len < n) {
            return;
        }
        on_frame(p, f, n);
        world_bytes_consume(&p->lane, n);
    }
}

static void on_message(struct world_peer *p, unsigned opcode, const uint8_t *m,
                       size_t n)
{
    switch (opcode) {
    case 2: /* the library sends each message as one frame */
        WORLD_CHECK(n > 0);
        if (m[0] == 0) {
            p->rx_lane += n - 1;
            world_bytes_append(&p->lane, m + 1, n - 1);
            parse_lane(p);
            if (!p->keeps_silent) {
                peer_ack(p, p->rx_lane);
            }
        } else if (m[0] == 2) {
            WORLD_CHECK(n == 1 && p->is_client);
            p->moves++;
        } else {
            WORLD_CHECK(m[0] == 1 && n == 9 &&
                        (p->lax || number(m + 1, 8) <= p->tx_lane));
        }
        break;
    case 8:
        p->close_code = n >= 2 ? (unsigned)number(m, 2) : 1005;
        break;
    case 9:
        peer_ws(p, 0x8a, m, n);
        break;
    default:
        WORLD_CHECK(opcode == 10);
        p->pongs++;
        break;
    }
}

/* One websocket frame, if it is all there. */
static bool parse_ws(struct world_peer *p)
{
    uint8_t *f = p->in.ptr + p->in.head;
    size_t have = p->in.len;
    size_t at = 2, n;

    if (have < 14 && (have < 2 || have < (f[1] & 0x7fu) + 2u)) {
        return false;
    }
    n = f[1] & 0x7f;
    if (n == 126) {
        n = (size_t)number(f + 2, 2);
        at = 4;
    } else if (n == 127) {
        n = (size_t)number(f + 2, 8);
        at = 10;
    }
    WORLD_CHECK((f[0] & 0x80) != 0 &&
                (f[1] & 0x80) == (p->is_client ? 0 : 0x80));
    at += p->is_client ? 0 : 4;
    if (have < at + n) {
        return false;
    }
    if (!p->is_client) {
        for (size_t i = 0; i < n; i++) {
            f[at + i] ^= f[at - 4 + i % 4];
        }
    }
    on_message(p, f[0] & 0x0f, f + at, n);
    world_bytes_consume(&p->in, at + n);
    return true;
}

static void answer_handshake(struct world_peer *p)
{
    char accept[INL_WS_ACCEPT_LEN + 1] = {0};
    char answer[400];
    const char *key = strcasestr(p->handshake, "Sec-WebSocket-Key: ");
    int n;

    WORLD_CHECK(key != NULL);
    WORLD_CHECK(inl_ws_accept(inl_slice(key + 19, 24), accept) == 0);
    n = snprintf(answer, sizeof(answer),
                 "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                 "Upgrade: websocket\r\nSec-WebSocket-Protocol: inlets.1\r\n"
                 "Sec-WebSocket-Accept: %s\r\n\r\n",
                 accept);
    world_write(p->end, answer, (size_t)n);
}

static size_t shake_hands(struct world_peer *p, const uint8_t *b, size_t n)
{
    size_t used = 0;

    while (used < n && !p->up && p->status == 0) {
        WORLD_CHECK(p->handshake_len + 1 < sizeof(p->handshake));
        p->handshake[p->handshake_len++] = (char)b[used++];
        p->up = p->handshake_len > 4 &&
                memcmp(p->handshake + p->handshake_len - 4, "\r\n\r\n", 4) == 0;
    }
    if (p->up && !p->is_client) {
        answer_handshake(p);
    } else if (p->up) {
        p->status = (unsigned)atoi(p->handshake + 9);
        WORLD_CHECK(p->status == 101 || p->may_fail);
        p->up = p->status == 101;
    }
    if (p->up && p->resumes &&
        strcasestr(p->handshake, "Inlets-Lane:") != NULL) {
        return used; /* it goes on where it was */
    }
    if (p->up) {
        p->rx_lane = 0;
        if (!p->no_hello) {
            peer_hello(p);
        }
    }
    return used;
}

static void raw_rx(struct world_end *e, const uint8_t *b, size_t n)
{
    struct world_peer *p = e->user;
    size_t used = p->up ? 0 : shake_hands(p, b, n);

    if (p->status != 0 && p->status != 101) {
        return; /* the words of a refusal */
    }
    world_bytes_append(&p->in, b + used, n - used);
    while (p->in.len > 0 && parse_ws(p)) {
    }
}

static void raw_eof(struct world_end *e)
{
    struct world_peer *p = e->user;

    p->gone = true;
    world_close(e, false);
}

static void raw_gone(struct world_end *e, int err)
{
    struct world_peer *p = e->user;

    (void)err;
    p->gone = true;
}

static const struct world_raw_ops raw_ops = {raw_rx, raw_eof, raw_gone};

/* ---- life ------------------------------------------------------------- */

static struct world_peer *peer_new(struct world *w)
{
    struct world_peer *p = calloc(1, sizeof(*p));

    WORLD_CHECK(p != NULL);
    p->world = w;
    return p;
}

struct world_peer *peer_to_exit_with(struct world_exit *x, const char *fields)
{
    struct world_peer *p = peer_new(x->world);
    struct world_pipe *pipe = world_pipe(x->world, &x->world->net);
    static const char request[] =
        "GET /tunnel HTTP/1.1\r\nHost: exit\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: " KEY "\r\n"
        "Sec-WebSocket-Protocol: inlets.1\r\n";

    p->is_client = true;
    p->may_fail = p->resumes = fields[0] != '\0';
    p->end = &pipe->end[0];
    world_raw(p->end, &raw_ops, p);
    world_exit_accept(&pipe->end[1], x);
    world_write(p->end, request, sizeof(request) - 1);
    world_write(p->end, fields, strlen(fields));
    world_write(p->end, "\r\n", 2);
    return p;
}

struct world_peer *peer_to_exit(struct world_exit *x)
{
    return peer_to_exit_with(x, "");
}

static void on_accept(struct world_end *e, void *user)
{
    struct world_peer *p = user;

    if (p->end != NULL) { /* a second attempt: not played with */
        world_close(e, true);
        return;
    }
    p->end = e;
    world_raw(e, &raw_ops, p);
}

struct world_peer *peer_as_exit(struct world *w)
{
    struct world_peer *p = peer_new(w);

    world_listen(w, "exit", 80, on_accept, p);
    return p;
}

void peer_free(struct world_peer *p)
{
    if (p->end != NULL) {
        world_raw(p->end, NULL, NULL);
        if (!p->end->closed) {
            world_close(p->end, true);
        }
    }
    free(p->in.ptr);
    free(p->lane.ptr);
    free(p->batch.ptr);
    free(p);
}
