/* The network side, by libmicrohttpd: connections, limits, TLS, the access log. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include "serve/server.h"

typedef struct serve_http serve_http;

/* Listens. `note` receives messages of the library. */
tern_status serve_http_start(serve_http **out, serve_server *server, void (*note)(void *context, const char *line),
                             void *context, tern_error *err);
int serve_http_port(const serve_http *h);
/* Accepts no more connections; those that are there are told to close after the next answer. */
void serve_http_quiesce(serve_http *h);
/* Closes everything. No exchange may be under way in the server. NULL is fine. */
void serve_http_stop(serve_http *h);
/* "libmicrohttpd 0.9.75"; NULL: this build has no server. */
const char *serve_http_library(void);

#endif
