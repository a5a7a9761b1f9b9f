/* forwarding.h: what a proxy does to fields (RFC 9110 7.6): hop-by-hop
 * fields and all that Connection names are removed first, then ours are set;
 * what a visitor sent under our names, or their underscore twins, is gone.
 *
 * A trusted proxy in front of us knows more than we do: whose connection it
 * passes on, and by which name, port and scheme it was reached. What it says
 * is kept when it is well formed. "Trusted" means that it sets or clears
 * these fields itself: who passes on what a visitor wrote is not to be
 * trusted. */
#ifndef INL_RELAY_FORWARDING_H
#define INL_RELAY_FORWARDING_H

#include "base/cidr.h"
#include "base/date.h"
#include "relay/service.h"
#include <inlets/types.h>
#include <stdbool.h>

/* Room for the visitor's fields and ours. */
#define INL_FORWARD_MAX_FIELDS (128u + 8u)

/* Room for the chains that we make longer (X-Forwarded-For, Forwarded, Via).
 * Of a longer X-Forwarded-For the near end is kept, which is the one that can
 * be believed; a longer Forwarded begins anew; a longer Via stays in lines of
 * its own. Against chains that grow the head beyond what upstreams take. */
#define INL_FORWARD_TEXT 4096u

/* The longest X-Forwarded-For or Forwarded that goes on. */
#define INL_FORWARD_CHAIN_MAX 1536u
/* The longest X-Request-Id that a trusted proxy may choose. */
#define INL_FORWARD_ID_MAX 64u
/* The longest name of a protocol that is upgraded to. */
#define INL_UPGRADE_MAX 32u

struct inl_forwarding {
    struct inlets_slice peer_ip; /* of who connected to us */
    struct inlets_slice proto;   /* "http" */
    struct inlets_slice port;    /* that the visitor connected to */
    struct inlets_slice id;
    struct inlets_slice upgrades; /* beside websocket: with commas between */
    bool http10;                  /* the request came as HTTP/1.0 */
    bool trusted;                 /* the peer is a trusted proxy */
    bool forwarded;               /* set Forwarded (RFC 7239) too */
};

/* What a rebuilt request head points into. */
struct inl_forward_room {
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    char text[INL_FORWARD_TEXT];
    size_t used; /* of text */
};

/* Whose request is it: the right-most address of X-Forwarded-For that is not
 * a trusted proxy's, or the peer's own when that is not one. Text in buf or
 * peer_ip itself. */
struct inlets_slice inl_forward_client(const struct inlets_head *head,
                                       const struct inl_cidr_set *trusted,
                                       struct inlets_slice peer_ip,
                                       char buf[INL_IP_TEXT]);

/* The X-Request-Id of a trusted proxy, when it is one line of sane characters,
 * at most INL_FORWARD_ID_MAX of them; else empty. */
struct inlets_slice inl_forward_id(const struct inlets_head *head);

/* Rebuilds a request head: *ret is `head` with fields in `room`.
 * INLETS_HEAD_UPGRADE stays only for a websocket upgrade and for one of
 * f->upgrades, which is then the value of the field Upgrade; any other upgrade
 * is ignored, as RFC 9110 7.8 allows. INLETS_EHEADSIZE when there are too
 * many fields. */
int inl_forward_request(const struct inlets_head *head,
                        const struct inl_forwarding *f,
                        struct inl_forward_room *room, struct inlets_head *ret);

/* May the request go no further (OPTIONS with "Max-Forwards: 0", RFC 9110
 * 7.6.2)? Then it is ours to answer. */
bool inl_forward_ends_here(const struct inlets_head *head);

/* The same for a response (room for INL_FORWARD_MAX_FIELDS); it sets no field
 * of ours: RFC 9110 7.6.3 lets a gateway do without Via there.
 * INLETS_EUPSTREAM when there are too many fields. */
int inl_forward_response(const struct inlets_head *head,
                         struct inlets_field *fields, struct inlets_head *ret);

/* At the edge: a final response without Date gets one (RFC 9110 6.6.1), if
 * there is room. `head` has its fields in `fields`. */
void inl_forward_date(struct inlets_head *head, struct inlets_field *fields,
                      char buf[INL_DATE_TEXT]);

/* The protocol that Upgrade and Connection name, if it is only one and may be
 * upgraded to; else empty. */
struct inlets_slice inl_upgrade_of(const struct inlets_head *head);
/* Does Upgrade name h2c alone? Nobody here switches to it, and clients that ask
 * for it with each connection send HTTP/1.1 until one does (RFC 7540 3.2). */
bool inl_asks_for_h2c(const struct inlets_head *head);
bool inl_is_websocket_upgrade(const struct inlets_head *head);
/* Is it the name of a protocol (RFC 9110 7.8), but not of another HTTP or of
 * TLS? Behind those a visitor could speak to an upstream past all our rules
 * (h2c smuggling). */
bool inl_may_upgrade_to(struct inlets_slice protocol);

/* The path of a request target: without query. */
struct inlets_slice inl_target_path(struct inlets_slice target);

#endif
