/* timers.c: the deadlines of an env in a binary heap.
 *
 * The heap sorts by armed_ms, which may be earlier than the deadline: moving
 * a deadline away (each received byte does) touches no heap. The entry comes
 * up at the old time, is found to be early, and is put back.
 *
 * Who owns what: the env owns the heap array, timers belong to their
 * objects. inl_timer_off takes the entry out at once, so an object can be
 * freed after it. Failure: the heap cannot grow, INLETS_ENOMEM, nothing has
 * changed. */
#include "base/env.h"

#include "base/mem.h"
#include <assert.h>
#include <inlets/err.h>

#define HEAP_MIN 16u

void inl_timer_init(struct inl_timer *t, void (*fire)(struct inl_timer *t))
{
    *t = (struct inl_timer){.fire = fire};
}

/* Puts t at place i (from 0). */
static void place(struct inl_env *env, size_t i, struct inl_timer *t)
{
    env->heap[i] = t;
    t->index = i + 1;
}

static void sift_up(struct inl_env *env, struct inl_timer *t)
{
    size_t i = t->index - 1;

    while (i > 0) {
        size_t parent = (i - 1) / 2;

        if (env->heap[parent]->armed_ms <= t->armed_ms) {
            break;
        }
        place(env, i, env->heap[parent]);
        i = parent;
    }
    place(env, i, t);
}

static void sift_down(struct inl_env *env, struct inl_timer *t)
{
    size_t i = t->index - 1;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < env->nheap &&
            env->heap[child + 1]->armed_ms < env->heap[child]->armed_ms) {
            child++;
        }
        if (child >= env->nheap || env->heap[child]->armed_ms >= t->armed_ms) {
            break;
        }
        place(env, i, env->heap[child]);
        i = child;
    }
    place(env, i, t);
}

static int heap_insert(struct inl_env *env, struct inl_timer *t)
{
    if (env->nheap == env->heap_cap) {
        size_t cap = env->heap_cap == 0 ? HEAP_MIN : env->heap_cap * 2;
        struct inl_timer **heap;

        if (cap > SIZE_MAX / sizeof(struct inl_timer *)) {
            return INLETS_ENOMEM;
        }
        heap = inl_realloc(env->heap, cap * sizeof(struct inl_timer *));
        if (heap == NULL) {
            return INLETS_ENOMEM;
        }
        env->heap = heap;
        env->heap_cap = cap;
    }
    t->index = ++env->nheap;
    sift_up(env, t);
    return 0;
}

int inl_timer_at(struct inl_env *env, struct inl_timer *t, uint64_t due_ms)
{
    if (env->firing && due_ms <= env->now_ms) {
        /* Else a timer that sets itself would fire in an endless loop. */
        due_ms = env->now_ms + 1;
    }
    if (due_ms == 0) {
        due_ms = 1; /* 0 means off */
    }
    if (t->index == 0) {
        t->armed_ms = due_ms;
        if (heap_insert(env, t) != 0) {
            return INLETS_ENOMEM;
        }
    } else if (due_ms < t->armed_ms) {
        t->armed_ms = due_ms;
        sift_up(env, t);
    }
    t->due_ms = due_ms;
    return 0;
}

void inl_timer_off(struct inl_env *env, struct inl_timer *t)
{
    struct inl_timer *last;

    t->due_ms = 0;
    if (t->index == 0) {
        return;
    }
    assert(env->heap[t->index - 1] == t);
    last = env->heap[--env->nheap];
    if (last != t) {
        /* The last entry takes the free place and finds its own from there,
         * which may be above: it comes from another branch. */
        place(env, t->index - 1, last);
        sift_up(env, last);
        sift_down(env, last);
    }
    t->index = 0;
}

void inl_env_fire_timers(struct inl_env *env)
{
    env->firing = true;
    while (env->nheap > 0 && env->heap[0]->armed_ms <= env->now_ms) {
        struct inl_timer *t = env->heap[0];

        if (t->due_ms > env->now_ms) {
            t->armed_ms = t->due_ms;
            sift_down(env, t);
            continue;
        }
        inl_timer_off(env, t);
        t->fire(t);
    }
    env->firing = false;
}

uint64_t inl_env_next_due(const struct inl_env *env)
{
    return env->nheap == 0 ? UINT64_MAX : env->heap[0]->armed_ms;
}
