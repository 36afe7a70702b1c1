/* Import of other programs' models into model files of solera. Tensors are streamed in pieces, so
 * that a model of any size needs little memory.
 *
 *     sol_import_opts o = {.tokenizer = "tok512.bin"};
 *     st = sol_import("stories260K.bin", "m.h5", &o, &result, err);
 *
 * A folder is a Hugging Face model (config.json, model.safetensors or its sharded index,
 * tokenizer.json, generation_config.json); a file is GGUF by its first bytes, otherwise a llama2.c
 * `.bin`. The result is in Hugging Face layout (q/k rows for half-split RoPE). A field of the
 * source that changes the model and is not computed here is SOL_ERR_UNSUPPORTED, with its name; a
 * tensor that is missing, surplus or of another shape SOL_ERR_SHAPE; a weight that is not finite in
 * the type that is written SOL_ERR_FORMAT. */
#ifndef SOLERA_FOREIGN_IMPORT_H
#define SOLERA_FOREIGN_IMPORT_H

#include "base/pool.h"
#include "base/progress.h"
#include "store/model_file.h"

/* The type that an import or export writes weights in. */
typedef enum { SOL_KEEP_DTYPE, SOL_TO_F32, SOL_TO_BF16, SOL_TO_F16 } sol_dtype_wish;
/* kept: what KEEP stands for. */
sol_dtype sol_dtype_wished(sol_dtype_wish wish, sol_dtype kept);

typedef struct sol_import_opts {
    const char *tokenizer; /* what sol_store_tokenizer reads; needed for llama2.c, elsewhere instead
                            * of the model's own; NULL: none */
    sol_dtype_wish dtype; /* KEEP: bf16 where that is exact, else fp32. SOL_ERR_USAGE: F16, which no
                           * model file holds */
    /* Instead of what the source says about itself; NULL: that. base_model: NAME, ORG/NAME or a
     * URL. */
    const char *license, *base_model;
    sol_progress progress; /* show NULL: none */
    sol_pool *pool;        /* borrowed; NULL: the calling thread alone. The file is the
                            * same for any number of threads */
} sol_import_opts;

enum { SOL_IMPORT_NOTES = 512 };

typedef struct sol_import_result {
    const char *source; /* "llama2.c", "Hugging Face", "GGUF", "random" */
    int64_t weights;
    sol_dtype dtype; /* as written */
    sol_model_config config;
    bool has_tokenizer;
    char notes[SOL_IMPORT_NOTES]; /* what was read otherwise than a user may expect, a line each;
                                   * "": nothing */
} sol_import_result;

/* Imports `source` to the model file `out`, which is replaced atomically. Sets *r. SOL_ERR_USAGE: a
 * llama2.c model without o->tokenizer, or a file that needs no import; SOL_ERR_INTERRUPTED: the
 * progress function said so. */
sol_status sol_import(const char *source, const char *out, const sol_import_opts *o,
                      sol_import_result *r, sol_err *err);
/* Writes a model file of a named shape (sol_model_config_named) with the weights of
 * sol_model_init_random; KEEP is fp32. */
sol_status sol_import_random(const char *shape, uint64_t seed, const char *out,
                             const sol_import_opts *o, sol_import_result *r, sol_err *err);

#endif
