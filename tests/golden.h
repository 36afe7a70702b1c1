/* Golden files: JSON that scripts wrote, and digests of tensors in it. */
#ifndef SOLERA_TESTS_GOLDEN_H
#define SOLERA_TESTS_GOLDEN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The file's value, owned by the caller (json_decref). This and the next two fail the test where
 * there is none. */
json_t *golden_load(const char *path);
const json_t *golden_member(const json_t *object, const char *key);
double golden_item(const json_t *array, size_t i);

/* A tensor is compared by its norm and its products with vectors of +-1. A product moves by about
 * the distance of two tensors, so that a few of them stand for a comparison of all elements. */
enum { GOLDEN_PROJECTIONS = 4, GOLDEN_DIGEST = 1 + GOLDEN_PROJECTIONS };
void golden_digest(const float *x, int64_t n, double digest[GOLDEN_DIGEST]);

#endif
