/* exchange.h: answering HTTP requests with a C function.
 *
 * A handler is called with the head of each request. It answers at once or
 * later, whole or in pieces; bodies stream in both directions and neither is
 * ever held whole: nobody may send without credit from the one who consumes.
 *
 * Life of an exchange: it begins with the call of the handler and is over
 * when `on_close` has run (or, without callbacks, when the response has been
 * ended). After that the pointer is invalid. All calls must come from the
 * loop's thread. */
#ifndef INLETS_EXCHANGE_H
#define INLETS_EXCHANGE_H

#include <inlets/err.h>
#include <inlets/export.h>
#include <inlets/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct inlets_exchange;

/* req and all it points to are valid only during the call. */
typedef void (*inlets_handler_fn)(struct inlets_exchange *x,
                                  const struct inlets_head *req, void *user);

/* All optional. They may call any inlets_exchange_ function. */
struct inlets_exchange_callbacks {
    /* A piece of the request body; never more than was asked for with
     * inlets_exchange_read. */
    void (*on_body)(struct inlets_exchange *x, struct inlets_slice data,
                    void *user);
    /* The request is complete. trailers is NULL when there are none. */
    void (*on_end)(struct inlets_exchange *x,
                   const struct inlets_head *trailers, void *user);
    /* inlets_exchange_write takes bytes again. */
    void (*on_writable)(struct inlets_exchange *x, void *user);
    /* The exchange is over: err is 0 when both directions ended, else why
     * not (INLETS_ECANCELED: the visitor left). The last call. */
    void (*on_close)(struct inlets_exchange *x, int err, void *user);
};

/* Sets the callbacks and their user pointer; call it from the handler. The
 * struct is copied. Body bytes that nobody asks for stay with the sender. */
INLETS_API void
inlets_exchange_set_callbacks(struct inlets_exchange *x,
                              const struct inlets_exchange_callbacks *callbacks,
                              void *user);

/* Asks for up to `bytes` more of the request body. on_body may run during
 * this call, if bytes have come already. */
INLETS_API void inlets_exchange_read(struct inlets_exchange *x, size_t bytes);

/* Sends a response head: `head->status`, `fields`, `content_length` (or
 * INLETS_LENGTH_UNKNOWN) are used. 1xx heads may come before the final one.
 * Errors: INLETS_EINVAL (a second final head, a bad status, name or value),
 * INLETS_ECLOSED, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_exchange_respond(struct inlets_exchange *x,
                        const struct inlets_head *head);

/* Sends body bytes; they are copied. Returns how many were taken: fewer than
 * data.len means wait for on_writable. Negative: INLETS_ECLOSED,
 * INLETS_EINVAL (no head yet, or beyond content_length), INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int64_t
inlets_exchange_write(struct inlets_exchange *x, struct inlets_slice data);

/* Ends the response; trailers may be NULL. With a head of a known length
 * and fewer bytes written: INLETS_EINVAL, and the exchange is aborted. */
INLETS_API int inlets_exchange_end(struct inlets_exchange *x,
                                   const struct inlets_head *trailers);

/* A whole small answer in one call (at most 64 KiB of body). */
INLETS_API int inlets_exchange_reply(struct inlets_exchange *x, unsigned status,
                                     const char *content_type,
                                     struct inlets_slice body);

/* Gives up: the visitor gets a 502 if no head was sent, else a cut answer. */
INLETS_API void inlets_exchange_abort(struct inlets_exchange *x);

#ifdef __cplusplus
}
#endif
#endif
