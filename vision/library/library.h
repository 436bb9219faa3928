/* Libraries that are loaded when they are first needed. Linked, they and what they need themselves would be loaded by
 * every start of the command: cairo brings X11, libmicrohttpd brings GnuTLS, libtiff the C++ library; a small one alone
 * takes a twentieth of a millisecond. */
#ifndef TERN_VISION_LIBRARY_H
#define TERN_VISION_LIBRARY_H

#include "base/base.h"

typedef struct tn_library_function {
    const char *name;
    size_t offset; /* of its pointer in the struct of functions */
} tn_library_function;

/* For an X-macro list of a struct's fields, each named like its function. */
#define TN_LIBRARY_FIELD(NAME)       __typeof__(NAME) *NAME;
#define TN_LIBRARY_ROW(STRUCT, NAME) {#NAME, offsetof(STRUCT, NAME)},

/* The handle of a library, which is never unloaded: it may leave threads and exit handlers behind. */
tern_status tn_library_open(void **handle, const char *soname, tern_error *err);
/* Pointers to `count` functions into the struct `out`. */
tern_status tn_library_find(void *handle, const char *soname, const tn_library_function *functions, size_t count,
                            void *out, tern_error *err);
/* Both. */
tern_status tn_library_load(const char *soname, const tn_library_function *functions, size_t count, void *out,
                            tern_error *err);

#endif
