/* gate.c: see gate.h.
 *
 * Who owns what: the gate its clients, a client its session. A client is in
 * the list from its 101 to `down`, and then freed from `later`. The map finds
 * it by the name that its session has in tickets, so the cost of a ticket does
 * not grow with the number of clients.
 *
 * A ticket that is not taken says nothing about why: an unknown session, a
 * wrong secret, account or count, and one that comes too late are one case.
 * For lane 0 the client gets a new session instead, on the same websocket, if
 * there are new ones; a ticket for another lane is refused. Neither secrets nor
 * the names of sessions in tickets go to a log.
 *
 * Failure: out of memory before the 101 refuses the handshake; after it the
 * link is reset, since what was said cannot be taken back. */
#include "relay/gate.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1.h"
#include "proto/ticket.h"
#include "proto/websocket.h"
#include <string.h>

/* A handshake on its way through. All borrowed. */
struct handshake {
    struct inl_gate *gate;
    struct inl_link *link;
    struct inlets_slice key;
    struct inl_gate_identity shown;
    const char *why; /* it is refused; NULL: as the error says */
};

static struct inl_env *env_of(const struct inl_gate *g)
{
    return g->config.env;
}

static bool is_ending(const struct inl_gate *g)
{
    return g->draining || g->closed;
}

/* ---- how far apart clients come back ---------------------------------- */

static uint32_t spread_ms(size_t nclients)
{
    uint64_t ms = (uint64_t)nclients * INL_GATE_SPREAD_MS_EACH;

    return nclients < INL_GATE_SPREAD_CLIENTS ? 0
           : ms > UINT32_MAX                  ? UINT32_MAX
                                              : (uint32_t)ms;
}

/* A session that is still in its HELLO is not told now, but in on_hello. */
static void tell_spread(struct inl_gate_client *c)
{
    if (c->session->state == INL_SESSION_OPEN) {
        c->spread_over = c->gate->spread_over;
        inl_session_tell_spread(c->session, spread_ms(c->spread_over));
    }
}

/* Somebody came. All are told anew when they have become a quarter more than
 * anybody was told for. spread_over falls only when somebody comes, and not
 * below their number then; so each round has been paid for by the coming of a
 * fifth of those whom it tells. */
static void look_at_spread(const struct inl_gate_client *newest)
{
    struct inl_gate *g = newest->gate;
    struct inl_list *n, *tmp;

    if (newest->spread_over < g->spread_over) {
        g->spread_over = newest->spread_over;
    }
    if (g->nclients < INL_GATE_SPREAD_CLIENTS ||
        (g->spread_over >= INL_GATE_SPREAD_CLIENTS &&
         g->nclients * 4 < g->spread_over * 5)) {
        return;
    }
    g->spread_over = g->nclients;
    inl_list_each(&g->clients, n, tmp)
    {
        struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, node);

        if (c->spread_over < g->spread_over) {
            tell_spread(c);
        }
    }
}

/* ---- fresh websockets ------------------------------------------------- */

/* A tenth sooner or later, so that clients that came together do not move
 * together for ever. */
static int plan_rotation(struct inl_gate_client *c)
{
    const struct inl_gate_config *config = &c->gate->config;
    uint32_t tenth = config->rotate_ms / 10;
    uint64_t due;

    if (config->rotate_ms == 0 || config->resume_ms == 0) {
        return 0;
    }
    due = config->env->now_ms + config->rotate_ms - tenth +
          inl_env_random_u32(config->env) % (2 * tenth + 1);
    return inl_timer_at(config->env, &c->rotation, due);
}

/* Who does not move is asked again next time. */
static void rotation_due(struct inl_timer *timer)
{
    struct inl_gate_client *c =
        inl_container(timer, struct inl_gate_client, rotation);

    if (c->session->state == INL_SESSION_OPEN) {
        inl_session_rotate(c->session);
    }
    (void)plan_rotation(c); /* without memory: not any more */
}

size_t inl_gate_rotate(struct inl_gate *g)
{
    struct inl_env *env = env_of(g);
    uint32_t spread = spread_ms(g->nclients);
    struct inl_list *n, *tmp;

    if (g->config.resume_ms == 0 || is_ending(g)) {
        return 0;
    }
    inl_list_each(&g->clients, n, tmp)
    {
        struct inl_gate_client *c =
            inl_container(n, struct inl_gate_client, node);
        uint64_t due =
            env->now_ms + (spread > 0 ? inl_env_random_u32(env) % spread : 0);

        if (spread == 0 || inl_timer_at(env, &c->rotation, due) != 0) {
            rotation_due(&c->rotation);
        }
    }
    return g->nclients;
}

/* ---- lanes, for the log ----------------------------------------------- */

static const struct inl_session_lane *lane_of(const struct inl_session *s,
                                              unsigned number)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        if (s->lanes[i]->number == number) {
            return s->lanes[i];
        }
    }
    return NULL;
}

static void remember_lost(struct inl_gate_client *c, unsigned lane)
{
    if (c->nlost < INL_SESSION_LANES) {
        c->lost[c->nlost].lane = lane;
        c->lost[c->nlost++].at_ms = env_of(c->gate)->now_ms;
    }
}

/* For how long it was lost; 0 when it was not. */
static uint64_t forget_lost(struct inl_gate_client *c, unsigned lane)
{
    uint64_t at_ms;

    for (unsigned i = 0; i < c->nlost; i++) {
        if (c->lost[i].lane == lane) {
            at_ms = c->lost[i].at_ms;
            c->lost[i] = c->lost[--c->nlost];
            return env_of(c->gate)->now_ms - at_ms;
        }
    }
    return 0;
}

/* That a lane is back is noted where its ticket is taken: only there it is
 * known from a new one. */
static void on_lane(struct inl_session *s, unsigned lane, int err)
{
    struct inl_gate_client *c = s->owner;
    const struct inl_session_lane *sl = lane_of(s, lane);

    if (err == 0) {
        return;
    }
    if (sl == NULL || sl->lane.state != INL_LANE_LOST) {
        (void)forget_lost(c, lane);
        inl_log(s->env, INLETS_LOG_INFO, "tunnel lane ended",
                INL_KN("session", s->id), INL_KN("lane", lane));
        return;
    }
    remember_lost(c, lane);
    inl_log(s->env, INLETS_LOG_INFO, "tunnel websocket lost",
            INL_KN("session", s->id), INL_KN("lane", lane),
            INL_KV("remote", inl_str(c->remote)),
            INL_KV("why", inl_str(inlets_strerror(err))),
            INL_KN("requests", sl->nstreams),
            INL_KN("resume_within_ms", sl->lane.resume_ms));
}

static void note_taken(struct inl_gate_client *c, const struct inl_link *link,
                       unsigned lane, bool is_new)
{
    struct inl_session *s = c->session;
    uint64_t pause_ms = forget_lost(c, lane);

    memcpy(c->remote, link->peer, sizeof(c->remote));
    if (lane == 0) {
        (void)plan_rotation(c); /* it has just happened */
    }
    if (is_new) {
        inl_log(s->env, INLETS_LOG_INFO, "tunnel lane added",
                INL_KN("session", s->id), INL_KN("lane", lane),
                INL_KV("remote", inl_str(c->remote)));
    } else {
        inl_log(s->env, INLETS_LOG_INFO, "tunnel websocket resumed",
                INL_KN("session", s->id), INL_KN("lane", lane),
                INL_KV("remote", inl_str(c->remote)),
                INL_KN("pause_ms", pause_ms));
    }
}

/* ---- events of sessions ----------------------------------------------- */

static void on_hello(struct inl_session *s, const struct inl_hello *hello)
{
    struct inl_gate_client *c = s->owner;

    inl_log(s->env, INLETS_LOG_INFO, "tunnel connected",
            INL_KN("session", s->id), INL_KV("remote", inl_str(c->remote)),
            INL_KV(c->shown.account[0] == '\0' ? NULL : "account",
                   inl_str(c->shown.account)),
            INL_KV(c->shown.has_peer ? "certificate" : NULL,
                   inl_str(c->shown.peer.name)),
            INL_KV("agent", hello->agent));
    if (c->spread_over < c->gate->spread_over) {
        tell_spread(c);
    }
}

static int on_route(struct inl_session *s, struct inl_target *target,
                    const struct inl_endpoint *endpoint,
                    struct inlets_slice text, struct inlets_slice *ret_text)
{
    struct inl_gate_client *c = s->owner;

    return c->gate->config.ops->route(c, target, endpoint, text, ret_text);
}

static void on_unroute(struct inl_session *s, struct inl_target *target,
                       struct inlets_slice text)
{
    struct inl_gate_client *c = s->owner;

    c->gate->config.ops->unroute(c, target, text);
}

static void on_goaway(struct inl_session *s, int err, struct inlets_slice text)
{
    struct inl_gate_client *c = s->owner;

    inl_log(s->env, INLETS_LOG_INFO, "tunnel drains", INL_KN("session", s->id),
            INL_KV("why", err == 0 ? text : inl_str(inlets_strerror(err))));
    if (c->gate->config.ops->goaway != NULL) {
        c->gate->config.ops->goaway(c, err, text);
    }
}

static void strike_out(struct inl_gate_client *c)
{
    struct inl_gate *g = c->gate;

    inl_list_remove(&c->node);
    g->nclients--;
    if (inl_list_linked(&c->of_account)) {
        g->config.ops->forget(c);
    }
    if (c->session->ticket != 0) {
        inl_map_remove(&g->by_ticket, &c->by_ticket);
    }
    inl_timer_off(env_of(g), &c->rotation);
}

static int on_stream(struct inl_session *s)
{
    struct inl_gate_client *c = s->owner;
    const struct inl_gate_ops *ops = c->gate->config.ops;

    return ops->stream == NULL ? 0 : ops->stream(c);
}

static void on_down(struct inl_session *s, int err)
{
    struct inl_gate_client *c = s->owner;

    inl_log(s->env, INLETS_LOG_INFO, "tunnel disconnected",
            INL_KN("session", s->id), INL_KV("remote", inl_str(c->remote)),
            INL_KV("why", inl_str(err == 0 ? "closed by this side"
                                           : inlets_strerror(err))),
            INL_KN("requests", s->streams_served),
            INL_KN("bytes_in", s->bytes_in), INL_KN("bytes_out", s->bytes_out),
            INL_KN("ms", s->env->now_ms - c->since_ms));
    strike_out(c);
    inl_env_later(s->env, &c->free);
    if (c->gate->config.ops->down != NULL) {
        c->gate->config.ops->down(c, err);
    }
}

static const struct inl_session_ops session_ops = {
    .hello = on_hello,
    .route = on_route,
    .unroute = on_unroute,
    .stream = on_stream,
    .goaway = on_goaway,
    .lane = on_lane,
    .down = on_down,
};

/* ---- a new client ----------------------------------------------------- */

static void client_free(struct inl_gate_client *c)
{
    inl_timer_off(env_of(c->gate), &c->rotation);
    inl_session_free(c->session);
    inl_free(c);
}

static void free_later(struct inl_later *later)
{
    client_free(inl_container(later, struct inl_gate_client, free));
}

static struct inl_session *session_new(struct inl_gate *g,
                                       struct inl_gate_client *c)
{
    const struct inl_session_config config = {
        .ops = &session_ops,
        .owner = c,
        .role = INL_SESSION_OPENER,
        .lane = g->config.lane,
        .max_streams = g->config.max_streams,
        .agent = g->config.agent,
        .resume_ms = g->config.resume_ms,
        .lanes = g->config.lanes,
        .spread_ms = spread_ms(c->spread_over),
    };

    return inl_session_new(g->config.env, &config);
}

static struct inl_gate_client *client_alloc(const struct handshake *h)
{
    struct inl_gate_client *c = inl_calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->gate = h->gate;
    c->shown = h->shown;
    inl_list_init(&c->of_account);
    c->since_ms = env_of(h->gate)->now_ms;
    c->spread_over = h->gate->nclients + 1;
    memcpy(c->remote, h->link->peer, sizeof(c->remote));
    inl_list_init(&c->node);
    inl_later_init(&c->free, free_later);
    inl_timer_init(&c->rotation, rotation_due);
    return c;
}

/* It is in the list; NULL: out of memory. */
static struct inl_gate_client *client_new(const struct handshake *h)
{
    struct inl_gate *g = h->gate;
    struct inl_gate_client *c = client_alloc(h);

    if (c == NULL) {
        return NULL;
    }
    c->session = session_new(g, c);
    if (c->session == NULL || plan_rotation(c) != 0 ||
        (c->session->ticket != 0 &&
         inl_map_add(&g->by_ticket, &c->by_ticket, c->session->ticket) != 0)) {
        client_free(c);
        return NULL;
    }
    inl_list_push_back(&g->clients, &c->node);
    g->nclients++;
    return c;
}

/* ---- the 101 ---------------------------------------------------------- */

/* answer: for a ticket that is taken, else NULL. */
static int put_101(const struct handshake *h, const struct inl_ticket *answer)
{
    char accept[INL_WS_ACCEPT_LEN] = {0};
    char text[INL_TICKET_TEXT_MAX + 1];
    struct inlets_field fields[3] = {
        {INL_LIT("Sec-WebSocket-Accept"), inl_slice(accept, sizeof(accept))},
        {INL_LIT("Sec-WebSocket-Protocol"), INL_LIT(INL_WS_PROTOCOL)},
    };
    struct inlets_head head = {.status = 101,
                               .content_length = INLETS_LENGTH_NONE,
                               .fields = fields,
                               .nfields = 2};
    enum inl_http1_framing framing;
    int err = inl_ws_accept(h->key, accept);

    if (err == 0 && answer != NULL) {
        fields[head.nfields++] = (struct inlets_field){
            INL_LIT(INL_TICKET_FIELD),
            inl_slice(text, inl_ticket_format(answer, text))};
    }
    if (err == 0) {
        err = inl_http1_put_response(
            &h->link->out, &head,
            INL_LIT("Connection: Upgrade\r\nUpgrade: websocket\r\n"), true,
            false, &framing);
    }
    inl_wipe(text, sizeof(text));
    return err;
}

/* After the 101: there is no other answer any more. */
static void drop_link(struct inl_link *link)
{
    inl_link_set_machine(link, NULL, NULL);
    inl_link_reset(link, INLETS_ENOMEM);
}

static void tune(const struct handshake *h)
{
    if (h->gate->config.ops->tune != NULL) {
        h->gate->config.ops->tune(h->gate, h->link);
    }
}

/* ---- handshakes ------------------------------------------------------- */

static int admit(struct inl_gate_client *c, const char **ret_why)
{
    const struct inl_gate_ops *ops = c->gate->config.ops;

    return ops->admit == NULL ? 0 : ops->admit(c, ret_why);
}

static int open_session(struct handshake *h)
{
    struct inl_gate *g = h->gate;
    struct inl_gate_client *c;
    int err;

    if (g->draining) {
        return INLETS_EGOAWAY;
    }
    c = client_new(h);
    if (c == NULL) {
        return INLETS_ENOMEM;
    }
    err = admit(c, &h->why);
    if (err == 0) {
        err = put_101(h, NULL);
    }
    if (err == 0) {
        tune(h);
        if (inl_session_attach(c->session, h->link) == 0) {
            look_at_spread(c);
            return 0;
        }
        drop_link(h->link);
    }
    strike_out(c);
    client_free(c);
    return err;
}

static struct inl_gate_client *find_client(const struct inl_gate *g,
                                           uint64_t ticket)
{
    struct inl_map_node *n = inl_map_first(&g->by_ticket, ticket);

    return n == NULL ? NULL
                     : inl_container(n, struct inl_gate_client, by_ticket);
}

static int take(const struct handshake *h, struct inl_gate_client *c,
                const struct inl_ticket *shown, const struct inl_ticket *answer)
{
    bool is_new = lane_of(c->session, shown->lane) == NULL;
    int err = put_101(h, answer);

    if (err != 0) {
        return err;
    }
    tune(h);
    if (inl_session_take(c->session, h->link, shown, answer) != 0) {
        drop_link(h->link);
    } else {
        c->shown = h->shown;
        note_taken(c, h->link, shown->lane, is_new);
    }
    return 0;
}

/* INLETS_EUNAVAILABLE: no, for whatever reason. */
static int take_ticket(const struct handshake *h,
                       const struct inl_ticket *shown)
{
    struct inl_gate_client *c = find_client(h->gate, shown->session);
    struct inl_ticket answer;
    int err;

    if (c == NULL || strcmp(c->shown.account, h->shown.account) != 0) {
        return INLETS_EUNAVAILABLE;
    }
    err = inl_session_check_ticket(c->session, shown, &answer);
    if (err == 0) {
        err = take(h, c, shown, &answer);
        inl_wipe(&answer, sizeof(answer));
    }
    return err;
}

static int let_in(struct handshake *h, const struct inlets_head *head)
{
    struct inl_ticket shown;
    int err = inl_ticket_find(head, &shown);

    if (err == INLETS_ENOROUTE) { /* no ticket */
        return open_session(h);
    }
    if (err != 0) {
        return err;
    }
    err = take_ticket(h, &shown);
    inl_wipe(shown.secret, sizeof(shown.secret));
    if (err == INLETS_EUNAVAILABLE && shown.lane == 0) {
        inl_log(env_of(h->gate), INLETS_LOG_INFO, "tunnel not resumed",
                INL_KV("remote", inl_str(h->link->peer)));
        err = open_session(h);
    }
    return err;
}

bool inl_gate_is_client(const struct inlets_head *head)
{
    return inl_slice_list_has(
        inl_head_find(head, INL_LIT("Sec-WebSocket-Protocol")),
        INL_LIT(INL_WS_PROTOCOL));
}

int inl_gate_open(struct inl_gate *g, struct inl_link *link,
                  const struct inlets_head *head, struct inl_ask *ask,
                  const char **ret_why)
{
    struct handshake h = {.gate = g, .link = link};
    /* Before anything is said about the rest. */
    int err = g->config.ops->authorise(g, link, head, ask, &h.shown, &h.why);

    if (err == 0) {
        err = inl_ws_check_request(head, &h.key);
    }
    if (err == 0 && !inl_gate_is_client(head)) {
        err = INLETS_EBADMESSAGE;
    } else if (err == 0) {
        err = g->closed ? INLETS_EGOAWAY : let_in(&h, head);
    }
    *ret_why = h.why;
    inl_wipe(&h.shown, sizeof(h.shown));
    return err;
}

/* ---- life ------------------------------------------------------------- */

void inl_gate_init(struct inl_gate *g, const struct inl_gate_config *config)
{
    *g = (struct inl_gate){.config = *config};
    inl_list_init(&g->clients);
    /* Keys are the names that we gave, at random: they are their own hash. */
    inl_map_init(&g->by_ticket, 0);
}

void inl_gate_fini(struct inl_gate *g)
{
    inl_map_fini(&g->by_ticket);
}

void inl_gate_drain(struct inl_gate *g, struct inlets_slice text)
{
    struct inl_list *n, *tmp;

    g->draining = true;
    inl_list_each(&g->clients, n, tmp)
    {
        inl_session_drain(
            inl_container(n, struct inl_gate_client, node)->session,
            INLETS_EGOAWAY, text);
    }
}

size_t inl_gate_nstreams(struct inl_gate *g)
{
    struct inl_list *n, *tmp;
    size_t nstreams = 0;

    inl_list_each(&g->clients, n, tmp)
    {
        nstreams += inl_session_nstreams(
            inl_container(n, struct inl_gate_client, node)->session);
    }
    return nstreams;
}

/* The goodbye says why; the websockets end behind it. To visitors it is an end
 * like any other: the error is not about them. */
void inl_gate_expel(struct inl_gate_client *c, int err,
                    struct inlets_slice text)
{
    inl_session_drain(c->session, err, text);
    inl_session_close(c->session, INLETS_ECLOSED);
}

void inl_gate_close(struct inl_gate *g)
{
    struct inl_list *n, *tmp;

    g->closed = true;
    inl_list_each(&g->clients, n, tmp)
    {
        inl_session_close(
            inl_container(n, struct inl_gate_client, node)->session,
            INLETS_EGOAWAY);
    }
}
