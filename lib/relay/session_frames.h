/* session_frames.h: frames of streams, for session*.c only. */
#ifndef INL_RELAY_SESSION_FRAMES_H
#define INL_RELAY_SESSION_FRAMES_H

#include "relay/session.h"

/* A frame about a stream, or about the credit of all. */
int inl_session_stream_frame(struct inl_session_lane *sl,
                             const struct inl_frame *f);
/* The lane's on_data. */
int inl_session_on_data(struct inl_lane *lane, uint32_t stream, uint8_t flags,
                        struct inlets_slice piece, bool last);

#endif
