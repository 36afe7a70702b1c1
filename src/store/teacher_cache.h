/* A teacher's predictions for a dataset in a file: for every position of every window of a batcher
 * (text/batcher.h) k next tokens, their probabilities and that of all others.
 *
 * Every dataset has its full length from the start (windows of the future are zeros, and take no
 * disk space); windows are written in order at their places, synced, and only then counted, so that
 * a process that dies at any moment leaves a file that goes on where it was counted. Layout:
 * checkpoints/SCHEMA.md.
 *
 *     sol_teacher_cache *c;
 *     st = sol_teacher_cache_create(&c, path, &head, err);                 // or _open, to go on
 *     while (st == SOL_OK && sol_teacher_cache_done(c) < head.windows)
 *         st = sol_teacher_cache_append(c, ids, probs, err);
 *     st = sol_teacher_cache_commit(c, err); // now and then, and at the end
 *     st = sol_teacher_cache_read(c, window, k, ids, probs, target, err);  // allocates nothing */
#ifndef SOLERA_STORE_TEACHER_CACHE_H
#define SOLERA_STORE_TEACHER_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sol_teacher_cache_head {
    uint64_t data_digest, teacher_digest, tokenizer_hash;
    int64_t vocab_size, windows, seq, k;
    int64_t samples; /* the last of the k, drawn from the rest (autograd/distill.h); the others:
                      * most probable */
    int64_t seed;    /* of the drawing (run.seed); -1: a file from before it was kept */
    double temperature;
    /* How the teacher was computed: its weights and the products, as jobs name types; "": a file
     * from before it was kept. */
    char teacher_dtype[8], compute[8];
} sol_teacher_cache_head;

typedef struct sol_teacher_cache sol_teacher_cache;

/* Replaces the file at `path` by an empty cache for head->windows windows. The caller owns *c. */
sol_status sol_teacher_cache_create(sol_teacher_cache **c, const char *path,
                                    const sol_teacher_cache_head *head, sol_err *err);
/* Opens an existing cache, to append with `write`. SOL_ERR_FORMAT: it is damaged; SOL_ERR_LOCKED:
 * another process appends to it. */
sol_status sol_teacher_cache_open(sol_teacher_cache **c, const char *path, bool write,
                                  sol_err *err);
/* What was appended after the last commit is lost. NULL is fine. */
void sol_teacher_cache_close(sol_teacher_cache **c);

const sol_teacher_cache_head *sol_teacher_cache_get_head(const sol_teacher_cache *c); /* borrowed */
/* Windows appended so far, also those that are not committed. */
int64_t sol_teacher_cache_done(const sol_teacher_cache *c);

/* The next window: ids [seq, k], probs [seq, k + 2] as sol_teacher_graph_run gives them: the k
 * tokens, the rest, the target at temperature 1. Probabilities of tokens are rounded to fp16. */
sol_status sol_teacher_cache_append(sol_teacher_cache *c, const int32_t *ids, const float *probs,
                                    sol_err *err);
/* Writes, syncs and counts what was appended. */
sol_status sol_teacher_cache_commit(sol_teacher_cache *c, sol_err *err);

/* The k most probable tokens at every position of a window: ids [seq, k], probs [seq, k + 1] with
 * the probability of all others last, target [seq] (or NULL) that of the true token at temperature
 * 1. k <= head.k, and k = head.k where some are samples. SOL_ERR_RANGE: no such window or k;
 * SOL_ERR_FORMAT: it is damaged. */
sol_status sol_teacher_cache_read(sol_teacher_cache *c, int64_t window, int64_t k, int32_t *ids,
                                  float *probs, float *target, sol_err *err);
/* Compares every counted window with its checksum; SOL_ERR_FORMAT names one that is damaged.
 * *bytes: of these windows. */
sol_status sol_teacher_cache_verify(const char *path, uint64_t *bytes, sol_err *err);

#endif
