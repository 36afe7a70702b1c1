/* solera eval: loss and perplexity of token data or plain text; tasks are in eval_tasks.c. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "eval_args.h"
#include "output.h"
#include "ranks.h"
#include "text/docs.h"

static const sol_opt options[] = {
    {.name = "--data",
     .value = "D.h5",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_eval_args, data),
     .help = "a dataset, made by `solera tokenize` with the model's tokenizer"},
    {.name = "--seq",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_eval_args, seq),
     .preset = "-1",
     .min = -1,
     .max = 1e9,
     .with = "--data",
     .help = "--data: tokens a window; 0: the model's context, at most 2048; -1: as in the model's "
             "training"},
    {.name = "--windows",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_eval_args, max_windows),
     .preset = "-1",
     .min = -1,
     .max = 1e15,
     .with = "--data",
     .help = "--data: the first N windows only; 0: all; -1: as in the model's training"},
    {.name = "--documents",
     .value = "HOW",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(sol_eval_args, documents),
     .preset = "trained",
     .names = SOL_ENUM_TABLE(SOL_DOCUMENTS),
     .with = "--data",
     .help = "--data: joined, windows of the whole stream; apart, attention restarts at each "
             "document; trained: as in the model's "
             "training"},
    {.name = "--text",
     .value = "FILE",
     .kind = SOL_OPT_TEXT,
     .reads = true,
     .offset = offsetof(sol_eval_args, text),
     .help = "plain text in UTF-8, also gzipped, -: stdin: perplexity as papers print it"},
    {.name = "--context",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_eval_args, context),
     .min = 0,
     .max = 1e9,
     .with = "--text",
     .help = "--text: tokens a window; 0: the model's context, at most 2048"},
    {.name = "--stride",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_eval_args, stride),
     .min = 0,
     .max = 1e9,
     .with = "--text",
     .help = "--text: tokens from window to window; 0: as many as a window has"},
    {.name = "--special",
     .value = "WHEN",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(sol_eval_args, special),
     .preset = "auto",
     .names = SOL_ENUM_TABLE(SOL_SPECIAL_MODES),
     .with = "--text",
     .help = "--text: special tokens that it spells are tokens; auto: text, with a warning"},
    {.name = "--word-level",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_eval_args, word_level),
     .with = "--text",
     .help = "--text: also the word perplexity of lm-evaluation-harness (wikitext, "
             "add_bos_token=False)"},
    {.name = "--task",
     .value = "NAMES",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_eval_args, tasks),
     .help = "zero-shot tasks, with commas between: "
             "arc_easy,arc_challenge,hellaswag,piqa,winogrande; NAME=FILE reads FILE"},
    {.name = "--task-dir",
     .value = "DIR",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_eval_args, task_dir),
     .with = "--task",
     .help = "--task: where the files are; else $SOLERA_DATA/eval or data/eval"},
    {.name = "--limit",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_eval_args, limit),
     .min = 0,
     .max = 1e9,
     .with = "--task",
     .help = "--task: the first N items of each; 0: all"},
    {.name = "--no-bos",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_eval_args, no_bos),
     .with = "--task",
     .help = "--task: no BOS where the tokenizer puts one in front (lm-evaluation-harness with "
             "add_bos_token=False)"},
    {.name = "--samples",
     .value = "OUT.jsonl",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_eval_args, samples),
     .with = "--task",
     .help = "--task: write the scores of every item"},
    {.name = "--force",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_eval_args, force),
     .with = "--samples",
     .help = "--samples: replace the file even where solera did not write it"},
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_eval_args, json),
     .help = "print one JSON object"},
    SOL_NET_OPTIONS,
    {0},
};

static int64_t window_of(const sol_net *net, int64_t asked)
{
    int64_t context = sol_net_config(net)->max_position_embeddings;
    return asked ? asked : sol_min_i64(context, 2048);
}

/* A perplexity for JSON: of a loss above 709 it is no double. */
static const char *number(double x, char out[32])
{
    snprintf(out, 32, isfinite(x) ? "%.12g" : "null", x);
    return out;
}

/* The windows of an evaluation, and whose they are: of the options where one was given. */
typedef struct chosen {
    sol_windows windows;
    enum { FROM_TRAINING, FROM_DEFAULT, FROM_OPTIONS } from;
} chosen;

/* Those of the model's training, else the usual ones, in place of what no option asks for. */
static sol_status choose_windows(const sol_eval_args *a, const char *path, const sol_net *net,
                                 chosen *c, sol_err *err)
{
    sol_windows *w = &c->windows;
    sol_status st = sol_store_read_windows(path, w, err);
    c->from = w->seq ? FROM_TRAINING : FROM_DEFAULT;
    if (a->seq >= 0) w->seq = a->seq;
    if (a->max_windows >= 0) w->max = a->max_windows;
    if (a->documents != SOL_DOCUMENTS_TRAINED) w->apart = a->documents == SOL_DOCUMENTS_APART;
    if (a->seq >= 0 || a->max_windows >= 0 || a->documents != SOL_DOCUMENTS_TRAINED)
        c->from = FROM_OPTIONS;
    w->seq = window_of(net, w->seq);
    return st;
}

static void print_data(const sol_eval_args *a, const sol_net *net, const chosen *c,
                       const sol_eval_result *r)
{
    const char *kind = sol_net_kind_name(sol_net_kind_of(net));
    const sol_windows *w = &c->windows;
    static const char *const words[][2] = {
        [FROM_TRAINING] = {"training", "as the model's training measured itself"},
        [FROM_DEFAULT] = {"default", "by default: the file says nothing of a training"},
        [FROM_OPTIONS] = {"options", "as asked for"}};
    const char *documents = w->apart ? "apart" : "joined", *const *from = words[c->from];
    char count[32] = "all", ppl[32];
    if (w->max) snprintf(count, sizeof count, "the first %lld", (long long)w->max);
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0,
           bits = sol_net_bits_per_weight(net);
    if (a->json)
        printf("{\"loss\": %.12g, \"ppl\": %s, \"tokens\": %lld, \"model_kind\": \"%s\", "
               "\"bits_per_weight\": %.6g, "
               "\"seq\": %lld, \"windows\": %lld, \"documents\": \"%s\", \"bos\": \"none\", "
               "\"windows_from\": \"%s\", \"seconds\": %.3f, "
               "\"tok_s\": %.1f}\n",
               r->loss, number(r->ppl, ppl), (long long)r->tokens, kind, bits, (long long)w->seq,
               (long long)w->max, documents, from[0], r->seconds, rate);
    else
        printf("loss             %.4f nats a token\nperplexity       %.4f\n"
               "tokens           %lld in %s windows of %lld, documents %s, no BOS added\n"
               "windows          %s\nmodel            %s, %.4g bits a weight\nspeed            "
               "%.0f tokens/s\n",
               r->loss, r->ppl, (long long)r->tokens, count, (long long)w->seq, documents, from[1],
               kind, bits, rate);
}

static sol_status eval_data(sol_program *p, const sol_eval_args *a, sol_net *net,
                            const sol_dataset *data, sol_err *err)
{
    sol_eval_result r;
    chosen c;
    sol_status st = choose_windows(a, p->word[0], net, &c, err);
    if (st != SOL_OK) return st;
    sol_phase phase = {p, "evaluating", "tokens", sol_clock()};
    sol_eval_opts o = {
        .windows = c.windows, .watch = {.fn = sol_phase_show, .user = &phase}, .dist = p->dist};
    st = sol_eval_windows(net, &data->tokens, &o, &r, err);
    sol_live_clear(p);
    if (st == SOL_OK) print_data(a, net, &c, &r);
    return st == SOL_OK || st == SOL_ERR_INTERRUPTED
               ? st
               : sol_err_prefix(err, st, "%s on %s", p->word[0], a->data);
}

static void print_text(const sol_eval_args *a, const sol_net *net, const sol_text_opts *o,
                       const sol_text_result *r, const sol_text_result *words)
{
    const char *kind = sol_net_kind_name(sol_net_kind_of(net));
    char ppl[32], word[32], byte[32];
    double rate = (double)(r->tokens + words->tokens) / (r->seconds + words->seconds + 1e-9),
           bits = sol_net_bits_per_weight(net);
    if (a->json) {
        printf("{\"loss\": %.12g, \"ppl\": %s, \"tokens\": %lld, \"model_kind\": \"%s\", "
               "\"bits_per_weight\": %.6g, "
               "\"context\": %lld, \"stride\": %lld, ",
               r->loss, number(r->ppl, ppl), (long long)r->tokens, kind, bits,
               (long long)o->context, (long long)o->stride);
        if (a->word_level)
            printf("\"word_perplexity\": %s, \"byte_perplexity\": %s, \"bits_per_byte\": %.12g, "
                   "\"words\": %lld, "
                   "\"bytes\": %lld, \"pages\": %lld, ",
                   number(words->word_ppl, word), number(words->byte_ppl, byte),
                   words->bits_per_byte, (long long)words->words, (long long)words->bytes,
                   (long long)words->pages);
        printf("\"seconds\": %.3f, \"tok_s\": %.1f}\n", r->seconds + words->seconds, rate);
        return;
    }
    printf("perplexity       %.4f a token: windows of %lld, stride %lld, %lld tokens predicted\n",
           r->ppl, (long long)o->context, (long long)o->stride, (long long)r->tokens);
    if (a->word_level)
        printf("word perplexity  %.4f: %lld words on %lld pages (lm-evaluation-harness, wikitext)\n"
               "byte perplexity  %.4f, %.4f bits a byte\n",
               words->word_ppl, (long long)words->words, (long long)words->pages, words->byte_ppl,
               words->bits_per_byte);
    printf("loss             %.4f nats a token\nmodel            %s, %.4g bits a weight\nspeed     "
           "       %.0f tokens/s\n",
           r->loss, kind, bits, rate);
}

static void warn_special(sol_program *p, const sol_eval_args *a, const sol_net *net,
                         const char *text, size_t n)
{
    int32_t first;
    const sol_tokenizer *t = sol_net_tokenizer(net);
    if (!t || a->special != SOL_SPECIAL_AUTO) return;
    int64_t count = sol_tokenizer_count_special(t, text, n, &first);
    if (count == 0) return;
    size_t size;
    const char *token = sol_tokenizer_text(t, first, &size);
    sol_log_line(&p->log, SOL_LOG_WARN,
                 "%s: the text spells %lld special tokens, the first %.*s, which are read as plain "
                 "text; --special yes makes them tokens, `no` ends this warning",
                 a->text, (long long)count, (int)(size < 64 ? size : 64), token);
}

/* Rank 0 reads the text, which may be its standard input, for all; owned by the caller. */
static sol_status read_text(sol_dist *d, const char *path, char **text, size_t *n, sol_err *err)
{
    enum { MAX_BYTES = 1 << 30 };
    sol_status st = sol_dist_rank(d) == 0 ? sol_docs_plain(path, MAX_BYTES, text, n, err) : SOL_OK;
    SOL_TRY(sol_dist_agree(d, st, err));
    return sol_ranks_send_text(d, text, n, err);
}

static sol_status eval_text(sol_program *p, const sol_eval_args *a, sol_net *net, sol_err *err)
{
    char *text = NULL;
    size_t n = 0;
    sol_phase phase = {p, "evaluating", "tokens", sol_clock()};
    sol_text_opts o = {.context = window_of(net, a->context),
                       .special = a->special == SOL_SPECIAL_YES,
                       .watch = {.fn = sol_phase_show, .user = &phase},
                       .dist = p->dist};
    sol_text_result r = {0}, words = {0};
    o.stride = a->stride ? a->stride : o.context;
    sol_status st = read_text(p->dist, a->text, &text, &n, err);
    if (st != SOL_OK) return st;
    warn_special(p, a, net, text, n);
    st = sol_eval_text_windows(net, text, n, &o, &r, err);
    if (st == SOL_OK && a->word_level) st = sol_eval_text_words(net, text, n, &o, &words, err);
    sol_live_clear(p);
    if (st == SOL_OK) print_text(a, net, &o, &r, &words);
    sol_free(text);
    return st == SOL_OK || st == SOL_ERR_INTERRUPTED
               ? st
               : sol_err_prefix(err, st, "%s on %s", p->word[0], a->text);
}

/* What ranks must have alike, beside the text, which rank 0 sends, and tasks. */
static sol_status compare_ranks(sol_program *p, const sol_eval_args *a, const sol_dataset *data,
                                int threads, sol_err *err)
{
    char how[256];
    uint64_t model = 0;
    sol_status st = sol_store_model_digest(p->word[0], &model, err);
    SOL_TRY(sol_dist_agree(p->dist, st, err));
    snprintf(how, sizeof how, "%d%d%d %d%d%d%d %lld %lld %d %lld %lld %d %lld", !a->data, !a->text,
             a->word_level, a->net.full_precision, (int)a->net.weights, (int)a->net.activations,
             (int)a->net.kv, (long long)a->seq, (long long)a->max_windows, (int)a->documents,
             (long long)a->context, (long long)a->stride, (int)a->special, (long long)a->no_bos);
    SOL_TRY(sol_ranks_compare_text(p->dist, "other options", how, err));
    SOL_TRY(sol_ranks_compare(p->dist, "another model", model, err));
    SOL_TRY(sol_ranks_compare(p->dist, "other data", a->data ? data->digest : 0, err));
    return sol_ranks_compare_threads(p, threads, err);
}

static sol_status open_all(sol_program *p, const sol_eval_args *a, sol_dataset *data, sol_net **net,
                           sol_err *err)
{
    bool first = sol_dist_rank(p->dist) == 0;
    if (!a->data + !a->text + !a->tasks != 2)
        return sol_fail(err, SOL_ERR_USAGE,
                        "one of --data, --text and --task says what to evaluate on");
    if (a->samples && first)
        SOL_TRY(sol_output_check(a->samples, SOL_OUTPUT_SAMPLES, a->force, err));
    if (a->data) SOL_TRY(sol_dataset_open(data, a->data, err));
    return sol_program_net(p, &a->net, p->word[0], net, err);
}

static sol_status evaluate(sol_program *p, const sol_eval_args *a, const sol_dataset *data,
                           sol_net *net, sol_err *err)
{
    if (a->data) return eval_data(p, a, net, data, err);
    return a->text ? eval_text(p, a, net, err) : sol_eval_run_tasks(p, a, net, err);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    const sol_eval_args *a = argsp;
    sol_dist *dist;
    sol_net *net = NULL;
    sol_dataset data = {0};
    SOL_TRY(sol_program_dist(p, &dist, err));
    sol_interrupt_catch(false);
    sol_status st = sol_dist_agree(dist, open_all(p, a, &data, &net, err), err);
    if (st == SOL_OK && sol_dist_size(dist) > 1)
        st = compare_ranks(p, a, &data, sol_pool_threads(p->ctx->pool), err);
    if (st == SOL_OK) st = sol_ranks_end(dist, evaluate(p, a, &data, net, err), err);
    sol_net_free(&net);
    if (a->data) sol_dataset_close(&data);
    return st;
}

const sol_verb sol_verb_eval = {
    .name = "eval",
    .words = "MODEL",
    .min_words = 1,
    .max_words = 1,
    .ranks = true,
    .takes_model = true,
    .summary = "loss and perplexity of a model on a dataset or text, zero-shot tasks",
    .details =
        "MODEL is a checkpoint or model file (full precision, or Q(W) where it has a "
        "quantizer) or a packed model. One of --data,\n"
        "--text and --task says what it is evaluated on. --data is cut as the model's "
        "training cut what it was measured on (train.seq,\n"
        "train.eval_windows, documents apart: its losses are eval_loss and packed_loss "
        "then); where the file says nothing of a training,\n"
        "all windows of the model's context, at most 2048, documents joined. The result "
        "says what was used.\n"
        "`mpirun -n N solera eval ...` shares windows, or items of tasks, among N ranks; the "
        "result has the same bits.",
    .options = options,
    .args_size = sizeof(sol_eval_args),
    .run = run,
};
