/* outlier.h: is a target to be left out because it fails? Who fails answers
 * fastest and would win every comparison of busyness.
 *
 *   IN        counts failures in a row
 *   EJECTED   after INL_OUTLIER_FAILS of them, until `until_ms`
 *   DUE       the time is over: the next request is the probe
 *   PROBING   it is under way; its outcome decides: IN, or EJECTED for twice
 *             as long
 *
 * Only requests that began in the present state count (`epoch`): those that
 * were under way at the ejection say nothing new. Plain data, no memory. */
#ifndef INL_RELAY_OUTLIER_H
#define INL_RELAY_OUTLIER_H

#include <stdbool.h>
#include <stdint.h>

#define INL_OUTLIER_FAILS 3u
#define INL_OUTLIER_MIN_MS 1000u
#define INL_OUTLIER_MAX_MS 30000u

enum inl_outcome {
    INL_OUTCOME_NONE, /* given up for another reason */
    INL_OUTCOME_GOOD, /* it answered */
    INL_OUTCOME_BAD   /* it failed, by its own fault */
};

enum inl_outlier_news {
    INL_OUTLIER_NOTHING,
    INL_OUTLIER_EJECTED,
    INL_OUTLIER_BACK
};

/* All zero is in. */
struct inl_outlier {
    uint64_t until_ms; /* ejected: until then */
    uint64_t back_ms;  /* when it last came back; 0: never out */
    uint32_t penalty_ms;
    uint32_t epoch;
    unsigned fails; /* in a row */
    bool ejected, probing;
};

/* One request's part in it. */
struct inl_trial {
    uint32_t epoch;
    bool probe;
};

/* Is it to be left out? */
bool inl_outlier_is_out(const struct inl_outlier *o, uint64_t now_ms);
/* Is the next request the probe? */
bool inl_outlier_is_due(const struct inl_outlier *o, uint64_t now_ms);
/* A request goes there; each begin is followed by one end. */
struct inl_trial inl_outlier_begin(struct inl_outlier *o, uint64_t now_ms);
enum inl_outlier_news inl_outlier_end(struct inl_outlier *o, uint64_t now_ms,
                                      struct inl_trial trial,
                                      enum inl_outcome outcome);

#endif
