/* export.h: which symbols leave the shared library, and two attributes. */
#ifndef INLETS_EXPORT_H
#define INLETS_EXPORT_H

#if defined(__GNUC__)
#define INLETS_API __attribute__((visibility("default")))
#define INLETS_MUST_USE __attribute__((warn_unused_result))
#else
#define INLETS_API
#define INLETS_MUST_USE
#endif

#endif
