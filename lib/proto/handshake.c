/* handshake.c: the opening handshake of RFC 6455 section 4, as questions
 * about heads. Reading and writing the heads is http1's part.
 *
 * No state, no memory. Fields may come as several lines of the same name
 * (RFC 9110 section 5.3), except those that RFC 6455 wants once. */
#include "base/codec.h"
#include "base/slice.h"
#include "proto/crypto.h"
#include "proto/websocket.h"
#include <string.h>

#define NONCE_LEN 16u
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

void inl_ws_make_key(struct inl_env *env, char key[INL_WS_KEY_LEN])
{
    uint8_t nonce[NONCE_LEN];

    inl_env_random(env, nonce, sizeof(nonce));
    inl_base64_encode(nonce, sizeof(nonce), key);
}

int inl_ws_accept(struct inlets_slice key, char accept[INL_WS_ACCEPT_LEN])
{
    char text[INL_WS_KEY_LEN + sizeof(GUID) - 1];
    uint8_t digest[INL_SHA1_LEN];
    int err;

    if (key.len != INL_WS_KEY_LEN) {
        return INLETS_EINVAL;
    }
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, GUID, sizeof(GUID) - 1);
    err = inl_sha1(inl_slice(text, sizeof(text)), digest);
    if (err == 0) {
        inl_base64_encode(digest, sizeof(digest), accept);
    }
    return err;
}

/* How many lines of that name; the last one's value, if there is any. */
static size_t find_lines(const struct inlets_head *head,
                         struct inlets_slice name,
                         struct inlets_slice *ret_value)
{
    size_t count = 0;

    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, name)) {
            *ret_value = inl_slice_trim(head->fields[i].value);
            count++;
        }
    }
    return count;
}

/* Does any line of that name list the token? */
static bool lists_token(const struct inlets_head *head,
                        struct inlets_slice name, struct inlets_slice token)
{
    for (size_t i = 0; i < head->nfields; i++) {
        if (inl_slice_eq_case(head->fields[i].name, name) &&
            inl_slice_list_has(head->fields[i].value, token)) {
            return true;
        }
    }
    return false;
}

static bool is_switch_to_websocket(const struct inlets_head *head)
{
    return lists_token(head, INL_LIT("Upgrade"), INL_LIT("websocket")) &&
           lists_token(head, INL_LIT("Connection"), INL_LIT("Upgrade"));
}

/* Who names subprotocols must name ours; the word is case-sensitive, but two
 * that differ only there do not exist. */
static bool speaks_ours(const struct inlets_head *head)
{
    struct inlets_slice value;
    const struct inlets_slice name = INL_LIT("Sec-WebSocket-Protocol");

    return find_lines(head, name, &value) == 0 ||
           lists_token(head, name, INL_LIT(INL_WS_PROTOCOL));
}

static bool is_key(struct inlets_slice key)
{
    uint8_t nonce[NONCE_LEN];

    return key.len == INL_WS_KEY_LEN &&
           inl_base64_decode(key, nonce, sizeof(nonce)) ==
               (int64_t)sizeof(nonce);
}

int inl_ws_check_request(const struct inlets_head *head,
                         struct inlets_slice *ret_key)
{
    struct inlets_slice version, key;

    /* A body would stand where the first frame is expected. */
    if (!inl_slice_eq(head->method, INL_LIT("GET")) ||
        head->content_length > 0 ||
        head->content_length == INLETS_LENGTH_UNKNOWN ||
        !is_switch_to_websocket(head)) {
        return INLETS_EBADMESSAGE;
    }
    if (find_lines(head, INL_LIT("Sec-WebSocket-Version"), &version) != 1 ||
        !inl_slice_eq(version, INL_LIT("13"))) {
        return INLETS_EVERSION;
    }
    if (find_lines(head, INL_LIT("Sec-WebSocket-Key"), &key) != 1 ||
        !is_key(key) || !speaks_ours(head)) {
        return INLETS_EBADMESSAGE;
    }
    *ret_key = key;
    return 0;
}

/* We offer no extension, so none may be granted (RFC 6455 section 4.1). */
int inl_ws_check_response(const struct inlets_head *head,
                          const char key[INL_WS_KEY_LEN])
{
    char expected[INL_WS_ACCEPT_LEN];
    struct inlets_slice accept, ignored;
    int err = inl_ws_accept(inl_slice(key, INL_WS_KEY_LEN), expected);

    if (err != 0) {
        return err;
    }
    if (head->status != 101 || !is_switch_to_websocket(head) ||
        find_lines(head, INL_LIT("Sec-WebSocket-Accept"), &accept) != 1 ||
        !inl_slice_eq(accept, inl_slice(expected, sizeof(expected))) ||
        find_lines(head, INL_LIT("Sec-WebSocket-Extensions"), &ignored) != 0 ||
        !speaks_ours(head)) {
        return INLETS_EHANDSHAKE;
    }
    return 0;
}
