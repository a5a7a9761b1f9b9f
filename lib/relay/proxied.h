/* proxied.h: the machine of a connection that a trusted proxy passes on with
 * a PROXY header in front (proto/proxy_protocol.h). It reads the header,
 * writes whom it names into the link, and hands the link over: from then on
 * everybody sees the visitor where the proxy was. */
#ifndef INL_RELAY_PROXIED_H
#define INL_RELAY_PROXIED_H

#include "base/env.h"
#include "base/link.h"
#include "base/list.h"

/* Borrowed; outlives the connections. */
struct inl_proxied_config {
    /* The whole header must be here by then: a peer that sends half of one
     * holds a connection and nothing else. */
    uint32_t timeout_ms;
    /* The link is somebody else's now: sets another machine, or closes it. */
    void (*start)(void *user, struct inl_link *link);
    void *user;
};

/* Puts the machine on a fresh link and into the list. On failure, and when no
 * header comes, the link is reset, and the log says why. */
void inl_proxied_start(const struct inl_proxied_config *config,
                       struct inl_list *list, struct inl_link *link);

/* Closes all: nothing was asked yet. */
void inl_proxied_close(struct inl_list *list);

#endif
