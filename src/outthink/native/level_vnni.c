/* Products of bytes for processors with AVX512 and VNNI; the rest of the level is in level_avx512.c. */
#include "native.h"
#ifdef HAVE_X86_LEVELS
#include <immintrin.h>
#include <math.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")
#endif
#pragma GCC diagnostic ignored "-Wunused-function" /* of gemm.h, whose put() is wanted alone */
#define LEVEL 2
#define VNNI
#include "vec.h"
#include "gemm.h"
#include "gemm8.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
