/* remote_line.h: what remote.c and remote_line.c share. */
#ifndef INL_RELAY_REMOTE_LINE_H
#define INL_RELAY_REMOTE_LINE_H

#include "relay/remote.h"

/* remote_line.c: callbacks of a line's parts. */
void inl_remote_line_dial(struct inl_reconnect *rc);
void inl_remote_line_up(struct inl_uplink *u, struct inl_link *link);
void inl_remote_line_failed(struct inl_uplink *u, int err, unsigned status,
                            const char *step);

/* remote.c */
bool inl_remote_is_home(const struct inl_remote_line *line);
/* Nobody wants a new session. */
bool inl_remote_is_leaving(const struct inl_remote *r);
/* Tells the owner, who may do anything. */
void inl_remote_changed(struct inl_remote *r, int err);
void inl_remote_check_over(struct inl_remote *r);
/* Not for home. */
void inl_remote_line_drop(struct inl_remote_line *line);
/* Sets the date of the next attempt, so that one log line can tell both what
 * happened and what comes: the wait in ms, or -1 for none. */
int64_t inl_remote_line_lost(struct inl_remote_line *line, int err,
                             uint32_t spread_ms);
/* Not in the remote yet. NULL when out of memory. */
struct inl_remote_tunnel *inl_remote_tunnel_new(struct inl_remote *r);

#endif
