#include "kernels/scalar/bf16vec_scalar.h"

#include "kernels/template/bf16_pool.h"
