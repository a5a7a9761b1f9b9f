/* reconnect.h: when to try again. No sockets: it says `dial`, its owner says
 * what came of it.
 *
 * Alone, or one of a few (spread 0): after a loss at once. Failed attempts
 * then wait 10, 20, 40, 80, 80 ... ms through the first second, so that a
 * server that was restarted has us back within 100 ms; behind it they wait
 * with full jitter below 1 s, 2 s ... max_ms.
 *
 * One of a crowd: the server of N clients said a spread S of N/50 s. All of
 * them lose it at the same instant, so each first waits a random part of S,
 * and never less than S between two attempts: from S to 2 S, 4 S ... max_ms,
 * at random. With gaps of S or more and a first date that is even over S, no
 * instant has more than N/S = 50 attempts a second to be expected, however
 * long the server is away and whatever the later waits are (the number of
 * attempts of one client in any time S is at most one, and the first date
 * shifts it evenly); chance makes 80 of them at times. Whoever was told
 * another spread in between (an urgent attempt, see remote.h) draws a new
 * date from all of it. With S up to 30 s and max_ms at 30 s everybody is back
 * within 30 s of the server's return.
 *
 * 30 s of health forget how far the waits had grown. A connection that lasted
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
    uint32_t crowd_ms; /* the spread that the last date was drawn from; 0 */
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
 * (a refusal that retrying cannot heal). spread_ms: of the crowd that we are
 * part of; 0: none. Returns the wait in ms. */
uint64_t inl_reconnect_lost(struct inl_reconnect *r, uint32_t at_least_ms,
                            uint32_t spread_ms);
/* Dials now, although there is a connection; it may turn out to be the
 * better one. False: an attempt is under way or waits already. */
bool inl_reconnect_beside(struct inl_reconnect *r);
/* That attempt failed, and the old connection is still there. */
void inl_reconnect_kept(struct inl_reconnect *r);
/* What made it wait is over: it does not wait any longer. */
void inl_reconnect_hurry(struct inl_reconnect *r);
void inl_reconnect_close(struct inl_reconnect *r);

#endif
