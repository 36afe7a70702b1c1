#include "program.h"

#include <string.h>

#include "base/mem.h"

struct args {
    const char *out, *format, *embed_type, *method, *granularity, *layout;
    int64_t group_size;
};

static const sol_opt options[] = {
    {.name = "-o", .value = "OUT", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, out), .required = true,
     .help = "what to write"},
    {.name = "--format", .value = "FORMAT", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, format), .preset = "packed",
     .choices = "packed", .help = "packed: 1.25-bit codes in HDF5"},
    {.name = "--embed-type", .value = "TYPE", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, embed_type), .preset = "f16",
     .choices = "f32|f16|q8|q6|q4", .help = "of embedding and head"},
    {.name = "--method", .value = "NAME", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, method),
     .help = "round with this quantizer, not with the one the model was trained with"},
    {.name = "--granularity", .value = "G", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, granularity),
     .choices = "per_tensor|per_channel|per_group", .help = "with --method: what shares a scale", .preset = "per_group"},
    {.name = "--group-size", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, group_size), .preset = "128",
     .min = 4, .max = 1 << 20, .help = "with --method: weights of a group"},
    {.name = "--layout", .value = "L", .kind = SOL_OPT_TEXT, .offset = offsetof(struct args, layout), .preset = "contiguous",
     .choices = "contiguous|stride16", .help = "with --method: which weights form a block"},
    {0},
};

/* The quantizer of the run, or the one that was asked for. */
static sol_status choose_quant(const struct args *a, const char *path, sol_quant_spec *q, sol_err *err)
{
    const char *names[32];
    int n = 0;
    if (!a->method) {
        if (q->method) return SOL_OK;
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: was trained in full precision: name a quantizer to round it with, e.g. --method sherry", path);
    }
    *q = (sol_quant_spec){.method = sol_quantizer_find(a->method), .scale_dtype = SOL_F16};
    for (; n < sol_quantizer_count() && n < 32; n++) names[n] = sol_quantizer_at(n)->name;
    if (!q->method) {
        const char *near = sol_nearest_name(a->method, names, n);
        return sol_fail(err, SOL_ERR_USAGE, "--method %s: there is no such quantizer%s%s", a->method,
                        near ? ", did you mean " : "", near ? near : "");
    }
    q->layout = strcmp(a->layout, "stride16") == 0 ? SOL_LAYOUT_STRIDE16 : SOL_LAYOUT_CONTIGUOUS;
    q->granularity = strcmp(a->granularity, "per_group") == 0     ? SOL_PER_GROUP
                     : strcmp(a->granularity, "per_channel") == 0 ? SOL_PER_CHANNEL
                                                                  : SOL_PER_TENSOR;
    q->group_size = q->granularity == SOL_PER_GROUP ? (int)a->group_size : 0;
    return SOL_OK;
}

static sol_status export_packed(sol_program *p, const struct args *a, const sol_checkpoint *c, sol_err *err)
{
    sol_packed_model packed = {0};
    sol_dense_type type;
    sol_ctx *ctx;
    uint64_t bytes;
    char text[32];
    sol_status st = sol_dense_type_from_name(a->embed_type, &type, err);
    if (st == SOL_OK) st = sol_program_ctx(p, &ctx, err);
    if (st == SOL_OK) {
        st = sol_packed_model_from(ctx, &packed, c->model, &c->quant, type, err);
        if (st != SOL_OK) sol_err_prefix(err, st, "%s", p->word[0]);
    }
    if (st == SOL_OK) st = sol_packed_model_write(&packed, c->tokenizer, a->out, err);
    if (st == SOL_OK) st = sol_file_size(a->out, &bytes, err);
    if (st == SOL_OK)
        sol_log_line(&p->log, SOL_LOG_INFO, "%s: packed, %.4g bits a quantized weight, embedding in %s, %s", a->out,
                     sol_packed_model_bits(&packed), a->embed_type, sol_bytes_text((double)bytes, text));
    sol_packed_model_free(&packed);
    return st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    const struct args *a = argsp;
    sol_checkpoint c = {0};
    sol_status st = sol_checkpoint_read_model(&c, p->word[0], SOL_F32, err);
    if (st == SOL_OK) st = choose_quant(a, p->word[0], &c.quant, err);
    if (st == SOL_OK) st = export_packed(p, a, &c, err);
    sol_checkpoint_free(&c);
    return st;
}

const sol_verb sol_verb_export = {
    .name = "export",
    .words = "M.h5",
    .min_words = 1,
    .max_words = 1,
    .summary = "write a trained model in a form that ships",
    .details = "The quantizer is the one of the training run; --method rounds a full-precision model without training.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
