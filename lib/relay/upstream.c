/* upstream.c: see upstream.h. The pool: which connection a request gets, and
 * how long the others are kept.
 *
 * The upstream owns its connections (upstream_conn.c) until each is freed;
 * they are in `idle` or `busy` until they are gone. A request gets the kept
 * connection that was used last, or a new one; nothing ever waits here.
 *
 * Failure paths: no memory: the request is refused (ENOMEM); a timer that
 * cannot be set: the connection is closed instead of kept. */
#include "relay/upstream.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1_rules.h"
#include "relay/upstream_conn.h"
#include <string.h>

/* More than idle_max connections are kept for this long, so that a burst does
 * not close and open them all the time. */
#define EXCESS_MS 1000u

static struct inl_upstream_conn *conn_of(struct inl_list *node)
{
    return inl_container(node, struct inl_upstream_conn, node);
}

/* ---- life ------------------------------------------------------------- */

static void upstream_free(struct inl_later *later)
{
    struct inl_upstream *u = inl_container(later, struct inl_upstream, later);

    inl_tls_config_unref(u->config.tls);
    inl_free(u->host);
    inl_free(u->path);
    inl_free(u->host_field);
    inl_free(u);
}

static void free_if_over(struct inl_upstream *u)
{
    if (u->closed && u->nconns == 0) {
        inl_env_later(u->config.env, &u->later);
    }
}

void inl_upstream_conn_freed(struct inl_upstream *u)
{
    u->nconns--;
    free_if_over(u);
}

void inl_upstream_drop(struct inl_upstream *u, struct inl_upstream_conn *c)
{
    if (c->state == INL_UPSTREAM_IDLE) {
        u->nidle--;
    }
    inl_list_remove(&c->node);
}

/* ---- kept connections ------------------------------------------------- */

/* The tail has been idle for longest. */
static void trim_excess(struct inl_timer *timer)
{
    struct inl_upstream *u = inl_container(timer, struct inl_upstream, trim);
    uint64_t now = u->config.env->now_ms;

    while (u->nidle > u->config.idle_max) {
        struct inl_upstream_conn *c = conn_of(u->idle.prev);

        if (c->idle_since_ms + EXCESS_MS > now &&
            inl_timer_at(u->config.env, timer, now + EXCESS_MS) == 0) {
            return;
        }
        inl_upstream_conn_close_idle(c);
    }
}

void inl_upstream_put_idle(struct inl_upstream *u, struct inl_upstream_conn *c)
{
    struct inl_env *env = u->config.env;

    inl_list_remove(&c->node);
    inl_list_push_front(&u->idle, &c->node);
    u->nidle++;
    c->idle_since_ms = env->now_ms;
    if (u->config.idle_max == 0) {
        inl_upstream_conn_close_idle(c);
    } else if (u->nidle > u->config.idle_max && u->trim.due_ms == 0 &&
               inl_timer_at(env, &u->trim, env->now_ms + EXCESS_MS) != 0) {
        inl_upstream_conn_close_idle(c);
    } else {
        inl_upstream_conn_keep(c);
    }
}

/* A request that cannot be repeated gets no connection that is known to be
 * dead: its FIN may be waiting to be read. The others would notice by
 * themselves, and the question is a system call. */
static struct inl_upstream_conn *pop_idle(struct inl_upstream *u,
                                          const struct inlets_head *head)
{
    bool may_repeat = inl_upstream_may_repeat(head);

    while (!inl_list_empty(&u->idle)) {
        struct inl_upstream_conn *c = conn_of(u->idle.next);

        if (may_repeat || !inl_upstream_conn_is_dead(c)) {
            u->nidle--;
            inl_list_remove(&c->node);
            inl_list_push_back(&u->busy, &c->node);
            return c;
        }
        inl_upstream_conn_close_idle(c);
    }
    return NULL;
}

/* ---- the service ------------------------------------------------------ */

static int upstream_open(struct inl_service *s, const struct inl_request *req,
                         struct inl_flow *caller)
{
    struct inl_upstream *u = inl_container(s, struct inl_upstream, service);
    bool is_head = inl_slice_eq(req->head->method, INL_LIT("HEAD"));
    struct inl_upstream_conn *c;

    if (u->closed) {
        return INLETS_EUNAVAILABLE;
    }
    if (u->config.path.len > 0 && inl_http1_has_dot_segments(req->path)) {
        return INLETS_EDOTS; /* it would lead out of that path */
    }
    c = pop_idle(u, req->head);
    if (c != NULL) {
        inl_upstream_conn_reuse(c, is_head);
    } else {
        c = inl_upstream_conn_new(u, is_head);
    }
    return c == NULL ? INLETS_ENOMEM
                     : inl_upstream_conn_ask(c, req->head, caller);
}

static const struct inl_service_ops service_ops = {.open = upstream_open};

struct inl_upstream *inl_upstream_new(const struct inl_upstream_config *config)
{
    struct inl_upstream *u = inl_calloc(1, sizeof(*u));

    if (u == NULL) {
        return NULL;
    }
    u->service.ops = &service_ops;
    u->config = *config;
    if (config->tls != NULL) {
        u->config.tls = inl_tls_config_ref(config->tls);
        inl_secure_dialer_init(&u->secure, config->dialer, config->tls, NULL);
        u->config.dialer = &u->secure.dialer;
    }
    u->host = inl_slice_dup(config->host);
    u->path = inl_slice_dup(config->path);
    u->host_field = inl_slice_dup(config->host_field);
    inl_list_init(&u->idle);
    inl_list_init(&u->busy);
    inl_timer_init(&u->trim, trim_excess);
    inl_later_init(&u->later, upstream_free);
    if (u->host == NULL || u->path == NULL || u->host_field == NULL) {
        upstream_free(&u->later);
        return NULL;
    }
    u->config.host.ptr = u->host;
    u->config.path.ptr = u->path;
    u->config.host_field.ptr = u->host_field;
    return u;
}

struct inl_service *inl_upstream_service(struct inl_upstream *u)
{
    return &u->service;
}

static void close_pool(struct inl_upstream *u)
{
    struct inl_list *n, *tmp;

    u->closed = true;
    inl_timer_off(u->config.env, &u->trim);
    inl_list_each(&u->idle, n, tmp)
    {
        inl_upstream_conn_close_idle(conn_of(n));
    }
}

void inl_upstream_retire(struct inl_upstream *u)
{
    if (u != NULL && !u->closed) {
        close_pool(u);
        free_if_over(u);
    }
}

void inl_upstream_close(struct inl_upstream *u)
{
    if (u == NULL || u->closed) {
        return;
    }
    close_pool(u);
    while (!inl_list_empty(&u->busy)) {
        inl_upstream_conn_fail(conn_of(u->busy.next), INLETS_ECLOSED);
    }
    free_if_over(u);
}
