/* attempts.h: which addresses have shown wrong credentials too often. The table
 * has an upper bound: beyond it the address that failed longest ago is
 * forgotten. An address of IPv6 is its first 64 bits here, as in crowd.h. */
#ifndef INL_RELAY_ATTEMPTS_H
#define INL_RELAY_ATTEMPTS_H

#include "base/cidr.h"
#include "base/env.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pace.h"

/* Ten at once, then ten a minute. */
#define INL_ATTEMPTS_BURST 10u
#define INL_ATTEMPTS_EACH_MS 6000u
#define INL_ATTEMPTS_PLACES 4096u

struct inl_attempts {
    struct inl_env *env;
    struct inl_map places;
    struct inl_list by_age; /* who failed longest ago first */
    size_t n;
};

void inl_attempts_init(struct inl_attempts *a, struct inl_env *env);
void inl_attempts_fini(struct inl_attempts *a);

/* How long this address has to wait, in milliseconds; 0: it may try. */
uint64_t inl_attempts_wait_ms(const struct inl_attempts *a,
                              const struct inl_ip *ip);
/* It failed. Without memory nothing is kept. */
void inl_attempts_failed(struct inl_attempts *a, const struct inl_ip *ip);

#endif
