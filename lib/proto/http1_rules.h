/* http1_rules.h: what start lines and fields may look like and what they
 * mean for framing: the questions that the reader and the writer of HTTP/1.1
 * share. Only for http1*.c; everybody else uses http1.h. */
#ifndef INL_PROTO_HTTP1_RULES_H
#define INL_PROTO_HTTP1_RULES_H

#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

/* A request line (RFC 9112 section 3) or a status line (section 4). */
struct inl_http1_line {
    struct inlets_slice method, target;
    struct inlets_slice reason;
    unsigned status;
    bool http10;
};

/* Take the line without its CRLF. 0, INLETS_EVERSION, INLETS_EURISIZE,
 * INLETS_EMETHOD (CONNECT, TRACE) or INLETS_EBADMESSAGE; *ret_reason is then
 * a static string. */
int inl_http1_parse_request_line(struct inlets_slice text,
                                 struct inl_http1_line *ret,
                                 const char **ret_reason);
int inl_http1_parse_status_line(struct inlets_slice text,
                                struct inl_http1_line *ret,
                                const char **ret_reason);
/* Could this be the beginning of one? So that a TLS hello on a plain port is
 * refused at its first byte. */
bool inl_http1_may_become_request(struct inlets_slice text);
bool inl_http1_may_become_status(struct inlets_slice text);
/* Does it begin with a method longer than any that there is? */
bool inl_http1_is_long_method(struct inlets_slice text);

/* origin-form, or "*" for OPTIONS (RFC 9112 section 3.2). */
bool inl_http1_is_target(struct inlets_slice method,
                         struct inlets_slice target);
/* Visible ASCII; no space, no '#', nothing above 0x7e. Not empty. */
bool inl_http1_is_visible(struct inlets_slice s);

/* What the fields say about framing, routing and the connection. */
struct inl_http1_facts {
    unsigned hosts, lengths, encodings;             /* how many lines of each */
    struct inlets_slice host, length, encoding;     /* the last of each */
    bool says_close, says_keep_alive, says_upgrade; /* Connection */
    bool says_more;                                 /* names fields */
    size_t connection_bytes;                        /* of all its values */
    bool has_upgrade;                               /* Upgrade */
};

/* Takes note of a field. false: it is Host or a framing field, which have
 * places of their own in a head. */
bool inl_http1_note_field(struct inl_http1_facts *facts,
                          const struct inlets_field *field, bool is_request);

/* Turns an absolute-form target into origin-form and checks the Host of a
 * request (RFC 9112 3.2, 3.2.2). target is text in a buffer that may be
 * written to. false with *ret_reason. */
bool inl_http1_settle_target(struct inlets_slice method, char *target,
                             size_t target_len, bool http10,
                             const struct inl_http1_facts *facts,
                             struct inlets_slice *ret_target,
                             struct inlets_slice *ret_host,
                             const char **ret_reason);

/* Has a path a segment "." or ".." (RFC 3986 3.3), or what servers take for
 * one: encoded dots or slashes, backslashes, a parameter behind the dots? */
bool inl_http1_has_dot_segments(struct inlets_slice path);

/* Content-Length and Transfer-Encoding. */
bool inl_http1_is_framing_name(struct inlets_slice name);
/* May a trailer section have it (RFC 9110 6.5.1)? */
bool inl_http1_may_trail(struct inlets_slice name);

/* The reason for CONNECT and TRACE: known, and not for anybody (405). */
extern const char inl_http1_forbidden_method[];

#endif
