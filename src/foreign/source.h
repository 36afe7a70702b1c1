/* What every importer offers: a configuration, a tokenizer, and the parameters a few rows at a
 * time. Internal to foreign.
 *
 * Nothing of the model is held in memory: sol_source_to_file streams it from one file into the
 * other. */
#ifndef SOLERA_FOREIGN_SOURCE_H
#define SOLERA_FOREIGN_SOURCE_H

#include "foreign/import.h"

typedef struct sol_source sol_source;

/* Memory of one thread for what a read must decode; start from {0}, release `data` with
 * sol_free. */
typedef struct sol_source_scratch {
    void *data;
    size_t capacity; /* bytes */
} sol_source_scratch;

struct sol_source {
    char *path; /* owned; for errors */
    sol_model_config config;
    sol_tokenizer *tokenizer;         /* owned; may be NULL */
    char *tokenizer_path;             /* owned; a file that is still to be read; NULL: none */
    char *more_tokens;                /* owned; see sol_more_tokens; NULL: none */
    char *chat_template, *generation; /* owned; for the tokenizer once it is read; NULL: none */
    char *bos_token, *eos_token;  /* variables of the chat template, "" for one that is null; owned;
                                   * NULL: those of the tokenizer */
    char notes[SOL_IMPORT_NOTES]; /* see sol_import_result */
    bool own_tokenizer; /* that file belongs to the model: BOS and EOS are what the configuration
                           says */
    sol_dtype dtype;    /* SOL_BF16 when that holds every parameter exactly, SOL_F32 otherwise */
    bool interleaved;   /* q and k rows are in the order of interleaved RoPE pairs */
    void *impl;         /* owned through close */
    /* SOL_F32 or SOL_BF16: what read gives for parameter `param` of the table. NULL: all are
     * fp32. */
    sol_dtype (*type)(const sol_source *s, int param);
    /* Rows [row, row + n) of parameter p (index `param` of the table), in the order of the file.
     * Several threads may read at once. */
    sol_status (*read)(const sol_source *s, int param, const sol_param *p, int64_t row, int64_t n,
                       sol_source_scratch *scratch, void *out, sol_err *err);
    void (*close)(sol_source *s);
};

/* Releases everything; a source that was never opened (all zero) is fine. */
void sol_source_close(sol_source *s);

/* Adds a line to the notes. */
void sol_source_note(sol_source *s, const char *text);
/* Leaves out, with a note, a chat template or generation_config.json too long for a model file. */
void sol_source_drop_long_texts(sol_source *s);

/* Openers close what they opened when they fail. */
sol_status sol_source_open_llama2c(sol_source *s, const char *path, sol_err *err);
/* A Hugging Face folder. */
sol_status sol_source_open_hf(sol_source *s, const char *dir, bool with_tokenizer, sol_err *err);
sol_status sol_source_open_gguf(sol_source *s, const char *path, bool with_tokenizer, sol_err *err);
/* The tokenizer of the model is in this file; it is read with the parameters. */
sol_status sol_source_set_tokenizer(sol_source *s, const char *path, bool own, sol_err *err);

/* Into a model file: a thread of the pool (may be NULL) writes what the others read before.
 * *weights: how many. The tokenizer comes last in the file: reading tokenizer.json takes as long as
 * copying hundreds of megabytes, and is done meanwhile. */
sol_status sol_source_to_file(sol_source *s, const char *path, sol_dtype dtype, sol_pool *pool,
                              const sol_progress *progress, int64_t *weights, sol_err *err);

#endif
