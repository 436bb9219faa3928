#include "kernels/x86/vec_avx2.h"

#include "kernels/template/pool_f32.h"
