/* Hugging Face model folders: config.json and its kin. Internal to foreign. */
#ifndef SOLERA_FOREIGN_HF_H
#define SOLERA_FOREIGN_HF_H

#include <jansson.h>

#include "base/file.h"
#include "model/model.h"

/* Parses a JSON file of at most max_bytes; *root is owned by the caller. */
sol_status sol_hf_read_json(const char *path, size_t max_bytes, json_t **root, sol_err *err);

/* config.json -> a checked configuration, without token ids. A key that changes what the model
 * computes, to what this program does not, is refused by name, other keys that it does not know are
 * ignored. Errors name `path` and the key. *note: what a user should know; NULL: nothing. */
sol_status sol_hf_config(const char *path, const json_t *root, sol_model_config *c,
                         const char **note, sol_err *err);
/* bos_token_id and eos_token_id, which may be a list, of config.json or generation_config.json take
 * the place of those in c; what is not there, null or -1 changes nothing. c->vocab_size is set.
 * *beyond: an id that the vocabulary lacks, which no text can hold: it is left out; -1: none. */
sol_status sol_hf_token_ids(const char *path, const json_t *root, sol_model_config *c,
                            int64_t *beyond, sol_err *err);
/* The tokens that the files beside tokenizer.json name, for sol_tokenizer_open_more; *json stays
 * NULL where there are none, else the caller owns it. */
sol_status sol_hf_tokens(const char *dir, char **json, sol_err *err);
/* The EOS of a model as config.json has them: null, an id, or a list. */
json_t *sol_hf_eos_json(const sol_model_config *c);
/* The reverse; *root is owned by the caller. torch_dtype: "float32", "bfloat16", "float16". */
sol_status sol_hf_config_make(const sol_model_config *c, const char *torch_dtype, json_t **root,
                              sol_err *err);

#endif
