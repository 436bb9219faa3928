#include "kernels/x86/q8dot_avxvnni.h"

#include "kernels/template/q8_tile.h"
