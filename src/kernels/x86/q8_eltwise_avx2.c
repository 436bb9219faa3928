#include "kernels/x86/q8vec_avx2.h"

#include "kernels/template/q8_eltwise.h"
