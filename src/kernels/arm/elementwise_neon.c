/* elementwise.h for NEON: elementwise_tmpl.h with its vectors; kernels_neon.c takes them. */
#include <arm_neon.h>

#include "kernels/arm/kernels_arm.h"

#define VW 4
#define SQRT(v) ((vf)vsqrtq_f32((float32x4_t)(v)))
#define ELEMENTWISE_NAME sol_elementwise_neon

#include "kernels/elementwise_tmpl.h"
