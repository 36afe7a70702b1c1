/* A llama2.c model from a stranger: an error, or a model in memory. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_model_file c;
    sol_err err = {0};
    if (sol_import_llama2c(&c, fuzz_file(data, size), NULL, &err) == SOL_OK)
        sol_model_file_free(&c);
    else
        fuzz_check(err.text[0]);
    return 0;
}
