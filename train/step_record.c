/* The line of metrics.jsonl that a step becomes; metrics.c reads it back. */
#include "step_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static size_t add_number(char *out, size_t n, const char *name, double x)
{
    if (!isfinite(x)) return n + (size_t)sprintf(out + n, ", \"%s\": null", name);
    return n + (size_t)sprintf(out + n, ", \"%s\": %.9g", name, x);
}

/* "tasks": {"piqa": {"acc": 0.61, "acc_norm": 0.62, "items": 100}, ...} */
static size_t add_tasks(char *out, size_t n, const sol_step_record *r)
{
    for (int i = 0; i < r->n_tasks; i++) {
        const sol_task_plan *t = &r->tasks[i];
        n += (size_t)sprintf(out + n, "%s\"%s\": {\"acc\": %.6g", i ? ", " : ", \"tasks\": {",
                             t->kind->name, t->result.acc);
        if (t->kind->norm) n = add_number(out, n, "acc_norm", t->result.acc_norm);
        n += (size_t)sprintf(out + n, ", \"items\": %" PRId64 "}", t->result.n);
    }
    return r->n_tasks ? n + (size_t)sprintf(out + n, "}") : n;
}

static size_t add_norms(char *out, size_t n, const sol_step_record *r)
{
    static const char *const names[SOL_TRAINER_TERMS] = {"next_token", "distill", "hidden",
                                                         "relation"};
    const char *comma = "";
    n += (size_t)sprintf(out + n, ", \"grad_norms\": {");
    for (int i = 0; i < SOL_TRAINER_TERMS; i++) {
        if (r->norm[i] < 0) continue;
        n += (size_t)sprintf(out + n, "%s\"%s\": ", comma, names[i]);
        n += isfinite(r->norm[i]) ? (size_t)sprintf(out + n, "%.9g", r->norm[i])
                                  : (size_t)sprintf(out + n, "null");
        comma = ", ";
    }
    return n + (size_t)sprintf(out + n, "}");
}

size_t sol_step_record_json(const sol_step_record *r, char *out)
{
    size_t n =
        (size_t)sprintf(out, "{\"step\": %" PRIu64 ", \"tokens\": %" PRIu64, r->step, r->tokens);
    n = add_number(out, n, "loss", r->loss);
    n = add_number(out, n, "lr", r->lr);
    n = add_number(out, n, "lambda", r->lambda);
    n = add_number(out, n, "grad_norm", r->grad_norm);
    if (r->has_distill) n = add_number(out, n, "objective", r->objective);
    if (r->has_distill) n = add_number(out, n, "distill_loss", r->distill_loss);
    if (r->has_hidden) n = add_number(out, n, "hidden_loss", r->hidden_loss);
    if (r->has_relation) n = add_number(out, n, "relation_loss", r->relation_loss);
    if (r->has_norms) n = add_norms(out, n, r);
    if (r->has_eval) n = add_number(out, n, "eval_loss", r->eval_loss);
    if (r->has_packed) n = add_number(out, n, "packed_loss", r->packed_loss);
    n = add_tasks(out, n, r);
    if (r->skipped) n += (size_t)sprintf(out + n, ", \"skipped\": true");
    n = add_number(out, n, "tok_s", r->tok_s);
    if (r->has_exchange) n = add_number(out, n, "exchange", r->exchange);
    if (r->has_exchange) n = add_number(out, n, "exchange_hidden", r->hidden);
    return n + (size_t)sprintf(out + n, "}\n");
}
