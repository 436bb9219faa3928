/* Requests of the server. The first byte says of which kind the others are: an inference request (two bytes with the
 * length of the JSON, then JSON and binary tensors), a configuration in either form, or pictures as multipart or JSON.
 * Each gives something or an error; what an inference request gives can be answered. */
#include <stdio.h>
#include <stdlib.h>

#include "serve/infer.h"
#include "serve/upload.h"

#define CHECK(condition)           \
    do {                           \
        if (!(condition)) abort(); \
    } while (0)

#define TYPES 14

/* A model with an input and an output of every type, which only looks like one. */
typedef struct stage {
    serve_options options;
    serve_server server;
    serve_version version;
    tern_value_info inputs[TYPES + 1], outputs[TYPES + 1];
    const char *names[TYPES + 1];
    serve_stats stats;
} stage;

static void stage_init(stage *s) {
    serve_options_init(&s->options);
    s->server = (serve_server){.options = &s->options};
    int n = 0;
    for (tern_dtype t = TERN_FLOAT; t < TERN_DTYPE_COUNT && n < TYPES; t++) {
        if (!serve_datatype(t)) continue;
        s->inputs[n] = (tern_value_info){.name = serve_datatype(t), .dtype = t, .rank = n % 2 + 1, .dims = {-1, -1}};
        s->outputs[n] = s->inputs[n];
        s->names[n] = s->inputs[n].name;
        n++;
    }
    s->version = (serve_version){.name = "m",
                                 .number_text = "1",
                                 .inputs = s->inputs,
                                 .outputs = s->outputs,
                                 .output_names = s->names,
                                 .n_inputs = n,
                                 .n_outputs = n};
    /* Never released. */
    atomic_init(&s->version.refs, 1 << 20);
}

static void try_infer(stage *s, const uint8_t *data, size_t size) {
    serve_exchange x;
    serve_infer q;
    tern_error err = {0};
    char length[16];
    if (size < 2) return;
    size_t json = data[0] + (size_t)data[1] * 256;
    serve_exchange_init(&x, &s->server);
    snprintf(length, sizeof length, "%zu", json);
    if (json != 0xffff) x.headers.header_length = length;
    serve_add_body(&x, (const char *)data + 2, (size - 2) / 2, size - 2 - (size - 2) / 2);
    serve_add_body(&x, (const char *)data + 2 + (size - 2) / 2, size - 2 - (size - 2) / 2, 0);
    /* One input of them alone, or all. */
    s->version.n_inputs = s->version.n_outputs = size % 3 ? 1 : TYPES;
    s->version.batchable = size % 2;
    s->version.max_batch = 8;
    tern_status status = serve_infer_parse(&q, &x, &s->version, &err);
    if (status != TERN_OK) {
        CHECK(err.status == status && err.text[0]);
    } else {
        for (int i = 0; i < s->version.n_inputs; i++) {
            CHECK(q.inputs[i]);
            q.outputs[i] = q.inputs[i];
            q.inputs[i] = NULL;
        }
        status = serve_infer_answer(&q, &err);
        CHECK(status == TERN_OK || err.text[0]);
    }
    serve_infer_release(&q);
    serve_exchange_release(&x);
}

static void try_upload(stage *s, const char *type, const uint8_t *data, size_t size) {
    serve_exchange x;
    static const char query[] = "top=3&conf=0.5";
    tern_error err = {0};
    serve_upload *u = malloc(sizeof *u);
    CHECK(u);
    serve_exchange_init(&x, &s->server);
    x.headers.content_type = type;
    x.query = query;
    serve_add_body(&x, (const char *)data, size, 0);
    tern_status status = serve_upload_read(u, &x, &err);
    CHECK(status == TERN_OK || (err.status == status && err.text[0]));
    for (int i = 0; status == TERN_OK && i < u->count; i++) {
        volatile char sum = 0;
        for (size_t k = 0; k < u->pictures[i].bytes.len; k++) sum = (char)(sum + u->pictures[i].bytes.data[k]);
    }
    serve_exchange_release(&x);
    free(u);
}

static void try_config(bool pbtxt, const uint8_t *data, size_t size) {
    serve_config c;
    tern_error err = {0};
    serve_config_init(&c);
    tern_status status = (pbtxt ? serve_config_pbtxt : serve_config_json)(&c, (const char *)data, size, "m", &err);
    CHECK(status == TERN_OK || (err.status == status && err.text[0]));
    serve_config_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    if (size == 0) return 0;
    stage *s = calloc(1, sizeof *s);
    CHECK(s);
    stage_init(s);
    switch (data[0] % 5) {
    case 0:
        try_infer(s, data + 1, size - 1);
        break;
    case 1:
        try_config(true, data + 1, size - 1);
        break;
    case 2:
        try_config(false, data + 1, size - 1);
        break;
    case 3:
        try_upload(s, "multipart/form-data; boundary=xx", data + 1, size - 1);
        break;
    default:
        try_upload(s, "application/json", data + 1, size - 1);
    }
    free(s);
    CHECK(tn_alloc_live() == live);
    return 0;
}
