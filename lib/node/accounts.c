/* accounts.c: the accounts as programs see them: inlets/accounts.h over
 * proto/json_accounts. */
#include "node/accounts.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/slice.h"
#include "node/opts.h"
#include "proto/crypto.h"
#include <stdio.h>
#include <string.h>

_Static_assert(INLETS_WHY_SIZE >= INL_ACCOUNT_WHY, "a sentence fits");

/* A token is this and the base64 of so many random bytes, 192 bits, in which
 * nothing needs quotes: secret scanners find it by its beginning. */
#define TOKEN_PREFIX "inl_"
#define TOKEN_RANDOM 24u
_Static_assert(sizeof(TOKEN_PREFIX) + INL_BASE64_LEN(TOKEN_RANDOM) <=
                   INLETS_TOKEN_SIZE,
               "a token fits");

/* Ten guesses at once and then ten a minute: still, not from a list. */
#define PASSWORD_MIN 8u

void inlets_account_init_sized(struct inlets_account *account, size_t size)
{
    const struct inlets_account none = {.size = size};

    inl_opts_copy(account, size, &none, sizeof(none));
    account->size = size;
}

int inlets_accounts_parse(struct inlets_accounts **ret_accounts,
                          struct inlets_slice text, char why[INLETS_WHY_SIZE])
{
    struct inlets_accounts *a = inl_calloc(1, sizeof(*a));
    int err = a == NULL ? INLETS_ENOMEM : inl_crypto_init();

    if (err == 0) {
        err = inl_account_doc_parse(&a->doc, text, why);
    }
    if (err != 0) {
        inl_free(a);
        return err;
    }
    *ret_accounts = a;
    return 0;
}

void inlets_accounts_free(struct inlets_accounts *accounts)
{
    if (accounts != NULL) {
        inl_account_doc_fini(&accounts->doc);
        inl_free(accounts);
    }
}

char *inlets_accounts_print(const struct inlets_accounts *accounts)
{
    return inl_account_doc_print(&accounts->doc);
}

void inlets_accounts_free_text(char *text)
{
    inl_account_doc_free_text(text);
}

size_t inlets_accounts_count(const struct inlets_accounts *accounts)
{
    return accounts->doc.n;
}

void inlets_accounts_get(const struct inlets_accounts *accounts, size_t index,
                         struct inlets_account *account)
{
    const struct inl_account_entry *e = &accounts->doc.entries[index];
    const struct inlets_account view = {
        .size = account->size,
        .name = e->name,
        .hosts = e->hosts,
        .nhosts = e->nhosts,
        .networks = e->networks,
        .nnetworks = e->nnetworks,
        .expires = e->expires,
        .sessions = e->sessions,
        .streams = e->streams,
        .streams_per_second = e->streams_per_second,
        .ntokens = e->ntokens,
        .password = e->password,
        .nclaims = inl_account_entry_nrules(e),
    };

    inl_opts_copy(account, account->size, &view, sizeof(view));
}

/* A token and its digest. */
static int make_token(char token[INLETS_TOKEN_SIZE],
                      uint8_t digest[INL_SHA256_LEN])
{
    uint8_t random[TOKEN_RANDOM];
    char *at = token + sizeof(TOKEN_PREFIX) - 1;
    int err = inl_crypto_random(random, sizeof(random));

    if (err != 0) {
        return err;
    }
    memcpy(token, TOKEN_PREFIX, sizeof(TOKEN_PREFIX));
    inl_base64_encode(random, sizeof(random), at);
    inl_wipe(random, sizeof(random));
    at[INL_BASE64_LEN(TOKEN_RANDOM)] = '\0';
    for (; *at != '\0'; at++) { /* base64url: RFC 4648 5 */
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
    }
    return inl_sha256(inl_str(token), digest);
}

static int make_hash(const char *password, char hash[INL_PASSWORD_HASH_SIZE],
                     char why[INLETS_WHY_SIZE])
{
    size_t len = strlen(password);
    int err = len < PASSWORD_MIN
                  ? INLETS_EINVAL
                  : inl_password_hash(inl_slice(password, len), hash);

    if (err == INLETS_EINVAL) {
        (void)snprintf(why, INLETS_WHY_SIZE,
                       "the password is not of %u to %u bytes", PASSWORD_MIN,
                       INL_PASSWORD_MAX);
    }
    return err;
}

int inlets_accounts_add(struct inlets_accounts *accounts,
                        const struct inlets_account *account,
                        char ret_token[INLETS_TOKEN_SIZE],
                        char why[INLETS_WHY_SIZE])
{
    struct inlets_account given;
    struct inl_account_entry e = {.ntokens = 0};
    char token[INLETS_TOKEN_SIZE] = "", hash[INL_PASSWORD_HASH_SIZE];
    int err;

    inlets_account_init(&given);
    inl_opts_copy(&given, sizeof(given), account, account->size);
    if (given.name == NULL || given.nhosts == 0) {
        (void)strcpy(why, "a name and a host are needed");
        return INLETS_EINVAL;
    }
    e.name = given.name;
    e.hosts = (const char **)(uintptr_t)given.hosts; /* read only */
    e.nhosts = given.nhosts;
    e.networks = (const char **)(uintptr_t)given.networks;
    e.nnetworks = given.nnetworks;
    e.expires = given.expires;
    e.sessions = given.sessions;
    e.streams = given.streams;
    e.streams_per_second = given.streams_per_second;
    e.rule_issuer = given.issuer;
    e.rule_claims = given.claims;
    e.nrule_claims = given.nclaims;
    if (given.issuer != NULL) {
        err = 0;
    } else if (given.password != NULL) {
        e.password = hash;
        err = make_hash(given.password, hash, why);
    } else {
        e.ntokens = 1;
        err = make_token(token, e.tokens[0]);
    }
    if (err == 0) {
        err = inl_account_doc_add(&accounts->doc, &e, why);
    }
    if (err == 0) {
        memcpy(ret_token, token, sizeof(token));
    }
    inl_wipe(token, sizeof(token));
    return err;
}

int inlets_accounts_remove(struct inlets_accounts *accounts, const char *name)
{
    return inl_account_doc_remove(&accounts->doc, name);
}

int inlets_accounts_rotate(struct inlets_accounts *accounts, const char *name,
                           int drop_old, char ret_token[INLETS_TOKEN_SIZE])
{
    uint8_t digest[INL_SHA256_LEN];
    char token[INLETS_TOKEN_SIZE];
    int err = make_token(token, digest);

    if (err == 0) {
        err =
            inl_account_doc_rotate(&accounts->doc, name, drop_old != 0, digest);
    }
    if (err == 0) {
        memcpy(ret_token, token, sizeof(token));
    }
    inl_wipe(token, sizeof(token));
    return err;
}

int inlets_accounts_set_password(struct inlets_accounts *accounts,
                                 const char *name, const char *password)
{
    char hash[INL_PASSWORD_HASH_SIZE], why[INLETS_WHY_SIZE];
    int err = make_hash(password, hash, why);

    return err != 0 ? err
                    : inl_account_doc_set_password(&accounts->doc, name, hash);
}

int inlets_accounts_set_issuer(struct inlets_accounts *accounts,
                               const char *name, const char *issuer,
                               const char *audience, struct inlets_slice keys,
                               char why[INLETS_WHY_SIZE])
{
    return inl_account_doc_set_issuer(&accounts->doc, name, issuer, audience,
                                      keys, why);
}

/* The index-th issuer with a file; or how many issuers there are. */
static size_t find_file(const struct inlets_accounts *accounts, size_t index)
{
    const struct inl_account_doc *doc = &accounts->doc;
    size_t i = 0;

    while (i < doc->nissuers && (doc->issuers[i].jwks == NULL || index-- > 0)) {
        i++;
    }
    return i;
}

const char *inlets_accounts_keys_file(const struct inlets_accounts *accounts,
                                      size_t index)
{
    size_t i = find_file(accounts, index);

    return i < accounts->doc.nissuers ? accounts->doc.issuers[i].jwks : NULL;
}

int inlets_accounts_load_keys(struct inlets_accounts *accounts, size_t index,
                              struct inlets_slice keys,
                              char why[INLETS_WHY_SIZE])
{
    size_t i = find_file(accounts, index);

    return i < accounts->doc.nissuers
               ? inl_account_doc_load_keys(&accounts->doc, i, keys, why)
               : INLETS_ENOROUTE;
}
