/* The one product of inference: activations by a matrix of a layer or of the head, in whichever
 * form its weights are held. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "infer/net.h"

/* One tile of a dense product: the weights of OUT_TILE outputs stay in the cache while ROW_TILE rows pass. */
enum { OUT_TILE = 64, ROW_TILE = 64 };

typedef struct dense_args {
    const net_matrix *m;
    sol_dot_fn dot;
    const float *x;
    float *y;
    int64_t n, out_tiles;
} dense_args;

static void dense_tile(void *arg, int64_t tile, int thread)
{
    const dense_args *a = arg;
    const net_matrix *m = a->m;
    int64_t row = tile / a->out_tiles * ROW_TILE, rows = sol_min_i64(a->n - row, ROW_TILE);
    int64_t t = tile % a->out_tiles, first = 0;
    (void)thread;
    for (int p = 0; p < m->n_parts; first += m->part_rows[p++]) {
        int64_t tiles = sol_ceil_div(m->part_rows[p], OUT_TILE);
        if (t >= tiles) {
            t -= tiles;
            continue;
        }
        int64_t o = t * OUT_TILE, outs = sol_min_i64(m->part_rows[p] - o, OUT_TILE);
        const char *w = (const char *)m->part[p] + (size_t)(o * m->cols) * sol_dtype_size(m->type);
        a->dot(w, m->cols, outs, a->x + row * m->cols, m->cols, rows, m->cols, a->y + row * m->rows + first + o, m->rows);
        return;
    }
}

static void float_product(const sol_net *net, const net_matrix *m, const float *x, int64_t n, float *y)
{
    const sol_float_ops *f = &net->ctx->k.f;
    dense_args a = {.m = m, .dot = m->type == SOL_F32 ? f->dot_f32 : f->dot_bf16, .x = x, .y = y, .n = n};
    for (int p = 0; p < m->n_parts; p++) a.out_tiles += sol_ceil_div(m->part_rows[p], OUT_TILE);
    sol_pool_run(net->ctx->pool, a.out_tiles * sol_ceil_div(n, ROW_TILE), dense_tile, &a);
}

/* Part by part, each into its columns of y. */
static void piecewise_product(const sol_net *net, const net_matrix *m, const float *x, int64_t n,
                              float *y)
{
    float *part = net->scratch.part;
    int64_t at = 0;
    for (int p = 0; p < m->n_parts; at += m->piece[p++].rows) {
        int64_t rows = m->piece[p].rows;
        net_matmul(net, &m->piece[p], x, n, part);
        for (int64_t r = 0; r < n; r++)
            memcpy(y + r * m->rows + at, part + r * rows, (size_t)rows * sizeof *y);
    }
}

void net_matmul(const sol_net *net, const net_matrix *m, const float *x, int64_t n, float *y)
{
    if (m->piece)
        piecewise_product(net, m, x, n, y);
    else if (m->ternary)
        sol_ternary_matmul(net->ctx, m->ternary, net->act, x, n, y, net->scratch.kernel);
    else if (m->dense)
        sol_dense_matmul(net->ctx, m->dense, net->act, x, n, y, net->scratch.kernel);
    else
        float_product(net, m, x, n, y);
    if (m->bias)
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < m->rows; i++) y[r * m->rows + i] += m->bias[i];
}

void net_matrix_row(const net_matrix *m, int64_t r, float *w)
{
    if (m->dense)
        sol_dense_row(m->dense, r, w);
    else
        sol_convert(w, SOL_F32, (const char *)m->part[0] + (size_t)(r * m->cols) * sol_dtype_size(m->type), m->type, m->cols);
}

size_t net_matrix_scratch(const sol_net *net, const net_matrix *m, int64_t n)
{
    size_t most = 0;
    for (int p = 0; m->piece && p < m->n_parts; p++) {
        size_t bytes = net_matrix_scratch(net, &m->piece[p], n);
        if (bytes > most) most = bytes;
    }
    if (m->piece) return most;
    if (m->ternary) return sol_ternary_scratch_bytes(net->ctx, m->ternary, n);
    return m->dense ? sol_dense_scratch_bytes(net->ctx, m->dense, n) : 0;
}

int64_t net_matrix_part_rows(const net_matrix *m)
{
    int64_t most = 0;
    for (int p = 0; m->piece && p < m->n_parts; p++) most = sol_max_i64(most, m->piece[p].rows);
    return most;
}

size_t net_matrix_bytes(const net_matrix *m)
{
    size_t sum = 0;
    for (int p = 0; m->piece && p < m->n_parts; p++) sum += net_matrix_bytes(&m->piece[p]);
    if (m->piece) return sum;
    if (m->ternary) return sol_ternary_bytes(m->ternary);
    return m->dense ? sol_dense_bytes(m->dense) : (size_t)(m->rows * m->cols) * sol_dtype_size(m->type);
}

void net_matrix_free(net_matrix *m)
{
    for (int p = 0; m->piece && p < m->n_parts; p++) net_matrix_free(&m->piece[p]);
    sol_free(m->piece);
    m->piece = NULL;
    if (m->ternary) sol_ternary_free(&m->ternary);
    if (m->dense) sol_dense_free(&m->dense);
}
