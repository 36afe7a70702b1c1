/* The part of solera eval that runs zero-shot tasks and prints their table. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "eval_args.h"
#include "ranks.h"
#include "task_plan.h"

typedef struct evaluation {
    sol_program *program;
    const char *name; /* of the running task */
    double start;
    FILE *samples;
} evaluation;

static bool show(void *user, int64_t done, int64_t total)
{
    const evaluation *e = user;
    sol_phase phase = {e->program, e->name, "items", e->start};
    return sol_phase_show(&phase, done, total);
}

static sol_status write_sample(void *user, const sol_task *t, int64_t item, const double *score,
                               int picked, int picked_norm, sol_err *err)
{
    const evaluation *e = user;
    const sol_task_item *i = &t->item[item];
    json_t *scores = json_array(), *line;
    for (int c = 0; c < i->n_choices; c++) json_array_append_new(scores, json_real(score[c]));
    line =
        json_pack("{s:s, s:I, s:i, s:o, s:i, s:i}", "task", t->kind->name, "item", (json_int_t)item,
                  "gold", i->gold, "scores", scores, "picked", picked, "picked_norm", picked_norm);
    if (!line) return sol_fail(err, SOL_ERR_NOMEM, "out of memory for the samples");
    errno = 0;
    int bad = json_dumpf(line, e->samples, JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER);
    json_decref(line);
    return bad || putc('\n', e->samples) == EOF ? sol_fail_errno(err, "the samples", "cannot write")
                                                : SOL_OK;
}

static void print_table(const sol_task_plan *tasks, int n)
{
    double sum = 0;
    printf("| Task          | Items | Metric   |  Value |   | Stderr "
           "|\n|---------------|------:|----------|-------:|---|-------:|\n");
    for (int i = 0; i < n; i++) {
        const sol_task_result *r = &tasks[i].result;
        printf("| %-13s | %5lld | acc      | %.4f | ± | %.4f |\n", tasks[i].kind->name,
               (long long)r->n, r->acc, r->acc_stderr);
        if (tasks[i].kind->norm)
            printf("|               |       | acc_norm | %.4f | ± | %.4f |\n", r->acc_norm,
                   r->acc_norm_stderr);
        sum += r->acc;
    }
    printf("\naverage acc %.4f\n", sum / n);
}

static void print_json(const sol_task_plan *tasks, int n, const sol_net *net)
{
    double sum = 0;
    printf("{\"results\": {");
    for (int i = 0; i < n; i++) {
        const sol_task_result *r = &tasks[i].result;
        printf("%s\"%s\": {\"acc\": %.12g, \"acc_stderr\": %.12g, ", i ? ", " : "",
               tasks[i].kind->name, r->acc, r->acc_stderr);
        if (tasks[i].kind->norm)
            printf("\"acc_norm\": %.12g, \"acc_norm_stderr\": %.12g, ", r->acc_norm,
                   r->acc_norm_stderr);
        printf("\"items\": %lld, \"seconds\": %.3f, \"tok_s\": %.1f}", (long long)r->n, r->seconds,
               r->seconds > 0 ? (double)r->tokens / r->seconds : 0.0);
        sum += r->acc;
    }
    printf("}, \"average_acc\": %.12g, \"model_kind\": \"%s\", \"bits_per_weight\": %.6g}\n",
           sum / n, sol_net_kind_name(sol_net_kind_of(net)), sol_net_bits_per_weight(net));
}

static sol_status run_task(evaluation *e, const sol_eval_args *a, sol_net *net, sol_task_plan *t,
                           sol_err *err)
{
    const sol_task_result *r = &t->result;
    sol_task_opts o = {.no_bos = a->no_bos,
                       .watch = {.fn = show, .user = e},
                       .dist = e->program->dist,
                       .sample = e->samples ? write_sample : NULL,
                       .sample_user = e};
    e->name = t->kind->name;
    e->start = sol_clock();
    sol_status st = sol_task_run(net, t->task, &o, &t->result, err);
    sol_live_clear(e->program);
    if (st == SOL_ERR_INTERRUPTED) return st;
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s", t->path);
    sol_log_line(&e->program->log, SOL_LOG_INFO, "%s: %lld items, %.1f a second, %.0f tokens/s",
                 e->name, (long long)r->n, (double)r->n / (r->seconds + 1e-9),
                 (double)r->tokens / (r->seconds + 1e-9));
    if (r->n_cut > 0)
        sol_log_line(&e->program->log, SOL_LOG_WARN,
                     "%s: %lld items are longer than the model's context: what they begin with is "
                     "left out, as lm-evaluation-harness does",
                     e->name, (long long)r->n_cut);
    return SOL_OK;
}

static sol_status run_planned(evaluation *e, const sol_eval_args *a, sol_net *net,
                              sol_task_plan *tasks, int n, sol_err *err)
{
    for (int i = 0; i < n; i++) SOL_TRY(run_task(e, a, net, &tasks[i], err));
    return SOL_OK;
}

/* The samples would replace none of what is read. */
static sol_status check_samples(const char *samples, const char *model, const sol_task_plan *tasks,
                                int n, sol_err *err)
{
    SOL_TRY(sol_file_differs(model, samples, err));
    for (int i = 0; i < n; i++) SOL_TRY(sol_file_differs(tasks[i].path, samples, err));
    return SOL_OK;
}

/* The file of samples is there whole or not at all. */
static sol_status run_with_samples(evaluation *e, const sol_eval_args *a, sol_net *net,
                                   sol_task_plan *tasks, int n, sol_err *err)
{
    sol_replace out;
    int fd = -1;
    SOL_TRY(check_samples(a->samples, e->program->word[0], tasks, n, err));
    SOL_TRY(sol_replace_begin(&out, a->samples, 0, err));
    sol_status st = sol_own_open(&fd, out.temp_path, a->samples, O_WRONLY, err);
    if (st == SOL_OK && !(e->samples = fdopen(fd, "w")))
        st = sol_fail_errno(err, a->samples, "cannot open");
    if (st == SOL_OK) st = run_planned(e, a, net, tasks, n, err);
    if (e->samples && fclose(e->samples) != 0 && st == SOL_OK)
        st = sol_fail_errno(err, a->samples, "cannot write");
    if (st == SOL_OK) st = sol_replace_commit(&out, err);
    if (st != SOL_OK) sol_replace_abort(&out);
    return st;
}

/* Of all that is scored. */
static uint64_t tasks_digest(const sol_task_plan *tasks, int n)
{
    uint64_t h = SOL_FNV_START;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < tasks[i].task->n; k++) {
            const sol_task_item *item = &tasks[i].task->item[k];
            h = sol_fnv1a(h, &item->gold, sizeof item->gold);
            for (int c = 0; c < item->n_choices; c++) {
                const sol_task_choice *choice = &item->choice[c];
                h = sol_fnv1a(h, choice->context, strlen(choice->context) + 1);
                h = sol_fnv1a(h, choice->continuation, strlen(choice->continuation) + 1);
            }
        }
    return h;
}

/* Only rank 0 writes samples. */
sol_status sol_eval_run_tasks(sol_program *p, const sol_eval_args *a, sol_net *net, sol_err *err)
{
    sol_task_plan *tasks = NULL;
    evaluation e = {.program = p};
    int n = 0;
    bool samples = a->samples && sol_dist_rank(p->dist) == 0;
    sol_status st = sol_task_plans_read(&tasks, &n, a->tasks, a->task_dir, a->limit, err);
    st = sol_dist_agree(p->dist, st, err);
    if (st == SOL_OK) st = sol_ranks_compare(p->dist, "other tasks", tasks_digest(tasks, n), err);
    if (st == SOL_OK)
        st = samples ? run_with_samples(&e, a, net, tasks, n, err)
                     : run_planned(&e, a, net, tasks, n, err);
    if (st == SOL_OK && a->json)
        print_json(tasks, n, net);
    else if (st == SOL_OK)
        print_table(tasks, n);
    sol_task_plans_free(&tasks, n);
    return st;
}
