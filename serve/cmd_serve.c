/* tern serve: the options of the server. */
#include "cli/cli.h"
#include "serve/serve.h"

typedef struct serve_args {
    cli_common common;
    const char *host, *tls_cert, *tls_key, *api_key_file, *access_log, *cors, *allowed_hosts;
    int64_t port, executors, http_threads, max_body, max_answers, max_pixels, max_connections, timeout;
    double poll, drain, exit;
    bool no_control;
} serve_args;

extern const cli_command cli_cmd_serve;

static void defaults(void *args) {
    serve_args *a = args;
    serve_options o;
    serve_options_init(&o);
    a->host = o.host;
    a->port = o.port;
    a->http_threads = o.http_threads;
    a->max_body = (int64_t)(o.max_body >> 20);
    a->max_answers = (int64_t)(o.max_answers >> 20);
    a->max_connections = o.max_connections;
    a->timeout = o.request_seconds;
    a->poll = o.poll_seconds;
    a->drain = o.drain_seconds;
    a->exit = o.exit_seconds;
    a->access_log = o.access_log;
}

static int run(void *args, char **operands, int count) {
    const serve_args *a = args;
    if (!a->tls_cert != !a->tls_key) return cli_usage_error(&cli_cmd_serve, "--tls-cert and --tls-key go together");
    bool silent = strcmp(a->access_log, "none") == 0;
    const serve_options o = {.sources = (const char *const *)operands,
                             .n_sources = (size_t)count,
                             .host = a->host,
                             .port = (int)a->port,
                             .threads = (int)a->common.threads,
                             .bf16 = a->common.precision == TERN_PRECISION_BF16,
                             .tune = a->common.tune || a->common.tune_cache,
                             .tune_cache = a->common.tune_cache,
                             .executors = (int)a->executors,
                             .http_threads = (int)a->http_threads,
                             .max_body = (size_t)a->max_body << 20,
                             .max_answers = (size_t)a->max_answers << 20,
                             .max_pixels = (uint64_t)a->max_pixels,
                             .max_connections = (int)a->max_connections,
                             .request_seconds = (int)a->timeout,
                             .poll_seconds = a->poll,
                             .drain_seconds = a->drain,
                             .exit_seconds = a->exit,
                             .tls_cert = a->tls_cert,
                             .tls_key = a->tls_key,
                             .api_key_file = a->api_key_file,
                             .access_log = silent ? NULL : a->access_log,
                             .no_control = a->no_control,
                             .cors = a->cors,
                             .allowed_hosts = a->allowed_hosts};
    return serve_run(&o);
}

#define ROW(field) offsetof(serve_args, field)
static const cli_option options[] = {
    {"port", 'p', CLI_INT, "N", "listen on port N; 0: any free one (default: 8000)", ROW(port), 0, 65535},
    {"host", 0, CLI_STRING, "NAME", "listen on this address; 0.0.0.0: on all (default: 127.0.0.1)", ROW(host), 0, 0},
    {"tls-cert", 0, CLI_STRING, "FILE", "certificate, PEM: serve HTTPS", ROW(tls_cert), 0, 0},
    {"tls-key", 0, CLI_STRING, "FILE", "its private key, PEM", ROW(tls_key), 0, 0},
    {"api-key-file", 0, CLI_STRING, "FILE",
     "clients must send one of the keys in it, a line each, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
     ROW(api_key_file), 0, 0},
    {"max-body", 0, CLI_INT, "MB", "refuse larger requests (default: 64)", ROW(max_body), 1, 16384},
    {"max-answers", 0, CLI_INT, "MB", "outputs and answers of all requests together (default: 1024)", ROW(max_answers),
     1, 1 << 20},
    {"max-pixels", 0, CLI_INT, "N", "refuse larger pictures (default: 67108864)", ROW(max_pixels), 1, 4e9},
    {"max-connections", 0, CLI_INT, "N", "at a time (default: 1024)", ROW(max_connections), 4, 100000},
    {"timeout", 0, CLI_INT, "SECONDS", "to receive a request, and to send an answer (default: 30)", ROW(timeout), 1,
     3600},
    {"executors", 0, CLI_INT, "N", "networks run at a time (default: one per physical core)", ROW(executors), 1, 1024},
    {"http-threads", 0, CLI_INT, "N", "threads for connections (default: 2)", ROW(http_threads), 2, 64},
    {"poll", 0, CLI_REAL, "SECONDS", "between looks at the models for changes; 0: only on SIGHUP (default: 2)",
     ROW(poll), 0, 86400},
    {"no-control", 0, CLI_FLAG, NULL, "clients can not load or unload models", ROW(no_control), 0, 0},
    {"cors", 0, CLI_STRING, "ORIGIN", "pages of this origin, https://example.org, may call the server; *: of any",
     ROW(cors), 0, 0},
    {"allowed-hosts", 0, CLI_STRING, "NAMES",
     "names that clients may call the server by, as a,b,.example.org; *: any (default: localhost and addresses when "
     "it listens on this machine only, else any)",
     ROW(allowed_hosts), 0, 0},
    {"drain", 0, CLI_REAL, "SECONDS", "after SIGTERM: not ready, but still accepting, for so long (default: 1)",
     ROW(drain), 0, 3600},
    {"exit-timeout", 0, CLI_REAL, "SECONDS", "then: wait so long for requests under way (default: 30)", ROW(exit), 0,
     3600},
    {"access-log", 0, CLI_STRING, "FILE|-|none", "a line of JSON per answer (default: -, standard output)",
     ROW(access_log), 0, 0},
    CLI_OPT_THREADS,
    CLI_OPT_PRECISION,
    CLI_OPT_TUNE,
    CLI_OPT_CPU,
};

static const char *const examples[] = {
    "tern serve                                    the embedded model; the page is at http://127.0.0.1:8000",
    "tern serve resnet50.onnx yolov5s.pt           two models",
    "tern serve models/                            a repository: models/<name>/<version>/model.onnx",
    "tern serve models/ --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --api-key-file keys",
    "curl -s 127.0.0.1:8000/v1/models/yolov5s:detect --data-binary @photo.jpg",
    NULL,
};

const cli_command cli_cmd_serve = {
    .name = "serve",
    .summary = "serve models over HTTP, with a web page",
    .operands = "[MODEL|REPOSITORY...]",
    .description =
        "Serves models by the Open Inference Protocol v2 (KServe, Triton), takes pictures at\n"
        "/v1/models/NAME:classify and :detect, has a web page at / and metrics at /metrics. Without an operand the\n"
        "embedded model is served. SIGTERM ends it when the requests under way are answered.\n"
        "docs/serving.md has the whole.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .examples = examples,
    .failure = "the server could not start, or requests were given up at the end",
    .min_operands = 0,
    .max_operands = -1,
    .args_size = sizeof(serve_args),
    .defaults = defaults,
    .run = run,
};
