/* test_frame_md.c: executes the examples of lib/proto/FRAME.md.
 *
 *   ```frame      decoded whole and byte by byte: what comes out, written as
 *                 text, must be the block's first line; encoded again: the
 *                 block's bytes
 *   ```message    a websocket message: the same with its kind
 *   ```skipped    gives nothing, and no error
 *   ```refused    must end in the error that its first line begins with
 *
 * The file is $FRAME_MD, or lib/proto/FRAME.md below the current folder. */
#include "base/slice.h"
#include "proto/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BYTES 1024u
#define MAX_TEXT 1024u
#define MAX_FIELDS 16u

/* A fenced block. */
struct example {
    char kind[16];
    char text[MAX_TEXT];
    uint8_t bytes[MAX_BYTES];
    size_t n;
};

/* What came out of the reader. */
struct seen {
    char text[MAX_TEXT];
    size_t len;
    unsigned frames;
    struct inl_queue again; /* encoded anew */
    struct inl_queue data;  /* pieces of a DATA frame */
};

/* --- values as text ------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void say(struct seen *s,
                                                      const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(s->text + s->len, sizeof(s->text) - s->len, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(s->text) - s->len);
    s->len += (size_t)n;
}

static void say_slice(struct seen *s, const char *key, struct inlets_slice v)
{
    say(s, " %s=\"%.*s\"", key, (int)v.len, v.ptr == NULL ? "" : v.ptr);
}

static void say_err(struct seen *s, int err)
{
    say(s, " err=%s", err == 0 ? "OK" : inlets_errname(err));
}

static void say_flags(struct seen *s, uint8_t flags)
{
    say(s, " flags=%s%s%s", (flags & INL_FRAME_END) != 0 ? "END" : "",
        (flags & INL_FRAME_CHARGED) != 0 ? "CHARGED" : "",
        flags == 0 ? "-" : "");
}

static void say_head_flags(struct seen *s, const struct inlets_head *head)
{
    say(s, " head_flags=%s content_length=%lld",
        (head->flags & INLETS_HEAD_UPGRADE) != 0 ? "UPGRADE" : "-",
        (long long)head->content_length);
}

static void say_fields(struct seen *s, const struct inlets_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        const struct inlets_field *f = &head->fields[i];

        say(s, " field=\"%.*s: %.*s\"", (int)f->name.len, f->name.ptr,
            (int)f->value.len, f->value.ptr);
    }
}

/* --- one function per frame type: decode, say, encode again -------------- */

static int see_hello(struct seen *s, const struct inl_frame *f)
{
    struct inl_hello h;
    int err = inl_frame_get_hello(f->payload, &h);

    if (err == 0) {
        say(s, " version=%u stream_window=%u session_window=%llu", h.version,
            h.stream_window, (unsigned long long)h.session_window);
        say(s, " max_streams=%u", h.max_streams);
        say_slice(s, "agent", h.agent);
        if (h.ticket != 0) {
            say(s, " ticket=%llu resume=%u lanes=%u spread=%u",
                (unsigned long long)h.ticket, h.resume_ms, h.lanes,
                h.spread_ms);
        }
        err = inl_frame_put_hello(&s->again, &h);
    }
    return err;
}

static int see_spread(struct seen *s, const struct inl_frame *f)
{
    uint32_t ms;
    int err = inl_frame_get_spread(f->payload, &ms);

    if (err == 0) {
        say(s, " ms=%u", ms);
        err = inl_frame_put_spread(&s->again, ms);
    }
    return err;
}

static int see_route(struct seen *s, const struct inl_frame *f)
{
    struct inlets_slice endpoint;
    uint32_t route;
    int err = inl_frame_get_route(f->payload, &route, &endpoint);

    if (err == 0) {
        say(s, " route=%u", route);
        say_slice(s, "endpoint", endpoint);
        err = inl_frame_put_route(&s->again, route, endpoint);
    }
    return err;
}

static int see_unroute(struct seen *s, const struct inl_frame *f)
{
    uint32_t route;
    int err = inl_frame_get_unroute(f->payload, &route);

    if (err == 0) {
        say(s, " route=%u", route);
        err = inl_frame_put_unroute(&s->again, route);
    }
    return err;
}

static int see_routed(struct seen *s, const struct inl_frame *f)
{
    struct inlets_slice text;
    uint32_t route;
    int verdict;
    int err = inl_frame_get_routed(f->payload, &route, &verdict, &text);

    if (err == 0) {
        say(s, " route=%u", route);
        say_err(s, verdict);
        say_slice(s, "text", text);
        err = inl_frame_put_routed(&s->again, route, verdict, text);
    }
    return err;
}

static int see_open(struct seen *s, const struct inl_frame *f)
{
    struct inlets_field fields[MAX_FIELDS];
    struct inlets_head head;
    struct inlets_slice id;
    uint32_t route;
    int err =
        inl_frame_get_open(f->payload, &route, &id, &head, fields, MAX_FIELDS);

    if (err == 0) {
        say(s, " route=%u", route);
        say_head_flags(s, &head);
        say_slice(s, "id", id);
        say_slice(s, "method", head.method);
        say_slice(s, "target", head.target);
        say_slice(s, "host", head.host);
        say_fields(s, &head);
        err = inl_frame_put_open(&s->again, f->stream, f->flags, route, id,
                                 &head);
    }
    return err;
}

static int see_head(struct seen *s, const struct inl_frame *f)
{
    struct inlets_field fields[MAX_FIELDS];
    struct inlets_head head;
    int err = inl_frame_get_head(f->payload, &head, fields, MAX_FIELDS);

    if (err == 0) {
        say(s, " status=%u", head.status);
        say_head_flags(s, &head);
        say_slice(s, "reason", head.reason);
        say_fields(s, &head);
        err = inl_frame_put_head(&s->again, f->stream, f->flags, &head);
    }
    return err;
}

static int see_trailers(struct seen *s, const struct inl_frame *f)
{
    struct inlets_field fields[MAX_FIELDS];
    struct inlets_head head;
    int err = inl_frame_get_trailers(f->payload, &head, fields, MAX_FIELDS);

    if (err == 0) {
        say_fields(s, &head);
        err = inl_frame_put_trailers(&s->again, f->stream, &head);
    }
    return err;
}

static int see_credit(struct seen *s, const struct inl_frame *f)
{
    uint64_t limit;
    int err = inl_frame_get_credit(f->payload, &limit);

    if (err == 0) {
        say(s, " limit=%llu", (unsigned long long)limit);
        err = inl_frame_put_credit(&s->again, f->stream, limit);
    }
    return err;
}

static int see_reset(struct seen *s, const struct inl_frame *f)
{
    int reason;
    int err = inl_frame_get_reset(f->payload, &reason);

    if (err == 0) {
        say_err(s, reason);
        err = inl_frame_put_reset(&s->again, f->stream, reason);
    }
    return err;
}

static int see_goaway(struct seen *s, const struct inl_frame *f)
{
    struct inlets_slice text;
    uint32_t last;
    int reason;
    int err = inl_frame_get_goaway(f->payload, &last, &reason, &text);

    if (err == 0) {
        say(s, " last=%u", last);
        say_err(s, reason);
        say_slice(s, "text", text);
        err = inl_frame_put_goaway(&s->again, last, reason, text);
    }
    return err;
}

static const struct {
    const char *name;
    int (*see)(struct seen *s, const struct inl_frame *f);
} types[] = {
    [INL_FRAME_HELLO] = {"HELLO", see_hello},
    [INL_FRAME_ROUTE] = {"ROUTE", see_route},
    [INL_FRAME_UNROUTE] = {"UNROUTE", see_unroute},
    [INL_FRAME_ROUTED] = {"ROUTED", see_routed},
    [INL_FRAME_OPEN] = {"OPEN", see_open},
    [INL_FRAME_HEAD] = {"HEAD", see_head},
    [INL_FRAME_TRAILERS] = {"TRAILERS", see_trailers},
    [INL_FRAME_CREDIT] = {"CREDIT", see_credit},
    [INL_FRAME_RESET] = {"RESET", see_reset},
    [INL_FRAME_GOAWAY] = {"GOAWAY", see_goaway},
    [INL_FRAME_SPREAD] = {"SPREAD", see_spread},
};

/* --- the reader ------------------------------------------------------------
 */

static int on_frame(void *user, const struct inl_frame *f)
{
    struct seen *s = user;

    assert_true(f->type < sizeof(types) / sizeof(types[0]));
    assert_non_null(types[f->type].see);
    s->frames++;
    say(s, "%s stream=%u", types[f->type].name, f->stream);
    say_flags(s, f->flags);
    return types[f->type].see(s, f);
}

static int on_data(void *user, uint32_t stream, uint8_t flags,
                   struct inlets_slice piece, bool last)
{
    struct seen *s = user;
    struct inl_queue body = {0};
    int err = inl_queue_append_slice(&s->data, piece);

    if (err != 0 || !last) {
        return err;
    }
    s->frames++;
    say(s, "DATA stream=%u", stream);
    say_flags(s, flags);
    say_slice(s, "data", inl_queue_front(&s->data));
    err = inl_queue_move(&body, &s->data, s->data.bytes);
    if (err == 0) {
        err = inl_frame_put_data(&s->again, stream, flags, &body, body.bytes);
    }
    inl_queue_fini(&body);
    return err;
}

static const struct inl_frame_reader_ops reader_ops = {on_frame, on_data};

/* Feeds the example `step` bytes at a time. */
static int run(struct seen *s, const struct example *e, size_t step)
{
    struct inl_frame_reader r;
    int err = 0;

    *s = (struct seen){0};
    inl_frame_reader_init(&r, &reader_ops, s);
    for (size_t at = 0; at < e->n && err == 0; at += step) {
        size_t n = e->n - at < step ? e->n - at : step;

        err = inl_frame_feed(&r, e->bytes + at, n);
    }
    inl_frame_reader_fini(&r);
    return err;
}

static void seen_fini(struct seen *s)
{
    inl_queue_fini(&s->again);
    inl_queue_fini(&s->data);
}

/* --- kinds of examples ---------------------------------------------------- */

static void check_frame(const struct example *e, size_t step)
{
    struct seen s;
    struct inlets_slice again;

    assert_int_equal(run(&s, e, step), 0);
    assert_int_equal(s.frames, 1);
    assert_string_equal(s.text, e->text);
    again = inl_queue_front(&s.again);
    assert_int_equal(again.len, e->n);
    assert_memory_equal(again.ptr, e->bytes, e->n);
    seen_fini(&s);
}

static void check_skipped(const struct example *e, size_t step)
{
    struct seen s;

    assert_int_equal(run(&s, e, step), 0);
    assert_int_equal(s.frames, 0);
    seen_fini(&s);
}

static void check_refused(const struct example *e, size_t step)
{
    struct seen s;
    int err = run(&s, e, step);
    const char *name = inlets_errname(err);

    if (err == 0 || strncmp(e->text, name, strlen(name)) != 0) {
        fail_msg("%s: got %s", e->text, err == 0 ? "no error" : name);
    }
    seen_fini(&s);
}

static void check_message(const struct example *e, size_t step)
{
    char text[64];
    uint64_t count = 0;

    (void)step;
    if (e->bytes[0] == INL_MESSAGE_MOVE) {
        assert_int_equal(e->n, 1);
        assert_string_equal("MOVE", e->text);
        return;
    }
    assert_true(e->n > 1);
    for (size_t i = 1; i < e->n; i++) {
        count = count << 8 | e->bytes[i];
    }
    if (e->bytes[0] == INL_MESSAGE_ACK) {
        assert_int_equal(e->n, 9);
        snprintf(text, sizeof(text), "ACK received=%llu",
                 (unsigned long long)count);
    } else {
        assert_int_equal(e->bytes[0], INL_MESSAGE_LANE);
        snprintf(text, sizeof(text), "LANE bytes=%zu", e->n - 1);
    }
    assert_string_equal(text, e->text);
}

static const struct {
    const char *kind;
    void (*check)(const struct example *e, size_t step);
} kinds[] = {
    {"frame", check_frame},
    {"skipped", check_skipped},
    {"refused", check_refused},
    {"message", check_message},
};
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

/* --- reading the file ----------------------------------------------------- */

static FILE *open_md(void)
{
    const char *path = getenv("FRAME_MD");
    FILE *file = fopen(path == NULL ? "lib/proto/FRAME.md" : path, "r");

    if (file == NULL) {
        fail_msg("cannot open FRAME.md: set FRAME_MD to its path");
    }
    return file;
}

static void cut_line_end(char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
}

static void add_hex(struct example *e, const char *line)
{
    unsigned byte;
    int used;

    while (sscanf(line, " %2x%n", &byte, &used) == 1) {
        assert_true(e->n < sizeof(e->bytes));
        e->bytes[e->n++] = (uint8_t)byte;
        line += used;
    }
    assert_int_equal(line[strspn(line, " ")], '\0');
}

static bool is_executed(const char *kind)
{
    for (size_t i = 0; i < NKINDS; i++) {
        if (strcmp(kinds[i].kind, kind) == 0) {
            return true;
        }
    }
    return false;
}

/* The next block that has a kind of ours. */
static bool next_example(FILE *file, struct example *e)
{
    char line[MAX_TEXT];
    bool is_inside = false;

    *e = (struct example){0};
    while (fgets(line, sizeof(line), file) != NULL) {
        cut_line_end(line);
        if (is_inside && strcmp(line, "```") == 0) {
            return true;
        }
        if (is_inside && e->text[0] == '\0') {
            memcpy(e->text, line, sizeof(line));
        } else if (is_inside) {
            add_hex(e, line);
        } else if (sscanf(line, "```%15s", e->kind) == 1) {
            is_inside = is_executed(e->kind);
        }
    }
    return false;
}

/* Runs all examples of a kind; says how many there were. */
static unsigned run_kind(const char *kind, size_t step)
{
    FILE *file = open_md();
    struct example e;
    unsigned count = 0;

    while (next_example(file, &e)) {
        for (size_t i = 0; i < NKINDS; i++) {
            if (strcmp(e.kind, kind) == 0 && strcmp(kinds[i].kind, kind) == 0) {
                kinds[i].check(&e, step);
                count++;
            }
        }
    }
    fclose(file);
    return count;
}

static void run_whole_and_split(const char *kind, unsigned at_least)
{
    assert_true(run_kind(kind, MAX_BYTES) >= at_least);
    run_kind(kind, 1);
    run_kind(kind, 10);
}

/* --- tests ------------------------------------------------------------------
 */

static void frames_of_the_page_are_what_it_says(void **state)
{
    run_whole_and_split("frame", 18);
}

static void extensions_are_skipped(void **state)
{
    run_whole_and_split("skipped", 1);
}

static void what_the_page_refuses_is_refused(void **state)
{
    run_whole_and_split("refused", 14);
}

static void messages_of_the_page_are_what_it_says(void **state)
{
    run_whole_and_split("message", 3);
}

/* Every type has an example. */
static void no_type_is_forgotten(void **state)
{
    FILE *file = open_md();
    bool has[sizeof(types) / sizeof(types[0])] = {false};
    struct example e;

    while (next_example(file, &e)) {
        if (strcmp(e.kind, "frame") == 0 && e.bytes[0] < sizeof(has)) {
            has[e.bytes[0]] = true;
        }
    }
    fclose(file);
    for (size_t type = INL_FRAME_HELLO; type < sizeof(has); type++) {
        assert_true(has[type]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_the_page_are_what_it_says),
        cmocka_unit_test(extensions_are_skipped),
        cmocka_unit_test(what_the_page_refuses_is_refused),
        cmocka_unit_test(messages_of_the_page_are_what_it_says),
        cmocka_unit_test(no_type_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
