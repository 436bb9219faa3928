#include "kernels/x86/q8dot_avx2.h"

#include "kernels/template/q8_tile.h"
