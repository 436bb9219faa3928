#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/winograd_f32.h"
