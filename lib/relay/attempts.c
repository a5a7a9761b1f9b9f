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
    struct inl_ip ip;
};

static uint64_t now_us(const struct inl_attempts *a)
{
    return a->env->now_ms * 1000;
}

static uint64_t hash_of(const struct inl_attempts *a, const struct inl_ip *ip)
{
    return inl_map_hash_slice(&a->places,
                              inl_slice(ip->bytes, sizeof(ip->bytes)));
}

static struct place *find(const struct inl_attempts *a, const struct inl_ip *ip)
{
    struct inl_map_node *n = inl_map_first(&a->places, hash_of(a, ip));

    for (; n != NULL; n = inl_map_next(n)) {
        struct place *p = inl_container(n, struct place, node);

        if (memcmp(&p->ip, ip, sizeof(*ip)) == 0) {
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

static struct place *add(struct inl_attempts *a, const struct inl_ip *ip)
{
    struct place *p = inl_calloc(1, sizeof(*p));

    if (p == NULL || inl_map_add(&a->places, &p->node, hash_of(a, ip)) != 0) {
        inl_free(p);
        return NULL;
    }
    p->ip = *ip;
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
    const struct inl_ip at = inl_ip_place(*ip);
    const struct place *p = find(a, &at);
    uint64_t wait = p == NULL ? 0 : inl_pace_wait_us(&p->pace, rate, now_us(a));

    return (wait + 999) / 1000;
}

void inl_attempts_failed(struct inl_attempts *a, const struct inl_ip *ip)
{
    const struct inl_ip at = inl_ip_place(*ip);
    struct place *p = find(a, &at);

    if (p == NULL) {
        p = add(a, &at);
    }
    if (p != NULL) {
        inl_pace_take(&p->pace, rate, now_us(a));
        inl_list_remove(&p->age);
        inl_list_push_back(&a->by_age, &p->age);
    }
}
