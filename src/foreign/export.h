/* Export of model files, checkpoints and packed models to the formats of other programs, one
 * parameter at a time.
 *
 *     sol_export_opts o = {.dequantize = true};
 *     st = sol_export_safetensors(ctx, "m.h5", "out-dir", &o, &result, err);
 *
 * Files hold finite numbers only. A weight that is not finite, or that the type in the file would
 * round to infinity, is SOL_ERR_NONFINITE with the parameter's name, and nothing is left under the
 * final name. */
#ifndef SOLERA_FOREIGN_EXPORT_H
#define SOLERA_FOREIGN_EXPORT_H

#include "foreign/import.h"
#include "kernels/ctx.h"
#include "quant/quant.h"

typedef struct sol_export_opts {
    bool dequantize;             /* linear layers as Q(W); always so for a packed model */
    const sol_quant_spec *quant; /* instead of the file's own; NULL: that */
    sol_dtype_wish dtype;        /* KEEP: as stored; fp32 for Q(W), whose fp16 scales bf16 would
                                  * round */
    sol_progress progress;       /* show NULL: none */
} sol_export_opts;

typedef struct sol_export_result {
    uint64_t bytes; /* of the weights file */
    sol_dtype dtype;
    bool dequantized, has_tokenizer;
    bool untrained; /* Q(W) of weights that were never trained with a quantizer */
} sol_export_result;

/* Files that no export writes, and that would change how the folder beside them is read: an export
 * removes them. Ends with NULL. */
extern const char *const sol_hf_strays[];
/* Writes a folder that Hugging Face transformers loads: config.json, model.safetensors,
 * generation_config.json, and, when the tokenizer has that form, tokenizer.json and
 * tokenizer_config.json. Each file is replaced atomically, config.json last. SOL_ERR_FORMAT: source
 * is no model; SOL_ERR_USAGE: o->quant for a packed model; SOL_ERR_UNSUPPORTED: a method with
 * biases, which a LLaMA model has no place for; SOL_ERR_INTERRUPTED: the progress function said
 * so. */
sol_status sol_export_safetensors(sol_ctx *ctx, const char *source, const char *dir,
                                  const sol_export_opts *o, sol_export_result *r, sol_err *err);

/* Whether a GGUF type of this name ("tq1_0") holds ternary weights. */
bool sol_gguf_is_ternary(const char *type);

typedef struct sol_gguf_opts {
    const char *type;            /* of the linear layers: stq1_0 q2_0 tq1_0 tq2_0 q8_0 f16 bf16
                                  * f32 */
    const char *embed_type;      /* of embedding and head: q8_0 f16 bf16 f32; NULL: f16 */
    bool stq_first_id;           /* STQ1_0 under the type id that its first readers know */
    bool latent;                 /* the latent weights of a quantized model, not Q(W) */
    bool requantize;             /* one scale a block of the type where the model has more */
    const sol_quant_spec *quant; /* instead of the file's own; NULL: that */
    const char *name, *version;  /* general.name, solera.version; NULL: none */
    sol_progress progress;
} sol_gguf_opts;

typedef struct sol_gguf_result {
    uint64_t bytes;
    uint64_t predicted;  /* from shapes and header, before the first byte; what free space is
                          * compared with */
    bool permuted;       /* channels were permuted for STQ1_0 */
    bool dequantized;    /* Q(W), not latent or full precision */
    bool untrained;      /* of weights that were never trained with a quantizer */
    bool scales_rounded; /* fp16 in the file, fp32 in the training (quant.scale_dtype) */
    const char *readers; /* what reads the type of the linear layers; static storage */
    int64_t cut_context; /* the context that the file names where the model has a window, which
                          * llama.cpp has not: as long as that; 0: the model's own */
    int32_t taken_eos;   /* the model has no EOS, and llama.cpp takes this token for it; -1: it has
                          * one */
    double nmse;         /* of requantize: |new - old|^2 / |old|^2 over the linear layers */
} sol_gguf_result;

/* Writes a GGUF file that llama.cpp loads. What the type cannot hold exactly is refused; the text
 * says why and what would help. SOL_ERR_UNSUPPORTED: weights that are not ternary or not 3:4, or no
 * tokenizer; SOL_ERR_SHAPE: rows that are no multiple of the type's block; SOL_ERR_USAGE: an
 * unknown type; the other codes as in sol_export_safetensors. */
sol_status sol_export_gguf(sol_ctx *ctx, const char *source, const char *path,
                           const sol_gguf_opts *o, sol_gguf_result *r, sol_err *err);
/* *bytes: the predicted size of the file for a model of these shapes; table needs no weights. q:
 * the quantizer it is trained with, method NULL: none; o->quant is ignored. Fails where the export
 * would. */
sol_status sol_export_gguf_bytes(sol_model *table, sol_tokenizer *t, const sol_quant_spec *q,
                                 const sol_gguf_opts *o, uint64_t *bytes, sol_err *err);

#endif
