/* head.c: see head.h. */
#include "relay/head.h"

#include "base/mem.h"
#include "base/slice.h"

struct inlets_head *inl_head_dup(const struct inlets_head *head)
{
    size_t bytes =
        head->method.len + head->target.len + head->host.len + head->reason.len;
    struct inlets_field *fields;
    struct inlets_head *dup;
    char *at;

    for (size_t i = 0; i < head->nfields; i++) {
        bytes += head->fields[i].name.len + head->fields[i].value.len;
    }
    dup = inl_malloc(sizeof(*dup) + head->nfields * sizeof(*fields) + bytes);
    if (dup == NULL) {
        return NULL;
    }
    fields = (struct inlets_field *)(void *)(dup + 1);
    at = (char *)(fields + head->nfields);
    *dup = *head;
    dup->method = inl_slice_keep(&at, head->method);
    dup->target = inl_slice_keep(&at, head->target);
    dup->host = inl_slice_keep(&at, head->host);
    dup->reason = inl_slice_keep(&at, head->reason);
    for (size_t i = 0; i < head->nfields; i++) {
        fields[i].name = inl_slice_keep(&at, head->fields[i].name);
        fields[i].value = inl_slice_keep(&at, head->fields[i].value);
    }
    dup->fields = fields;
    return dup;
}

void inl_head_free_secret(struct inlets_head *dup)
{
    for (size_t i = 0; dup != NULL && i < dup->nfields; i++) {
        /* ours: behind the copy itself */
        inl_wipe((void *)(uintptr_t)dup->fields[i].value.ptr,
                 dup->fields[i].value.len);
    }
    inl_free(dup);
}
