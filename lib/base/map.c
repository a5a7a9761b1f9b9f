/* map.c: chained hash maps over nodes that live in their objects.
 *
 * The map owns only the bucket table, a power of two that doubles when there
 * are as many nodes as buckets. Failure: a table that cannot grow stays; only
 * the first one has to be there. It never shrinks, so removal cannot fail. */
#include "base/map.h"

#include "base/mem.h"
#include <inlets/err.h>
#include <string.h>

#define BUCKETS_MIN 8u

void inl_map_init(struct inl_map *m, uint64_t seed)
{
    *m = (struct inl_map){.seed = seed};
}

void inl_map_fini(struct inl_map *m)
{
    inl_free(m->buckets);
    inl_map_init(m, m->seed);
}

/* The finaliser of splitmix64: each bit of x moves each bit of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t inl_map_hash_u32(const struct inl_map *m, uint32_t key)
{
    /* Without the constant, key and seed 0 would stay 0. */
    return mix((m->seed ^ key) + UINT64_C(0x9e3779b97f4a7c15));
}

/* --- SipHash-1-3 (Aumasson, Bernstein): visitors choose these keys --- */

static uint64_t rotl(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t inl_map_hash_slice(const struct inl_map *m, struct inlets_slice key)
{
    uint64_t k0 = m->seed;
    uint64_t k1 = mix(m->seed + UINT64_C(0x9e3779b97f4a7c15));
    uint64_t v[4] = {
        k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)key.len << 56;
    uint64_t word;
    size_t at = 0;

    /* Host order: the hash never leaves this process. */
    for (; key.len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, key.ptr + at, sizeof(word));
        sip_word(v, word);
    }
    for (unsigned shift = 0; at < key.len; at++, shift += 8) {
        last |= (uint64_t)(unsigned char)key.ptr[at] << shift;
    }
    sip_word(v, last);
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- The table --- */

static struct inl_map_node **bucket(const struct inl_map *m, uint64_t hash)
{
    return &m->buckets[hash & (m->nbuckets - 1)];
}

static void push(struct inl_map *m, struct inl_map_node *node)
{
    struct inl_map_node **at = bucket(m, node->hash);

    node->next = *at;
    *at = node;
}

/* Doubles the table if memory allows. */
static void grow(struct inl_map *m)
{
    size_t nbuckets = m->nbuckets == 0 ? BUCKETS_MIN : m->nbuckets * 2;
    struct inl_map old = *m;
    struct inl_map_node **buckets;

    buckets = inl_calloc(nbuckets, sizeof(*buckets));
    if (buckets == NULL) {
        return;
    }
    m->buckets = buckets;
    m->nbuckets = nbuckets;
    for (size_t i = 0; i < old.nbuckets; i++) {
        struct inl_map_node *node = old.buckets[i];

        while (node != NULL) {
            struct inl_map_node *next = node->next;

            push(m, node);
            node = next;
        }
    }
    inl_free(old.buckets);
}

int inl_map_add(struct inl_map *m, struct inl_map_node *node, uint64_t hash)
{
    if (m->count >= m->nbuckets) {
        grow(m);
    }
    if (m->nbuckets == 0) {
        return INLETS_ENOMEM;
    }
    node->hash = hash;
    push(m, node);
    m->count++;
    return 0;
}

void inl_map_remove(struct inl_map *m, struct inl_map_node *node)
{
    struct inl_map_node **at;

    if (m->nbuckets == 0) {
        return;
    }
    for (at = bucket(m, node->hash); *at != NULL; at = &(*at)->next) {
        if (*at == node) {
            *at = node->next;
            node->next = NULL;
            m->count--;
            return;
        }
    }
}

static struct inl_map_node *find(struct inl_map_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

struct inl_map_node *inl_map_first(const struct inl_map *m, uint64_t hash)
{
    return m->nbuckets == 0 ? NULL : find(*bucket(m, hash), hash);
}

struct inl_map_node *inl_map_next(const struct inl_map_node *node)
{
    return find(node->next, node->hash);
}

struct inl_map_node *inl_map_walk(const struct inl_map *m,
                                  const struct inl_map_node *node)
{
    size_t i = 0;

    if (node != NULL) {
        if (node->next != NULL) {
            return node->next;
        }
        i = (size_t)(node->hash & (m->nbuckets - 1)) + 1;
    }
    for (; i < m->nbuckets; i++) {
        if (m->buckets[i] != NULL) {
            return m->buckets[i];
        }
    }
    return NULL;
}
