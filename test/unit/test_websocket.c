/* test_websocket.c: the websocket of the tunnel: the vectors of RFC 6455,
 * every length class both ways and at every split, and peers that break each
 * rule once. */
#include "unit/alloc.h"

#include "base/env.h"
#include "base/slice.h"
#include "proto/crypto.h"
#include "proto/websocket.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(s) ((const uint8_t *)(s)), (sizeof(s) - 1)

/* --- helpers -------------------------------------------------------------- */

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    static uint32_t seed;
    uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 16);
    }
}

static const struct inl_env_ops env_ops = {.random = fake_random};

/* One end, and what its peer told it. */
struct end {
    struct inl_env env;
    struct inl_queue out;
    struct inl_ws *ws;
    struct inl_queue got; /* all pieces */
    unsigned messages;    /* pieces that were the first of a message */
    unsigned pieces;
    size_t longest;      /* piece */
    const char *last_at; /* where the last piece was */
    char pong[126];
    int refusal;         /* what on_piece returns */
    uint16_t close_with; /* on_piece closes with this code */
};

static int on_piece(void *user, struct inlets_slice piece, bool first)
{
    struct end *e = user;

    assert_true(piece.len > 0);
    e->pieces++;
    e->messages += first;
    e->longest = piece.len > e->longest ? piece.len : e->longest;
    e->last_at = piece.ptr;
    assert_int_equal(inl_queue_append_slice(&e->got, piece), 0);
    if (e->close_with != 0) {
        assert_int_equal(
            inl_ws_put_close(e->ws, e->close_with, INL_LIT("because")), 0);
    }
    return e->refusal;
}

static void on_pong(void *user, struct inlets_slice payload)
{
    struct end *e = user;

    assert_true(payload.len < sizeof(e->pong));
    snprintf(e->pong, sizeof(e->pong), "%.*s", (int)payload.len,
             payload.len == 0 ? "" : payload.ptr);
}

static const struct inl_ws_ops ws_ops = {on_piece, on_pong};

static void end_init(struct end *e, enum inl_ws_role role)
{
    *e = (struct end){0};
    inl_env_init(&e->env, &env_ops);
    e->env.now_ms = 1000000;
    inl_queue_init(&e->out);
    e->ws = inl_ws_new(&e->env, role, &e->out, &ws_ops, e);
    assert_non_null(e->ws);
}

static void end_fini(struct end *e)
{
    inl_ws_free(e->ws);
    inl_queue_fini(&e->out);
    inl_queue_fini(&e->got);
    inl_env_fini(&e->env);
}

static int teardown(void **state)
{
    inl_queue_trim();
    return alloc_live == 0 ? 0 : -1;
}

/* The queue's bytes in one owned block; the queue is emptied. */
static uint8_t *drain(struct inl_queue *q, size_t *ret_n)
{
    uint8_t *all = malloc(q->bytes + 1);
    size_t n = 0;

    assert_non_null(all);
    while (q->bytes > 0) {
        const struct inlets_slice s = inl_queue_front(q);

        memcpy(all + n, s.ptr, s.len);
        n += s.len;
        inl_queue_consume(q, s.len);
    }
    all[n] = '\0';
    *ret_n = n;
    return all;
}

static void assert_drains(struct inl_queue *q, const uint8_t *p, size_t n)
{
    size_t len;
    uint8_t *all = drain(q, &len);

    assert_int_equal(len, n);
    assert_memory_equal(all, p, n);
    free(all);
}

/* Hands all that `from` has to send to `to`, `step` bytes at a time. */
static int carry(struct end *from, struct end *to, size_t step)
{
    size_t n;
    uint8_t *all = drain(&from->out, &n);
    int err = 0;

    for (size_t at = 0; at < n && err == 0; at += step) {
        err = inl_ws_feed(to->ws, all + at, n - at < step ? n - at : step);
    }
    free(all);
    return err;
}

/* --- the opening handshake ---------------------------------------------- */

static void the_accept_of_the_rfc(void **state)
{
    char accept[INL_WS_ACCEPT_LEN];

    /* RFC 6455 section 1.3 */
    assert_int_equal(inl_ws_accept(INL_LIT("dGhlIHNhbXBsZSBub25jZQ=="), accept),
                     0);
    assert_memory_equal(accept,
                        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", INL_WS_ACCEPT_LEN);
    assert_int_equal(inl_ws_accept(INL_LIT("short"), accept), INLETS_EINVAL);
}

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* A head from "Name: value\n" lines. */
static struct inlets_head head_of(const char *lines, struct inlets_field *f)
{
    struct inlets_head head = {.method = INL_LIT("GET"),
                               .target = INL_LIT("/tunnel"),
                               .host = INL_LIT("example.com"),
                               .status = 101,
                               .content_length = INLETS_LENGTH_NONE,
                               .fields = f};

    while (*lines != '\0') {
        const size_t name = strcspn(lines, ":"), line = strcspn(lines, "\n");

        f[head.nfields].name = inl_slice(lines, name);
        f[head.nfields].value = inl_slice(lines + name + 2, line - name - 2);
        head.nfields++;
        lines += line + 1;
    }
    return head;
}

#define UPGRADE "Upgrade: websocket\nConnection: Upgrade\n"
#define V13 "Sec-WebSocket-Version: 13\n"
#define GOOD_KEY "Sec-WebSocket-Key: " KEY "\n"

static void requests_are_checked(void **state)
{
    static const struct {
        const char *lines;
        int err;
    } cases[] = {
        {UPGRADE V13 GOOD_KEY, 0},
        {"connection: keep-alive, UPGRADE\nupgrade: h2c\n"
         "upgrade: foo, WebSocket\nsec-websocket-version: 13\n"
         "sec-websocket-key: " KEY "\n",
         0},
        {UPGRADE V13 GOOD_KEY "Sec-WebSocket-Protocol: x, inlets.1\n", 0},
        {UPGRADE V13 GOOD_KEY "Sec-WebSocket-Extensions: permessage-deflate\n",
         0}, /* offered, not granted */
        {UPGRADE V13 GOOD_KEY "Sec-WebSocket-Protocol: chat\n",
         INLETS_EBADMESSAGE},
        {UPGRADE GOOD_KEY, INLETS_EVERSION},
        {UPGRADE GOOD_KEY "Sec-WebSocket-Version: 8\n", INLETS_EVERSION},
        {UPGRADE GOOD_KEY "Sec-WebSocket-Version: 13, 8\n", INLETS_EVERSION},
        {UPGRADE GOOD_KEY V13 V13, INLETS_EVERSION},
        {UPGRADE V13, INLETS_EBADMESSAGE},
        {UPGRADE V13 GOOD_KEY GOOD_KEY, INLETS_EBADMESSAGE},
        {UPGRADE V13 "Sec-WebSocket-Key: \n", INLETS_EBADMESSAGE},
        {UPGRADE V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n",
         INLETS_EBADMESSAGE},
        {UPGRADE V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\n",
         INLETS_EBADMESSAGE}, /* 18 bytes */
        {UPGRADE V13 "Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\n",
         INLETS_EBADMESSAGE},
        {"Upgrade: websocket\n" V13 GOOD_KEY, INLETS_EBADMESSAGE},
        {"Connection: Upgrade\n" V13 GOOD_KEY, INLETS_EBADMESSAGE},
        {"Upgrade: websockets\nConnection: Upgrade\n" V13 GOOD_KEY,
         INLETS_EBADMESSAGE},
        {"", INLETS_EBADMESSAGE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct inlets_field f[8];
        struct inlets_head head = head_of(cases[i].lines, f);
        struct inlets_slice key = {NULL, 7};

        assert_int_equal(inl_ws_check_request(&head, &key), cases[i].err);
        if (cases[i].err == 0) {
            assert_true(inl_slice_eq(key, INL_LIT(KEY)));
        } else {
            assert_int_equal(key.len, 7); /* untouched */
        }
    }
}

static void only_a_get_without_a_body_is_an_upgrade(void **state)
{
    struct inlets_field f[8];
    struct inlets_head head = head_of(UPGRADE V13 GOOD_KEY, f);
    struct inlets_slice key;

    head.method = INL_LIT("POST");
    assert_int_equal(inl_ws_check_request(&head, &key), INLETS_EBADMESSAGE);
    head.method = INL_LIT("GET");
    head.content_length = 1;
    assert_int_equal(inl_ws_check_request(&head, &key), INLETS_EBADMESSAGE);
    head.content_length = INLETS_LENGTH_UNKNOWN;
    assert_int_equal(inl_ws_check_request(&head, &key), INLETS_EBADMESSAGE);
    head.content_length = 0;
    assert_int_equal(inl_ws_check_request(&head, &key), 0);
}

#define ACCEPTED "Sec-WebSocket-Accept: " ACCEPT "\n"

static void responses_are_checked(void **state)
{
    static const struct {
        const char *lines;
        unsigned status;
        int err;
    } cases[] = {
        {UPGRADE ACCEPTED, 101, 0},
        {UPGRADE ACCEPTED "Sec-WebSocket-Protocol: inlets.1\n", 101, 0},
        {UPGRADE ACCEPTED, 200, INLETS_EHANDSHAKE},
        {UPGRADE, 101, INLETS_EHANDSHAKE},
        {UPGRADE ACCEPTED ACCEPTED, 101, INLETS_EHANDSHAKE},
        {UPGRADE "Sec-WebSocket-Accept: t3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n", 101,
         INLETS_EHANDSHAKE},
        {UPGRADE "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\n", 101,
         INLETS_EHANDSHAKE},
        {"Upgrade: websocket\n" ACCEPTED, 101, INLETS_EHANDSHAKE},
        {UPGRADE ACCEPTED "Sec-WebSocket-Protocol: chat\n", 101,
         INLETS_EHANDSHAKE},
        {UPGRADE ACCEPTED "Sec-WebSocket-Extensions: permessage-deflate\n", 101,
         INLETS_EHANDSHAKE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct inlets_field f[8];
        struct inlets_head head = head_of(cases[i].lines, f);

        head.status = cases[i].status;
        assert_int_equal(inl_ws_check_response(&head, KEY), cases[i].err);
    }
}

/* What we make, we take; and no two keys are the same. */
static void keys_are_fresh_and_good(void **state)
{
    struct inl_env env;
    char a[INL_WS_KEY_LEN], b[INL_WS_KEY_LEN];
    struct inlets_field f[8];
    struct inlets_head head = head_of(UPGRADE V13 GOOD_KEY, f);
    struct inlets_slice key;

    inl_env_init(&env, &env_ops);
    inl_ws_make_key(&env, a);
    inl_ws_make_key(&env, b);
    assert_memory_not_equal(a, b, INL_WS_KEY_LEN);
    f[3].value = inl_slice(a, INL_WS_KEY_LEN);
    assert_int_equal(inl_ws_check_request(&head, &key), 0);
    inl_env_fini(&env);
}

/* --- messages ----------------------------------------------------------------
 */

static const size_t sizes[] = {0,    1,    123,   124,   125,   126,   127,
                               4094, 4095, 65533, 65534, 65535, 65536, 200000};
#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

static void fill(struct inl_queue *q, size_t n)
{
    uint8_t bytes[1000];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (size_t k; n > 0; n -= k) {
        k = n < sizeof(bytes) ? n : sizeof(bytes);
        assert_int_equal(inl_queue_append(q, bytes, k), 0);
    }
}

/* `from` sends payloads of all sizes, `to` gets them whole. */
static void exchange(enum inl_ws_role from_role, size_t step)
{
    struct end from, to;

    end_init(&from, from_role);
    end_init(&to, from_role == INL_WS_SERVER ? INL_WS_CLIENT : INL_WS_SERVER);
    for (size_t i = 0; i < NSIZES; i++) {
        struct inl_queue payload = {0};
        size_t n, len;
        uint8_t *sent, *got;

        fill(&payload, sizes[i] + 20);
        assert_int_equal(
            inl_ws_put_message(from.ws, (uint8_t)i, &payload, 7, sizes[i]), 0);
        assert_int_equal(payload.bytes, sizes[i] + 20);
        assert_int_equal(carry(&from, &to, step), 0);
        assert_int_equal(to.messages, i + 1);
        sent = drain(&payload, &n);
        got = drain(&to.got, &len);
        assert_int_equal(len, sizes[i] + 1);
        assert_int_equal(got[0], i);
        assert_memory_equal(got + 1, sent + 7, sizes[i]);
        free(sent);
        free(got);
        inl_queue_fini(&payload);
    }
    assert_int_equal(to.out.bytes, 0);
    end_fini(&from);
    end_fini(&to);
}

static void all_lengths_whole(void **state)
{
    exchange(INL_WS_SERVER, SIZE_MAX / 2);
    exchange(INL_WS_CLIENT, SIZE_MAX / 2);
}

static void all_lengths_byte_by_byte(void **state)
{
    exchange(INL_WS_SERVER, 1);
    exchange(INL_WS_CLIENT, 1);
}

static void all_lengths_at_odd_splits(void **state)
{
    exchange(INL_WS_SERVER, 3);
    exchange(INL_WS_CLIENT, 4097);
}

/* The header bytes of RFC 6455 section 5.2, from a server. */
static void server_headers_are_minimal(void **state)
{
    static const struct {
        size_t n;
        const char *header;
        size_t len;
    } cases[] = {
        {0, "\x82\x01", 2},
        {124, "\x82\x7d", 2},
        {125, "\x82\x7e\0\x7e", 4},
        {65534, "\x82\x7e\xff\xff", 4},
        {65535, "\x82\x7f\0\0\0\0\0\1\0\0", 10},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct inl_queue payload = {0};
        struct end e;
        uint8_t *all;
        size_t n;

        end_init(&e, INL_WS_SERVER);
        fill(&payload, cases[i].n);
        assert_int_equal(inl_ws_put_message(e.ws, 9, &payload, 0, cases[i].n),
                         0);
        all = drain(&e.out, &n);
        assert_int_equal(n, cases[i].len + 1 + cases[i].n);
        assert_memory_equal(all, cases[i].header, cases[i].len);
        assert_int_equal(all[cases[i].len], 9);
        free(all);
        inl_queue_fini(&payload);
        end_fini(&e);
    }
}

/* A server's payload is referred to, a client's is masked with a new key
 * each time. */
static void servers_share_and_clients_mask(void **state)
{
    static const uint8_t zeros[3000]; /* in one piece: short ones are copied */
    struct inl_queue payload = {0};
    struct end server, client;
    size_t n;
    uint8_t *all;

    end_init(&server, INL_WS_SERVER);
    end_init(&client, INL_WS_CLIENT);
    assert_int_equal(inl_queue_append(&payload, zeros, sizeof(zeros)), 0);
    assert_int_equal(inl_ws_put_message(server.ws, 0, &payload, 0, 3000), 0);
    inl_queue_consume(&server.out, 5);
    assert_ptr_equal(inl_queue_front(&server.out).ptr,
                     inl_queue_front(&payload).ptr);
    assert_int_equal(inl_ws_put_message(client.ws, 0, &payload, 0, 100), 0);
    assert_int_equal(inl_ws_put_message(client.ws, 0, &payload, 0, 100), 0);
    all = drain(&client.out, &n);
    assert_int_equal(n, 2 * (2 + 4 + 101));
    assert_int_equal(all[1], 0x80 | 101);
    assert_memory_not_equal(all + 2, all + 107 + 2, 4);
    for (size_t i = 0; i < 101; i++) {
        assert_int_equal(all[6 + i] ^ all[2 + i % 4],
                         all[107 + 6 + i] ^ all[107 + 2 + i % 4]);
    }
    free(all);
    inl_queue_fini(&payload);
    end_fini(&server);
    end_fini(&client);
}

/* RFC 6455 section 5.7, with the opcode of binary. */
static void the_frames_of_the_rfc(void **state)
{
    struct end server, client;

    end_init(&server, INL_WS_SERVER);
    end_init(&client, INL_WS_CLIENT);
    assert_int_equal(
        inl_ws_feed(server.ws,
                    BYTES("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")),
        0);
    assert_drains(&server.got, BYTES("Hello"));
    assert_int_equal(inl_ws_feed(client.ws, BYTES("\x82\x05Hello")), 0);
    assert_drains(&client.got, BYTES("Hello"));
    assert_int_equal(inl_ws_feed(client.ws, BYTES("\x02\x03Hel\x80\x02lo")), 0);
    assert_drains(&client.got, BYTES("Hello"));
    assert_int_equal(client.messages, 2);
    assert_int_equal(inl_ws_feed(client.ws, BYTES("\x89\x05Hello")), 0);
    assert_int_equal(client.out.bytes, 2 + 4 + 5); /* the pong, masked */
    assert_int_equal(
        inl_ws_feed(server.ws,
                    BYTES("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")),
        0);
    assert_string_equal(server.pong, "Hello");
    end_fini(&server);
    end_fini(&client);
}

/* Pings fall between the fragments of a message; `first` is said once. */
static void fragments_with_pings_between(void **state)
{
    static const char bytes[] = "\x02\x00"   /* begins with nothing */
                                "\x89\x02hi" /* ping */
                                "\x00\x03"
                                "abc"
                                "\x8a\x02yo" /* pong */
                                "\x00\x00"
                                "\x89\x00" /* ping */
                                "\x80\x02"
                                "de"
                                "\x82\x01x";

    for (size_t step = 1; step < sizeof(bytes); step++) {
        struct end e;

        end_init(&e, INL_WS_CLIENT);
        for (size_t at = 0; at < sizeof(bytes) - 1; at += step) {
            const size_t left = sizeof(bytes) - 1 - at;

            assert_int_equal(inl_ws_feed(e.ws, (const uint8_t *)bytes + at,
                                         left < step ? left : step),
                             0);
        }
        assert_drains(&e.got, BYTES("abcdex"));
        assert_int_equal(e.messages, 2);
        assert_string_equal(e.pong, "yo");
        assert_int_equal(e.out.bytes, 6 + 2 + 6); /* two pongs */
        end_fini(&e);
    }
}

/* --- the fast path -------------------------------------------------------- */

#define KEY4 "\x37\xfa\x21\x3d"

/* A frame of n counted bytes as the peer of `role` writes it, by the letter of
 * section 5.2; returns its length. */
static size_t write_frame(uint8_t *to, enum inl_ws_role role, unsigned first,
                          size_t n)
{
    size_t at = 0;

    to[at++] = (uint8_t)first;
    to[at++] =
        (uint8_t)((role == INL_WS_SERVER ? 0x80 : 0) | (n < 126 ? n : 126));
    if (n >= 126) {
        to[at++] = (uint8_t)(n >> 8);
        to[at++] = (uint8_t)n;
    }
    if (role == INL_WS_SERVER) {
        memcpy(to + at, KEY4, 4);
        at += 4;
    }
    for (size_t i = 0; i < n; i++) {
        to[at++] =
            (uint8_t)((i + 1) ^
                      (role == INL_WS_SERVER ? (uint8_t)KEY4[i % 4] : 0));
    }
    return at;
}

/* Feeds [0, cut) and [cut, n). */
static void feed_in_two(struct end *e, const uint8_t *p, size_t n, size_t cut)
{
    assert_int_equal(inl_ws_feed(e->ws, p, cut), 0);
    assert_int_equal(inl_ws_feed(e->ws, p + cut, n - cut), 0);
}

static void assert_counted(struct end *e, size_t n)
{
    size_t len;
    uint8_t *got = drain(&e->got, &len);

    assert_int_equal(len, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i], (uint8_t)(i + 1));
    }
    free(got);
}

/* Both roles, lengths around the blocks of the mask and the two forms of
 * length, at any alignment, cut at every byte. */
static void every_length_at_every_cut(void **state)
{
    static const size_t more[] = {124, 125, 126, 127, 200};
    uint8_t buf[8 + 14 + 200];

    for (size_t i = 1; i <= 70 + sizeof(more) / sizeof(more[0]); i++) {
        const size_t len = i <= 70 ? i : more[i - 71];

        for (int role = INL_WS_SERVER; role <= INL_WS_CLIENT; role++) {
            struct end e;
            uint8_t *frame = buf + i % 8;
            const size_t n =
                write_frame(frame, (enum inl_ws_role)role, 0x82, len);

            end_init(&e, (enum inl_ws_role)role);
            for (size_t cut = 0; cut <= n; cut++) {
                feed_in_two(&e, frame, n, cut);
                assert_int_equal(e.messages, cut + 1);
                assert_counted(&e, len);
            }
            assert_int_equal(e.out.bytes, 0);
            end_fini(&e);
        }
    }
}

/* Fragments with control frames between them, cut at every two bytes. */
static void masked_fragments_at_every_cut(void **state)
{
    static const char bytes[] = "\x02\x83" KEY4 "\x56\x98\x42" /* abc */
                                "\x89\x82" KEY4 "\x5f\x93"     /* ping hi */
                                "\x00\x80" KEY4                /* nothing */
                                "\x8a\x82" KEY4 "\x4e\x95"     /* pong yo */
                                "\x80\x82" KEY4 "\x53\x9f"     /* de */
                                "\x82\x81" KEY4 "\x4f";        /* x */
    const uint8_t *p = (const uint8_t *)bytes;
    const size_t n = sizeof(bytes) - 1;

    for (size_t a = 0; a <= n; a++) {
        for (size_t b = a; b <= n; b++) {
            struct end e;

            end_init(&e, INL_WS_SERVER);
            assert_int_equal(inl_ws_feed(e.ws, p, a), 0);
            feed_in_two(&e, p + a, n - a, b - a);
            assert_drains(&e.got, BYTES("abcdex"));
            assert_drains(&e.out, BYTES("\x8a\x02hi"));
            assert_int_equal(e.messages, 2);
            assert_string_equal(e.pong, "yo");
            end_fini(&e);
        }
    }
}

/* A client's pieces are the input itself, whole. */
static void clients_get_slices_of_the_input(void **state)
{
    static uint8_t frame[4 + 60000];
    struct end e;
    size_t n;

    n = write_frame(frame, INL_WS_CLIENT, 0x82, 60000);
    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_feed(e.ws, frame, n), 0);
    assert_int_equal(e.pieces, 1);
    assert_int_equal(e.longest, 60000);
    assert_ptr_equal(e.last_at, frame + 4);
    assert_counted(&e, 60000);
    end_fini(&e);
}

/* A server's are copies; the input is left as it was. */
static void servers_get_long_pieces(void **state)
{
    static uint8_t frame[8 + 60000], before[8 + 60000];
    struct end e;
    size_t n;

    n = write_frame(frame, INL_WS_SERVER, 0x82, 60000);
    memcpy(before, frame, n);
    end_init(&e, INL_WS_SERVER);
    assert_int_equal(inl_ws_feed(e.ws, frame, n), 0);
    assert_int_equal(e.pieces, 4); /* of 16 KiB */
    assert_int_equal(e.messages, 1);
    assert_counted(&e, 60000);
    assert_memory_equal(frame, before, n);
    end_fini(&e);
}

/* A refusal half-way through what is in hand: no further piece. */
static void a_refusal_stops_between_long_pieces(void **state)
{
    static uint8_t frame[8 + 60000];
    struct end e;
    size_t n;

    n = write_frame(frame, INL_WS_SERVER, 0x82, 60000);
    end_init(&e, INL_WS_SERVER);
    e.refusal = INLETS_EFORBIDDEN;
    assert_int_equal(inl_ws_feed(e.ws, frame, n), INLETS_EFORBIDDEN);
    assert_int_equal(e.pieces, 1);
    end_fini(&e);
}

/* A payload of many chunks, with seams at all phases of the key. */
static void masking_goes_on_across_chunks(void **state)
{
    static uint8_t bytes[8000];
    struct inl_queue payload = {0};
    size_t len = 0;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 13 + i / 256);
    }
    for (size_t i = 0; i < 6; i++) { /* shared, so each its own segment */
        struct inl_queue part = {0};

        assert_int_equal(inl_queue_append(&part, bytes + len, 1025 + i), 0);
        assert_int_equal(inl_queue_move(&payload, &part, 1025 + i), 0);
        len += 1025 + i;
        inl_queue_fini(&part);
    }
    assert_int_equal(payload.count, 6);
    for (size_t off = 0; off < 1100; off += 3) {
        struct end client, server;

        end_init(&client, INL_WS_CLIENT);
        end_init(&server, INL_WS_SERVER);
        assert_int_equal(
            inl_ws_put_message(client.ws, bytes[0], &payload, off, len - off),
            0);
        assert_int_equal(carry(&client, &server, SIZE_MAX / 2), 0);
        inl_queue_consume(&server.got, 1);
        assert_drains(&server.got, bytes + off, len - off);
        end_fini(&client);
        end_fini(&server);
    }
    inl_queue_fini(&payload);
}

static void pings_are_answered_at_once(void **state)
{
    struct end server, client;

    end_init(&server, INL_WS_SERVER);
    end_init(&client, INL_WS_CLIENT);
    assert_int_equal(inl_ws_put_ping(client.ws, INL_LIT("how are you")), 0);
    assert_int_equal(carry(&client, &server, 1), 0);
    assert_int_equal(carry(&server, &client, 1), 0);
    assert_string_equal(client.pong, "how are you");
    assert_int_equal(inl_ws_put_ping(server.ws, INL_LIT("")), 0);
    assert_drains(&server.out, BYTES("\x89\0"));
    end_fini(&server);
    end_fini(&client);
}

static void control_frames_have_a_limit(void **state)
{
    struct inlets_slice s;
    char long_text[126] = {0};
    struct end e;

    end_init(&e, INL_WS_SERVER);
    s = inl_slice(long_text, 126);
    assert_int_equal(inl_ws_put_ping(e.ws, s), INLETS_EINVAL);
    s.len = 124;
    assert_int_equal(inl_ws_put_close(e.ws, 1000, s), INLETS_EINVAL);
    assert_int_equal(e.out.bytes, 0);
    s.len = 125;
    assert_int_equal(inl_ws_put_ping(e.ws, s), 0);
    s.len = 123;
    assert_int_equal(inl_ws_put_close(e.ws, 1000, s), 0);
    assert_int_equal(e.out.bytes, 2 * 127);
    end_fini(&e);
}

/* --- peers that break a rule -------------------------------------------------
 */

/* Each ends with the error and the close frame, at every split. */
struct offence {
    enum inl_ws_role role; /* of the one who is offended */
    int err;
    unsigned code; /* of our close frame */
    const char *bytes;
    size_t n;
};
#define OFFENCE(role, err, code, s)                                            \
    {                                                                          \
        role, err, code, s, sizeof(s) - 1                                      \
    }
#define MASK "\0\0\0\0"

static const struct offence offences[] = {
    /* masks (section 5.1) */
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x82\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x81" MASK "x"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x89\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x89\x80" MASK),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x88\x00"),
    /* reserved bits and opcodes (section 5.2) */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\xc2\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\xa2\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x92\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\xc9\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x83\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x87\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x8b\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x8f\x00"),
    /* lengths: not minimal, 2^63, too long for us */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x7e\0\x7d"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x7f\0\0\0\0\0\0\xff\xff"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x7f\x80\0\0\0\0\0\0\0"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1009, "\x82\x7f\0\0\0\0\0\x10\0\1x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1009,
            "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx"),
    /* control frames (section 5.5) */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x89\x7e\0\x7e"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x09\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x08\x00"),
    /* fragments (section 5.4) */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x80\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x01x\x82\x01x"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x01x\x80\x01x"),
    /* text; nothing at all (FRAME.md section 1) */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1003, "\x81\x05Hello"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1003, "\x01\x02\xff\xff"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1003, "\x81\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x82\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x00\x80\x00"),
    /* the same to a server */
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\xc2\x81" MASK "x"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x83\x81" MASK "x"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x82\xfe\0\x7d"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x82\xff\0\0\0\0\0\0\xff\xff"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x82\xff\x80\0\0\0\0\0\0\0"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1009,
            "\x82\xff\0\0\0\0\0\x10\0\1" MASK "x"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x80\x81" MASK "x"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1003, "\x81\x80" MASK),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x82\x80" MASK),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x09\x80"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002, "\x8b\x80" MASK),
    /* and in the middle of a message, which wslay is told of by then */
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002,
            "\x02\x81" MASK "x\x82\x81" MASK "y"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002,
            "\x02\x81" MASK "x\x81\x81" MASK "y"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002,
            "\x02\x81" MASK "x\xc0\x81" MASK "y"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002,
            "\x02\x81" MASK "x\x80\x01" MASK "y"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1002,
            "\x02\x81" MASK "x\x80\xfe\0\1"),
    OFFENCE(INL_WS_SERVER, INLETS_EPROTO, 1009,
            "\x02\x81" MASK "x\x80\xff\0\0\0\0\0\x10\0\1" MASK "y"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x01x\x81\x01y"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x01x\x83\x01y"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x01x\xa0\x01y"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1002, "\x02\x00\x02\x00"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1009,
            "\x02\x01x\x80\x7f\0\0\0\0\0\x10\0\1y"),
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1009,
            "\x02\x00\x80\x7f\0\0\0\0\0\x10\0\1y"),
    /* after a message all is as at the beginning */
    OFFENCE(INL_WS_CLIENT, INLETS_EPROTO, 1003,
            "\x02\x01x\x80\x00\x8a\x00\x81\x01y"),
};

/* Our close frame as bytes on the wire, unmasked. */
static unsigned close_code_in(struct inl_queue *out, enum inl_ws_role role)
{
    size_t n, at = role == INL_WS_CLIENT ? 6 : 2;
    uint8_t *all = drain(out, &n);
    uint8_t mask[4] = {0};
    unsigned code;

    assert_int_equal(n, at + 2);
    assert_int_equal(all[0], 0x88);
    assert_int_equal(all[1], role == INL_WS_CLIENT ? 0x82 : 0x02);
    if (role == INL_WS_CLIENT) {
        memcpy(mask, all + 2, 4);
    }
    code =
        (unsigned)(all[at] ^ mask[0]) << 8 | (unsigned)(all[at + 1] ^ mask[1]);
    free(all);
    return code;
}

static int offend(struct end *e, const struct offence *o, size_t step)
{
    int err = 0;

    for (size_t at = 0; at < o->n && err == 0; at += step) {
        err = inl_ws_feed(e->ws, (const uint8_t *)o->bytes + at,
                          o->n - at < step ? o->n - at : step);
    }
    return err;
}

static void offences_end_with_a_close_frame(void **state)
{
    for (size_t i = 0; i < sizeof(offences) / sizeof(offences[0]); i++) {
        const struct offence *o = &offences[i];

        for (size_t step = 1; step <= o->n; step++) {
            struct end e;
            unsigned code;

            end_init(&e, o->role);
            assert_int_equal(offend(&e, o, step), o->err);
            code = close_code_in(&e.out, o->role);
            if (code != o->code) {
                fail_msg("offence %zu: close %u", i, code);
            }
            assert_int_equal(inl_ws_close_code(e.ws), 0);
            /* the error stays, and nothing more is said */
            assert_int_equal(inl_ws_feed(e.ws, BYTES("\x89\x00")), o->err);
            assert_int_equal(e.out.bytes, 0);
            end_fini(&e);
        }
    }
}

/* The longest frame that is taken. */
static void a_mebibyte_is_taken(void **state)
{
    struct inl_queue payload = {0};
    struct end server, client;

    end_init(&server, INL_WS_SERVER);
    end_init(&client, INL_WS_CLIENT);
    fill(&payload, INL_WS_MAX_FRAME);
    assert_int_equal(
        inl_ws_put_message(client.ws, 0, &payload, 0, INL_WS_MAX_FRAME - 1), 0);
    assert_int_equal(carry(&client, &server, SIZE_MAX / 2), 0);
    assert_int_equal(server.got.bytes, INL_WS_MAX_FRAME);
    assert_int_equal(
        inl_ws_put_message(client.ws, 0, &payload, 0, INL_WS_MAX_FRAME), 0);
    assert_int_equal(carry(&client, &server, SIZE_MAX / 2), INLETS_EPROTO);
    assert_int_equal(close_code_in(&server.out, INL_WS_SERVER), 1009);
    inl_queue_fini(&payload);
    end_fini(&server);
    end_fini(&client);
}

/* --- floods ------------------------------------------------------------------
 */

static void flood(const uint8_t *frame, size_t n, size_t answer)
{
    struct end e;

    end_init(&e, INL_WS_CLIENT);
    for (unsigned second = 0; second < 3; second++) {
        for (unsigned i = 0; i < INL_WS_MAX_IDLE_FRAMES; i++) {
            assert_int_equal(inl_ws_feed(e.ws, frame, n), 0);
        }
        assert_int_equal(e.out.bytes, INL_WS_MAX_IDLE_FRAMES * answer);
        inl_queue_clear(&e.out);
        e.env.now_ms += 1000;
    }
    e.env.now_ms -= 1;
    assert_int_equal(inl_ws_feed(e.ws, frame, n), INLETS_ELIMIT);
    assert_int_equal(close_code_in(&e.out, INL_WS_CLIENT), 1008);
    end_fini(&e);
}

static void floods_of_nothing_are_refused(void **state)
{
    flood(BYTES("\x89\x00"), 6); /* pings */
    flood(BYTES("\x89\x02hi"), 8);
    flood(BYTES("\x8a\x00"), 0); /* pongs nobody asked for */
}

/* A message that never gets anywhere. */
static void floods_of_empty_fragments_are_refused(void **state)
{
    struct end e;
    int err = 0;
    unsigned count = 1;

    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x02\x00")), 0);
    while (err == 0) {
        err = inl_ws_feed(e.ws, BYTES("\x00\x00"));
        count++;
    }
    assert_int_equal(err, INLETS_ELIMIT);
    assert_int_equal(count, INL_WS_MAX_IDLE_FRAMES + 1);
    assert_int_equal(close_code_in(&e.out, INL_WS_CLIENT), 1008);
    end_fini(&e);
}

/* One feed with ten thousand pings stops at the limit too. */
static void a_flood_in_one_feed_is_cut_short(void **state)
{
    const size_t n = 20000;
    uint8_t *pings = malloc(n);
    struct end e;

    assert_non_null(pings);
    for (size_t i = 0; i < n; i += 2) {
        memcpy(pings + i, "\x89\0", 2);
    }
    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_feed(e.ws, pings, n), INLETS_ELIMIT);
    assert_int_equal(close_code_in(&e.out, INL_WS_CLIENT), 1008);
    free(pings);
    end_fini(&e);
}

/* --- closing ----------------------------------------------------------------
 */

static void a_close_is_answered(void **state)
{
    for (size_t step = 1; step < 12; step++) {
        struct end server, client;

        end_init(&server, INL_WS_SERVER);
        end_init(&client, INL_WS_CLIENT);
        assert_int_equal(inl_ws_put_close(client.ws, 4001, INL_LIT("bye")), 0);
        assert_int_equal(carry(&client, &server, step), INLETS_ECLOSED);
        assert_int_equal(inl_ws_close_code(server.ws), 4001);
        assert_int_equal(inl_ws_close_code(client.ws), 0);
        assert_int_equal(carry(&server, &client, step), INLETS_ECLOSED);
        assert_int_equal(inl_ws_close_code(client.ws), 4001);
        assert_int_equal(client.out.bytes, 0); /* not answered again */
        end_fini(&server);
        end_fini(&client);
    }
}

static void nothing_follows_a_close(void **state)
{
    struct inl_queue payload = {0};
    struct end e;

    end_init(&e, INL_WS_SERVER);
    fill(&payload, 10);
    assert_int_equal(inl_ws_put_close(e.ws, 1001, INL_LIT("going")), 0);
    assert_drains(&e.out, BYTES("\x88\x07\x03\xe9going"));
    assert_int_equal(inl_ws_put_message(e.ws, 0, &payload, 0, 5),
                     INLETS_ECLOSED);
    assert_int_equal(inl_ws_put_ping(e.ws, INL_LIT("x")), INLETS_ECLOSED);
    assert_int_equal(inl_ws_put_close(e.ws, 1000, INL_LIT("")), INLETS_ECLOSED);
    /* the peer may still speak, and ask; we stay silent */
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\x81" MASK "x")), 0);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x89\x80" MASK)), 0);
    assert_int_equal(e.messages, 1);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x88\x80" MASK)), INLETS_ECLOSED);
    assert_int_equal(inl_ws_close_code(e.ws), 1005);
    assert_int_equal(e.out.bytes, 0);
    inl_queue_fini(&payload);
    end_fini(&e);
}

static void an_offence_after_our_close_gets_no_second_one(void **state)
{
    struct end e;

    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_put_close(e.ws, 1000, INL_LIT("")), 0);
    inl_queue_clear(&e.out);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\x7e\0\1")), INLETS_EPROTO);
    assert_int_equal(e.out.bytes, 0);
    end_fini(&e);
}

/* A reason beyond ASCII, cut anywhere: see websocket.c about wslay. */
static void a_close_is_a_close_however_it_is_cut(void **state)
{
    static const char frame[] = "\x88\x0e\x03\xe8gr\xc3\xbc\xc3\x9f\xe2\x82\xac"
                                "dich";

    for (size_t step = 1; step < sizeof(frame); step++) {
        struct end e;
        int err = 0;

        end_init(&e, INL_WS_CLIENT);
        for (size_t at = 0; at < sizeof(frame) - 1 && err == 0; at += step) {
            const size_t left = sizeof(frame) - 1 - at;

            err = inl_ws_feed(e.ws, (const uint8_t *)frame + at,
                              left < step ? left : step);
        }
        assert_int_equal(err, INLETS_ECLOSED);
        assert_int_equal(inl_ws_close_code(e.ws), 1000);
        assert_true(e.out.bytes > 0);
        end_fini(&e);
    }
}

static void a_close_without_a_code(void **state)
{
    struct end e;

    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x88\0rest")), INLETS_ECLOSED);
    assert_int_equal(inl_ws_close_code(e.ws), 1005);
    assert_int_equal(e.out.bytes, 6);
    end_fini(&e);
    end_init(&e, INL_WS_CLIENT);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x88\1x")), INLETS_ECLOSED);
    assert_int_equal(inl_ws_close_code(e.ws), 1005);
    end_fini(&e);
}

/* Codes that must not be sent (section 7.4.1): closed, and told so. */
static void a_close_with_a_wrong_code(void **state)
{
    static const uint8_t codes[][2] = {
        {0x03, 0xed}, {0x03, 0xe7}, {0, 0}, {0xff, 0xff}};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct end e;

        end_init(&e, INL_WS_CLIENT);
        assert_int_equal(inl_ws_feed(e.ws, BYTES("\x88\2")), 0);
        assert_int_equal(inl_ws_feed(e.ws, codes[i], 1), 0);
        assert_int_equal(inl_ws_feed(e.ws, codes[i] + 1, 1), INLETS_ECLOSED);
        assert_int_equal(inl_ws_close_code(e.ws),
                         codes[i][0] << 8 | codes[i][1]);
        assert_int_equal(close_code_in(&e.out, INL_WS_CLIENT), 1002);
        end_fini(&e);
    }
}

/* --- callbacks and memory ------------------------------------------------- */

static void an_error_of_the_callback_stops(void **state)
{
    struct end e;

    end_init(&e, INL_WS_CLIENT);
    e.refusal = INLETS_EFORBIDDEN;
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\1x\x82\1y\x89\0")),
                     INLETS_EFORBIDDEN);
    assert_int_equal(e.pieces, 1);
    assert_int_equal(e.out.bytes, 0);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\1z")), INLETS_EFORBIDDEN);
    assert_int_equal(e.pieces, 1);
    assert_int_equal(inl_ws_put_close(e.ws, 1002, INL_LIT("")), 0);
    assert_int_equal(close_code_in(&e.out, INL_WS_CLIENT), 1002);
    end_fini(&e);
}

static void a_callback_may_close(void **state)
{
    struct end e;

    end_init(&e, INL_WS_SERVER);
    e.close_with = 1008;
    e.refusal = INLETS_ELIMIT;
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\x81" MASK "x")),
                     INLETS_ELIMIT);
    assert_drains(&e.out, BYTES("\x88\x09\x03\xf0"
                                "because"));
    end_fini(&e);
}

static void new_may_run_out_of_memory(void **state)
{
    struct inl_queue out = {0};
    struct inl_env env;

    inl_env_init(&env, &env_ops);
    alloc_fail_nth = 1;
    assert_null(inl_ws_new(&env, INL_WS_SERVER, &out, &ws_ops, NULL));
    inl_ws_free(NULL);
    inl_env_fini(&env);
}

/* Whatever allocation of a message fails: ENOMEM, and then nothing goes out
 * behind the half frame. */
static void messages_may_run_out_of_memory(void **state)
{
    for (int role = 0; role < 2; role++) {
        for (size_t nth = 1;; nth++) {
            struct inl_queue payload = {0};
            struct end e;
            size_t before;
            int err;

            end_init(&e, role == 0 ? INL_WS_SERVER : INL_WS_CLIENT);
            fill(&payload, 100000);
            alloc_fail_nth = nth;
            err = inl_ws_put_message(e.ws, 0, &payload, 0, 100000);
            before = e.out.bytes;
            if (err != 0) {
                assert_int_equal(err, INLETS_ENOMEM);
                assert_int_equal(inl_ws_put_ping(e.ws, INL_LIT("")),
                                 INLETS_ENOMEM);
                assert_int_equal(inl_ws_put_close(e.ws, 1000, INL_LIT("")),
                                 INLETS_ENOMEM);
                assert_int_equal(inl_ws_feed(e.ws, BYTES("\x82\1x")),
                                 INLETS_ENOMEM);
                assert_int_equal(e.out.bytes, before);
            }
            inl_queue_fini(&payload);
            end_fini(&e);
            if (alloc_fail_nth > 0) {
                alloc_fail_nth = 0;
                assert_int_equal(err, 0);
                assert_true(nth > 1);
                break;
            }
        }
    }
}

static void a_pong_may_run_out_of_memory(void **state)
{
    struct end e;

    end_init(&e, INL_WS_CLIENT);
    alloc_fail_nth = 1;
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x89\0")), INLETS_ENOMEM);
    assert_int_equal(inl_ws_feed(e.ws, BYTES("\x89\0")), INLETS_ENOMEM);
    end_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_accept_of_the_rfc, teardown),
        cmocka_unit_test_teardown(requests_are_checked, teardown),
        cmocka_unit_test_teardown(only_a_get_without_a_body_is_an_upgrade,
                                  teardown),
        cmocka_unit_test_teardown(responses_are_checked, teardown),
        cmocka_unit_test_teardown(keys_are_fresh_and_good, teardown),
        cmocka_unit_test_teardown(all_lengths_whole, teardown),
        cmocka_unit_test_teardown(all_lengths_byte_by_byte, teardown),
        cmocka_unit_test_teardown(all_lengths_at_odd_splits, teardown),
        cmocka_unit_test_teardown(server_headers_are_minimal, teardown),
        cmocka_unit_test_teardown(servers_share_and_clients_mask, teardown),
        cmocka_unit_test_teardown(the_frames_of_the_rfc, teardown),
        cmocka_unit_test_teardown(fragments_with_pings_between, teardown),
        cmocka_unit_test_teardown(every_length_at_every_cut, teardown),
        cmocka_unit_test_teardown(masked_fragments_at_every_cut, teardown),
        cmocka_unit_test_teardown(clients_get_slices_of_the_input, teardown),
        cmocka_unit_test_teardown(servers_get_long_pieces, teardown),
        cmocka_unit_test_teardown(a_refusal_stops_between_long_pieces,
                                  teardown),
        cmocka_unit_test_teardown(masking_goes_on_across_chunks, teardown),
        cmocka_unit_test_teardown(pings_are_answered_at_once, teardown),
        cmocka_unit_test_teardown(control_frames_have_a_limit, teardown),
        cmocka_unit_test_teardown(offences_end_with_a_close_frame, teardown),
        cmocka_unit_test_teardown(a_mebibyte_is_taken, teardown),
        cmocka_unit_test_teardown(floods_of_nothing_are_refused, teardown),
        cmocka_unit_test_teardown(floods_of_empty_fragments_are_refused,
                                  teardown),
        cmocka_unit_test_teardown(a_flood_in_one_feed_is_cut_short, teardown),
        cmocka_unit_test_teardown(a_close_is_answered, teardown),
        cmocka_unit_test_teardown(nothing_follows_a_close, teardown),
        cmocka_unit_test_teardown(an_offence_after_our_close_gets_no_second_one,
                                  teardown),
        cmocka_unit_test_teardown(a_close_is_a_close_however_it_is_cut,
                                  teardown),
        cmocka_unit_test_teardown(a_close_without_a_code, teardown),
        cmocka_unit_test_teardown(a_close_with_a_wrong_code, teardown),
        cmocka_unit_test_teardown(an_error_of_the_callback_stops, teardown),
        cmocka_unit_test_teardown(a_callback_may_close, teardown),
        cmocka_unit_test_teardown(new_may_run_out_of_memory, teardown),
        cmocka_unit_test_teardown(messages_may_run_out_of_memory, teardown),
        cmocka_unit_test_teardown(a_pong_may_run_out_of_memory, teardown),
    };

    alloc_install();
    if (inl_crypto_init() != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
