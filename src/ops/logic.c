/* Logic on bools and on bits: And Or Xor, BitwiseAnd BitwiseOr BitwiseXor. */
#include "ops/elementwise.h"

#define LOOP(NAME, T, P, F, ...) TN_LOOP2(NAME, T, T, P, F, __VA_ARGS__)

TN_EACH_BOOL(LOOP, and, a != 0 && b != 0)
TN_EACH_BOOL(LOOP, or, a != 0 || b != 0)
TN_EACH_BOOL(LOOP, xor, (a != 0) != (b != 0))
TN_EACH_INT(LOOP, bitwise_and, a &b)
TN_EACH_INT(LOOP, bitwise_or, a | b)
TN_EACH_INT(LOOP, bitwise_xor, a ^ b)

#define LOGIC(NAME, EACH, TYPES)                                                                               \
    static const tn_loop_fn NAME##_table[TERN_DTYPE_COUNT] = {EACH(TN_LOOP_ENTRY, NAME)};                      \
    static tern_status NAME##_infer(tn_infer *c) { return tn_elementwise_infer(c, TYPES, TERN_UNDEFINED); }    \
    static tern_status NAME##_prepare(tn_prepare *c) { return tn_elementwise_prepare(c, NAME##_table, 0, 0); } \
    const tn_op tn_op_##NAME = TN_ELEMENTWISE_OP(NAME##_infer, NAME##_prepare, 2, 2, TN_OP_INPLACE);

LOGIC(and, TN_EACH_BOOL, TN_T(BOOL))
LOGIC(or, TN_EACH_BOOL, TN_T(BOOL))
LOGIC(xor, TN_EACH_BOOL, TN_T(BOOL))
LOGIC(bitwise_and, TN_EACH_INT, TN_TYPES_INT)
LOGIC(bitwise_or, TN_EACH_INT, TN_TYPES_INT)
LOGIC(bitwise_xor, TN_EACH_INT, TN_TYPES_INT)
