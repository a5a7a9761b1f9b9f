/* json_visitors.h: the visitors file: JSON (RFC 8259), by jansson.
 *
 *   {"visitors": [{
 *       "host": "app.example.com/admin",
 *       "tokens": ["sha256:HEX"],
 *       "allow": ["192.0.2.0/24"], "deny": ["192.0.2.7"],
 *       "requests_per_second": 10, "burst": 20,
 *       "requests_per_second_per_address": 2, "burst_per_address": 5,
 *       "concurrent": 50, "concurrent_per_address": 5,
 *       "max_body": 1048576}]}
 *
 * A rule has a host, written as in the accounts file, and at least one other
 * member. One that is not known is an error, as is a limit of 0 and a list of
 * nothing: what has a slip of the pen must not let everybody in. */
#ifndef INL_PROTO_JSON_VISITORS_H
#define INL_PROTO_JSON_VISITORS_H

#include "base/cidr.h"
#include "base/url.h"
#include "proto/crypto.h"

/* Each request looks at the rules of its host only. */
#define INL_VISITORS_MAX 4096u
/* A token that is shown is compared with every one of its rule. */
#define INL_VISITORS_TOKENS_MAX 256u
#define INL_VISITORS_PATH_MAX 1024u
/* Of a sentence that says what is wrong, with NUL. */
#define INL_VISITORS_WHY 200u

struct json_t;

/* One rule. What it points to belongs to the document. */
struct inl_visitors_entry {
    const char *host; /* as written */
    struct inl_endpoint endpoint;
    struct inlets_slice plain; /* endpoint.path by proto/plain_path.h */
    uint8_t (*tokens)[INL_SHA256_LEN];
    size_t ntokens;             /* 0: none is needed */
    struct inl_cidr_set allow;  /* empty: all */
    struct inl_cidr_set deny;   /* goes first */
    uint32_t per_second, burst; /* requests; 0: no limit, as all below */
    uint32_t per_second_each, burst_each; /* of one address */
    uint32_t concurrent, concurrent_each;
    uint64_t max_body;
};

/* All zero: no rules. Owns what it points to. */
struct inl_visitors_doc {
    struct json_t *root;
    struct inl_visitors_entry *entries; /* in the file's order */
    size_t n;
};

/* INLETS_EINVAL with a sentence that begins with the line, or INLETS_ENOMEM. An
 * empty text is no document. */
int inl_visitors_doc_parse(struct inl_visitors_doc *ret_doc,
                           struct inlets_slice text,
                           char why[INL_VISITORS_WHY]);
void inl_visitors_doc_fini(struct inl_visitors_doc *doc);

#endif
