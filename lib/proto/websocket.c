/* websocket.c: RFC 6455 frames for one tunnel connection: data by a fast path
 * of ours, everything else by wslay.
 *
 *   open --close sent or received, error--> done
 *   receiving: HEAD --well-formed data frame--> DATA --its end--> HEAD
 *              HEAD --control frame--> WSLAY --its end--> HEAD
 *              HEAD --anything else--> WSLAY, for good
 *
 * Who judges: the fast path only knows what a good data frame looks like (no
 * reserved bit, masked as the role wants, the opcode that is due, a minimal
 * length within INL_WS_MAX_FRAME). As soon as a head cannot be one any more,
 * its bytes and all that follow go to wslay's event layer, which finds the
 * offence itself and says the code; it is told of a message in progress by an
 * empty fragment of ours in front. Well-formed control frames pass through it
 * too: it answers pings and closes and checks codes and UTF-8. It never gets
 * to see a good data frame.
 *
 * Who copies: what a server sends arrives as slices of the input and leaves
 * by reference. What a client sends is masked once, from the payload's chunks
 * straight into those of `out`, and unmasked by the server into a scratch
 * that stays in the CPU's nearest cache: the input is not ours to write to.
 *
 * Ownership: the wslay context is ours; `out` is the link's. wslay takes its
 * memory from malloc, not from inl_malloc.
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
#include "proto/mask.h"
#include <string.h>
#include <wslay/wslay.h>

#define IDLE_PERIOD_MS 1000u

/* The first two bytes of a frame (section 5.2). */
#define BIT_FIN 0x80u
#define BITS_RESERVED 0x70u
#define BITS_OPCODE 0x0fu
#define BIT_MASK 0x80u
#define BITS_LENGTH 0x7fu
#define LENGTH_IN_16 126u /* the length follows in two bytes, */
#define LENGTH_IN_64 127u /* in eight */
#define HEAD_MAX (2u + 8u + INL_MASK_KEY_LEN)

/* What a server unmasks at once. On the stack, and not to be zeroed first
 * (-ftrivial-auto-var-init): it is all written before it is read. */
#define SCRATCH_BYTES 16384u
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#endif
#endif
#ifndef UNINITIALIZED
#define UNINITIALIZED
#endif

/* Bytes of payload that are written together with the head: the kind of a
 * message, the code of a close. */
#define HEAD_START_MAX 2u

enum rx_state {
    RX_HEAD,
    RX_DATA, /* the payload of a data frame */
    RX_WSLAY /* what is wslay's */
};

struct inl_ws {
    struct inl_env *env;
    struct inl_queue *out;
    const struct inl_ws_ops *ops;
    void *user;
    enum inl_ws_role role;
    wslay_event_context_ptr events; /* owned: all but good data frames */

    const uint8_t *in; /* borrowed, during feed */
    size_t in_left;
    enum rx_state rx;
    uint8_t head[HEAD_MAX];
    size_t head_have;
    uint64_t rx_left;              /* bytes until the next head */
    uint8_t key[INL_MASK_KEY_LEN]; /* for the next of them, when masked */
    bool is_last;                  /* the frame ends its message */
    bool in_message;               /* a continuation is due */
    bool has_bytes;                /* a piece of the message was passed on */
    int err;                       /* the first error; sticks */

    const uint8_t *lent; /* borrowed: what wslay may read */
    size_t lent_left;
    bool is_closing_frame; /* the peer's close is being received */
    uint8_t code[2];       /* the first bytes of its payload */
    size_t code_have;

    bool close_put; /* our close frame is in `out` */
    bool broken;    /* `out` ends in a part of a frame */

    uint64_t idle_since_ms; /* frames that carry nothing, in this second */
    unsigned idle_frames;
};

/* --- callbacks of wslay ----------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len,
                       int flags, void *user)
{
    struct inl_ws *ws = user;
    const size_t n = len < ws->lent_left ? len : ws->lent_left;

    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, ws->lent, n);
    ws->lent += n;
    ws->lent_left -= n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data,
                       size_t len, int flags, void *user)
{
    struct inl_ws *ws = user;

    if (inl_queue_append(ws->out, data, len) != 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)len;
}

static int on_genmask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len,
                      void *user)
{
    struct inl_ws *ws = user;

    inl_env_random(ws->env, buf, len);
    return 0;
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

/* Is it what tell_of_message() says? No peer's: those are good data frames. */
static bool is_primer(const struct wslay_event_on_frame_recv_start_arg *a)
{
    return a->opcode == WSLAY_BINARY_FRAME && !a->fin && a->payload_length == 0;
}

static void on_frame_start(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_start_arg *a,
                           void *user)
{
    struct inl_ws *ws = user;

    ws->is_closing_frame = a->opcode == WSLAY_CONNECTION_CLOSE;
    if (a->opcode == WSLAY_TEXT_FRAME) {
        refuse(ws, INLETS_EPROTO, WSLAY_CODE_UNSUPPORTED_DATA);
    } else if (!wslay_is_ctrl_frame(a->opcode) && !is_primer(a)) {
        /* Only if the two ever disagree on what is good. */
        refuse(ws, INLETS_EPROTO, WSLAY_CODE_PROTOCOL_ERROR);
    }
}

/* A close frame's code, kept by us: see the note on wslay above. */
static void on_frame_chunk(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_chunk_arg *a,
                           void *user)
{
    struct inl_ws *ws = user;

    for (size_t i = 0; ws->is_closing_frame && i < a->data_length &&
                       ws->code_have < sizeof(ws->code);
         i++) {
        ws->code[ws->code_have++] = a->data[i];
    }
}

static void on_message(wslay_event_context_ptr ctx,
                       const struct wslay_event_on_msg_recv_arg *a, void *user)
{
    struct inl_ws *ws = user;

    if (!wslay_is_ctrl_frame(a->opcode)) {
        return; /* was refused at its start */
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
    .send_callback = on_send,
    .genmask_callback = on_genmask,
    .on_frame_recv_start_callback = on_frame_start,
    .on_frame_recv_chunk_callback = on_frame_chunk,
    .on_msg_recv_callback = on_message,
};

/* On failure wslay frees what it made but may leave the pointer dangling. */
static int init_events(struct inl_ws *ws)
{
    wslay_event_context_ptr events;
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
    if (init_events(ws) != 0) {
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
    if (ws->events != NULL) {
        wslay_event_context_free(ws->events);
    }
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

/* The head of a final frame with n bytes of payload, without the key. */
static size_t write_head(uint8_t head[HEAD_MAX], uint8_t opcode, uint8_t mask,
                         uint64_t n)
{
    size_t bytes = 0, len = 2;

    head[0] = (uint8_t)(BIT_FIN | opcode);
    if (n < LENGTH_IN_16) {
        head[1] = (uint8_t)(mask | n);
    } else {
        bytes = n <= UINT16_MAX ? 2 : 8;
        head[1] = (uint8_t)(mask | (bytes == 2 ? LENGTH_IN_16 : LENGTH_IN_64));
    }
    while (bytes > 0) {
        head[len++] = (uint8_t)(n >> 8 * --bytes);
    }
    return len;
}

/* The head of a frame and the first k (of n) bytes of its payload, a few; key
 * is then the one for the bytes to come. */
static int put_head(struct inl_ws *ws, uint8_t opcode, uint64_t n,
                    const uint8_t *start, size_t k,
                    uint8_t key[INL_MASK_KEY_LEN])
{
    uint8_t head[HEAD_MAX + HEAD_START_MAX];
    size_t len = write_head(head, opcode, is_masking(ws) ? BIT_MASK : 0, n);

    if (is_masking(ws)) {
        inl_env_random(ws->env, key, INL_MASK_KEY_LEN);
        memcpy(head + len, key, INL_MASK_KEY_LEN);
        len += INL_MASK_KEY_LEN;
        inl_mask(key, head + len, start, k);
    } else {
        memcpy(head + len, start, k);
    }
    return inl_queue_append(ws->out, head, len + k);
}

static void copy_masked(void *user, uint8_t *dst, const uint8_t *src, size_t n)
{
    inl_mask(user, dst, src, n);
}

int inl_ws_put_message(struct inl_ws *ws, uint8_t kind,
                       const struct inl_queue *payload, size_t off, size_t n)
{
    uint8_t key[INL_MASK_KEY_LEN];
    int err = check_writable(ws);

    if (err != 0) {
        return err;
    }
    err = put_head(ws, WSLAY_BINARY_FRAME, 1 + (uint64_t)n, &kind, 1, key);
    if (err == 0) {
        err = is_masking(ws) ? inl_queue_append_through(ws->out, payload, off,
                                                        n, copy_masked, key)
                             : inl_queue_share(ws->out, payload, off, n);
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

/* --- receiving: what is wslay's --- */

static int feed_wslay(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    int rc;

    ws->lent = p;
    ws->lent_left = n;
    rc = wslay_event_recv(ws->events);
    ws->lent = NULL;
    ws->lent_left = 0;
    return rc;
}

/* wslay has seen no data frame yet; whether a message is in progress decides
 * which opcodes may come. An empty first fragment says it. */
static int tell_of_message(struct inl_ws *ws)
{
    const uint8_t primer[2 + INL_MASK_KEY_LEN] = {
        WSLAY_BINARY_FRAME, is_masking(ws) ? 0 : BIT_MASK};

    return feed_wslay(ws, primer, is_masking(ws) ? 2 : sizeof(primer));
}

/* The head so far and the `left` bytes that follow. */
static int pass_to_wslay(struct inl_ws *ws, uint64_t left)
{
    const size_t n = ws->head_have;

    ws->head_have = 0;
    ws->rx_left = left;
    ws->rx = left > 0 ? RX_WSLAY : RX_HEAD;
    return feed_wslay(ws, ws->head, n);
}

/* Not a good frame: the rest of the connection is wslay's. */
static int give_up(struct inl_ws *ws)
{
    const int rc = ws->in_message ? tell_of_message(ws) : 0;

    return rc != 0 ? rc : pass_to_wslay(ws, UINT64_MAX);
}

static int read_by_wslay(struct inl_ws *ws)
{
    const uint8_t *p = ws->in;
    size_t n = ws->in_left;

    if (n > ws->rx_left) {
        n = (size_t)ws->rx_left;
    }
    ws->in += n;
    ws->in_left -= n;
    ws->rx_left -= n;
    if (ws->rx_left == 0) {
        ws->rx = RX_HEAD;
    }
    return feed_wslay(ws, p, n);
}

/* --- receiving: heads --- */

/* Completes the first `want` bytes of the head; false: more must come. */
static bool gather(struct inl_ws *ws, size_t want)
{
    while (ws->head_have < want && ws->in_left > 0) {
        ws->head[ws->head_have++] = *ws->in++;
        ws->in_left--;
    }
    return ws->head_have >= want;
}

/* Reserved bits and the mask are as they must be. */
static bool is_plain(const struct inl_ws *ws)
{
    const unsigned mask = is_masking(ws) ? 0 : BIT_MASK; /* the peer's */

    return (ws->head[0] & BITS_RESERVED) == 0 &&
           (ws->head[1] & BIT_MASK) == mask;
}

static bool is_good_control(const struct inl_ws *ws)
{
    const unsigned opcode = ws->head[0] & BITS_OPCODE;

    return opcode >= WSLAY_CONNECTION_CLOSE && opcode <= WSLAY_PONG &&
           (ws->head[0] & BIT_FIN) != 0 &&
           (ws->head[1] & BITS_LENGTH) < LENGTH_IN_16;
}

static bool is_due_data(const struct inl_ws *ws)
{
    return (ws->head[0] & BITS_OPCODE) ==
           (ws->in_message ? WSLAY_CONTINUATION_FRAME : WSLAY_BINARY_FRAME);
}

/* How many bytes of length follow the first two. */
static size_t length_bytes(const struct inl_ws *ws)
{
    switch (ws->head[1] & BITS_LENGTH) {
    case LENGTH_IN_16:
        return 2;
    case LENGTH_IN_64:
        return 8;
    default:
        return 0;
    }
}

/* Minimal, and not longer than we take. */
static bool is_good_length(const struct inl_ws *ws, uint64_t *ret_n)
{
    const size_t bytes = length_bytes(ws);
    uint64_t n = 0;

    for (size_t i = 0; i < bytes; i++) {
        n = n << 8 | ws->head[2 + i];
    }
    switch (bytes) {
    case 0:
        *ret_n = ws->head[1] & BITS_LENGTH;
        return true;
    case 2:
        *ret_n = n;
        return n >= LENGTH_IN_16;
    default:
        *ret_n = n;
        return n > UINT16_MAX && n <= INL_WS_MAX_FRAME;
    }
}

/* The end of a data frame. A message without any byte has no kind. */
static void frame_done(struct inl_ws *ws)
{
    ws->rx = RX_HEAD;
    ws->in_message = !ws->is_last;
    if (ws->is_last && !ws->has_bytes && ws->err == 0) {
        refuse(ws, INLETS_EPROTO, WSLAY_CODE_PROTOCOL_ERROR);
    }
    ws->has_bytes = ws->has_bytes && !ws->is_last;
}

static void begin_data(struct inl_ws *ws, uint64_t n)
{
    if (!is_masking(ws)) {
        memcpy(ws->key, ws->head + ws->head_have - INL_MASK_KEY_LEN,
               INL_MASK_KEY_LEN);
    }
    ws->head_have = 0;
    ws->is_last = (ws->head[0] & BIT_FIN) != 0;
    ws->rx_left = n;
    ws->rx = RX_DATA;
    if (n == 0) {
        if (!ws->is_last) {
            count_idle_frame(ws);
        }
        frame_done(ws);
    }
}

/* Each check as soon as its bytes are there: wslay must not wait for bytes
 * that it would not have waited for. */
static int read_head(struct inl_ws *ws)
{
    const size_t key = is_masking(ws) ? 0 : INL_MASK_KEY_LEN;
    size_t len = 2;
    uint64_t n;

    if (!gather(ws, len)) {
        return 0;
    }
    if (is_plain(ws) && is_good_control(ws)) {
        return pass_to_wslay(ws, key + (ws->head[1] & BITS_LENGTH));
    }
    if (!is_plain(ws) || !is_due_data(ws)) {
        return give_up(ws);
    }
    len += length_bytes(ws);
    if (!gather(ws, len)) {
        return 0;
    }
    if (!is_good_length(ws, &n)) {
        return give_up(ws);
    }
    if (gather(ws, len + key)) {
        begin_data(ws, n);
    }
    return 0;
}

/* --- receiving: data --- */

static void pass_on(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    const bool first = !ws->has_bytes;
    int err;

    ws->has_bytes = true;
    err = ws->ops->on_piece(ws->user, inl_slice(p, n), first);
    if (err != 0) {
        stop(ws, err);
    }
}

static void pass_on_unmasked(struct inl_ws *ws, const uint8_t *p, size_t n)
{
    uint8_t scratch[SCRATCH_BYTES] UNINITIALIZED;

    for (size_t len = 0; n > 0 && ws->err == 0; p += len, n -= len) {
        len = n < sizeof(scratch) ? n : sizeof(scratch);
        inl_mask(ws->key, scratch, p, len);
        pass_on(ws, scratch, len);
    }
}

static void read_data(struct inl_ws *ws)
{
    const uint8_t *p = ws->in;
    size_t n = ws->in_left;

    if (n > ws->rx_left) {
        n = (size_t)ws->rx_left;
    }
    ws->in += n;
    ws->in_left -= n;
    ws->rx_left -= n;
    if (is_masking(ws)) {
        pass_on(ws, p, n);
    } else {
        pass_on_unmasked(ws, p, n);
    }
    if (ws->rx_left == 0) {
        frame_done(ws);
    }
}

/* Until the input is used up or somebody stops it. Returns wslay's error. */
static int read_frames(struct inl_ws *ws)
{
    int rc = 0;

    while (rc == 0 && ws->in_left > 0 &&
           wslay_event_get_read_enabled(ws->events)) {
        switch (ws->rx) {
        case RX_HEAD:
            rc = read_head(ws);
            break;
        case RX_DATA:
            read_data(ws);
            break;
        case RX_WSLAY:
            rc = read_by_wslay(ws);
            break;
        }
    }
    return rc;
}

/* --- receiving: how it went --- */

/* A close frame past the event layer, whose own has no code in it. */
static int send_protocol_close(struct inl_ws *ws)
{
    static const uint8_t code[2] = {WSLAY_CODE_PROTOCOL_ERROR >> 8,
                                    WSLAY_CODE_PROTOCOL_ERROR & 0xff};
    uint8_t key[INL_MASK_KEY_LEN];

    wslay_event_shutdown_write(ws->events);
    if (check_writable(ws) != 0) {
        return 0;
    }
    ws->close_put = true;
    return put_head(ws, WSLAY_CONNECTION_CLOSE, sizeof(code), code,
                    sizeof(code), key) != 0
               ? break_off(ws)
               : 0;
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
    rc = read_frames(ws);
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
