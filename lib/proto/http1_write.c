/* http1_write.c: writes HTTP/1.1 messages (RFC 9112) into a queue.
 *
 * A head is judged as a whole before its first byte is written, so that
 * INLETS_EINVAL leaves the queue as it was: what goes out is always one
 * message, whatever a tunnel peer or a handler put into the head. It is put
 * together in a small buffer on the stack; the queue sees a few appends.
 *
 * Nothing here owns memory. INLETS_ENOMEM may leave a part of a message in
 * the queue: the connection is then of no more use. */
#include "base/slice.h"
#include "proto/http1.h"
#include "proto/http1_rules.h"

/* --- A buffered way into the queue --- */

struct writer {
    struct inl_queue *q;
    int err; /* the first; sticks */
    size_t len;
    char buf[1024];
};

static void writer_init(struct writer *w, struct inl_queue *q)
{
    w->q = q;
    w->err = 0;
    w->len = 0;
}

static void put_through(struct writer *w, const char *p, size_t n)
{
    if (w->err == 0 && n > 0) {
        w->err = inl_queue_append(w->q, p, n);
    }
}

static int flush(struct writer *w)
{
    put_through(w, w->buf, w->len);
    w->len = 0;
    return w->err;
}

static void put(struct writer *w, struct inlets_slice s)
{
    if (s.len > sizeof(w->buf) - w->len) {
        (void)flush(w);
        if (s.len > sizeof(w->buf)) {
            put_through(w, s.ptr, s.len);
            return;
        }
    }
    if (s.len > 0) {
        memcpy(w->buf + w->len, s.ptr, s.len);
        w->len += s.len;
    }
}

static void put_number(struct writer *w, uint64_t number, unsigned base)
{
    char digits[20]; /* 2^64 in decimal */
    size_t at = sizeof(digits);

    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    put(w, inl_slice(digits + at, sizeof(digits) - at));
}

static void put_field(struct writer *w, struct inlets_slice name,
                      struct inlets_slice value)
{
    put(w, name);
    put(w, INL_LIT(": "));
    put(w, value);
    put(w, INL_LIT("\r\n"));
}

/* --- What may be sent --- */

static bool is_field(const struct inlets_field *field)
{
    return inl_slice_is_token(field->name) &&
           inl_slice_is_field_value(field->value);
}

static bool fields_are_sound(const struct inlets_head *head, bool is_request)
{
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *field = &head->fields[i];

        if (!is_field(field) || inl_http1_is_framing_name(field->name) ||
            (is_request && inl_slice_eq_case(field->name, INL_LIT("Host")))) {
            return false;
        }
    }
    return head->content_length >= INLETS_LENGTH_NONE;
}

static bool request_is_sound(const struct inlets_head *head)
{
    return inl_slice_is_token(head->method) &&
           inl_http1_is_target(head->method, head->target) &&
           (head->host.len == 0 || inl_http1_is_visible(head->host)) &&
           fields_are_sound(head, true);
}

static bool response_is_sound(const struct inlets_head *head)
{
    return head->status >= 100 && head->status <= 599 &&
           inl_slice_is_field_value(head->reason) &&
           fields_are_sound(head, false);
}

/* --- Heads --- */

/* What the fields say of the body, and how it is then sent. */
struct framing {
    enum inl_http1_framing body;
    bool says_length, says_chunked;
    uint64_t length;
};

static void put_fields(struct writer *w, const struct inlets_head *head,
                       const struct framing *f, struct inlets_slice extra)
{
    for (size_t i = 0; i < head->nfields; i++) {
        put_field(w, head->fields[i].name, head->fields[i].value);
    }
    if (f->says_length) {
        put(w, INL_LIT("Content-Length: "));
        put_number(w, f->length, 10);
        put(w, INL_LIT("\r\n"));
    } else if (f->says_chunked) {
        put(w, INL_LIT("Transfer-Encoding: chunked\r\n"));
    }
    put(w, extra);
    put(w, INL_LIT("\r\n"));
}

/* RFC 9112 6.3, 7; the peer speaks HTTP/1.1. */
static struct framing frame(int64_t length)
{
    struct framing f = {.body = INL_HTTP1_NO_BODY};

    if (length >= 0) {
        f.body = INL_HTTP1_LENGTH;
        f.says_length = true;
        f.length = (uint64_t)length;
    } else if (length == INLETS_LENGTH_UNKNOWN) {
        f.body = INL_HTTP1_CHUNKED;
        f.says_chunked = true;
    }
    return f;
}

int inl_http1_put_request(struct inl_queue *q, const struct inlets_head *head,
                          struct inlets_slice extra,
                          enum inl_http1_framing *ret_framing)
{
    struct framing f = frame(head->content_length);
    struct writer w;

    if (!request_is_sound(head)) {
        return INLETS_EINVAL;
    }
    writer_init(&w, q);
    put(&w, head->method);
    put(&w, INL_LIT(" "));
    put(&w, head->target);
    /* Host first, RFC 9110 7.2. */
    put(&w, INL_LIT(" HTTP/1.1\r\nHost: "));
    put(&w, head->host);
    put(&w, INL_LIT("\r\n"));
    put_fields(&w, head, &f, extra);
    *ret_framing = f.body;
    return flush(&w);
}

static struct framing frame_response(const struct inlets_head *head,
                                     bool body_allowed, bool peer_http10)
{
    struct framing f = frame(head->content_length);

    if (head->status < 200 || head->status == 204) {
        /* RFC 9110 8.6, RFC 9112 6.1: not a word about a body. */
        return (struct framing){.body = INL_HTTP1_NO_BODY};
    }
    if (f.says_chunked && peer_http10) {
        f = (struct framing){.body = INL_HTTP1_CLOSE};
    }
    if (!body_allowed || head->status == 304) {
        f.body = INL_HTTP1_NO_BODY;
        f.says_chunked = f.says_chunked && head->status != 304;
    } else if (head->content_length == INLETS_LENGTH_NONE) {
        f.says_length = true; /* of 0, or the peer waits for our FIN */
    }
    return f;
}

int inl_http1_put_response(struct inl_queue *q, const struct inlets_head *head,
                           struct inlets_slice extra, bool body_allowed,
                           bool peer_http10,
                           enum inl_http1_framing *ret_framing)
{
    struct framing f = frame_response(head, body_allowed, peer_http10);
    struct inlets_slice reason = head->reason;
    struct writer w;

    if (!response_is_sound(head)) {
        return INLETS_EINVAL;
    }
    if (reason.len == 0) {
        reason = inl_str(inl_http1_status_text(head->status));
    }
    writer_init(&w, q);
    put(&w, INL_LIT("HTTP/1.1 "));
    put_number(&w, head->status, 10);
    put(&w, INL_LIT(" "));
    put(&w, reason);
    put(&w, INL_LIT("\r\n"));
    put_fields(&w, head, &f, extra);
    *ret_framing = f.body;
    return flush(&w);
}

/* --- Bodies --- */

static int put_chunk(struct inl_queue *q, struct inlets_slice data)
{
    struct writer w;

    writer_init(&w, q);
    put_number(&w, data.len, 16);
    put(&w, INL_LIT("\r\n"));
    put(&w, data);
    put(&w, INL_LIT("\r\n"));
    return flush(&w);
}

int inl_http1_put_body(struct inl_queue *q, enum inl_http1_framing framing,
                       struct inlets_slice data)
{
    if (data.len == 0) {
        return 0; /* an empty chunk would end the body */
    }
    switch (framing) {
    case INL_HTTP1_LENGTH:
    case INL_HTTP1_CLOSE:
        return inl_queue_append_slice(q, data);
    case INL_HTTP1_CHUNKED:
        return put_chunk(q, data);
    case INL_HTTP1_NO_BODY:
        break;
    }
    return 0;
}

static bool trailers_are_sound(const struct inlets_head *trailers)
{
    for (size_t i = 0; i < trailers->nfields; i++) {
        if (!is_field(&trailers->fields[i])) {
            return false;
        }
    }
    return true;
}

int inl_http1_put_end(struct inl_queue *q, enum inl_http1_framing framing,
                      const struct inlets_head *trailers)
{
    struct writer w;

    if (framing != INL_HTTP1_CHUNKED) {
        return 0;
    }
    if (trailers != NULL && !trailers_are_sound(trailers)) {
        return INLETS_EINVAL;
    }
    writer_init(&w, q);
    put(&w, INL_LIT("0\r\n"));
    for (size_t i = 0; trailers != NULL && i < trailers->nfields; i++) {
        if (inl_http1_may_trail(trailers->fields[i].name)) {
            put_field(&w, trailers->fields[i].name, trailers->fields[i].value);
        }
    }
    put(&w, INL_LIT("\r\n"));
    return flush(&w);
}

/* --- Reason phrases --- */

#define STATUS_MAP(X)                                                          \
    X(100, "Continue")                                                         \
    X(101, "Switching Protocols")                                              \
    X(102, "Processing")                                                       \
    X(103, "Early Hints")                                                      \
    X(200, "OK")                                                               \
    X(201, "Created")                                                          \
    X(202, "Accepted")                                                         \
    X(203, "Non-Authoritative Information")                                    \
    X(204, "No Content")                                                       \
    X(205, "Reset Content")                                                    \
    X(206, "Partial Content")                                                  \
    X(207, "Multi-Status")                                                     \
    X(208, "Already Reported")                                                 \
    X(226, "IM Used")                                                          \
    X(300, "Multiple Choices")                                                 \
    X(301, "Moved Permanently")                                                \
    X(302, "Found")                                                            \
    X(303, "See Other")                                                        \
    X(304, "Not Modified")                                                     \
    X(305, "Use Proxy")                                                        \
    X(307, "Temporary Redirect")                                               \
    X(308, "Permanent Redirect")                                               \
    X(400, "Bad Request")                                                      \
    X(401, "Unauthorized")                                                     \
    X(402, "Payment Required")                                                 \
    X(403, "Forbidden")                                                        \
    X(404, "Not Found")                                                        \
    X(405, "Method Not Allowed")                                               \
    X(406, "Not Acceptable")                                                   \
    X(407, "Proxy Authentication Required")                                    \
    X(408, "Request Timeout")                                                  \
    X(409, "Conflict")                                                         \
    X(410, "Gone")                                                             \
    X(411, "Length Required")                                                  \
    X(412, "Precondition Failed")                                              \
    X(413, "Content Too Large")                                                \
    X(414, "URI Too Long")                                                     \
    X(415, "Unsupported Media Type")                                           \
    X(416, "Range Not Satisfiable")                                            \
    X(417, "Expectation Failed")                                               \
    X(421, "Misdirected Request")                                              \
    X(422, "Unprocessable Content")                                            \
    X(423, "Locked")                                                           \
    X(424, "Failed Dependency")                                                \
    X(425, "Too Early")                                                        \
    X(426, "Upgrade Required")                                                 \
    X(428, "Precondition Required")                                            \
    X(429, "Too Many Requests")                                                \
    X(431, "Request Header Fields Too Large")                                  \
    X(451, "Unavailable For Legal Reasons")                                    \
    X(500, "Internal Server Error")                                            \
    X(501, "Not Implemented")                                                  \
    X(502, "Bad Gateway")                                                      \
    X(503, "Service Unavailable")                                              \
    X(504, "Gateway Timeout")                                                  \
    X(505, "HTTP Version Not Supported")                                       \
    X(506, "Variant Also Negotiates")                                          \
    X(507, "Insufficient Storage")                                             \
    X(508, "Loop Detected")                                                    \
    X(511, "Network Authentication Required")

const char *inl_http1_status_text(unsigned status)
{
#define STATUS_CASE(number, text)                                              \
    case number:                                                               \
        return text;
    switch (status) {
        STATUS_MAP(STATUS_CASE)
    default:
        return "";
    }
#undef STATUS_CASE
}
