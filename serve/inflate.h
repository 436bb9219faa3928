#ifndef SERVE_INFLATE_H
#define SERVE_INFLATE_H

#include "serve/server.h"

/* Decodes a body that came with Content-Encoding gzip or deflate, up to max_body; on failure the answer is set. */
tern_status serve_inflate_body(serve_exchange *x);

#endif
