/* JSON that other programs wrote, as jansson's tree.
 *
 *     json_t *root = sol_json_load(text, n, JSON_REJECT_DUPLICATES, &why); */
#ifndef SOLERA_BASE_JSON_H
#define SOLERA_BASE_JSON_H

#include <jansson.h>

/* json_loadb, which by itself refuses numbers that neither 64 bits nor a double hold, and the NaN,
 * Infinity and -Infinity that Python writes. Here all of them are numbers: the nearest double, NaN
 * the largest one. So they do no harm under a key that is not read, and fail the range check of one
 * that is. Where there are any, `why` may count columns behind them wrongly. */
json_t *sol_json_load(const char *text, size_t n, size_t flags, json_error_t *why);

#endif
