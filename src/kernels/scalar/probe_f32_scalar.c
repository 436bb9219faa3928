#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/probe_f32.h"
