/* test_tls.c: TLS over memory: two ends of ours, or one of ours and a bare
 * Mbed TLS that does what ours never would; each certificate that is wrong in
 * one way; every record damaged, every allocation failing. */
#include "unit/alloc.h"

#include "base/slice.h"
#include "proto/tls.h"
#include "proto/tls_mbed.h"
#include "unit/certs.h"
#include <inlets/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ALERT_NO_PROTOCOL 120
#define ALERT_VERSION 70
#define ALERT_NAME 112

/* --- certificates, made once -------------------------------------------- */

static struct made_cert authority, stranger, middle, by_middle;
static struct made_cert good, expired, early, untrusted, alone, wild, broad;
static struct made_cert by_common_name, by_ip, by_ip6;

static void sign(struct made_cert *made, const struct cert_wish *wish)
{
    struct cert_wish w = *wish;

    if (w.issuer == NULL) {
        w.issuer = &authority;
        w.issuer_name = "CN=authority";
    }
    make_cert(made, &w);
}

static void make_certs(void)
{
    make_cert(&authority,
              &(struct cert_wish){.subject = "CN=authority", .is_ca = true});
    make_cert(&stranger,
              &(struct cert_wish){.subject = "CN=stranger", .is_ca = true});
    make_cert(&alone,
              &(struct cert_wish){.subject = "CN=alone", .names = "a.test"});
    sign(&middle, &(struct cert_wish){.subject = "CN=middle", .is_ca = true});
    sign(&by_middle, &(struct cert_wish){.subject = "CN=x",
                                         .names = "a.test",
                                         .issuer = &middle,
                                         .issuer_name = "CN=middle"});
    sign(&untrusted, &(struct cert_wish){.subject = "CN=x",
                                         .names = "a.test",
                                         .issuer = &stranger,
                                         .issuer_name = "CN=stranger"});
    sign(&good, &(struct cert_wish){.subject = "CN=cn.test",
                                    .names = "a.test b.test"});
    sign(&expired, &(struct cert_wish){.subject = "CN=x",
                                       .names = "a.test",
                                       .until = "20210101000000"});
    sign(&early, &(struct cert_wish){.subject = "CN=x",
                                     .names = "a.test",
                                     .from = "20490101000000"});
    sign(&wild, &(struct cert_wish){.subject = "CN=x", .names = "*.a.test"});
    sign(&broad, &(struct cert_wish){.subject = "CN=x", .names = "*.test"});
    sign(&by_common_name, &(struct cert_wish){.subject = "CN=a.test"});
    sign(&by_ip, &(struct cert_wish){.subject = "CN=x", .ip = "192.0.2.7"});
    sign(&by_ip6, &(struct cert_wish){.subject = "CN=x", .ip = "2001:db8::7"});
}

static struct inl_cert *load(const struct made_cert *made)
{
    struct inl_cert *cert = NULL;
    const char *why = NULL;

    assert_int_equal(
        inl_cert_new(&cert, inl_str(made->cert), inl_str(made->key), &why), 0);
    return cert;
}

static struct inl_trust *trust_in(const struct made_cert *made)
{
    struct inl_trust *trust = NULL;
    unsigned skipped;

    assert_int_equal(inl_trust_new(&trust, inl_str(made->cert), &skipped), 0);
    assert_int_equal(skipped, 0);
    return trust;
}

/* --- ends ---------------------------------------------------------------- */

/* One end: ours, or a bare one (tls NULL). */
struct end {
    struct inl_tls *tls;
    mbedtls_ssl_context ssl;
    const uint8_t *in;
    size_t in_len;
    struct inl_queue out, got;
    bool done, ended;
    int err;
    size_t sent; /* bytes, in all */
    uint8_t first[512];
};

/* What a bare end is like. */
struct bare {
    const char *name; /* SNI; NULL: none */
    mbedtls_ssl_protocol_version version;
    const char **protocols;
    const uint16_t *groups;
};

/* A server with a certificate, and who asked it for which. */
struct shop {
    struct inl_tls_config *config;
    struct inl_cert *cert; /* NULL: refuses everybody */
    unsigned picks;
    char asked[256];
};

struct scene {
    struct shop shop;
    struct inl_tls_config *config; /* the client's */
    struct end c, s;
    mbedtls_ssl_config conf; /* a bare end's */
    bool has_conf;
    size_t step; /* bytes at once; 0: all */
};

static struct inl_cert *pick(void *user, struct inlets_slice sni)
{
    struct shop *shop = user;

    shop->picks++;
    assert_true(sni.len < sizeof(shop->asked));
    memcpy(shop->asked, sni.len > 0 ? sni.ptr : "", sni.len);
    shop->asked[sni.len] = '\0';
    return shop->cert;
}

static void shop_open(struct shop *shop, const struct made_cert *made)
{
    const struct inl_tls_server server = {.pick = pick, .user = shop};

    *shop = (struct shop){.cert = made != NULL ? load(made) : NULL};
    assert_int_equal(inl_tls_config_server(&shop->config, &server), 0);
}

static void shop_close(struct shop *shop)
{
    inl_tls_config_unref(shop->config);
    inl_cert_unref(shop->cert);
}

static struct inl_tls_config *client_of(const struct inl_tls_client *client)
{
    struct inl_tls_config *config = NULL;

    assert_int_equal(inl_tls_config_client(&config, client), 0);
    return config;
}

static struct inl_tls_config *client_trusting(const struct made_cert *made)
{
    struct inl_trust *trust = trust_in(made);
    struct inl_tls_config *config =
        client_of(&(struct inl_tls_client){.trust = trust});

    inl_trust_unref(trust);
    return config;
}

static int bare_send(void *ctx, const unsigned char *p, size_t n)
{
    struct end *e = ctx;

    assert_int_equal(inl_queue_append(&e->out, p, n), 0);
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

static void bare_conf(struct scene *t, const struct bare *bare, int role)
{
    t->has_conf = true;
    mbedtls_ssl_config_init(&t->conf);
    assert_int_equal(mbedtls_ssl_config_defaults(&t->conf, role,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
#if MBEDTLS_VERSION_MAJOR < 4
    mbedtls_ssl_conf_rng(&t->conf, mbedtls_psa_get_random,
                         MBEDTLS_PSA_RANDOM_STATE);
#endif
    mbedtls_ssl_conf_authmode(&t->conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_max_tls_version(&t->conf, bare->version);
    if (bare->protocols != NULL) {
        assert_int_equal(
            mbedtls_ssl_conf_alpn_protocols(&t->conf, bare->protocols), 0);
    }
    if (bare->groups != NULL) {
        mbedtls_ssl_conf_groups(&t->conf, bare->groups);
    }
}

static void bare_start(struct scene *t, struct end *e, const char *name)
{
    mbedtls_ssl_init(&e->ssl);
    assert_int_equal(mbedtls_ssl_setup(&e->ssl, &t->conf), 0);
    mbedtls_ssl_set_bio(&e->ssl, e, bare_send, bare_recv, NULL);
    assert_int_equal(mbedtls_ssl_set_hostname(&e->ssl, name), 0);
}

static int own_step(struct end *e)
{
    uint8_t plain[4096];
    size_t n = 0;
    int rc = e->done ? inl_tls_read(e->tls, plain, sizeof(plain), &n)
                     : inl_tls_handshake(e->tls);

    if (!e->done) {
        e->done = rc == 1;
        return rc == 1 ? 1 : rc;
    }
    if (rc == 0 && n > 0) {
        assert_int_equal(inl_queue_append(&e->got, plain, n), 0);
        return 1;
    }
    return rc;
}

static int bare_step(struct end *e)
{
    uint8_t plain[4096];
    int rc = e->done ? mbedtls_ssl_read(&e->ssl, plain, sizeof(plain))
                     : mbedtls_ssl_handshake(&e->ssl);

    if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return 0;
    }
    if (!e->done) {
        e->done = rc == 0;
        return rc == 0 ? 1 : rc;
    }
    if (rc > 0) {
        assert_int_equal(inl_queue_append(&e->got, plain, (size_t)rc), 0);
        return 1;
    }
    return rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? INLETS_EGOAWAY
                                                              : rc;
}

/* All that comes of these bytes. */
static void feed(struct end *e, const void *p, size_t n)
{
    int rc;

    e->in = p;
    e->in_len = n;
    if (e->tls != NULL) {
        inl_tls_give(e->tls, p, n);
    }
    do {
        rc = e->err != 0 || e->ended ? 0
             : e->tls != NULL        ? own_step(e)
                                     : bare_step(e);
    } while (rc == 1 ||
             (rc == 0 && e->err == 0 && !e->ended &&
              (e->tls != NULL ? inl_tls_rest(e->tls) : e->in_len) > 0));
    if (rc == INLETS_EGOAWAY) {
        e->ended = true;
    } else if (rc < 0) {
        e->err = rc;
    }
    if (e->tls != NULL) {
        inl_tls_give(e->tls, NULL, 0);
    }
}

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

static bool carry(struct end *from, struct end *to, size_t step)
{
    size_t n;
    uint8_t *all = drain(&from->out, &n);

    for (size_t i = 0; i < n && from->sent + i < sizeof(from->first); i++) {
        from->first[from->sent + i] = all[i];
    }
    from->sent += n;
    step = step == 0 ? n : step;
    for (size_t at = 0; at < n; at += step) {
        /* A block of its own, so that one byte too many is seen. */
        size_t len = n - at < step ? n - at : step;
        uint8_t *piece = malloc(len);

        assert_non_null(piece);
        memcpy(piece, all + at, len);
        feed(to, piece, len);
        free(piece);
    }
    free(all);
    return n > 0;
}

static void shake(struct scene *t)
{
    bool moved;

    feed(&t->c, NULL, 0);
    do {
        moved = carry(&t->c, &t->s, t->step);
        moved = carry(&t->s, &t->c, t->step) || moved;
    } while (moved);
}

static void own_server(struct scene *t)
{
    assert_int_equal(inl_tls_new(&t->s.tls, t->shop.config, NULL, &t->s.out),
                     0);
}

static void own_client(struct scene *t, const char *name)
{
    assert_int_equal(inl_tls_new(&t->c.tls, t->config, name, &t->c.out), 0);
}

static void end_fini(struct end *e)
{
    if (e->tls == NULL) {
        mbedtls_ssl_free(&e->ssl);
    }
    inl_tls_free(e->tls);
    inl_queue_fini(&e->out);
    inl_queue_fini(&e->got);
    *e = (struct end){0};
}

static void hang_up(struct scene *t)
{
    end_fini(&t->c);
    end_fini(&t->s);
}

static void scene_close(struct scene *t)
{
    hang_up(t);
    if (t->has_conf) {
        mbedtls_ssl_config_free(&t->conf);
    }
    inl_tls_config_unref(t->config);
    shop_close(&t->shop);
}

/* Two ends of ours that have shaken hands, well or not. */
static void meet(struct scene *t, const struct made_cert *shown,
                 const char *name)
{
    *t = (struct scene){0};
    shop_open(&t->shop, shown);
    t->config = client_trusting(&authority);
    own_server(t);
    own_client(t, name);
    shake(t);
}

/* A bare client and a server of ours. */
static void visit(struct scene *t, const struct bare *bare)
{
    *t = (struct scene){0};
    shop_open(&t->shop, &good);
    bare_conf(t, bare, MBEDTLS_SSL_IS_CLIENT);
    own_server(t);
    bare_start(t, &t->c, bare->name);
}

static void assert_shaken(struct scene *t)
{
    assert_int_equal(t->c.err, 0);
    assert_int_equal(t->s.err, 0);
    assert_true(t->c.done && t->s.done);
}

static void say(struct end *from, struct end *to, const char *text, size_t step)
{
    if (from->tls != NULL) {
        assert_int_equal(inl_tls_write(from->tls, text, strlen(text)), 0);
    } else {
        assert_int_equal(mbedtls_ssl_write(&from->ssl,
                                           (const unsigned char *)text,
                                           strlen(text)),
                         (int)strlen(text));
    }
    carry(from, to, step);
}

static void assert_got(struct end *e, const char *text)
{
    size_t n;
    uint8_t *all = drain(&e->got, &n);

    assert_string_equal((char *)all, text);
    free(all);
}

static void assert_works(struct scene *t)
{
    assert_shaken(t);
    say(&t->c, &t->s, "to the server", t->step);
    say(&t->s, &t->c, "to the client", t->step);
    assert_got(&t->s, "to the server");
    assert_got(&t->c, "to the client");
}

/* A fatal alert in the clear is all that the end said. */
static void assert_alert(const struct end *e, unsigned what)
{
    assert_int_equal(e->sent, 7);
    assert_int_equal(e->first[0], 21);
    assert_int_equal(e->first[5], 2);
    assert_int_equal(e->first[6], what);
}

static bool has_bytes(const struct end *e, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= sizeof(e->first); i++) {
        if (memcmp(e->first + i, text, n) == 0) {
            return true;
        }
    }
    return false;
}

static size_t live_before;

static int setup(void **state)
{
    (void)state;
    inl_queue_trim();
    live_before = alloc_live;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    alloc_fail_nth = 0;
    inl_queue_trim();
    return alloc_live == live_before ? 0 : -1;
}

/* --- handshakes ---------------------------------------------------------- */

static void both_ends_of_ours_speak_1_3(void **state)
{
    struct scene t;

    meet(&t, &good, "a.test");
    assert_works(&t);
    assert_string_equal(inl_tls_version(t.c.tls), "TLSv1.3");
    assert_string_equal(inl_tls_version(t.s.tls), "TLSv1.3");
    assert_string_equal(inl_tls_suite(t.s.tls),
                        "TLS1-3-CHACHA20-POLY1305-SHA256");
    assert_true(inl_slice_eq(inl_tls_sni(t.s.tls), INL_LIT("a.test")));
    assert_int_equal(inl_tls_sni(t.c.tls).len, 0);
    assert_true(inl_tls_covers(t.s.tls, INL_LIT("b.test")));
    assert_false(inl_tls_covers(t.s.tls, INL_LIT("c.test")));
    assert_string_equal(inl_tls_why(t.c.tls), "");
    scene_close(&t);
}

static void a_client_of_1_2_is_served(void **state)
{
    struct scene t;

    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_2, NULL, NULL});
    shake(&t);
    assert_works(&t);
    assert_string_equal(inl_tls_version(t.s.tls), "TLSv1.2");
    scene_close(&t);
}

static void a_server_of_1_2_will_do(void **state)
{
    struct scene t = {0};
    struct inl_cert *cert = load(&good);

    shop_open(&t.shop, NULL);
    t.config = client_trusting(&authority);
    bare_conf(&t, &(struct bare){.version = MBEDTLS_SSL_VERSION_TLS1_2},
              MBEDTLS_SSL_IS_SERVER);
    assert_int_equal(
        mbedtls_ssl_conf_own_cert(&t.conf, &cert->chain, &cert->key), 0);
    bare_start(&t, &t.s, NULL);
    own_client(&t, "a.test");
    shake(&t);
    assert_works(&t);
    assert_string_equal(inl_tls_version(t.c.tls), "TLSv1.2");
    scene_close(&t);
    inl_cert_unref(cert);
}

static void bytes_come_one_by_one(void **state)
{
    for (size_t step = 1; step < 8; step += 3) {
        struct scene t = {.step = step};

        shop_open(&t.shop, &good);
        t.config = client_trusting(&authority);
        own_server(&t);
        own_client(&t, "a.test");
        shake(&t);
        assert_works(&t);
        scene_close(&t);
    }
}

static void a_1_2_handshake_comes_byte_by_byte(void **state)
{
    struct scene t;

    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_2, NULL, NULL});
    t.step = 1;
    shake(&t);
    assert_works(&t);
    scene_close(&t);
}

/* A group for which the client did not guess a key share. */
static void a_second_hello_is_asked_for(void **state)
{
    static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1,
                                      MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                      MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
    struct scene t;

    visit(&t,
          &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_3, NULL, groups});
    shake(&t);
    assert_works(&t);
    assert_string_equal(inl_tls_version(t.s.tls), "TLSv1.3");
    assert_true(t.shop.picks >= 1);
    scene_close(&t);
}

/* --- whose certificate it is --------------------------------------------- */

struct verdict {
    const char *what;
    const struct made_cert *shown;
    const char *name;
    const char *why; /* a part of the sentence; NULL: it is right */
};

static const struct verdict verdicts[] = {
    {"first name", &good, "a.test", NULL},
    {"second name", &good, "b.test", NULL},
    {"upper case", &good, "A.TEST", NULL},
    {"wrong name", &good, "c.test", "is for a.test, not for c.test"},
    {"common name beside names", &good, "cn.test", "not for cn.test"},
    {"longer name", &good, "x.a.test", "not for x.a.test"},
    {"expired", &expired, "a.test", "expired"},
    {"not yet valid", &early, "a.test", "not valid yet"},
    {"untrusted", &untrusted, "a.test", "nobody that is trusted"},
    {"self-signed", &alone, "a.test", "nobody that is trusted"},
    {"without its chain", &by_middle, "a.test", "nobody that is trusted"},
    {"wildcard", &wild, "x.a.test", NULL},
    {"wildcard, two labels", &wild, "x.y.a.test", "not for x.y.a.test"},
    {"wildcard, bare", &wild, "a.test", "is for *.a.test, not for a.test"},
    {"broad wildcard, two labels", &broad, "a.b.test", "not for a.b.test"},
    {"common name alone", &by_common_name, "a.test", NULL},
    {"another common name", &by_common_name, "b.test", "not for b.test"},
    {"address", &by_ip, "192.0.2.7", NULL},
    {"wrong address", &by_ip, "192.0.2.8", "not for 192.0.2.8"},
    {"v6 address", &by_ip6, "2001:db8::7", NULL},
    {"wrong v6 address", &by_ip6, "2001:db8::8", "not for 2001:db8::8"},
    {"address, names only", &good, "192.0.2.7", "is for a.test"},
    {"name, address only", &by_ip, "a.test", "not for a.test"},
};

static void certificates_are_judged(void **state)
{
    for (size_t i = 0; i < COUNT(verdicts); i++) {
        const struct verdict *v = &verdicts[i];
        struct scene t;

        meet(&t, v->shown, v->name);
        if (v->why == NULL) {
            if (t.c.err != 0) {
                fail_msg("%s: %s", v->what, inl_tls_why(t.c.tls));
            }
            assert_works(&t);
        } else {
            if (t.c.err != INLETS_ECERT ||
                strstr(inl_tls_why(t.c.tls), v->why) == NULL) {
                fail_msg("%s: %d, %s", v->what, t.c.err, inl_tls_why(t.c.tls));
            }
            assert_false(t.c.done);
            assert_int_equal(t.s.err, INLETS_ETLS);
        }
        scene_close(&t);
    }
}

static void a_chain_is_followed(void **state)
{
    static struct made_cert both;
    struct scene t;

    both = by_middle;
    assert_true(strlen(both.cert) + strlen(middle.cert) < sizeof(both.cert));
    strcat(both.cert, middle.cert);
    meet(&t, &both, "a.test");
    assert_works(&t);
    scene_close(&t);
}

/* RFC 6066 3: a name is asked for, an address is not. */
static void addresses_are_not_asked_for(void **state)
{
    struct scene t;

    meet(&t, &by_ip, "192.0.2.7");
    assert_shaken(&t);
    assert_int_equal(t.shop.picks, 1);
    assert_string_equal(t.shop.asked, "");
    assert_false(has_bytes(&t.c, "192.0.2.7"));
    scene_close(&t);
    meet(&t, &good, "a.test");
    assert_string_equal(t.shop.asked, "a.test");
    assert_true(has_bytes(&t.c, "a.test"));
    scene_close(&t);
}

static void meet_with(struct scene *t, const struct made_cert *shown,
                      const struct inl_tls_client *client)
{
    *t = (struct scene){0};
    shop_open(&t->shop, shown);
    t->config = client_of(client);
    own_server(t);
    own_client(t, "elsewhere.test");
    shake(t);
}

/* The pin is of the leaf, whatever else is wrong with it; nothing else in the
 * chain counts. */
static void pins_are_of_the_leaf_alone(void **state)
{
    static const struct made_cert *const right[] = {&alone, &expired, &good,
                                                    &untrusted};
    static struct made_cert chain;
    uint8_t pin[INL_SHA256_LEN];
    struct scene t;

    for (size_t i = 0; i < COUNT(right); i++) {
        assert_int_equal(inl_pem_fingerprint(inl_str(right[i]->cert), pin), 0);
        meet_with(&t, right[i], &(struct inl_tls_client){.pin = pin});
        assert_works(&t);
        scene_close(&t);
    }
    pin[31] ^= 1;
    meet_with(&t, &untrusted, &(struct inl_tls_client){.pin = pin});
    assert_int_equal(t.c.err, INLETS_ECERT);
    assert_non_null(strstr(inl_tls_why(t.c.tls), "another fingerprint"));
    scene_close(&t);
    chain = by_middle;
    strcat(chain.cert, middle.cert);
    assert_int_equal(inl_pem_fingerprint(inl_str(middle.cert), pin), 0);
    meet_with(&t, &chain, &(struct inl_tls_client){.pin = pin});
    assert_int_equal(t.c.err, INLETS_ECERT);
    scene_close(&t);
    assert_int_equal(inl_pem_fingerprint(inl_str(chain.cert), pin), 0);
    meet_with(&t, &chain, &(struct inl_tls_client){.pin = pin});
    assert_works(&t);
    scene_close(&t);
}

/* Shown: NULL is none. The client hears of it when it thinks that it is done.
 */
static void clients_show_certificates(void **state)
{
    static const struct {
        const struct made_cert *shown;
        const char *server_says, *client_says; /* NULL: it is right */
    } rows[] = {
        {&good, NULL, NULL},
        {NULL, "shows no certificate", "wants a certificate of this one"},
        {&untrusted, "nobody that is trusted here", "trusts nobody who"},
        {&expired, "has expired", "has expired"},
    };
    struct inl_trust *trust = trust_in(&authority);
    struct inl_tls_peer peer;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct inl_cert *cert =
            rows[i].shown == NULL ? NULL : load(rows[i].shown);
        struct inl_tls_client client = {.trust = trust, .cert = cert};
        struct inl_tls_server server = {.pick = pick, .clients = trust};
        struct scene t = {0};

        server.user = &t.shop;
        t.shop.cert = load(&good);
        assert_int_equal(inl_tls_config_server(&t.shop.config, &server), 0);
        t.config = client_of(&client);
        inl_cert_unref(cert);
        own_server(&t);
        own_client(&t, "a.test");
        shake(&t);
        if (rows[i].server_says == NULL) {
            assert_works(&t);
            assert_true(inl_tls_get_peer(t.s.tls, &peer));
            assert_string_equal(peer.name, "cn.test");
            assert_false(inl_tls_get_peer(t.c.tls, &peer));
        } else {
            assert_int_equal(t.s.err, INLETS_ECERT);
            assert_int_equal(t.c.err, INLETS_ECLIENTCERT);
            assert_non_null(strstr(inl_tls_why(t.s.tls), rows[i].server_says));
            assert_non_null(strstr(inl_tls_why(t.c.tls), rows[i].client_says));
            assert_false(inl_tls_get_peer(t.s.tls, &peer));
        }
        scene_close(&t);
    }
    inl_trust_unref(trust);
}

/* A pin is kept even by whom the authority is trusted. */
static void a_wrong_pin_outweighs_trust(void **state)
{
    struct inl_trust *trust = trust_in(&authority);
    uint8_t pin[INL_SHA256_LEN] = {0};
    struct scene t;

    meet_with(&t, &good, &(struct inl_tls_client){.trust = trust, .pin = pin});
    assert_int_equal(t.c.err, INLETS_ECERT);
    scene_close(&t);
    inl_trust_unref(trust);
}

static void whoever_skips_the_check_takes_any(void **state)
{
    static const struct made_cert *const any[] = {&alone, &expired, &untrusted};
    struct scene t;

    for (size_t i = 0; i < COUNT(any); i++) {
        meet_with(&t, any[i], &(struct inl_tls_client){.skip_verify = true});
        assert_works(&t);
        scene_close(&t);
    }
    meet_with(&t, &good, &(struct inl_tls_client){.trust = NULL});
    assert_int_equal(t.c.err, INLETS_ECERT); /* nobody is trusted */
    scene_close(&t);
}

/* --- names that are asked for -------------------------------------------- */

struct question {
    const char *sni;
    const char *asked; /* NULL: refused */
};

static const struct question questions[] = {
    {NULL, ""},
    {"a.test", "a.test"},
    {"a.test.", "a.test"},
    {"A.Test", "a.test"},
    {"x", "x"},
    {"a.test:443", NULL},
    {"a.test:", NULL},
    {"192.0.2.7", "192.0.2.7"}, /* RFC 6066 forbids it, and old clients do */
    {"a b", NULL},
    {"a\x01", NULL},
    {"a/b", NULL},
    {"..", NULL},
    {"[::1]", NULL},
    {"::1", NULL},
};

static void names_are_asked_for(void **state)
{
    for (size_t i = 0; i < COUNT(questions); i++) {
        const struct question *q = &questions[i];
        struct scene t;

        visit(&t,
              &(struct bare){q->sni, MBEDTLS_SSL_VERSION_TLS1_3, NULL, NULL});
        shake(&t);
        if (q->asked != NULL) {
            if (t.s.err != 0 || t.shop.picks != 1 ||
                strcmp(t.shop.asked, q->asked) != 0) {
                fail_msg("%s: asked %s", q->sni, t.shop.asked);
            }
            assert_works(&t);
            assert_true(inl_slice_eq(inl_tls_sni(t.s.tls), inl_str(q->asked)));
        } else {
            if (t.s.err != INLETS_ETLS || t.shop.picks != 0) {
                fail_msg("%s is taken", q->sni);
            }
            assert_alert(&t.s, ALERT_NAME);
        }
        scene_close(&t);
    }
}

static void an_unknown_name_is_refused(void **state)
{
    static const mbedtls_ssl_protocol_version versions[] = {
        MBEDTLS_SSL_VERSION_TLS1_2, MBEDTLS_SSL_VERSION_TLS1_3};
    static const char *const names[] = {"b.test", NULL};

    for (size_t i = 0; i < 4; i++) {
        struct scene t;

        visit(&t, &(struct bare){names[i / 2], versions[i % 2], NULL, NULL});
        inl_cert_unref(t.shop.cert);
        t.shop.cert = NULL;
        shake(&t);
        assert_int_equal(t.s.err, INLETS_ETLS);
        assert_string_equal(inl_tls_why(t.s.tls),
                            "no certificate for that name");
        assert_int_equal(t.shop.picks, 1);
        assert_alert(&t.s, ALERT_NAME);
        scene_close(&t);
    }
}

static void protocols_are_agreed_on(void **state)
{
    static const char *h2[] = {"h2", NULL};
    static const char *both[] = {"h2", "http/1.1", NULL};
    struct scene t;

    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_2, h2, NULL});
    shake(&t);
    assert_int_equal(t.s.err, INLETS_ETLS);
    assert_alert(&t.s, ALERT_NO_PROTOCOL);
    scene_close(&t);
    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_3, h2, NULL});
    shake(&t);
    assert_int_equal(t.s.err, INLETS_ETLS);
    assert_string_equal(inl_tls_why(t.s.tls),
                        "the other side wants no HTTP/1.1");
    scene_close(&t);
    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_3, both, NULL});
    shake(&t);
    assert_works(&t);
    assert_string_equal(mbedtls_ssl_get_alpn_protocol(&t.c.ssl), "http/1.1");
    scene_close(&t);
}

/* --- what is not a handshake --------------------------------------------- */

static void knock(struct scene *t)
{
    *t = (struct scene){0};
    shop_open(&t->shop, &good);
    own_server(t);
}

static void junk_is_refused(void **state)
{
    static const char *const junk[] = {
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "SSH-2.0-x\r\n",
        "\x80\x2e\x01\x00\x02\x00\x15", "\xff\xff\xff\xff\xff\xff"};

    for (size_t i = 0; i < COUNT(junk); i++) {
        for (size_t step = 0; step < 2; step++) {
            struct scene t;
            size_t n = i < 2 ? strlen(junk[i]) : 6;

            knock(&t);
            for (size_t at = 0; at < n; at += step == 0 ? n : 1) {
                feed(&t.s, junk[i] + at, step == 0 ? n : 1);
            }
            assert_int_equal(t.s.err, INLETS_ETLS);
            assert_string_equal(inl_tls_why(t.s.tls),
                                "what the other side sends is not TLS");
            assert_int_equal(t.shop.picks, 0);
            scene_close(&t);
        }
    }
}

static void old_versions_are_refused(void **state)
{
    uint8_t hello[50] = {22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1};
    struct scene t;
    size_t n;
    uint8_t *said;

    hello[44] = 2; /* bytes of suites */
    hello[46] = 0x2f;
    hello[47] = 1; /* compressions: none */
    for (uint8_t minor = 0; minor < 3; minor++) {
        hello[10] = minor;
        knock(&t);
        feed(&t.s, hello, sizeof(hello));
        assert_int_equal(t.s.err, INLETS_ETLS);
        assert_string_equal(inl_tls_why(t.s.tls),
                            "the other side has neither TLS 1.2 nor 1.3");
        said = drain(&t.s.out, &n);
        assert_int_equal(n, 7);
        assert_int_equal(said[0], 21);
        assert_int_equal(said[6], ALERT_VERSION);
        free(said);
        scene_close(&t);
    }
}

/* Nothing is said, nothing is wrong: whoever waits has the clock. */
static void half_a_hello_is_waited_for(void **state)
{
    struct scene t;
    uint8_t *hello;
    size_t n;

    visit(&t, &(struct bare){"a.test", MBEDTLS_SSL_VERSION_TLS1_3, NULL, NULL});
    feed(&t.c, NULL, 0);
    hello = drain(&t.c.out, &n);
    feed(&t.s, hello, n / 2);
    feed(&t.s, NULL, 0);
    assert_int_equal(t.s.err, 0);
    assert_false(t.s.done);
    assert_int_equal(t.s.out.bytes, 0);
    assert_int_equal(t.shop.picks, 0);
    feed(&t.s, hello + n / 2, n - n / 2);
    assert_int_equal(t.shop.picks, 1);
    free(hello);
    carry(&t.s, &t.c, 0);
    shake(&t);
    assert_works(&t);
    scene_close(&t);
}

/* --- what comes after ---------------------------------------------------- */

/* Is a record with one bit wrong anything but an error, or a wait for more (a
 * length that has grown)? */
static void damage(mbedtls_ssl_protocol_version version, size_t at,
                   size_t *ret_len)
{
    struct scene t;
    uint8_t *record;
    size_t n;

    visit(&t, &(struct bare){"a.test", version, NULL, NULL});
    shake(&t);
    assert_shaken(&t);
    assert_int_equal(
        mbedtls_ssl_write(&t.c.ssl, (const unsigned char *)"hello", 5), 5);
    record = drain(&t.c.out, &n);
    record[at] ^= 1;
    feed(&t.s, record, n);
    assert_int_equal(t.s.got.bytes, 0);
    if (t.s.err != INLETS_ETLS) {
        assert_int_equal(t.s.err, 0);
        assert_true(at == 3 || at == 4);
    }
    assert_false(t.s.ended);
    free(record);
    *ret_len = n;
    scene_close(&t);
}

static void damaged_records_are_refused(void **state)
{
    static const mbedtls_ssl_protocol_version versions[] = {
        MBEDTLS_SSL_VERSION_TLS1_2, MBEDTLS_SSL_VERSION_TLS1_3};

    for (size_t i = 0; i < COUNT(versions); i++) {
        size_t n = 1;

        for (size_t at = 0; at < n; at++) {
            damage(versions[i], at, &n);
        }
        assert_true(n >= 5 + 5 + 16);
    }
}

static void the_largest_record_is_taken(void **state)
{
    uint8_t *big = calloc(1, INL_TLS_RECORD_MAX);
    struct scene t;

    assert_non_null(big);
    meet(&t, &good, "a.test");
    assert_int_equal(inl_tls_write(t.c.tls, big, INL_TLS_RECORD_MAX), 0);
    assert_false(inl_tls_has_plain(t.s.tls));
    carry(&t.c, &t.s, 1000);
    assert_int_equal(t.s.got.bytes, INL_TLS_RECORD_MAX);
    free(big);
    scene_close(&t);
}

static void a_record_is_read_in_parts(void **state)
{
    struct scene t;
    uint8_t *record;
    char part[8] = {0};
    size_t n, len;

    meet(&t, &good, "a.test");
    assert_int_equal(inl_tls_write(t.s.tls, "in parts", 8), 0);
    record = drain(&t.s.out, &len);
    inl_tls_give(t.c.tls, record, len);
    assert_int_equal(inl_tls_read(t.c.tls, part, 3, &n), 0);
    assert_int_equal(n, 3);
    assert_true(inl_tls_has_plain(t.c.tls));
    assert_int_equal(inl_tls_read(t.c.tls, part + 3, 5, &n), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(part, "in parts", 8);
    assert_false(inl_tls_has_plain(t.c.tls));
    assert_int_equal(inl_tls_read(t.c.tls, part, 8, &n), 0);
    assert_int_equal(n, 0);
    inl_tls_give(t.c.tls, NULL, 0);
    free(record);
    scene_close(&t);
}

/* Each direction has its own end. */
static void ends_are_said_each_way(void **state)
{
    static const bool client_first[] = {true, false};

    for (size_t i = 0; i < 2; i++) {
        struct scene t;
        struct end *first, *second;

        meet(&t, &good, "a.test");
        first = client_first[i] ? &t.c : &t.s;
        second = client_first[i] ? &t.s : &t.c;
        say(first, second, "last", 0);
        assert_int_equal(inl_tls_end(first->tls), 0);
        carry(first, second, 1);
        assert_true(second->ended);
        assert_got(second, "last");
        say(second, first, "more", 0);
        assert_false(first->ended);
        assert_got(first, "more");
        assert_int_equal(inl_tls_end(second->tls), 0);
        carry(second, first, 1);
        assert_true(first->ended);
        assert_int_equal(first->err, 0);
        scene_close(&t);
    }
}

/* --- sessions ------------------------------------------------------------ */

static void sessions_are_resumed(void **state)
{
    struct scene t;
    struct shop other;
    size_t whole, shorter;

    meet(&t, &good, "a.test");
    assert_works(&t); /* the ticket comes with the first bytes */
    whole = t.s.sent;
    hang_up(&t);
    own_server(&t);
    own_client(&t, "a.test");
    shake(&t);
    assert_works(&t);
    shorter = t.s.sent;
    assert_true(shorter + strlen(good.cert) / 2 < whole);
    hang_up(&t);
    /* a server that has other keys: all anew, and nobody minds */
    shop_open(&other, &good);
    shop_close(&t.shop);
    t.shop = other;
    assert_int_equal(inl_tls_config_server(&other.config,
                                           &(struct inl_tls_server){
                                               .pick = pick, .user = &t.shop}),
                     0);
    inl_tls_config_unref(t.shop.config);
    t.shop.config = other.config;
    own_server(&t);
    own_client(&t, "a.test");
    shake(&t);
    assert_works(&t);
    assert_true(t.s.sent + 100 > whole);
    scene_close(&t);
}

/* Who is met by another certificate looks at it. */
static void another_server_is_judged_anew(void **state)
{
    struct scene t;

    meet(&t, &good, "a.test");
    assert_works(&t);
    hang_up(&t);
    shop_close(&t.shop);
    shop_open(&t.shop, &untrusted);
    own_server(&t);
    own_client(&t, "a.test");
    shake(&t);
    assert_int_equal(t.c.err, INLETS_ECERT);
    scene_close(&t);
}

/* --- files --------------------------------------------------------------- */

/* A key of P-256 under the password "x". */
static const char locked_key[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgPJMt8w7jSXAICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEHimAWmBQ4j3bq+R7bC03dgEgZDq\n"
    "rv0d0jN8FnBRKd3g/wonUBTH+hrMVdnhOYm2+rH8qGj5P/xpMzY4tbpAa6kgsTN5\n"
    "WDO1XrN092w6QlfDpQ+fKRDSl7MvkFILIWVTqc4Hg2qgyEWB+z/JnTPjiD3DKdrH\n"
    "SpvFbXRKBKS5HpgOstaFzrGoDBXChzvW6FMNYbIAXyAuyD7o1UzByDLldWqPZ8Y=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

static const char *refusal(struct inlets_slice chain, struct inlets_slice key)
{
    struct inl_cert *cert = NULL;
    const char *why = NULL;

    assert_int_equal(inl_cert_new(&cert, chain, key, &why), INLETS_EINVAL);
    assert_null(cert);
    assert_non_null(why);
    return why;
}

static void files_that_are_wrong_say_why(void **state)
{
    static const char no_cert[] =
        "there is no certificate in PEM that can be read";
    static const char no_key[] = "there is no private key in PEM that can be "
                                 "read (one with a password cannot)";
    struct inlets_slice cert = inl_str(good.cert), key = inl_str(good.key);
    struct inlets_slice half = inl_slice(good.cert, strlen(good.cert) / 2);
    size_t n = INL_PEM_MAX + 1;
    char *huge = malloc(n);
    struct inl_cert *loaded = load(&good);

    assert_non_null(huge);
    memset(huge, '\n', n);
    memcpy(huge, good.cert, strlen(good.cert));
    assert_string_equal(refusal(inl_str(""), key), no_cert);
    assert_string_equal(refusal(inl_str("\n"), key), no_cert);
    assert_string_equal(refusal(half, key), no_cert);
    assert_string_equal(refusal(key, key), no_cert);
    assert_string_equal(refusal(cert, inl_str("")), no_key);
    assert_string_equal(refusal(cert, cert), no_key);
    assert_string_equal(refusal(cert, inl_str(locked_key)), no_key);
    assert_string_equal(refusal(cert, inl_str(alone.key)),
                        "the key belongs to another certificate");
    assert_string_equal(refusal(inl_slice(huge, n), key),
                        "the file is too large");
    assert_string_equal(refusal(cert, inl_slice(huge, n)),
                        "the file is too large");
    inl_cert_unref(loaded);
    free(huge);
}

/* A chain that is still being written must not take the place of a whole one.
 * Only behind a whole certificate can nobody know that another is to come. */
static void half_a_chain_is_none(void **state)
{
    char text[2 * CERT_PEM];
    size_t second = strlen(alone.cert);
    size_t len =
        (size_t)snprintf(text, sizeof(text), "%s%s", alone.cert, middle.cert);
    struct inlets_slice key = inl_str(alone.key);
    struct inl_cert *cert;
    const char *why;

    for (size_t n = second + 1; n < len - 1; n++) { /* but for its newline */
        assert_string_equal(
            refusal(inl_slice(text, n), key),
            "the text is cut short: a certificate in it has no end");
    }
    for (size_t n = len - 1; n <= len; n++) {
        assert_int_equal(inl_cert_new(&cert, inl_slice(text, n), key, &why), 0);
        inl_cert_unref(cert);
    }
    memcpy(text + second + strlen("-----BEGIN CERTIFICATE-----\n") + 8,
           "AAAAAAAA", 8);
    assert_string_equal(refusal(inl_slice(text, len), key),
                        "one of the certificates in it cannot be read");
}

/* Binary, where text is what the manual speaks of: the same certificate. */
static void der_is_read_as_well(void **state)
{
    struct inl_cert *cert = load(&good), *again = NULL;
    uint8_t a[INL_SHA256_LEN], b[INL_SHA256_LEN];
    struct inlets_slice der = inl_slice(cert->chain.raw.p, cert->chain.raw.len);
    const char *why;

    assert_int_equal(inl_cert_new(&again, der, inl_str(good.key), &why), 0);
    assert_int_equal(inl_cert_fingerprint(again, a), 0);
    assert_int_equal(inl_pem_fingerprint(inl_str(good.cert), b), 0);
    assert_memory_equal(a, b, sizeof(a));
    inl_cert_unref(again);
    for (size_t n = 0; n + 1 < der.len; n++) {
        char *part = malloc(n + 1);

        assert_non_null(part);
        memcpy(part, der.ptr, n);
        (void)refusal(inl_slice(part, n), inl_str(good.key));
        free(part);
    }
    inl_cert_unref(cert);
}

static void authorities_that_cannot_be_read_are_counted(void **state)
{
    char text[3 * CERT_PEM + 32];
    struct inl_trust *trust = NULL;
    unsigned skipped = 9;
    char *bad;

    assert_int_equal(inl_trust_new(&trust, inl_str(""), &skipped),
                     INLETS_EINVAL);
    assert_int_equal(inl_trust_new(&trust, inl_str("no PEM"), &skipped),
                     INLETS_EINVAL);
    (void)snprintf(text, sizeof(text), "# a comment\n%s%s%s", stranger.cert,
                   authority.cert, middle.cert);
    bad = strstr(text + 20, "-----BEGIN");
    bad = strstr(bad + 20, "-----BEGIN");
    memcpy(bad + strlen("-----BEGIN CERTIFICATE-----\n") + 8, "AAAAAAAA", 8);
    assert_int_equal(inl_trust_new(&trust, inl_str(text), &skipped), 0);
    assert_int_equal(skipped, 1);
    inl_trust_unref(trust);
}

struct cover {
    const struct made_cert *made;
    const char *host;
    bool is;
};

static const struct cover covers[] = {
    {&good, "a.test", true},
    {&good, "b.test", true},
    {&good, "A.TEST", true},
    {&good, "cn.test", false},
    {&good, "a.test.x", false},
    {&good, "", false},
    {&wild, "x.a.test", true},
    {&wild, "a.test", false},
    {&wild, "x.y.a.test", false},
    {&wild, ".a.test", false},
    {&wild, "*.a.test", true},
    {&broad, "a.test", true},
    {&broad, "a.b.test", false},
    {&broad, "test", false},
    {&by_common_name, "a.test", true},
    {&by_common_name, "b.test", false},
    {&by_ip, "x", false},
    {&by_ip, "192.0.2.7", false},
};

static void hosts_are_covered(void **state)
{
    struct inlets_slice name;

    for (size_t i = 0; i < COUNT(covers); i++) {
        struct inl_cert *cert = load(covers[i].made);

        if (inl_cert_covers(cert, inl_str(covers[i].host)) != covers[i].is) {
            fail_msg("%s: not %d", covers[i].host, covers[i].is);
        }
        if (covers[i].made == &good) {
            assert_true(inl_cert_name(cert, 1, &name));
            assert_true(inl_slice_eq(name, INL_LIT("b.test")));
            assert_false(inl_cert_name(cert, 2, &name));
        }
        inl_cert_unref(cert);
    }
}

/* --- memory -------------------------------------------------------------- */

#ifdef TEST_WRAPS_CALLOC
/* Those of Mbed TLS fail as well, which has no hook in every build of it. */
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return alloc_fails(count * size) ? NULL : __real_calloc(count, size);
}
#endif

/* Mbed TLS 3.6 frees a half-made transform without what is in it. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:mbedtls_ssl_tls13_compute_application_transform\n";
}

/* A whole connection in which the n-th allocation fails; whoever fails says
 * so, and nothing is left. */
static bool connection_fails_at(size_t n)
{
    struct scene t = {0};
    bool ran_out;
    int err;

    shop_open(&t.shop, &good);
    t.config = client_trusting(&authority);
    alloc_fail_nth = n;
    err = inl_tls_new(&t.s.tls, t.shop.config, NULL, &t.s.out);
    if (err == 0) {
        err = inl_tls_new(&t.c.tls, t.config, "a.test", &t.c.out);
    }
    if (err == 0) {
        shake(&t);
        err = t.c.err != 0 ? t.c.err : t.s.err;
    }
    ran_out = alloc_fail_nth == 0;
    alloc_fail_nth = 0;
    if (err != 0) {
        assert_true(ran_out);
        assert_true(err == INLETS_ENOMEM || err == INLETS_ETLS ||
                    err == INLETS_ECERT);
    } else {
        assert_works(&t);
    }
    if (t.s.tls != NULL && t.c.tls != NULL) {
        scene_close(&t);
    } else { /* end_fini takes what has no tls for a bare one */
        inl_tls_free(t.s.tls);
        inl_tls_config_unref(t.config);
        shop_close(&t.shop);
    }
    inl_queue_trim();
    return ran_out;
}

static void handshakes_may_run_out_of_memory(void **state)
{
    size_t n = 1;

    /* Thousands: with TEST_THOROUGH each, else fewer and fewer. */
    while (connection_fails_at(n)) {
        assert_int_equal(alloc_live, live_before);
        n += getenv("TEST_THOROUGH") != NULL ? 1 : 1 + n / 12;
    }
    assert_true(n > 3);
}

static void configs_may_run_out_of_memory(void **state)
{
    struct shop shop = {0};
    const struct inl_tls_server server = {.pick = pick, .user = &shop};
    const struct inl_tls_client client = {.trust = NULL};
    struct inl_tls_config *config = NULL;
    struct inl_cert *cert = NULL;
    struct inl_trust *trust = NULL;
    const char *why;
    unsigned skipped;

    for (size_t n = 1; n < 3; n++) {
        alloc_fail_nth = n;
        if (inl_tls_config_client(&config, &client) == 0) {
            fail_msg("client at %zu", n);
        }
        assert_int_equal(alloc_live, live_before);
    }
    alloc_fail_nth = 1;
    assert_int_equal(inl_tls_config_server(&config, &server), INLETS_ENOMEM);
    for (size_t n = 1; n < 4; n++) {
        alloc_fail_nth = n;
        assert_int_equal(
            inl_cert_new(&cert, inl_str(good.cert), inl_str(good.key), &why),
            INLETS_ENOMEM);
        assert_string_equal(why, "out of memory");
        assert_int_equal(alloc_live, live_before);
    }
    for (size_t n = 1; n < 3; n++) {
        alloc_fail_nth = n;
        assert_int_equal(inl_trust_new(&trust, inl_str(good.cert), &skipped),
                         INLETS_ENOMEM);
    }
    alloc_fail_nth = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ends_of_ours_speak_1_3, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_client_of_1_2_is_served, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_server_of_1_2_will_do, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bytes_come_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_1_2_handshake_comes_byte_by_byte,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_hello_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(certificates_are_judged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_chain_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_not_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pins_are_of_the_leaf_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(clients_show_certificates, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_wrong_pin_outweighs_trust, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(whoever_skips_the_check_takes_any,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_name_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(protocols_are_agreed_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(junk_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(old_versions_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(half_a_hello_is_waited_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(damaged_records_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_largest_record_is_taken, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_record_is_read_in_parts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ends_are_said_each_way, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sessions_are_resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_server_is_judged_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(files_that_are_wrong_say_why, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(half_a_chain_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(der_is_read_as_well, setup, teardown),
        cmocka_unit_test_setup_teardown(
            authorities_that_cannot_be_read_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(hosts_are_covered, setup, teardown),
        cmocka_unit_test_setup_teardown(handshakes_may_run_out_of_memory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(configs_may_run_out_of_memory, setup,
                                        teardown),
    };

    alloc_install();
    if (inl_crypto_init() != 0) {
        return 1;
    }
    make_certs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
