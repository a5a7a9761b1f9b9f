/* proxy_protocol.c: see proxy_protocol.h.
 *
 *   first bytes -> version 1: up to CRLF, at most 107 bytes
 *               -> version 2: 16 bytes, then as many as they announce
 *
 * Only what is looked at is kept: the line, or the first 52 bytes of version
 * 2. TLVs are counted and skipped. The checksum among them (CRC32C) is one of
 * them: the header comes in one piece over TCP from a peer that is trusted by
 * its address, so it protects from nothing that TCP does not.
 *
 * Nothing is allocated; the reader is of no more use after a failure. */
#include "proto/proxy_protocol.h"

#include "base/slice.h"
#include <inlets/err.h>

/* Version 2: signature, version and command, family and transport, length. */
#define V2_START 16u
#define V4_ADDRESSES 12u
#define V6_ADDRESSES 36u
#define UNIX_ADDRESSES 216u

static const char v1_start[] = "PROXY ";
static const uint8_t v2_signature[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                       0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static int bad(struct inl_proxy_reader *r, const char *reason)
{
    r->reason = reason;
    return INLETS_EBADMESSAGE;
}

/* ---- version 1 ---------------------------------------------------------- */

/* The next word of the line; words are parted by exactly one space. */
static struct inlets_slice next_word(struct inlets_slice *rest)
{
    size_t len = inl_slice_find(*rest, ' ');
    struct inlets_slice word = inl_slice(rest->ptr, len);

    *rest = inl_slice_from(*rest, len + 1);
    return word;
}

/* Decimal, without zeros in front. */
static bool parse_port(struct inlets_slice text, uint16_t *ret_port)
{
    uint64_t port;

    if (text.len > 5 || !inl_slice_to_u64(text, &port) || port > 65535 ||
        (text.len > 1 && text.ptr[0] == '0')) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/* Of the family that the line announces. */
static bool parse_ip(struct inlets_slice text, bool is_v4,
                     struct inl_ip *ret_ip)
{
    bool dotted = inl_slice_find(text, ':') == text.len;

    return dotted == is_v4 && inl_ip_parse(text, ret_ip);
}

/* The line without its CRLF. */
static int parse_line(struct inl_proxy_reader *r, struct inlets_slice line,
                      struct inl_proxy_header *ret)
{
    struct inlets_slice rest = inl_slice_from(line, sizeof(v1_start) - 1);
    struct inlets_slice family = next_word(&rest);
    bool is_v4 = inl_slice_eq(family, INL_LIT("TCP4"));
    struct inl_proxy_header header = {.kind = INL_PROXY_TOLD};

    if (inl_slice_eq(family, INL_LIT("UNKNOWN"))) {
        ret->kind = INL_PROXY_UNKNOWN; /* whatever follows does not count */
        return 1;
    }
    if (!is_v4 && !inl_slice_eq(family, INL_LIT("TCP6"))) {
        return bad(r, "PROXY line of an unknown family");
    }
    if (!parse_ip(next_word(&rest), is_v4, &header.source) ||
        !parse_ip(next_word(&rest), is_v4, &header.destination)) {
        return bad(r, "PROXY line with a bad address");
    }
    /* After the last word nothing may come, not even a space. */
    if (!parse_port(next_word(&rest), &header.source_port) ||
        !parse_port(rest, &header.destination_port)) {
        return bad(r, "PROXY line with a bad port");
    }
    *ret = header;
    return 1;
}

/* One more byte of the line. */
static int take_v1(struct inl_proxy_reader *r, uint8_t byte,
                   struct inl_proxy_header *ret)
{
    bool after_cr = r->have > 0 && r->buf[r->have - 1] == '\r';
    size_t fixed = sizeof(v1_start) - 1;

    if (r->have < fixed ? byte != (uint8_t)v1_start[r->have]
                        : after_cr != (byte == '\n')) {
        return bad(r, r->have < fixed ? "no PROXY header"
                                      : "PROXY line with a bare CR or LF");
    }
    if (byte != '\n' && r->have + 1 == sizeof(r->buf)) {
        return bad(r, "PROXY line too long");
    }
    r->buf[r->have++] = byte;
    return byte == '\n' ? parse_line(r, inl_slice(r->buf, r->have - 2), ret)
                        : 0;
}

/* ---- version 2 ---------------------------------------------------------- */

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static int parse_v2(const struct inl_proxy_reader *r,
                    struct inl_proxy_header *ret)
{
    const uint8_t *at = r->buf + V2_START;
    bool is_local = (r->buf[12] & 0x0f) == 0;
    struct inl_proxy_header header = {.kind = INL_PROXY_TOLD};

    if (!is_local && r->buf[13] == 0x11) {
        header.source = inl_ip_v4(at);
        header.destination = inl_ip_v4(at + 4);
        at += 8;
    } else if (!is_local && r->buf[13] == 0x21) {
        header.source = inl_ip_v6(at);
        header.destination = inl_ip_v6(at + 16);
        at += 32;
    } else {
        /* UNIX sockets and datagrams have no address that means anything
         * here: as UNSPEC, which section 2.2 allows. */
        ret->kind = is_local ? INL_PROXY_LOCAL : INL_PROXY_UNKNOWN;
        return 1;
    }
    header.source_port = get_u16(at);
    header.destination_port = get_u16(at + 2);
    *ret = header;
    return 1;
}

/* The first 16 bytes are there: how much follows? */
static int begin_v2(struct inl_proxy_reader *r)
{
    static const size_t least[] = {0, V4_ADDRESSES, V6_ADDRESSES,
                                   UNIX_ADDRESSES};
    unsigned command = r->buf[12] & 0x0fu;
    unsigned family = r->buf[13] >> 4;
    unsigned transport = r->buf[13] & 0x0fu;
    size_t length = get_u16(r->buf + 14);

    if (command > 1) {
        return bad(r, "PROXY header with an unknown command");
    }
    if (length > INL_PROXY_V2_MAX) {
        return bad(r, "PROXY header too long");
    }
    /* LOCAL: the rest is skipped unread, whatever it says. */
    if (command == 1 && (family > 3 || transport > 2)) {
        return bad(r, "PROXY header of an unknown family");
    }
    if (command == 1 && transport > 0 && length < least[family]) {
        return bad(r, "PROXY header too short for its addresses");
    }
    r->size = V2_START + length;
    return 0;
}

static int take_v2(struct inl_proxy_reader *r, uint8_t byte)
{
    if (r->have < sizeof(v2_signature) ? byte != v2_signature[r->have]
                                       : r->have == 12 && byte >> 4 != 2) {
        return bad(r, "no PROXY header");
    }
    r->buf[r->have++] = byte;
    return r->have == V2_START ? begin_v2(r) : 0;
}

/* What is looked at is kept, what follows is counted. */
static size_t skip_v2(struct inl_proxy_reader *r, const uint8_t *p, size_t n)
{
    size_t left = r->size - r->seen;
    size_t room = V2_START + V6_ADDRESSES - r->have;
    size_t step = n < left ? n : left;
    size_t kept = step < room ? step : room;

    if (kept > 0) {
        memcpy(r->buf + r->have, p, kept);
        r->have += kept;
    }
    r->seen += step;
    return step;
}

/* ---- both --------------------------------------------------------------- */

int inl_proxy_feed(struct inl_proxy_reader *r, const uint8_t *p, size_t n,
                   size_t *ret_used, struct inl_proxy_header *ret_header)
{
    size_t used = 0;
    int rc = 0;

    while (rc == 0 && used < n && r->size == 0) {
        if (r->seen == 0) {
            r->is_v2 = p[0] == v2_signature[0];
        }
        rc = r->is_v2 ? take_v2(r, p[used]) : take_v1(r, p[used], ret_header);
        used++;
        r->seen++;
    }
    if (rc == 0 && r->size > 0) {
        used += skip_v2(r, p + used, n - used);
        rc = r->seen == r->size ? parse_v2(r, ret_header) : 0;
    }
    *ret_used = used;
    return rc;
}
