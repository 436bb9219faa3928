/* Two 1x1 convolutions become one where that is less work, and only there. */
#include "fuse_test.h"

typedef struct pair_case {
    int64_t ic, mid, oc, stride, later_stride;
    bool bias, other_reader, act, residual;
    int convs; /* that are left */
} pair_case;

/* A 1x1 convolution, with a bias if wanted. */
static void add_pointwise(mb *b, const char *in, const char *out, int64_t ic, int64_t oc, int64_t stride, bool bias) {
    tn_node *n = add_conv(b, in, out, ic, oc, 1, stride);
    if (!bias) return;
    char name[80];
    snprintf(name, sizeof name, "b_%s", out);
    mb_random(b, name, 1, &oc);
    tn_value **list = tn_arena_array(&b->model->arena, 3, sizeof *list);
    memcpy(list, n->in, 2 * sizeof *list);
    list[2] = mb_value(b, name);
    n->in = list;
    n->n_in = 3;
}

static void check_pair(const pair_case *p) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, p->ic, 9, 7));
    add_pointwise(&b, "x", "c", p->ic, p->mid, p->stride, p->bias);
    if (p->act) mb_node(&b, "Relu", "c", "r");
    if (p->residual) mb_node(&b, "Add", "c x", "r");
    add_pointwise(&b, p->act || p->residual ? "r" : "c", "e", p->mid, p->oc, p->later_stride, p->bias);
    if (p->other_reader)
        mb_int(mb_node(&b, "Concat", "e c", "y"), "axis", 1);
    else
        mb_node(&b, "Relu", "e", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(2, p->ic, 9, 7), (double)(p->ic * p->mid + p->mid), 1);
    if (count_ops(s, "Conv") != p->convs)
        fail_msg("%d -> %d -> %d: %d convolutions", (int)p->ic, (int)p->mid, (int)p->oc, count_ops(s, "Conv"));
    tern_session_free(s);
    tern_model_free(m);
}

static void test_two_pointwise(void **state) {
    (void)state;
    static const pair_case cases[] = {
        {16, 8, 24, 1, 1, false, false, false, false, 1}, {16, 8, 24, 1, 2, true, false, false, false, 1},
        {19, 40, 21, 1, 1, true, false, false, false, 1}, {64, 16, 96, 1, 1, true, false, false, false, 2},
        {16, 8, 24, 2, 1, true, false, false, false, 2},  {16, 8, 24, 1, 1, true, true, false, false, 2},
        {16, 8, 24, 1, 1, true, false, true, false, 2},   {16, 16, 24, 1, 1, true, false, false, true, 2}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) check_pair(&cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_pointwise)};
    return cmocka_run_group_tests_name("pointwise", tests, NULL, NULL);
}
