#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/dwconv_f32.h"
