/* bf16.h in plain C. */
#define BF16_OPS_NAME sol_bf16_ops_c
#define BF16_TIER "c"
#include "kernels/bf16_impl.h"
