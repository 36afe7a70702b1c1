/* The ternary product above its tiers: checks, packing into tiles, rounding of activations, threads, the float mode. */
#include "kernels/ternary.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/ternary_impl.h"

struct sol_ternary {
    sol_segments seg;
    int64_t rows, n_tiles;
    sol_block_layout layout;
    const sol_ternary_ops *ops;
    size_t tile_bytes;
    uint8_t *tiles; /* [n_tiles, tile_bytes] */
    bool owned;     /* tiles */
};

typedef struct pack_args {
    sol_ternary *t;
    const sol_ternary_part *parts;
    int n_parts;
    const sol_f16 *row_scales; /* [rows] when group_size is 0 */
} pack_args;

static void pack_tile(void *arg, int64_t tile, int thread)
{
    const pack_args *a = arg;
    sol_ternary *t = a->t;
    sol_ternary_source rows = {0};
    size_t code_bytes = (size_t)(t->seg.cols / 4 + 1) / 2, sign_bytes = (size_t)(t->seg.cols / 4 + 7) / 8;
    int64_t first = tile * t->ops->tile_rows, end = sol_min_i64(first + t->ops->tile_rows, t->rows), base = 0;
    (void)thread;
    for (int p = 0; p < a->n_parts; base += a->parts[p].rows, p++) {
        const sol_ternary_part *part = &a->parts[p];
        for (int64_t r = first > base ? first : base; r < sol_min_i64(end, base + part->rows); r++) {
            size_t in_part = (size_t)(r - base);
            rows.codes[rows.n] = part->codes + in_part * code_bytes;
            rows.signs[rows.n] = part->signs + in_part * sign_bytes;
            rows.scales[rows.n++] = a->row_scales ? a->row_scales + r : part->scales + in_part * (size_t)t->seg.n_groups;
        }
    }
    t->ops->pack(&t->seg, &rows, t->tiles + (size_t)tile * t->tile_bytes);
}

static sol_status check_shape(int64_t cols, int64_t group_size, sol_block_layout layout, sol_err *err)
{
    int64_t unit = layout == SOL_LAYOUT_STRIDE16 ? 64 : 4;
    if (cols <= 0 || cols % unit != 0)
        return sol_fail(err, SOL_ERR_RANGE, "ternary matrix: width %lld is not a positive multiple of %lld", (long long)cols,
                        (long long)unit);
    if (group_size < 0 || (group_size > 0 && (group_size % unit != 0 || cols % group_size != 0)))
        return sol_fail(err, SOL_ERR_RANGE, "ternary matrix: group size %lld is not 0 or a multiple of %lld that divides %lld",
                        (long long)group_size, (long long)unit, (long long)cols);
    return SOL_OK;
}

size_t sol_ternary_room(const sol_ctx *ctx, int64_t rows, int64_t cols, int64_t group_size)
{
    const sol_ternary_ops *ops = ctx->k.ternary;
    sol_segments s = sol_segments_make(cols, group_size ? group_size : cols, SOL_TERNARY_BLOCK);
    return (size_t)sol_ceil_div(rows, ops->tile_rows) * ops->tile_bytes(&s);
}

sol_status sol_ternary_prepare(sol_ternary **out, const sol_ctx *ctx, int64_t cols, int64_t group_size, sol_block_layout layout,
                               const sol_ternary_part *parts, int n_parts, void *room, sol_err *err)
{
    sol_ternary *t = NULL;
    sol_f16 *row_scales = NULL;
    int64_t rows = 0;
    *out = NULL;
    sol_status st = check_shape(cols, group_size, layout, err);
    for (int p = 0; st == SOL_OK && p < n_parts; p++) {
        if (parts[p].rows <= 0) st = sol_fail(err, SOL_ERR_RANGE, "ternary matrix: %lld rows", (long long)parts[p].rows);
        rows += parts[p].rows;
    }
    if (st == SOL_OK) st = sol_alloc_array((void **)&t, 1, sizeof *t, err);
    if (st != SOL_OK) goto done;
    t->seg = sol_segments_make(cols, group_size ? group_size : cols, SOL_TERNARY_BLOCK);
    t->rows = rows;
    t->layout = layout;
    t->ops = ctx->k.ternary;
    t->n_tiles = sol_ceil_div(rows, t->ops->tile_rows);
    t->tile_bytes = t->ops->tile_bytes(&t->seg);
    t->tiles = room;
    t->owned = !room;
    if (t->owned) st = sol_alloc_array((void **)&t->tiles, (size_t)t->n_tiles, t->tile_bytes, err);
    if (st == SOL_OK && group_size == 0) st = sol_alloc_array((void **)&row_scales, (size_t)rows, sizeof *row_scales, err);
    if (st != SOL_OK) goto done;
    for (int64_t p = 0, r = 0; row_scales && p < n_parts; p++)
        for (int64_t end = r + parts[p].rows; r < end; r++) row_scales[r] = parts[p].scales[0];
    pack_args args = {.t = t, .parts = parts, .n_parts = n_parts, .row_scales = row_scales};
    sol_pool_run(ctx->pool, t->n_tiles, pack_tile, &args);
    *out = t;
    t = NULL;
done:
    sol_ternary_free(&t);
    sol_free(row_scales);
    return st;
}

void sol_ternary_free(sol_ternary **t)
{
    if (!*t) return;
    if ((*t)->owned) sol_free((*t)->tiles);
    sol_free(*t);
    *t = NULL;
}

int64_t sol_ternary_rows(const sol_ternary *t)
{
    return t->rows;
}

int64_t sol_ternary_cols(const sol_ternary *t)
{
    return t->seg.cols;
}

size_t sol_ternary_bytes(const sol_ternary *t)
{
    return (size_t)t->n_tiles * t->tile_bytes;
}

/* Float mode, scratch of a thread: a row as codes, as floats, and its scales. */
static size_t float_thread_bytes(const sol_segments *s)
{
    return (size_t)(s->cols_pad + 4 * s->cols_pad + sol_round_up(2 * s->n_groups, 64));
}

/* Where everything lies in the caller's scratch. */
typedef struct scratch_plan {
    size_t q, d, nsum, x, threads, per_thread, total;
} scratch_plan;

static scratch_plan plan_scratch(const sol_ctx *ctx, const sol_ternary *t, int64_t n)
{
    const sol_segments *s = &t->seg;
    scratch_plan p = {0};
    size_t tokens = (size_t)sol_min_i64(n, t->ops->max_tokens), sums = (size_t)sol_round_up(4 * s->n_segs, 64);
    size_t a = t->ops->thread_bytes(s), b = float_thread_bytes(s);
    p.d = p.q + (size_t)sol_round_up((int64_t)tokens, 16) * (size_t)s->q_stride; /* tiles of 16 tokens may read, not use, more */
    p.nsum = p.d + tokens * sums;
    p.x = p.nsum + tokens * sums;
    p.threads = p.x + (t->layout == SOL_LAYOUT_STRIDE16 ? tokens * 4 * (size_t)s->cols_pad : 0);
    p.per_thread = 64 + (size_t)sol_round_up((int64_t)(a > b ? a : b), 64);
    p.total = p.threads + (size_t)sol_pool_threads(ctx->pool) * p.per_thread;
    return p;
}

size_t sol_ternary_scratch_bytes(const sol_ctx *ctx, const sol_ternary *t, int64_t n_tokens)
{
    return plan_scratch(ctx, t, n_tokens).total;
}

typedef struct product {
    const sol_ctx *ctx;
    const sol_ternary *t;
    const float *x; /* [n, cols]; block order once permuted is set */
    float *permuted;
    sol_acts acts;
    sol_ternary_job job;
    bool round; /* to int8 */
    uint8_t *threads;
    size_t per_thread;
    int64_t tiles_a_run;
} product;

/* One token into block order and, for int8, into rounded form. */
static void prepare_token(void *arg, int64_t i, int thread)
{
    const product *p = arg;
    const sol_segments *s = &p->t->seg;
    const float *x = p->x + i * s->cols;
    (void)thread;
    if (p->permuted) {
        float *to = p->permuted + i * s->cols;
        for (int64_t chunk = 0; chunk < s->cols; chunk += 64)
            for (int64_t g = 0; g < 16; g++)
                for (int64_t lane = 0; lane < 4; lane++) to[chunk + 4 * g + lane] = x[chunk + g + 16 * lane];
        x = to;
    }
    if (p->round)
        p->ctx->k.act_quantize(s, x, p->acts.q + i * s->q_stride, p->acts.d + i * s->n_segs, p->acts.nsum + i * s->n_segs);
}

/* The 16 partial sums of the header, folded. */
static float dot_16_lanes(const float *w, const float *x, int64_t n)
{
    float lane[16] = {0};
    int64_t c = 0;
    for (; c + 16 <= n; c += 16)
        for (int j = 0; j < 16; j++) lane[j] += w[c + j] * x[c + j];
    for (int j = 0; c + j < n; j++) lane[j] += w[c + j] * x[c + j];
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    return lane[0];
}

static float float_row(const sol_segments *s, const float *w, const sol_f16 *scales, const float *x)
{
    float y = 0;
    for (int64_t g = 0, i = 0; g < s->n_groups; g++) {
        float u = 0;
        for (int64_t end = i + s->segs_per_group; i < end; i++) {
            int64_t len, start = sol_segment_at(s, i, &len);
            u += dot_16_lanes(w + start, x + start, len);
        }
        y = fmaf(sol_f16_to_f32(scales[g]), u, y);
    }
    return y;
}

static void float_tiles(const product *p, int64_t first, int64_t last, uint8_t *scratch)
{
    const sol_ternary *t = p->t;
    const sol_segments *s = &t->seg;
    float *w = (float *)scratch;
    uint8_t *codes = scratch + 4 * s->cols_pad;
    sol_f16 *scales = (sol_f16 *)(codes + s->cols_pad);
    int8_t table[32][4];
    sol_code_table(table);
    int64_t end = sol_min_i64(last * t->ops->tile_rows, t->rows);
    for (int64_t r = first * t->ops->tile_rows; r < end; r++) {
        t->ops->unpack(s, t->tiles + (size_t)(r / t->ops->tile_rows) * t->tile_bytes, r % t->ops->tile_rows, codes, scales);
        for (int64_t c = 0; c < s->cols; c++) w[c] = table[codes[c / 4]][c % 4];
        for (int64_t i = 0; i < p->acts.n; i++) p->job.y[i * t->rows + r] = float_row(s, w, scales, p->x + i * s->cols);
    }
}

static void product_tiles(void *arg, int64_t run, int thread)
{
    const product *p = arg;
    uint8_t *mine = p->threads + (size_t)thread * p->per_thread;
    int64_t first = run * p->tiles_a_run, last = sol_min_i64(first + p->tiles_a_run, p->t->n_tiles);
    if (p->round)
        p->t->ops->product(&p->job, first, last, mine + 64, (int64_t *)mine);
    else
        float_tiles(p, first, last, mine + 64);
}

/* At most max_tokens tokens. */
static void multiply(product *p, const float *x, int64_t n, float *y)
{
    const sol_ternary *t = p->t;
    int threads = sol_pool_threads(p->ctx->pool);
    p->x = x;
    p->acts.n = n;
    p->job.y = y;
    sol_pool_run(n < 4 ? NULL : p->ctx->pool, n, prepare_token, p);
    if (p->permuted) p->x = p->permuted;
    for (int i = 0; i < threads; i++) *(int64_t *)(p->threads + (size_t)i * p->per_thread) = 0;
    p->tiles_a_run = (t->n_tiles + 4 * threads - 1) / (4 * threads);
    sol_pool_run(p->ctx->pool, sol_ceil_div(t->n_tiles, p->tiles_a_run), product_tiles, p);
}

void sol_ternary_matmul(const sol_ctx *ctx, const sol_ternary *t, sol_act act, const float *x, int64_t n_tokens, float *y,
                        void *scratch)
{
    scratch_plan plan = plan_scratch(ctx, t, n_tokens);
    uint8_t *base = scratch;
    product p = {.ctx = ctx, .t = t, .round = act == SOL_ACT_INT8, .threads = base + plan.threads, .per_thread = plan.per_thread};
    p.acts = (sol_acts){.q = (int8_t *)(base + plan.q), .d = (float *)(base + plan.d), .nsum = (int32_t *)(base + plan.nsum)};
    p.permuted = t->layout == SOL_LAYOUT_STRIDE16 ? (float *)(base + plan.x) : NULL;
    p.job = (sol_ternary_job){.seg = &t->seg, .tiles = t->tiles, .tile_bytes = t->tile_bytes, .rows = t->rows, .acts = &p.acts};
    for (int64_t i = 0; i < n_tokens; i += t->ops->max_tokens)
        multiply(&p, x + i * t->seg.cols, sol_min_i64(n_tokens - i, t->ops->max_tokens), y + i * t->rows);
}
