/* All kernels of one level: level_*.c say LEVEL and TABLE, and for what processor. */
#include "vec.h"
#include "gemm.h"
#include "gemm8.h"
#include "rows.h"
#include "attention.h"
#include "draw.h"

const Kernels TABLE = {LEVEL_NAME, gemm, whole, gemm8, norm, embed, turn, attend, attend_scratch, draw, likeliest};
