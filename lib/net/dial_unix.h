/* net/dial_unix.h: dialling a socket in the file system (unix(7)). Its host is
 * an absolute path; the port does not count. */
#ifndef INL_NET_DIAL_UNIX_H
#define INL_NET_DIAL_UNIX_H

#include "base/dial.h"
#include "net/loop.h"

/* As inl_dial_start and inl_dial_cancel. INLETS_EINVAL: the path is longer than
 * the system allows. Errors: INLETS_EREFUSED with the system's reason,
 * INLETS_ETIMEDOUT, INLETS_EMFILE, INLETS_ENOMEM. */
int inl_dial_unix_start(struct inl_loop *loop, struct inl_dial *dial);
void inl_dial_unix_cancel(struct inl_dial *dial);

/* Is it such a host? No name and no address begins like that. */
static inline bool inl_dial_is_unix(const struct inl_dial *dial)
{
    return dial->host != NULL && dial->host[0] == '/';
}

#endif
