/* Token streams, and batches drawn from one or a mixture of them.
 *
 * Windows of T + 1 tokens tile the stream without padding: window i holds tokens i T to (i + 1) T,
 * and its last token is the first of the next window. Documents follow each other; a batch says
 * where each one begins, so that attention does not cross into it. An epoch visits every window
 * once, in the order of sol_permute with a stream of its own, so that the number of windows drawn
 * is the whole state.
 *
 * A mixture draws in rounds: each holds every stream as often as its weight says, in an order of
 * its own. The window of a draw is a function of seed and number alone, each stream has epochs of
 * its own, and one of a mixture is drawn without replacement as one alone.
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

enum { SOL_MIX_MAX = 16 };

/* Streams to draw from. */
typedef struct sol_mixture {
    int n; /* 1 to SOL_MIX_MAX */
    struct {
        const sol_tokens *tokens; /* borrowed */
        double weight;            /* of any unit, above 0; of one stream alone it says nothing */
    } stream[SOL_MIX_MAX];
} sol_mixture;

/* How the weights are kept: of each *round draws share[i] are of stream i. The round is the
 * smallest that has the weights exactly, at most 65536, so that weights in one proportion give the
 * same. SOL_ERR_RANGE: the weight of stream *at is not above 0, or less than 1/65536 of all. */
sol_status sol_mixture_shares(const sol_mixture *m, int64_t share[SOL_MIX_MAX], int64_t *round,
                              int *at, sol_err *err);

typedef struct sol_batcher {
    int n;
    struct {
        const sol_tokens *tokens; /* borrowed */
        int64_t share;            /* draws of a round (sol_mixture_shares) */
        int64_t first;            /* its first window, of the windows of all streams in a row */
    } stream[SOL_MIX_MAX];
    int64_t windows; /* of all streams */
    int64_t round;   /* draws */
    int64_t seq;     /* T */
    uint64_t seed;
    bool answers_only; /* targets outside answers are -1; the caller sets it where there are any */
    uint64_t drawn;    /* windows drawn so far: the saved state */
} sol_batcher;

/* Begins at the first window; t is borrowed. seq: T. SOL_ERR_SHAPE: fewer than T + 1 tokens;
 * SOL_ERR_RANGE: T below 1; SOL_ERR_FORMAT: a width other than 2 and 4, or doc_offsets that do not
 * rise from 0 to n. Ids are not checked. */
sol_status sol_batcher_init(sol_batcher *b, const sol_tokens *t, int64_t seq, uint64_t seed,
                            sol_err *err);
/* The same for a mixture, of which nothing is kept. On failure b->n is the stream that is to blame.
 * SOL_ERR_RANGE, too: as sol_mixture_shares. */
sol_status sol_batcher_init_mixed(sol_batcher *b, const sol_mixture *m, int64_t seq, uint64_t seed,
                                  sol_err *err);
/* Windows of all streams: of one alone, an epoch. */
int64_t sol_batcher_windows(const sol_batcher *b);
/* Windows of one stream, and how many draws it takes until it has given each of them once, on
 * average. */
int64_t sol_batcher_stream_windows(const sol_batcher *b, int stream);
int64_t sol_batcher_stream_epoch(const sol_batcher *b, int stream);
/* A stream that `draws` draws from the first on take windows of twice; -1: there is none. */
int sol_batcher_short_stream(const sol_batcher *b, int64_t draws);
/* The stream that holds a window. */
int sol_batcher_stream(const sol_batcher *b, int64_t window);
/* The window of draw number `drawn`, in the order of streams and of their files. */
int64_t sol_batcher_index(const sol_batcher *b, uint64_t drawn);
/* The next `batch` windows, into inputs, targets and doc_start [batch, T] as sol_graph_accumulate
 * takes them, and drawn += batch. A target is the token after the input, or -1 when that belongs to
 * another document. */
void sol_batcher_next(sol_batcher *b, int64_t batch, int32_t *inputs, int32_t *targets,
                      int32_t *doc_start);
/* Window `index`, in that order, into arrays of T; `drawn` stays. */
void sol_batcher_window(const sol_batcher *b, int64_t index, int32_t *inputs, int32_t *targets,
                        int32_t *doc_start);

#endif
