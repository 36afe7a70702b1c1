/* bf16.h for AVX2. */
#define BF16_OPS_NAME sol_bf16_ops_avx2
#define BF16_TIER "avx2"
#include "kernels/bf16_impl.h"
