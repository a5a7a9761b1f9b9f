/* password.c: see password.h. All by libcrypt (libxcrypt).
 *
 * Failure: what cannot be computed matches nothing. */
#include "proto/password.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/crypto.h"
#include <crypt.h>
#include <errno.h>
#include <inlets/err.h>

/* libcrypt's own cost for yescrypt, N = 4096 and r = 32. */
#define PREFIX "$y$"
#define DEFAULT_COST 0u
/* That of bcrypt; all others are longer. */
#define HASH_MIN 60u

/* Of random bytes that nobody has kept, with PREFIX and DEFAULT_COST. */
const char inl_password_nobodys[] =
    "$y$j9T$SINa0dRPO4mRtr7riaJGS.$22dv.vZ9JkW.RYt4LnGjVFrS4bsgFzPvDCx/xdThpK/";

static const char *const slow[] = {"$y$", "$gy$", "$7$", "$2b$", "$2y$"};

static bool is_slow(const char *hash)
{
    for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
        if (inl_slice_starts(inl_str(hash), inl_str(slow[i]))) {
            return true;
        }
    }
    return false;
}

bool inl_password_is_hash(const char *hash)
{
    size_t len = strnlen(hash, INL_PASSWORD_HASH_SIZE);

    /* checksalt looks at what is before the hash only. */
    return len >= HASH_MIN && len < INL_PASSWORD_HASH_SIZE && is_slow(hash) &&
           crypt_checksalt(hash) == CRYPT_SALT_OK;
}

/* NULL: it cannot be. The hash is in `room`, which is wiped by the caller. */
static const char *compute(const char *setting, struct inlets_slice password,
                           struct crypt_data *room)
{
    char text[INL_PASSWORD_MAX + 1];
    const char *hash;

    if (password.len == 0 || password.len > INL_PASSWORD_MAX ||
        memchr(password.ptr, '\0', password.len) != NULL) {
        return NULL;
    }
    memcpy(text, password.ptr, password.len);
    text[password.len] = '\0';
    hash = crypt_rn(text, setting, room, sizeof(*room));
    inl_wipe(text, sizeof(text));
    return hash;
}

bool inl_password_matches(const char *hash, struct inlets_slice password)
{
    struct crypt_data *room = inl_calloc(1, sizeof(*room));
    const char *got;
    bool equal;

    if (room == NULL) {
        return false;
    }
    got = compute(hash, password, room);
    equal = got != NULL && strlen(got) == strlen(hash) &&
            inl_equal_constant_time(got, hash, strlen(hash));
    inl_wipe(room, sizeof(*room));
    inl_free(room);
    return equal;
}

int inl_password_hash(struct inlets_slice password,
                      char ret_hash[INL_PASSWORD_HASH_SIZE])
{
    char salt[16], setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *room;
    const char *hash;
    int err = 0;

    if (inl_crypto_random(salt, sizeof(salt)) != 0 ||
        crypt_gensalt_rn(PREFIX, DEFAULT_COST, salt, sizeof(salt), setting,
                         sizeof(setting)) == NULL) {
        return INLETS_EINTERNAL;
    }
    room = inl_calloc(1, sizeof(*room));
    if (room == NULL) {
        return INLETS_ENOMEM;
    }
    errno = 0;
    hash = compute(setting, password, room);
    if (hash == NULL) {
        err = errno == ENOMEM ? INLETS_ENOMEM : INLETS_EINVAL;
    } else if (strlen(hash) >= INL_PASSWORD_HASH_SIZE) {
        err = INLETS_EINTERNAL;
    } else {
        memcpy(ret_hash, hash, strlen(hash) + 1);
    }
    inl_wipe(room, sizeof(*room));
    inl_free(room);
    return err;
}
