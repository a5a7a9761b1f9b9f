/* net/error.c: libuv's error numbers to ours. */
#include "net/loop.h"

#include <inlets/err.h>

int inl_error_from_uv(int status)
{
    switch (status) {
    case 0:
        return 0;
    case UV_ENOMEM:
    case UV_ENOBUFS:
    case UV_EAI_MEMORY:
        return INLETS_ENOMEM;
    case UV_EINVAL:
    case UV_EAFNOSUPPORT:
        return INLETS_EINVAL;
    case UV_ECONNREFUSED:
        return INLETS_EREFUSED;
    case UV_ETIMEDOUT:
        return INLETS_ETIMEDOUT;
    case UV_ECANCELED:
    case UV_EAI_CANCELED:
        return INLETS_ECANCELED;
    case UV_EOF:
        return INLETS_ECLOSED;
    case UV_EPIPE:
    case UV_ECONNRESET:
    case UV_ECONNABORTED:
    case UV_ENOTCONN:
        return INLETS_ERESET;
    case UV_ENETUNREACH:
    case UV_ENETDOWN:
    case UV_EHOSTUNREACH:
        return INLETS_ENETWORK;
    case UV_EADDRINUSE:
        return INLETS_EADDRINUSE;
    case UV_EADDRNOTAVAIL:
        return INLETS_EADDRNOTAVAIL;
    case UV_EACCES:
    case UV_EPERM:
        return INLETS_EPERM;
    case UV_EMFILE:
    case UV_ENFILE:
        return INLETS_EMFILE;
    case UV_EAI_ADDRFAMILY:
    case UV_EAI_AGAIN:
    case UV_EAI_BADFLAGS:
    case UV_EAI_FAIL:
    case UV_EAI_FAMILY:
    case UV_EAI_NODATA:
    case UV_EAI_NONAME:
    case UV_EAI_OVERFLOW:
    case UV_EAI_SERVICE:
    case UV_EAI_SOCKTYPE:
        return INLETS_EDNS;
    default:
        return INLETS_EIO;
    }
}
