/* crypto.h: the digests we need, by PSA Crypto (mbedTLS 3.6 and 4.x). */
#ifndef INL_PROTO_CRYPTO_H
#define INL_PROTO_CRYPTO_H

#include <inlets/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INL_SHA1_LEN 20u
#define INL_SHA256_LEN 32u

/* Starts PSA for the process; idempotent, thread-safe. 0 or INLETS_EINTERNAL.
 */
int inl_crypto_init(void);
int inl_sha1(struct inlets_slice data, uint8_t out[INL_SHA1_LEN]);
int inl_sha256(struct inlets_slice data, uint8_t out[INL_SHA256_LEN]);
/* For secrets that outlive the process; the env has the other random bytes. */
int inl_crypto_random(void *ptr, size_t n);
/* Compares without telling by time where they differ. */
bool inl_equal_constant_time(const void *a, const void *b, size_t n);
/* "Mbed TLS 3.6.6" */
const char *inl_crypto_version(void);

#endif
