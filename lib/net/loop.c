/* net/loop.c: an env on a libuv loop.
 *
 * A turn: libuv polls, the callbacks of this room feed links and fire timers
 * (each brings env.now_ms up to date first), and then, in the next iteration
 * of the uv loop and before it can sleep again, the uv_prepare callback
 * settles the env and arms the uv timer for the earliest deadline.
 *
 * The uv timer is moved only when it would fire too late; when it fires too
 * early nothing is due and it is armed anew. It is unref'd: the prepare
 * handle is what keeps the uv loop alive.
 *
 * The end: inl_loop_close sets `closing`; turns go on until nothing counts as
 * live; then prepare and timer are closed, and the later of their callbacks
 * frees what is ours and hands the struct back through on_closed. */
#include "net/loop.h"

#include "base/link.h"
#include "base/mem.h"
#include <inlets/err.h>
#include <stdlib.h>

static void random_bytes(struct inl_env *env, void *ptr, size_t n)
{
    (void)env;
    if (uv_random(NULL, NULL, ptr, n, 0, NULL) != 0) {
        /* It worked in inl_loop_init. A process that goes on with keys and
         * masks that can be guessed is worse than one that stops. */
        abort();
    }
}

void inl_loop_enter(struct inl_loop *l)
{
    l->env.now_ms = uv_now(l->uv);
}

static void enter(struct inl_env *env)
{
    inl_loop_enter(inl_container(env, struct inl_loop, env));
}

/* ---- work for libuv's threads ------------------------------------------- */

struct working {
    uv_work_t req;
    struct inl_loop *loop;
    struct inl_work *work;
};

static void run_work(uv_work_t *req)
{
    struct working *w = req->data;

    w->work->run(w->work);
}

static void end_work(uv_work_t *req, int status)
{
    struct working *w = req->data;
    struct inl_loop *l = w->loop;
    struct inl_work *work = w->work;

    (void)status; /* nobody cancels it */
    inl_free(w);
    l->live--;
    inl_loop_enter(l);
    work->done(work);
}

static int start_work(struct inl_env *env, struct inl_work *work)
{
    struct inl_loop *l = inl_container(env, struct inl_loop, env);
    struct working *w = inl_calloc(1, sizeof(*w));

    if (w == NULL) {
        return INLETS_ENOMEM;
    }
    w->req.data = w;
    w->loop = l;
    w->work = work;
    if (uv_queue_work(l->uv, &w->req, run_work, end_work) != 0) {
        inl_free(w);
        return INLETS_ENOMEM;
    }
    l->live++;
    return 0;
}

/* wake is not needed: the prepare callback runs in every iteration. */
static const struct inl_env_ops env_ops = {
    .random = random_bytes, .enter = enter, .work = start_work};

/* ---- turns --------------------------------------------------------------- */

static void on_timer(uv_timer_t *handle)
{
    struct inl_loop *l = handle->data;

    inl_loop_enter(l);
    l->armed_ms = UINT64_MAX;
    inl_env_fire_timers(&l->env);
}

/* Did inl_env_settle leave something for the next turn? */
static bool has_work(const struct inl_loop *l)
{
    return !inl_list_empty(&l->env.later) || !inl_list_empty(&l->env.dirty);
}

static void arm(struct inl_loop *l)
{
    uint64_t now = l->env.now_ms;
    uint64_t due = has_work(l) ? now : inl_env_next_due(&l->env);

    if (due < l->armed_ms) {
        (void)uv_timer_start(&l->timer, on_timer, due > now ? due - now : 0, 0);
        l->armed_ms = due;
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct inl_loop *l = handle->data;

    l->own_handles--;
    if (l->own_handles > 0) {
        return;
    }
    inl_free(l->read_buf);
    l->read_buf = NULL;
    inl_env_fini(&l->env);
    if (l->on_closed != NULL) {
        l->on_closed(l->user);
    }
}

static void end_turn(uv_prepare_t *handle)
{
    struct inl_loop *l = handle->data;

    inl_loop_enter(l);
    inl_env_settle(&l->env);
    if (l->closing && l->live == 0 && !has_work(l)) {
        uv_close((uv_handle_t *)&l->prepare, on_handle_closed);
        uv_close((uv_handle_t *)&l->timer, on_handle_closed);
        return;
    }
    arm(l);
}

int inl_loop_init(struct inl_loop *l, uv_loop_t *uv)
{
    uint8_t probe;

    if (uv_random(NULL, NULL, &probe, sizeof(probe), 0, NULL) != 0) {
        return INLETS_EIO;
    }
    *l = (struct inl_loop){.uv = uv, .armed_ms = UINT64_MAX, .own_handles = 2};
    l->read_buf = inl_malloc(INL_LINK_READ_BYTES);
    if (l->read_buf == NULL) {
        return INLETS_ENOMEM;
    }
    inl_env_init(&l->env, &env_ops);
    uv_update_time(uv);
    inl_loop_enter(l);
    /* These four cannot fail. */
    (void)uv_prepare_init(uv, &l->prepare);
    (void)uv_timer_init(uv, &l->timer);
    l->prepare.data = l;
    l->timer.data = l;
    (void)uv_prepare_start(&l->prepare, end_turn);
    uv_unref((uv_handle_t *)&l->timer);
    return 0;
}

void inl_loop_close(struct inl_loop *l, void (*on_closed)(void *user),
                    void *user)
{
    if (!l->closing) {
        l->closing = true;
        l->on_closed = on_closed;
        l->user = user;
    }
}
