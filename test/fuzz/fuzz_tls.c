/* fuzz_tls.c: TLS from strangers. The first byte says what is played:
 *
 *   0, 1   the rest but one byte is what a server, a client hears; that byte
 *          says how it is cut into pieces
 *   2..    two ends (see `enum who`), and mutations of what is between them:
 *          4 bytes each, see `enum what`
 *
 * Randomness and time are made up, a stream of numbers for each end, so that
 * what a peer once said is a whole handshake when it is said again.
 *
 * Must hold: pieces do not matter; no plain bytes before the handshake is
 * done; whoever mutates, plain bytes are what the other end wrote, in order,
 * and an end is one that it said; what fails says why, and both ends of a
 * finished handshake agree on what was agreed on. */
#include "base/queue.h"
#include "base/slice.h"
#include "proto/tls.h"
#include "proto/tls_make.h"
#include "proto/tls_mbed.h"
#include <inlets/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Twice what a handshake with our certificate takes. */
#define OUT_MAX 8192u
#define SAID 3000u
#define NOW 1767225600 /* 2026 */

enum who {
    TO_SERVER,
    TO_CLIENT,
    BOTH_OURS,
    BOTH_OURS_AGAIN, /* a connection before, so that this one is resumed */
    OLD_CLIENT,      /* bare Mbed TLS, of TLS 1.2 */
    OLD_SERVER,
    OLD_CLIENT_AGAIN,
    OLD_SERVER_AGAIN,
    WHOS
};

/* (what << 1 | from the server), the byte's number (2), a value. */
enum what { XOR, DROP, INSERT, CUT, WHATS };

/* Breaks a run in a way that every build sees. */
static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

/* ---- what is random ---------------------------------------------------- */

static uint64_t stream; /* of the end that is at work */

/* Where Mbed TLS is linked to it, of all that is random there (splitmix64). */
int __wrap_mbedtls_ctr_drbg_random(void *ctx, unsigned char *p, size_t n);
mbedtls_ms_time_t __wrap_mbedtls_ms_time(void);
time_t __wrap_time(time_t *ret_now);

int __wrap_mbedtls_ctr_drbg_random(void *ctx, unsigned char *p, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        uint64_t z = stream += 0x9e3779b97f4a7c15u;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        p[i] = (unsigned char)(z >> 56);
    }
    return 0;
}

mbedtls_ms_time_t __wrap_mbedtls_ms_time(void)
{
    return (mbedtls_ms_time_t)NOW * 1000;
}

time_t __wrap_time(time_t *ret_now)
{
    if (ret_now != NULL) {
        *ret_now = NOW;
    }
    return NOW;
}

/* ---- ends -------------------------------------------------------------- */

struct end {
    struct inl_tls *tls; /* NULL: a bare one */
    mbedtls_ssl_context ssl;
    const uint8_t *in;
    size_t in_len;
    struct inl_queue out;
    uint64_t stream, hash; /* hash: of what it sent */
    size_t got, sent;
    int err;
    bool is_server, said, done, ended;
};

struct scene {
    struct inl_cert *cert;
    struct inl_tls_config *server, *client;
    mbedtls_ssl_config old;
    bool has_old;
    struct end c, s;
};

static uint8_t said_at(bool by_server, size_t i)
{
    return (uint8_t)(i * 7 + i / 256 + (by_server ? 101 : 0));
}

static void mix(struct end *e, const void *ptr, size_t n)
{
    const uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        e->hash = (e->hash ^ p[i]) * 1099511628211u;
    }
}

static int bare_send(void *ctx, const unsigned char *p, size_t n)
{
    struct end *e = ctx;

    must(inl_queue_append(&e->out, p, n) == 0);
    return (int)n;
}

static int bare_recv(void *ctx, unsigned char *p, size_t n)
{
    struct end *e = ctx;
    size_t take = n < e->in_len ? n : e->in_len;

    if (take == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    memcpy(p, e->in, take);
    e->in += take;
    e->in_len -= take;
    return (int)take;
}

/* As of inl_tls_handshake, inl_tls_read. */
static int bare_step(struct end *e, uint8_t *plain, size_t max, size_t *ret_n)
{
    int rc = e->done ? mbedtls_ssl_read(&e->ssl, plain, max)
                     : mbedtls_ssl_handshake(&e->ssl);

    if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return 0;
    }
    if (!e->done) {
        return rc == 0 ? 1 : INLETS_ETLS;
    }
    *ret_n = rc > 0 ? (size_t)rc : 0;
    return rc > 0                                               ? 0
           : rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? INLETS_EGOAWAY
                                                                : INLETS_ETLS;
}

static int own_step(struct end *e, uint8_t *plain, size_t max, size_t *ret_n)
{
    int rc;

    if (e->done) {
        return inl_tls_read(e->tls, plain, max, ret_n);
    }
    must(!inl_tls_has_plain(e->tls));
    rc = inl_tls_handshake(e->tls);
    must(rc >= 0 ? rc <= 1 : inl_tls_why(e->tls)[0] != '\0');
    must(rc >= 0 || rc == INLETS_ETLS || rc == INLETS_ECERT);
    return rc;
}

/* What it says behind the handshake. */
static void say(struct end *e)
{
    uint8_t text[SAID];

    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = said_at(e->is_server, i);
    }
    e->said = true;
    if (e->tls != NULL) {
        must(inl_tls_write(e->tls, text, sizeof(text)) == 0);
        must(inl_tls_end(e->tls) == 0);
    } else {
        must(mbedtls_ssl_write(&e->ssl, text, sizeof(text)) == (int)SAID);
        must(mbedtls_ssl_close_notify(&e->ssl) == 0);
    }
}

static void take_plain(struct end *e, const uint8_t *plain, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        must(plain[i] == said_at(!e->is_server, e->got + i));
    }
    e->got += n;
    must(e->got <= SAID);
}

/* Returns whether there may be more of what was given. */
static bool step(struct end *e)
{
    uint8_t plain[777];
    size_t n = 0, before = e->tls != NULL ? inl_tls_rest(e->tls) : e->in_len;
    int rc = e->tls != NULL ? own_step(e, plain, sizeof(plain), &n)
                            : bare_step(e, plain, sizeof(plain), &n);
    size_t rest = e->tls != NULL ? inl_tls_rest(e->tls) : e->in_len;

    must(rest <= before);
    if (rc == 1) {
        e->done = true;
        say(e);
        return true;
    }
    if (rc == INLETS_EGOAWAY) {
        must(e->got == SAID);
        e->ended = true;
    } else if (rc < 0) {
        e->err = rc;
    }
    take_plain(e, plain, n);
    return rc == 0 && (n > 0 || rest < before);
}

static void hear(struct end *e, const uint8_t *p, size_t n)
{
    e->in = p;
    e->in_len = n;
    stream = e->stream;
    if (e->tls != NULL) {
        inl_tls_give(e->tls, p, n);
    }
    while (e->err == 0 && !e->ended && step(e)) {
    }
    if (e->tls != NULL) {
        inl_tls_give(e->tls, NULL, 0);
    }
    e->stream = stream;
}

/* ---- the scene --------------------------------------------------------- */

static struct inl_cert *pick(void *user, struct inlets_slice sni)
{
    struct scene *t = user;

    return sni.len == 0 || inl_slice_eq(sni, INL_LIT("a.test")) ? t->cert
                                                                : NULL;
}

static void open_old(struct scene *t, bool is_server)
{
    t->has_old = true;
    mbedtls_ssl_config_init(&t->old);
    must(mbedtls_ssl_config_defaults(
             &t->old, is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
             MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) == 0);
#if MBEDTLS_VERSION_MAJOR < 4
    mbedtls_ssl_conf_rng(&t->old, mbedtls_psa_get_random,
                         MBEDTLS_PSA_RANDOM_STATE);
#endif
    mbedtls_ssl_conf_authmode(&t->old, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_max_tls_version(&t->old, MBEDTLS_SSL_VERSION_TLS1_2);
    must(!is_server || mbedtls_ssl_conf_own_cert(&t->old, &t->cert->chain,
                                                 &t->cert->key) == 0);
}

static void open_scene(struct scene *t)
{
    static char authority[INL_MADE_PEM], cert[INL_MADE_PEM], key[INL_MADE_PEM];
    const struct inl_tls_server server = {.pick = pick, .user = t};
    struct inl_tls_client client = {.trust = NULL};
    const char *why;
    unsigned skipped;

    stream = 1;
    if (authority[0] == '\0') {
        must(inl_tls_make(INL_LIT("a.test"), authority, cert, key) == 0);
    }
    stream = 2;
    must(inl_cert_new(&t->cert, inl_str(cert), inl_str(key), &why) == 0);
    must(inl_trust_new(&client.trust, inl_str(authority), &skipped) == 0);
    must(inl_tls_config_server(&t->server, &server) == 0);
    must(inl_tls_config_client(&t->client, &client) == 0);
    inl_trust_unref(client.trust);
}

static void close_scene(struct scene *t)
{
    if (t->has_old) {
        mbedtls_ssl_config_free(&t->old);
    }
    inl_tls_config_unref(t->server);
    inl_tls_config_unref(t->client);
    inl_cert_unref(t->cert);
    inl_queue_trim();
}

static void open_end(struct scene *t, struct end *e, bool is_server,
                     bool is_old, unsigned round)
{
    *e = (struct end){.is_server = is_server,
                      .hash = 14695981039346656037u,
                      .stream = (is_server ? 1000u : 2000u) + round};
    stream = e->stream;
    if (is_old) {
        mbedtls_ssl_init(&e->ssl);
        must(mbedtls_ssl_setup(&e->ssl, &t->old) == 0);
        mbedtls_ssl_set_bio(&e->ssl, e, bare_send, bare_recv, NULL);
        must(mbedtls_ssl_set_hostname(&e->ssl, is_server ? NULL : "a.test") ==
             0);
    } else {
        must(inl_tls_new(&e->tls, is_server ? t->server : t->client,
                         is_server ? NULL : "a.test", &e->out) == 0);
    }
    e->stream = stream;
}

static void close_end(struct end *e)
{
    if (e->tls == NULL) {
        mbedtls_ssl_free(&e->ssl);
    }
    inl_tls_free(e->tls);
    inl_queue_fini(&e->out);
}

/* ---- strangers --------------------------------------------------------- */

static void drain(struct end *e)
{
    while (e->out.bytes > 0) {
        const struct inlets_slice s = inl_queue_front(&e->out);

        mix(e, s.ptr, s.len);
        e->sent += s.len;
        inl_queue_consume(&e->out, s.len);
    }
    must(e->sent <= OUT_MAX + SAID);
}

/* From copies of the exact size, so that ASan sees one byte too far. */
static void hear_copy(struct end *e, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);

    must(copy != NULL);
    memcpy(copy, p, n);
    hear(e, copy, n);
    drain(e);
    free(copy);
}

static void stranger(struct end *ret, bool to_server, unsigned cut,
                     const uint8_t *p, size_t n)
{
    struct scene t = {0};

    open_scene(&t);
    open_end(&t, ret, to_server, false, 0);
    hear(ret, NULL, 0);
    drain(ret);
    for (size_t at = 0, len; at < n; at += len) {
        len = cut == 0 ? n : 1 + (at * 7 + cut) % cut;
        len = len < n - at ? len : n - at;
        hear_copy(ret, p + at, len);
    }
    close_end(ret);
    close_scene(&t);
}

static void strangers(bool to_server, const uint8_t *data, size_t size)
{
    struct end whole, cut;

    stranger(&whole, to_server, 0, data + 1, size - 1);
    stranger(&cut, to_server, data[0] % 64u + 1, data + 1, size - 1);
    must(whole.done == cut.done && whole.ended == cut.ended);
    must(whole.err == cut.err && whole.got == cut.got);
#ifdef FUZZ_WRAPS_RANDOM
    must(whole.sent == cut.sent && whole.hash == cut.hash);
#endif
}

/* ---- two ends ---------------------------------------------------------- */

struct mutations {
    const uint8_t *at;
    size_t n;
    size_t passed[2]; /* bytes of the client, the server */
    bool cut[2];
};

/* The byte as it arrives, at `to`; returns how many it became. */
static size_t mutate(struct mutations *m, bool by_server, uint8_t byte,
                     uint8_t to[2])
{
    size_t number = m->passed[by_server]++, n = 1;

    to[0] = byte;
    for (size_t i = 0; i + 4 <= m->n; i += 4) {
        const uint8_t *p = m->at + i;

        if ((p[0] & 1) != by_server || (size_t)(p[1] << 8 | p[2]) != number) {
            continue;
        }
        switch ((enum what)(p[0] / 2 % WHATS)) {
        case XOR:
            to[0] = (uint8_t)(to[0] ^ p[3]);
            break;
        case DROP:
            n = 0;
            break;
        case INSERT:
            to[n == 0 ? 0 : 1] = p[3];
            n += n < 2;
            break;
        case CUT:
            m->cut[by_server] = true;
            break;
        case WHATS:
            break;
        }
    }
    return m->cut[by_server] ? 0 : n;
}

static bool carry(struct mutations *m, struct end *from, struct end *to)
{
    size_t max = 2 * from->out.bytes, n = 0;
    uint8_t *all = malloc(max + 2);

    must(all != NULL);
    while (from->out.bytes > 0) {
        const struct inlets_slice s = inl_queue_front(&from->out);

        for (size_t i = 0; i < s.len; i++) {
            n += mutate(m, from->is_server, (uint8_t)s.ptr[i], all + n);
        }
        from->sent += s.len;
        inl_queue_consume(&from->out, s.len);
    }
    must(from->sent <= OUT_MAX + SAID);
    hear(to, all, n);
    free(all);
    return max > 0;
}

static void must_agree(const struct scene *t)
{
    if (t->c.tls != NULL && t->s.tls != NULL && t->c.done && t->s.done) {
        must(strcmp(inl_tls_suite(t->c.tls), inl_tls_suite(t->s.tls)) == 0);
        must(strcmp(inl_tls_version(t->c.tls), "TLSv1.3") == 0);
        must(inl_slice_eq(inl_tls_sni(t->s.tls), INL_LIT("a.test")));
    }
    must(!t->c.ended || t->s.said);
    must(!t->s.ended || t->c.said);
}

/* A bare client comes back with what it got before. */
static void come_back(struct end *c, const mbedtls_ssl_session *saved)
{
    if (c->tls == NULL && saved != NULL) {
        (void)mbedtls_ssl_set_session(&c->ssl, saved);
    }
}

static void meet(struct scene *t, enum who who, unsigned round,
                 struct mutations *m, mbedtls_ssl_session *saved)
{
    bool moved;

    open_end(t, &t->c, false, who == OLD_CLIENT, round);
    open_end(t, &t->s, true, who == OLD_SERVER, round);
    come_back(&t->c, round > 0 ? saved : NULL);
    hear(&t->c, NULL, 0);
    do {
        moved = carry(m, &t->c, &t->s);
        moved = carry(m, &t->s, &t->c) || moved;
    } while (moved);
    must(m->n >= 4 || (t->c.ended && t->s.ended));
    must_agree(t);
    if (t->c.tls == NULL && t->c.done && round == 0) {
        (void)mbedtls_ssl_get_session(&t->c.ssl, saved);
    }
    close_end(&t->c);
    close_end(&t->s);
}

static void two(enum who who, const uint8_t *data, size_t size)
{
    struct scene t = {0};
    struct mutations none = {0}, m = {.at = data, .n = size};
    bool again = who == BOTH_OURS_AGAIN || who == OLD_CLIENT_AGAIN ||
                 who == OLD_SERVER_AGAIN;
    mbedtls_ssl_session saved;

    who = who == OLD_CLIENT_AGAIN   ? OLD_CLIENT
          : who == OLD_SERVER_AGAIN ? OLD_SERVER
                                    : who;
    open_scene(&t);
    mbedtls_ssl_session_init(&saved);
    if (who == OLD_CLIENT || who == OLD_SERVER) {
        open_old(&t, who == OLD_SERVER);
    }
    if (again) {
        meet(&t, who, 0, &none, &saved);
    }
    meet(&t, who, again, &m, &saved);
    mbedtls_ssl_session_free(&saved);
    close_scene(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum who who;

    if (size < 2) {
        return 0;
    }
    must(inl_crypto_init() == 0);
    who = (enum who)(data[0] % WHOS);
    if (who <= TO_CLIENT) {
        strangers(who == TO_SERVER, data + 1, size - 1);
    } else {
        two(who, data + 1, size - 1);
    }
    return 0;
}
