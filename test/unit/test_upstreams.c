/* test_upstreams.c: --upstream lists, taken apart where they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/upstreams.h"
#include <inlets/certificate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What came of it: "endpoint -> url" with "; " between. */
static const struct {
    const char *list, *items;
} good[] = {
    {"http://127.0.0.1:3000", " -> http://127.0.0.1:3000"},
    {"127.0.0.1:3000", " -> http://127.0.0.1:3000"},
    {"a=http://x:1,b=http://y:2", "a -> http://x:1; b -> http://y:2"},
    {"a=x:1,b=y:2", "a -> http://x:1; b -> http://y:2"},
    {"a=x,b=y", "a -> http://x; b -> http://y"},
    {"a=x, b=y", "a -> http://x; b -> http://y"},
    {"a=x,y:80", "a -> http://x;  -> http://y:80"},
    {"a=[::1]:80,b=y", "a -> http://[::1]:80; b -> http://y"},
    {"[::1]=http://x", "[::1] -> http://x"},
    {"a/p=http://x/q,/r=http://y", "a/p -> http://x/q; /r -> http://y"},
    {"a=http://x/q,b=y:80/z", "a -> http://x/q; b -> http://y:80/z"},
    {"a=http://x/q,b=[::1]:80", "a -> http://x/q; b -> http://[::1]:80"},
    {"*.a=x", "*.a -> http://x"},
    {"*=x", " -> http://x"},
    {"*/p=x", "/p -> http://x"},
    /* "=" and commas inside a URL are the URL's. */
    {"http://x/?a=b", " -> http://x/?a=b"},
    {"x/?a=b", " -> http://x/?a=b"},
    {"http://x/?a=1,b=2", " -> http://x/?a=1,b=2"},
    {"http://x/?a=1,b=h:2", " -> http://x/?a=1,b=h:2"},
    {"http://x/a,b", " -> http://x/a,b"},
    {"http://x/a;b=1,c=2", " -> http://x/a;b=1,c=2"},
    {"http://x/?u=http://y", " -> http://x/?u=http://y"},
    {"a=http://x/?k=v", "a -> http://x/?k=v"},
    {"a=http://x/?k=1,2,b=http://y/?k=3,4",
     "a -> http://x/?k=1,2; b -> http://y/?k=3,4"},
    {"a=http://x/?k=1,http://y", "a -> http://x/?k=1;  -> http://y"},
    {"https://x,ab+c-d.e://y=z", NULL}, /* two catch-alls */
    {"a=https://x", "a -> https://x"},
    {"unix:/run/a.sock", " -> unix:/run/a.sock"},
    {"a=unix:/run/a=b.sock", "a -> unix:/run/a=b.sock"},
    {"unix:/run/a=b.sock", " -> unix:/run/a=b.sock"},
    {"a=unix:/r/a,b=unix:/r/b", "a -> unix:/r/a; b -> unix:/r/b"},
    {"a=UNIX:/r/a,unix:/r/b,c=x:80",
     "a -> UNIX:/r/a;  -> unix:/r/b; c -> http://x:80"},
    {"unix=x:1", "unix -> http://x:1"},
    /* Behind # every comma ends it; an authority's file is apart. */
    {"a=https://x#skip-verify,b=y",
     "a -> https://x#skip-verify; b -> http://y"},
    {"a=https://x#ca:/e/a.pem,b=y",
     "a -> https://x by /e/a.pem; b -> http://y"},
    {"https://x/p#ca:a.pem", " -> https://x/p by a.pem"},
    {"https://x#ca:", " -> https://x by "},
    {"https://x#sha256:00#ca:y", " -> https://x#sha256:00#ca:y"},
};

static void show(const struct cmd_upstreams *u, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < u->count; i++) {
        len += (size_t)snprintf(
            buf + len, size - len, "%s%s -> %s%s%s", i == 0 ? "" : "; ",
            u->items[i].endpoint, u->items[i].url,
            u->items[i].ca_file == NULL ? "" : " by ",
            u->items[i].ca_file == NULL ? "" : u->items[i].ca_file);
    }
}

static void lists_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct cmd_upstreams u = {0};
        struct cmd_problem p = {""};
        char text[256];
        int rc = cmd_upstreams_add(good[i].list, &u, &p);

        show(&u, text, sizeof(text));
        if (good[i].items == NULL) {
            assert_int_equal(rc, -1);
        } else {
            assert_string_equal(p.text, "");
            assert_string_equal(text, good[i].items);
        }
        cmd_upstreams_fini(&u);
    }
}

static const struct {
    const char *list, *problem;
} bad[] = {
    {"", "'' has an empty item"},
    {",", "',' has an empty item"},
    {"a=x,", "'a=x,' has an empty item"},
    {"a=x,,b=y", "'a=x,,b=y' has an empty item"},
    {"=x", "'=x' lacks a host; write URL, HOST=URL or HOST/PATH=URL"},
    {"a=", "'a=' lacks a URL; write URL, HOST=URL or HOST/PATH=URL"},
    {"a=,b=x", "'a=' lacks a URL; write URL, HOST=URL or HOST/PATH=URL"},
    {"a=x,a=y", "two upstreams for a: http://x and http://y; keep one"},
    {"A.example=x,a.EXAMPLE.=y",
     "two upstreams for a.EXAMPLE.: http://x and http://y; keep one"},
    {"a/p=x,a/p/=y", "two upstreams for a/p/: http://x and http://y; keep one"},
    {"http://x,http://y",
     "two upstreams for every host: http://x and http://y; keep one"},
    {"http://x,*=y",
     "two upstreams for every host: http://x and http://y; keep one"},
};

static void wrong_lists_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct cmd_upstreams u = {0};
        struct cmd_problem p = {""};

        assert_int_equal(cmd_upstreams_add(bad[i].list, &u, &p), -1);
        assert_string_equal(p.text, bad[i].problem);
        cmd_upstreams_fini(&u);
    }
}

static void repeated_flags_add_up(void **state)
{
    struct cmd_upstreams u = {0};
    struct cmd_problem p;
    char text[128];

    (void)state;
    assert_int_equal(cmd_upstreams_add("a=x", &u, &p), 0);
    assert_int_equal(cmd_upstreams_add("a/p=y,z", &u, &p), 0);
    /* A path's case counts, a host's does not. */
    assert_int_equal(cmd_upstreams_add("a/P=w", &u, &p), 0);
    show(&u, text, sizeof(text));
    assert_string_equal(text, "a -> http://x; a/p -> http://y; "
                              " -> http://z; a/P -> http://w");
    assert_string_equal(cmd_upstream_endpoint_name(&u.items[0]), "a");
    assert_string_equal(cmd_upstream_endpoint_name(&u.items[2]), "*");
    assert_int_equal(cmd_upstreams_add("A=v", &u, &p), -1);
    cmd_upstreams_fini(&u);
}

/* --- files -----------------------------------------------------------------*/

static int read_text(const char *text, size_t len, struct cmd_upstreams *u,
                     struct cmd_problem *p)
{
    char path[] = "/tmp/inlets-test-XXXXXX";
    int fd = mkstemp(path);
    int rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(close(fd), 0);
    rc = cmd_upstreams_read(path, u, p);
    assert_int_equal(unlink(path), 0);
    return rc;
}

/* What came of it as above, or what is wrong, behind the file's name. */
static const struct {
    const char *text, *items, *problem;
} files[] = {
    {"a=x\nb=y\n", "a -> http://x; b -> http://y", NULL},
    {"a=x\nb=y", "a -> http://x; b -> http://y", NULL},
    {"a=x,b=y\nc=z\n", "a -> http://x; b -> http://y; c -> http://z", NULL},
    {"\n  # a=x\n\t b=y \t\r\n\r\n", "b -> http://y", NULL},
    {"a=x/#b\n", "a -> http://x/#b", NULL},
    {"", "", NULL},
    {"a=x\n\nb=\n", NULL,
     ", line 3: 'b=' lacks a URL; write URL, HOST=URL or HOST/PATH=URL"},
    {"a=x\n#\nA.=y\n", NULL,
     ", line 3: two upstreams for A.: http://x and http://y; keep one"},
    {"a=x,\n", NULL, ", line 1: 'a=x,' has an empty item"},
};

static void files_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        struct cmd_upstreams u = {0};
        struct cmd_problem p = {""};
        char text[256];
        int rc = read_text(files[i].text, strlen(files[i].text), &u, &p);

        if (files[i].problem != NULL) {
            assert_int_equal(rc, -1);
            assert_string_equal(strchr(p.text, ','), files[i].problem);
        } else {
            assert_string_equal(p.text, "");
            show(&u, text, sizeof(text));
            assert_string_equal(text, files[i].items);
        }
        cmd_upstreams_fini(&u);
    }
}

static void lines_are_numbered(void **state)
{
    struct cmd_upstreams u = {0};
    struct cmd_problem p;

    (void)state;
    assert_int_equal(cmd_upstreams_add("z=1", &u, &p), 0);
    assert_int_equal(read_text("#\na=x\n\nb=y", 10, &u, &p), 0);
    assert_int_equal(u.count, 3);
    assert_int_equal(u.items[0].line, 0);
    assert_int_equal(u.items[1].line, 2);
    assert_int_equal(u.items[2].line, 4);
    cmd_upstreams_fini(&u);
}

static void wrong_files_are_refused(void **state)
{
    static char big[CMD_UPSTREAMS_FILE_MAX + 1];
    struct cmd_upstreams u = {0};
    struct cmd_problem p;

    (void)state;
    assert_int_equal(read_text("a=x\nb=\0y\n", 9, &u, &p), -1);
    assert_non_null(strstr(p.text, "line 2: a NUL byte"));
    memset(big, '\n', sizeof(big));
    assert_int_equal(read_text(big, sizeof(big), &u, &p), -1);
    assert_non_null(strstr(p.text, "is over 1048576 bytes"));
    assert_int_equal(read_text(big, sizeof(big) - 1, &u, &p), 0);
    assert_int_equal(cmd_upstreams_read("/dev/zero", &u, &p), -1);
    assert_int_equal(cmd_upstreams_read("/", &u, &p), -1);
    assert_int_equal(cmd_upstreams_read("/nonexistent/file", &u, &p), -1);
    assert_string_equal(p.text, "cannot open /nonexistent/file: No such file "
                                "or directory");
    cmd_upstreams_fini(&u);
}

static void endpoints_are_found(void **state)
{
    struct cmd_upstreams u = {0};
    struct cmd_upstreams copy = {0};
    struct cmd_problem p;

    (void)state;
    assert_int_equal(cmd_upstreams_add("a.example/p=x,y", &u, &p), 0);
    assert_int_equal(cmd_upstreams_copy(&copy, &u, &p), 0);
    cmd_upstreams_fini(&u);
    assert_string_equal(cmd_upstreams_find(&copy, "A.Example./p/")->url,
                        "http://x");
    assert_string_equal(cmd_upstreams_find(&copy, "")->url, "http://y");
    assert_null(cmd_upstreams_find(&copy, "a.example"));
    cmd_upstreams_fini(&copy);
}

/* --- authorities -----------------------------------------------------------*/

static const struct {
    const char *list, *problem; /* FILE: one with the text */
    const char *text;
} authorities[] = {
    {"a=https://x/p?q=1#ca:/nonexistent/ca.pem",
     "the upstream a=https://x/p?...: cannot open /nonexistent/ca.pem: No such "
     "file or directory",
     ""},
    {"https://x#ca:/dev",
     "the upstream *=https://x: cannot read /dev: Is a directory", ""},
    {"https://x#ca:FILE",
     "the upstream *=https://x: FILE has no certificate in PEM that can be "
     "read",
     ""},
    {"https://x#ca:FILE",
     "the upstream *=https://x: FILE has no certificate in PEM that can be "
     "read",
     "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"},
    {"https://x#ca:", "the upstream *=https://x: #ca: names no file", ""},
    {"a=http://x#ca:FILE",
     "the upstream a=http://x: #ca: is for https:// alone", ""},
    {"x#ca:FILE", "the upstream *=http://x: #ca: is for https:// alone", ""},
};

#define AUTHORITY_FILE "/tmp/inlets-test-XXXXXX"

/* text, with FILE as it is called. */
static void put_file(const char *text, const char *file, char *buf, size_t size)
{
    const char *mark = strstr(text, "FILE");

    (void)snprintf(buf, size, "%.*s%s%s",
                   (int)(mark == NULL ? strlen(text) : (size_t)(mark - text)),
                   text, mark == NULL ? "" : file,
                   mark == NULL ? "" : mark + 4);
}

static void wrong_authorities_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(authorities); i++) {
        char path[] = AUTHORITY_FILE;
        struct cmd_upstreams u = {0};
        struct cmd_problem p = {""};
        char list[256], problem[256];
        int fd = mkstemp(path);

        assert_true(fd >= 0);
        assert_int_equal(
            write(fd, authorities[i].text, strlen(authorities[i].text)),
            strlen(authorities[i].text));
        assert_int_equal(close(fd), 0);
        put_file(authorities[i].list, path, list, sizeof(list));
        put_file(authorities[i].problem, path, problem, sizeof(problem));
        assert_int_equal(cmd_upstreams_add(list, &u, &p), 0);
        assert_int_equal(cmd_upstreams_read_cas(&u, &p), -1);
        assert_string_equal(p.text, problem);
        cmd_upstreams_fini(&u);
        assert_int_equal(unlink(path), 0);
    }
}

static void authorities_make_a_difference(void **state)
{
    struct inlets_made_certificate made;
    char path[] = AUTHORITY_FILE;
    char list[64];
    int fd = mkstemp(path);
    struct cmd_upstreams u = {0}, copy = {0};
    struct cmd_problem p;

    (void)state;
    assert_int_equal(inlets_certificate_make("x", &made), 0);
    assert_int_equal(write(fd, made.authority, strlen(made.authority)),
                     strlen(made.authority));
    assert_int_equal(close(fd), 0);
    (void)snprintf(list, sizeof(list), "https://x#ca:%s", path);
    assert_int_equal(cmd_upstreams_add(list, &u, &p), 0);
    assert_int_equal(cmd_upstreams_copy(&copy, &u, &p), 0);
    assert_string_equal(copy.items[0].ca_file, path);
    assert_int_equal(cmd_upstreams_read_cas(&u, &p), 0);
    assert_string_equal(u.items[0].ca, made.authority);
    assert_false(cmd_upstream_is_same(&u.items[0], &copy.items[0]));
    assert_int_equal(cmd_upstreams_read_cas(&copy, &p), 0);
    assert_true(cmd_upstream_is_same(&u.items[0], &copy.items[0]));
    copy.items[0].ca[0] = 'x';
    assert_false(cmd_upstream_is_same(&u.items[0], &copy.items[0]));
    assert_int_equal(unlink(path), 0);
    inlets_made_certificate_fini(&made);
    cmd_upstreams_fini(&copy);
    cmd_upstreams_fini(&u);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_taken_apart),
        cmocka_unit_test(wrong_lists_are_named),
        cmocka_unit_test(repeated_flags_add_up),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(lines_are_numbered),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(endpoints_are_found),
        cmocka_unit_test(wrong_authorities_are_named),
        cmocka_unit_test(authorities_make_a_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
