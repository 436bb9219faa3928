#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/layout_f32.h"
