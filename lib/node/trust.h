/* trust.h: whose certificates are believed: what the user or the system says,
 * as texts and files, made what proto/tls.h takes. */
#ifndef INL_NODE_TRUST_H
#define INL_NODE_TRUST_H

#include "base/env.h"
#include "proto/tls.h"
#include <inlets/certificate.h>

/* The authorities that the system trusts, found where Debian, Alpine, Fedora,
 * SUSE, the BSDs or macOS keep them. INLETS_ECERT: there is no such file that
 * can be read; INLETS_ENOMEM. */
int inl_trust_system(struct inl_trust **ret_trust);

/* "sha256:" and 64 hex digits of either case, colons between them or not. */
bool inl_pin_parse(struct inlets_slice text, uint8_t ret_pin[INL_SHA256_LEN]);
/* The same in lower case, without colons. */
void inl_pin_format(const uint8_t pin[INL_SHA256_LEN],
                    char ret_text[INLETS_FINGERPRINT_SIZE]);

#endif
