/* Token datasets: HDF5 with /tokens and /doc_offsets, mapped, never loaded whole; and batches drawn from them.
 *
 * Windows of T+1 tokens tile the token stream without padding (window i starts at i*T: its last token is the
 * first of the next window); documents follow each other, and the batch says where each begins so that
 * attention does not cross. An epoch visits every window once in the order of sol_permute(seed, epoch): the
 * whole state is the number of windows drawn. */
#ifndef SOLERA_TEXT_DATASET_H
#define SOLERA_TEXT_DATASET_H

#include <stdint.h>

#include "base/status.h"

/* A token stream in memory, mapped or owned: what store reads and what `data.source: self` samples. */
typedef struct sol_tokens {
    const void *data;            /* uint16 or uint32 */
    int width;                   /* 2 or 4 bytes */
    int64_t n;                   /* tokens */
    const uint64_t *doc_offsets; /* [n_docs + 1], first 0, last n */
    int64_t n_docs;
    uint64_t tokenizer_hash;
} sol_tokens;

int32_t sol_tokens_at(const sol_tokens *t, int64_t i);

typedef struct sol_batcher {
    const sol_tokens *tokens; /* borrowed */
    int64_t seq;              /* T */
    uint64_t seed;
    uint64_t drawn; /* windows drawn so far: the saved state */
} sol_batcher;

/* Checks that the data holds at least one window and that all is in range. */
sol_status sol_batcher_init(sol_batcher *b, const sol_tokens *t, int64_t seq, uint64_t seed, sol_err *err);
int64_t sol_batcher_windows(const sol_batcher *b); /* windows an epoch */
int64_t sol_batcher_index(const sol_batcher *b, uint64_t drawn); /* the window of draw number `drawn`, in file order */
/* Fills rows [batch, T] of inputs, targets and doc_start (sol_graph_accumulate's forms) and moves `drawn` on.
 * The target of a document's last token is -1 only if the next token belongs to another document. */
void sol_batcher_next(sol_batcher *b, int64_t batch, int32_t *inputs, int32_t *targets, int32_t *doc_start);
/* Window `index` in file order, for evaluation. */
void sol_batcher_window(const sol_batcher *b, int64_t index, int32_t *inputs, int32_t *targets,
                        int32_t *doc_start);

#endif
