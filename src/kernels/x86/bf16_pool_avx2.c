#include "kernels/x86/bf16vec_avx2.h"

#include "kernels/template/bf16_pool.h"
