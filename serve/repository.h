/* The models that are served, by name, and their versions. Three kinds of sources:
 *
 *   model.onnx, model.pt    one model, called like the file, version 1
 *   folder of models        Triton's layout: folder/<model>/<version>/model.onnx (or model.pt, or the one model file in
 *                           it), with config.json or config.pbtxt and labels beside the versions; and model files right
 *                           in the folder
 *   nothing                 the embedded model, called "fashion"
 *
 * Names in requests are looked up among those that a scan of the sources has found; they never become paths. */
#ifndef SERVE_REPOSITORY_H
#define SERVE_REPOSITORY_H

#include "serve/version.h"

typedef struct serve_repository serve_repository;

typedef enum serve_state { SERVE_LOADING = 0, SERVE_READY, SERVE_UNAVAILABLE } serve_state;

typedef struct serve_repository_options {
    const char *const *sources;
    size_t n_sources; /* 0: the embedded model */
    int threads;      /* of a session; 0: one per core */
    bool bf16;        /* run in bfloat16 what does not say otherwise */
    bool tune;        /* see tern_options */
    const char *tune_cache;
    /* One line about a model that came, went or failed; any thread. */
    void (*note)(void *context, const char *line);
    void *note_context;
} serve_repository_options;

/* Finds and loads everything. A source that can not be read is an error; a model that can not be loaded is noted and
 * stays unavailable. */
tern_status serve_repository_open(serve_repository **out, const serve_repository_options *options, tern_error *err);
/* No request may be under way. NULL is fine. */
void serve_repository_free(serve_repository *r);

/* A version that is ready, with a reference for the caller; number < 0: the newest one. TERN_NOT_FOUND: there is none
 * such; TERN_CANCELLED: there is, but it is not ready. */
tern_status serve_repository_get(serve_repository *r, const char *name, int64_t number, serve_version **out,
                                 tern_error *err);
/* Whether all models that are to be served are ready. */
bool serve_repository_ready(serve_repository *r);

/* Looks at the sources again: new and changed versions are loaded (a changed one replaces the old one only when it
 * could be), those that are gone are unloaded. What was not the same at the last look may still be written, and is left
 * for the next one, unless `complete` says that it is all there. */
void serve_repository_poll(serve_repository *r, bool complete);
/* As a client asks; waits until it is done. `config` replaces what the files say; NULL: nothing. */
tern_status serve_repository_load(serve_repository *r, const char *name, const char *config, tern_error *err);
tern_status serve_repository_unload(serve_repository *r, const char *name, tern_error *err);

typedef struct serve_entry {
    char *name;
    int64_t number; /* -1: the model has no version */
    serve_state state;
    char *reason;           /* "" when there is nothing to say */
    serve_version *version; /* with a reference; NULL unless ready */
    serve_stats *stats;     /* of the repository; NULL without a version */
} serve_entry;
/* What there is, by name and number; the caller releases it. */
tern_status serve_repository_list(serve_repository *r, serve_entry **out, size_t *count, tern_error *err);
void serve_entries_release(serve_entry *entries, size_t count);

#endif
