/* accounts.h: who may be a client, and what each of them may do: the accounts
 * file at work. It answers questions and counts; what becomes of a client
 * that may not go on is its owner's matter.
 *
 * An account is known by its name while the file changes: its clients and
 * what it has used up of its limits stay with it. */
#ifndef INL_RELAY_ACCOUNTS_H
#define INL_RELAY_ACCOUNTS_H

#include "base/env.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pace.h"
#include "proto/json_accounts.h"

struct inl_account_rule;

struct inl_account {
    const struct inl_account_entry *says;
    struct inl_list clients; /* the owner's: connected, by their nodes */
    size_t nclients;
    struct inl_pace streams; /* that were begun */
    bool has_new_hosts;      /* other ones than when its clients came */
};

/* All zero: none, and is_set false. */
struct inl_accounts {
    bool is_set;
    struct inl_account_doc doc;
    struct inl_account *items;      /* owned; one for each entry */
    struct inl_account_rule *rules; /* owned; all hosts of all accounts */
    struct inl_map by_host;
};

/* Takes the document over (not on INLETS_ENOMEM: then nothing has changed).
 * Clients of accounts that are not there any more are moved to `orphans`. */
int inl_accounts_set(struct inl_accounts *a, struct inl_env *env,
                     struct inl_account_doc *doc, struct inl_list *orphans);
void inl_accounts_fini(struct inl_accounts *a);

/* NULL: there is none of that name. */
struct inl_account *inl_accounts_find(const struct inl_accounts *a,
                                      const char *name);
/* Whose token has this digest? NULL: nobody's. The time it takes does not
 * depend on which, nor on how much of it is right. */
struct inl_account *inl_accounts_by_token(const struct inl_accounts *a,
                                          const uint8_t digest[INL_SHA256_LEN]);
/* Whose is this token of an issuer (JWT), and until when? NULL: nobody's, and
 * why, for the log. */
struct inl_account *inl_accounts_by_jwt(const struct inl_accounts *a,
                                        struct inlets_slice token,
                                        int64_t now_s, int64_t *ret_until_s,
                                        const char **ret_why);
/* Why a client with this proof and this certificate (its fingerprint; NULL:
 * none) may not be there, or no more: INLETS_EAUTH, INLETS_EFORBIDDEN, with a
 * sentence; or 0. */
int inl_account_check(const struct inl_account *account, struct inl_env *env,
                      const uint8_t digest[INL_SHA256_LEN],
                      const uint8_t *certificate, const struct inl_ip *from,
                      const char **ret_why);
bool inl_accounts_have_dates(const struct inl_accounts *a);

/* The owner's node of a client comes and goes. */
void inl_account_join(struct inl_account *account, struct inl_list *node);
void inl_account_leave(struct inl_account *account, struct inl_list *node);

/* May its clients serve this endpoint: all that it stands for? */
bool inl_account_owns(const struct inl_accounts *a,
                      const struct inl_account *account,
                      const struct inl_endpoint *endpoint);
/* Is there any account that may serve this request? host is normalised. */
bool inl_accounts_may_serve(const struct inl_accounts *a,
                            struct inlets_slice host, struct inlets_slice path);

/* May one more stream begin, while `running` of the account's do? It counts
 * then. INLETS_ELIMIT, with the name of the limit. */
int inl_account_begin_stream(struct inl_account *account, struct inl_env *env,
                             size_t running, const char **ret_limit);

#endif
