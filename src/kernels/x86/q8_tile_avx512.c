#include "kernels/x86/q8dot_avx512.h"

#include "kernels/template/q8_tile.h"
