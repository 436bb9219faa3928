#ifndef SERVE_WARMUP_H
#define SERVE_WARMUP_H

#include "serve/version.h"

/* Runs the network where the shapes of its inputs are known but for the batch: plans are made before the first request
 * comes, and it is seen whether a row's result depends on the others of its batch. Where it does, or where it can not
 * be seen and nobody has configured a batch, requests do not share runs; a configured batch is an error then. */
tern_status serve_warm_up(serve_version *v, tern_error *err);

/* Leaves of v->sizes those that are worth it: a row of a large batch of a network with large maps takes longer than one
 * alone, because the maps do not stay in the cache; and rows that wait for each other are to gain by it. times[i]: ns
 * of a run of sizes[i] rows, of the first `tested` sizes (at least one); those for which there was no time go. What was
 * configured as preferred stays. */
void serve_keep_sizes(serve_version *v, const uint64_t *times, int tested);

#endif
