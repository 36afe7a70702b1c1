/* The list of ops, from ops.def. */
#include "autograd/op.h"

static const sol_op *const ops[] = {
#define SOL_OP(name) &sol_op_##name,
#include "autograd/ops.def"
#undef SOL_OP
};

int sol_op_count(void)
{
    return (int)(sizeof ops / sizeof ops[0]);
}

const sol_op *sol_op_at(int i)
{
    return ops[i];
}
