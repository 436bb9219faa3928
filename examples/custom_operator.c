/* An operator of your own, com.example:Clamp01, in a graph that is built here. Prints "0 0.5 1". */
#include <stdio.h>
#include <tern/tern.h>

static tern_status infer(tern_op_context *c, void *user_data) {
    (void)user_data;
    return tern_op_output_like(c, 0, 0);
}

static tern_status compute(tern_op_context *c, void *user_data) {
    (void)user_data;
    const tern_tensor *x = tern_op_input(c, 0);
    tern_tensor *y;
    tern_status status = tern_op_output(c, 0, tern_tensor_rank(x), tern_tensor_dims(x), &y);
    if (status != TERN_OK || !y) return status;
    const float *from = tern_tensor_const_data(x);
    float *to = tern_tensor_data(y);
    for (int64_t i = 0; i < tern_tensor_count(x); i++) to[i] = from[i] < 0 ? 0 : from[i] > 1 ? 1 : from[i];
    return TERN_OK;
}

int main(void) {
    const tern_op_param in = {.name = "X", .types = TERN_TYPE(FLOAT)}, out = {.name = "Y", .types = TERN_TYPE(FLOAT)};
    const tern_op clamp = {.domain = "com.example",
                           .name = "Clamp01",
                           .inputs = &in,
                           .n_inputs = 1,
                           .outputs = &out,
                           .n_outputs = 1,
                           .infer = infer,
                           .compute = compute};
    const tern_value_info x = {.name = "x", .dtype = TERN_FLOAT, .rank = 1, .dims = {3}}, y = {.name = "y", .rank = -1};
    const tern_node_info node = {.domain = "com.example",
                                 .op_type = "Clamp01",
                                 .inputs = &x.name,
                                 .n_inputs = 1,
                                 .outputs = &y.name,
                                 .n_outputs = 1};
    float values[] = {-2, 0.5f, 7};
    tern_error err;
    tern_graph *graph = NULL;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_tensor *input = NULL, *result = NULL;
    int failed = tern_op_register(&clamp, &err) || tern_graph_create(&graph, "clamp", 20, &err) ||
                 tern_graph_import(graph, "com.example", 1, &err) || tern_graph_input(graph, &x, &err) ||
                 tern_graph_node(graph, &node, &err) || tern_graph_output(graph, &y, &err) ||
                 tern_graph_finish(graph, &model, &err) || tern_session_create(&session, model, NULL, &err) ||
                 tern_tensor_borrow(&input, TERN_FLOAT, 1, x.dims, values, sizeof values, &err) ||
                 tern_session_run(session, &(tern_feed){"x", input}, 1, NULL, &result, 1, &err);
    if (failed) {
        fprintf(stderr, "custom_operator: %s\n", err.text);
    } else {
        const float *r = tern_tensor_const_data(result);
        printf("%g %g %g\n", (double)r[0], (double)r[1], (double)r[2]);
    }
    tern_tensor_free(result), tern_tensor_free(input), tern_session_free(session);
    tern_model_free(model), tern_graph_free(graph);
    return failed;
}
