/* tls_make.h: a certificate of one's own making (RFC 5280). */
#ifndef INL_PROTO_TLS_MAKE_H
#define INL_PROTO_TLS_MAKE_H

#include <inlets/types.h>

/* Bytes of a PEM text here, with NUL. */
#define INL_MADE_PEM 4096u

/* An authority, and a certificate that it signed for names (with commas or
 * spaces between them); the authority's key is gone. INLETS_EINVAL,
 * INLETS_ENOMEM, INLETS_EINTERNAL. */
int inl_tls_make(struct inlets_slice names, char ret_authority[INL_MADE_PEM],
                 char ret_cert[INL_MADE_PEM], char ret_key[INL_MADE_PEM]);

#endif
