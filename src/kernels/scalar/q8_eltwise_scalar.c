#include "kernels/scalar/q8vec_scalar.h"

#include "kernels/template/q8_eltwise.h"
