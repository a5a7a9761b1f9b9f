/* forwarding.h: what a proxy does to fields (RFC 9110 7.6): hop-by-hop
 * fields and all that Connection names are removed first, then ours are set;
 * what a visitor sent under our names, or their underscore twins, is gone. */
#ifndef INL_RELAY_FORWARDING_H
#define INL_RELAY_FORWARDING_H

#include "relay/service.h"
#include <inlets/types.h>
#include <stdbool.h>

/* Room for the visitor's fields and ours. */
#define INL_FORWARD_MAX_FIELDS (128u + 8u)

struct inl_forwarding {
    struct inlets_slice peer_ip; /* of the visitor */
    struct inlets_slice proto;   /* "http" */
    struct inlets_slice port;    /* that the visitor connected to */
    struct inlets_slice id;
};

/* Rebuilds a request head: *ret is `head` with `fields` (room for
 * INL_FORWARD_MAX_FIELDS). INLETS_HEAD_UPGRADE stays only for a websocket
 * upgrade; any other upgrade is ignored, as RFC 9110 7.8 allows.
 * INLETS_EHEADSIZE when there are too many fields. */
int inl_forward_request(const struct inlets_head *head,
                        const struct inl_forwarding *f,
                        struct inlets_field *fields, struct inlets_head *ret);

/* The same for a response; it sets no field of ours.
 * INLETS_EUPSTREAM when there are too many fields. */
int inl_forward_response(const struct inlets_head *head,
                         struct inlets_field *fields, struct inlets_head *ret);

/* Do Upgrade and Connection say websocket, and only that? */
bool inl_is_websocket_upgrade(const struct inlets_head *head);

/* The path of a request target: without query. */
struct inlets_slice inl_target_path(struct inlets_slice target);

#endif
