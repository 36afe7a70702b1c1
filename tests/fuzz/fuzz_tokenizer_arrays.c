/* Tokenizers from GGUF arrays: the input is cut at zero bytes into tokens and merges, a few leading
 * bytes are the settings. */
#include <string.h>

#include "fuzz.h"

enum { SETTINGS = 8, MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const pre[] = {"llama-bpe", "smollm", "gpt-2", "default", "nonsense", NULL};
    sol_span *span = calloc(MAX, sizeof *span);
    float *score = calloc(MAX, sizeof *score);
    int32_t *type = calloc(MAX, sizeof *type);
    char(*bytes)[8] = calloc(256, sizeof *bytes);
    sol_tokenizer *t;
    sol_ids ids = {0};
    sol_err err = {0};
    int64_t n = 0;
    if (size >= SETTINGS) {
        bool spm = data[0] & 1, all_bytes = data[0] & 2;
        for (int b = 0; all_bytes && b < 256; b++, n++) {
            snprintf(bytes[b], sizeof *bytes, "<0x%02X>", (unsigned)b);
            span[n] = (sol_span){bytes[b], 6};
            type[n] = 6;
        }
        const uint8_t *at = data + SETTINGS, *end = data + size;
        for (; at < end && n < MAX; n++) {
            const uint8_t *zero = memchr(at, 0, (size_t)(end - at));
            span[n] = (sol_span){(const char *)at, (size_t)((zero ? zero : end) - at)};
            type[n] = span[n].n ? 1 + (span[n].at[0] == 'C' ? 2 : span[n].at[0] == 'U' ? 3 : 0) : 1;
            score[n] = span[n].n ? (float)(signed char)span[n].at[span[n].n - 1] : 0;
            at = zero ? zero + 1 : end;
        }
        int64_t tokens = n * data[1] / 255;
        sol_tokenizer_arrays a = {.model = spm ? "llama" : "gpt2",
                                  .pre = pre[data[2] % 6],
                                  .tokens = span,
                                  .n_tokens = tokens,
                                  .scores = score,
                                  .types = data[3] & 1 ? type : NULL,
                                  .merges = span + tokens,
                                  .n_merges = n - tokens,
                                  .bos = (int64_t)data[4] - 1,
                                  .eos = (int64_t)data[5] - 1,
                                  .add_bos = data[6] % 3 - 1,
                                  .add_eos = data[6] / 3 % 3 - 1,
                                  .add_space_prefix = data[7] % 3 - 1};
        sol_status st = sol_tokenizer_from_arrays(&t, "fuzz", &a, &err);
        fuzz_check((st == SOL_OK) == (t != NULL));
        if (t)
            fuzz_check(sol_tokenizer_encode(t, "Ca U\xC4\xA0 <0x41>\n", 13, SOL_ENCODE_SPECIAL,
                                            &ids, &err) == SOL_OK);
        sol_ids_free(&ids);
        sol_tokenizer_free(&t);
    }
    free(span);
    free(score);
    free(type);
    free(bytes);
    return 0;
}
