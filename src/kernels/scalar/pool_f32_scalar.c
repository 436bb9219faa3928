#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/pool_f32.h"
