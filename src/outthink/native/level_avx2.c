/* Kernels for processors with AVX2; used only where the processor says that it has it. */
#include "native.h"
#ifdef HAVE_X86_LEVELS
#include <immintrin.h>
#include <math.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LEVEL 1
#define LEVEL_NAME "avx2"
#define TABLE kernels_avx2
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
