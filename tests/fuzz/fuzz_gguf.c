/* A GGUF file from a stranger with its tokenizer: an error, or a model file and a tokenizer
 * that encodes. Every block format decodes any bytes. */
#include <string.h>

#include "foreign/gguf.h"
#include "fuzz.h"

static void decode_blocks(const uint8_t *data, size_t size)
{
    float out[256];
    for (uint32_t id = 0; id < 64; id++) {
        const sol_ggml_type *t = sol_ggml_type_of(id);
        if (!t || !t->decode || t->bytes > size) continue;
        uint8_t *block = malloc(t->bytes); /* of its own, so that a read behind it is seen */
        memcpy(block, data + size - t->bytes, t->bytes);
        fuzz_check(t->block <= 256);
        sol_ggml_decode(t, block, t->block, out);
        free(block);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_source s;
    sol_ids ids = {0};
    sol_err err = {0};
    decode_blocks(data, size);
    sol_status st = sol_source_open_gguf(&s, fuzz_file(data, size), true, &err);
    fuzz_check(st == SOL_OK || err.text[0]);
    if (st != SOL_OK) return 0;
    if (s.tokenizer) {
        st = sol_tokenizer_encode(s.tokenizer, "ab  c\n\xE2\x82\xAC", 9,
                                  SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL, &ids, &err);
        fuzz_check(st == SOL_OK || st == SOL_ERR_RANGE || st == SOL_ERR_FORMAT);
        sol_ids_free(&ids);
    }
    fuzz_import(&s);
    return 0;
}
