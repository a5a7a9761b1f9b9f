/* net/dial.c: the dialer over libuv: happy eyeballs (RFC 8305).
 *
 *   START -> RESOLVE -> CONNECT -> OVER   (a name)
 *   START ------------> CONNECT -> OVER   (a numeric address)
 *
 * Happy path: start() only puts the work off to the end of the turn, so that
 * `done` never runs during start; then getaddrinfo on libuv's thread pool,
 * anew for each dial; then the families take turns (resolve.h), and every
 * ATTEMPT_DELAY_MS one more address joins the race. The first that answers is
 * the link, the others are abandoned.
 *
 * Failure: when an address refuses or cannot be reached, the next one starts
 * at once. When none is left the first error is reported, but "network
 * unreachable" only if nothing better is known (the IPv6 address of a
 * dual-stack name on a machine without IPv6). The deadline ends everything
 * with ETIMEDOUT, and cancel without a word.
 *
 * Who frees: `struct dialing` goes in free_dialing, from `later`, once it is
 * OVER and the resolver, which cannot always be cancelled, has given back its
 * request. `struct attempt` belongs to libuv's connect request and goes in
 * its callback, also after it was abandoned (ECANCELED). */
#include "net/dial.h"

#include "base/mem.h"
#include "net/address.h"
#include "net/resolve.h"
#include "net/tcp.h"
#include <inlets/err.h>
#include <string.h>

/* RFC 8305 section 5: its Connection Attempt Delay, as recommended. */
#define ATTEMPT_DELAY_MS 250u
/* Connects of one dial at a time. A name with many addresses that do not
 * answer must not use up the descriptors: when so many run, the oldest (it had
 * 2 s, unless others failed meanwhile) makes way for the next. */
#define ATTEMPTS_MAX 8u

enum state { START, RESOLVE, CONNECT, OVER };

static const char *const state_names[] = {
    [START] = "start",
    [RESOLVE] = "resolve",
    [CONNECT] = "connect",
    [OVER] = "over",
};

/* One try to reach one address. */
struct attempt {
    uv_connect_t req;
    struct inl_list node;    /* in dialing.attempts */
    struct dialing *dialing; /* NULL: abandoned */
    struct inl_tcp *tcp;     /* its own, or the link of the one who dialled */
};

struct dialing {
    struct inl_loop *loop;
    struct inl_dial *dial; /* the caller's; NULL when OVER */
    enum state state;
    int err; /* to report when no address is left */

    uv_getaddrinfo_t resolve;
    bool resolving; /* `resolve` is libuv's */

    struct addrinfo *found;          /* owned */
    struct addrinfo numeric;         /* a list of one, when there is no name */
    struct sockaddr_storage address; /* of numeric */

    struct addrinfo *addresses[INL_ADDRESSES_MAX]; /* in found, or numeric */
    size_t naddresses, next;                       /* the next to be tried */
    struct inl_list attempts; /* running, the oldest first */
    size_t nattempts;

    struct inl_timer timer; /* of the next attempt, or of the whole */
    struct inl_later later; /* begin, or free */
};

static void move(struct dialing *d, enum state to)
{
    /* A bit for each state that may come next. */
    static const unsigned allowed[] = {
        [START] = 1u << RESOLVE | 1u << CONNECT | 1u << OVER,
        [RESOLVE] = 1u << CONNECT | 1u << OVER,
        [CONNECT] = 1u << OVER,
        [OVER] = 0,
    };

    if ((allowed[d->state] & 1u << to) == 0) {
        return;
    }
    inl_env_trace_move(&d->loop->env, "dial", d->dial->port,
                       state_names[d->state], state_names[to]);
    d->state = to;
}

/* --- The end ------------------------------------------------------------- */

static void drop(struct attempt *a)
{
    inl_list_remove(&a->node);
    a->dialing->nattempts--;
    a->dialing = NULL;
}

/* The oldest one. Its callback will free it. */
static void abandon(struct dialing *d)
{
    struct attempt *a = inl_container(d->attempts.next, struct attempt, node);

    drop(a);
    inl_tcp_discard(a->tcp);
}

static void free_dialing(struct dialing *d)
{
    if (d->found != NULL) {
        uv_freeaddrinfo(d->found);
    }
    d->loop->live--;
    inl_free(d);
}

/* Parts with the caller, who may then do with `dial` what it likes. */
static struct inl_dial *end(struct dialing *d)
{
    struct inl_dial *dial = d->dial;

    move(d, OVER);
    inl_timer_off(&d->loop->env, &d->timer);
    while (d->nattempts > 0) {
        abandon(d);
    }
    if (d->resolving) {
        (void)uv_cancel((uv_req_t *)&d->resolve);
    }
    inl_env_later(&d->loop->env, &d->later);
    d->dial = NULL;
    dial->impl = NULL;
    return dial;
}

static void give_up(struct dialing *d, int err)
{
    struct inl_dial *dial = end(d);

    dial->done(dial, err, NULL);
}

static void succeed(struct dialing *d, struct inl_tcp *t)
{
    struct inl_dial *dial = end(d);

    inl_tcp_started(t);
    dial->done(dial, 0, &t->link);
    if (t->link.ops == NULL) {
        inl_link_close(&t->link, INLETS_ECANCELED);
    }
}

/* --- CONNECT ------------------------------------------------------------- */

static void remember(struct dialing *d, int err)
{
    if (d->err == 0 || d->err == INLETS_ENETWORK) {
        d->err = err;
    }
}

/* Of an address that cannot be used from here, such as ::1 without IPv6. */
static int connect_error(int status)
{
    return status == UV_EADDRNOTAVAIL || status == UV_EAFNOSUPPORT
               ? INLETS_ENETWORK
               : inl_error_from_uv(status);
}

/* A connect to a local port on which nobody listens can, when the kernel
 * picks that very port for our end, meet itself. */
static bool met_itself(const struct inl_tcp *t)
{
    struct sockaddr_storage here = {0}, there = {0};
    int here_size = sizeof(here), there_size = sizeof(there);

    return uv_tcp_getsockname(&t->tcp, (struct sockaddr *)&here, &here_size) ==
               0 &&
           uv_tcp_getpeername(&t->tcp, (struct sockaddr *)&there,
                              &there_size) == 0 &&
           here_size == there_size &&
           memcmp(&here, &there, (size_t)here_size) == 0;
}

static void start_next(struct dialing *d);

static void on_connected(uv_connect_t *req, int status)
{
    struct attempt *a = inl_container(req, struct attempt, req);
    struct dialing *d = a->dialing;
    struct inl_tcp *t = a->tcp;

    if (d == NULL) {
        inl_free(a);
        return;
    }
    inl_loop_enter(d->loop);
    drop(a);
    inl_free(a);
    if (status == 0 && met_itself(t)) {
        status = UV_ECONNREFUSED;
    }
    if (status == 0) {
        succeed(d, t);
        return;
    }
    inl_tcp_discard(t);
    remember(d, connect_error(status));
    start_next(d);
}

/* 0, or ours. */
static int try_address(struct dialing *d, const struct sockaddr *address)
{
    struct attempt *a = inl_calloc(1, sizeof(*a));
    int err;

    if (a == NULL) {
        return INLETS_ENOMEM;
    }
    a->tcp = inl_tcp_new(d->loop, &err);
    if (a->tcp == NULL) {
        inl_free(a);
        return err;
    }
    a->dialing = d;
    err = uv_tcp_connect(&a->req, &a->tcp->tcp, address, on_connected);
    if (err != 0) {
        inl_tcp_discard(a->tcp);
        inl_free(a);
        return connect_error(err);
    }
    inl_list_push_back(&d->attempts, &a->node);
    d->nattempts++;
    return 0;
}

/* Sets the timer to when the next address joins, or to the deadline. */
static int set_timer(struct dialing *d)
{
    uint64_t due_ms = d->loop->env.now_ms + ATTEMPT_DELAY_MS;

    if (d->next == d->naddresses || due_ms > d->dial->due_ms) {
        due_ms = d->dial->due_ms;
    }
    return inl_timer_at(&d->loop->env, &d->timer, due_ms);
}

/* One more address joins the race. */
static void start_next(struct dialing *d)
{
    int err = 0;

    if (d->next < d->naddresses && d->nattempts == ATTEMPTS_MAX) {
        abandon(d);
        remember(d, INLETS_ETIMEDOUT);
    }
    while (d->next < d->naddresses) {
        struct sockaddr *address = d->addresses[d->next++]->ai_addr;

        inl_address_set_port(address, d->dial->port);
        err = try_address(d, address);
        if (err == 0) {
            break;
        }
        remember(d, err);
    }
    if (d->nattempts == 0) {
        give_up(d, d->err != 0 ? d->err : INLETS_EDNS);
        return;
    }
    err = set_timer(d);
    if (err != 0) {
        give_up(d, err);
    }
}

static void connect_to(struct dialing *d, struct addrinfo *list)
{
    move(d, CONNECT);
    d->dial->step = "connect";
    d->naddresses = inl_resolve_pick(list, d->addresses);
    inl_resolve_interleave(d->addresses, d->naddresses);
    start_next(d);
}

static void on_timer(struct inl_timer *timer)
{
    struct dialing *d = inl_container(timer, struct dialing, timer);

    if (d->state != CONNECT || d->loop->env.now_ms >= d->dial->due_ms) {
        give_up(d, INLETS_ETIMEDOUT);
        return;
    }
    start_next(d);
}

/* --- RESOLVE ------------------------------------------------------------- */

static void on_resolved(uv_getaddrinfo_t *req, int status,
                        struct addrinfo *list)
{
    struct dialing *d = req->data;

    inl_loop_enter(d->loop);
    d->resolving = false;
    d->found = list;
    if (d->state == OVER) {
        inl_env_later(&d->loop->env, &d->later);
    } else if (status != 0) {
        give_up(d, inl_resolve_error(status));
    } else {
        connect_to(d, list);
    }
}

static void resolve(struct dialing *d)
{
    int err;

    move(d, RESOLVE);
    d->dial->step = "resolve";
    d->resolve.data = d;
    err = inl_resolve_ask(d->loop, &d->resolve, d->dial->host, on_resolved);
    if (err != 0) {
        give_up(d, inl_resolve_error(err));
        return;
    }
    d->resolving = true;
}

/* --- START --------------------------------------------------------------- */

static void run_later(struct inl_later *later)
{
    struct dialing *d = inl_container(later, struct dialing, later);

    if (d->state == OVER) {
        if (!d->resolving) {
            free_dialing(d);
        }
    } else if (inl_address_parse(d->dial->host, d->dial->port, &d->address) ==
               0) {
        d->numeric.ai_family = d->address.ss_family;
        d->numeric.ai_addr = (struct sockaddr *)&d->address;
        connect_to(d, &d->numeric);
    } else {
        resolve(d);
    }
}

static int start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_loop *loop = inl_container(dialer->env, struct inl_loop, env);
    struct dialing *d;
    int err;

    if (!inl_resolve_is_host(dial->host) || dial->port == 0 ||
        dial->port > 65535 || dial->due_ms == 0) {
        return INLETS_EINVAL;
    }
    d = inl_calloc(1, sizeof(*d));
    if (d == NULL) {
        return INLETS_ENOMEM;
    }
    inl_timer_init(&d->timer, on_timer);
    err = inl_timer_at(dialer->env, &d->timer, dial->due_ms);
    if (err != 0) {
        inl_free(d);
        return err;
    }
    d->loop = loop;
    d->dial = dial;
    inl_list_init(&d->attempts);
    dial->impl = d;
    dial->step = "resolve";
    loop->live++;
    inl_later_init(&d->later, run_later);
    inl_env_later(dialer->env, &d->later);
    return 0;
}

static void cancel(struct inl_dialer *dialer, struct inl_dial *dial)
{
    (void)dialer;
    (void)end(dial->impl);
}

static const struct inl_dialer_ops dialer_ops = {
    .start = start,
    .cancel = cancel,
    .resolve = inl_resolve_begin,
    .resolve_cancel = inl_resolve_forget,
};

void inl_net_dialer_init(struct inl_dialer *dialer, struct inl_loop *loop)
{
    dialer->ops = &dialer_ops;
    dialer->env = &loop->env;
}
