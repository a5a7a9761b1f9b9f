/* session_lane.c: the lanes of a session: which one a stream takes, what
 * happens to streams while a lane has no websocket, and the tickets by which
 * a websocket finds its lane.
 *
 * Secrets (opener): each lane has one, `secret`, and after each handshake a
 * `next_secret` that went out with the answer. Both are taken until the first
 * byte comes over the new websocket, which shows that the answerer has the
 * new one; then the old one is worth nothing. A lane that does not exist yet
 * is asked for with lane 0's.
 *
 * Failure: lane 0 lost for good ends the session, another lane only its own
 * streams. A request that finds no lane is parked; it was never sent, so it
 * ends with INLETS_EUNAVAILABLE and may go elsewhere. */
#include "relay/session_lane.h"

#include "base/mem.h"
#include "base/slice.h"
#include <string.h>

/* ---- life ------------------------------------------------------------- */

void inl_session_lane_free(struct inl_session_lane *sl)
{
    inl_lane_fini(&sl->lane);
    inl_queue_fini(&sl->control);
    inl_wipe(sl->secret, sizeof(sl->secret));
    inl_wipe(sl->next_secret, sizeof(sl->next_secret));
    inl_free(sl);
}

static void free_later(struct inl_later *later)
{
    inl_session_lane_free(inl_container(later, struct inl_session_lane, free));
}

struct inl_session_lane *inl_session_lane_new(struct inl_session *s,
                                              unsigned number)
{
    struct inl_session_lane *sl = inl_calloc(1, sizeof(*sl));

    if (sl == NULL) {
        return NULL;
    }
    sl->session = s;
    sl->number = number;
    inl_list_init(&sl->fresh);
    inl_list_init(&sl->bulk);
    inl_list_init(&sl->owing);
    inl_list_init(&sl->streams);
    inl_later_init(&sl->free, free_later);
    inl_lane_init(&sl->lane, s->env, &inl_session_lane_ops, &s->lane_config);
    sl->lane.id = s->id + number;
    s->lanes[s->nlanes++] = sl;
    return sl;
}

void inl_session_lane_remove(struct inl_session_lane *sl)
{
    struct inl_session *s = sl->session;
    unsigned i = 0;

    while (s->lanes[i] != sl) {
        i++;
    }
    s->nlanes--;
    for (; i < s->nlanes; i++) {
        s->lanes[i] = s->lanes[i + 1];
    }
    s->lanes[s->nlanes] = NULL;
    inl_env_later(s->env, &sl->free);
}

static struct inl_session_lane *find_lane(const struct inl_session *s,
                                          unsigned number)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        if (s->lanes[i]->number == number) {
            return s->lanes[i];
        }
    }
    return NULL;
}

/* ---- choosing --------------------------------------------------------- */

/* Does a suit a new stream better than b? A lane that answers, then the one
 * with less bulk, then with fewer streams, then the older. */
static bool is_better(const struct inl_session_lane *a,
                      const struct inl_session_lane *b)
{
    bool a_slow = inl_lane_is_suspect(&a->lane);
    bool b_slow = inl_lane_is_suspect(&b->lane);

    if (a_slow != b_slow) {
        return b_slow;
    }
    return a->nbulk != b->nbulk ? a->nbulk < b->nbulk
                                : a->nstreams < b->nstreams;
}

struct inl_session_lane *inl_session_lane_pick(const struct inl_session *s)
{
    struct inl_session_lane *best = NULL;

    if (s->nlanes == 1 && s->lanes[0]->lane.state == INL_LANE_UP) {
        return s->lanes[0];
    }
    for (unsigned i = 0; i < s->nlanes; i++) {
        struct inl_session_lane *sl = s->lanes[i];

        if (sl->lane.state == INL_LANE_UP &&
            (best == NULL || is_better(sl, best))) {
            best = sl;
        }
    }
    return best;
}

bool inl_session_is_up(const struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        if (s->lanes[i]->lane.state != INL_LANE_UP) {
            return false;
        }
    }
    return s->nlanes > 0;
}

static bool has_bulk(const struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        if (s->lanes[i]->nbulk > 0) {
            return true;
        }
    }
    return false;
}

void inl_session_want_more(struct inl_session *s)
{
    unsigned target = s->wanted_lanes;

    if (s->role != INL_SESSION_ANSWERER || s->state != INL_SESSION_OPEN ||
        s->peer.ticket == 0 || s->wants_more) {
        return;
    }
    if (target == 0) {
        target = has_bulk(s) ? INL_SESSION_LANES_AUTO : 1;
    }
    if (s->nlanes < target && s->nlanes < s->most_lanes &&
        s->next_lane < INL_TICKET_LANES) {
        s->wants_more = true;
        s->ops->want(s, s->next_lane, INL_WANT_MORE);
    }
}

/* ---- lost and found --------------------------------------------------- */

void inl_session_lanes_set_resume(struct inl_session *s)
{
    uint32_t ms = s->resume_ms;

    if (s->role == INL_SESSION_ANSWERER) {
        ms = s->peer.ticket == 0                ? 0
             : s->peer.resume_ms < s->resume_ms ? s->peer.resume_ms
                                                : s->resume_ms;
    } else if (s->peer.no_resume) { /* nobody would come for it */
        ms = 0;
    } else if (s->peer.resume_ms != 0 && s->peer.resume_ms < ms) {
        ms = s->peer.resume_ms;
    }
    for (unsigned i = 0; i < s->nlanes; i++) {
        s->lanes[i]->lane.resume_ms = ms;
    }
}

/* A callback may end any stream: each is taken out of a list that nobody
 * else walks, and is back in its own before it is called. */
static void hold_streams(struct inl_session_lane *sl, bool held)
{
    struct inl_list todo;
    struct inl_list *n;

    inl_list_init(&todo);
    inl_list_splice(&todo, &sl->streams);
    while ((n = inl_list_pop(&todo)) != NULL) {
        inl_list_push_back(&sl->streams, n);
        inl_flow_hold(&inl_container(n, struct inl_stream, on_lane)->flow,
                      held);
    }
}

void inl_session_stop_list(struct inl_list *streams, int err)
{
    while (!inl_list_empty(streams)) {
        inl_stream_abort(
            inl_container(streams->next, struct inl_stream, on_lane), err,
            false);
    }
}

void inl_session_lane_lost(struct inl_session_lane *sl, int err)
{
    struct inl_session *s = sl->session;

    if (s->ops->lane != NULL) {
        s->ops->lane(s, sl->number, err);
    }
    hold_streams(sl, true);
    if (s->role == INL_SESSION_ANSWERER && sl->lane.state == INL_LANE_LOST) {
        s->ops->want(s, sl->number, INL_WANT_LOST);
    }
}

/* What was parked was never sent: it goes over whatever lane is there. */
static void unpark(struct inl_session_lane *sl)
{
    struct inl_session *s = sl->session;
    struct inl_list *n;

    while (sl->lane.state == INL_LANE_UP &&
           (n = inl_list_pop(&s->parked)) != NULL) {
        struct inl_stream *st = inl_container(n, struct inl_stream, on_lane);

        s->nparked--;
        inl_stream_take_lane(st, sl);
        inl_flow_hold(&st->flow, false);
    }
    if (s->nparked == 0) {
        inl_timer_off(s->env, &s->park_timer);
    }
}

void inl_session_lane_back(struct inl_session_lane *sl)
{
    struct inl_session *s = sl->session;

    if (s->ops->lane != NULL) {
        s->ops->lane(s, sl->number, 0);
    }
    hold_streams(sl, false);
    unpark(sl);
}

/* ---- requests that wait for a lane ------------------------------------ */

static void arm_park(struct inl_session *s)
{
    struct inl_list *n = s->parked.next;

    if (n != &s->parked &&
        inl_timer_at(s->env, &s->park_timer,
                     inl_container(n, struct inl_stream, on_lane)->parked_ms +
                         INL_SESSION_PARK_MS) != 0) {
        inl_session_stop_list(&s->parked, INLETS_EUNAVAILABLE);
    }
}

void inl_session_park(struct inl_stream *st)
{
    struct inl_session *s = st->session;

    st->parked_ms = s->env->now_ms;
    inl_list_push_back(&s->parked, &st->on_lane);
    s->nparked++;
    if (s->nparked == 1) {
        arm_park(s);
    }
}

void inl_session_park_timeout(struct inl_timer *timer)
{
    struct inl_session *s =
        inl_container(timer, struct inl_session, park_timer);

    while (!inl_list_empty(&s->parked)) {
        struct inl_stream *st =
            inl_container(s->parked.next, struct inl_stream, on_lane);

        if (st->parked_ms + INL_SESSION_PARK_MS > s->env->now_ms) {
            break;
        }
        inl_stream_abort(st, INLETS_EUNAVAILABLE, false);
    }
    arm_park(s);
}

/* ---- tickets: the answerer -------------------------------------------- */

bool inl_session_ticket(const struct inl_session *s, unsigned lane,
                        struct inl_ticket *ret_ticket)
{
    const struct inl_session_lane *sl = find_lane(s, lane);
    struct inl_ticket t = {.session = s->peer.ticket, .lane = lane};

    if (s->role != INL_SESSION_ANSWERER || s->peer.ticket == 0 ||
        (s->state != INL_SESSION_OPEN && s->state != INL_SESSION_DRAINING)) {
        return false;
    }
    if (sl != NULL) {
        if (!inl_lane_can_resume(&sl->lane, sl->lane.tx_acked)) {
            return false;
        }
        t.received = sl->lane.rx_total;
    } else if (lane != s->next_lane || s->state != INL_SESSION_OPEN ||
               s->nlanes >= s->most_lanes) {
        return false;
    }
    memcpy(t.secret, sl != NULL ? sl->secret : s->lanes[0]->secret,
           sizeof(t.secret));
    *ret_ticket = t;
    return true;
}

static int add_lane(struct inl_session *s, struct inl_link *link,
                    const struct inl_ticket *ticket, enum inl_ws_role role)
{
    struct inl_session_lane *sl;
    int err;

    sl = inl_session_lane_new(s, ticket->lane);
    if (sl == NULL) {
        return INLETS_ENOMEM;
    }
    memcpy(sl->secret, ticket->secret, sizeof(sl->secret));
    err = inl_lane_attach(&sl->lane, link, role);
    if (err != 0) {
        inl_session_lane_remove(sl);
        return err;
    }
    s->next_lane = ticket->lane + 1;
    inl_session_lanes_set_resume(s);
    inl_session_lane_back(sl);
    return 0;
}

int inl_session_resume(struct inl_session *s, struct inl_link *link,
                       const struct inl_ticket *shown,
                       const struct inl_ticket *answer)
{
    struct inl_session_lane *sl = find_lane(s, shown->lane);
    uint64_t start = answer->start > 0 ? answer->start : shown->received;
    struct inl_ticket now;
    int err;

    if (!inl_session_ticket(s, shown->lane, &now)) {
        return INLETS_ECLOSED;
    }
    if (sl == NULL) {
        s->wants_more = false;
        err = answer->received != 0 || start != 0
                  ? INLETS_EPROTO
                  : add_lane(s, link, answer, INL_WS_CLIENT);
    } else if (!inl_lane_can_resume(&sl->lane, answer->received) ||
               start < shown->received || start > sl->lane.rx_total) {
        err = INLETS_EPROTO;
    } else {
        err = inl_lane_resume(&sl->lane, link, INL_WS_CLIENT, answer->received,
                              start);
        if (err == 0) {
            memcpy(sl->secret, answer->secret, sizeof(sl->secret));
            inl_session_lane_back(sl);
        }
    }
    if (err == INLETS_EPROTO) {
        inl_session_close(s, err);
    }
    inl_session_want_more(s);
    return err;
}

void inl_session_forget(struct inl_session *s, unsigned lane)
{
    struct inl_session_lane *sl = find_lane(s, lane);

    if (lane == 0) {
        inl_session_close(s, INLETS_ECLOSED);
    } else if (sl != NULL) {
        inl_lane_close(&sl->lane, INLETS_ECLOSED, 1000, INL_LIT("gone"));
    } else {
        s->most_lanes = s->nlanes; /* it takes no more */
        s->wants_more = false;
    }
}

/* ---- tickets: the opener ---------------------------------------------- */

/* Which of a lane's secrets it is; both are compared in any case. */
static bool knows_secret(const struct inl_session_lane *sl,
                         const struct inl_ticket *shown, bool *ret_is_next)
{
    bool is_present = inl_ticket_secret_is(shown, sl->secret);
    bool is_next = inl_ticket_secret_is(shown, sl->next_secret);

    *ret_is_next = sl->has_next && is_next;
    return is_present || *ret_is_next;
}

void inl_session_lane_confirmed(struct inl_session_lane *sl)
{
    if (sl->has_next) {
        memcpy(sl->secret, sl->next_secret, sizeof(sl->secret));
        inl_wipe(sl->next_secret, sizeof(sl->next_secret));
        sl->has_next = false;
    }
}

/* The secrets of a lane to be: those of lane 0. */
static bool may_add(const struct inl_session *s, const struct inl_ticket *shown)
{
    bool is_next;

    return s->state == INL_SESSION_OPEN && s->nlanes > 0 &&
           s->lanes[0]->number == 0 &&
           knows_secret(s->lanes[0], shown, &is_next) &&
           shown->lane >= s->next_lane && s->nlanes < s->most_lanes &&
           shown->received == 0;
}

static bool may_resume(struct inl_session *s, struct inl_session_lane *sl,
                       const struct inl_ticket *shown)
{
    bool is_next;

    if ((s->state != INL_SESSION_OPEN && s->state != INL_SESSION_DRAINING) ||
        !knows_secret(sl, shown, &is_next) ||
        !inl_lane_can_resume(&sl->lane,
                             inl_lane_start(&sl->lane, shown->received))) {
        return false;
    }
    if (is_next) {
        inl_session_lane_confirmed(sl);
    }
    return true;
}

int inl_session_check_ticket(struct inl_session *s,
                             const struct inl_ticket *shown,
                             struct inl_ticket *ret_answer)
{
    struct inl_session_lane *sl = find_lane(s, shown->lane);
    struct inl_ticket answer = {.session = s->ticket, .lane = shown->lane};

    if (s->role != INL_SESSION_OPENER || s->ticket == 0 ||
        s->ticket != shown->session ||
        !(sl != NULL ? may_resume(s, sl, shown) : may_add(s, shown))) {
        return INLETS_EUNAVAILABLE;
    }
    inl_env_random(s->env, answer.secret, sizeof(answer.secret));
    if (sl != NULL) {
        uint64_t start = inl_lane_start(&sl->lane, shown->received);

        answer.received = sl->lane.rx_total;
        answer.start = start > shown->received ? start : 0;
        memcpy(sl->next_secret, answer.secret, sizeof(sl->next_secret));
        sl->has_next = true;
    }
    *ret_answer = answer;
    return 0;
}

int inl_session_take(struct inl_session *s, struct inl_link *link,
                     const struct inl_ticket *shown,
                     const struct inl_ticket *answer)
{
    struct inl_session_lane *sl = find_lane(s, shown->lane);
    int err;

    if (sl == NULL) {
        return add_lane(s, link, answer, INL_WS_SERVER);
    }
    err = inl_lane_resume(&sl->lane, link, INL_WS_SERVER,
                          inl_lane_start(&sl->lane, shown->received),
                          answer->received);
    if (err == 0) {
        inl_session_lane_back(sl);
    }
    return err;
}

void inl_session_rotate(struct inl_session *s)
{
    for (unsigned i = 0; i < s->nlanes; i++) {
        inl_lane_ask_to_move(&s->lanes[i]->lane);
    }
}
