/* What the parts of the server share: the server itself, and an exchange, which is one request and its answer on their
 * way through it. A handler knows nothing of sockets: it reads an exchange and ends it with serve_done, at once or from
 * another thread, so that tests and the fuzzer need no network. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "serve/json_write.h"
#include "serve/repository.h"
#include "serve/work.h"

typedef struct serve_options {
    const char *const *sources;
    size_t n_sources;
    const char *host;
    int port;                       /* 0: any free one */
    int threads;                    /* of a run; 0: one per core */
    bool bf16;                      /* run in bfloat16 what does not say otherwise */
    bool tune;                      /* see tern_options */
    const char *tune_cache;         /* likewise */
    int executors;                  /* runs at a time; 0: one per core */
    int http_threads;               /* [2] */
    size_t max_body;                /* bytes of a request's body, inflated too */
    size_t max_answers;             /* bytes of outputs and answers of all requests together [1 GiB] */
    uint64_t max_pixels;            /* of a picture; 0: the default of vision */
    int max_connections;            /* [1024] */
    int request_seconds;            /* to receive a request, to keep an idle connection, to send an answer [30] */
    double poll_seconds;            /* between looks at the repository; 0: never */
    double drain_seconds;           /* after SIGTERM: not ready, but still accepting */
    double exit_seconds;            /* then: until requests under way are given up */
    const char *tls_cert, *tls_key; /* files */
    const char *api_key_file;       /* a key per line */
    const char *access_log;         /* file; "-": standard output; NULL: none */
    bool no_control;                /* load and unload are refused */
    const char *allowed_hosts;      /* names in Host that are taken, "a,b,.example.org", "*": any; NULL: by address */
    const char *cors;               /* pages of this origin may call, too; "*": of any; NULL: of none */
} serve_options;

void serve_options_init(serve_options *o);

typedef struct serve_server {
    const serve_options *options;
    serve_repository *repository;
    serve_batcher *batcher;
    serve_work *work;
    char **keys; /* NULL: anybody may call */
    size_t n_keys;
    atomic_bool draining;
    atomic_int under_way;       /* exchanges */
    atomic_size_t body_bytes;   /* of all requests in memory */
    atomic_size_t pixels;       /* of all pictures in memory */
    atomic_size_t answer_bytes; /* outputs and answers of all requests in memory */
    bool local_only;            /* bound to a loopback address; set before there are requests */
    uint64_t start_ms;
} serve_server;

/* Everything but the network. `note` as in serve_repository_options. The options must outlive the server. */
tern_status serve_server_init(serve_server *s, const serve_options *options,
                              void (*note)(void *context, const char *line), void *context, tern_error *err);
/* No exchange may be under way. */
void serve_server_release(serve_server *s);

/* ---- exchanges ---------------------------------------------------------------------------------------------- */

/* Headers of a request that matter; NULL when absent. */
typedef struct serve_headers {
    const char *content_type, *content_encoding, *accept, *authorization, *api_key, *header_length, *traceparent,
        *user_agent, *origin, *host;
} serve_headers;

#define SERVE_BODY_ALIGNMENT 16 /* what malloc gives */

typedef struct serve_exchange serve_exchange;
struct serve_exchange {
    serve_server *server;
    const char *method, *path, *query; /* path decoded; query without '?', NULL: none */
    serve_headers headers;
    char client[64];
    tn_arena arena; /* lives as long as the exchange */
    tn_text body;
    size_t body_pad;        /* bytes before it in `body`: they put binary tensors where they can be used in place */
    size_t counted;         /* bytes of the body that are in the server's body_bytes */
    atomic_size_t answered; /* bytes in the server's answer_bytes */
    /* The answer. */
    int status;
    const char *type; /* of the content */
    tn_text out;
    tn_str fixed;          /* content that is elsewhere, instead of `out`; data NULL: none */
    int64_t header_length; /* Inference-Header-Content-Length; < 0: none */
    int retry_after;       /* seconds; 0: none */
    const char *allow;     /* of 405 */
    /* For the log. */
    char model[64], version[24], id[64];
    serve_times times;
    uint64_t begin_ns, done_ns;
    /* Who waits for it. */
    void (*finished)(serve_exchange *x); /* any thread; once */
    void *transport;
    serve_exchange *next;            /* of the queue of work */
    void (*step)(serve_exchange *x); /* what the queue is to do */
    void *state;                     /* of the handler */
};

void serve_exchange_init(serve_exchange *x, serve_server *s);
void serve_exchange_release(serve_exchange *x);
/* Appends to the body what has come; `expected` more bytes are known to follow it, 0: unknown. x->body.failed tells
 * when there is no memory. */
void serve_add_body(serve_exchange *x, const char *data, size_t n, size_t expected);
/* What has come, without what is before it. */
tn_str serve_body(const serve_exchange *x);

/* Whether serve_dispatch is short enough for the thread that serves the sockets. */
bool serve_is_quick(const serve_exchange *x);
/* Finds the handler and runs it. */
void serve_dispatch(serve_exchange *x);
/* Hands the answer over. The exchange may be gone when it returns. */
void serve_done(serve_exchange *x);
/* Continues with `step` on a thread for work. */
void serve_later(serve_exchange *x, void (*step)(serve_exchange *x));

/* Counts n more bytes of the body; false: all bodies together would have more than they may, and the answer says so. */
bool serve_count_body(serve_exchange *x, size_t n);

/* Counts n more bytes of outputs or of the answer; any thread. When all requests together would have more than they may
 * it is TERN_CANCELLED, for 503; TERN_LIMIT_EXCEEDED when this one alone has. */
tern_status serve_count_answer(serve_exchange *x, size_t n, tern_error *err);
/* Takes back n of them. */
void serve_uncount_answer(serve_exchange *x, size_t n);

/* Sets the answer to {"error": text}. */
void serve_error(serve_exchange *x, int status, const char *format, ...) TN_PRINTF(3, 4);
/* The same from an error of the library. */
void serve_failed(serve_exchange *x, const tern_error *err);
int serve_http_status(tern_status status);

/* The version that the path names, with a reference; NULL: the answer says why not. */
serve_version *serve_find_version(serve_exchange *x, tn_str model, tn_str version);

/* ---- handlers ----------------------------------------------------------------------------------------------- */

/* `model` and `version` are the parts of the path, empty when it has none. A handler that is not quick calls serve_done
 * itself; after a quick one the router does. */
typedef void (*serve_handler)(serve_exchange *x, tn_str model, tn_str version);

void serve_v2_server(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_live(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_ready(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_model(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_model_ready(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_config(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_stats(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_infer(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_index(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_load(serve_exchange *x, tn_str model, tn_str version);
void serve_v2_unload(serve_exchange *x, tn_str model, tn_str version);
void serve_metrics(serve_exchange *x, tn_str model, tn_str version);
void serve_classify(serve_exchange *x, tn_str model, tn_str version);
void serve_detect(serve_exchange *x, tn_str model, tn_str version);
void serve_page(serve_exchange *x, tn_str model, tn_str version);
void serve_page_style(serve_exchange *x, tn_str model, tn_str version);
void serve_page_script(serve_exchange *x, tn_str model, tn_str version);

#endif
