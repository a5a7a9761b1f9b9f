/* json_jwt.c: see json_jwt.h.
 *
 * The order is: shape, algorithm, issuer, audience, times, and only then the
 * signature, so that what is not for us costs no arithmetic; nothing of a token
 * is believed, and nothing is handed on, before its signature is right.
 *
 * Measured with a release build (Mbed TLS 3.6, a core of an AMD EPYC): by RS256
 * 0.06 ms with 2048 bits and 0.34 ms with 4096, by ES256 0.8 ms; 0.004 ms for
 * what is refused before.
 *
 * Failure: whatever is odd is refused, also what runs out of memory. */
#include "proto/json_jwt.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <jansson.h>
#include <string.h>

#define INTEGER_MAX (INL_RSA_BITS_MAX / 8)
/* Of a name in a JSON Pointer, with NUL. */
#define STEP_SIZE 256u
/* Seconds since 1970 that a double still counts one by one. */
#define DATE_MAX 9007199254740992.0

/* ---- keys --------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

/* The bytes of a member in base64url; 0: there are none, or too many. */
static size_t bytes_of(const json_t *object, const char *name, uint8_t *out,
                       size_t size)
{
    int64_t n = inl_base64url_decode(inl_str(text_of(object, name)), out, size);

    return n < 0 ? 0 : (size_t)n;
}

/* DER's header of something with n bytes; returns how long it is. */
static size_t put_header(uint8_t *at, uint8_t tag, size_t n)
{
    at[0] = tag;
    if (n < 0x80) {
        at[1] = (uint8_t)n;
        return 2;
    }
    if (n < 0x100) {
        at[1] = 0x81;
        at[2] = (uint8_t)n;
        return 3;
    }
    at[1] = 0x82;
    at[2] = (uint8_t)(n >> 8);
    at[3] = (uint8_t)n;
    return 4;
}

/* INTEGER, positive; returns how long it is. */
static size_t put_integer(uint8_t *at, const uint8_t *bytes, size_t n)
{
    size_t pad = bytes[0] >= 0x80, len;

    len = put_header(at, 0x02, n + pad);
    at[len] = 0;
    memcpy(at + len + pad, bytes, n);
    return len + pad + n;
}

/* RFC 7518 6.3.1; without leading zeros. */
static bool read_rsa(const json_t *jwk, struct inl_jwk *key)
{
    uint8_t n[INTEGER_MAX], e[8], body[2 * sizeof(n)];
    size_t n_len = bytes_of(jwk, "n", n, sizeof(n));
    size_t e_len = bytes_of(jwk, "e", e, sizeof(e)), len, at;

    if (n_len == 0 || e_len == 0 || n[0] == 0 || e[0] == 0) {
        return false;
    }
    len = put_integer(body, n, n_len);
    len += put_integer(body + len, e, e_len);
    if (len + 4 > sizeof(key->key)) {
        return false;
    }
    at = put_header(key->key, 0x30, len);
    memcpy(key->key + at, body, len);
    key->len = at + len;
    return true;
}

/* RFC 7518 6.2.1 */
static bool read_ec(const json_t *jwk, struct inl_jwk *key)
{
    key->key[0] = 4; /* uncompressed */
    key->len = INL_ES256_KEY_LEN;
    return bytes_of(jwk, "x", key->key + 1, 32) == 32 &&
           bytes_of(jwk, "y", key->key + 33, 32) == 32;
}

static bool is_or_none(const json_t *object, const char *name,
                       const char *value)
{
    return json_object_get(object, name) == NULL ||
           strcmp(text_of(object, name), value) == 0;
}

/* RFC 7517 4.3 */
static bool may_verify(const json_t *jwk)
{
    const json_t *ops = json_object_get(jwk, "key_ops");

    for (size_t i = 0; i < json_array_size(ops); i++) {
        const char *op = json_string_value(json_array_get(ops, i));

        if (op != NULL && strcmp(op, "verify") == 0) {
            return true;
        }
    }
    return ops == NULL;
}

/* Is it for one of our two kinds of signatures? */
static bool is_for_us(const json_t *jwk, enum inl_signature *ret_kind)
{
    if (!is_or_none(jwk, "use", "sig") || !may_verify(jwk)) {
        return false;
    }
    if (strcmp(text_of(jwk, "kty"), "RSA") == 0) {
        *ret_kind = INL_RS256;
        return is_or_none(jwk, "alg", "RS256");
    }
    *ret_kind = INL_ES256;
    return strcmp(text_of(jwk, "kty"), "EC") == 0 &&
           strcmp(text_of(jwk, "crv"), "P-256") == 0 &&
           is_or_none(jwk, "alg", "ES256");
}

/* One with its private half (RFC 7518 6.2.2.1, 6.3.2.1) is not for this file,
 * and anybody's by now. */
static bool read_key(const json_t *jwk, struct inl_jwk *key)
{
    key->kid = json_string_value(json_object_get(jwk, "kid"));
    return json_object_get(jwk, "d") == NULL &&
           (key->kind == INL_RS256 ? read_rsa(jwk, key) : read_ec(jwk, key)) &&
           inl_is_public_key(key->kind, inl_slice(key->key, key->len));
}

int inl_jwk_read(const json_t *keys, struct inl_jwk **ret_keys, size_t *ret_n,
                 const char **ret_why)
{
    size_t n = json_array_size(keys), kept = 0;
    struct inl_jwk *list;

    *ret_keys = NULL;
    *ret_n = 0;
    if (!json_is_array(keys) || n > INL_JWK_MAX) {
        *ret_why = "not a list of at most 32 keys";
        return INLETS_EINVAL;
    }
    list = inl_calloc(n + 1, sizeof(*list));
    if (list == NULL) {
        return INLETS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *jwk = json_array_get(keys, i);

        if (is_for_us(jwk, &list[kept].kind)) {
            if (!read_key(jwk, &list[kept])) {
                inl_free(list);
                *ret_why = "one is no public key of RSA (2048 to 4096 bits) or "
                           "P-256";
                return INLETS_EINVAL;
            }
            kept++;
        }
    }
    if (kept == 0) {
        inl_free(list);
        *ret_why = "none is for signatures by RS256 or ES256";
        return INLETS_EINVAL;
    }
    *ret_keys = list;
    *ret_n = kept;
    return 0;
}

/* ---- tokens ------------------------------------------------------------- */

/* Its parts: slices of the token. */
struct parts {
    struct inlets_slice header, payload, signature, signed_text;
};

static bool split(struct inlets_slice token, struct parts *p)
{
    size_t first = inl_slice_find(token, '.'), second;
    struct inlets_slice rest;

    if (first == token.len) {
        return false;
    }
    rest = inl_slice_from(token, first + 1);
    second = inl_slice_find(rest, '.');
    if (second == rest.len) {
        return false;
    }
    p->header = inl_slice(token.ptr, first);
    p->payload = inl_slice(rest.ptr, second);
    p->signature = inl_slice_from(rest, second + 1);
    p->signed_text = inl_slice(token.ptr, first + 1 + second);
    return p->header.len > 0 && p->payload.len > 0 &&
           inl_slice_find(p->signature, '.') == p->signature.len;
}

bool inl_jwt_is(struct inlets_slice text)
{
    struct parts parts;

    return split(text, &parts);
}

/* An object in base64url; NULL: it is none. */
static json_t *decode(struct inlets_slice part)
{
    uint8_t text[INL_JWT_MAX / 4 * 3];
    int64_t n = inl_base64url_decode(part, text, sizeof(text));
    json_t *value = n <= 0 ? NULL
                           : json_loadb((const char *)text, (size_t)n,
                                        JSON_REJECT_DUPLICATES, NULL);

    inl_wipe(text, sizeof(text));
    if (!json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* RFC 8725 3.11: what was made for another purpose, like a logout token, says
 * so. Most say JWT or nothing; at+jwt is RFC 9068's. */
static bool is_our_type(const json_t *header)
{
    const json_t *typ = json_object_get(header, "typ");
    struct inlets_slice text = inl_str(text_of(header, "typ"));

    if (inl_slice_starts_case(text, INL_LIT("application/"))) {
        text = inl_slice_from(text, sizeof("application/") - 1);
    }
    return typ == NULL || inl_slice_eq_case(text, INL_LIT("JWT")) ||
           inl_slice_eq_case(text, INL_LIT("at+jwt"));
}

/* RFC 7515 4.1, RFC 8725 3.1. "b64" comes only with "crit" (RFC 7797 6). NULL:
 * it is good. */
static const char *read_header(const json_t *header,
                               enum inl_signature *ret_kind)
{
    const char *alg = text_of(header, "alg");
    const json_t *kid = json_object_get(header, "kid");

    *ret_kind = strcmp(alg, "RS256") == 0 ? INL_RS256 : INL_ES256;
    if (*ret_kind == INL_ES256 && strcmp(alg, "ES256") != 0) {
        return "the token is not signed by RS256 or ES256";
    }
    if (json_object_get(header, "crit") != NULL) {
        return "the token asks for an extension (crit)";
    }
    if (!is_our_type(header)) {
        return "the token is of another type (typ) than JWT";
    }
    return kid == NULL || json_is_string(kid) ? NULL
                                              : "the token's kid is no text";
}

/* RFC 7519 4.1.3: a text, or a list of them. */
static bool is_for(const json_t *claims, const char *audience)
{
    const json_t *aud = json_object_get(claims, "aud");

    if (json_is_string(aud)) {
        return strcmp(json_string_value(aud), audience) == 0;
    }
    for (size_t i = 0; i < json_array_size(aud); i++) {
        const char *one = json_string_value(json_array_get(aud, i));

        if (one != NULL && strcmp(one, audience) == 0) {
            return true;
        }
    }
    return false;
}

/* Several may have one "iss", and other audiences. Of an issuer that is not for
 * any of them, one is returned all the same. */
static const struct inl_jwt_issuer *
find_issuer(const json_t *claims, const struct inl_jwt_issuer *issuers,
            size_t n)
{
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    const struct inl_jwt_issuer *found = NULL;

    for (size_t i = 0; issuer != NULL && i < n; i++) {
        if (strcmp(issuers[i].issuer, issuer) == 0) {
            found = &issuers[i];
            if (is_for(claims, found->audience)) {
                break;
            }
        }
    }
    return found;
}

/* RFC 7519 2: NumericDate. */
static bool read_date(const json_t *claims, const char *name, int64_t *ret_s)
{
    const json_t *value = json_object_get(claims, name);
    double s = json_number_value(value);

    if (!json_is_number(value) || !(s >= 0 && s < DATE_MAX)) {
        return false;
    }
    *ret_s = (int64_t)s;
    return true;
}

static bool is_begun(const json_t *claims, const char *name, int64_t now_s)
{
    int64_t from_s;

    return json_object_get(claims, name) == NULL ||
           (read_date(claims, name, &from_s) &&
            now_s + INL_JWT_SKEW_S >= from_s);
}

/* NULL: it is valid at this time. */
static const char *check_times(const json_t *claims, int64_t now_s)
{
    int64_t until_s;

    if (!read_date(claims, "exp", &until_s)) {
        return "the token has no end (exp)";
    }
    if (now_s >= until_s + INL_JWT_SKEW_S) {
        return "the token has expired";
    }
    return is_begun(claims, "nbf", now_s) && is_begun(claims, "iat", now_s)
               ? NULL
               : "the token is not valid yet";
}

/* Whose signature it may be: the key that it names, or any of its kind. */
static bool may_be_by(const struct inl_jwk *key, enum inl_signature kind,
                      const char *kid)
{
    return key->kind == kind &&
           (kid == NULL || (key->kid != NULL && strcmp(key->kid, kid) == 0));
}

static size_t count_keys(const struct inl_jwt_issuer *issuer,
                         enum inl_signature kind, const char *kid)
{
    size_t n = 0;

    for (size_t i = 0; i < issuer->nkeys; i++) {
        n += may_be_by(&issuer->keys[i], kind, kid);
    }
    return n;
}

static bool is_signed(const struct inl_jwt_issuer *issuer,
                      enum inl_signature kind, const char *kid,
                      const struct parts *parts)
{
    uint8_t signature[INL_RSA_BITS_MAX / 8];
    int64_t n =
        inl_base64url_decode(parts->signature, signature, sizeof(signature));

    if (n <= 0 || (kind == INL_ES256 && n != INL_ES256_SIGNATURE_LEN)) {
        return false;
    }
    for (size_t i = 0; i < issuer->nkeys; i++) {
        const struct inl_jwk *key = &issuer->keys[i];

        if (may_be_by(key, kind, kid) &&
            inl_verify(kind, inl_slice(key->key, key->len), parts->signed_text,
                       inl_slice(signature, (size_t)n))) {
            return true;
        }
    }
    return false;
}

/* Before any arithmetic it is known whose key it would be. NULL: it is good. */
static const char *check_signature(const struct inl_jwt_issuer *issuer,
                                   enum inl_signature kind, const char *kid,
                                   const struct parts *parts)
{
    size_t n = count_keys(issuer, kind, kid);

    if (n == 0) {
        return "the token's key (kid) is none of its issuer's in the file";
    }
    if (n > INL_JWT_TRIES) {
        return "the token does not say which of its issuer's many keys it is "
               "signed with (kid)";
    }
    return is_signed(issuer, kind, kid, parts)
               ? NULL
               : "the token is not signed with a key of its issuer";
}

/* NULL: it is good. */
static const char *judge(const json_t *header, const json_t *claims,
                         const struct parts *parts,
                         const struct inl_jwt_issuer *issuer, int64_t now_s)
{
    enum inl_signature kind;
    const char *why = read_header(header, &kind);

    if (why != NULL) {
        return why;
    }
    if (issuer == NULL) {
        return "the token is of an issuer that is not in the file";
    }
    if (!is_for(claims, issuer->audience)) {
        return "the token is for another audience";
    }
    why = check_times(claims, now_s);
    return why != NULL
               ? why
               : check_signature(
                     issuer, kind,
                     json_string_value(json_object_get(header, "kid")), parts);
}

json_t *inl_jwt_verify(struct inlets_slice token,
                       const struct inl_jwt_issuer *issuers, size_t n,
                       int64_t now_s, const struct inl_jwt_issuer **ret_issuer,
                       const char **ret_why)
{
    struct parts parts;
    json_t *header = NULL, *claims = NULL;

    *ret_why = token.len > INL_JWT_MAX ? "the token is longer than 8192 bytes"
                                       : "the token is malformed";
    if (token.len <= INL_JWT_MAX && split(token, &parts)) {
        header = decode(parts.header);
        claims = header == NULL ? NULL : decode(parts.payload);
    }
    if (claims != NULL) {
        *ret_issuer = find_issuer(claims, issuers, n);
        *ret_why = judge(header, claims, &parts, *ret_issuer, now_s);
    }
    json_decref(header);
    if (*ret_why != NULL) {
        json_decref(claims);
        return NULL;
    }
    return claims;
}

void inl_jwt_free(json_t *claims)
{
    json_decref(claims);
}

int64_t inl_jwt_until_s(const json_t *claims)
{
    int64_t until_s = 0;

    (void)read_date(claims, "exp", &until_s);
    return until_s + INL_JWT_SKEW_S;
}

/* ---- rules -------------------------------------------------------------- */

/* One step of a JSON Pointer (RFC 6901 4), into `name`; false: it is malformed,
 * or longer than any name. */
static bool take_step(const char **at, char *name, size_t size)
{
    size_t n = 0;
    const char *p = *at + 1;

    for (; *p != '\0' && *p != '/'; p++) {
        char c = *p;

        if (c == '~' && (p[1] == '0' || p[1] == '1')) {
            c = *++p == '0' ? '~' : '/';
        } else if (c == '~') {
            return false;
        }
        if (n + 1 >= size) {
            return false;
        }
        name[n++] = c;
    }
    name[n] = '\0';
    *at = p;
    return true;
}

bool inl_jwt_is_claim(const char *name)
{
    char step[STEP_SIZE];
    bool fine = name[0] != '\0';

    while (fine && *name == '/') {
        fine = take_step(&name, step, sizeof(step));
    }
    return fine;
}

/* NULL: there is no text there. */
static const char *find_claim(const json_t *claims, const char *name)
{
    char step[STEP_SIZE];

    if (name[0] != '/') {
        return json_string_value(json_object_get(claims, name));
    }
    while (*name != '\0') {
        if (!take_step(&name, step, sizeof(step))) {
            return NULL;
        }
        claims = json_object_get(claims, step);
    }
    return json_string_value(claims);
}

static bool is_like(const char *text, const char *pattern)
{
    size_t len = strlen(pattern);

    return len > 0 && pattern[len - 1] == '*'
               ? strncmp(text, pattern, len - 1) == 0
               : strcmp(text, pattern) == 0;
}

bool inl_jwt_matches(const json_t *claims, const json_t *rule)
{
    const char *name;
    json_t *value;
    size_t looked = 0;

    /* jansson's iteration wants a changeable object, and changes nothing. */
    json_object_foreach((json_t *)(uintptr_t)rule, name, value)
    {
        const char *text;

        if (strcmp(name, "issuer") == 0) {
            continue;
        }
        text = find_claim(claims, name);
        if (text == NULL || !json_is_string(value) ||
            !is_like(text, json_string_value(value))) {
            return false;
        }
        looked++;
    }
    return looked > 0;
}
