/* json_jwt.h: signed tokens of others (JWT, RFC 7519; JWS, RFC 7515) and the
 * keys that they are signed with (JWK, RFC 7517), by jansson. RS256 and ES256,
 * and nothing else; RFC 8725's advice is followed. */
#ifndef INL_PROTO_JSON_JWT_H
#define INL_PROTO_JSON_JWT_H

#include "proto/crypto.h"

/* Of one issuer. */
#define INL_JWK_MAX 32u
/* An RSAPublicKey of INL_RSA_BITS_MAX, and a little. */
#define INL_JWK_KEY_MAX 544u
/* The longest that a client of ours shows; most are of 1 to 2 KiB. */
#define INL_JWT_MAX 8192u
/* So many signatures a stranger may have us compute by one token, when it does
 * not say which key it is signed with, or some have one name. */
#define INL_JWT_TRIES 4u
#define INL_JWT_SKEW_S 60

struct json_t;

struct inl_jwk {
    enum inl_signature kind;
    const char *kid; /* the document's; NULL: none */
    size_t len;
    uint8_t key[INL_JWK_KEY_MAX];
};

/* Who makes tokens, and for whom. The texts are a document's. */
struct inl_jwt_issuer {
    const char *name;     /* ours for it */
    const char *issuer;   /* "iss" */
    const char *audience; /* in "aud" */
    const char *jwks;    /* a file with the keys; NULL: the document has them */
    struct json_t *more; /* what such a file says; owned; NULL: nothing yet */
    struct inl_jwk *keys; /* owned */
    size_t nkeys;
};

/* A JWK Set's "keys": those for signatures of the two kinds. Others are passed
 * over, as RFC 7517 5 asks. *ret_keys, owned, is NULL if there are none.
 * INLETS_EINVAL: not an array of objects, more than INL_JWK_MAX, or one of the
 * two kinds is no key; with a sentence. INLETS_ENOMEM. */
int inl_jwk_read(const struct json_t *keys, struct inl_jwk **ret_keys,
                 size_t *ret_n, const char **ret_why);

/* Does it look like one: three parts, however long? */
bool inl_jwt_is(struct inlets_slice text);
/* Its claims, if it is signed by one of the issuers for us and valid now; the
 * caller ends them with inl_jwt_free. Else NULL and why: for a log, not for who
 * has shown it. */
struct json_t *inl_jwt_verify(struct inlets_slice token,
                              const struct inl_jwt_issuer *issuers, size_t n,
                              int64_t now_s,
                              const struct inl_jwt_issuer **ret_issuer,
                              const char **ret_why);
void inl_jwt_free(struct json_t *claims);
/* When it is not valid any more, in seconds since 1970. */
int64_t inl_jwt_until_s(const struct json_t *claims);
/* Is it a name that can be looked for: any, or a JSON Pointer that is one? */
bool inl_jwt_is_claim(const char *name);
/* Are the claims what the rule's members say? A name that begins with / is a
 * JSON Pointer (RFC 6901); a value that ends in * is a beginning. The member
 * "issuer" is not looked at. */
bool inl_jwt_matches(const struct json_t *claims, const struct json_t *rule);

#endif
