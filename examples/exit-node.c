/* exit-node: an exit node inside one's own program. It serves /hello itself;
 * all else goes to the clients that connect with the token.
 *
 *   exit-node :8000 SECRET
 */
#include <inlets/inlets.h>
#include <signal.h>
#include <stdio.h>
#include <uv.h>

static void hello(struct inlets_exchange *x, const struct inlets_head *req,
                  void *user)
{
    (void)user;
    inlets_exchange_reply(x, 200, "text/plain", req->target);
}

static void on_endpoint(struct inlets_server *server, const char *endpoint,
                        int up, void *user)
{
    (void)server, (void)user;
    printf("%s is %s\n", endpoint, up ? "up" : "down");
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    inlets_server_close(handle->data, NULL, NULL);
    uv_close((uv_handle_t *)handle, NULL);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:8000";
    struct inlets_server_opts opts;
    struct inlets_server *server;
    uv_loop_t loop;
    uv_signal_t sigint;
    unsigned both = INLETS_LISTEN_VISITORS | INLETS_LISTEN_TUNNELS;
    int err;

    signal(SIGPIPE, SIG_IGN); /* a program's business, not a library's */
    inlets_server_opts_init(&opts);
    opts.token = argc > 2 ? argv[2] : NULL;
    opts.on_endpoint = on_endpoint;
    uv_loop_init(&loop);
    if ((err = inlets_server_new(&server, &loop, &opts)) != 0 ||
        (err = inlets_server_handle(server, "/hello", hello, NULL)) != 0 ||
        (err = inlets_server_listen(server, address, both)) != 0) {
        fprintf(stderr, "%s: %s\n", address, inlets_strerror(err));
        return 1;
    }
    uv_signal_init(&loop, &sigint);
    sigint.data = server;
    uv_signal_start(&sigint, on_signal, SIGINT);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 1; /* nothing may be left */
}
