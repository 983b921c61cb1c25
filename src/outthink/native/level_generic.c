/* Kernels for any processor: vectors of four floats, whatever the compiler makes of them. */
#include "native.h"
#define LEVEL 0
#define LEVEL_NAME "generic"
#define TABLE kernels_generic
#include "kernels.h"
