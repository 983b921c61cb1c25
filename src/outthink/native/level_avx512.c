/* Kernels for processors with AVX512; used only where the processor says that it has it. */
#include "native.h"
#ifdef HAVE_X86_LEVELS
#include <immintrin.h>
#include <math.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#define LEVEL 2
#define LEVEL_NAME "avx512"
#define TABLE kernels_avx512
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
