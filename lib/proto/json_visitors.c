/* json_visitors.c: see json_visitors.h.
 *
 * jansson does not say where in the text a value was; so that a sentence can
 * name the line, what is known to be JSON is walked through once more. */
#include "proto/json_visitors.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "proto/plain_path.h"
#include <inlets/err.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#define DIGEST_PREFIX "sha256:"
#define LIMIT_MAX 1000000
/* 1 TiB: more is a slip of the pen. */
#define BODY_MAX ((json_int_t)1 << 40)

/* A rule that is being read. */
struct reading {
    struct inl_visitors_entry *entry;
    struct inlets_slice text;
    size_t index;
    char *why;
};

/* ---- what is wrong ------------------------------------------------------ */

/* The line on which the index-th rule begins: the index-th brace at the second
 * level, which is the array of the only member. */
static unsigned line_of(struct inlets_slice text, size_t index)
{
    unsigned line = 1;
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        line += c == '\n';
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            if (depth++ == 2 && index-- == 0) {
                return line;
            }
        } else if (!quoted && (c == '}' || c == ']')) {
            depth--;
        }
    }
    return line;
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct reading *r,
                                                        const char *format, ...)
{
    const char *host = r->entry->host;
    va_list args;
    int n = snprintf(r->why, INL_VISITORS_WHY,
                     "line %u: rule %zu%s%.60s%s: ", line_of(r->text, r->index),
                     r->index + 1, host == NULL ? "" : " (",
                     host == NULL ? "" : host, host == NULL ? "" : ")");

    va_start(args, format);
    (void)vsnprintf(r->why + n, INL_VISITORS_WHY - (size_t)n, format, args);
    va_end(args);
    return INLETS_EINVAL;
}

/* ---- members ------------------------------------------------------------ */

static int read_host(const struct reading *r, json_t *value)
{
    struct inl_visitors_entry *e = r->entry;
    const char *host = json_string_value(value);
    char *plain;

    if (host == NULL || *host == '\0' ||
        inl_endpoint_parse(inl_str(host), &e->endpoint) != 0) {
        return refuse(r, "host: not like app.example.com, *.example.com, "
                         "example.com/api or *");
    }
    e->host = host;
    if (e->endpoint.path.len > INL_VISITORS_PATH_MAX ||
        !inl_is_plain_path(e->endpoint.path)) {
        return refuse(r, "host: the path has to be in plain characters, "
                         "without . and .. as segments, // and ;");
    }
    plain = inl_malloc(e->endpoint.path.len + 1);
    if (plain == NULL) {
        return INLETS_ENOMEM;
    }
    e->plain = inl_slice(plain, inl_plain_path(e->endpoint.path, plain));
    return 0;
}

static bool read_digest(const json_t *value, uint8_t digest[INL_SHA256_LEN])
{
    static const struct inlets_slice prefix = {DIGEST_PREFIX,
                                               sizeof(DIGEST_PREFIX) - 1};
    struct inlets_slice text = inl_str(json_string_value(value));

    return inl_slice_starts(text, prefix) &&
           inl_hex_decode(inl_slice_from(text, prefix.len), digest,
                          INL_SHA256_LEN);
}

/* What is there is not repeated: it may be a token. */
static int read_tokens(const struct reading *r, json_t *value)
{
    struct inl_visitors_entry *e = r->entry;
    size_t n = json_array_size(value);

    if (!json_is_array(value) || n == 0 || n > INL_VISITORS_TOKENS_MAX) {
        return refuse(r, "tokens: not a list of one to %u digests",
                      INL_VISITORS_TOKENS_MAX);
    }
    e->tokens = inl_calloc(n, sizeof(*e->tokens));
    if (e->tokens == NULL) {
        return INLETS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        if (!read_digest(json_array_get(value, i), e->tokens[i])) {
            return refuse(r, "tokens: not " DIGEST_PREFIX
                             " and 64 hexadecimal digits in lower case, the "
                             "SHA-256 of a token");
        }
    }
    e->ntokens = n;
    return 0;
}

static int read_ranges(const struct reading *r, const char *name, json_t *value,
                       struct inl_cidr_set *set)
{
    size_t n = json_array_size(value);
    int err = 0;

    if (!json_is_array(value) || n == 0 || n > INL_CIDR_SET_MAX) {
        return refuse(r, "%s: not a list of one to %u addresses", name,
                      INL_CIDR_SET_MAX);
    }
    for (size_t i = 0; err == 0 && i < n; i++) {
        const char *text = json_string_value(json_array_get(value, i));
        struct inl_cidr range;

        if (text == NULL || !inl_cidr_parse(inl_str(text), &range)) {
            return refuse(r,
                          "%s: '%.60s' is not like 192.0.2.0/24 or "
                          "2001:db8::/32",
                          name, text == NULL ? "" : text);
        }
        err = inl_cidr_set_add(set, inl_str(text), NULL);
    }
    return err;
}

static int read_number(const struct reading *r, const char *name, json_t *value,
                       json_int_t most, uint64_t *ret)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 1 || n > most) {
        return refuse(r, "%s: not a whole number from 1 to %lld", name,
                      (long long)most);
    }
    *ret = (uint64_t)n;
    return 0;
}

static int read_limit(const struct reading *r, const char *name, json_t *value)
{
    struct inl_visitors_entry *e = r->entry;
    const struct {
        const char *name;
        uint32_t *at;
    } rows[] = {
        {"requests_per_second", &e->per_second},
        {"burst", &e->burst},
        {"requests_per_second_per_address", &e->per_second_each},
        {"burst_per_address", &e->burst_each},
        {"concurrent", &e->concurrent},
        {"concurrent_per_address", &e->concurrent_each},
    };
    uint64_t n;
    int err;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            err = read_number(r, name, value, LIMIT_MAX, &n);
            *rows[i].at = err == 0 ? (uint32_t)n : 0;
            return err;
        }
    }
    return refuse(r, "'%.40s' is not known here", name);
}

static int read_member(const struct reading *r, const char *name, json_t *value)
{
    struct inl_visitors_entry *e = r->entry;

    if (strcmp(name, "host") == 0) {
        return 0; /* it was the first */
    }
    if (strcmp(name, "tokens") == 0) {
        return read_tokens(r, value);
    }
    if (strcmp(name, "allow") == 0) {
        return read_ranges(r, name, value, &e->allow);
    }
    if (strcmp(name, "deny") == 0) {
        return read_ranges(r, name, value, &e->deny);
    }
    if (strcmp(name, "max_body") == 0) {
        return read_number(r, name, value, BODY_MAX, &e->max_body);
    }
    return read_limit(r, name, value);
}

/* ---- rules -------------------------------------------------------------- */

/* A burst alone limits nothing; a rate alone is a second's worth at once. */
static int settle_burst(const struct reading *r, const char *suffix,
                        uint32_t rate, uint32_t *burst)
{
    if (*burst > 0 && rate == 0) {
        return refuse(r, "burst%s: it needs requests_per_second%s", suffix,
                      suffix);
    }
    *burst = *burst == 0 ? rate : *burst;
    return 0;
}

static int read_entry(const struct reading *r, json_t *rule)
{
    struct inl_visitors_entry *e = r->entry;
    const char *name;
    json_t *value;
    int err;

    if (!json_is_object(rule)) {
        return refuse(r, "not an object");
    }
    err = read_host(r, json_object_get(rule, "host"));
    if (err == 0 && json_object_size(rule) == 1) {
        err = refuse(r, "it says nothing but its host");
    }
    json_object_foreach(rule, name, value)
    {
        err = err == 0 ? read_member(r, name, value) : err;
    }
    if (err == 0) {
        err = settle_burst(r, "", e->per_second, &e->burst);
    }
    return err != 0 ? err
                    : settle_burst(r, "_per_address", e->per_second_each,
                                   &e->burst_each);
}

static bool are_same(const struct inl_visitors_entry *a,
                     const struct inl_visitors_entry *b)
{
    return a->endpoint.wildcard == b->endpoint.wildcard &&
           strcmp(a->endpoint.host, b->endpoint.host) == 0 &&
           inl_slice_eq(a->plain, b->plain);
}

/* Which of the two would apply? */
static int check_twice(const struct reading *r,
                       const struct inl_visitors_entry *first)
{
    for (size_t i = 0; i < r->index; i++) {
        if (are_same(&first[i], r->entry)) {
            return refuse(r, "rule %zu is for this host and path already",
                          i + 1);
        }
    }
    return 0;
}

static int read_entries(struct inl_visitors_doc *doc, struct inlets_slice text,
                        char *why)
{
    json_t *rules = json_object_get(doc->root, "visitors");
    size_t n = json_array_size(rules);
    int err = 0;

    if (!json_is_array(rules) || json_object_size(doc->root) != 1 ||
        n > INL_VISITORS_MAX) {
        (void)snprintf(why, INL_VISITORS_WHY,
                       "not like {\"visitors\": [{\"host\": ...}]}, with at "
                       "most %u rules",
                       INL_VISITORS_MAX);
        return INLETS_EINVAL;
    }
    doc->entries = inl_calloc(n + 1, sizeof(*doc->entries));
    if (doc->entries == NULL) {
        return INLETS_ENOMEM;
    }
    for (size_t i = 0; err == 0 && i < n; i++) {
        struct reading r = {&doc->entries[i], text, i, why};

        doc->n++;
        err = read_entry(&r, json_array_get(rules, i));
        if (err == 0) {
            err = check_twice(&r, doc->entries);
        }
    }
    return err;
}

int inl_visitors_doc_parse(struct inl_visitors_doc *ret_doc,
                           struct inlets_slice text, char why[INL_VISITORS_WHY])
{
    struct inl_visitors_doc doc = {NULL, NULL, 0};
    json_error_t problem = {.line = 0};
    int err;

    doc.root = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len,
                          JSON_REJECT_DUPLICATES, &problem);
    if (doc.root == NULL &&
        json_error_code(&problem) == json_error_out_of_memory) {
        return INLETS_ENOMEM;
    }
    if (doc.root == NULL) {
        /* jansson's words would repeat what is there, and that may be a
         * secret. */
        (void)snprintf(why, INL_VISITORS_WHY,
                       "line %d, column %d: not JSON, or a name twice",
                       problem.line, problem.column);
        return INLETS_EINVAL;
    }
    err = read_entries(&doc, text, why);
    if (err != 0) {
        inl_visitors_doc_fini(&doc);
        return err;
    }
    *ret_doc = doc;
    return 0;
}

void inl_visitors_doc_fini(struct inl_visitors_doc *doc)
{
    for (size_t i = 0; i < doc->n; i++) {
        struct inl_visitors_entry *e = &doc->entries[i];

        inl_free((void *)(uintptr_t)e->plain.ptr);
        inl_free(e->tokens);
        inl_cidr_set_fini(&e->allow);
        inl_cidr_set_fini(&e->deny);
    }
    inl_free(doc->entries);
    json_decref(doc->root);
    *doc = (struct inl_visitors_doc){NULL, NULL, 0};
}
