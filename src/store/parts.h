/* The pieces that checkpoints, model files and packed models have in common: for store, and for
 * foreign, which writes and reads model files a piece at a time. */
#ifndef SOLERA_STORE_PARTS_H
#define SOLERA_STORE_PARTS_H

#include "h5/h5.h"
#include "model/model.h"
#include "quant/overrides.h"
#include "quant/quant.h"
#include "store/model_file.h"
#include "text/tokenizer.h"

#define SOL_FORMAT_CHECKPOINT "solera-checkpoint"
#define SOL_FORMAT_PACKED "solera-packed"
#define SOL_FORMAT_DATASET "solera-dataset"
#define SOL_FORMAT_STUDY "solera-study"
#define SOL_FORMAT_TEACHER_CACHE "solera-teacher-cache"

/* The root's format and version. */
sol_status sol_part_check_format(const sol_h5_file *f, const char *format, sol_err *err);

/* Root attributes of checkpoints and model files; config_yaml NULL: none. What is read is 0 or NULL
 * where the file lacks it; *config_yaml is owned by the caller. */
sol_status sol_part_put_root(sol_h5_writer *w, const char *config_yaml, uint64_t step,
                             uint64_t tokens, sol_err *err);
sol_status sol_part_get_root(const sol_h5_file *f, char **config_yaml, uint64_t *step,
                             uint64_t *tokens, sol_err *err);

/* /model: the configuration under the names of Hugging Face's config.json. Reading checks it, also
 * against the number of objects in the file, so that no table is larger than the file that asks for
 * it. */
sol_status sol_part_put_config(sol_h5_writer *w, const sol_model_config *c, sol_err *err);
sol_status sol_part_get_config(const sol_h5_file *f, sol_model_config *c, sol_err *err);

/* /quant: absent for full precision. */
sol_status sol_part_put_quant(sol_h5_writer *w, const sol_quant_spec *q, sol_err *err);
/* *overrides: what q->overrides points to, owned by the caller; NULL: there are none. */
sol_status sol_part_get_quant(const sol_h5_file *f, sol_quant_spec *q,
                              sol_quant_overrides **overrides, sol_err *err);
sol_status sol_part_get_layout(const sol_h5_file *f, const sol_h5_node *n, sol_block_layout *layout,
                               sol_err *err);

/* /evaluation: absent where the windows are not known. */
sol_status sol_part_put_windows(sol_h5_writer *w, const sol_windows *s, sol_err *err);
sol_status sol_part_get_windows(const sol_h5_file *f, sol_windows *s, sol_err *err);

/* /tokenizer: declared before the layout, filled after it. t may be NULL. */
typedef struct sol_part_blob {
    int id;
    void *data; /* owned */
    size_t size;
} sol_part_blob;
sol_status sol_part_put_tokenizer(sol_h5_writer *w, const sol_tokenizer *t, sol_part_blob *blob,
                                  sol_err *err);
sol_status sol_part_fill(sol_h5_writer *w, sol_part_blob *blob,
                         sol_err *err); /* releases the blob */
/* *t = NULL when the file has none. Its vocabulary must not exceed the model's. */
sol_status sol_part_get_tokenizer(const sol_h5_file *f, const sol_model_config *c,
                                  sol_tokenizer **t, sol_err *err);

/* /params: one dataset a parameter, matrices [out, in], norms [C]; float32, or bfloat16 as uint16
 * with dtype="bf16". */
typedef struct sol_params_out {
    sol_h5_writer *w;
    const sol_model *table; /* borrowed; sol_model_describe is enough */
    sol_dtype dtype;
    int first;
    void *buffer; /* owned; for conversion */
} sol_params_out;
sol_status sol_params_declare(sol_params_out *o, sol_h5_writer *w, const sol_model *table,
                              sol_dtype dtype, sol_err *err);
/* The next n elements of parameter `index`, of type `from`. What bf16 cannot hold is refused
 * (SOL_ERR_NONFINITE). */
sol_status sol_params_put(sol_params_out *o, int index, const void *data, sol_dtype from, int64_t n,
                          sol_err *err);
void sol_params_out_free(sol_params_out *o);

/* SOL_ERR_NONFINITE when one of the n weights of parameter `name` is not a number of at most
 * `max`, what `type` holds. */
sol_status sol_part_refuse_beyond(const char *name, const float *w, int64_t n, const char *type,
                                  float max, sol_err *err);

/* Every parameter of the table is there with its shape, and nothing else is. *all_bf16: all stored
 * as bfloat16. */
sol_status sol_params_check(const sol_h5_file *f, const sol_model *table, bool *all_bf16,
                            sol_err *err);
/* A whole parameter, converted to `to`. */
sol_status sol_params_get(const sol_h5_file *f, const sol_param *p, void *out, sol_dtype to,
                          sol_err *err);
/* The same in order, n elements at a time: start from {0}, release with sol_params_in_free. */
typedef struct sol_params_in {
    sol_h5_stream stream;
    sol_dtype stored;
    void *buffer; /* owned */
} sol_params_in;
sol_status sol_params_in_open(sol_params_in *in, const sol_h5_file *f, const sol_param *p,
                              sol_err *err);
sol_status sol_params_in_next(sol_params_in *in, void *out, sol_dtype to, int64_t n, sol_err *err);
void sol_params_in_free(sol_params_in *in);

/* The part of a checkpoint that is a model file. *f is zero before; after a failure the caller
 * frees it. */
sol_status sol_part_get_model_file(const sol_h5_file *h5, sol_model_file *f, sol_dtype dtype,
                                   const sol_progress *progress, sol_err *err);

#endif
