/* visitor_answer.c: what a visitor hears from us, not from an upstream: our
 * words or a page of the user's, with the request's id. See visitor.c.
 *
 * Failure: an answer that finds no memory closes the connection. */
#include "base/date.h"
#include "base/slice.h"
#include "base/url.h"
#include "relay/answer.h"
#include "relay/visitor_machine.h"
#include <stdio.h>

/* A challenge with a host in it. */
#define PERMIT_TEXT (INL_HOST_MAX + 64u)

/* What some statuses have to say beside their words. */
static void add_status_field(struct inlets_head *head,
                             struct inlets_field *fields)
{
    static const struct {
        unsigned status;
        const char *name, *value;
    } rows[] = {
        {401, "WWW-Authenticate", "Bearer realm=\"inlets\""},
        /* RFC 9110 15.5.6 */
        {405, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
        {426, "Sec-WebSocket-Version", "13"},
        {429, "Retry-After", "2"},
        {503, "Retry-After", "2"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].status == head->status) {
            fields[head->nfields++] = (struct inlets_field){
                inl_str(rows[i].name), inl_str(rows[i].value)};
        }
    }
}

/* What a guard has to say with its refusal, in place of the same field of
 * add_status_field. RFC 6750 3: an error only when there was a token. */
static void add_permit_field(const struct inl_visitor *v, unsigned status,
                             struct inlets_field *fields, size_t n,
                             char room[PERMIT_TEXT])
{
    const struct inl_permit *p = v->x == NULL ? NULL : &v->x->permit;

    for (size_t i = 0; p != NULL && i < n; i++) {
        if (status == 401 && p->is_challenge &&
            inl_slice_eq(fields[i].name, INL_LIT("WWW-Authenticate"))) {
            (void)snprintf(room, PERMIT_TEXT, "Bearer realm=\"%.*s\"%s",
                           (int)v->x->host.len, v->x->host.ptr,
                           p->is_wrong ? ", error=\"invalid_token\"" : "");
            fields[i].value = inl_str(room);
        } else if (status == 429 && p->retry_s > 0 &&
                   inl_slice_eq(fields[i].name, INL_LIT("Retry-After"))) {
            (void)snprintf(room, PERMIT_TEXT, "%u", p->retry_s);
            fields[i].value = inl_str(room);
        }
    }
}

/* Who speaks HTTP/1.0 has to be told that it stays open (RFC 9112 C.2.2). */
struct inlets_slice inl_visitor_connection(const struct inl_visitor *v)
{
    if (v->x == NULL || !v->x->keep_alive) {
        return INL_LIT("Connection: close\r\n");
    }
    return v->http.http10 ? INL_LIT("Connection: keep-alive\r\n") : INL_LIT("");
}

static int put_answer(struct inl_visitor *v, struct inlets_head *head,
                      bool is_head, struct inlets_slice body)
{
    enum inl_http1_framing framing;
    struct inlets_slice extra = inl_visitor_connection(v);
    int err;

    head->content_length = (int64_t)body.len;
    if (head->status == 426) { /* RFC 9110 15.5.22, 7.8 */
        extra = INL_LIT("Connection: close, upgrade\r\nUpgrade: websocket\r\n");
    }
    err = inl_http1_put_response(&v->link->out, head, extra, !is_head, false,
                                 &framing);
    return err != 0 ? err : inl_http1_put_body(&v->link->out, framing, body);
}

static struct inlets_slice our_words(unsigned status, struct inlets_slice id,
                                     char text[256])
{
    int n = snprintf(text, 256, "%u %s\n%s\nrequest id: %.*s\n", status,
                     inl_http1_status_text(status), inl_answer_text(status),
                     (int)id.len, id.ptr);

    return inl_slice(text, (size_t)n);
}

/* page: the user's, NULL: our own words. reason: for a client; may be NULL. */
static void write_answer(struct inl_visitor *v, unsigned status,
                         struct inlets_slice id, bool is_head,
                         const struct inl_error_page *page, const char *reason)
{
    char date[INL_DATE_TEXT], text[256], room[PERMIT_TEXT];
    struct inlets_field fields[5] = {
        {INL_LIT("Content-Type"), INL_LIT("text/plain; charset=utf-8")},
        {INL_LIT("Date"), inl_date_now(date)}};
    struct inlets_head head = {
        .status = status, .fields = fields, .nfields = 2};

    inl_visitor_begin_write(v);
    add_status_field(&head, fields);
    add_permit_field(v, status, fields, head.nfields, room);
    if (page != NULL) { /* our words have the id in them */
        fields[0].value = page->type;
        fields[head.nfields++] =
            (struct inlets_field){INL_LIT("X-Request-Id"), id};
    }
    if (reason != NULL) {
        fields[head.nfields++] =
            (struct inlets_field){INL_LIT(INL_REASON_FIELD), inl_str(reason)};
    }
    if (put_answer(v, &head, is_head,
                   page != NULL ? page->body : our_words(status, id, text)) !=
        0) {
        inl_link_close(v->link, INLETS_ENOMEM);
    }
    inl_link_wake(v->link);
}

struct inlets_slice inl_visitor_new_id(struct inl_env *env,
                                       char text[INL_REQUEST_ID_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[INL_REQUEST_ID_LEN / 2];

    inl_env_random(env, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        text[2 * i] = digits[random[i] >> 4];
        text[2 * i + 1] = digits[random[i] & 15];
    }
    return inl_slice(text, INL_REQUEST_ID_LEN);
}

static const struct inl_error_page *page_of(const struct inl_visitor *v,
                                            unsigned status)
{
    return inl_error_pages_find(v->config->pages, status);
}

/* Of a request that has no exchange, be it half a head. */
static void refuse(struct inl_visitor *v, unsigned status,
                   struct inlets_slice id, const struct inl_error_page *page,
                   const char *reason)
{
    write_answer(v, status, id, inl_http1_is_head(&v->http), page, reason);
    inl_visitor_leave(v);
}

void inl_visitor_refuse(struct inl_visitor *v, unsigned status, const char *why)
{
    char text[INL_REQUEST_ID_LEN];
    struct inlets_slice id = inl_visitor_new_id(v->env, text);

    inl_log(v->env, INLETS_LOG_INFO, "request refused", INL_KV("id", id),
            INL_KN("status", status), INL_KV("why", inl_str(why)),
            INL_KV("remote", inl_str(v->link->peer_ip)));
    refuse(v, status, id, page_of(v, status), NULL);
}

void inl_visitor_refuse_tunnel(struct inl_visitor *v, unsigned status,
                               const char *why)
{
    char text[INL_REQUEST_ID_LEN];
    struct inlets_slice id = inl_visitor_new_id(v->env, text);

    inl_log(v->env, INLETS_LOG_WARN, "tunnel refused", INL_KV("id", id),
            INL_KN("status", status), INL_KV("why", inl_str(why)),
            INL_KV("remote", inl_str(v->link->peer_ip)));
    refuse(v, status, id, NULL, why);
}

void inl_visitor_turn_away(struct inl_visitor *v,
                           enum inl_crowd_verdict verdict)
{
    bool is_full = verdict == INL_CROWD_FULL;
    unsigned status = is_full ? 503 : 429;
    const char *limit = is_full ? "max_visitors" : "max_visitors_per_address";
    char text[INL_REQUEST_ID_LEN];
    struct inlets_slice id = inl_visitor_new_id(v->env, text);
    uint32_t unsaid;

    if (inl_crowd_should_say(v->member.crowd, &unsaid)) {
        inl_log(v->env, INLETS_LOG_WARN, "connection refused", INL_KV("id", id),
                INL_KN("status", status), INL_KV("limit", inl_str(limit)),
                INL_KV("remote", inl_str(v->link->peer_ip)),
                INL_KN_IF(unsaid > 0, "others_before", unsaid));
    }
    refuse(v, status, id, page_of(v, status), NULL);
}

void inl_visitor_answer_error(struct inl_visitor *v, int err)
{
    inl_visitor_answer_status(v, err, inl_status_of_error(err));
}

void inl_visitor_answer_status(struct inl_visitor *v, int err, unsigned status)
{
    struct inl_visitor_exchange *x = v->x;

    x->err = err;
    x->status = status;
    if (!x->request_done && !x->no_request_body) {
        x->keep_alive = false; /* the rest of the body would follow */
    }
    write_answer(v, x->status, x->id, x->is_head, page_of(v, x->status), NULL);
    x->responded = x->response_done = true;
    if (v->state == INL_VISITOR_BUSY) {
        inl_visitor_exchange_over(v);
    }
}
