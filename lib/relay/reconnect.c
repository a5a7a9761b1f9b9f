/* reconnect.c: see reconnect.h.
 *
 *   IDLE -> WAITING -> DIALING -> READY -> WAITING ...    any -> CLOSED
 *   READY -> DIALING -> READY     beside a connection that may live on
 */
#include "relay/reconnect.h"

#include "base/slice.h"

static const char *const state_names[] = {"idle", "dialing", "ready", "waiting",
                                          "closed"};

#define TO(s) (1u << (s))
static const unsigned moves[] = {
    [INL_RECONNECT_IDLE] = TO(INL_RECONNECT_WAITING) |
                           TO(INL_RECONNECT_DIALING) | TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_DIALING] = TO(INL_RECONNECT_READY) |
                              TO(INL_RECONNECT_WAITING) |
                              TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_READY] = TO(INL_RECONNECT_WAITING) |
                            TO(INL_RECONNECT_DIALING) |
                            TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_WAITING] =
        TO(INL_RECONNECT_DIALING) | TO(INL_RECONNECT_CLOSED),
    [INL_RECONNECT_CLOSED] = 0,
};

static bool move(struct inl_reconnect *r, enum inl_reconnect_state to)
{
    if ((moves[r->state] & TO(to)) == 0) {
        return false;
    }
    inl_env_trace_move(r->env, "reconnect", r->id, state_names[r->state],
                       state_names[to]);
    r->state = to;
    return true;
}

static void attempt(struct inl_reconnect *r)
{
    if (move(r, INL_RECONNECT_DIALING)) {
        r->attempts++;
        if (r->failures == 0) {
            r->row_ms = r->env->now_ms;
        }
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
        r->failures = 0;
        r->crowd_ms = 0;
    }
}

static uint64_t below(struct inl_reconnect *r, uint64_t ms)
{
    return ms == 0 ? 0 : inl_env_random_u32(r->env) % ms;
}

static uint64_t slow_wait(struct inl_reconnect *r)
{
    r->slow_ms = r->slow_ms == 0 ? INL_RECONNECT_QUICK_MS : r->slow_ms * 2;
    if (r->slow_ms > r->max_ms) {
        r->slow_ms = r->max_ms;
    }
    return 1 + below(r, r->slow_ms);
}

/* See reconnect.h. */
static uint64_t crowd_wait(struct inl_reconnect *r, uint32_t spread_ms)
{
    uint64_t most;

    if (spread_ms != r->crowd_ms) {
        r->crowd_ms = spread_ms;
        r->slow_ms = spread_ms;
        return below(r, spread_ms);
    }
    r->slow_ms = r->slow_ms * 2 < r->max_ms ? r->slow_ms * 2 : r->max_ms;
    most = r->slow_ms > spread_ms ? r->slow_ms : spread_ms;
    return spread_ms + below(r, most - spread_ms);
}

static uint64_t backoff_ms(struct inl_reconnect *r, uint32_t spread_ms)
{
    uint64_t ms = INL_RECONNECT_FIRST_MS;

    if (spread_ms > 0) {
        return crowd_wait(r, spread_ms);
    }
    r->crowd_ms = 0;
    if (r->failures == 0) {
        return 0;
    }
    if (r->env->now_ms - r->row_ms >= INL_RECONNECT_QUICK_MS) {
        return slow_wait(r);
    }
    for (unsigned i = 1; i < r->failures && ms < INL_RECONNECT_STEP_MAX_MS;
         i++) {
        ms *= 2;
    }
    return ms < r->max_ms ? ms : r->max_ms;
}

uint64_t inl_reconnect_lost(struct inl_reconnect *r, uint32_t at_least_ms,
                            uint32_t spread_ms)
{
    uint64_t now = r->env->now_ms;
    uint64_t lasted = now - r->ready_ms;
    uint64_t ms;

    if (r->state == INL_RECONNECT_WAITING) { /* it has a date already */
        return r->timer.due_ms > now ? r->timer.due_ms - now : 0;
    }
    if (r->state == INL_RECONNECT_READY) {
        if (lasted >= INL_RECONNECT_HEALTHY_MS) {
            r->slow_ms = 0;
        } else if (lasted < INL_RECONNECT_BRIEF_MS &&
                   at_least_ms < INL_RECONNECT_PAUSE_MS) {
            at_least_ms = INL_RECONNECT_PAUSE_MS;
        }
    } else if (r->state == INL_RECONNECT_DIALING) {
        r->failures++;
    }
    ms = backoff_ms(r, spread_ms);
    ms = ms > at_least_ms ? ms : at_least_ms;
    wait_ms(r, ms);
    return ms;
}

bool inl_reconnect_beside(struct inl_reconnect *r)
{
    if (r->state != INL_RECONNECT_READY && r->state != INL_RECONNECT_IDLE) {
        return false;
    }
    attempt(r);
    return true;
}

void inl_reconnect_kept(struct inl_reconnect *r)
{
    if (r->state == INL_RECONNECT_DIALING) {
        (void)move(r, INL_RECONNECT_READY);
    }
}

void inl_reconnect_hurry(struct inl_reconnect *r)
{
    if (r->state == INL_RECONNECT_WAITING) {
        (void)inl_timer_at(r->env, &r->timer, r->env->now_ms);
    }
}

void inl_reconnect_close(struct inl_reconnect *r)
{
    if (r->state != INL_RECONNECT_CLOSED) {
        (void)move(r, INL_RECONNECT_CLOSED);
        inl_timer_off(r->env, &r->timer);
        inl_list_remove(&r->at_once.node);
    }
}
