/* proxies.h: the way out through a proxy: --proxy, --proxy-from, --no-proxy,
 * and what the environment says, by curl's rules. What is here may hold a
 * password. */
#ifndef CMD_INLETS_CLIENT_PROXIES_H
#define CMD_INLETS_CLIENT_PROXIES_H

#include "common/problem.h"
#include <stdbool.h>

/* Owned, but for no_proxy. NULL: not set, or set to nothing. */
struct cmd_proxies_env {
    char *http, *https, *all;
    const char *no_proxy;
    bool has_upper_http; /* HTTP_PROXY: not read, as whoever sends a request to
                          * a CGI script could set it; that is worth a line */
};

/* All zero: none. */
struct cmd_proxies {
    char *flag;             /* owned; of --proxy */
    const char *file;       /* of --proxy-from */
    const char *no_proxy;   /* of --no-proxy; then, whichever holds */
    char *plain, *tls;      /* owned; which ones hold; "": none */
    const char *plain_from; /* where they come from */
    const char *tls_from;   /* ... for people */
    const char *warning;    /* NULL: none */
};

/* Takes the variables out of the environment, since there may be passwords in
 * them. Call it before anything else. */
void cmd_proxies_from_environment(struct cmd_proxies_env *ret);
void cmd_proxies_env_fini(struct cmd_proxies_env *env);

/* Flags first, then env, of which no_proxy is borrowed. "" and "none" are a
 * flag's word for none, whatever the environment says. 0 or -1. */
int cmd_proxies_choose(struct cmd_proxies *proxies,
                       const struct cmd_proxies_env *env,
                       struct cmd_problem *p);
/* What the library refused. */
void cmd_proxies_explain(const char *from, const char *url, int err,
                         struct cmd_problem *p);
void cmd_proxies_fini(struct cmd_proxies *proxies);

#endif
