/* net/dial.c: the dialer over libuv.
 *
 *   START -> RESOLVE -> CONNECT -> OVER   (a name)
 *   START ------------> CONNECT -> OVER   (a numeric address)
 *
 * Happy path: start() only puts the work off to the end of the turn, so that
 * `done` never runs during start; then getaddrinfo on libuv's thread pool;
 * then the addresses one after another, each with its share of the time that
 * is left (at least SHARE_MIN_MS); the first that answers is the link.
 *
 * Failure: a refused or unreachable address hands over to the next at once.
 * When none is left the first error is reported, but "network unreachable"
 * only if nothing better is known (the IPv6 address of a dual-stack name on
 * a machine without IPv6). The deadline ends everything with ETIMEDOUT, and
 * cancel without a word.
 *
 * Who frees: `struct dialing` goes in free_dialing, from `later`, once it is
 * OVER and the resolver, which cannot always be cancelled, has given back its
 * request. `struct attempt` belongs to libuv's connect request and goes in
 * its callback, also after it was abandoned (ECANCELED). */
#include "net/dial.h"

#include "base/mem.h"
#include "base/url.h"
#include "net/address.h"
#include "net/tcp.h"
#include <inlets/err.h>
#include <netdb.h>
#include <string.h>

#define SHARE_MIN_MS 1000u

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
    struct addrinfo *next;           /* to be tried */
    struct attempt *attempt;         /* running; NULL: none */

    struct inl_timer timer; /* of the attempt, and of the whole */
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

static void abandon(struct dialing *d)
{
    if (d->attempt != NULL) {
        d->attempt->dialing = NULL;
        inl_tcp_discard(d->attempt->tcp);
        d->attempt = NULL;
    }
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
    abandon(d);
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

static void try_next(struct dialing *d);

static void on_connected(uv_connect_t *req, int status)
{
    struct attempt *a = inl_container(req, struct attempt, req);
    struct dialing *d = a->dialing;
    struct inl_tcp *t = a->tcp;

    inl_free(a);
    if (d == NULL) {
        return;
    }
    inl_loop_enter(d->loop);
    d->attempt = NULL;
    if (status == 0 && met_itself(t)) {
        status = UV_ECONNREFUSED;
    }
    if (status == 0) {
        succeed(d, t);
        return;
    }
    inl_tcp_discard(t);
    remember(d, connect_error(status));
    try_next(d);
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
    d->attempt = a;
    return 0;
}

/* Sets the timer for the address that is being tried. */
static int share_time(struct dialing *d)
{
    uint64_t now = d->loop->env.now_ms;
    uint64_t rest = d->dial->due_ms > now ? d->dial->due_ms - now : 0;
    uint64_t shares = 1;
    const struct addrinfo *ai;

    for (ai = d->next; ai != NULL; ai = ai->ai_next) {
        shares++;
    }
    if (rest / shares >= SHARE_MIN_MS) {
        rest /= shares;
    } else if (rest > SHARE_MIN_MS) {
        rest = SHARE_MIN_MS;
    }
    return inl_timer_at(&d->loop->env, &d->timer, now + rest);
}

static void try_next(struct dialing *d)
{
    while (d->next != NULL) {
        struct addrinfo *ai = d->next;
        int err;

        d->next = ai->ai_next;
        inl_address_set_port(ai->ai_addr, d->dial->port);
        err = try_address(d, ai->ai_addr);
        if (err == 0) {
            err = share_time(d);
            if (err != 0) {
                give_up(d, err);
            }
            return;
        }
        remember(d, err);
    }
    give_up(d, d->err != 0 ? d->err : INLETS_EDNS);
}

static void connect_to(struct dialing *d, struct addrinfo *list)
{
    move(d, CONNECT);
    d->dial->step = "connect";
    d->next = list;
    try_next(d);
}

static void on_timer(struct inl_timer *timer)
{
    struct dialing *d = inl_container(timer, struct dialing, timer);

    if (d->state != CONNECT || d->loop->env.now_ms >= d->dial->due_ms) {
        give_up(d, INLETS_ETIMEDOUT);
        return;
    }
    abandon(d);
    remember(d, INLETS_ETIMEDOUT);
    try_next(d);
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
        give_up(d, status == UV_EAI_MEMORY || status == UV_ENOMEM
                       ? INLETS_ENOMEM
                       : INLETS_EDNS);
    } else {
        connect_to(d, list);
    }
}

static void resolve(struct dialing *d)
{
    /* No AI_ADDRCONFIG: it drops "localhost" where only the loopback has an
     * address. An address that cannot be used fails at once anyway. */
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    int err;

    move(d, RESOLVE);
    d->dial->step = "resolve";
    d->resolve.data = d;
    err = uv_getaddrinfo(d->loop->uv, &d->resolve, on_resolved, d->dial->host,
                         NULL, &hints);
    if (err != 0) {
        give_up(d, err == UV_ENOMEM ? INLETS_ENOMEM : INLETS_EDNS);
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
        d->numeric.ai_addr = (struct sockaddr *)&d->address;
        connect_to(d, &d->numeric);
    } else {
        resolve(d);
    }
}

/* uv_getaddrinfo of 1.45 to 1.47 cuts longer names and asks for what is left
 * (CVE-2024-24806), so they must not get there. */
static bool is_host(const char *host)
{
    return host != NULL && host[0] != '\0' &&
           strnlen(host, INL_HOST_MAX + 1) <= INL_HOST_MAX;
}

static int start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_loop *loop = inl_container(dialer->env, struct inl_loop, env);
    struct dialing *d;
    int err;

    if (!is_host(dial->host) || dial->port == 0 || dial->port > 65535 ||
        dial->due_ms == 0) {
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
};

void inl_net_dialer_init(struct inl_dialer *dialer, struct inl_loop *loop)
{
    dialer->ops = &dialer_ops;
    dialer->env = &loop->env;
}
