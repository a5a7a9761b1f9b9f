/* tls_cert.h: certificates (RFC 5280): our own with their keys, and those of
 * the authorities that we trust. Both are immutable and counted, so that they
 * can be exchanged while connections go on with the old ones. */
#ifndef INL_PROTO_TLS_CERT_H
#define INL_PROTO_TLS_CERT_H

#include "base/cidr.h"
#include "proto/crypto.h"
#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

struct inl_cert;
struct inl_trust;

/* The most of one PEM file: the system's store has 230 KiB. */
#define INL_PEM_MAX (4u * 1024 * 1024)
/* Of a common name (RFC 5280 appendix A.1, ub-common-name). */
#define INL_X509_CN_MAX 64u
/* Of a date as text, with NUL. */
#define INL_X509_DATE_SIZE 24u

/* A chain, leaf first, and the leaf's key, both PEM. INLETS_EINVAL with
 * *ret_why, a static text that says what is wrong ("the key belongs to another
 * certificate"), also when only a part of the chain can be read;
 * INLETS_ENOMEM. */
int inl_cert_new(struct inl_cert **ret_cert, struct inlets_slice chain,
                 struct inlets_slice key, const char **ret_why);
struct inl_cert *inl_cert_ref(struct inl_cert *cert);
/* NULL is fine. */
void inl_cert_unref(struct inl_cert *cert);

/* The i-th DNS name that it is for, as written; false: no more. Borrowed. A
 * certificate without any is for its common name. */
bool inl_cert_name(const struct inl_cert *cert, size_t i,
                   struct inlets_slice *ret_name);
/* Is it for this host (lower case, no trailing dot)? RFC 9525 6.3: exactly, or
 * with "*" for the first label. */
bool inl_cert_covers(const struct inl_cert *cert, struct inlets_slice host);
/* SHA-256 of the leaf in DER, as openssl x509 -fingerprint counts it. */
int inl_cert_fingerprint(const struct inl_cert *cert,
                         uint8_t ret_hash[INL_SHA256_LEN]);

/* The same of the first certificate in a PEM text. INLETS_EINVAL: there is none
 * that can be read. */
int inl_pem_fingerprint(struct inlets_slice pem,
                        uint8_t ret_hash[INL_SHA256_LEN]);

/* When the same begins and ends to be valid: "2026-01-02T03:04:05Z". As that.
 */
int inl_pem_dates(struct inlets_slice pem, char ret_from[INL_X509_DATE_SIZE],
                  char ret_until[INL_X509_DATE_SIZE]);

/* The authorities in a PEM text. Those that cannot be read (an algorithm that
 * Mbed TLS does not have) are left out and counted. INLETS_EINVAL: there is
 * none that can; INLETS_ENOMEM. */
int inl_trust_new(struct inl_trust **ret_trust, struct inlets_slice pem,
                  unsigned *ret_skipped);
struct inl_trust *inl_trust_ref(struct inl_trust *trust);
/* NULL is fine. */
void inl_trust_unref(struct inl_trust *trust);

#endif
