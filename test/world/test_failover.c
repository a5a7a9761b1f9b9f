/* test_failover.c: what goes between two targets, flow by flow: without a
 * network, with targets that do it all inside of open, too. */
#include "world/suite.h"

#include "base/slice.h"
#include "world/world.h"
#include <inlets/err.h>
#include <string.h>

/* Targets and a caller without a network. */
struct part {
    struct inl_target target;
    struct inl_service service;
    struct inl_flow flow;
    int refuses, stops;       /* in open */
    unsigned interim, answer; /* statuses said in open */
    unsigned opened, holds, ends, stopped;
    bool held;
    bool waits;    /* in open it says that it has not sent it */
    bool ignores;  /* what comes of the body */
    size_t credit; /* what came of it */
    char body[64];
    size_t len;
    struct inlets_slice says; /* caller: on an interim head */
};

static void part_head(struct inl_flow *f, const struct inlets_head *head)
{
    struct part *p = inl_container(f, struct part, flow);

    if (head->status < 200 && p->says.len > 0) {
        inl_flow_body(f, p->says);
    }
}

static void part_body(struct inl_flow *f, struct inlets_slice data)
{
    struct part *p = inl_container(f, struct part, flow);

    if (p->ignores) {
        return;
    }
    WORLD_CHECK(p->len + data.len < sizeof(p->body));
    memcpy(p->body + p->len, data.ptr, data.len);
    p->len += data.len;
}

static void part_end(struct inl_flow *f, const struct inlets_head *trailers)
{
    struct part *p = inl_container(f, struct part, flow);

    p->ends++;
    if (trailers != NULL) {
        part_body(f, trailers->fields[0].value);
    }
}

static void part_stop(struct inl_flow *f, int err)
{
    struct part *p = inl_container(f, struct part, flow);

    WORLD_CHECK(err != 0);
    p->stopped++;
}

static void part_credit(struct inl_flow *f, size_t bytes)
{
    inl_container(f, struct part, flow)->credit += bytes;
}

static void part_hold(struct inl_flow *f, bool held)
{
    struct part *p = inl_container(f, struct part, flow);

    p->holds++;
    p->held = held;
}

static const struct inl_flow_ops part_ops = {part_head, part_body,   part_end,
                                             part_stop, part_credit, part_hold};

static void say_head(struct part *p, unsigned status)
{
    const struct inlets_head head = {.status = status,
                                     .content_length = INLETS_LENGTH_UNKNOWN};

    inl_flow_head(&p->flow, &head);
}

static int part_open(struct inl_service *s, const struct inl_request *req,
                     struct inl_flow *caller)
{
    struct part *p = inl_container(s, struct part, service);

    WORLD_CHECK(inl_slice_eq(req->peer, INL_LIT("192.0.2.1")));
    p->opened++;
    if (p->refuses != 0) {
        return p->refuses;
    }
    inl_flow_init(&p->flow, &part_ops);
    inl_flow_tie(caller, &p->flow);
    if (p->waits) {
        inl_flow_hold(&p->flow, true);
    }
    if (p->interim != 0) {
        say_head(p, p->interim);
    }
    if (p->answer != 0) {
        say_head(p, p->answer);
        inl_flow_end(&p->flow, NULL);
    }
    if (p->stops != 0) {
        inl_flow_stop(&p->flow, p->stops);
    }
    return 0;
}

static const struct inl_service_ops part_service = {part_open};

struct trio {
    struct world *w;
    struct inl_router router;
    struct inl_failover failover;
    struct part caller, part[3];
};

static void trio_open(struct trio *t)
{
    struct inl_endpoint any;

    *t = (struct trio){.w = world_new(1)};
    assert_int_equal(inl_endpoint_parse(INL_LIT(""), &any), 0);
    inl_router_init(&t->router, &t->w->env);
    inl_failover_init(&t->failover, &t->w->env, &t->router);
    inl_flow_init(&t->caller.flow, &part_ops);
    for (unsigned i = 0; i < 3; i++) {
        t->part[i].service.ops = &part_service;
        inl_target_init(&t->part[i].target, &t->part[i].service);
        assert_int_equal(inl_router_add(&t->router, &any, &t->part[i].target),
                         0);
    }
}

static void trio_close(struct trio *t)
{
    for (unsigned i = 0; i < 3; i++) {
        inl_router_remove(&t->router, &t->part[i].target);
    }
    inl_failover_fini(&t->failover);
    inl_router_fini(&t->router);
    assert_true(inl_list_empty(&t->failover.calls));
    world_settle(t->w);
    world_free(t->w);
}

static int trio_ask(struct trio *t, const char *method, int64_t length)
{
    const struct inlets_head head = {.method = inl_str(method),
                                     .target = INL_LIT("/"),
                                     .host = INL_LIT("x"),
                                     .content_length = length};
    const struct inl_request req = {&head, INL_LIT("x"), INL_LIT("/"),
                                    INL_LIT("0123456789abcdef"),
                                    INL_LIT("192.0.2.1")};

    return inl_service_open(&t->failover.service, &req, &t->caller.flow);
}

static void expect_body(const struct part *p, const char *want)
{
    assert_int_equal(p->len, strlen(want));
    assert_memory_equal(p->body, want, p->len);
}

/* Both ways, and taken back when the request leaves who said it. */
static void test_hold_is_passed_on(void **state)
{
    struct trio t;

    (void)state;
    trio_open(&t);
    assert_int_equal(trio_ask(&t, "POST", 10), 0);
    inl_flow_hold(&t.part[0].flow, true);
    assert_true(t.caller.held);
    inl_flow_hold(&t.part[0].flow, false);
    assert_false(t.caller.held);
    inl_flow_hold(&t.caller.flow, true);
    assert_true(t.part[0].held);
    inl_flow_hold(&t.part[0].flow, true);
    inl_flow_stop(&t.part[0].flow, INLETS_EUNAVAILABLE);
    assert_int_equal(t.part[1].opened, 1);
    assert_false(t.caller.held);
    assert_int_equal(t.caller.holds, 4);
    trio_close(&t);
}

/* The body goes along in order, with its trailers, and once more each time;
 * credit for it is paid once. */
static void test_replay(void **state)
{
    const struct inlets_field field = {INL_LIT("X-Sum"), INL_LIT("!")};
    const struct inlets_head trailers = {.fields = &field, .nfields = 1};
    struct trio t;

    (void)state;
    trio_open(&t);
    t.caller.says = INL_LIT("");
    assert_int_equal(trio_ask(&t, "POST", INLETS_LENGTH_UNKNOWN), 0);
    inl_flow_body(&t.caller.flow, INL_LIT("one,"));
    inl_flow_body(&t.caller.flow, INL_LIT("two,"));
    inl_flow_credit(&t.part[0].flow, 8);
    assert_int_equal(t.caller.credit, 0); /* it is held here */
    inl_flow_stop(&t.part[0].flow, INLETS_EUNAVAILABLE);
    expect_body(&t.part[1], "one,two,");
    inl_flow_body(&t.caller.flow, INL_LIT("three"));
    inl_flow_end(&t.caller.flow, &trailers);
    expect_body(&t.part[1], "one,two,three!");
    inl_flow_credit(&t.part[1].flow, 13);
    inl_flow_stop(&t.part[1].flow, INLETS_EREFUSED);
    expect_body(&t.part[2], "one,two,three!");
    assert_int_equal(t.part[2].ends, 1);
    inl_flow_credit(&t.part[2].flow, 13);
    say_head(&t.part[2], 200);
    assert_int_equal(t.caller.credit, 13);
    assert_ptr_equal(t.caller.flow.peer, &t.part[2].flow); /* stepped aside */
    inl_flow_body(&t.part[2].flow, INL_LIT("fine"));
    inl_flow_end(&t.part[2].flow, NULL);
    expect_body(&t.caller, "fine");
    assert_false(inl_flow_tied(&t.caller.flow));
    trio_close(&t);
}

/* Answers that come, and bytes that they bring, while a target is opened. */
static void test_answered_in_open(void **state)
{
    (void)state;
    for (unsigned ended = 0; ended < 2; ended++) {
        struct trio t;

        trio_open(&t);
        t.part[1].interim = 100;
        t.part[1].answer = ended != 0 ? 200 : 0;
        t.caller.says = ended != 0 ? INL_LIT("") : INL_LIT("two");
        assert_int_equal(trio_ask(&t, "POST", INLETS_LENGTH_UNKNOWN), 0);
        inl_flow_body(&t.caller.flow, INL_LIT("one,"));
        if (ended != 0) {
            inl_flow_end(&t.caller.flow, NULL);
        }
        inl_flow_stop(&t.part[0].flow, INLETS_EREFUSED);
        expect_body(&t.part[1], ended != 0 ? "one," : "one,two");
        assert_int_equal(t.part[1].ends, ended);
        assert_int_equal(t.caller.ends, ended);
        assert_int_equal(inl_flow_tied(&t.caller.flow), ended == 0);
        assert_int_equal(t.caller.stopped, 0);
        assert_int_equal(inl_list_empty(&t.failover.calls), ended);
        inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
        trio_close(&t);
    }
}

/* Who refuses or stops while being opened is passed over in the same call. */
static void test_passed_over_at_once(void **state)
{
    struct trio t;

    (void)state;
    trio_open(&t);
    t.part[0].refuses = INLETS_ELIMIT;
    t.part[1].stops = INLETS_EREFUSED;
    assert_int_equal(trio_ask(&t, "POST", 2), 0);
    inl_flow_body(&t.caller.flow, INL_LIT("hi"));
    expect_body(&t.part[2], "hi");
    inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
    assert_int_equal(t.part[2].stopped, 1);
    t.part[2].refuses = INLETS_EHEADSIZE; /* the request's own fault */
    t.part[0].refuses = t.part[1].refuses = INLETS_EHEADSIZE;
    inl_flow_init(&t.caller.flow, &part_ops);
    assert_int_equal(trio_ask(&t, "POST", 2), INLETS_EHEADSIZE);
    assert_false(inl_flow_tied(&t.caller.flow));
    assert_int_equal(t.part[0].opened + t.part[1].opened + t.part[2].opened, 4);
    t.part[0].refuses = t.part[1].refuses = t.part[2].refuses =
        INLETS_EUNAVAILABLE;
    assert_int_equal(trio_ask(&t, "GET", INLETS_LENGTH_NONE),
                     INLETS_EUNAVAILABLE);
    assert_int_equal(t.part[0].opened + t.part[1].opened + t.part[2].opened, 7);
    trio_close(&t);
}

/* An interim answer is one: the upstream is there and may be at work. */
static void test_an_interim_head_binds(void **state)
{
    struct trio t;

    (void)state;
    trio_open(&t);
    t.caller.says = INL_LIT("body");
    assert_int_equal(trio_ask(&t, "POST", 4), 0);
    say_head(&t.part[0], 100);
    expect_body(&t.part[0], "body");
    inl_flow_stop(&t.part[0].flow, INLETS_EUNAVAILABLE);
    assert_int_equal(t.caller.stopped, 1);
    assert_int_equal(t.part[1].opened + t.part[2].opened, 0);
    trio_close(&t);
}

/* What stops with an error that says nothing about where the request is. */
static void test_doubt_is_no_reason(void **state)
{
    static const int errors[] = {
        INLETS_ECLOSED, INLETS_ERESET,    INLETS_ESILENT,  INLETS_ETIMEDOUT,
        INLETS_ELIMIT,  INLETS_ENOMEM,    INLETS_ENETWORK, INLETS_EUPSTREAM,
        INLETS_EPROTO,  INLETS_EINTERNAL, INLETS_ECANCELED};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct trio t;

        trio_open(&t);
        assert_int_equal(trio_ask(&t, "POST", 0), 0);
        inl_flow_end(&t.caller.flow, NULL);
        inl_flow_stop(&t.part[0].flow, errors[i]);
        assert_int_equal(t.caller.stopped, 1);
        assert_int_equal(t.part[1].opened + t.part[2].opened, 0);
        trio_close(&t);
    }
}

static enum inl_health lost(struct inl_target *target)
{
    (void)target;
    return INL_HEALTH_LOST;
}

/* Only the first target is there; a request of any method waits in it, unsent,
 * with a body of `bytes`. */
static void trio_park(struct trio *t, size_t bytes)
{
    static const char zeros[INL_FAILOVER_HOLD_BYTES + 1];

    trio_open(t);
    inl_router_remove(&t->router, &t->part[1].target);
    inl_router_remove(&t->router, &t->part[2].target);
    t->part[0].target.health = lost;
    t->part[0].waits = true;
    t->part[0].ignores = true;
    world_settle(t->w);
    assert_int_equal(trio_ask(t, "POST", INLETS_LENGTH_UNKNOWN), 0);
    assert_true(t->caller.held);
    if (bytes > 0) {
        inl_flow_body(&t->caller.flow, inl_slice(zeros, bytes));
    }
    t->part[0].ignores = false;
}

static void trio_come(struct trio *t, unsigned i)
{
    struct inl_endpoint any;

    assert_int_equal(inl_endpoint_parse(INL_LIT(""), &any), 0);
    assert_int_equal(inl_router_add(&t->router, &any, &t->part[i].target), 0);
    world_settle(t->w);
}

/* What waits unsent goes to another at once when one comes that is well. */
static void test_parked_goes_to_who_comes(void **state)
{
    struct trio t;

    (void)state;
    trio_park(&t, 0);
    inl_flow_body(&t.caller.flow, INL_LIT("hi"));
    t.part[1].target.health = lost;
    trio_come(&t, 1);
    assert_int_equal(t.part[1].opened, 0);
    trio_come(&t, 2);
    assert_int_equal(t.part[0].stopped, 1);
    expect_body(&t.part[2], "hi");
    assert_false(t.caller.held);
    say_head(&t.part[2], 200);
    assert_ptr_equal(t.caller.flow.peer, &t.part[2].flow);
    inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
    trio_close(&t);
}

/* It has been sent meanwhile, and its target is lost once more; or more of it
 * has come than is kept here; or it is over. */
static void test_not_parked_stays(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct trio t;

        trio_park(&t, i == 1 ? INL_FAILOVER_HOLD_BYTES + 1 : 0);
        if (i == 0) {
            inl_flow_hold(&t.part[0].flow, false);
            inl_flow_hold(&t.part[0].flow, true);
        } else if (i == 2) {
            inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
        }
        trio_come(&t, 2);
        assert_int_equal(t.part[2].opened, 0);
        assert_int_equal(t.part[0].stopped, i == 2);
        inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
        trio_close(&t);
    }
}

/* Whatever cannot be had: the caller is told, or it all arrives. */
static void test_out_of_memory(void **state)
{
    const struct inlets_field field = {INL_LIT("X-Sum"), INL_LIT("!")};
    const struct inlets_head trailers = {.fields = &field, .nfields = 1};
    bool failed = true;

    (void)state;
    for (unsigned nth = 1; failed; nth++) {
        struct trio t;
        int err;

        trio_open(&t);
        world_alloc.failed = false;
        world_alloc.fail_at = world_alloc.calls + nth;
        err = trio_ask(&t, "POST", INLETS_LENGTH_UNKNOWN);
        inl_flow_body(&t.caller.flow, INL_LIT("one,"));
        inl_flow_stop(&t.part[0].flow, INLETS_EUNAVAILABLE);
        inl_flow_body(&t.caller.flow, INL_LIT("two"));
        inl_flow_end(&t.caller.flow, &trailers);
        inl_flow_stop(&t.part[1].flow, INLETS_EREFUSED);
        say_head(&t.part[2], 200);
        world_alloc.fail_at = 0;
        failed = world_alloc.failed;
        assert_true(err == 0 || err == INLETS_ENOMEM);
        assert_int_equal(inl_flow_tied(&t.caller.flow) +
                             (t.caller.stopped > 0) + (err != 0),
                         1);
        if (inl_flow_tied(&t.caller.flow)) {
            expect_body(&t.part[2], "one,two!");
        }
        inl_flow_stop(&t.caller.flow, INLETS_ECANCELED);
        trio_close(&t);
        assert_true(nth < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_is_passed_on),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_answered_in_open),
        cmocka_unit_test(test_passed_over_at_once),
        cmocka_unit_test(test_an_interim_head_binds),
        cmocka_unit_test(test_doubt_is_no_reason),
        cmocka_unit_test(test_parked_goes_to_who_comes),
        cmocka_unit_test(test_not_parked_stays),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
