/* Lanes: gradients are added in a fixed tree, within a process as a binary counter counts, between
 * processes by exchange in pieces; parameters and moments travel by shards.
 *
 * A level is the sum of 2^k lanes of this process, which waits for its neighbour in the tree. A
 * part of the model (sol_graph_part) is cut into stretches, one a rank: what that rank adds up, and
 * of it what it owns. Stretches travel in pieces: in a turn each rank sends one to every other, and
 * adds up, in the order of the tree, those of its own stretch that arrived in the turn before. */
#include "optim/lanes.h"

#include <string.h>

#include "base/clock.h"
#include "base/half.h"
#include "base/num.h"
#include "base/worker.h"
#include "kernels/dtype.h"

/* ADD_TILE: elements that a thread adds at a time. PIECES: elements that a rank receives at a time,
 * from all ranks together. */
enum { ADD_TILE = 1 << 13, PIECES = 1 << 22, LEAST_PIECE = 1 << 12, MAX_LEVELS = 32 };

typedef struct lane_part {
    int64_t first, n;    /* elements */
    int64_t norm;        /* of these, those that the norm is made of; the rest is a gap */
    int64_t tile, tiles; /* of the norm */
    sol_stretch *reduce; /* [size] what each rank adds up: whole tiles of the norm, and what more
                          * its shard has */
    sol_stretch *own;    /* [size] its shard of the part */
} lane_part;

/* What sol_lanes_begin is about. */
typedef struct lanes_job {
    sol_graph_part part, updated; /* n 0: none */
    sol_model *model;
    double norm, seconds; /* seconds: that it took the worker */
    sol_status status;
    sol_err err;
} lanes_job;

struct sol_lanes {
    const sol_ctx *ctx;
    sol_dist *dist;
    const sol_model *model;
    int rank, size;
    int64_t own; /* lanes of this rank */
    int n_parts;
    lane_part *part;             /* [n_parts] */
    sol_shard shard;             /* [n_parts] */
    float *level[MAX_LEVELS];    /* [n_elements] sums of 2^i lanes; NULL: not needed */
    int64_t piece;               /* elements */
    bool half;                   /* sums are rounded to bf16 before they are added, and sent so */
    float *received[2];          /* [size, piece] of this turn and the next; half: one for both */
    sol_bf16 *out[2], *in[2];    /* half: [size, piece] what is sent and received */
    sol_dist_piece *send, *recv; /* [size] */
    sol_dist_range *range;       /* [size] */
    sol_worker *worker;          /* does the job; NULL: it is done at once */
    sol_ctx behind;              /* of the worker: ctx without its pool, which the caller drives */
    lanes_job job;
    double waited;  /* seconds in which the worker waited for other ranks */
    double blocked; /* in which the caller waited for the worker */
    double hidden;  /* in which the worker had a job and the caller did not wait */
};

/* ---- what each rank owns ---- */

/* Tiles of the norm are cut evenly among ranks; a shard begins where its first tile does, or behind
 * that, where the next moment block begins. */
static void cut_part(sol_lanes *l, lane_part *p)
{
    int64_t end = p->first + p->n;
    for (int i = 0; i < l->size; i++) {
        int64_t from = p->tiles * i / l->size, to = p->tiles * (i + 1) / l->size;
        int64_t a = p->first + from * p->tile, b = to == p->tiles ? end : p->first + to * p->tile;
        int64_t own_a = from == 0 ? p->first : sol_min_i64(sol_moment_align(l->model, a), end);
        int64_t own_b = to == p->tiles ? end : sol_min_i64(sol_moment_align(l->model, b), end);
        if (from == to) a = own_a = b = own_b = sol_min_i64(own_a, end);
        p->own[i] = (sol_stretch){own_a, own_b - own_a};
        p->reduce[i] = (sol_stretch){a, sol_max_i64(b, own_b) - a};
    }
}

static sol_status make_part(sol_lanes *l, lane_part *p, bool by_layer, int i, sol_err *err)
{
    const sol_model *m = l->model;
    size_t n = (size_t)l->size;
    sol_graph_part is = sol_graph_part_at(m, by_layer, i);
    p->first = m->params[is.first].offset;
    p->n = m->n_elements - p->first;
    if (i + 1 < l->n_parts) {
        sol_graph_part next = sol_graph_part_at(m, by_layer, i + 1);
        p->n = m->params[next.first].offset - p->first;
    }
    p->norm = is.n_elements;
    p->tile = sol_norm_tile(p->norm);
    p->tiles = sol_ceil_div(p->norm, p->tile);
    SOL_TRY(sol_alloc_array((void **)&p->reduce, n, sizeof *p->reduce, err));
    SOL_TRY(sol_alloc_array((void **)&p->own, n, sizeof *p->own, err));
    cut_part(l, p);
    l->shard.stretch[i] = p->own[l->rank];
    return SOL_OK;
}

/* ---- memory ---- */

static int64_t piece_of(const sol_model *m, int ranks)
{
    return sol_min_i64(sol_max_i64(PIECES / ranks, LEAST_PIECE),
                       sol_round_up(m->n_elements, LEAST_PIECE));
}

static int levels_of(int64_t own)
{
    int n = 0;
    while ((int64_t)1 << n < own) n++;
    return n;
}

size_t sol_lanes_bytes(const sol_model *model, const sol_lanes_opts *o, int ranks)
{
    size_t levels = (size_t)levels_of(o->lanes / ranks) * (size_t)model->n_elements;
    size_t pieces = ranks > 1 ? (size_t)ranks * (size_t)piece_of(model, ranks) : 0;
    size_t of_piece =
        o->transport == SOL_BF16 ? sizeof(float) + 4 * sizeof(sol_bf16) : 2 * sizeof(float);
    return levels * sizeof(float) + pieces * of_piece;
}

static sol_status make_exchange(sol_lanes *l, size_t n, sol_err *err)
{
    for (int i = 0; i < 2; i++) {
        if (!l->half || i == 0)
            SOL_TRY(sol_alloc_array((void **)&l->received[i], n, sizeof(float), err));
        if (!l->half) continue;
        SOL_TRY(sol_alloc_array((void **)&l->out[i], n, sizeof(sol_bf16), err));
        SOL_TRY(sol_alloc_array((void **)&l->in[i], n, sizeof(sol_bf16), err));
    }
    return SOL_OK;
}

static sol_status make_buffers(sol_lanes *l, sol_err *err)
{
    size_t size = (size_t)l->size, n = (size_t)l->model->n_elements;
    l->piece = piece_of(l->model, l->size);
    SOL_TRY(sol_alloc_array((void **)&l->send, size, sizeof *l->send, err));
    SOL_TRY(sol_alloc_array((void **)&l->recv, size, sizeof *l->recv, err));
    SOL_TRY(sol_alloc_array((void **)&l->range, size, sizeof *l->range, err));
    for (int i = 0; i < levels_of(l->own); i++)
        SOL_TRY(sol_alloc_array((void **)&l->level[i], n, sizeof(float), err));
    return l->size > 1 ? make_exchange(l, size * (size_t)l->piece, err) : SOL_OK;
}

static sol_status fill(sol_lanes *l, bool by_layer, sol_err *err)
{
    size_t n = (size_t)l->n_parts;
    SOL_TRY(sol_alloc_array((void **)&l->part, n, sizeof *l->part, err));
    SOL_TRY(sol_alloc_array((void **)&l->shard.stretch, n, sizeof *l->shard.stretch, err));
    l->shard.n = l->n_parts;
    for (int i = 0; i < l->n_parts; i++) SOL_TRY(make_part(l, &l->part[i], by_layer, i, err));
    SOL_TRY(make_buffers(l, err));
    bool apart = l->size > 1 && sol_dist_any_thread(l->dist);
    return apart ? sol_worker_create(&l->worker, err) : SOL_OK;
}

sol_status sol_lanes_create(sol_lanes **out, const sol_ctx *ctx, sol_dist *dist,
                            const sol_model *model, const sol_lanes_opts *o, sol_err *err)
{
    sol_lanes *l;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&l, 1, sizeof *l, err));
    *l = (sol_lanes){.ctx = ctx,
                     .dist = dist,
                     .model = model,
                     .rank = sol_dist_rank(dist),
                     .size = sol_dist_size(dist),
                     .own = o->lanes / sol_dist_size(dist),
                     .half = o->transport == SOL_BF16,
                     .n_parts = sol_graph_part_count(model, o->by_layer),
                     .behind = *ctx};
    l->behind.pool = NULL;
    sol_status st = fill(l, o->by_layer, err);
    if (st != SOL_OK) sol_lanes_free(&l);
    *out = l;
    return st;
}

void sol_lanes_free(sol_lanes **lp)
{
    sol_lanes *l = *lp;
    if (!l) return;
    sol_worker_free(&l->worker);
    if (l->part)
        for (int i = 0; i < l->n_parts; i++) {
            sol_free(l->part[i].reduce);
            sol_free(l->part[i].own);
        }
    for (int i = 0; i < MAX_LEVELS; i++) sol_free(l->level[i]);
    sol_free(l->part);
    sol_free(l->shard.stretch);
    for (int i = 0; i < 2; i++) {
        sol_free(l->received[i]);
        sol_free(l->out[i]);
        sol_free(l->in[i]);
    }
    sol_free(l->send);
    sol_free(l->recv);
    sol_free(l->range);
    sol_free(l);
    *lp = NULL;
}

int64_t sol_lanes_own(const sol_lanes *l)
{
    return l->own;
}

int64_t sol_lanes_first(const sol_lanes *l)
{
    return (l->size - 1 - l->rank) * l->own;
}

const sol_shard *sol_lanes_shard(const sol_lanes *l)
{
    return &l->shard;
}

/* ---- sums ---- */

typedef struct add_args {
    float *to; /* to[i] += x[i] */
    const float *x;
    int64_t n;
} add_args;

static void add_tile(void *arg, int64_t tile, int thread)
{
    const add_args *a = arg;
    int64_t end = sol_min_i64((tile + 1) * ADD_TILE, a->n);
    (void)thread;
    for (int64_t i = tile * ADD_TILE; i < end; i++) a->to[i] += a->x[i];
}

static float half(float x)
{
    return sol_bf16_to_f32(sol_f32_to_bf16(x));
}

/* What was sent is rounded already, and stays. */
static void add_half_tile(void *arg, int64_t tile, int thread)
{
    const add_args *a = arg;
    int64_t end = sol_min_i64((tile + 1) * ADD_TILE, a->n);
    (void)thread;
    for (int64_t i = tile * ADD_TILE; i < end; i++) a->to[i] = half(a->to[i]) + half(a->x[i]);
}

static void add(const sol_lanes *l, const sol_ctx *ctx, float *to, const float *x, int64_t n)
{
    add_args a = {to, x, n};
    sol_pool_run(ctx->pool, sol_ceil_div(n, ADD_TILE), l->half ? add_half_tile : add_tile, &a);
}

/* As a binary counter counts: two sums of 2^k lanes become one of 2^(k + 1). */
void sol_lanes_add(sol_lanes *l, int64_t i, float *grads)
{
    int64_t n = l->model->n_elements;
    int k = 0;
    if (i + 1 == l->own) return;
    for (; i >> k & 1; k++) add(l, l->ctx, grads, l->level[k], n);
    memcpy(l->level[k], grads, (size_t)n * sizeof *grads);
}

/* The same of the last lane, for a part: all levels are full. */
static void add_levels(const sol_lanes *l, const sol_ctx *ctx, const sol_graph_part *part)
{
    int64_t first = l->model->params[part->first].offset;
    for (int k = 0; k < levels_of(l->own); k++)
        add(l, ctx, part->grads, l->level[k] + first, part->n_elements);
}

/* Elements [turn piece, ...) of what rank i adds up. */
static sol_stretch piece_at(const sol_lanes *l, const lane_part *p, int i, int64_t turn)
{
    int64_t from = sol_min_i64(turn * l->piece, p->reduce[i].n);
    return (sol_stretch){p->reduce[i].first + from, sol_min_i64(l->piece, p->reduce[i].n - from)};
}

/* A piece for rank i as it travels: where it lies, or cast to bf16. */
static sol_dist_piece packed_piece(sol_lanes *l, int i, float *x, int64_t n, int64_t turn)
{
    if (!l->half) return (sol_dist_piece){x, (size_t)n * sizeof *x};
    sol_bf16 *to = l->out[turn & 1] + i * l->piece;
    sol_convert(to, SOL_BF16, x, SOL_F32, n);
    return (sol_dist_piece){to, (size_t)n * sizeof *to};
}

/* Where a piece of rank i arrives. */
static sol_dist_piece awaited_piece(sol_lanes *l, int i, int64_t n, int64_t turn)
{
    if (l->half)
        return (sol_dist_piece){l->in[turn & 1] + i * l->piece, (size_t)n * sizeof(sol_bf16)};
    return (sol_dist_piece){l->received[turn & 1] + i * l->piece, (size_t)n * sizeof(float)};
}

/* Begins to send each rank the turn's piece of its elements, and to receive ours from all. */
static sol_status start_turn(sol_lanes *l, const lane_part *p, float *grads, int64_t turn,
                             sol_err *err)
{
    sol_stretch mine = piece_at(l, p, l->rank, turn);
    for (int i = 0; i < l->size; i++) {
        sol_stretch his = piece_at(l, p, i, turn);
        l->send[i] = packed_piece(l, i, grads + (his.first - p->first), his.n, turn);
        l->recv[i] = awaited_piece(l, i, mine.n, turn);
    }
    return sol_dist_start(l->dist, l->send, l->recv, err);
}

/* What all ranks have sent of our piece, [size, piece]. */
static float *arrived(sol_lanes *l, int64_t n, int64_t turn)
{
    if (!l->half) return l->received[turn & 1];
    for (int i = 0; i < l->size; i++)
        sol_convert(l->received[0] + i * l->piece, SOL_F32, l->in[turn & 1] + i * l->piece,
                    SOL_BF16, n);
    return l->received[0];
}

/* Adds it up. Ranks stand in the order of lanes, backwards: the pairs are the same. */
static void add_turn(sol_lanes *l, const sol_ctx *ctx, const lane_part *p, float *grads,
                     int64_t turn)
{
    sol_stretch mine = piece_at(l, p, l->rank, turn);
    float *x = arrived(l, mine.n, turn);
    for (int step = 1; step < l->size; step *= 2)
        for (int i = 0; i < l->size; i += 2 * step)
            add(l, ctx, x + i * l->piece, x + (i + step) * l->piece, mine.n);
    memcpy(grads + (mine.first - p->first), x, (size_t)mine.n * sizeof *x);
}

/* A piece is on its way while the one before it is added. */
static sol_status exchange(sol_lanes *l, const sol_ctx *ctx, const lane_part *p, float *grads,
                           sol_err *err)
{
    int64_t turns = 0;
    for (int i = 0; i < l->size; i++)
        turns = sol_max_i64(turns, sol_ceil_div(p->reduce[i].n, l->piece));
    if (turns) SOL_TRY(start_turn(l, p, grads, 0, err));
    for (int64_t turn = 0; turn < turns; turn++) {
        SOL_TRY(sol_dist_wait(l->dist, err));
        if (turn + 1 < turns) SOL_TRY(start_turn(l, p, grads, turn + 1, err));
        add_turn(l, ctx, p, grads, turn);
    }
    return SOL_OK;
}

static const lane_part *find_part(const sol_lanes *l, const sol_graph_part *part)
{
    int i = 0;
    while (l->part[i].first != l->model->params[part->first].offset) i++;
    return &l->part[i];
}

static sol_status reduce(sol_lanes *l, const sol_ctx *ctx, const sol_graph_part *part, double *norm,
                         sol_err *err)
{
    const lane_part *p = find_part(l, part);
    double sum[SOL_NORM_TILES] = {0};
    add_levels(l, ctx, part);
    if (l->size > 1) SOL_TRY(exchange(l, ctx, p, part->grads, err));
    for (int i = 0; i < l->size; i++) {
        int64_t from = p->tiles * i / l->size, to = p->tiles * (i + 1) / l->size;
        l->range[i] =
            (sol_dist_range){(size_t)from * sizeof *sum, (size_t)(to - from) * sizeof *sum};
        if (i == l->rank) sol_norm_squares(ctx, part->grads, p->norm, from, to, sum);
    }
    SOL_TRY(sol_dist_share(l->dist, sum, l->range, err));
    *norm = sol_norm_of(sum, p->tiles);
    return SOL_OK;
}

/* ---- shards ---- */

void sol_lanes_take(const sol_lanes *l, const sol_graph_part *part, float *shard)
{
    const lane_part *p = find_part(l, part);
    const sol_stretch *own = &p->own[l->rank];
    for (const lane_part *before = l->part; before < p; before++) shard += before->own[l->rank].n;
    /* Behind the norm's elements is a gap, which has no gradient. */
    int64_t from = own->first - p->first, n = sol_min_i64(own->n, p->norm - from);
    if (n > 0) memcpy(shard, part->grads + from, (size_t)n * sizeof *shard);
}

static sol_status share(sol_lanes *l, const lane_part *p, void *data, size_t size, sol_err *err)
{
    for (int i = 0; i < l->size; i++)
        l->range[i] = (sol_dist_range){(size_t)(p->own[i].first - p->first) * size,
                                       (size_t)p->own[i].n * size};
    return sol_dist_share(l->dist, data, l->range, err);
}

sol_status sol_lanes_share_grads(sol_lanes *l, const sol_graph_part *part, sol_err *err)
{
    return share(l, find_part(l, part), part->grads, sizeof *part->grads, err);
}

sol_status sol_lanes_share_params(sol_lanes *l, const sol_graph_part *part, sol_model *model,
                                  sol_err *err)
{
    return share(l, find_part(l, part), sol_model_at(model, &model->params[part->first]),
                 sol_dtype_size(model->dtype), err);
}

/* ---- behind the caller's back ---- */

static sol_status do_job(sol_lanes *l, const sol_ctx *ctx)
{
    lanes_job *j = &l->job;
    if (j->updated.n) SOL_TRY(sol_lanes_share_params(l, &j->updated, j->model, &j->err));
    return j->part.n ? reduce(l, ctx, &j->part, &j->norm, &j->err) : SOL_OK;
}

/* On the worker's thread. */
static void run_job(void *arg)
{
    sol_lanes *l = arg;
    double begun = sol_clock(), waited = sol_dist_seconds(l->dist);
    l->job.status = do_job(l, &l->behind);
    l->waited += sol_dist_seconds(l->dist) - waited;
    l->job.seconds = sol_clock() - begun;
}

void sol_lanes_begin(sol_lanes *l, const sol_graph_part *part, const sol_graph_part *updated,
                     sol_model *model)
{
    l->job = (lanes_job){.model = model};
    if (part) l->job.part = *part;
    if (updated) l->job.updated = *updated;
    if (l->worker)
        sol_worker_start(l->worker, run_job, l);
    else
        l->job.status = do_job(l, l->ctx);
}

sol_status sol_lanes_end(sol_lanes *l, double *norm, sol_err *err)
{
    double begun = sol_clock();
    if (l->worker) sol_worker_wait(l->worker);
    double blocked = sol_clock() - begun;
    l->blocked += blocked;
    if (l->job.seconds > blocked) l->hidden += l->job.seconds - blocked;
    *norm = l->job.norm;
    if (l->job.status != SOL_OK && err) *err = l->job.err;
    return l->job.status;
}

sol_lanes_seconds sol_lanes_seconds_of(const sol_lanes *l)
{
    return (sol_lanes_seconds){sol_dist_seconds(l->dist) - l->waited + l->blocked, l->hidden};
}

/* ---- moments ---- */

/* An array of the moments on its way to rank 0. */
typedef struct moment_stream {
    sol_lanes *l;
    int array;
    const char *mine; /* what this rank has of it and has not sent */
    sol_moments_put put;
    void *user;
    sol_status st; /* of put */
} moment_stream;

/* n bytes of one rank. */
static sol_status pass_piece(moment_stream *s, int from, size_t n, sol_err *err)
{
    sol_lanes *l = s->l;
    bool here = l->rank == from;
    char *data = here ? (char *)s->mine : (char *)l->received[0];
    memset(l->send, 0, (size_t)l->size * sizeof *l->send);
    memset(l->recv, 0, (size_t)l->size * sizeof *l->recv);
    if (here) l->send[0] = (sol_dist_piece){data, n};
    if (l->rank == 0) l->recv[from] = (sol_dist_piece){data, n};
    if (here) s->mine += n;
    SOL_TRY(sol_dist_start(l->dist, l->send, l->recv, err));
    SOL_TRY(sol_dist_wait(l->dist, err));
    if (s->put && s->st == SOL_OK) s->st = s->put(s->user, s->array, data, n, err);
    return SOL_OK;
}

/* A stretch in pieces that fit the buffer of what is received. */
static sol_status pass_stretch(moment_stream *s, int from, size_t bytes, sol_err *err)
{
    size_t step = (size_t)s->l->piece * sizeof(float);
    for (size_t at = 0; at < bytes; at += step)
        SOL_TRY(pass_piece(s, from, bytes - at < step ? bytes - at : step, err));
    return SOL_OK;
}

/* Elements of a stretch: moments, or the scales of 8-bit ones. */
static size_t stretch_bytes(const sol_adamw *o, const sol_model *m, int array, sol_stretch s)
{
    if (array < 2) return (size_t)s.n * sol_dtype_size(o->config.moments);
    return (size_t)sol_stretch_blocks(o, m, s) * sizeof(float);
}

sol_status sol_lanes_gather_moments(sol_lanes *l, const sol_adamw *o, sol_moments_put put,
                                    void *user, sol_err *err)
{
    const void *arrays[] = {o->m, o->v, o->m_scale, o->v_scale};
    moment_stream s = {.l = l, .put = put, .user = user};
    int n = o->config.moments == SOL_U8 ? 4 : 2;
    for (s.array = 0; s.array < n; s.array++) {
        s.mine = arrays[s.array];
        for (int p = 0; p < l->n_parts; p++)
            for (int i = 0; i < l->size; i++)
                SOL_TRY(pass_stretch(&s, i, stretch_bytes(o, l->model, s.array, l->part[p].own[i]),
                                     err));
    }
    return s.st;
}
