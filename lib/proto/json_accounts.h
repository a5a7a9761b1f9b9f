/* json_accounts.h: the accounts file: JSON (RFC 8259), by jansson.
 *
 *   {"accounts": {"alice": {
 *       "tokens": ["sha256:HEX", "sha256:HEX"],
 *       "password": "$y$...",
 *       "hosts": ["app.example.com", "*.dev.example.com", "example.com/api"],
 *       "networks": ["192.0.2.0/24"],
 *       "certificates": ["sha256:HEX"],
 *       "expires": "2027-01-31T00:00:00Z",
 *       "sessions": 2, "streams": 100, "streams_per_second": 50}}}
 *
 * All but "hosts" may be left out. A member that is not known is an error: a
 * limit with a slip of the pen must not be no limit. */
#ifndef INL_PROTO_JSON_ACCOUNTS_H
#define INL_PROTO_JSON_ACCOUNTS_H

#include "base/cidr.h"
#include "base/url.h"
#include "proto/crypto.h"
#include "proto/password.h"

/* Each handshake is compared with every token. */
#define INL_ACCOUNTS_MAX 4096u
#define INL_ACCOUNT_NAME_MAX 64u
/* One that is in use, and one that takes its place. */
#define INL_ACCOUNT_TOKENS 2u
#define INL_ACCOUNT_CERTIFICATES 8u
#define INL_ACCOUNT_HOSTS_MAX 256u
#define INL_ACCOUNT_NETWORKS_MAX 64u
/* Of a sentence that says what is wrong, with NUL. */
#define INL_ACCOUNT_WHY 200u

struct json_t;

/* One account. The strings belong to the document, or, of one that is to be
 * added, to the caller. */
struct inl_account_entry {
    const char *name;
    uint8_t tokens[INL_ACCOUNT_TOKENS][INL_SHA256_LEN]; /* the newest first */
    size_t ntokens;
    const char *password; /* its hash, in crypt(5)'s notation; NULL: none */
    uint8_t password_proof[INL_SHA256_LEN]; /* digest of the hash */
    uint8_t certificates[INL_ACCOUNT_CERTIFICATES][INL_SHA256_LEN];
    size_t ncertificates; /* 0: none is needed */
    const char **hosts;   /* as written */
    struct inl_endpoint *endpoints;
    size_t nhosts;
    const char **networks;
    size_t nnetworks;
    struct inl_cidr_set from;
    const char *expires;                            /* NULL: never */
    int64_t expires_s;                              /* INT64_MAX: never */
    uint32_t sessions, streams, streams_per_second; /* 0: no limit */
};

/* All zero: none. Owns what it points to. */
struct inl_account_doc {
    struct json_t *root;
    struct inl_account_entry *entries; /* in the file's order */
    size_t n;
};

/* An empty text is a document without accounts. INLETS_EINVAL with a sentence,
 * or INLETS_ENOMEM. */
int inl_account_doc_parse(struct inl_account_doc *ret_doc,
                          struct inlets_slice text, char why[INL_ACCOUNT_WHY]);
void inl_account_doc_fini(struct inl_account_doc *doc);
/* NUL-terminated; freed by inl_account_doc_free_text. NULL: out of memory. */
char *inl_account_doc_print(const struct inl_account_doc *doc);
void inl_account_doc_free_text(char *text);

/* NULL: there is none. */
const struct inl_account_entry *
inl_account_doc_find(const struct inl_account_doc *doc, const char *name);

/* Of `entry`: the texts, the limits and the tokens. Errors: INLETS_ECONFLICT,
 * INLETS_EINVAL, INLETS_ENOMEM; the document is what it was. */
int inl_account_doc_add(struct inl_account_doc *doc,
                        const struct inl_account_entry *entry,
                        char why[INL_ACCOUNT_WHY]);
/* INLETS_ENOROUTE: there is none of that name; INLETS_ENOMEM: the document can
 * only be ended. */
int inl_account_doc_remove(struct inl_account_doc *doc, const char *name);
int inl_account_doc_rotate(struct inl_account_doc *doc, const char *name,
                           bool drop_old, const uint8_t token[INL_SHA256_LEN]);
/* hash: as inl_password_hash makes it. Errors as for rotate. */
int inl_account_doc_set_password(struct inl_account_doc *doc, const char *name,
                                 const char *hash);

#endif
