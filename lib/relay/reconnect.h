/* reconnect.h: when to try again. No sockets: it says `dial`, its owner says
 * what came of it.
 *
 * After a loss at once, or, if the server has so many clients that they would
 * all come at once, after a random part of the spread that it said. Failed
 * attempts then wait 10, 20, 40, 80, 80 ... ms through the first second, so
 * that a server that was restarted has us back within 100 ms; behind it they
 * wait with full jitter below 1 s, 2 s ... max_ms, so that a crowd spreads
 * out. 30 s of health forget how far that had grown. A connection that lasted
 * less than a second is no failure (a flapping link must be back soon), but
 * the next attempt keeps a pause, so that a server that throws us out at once
 * is not hammered. */
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
#define INL_RECONNECT_STEP_MAX_MS 80u
#define INL_RECONNECT_QUICK_MS 1000u /* the first second */

struct inl_reconnect {
    struct inl_env *env;
    uint64_t id; /* for the trace */
    enum inl_reconnect_state state;
    struct inl_timer timer;
    struct inl_later at_once; /* when there is no memory for the timer */
    uint32_t max_ms;
    unsigned failures; /* in a row, since it was last ready */
    uint64_t row_ms;   /* when the first of them was tried */
    uint64_t slow_ms;  /* present bound of the jitter; 0: not there yet */
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
 * (a refusal that retrying cannot heal). spread_ms: a first retry waits a
 * random part of it. Returns the wait in ms. */
uint64_t inl_reconnect_lost(struct inl_reconnect *r, uint32_t at_least_ms,
                            uint32_t spread_ms);
/* Dials now, although there is a connection; it may turn out to be the
 * better one. False: an attempt is under way or waits already. */
bool inl_reconnect_beside(struct inl_reconnect *r);
/* That attempt failed, and the old connection is still there. */
void inl_reconnect_kept(struct inl_reconnect *r);
void inl_reconnect_close(struct inl_reconnect *r);

#endif
