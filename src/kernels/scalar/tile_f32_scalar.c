#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/tile_f32.h"
