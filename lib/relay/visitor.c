/* visitor.c: see visitor.h.
 *
 *   IDLE      between requests; nothing of the next one has come
 *   HEAD      a part of a head has come
 *   KNOCKING  a tunnel's handshake, of which it is not known yet who it is
 *   BUSY      a request is being answered (its body may still be coming)
 *   RAW       after a 101: bytes both ways
 *   LEAVING   the last answer is out; the link lingers
 *   GONE      the link is no more; freed at the end of the turn
 *
 * The visitor owns itself and its exchange (`x`, one block per request); the
 * link is the carrier's. Input that cannot be used yet (pipelined requests,
 * bytes behind an upgrade request) waits in `held`, at most HELD_MAX bytes;
 * reading stops there. Response bytes wait in the link's out queue and are
 * paid with credit as they leave it, so it holds at most one flow window.
 *
 * Failure paths: a malformed request is answered and the link lingers; a
 * service that refuses or stops before its head is answered by status; one
 * that stops later cuts the answer: without the last chunk, short of its
 * length, or, when only the end of the connection marks the end, by a reset.
 * A visitor who leaves stops the flow with ECANCELED.
 *
 * What happens to one request is in visitor_exchange.c. */
#include "relay/visitor.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/http1_rules.h"
#include "relay/answer.h"
#include "relay/visitor_machine.h"
#include <string.h>

/* Pipelined input is read up to here: it is how a FIN is seen in time. */
#define HELD_MAX (64u * 1024)
/* With more than this of the answers before it not yet sent, the next request
 * waits: against who asks for much in a row and reads nothing. */
#define UNSENT_MAX (64u * 1024)
/* While reading is paused nobody tells us that the visitor has left: we ask
 * this often, and believe it after LOOK_TIMES without a byte either way (a
 * half-close behind a body that waits to be read looks the same). */
#define LOOK_MS 250u
#define LOOK_TIMES 3u

/* In a body timeout we look so often whether an answer is taken. */
#define TAKING_LOOKS 4u

static const char *const state_names[INL_VISITOR_NSTATES] = {
    "idle", "head", "knocking", "busy", "raw", "leaving", "gone"};

#define TO(s) (1u << (s))
static const unsigned moves[INL_VISITOR_NSTATES] = {
    [INL_VISITOR_IDLE] = TO(INL_VISITOR_HEAD) | TO(INL_VISITOR_KNOCKING) |
                         TO(INL_VISITOR_BUSY) | TO(INL_VISITOR_LEAVING) |
                         TO(INL_VISITOR_GONE),
    [INL_VISITOR_HEAD] = TO(INL_VISITOR_KNOCKING) | TO(INL_VISITOR_BUSY) |
                         TO(INL_VISITOR_LEAVING) | TO(INL_VISITOR_GONE),
    [INL_VISITOR_KNOCKING] = TO(INL_VISITOR_LEAVING) | TO(INL_VISITOR_GONE),
    [INL_VISITOR_BUSY] = TO(INL_VISITOR_IDLE) | TO(INL_VISITOR_RAW) |
                         TO(INL_VISITOR_LEAVING) | TO(INL_VISITOR_GONE),
    [INL_VISITOR_RAW] = TO(INL_VISITOR_LEAVING) | TO(INL_VISITOR_GONE),
    [INL_VISITOR_LEAVING] = TO(INL_VISITOR_GONE),
};

void inl_visitor_move(struct inl_visitor *v, enum inl_visitor_state to)
{
    if ((moves[v->state] & TO(to)) == 0) {
        inl_log(v->env, INLETS_LOG_ERROR, "impossible move",
                INL_KV("from", inl_str(state_names[v->state])),
                INL_KV("to", inl_str(state_names[to])));
        return;
    }
    inl_env_trace_move(v->env, "visitor", 0, state_names[v->state],
                       state_names[to]);
    v->state = to;
    inl_crowd_idle(&v->member, to == INL_VISITOR_IDLE);
}

static void visitor_free(struct inl_later *later)
{
    struct inl_visitor *v = inl_container(later, struct inl_visitor, free);

    inl_timer_off(v->env, &v->timer);
    inl_timer_off(v->env, &v->look);
    inl_timer_off(v->env, &v->taking);
    inl_list_remove(&v->resume.node);
    inl_http1_fini(&v->http);
    inl_queue_fini(&v->held);
    inl_visitor_drop_knock(v);
    if (v->x != NULL) {
        inl_permit_end(&v->x->permit);
    }
    inl_free(v->x);
    inl_free(v);
}

void inl_visitor_leave(struct inl_visitor *v)
{
    if (v->state != INL_VISITOR_LEAVING && v->state != INL_VISITOR_GONE) {
        inl_visitor_move(v, INL_VISITOR_LEAVING);
        inl_visitor_drop_knock(v);
        inl_timer_off(v->env, &v->timer);
        inl_link_finish(v->link);
    }
}

void inl_visitor_start_waiting(struct inl_visitor *v)
{
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + v->config->idle_timeout_ms);
}

/* ---- input ------------------------------------------------------------ */

static const char *why(const struct inl_visitor *v, int err)
{
    return err == INLETS_EBADMESSAGE || err == INLETS_EHEADSIZE
               ? inl_http1_reason(&v->http)
               : inlets_strerror(err);
}

static void bad_request(struct inl_visitor *v, int err)
{
    if (v->x == NULL) {
        inl_visitor_refuse(v,
                           inl_http1_reason(&v->http) ==
                                   inl_http1_forbidden_method
                               ? 405
                               : inl_status_of_error(err),
                           why(v, err));
        return;
    }
    v->x->limit = err == INLETS_EHEADSIZE ? "max_trailers" : NULL;
    /* in the body: what was opened must not look complete */
    inl_flow_stop(&v->flow, INLETS_ECANCELED);
    v->x->keep_alive = false;
    if (v->x->responded) {
        inl_visitor_cut(v, err);
    } else {
        inl_visitor_answer_error(v, err);
    }
}

/* May the next request begin? */
static bool may_begin(const struct inl_visitor *v)
{
    return v->state == INL_VISITOR_IDLE && v->link->out.bytes <= UNSENT_MAX;
}

/* Can the parser go on? */
static bool wants_input(const struct inl_visitor *v)
{
    return !v->hand_over && (may_begin(v) || v->state == INL_VISITOR_HEAD ||
                             (v->state == INL_VISITOR_BUSY && v->x != NULL &&
                              !v->x->request_done));
}

/* Feeds what may be fed; returns how much was used. */
static size_t parse(struct inl_visitor *v, const uint8_t *p, size_t n)
{
    size_t used = 0;
    int err;

    if (v->state == INL_VISITOR_BUSY && n > v->flow.tx_credit) {
        n = v->flow.tx_credit;
    }
    v->feeding = true;
    err = inl_http1_feed(&v->http, p, n, &used);
    v->feeding = false;
    /* Most heads come whole; empty lines begin none (RFC 9112 2.2). */
    if (v->state == INL_VISITOR_IDLE && v->http.in_message && err == 0 &&
        !v->hand_over) {
        inl_visitor_move(v, INL_VISITOR_HEAD);
        (void)inl_timer_at(v->env, &v->timer,
                           v->env->now_ms + v->config->head_timeout_ms);
    }
    if (v->over) {
        inl_visitor_exchange_over(v);
    } else if (err != 0 && wants_input(v)) {
        bad_request(v, err);
        return n;
    }
    return used;
}

/* Uses what it can of p; the rest stays with the caller. */
static size_t use(struct inl_visitor *v, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        size_t step;

        if (v->state == INL_VISITOR_RAW) {
            step = n - done;
            step = step < v->flow.tx_credit ? step : v->flow.tx_credit;
            v->x->bytes_in += step;
            inl_flow_body(&v->flow, inl_slice(p + done, step));
        } else if (wants_input(v)) {
            step = parse(v, p + done, n - done);
        } else {
            return v->state == INL_VISITOR_LEAVING ||
                           v->state == INL_VISITOR_GONE
                       ? n
                       : done;
        }
        if (step == 0) {
            return done;
        }
        done += step;
    }
    return done;
}

/* It has asked for all that it will, and closed its side. */
static void doubt(struct inl_visitor *v)
{
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + INL_VISITOR_FIN_GRACE_MS);
}

static void raw_eof(struct inl_visitor *v)
{
    inl_flow_end(&v->flow, NULL);
    if (v->x != NULL && !inl_flow_tied(&v->flow)) {
        inl_visitor_drop_exchange(v);
        inl_visitor_leave(v);
    }
}

/* All input is used and there will be no more. */
static void eof_reached(struct inl_visitor *v)
{
    switch (v->state) {
    case INL_VISITOR_IDLE:
    case INL_VISITOR_HEAD:
    case INL_VISITOR_KNOCKING:
        inl_visitor_leave(v);
        break;
    case INL_VISITOR_BUSY:
        if (v->x->request_done) {
            v->x->keep_alive = false;
            doubt(v);
        } else {
            v->x->responded = true; /* nobody is there to be answered */
            inl_visitor_cut(v, INLETS_ECANCELED);
        }
        break;
    case INL_VISITOR_RAW:
        raw_eof(v);
        break;
    case INL_VISITOR_LEAVING:
    case INL_VISITOR_GONE:
    case INL_VISITOR_NSTATES:
        break;
    }
}

/* With what it has sent already. */
static void give_link_away(struct inl_visitor *v, const uint8_t *p, size_t n)
{
    struct inl_link *link = v->link;

    inl_visitor_move(v, INL_VISITOR_GONE);
    inl_visitor_drop_knock(v);
    inl_timer_off(v->env, &v->timer);
    v->link = NULL;
    inl_crowd_leave(&v->member);
    inl_env_later(v->env, &v->free);
    if (n > 0) {
        inl_link_rx(link, p, n);
    }
}

void inl_visitor_give_link(struct inl_visitor *v)
{
    inl_queue_clear(&v->held); /* nobody speaks before our 101 */
    give_link_away(v, NULL, 0);
}

static void hold(struct inl_visitor *v, const uint8_t *p, size_t n)
{
    if (n > 0 && inl_queue_append(&v->held, p, n) != 0) {
        inl_link_close(v->link, INLETS_ENOMEM);
    }
}

static bool is_paused(struct inl_visitor *v);

static uint64_t bytes_moved(const struct inl_visitor *v)
{
    return v->x->bytes_in + v->link->bytes_in + v->link->bytes_out;
}

static void look_again(struct inl_visitor *v)
{
    v->look_bytes = bytes_moved(v);
    (void)inl_timer_at(v->env, &v->look, v->env->now_ms + LOOK_MS);
}

static void visitor_look(struct inl_timer *timer)
{
    struct inl_visitor *v = inl_container(timer, struct inl_visitor, look);
    const struct inl_link *l = v->link;

    if (!is_paused(v)) {
        return; /* what is read next watches again */
    }
    if (l->carrier->peer_left != NULL && l->carrier->peer_left(v->link) &&
        bytes_moved(v) == v->look_bytes) {
        v->look_left++;
    } else {
        v->look_left = 0;
    }
    if (v->look_left >= LOOK_TIMES) {
        v->x->responded = true; /* nobody is there to be answered */
        inl_visitor_cut(v, INLETS_ECANCELED);
    } else {
        look_again(v);
    }
}

/* There is nobody who takes input: look at times whether the visitor, whose
 * FIN we would not read, is still there. */
static void watch(struct inl_visitor *v)
{
    if (v->look.due_ms <= v->env->now_ms && is_paused(v)) {
        v->look_left = 0;
        look_again(v);
    }
}

static void visitor_rx(void *machine, const uint8_t *p, size_t n)
{
    struct inl_visitor *v = machine;
    size_t used = v->held.bytes > 0 ? 0 : use(v, p, n);

    if (v->hand_over) {
        give_link_away(v, p + used, n - used);
    } else if (v->state != INL_VISITOR_GONE) {
        hold(v, p + used, n - used);
        watch(v);
        if (v->held.bytes > 0 &&
            (wants_input(v) || v->state == INL_VISITOR_RAW)) {
            inl_env_later(v->env, &v->resume);
        }
    }
}

/* There is held input, and maybe somebody who can use it. */
static void visitor_resume(struct inl_later *later)
{
    struct inl_visitor *v = inl_container(later, struct inl_visitor, resume);

    while (v->held.bytes > 0) {
        struct inlets_slice s = inl_queue_front(&v->held);
        size_t used = use(v, (const uint8_t *)s.ptr, s.len);

        inl_queue_consume(&v->held, used);
        if (v->hand_over) {
            inl_visitor_give_link(v);
            return;
        }
        if (used < s.len) {
            break;
        }
    }
    if (v->state == INL_VISITOR_GONE) {
        return;
    }
    if (v->eof && v->held.bytes == 0) {
        eof_reached(v);
    } else {
        inl_link_wake(v->link);
    }
}

static size_t visitor_rx_room(void *machine)
{
    const struct inl_visitor *v = machine;
    size_t room = v->held.bytes < HELD_MAX ? HELD_MAX - v->held.bytes : 0;

    if (v->state == INL_VISITOR_RAW ||
        (v->state == INL_VISITOR_BUSY && !v->x->request_done)) {
        if (v->held.bytes > 0) {
            return 0;
        }
        return v->flow.tx_credit < room ? v->flow.tx_credit : room;
    }
    return room;
}

/* A connection that was upgraded may be half-closed for as long as it likes:
 * who has left it for good is told by the carrier. */
static bool is_paused(struct inl_visitor *v)
{
    return v->state == INL_VISITOR_BUSY && v->x != NULL && !v->eof &&
           visitor_rx_room(v) == 0;
}

static void visitor_eof(void *machine)
{
    struct inl_visitor *v = machine;

    v->eof = true;
    if (v->held.bytes == 0 || v->state == INL_VISITOR_KNOCKING) {
        eof_reached(v);
    } else if (v->state == INL_VISITOR_BUSY && v->x->request_done) {
        doubt(v); /* what is held waits for this answer, as the visitor may */
    }
}

static void visitor_taken(void *machine, size_t n)
{
    struct inl_visitor *v = machine;

    (void)n;
    if (v->state ==
        INL_VISITOR_IDLE) { /* the answers before are still on their way */
        inl_visitor_start_waiting(v);
        if (v->held.bytes > 0 && may_begin(v)) {
            inl_env_later(v->env, &v->resume);
        }
    }
    if (v->x == NULL) {
        return;
    }
    if (v->eof &&
        v->state == INL_VISITOR_BUSY) { /* it still takes bytes: it is there */
        doubt(v);
    }
    inl_flow_credit_sent(&v->flow, &v->x->unpaid, v->link->out.bytes);
}

static void visitor_gone(void *machine, int err)
{
    struct inl_visitor *v = machine;

    if (v->x != NULL) {
        v->x->err = err == 0 ? INLETS_ECANCELED : err;
        inl_flow_stop(&v->flow, INLETS_ECANCELED);
        inl_visitor_drop_exchange(v);
    }
    if (v->state != INL_VISITOR_GONE) {
        inl_visitor_move(v, INL_VISITOR_GONE);
    }
    inl_visitor_drop_knock(v);
    v->link = NULL;
    inl_crowd_leave(&v->member);
    inl_env_later(v->env, &v->free);
}

static const struct inl_machine_ops machine_ops = {.rx = visitor_rx,
                                                   .rx_room = visitor_rx_room,
                                                   .rx_eof = visitor_eof,
                                                   .tx_taken = visitor_taken,
                                                   .gone = visitor_gone};

/* Do we wait for the visitor, not for the upstream? */
static bool is_late(const struct inl_visitor *v)
{
    return !v->x->request_done && !v->x->expects && v->flow.tx_credit > 0;
}

/* Bytes that it has still to take, be it from the system's buffer. */
static bool is_owed(const struct inl_visitor *v)
{
    return v->link->out.bytes > 0 ||
           inl_link_delivered(v->link) < v->link->bytes_out;
}

/* Half a request, of which the visitor has sent nothing for too long. Its
 * answer may be on its way, or over. */
static void body_is_late(struct inl_visitor *v)
{
    v->x->limit = "body_timeout";
    if (!v->x->responded) {
        inl_flow_stop(&v->flow, INLETS_ECANCELED);
        inl_visitor_answer_status(v, INLETS_ETIMEDOUT, 408);
    } else if (!v->x->response_done) {
        inl_visitor_cut(v, INLETS_ETIMEDOUT);
    } else {
        v->x->err = INLETS_ETIMEDOUT;
        inl_flow_stop(&v->flow, INLETS_ETIMEDOUT);
        inl_visitor_exchange_over(v);
    }
}

static void busy_too_long(struct inl_visitor *v)
{
    if (v->eof && is_owed(v)) {
        doubt(v); /* had it left, those bytes would have brought a reset */
    } else if (v->eof) {
        v->x->responded = true;
        inl_visitor_cut(v, INLETS_ECANCELED);
    } else if (is_late(v)) {
        body_is_late(v);
    } else if (!v->x->responded) {
        v->x->limit = "gateway_timeout";
        inl_flow_stop(&v->flow, INLETS_ETIMEDOUT);
        inl_visitor_answer_error(v, INLETS_ETIMEDOUT);
    } else if (v->x->response_done) { /* the upstream takes no more of it */
        v->x->limit = "gateway_timeout";
        v->x->err = INLETS_ETIMEDOUT;
        inl_flow_stop(&v->flow, INLETS_ETIMEDOUT);
        inl_visitor_exchange_over(v);
    }
}

static void visitor_timeout(struct inl_timer *timer)
{
    struct inl_visitor *v = inl_container(timer, struct inl_visitor, timer);

    switch (v->state) {
    case INL_VISITOR_IDLE: /* an answer would be taken for the next one's */
        inl_log(v->env, INLETS_LOG_DEBUG, "visitor said nothing for too long",
                INL_KV("limit", v->requests > 0 ? INL_LIT("idle_timeout")
                                                : INL_LIT("head_timeout")),
                INL_KV("remote", inl_str(v->link->peer_ip)));
        inl_visitor_leave(v);
        break;
    case INL_VISITOR_HEAD:
        inl_visitor_refuse(v, 408, "the head did not arrive in time");
        break;
    case INL_VISITOR_BUSY:
        busy_too_long(v);
        break;
    case INL_VISITOR_KNOCKING: /* whoever is asked answers */
    case INL_VISITOR_RAW:
    case INL_VISITOR_LEAVING:
    case INL_VISITOR_GONE:
    case INL_VISITOR_NSTATES:
        break;
    }
}

/* ---- who takes nothing -------------------------------------------------- */

static void look_at_taking(struct inl_visitor *v)
{
    (void)inl_timer_at(v->env, &v->taking,
                       v->env->now_ms +
                           v->config->body_timeout_ms / TAKING_LOOKS);
}

void inl_visitor_begin_write(struct inl_visitor *v)
{
    if (v->taking.due_ms == 0) {
        v->taking_left = TAKING_LOOKS;
        v->taken = v->link->bytes_out;
        look_at_taking(v);
    }
}

static void visitor_taking(struct inl_timer *timer)
{
    struct inl_visitor *v = inl_container(timer, struct inl_visitor, taking);
    uint64_t taken = inl_link_delivered(v->link);

    if (v->x == NULL ||
        (v->link->out.bytes == 0 && taken == v->link->bytes_out)) {
        return; /* what is written next begins anew */
    }
    v->taking_left = taken == v->taken ? v->taking_left - 1 : TAKING_LOOKS;
    v->taken = taken;
    if (v->taking_left > 0) {
        look_at_taking(v);
        return;
    }
    inl_log(v->env, INLETS_LOG_INFO, "answer cut", INL_KV("id", v->x->id),
            INL_KV("why", INL_LIT("the visitor took none of it for the body "
                                  "timeout")));
    inl_visitor_cut(v, INLETS_ETIMEDOUT);
}

/* ---- life ------------------------------------------------------------- */

void inl_visitor_config_init(struct inl_visitor_config *c)
{
    *c = (struct inl_visitor_config){.head_timeout_ms = 10000,
                                     .idle_timeout_ms = 60000,
                                     .gateway_timeout_ms = 60000,
                                     .body_timeout_ms = 60000,
                                     .max_requests = 1000,
                                     .limits = INL_HTTP1_LIMITS};
}

/* Not v->trusted: a trusted proxy that says of nobody whom it passes on is not
 * to be believed, but counts as little as ever. */
static struct inlets_slice counted_ip(const struct inl_visitor_config *config,
                                      const struct inl_link *link)
{
    struct inlets_slice ip = inl_str(link->peer_ip);

    return link->peer_is_loopback || inl_cidr_set_has_text(config->trusted, ip)
               ? INL_LIT("")
               : ip;
}

static void join(struct inl_visitor *v, struct inl_crowd *crowd)
{
    struct inl_crowd_member *instead;
    enum inl_crowd_verdict verdict = inl_crowd_join(
        crowd, &v->member, counted_ip(v->config, v->link), &instead);
    bool flooded = crowd->uncounted > INL_CROWD_UNCOUNTED_MAX;

    inl_crowd_idle(&v->member, true);
    if (instead != NULL) {
        struct inl_visitor *other =
            inl_container(instead, struct inl_visitor, member);

        inl_visitor_leave(other);
        if (flooded) {
            inl_link_close(other->link, 0);
        }
    } else if (verdict != INL_CROWD_WELCOME) {
        inl_visitor_turn_away(v, verdict);
        if (flooded) {
            inl_link_reset(v->link, INLETS_ELIMIT);
        }
    }
}

void inl_visitor_start(const struct inl_visitor_config *config,
                       struct inl_crowd *visitors, struct inl_link *link)
{
    struct inl_visitor *v = inl_calloc(1, sizeof(*v));

    if (v == NULL) {
        inl_link_close(link, INLETS_ENOMEM);
        return;
    }
    v->config = config;
    v->env = link->env;
    v->link = link;
    v->trusted = !link->peer_is_unknown &&
                 inl_cidr_set_has_text(config->trusted, inl_str(link->peer_ip));
    inl_http1_init(&v->http, INL_HTTP1_REQUEST, &inl_visitor_http_ops, v);
    v->http.limits = config->limits;
    inl_flow_init(&v->flow, &inl_visitor_flow_ops);
    inl_timer_init(&v->timer, visitor_timeout);
    inl_timer_init(&v->look, visitor_look);
    inl_timer_init(&v->taking, visitor_taking);
    inl_later_init(&v->resume, visitor_resume);
    inl_later_init(&v->free, visitor_free);
    inl_link_set_machine(link, &machine_ops, v);
    /* the first head has the head's time, so that silence costs little */
    (void)inl_timer_at(v->env, &v->timer,
                       v->env->now_ms + config->head_timeout_ms);
    join(v, visitors);
}

void inl_visitors_drain(struct inl_crowd *visitors)
{
    struct inl_list *n, *tmp;

    inl_list_each(&visitors->members, n, tmp)
    {
        struct inl_visitor *v =
            inl_container(n, struct inl_visitor, member.node);

        if (v->state == INL_VISITOR_IDLE) {
            inl_visitor_leave(v);
        }
    }
}

void inl_visitors_close(struct inl_crowd *visitors)
{
    struct inl_list *n, *tmp;

    inl_list_each(&visitors->members, n, tmp)
    {
        struct inl_visitor *v =
            inl_container(n, struct inl_visitor, member.node);

        if (v->x == NULL) {
            if (v->link->out.bytes > 0) { /* the rest of an answer */
                inl_link_reset(v->link, INLETS_ECLOSED);
            } else {
                inl_link_close(v->link, 0);
            }
            continue;
        }
        /* Cut, and seen to be cut. The exchange stays until `gone`: its own
         * service may be who closes us, from inside a callback. */
        inl_flow_stop(&v->flow, INLETS_ECANCELED);
        inl_link_reset(v->link, INLETS_ECLOSED);
    }
}
