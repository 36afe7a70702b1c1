/* The evaluation that is due after a step: loss and tasks of the model as it would ship, in the
 * latent form (Q(W) in float) and in the packed one. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>

/* A phase after a step. */
typedef struct step_phase {
    sol_phase phase;
    char what[64];
} step_phase;

static void step_phase_begin(step_phase *f, const sol_trainer *t, const char *what,
                             const char *unit)
{
    snprintf(f->what, sizeof f->what, "step %" PRIu64 "/%" PRId64 "  %s", t->step,
             t->config->train.steps, what);
    f->phase = (sol_phase){t->program, f->what, unit, sol_clock()};
}

/* sol_eval_watch: never interrupted, for the step is done and its line wants the figure. */
static bool watch_step_phase(void *phase, int64_t done, int64_t total)
{
    (void)sol_phase_show(phase, done, total);
    return true;
}

/* A loss that is not a number is a result (null in the line), not a failure of the run. */
static sol_status measure(sol_trainer *t, sol_net *net, bool *has, double *loss, sol_err *err)
{
    sol_err why = {0};
    sol_eval_result result = {0};
    step_phase f;
    step_phase_begin(&f, t, "evaluating", "tokens");
    sol_eval_opts o = {.windows = t->windows, .watch = {.fn = watch_step_phase, .user = &f.phase}};
    sol_status st = sol_eval_windows(net, &t->eval.file.tokens, &o, &result, &why);
    *has = true;
    *loss = st == SOL_OK ? result.loss : NAN;
    if (st == SOL_ERR_NONFINITE)
        sol_log_line(&t->program->log, SOL_LOG_WARN, "evaluation: %s", why.text);
    return st == SOL_OK || st == SOL_ERR_NONFINITE ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

/* As with the loss: scores that are not numbers do not end the run, the line goes without. */
static sol_status measure_tasks(sol_trainer *t, sol_net *net, sol_step_record *r, sol_err *err)
{
    step_phase f;
    sol_task_opts o = {.watch = {.fn = watch_step_phase, .user = &f.phase}};
    for (int i = 0; i < t->n_tasks; i++) {
        step_phase_begin(&f, t, t->tasks[i].kind->name, "items");
        sol_err why = {0};
        sol_status st = sol_task_run(net, t->tasks[i].task, &o, &t->tasks[i].result, &why);
        if (st != SOL_OK && st != SOL_ERR_NONFINITE)
            return sol_fail(err, st, "%s: %s", t->tasks[i].path, why.text);
        if (st != SOL_OK) {
            sol_log_line(&t->program->log, SOL_LOG_WARN, "%s: %s", t->tasks[i].path, why.text);
            return SOL_OK;
        }
        sol_log_line(&t->program->log, SOL_LOG_INFO, "%s: acc %.4f of %" PRId64 " items",
                     t->tasks[i].kind->name, t->tasks[i].result.acc, t->tasks[i].result.n);
    }
    r->tasks = t->tasks;
    r->n_tasks = t->n_tasks;
    return SOL_OK;
}

/* Q(W) at lambda 0 in float. */
static sol_status evaluate_latent(sol_trainer *t, sol_step_record *r, bool tasks, sol_err *err)
{
    sol_net *net = NULL;
    sol_status st = sol_net_from_model(&net, t->ctx, t->model, t->tokenizer, &t->quant, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_eval, &r->eval_loss, err);
    if (st == SOL_OK && tasks) st = measure_tasks(t, net, r, err);
    sol_net_free(&net);
    return st;
}

/* What an export would write, by the kernels it ships with: bit for bit where the job says what
 * embedding and head are rounded to, else with them in f16. */
static sol_status evaluate_packed(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_quant_spec *spec = &t->quant;
    sol_dtype type = spec->embed_type != SOL_F32 ? spec->embed_type : SOL_F16;
    sol_net *net = NULL;
    sol_packed_model packed = {0};
    sol_err why = {0};
    sol_status st = sol_packed_model_from(t->ctx, &packed, t->model, spec, type, NULL, &why);
    if (st == SOL_ERR_NONFINITE) { /* weights that cannot ship, with the same consequence as a loss
                                      that is no number */
        sol_log_line(&t->program->log, SOL_LOG_WARN, "packing: %s", why.text);
        r->has_packed = true;
        r->packed_loss = NAN;
        return SOL_OK;
    }
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    packed.tokenizer = t->tokenizer; /* lent, for the tasks */
    st = sol_net_from_packed(&net, t->ctx, &packed, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_packed, &r->packed_loss, err);
    if (st == SOL_OK) st = measure_tasks(t, net, r, err);
    sol_net_free(&net);
    packed.tokenizer = NULL;
    sol_packed_model_free(&packed);
    return st;
}

/* The loss of m in full precision. */
static sol_status measure_full(sol_trainer *t, const sol_model *m, double *loss, sol_err *err)
{
    sol_net *net = NULL;
    bool has;
    sol_status st = sol_net_from_model(&net, t->ctx, m, t->tokenizer, NULL, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &has, loss, err);
    sol_net_free(&net);
    sol_live_clear(t->program);
    return st;
}

sol_status sol_trainer_measure_start(sol_trainer *t, bool added_norms, sol_err *err)
{
    sol_model plain = *t->model;
    double loss;
    if (t->config->train.eval_every == 0 || sol_config_random_shape(t->config)) return SOL_OK;
    if (!t->quant.method && !added_norms) return SOL_OK;
    if (added_norms) plain = sol_model_without_sub_norms(t->model);
    SOL_TRY(measure_full(t, &plain, &loss, err));
    if (!isfinite(loss)) return SOL_OK;
    t->full_loss = loss;
    sol_log_line(&t->program->log, SOL_LOG_INFO, "full precision, before step 1: eval %.4f", loss);
    if (!added_norms) return SOL_OK;
    SOL_TRY(measure_full(t, t->model, &loss, err));
    sol_log_line(&t->program->log, SOL_LOG_INFO,
                 "full precision with norms before o_proj and down_proj: eval %.4f", loss);
    return SOL_OK;
}

static sol_status evaluate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    bool packs = sol_quant_packable(&t->quant);
    if (t->config->train.eval_form != SOL_EVAL_PACKED) SOL_TRY(evaluate_latent(t, r, !packs, err));
    return packs ? evaluate_packed(t, r, err) : SOL_OK;
}

/* By rank 0, which writes the figures; all know the score. */
sol_status sol_trainer_evaluate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    sol_status st = sol_trainer_writes(t) ? evaluate(t, r, err) : SOL_OK;
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    double score = r->has_eval ? r->eval_loss : r->packed_loss;
    SOL_TRY(sol_dist_broadcast(t->dist, &score, sizeof score, err));
    if (score < t->best_eval_loss) {
        t->best_eval_loss = score;
        t->best_step = r->step;
    }
    return SOL_OK;
}
