/* solera train-tokenizer: the options of the training of a BPE; text does it. */
#include "output.h"
#include "tokenize.h"

struct args {
    int64_t vocab;
    sol_words input;
    bool unix_lines, skip_bad, force;
    sol_read_as format;
    const char *out;
};

static const sol_opt options[] = {
    {.name = "--vocab",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, vocab),
     .min = 258,
     .max = 1 << 24,
     .required = true,
     .help = "tokens: 256 bytes, merges, <|begin_of_text|>, <|end_of_text|>"},
    {.name = "--input",
     .value = "FILE",
     .kind = SOL_OPT_LIST,
     .reads = true,
     .offset = offsetof(struct args, input),
     .required = true,
     .help = SOL_INPUT_HELP},
    {.name = "--format",
     .value = "FORMAT",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, format),
     .preset = "auto",
     .names = SOL_ENUM_TABLE(SOL_READ_FORMS),
     .help = SOL_FORMAT_HELP},
    {.name = "--skip-bad",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, skip_bad),
     .help = SOL_SKIP_BAD_HELP},
    {.name = "--unix-lines",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, unix_lines),
     .help = "read CR LF line ends as LF"},
    {.name = "-o",
     .value = "OUT",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .required = true,
     .help = "tokenizer.json to write"},
    SOL_OPT_FORCE(struct args, NULL),
    {0},
};

/* Words are counted, then merged: the time left is that of each part. */
typedef struct parts {
    sol_phase phase;
    const char *part;
} parts;

static bool show(void *user, const char *part, int64_t done, int64_t total)
{
    parts *s = user;
    if (total == 0) return !sol_interrupted();
    if (s->part != part) s->phase.begun = sol_clock();
    s->part = part;
    return sol_phase_show_part(&s->phase, part, done, total);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    struct args *a = argsp;
    parts progress = {.phase = {.program = p, .what = "training a tokenizer"}};
    sol_bpe_opts o = {.files = a->input.word,
                      .n_files = a->input.n,
                      .unix_lines = a->unix_lines,
                      .skip_bad = a->skip_bad,
                      .as = a->format,
                      .log = &p->log,
                      .vocab_size = (int32_t)a->vocab,
                      .progress = {show, &progress}};
    double from = sol_clock();
    char took[32];
    for (int i = 0; i < a->input.n; i++) SOL_TRY(sol_file_differs(a->input.word[i], a->out, err));
    SOL_TRY(sol_output_check(a->out, SOL_OUTPUT_TOKENIZER, a->force, err));
    sol_interrupt_catch(true);
    sol_status st = sol_bpe_train(&o, a->out, err);
    sol_live_clear(p);
    if (st != SOL_OK) return st;
    sol_log_line(&p->log, SOL_LOG_INFO, "%s: %lld tokens in %s", a->out, (long long)a->vocab,
                 sol_duration_text(sol_clock() - from, took));
    return SOL_OK;
}

const sol_verb sol_verb_train_tokenizer = {
    .name = "train-tokenizer",
    .summary =
        "train a byte-level BPE tokenizer (LLaMA-3 pre-tokenizer) on text and write tokenizer.json",
    .details = "The same text and N give the same file: merges go by frequency, lower ids first "
               "among equals.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
