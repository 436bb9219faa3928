#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/attention_f32.h"
