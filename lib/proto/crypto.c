/* crypto.c: digests by PSA Crypto. PSA is global to the process; it is
 * started once, from whichever thread comes first, and never stopped, since
 * another library in the process may use it too.
 *
 * Failure: INLETS_EINTERNAL when PSA cannot start or cannot hash (out of
 * memory, or a build without the algorithm). The output is then all zero. */
#include "proto/crypto.h"

#include "base/mem.h"
#include "base/slice.h"
#include <inlets/err.h>
#include <mbedtls/build_info.h>
#include <mbedtls/version.h>
#include <psa/crypto.h>
#include <pthread.h>
#if defined(MBEDTLS_PLATFORM_MEMORY) && !defined(MBEDTLS_PLATFORM_CALLOC_MACRO)
#include <mbedtls/platform.h>
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static psa_status_t started = PSA_ERROR_BAD_STATE;

static void start(void)
{
#if defined(MBEDTLS_PLATFORM_MEMORY) && !defined(MBEDTLS_PLATFORM_CALLOC_MACRO)
    const struct inlets_allocator *allocator = inl_get_allocator();

    /* Before its first allocation, or memory returns to who did not give it. */
    (void)mbedtls_platform_set_calloc_free(allocator->calloc, allocator->free);
#endif
    started = psa_crypto_init();
}

int inl_crypto_init(void)
{
    if (pthread_once(&once, start) != 0 || started != PSA_SUCCESS) {
        return INLETS_EINTERNAL;
    }
    return 0;
}

static int hash(psa_algorithm_t algorithm, struct inlets_slice data,
                uint8_t *out, size_t size)
{
    const void *ptr = data.len == 0 ? "" : data.ptr;
    size_t len = 0;

    if (inl_crypto_init() != 0 ||
        psa_hash_compute(algorithm, ptr, data.len, out, size, &len) !=
            PSA_SUCCESS ||
        len != size) {
        memset(out, 0, size);
        return INLETS_EINTERNAL;
    }
    return 0;
}

int inl_sha1(struct inlets_slice data, uint8_t out[INL_SHA1_LEN])
{
    return hash(PSA_ALG_SHA_1, data, out, INL_SHA1_LEN);
}

int inl_sha256(struct inlets_slice data, uint8_t out[INL_SHA256_LEN])
{
    return hash(PSA_ALG_SHA_256, data, out, INL_SHA256_LEN);
}

int inl_crypto_random(void *ptr, size_t n)
{
    return inl_crypto_init() == 0 && psa_generate_random(ptr, n) == PSA_SUCCESS
               ? 0
               : INLETS_EINTERNAL;
}

bool inl_equal_constant_time(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *p = a;
    const volatile uint8_t *q = b;
    uint8_t difference = 0;

    for (size_t i = 0; i < n; i++) {
        difference = (uint8_t)(difference | (p[i] ^ q[i]));
    }
    return difference == 0;
}

const char *inl_crypto_version(void)
{
    return MBEDTLS_VERSION_STRING_FULL;
}
