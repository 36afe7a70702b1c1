/* What each layer of a model costs by itself: the loss with this one layer quantized and all others
 * in full precision. It says which layers are worth an override (quant/overrides.h).
 *
 *     sol_sensitivity s;
 *     SOL_TRY(sol_sensitivity_measure(&s, ctx, model, &spec, &tokens, &windows, NULL, err));
 *     for (int i = 0; i < s.n; i++)
 *         printf("%s %+.4f\n", s.layer[i].param->name, s.layer[i].loss - s.loss);
 *     sol_sensitivity_free(&s); */
#ifndef SOLERA_EVAL_SENSITIVITY_H
#define SOLERA_EVAL_SENSITIVITY_H

#include "base/progress.h"
#include "eval/eval.h"
#include "model/model.h"
#include "text/batcher.h"

typedef struct sol_sensitivity_layer {
    const sol_param *param; /* of the model; borrowed */
    double loss;            /* nats a token with this layer quantized; NaN: not a number */
} sol_sensitivity_layer;

typedef struct sol_sensitivity {
    double loss;                  /* of the model in full precision */
    int64_t tokens;               /* predicted each time */
    sol_sensitivity_layer *layer; /* [n], the dearest first; owned */
    int n;
} sol_sensitivity;

/* Measures every layer that spec, which has a method, quantizes: with the parameters that m has
 * learned for that method, if any, else with their starting values; without the biases that Tequila
 * makes. m: SOL_F32; a layer's weights are replaced while it is measured, afterwards m is as it
 * was. windows: of tokens, as sol_eval_windows cuts them; its errors, those of sol_quant_check and
 * sol_net_from_model. progress: before each layer, in layers; NULL: none. The caller frees *s,
 * which is empty after a failure. */
sol_status sol_sensitivity_measure(sol_sensitivity *s, sol_ctx *ctx, sol_model *m,
                                   const sol_quant_spec *spec, const sol_tokens *tokens,
                                   const sol_windows *windows, const sol_progress *progress,
                                   sol_err *err);
void sol_sensitivity_free(sol_sensitivity *s);

#endif
