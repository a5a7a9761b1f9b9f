/* proxies.c: see proxies.h. */
#include "proxies.h"

#include "common/secret.h"
#include "common/upstreams.h"
#include <inlets/err.h>
#include <stdlib.h>
#include <string.h>

/* --- the environment ------------------------------------------------------*/

/* The first that is set holds; both are wiped. */
static char *take_one_of(const char *lower, const char *upper)
{
    char *first = cmd_secret_from_environment(lower);
    char *second = cmd_secret_from_environment(upper);

    if (first == NULL) {
        return second;
    }
    cmd_secret_free(second);
    return first;
}

static const char *one_of(const char *lower, const char *upper)
{
    const char *text = getenv(lower);

    if (text == NULL || *text == '\0') {
        text = getenv(upper);
    }
    return text == NULL || *text == '\0' ? NULL : text;
}

void cmd_proxies_from_environment(struct cmd_proxies_env *ret)
{
    char *upper = cmd_secret_from_environment("HTTP_PROXY");

    ret->has_upper_http = upper != NULL;
    cmd_secret_free(upper);
    ret->http = cmd_secret_from_environment("http_proxy");
    ret->https = take_one_of("https_proxy", "HTTPS_PROXY");
    ret->all = take_one_of("all_proxy", "ALL_PROXY");
    ret->no_proxy = one_of("no_proxy", "NO_PROXY");
}

void cmd_proxies_env_fini(struct cmd_proxies_env *env)
{
    cmd_secret_free(env->http);
    cmd_secret_free(env->https);
    cmd_secret_free(env->all);
    *env = (struct cmd_proxies_env){0};
}

/* --- which ones -----------------------------------------------------------*/

static int set(char **ret, const char **ret_from, const char *text,
               const char *from, struct cmd_problem *p)
{
    *ret = strdup(text);
    *ret_from = from;
    return *ret != NULL ? 0 : cmd_problem_set(p, "out of memory");
}

/* Every url's. */
static int set_both(struct cmd_proxies *proxies, const char *text,
                    const char *from, struct cmd_problem *p)
{
    if (strcmp(text, "none") == 0) {
        text = "";
    }
    return set(&proxies->plain, &proxies->plain_from, text, from, p) != 0 ||
                   set(&proxies->tls, &proxies->tls_from, text, from, p) != 0
               ? -1
               : 0;
}

static int set_from_env(struct cmd_proxies *proxies,
                        const struct cmd_proxies_env *env,
                        struct cmd_problem *p)
{
    static const char all[] = "all_proxy in the environment";
    const char *rest = env->all != NULL ? env->all : "";

    if (proxies->no_proxy == NULL) {
        proxies->no_proxy = env->no_proxy;
    }
    if (env->has_upper_http && env->http == NULL && env->all == NULL) {
        proxies->warning = "HTTP_PROXY in the environment is not read (curl "
                           "does not, either); http_proxy is, for ws://";
    }
    return set(&proxies->plain, &proxies->plain_from,
               env->http != NULL ? env->http : rest,
               env->http != NULL ? "http_proxy in the environment" : all,
               p) != 0 ||
                   set(&proxies->tls, &proxies->tls_from,
                       env->https != NULL ? env->https : rest,
                       env->https != NULL ? "https_proxy in the environment"
                                          : all,
                       p) != 0
               ? -1
               : 0;
}

static int set_from_file(struct cmd_proxies *proxies, struct cmd_problem *p)
{
    char *text = NULL;
    int rc = cmd_secret_from_file(proxies->file, "proxy", &text,
                                  &proxies->warning, p);

    if (rc == 0) {
        rc = set_both(proxies, text, "--proxy-from", p);
        cmd_secret_free(text);
    }
    return rc;
}

int cmd_proxies_choose(struct cmd_proxies *proxies,
                       const struct cmd_proxies_env *env, struct cmd_problem *p)
{
    if (proxies->flag != NULL && proxies->file != NULL) {
        return cmd_problem_set(p, "two sources for one proxy: --proxy and "
                                  "--proxy-from; keep one");
    }
    if (proxies->flag == NULL && proxies->file == NULL) {
        return set_from_env(proxies, env, p);
    }
    if (proxies->no_proxy == NULL) {
        proxies->no_proxy = env->no_proxy;
    }
    return proxies->file != NULL
               ? set_from_file(proxies, p)
               : set_both(proxies, proxies->flag, "--proxy", p);
}

/* --- words ----------------------------------------------------------------*/

void cmd_proxies_explain(const char *from, const char *url, int err,
                         struct cmd_problem *p)
{
    char shown[CMD_URL_SHOWN_SIZE];

    (void)cmd_url_shown(url, strlen(url), shown);
    if (err == INLETS_EINVAL) {
        (void)cmd_problem_set(
            p,
            "%s: '%s' is not like http://host:port or "
            "http://user:password@host:port; write %%40 for an @ in a "
            "password, %%3A for a colon, %%2F for a slash, %%25 for a %%",
            from, shown);
    } else {
        (void)cmd_problem_set(
            p, "%s: '%s': %s%s", from, shown, inlets_strerror(err),
            err == INLETS_ENOTSUP ? "; proxies are reached by http:// or "
                                    "https://, and --proxy none goes without"
                                  : "");
    }
}

void cmd_proxies_fini(struct cmd_proxies *proxies)
{
    cmd_secret_free(proxies->flag);
    cmd_secret_free(proxies->plain);
    cmd_secret_free(proxies->tls);
    *proxies = (struct cmd_proxies){0};
}
