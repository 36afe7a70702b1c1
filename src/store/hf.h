/* Hugging Face model folders: config.json and its kin. Internal to store. */
#ifndef SOLERA_STORE_HF_H
#define SOLERA_STORE_HF_H

#include <jansson.h>

#include "model/model.h"

/* Ids that a model may name beside those in sol_model_config. */
typedef struct sol_hf_ids {
    int64_t bos, eos; /* -1: not named */
} sol_hf_ids;

/* Parses a JSON file of at most max_bytes; *root is owned by the caller. */
sol_status sol_hf_read_json(const char *path, size_t max_bytes, json_t **root, sol_err *err);

/* config.json -> a checked configuration. What this program does not compute is refused: other architectures, biases, other
 * activations, other RoPE scalings, quantized weights. Errors name `path` and the key. */
sol_status sol_hf_config(const char *path, const json_t *root, sol_model_config *c, sol_err *err);
/* bos_token_id and eos_token_id of config.json or generation_config.json; of a list the first. */
sol_status sol_hf_token_ids(const char *path, const json_t *root, int64_t vocab_size, sol_hf_ids *ids, sol_err *err);
/* The reverse; *root is owned by the caller. torch_dtype: "float32", "bfloat16", "float16". */
sol_status sol_hf_config_make(const sol_model_config *c, const char *torch_dtype, json_t **root, sol_err *err);

#endif
