/* turns.h: who is served next where serving takes long, as the arithmetic of a
 * handshake does. Addresses take turns, and between two servings the loop has
 * a turn of its own: a flood waits for itself, not others for the flood.
 *
 * An address of IPv6 is its first 64 bits here, as in relay/crowd.h. */
#ifndef INL_RELAY_TURNS_H
#define INL_RELAY_TURNS_H

#include "base/env.h"
#include "base/list.h"
#include "base/map.h"
#include <stdbool.h>
#include <stdint.h>

/* Addresses share them, by a hash that strangers cannot know: no memory to run
 * out of, and at the worst one in so many waits with the flood. */
#define INL_TURNS_PLACES 256u

struct inl_turn {
    struct inl_list node, waiting; /* of its place */
    uint8_t place;
};

struct inl_turns {
    struct inl_env *env;
    /* Its turn. Returns whether it took long. It may leave, and free itself
     * as far as the env's `later` allows. */
    bool (*serve)(struct inl_turn *turn);
    struct inl_later later;
    struct inl_timer timer;
    struct inl_map seed; /* for its hash alone */
    struct inl_turns_place {
        struct inl_list members; /* the oldest first */
        struct inl_list waiting;
        uint32_t count;
    } places[INL_TURNS_PLACES];
    uint32_t waiting;
    uint8_t last; /* the place that was served last */
};

void inl_turns_init(struct inl_turns *t, struct inl_env *env,
                    bool (*serve)(struct inl_turn *turn));

void inl_turns_join(struct inl_turns *t, struct inl_turn *turn,
                    struct inlets_slice peer_ip);
/* Twice is once, for both. */
void inl_turns_ask(struct inl_turns *t, struct inl_turn *turn);
void inl_turns_leave(struct inl_turns *t, struct inl_turn *turn);

/* Who has to go when there are too many: the oldest of whoever has the most.
 * NULL when there is nobody. */
struct inl_turn *inl_turns_surplus(struct inl_turns *t);

#endif
