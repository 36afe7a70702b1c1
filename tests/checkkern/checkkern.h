/* checkkern: every kernel with every set of features that this processor has, against what the
 * headers say computed the slow way, on random and edge data, with operands against guard pages. A
 * program of its own, without libraries, so that it also runs cross-built.
 *
 *     checkkern            all checks; exit 1 when one fails
 *     checkkern --bench    speed with every set: GB/s read, weights a ns, cycles a weight */
#ifndef SOLERA_TESTS_CHECKKERN_H
#define SOLERA_TESTS_CHECKKERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "kernels/ctx.h"
#include "kernels/matrix.h"

/* Ends the check at hand as failed. */
void fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));
#define REQUIRE(condition, ...) \
    do { \
        if (!(condition)) fail(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)
#define REQUIRE_OK(call) \
    do { \
        sol_err call_err = {0}, *err = &call_err; \
        sol_status call_status = (call); \
        REQUIRE(call_status == SOL_OK, "%s: %s", #call, call_err.text); \
        (void)err; \
    } while (0)

/* `bytes` bytes that end at a page no one may touch (at_end) or begin behind one. */
typedef struct guarded {
    uint8_t *map;
    size_t map_bytes;
    void *p;
} guarded;
guarded guard(size_t bytes, bool at_end);
void unguard(guarded *g);

/* Zeroed, 64-byte aligned; ends the check when there is none. Released with sol_free. */
void *get(size_t count, size_t size);

typedef enum { NORMAL, ZERO, HUGE_BESIDE_TINY, DENORMAL, TIES, EXTREME, NOT_FINITE, N_KINDS } kind;
void fill(float *x, int64_t n, kind k, sol_rng *rng);

/* Equal bits, or both not a number. */
bool same_bits(float a, float b);

/* Rounds the activation block [first, end) to q as matrix.h says; returns d. */
float round_block(const float *x, int64_t first, int64_t end, int *q);

/* A context for each set of features of this processor (sol_cpu_next), C first:
 *
 *     for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx)) { ... }
 *
 * next_context releases the one before and returns NULL after the last. */
sol_ctx *first_context(int threads);
sol_ctx *next_context(sol_ctx *ctx);
const char *label(const sol_ctx *ctx); /* "avx2 avx512 vnni"; overwritten by the next call */

/* A random packed matrix; its arrays lie against guard pages. */
typedef struct matrix {
    int64_t rows, cols, group; /* group 0: one scale */
    sol_block_layout layout;
    guarded codes, signs, scales;
} matrix;
matrix random_matrix(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout,
                     bool at_end, sol_rng *rng);
void free_matrix(matrix *m);
sol_stored part_of(const matrix *m); /* borrows its arrays */
sol_matrix *prepare(const sol_ctx *ctx, const matrix *m, int n_parts);

void check_acts(void);
void check_ternary_shapes(void);
void check_ternary_groups(void);
void check_ternary_stride16(void);
void check_ternary_edge_data(void);
void check_ternary_batches(void);
void check_ternary_refusals(void);
void check_dense_shapes(void);
void check_dense_edges(void);
void check_dense_weight(void);
void check_matrix_parts(void);
void check_matrix_forms(void);
void check_bf16_packing(void);
void check_bf16_tiles(void);
void bench(void);

#endif
