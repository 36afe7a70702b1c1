/* What every libFuzzer target includes. `make fuzz` runs each of tests/fuzz/fuzz_*.c for a minute, starting
 * from tests/fuzz/seeds/<name>/ and from what earlier runs found (build/fuzz/corpus/<name>/). */
#ifndef SOLERA_TESTS_FUZZ_H
#define SOLERA_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "solera.h"

#define fuzz_check(condition)                                                                                  \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                          \
            abort();                                                                                           \
        }                                                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
