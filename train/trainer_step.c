/* The computation of one step: a batch, forward and backward, the gradient's norm, the update. What
 * is due after it stands in the loop (trainer.c). */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>

typedef struct micro_batch {
    int32_t *inputs, *targets, *doc_start; /* [B, T] */
} micro_batch;

/* Micro-batch i of the step; n = B T. */
static micro_batch batch_at(const sol_trainer *t, int64_t n, int64_t i)
{
    int32_t *at = t->batch + 3 * n * i;
    return (micro_batch){at, at + n, at + 2 * n};
}

static const char *name_of_draw(const sol_trainer *t, uint64_t draw)
{
    return t->train.name[sol_batcher_stream(&t->batcher, sol_batcher_index(&t->batcher, draw))];
}

/* Draws all n_micro micro-batches of n tokens, so that the weight of the mean is known before the
 * first backward pass. *counted: targets that count. Ids come from a file: none may leave the
 * vocabulary. */
static sol_status draw(sol_trainer *t, int64_t n_micro, int64_t n, int64_t *counted, sol_err *err)
{
    int64_t vocab = t->model->config.vocab_size;
    *counted = 0;
    for (int64_t i = 0; i < n_micro; i++) {
        micro_batch b = batch_at(t, n, i);
        uint64_t first = t->batcher.drawn;
        sol_batcher_next(&t->batcher, t->config->train.batch, b.inputs, b.targets, b.doc_start);
        for (int64_t k = 0; k < n; k++) {
            if (b.inputs[k] < 0 || b.inputs[k] >= vocab || b.targets[k] < -1 ||
                b.targets[k] >= vocab)
                return sol_fail(
                    err, SOL_ERR_FORMAT,
                    "%s: holds the token %" PRId32 ", the model's vocabulary ends at %" PRId64,
                    name_of_draw(t, first + (uint64_t)(k / t->config->train.seq)),
                    b.inputs[k] < 0 || b.inputs[k] >= vocab ? b.inputs[k] : b.targets[k],
                    vocab - 1);
            *counted += b.targets[k] >= 0;
        }
    }
    return SOL_OK;
}

/* sol_graph_done_fn */
static void update_part(void *user, const sol_graph_part *part)
{
    sol_trainer *t = user;
    sol_fused *f = &t->fused;
    double norm = sol_global_norm(t->ctx, part->grads, part->n_elements);
    f->square += norm * norm;
    f->stop = f->stop || !isfinite(part->loss_sum) || !isfinite(norm);
    if (f->stop) return;
    if (!f->begun) sol_adamw_begin(t->optim, f->lr);
    f->begun = true;
    sol_adamw_update_params(t->ctx, t->optim, t->model, part->first, part->n, part->grads, 1);
}

static void add_distilled(sol_graph_distilled *sum, sol_graph_distilled x)
{
    sum->distill += x.distill;
    sum->hidden += x.hidden;
    sum->relation += x.relation;
    sum->objective += x.objective;
}

/* The first micro-batch of a step alone, term by term; the step itself begins anew afterwards. */
static sol_status measure_norms(sol_trainer *t, sol_step_record *r, int64_t counted, uint64_t drawn,
                                sol_err *err)
{
    const sol_config *c = t->config;
    const double weight[SOL_TRAINER_TERMS] = {c->distill.ce_weight, c->distill.weight,
                                              c->distill.hidden_weight, c->distill.relation_weight};
    float share = (float)c->train.accumulate / (float)counted;
    micro_batch b = batch_at(t, sol_trainer_window_tokens(t), 0);
    SOL_TRY(sol_job_teacher_feed(c, &t->teacher, t->graph, &t->batcher, drawn, err));
    for (int i = 0; i < SOL_TRAINER_TERMS; i++) {
        double loss;
        int64_t n;
        r->norm[i] = -1;
        if (weight[i] == 0) continue;
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        sol_graph_choose_terms(t->graph, 1 << i);
        sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda), 1);
        sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, share, &loss, &n);
        r->norm[i] = sol_global_norm(t->ctx, sol_graph_grads(t->graph), t->model->n_elements);
    }
    sol_graph_choose_terms(t->graph, SOL_TERMS_ALL);
    return SOL_OK;
}

/* Loss and gradient of the whole step; with optim.fused its update, too. */
static sol_status backward(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_config *c = t->config;
    int64_t n_micro = c->train.accumulate, tokens = sol_trainer_window_tokens(t), counted;
    uint64_t drawn = t->batcher.drawn; /* the first window of the step */
    double sum = 0;
    sol_graph_distilled d = {0};
    SOL_TRY(draw(t, n_micro, tokens, &counted, err));
    if (r->has_norms) SOL_TRY(measure_norms(t, r, counted, drawn, err));
    sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda),
                         n_micro);
    if (c->optim.fused) {
        t->fused = (sol_fused){.lr = (float)r->lr, .stop = counted == 0};
        sol_graph_on_gradients(t->graph, update_part, t);
    }
    for (int64_t i = 0; i < n_micro; i++) {
        micro_batch b = batch_at(t, tokens, i);
        double loss;
        int64_t n;
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        if (r->has_study && i + 1 == n_micro) sol_study_watch(t->study, t->graph);
        SOL_TRY(sol_job_teacher_feed(c, &t->teacher, t->graph, &t->batcher,
                                     drawn + (uint64_t)(i * c->train.batch), err));
        sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, 1.0f / (float)counted,
                             &loss, &n);
        sum += loss;
        if (r->has_distill) add_distilled(&d, sol_graph_last_distilled(t->graph));
    }
    r->loss = sum / (double)counted; /* NaN when nothing counts: the step is skipped */
    r->objective = r->has_distill ? d.objective / (double)counted : r->loss;
    r->distill_loss = d.distill / (double)counted;
    r->hidden_loss = d.hidden / (double)counted;
    r->relation_loss = d.relation / (double)counted;
    r->grad_norm = c->optim.fused
                       ? sqrt(t->fused.square)
                       : sol_global_norm(t->ctx, sol_graph_grads(t->graph), t->model->n_elements);
    if (!r->has_study) return SOL_OK;
    /* The weights before the update, the gradients of this step. */
    sol_study_at at = {.step = (int64_t)t->step,
                       .tokens = (int64_t)t->tokens,
                       .lambda = r->lambda,
                       .lr = r->lr,
                       .loss = r->loss};
    return sol_study_record(t->study, t->graph, &at, err);
}

sol_status sol_trainer_step(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_config *c = t->config;
    int64_t step = (int64_t)t->step, tokens = sol_trainer_step_tokens(t);
    uint64_t drawn = t->batcher.drawn;
    double begun = sol_clock() - sol_study_seconds(t->study);
    *r = (sol_step_record){.step = t->step + 1,
                           .tokens = t->tokens + (uint64_t)tokens,
                           .lambda = sol_residual_lambda(&t->residual, step, c->train.steps),
                           .lr = sol_lr_at(&t->lr, step, c->train.steps),
                           .has_distill = sol_job_has_teacher(c),
                           .has_study = sol_study_due(t->study, step)};
    r->has_hidden = r->has_distill && c->distill.hidden_weight > 0;
    r->has_relation = r->has_distill && c->distill.relation_weight > 0;
    r->has_norms = r->has_distill && c->distill.grad_norms > 0 &&
                   r->step % (uint64_t)c->distill.grad_norms == 0;
    sol_status st = backward(t, r, err);
    if (st != SOL_OK) {
        t->batcher.drawn = drawn;
        return st;
    }
    r->skipped = !isfinite(r->loss) || !isfinite(r->grad_norm) || !isfinite(r->objective);
    if (!r->skipped && !c->optim.fused)
        sol_adamw_update(t->ctx, t->optim, t->model, sol_graph_grads(t->graph),
                         sol_clip_scale(r->grad_norm, c->train.grad_clip), (float)r->lr);
    t->step = r->step;
    t->tokens = r->tokens;
    t->skipped += r->skipped;
    r->seconds = sol_clock() - sol_study_seconds(t->study) - begun;
    r->tok_s = (double)tokens / r->seconds;
    return SOL_OK;
}
