/* All kernels of one level: level_*.c say LEVEL and TABLE, and for what processor. */
#include "vec.h"
#include "gemm.h"
#include "rows.h"
#include "attention.h"
#include "draw.h"

const Kernels TABLE = {LEVEL_NAME, gemm, norm, embed, turn, attend, attend_scratch, draw};
