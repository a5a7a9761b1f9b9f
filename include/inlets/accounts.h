/* accounts.h: who may open tunnels: accounts, each with its tokens, the hosts
 * that it may serve, and its limits. They are kept as a text (JSON), which
 * holds no token, but their SHA-256 only.
 *
 * parse -> (add, remove, rotate, print) -> free, or give them to a server. One
 * thread at a time. */
#ifndef INLETS_ACCOUNTS_H
#define INLETS_ACCOUNTS_H

#include <inlets/err.h>
#include <inlets/export.h>
#include <inlets/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct inlets_accounts;
struct inlets_server;

/* Room for a token, with NUL. */
#define INLETS_TOKEN_SIZE 40
/* Room for a sentence that says what is wrong, with NUL. */
#define INLETS_WHY_SIZE 200

/* One account. Where it is given the strings are borrowed for the call; where
 * it is got they belong to the accounts, until these change. */
struct inlets_account {
    size_t size; /* set by inlets_account_init */

    const char *name; /* 1 to 64 of A-Z a-z 0-9 . _ -; not - first */
    /* What it may serve, at least one: "app.example.com", "*.example.com" (one
     * label), either with a path ("example.com/api": that and all below), "*"
     * (anything). */
    const char *const *hosts;
    size_t nhosts;
    /* Where its clients may be: like "192.0.2.0/24". None: anywhere. */
    const char *const *networks;
    size_t nnetworks;
    /* In UTC: "2027-01-31" (when that day begins) or "2027-01-31T12:00:00Z".
     * NULL: never. */
    const char *expires;
    /* At once, and a second; 0: no limit. Sessions are connected clients, and
     * streams are visitors' requests, of all its clients together. */
    uint32_t sessions, streams, streams_per_second;

    size_t ntokens; /* of those got: 0 to 2 */

    /* Of one that is added: in place of a token, for Basic authentication
     * (RFC 7617) with the name as the user; 8 to 256 bytes. Of one that is got:
     * its hash by crypt(5). NULL: none. */
    const char *password;

    /* Of one that is added: in place of a token, those of an issuer (JWT) that
     * say all this: like "sub=repo:me/app:ref:refs/heads/main". A name that
     * begins with / is a JSON Pointer (RFC 6901) into the claims; a value that
     * ends in * is a beginning. NULL: none. */
    const char *issuer; /* by the name that inlets_accounts_set_issuer gave */
    const char *const *claims;
    size_t nclaims; /* of one that is got: how many such rules it has */
};

#define inlets_account_init(account)                                           \
    inlets_account_init_sized((account), sizeof(*(account)))
INLETS_API void inlets_account_init_sized(struct inlets_account *account,
                                          size_t size);

/* An empty text is no account yet. INLETS_EINVAL with a sentence in `why`, or
 * INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_accounts_parse(struct inlets_accounts **ret_accounts,
                      struct inlets_slice text, char why[INLETS_WHY_SIZE]);
/* NULL is ignored. */
INLETS_API void inlets_accounts_free(struct inlets_accounts *accounts);

/* The text; the caller ends it with inlets_accounts_free_text. NULL: out of
 * memory. */
INLETS_API INLETS_MUST_USE char *
inlets_accounts_print(const struct inlets_accounts *accounts);
INLETS_API void inlets_accounts_free_text(char *text);

INLETS_API size_t inlets_accounts_count(const struct inlets_accounts *accounts);
/* index: below the count. `account` has been inited. */
INLETS_API void inlets_accounts_get(const struct inlets_accounts *accounts,
                                    size_t index,
                                    struct inlets_account *account);

/* A new account and its token: 192 random bits that are nowhere else; an empty
 * text, if it has a password instead. Errors: INLETS_ECONFLICT (there is one of
 * that name), INLETS_EINVAL, INLETS_ENOMEM; nothing has changed then. */
INLETS_API INLETS_MUST_USE int inlets_accounts_add(
    struct inlets_accounts *accounts, const struct inlets_account *account,
    char ret_token[INLETS_TOKEN_SIZE], char why[INLETS_WHY_SIZE]);
/* INLETS_ENOROUTE: there is none of that name. */
INLETS_API INLETS_MUST_USE int
inlets_accounts_remove(struct inlets_accounts *accounts, const char *name);
/* A new token beside the newest of the old ones, or instead of all. Errors as
 * above, INLETS_ENOMEM. */
INLETS_API INLETS_MUST_USE int
inlets_accounts_rotate(struct inlets_accounts *accounts, const char *name,
                       int drop_old, char ret_token[INLETS_TOKEN_SIZE]);

/* A new password, beside its tokens; to hash it takes 0.1 s. Errors as above,
 * INLETS_EINVAL (not 8 to 256 bytes). */
INLETS_API INLETS_MUST_USE int
inlets_accounts_set_password(struct inlets_accounts *accounts, const char *name,
                             const char *password);

/* Whose tokens (JWT, RFC 7519; RS256 or ES256) accounts may ask for: `issuer`
 * is their "iss", `audience` in their "aud", and `keys` the JWK Set (RFC 7517)
 * that they are signed with, which takes the place of what there was under this
 * name. INLETS_EINVAL with a sentence, INLETS_ENOMEM; nothing has changed then.
 */
INLETS_API INLETS_MUST_USE int inlets_accounts_set_issuer(
    struct inlets_accounts *accounts, const char *name, const char *issuer,
    const char *audience, struct inlets_slice keys, char why[INLETS_WHY_SIZE]);

/* Issuers may have their keys in files of their own ("jwks"). The index-th of
 * these files, as it is written; NULL: there are no more. */
INLETS_API const char *
inlets_accounts_keys_file(const struct inlets_accounts *accounts, size_t index);
/* What is in it: a JWK Set. Until then the tokens of that issuer are refused;
 * changes of the accounts forget it. INLETS_ENOROUTE: there is no such file;
 * INLETS_EINVAL with a sentence, INLETS_ENOMEM: the keys are what they were. */
INLETS_API INLETS_MUST_USE int
inlets_accounts_load_keys(struct inlets_accounts *accounts, size_t index,
                          struct inlets_slice keys, char why[INLETS_WHY_SIZE]);

/* From now on these, beside opts.token, whose holder may serve every host; and
 * nobody without a token. The server owns them, unless the error is
 * INLETS_ENOMEM. Clients of accounts that are gone, that have expired, or
 * whose token is not valid any more are told so and disconnected; those of
 * accounts whose hosts have changed are asked to come back. */
INLETS_API INLETS_MUST_USE int
inlets_server_set_accounts(struct inlets_server *server,
                           struct inlets_accounts *accounts);

#ifdef __cplusplus
}
#endif
#endif
