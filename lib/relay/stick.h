/* stick.h: a visitor stays with the target that it had: by its address
 * (rendezvous hashing: who comes or goes moves only its own share), or by a
 * cookie that names the target by its key. */
#ifndef INL_RELAY_STICK_H
#define INL_RELAY_STICK_H

#include <inlets/types.h>
#include <stdbool.h>
#include <stdint.h>

enum inl_stick { INL_STICK_NONE, INL_STICK_COOKIE, INL_STICK_ADDRESS };

#define INL_STICK_NAME "inlets_stick"
/* "inlets_stick=", 16 hex digits, the attributes, NUL. */
#define INL_STICK_SET_SIZE 80u

/* How much the target with this key attracts that address; the most wins. It
 * knows no secret, so that several servers come to the same answer. */
uint64_t inl_stick_weight(struct inlets_slice peer, uint64_t key);

/* What Set-Cookie says; buf has INL_STICK_SET_SIZE bytes. */
struct inlets_slice inl_stick_set_cookie(uint64_t key, char *buf);

/* Takes our cookie out of the value of a Cookie field (RFC 6265 4.2). False:
 * it is not in there, or the value is malformed (a quote that is open where a
 * cookie ends: readers disagree on what follows); nothing is written. True:
 * *ret_rest, in buf (value.len bytes), is what remains, byte for byte; *ret_key
 * is the first well-formed key, and stays as it is when there is none. */
bool inl_stick_cut(struct inlets_slice value, char *buf,
                   struct inlets_slice *ret_rest, uint64_t *ret_key);

/* Bytes that inl_stick_strip needs; 0: there is no cookie of ours. */
size_t inl_stick_bytes(const struct inlets_head *head);
/* *ret is the head without our cookie, with `fields` (room for head->nfields)
 * and `buf`; a Cookie field that becomes empty is dropped. *ret_key: 0 when it
 * names nothing. */
void inl_stick_strip(const struct inlets_head *head,
                     struct inlets_field *fields, char *buf,
                     struct inlets_head *ret, uint64_t *ret_key);

#endif
