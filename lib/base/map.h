/* map.h: intrusive hash maps. Keys by 32-bit number (streams) and by string
 * (hosts). The string hash is seeded per map, so that a visitor cannot
 * choose names that collide. */
#ifndef INL_BASE_MAP_H
#define INL_BASE_MAP_H

#include <inlets/types.h>
#include <stddef.h>
#include <stdint.h>

struct inl_map_node {
    struct inl_map_node *next;
    uint64_t hash;
};

/* All zero (plus a seed) is an empty map. */
struct inl_map {
    struct inl_map_node **buckets; /* owned */
    size_t nbuckets, count;
    uint64_t seed;
};

void inl_map_init(struct inl_map *m, uint64_t seed);
/* Frees the table, not the nodes. */
void inl_map_fini(struct inl_map *m);

uint64_t inl_map_hash_u32(const struct inl_map *m, uint32_t key);
uint64_t inl_map_hash_slice(const struct inl_map *m, struct inlets_slice key);

/* Adds a node under its hash; equal keys are the caller's care.
 * INLETS_ENOMEM only for the very first node: a table that cannot grow
 * just gets slower. */
int inl_map_add(struct inl_map *m, struct inl_map_node *node, uint64_t hash);
void inl_map_remove(struct inl_map *m, struct inl_map_node *node);

/* First node of that hash, and the next one of the same hash. */
struct inl_map_node *inl_map_first(const struct inl_map *m, uint64_t hash);
struct inl_map_node *inl_map_next(const struct inl_map_node *node);

/* Any walk over all nodes: start with NULL. The current node may be removed
 * only after its successor was taken. */
struct inl_map_node *inl_map_walk(const struct inl_map *m,
                                  const struct inl_map_node *node);

#endif
