/* A server without a network for tests, and models for it. */
#ifndef TESTS_SERVE_TEST_H
#define TESTS_SERVE_TEST_H

#include "serve/server.h"
#include "test_util.h"

typedef struct st_server {
    tt_temp folder; /* the repository */
    const char *source;
    serve_options options;
    serve_server server;
} st_server;

/* An empty repository; models are added, then st_start. */
void st_begin(st_server *s);
void st_start(st_server *s);
void st_stop(st_server *s);

/* Writes <folder>/<path>, making folders on the way. */
void st_write(const st_server *s, const char *path, const void *data, size_t size);
/* Models, each as <name>/<version>/model.onnx:
 *   rows     y[n,3] = softmax(x[n,4] * w * factor), FP32 */
void st_add_rows(const st_server *s, const char *name, int version, float factor);
/*   mixed    y[n,2] = x[n,2] + sum of x over n: rows depend on each other */
void st_add_mixed(const st_server *s, const char *name);
/*   types    in_<TYPE>[n] -> out_<TYPE>[n] for every datatype */
void st_add_types(const st_server *s, const char *name);
/*   same     y[n,m] = x[n,m], of a datatype */
void st_add_same(const st_server *s, const char *name, tern_dtype dtype);
/*   slow     y[n,4] = x through so many matrix products of 256 x 256 */
void st_add_slow(const st_server *s, const char *name, int products);

/* The answer to a request; released with st_release. */
typedef struct st_answer {
    serve_exchange x;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool finished;
} st_answer;
void st_send(st_server *s, st_answer *a, const char *method, const char *path, const char *type, const char *length,
             const void *body, size_t size);
/* What an answer is finished by, for exchanges that are made by hand. */
void st_finished(serve_exchange *x);
void st_wait(st_answer *a);
void st_release(st_answer *a);
/* All at once, body a text; the status. `out` of NULL: released. */
int st_ask(st_server *s, st_answer *out, const char *method, const char *path, const char *body);
/* Asks, and fails the test unless status and a part of the answer are these. */
void st_expect(st_server *s, int status, const char *part, const char *method, const char *path, const char *body);

#endif
