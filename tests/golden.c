/* Golden files for tests: read, and the digests of tensors that scripts put into them. */
#include "golden.h"

#include <math.h>

#include "suite.h"

json_t *golden_load(const char *path)
{
    json_error_t why;
    json_t *j = json_load_file(path, 0, &why);
    ck_assert_msg(j != NULL, "%s: %s", path, why.text);
    return j;
}

const json_t *golden_member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    ck_assert_msg(v != NULL, "the golden file lacks '%s'", key);
    return v;
}

double golden_item(const json_t *array, size_t i)
{
    ck_assert_uint_lt(i, json_array_size(array));
    return json_number_value(json_array_get(array, i));
}

/* Value i of the k-th vector of +-1; signs() of scripts/make_golden_torch.py. */
static double sign(int64_t i, int k)
{
    uint32_t h = ((uint32_t)i * 4 + (uint32_t)k) * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return h & 1 ? -1 : 1;
}

void golden_digest(const float *x, int64_t n, double digest[GOLDEN_DIGEST])
{
    for (int k = 0; k < GOLDEN_DIGEST; k++) digest[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        digest[0] += (double)x[i] * (double)x[i];
        for (int k = 0; k < GOLDEN_PROJECTIONS; k++) digest[1 + k] += (double)x[i] * sign(i, k);
    }
    digest[0] = sqrt(digest[0]);
}
