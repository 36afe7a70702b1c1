/* Element types: of tensors, of files, of matrices. One table of their traits serves all of them;
 * the kernels of a type stand in the table of kernels under the same constant (kernels.h).
 *
 *     size_t bytes = (size_t)rows * sol_dtype_row_bytes(SOL_Q6, cols);
 *     sol_convert(half, SOL_BF16, x, SOL_F32, n);
 *
 * Numbers: F32, F16, BF16 and the integers from I32 on, one after another.
 *
 * Scaled integers w = scale * q with a scale in fp16, which may be negative. Q8, Q6, Q4: a scale
 * for 32 columns of a row (the last block of a row may be shorter), q in -127..127, -32..31, -8..7.
 * A row of Q8 is cols bytes. Q4: q + 8, four bits each, low nibble first. Q6: q + 32, its low four
 * bits as in Q4, then, behind all of these, its upper two bits, lowest pair first.
 *
 * TERNARY: 3:4 blocks of levels -1, 0, 1 (codebook.h) with a scale for a group of columns, a row or
 * a matrix. A row of data has the slots, four bits each, low nibble first; signs are an array of
 * their own: bit g % 8 of byte g / 8. 1.25 bits a weight. */
#ifndef SOLERA_KERNELS_DTYPE_H
#define SOLERA_KERNELS_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"

typedef enum sol_dtype {
    SOL_F32,
    SOL_F16,
    SOL_BF16,
    SOL_Q8,
    SOL_Q6,
    SOL_Q4,
    SOL_TERNARY,
    SOL_I32,
    SOL_U32,
    SOL_U16,
    SOL_U8,
    SOL_I8,
    SOL_DTYPES
} sol_dtype;

/* Columns that share a scale in Q8, Q6 and Q4; most columns of an exact integer sum in TERNARY. */
enum { SOL_SCALE_BLOCK = 32, SOL_TERNARY_BLOCK = 128 };

typedef struct sol_dtype_traits {
    const char *name;    /* "f32", "bf16", "q8", ... */
    int bits, more_bits; /* that four elements take in the first and in the second run of a row */
    int block;           /* columns that share a scale; 0: no scales, or as the matrix says */
    int segment;         /* most columns whose integer products are summed exactly; 0: floats */
    int low, high;       /* range of q */
    int zero;            /* what q = 0 is stored as */
    int trials;          /* scales that rounding to this type tries for a block */
    float max;           /* largest magnitude that it holds: of a float after rounding */
    /* Casts of a float type other than F32, n numbers. */
    void (*to_f32)(const void *in, int64_t n, float *out);
    void (*from_f32)(const float *in, int64_t n, void *out);
    /* q of n columns, from where they begin in the two runs of a row; TERNARY: in slots and signs,
     * its levels in the order of blocks. The first column is a multiple of SOL_SCALE_BLOCK. */
    void (*integers)(const uint8_t *first, const uint8_t *second, int64_t n, int8_t *q);
} sol_dtype_traits;

const sol_dtype_traits *sol_dtype_of(sol_dtype t); /* static storage */
const char *sol_dtype_name(sol_dtype t);           /* static storage */
size_t sol_dtype_size(sol_dtype t);                /* bytes of a number */

size_t sol_dtype_row_bytes(sol_dtype t, int64_t cols);   /* of data */
int64_t sol_dtype_row_scales(sol_dtype t, int64_t cols); /* of Q8, Q6, Q4; 0 for numbers */

/* Casts n numbers between float types (F32, F16, BF16), rounding to nearest even; a magnitude above
 * sol_dtype_max becomes infinity. dst and src must not overlap. */
void sol_convert(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type, int64_t n);

/* The largest magnitude that a type holds: of a float type after rounding, not as infinity; of a
 * type with scales the largest integer times the largest scale. */
float sol_dtype_max(sol_dtype t);
/* Index of the first of n numbers that is NaN or whose magnitude is above `max`; -1: none. Writers
 * of model files ask it and return SOL_ERR_NONFINITE, so that a file never holds what is not a
 * number. */
int64_t sol_first_beyond(const float *x, int64_t n, float max);

#endif
