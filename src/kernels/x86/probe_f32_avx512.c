#include "kernels/x86/vec_avx512.h"

#include "kernels/template/probe_f32.h"
