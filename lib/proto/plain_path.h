/* plain_path.h: one spelling for paths that an upstream may read alike. Rules
 * for a path must not be passed by writing it in another way ("/%61dmin",
 * "//admin", "/Admin", "/admin;x"): who has such rules compares the plain form
 * too. */
#ifndef INL_PROTO_PLAIN_PATH_H
#define INL_PROTO_PLAIN_PATH_H

#include <inlets/types.h>
#include <stdbool.h>

/* Percent-encoding is taken off until none is left, '\' is '/', several '/' are
 * one, what is behind ';' or NUL in a segment is gone, and ASCII letters are
 * small. Dot segments stay. buf has room for path.len bytes, of which it
 * returns how many it took. */
size_t inl_plain_path(struct inlets_slice path, char *buf);

/* Is the path of a rule such that nobody can mean another by it? Only bytes
 * beyond ASCII are percent-encoded; no dot segments, no "//", no ';'. */
bool inl_is_plain_path(struct inlets_slice path);

#endif
