/* What the two ops of fake quantization share: W_eff = a Q(W) + b W. op_fake_quant.c has the
 * straight-through methods, op_fake_quant_own.c those with a backward of their own. Internal to
 * autograd. */
#ifndef SOLERA_AUTOGRAD_FAKE_QUANT_H
#define SOLERA_AUTOGRAD_FAKE_QUANT_H

#include "autograd/ops.h"

/* The inputs: W [rows, cols] f32 or bf16, then the learned parameters of the method, [scale count,
 * 1] each. The outputs: W_eff of the shape of W in attr.out; the bias [1, rows] of a method that
 * makes one. */
enum { SOL_FAKE_QUANT_W, SOL_FAKE_QUANT_LEARNED };
enum { SOL_FAKE_QUANT_W_EFF, SOL_FAKE_QUANT_BIAS };

typedef struct sol_fake_quant_attr {
    sol_quant_spec spec;
    const sol_quant_mix *mix;
    sol_dtype out;
} sol_fake_quant_attr;

_Static_assert(sizeof(sol_fake_quant_attr) <= SOL_OP_MAX_ATTR, "the attributes must fit a node");

/* Checks W, sets the shapes of the outputs. */
sol_status sol_fake_quant_shapes(sol_op_call *c, sol_err *err);
/* Bytes of workspace: W in fp32 where it is held in bf16. */
size_t sol_fake_quant_workspace(const sol_op_call *c, bool backward);
/* W in fp32 (cast into the workspace where it is not) with the learned parameters of the call. */
sol_quant_matrix sol_fake_quant_matrix(const sol_op_call *c);
/* Sets the outputs. */
void sol_fake_quant_forward(const sol_op_call *c);

#endif
