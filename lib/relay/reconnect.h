/* reconnect.h: when to try again. No sockets: it says `dial`, its owner says
 * what came of it.
 *
 * After a loss at once; failed attempts then wait 10, 20, 40 ms ... through
 * the first second, doubling to max_ms with full jitter from then on, so
 * that a crowd spreads out. 30 s of health forget all failures. A connection
 * that lasted less than a second is no failure (a flapping link must be back
 * soon), but the next attempt keeps a pause, so that a server that throws us
 * out at once is not hammered. */
#ifndef INL_RELAY_RECONNECT_H
#define INL_RELAY_RECONNECT_H

#include "base/env.h"

enum inl_reconnect_state {
    INL_RECONNECT_IDLE,
    INL_RECONNECT_DIALING,
    INL_RECONNECT_READY,
    INL_RECONNECT_WAITING,
    INL_RECONNECT_CLOSED
};

#define INL_RECONNECT_HEALTHY_MS 30000u
#define INL_RECONNECT_BRIEF_MS 1000u
#define INL_RECONNECT_PAUSE_MS 50u
#define INL_RECONNECT_FIRST_MS 10u

struct inl_reconnect {
    struct inl_env *env;
    enum inl_reconnect_state state;
    struct inl_timer timer;
    struct inl_later at_once; /* when there is no memory for the timer */
    uint32_t max_ms;
    unsigned failures; /* in a row */
    uint64_t ready_ms; /* since when it is ready */
    uint64_t attempts; /* in all */
    void (*dial)(struct inl_reconnect *r);
};

void inl_reconnect_init(struct inl_reconnect *r, struct inl_env *env,
                        uint32_t max_ms, void (*dial)(struct inl_reconnect *r));
/* The first attempt, at the next turn. */
void inl_reconnect_start(struct inl_reconnect *r);
/* The attempt succeeded. */
void inl_reconnect_ready(struct inl_reconnect *r);
/* The attempt failed, or the connection was lost. at_least_ms: wait no less
 * (a refusal that retrying cannot heal). Returns the wait in ms. */
uint64_t inl_reconnect_lost(struct inl_reconnect *r, uint32_t at_least_ms);
void inl_reconnect_close(struct inl_reconnect *r);

#endif
