/* answer.h: what a visitor is told when there is no answer to pass on. */
#ifndef INL_RELAY_ANSWER_H
#define INL_RELAY_ANSWER_H

#include <inlets/err.h>

/* The status for an error of ours or of the tunnel: 400-505. */
unsigned inl_status_of_error(int err);
/* A sentence for the body: names no address and no other host. */
const char *inl_answer_text(unsigned status);

#endif
