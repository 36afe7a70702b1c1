/* Token streams, and batches drawn from them.
 *
 * Windows of T + 1 tokens tile the stream without padding: window i holds tokens i T to (i + 1) T,
 * and its last token is the first of the next window. Documents follow each other; a batch says
 * where each one begins, so that attention does not cross into it. An epoch visits every window
 * once, in the order of sol_permute with a stream of its own, so that the number of windows drawn
 * is the whole state.
 *
 *     sol_batcher b;
 *     st = sol_batcher_init(&b, &dataset.tokens, T, seed, err); // a sol_dataset of store/dataset.h
 *     if (st == SOL_OK) sol_batcher_next(&b, B, inputs, targets, doc_start); // [B, T] each */
#ifndef SOLERA_TEXT_BATCHER_H
#define SOLERA_TEXT_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* A token stream in memory; everything is borrowed. sol_dataset_open maps one, sol_self_data_sample
 * makes one. */
typedef struct sol_tokens {
    const void *data;            /* uint16 or uint32 */
    int width;                   /* 2 or 4 bytes */
    int64_t n;                   /* tokens */
    const uint64_t *doc_offsets; /* [n_docs + 1], first 0, last n */
    int64_t n_docs;
    uint64_t tokenizer_hash;
    const uint64_t *answers; /* [n_answers] pairs: tokens [begin, end) that an assistant says, in
                              * order; NULL: the data do not know */
    int64_t n_answers;
} sol_tokens;

/* Token i, 0 <= i < n; an id above INT32_MAX in a damaged file comes out negative. */
int32_t sol_tokens_at(const sol_tokens *t, int64_t i);

typedef struct sol_batcher {
    const sol_tokens *tokens; /* borrowed */
    int64_t seq;              /* T */
    uint64_t seed;
    bool answers_only; /* targets outside answers are -1; the caller sets it where there are any */
    uint64_t drawn;    /* windows drawn so far: the saved state */
} sol_batcher;

/* Begins at the first window; t is borrowed. seq: T. SOL_ERR_SHAPE: fewer than T + 1 tokens;
 * SOL_ERR_RANGE: T below 1; SOL_ERR_FORMAT: a width other than 2 and 4, or doc_offsets that do not
 * rise from 0 to n. Ids are not checked. */
sol_status sol_batcher_init(sol_batcher *b, const sol_tokens *t, int64_t seq, uint64_t seed,
                            sol_err *err);
int64_t sol_batcher_windows(const sol_batcher *b); /* windows an epoch */
/* The window of draw number `drawn`, in file order */
int64_t sol_batcher_index(const sol_batcher *b, uint64_t drawn);
/* The next `batch` windows, into inputs, targets and doc_start [batch, T] as sol_graph_accumulate
 * takes them, and drawn += batch. A target is the token after the input, or -1 when that belongs to
 * another document. */
void sol_batcher_next(sol_batcher *b, int64_t batch, int32_t *inputs, int32_t *targets,
                      int32_t *doc_start);
/* Window `index`, in file order, into arrays of T; `drawn` stays. */
void sol_batcher_window(const sol_batcher *b, int64_t index, int32_t *inputs, int32_t *targets,
                        int32_t *doc_start);

#endif
