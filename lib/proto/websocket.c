/* websocket.c: RFC 6455 frames by wslay, for one tunnel connection.
 *
 *   open --close sent or received, error--> done
 *
 * Receiving: wslay's event layer without buffering. It checks masks, reserved
 * bits, lengths, opcodes and the order of fragments, answers pings and closes.
 * inl_ws_feed lends it the input; what it hands back are pieces of at most
 * 4 KiB of its own buffer, already unmasked.
 *
 * Sending: messages go through a wslay frame context, one whole frame at a
 * time, so control frames of the event layer always fall between them. wslay
 * passes an unmasked payload to the send callback untouched, and there it is
 * appended by reference; a masked one arrives in scratch and is copied.
 *
 * Ownership: the two wslay contexts and `lent` are ours; `out` is the
 * link's. wslay takes its memory from malloc, not from inl_malloc.
 *
 * Failure: the first error sticks in ws->err and no more input is read. Errors
 * that we find ourselves put a close frame into `out` first. Where wslay
 * would close without a code (a malformed header), its queue is left alone
 * and we send 1002. `broken`: memory ran out in the middle of a frame.
 *
 * Known about wslay 1.1.1: it checks the UTF-8 of a close reason piece by
 * piece, skipping two bytes of each, so a reason that arrives in pieces may
 * be answered 1007 although it is fine, or taken although it is not. Either
 * way the peer has closed, and that is what feed returns. */
#include "proto/websocket.h"
#include "base/mem.h"
#include "base/slice.h"
#include <string.h>
#include <wslay/wslay.h>

#define IDLE_PERIOD_MS 1000u

struct inl_ws {
    struct inl_env *env;
    struct inl_queue *out;
    const struct inl_ws_ops *ops;
    void *user;
    enum inl_ws_role role;
    wslay_event_context_ptr events; /* owned: receiving, control frames */
    wslay_frame_context_ptr frames; /* owned: sending messages */

    const uint8_t *in; /* borrowed, during feed */
    size_t in_left;
    uint8_t opcode;        /* of the frame being received */
    bool in_message;       /* a piece of the present message was passed on */
    bool is_closing_frame; /* the peer's close is being received */
    uint8_t code[2];       /* the first bytes of its payload */
    size_t code_have;
    int err; /* the first error; sticks */

    const struct inl_queue *shared; /* borrowed: the send callback refers */
    size_t shared_off;              /* to it from here on, does not copy */
    struct inl_queue lent;          /* a payload on its way to be masked */
    bool close_put;                 /* our close frame is in `out` */
    bool broken;                    /* `out` ends in a part of a frame */

    uint64_t idle_since_ms; /* frames that carry nothing, in this second */
    unsigned idle_frames;
};

/* --- callbacks of wslay ----------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len,
                       int flags, void *user)
{
    struct inl_ws *ws = user;
    const size_t n = len < ws->in_left ? len : ws->in_left;

    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, ws->in, n);
    ws->in += n;
    ws->in_left -= n;
    return (ssize_t)n;
}

static ssize_t on_event_send(wslay_event_context_ptr ctx, const uint8_t *data,
                             size_t len, int flags, void *user)
{
    struct inl_ws *ws = user;

    if (inl_queue_append(ws->out, data, len) != 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)len;
}

static ssize_t on_frame_send(const uint8_t *data, size_t len, int flags,
                             void *user)
{
    struct inl_ws *ws = user;
    int err = ws->shared != NULL
                  ? inl_queue_share(ws->out, ws->shared, ws->shared_off, len)
                  : inl_queue_append(ws->out, data, len);

    return err != 0 ? -1 : (ssize_t)len;
}

static int on_frame_genmask(uint8_t *buf, size_t len, void *user)
{
    struct inl_ws *ws = user;

    inl_env_random(ws->env, buf, len);
    return 0;
}

static int on_event_genmask(wslay_event_context_ptr ctx, uint8_t *buf,
                            size_t len, void *user)
{
    return on_frame_genmask(buf, len, user);
}

/* Stops reading; the first error counts. */
static void stop(struct inl_ws *ws, int err)
{
    if (ws->err == 0) {
        ws->err = err;
    }
    wslay_event_shutdown_read(ws->events);
}

/* Stops reading, and the peer is told why. */
static void refuse(struct inl_ws *ws, int err, uint16_t code)
{
    stop(ws, err);
    if (wslay_event_queue_close(ws->events, code, NULL, 0) == WSLAY_ERR_NOMEM) {
        ws->err = INLETS_ENOMEM;
    }
}

static void count_idle_frame(struct inl_ws *ws)
{
    const uint64_t now_ms = ws->env->now_ms;

    if (now_ms - ws->idle_since_ms >= IDLE_PERIOD_MS) {
        ws->idle_since_ms = now_ms;
        ws->idle_frames = 0;
    }
    if (++ws->idle_frames > INL_WS_MAX_IDLE_FRAMES) {
        refuse(ws, INLETS_ELIMIT, WSLAY_CODE_POLICY_VIOLATION);
    }
}

static void on_frame_start(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_start_arg *a,
                           void *user)
{
    struct inl_ws *ws = user;

    ws->opcode = a->opcode;
    ws->is_closing_frame = a->opcode == WSLAY_CONNECTION_CLOSE;
    if (a->opcode == WSLAY_TEXT_FRAME) {
        refuse(ws, INLETS_EPROTO, WSLAY_CODE_UNSUPPORTED_DATA);
    } else if (a->payload_length == 0 && !a->fin) {
        count_idle_frame(ws);
    }
}

/* A close frame's code, kept by us: see the note on wslay above. */
static void keep_code(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && ws->code_have < sizeof(ws->code); i++) {
        ws->code[ws->code_have++] = p[i];
    }
}

static void on_frame_chunk(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_chunk_arg *a,
                           void *user)
{
    struct inl_ws *ws = user;
    const bool first = !ws->in_message;
    int err;

    if (ws->is_closing_frame) {
        keep_code(ws, a->data, a->data_length);
    }
    if (ws->err != 0 || wslay_is_ctrl_frame(ws->opcode) ||
        a->data_length == 0) {
        return;
    }
    ws->in_message = true;
    err =
        ws->ops->on_piece(ws->user, inl_slice(a->data, a->data_length), first);
    if (err != 0) {
        stop(ws, err);
    }
}

/* The end of a data message. One without any byte has no kind. */
static void message_done(struct inl_ws *ws)
{
    if (!ws->in_message && ws->err == 0) {
        refuse(ws, INLETS_EPROTO, WSLAY_CODE_PROTOCOL_ERROR);
    }
    ws->in_message = false;
}

static void on_message(wslay_event_context_ptr ctx,
                       const struct wslay_event_on_msg_recv_arg *a, void *user)
{
    struct inl_ws *ws = user;

    if (!wslay_is_ctrl_frame(a->opcode)) {
        message_done(ws);
        return;
    }
    if (a->opcode == WSLAY_CONNECTION_CLOSE) {
        stop(ws, INLETS_ECLOSED);
        return;
    }
    count_idle_frame(ws);
    if (a->opcode == WSLAY_PONG && ws->err == 0 && ws->ops->on_pong != NULL) {
        ws->ops->on_pong(ws->user, inl_slice(a->msg, a->msg_length));
    }
}

/* --- life ---------------------------------------------------------------- */

static const struct wslay_event_callbacks event_callbacks = {
    .recv_callback = on_recv,
    .send_callback = on_event_send,
    .genmask_callback = on_event_genmask,
    .on_frame_recv_start_callback = on_frame_start,
    .on_frame_recv_chunk_callback = on_frame_chunk,
    .on_msg_recv_callback = on_message,
};
static const struct wslay_frame_callbacks frame_callbacks = {
    .send_callback = on_frame_send,
    .genmask_callback = on_frame_genmask,
};

/* On failure wslay frees what it made but may leave the pointer dangling. */
static int init_contexts(struct inl_ws *ws)
{
    wslay_event_context_ptr events;
    wslay_frame_context_ptr frames;
    int rc =
        ws->role == INL_WS_SERVER
            ? wslay_event_context_server_init(&events, &event_callbacks, ws)
            : wslay_event_context_client_init(&events, &event_callbacks, ws);

    if (rc != 0) {
        return INLETS_ENOMEM;
    }
    ws->events = events;
    wslay_event_config_set_no_buffering(events, 1);
    wslay_event_config_set_max_recv_msg_length(events, INL_WS_MAX_FRAME);
    if (wslay_frame_context_init(&frames, &frame_callbacks, ws) != 0) {
        return INLETS_ENOMEM;
    }
    ws->frames = frames;
    return 0;
}

struct inl_ws *inl_ws_new(struct inl_env *env, enum inl_ws_role role,
                          struct inl_queue *out, const struct inl_ws_ops *ops,
                          void *user)
{
    struct inl_ws *ws = inl_calloc(1, sizeof(*ws));

    if (ws == NULL) {
        return NULL;
    }
    ws->env = env;
    ws->role = role;
    ws->out = out;
    ws->ops = ops;
    ws->user = user;
    ws->idle_since_ms = env->now_ms;
    inl_queue_init(&ws->lent);
    if (init_contexts(ws) != 0) {
        inl_ws_free(ws);
        return NULL;
    }
    return ws;
}

void inl_ws_free(struct inl_ws *ws)
{
    if (ws == NULL) {
        return;
    }
    if (ws->frames != NULL) {
        wslay_frame_context_free(ws->frames);
    }
    if (ws->events != NULL) {
        wslay_event_context_free(ws->events);
    }
    inl_queue_fini(&ws->lent);
    inl_free(ws);
}

/* --- sending -------------------------------------------------------------- */

static bool is_masking(const struct inl_ws *ws)
{
    return ws->role == INL_WS_CLIENT;
}

/* May anything be appended to out? */
static int check_writable(const struct inl_ws *ws)
{
    if (ws->broken) {
        return INLETS_ENOMEM;
    }
    return ws->close_put ? INLETS_ECLOSED : 0;
}

static int break_off(struct inl_ws *ws)
{
    ws->broken = true;
    return INLETS_ENOMEM;
}

/* A piece of the frame's payload; the first one brings the header along. */
static int send_part(struct inl_ws *ws, struct wslay_frame_iocb *iocb,
                     const void *ptr, size_t n)
{
    iocb->data = ptr;
    iocb->data_length = n;
    return wslay_frame_send(ws->frames, iocb) == (ssize_t)n ? 0 : INLETS_ENOMEM;
}

/* At once, by reference. wslay does not look at the bytes, so it is given
 * the address of something else. */
static int send_shared(struct inl_ws *ws, struct wslay_frame_iocb *iocb,
                       const struct inl_queue *payload, size_t off, size_t n)
{
    int err;

    ws->shared = payload;
    ws->shared_off = off;
    err = send_part(ws, iocb, payload, n);
    ws->shared = NULL;
    return err;
}

/* Piece by piece; wslay masks into scratch, from where it is appended. */
static int send_masked(struct inl_ws *ws, struct wslay_frame_iocb *iocb,
                       const struct inl_queue *payload, size_t off, size_t n)
{
    int err = inl_queue_share(&ws->lent, payload, off, n);

    while (err == 0 && ws->lent.bytes > 0) {
        const struct inlets_slice s = inl_queue_front(&ws->lent);

        err = send_part(ws, iocb, s.ptr, s.len);
        inl_queue_consume(&ws->lent, s.len);
    }
    inl_queue_clear(&ws->lent);
    return err;
}

int inl_ws_put_message(struct inl_ws *ws, uint8_t kind,
                       const struct inl_queue *payload, size_t off, size_t n)
{
    struct wslay_frame_iocb iocb = {.fin = 1,
                                    .opcode = WSLAY_BINARY_FRAME,
                                    .mask = is_masking(ws),
                                    .payload_length = 1 + (uint64_t)n};
    int err = check_writable(ws);

    if (err != 0) {
        return err;
    }
    err = send_part(ws, &iocb, &kind, 1);
    if (err == 0 && n > 0) {
        err = is_masking(ws) ? send_masked(ws, &iocb, payload, off, n)
                             : send_shared(ws, &iocb, payload, off, n);
    }
    return err != 0 ? break_off(ws) : 0;
}

/* Writes what the event layer has queued: pongs, closes, our control frames. */
static int flush_events(struct inl_ws *ws)
{
    if (ws->broken) {
        return INLETS_ENOMEM;
    }
    if (wslay_event_send(ws->events) != 0) {
        return break_off(ws);
    }
    if (wslay_event_get_close_sent(ws->events)) {
        ws->close_put = true;
    }
    return 0;
}

/* wslay's answer to a queueing function. */
static int queue_err(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case WSLAY_ERR_NO_MORE_MSG:
        return INLETS_ECLOSED;
    case WSLAY_ERR_INVALID_ARGUMENT:
        return INLETS_EINVAL;
    default:
        return INLETS_ENOMEM;
    }
}

int inl_ws_put_ping(struct inl_ws *ws, struct inlets_slice payload)
{
    const struct wslay_event_msg msg = {
        WSLAY_PING, (const uint8_t *)payload.ptr, payload.len};
    int err = check_writable(ws);

    if (err == 0) {
        err = queue_err(wslay_event_queue_msg(ws->events, &msg));
    }
    return err != 0 ? err : flush_events(ws);
}

int inl_ws_put_close(struct inl_ws *ws, uint16_t code,
                     struct inlets_slice reason)
{
    int err = check_writable(ws);

    if (err == 0) {
        err = queue_err(wslay_event_queue_close(
            ws->events, code, (const uint8_t *)reason.ptr, reason.len));
    }
    return err != 0 ? err : flush_events(ws);
}

/* --- receiving ------------------------------------------------------------ */

/* A close frame past the event layer, whose own has no code in it. */
static int send_protocol_close(struct inl_ws *ws)
{
    static const uint8_t code[2] = {WSLAY_CODE_PROTOCOL_ERROR >> 8,
                                    WSLAY_CODE_PROTOCOL_ERROR & 0xff};
    struct wslay_frame_iocb iocb = {.fin = 1,
                                    .opcode = WSLAY_CONNECTION_CLOSE,
                                    .mask = is_masking(ws),
                                    .payload_length = sizeof(code)};

    wslay_event_shutdown_write(ws->events);
    if (check_writable(ws) != 0) {
        return 0;
    }
    ws->close_put = true;
    return send_part(ws, &iocb, code, sizeof(code)) != 0 ? break_off(ws) : 0;
}

/* wslay stopped without an error of ours: it has queued a close frame for
 * something that it refused. If that was in the peer's own close frame (its
 * code, its UTF-8), the peer has closed all the same. */
static int wslay_verdict(const struct inl_ws *ws)
{
    return ws->is_closing_frame ? INLETS_ECLOSED : INLETS_EPROTO;
}

static int after_recv(struct inl_ws *ws, int rc)
{
    int err;

    if (rc == WSLAY_ERR_NOMEM) {
        return INLETS_ENOMEM;
    }
    /* Our callbacks never fail in wslay's eyes: it is a malformed header. */
    err = rc != 0 ? send_protocol_close(ws) : flush_events(ws);
    if (err == 0) {
        err = rc != 0 ? INLETS_EPROTO : ws->err;
    }
    if (err == 0 && !wslay_event_get_read_enabled(ws->events)) {
        err = wslay_verdict(ws);
    }
    return err;
}

int inl_ws_feed(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    int rc;

    if (ws->err != 0) {
        return ws->err;
    }
    ws->in = p;
    ws->in_left = n;
    rc = wslay_event_recv(ws->events);
    ws->in = NULL;
    ws->in_left = 0;
    ws->err = after_recv(ws, rc);
    return ws->err;
}

uint16_t inl_ws_close_code(const struct inl_ws *ws)
{
    if (ws->err != INLETS_ECLOSED) {
        return 0;
    }
    if (ws->code_have < sizeof(ws->code)) {
        return WSLAY_CODE_NO_STATUS_RCVD;
    }
    return (uint16_t)(ws->code[0] << 8 | ws->code[1]);
}
