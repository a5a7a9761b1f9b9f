/* expose-handler: a C function behind a public host name.
 *
 *   expose-handler ws://127.0.0.1:8000 hello.example.com
 */
#include <inlets/inlets.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static void hello(struct inlets_exchange *x, const struct inlets_head *req,
                  void *user)
{
    struct inlets_slice body = {.ptr = user, .len = strlen(user)};

    (void)req;
    inlets_exchange_reply(x, 200, "text/plain", body);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    inlets_client_close(handle->data, NULL, NULL);
    uv_close((uv_handle_t *)handle, NULL);
}

int main(int argc, char **argv)
{
    static char greeting[] = "Hello from C.\n";
    struct inlets_client_opts opts;
    struct inlets_client *client;
    uv_loop_t loop;
    uv_signal_t sigint;
    int err;

    signal(SIGPIPE, SIG_IGN); /* a program's business, not a library's */
    inlets_client_opts_init(&opts);
    opts.url = argc > 1 ? argv[1] : "ws://127.0.0.1:8000";
    uv_loop_init(&loop);
    err = inlets_client_new(&client, &loop, &opts);
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", opts.url, inlets_strerror(err));
        return 1;
    }
    err = inlets_client_expose_handler(client, argc > 2 ? argv[2] : "", hello,
                                       greeting);
    if (err != 0 || (err = inlets_client_start(client)) != 0) {
        fprintf(stderr, "%s\n", inlets_strerror(err));
        return 1;
    }
    uv_signal_init(&loop, &sigint);
    sigint.data = client;
    uv_signal_start(&sigint, on_signal, SIGINT);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 1; /* nothing may be left */
}
