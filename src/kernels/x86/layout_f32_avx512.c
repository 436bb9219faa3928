#include "kernels/x86/vec_avx512.h"

#include "kernels/template/layout_f32.h"
