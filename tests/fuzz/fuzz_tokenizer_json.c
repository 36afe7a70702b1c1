/* tokenizer.json from a stranger: an error, or a tokenizer that encodes, serializes and comes back
 * as the same. */

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sol_tokenizer *t, *u;
    sol_ids ids = {0};
    sol_err err = {0};
    void *bytes;
    size_t n;
    static const char text[] = "The cat's 1234 hats\r\n\n  <s>\xC3\xA9\xE2\x96\x81\xFF!";
    if (size == 0 || data[0] != '{') return -1; /* the other forms have a target of their own */
    sol_status st = sol_tokenizer_from_memory(&t, "fuzz", data, size, &err);
    if (st != SOL_OK) {
        fuzz_check(t == NULL && err.text[0] && err.status == st);
        return 0;
    }
    st = sol_tokenizer_encode(t, text, sizeof text - 1,
                              SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL | SOL_ENCODE_TAIL, &ids, &err);
    fuzz_check(st == SOL_OK || st == SOL_ERR_RANGE ||
               st == SOL_ERR_FORMAT); /* a hostile regex may give up */
    for (size_t i = 0; st == SOL_OK && i < ids.n; i++) {
        fuzz_check(ids.id[i] >= 0 && ids.id[i] < sol_tokenizer_vocab_size(t));
        sol_tokenizer_piece(t, -1, ids.id[i], &n);
    }
    fuzz_check(sol_tokenizer_serialize(t, &bytes, &n, &err) == SOL_OK);
    fuzz_check(sol_tokenizer_from_memory(&u, "again", bytes, n, &err) == SOL_OK);
    fuzz_check(sol_tokenizer_hash(t) == sol_tokenizer_hash(u));
    sol_free(bytes);
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
    sol_tokenizer_free(&u);
    return 0;
}
