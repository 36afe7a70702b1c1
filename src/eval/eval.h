/* Scores: cross-entropy and perplexity of a network on token data, through the kernels it ships
 * with; and text sampled from the network itself.
 *
 *     sol_eval_opts o = {.windows = {.seq = 512}};
 *     st = sol_eval_windows(net, &dataset.tokens, &o, &result, err); */
#ifndef SOLERA_EVAL_EVAL_H
#define SOLERA_EVAL_EVAL_H

#include "dist/dist.h"
#include "infer/infer.h"
#include "store/model_file.h"
#include "text/batcher.h"

/* Progress: called now and then with tokens done and in all. When it returns false the work ends
 * with SOL_ERR_INTERRUPTED. fn may be NULL. */
typedef struct sol_eval_watch {
    bool (*fn)(void *user, int64_t done, int64_t total);
    void *user;
} sol_eval_watch;

typedef struct sol_eval_result {
    double loss;    /* nats a token */
    double ppl;     /* exp(loss) */
    int64_t tokens; /* predicted */
    double seconds;
} sol_eval_result;

typedef struct sol_eval_opts {
    sol_windows windows;
    sol_eval_watch watch;
    sol_dist *dist; /* ranks that share the work, borrowed; NULL: one. All call with the same net,
                     * data and options, and get the same bits as one, or the same failure */
} sol_eval_opts;

/* Cross-entropy of a token stream: window w reads tokens [w seq, (w + 1) seq) and predicts the
 * token after each one; the last window may be shorter. The loss is the mean over all predictions,
 * summed in double in file order.
 *
 * Joined (the usual way to score a model that was trained on a joined stream): attention and
 * positions run through a window. Apart (what sol_graph trains with sol_batcher's windows): they
 * restart at each document, and the first token of a document is not predicted.
 *
 * SOL_ERR_SHAPE when there is nothing to predict, SOL_ERR_RANGE for a seq outside 1 to the model's
 * context, SOL_ERR_FORMAT when the data was made with another tokenizer than the net's,
 * SOL_ERR_RANGE for a token outside the vocabulary (the text says where), SOL_ERR_NONFINITE when
 * the loss is not a number. */
sol_status sol_eval_windows(sol_net *net, const sol_tokens *t, const sol_eval_opts *o,
                            sol_eval_result *r, sol_err *err);

/* Training text from the model itself (LLM-QAT, Liu et al. 2023): documents sampled from BOS until
 * EOS (kept), another BOS (dropped) or max_len tokens; many at a time. Document i depends on (seed,
 * i) alone; documents follow each other in that order until they hold at least n_tokens. So those
 * that an earlier call has finished need not be sampled again. */
typedef struct sol_self_opts {
    int64_t n_tokens, max_len;
    float temperature;
    uint64_t seed;
    sol_eval_watch watch;
    const sol_tokens
        *done; /* the first documents, of a call that was ended; NULL: none. Borrowed */
    /* Gets the first documents, as far as all of them are finished: each time that a 32nd of the
     * tokens is new, at least every 8,192, and before an interruption. NULL: nobody. */
    sol_status (*keep)(void *user, const sol_tokens *first, sol_err *err);
    void *keep_user;
} sol_self_opts;
typedef struct sol_self_data {
    uint16_t *ids16;
    uint32_t *ids32;       /* one of the two, by vocabulary; owned */
    uint64_t *doc_offsets; /* owned */
    sol_tokens tokens;     /* points into the above */
} sol_self_data;
/* Whether such a model can be sampled with these options; t: its tokenizer, or NULL. SOL_ERR_RANGE:
 * a field is out of range; SOL_ERR_UNSUPPORTED: there is neither BOS nor EOS to begin with, or the
 * tokenizer lacks it. */
sol_status sol_self_check(const sol_model_config *c, const sol_tokenizer *t, const sol_self_opts *o,
                          sol_err *err);
/* Samples documents; fails as sol_self_check does, as o->keep does, and with SOL_ERR_NONFINITE when
 * the model gives no number. The caller owns *out (sol_self_data_free). */
sol_status sol_self_data_sample(sol_net *net, const sol_self_opts *o, sol_self_data *out,
                                sol_err *err);
void sol_self_data_free(sol_self_data *d);

#endif
