/* What the ranks of a calibration share, so that it has the same bits for any number of them: the
 * windows, in lanes, and sums, which are added in the order of their terms. Internal to calib.
 *
 * Chunks of windows are cut into up to SOL_CALIB_LANES lanes, lane i for rank i mod N. A rank has
 * the hidden states of its own windows; sol_share_rows completes them. All ranks call the functions
 * that return a status together; one rank does nothing in them but add. */
#ifndef SOLERA_CALIB_SHARE_H
#define SOLERA_CALIB_SHARE_H

#include "calib/calib.h"
#include "calib/sizes.h"

typedef struct sol_share {
    const sol_ctx *ctx;          /* borrowed */
    sol_dist *dist;              /* borrowed; NULL: one rank */
    float *arrived;              /* [ranks, elements of a rank's share of a sum]; owned, as below */
    sol_dist_piece *send, *recv; /* [ranks] */
    sol_dist_range *range;       /* [ranks] */
} sol_share;

/* Bytes that sol_share_create allocates for sums of at most n elements. */
size_t sol_share_bytes(sol_dist *dist, int64_t n);
/* The caller frees *s, also after a failure. */
sol_status sol_share_create(sol_share *s, const sol_ctx *ctx, sol_dist *dist, int64_t n,
                            sol_err *err);
void sol_share_free(sol_share *s);

/* How many lanes these chunks make, and the first chunk of a lane; of lane `lanes`: chunks. */
int64_t sol_share_lanes(int64_t chunks);
int64_t sol_share_first_chunk(int64_t chunks, int64_t lane);
/* Whether lane, or term, i is this rank's. */
bool sol_share_mine(const sol_share *s, int64_t i);

/* Completes data[chunks, each of `bytes`], the last one shorter, `all` bytes together. */
sol_status sol_share_rows(sol_share *s, void *data, int64_t chunks, size_t bytes, size_t all,
                          sol_err *err);

/* Terms [first, first + ranks) of a sum of `terms`: term first + rank is x [n], of this rank. Adds
 * them, in order, to this rank's share of sum [n], which the first one sets; sol_share_sum then
 * completes it. */
sol_status sol_share_add(sol_share *s, int64_t first, int64_t terms, const float *x, float *sum,
                         int64_t n, sol_err *err);
sol_status sol_share_sum(sol_share *s, float *sum, int64_t n, sol_err *err);

/* Rank 0's n bytes, to all. */
sol_status sol_share_send(sol_share *s, void *data, size_t n, sol_err *err);
/* One status for all. */
sol_status sol_share_agree(sol_share *s, sol_status st, sol_err *err);

#endif
