/* Layers that a model quantizes in another way than the rest: finer, or not at all.
 *
 *     sol_quant_override row = {.match = "*.down_proj.weight", .group_size = 32};
 *     sol_quant_overrides *o = NULL;
 *     st = sol_quant_overrides_add(&o, &row, err);
 *     spec.overrides = o; // borrowed
 *     sol_quant_spec down = sol_quant_for(&spec, "model.layers.3.mlp.down_proj.weight");
 *     sol_quant_overrides_free(&o);
 *
 * A sol_quant_spec with overrides is that of a whole model; sol_quant_for gives that of one layer.
 * At most one row may match a layer; sol_model_check_overrides (model/model.h) holds a table of
 * parameters to that. */
#ifndef SOLERA_QUANT_OVERRIDES_H
#define SOLERA_QUANT_OVERRIDES_H

#include "base/text.h"
#include "quant/quant.h"

enum { SOL_QUANT_MATCH = 96, SOL_QUANT_MAX_OVERRIDES = 64 };

typedef struct sol_quant_override {
    /* Glob (fnmatch: * ? [0-3]) on the Hugging Face name, of printable ASCII without quotation
     * marks and backslashes. */
    char match[SOL_QUANT_MATCH];
    bool none;                   /* full precision; the two below are unset */
    const sol_quantizer *method; /* NULL: that of the model */
    int group_size;              /* per group of so many weights; 0: as the model */
} sol_quant_override;

struct sol_quant_overrides {
    int n;
    sol_quant_override row[SOL_QUANT_MAX_OVERRIDES];
};

/* Adds a copy of *row behind the others; *o NULL: the first one, and *o is then owned by the
 * caller. SOL_ERR_RANGE: more than SOL_QUANT_MAX_OVERRIDES. */
sol_status sol_quant_overrides_add(sol_quant_overrides **o, const sol_quant_override *row,
                                   sol_err *err);
void sol_quant_overrides_free(sol_quant_overrides **o);
/* Adds them to *t as YAML in one line, [{match: "*.o_proj.weight", method: none}]; o NULL: []. That
 * is what files hold. */
sol_status sol_quant_overrides_write(const sol_quant_overrides *o, sol_text *t, sol_err *err);
/* Reads what _write wrote; *o is owned by the caller, NULL for []. SOL_ERR_FORMAT: another text;
 * SOL_ERR_UNSUPPORTED: a method that this program lacks. */
sol_status sol_quant_overrides_parse(sol_quant_overrides **o, const char *text, sol_err *err);

/* The spec of the layer of this name: that of the model, with the first row that matches; method
 * NULL where it is none. It has no overrides. */
sol_quant_spec sol_quant_for(const sol_quant_spec *spec, const char *name);
/* Whether a packed file can hold a model of this spec: each layer is 3:4 sparse with scales in
 * fp16, or kept. */
bool sol_quant_packable(const sol_quant_spec *spec);
/* Whether two layers are quantized in the same way. */
bool sol_quant_same(const sol_quant_spec *a, const sol_quant_spec *b);
/* The first row that matches; NULL: none does. */
const sol_quant_override *sol_quant_override_of(const sol_quant_spec *spec, const char *name);
/* Whether a row may stand under spec. SOL_ERR_UNSUPPORTED: spec quantizes nothing, or the row's
 * method learns parameters or makes a bias and is not the model's own. */
sol_status sol_quant_override_check(const sol_quant_spec *spec, const sol_quant_override *row,
                                    sol_err *err);

#endif
