/* Threads for what takes longer than a glance: large JSON, pictures, loading of models. The queue holds one entry per
 * exchange at most, and there are no more of those than connections. */
#ifndef SERVE_WORK_H
#define SERVE_WORK_H

#include "base/base.h"

struct serve_exchange;
typedef struct serve_work serve_work;

tern_status serve_work_create(serve_work **out, int threads, tern_error *err);
/* Does what is queued, then ends. NULL is fine. */
void serve_work_free(serve_work *w);
/* Calls x->step(x) on one of the threads. */
void serve_work_submit(serve_work *w, struct serve_exchange *x);

#endif
