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

/* A key in the store: destroyed by the caller. 0: there is none. */
static psa_key_id_t import(enum inl_signature kind, struct inlets_slice key,
                           psa_algorithm_t *ret_algorithm)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    bool is_ec = kind == INL_ES256;
    psa_key_id_t id = PSA_KEY_ID_NULL;

    *ret_algorithm = is_ec ? PSA_ALG_ECDSA(PSA_ALG_SHA_256)
                           : PSA_ALG_RSA_PKCS1V15_SIGN(PSA_ALG_SHA_256);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_VERIFY_MESSAGE);
    psa_set_key_algorithm(&attributes, *ret_algorithm);
    psa_set_key_type(&attributes,
                     is_ec ? PSA_KEY_TYPE_ECC_PUBLIC_KEY(PSA_ECC_FAMILY_SECP_R1)
                           : PSA_KEY_TYPE_RSA_PUBLIC_KEY);
    if (is_ec && key.len != INL_ES256_KEY_LEN) {
        return PSA_KEY_ID_NULL; /* PSA would take another curve's */
    }
    if (inl_crypto_init() != 0 ||
        psa_import_key(&attributes, (const uint8_t *)key.ptr, key.len, &id) !=
            PSA_SUCCESS) {
        return PSA_KEY_ID_NULL;
    }
    return id;
}

static bool has_bits(psa_key_id_t id, enum inl_signature kind)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    size_t bits = 0;

    if (psa_get_key_attributes(id, &attributes) == PSA_SUCCESS) {
        bits = psa_get_key_bits(&attributes);
    }
    psa_reset_key_attributes(&attributes);
    return kind == INL_ES256
               ? bits == 256
               : bits >= INL_RSA_BITS_MIN && bits <= INL_RSA_BITS_MAX;
}

bool inl_is_public_key(enum inl_signature kind, struct inlets_slice key)
{
    psa_algorithm_t algorithm;
    psa_key_id_t id = import(kind, key, &algorithm);
    bool is_key = id != PSA_KEY_ID_NULL && has_bits(id, kind);

    (void)psa_destroy_key(id);
    return is_key;
}

/* The key is imported each time: the store has few places for those of others
 * and ours, and to import one costs a hundredth of what it is for. */
bool inl_verify(enum inl_signature kind, struct inlets_slice key,
                struct inlets_slice data, struct inlets_slice signature)
{
    psa_algorithm_t algorithm;
    psa_key_id_t id = import(kind, key, &algorithm);
    bool is_right = id != PSA_KEY_ID_NULL &&
                    psa_verify_message(id, algorithm, (const uint8_t *)data.ptr,
                                       data.len, (const uint8_t *)signature.ptr,
                                       signature.len) == PSA_SUCCESS;

    (void)psa_destroy_key(id);
    return is_right;
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
