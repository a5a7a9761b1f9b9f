/* http.c: see http.h. */
#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void wh_init(struct wh *h, bool is_response, const struct wh_ops *ops,
             void *user)
{
    *h = (struct wh){.ops = ops, .user = user, .is_response = is_response};
}

void wh_fini(struct wh *h)
{
    free(h->head);
    h->head = NULL;
}

static void wrong(struct wh *h, const char *why)
{
    h->state = WH_ERROR;
    h->why = why;
}

void wh_expect(struct wh *h, bool is_head)
{
    if (h->due_count == WH_MAX_DUE) {
        abort();
    }
    h->due_head[(h->due_first + h->due_count++) % WH_MAX_DUE] = is_head;
}

static bool is_tchar(char c)
{
    return isalnum((unsigned char)c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Every line: token ":" value, no folding, no control character. */
static bool fields_are_well_formed(const char *at)
{
    while (*at != '\0') {
        const char *name = at;

        while (is_tchar(*at)) {
            at++;
        }
        if (at == name || *at != ':') {
            return false;
        }
        for (at++; *at != '\r'; at++) {
            if ((unsigned char)*at < 0x20 && *at != '\t') {
                return false;
            }
            if (*at == 0x7f) {
                return false;
            }
        }
        if (at[1] != '\n') {
            return false;
        }
        at += 2;
    }
    return true;
}

static const char *fields_of(const struct wh *h)
{
    const char *nl = h->state == WH_TRAILERS ? NULL : strchr(h->head, '\n');

    return nl == NULL ? h->head : nl + 1;
}

const char *wh_field(const struct wh *h, const char *name, unsigned nth,
                     char *buf, size_t size)
{
    size_t len = strlen(name);

    for (const char *at = fields_of(h); *at != '\0';) {
        const char *end = strchr(at, '\r');

        if (end == NULL) {
            return NULL;
        }
        if (strncasecmp(at, name, len) == 0 && at[len] == ':' && nth-- == 0) {
            const char *from = at + len + 1;
            size_t n;

            while (*from == ' ' || *from == '\t') {
                from++;
            }
            while (end > from && (end[-1] == ' ' || end[-1] == '\t')) {
                end--;
            }
            n = (size_t)(end - from) < size - 1 ? (size_t)(end - from)
                                                : size - 1;
            memcpy(buf, from, n);
            buf[n] = '\0';
            return buf;
        }
        at = end + 2;
    }
    return NULL;
}

static bool parse_number(const char *s, int base, uint64_t *ret)
{
    uint64_t value = 0;

    if (*s == '\0') {
        return false;
    }
    for (; *s != '\0'; s++) {
        int c = tolower((unsigned char)*s);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : 99;

        if (digit >= base || value > UINT64_MAX / 32) {
            return false;
        }
        value = value * (unsigned)base + (unsigned)digit;
    }
    *ret = value;
    return true;
}

static bool parse_start(struct wh *h)
{
    const char *s = h->head;

    if (h->is_response) {
        if (strncmp(s, "HTTP/1.1 ", 9) != 0 &&
            strncmp(s, "HTTP/1.0 ", 9) != 0) {
            return false;
        }
        h->last = s[7] == '0';
        if (!isdigit((unsigned char)s[9]) || !isdigit((unsigned char)s[10]) ||
            !isdigit((unsigned char)s[11]) || s[12] != ' ') {
            return false;
        }
        h->status = (unsigned)(s[9] - '0') * 100 +
                    (unsigned)(s[10] - '0') * 10 + (unsigned)(s[11] - '0');
        return true;
    }
    while (is_tchar(*s)) {
        s++;
    }
    if (s == h->head || *s++ != ' ') {
        return false;
    }
    if (*s != '/' && *s != '*') {
        return false;
    }
    while ((unsigned char)*s > ' ' && *s != 0x7f) {
        s++;
    }
    h->last = strncmp(s, " HTTP/1.0\r\n", 11) == 0;
    return h->last || strncmp(s, " HTTP/1.1\r\n", 11) == 0;
}

static bool parse_framing(struct wh *h)
{
    char buf[128];

    h->chunked = h->has_length = false;
    if (wh_field(h, "Transfer-Encoding", 0, buf, sizeof(buf)) != NULL) {
        if (strcasecmp(buf, "chunked") != 0 ||
            wh_field(h, "Transfer-Encoding", 1, buf, sizeof(buf)) != NULL ||
            wh_field(h, "Content-Length", 0, buf, sizeof(buf)) != NULL) {
            return false;
        }
        h->chunked = true;
    } else if (wh_field(h, "Content-Length", 0, buf, sizeof(buf)) != NULL) {
        if (!parse_number(buf, 10, &h->length) ||
            wh_field(h, "Content-Length", 1, buf, sizeof(buf)) != NULL) {
            return false;
        }
        h->has_length = true;
    }
    if (wh_field(h, "Connection", 0, buf, sizeof(buf)) != NULL &&
        strcasecmp(buf, "close") == 0) {
        h->last = true;
    }
    return true;
}

static void message_end(struct wh *h)
{
    h->ops->end(h, h->user);
    h->state = WH_HEAD;
    h->head_len = 0;
    h->in_message = false;
}

static void start_body(struct wh *h)
{
    bool none = false, interim = false;

    if (h->is_response) {
        if (h->due_count == 0) {
            wrong(h, "an answer that nobody asked for");
            return;
        }
        none =
            h->due_head[h->due_first] || h->status == 204 || h->status == 304;
        interim = h->status < 200 && h->status != 101;
    }
    if (interim) {
        h->ops->head(h, h->user);
        h->state = WH_HEAD;
        h->head_len = 0;
        return;
    }
    if (h->is_response) {
        h->due_first = (h->due_first + 1) % WH_MAX_DUE;
        h->due_count--;
    }
    h->ops->head(h, h->user);
    if (h->is_response && h->status == 101) {
        h->state = WH_RAW;
    } else if (none) {
        message_end(h);
    } else if (h->chunked) {
        h->state = WH_CHUNK_SIZE;
        h->line_len = 0;
    } else if (h->has_length || !h->is_response) {
        h->left = h->has_length ? h->length : 0;
        h->state = WH_LENGTH;
        if (h->left == 0) {
            message_end(h);
        }
    } else {
        h->state = WH_CLOSE;
    }
}

static void head_done(struct wh *h)
{
    h->head[h->head_len - 2] = '\0'; /* without the empty line */
    if (strlen(h->head) != h->head_len - 2) {
        wrong(h, "NUL in a head");
    } else if (!parse_start(h) || !fields_are_well_formed(fields_of(h)) ||
               !parse_framing(h)) {
        wrong(h, "malformed head");
    } else {
        start_body(h);
    }
}

static void trailers_done(struct wh *h)
{
    h->head[h->head_len - 2] = '\0';
    if (!fields_are_well_formed(h->head)) {
        wrong(h, "malformed trailers");
    } else {
        message_end(h);
    }
}

static void head_byte(struct wh *h, char c)
{
    bool over;

    if (h->head_len + 1 >= h->head_cap) {
        h->head_cap = h->head_cap == 0 ? 512 : h->head_cap * 2;
        h->head = realloc(h->head, h->head_cap);
        if (h->head == NULL || h->head_cap > 2 * WH_HEAD_MAX) {
            abort();
        }
    }
    h->head[h->head_len++] = c;
    h->head[h->head_len] = '\0';
    if (c != '\n') {
        return;
    }
    if (h->head_len < 2 || h->head[h->head_len - 2] != '\r') {
        wrong(h, "bare LF");
        return;
    }
    over = h->head_len >= 4 &&
           memcmp(h->head + h->head_len - 4, "\r\n\r\n", 4) == 0;
    if (h->state == WH_HEAD && over) {
        head_done(h);
    } else if (h->state == WH_TRAILERS && (over || h->head_len == 2)) {
        trailers_done(h);
    }
}

static void chunk_line_byte(struct wh *h, char c)
{
    char *semicolon;
    uint64_t n;

    if (h->line_len + 1 >= sizeof(h->line)) {
        wrong(h, "chunk line too long");
        return;
    }
    h->line[h->line_len++] = c;
    if (c != '\n') {
        return;
    }
    if (h->line_len < 2 || h->line[h->line_len - 2] != '\r') {
        wrong(h, "bare LF in a chunk line");
        return;
    }
    h->line[h->line_len - 2] = '\0';
    h->line_len = 0;
    if (h->state == WH_CHUNK_END) {
        h->state = h->line[0] == '\0' ? WH_CHUNK_SIZE : WH_ERROR;
        h->why = "no CRLF behind a chunk";
        return;
    }
    semicolon = strchr(h->line, ';');
    if (semicolon != NULL) {
        *semicolon = '\0';
    }
    if (!parse_number(h->line, 16, &n)) {
        wrong(h, "bad chunk size");
    } else if (n == 0) {
        h->state = WH_TRAILERS;
        h->head_len = 0;
    } else {
        h->left = n;
        h->state = WH_CHUNK;
    }
}

static size_t body_bytes(struct wh *h, const uint8_t *p, size_t n)
{
    if (h->state == WH_LENGTH || h->state == WH_CHUNK) {
        n = n < h->left ? n : (size_t)h->left;
        h->left -= n;
    }
    h->ops->body(h, p, n, h->user);
    if (h->left == 0 && h->state == WH_LENGTH) {
        message_end(h);
    } else if (h->left == 0 && h->state == WH_CHUNK) {
        h->state = WH_CHUNK_END;
    }
    return n;
}

void wh_feed(struct wh *h, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        switch (h->state) {
        case WH_HEAD:
        case WH_TRAILERS:
            h->in_message = true;
            head_byte(h, (char)p[done++]);
            break;
        case WH_CHUNK_SIZE:
        case WH_CHUNK_END:
            chunk_line_byte(h, (char)p[done++]);
            break;
        case WH_LENGTH:
        case WH_CHUNK:
        case WH_CLOSE:
        case WH_RAW:
            done += body_bytes(h, p + done, n - done);
            break;
        case WH_ERROR:
            return;
        }
    }
}

bool wh_eof(struct wh *h)
{
    if (h->state == WH_CLOSE) {
        message_end(h);
        return true;
    }
    return h->state == WH_RAW || (h->state == WH_HEAD && !h->in_message);
}
