/* proxy_dial.h: a dialer that goes through an HTTP proxy, by CONNECT (RFC 9110
 * 9.3.6). It dials the proxy through another dialer, below it, and what it
 * gives is a link like any other. The proxy resolves the names.
 *
 * A dial that fails has a step that begins with "proxy" ("proxy-connect" is the
 * way to it), and, when the proxy itself said no, its status and its words. */
#ifndef INL_RELAY_PROXY_DIAL_H
#define INL_RELAY_PROXY_DIAL_H

#include "base/dial.h"

/* Of the proxy's answer: more is made to eat memory. */
#define INL_PROXY_HEAD_MAX (16u * 1024)

/* Borrowed; outlives the dialer. */
struct inl_proxy_config {
    const char *host; /* of the proxy */
    unsigned port;
    struct inlets_slice authorization; /* "Basic ..."; empty: none */
    struct inlets_slice agent;
};

/* Embedded in its owner, who has ended all dials before it goes. */
struct inl_proxy_dialer {
    struct inl_dialer dialer;
    struct inl_dialer *below;
    struct inl_proxy_config config;
    struct inl_dial_known known; /* where the proxy was found before */
};

/* Errors of its dials, beside those of the dialer below:
 *   INLETS_EPROXYAUTH  407 or 401: it wants a user and password, or other ones
 *   INLETS_EPROXY      another answer than 2xx, or none that is HTTP
 *   INLETS_ECLOSED     it hung up instead
 *   INLETS_ETIMEDOUT   it was silent until dial->due_ms */
void inl_proxy_dialer_init(struct inl_proxy_dialer *d, struct inl_env *env,
                           struct inl_dialer *below,
                           const struct inl_proxy_config *config);

#endif
