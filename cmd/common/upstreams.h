/* upstreams.h: what a client serves, as --upstream writes it.
 *
 *   list = item *("," item)
 *   item = [endpoint "="] url
 *
 * An item that begins with a scheme ("http://") has no endpoint and serves
 * every host; so does one without "=", or with a "?" before it. Otherwise all
 * before the first "=" is the endpoint: host, *.host, host/path, /path, or
 * "*" for every host. A url without scheme gets "http://"; "unix:" is one.
 *
 * Commas and "=" are allowed inside a URL, so not every comma ends an item.
 *   - Before the path it does: no host name holds a comma.
 *   - In the path it does when what follows looks like an item: scheme://,
 *     name=scheme:// or name=host:port.
 *   - In the query it does only for scheme:// and name=scheme://.
 *   - Behind # it does.
 * A comma that looks like a separator and is none is written %2C. */
#ifndef CMD_COMMON_UPSTREAMS_H
#define CMD_COMMON_UPSTREAMS_H

#include "common/problem.h"
#include <stdbool.h>
#include <stddef.h>

/* A file larger than this is not one of definitions: against a path that
 * names a log, or a device. */
#define CMD_UPSTREAMS_FILE_MAX (1024u * 1024)
/* And one of authorities; the system's have 230 KiB. */
#define CMD_UPSTREAMS_CA_MAX (4u * 1024 * 1024)

struct cmd_upstream {
    char *endpoint; /* owned; "" for every host */
    char *url;      /* owned; without #ca: */
    char *ca_file;  /* owned: what was behind #ca:; NULL: nothing */
    char *ca;       /* owned: what is in that file; NULL: not read yet */
    size_t line;    /* of the file that it is from; 0: from a flag */
};

/* Starts as all zero. */
struct cmd_upstreams {
    struct cmd_upstream *items; /* owned */
    size_t count;
};

/* Adds a list. -1: it is malformed, or an endpoint is there already; then
 * the problem names both. `upstreams` is a struct cmd_upstreams, so that the
 * function serves as a flag's `take`. */
int cmd_upstreams_add(const char *list, void *upstreams, struct cmd_problem *p);

/* Adds those of a file: a list on each line; empty lines and lines that begin
 * with # do not count. -1: the problem names file and line. */
int cmd_upstreams_read(const char *path, struct cmd_upstreams *u,
                       struct cmd_problem *p);
/* Adds copies of all of them. */
int cmd_upstreams_copy(struct cmd_upstreams *u,
                       const struct cmd_upstreams *from, struct cmd_problem *p);
/* The one of the same endpoint, however it is written; NULL: none. */
const struct cmd_upstream *cmd_upstreams_find(const struct cmd_upstreams *u,
                                              const char *endpoint);

/* Reads the files of #ca:. -1: the problem names file and upstream. */
int cmd_upstreams_read_cas(struct cmd_upstreams *u, struct cmd_problem *p);
/* Is the same served in the same way? */
bool cmd_upstream_is_same(const struct cmd_upstream *a,
                          const struct cmd_upstream *b);
void cmd_upstreams_fini(struct cmd_upstreams *u);

/* Room for a URL that is shown; a longer one is cut. */
#define CMD_URL_SHOWN_SIZE 160u

/* For people: text (a URL, "name=URL", or several) without what may be secret,
 * for what was mistyped is logged: "..." for what comes before an @, and for
 * all behind a ? or #. Returns buf. */
const char *cmd_url_shown(const char *text, size_t len,
                          char buf[CMD_URL_SHOWN_SIZE]);

/* For people: "*" for every host. */
const char *cmd_upstream_endpoint_name(const struct cmd_upstream *u);

#endif
