/* What GGUF gets of tokenizers: scores from the merges of a SentencePiece one, placeholders for ids
 * that only the model has. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "text/pretokenize.h"
#include "text/tokenizer.h"

enum { FIRST = 3 + 256, MAX_SPAN_TEXT = 6 };

/* A LLaMA-2 like tokenizer.json: <unk>, BOS, EOS, the 256 bytes, then a, b, c, U+2581 and what the
 * case adds. */
static void make_with(sol_tokenizer **t, const char *more_vocab, const char *merges,
                      const char *post)
{
    char *s = malloc(16384);
    int at =
        sprintf(s,
                "{%s\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,"
                "\"content\":\"<s>\",\"special\":true},"
                "{\"id\":2,\"content\":\"</"
                "s>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
                "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},{\"type\":\"Replace\","
                "\"pattern\":{\"String\":\" \"},"
                "\"content\":\"\xE2\x96\x81\"}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>"
                "\",\"byte_fallback\":true,"
                "\"fuse_unk\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,",
                post);
    for (int b = 0; b < 256; b++) at += sprintf(s + at, "\"<0x%02X>\":%d,", (unsigned)b, b + 3);
    sprintf(s + at, "\"a\":259,\"b\":260,\"c\":261,\"\xE2\x96\x81\":262%s},\"merges\":[%s]}}",
            more_vocab, merges);
    ck_ok(sol_tokenizer_from_memory(t, "t.json", s, strlen(s), err));
    free(s);
}

static void make(sol_tokenizer **t, const char *more_vocab, const char *merges)
{
    make_with(t, more_vocab, merges, "");
}

/* Every text of up to 6 characters a, b, c and blank gets the same ids from both. */
static void expect_same_ids(const sol_tokenizer *t, const sol_tokenizer *u)
{
    sol_ids x = {0}, y = {0};
    int different = 0;
    for (int length = 0; length <= MAX_SPAN_TEXT; length++) {
        for (int code = 0; code < 1 << 2 * length; code++) {
            char text[MAX_SPAN_TEXT];
            for (int i = 0; i < length; i++) text[i] = "abc "[code >> 2 * i & 3];
            x.n = y.n = 0;
            sol_err e = {0};
            sol_status st = sol_tokenizer_encode(t, text, (size_t)length, 0, &x, &e);
            if (st == SOL_OK) st = sol_tokenizer_encode(u, text, (size_t)length, 0, &y, &e);
            different += st != SOL_OK || x.n != y.n || memcmp(x.id, y.id, x.n * sizeof *x.id) != 0;
        }
    }
    ck_assert_int_eq(different, 0);
    sol_ids_free(&x);
    sol_ids_free(&y);
}

START_TEST(merges_become_scores)
{
    static const struct {
        const char *vocab, *merges;
    } cases[] = {
        {",\"ab\":263,\"abc\":264", "\"a b\",\"ab c\""},
        {",\"abc\":263,\"ab\":264", "\"a b\",\"ab c\""}, /* ids in another order than ranks */
        {",\"bc\":263,\"ab\":264,\"abc\":265",
         "\"b c\",\"a b\",\"ab c\",\"a bc\""}, /* a token of two merges: only one is ever used */
        {",\"aa\":263,\"aaa\":264,\"aaaa\":265",
         "\"a a\",\"aa a\",\"aa aa\""}, /* pairs that overlap */
        {",\"\xE2\x96\x81"
         "a\":263,\"b\xE2\x96\x81\":264",
         "\"\xE2\x96\x81 a\",\"b \xE2\x96\x81\""}, /* a blank behind a character */
        {",\"abc\":263", ""},                      /* three pieces that nothing joins */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_tokenizer *t, *u;
        sol_tokenizer_arrays a;
        sol_arrays_owner *owner;
        make(&t, cases[i].vocab, cases[i].merges);
        ck_ok(sol_tokenizer_to_arrays(t, sol_tokenizer_vocab_size(t), &a, &owner, err));
        ck_assert_int_eq(a.n_merges, 0);
        ck_ok(sol_tokenizer_from_arrays(&u, "again", &a, err));
        expect_same_ids(t, u);
        sol_arrays_owner_free(&owner);
        sol_tokenizer_free(&t);
        sol_tokenizer_free(&u);
    }
}
END_TEST

START_TEST(scores_in_order_of_the_merges)
{
    sol_tokenizer *t;
    sol_tokenizer_arrays a;
    sol_arrays_owner *owner;
    make(&t, ",\"abc\":263,\"ab\":264,\"ca\":265", "\"a b\",\"c a\",\"ab c\"");
    ck_ok(sol_tokenizer_to_arrays(t, 266, &a, &owner, err));
    ck_assert(a.scores[264] > a.scores[265] && a.scores[265] > a.scores[263]);
    sol_arrays_owner_free(&owner);
    sol_tokenizer_free(&t);
}
END_TEST

/* Neighbours that spell a token would be joined by scores, and are not by the merges. */
START_TEST(refused_merges)
{
    static const struct {
        const char *vocab, *merges, *why;
    } cases[] = {
        {",\"ab\":263", "", "token 263 'ab' has no merge of its two parts"},
        {",\"bc\":263,\"ab\":264,\"abc\":265", "\"b c\",\"a b\",\"ab c\"",
         "token 265 'abc'"}, /* b, c first: ab, c is never seen */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_tokenizer *t;
        sol_tokenizer_arrays a;
        sol_arrays_owner *owner;
        make(&t, cases[i].vocab, cases[i].merges);
        ck_fails(sol_tokenizer_to_arrays(t, sol_tokenizer_vocab_size(t), &a, &owner, err),
                 SOL_ERR_UNSUPPORTED, cases[i].why);
        ck_assert_ptr_null(owner);
        sol_tokenizer_free(&t);
    }
}
END_TEST

START_TEST(placeholders)
{
    sol_tokenizer *t, *u;
    sol_tokenizer_arrays a;
    sol_arrays_owner *owner;
    make(&t, ",\"ab\":263", "\"a b\"");
    ck_fails(sol_tokenizer_to_arrays(t, 263, &a, &owner, err), SOL_ERR_SHAPE,
             "the tokenizer has 264 tokens, the model 263");
    ck_ok(sol_tokenizer_to_arrays(t, 270, &a, &owner, err));
    ck_assert_int_eq(a.n_tokens, 270);
    ck_assert(a.tokens[264].n == 8 && memcmp(a.tokens[264].at, "[PAD264]", 8) == 0);
    ck_assert(a.tokens[269].n == 8 && memcmp(a.tokens[269].at, "[PAD269]", 8) == 0);
    ck_assert_int_eq(a.types[263], 1);
    ck_assert_int_eq(a.types[264], 5);
    ck_assert_int_eq(a.types[0], 2);
    ck_ok(sol_tokenizer_from_arrays(&u, "again", &a, err));
    ck_assert_int_eq(sol_tokenizer_vocab_size(u), 270);
    expect_same_ids(t, u);
    sol_arrays_owner_free(&owner);
    sol_tokenizer_free(&t);
    sol_tokenizer_free(&u);
}
END_TEST

#define TEMPLATE(single) \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[" single \
    "],\"special_tokens\":{" \
    "\"<unk>\":{\"ids\":[0]},\"<s>\":{\"ids\":[1]},\"</s>\":{\"ids\":[2]}}},"
#define SPECIAL(name) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":0}}"
#define TEXT "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"

START_TEST(templates)
{
    static const struct {
        const char *post;
        int bos, add_bos, add_eos;
    } cases[] = {
        /* bos -1: refused */
        {TEMPLATE(TEXT), 1, 0, 0},
        {TEMPLATE(SPECIAL("<s>") "," TEXT), 1, 1, 0},
        {TEMPLATE(SPECIAL("<s>") "," TEXT "," SPECIAL("</s>")), 1, 1, 1},
        {TEMPLATE(SPECIAL("<unk>") "," TEXT), 0, 1, 0}, /* what is put in front is BOS to GGUF */
        {TEMPLATE(SPECIAL("<s>") "," SPECIAL("<s>") "," TEXT), -1, 0, 0},
        {TEMPLATE(SPECIAL("<s>") "," TEXT "," SPECIAL("<unk>")), -1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_tokenizer *t;
        sol_tokenizer_arrays a;
        sol_arrays_owner *owner;
        make_with(&t, "", "", cases[i].post);
        ck_ok(sol_tokenizer_set_bos_eos(t, 1, 2, err));
        if (cases[i].bos < 0) {
            ck_fails(sol_tokenizer_to_arrays(t, 263, &a, &owner, err), SOL_ERR_UNSUPPORTED,
                     "GGUF puts at most BOS in front");
        } else {
            ck_ok(sol_tokenizer_to_arrays(t, 263, &a, &owner, err));
            ck_assert_msg(a.bos == cases[i].bos && a.add_bos == cases[i].add_bos &&
                              a.add_eos == cases[i].add_eos,
                          "case %zu", i);
        }
        sol_arrays_owner_free(&owner);
        sol_tokenizer_free(&t);
    }
}
END_TEST

/* A special token that the vocabulary has, too: with ignore_merges it is no other tokenizer unless
 * the pre-tokenizer leaves it whole. */
START_TEST(special_tokens_in_the_vocabulary)
{
    static const struct {
        const char *special;
        bool exact;
    } cases[] = {{"<s>", true}, {"abc", false}};
    char regex[512], json[2048];
    size_t n = 0;
    for (const char *p = SOL_REGEX_LLAMA3; *p; p++) {
        if (*p == '\\') regex[n++] = '\\';
        regex[n++] = *p;
    }
    regex[n] = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_tokenizer *t;
        sol_tokenizer_arrays a;
        sol_arrays_owner *owner = NULL;
        snprintf(json, sizeof json,
                 "{\"added_tokens\":[{\"id\":0,\"content\":\"%s\",\"special\":true}],\"pre_"
                 "tokenizer\":{\"type\":\"Sequence\","
                 "\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
                 "\"behavior\":\"Isolated\",\"invert\":false},"
                 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
                 "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,"
                 "\"vocab\":{\"%s\":0,\"a\":1,\"b\":2,\"ab\":3},\"merges\":[\"a b\"]}}",
                 cases[i].special, regex, cases[i].special);
        ck_ok(sol_tokenizer_from_memory(&t, "t.json", json, strlen(json), err));
        if (cases[i].exact)
            ck_ok(sol_tokenizer_to_arrays(t, 4, &a, &owner, err));
        else
            ck_fails(sol_tokenizer_to_arrays(t, 4, &a, &owner, err), SOL_ERR_UNSUPPORTED,
                     "an added token that merges make, too");
        sol_arrays_owner_free(&owner);
        sol_tokenizer_free(&t);
    }
}
END_TEST

START_TEST(flat_scores)
{
    sol_tokenizer *t, *u;
    sol_tokenizer_arrays a;
    sol_arrays_owner *owner;
    float *flat;
    static const sol_span merge = {"a b", 3};
    make(&t, ",\"ab\":263", "\"a b\"");
    ck_ok(sol_tokenizer_to_arrays(t, 264, &a, &owner, err));
    ck_ok(sol_alloc_array((void **)&flat, 264, sizeof *flat, err));
    for (int i = FIRST; i < 264; i++) flat[i] = -1000;
    a.scores = flat;
    ck_ok(sol_tokenizer_from_arrays(&u, "no merges", &a, err));
    sol_tokenizer_free(&u);
    a.merges = &merge;
    a.n_merges = 1;
    ck_fails(sol_tokenizer_from_arrays(&u, "both", &a, err), SOL_ERR_UNSUPPORTED,
             "the scores of all tokens are the same, and there are merges");
    flat[263] = -1;
    ck_ok(sol_tokenizer_from_arrays(&u, "scores count", &a, err));
    sol_tokenizer_free(&u);
    sol_free(flat);
    sol_arrays_owner_free(&owner);
    sol_tokenizer_free(&t);
}
END_TEST

SOL_TEST_MAIN("tokenizer gguf", tcase_add_test(tc, merges_become_scores);
              tcase_add_test(tc, scores_in_order_of_the_merges); tcase_add_test(tc, refused_merges);
              tcase_add_test(tc, placeholders); tcase_add_test(tc, templates);
              tcase_add_test(tc, special_tokens_in_the_vocabulary); tcase_add_test(tc, flat_scores))
