/* server_names.c: names under a domain of ours (opts.domain), for clients that
 * ask for no host or for one without a dot. Who asks for none gets two words
 * and five characters, drawn from the digest of its account's name: the same
 * again each time, and never another account's that is here. Holders of the one
 * token are not told apart, so each that is connected has its own.
 *
 * Failure: who has no host under the domain of its own is refused. */
#include "node/server.h"

#include "base/slice.h"
#include <stdio.h>

/* Of each list five bits of the digest choose one. */
static const char *const qualities[32] = {
    "amber", "brave", "brisk", "calm",  "clear",  "clever", "coral", "crisp",
    "dusty", "eager", "early", "fair",  "fleet",  "gentle", "glad",  "golden",
    "happy", "keen",  "kind",  "light", "lively", "lucky",  "merry", "mild",
    "misty", "neat",  "quick", "quiet", "sunny",  "swift",  "warm",  "wise"};
static const char *const animals[32] = {
    "badger", "bear",  "beaver", "bison", "crane", "deer",  "dove",   "duck",
    "eagle",  "elk",   "falcon", "finch", "fox",   "goose", "hare",   "hawk",
    "heron",  "horse", "ibis",   "koala", "lark",  "lynx",  "marten", "mole",
    "moose",  "otter", "owl",    "raven", "robin", "seal",  "swan",   "wren"};
/* No two that look alike. */
static const char letters[33] = "23456789abcdefghijkmnpqrstuvwxyz";
/* Before it gives up: each has a chance of 1 in 2^35 to be taken. */
#define TRIES 4096u

/* The n-th name of an account. */
static int draw(const struct inlets_server *server, const char *account,
                unsigned n, char name[INL_GATE_NAME])
{
    char text[INL_HOST_MAX + INL_ACCOUNT_NAME_MAX + 32];
    uint8_t d[INL_SHA256_LEN];
    int err;

    (void)snprintf(text, sizeof(text), "inlets %s %s %u", server->domain,
                   account, n);
    err = inl_sha256(inl_str(text), d);
    (void)snprintf(name, INL_GATE_NAME, "%s-%s-%c%c%c%c%c",
                   qualities[d[0] % 32], animals[d[1] % 32], letters[d[2] % 32],
                   letters[d[3] % 32], letters[d[4] % 32], letters[d[5] % 32],
                   letters[d[6] % 32]);
    return err;
}

/* Does somebody have it whom it would be taken from? */
static bool is_taken(struct inlets_server *server,
                     const struct inl_gate_client *by, const char *name)
{
    struct inl_list *n, *tmp;

    inl_list_each(&server->gate.clients, n, tmp)
    {
        const struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, node);
        bool is_same = by->account != NULL && c->account == by->account;

        if (c != by && !is_same && strcmp(c->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The first host right under the domain that the account has by name. */
static bool find_own(const struct inlets_server *server,
                     const struct inl_account_entry *e,
                     char name[INL_GATE_NAME])
{
    for (size_t i = 0; i < e->nhosts; i++) {
        struct inlets_slice host = inl_str(e->endpoints[i].host);
        size_t dot = inl_slice_find(host, '.');

        if (!e->endpoints[i].wildcard && dot < host.len &&
            dot < INL_GATE_NAME &&
            inl_slice_eq(inl_slice_from(host, dot + 1),
                         inl_str(server->domain))) {
            memcpy(name, host.ptr, dot);
            name[dot] = '\0';
            return true;
        }
    }
    return false;
}

/* c->name, once and for all of its endpoints. */
static int choose(struct inlets_server *server, struct inl_gate_client *c)
{
    int err = 0;

    if (c->name[0] != '\0' ||
        (c->account != NULL && find_own(server, c->account->says, c->name))) {
        return 0;
    }
    for (unsigned n = 0; n < TRIES; n++) {
        err = draw(server, c->shown.account, n, c->name);
        if (err != 0 || !is_taken(server, c, c->name)) {
            break;
        }
    }
    return err;
}

static bool is_label(const char *host)
{
    return host[0] != '\0' && strchr(host, '.') == NULL &&
           strchr(host, ':') == NULL && strcmp(host, "localhost") != 0;
}

int inl_server_name(struct inlets_server *server, struct inl_gate_client *c,
                    struct inl_endpoint *endpoint)
{
    char label[INL_HOST_MAX + 1];
    int n, err = 0;

    if (server->domain == NULL || endpoint->wildcard ||
        (endpoint->host[0] != '\0' && !is_label(endpoint->host))) {
        return 0;
    }
    if (endpoint->host[0] == '\0') {
        err = choose(server, c);
    }
    (void)snprintf(label, sizeof(label), "%s",
                   endpoint->host[0] == '\0' ? c->name : endpoint->host);
    n = snprintf(endpoint->host, sizeof(endpoint->host), "%s.%s", label,
                 server->domain);
    return err != 0                           ? err
           : n >= (int)sizeof(endpoint->host) ? INLETS_EINVAL
                                              : 0;
}

/* Where visitors find it: by https where there is such a port. */
static const struct inl_front *best_front(const struct inlets_server *server)
{
    const struct inl_front *best = NULL;

    for (const struct inl_front *f = server->fronts; f != NULL; f = f->next) {
        if ((f->what & INLETS_LISTEN_VISITORS) != 0 &&
            (best == NULL || (f->tls != NULL && best->tls == NULL))) {
            best = f;
        }
    }
    return best;
}

struct inlets_slice inl_server_url_of(const struct inlets_server *server,
                                      const struct inl_endpoint *endpoint,
                                      char text[INL_SERVER_URL])
{
    const struct inl_front *f = best_front(server);
    bool is_tls = f != NULL && f->tls != NULL;
    unsigned usual = is_tls ? 443 : 80, number = f == NULL ? usual : f->port;
    char port[8] = "";
    int n;

    if (endpoint->host[0] == '\0' || endpoint->wildcard) {
        return INL_LIT("");
    }
    if (number != usual) {
        (void)snprintf(port, sizeof(port), ":%u", number);
    }
    n = snprintf(text, INL_SERVER_URL, "%s://%s%s%.*s",
                 is_tls ? "https" : "http", endpoint->host, port,
                 (int)endpoint->path.len, endpoint->path.ptr);
    return n > 0 && n < (int)INL_SERVER_URL ? inl_slice(text, (size_t)n)
                                            : INL_LIT("");
}
