/* test_forwarding.c: which fields go on, which are ours, and what a trusted
 * proxy may say. A head is written as text, one field a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/forwarding.h"
#include <inlets/err.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Splits "Name: value\n..." into fields that point into it. */
static struct inlets_head head_of(const char *text, struct inlets_field *fields)
{
    struct inlets_head head = {.method = INL_LIT("GET"),
                               .target = INL_LIT("/x"),
                               .host = INL_LIT("demo.local:8080"),
                               .content_length = INLETS_LENGTH_NONE,
                               .fields = fields};
    struct inlets_slice rest = inl_str(text);

    while (rest.len > 0) {
        size_t end = inl_slice_find(rest, '\n');
        struct inlets_slice line = inl_slice(rest.ptr, end);
        size_t colon = inl_slice_find(line, ':');

        assert_true(head.nfields < INL_FORWARD_MAX_FIELDS);
        fields[head.nfields++] = (struct inlets_field){
            inl_slice(line.ptr, colon),
            inl_slice_trim(inl_slice_from(line, colon + 1))};
        rest = inl_slice_from(rest, end + 1);
    }
    return head;
}

/* The fields as text again. */
static void expect_fields(const struct inlets_head *head, const char *expected,
                          const char *what)
{
    char got[16384];
    size_t len = 0;

    got[0] = '\0';
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];
        int n = snprintf(got + len, sizeof(got) - len, "%.*s: %.*s\n",
                         (int)f->name.len, f->name.ptr, (int)f->value.len,
                         f->value.ptr);

        assert_true(n > 0 && (size_t)n < sizeof(got) - len);
        len += (size_t)n;
    }
    if (strcmp(got, expected) != 0) {
        fail_msg("%s: got\n%swanted\n%s", what, got, expected);
    }
}

#define FOR "X-Forwarded-For: 192.0.2.9\n"
#define HOST "X-Forwarded-Host: demo.local:8080\n"
#define PROTO "X-Forwarded-Proto: http\n"
#define PORT "X-Forwarded-Port: 8000\n"
#define ID "X-Request-Id: 0123456789abcdef\n"
#define VIA "Via: 1.1 inlets\n"
#define OURS FOR HOST PROTO PORT ID VIA

static struct inl_forwarding plain(void)
{
    return (struct inl_forwarding){.peer_ip = INL_LIT("192.0.2.9"),
                                   .proto = INL_LIT("http"),
                                   .port = INL_LIT("8000"),
                                   .id = INL_LIT("0123456789abcdef")};
}

struct row {
    const char *sent, *expected;
};

static void expect_row(const struct row *row, const struct inl_forwarding *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = head_of(row->sent, fields), out;
    struct inl_forward_room room;

    assert_int_equal(inl_forward_request(&head, f, &room, &out), 0);
    assert_true(room.used <= sizeof(room.text));
    expect_fields(&out, row->expected, row->sent);
}

/* --- From anybody --- */

static const struct row from_anybody[] = {
    {"", OURS},
    {"Accept: */*\nx-CaSe: a\nX-Twice: 1\nX-Twice: 2\n",
     "Accept: */*\nx-CaSe: a\nX-Twice: 1\nX-Twice: 2\n" OURS},
    /* RFC 9110 7.6.1: by name */
    {"Connection: keep-alive\nKeep-Alive: timeout=5\nA: 1\n", "A: 1\n" OURS},
    {"Proxy-Connection: keep-alive\nProxy-Authorization: Basic x\n", OURS},
    {"TE: trailers\nConnection: TE\n", OURS},
    {"TE: trailers\nX-TE: 1\n", "X-TE: 1\n" OURS},
    {"Upgrade: h2c\nHTTP2-Settings: AAMAAABk\n", OURS},
    {"Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x\n",
     OURS},
    {"Transfer_Encoding: chunked\nContent_Length: 5\nKeep_Alive: x\n", OURS},
    {"Trailer: X-Sum\n", "Trailer: X-Sum\n" OURS}, /* not hop-by-hop */
    /* RFC 9110 7.6.1: whatever Connection names */
    {"Connection: close, X-Foo\nX-Foo: 1\nX-Foobar: 2\n", "X-Foobar: 2\n" OURS},
    {"Connection: x-foo\nX-FOO: 1\n", OURS},
    {"Connection: A\nconnection: ,B ,\nA: 1\nB: 2\nC: 3\n", "C: 3\n" OURS},
    {"Connection:\nA: 1\n", "A: 1\n" OURS},
    {"Connection: Connection\nA: 1\n", "A: 1\n" OURS},
    {"Connection: Cookie, Authorization\nCookie: a\nAuthorization: b\n", OURS},
    {"Connection: Host, Content-Length, Transfer-Encoding\nA: 1\n",
     "A: 1\n" OURS},
    /* ours are set after that */
    {"Connection: X-Forwarded-For, X-Request-Id, Via\nVia: 1.1 a\n", OURS},
    /* our names, in any spelling */
    {"X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2.2.2.2\n", OURS},
    {"x-forwarded-for: 1.1.1.1\nX_Forwarded_For: 2\nX-Forwarded_For: 3\n",
     OURS},
    {"X-Forwarded-Host: evil\nX-Forwarded-Proto: https\n"
     "X-Forwarded-Port: 443\nX-Request-Id: evil\n",
     OURS},
    {"X_Forwarded_Host: evil\nX_Forwarded_Proto: https\n"
     "X_Forwarded_Port: 443\nX_Request_Id: evil\nX_Real_IP: 1\n",
     OURS},
    {"Forwarded: for=1.1.1.1\nX-Real-IP: 1.1.1.1\n", OURS},
    {"X-Forwarded-Prefix: /x\nX-Forwarded-Server: y\nX_Forwarded_Ssl: on\n",
     OURS},
    {"Proxy: http://evil/\nproxy: x\n", OURS}, /* CVE-2016-5385 */
    {"X-Forwarded: 1\nX-Forwardedness: 2\nProxys: 3\n",
     "X-Forwarded: 1\nX-Forwardedness: 2\nProxys: 3\n" OURS},
    /* RFC 9110 7.6.3: a chain, in order */
    {"Via: 1.0 fred\n", FOR HOST PROTO PORT ID "Via: 1.0 fred, 1.1 inlets\n"},
    {"Via: 1.0 fred, 1.1 p.example (x)\nA: 1\nvia: HTTP/1.1 b\n",
     "A: 1\n" FOR HOST PROTO PORT ID
     "Via: 1.0 fred, 1.1 p.example (x), HTTP/1.1 b, 1.1 inlets\n"},
    {"Via:\n", OURS},
};

static void a_visitor_chooses_no_field_of_ours(void **state)
{
    const struct inl_forwarding f = plain();

    (void)state;
    for (size_t i = 0; i < COUNT(from_anybody); i++) {
        expect_row(&from_anybody[i], &f);
    }
}

static void via_names_the_received_version(void **state)
{
    static const struct row row = {"Via: 1.1 a\n", FOR HOST PROTO PORT ID
                                   "Via: 1.1 a, 1.0 inlets\n"};
    struct inl_forwarding f = plain();

    (void)state;
    f.http10 = true;
    expect_row(&row, &f);
}

/* A chain that does not fit into one line keeps its own. */
static void a_long_via_stays_whole(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    static char text[INL_FORWARD_TEXT + 100];
    struct inlets_head head, out;
    struct inl_forward_room room;
    const struct inl_forwarding f = plain();

    (void)state;
    memset(text, 'x', sizeof(text));
    head = head_of("Via: 1.1 a\nVia: LONG\nVia: 1.1 b\n", fields);
    for (size_t len = sizeof(room.text) - 60; len <= sizeof(text); len++) {
        bool joined;

        fields[1].value = inl_slice(text, len);
        assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
        assert_true(room.used <= sizeof(room.text));
        joined = out.nfields == 6;
        assert_int_equal(joined, len + strlen("1.1 a, , 1.1 b, 1.1 inlets") <=
                                     sizeof(room.text));
        if (!joined) {
            assert_int_equal(out.nfields, 9);
            assert_true(inl_slice_eq(out.fields[5].value, INL_LIT("1.1 a")));
            assert_int_equal(out.fields[6].value.len, len);
            assert_true(inl_slice_eq(out.fields[7].value, INL_LIT("1.1 b")));
            assert_true(
                inl_slice_eq(out.fields[8].value, INL_LIT("1.1 inlets")));
        }
    }
}

static void as_many_fields_as_there_is_room(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = {.fields = fields,
                               .host = INL_LIT("h"),
                               .content_length = INLETS_LENGTH_NONE};
    struct inl_forwarding f = plain();
    struct inl_forward_room room;
    struct inlets_head out;
    static char text[300];

    (void)state;
    f.trusted = f.forwarded = true;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < COUNT(fields); i++) {
        fields[i] = (struct inlets_field){INL_LIT("Via"),
                                          inl_slice(text, sizeof(text))};
    }
    head.nfields = INL_FORWARD_MAX_FIELDS - 8;
    assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
    assert_int_equal(out.nfields, INL_FORWARD_MAX_FIELDS - 8 + 7);
    head.nfields++;
    assert_int_equal(inl_forward_request(&head, &f, &room, &out),
                     INLETS_EHEADSIZE);
}

static void without_a_host_none_is_made_up(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = head_of("", fields), out;
    struct inl_forward_room room;
    struct inl_forwarding f = plain();

    (void)state;
    head.host = inl_slice(NULL, 0);
    f.http10 = true;
    assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
    expect_fields(&out, FOR PROTO PORT ID "Via: 1.0 inlets\n", "no host");
    f.peer_ip = inl_slice(NULL, 0);
    f.trusted = f.forwarded = true;
    assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
    expect_fields(&out,
                  PROTO PORT ID "Forwarded: for=unknown;proto=http\n"
                                "Via: 1.0 inlets\n",
                  "no peer");
}

static const struct {
    const char *method, *sent, *expected;
    bool ends_here;
} hops[] = {
    {"OPTIONS", "Max-Forwards: 0\n", "Max-Forwards: 0\n", true},
    {"OPTIONS", "max-forwards: 000\n", "max-forwards: 000\n", true},
    {"OPTIONS", "A: b\nMax-Forwards: 1\n", "A: b\nMax-Forwards: 0\n", false},
    {"OPTIONS", "Max-Forwards: 18446744073709551615\nA: b\n",
     "Max-Forwards: 18446744073709551614\nA: b\n", false},
    {"OPTIONS", "Max-Forwards: 18446744073709551616\n",
     "Max-Forwards: 18446744073709551616\n", false},
    {"OPTIONS", "Max-Forwards: -1\n", "Max-Forwards: -1\n", false},
    {"OPTIONS", "Max-Forwards: 0\nMax-Forwards: 0\n",
     "Max-Forwards: 0\nMax-Forwards: 0\n", false},
    {"OPTIONS", "Max-Forwards: 5\nConnection: Max-Forwards\n", "", false},
    {"GET", "Max-Forwards: 0\n", "Max-Forwards: 0\n", false},
    {"GET", "Max-Forwards: 5\n", "Max-Forwards: 5\n", false},
};

static void hops_are_counted(void **state)
{
    const struct inl_forwarding f = plain();

    (void)state;
    for (size_t i = 0; i < COUNT(hops); i++) {
        struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
        struct inlets_head head = head_of(hops[i].sent, fields), out;
        struct inl_forward_room room;

        head.method = inl_str(hops[i].method);
        assert_int_equal(inl_forward_ends_here(&head), hops[i].ends_here);
        assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
        assert_true(out.nfields >= 6);
        out.nfields -= 6; /* ours */
        expect_fields(&out, hops[i].expected, hops[i].sent);
    }
}

/* --- From a trusted proxy --- */

#define TRUSTED_FOR "X-Forwarded-For: 198.51.100.7, 192.0.2.9\n"

static const struct row from_trusted[] = {
    {"", OURS},
    {"X-Forwarded-For: 198.51.100.7\n", TRUSTED_FOR HOST PROTO PORT ID VIA},
    {"X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2001:db8::1 ,3.3.3.3\n",
     "X-Forwarded-For: 1.1.1.1, 2001:db8::1, 3.3.3.3, 192.0.2.9\n" HOST PROTO
         PORT ID VIA},
    {"X-Forwarded-For: 1.1.1.1:80, [::1]:81, [::2], unknown, 9.9.9.9\n",
     "X-Forwarded-For: 1.1.1.1:80, [::1]:81, [::2], unknown, 9.9.9.9, "
     "192.0.2.9\n" HOST PROTO PORT ID VIA},
    /* as far back as it can be read */
    {"X-Forwarded-For: 1.1.1.1, <script>, 2.2.2.2\n",
     "X-Forwarded-For: 2.2.2.2, 192.0.2.9\n" HOST PROTO PORT ID VIA},
    {"X-Forwarded-For: evil\n", OURS},
    {"X-Forwarded-For: [::1\n", OURS},
    {"X-Forwarded-For: [::1]x\n", OURS},
    {"X-Forwarded-For: 1.1.1.1:99999\n", OURS},
    {"X-Forwarded-For: ,, ,\n", OURS},
    {"X_Forwarded_For: 1.1.1.1\n", OURS},
    {"X-Forwarded-For: 1.1.1.1\nConnection: X-Forwarded-For\n", OURS},
    {"X-Forwarded-Host: shop.example:8443\n",
     FOR "X-Forwarded-Host: shop.example:8443\n" PROTO PORT ID VIA},
    {"X-Forwarded-Host: a, b\n", OURS},
    {"X-Forwarded-Host: a\nX-Forwarded-Host: b\n", OURS},
    {"X-Forwarded-Host: a/b\n", OURS},
    {"X-Forwarded-Host: a b\n", OURS},
    {"X-Forwarded-Host:\n", OURS},
    {"X_Forwarded_Host: a\n", OURS},
    {"X-Forwarded-Host: a\nConnection: X-Forwarded-Host\n", OURS},
    /* a scheme without a port: the one that the visitor wrote */
    {"X-Forwarded-Proto: https\n",
     FOR HOST "X-Forwarded-Proto: https\nX-Forwarded-Port: 8080\n" ID VIA},
    {"X-Forwarded-Proto: https\nX-Forwarded-Host: shop.example\n",
     FOR "X-Forwarded-Host: shop.example\nX-Forwarded-Proto: https\n"
         "X-Forwarded-Port: 443\n" ID VIA},
    {"X-Forwarded-Proto: http\nX-Forwarded-Host: shop.example\n",
     FOR "X-Forwarded-Host: shop.example\nX-Forwarded-Proto: http\n"
         "X-Forwarded-Port: 80\n" ID VIA},
    {"X-Forwarded-Proto: WSS\nX-Forwarded-Host: [::1]\n",
     FOR "X-Forwarded-Host: [::1]\nX-Forwarded-Proto: WSS\n"
         "X-Forwarded-Port: 443\n" ID VIA},
    {"X-Forwarded-Proto: https\nX-Forwarded-Host: [::1]:9\n",
     FOR "X-Forwarded-Host: [::1]:9\nX-Forwarded-Proto: https\n"
         "X-Forwarded-Port: 9\n" ID VIA},
    {"X-Forwarded-Proto: https\nX-Forwarded-Port: 444\n",
     FOR HOST "X-Forwarded-Proto: https\nX-Forwarded-Port: 444\n" ID VIA},
    {"X-Forwarded-Proto: https, http\n", OURS},
    {"X-Forwarded-Proto: gopher\n", OURS},
    {"X-Forwarded-Proto: https\nX-Forwarded-Proto: https\n", OURS},
    {"X_Forwarded_Proto: https\n", OURS},
    {"X-Forwarded-Port: 443\n",
     FOR HOST PROTO "X-Forwarded-Port: 443\n" ID VIA},
    {"X-Forwarded-Port: 0\n", OURS},
    {"X-Forwarded-Port: 65536\n", OURS},
    {"X-Forwarded-Port: 443x\n", OURS},
    {"X-Forwarded-Port: 80, 443\n", OURS},
    {"X-Forwarded-Prefix: /app\nX_Forwarded_Prefix: /b\n",
     "X-Forwarded-Prefix: /app\n" OURS},
    {"X-Real-IP: 1.1.1.1\nProxy: x\n", OURS},
    /* not asked for: nobody knows who wrote it */
    {"Forwarded: for=1.1.1.1\n", OURS},
    {"Via: 1.1 proxy\n", FOR HOST PROTO PORT ID "Via: 1.1 proxy, 1.1 inlets\n"},
};

static void a_trusted_proxy_is_believed_when_it_makes_sense(void **state)
{
    struct inl_forwarding f = plain();

    (void)state;
    f.trusted = true;
    for (size_t i = 0; i < COUNT(from_trusted); i++) {
        expect_row(&from_trusted[i], &f);
    }
}

/* The near end of a chain is kept. */
static void a_long_chain_loses_its_far_end(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    char text[4000] = "";
    struct inlets_head head, out;
    struct inl_forward_room room;
    struct inl_forwarding f = plain();
    struct inlets_slice value;

    (void)state;
    for (unsigned i = 0; i < 240; i++) {
        (void)snprintf(text + strlen(text), 20, "10.10.10.%u,", i);
    }
    head = head_of("X-Forwarded-For: x\n", fields);
    fields[0].value = inl_str(text);
    f.trusted = true;
    assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
    value = out.fields[0].value;
    assert_true(value.len <= INL_FORWARD_CHAIN_MAX &&
                value.len > INL_FORWARD_CHAIN_MAX - 20);
    assert_true(inl_slice_starts(value, INL_LIT("10.10.10.")));
    assert_true(inl_slice_eq(inl_slice_from(value, value.len - 23),
                             INL_LIT("10.10.10.239, 192.0.2.9")));
}

/* --- Whose request it is --- */

static const struct {
    const char *sent, *peer, *client;
} clients[] = {
    {"", "192.0.2.9", "192.0.2.9"},
    {"X-Forwarded-For: 1.1.1.1\n", "192.0.2.9", "192.0.2.9"},
    {"", "10.0.0.1", "10.0.0.1"},
    {"X-Forwarded-For: 1.1.1.1\n", "10.0.0.1", "1.1.1.1"},
    {"X-Forwarded-For: 8.8.8.8, 1.1.1.1\n", "10.0.0.1", "1.1.1.1"},
    {"X-Forwarded-For: 8.8.8.8, 1.1.1.1, 10.0.0.2\n", "10.0.0.1", "1.1.1.1"},
    {"X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 10.0.0.2\n", "10.0.0.1",
     "1.1.1.1"},
    {"X-Forwarded-For: 10.0.0.3, 10.0.0.2\n", "10.0.0.1", "10.0.0.3"},
    {"X-Forwarded-For: 2001:DB8:0::1\n", "10.0.0.1", "2001:db8::1"},
    {"X-Forwarded-For: [2001:db8::1]:80\n", "10.0.0.1", "2001:db8::1"},
    {"X-Forwarded-For: 1.1.1.1:80\n", "10.0.0.1", "1.1.1.1"},
    {"X-Forwarded-For: ::ffff:1.1.1.1\n", "10.0.0.1", "1.1.1.1"},
    {"X-Forwarded-For: 1.1.1.1, evil\n", "10.0.0.1", "10.0.0.1"},
    {"X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.2\n", "10.0.0.1", "10.0.0.2"},
    {"X-Forwarded-For: 1.1.1.1,\n", "10.0.0.1", "1.1.1.1"},
    {"X_Forwarded_For: 1.1.1.1\n", "10.0.0.1", "10.0.0.1"},
    {"X-Forwarded-For: 1.1.1.1\nConnection: x-forwarded-for\n", "10.0.0.1",
     "10.0.0.1"},
    {"X-Forwarded-For: 1.1.1.1\n", "::1", "1.1.1.1"},
    {"X-Forwarded-For: 1.1.1.1\n", "", ""},
};

static void the_client_is_the_last_who_is_not_trusted(void **state)
{
    struct inl_cidr_set trusted = {0};

    (void)state;
    assert_int_equal(
        inl_cidr_set_add(&trusted, INL_LIT("10.0.0.0/8 ::1"), NULL), 0);
    for (size_t i = 0; i < COUNT(clients); i++) {
        struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
        struct inlets_head head = head_of(clients[i].sent, fields);
        char buf[INL_IP_TEXT];
        struct inlets_slice got =
            inl_forward_client(&head, &trusted, inl_str(clients[i].peer), buf);

        if (!inl_slice_eq(got, inl_str(clients[i].client))) {
            fail_msg("case %zu: %.*s", i, (int)got.len, got.ptr);
        }
        got = inl_forward_client(&head, NULL, inl_str(clients[i].peer), buf);
        assert_true(inl_slice_eq(got, inl_str(clients[i].peer)));
    }
    inl_cidr_set_fini(&trusted);
}

static void a_request_id_is_sane_or_ours(void **state)
{
    static const struct row rows[] = {
        {"X-Request-Id: 7b3f-UUID.like_1~+/=:@\n", "7b3f-UUID.like_1~+/=:@"},
        {"X-Request-Id: a b\n", ""},
        {"X-Request-Id: a\nX-Request-Id: b\n", ""},
        {"X-Request-Id: <b>\n", ""},
        {"X-Request-Id: a\"\n", ""},
        {"X_Request_Id: a\n", ""},
        {"X-Request-Id:\n", ""},
        {"X-Request-Id: a\nConnection: X-Request-Id\n", ""},
        {"", ""},
    };
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    char text[INL_FORWARD_ID_MAX + 1];
    struct inlets_head head;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct inlets_slice got;

        head = head_of(rows[i].sent, fields);
        got = inl_forward_id(&head);
        if (!inl_slice_eq(got, inl_str(rows[i].expected))) {
            fail_msg("%s: %.*s", rows[i].sent, (int)got.len, got.ptr);
        }
    }
    memset(text, 'a', sizeof(text));
    head = head_of("X-Request-Id: x\n", fields);
    fields[0].value = inl_slice(text, sizeof(text) - 1);
    assert_int_equal(inl_forward_id(&head).len, INL_FORWARD_ID_MAX);
    fields[0].value = inl_slice(text, sizeof(text));
    assert_int_equal(inl_forward_id(&head).len, 0);
}

/* --- Forwarded (RFC 7239) --- */

#define ELEMENT "for=192.0.2.9;host=\"demo.local:8080\";proto=http"

static const struct row forwarded[] = {
    {"", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=1.1.1.1\n", "Forwarded: for=1.1.1.1, " ELEMENT "\n"},
    {"Forwarded: for=1.1.1.1;proto=https\nForwarded: For=\"[::1]:80\"\n",
     "Forwarded: for=1.1.1.1;proto=https, For=\"[::1]:80\", " ELEMENT "\n"},
    {"Forwarded: for=\"a\\\"b\";by=\"_x\", for=2\n",
     "Forwarded: for=\"a\\\"b\";by=\"_x\", for=2, " ELEMENT "\n"},
    /* what would swallow ours */
    {"Forwarded: for=\"1.1.1.1\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=\"1.1.1.1\\\"\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=1\"\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=\"1\"2\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=1\\\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=<x>\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=1.1.1.1\nForwarded: for=\"\n", "Forwarded: " ELEMENT "\n"},
    {"Forwarded: for=1.1.1.1\nConnection: forwarded\n",
     "Forwarded: " ELEMENT "\n"},
};

static void expect_forwarded(const char *sent, const char *expected,
                             const struct inl_forwarding *f)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = head_of(sent, fields), out;
    struct inl_forward_room room;

    assert_int_equal(inl_forward_request(&head, f, &room, &out), 0);
    out.fields += out.nfields - 2; /* in front of Via */
    out.nfields = 1;
    expect_fields(&out, expected, sent);
}

static void forwarded_is_appended_to_what_is_trusted(void **state)
{
    struct inl_forwarding f = plain();

    (void)state;
    f.forwarded = f.trusted = true;
    for (size_t i = 0; i < COUNT(forwarded); i++) {
        expect_forwarded(forwarded[i].sent, forwarded[i].expected, &f);
    }
    f.trusted = false;
    for (size_t i = 0; i < COUNT(forwarded); i++) {
        expect_forwarded(forwarded[i].sent, forwarded[0].expected, &f);
    }
}

static void forwarded_quotes_what_is_no_token(void **state)
{
    struct inl_forwarding f = plain();
    struct inlets_field fields[1];
    struct inlets_head head = head_of("", fields), out;
    struct inl_forward_room room;

    (void)state;
    f.forwarded = true;
    f.peer_ip = INL_LIT("2001:db8::1");
    expect_forwarded("",
                     "Forwarded: for=\"[2001:db8::1]\";"
                     "host=\"demo.local:8080\";proto=http\n",
                     &f);
    /* no parser of ours lets it come so far */
    head.host = INL_LIT("a\"b\\c");
    assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
    assert_true(inl_slice_eq(out.fields[out.nfields - 2].value,
                             INL_LIT("for=\"[2001:db8::1]\";"
                                     "host=\"a\\\"b\\\\c\";proto=http")));
}

/* --- Responses and upgrades --- */

static void final_responses_have_a_date(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
    struct inlets_head head = head_of("A: b\n", fields);
    char buf[INL_DATE_TEXT];

    (void)state;
    head.status = 103;
    inl_forward_date(&head, fields, buf);
    assert_int_equal(head.nfields, 1);
    head.status = 200;
    inl_forward_date(&head, fields, buf);
    assert_int_equal(head.nfields, 2);
    assert_true(inl_slice_eq(fields[1].name, INL_LIT("Date")));
    assert_int_equal(fields[1].value.len, INL_DATE_TEXT - 1);
    inl_forward_date(&head, fields, buf);
    assert_int_equal(head.nfields, 2);
    head.nfields = INL_FORWARD_MAX_FIELDS;
    for (size_t i = 1; i < head.nfields; i++) {
        fields[i] = fields[0];
    }
    inl_forward_date(&head, fields, buf);
    assert_int_equal(head.nfields, INL_FORWARD_MAX_FIELDS);
}

static void responses_lose_only_what_is_hop_by_hop(void **state)
{
    struct inlets_field fields[INL_FORWARD_MAX_FIELDS],
        room[INL_FORWARD_MAX_FIELDS];
    struct inlets_head out,
        head = head_of("Connection: close, X-Inner\nX-Inner: 1\n"
                       "Keep-Alive: x\nProxy-Authenticate: Basic\n"
                       "Proxy-Authentication-Info: x\nUpgrade: h2c\n"
                       "Via: 1.1 origin\nX-Forwarded-For: 1\nSet-Cookie: a\n"
                       "Trailer: X\nServer: s\n",
                       fields);

    (void)state;
    assert_int_equal(inl_forward_response(&head, room, &out), 0);
    expect_fields(&out,
                  "Via: 1.1 origin\nX-Forwarded-For: 1\nSet-Cookie: a\n"
                  "Trailer: X\nServer: s\n",
                  "a response");
    head.nfields = INL_FORWARD_MAX_FIELDS + 1;
    assert_int_equal(inl_forward_response(&head, room, &out), INLETS_EUPSTREAM);
}

static const struct {
    const char *sent;
    bool is_websocket;
} upgrades[] = {
    {"Connection: Upgrade\nUpgrade: websocket\n", true},
    {"Connection: keep-alive, upgrade\nUpgrade: WebSocket\n", true},
    {"Upgrade: websocket\n", false},
    {"Connection: Upgrade\n", false},
    {"Connection: Upgrade\nUpgrade: h2c\n", false},
    {"Connection: Upgrade\nUpgrade: h2c, websocket\n", false},
    {"Connection: Upgrade\nUpgrade: websocket\nUpgrade: h2c\n", false},
    {"Connection: Upgrade\nUpgrade: websocket\nUpgrade: websocket\n", false},
    {"Connection: close\nUpgrade: websocket\n", false},
};

static void only_websocket_is_upgraded_to(void **state)
{
    const struct inl_forwarding f = plain();

    (void)state;
    for (size_t i = 0; i < COUNT(upgrades); i++) {
        struct inlets_field fields[INL_FORWARD_MAX_FIELDS];
        struct inlets_head head = head_of(upgrades[i].sent, fields), out;
        struct inl_forward_room room;

        head.flags = INLETS_HEAD_UPGRADE;
        assert_int_equal(inl_is_websocket_upgrade(&head),
                         upgrades[i].is_websocket);
        assert_int_equal(inl_forward_request(&head, &f, &room, &out), 0);
        assert_int_equal(out.flags,
                         upgrades[i].is_websocket ? INLETS_HEAD_UPGRADE : 0);
        expect_fields(&out, OURS, upgrades[i].sent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_visitor_chooses_no_field_of_ours),
        cmocka_unit_test(via_names_the_received_version),
        cmocka_unit_test(a_long_via_stays_whole),
        cmocka_unit_test(as_many_fields_as_there_is_room),
        cmocka_unit_test(without_a_host_none_is_made_up),
        cmocka_unit_test(hops_are_counted),
        cmocka_unit_test(a_trusted_proxy_is_believed_when_it_makes_sense),
        cmocka_unit_test(a_long_chain_loses_its_far_end),
        cmocka_unit_test(the_client_is_the_last_who_is_not_trusted),
        cmocka_unit_test(a_request_id_is_sane_or_ours),
        cmocka_unit_test(forwarded_is_appended_to_what_is_trusted),
        cmocka_unit_test(forwarded_quotes_what_is_no_token),
        cmocka_unit_test(final_responses_have_a_date),
        cmocka_unit_test(responses_lose_only_what_is_hop_by_hop),
        cmocka_unit_test(only_websocket_is_upgraded_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
