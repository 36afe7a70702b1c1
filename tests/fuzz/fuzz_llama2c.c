/* A llama2.c model from a stranger: an error, or a model file. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_source s;
    sol_err err = {0};
    if (sol_source_open_llama2c(&s, fuzz_file(data, size), &err) == SOL_OK)
        fuzz_import(&s);
    else
        fuzz_check(err.text[0]);
    return 0;
}
