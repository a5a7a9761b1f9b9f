/* certificate.c: see <inlets/certificate.h>. */
#include <inlets/certificate.h>

#include "base/mem.h"
#include "base/slice.h"
#include "node/trust.h"
#include "proto/tls_cert.h"
#include "proto/tls_make.h"
#include <string.h>

void inlets_made_certificate_fini(struct inlets_made_certificate *made)
{
    inl_free(made->authority);
    inl_free(made->chain);
    inl_free_secret(made->key);
    *made = (struct inlets_made_certificate){NULL, NULL, NULL};
}

static char *join(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *both = inl_malloc(n + m + 1);

    if (both != NULL) {
        memcpy(both, a, n);
        memcpy(both + n, b, m + 1);
    }
    return both;
}

int inlets_certificate_make(const char *names,
                            struct inlets_made_certificate *ret)
{
    char authority[INL_MADE_PEM], cert[INL_MADE_PEM], key[INL_MADE_PEM];
    int err = names == NULL
                  ? INLETS_EINVAL
                  : inl_tls_make(inl_str(names), authority, cert, key);

    if (err != 0) {
        inl_wipe(key, sizeof(key));
        return err;
    }
    ret->authority = inl_strdup(authority);
    ret->chain = join(cert, authority);
    ret->key = inl_strdup(key);
    inl_wipe(key, sizeof(key));
    if (ret->authority == NULL || ret->chain == NULL || ret->key == NULL) {
        inlets_made_certificate_fini(ret);
        return INLETS_ENOMEM;
    }
    return 0;
}

_Static_assert(INL_X509_DATE_SIZE == INLETS_DATE_SIZE, "one text");

int inlets_certificate_dates(struct inlets_slice pem,
                             char ret_from[INLETS_DATE_SIZE],
                             char ret_until[INLETS_DATE_SIZE])
{
    return inl_pem_dates(pem, ret_from, ret_until);
}

int inlets_certificate_fingerprint(struct inlets_slice pem,
                                   char ret_text[INLETS_FINGERPRINT_SIZE])
{
    uint8_t hash[INL_SHA256_LEN];
    int err = inl_pem_fingerprint(pem, hash);

    if (err == 0) {
        inl_pin_format(hash, ret_text);
    }
    return err;
}
