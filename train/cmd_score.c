/* solera score: reads lines of token ids and prints their log-probabilities. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "open_net.h"
#include "text/filekind.h"

struct args {
    sol_net_args net;
    const char *ids;
};

static const sol_opt options[] = {
    {.name = "--ids",
     .value = "FILE",
     .kind = SOL_OPT_TEXT,
     .reads = true,
     .offset = offsetof(struct args, ids),
     .help = "a JSON array of token ids a line; without it: standard input"},
    SOL_NET_OPTIONS,
    {0},
};

typedef struct scorer {
    sol_net *net;
    const char *name; /* of the input */
    long long line;
    size_t n, cap_ids, cap_rows, cap_targets, cap_logprob;
    int32_t *id; /* [n] */
    sol_row *row;
    int32_t *target;
    double *logprob;
} scorer;

static sol_status grow(scorer *s, size_t n, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&s->id, &s->cap_ids, n, sizeof *s->id, err));
    SOL_TRY(sol_grow_array((void **)&s->row, &s->cap_rows, n, sizeof *s->row, err));
    SOL_TRY(sol_grow_array((void **)&s->target, &s->cap_targets, n, sizeof *s->target, err));
    return sol_grow_array((void **)&s->logprob, &s->cap_logprob, n, sizeof *s->logprob, err);
}

/* Fills s->id from a JSON array. */
static sol_status take_ids(scorer *s, const json_t *array, sol_err *err)
{
    long long V = sol_net_config(s->net)->vocab_size;
    s->n = json_array_size(array);
    if (!json_is_array(array) || s->n == 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s:%lld: a JSON array of at least one token id is expected", s->name,
                        s->line);
    SOL_TRY(grow(s, s->n, err));
    for (size_t i = 0; i < s->n; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item))
            return sol_fail(err, SOL_ERR_FORMAT, "%s:%lld: item %zu is not a whole number", s->name,
                            s->line, i + 1);
        if (json_integer_value(item) < 0 || json_integer_value(item) >= V)
            return sol_fail(err, SOL_ERR_RANGE,
                            "%s:%lld: item %zu is %lld: the vocabulary is 0..%lld", s->name,
                            s->line, i + 1, (long long)json_integer_value(item), V - 1);
        s->id[i] = (int32_t)json_integer_value(item);
    }
    return SOL_OK;
}

/* s->logprob = the log-probability of each of ids[1 .. n], given all ids before it. */
static sol_status find_logprobs(scorer *s, int64_t n, sol_err *err)
{
    sol_kv *kv = NULL;
    if (n == 0) return SOL_OK;
    SOL_TRY(sol_kv_create(&kv, s->net, n, err));
    for (int64_t i = 0; i < n; i++) {
        s->row[i] = (sol_row){.kv = kv, .token = s->id[i]};
        s->target[i] = s->id[i + 1];
    }
    sol_status st = sol_net_logprobs(s->net, s->row, n, s->target, s->logprob, err);
    sol_kv_free(&kv);
    return st;
}

/* JSON has no word for what is not finite. */
static sol_status check_logprobs(const scorer *s, int64_t n, sol_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(s->logprob[i]))
            return sol_fail(err, SOL_ERR_NONFINITE,
                            "the log-probability of item %lld is %g: the model's weights are "
                            "broken",
                            (long long)i + 2, s->logprob[i]);
    return SOL_OK;
}

/* Prints the log-probabilities of ids[1..]; the last id is only a target. */
static sol_status answer(scorer *s, sol_err *err)
{
    int64_t n = (int64_t)s->n - 1;
    sol_status st = find_logprobs(s, n, err);
    if (st == SOL_OK) st = check_logprobs(s, n, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s:%lld", s->name, s->line);
    putchar('[');
    for (int64_t i = 0; i < n; i++) printf("%s%.9g", i ? ", " : "", s->logprob[i]);
    puts("]");
    fflush(stdout);
    return SOL_OK;
}

static sol_status score_line(scorer *s, const char *line, size_t n, sol_err *err)
{
    json_error_t where;
    size_t bom = s->line == 1 ? sol_text_bom(line, n) : 0;
    line += bom;
    n -= bom;
    json_t *array = sol_json_load(line, n, 0, &where);
    if (!array)
        return sol_fail(err, SOL_ERR_FORMAT, "%s:%lld:%d: not a JSON array of token ids: %s",
                        s->name, s->line, where.column, where.text);
    sol_status st = take_ids(s, array, err);
    if (st == SOL_OK) st = answer(s, err);
    json_decref(array);
    return st;
}

/* Line by line, so that a program at the other end of a pipe gets each answer at once. */
static sol_status score_lines(scorer *s, FILE *from, sol_err *err)
{
    char *line = NULL;
    size_t capacity = 0;
    sol_status st = SOL_OK;
    for (ssize_t n; (n = getline(&line, &capacity, from)) >= 0;) {
        s->line++;
        st = score_line(s, line, (size_t)n, err);
        if (st != SOL_OK) break;
    }
    if (st == SOL_OK && ferror(from)) st = sol_fail_errno(err, s->name, "cannot read");
    if (st == SOL_OK && s->line == 0)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: is empty: JSON arrays of token ids are expected",
                      s->name);
    free(line);
    return st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    scorer s = {.name = a->ids ? a->ids : "standard input"};
    FILE *from = a->ids ? fopen(a->ids, "r") : stdin;
    if (!from) return sol_fail_errno(err, a->ids, "cannot open");
    sol_status st = sol_program_net(p, &a->net, p->word[0], &s.net, err);
    if (st == SOL_OK) st = score_lines(&s, from, err);
    if (a->ids) fclose(from);
    sol_free(s.id);
    sol_free(s.row);
    sol_free(s.target);
    sol_free(s.logprob);
    sol_net_free(&s.net);
    return st;
}

const sol_verb sol_verb_score = {
    .name = "score",
    .words = "MODEL",
    .min_words = 1,
    .max_words = 1,
    .takes_model = true,
    .summary = "log-probabilities of given token ids",
    .details = "Each line of the input is a JSON array of ids, taken as they are (put BOS in front "
               "yourself); each line of the output is\n"
               "the JSON array of natural-log probabilities of ids[1..], every one given all ids "
               "before it.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
