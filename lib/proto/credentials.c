/* credentials.c: bearer tokens (RFC 6750 2.1), users and passwords (RFC 7617).
 *
 * Only digests are kept: a core dump of the server holds no token, and two
 * digests have one length, so the compare cannot tell how long a token is.
 * SHA-256 without salt is enough for secrets that are random.
 *
 * Failure of the digest itself counts as a wrong token. */
#include "proto/credentials.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>

/* Nobody makes us hash more than this. */
#define MAX_PRESENTED 4096u

int inl_token_set(struct inl_token *t, struct inlets_slice secret)
{
    uint8_t digest[INL_SHA256_LEN];

    if (inl_sha256(secret, digest) != 0) {
        return INLETS_EINTERNAL;
    }
    memcpy(t->digest, digest, sizeof(digest));
    t->is_set = true;
    return 0;
}

void inl_token_wipe(struct inl_token *t)
{
    inl_wipe(t, sizeof(*t));
}

/* credentials = "Bearer" 1*SP token; false when it is something else. */
bool inl_bearer_parse(struct inlets_slice value,
                      struct inlets_slice *ret_secret)
{
    struct inlets_slice secret = inl_slice_trim(value);
    bool is_bearer = inl_slice_starts_case(secret, INL_LIT("Bearer "));

    if (is_bearer) {
        secret = inl_slice_trim(inl_slice_from(secret, 7));
    }
    *ret_secret = secret;
    return is_bearer && secret.len > 0;
}

bool inl_bearer_digest(struct inlets_slice value,
                       uint8_t digest[INL_SHA256_LEN])
{
    struct inlets_slice secret;
    bool fine = inl_bearer_parse(value, &secret);

    if (secret.len > MAX_PRESENTED) {
        fine = false;
        secret.len = MAX_PRESENTED;
    }
    /* Whatever is wrong by now, it is hashed: one cost for all. */
    memset(digest, 0, INL_SHA256_LEN);
    return inl_sha256(secret, digest) == 0 && fine;
}

bool inl_basic_parse(struct inlets_slice value, char room[INL_BASIC_ROOM],
                     struct inlets_slice *ret_user,
                     struct inlets_slice *ret_password)
{
    struct inlets_slice text = inl_slice_trim(value);
    int64_t len;
    size_t colon;

    if (!inl_slice_starts_case(text, INL_LIT("Basic "))) {
        return false;
    }
    len = inl_base64_decode(inl_slice_trim(inl_slice_from(text, 6)), room,
                            INL_BASIC_ROOM);
    text = inl_slice(room, len > 0 ? (size_t)len : 0);
    colon = inl_slice_find(text, ':');
    if (colon == text.len) {
        return false;
    }
    *ret_user = inl_slice(room, colon);
    *ret_password = inl_slice_from(text, colon + 1);
    return true;
}

bool inl_token_matches(const struct inl_token *t,
                       const uint8_t digest[INL_SHA256_LEN])
{
    bool equal = inl_equal_constant_time(digest, t->digest, INL_SHA256_LEN);

    return t->is_set && equal;
}
