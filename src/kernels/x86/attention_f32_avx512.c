#include "kernels/x86/vec_avx512.h"

#include "kernels/template/attention_f32.h"
