/* frame.c: cuts the bytes of a lane into frames, however they were split.
 *
 *   header --complete--> payload --complete--> header
 *      |                    |
 *      +------- error ------+--> dead: every later feed returns the error
 *
 * Memory: none as long as frames lie whole within what is fed. A split frame
 * is gathered in one buffer of exactly its announced length, which is at most
 * INL_FRAME_MAX_HEAD and freed when the callback returns. DATA is handed on
 * piece by piece, and skipped types are not kept.
 *
 * Failure: a header that breaks the rules (INLETS_EPROTO), memory out
 * (INLETS_ENOMEM), or what a callback returned. The state is reset before
 * each callback and the buffer is out of the reader's hands while it runs,
 * so a callback may call inl_frame_reader_fini; it must then return an
 * error. */
#include "base/mem.h"
#include "base/slice.h"
#include "proto/frame_wire.h"
#include <string.h>

enum stream_rule { STREAM_NONE, STREAM_SOME, STREAM_ANY };

/* What a header must look like, by type. max 0: no such type. */
struct type_rule {
    enum stream_rule stream;
    size_t max;
};

static const struct type_rule rules[] = {
    [INL_FRAME_HELLO] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_ROUTE] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_UNROUTE] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_ROUTED] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_OPEN] = {STREAM_SOME, INL_FRAME_MAX_HEAD},
    [INL_FRAME_HEAD] = {STREAM_SOME, INL_FRAME_MAX_HEAD},
    [INL_FRAME_DATA] = {STREAM_SOME, INL_FRAME_MAX_DATA},
    [INL_FRAME_TRAILERS] = {STREAM_SOME, INL_FRAME_MAX_HEAD},
    [INL_FRAME_CREDIT] = {STREAM_ANY, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_RESET] = {STREAM_SOME, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_GOAWAY] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
    [INL_FRAME_SPREAD] = {STREAM_NONE, INL_FRAME_MAX_CONTROL},
};
static const struct type_rule optional_rule = {STREAM_ANY,
                                               INL_FRAME_MAX_CONTROL};

void inl_frame_reader_init(struct inl_frame_reader *r,
                           const struct inl_frame_reader_ops *ops, void *user)
{
    *r = (struct inl_frame_reader){.ops = ops, .user = user};
}

void inl_frame_reader_fini(struct inl_frame_reader *r)
{
    inl_free(r->buf);
    r->buf = NULL;
}

static uint8_t type_of(const struct inl_frame_reader *r)
{
    return r->header[0];
}

static uint8_t flags_of(const struct inl_frame_reader *r)
{
    return r->header[1];
}

static uint32_t stream_of(const struct inl_frame_reader *r)
{
    return get_u32(r->header + 5);
}

static bool is_skipped(const struct inl_frame_reader *r)
{
    return type_of(r) >= INL_FRAME_OPTIONAL;
}

static const struct type_rule *rule_of(uint8_t type)
{
    if (type >= INL_FRAME_OPTIONAL) {
        return &optional_rule;
    }
    if (type >= sizeof(rules) / sizeof(rules[0]) || rules[type].max == 0) {
        return NULL;
    }
    return &rules[type];
}

static bool stream_fits(enum stream_rule rule, uint32_t stream)
{
    switch (rule) {
    case STREAM_NONE:
        return stream == 0;
    case STREAM_SOME:
        return stream != 0;
    case STREAM_ANY:
        return true;
    }
    return false;
}

/* An empty DATA frame that ends nothing has no use but to keep us busy. */
static bool is_empty_noise(const struct inl_frame_reader *r)
{
    return type_of(r) == INL_FRAME_DATA && r->length == 0 &&
           (flags_of(r) & INL_FRAME_END) == 0;
}

static int header_done(struct inl_frame_reader *r)
{
    const struct type_rule *rule = rule_of(type_of(r));

    r->length = (size_t)r->header[2] << 16 | get_u16(r->header + 3);
    if (rule == NULL || r->length > rule->max ||
        !stream_fits(rule->stream, stream_of(r)) || is_empty_noise(r)) {
        return INLETS_EPROTO;
    }
    r->have = 0;
    r->in_payload = true;
    return 0;
}

static void frame_done(struct inl_frame_reader *r)
{
    r->have = 0;
    r->in_payload = false;
}

static int deliver(struct inl_frame_reader *r, const uint8_t *payload)
{
    const struct inl_frame frame = {type_of(r), flags_of(r), stream_of(r),
                                    inl_slice(payload, r->length)};

    frame_done(r);
    return r->ops->on_frame(r->user, &frame);
}

/* The gathered frame; its buffer dies here whatever the callback does. */
static int deliver_gathered(struct inl_frame_reader *r)
{
    uint8_t *buf = r->buf;
    int err;

    r->buf = NULL;
    err = deliver(r, buf);
    inl_free(buf);
    return err;
}

static int pass_data(struct inl_frame_reader *r, const uint8_t *p, size_t n)
{
    bool last;

    r->have += n;
    last = r->have == r->length;
    if (last) {
        frame_done(r);
    }
    return r->ops->on_data(r->user, stream_of(r), flags_of(r), inl_slice(p, n),
                           last);
}

static int skip(struct inl_frame_reader *r, size_t n)
{
    r->have += n;
    if (r->have == r->length) {
        frame_done(r);
    }
    return 0;
}

static int gather(struct inl_frame_reader *r, const uint8_t *p, size_t n)
{
    if (r->have == 0 && n == r->length) {
        return deliver(r, p);
    }
    if (r->buf == NULL) {
        r->buf = inl_malloc(r->length);
        if (r->buf == NULL) {
            return INLETS_ENOMEM;
        }
    }
    memcpy(r->buf + r->have, p, n);
    r->have += n;
    return r->have == r->length ? deliver_gathered(r) : 0;
}

/* Takes what belongs to the present frame; with n == 0 an empty payload. */
static int feed_payload(struct inl_frame_reader *r, const uint8_t *p, size_t n,
                        size_t *ret_used)
{
    const size_t missing = r->length - r->have;
    const size_t used = n < missing ? n : missing;

    *ret_used = used;
    if (is_skipped(r)) {
        return skip(r, used);
    }
    if (type_of(r) == INL_FRAME_DATA) {
        return pass_data(r, p, used);
    }
    return gather(r, p, used);
}

static int feed_header(struct inl_frame_reader *r, const uint8_t *p, size_t n,
                       size_t *ret_used)
{
    const size_t missing = INL_FRAME_HEADER - r->have;
    const size_t used = n < missing ? n : missing;
    size_t none;
    int err;

    *ret_used = used;
    memcpy(r->header + r->have, p, used);
    r->have += used;
    if (r->have < INL_FRAME_HEADER) {
        return 0;
    }
    err = header_done(r);
    if (err == 0 && r->length == 0) {
        err = feed_payload(r, p + used, 0, &none);
    }
    return err;
}

int inl_frame_feed(struct inl_frame_reader *r, const uint8_t *p, size_t n)
{
    while (n > 0 && r->err == 0) {
        size_t used = 0;

        r->err = r->in_payload ? feed_payload(r, p, n, &used)
                               : feed_header(r, p, n, &used);
        p += used;
        n -= used;
    }
    return r->err;
}
