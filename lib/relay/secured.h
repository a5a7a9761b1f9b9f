/* secured.h: TLS between two links: it is the machine of the one below, whose
 * bytes are encrypted, and the carrier of the one above, which has what is in
 * them. Whoever has the link above need not know. */
#ifndef INL_RELAY_SECURED_H
#define INL_RELAY_SECURED_H

#include "base/link.h"
#include "proto/tls.h"
#include "relay/turns.h"

struct inl_secured;

/* Connections that begin in the same way; outlives them. */
struct inl_secured_group {
    struct inl_env *env;
    struct inl_tls_config *tls; /* borrowed */
    /* For a server, whose handshakes strangers begin: addresses take turns.
     * Borrowed; NULL: each goes on at once, and `most` is 0. */
    struct inl_turns *turns;
    /* Handshakes at once: beyond them the oldest of who has the most is reset,
     * so that who opens connections and says nothing keeps nobody out; 0: any
     * number. */
    unsigned most;
    /* Once for each, unless it was cancelled. err 0: set a machine on the link
     * (link->tls says what was agreed on), or close it. Else why, a sentence:
     * the link below is closed. */
    void (*done)(void *user, int err, const char *why, struct inl_link *link);
    struct inl_list shaking; /* the oldest first */
    unsigned n;
};

void inl_secured_group_init(struct inl_secured_group *group,
                            const struct inl_secured_group *values);
/* Cancels the handshakes. */
void inl_secured_group_close(struct inl_secured_group *group);

/* Begins on a link without a machine, which it owns from then on. name: whom a
 * client means, NULL for a server; due_ms: when the handshake must be done
 * (absolute). NULL: no memory, and the link is closed. */
struct inl_secured *inl_secured_start(struct inl_secured_group *group,
                                      struct inl_link *below, const char *name,
                                      uint64_t due_ms, void *user);
/* Only before done. */
void inl_secured_cancel(struct inl_secured *s);

#endif
