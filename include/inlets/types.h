/* types.h: the values that cross the API: slices, fields, message heads. */
#ifndef INLETS_TYPES_H
#define INLETS_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed bytes. Not NUL-terminated. Valid only during the call that passes
 * them, unless said otherwise. */
struct inlets_slice {
    const char *ptr;
    size_t len;
};

/* One HTTP field line (RFC 9110 section 5). Names keep the sender's case. */
struct inlets_field {
    struct inlets_slice name;
    struct inlets_slice value;
};

/* content_length: no body and no field about it (a GET, a 204) */
#define INLETS_LENGTH_NONE (-2)
/* content_length: a body of a length not known beforehand (chunked) */
#define INLETS_LENGTH_UNKNOWN (-1)

/* head.flags: the request asks for, or the 101 grants, a switch of protocol
 * (RFC 9110 section 7.8). After the 101 the body is raw bytes both ways. */
#define INLETS_HEAD_UPGRADE 1u

/* The head of a request or a response (RFC 9112 section 2), or a trailer
 * section. Framing fields (Content-Length, Transfer-Encoding) are never in
 * `fields`: content_length says it all. A response to HEAD and a 304 may
 * carry a content_length of what is not sent. */
struct inlets_head {
    struct inlets_slice method;  /* requests: "GET" */
    struct inlets_slice target;  /* requests: "/path?query", as it was sent */
    struct inlets_slice host;    /* requests: the Host field, as it was sent */
    unsigned status;             /* responses: 100-599 */
    struct inlets_slice reason;  /* responses; may be empty */
    int64_t content_length;      /* bytes, or INLETS_LENGTH_... */
    unsigned flags;              /* INLETS_HEAD_... */
    const struct inlets_field *fields; /* all others, Host excepted */
    size_t nfields;
};

#ifdef __cplusplus
}
#endif
#endif
