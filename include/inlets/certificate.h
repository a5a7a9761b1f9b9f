/* certificate.h: certificates for exit nodes without a domain: made here,
 * signed by an authority of their own, and told from others by fingerprint. */
#ifndef INLETS_CERTIFICATE_H
#define INLETS_CERTIFICATE_H

#include <inlets/err.h>
#include <inlets/export.h>
#include <inlets/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "sha256:", 64 hex digits, NUL. */
#define INLETS_FINGERPRINT_SIZE 72

struct inlets_made_certificate {
    char *authority; /* PEM: for inlets_client_opts.ca, or for browsers */
    char *chain;     /* PEM: the certificate, then the authority */
    char *key;       /* PEM */
};

/* Makes an authority, whose key is thrown away, and a certificate with its key
 * (ECDSA, P-256), valid to the end of 2049. names: DNS names and addresses that
 * it is for, with commas or spaces between them. ret owns its texts: inlets_
 * made_certificate_fini. INLETS_EINVAL (no or a bad name), INLETS_ENOMEM,
 * INLETS_EINTERNAL. */
INLETS_API INLETS_MUST_USE int
inlets_certificate_make(const char *names, struct inlets_made_certificate *ret);
/* Wipes the key. */
INLETS_API void
inlets_made_certificate_fini(struct inlets_made_certificate *made);

/* Of the first certificate in a PEM text: what inlets_client_opts.fingerprint
 * takes. INLETS_EINVAL: there is none that can be read; INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_certificate_fingerprint(struct inlets_slice pem,
                               char ret_text[INLETS_FINGERPRINT_SIZE]);

/* "2026-01-02T03:04:05Z", NUL. */
#define INLETS_DATE_SIZE 24
/* When the same begins and ends to be valid, in UTC: texts that strcmp puts in
 * order. INLETS_EINVAL, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_certificate_dates(struct inlets_slice pem,
                         char ret_from[INLETS_DATE_SIZE],
                         char ret_until[INLETS_DATE_SIZE]);

#ifdef __cplusplus
}
#endif
#endif
