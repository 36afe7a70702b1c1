/* What a teacher thinks, kept in a file, from a stranger: an error, or windows within the bounds
 * that the file states; a window that is damaged is an error of its own. */
#include <math.h>

#include "fuzz.h"

static void read_windows(sol_teacher_cache *c)
{
    const sol_teacher_cache_head *h = sol_teacher_cache_get_head(c);
    int64_t done = sol_teacher_cache_done(c);
    sol_err err = {0};
    fuzz_check(done >= 0 && done <= h->windows && h->seq > 0 && h->k > 0 && h->k <= h->vocab_size &&
               h->samples <= h->k);
    if (h->seq > 4096 / (h->k + 2)) return;
    int32_t *ids = malloc((size_t)(h->seq * h->k) * sizeof *ids);
    float *probs = malloc((size_t)(h->seq * (h->k + 1)) * sizeof *probs),
          *target = malloc((size_t)h->seq * sizeof *target);
    for (int64_t w = 0; w < done && w < 8; w++) {
        if (sol_teacher_cache_read(c, w, h->k, ids, probs, target, &err) != SOL_OK) {
            fuzz_check(err.text[0]);
            continue;
        }
        for (int64_t i = 0; i < h->seq * h->k; i++)
            fuzz_check(ids[i] >= 0 && ids[i] < h->vocab_size);
        for (int64_t i = 0; i < h->seq * (h->k + 1); i++)
            fuzz_check(isfinite(probs[i]) && probs[i] >= 0);
    }
    free(ids);
    free(probs);
    free(target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_teacher_cache *c = NULL;
    sol_err err = {0};
    if (sol_teacher_cache_open(&c, fuzz_h5_file(data, size), false, &err) == SOL_OK)
        read_windows(c);
    else
        fuzz_check(err.text[0] && !c);
    sol_teacher_cache_close(&c);
    return 0;
}
