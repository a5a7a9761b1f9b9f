/* err.h: the error numbers of libinlets.
 *
 * Every function that can fail returns 0 or one of these, always negative.
 * The values are frozen: they travel in RESET and ROUTED frames too (as the
 * positive number), see lib/proto/FRAME.md. */
#ifndef INLETS_ERR_H
#define INLETS_ERR_H

#include <inlets/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name, number, text */
#define INLETS_ERR_MAP(X)                                                      \
    X(ENOMEM, 1, "out of memory")                                              \
    X(EINVAL, 2, "invalid argument")                                           \
    X(EPROTO, 3, "the peer broke the protocol")                                \
    X(EAUTH, 4, "not authorised: the token was refused")                       \
    X(EFORBIDDEN, 5, "this is not permitted to this account")                  \
    X(ECONFLICT, 6, "already defined")                                         \
    X(ENOROUTE, 7, "no endpoint is defined for this host and path")            \
    X(EUNAVAILABLE, 8, "no client serves this host now")                       \
    X(EREFUSED, 9, "the connection was refused")                               \
    X(EUPSTREAM, 10, "the upstream sent an invalid response")                  \
    X(ETIMEDOUT, 11, "timed out")                                              \
    X(ECANCELED, 12, "cancelled")                                              \
    X(ECLOSED, 13, "the connection was closed")                                \
    X(ERESET, 14, "the connection was reset")                                  \
    X(ELIMIT, 15, "a limit was reached")                                       \
    X(ETOOLARGE, 16, "the body is too large")                                  \
    X(EHEADSIZE, 17, "the message head is too large")                          \
    X(EURISIZE, 18, "the request target is too long")                          \
    X(EMETHOD, 19, "this method is not implemented")                           \
    X(EVERSION, 20, "this protocol version is not supported")                  \
    X(EBADMESSAGE, 21, "malformed HTTP message")                               \
    X(EEXPECT, 22, "this expectation cannot be met")                           \
    X(EDNS, 23, "the name could not be resolved")                              \
    X(ENETWORK, 24, "the network or host cannot be reached")                   \
    X(EGOAWAY, 25, "shutting down")                                            \
    X(EADDRINUSE, 26, "the address is already in use")                         \
    X(EADDRNOTAVAIL, 27, "the address is not one of this machine's")           \
    X(EPERM, 28, "the operating system does not permit it")                    \
    X(EIO, 29, "input or output error")                                        \
    X(ESILENT, 30, "the peer went silent")                                     \
    X(EHANDSHAKE, 31, "the server did not accept the websocket handshake")     \
    X(EINSECURE, 32, "a token would cross the network in clear text")          \
    X(ENOTSUP, 33, "not supported by this build")                              \
    X(EMFILE, 34, "out of file descriptors")                                   \
    X(EINTERNAL, 35, "internal error")                                         \
    X(EDOTS, 36, "dot segments in a path that decides where a request goes")   \
    X(ETLS, 37, "the TLS handshake failed, or its peer broke the protocol")    \
    X(ECERT, 38, "the certificate of the other side is not trusted")           \
    X(EPROXY, 39, "the proxy did not open a tunnel")                           \
    X(EPROXYAUTH, 40, "the proxy wants a user and password, or other ones")    \
    X(ENOHOST, 41, "no account may serve this host")                           \
    X(ETOOMANY, 42, "too many failed attempts: wait a minute")                 \
    X(ECLIENTCERT, 43, "a certificate of this side is wanted, or another one")

#define INLETS_ERR_ENUM_(name, number, text) INLETS_##name = -(number),
enum inlets_err {
    INLETS_OK = 0,
    INLETS_ERR_MAP(INLETS_ERR_ENUM_) INLETS_ERR_LAST_ = -44
};
#undef INLETS_ERR_ENUM_

/* A sentence for people. Never NULL; a static string. */
INLETS_API const char *inlets_strerror(int err);
/* The name without prefix, e.g. "EAUTH". Never NULL; a static string. */
INLETS_API const char *inlets_errname(int err);

#ifdef __cplusplus
}
#endif
#endif
