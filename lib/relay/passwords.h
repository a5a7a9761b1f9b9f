/* passwords.h: is it the password? Slow hashes are computed on other threads,
 * a few at once; what was right is remembered for a while, by a fast digest
 * with a key that no other process has, so that only the first of many
 * requests waits. Everything here has an upper bound. */
#ifndef INL_RELAY_PASSWORDS_H
#define INL_RELAY_PASSWORDS_H

#include "base/env.h"
#include "base/map.h"
#include "relay/ask.h"

/* Each takes 16 MiB and a processor for 0.1 s. */
#define INL_PASSWORDS_AT_ONCE 2u
#define INL_PASSWORDS_WAITING 32u
#define INL_PASSWORDS_WAITING_EACH 8u /* from one address */
#define INL_PASSWORDS_KNOWN 1024u
#define INL_PASSWORDS_KNOWN_MS (5u * 60 * 1000)

struct inl_passwords {
    struct inl_env *env;
    uint8_t key[INL_SHA256_LEN];
    struct inl_map by_digest; /* of those that are known to be right */
    struct inl_list known;    /* the oldest first */
    size_t nknown;
    struct inl_list jobs; /* waiting, in the order in which they came */
    struct inl_list running;
    size_t nrunning;
    struct inl_later begin;
};

void inl_passwords_init(struct inl_passwords *p, struct inl_env *env);
/* What runs ends by itself; who asks is not answered. All zero is fine. */
void inl_passwords_fini(struct inl_passwords *p);

/* Is `password` the one of `hash` (NULL: of nobody, which costs the same)? 0:
 * yes. INLETS_EAUTH: no. INL_ASKED. INLETS_ETOOMANY: too many wait, from this
 * address (ask->from) or in all. INLETS_ENOMEM. */
int inl_passwords_check(struct inl_passwords *p, const char *hash,
                        struct inlets_slice password, struct inl_ask *ask);

#endif
