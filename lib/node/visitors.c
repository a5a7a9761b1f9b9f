/* visitors.c: the visitors file as programs see it: inlets/visitors.h over
 * proto/json_visitors. */
#include "node/visitors.h"

#include "base/mem.h"

_Static_assert(INLETS_WHY_SIZE >= INL_VISITORS_WHY, "a sentence fits");

int inlets_visitors_parse(struct inlets_visitors **ret_visitors,
                          struct inlets_slice text, char why[INLETS_WHY_SIZE])
{
    struct inlets_visitors *v = inl_calloc(1, sizeof(*v));
    int err =
        v == NULL ? INLETS_ENOMEM : inl_visitors_doc_parse(&v->doc, text, why);

    if (err != 0) {
        inl_free(v);
        return err;
    }
    *ret_visitors = v;
    return 0;
}

void inlets_visitors_free(struct inlets_visitors *visitors)
{
    if (visitors != NULL) {
        inl_visitors_doc_fini(&visitors->doc);
        inl_free(visitors);
    }
}

size_t inlets_visitors_count(const struct inlets_visitors *visitors)
{
    return visitors->doc.n;
}
