/* origin.c: an HTTP server of the world. It does what the path says:
 *
 *   /len/N       200 with Content-Length N
 *   /chunked/N   the same, chunked
 *   /trailers/N  chunked "abc" with a trailer X-Sum: N
 *   /close/N     the same, ended by FIN (no length)
 *   /sum         reads the request body, answers "LENGTH HASH"
 *   /continue    100 (Continue), then as /sum
 *   /echo        sends the body back as it comes, chunked
 *   /early       answers 413 at once, body unread and unwanted
 *   /rude        answers at once, keeps the connection and reads no more
 *   /hints       103, then as /len/5
 *   /empty/S     status S without body (204, 304)
 *   /hang        says nothing
 *   /stall/N     Content-Length N+1, sends N bytes, then nothing
 *   /cutlen/N    Content-Length N+1, sends N bytes, then FIN
 *   /rstlen/N    the same with RST
 *   /cutchunk/N  chunked, N bytes, then FIN before the last chunk
 *   /die         FIN instead of an answer
 *   /garbage     what is not HTTP
 *   /upgrade     101, sends the raw bytes back; FIN when they end
 *   /switch      101 although nobody asked
 *
 * Bodies are world_byte(5, i). */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG 5u

struct conn {
    struct inl_list node;
    struct world_origin *origin;
    struct world_end *end;
    struct wh http;
    char path[256];
    bool is_head, over;
    unsigned nrequests;
    uint64_t body_len, body_hash;
};

static void say(struct conn *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct conn *c, const char *format, ...)
{
    char text[1024];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    world_write(c->end, text, (size_t)n);
}

static void hang_up(struct conn *c, bool reset)
{
    if (!c->over) {
        c->over = true;
        c->origin->nopen--;
        world_close(c->end, reset);
    }
}

/* FIN, and read on until the other side leaves. */
static void fin(struct conn *c)
{
    world_shutdown(c->end);
}

static bool starts(const struct conn *c, const char *prefix, size_t *ret_n)
{
    size_t len = strlen(prefix);

    if (strncmp(c->path, prefix, len) != 0) {
        return false;
    }
    *ret_n = (size_t)strtoul(c->path + len, NULL, 10);
    return true;
}

static void send_body(struct conn *c, size_t n)
{
    if (!c->is_head) {
        world_write_body(c->end, TAG, n);
    }
}

static void send_chunked(struct conn *c, size_t n)
{
    say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (!c->is_head) {
        world_write_chunked(c->end, TAG, n);
    }
}

/* What can be answered when the head is there. */
static void answer_head(struct conn *c)
{
    size_t n = 0;

    if (starts(c, "/early", &n)) {
        say(c, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n"
               "Connection: close\r\n\r\nno");
        fin(c);
    } else if (starts(c, "/rude", &n)) {
        say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
        c->end->paused = true;
    } else if (starts(c, "/continue", &n)) {
        say(c, "HTTP/1.1 100 Continue\r\n\r\n");
    } else if (starts(c, "/echo", &n)) {
        say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    } else if (starts(c, "/upgrade", &n)) {
        say(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
               "Upgrade: websocket\r\n\r\nhello from the origin");
    }
}

static void answer_sum(struct conn *c)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%llu %016llx",
                     (unsigned long long)c->body_len,
                     (unsigned long long)c->body_hash);

    say(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, text);
}

static void answer_broken(struct conn *c)
{
    size_t n = 0;

    if (starts(c, "/cutlen/", &n) || starts(c, "/rstlen/", &n) ||
        starts(c, "/stall/", &n)) {
        say(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n + 1);
        send_body(c, n);
    } else if (starts(c, "/cutchunk/", &n)) {
        say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
            n);
        send_body(c, n);
        say(c, "\r\n");
    }
    if (starts(c, "/rst", &n)) {
        hang_up(c, true);
    } else if (starts(c, "/cut", &n) || starts(c, "/die", &n)) {
        fin(c);
    } else if (starts(c, "/garbage", &n)) {
        say(c, "SSH-2.0-OpenSSH_9.9\r\n");
    } else if (starts(c, "/switch", &n)) {
        say(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
               "Upgrade: websocket\r\n\r\nraw");
    }
}

/* What is answered when the request is complete. */
static void answer_end(struct conn *c)
{
    size_t n = 0;

    if (starts(c, "/len/", &n)) {
        say(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
        send_body(c, n);
    } else if (starts(c, "/chunked/", &n)) {
        send_chunked(c, n);
    } else if (starts(c, "/close/", &n)) {
        say(c, "HTTP/1.1 200 OK\r\n\r\n");
        send_body(c, n);
        fin(c);
    } else if (starts(c, "/trailers/", &n)) {
        say(c,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\nX-Sum: %zu\r\n\r\n",
            n);
    } else if (starts(c, "/sum", &n) || starts(c, "/continue", &n)) {
        answer_sum(c);
    } else if (starts(c, "/echo", &n)) {
        say(c, "0\r\n\r\n");
    } else if (starts(c, "/hints", &n)) {
        say(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        send_body(c, 5);
    } else if (starts(c, "/empty/", &n)) {
        say(c, "HTTP/1.1 %zu Empty\r\n\r\n", n);
    } else {
        answer_broken(c);
    }
}

/* ---- the reader ------------------------------------------------------- */

static void on_head(struct wh *h, void *user)
{
    struct conn *c = user;
    const char *from = strchr(h->head, ' ');
    size_t len = strcspn(from + 1, " ");

    WORLD_CHECK(len < sizeof(c->path));
    memcpy(c->path, from + 1, len);
    c->path[len] = '\0';
    if (strncmp(c->path, "/base/", 6) == 0) { /* an upstream with a path */
        memmove(c->path, c->path + 5, len - 4);
    }
    c->is_head = strncmp(h->head, "HEAD ", 5) == 0;
    c->body_len = 0;
    c->body_hash = WORLD_HASH_INIT;
    c->origin->nrequests++;
    c->origin->body_ended = false;
    (void)snprintf(c->origin->last_head, sizeof(c->origin->last_head), "%s",
                   h->head);
    if (++c->nrequests > 1 && c->origin->die_on_reuse) {
        hang_up(c, true);
        return;
    }
    answer_head(c);
}

static void on_body(struct wh *h, const uint8_t *p, size_t n, void *user)
{
    struct conn *c = user;
    size_t none;

    (void)h;
    c->body_len += n;
    c->body_hash = world_hash(c->body_hash, p, n);
    if (starts(c, "/echo", &none)) {
        say(c, "%zx\r\n", n);
        world_write(c->end, p, n);
        say(c, "\r\n");
    }
}

static void on_end(struct wh *h, void *user)
{
    struct conn *c = user;

    (void)h;
    c->origin->body_len = c->body_len;
    c->origin->body_hash = c->body_hash;
    c->origin->body_ended = true;
    if (!c->over) {
        answer_end(c);
        if (c->origin->close_idle) {
            fin(c);
        }
    }
}

static const struct wh_ops http_ops = {on_head, on_body, on_end};

static bool is_raw(const struct conn *c)
{
    return strncmp(c->path, "/upgrade", 8) == 0 && c->nrequests > 0;
}

static void raw_rx(struct world_end *e, const uint8_t *p, size_t n)
{
    struct conn *c = e->user;
    size_t at = 0;

    while (at < n && !is_raw(c)) { /* byte by byte: an upgrade ends it */
        wh_feed(&c->http, p + at++, 1);
    }
    if (c->http.state == WH_ERROR && c->origin->lax) {
        hang_up(c, true);
        return;
    }
    if (c->http.state == WH_ERROR) {
        world_fail("origin", 0, c->http.why);
    }
    if (at < n) {
        world_write(e, p + at, n - at);
    }
}

static void raw_eof(struct world_end *e)
{
    struct conn *c = e->user;

    if (is_raw(c)) {
        say(c, "goodbye");
    }
    hang_up(c, false);
}

static void raw_gone(struct world_end *e, int err)
{
    struct conn *c = e->user;

    (void)err;
    if (!c->over) {
        c->over = true;
        c->origin->nopen--;
        c->origin->resets++;
    }
}

static const struct world_raw_ops raw_ops = {raw_rx, raw_eof, raw_gone};

static void on_accept(struct world_end *e, void *user)
{
    struct world_origin *o = user;
    struct conn *c = calloc(1, sizeof(*c));

    WORLD_CHECK(c != NULL);
    c->origin = o;
    c->end = e;
    wh_init(&c->http, false, &http_ops, c);
    world_raw(e, &raw_ops, c);
    inl_list_init(&c->node);
    inl_list_push_back(&o->conns, &c->node);
    o->nconns++;
    o->nopen++;
}

struct world_origin *world_origin_new(struct world *w, unsigned port)
{
    struct world_origin *o = calloc(1, sizeof(*o));

    WORLD_CHECK(o != NULL);
    o->world = w;
    inl_list_init(&o->conns);
    o->listener = world_listen(w, "origin", port, on_accept, o);
    return o;
}

void world_origin_drop(struct world_origin *o, bool reset)
{
    struct inl_list *n, *tmp;

    inl_list_each(&o->conns, n, tmp)
    {
        hang_up(inl_container(n, struct conn, node), reset);
    }
}

void world_origin_free(struct world_origin *o)
{
    struct inl_list *n;

    o->listener->mode = WORLD_REFUSE;
    while ((n = inl_list_pop(&o->conns)) != NULL) {
        struct conn *c = inl_container(n, struct conn, node);

        hang_up(c, false);
        world_raw(c->end, NULL, NULL);
        wh_fini(&c->http);
        free(c);
    }
    free(o);
}
