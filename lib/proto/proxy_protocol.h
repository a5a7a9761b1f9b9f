/* proxy_protocol.h: the header that a proxy sends in front of a connection
 * that it passes on, to say whose it is: HAProxy's PROXY protocol, versions 1
 * (a line) and 2 (binary), as its specification has them (doc/
 * proxy-protocol.txt of HAProxy, sections 2.1 and 2.2).
 *
 * The reader takes the bytes as they come, in any pieces, says how many of
 * them belong to the header, and judges as early as it can: what does not
 * begin like a header is refused at the first byte that differs. It never
 * guesses whether there is a header: the caller knows who must send one. */
#ifndef INL_PROTO_PROXY_PROTOCOL_H
#define INL_PROTO_PROXY_PROTOCOL_H

#include "base/cidr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest line of version 1 with its CRLF (section 2.1). */
#define INL_PROXY_LINE_MAX 107u
/* What may follow the first 16 bytes of version 2: addresses and TLVs. A
 * header fits into one segment, by the specification; with client
 * certificates' names in TLVs it is some hundred bytes. Against a peer that
 * announces 64 KiB, which nobody would read. */
#define INL_PROXY_V2_MAX 4096u

enum inl_proxy_kind {
    INL_PROXY_LOCAL,   /* the proxy speaks for itself (a health check) */
    INL_PROXY_UNKNOWN, /* somebody whom it cannot or will not name */
    INL_PROXY_TOLD     /* source and destination are set */
};

struct inl_proxy_header {
    enum inl_proxy_kind kind;
    struct inl_ip source, destination;
    uint16_t source_port, destination_port;
};

/* All zero: ready. Nothing of it is allocated. */
struct inl_proxy_reader {
    uint8_t buf[INL_PROXY_LINE_MAX]; /* the line, or 16 bytes and addresses */
    size_t have;                     /* in buf */
    size_t seen;                     /* of the header */
    size_t size;                     /* of the header; 0: not known yet */
    const char *reason;              /* static; set by INLETS_EBADMESSAGE */
    bool is_v2;
};

/* Reads from p; *ret_used bytes of it belong to the header. 0: all are, and
 * more must come. 1: the header is complete, *ret_header is set; the rest of
 * p is the connection itself. INLETS_EBADMESSAGE: it is no header. */
int inl_proxy_feed(struct inl_proxy_reader *r, const uint8_t *p, size_t n,
                   size_t *ret_used, struct inl_proxy_header *ret_header);

#endif
