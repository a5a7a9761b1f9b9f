/* log.h: what the library has to say, as structured events. */
#ifndef INLETS_LOG_H
#define INLETS_LOG_H

#include <inlets/export.h>
#include <inlets/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum inlets_log_level {
    INLETS_LOG_ERROR = 0, /* somebody has to do something */
    INLETS_LOG_WARN = 1,  /* worth a look */
    INLETS_LOG_INFO = 2,  /* connects, disconnects, one line per request */
    INLETS_LOG_DEBUG = 3  /* state changes of the machines */
};

/* One value of an event. text.ptr is NULL for a number. Values may hold
 * bytes that a visitor chose: whoever prints them must escape them. */
struct inlets_log_field {
    const char *key; /* [a-z0-9_]+ */
    struct inlets_slice text;
    int64_t number;
};

/* event: a short constant phrase, e.g. "request" or "tunnel connected". Runs
 * on the loop's thread; must not call back into the library. Secrets and
 * query strings never appear in a field. */
typedef void (*inlets_log_fn)(enum inlets_log_level level, const char *event,
                              const struct inlets_log_field *fields,
                              size_t nfields, void *user);

#ifdef __cplusplus
}
#endif
#endif
