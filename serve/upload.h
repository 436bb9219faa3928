/* Pictures in the body of a request: the body itself, parts of multipart/form-data (RFC 7578), or base64 in JSON. */
#ifndef SERVE_UPLOAD_H
#define SERVE_UPLOAD_H

#include "serve/server.h"

#define SERVE_MAX_PICTURES 64

typedef struct serve_upload {
    struct {
        const char *name; /* of the file; NULL: none was said */
        tn_str bytes;     /* in the body or the arena */
    } pictures[SERVE_MAX_PICTURES];
    int count;
    bool list; /* several were possible: the answer is a list, too */
    /* From the query, fields of the form, or members of the JSON. */
    int64_t top;      /* 0: not said */
    double conf, iou; /* < 0: not said */
    bool masks;
} serve_upload;

tern_status serve_upload_read(serve_upload *u, serve_exchange *x, tern_error *err);
/* Decodes RFC 4648's base64, with or without padding; blanks are passed over. *out is the arena's. */
tern_status serve_base64(tn_arena *arena, const char *text, size_t len, tn_str *out, tern_error *err);

#endif
