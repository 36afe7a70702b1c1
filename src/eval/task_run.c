/* Scores the items of a task, which task_read.c has read: the choices of several items share
 * forward passes, common prefixes are computed once, and ranks take such groups in turns. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "eval/tasks.h"
#include "eval/turns.h"
#include "text/blank.h"

/* Items that go through the network together, as far as their tokens fit. */
enum { GROUP_ITEMS = 64, GROUP_TOKENS = 8192 };

/* One choice as tokens: rows 0..n-2 are computed, the last n_continuation tokens are predicted. */
typedef struct request {
    sol_ids ids;
    int64_t n_continuation;
} request;

typedef struct member {
    request *request; /* [n_choices]; owned */
    double *score;    /* [n_choices], of the turn */
    int64_t shared;   /* leading tokens that all choices have and none predicts from */
    int64_t longest;  /* rows of the longest choice */
    sol_kv *kv;
} member;

typedef struct runner {
    sol_net *net;
    const sol_task *task;
    const sol_task_opts *o;
    sol_task_result *r;
    member group[GROUP_ITEMS];
    int n_group;
    int64_t first; /* item of group[0] */
    size_t n, cap_rows, cap_targets, cap_logprob, cap_owner;
    sol_row *row;
    int32_t *target;
    double *logprob;
    double **owner;  /* [n] where the log-probability of a row goes */
    sol_turns turns; /* a batch is a group */
    int64_t counted; /* items */
    int64_t right, right_norm;
} runner;

static void free_group(runner *r)
{
    for (int i = 0; i < r->n_group; i++) {
        member *m = &r->group[i];
        if (m->request)
            for (int c = 0; c < r->task->item[r->first + i].n_choices; c++)
                sol_ids_free(&m->request[c].ids);
        sol_free(m->request);
        sol_kv_free(&m->kv);
    }
    r->n_group = 0;
}

/* BOS, else EOS: what a continuation without context follows. */
static sol_status add_prefix(const sol_net *net, sol_ids *ids, sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    int64_t id = c->bos_token_id >= 0 ? c->bos_token_id : c->eos_token_id;
    if (id < 0)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "a choice without context: the model has neither BOS nor EOS to begin with");
    SOL_TRY(sol_grow_array((void **)&ids->id, &ids->capacity, ids->n + 1, sizeof *ids->id, err));
    ids->id[ids->n++] = (int32_t)id;
    return SOL_OK;
}

/* Cuts a choice, of which the first `skip` tokens are context, from the left to what the model can
 * read. The harness stops, too, at a continuation without tokens, as where a merge takes its only
 * character. */
static sol_status cut_request(const runner *r, size_t skip, request *q, bool *cut, sol_err *err)
{
    size_t limit = (size_t)sol_net_config(r->net)->max_position_embeddings + 1;
    if (q->ids.n <= skip)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "a choice has no token behind its context");
    q->n_continuation = (int64_t)(q->ids.n - skip);
    if (q->ids.n <= limit) return SOL_OK;
    *cut = true;
    memmove(q->ids.id, q->ids.id + q->ids.n - limit, limit * sizeof *q->ids.id);
    q->ids.n = limit;
    if (q->n_continuation > (int64_t)limit - 1) q->n_continuation = (int64_t)limit - 1;
    return SOL_OK;
}

/* Tokens of one choice. *cut: set where its beginning is left out. */
static sol_status make_request(const runner *r, const sol_task_choice *choice, request *q,
                               bool *cut, sol_err *err)
{
    const sol_tokenizer *t = sol_net_tokenizer(r->net);
    int flags = SOL_ENCODE_SPECIAL | (r->o->no_bos ? 0 : SOL_ENCODE_BOS);
    size_t whole = strlen(choice->context), n = whole;
    sol_text text = {0};
    sol_ids context = {0};
    for (size_t k; (k = sol_blank_last(choice->context, n)) > 0;) n -= k;
    sol_status st = sol_text_add(&text, err, "%s%s", choice->context, choice->continuation);
    if (st == SOL_OK && n > 0) st = sol_tokenizer_encode(t, text.data, n, flags, &context, err);
    if (st == SOL_OK && n == 0) st = add_prefix(r->net, &q->ids, err);
    size_t prefix = q->ids.n;
    if (st == SOL_OK)
        st = sol_tokenizer_encode(t, text.data, text.n, n > 0 ? flags : SOL_ENCODE_SPECIAL, &q->ids,
                                  err);
    if (st == SOL_OK) st = cut_request(r, prefix + context.n, q, cut, err);
    sol_free(text.data);
    sol_ids_free(&context);
    return st;
}

/* The choices of item i as tokens, and what they have in common. free_group releases what is made,
 * on failure, too. */
static sol_status make_member(runner *r, int64_t i, member *m, sol_err *err)
{
    const sol_task_item *item = &r->task->item[i];
    size_t n = (size_t)item->n_choices;
    bool cut = false;
    SOL_TRY(sol_alloc_array((void **)&m->request, n, sizeof *m->request, err));
    for (int c = 0; c < item->n_choices; c++) {
        request *q = &m->request[c];
        const request *q0 = m->request;
        SOL_TRY(make_request(r, &item->choice[c], q, &cut, err));
        int64_t rows = (int64_t)q->ids.n - 1, free_rows = rows - q->n_continuation, same = 0;
        while (same < (int64_t)q->ids.n && same < (int64_t)q0->ids.n &&
               q->ids.id[same] == q0->ids.id[same])
            same++;
        if (free_rows < same) same = free_rows;
        if (c == 0 || same < m->shared) m->shared = same;
        if (rows > m->longest) m->longest = rows;
    }
    r->r->n_cut += cut;
    return SOL_OK;
}

static sol_status add_row(runner *r, sol_kv *kv, int32_t token, int32_t target, double *owner,
                          sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&r->row, &r->cap_rows, r->n + 1, sizeof *r->row, err));
    SOL_TRY(sol_grow_array((void **)&r->target, &r->cap_targets, r->n + 1, sizeof *r->target, err));
    SOL_TRY(
        sol_grow_array((void **)&r->logprob, &r->cap_logprob, r->n + 1, sizeof *r->logprob, err));
    SOL_TRY(sol_grow_array((void **)&r->owner, &r->cap_owner, r->n + 1, sizeof *r->owner, err));
    r->row[r->n] = (sol_row){.kv = kv, .token = token};
    r->target[r->n] = target;
    r->owner[r->n++] = owner;
    return SOL_OK;
}

/* Computes the gathered rows and adds their log-probabilities to their owners. */
static sol_status flush(runner *r, sol_err *err)
{
    int64_t n = (int64_t)r->n;
    if (n == 0) return SOL_OK;
    SOL_TRY(sol_net_logprobs(r->net, r->row, n, r->target, r->logprob, err));
    for (int64_t i = 0; i < n; i++)
        if (r->target[i] >= 0) *r->owner[i] += r->logprob[i];
    r->r->tokens += n;
    r->n = 0;
    return SOL_OK;
}

/* Computes the shared beginnings of all members, then choice after choice behind them. */
static sol_status score_group(runner *r, sol_err *err)
{
    int max_choices = 0;
    for (int i = 0; i < r->n_group; i++) {
        member *m = &r->group[i];
        int n = r->task->item[r->first + i].n_choices;
        max_choices = n > max_choices ? n : max_choices;
        SOL_TRY(sol_kv_create(&m->kv, r->net, m->longest > 0 ? m->longest : 1, err));
        for (int64_t k = 0; k < m->shared; k++)
            SOL_TRY(add_row(r, m->kv, m->request[0].ids.id[k], -1, NULL, err));
    }
    SOL_TRY(flush(r, err));
    for (int c = 0; c < max_choices; c++) {
        for (int i = 0; i < r->n_group; i++) {
            member *m = &r->group[i];
            if (c >= r->task->item[r->first + i].n_choices) continue;
            const request *q = &m->request[c];
            int64_t rows = (int64_t)q->ids.n - 1;
            sol_kv_truncate(m->kv, m->shared);
            if (q->n_continuation > 0)
                for (int64_t k = m->shared; k < rows; k++)
                    SOL_TRY(add_row(r, m->kv, q->ids.id[k],
                                    k < rows - q->n_continuation ? -1 : q->ids.id[k + 1],
                                    &m->score[c], err));
        }
        SOL_TRY(flush(r, err));
    }
    return SOL_OK;
}

/* The choice with the highest score; norm [n]: with the highest score by character. Of equals the
 * first, as numpy's argmax has it. */
static int best(const double *score, int n, const sol_task_choice *norm)
{
    int top = 0;
    for (int c = 1; c < n; c++) {
        double a = norm ? score[c] / (double)norm[c].characters : score[c];
        double b = norm ? score[top] / (double)norm[top].characters : score[top];
        if (a > b) top = c;
    }
    return top;
}

/* Counts the next items, as many as there are scores of. */
static sol_status count_items(void *user, const double *score, size_t n, sol_err *err)
{
    runner *r = user;
    for (const double *end = score + n; score < end; r->counted++) {
        const sol_task_item *item = &r->task->item[r->counted];
        for (int c = 0; c < item->n_choices; c++)
            if (!isfinite(score[c]))
                return sol_fail(err, SOL_ERR_NONFINITE,
                                "item %lld: a score is %g: the model's weights are broken",
                                (long long)r->counted, score[c]);
        int plain = best(score, item->n_choices, NULL),
            norm = best(score, item->n_choices, item->choice);
        r->right += plain == item->gold;
        r->right_norm += norm == item->gold;
        if (r->o->sample)
            SOL_TRY(r->o->sample(r->o->sample_user, r->task, r->counted, score, plain, norm, err));
        score += item->n_choices;
    }
    return SOL_OK;
}

/* Standard error of the mean of n zeros and ones with `right` ones. */
static double standard_error(int64_t right, int64_t n)
{
    double p = (double)right / (double)n;
    return n > 1 ? sqrt(p * (1 - p) / (double)(n - 1)) : 0;
}

/* Makes the group of the items from r->first on, as many as fit; *n: its choices. */
static sol_status make_group(runner *r, size_t *n, sol_err *err)
{
    int64_t tokens = 0;
    *n = 0;
    while (r->first + r->n_group < r->task->n && r->n_group < GROUP_ITEMS &&
           tokens < GROUP_TOKENS) {
        int64_t i = r->first + r->n_group;
        member *m = &r->group[r->n_group++];
        *m = (member){0};
        sol_status st = make_member(r, i, m, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "item %lld", (long long)i);
        tokens += m->longest;
        *n += (size_t)r->task->item[i].n_choices;
    }
    return SOL_OK;
}

static sol_status run_group(runner *r, sol_err *err)
{
    size_t n;
    double *score;
    bool mine = sol_turns_mine(&r->turns);
    SOL_TRY(make_group(r, &n, err));
    int64_t done = r->first + r->n_group;
    SOL_TRY(sol_turns_begin(&r->turns, n, &score, err));
    for (int i = 0; i < r->n_group; i++) {
        r->group[i].score = score;
        score += r->task->item[r->first + i].n_choices;
    }
    sol_status st = mine ? score_group(r, err) : SOL_OK;
    if (st == SOL_OK && r->o->watch.fn && !r->o->watch.fn(r->o->watch.user, done, r->task->n))
        st = sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return sol_turns_done(&r->turns, st, err);
}

static sol_status run_groups(runner *r, sol_err *err)
{
    while (r->first < r->task->n) {
        sol_status st = run_group(r, err);
        int64_t n = r->n_group;
        free_group(r);
        if (st != SOL_OK) return st;
        r->first += n;
    }
    return SOL_OK;
}

/* Each rank has counted its own. */
static sol_status add_tokens(sol_dist *d, int64_t *tokens, sol_err *err)
{
    int64_t all[SOL_DIST_MAX];
    if (sol_dist_size(d) == 1) return SOL_OK;
    SOL_TRY(sol_dist_gather(d, tokens, sizeof *tokens, all, err));
    *tokens = 0;
    for (int i = 0; i < sol_dist_size(d); i++) *tokens += all[i];
    return SOL_OK;
}

sol_status sol_task_run(sol_net *net, const sol_task *t, const sol_task_opts *o, sol_task_result *r,
                        sol_err *err)
{
    runner run = {.net = net, .task = t, .o = o, .r = r};
    double start = sol_clock();
    *r = (sol_task_result){.n = t->n};
    run.turns = (sol_turns){.dist = o->dist, .take = count_items, .user = &run};
    if (!sol_net_tokenizer(net))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "the model has no tokenizer, so that tasks cannot be read");
    sol_status st = sol_turns_end(&run.turns, run_groups(&run, err), err);
    if (st == SOL_OK) st = add_tokens(o->dist, &r->tokens, err);
    if (st == SOL_OK) {
        r->acc = (double)run.right / (double)t->n;
        r->acc_norm = (double)run.right_norm / (double)t->n;
        r->acc_stderr = standard_error(run.right, t->n);
        r->acc_norm_stderr = standard_error(run.right_norm, t->n);
        r->seconds = sol_clock() - start;
    }
    sol_free(run.row);
    sol_free(run.target);
    sol_free(run.logprob);
    sol_free(run.owner);
    return st;
}
