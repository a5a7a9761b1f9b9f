/* outlier.c: see outlier.h. */
#include "relay/outlier.h"

bool inl_outlier_is_out(const struct inl_outlier *o, uint64_t now_ms)
{
    return o->ejected && (o->probing || now_ms < o->until_ms);
}

bool inl_outlier_is_due(const struct inl_outlier *o, uint64_t now_ms)
{
    return o->ejected && !o->probing && now_ms >= o->until_ms;
}

struct inl_trial inl_outlier_begin(struct inl_outlier *o, uint64_t now_ms)
{
    struct inl_trial trial = {.probe = inl_outlier_is_due(o, now_ms)};

    if (trial.probe) {
        o->probing = true;
        o->epoch++;
    }
    trial.epoch = o->epoch;
    return trial;
}

/* Soon after it came back, or never gone: it is the same trouble again. */
static void eject(struct inl_outlier *o, uint64_t now_ms)
{
    bool again = o->ejected ||
                 (o->back_ms != 0 && now_ms - o->back_ms < INL_OUTLIER_MAX_MS);

    o->penalty_ms = again ? o->penalty_ms * 2 : INL_OUTLIER_MIN_MS;
    if (o->penalty_ms > INL_OUTLIER_MAX_MS) {
        o->penalty_ms = INL_OUTLIER_MAX_MS;
    }
    o->ejected = true;
    o->until_ms = now_ms + o->penalty_ms;
    o->epoch++;
}

static enum inl_outlier_news good(struct inl_outlier *o, uint64_t now_ms)
{
    o->fails = 0;
    if (!o->ejected) {
        return INL_OUTLIER_NOTHING;
    }
    o->ejected = o->probing = false;
    o->back_ms = now_ms;
    return INL_OUTLIER_BACK;
}

static enum inl_outlier_news bad(struct inl_outlier *o, uint64_t now_ms,
                                 bool probe)
{
    if (o->ejected) {
        if (probe) {
            eject(o, now_ms);
        }
        return INL_OUTLIER_NOTHING; /* known */
    }
    if (++o->fails < INL_OUTLIER_FAILS) {
        return INL_OUTLIER_NOTHING;
    }
    o->fails = 0;
    eject(o, now_ms);
    return INL_OUTLIER_EJECTED;
}

enum inl_outlier_news inl_outlier_end(struct inl_outlier *o, uint64_t now_ms,
                                      struct inl_trial trial,
                                      enum inl_outcome outcome)
{
    if (trial.epoch != o->epoch) {
        return INL_OUTLIER_NOTHING;
    }
    if (trial.probe) {
        o->probing = false;
    }
    switch (outcome) {
    case INL_OUTCOME_GOOD:
        return good(o, now_ms);
    case INL_OUTCOME_BAD:
        return bad(o, now_ms, trial.probe);
    case INL_OUTCOME_NONE:
    default:
        return INL_OUTLIER_NOTHING;
    }
}
