/* net/dial.c: the dialer over libuv: happy eyeballs (RFC 8305).
 *
 *   START -> RESOLVE -> CONNECT -> OVER   (a name)
 *   START ------------> CONNECT -> OVER   (a numeric address)
 *
 * Happy path: start() only puts the work off to the end of the turn, so that
 * `done` never runs during start; then getaddrinfo on libuv's thread pool,
 * anew for each dial, for IPv6 and for IPv4 (RFC 8305 section 3). The race
 * begins with the IPv6 answer, or RESOLUTION_DELAY_MS after the IPv4 one, or
 * when both are there; what comes later joins it. The families take turns
 * (resolve.h), and every ATTEMPT_DELAY_MS one more address joins. The first
 * that answers is the link, the others are abandoned.
 *
 * When the resolver fails, or is silent for SILENCE_MS, the addresses at which
 * the name was found before join (dial->known); its answer is awaited still.
 *
 * Failure: when an address refuses or cannot be reached, the next one starts
 * at once. When none is left the first error is reported, but "network
 * unreachable" only if nothing better is known (the IPv6 address of a
 * dual-stack name on a machine without IPv6). An address beyond this machine is
 * not dialled when the dial stays here (EINSECURE). No answer in RESOLVE_MAX_MS
 * is EDNS. The deadline ends everything with ETIMEDOUT, and cancel without a
 * word.
 *
 * Who frees: `struct dialing` goes in free_dialing, from `later`, once it is
 * OVER and the resolver, which cannot always be cancelled, has given back its
 * request. `struct attempt` belongs to libuv's connect request and goes in
 * its callback, also after it was abandoned (ECANCELED). */
#include "net/dial.h"

#include "base/mem.h"
#include "net/address.h"
#include "net/dial_unix.h"
#include "net/resolve.h"
#include "net/tcp.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

/* RFC 8305 section 5: its Connection Attempt Delay, as recommended. */
#define ATTEMPT_DELAY_MS 250u
/* Connects of one dial at a time. A name with many addresses that do not
 * answer must not use up the descriptors: when so many run, the oldest (it had
 * 2 s, unless others failed meanwhile) makes way for the next. */
#define ATTEMPTS_MAX 8u

/* RFC 8305 section 3: its Resolution Delay, as recommended. */
#define RESOLUTION_DELAY_MS 50u
/* Who resumes has a few seconds: then the address of yesterday is better than
 * none. A resolver that works has answered by then. */
#define SILENCE_MS 300u
/* A dead resolver must not pass for a dead server; resolv.conf's usual 5 s to
 * the second name server fit in. */
#define RESOLVE_MAX_MS 8000u

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
    struct addrinfo *address;
};

/* The addresses of one family. */
struct question {
    uv_getaddrinfo_t req;
    struct dialing *dialing;
    struct addrinfo *found; /* owned */
    bool asking;            /* `req` is libuv's */
};

enum { IPV6, IPV4, QUESTIONS };

/* An address that was not asked for. */
struct given {
    struct addrinfo info;
    struct sockaddr_storage address;
};

struct dialing {
    struct inl_loop *loop;
    struct inl_dial *dial; /* the caller's; NULL when OVER */
    enum state state;
    int err;                          /* to report when no address is left */
    const struct addrinfo *elsewhere; /* the first that stays_here forbids */

    struct question questions[QUESTIONS];
    struct given numeric; /* when there is no name */
    struct given known[INL_DIAL_KNOWN_MAX];
    bool knows;         /* these have joined */
    uint64_t asked_ms;  /* when the questions were asked */
    uint64_t first_ms;  /* when the first addresses were there; 0: not yet */
    uint64_t joined_ms; /* when the last address joined the race */

    struct addrinfo *addresses[INL_ADDRESSES_MAX]; /* in one of the above */
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

static bool is_asking(const struct dialing *d)
{
    return d->questions[IPV6].asking || d->questions[IPV4].asking;
}

static void free_dialing(struct dialing *d)
{
    for (unsigned i = 0; i < QUESTIONS; i++) {
        uv_freeaddrinfo(d->questions[i].found);
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
    for (unsigned i = 0; i < QUESTIONS; i++) {
        if (d->questions[i].asking) {
            (void)uv_cancel((uv_req_t *)&d->questions[i].req);
        }
    }
    inl_env_later(&d->loop->env, &d->later);
    d->dial = NULL;
    dial->impl = NULL;
    return dial;
}

/* Who called it localhost is to learn where that led. */
static void tell_elsewhere(const struct dialing *d)
{
    char address[INL_DIAL_ADDRESS_MAX] = "";

    (void)inl_resolve_to_text(d->elsewhere, address);
    (void)snprintf(d->dial->why, sizeof(d->dial->why),
                   "%.40s leads to %.46s, which is not this machine: it could "
                   "be read there",
                   d->dial->host, address);
}

static void give_up(struct dialing *d, int err)
{
    struct inl_dial *dial;

    if (err == INLETS_EINSECURE) {
        tell_elsewhere(d);
    }
    dial = end(d);
    dial->done(dial, err, NULL);
}

/* To the front of what is known of this name. */
static void learn(struct dialing *d, const struct addrinfo *address)
{
    struct inl_dial_known *k = d->dial->known;
    char text[INL_DIAL_ADDRESS_MAX];
    size_t i = 0;

    if (k == NULL || address == &d->numeric.info ||
        !inl_resolve_to_text(address, text)) {
        return;
    }
    while (i < INL_DIAL_KNOWN_MAX - 1 && strcmp(k->addresses[i], text) != 0) {
        i++;
    }
    memmove(k->addresses[1], k->addresses[0], i * sizeof(text));
    memcpy(k->addresses[0], text, sizeof(text));
}

static void succeed(struct dialing *d, struct inl_tcp *t,
                    const struct addrinfo *address)
{
    struct inl_dial *dial = d->dial;

    learn(d, address);
    (void)end(d);
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

/* May this address be dialled at all? */
static bool may_dial(struct dialing *d, const struct addrinfo *address)
{
    struct sockaddr_storage where = {0};

    memcpy(&where, address->ai_addr, address->ai_addrlen);
    if (!d->dial->stays_here || inl_address_is_loopback(&where)) {
        return true;
    }
    if (d->elsewhere == NULL) {
        d->elsewhere = address;
    }
    return false;
}

static void start_next(struct dialing *d);

static void on_connected(uv_connect_t *req, int status)
{
    struct attempt *a = inl_container(req, struct attempt, req);
    struct dialing *d = a->dialing;
    struct addrinfo *address = a->address;
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
        succeed(d, t, address);
        return;
    }
    inl_tcp_discard(t);
    remember(d, connect_error(status));
    start_next(d);
}

/* 0, or ours. */
static int try_address(struct dialing *d, struct addrinfo *address)
{
    struct attempt *a;
    int err;

    if (!may_dial(d, address)) {
        return INLETS_EINSECURE;
    }
    a = inl_calloc(1, sizeof(*a));
    if (a == NULL) {
        return INLETS_ENOMEM;
    }
    a->tcp = inl_tcp_new(d->loop, &err);
    if (a->tcp == NULL) {
        inl_free(a);
        return err;
    }
    a->dialing = d;
    a->address = address;
    err = uv_tcp_connect(&a->req, &a->tcp->tcp, address->ai_addr, on_connected);
    if (err != 0) {
        inl_tcp_discard(a->tcp);
        inl_free(a);
        return connect_error(err);
    }
    inl_list_push_back(&d->attempts, &a->node);
    d->nattempts++;
    return 0;
}

static bool has_known(const struct dialing *d)
{
    return !d->knows && d->dial->known != NULL &&
           d->dial->known->addresses[0][0] != '\0';
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Sets the timer to what comes next: an address joins, the resolver has been
 * silent for too long, or the deadline. */
static int set_timer(struct dialing *d)
{
    uint64_t due_ms = d->dial->due_ms;

    if (d->state == CONNECT && d->next < d->naddresses) {
        due_ms = sooner(due_ms, d->joined_ms + ATTEMPT_DELAY_MS);
    } else if (d->state == RESOLVE && d->first_ms != 0) {
        due_ms = sooner(due_ms, d->first_ms + RESOLUTION_DELAY_MS);
    } else if (d->first_ms == 0 && is_asking(d)) {
        uint32_t ms = has_known(d) ? SILENCE_MS : RESOLVE_MAX_MS;

        if (has_known(d) || d->nattempts == 0) {
            due_ms = sooner(due_ms, d->asked_ms + ms);
        }
    } else if (is_asking(d) && d->nattempts == 0) {
        /* The other family is not worth more: the next dial asks anew. */
        due_ms = sooner(due_ms, d->asked_ms + SILENCE_MS);
    }
    return inl_timer_at(&d->loop->env, &d->timer, due_ms);
}

static void wait(struct dialing *d)
{
    int err = set_timer(d);

    if (err != 0) {
        give_up(d, err);
    }
}

static void add_known(struct dialing *d);

/* No address is left: there may be older ones, or the answer is awaited. */
static void nothing_left(struct dialing *d)
{
    if (has_known(d) && d->first_ms == 0 && !is_asking(d)) {
        add_known(d);
    } else if (is_asking(d)) {
        d->dial->step = d->err == 0 ? "resolve" : "connect";
        wait(d);
    } else {
        give_up(d, d->err != 0 ? d->err : INLETS_EDNS);
    }
}

/* One more address joins the race. */
static void start_next(struct dialing *d)
{
    if (d->next < d->naddresses && d->nattempts == ATTEMPTS_MAX) {
        abandon(d);
        remember(d, INLETS_ETIMEDOUT);
    }
    while (d->next < d->naddresses) {
        int err = try_address(d, d->addresses[d->next++]);

        if (err == 0) {
            d->joined_ms = d->loop->env.now_ms;
            break;
        }
        remember(d, err);
    }
    if (d->nattempts == 0) {
        nothing_left(d);
    } else {
        wait(d);
    }
}

/* Those that are new are tried next, and then the families take turns. */
static void add(struct dialing *d, struct addrinfo *list)
{
    struct addrinfo *old[INL_ADDRESSES_MAX];
    size_t before = d->naddresses, nold = before - d->next, nnew;

    for (struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        inl_address_set_port(ai->ai_addr, d->dial->port);
    }
    d->naddresses = inl_resolve_pick(list, d->addresses, before);
    nnew = d->naddresses - before;
    memcpy(old, d->addresses + d->next, nold * sizeof(old[0]));
    memmove(d->addresses + d->next, d->addresses + before,
            nnew * sizeof(old[0]));
    memcpy(d->addresses + d->next + nnew, old, nold * sizeof(old[0]));
    inl_resolve_interleave(d->addresses + d->next, nold + nnew);
}

/* New addresses are there, or no more will come: the race begins, or goes on
 * with them. */
static void go_on(struct dialing *d)
{
    if (d->state != CONNECT) {
        move(d, CONNECT);
    }
    if (d->next < d->naddresses) {
        d->dial->step = "connect";
    }
    if (d->nattempts == 0) {
        start_next(d);
    } else {
        wait(d);
    }
}

static bool give(struct given *g, const char *text, unsigned port)
{
    if (inl_address_parse(text, port, &g->address) != 0) {
        return false;
    }
    g->info = (struct addrinfo){
        .ai_family = g->address.ss_family,
        .ai_addrlen = inl_address_size(&g->address),
        .ai_addr = (struct sockaddr *)&g->address,
    };
    return true;
}

/* In the order in which they worked. */
static void add_known(struct dialing *d)
{
    const struct inl_dial_known *k = d->dial->known;

    d->knows = true;
    for (unsigned i = 0; i < INL_DIAL_KNOWN_MAX; i++) {
        if (give(&d->known[i], k->addresses[i], d->dial->port)) {
            d->naddresses = inl_resolve_pick(&d->known[i].info, d->addresses,
                                             d->naddresses);
        }
    }
    go_on(d);
}

static void on_timer(struct inl_timer *timer)
{
    struct dialing *d = inl_container(timer, struct dialing, timer);
    uint64_t now = d->loop->env.now_ms;

    if (now >= d->dial->due_ms) {
        give_up(d, INLETS_ETIMEDOUT);
    } else if (d->first_ms == 0 && is_asking(d) && has_known(d)) {
        add_known(d);
    } else if (d->nattempts == 0 && d->next == d->naddresses) {
        give_up(d, d->err != 0 ? d->err : INLETS_EDNS);
    } else if (d->state == RESOLVE) {
        go_on(d);
    } else {
        start_next(d);
    }
}

/* --- RESOLVE ------------------------------------------------------------- */

static void take_answer(struct dialing *d, struct question *q, int status)
{
    struct question *v6 = &d->questions[IPV6];

    if (status != 0 && inl_resolve_error(status) == INLETS_ENOMEM) {
        remember(d, INLETS_ENOMEM);
    }
    add(d, q->found);
    if (d->first_ms == 0 && d->next < d->naddresses) {
        d->first_ms = d->loop->env.now_ms;
    }
    if (d->state == CONNECT || !is_asking(d) ||
        (d->next < d->naddresses && q == v6)) {
        go_on(d);
    } else {
        wait(d);
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status,
                        struct addrinfo *list)
{
    struct question *q = req->data;
    struct dialing *d = q->dialing;

    inl_loop_enter(d->loop);
    q->asking = false;
    q->found = list;
    if (d->state != OVER) {
        take_answer(d, q, status);
    } else if (!is_asking(d)) {
        inl_env_later(&d->loop->env, &d->later);
    }
}

static void resolve(struct dialing *d)
{
    int err = 0;

    move(d, RESOLVE);
    d->dial->step = "resolve";
    d->asked_ms = d->loop->env.now_ms;
    for (unsigned i = 0; i < QUESTIONS && err == 0; i++) {
        struct question *q = &d->questions[i];

        q->dialing = d;
        q->req.data = q;
        err = inl_resolve_ask(d->loop, &q->req, d->dial->host,
                              i == IPV6 ? AF_INET6 : AF_INET, on_resolved);
        q->asking = err == 0;
    }
    if (err != 0) {
        give_up(d, inl_resolve_error(err));
        return;
    }
    wait(d);
}

/* --- START --------------------------------------------------------------- */

static void run_later(struct inl_later *later)
{
    struct dialing *d = inl_container(later, struct dialing, later);

    if (d->state == OVER) {
        if (!is_asking(d)) {
            free_dialing(d);
        }
    } else if (give(&d->numeric, d->dial->host, d->dial->port)) {
        add(d, &d->numeric.info);
        go_on(d);
    } else {
        resolve(d);
    }
}

static int start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct inl_loop *loop = inl_container(dialer->env, struct inl_loop, env);
    struct dialing *d;
    int err;

    if (inl_dial_is_unix(dial)) {
        return inl_dial_unix_start(loop, dial);
    }
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
    if (inl_dial_is_unix(dial)) {
        inl_dial_unix_cancel(dial);
    } else {
        (void)end(dial->impl);
    }
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
