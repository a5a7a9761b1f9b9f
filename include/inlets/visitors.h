/* visitors.h: who may visit what: rules by host and path, with bearer tokens,
 * addresses and limits. They are kept as a text (JSON), which holds no token,
 * but their SHA-256 only; man inlets-server says what is in it.
 *
 * parse -> free, or give them to a server. One thread at a time. */
#ifndef INLETS_VISITORS_H
#define INLETS_VISITORS_H

#include <inlets/accounts.h>
#include <inlets/err.h>
#include <inlets/export.h>
#include <inlets/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct inlets_visitors;
struct inlets_server;

/* INLETS_EINVAL with a sentence in `why`, or INLETS_ENOMEM. An empty text is
 * an error: no rules are {"visitors": []}. */
INLETS_API INLETS_MUST_USE int
inlets_visitors_parse(struct inlets_visitors **ret_visitors,
                      struct inlets_slice text, char why[INLETS_WHY_SIZE]);
/* NULL is ignored. */
INLETS_API void inlets_visitors_free(struct inlets_visitors *visitors);
/* How many rules there are. */
INLETS_API size_t inlets_visitors_count(const struct inlets_visitors *visitors);

/* From now on these, instead of those before; at any time. The server owns
 * them, unless the error is INLETS_ENOMEM: then nothing has changed. Requests
 * that run are not looked at again; what they count for stays counted. */
INLETS_API INLETS_MUST_USE int
inlets_server_set_visitors(struct inlets_server *server,
                           struct inlets_visitors *visitors);

#ifdef __cplusplus
}
#endif
#endif
