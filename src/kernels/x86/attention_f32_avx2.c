#include "kernels/x86/vec_avx2.h"

#include "kernels/template/attention_f32.h"
