/* version.h: which libinlets this is. */
#ifndef INLETS_VERSION_H
#define INLETS_VERSION_H

#include <inlets/export.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INLETS_VERSION_MAJOR 0
#define INLETS_VERSION_MINOR 1
#define INLETS_VERSION_PATCH 0
#define INLETS_VERSION "0.1.0"

/* The version of the library at run time, e.g. "0.1.0". */
INLETS_API const char *inlets_version(void);
/* The libraries it runs on, e.g. "libuv 1.44.2, llhttp 9.2.1, ...". */
INLETS_API const char *inlets_version_libraries(void);

#ifdef __cplusplus
}
#endif
#endif
