/* upstreams.c: see upstreams.h. Hosts and URLs are checked by the library;
 * here a list is taken apart, and twins are found while both are at hand. */
#include "common/upstreams.h"

#include "common/file.h"
#include <inlets/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct text {
    const char *ptr;
    size_t len;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The length of "scheme://" (RFC 3986 section 3.1) or "unix:" at the beginning,
 * or 0. */
static size_t scheme_length(struct text t)
{
    size_t n = 0;

    if (t.len == 0 || !is_alpha(t.ptr[0])) {
        return 0;
    }
    if (t.len >= 5 && strncasecmp(t.ptr, "unix:", 5) == 0) {
        return 5;
    }
    while (n < t.len && (is_alpha(t.ptr[n]) || is_digit(t.ptr[n]) ||
                         strchr("+-.", t.ptr[n]) != NULL)) {
        n++;
    }
    return t.len - n >= 3 && memcmp(t.ptr + n, "://", 3) == 0 ? n + 3 : 0;
}

/* The length of an endpoint with '=' behind it, or 0. */
static size_t name_length(struct text t)
{
    size_t n = 0;

    while (n < t.len && (is_alpha(t.ptr[n]) || is_digit(t.ptr[n]) ||
                         strchr("-._*:[]/%~", t.ptr[n]) != NULL)) {
        n++;
    }
    return n > 0 && n < t.len && t.ptr[n] == '=' ? n : 0;
}

/* Does it begin with host:port, with a path or nothing behind it? */
static bool begins_with_authority(struct text t)
{
    size_t colon;
    size_t n = 0;

    while (n < t.len && (is_alpha(t.ptr[n]) || is_digit(t.ptr[n]) ||
                         strchr("-._[", t.ptr[n]) != NULL)) {
        n++;
    }
    colon = n;
    while (n < t.len && strchr("0123456789abcdefABCDEF:.]", t.ptr[n]) != NULL) {
        n++;
    }
    return colon > 0 && n > colon + 1 && t.ptr[colon] == ':' &&
           (n == t.len || t.ptr[n] == '/' || t.ptr[n] == ',');
}

enum part { PART_AUTHORITY, PART_PATH, PART_QUERY, PART_FRAGMENT };

static bool begins_item(struct text t, enum part in)
{
    size_t name = name_length(t);
    struct text value;

    if (name == 0) {
        return scheme_length(t) > 0;
    }
    value = (struct text){t.ptr + name + 1, t.len - name - 1};
    return scheme_length(value) > 0 ||
           (in == PART_PATH && begins_with_authority(value));
}

/* Where the URL begins in an item (or in a list that begins with one). */
static size_t url_start(struct text t)
{
    size_t n;

    if (scheme_length(t) > 0) {
        return 0;
    }
    for (n = 0; n < t.len && strchr("=?,", t.ptr[n]) == NULL; n++) {
    }
    return n < t.len && t.ptr[n] == '=' ? n + 1 : 0;
}

static struct text after_spaces(struct text t)
{
    while (t.len > 0 && t.ptr[0] == ' ') {
        t.ptr++;
        t.len--;
    }
    return t;
}

/* The length of the first item of a list. */
static size_t item_length(struct text t)
{
    size_t n = url_start(t);
    enum part in = PART_AUTHORITY;

    n += scheme_length((struct text){t.ptr + n, t.len - n});
    for (; n < t.len; n++) {
        char c = t.ptr[n];
        struct text rest = {t.ptr + n + 1, t.len - n - 1};

        if (c == ',' && (in == PART_AUTHORITY || in == PART_FRAGMENT ||
                         begins_item(after_spaces(rest), in))) {
            break;
        }
        if (c == '#' || in == PART_FRAGMENT) {
            in = PART_FRAGMENT;
        } else if (c == '?') {
            in = PART_QUERY;
        } else if (c == '/' && in == PART_AUTHORITY) {
            in = PART_PATH;
        }
    }
    return n;
}

/* --- one item -------------------------------------------------------------*/

static bool is_fold_equal(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char x = is_alpha(a[i]) ? (char)(a[i] | 0x20) : a[i];
        char y = is_alpha(b[i]) ? (char)(b[i] | 0x20) : b[i];

        if (x != y) {
            return false;
        }
    }
    return true;
}

/* Host without trailing dot, path without trailing slashes. */
static void split_endpoint(const char *endpoint, struct text *ret_host,
                           struct text *ret_path)
{
    struct text host = {endpoint, strcspn(endpoint, "/")};
    struct text path = {endpoint + host.len, strlen(endpoint + host.len)};

    if (host.len > 0 && host.ptr[host.len - 1] == '.') {
        host.len--;
    }
    while (path.len > 0 && path.ptr[path.len - 1] == '/') {
        path.len--;
    }
    *ret_host = host;
    *ret_path = path;
}

static bool is_same_endpoint(const char *a, const char *b)
{
    struct text host_a;
    struct text host_b;
    struct text path_a;
    struct text path_b;

    split_endpoint(a, &host_a, &path_a);
    split_endpoint(b, &host_b, &path_b);
    return host_a.len == host_b.len && path_a.len == path_b.len &&
           is_fold_equal(host_a.ptr, host_b.ptr, host_a.len) &&
           memcmp(path_a.ptr, path_b.ptr, path_a.len) == 0;
}

const char *cmd_upstream_endpoint_name(const struct cmd_upstream *u)
{
    return *u->endpoint == '\0' ? "*" : u->endpoint;
}

/* --- without secrets ------------------------------------------------------*/

/* Where a user and a password may begin: behind the scheme or the name. */
static size_t userinfo_start(struct text t)
{
    size_t start = url_start(t);
    struct text url = {t.ptr + start, t.len - start};

    return start + scheme_length(url);
}

/* A password may hold any character when it was not encoded: when an @ comes
 * behind the ? nobody knows which part is the host, and none is shown. */
const char *cmd_url_shown(const char *text, size_t len,
                          char buf[CMD_URL_SHOWN_SIZE])
{
    struct text t = {text, len};
    size_t start = userinfo_start(t);
    size_t host = start;
    size_t end = start;

    while (end < len && text[end] != '?' && text[end] != '#') {
        end++;
        host = text[end - 1] == '@' ? end : host;
    }
    if (end < len && memchr(text + end, '@', len - end) != NULL) {
        host = end = len;
    }
    (void)snprintf(buf, CMD_URL_SHOWN_SIZE, "%.*s%s%.*s%.*s%s",
                   (int)(start < 60 ? start : 60), text,
                   host == start ? ""
                   : host == len ? "..."
                                 : "...@",
                   (int)(end - host < 80 ? end - host : 80), text + host,
                   end < len ? 1 : 0, text + end, end < len ? "..." : "");
    return buf;
}

/* --- one item, again ------------------------------------------------------*/

/* "*" and "*" with a path mean every host, which the library calls "". */
static struct text without_star(struct text endpoint)
{
    if (endpoint.len > 0 && endpoint.ptr[0] == '*' &&
        (endpoint.len == 1 || endpoint.ptr[1] == '/')) {
        endpoint.ptr++;
        endpoint.len--;
    }
    return endpoint;
}

static int out_of_memory(struct cmd_problem *p)
{
    return cmd_problem_set(p, "out of memory");
}

/* Cuts "#ca:FILE" off; *ret_file is NULL when there is none. */
static int cut_ca(char *url, char **ret_file)
{
    char *mark = url == NULL ? NULL : strchr(url, '#');

    *ret_file = NULL;
    if (mark != NULL && strncmp(mark, "#ca:", 4) == 0) {
        *mark = '\0';
        *ret_file = strdup(mark + 4);
        return *ret_file == NULL ? -1 : 0;
    }
    return 0;
}

/* Both strings become the list's, or are freed. */
static int append(struct cmd_upstreams *u, char *endpoint, char *url,
                  size_t line, struct cmd_problem *p)
{
    char *ca_file;
    struct cmd_upstream *items =
        cut_ca(url, &ca_file) != 0 || endpoint == NULL || url == NULL
            ? NULL
            : realloc(u->items, (u->count + 1) * sizeof(*items));

    if (items == NULL) {
        free(endpoint);
        free(url);
        free(ca_file);
        return out_of_memory(p);
    }
    items[u->count] = (struct cmd_upstream){
        .endpoint = endpoint, .url = url, .ca_file = ca_file, .line = line};
    u->items = items;
    u->count++;
    return 0;
}

static char *make_url(struct text t)
{
    const char *scheme = scheme_length(t) > 0 ? "" : "http://";
    size_t len = strlen(scheme);
    char *url = malloc(len + t.len + 1);

    if (url != NULL) {
        memcpy(url, scheme, len);
        memcpy(url + len, t.ptr, t.len);
        url[len + t.len] = '\0';
    }
    return url;
}

static int check_twins(const struct cmd_upstreams *u, struct cmd_problem *p)
{
    const struct cmd_upstream *last = &u->items[u->count - 1];
    const struct cmd_upstream *twin = cmd_upstreams_find(u, last->endpoint);
    char one[CMD_URL_SHOWN_SIZE], other[CMD_URL_SHOWN_SIZE];

    return twin == last
               ? 0
               : cmd_problem_set(
                     p, "two upstreams for %s: %s and %s; keep one",
                     *last->endpoint == '\0' ? "every host" : last->endpoint,
                     cmd_url_shown(twin->url, strlen(twin->url), one),
                     cmd_url_shown(last->url, strlen(last->url), other));
}

static int add_item(struct cmd_upstreams *u, struct text item, size_t line,
                    struct cmd_problem *p)
{
    size_t start = url_start(item);
    struct text name = {item.ptr, start == 0 ? 0 : start - 1};
    struct text url = {item.ptr + start, item.len - start};
    struct text endpoint = without_star(name);
    char shown[CMD_URL_SHOWN_SIZE];

    if (url.len == 0 || (start > 0 && name.len == 0)) {
        return cmd_problem_set(
            p, "'%s' lacks a %s; write URL, HOST=URL or HOST/PATH=URL",
            cmd_url_shown(item.ptr, item.len, shown),
            url.len == 0 ? "URL" : "host");
    }
    if (append(u, strndup(endpoint.ptr, endpoint.len), make_url(url), line,
               p) != 0) {
        return -1;
    }
    return check_twins(u, p);
}

static int add_list(const char *list, struct cmd_upstreams *u, size_t line,
                    struct cmd_problem *p)
{
    struct text rest = {list, strlen(list)};

    for (;;) {
        struct text item;
        size_t taken;

        rest = after_spaces(rest);
        item = (struct text){rest.ptr, item_length(rest)};
        taken = item.len;
        while (item.len > 0 && item.ptr[item.len - 1] == ' ') {
            item.len--;
        }
        if (item.len == 0) {
            char shown[CMD_URL_SHOWN_SIZE];

            return cmd_problem_set(p, "'%s' has an empty item",
                                   cmd_url_shown(list, strlen(list), shown));
        }
        if (add_item(u, item, line, p) != 0) {
            return -1;
        }
        if (taken == rest.len) {
            return 0;
        }
        rest.ptr += taken + 1;
        rest.len -= taken + 1;
    }
}

int cmd_upstreams_add(const char *list, void *upstreams, struct cmd_problem *p)
{
    return add_list(list, upstreams, 0, p);
}

int cmd_upstreams_copy(struct cmd_upstreams *u,
                       const struct cmd_upstreams *from, struct cmd_problem *p)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct cmd_upstream *it = &from->items[i];

        if (append(u, strdup(it->endpoint), strdup(it->url), it->line, p) !=
            0) {
            return -1;
        }
        if (it->ca_file != NULL) {
            char *file = strdup(it->ca_file);

            if (file == NULL) {
                return out_of_memory(p);
            }
            u->items[u->count - 1].ca_file = file;
        }
    }
    return 0;
}

/* --- authorities ----------------------------------------------------------*/

static int read_ca(struct cmd_upstream *u, struct cmd_problem *p)
{
    size_t len;
    int err;

    if (*u->ca_file == '\0') {
        return cmd_problem_set(p, "#ca: names no file");
    }
    if (strncasecmp(u->url, "https://", 8) != 0) {
        return cmd_problem_set(p, "#ca: is for https:// alone");
    }
    if (cmd_file_read(u->ca_file, CMD_UPSTREAMS_CA_MAX, &u->ca, &len, p) != 0) {
        return -1;
    }
    err = inlets_client_check_ca(u->ca);
    return err == 0 ? 0
           : err == INLETS_ENOMEM
               ? out_of_memory(p)
               : cmd_problem_set(
                     p, "%s has no certificate in PEM that can be read",
                     u->ca_file);
}

int cmd_upstreams_read_cas(struct cmd_upstreams *u, struct cmd_problem *p)
{
    for (size_t i = 0; i < u->count; i++) {
        struct cmd_upstream *it = &u->items[i];
        struct cmd_problem inner;
        char shown[CMD_URL_SHOWN_SIZE];

        if (it->ca_file != NULL && it->ca == NULL && read_ca(it, &inner) != 0) {
            return cmd_problem_set(
                p, "the upstream %s=%s: %.400s", cmd_upstream_endpoint_name(it),
                cmd_url_shown(it->url, strlen(it->url), shown), inner.text);
        }
    }
    return 0;
}

bool cmd_upstream_is_same(const struct cmd_upstream *a,
                          const struct cmd_upstream *b)
{
    return strcmp(a->url, b->url) == 0 && (a->ca == NULL) == (b->ca == NULL) &&
           (a->ca == NULL || strcmp(a->ca, b->ca) == 0);
}

const struct cmd_upstream *cmd_upstreams_find(const struct cmd_upstreams *u,
                                              const char *endpoint)
{
    for (size_t i = 0; i < u->count; i++) {
        if (is_same_endpoint(u->items[i].endpoint, endpoint)) {
            return &u->items[i];
        }
    }
    return NULL;
}

/* --- a file ---------------------------------------------------------------*/

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* line has len bytes and a NUL, and is cut at its end. */
static int add_line(char *line, size_t len, size_t number,
                    struct cmd_upstreams *u, struct cmd_problem *p)
{
    if (strlen(line) != len) {
        return cmd_problem_set(p, "a NUL byte");
    }
    while (len > 0 && is_blank(line[len - 1])) {
        line[--len] = '\0';
    }
    while (is_blank(*line)) {
        line++;
    }
    return *line == '\0' || *line == '#' ? 0 : add_list(line, u, number, p);
}

/* text has len bytes and a NUL, and is cut into lines. */
static int read_lines(char *text, size_t len, const char *path,
                      struct cmd_upstreams *u, struct cmd_problem *p)
{
    struct cmd_problem inner;
    char *end = text + len;

    for (size_t number = 1; text < end; number++) {
        char *newline = memchr(text, '\n', (size_t)(end - text));
        char *line = text;

        if (newline == NULL) {
            newline = end;
        }
        *newline = '\0';
        text = newline + 1;
        if (add_line(line, (size_t)(newline - line), number, u, &inner) != 0) {
            return cmd_problem_set(p, "%s, line %zu: %.500s", path, number,
                                   inner.text);
        }
    }
    return 0;
}

int cmd_upstreams_read(const char *path, struct cmd_upstreams *u,
                       struct cmd_problem *p)
{
    size_t len;
    char *text;
    int rc;

    if (cmd_file_read(path, CMD_UPSTREAMS_FILE_MAX, &text, &len, p) != 0) {
        return -1;
    }
    rc = read_lines(text, len, path, u, p);
    free(text);
    return rc;
}

void cmd_upstreams_fini(struct cmd_upstreams *u)
{
    for (size_t i = 0; i < u->count; i++) {
        free(u->items[i].endpoint);
        free(u->items[i].url);
        free(u->items[i].ca_file);
        free(u->items[i].ca);
    }
    free(u->items);
    *u = (struct cmd_upstreams){0};
}
