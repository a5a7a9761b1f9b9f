/* net_rig.h: what the tests of lib/net share: a loop whose end is checked
 * (nothing alive, no descriptor left open), and a machine that sends and
 * checks a known pattern, with hooks for misbehaviour.
 *
 * Real sockets and real time: the waterline's other side has world tests. */
#ifndef NET_RIG_H
#define NET_RIG_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dial.h"
#include "base/link.h"
#include "net/dial.h"
#include "net/listen.h"
#include "net/loop.h"
#include <cmocka.h>
#include <inlets/err.h>

struct rig {
    uv_loop_t uv;
    struct inl_loop loop;
    struct inl_dialer dialer;
    uv_timer_t tick; /* so that UV_RUN_ONCE always returns */
    bool closed;     /* on_closed ran */
    int fds;         /* open before */
    int warnings;    /* of the log */
    int turns;
};

/* Fixtures: *state is a struct rig. */
int rig_setup(void **state);
int rig_teardown(void **state);
/* The same without cmocka's state; start says whether memory sufficed. */
int rig_start(struct rig *r);
void rig_stop(struct rig *r);
/* Runs the loop once. Ends the program when a test takes a minute. */
void rig_once(struct rig *r);

#define RUN_UNTIL(r, condition)                                                \
    do {                                                                       \
        while (!(condition)) {                                                 \
            rig_once(r);                                                       \
        }                                                                      \
    } while (0)

/* Lets so many milliseconds of events pass. */
void rig_pass(struct rig *r, uint64_t ms);
int count_fds(void);
/* Its accept does not respect a lowered limit of descriptors: it closes what
 * the kernel gave it. It is slow, too. */
bool under_valgrind(void);

enum hook { NOWHERE, AT_RX, AT_ROOM, AT_EOF, AT_TAKEN, AT_FILL, AT_GONE };
enum action { NOTHING, CLOSE, RESET, SHUTDOWN, LINGER, ACTIONS };

/* A machine. All zero but rig, to_send and room is well behaved: it sends
 * to_send bytes, then FIN, and goes when the peer has done the same. */
struct end {
    struct rig *rig;
    struct inl_link *link; /* NULL before and after */

    uint64_t to_send, made, taken, received;
    size_t room;          /* what rx_room says at most */
    uint64_t pause_every; /* bytes; 0: never */
    bool keep_open;       /* sends no FIN by itself */
    struct inl_timer resume;
    bool paused;

    enum hook hook; /* where to misbehave */
    enum action action;
    struct end *victim;       /* whom it hits; NULL: itself */
    uint64_t misbehave_after; /* received bytes */

    bool bad; /* a wrong byte came */
    bool eof;
    int gone; /* calls */
    int err;
    size_t out_peak;
    size_t out_when_asked; /* at most: bytes that waited when more was asked */
};

void end_attach(struct end *e, struct inl_link *link);
void end_act(struct end *e, enum action action);

/* A listener that gives its links to the end. */
void end_listen(struct inl_link *link, void *user);

struct call {
    struct inl_dial dial; /* first */
    struct end *end;      /* gets the link */
    int done;             /* calls */
    int err;
};

/* Dials host:port; the end gets the link. */
int call_start(struct call *c, struct end *end, const char *host, unsigned port,
               uint64_t timeout_ms);

/* A connected pair over 127.0.0.1. */
void connect_ends(struct rig *r, struct end *client, struct end *server);

/* Plain sockets, as peers that can misbehave. */
int raw_connect(unsigned port);
void raw_reset(int fd);

#endif
