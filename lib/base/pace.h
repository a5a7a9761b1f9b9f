/* pace.h: a rate with room for a burst, kept in one number: when all that was
 * taken will have been paid for (the virtual scheduling of ITU-T I.371). All
 * zero: nothing was taken yet. */
#ifndef INL_BASE_PACE_H
#define INL_BASE_PACE_H

#include <stdint.h>

struct inl_pace {
    uint64_t paid_us;
};

/* One every each_us, and `burst` (at least 1) at once. */
struct inl_pace_rate {
    uint64_t each_us;
    uint32_t burst;
};

/* For how long one more is too many; 0: it is not. */
static inline uint64_t inl_pace_wait_us(const struct inl_pace *p,
                                        struct inl_pace_rate rate,
                                        uint64_t now_us)
{
    uint64_t owed = p->paid_us > now_us ? p->paid_us - now_us : 0;
    uint64_t room = rate.each_us * (rate.burst - 1);

    return owed <= room ? 0 : owed - room;
}

static inline void inl_pace_take(struct inl_pace *p, struct inl_pace_rate rate,
                                 uint64_t now_us)
{
    p->paid_us = (p->paid_us > now_us ? p->paid_us : now_us) + rate.each_us;
}

#endif
