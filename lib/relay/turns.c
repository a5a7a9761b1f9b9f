/* turns.c: see turns.h.
 *
 * Whoever asked waits in its place; a timer that is due at once serves the
 * places one after the other, one of each, and is set again from the end of
 * the loop's turn, so that everything else comes first. Failure: without
 * memory for the timer they are served at the end of this turn. */
#include "relay/turns.h"

#include "base/cidr.h"
#include "base/slice.h"
#include <string.h>

/* In one turn of the loop: those that take long (some 2 ms each, so that a
 * request beside them waits for some 10), and any. */
#define LONG_A_TURN 4u
#define SERVED_A_TURN 64u

static struct inl_turn *next(struct inl_turns *t)
{
    while (t->waiting > 0) {
        struct inl_list *node = inl_list_pop(&t->places[++t->last].waiting);

        if (node != NULL) {
            t->waiting--;
            return inl_container(node, struct inl_turn, waiting);
        }
    }
    return NULL;
}

static void serve(struct inl_turns *t)
{
    unsigned took_long = 0;

    for (unsigned i = 0; i < SERVED_A_TURN && took_long < LONG_A_TURN; i++) {
        struct inl_turn *turn = next(t);

        if (turn == NULL) {
            break;
        }
        took_long += t->serve(turn);
    }
    if (t->waiting > 0) {
        inl_env_later(t->env, &t->later);
    }
}

static void on_timer(struct inl_timer *timer)
{
    serve(inl_container(timer, struct inl_turns, timer));
}

static void on_later(struct inl_later *later)
{
    struct inl_turns *t = inl_container(later, struct inl_turns, later);

    if (t->waiting > 0 &&
        inl_timer_at(t->env, &t->timer, t->env->now_ms) != 0) {
        serve(t);
    }
}

void inl_turns_init(struct inl_turns *t, struct inl_env *env,
                    bool (*serve_one)(struct inl_turn *turn))
{
    uint64_t seed;

    *t = (struct inl_turns){.env = env, .serve = serve_one};
    inl_later_init(&t->later, on_later);
    inl_timer_init(&t->timer, on_timer);
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&t->seed, seed);
    for (size_t i = 0; i < INL_TURNS_PLACES; i++) {
        inl_list_init(&t->places[i].members);
        inl_list_init(&t->places[i].waiting);
    }
}

/* Those whose address nobody knows are one. */
static uint8_t place_of(const struct inl_turns *t, struct inlets_slice peer_ip)
{
    struct inl_ip ip;

    if (!inl_ip_parse(peer_ip, &ip)) {
        memset(&ip, 0, sizeof(ip));
    }
    ip = inl_ip_place(ip);
    return (uint8_t)inl_map_hash_slice(&t->seed,
                                       inl_slice(ip.bytes, sizeof(ip.bytes)));
}

void inl_turns_join(struct inl_turns *t, struct inl_turn *turn,
                    struct inlets_slice peer_ip)
{
    struct inl_turns_place *p;

    turn->place = place_of(t, peer_ip);
    p = &t->places[turn->place];
    inl_list_init(&turn->waiting);
    inl_list_push_back(&p->members, &turn->node);
    p->count++;
}

void inl_turns_ask(struct inl_turns *t, struct inl_turn *turn)
{
    if (!inl_list_linked(&turn->waiting)) {
        inl_list_push_back(&t->places[turn->place].waiting, &turn->waiting);
        t->waiting++;
        inl_env_later(t->env, &t->later);
    }
}

void inl_turns_leave(struct inl_turns *t, struct inl_turn *turn)
{
    if (inl_list_linked(&turn->waiting)) {
        inl_list_remove(&turn->waiting);
        t->waiting--;
    }
    if (inl_list_linked(&turn->node)) {
        inl_list_remove(&turn->node);
        t->places[turn->place].count--;
    }
    if (t->waiting == 0) {
        inl_timer_off(t->env, &t->timer);
    }
}

struct inl_turn *inl_turns_surplus(struct inl_turns *t)
{
    struct inl_turns_place *most = &t->places[0];

    for (size_t i = 1; i < INL_TURNS_PLACES; i++) {
        most = t->places[i].count > most->count ? &t->places[i] : most;
    }
    return most->count > 0
               ? inl_container(most->members.next, struct inl_turn, node)
               : NULL;
}
