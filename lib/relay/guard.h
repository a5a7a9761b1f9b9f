/* guard.h: who may visit: the rules of the visitors file at work, between those
 * who have a request and the service that routes it. Each is decided on by the
 * host and path that route it, before anything of it goes further:
 *
 *   address      deny, then allow: INLETS_EFORBIDDEN
 *   credentials  a bearer token (RFC 6750): INLETS_EAUTH; INLETS_ETOOMANY for
 *                an address with too many wrong ones. Authorization ends here.
 *   limits       INLETS_ETOOLARGE, INLETS_ETOOMANY
 *
 * The most specific rule applies, alone; by the router's own matching. A path
 * that an upstream may read as one with another rule is refused
 * (INLETS_EDOTS). Where nobody serves there is nothing to guard.
 *
 * What is counted by host lives as long as the rule or a request under it, also
 * while the rules change; what is counted by address is in one table with an
 * upper bound: beyond it who came longest ago and has no request running is
 * forgotten. */
#ifndef INL_RELAY_GUARD_H
#define INL_RELAY_GUARD_H

#include "base/list.h"
#include "base/map.h"
#include "proto/json_visitors.h"
#include "relay/attempts.h"
#include "relay/permit.h"
#include "relay/router.h"
#include "relay/service.h"

/* Addresses with something to remember: against who has many. Some 2 MiB. */
#define INL_GUARD_PLACES 16384u

struct inl_guard_rule;

/* All zero: no rules. */
struct inl_guard_rules {
    struct inl_visitors_doc doc;
    struct inl_guard_rule *items; /* owned; one for each entry */
    struct inl_router by_path;    /* as written */
    struct inl_router by_plain;   /* in plain form */
    bool is_set;
};

struct inl_guard {
    struct inl_service service;
    struct inl_env *env;
    const struct inl_router *router;    /* who serves */
    struct inl_service *next;           /* for those who may */
    const struct inl_cidr_set *trusted; /* whose wrong tokens do not count */
    struct inl_guard_rules rules;
    struct inl_attempts attempts; /* wrong tokens */
    struct inl_map places;
    struct inl_list by_age; /* of places without requests, the oldest first */
    size_t nplaces;
    size_t nrunning; /* permits that have something to give back */
    uint64_t last_serial;
};

void inl_guard_init(struct inl_guard *g, struct inl_env *env,
                    const struct inl_router *router, struct inl_service *next,
                    const struct inl_cidr_set *trusted);
/* All permits have ended. */
void inl_guard_fini(struct inl_guard *g);

/* From now on these rules, for requests that come. Takes the document over; not
 * on INLETS_ENOMEM, when nothing has changed. */
int inl_guard_set(struct inl_guard *g, struct inl_visitors_doc *doc);

#endif
