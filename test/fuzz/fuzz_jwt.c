/* fuzz_jwt.c: tokens of issuers, and the file that says whose they are. The
 * first byte says what the rest is: t, a token as a client shows it; p, its
 * header, a new line, and its claims, under a signature of something else; r, a
 * rule, a new line, and claims; any other, an accounts file. Beyond not
 * crashing: no such token is taken, and there is always a reason; a rule that
 * asks for more never fits where one that asks for less does not; a file that
 * is taken is taken again as it is printed, and says the same. */
#include "base/codec.h"
#include "base/slice.h"
#include "proto/json_accounts.h"
#include <inlets/err.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            abort();                                                           \
        }                                                                      \
    } while (0)

#define NOW_S 1700000000

/* The key and the signature of RFC 7515 appendix A.3. */
static const char document[] =
    "{\"accounts\": {\"a\": {\"hosts\": [\"*\"], \"claims\": [{\"issuer\": "
    "\"i\", \"sub\": \"*e\"}]}}, \"issuers\": {\"i\": {\"issuer\": \"joe\", "
    "\"audience\": \"inlets\", \"keys\": [{\"kty\": \"EC\", \"crv\": "
    "\"P-256\", \"x\": \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", "
    "\"y\": \"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}}}";
static const char signature[] =
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxf"
    "KTUJqPP3-Kg6NU1Q";

static void refuse(struct inlets_slice token)
{
    struct inl_account_doc doc;
    char words[INL_ACCOUNT_WHY];
    const char *why = NULL;
    int64_t until_s = 0;

    CHECK(inl_account_doc_parse(&doc, inl_str(document), words) == 0);
    CHECK(inl_account_doc_by_jwt(&doc, token, NOW_S, &until_s, &why) == NULL);
    CHECK(why != NULL && until_s == 0);
    inl_account_doc_fini(&doc);
}

/* Returns how long it is. */
static size_t put_base64url(char *out, struct inlets_slice part)
{
    size_t len = INL_BASE64_LEN(part.len);

    inl_base64_encode(part.ptr, part.len, out);
    while (len > 0 && out[len - 1] == '=') {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    }
    return len;
}

/* What is before the first new line, and what is behind it. */
static struct inlets_slice cut(struct inlets_slice *text)
{
    size_t n = inl_slice_find(*text, '\n');
    struct inlets_slice first = inl_slice(text->ptr, n);

    *text = inl_slice_from(*text, n < text->len ? n + 1 : n);
    return first;
}

static void refuse_parts(struct inlets_slice text)
{
    char *token = malloc(2 * text.len + sizeof(signature) + 16);
    struct inlets_slice header = cut(&text);
    size_t len;

    CHECK(token != NULL);
    len = put_base64url(token, header);
    token[len++] = '.';
    len += put_base64url(token + len, text);
    memcpy(token + len, signature, sizeof(signature));
    refuse(inl_slice(token, len + sizeof(signature) - 1));
    free(token);
}

static json_t *load(struct inlets_slice text)
{
    return json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
}

static void match(struct inlets_slice text)
{
    json_t *rule = load(cut(&text)), *claims = load(text);

    if (json_is_object(rule) && json_is_object(claims)) {
        bool fits = inl_jwt_matches(claims, rule);

        CHECK(json_object_set_new(rule, "issuer", json_string("i")) == 0);
        CHECK(inl_jwt_matches(claims, rule) == fits);
        CHECK(json_object_set_new(rule, "/no/such", json_string("x")) == 0);
        (void)json_object_del(claims, "no");
        CHECK(!inl_jwt_matches(claims, rule));
    }
    json_decref(rule);
    json_decref(claims);
}

static void read_file(struct inlets_slice text)
{
    struct inl_account_doc doc, again;
    char why[INL_ACCOUNT_WHY] = "", *printed;
    int err = inl_account_doc_parse(&doc, text, why);

    CHECK(err == 0 ||
          (err == INLETS_EINVAL && *why != '\0' && strlen(why) < sizeof(why)));
    if (err != 0) {
        return;
    }
    printed = inl_account_doc_print(&doc);
    CHECK(printed != NULL);
    CHECK(inl_account_doc_parse(&again, inl_str(printed), why) == 0);
    CHECK(again.n == doc.n && again.nissuers == doc.nissuers);
    for (size_t i = 0; i < doc.n; i++) {
        const struct inl_account_entry *a = &doc.entries[i];
        const struct inl_account_entry *b = &again.entries[i];

        CHECK(strcmp(a->name, b->name) == 0);
        CHECK(a->nhosts == b->nhosts && a->nhosts > 0);
        CHECK(memcmp(a->claims_proof, b->claims_proof, INL_SHA256_LEN) == 0);
    }
    inl_account_doc_free_text(printed);
    inl_account_doc_fini(&again);
    inl_account_doc_fini(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inlets_slice rest;

    if (size == 0) {
        return 0;
    }
    rest = inl_slice((const char *)data + 1, size - 1);
    switch (data[0]) {
    case 't':
        refuse(rest);
        break;
    case 'p':
        refuse_parts(rest);
        break;
    case 'r':
        match(rest);
        break;
    default:
        read_file(rest);
        break;
    }
    return 0;
}
