/* How ranks share windows and sums: calib.c and refine.c exchange by it what each has computed. */
#include "calib/share.h"

#include "base/num.h"

enum { ADD_TILE = 1 << 13 };

/* Elements of a rank's share of a sum: equal ones. */
static int64_t piece_of(sol_dist *dist, int64_t n)
{
    return sol_ceil_div(n, sol_dist_size(dist));
}

size_t sol_share_bytes(sol_dist *dist, int64_t n)
{
    int ranks = sol_dist_size(dist);
    return ranks > 1 ? (size_t)(ranks * piece_of(dist, n)) * sizeof(float) : 0;
}

sol_status sol_share_create(sol_share *s, const sol_ctx *ctx, sol_dist *dist, int64_t n,
                            sol_err *err)
{
    size_t ranks = (size_t)sol_dist_size(dist);
    *s = (sol_share){.ctx = ctx, .dist = dist};
    if (ranks == 1) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&s->arrived, sol_share_bytes(dist, n), 1, err));
    SOL_TRY(sol_alloc_array((void **)&s->send, ranks, sizeof *s->send, err));
    SOL_TRY(sol_alloc_array((void **)&s->recv, ranks, sizeof *s->recv, err));
    return sol_alloc_array((void **)&s->range, ranks, sizeof *s->range, err);
}

void sol_share_free(sol_share *s)
{
    sol_free(s->arrived);
    sol_free(s->send);
    sol_free(s->recv);
    sol_free(s->range);
    *s = (sol_share){0};
}

int64_t sol_share_lanes(int64_t chunks)
{
    return sol_min_i64(chunks, SOL_CALIB_LANES);
}

int64_t sol_share_first_chunk(int64_t chunks, int64_t lane)
{
    return sol_ceil_div(lane * chunks, sol_share_lanes(chunks));
}

bool sol_share_mine(const sol_share *s, int64_t i)
{
    return i % sol_dist_size(s->dist) == sol_dist_rank(s->dist);
}

sol_status sol_share_rows(sol_share *s, void *data, int64_t chunks, size_t bytes, size_t all,
                          sol_err *err)
{
    int64_t ranks = sol_dist_size(s->dist), lanes = sol_share_lanes(chunks);
    if (ranks == 1) return SOL_OK;
    for (int64_t first = 0; first < lanes; first += ranks) {
        for (int64_t i = 0; i < ranks; i++) {
            int64_t lane = sol_min_i64(first + i, lanes), next = sol_min_i64(lane + 1, lanes);
            size_t from = (size_t)sol_share_first_chunk(chunks, lane) * bytes,
                   to = (size_t)sol_share_first_chunk(chunks, next) * bytes;
            if (from > all) from = all;
            if (to > all) to = all;
            s->range[i] = (sol_dist_range){from, to - from};
        }
        SOL_TRY(sol_dist_share(s->dist, data, s->range, err));
    }
    return SOL_OK;
}

/* ---- sums ---- */

typedef struct add_args {
    float *sum;
    const float *x;
    int64_t n;
    bool first; /* = in the place of += */
} add_args;

static void add_tile(void *arg, int64_t tile, int thread)
{
    const add_args *a = arg;
    int64_t from = tile * ADD_TILE, to = sol_min_i64(a->n, from + ADD_TILE);
    (void)thread;
    for (int64_t i = from; i < to; i++) a->sum[i] = a->first ? a->x[i] : a->sum[i] + a->x[i];
}

static void add(const sol_share *s, float *sum, const float *x, int64_t n, bool first)
{
    add_args a = {sum, x, n, first};
    sol_pool_run(s->ctx->pool, sol_ceil_div(n, ADD_TILE), add_tile, &a);
}

/* The elements of a sum that rank i adds up. */
static int64_t share_begin(const sol_share *s, int i, int64_t n)
{
    return sol_min_i64(i * piece_of(s->dist, n), n);
}

sol_status sol_share_add(sol_share *s, int64_t first, int64_t terms, const float *x, float *sum,
                         int64_t n, sol_err *err)
{
    int rank = sol_dist_rank(s->dist), ranks = sol_dist_size(s->dist);
    int64_t piece = piece_of(s->dist, n), mine = share_begin(s, rank, n),
            n_mine = share_begin(s, rank + 1, n) - mine;
    if (ranks == 1) {
        add(s, sum, x, n, first == 0);
        return SOL_OK;
    }
    for (int i = 0; i < ranks; i++) {
        int64_t his = share_begin(s, i, n), n_his = share_begin(s, i + 1, n) - his;
        if (first + rank >= terms) n_his = 0;
        s->send[i] = (sol_dist_piece){(float *)(uintptr_t)x + his, (size_t)n_his * sizeof *x};
        s->recv[i] = (sol_dist_piece){s->arrived + i * piece,
                                      first + i < terms ? (size_t)n_mine * sizeof *x : 0};
    }
    SOL_TRY(sol_dist_start(s->dist, s->send, s->recv, err));
    SOL_TRY(sol_dist_wait(s->dist, err));
    for (int i = 0; i < ranks; i++)
        if (first + i < terms) add(s, sum + mine, s->arrived + i * piece, n_mine, first + i == 0);
    return SOL_OK;
}

sol_status sol_share_sum(sol_share *s, float *sum, int64_t n, sol_err *err)
{
    int ranks = sol_dist_size(s->dist);
    if (ranks == 1) return SOL_OK;
    for (int i = 0; i < ranks; i++) {
        int64_t from = share_begin(s, i, n), to = share_begin(s, i + 1, n);
        s->range[i] =
            (sol_dist_range){(size_t)from * sizeof *sum, (size_t)(to - from) * sizeof *sum};
    }
    return sol_dist_share(s->dist, sum, s->range, err);
}

sol_status sol_share_send(sol_share *s, void *data, size_t n, sol_err *err)
{
    return s->dist ? sol_dist_broadcast(s->dist, data, n, err) : SOL_OK;
}

sol_status sol_share_agree(sol_share *s, sol_status st, sol_err *err)
{
    return s->dist ? sol_dist_agree(s->dist, st, err) : st;
}
