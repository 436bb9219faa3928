#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/row_f32.h"
