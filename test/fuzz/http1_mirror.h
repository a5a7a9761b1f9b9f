/* http1_mirror.h: what fuzz_http1_request and fuzz_http1_response share. The
 * input is read whole and in pieces: both must say the same. What was read is
 * written and read again: it must be the same messages, or a proxy in between
 * would have changed their meaning. Include it in one .c file per program. */
#ifndef TEST_FUZZ_HTTP1_MIRROR_H
#define TEST_FUZZ_HTTP1_MIRROR_H

#include "base/slice.h"
#include "proto/http1.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            abort();                                                           \
        }                                                                      \
    } while (0)

struct mirror {
    enum inl_http1_role role;
    bool to_head;
    struct inl_queue text; /* what was read, in one canonical form */
    size_t body_len;       /* of the piece of body that text ends with */
    size_t body_bytes;     /* in all */
    /* The same, written as messages; NULL: not now. */
    struct inl_queue *out;
    enum inl_http1_framing framing;
    bool stopped;  /* what came cannot be written: 1.0 without Host */
    bool is_large; /* what was written may be above the limits by a little */
    int err;
};

static void put_text(struct mirror *m, struct inlets_slice s)
{
    CHECK(inl_queue_append_slice(&m->text, s) == 0);
}

/* Slices with their length before them, so that no two texts look alike. */
static void put_part(struct mirror *m, struct inlets_slice s)
{
    char len[32];
    int n = snprintf(len, sizeof(len), "\n%zu:", s.len);

    put_text(m, inl_slice(len, (size_t)n));
    put_text(m, s);
}

static void put_number(struct mirror *m, int64_t number)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "\n=%lld", (long long)number);

    put_text(m, inl_slice(text, (size_t)n));
}

static void put_head(struct mirror *m, const struct inlets_head *head)
{
    struct inlets_slice reason = head->reason;

    if (reason.len == 0 && head->status != 0) {
        reason = inl_str(inl_http1_status_text(head->status));
    }
    /* Room for a framing field, and a space behind each colon. */
    m->is_large = m->is_large || head->nfields + 2 > INL_HTTP1_MAX_FIELDS;
    put_part(m, head->method);
    put_part(m, head->target);
    put_part(m, head->host);
    put_number(m, head->status);
    put_part(m, reason);
    put_number(m, head->content_length);
    for (size_t i = 0; i < head->nfields; i++) {
        put_part(m, head->fields[i].name);
        put_part(m, head->fields[i].value);
    }
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct mirror *m = user;

    CHECK(!m->stopped && !h->ended && h->err == 0);
    CHECK(head->nfields <= INL_HTTP1_MAX_FIELDS);
    put_text(m, INL_LIT("\nhead"));
    put_head(m, head);
    if (m->out == NULL) {
        return;
    }
    if (m->role == INL_HTTP1_RESPONSE) {
        CHECK(inl_http1_put_response(m->out, head, INL_LIT(""), !m->to_head,
                                     false, &m->framing) == 0);
        return;
    }
    CHECK(inl_http1_put_request(m->out, head, INL_LIT(""), &m->framing) == 0);
    /* It got an empty Host, as it has to, which we do not take. */
    m->stopped = head->host.len == 0;
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct mirror *m = user;

    CHECK(h->in_message && !h->ended && data.len > 0);
    put_text(m, data);
    m->body_bytes += data.len;
    if (m->out != NULL) {
        CHECK(m->framing != INL_HTTP1_NO_BODY);
        CHECK(inl_http1_put_body(m->out, m->framing, data) == 0);
    }
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct mirror *m = user;

    CHECK(h->in_message && h->ended);
    put_text(m, INL_LIT("\nend"));
    if (trailers != NULL) {
        CHECK(trailers->nfields > 0);
        put_head(m, trailers);
    }
    if (m->out != NULL) {
        CHECK(inl_http1_put_end(m->out, m->framing, trailers) == 0);
    }
}

static const struct inl_http1_ops mirror_ops = {on_head, on_body, on_end};

/* false: no more is wanted. */
static bool mirror_feed(struct inl_http1 *h, struct mirror *m, const uint8_t *p,
                        size_t n)
{
    while (n > 0 && !m->stopped) {
        size_t before = m->body_bytes, used = n + 1;
        int err = inl_http1_feed(h, p, n, &used);

        CHECK(used <= n && m->body_bytes - before <= used);
        CHECK(err == h->err);
        if (err != 0 || h->upgraded) {
            return false;
        }
        CHECK(used == n || h->ended);
        p += used;
        n -= used;
        if (h->ended) {
            inl_http1_next(h, m->to_head);
        }
    }
    return !m->stopped;
}

/* A small generator: the splits come from the input, and can be replayed. */
static size_t next_size(uint32_t *seed)
{
    uint32_t bits;

    *seed = *seed * 1664525u + 1013904223u;
    bits = *seed >> 16;
    return bits % 4 == 0 ? 1 : 1 + bits % 61;
}

/* seed 0: in one piece. */
static void mirror_run(struct mirror *m, const uint8_t *p, size_t n,
                       uint32_t seed, bool eof)
{
    struct inl_http1 h;
    bool going = true;

    inl_http1_init(&h, m->role, &mirror_ops, m);
    inl_http1_next(&h, m->to_head);
    while (n > 0 && going) {
        size_t size = seed == 0 ? n : next_size(&seed);
        uint8_t *piece;

        size = size < n ? size : n;
        piece = malloc(size); /* its own, so that ASan sees each byte */
        CHECK(piece != NULL);
        memcpy(piece, p, size);
        going = mirror_feed(&h, m, piece, size);
        free(piece);
        p += size;
        n -= size;
    }
    if (going && eof) {
        (void)inl_http1_eof(&h);
    }
    m->err = h.err;
    CHECK((h.err == 0) == (inl_http1_reason(&h)[0] == '\0'));
    inl_http1_fini(&h);
}

static void check_same(const struct inl_queue *a, const struct inl_queue *b)
{
    CHECK(a->bytes == b->bytes);
    for (size_t off = 0; off < a->bytes;) {
        struct inl_queue left = {0}, right = {0};
        size_t n = a->bytes - off < 512 ? a->bytes - off : 512;

        /* below 1 KiB a share is a copy, in one piece */
        CHECK(inl_queue_share(&left, a, off, n) == 0);
        CHECK(inl_queue_share(&right, b, off, n) == 0);
        CHECK(inl_slice_eq(inl_queue_front(&left), inl_queue_front(&right)));
        inl_queue_fini(&left);
        inl_queue_fini(&right);
        off += n;
    }
}

/* Reads what was written, and compares. The end of a body by close became a
 * last chunk; a message that was cut is still cut. */
static void check_reflection(const struct mirror *m, struct inl_queue *out)
{
    struct mirror again = {.role = m->role, .to_head = m->to_head};
    size_t n = out->bytes;
    uint8_t *all = malloc(n + 1);
    size_t at = 0;

    CHECK(all != NULL);
    while (out->bytes > 0) {
        struct inlets_slice front = inl_queue_front(out);

        memcpy(all + at, front.ptr, front.len);
        at += front.len;
        inl_queue_consume(out, front.len);
    }
    mirror_run(&again, all, n, 0, false);
    if (again.err != INLETS_EHEADSIZE || !m->is_large) {
        CHECK(again.err == 0);
        check_same(&m->text, &again.text);
    }
    inl_queue_fini(&again.text);
    free(all);
}

static void mirror(enum inl_http1_role role, bool to_head, bool eof,
                   uint32_t seed, const uint8_t *p, size_t n)
{
    struct inl_queue out = {0};
    struct mirror whole = {.role = role,
                           .to_head = to_head,
                           .out = &out,
                           .is_large = n > INL_HTTP1_MAX_TRAILERS - 512};
    struct mirror pieces = {.role = role, .to_head = to_head};
    bool stopped;

    mirror_run(&whole, p, n, 0, eof);
    stopped = whole.stopped;
    if (!stopped) {
        mirror_run(&pieces, p, n, seed | 1, eof);
        /* Of two faults in one field, either may be found first. */
        CHECK((pieces.err == 0) == (whole.err == 0));
        check_same(&whole.text, &pieces.text);
        check_reflection(&whole, &out);
    }
    inl_queue_fini(&whole.text);
    inl_queue_fini(&pieces.text);
    inl_queue_fini(&out);
}

#endif
