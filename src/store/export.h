/* Model files, checkpoints and packed models in the forms of other programs, streamed parameter by parameter.
 *
 *     sol_export_options o = {.dequantize = true};
 *     st = sol_export_safetensors(ctx, "m.h5", "out-dir", &o, &result, err); */
#ifndef SOLERA_STORE_EXPORT_H
#define SOLERA_STORE_EXPORT_H

#include "kernels/ctx.h"
#include "store/import.h"
#include "store/store.h"

typedef enum { SOL_EXPORT_KEEP, SOL_EXPORT_F32, SOL_EXPORT_BF16, SOL_EXPORT_F16 } sol_export_dtype;

typedef struct sol_export_options {
    bool dequantize;             /* linear layers as Q(W); always so for a packed model */
    const sol_quant_spec *quant; /* instead of the file's own; NULL: that */
    sol_export_dtype dtype;      /* KEEP: as stored; fp32 for Q(W), whose fp16 scales bf16 would round */
    sol_import_progress progress; /* show NULL: none */
} sol_export_options;

typedef struct sol_export_result {
    uint64_t bytes; /* of the weights file */
    sol_dtype dtype;
    bool dequantized, has_tokenizer;
} sol_export_result;

/* A folder that Hugging Face transformers loads: config.json, model.safetensors, generation_config.json, and tokenizer.json and
 * tokenizer_config.json when the tokenizer has that form. Each file is replaced atomically, config.json last. */
sol_status sol_export_safetensors(sol_ctx *ctx, const char *source, const char *dir, const sol_export_options *o,
                                  sol_export_result *r, sol_err *err);

#endif
