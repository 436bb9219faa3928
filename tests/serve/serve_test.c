#include "serve_test.h"

#include <ftw.h>

#include "tern/tern.h"

void st_begin(st_server *s) {
    *s = (st_server){0};
    s->folder = tt_temp_dir();
    s->source = s->folder.path;
    serve_options_init(&s->options);
    s->options.sources = &s->source;
    s->options.n_sources = 1;
    s->options.threads = 1;
    s->options.access_log = NULL;
}

static void print_note(void *context, const char *line) {
    (void)context;
    printf("# %s\n", line);
}

void st_start(st_server *s) {
    tern_error err;
    if (serve_server_init(&s->server, &s->options, print_note, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void st_stop(st_server *s) {
    serve_server_release(&s->server);
    nftw(s->folder.path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void st_write(const st_server *s, const char *path, const void *data, size_t size) {
    char full[600];
    snprintf(full, sizeof full, "%s/%s", s->folder.path, path);
    for (char *p = full + strlen(s->folder.path) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0777);
        *p = '/';
    }
    FILE *f = fopen(full, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* ---- models ------------------------------------------------------------------------------------------------- */

static void node(tern_graph *g, const char *op, const char *a, const char *b, const char *out) {
    tern_error err;
    const char *inputs[] = {a, b};
    tern_node_info info = {
        .op_type = op, .inputs = inputs, .n_inputs = b ? 2 : 1, .outputs = (const char *[]){out}, .n_outputs = 1};
    if (tern_graph_node(g, &info, &err) != TERN_OK) fail_msg("%s", err.text);
}

static tern_graph *begin(void) {
    tern_graph *g;
    tern_error err;
    assert_int_equal(tern_graph_create(&g, "test", 13, &err), TERN_OK);
    return g;
}

static void input(tern_graph *g, const char *name, tern_dtype dtype, int rank, int64_t columns) {
    tern_value_info info = {.name = name, .dtype = dtype, .rank = rank, .dims = {-1, columns}, .dim_names = {"n"}};
    tern_error err;
    assert_int_equal(tern_graph_input(g, &info, &err), TERN_OK);
}

static void output(tern_graph *g, const char *name) {
    tern_error err;
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = name, .rank = -1}, &err), TERN_OK);
}

static void weights(tern_graph *g, const char *name, int64_t rows, int64_t columns, float factor) {
    tern_tensor *t;
    tern_error err;
    assert_int_equal(tern_tensor_create(&t, TERN_FLOAT, 2, (int64_t[]){rows, columns}, &err), TERN_OK);
    tt_rng rng = tt_rng_init(5);
    tt_fill_f32(&rng, tern_tensor_data(t), (size_t)(rows * columns), -factor, factor);
    assert_int_equal(tern_graph_constant(g, name, t, &err), TERN_OK);
    tern_tensor_free(t);
}

static void save(const st_server *s, tern_graph *g, const char *name, int version) {
    tern_model *m;
    tern_error err;
    char path[700], place[300];
    if (tern_graph_finish(g, &m, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_graph_free(g);
    snprintf(place, sizeof place, "%s/%d/model.onnx", name, version);
    st_write(s, place, "", 0);
    snprintf(path, sizeof path, "%s/%s", s->folder.path, place);
    if (tern_model_save(m, path, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_model_free(m);
}

void st_add_rows(const st_server *s, const char *name, int version, float factor) {
    tern_graph *g = begin();
    input(g, "x", TERN_FLOAT, 2, 4);
    weights(g, "w", 4, 3, factor);
    node(g, "MatMul", "x", "w", "p");
    node(g, "Softmax", "p", NULL, "y");
    output(g, "y");
    save(s, g, name, version);
}

void st_add_mixed(const st_server *s, const char *name) {
    tern_graph *g = begin();
    tern_tensor *axes;
    tern_error err;
    input(g, "x", TERN_FLOAT, 2, 2);
    assert_int_equal(tern_tensor_create(&axes, TERN_INT64, 1, (int64_t[]){1}, &err) /* cleared: axis 0 */, TERN_OK);
    assert_int_equal(tern_graph_constant(g, "axes", axes, &err), TERN_OK);
    tern_tensor_free(axes);
    node(g, "ReduceSum", "x", "axes", "sum");
    node(g, "Add", "x", "sum", "y");
    output(g, "y");
    save(s, g, name, 1);
}

void st_add_types(const st_server *s, const char *name) {
    tern_graph *g = begin();
    for (tern_dtype t = TERN_FLOAT; t < TERN_DTYPE_COUNT; t++) {
        char in[32], out[32];
        if (!serve_datatype(t)) continue;
        snprintf(in, sizeof in, "in_%s", serve_datatype(t));
        snprintf(out, sizeof out, "out_%s", serve_datatype(t));
        input(g, in, t, 1, 0);
        node(g, "Identity", in, NULL, out);
        output(g, out);
    }
    save(s, g, name, 1);
}

void st_add_same(const st_server *s, const char *name, tern_dtype dtype) {
    tern_graph *g = begin();
    input(g, "x", dtype, 2, -1);
    node(g, "Identity", "x", NULL, "y");
    output(g, "y");
    save(s, g, name, 1);
}

void st_add_slow(const st_server *s, const char *name, int products) {
    tern_graph *g = begin();
    input(g, "x", TERN_FLOAT, 2, 256);
    weights(g, "w", 256, 256, 0.1f);
    char from[16] = "x", to[16];
    for (int i = 0; i < products; i++) {
        snprintf(to, sizeof to, "v%d", i);
        node(g, "MatMul", from, "w", to);
        memcpy(from, to, sizeof from);
    }
    output(g, from);
    save(s, g, name, 1);
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

void st_finished(serve_exchange *x) {
    st_answer *a = x->transport;
    pthread_mutex_lock(&a->mutex);
    a->finished = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->mutex);
}

void st_send(st_server *s, st_answer *a, const char *method, const char *path, const char *type, const char *length,
             const void *body, size_t size) {
    *a = (st_answer){0};
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->wake, NULL);
    serve_exchange *x = &a->x;
    serve_exchange_init(x, &s->server);
    x->finished = st_finished;
    x->transport = a;
    x->method = method;
    char *query = strchr(path, '?');
    x->path = tn_arena_strndup(&x->arena, path, query ? (size_t)(query - path) : strlen(path));
    x->query = query ? query + 1 : NULL;
    x->headers.content_type = type;
    x->headers.header_length = length;
    serve_add_body(x, body, size, 0);
    serve_dispatch(x);
}

void st_wait(st_answer *a) {
    pthread_mutex_lock(&a->mutex);
    while (!a->finished) pthread_cond_wait(&a->wake, &a->mutex);
    pthread_mutex_unlock(&a->mutex);
}

void st_release(st_answer *a) {
    st_wait(a);
    serve_exchange_release(&a->x);
    pthread_mutex_destroy(&a->mutex);
    pthread_cond_destroy(&a->wake);
}

int st_ask(st_server *s, st_answer *out, const char *method, const char *path, const char *body) {
    st_answer mine, *a = out ? out : &mine;
    st_send(s, a, method, path, NULL, NULL, body ? body : "", body ? strlen(body) : 0);
    st_wait(a);
    int status = a->x.status;
    if (!out) st_release(a);
    return status;
}

void st_expect(st_server *s, int status, const char *part, const char *method, const char *path, const char *body) {
    st_answer a;
    int have = st_ask(s, &a, method, path, body);
    const char *text = a.x.out.len ? a.x.out.data : "";
    if (have != status || !strstr(text, part))
        fail_msg("%s %s %s: %d %s; wanted %d with %s", method, path, body ? body : "", have, text, status, part);
    st_release(&a);
}
