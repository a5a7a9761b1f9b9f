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
/* Signatures with SHA-256. A key of ES256 is a point of P-256, uncompressed;
 * one of RS256 an RSAPublicKey (RFC 8017 A.1.1) in DER. */
enum inl_signature { INL_ES256, INL_RS256 };
#define INL_ES256_KEY_LEN 65u
#define INL_ES256_SIGNATURE_LEN 64u /* r and s (RFC 7518 3.4) */
#define INL_RSA_BITS_MIN 2048u
#define INL_RSA_BITS_MAX 4096u
/* Is it a key? False also out of memory. */
bool inl_is_public_key(enum inl_signature kind, struct inlets_slice key);
/* Is it the key's signature of the data? False also out of memory. */
bool inl_verify(enum inl_signature kind, struct inlets_slice key,
                struct inlets_slice data, struct inlets_slice signature);
/* Compares without telling by time where they differ. */
bool inl_equal_constant_time(const void *a, const void *b, size_t n);
/* "Mbed TLS 3.6.6" */
const char *inl_crypto_version(void);

#endif
