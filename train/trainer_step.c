/* The computation of one step: a batch, forward and backward over the lanes of this rank, the sum
 * over all ranks, the gradient's norm, the update. What is due after it stands in the loop
 * (trainer.c). */
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

/* Draws all micro-batches of the step, on every rank, so that the weight of the mean is known
 * before the first backward pass. *counted: targets that count. Ids come from a file: none may
 * leave the vocabulary. */
static sol_status draw(sol_trainer *t, int64_t *counted, sol_err *err)
{
    int64_t vocab = t->model->config.vocab_size, n = sol_trainer_micro_tokens(t);
    *counted = 0;
    for (int64_t i = 0; i < sol_trainer_micro_batches(t); i++) {
        micro_batch b = batch_at(t, n, i);
        uint64_t first = t->batcher.drawn;
        sol_batcher_next(&t->batcher, t->cut.rows, b.inputs, b.targets, b.doc_start);
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

/* Whether the loss of some rank is not finite, with a fused update before the first part of it. */
static sol_status ask_losses(sol_trainer *t, double loss_sum, sol_err *err)
{
    sol_reduction *d = &t->reduction;
    bool mine = !isfinite(loss_sum), all[SOL_DIST_MAX];
    int64_t first = sol_lanes_first(t->lanes) * t->cut.micro;
    for (int64_t i = 0; i + 1 < sol_lanes_own(t->lanes) * t->cut.micro; i++)
        mine = mine || !isfinite(t->sums[first + i].loss);
    d->asked = true;
    SOL_TRY(sol_dist_gather(t->dist, &mine, sizeof mine, all, err));
    for (int i = 0; i < sol_dist_size(t->dist); i++) d->stop = d->stop || all[i];
    return SOL_OK;
}

static void update_part(sol_trainer *t, const sol_graph_part *part, double norm)
{
    sol_reduction *d = &t->reduction;
    d->stop = d->stop || !isfinite(norm);
    if (d->stop) return;
    if (!d->begun) sol_adamw_begin(t->optim, d->lr);
    d->begun = true;
    sol_adamw_update_params(t->ctx, t->optim, t->model, part->first, part->n, part->grads, 1);
    d->updated = *part;
}

/* The part that is under way arrives. */
static sol_status end_part(sol_trainer *t, sol_err *err)
{
    sol_reduction *d = &t->reduction;
    sol_graph_part part = d->under_way;
    double norm;
    if (part.n == 0) return SOL_OK;
    d->under_way.n = d->updated.n = 0;
    SOL_TRY(sol_lanes_end(t->lanes, &norm, err));
    d->square += norm * norm;
    if (t->shard_grads) sol_lanes_take(t->lanes, &part, t->shard_grads);
    if (t->config->optim.fused) update_part(t, &part, norm);
    return SOL_OK;
}

static sol_status begin_part(sol_trainer *t, const sol_graph_part *part, sol_err *err)
{
    sol_reduction *d = &t->reduction;
    if (t->config->optim.fused && !d->asked) SOL_TRY(ask_losses(t, part->loss_sum, err));
    SOL_TRY(end_part(t, err));
    sol_lanes_begin(t->lanes, part, d->updated.n ? &d->updated : NULL, t->model);
    d->under_way = *part;
    /* One rank awaits nothing, and has no second place for the next block. */
    return sol_dist_size(t->dist) == 1 ? end_part(t, err) : SOL_OK;
}

/* sol_graph_done_fn */
static void on_part(void *user, const sol_graph_part *part)
{
    sol_trainer *t = user;
    sol_reduction *d = &t->reduction;
    if (d->status == SOL_OK) d->status = begin_part(t, part, d->err);
}

/* Behind the backward pass: the last part, and with optim.fused its parameters. */
static sol_status end_parts(sol_trainer *t, sol_err *err)
{
    sol_reduction *d = &t->reduction;
    SOL_TRY(d->status);
    SOL_TRY(end_part(t, err));
    return d->updated.n ? sol_lanes_share_params(t->lanes, &d->updated, t->model, err) : SOL_OK;
}

static void add_distilled(sol_graph_distilled *sum, sol_graph_distilled x)
{
    sum->distill += x.distill;
    sum->hidden += x.hidden;
    sum->relation += x.relation;
    sum->objective += x.objective;
}

/* The first micro-batch of a step alone, term by term, on every rank; the step itself begins anew
 * afterwards. */
static sol_status measure_norms(sol_trainer *t, sol_step_record *r, int64_t counted, uint64_t drawn,
                                sol_err *err)
{
    const sol_config *c = t->config;
    const double weight[SOL_TRAINER_TERMS] = {c->distill.ce_weight, c->distill.weight,
                                              c->distill.hidden_weight, c->distill.relation_weight};
    float share = (float)sol_trainer_micro_batches(t) / (float)counted;
    micro_batch b = batch_at(t, sol_trainer_micro_tokens(t), 0);
    SOL_TRY(sol_job_teacher_feed(c, &t->teacher, t->graph, &t->batcher, drawn, t->cut.rows, err));
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

/* All that this rank may be stopped by before micro-batch i, whose first window is draw number
 * `drawn` of the step. */
static sol_status prepare_micro(sol_trainer *t, uint64_t drawn, int64_t i, sol_err *err)
{
    if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return sol_job_teacher_feed(t->config, &t->teacher, t->graph, &t->batcher,
                                drawn + (uint64_t)(i * t->cut.rows), t->cut.rows, err);
}

static void compute_micro(sol_trainer *t, const sol_step_record *r, int64_t counted, int64_t i)
{
    micro_batch b = batch_at(t, sol_trainer_micro_tokens(t), i);
    sol_micro_sums *s = &t->sums[i];
    int64_t n;
    sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, 1.0f / (float)counted,
                         &s->loss, &n);
    if (r->has_distill) s->distilled = sol_graph_last_distilled(t->graph);
    if (!t->cut.by_layer && (i + 1) % t->cut.micro == 0)
        sol_lanes_add(t->lanes, i / t->cut.micro - sol_lanes_first(t->lanes),
                      sol_graph_grads(t->graph));
}

/* The lanes of this rank. Before its last micro-batch, after which nothing can fail that others do
 * not know of, it asks them whether all go on. */
static sol_status compute_lanes(sol_trainer *t, const sol_step_record *r, sol_status st,
                                int64_t counted, uint64_t drawn, sol_err *err)
{
    int64_t first = sol_lanes_first(t->lanes) * t->cut.micro,
            end = first + sol_lanes_own(t->lanes) * t->cut.micro;
    for (int64_t i = first; i < end; i++) {
        bool last = i + 1 == end;
        if (st == SOL_OK) st = prepare_micro(t, drawn, i, err);
        if (st != SOL_OK || last) SOL_TRY(sol_dist_agree(t->dist, st, err));
        if (st == SOL_OK && last && t->study && r->has_study) sol_study_watch(t->study, t->graph);
        if (t->cut.in_parts) sol_graph_on_gradients(t->graph, last ? on_part : NULL, t);
        compute_micro(t, r, counted, i);
    }
    sol_graph_on_gradients(t->graph, NULL, NULL);
    return end_parts(t, err);
}

/* The figures of all micro-batches, to all ranks. */
static sol_status share_sums(sol_trainer *t, sol_err *err)
{
    int size = sol_dist_size(t->dist);
    size_t n = (size_t)sol_trainer_micro_batches(t) / (size_t)size * sizeof *t->sums;
    sol_dist_range of[SOL_DIST_MAX];
    for (int i = 0; i < size; i++) of[i] = (sol_dist_range){(size_t)(size - 1 - i) * n, n};
    return sol_dist_share(t->dist, t->sums, of, err);
}

static void add_sums(const sol_trainer *t, sol_step_record *r, int64_t counted)
{
    double sum = 0, n = (double)counted;
    sol_graph_distilled d = {0};
    for (int64_t i = 0; i < sol_trainer_micro_batches(t); i++) {
        sum += t->sums[i].loss;
        add_distilled(&d, t->sums[i].distilled);
    }
    r->loss = sum / n; /* NaN when nothing counts: the step is skipped */
    r->objective = r->has_distill ? d.objective / n : r->loss;
    r->distill_loss = d.distill / n;
    r->hidden_loss = d.hidden / n;
    r->relation_loss = d.relation / n;
}

/* The weights before the update, the gradients of this step. */
static sol_status record_study(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    sol_study_at at = {.step = (int64_t)t->step,
                       .tokens = (int64_t)t->tokens,
                       .lambda = r->lambda,
                       .lr = r->lr,
                       .loss = r->loss};
    return t->study ? sol_study_record(t->study, t->graph, &at, err) : SOL_OK;
}

/* Part i of the model, with the gradient of the whole graph where it has one. */
static sol_graph_part part_at(const sol_trainer *t, int i)
{
    sol_graph_part part = sol_graph_part_at(t->model, t->cut.in_parts, i);
    float *grads = sol_graph_grads(t->graph);
    if (grads) part.grads = grads + t->model->params[part.first].offset;
    return part;
}

/* The gradient of the step and its norm, in this rank's shard; with optim.fused its update, too. */
static sol_status backward(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    uint64_t drawn = t->batcher.drawn; /* the first window of the step */
    int64_t counted;
    sol_status st = draw(t, &counted, err);
    if (st == SOL_OK && r->has_norms) st = measure_norms(t, r, counted, drawn, err);
    sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda),
                         t->cut.micro);
    t->reduction = (sol_reduction){.lr = (float)r->lr, .stop = counted == 0, .err = err};
    SOL_TRY(compute_lanes(t, r, st, counted, drawn, err));
    SOL_TRY(share_sums(t, err));
    add_sums(t, r, counted);
    r->empty = counted == 0;
    r->grad_norm = sqrt(t->reduction.square);
    if (t->cut.in_parts) return SOL_OK;
    sol_graph_part all = part_at(t, 0);
    sol_lanes_begin(t->lanes, &all, NULL, t->model);
    return sol_lanes_end(t->lanes, &r->grad_norm, err);
}

/* The whole gradient, for rank 0, which records it. */
static sol_status add_study(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    for (int i = 0; i < sol_graph_part_count(t->model, t->cut.in_parts); i++) {
        sol_graph_part part = part_at(t, i);
        SOL_TRY(sol_lanes_share_grads(t->lanes, &part, err));
    }
    return sol_dist_agree(t->dist, record_study(t, r, err), err);
}

/* Part by part: the parameters of one travel while the next one is updated. */
static sol_status update(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    float scale = sol_clip_scale(r->grad_norm, t->config->train.grad_clip);
    double none;
    sol_adamw_begin(t->optim, (float)r->lr);
    for (int i = 0; i < sol_graph_part_count(t->model, t->cut.in_parts); i++) {
        sol_graph_part part = part_at(t, i);
        if (t->shard_grads)
            sol_adamw_update_shard(t->ctx, t->optim, t->model, part.first, part.n, t->shard_grads,
                                   scale);
        else
            sol_adamw_update_params(t->ctx, t->optim, t->model, part.first, part.n, part.grads,
                                    scale);
        if (i > 0) SOL_TRY(sol_lanes_end(t->lanes, &none, err));
        sol_lanes_begin(t->lanes, NULL, &part, t->model);
    }
    return sol_lanes_end(t->lanes, &none, err);
}

sol_status sol_trainer_step(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_config *c = t->config;
    int64_t step = (int64_t)t->step, tokens = sol_trainer_step_tokens(t);
    uint64_t drawn = t->batcher.drawn;
    double begun = sol_clock() - sol_study_seconds(t->study);
    sol_lanes_seconds before = sol_lanes_seconds_of(t->lanes), after;
    *r = (sol_step_record){.step = t->step + 1,
                           .tokens = t->tokens + (uint64_t)tokens,
                           .lambda = sol_residual_lambda(&t->residual, step, c->train.steps),
                           .lr = sol_lr_at(&t->lr, step, c->train.steps),
                           .has_distill = sol_job_has_teacher(c),
                           .has_study = sol_study_due(c->study.every, c->train.steps, step),
                           .has_exchange = sol_dist_size(t->dist) > 1};
    r->has_hidden = r->has_distill && c->distill.hidden_weight > 0;
    r->has_relation = r->has_distill && c->distill.relation_weight > 0;
    r->has_norms = r->has_distill && c->distill.grad_norms > 0 &&
                   r->step % (uint64_t)c->distill.grad_norms == 0;
    sol_status st = backward(t, r, err);
    if (st == SOL_OK && r->has_study) st = add_study(t, r, err);
    if (st != SOL_OK) {
        t->batcher.drawn = drawn;
        return st;
    }
    r->skipped = !isfinite(r->loss) || !isfinite(r->grad_norm) || !isfinite(r->objective);
    if (!r->skipped && !c->optim.fused) SOL_TRY(update(t, r, err));
    t->step = r->step;
    t->tokens = r->tokens;
    t->skipped += r->skipped && !r->empty;
    r->seconds = sol_clock() - sol_study_seconds(t->study) - begun;
    r->tok_s = (double)tokens / r->seconds;
    after = sol_lanes_seconds_of(t->lanes);
    r->exchange = (after.waited - before.waited) / r->seconds;
    r->hidden = (after.hidden - before.hidden) / r->seconds;
    return SOL_OK;
}
