/* A Hugging Face folder made by hand, of a llama model of one layer whose dimensions are all 4, and
 * its import. */
#ifndef SOLERA_TESTS_HF_FOLDER_H
#define SOLERA_TESTS_HF_FOLDER_H

#include "suite.h"

/* The members of config.json, without its braces. */
#define HF_CONFIG \
    "\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":4,\"intermediate_size\":4," \
    "\"num_hidden_layers\":1,\"num_attention_heads\":1"

/* The directory of a test, and in it: the folder, the file that it is imported to. */
extern char hf_dir[64], hf_folder[80], hf_back[80];
void hf_make(void);
void hf_remove(void);

/* Writes text to a file of the folder; removes one. */
void hf_put(const char *name, const char *text);
void hf_drop(const char *name);

/* safetensors of every parameter of the model, element k of the file being k; `skip` is left out,
 * `extra` is put in as a [4] tensor. Only parameters with index in [from, to) are written. */
void hf_put_weights(const char *file, const char *dtype, const char *skip, const char *extra,
                    int from, int to);
extern bool hf_bare_names; /* hf_put_weights leaves out "model." */

/* The folder with HF_CONFIG and all 12 parameters in fp32. */
void hf_good_folder(void);

sol_status hf_import(sol_err *err);

#endif
