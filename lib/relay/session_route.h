/* session_route.h: the opener's routes, for session*.c only. */
#ifndef INL_RELAY_SESSION_ROUTE_H
#define INL_RELAY_SESSION_ROUTE_H

#include "relay/session.h"

/* Frames; they came over lane 0. */
int inl_session_got_route(struct inl_session *s, const struct inl_frame *f);
int inl_session_got_unroute(struct inl_session *s, const struct inl_frame *f);
/* Takes all of them back. */
void inl_session_drop_routes(struct inl_session *s);

#endif
