/* Version of the library. */
#ifndef TERN_VERSION_H
#define TERN_VERSION_H

#include "tern/export.h"

#define TERN_VERSION_MAJOR 0
#define TERN_VERSION_MINOR 1
#define TERN_VERSION_PATCH 0
#define TERN_VERSION       "0.1.0"

TERN_BEGIN_DECLS
/* TERN_VERSION of the library that runs. */
TERN_API const char *tern_version(void);
TERN_END_DECLS
#endif
