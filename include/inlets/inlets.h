/* inlets.h: all of libinlets. */
#ifndef INLETS_INLETS_H
#define INLETS_INLETS_H

#include <inlets/accounts.h>
#include <inlets/alloc.h>
#include <inlets/certificate.h>
#include <inlets/client.h>
#include <inlets/err.h>
#include <inlets/exchange.h>
#include <inlets/export.h>
#include <inlets/log.h>
#include <inlets/server.h>
#include <inlets/types.h>
#include <inlets/version.h>
#include <inlets/visitors.h>

#endif
