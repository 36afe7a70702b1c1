/* The 5-bit code of a 3:4 block and the canonical packed matrix (also the layout on disk; STQ1_0's codebook).
 *
 * z = zero lane (0..3); s = 1 if the first non-zero lane is -1; a = 1 if the second non-zero differs in sign from the first;
 * b = 1 if the third does. slot = 4 z + a + 2 b (4 bits), sign bit = s. Code = s << 4 | slot. Every one of the 32 codes is a
 * valid block, so that no byte sequence decodes to anything but one zero in four.
 *
 * Packed row of `cols` weights = cols/4 blocks: block g has its slot in nibble g (low nibble first) and its sign in bit g % 8
 * of byte g / 8. A row's codes take cols/8 bytes and its signs cols/32, each rounded up to whole bytes, rows back to back. */
#ifndef SOLERA_QUANT_CODEC_H
#define SOLERA_QUANT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/status.h"
#include "kernels/block.h"
#include "quant/quant.h"

typedef struct sol_packed_mat {
    int64_t rows, cols;
    int64_t group_size; /* weights a scale: cols / groups a row for per-channel and per-group; 0: one scale in all */
    sol_block_layout layout;
    uint8_t *codes;  /* [rows, (cols/4 + 1) / 2] */
    uint8_t *signs;  /* [rows, (cols/4 + 7) / 8] */
    sol_f16 *scales; /* [rows, cols / group_size], or [1] */
} sol_packed_mat;

size_t sol_packed_code_bytes(int64_t rows, int64_t cols);
size_t sol_packed_sign_bytes(int64_t rows, int64_t cols);
int64_t sol_packed_scale_count(const sol_packed_mat *m);

/* Allocates the three arrays for m->rows, cols, group_size; sol_packed_free releases them. */
sol_status sol_packed_alloc(sol_packed_mat *m, sol_err *err);
void sol_packed_free(sol_packed_mat *m);

/* Code (0..31) of four ternary weights with exactly one zero; -1 otherwise. */
int sol_code_encode(const int8_t t[4]);
void sol_code_decode(int code, int8_t t[4]);

/* Shape, group and layout of such a matrix, with nothing allocated. name: for errors. Not packable: as below. */
sol_status sol_packed_shape(const sol_quant_spec *spec, const char *name, int64_t rows, int64_t cols, sol_packed_mat *m, sol_err *err);

/* Packs Q(w) of a packable spec: bit for bit what sol_quant_effective gives at mix {1, 0}. Scales are packed as fp16, also
 * when the spec trains with fp32 ones (then the packed scale is the rounded one). *m is allocated here and owned by the caller. Not packable:
 * SOL_ERR_UNSUPPORTED with the way out; a scale that is infinite or NaN: SOL_ERR_NONFINITE. */
sol_status sol_packed_from_weights(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows,
                                   int64_t cols, sol_packed_mat *m, sol_err *err);

/* Row r decoded to T * alpha, cols floats; a zero is +0. Any bytes decode to something. */
void sol_packed_decode_row(const sol_packed_mat *m, int64_t r, float *w);

/* Bits a weight, scales included. */
double sol_packed_bits(const sol_packed_mat *m);

#endif
