/* peer.h: a raw tunnel peer: it speaks the websocket and the frames of
 * lib/proto/FRAME.md by hand, so that it can also lie. */
#ifndef TEST_WORLD_PEER_H
#define TEST_WORLD_PEER_H

#include "world.h"

#define PEER_TYPES 16u
#define PEER_STREAMS 200u

struct world_peer {
    struct world *world;
    struct world_end *end;
    bool is_client;    /* masks; else it plays the exit node */
    bool up;           /* the handshake is done */
    bool gone;         /* FIN or RST */
    bool keeps_silent; /* sends no ACKs */
    bool no_hello;     /* server: waits with it */
    bool lax;          /* what it sends is not counted: a fuzzer's */
    bool resumes;      /* client: no HELLO if the server takes its ticket */
    bool may_fail;     /* client: the server may refuse the handshake */
    unsigned status;   /* client: of the server's answer */
    char handshake[4096];
    size_t handshake_len;

    /* what came */
    struct world_bytes in;       /* not parsed yet */
    struct world_bytes lane;     /* lane bytes not parsed yet */
    uint64_t rx_lane;            /* in all */
    unsigned frames[PEER_TYPES]; /* by type */
    uint8_t hello[512];          /* payload of the HELLO */
    size_t hello_len;
    uint32_t spread_ms;   /* of the latest SPREAD */
    uint32_t last_stream; /* of the latest OPEN */
    uint32_t last_reset, last_reset_err;
    bool reset[PEER_STREAMS];    /* a RESET came: nothing may follow */
    uint64_t data[PEER_STREAMS]; /* DATA bytes by stream */
    unsigned pongs, moves;       /* MOVE messages */
    unsigned close_code;         /* 0: none came */

    uint64_t tx_lane;
    struct world_bytes batch; /* frames gathered for one message */
    bool batching;
};

/* A client at the exit node; run the world for the handshake. */
struct world_peer *peer_to_exit(struct world_exit *x);
/* The same with more fields, each line with its CRLF; it may be refused. */
struct world_peer *peer_to_exit_with(struct world_exit *x, const char *fields);
/* An exit node at "exit":80: takes the next dev machine that dials. */
struct world_peer *peer_as_exit(struct world *w);
void peer_free(struct world_peer *p);

/* One websocket frame as it is. */
void peer_ws(struct world_peer *p, unsigned first_byte, const void *ptr,
             size_t n);
/* A binary message of this kind. */
void peer_message(struct world_peer *p, unsigned kind, const void *ptr,
                  size_t n);
void peer_ack(struct world_peer *p, uint64_t total);
/* One frame; between peer_batch and peer_flush many go into one message. */
void peer_frame(struct world_peer *p, unsigned type, unsigned flags,
                uint32_t stream, const void *payload, size_t n);
void peer_batch(struct world_peer *p);
void peer_flush(struct world_peer *p);

void peer_hello(struct world_peer *p);
void peer_route(struct world_peer *p, uint32_t id, const char *endpoint);
/* A response head without fields; length -1: not known. */
void peer_head(struct world_peer *p, uint32_t stream, unsigned flags,
               unsigned status, int64_t length);
void peer_open(struct world_peer *p, uint32_t stream, unsigned flags,
               uint32_t route, const char *method, const char *target);
/* n body bytes in frames of at most 16 KiB; flags for all, END behind. */
void peer_data(struct world_peer *p, uint32_t stream, unsigned flags, size_t n);
/* The same, with CHARGED as an honest peer sets it from byte `at` on. */
void peer_honest_data(struct world_peer *p, uint32_t stream, uint64_t at,
                      size_t n);
void peer_credit(struct world_peer *p, uint32_t stream, uint64_t limit);
void peer_reset(struct world_peer *p, uint32_t stream, uint32_t err);

#endif
