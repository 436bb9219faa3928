/* Loads a model and runs it on zeros: run_model net.onnx. Free dimensions are 1. */
#include <stdio.h>
#include <tern/tern.h>

int main(int argc, char **argv) {
    tern_error err;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_tensor *x = NULL, *y = NULL;
    tern_value_info in, out;
    if (argc != 2) return fprintf(stderr, "usage: run_model MODEL\n"), 2;
    if (tern_model_load(&model, argv[1], NULL, &err) != TERN_OK) goto fail;
    if (tern_session_create(&session, model, NULL, &err) != TERN_OK) goto fail;
    if (tern_model_input(model, 0, &in, &err) != TERN_OK) goto fail;
    if (tern_model_output(model, 0, &out, &err) != TERN_OK) goto fail;
    for (int i = 0; i < in.rank; i++) in.dims[i] = in.dims[i] < 0 ? 1 : in.dims[i];
    if (tern_tensor_create(&x, in.dtype, in.rank, in.dims, &err) != TERN_OK) goto fail;
    if (tern_session_run(session, &(tern_feed){in.name, x}, 1, &out.name, &y, 1, &err) != TERN_OK) goto fail;
    printf("%s: %s of %lld elements\n", out.name, tern_dtype_name(tern_tensor_dtype(y)),
           (long long)tern_tensor_count(y));
    if (tern_tensor_dtype(y) == TERN_FLOAT && tern_tensor_count(y) > 0)
        printf("first element: %g\n", (double)((const float *)tern_tensor_const_data(y))[0]);
    tern_tensor_free(y), tern_tensor_free(x), tern_session_free(session), tern_model_free(model);
    return 0;
fail:
    fprintf(stderr, "run_model: %s\n", err.text);
    tern_tensor_free(x), tern_session_free(session), tern_model_free(model);
    return 1;
}
