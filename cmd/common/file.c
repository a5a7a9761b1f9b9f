/* file.c: see file.h. */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_open(FILE *file, const char *path, size_t most, char *text,
                     size_t *ret_len, struct cmd_problem *p)
{
    size_t len = fread(text, 1, most + 1, file);

    if (ferror(file)) {
        return cmd_problem_set(p, "cannot read %s: %s", path, strerror(errno));
    }
    if (len > most) {
        return cmd_problem_set(p, "%s is over %zu bytes", path, most);
    }
    text[len] = '\0';
    *ret_len = len;
    return 0;
}

int cmd_file_read(const char *path, size_t most, char **ret_text,
                  size_t *ret_len, struct cmd_problem *p)
{
    FILE *file = fopen(path, "re");
    char *text;
    int rc;

    if (file == NULL) {
        return cmd_problem_set(p, "cannot open %s: %s", path, strerror(errno));
    }
    /* It may hold a key, which would stay behind in a buffer. */
    (void)setvbuf(file, NULL, _IONBF, 0);
    text = malloc(most + 1);
    rc = text == NULL ? cmd_problem_set(p, "out of memory")
                      : read_open(file, path, most, text, ret_len, p);
    (void)fclose(file);
    if (rc != 0) {
        free(text);
        return rc;
    }
    *ret_text = text;
    return 0;
}

/* ---- writing ---------------------------------------------------------- */

static int write_all(int fd, const char *text)
{
    size_t n = strlen(text);

    while (n > 0) {
        ssize_t wrote = write(fd, text, n);

        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return -1;
        }
        text += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

/* Somebody else's file stays theirs, as far as we may give it; a new one
 * belongs to its folder's owner: root may prepare files for a service. */
static int keep_owner(int fd, int folder, const char *path, mode_t mode)
{
    struct stat old;
    bool is_new = stat(path, &old) != 0;

    if (is_new && fstat(folder, &old) != 0) {
        return -1;
    }
    if (fchown(fd, old.st_uid, old.st_gid) != 0 && errno != EPERM) {
        return -1;
    }
    return fchmod(fd, is_new ? mode : old.st_mode & 0777);
}

static int open_folder_of(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path);

    (void)snprintf(dir, sizeof(dir), "%.*s", len > 0 ? len : 1,
                   len > 0 ? path : ".");
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int write_new(int fd, int folder, const char *path, mode_t mode,
                     const char *const *texts)
{
    int rc = keep_owner(fd, folder, path, mode);

    for (size_t i = 0; rc == 0 && texts[i] != NULL; i++) {
        rc = write_all(fd, texts[i]);
    }
    return rc == 0 ? fsync(fd) : rc;
}

/* errno says what is wrong. */
static int replace(int folder, const char *path, mode_t mode,
                   const char *const *texts)
{
    char new[PATH_MAX + 8];
    int fd, rc, why;

    (void)snprintf(new, sizeof(new), "%s.new", path);
    (void)unlink(new); /* of one that was killed */
    fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -1;
    }
    rc = write_new(fd, folder, path, mode, texts);
    if (rc == 0) {
        rc = rename(new, path);
    }
    why = errno;
    if (rc != 0) {
        (void)unlink(new);
    }
    (void)close(fd);
    errno = why;
    return rc == 0 ? fsync(folder) : rc;
}

int cmd_file_write(const char *path, mode_t mode, const char *const *texts,
                   struct cmd_problem *p)
{
    char real[PATH_MAX];
    int folder, rc;

    /* What a link points to is replaced, not the link. */
    if (realpath(path, real) == NULL) {
        (void)snprintf(real, sizeof(real), "%s", path);
    }
    folder = open_folder_of(real);
    rc = folder < 0 ? -1 : replace(folder, real, mode, texts);
    if (rc != 0) {
        rc = cmd_problem_set(p, "cannot write %s: %s", path, strerror(errno));
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    return rc;
}

int cmd_file_lock(const char *path, struct cmd_problem *p)
{
    int fd = open_folder_of(path);

    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        (void)cmd_problem_set(p, "cannot lock the folder of %s: %s", path,
                              strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    return fd;
}

/* ---- changes ------------------------------------------------------------ */

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 1099511628211u + 1; /* much as FNV-1a */
}

uint64_t cmd_file_stamp(uint64_t before, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        return mix(before, 0);
    }
    before = mix(before, (uint64_t)st.st_ino);
    before = mix(before, (uint64_t)st.st_size);
    before = mix(before, (uint64_t)st.st_mtime);
    /* What could not be read may be readable since somebody said chmod. */
    before = mix(before, (uint64_t)st.st_ctime);
    before = mix(before, (uint64_t)st.st_mode);
    before = mix(before, (uint64_t)st.st_uid);
    before = mix(before, (uint64_t)st.st_gid);
#ifdef __linux__
    before = mix(before, (uint64_t)st.st_mtim.tv_nsec);
    before = mix(before, (uint64_t)st.st_ctim.tv_nsec);
#endif
    return before;
}
