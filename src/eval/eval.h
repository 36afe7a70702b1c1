/* Scores: cross-entropy and perplexity of a network on a dataset, through the kernels it ships with. */
#ifndef SOLERA_EVAL_EVAL_H
#define SOLERA_EVAL_EVAL_H

#include "infer/infer.h"

typedef struct sol_eval_result {
    double loss; /* nats a token */
    double ppl;  /* exp(loss) */
    int64_t tokens;
    double seconds;
} sol_eval_result;

/* Windows of `seq` tokens in file order, each document apart (attention and positions restart), mean over all targets.
 * max_windows 0: all. */
sol_status sol_eval_tokens(sol_net *net, const sol_tokens *t, int64_t seq, int64_t max_windows, sol_eval_result *r,
                           sol_err *err);

/* Training text from the model itself (LLM-QAT, Liu et al. 2023): documents sampled from BOS until EOS or max_len,
 * `batch` at a time. Document i depends on (seed, i) alone. Appends to *ids and *doc_offsets (sol_tokens form). */
typedef struct sol_self_data {
    uint16_t *ids16;
    uint32_t *ids32; /* one of the two, by vocabulary */
    uint64_t *doc_offsets;
    sol_tokens tokens; /* points into the above */
} sol_self_data;
sol_status sol_self_sample(sol_net *net, int64_t n_tokens, int64_t max_len, float temperature, uint64_t seed, sol_self_data *out,
                           sol_err *err);
void sol_self_data_free(sol_self_data *d);

#endif
