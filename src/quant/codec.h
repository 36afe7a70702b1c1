/* The 5-bit code of a 3:4 block and the canonical packed matrix (also the layout on disk; STQ1_0's
 * codebook).
 *
 *     sol_stored m;
 *     st = sol_packed_from_weights(ctx, &spec, w, rows, cols, &m, err);
 *     if (st != SOL_OK) return st;
 *     for (int64_t r = 0; r < rows; r++)
 *         sol_packed_decode_row(&m, r, w_eff + r * cols);
 *     sol_stored_free(&m);
 *
 * kernels/codebook.h says what the bits of a code mean. Every one of the 32 codes is a valid block,
 * so that no byte sequence decodes to anything but one zero in four.
 *
 * A packed matrix is a sol_stored of type SOL_TERNARY (kernels/stored.h). A packed row of `cols`
 * weights has cols/4 blocks: block g has its slot in nibble g (low nibble first) and its sign in
 * bit g % 8 of byte g / 8. A row's codes take cols/8 bytes and its signs cols/32, each rounded up
 * to whole bytes, rows back to back. */
#ifndef SOLERA_QUANT_CODEC_H
#define SOLERA_QUANT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/status.h"
#include "kernels/stored.h"
#include "quant/quant.h"

size_t sol_packed_code_bytes(int64_t rows, int64_t cols); /* of m->data */
size_t sol_packed_sign_bytes(int64_t rows, int64_t cols); /* of m->signs */
int64_t sol_packed_scale_count(const sol_stored *m);      /* fp16 numbers in m->scales */

/* Makes m SOL_TERNARY and allocates its data, signs and scales, zeroed, for m->rows, cols,
 * group_size and layout. SOL_ERR_SHAPE: a width that is no multiple of 4 (64 for stride16) or that
 * group_size does not divide. sol_stored_free releases them. */
sol_status sol_packed_alloc(sol_stored *m, sol_err *err);

/* The code, 0 to 31, of four levels of which exactly one is 0; -1 for any others. */
int sol_code_encode(const int8_t t[4]);

/* Sets shape, group size and layout of the matrix that sol_packed_from_weights would make;
 * allocates nothing. name: of the parameter, for errors. SOL_ERR_UNSUPPORTED as there,
 * SOL_ERR_SHAPE as sol_packed_alloc. */
sol_status sol_packed_shape(const sol_quant_spec *spec, const char *name, int64_t rows,
                            int64_t cols, sol_stored *m, sol_err *err);

/* Packs Q(w) of w[rows, cols]: bit for bit what sol_quant_effective computes at mix {1, 0} with
 * fp16 scales. Scales of a spec that trains in fp32 are rounded. *m is allocated and owned by the
 * caller (sol_stored_free). SOL_ERR_UNSUPPORTED: the method is not 3:4 sparse; the text says what
 * would help. SOL_ERR_NONFINITE: a scale is infinite or NaN in fp16. */
sol_status sol_packed_from_weights(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                                   int64_t rows, int64_t cols, sol_stored *m, sol_err *err);

/* out[rows, cols] = what a packed file holds of w as a matrix of `type`: TERNARY by spec, any other
 * one by sol_stored_round. out must not overlap w. name: of the parameter, for errors, those of
 * sol_packed_shape. */
sol_status sol_packed_round(const sol_ctx *ctx, const sol_quant_spec *spec, sol_dtype type,
                            const char *name, const float *w, int64_t rows, int64_t cols,
                            float *out, sol_err *err);

/* w[cols] = T alpha of row r, 0 <= r < rows; zeros are +0. Every byte sequence decodes to valid
 * levels. */
void sol_packed_decode_row(const sol_stored *m, int64_t r, float *w);

/* Bits a weight of codes, signs and scales together. */
double sol_packed_bits(const sol_stored *m);

#endif
