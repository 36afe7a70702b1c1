/* The windows that are calibrated on, as hidden states. Internal to calib. */
#ifndef SOLERA_CALIB_DRAW_H
#define SOLERA_CALIB_DRAW_H

#include "calib/calib.h"

/* Draws o->windows + o->held_out windows, those that a job with this seed sees first, in its order:
 * n = their tokens. ids [2 n]: the tokens, then those that follow each. doc_start [n]. x [n, C]:
 * the rows of m's embedding for the tokens. SOL_ERR_RANGE: there are not so many windows;
 * SOL_ERR_FORMAT: a token outside the vocabulary. */
sol_status sol_calib_draw(const sol_mixture *data, const sol_calib_opts *o, const sol_model *m,
                          int32_t *ids, int32_t *doc_start, float *x, sol_err *err);

#endif
