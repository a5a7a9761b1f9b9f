/* passwords.c: see passwords.h.
 *
 *   WAITING -> RUNNING -> (told and freed)
 *
 * Who owns what: a job is in `jobs`, then in `running`, and frees itself in
 * `done`; its thread touches nothing but the job's own text. All who ask the
 * same at the same time are in one job's list. A job that nobody waits for any
 * more is not begun.
 *
 * Failure: without memory the answer is no. */
#include "relay/passwords.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/password.h"
#include <inlets/err.h>

struct job {
    struct inl_work work;
    struct inl_list node; /* in jobs or running */
    struct inl_list askers;
    struct inl_passwords *owner; /* NULL: it is gone */
    uint8_t digest[INL_SHA256_LEN];
    bool right;
    size_t password_at, password_len; /* in text */
    char text[]; /* the hash, with NUL, and the password, which is wiped */
};

struct known {
    struct inl_map_node node;
    struct inl_list age;
    uint8_t digest[INL_SHA256_LEN];
    uint64_t until_ms;
};

/* ---- what is known ------------------------------------------------------ */

static uint64_t hash_of(const struct inl_passwords *p, const uint8_t *digest)
{
    return inl_map_hash_slice(&p->by_digest, inl_slice(digest, INL_SHA256_LEN));
}

static void forget(struct inl_passwords *p, struct known *k)
{
    inl_map_remove(&p->by_digest, &k->node);
    inl_list_remove(&k->age);
    p->nknown--;
    inl_wipe(k, sizeof(*k));
    inl_free(k);
}

static void forget_old(struct inl_passwords *p, size_t most)
{
    while (p->nknown > 0) {
        struct known *k = inl_container(p->known.next, struct known, age);

        if (p->nknown <= most && p->env->now_ms < k->until_ms) {
            return;
        }
        forget(p, k);
    }
}

static bool is_known(struct inl_passwords *p, const uint8_t *digest)
{
    struct inl_map_node *n;

    forget_old(p, INL_PASSWORDS_KNOWN);
    n = inl_map_first(&p->by_digest, hash_of(p, digest));
    for (; n != NULL; n = inl_map_next(n)) {
        if (inl_equal_constant_time(
                inl_container(n, struct known, node)->digest, digest,
                INL_SHA256_LEN)) {
            return true;
        }
    }
    return false;
}

/* Without memory it is computed again next time. */
static void remember(struct inl_passwords *p, const uint8_t *digest)
{
    struct known *k = inl_calloc(1, sizeof(*k));

    forget_old(p, INL_PASSWORDS_KNOWN - 1);
    if (k == NULL ||
        inl_map_add(&p->by_digest, &k->node, hash_of(p, digest)) != 0) {
        inl_free(k);
        return;
    }
    memcpy(k->digest, digest, INL_SHA256_LEN);
    k->until_ms = p->env->now_ms + INL_PASSWORDS_KNOWN_MS;
    inl_list_push_back(&p->known, &k->age);
    p->nknown++;
}

/* ---- jobs --------------------------------------------------------------- */

static void job_free(struct job *job)
{
    inl_list_remove(&job->node);
    inl_wipe(job->text + job->password_at, job->password_len);
    inl_free(job);
}

/* On another thread. */
static void job_run(struct inl_work *work)
{
    struct job *job = inl_container(work, struct job, work);

    job->right = inl_password_matches(
        job->text, inl_slice(job->text + job->password_at, job->password_len));
}

/* Each may ask again, or leave, in its callback. */
static void tell(struct inl_list *askers, const uint8_t *digest, int answer)
{
    struct inl_list told, *n;

    inl_list_init(&told);
    inl_list_splice(&told, askers);
    while ((n = inl_list_pop(&told)) != NULL) {
        struct inl_ask *ask = inl_container(n, struct inl_ask, node);

        memcpy(ask->about, digest, INL_SHA256_LEN);
        ask->is_answered = true;
        ask->answer = answer;
        ask->answered(ask);
    }
}

static void job_done(struct inl_work *work)
{
    struct job *job = inl_container(work, struct job, work);
    struct inl_passwords *p = job->owner;

    if (p != NULL) {
        inl_list_remove(&job->node);
        p->nrunning--;
        if (job->right) {
            remember(p, job->digest);
        }
        inl_env_later(p->env, &p->begin);
        tell(&job->askers, job->digest, job->right ? 0 : INLETS_EAUTH);
    }
    job_free(job);
}

static void begin(struct inl_passwords *p, struct job *job)
{
    inl_list_remove(&job->node);
    if (inl_env_work(p->env, &job->work) != 0) {
        tell(&job->askers, job->digest, INLETS_ENOMEM);
        job_free(job);
        return;
    }
    inl_list_push_back(&p->running, &job->node);
    p->nrunning++;
}

/* At the end of a turn, so that nobody is answered while it asks. */
static void begin_next(struct inl_later *later)
{
    struct inl_passwords *p = inl_container(later, struct inl_passwords, begin);

    while (p->nrunning < INL_PASSWORDS_AT_ONCE && !inl_list_empty(&p->jobs)) {
        struct job *job = inl_container(p->jobs.next, struct job, node);

        if (inl_list_empty(&job->askers)) {
            job_free(job);
        } else {
            begin(p, job);
        }
    }
}

static struct job *find(struct inl_list *jobs, const uint8_t *digest)
{
    struct inl_list *n, *tmp;

    inl_list_each(jobs, n, tmp)
    {
        struct job *job = inl_container(n, struct job, node);

        if (inl_equal_constant_time(job->digest, digest, INL_SHA256_LEN)) {
            return job;
        }
    }
    return NULL;
}

static size_t count_from(const struct job *job, const struct inl_ip *from)
{
    struct inl_list *n;
    size_t count = 0;

    for (n = job->askers.next; n != &job->askers; n = n->next) {
        const struct inl_ask *ask = inl_container(n, struct inl_ask, node);
        const struct inl_ip ip = inl_ip_place(ask->from);

        count += ask->is_limited && memcmp(&ip, from, sizeof(ip)) == 0;
    }
    return count;
}

/* Is there room for one more who asks from there? */
static bool has_room(struct inl_passwords *p, const struct inl_ask *ask)
{
    const struct inl_ip from = inl_ip_place(ask->from);
    size_t waiting = 0, from_there = 0;
    struct inl_list *n, *tmp;

    inl_list_each(&p->jobs, n, tmp)
    {
        struct job *job = inl_container(n, struct job, node);

        if (inl_list_empty(&job->askers)) {
            job_free(job);
        } else {
            waiting++;
            from_there += count_from(job, &from);
        }
    }
    return waiting < INL_PASSWORDS_WAITING &&
           (!ask->is_limited || from_there < INL_PASSWORDS_WAITING_EACH);
}

static struct job *job_new(struct inl_passwords *p, const char *hash,
                           struct inlets_slice password, const uint8_t *digest)
{
    size_t len = strlen(hash) + 1;
    struct job *job = inl_calloc(1, sizeof(*job) + len + password.len);

    if (job == NULL) {
        return NULL;
    }
    job->work.run = job_run;
    job->work.done = job_done;
    job->owner = p;
    inl_list_init(&job->askers);
    memcpy(job->text, hash, len);
    if (password.len > 0) {
        memcpy(job->text + len, password.ptr, password.len);
    }
    job->password_at = len;
    job->password_len = password.len;
    memcpy(job->digest, digest, INL_SHA256_LEN);
    inl_list_init(&job->node);
    inl_list_push_back(&p->jobs, &job->node);
    return job;
}

/* ---- questions ---------------------------------------------------------- */

/* Of the key, the hash and the password. Each of the first two has one length,
 * so that no two questions look alike. */
static int make_digest(const struct inl_passwords *p, const char *hash,
                       struct inlets_slice password, uint8_t *digest)
{
    uint8_t text[2 * INL_SHA256_LEN + INL_PASSWORD_MAX];
    int err = inl_sha256(inl_str(hash), text + INL_SHA256_LEN);

    memcpy(text, p->key, INL_SHA256_LEN);
    if (password.len > 0) {
        memcpy(text + 2 * INL_SHA256_LEN, password.ptr, password.len);
    }
    if (err == 0) {
        err = inl_sha256(inl_slice(text, 2 * INL_SHA256_LEN + password.len),
                         digest);
    }
    inl_wipe(text, sizeof(text));
    return err;
}

int inl_passwords_check(struct inl_passwords *p, const char *hash,
                        struct inlets_slice password, struct inl_ask *ask)
{
    uint8_t digest[INL_SHA256_LEN];
    struct job *job;

    if (hash == NULL || password.len > INL_PASSWORD_MAX) {
        hash = inl_password_nobodys;
    }
    if (password.len > INL_PASSWORD_MAX) {
        password.len = INL_PASSWORD_MAX;
    }
    if (make_digest(p, hash, password, digest) != 0) {
        return INLETS_EAUTH;
    }
    if (ask->is_answered && memcmp(ask->about, digest, INL_SHA256_LEN) == 0) {
        return ask->answer;
    }
    if (is_known(p, digest)) {
        return 0;
    }
    job = find(&p->running, digest);
    job = job != NULL ? job : find(&p->jobs, digest);
    if (job == NULL && !has_room(p, ask)) {
        return INLETS_ETOOMANY;
    }
    job = job != NULL ? job : job_new(p, hash, password, digest);
    if (job == NULL) {
        return INLETS_ENOMEM;
    }
    ask->is_answered = false;
    inl_list_push_back(&job->askers, &ask->node);
    inl_env_later(p->env, &p->begin);
    return INL_ASKED;
}

/* ---- life --------------------------------------------------------------- */

void inl_passwords_init(struct inl_passwords *p, struct inl_env *env)
{
    uint64_t seed;

    *p = (struct inl_passwords){.env = env};
    inl_env_random(env, p->key, sizeof(p->key));
    inl_env_random(env, &seed, sizeof(seed));
    inl_map_init(&p->by_digest, seed);
    inl_list_init(&p->known);
    inl_list_init(&p->jobs);
    inl_list_init(&p->running);
    inl_later_init(&p->begin, begin_next);
}

static void part_with(struct job *job)
{
    struct inl_list *n, *tmp;

    inl_list_each(&job->askers, n, tmp)
    {
        inl_list_remove(n);
    }
    inl_list_remove(&job->node);
    job->owner = NULL;
}

void inl_passwords_fini(struct inl_passwords *p)
{
    struct inl_list *n;

    if (p->env == NULL) {
        return; /* it has never begun */
    }
    while (p->jobs.next != &p->jobs) {
        struct job *job = inl_container(p->jobs.next, struct job, node);

        part_with(job);
        job_free(job);
    }
    while ((n = p->running.next) != &p->running) {
        part_with(inl_container(n, struct job, node));
    }
    while (p->nknown > 0) {
        forget(p, inl_container(p->known.next, struct known, age));
    }
    inl_list_remove(&p->begin.node);
    inl_map_fini(&p->by_digest);
    inl_wipe(p->key, sizeof(p->key));
}
