/* A long, narrow, lossy link: two network namespaces, a TUN device in each,
 * and this program between them. For the bench (run.py) and for end-to-end
 * tests that cut the link; bench/netns.py is its other half.
 *
 *     link [COMMAND ...]
 *
 * It makes the namespaces itself and holds them by descriptors, so they and
 * the devices are gone when it and whoever lives in them are, however it ends.
 * It prints "ready NEAR FAR", two descriptors of its own that /proc/PID/fd
 * opens to setns(2) or nsenter(1). Near has the address 198.18.0.1, far
 * 198.18.0.2 (RFC 2544, for benchmarks); each has a loopback of its own.
 *
 * Commands are arguments, and lines of the standard input. Each line is
 * answered with "ok" or "error". "near" or "far" before one makes it count
 * only for packets that come from there.
 *
 *     delay MS       one way; the round trip has twice that
 *     rate N         bits a second: 10mbit, 500kbit, 1gbit; 0 is unlimited
 *     queue BYTES    what waits for the rate; more than that is dropped
 *     loss P         of each packet, 0 to 1
 *     seed N         of the losses
 *     cut [MS]       loses everything, also what is under way, until heal
 *     freeze [MS]    holds everything until heal
 *     heal           ends both
 *     count          prints the counts, as the end does
 *     quit           as does the end of the input
 *
 * States of a direction: open, cut, frozen (`broken`), back by time or heal.
 * All packets live in one ring per direction, in the order in which they came,
 * each with the time at which it is due. Failures of the set-up are said on
 * stderr with exit status 1; a packet that a device refuses counts as lost. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    MTU = 1500,
    SLOTS = 1 << 15,     /* 1.5 s at 250 Mbit/s; beyond that packets drop */
    BATCH = 64,          /* packets before the other direction has its turn */
    DEVICE_QUEUE = 5000, /* while this program is not scheduled */
};
#define MS_NS UINT64_C(1000000)
/* Packets due within it leave together: a wakeup for each costs a core. */
#define GRAIN_NS UINT64_C(200000)
#define FOREVER UINT64_MAX

enum broken { WHOLE, CUT, FROZEN };

struct packet {
    uint64_t due_ns;
    uint32_t length;
    unsigned char bytes[MTU];
};

struct way {
    const char *name;
    int from, to;
    uint64_t delay_ns, rate, queue_bytes; /* rate in bits a second */
    double loss;
    uint64_t seed;
    enum broken broken;
    uint64_t healed_ns;    /* when broken ends by itself */
    uint64_t line_free_ns; /* when the last byte queued has left the line */
    uint64_t head, tail;   /* of the ring: counts, never turned back */
    struct packet *ring;
    uint64_t passed, bytes, lost, overflowed, cut;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * MS_NS + (uint64_t)t.tv_nsec;
}

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- Packets -------------------------------------------------------------- */

static bool is_lost(struct way *w)
{
    w->seed ^= w->seed << 13; /* xorshift64: the same losses every time */
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return (double)(w->seed >> 11) * 0x1p-53 < w->loss;
}

/* When a packet that came now has left the line, or FOREVER: no room. */
static uint64_t leaves_line(struct way *w, uint64_t now, uint32_t length)
{
    if (w->rate == 0) {
        return now;
    }
    uint64_t start = w->line_free_ns > now ? w->line_free_ns : now;
    double queued = (double)(start - now) * (double)w->rate / 8e9;
    if (queued + length > (double)w->queue_bytes) {
        return FOREVER;
    }
    w->line_free_ns = start + length * UINT64_C(8000000000) / w->rate;
    return w->line_free_ns;
}

static void take(struct way *w, uint64_t now, struct packet *p)
{
    if (w->broken == CUT) {
        w->cut++;
        return;
    }
    if (w->loss > 0 && is_lost(w)) {
        w->lost++;
        return;
    }
    uint64_t left = leaves_line(w, now, p->length);
    if (left == FOREVER) {
        w->overflowed++;
        return;
    }
    p->due_ns = left + w->delay_ns;
    w->tail++;
}

static void read_some(struct way *w, uint64_t now)
{
    for (int i = 0; i < BATCH; i++) {
        bool full = w->tail - w->head == SLOTS;
        struct packet spare, *p = full ? &spare : &w->ring[w->tail % SLOTS];
        ssize_t got = read(w->from, p->bytes, MTU);
        if (got <= 0) {
            return;
        }
        p->length = (uint32_t)got;
        if (full) {
            w->overflowed++;
        } else {
            take(w, now, p);
        }
    }
}

/* Sends what is due. Returns when the next is, or FOREVER. */
static uint64_t write_due(struct way *w, uint64_t now)
{
    if (w->broken != WHOLE && now >= w->healed_ns) {
        w->broken = WHOLE;
    }
    if (w->broken != WHOLE) {
        return w->healed_ns;
    }
    while (w->head != w->tail) {
        struct packet *p = &w->ring[w->head % SLOTS];
        if (p->due_ns > now) {
            return p->due_ns;
        }
        if (write(w->to, p->bytes, p->length) == (ssize_t)p->length) {
            w->passed++;
            w->bytes += p->length;
        } else {
            w->lost++;
        }
        w->head++;
    }
    return FOREVER;
}

/* --- Commands ------------------------------------------------------------- */

static void break_until(struct way *w, enum broken how, const char *ms)
{
    w->broken = how;
    w->healed_ns =
        ms == NULL ? FOREVER : now_ns() + (uint64_t)(atof(ms) * (double)MS_NS);
    if (how == CUT) {
        w->cut += w->tail - w->head;
        w->head = w->tail;
    }
}

static double number(const char *text)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"", 1}};
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (end != text && value >= 0 && strcmp(end, units[i].suffix) == 0) {
            return value * units[i].factor;
        }
    }
    return -1;
}

static bool set(struct way *w, const char *verb, const char *value)
{
    double n = value == NULL ? -1 : number(value);
    if (n < 0) {
        return false;
    }
    if (strcmp(verb, "delay") == 0) {
        w->delay_ns = (uint64_t)(n * (double)MS_NS);
    } else if (strcmp(verb, "rate") == 0) {
        w->rate = (uint64_t)n;
    } else if (strcmp(verb, "queue") == 0) {
        w->queue_bytes = (uint64_t)n;
    } else if (strcmp(verb, "loss") == 0) {
        w->loss = n;
    } else if (strcmp(verb, "seed") == 0) {
        /* The two directions lose different packets. Small seeds are spread
         * over all bits, else the first packets would all be lost. */
        w->seed = ((uint64_t)n * 256 + (uint64_t)w->name[0]) *
                  UINT64_C(0x9e3779b97f4a7c15);
    } else {
        return false;
    }
    return true;
}

static bool obey_one(struct way *w, const char *verb, const char *value)
{
    if (strcmp(verb, "cut") == 0) {
        break_until(w, CUT, value);
    } else if (strcmp(verb, "freeze") == 0) {
        break_until(w, FROZEN, value);
    } else if (strcmp(verb, "heal") == 0) {
        w->broken = WHOLE;
    } else if (strcmp(verb, "count") == 0) {
        printf("%s: %llu passed, %llu bytes, %llu lost, %llu overflowed, "
               "%llu cut\n",
               w->name, (unsigned long long)w->passed,
               (unsigned long long)w->bytes, (unsigned long long)w->lost,
               (unsigned long long)w->overflowed, (unsigned long long)w->cut);
    } else {
        return set(w, verb, value);
    }
    return true;
}

/* False: quit. */
static bool obey(struct way ways[2], char *line, bool is_answered)
{
    char *rest = line, *word = strtok_r(line, " \t\r\n", &rest);
    bool done = word != NULL, near = true, far = true;
    if (done && strcmp(word, "quit") == 0) {
        return false;
    }
    if (done && (strcmp(word, "near") == 0 || strcmp(word, "far") == 0)) {
        near = word[0] == 'n';
        far = !near;
        word = strtok_r(NULL, " \t\r\n", &rest);
        done = word != NULL;
    }
    char *value = strtok_r(NULL, " \t\r\n", &rest);
    done = done && (!near || obey_one(&ways[0], word, value)) &&
           (!far || obey_one(&ways[1], word, value));
    if (is_answered) {
        puts(done ? "ok" : "error");
    } else if (!done) {
        errno = EINVAL;
        die(word == NULL ? "command" : word);
    }
    return true;
}

/* Reads what is there of the input and obeys its whole lines. False: the end.
 */
static bool obey_input(struct way ways[2])
{
    static char held[512];
    static size_t have;
    ssize_t got = read(STDIN_FILENO, held + have, sizeof(held) - 1 - have);
    if (got <= 0) {
        return got < 0 && errno == EINTR;
    }
    have += (size_t)got;
    held[have] = '\0';
    char *line = held, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        if (!obey(ways, line, true)) {
            return false;
        }
        line = end + 1;
    }
    have -= (size_t)(line - held);
    memmove(held, line, have);
    if (have == sizeof(held) - 1) {
        have = 0; /* no command is that long */
    }
    return true;
}

/* --- Set-up --------------------------------------------------------------- */

static void configure(int fd, struct ifreq *r, unsigned long what, int value)
{
    switch (what) {
    case SIOCSIFFLAGS:
        r->ifr_flags = (short)value;
        break;
    case SIOCSIFMTU:
        r->ifr_mtu = value;
        break;
    default:
        r->ifr_qlen = value;
    }
    if (ioctl(fd, what, r) != 0) {
        die("configuring a device");
    }
}

static void give_address(int fd, struct ifreq *r, unsigned long what,
                         const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &in.sin_addr);
    memcpy(&r->ifr_addr, &in, sizeof(in));
    if (ioctl(fd, what, r) != 0) {
        die(address);
    }
}

/* Router solicitations would be lost in place of what a test sends, at other
 * times in each run. Without IPv6 in the kernel there is nothing to do. */
static void be_quiet(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/link0/disable_ipv6",
                  O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        close(fd);
    }
}

#define TUN "/dev/net/tun"

/* A fresh chroot or container may lack the file though the kernel has what is
 * behind it. */
static int open_tun(void)
{
    int fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        (void)mkdir("/dev/net", 0755);
        (void)mknod(TUN, S_IFCHR | 0600, makedev(10, 200));
        fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    return fd;
}

/* A new namespace with a device in it. Returns the device. */
static int make_side(const char *address, const char *other, int *ret_ns)
{
    if (unshare(CLONE_NEWNET) != 0) {
        die("a network namespace (who may not, can say "
            "\"unshare --user --map-root-user\" before the command)");
    }
    *ret_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int tun = open_tun();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq device = {.ifr_name = "link0",
                           .ifr_flags = IFF_TUN | IFF_NO_PI};
    if (*ret_ns < 0 || fd < 0 || tun < 0 ||
        ioctl(tun, TUNSETIFF, &device) != 0) {
        die(TUN);
    }
    be_quiet();
    give_address(fd, &device, SIOCSIFADDR, address);
    give_address(fd, &device, SIOCSIFDSTADDR, other);
    configure(fd, &device, SIOCSIFMTU, MTU);
    configure(fd, &device, SIOCSIFTXQLEN, DEVICE_QUEUE);
    configure(fd, &device, SIOCSIFFLAGS, IFF_UP | IFF_RUNNING);
    struct ifreq loopback = {.ifr_name = "lo"};
    configure(fd, &loopback, SIOCSIFFLAGS, IFF_UP | IFF_RUNNING);
    close(fd);
    return tun;
}

static void init_way(struct way *w, const char *name, int from, int to)
{
    *w = (struct way){.name = name,
                      .from = from,
                      .to = to,
                      .queue_bytes = 1 << 20,
                      .ring = calloc(SLOTS, sizeof(struct packet))};
    if (w->ring == NULL) {
        die("memory");
    }
    set(w, "seed", "1");
}

static void arm(int timer, uint64_t when, uint64_t now)
{
    struct itimerspec t = {.it_value = {0}};
    if (when != FOREVER) {
        when = when < now + GRAIN_NS ? now + GRAIN_NS : when;
        t.it_value.tv_sec = (time_t)(when / (1000 * MS_NS));
        t.it_value.tv_nsec = (long)(when % (1000 * MS_NS));
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void run(struct way ways[2], int poll, int timer)
{
    for (bool is_open = true; is_open;) {
        struct epoll_event events[4];
        int count = epoll_wait(poll, events, 4, -1);
        uint64_t now = now_ns(), ticks;
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                is_open = obey_input(ways);
            } else if (fd == timer) {
                (void)!read(timer, &ticks, sizeof(ticks));
            } else {
                read_some(&ways[fd == ways[1].from], now);
            }
        }
        uint64_t a = write_due(&ways[0], now), b = write_due(&ways[1], now);
        arm(timer, a < b ? a : b, now);
    }
}

int main(int argc, char **argv)
{
    int near_ns, far_ns;
    int near = make_side("198.18.0.1", "198.18.0.2", &near_ns);
    int far = make_side("198.18.0.2", "198.18.0.1", &far_ns);
    static struct way ways[2];
    init_way(&ways[0], "near", near, far);
    init_way(&ways[1], "far", far, near);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        obey(ways, argv[i], false);
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    int sources[] = {STDIN_FILENO, near, far, timer};
    for (size_t i = 0; i < 4; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = sources[i]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, sources[i], &e) != 0) {
            die("the standard input (a pipe is wanted)");
        }
    }
    printf("ready %d %d\n", near_ns, far_ns);
    run(ways, poll, timer);
    obey(ways, (char[]){"count"}, false);
    return 0;
}
