/* tls_mbed.h: what tls.c and tls_cert.c know of each other: Mbed TLS's own
 * objects. For 3.6 and for 4, which has no random functions to pass. */
#ifndef INL_PROTO_TLS_MBED_H
#define INL_PROTO_TLS_MBED_H

#include "proto/tls_cert.h"
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

#if MBEDTLS_VERSION_MAJOR < 4
#include <mbedtls/psa_util.h>
#define INL_MBED_RNG , mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE
#else
#define INL_MBED_RNG
#endif

struct inl_cert {
    unsigned refs;
    mbedtls_x509_crt chain;
    mbedtls_pk_context key;
};

struct inl_trust {
    unsigned refs;
    mbedtls_x509_crt chain; /* may be empty */
};

/* Is the certificate for this host, this address? */
bool inl_x509_covers(const mbedtls_x509_crt *leaf, struct inlets_slice host);
bool inl_x509_covers_ip(const mbedtls_x509_crt *leaf, const struct inl_ip *ip);
/* The i-th DNS name of a leaf. */
bool inl_x509_name(const mbedtls_x509_crt *leaf, size_t i,
                   struct inlets_slice *ret_name);
/* Its common name as text that can be printed, cut; "": it has none. */
void inl_x509_common_name(const mbedtls_x509_crt *leaf,
                          char ret_name[INL_X509_CN_MAX + 1]);
int inl_x509_fingerprint(const mbedtls_x509_crt *leaf,
                         uint8_t ret_hash[INL_SHA256_LEN]);

#endif
