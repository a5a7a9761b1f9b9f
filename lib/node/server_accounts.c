/* server_accounts.c: who may be a client, and how much of one: opts.token,
 * whose holder may do anything, and the accounts (relay/accounts.h).
 *
 * Failure: whatever is not known, or cannot be looked up, is refused. */
#include "node/server.h"

#include "base/mem.h"
#include "base/slice.h"
#include "node/accounts.h"

/* How often accounts with a date are looked at, by a clock that may jump. */
#define DATES_MS 2000u

static struct inlets_server *server_of(const struct inl_gate *g)
{
    return g->config.owner;
}

/* ---- handshakes --------------------------------------------------------- */

/* Many clients may come through a proxy of ours, or from this machine. */
static bool is_limited(const struct inlets_server *server,
                       const struct inl_link *link)
{
    return !link->peer_is_loopback &&
           !inl_cidr_set_has_text(&server->trusted, inl_str(link->peer_ip));
}

/* Exactly one Authorization field; else what is in none. */
static struct inlets_slice find_credentials(const struct inlets_head *head)
{
    struct inlets_slice value = INL_LIT("");
    unsigned seen = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, INL_LIT("authorization"))) {
            value = head->fields[i].value;
            seen++;
        }
    }
    return seen == 1 ? value : INL_LIT("");
}

/* What is wrong with it is said in the log alone. */
static int identify_jwt(struct inlets_server *server, struct inlets_slice token,
                        struct inl_gate_identity *who,
                        const struct inl_account **ret_account)
{
    struct inl_env *env = inl_server_env(server);
    const char *why = NULL;
    const struct inl_account *account = inl_accounts_by_jwt(
        &server->accounts, token, inl_env_wall_s(env), &who->until_s, &why);

    if (account == NULL) {
        inl_log(env, INLETS_LOG_WARN, "token refused",
                INL_KV("why", inl_str(why)));
        return INLETS_EAUTH;
    }
    memcpy(who->proof, account->says->claims_proof, sizeof(who->proof));
    *ret_account = account;
    return 0;
}

static bool is_jwt(const struct inlets_server *server,
                   struct inlets_slice credentials,
                   struct inlets_slice *ret_token)
{
    return server->accounts.is_set && server->accounts.doc.nissuers > 0 &&
           inl_bearer_parse(credentials, ret_token) && inl_jwt_is(*ret_token);
}

/* Both are asked, whatever the first says: unknown and wrong cost the same. */
static int identify_token(const struct inlets_server *server,
                          struct inlets_slice credentials,
                          struct inl_gate_identity *who,
                          const struct inl_account **ret_account)
{
    bool is_bearer = inl_bearer_digest(credentials, who->proof);
    bool is_token = inl_token_matches(&server->token, who->proof);
    const struct inl_account *account =
        inl_accounts_by_token(&server->accounts, who->proof);

    if (!is_bearer || (!is_token && account == NULL)) {
        return INLETS_EAUTH;
    }
    *ret_account = account;
    return 0;
}

static const struct inl_account *find_user(const struct inlets_server *server,
                                           struct inlets_slice user)
{
    char name[INL_ACCOUNT_NAME_MAX + 1] = "";

    if (user.len > INL_ACCOUNT_NAME_MAX) {
        return NULL;
    }
    memcpy(name, user.ptr, user.len);
    return strlen(name) == user.len /* no NUL in it */
               ? inl_accounts_find(&server->accounts, name)
               : NULL;
}

/* Who has no password, and who is nobody, has a hash that nothing matches. */
static int identify_user(struct inlets_server *server, struct inlets_slice user,
                         struct inlets_slice password, struct inl_ask *ask,
                         struct inl_gate_identity *who,
                         const struct inl_account **ret_account)
{
    const struct inl_account *account = find_user(server, user);
    const char *hash = account == NULL ? NULL : account->says->password;
    int err;

    err = inl_passwords_check(&server->passwords, hash, password, ask);
    if (err == 0 && hash == NULL) {
        return INLETS_EAUTH;
    }
    if (err == 0) {
        memcpy(who->proof, account->says->password_proof, sizeof(who->proof));
        *ret_account = account;
    }
    return err;
}

static int identify(struct inlets_server *server,
                    const struct inlets_head *head, struct inl_ask *ask,
                    struct inl_gate_identity *who,
                    const struct inl_account **ret_account)
{
    struct inlets_slice credentials = find_credentials(head), user, password;
    struct inlets_slice token;
    char room[INL_BASIC_ROOM];
    int err;

    if (server->accounts.is_set &&
        inl_basic_parse(credentials, room, &user, &password)) {
        err = identify_user(server, user, password, ask, who, ret_account);
    } else {
        err = identify_token(server, credentials, who, ret_account);
        if (err != 0 && is_jwt(server, credentials, &token)) {
            err = identify_jwt(server, token, who, ret_account);
        }
    }
    inl_wipe(room, sizeof(room));
    return err;
}

static int check_shown(struct inlets_server *server,
                       const struct inl_account *account,
                       const struct inl_gate_identity *shown,
                       const char **ret_why)
{
    if (shown->until_s > 0 &&
        inl_env_wall_s(inl_server_env(server)) >= shown->until_s) {
        *ret_why = "this token has expired";
        return INLETS_EAUTH;
    }
    return inl_account_check(account, inl_server_env(server), shown->proof,
                             shown->has_peer ? shown->peer.fingerprint : NULL,
                             &shown->from, ret_why);
}

static bool needs_nobody(const struct inlets_server *server)
{
    return !server->token.is_set && !server->accounts.is_set;
}

int inl_server_authorise(struct inl_gate *g, const struct inl_link *link,
                         const struct inlets_head *head, struct inl_ask *ask,
                         struct inl_gate_identity *ret_shown,
                         const char **ret_why)
{
    struct inlets_server *server = server_of(g);
    const struct inl_account *account = NULL;
    bool is_limited_here = is_limited(server, link);
    int err;

    ret_shown->has_peer =
        link->tls != NULL && inl_tls_get_peer(link->tls, &ret_shown->peer);
    if (needs_nobody(server)) {
        /* Loopback, or the user said that anyone may, or that who has shown a
         * certificate may. */
        return 0;
    }
    /* Who is no IP address is one place, the one of all zero. */
    (void)inl_ip_parse(inl_str(link->peer_ip), &ret_shown->from);
    if (is_limited_here &&
        inl_attempts_wait_ms(&server->attempts, &ret_shown->from) > 0) {
        return INLETS_ETOOMANY;
    }
    ask->is_limited = is_limited_here;
    ask->from = ret_shown->from;
    err = identify(server, head, ask, ret_shown, &account);
    if (err != 0) {
        if (is_limited_here && err == INLETS_EAUTH) {
            inl_attempts_failed(&server->attempts, &ret_shown->from);
        }
        return err;
    }
    if (account == NULL) {
        return 0;
    }
    memcpy(ret_shown->account, account->says->name,
           strlen(account->says->name) + 1);
    return check_shown(server, account, ret_shown, ret_why);
}

/* A client that has lost its websocket gives way: it may have started anew. */
static bool make_room(struct inl_account *account)
{
    struct inl_list *n, *tmp;

    inl_list_each(&account->clients, n, tmp)
    {
        struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, of_account);

        if (!inl_session_is_up(c->session)) {
            inl_server_forget(c); /* it goes at the end of the turn */
            inl_gate_expel(c, INLETS_ELIMIT,
                           INL_LIT("another client of this account came"));
            return account->nclients < account->says->sessions;
        }
    }
    return false;
}

int inl_server_admit(struct inl_gate_client *c, const char **ret_why)
{
    struct inlets_server *server = server_of(c->gate);
    struct inl_account *account =
        inl_accounts_find(&server->accounts, c->shown.account);

    if (account == NULL) {
        return 0;
    }
    if (account->says->sessions > 0 &&
        account->nclients >= account->says->sessions && !make_room(account)) {
        *ret_why = "this account has as many clients as it may have";
        return INLETS_ELIMIT;
    }
    c->account = account;
    inl_account_join(account, &c->of_account);
    return 0;
}

void inl_server_forget(struct inl_gate_client *c)
{
    inl_account_leave(c->account, &c->of_account);
    c->account = NULL;
}

/* ---- streams ------------------------------------------------------------ */

static size_t count_streams(const struct inl_account *account)
{
    struct inl_list *n;
    size_t sum = 0;

    for (n = account->clients.next; n != &account->clients; n = n->next) {
        sum += inl_session_nstreams(
            inl_container(n, struct inl_gate_client, of_account)->session);
    }
    return sum;
}

int inl_server_admit_stream(struct inl_gate_client *c)
{
    struct inl_account *account = c->account;
    const char *limit = NULL;
    int err;

    if (account == NULL) {
        return 0;
    }
    err = inl_account_begin_stream(
        account, c->session->env,
        account->says->streams > 0 ? count_streams(account) : 0, &limit);
    if (err != 0) {
        inl_log(c->session->env, INLETS_LOG_INFO, "request refused",
                INL_KV("account", inl_str(account->says->name)),
                INL_KV("limit", inl_str(limit)));
    }
    return err;
}

/* ---- changes ------------------------------------------------------------ */

static void expel(struct inl_gate_client *c, int err, const char *why)
{
    inl_log(c->session->env, INLETS_LOG_WARN, "tunnel ended",
            INL_KN("session", c->session->id),
            INL_KV("account", inl_str(c->shown.account)),
            INL_KV("why", inl_str(why)));
    inl_gate_expel(c, err, inl_str(why));
}

/* Ends what may not go on; clients come back where it is not they who are
 * unwelcome. */
static void look_at_clients(struct inlets_server *server,
                            struct inl_account *account)
{
    struct inl_list *n, *tmp;

    inl_list_each(&account->clients, n, tmp)
    {
        struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, of_account);
        const char *why = NULL;
        int err = check_shown(server, account, &c->shown, &why);

        if (err != 0) {
            expel(c, err, why);
        } else if (account->has_new_hosts) {
            inl_session_drain(
                c->session, 0,
                INL_LIT("the hosts of this account have changed"));
        }
    }
    account->has_new_hosts = false;
}

/* They have moved with their clients. */
static void point_at_accounts(struct inl_accounts *accounts)
{
    struct inl_list *n, *tmp;

    for (size_t i = 0; i < accounts->doc.n; i++) {
        inl_list_each(&accounts->items[i].clients, n, tmp)
        {
            inl_container(n, struct inl_gate_client, of_account)->account =
                &accounts->items[i];
        }
    }
}

static void look_at_all(struct inlets_server *server)
{
    for (size_t i = 0; i < server->accounts.doc.n; i++) {
        look_at_clients(server, &server->accounts.items[i]);
    }
}

static void watch_dates(struct inlets_server *server)
{
    struct inl_env *env = inl_server_env(server);

    if (inl_accounts_have_dates(&server->accounts)) {
        (void)inl_timer_at(env, &server->accounts_timer,
                           env->now_ms + DATES_MS);
    } else {
        inl_timer_off(env, &server->accounts_timer);
    }
}

static void dates_due(struct inl_timer *timer)
{
    struct inlets_server *server =
        inl_container(timer, struct inlets_server, accounts_timer);

    look_at_all(server);
    watch_dates(server);
}

int inlets_server_set_accounts(struct inlets_server *server,
                               struct inlets_accounts *accounts)
{
    struct inl_list orphans, *n;
    int err;

    if (server->closed) {
        inlets_accounts_free(accounts);
        return 0;
    }
    inl_loop_enter(&server->loop);
    inl_list_init(&orphans);
    err = inl_accounts_set(&server->accounts, inl_server_env(server),
                           &accounts->doc, &orphans);
    if (err != 0) {
        return err;
    }
    inlets_accounts_free(accounts);
    /* Before anybody is told, who may call back. */
    point_at_accounts(&server->accounts);
    while ((n = inl_list_pop(&orphans)) != NULL) {
        struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, of_account);

        c->account = NULL;
        expel(c, INLETS_EAUTH, "there is no such account any more");
    }
    look_at_all(server);
    watch_dates(server);
    return 0;
}

void inl_server_accounts_init(struct inlets_server *server)
{
    inl_attempts_init(&server->attempts, inl_server_env(server));
    inl_passwords_init(&server->passwords, inl_server_env(server));
    inl_timer_init(&server->accounts_timer, dates_due);
}

void inl_server_accounts_fini(struct inlets_server *server)
{
    inl_passwords_fini(&server->passwords);
    inl_attempts_fini(&server->attempts);
    inl_accounts_fini(&server->accounts);
}
