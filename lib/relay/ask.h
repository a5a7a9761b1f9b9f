/* ask.h: a question that is not answered at once. Whoever asks embeds one, is
 * told to come again, `answered` is called in a later turn, and then it asks
 * the same with the same object: now the answer is there.
 *
 *   answer = question(..., ask)      INL_ASKED: later
 *   ask->answered(ask)               in a later turn, unless it is dropped
 *   answer = question(..., ask)      the answer, or INL_ASKED if what it is
 *                                    about has changed meanwhile */
#ifndef INL_RELAY_ASK_H
#define INL_RELAY_ASK_H

#include "base/cidr.h"
#include "base/list.h"
#include "proto/crypto.h"

/* No error: there is no answer yet. */
#define INL_ASKED 1

struct inl_ask {
    struct inl_list node; /* of who is asked; linked while it waits */
    void (*answered)(struct inl_ask *ask);
    bool is_limited;    /* by address: */
    struct inl_ip from; /* who asks */
    uint8_t about[INL_SHA256_LEN]; /* what `answer` is the answer to */
    bool is_answered;
    int answer;
};

static inline void inl_ask_init(struct inl_ask *ask,
                                void (*answered)(struct inl_ask *ask))
{
    *ask = (struct inl_ask){.answered = answered};
    inl_list_init(&ask->node);
}

/* It does not want to know any more. */
static inline void inl_ask_drop(struct inl_ask *ask)
{
    inl_list_remove(&ask->node);
}

#endif
