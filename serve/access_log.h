/* A line of JSON per answer. */
#ifndef SERVE_ACCESS_LOG_H
#define SERVE_ACCESS_LOG_H

#include "serve/server.h"

typedef struct serve_access_log serve_access_log;

/* path NULL: nothing is written; "-": standard output; else the file is appended to. */
tern_status serve_access_log_open(serve_access_log **out, const char *path, tern_error *err);
void serve_access_log_close(serve_access_log *log);
/* `delivered`: the client has taken the answer. Any thread. */
void serve_access_log_write(serve_access_log *log, const serve_exchange *x, bool delivered);

#endif
