/* privileges.c: see privileges.h.
 *
 * The order matters: the bounding set needs CAP_SETPCAP and the groups need
 * CAP_SETGID, so both go before the user; capabilities go last. Failure of a
 * step is failure of the whole, except that a user nobody asked for may be out
 * of reach (a container without CAP_SETUID, a namespace without that user):
 * then root stays, without a capability, and the log warns. */
#include "common/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inlets/log.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#define OWN_USER "inlets"
#define NO_USER "nobody"
/* What "nobody" is where no list of users says so. */
#define NO_ID 65534u

/* --- who ------------------------------------------------------------------*/

/* A number that is an id, and not the "no change" of setresuid. */
static bool read_id(const char *text, unsigned *ret)
{
    char *end;
    unsigned long n;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    n = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || n >= (uid_t)-1) {
        return false;
    }
    *ret = (unsigned)n;
    return true;
}

static int find_group(const char *text, struct cmd_user *u,
                      struct cmd_problem *p)
{
    const struct group *g = getgrnam(text);
    unsigned id;

    if (g != NULL) {
        u->gid = g->gr_gid;
    } else if (read_id(text, &id)) {
        u->gid = id;
    } else {
        return cmd_problem_set(p, "--user: there is no group '%s'", text);
    }
    return 0;
}

static void take_entry(struct cmd_user *u, const struct passwd *entry)
{
    u->uid = entry->pw_uid;
    u->gid = entry->pw_gid;
    (void)snprintf(u->name, sizeof(u->name), "%s", entry->pw_name);
}

static void find_default(struct cmd_user *u)
{
    const struct passwd *entry = getpwnam(OWN_USER);

    if (entry == NULL || entry->pw_uid == 0) {
        entry = getpwnam(NO_USER);
    }
    if (entry != NULL && entry->pw_uid != 0) {
        take_entry(u, entry);
        return;
    }
    u->uid = u->gid = NO_ID;
    (void)snprintf(u->name, sizeof(u->name), "%u", NO_ID);
}

int cmd_user_find(const char *text, struct cmd_user *ret, struct cmd_problem *p)
{
    struct cmd_user u = {.is_given = text != NULL};
    const struct passwd *entry;
    const char *group;
    size_t len;
    unsigned id;

    if (text == NULL) {
        find_default(&u);
        *ret = u;
        return 0;
    }
    group = strchr(text, ':');
    len = group != NULL ? (size_t)(group - text) : strlen(text);
    if (len == 0 || len >= sizeof(u.name)) {
        return cmd_problem_set(p, "--user: '%s' is not NAME or NAME:GROUP",
                               text);
    }
    memcpy(u.name, text, len);
    entry = getpwnam(u.name);
    if (entry == NULL && read_id(u.name, &id)) {
        u.uid = u.gid = id;
        entry = getpwuid(id);
    } else if (entry == NULL) {
        return cmd_problem_set(p, "--user: there is no user '%s'", u.name);
    }
    if (entry != NULL) {
        take_entry(&u, entry);
    }
    if (group != NULL && find_group(group + 1, &u, p) != 0) {
        return -1;
    }
    *ret = u;
    return 0;
}

/* --- giving up ------------------------------------------------------------*/

static int fault(struct cmd_problem *p, const char *what, const char *name)
{
    return cmd_problem_set(p, "cannot become user %s: %s: %s", name, what,
                           strerror(errno));
}

#ifdef __linux__
/* All capabilities go, but `kept` (-1: none), which stays usable. */
static int set_capabilities(int kept)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    if (kept >= 0) {
        data[kept / 32].permitted = data[kept / 32].effective =
            1u << (unsigned)(kept % 32);
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &header, data);
}

/* Without CAP_SETPCAP it fails, and no_new_privs does the same work. */
static void empty_bounding_set(void)
{
    for (unsigned long cap = 0; cap < 64; cap++) {
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    }
}

static int no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int change_user(const struct cmd_user *u)
{
    /* Until set_capabilities, so that one may be kept. */
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(u->gid, u->gid, u->gid) != 0 ||
        setresuid(u->uid, u->uid, u->uid) != 0) {
        return -1;
    }
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
}
#define READ_FILES CAP_DAC_READ_SEARCH
#else
static int set_capabilities(int kept)
{
    (void)kept;
    return 0;
}
static void empty_bounding_set(void)
{
}
static int no_new_privileges(void)
{
    return 0;
}
static int change_user(const struct cmd_user *u)
{
    gid_t only = u->gid;

    return setgroups(1, &only) != 0 || setgid(u->gid) != 0 ||
                   setuid(u->uid) != 0
               ? -1
               : 0;
}
#define READ_FILES (-1)
#endif

/* Opened, not asked of access(2): what will be done is what is tried. */
static bool is_readable(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return false;
    }
    (void)close(fd);
    return true;
}

/* -1, or the capability that later readings of the file need. */
static int capability_for(struct cmd_log *log, const struct cmd_user *u,
                          const char *path)
{
    if (path == NULL || is_readable(path)) {
        return -1;
    }
    if (u->is_given || READ_FILES < 0) {
        cmd_log_say(log, INLETS_LOG_WARN,
                    "SIGHUP will not be able to read the file: this user may "
                    "not",
                    "user", u->name, "file", path, NULL);
        return -1;
    }
    cmd_log_say(log, INLETS_LOG_WARN,
                "the right to read all files is kept, since this user may not "
                "read the one that SIGHUP reads; let it, or choose with --user",
                "user", u->name, "file", path, NULL);
    return READ_FILES;
}

/* The proof: whatever way back there is, it must be shut. */
static int try_to_return(struct cmd_problem *p, const struct cmd_user *u)
{
    if (setuid(0) == 0 || seteuid(0) == 0 || getuid() != u->uid ||
        geteuid() != u->uid ||
        (u->gid != 0 && (setgid(0) == 0 || setegid(0) == 0)) ||
        getgid() != u->gid || getegid() != u->gid) {
        return cmd_problem_set(p,
                               "became user %s, but could become root again: "
                               "this system cannot be trusted to drop it",
                               u->name);
    }
    return 0;
}

/* Root that stays root by the system's or its user's will: less, at least. */
static int stay(struct cmd_log *log, const char *event, const char *why,
                struct cmd_problem *p)
{
    cmd_log_say(log, INLETS_LOG_WARN, event, "why", why, NULL);
    if (no_new_privileges() != 0) {
        return cmd_problem_set(p, "cannot refuse new privileges: %s",
                               strerror(errno));
    }
    return 0;
}

static int become(struct cmd_log *log, const struct cmd_user *u,
                  const char *reread, struct cmd_problem *p)
{
    int kept;

    empty_bounding_set();
    if (change_user(u) != 0) {
        int err = errno;

        /* Half a change must not go on; all or nothing. */
        if (u->is_given || getuid() != 0 || getgid() != 0 ||
            (err != EPERM && err != EINVAL)) {
            return fault(p, "changing user and group", u->name);
        }
        return stay(log, "DANGER: still root", strerror(err), p);
    }
    kept = capability_for(log, u, reread);
    if (set_capabilities(kept) != 0) {
        return fault(p, "giving up capabilities", u->name);
    }
    if (no_new_privileges() != 0) {
        return fault(p, "refusing new privileges", u->name);
    }
    if (try_to_return(p, u) != 0) {
        return -1;
    }
    cmd_log_say(log, INLETS_LOG_INFO, "root no more", "user", u->name, NULL);
    return 0;
}

/* No user to leave; systemd's CAP_NET_BIND_SERVICE has done its work. */
static int drop_as_user(const char *user, struct cmd_problem *p)
{
    struct cmd_user u;

    if (user != NULL) {
        if (cmd_user_find(user, &u, p) != 0) {
            return -1;
        }
        if (u.uid != geteuid()) {
            return cmd_problem_set(p,
                                   "--user %s: only root can become another "
                                   "user",
                                   user);
        }
    }
    if (set_capabilities(-1) != 0 || no_new_privileges() != 0) {
        return cmd_problem_set(p, "cannot give up capabilities: %s",
                               strerror(errno));
    }
    return 0;
}

int cmd_privileges_drop(struct cmd_log *log, const char *user,
                        const char *reread, struct cmd_problem *p)
{
    struct cmd_user u;

    if (geteuid() != 0 && getuid() != 0) {
        return drop_as_user(user, p);
    }
    if (cmd_user_find(user, &u, p) != 0) {
        return -1;
    }
    if (u.uid == 0) {
        return stay(log, "DANGER: still root, as --user says",
                    "a fault in this program would be a fault of root's", p);
    }
    return become(log, &u, reread, p);
}
