/* account.c: inlets-server account add|password|rotate|remove|issuer|list:
 * changes the accounts file. Tokens go to stdout, and nothing else does; a
 * server that runs notices by itself. Commands at the same time take turns by a
 * lock on the folder. */
#include "common/file.h"
#include "common/flags.h"
#include "common/process.h"
#include "common/secret.h"
#include "inlets-server/accounts.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "inlets-server"
#define LIST_MAX 256u
#define KEYS_MAX (256u * 1024)

static const char help[] =
    "Usage: inlets-server account add NAME --accounts FILE --host HOST [flag "
    "...]\n"
    "       inlets-server account rotate|remove|password NAME --accounts FILE\n"
    "       inlets-server account issuer NAME --accounts FILE --url URL\n"
    "           --audience TEXT --keys FILE\n"
    "       inlets-server account list --accounts FILE\n"
    "Who may open tunnels to inlets-server --accounts FILE, and serve what. A\n"
    "server that runs takes over what changes within seconds.\n"
    "\n"
    "add prints the new account's token, once: FILE has its SHA-256 only.\n"
    "      --host HOST        that it may serve: app.example.com, again for "
    "more;\n"
    "                         *.example.com, example.com/api or *\n"
    "      --password-from F  no token, but the password in F; - is stdin\n"
    "      --issuer NAME --claim CLAIM=VALUE ...  no token, but those of an "
    "issuer\n"
    "                         that say all this; VALUE* is a beginning\n"
    "      --from CIDR, --expires 2027-01-31, --sessions N, --streams N,\n"
    "      --streams-per-second N   limits\n"
    "rotate prints a new token; the one before stays valid until the next "
    "one.\n"
    "      --drop-old         it does not\n"
    "password gives it a password (--password-from); remove ends its "
    "tunnels.\n"
    "issuer: whose tokens (JWT) are taken; --keys is its JWK Set, - is stdin.\n"
    "\n"
    "Examples:\n"
    "  inlets-server account add alice --accounts accounts.json \\\n"
    "      --host '*.alice.example.com' > alice.token\n"
    "More: man inlets-server\n";

struct list {
    const char *items[LIST_MAX]; /* borrowed */
    size_t n;
    const char *flag;
};

struct command {
    const char *verb, *name;
    const char *file;
    struct list hosts, networks, claims;
    const char *issuer, *url, *audience, *keys_file;
    const char *expires;
    uint32_t sessions, streams, streams_per_second;
    const char *password_file;
    bool drop_old;
    bool help;
};

static int add_item(const char *text, void *value, struct cmd_problem *p)
{
    struct list *list = value;

    if (list->n == LIST_MAX) {
        return cmd_problem_set(p, "more than %u of %s", LIST_MAX, list->flag);
    }
    list->items[list->n++] = text;
    return 0;
}

static int read_flags(struct command *c, int argc, char **argv,
                      struct cmd_problem *p)
{
    const struct cmd_flag flags[] = {
        {"accounts", 0, CMD_FLAG_ONCE, &c->file},
        {"host", 0, CMD_FLAG_CALL, &c->hosts, .take = add_item},
        {"from", 0, CMD_FLAG_CALL, &c->networks, .take = add_item},
        {"expires", 0, CMD_FLAG_ONCE, &c->expires},
        {"sessions", 0, CMD_FLAG_LIMIT, &c->sessions},
        {"streams", 0, CMD_FLAG_LIMIT, &c->streams},
        {"streams-per-second", 0, CMD_FLAG_LIMIT, &c->streams_per_second},
        {"issuer", 0, CMD_FLAG_ONCE, &c->issuer},
        {"claim", 0, CMD_FLAG_CALL, &c->claims, .take = add_item},
        {"url", 0, CMD_FLAG_ONCE, &c->url},
        {"audience", 0, CMD_FLAG_ONCE, &c->audience},
        {"keys", 0, CMD_FLAG_ONCE, &c->keys_file},
        {"password-from", 0, CMD_FLAG_ONCE, &c->password_file},
        {"drop-old", 0, CMD_FLAG_BOOL, &c->drop_old},
        {"help", 'h', CMD_FLAG_STOP, &c->help},
        {NULL}};

    return cmd_flags_parse(flags, argc, argv, p);
}

static bool is_verb(const struct command *c, const char *verb)
{
    return strcmp(c->verb, verb) == 0;
}

static bool has_limits(const struct command *c)
{
    return c->hosts.n > 0 || c->networks.n > 0 || c->expires != NULL ||
           c->sessions > 0 || c->streams > 0 || c->streams_per_second > 0;
}

static bool is_known_verb(const struct command *c)
{
    static const char *const verbs[] = {"add",    "password", "rotate",
                                        "remove", "issuer",   "list"};

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (is_verb(c, verbs[i])) {
            return true;
        }
    }
    return false;
}

/* What belongs to one command is a mistake with the others. */
static int check_owners(const struct command *c, struct cmd_problem *p)
{
    bool adds = is_verb(c, "add"), issues = is_verb(c, "issuer");

    if (!adds && has_limits(c)) {
        return cmd_problem_set(p, "only account add takes hosts and limits; "
                                  "they can be changed in the file");
    }
    if (!adds && (c->issuer != NULL || c->claims.n > 0)) {
        return cmd_problem_set(p, "only account add takes --issuer and "
                                  "--claim; they can be changed in the file");
    }
    if (!issues &&
        (c->url != NULL || c->audience != NULL || c->keys_file != NULL)) {
        return cmd_problem_set(p, "only account issuer takes --url, --audience "
                                  "and --keys");
    }
    if (c->drop_old && !is_verb(c, "rotate")) {
        return cmd_problem_set(p, "only account rotate takes --drop-old");
    }
    if (c->password_file != NULL && !adds && !is_verb(c, "password")) {
        return cmd_problem_set(p, "only account add and account password take "
                                  "--password-from");
    }
    return 0;
}

static int check_add(const struct command *c, struct cmd_problem *p)
{
    if (c->hosts.n == 0) {
        return cmd_problem_set(p,
                               "account add needs a --host that %.64s may "
                               "serve; '*' is any",
                               c->name);
    }
    if ((c->issuer == NULL) != (c->claims.n == 0)) {
        return cmd_problem_set(p, "--issuer NAME and --claim CLAIM=VALUE go "
                                  "together");
    }
    if (c->issuer != NULL && c->password_file != NULL) {
        return cmd_problem_set(p, "--password-from and --issuer: keep one; the "
                                  "file may say both");
    }
    for (size_t i = 0; i < c->claims.n; i++) {
        const char *value = strchr(c->claims.items[i], '=');

        if (value == NULL || value == c->claims.items[i]) {
            return cmd_problem_set(p, "--claim: '%.80s' is not like sub=VALUE",
                                   c->claims.items[i]);
        }
    }
    return 0;
}

static int check(const struct command *c, struct cmd_problem *p)
{
    bool lists = is_verb(c, "list");

    if (!is_known_verb(c)) {
        return cmd_problem_set(p,
                               "account: '%.64s' is not add, password, "
                               "rotate, remove, issuer or list",
                               c->verb);
    }
    if (!lists && c->name == NULL) {
        return cmd_problem_set(p, "account %s needs a NAME", c->verb);
    }
    if (lists && c->name != NULL) {
        return cmd_problem_set(p, "account list takes no NAME ('%.64s')",
                               c->name);
    }
    if (c->file == NULL) {
        return cmd_problem_set(p, "account %s needs --accounts FILE", c->verb);
    }
    if (check_owners(c, p) != 0) {
        return -1;
    }
    if (is_verb(c, "password") && c->password_file == NULL) {
        return cmd_problem_set(p, "account password needs the password: "
                                  "--password-from FILE, - for stdin");
    }
    if (is_verb(c, "issuer") &&
        (c->url == NULL || c->audience == NULL || c->keys_file == NULL)) {
        return cmd_problem_set(p, "account issuer needs --url, --audience and "
                                  "--keys");
    }
    return is_verb(c, "add") ? check_add(c, p) : 0;
}

/* argv: inlets-server account VERB [NAME] flags... */
static int parse(struct command *c, int argc, char **argv,
                 struct cmd_problem *p)
{
    int at = 2;

    *c = (struct command){.verb = "",
                          .hosts.flag = "--host",
                          .networks.flag = "--from",
                          .claims.flag = "--claim"};
    if (at < argc && argv[at][0] != '-') {
        c->verb = argv[at++];
    }
    if (at < argc && argv[at][0] != '-') {
        c->name = argv[at++];
    }
    if (read_flags(c, argc - at + 1, argv + at - 1, p) != 0) {
        return -1;
    }
    return c->help ? 0 : check(c, p);
}

/* ---- what they do ------------------------------------------------------- */

static int no_such(const struct command *c, struct cmd_problem *p)
{
    return cmd_problem_set(p,
                           "%s has no account %.64s; account list shows "
                           "those that it has",
                           c->file, c->name);
}

static int add(const struct command *c, const char *password,
               struct inlets_accounts *accounts, char token[INLETS_TOKEN_SIZE],
               struct cmd_problem *p)
{
    char why[INLETS_WHY_SIZE] = "";
    struct inlets_account account;
    int err;

    inlets_account_init(&account);
    account.name = c->name;
    account.hosts = c->hosts.items;
    account.nhosts = c->hosts.n;
    account.networks = c->networks.items;
    account.nnetworks = c->networks.n;
    account.expires = c->expires;
    account.sessions = c->sessions;
    account.streams = c->streams;
    account.streams_per_second = c->streams_per_second;
    account.password = password;
    account.issuer = c->issuer;
    account.claims = c->claims.items;
    account.nclaims = c->claims.n;
    err = inlets_accounts_add(accounts, &account, token, why);
    return err == 0
               ? 0
               : cmd_problem_set(p, "%s: %s", c->file,
                                 *why != '\0' ? why : inlets_strerror(err));
}

static int set_issuer(const struct command *c, struct inlets_accounts *accounts,
                      struct cmd_problem *p)
{
    bool is_stdin = strcmp(c->keys_file, "-") == 0;
    char why[INLETS_WHY_SIZE] = "", *keys = NULL;
    size_t len = 0;
    int err;

    if (cmd_file_read(is_stdin ? "/dev/stdin" : c->keys_file, KEYS_MAX, &keys,
                      &len, p) != 0) {
        return -1;
    }
    err = inlets_accounts_set_issuer(accounts, c->name, c->url, c->audience,
                                     (struct inlets_slice){keys, len}, why);
    free(keys);
    return err == 0
               ? 0
               : cmd_problem_set(p, "%s: %s", c->keys_file,
                                 *why != '\0' ? why : inlets_strerror(err));
}

static int change(const struct command *c, const char *password,
                  struct inlets_accounts *accounts,
                  char token[INLETS_TOKEN_SIZE], struct cmd_problem *p)
{
    int err;

    if (is_verb(c, "add")) {
        return add(c, password, accounts, token, p);
    }
    if (is_verb(c, "issuer")) {
        return set_issuer(c, accounts, p);
    }
    err = is_verb(c, "remove") ? inlets_accounts_remove(accounts, c->name)
          : is_verb(c, "password")
              ? inlets_accounts_set_password(accounts, c->name, password)
              : inlets_accounts_rotate(accounts, c->name, c->drop_old, token);
    return err == 0                 ? 0
           : err == INLETS_ENOROUTE ? no_such(c, p)
           : err == INLETS_EINVAL
               ? cmd_problem_set(p, "%s: the password is not of 8 to 256 bytes",
                                 c->password_file)
               : cmd_problem_set(p, "%s: %s", c->file, inlets_strerror(err));
}

static int change_file(const struct command *c, const char *password,
                       char token[INLETS_TOKEN_SIZE], struct cmd_problem *p)
{
    struct inlets_accounts *accounts = NULL;
    int lock = cmd_file_lock(c->file, p);
    int rc = lock < 0
                 ? -1
                 : cmd_accounts_read(c->file,
                                     is_verb(c, "add") || is_verb(c, "issuer"),
                                     &accounts, p);

    if (rc == 0) {
        rc = change(c, password, accounts, token, p);
    }
    if (rc == 0) {
        rc = cmd_accounts_write(c->file, accounts, p);
    }
    inlets_accounts_free(accounts);
    if (lock >= 0) {
        (void)close(lock);
    }
    return rc;
}

static int say_failure(const struct cmd_problem *p)
{
    (void)fprintf(stderr, PROGRAM ": %s\n", p->text);
    return CMD_EXIT_FAILED;
}

/* From a file, or from stdin, so that it is in no list of processes. */
static int read_password(const struct command *c, char **ret_password,
                         struct cmd_problem *p)
{
    bool is_stdin = c->password_file != NULL && !strcmp(c->password_file, "-");
    const char *warning = NULL;
    int rc = 0;

    *ret_password = NULL;
    if (c->password_file != NULL) {
        rc = cmd_secret_from_file(is_stdin ? "/dev/stdin" : c->password_file,
                                  "password", ret_password, &warning, p);
    }
    if (rc == 0 && warning != NULL) {
        (void)fprintf(stderr, PROGRAM ": %s: %s\n", c->password_file, warning);
    }
    return rc;
}

static int print_token(const struct command *c, const char *token)
{
    struct cmd_problem p;

    if (printf("%s\n", token) < 0 || fflush(stdout) != 0) {
        (void)cmd_problem_set(&p,
                              "cannot print the token: %s; account rotate %s "
                              "makes another",
                              strerror(errno), c->name);
        return say_failure(&p);
    }
    (void)fprintf(stderr,
                  "This is the token of %s, shown only now; its client takes "
                  "it by --token-from.\n",
                  c->name);
    return CMD_EXIT_OK;
}

static int run_change(const struct command *c)
{
    char token[INLETS_TOKEN_SIZE] = "", *password = NULL;
    struct cmd_problem p;
    int rc = read_password(c, &password, &p);

    if (rc == 0) {
        rc = change_file(c, password, token, &p);
    }
    cmd_secret_free(password);
    if (rc != 0) {
        return say_failure(&p);
    }
    if (is_verb(c, "remove")) {
        (void)fprintf(stderr, "%s is removed from %s.\n", c->name, c->file);
    } else if (is_verb(c, "issuer")) {
        (void)fprintf(stderr,
                      "Tokens of %s for %s are known in %s as --issuer %s.\n",
                      c->url, c->audience, c->file, c->name);
    } else if (c->issuer != NULL) {
        (void)fprintf(stderr,
                      "%s is whoever shows such a token of %s, by "
                      "--token-from.\n",
                      c->name, c->issuer);
    } else if (c->password_file != NULL) {
        (void)fprintf(stderr,
                      "%s has this password now; its client takes %s:PASSWORD "
                      "by --basic-auth-from.\n",
                      c->name, c->name);
    } else {
        rc = print_token(c, token);
    }
    explicit_bzero(token, sizeof(token));
    return rc;
}

static void print_limit(const char *what, uint32_t limit)
{
    if (limit > 0) {
        (void)printf("  %s %u", what, limit);
    }
}

static void print_account(const struct inlets_account *a)
{
    (void)printf("%s\n  hosts", a->name);
    for (size_t i = 0; i < a->nhosts; i++) {
        (void)printf(" %s", a->hosts[i]);
    }
    (void)printf("\n  tokens %zu%s", a->ntokens,
                 a->password != NULL ? "  password" : "");
    print_limit("claims", (uint32_t)a->nclaims);
    if (a->expires != NULL) {
        (void)printf("  expires %s", a->expires);
    }
    print_limit("sessions", a->sessions);
    print_limit("streams", a->streams);
    print_limit("streams-per-second", a->streams_per_second);
    for (size_t i = 0; i < a->nnetworks; i++) {
        (void)printf("%s %s", i == 0 ? "\n  from" : "", a->networks[i]);
    }
    (void)printf("\n");
}

static int run_list(const struct command *c)
{
    struct inlets_accounts *accounts;
    struct inlets_account account;
    struct cmd_problem p;

    if (cmd_accounts_read(c->file, false, &accounts, &p) != 0) {
        return say_failure(&p);
    }
    for (size_t i = 0; i < inlets_accounts_count(accounts); i++) {
        inlets_account_init(&account);
        inlets_accounts_get(accounts, i, &account);
        print_account(&account);
    }
    inlets_accounts_free(accounts);
    return fflush(stdout) == 0 ? CMD_EXIT_OK : CMD_EXIT_FAILED;
}

int cmd_account_main(int argc, char **argv)
{
    struct cmd_problem p;
    struct command c;

    if (parse(&c, argc, argv, &p) != 0) {
        (void)fprintf(stderr, PROGRAM ": %s\nTry: " PROGRAM " account --help\n",
                      p.text);
        return CMD_EXIT_USAGE;
    }
    if (c.help) {
        (void)fputs(help, stdout);
        return CMD_EXIT_OK;
    }
    return is_verb(&c, "list") ? run_list(&c) : run_change(&c);
}
