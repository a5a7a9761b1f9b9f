/* http.h: a tiny HTTP/1.1 reader for the tests, written from RFC 9112 and
 * apart from lib/proto, so that what the library writes is read by somebody
 * who shares none of its code. It is strict: what two readers could take for
 * different messages is an error here. */
#ifndef TEST_WORLD_HTTP_H
#define TEST_WORLD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wh;

struct wh_ops {
    /* The head is in h->head, a text of whole lines. */
    void (*head)(struct wh *h, void *user);
    void (*body)(struct wh *h, const uint8_t *p, size_t n, void *user);
    /* The message is complete (trailers, if any, in h->head). */
    void (*end)(struct wh *h, void *user);
};

enum wh_state {
    WH_HEAD,
    WH_LENGTH,
    WH_CHUNK_SIZE,
    WH_CHUNK,
    WH_CHUNK_END,
    WH_TRAILERS,
    WH_CLOSE, /* until the end of the connection */
    WH_RAW,   /* after a 101 */
    WH_ERROR
};

/* Requests whose answers are due: was it HEAD? */
#define WH_MAX_DUE 256u
#define WH_HEAD_MAX (160u * 1024)

struct wh {
    const struct wh_ops *ops;
    void *user;
    bool is_response;
    enum wh_state state;
    char *head; /* owned, NUL-terminated */
    size_t head_len, head_cap;
    char line[64]; /* chunk size line */
    size_t line_len;
    uint64_t left;
    unsigned status; /* of a response */
    bool chunked, has_length;
    uint64_t length;
    bool last;       /* Connection: close, or HTTP/1.0 */
    bool in_message; /* a byte of it has come */
    const char *why; /* what was wrong */
    bool due_head[WH_MAX_DUE];
    unsigned due_first, due_count;
};

void wh_init(struct wh *h, bool is_response, const struct wh_ops *ops,
             void *user);
void wh_fini(struct wh *h);
void wh_feed(struct wh *h, const uint8_t *p, size_t n);
/* The connection ended by FIN. Returns whether no message was cut. */
bool wh_eof(struct wh *h);
/* Response reader: a request went out. */
void wh_expect(struct wh *h, bool is_head);
/* The value of a field in h->head (the n-th of that name, from 0), copied to
 * buf; NULL when there is none. */
const char *wh_field(const struct wh *h, const char *name, unsigned nth,
                     char *buf, size_t size);

#endif
