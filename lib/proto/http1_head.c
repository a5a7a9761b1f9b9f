/* http1_head.c: see http1_head.h. The fields have been sorted (http1_rules.c);
 * here is what they say together. */
#include "proto/http1_head.h"

#include "base/mem.h"
#include "base/slice.h"

int inl_http1_fail(struct inl_http1 *h, int err, const char *reason)
{
    if (h->err == 0) {
        h->err = err;
        h->reason = reason;
    }
    return h->err;
}

bool inl_http1_is_interim(const struct inl_http1 *h)
{
    return h->role == INL_HTTP1_RESPONSE && h->status < 200;
}

bool inl_http1_is_bodiless(const struct inl_http1 *h)
{
    return h->role == INL_HTTP1_RESPONSE &&
           (h->response_to_head || h->status < 200 || h->status == 204 ||
            h->status == 304);
}

/* RFC 9110 8.6, RFC 9112 6.1: these must not talk about a body. */
static bool must_not_have_length(const struct inl_http1 *h)
{
    return h->role == INL_HTTP1_RESPONSE &&
           (h->status < 200 || h->status == 204);
}

static int read_length(struct inl_http1 *h, struct inlets_slice text,
                       int64_t *ret_length)
{
    uint64_t length;

    if (!inl_slice_to_u64(text, &length) || length > INT64_MAX) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, "Invalid Content-Length");
    }
    *ret_length = (int64_t)length;
    return 0;
}

static int check_encoding(struct inl_http1 *h,
                          const struct inl_http1_facts *facts)
{
    if (h->http10) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE,
                              "Transfer-Encoding in HTTP/1.0");
    }
    /* llhttp must see it as we do. */
    if (facts->encodings > 1 || (h->parser.flags & F_CHUNKED) == 0 ||
        !inl_slice_eq_case(facts->encoding, INL_LIT("chunked"))) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE,
                              "Transfer-Encoding is not chunked");
    }
    if (facts->lengths > 0) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE,
                              "Transfer-Encoding and Content-Length");
    }
    return 0;
}

/* The fields that frame it do not count (RFC 9110 9.3.6). */
static bool opens_tunnel(const struct inl_http1 *h)
{
    return h->response_to_connect && h->status >= 200 && h->status < 300;
}

/* Message body length, RFC 9112 6.3. */
static int settle_framing(struct inl_http1 *h,
                          const struct inl_http1_facts *facts, int64_t *length)
{
    *length = INLETS_LENGTH_NONE;
    if (opens_tunnel(h)) {
        return 0;
    }
    if (facts->encodings > 0) {
        *length = INLETS_LENGTH_UNKNOWN;
        if (check_encoding(h, facts) != 0) {
            return h->err;
        }
    } else if (facts->lengths > 1) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE,
                              "More than one Content-Length");
    } else if (facts->lengths == 1) {
        if (read_length(h, facts->length, length) != 0) {
            return h->err;
        }
    } else if (h->role == INL_HTTP1_RESPONSE && !inl_http1_is_bodiless(h)) {
        *length = INLETS_LENGTH_UNKNOWN;
        h->until_close = true;
    }
    if (must_not_have_length(h)) {
        if (*length != INLETS_LENGTH_NONE && *length != 0) {
            return inl_http1_fail(h, INLETS_EBADMESSAGE,
                                  "Body in a 1xx or 204");
        }
        *length = INLETS_LENGTH_NONE;
    } else if (*length == INLETS_LENGTH_UNKNOWN && h->status == 304) {
        *length = INLETS_LENGTH_NONE; /* it tells nobody anything */
    }
    h->chunked = facts->encodings > 0;
    return 0;
}

/* RFC 9112 9.3, RFC 9110 7.8. */
static void settle_connection(struct inl_http1 *h,
                              const struct inl_http1_facts *facts,
                              struct inlets_head *head)
{
    h->keep_alive = !facts->says_close && !h->until_close &&
                    (!h->http10 || facts->says_keep_alive);
    h->upgrade = h->role == INL_HTTP1_REQUEST && !h->http10 &&
                 facts->says_upgrade && facts->has_upgrade;
    if (h->upgrade || (inl_http1_is_interim(h) && h->status == 101)) {
        head->flags |= INLETS_HEAD_UPGRADE;
    }
}

/* Method, target and Host; or status and reason. */
static int settle_line(struct inl_http1 *h, const struct inl_http1_facts *facts,
                       struct inlets_head *head)
{
    if (h->role == INL_HTTP1_RESPONSE) {
        head->status = h->status;
        head->reason = inl_slice(h->buf + h->line.value, h->line.value_len);
        return 0;
    }
    head->method = inl_slice(h->buf + h->line.name, h->line.name_len);
    if (!inl_http1_settle_target(head->method, h->buf + h->line.value,
                                 h->line.value_len, h->http10, facts,
                                 &head->target, &head->host, &h->reason)) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, h->reason);
    }
    return 0;
}

static bool is_connection(const struct inlets_field *field)
{
    return inl_slice_eq_case(field->name, INL_LIT("Connection"));
}

/* The fields go when the head is told; the trailers that Connection names are
 * still to come. */
static int keep_options(struct inl_http1 *h, const struct inlets_head *head)
{
    size_t size = 0;
    char *at;

    for (size_t i = 0; i < head->nfields; i++) {
        if (is_connection(&head->fields[i])) {
            size += head->fields[i].value.len + 1;
        }
    }
    at = h->options = inl_malloc(size);
    if (at == NULL) {
        return inl_http1_fail(h, INLETS_ENOMEM, "Out of memory");
    }
    for (size_t i = 0; i < head->nfields; i++) {
        if (is_connection(&head->fields[i])) {
            (void)inl_slice_keep(&at, head->fields[i].value);
            *at++ = ',';
        }
    }
    h->options_len = (size_t)(at - h->options);
    return 0;
}

int inl_http1_settle_head(struct inl_http1 *h,
                          const struct inl_http1_facts *facts,
                          struct inlets_head *head)
{
    h->until_close = h->chunked = false;
    if (facts->connection_bytes > INL_HTTP1_MAX_CONNECTION) {
        return inl_http1_fail(h, INLETS_EHEADSIZE, "Connection names too much");
    }
    if (settle_line(h, facts, head) != 0 ||
        settle_framing(h, facts, &head->content_length) != 0 ||
        (facts->says_more && h->chunked && keep_options(h, head) != 0)) {
        return h->err;
    }
    settle_connection(h, facts, head);
    return 0;
}
