/* test_http1.c: reading HTTP/1.1. Most of it is a table: bytes in, transcript
 * out, one line a case, named after the section that asks for it. Each case
 * is fed whole, byte by byte, and cut in two at every place; all must give
 * the same transcript. */
#include "proto/http1.h"

#include "base/slice.h"
#include "proto/http1_rules.h"
#include "unit/alloc.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

/* --- A transcript of what the parser says ---
 *
 *   GET /x @a.test none +k      a request head: target, host, length, flags
 *   200 OK 5                    a response head
 *    Name: value                its fields
 *   | hello                     body bytes, joined
 *   .                           the end
 *    ~ Name: value              trailers
 *   ! EBADMESSAGE               an error
 *   >> bytes                    left unread after an upgrade
 *
 * Flags: +k keep-alive, +0 HTTP/1.0, +u upgrade. */

struct transcript {
    char text[4096];
    size_t len;
    bool in_body;
    bool to_head; /* all responses are to HEAD */
};

static void say(struct transcript *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct transcript *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->text + t->len, sizeof(t->text) - t->len, format, args);
    va_end(args);
    assert_in_range(n, 0, sizeof(t->text) - t->len - 1);
    t->len += (size_t)n;
}

static void say_length(struct transcript *t, int64_t length)
{
    if (length == INLETS_LENGTH_NONE) {
        say(t, " none");
    } else if (length == INLETS_LENGTH_UNKNOWN) {
        say(t, " unknown");
    } else {
        say(t, " %lld", (long long)length);
    }
}

static void say_fields(struct transcript *t, const char *mark,
                       const struct inlets_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];

        say(t, "%s%.*s: %.*s\n", mark, (int)f->name.len, f->name.ptr,
            (int)f->value.len, f->value.ptr);
    }
}

static void on_head(struct inl_http1 *h, const struct inlets_head *head,
                    void *user)
{
    struct transcript *t = user;

    if (h->role == INL_HTTP1_REQUEST) {
        say(t, "%.*s %.*s @%.*s", (int)head->method.len, head->method.ptr,
            (int)head->target.len, head->target.ptr, (int)head->host.len,
            head->host.ptr);
    } else {
        say(t, "%u %.*s", head->status, (int)head->reason.len,
            head->reason.ptr);
    }
    say_length(t, head->content_length);
    say(t, "%s%s%s\n", h->keep_alive ? " +k" : "", h->http10 ? " +0" : "",
        (head->flags & INLETS_HEAD_UPGRADE) != 0 ? " +u" : "");
    assert_true(h->in_message);
    say_fields(t, " ", head);
}

static void on_body(struct inl_http1 *h, struct inlets_slice data, void *user)
{
    struct transcript *t = user;

    (void)h;
    assert_true(data.len > 0);
    say(t, "%s%.*s", t->in_body ? "" : "| ", (int)data.len, data.ptr);
    t->in_body = true;
}

static void end_body(struct transcript *t)
{
    if (t->in_body) {
        say(t, "\n");
    }
    t->in_body = false;
}

static void on_end(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user)
{
    struct transcript *t = user;

    assert_true(h->ended);
    end_body(t);
    say(t, ".\n");
    if (trailers != NULL) {
        assert_true(trailers->nfields > 0);
        say_fields(t, " ~ ", trailers);
    }
}

static const struct inl_http1_ops ops = {on_head, on_body, on_end};

/* Feeds a piece, message by message; false after an error or an upgrade. */
static bool feed(struct inl_http1 *h, struct transcript *t, const char *p,
                 size_t n)
{
    while (n > 0) {
        size_t used = n + 1;
        int err = inl_http1_feed(h, (const uint8_t *)p, n, &used);

        assert_true(used <= n);
        assert_int_equal(err, h->err);
        if (err != 0 || h->upgraded) {
            return false;
        }
        p += used;
        n -= used;
        assert_true(n == 0 || h->ended);
        if (h->ended) {
            inl_http1_next(h, t->to_head);
        }
    }
    return true;
}

struct run {
    enum inl_http1_role role;
    bool to_head, eof;
    size_t first, step; /* the size of the first piece, and of the others */
};

static void run(const struct run *r, struct inlets_slice in,
                struct transcript *t)
{
    struct inl_http1 h;
    size_t n = r->first;
    bool going = true;

    *t = (struct transcript){.to_head = r->to_head};
    inl_http1_init(&h, r->role, &ops, t);
    inl_http1_next(&h, r->to_head);
    for (size_t at = 0; at < in.len && going; at += n, n = r->step) {
        /* A copy of its own size, so that ASan sees each byte too far. */
        char *piece;

        n = n < in.len - at ? n : in.len - at;
        piece = malloc(n);
        memcpy(piece, in.ptr + at, n);
        going = feed(&h, t, piece, n);
        free(piece);
    }
    if (going && r->eof) {
        (void)inl_http1_eof(&h);
    }
    end_body(t);
    if (h.err != 0) {
        say(t, "! %s\n", inlets_errname(h.err));
        assert_true(inl_http1_reason(&h)[0] != '\0');
    }
    if (h.upgraded) {
        say(t, ">>\n");
    }
    inl_http1_fini(&h);
}

/* --- The table --- */

struct example {
    const char *name;
    enum inl_http1_role role;
    bool to_head, eof;
    struct inlets_slice in; /* may hold NUL */
    const char *want;
};

/* INL_LIT is no constant to a pedant. */
#define IN(s)                                                                  \
    {                                                                          \
        "" s, sizeof(s) - 1                                                    \
    }
#define REQ(name, in, want)                                                    \
    {                                                                          \
        name, INL_HTTP1_REQUEST, false, false, IN(in), want                    \
    }
#define RES(name, in, want)                                                    \
    {                                                                          \
        name, INL_HTTP1_RESPONSE, false, false, IN(in), want                   \
    }
/* The same and then the end of the connection. */
#define REQ_EOF(name, in, want)                                                \
    {                                                                          \
        name, INL_HTTP1_REQUEST, false, true, IN(in), want                     \
    }
#define RES_EOF(name, in, want)                                                \
    {                                                                          \
        name, INL_HTTP1_RESPONSE, false, true, IN(in), want                    \
    }
/* In answer to HEAD. */
#define RES_HEAD(name, in, want)                                               \
    {                                                                          \
        name, INL_HTTP1_RESPONSE, true, false, IN(in), want                    \
    }

#define H "Host: a.test\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\n"
#define BAD "! EBADMESSAGE\n"
#define GOT_POST(length) "POST / @a.test " length " +k\n"
#define GOT_GET "GET / @a.test none +k\n.\n"

static const struct example examples[] = {
    /* RFC 9112 2.2: framing of lines */
    REQ("2.2 a request", GET H "\r\n", GOT_GET),
    REQ("2.2 empty line before it", "\r\n" GET H "\r\n", GOT_GET),
    REQ("2.2 many empty lines", "\r\n\r\n\r\n\r\n\r\n" GET H "\r\n", BAD),
    REQ("2.2 bare LF before it", "\n" GET H "\r\n", BAD),
    REQ("2.2 bare CR before it", "\r" GET H "\r\n", BAD),
    REQ("2.2 bare LF in request line", "GET / HTTP/1.1\n" H "\r\n", BAD),
    REQ("2.2 bare CR in request line", "GET / HTTP/1.1\r" H "\r\n", BAD),
    REQ("2.2 bare CR and no LF", "GET / HTTP/1.1\rHost: a\r\r", BAD),
    REQ("2.2 CR CR LF", "GET / HTTP/1.1\r\r\n" H "\r\n", BAD),
    REQ("2.2 bare LF after field", GET "Host: a.test\n\r\n", BAD),
    REQ("2.2 bare LF ends head", GET H "\n", BAD),
    REQ("2.2 bare CR in field", GET H "A: b\rC: d\r\n\r\n", BAD),
    REQ("2.2 CR instead of last LF", GET H "\r\rx", BAD),
    REQ("2.2 white space after request line", GET " " H "\r\n", BAD),
    REQ("2.2 tab after request line", GET "\t" H "\r\n", BAD),
    REQ("2.2 TLS", "\x16\x03\x01\x02", BAD),
    REQ("2.2 SSH", "SSH-2.0-x\r\n", BAD),
    REQ("2.2 h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "! EVERSION\n"),
    REQ("2.2 pipelining", GET H "\r\nGET /2 HTTP/1.1\r\n" H "\r\n",
        GOT_GET "GET /2 @a.test none +k\n.\n"),
    REQ("2.2 empty lines between requests", GET H "\r\n\r\n" GET H "\r\n",
        GOT_GET GOT_GET),

    /* 2.3: version */
    REQ("2.3 HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET / @ none +0\n.\n"),
    REQ("2.3 HTTP/1.0 with Host", "GET / HTTP/1.0\r\n" H "\r\n",
        "GET / @a.test none +0\n.\n"),
    REQ("2.3 HTTP/0.9", "GET /\r\n", "! EVERSION\n"),
    REQ("2.3 HTTP/1.2", "GET / HTTP/1.2\r\n", "! EVERSION\n"),
    REQ("2.3 HTTP/2.0", "GET / HTTP/2.0\r\n", "! EVERSION\n"),
    REQ("2.3 HTTP/3.0", "GET / HTTP/3.0\r\n", "! EVERSION\n"),
    REQ("2.3 HTTP/0.9 in words", "GET / HTTP/0.9\r\n", "! EVERSION\n"),
    REQ("2.3 HTTP/1.10", "GET / HTTP/1.10\r\n", BAD),
    REQ("2.3 HTTP/01.1", "GET / HTTP/01.1\r\n", BAD),
    REQ("2.3 HTTP/1", "GET / HTTP/1\r\n", BAD),
    REQ("2.3 HTTP/1,1", "GET / HTTP/1,1\r\n", BAD),
    REQ("2.3 lower case", "GET / http/1.1\r\n", BAD),
    REQ("2.3 RTSP", "OPTIONS / RTSP/1.0\r\n", BAD),
    REQ("2.3 ICE", "SOURCE / ICE/1.0\r\n", BAD),

    /* 3: request line */
    REQ("3 two spaces after method", "GET  / HTTP/1.1\r\n", BAD),
    REQ("3 two spaces before version", "GET /  HTTP/1.1\r\n", BAD),
    REQ("3 space behind version", "GET / HTTP/1.1 \r\n", BAD),
    REQ("3 space before method", " GET / HTTP/1.1\r\n", BAD),
    REQ("3 tabs", "GET\t/\tHTTP/1.1\r\n", BAD),
    REQ("3 space in target", "GET /a b HTTP/1.1\r\n", BAD),
    REQ("3 no target", "GET HTTP/1.1\r\n", BAD),
    REQ("3.1 unknown method", "FOO / HTTP/1.1\r\n" H "\r\n", "! EMETHOD\n"),
    REQ("3.1 lower case method", "get / HTTP/1.1\r\n" H "\r\n", "! EMETHOD\n"),
    REQ("3.1 prefix of a method", "GE / HTTP/1.1\r\n" H "\r\n", "! EMETHOD\n"),
    REQ("3.1 RTSP method", "PLAY / HTTP/1.1\r\n" H "\r\n", "! EMETHOD\n"),
    REQ("3.1 CONNECT", "CONNECT a.test:443 HTTP/1.1\r\n" H "\r\n",
        "! EMETHOD\n"),
    REQ("3.1 TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", "! EMETHOD\n"),
    REQ("3.1 not a token", "GE:T / HTTP/1.1\r\n", BAD),
    REQ("3.1 control in method", "GE\0T / HTTP/1.1\r\n", BAD),
    REQ("3.1 QUERY", "QUERY / HTTP/1.1\r\n" H "\r\n",
        "QUERY / @a.test none +k\n.\n"),
    REQ("3.1 M-SEARCH", "M-SEARCH / HTTP/1.1\r\n" H "\r\n",
        "M-SEARCH / @a.test none +k\n.\n"),

    /* 3.2: target */
    REQ("3.2 kept as it is",
        "GET /%7e/../a//b;c?x=%zz&y=[{|}]^\"'\\` HTTP/1.1\r\n" H "\r\n",
        "GET /%7e/../a//b;c?x=%zz&y=[{|}]^\"'\\` @a.test none +k\n.\n"),
    REQ("3.2 fragment", "GET /#a HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 control", "GET /\x01 HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 NUL", "GET /\0 HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 DEL", "GET /\x7f HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 eight bits", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 no slash", "GET a HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2 query alone", "GET ?a HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.1 two slashes", "GET //a.test/ HTTP/1.1\r\n" H "\r\n",
        "GET //a.test/ @a.test none +k\n.\n"),
    REQ("3.2.2 absolute", "GET http://a.test/x?y HTTP/1.1\r\n" H "\r\n",
        "GET /x?y @a.test none +k\n.\n"),
    REQ("3.2.2 case", "GET HTTP://A.Test/ HTTP/1.1\r\n" H "\r\n", GOT_GET),
    REQ("3.2.2 without path", "GET http://a.test HTTP/1.1\r\n" H "\r\n",
        GOT_GET),
    REQ("3.2.2 query without path", "GET http://a.test?q HTTP/1.1\r\n" H "\r\n",
        "GET /?q @a.test none +k\n.\n"),
    REQ("3.2.2 slash in query", "GET http://a.test?q/r HTTP/1.1\r\n" H "\r\n",
        "GET /?q/r @a.test none +k\n.\n"),
    REQ("3.2.2 default port", "GET http://a.test:80/ HTTP/1.1\r\n" H "\r\n",
        GOT_GET),
    REQ("3.2.2 default port, https",
        "GET https://a.test:443/ HTTP/1.1\r\n" H "\r\n", GOT_GET),
    REQ("3.2.2 other port", "GET http://a.test:81/ HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.2 same port",
        "GET http://a.test:81/ HTTP/1.1\r\nHost: a.test:81\r\n\r\n",
        "GET / @a.test:81 none +k\n.\n"),
    REQ("3.2.2 IPv6",
        "GET http://[::1]:81/ HTTP/1.1\r\nHost: [0::1]:81\r\n\r\n",
        "GET / @[0::1]:81 none +k\n.\n"),
    REQ("3.2.2 IPv6, other port",
        "GET http://[::1]/ HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", BAD),
    REQ("3.2.2 other host", "GET http://b.test/ HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.2 no Host", "GET http://a.test/ HTTP/1.1\r\n\r\n", BAD),
    REQ("3.2.2 no Host, 1.0", "GET http://a.test?q HTTP/1.0\r\n\r\n",
        "GET /?q @a.test none +0\n.\n"),
    REQ("3.2.2 userinfo", "GET http://u@a.test/ HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.2 no host", "GET http:///x HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.2 other scheme", "GET ftp://a.test/ HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.3 authority", "GET a.test:80 HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.4 asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n",
        "OPTIONS * @a.test none +k\n.\n"),
    REQ("3.2.4 absolute", "OPTIONS http://a.test HTTP/1.1\r\n" H "\r\n",
        "OPTIONS * @a.test none +k\n.\n"),
    REQ("3.2.4 absolute with path",
        "OPTIONS http://a.test/ HTTP/1.1\r\n" H "\r\n",
        "OPTIONS / @a.test none +k\n.\n"),
    REQ("3.2.4 not with GET", "GET * HTTP/1.1\r\n" H "\r\n", BAD),
    REQ("3.2.4 asterisk and more", "OPTIONS *a HTTP/1.1\r\n" H "\r\n", BAD),

    /* RFC 9112 3.2, RFC 9110 7.2: Host */
    REQ("host missing", GET "\r\n", BAD),
    REQ("host twice", GET H H "\r\n", BAD),
    REQ("host twice, 1.0", "GET / HTTP/1.0\r\n" H H "\r\n", BAD),
    REQ("host empty", GET "Host:\r\n\r\n", BAD),
    REQ("host empty, 1.0", "GET / HTTP/1.0\r\nHost: \r\n\r\n", BAD),
    REQ("host with port", GET "hOST:a.test:8080\r\n\r\n",
        "GET / @a.test:8080 none +k\n.\n"),
    REQ("host case kept", GET "Host:   A.test. \t \r\n\r\n",
        "GET / @A.test. none +k\n.\n"),
    REQ("host IPv4", GET "Host: 127.0.0.1\r\n\r\n",
        "GET / @127.0.0.1 none +k\n.\n"),
    REQ("host IPv6", GET "Host: [::1]:80\r\n\r\n",
        "GET / @[::1]:80 none +k\n.\n"),
    REQ("host IPv6 broken", GET "Host: [::g]\r\n\r\n", BAD),
    REQ("host with space", GET "Host: a.test b.test\r\n\r\n", BAD),
    REQ("host list", GET "Host: a.test,b.test\r\n\r\n", BAD),
    REQ("host userinfo", GET "Host: u@a.test\r\n\r\n", BAD),
    REQ("host path", GET "Host: a.test/x\r\n\r\n", BAD),
    REQ("host percent", GET "Host: a%2etest\r\n\r\n", BAD),
    REQ("host eight bits", GET "Host: \xe4.test\r\n\r\n", BAD),
    REQ("host port too big", GET "Host: a.test:65536\r\n\r\n", BAD),
    REQ("host port not a number", GET "Host: a.test:8o\r\n\r\n", BAD),
    REQ("host two ports", GET "Host: a.test:1:2\r\n\r\n", BAD),
    REQ("host fragment", GET "Host: a.test#x\r\n\r\n", BAD),

    /* 5: fields */
    REQ("5 order, case, doubles", GET H "B: 1\r\na: 2\r\nb: 3\r\n\r\n",
        "GET / @a.test none +k\n B: 1\n a: 2\n b: 3\n.\n"),
    REQ("5 white space", GET H "A: \t x \ty \t \r\nB:\r\nC: \t\r\n\r\n",
        "GET / @a.test none +k\n A: x \ty\n B: \n C: \n.\n"),
    REQ("5 eight bits", GET H "A: \xc3\xa4\r\n\r\n",
        "GET / @a.test none +k\n A: \xc3\xa4\n.\n"),
    REQ("5.1 space before colon", GET H "A : b\r\n\r\n", BAD),
    REQ("5.1 tab before colon", GET H "A\t: b\r\n\r\n", BAD),
    REQ("5.1 space before colon of Content-Length",
        POST "Content-Length : 1\r\n\r\nx", BAD),
    REQ("5.1 space before colon of Transfer-Encoding",
        POST "Transfer-Encoding : chunked\r\n\r\n", BAD),
    REQ("5.1 no colon", GET H "A\r\n\r\n", BAD),
    REQ("5.1 no name", GET H ": b\r\n\r\n", BAD),
    REQ("5.1 bad name", GET H "A(b): c\r\n\r\n", BAD),
    REQ("5.1 eight bits in name", GET H "\xc3\xa4: c\r\n\r\n", BAD),
    REQ("5.1 NUL in name", GET H "A\0: c\r\n\r\n", BAD),
    REQ("5.2 obs-fold", GET H "A: b\r\n c\r\n\r\n", BAD),
    REQ("5.2 obs-fold by tab", GET H "A: b\r\n\tc\r\n\r\n", BAD),
    REQ("5.2 obs-fold of nothing", GET H "A:\r\n b\r\n\r\n", BAD),
    REQ("5.2 obs-fold of framing",
        POST "Transfer-Encoding:\r\n chunked\r\n\r\n", BAD),
    REQ("5.5 NUL in value", GET H "A: \0\r\n\r\n", BAD),
    REQ("5.5 control in value", GET H "A: b\x01\r\n\r\n", BAD),
    REQ("5.5 DEL in value", GET H "A: b\x7f\r\n\r\n", BAD),
    REQ("5.5 VT in value", GET H "A: b\x0b\r\n\r\n", BAD),

    /* 6.1, 6.2, 6.3: framing of requests */
    REQ("6.2 length", POST "Content-Length: 5\r\n\r\nhello",
        GOT_POST("5") "| hello\n.\n"),
    REQ("6.2 length 0", POST "Content-Length: 0\r\n\r\n", GOT_POST("0") ".\n"),
    REQ("6.2 leading zeros", POST "Content-Length: 005\r\n\r\nhello",
        GOT_POST("5") "| hello\n.\n"),
    REQ("6.2 then another", POST "Content-Length: 1\r\n\r\nx" GET H "\r\n",
        GOT_POST("1") "| x\n.\n" GOT_GET),
    REQ("6.2 largest", POST "Content-Length: 9223372036854775807\r\n\r\n",
        GOT_POST("9223372036854775807")),
    REQ("6.2 too large", POST "Content-Length: 9223372036854775808\r\n\r\n",
        BAD),
    REQ("6.2 overflow", POST "Content-Length: 18446744073709551617\r\n\r\n",
        BAD),
    REQ("6.2 negative", POST "Content-Length: -1\r\n\r\n", BAD),
    REQ("6.2 plus", POST "Content-Length: +1\r\n\r\nx", BAD),
    REQ("6.2 hex", POST "Content-Length: 0x1\r\n\r\nx", BAD),
    REQ("6.2 empty", POST "Content-Length:\r\n\r\n", BAD),
    REQ("6.2 fraction", POST "Content-Length: 1.0\r\n\r\nx", BAD),
    REQ("6.2 two numbers", POST "Content-Length: 1 1\r\n\r\nx", BAD),
    REQ("6.2 list", POST "Content-Length: 1, 1\r\n\r\nx", BAD),
    REQ("6.2 twice", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        BAD),
    REQ("6.2 twice the same",
        POST "Content-Length: 1\r\ncontent-length: 1\r\n\r\nx", BAD),
    REQ("6.3 both",
        POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    REQ("6.3 both, the other way",
        POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BAD),
    REQ("6.3 both, empty encoding",
        POST "Content-Length: 5\r\nTransfer-Encoding:\r\n\r\n", BAD),
    REQ("6.1 identity", POST "Transfer-Encoding: identity\r\n\r\n", BAD),
    REQ("6.1 gzip", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", BAD),
    REQ("6.1 chunked not last", POST "Transfer-Encoding: chunked, gzip\r\n\r\n",
        BAD),
    REQ("6.1 chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n",
        BAD),
    REQ("6.1 two fields",
        POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
             "\r\n\r\n",
        BAD),
    REQ("6.1 two fields, other first",
        POST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    REQ("6.1 xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", BAD),
    REQ("6.1 chunked with parameter",
        POST "Transfer-Encoding: chunked;a=b\r\n\r\n", BAD),
    REQ("6.1 quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", BAD),
    REQ("6.1 empty", POST "Transfer-Encoding:\r\n\r\n", BAD),
    REQ("6.1 comma first", POST "Transfer-Encoding: ,chunked\r\n\r\n", BAD),
    REQ("6.1 comma last", POST "Transfer-Encoding: chunked,\r\n\r\n", BAD),
    REQ("6.1 vertical tab",
        POST "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n",
        BAD),
    REQ("6.1 in HTTP/1.0",
        "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", BAD),
    REQ("6.1 case", POST "tRANSFER-eNCODING: Chunked\r\n\r\n0\r\n\r\n",
        GOT_POST("unknown") ".\n"),
    REQ("6.3 GET with body", GET H "Content-Length: 1\r\n\r\nx",
        "GET / @a.test 1 +k\n| x\n.\n"),
    REQ_EOF("6.3 cut length", POST "Content-Length: 2\r\n\r\nx",
            GOT_POST("2") "| x\n" BAD),
    REQ_EOF("6.3 cut head", GET H, BAD),
    REQ_EOF("6.3 cut line", "GET", BAD),
    REQ_EOF("6.3 cut chunk", CHUNKED "2\r\nx", GOT_POST("unknown") "| x\n" BAD),
    REQ_EOF("6.3 cut last chunk", CHUNKED "1\r\nx\r\n0\r\n",
            GOT_POST("unknown") "| x\n" BAD),
    REQ_EOF("6.3 end between messages", GET H "\r\n", GOT_GET),
    REQ_EOF("6.3 end before messages", "\r\n", ""),

    /* 7.1: chunks */
    REQ("7.1 chunks", CHUNKED "5\r\nhello\r\n00B\r\n, my world!\r\n0\r\n\r\n",
        GOT_POST("unknown") "| hello, my world!\n.\n"),
    REQ("7.1 then another", CHUNKED "0\r\n\r\n" GET H "\r\n",
        GOT_POST("unknown") ".\n" GOT_GET),
    REQ("7.1 size overflow", CHUNKED "10000000000000001\r\nx",
        GOT_POST("unknown") BAD),
    REQ("7.1 negative size", CHUNKED "-1\r\nx", GOT_POST("unknown") BAD),
    REQ("7.1 0x", CHUNKED "0x1\r\nx", GOT_POST("unknown") BAD),
    REQ("7.1 no size", CHUNKED "\r\nx", GOT_POST("unknown") BAD),
    REQ("7.1 size not hex", CHUNKED "g\r\n", GOT_POST("unknown") BAD),
    REQ("7.1 underscore in size", CHUNKED "1_0\r\n", GOT_POST("unknown") BAD),
    REQ("7.1 space before size", CHUNKED " 1\r\nx", GOT_POST("unknown") BAD),
    REQ("7.1 space after size", CHUNKED "1 \r\nx", GOT_POST("unknown") BAD),
    REQ("7.1 LF after size", CHUNKED "1\nx", GOT_POST("unknown") BAD),
    REQ("7.1 CR CR after size", CHUNKED "1\r\rx", GOT_POST("unknown") BAD),
    REQ("7.1 LF after data", CHUNKED "1\r\nx\n0\r\n\r\n",
        GOT_POST("unknown") "| x\n" BAD),
    REQ("7.1 nothing after data", CHUNKED "1\r\nx0\r\n\r\n",
        GOT_POST("unknown") "| x\n" BAD),
    REQ("7.1 data too long", CHUNKED "1\r\nxy\r\n0\r\n\r\n",
        GOT_POST("unknown") "| x\n" BAD),
    REQ("7.1 LF at the end", CHUNKED "0\r\n\n", GOT_POST("unknown") BAD),
    REQ("7.1 LF after last size", CHUNKED "0\n\r\n", GOT_POST("unknown") BAD),
    REQ("7.1.1 extensions", CHUNKED "1;a=b;c;d=\"e\\\"f\"\r\nx\r\n0;z\r\n\r\n",
        GOT_POST("unknown") "| x\n.\n"),
    REQ("7.1.1 LF in extension", CHUNKED "1;a\nx\r\n0\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.1 CR in extension", CHUNKED "1;a\rx\r\n0\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.1 NUL in extension", CHUNKED "1;a=\0\r\nx\r\n0\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.1 LF in quoted extension", CHUNKED "1;a=\"\n\"\r\nx\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.2 trailers", CHUNKED "0\r\nX: a\r\nY: \t b \r\nX: c\r\n\r\n",
        GOT_POST("unknown") ".\n ~ X: a\n ~ Y: b\n ~ X: c\n"),
    REQ("7.1.2 forbidden are dropped",
        CHUNKED "0\r\nHost: b\r\nX: a\r\nCookie: c\r\nX-Forwarded-For: d\r\n"
                "Connection: close\r\nIf-Match: e\r\n\r\n",
        GOT_POST("unknown") ".\n ~ X: a\n"),
    REQ("7.1.2 their twins are dropped",
        CHUNKED "0\r\nX_Forwarded_For: a\r\nContent_Length: 3\r\n"
                "X-Real_IP: b\r\nProxy: c\r\nX_Y: d\r\n\r\n",
        GOT_POST("unknown") ".\n ~ X_Y: d\n"),
    REQ("9110 7.6.1 what Connection names is dropped",
        "POST / HTTP/1.1\r\n" H "Connection: close, X-A\r\nX-A: 0\r\n"
        "Transfer-Encoding: chunked\r\nConnection: x-b\r\n\r\n0\r\n"
        "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\nx-a: 4\r\n\r\n"
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n"
        "X-A: 1\r\n\r\n",
        "POST / @a.test unknown\n Connection: close, X-A\n X-A: 0\n"
        " Connection: x-b\n.\n ~ X-C: 3\n"
        "POST / @a.test unknown +k\n.\n ~ X-A: 1\n"),
    REQ("7.1.2 all are dropped",
        CHUNKED "0\r\nAuthorization: Bearer x\r\n\r\n" GET H "\r\n",
        GOT_POST("unknown") ".\n" GOT_GET),
    REQ("7.1.2 Content-Length", CHUNKED "0\r\nContent-Length: 3\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.2 Transfer-Encoding",
        CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.2 obs-fold", CHUNKED "0\r\nX: a\r\n b\r\n\r\n",
        GOT_POST("unknown") BAD),
    REQ("7.1.2 bare LF", CHUNKED "0\r\nX: a\n\r\n", GOT_POST("unknown") BAD),
    REQ("7.1.2 NUL", CHUNKED "0\r\nX: \0\r\n\r\n", GOT_POST("unknown") BAD),

    /* 9.3: persistence */
    REQ("9.3 close", GET H "Connection: close\r\n\r\n",
        "GET / @a.test none\n Connection: close\n.\n"),
    REQ("9.3 close in a list", GET H "Connection: x,\t Close ,y\r\n\r\n",
        "GET / @a.test none\n Connection: x,\t Close ,y\n.\n"),
    REQ("9.3 close in another line",
        GET H "Connection: keep-alive\r\nConnection: close\r\n\r\n",
        "GET / @a.test none\n Connection: keep-alive\n Connection: "
        "close\n.\n"),
    REQ("9.3 closed is not close", GET H "Connection: closed\r\n\r\n",
        "GET / @a.test none +k\n Connection: closed\n.\n"),
    REQ("9.3 keep-alive of 1.0",
        "GET / HTTP/1.0\r\n" H "Connection: Keep-Alive\r\n\r\n",
        "GET / @a.test none +k +0\n Connection: Keep-Alive\n.\n"),
    REQ("9.3 Proxy-Connection is nothing",
        GET H "Proxy-Connection: close\r\n\r\n",
        "GET / @a.test none +k\n Proxy-Connection: close\n.\n"),
    REQ("9.3 goes on after close",
        GET H "Connection: close\r\n\r\n" GET H "\r\n",
        "GET / @a.test none\n Connection: close\n.\n" GOT_GET),

    /* RFC 9110 7.8: upgrade */
    REQ("7.8 websocket",
        GET H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / @a.test none +k +u\n Connection: Upgrade\n Upgrade: "
        "websocket\n.\n"),
    REQ("7.8 only one of the two", GET H "Upgrade: websocket\r\n\r\n",
        "GET / @a.test none +k\n Upgrade: websocket\n.\n"),
    REQ("7.8 only the other", GET H "Connection: upgrade\r\n\r\n",
        "GET / @a.test none +k\n Connection: upgrade\n.\n"),
    REQ("7.8 not in 1.0",
        "GET / HTTP/1.0\r\n" H "Connection: upgrade\r\nUpgrade: x\r\n\r\n",
        "GET / @a.test none +0\n Connection: upgrade\n Upgrade: x\n.\n"),
    REQ("7.8 with a body",
        POST "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n"
             "ab" GET H "\r\n",
        "POST / @a.test 2 +k +u\n Connection: upgrade\n Upgrade: x\n| "
        "ab\n.\n" GOT_GET),
    REQ("7.8 with chunks",
        POST "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: "
             "chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" GET H "\r\n",
        "POST / @a.test unknown +k +u\n Connection: upgrade\n Upgrade: x\n| "
        "a\n.\n" GOT_GET),

    /* 4: status line */
    RES("4 a response", OK "Content-Length: 2\r\n\r\nhi",
        "200 OK 2 +k\n| hi\n.\n"),
    RES("4 no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        "200  0 +k\n.\n"),
    RES("4 no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        "200  0 +k\n.\n"),
    RES("4 long reason",
        "HTTP/1.1 404 Not here, \xc3\xa4\r\nContent-Length: 0\r\n\r\n",
        "404 Not here, \xc3\xa4 0 +k\n.\n"),
    RES("4 status 99", "HTTP/1.1 099 X\r\n\r\n", BAD),
    RES("4 status 600", "HTTP/1.1 600 X\r\n\r\n", BAD),
    RES("4 two digits", "HTTP/1.1 20 X\r\n\r\n", BAD),
    RES("4 four digits", "HTTP/1.1 2000 X\r\n\r\n", BAD),
    RES("4 status not a number", "HTTP/1.1 2x0 X\r\n\r\n", BAD),
    RES("4 two spaces", "HTTP/1.1  200 X\r\n\r\n", BAD),
    RES("4 NUL in reason", "HTTP/1.1 200 \0\r\n\r\n", BAD),
    RES("4 control in reason", "HTTP/1.1 200 \x1b[31m\r\n\r\n", BAD),
    RES("4 bare LF", "HTTP/1.1 200 OK\n\r\n", BAD),
    RES("4 CR in reason", "HTTP/1.1 200 O\rK\r\n\r\n", BAD),
    RES("4 CR CR", "HTTP/1.1 200 OK\r\r\n", BAD),
    RES("4 CR CR without reason", "HTTP/1.1 200\r\r", BAD),
    RES("4 RTSP", "RTSP/1.0 200 OK\r\n\r\n", BAD),
    RES("4 ICY", "ICY 200 OK\r\n\r\n", BAD),
    RES("4 HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "! EVERSION\n"),
    RES("4 HTTP/0.9", "<html>", BAD),
    RES("4 empty line first", "\r\n" OK "\r\n", BAD),

    /* 6.3: framing of responses */
    RES_EOF("6.3 until the end", OK "\r\nhello",
            "200 OK unknown\n| hello\n.\n"),
    RES_EOF("6.3 until the end, empty", OK "\r\n", "200 OK unknown\n.\n"),
    RES_EOF("6.3 until the end, 1.0", "HTTP/1.0 200 OK\r\n\r\nx",
            "200 OK unknown +0\n| x\n.\n"),
    RES_EOF("6.3 until the end is not kept alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nx",
            "200 OK unknown +0\n Connection: keep-alive\n| x\n.\n"),
    RES_EOF("6.3 cut", OK "Content-Length: 2\r\n\r\nh",
            "200 OK 2 +k\n| h\n" BAD),
    RES_EOF("6.3 cut chunks", OK "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
            "200 OK unknown +k\n| h\n" BAD),
    RES_EOF("6.3 nothing at all", "", ""),
    RES("6.3 chunks",
        OK "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nX: y\r\n\r\n",
        "200 OK unknown +k\n| h\n.\n ~ X: y\n"),
    RES("6.3 both",
        OK "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", BAD),
    RES("6.3 chunked in 1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    RES("6.3 gzip", OK "Transfer-Encoding: gzip\r\n\r\n", BAD),
    RES("6.3 gzip, chunked", OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
        BAD),
    RES("6.3 chunked and tab", OK "Transfer-Encoding: chunked\t\r\n\r\n", BAD),
    RES("6.3 two lengths", OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        BAD),
    RES("6.3 204",
        "HTTP/1.1 204 No Content\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
        "204 No Content none +k\n.\n200 OK 0 +k\n.\n"),
    RES("6.3 204 with length 0",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "204 No Content none +k\n.\n"),
    RES("6.3 204 with a length",
        "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", BAD),
    RES("6.3 204 with chunks",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    RES("6.3 304",
        "HTTP/1.1 304 Not Modified\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
        "304 Not Modified none +k\n.\n200 OK 0 +k\n.\n"),
    RES("6.3 304 with a length",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        "304 Not Modified 9 +k\n.\n"),
    RES("6.3 304 with chunks",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "304 Not Modified none +k\n.\n"),
    RES_HEAD("6.3 HEAD", OK "Content-Length: 9\r\n\r\n" OK "\r\n",
             "200 OK 9 +k\n.\n200 OK none +k\n.\n"),
    RES_HEAD("6.3 HEAD with chunks",
             OK "Transfer-Encoding: chunked\r\n\r\n" OK "\r\n",
             "200 OK unknown +k\n.\n200 OK none +k\n.\n"),
    RES_HEAD("6.3 HEAD and 103", "HTTP/1.1 103 E\r\nLink: x\r\n\r\n" OK "\r\n",
             "103 E none +k\n Link: x\n200 OK none +k\n.\n"),
    RES("9.3 close", OK "Content-Length: 0\r\nConnection: close\r\n\r\n",
        "200 OK 0\n Connection: close\n.\n"),
    RES("9.3 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "200 OK 0 +0\n.\n"),

    /* RFC 9110 15.2: 1xx */
    RES("15.2 100",
        "HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 1\r\n\r\nx",
        "100 Continue none +k\n200 OK 1 +k\n| x\n.\n"),
    RES("15.2 unknown 1xx twice",
        "HTTP/1.1 104 A\r\nX: 1\r\n\r\nHTTP/1.1 199 B\r\n\r\n" OK
        "Content-Length: 0\r\n\r\n",
        "104 A none +k\n X: 1\n199 B none +k\n200 OK 0 +k\n.\n"),
    RES("15.2 1xx that says close",
        "HTTP/1.1 103 E\r\nConnection: close\r\n\r\n" OK
        "Content-Length: 0\r\n\r\n",
        "103 E none\n Connection: close\n200 OK 0 +k\n.\n"),
    RES("15.2 1xx with a length",
        "HTTP/1.1 103 E\r\nContent-Length: 1\r\n\r\nx", BAD),
    RES("15.2 1xx with length 0",
        "HTTP/1.1 103 E\r\nContent-Length: 0\r\n\r\n" OK
        "Content-Length: 0\r\n\r\n",
        "103 E none +k\n200 OK 0 +k\n.\n"),
    RES_EOF("15.2 only 1xx", "HTTP/1.1 100 Continue\r\n\r\n",
            "100 Continue none +k\n" BAD),
    RES("15.2.2 101",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: "
        "upgrade\r\n\r\nraw",
        "101 Switching Protocols none +k +u\n Upgrade: x\n Connection: "
        "upgrade\n>>\n"),
    RES("15.2.2 101 after 103",
        "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 101 S\r\n\r\nHTTP/1.1",
        "103 E none +k\n101 S none +k +u\n>>\n"),
    RES("15.2.2 101 with a length",
        "HTTP/1.1 101 S\r\nContent-Length: 2\r\n\r\n", BAD),
};

static void try_example(void **state)
{
    const struct example *e = *state;
    struct run r = {e->role, e->to_head, e->eof, e->in.len, e->in.len};
    struct transcript t;

    run(&r, e->in, &t);
    assert_string_equal(t.text, e->want);
    r.first = r.step = 1;
    run(&r, e->in, &t);
    assert_string_equal(t.text, e->want);
    r.step = e->in.len;
    for (r.first = 1; r.first < e->in.len; r.first++) {
        run(&r, e->in, &t);
        assert_string_equal(t.text, e->want);
    }
}

/* --- Limits: at the limit, and one more --- */

struct feeder {
    struct inl_http1 h;
    size_t heads, ends, body, nfields;
    size_t target_len;
};

static void count_head(struct inl_http1 *h, const struct inlets_head *head,
                       void *user)
{
    struct feeder *f = user;

    (void)h;
    f->heads++;
    f->nfields = head->nfields;
    f->target_len = head->target.len;
}

static void count_body(struct inl_http1 *h, struct inlets_slice data,
                       void *user)
{
    (void)h;
    ((struct feeder *)user)->body += data.len;
}

static void count_end(struct inl_http1 *h, const struct inlets_head *trailers,
                      void *user)
{
    (void)h;
    (void)trailers;
    ((struct feeder *)user)->ends++;
}

static const struct inl_http1_ops count_ops = {count_head, count_body,
                                               count_end};

static void feeder_init(struct feeder *f, enum inl_http1_role role)
{
    *f = (struct feeder){.heads = 0};
    inl_http1_init(&f->h, role, &count_ops, f);
}

static int give(struct feeder *f, const char *p, size_t n)
{
    size_t used = 0;

    return inl_http1_feed(&f->h, (const uint8_t *)p, n, &used);
}

static int give_text(struct feeder *f, const char *text)
{
    return give(f, text, strlen(text));
}

/* n times the same byte, in pieces. */
static int give_many(struct feeder *f, char c, size_t n)
{
    char piece[1000];
    int err = 0;

    memset(piece, c, sizeof(piece));
    while (n > 0 && err == 0) {
        size_t part = n < sizeof(piece) ? n : sizeof(piece);

        err = give(f, piece, part);
        n -= part;
    }
    return err;
}

static int request_with_target(size_t len, size_t *ret_heads)
{
    struct feeder f;
    int err;

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, "GET /");
    give_many(&f, 'a', len - 1);
    err = give_text(&f, " HTTP/1.1\r\n" H "\r\n");
    *ret_heads = f.heads;
    if (err == 0) {
        assert_int_equal(f.target_len, len);
    }
    inl_http1_fini(&f.h);
    return err;
}

static void target_limit(void **state)
{
    size_t heads;

    (void)state;
    assert_int_equal(request_with_target(INL_HTTP1_MAX_TARGET, &heads), 0);
    assert_int_equal(heads, 1);
    assert_int_equal(request_with_target(INL_HTTP1_MAX_TARGET + 1, &heads),
                     INLETS_EURISIZE);
    assert_int_equal(heads, 0);
    assert_int_equal(request_with_target(1000000, &heads), INLETS_EURISIZE);
}

/* A status line may not grow for ever either. */
static void status_line_limit(void **state)
{
    struct feeder f;

    (void)state;
    feeder_init(&f, INL_HTTP1_RESPONSE);
    give_text(&f, "HTTP/1.1 200 ");
    assert_int_equal(give_many(&f, 'a', 100000), INLETS_EHEADSIZE);
    inl_http1_fini(&f.h);
}

/* name_len + value_len bytes in one field. */
static int request_with_field(size_t value_len)
{
    struct feeder f;
    int err;

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, GET H "A: ");
    give_many(&f, 'b', value_len);
    err = give_text(&f, "\r\n\r\n");
    assert_int_equal(f.heads, err == 0);
    inl_http1_fini(&f.h);
    return err;
}

static void field_limit(void **state)
{
    (void)state;
    assert_int_equal(request_with_field(INL_HTTP1_MAX_FIELD - 1), 0);
    assert_int_equal(request_with_field(INL_HTTP1_MAX_FIELD), INLETS_EHEADSIZE);
}

static int request_with_fields(size_t n)
{
    struct feeder f;
    int err = 0;

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, GET H);
    for (size_t i = 1; i < n && err == 0; i++) { /* Host counts */
        err = give_text(&f, "A: b\r\n");
    }
    if (err == 0) {
        err = give_text(&f, "\r\n");
        assert_int_equal(f.nfields, n - 1);
    }
    inl_http1_fini(&f.h);
    return err;
}

static void fields_limit(void **state)
{
    (void)state;
    assert_int_equal(request_with_fields(INL_HTTP1_MAX_FIELDS), 0);
    assert_int_equal(request_with_fields(INL_HTTP1_MAX_FIELDS + 1),
                     INLETS_EHEADSIZE);
}

/* A head of exactly n bytes. */
static int request_of(size_t n)
{
    struct feeder f;
    size_t rest = n - strlen(GET H "\r\n");
    int err;

    feeder_init(&f, INL_HTTP1_REQUEST);
    err = give_text(&f, GET H);
    while (rest > 0 && err == 0) {
        /* Never leave less than "A: \r\n" needs. */
        size_t field = rest > 10000 ? 9000 : rest;

        give_text(&f, "A: ");
        give_many(&f, 'b', field - 5);
        err = give_text(&f, "\r\n");
        rest -= field;
    }
    if (err == 0) {
        err = give_text(&f, "\r\n");
    }
    assert_int_equal(f.heads, err == 0);
    inl_http1_fini(&f.h);
    return err;
}

static void head_limit(void **state)
{
    (void)state;
    assert_int_equal(request_of(INL_HTTP1_MAX_HEAD), 0);
    assert_int_equal(request_of(INL_HTTP1_MAX_HEAD + 1), INLETS_EHEADSIZE);
}

/* Space that is never kept counts too. */
static void padding_is_limited(void **state)
{
    struct feeder f;

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, GET H "A:");
    assert_int_equal(give_many(&f, ' ', 100000), INLETS_EHEADSIZE);
    inl_http1_fini(&f.h);

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED "0\r\nA:");
    assert_int_equal(give_many(&f, ' ', 100000), INLETS_EHEADSIZE);
    inl_http1_fini(&f.h);
}

static int request_with_trailers(size_t n)
{
    struct feeder f;
    int err;

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED "0\r\nA: ");
    give_many(&f, 'b', n - strlen("A: \r\n\r\n"));
    err = give_text(&f, "\r\n\r\n");
    assert_int_equal(f.ends, err == 0);
    inl_http1_fini(&f.h);
    return err;
}

static void trailers_limit(void **state)
{
    (void)state;
    assert_int_equal(request_with_trailers(INL_HTTP1_MAX_TRAILERS), 0);
    assert_int_equal(request_with_trailers(INL_HTTP1_MAX_TRAILERS + 1),
                     INLETS_EHEADSIZE);
}

/* CVE-2023-39326, CVE-2024-22019: one byte a chunk, the rest for nothing. */
static void chunk_extensions_are_limited(void **state)
{
    struct feeder f;
    int err = 0;

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED);
    for (int i = 0; i < 1000 && err == 0; i++) {
        err = give_text(&f, "1;a23456789b123456789c123456789\r\nx\r\n");
    }
    assert_int_equal(err, INLETS_EBADMESSAGE);
    assert_in_range(f.body, 100, 600);
    inl_http1_fini(&f.h);

    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED "1;");
    assert_int_equal(give_many(&f, 'a', 5000), INLETS_EBADMESSAGE);
    assert_int_equal(f.body, 0);
    inl_http1_fini(&f.h);

    /* zeros before a size are the same attack */
    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED);
    assert_int_equal(give_many(&f, '0', 5000), INLETS_EBADMESSAGE);
    inl_http1_fini(&f.h);
}

/* Small chunks as such are no attack. */
static void small_chunks_are_fine(void **state)
{
    struct feeder f;

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, CHUNKED);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(give_text(&f, "0000000000000001\r\nx\r\n"), 0);
    }
    assert_int_equal(give_text(&f, "0\r\n\r\n"), 0);
    assert_int_equal(f.body, 100000);
    assert_int_equal(f.ends, 1);
    inl_http1_fini(&f.h);
}

static void interim_heads_are_limited(void **state)
{
    struct feeder f;
    int err = 0;

    (void)state;
    feeder_init(&f, INL_HTTP1_RESPONSE);
    for (int i = 0; i < 10000 && err == 0; i++) {
        err = give_text(&f, "HTTP/1.1 103 Early Hints\r\n\r\n");
    }
    assert_int_equal(err, INLETS_EHEADSIZE);
    assert_in_range(f.heads, 2000, 3000);
    inl_http1_fini(&f.h);
}

/* --- Other promises of the header --- */

/* "Feeding k bytes yields at most k body bytes." */
static void feeding_throttles(void **state)
{
    struct feeder f;

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    give_text(&f, POST "Content-Length: 100\r\n\r\n");
    for (size_t i = 1; i <= 10; i++) {
        assert_int_equal(give_many(&f, 'x', 7), 0);
        assert_int_equal(f.body, 7 * i);
    }
    inl_http1_fini(&f.h);
}

/* What follows a message is not touched, and nothing is read until next. */
static void stops_at_the_end(void **state)
{
    static const char text[] = GET H "\r\n" GET H "\r\n";
    size_t half = (sizeof(text) - 1) / 2;
    const uint8_t *p = (const uint8_t *)text;
    struct feeder f;
    size_t used;

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    assert_int_equal(inl_http1_feed(&f.h, p, sizeof(text) - 1, &used), 0);
    assert_int_equal(used, half);
    assert_true(f.h.ended);
    assert_int_equal(inl_http1_feed(&f.h, p + half, half, &used), 0);
    assert_int_equal(used, 0);
    inl_http1_next(&f.h, false);
    assert_false(f.h.in_message);
    assert_int_equal(inl_http1_feed(&f.h, p + half, half, &used), 0);
    assert_int_equal(used, half);
    assert_int_equal(f.heads, 2);
    inl_http1_fini(&f.h);
}

static void raw_bytes_after_101_are_left(void **state)
{
    static const char text[] = "HTTP/1.1 101 S\r\n\r\nraw";
    struct feeder f;
    size_t used;

    (void)state;
    feeder_init(&f, INL_HTTP1_RESPONSE);
    assert_int_equal(
        inl_http1_feed(&f.h, (const uint8_t *)text, sizeof(text) - 1, &used),
        0);
    assert_int_equal(used, sizeof(text) - 1 - 3);
    assert_true(f.h.ended && f.h.upgraded);
    assert_int_equal(f.ends, 0);
    assert_int_equal(inl_http1_eof(&f.h), 0);
    assert_int_equal(f.ends, 0);
    inl_http1_fini(&f.h);
}

/* RFC 9110 9.3.6: a 2xx to CONNECT has no body, whatever it says; others
 * have. */
static void a_tunnel_follows_the_answer_to_connect(void **state)
{
    static const struct {
        const char *text;
        size_t used; /* 0: all */
        const char *transcript;
    } answers[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 38,
         "200 OK none +k\n.\n"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 47,
         "200 OK none +k\n.\n"},
        {"HTTP/1.0 299 OK\r\n\r\nhello", 19, "299 OK none +0\n.\n"},
        {"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhello", 0,
         "403 No 5 +k\n| hello\n.\n"},
        {"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", 38,
         "100 Go none +k\n200 OK none +k\n.\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct transcript t = {.len = 0};
        size_t len = strlen(answers[i].text), used = 0;
        struct inl_http1 h;

        inl_http1_init(&h, INL_HTTP1_RESPONSE, &ops, &t);
        h.response_to_connect = true;
        assert_int_equal(
            inl_http1_feed(&h, (const uint8_t *)answers[i].text, len, &used),
            0);
        assert_int_equal(used, answers[i].used == 0 ? len : answers[i].used);
        assert_true(h.ended);
        assert_string_equal(t.text, answers[i].transcript);
        inl_http1_fini(&h);
    }
}

static void errors_stick(void **state)
{
    struct feeder f;
    char reason[100];

    (void)state;
    feeder_init(&f, INL_HTTP1_REQUEST);
    assert_string_equal(inl_http1_reason(&f.h), "");
    assert_int_equal(give_text(&f, GET H "A : b\r\n"), INLETS_EBADMESSAGE);
    snprintf(reason, sizeof(reason), "%s", inl_http1_reason(&f.h));
    assert_true(strlen(reason) > 0);
    assert_int_equal(give_text(&f, GET H "\r\n"), INLETS_EBADMESSAGE);
    assert_int_equal(inl_http1_eof(&f.h), INLETS_EBADMESSAGE);
    assert_string_equal(inl_http1_reason(&f.h), reason);
    inl_http1_next(&f.h, false);
    assert_int_equal(give_text(&f, GET H "\r\n"), INLETS_EBADMESSAGE);
    assert_int_equal(f.heads, 0);
    inl_http1_fini(&f.h);
}

/* Pipelined requests may be started from on_end. */
static void next_at_end(struct inl_http1 *h, const struct inlets_head *trailers,
                        void *user)
{
    count_end(h, trailers, user);
    inl_http1_next(h, false);
}

static void next_from_on_end(void **state)
{
    static const struct inl_http1_ops next_ops = {count_head, count_body,
                                                  next_at_end};
    struct feeder f = {.heads = 0};

    (void)state;
    inl_http1_init(&f.h, INL_HTTP1_REQUEST, &next_ops, &f);
    assert_int_equal(give_text(&f, GET H "\r\n" CHUNKED
                                         "1\r\nx\r\n0\r\nX: y\r\n\r\n" GET H
                                         "\r\n"),
                     0);
    assert_int_equal(f.ends, 3);
    assert_int_equal(f.body, 1);
    inl_http1_fini(&f.h);
}

/* --- Memory --- */

static void idle_parser_holds_nothing(void **state)
{
    struct feeder f;

    (void)state;
    assert_int_equal(alloc_live, 0);
    feeder_init(&f, INL_HTTP1_REQUEST);
    assert_int_equal(alloc_live, 0);
    give_text(&f, GET H);
    assert_int_equal(alloc_live, 2);
    give_text(&f, "Content-Length: 1\r\n\r\n");
    assert_int_equal(f.heads, 1);
    assert_int_equal(alloc_live, 0);
    give_text(&f, "x");
    inl_http1_next(&f.h, false);
    assert_int_equal(alloc_live, 0);
    give_text(&f, GET H);
    inl_http1_fini(&f.h);
    assert_int_equal(alloc_live, 0);
}

static void memory_runs_out(void **state)
{
    int err = INLETS_ENOMEM;

    (void)state;
    for (size_t nth = 1; err != 0; nth++) {
        struct feeder f;

        feeder_init(&f, INL_HTTP1_REQUEST);
        alloc_fail_nth = nth;
        give_text(&f, CHUNKED);
        give_text(&f, "0\r\nA: ");
        give_many(&f, 'b', 4000);
        err = give_text(&f, "\r\n\r\n");
        assert_true(err == 0 || err == INLETS_ENOMEM);
        assert_int_equal(f.ends, err == 0);
        inl_http1_fini(&f.h);
        assert_int_equal(alloc_live, 0);
        assert_in_range(nth, 1, 20);
    }
    alloc_fail_nth = 0;
}

/* --- inl_head_find --- */

static void finds_the_first(void **state)
{
    const struct inlets_field fields[] = {
        {INL_LIT("A"), INL_LIT("1")},
        {INL_LIT("B"), INL_LIT("2")},
        {INL_LIT("b"), INL_LIT("3")},
    };
    const struct inlets_head head = {.fields = fields, .nfields = 3};

    (void)state;
    assert_true(inl_slice_eq(inl_head_find(&head, INL_LIT("b")), INL_LIT("2")));
    assert_null(inl_head_find(&head, INL_LIT("c")).ptr);
}

#define NEXAMPLES (sizeof(examples) / sizeof(examples[0]))

static void check_dots(const char *paths, bool wanted)
{
    struct inlets_slice rest = inl_str(paths);

    while (rest.len > 0) {
        size_t n = inl_slice_find(rest, ' ');
        size_t used = n < rest.len ? n + 1 : n;

        if (inl_http1_has_dot_segments(inl_slice(rest.ptr, n)) != wanted) {
            fail_msg("%.*s: %s", (int)n, rest.ptr,
                     wanted ? "dot segments not seen" : "it has none");
        }
        rest = inl_slice(rest.ptr + used, rest.len - used);
    }
}

/* RFC 3986 3.3, and what servers make of its edges. */
static void dot_segments(void **state)
{
    (void)state;
    check_dots("/. /.. /v1/../admin /./v1 /v1/.. /v1/. /v1/%2e%2E /v1/.%2e/x "
               "/v1/..;/ /v1/..;a=b/x /v1%2f.. /v1/..%2Fx /v1/..%5cadmin "
               "/v1\\..\\x /a/..%3b /%2E/x /..;",
               true);
    check_dots("/ * /a.b /... /v1/..a /v1/a.. /.well-known /a;b/..c "
               "/%2e%2e%2e /%252e./ /a%2fb /;../x /%2 /a/% /..%00/x "
               "/v1/.a;.x.%2 /..%2",
               false);
}

static const struct CMUnitTest others[] = {
    cmocka_unit_test(dot_segments),
    cmocka_unit_test(target_limit),
    cmocka_unit_test(status_line_limit),
    cmocka_unit_test(field_limit),
    cmocka_unit_test(fields_limit),
    cmocka_unit_test(head_limit),
    cmocka_unit_test(padding_is_limited),
    cmocka_unit_test(trailers_limit),
    cmocka_unit_test(chunk_extensions_are_limited),
    cmocka_unit_test(small_chunks_are_fine),
    cmocka_unit_test(interim_heads_are_limited),
    cmocka_unit_test(feeding_throttles),
    cmocka_unit_test(stops_at_the_end),
    cmocka_unit_test(raw_bytes_after_101_are_left),
    cmocka_unit_test(a_tunnel_follows_the_answer_to_connect),
    cmocka_unit_test(errors_stick),
    cmocka_unit_test(next_from_on_end),
    cmocka_unit_test(idle_parser_holds_nothing),
    cmocka_unit_test(memory_runs_out),
    cmocka_unit_test(finds_the_first),
};

#define NOTHERS (sizeof(others) / sizeof(others[0]))

int main(void)
{
    /* One group: TAP wants one plan a program. */
    static struct CMUnitTest tests[NEXAMPLES + NOTHERS];

    alloc_install();
    for (size_t i = 0; i < NEXAMPLES; i++) {
        tests[i] = (struct CMUnitTest){
            .name = examples[i].name,
            .test_func = try_example,
            .initial_state = (void *)(uintptr_t)&examples[i],
        };
    }
    memcpy(tests + NEXAMPLES, others, sizeof(others));
    return _cmocka_run_group_tests("http1", tests, NEXAMPLES + NOTHERS, NULL,
                                   NULL);
}
