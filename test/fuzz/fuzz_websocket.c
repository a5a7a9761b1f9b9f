/* fuzz_websocket.c: hostile websocket bytes. The first byte: bit 0 our role,
 * bit 1 whether the callback refuses a message that begins with 'x', the
 * rest how to cut.
 *
 * Must hold: cut or whole, the same pieces, messages and error; an error
 * stays; what we send in answer is well-formed. The one exception is wslay's
 * UTF-8 check of a close reason, which depends on the cuts (websocket.c): one
 * run may have closed while the other waits for the rest of the reason. */
#include "base/env.h"
#include "base/slice.h"
#include "proto/websocket.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    memset(ptr, 0x5a, n);
}

static const struct inl_env_ops env_ops = {.random = fake_random};

/* What a run saw. */
struct run {
    struct inl_env env;
    struct inl_queue out;
    uint64_t hash; /* of all pieces (FNV-1a) */
    size_t bytes, messages, pongs;
    bool refuses;
    int err;
};

static int on_piece(void *user, struct inlets_slice piece, bool first)
{
    struct run *r = user;

    must(piece.len > 0);
    must(first || r->messages > 0);
    r->messages += first;
    if (r->refuses && first && piece.ptr[0] == 'x') {
        return INLETS_EFORBIDDEN;
    }
    for (size_t i = 0; i < piece.len; i++) {
        r->hash = (r->hash ^ (uint8_t)piece.ptr[i]) * 1099511628211u;
    }
    r->bytes += piece.len;
    return 0;
}

static void on_pong(void *user, struct inlets_slice payload)
{
    struct run *r = user;

    must(payload.len <= 125);
    r->pongs++;
}

static const struct inl_ws_ops ops = {on_piece, on_pong};

static void run_init(struct run *r)
{
    *r = (struct run){.hash = 14695981039346656037u};
    inl_env_init(&r->env, &env_ops);
}

static void run_fini(struct run *r)
{
    inl_queue_fini(&r->out);
    inl_env_fini(&r->env);
}

/* From a copy of the exact size, so that ASan sees one byte too far. */
static int feed_copy(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);
    int err;

    must(copy != NULL);
    memcpy(copy, p, n);
    err = inl_ws_feed(ws, copy, n);
    free(copy);
    return err;
}

/* Our own frames, read by the other role: only a close may end it. */
static void must_be_readable(struct run *r, enum inl_ws_role role)
{
    struct run peer;
    struct inl_ws *ws;
    int err = 0;

    run_init(&peer);
    ws = inl_ws_new(&peer.env,
                    role == INL_WS_SERVER ? INL_WS_CLIENT : INL_WS_SERVER,
                    &peer.out, &ops, &peer);
    must(ws != NULL);
    while (r->out.bytes > 0 && err == 0) {
        const struct inlets_slice s = inl_queue_front(&r->out);

        err = feed_copy(ws, (const uint8_t *)s.ptr, s.len);
        inl_queue_consume(&r->out, s.len);
    }
    must(err == 0 || err == INLETS_ECLOSED);
    must(peer.messages == 0);
    inl_ws_free(ws);
    run_fini(&peer);
}

static void play(struct run *r, enum inl_ws_role role, const uint8_t *p,
                 size_t n, unsigned cut)
{
    struct inl_ws *ws = inl_ws_new(&r->env, role, &r->out, &ops, r);

    must(ws != NULL);
    for (size_t at = 0, step; at < n && r->err == 0; at += step) {
        step = cut == 0 ? n : 1 + (at * 7 + cut) % cut;
        step = step < n - at ? step : n - at;
        r->err = feed_copy(ws, p + at, step);
    }
    must(r->err == 0 || inl_ws_feed(ws, p, n) == r->err);
    must(r->err == INLETS_ECLOSED || inl_ws_close_code(ws) == 0);
    inl_ws_free(ws);
    must_be_readable(r, role);
}

static bool is_closing(const struct run *r)
{
    return r->err == INLETS_ECLOSED || r->err == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, cut;
    enum inl_ws_role role;

    if (size < 2) {
        return 0;
    }
    role = (data[0] & 1) != 0 ? INL_WS_CLIENT : INL_WS_SERVER;
    run_init(&whole);
    run_init(&cut);
    whole.refuses = cut.refuses = (data[0] & 2) != 0;
    play(&whole, role, data + 1, size - 1, 0);
    play(&cut, role, data + 1, size - 1, data[0] / 4u + 1);
    must(whole.err == cut.err || (is_closing(&whole) && is_closing(&cut)));
    must(whole.hash == cut.hash && whole.bytes == cut.bytes);
    must(whole.messages == cut.messages && whole.pongs == cut.pongs);
    run_fini(&whole);
    run_fini(&cut);
    inl_queue_trim();
    return 0;
}
