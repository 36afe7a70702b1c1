/* solera export: chooses the form of the output, has foreign or store write it, and writes the
 * card. */
#include "program.h"

#include <inttypes.h>
#include <string.h>

#include "card.h"
#include "output.h"

struct args {
    const char *out, *type, *embed_type, *method;
    sol_card_format format;
    sol_dtype_wish dtype;
    sol_granularity granularity;
    sol_block_layout layout;
    int stq_first_id;
    int64_t group_size;
    bool dequantize, latent, requantize, no_card, force;
};

static const sol_opt options[] = {
    {.name = "-o",
     .value = "OUT",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .required = true,
     .help = "what to write"},
    SOL_OPT_FORCE(struct args, NULL),
    {.name = "--format",
     .value = "FORMAT",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, format),
     .names = SOL_ENUM_TABLE(SOL_CARD_FORMATS),
     .help = "packed (the default): 1.25-bit codes in HDF5; gguf: for llama.cpp; model: the "
             "weights alone, without the state of the run; "
             "safetensors: a Hugging Face folder"},
    {.name = "--type",
     .value = "TYPE",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, type),
     .choices = "stq1_0|q2_0|tq1_0|tq2_0|q8_0|f16|bf16|f32",
     .help = "gguf: of the linear layers, default f16; implies --format gguf"},
    {.name = "--embed-type",
     .value = "TYPE",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, embed_type),
     .choices = "f32|f16|bf16|q8_0|q8|q6|q4|ternary",
     .help =
         "of embedding and head; packed: f32 f16 q8 q6 q4 ternary, default what quant.embed_type "
         "trained, else q6 (perplexity of "
         "SmolLM2 +0.3 %, q4 +8 %); gguf: f32 f16 bf16 q8_0, default f16"},
    {.name = "--latent",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, latent),
     .help = "gguf: the latent weights, not the ternary ones (q8_0, f16, bf16, f32)"},
    {.name = "--requantize",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, requantize),
     .help = "gguf: one scale a block of the type (q2_0: 64 weights, the others 256) where the "
             "model has "
             "more; prints the error"},
    {.name = "--stq-id",
     .value = "ID",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, stq_first_id),
     .preset = "43",
     .names = (const sol_enumerator[]){{"43", false}, {"42", true}, {NULL, 0}},
     .help = "gguf: type id of STQ1_0; 42 for its first readers"},
    {.name = "--dequantize",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, dequantize),
     .help = "safetensors: linear layers as the ternary weights they ship as, not the latent ones"},
    {.name = "--no-card",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, no_card),
     .help = "no model card beside the model"},
    {.name = "--dtype",
     .value = "TYPE",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, dtype),
     .preset = "keep",
     .names = (const sol_enumerator[]){{"keep", SOL_KEEP_DTYPE},
                                       {"f32", SOL_TO_F32},
                                       {"bf16", SOL_TO_BF16},
                                       {"f16", SOL_TO_F16},
                                       {NULL, 0}},
     .help = "model, safetensors: of the weights; keep: safetensors as stored, f32 with "
             "--dequantize; a model file f32"},
    {.name = "--method",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, method),
     .help = "round with this quantizer, not with the one the model was trained with"},
    {.name = "--granularity",
     .value = "G",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, granularity),
     .names = SOL_ENUM_TABLE(SOL_GRANULARITIES),
     .with = "--method",
     .help = "with --method: what shares a scale",
     .preset = "per_group"},
    {.name = "--group-size",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, group_size),
     .preset = "128",
     .min = 4,
     .max = 1 << 20,
     .with = "--method",
     .help = "with --method: weights of a group"},
    {.name = "--layout",
     .value = "L",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, layout),
     .preset = "contiguous",
     .names = SOL_ENUM_TABLE(SOL_BLOCK_LAYOUTS),
     .with = "--method",
     .help = "with --method: which weights form a block"},
    {0},
};

/* The quantizer that --method and its companions ask for. */
static sol_status asked_quant(const struct args *a, sol_quant_spec *q, sol_err *err)
{
    const char *names[32];
    char hint[SOL_HINT];
    int n = 0;
    *q = (sol_quant_spec){.method = sol_quantizer_find(a->method), .scale_dtype = SOL_F16};
    for (; n < sol_quantizer_count() && n < 32; n++) names[n] = sol_quantizer_at(n)->name;
    if (!q->method)
        return sol_fail(err, SOL_ERR_USAGE, "--method %s: there is no such quantizer%s", a->method,
                        sol_name_hint(hint, a->method, names, n, NULL));
    q->layout = a->layout;
    q->granularity = a->granularity;
    q->group_size = q->granularity == SOL_PER_GROUP ? (int)a->group_size : 0;
    return SOL_OK;
}

/* The type of GGUF that the card proposes for llama.cpp; NULL: none takes the model. */
static sol_status gguf_type_of(const sol_model_config *config, sol_tokenizer *t,
                               const sol_quant_spec *q, const char **found, sol_err *err)
{
    static const char *const types[] = {"tq2_0", "q2_0", "q8_0", "f16"};
    sol_model *table;
    uint64_t bytes;
    *found = NULL;
    sol_status st = sol_model_describe(&table, config, SOL_F32, err);
    if (st != SOL_OK) return st;
    for (int i = 0; i < 4; i++) {
        sol_gguf_opts o = {.type = types[i]};
        st = sol_export_gguf_bytes(table, t, q, &o, &bytes, err);
        if (st == SOL_OK) *found = types[i];
        if (st == SOL_OK || st == SOL_ERR_NOMEM) break;
    }
    sol_model_free(&table);
    return st == SOL_ERR_NOMEM ? st : SOL_OK;
}

/* quantized: the linear layers of the file are Q(W). */
static sol_status write_card(sol_program *p, const struct args *a, const sol_quant_spec *asked,
                             bool quantized, const char *gguf_type, sol_err *err)
{
    sol_card c = {.source = p->word[0],
                  .out = a->out,
                  .format = a->format,
                  .rounded_with = asked,
                  .quantized = quantized,
                  .gguf_type = gguf_type};
    char kept[SOL_PATH_MAX];
    if (a->no_card) return SOL_OK;
    SOL_TRY(sol_card_write(&c, kept, err));
    if (kept[0])
        sol_log_line(&p->log, SOL_LOG_INFO, "%s is no model card and stays as it is", kept);
    return SOL_OK;
}

/* What embedding and head become: as asked, as they were trained, or in 6 bits. */
static sol_status choose_embed_type(const struct args *a, const sol_quant_spec *own,
                                    sol_dtype *type, sol_err *err)
{
    *type = own && own->embed_type != SOL_F32 ? own->embed_type : SOL_Q6;
    return a->embed_type ? sol_embed_type_from_name(a->embed_type, type, err) : SOL_OK;
}

static sol_status read_model(sol_program *p, sol_model_file *c, sol_err *err)
{
    sol_phase phase = {p, "reading", "weights", sol_clock()};
    sol_progress progress = {sol_phase_show_part, &phase};
    sol_interrupt_catch(true);
    return sol_model_file_read(c, p->word[0], SOL_F32, &progress, err);
}

static sol_status pack(sol_program *p, const struct args *a, const sol_quant_spec *asked,
                       sol_packed_model *packed, sol_model_file *c, sol_err *err)
{
    sol_dtype type;
    sol_ctx *ctx;
    SOL_TRY(choose_embed_type(a, NULL, &type, err));
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    SOL_TRY(read_model(p, c, err));
    SOL_TRY(choose_embed_type(a, asked ? NULL : &c->quant, &type, err));
    if (!asked && !c->quant.method)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: was trained in full precision: name a quantizer to round it with, "
                        "e.g. --method sherry",
                        p->word[0]);
    sol_phase phase = {p, "exporting", "weights", sol_clock()};
    sol_progress progress = {sol_phase_show_part, &phase};
    sol_status st = sol_packed_model_from(ctx, packed, c->model, asked ? asked : &c->quant, type,
                                          &progress, err);
    if (st == SOL_ERR_INTERRUPTED) return st;
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s", p->word[0]);
    packed->windows = c->windows;
    return SOL_OK;
}

/* Rounding alone costs far more than what training with the quantizer leaves. */
static void warn_untrained(sol_program *p, const struct args *a)
{
    sol_log_line(
        &p->log, SOL_LOG_WARN,
        "%s: these weights were never trained with a quantizer, and rounding alone spoils them: "
        "`solera calibrate` or `solera train` first",
        a->out);
}

static void warn_scales(sol_program *p, const struct args *a)
{
    sol_log_line(
        &p->log, SOL_LOG_WARN,
        "%s: its scales are fp16, those of the training fp32 (quant.scale_dtype): its loss "
        "is not exactly what the run measured",
        a->out);
}

static sol_status write_packed(sol_program *p, const struct args *a, const sol_packed_model *packed,
                               const sol_model_file *c, const char **gguf_type, sol_err *err)
{
    const sol_param *embed = sol_model_embedding(packed->table);
    sol_dtype type = packed->matrix[embed - packed->table->params].type;
    uint64_t bytes;
    char text[32];
    SOL_TRY(sol_packed_model_write(packed, c->tokenizer, a->out, err));
    SOL_TRY(sol_file_size(a->out, &bytes, err));
    sol_log_line(&p->log, SOL_LOG_INFO,
                 "%s: packed, %.4g bits a quantized weight, embedding in %s, %s", a->out,
                 sol_packed_model_bits(packed), sol_dtype_name(type),
                 sol_bytes_text((double)bytes, text));
    if (!c->quant.method) warn_untrained(p, a);
    if (c->quant.method && c->quant.scale_dtype == SOL_F32) warn_scales(p, a);
    return gguf_type_of(&packed->config, c->tokenizer, &packed->quant, gguf_type, err);
}

static sol_status export_packed(sol_program *p, const struct args *a, const sol_quant_spec *asked,
                                sol_err *err)
{
    sol_packed_model packed = {0};
    sol_model_file c = {0};
    const char *gguf_type = NULL;
    sol_status st = pack(p, a, asked, &packed, &c, err);
    sol_live_clear(p);
    if (st == SOL_OK) st = write_packed(p, a, &packed, &c, &gguf_type, err);
    sol_packed_model_free(&packed);
    sol_model_file_free(&c);
    return st == SOL_OK ? write_card(p, a, asked, true, gguf_type, err) : st;
}

static sol_status export_safetensors(sol_program *p, const struct args *a,
                                     const sol_quant_spec *asked, sol_err *err)
{
    sol_phase phase = {p, "exporting", "weights", sol_clock()};
    sol_export_opts o = {.dequantize = a->dequantize,
                         .quant = asked,
                         .dtype = a->dtype,
                         .progress = {sol_phase_show_part, &phase}};
    sol_export_result r;
    sol_ctx *ctx;
    char text[32];
    sol_status st = sol_program_ctx(p, &ctx, err);
    if (st != SOL_OK) return st;
    sol_interrupt_catch(true);
    st = sol_export_safetensors(ctx, p->word[0], a->out, &o, &r, err);
    sol_live_clear(p);
    if (st != SOL_OK) return st;
    sol_log_line(&p->log, SOL_LOG_INFO,
                 "%s: Hugging Face folder, %s weights in %s, %s, %s tokenizer.json", a->out,
                 r.dequantized ? "ternary" : "latent", sol_dtype_name(r.dtype),
                 sol_bytes_text((double)r.bytes, text), r.has_tokenizer ? "with" : "no");
    if (r.untrained) warn_untrained(p, a);
    return write_card(p, a, asked, r.dequantized, NULL, err);
}

static sol_status write_model(sol_program *p, const struct args *a, const sol_model_file *c,
                              sol_dtype dtype, const char **gguf_type, sol_err *err)
{
    uint64_t bytes;
    char text[32];
    sol_phase phase = {p, "exporting", "weights", sol_clock()};
    sol_progress progress = {sol_phase_show_part, &phase};
    sol_status st = sol_model_file_write(c, a->out, dtype, &progress, err);
    sol_live_clear(p);
    SOL_TRY(st);
    SOL_TRY(sol_file_size(a->out, &bytes, err));
    sol_log_line(&p->log, SOL_LOG_INFO, "%s: model, weights in %s, %s", a->out,
                 sol_dtype_name(dtype), sol_bytes_text((double)bytes, text));
    return gguf_type_of(&c->model->config, c->tokenizer, &c->quant, gguf_type, err);
}

static sol_status export_model(sol_program *p, const struct args *a, const sol_quant_spec *asked,
                               sol_err *err)
{
    sol_model_file c = {0};
    const char *gguf_type = NULL;
    if (asked)
        return sol_fail(
            err, SOL_ERR_USAGE,
            "--method: a model file keeps its own quantizer; it goes with --format packed");
    if (a->dtype == SOL_TO_F16)
        return sol_fail(err, SOL_ERR_USAGE, "--dtype f16: a model file holds f32 or bf16");
    sol_dtype dtype = sol_dtype_wished(a->dtype, SOL_F32);
    sol_status st = read_model(p, &c, err);
    sol_live_clear(p);
    if (st == SOL_OK) st = write_model(p, a, &c, dtype, &gguf_type, err);
    sol_model_file_free(&c);
    return st == SOL_OK ? write_card(p, a, NULL, false, gguf_type, err) : st;
}

static sol_status export_gguf(sol_program *p, const struct args *a, const sol_quant_spec *asked,
                              sol_err *err)
{
    const char *base = strrchr(a->out, '/');
    sol_phase phase = {p, "exporting", "weights", sol_clock()};
    sol_gguf_opts o = {.type = a->type ? a->type : "f16",
                       .embed_type = a->embed_type,
                       .latent = a->latent,
                       .requantize = a->requantize,
                       .stq_first_id = a->stq_first_id,
                       .quant = asked,
                       .name = base ? base + 1 : a->out,
                       .version = SOL_VERSION,
                       .progress = {sol_phase_show_part, &phase}};
    sol_gguf_result r;
    sol_ctx *ctx;
    char text[32];
    sol_status st = sol_program_ctx(p, &ctx, err);
    if (st != SOL_OK) return st;
    sol_interrupt_catch(true);
    st = sol_export_gguf(ctx, p->word[0], a->out, &o, &r, err);
    sol_live_clear(p);
    if (st != SOL_OK) return st;
    sol_log_line(&p->log, SOL_LOG_INFO,
                 "%s: GGUF, %s weights in %s%s, embedding in %s, %s; read by %s", a->out,
                 r.dequantized ? "quantized" : "plain", o.type,
                 r.permuted ? " (channels permuted)" : "", o.embed_type,
                 sol_bytes_text((double)r.bytes, text), r.readers);
    if (r.untrained) warn_untrained(p, a);
    if (r.scales_rounded) warn_scales(p, a);
    if (r.cut_context > 0)
        sol_log_line(&p->log, SOL_LOG_WARN,
                     "%s: llama.cpp knows no sliding window here: the file names a context of "
                     "%" PRId64 ", as long as the window",
                     a->out, r.cut_context);
    if (r.taken_eos >= 0)
        sol_log_line(&p->log, SOL_LOG_WARN,
                     "%s: the tokenizer has no EOS, and llama.cpp takes token %d for it", a->out,
                     (int)r.taken_eos);
    if (a->requantize)
        sol_log_line(&p->log, SOL_LOG_WARN,
                     "--requantize changed the linear layers: |new - old|^2 / |old|^2 = %.3g",
                     r.nmse);
    return write_card(p, a, asked, r.dequantized, NULL, err);
}

static const char *format_name(sol_card_format format)
{
    return sol_enum_name(SOL_ENUM_TABLE(SOL_CARD_FORMATS), (int)format);
}

/* A file called as another format would be taken for that. */
static sol_status check_name(const struct args *a, sol_err *err)
{
    static const sol_card_format called[] = {SOL_CARD_GGUF, SOL_CARD_FOLDER};
    const char *dot = strrchr(a->out, '.');
    if (!dot) return SOL_OK;
    for (int i = 0; i < 2; i++)
        if (a->format != called[i] && strcmp(dot + 1, format_name(called[i])) == 0)
            return sol_fail(err, SOL_ERR_USAGE,
                            "%s: is called %s, but --format is %s: give --format %s, or another "
                            "name",
                            a->out, dot, format_name(a->format), format_name(called[i]));
    return SOL_OK;
}

/* Options that the format, or another option, leaves without an effect. */
static sol_status check_effect(const sol_program *p, const struct args *a, sol_err *err)
{
    bool gguf = a->format == SOL_CARD_GGUF, packed = a->format == SOL_CARD_PACKED;
    bool folder = a->format == SOL_CARD_FOLDER, model = a->format == SOL_CARD_MODEL;
    bool stq = a->type && strcmp(a->type, "stq1_0") == 0;
    bool ternary = a->type && sol_gguf_is_ternary(a->type);
    const struct {
        bool vain;
        const char *option, *goes_with;
    } rows[] = {
        {a->type && !gguf, "--type", "--format gguf"},
        {a->embed_type && !gguf && !packed, "--embed-type", "--format packed or gguf"},
        {a->latent && !gguf, "--latent", "--format gguf"},
        {a->requantize && !(gguf && ternary), "--requantize",
         "--type stq1_0, q2_0, tq1_0 or tq2_0"},
        {sol_args_given(p, "--stq-id") && !(gguf && stq), "--stq-id", "--type stq1_0"},
        {a->dequantize && !folder, "--dequantize", "--format safetensors"},
        {sol_args_given(p, "--dtype") && !folder && !model, "--dtype",
         "--format safetensors or model"},
        {a->method && folder && !a->dequantize, "--method", "--dequantize"},
        {sol_args_given(p, "--group-size") && a->granularity != SOL_PER_GROUP, "--group-size",
         "--granularity per_group"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].vain)
            return sol_fail(err, SOL_ERR_USAGE, "option '%s' has no effect here: it goes with %s",
                            rows[i].option, rows[i].goes_with);
    if (a->method && a->latent)
        return sol_fail(err, SOL_ERR_USAGE, "option '--method' has no effect with --latent");
    return SOL_OK;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    static sol_status (*const write[])(sol_program *, const struct args *, const sol_quant_spec *,
                                       sol_err *) = {[SOL_CARD_PACKED] = export_packed,
                                                     [SOL_CARD_GGUF] = export_gguf,
                                                     [SOL_CARD_MODEL] = export_model,
                                                     [SOL_CARD_FOLDER] = export_safetensors};
    struct args *a = argsp;
    sol_quant_spec asked = {0};
    bool folder;
    if (!sol_args_given(p, "--format")) a->format = a->type ? SOL_CARD_GGUF : SOL_CARD_PACKED;
    SOL_TRY(check_effect(p, a, err));
    SOL_TRY(check_name(a, err));
    SOL_TRY(sol_file_differs(p->word[0], a->out, err));
    if (a->method) SOL_TRY(asked_quant(a, &asked, err));
    if (!a->embed_type && a->format != SOL_CARD_PACKED) a->embed_type = "f16";
    folder = a->format == SOL_CARD_FOLDER;
    SOL_TRY(sol_output_check(a->out, folder ? SOL_OUTPUT_FOLDER : SOL_OUTPUT_MODEL, a->force, err));
    return write[a->format](p, a, a->method ? &asked : NULL, err);
}

const sol_verb sol_verb_export = {
    .name = "export",
    .words = "M.h5",
    .min_words = 1,
    .max_words = 1,
    .takes_model = true,
    .summary = "write a trained model in a form that ships",
    .details =
        "The quantizer is the one of the training run; --method rounds a full-precision model "
        "without training. OUT.md and\n"
        "OUT.json beside the model (README.md and solera.json in the folder of safetensors) say "
        "what it is made of, how it was\n"
        "trained and how to run it; a file of that name that is no such card stays as it is.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
