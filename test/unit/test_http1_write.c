/* test_http1_write.c: writing HTTP/1.1, byte for byte, and what is refused. */
#include "proto/http1.h"

#include "base/slice.h"
#include "unit/alloc.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

#define NONE INLETS_LENGTH_NONE
#define UNKNOWN INLETS_LENGTH_UNKNOWN

static void assert_written(struct inl_queue *q, const char *want)
{
    char text[4096];
    size_t len = 0;

    while (q->bytes > 0) {
        struct inlets_slice front = inl_queue_front(q);

        assert_in_range(front.len, 1, sizeof(text) - 1 - len);
        memcpy(text + len, front.ptr, front.len);
        len += front.len;
        inl_queue_consume(q, front.len);
    }
    text[len] = '\0';
    assert_string_equal(text, want);
    inl_queue_fini(q);
}

/* --- Requests --- */

static const struct inlets_field two_fields[] = {
    {{"Accept", 6}, {"*/*", 3}},
    {{"x-y", 3}, {"", 0}},
};

static struct inlets_head request(int64_t length)
{
    return (struct inlets_head){.method = INL_LIT("PUT"),
                                .target = INL_LIT("/a?b"),
                                .host = INL_LIT("a.test:80"),
                                .content_length = length,
                                .fields = two_fields,
                                .nfields = 2};
}

static void assert_request(const struct inlets_head *head, const char *extra,
                           enum inl_http1_framing framing, const char *want)
{
    struct inl_queue q = {0};
    enum inl_http1_framing got = INL_HTTP1_CLOSE;

    assert_int_equal(inl_http1_put_request(&q, head, inl_str(extra), &got), 0);
    assert_int_equal(got, framing);
    assert_written(&q, want);
}

static void writes_requests(void **state)
{
    struct inlets_head head = request(NONE);

    (void)state;
    assert_request(&head, "", INL_HTTP1_NO_BODY,
                   "PUT /a?b HTTP/1.1\r\nHost: a.test:80\r\n"
                   "Accept: */*\r\nx-y: \r\n\r\n");
    head = request(0);
    assert_request(&head, "", INL_HTTP1_LENGTH,
                   "PUT /a?b HTTP/1.1\r\nHost: a.test:80\r\n"
                   "Accept: */*\r\nx-y: \r\nContent-Length: 0\r\n\r\n");
    head = request(INT64_MAX);
    assert_request(&head, "Connection: close\r\n", INL_HTTP1_LENGTH,
                   "PUT /a?b HTTP/1.1\r\nHost: a.test:80\r\n"
                   "Accept: */*\r\nx-y: \r\n"
                   "Content-Length: 9223372036854775807\r\n"
                   "Connection: close\r\n\r\n");
    head = request(UNKNOWN);
    assert_request(&head, "", INL_HTTP1_CHUNKED,
                   "PUT /a?b HTTP/1.1\r\nHost: a.test:80\r\n"
                   "Accept: */*\r\nx-y: \r\n"
                   "Transfer-Encoding: chunked\r\n\r\n");
}

static void host_may_be_missing(void **state)
{
    struct inlets_head head = request(NONE);

    (void)state;
    head.host = inl_slice(NULL, 0);
    head.nfields = 0;
    head.method = INL_LIT("OPTIONS");
    head.target = INL_LIT("*");
    assert_request(&head, "", INL_HTTP1_NO_BODY,
                   "OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n");
}

/* --- Responses --- */

struct response_case {
    const char *name;
    unsigned status;
    int64_t length;
    bool body_allowed, peer_http10;
    enum inl_http1_framing framing;
    const char *want;
};

static const struct response_case responses[] = {
    {"length", 200, 5, true, false, INL_HTTP1_LENGTH,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
    {"length 0", 404, 0, true, false, INL_HTTP1_LENGTH,
     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
    {"no body", 200, NONE, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    {"unknown length", 200, UNKNOWN, true, false, INL_HTTP1_CHUNKED,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"unknown length to 1.0", 200, UNKNOWN, true, true, INL_HTTP1_CLOSE,
     "HTTP/1.1 200 OK\r\n\r\n"},
    {"length to 1.0", 200, 5, true, true, INL_HTTP1_LENGTH,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
    {"to HEAD", 200, 5, false, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
    {"to HEAD, no body", 200, NONE, false, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 200 OK\r\n\r\n"},
    {"to HEAD, unknown length", 200, UNKNOWN, false, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"to HEAD, unknown length, 1.0", 200, UNKNOWN, false, true,
     INL_HTTP1_NO_BODY, "HTTP/1.1 200 OK\r\n\r\n"},
    {"304", 304, NONE, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 304 Not Modified\r\n\r\n"},
    {"304 with a length", 304, 5, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
    {"304, unknown length", 304, UNKNOWN, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 304 Not Modified\r\n\r\n"},
    {"304, unknown length, to HEAD", 304, UNKNOWN, false, false,
     INL_HTTP1_NO_BODY, "HTTP/1.1 304 Not Modified\r\n\r\n"},
    {"204", 204, NONE, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 204 No Content\r\n\r\n"},
    {"204 with a length", 204, 5, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 204 No Content\r\n\r\n"},
    {"204, unknown length", 204, UNKNOWN, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 204 No Content\r\n\r\n"},
    {"100", 100, NONE, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 100 Continue\r\n\r\n"},
    {"101", 101, UNKNOWN, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
    {"103 with a length", 103, 5, true, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 103 Early Hints\r\n\r\n"},
    {"status without a phrase", 599, NONE, false, false, INL_HTTP1_NO_BODY,
     "HTTP/1.1 599 \r\n\r\n"},
};

static void write_response(void **state)
{
    const struct response_case *c = *state;
    struct inlets_head head = {.status = c->status,
                               .content_length = c->length};
    enum inl_http1_framing framing;
    struct inl_queue q = {0};

    assert_int_equal(inl_http1_put_response(&q, &head, INL_LIT(""),
                                            c->body_allowed, c->peer_http10,
                                            &framing),
                     0);
    assert_int_equal(framing, c->framing);
    assert_written(&q, c->want);
}

static void writes_reason_and_fields(void **state)
{
    struct inlets_head head = {.status = 200,
                               .reason = INL_LIT("Fine, \xc3\xa4"),
                               .content_length = 1,
                               .fields = two_fields,
                               .nfields = 2};
    enum inl_http1_framing framing;
    struct inl_queue q = {0};

    (void)state;
    assert_int_equal(inl_http1_put_response(&q, &head, INL_LIT("A: b\r\n"),
                                            true, false, &framing),
                     0);
    assert_written(&q, "HTTP/1.1 200 Fine, \xc3\xa4\r\nAccept: */*\r\n"
                       "x-y: \r\nContent-Length: 1\r\nA: b\r\n\r\n");
}

/* More than the writer's buffer holds, in one value and in many. */
static void writes_large_heads(void **state)
{
    static char value[3000];
    struct inlets_field fields[100];
    struct inlets_head head = {.status = 200, .fields = fields};
    enum inl_http1_framing framing;
    struct inl_queue q = {0};
    size_t want = strlen("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

    (void)state;
    memset(value, 'v', sizeof(value));
    for (head.nfields = 0; head.nfields < 100; head.nfields++) {
        size_t len = head.nfields * 30;

        fields[head.nfields] =
            (struct inlets_field){INL_LIT("Name"), inl_slice(value, len)};
        want += len + strlen("Name: \r\n");
    }
    assert_int_equal(
        inl_http1_put_response(&q, &head, INL_LIT(""), true, false, &framing),
        0);
    assert_int_equal(q.bytes, want);
    inl_queue_fini(&q);
}

/* --- What is refused, with nothing written --- */

static void assert_refused_request(const struct inlets_head *head)
{
    enum inl_http1_framing framing = INL_HTTP1_CLOSE;
    struct inl_queue q = {0};

    assert_int_equal(inl_http1_put_request(&q, head, INL_LIT(""), &framing),
                     INLETS_EINVAL);
    assert_int_equal(q.bytes, 0);
    assert_int_equal(framing, INL_HTTP1_CLOSE);
    inl_queue_fini(&q);
}

static void refuses_request_lines(void **state)
{
    static const char *const methods[] = {"", "G T", "GET\r\n", "G:"};
    static const char *const targets[] = {
        "",    "a",     "*",     "/ ", "/\r\nA: b", "http://a/",
        "/#a", "/\x7f", "/\xc3", "?a", "/\t",       "a.test:80",
        "*/",  "//\n",  "\r\n/", " /"};
    static const char *const hosts[] = {"a b", "a\r\nB: c", "a\t", "\n",
                                        "\xc3\xa4"};
    struct inlets_head head;

    (void)state;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        head = request(NONE);
        head.method = inl_str(methods[i]);
        assert_refused_request(&head);
    }
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        head = request(NONE);
        head.target = inl_str(targets[i]);
        assert_refused_request(&head);
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        head = request(NONE);
        head.host = inl_str(hosts[i]);
        assert_refused_request(&head);
    }
    head = request(NONE);
    head.target = inl_slice("/a\0b", 4);
    assert_refused_request(&head);
}

static const struct inlets_field bad_fields[] = {
    {{"", 0}, {"a", 1}},
    {{"A B", 3}, {"a", 1}},
    {{"A:", 2}, {"a", 1}},
    {{"A\r\nB", 4}, {"a", 1}},
    {{"A\0", 2}, {"a", 1}},
    {{"A", 1}, {"a\r\nB: c", 7}},
    {{"A", 1}, {"a\nb", 3}},
    {{"A", 1}, {"a\rb", 3}},
    {{"A", 1}, {"a\0b", 3}},
    {{"A", 1}, {"\x01", 1}},
    {{"A", 1}, {"\x7f", 1}},
    {{"content-LENGTH", 14}, {"1", 1}},
    {{"Transfer-Encoding", 17}, {"chunked", 7}},
};

static void refuses_fields(void **state)
{
    enum inl_http1_framing framing = INL_HTTP1_CLOSE;
    struct inl_queue q = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad_fields) / sizeof(bad_fields[0]); i++) {
        struct inlets_head head = request(NONE);

        head.fields = &bad_fields[i];
        head.nfields = 1;
        assert_refused_request(&head);
        head.status = 200;
        assert_int_equal(inl_http1_put_response(&q, &head, INL_LIT(""), true,
                                                false, &framing),
                         INLETS_EINVAL);
        assert_int_equal(q.bytes, 0);
    }
    assert_int_equal(framing, INL_HTTP1_CLOSE);
}

static void refuses_a_second_host(void **state)
{
    const struct inlets_field host = {INL_LIT("hOST"), INL_LIT("b.test")};
    struct inlets_head head = request(NONE);

    (void)state;
    head.fields = &host;
    head.nfields = 1;
    assert_refused_request(&head);
}

static void refuses_bad_lengths(void **state)
{
    struct inlets_head head = request(-3);

    (void)state;
    assert_refused_request(&head);
    head = request(INT64_MIN);
    assert_refused_request(&head);
}

static void refuses_statuses_and_reasons(void **state)
{
    static const struct inlets_head heads[] = {
        {.status = 0},
        {.status = 99},
        {.status = 600},
        {.status = 1000},
        {.status = 200, .reason = {"a\r\nB: c", 7}},
        {.status = 200, .reason = {"a\0", 2}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        enum inl_http1_framing framing;
        struct inl_queue q = {0};

        assert_int_equal(inl_http1_put_response(&q, &heads[i], INL_LIT(""),
                                                true, false, &framing),
                         INLETS_EINVAL);
        assert_int_equal(q.bytes, 0);
    }
}

/* --- Bodies --- */

static void writes_bodies(void **state)
{
    struct inl_queue q = {0};

    (void)state;
    assert_int_equal(inl_http1_put_body(&q, INL_HTTP1_LENGTH, INL_LIT("hello")),
                     0);
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_LENGTH, NULL), 0);
    assert_written(&q, "hello");

    assert_int_equal(inl_http1_put_body(&q, INL_HTTP1_CLOSE, INL_LIT("hello")),
                     0);
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_CLOSE, NULL), 0);
    assert_written(&q, "hello");

    assert_int_equal(
        inl_http1_put_body(&q, INL_HTTP1_NO_BODY, INL_LIT("hello")), 0);
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_NO_BODY, NULL), 0);
    assert_written(&q, "");
}

static void writes_chunks(void **state)
{
    struct inl_queue q = {0};
    static char data[0x1234];

    (void)state;
    memset(data, 'x', sizeof(data));
    assert_int_equal(
        inl_http1_put_body(&q, INL_HTTP1_CHUNKED, INL_LIT("hello")), 0);
    /* an empty piece must not end the body */
    assert_int_equal(inl_http1_put_body(&q, INL_HTTP1_CHUNKED, INL_LIT("")), 0);
    assert_int_equal(
        inl_http1_put_body(&q, INL_HTTP1_CHUNKED, INL_LIT("0123456789abcdefX")),
        0);
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_CHUNKED, NULL), 0);
    assert_written(&q, "5\r\nhello\r\n11\r\n0123456789abcdefX\r\n0\r\n\r\n");

    assert_int_equal(inl_http1_put_body(&q, INL_HTTP1_CHUNKED,
                                        inl_slice(data, sizeof(data))),
                     0);
    assert_int_equal(q.bytes, 6 + sizeof(data) + 2);
    assert_memory_equal(inl_queue_front(&q).ptr, "1234\r\nx", 7);
    inl_queue_fini(&q);
}

static void writes_trailers(void **state)
{
    const struct inlets_field fields[] = {
        {INL_LIT("X"), INL_LIT("a")},
        {INL_LIT("content-length"), INL_LIT("1")},
        {INL_LIT("X-Forwarded-For"), INL_LIT("1.2.3.4")},
        {INL_LIT("Y"), INL_LIT("b")},
    };
    struct inlets_head trailers = {.fields = fields, .nfields = 4};
    struct inl_queue q = {0};

    (void)state;
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_CHUNKED, &trailers), 0);
    assert_written(&q, "0\r\nX: a\r\nY: b\r\n\r\n");
    /* where they have no place */
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_LENGTH, &trailers), 0);
    assert_written(&q, "");

    trailers = (struct inlets_head){.fields = bad_fields + 5, .nfields = 1};
    assert_int_equal(inl_http1_put_end(&q, INL_HTTP1_CHUNKED, &trailers),
                     INLETS_EINVAL);
    assert_written(&q, "");
}

static void status_texts(void **state)
{
    (void)state;
    assert_string_equal(inl_http1_status_text(200), "OK");
    assert_string_equal(inl_http1_status_text(431),
                        "Request Header Fields Too Large");
    assert_string_equal(inl_http1_status_text(299), "");
    assert_string_equal(inl_http1_status_text(0), "");
}

static void memory_runs_out(void **state)
{
    struct inlets_head head = request(UNKNOWN);
    int err = INLETS_ENOMEM;

    (void)state;
    inl_queue_trim();
    for (size_t nth = 1; err != 0; nth++) {
        enum inl_http1_framing framing;
        struct inl_queue q = {0};

        alloc_fail_nth = nth;
        err = inl_http1_put_request(&q, &head, INL_LIT(""), &framing);
        if (err == 0) {
            err = inl_http1_put_body(&q, INL_HTTP1_CHUNKED, INL_LIT("x"));
        }
        if (err == 0) {
            err = inl_http1_put_end(&q, INL_HTTP1_CHUNKED, NULL);
        }
        assert_true(err == 0 || err == INLETS_ENOMEM);
        inl_queue_fini(&q);
        inl_queue_trim();
        assert_int_equal(alloc_live, 0);
        assert_in_range(nth, 1, 20);
    }
    alloc_fail_nth = 0;
}

#define NRESPONSES (sizeof(responses) / sizeof(responses[0]))

static const struct CMUnitTest others[] = {
    cmocka_unit_test(writes_requests),
    cmocka_unit_test(host_may_be_missing),
    cmocka_unit_test(writes_reason_and_fields),
    cmocka_unit_test(writes_large_heads),
    cmocka_unit_test(refuses_request_lines),
    cmocka_unit_test(refuses_fields),
    cmocka_unit_test(refuses_a_second_host),
    cmocka_unit_test(refuses_bad_lengths),
    cmocka_unit_test(refuses_statuses_and_reasons),
    cmocka_unit_test(writes_bodies),
    cmocka_unit_test(writes_chunks),
    cmocka_unit_test(writes_trailers),
    cmocka_unit_test(status_texts),
    cmocka_unit_test(memory_runs_out),
};

#define NOTHERS (sizeof(others) / sizeof(others[0]))

int main(void)
{
    /* One group: TAP wants one plan a program. */
    static struct CMUnitTest tests[NRESPONSES + NOTHERS];

    alloc_install();
    for (size_t i = 0; i < NRESPONSES; i++) {
        tests[i] = (struct CMUnitTest){
            .name = responses[i].name,
            .test_func = write_response,
            .initial_state = (void *)(uintptr_t)&responses[i],
        };
    }
    memcpy(tests + NRESPONSES, others, sizeof(others));
    return _cmocka_run_group_tests("http1_write", tests, NRESPONSES + NOTHERS,
                                   NULL, NULL);
}
