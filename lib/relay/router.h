/* router.h: host and path to service. Exact host, then "*.host" (one label),
 * then every host; within a host the longest path, by whole segments.
 *
 * Several targets of one endpoint: those that fail are left out while there is
 * another (outlier.h); of the others the healthiest; of these the one that the
 * visitor had (stick.h), or the least busy; equals take turns. A pick looks at
 * the targets of that endpoint and at nothing else. */
#ifndef INL_RELAY_ROUTER_H
#define INL_RELAY_ROUTER_H

#include "base/env.h"
#include "base/map.h"
#include "base/url.h"
#include "relay/outlier.h"
#include "relay/service.h"
#include "relay/stick.h"

/* How fit a target is for a new request; the lowest is taken. */
enum inl_health {
    INL_HEALTH_GOOD,
    INL_HEALTH_SUSPECT, /* has not answered for a while */
    INL_HEALTH_LOST,    /* without a websocket now; requests may wait */
    INL_HEALTH_OUT      /* takes no new requests */
};

/* One way to serve an endpoint. Embedded in its owner, which removes it
 * before it goes. */
struct inl_target {
    struct inl_service *service;
    enum inl_health (*health)(struct inl_target *t); /* NULL: good */
    unsigned (*busy)(struct inl_target *t); /* requests in flight; NULL: 0 */
    /* The name by which visitors stick to it. Before it is added the owner may
     * set one that lives longer than the target: it must be hard to guess, for
     * visitors see it. 0: the router sets a random one when it needs it. */
    uint64_t key;
    uint64_t session; /* for the log; 0: none */
    uint64_t serial;  /* no other target of this router had or will have it */
    struct inl_outlier outlier;
    struct inl_list node;
    struct inl_route *route; /* NULL: in no router */
    /* Nodes of those who remember it: they are unlinked when it is removed,
     * so a linked node says that the target is still there. */
    struct inl_list watchers;
};

struct inl_router {
    struct inl_service service;
    struct inl_env *env;
    struct inl_map hosts;
    size_t nroutes;
    enum inl_stick stick; /* may be set at any time */
    uint64_t last_serial;
    struct inl_later *on_added; /* runs when targets have come; NULL: nobody */
};

/* What a request asks of the targets. All zero: any. */
struct inl_pick {
    struct inlets_slice peer; /* the visitor's address, for INL_STICK_ADDRESS */
    uint64_t key;             /* in its cookie, for INL_STICK_COOKIE; 0: none */
    const uint64_t *tried;    /* serials of those that are not taken */
    size_t ntried;
    bool not_lost;  /* it has waited for a lost one already */
    bool may_probe; /* it may be repeated: a probe that is due is its own */
};

void inl_router_init(struct inl_router *r, struct inl_env *env);
/* All targets have been removed. */
void inl_router_fini(struct inl_router *r);

void inl_target_init(struct inl_target *t, struct inl_service *service);
/* 0, INLETS_ENOMEM. Several targets may share an endpoint. */
int inl_router_add(struct inl_router *r, const struct inl_endpoint *endpoint,
                   struct inl_target *t);
/* Harmless when it is in no router. */
void inl_router_remove(struct inl_router *r, struct inl_target *t);

/* Is there any target at exactly this endpoint? */
bool inl_router_has(const struct inl_router *r,
                    const struct inl_endpoint *endpoint);
/* The endpoint itself; NULL: there is none. */
struct inl_route *inl_router_find(const struct inl_router *r,
                                  const struct inl_endpoint *endpoint);

/* The target for a request; INLETS_ENOROUTE: nothing is defined there,
 * INLETS_EUNAVAILABLE: all its targets are out, or were tried. */
int inl_router_pick(struct inl_router *r, struct inlets_slice host,
                    struct inlets_slice path, const struct inl_pick *pick,
                    struct inl_target **ret_target);

/* Would this pick find a target that is well? */
bool inl_router_has_good(struct inl_router *r, struct inlets_slice host,
                         struct inlets_slice path, const struct inl_pick *pick);

/* In two steps: the endpoint (NULL: none), which stays while the router is not
 * changed, then its target. */
struct inl_route *inl_router_match(const struct inl_router *r,
                                   struct inlets_slice host,
                                   struct inlets_slice path);
/* Does the path decide where requests for this host go? */
bool inl_router_has_paths(const struct inl_router *r, struct inlets_slice host);
/* Without taking its turn. */
struct inl_target *inl_route_first(const struct inl_route *route);
bool inl_route_has_choice(const struct inl_route *route);
/* Will a request for its next target wait for a websocket? */
bool inl_route_is_lost(const struct inl_route *route);
int inl_route_pick(struct inl_router *r, struct inl_route *route,
                   const struct inl_pick *pick, struct inl_target **ret_target);

/* What became of a request that had begun (inl_outlier_begin) there. A target
 * without others beside it is never ejected. */
void inl_router_outcome(struct inl_router *r, struct inl_target *t,
                        struct inl_trial trial, enum inl_outcome outcome);

#endif
