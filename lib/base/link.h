/* link.h: one byte stream and its time, whoever carries it: the waterline.
 *
 * Below: a carrier (net/tcp.c over libuv, or the fake pipe of the tests).
 * Above: one machine (a visitor, an upstream connection, a tunnel's lane).
 * All above this line runs in memory.
 *
 * Who owns what: the carrier owns the link and frees it after
 * carrier->release; the machine owns itself and learns by `gone` that the
 * link is no more. `gone` runs exactly once, from `later`, whoever closed;
 * after inl_link_close the machine gets no other call.
 *
 * Reading: the carrier asks inl_link_rx_room() how much the machine can take
 * and never feeds more; 0 means stop reading until inl_link_rx_wake().
 * Writing: the machine appends to `out` and marks the link dirty; at the end
 * of the turn the carrier takes what it can (tx_peek, tx_done). A machine
 * with `tx_fill` is pulled: it is asked for more whenever `out` falls below
 * low_bytes, so that what is not yet sent stays under its schedule.
 */
#ifndef INL_BASE_LINK_H
#define INL_BASE_LINK_H

#include "base/env.h"
#include "base/queue.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct inl_link;
struct inl_tls;

/* The least and the most of low_bytes, below which a pulled machine is asked
 * for more: enough for the kernel to keep sending through one turn, little
 * enough not to delay a small frame (TUNNEL.md: at least 128 KiB in all). */
#define INL_LINK_LOW_BYTES (64u * 1024)
#define INL_LINK_LOW_MAX_BYTES (256u * 1024)
/* The most that a carrier reads at once. Measured over the loopback: with 256
 * KiB a download was 1.2 times as fast as with 64, at 0.85 of the CPU. */
#define INL_LINK_READ_BYTES (256u * 1024)

struct inl_machine_ops {
    /* n bytes came; at most what rx_room() said. All are consumed. */
    void (*rx)(void *machine, const uint8_t *p, size_t n);
    /* How many bytes may be fed now; 0 stops reading. */
    size_t (*rx_room)(void *machine);
    /* The peer will send no more (FIN). */
    void (*rx_eof)(void *machine);
    /* n bytes of `out` were taken by the carrier: grant credit. May be NULL. */
    void (*tx_taken)(void *machine, size_t n);
    /* Append more to `out` if there is something to send. May be NULL. */
    void (*tx_fill)(void *machine);
    /* The link is gone; err says why (0: closed by us after a clean end).
     * The last call: the machine forgets the link. */
    void (*gone)(void *machine, int err);
};

/* For a link that carries a tunnel: see inl_link_tune. */
struct inl_link_tuning {
    uint32_t dead_ms; /* 0: as the system has it */
    bool bbr;
};

struct inl_carrier_ops {
    /* Flush and read according to the link's wishes. End of each turn in
     * which the link was marked dirty. */
    void (*turn)(struct inl_link *l);
    /* Close at once and free when possible; reset: with RST, so that no peer
     * takes what it got for whole. The last call. */
    void (*release)(struct inl_link *l, bool reset);
    /* Is the peer known to have left although reading is paused? May be
     * NULL. */
    bool (*peer_left)(struct inl_link *l);
    /* How many of the bytes that were carried has the peer not acknowledged?
     * May be NULL. */
    size_t (*unacked)(struct inl_link *l);
    /* inl_link_tune of a link that is not closed. May be NULL. */
    int (*tune)(struct inl_link *l, const struct inl_link_tuning *tuning);
};

struct inl_link {
    struct inl_env *env;
    const struct inl_carrier_ops *carrier;
    const struct inl_machine_ops *ops; /* NULL: none yet */
    void *machine;

    struct inl_queue out; /* bytes for the carrier to send */
    struct inl_list dirty;
    struct inl_later later; /* gone + release */
    struct inl_timer linger;
    uint64_t linger_end_ms; /* no extension beyond this */

    size_t low_bytes;             /* follows the rate; the carrier's */
    uint64_t bytes_in, bytes_out; /* carried so far */
    uint64_t rx_at_ms;            /* when the last byte came */
    char peer[64];    /* "203.0.113.9:4711", "[::1]:80"; "" when not known */
    char peer_ip[48]; /* the address alone, without port and brackets */
    bool peer_is_loopback;
    /* Set by a machine that read it (relay/proxied.h), with the above: the
     * port that the peer connected to, 0: ours; and whether the proxy whose
     * address is above passes on somebody whom it does not name. */
    uint16_t told_port;
    bool peer_is_unknown;
    /* What was agreed on with the peer; the carrier's. NULL: nothing is
     * encrypted. */
    const struct inl_tls *tls;

    bool rx_ended;  /* FIN seen */
    bool tx_ending; /* send FIN once `out` is empty */
    bool tx_ended;  /* carrier: FIN was sent; it then calls wake */
    bool lingering; /* discard input until the peer leaves */
    bool patient;   /* lingering behind a whole answer */
    bool guarded;   /* see inl_link_guard */
    /* The machine's: what the peer has said counts, also when it is gone by
     * now: an answer that we are slow to read. Else a peer that is gone ends
     * the link at once. */
    bool reads_to_end;
    bool closed;    /* no more calls to the machine but gone */
    bool reset;     /* release with RST */
    int err;        /* why it was closed */
};

/* For carriers. The strings and flags about the peer are the carrier's. */
void inl_link_init(struct inl_link *l, struct inl_env *env,
                   const struct inl_carrier_ops *carrier);
/* Called by the carrier when the memory goes. */
void inl_link_fini(struct inl_link *l);
void inl_link_rx(struct inl_link *l, const uint8_t *p, size_t n);
void inl_link_rx_eof(struct inl_link *l);
size_t inl_link_rx_room(const struct inl_link *l);
/* May the machine be asked for bytes (tx_fill)? */
bool inl_link_is_pulled(const struct inl_link *l);
/* Fills vectors with what is to be sent; asks tx_fill first. */
size_t inl_link_tx_peek(struct inl_link *l, struct iovec *v, size_t max);
void inl_link_tx_done(struct inl_link *l, size_t n);
/* Is it time for the FIN? (tx_ending, all sent) */
bool inl_link_wants_fin(const struct inl_link *l);

/* For machines. */
void inl_link_set_machine(struct inl_link *l, const struct inl_machine_ops *ops,
                          void *machine);
/* There is something to send, or room to read: look at me this turn. */
void inl_link_wake(struct inl_link *l);
/* Appends to `out` and wakes. INLETS_ENOMEM, or INLETS_ECLOSED when closed
 * or shut down. */
int inl_link_write(struct inl_link *l, const void *ptr, size_t n);
/* What only the system below can do for a tunnel: give up after dead_ms in
 * which the peer acknowledged nothing or had no room (the link then closes
 * with INLETS_ETIMEDOUT), probe an idle peer more often than that, and send
 * by BBR, which keeps its pace on lossy links. Whatever can be done is done;
 * the return value is about BBR only: 0; INLETS_EPERM when this process may
 * not have it (Linux: net.ipv4.tcp_allowed_congestion_control);
 * INLETS_ENOTSUP when the system has none. INLETS_ECLOSED for a closed link.
 * No error needs more than a line in the log. */
int inl_link_tune(struct inl_link *l, const struct inl_link_tuning *tuning);
/* How many bytes the peer has acknowledged, as far as the carrier knows: who
 * takes bytes slowly shows here, long before a full send buffer asks for more.
 * A system call. */
uint64_t inl_link_delivered(struct inl_link *l);
/* Send what is in `out`, then FIN; reading goes on (half-close). When both
 * directions are done, linger is the way to close without losing `out`. */
void inl_link_shutdown(struct inl_link *l);
/* Send what is in `out`, then FIN, discard what still comes, and close when
 * the peer does or after INL_LINK_LINGER_MS: so that the peer reads our last
 * words instead of a reset (RFC 9112 section 9.6). The time starts anew
 * whenever bytes of `out` are taken, up to INL_LINK_LINGER_MAX_MS in all: a
 * peer that reads a byte a second must not hold the link. The machine gets
 * no other call than gone: 0, or INLETS_ETIMEDOUT (with RST) when not all
 * could be sent. */
#define INL_LINK_LINGER_MS 2000u
#define INL_LINK_LINGER_MAX_MS 30000u
void inl_link_linger(struct inl_link *l);
/* The same behind a whole answer, which a slow peer is given time to take: as
 * long as it takes any bytes within INL_LINK_FLUSH_MS. (A full send buffer
 * asks for more only when a third of it has gone: 2 s is not slow.) */
#define INL_LINK_FLUSH_MS 60000u
void inl_link_finish(struct inl_link *l);
/* From now on only our FIN marks the end of what we send (a close-delimited
 * answer, an upgraded connection): if the link or the process is lost before
 * it, even by SIGKILL, the peer must get a RST, not the kernel's FIN. */
void inl_link_guard(struct inl_link *l);
/* Close now, dropping `out`. Idempotent. reset: with RST. */
void inl_link_close(struct inl_link *l, int err);
void inl_link_reset(struct inl_link *l, int err);

#endif
