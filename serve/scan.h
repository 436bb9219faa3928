/* What the sources of a repository hold at the moment. */
#ifndef SERVE_SCAN_H
#define SERVE_SCAN_H

#include "base/base.h"

typedef struct serve_scan_version {
    int64_t number;
    char *path;         /* of the model file; NULL: the embedded one, or there is none in the version's folder */
    uint64_t signature; /* of the files in the folders of version and model: size, time, inode */
} serve_scan_version;

typedef struct serve_scan_model {
    char *name, *folder;          /* folder: with configuration and labels */
    char *problem;                /* why it can not be served; NULL: nothing */
    char *config;                 /* config.json or config.pbtxt; NULL: none */
    bool alone;                   /* a single file: no configuration beside it is read */
    serve_scan_version *versions; /* ascending */
    size_t n_versions, cap;
} serve_scan_model;

typedef struct serve_scan {
    serve_scan_model *models; /* by name */
    size_t count, cap;
} serve_scan;

tern_status serve_scan_sources(serve_scan *out, const char *const *sources, size_t n_sources, tern_error *err);
void serve_scan_release(serve_scan *s);
/* A name that may be used in a URL: letters, digits, ".", "_", "-", "+", "@", "=", not starting with a dot. */
bool serve_name_ok(const char *name);

#endif
