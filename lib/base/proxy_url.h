/* proxy_url.h: the URL of a proxy, with the user and password in it. */
#ifndef INL_BASE_PROXY_URL_H
#define INL_BASE_PROXY_URL_H

#include <inlets/types.h>
#include <stdbool.h>

/* All zero: none. */
struct inl_proxy_url {
    char *host; /* owned; without brackets */
    unsigned port;
    bool is_tls;         /* https: */
    char *authorization; /* owned, wiped: "Basic ..."; NULL: none */
    char *label;         /* owned: for the log, without user and password */
};

/* http:// or https://, or neither, which is http://; [user[:password]@], in
 * which %xx stands for a byte; host; [:port], else 80 or 443. INLETS_EINVAL;
 * INLETS_ENOTSUP for other schemes, INLETS_ENOMEM; nothing is to be freed
 * then. */
int inl_proxy_url_parse(struct inlets_slice text, struct inl_proxy_url *ret);
/* Takes it when it is all zero. */
void inl_proxy_url_fini(struct inl_proxy_url *url);

#endif
