/* Straight-through training of one block, after calib.c has solved its layers: it minimizes the
 * mean over tokens of |y - y_fp|^2 / |y_fp|^2. Ranks share the windows of a step. */
#include "calib/refine.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "calib/sizes.h"

/* The learning rate of a block: up in ten steps, then by a cosine to a tenth of its peak. */
enum { WARMUP_STEPS = 10 };
static const float lr_floor = 0.1f;

static sol_var weight(void *user, int64_t layer, sol_role which)
{
    const sol_refine *r = user;
    (void)layer;
    return r->weight[which];
}

static sol_var record_weight(sol_refine *r, sol_role which)
{
    const sol_param *p = sol_model_by_role(r->latent, 0, which);
    sol_shape shape = sol_shape2(p->rows, p->cols);
    const float *data = r->latent->data ? sol_model_f32(r->latent, p) : NULL;
    if (sol_param_is_vector(p) && !r->opts->norms)
        return sol_tape_constant(r->tape, SOL_F32, shape, data);
    sol_var w = sol_tape_param(r->tape, SOL_F32, shape, data, r->grads + p->offset);
    sol_quant_spec spec = sol_layer_quant(&r->spec, r->layer, which);
    if (!p->quantized) return w;
    if (!spec.method) return sol_fake_dense(r->tape, w, SOL_F16, &spec);
    return sol_fake_quant(r->tape, w, NULL, &spec, &r->mix, r->opts->compute, NULL);
}

static sol_status record(sol_refine *r, sol_err *err)
{
    const sol_calib_opts *o = r->opts;
    sol_tape_opts opts = {0};
    SOL_TRY(sol_tape_create(&r->tape, r->ctx, err));
    sol_shape shape = sol_shape2(o->seq, r->latent->config.hidden_size);
    sol_tape_prologue(r->tape, true);
    for (int i = 0; i < r->latent->n_block; i++) {
        sol_role which = (sol_model_block(r->latent, 0) + i)->role;
        r->weight[which] = record_weight(r, which);
    }
    sol_tape_prologue(r->tape, false);
    sol_block_inputs_record(&r->in, r->tape, 1, o->seq);
    r->block = (sol_block){.t = r->tape,
                           .config = &r->latent->config,
                           .in = &r->in,
                           .compute = o->compute,
                           .weight = weight,
                           .user = r};
    sol_block_tables_record(&r->block);
    r->x = sol_tape_input(r->tape, SOL_F32, shape);
    r->target = sol_tape_input(r->tape, SOL_F32, shape);
    r->loss = sol_relative_error(r->tape, sol_block_record(&r->block, 0, r->x), r->target);
    return sol_tape_plan(r->tape, r->loss, &opts, err);
}

size_t sol_refine_bytes(const sol_model *block, const sol_calib_opts *o)
{
    return 4 * sol_calib_block_bytes(block) + sol_share_bytes(o->dist, block->n_elements);
}

static sol_status create(sol_refine *r, int64_t layer, sol_ctx *ctx, sol_model *latent,
                         const sol_quant_spec *spec, const sol_calib_opts *o, sol_err *err)
{
    sol_adamw_config adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
    size_t n = latent->data ? (size_t)latent->n_elements : 1;
    *r = (sol_refine){.ctx = ctx,
                      .opts = o,
                      .spec = *spec,
                      .layer = layer,
                      .mix = {{1, 0}, 1},
                      .latent = latent,
                      .share = {.dist = o->dist}}; /* so that a failure here can be agreed on */
    SOL_TRY(sol_alloc_array((void **)&r->grads, n, sizeof *r->grads, err));
    SOL_TRY(record(r, err));
    if (!latent->data) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&r->sum, n, sizeof *r->sum, err));
    SOL_TRY(sol_share_create(&r->share, ctx, o->dist, latent->n_elements, err));
    SOL_TRY(sol_adamw_create(&r->optim, latent, &adamw, err));
    SOL_TRY(sol_alloc_array((void **)&r->doc_start, (size_t)o->seq, sizeof *r->doc_start, err));
    SOL_TRY(sol_tape_allocate(r->tape, err));
    sol_block_tables_fill(&r->block);
    return SOL_OK;
}

sol_status sol_refine_create(sol_refine *r, sol_ctx *ctx, sol_model *latent,
                             const sol_quant_spec *spec, const sol_calib_opts *o, sol_err *err)
{
    return create(r, 0, ctx, latent, spec, o, err);
}

void sol_refine_free(sol_refine *r)
{
    sol_tape_free(&r->tape);
    sol_adamw_free(&r->optim);
    sol_free(r->grads);
    sol_free(r->sum);
    sol_share_free(&r->share);
    sol_free(r->doc_start);
}

static double rms(const sol_model *m)
{
    double sum = 0;
    int64_t n = 0;
    for (int i = 0; i < m->n_block; i++) {
        const sol_param *p = sol_model_block(m, 0) + i;
        const float *w = sol_model_f32(m, p);
        if (!p->quantized) continue;
        for (int64_t k = 0; k < sol_param_count(p); k++) sum += (double)w[k] * w[k];
        n += sol_param_count(p);
    }
    return sqrt(sum / (double)n);
}

/* Window b of step `step`, drawn without replacement in each round through all of them. */
static void fill(sol_refine *r, int64_t layer, int64_t step, int64_t b, const float *x,
                 const float *y, const int32_t *doc_start)
{
    const sol_calib_opts *o = r->opts;
    int64_t C = r->latent->config.hidden_size;
    size_t window = (size_t)(o->seq * C) * sizeof *x;
    uint64_t drawn = (uint64_t)(step * o->batch + b), n = (uint64_t)o->windows;
    uint64_t round = (uint64_t)layer << 32 | drawn / n;
    int64_t w = (int64_t)sol_permute(o->seed, SOL_STREAM_CALIB + (round << 8), n, drawn % n);
    memcpy(sol_tape_data(r->tape, r->x), x + w * o->seq * C, window);
    memcpy(sol_tape_data(r->tape, r->target), y + w * o->seq * C, window);
    memcpy(r->doc_start, doc_start + w * o->seq, (size_t)o->seq * sizeof *doc_start);
    sol_block_inputs_place(&r->in, r->tape, r->doc_start, 1);
}

/* The gradient of a step, in r->sum. */
static sol_status compute(sol_refine *r, int64_t layer, int64_t step, const float *x,
                          const float *y, const int32_t *doc_start, sol_err *err)
{
    const sol_calib_opts *o = r->opts;
    int64_t rank = sol_dist_rank(o->dist), n = r->latent->n_elements;
    float *grad = sol_tape_grad(r->tape, r->loss);
    sol_tape_prepare(r->tape);
    for (int64_t first = 0; first < o->batch; first += sol_dist_size(o->dist)) {
        if (first + rank < o->batch) {
            fill(r, layer, step, first + rank, x, y, doc_start);
            for (int64_t i = 0; i < o->seq; i++) grad[i] = 1.0f / (float)(o->batch * o->seq);
            sol_tape_run_backward(r->tape, true, true);
        }
        SOL_TRY(sol_share_add(&r->share, first, o->batch, r->grads, r->sum, n, err));
    }
    return sol_share_sum(&r->share, r->sum, n, err);
}

/* The optimizer starts anew in every block. */
static void forget(sol_adamw *o)
{
    o->t = 0;
    memset(o->m, 0, (size_t)o->n_elements * sizeof(float));
    memset(o->v, 0, (size_t)o->n_elements * sizeof(float));
}

/* The tape of one block serves all that are quantized in the same way. */
static sol_status suit(sol_refine *r, int64_t layer, sol_err *err)
{
    bool same = true;
    for (int i = 0; i < r->latent->n_block; i++) {
        sol_role which = (sol_model_block(r->latent, 0) + i)->role;
        sol_quant_spec has = sol_layer_quant(&r->spec, r->layer, which),
                       wants = sol_layer_quant(&r->spec, layer, which);
        same = same && sol_quant_same(&has, &wants);
    }
    if (same) return SOL_OK;
    sol_refine old = *r;
    sol_refine_free(r);
    return create(r, layer, old.ctx, old.latent, &old.spec, old.opts, err);
}

sol_status sol_refine_run(sol_refine *r, int64_t layer, const float *x, const float *y,
                          const int32_t *doc_start,
                          sol_status (*step)(void *user, int64_t done, sol_err *err), void *user,
                          sol_err *err)
{
    const sol_calib_opts *o = r->opts;
    sol_lr_schedule lr = {
        .kind = SOL_LR_COSINE, .peak = (float)(o->lr * rms(r->latent)), .min_ratio = lr_floor};
    lr.warmup_steps = WARMUP_STEPS < o->steps / 2 ? WARMUP_STEPS : o->steps / 2;
    sol_status st = suit(r, layer, err);
    SOL_TRY(sol_share_agree(&r->share, st, err));
    forget(r->optim);
    for (int64_t s = 0; s < o->steps; s++) {
        SOL_TRY(compute(r, layer, s, x, y, doc_start, err));
        sol_adamw_update(r->ctx, r->optim, r->latent, r->sum, 1, sol_lr_at(&lr, s, o->steps));
        SOL_TRY(step(user, s + 1, err));
    }
    return SOL_OK;
}
