/* http1.c: reads HTTP/1.1 messages (RFC 9112).
 *
 * Start lines are ours (http1_rules.c), since llhttp takes some that are not
 * HTTP/1; fields, chunks and trailers are llhttp's, strictly. A start line is
 * kept until it is whole, checked, and then shown to llhttp, so that errors
 * do not depend on how the bytes were split.
 *
 * Phases: START -> FIELDS -> BODY -> ended; a message without a body goes from
 * FIELDS to ended, a 1xx head from FIELDS to START. llhttp pauses at the end
 * of a head and at the end of a message; what is done there is done outside
 * of its callbacks.
 *
 * Who owns what: the parser owns buf and marks, from the first byte of a head
 * (or of trailers) until on_head (on_end) has returned. Body slices are the
 * caller's input.
 *
 * Failure: inl_http1_fail takes the first error and its reason; nothing is read
 * or reported after it. What a whole head means is http1_head.c's. */
#include "proto/http1_head.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1_rules.h"

#define BUF_MIN 1024u
#define MARKS_MIN 16u

/* Room for a method, spaces and a version around the longest target. */
#define MAX_LINE (INL_HTTP1_MAX_TARGET + 64u)

/* CR and LF before a request line; RFC 9112 2.2 asks for at least one pair. */
#define MAX_BLANK 8u

/* What any chunk may cost: 16 hex digits, CRLF, and CRLF behind its data. */
#define CHUNK_COST 20u

/* --- Errors --- */

const char *inl_http1_reason(const struct inl_http1 *h)
{
    const char *reason = h->reason;

    if (reason == NULL && h->err != 0) {
        reason = llhttp_get_error_reason(&h->parser);
    }
    return reason == NULL ? "" : reason;
}

/* --- The buffer of a head --- */

/* Heads hold tokens and cookies: nothing of them is left in what is freed. */
static int grow(void **ptr, size_t *cap, size_t need, size_t min, size_t size)
{
    size_t new_cap = *cap == 0 ? min : *cap;
    void *grown;

    while (new_cap < need) {
        new_cap *= 2; /* need is below the limits: no overflow */
    }
    if (new_cap == *cap) {
        return 0;
    }
    grown = inl_malloc(new_cap * size);
    if (grown == NULL) {
        return INLETS_ENOMEM;
    }
    if (*cap > 0) {
        memcpy(grown, *ptr, *cap * size);
        inl_wipe(*ptr, *cap * size);
        inl_free(*ptr);
    }
    *ptr = grown;
    *cap = new_cap;
    return 0;
}

static int append(struct inl_http1 *h, const char *p, size_t n)
{
    void *buf = h->buf;

    if (grow(&buf, &h->buf_cap, h->buf_len + n, BUF_MIN, 1) != 0) {
        return inl_http1_fail(h, INLETS_ENOMEM, "Out of memory");
    }
    h->buf = buf;
    if (n > 0) {
        memcpy(h->buf + h->buf_len, p, n);
    }
    h->buf_len += n;
    return 0;
}

static int add_mark(struct inl_http1 *h)
{
    void *marks = h->marks;

    if (h->nmarks == h->limits.fields) {
        return inl_http1_fail(h, INLETS_EHEADSIZE, "Too many fields");
    }
    if (grow(&marks, &h->marks_cap, h->nmarks + 1, MARKS_MIN,
             sizeof(*h->marks)) != 0) {
        return inl_http1_fail(h, INLETS_ENOMEM, "Out of memory");
    }
    h->marks = marks;
    h->marks[h->nmarks++] =
        (struct inl_http1_mark){.name = (uint32_t)h->buf_len};
    h->name_done = false;
    return 0;
}

static void free_buffers(struct inl_http1 *h)
{
    inl_wipe(h->buf, h->buf_len);
    inl_free(h->buf);
    inl_free(h->marks);
    h->buf = NULL;
    h->marks = NULL;
    h->buf_len = h->buf_cap = 0;
    h->nmarks = h->marks_cap = 0;
}

static struct inlets_slice in_buf(const struct inl_http1 *h, uint32_t off,
                                  uint32_t len)
{
    return inl_slice(h->buf + off, len);
}

static struct inlets_field field_at(const struct inl_http1 *h, size_t i)
{
    const struct inl_http1_mark *mark = &h->marks[i];

    /* llhttp leaves the space behind a value in it. */
    return (struct inlets_field){
        in_buf(h, mark->name, mark->name_len),
        inl_slice_trim(in_buf(h, mark->value, mark->value_len))};
}

/* --- Limits --- */

/* How far into the head or body the byte at `at` of the input is. */
static uint64_t position(const struct inl_http1 *h, const char *at)
{
    return h->raw_bytes + (uint64_t)(at - h->base);
}

/* Counts what came, not what is kept: leading space is never kept. */
static int check_fields_size(struct inl_http1 *h, uint64_t pos)
{
    if (h->phase == INL_HTTP1_FIELDS) {
        return pos > h->limits.head
                   ? inl_http1_fail(h, INLETS_EHEADSIZE, "Head too large")
                   : 0;
    }
    return pos - h->raw_fields > h->limits.trailers
               ? inl_http1_fail(h, INLETS_EHEADSIZE, "Trailers too large")
               : 0;
}

/* What is neither data nor the least that chunks cost: extensions, and zeros
 * before a size. */
static int check_chunk_cost(struct inl_http1 *h, uint64_t pos)
{
    return pos - h->body_bytes >
                   INL_HTTP1_MAX_CHUNK_EXT + (h->chunks + 1) * CHUNK_COST
               ? inl_http1_fail(h, INLETS_EBADMESSAGE,
                                "Chunk extensions too large")
               : 0;
}

/* After each piece of input. */
static int check_sizes(struct inl_http1 *h)
{
    if (h->phase == INL_HTTP1_FIELDS || h->nmarks > 0) {
        return check_fields_size(h, h->raw_bytes);
    }
    return h->chunked ? check_chunk_cost(h, h->raw_bytes) : 0;
}

/* --- llhttp's callbacks --- */

static struct inl_http1 *self(llhttp_t *parser)
{
    return parser->data;
}

/* A piece of a name or a value. */
static int take_span(struct inl_http1 *h, const char *at, size_t n,
                     uint32_t *len)
{
    const struct inl_http1_mark *mark = &h->marks[h->nmarks - 1];

    if (check_fields_size(h, position(h, at) + n) != 0) {
        return HPE_USER;
    }
    if (mark->name_len + mark->value_len + n > INL_HTTP1_MAX_FIELD) {
        inl_http1_fail(h, INLETS_EHEADSIZE, "Field too large");
        return HPE_USER;
    }
    *len += (uint32_t)n;
    return append(h, at, n) == 0 ? 0 : HPE_USER;
}

static int on_name(llhttp_t *parser, const char *at, size_t n)
{
    struct inl_http1 *h = self(parser);

    if (h->nmarks == 0 && h->phase == INL_HTTP1_BODY) {
        h->raw_fields = position(h, at);
        if (check_chunk_cost(h, h->raw_fields) != 0) {
            return HPE_USER;
        }
    }
    if ((h->nmarks == 0 || h->name_done) && add_mark(h) != 0) {
        return HPE_USER;
    }
    return take_span(h, at, n, &h->marks[h->nmarks - 1].name_len);
}

static int on_name_complete(llhttp_t *parser)
{
    struct inl_http1 *h = self(parser);

    h->name_done = true;
    h->marks[h->nmarks - 1].value = (uint32_t)h->buf_len;
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct inl_http1 *h = self(parser);

    return take_span(h, at, n, &h->marks[h->nmarks - 1].value_len);
}

static int on_chunk_header(llhttp_t *parser)
{
    struct inl_http1 *h = self(parser);

    h->chunks++;
    if (parser->content_length > INT64_MAX) {
        /* Others count in signed numbers. */
        inl_http1_fail(h, INLETS_EBADMESSAGE, "Chunk size too large");
        return HPE_USER;
    }
    return 0;
}

static int on_data(llhttp_t *parser, const char *at, size_t n)
{
    struct inl_http1 *h = self(parser);

    if (h->chunked && check_chunk_cost(h, position(h, at)) != 0) {
        return HPE_USER;
    }
    h->body_bytes += n;
    if (n > 0) {
        h->ops->on_body(h, inl_slice(at, n), h->user);
    }
    return 0;
}

/* Many short extensions cost as much as a long one. */
static int on_extension(llhttp_t *parser, const char *at, size_t n)
{
    struct inl_http1 *h = self(parser);

    (void)at;
    h->extension_bytes += n;
    h->extension_part += n;
    if (h->extension_bytes > INL_HTTP1_MAX_CHUNK_EXT) {
        inl_http1_fail(h, INLETS_EBADMESSAGE, "Chunk extensions too large");
        return HPE_USER;
    }
    return 0;
}

/* RFC 9112 7.1.1: a name is a token, and a value that is begun is one or is
 * quoted; llhttp takes nothing for either. */
static int on_extension_part(llhttp_t *parser)
{
    struct inl_http1 *h = self(parser);

    if (h->extension_part == 0) {
        inl_http1_fail(h, INLETS_EBADMESSAGE, "Empty chunk extension");
        return HPE_USER;
    }
    h->extension_part = 0;
    return 0;
}

static int stop_here(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_headers_complete = stop_here,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_chunk_extension_name_complete = on_extension_part,
    .on_chunk_extension_value_complete = on_extension_part,
    .on_body = on_data,
    .on_message_complete = stop_here,
};

/* --- Life --- */

static void drop_options(struct inl_http1 *h)
{
    inl_free(h->options);
    h->options = NULL;
    h->options_len = 0;
}

/* The next head, which may be one more of the same response. */
static void start_head(struct inl_http1 *h)
{
    free_buffers(h);
    drop_options(h);
    llhttp_reset(&h->parser);
    h->phase = INL_HTTP1_START;
    h->line = (struct inl_http1_mark){0};
    h->raw_bytes = h->raw_fields = 0;
    h->blank_bytes = 0;
    h->name_done = false;
}

void inl_http1_init(struct inl_http1 *h, enum inl_http1_role role,
                    const struct inl_http1_ops *ops, void *user)
{
    *h = (struct inl_http1){
        .ops = ops, .user = user, .role = role, .limits = INL_HTTP1_LIMITS};
    llhttp_init(&h->parser,
                role == INL_HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE,
                &settings);
    h->parser.data = h;
    start_head(h);
}

void inl_http1_fini(struct inl_http1 *h)
{
    free_buffers(h);
    drop_options(h);
}

void inl_http1_next(struct inl_http1 *h, bool response_to_head)
{
    start_head(h);
    h->interim_bytes = 0;
    h->response_to_head = response_to_head;
    h->keep_alive = h->http10 = h->upgrade = false;
    h->in_message = h->ended = h->upgraded = false;
}

bool inl_http1_is_head(const struct inl_http1 *h)
{
    static const char head[] = "HEAD ";

    return h->buf_len >= 5 && memcmp(h->buf, head, 5) == 0;
}

/* --- The end of a message --- */

/* RFC 9110 6.5.1, and 7.6.1: Connection speaks of trailers, too. */
static bool may_trail(const struct inl_http1 *h, struct inlets_slice name)
{
    return inl_http1_may_trail(name) &&
           (h->options == NULL ||
            !inl_slice_list_has(inl_slice(h->options, h->options_len), name));
}

/* Trailers may not speak of framing; what else must not be there is left
 * out. */
static int report_trailers(struct inl_http1 *h)
{
    struct inlets_field fields[INL_HTTP1_MAX_FIELDS];
    struct inlets_head trailers = {.content_length = INLETS_LENGTH_NONE,
                                   .fields = fields};

    for (size_t i = 0; i < h->nmarks; i++) {
        struct inlets_field *field = &fields[trailers.nfields];

        *field = field_at(h, i);
        if (inl_http1_is_framing_name(field->name)) {
            return inl_http1_fail(h, INLETS_EBADMESSAGE,
                                  "Framing field in trailers");
        }
        if (may_trail(h, field->name)) {
            trailers.nfields++;
        }
    }
    h->ended = true;
    h->ops->on_end(h, trailers.nfields > 0 ? &trailers : NULL, h->user);
    if (h->ended) {
        free_buffers(h); /* else next has, and they are not these any more */
    }
    return 0;
}

static int end_message(struct inl_http1 *h)
{
    if (h->nmarks > 0) {
        return report_trailers(h);
    }
    h->ended = true;
    h->ops->on_end(h, NULL, h->user);
    return 0;
}

/* A 1xx head is over: the same response goes on (RFC 9110 15.2). */
static int end_interim(struct inl_http1 *h)
{
    if (h->status == 101) {
        h->ended = h->upgraded = true;
        free_buffers(h);
        return 0;
    }
    /* Interim heads are sent on without credit: they share one budget. */
    h->interim_bytes += (size_t)h->raw_bytes;
    if (h->interim_bytes > INL_HTTP1_MAX_HEAD) {
        return inl_http1_fail(h, INLETS_EHEADSIZE,
                              "Too many interim responses");
    }
    start_head(h);
    return 0;
}

/* --- The end of a head --- */

/* Runs once llhttp has read the empty line behind the fields. */
static int end_head(struct inl_http1 *h)
{
    struct inlets_field fields[INL_HTTP1_MAX_FIELDS];
    struct inlets_head head = {.fields = fields};
    struct inl_http1_facts facts = {.hosts = 0};

    for (size_t i = 0; i < h->nmarks; i++) {
        fields[head.nfields] = field_at(h, i);
        if (inl_http1_note_field(&facts, &fields[head.nfields],
                                 h->role == INL_HTTP1_REQUEST)) {
            head.nfields++;
        }
    }
    if (inl_http1_settle_head(h, &facts, &head) != 0) {
        return h->err;
    }
    h->ops->on_head(h, &head, h->user);
    free_buffers(h);
    if (inl_http1_is_interim(h)) {
        return end_interim(h);
    }
    h->phase = INL_HTTP1_BODY;
    h->raw_bytes = h->body_bytes = h->chunks = 0;
    h->extension_bytes = h->extension_part = 0;
    if (inl_http1_is_bodiless(h) || head.content_length == INLETS_LENGTH_NONE ||
        head.content_length == 0) {
        return end_message(h);
    }
    return 0;
}

/* --- Start lines --- */

/* The whole line is in buf. llhttp reads it too, for its method and version;
 * what it refuses of a line that is sound is a method unknown to it. */
static int end_line(struct inl_http1 *h)
{
    struct inl_http1_line line = {.status = 0};
    struct inlets_slice text;
    const char *reason = NULL;
    llhttp_errno_t rc;
    int err;

    if (h->buf_len < 2 || h->buf[h->buf_len - 2] != '\r') {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, "Missing CR before LF");
    }
    text = inl_slice(h->buf, h->buf_len - 2);
    err = h->role == INL_HTTP1_REQUEST
              ? inl_http1_parse_request_line(text, &line, &reason)
              : inl_http1_parse_status_line(text, &line, &reason);
    if (err != 0) {
        return inl_http1_fail(h, err, reason);
    }
    rc = llhttp_execute(&h->parser, h->buf, h->buf_len);
    if (rc != HPE_OK) {
        /* It is a request line to us: what is left is a method that llhttp
         * does not know, or not for HTTP, or a host that is none. */
        return inl_http1_fail(h,
                              h->role == INL_HTTP1_RESPONSE ||
                                      rc == HPE_INVALID_URL
                                  ? INLETS_EBADMESSAGE
                                  : INLETS_EMETHOD,
                              NULL);
    }
    h->line.name_len = (uint32_t)line.method.len;
    if (h->role == INL_HTTP1_REQUEST) {
        h->line.value = (uint32_t)(line.target.ptr - h->buf);
        h->line.value_len = (uint32_t)line.target.len;
    } else {
        h->line.value = (uint32_t)(line.reason.ptr - h->buf);
        h->line.value_len = (uint32_t)line.reason.len;
    }
    h->status = line.status;
    h->http10 = line.http10;
    h->phase = INL_HTTP1_FIELDS;
    h->raw_bytes = h->buf_len;
    return 0;
}

/* Is there a CR in buf, from that byte on, that no LF follows? The last byte
 * may yet be followed by one. */
static bool has_bare_cr(const struct inl_http1 *h, size_t from)
{
    const char *end = h->buf + h->buf_len;
    const char *cr = memchr(h->buf + from, '\r', h->buf_len - from);

    return cr != NULL && cr + 1 < end && cr[1] != '\n';
}

/* More of a line that is not whole yet. */
static int check_partial_line(struct inl_http1 *h, size_t from)
{
    struct inlets_slice text = inl_slice(h->buf, h->buf_len);
    bool is_request = h->role == INL_HTTP1_REQUEST;

    if (is_request && inl_http1_is_long_method(text)) {
        return inl_http1_fail(h, INLETS_EMETHOD, "Unknown method");
    }
    if (!(is_request ? inl_http1_may_become_request(text)
                     : inl_http1_may_become_status(text))) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, "Not HTTP");
    }
    if (has_bare_cr(h, from)) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, "Bare CR");
    }
    if (h->buf_len > MAX_LINE) {
        return is_request
                   ? inl_http1_fail(h, INLETS_EURISIZE, "Request line too long")
                   : inl_http1_fail(h, INLETS_EHEADSIZE,
                                    "Status line too long");
    }
    return 0;
}

/* Skips empty lines before a request (RFC 9112 2.2); returns how many bytes. */
static size_t skip_blank(struct inl_http1 *h, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && h->buf_len == 0 && h->role == INL_HTTP1_REQUEST) {
        bool after_cr = h->blank_bytes % 2 == 1;

        if (p[i] != (after_cr ? '\n' : '\r')) {
            if (after_cr || p[i] == '\n') {
                inl_http1_fail(h, INLETS_EBADMESSAGE, "Invalid request line");
            }
            break;
        }
        if (++h->blank_bytes > MAX_BLANK) {
            inl_http1_fail(h, INLETS_EBADMESSAGE, "Too many empty lines");
            break;
        }
        i++;
    }
    return i;
}

static int feed_start(struct inl_http1 *h, const char *p, size_t n,
                      size_t *ret_used)
{
    size_t blank = skip_blank(h, p, n);
    size_t room = MAX_LINE + 1 - h->buf_len;
    size_t from = h->buf_len > 0 ? h->buf_len - 1 : 0; /* it may be a CR */
    const char *lf;

    *ret_used = blank;
    p += blank;
    n -= blank;
    if (h->err != 0 || n == 0) {
        return h->err;
    }
    h->in_message = true;
    n = n < room ? n : room;
    lf = memchr(p, '\n', n);
    if (lf != NULL) {
        n = (size_t)(lf - p) + 1;
    }
    *ret_used += n;
    if (append(h, p, n) != 0 || check_partial_line(h, from) != 0) {
        return h->err;
    }
    return lf != NULL ? end_line(h) : 0;
}

/* --- Feeding --- */

/* llhttp stopped by itself: the end of the head or of the message. */
static int resume(struct inl_http1 *h)
{
    llhttp_resume(&h->parser);
    if (check_sizes(h) != 0) {
        return h->err;
    }
    return h->phase == INL_HTTP1_FIELDS ? end_head(h) : end_message(h);
}

static int feed_llhttp(struct inl_http1 *h, const char *p, size_t n,
                       size_t *ret_used)
{
    llhttp_errno_t result;

    h->base = p;
    result = llhttp_execute(&h->parser, p, n);
    if (result == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&h->parser) - p);
    }
    *ret_used = n;
    h->raw_bytes += n;
    if (result == HPE_PAUSED) {
        return resume(h);
    }
    if (result != HPE_OK) {
        return inl_http1_fail(h, INLETS_EBADMESSAGE, NULL);
    }
    return check_sizes(h);
}

int inl_http1_feed(struct inl_http1 *h, const uint8_t *p, size_t n,
                   size_t *ret_used)
{
    size_t used = 0;

    while (used < n && h->err == 0 && !h->ended) {
        const char *at = (const char *)p + used;
        size_t step = 0;

        if (h->phase == INL_HTTP1_START) {
            (void)feed_start(h, at, n - used, &step);
        } else {
            (void)feed_llhttp(h, at, n - used, &step);
        }
        used += step;
    }
    *ret_used = used;
    return h->err;
}

int inl_http1_eof(struct inl_http1 *h)
{
    if (h->err != 0 || h->ended || !h->in_message) {
        return h->err;
    }
    if (h->phase == INL_HTTP1_BODY && h->until_close) {
        return end_message(h);
    }
    return inl_http1_fail(h, INLETS_EBADMESSAGE,
                          "Connection ended inside a message");
}

/* --- Heads --- */

struct inlets_slice inl_head_find(const struct inlets_head *head,
                                  struct inlets_slice name)
{
    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, name)) {
            return head->fields[i].value;
        }
    }
    return inl_slice(NULL, 0);
}
