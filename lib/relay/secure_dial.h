/* secure_dial.h: a dialer of links by TLS: it dials through another one and
 * shakes hands on the link that comes of it. */
#ifndef INL_RELAY_SECURE_DIAL_H
#define INL_RELAY_SECURE_DIAL_H

#include "base/dial.h"
#include "relay/secured.h"

struct inl_secure_dialer {
    struct inl_dialer dialer; /* to be dialled through */
    struct inl_dialer *below;
    const char *name; /* borrowed: whose certificate; NULL: dial->host's */
    struct inl_secured_group group;
};

/* tls: a client's, of that name alone; borrowed, as the others. */
void inl_secure_dialer_init(struct inl_secure_dialer *d,
                            struct inl_dialer *below,
                            struct inl_tls_config *tls, const char *name);

#endif
