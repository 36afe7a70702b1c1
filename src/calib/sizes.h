/* What follows from the shape of a model and from the options: which layers of a block are solved
 * together, how wide they are, how many windows run at a time. Internal to calib. */
#ifndef SOLERA_CALIB_SIZES_H
#define SOLERA_CALIB_SIZES_H

#include "calib/calib.h"
#include "calib/solve.h"
#include "calib/stage.h"

/* Tokens that run at a time, at most; a window is never cut. Windows make up to so many lanes,
 * whose sums are added one after the other. */
enum { SOL_CALIB_CHUNK_TOKENS = 4096, SOL_CALIB_LANES = 8 };

/* The layers of a block that read the same input, in the order in which they are solved. */
typedef struct sol_layer_set {
    sol_stage_kind input;
    int n;
    sol_role which[SOL_CALIB_MAX_PARTS];
    bool adds; /* its output is added to the stream: then it makes up for what the stream lacks, and
                  tokens are weighted */
    const char *phase;
} sol_layer_set;

enum { SOL_LAYER_SETS = 4 };
extern const sol_layer_set sol_layer_sets[SOL_LAYER_SETS];

/* Of a model of one block. */
const sol_param *sol_layer_param(const sol_model *block, sol_role which);
int64_t sol_layer_set_rows(const sol_model *block, const sol_layer_set *s);
/* How the layer of this role is quantized in block `layer`; method NULL: it is kept. */
sol_quant_spec sol_layer_quant(const sol_quant_spec *spec, int64_t layer, sol_role which);

/* Widths of the widest set. */
typedef struct sol_layer_extent {
    int64_t in, out, weights, scratch;
} sol_layer_extent;

/* Over all sets, with so many tokens at a time. */
sol_layer_extent sol_layer_widest(const sol_model *block, int64_t tokens, bool bf16);
/* Windows that run at a time. */
int64_t sol_calib_chunk_windows(const sol_calib_opts *o);
/* About which share of a block's time has passed when the moments of set i of its layers are begun,
 * at[2 i], when they are there, at[2 i + 1], and when its training begins, the last one. */
void sol_calib_shares(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o,
                      int64_t layer, double at[2 * SOL_LAYER_SETS + 1]);
/* Of the weights of a model of one block, in f32. */
size_t sol_calib_block_bytes(const sol_model *block);
/* The configuration of a model of one block, with an embedding of one token. */
sol_model_config sol_calib_one_block(const sol_model_config *c);

#endif
