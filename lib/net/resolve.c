/* net/resolve.c: the addresses of a name, over libuv.
 *
 *   START -> ASK -> OVER   (a name)
 *   START --------> OVER   (a numeric address)
 *
 * Happy path: begin() only puts the work off to the end of the turn, so that
 * `done` never runs during start; then getaddrinfo on libuv's thread pool;
 * the answer is told as texts that live on the stack of its callback.
 *
 * Failure: told by `done`, without addresses. Cancel is without a word.
 *
 * Who frees: `struct resolving` goes from `later`, once it is OVER and the
 * resolver, which cannot always be cancelled, has given back its request. */
#include "net/resolve.h"

#include "base/mem.h"
#include "base/url.h"
#include "net/address.h"
#include <inlets/err.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

enum state { START, ASK, OVER };

static const char *const state_names[] = {
    [START] = "start",
    [ASK] = "ask",
    [OVER] = "over",
};

struct resolving {
    struct inl_loop *loop;
    struct inl_resolve *asker; /* the caller's; NULL when OVER */
    enum state state;
    uv_getaddrinfo_t req;
    bool asking;            /* `req` is libuv's */
    struct inl_later later; /* begin, or free */
};

/* --- For the dialer too -------------------------------------------------- */

/* uv_getaddrinfo of 1.45 to 1.47 cuts longer names and asks for what is left
 * (CVE-2024-24806), so they must not get there. */
bool inl_resolve_is_host(const char *host)
{
    return host != NULL && host[0] != '\0' &&
           strnlen(host, INL_HOST_MAX + 1) <= INL_HOST_MAX;
}

int inl_resolve_ask(struct inl_loop *loop, uv_getaddrinfo_t *req,
                    const char *host, int family, uv_getaddrinfo_cb answered)
{
    /* No AI_ADDRCONFIG: it drops "localhost" where only the loopback has an
     * address. An address that cannot be used fails at once anyway. */
    const struct addrinfo hints = {
        .ai_family = family,
        .ai_socktype = SOCK_STREAM,
    };

    return uv_getaddrinfo(loop->uv, req, answered, host, NULL, &hints);
}

int inl_resolve_error(int status)
{
    return status == UV_EAI_MEMORY || status == UV_ENOMEM ? INLETS_ENOMEM
                                                          : INLETS_EDNS;
}

static bool is_same(const struct addrinfo *a, const struct addrinfo *b)
{
    return a->ai_addrlen == b->ai_addrlen &&
           memcmp(a->ai_addr, b->ai_addr, a->ai_addrlen) == 0;
}

static bool is_among(struct addrinfo *const *picked, size_t n,
                     const struct addrinfo *ai)
{
    for (size_t i = 0; i < n; i++) {
        if (is_same(picked[i], ai)) {
            return true;
        }
    }
    return false;
}

size_t inl_resolve_pick(struct addrinfo *list,
                        struct addrinfo *picked[INL_ADDRESSES_MAX], size_t n)
{
    for (struct addrinfo *ai = list; ai != NULL && n < INL_ADDRESSES_MAX;
         ai = ai->ai_next) {
        if ((ai->ai_family == AF_INET || ai->ai_family == AF_INET6) &&
            !is_among(picked, n, ai)) {
            picked[n++] = ai;
        }
    }
    return n;
}

void inl_resolve_interleave(struct addrinfo **addresses, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int last = addresses[i - 1]->ai_family;
        size_t from = i;

        while (from < n && addresses[from]->ai_family == last) {
            from++;
        }
        if (from < n && from > i) {
            struct addrinfo *other = addresses[from];

            memmove(&addresses[i + 1], &addresses[i],
                    (from - i) * sizeof(addresses[0]));
            addresses[i] = other;
        }
    }
}

/* With the interface of a link-local address, without which it leads nowhere.
 */
bool inl_resolve_to_text(const struct addrinfo *ai,
                         char text[INL_DIAL_ADDRESS_MAX])
{
    return getnameinfo(ai->ai_addr, ai->ai_addrlen, text, INL_DIAL_ADDRESS_MAX,
                       NULL, 0, NI_NUMERICHOST) == 0;
}

/* --- inl_resolve --------------------------------------------------------- */

static void move(struct resolving *s, enum state to)
{
    /* A bit for each state that may come next. */
    static const unsigned allowed[] = {
        [START] = 1u << ASK | 1u << OVER,
        [ASK] = 1u << OVER,
        [OVER] = 0,
    };

    if ((allowed[s->state] & 1u << to) == 0) {
        return;
    }
    inl_env_trace_move(&s->loop->env, "resolve", 0, state_names[s->state],
                       state_names[to]);
    s->state = to;
}

/* Parts with the caller, who may then do with its object what it likes. */
static struct inl_resolve *end(struct resolving *s)
{
    struct inl_resolve *asker = s->asker;

    move(s, OVER);
    if (s->asking) {
        (void)uv_cancel((uv_req_t *)&s->req);
    }
    inl_env_later(&s->loop->env, &s->later);
    s->asker = NULL;
    asker->impl = NULL;
    return asker;
}

static void give_up(struct resolving *s, int err)
{
    struct inl_resolve *asker = end(s);

    asker->done(asker, err, NULL, 0);
}

static void tell(struct resolving *s, struct addrinfo *list)
{
    struct addrinfo *picked[INL_ADDRESSES_MAX];
    char texts[INL_ADDRESSES_MAX][INL_DIAL_ADDRESS_MAX];
    const char *addresses[INL_ADDRESSES_MAX];
    size_t found = inl_resolve_pick(list, picked, 0);
    struct inl_resolve *asker;
    size_t n = 0;

    for (size_t i = 0; i < found; i++) {
        if (inl_resolve_to_text(picked[i], texts[n])) {
            addresses[n] = texts[n];
            n++;
        }
    }
    if (n == 0) {
        give_up(s, INLETS_EDNS);
        return;
    }
    asker = end(s);
    asker->done(asker, 0, addresses, n);
}

static void on_answer(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct resolving *s = req->data;

    inl_loop_enter(s->loop);
    s->asking = false;
    if (s->state == OVER) {
        inl_env_later(&s->loop->env, &s->later);
    } else if (status != 0) {
        give_up(s, inl_resolve_error(status));
    } else {
        tell(s, list);
    }
    uv_freeaddrinfo(list);
}

static void ask(struct resolving *s)
{
    int err;

    move(s, ASK);
    s->req.data = s;
    err =
        inl_resolve_ask(s->loop, &s->req, s->asker->host, AF_UNSPEC, on_answer);
    if (err != 0) {
        give_up(s, inl_resolve_error(err));
        return;
    }
    s->asking = true;
}

static void run_later(struct inl_later *later)
{
    struct resolving *s = inl_container(later, struct resolving, later);
    struct sockaddr_storage address;

    if (s->state == OVER) {
        if (!s->asking) {
            s->loop->live--;
            inl_free(s);
        }
    } else if (inl_address_parse(s->asker->host, 0, &address) == 0) {
        struct addrinfo numeric = {
            .ai_family = address.ss_family,
            .ai_addr = (struct sockaddr *)&address,
            .ai_addrlen = inl_address_size(&address),
        };

        tell(s, &numeric);
    } else {
        ask(s);
    }
}

int inl_resolve_begin(struct inl_dialer *dialer, struct inl_resolve *r)
{
    struct resolving *s;

    if (!inl_resolve_is_host(r->host)) {
        return INLETS_EINVAL;
    }
    s = inl_calloc(1, sizeof(*s));
    if (s == NULL) {
        return INLETS_ENOMEM;
    }
    s->loop = inl_container(dialer->env, struct inl_loop, env);
    s->asker = r;
    r->impl = s;
    s->loop->live++;
    inl_later_init(&s->later, run_later);
    inl_env_later(dialer->env, &s->later);
    return 0;
}

void inl_resolve_forget(struct inl_dialer *dialer, struct inl_resolve *r)
{
    (void)dialer;
    (void)end(r->impl);
}
