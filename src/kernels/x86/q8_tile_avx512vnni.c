#include "kernels/x86/q8dot_avx512vnni.h"

#include "kernels/template/q8_tile.h"
