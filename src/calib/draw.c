/* Draws windows of a text and looks up their tokens: what enters the first block. calib.c
 * begins its streams with it. */
#include "calib/draw.h"

#include "kernels/dtype.h"

static sol_status embed(const sol_model *m, const int32_t *ids, int64_t n, float *x, sol_err *err)
{
    const sol_param *p = sol_model_embedding(m);
    const char *rows = sol_model_at(m, p);
    int64_t C = p->cols;
    size_t row = (size_t)C * sol_dtype_size(m->dtype);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= p->rows)
            return sol_fail(err, SOL_ERR_FORMAT,
                            "holds the token %d, the model's vocabulary ends at %lld", ids[i],
                            (long long)p->rows - 1);
        sol_convert(x + i * C, SOL_F32, rows + (size_t)ids[i] * row, m->dtype, C);
    }
    return SOL_OK;
}

sol_status sol_calib_draw(const sol_mixture *data, const sol_calib_opts *o, const sol_model *m,
                          int32_t *ids, int32_t *doc_start, float *x, sol_err *err)
{
    int64_t T = o->seq, n = o->windows + o->held_out;
    sol_batcher batcher;
    SOL_TRY(sol_batcher_init_mixed(&batcher, data, T, o->seed, err));
    if (sol_batcher_short_stream(&batcher, n) >= 0)
        return sol_fail(
            err, SOL_ERR_RANGE,
            "holds %lld windows of %lld tokens, calibration wants %lld and %lld to measure on",
            (long long)sol_batcher_windows(&batcher), (long long)T, (long long)o->windows,
            (long long)o->held_out);
    sol_batcher_next(&batcher, n, ids, ids + n * T, doc_start);
    return embed(m, ids, n * T, x, err);
}
