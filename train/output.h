/* What stands under the name of an output already, and whether it may go. */
#ifndef SOLERA_TRAIN_OUTPUT_H
#define SOLERA_TRAIN_OUTPUT_H

#include "program.h"

typedef enum sol_output_kind {
    SOL_OUTPUT_MODEL, /* checkpoint, model file, packed model or GGUF */
    SOL_OUTPUT_DATASET,
    SOL_OUTPUT_TOKENIZER, /* of train-tokenizer */
    SOL_OUTPUT_SAMPLES,   /* of eval */
    SOL_OUTPUT_FOLDER,    /* of Hugging Face: the files that an export writes */
    SOL_OUTPUT_REPORT,    /* a folder, too: the page and the measures */
    SOL_OUTPUT_TABLES     /* likewise, of a sweep */
} sol_output_kind;

/* SOL_ERR_USAGE when `path` exists and is not what this program writes there, unless `force`;
 * SOL_ERR_IO when it should be a file and is a directory or a device. Changes nothing. */
sol_status sol_output_check(const char *path, sol_output_kind kind, bool force, sol_err *err);

/* The row of a verb's options; `type` is its struct, which has a bool `force`; `other`: the option
 * that it does not go with, or NULL. */
#define SOL_OPT_FORCE(type, other) \
    { \
        .name = "--force", .kind = SOL_OPT_FLAG, .offset = offsetof(type, force), \
        .without = (other), .help = "replace what -o names even where solera did not write it" \
    }

#endif
