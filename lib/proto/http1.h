/* http1.h: HTTP/1.1 messages (RFC 9112): llhttp for reading, strictly (no
 * lenient flag is ever set), and our own serialiser. Heads are rebuilt from
 * their parts, never copied: what goes out is always one well-formed message.
 *
 * Memory: a parser has no buffer of its own between heads; the head being
 * read grows a buffer up to the limits, which is freed when on_head returns.
 * Body bytes are passed through as slices of the input. */
#ifndef INL_PROTO_HTTP1_H
#define INL_PROTO_HTTP1_H

#include "base/queue.h"
#include <inlets/err.h>
#include <inlets/types.h>
#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits, against heads made to eat memory (TUNNEL.md). */
#define INL_HTTP1_MAX_HEAD (64u * 1024)  /* all of it: EHEADSIZE -> 431 */
#define INL_HTTP1_MAX_FIELD (16u * 1024) /* one name + value: EHEADSIZE */
/* All Connection values: each field is looked for in all of them, which for 64
 * KiB took 18 ms. EHEADSIZE. */
#define INL_HTTP1_MAX_CONNECTION 1024u
#define INL_HTTP1_MAX_FIELDS 128u           /* EHEADSIZE */
#define INL_HTTP1_MAX_TARGET (8u * 1024)    /* EURISIZE -> 414 */
#define INL_HTTP1_MAX_TRAILERS (8u * 1024)  /* EHEADSIZE */
#define INL_HTTP1_MAX_CHUNK_EXT (4u * 1024) /* per body; CVE-2023-39326 */

/* Of one parser; at most the above. */
struct inl_http1_limits {
    uint32_t head;     /* bytes */
    uint32_t fields;   /* of a head, and of trailers */
    uint32_t trailers; /* bytes */
};
#define INL_HTTP1_LIMITS                                                       \
    ((struct inl_http1_limits){INL_HTTP1_MAX_HEAD, INL_HTTP1_MAX_FIELDS,       \
                               INL_HTTP1_MAX_TRAILERS})

enum inl_http1_role { INL_HTTP1_REQUEST, INL_HTTP1_RESPONSE };

struct inl_http1;

struct inl_http1_ops {
    /* A head is complete. Host is taken out of the fields and put into
     * head->host; framing fields are taken out; Connection is left in (the
     * forwarding rules need it). The slices die with the call. A response has
     * any number of 1xx heads before its own; after a 101 nothing follows.
     * From on_head and on_body neither fini nor next may be called. */
    void (*on_head)(struct inl_http1 *h, const struct inlets_head *head,
                    void *user);
    void (*on_body)(struct inl_http1 *h, struct inlets_slice data, void *user);
    /* The message is complete; trailers NULL when there are none. */
    void (*on_end)(struct inl_http1 *h, const struct inlets_head *trailers,
                   void *user);
};

/* Where a name and a value are in buf; of a start line: method and target, or
 * nothing and the reason phrase. */
struct inl_http1_mark {
    uint32_t name, name_len;
    uint32_t value, value_len;
};

enum inl_http1_phase {
    INL_HTTP1_START, /* blank lines and the start line: ours */
    INL_HTTP1_FIELDS,
    INL_HTTP1_BODY /* and the trailers */
};

/* The caller may read the flags and set the limits; all else is private. */
struct inl_http1 {
    llhttp_t parser;
    const struct inl_http1_ops *ops;
    void *user;
    enum inl_http1_role role;
    enum inl_http1_phase phase;
    struct inl_http1_limits limits; /* may be set before the first byte */
    char *buf;                      /* owned: the head or trailers being read */
    size_t buf_len, buf_cap;
    struct inl_http1_mark *marks; /* owned: where the fields are in buf */
    size_t nmarks, marks_cap;
    char *options; /* owned: what Connection names, while trailers may come */
    size_t options_len;
    struct inl_http1_mark line; /* the start line */
    unsigned status;
    const char *base;    /* what llhttp reads right now; not owned */
    uint64_t raw_bytes;  /* of this head, or of this body, before base */
    uint64_t raw_fields; /* raw_bytes where the fields or trailers began */
    uint64_t body_bytes, chunks; /* of this body */
    uint64_t extension_bytes;    /* names and values of its chunks' */
    uint64_t extension_part;     /* of the name or value that is being read */
    size_t interim_bytes;        /* heads of 1xx before this response */
    unsigned blank_bytes;        /* CR and LF before the start line */
    const char *reason;          /* static: our words for err; NULL: llhttp's */
    int err;                     /* the first error; sticks */
    bool name_done;              /* the last mark has its name */
    bool chunked, until_close;   /* this body */
    bool response_to_head;       /* the response being read has no body */
    /* May be set before the first byte: the response being read is to CONNECT,
     * so a 2xx has no body, whatever its fields say (RFC 9110 9.3.6): what
     * follows it is the tunnel. */
    bool response_to_connect;
    bool keep_alive; /* valid from on_head on: the peer allows reuse */
    bool http10;     /* the message is HTTP/1.0 */
    bool upgrade;    /* on_head: request asks to switch; see head->flags */
    bool in_message; /* a byte of a message has come */
    bool ended;      /* on_end has run, or a 101 came; feed stops until _next */
    bool upgraded;   /* ended by a 101: raw bytes follow */
};

void inl_http1_init(struct inl_http1 *h, enum inl_http1_role role,
                    const struct inl_http1_ops *ops, void *user);
void inl_http1_fini(struct inl_http1 *h);

/* Reads up to n bytes and stops at the end of a message: *ret_used bytes
 * were read, the rest belongs to what follows. Feeding k bytes yields at most
 * k body bytes, so throttle by feeding. Returns 0 or
 *   EBADMESSAGE (400), EURISIZE (414), EHEADSIZE (431), EMETHOD (501: unknown
 *   to llhttp), EVERSION (505), ENOMEM.
 * A request must have exactly one valid Host (RFC 9112 3.2; HTTP/1.0 may
 * have none), and an absolute-form target that agrees with it; absolute-form
 * is turned into origin-form. After an error the parser stays in it. */
int inl_http1_feed(struct inl_http1 *h, const uint8_t *p, size_t n,
                   size_t *ret_used);

/* The connection ended. Ends a response that is delimited by it (on_end
 * runs); EBADMESSAGE when in the middle of a message, 0 between messages. */
int inl_http1_eof(struct inl_http1 *h);

/* Get ready for the next message; a response's rules depend on the method
 * of its request (HEAD has no body). */
void inl_http1_next(struct inl_http1 *h, bool response_to_head);

/* Is the request whose head is being read a HEAD, as far as that is known? To
 * be asked before on_head returns, or after an error. */
bool inl_http1_is_head(const struct inl_http1 *h);

/* What ended the parser, in llhttp's words ("Invalid header token"). Never
 * NULL. A static string. */
const char *inl_http1_reason(const struct inl_http1 *h);

/* How a body is framed on the wire. */
enum inl_http1_framing {
    INL_HTTP1_NO_BODY,
    INL_HTTP1_LENGTH, /* Content-Length */
    INL_HTTP1_CHUNKED,
    INL_HTTP1_CLOSE /* until the connection ends: HTTP/1.0 peers only */
};

/* Serialisers. All append to q; INLETS_ENOMEM leaves a part of it there (the
 * connection is then closed). INLETS_EINVAL: a name or value that must not
 * be sent; nothing was written. extra is a ready field section to put behind
 * head's own ("Connection: close\r\n"), may be empty. */
int inl_http1_put_request(struct inl_queue *q, const struct inlets_head *head,
                          struct inlets_slice extra,
                          enum inl_http1_framing *ret_framing);
/* body_allowed: false for answers to HEAD. peer_http10: the peer speaks 1.0,
 * so a body of unknown length is delimited by close. 1xx, 204 and 304 never
 * have a body. */
int inl_http1_put_response(struct inl_queue *q, const struct inlets_head *head,
                           struct inlets_slice extra, bool body_allowed,
                           bool peer_http10,
                           enum inl_http1_framing *ret_framing);
int inl_http1_put_body(struct inl_queue *q, enum inl_http1_framing framing,
                       struct inlets_slice data);
int inl_http1_put_end(struct inl_queue *q, enum inl_http1_framing framing,
                      const struct inlets_head *trailers);

/* The standard reason phrase; "" when unknown. */
const char *inl_http1_status_text(unsigned status);

/* The value of the first field of that name; ptr NULL when absent. */
struct inlets_slice inl_head_find(const struct inlets_head *head,
                                  struct inlets_slice name);

#endif
