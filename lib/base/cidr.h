/* cidr.h: IP addresses as values, and sets of ranges of them (RFC 4632,
 * RFC 4291). An IPv4 address and the same one mapped to IPv6
 * ("::ffff:192.0.2.1") are one address here, for a socket of both families
 * shows visitors in the second form and users write the first. */
#ifndef INL_BASE_CIDR_H
#define INL_BASE_CIDR_H

#include <inlets/types.h>
#include <stdbool.h>

/* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255" and NUL. */
#define INL_IP_TEXT 46

/* Network byte order; IPv4 in its mapped form. */
struct inl_ip {
    uint8_t bytes[16];
};

struct inl_ip inl_ip_v4(const uint8_t bytes[4]);
struct inl_ip inl_ip_v6(const uint8_t bytes[16]);
/* A numeric address, without brackets, port and zone. false: it is none. */
bool inl_ip_parse(struct inlets_slice text, struct inl_ip *ret_ip);
bool inl_ip_is_v4(const struct inl_ip *ip);
/* 127.0.0.0/8, ::1 */
bool inl_ip_is_loopback(const struct inl_ip *ip);
/* Where what is limited by address is counted: of IPv6 the first 64 bits, since
 * who has one such address has all of them (RFC 6177). */
struct inl_ip inl_ip_place(struct inl_ip ip);
/* The text of RFC 5952; IPv4 dotted. Returns buf. */
struct inlets_slice inl_ip_format(const struct inl_ip *ip,
                                  char buf[INL_IP_TEXT]);

/* The addresses whose first `bits` bits are those of `first`. A range of IPv6
 * holds no IPv4 address, short as its prefix may be: "::/0" is all of IPv6. */
struct inl_cidr {
    struct inl_ip first;
    uint8_t bits; /* 0..128; of IPv4 96..128 */
    bool is_v4;
};

/* "10.0.0.0/8", "2001:db8::/32", "::ffff:10.0.0.0/104", or one address. Bits
 * behind the prefix do not count ("10.1.2.3/8" is 10.0.0.0/8). false: it is
 * none. */
bool inl_cidr_parse(struct inlets_slice text, struct inl_cidr *ret_range);
bool inl_cidr_has(const struct inl_cidr *range, const struct inl_ip *ip);

/* More in one list than anybody means: each request may look at all. */
#define INL_CIDR_SET_MAX 1024u

/* All zero: empty. Owns its ranges. */
struct inl_cidr_set {
    struct inl_cidr *ranges;
    size_t n;
};

/* Adds what is in a list with commas, spaces or both. INLETS_ENOMEM, or
 * INLETS_EINVAL with *ret_bad (may be NULL) set to what is no range, or to
 * the one beyond the limit; those before it have been added. */
int inl_cidr_set_add(struct inl_cidr_set *set, struct inlets_slice list,
                     struct inlets_slice *ret_bad);
void inl_cidr_set_fini(struct inl_cidr_set *set);
/* set may be NULL: nothing is in it. */
bool inl_cidr_set_has(const struct inl_cidr_set *set, const struct inl_ip *ip);
/* The same for a text; what is no address is in no set. */
bool inl_cidr_set_has_text(const struct inl_cidr_set *set,
                           struct inlets_slice text);

#endif
