/* test_jwt.c: tokens of issuers (proto/json_jwt), by the document that says
 * whose they are: two that the openssl program signed once, at every second
 * around their times and with every bit of a byte changed; which rules fit.
 * What is wrong with tokens in other ways is in e2e/test_jwt.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/slice.h"
#include "proto/json_accounts.h"
#include "unit/alloc.h"
#include <inlets/err.h>
#include <stdio.h>
#include <string.h>

/* nbf, iat and, 600 s later, exp */
#define NOW_S 1700000000

/* clang-format off */
#define RSA_KEY \
    "{\"kty\": \"RSA\", \"kid\": \"r1\", \"e\": \"AQAB\", \"n\": \"z4" \
    "vMDqaetjrkUvJT8IfhHJ_fm-30wY4oCUaRhlUe33CGoFfd40AiSrjxWag_gxEeuE" \
    "1a3BSiIrSv71OPZM1e_ER1y9qbLUYpE6KE464gzceZvnlqn6tR9z5L8SUxJ1Wd7i" \
    "58MqLnrkbWdKh05YTF6qzGTri44ECAGQxA1JAzfNnSx6FMub6EUpbaD3gl6fK5PB" \
    "ZY5GgW2SsIvqizRXv2yQyt1Q7kV-tapCvZ4-vdhx4uLH6mO4TOaV3DKiDMJTHZTm" \
    "CUWaRi-2sdGYAV9kDGM2GraaDLrnV2G64IIRXovwD4feFE3pCdXANlI4sq17kOGh" \
    "UBJa4_rIcQxc1dxJcIZw\"}"
#define EC_KEY \
    "{\"kty\": \"EC\", \"kid\": \"e1\", \"crv\": \"P-256\", \"x\": \"" \
    "97Ul4VSjl6J7szmqbkaEMO9LBidXVNLb3MfSTnk8esw\", \"y\": \"d7a5kATo" \
    "YomXxEl4hDf8GkWdua6AOnst_F62fYD2yBU\"}"
#define RSA_TOKEN \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicjEifQ.eyJpc" \
    "3MiOiAiaHR0cHM6Ly9pc3N1ZXIudGVzdCIsICJhdWQiOiAiaW5sZXRzIiwgInN1Y" \
    "iI6ICJtZSIsICJuYmYiOiAxNzAwMDAwMDAwLCAiaWF0IjogMTcwMDAwMDAwMCwgI" \
    "mV4cCI6IDE3MDAwMDA2MDB9.Gwuzwq5b7zhrILfN2-1-UM70NUa2Hr8ICCNMYSnR" \
    "hi8oq4wnDpC0HwTylFeMPl0moxLrbee6zUSZNbU0iSqibeKj3OOvwbB7OPsAD8mE" \
    "j8jClZX4A4S_-JV19wbSc7IzoSMfIZ1Zp3m0Sog2QjPIExoKpJzKNX-3BkRlFjCy" \
    "T4b55Okwv-NcF5Drf-EdWdwVTGXjh8BbPqaJ5lRCoi_ruJ3CG0IxkRVQKX-_zZmd" \
    "CzK6nc_grMMIUIx8Y55jwbAE9glBq3q5L2DuBgU7PK8msrm2Y-_1zhurpguKPHrG" \
    "otwDWEaXPOBYNvi-2fs_S_AJfb3V_tJXq-YQQ9iamYfxmw"
#define EC_TOKEN \
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZTEifQ.eyJpc" \
    "3MiOiAiaHR0cHM6Ly9pc3N1ZXIudGVzdCIsICJhdWQiOiAiaW5sZXRzIiwgInN1Y" \
    "iI6ICJtZSIsICJuYmYiOiAxNzAwMDAwMDAwLCAiaWF0IjogMTcwMDAwMDAwMCwgI" \
    "mV4cCI6IDE3MDAwMDA2MDB9.8OAK84MiYt9RiA_PvodcRTUC9YJ8VO4BTcVGVDoL" \
    "VoRzDRCj-cEoY4oLovVPuxQnjFY8uOMO31UFMFIojTKPHQ"
/* RFC 7515 appendix A.2 and A.3: keys, what is signed, and the signatures. */
#define RFC_RSA_KEY \
    "{\"kty\": \"RSA\", \"e\": \"AQAB\", \"n\": \"" \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp" \
    "-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOW" \
    "vG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs" \
    "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k" \
    "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2" \
    "PAcDTW9gb54h4FRWyuXpoQ" "\"}"
#define RFC_EC_KEY \
    "{\"kty\": \"EC\", \"crv\": \"P-256\", " \
    "\"x\": \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", " \
    "\"y\": \"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define RFC_CLAIMS \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt" \
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC_RSA_SIGNATURE \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7" \
    "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4" \
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K" \
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv" \
    "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB" \
    "p0igcN_IoypGlUPQGe77Rw"
#define RFC_EC_SIGNATURE \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA" \
    "pmWQxfKTUJqPP3-Kg6NU1Q"
/* clang-format on */

#define ISSUER(keys)                                                           \
    "{\"i\": {\"issuer\": \"https://issuer.test\", "                           \
    "\"audience\": \"inlets\", \"keys\": [" keys "]}}"
#define RULES(rules)                                                           \
    "{\"accounts\": {\"first\": {\"hosts\": [\"*\"], \"claims\": " rules "}, " \
    "\"second\": {\"hosts\": [\"*\"], \"claims\": [{\"issuer\": \"i\", "       \
    "\"sub\": \"m*\"}]}}, \"issuers\": " ISSUER(RSA_KEY ", " EC_KEY) "}"
#define ME "[{\"issuer\": \"i\", \"sub\": \"me\"}]"

static struct inl_account_doc parse(const char *text)
{
    struct inl_account_doc doc;
    char why[INL_ACCOUNT_WHY] = "";

    if (inl_account_doc_parse(&doc, inl_str(text), why) != 0) {
        fail_msg("%s", why);
    }
    return doc;
}

static const char *owner_of(const struct inl_account_doc *doc,
                            const char *token, int64_t now_s)
{
    const struct inl_account_entry *entry;
    const char *why = NULL;
    int64_t until_s = 0;

    entry = inl_account_doc_by_jwt(doc, inl_str(token), now_s, &until_s, &why);
    assert_true((entry != NULL) == (until_s == NOW_S + 660) || entry == NULL);
    assert_non_null(why); /* static, also where it is not needed */
    return entry == NULL ? "" : entry->name;
}

static bool is_signed(const struct inl_jwk *key, const char *text,
                      const char *signature, size_t flipped)
{
    uint8_t bytes[256];
    int64_t n = inl_base64url_decode(inl_str(signature), bytes, sizeof(bytes));

    assert_true(n == (key->kind == INL_RS256 ? 256 : 64));
    if (flipped < 8 * (size_t)n) {
        bytes[flipped / 8] ^= (uint8_t)(1u << flipped % 8);
    }
    return inl_verify(key->kind, inl_slice(key->key, key->len), inl_str(text),
                      inl_slice(bytes, (size_t)n));
}

/* Made by others than us and our openssl. */
static void signatures_are_those_of_the_rfc(void **state)
{
    static const struct {
        const char *text, *signature;
        size_t nbits;
    } rows[] = {
        {"eyJhbGciOiJSUzI1NiJ9." RFC_CLAIMS, RFC_RSA_SIGNATURE, 2048},
        {"eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS, RFC_EC_SIGNATURE, 512},
    };
    struct inl_account_doc doc =
        parse("{\"accounts\": {}, \"issuers\": " ISSUER(RFC_RSA_KEY
                                                        ", " RFC_EC_KEY) "}");

    (void)state;
    assert_int_equal(doc.issuers[0].nkeys, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct inl_jwk *key = &doc.issuers[0].keys[i];

        assert_int_equal(key->kind == INL_RS256, i == 0);
        assert_true(is_signed(key, rows[i].text, rows[i].signature, SIZE_MAX));
        assert_false(
            is_signed(key, rows[1 - i].text, rows[i].signature, SIZE_MAX));
        for (size_t bit = i; bit < rows[i].nbits; bit += 9) { /* each byte */
            assert_false(is_signed(key, rows[i].text, rows[i].signature, bit));
        }
    }
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

static void times_have_sharp_edges(void **state)
{
    static const struct {
        int64_t now_s;
        const char *owner;
    } rows[] = {
        {NOW_S, "first"},        {NOW_S - 60, "first"},
        {NOW_S - 61, ""},        {NOW_S + 600, "first"},
        {NOW_S + 659, "first"},  {NOW_S + 660, ""},
        {NOW_S + 400000000, ""}, {0, ""},
        {INT32_MAX, ""},
    };
    struct inl_account_doc doc = parse(RULES(ME));

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(owner_of(&doc, RSA_TOKEN, rows[i].now_s),
                            rows[i].owner);
        assert_string_equal(owner_of(&doc, EC_TOKEN, rows[i].now_s),
                            rows[i].owner);
    }
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

/* Each character of it replaced by each other one that base64url has. */
static void a_change_anywhere_is_noticed(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                 "tuvwxyz0123456789-_.=";
    struct inl_account_doc doc = parse(RULES(ME));
    char token[sizeof(EC_TOKEN)];

    (void)state;
    for (size_t at = 0; at < sizeof(token) - 1; at++) {
        for (size_t i = at % 7; i < sizeof(digits) - 1; i += 7) {
            memcpy(token, EC_TOKEN, sizeof(token));
            if (token[at] == digits[i]) {
                continue;
            }
            token[at] = digits[i];
            if (*owner_of(&doc, token, NOW_S) != '\0') {
                fail_msg("%c at %zu is taken", digits[i], at);
            }
        }
    }
    for (size_t len = 0; len < sizeof(token) - 1; len++) { /* cut */
        memcpy(token, EC_TOKEN, sizeof(token));
        token[len] = '\0';
        assert_string_equal(owner_of(&doc, token, NOW_S), "");
    }
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

static size_t put_base64url(char *out, const char *text)
{
    size_t n = strlen(text), len = INL_BASE64_LEN(n);

    inl_base64_encode(text, n, out);
    while (len > 0 && out[len - 1] == '=') {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    }
    return len;
}

/* What the log says of a token with this header and these claims, whose
 * signature is wrong. */
static const char *why_not(const struct inl_account_doc *doc,
                           const char *header, const char *claims)
{
    static char token[3 * INL_JWT_MAX];
    const char *why = NULL;
    int64_t until_s = 0;
    size_t len;

    len = put_base64url(token, header);
    token[len++] = '.';
    len += put_base64url(token + len, claims);
    memcpy(token + len, strrchr(EC_TOKEN, '.'), 88); /* with NUL */
    assert_true(inl_jwt_is(inl_str(token)));
    assert_null(
        inl_account_doc_by_jwt(doc, inl_str(token), NOW_S, &until_s, &why));
    return why;
}

#define GOOD                                                                   \
    "{\"iss\": \"https://issuer.test\", \"aud\": \"inlets\", "                 \
    "\"sub\": \"me\", \"exp\": 1700000600}"
#define HEADER(more) "{\"alg\": \"ES256\"" more "}"

/* The log tells them apart. */
static void reasons_are_said(void **state)
{
    static const struct {
        const char *header, *claims, *words;
    } rows[] = {
        {HEADER(", \"kid\": \"e1\""), GOOD, "not signed with a key"},
        {HEADER(""), GOOD, "not signed with a key"},
        {HEADER(", \"kid\": \"e2\""), GOOD, "key (kid) is none of"},
        {HEADER(", \"kid\": \"r1\""), GOOD, "key (kid) is none of"},
        {HEADER(", \"kid\": null"), GOOD, "kid is no text"},
        {HEADER(", \"crit\": []"), GOOD, "(crit)"},
        {HEADER(", \"typ\": \"jwt\""), GOOD, "not signed with a key"},
        {HEADER(", \"typ\": \"Application/JWT\""), GOOD,
         "not signed with a key"},
        {HEADER(", \"typ\": \"at+jwt\""), GOOD, "not signed with a key"},
        {HEADER(", \"typ\": \"logout+jwt\""), GOOD, "(typ)"},
        {HEADER(", \"typ\": \"JWTS\""), GOOD, "(typ)"},
        {HEADER(", \"typ\": \"\""), GOOD, "(typ)"},
        {HEADER(", \"typ\": null"), GOOD, "(typ)"},
        {"{\"alg\": \"none\"}", GOOD, "by RS256 or ES256"},
        {"{\"alg\": \"HS256\", \"crit\": []}", GOOD, "by RS256 or ES256"},
        {"{}", GOOD, "by RS256 or ES256"},
        {"[]", GOOD, "malformed"},
        {HEADER(", \"alg\": \"ES256\""), GOOD, "malformed"},
        {HEADER(""), "{} ", "not in the file"},
        {HEADER(""), "{} x", "malformed"},
        {HEADER(""), "{\"iss\": \"https://issuer.test\"}", "another audience"},
        {HEADER(""), "{\"iss\": \"https://issuer.test\", \"aud\": \"inlets\"}",
         "no end"},
    };
    struct inl_account_doc doc = parse(RULES(ME));
    char claims[INL_JWT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *why = why_not(&doc, rows[i].header, rows[i].claims);

        if (strstr(why, rows[i].words) == NULL) {
            fail_msg("%s %s: %s", rows[i].header, rows[i].claims, why);
        }
    }
    /* White space, up to what is looked at, and beyond. */
    (void)snprintf(claims, sizeof(claims), "%-*s", 6000, GOOD);
    assert_non_null(strstr(why_not(&doc, HEADER(""), claims), "not signed"));
    (void)snprintf(claims, sizeof(claims), "%-*s", 6100, GOOD);
    assert_non_null(strstr(why_not(&doc, HEADER(""), claims), "longer than"));
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

#define EC_4 EC_KEY ", " EC_KEY ", " EC_KEY ", " EC_KEY

/* Who may compute signatures for nothing: each key of that kind is tried, or
 * each of that name, but not more than four. */
static void few_keys_are_tried(void **state)
{
    static const struct {
        const char *document, *words; /* NULL: it is good */
    } rows[] = {
        {"{\"accounts\": {\"first\": {\"hosts\": [\"*\"], \"claims\": " ME
         "}}, \"issuers\": " ISSUER(EC_4 ", " RSA_KEY) "}",
         NULL},
        {"{\"accounts\": {\"first\": {\"hosts\": [\"*\"], \"claims\": " ME
         "}}, \"issuers\": " ISSUER(EC_4 ", " RFC_EC_KEY) "}",
         "does not say which"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct inl_account_doc doc = parse(rows[i].document);

        assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S), "first");
        assert_non_null(strstr(why_not(&doc, HEADER(""), GOOD),
                               rows[i].words == NULL ? "not signed with a key"
                                                     : rows[i].words));
        inl_account_doc_fini(&doc);
    }
    assert_int_equal(alloc_live, 0);
}

static void keys_are_for_verifying(void **state)
{
    static const struct {
        const char *member;
        size_t nkeys; /* 0: refused */
    } rows[] = {
        {"\"x5c\": []", 2},
        {"\"key_ops\": [\"verify\"]", 2},
        {"\"key_ops\": [5, \"sign\", \"verify\"]", 2},
        {"\"key_ops\": [\"sign\"]", 1},
        {"\"key_ops\": []", 1},
        {"\"key_ops\": \"verify\"", 1},
        {"\"use\": \"enc\"", 1},
        {"\"use\": 5", 1},
        {"\"alg\": \"RS256\"", 1},
        {"\"alg\": null", 1},
        {"\"d\": \"AA\"", 0},
    };
    struct inl_account_doc doc;
    char text[2000], why[INL_ACCOUNT_WHY];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int n = snprintf(
            text, sizeof(text),
            "{\"accounts\": {}, \"issuers\": " ISSUER(RSA_KEY ", {%s, %s") "}",
            rows[i].member, EC_KEY + 1);

        assert_true(n > 0 && n < (int)sizeof(text));
        if (rows[i].nkeys == 0) {
            assert_int_equal(inl_account_doc_parse(&doc, inl_str(text), why),
                             INLETS_EINVAL);
            assert_non_null(strstr(why, "no public key"));
            continue;
        }
        doc = parse(text);
        assert_int_equal(doc.issuers[0].nkeys, rows[i].nkeys);
        inl_account_doc_fini(&doc);
    }
    assert_int_equal(alloc_live, 0);
}

static void rules_fit_or_not(void **state)
{
    static const struct {
        const char *rules, *owner;
    } rows[] = {
        {RULES(ME), "first"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"you\"}]"), "second"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"you\"}, "
               "{\"issuer\": \"i\", \"sub\": \"me\"}]"),
         "first"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"me\", \"aud\": \"inlets\"}]"),
         "first"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"me\", \"aud\": \"x\"}]"),
         "second"},
        {RULES("[{\"issuer\": \"i\", \"/sub\": \"me\"}]"), "first"},
        {RULES("[{\"issuer\": \"i\", \"/sub/x\": \"me\"}]"), "second"},
        {RULES("[{\"issuer\": \"i\", \"/\": \"me\"}]"), "second"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"me*\"}]"), "first"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"*e\"}]"), "second"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"ME\"}]"), "second"},
        {RULES("[{\"issuer\": \"i\", \"exp\": \"1700000600\"}]"), "second"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct inl_account_doc doc = parse(rows[i].rules);

        if (strcmp(owner_of(&doc, EC_TOKEN, NOW_S), rows[i].owner) != 0) {
            fail_msg("%s", rows[i].rules);
        }
        inl_account_doc_fini(&doc);
    }
    assert_int_equal(alloc_live, 0);
}

#define ONE_ISSUER(name, iss, aud)                                             \
    "\"" name "\": {\"issuer\": \"" iss "\", \"audience\": \"" aud "\", "      \
    "\"keys\": [" EC_KEY "]}"
#define TWO_ISSUERS(first, second)                                             \
    "{\"accounts\": {\"first\": {\"hosts\": [\"*\"], \"claims\": "             \
    "[{\"issuer\": \"i\", \"sub\": \"me\"}]}, \"second\": {\"hosts\": "        \
    "[\"*\"], \"claims\": [{\"issuer\": \"j\", \"sub\": \"me\"}]}}, "          \
    "\"issuers\": {" first ", " second "}}"

/* One "iss" may make tokens for several, and each has its rules. */
static void audiences_are_told_apart(void **state)
{
    static const struct {
        const char *document, *owner;
    } rows[] = {
        {TWO_ISSUERS(ONE_ISSUER("i", "https://issuer.test", "inlets"),
                     ONE_ISSUER("j", "https://issuer.test", "other")),
         "first"},
        {TWO_ISSUERS(ONE_ISSUER("i", "https://issuer.test", "other"),
                     ONE_ISSUER("j", "https://issuer.test", "inlets")),
         "second"},
        {TWO_ISSUERS(ONE_ISSUER("i", "https://issuer.test", "a"),
                     ONE_ISSUER("j", "https://issuer.test", "b")),
         ""},
        {TWO_ISSUERS(ONE_ISSUER("i", "https://other.test", "inlets"),
                     ONE_ISSUER("j", "https://issuer.test", "inlets")),
         "second"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct inl_account_doc doc = parse(rows[i].document);

        assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S), rows[i].owner);
        inl_account_doc_fini(&doc);
    }
    assert_int_equal(alloc_live, 0);
}

/* What a session keeps: other rules or tokens of others are another proof, and
 * other keys are not. */
static void proofs_are_of_rules_and_issuers(void **state)
{
    static const struct {
        const char *document;
        bool is_same;
    } rows[] = {
        {RULES(ME), true},
        {"{\"accounts\": {\"first\": {\"hosts\": [\"x\"], \"claims\": " ME
         "}}, \"issuers\": " ISSUER(EC_KEY) "}",
         true},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"me*\"}]"), false},
        {TWO_ISSUERS(ONE_ISSUER("i", "https://issuer.test", "other"),
                     ONE_ISSUER("j", "a", "b")),
         false},
        {TWO_ISSUERS(ONE_ISSUER("i", "https://other.test", "inlets"),
                     ONE_ISSUER("j", "a", "b")),
         false},
    };
    uint8_t first[INL_SHA256_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct inl_account_doc doc = parse(rows[i].document);
        const uint8_t *proof = doc.entries[0].claims_proof;

        if (i == 0) {
            memcpy(first, proof, sizeof(first));
        }
        assert_int_equal(memcmp(first, proof, sizeof(first)) == 0,
                         rows[i].is_same);
        inl_account_doc_fini(&doc);
    }
    assert_int_equal(alloc_live, 0);
}

static void documents_without_sense_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {RULES("[]"), "one to 16"},
        {RULES("{}"), "one to 16"},
        {RULES("[{\"issuer\": \"i\"}]"), "names no claim"},
        {RULES("[{\"sub\": \"me\"}]"), "none of the file"},
        {RULES("[{\"issuer\": \"j\", \"sub\": \"me\"}]"), "none of the file"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"*\"}]"), "says nothing"},
        {RULES("[{\"issuer\": \"i\", \"sub\": 5}]"), "says nothing"},
        {RULES("[5]"), "none of the file"},
        {RULES("[{\"issuer\": \"i\", \"/~2\": \"me\"}]"), "not a name"},
        {RULES("[{\"issuer\": \"i\", \"/a/b~\": \"me\"}]"), "not a name"},
        {RULES("[{\"issuer\": \"i\", \"\": \"me\"}]"), "not a name"},
        {RULES("[{\"sub\": \"m*\", \"issuer\": \"i\"}]"),
         "account second: claims: a rule is there already"},
        {RULES("[{\"issuer\": \"i\", \"sub\": \"a\"}, "
               "{\"issuer\": \"i\", \"sub\": \"a\"}]"),
         "account first: claims: a rule is there already"},
        {"{\"accounts\": {}, \"issuers\": {" ONE_ISSUER(
             "i", "a", "b") ", " ONE_ISSUER("j", "a", "b") "}}",
         "issuer j: there is one of the same"},
        {"{\"accounts\": {}, \"issuers\": []}", "issuers: not an object"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {}}}", "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"\", \"keys\": []}}}",
         "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"b\", \"keys\": [], \"more\": 1}}}",
         "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": " ISSUER("5") "}", "none is for"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"b\", \"keys\": [" EC_KEY "], \"jwks\": \"c\"}}}",
         "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"b\", \"jwks\": \"\"}}}",
         "issuer i: keys"},
    };
    struct inl_account_doc doc;
    char why[INL_ACCOUNT_WHY];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        *why = '\0';
        assert_int_equal(
            inl_account_doc_parse(&doc, inl_str(rows[i].text), why),
            INLETS_EINVAL);
        if (strstr(why, rows[i].words) == NULL) {
            fail_msg("%s: %s", rows[i].text, why);
        }
    }
    assert_int_equal(alloc_live, 0);
}

#define WITH_FILE                                                              \
    "{\"accounts\": {\"first\": {\"hosts\": [\"*\"], \"claims\": " ME          \
    "}}, \"issuers\": {\"other\": {\"issuer\": \"a\", \"audience\": \"b\", "   \
    "\"jwks\": \"a.json\"}, \"i\": {\"issuer\": \"https://issuer.test\", "     \
    "\"audience\": \"inlets\", \"jwks\": \"i.json\"}}}"
#define KEYS(keys) "{\"keys\": [" keys "]}"

static void keys_may_be_in_files(void **state)
{
    static const char *const none[] = {
        "",
        "{}",
        "[]",
        "5",
        KEYS(""),
        KEYS("5"),
        KEYS(EC_KEY) " x",
        "{\"keys\": {}}",
        KEYS(EC_KEY ", {\"kty\": \"RSA\"}"),
    };
    struct inl_account_doc doc = parse(WITH_FILE);
    char why[INL_ACCOUNT_WHY];

    (void)state;
    assert_string_equal(doc.issuers[1].jwks, "i.json");
    assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S), "");
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
            *why = '\0';
            assert_int_equal(
                inl_account_doc_load_keys(&doc, 1, inl_str(none[i]), why),
                INLETS_EINVAL);
            assert_non_null(strstr(why, "issuer i: keys: "));
        }
        /* What was there stays. */
        assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S),
                            round == 0 ? "" : "first");
        assert_int_equal(
            inl_account_doc_load_keys(&doc, 1, INL_LIT(KEYS(EC_KEY)), why), 0);
        assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S), "first");
    }
    assert_int_equal(
        inl_account_doc_load_keys(&doc, 1, INL_LIT(KEYS(RFC_EC_KEY)), why), 0);
    assert_string_equal(owner_of(&doc, EC_TOKEN, NOW_S), "");
    alloc_fail_nth = 1;
    assert_int_equal(
        inl_account_doc_load_keys(&doc, 1, INL_LIT(KEYS(EC_KEY)), why),
        INLETS_ENOMEM);
    alloc_fail_nth = 0;
    inl_account_doc_fini(&doc);
    assert_int_equal(alloc_live, 0);
}

static void memory_may_run_out(void **state)
{
    struct inl_account_doc doc;
    char why[INL_ACCOUNT_WHY];

    (void)state;
    for (size_t nth = 1; nth < 60; nth++) {
        int err;

        alloc_fail_nth = nth;
        err = inl_account_doc_parse(&doc, INL_LIT(RULES(ME)), why);
        if (err == 0) {
            (void)owner_of(&doc, EC_TOKEN, NOW_S);
            inl_account_doc_fini(&doc);
        }
        alloc_fail_nth = 0;
        assert_int_equal(alloc_live, 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_the_rfc),
        cmocka_unit_test(times_have_sharp_edges),
        cmocka_unit_test(a_change_anywhere_is_noticed),
        cmocka_unit_test(reasons_are_said),
        cmocka_unit_test(few_keys_are_tried),
        cmocka_unit_test(keys_are_for_verifying),
        cmocka_unit_test(rules_fit_or_not),
        cmocka_unit_test(audiences_are_told_apart),
        cmocka_unit_test(proofs_are_of_rules_and_issuers),
        cmocka_unit_test(documents_without_sense_are_refused),
        cmocka_unit_test(keys_may_be_in_files),
        cmocka_unit_test(memory_may_run_out),
    };

    /* PSA keeps what it has from the first call on. */
    assert_int_equal(inl_crypto_init(), 0);
    alloc_install();
    return cmocka_run_group_tests_name("jwt", tests, NULL, NULL);
}
