/* A token dataset from a stranger: an error, or data within their bounds. */
#include <string.h>

#include "fuzz.h"

static void draw(const sol_dataset *d)
{
    enum { SEQ = 4 };
    sol_batcher b;
    sol_err err = {0};
    int32_t inputs[SEQ], targets[SEQ], doc_start[SEQ];
    if (sol_batcher_init(&b, &d->tokens, SEQ, 1, &err) != SOL_OK) return;
    for (int i = 0; i < 8; i++) sol_batcher_next(&b, 1, inputs, targets, doc_start);
    for (int64_t w = 0; w < sol_batcher_windows(&b); w++)
        sol_batcher_window(&b, w, inputs, targets, doc_start);
    for (int i = 0; i < SEQ; i++) fuzz_check(doc_start[i] >= 0 && doc_start[i] <= i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_dataset d;
    sol_err err = {0};
    const char *path = fuzz_h5_file(data, size);
    if (sol_dataset_open(&d, path, &err) == SOL_OK) {
        draw(&d);
        sol_dataset_close(&d);
    } else {
        fuzz_check(err.text[0]);
    }
    return 0;
}
