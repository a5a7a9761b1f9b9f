/* frame_write.c: frames to bytes. FRAME.md is the specification.
 *
 * Every function but inl_frame_put_data builds its whole frame first and
 * appends it with one call, so on any error the queue is as it was. Heads up
 * to a few KiB are built on the stack, larger ones in a temporary buffer.
 *
 * Failure: INLETS_ENOMEM; INLETS_EINVAL for what the peer would have to
 * refuse (see inl_frame_head_is_sound) or a text that is too long;
 * INLETS_EHEADSIZE for a head over INL_FRAME_MAX_HEAD. */
#include "base/mem.h"
#include "base/slice.h"
#include "proto/frame_wire.h"
#include <string.h>

/* Most heads fit; larger ones cost an allocation. */
#define STACK_HEAD 4096u
/* Body pieces that are cheaper to copy than to refer to; as in queue.h. */
#define SMALL_BODY 1024u
/* The fixed part of the longest control payload that has a text. */
#define CONTROL_FIXED 8u

static uint8_t *put_header(uint8_t *p, uint8_t type, uint8_t flags, size_t n,
                           uint32_t stream)
{
    p = put_u8(p, type);
    p = put_u8(p, flags);
    p = put_u8(p, (unsigned)(n >> 16));
    p = put_u16(p, n & 0xffffu);
    return put_u32(p, stream);
}

static uint8_t *put_slice(uint8_t *p, struct inlets_slice s)
{
    if (s.len > 0) {
        memcpy(p, s.ptr, s.len);
    }
    return p + s.len;
}

/* The positive number on the wire. What is not one of our errors would mean
 * nothing to the peer. */
static uint32_t wire_err(int err)
{
    if (err > 0 || err <= INLETS_ERR_LAST_) {
        err = INLETS_EINTERNAL;
    }
    return (uint32_t)-err;
}

static uint8_t *put_u32_param(uint8_t *p, enum hello_key key, uint32_t v)
{
    return put_u32(put_u16(put_u16(p, key), 4), v);
}

static uint8_t *put_u32_if(uint8_t *p, enum hello_key key, uint32_t v)
{
    return v == 0 ? p : put_u32_param(p, key, v);
}

static uint8_t *put_ticket(uint8_t *p, const struct inl_hello *hello)
{
    if (hello->ticket == 0) {
        return p;
    }
    p = put_u16(put_u16(p, HELLO_TICKET), HELLO_TICKET_LEN);
    p = put_u64(p, hello->ticket);
    return put_slice(p, inl_slice(hello->secret, sizeof(hello->secret)));
}

int inl_frame_put_hello(struct inl_queue *q, const struct inl_hello *hello)
{
    uint8_t buf[INL_FRAME_HEADER + HELLO_MAX];
    uint8_t *p = buf + INL_FRAME_HEADER;
    int err;

    if (hello->agent.len > HELLO_MAX_AGENT ||
        !inl_slice_is_field_value(hello->agent)) {
        return INLETS_EINVAL;
    }
    p = put_u32_param(p, HELLO_VERSION, hello->version);
    p = put_u32_param(p, HELLO_STREAM_WINDOW, hello->stream_window);
    p = put_u16(put_u16(p, HELLO_SESSION_WINDOW), 8);
    p = put_u64(p, hello->session_window);
    p = put_u32_param(p, HELLO_MAX_STREAMS, hello->max_streams);
    p = put_u16(put_u16(p, HELLO_AGENT), hello->agent.len);
    p = put_slice(p, hello->agent);
    p = put_ticket(p, hello);
    p = hello->no_resume ? put_u32_param(p, HELLO_RESUME, 0)
                         : put_u32_if(p, HELLO_RESUME, hello->resume_ms);
    p = put_u32_if(p, HELLO_LANES, hello->lanes);
    p = put_u32_if(p, HELLO_SPREAD, hello->spread_ms);
    (void)put_header(buf, INL_FRAME_HELLO, 0,
                     (size_t)(p - buf) - INL_FRAME_HEADER, 0);
    err = inl_queue_append(q, buf, (size_t)(p - buf));
    inl_wipe(buf, sizeof(buf));
    return err;
}

/* A control frame on stream 0: up to two numbers and a text. */
static int put_control(struct inl_queue *q, uint8_t type, const uint8_t *fixed,
                       size_t nfixed, struct inlets_slice text)
{
    uint8_t buf[INL_FRAME_HEADER + INL_FRAME_MAX_CONTROL];
    uint8_t *p;

    if (text.len > INL_FRAME_MAX_CONTROL - nfixed) {
        return INLETS_EINVAL;
    }
    p = put_header(buf, type, 0, nfixed + text.len, 0);
    p = put_slice(p, inl_slice(fixed, nfixed));
    p = put_slice(p, text);
    return inl_queue_append(q, buf, (size_t)(p - buf));
}

int inl_frame_put_route(struct inl_queue *q, uint32_t route,
                        struct inlets_slice endpoint)
{
    uint8_t fixed[4];

    if (!inl_frame_is_visible(endpoint)) {
        return INLETS_EINVAL;
    }
    put_u32(fixed, route);
    return put_control(q, INL_FRAME_ROUTE, fixed, sizeof(fixed), endpoint);
}

int inl_frame_put_unroute(struct inl_queue *q, uint32_t route)
{
    uint8_t fixed[4];

    put_u32(fixed, route);
    return put_control(q, INL_FRAME_UNROUTE, fixed, sizeof(fixed),
                       inl_slice(NULL, 0));
}

int inl_frame_put_spread(struct inl_queue *q, uint32_t spread_ms)
{
    uint8_t fixed[4];

    put_u32(fixed, spread_ms);
    return put_control(q, INL_FRAME_SPREAD, fixed, sizeof(fixed),
                       inl_slice(NULL, 0));
}

/* ROUTED and GOAWAY: a number, an error, why in words. */
static int put_verdict(struct inl_queue *q, uint8_t type, uint32_t number,
                       int err, struct inlets_slice text)
{
    uint8_t fixed[CONTROL_FIXED];

    if (!inl_slice_is_field_value(text)) {
        return INLETS_EINVAL;
    }
    put_u32(put_u32(fixed, number), wire_err(err));
    return put_control(q, type, fixed, sizeof(fixed), text);
}

int inl_frame_put_routed(struct inl_queue *q, uint32_t route, int err,
                         struct inlets_slice text)
{
    return put_verdict(q, INL_FRAME_ROUTED, route, err, text);
}

int inl_frame_put_goaway(struct inl_queue *q, uint32_t last_stream, int err,
                         struct inlets_slice text)
{
    return put_verdict(q, INL_FRAME_GOAWAY, last_stream, err, text);
}

/* Adds the bytes of a part; false when the sum goes over a head's limit. */
static bool add_size(size_t *sum, size_t part, size_t max_part)
{
    if (part > max_part || part > INL_FRAME_MAX_HEAD - *sum) {
        return false;
    }
    *sum += part;
    return true;
}

static bool add_fields_size(size_t *sum, const struct inlets_head *head)
{
    if (head->nfields > UINT16_MAX) {
        return false;
    }
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];

        if (!add_size(sum, FIELD_FIXED, FIELD_FIXED) ||
            !add_size(sum, f->name.len, UINT16_MAX) ||
            !add_size(sum, f->value.len, UINT16_MAX)) {
            return false;
        }
    }
    return true;
}

static uint8_t *put_fields(uint8_t *p, const struct inlets_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];

        p = put_u16(put_u16(p, f->name.len), f->value.len);
        p = put_slice(put_slice(p, f->name), f->value);
    }
    return p;
}

/* A frame that carries a head, before its size is known to be small. */
struct head_frame {
    uint8_t type, flags;
    uint32_t stream, route;
    struct inlets_slice id;
    const struct inlets_head *head;
    size_t size; /* of the payload */
};

static uint8_t *put_open_payload(uint8_t *p, const struct head_frame *f)
{
    const struct inlets_head *head = f->head;

    p = put_u32(p, f->route);
    p = put_u8(p, head->flags & INLETS_HEAD_UPGRADE);
    p = put_u64(p, (uint64_t)head->content_length);
    p = put_u8(p, (unsigned)f->id.len);
    p = put_u8(p, (unsigned)head->method.len);
    p = put_u16(p, head->target.len);
    p = put_u16(p, head->host.len);
    p = put_u16(p, head->nfields);
    p = put_slice(put_slice(p, f->id), head->method);
    p = put_slice(put_slice(p, head->target), head->host);
    return put_fields(p, head);
}

static uint8_t *put_head_payload(uint8_t *p, const struct head_frame *f)
{
    const struct inlets_head *head = f->head;

    p = put_u16(p, head->status);
    p = put_u8(p, head->flags & INLETS_HEAD_UPGRADE);
    p = put_u64(p, (uint64_t)head->content_length);
    p = put_u16(p, head->reason.len);
    p = put_u16(p, head->nfields);
    p = put_slice(p, head->reason);
    return put_fields(p, head);
}

static uint8_t *put_head_frame_payload(uint8_t *p, const struct head_frame *f)
{
    if (f->type == INL_FRAME_OPEN) {
        return put_open_payload(p, f);
    }
    if (f->type == INL_FRAME_HEAD) {
        return put_head_payload(p, f);
    }
    return put_fields(put_u16(p, f->head->nfields), f->head);
}

static int put_head_frame(struct inl_queue *q, const struct head_frame *f)
{
    uint8_t stack[STACK_HEAD];
    const size_t size = INL_FRAME_HEADER + f->size;
    uint8_t *buf = size <= sizeof(stack) ? stack : inl_malloc(size);
    int err;

    if (buf == NULL) {
        return INLETS_ENOMEM;
    }
    put_head_frame_payload(
        put_header(buf, f->type, f->flags, f->size, f->stream), f);
    err = inl_queue_append(q, buf, size);
    if (buf != stack) {
        inl_free(buf);
    }
    return err;
}

int inl_frame_put_open(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       uint32_t route, struct inlets_slice id,
                       const struct inlets_head *head)
{
    struct head_frame f = {.type = INL_FRAME_OPEN,
                           .flags = flags,
                           .stream = stream,
                           .route = route,
                           .id = id,
                           .head = head,
                           .size = OPEN_FIXED};

    if (!add_size(&f.size, head->target.len, UINT16_MAX) ||
        !add_size(&f.size, head->host.len, UINT16_MAX) ||
        !add_fields_size(&f.size, head)) {
        return INLETS_EHEADSIZE;
    }
    if (!add_size(&f.size, id.len, UINT8_MAX) ||
        !add_size(&f.size, head->method.len, UINT8_MAX) ||
        !inl_frame_is_visible(id) ||
        !inl_frame_head_is_sound(head, HEAD_OPEN)) {
        return INLETS_EINVAL;
    }
    return put_head_frame(q, &f);
}

int inl_frame_put_head(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       const struct inlets_head *head)
{
    struct head_frame f = {.type = INL_FRAME_HEAD,
                           .flags = flags,
                           .stream = stream,
                           .head = head,
                           .size = HEAD_FIXED};

    if (!add_size(&f.size, head->reason.len, UINT16_MAX) ||
        !add_fields_size(&f.size, head)) {
        return INLETS_EHEADSIZE;
    }
    if (!inl_frame_head_is_sound(head, HEAD_RESPONSE)) {
        return INLETS_EINVAL;
    }
    return put_head_frame(q, &f);
}

int inl_frame_put_trailers(struct inl_queue *q, uint32_t stream,
                           const struct inlets_head *trailers)
{
    struct head_frame f = {.type = INL_FRAME_TRAILERS,
                           .stream = stream,
                           .head = trailers,
                           .size = TRAILERS_FIXED};

    if (!add_fields_size(&f.size, trailers)) {
        return INLETS_EHEADSIZE;
    }
    if (!inl_frame_head_is_sound(trailers, HEAD_TRAILERS)) {
        return INLETS_EINVAL;
    }
    return put_head_frame(q, &f);
}

/* Copies the first n bytes of body; false when they are scattered over too
 * many pieces for that to be cheap. */
static bool copy_front(uint8_t *p, const struct inl_queue *body, size_t n)
{
    struct iovec v[8];
    const size_t count = inl_queue_peek(body, v, sizeof(v) / sizeof(v[0]));

    for (size_t i = 0; i < count && n > 0; i++) {
        const size_t k = v[i].iov_len < n ? v[i].iov_len : n;

        memcpy(p, v[i].iov_base, k);
        p += k;
        n -= k;
    }
    return n == 0;
}

static int put_large_data(struct inl_queue *q, const uint8_t *header,
                          struct inl_queue *body, size_t n)
{
    int err = inl_queue_append(q, header, INL_FRAME_HEADER);

    return err != 0 ? err : inl_queue_move(q, body, n);
}

/* A short body is copied behind its header: one append, which cannot fail
 * half-way. */
int inl_frame_put_data(struct inl_queue *q, uint32_t stream, uint8_t flags,
                       struct inl_queue *body, size_t n)
{
    uint8_t buf[INL_FRAME_HEADER + SMALL_BODY];
    int err;

    if (n > INL_FRAME_MAX_DATA || (n > 0 && n > body->bytes) ||
        (n == 0 && (flags & INL_FRAME_END) == 0)) {
        return INLETS_EINVAL;
    }
    put_header(buf, INL_FRAME_DATA, flags, n, stream);
    if (n > SMALL_BODY ||
        (n > 0 && !copy_front(buf + INL_FRAME_HEADER, body, n))) {
        return put_large_data(q, buf, body, n);
    }
    err = inl_queue_append(q, buf, INL_FRAME_HEADER + n);
    if (err == 0 && n > 0) {
        inl_queue_consume(body, n);
    }
    return err;
}

int inl_frame_put_credit(struct inl_queue *q, uint32_t stream, uint64_t limit)
{
    uint8_t buf[INL_FRAME_HEADER + 8];

    put_u64(put_header(buf, INL_FRAME_CREDIT, 0, 8, stream), limit);
    return inl_queue_append(q, buf, sizeof(buf));
}

int inl_frame_put_reset(struct inl_queue *q, uint32_t stream, int err)
{
    uint8_t buf[INL_FRAME_HEADER + 4];

    put_u32(put_header(buf, INL_FRAME_RESET, 0, 4, stream), wire_err(err));
    return inl_queue_append(q, buf, sizeof(buf));
}
