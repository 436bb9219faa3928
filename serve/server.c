#include "serve/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpu.h"

void serve_options_init(serve_options *o) {
    *o = (serve_options){.host = "127.0.0.1",
                         .port = 8000,
                         .http_threads = 2,
                         .max_body = (size_t)64 << 20,
                         .max_answers = (size_t)1 << 30,
                         .max_connections = 1024,
                         .request_seconds = 30,
                         .poll_seconds = 2,
                         .drain_seconds = 1,
                         .exit_seconds = 30,
                         .access_log = "-"};
}

/* ---- keys --------------------------------------------------------------------------------------------------- */

#define MIN_KEY 8

static tern_status add_key(serve_server *s, size_t *cap, const char *text, size_t len, tern_error *err) {
    if (len < MIN_KEY) return tn_fail(err, TERN_INVALID_FORMAT, "a key of less than %d characters", MIN_KEY);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 127) return tn_fail(err, TERN_INVALID_FORMAT, "a key with blanks in it");
    }
    char *copy = tn_strndup(text, len);
    if (!copy || !tn_grow(&s->keys, cap, s->n_keys + 1, sizeof *s->keys)) {
        tn_free(copy);
        return tn_fail_oom(err, len);
    }
    s->keys[s->n_keys++] = copy;
    return TERN_OK;
}

/* A key per line; lines that begin with # are none. */
static tern_status read_keys(serve_server *s, const char *path, tern_error *err) {
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    size_t cap = 0;
    tern_status status = TERN_OK;
    const char *p = (const char *)file.data, *end = p + file.size;
    while (p < end && status == TERN_OK) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if (!line) line = end;
        size_t len = (size_t)(line - p);
        if (len > 0 && p[len - 1] == '\r') len--;
        if (len > 0 && *p != '#') status = add_key(s, &cap, p, len, err);
        p = line < end ? line + 1 : end;
    }
    if (status == TERN_OK && s->n_keys == 0) status = tn_fail(err, TERN_INVALID_FORMAT, "there is no key in it");
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

tern_status serve_server_init(serve_server *s, const serve_options *options,
                              void (*note)(void *context, const char *line), void *context, tern_error *err) {
    *s = (serve_server){.options = options, .start_ms = serve_wall_ms()};
    int cores = tn_cpu_get_system()->physical_cores;
    serve_repository_options r = {.sources = options->sources,
                                  .n_sources = options->n_sources,
                                  .threads = options->threads,
                                  .bf16 = options->bf16,
                                  .tune = options->tune,
                                  .tune_cache = options->tune_cache,
                                  .note = note,
                                  .note_context = context};
    tern_status status = options->api_key_file ? read_keys(s, options->api_key_file, err) : TERN_OK;
    if (status == TERN_OK) status = serve_work_create(&s->work, TN_MAX(cores, 2), err);
    if (status == TERN_OK)
        status = serve_batcher_create(&s->batcher, options->executors ? options->executors : TN_MAX(cores, 1), err);
    if (status == TERN_OK) status = serve_repository_open(&s->repository, &r, err);
    if (status != TERN_OK) serve_server_release(s);
    return status;
}

void serve_server_release(serve_server *s) {
    serve_batcher_free(s->batcher);
    serve_work_free(s->work);
    serve_repository_free(s->repository);
    for (size_t i = 0; i < s->n_keys; i++) tn_free(s->keys[i]);
    tn_free(s->keys);
    s->batcher = NULL;
    s->work = NULL;
    s->repository = NULL;
    s->keys = NULL;
    s->n_keys = 0;
}

/* ---- exchanges ---------------------------------------------------------------------------------------------- */

void serve_exchange_init(serve_exchange *x, serve_server *s) {
    *x = (serve_exchange){.server = s, .method = "", .path = "", .header_length = -1, .begin_ns = tn_clock_ns()};
    tn_arena_init(&x->arena, 0);
    tn_text_init(&x->body);
    tn_text_init(&x->out);
    atomic_fetch_add(&s->under_way, 1);
}

/* Of a body whose length is told, the JSON is moved so far that the binary tensors behind it are aligned. */
static size_t body_pad(const serve_exchange *x) {
    const char *text = x->headers.header_length;
    if (!text || x->headers.content_encoding) return 0;
    size_t json = (size_t)strtoull(text, NULL, 10);
    return (SERVE_BODY_ALIGNMENT - json % SERVE_BODY_ALIGNMENT) % SERVE_BODY_ALIGNMENT;
}

void serve_add_body(serve_exchange *x, const char *data, size_t n, size_t expected) {
    static const char zeros[SERVE_BODY_ALIGNMENT] = {0};
    if (x->body.len == 0) {
        x->body_pad = body_pad(x);
        if (x->body_pad) tn_text_add_str(&x->body, zeros, x->body_pad);
    } else {
        /* In one piece, but not before some of it has come. */
        tn_text_reserve(&x->body, n + expected);
    }
    tn_text_add_str(&x->body, data, n);
}

tn_str serve_body(const serve_exchange *x) {
    size_t pad = TN_MIN(x->body_pad, x->body.len);
    return (tn_str){x->body.data + pad, x->body.len - pad};
}

#define TOTAL_BODIES 8 /* times max_body, of all requests together */

bool serve_count_body(serve_exchange *x, size_t n) {
    serve_server *s = x->server;
    if (atomic_fetch_add(&s->body_bytes, n) + n <= s->options->max_body * TOTAL_BODIES) {
        x->counted += n;
        return true;
    }
    atomic_fetch_sub(&s->body_bytes, n);
    x->retry_after = 1;
    serve_error(x, 503, "too much is being received at the moment");
    return false;
}

tern_status serve_count_answer(serve_exchange *x, size_t n, tern_error *err) {
    serve_server *s = x->server;
    size_t most = s->options->max_answers;
    if (n > most)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "outputs of %zu bytes, at most %zu are given (--max-answers)", n,
                       most);
    if (atomic_fetch_add(&s->answer_bytes, n) + n <= most) {
        atomic_fetch_add(&x->answered, n);
        return TERN_OK;
    }
    atomic_fetch_sub(&s->answer_bytes, n);
    return tn_fail(err, TERN_CANCELLED, "too many large answers are under way at the moment; try again later");
}

void serve_uncount_answer(serve_exchange *x, size_t n) {
    atomic_fetch_sub(&x->answered, n);
    atomic_fetch_sub(&x->server->answer_bytes, n);
}

void serve_exchange_release(serve_exchange *x) {
    atomic_fetch_sub(&x->server->body_bytes, x->counted);
    atomic_fetch_sub(&x->server->answer_bytes, x->answered);
    tn_text_release(&x->body);
    tn_text_release(&x->out);
    tn_arena_release(&x->arena);
    atomic_fetch_sub(&x->server->under_way, 1);
}

void serve_done(serve_exchange *x) {
    x->done_ns = tn_clock_ns();
    if (x->out.failed) serve_error(x, 503, "no memory for the answer");
    x->finished(x);
}

void serve_later(serve_exchange *x, void (*step)(serve_exchange *x)) {
    x->step = step;
    serve_work_submit(x->server->work, x);
}

void serve_error(serve_exchange *x, int status, const char *format, ...) {
    char text[1400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_utf8_clean_line(text);
    tn_text_release(&x->out);
    x->fixed = (tn_str){0};
    x->header_length = -1;
    x->status = status;
    x->type = "application/json";
    serve_put_open(&x->out, NULL, '{');
    serve_put_string(&x->out, "error", text);
    serve_put_close(&x->out, '}');
}

int serve_http_status(tern_status status) {
    switch (status) {
    case TERN_OK:
        return 200;
    case TERN_NOT_FOUND:
        return 404;
    case TERN_OUT_OF_MEMORY:
    case TERN_CANCELLED:
        return 503;
    case TERN_INTERNAL:
    case TERN_IO:
        return 500;
    default:
        return 400;
    }
}

void serve_failed(serve_exchange *x, const tern_error *err) {
    int status = serve_http_status(err->status);
    if (status == 503) x->retry_after = 1;
    serve_error(x, status, "%s", err->text);
}

serve_version *serve_find_version(serve_exchange *x, tn_str model, tn_str version) {
    char name[256];
    int64_t number = -1;
    if (version.len > 0) {
        number = 0;
        for (size_t i = 0; i < version.len && number >= 0; i++) {
            bool digit = version.data[i] >= '0' && version.data[i] <= '9' && i < 18;
            number = digit ? number * 10 + (version.data[i] - '0') : -1;
        }
        if (number >= 0 && version.len > 1 && version.data[0] == '0') {
            serve_error(x, 404, "there is no version '%.*s': numbers are written without zeros in front",
                        (int)version.len, version.data);
            return NULL;
        }
        if (number < 0) {
            serve_error(x, 400, "'%.*s' is no number of a version", (int)TN_MIN(version.len, (size_t)40), version.data);
            return NULL;
        }
    }
    if (model.len >= sizeof name) {
        serve_error(x, 404, "there is no model of such a long name");
        return NULL;
    }
    memcpy(name, model.data, model.len);
    name[model.len] = '\0';
    snprintf(x->model, sizeof x->model, "%.63s", name);
    serve_version *v;
    tern_error err;
    if (serve_repository_get(x->server->repository, name, number, &v, &err) != TERN_OK) {
        serve_failed(x, &err);
        return NULL;
    }
    snprintf(x->version, sizeof x->version, "%s", v->number_text);
    return v;
}
