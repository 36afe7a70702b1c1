/* Families of models that people publish: their names, and what their blocks have (families.def).
 *
 *     sol_model_config c = {0};
 *     sol_family_apply(sol_family_named("qwen3"), &c); // its family, biases and norms
 *     printf("%s in GGUF files", sol_family_of(&c)->gguf);
 *
 * What is computed hangs on the fields of a configuration alone, never on its family: that says
 * what a file of another program can hold, and how it is called there. */
#ifndef SOLERA_MODEL_FAMILY_H
#define SOLERA_MODEL_FAMILY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sol_model_config sol_model_config;

typedef enum sol_family {
#define FAMILY(id, ...) SOL_FAMILY_##id,
#include "model/families.def"
    SOL_FAMILIES /* how many */
} sol_family;

/* Order of the rows of q and k in a GGUF file. */
typedef enum { SOL_GGUF_HALVES, SOL_GGUF_PAIRS } sol_gguf_order;

enum {
    SOL_FAMILY_QKV_BIAS = 1,     /* q, k and v have a bias */
    SOL_FAMILY_QK_NORM = 2,      /* q and k are normed by head */
    SOL_FAMILY_WINDOW = 4,       /* sliding_window counts, in every layer */
    SOL_FAMILY_UPPER_WINDOW = 8, /* it counts with use_sliding_window, from some layer on */
    SOL_FAMILY_NOPE = 16,        /* layers may be without RoPE */
    SOL_FAMILY_ROPE_TABLE = 32,  /* llama.cpp reads rope_freqs.weight */
    SOL_FAMILY_SUB_NORM = 64     /* what o and down read is normed */
};

typedef struct sol_family_row {
    sol_family family;
    const char *model_type, *architecture; /* of config.json */
    const char *gguf;                      /* general.architecture; two families may share it */
    sol_gguf_order order;
    int has; /* SOL_FAMILY_* */
    /* where config.json is silent; head_dim 0: hidden_size / heads, window 0: none */
    int64_t head_dim;
    double theta, eps; /* of RoPE; of norms */
    int64_t positions, window;
    bool tied;
} sol_family_row;

extern const sol_family_row sol_families[SOL_FAMILIES];

/* The row of a model_type, the first one of a GGUF architecture; NULL: there is none. */
const sol_family_row *sol_family_named(const char *model_type);
const sol_family_row *sol_family_of_gguf(const char *architecture);
/* The row of a configuration. */
const sol_family_row *sol_family_of(const sol_model_config *c);
/* Sets the family, and what all its models have. */
void sol_family_apply(const sol_family_row *f, sol_model_config *c);
/* Gives it norms before o and down; a model that then has all that those of bitnet have becomes one
 * of this family, which other programs know them by. */
void sol_family_add_sub_norms(sol_model_config *c);
/* Whether the models of its family have all that c has, and nothing that c lacks:
 * SOL_ERR_UNSUPPORTED names what they do not. */
sol_status sol_family_check(const sol_model_config *c, sol_err *err);
/* SOL_ERR_UNSUPPORTED for an architecture that is none of ours, which stands in `path` under
 * `key`: what it has that is not computed, as far as that is known, and what is read. */
sol_status sol_family_refuse(const char *path, const char *key, const char *name, sol_err *err);

#endif
