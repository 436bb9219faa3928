#include "kernels/x86/q8vec_avx512.h"

#include "kernels/template/q8_eltwise.h"
