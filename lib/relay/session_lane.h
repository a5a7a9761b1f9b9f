/* session_lane.h: the lanes of a session, for session*.c only. */
#ifndef INL_RELAY_SESSION_LANE_H
#define INL_RELAY_SESSION_LANE_H

#include "relay/session_stream.h"

/* In session.c: what comes over a lane. */
extern const struct inl_lane_ops inl_session_lane_ops;
/* Checks the table of moves and traces. */
void inl_session_move(struct inl_session *s, enum inl_session_state to);

static inline struct inl_session_lane *inl_session_lane_of(struct inl_lane *l)
{
    return inl_container(l, struct inl_session_lane, lane);
}

/* Adds a lane that has no websocket yet; NULL: out of memory. */
struct inl_session_lane *inl_session_lane_new(struct inl_session *s,
                                              unsigned number);
/* Takes it out of the session and frees it at the end of the turn. It has no
 * streams any more. */
void inl_session_lane_remove(struct inl_session_lane *sl);
void inl_session_lane_free(struct inl_session_lane *sl);
/* The best for a new stream; NULL: none has a websocket. */
struct inl_session_lane *inl_session_lane_pick(const struct inl_session *s);
/* How long its lanes may wait for websockets, as both sides have said. */
void inl_session_lanes_set_resume(struct inl_session *s);
/* The lane lost its websocket, or has another: its streams' timeouts stop or
 * go on, and what waited for it goes out. */
void inl_session_lane_lost(struct inl_session_lane *sl, int err);
void inl_session_lane_back(struct inl_session_lane *sl);
/* Opener: the answerer has the secret that it was given last. */
void inl_session_lane_confirmed(struct inl_session_lane *sl);
/* Answerer: asks its owner for another lane if it should have one. */
void inl_session_want_more(struct inl_session *s);

/* Ends all streams of a list with err. */
void inl_session_stop_list(struct inl_list *streams, int err);

/* Opener: the stream, whose OPEN is in st->opening, waits for a lane. */
void inl_session_park(struct inl_stream *st);
void inl_session_park_timeout(struct inl_timer *timer);

#endif
