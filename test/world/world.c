/* world.c: the clock, the dialer, traces and memory of the world; see
 * world.h. pipe.c has the pipes, nodes.c the two compositions, visitor.c and
 * origin.c the scripts at the outer ends. */
#include "world.h"

#include "base/mem.h"
#include "base/queue.h"
#include "proto/crypto.h"
#include <inlets/alloc.h>
#include <inlets/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Things at one millisecond; more means that two machines wake each other
 * for ever. */
#define STEPS_MAX 3000000u

struct world_alloc world_alloc;

_Noreturn void world_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: the world is wrong: %s\n", file, line, what);
    fflush(stderr);
    abort();
}

/* ---- memory ----------------------------------------------------------- */

static bool fails(void)
{
    world_alloc.calls++;
    if (world_alloc.fail_at != 0 && world_alloc.calls >= world_alloc.fail_at &&
        world_alloc.calls <= world_alloc.fail_at + world_alloc.fail_for) {
        world_alloc.failed = true;
        return true;
    }
    return false;
}

static void *hook_malloc(size_t size)
{
    void *ptr = fails() ? NULL : malloc(size);

    world_alloc.live += ptr != NULL;
    return ptr;
}

static void *hook_calloc(size_t count, size_t size)
{
    void *ptr = fails() ? NULL : calloc(count, size);

    world_alloc.live += ptr != NULL;
    return ptr;
}

static void *hook_realloc(void *old, size_t size)
{
    void *ptr = fails() ? NULL : realloc(old, size);

    world_alloc.live += ptr != NULL && old == NULL;
    return ptr;
}

static void hook_free(void *ptr)
{
    world_alloc.live -= ptr != NULL;
    free(ptr);
}

/* ---- randomness ------------------------------------------------------- */

uint64_t world_random(struct world *w)
{
    uint64_t z = (w->random_state += 0x9e3779b97f4a7c15u); /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t world_below(struct world *w, size_t n)
{
    return n == 0 ? 0 : (size_t)(world_random(w) % n);
}

static void env_random(struct inl_env *env, void *ptr, size_t n)
{
    struct world *w = inl_container(env, struct world, env);
    uint8_t *at = ptr;

    for (size_t i = 0; i < n; i++) {
        at[i] = (uint8_t)(world_random(w) >> 32);
    }
}

static const struct inl_env_ops env_ops = {env_random, NULL};

/* ---- dialing ---------------------------------------------------------- */

struct world_dial {
    struct inl_list node;
    struct inl_dial *dial;
    uint64_t due_ms;
};

struct world_listener *world_listen(struct world *w, const char *host,
                                    unsigned port,
                                    void (*accept)(struct world_end *, void *),
                                    void *user)
{
    struct world_listener *l = &w->listeners[w->nlisteners++];

    WORLD_CHECK(w->nlisteners <= WORLD_LISTENERS);
    strcpy(l->host, host);
    l->port = port;
    l->mode = WORLD_ACCEPT;
    l->accept = accept;
    l->user = user;
    l->net = w->net;
    return l;
}

static struct world_listener *find_listener(struct world *w, const char *host,
                                            unsigned port)
{
    for (size_t i = 0; i < w->nlisteners; i++) {
        if (strcmp(w->listeners[i].host, host) == 0 &&
            w->listeners[i].port == port) {
            return &w->listeners[i];
        }
    }
    return NULL;
}

static int dial_start(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct world *w = inl_container(dialer, struct world, dialer);
    const struct world_listener *l = find_listener(w, dial->host, dial->port);
    struct world_dial *d = calloc(1, sizeof(*d));
    uint64_t answer = w->env.now_ms + (l == NULL ? 1 : 2 * l->net.latency_ms);

    WORLD_CHECK(d != NULL && dial->impl == NULL);
    d->dial = dial;
    d->due_ms = answer;
    if ((l != NULL && l->mode == WORLD_IGNORE) || answer > dial->due_ms) {
        d->due_ms = dial->due_ms;
    }
    inl_list_init(&d->node);
    inl_list_push_back(&w->dials, &d->node);
    dial->impl = d;
    dial->step = "connect";
    return 0;
}

static void dial_cancel(struct inl_dialer *dialer, struct inl_dial *dial)
{
    struct world_dial *d = dial->impl;

    (void)dialer;
    inl_list_remove(&d->node);
    free(d);
    dial->impl = NULL;
}

static const struct inl_dialer_ops dialer_ops = {dial_start, dial_cancel};

static void dial_over(struct world *w, struct world_dial *d)
{
    struct inl_dial *dial = d->dial;
    struct world_listener *l = find_listener(w, dial->host, dial->port);
    struct world_pipe *p;

    inl_list_remove(&d->node);
    free(d);
    dial->impl = NULL;
    w->dials_done++;
    if (l == NULL || l->mode == WORLD_REFUSE) {
        dial->done(dial, INLETS_EREFUSED, NULL);
    } else if (l->mode == WORLD_IGNORE) {
        dial->done(dial, INLETS_ETIMEDOUT, NULL);
    } else {
        p = world_pipe(w, &l->net);
        w->last_dialed = p;
        dial->done(dial, 0, world_link(&p->end[0], "127.0.0.1"));
        l->accept(&p->end[1], l->user);
    }
}

/* One dial that is due. */
static bool step_dials(struct world *w)
{
    struct inl_list *n, *tmp;

    inl_list_each(&w->dials, n, tmp)
    {
        struct world_dial *d = inl_container(n, struct world_dial, node);

        if (d->due_ms <= w->env.now_ms) {
            dial_over(w, d);
            return true;
        }
    }
    return false;
}

/* ---- time ------------------------------------------------------------- */

static bool step_pipes(struct world *w)
{
    struct inl_list *n, *tmp;
    bool any = false;
    unsigned first = (unsigned)world_below(w, 2);

    inl_list_each(&w->pipes, n, tmp)
    {
        struct world_pipe *p = inl_container(n, struct world_pipe, node);

        for (unsigned i = 0; i < 2; i++) {
            any |= world_pipe_step(p, first ^ i);
        }
        /* sometimes many events make one turn, sometimes each is one */
        if (world_below(w, 2) == 0) {
            inl_env_settle(&w->env);
        }
    }
    return any;
}

void world_settle(struct world *w)
{
    uint64_t steps = 0;
    bool more = true;

    while (more) {
        inl_env_fire_timers(&w->env);
        inl_env_settle(&w->env);
        more = step_dials(w);
        more |= step_pipes(w);
        inl_env_settle(&w->env);
        WORLD_CHECK(++steps < STEPS_MAX);
    }
}

static uint64_t next_due(const struct world *w)
{
    uint64_t due = inl_env_next_due(&w->env);
    struct inl_list *n, *tmp;

    inl_list_each(&w->pipes, n, tmp)
    {
        uint64_t at = world_pipe_due(inl_container(n, struct world_pipe, node));

        due = at < due ? at : due;
    }
    inl_list_each(&w->dials, n, tmp)
    {
        uint64_t at = inl_container(n, struct world_dial, node)->due_ms;

        due = at < due ? at : due;
    }
    return due > w->env.now_ms ? due : w->env.now_ms + 1;
}

void world_run(struct world *w, uint64_t ms)
{
    uint64_t until = w->env.now_ms + ms;

    world_settle(w);
    for (uint64_t due; (due = next_due(w)) <= until;) {
        w->env.now_ms = due;
        world_settle(w);
    }
    w->env.now_ms = until;
    world_settle(w);
}

/* ---- trace ------------------------------------------------------------ */

static void add_line(struct world *w, const char *text)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "[%7llu] %s\n",
                     (unsigned long long)w->env.now_ms, text);
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;

    if (w->trace_len + len + 1 > w->trace_cap) {
        w->trace_cap = (w->trace_len + len + 1) * 2;
        w->trace = realloc(w->trace, w->trace_cap);
        WORLD_CHECK(w->trace != NULL);
    }
    memcpy(w->trace + w->trace_len, line, len + 1);
    w->trace_len += len;
}

static void on_trace(struct inl_env *env, const char *line, void *user)
{
    (void)env;
    add_line(user, line);
}

void world_trace_on(struct world *w)
{
    w->traces = true;
    w->env.trace = on_trace;
    w->env.trace_user = w;
}

void world_note(struct world *w, const char *format, ...)
{
    char text[200];
    va_list args;

    if (w->traces) {
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        add_line(w, text);
    }
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text;
    size_t n;

    if (f == NULL) {
        return NULL;
    }
    text = calloc(1, 1024 * 1024);
    WORLD_CHECK(text != NULL);
    n = fread(text, 1, 1024 * 1024 - 1, f);
    WORLD_CHECK(n < 1024 * 1024 - 1);
    fclose(f);
    return text;
}

static void show_difference(const char *want, const char *have)
{
    unsigned line = 1;

    while (*want != '\0' && *want == *have) {
        line += *want == '\n';
        want++;
        have++;
    }
    fprintf(stderr,
            "# traces differ at line %u\n# want ...%.300s\n"
            "# have ...%.300s\n",
            line, want, have);
}

void world_expect_trace(struct world *w, const char *name)
{
    const char *dir = getenv("WORLD_DIR");
    char path[512];
    char *want;

    (void)snprintf(path, sizeof(path), "%s/%s.trace",
                   dir == NULL ? "test/world" : dir, name);
    if (getenv("WORLD_REGEN") != NULL) {
        FILE *f = fopen(path, "wb");

        WORLD_CHECK(f != NULL);
        WORLD_CHECK(fwrite(w->trace, 1, w->trace_len, f) == w->trace_len);
        fclose(f);
        return;
    }
    want = read_file(path);
    WORLD_CHECK(want != NULL && w->trace != NULL);
    if (strcmp(want, w->trace) != 0) {
        show_difference(want, w->trace);
        world_fail(path, 0, "the trace differs (WORLD_REGEN=1 writes it)");
    }
    free(want);
}

/* Every line is made, so that a bad field is seen; errors are counted, since
 * "impossible move" is one. */
static void on_log(enum inlets_log_level level, const char *event,
                   const struct inlets_log_field *fields, size_t nfields,
                   void *user)
{
    struct world *w = user;
    uint64_t sum = 0;

    for (size_t i = 0; i < nfields; i++) {
        sum = world_hash(sum, fields[i].text.ptr, fields[i].text.len);
        sum += strlen(fields[i].key);
    }
    if (level == INLETS_LOG_ERROR) {
        w->errors_logged++;
        fprintf(stderr, "# [%llu] ERROR %s", (unsigned long long)w->env.now_ms,
                event);
        for (size_t i = 0; i < nfields; i++) {
            fprintf(stderr, " %s=%.*s", fields[i].key, (int)fields[i].text.len,
                    fields[i].text.ptr);
        }
        fprintf(stderr, "\n");
    }
    if (getenv("WORLD_LOG") != NULL) {
        fprintf(stderr, "# [%llu] %s", (unsigned long long)w->env.now_ms,
                event);
        for (size_t i = 0; i < nfields; i++) {
            if (fields[i].text.ptr != NULL) {
                fprintf(stderr, " %s=%.*s", fields[i].key,
                        (int)fields[i].text.len, fields[i].text.ptr);
            } else {
                fprintf(stderr, " %s=%lld", fields[i].key,
                        (long long)fields[i].number);
            }
        }
        fprintf(stderr, "\n");
    }
    WORLD_CHECK(sum != 1); /* it is used */
}

/* ---- bodies ----------------------------------------------------------- */

uint64_t world_hash(uint64_t hash, const void *ptr, size_t n)
{
    const uint8_t *p = ptr;

    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ p[i]) * 1099511628211u; /* FNV-1a */
    }
    return hash;
}

uint64_t world_body_hash(unsigned tag, size_t n)
{
    uint64_t hash = WORLD_HASH_INIT;

    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ world_byte(tag, i)) * 1099511628211u;
    }
    return hash;
}

void world_write_body(struct world_end *e, unsigned tag, size_t n)
{
    uint8_t piece[4096];

    for (size_t at = 0; at < n;) {
        size_t len = n - at < sizeof(piece) ? n - at : sizeof(piece);

        for (size_t i = 0; i < len; i++) {
            piece[i] = world_byte(tag, at + i);
        }
        world_write(e, piece, len);
        at += len;
    }
}

void world_write_chunked(struct world_end *e, unsigned tag, size_t n)
{
    struct world *w = e->pipe->world;

    for (size_t at = 0; at < n;) {
        size_t most = world_below(w, 8) == 0 ? 16 : 20000;
        size_t len = 1 + world_below(w, most);
        char line[32];
        uint8_t piece[20001];

        len = len < n - at ? len : n - at;
        world_write(e, line, (size_t)sprintf(line, "%zx\r\n", len));
        for (size_t i = 0; i < len; i++) {
            piece[i] = world_byte(tag, at + i);
        }
        world_write(e, piece, len);
        world_write(e, "\r\n", 2);
        at += len;
    }
    world_write(e, "0\r\n\r\n", 5);
}

/* ---- life ------------------------------------------------------------- */

static void install_allocator(void)
{
    static const struct inlets_allocator allocator = {hook_malloc, hook_calloc,
                                                      hook_realloc, hook_free};
    static bool done;

    if (!done) {
        done = true;
        WORLD_CHECK(inl_set_allocator(&allocator) == 0);
        WORLD_CHECK(inl_crypto_init() == 0);
    }
}

struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    WORLD_CHECK(w != NULL);
    install_allocator();
    inl_queue_trim();
    w->live_before = world_alloc.live;
    w->random_state = seed;
    inl_env_init(&w->env, &env_ops);
    w->env.now_ms = 1000;
    w->env.log = on_log;
    w->env.log_user = w;
    w->env.log_level = INLETS_LOG_DEBUG;
    w->dialer = (struct inl_dialer){&dialer_ops, &w->env};
    w->net = (struct world_net){.latency_ms = 1, .buffer = 128u * 1024};
    inl_list_init(&w->pipes);
    inl_list_init(&w->dials);
    return w;
}

void world_free(struct world *w)
{
    world_run(w, 70000); /* beyond all lingering and idle timers */
    while (!inl_list_empty(&w->pipes)) {
        world_pipe_free(inl_container(w->pipes.next, struct world_pipe, node));
    }
    WORLD_CHECK(inl_list_empty(&w->dials));
    WORLD_CHECK(w->env.nheap == 0);
    WORLD_CHECK(w->errors_logged == 0);
    inl_env_fini(&w->env);
    WORLD_CHECK(world_alloc.live == w->live_before);
    free(w->trace);
    free(w);
}
