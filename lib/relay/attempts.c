/* attempts.c: see attempts.h. */
#include "relay/attempts.h"

#include "base/mem.h"
#include "base/slice.h"

static const struct inl_pace_rate rate = {INL_ATTEMPTS_EACH_MS * 1000u,
                                          INL_ATTEMPTS_BURST};

struct place {
    struct inl_map_node node;
    struct inl_list age;
    struct inl_pace pace;
    uint8_t key[sizeof(struct inl_ip)];
};

static uint64_t now_us(const struct inl_attempts *a)
{
    return a->env->now_ms * 1000;
}

static struct inlets_slice key_of(const struct inl_ip *ip)
{
    return inl_slice(ip->bytes, inl_ip_is_v4(ip) ? sizeof(ip->bytes) : 64 / 8);
}

static struct place *find(const struct inl_attempts *a, struct inlets_slice key,
                          uint64_t hash)
{
    struct inl_map_node *n = inl_map_first(&a->places, hash);

    for (; n != NULL; n = inl_map_next(n)) {
        struct place *p = inl_container(n, struct place, node);

        if (memcmp(p->key, key.ptr, key.len) == 0) {
            return p;
        }
    }
    return NULL;
}

static void forget(struct inl_attempts *a, struct place *p)
{
    inl_map_remove(&a->places, &p->node);
    inl_list_remove(&p->age);
    a->n--;
    inl_free(p);
}

static struct place *oldest(const struct inl_attempts *a)
{
    return inl_container(a->by_age.next, struct place, age);
}

static struct place *add(struct inl_attempts *a, struct inlets_slice key,
                         uint64_t hash)
{
    struct place *p = inl_calloc(1, sizeof(*p));

    if (p == NULL || inl_map_add(&a->places, &p->node, hash) != 0) {
        inl_free(p);
        return NULL;
    }
    memcpy(p->key, key.ptr, key.len);
    inl_list_init(&p->age);
    if (a->n == INL_ATTEMPTS_PLACES) {
        forget(a, oldest(a));
    }
    a->n++;
    return p;
}

void inl_attempts_init(struct inl_attempts *a, struct inl_env *env)
{
    uint64_t seed;

    *a = (struct inl_attempts){.env = env};
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&a->places, seed);
    inl_list_init(&a->by_age);
}

void inl_attempts_fini(struct inl_attempts *a)
{
    while (a->n > 0) {
        forget(a, oldest(a));
    }
    inl_map_fini(&a->places);
}

uint64_t inl_attempts_wait_ms(const struct inl_attempts *a,
                              const struct inl_ip *ip)
{
    struct inlets_slice key = key_of(ip);
    const struct place *p = find(a, key, inl_map_hash_slice(&a->places, key));

    return p == NULL
               ? 0
               : (inl_pace_wait_us(&p->pace, rate, now_us(a)) + 999) / 1000;
}

void inl_attempts_failed(struct inl_attempts *a, const struct inl_ip *ip)
{
    struct inlets_slice key = key_of(ip);
    uint64_t hash = inl_map_hash_slice(&a->places, key);
    struct place *p = find(a, key, hash);

    if (p == NULL) {
        p = add(a, key, hash);
    }
    if (p != NULL) {
        inl_pace_take(&p->pace, rate, now_us(a));
        inl_list_remove(&p->age);
        inl_list_push_back(&a->by_age, &p->age);
    }
}
