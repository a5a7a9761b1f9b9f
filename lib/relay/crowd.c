/* crowd.c: see crowd.h.
 *
 * A place is an address with at least one member who counts; it is freed with
 * the last of them. Failure: without memory for a place nobody can be counted,
 * so the newcomer is refused. */
#include "relay/crowd.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "base/slice.h"
#include <string.h>

/* Against a log that grows as fast as a flood comes in. */
#define SAY_MS 1000u

struct inl_crowd_place {
    struct inl_map_node node;
    struct inl_ip ip;
    uint32_t count;
};

void inl_crowd_init(struct inl_crowd *c, struct inl_env *env, uint32_t max,
                    uint32_t max_per_address)
{
    uint64_t seed = 0;

    if (max_per_address > 0) {
        inl_env_random(env, &seed, sizeof(seed));
    }
    *c = (struct inl_crowd){
        .env = env, .max = max, .max_per_address = max_per_address};
    inl_list_init(&c->members);
    inl_list_init(&c->idle);
    inl_map_init(&c->places, seed);
}

void inl_crowd_fini(struct inl_crowd *c)
{
    inl_map_fini(&c->places);
}

/* ---- places ------------------------------------------------------------ */

static struct inlets_slice key_of(const struct inl_ip *ip)
{
    return inl_slice((const char *)ip->bytes, sizeof(ip->bytes));
}

static struct inl_crowd_place *
place_find(const struct inl_crowd *c, const struct inl_ip *ip, uint64_t hash)
{
    struct inl_map_node *n = inl_map_first(&c->places, hash);

    while (n != NULL) {
        struct inl_crowd_place *p =
            inl_container(n, struct inl_crowd_place, node);

        if (memcmp(&p->ip, ip, sizeof(*ip)) == 0) {
            return p;
        }
        n = inl_map_next(n);
    }
    return NULL;
}

/* The place of an address, made if there is none; NULL: out of memory. */
static struct inl_crowd_place *place_of(struct inl_crowd *c, struct inl_ip ip)
{
    struct inl_crowd_place *p;
    uint64_t hash;

    ip = inl_ip_place(ip);
    hash = inl_map_hash_slice(&c->places, key_of(&ip));
    p = place_find(c, &ip, hash);
    if (p != NULL) {
        return p;
    }
    p = inl_calloc(1, sizeof(*p));
    if (p == NULL) {
        return NULL;
    }
    p->ip = ip;
    if (inl_map_add(&c->places, &p->node, hash) != 0) {
        inl_free(p);
        return NULL;
    }
    return p;
}

static void place_leave(struct inl_crowd *c, struct inl_crowd_place *p)
{
    if (--p->count == 0) {
        inl_map_remove(&c->places, &p->node);
        inl_free(p);
    }
}

/* ---- members ------------------------------------------------------------ */

/* false: its address has its number already. */
static bool take_place(struct inl_crowd *c, struct inl_crowd_member *m,
                       struct inlets_slice peer_ip)
{
    struct inl_crowd_place *p;
    struct inl_ip ip;

    if (c->max_per_address == 0 || !inl_ip_parse(peer_ip, &ip)) {
        return true;
    }
    p = place_of(c, ip);
    if (p == NULL || p->count >= c->max_per_address) {
        return false;
    }
    p->count++;
    m->place = p;
    return true;
}

/* It is still here, but does not count any more. */
static void discount(struct inl_crowd_member *m)
{
    m->counts = false;
    m->crowd->count--;
    m->crowd->uncounted++;
    inl_list_remove(&m->idle);
    if (m->place != NULL) {
        place_leave(m->crowd, m->place);
        m->place = NULL;
    }
}

/* There is one too many: is there one who can give way? */
static bool make_room(struct inl_crowd *c,
                      struct inl_crowd_member **ret_instead)
{
    if (inl_list_empty(&c->idle)) {
        return false;
    }
    *ret_instead = inl_container(c->idle.next, struct inl_crowd_member, idle);
    discount(*ret_instead);
    return true;
}

enum inl_crowd_verdict inl_crowd_join(struct inl_crowd *c,
                                      struct inl_crowd_member *m,
                                      struct inlets_slice peer_ip,
                                      struct inl_crowd_member **ret_instead)
{
    *ret_instead = NULL;
    *m = (struct inl_crowd_member){.crowd = c, .counts = true};
    inl_list_init(&m->node);
    inl_list_init(&m->idle);
    inl_list_push_back(&c->members, &m->node);
    c->count++;
    if (!take_place(c, m, peer_ip)) {
        discount(m);
        return INL_CROWD_ADDRESS;
    }
    if (c->max > 0 && c->count > c->max && !make_room(c, ret_instead)) {
        discount(m);
        return INL_CROWD_FULL;
    }
    return INL_CROWD_WELCOME;
}

void inl_crowd_idle(struct inl_crowd_member *m, bool is_idle)
{
    inl_list_remove(&m->idle);
    if (is_idle && m->counts) {
        inl_list_push_back(&m->crowd->idle, &m->idle);
    }
}

void inl_crowd_leave(struct inl_crowd_member *m)
{
    if (m->crowd == NULL) {
        return;
    }
    if (m->counts) {
        discount(m);
    }
    m->crowd->uncounted--;
    inl_list_remove(&m->node);
    m->crowd = NULL;
}

bool inl_crowd_should_say(struct inl_crowd *c, uint32_t *ret_unsaid)
{
    uint64_t now = c->env->now_ms;

    if (c->said_ms != 0 && now < c->said_ms + SAY_MS) {
        c->unsaid++;
        return false;
    }
    *ret_unsaid = c->unsaid;
    c->said_ms = now;
    c->unsaid = 0;
    return true;
}
