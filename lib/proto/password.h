/* password.h: passwords of people, by libcrypt: kept as slow hashes in
 * crypt(5)'s notation ("$y$..."), so that who steals the file has to guess
 * each. */
#ifndef INL_PROTO_PASSWORD_H
#define INL_PROTO_PASSWORD_H

#include <inlets/types.h>
#include <stdbool.h>

/* Room for a hash, with NUL. */
#define INL_PASSWORD_HASH_SIZE 128u
#define INL_PASSWORD_MAX 256u

/* A hash that no password has, and that costs what those of ours do. */
extern const char inl_password_nobodys[];

/* Is it a hash that libcrypt can check, and a slow one: yescrypt, scrypt or
 * bcrypt? */
bool inl_password_is_hash(const char *hash);
/* With yescrypt: 0, INLETS_EINVAL (empty, longer than INL_PASSWORD_MAX, or with
 * NUL), INLETS_ENOMEM, INLETS_EINTERNAL. Takes 0.1 s and 16 MiB. */
int inl_password_hash(struct inlets_slice password,
                      char ret_hash[INL_PASSWORD_HASH_SIZE]);
/* Takes as long and as much; for any thread. False also out of memory. */
bool inl_password_matches(const char *hash, struct inlets_slice password);

#endif
