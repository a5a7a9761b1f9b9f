/* url.h: the URLs, host names and endpoints that users write (RFC 3986). */
#ifndef INL_BASE_URL_H
#define INL_BASE_URL_H

#include <inlets/types.h>
#include <stdbool.h>

/* Slices point into the parsed text. */
struct inl_url {
    struct inlets_slice scheme; /* as written; empty when there was none */
    struct inlets_slice userinfo;
    struct inlets_slice host; /* without brackets */
    bool host_is_ipv6;        /* it was in brackets */
    unsigned port;            /* given, or 80 for http/ws, 443 for https/wss */
    bool port_is_given;
    struct inlets_slice path; /* from '/' on, without query; may be empty */
    struct inlets_slice query; /* without '?' */
};

/* scheme://[userinfo@]host[:port][/path][?query], or without scheme.
 * INLETS_EINVAL: empty host, host over 253 bytes, port 0 or over 65535, bad
 * characters, a fragment. */
int inl_url_parse(struct inlets_slice text, struct inl_url *ret_url);

/* The longest name that DNS allows (RFC 1035 2.3.4). */
#define INL_HOST_MAX 253

/* A Host field (RFC 9110 7.2) to the form that routes compare: lower case,
 * without port, trailing dot and brackets. Writes at most INL_HOST_MAX bytes
 * and returns the length, or INLETS_EINVAL (empty, bad characters, bad
 * port, too long). */
int inl_host_normalise(struct inlets_slice host, char *buf, size_t size);

/* An address of this machine's loopback: 127.0.0.0/8, ::1, "localhost". */
bool inl_host_is_loopback(struct inlets_slice host);

/* What a client offers: "", "host", "*.host", "host/path", "/path". */
struct inl_endpoint {
    char host[INL_HOST_MAX + 1]; /* normalised; "" matches every host */
    bool wildcard; /* host was "*.rest"; host holds "rest" */
    struct inlets_slice path; /* "/api", no trailing slash; "" matches all */
};

/* INLETS_EINVAL when it is not one. path points into text. */
int inl_endpoint_parse(struct inlets_slice text, struct inl_endpoint *ret);

#endif
