/* frame_read.c: the payloads of frames to values. FRAME.md is the
 * specification.
 *
 * Nothing is copied or allocated: results are slices of the payload and die
 * with it. A cursor checks every length before it is used and remembers the
 * first shortfall, so a decoder reads on with zeros and asks once, at the
 * end. Outputs are written on success only (the fields array is scratch).
 *
 * Failure: INLETS_EPROTO; INLETS_EVERSION from HELLO. */
#include "base/slice.h"
#include "proto/frame_wire.h"
#include <string.h>

struct cursor {
    const uint8_t *p;
    size_t left;
    bool short_of_bytes;
};

static struct cursor cursor_at(struct inlets_slice payload)
{
    return (struct cursor){(const uint8_t *)payload.ptr, payload.len, false};
}

/* The next n bytes; NULL when there are fewer. */
static const uint8_t *take(struct cursor *c, size_t n)
{
    const uint8_t *p = c->p;

    if (n > c->left) {
        c->short_of_bytes = true;
        c->left = 0;
        return NULL;
    }
    if (n > 0) { /* p may be NULL: an empty payload has no place */
        c->p += n;
        c->left -= n;
    }
    return p;
}

static unsigned take_u8(struct cursor *c)
{
    const uint8_t *p = take(c, 1);

    return p == NULL ? 0 : *p;
}

static uint32_t take_u16(struct cursor *c)
{
    const uint8_t *p = take(c, 2);

    return p == NULL ? 0 : get_u16(p);
}

static uint32_t take_u32(struct cursor *c)
{
    const uint8_t *p = take(c, 4);

    return p == NULL ? 0 : get_u32(p);
}

static uint64_t take_u64(struct cursor *c)
{
    const uint8_t *p = take(c, 8);

    return p == NULL ? 0 : get_u64(p);
}

/* Two's complement, without leaning on how the compiler narrows. */
static int64_t take_i64(struct cursor *c)
{
    const uint64_t v = take_u64(c);

    return v <= INT64_MAX ? (int64_t)v : -1 - (int64_t)(UINT64_MAX - v);
}

static struct inlets_slice take_slice(struct cursor *c, size_t n)
{
    const uint8_t *p = take(c, n);

    return inl_slice(p, p == NULL ? 0 : n);
}

static struct inlets_slice take_rest(struct cursor *c)
{
    return take_slice(c, c->left);
}

/* Was it all there, and nothing more? */
static bool is_exact(const struct cursor *c)
{
    return !c->short_of_bytes && c->left == 0;
}

/* An error number of a newer peer still says: it failed. */
static int take_err(struct cursor *c)
{
    const uint32_t v = take_u32(c);

    return v < (uint32_t)-INLETS_ERR_LAST_ ? -(int)v : INLETS_EINTERNAL;
}

bool inl_frame_is_visible(struct inlets_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        const unsigned char c = (unsigned char)s.ptr[i];

        if (c <= ' ' || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* HELLO: which parameters came; each may come once. */
struct hello_reader {
    struct inl_hello hello;
    uint32_t seen; /* 1 << key */
};
#define HELLO_NEEDED                                                           \
    (1u << HELLO_VERSION | 1u << HELLO_STREAM_WINDOW |                         \
     1u << HELLO_SESSION_WINDOW | 1u << HELLO_MAX_STREAMS)
#define HELLO_KNOWN                                                            \
    (HELLO_NEEDED | 1u << HELLO_AGENT | 1u << HELLO_TICKET |                   \
     1u << HELLO_RESUME | 1u << HELLO_LANES | 1u << HELLO_SPREAD)

static int take_version(struct hello_reader *h, struct cursor *value)
{
    h->hello.version = take_u32(value);
    if (!is_exact(value)) {
        return INLETS_EPROTO;
    }
    return h->hello.version == INL_HELLO_VERSION ? 0 : INLETS_EVERSION;
}

static int take_agent(struct hello_reader *h, struct cursor *value)
{
    h->hello.agent = take_rest(value);
    return h->hello.agent.len <= HELLO_MAX_AGENT &&
                   inl_slice_is_field_value(h->hello.agent)
               ? 0
               : INLETS_EPROTO;
}

/* Session 0 would say that there is none. */
static int take_ticket(struct hello_reader *h, struct cursor *value)
{
    struct inlets_slice secret;

    h->hello.ticket = take_u64(value);
    secret = take_rest(value);
    if (h->hello.ticket == 0 || secret.len != sizeof(h->hello.secret)) {
        return INLETS_EPROTO;
    }
    memcpy(h->hello.secret, secret.ptr, secret.len);
    return 0;
}

static int take_known_param(struct hello_reader *h, uint32_t key,
                            struct cursor *value)
{
    switch ((enum hello_key)key) {
    case HELLO_VERSION:
        return take_version(h, value);
    case HELLO_STREAM_WINDOW:
        h->hello.stream_window = take_u32(value);
        break;
    case HELLO_SESSION_WINDOW:
        h->hello.session_window = take_u64(value);
        break;
    case HELLO_MAX_STREAMS:
        h->hello.max_streams = take_u32(value);
        break;
    case HELLO_AGENT:
        return take_agent(h, value);
    case HELLO_TICKET:
        return take_ticket(h, value);
    case HELLO_RESUME:
        h->hello.resume_ms = take_u32(value);
        h->hello.no_resume = h->hello.resume_ms == 0;
        break;
    case HELLO_LANES:
        h->hello.lanes = take_u32(value);
        break;
    case HELLO_SPREAD:
        h->hello.spread_ms = take_u32(value);
        break;
    }
    return is_exact(value) ? 0 : INLETS_EPROTO;
}

/* The version comes first, so that a HELLO of another version is told apart
 * before anything else of it is believed. */
static int take_param(struct hello_reader *h, struct cursor *c)
{
    const uint32_t key = take_u16(c);
    const size_t n = take_u16(c);
    struct cursor value = cursor_at(take_slice(c, n));

    if (c->short_of_bytes || (h->seen == 0 && key != HELLO_VERSION)) {
        return INLETS_EPROTO;
    }
    if (key >= 32 || (HELLO_KNOWN & 1u << key) == 0) {
        return 0;
    }
    if ((h->seen & 1u << key) != 0) {
        return INLETS_EPROTO;
    }
    h->seen |= 1u << key;
    return take_known_param(h, key, &value);
}

int inl_frame_get_hello(struct inlets_slice payload, struct inl_hello *ret)
{
    struct cursor c = cursor_at(payload);
    struct hello_reader h = {0};

    while (c.left > 0) {
        int err = take_param(&h, &c);

        if (err != 0) {
            return err;
        }
    }
    if ((h.seen & HELLO_NEEDED) != HELLO_NEEDED) {
        return INLETS_EPROTO;
    }
    *ret = h.hello;
    return 0;
}

int inl_frame_get_route(struct inlets_slice payload, uint32_t *ret_route,
                        struct inlets_slice *ret_endpoint)
{
    struct cursor c = cursor_at(payload);
    const uint32_t route = take_u32(&c);
    const struct inlets_slice endpoint = take_rest(&c);

    if (!is_exact(&c) || !inl_frame_is_visible(endpoint)) {
        return INLETS_EPROTO;
    }
    *ret_route = route;
    *ret_endpoint = endpoint;
    return 0;
}

int inl_frame_get_unroute(struct inlets_slice payload, uint32_t *ret_route)
{
    struct cursor c = cursor_at(payload);
    const uint32_t route = take_u32(&c);

    if (!is_exact(&c)) {
        return INLETS_EPROTO;
    }
    *ret_route = route;
    return 0;
}

int inl_frame_get_spread(struct inlets_slice payload, uint32_t *ret_spread_ms)
{
    return inl_frame_get_unroute(payload, ret_spread_ms); /* a number, too */
}

/* ROUTED and GOAWAY: a number, an error, why in words. */
static int get_verdict(struct inlets_slice payload, uint32_t *ret_number,
                       int *ret_err, struct inlets_slice *ret_text)
{
    struct cursor c = cursor_at(payload);
    const uint32_t number = take_u32(&c);
    const int err = take_err(&c);
    const struct inlets_slice text = take_rest(&c);

    if (!is_exact(&c) || !inl_slice_is_field_value(text)) {
        return INLETS_EPROTO;
    }
    *ret_number = number;
    *ret_err = err;
    *ret_text = text;
    return 0;
}

int inl_frame_get_routed(struct inlets_slice payload, uint32_t *ret_route,
                         int *ret_err, struct inlets_slice *ret_text)
{
    return get_verdict(payload, ret_route, ret_err, ret_text);
}

int inl_frame_get_goaway(struct inlets_slice payload, uint32_t *ret_last,
                         int *ret_err, struct inlets_slice *ret_text)
{
    return get_verdict(payload, ret_last, ret_err, ret_text);
}

/* A name that would change where the message ends (RFC 9112 section 6) or,
 * Host, where it goes. What a response says in a Host field is nobody's
 * business. */
static bool is_forbidden_name(struct inlets_slice name, enum head_kind kind)
{
    switch (name.len) {
    case 4:
        return kind != HEAD_RESPONSE &&
               inl_slice_eq_case(name, INL_LIT("Host"));
    case 14:
        return inl_slice_eq_case(name, INL_LIT("Content-Length"));
    case 17:
        return inl_slice_eq_case(name, INL_LIT("Transfer-Encoding"));
    default:
        return false;
    }
}

static bool fields_are_sound(const struct inlets_head *head,
                             enum head_kind kind)
{
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];

        if (!inl_slice_is_token(f->name) ||
            !inl_slice_is_field_value(f->value) ||
            is_forbidden_name(f->name, kind)) {
            return false;
        }
    }
    return true;
}

/* Origin-form or asterisk-form (RFC 9112 section 3.2). A space would let the
 * target run into the version of the request line. */
static bool target_is_sound(struct inlets_slice target)
{
    if (target.len == 0 || !inl_frame_is_visible(target)) {
        return false;
    }
    return target.ptr[0] == '/' || inl_slice_eq(target, INL_LIT("*"));
}

bool inl_frame_head_is_sound(const struct inlets_head *head,
                             enum head_kind kind)
{
    if (kind != HEAD_TRAILERS && head->content_length < INLETS_LENGTH_NONE) {
        return false;
    }
    if (kind == HEAD_OPEN &&
        (!inl_slice_is_token(head->method) || !target_is_sound(head->target) ||
         !inl_frame_is_visible(head->host))) {
        return false;
    }
    if (kind == HEAD_RESPONSE && (head->status < 100 || head->status > 599 ||
                                  !inl_slice_is_field_value(head->reason))) {
        return false;
    }
    return fields_are_sound(head, kind);
}

/* The fields end the payload. */
static int take_fields(struct cursor *c, size_t n, struct inlets_head *head,
                       struct inlets_field *fields, size_t max_fields)
{
    if (n > max_fields) {
        return INLETS_EPROTO;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t name_len = take_u16(c);
        const size_t value_len = take_u16(c);

        fields[i].name = take_slice(c, name_len);
        fields[i].value = take_slice(c, value_len);
    }
    head->fields = fields;
    head->nfields = n;
    return is_exact(c) ? 0 : INLETS_EPROTO;
}

int inl_frame_get_open(struct inlets_slice payload, uint32_t *ret_route,
                       struct inlets_slice *ret_id, struct inlets_head *ret,
                       struct inlets_field *fields, size_t max_fields)
{
    struct cursor c = cursor_at(payload);
    struct inlets_head head = {0};
    const uint32_t route = take_u32(&c);
    struct inlets_slice id;
    size_t id_len, method_len, target_len, host_len, nfields;

    head.flags = take_u8(&c) & INLETS_HEAD_UPGRADE;
    head.content_length = take_i64(&c);
    id_len = take_u8(&c);
    method_len = take_u8(&c);
    target_len = take_u16(&c);
    host_len = take_u16(&c);
    nfields = take_u16(&c);
    id = take_slice(&c, id_len);
    head.method = take_slice(&c, method_len);
    head.target = take_slice(&c, target_len);
    head.host = take_slice(&c, host_len);
    if (take_fields(&c, nfields, &head, fields, max_fields) != 0 ||
        !inl_frame_is_visible(id) ||
        !inl_frame_head_is_sound(&head, HEAD_OPEN)) {
        return INLETS_EPROTO;
    }
    *ret_route = route;
    *ret_id = id;
    *ret = head;
    return 0;
}

int inl_frame_get_head(struct inlets_slice payload, struct inlets_head *ret,
                       struct inlets_field *fields, size_t max_fields)
{
    struct cursor c = cursor_at(payload);
    struct inlets_head head = {0};
    size_t reason_len, nfields;

    head.status = take_u16(&c);
    head.flags = take_u8(&c) & INLETS_HEAD_UPGRADE;
    head.content_length = take_i64(&c);
    reason_len = take_u16(&c);
    nfields = take_u16(&c);
    head.reason = take_slice(&c, reason_len);
    if (take_fields(&c, nfields, &head, fields, max_fields) != 0 ||
        !inl_frame_head_is_sound(&head, HEAD_RESPONSE)) {
        return INLETS_EPROTO;
    }
    *ret = head;
    return 0;
}

int inl_frame_get_trailers(struct inlets_slice payload, struct inlets_head *ret,
                           struct inlets_field *fields, size_t max_fields)
{
    struct cursor c = cursor_at(payload);
    struct inlets_head head = {.content_length = INLETS_LENGTH_NONE};
    const size_t nfields = take_u16(&c);

    if (take_fields(&c, nfields, &head, fields, max_fields) != 0 ||
        !inl_frame_head_is_sound(&head, HEAD_TRAILERS)) {
        return INLETS_EPROTO;
    }
    *ret = head;
    return 0;
}

int inl_frame_get_credit(struct inlets_slice payload, uint64_t *ret_limit)
{
    struct cursor c = cursor_at(payload);
    const uint64_t limit = take_u64(&c);

    if (!is_exact(&c)) {
        return INLETS_EPROTO;
    }
    *ret_limit = limit;
    return 0;
}

int inl_frame_get_reset(struct inlets_slice payload, int *ret_err)
{
    struct cursor c = cursor_at(payload);
    const int err = take_err(&c);

    if (!is_exact(&c)) {
        return INLETS_EPROTO;
    }
    *ret_err = err;
    return 0;
}
