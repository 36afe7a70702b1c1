/* The product of inference above its kernels: a matrix of any type is checked, packed into tiles or
 * borrowed, and multiplied over the pool. Types with scales take their rows from tiles, whose
 * layout the kernels choose (matrix_impl.h); floats are read where they lie. */
#include "kernels/matrix.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/matrix_impl.h"

struct sol_matrix {
    sol_dtype type;
    sol_block_layout layout;
    sol_segments seg;
    int64_t rows;            /* of its own parts */
    const sol_tile_ops *ops; /* NULL: floats, which lie in the parts */
    int64_t n_tiles;
    size_t tile_bytes;
    uint8_t *tiles;    /* [n_tiles, tile_bytes] */
    bool owned;        /* tiles */
    const float *bias; /* [rows] or NULL */
    sol_matrix *below; /* rows of the parts that follow, where they are of another form; owned */
    int n_parts;
    sol_stored part[]; /* borrowed; those of tiles are not read after packing */
};

/* ---- parts ---- */

/* The part that row r of the whole lies in; *first: the row where that part begins. */
static const sol_stored *part_of(const sol_matrix *m, int64_t r, int64_t *first)
{
    int p = 0;
    *first = 0;
    while (r >= *first + m->part[p].rows) *first += m->part[p++].rows;
    return &m->part[p];
}

static void pack_tile(void *arg, int64_t tile, int thread)
{
    const sol_matrix *m = arg;
    size_t row_bytes = sol_dtype_row_bytes(m->type, m->seg.cols),
           sign_bytes = (size_t)sol_ceil_div(m->seg.cols / 4, 8);
    int64_t begin = tile * m->ops->tile_rows, end = sol_min_i64(begin + m->ops->tile_rows, m->rows),
            first;
    sol_tile_rows rows = {0};
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        const sol_stored *part = part_of(m, r, &first);
        bool one_scale = m->type == SOL_TERNARY && part->group_size == 0;
        rows.data[rows.n] = (const uint8_t *)part->data + (size_t)(r - first) * row_bytes;
        if (part->signs) rows.signs[rows.n] = part->signs + (size_t)(r - first) * sign_bytes;
        rows.scales[rows.n++] = part->scales + (one_scale ? 0 : (r - first) * m->seg.n_groups);
    }
    m->ops->pack(m->type, &m->seg, &rows, m->tiles + (size_t)tile * m->tile_bytes);
}

/* ---- making one ---- */

static sol_segments segments_of(const sol_stored *s)
{
    const sol_dtype_traits *t = sol_dtype_of(s->type);
    int64_t group = t->block ? t->block : s->group_size ? s->group_size : s->cols;
    return sol_segments_make(s->cols, group, t->segment ? t->segment : group);
}

static sol_status check_ternary(const sol_stored *s, sol_err *err)
{
    int64_t unit = s->layout == SOL_LAYOUT_STRIDE16 ? 64 : 4;
    if (s->cols % unit != 0)
        return sol_fail(err, SOL_ERR_RANGE,
                        "ternary matrix: width %lld is not a positive multiple of %lld",
                        (long long)s->cols, (long long)unit);
    if (s->group_size < 0 ||
        (s->group_size > 0 && (s->group_size % unit != 0 || s->cols % s->group_size != 0)))
        return sol_fail(
            err, SOL_ERR_RANGE,
            "ternary matrix: group size %lld is not 0 or a multiple of %lld that divides %lld",
            (long long)s->group_size, (long long)unit, (long long)s->cols);
    return SOL_OK;
}

static sol_status check_parts(const sol_stored *parts, int n_parts, sol_err *err)
{
    for (int p = 0; p < n_parts; p++)
        if (parts[p].rows < 1 || parts[p].cols < 1)
            return sol_fail(err, SOL_ERR_RANGE, "%s matrix: shape [%lld, %lld]",
                            sol_dtype_name(parts[p].type), (long long)parts[p].rows,
                            (long long)parts[p].cols);
    return parts[0].type == SOL_TERNARY ? check_ternary(&parts[0], err) : SOL_OK;
}

/* How many of the parts one product multiplies: the first ones, as far as they are of one form. */
static int alike(const sol_stored *parts, int n_parts)
{
    int n = 1;
    while (n < n_parts && parts[n].type == parts[0].type &&
           parts[n].group_size == parts[0].group_size && parts[n].layout == parts[0].layout)
        n++;
    return n;
}

static int64_t total_rows(const sol_stored *parts, int n)
{
    int64_t rows = 0;
    for (int p = 0; p < n; p++) rows += parts[p].rows;
    return rows;
}

size_t sol_matrix_tile_bytes(const sol_ctx *ctx, const sol_stored *parts, int n_parts)
{
    size_t bytes = 0;
    for (int n; n_parts > 0; parts += n, n_parts -= n) {
        const sol_tile_ops *ops = ctx->kernels.tiles[parts->type];
        sol_segments s = segments_of(parts);
        n = alike(parts, n_parts);
        if (ops)
            bytes += (size_t)sol_ceil_div(total_rows(parts, n), ops->tile_rows) *
                     ops->tile_bytes(parts->type, &s);
    }
    return bytes;
}

/* Into *tiles, which moves on behind them, or into memory of its own. */
static sol_status pack_tiles(sol_matrix *m, const sol_ctx *ctx, uint8_t **tiles, sol_err *err)
{
    m->n_tiles = sol_ceil_div(m->rows, m->ops->tile_rows);
    m->tile_bytes = m->ops->tile_bytes(m->type, &m->seg);
    m->tiles = *tiles;
    m->owned = !*tiles;
    if (m->owned)
        SOL_TRY(sol_alloc_array((void **)&m->tiles, (size_t)m->n_tiles, m->tile_bytes, err));
    else
        *tiles += (size_t)m->n_tiles * m->tile_bytes;
    sol_pool_run(ctx->pool, m->n_tiles, pack_tile, m);
    return SOL_OK;
}

/* *out: the list of what is made of the parts, as far as it comes. */
static sol_status prepare(sol_matrix **out, const sol_ctx *ctx, const sol_stored *parts,
                          int n_parts, const float *bias, uint8_t *tiles, sol_err *err)
{
    int n = alike(parts, n_parts);
    sol_matrix *m;
    SOL_TRY(check_parts(parts, n, err));
    SOL_TRY(sol_alloc_array((void **)&m, 1, sizeof *m + (size_t)n * sizeof *parts, err));
    *out = m;
    m->type = parts[0].type;
    m->layout = parts[0].layout;
    m->seg = segments_of(&parts[0]);
    m->ops = ctx->kernels.tiles[m->type];
    m->bias = bias;
    m->rows = total_rows(parts, n);
    m->n_parts = n;
    memcpy(m->part, parts, (size_t)n * sizeof *parts);
    if (m->ops) SOL_TRY(pack_tiles(m, ctx, &tiles, err));
    if (n == n_parts) return SOL_OK;
    return prepare(&m->below, ctx, parts + n, n_parts - n, bias ? bias + m->rows : NULL, tiles,
                   err);
}

sol_status sol_matrix_prepare(sol_matrix **m, const sol_ctx *ctx, const sol_stored *parts,
                              int n_parts, const float *bias, void *tiles, sol_err *err)
{
    *m = NULL;
    sol_status st = prepare(m, ctx, parts, n_parts, bias, tiles, err);
    if (st != SOL_OK) sol_matrix_free(m);
    return st;
}

void sol_matrix_free(sol_matrix **mp)
{
    for (sol_matrix *m = *mp, *below; m; m = below) {
        below = m->below;
        if (m->owned) sol_free(m->tiles);
        sol_free(m);
    }
    *mp = NULL;
}

int64_t sol_matrix_rows(const sol_matrix *m)
{
    int64_t rows = 0;
    for (; m; m = m->below) rows += m->rows;
    return rows;
}

int64_t sol_matrix_cols(const sol_matrix *m)
{
    return m->seg.cols;
}

size_t sol_matrix_bytes(const sol_matrix *m)
{
    size_t bytes = 0;
    for (; m; m = m->below)
        bytes += m->ops ? (size_t)m->n_tiles * m->tile_bytes
                        : (size_t)m->rows * sol_dtype_row_bytes(m->type, m->seg.cols);
    return bytes;
}

/* ---- workspace ---- */

/* A tile of a product in float: outputs, which kernels take 2, 3 or 5 at a time, and tokens. */
enum { FLOAT_ROWS = 60, FLOAT_TOKENS = 64 };
/* Wide rows that are decoded first are fewer, so that they stay in a cache of so many floats. */
enum { DECODED_ROWS = 15, DECODED_FLOATS = 65536 };
/* From so many tokens on rows in bf16 are cast once, not for every few tokens again. */
enum { CAST_TOKENS = 8 };

/* Scratch of a thread for rows of tiles as numbers. */
typedef struct row_scratch {
    int8_t *q;       /* [cols] */
    sol_f16 *scales; /* [n_groups] */
    float *w;        /* [decoded_rows, cols] */
} row_scratch;

/* DECODED_ROWS or a multiple of it, at most FLOAT_ROWS. */
static int64_t decoded_rows(const sol_segments *s)
{
    int64_t fit = DECODED_FLOATS / s->cols_pad / DECODED_ROWS * DECODED_ROWS;
    return sol_max_i64(DECODED_ROWS, sol_min_i64(fit, FLOAT_ROWS));
}

static row_scratch row_scratch_at(const sol_segments *s, void *at)
{
    char *scales = (char *)at + s->cols_pad;
    return (row_scratch){at, (sol_f16 *)scales,
                         (float *)(scales + sol_round_up(2 * s->n_groups, 64))};
}

static size_t row_scratch_bytes(const sol_segments *s)
{
    return (size_t)(s->cols_pad + sol_round_up(2 * s->n_groups, 64) +
                    4 * decoded_rows(s) * s->cols_pad);
}

/* Where everything lies in the caller's scratch. */
typedef struct scratch_plan {
    size_t q, d, nsum, x, threads, per_thread, total;
} scratch_plan;

enum { READY_BYTES = 64 }; /* of a thread: the `ready` of its kernel, in a line of its own */

static scratch_plan plan_scratch(const sol_ctx *ctx, const sol_matrix *m, int64_t n)
{
    const sol_segments *s = &m->seg;
    scratch_plan p = {0};
    if (!m->ops) {
        p.per_thread = m->type == SOL_BF16 && n >= CAST_TOKENS ? row_scratch_bytes(s) : 0;
        p.total = (size_t)sol_pool_threads(ctx->pool) * p.per_thread;
        return p;
    }
    size_t tokens = (size_t)sol_min_i64(n, m->ops->max_tokens),
           sums = (size_t)sol_round_up(4 * s->n_segs, 64);
    p.d = p.q + sol_round_up_size(tokens, 16) *
                    (size_t)s->q_stride; /* tiles of 16 tokens may read, not use, more */
    p.nsum = p.d + tokens * sums;
    p.x = p.nsum + tokens * sums;
    p.threads = p.x + (m->layout == SOL_LAYOUT_STRIDE16 ? tokens * 4 * (size_t)s->cols_pad : 0);
    p.per_thread =
        READY_BYTES +
        sol_round_up_size(sol_max_size(m->ops->thread_bytes(s), row_scratch_bytes(s)), 64);
    p.total = p.threads + (size_t)sol_pool_threads(ctx->pool) * p.per_thread;
    return p;
}

size_t sol_matrix_scratch_bytes(const sol_ctx *ctx, const sol_matrix *m, int64_t n_tokens)
{
    size_t max = 0;
    for (; m; m = m->below) max = sol_max_size(max, plan_scratch(ctx, m, n_tokens).total);
    return max;
}

/* ---- rows of tiles as numbers ---- */

/* Row r of `tiles` as integers and scales. */
static void unpack_row(const sol_matrix *m, const uint8_t *tiles, int64_t r, const row_scratch *to)
{
    int64_t tile_rows = m->ops->tile_rows;
    m->ops->unpack(m->type, &m->seg, tiles + (size_t)(r / tile_rows) * m->tile_bytes, r % tile_rows,
                   to->q, to->scales);
}

/* w = scale * q. */
static void decode_row(const sol_matrix *m, const uint8_t *tiles, int64_t r,
                       const row_scratch *from, float *w)
{
    const sol_segments *s = &m->seg;
    unpack_row(m, tiles, r, from);
    for (int64_t g = 0, c = 0; g < s->n_groups; g++) {
        float scale = sol_f16_to_f32(from->scales[g]);
        for (int64_t end = sol_min_i64(c + s->group, s->cols); c < end; c++)
            w[c] = scale * (float)from->q[c];
    }
}

/* A row in block order as the columns lie in it. */
static void from_block_order(const float *blocks, int64_t cols, float *w)
{
    for (int64_t chunk = 0; chunk < cols; chunk += 64)
        for (int64_t g = 0; g < 16; g++)
            for (int64_t lane = 0; lane < 4; lane++)
                w[chunk + g + 16 * lane] = blocks[chunk + 4 * g + lane];
}

void sol_matrix_row(const sol_matrix *m, int64_t r, float *w, void *scratch)
{
    int64_t first;
    for (; r >= m->rows; m = m->below) r -= m->rows;
    if (m->ops) {
        row_scratch work = row_scratch_at(&m->seg, scratch);
        bool permuted = m->layout == SOL_LAYOUT_STRIDE16;
        decode_row(m, m->tiles, r, &work, permuted ? work.w : w);
        if (permuted) from_block_order(work.w, m->seg.cols, w);
        return;
    }
    const sol_stored *part = part_of(m, r, &first);
    sol_stored_rows(part, r - first, 1, w);
}

/* ---- the product ---- */

typedef struct product {
    const sol_ctx *ctx;
    const sol_matrix *m;
    int64_t first, rows; /* of the matrix */
    const float *x;      /* [n, cols]; a ternary matrix: in block order */
    int64_t n;
    float *y; /* [n, rows], at distance ldy */
    int64_t ldy;
    float *permuted; /* x in block order; NULL: it is so */
    sol_acts acts;
    sol_tile_call call;
    bool round; /* activations, to int8 */
    uint8_t *threads;
    size_t per_thread;
    int64_t tiles_a_run, tokens_a_run;
} product;

/* One token into block order and, for int8, into rounded form. */
static void prepare_token(void *arg, int64_t i, int thread)
{
    const product *p = arg;
    const sol_segments *s = &p->m->seg;
    const float *x = p->x + i * s->cols;
    (void)thread;
    if (p->permuted) {
        float *to = p->permuted + i * s->cols;
        for (int64_t chunk = 0; chunk < s->cols; chunk += 64)
            for (int64_t g = 0; g < 16; g++)
                for (int64_t lane = 0; lane < 4; lane++)
                    to[chunk + 4 * g + lane] = x[chunk + g + 16 * lane];
        x = to;
    }
    if (p->round)
        p->ctx->kernels.act_quantize(s, x, p->acts.q + i * s->q_stride, p->acts.d + i * s->n_segs,
                                     p->acts.nsum + i * s->n_segs);
}

/* A run: some tiles, for tokens that the kernel takes together. */
static void integer_run(void *arg, int64_t run, int thread)
{
    const product *p = arg;
    const sol_segments *s = &p->m->seg;
    uint8_t *mine = p->threads + (size_t)thread * p->per_thread;
    int64_t n_tiles = sol_ceil_div(p->rows, p->m->ops->tile_rows),
            across = sol_ceil_div(n_tiles, p->tiles_a_run), first = run % across * p->tiles_a_run,
            last = sol_min_i64(first + p->tiles_a_run, n_tiles),
            token = run / across * p->tokens_a_run;
    sol_acts acts = {.n = sol_min_i64(p->tokens_a_run, p->n - token),
                     .q = p->acts.q + token * s->q_stride,
                     .d = p->acts.d + token * s->n_segs,
                     .nsum = p->acts.nsum + token * s->n_segs};
    sol_tile_call call = p->call;
    call.acts = &acts;
    call.y += token * p->ldy;
    p->m->ops->product(&call, first, last, mine + READY_BYTES, (int64_t *)mine);
}

/* Four runs a thread, so that none waits long for another; one where four were too short. */
static void cut_runs(product *p, int64_t n_tiles, int64_t threads)
{
    const sol_tile_ops *ops = p->m->ops;
    bool many = p->n > ops->few_tokens;
    p->tokens_a_run = many && ops->run_tokens ? ops->run_tokens : p->n;
    int64_t token_runs = sol_ceil_div(p->n, p->tokens_a_run);
    p->tiles_a_run = sol_ceil_div(n_tiles, sol_ceil_div(4 * threads, token_runs));
    if (many && p->tiles_a_run < ops->run_tiles)
        p->tiles_a_run = sol_ceil_div(n_tiles, sol_ceil_div(threads, token_runs));
}

static void integer_product(product *p)
{
    int64_t threads = sol_pool_threads(p->ctx->pool),
            n_tiles = sol_ceil_div(p->rows, p->m->ops->tile_rows);
    for (int64_t i = 0; i < threads; i++) *(int64_t *)(p->threads + (size_t)i * p->per_thread) = 0;
    cut_runs(p, n_tiles, threads);
    sol_pool_run(p->ctx->pool,
                 sol_ceil_div(p->n, p->tokens_a_run) * sol_ceil_div(n_tiles, p->tiles_a_run),
                 integer_run, p);
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

static float ternary_dot(const sol_segments *s, const float *w, const sol_f16 *scales,
                         const float *x)
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

/* Outputs and tokens of one tile: y[t * p->ldy + r] for n_rows rows r and n tokens t. */
typedef struct float_tile {
    int64_t row, n_rows, token, n;
    const float *x;
    float *y;
} float_tile;

static void ternary_float_tile(const product *p, const float_tile *t, const row_scratch *work)
{
    const sol_segments *s = &p->m->seg;
    for (int64_t r = 0; r < t->n_rows; r++) {
        unpack_row(p->m, p->call.tiles, t->row + r, work);
        for (int64_t c = 0; c < s->cols; c++) work->w[c] = work->q[c];
        for (int64_t i = 0; i < t->n; i++)
            t->y[i * p->ldy + r] = ternary_dot(s, work->w, work->scales, t->x + i * s->cols);
    }
}

static void decoded_float_tile(const product *p, const float_tile *t, const row_scratch *work)
{
    int64_t cols = p->m->seg.cols;
    for (int64_t r = 0; r < t->n_rows; r++)
        decode_row(p->m, p->call.tiles, t->row + r, work, work->w + r * cols);
    p->ctx->kernels.float_ops.dot[SOL_F32](work->w, cols, t->n_rows, t->x, cols, t->n, cols, t->y,
                                           p->ldy);
}

/* Outputs of rows w, cast to fp32 a few at a time: the same bits as of w itself. */
static void cast_rows(const product *p, const float_tile *t, const uint16_t *w, int64_t n_rows,
                      float *y, int thread)
{
    const sol_kernels *k = &p->ctx->kernels;
    int64_t cols = p->m->seg.cols, n;
    float *cast = row_scratch_at(&p->m->seg, p->threads + (size_t)thread * p->per_thread).w;
    for (int64_t r = 0; r < n_rows; r += n) {
        n = sol_min_i64(n_rows - r, decoded_rows(&p->m->seg));
        k->elementwise.from_bf16(w + r * cols, n * cols, cast);
        k->float_ops.dot[SOL_F32](cast, cols, n, t->x, cols, t->n, cols, y + r, p->ldy);
    }
}

static void borrowed_float_tile(const product *p, const float_tile *t, int thread)
{
    const sol_matrix *m = p->m;
    int64_t cols = m->seg.cols, n_rows, first;
    for (int64_t r = 0; r < t->n_rows; r += n_rows) {
        int64_t row = p->first + t->row + r;
        const sol_stored *part = part_of(m, row, &first);
        n_rows = sol_min_i64(t->n_rows - r, first + part->rows - row);
        const void *w =
            (const char *)part->data + (size_t)(row - first) * sol_dtype_row_bytes(m->type, cols);
        if (m->type == SOL_BF16 && t->n >= CAST_TOKENS) {
            cast_rows(p, t, w, n_rows, t->y + r, thread);
            continue;
        }
        p->ctx->kernels.float_ops.dot[m->type](w, cols, n_rows, t->x, cols, t->n, cols, t->y + r,
                                               p->ldy);
    }
}

static int64_t float_tile_rows(const sol_matrix *m)
{
    return m->ops ? decoded_rows(&m->seg) : FLOAT_ROWS;
}

static void float_tile_run(void *arg, int64_t tile, int thread)
{
    const product *p = arg;
    int64_t height = float_tile_rows(p->m), across = sol_ceil_div(p->rows, height);
    float_tile t = {.row = tile % across * height, .token = tile / across * FLOAT_TOKENS};
    t.n_rows = sol_min_i64(height, p->rows - t.row);
    t.n = sol_min_i64(FLOAT_TOKENS, p->n - t.token);
    t.x = p->x + t.token * p->m->seg.cols;
    t.y = p->y + t.token * p->ldy + t.row;
    if (!p->m->ops) {
        borrowed_float_tile(p, &t, thread);
        return;
    }
    row_scratch work = row_scratch_at(&p->m->seg, p->threads + (size_t)thread * p->per_thread);
    if (p->m->type == SOL_TERNARY)
        ternary_float_tile(p, &t, &work);
    else
        decoded_float_tile(p, &t, &work);
}

static void float_product(product *p)
{
    int64_t tiles = sol_ceil_div(p->rows, float_tile_rows(p->m)) * sol_ceil_div(p->n, FLOAT_TOKENS);
    sol_pool_run(p->ctx->pool, tiles, float_tile_run, p);
}

/* y += bias of one token. */
static void add_bias(void *arg, int64_t i, int thread)
{
    const product *p = arg;
    (void)thread;
    p->ctx->kernels.float_ops.add(p->y + i * p->ldy, p->m->bias + p->first, p->rows);
}

/* n tokens; of a matrix in tiles at most max_tokens. */
static void multiply(product *p, const float *x, int64_t n, float *y)
{
    sol_pool *pool =
        n < 4 ? NULL
              : p->ctx->pool; /* for what takes a token less time than a thread takes to wake */
    p->x = x;
    p->y = p->call.y = y;
    p->n = p->acts.n = n;
    if (p->round || p->permuted) sol_pool_run(pool, n, prepare_token, p);
    if (p->permuted) p->x = p->permuted;
    if (p->round)
        integer_product(p);
    else
        float_product(p);
    if (p->m->bias) sol_pool_run(pool, n, add_bias, p);
}

/* Rows [first, first + n_rows) of m's own parts. */
static void multiply_own(const sol_ctx *ctx, const sol_matrix *m, int64_t first, int64_t n_rows,
                         sol_act act, const float *x, int64_t n_tokens, float *y, int64_t ldy,
                         void *scratch)
{
    scratch_plan plan = plan_scratch(ctx, m, n_tokens);
    uint8_t *base = scratch;
    product p = {.ctx = ctx,
                 .m = m,
                 .first = first,
                 .rows = n_rows,
                 .ldy = ldy,
                 .threads = base + plan.threads,
                 .per_thread = plan.per_thread};
    if (!m->ops) {
        multiply(&p, x, n_tokens, y);
        return;
    }
    p.round = act == SOL_ACT_INT8;
    p.permuted = m->layout == SOL_LAYOUT_STRIDE16 ? (float *)(base + plan.x) : NULL;
    p.acts = (sol_acts){.q = (int8_t *)(base + plan.q),
                        .d = (float *)(base + plan.d),
                        .nsum = (int32_t *)(base + plan.nsum)};
    p.call =
        (sol_tile_call){.type = m->type,
                        .seg = &m->seg,
                        .tiles = m->tiles + (size_t)(first / m->ops->tile_rows) * m->tile_bytes,
                        .tile_bytes = m->tile_bytes,
                        .rows = n_rows,
                        .acts = &p.acts,
                        .ldy = ldy};
    for (int64_t i = 0; i < n_tokens; i += m->ops->max_tokens)
        multiply(&p, x + i * m->seg.cols, sol_min_i64(n_tokens - i, m->ops->max_tokens),
                 y + i * ldy);
}

void sol_matrix_matmul_rows(const sol_ctx *ctx, const sol_matrix *m, int64_t first, int64_t n_rows,
                            sol_act act, const float *x, int64_t n_tokens, float *y, int64_t ldy,
                            void *scratch)
{
    int64_t end = first + n_rows;
    for (int64_t at = 0; m && at < end; at += m->rows, m = m->below) {
        int64_t from = sol_max_i64(first, at), to = sol_min_i64(end, at + m->rows);
        if (from < to)
            multiply_own(ctx, m, from - at, to - from, act, x, n_tokens, y + from - first, ldy,
                         scratch);
    }
}

void sol_matrix_matmul(const sol_ctx *ctx, const sol_matrix *m, sol_act act, const float *x,
                       int64_t n_tokens, float *y, void *scratch)
{
    int64_t rows = sol_matrix_rows(m);
    sol_matrix_matmul_rows(ctx, m, 0, rows, act, x, n_tokens, y, rows, scratch);
}
