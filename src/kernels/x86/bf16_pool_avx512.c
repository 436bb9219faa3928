#include "kernels/x86/bf16vec_avx512.h"

#include "kernels/template/bf16_pool.h"
