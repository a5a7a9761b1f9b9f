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
        {RULES("[{\"issuer\": \"i\", \"/~2\": \"me\"}]"), "second"},
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
        {"{\"accounts\": {}, \"issuers\": []}", "issuers: not an object"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {}}}", "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"\", \"keys\": []}}}",
         "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": {\"i\": {\"issuer\": \"a\", "
         "\"audience\": \"b\", \"keys\": [], \"more\": 1}}}",
         "issuer i: not like"},
        {"{\"accounts\": {}, \"issuers\": " ISSUER("5") "}", "none is for"},
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
        cmocka_unit_test(times_have_sharp_edges),
        cmocka_unit_test(a_change_anywhere_is_noticed),
        cmocka_unit_test(rules_fit_or_not),
        cmocka_unit_test(documents_without_sense_are_refused),
        cmocka_unit_test(memory_may_run_out),
    };

    /* PSA keeps what it has from the first call on. */
    assert_int_equal(inl_crypto_init(), 0);
    alloc_install();
    return cmocka_run_group_tests_name("jwt", tests, NULL, NULL);
}
