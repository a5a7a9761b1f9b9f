/* upstreams.c: see upstreams.h. Hosts and URLs are checked by the library;
 * here a list is taken apart, and twins are found while both are at hand. */
#include "common/upstreams.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

/* The length of "scheme://" at the beginning, or 0 (RFC 3986 section 3.1). */
static size_t scheme_length(struct text t)
{
    size_t n = 0;

    if (t.len == 0 || !is_alpha(t.ptr[0])) {
        return 0;
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

enum part { PART_AUTHORITY, PART_PATH, PART_QUERY };

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

        if (c == ',' &&
            (in == PART_AUTHORITY || begins_item(after_spaces(rest), in))) {
            break;
        }
        if (c == '?') {
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

/* Both strings become the list's, or are freed. */
static int append(struct cmd_upstreams *u, char *endpoint, char *url,
                  struct cmd_problem *p)
{
    struct cmd_upstream *items =
        endpoint == NULL || url == NULL
            ? NULL
            : realloc(u->items, (u->count + 1) * sizeof(*items));

    if (items == NULL) {
        free(endpoint);
        free(url);
        return out_of_memory(p);
    }
    items[u->count] = (struct cmd_upstream){endpoint, url};
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

    for (const struct cmd_upstream *it = u->items; it < last; it++) {
        if (is_same_endpoint(it->endpoint, last->endpoint)) {
            return cmd_problem_set(
                p, "two upstreams for %s: %s and %s; keep one",
                *last->endpoint == '\0' ? "every host" : last->endpoint,
                it->url, last->url);
        }
    }
    return 0;
}

static int add_item(struct cmd_upstreams *u, struct text item,
                    struct cmd_problem *p)
{
    size_t start = url_start(item);
    struct text name = {item.ptr, start == 0 ? 0 : start - 1};
    struct text url = {item.ptr + start, item.len - start};
    struct text endpoint = without_star(name);

    if (url.len == 0 || (start > 0 && name.len == 0)) {
        return cmd_problem_set(
            p, "'%.*s' lacks a %s; write URL, HOST=URL or HOST/PATH=URL",
            (int)item.len, item.ptr, url.len == 0 ? "URL" : "host");
    }
    if (append(u, strndup(endpoint.ptr, endpoint.len), make_url(url), p) != 0) {
        return -1;
    }
    return check_twins(u, p);
}

int cmd_upstreams_add(const char *list, void *upstreams, struct cmd_problem *p)
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
            return cmd_problem_set(p, "'%s' has an empty item", list);
        }
        if (add_item(upstreams, item, p) != 0) {
            return -1;
        }
        if (taken == rest.len) {
            return 0;
        }
        rest.ptr += taken + 1;
        rest.len -= taken + 1;
    }
}

void cmd_upstreams_fini(struct cmd_upstreams *u)
{
    for (size_t i = 0; i < u->count; i++) {
        free(u->items[i].endpoint);
        free(u->items[i].url);
    }
    free(u->items);
    *u = (struct cmd_upstreams){0};
}
