/* reconnect.c: see reconnect.h.
 *
 *   IDLE -> DIALING -> READY -> WAITING -> DIALING ...   any -> CLOSED
 *              \-----------------^
 */
#include "relay/reconnect.h"

#include "base/slice.h"

static const char *const state_names[] = {"idle", "dialing", "ready", "waiting",
                                          "closed"};

#define TO(s) (1u << (s))
static const unsigned moves[] = {
    [INL_RECONNECT_IDLE] = TO(INL_RECONNECT_WAITING) | TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_DIALING] = TO(INL_RECONNECT_READY) |
                              TO(INL_RECONNECT_WAITING) |
                              TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_READY] =
        TO(INL_RECONNECT_WAITING) | TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_WAITING] =
        TO(INL_RECONNECT_DIALING) | TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_CLOSED] = 0,
};

static bool move(struct inl_reconnect *r, enum inl_reconnect_state to)
{
    if ((moves[r->state] & TO(to)) == 0) {
        return false;
    }
    inl_env_trace_move(r->env, "reconnect", 0, state_names[r->state],
                       state_names[to]);
    r->state = to;
    return true;
}

static void attempt(struct inl_reconnect *r)
{
    if (move(r, INL_RECONNECT_DIALING)) {
        r->attempts++;
        r->dial(r);
    }
}

static void wait_over(struct inl_timer *timer)
{
    attempt(inl_container(timer, struct inl_reconnect, timer));
}

static void no_wait(struct inl_later *later)
{
    attempt(inl_container(later, struct inl_reconnect, at_once));
}

void inl_reconnect_init(struct inl_reconnect *r, struct inl_env *env,
                        uint32_t max_ms, void (*dial)(struct inl_reconnect *r))
{
    *r = (struct inl_reconnect){.env = env, .max_ms = max_ms, .dial = dial};
    inl_timer_init(&r->timer, wait_over);
    inl_later_init(&r->at_once, no_wait);
}

static void wait_ms(struct inl_reconnect *r, uint64_t ms)
{
    /* No memory for a timer is no reason to give up for ever: at once, then;
     * but not from here, since the attempt may fail the same way. */
    if (move(r, INL_RECONNECT_WAITING) &&
        inl_timer_at(r->env, &r->timer, r->env->now_ms + ms) != 0) {
        inl_env_later(r->env, &r->at_once);
    }
}

void inl_reconnect_start(struct inl_reconnect *r)
{
    wait_ms(r, 0);
}

void inl_reconnect_ready(struct inl_reconnect *r)
{
    if (move(r, INL_RECONNECT_READY)) {
        r->ready_ms = r->env->now_ms;
    }
}

static uint64_t backoff_ms(struct inl_reconnect *r)
{
    uint64_t ms = INL_RECONNECT_FIRST_MS;

    if (r->failures == 0) {
        return 0;
    }
    for (unsigned i = 1; i < r->failures && ms < r->max_ms; i++) {
        ms *= 2;
    }
    ms = ms < r->max_ms ? ms : r->max_ms;
    return ms < 1000 ? ms : 1 + inl_env_random_u32(r->env) % ms;
}

uint64_t inl_reconnect_lost(struct inl_reconnect *r, uint32_t at_least_ms)
{
    uint64_t lasted = r->env->now_ms - r->ready_ms;
    uint64_t ms;

    if (r->state == INL_RECONNECT_READY) {
        if (lasted >= INL_RECONNECT_HEALTHY_MS) {
            r->failures = 0;
        } else if (lasted < INL_RECONNECT_BRIEF_MS &&
                   at_least_ms < INL_RECONNECT_PAUSE_MS) {
            at_least_ms = INL_RECONNECT_PAUSE_MS;
        }
    } else {
        r->failures++;
    }
    ms = backoff_ms(r);
    ms = ms > at_least_ms ? ms : at_least_ms;
    wait_ms(r, ms);
    return ms;
}

void inl_reconnect_close(struct inl_reconnect *r)
{
    if (r->state != INL_RECONNECT_CLOSED) {
        (void)move(r, INL_RECONNECT_CLOSED);
        inl_timer_off(r->env, &r->timer);
        inl_list_remove(&r->at_once.node);
    }
}
