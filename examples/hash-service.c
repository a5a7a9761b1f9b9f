/* hash-service: the service that the quickstart shares with the world. It is
 * an ordinary small HTTP/1.1 server that knows nothing of tunnels.
 *
 *   POST /hash     the SHA-256 of the body, in hex; prints how it begins
 *   GET  /metrics  how much was hashed, as Prometheus reads it
 *
 * One thread per connection, with blocking reads: whatever is wrong with a
 * request ends its thread and nothing else. Bodies are hashed as they come
 * and never held. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <psa/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define HASH_BYTES 32
/* More than this of a line or of header fields is an attack, not a request. */
#define LINE_MAX_BYTES 8192
#define FIELDS_MAX 100
/* A peer that says nothing for this long is gone. */
#define SILENCE_S 120
#define SHOWN_BYTES 60

struct connection {
    int fd;
    size_t at, end; /* buf[at...end) is still unread */
    char buf[16 * 1024];
};

struct request {
    char method[16];
    char path[256];
    bool is_http_1_0;
    bool close; /* the client wants to */
    bool expects_100;
    bool is_chunked;
    bool has_length;
    uint64_t length;
};

struct body {
    psa_hash_operation_t hash;
    unsigned char begin[SHOWN_BYTES];
    size_t begin_len;
    uint64_t len;
};

static atomic_uint_fast64_t hashes_total;
static atomic_uint_fast64_t bytes_total;

/* --- bytes ----------------------------------------------------------------*/

static bool send_all(const struct connection *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* Makes sure that there is an unread byte. */
static bool fill(struct connection *c)
{
    ssize_t n;

    if (c->at < c->end) {
        return true;
    }
    do {
        n = recv(c->fd, c->buf, sizeof(c->buf), 0);
    } while (n < 0 && errno == EINTR);
    c->at = 0;
    c->end = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* A line without its CR LF. False: the end, or too long. */
static bool read_line(struct connection *c, char *line, size_t size)
{
    size_t len = 0;

    while (fill(c)) {
        char byte = c->buf[c->at++];

        if (byte == '\n') {
            line[len > 0 && line[len - 1] == '\r' ? len - 1 : len] = '\0';
            return true;
        }
        if (byte == '\0' || len + 1 >= size) {
            return false;
        }
        line[len++] = byte;
    }
    return false;
}

/* --- the head -------------------------------------------------------------*/

/* Digits of a base and nothing else. */
static bool parse_number(const char *text, int base, uint64_t *ret)
{
    char *end;

    if (!isxdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    *ret = strtoull(text, &end, base);
    return *end == '\0' && errno == 0;
}

static bool take_field(struct request *r, const char *name, const char *value)
{
    if (strcasecmp(name, "content-length") == 0) {
        /* Twice is once too often: it is how requests are smuggled. */
        if (r->has_length || !parse_number(value, 10, &r->length)) {
            return false;
        }
        r->has_length = true;
    } else if (strcasecmp(name, "transfer-encoding") == 0) {
        if (r->is_chunked || strcasecmp(value, "chunked") != 0) {
            return false;
        }
        r->is_chunked = true;
    } else if (strcasecmp(name, "expect") == 0) {
        r->expects_100 = strcasecmp(value, "100-continue") == 0;
    } else if (strcasecmp(name, "connection") == 0) {
        r->close = strcasecmp(value, "close") == 0;
    }
    return true;
}

static bool read_fields(struct connection *c, struct request *r)
{
    char line[LINE_MAX_BYTES];

    for (int i = 0; i < FIELDS_MAX; i++) {
        char *value;
        size_t len;

        if (!read_line(c, line, sizeof(line))) {
            return false;
        }
        if (*line == '\0') {
            return !(r->has_length && r->is_chunked);
        }
        value = strchr(line, ':');
        if (value == NULL || value == line) {
            return false;
        }
        *value++ = '\0';
        value += strspn(value, " \t");
        len = strlen(value);
        while (len > 0 && strchr(" \t", value[len - 1]) != NULL) {
            value[--len] = '\0';
        }
        if (!take_field(r, line, value)) {
            return false;
        }
    }
    return false;
}

/* What has to be cut is no name that is known here. */
static void copy_cut(char *buf, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memcpy(buf, text, len);
    buf[len] = '\0';
}

static bool parse_request_line(char *line, struct request *r)
{
    char *target = strchr(line, ' ');
    char *version = target == NULL ? NULL : strchr(target + 1, ' ');

    if (version == NULL) {
        return false;
    }
    *target++ = '\0';
    *version++ = '\0';
    target[strcspn(target, "?")] = '\0';
    copy_cut(r->method, sizeof(r->method), line);
    copy_cut(r->path, sizeof(r->path), target);
    r->is_http_1_0 = strcmp(version, "HTTP/1.0") == 0;
    return r->is_http_1_0 || strcmp(version, "HTTP/1.1") == 0;
}

/* False: no request (*ret_came is false), or no sense in it. */
static bool read_head(struct connection *c, struct request *r, bool *ret_came)
{
    char line[LINE_MAX_BYTES];

    *r = (struct request){0};
    *ret_came = read_line(c, line, sizeof(line));
    return *ret_came && parse_request_line(line, r) && read_fields(c, r);
}

/* --- the body -------------------------------------------------------------*/

static bool take_bytes(struct connection *c, uint64_t len, struct body *b)
{
    while (len > 0) {
        const unsigned char *data;
        size_t n;
        size_t shown;

        if (!fill(c)) {
            return false;
        }
        n = c->end - c->at < len ? c->end - c->at : (size_t)len;
        data = (const unsigned char *)c->buf + c->at;
        shown = SHOWN_BYTES - b->begin_len < n ? SHOWN_BYTES - b->begin_len : n;
        memcpy(b->begin + b->begin_len, data, shown);
        b->begin_len += shown;
        b->len += n;
        if (psa_hash_update(&b->hash, data, n) != PSA_SUCCESS) {
            return false;
        }
        c->at += n;
        len -= n;
    }
    return true;
}

static bool read_chunks(struct connection *c, struct body *b)
{
    char line[LINE_MAX_BYTES];
    uint64_t len;

    do {
        if (!read_line(c, line, sizeof(line))) {
            return false;
        }
        line[strcspn(line, "; \t")] = '\0';
        if (!parse_number(line, 16, &len) || !take_bytes(c, len, b)) {
            return false;
        }
        if (len > 0 && (!read_line(c, line, sizeof(line)) || *line != '\0')) {
            return false;
        }
    } while (len > 0);
    for (int i = 0; i < FIELDS_MAX; i++) { /* trailers */
        if (!read_line(c, line, sizeof(line))) {
            return false;
        }
        if (*line == '\0') {
            return true;
        }
    }
    return false;
}

static bool read_body(struct connection *c, const struct request *r,
                      struct body *b)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (r->expects_100 && !r->is_http_1_0 &&
        !send_all(c, go_on, sizeof(go_on) - 1)) {
        return false;
    }
    return r->is_chunked ? read_chunks(c, b) : take_bytes(c, r->length, b);
}

/* --- answers --------------------------------------------------------------*/

static bool answer(const struct connection *c, const struct request *r,
                   const char *status, const char *type, const char *body)
{
    char head[512];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %s\r\nContent-Type: %s\r\n"
                       "Content-Length: %zu\r\n%s\r\n",
                       status, type, strlen(body),
                       r->close ? "Connection: close\r\n" : "");

    return send_all(c, head, (size_t)len) &&
           (strcmp(r->method, "HEAD") == 0 || send_all(c, body, strlen(body)));
}

/* One call, so that the lines of two threads do not mix. */
static void print_beginning(const struct body *b)
{
    char text[4 * SHOWN_BYTES + 1];
    size_t len = 0;

    for (size_t i = 0; i < b->begin_len; i++) {
        unsigned char byte = b->begin[i];

        if (byte < 0x20 || byte >= 0x7f) {
            len += (size_t)snprintf(text + len, 5, "\\x%02x", byte);
            continue;
        }
        if (byte == '"' || byte == '\\') {
            text[len++] = '\\';
        }
        text[len++] = (char)byte;
    }
    text[len] = '\0';
    printf("\"%s\"%s\n", text, b->len > b->begin_len ? "..." : "");
}

static bool answer_hash(const struct connection *c, const struct request *r,
                        struct body *b)
{
    unsigned char digest[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    size_t len;

    if (psa_hash_finish(&b->hash, digest, sizeof(digest), &len) !=
        PSA_SUCCESS) {
        return false;
    }
    for (size_t i = 0; i < HASH_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    print_beginning(b);
    atomic_fetch_add(&hashes_total, 1);
    atomic_fetch_add(&bytes_total, b->len);
    return answer(c, r, "200 OK", "text/plain", hex);
}

static bool answer_metrics(const struct connection *c, const struct request *r)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "# HELP hash_service_hashes_total Bodies hashed.\n"
                   "# TYPE hash_service_hashes_total counter\n"
                   "hash_service_hashes_total %" PRIuFAST64 "\n"
                   "# HELP hash_service_hashed_bytes_total Their bytes.\n"
                   "# TYPE hash_service_hashed_bytes_total counter\n"
                   "hash_service_hashed_bytes_total %" PRIuFAST64 "\n",
                   atomic_load(&hashes_total), atomic_load(&bytes_total));
    return answer(c, r, "200 OK", "text/plain; version=0.0.4", text);
}

static bool answer_path(const struct connection *c, const struct request *r,
                        struct body *b)
{
    bool is_get =
        strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;

    if (strcmp(r->path, "/hash") == 0) {
        return strcmp(r->method, "POST") == 0
                   ? answer_hash(c, r, b)
                   : answer(c, r, "405 Method Not Allowed\r\nAllow: POST",
                            "text/plain", "POST something to hash.\n");
    }
    if (strcmp(r->path, "/metrics") == 0) {
        return is_get
                   ? answer_metrics(c, r)
                   : answer(c, r, "405 Method Not Allowed\r\nAllow: GET, HEAD",
                            "text/plain", "GET it.\n");
    }
    return answer(c, r, "404 Not Found", "text/plain",
                  "There is POST /hash and GET /metrics.\n");
}

/* One request; false ends the connection. */
static bool serve_one(struct connection *c)
{
    struct request r;
    struct body b = {.hash = PSA_HASH_OPERATION_INIT};
    bool came;
    bool is_fine;

    if (!read_head(c, &r, &came)) {
        r.close = true;
        if (came) {
            (void)answer(c, &r, "400 Bad Request", "text/plain", "?\n");
        }
        return false;
    }
    r.close = r.close || r.is_http_1_0;
    is_fine = psa_hash_setup(&b.hash, PSA_ALG_SHA_256) == PSA_SUCCESS &&
              read_body(c, &r, &b) && answer_path(c, &r, &b);
    (void)psa_hash_abort(&b.hash);
    return is_fine && !r.close;
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    const struct timeval silence = {.tv_sec = SILENCE_S};
    const int one = 1;

    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
    (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    while (serve_one(c)) {
    }
    (void)close(c->fd);
    free(c);
    return NULL;
}

/* --- the program ----------------------------------------------------------*/

static int listen_on(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(*port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 ||
        listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        (void)fprintf(stderr,
                      "hash-service: cannot listen on 127.0.0.1:%u: %s\n",
                      *port, strerror(errno));
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static void start_thread(int fd)
{
    struct connection *c = calloc(1, sizeof(*c));
    pthread_attr_t attr;
    pthread_t thread;

    if (c != NULL) {
        c->fd = fd;
        (void)pthread_attr_init(&attr);
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attr, serve, c) == 0) {
            (void)pthread_attr_destroy(&attr);
            return;
        }
        (void)pthread_attr_destroy(&attr);
    }
    free(c);
    (void)close(fd);
}

static int accept_all(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0) {
            start_thread(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            (void)sleep(1);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            (void)fprintf(stderr, "hash-service: accept: %s\n",
                          strerror(errno));
            return 1;
        }
    }
}

/* --port N; 0 lets the system choose. */
static bool parse_flags(int argc, char **argv, uint16_t *ret_port)
{
    static const struct option longs[] = {
        {"port", required_argument, NULL, 'p'}, {0}};
    uint64_t port = 3000;
    int got;

    while ((got = getopt_long(argc, argv, "p:", longs, NULL)) != -1) {
        if (got != 'p' || !parse_number(optarg, 10, &port) || port > 65535) {
            return false;
        }
    }
    *ret_port = (uint16_t)port;
    return optind == argc;
}

int main(int argc, char **argv)
{
    char date[32];
    time_t now = time(NULL);
    struct tm tm;
    uint16_t port;
    int listener;

    if (!parse_flags(argc, argv, &port)) {
        (void)fprintf(stderr, "Usage: hash-service [--port 3000]\n");
        return 2;
    }
    if (psa_crypto_init() != PSA_SUCCESS) {
        (void)fprintf(stderr, "hash-service: no SHA-256 to be had\n");
        return 1;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    listener = listen_on(&port);
    if (listener < 0) {
        return 1;
    }
    (void)strftime(date, sizeof(date), "%Y/%m/%d %H:%M:%S",
                   localtime_r(&now, &tm));
    printf("%s Listening on port: %u\n", date, port);
    return accept_all(listener);
}
