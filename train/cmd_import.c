/* solera import: the options and the report of an import; foreign does it. */
#include "program.h"

#include <string.h>

#include "output.h"

struct args {
    const char *out, *tokenizer, *random, *license, *base_model;
    sol_dtype_wish dtype;
    int64_t seed;
    bool force;
};

static const sol_opt options[] = {
    {.name = "-o",
     .value = "M.h5",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .required = true,
     .help = "model file to write"},
    SOL_OPT_FORCE(struct args, NULL),
    {.name = "--tokenizer",
     .value = "T",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, tokenizer),
     .help =
         "tokenizer.json, llama2.c tokenizer.bin, or a solera file that holds one, instead of the "
         "model's own"},
    {.name = "--random",
     .value = "SHAPE",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, random),
     .help = "no SRC: random weights of a named shape, e.g. llama-3.2-1b"},
    {.name = "--seed",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, seed),
     .preset = "1",
     .min = 0,
     .max = 9e15,
     .with = "--random",
     .help = "of the random weights"},
    {.name = "--dtype",
     .value = "TYPE",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, dtype),
     .preset = "keep",
     .names =
         (const sol_enumerator[]){
             {"keep", SOL_KEEP_DTYPE}, {"f32", SOL_TO_F32}, {"bf16", SOL_TO_BF16}, {NULL, 0}},
     .help = "of the stored weights; keep: bf16 where that is exact, otherwise f32"},
    {.name = "--license",
     .value = "ID",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, license),
     .help = "the model's licence, as apache-2.0, where SRC does not say it"},
    {.name = "--base-model",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, base_model),
     .help = "what cards call the model, as ORG/NAME, where SRC does not say it"},
    {0},
};

static void report(sol_program *p, const struct args *a, const sol_import_result *r, double seconds)
{
    char count[32], took[32], notes[SOL_IMPORT_NOTES];
    memcpy(notes, r->notes, sizeof notes);
    for (char *rest, *note = strtok_r(notes, "\n", &rest); note; note = strtok_r(NULL, "\n", &rest))
        sol_log_line(&p->log, SOL_LOG_WARN, "%s", note);
    sol_log_line(&p->log, SOL_LOG_INFO, "%s: %s, %s parameters in %s, %s tokenizer, %s", a->out,
                 r->source, sol_count_text((double)r->weights, count), sol_dtype_name(r->dtype),
                 r->has_tokenizer ? "with" : "no", sol_duration_text(seconds, took));
    const sol_origin *o = &r->config.origin;
    if (o->name[0])
        sol_log_line(&p->log, SOL_LOG_INFO, "base model %s%s%s%s, licence %s", o->name,
                     o->repo[0] ? " (" : "", o->repo, o->repo[0] ? ")" : "",
                     o->license[0] ? o->license : "not known (--license says it)");
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    const struct args *a = argsp;
    sol_phase phase = {p, "importing", "weights", sol_clock()};
    sol_import_opts o = {.tokenizer = a->tokenizer,
                         .dtype = a->dtype,
                         .license = a->license,
                         .base_model = a->base_model,
                         .progress = {sol_phase_show_part, &phase}};
    sol_import_result r;
    sol_ctx *ctx;
    if ((p->n_words > 0) == (a->random != NULL))
        return sol_fail(err, SOL_ERR_USAGE, "import needs either SRC or --random SHAPE");
    sol_status st = p->n_words ? sol_file_differs(p->word[0], a->out, err) : SOL_OK;
    if (st == SOL_OK && a->tokenizer) st = sol_file_differs(a->tokenizer, a->out, err);
    if (st == SOL_OK) st = sol_output_check(a->out, SOL_OUTPUT_MODEL, a->force, err);
    if (st == SOL_OK) st = sol_program_ctx(p, &ctx, err);
    if (st != SOL_OK) return st;
    o.pool = ctx->pool;
    sol_interrupt_catch(true);
    st = a->random ? sol_import_random(a->random, (uint64_t)a->seed, a->out, &o, &r, err)
                   : sol_import(p->word[0], a->out, &o, &r, err);
    sol_live_clear(p);
    if (st == SOL_OK) report(p, a, &r, sol_clock() - phase.begun);
    return st;
}

const sol_verb sol_verb_import = {
    .name = "import",
    .words = "[SRC]",
    .max_words = 1,
    .summary = "turn a model of another program into a model file",
    .details = "SRC is a Hugging Face folder (config.json, safetensors, tokenizer.json) or a GGUF "
               "file (of a model in\n"
               "several files the first) of LLaMA, Mistral, Qwen2, Qwen3, SmolLM3 or BitNet (with "
               "SiLU), or a\n"
               "llama2.c .bin (with --tokenizer). Streams: memory does not grow with the model.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
