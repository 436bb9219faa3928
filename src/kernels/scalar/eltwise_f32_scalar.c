#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/eltwise_f32.h"
