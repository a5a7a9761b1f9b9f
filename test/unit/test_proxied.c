/* test_proxied.c: connections that begin with a PROXY header, up to the
 * machine that gets them; who connects and who starts behind it are hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"
#include "relay/proxied.h"
#include "unit/alloc.h"
#include <inlets/err.h>

#define TOLD "PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n"

/* What the machine behind does when it is to start. */
enum action {
    START,
    CLOSE,           /* as when there is no memory for it */
    START_AND_CLOSE, /* as when there are too many */
    NOTHING
};

static struct {
    struct inl_env env;
    struct inl_link link;
    struct inl_list list;
    struct inl_proxied_config config;
    enum action action;
    unsigned starts, ends, released, lines;
    bool was_reset;
    char input[256];
    size_t ninput;
} rig;

/* --- The machine behind --- */

static void behind_rx(void *machine, const uint8_t *p, size_t n)
{
    assert_ptr_equal(machine, &rig);
    assert_true(n <= sizeof(rig.input) - rig.ninput);
    memcpy(rig.input + rig.ninput, p, n);
    rig.ninput += n;
}

static size_t behind_rx_room(void *machine)
{
    (void)machine;
    return sizeof(rig.input);
}

static void behind_end(void *machine)
{
    assert_ptr_equal(machine, &rig);
    rig.ends++;
}

static void behind_gone(void *machine, int err)
{
    (void)err;
    behind_end(machine);
}

static const struct inl_machine_ops behind = {
    behind_rx, behind_rx_room, behind_end, NULL, NULL, behind_gone};

static void start(void *user, struct inl_link *link)
{
    assert_ptr_equal(user, &rig);
    assert_ptr_equal(link, &rig.link);
    assert_false(link->closed);
    rig.starts++;
    if (rig.action == START || rig.action == START_AND_CLOSE) {
        inl_link_set_machine(link, &behind, &rig);
    }
    if (rig.action == CLOSE || rig.action == START_AND_CLOSE) {
        inl_link_close(link, INLETS_ELIMIT);
    }
}

/* --- The rig --- */

static void carrier_turn(struct inl_link *l)
{
    (void)l;
}

static void carrier_release(struct inl_link *l, bool reset)
{
    rig.released++;
    rig.was_reset = reset;
    inl_link_fini(l);
}

static const struct inl_carrier_ops carrier = {.turn = carrier_turn,
                                               .release = carrier_release};

static void fake_random(struct inl_env *env, void *ptr, size_t n)
{
    (void)env;
    memset(ptr, 4, n);
}

static const struct inl_env_ops env_ops = {.random = fake_random};

static void count_line(enum inlets_log_level level, const char *event,
                       const struct inlets_log_field *fields, size_t nfields,
                       void *user)
{
    assert_int_equal(level, INLETS_LOG_INFO);
    assert_string_equal(event, "connection refused");
    assert_true(inl_slice_eq(fields[nfields - 1].text, INL_LIT("127.0.0.1")));
    assert_null(user);
    rig.lines++;
}

static int setup(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    inl_env_init(&rig.env, &env_ops);
    rig.env.now_ms = 1000;
    rig.env.log = count_line;
    rig.env.log_level = INLETS_LOG_INFO;
    inl_list_init(&rig.list);
    rig.config = (struct inl_proxied_config){
        .timeout_ms = 500, .start = start, .user = &rig};
    inl_link_init(&rig.link, &rig.env, &carrier);
    strcpy(rig.link.peer_ip, "127.0.0.1");
    strcpy(rig.link.peer, "127.0.0.1:9");
    rig.link.peer_is_loopback = true;
    return 0;
}

/* Whatever a test did, all is given back, and only once. */
static int teardown(void **state)
{
    (void)state;
    inl_link_close(&rig.link, 0);
    inl_env_settle(&rig.env);
    inl_env_fini(&rig.env);
    return alloc_live == 0 && rig.released == 1 && inl_list_empty(&rig.list)
               ? 0
               : -1;
}

static void begin(void)
{
    inl_proxied_start(&rig.config, &rig.list, &rig.link);
}

static void feed(const char *text)
{
    assert_true(inl_link_rx_room(&rig.link) >= strlen(text) || rig.link.closed);
    inl_link_rx(&rig.link, (const uint8_t *)text, strlen(text));
}

static void pass(uint64_t ms)
{
    rig.env.now_ms += ms;
    inl_env_fire_timers(&rig.env);
    inl_env_settle(&rig.env);
}

static void assert_refused(unsigned lines)
{
    inl_env_settle(&rig.env);
    assert_int_equal(rig.released, 1);
    assert_true(rig.was_reset);
    assert_int_equal(rig.starts, 0);
    assert_int_equal(rig.lines, lines);
}

/* --- Tests --- */

static void the_link_is_handed_over(void **state)
{
    (void)state;
    begin();
    assert_false(inl_list_empty(&rig.list));
    feed("PROXY TCP4 198.51.1");
    inl_env_settle(&rig.env);
    assert_int_equal(rig.starts, 0);
    feed("00.7 192.0.2.1 4711 443\r\nGET /");
    assert_int_equal(rig.starts, 1);
    assert_true(inl_list_empty(&rig.list));
    assert_string_equal(rig.link.peer_ip, "198.51.100.7");
    assert_string_equal(rig.link.peer, "198.51.100.7:4711");
    assert_int_equal(rig.link.told_port, 443);
    assert_false(rig.link.peer_is_loopback);
    assert_false(rig.link.peer_is_unknown);
    feed(" HTTP");
    pass(10000); /* the time of the header is over, and means nothing */
    assert_int_equal(rig.released, 0);
    assert_int_equal(rig.ninput, 10);
    assert_memory_equal(rig.input, "GET / HTTP", 10);
    inl_link_rx_eof(&rig.link);
    assert_int_equal(rig.ends, 1);
    assert_int_equal(rig.lines, 0);
}

static void an_address_of_ipv6_has_brackets(void **state)
{
    (void)state;
    begin();
    feed("PROXY TCP6 ::1 2001:db8::1 1 80\r\n");
    assert_string_equal(rig.link.peer_ip, "::1");
    assert_string_equal(rig.link.peer, "[::1]:1");
    assert_true(rig.link.peer_is_loopback);
    assert_int_equal(rig.ninput, 0);
}

static void who_is_not_named_is_unknown(void **state)
{
    (void)state;
    begin();
    feed("PROXY UNKNOWN\r\n");
    assert_int_equal(rig.starts, 1);
    assert_string_equal(rig.link.peer, "127.0.0.1:9");
    assert_true(rig.link.peer_is_unknown);
    assert_int_equal(rig.link.told_port, 0);
}

static void what_is_no_header_is_reset(void **state)
{
    (void)state;
    begin();
    feed("PROXY TCP4 198");
    feed("\n");
    feed(TOLD); /* too late */
    assert_refused(1);
}

static void the_time_does_not_start_anew(void **state)
{
    (void)state;
    begin();
    for (const char *p = "PROXY"; *p != '\0'; p++) {
        const char byte[] = {*p, '\0'};

        feed(byte);
        pass(99);
    }
    assert_int_equal(rig.released, 0);
    pass(5);
    assert_refused(1);
}

/* Load balancers look whether the port is open: no line of the log. */
static void who_says_nothing_is_not_logged(void **state)
{
    (void)state;
    begin();
    inl_link_rx_eof(&rig.link);
    assert_refused(0);
}

static void who_stops_in_the_middle_is(void **state)
{
    (void)state;
    begin();
    feed("PROXY");
    inl_link_rx_eof(&rig.link);
    inl_link_rx_eof(&rig.link);
    assert_refused(1);
}

static void who_starts_may_close(void **state)
{
    (void)state;
    for (rig.action = CLOSE; rig.action <= NOTHING; rig.action++) {
        enum action action = rig.action;

        begin();
        feed(TOLD "GET /");
        feed("more");
        inl_link_rx_eof(&rig.link);
        inl_env_settle(&rig.env);
        assert_int_equal(rig.starts, 1);
        assert_int_equal(rig.ninput, 0);
        assert_int_equal(rig.ends, action == START_AND_CLOSE);
        assert_int_equal(teardown(NULL), 0);
        setup(NULL);
        rig.action = action;
    }
}

static void all_can_be_closed(void **state)
{
    (void)state;
    begin();
    feed("PROXY");
    inl_proxied_close(&rig.list);
    inl_proxied_close(&rig.list);
    feed(TOLD);
    inl_env_settle(&rig.env);
    assert_int_equal(rig.released, 1);
    assert_int_equal(rig.starts, 0);
    inl_proxied_close(&rig.list);
}

static void without_memory_it_is_closed(void **state)
{
    (void)state;
    for (size_t nth = 1; nth <= 2; nth++) { /* the machine, its timer */
        alloc_fail_nth = nth;
        begin();
        assert_int_equal(alloc_fail_nth, 0);
        feed(TOLD);
        inl_env_settle(&rig.env);
        assert_int_equal(rig.starts, 0);
        assert_int_equal(rig.released, 1);
        assert_int_equal(teardown(NULL), 0);
        setup(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_link_is_handed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_address_of_ipv6_has_brackets, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_is_not_named_is_unknown, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_header_is_reset, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_time_does_not_start_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_says_nothing_is_not_logged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_stops_in_the_middle_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_starts_may_close, setup, teardown),
        cmocka_unit_test_setup_teardown(all_can_be_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory_it_is_closed, setup,
                                        teardown),
    };

    alloc_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
