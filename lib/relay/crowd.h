/* crowd.h: the visitors who are connected, and how many may be: in all, and
 * from one address. A crowd counts; what happens to who is one too many is
 * the visitor's matter (relay/visitor.h).
 *
 * An address of IPv6 is its first 64 bits here: who has one such address has
 * all of them (RFC 6177). */
#ifndef INL_RELAY_CROWD_H
#define INL_RELAY_CROWD_H

#include "base/env.h"
#include "base/list.h"
#include "base/map.h"
#include <stdbool.h>
#include <stdint.h>

/* Who is refused, or gives way, holds a connection for as long as it takes to
 * be told: so many are told at once, the others are cut. Against a flood. */
#define INL_CROWD_UNCOUNTED_MAX 256u

struct inl_crowd {
    struct inl_env *env;
    struct inl_list members; /* all of them, those who were refused, too */
    struct inl_list idle;    /* of those who count: the longest idle first */
    uint32_t max, max_per_address; /* 0: no limit */
    uint32_t count;                /* who counts */
    uint32_t uncounted;            /* who does not, and is still here */
    struct inl_map places;         /* by address */
    uint64_t said_ms; /* when the log had a refusal last; 0: never */
    uint32_t unsaid;  /* refusals since */
};

/* One connection in a crowd. */
struct inl_crowd_member {
    struct inl_crowd *crowd; /* NULL: in none */
    struct inl_list node, idle;
    struct inl_crowd_place *place; /* NULL: does not count by address */
    bool counts;
};

enum inl_crowd_verdict {
    INL_CROWD_WELCOME,
    INL_CROWD_FULL,    /* there are too many in all, and none is idle */
    INL_CROWD_ADDRESS, /* there are too many from its address */
};

/* The limits: 0 is none. */
void inl_crowd_init(struct inl_crowd *c, struct inl_env *env, uint32_t max,
                    uint32_t max_per_address);
/* Everybody has left. */
void inl_crowd_fini(struct inl_crowd *c);

/* Becomes a member, one that counts if it is welcome. peer_ip: its address,
 * empty when it is outside of the limit per address. *ret_instead: who does
 * not count any more since m does, and has to be uncounted; NULL: nobody. */
enum inl_crowd_verdict inl_crowd_join(struct inl_crowd *c,
                                      struct inl_crowd_member *m,
                                      struct inlets_slice peer_ip,
                                      struct inl_crowd_member **ret_instead);
/* Whether it waits for a request, and may have to give way. */
void inl_crowd_idle(struct inl_crowd_member *m, bool is_idle);
/* Twice is once. */
void inl_crowd_leave(struct inl_crowd_member *m);

/* Is a line in the log due for this refusal? One a second is; *ret_unsaid:
 * how many had none since. */
bool inl_crowd_should_say(struct inl_crowd *c, uint32_t *ret_unsaid);

#endif
