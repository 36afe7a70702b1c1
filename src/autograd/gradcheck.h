/* Checks an op against all that its descriptor says (autograd/op.h).
 *
 *     double worst;
 *     st = sol_gradcheck(ctx, &sol_op_linear, 2e-3, &worst, err);
 *
 * For random weights r of the outputs, f(x) = sum r * forward(x) in double. Each element of a float
 * input gets (f(x + h) - f(x - h)) / 2h, which must equal what backward computes to `tolerance`,
 * relative to the largest gradient of that input. An op with a surrogate has that in place of
 * forward. Then backward runs again under each promise, one at a time, and must give the same
 * gradient: adding to it, scaled, in bf16, over the data, alone of all inputs, and so on. Before
 * every call, memory that the op does not declare to read is overwritten; after it, memory that the
 * op has no business to write must be as before. */
#ifndef SOLERA_AUTOGRAD_GRADCHECK_H
#define SOLERA_AUTOGRAD_GRADCHECK_H

#include "autograd/op.h"

/* Runs all cases of the op. *worst: the largest relative difference to a central difference.
 * SOL_ERR_RANGE: the first promise that is not kept, and where. SOL_ERR_UNSUPPORTED: the op has no
 * case. */
sol_status sol_gradcheck(const sol_ctx *ctx, const sol_op *op, double tolerance, double *worst,
                         sol_err *err);

#endif
