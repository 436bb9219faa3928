#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/act_f32.h"
