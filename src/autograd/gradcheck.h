/* Compares an op's backward with central differences of its forward (or of its surrogate).
 *
 * For a random weighting r of the outputs, f(x) = sum r * forward(x) in double, each float input element gets
 * (f(x + h) - f(x - h)) / 2h, which must equal the gradient to `tolerance`, relative to the largest one of that input.
 * Before backward runs, all data it does not declare to read is overwritten with NaN, and setting as well as adding is
 * tested. */
#ifndef SOLERA_AUTOGRAD_GRADCHECK_H
#define SOLERA_AUTOGRAD_GRADCHECK_H

#include "autograd/op.h"

/* Runs all cases of the op. *worst: the largest relative difference seen. SOL_ERR_RANGE names the place. */
sol_status sol_gradcheck(const sol_ctx *ctx, const sol_op *op, double tolerance, double *worst, sol_err *err);

#endif
