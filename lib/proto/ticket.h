/* ticket.h: what a client shows in a websocket handshake to give one of its
 * lanes a fresh websocket, and what the server answers: FRAME.md section 2.
 *
 *     Inlets-Lane: SESSION.LANE.SECRET.RECEIVED[.START]
 *
 * (16 hex digits, decimal, 32 hex digits, decimal, decimal). The secret is as
 * good as the lane: it never goes to a log, and is compared in constant time.
 * START is in an answer only: see `start`. */
#ifndef INL_PROTO_TICKET_H
#define INL_PROTO_TICKET_H

#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

#define INL_TICKET_FIELD "Inlets-Lane"
#define INL_TICKET_SECRET_LEN 16u /* bytes */
/* The longest text: 16 + 1 + 3 + 1 + 32 + 1 + 20 + 1 + 20. */
#define INL_TICKET_TEXT_MAX 95u
/* A lane's number is below it. */
#define INL_TICKET_LANES 256u

struct inl_ticket {
    uint64_t session;
    unsigned lane;
    uint8_t secret[INL_TICKET_SECRET_LEN];
    uint64_t received; /* lane bytes that its writer has got */
    /* Where the writer of an answer begins to send again; 0: where the ticket
     * that was shown says. It is more when its reader went on to acknowledge
     * over the old websocket after it had written the ticket. */
    uint64_t start;
};

/* Writes the text and a NUL; returns its length. */
size_t inl_ticket_format(const struct inl_ticket *t,
                         char buf[INL_TICKET_TEXT_MAX + 1]);
/* The one field of a head; INLETS_ENOROUTE when there is none,
 * INLETS_EBADMESSAGE: twice, or malformed. */
int inl_ticket_find(const struct inlets_head *head, struct inl_ticket *ret);
int inl_ticket_parse(struct inlets_slice text, struct inl_ticket *ret);
bool inl_ticket_secret_is(const struct inl_ticket *t,
                          const uint8_t secret[INL_TICKET_SECRET_LEN]);

#endif
