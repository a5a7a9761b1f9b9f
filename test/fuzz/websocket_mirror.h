/* websocket_mirror.h: a websocket by wslay alone, masking and all: what
 * proto/websocket.c must not be told apart from. What both ends saw goes into
 * a `struct seen`, by the same callbacks, so that two of them can be compared
 * after each feed.
 *
 * The rules that are not wslay's are here a second time: no text, no empty
 * message, no flood of frames that carry nothing. */
#ifndef TEST_FUZZ_WEBSOCKET_MIRROR_H
#define TEST_FUZZ_WEBSOCKET_MIRROR_H

#include "base/env.h"
#include "base/slice.h"
#include "proto/websocket.h"
#include <stdlib.h>
#include <wslay/wslay.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(i * 37 + 11);
    }
}

static const struct inl_env_ops env_ops = {.random = fake_random};

/* --- what an end saw ------------------------------------------------------ */

struct seen {
    struct inl_env env;
    struct inl_queue out;
    uint64_t hash; /* of all pieces, beginnings and pongs, in order (FNV-1a) */
    size_t bytes, messages, pongs;
    bool refuses; /* messages that begin with 'x' */
    int err;
};

static void seen_init(struct seen *s)
{
    *s = (struct seen){.hash = 14695981039346656037u};
    inl_env_init(&s->env, &env_ops);
}

static void seen_fini(struct seen *s)
{
    inl_queue_fini(&s->out);
    inl_env_fini(&s->env);
}

static void seen_put(struct seen *s, unsigned what)
{
    s->hash = (s->hash ^ what) * 1099511628211u;
}

static int on_piece(void *user, struct inlets_slice piece, bool first)
{
    struct seen *s = user;

    must(piece.len > 0);
    must(first || s->messages > 0);
    if (first) {
        s->messages++;
        seen_put(s, 0x100);
    }
    if (s->refuses && first && piece.ptr[0] == 'x') {
        return INLETS_EFORBIDDEN;
    }
    for (size_t i = 0; i < piece.len; i++) {
        seen_put(s, (uint8_t)piece.ptr[i]);
    }
    s->bytes += piece.len;
    return 0;
}

static void on_pong(void *user, struct inlets_slice payload)
{
    struct seen *s = user;

    must(payload.len <= 125);
    s->pongs++;
    seen_put(s, 0x200);
    for (size_t i = 0; i < payload.len; i++) {
        seen_put(s, (uint8_t)payload.ptr[i]);
    }
}

static const struct inl_ws_ops ops = {on_piece, on_pong};

/* --- the mirror ----------------------------------------------------------- */

struct mirror {
    struct seen *seen;
    wslay_event_context_ptr events;
    wslay_frame_context_ptr frames;
    enum inl_ws_role role;
    const uint8_t *in;
    size_t in_left;
    uint8_t opcode;
    bool has_bytes, is_closing;
    uint8_t code[2];
    size_t code_have;
    unsigned idle_frames;
    bool close_put;
};

static ssize_t mirror_recv(wslay_event_context_ptr ctx, uint8_t *buf,
                           size_t len, int flags, void *user)
{
    struct mirror *m = user;
    size_t n = len < m->in_left ? len : m->in_left;

    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, m->in, n);
    m->in += n;
    m->in_left -= n;
    return (ssize_t)n;
}

static ssize_t mirror_frame_send(const uint8_t *data, size_t len, int flags,
                                 void *user)
{
    struct mirror *m = user;

    must(inl_queue_append(&m->seen->out, data, len) == 0);
    return (ssize_t)len;
}

static ssize_t mirror_send(wslay_event_context_ptr ctx, const uint8_t *data,
                           size_t len, int flags, void *user)
{
    return mirror_frame_send(data, len, flags, user);
}

static int mirror_frame_genmask(uint8_t *buf, size_t len, void *user)
{
    struct mirror *m = user;

    inl_env_random(&m->seen->env, buf, len);
    return 0;
}

static int mirror_genmask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len,
                          void *user)
{
    return mirror_frame_genmask(buf, len, user);
}

static void mirror_stop(struct mirror *m, int err)
{
    if (m->seen->err == 0) {
        m->seen->err = err;
    }
    wslay_event_shutdown_read(m->events);
}

static void mirror_refuse(struct mirror *m, int err, uint16_t code)
{
    mirror_stop(m, err);
    (void)wslay_event_queue_close(m->events, code, NULL, 0);
}

/* The fake clock stands still. */
static void mirror_count_idle(struct mirror *m)
{
    if (++m->idle_frames > INL_WS_MAX_IDLE_FRAMES) {
        mirror_refuse(m, INLETS_ELIMIT, 1008);
    }
}

static void
mirror_frame_start(wslay_event_context_ptr ctx,
                   const struct wslay_event_on_frame_recv_start_arg *a,
                   void *user)
{
    struct mirror *m = user;

    m->opcode = a->opcode;
    m->is_closing = a->opcode == WSLAY_CONNECTION_CLOSE;
    if (a->opcode == WSLAY_TEXT_FRAME) {
        mirror_refuse(m, INLETS_EPROTO, 1003);
    } else if (a->payload_length == 0 && !a->fin) {
        mirror_count_idle(m);
    }
}

static void
mirror_frame_chunk(wslay_event_context_ptr ctx,
                   const struct wslay_event_on_frame_recv_chunk_arg *a,
                   void *user)
{
    struct mirror *m = user;
    bool first = !m->has_bytes;
    int err;

    for (size_t i = 0; m->is_closing && i < a->data_length; i++) {
        if (m->code_have < sizeof(m->code)) {
            m->code[m->code_have++] = a->data[i];
        }
    }
    if (m->seen->err != 0 || wslay_is_ctrl_frame(m->opcode) ||
        a->data_length == 0) {
        return;
    }
    m->has_bytes = true;
    err = on_piece(m->seen, inl_slice(a->data, a->data_length), first);
    if (err != 0) {
        mirror_stop(m, err);
    }
}

static void mirror_message(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_msg_recv_arg *a,
                           void *user)
{
    struct mirror *m = user;

    if (!wslay_is_ctrl_frame(a->opcode)) {
        if (!m->has_bytes && m->seen->err == 0) {
            mirror_refuse(m, INLETS_EPROTO, 1002);
        }
        m->has_bytes = false;
    } else if (a->opcode == WSLAY_CONNECTION_CLOSE) {
        mirror_stop(m, INLETS_ECLOSED);
    } else {
        mirror_count_idle(m);
        if (a->opcode == WSLAY_PONG && m->seen->err == 0) {
            on_pong(m->seen, inl_slice(a->msg, a->msg_length));
        }
    }
}

static void mirror_init(struct mirror *m, struct seen *seen,
                        enum inl_ws_role role)
{
    static const struct wslay_event_callbacks events = {
        .recv_callback = mirror_recv,
        .send_callback = mirror_send,
        .genmask_callback = mirror_genmask,
        .on_frame_recv_start_callback = mirror_frame_start,
        .on_frame_recv_chunk_callback = mirror_frame_chunk,
        .on_msg_recv_callback = mirror_message,
    };
    static const struct wslay_frame_callbacks frames = {
        .send_callback = mirror_frame_send,
        .genmask_callback = mirror_frame_genmask,
    };

    *m = (struct mirror){.seen = seen, .role = role};
    must((role == INL_WS_SERVER
              ? wslay_event_context_server_init(&m->events, &events, m)
              : wslay_event_context_client_init(&m->events, &events, m)) == 0);
    wslay_event_config_set_no_buffering(m->events, 1);
    wslay_event_config_set_max_recv_msg_length(m->events, INL_WS_MAX_FRAME);
    must(wslay_frame_context_init(&m->frames, &frames, m) == 0);
}

static void mirror_fini(struct mirror *m)
{
    wslay_event_context_free(m->events);
    wslay_frame_context_free(m->frames);
}

static void mirror_put_frame(struct mirror *m, uint8_t opcode, const uint8_t *p,
                             size_t n)
{
    struct wslay_frame_iocb iocb = {.fin = 1,
                                    .opcode = opcode,
                                    .mask = m->role == INL_WS_CLIENT,
                                    .payload_length = n,
                                    .data = p,
                                    .data_length = n};

    must(wslay_frame_send(m->frames, &iocb) == (ssize_t)n);
}

/* A malformed head: wslay's own close frame would have no code. */
static int mirror_malformed(struct mirror *m)
{
    wslay_event_shutdown_write(m->events);
    if (!m->close_put) {
        mirror_put_frame(m, WSLAY_CONNECTION_CLOSE, (const uint8_t *)"\x03\xea",
                         2);
        m->close_put = true;
    }
    return INLETS_EPROTO;
}

static int mirror_feed(struct mirror *m, const uint8_t *p, size_t n)
{
    int rc;

    if (m->seen->err != 0) {
        return m->seen->err;
    }
    m->in = p;
    m->in_left = n;
    rc = wslay_event_recv(m->events);
    if (rc != 0) {
        m->seen->err = mirror_malformed(m);
        return m->seen->err;
    }
    must(wslay_event_send(m->events) == 0);
    m->close_put = m->close_put || wslay_event_get_close_sent(m->events);
    if (m->seen->err == 0 && !wslay_event_get_read_enabled(m->events)) {
        m->seen->err = m->is_closing ? INLETS_ECLOSED : INLETS_EPROTO;
    }
    return m->seen->err;
}

static uint16_t mirror_close_code(const struct mirror *m)
{
    if (m->seen->err != INLETS_ECLOSED) {
        return 0;
    }
    if (m->code_have < 2) {
        return 1005;
    }
    return (uint16_t)(m->code[0] << 8 | m->code[1]);
}

#endif
