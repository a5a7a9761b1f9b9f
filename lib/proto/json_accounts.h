/* json_accounts.h: the accounts file: JSON (RFC 8259), by jansson.
 *
 *   {"accounts": {"alice": {
 *       "tokens": ["sha256:HEX", "sha256:HEX"],
 *       "password": "$y$...",
 *       "hosts": ["app.example.com", "*.dev.example.com", "example.com/api"],
 *       "networks": ["192.0.2.0/24"],
 *       "certificates": ["sha256:HEX"],
 *       "expires": "2027-01-31T00:00:00Z",
 *       "sessions": 2, "streams": 100, "streams_per_second": 50,
 *       "claims": [{"issuer": "github", "sub": "repo:alice/app:*"}]}},
 *    "issuers": {"github": {
 *       "issuer": "https://token.actions.githubusercontent.com",
 *       "audience": "inlets",
 *       "keys": [{"kty": "RSA", "kid": "1", "n": "...", "e": "AQAB"}]},
 *     "pods": {"issuer": "...", "audience": "...", "jwks": "pods.json"}}}
 *
 * Claims (json_jwt.h): tokens of that issuer which say all that a rule says are
 * the account's; the first account in the file whose rule fits has them. An
 * issuer has its keys here or in a file of their own, as it publishes them; it
 * may be there twice, for two audiences; of a token for both it is the
 * first that counts. All but "hosts" may be left out. A member that is not
 * known is an error: a limit with a slip of the pen must not be no limit. */
#ifndef INL_PROTO_JSON_ACCOUNTS_H
#define INL_PROTO_JSON_ACCOUNTS_H

#include "base/cidr.h"
#include "base/url.h"
#include "proto/crypto.h"
#include "proto/json_jwt.h"
#include "proto/password.h"

/* Each handshake is compared with every token. */
#define INL_ACCOUNTS_MAX 4096u
#define INL_ACCOUNT_NAME_MAX 64u
/* One that is in use, and one that takes its place. */
#define INL_ACCOUNT_TOKENS 2u
#define INL_ACCOUNT_CERTIFICATES 8u
#define INL_ACCOUNT_RULES 16u /* about claims */
#define INL_ACCOUNT_ISSUERS 16u
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
    const struct json_t *claims;            /* an array of rules; NULL: none */
    uint8_t claims_proof[INL_SHA256_LEN];   /* of the rules and their issuers */
    /* Of one that is to be added: a rule. NULL: none. */
    const char *rule_issuer;
    const char *const *rule_claims; /* "sub=VALUE" */
    size_t nrule_claims;
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
    struct inl_jwt_issuer *issuers;
    size_t nissuers;
};

/* An empty text is a document without accounts. INLETS_EINVAL with a sentence,
 * or INLETS_ENOMEM. */
int inl_account_doc_parse(struct inl_account_doc *ret_doc,
                          struct inlets_slice text, char why[INL_ACCOUNT_WHY]);
void inl_account_doc_fini(struct inl_account_doc *doc);
/* NUL-terminated; freed by inl_account_doc_free_text. NULL: out of memory. */
char *inl_account_doc_print(const struct inl_account_doc *doc);
void inl_account_doc_free_text(char *text);

/* How many rules about claims it has. */
size_t inl_account_entry_nrules(const struct inl_account_entry *entry);

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
/* A new issuer, or another of that name. keys: a JWK Set (RFC 7517 5), or its
 * array. INLETS_EINVAL with a sentence, INLETS_ENOMEM; the document is what it
 * was. */
int inl_account_doc_set_issuer(struct inl_account_doc *doc, const char *name,
                               const char *issuer, const char *audience,
                               struct inlets_slice keys,
                               char why[INL_ACCOUNT_WHY]);

/* The keys of the issuer of that index which has them in a file: what is in it.
 * Tokens are refused before. They are not printed, and to be loaded anew when
 * the document has changed. Errors as above; the keys are what they were. */
int inl_account_doc_load_keys(struct inl_account_doc *doc, size_t index,
                              struct inlets_slice keys,
                              char why[INL_ACCOUNT_WHY]);

/* Whose is this token (JWT), at this time, and until when? NULL and why: for
 * the log. */
const struct inl_account_entry *
inl_account_doc_by_jwt(const struct inl_account_doc *doc,
                       struct inlets_slice token, int64_t now_s,
                       int64_t *ret_until_s, const char **ret_why);

#endif
