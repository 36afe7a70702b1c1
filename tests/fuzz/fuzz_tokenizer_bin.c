/* The serialized form and llama2.c's tokenizer.bin. The first byte says which frame the rest is put
 * into, so that most inputs get past the magic and the 259 fixed tokens. */
#include <string.h>

#include "fuzz.h"

static const char magic[] = "solera-tokenizer\n\1\0\0";

/* llama2.c's header and fixed tokens, ids 0 to 258; returns the length. */
static size_t llama2c_frame(uint8_t *out)
{
    size_t at = 4;
    memcpy(out, "\x40\0\0\0", 4);
    for (int id = 0; id < 259; id++) {
        char text[8] = "<s>";
        if (id >= 3) snprintf(text, sizeof text, "<0x%02X>", (unsigned)(id - 3));
        uint8_t n = (uint8_t)strlen(text);
        memset(out + at, 0, 8);
        out[at + 4] = n;
        memcpy(out + at + 8, text, n);
        at += 8 + (size_t)n;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_tokenizer *t;
    sol_ids ids = {0};
    sol_err err = {0};
    if (size == 0) return -1;
    uint8_t *file = malloc(8192 + size);
    size_t n = 0;
    if (data[0] % 3 == 1) memcpy(file, magic, n = sizeof magic);
    if (data[0] % 3 == 2) n = llama2c_frame(file);
    memcpy(file + n, data + 1, size - 1);
    n += size - 1;
    if (sol_tokenizer_from_memory(&t, "fuzz", file, n, &err) == SOL_OK) {
        sol_status st = sol_tokenizer_encode(t, "ab  c\n\xE2\x82\xAC", 9,
                                             SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL, &ids, &err);
        fuzz_check(st == SOL_OK || st == SOL_ERR_RANGE || st == SOL_ERR_FORMAT);
        for (size_t i = 0; st == SOL_OK && i < ids.n; i++)
            sol_tokenizer_piece(t, i ? ids.id[i - 1] : -1, ids.id[i], &n);
    } else {
        fuzz_check(t == NULL && err.text[0]);
    }
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
    free(file);
    return 0;
}
