/* L8: the model server. `tern serve` is its only user; tests and the fuzzer use the parts.
 *
 *   http.c        sockets, limits, TLS            -> exchange
 *   router.c      method and path                 -> handler
 *   v2_*.c        Open Inference Protocol v2: parse, run, answer; metadata, repository, statistics
 *   picture*.c    pictures in, labels and boxes out
 *   batcher.c     who runs when, and with whom
 *   repository.c  which models and versions there are; scan.c finds them, version.c loads one
 *   config.c      what is said about a model; pbtxt.c reads Triton's format
 *   json_*.c, number.c   JSON at the speed of the network
 *   stats.c, metrics.c, access_log.c   what happened */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "serve/server.h"

/* Serves until SIGTERM or SIGINT; SIGHUP looks at the repository at once. Returns an exit code of the command. */
int serve_run(const serve_options *options);

#endif
