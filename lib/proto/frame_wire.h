/* frame_wire.h: what the writer and the reader of frames share: byte order,
 * the layout of payloads, and what a message head may contain. Only for
 * frame*.c; everybody else uses frame.h. */
#ifndef INL_PROTO_FRAME_WIRE_H
#define INL_PROTO_FRAME_WIRE_H

#include "proto/frame.h"

/* Bytes before the variable part of a payload. */
#define OPEN_FIXED 21u
#define HEAD_FIXED 15u
#define TRAILERS_FIXED 2u
#define FIELD_FIXED 4u

/* HELLO parameters; 0x10 to 0x1f are about lanes. */
enum hello_key {
    HELLO_VERSION = 0x01,
    HELLO_STREAM_WINDOW = 0x02,
    HELLO_SESSION_WINDOW = 0x03,
    HELLO_MAX_STREAMS = 0x04,
    HELLO_AGENT = 0x05,
    HELLO_TICKET = 0x10,
    HELLO_RESUME = 0x11,
    HELLO_LANES = 0x12,
    HELLO_SPREAD = 0x13
};
#define HELLO_PARAM 4u /* bytes of a parameter's key and length */
#define HELLO_MAX_AGENT 128u
#define HELLO_TICKET_LEN (8u + INL_TICKET_SECRET_LEN)
/* Nine parameters, each as long as it can be. */
#define HELLO_MAX                                                              \
    (9 * HELLO_PARAM + 6 * 4u + 8 + HELLO_MAX_AGENT + HELLO_TICKET_LEN)

/* Where a head is used: each has its own rules. */
enum head_kind { HEAD_OPEN, HEAD_RESPONSE, HEAD_TRAILERS };

/* May this head travel? The sender asks before it sends, the receiver before
 * it believes, so an honest peer is never closed for what a visitor or an
 * upstream wrote. Defined in frame_read.c. */
bool inl_frame_head_is_sound(const struct inlets_head *head,
                             enum head_kind kind);
/* Bytes that a log line and a terminal can bear: no space, no controls. */
bool inl_frame_is_visible(struct inlets_slice s);

static inline uint8_t *put_u8(uint8_t *p, unsigned v)
{
    *p = (uint8_t)v;
    return p + 1;
}

static inline uint8_t *put_u16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static inline uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    return put_u16(put_u16(p, v >> 16), v & 0xffffu);
}

static inline uint8_t *put_u64(uint8_t *p, uint64_t v)
{
    return put_u32(put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static inline uint32_t get_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return get_u16(p) << 16 | get_u16(p + 2);
}

static inline uint64_t get_u64(const uint8_t *p)
{
    return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

#endif
