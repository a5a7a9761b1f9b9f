/* accounts.h: what is behind inlets/accounts.h. */
#ifndef INL_NODE_ACCOUNTS_H
#define INL_NODE_ACCOUNTS_H

#include <inlets/accounts.h>

#include "proto/json_accounts.h"

struct inlets_accounts {
    struct inl_account_doc doc;
};

#endif
