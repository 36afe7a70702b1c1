/* Any bytes through encoders of both kinds: they come back, a cached encoder and a cut text give
 * the same ids. */
#include <string.h>

#include "fuzz.h"
#include "text/tokenizer_impl.h"

static sol_tokenizer *make(sol_tok_kind kind)
{
    static const char *const word[] = {"th", "he",   "the",      " t", " the", "aa",  "aaaa",
                                       "  ", "    ", "\xC3\xA9", "ab", "aba",  "\r\n"};
    sol_tokenizer *t;
    fuzz_check(sol_tok_create(&t, kind, NULL) == SOL_OK);
    if (kind == SOL_TOK_BYTE_LEVEL)
        fuzz_check(sol_pretok_add(&t->pretok, SOL_REGEX_LLAMA3, NULL) == SOL_OK);
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        sol_tok_add(t, &c, 1, kind == SOL_TOK_BYTE_LEVEL ? SOL_TOKEN_NORMAL : SOL_TOKEN_BYTE, 0,
                    NULL);
    }
    for (int c = ' '; kind == SOL_TOK_SENTENCEPIECE && c < 0x7F; c++) {
        char text = (char)c;
        sol_tok_add(t, &text, 1, SOL_TOKEN_NORMAL, -100, NULL);
    }
    for (int i = 0; i < (int)(sizeof word / sizeof *word); i++)
        sol_tok_add(t, word[i], strlen(word[i]), SOL_TOKEN_NORMAL, (float)-i, NULL);
    t->merges_given = kind == SOL_TOK_BYTE_LEVEL;
    t->add_space_prefix = kind == SOL_TOK_SENTENCEPIECE;
    static const int32_t merge[][3] = {
        {'t', 'h', 256}, {'h', 'e', 257}, {256, 'e', 258}, {' ', 258, 260}, {'a', 'a', 261},
        {261, 261, 262}, {' ', ' ', 263}, {263, 263, 264}, {'a', 'b', 266}, {266, 'a', 267}};
    for (size_t i = 0; t->merges_given && i < sizeof merge / sizeof *merge; i++)
        sol_tok_add_merge(t, merge[i][0], merge[i][1], merge[i][2], NULL);
    fuzz_check(sol_tok_finish(t, "fuzz", NULL) == SOL_OK);
    return t;
}

static void check(const sol_tokenizer *t, sol_encoder *e, const char *text, size_t n)
{
    sol_ids once = {0}, again = {0};
    char *back = malloc(n + 1);
    size_t at = 0, len;
    fuzz_check(sol_tokenizer_encode(t, text, n, 0, &once, NULL) == SOL_OK);
    for (size_t i = 0; i < once.n; i++, at += len) {
        const char *piece = sol_tokenizer_piece(t, i ? once.id[i - 1] : -1, once.id[i], &len);
        fuzz_check(at + len <= n);
        if (len) memcpy(back + at, piece, len);
    }
    fuzz_check(at == n && (n == 0 || memcmp(back, text, n) == 0));
    size_t cut = sol_tokenizer_cut(t, text, n);
    fuzz_check(sol_encoder_run(e, text, cut, 0, &again, NULL) == SOL_OK);
    fuzz_check(sol_encoder_run(e, text + cut, n - cut, cut ? SOL_ENCODE_CONTINUE : 0, &again,
                               NULL) == SOL_OK);
    fuzz_check(once.n == again.n &&
               (once.n == 0 || memcmp(once.id, again.id, once.n * sizeof *once.id) == 0));
    sol_ids_free(&once);
    sol_ids_free(&again);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sol_tokenizer *t[2];
    static sol_encoder *e[2];
    for (int k = 0; k < 2; k++) {
        if (!t[k]) {
            t[k] = make(k ? SOL_TOK_SENTENCEPIECE : SOL_TOK_BYTE_LEVEL);
            fuzz_check(sol_encoder_create(&e[k], t[k], NULL) == SOL_OK);
        }
        check(t[k], e[k], (const char *)data, size);
    }
    return 0;
}
