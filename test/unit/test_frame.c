/* test_frame.c: the frame codec beyond the examples of FRAME.md: every split
 * of the bytes, truncation, hostile changes, sizes at their limits, and
 * memory running out. */
#include "unit/alloc.h"

#include "base/queue.h"
#include "base/slice.h"
#include "proto/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_FIELDS 128u
/* INL_LIT for static tables: ISO C wants no compound literal there. */
#define TEXT(s)                                                                \
    {                                                                          \
        "" s, sizeof(s) - 1                                                    \
    }

/* --- helpers ---------------------------------------------------------------
 */

static int teardown(void **state)
{
    inl_queue_trim();
    return alloc_live == 0 ? 0 : -1;
}

/* The queue's bytes in one owned block. */
static uint8_t *flatten(const struct inl_queue *q)
{
    struct inl_queue copy = {0};
    uint8_t *all = malloc(q->bytes + 1);
    size_t n = 0;

    assert_non_null(all);
    assert_int_equal(inl_queue_share(&copy, q, 0, q->bytes), 0);
    while (copy.bytes > 0) {
        const struct inlets_slice s = inl_queue_front(&copy);

        memcpy(all + n, s.ptr, s.len);
        n += s.len;
        inl_queue_consume(&copy, s.len);
    }
    inl_queue_fini(&copy);
    return all;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* A reader's log: one line per frame, DATA pieces joined. */
struct events {
    char text[4096];
    size_t len;
    size_t data_bytes;             /* of the DATA frame under way */
    unsigned calls, stop_at;       /* the stop_at-th call fails; 0: none */
    struct inl_frame_reader *fini; /* fini it from inside the callback */
};

static int count_call(struct events *e)
{
    if (e->fini != NULL) {
        inl_frame_reader_fini(e->fini);
        return INLETS_ECANCELED;
    }
    return ++e->calls == e->stop_at ? INLETS_ELIMIT : 0;
}

static void note(struct events *e, unsigned type, uint32_t stream,
                 uint8_t flags, size_t n)
{
    int k = snprintf(e->text + e->len, sizeof(e->text) - e->len,
                     "%u:%u:%u:%zu ", type, stream, flags, n);

    assert_true(k > 0 && (size_t)k < sizeof(e->text) - e->len);
    e->len += (size_t)k;
}

static int on_frame(void *user, const struct inl_frame *f)
{
    struct events *e = user;

    note(e, f->type, f->stream, f->flags, f->payload.len);
    return count_call(e);
}

static int on_data(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct events *e = user;

    e->data_bytes += piece.len;
    if (last) {
        note(e, INL_FRAME_DATA, stream, flags, e->data_bytes);
        e->data_bytes = 0;
    }
    return count_call(e);
}

static const struct inl_frame_reader_ops ops = {on_frame, on_data};

static const struct inlets_field some_fields[] = {
    {{"Accept", 6}, {"*/*", 3}},
    {{"X-Empty", 7}, {"", 0}},
    {{"Cookie", 6}, {"a=b; c=\"d\"\t\xc3\xa4", 13}},
};

static struct inlets_head request(void)
{
    return (struct inlets_head){.method = INL_LIT("POST"),
                                .target = INL_LIT("/a/b?c=d"),
                                .host = INL_LIT("app.example.com:8080"),
                                .content_length = INLETS_LENGTH_UNKNOWN,
                                .fields = some_fields,
                                .nfields = 3};
}

static struct inlets_head response(void)
{
    return (struct inlets_head){.status = 404,
                                .reason = INL_LIT("Not Found"),
                                .content_length = INT64_MAX,
                                .fields = some_fields,
                                .nfields = 3};
}

/* One of each, DATA in three sizes, an extension and a large head. */
static void put_mixture(struct inl_queue *q)
{
    const struct inl_hello hello = {.version = 1,
                                    .stream_window = 262144,
                                    .session_window = 16777216,
                                    .max_streams = 16384,
                                    .agent = INL_LIT("inlets/test"),
                                    .ticket = 7,
                                    .secret = {1, 2, 3},
                                    .resume_ms = 10000,
                                    .lanes = 8,
                                    .spread_ms = 20};
    struct inlets_head req = request(), res = response(), big = response();
    struct inl_queue body = {0};
    char value[9000];
    uint8_t fill[20000];
    const struct inlets_field large = {INL_LIT("Big"), {value, sizeof(value)}};

    memset(value, 'v', sizeof(value));
    memset(fill, 'd', sizeof(fill));
    big.fields = &large;
    big.nfields = 1;
    assert_int_equal(inl_queue_append(&body, fill, sizeof(fill)), 0);
    assert_int_equal(inl_frame_put_hello(q, &hello), 0);
    assert_int_equal(inl_frame_put_route(q, 7, INL_LIT("*.example.com")), 0);
    assert_int_equal(inl_frame_put_routed(q, 7, 0, INL_LIT("")), 0);
    assert_int_equal(inl_frame_put_open(q, 1, 0, 7, INL_LIT("id1"), &req), 0);
    assert_int_equal(inl_frame_put_data(q, 1, 0, &body, 16384), 0);
    assert_int_equal(inl_frame_put_data(q, 1, INL_FRAME_CHARGED, &body, 5), 0);
    assert_int_equal(inl_frame_put_data(q, 1, INL_FRAME_END, NULL, 0), 0);
    assert_int_equal(inl_queue_append(q, "\x99\0\0\0\3\0\0\0\5ext", 12), 0);
    assert_int_equal(inl_frame_put_head(q, 1, 0, &res), 0);
    assert_int_equal(inl_frame_put_head(q, 2, INL_FRAME_END, &big), 0);
    assert_int_equal(inl_frame_put_trailers(q, 1, &res), 0);
    assert_int_equal(inl_frame_put_credit(q, 0, UINT64_MAX), 0);
    assert_int_equal(inl_frame_put_reset(q, 1, INLETS_ECANCELED), 0);
    assert_int_equal(inl_frame_put_unroute(q, 7), 0);
    assert_int_equal(inl_frame_put_goaway(q, 1, 0, INL_LIT("bye")), 0);
    assert_int_equal(inl_frame_put_spread(q, 20000), 0);
    inl_queue_fini(&body);
}

static const char mixture_text[] =
    "1:0:0:103 2:0:0:17 4:0:0:8 5:1:0:103 7:1:0:16384 7:1:2:5 7:1:1:0 "
    "6:1:0:71 6:2:1:9031 8:1:0:49 9:0:0:8 10:1:0:4 3:0:0:4 11:0:0:11 "
    "12:0:0:4 ";

/* --- reading
 * ------------------------------------------------------------------ */

/* The same frames come out however the bytes are cut. */
static void any_split_gives_the_same_frames(void **state)
{
    struct inl_queue q = {0};
    uint32_t seed = 1;
    uint8_t *bytes;

    put_mixture(&q);
    bytes = flatten(&q);
    for (unsigned round = 0; round < 200; round++) {
        const size_t most = round == 0   ? 1
                            : round == 1 ? q.bytes
                                         : 3000 / round;
        struct events e = {0};
        struct inl_frame_reader r;

        inl_frame_reader_init(&r, &ops, &e);
        for (size_t at = 0, n; at < q.bytes; at += n) {
            n = round < 2 ? most : 1 + next_random(&seed) % (most + 1);
            n = n < q.bytes - at ? n : q.bytes - at;
            assert_int_equal(inl_frame_feed(&r, bytes + at, n), 0);
        }
        assert_string_equal(e.text, mixture_text);
        assert_null(r.buf);
        inl_frame_reader_fini(&r);
    }
    free(bytes);
    inl_queue_fini(&q);
}

static void whole_frames_cost_no_memory(void **state)
{
    struct inl_queue q = {0};
    struct events e = {0};
    struct inl_frame_reader r;
    uint8_t *bytes;

    put_mixture(&q);
    bytes = flatten(&q);
    inl_frame_reader_init(&r, &ops, &e);
    alloc_last = 0;
    assert_int_equal(inl_frame_feed(&r, bytes, q.bytes), 0);
    assert_int_equal(alloc_last, 0);
    free(bytes);
    inl_queue_fini(&q);
}

static void a_callback_error_stops_and_sticks(void **state)
{
    struct inl_queue q = {0};
    uint8_t *bytes;

    put_mixture(&q);
    bytes = flatten(&q);
    for (unsigned stop_at = 1; stop_at <= 14; stop_at++) {
        struct events e = {.stop_at = stop_at};
        struct inl_frame_reader r;

        inl_frame_reader_init(&r, &ops, &e);
        assert_int_equal(inl_frame_feed(&r, bytes, q.bytes), INLETS_ELIMIT);
        assert_int_equal(e.calls, stop_at);
        assert_int_equal(inl_frame_feed(&r, bytes, q.bytes), INLETS_ELIMIT);
        assert_int_equal(e.calls, stop_at);
        inl_frame_reader_fini(&r);
    }
    free(bytes);
    inl_queue_fini(&q);
}

/* Whoever closes from inside the callback finds the payload still alive and
 * nothing freed twice. */
static void a_callback_may_fini_the_reader(void **state)
{
    struct inl_queue q = {0};
    struct inlets_head res = response();
    uint8_t *bytes;

    assert_int_equal(inl_frame_put_head(&q, 1, 0, &res), 0);
    bytes = flatten(&q);
    for (size_t split = 1; split < q.bytes; split++) {
        struct inl_frame_reader r;
        struct events e = {.fini = &r};

        inl_frame_reader_init(&r, &ops, &e);
        assert_int_equal(inl_frame_feed(&r, bytes, split), 0);
        assert_int_equal(inl_frame_feed(&r, bytes + split, q.bytes - split),
                         INLETS_ECANCELED);
    }
    free(bytes);
    inl_queue_fini(&q);
}

static void gathering_without_memory_is_an_error(void **state)
{
    struct events e = {0};
    struct inl_frame_reader r;

    inl_frame_reader_init(&r, &ops, &e);
    alloc_fail_nth = 1;
    assert_int_equal(
        inl_frame_feed(&r, (const uint8_t *)"\x0a\0\0\0\4\0\0\0\1\0", 10),
        INLETS_ENOMEM);
    assert_int_equal(alloc_fail_nth, 0);
    assert_int_equal(inl_frame_feed(&r, (const uint8_t *)"\0", 1),
                     INLETS_ENOMEM);
    inl_frame_reader_fini(&r);
}

/* Each header that FRAME.md section 2 forbids, told from the header alone. */
static void bad_headers_are_refused(void **state)
{
    static const uint8_t bad[][INL_FRAME_HEADER] = {
        {0x00, 0, 0, 0, 0, 0, 0, 0, 0},       /* no such type */
        {0x0d, 0, 0, 0, 0, 0, 0, 0, 0},       /* no such type yet */
        {0x7f, 0, 0, 0, 0, 0, 0, 0, 1},       /* the last that must be known */
        {0x01, 0, 0, 0, 0, 0, 0, 0, 1},       /* HELLO on a stream */
        {0x04, 0, 0, 0, 8, 1, 0, 0, 0},       /* ROUTED on a stream */
        {0x0b, 0, 0, 0, 8, 0, 0, 0, 9},       /* GOAWAY on a stream */
        {0x05, 0, 0, 0, 30, 0, 0, 0, 0},      /* OPEN without */
        {0x0a, 0, 0, 0, 4, 0, 0, 0, 0},       /* RESET without */
        {0x07, 0, 0, 0x40, 0x01, 0, 0, 0, 1}, /* DATA of 16,385 */
        {0x07, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1},
        {0x07, 2, 0, 0, 0, 0, 0, 0, 1},       /* DATA for nothing */
        {0x06, 0, 1, 0x20, 0x01, 0, 0, 0, 1}, /* HEAD of 72 KiB and 1 */
        {0x02, 0, 0, 0x10, 0x01, 0, 0, 0, 0}, /* ROUTE of 4,097 */
        {0x80, 0, 0, 0x10, 0x01, 0, 0, 0, 0}, /* an extension of 4,097 */
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct events e = {0};
        struct inl_frame_reader r;

        inl_frame_reader_init(&r, &ops, &e);
        assert_int_equal(inl_frame_feed(&r, bad[i], INL_FRAME_HEADER - 1), 0);
        assert_int_equal(inl_frame_feed(&r, bad[i] + INL_FRAME_HEADER - 1, 1),
                         INLETS_EPROTO);
        assert_int_equal(e.calls, 0);
        inl_frame_reader_fini(&r);
    }
}

/* --- payloads ---------------------------------------------------------------
 */

/* Decodes by type and, when that works, encodes again. Returns what decoding
 * returned. */
static int decode(uint8_t type, struct inlets_slice p, struct inl_queue *q)
{
    struct inlets_field fields[MAX_FIELDS];
    struct inlets_head head;
    struct inlets_slice text;
    struct inl_hello hello;
    uint32_t number;
    uint64_t limit;
    int reason, err;

    switch ((enum inl_frame_type)type) {
    case INL_FRAME_HELLO:
        err = inl_frame_get_hello(p, &hello);
        return err != 0 ? err : inl_frame_put_hello(q, &hello);
    case INL_FRAME_ROUTE:
        err = inl_frame_get_route(p, &number, &text);
        return err != 0 ? err : inl_frame_put_route(q, number, text);
    case INL_FRAME_UNROUTE:
        err = inl_frame_get_unroute(p, &number);
        return err != 0 ? err : inl_frame_put_unroute(q, number);
    case INL_FRAME_ROUTED:
        err = inl_frame_get_routed(p, &number, &reason, &text);
        return err != 0 ? err : inl_frame_put_routed(q, number, reason, text);
    case INL_FRAME_OPEN:
        err = inl_frame_get_open(p, &number, &text, &head, fields, MAX_FIELDS);
        return err != 0 ? err
                        : inl_frame_put_open(q, 1, 0, number, text, &head);
    case INL_FRAME_HEAD:
        err = inl_frame_get_head(p, &head, fields, MAX_FIELDS);
        return err != 0 ? err : inl_frame_put_head(q, 1, 0, &head);
    case INL_FRAME_TRAILERS:
        err = inl_frame_get_trailers(p, &head, fields, MAX_FIELDS);
        return err != 0 ? err : inl_frame_put_trailers(q, 1, &head);
    case INL_FRAME_CREDIT:
        err = inl_frame_get_credit(p, &limit);
        return err != 0 ? err : inl_frame_put_credit(q, 1, limit);
    case INL_FRAME_RESET:
        err = inl_frame_get_reset(p, &reason);
        return err != 0 ? err : inl_frame_put_reset(q, 1, reason);
    case INL_FRAME_GOAWAY:
        err = inl_frame_get_goaway(p, &number, &reason, &text);
        return err != 0 ? err : inl_frame_put_goaway(q, number, reason, text);
    case INL_FRAME_SPREAD:
        err = inl_frame_get_spread(p, &number);
        return err != 0 ? err : inl_frame_put_spread(q, number);
    case INL_FRAME_DATA:
        return 0;
    }
    return INLETS_EPROTO;
}

/* The frames of the mixture, one at a time: type and payload. */
struct frame_at {
    uint8_t type;
    const uint8_t *payload;
    size_t n;
};

static bool next_frame(const uint8_t **p, const uint8_t *end,
                       struct frame_at *ret)
{
    const uint8_t *h = *p;

    if (h == end) {
        return false;
    }
    ret->type = h[0];
    ret->n = (size_t)h[2] << 16 | (size_t)h[3] << 8 | h[4];
    ret->payload = h + INL_FRAME_HEADER;
    *p = ret->payload + ret->n;
    return true;
}

static bool is_decodable(uint8_t type)
{
    return type != INL_FRAME_DATA && type < INL_FRAME_OPTIONAL;
}

/* A payload that is all text behind its numbers may be cut in the text. */
static size_t shortest(uint8_t type)
{
    switch (type) {
    case INL_FRAME_ROUTE:
        return 4;
    case INL_FRAME_ROUTED:
    case INL_FRAME_GOAWAY:
        return 8;
    default:
        return SIZE_MAX;
    }
}

/* A HELLO may end before any parameter that may be missing. */
static bool may_end_at(uint8_t type, size_t n)
{
    static const size_t ends[] = {36, 51, 79, 87, 95};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (type == INL_FRAME_HELLO && n == ends[i]) {
            return true;
        }
    }
    return n >= shortest(type);
}

/* Every truncation is refused (from a block of just that size, so that the
 * sanitizer sees one byte too far), and so is one byte too many. */
static void truncated_payloads_are_refused(void **state)
{
    struct inl_queue q = {0}, again = {0};
    uint8_t *bytes;
    const uint8_t *at;
    struct frame_at f;

    put_mixture(&q);
    at = bytes = flatten(&q);
    while (next_frame(&at, bytes + q.bytes, &f)) {
        for (size_t n = 0; is_decodable(f.type) && n < f.n; n++) {
            uint8_t *cut = malloc(n == 0 ? 1 : n);
            int err;

            assert_non_null(cut);
            memcpy(cut, f.payload, n);
            err = decode(f.type, inl_slice(cut, n), &again);
            assert_int_equal(err, may_end_at(f.type, n) ? 0 : INLETS_EPROTO);
            free(cut);
        }
    }
    free(bytes);
    inl_queue_fini(&again);
    inl_queue_fini(&q);
}

static void longer_payloads_are_refused(void **state)
{
    struct inl_queue q = {0}, again = {0};
    uint8_t *bytes;
    const uint8_t *at;
    struct frame_at f;

    put_mixture(&q);
    at = bytes = flatten(&q);
    while (next_frame(&at, bytes + q.bytes, &f)) {
        if (is_decodable(f.type)) {
            uint8_t *more = calloc(1, f.n + 1);

            assert_non_null(more);
            memcpy(more, f.payload, f.n);
            assert_int_equal(decode(f.type, inl_slice(more, f.n + 1), &again),
                             INLETS_EPROTO);
            free(more);
        }
    }
    free(bytes);
    inl_queue_fini(&again);
    inl_queue_fini(&q);
}

/* What the decoder takes, the encoder takes: the two ask the same question,
 * so no peer can be made to send what ends its own session. */
static void changed_payloads_never_split_the_two(void **state)
{
    struct inl_queue q = {0}, again = {0};
    uint8_t *bytes;
    const uint8_t *at;
    struct frame_at f;
    uint32_t seed = 7;

    put_mixture(&q);
    at = bytes = flatten(&q);
    while (next_frame(&at, bytes + q.bytes, &f)) {
        for (size_t round = 0; is_decodable(f.type) && round < 3000; round++) {
            uint8_t *changed = malloc(f.n);
            int err;

            assert_non_null(changed);
            memcpy(changed, f.payload, f.n);
            changed[next_random(&seed) % f.n] = (uint8_t)next_random(&seed);
            changed[next_random(&seed) % (f.n < 64 ? f.n : 64)] ^= 1;
            err = decode(f.type, inl_slice(changed, f.n), &again);
            if (err != INLETS_EVERSION && err != INLETS_EPROTO) {
                assert_int_equal(err, 0);
            }
            inl_queue_clear(&again);
            free(changed);
        }
    }
    free(bytes);
    inl_queue_fini(&again);
    inl_queue_fini(&q);
}

/* --- heads -----------------------------------------------------------------
 */

static int put_open_with(struct inlets_head *head)
{
    struct inl_queue q = {0};
    int err = inl_frame_put_open(&q, 1, 0, 1, INL_LIT("id"), head);

    assert_true(err == 0 || q.bytes == 0);
    inl_queue_fini(&q);
    return err;
}

static void unsound_requests_are_not_sent(void **state)
{
    static const struct inlets_slice methods[] = {
        {"", 0}, {"GE T", 4}, {"GET\r\n", 5}, {"GET\0", 4}, {"\xc3\xa4", 2}};
    static const struct inlets_slice targets[] = {
        {"", 0},     {"a", 1},     {"http://x/", 9},
        {"/a b", 4}, {"/\r\n", 3}, {"/\0", 2},
        {"**", 2},   {"/\x7f", 2}, {"/ HTTP/1.1", 10}};
    static const struct inlets_slice hosts[] = {
        {"a b", 3}, {"a\r\nX: y", 7}, {"\t", 1}, {"a\0", 2}};
    struct inlets_head head = request();

    assert_int_equal(put_open_with(&head), 0);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        head = request();
        head.method = methods[i];
        assert_int_equal(put_open_with(&head), INLETS_EINVAL);
    }
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        head = request();
        head.target = targets[i];
        assert_int_equal(put_open_with(&head), INLETS_EINVAL);
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        head = request();
        head.host = hosts[i];
        assert_int_equal(put_open_with(&head), INLETS_EINVAL);
    }
    head = request();
    head.content_length = -3;
    assert_int_equal(put_open_with(&head), INLETS_EINVAL);
    head = request();
    head.target = INL_LIT("*");
    head.host = INL_LIT("");
    assert_int_equal(put_open_with(&head), 0);
}

static int put_with_field(uint8_t type, struct inlets_slice name,
                          struct inlets_slice value)
{
    const struct inlets_field field = {name, value};
    struct inlets_head head = type == INL_FRAME_OPEN ? request() : response();
    struct inl_queue q = {0};
    int err;

    head.fields = &field;
    head.nfields = 1;
    if (type == INL_FRAME_OPEN) {
        err = inl_frame_put_open(&q, 1, 0, 1, INL_LIT("id"), &head);
    } else if (type == INL_FRAME_HEAD) {
        err = inl_frame_put_head(&q, 1, 0, &head);
    } else {
        err = inl_frame_put_trailers(&q, 1, &head);
    }
    inl_queue_fini(&q);
    return err;
}

static void unsound_fields_are_not_sent(void **state)
{
    static const uint8_t heads[] = {INL_FRAME_OPEN, INL_FRAME_HEAD,
                                    INL_FRAME_TRAILERS};
    static const struct inlets_field bad[] = {
        {{"", 0}, {"v", 1}},
        {{"A B", 3}, {"v", 1}},
        {{"A:", 2}, {"v", 1}},
        {{"A", 1}, {"a\rb", 3}},
        {{"A", 1}, {"a\nb", 3}},
        {{"A", 1}, {"a\0b", 3}},
        {{"Content-Length", 14}, {"0", 1}},
        {{"content-LENGTH", 14}, {"0", 1}},
        {{"Transfer-Encoding", 17}, {"chunked", 7}},
    };

    for (size_t h = 0; h < sizeof(heads); h++) {
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            assert_int_equal(
                put_with_field(heads[h], bad[i].name, bad[i].value),
                INLETS_EINVAL);
        }
        assert_int_equal(
            put_with_field(heads[h], INL_LIT("hOST"), INL_LIT("x")),
            heads[h] == INL_FRAME_HEAD ? 0 : INLETS_EINVAL);
    }
}

static void unsound_responses_are_not_sent(void **state)
{
    static const unsigned statuses[] = {0, 99, 600, 65536 + 200};
    struct inl_queue q = {0};
    struct inlets_head head;

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        head = response();
        head.status = statuses[i];
        assert_int_equal(inl_frame_put_head(&q, 1, 0, &head), INLETS_EINVAL);
    }
    head = response();
    head.reason = INL_LIT("OK\r\nX: y");
    assert_int_equal(inl_frame_put_head(&q, 1, 0, &head), INLETS_EINVAL);
    head = response();
    head.content_length = INT64_MIN;
    assert_int_equal(inl_frame_put_head(&q, 1, 0, &head), INLETS_EINVAL);
    assert_int_equal(q.bytes, 0);
    inl_queue_fini(&q);
}

/* A response of which all but one field's value takes `fixed` bytes. */
static int put_response_of(size_t value_len)
{
    static char value[INL_FRAME_MAX_HEAD];
    struct inlets_field fields[2] = {
        {INL_LIT("A"), {value, value_len < 60000 ? value_len : 60000}},
        {INL_LIT("B"), {value, value_len < 60000 ? 0 : value_len - 60000}}};
    struct inlets_head head = {.status = 200, .fields = fields, .nfields = 2};
    struct inl_queue q = {0};
    int err;

    memset(value, 'v', sizeof(value));
    err = inl_frame_put_head(&q, 1, 0, &head);
    if (err == 0) {
        uint8_t *bytes = flatten(&q);

        err = decode(
            INL_FRAME_HEAD,
            inl_slice(bytes + INL_FRAME_HEADER, q.bytes - INL_FRAME_HEADER),
            &q);
        free(bytes);
    }
    inl_queue_fini(&q);
    return err;
}

static void heads_up_to_the_limit_travel(void **state)
{
    const size_t fixed = 15 + 2 * 5; /* FRAME.md: HEAD, two fields */

    assert_int_equal(put_response_of(INL_FRAME_MAX_HEAD - fixed), 0);
    assert_int_equal(put_response_of(INL_FRAME_MAX_HEAD - fixed + 1),
                     INLETS_EHEADSIZE);
}

/* Lengths near SIZE_MAX must not wrap the sum round. */
static void absurd_lengths_are_refused(void **state)
{
    struct inlets_head head = request();
    struct inlets_field fields[2] = {{{"A", SIZE_MAX - 100}, {"v", 1}},
                                     {{"A", 1}, {"v", 300}}};

    head.fields = fields;
    head.nfields = 2;
    assert_int_equal(put_open_with(&head), INLETS_EHEADSIZE);
    fields[0].name.len = 65536;
    assert_int_equal(put_open_with(&head), INLETS_EHEADSIZE);
    head = request();
    head.nfields = 65536;
    assert_int_equal(put_open_with(&head), INLETS_EHEADSIZE);
    head = request();
    head.target.len = SIZE_MAX;
    assert_int_equal(put_open_with(&head), INLETS_EHEADSIZE);
    head = request();
    head.method.len = 256;
    assert_int_equal(put_open_with(&head), INLETS_EINVAL);
}

static void too_many_fields_are_refused(void **state)
{
    struct inl_queue q = {0};
    struct inlets_head head = response(), got = {.status = 1};
    struct inlets_field fields[3];
    uint8_t *bytes;
    struct inlets_slice payload;

    assert_int_equal(inl_frame_put_head(&q, 1, 0, &head), 0);
    bytes = flatten(&q);
    payload = inl_slice(bytes + INL_FRAME_HEADER, q.bytes - INL_FRAME_HEADER);
    assert_int_equal(inl_frame_get_head(payload, &got, fields, 2),
                     INLETS_EPROTO);
    assert_int_equal(got.status, 1); /* untouched */
    assert_int_equal(inl_frame_get_head(payload, &got, fields, 3), 0);
    assert_int_equal(got.status, 404);
    assert_true(inl_slice_eq(got.fields[2].value, some_fields[2].value));
    free(bytes);
    inl_queue_fini(&q);
}

/* --- the small ones ----------------------------------------------------------
 */

static void error_numbers_of_a_newer_peer_are_internal(void **state)
{
    int err = 1;

    assert_int_equal(inl_frame_get_reset(inl_slice("\0\0\0\x23", 4), &err), 0);
    assert_int_equal(err, INLETS_EINTERNAL);
    assert_int_equal(inl_frame_get_reset(inl_slice("\0\0\0\x7f", 4), &err), 0);
    assert_int_equal(err, INLETS_EINTERNAL);
    assert_int_equal(inl_frame_get_reset(inl_slice("\x80\0\0\1", 4), &err), 0);
    assert_int_equal(err, INLETS_EINTERNAL);
    assert_int_equal(inl_frame_get_reset(inl_slice("\0\0\0\x0c", 4), &err), 0);
    assert_int_equal(err, INLETS_ECANCELED);
    assert_int_equal(inl_frame_get_reset(inl_slice(NULL, 0), &err),
                     INLETS_EPROTO);
}

static void errors_that_are_none_travel_as_internal(void **state)
{
    static const int odd[] = {5, INLETS_ERR_LAST_, -1000, INT32_MIN, INT32_MAX};

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct inl_queue q = {0};
        struct inlets_slice s;

        assert_int_equal(inl_frame_put_reset(&q, 1, odd[i]), 0);
        s = inl_queue_front(&q);
        assert_memory_equal(s.ptr + INL_FRAME_HEADER, "\0\0\0\x23", 4);
        inl_queue_fini(&q);
    }
}

static void texts_are_checked_both_ways(void **state)
{
    struct inl_queue q = {0};
    struct inlets_slice text;
    uint32_t route;
    int err;
    char large[INL_FRAME_MAX_CONTROL]; /* with the numbers, too long */

    memset(large, 'x', sizeof(large));
    assert_int_equal(inl_frame_put_route(&q, 1, INL_LIT("a b")), INLETS_EINVAL);
    assert_int_equal(inl_frame_put_routed(&q, 1, 0, INL_LIT("a\x1b[2J")),
                     INLETS_EINVAL);
    assert_int_equal(inl_frame_put_goaway(&q, 1, 0, inl_slice(large, 4089)),
                     INLETS_EINVAL);
    assert_int_equal(inl_frame_put_route(&q, 1, inl_slice(large, 4093)),
                     INLETS_EINVAL);
    assert_int_equal(q.bytes, 0);
    assert_int_equal(inl_frame_put_goaway(&q, 1, 0, inl_slice(large, 4088)), 0);
    assert_int_equal(
        inl_frame_get_route(INL_LIT("\0\0\0\1a\nb"), &route, &text),
        INLETS_EPROTO);
    assert_int_equal(inl_frame_get_routed(INL_LIT("\0\0\0\1\0\0\0\0\x1b"),
                                          &route, &err, &text),
                     INLETS_EPROTO);
    inl_queue_fini(&q);
}

/* Unknown keys are skipped; known ones come once, whole, version first. */
static void hello_is_strict_where_it_matters(void **state)
{
#define VERSION "\0\1\0\4\0\0\0\1"
#define WINDOWS "\0\2\0\4\0\0\1\0\0\3\0\x8\0\0\0\0\0\0\2\0"
#define STREAMS "\0\4\0\4\0\0\0\7"
#define UNKNOWN "\0\x6\0\0\x0\x1f\0\3abc\xff\xff\0\1?"
#define TICKET "\0\x10\0\x18" "01234567abcdefghijklmnop"
    static const struct {
        struct inlets_slice payload;
        int err;
    } cases[] = {
        {TEXT(VERSION WINDOWS STREAMS), 0},
        {TEXT(VERSION UNKNOWN WINDOWS UNKNOWN STREAMS UNKNOWN), 0},
        {TEXT(""), INLETS_EPROTO},
        {TEXT(VERSION), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS), INLETS_EPROTO},
        {TEXT(VERSION VERSION WINDOWS STREAMS), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS STREAMS), INLETS_EPROTO},
        {TEXT(WINDOWS VERSION STREAMS), INLETS_EPROTO},
        {TEXT(UNKNOWN VERSION WINDOWS STREAMS), INLETS_EPROTO},
        {TEXT("\0\1\0\4\0\0\0\0"), INLETS_EVERSION},
        {TEXT("\0\1\0\4\0\0\0\2 whatever"), INLETS_EVERSION},
        {TEXT("\0\1\0\3\0\0\1"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\5\0\1\n"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\5\0\2i"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\5\0"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS TICKET), 0},
        {TEXT(VERSION WINDOWS STREAMS TICKET TICKET), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS TICKET "x"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\x10\0\0"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\x10\0\x17"
                                      "\1234567abcdefghijklmno"),
         INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\x10\0\x18\0\0\0\0\0\0\0\0"
                                      "abcdefghijklmnop"),
         INLETS_EPROTO}, /* ticket 0 is none */
        {TEXT(VERSION WINDOWS STREAMS "\0\x11\0\4\0\0\0\1"), 0},
        {TEXT(VERSION WINDOWS STREAMS "\0\x12\0\3\0\0\1"), INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\x13\0\4\0\0\0\1"
                                      "\0\x13\0\4\0\0\0\1"),
         INLETS_EPROTO},
        {TEXT(VERSION WINDOWS STREAMS "\0\x30\0\1?\0\x1f\0\0"), 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct inl_hello h = {.version = 9};

        assert_int_equal(inl_frame_get_hello(cases[i].payload, &h),
                         cases[i].err);
        if (cases[i].err != 0) {
            assert_int_equal(h.version, 9); /* untouched */
            continue;
        }
        assert_int_equal(h.stream_window, 256);
        assert_int_equal(h.session_window, 512);
        assert_int_equal(h.max_streams, 7);
        assert_int_equal(h.agent.len, 0);
    }
}

static void an_agent_has_a_limit(void **state)
{
    struct inl_queue q = {0};
    char agent[129];
    struct inl_hello hello = {.version = 1, .agent = {agent, 129}};

    memset(agent, 'a', sizeof(agent));
    assert_int_equal(inl_frame_put_hello(&q, &hello), INLETS_EINVAL);
    hello.agent.len = 128;
    assert_int_equal(inl_frame_put_hello(&q, &hello), 0);
    hello.agent = INL_LIT("a\nb");
    assert_int_equal(inl_frame_put_hello(&q, &hello), INLETS_EINVAL);
    inl_queue_fini(&q);
}

/* --- DATA
 * --------------------------------------------------------------------- */

/* A body in `pieces` segments, which cannot be joined. */
static void scatter(struct inl_queue *body, size_t pieces, size_t each)
{
    for (size_t i = 0; i < pieces; i++) {
        struct inl_queue one = {0};
        uint8_t bytes[2048];

        assert_true(each <= sizeof(bytes));
        memset(bytes, 'a' + (int)(i % 26), sizeof(bytes));
        assert_int_equal(inl_queue_append(&one, bytes, each), 0);
        assert_int_equal(inl_queue_move(body, &one, each), 0);
        inl_queue_fini(&one);
    }
}

static void data_moves_from_the_front(void **state)
{
    static const size_t sizes[] = {1, 5, 1023, 1024, 1025, 3000, 16384};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct inl_queue q = {0}, body = {0};
        const size_t n = sizes[i];
        uint8_t *all, *framed;

        scatter(&body, 20, 1500);
        all = flatten(&body);
        assert_int_equal(inl_frame_put_data(&q, 3, INL_FRAME_END, &body, n), 0);
        assert_int_equal(body.bytes, 30000 - n);
        assert_int_equal(q.bytes, n + INL_FRAME_HEADER);
        framed = flatten(&q);
        assert_memory_equal(framed + INL_FRAME_HEADER, all, n);
        free(framed);
        free(all);
        inl_queue_fini(&q);
        inl_queue_fini(&body);
    }
}

/* Large bodies change hands without a copy. */
static void large_data_is_not_copied(void **state)
{
    struct inl_queue q = {0}, body = {0};
    const char *place;

    scatter(&body, 1, 2000);
    place = inl_queue_front(&body).ptr;
    assert_int_equal(inl_frame_put_data(&q, 3, 0, &body, 2000), 0);
    inl_queue_consume(&q, INL_FRAME_HEADER);
    assert_ptr_equal(inl_queue_front(&q).ptr, place);
    inl_queue_fini(&q);
    inl_queue_fini(&body);
}

static void impossible_data_is_refused(void **state)
{
    struct inl_queue q = {0}, body = {0};

    scatter(&body, 10, 2000);
    assert_int_equal(inl_frame_put_data(&q, 1, 0, &body, 16385), INLETS_EINVAL);
    assert_int_equal(inl_frame_put_data(&q, 1, 0, &body, 0), INLETS_EINVAL);
    inl_queue_clear(&body);
    assert_int_equal(inl_frame_put_data(&q, 1, 0, &body, 1), INLETS_EINVAL);
    assert_int_equal(q.bytes, 0);
    inl_queue_fini(&q);
    inl_queue_fini(&body);
}

/* Each allocation of each encoder fails once; the queue stays as it was. */
static void encoders_leave_no_part_behind(void **state)
{
    static char value[9000];
    const struct inlets_field large = {{"Big", 3}, {value, sizeof(value)}};
    struct inlets_head head = response();

    memset(value, 'v', sizeof(value));
    head.fields = &large;
    head.nfields = 1;
    for (size_t nth = 1;; nth++) {
        struct inl_queue q = {0};
        int err;

        alloc_fail_nth = nth;
        err = inl_frame_put_head(&q, 1, 0, &head);
        if (alloc_fail_nth > 0) { /* none was left to fail */
            alloc_fail_nth = 0;
            assert_int_equal(err, 0);
            assert_true(nth > 2);
            inl_queue_fini(&q);
            break;
        }
        assert_int_equal(err, INLETS_ENOMEM);
        assert_int_equal(q.bytes, 0);
        inl_queue_fini(&q);
    }
}

static void small_data_leaves_no_part_behind(void **state)
{
    struct inl_queue q = {0}, body = {0};

    scatter(&body, 1, 100);
    alloc_fail_nth = 1;
    assert_int_equal(inl_frame_put_data(&q, 1, 0, &body, 100), INLETS_ENOMEM);
    assert_int_equal(q.bytes, 0);
    assert_int_equal(body.bytes, 100);
    inl_queue_fini(&q);
    inl_queue_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_split_gives_the_same_frames, teardown),
        cmocka_unit_test_teardown(whole_frames_cost_no_memory, teardown),
        cmocka_unit_test_teardown(a_callback_error_stops_and_sticks, teardown),
        cmocka_unit_test_teardown(a_callback_may_fini_the_reader, teardown),
        cmocka_unit_test_teardown(gathering_without_memory_is_an_error,
                                  teardown),
        cmocka_unit_test_teardown(bad_headers_are_refused, teardown),
        cmocka_unit_test_teardown(truncated_payloads_are_refused, teardown),
        cmocka_unit_test_teardown(longer_payloads_are_refused, teardown),
        cmocka_unit_test_teardown(changed_payloads_never_split_the_two,
                                  teardown),
        cmocka_unit_test_teardown(unsound_requests_are_not_sent, teardown),
        cmocka_unit_test_teardown(unsound_fields_are_not_sent, teardown),
        cmocka_unit_test_teardown(unsound_responses_are_not_sent, teardown),
        cmocka_unit_test_teardown(heads_up_to_the_limit_travel, teardown),
        cmocka_unit_test_teardown(absurd_lengths_are_refused, teardown),
        cmocka_unit_test_teardown(too_many_fields_are_refused, teardown),
        cmocka_unit_test_teardown(error_numbers_of_a_newer_peer_are_internal,
                                  teardown),
        cmocka_unit_test_teardown(errors_that_are_none_travel_as_internal,
                                  teardown),
        cmocka_unit_test_teardown(texts_are_checked_both_ways, teardown),
        cmocka_unit_test_teardown(hello_is_strict_where_it_matters, teardown),
        cmocka_unit_test_teardown(an_agent_has_a_limit, teardown),
        cmocka_unit_test_teardown(data_moves_from_the_front, teardown),
        cmocka_unit_test_teardown(large_data_is_not_copied, teardown),
        cmocka_unit_test_teardown(impossible_data_is_refused, teardown),
        cmocka_unit_test_teardown(encoders_leave_no_part_behind, teardown),
        cmocka_unit_test_teardown(small_data_leaves_no_part_behind, teardown),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
