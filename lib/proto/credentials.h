/* credentials.h: what a tunnel client shows in Authorization (RFC 9110 11.6,
 * RFC 6750). Tokens are kept as SHA-256 digests only and compared in
 * constant time. */
#ifndef INL_PROTO_CREDENTIALS_H
#define INL_PROTO_CREDENTIALS_H

#include "proto/crypto.h"
#include <inlets/types.h>
#include <stdbool.h>

struct inl_token {
    uint8_t digest[INL_SHA256_LEN];
    bool is_set;
};

/* 0 or INLETS_EINTERNAL. */
int inl_token_set(struct inl_token *t, struct inlets_slice secret);
void inl_token_wipe(struct inl_token *t);
/* The digest of SECRET in "Bearer SECRET", the value of one Authorization
 * field; false: there is none. Its cost does not depend on what is wrong with
 * it. */
bool inl_bearer_digest(struct inlets_slice value,
                       uint8_t digest[INL_SHA256_LEN]);
/* SECRET itself; false: there is none. */
bool inl_bearer_parse(struct inlets_slice value,
                      struct inlets_slice *ret_secret);
/* The user and the password of "Basic BASE64" (RFC 7617), in `room`, which the
 * caller wipes; false: there is none. */
#define INL_BASIC_ROOM 512u
bool inl_basic_parse(struct inlets_slice value, char room[INL_BASIC_ROOM],
                     struct inlets_slice *ret_user,
                     struct inlets_slice *ret_password);
bool inl_token_matches(const struct inl_token *t,
                       const uint8_t digest[INL_SHA256_LEN]);

#endif
