/* sandbox_probe.c: enters the sandbox of the programs, tries what it forbids,
 * and says for each trial "name errno" (0: it worked). Usage: sandbox_probe
 * server|client READABLE_FILE. */
#include "common/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long rc)
{
    int err = rc < 0 ? errno : 0;

    printf("%s %d\n", name, err);
    (void)fflush(stdout);
}

static int connect_out(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return fd < 0 ? fd : connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static void try_files(const char *readable)
{
    say("passwd", open("/etc/passwd", O_RDONLY));
    say("shadow_of_proc", open("/proc/1/environ", O_RDONLY));
    say("readable", open(readable, O_RDONLY));
    say("write", open(readable, O_WRONLY));
    say("create", open("/tmp/inlets-probe", O_WRONLY | O_CREAT, 0600));
    say("unlink", unlink(readable));
    say("mkdir", syscall(SYS_mkdirat, AT_FDCWD, "/tmp/inlets-probe", 0700));
}

static void try_processes(void)
{
    char *argv[] = {(char[]){"true"}, NULL};
    char *no_environment[] = {NULL};

    say("exec", execve("/bin/true", argv, no_environment));
    say("fork", syscall(SYS_clone, 17, 0, 0, 0, 0));
    say("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    say("init_module", syscall(SYS_init_module, NULL, 0, ""));
    say("kill_parent", syscall(SYS_kill, getppid(), 0));
    say("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say("unshare", syscall(SYS_unshare, 0x10000000));
}

static void try_sockets(void)
{
    say("packet", socket(AF_PACKET, SOCK_RAW, 0));
    say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    say("raw", socket(AF_INET, SOCK_RAW, 1));
    say("tcp", socket(AF_INET, SOCK_STREAM, 0));
    say("udp6", socket(AF_INET6, SOCK_DGRAM, 0));
    say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("connect", connect_out());
}

int main(int argc, char **argv)
{
    struct cmd_problem p;
    struct cmd_sandbox s = {0};
    int level = 0;

    if (argc != 3) {
        return 2;
    }
    s.dials = strcmp(argv[1], "client") == 0;
    const char *const reread[] = {argv[2], NULL};

    s.reread = s.dials ? reread : NULL;
    if (cmd_sandbox_enter(&s, &level, &p) != 0) {
        (void)fprintf(stderr, "%s\n", p.text);
        return 1;
    }
    printf("landlock %d\n", level);
    try_files(argv[2]);
    try_processes();
    try_sockets();
    return 0;
}
