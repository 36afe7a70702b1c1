/* A model on its way out: a model file, checkpoint or packed model, read one parameter at a time.
 * Internal to foreign. */
#ifndef SOLERA_FOREIGN_VIEW_H
#define SOLERA_FOREIGN_VIEW_H

#include "store/packed.h"
#include "store/parts.h"

typedef struct sol_view {
    sol_ctx *ctx;                   /* borrowed */
    char *path;                     /* owned */
    sol_model *table;               /* without weights; its config is the model's; owned */
    sol_tokenizer *tokenizer;       /* owned; may be NULL */
    sol_quant_spec quant;           /* method NULL: full precision */
    sol_quant_overrides *overrides; /* of a model file; owned */
    bool dequantize;                /* linear layers come as Q(W) */
    bool is_packed;
    bool all_bf16;           /* everything is stored as bf16 */
    sol_packed_model packed; /* of a packed file */
    sol_h5_file file;        /* of a model file */
    sol_params_in in;        /* the parameter at hand */
    float *whole, *latent;   /* the parameter at hand as Q(W), and what it is made from; owned */
    size_t whole_capacity, latent_capacity;
    float *learned[SOL_QUANT_MAX_LEARNED]; /* of the layer at hand */
    size_t learned_capacity[SOL_QUANT_MAX_LEARNED];
    bool untrained;    /* the file's own weights were never trained with a quantizer */
    bool rounded_anew; /* by another quantizer than the one it was trained with */
    int at;            /* index of the parameter at hand */
    int64_t row;       /* next row of it */
} sol_view;

/* quant: instead of the file's own, NULL: that. dequantize needs one of the two, unless the file is
 * packed. */
sol_status sol_view_open(sol_view *v, sol_ctx *ctx, const char *path, const sol_quant_spec *quant,
                         bool dequantize, sol_err *err);
void sol_view_close(sol_view *v);

/* Parameter `index` of the table from its first row on; then n rows at a time, as fp32. */
sol_status sol_view_begin(sol_view *v, int index, sol_err *err);
sol_status sol_view_next(sol_view *v, float *out, int64_t rows, sol_err *err);

#endif
