/* Status codes and error texts. */
#ifndef TERN_STATUS_H
#define TERN_STATUS_H

#include "tern/export.h"

/* X(NAME, value, message). Values are stable: new codes are appended. */
#define TERN_STATUS_LIST(X)                                               \
    X(OK, 0, "ok")                                                        \
    X(INVALID_ARGUMENT, 1, "invalid argument")                            \
    X(OUT_OF_MEMORY, 2, "out of memory")                                  \
    X(IO, 3, "file can not be read or written")                           \
    X(INVALID_FORMAT, 4, "file is damaged or not of the expected format") \
    X(INVALID_MODEL, 5, "model breaks a rule of the ONNX standard")       \
    X(UNSUPPORTED, 6, "valid, but not supported")                         \
    X(SHAPE_MISMATCH, 7, "shapes do not fit")                             \
    X(TYPE_MISMATCH, 8, "element types do not fit")                       \
    X(LIMIT_EXCEEDED, 9, "a limit is exceeded")                           \
    X(NOT_FOUND, 10, "not found")                                         \
    X(CANCELLED, 11, "cancelled")                                         \
    X(INTERNAL, 12, "internal error")

typedef enum tern_status {
#define X(NAME, VALUE, MESSAGE) TERN_##NAME = VALUE,
    TERN_STATUS_LIST(X)
#undef X
} tern_status;

/* What went wrong, in one line of UTF-8 without a final newline: file, node, operator, opset and the values that
 * clash, as far as they are known. Owned by the caller; every function that takes one accepts NULL. It is written
 * only on failure. */
typedef struct tern_error {
    tern_status status;
    char text[1000];
} tern_error;

TERN_BEGIN_DECLS

/* "TERN_INVALID_MODEL" and the like; never NULL. */
TERN_API const char *tern_status_name(tern_status status);
/* One sentence in English; never NULL. */
TERN_API const char *tern_status_message(tern_status status);

TERN_END_DECLS
#endif
