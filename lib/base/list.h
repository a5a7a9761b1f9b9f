/* list.h: intrusive, circular, doubly linked list. A node that is in no list
 * points to itself, so removing twice is harmless. */
#ifndef INL_BASE_LIST_H
#define INL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct inl_list {
    struct inl_list *prev, *next;
};

/* The object that holds a node: inl_container(node, struct foo, member). */
#define inl_container(node, type, member)                                      \
    ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void inl_list_init(struct inl_list *l)
{
    l->prev = l->next = l;
}

static inline bool inl_list_empty(const struct inl_list *l)
{
    return l->next == l;
}

/* Is the node in a list? */
static inline bool inl_list_linked(const struct inl_list *node)
{
    return node->next != node;
}

static inline void inl_list_push_back(struct inl_list *l, struct inl_list *node)
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}

static inline void inl_list_push_front(struct inl_list *l,
                                       struct inl_list *node)
{
    inl_list_push_back(l->next, node);
}

static inline void inl_list_remove(struct inl_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    inl_list_init(node);
}

/* The first node, removed; NULL when empty. */
static inline struct inl_list *inl_list_pop(struct inl_list *l)
{
    struct inl_list *node = l->next;

    if (node == l) {
        return NULL;
    }
    inl_list_remove(node);
    return node;
}

/* Moves all nodes of src to the end of dst. */
static inline void inl_list_splice(struct inl_list *dst, struct inl_list *src)
{
    if (!inl_list_empty(src)) {
        src->next->prev = dst->prev;
        src->prev->next = dst;
        dst->prev->next = src->next;
        dst->prev = src->prev;
        inl_list_init(src);
    }
}

/* Safe against removal of the current node, not of the next one. */
#define inl_list_each(l, node, tmp)                                            \
    for ((node) = (l)->next, (tmp) = (node)->next; (node) != (l);              \
         (node) = (tmp), (tmp) = (node)->next)

#endif
