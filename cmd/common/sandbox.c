/* sandbox.c: see sandbox.h. Raw system calls: landlock has no library, and the
 * filter is a table and three rules on arguments, too little to need one. */
#include "common/sandbox.h"

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- landlock -------------------------------------------------------------*/

/* Of the kernel's interface, which old headers lack. */
#define LL_CREATE 444
#define LL_ADD_RULE 445
#define LL_RESTRICT 446
#define LL_VERSION 1u /* flag of LL_CREATE */
#define LL_PATH_BENEATH 1
#define LL_READ_FILE (1ull << 2)
#define LL_READ_DIR (1ull << 3)
#define LL_NET_ALL 3ull   /* bind and connect TCP: ABI 4 */
#define LL_SCOPE_ALL 3ull /* abstract UNIX sockets, signals: ABI 6 */

struct ll_ruleset {
    uint64_t fs, net, scoped;
};
struct ll_beneath {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

/* The rights on files that an ABI knows of. */
static uint64_t ll_files(int abi)
{
    unsigned bits = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;

    return (1ull << bits) - 1;
}

/* Where something that resolves names looks, on the usual systems. The
 * directories, since what is in them is replaced by new files (a laptop that
 * joins another network). */
static const char *const resolver_paths[] = {
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    NULL,
};

/* What does not exist needs no rule. */
static int let_read(int ruleset, const char *path)
{
    struct ll_beneath rule = {.access = LL_READ_FILE | LL_READ_DIR};
    long rc;

    rule.parent = open(path, O_PATH | O_CLOEXEC | O_DIRECTORY);
    if (rule.parent < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
    }
    rc = syscall(LL_ADD_RULE, ruleset, LL_PATH_BENEATH, &rule, 0);
    (void)close(rule.parent);
    return rc == 0 ? 0 : -1;
}

/* Itself if it is one, and the directory it is in: a file that is replaced is
 * another file. (let_read passes over what is none.) */
static int let_reread(int ruleset, const char *file)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(file, '/');
    int len = slash == NULL ? 0 : (int)(slash - file);

    if (let_read(ruleset, file) != 0) {
        return -1;
    }
    if (slash == NULL) {
        return let_read(ruleset, ".");
    }
    (void)snprintf(dir, sizeof(dir), "%.*s", len > 0 ? len : 1, file);
    return let_read(ruleset, dir);
}

static int add_rules(int ruleset, const struct cmd_sandbox *s)
{
    for (size_t i = 0; s->dials && resolver_paths[i] != NULL; i++) {
        if (let_read(ruleset, resolver_paths[i]) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; s->reread != NULL && s->reread[i] != NULL; i++) {
        if (let_reread(ruleset, s->reread[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int fence_files(const struct cmd_sandbox *s, int *ret_level,
                       struct cmd_problem *p)
{
    struct ll_ruleset all = {0, 0, 0};
    int abi = (int)syscall(LL_CREATE, NULL, 0, LL_VERSION);
    size_t size = abi >= 6   ? sizeof(all)
                  : abi >= 4 ? offsetof(struct ll_ruleset, scoped)
                             : offsetof(struct ll_ruleset, net);
    int ruleset;
    int rc;

    if (abi < 1) {
        return cmd_problem_set(p,
                               "--sandbox: this kernel has no landlock (%s); "
                               "Linux 5.13 with lsm=landlock has",
                               strerror(errno));
    }
    all.fs = ll_files(abi);
    all.net = abi >= 4 && !s->dials ? LL_NET_ALL : 0;
    all.scoped = abi >= 6 ? LL_SCOPE_ALL : 0;
    ruleset = (int)syscall(LL_CREATE, &all, size, 0);
    if (ruleset < 0) {
        return cmd_problem_set(p, "--sandbox: landlock: %s", strerror(errno));
    }
    rc = add_rules(ruleset, s);
    if (rc == 0) {
        rc = (int)syscall(LL_RESTRICT, ruleset, 0);
    }
    if (rc != 0) {
        (void)cmd_problem_set(p, "--sandbox: landlock: %s", strerror(errno));
    }
    (void)close(ruleset);
    *ret_level = abi;
    return rc;
}

/* --- seccomp --------------------------------------------------------------*/

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef ARCH
/* What every processor has, then what only older ones have. Memory, threads,
 * time, descriptors, TCP: what libc, libuv and we use between start and end. */
static const int allowed[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_close,
    SYS_fstat,
    SYS_lseek,
    SYS_fcntl,
    SYS_dup,
    SYS_dup3,
    SYS_getdents64,
    SYS_newfstatat,
    SYS_statx,
    SYS_faccessat,
    SYS_readlinkat,
    SYS_getcwd,
    /* sockets */
    SYS_accept,
    SYS_accept4,
    SYS_bind,
    SYS_connect,
    SYS_listen,
    SYS_shutdown,
    SYS_getsockname,
    SYS_getpeername,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendmmsg,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_recvmmsg,
    /* waiting */
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_ppoll,
    SYS_pselect6,
    SYS_eventfd2,
    SYS_pipe2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    /* memory */
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_membarrier,
    /* threads and time */
    SYS_futex,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_set_tid_address,
    SYS_gettid,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    /* signals */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    /* who and what we are */
    SYS_getpid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_uname,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_getrandom,
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
    SYS_epoll_create,
    SYS_poll,
    SYS_select,
    SYS_pipe,
    SYS_dup2,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_time,
    SYS_arch_prctl,
#endif
};

/* Longest: head, two instructions for each call, the rules, the tail. */
#define FILTER_MAX (sizeof(allowed) / sizeof(allowed[0]) * 2 + 96)

struct program {
    struct sock_filter code[FILTER_MAX];
    unsigned short len;
};

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARGUMENT(i) (offsetof(struct seccomp_data, args) + 8u * (i))
#else
#define ARGUMENT(i) (offsetof(struct seccomp_data, args) + 8u * (i) + 4u)
#endif
#define FAIL(err) (SECCOMP_RET_ERRNO | ((unsigned)(err)&SECCOMP_RET_DATA))

static void add(struct program *f, unsigned code, size_t k, unsigned yes,
                unsigned no)
{
    f->code[f->len++] =
        (struct sock_filter){(unsigned short)code, (unsigned char)yes,
                             (unsigned char)no, (unsigned)k};
}

static void load(struct program *f, size_t offset)
{
    add(f, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

/* Is it equal (or, with code BPF_JSET, has it one of the bits)? If so the next
 * instruction runs, else it is skipped. */
static void unless_skip(struct program *f, unsigned code, size_t k)
{
    add(f, BPF_JMP | code | BPF_K, k, 0, 1);
}

static void end(struct program *f, unsigned verdict)
{
    add(f, BPF_RET | BPF_K, verdict, 0, 0);
}

static void judge(struct program *f, int call, unsigned verdict)
{
    unless_skip(f, BPF_JEQ, (unsigned)call);
    end(f, verdict);
}

/* One argument of `call` must be in the list. */
static void allow_if_one_of(struct program *f, int call, unsigned argument,
                            const unsigned *values, unsigned n)
{
    add(f, BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 2 + 2 * n);
    load(f, ARGUMENT(argument));
    for (unsigned i = 0; i < n; i++) {
        judge(f, (int)values[i], SECCOMP_RET_ALLOW);
    }
    end(f, FAIL(EPERM));
}

/* An argument without one of the bits (or, with `all`, with one of them). */
static void allow_by_bits(struct program *f, int call, unsigned argument,
                          unsigned bits, bool wanted)
{
    add(f, BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 4);
    load(f, ARGUMENT(argument));
    unless_skip(f, BPF_JSET, bits);
    end(f, wanted ? SECCOMP_RET_ALLOW : FAIL(EPERM));
    end(f, wanted ? FAIL(EPERM) : SECCOMP_RET_ALLOW);
}

/* socket(): by family, then TCP or UDP by type. */
static void allow_sockets(struct program *f)
{
    static const unsigned families[] = {AF_INET, AF_INET6, AF_UNIX};
    const unsigned n = 3;

    add(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, n + 9);
    load(f, ARGUMENT(0));
    for (unsigned i = 0; i < n; i++) {
        add(f, BPF_JMP | BPF_JEQ | BPF_K, families[i], n - i, 0);
    }
    end(f, FAIL(EPERM));
    load(f, ARGUMENT(1));
    add(f, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0);
    judge(f, SOCK_STREAM, SECCOMP_RET_ALLOW);
    judge(f, SOCK_DGRAM, SECCOMP_RET_ALLOW);
    end(f, FAIL(EPERM));
}

static void allow_with_arguments(struct program *f, bool loads_code)
{
    static const unsigned ioctls[] = {FIONBIO, FIONREAD, FIOCLEX, SIOCOUTQ};
    static const unsigned names[] = {PR_SET_NAME, PR_GET_NAME};
    static const unsigned self[] = {0};
    const unsigned writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
    const unsigned me[] = {(unsigned)getpid()};

    allow_if_one_of(f, SYS_ioctl, 1, ioctls, 4);
    allow_if_one_of(f, SYS_prctl, 0, names, 2);
    allow_if_one_of(f, SYS_prlimit64, 0, self, 1);
    /* abort(), and no other process. */
    allow_if_one_of(f, SYS_kill, 0, me, 1);
    allow_if_one_of(f, SYS_tgkill, 0, me, 1);
    /* Threads and no processes. */
    allow_by_bits(f, SYS_clone, 0, CLONE_THREAD, true);
    allow_by_bits(f, SYS_openat, 2, writing, false);
#ifdef SYS_open
    allow_by_bits(f, SYS_open, 1, writing, false);
#endif
    /* libc loads plug-ins to resolve names; else no new code, ever. */
    allow_by_bits(f, SYS_mmap, 2, loads_code ? 0 : PROT_EXEC, false);
    allow_by_bits(f, SYS_mprotect, 2, loads_code ? 0 : PROT_EXEC, false);
    allow_sockets(f);
}

static int fence_calls(bool loads_code, struct cmd_problem *p)
{
    struct program f = {.len = 0};
    struct sock_fprog given = {.filter = f.code};
    const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG;

    /* Calls of another architecture have other numbers: nobody of ours. */
    load(&f, offsetof(struct seccomp_data, arch));
    add(&f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    end(&f, SECCOMP_RET_KILL_PROCESS);
    load(&f, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        judge(&f, allowed[i], SECCOMP_RET_ALLOW);
    }
#ifdef SYS_clone3
    judge(&f, SYS_clone3, FAIL(ENOSYS));
#endif
    allow_with_arguments(&f, loads_code);
    end(&f, FAIL(EPERM));
    given.len = f.len;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &given) != 0) {
        return cmd_problem_set(p, "--sandbox: seccomp: %s", strerror(errno));
    }
    return 0;
}
#else
static int fence_calls(bool loads_code, struct cmd_problem *p)
{
    (void)loads_code;
    return cmd_problem_set(p, "--sandbox: not for this processor yet");
}
#endif

int cmd_sandbox_enter(const struct cmd_sandbox *s, int *ret_level,
                      struct cmd_problem *p)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return cmd_problem_set(p, "--sandbox: %s", strerror(errno));
    }
    return fence_files(s, ret_level, p) != 0 ? -1 : fence_calls(s->dials, p);
}

#else

int cmd_sandbox_enter(const struct cmd_sandbox *s, int *ret_level,
                      struct cmd_problem *p)
{
    (void)s;
    (void)ret_level;
    return cmd_problem_set(p, "--sandbox: Linux only");
}

#endif
