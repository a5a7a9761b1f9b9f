/* proxied.c: see proxied.h.
 *
 *   reading    until the header is complete; the link is ours
 *   gone       the link is another machine's, or is no more; freed at the end
 *              of the turn
 *
 * The machine owns itself. Bytes behind the header, in the same segment, are
 * the next machine's and are given to it at once. A connection of which
 * nothing came is not worth more than a line at debug level: load balancers
 * look every few seconds whether the port is open. */
#include "relay/proxied.h"

#include "base/mem.h"
#include "base/slice.h"
#include "proto/proxy_protocol.h"
#include <inlets/err.h>
#include <stdio.h>

/* More than a header, so that the request behind it comes along; less than any
 * machine behind us has room for. */
#define ROOM (8u * 1024)

struct proxied {
    struct inl_list node;
    const struct inl_proxied_config *config;
    struct inl_env *env;
    struct inl_link *link; /* NULL when gone */
    struct inl_proxy_reader reader;
    struct inl_timer timer;
    struct inl_later free;
};

static void proxied_free(struct inl_later *later)
{
    inl_free(inl_container(later, struct proxied, free));
}

static void become_gone(struct proxied *p)
{
    p->link = NULL;
    inl_list_remove(&p->node);
    inl_timer_off(p->env, &p->timer);
    inl_env_later(p->env, &p->free);
}

static void refuse(struct proxied *p, int err, const char *why)
{
    inl_log(p->env, p->reader.seen > 0 ? INLETS_LOG_INFO : INLETS_LOG_DEBUG,
            "connection refused", INL_KV("why", inl_str(why)),
            INL_KV("remote", inl_str(p->link->peer_ip)));
    inl_link_reset(p->link, err);
}

static void tell(struct inl_link *link, const struct inl_proxy_header *header)
{
    bool v4 = inl_ip_is_v4(&header->source);
    char text[INL_IP_TEXT];

    if (header->kind == INL_PROXY_UNKNOWN) {
        link->peer_is_unknown = true;
    }
    if (header->kind != INL_PROXY_TOLD) {
        return;
    }
    (void)inl_ip_format(&header->source, text);
    (void)snprintf(link->peer_ip, sizeof(link->peer_ip), "%s", text);
    (void)snprintf(link->peer, sizeof(link->peer), v4 ? "%s:%u" : "[%s]:%u",
                   text, (unsigned)header->source_port);
    link->peer_is_loopback = inl_ip_is_loopback(&header->source);
    link->told_port = header->destination_port;
}

static void hand_over(struct proxied *p, const struct inl_proxy_header *header,
                      const uint8_t *rest, size_t n)
{
    struct inl_link *link = p->link;

    tell(link, header);
    p->config->start(p->config->user, link);
    if (link->machine == p) {
        inl_link_close(link, INLETS_ENOMEM); /* if it is not yet: then gone */
        return;
    }
    become_gone(p);
    inl_link_rx(link, rest, n);
}

/* ---- events of the link ------------------------------------------------- */

static void proxied_rx(void *machine, const uint8_t *data, size_t n)
{
    struct proxied *p = machine;
    struct inl_proxy_header header;
    size_t used = 0;
    int rc = inl_proxy_feed(&p->reader, data, n, &used, &header);

    if (rc < 0) {
        refuse(p, rc, p->reader.reason);
    } else if (rc > 0) {
        hand_over(p, &header, data + used, n - used);
    }
}

static size_t proxied_rx_room(void *machine)
{
    (void)machine;
    return ROOM;
}

static void proxied_eof(void *machine)
{
    refuse(machine, INLETS_ECANCELED, "it ended before its PROXY header");
}

static void proxied_gone(void *machine, int err)
{
    (void)err;
    become_gone(machine);
}

static const struct inl_machine_ops machine_ops = {.rx = proxied_rx,
                                                   .rx_room = proxied_rx_room,
                                                   .rx_eof = proxied_eof,
                                                   .gone = proxied_gone};

static void proxied_timeout(struct inl_timer *timer)
{
    refuse(inl_container(timer, struct proxied, timer), INLETS_ETIMEDOUT,
           "the PROXY header did not arrive in time");
}

/* ---- life --------------------------------------------------------------- */

void inl_proxied_start(const struct inl_proxied_config *config,
                       struct inl_list *list, struct inl_link *link)
{
    struct proxied *p = inl_calloc(1, sizeof(*p));

    if (p == NULL) {
        inl_link_close(link, INLETS_ENOMEM);
        return;
    }
    p->config = config;
    p->env = link->env;
    p->link = link;
    inl_list_init(&p->node);
    inl_list_push_back(list, &p->node);
    inl_timer_init(&p->timer, proxied_timeout);
    inl_later_init(&p->free, proxied_free);
    inl_link_set_machine(link, &machine_ops, p);
    if (inl_timer_at(p->env, &p->timer, p->env->now_ms + config->timeout_ms) !=
        0) {
        inl_link_close(link, INLETS_ENOMEM);
    }
}

void inl_proxied_close(struct inl_list *list)
{
    struct inl_list *n, *tmp;

    inl_list_each(list, n, tmp)
    {
        inl_link_close(inl_container(n, struct proxied, node)->link, 0);
    }
}
