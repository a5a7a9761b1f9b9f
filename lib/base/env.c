/* env.c: the end of a turn, randomness, and what is said to the outside.
 * Timers are in timers.c.
 *
 * Who owns what: the env owns its timer heap; nodes in `later` and `dirty`
 * belong to their objects. inl_env_fini must not run inside a turn's end:
 * the loop below it still needs the env.
 *
 * Failure: nothing here fails; there is no allocation. */
#include "base/env.h"

#include "base/link.h"
#include "base/mem.h"
#include "base/slice.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Two objects that wake each other for ever must not keep the clock and the
 * sockets from everybody else: what is left after so many rounds waits for
 * the next turn. */
#define SETTLE_ROUNDS_MAX 1000u

void inl_env_init(struct inl_env *env, const struct inl_env_ops *ops)
{
    *env = (struct inl_env){.ops = ops, .log_level = INLETS_LOG_INFO};
    inl_list_init(&env->later);
    inl_list_init(&env->dirty);
}

void inl_env_fini(struct inl_env *env)
{
    assert(!env->settling);
    assert(inl_list_empty(&env->later));
    assert(inl_list_empty(&env->dirty));
    inl_free(env->heap);
    env->heap = NULL;
    env->nheap = env->heap_cap = 0;
    inl_wipe(env->random_pool, sizeof(env->random_pool));
    env->random_left = 0;
    inl_queue_trim();
}

/* --- The end of a turn --- */

static void ask_for_turn(struct inl_env *env)
{
    if (env->ops->wake != NULL) {
        env->ops->wake(env);
    }
}

/* Both queues of the env are filled through here. */
void inl_env_put(struct inl_env *env, struct inl_list *queue,
                 struct inl_list *node)
{
    bool idle = !env->settling && inl_list_empty(&env->later) &&
                inl_list_empty(&env->dirty);

    if (inl_list_linked(node)) {
        return;
    }
    inl_list_push_back(queue, node);
    if (idle) {
        ask_for_turn(env);
    }
}

void inl_later_init(struct inl_later *later,
                    void (*run)(struct inl_later *later))
{
    inl_list_init(&later->node);
    later->run = run;
}

void inl_env_enter(struct inl_env *env)
{
    if (env->ops->enter != NULL) {
        env->ops->enter(env);
    }
}

int64_t inl_env_wall_s(struct inl_env *env)
{
    return env->ops->wall_s != NULL ? env->ops->wall_s(env)
                                    : (int64_t)time(NULL);
}

static void work_here(struct inl_later *later)
{
    struct inl_work *work = inl_container(later, struct inl_work, later);

    work->run(work);
    work->done(work);
}

int inl_env_work(struct inl_env *env, struct inl_work *work)
{
    if (env->ops->work != NULL) {
        return env->ops->work(env, work);
    }
    inl_later_init(&work->later, work_here);
    inl_env_later(env, &work->later);
    return 0;
}

void inl_env_later(struct inl_env *env, struct inl_later *later)
{
    inl_env_put(env, &env->later, &later->node);
}

/* Runs what is queued now; what that queues waits for the next round. A
 * node is taken out before it runs, so it may free its object or be queued
 * again. */
static void run_later(struct inl_env *env)
{
    struct inl_list round, *node;

    inl_list_init(&round);
    inl_list_splice(&round, &env->later);
    while ((node = inl_list_pop(&round)) != NULL) {
        struct inl_later *later = inl_container(node, struct inl_later, node);

        later->run(later);
    }
}

static void turn(struct inl_link *l)
{
    if (!l->closed) {
        l->carrier->turn(l);
    }
}

/* Tunnels last: what the others took in this round is credit to be told, in
 * the same write as the rest. */
static void flush_dirty(struct inl_env *env)
{
    struct inl_list round, pulled, *node;

    inl_list_init(&round);
    inl_list_init(&pulled);
    inl_list_splice(&round, &env->dirty);
    while ((node = inl_list_pop(&round)) != NULL) {
        struct inl_link *l = inl_container(node, struct inl_link, dirty);

        if (inl_link_is_pulled(l)) {
            inl_list_push_back(&pulled, node);
        } else {
            turn(l);
        }
    }
    while ((node = inl_list_pop(&pulled)) != NULL) {
        turn(inl_container(node, struct inl_link, dirty));
    }
}

void inl_env_settle(struct inl_env *env)
{
    if (env->settling) {
        return; /* the outer one goes on until nothing is left */
    }
    env->settling = true;
    for (unsigned round = 0; round < SETTLE_ROUNDS_MAX; round++) {
        if (inl_list_empty(&env->later) && inl_list_empty(&env->dirty)) {
            break;
        }
        run_later(env);
        flush_dirty(env);
    }
    env->settling = false;
    if (!inl_list_empty(&env->later) || !inl_list_empty(&env->dirty)) {
        ask_for_turn(env);
    }
}

/* --- Randomness --- */

/* Small requests come from the pool, so that they are not a system call
 * each; what was handed out is wiped, so that a later look into our memory
 * does not show it. */
void inl_env_random(struct inl_env *env, void *ptr, size_t n)
{
    uint8_t *from;

    if (n > sizeof(env->random_pool) / 4) {
        env->ops->random(env, ptr, n);
        return;
    }
    if (n == 0) {
        return;
    }
    if (env->random_left < n) {
        env->ops->random(env, env->random_pool, sizeof(env->random_pool));
        env->random_left = sizeof(env->random_pool);
    }
    env->random_left -= n;
    from = env->random_pool + env->random_left;
    memcpy(ptr, from, n);
    inl_wipe(from, n);
}

uint32_t inl_env_random_u32(struct inl_env *env)
{
    uint32_t value;

    inl_env_random(env, &value, sizeof(value));
    return value;
}

/* --- Log and trace --- */

bool inl_env_logs(const struct inl_env *env, enum inlets_log_level level)
{
    return env->log != NULL && (int)level <= env->log_level;
}

void inl_env_log(struct inl_env *env, enum inlets_log_level level,
                 const char *event, const struct inlets_log_field *fields,
                 size_t nfields)
{
    struct inlets_log_field said[INL_LOG_FIELDS];
    size_t n = 0;

    if (!inl_env_logs(env, level)) {
        return;
    }
    for (size_t i = 0; i < nfields && n < INL_LOG_FIELDS; i++) {
        if (fields[i].key != NULL) {
            said[n++] = fields[i];
        }
    }
    env->log(level, event, said, n, env->log_user);
}

void inl_env_trace_move(struct inl_env *env, const char *machine, uint64_t id,
                        const char *from, const char *to)
{
    if (env->trace != NULL) {
        char line[160];

        /* Longer names would be cut; ours are a word each. */
        (void)snprintf(line, sizeof(line), "%s %" PRIu64 ": %s -> %s", machine,
                       id, from, to);
        env->trace(env, line, env->trace_user);
    }
    inl_log(env, INLETS_LOG_DEBUG, "state", INL_KV("machine", inl_str(machine)),
            INL_KN("id", id), INL_KV("from", inl_str(from)),
            INL_KV("to", inl_str(to)));
}
