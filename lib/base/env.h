/* env.h: the only door to the world: the clock, timers, randomness, the log,
 * and what is to be done at the end of a turn.
 *
 * One env per inlets_server or inlets_client. A turn is: events come in
 * (links are fed, timers fire), then inl_env_settle() runs what was put off
 * (`later`), flushes the links marked dirty, and repeats until both queues
 * are empty. `now_ms` does not move during a turn.
 *
 * Rule: nothing is freed inside a callback. What ends is handed to
 * inl_env_later() and freed there. */
#ifndef INL_BASE_ENV_H
#define INL_BASE_ENV_H

#include "base/list.h"
#include <inlets/log.h>
#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

struct inl_env;

/* Work for the end of the turn. Embedded in its object. */
struct inl_later {
    struct inl_list node; /* inited by inl_later_init */
    void (*run)(struct inl_later *later);
};

/* Work that takes long, for another thread. Embedded in its object, which must
 * stay until `done`. */
struct inl_work {
    void (*run)(struct inl_work *work);  /* there: touches only its object */
    void (*done)(struct inl_work *work); /* here, in a turn; always follows */
    struct inl_later later;              /* the env's */
};

/* A deadline. Embedded in its object. Moving a deadline further away costs
 * nothing: the heap entry is corrected when it comes up. */
struct inl_timer {
    uint64_t due_ms;   /* the deadline; 0 when off */
    uint64_t armed_ms; /* what the heap sorts by; <= due_ms */
    size_t index;      /* place in the heap + 1; 0 when not in it */
    void (*fire)(struct inl_timer *timer);
};

struct inl_env_ops {
    /* n random bytes from the system's CSPRNG (deterministic in tests). */
    void (*random)(struct inl_env *env, void *ptr, size_t n);
    /* Something was put into `later` or `dirty` outside a turn: see that a
     * turn comes. May be NULL. */
    void (*wake)(struct inl_env *env);
    /* A public function was called, perhaps from outside a turn: bring now_ms
     * up to date. May be NULL. */
    void (*enter)(struct inl_env *env);
    /* Seconds since 1970. May be NULL: the system's. */
    int64_t (*wall_s)(struct inl_env *env);
    /* For inl_env_work: 0 or INLETS_ENOMEM. May be NULL: it is done on this
     * thread, at the end of the turn. */
    int (*work)(struct inl_env *env, struct inl_work *work);
};

struct inl_env {
    const struct inl_env_ops *ops;
    uint64_t now_ms; /* monotonic; set by the owner before each turn */

    struct inl_list later;
    struct inl_list dirty; /* struct inl_link.dirty */
    bool settling, firing; /* which part of the turn is on the stack */

    struct inl_timer **heap; /* owned */
    size_t nheap, heap_cap;

    uint8_t random_pool[256]; /* unused random bytes, wiped as they go */
    size_t random_left;

    inlets_log_fn log;
    int log_level;
    void *log_user;

    /* Golden traces: one line per state change of a machine. May be NULL. */
    void (*trace)(struct inl_env *env, const char *line, void *user);
    void *trace_user;
};

void inl_env_init(struct inl_env *env, const struct inl_env_ops *ops);
/* Settle first: `later` and `dirty` must be empty. Not from within settle. */
void inl_env_fini(struct inl_env *env);

void inl_later_init(struct inl_later *later,
                    void (*run)(struct inl_later *later));
/* Runs it once at the end of the turn; asking twice is asking once. */
void inl_env_later(struct inl_env *env, struct inl_later *later);
/* For later and link: puts node into one of the env's two queues, unless it
 * is in one, and sees that a turn comes. */
void inl_env_put(struct inl_env *env, struct inl_list *queue,
                 struct inl_list *node);

/* Starts it: 0 or INLETS_ENOMEM. How much runs at once, and what waits, is the
 * caller's to bound; the threads are shared with the resolver. */
int inl_env_work(struct inl_env *env, struct inl_work *work);

/* For what the user calls: the last turn may be long ago. */
void inl_env_enter(struct inl_env *env);

/* Seconds since 1970, by a clock that may jump: only for what people date. */
int64_t inl_env_wall_s(struct inl_env *env);

/* Ends a turn: runs `later` and flushes dirty links until nothing is left
 * (or, after 1000 rounds, asks for another turn for the rest). */
void inl_env_settle(struct inl_env *env);

void inl_timer_init(struct inl_timer *t, void (*fire)(struct inl_timer *t));
/* Sets or moves the deadline (absolute; a past one fires next turn, or, when
 * set from a fire callback, a millisecond later). INLETS_ENOMEM only when
 * the timer was off. */
int inl_timer_at(struct inl_env *env, struct inl_timer *t, uint64_t due_ms);
void inl_timer_off(struct inl_env *env, struct inl_timer *t);
/* Fires what is due at env->now_ms. A timer is off before it fires. */
void inl_env_fire_timers(struct inl_env *env);
/* The earliest heap entry, UINT64_MAX when there is none. */
uint64_t inl_env_next_due(const struct inl_env *env);

void inl_env_random(struct inl_env *env, void *ptr, size_t n);
uint32_t inl_env_random_u32(struct inl_env *env);

/* Logging: inl_log(env, INLETS_LOG_INFO, "request", INL_KV("method", slice),
 * INL_KN("status", 200)). Costs nothing below the level. */
#define INL_KV(k, s) ((struct inlets_log_field){(k), (s), 0})
#define INL_KN(k, n) ((struct inlets_log_field){(k), {NULL, 0}, (int64_t)(n)})
/* Only where it says something; at most INL_LOG_FIELDS in such an event. */
#define INL_KN_IF(is, k, n) INL_KN((is) ? (k) : NULL, (n))
#define INL_LOG_FIELDS 16u
#define inl_log(env, level, event, ...)                                        \
    do {                                                                       \
        if (inl_env_logs((env), (level))) {                                    \
            const struct inlets_log_field fields_[] = {__VA_ARGS__};           \
            inl_env_log((env), (level), (event), fields_,                      \
                        sizeof(fields_) / sizeof(fields_[0]));                 \
        }                                                                      \
    } while (0)
bool inl_env_logs(const struct inl_env *env, enum inlets_log_level level);
void inl_env_log(struct inl_env *env, enum inlets_log_level level,
                 const char *event, const struct inlets_log_field *fields,
                 size_t nfields);

/* Writes "MACHINE ID: FROM -> TO" to the trace and, at debug level, the log. */
void inl_env_trace_move(struct inl_env *env, const char *machine, uint64_t id,
                        const char *from, const char *to);

#endif
