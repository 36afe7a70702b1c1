/* Tokenizers of many kinds, as Hugging Face `tokenizers` encodes and decodes with them:
 * tests/golden/tokenizers.json, written by scripts/compare_tokenizers.py --golden. */
#include "suite.h"

#include <jansson.h>
#include <string.h>

#include "text/tokenizer_impl.h"

static void expect_ids(const sol_tokenizer *t, const char *name, const json_t *text,
                       const json_t *want, sol_ids *ids)
{
    ids->n = 0;
    ck_ok(sol_tokenizer_encode(t, json_string_value(text), json_string_length(text),
                               SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL | SOL_ENCODE_TAIL, ids, err));
    bool same = ids->n == json_array_size(want);
    for (size_t i = 0; same && i < ids->n; i++)
        same = ids->id[i] == json_integer_value(json_array_get(want, i));
    ck_assert_msg(same, "%s: '%s'", name, json_string_value(text));
}

static void expect_text(const sol_tokenizer *t, const char *name, const sol_ids *ids,
                        const json_t *want)
{
    char text[4096];
    size_t at = 0, n;
    int32_t shown = -1; /* the token before, control tokens left out, as `tokenizers` skips them */
    for (size_t i = 0; i < ids->n; i++) {
        const char *piece = sol_tokenizer_piece(t, shown, ids->id[i], &n);
        ck_assert_uint_le(at + n, sizeof text);
        if (n) memcpy(text + at, piece, n);
        at += n;
        if (t->type[ids->id[i]] != SOL_TOKEN_CONTROL) shown = ids->id[i];
    }
    ck_assert_msg(at == json_string_length(want) && memcmp(text, json_string_value(want), at) == 0,
                  "%s: '%.*s' instead of '%s'", name, (int)at, text, json_string_value(want));
}

static void check_kind(const json_t *kind)
{
    const char *name = json_string_value(json_object_get(kind, "name"));
    const json_t *texts = json_object_get(kind, "texts"), *ids = json_object_get(kind, "ids"),
                 *decoded = json_object_get(kind, "decoded");
    char *file = json_dumps(json_object_get(kind, "tokenizer"), 0), *json;
    sol_tokenizer *t, *again, *exported;
    sol_ids got = {0};
    void *data;
    size_t size;
    ck_ok(sol_tokenizer_from_memory(&t, name, file, strlen(file), err));
    ck_ok(sol_tokenizer_serialize(t, &data, &size, err));
    ck_ok(sol_tokenizer_from_memory(&again, name, data, size, err));
    ck_assert(sol_tokenizer_hash(t) == sol_tokenizer_hash(again));
    sol_free(data);
    ck_ok(sol_tokenizer_to_json(t, &json, &size, err));
    ck_ok(sol_tokenizer_from_memory(&exported, name, json, size, err));
    sol_free(json);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i), *want = json_array_get(ids, i);
        expect_ids(exported, name, text, want, &got);
        expect_ids(again, name, text, want, &got);
        expect_ids(t, name, text, want, &got);
        expect_text(t, name, &got, json_array_get(decoded, i));
    }
    sol_ids_free(&got);
    sol_tokenizer_free(&t);
    sol_tokenizer_free(&again);
    sol_tokenizer_free(&exported);
    free(file);
}

START_TEST(as_tokenizers_has_them)
{
    json_error_t where;
    json_t *kinds = json_load_file("tests/golden/tokenizers.json", JSON_ALLOW_NUL, &where);
    ck_assert_msg(kinds != NULL, "%d: %s", where.line, where.text);
    ck_assert_uint_ge(json_array_size(kinds), 20);
    for (size_t i = 0; i < json_array_size(kinds); i++) check_kind(json_array_get(kinds, i));
    json_decref(kinds);
}
END_TEST

/* Whether a place inside the word text[0, n) is found, when N_SEEN bytes of it were read. There the
 * ids are those of the whole. */
enum { N_SEEN = 50000 };
static bool is_cut(const sol_tokenizer *t, const char *text, size_t n, const char *name)
{
    sol_ids whole = {0}, parts = {0};
    size_t cut = sol_tokenizer_cut_word(t, text, N_SEEN, false);
    if (cut) {
        ck_ok(sol_tokenizer_encode(t, text, n, SOL_ENCODE_BOS | SOL_ENCODE_TAIL, &whole, err));
        ck_ok(sol_tokenizer_encode(t, text, cut, SOL_ENCODE_BOS, &parts, err));
        ck_ok(sol_tokenizer_encode(t, text + cut, n - cut, SOL_ENCODE_CONTINUE | SOL_ENCODE_TAIL,
                                   &parts, err));
        ck_assert_msg(whole.n == parts.n &&
                          memcmp(whole.id, parts.id, whole.n * sizeof *whole.id) == 0,
                      "%s: cut at %zu", name, cut);
    }
    sol_ids_free(&whole);
    sol_ids_free(&parts);
    return cut != 0;
}

/* Long words are read part by part with all kinds but those that look far: a normalizer or added
 * tokens that strip, regexes that nobody knows. */
START_TEST(long_words_are_cut)
{
    enum { N = 60000 };
    static const char *const period[] = {"wordandmore", "the\xCC\x81", "\xC2\xBD\xE4\xB8\x96"};
    json_error_t where;
    json_t *kinds = json_load_file("tests/golden/tokenizers.json", JSON_ALLOW_NUL, &where);
    static char text[N];
    int n_cut[3] = {0};
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(kinds, i), "name"));
        char *file = json_dumps(json_object_get(json_array_get(kinds, i), "tokenizer"), 0);
        sol_tokenizer *t;
        ck_ok(sol_tokenizer_from_memory(&t, name, file, strlen(file), err));
        for (int p = 0; p < 3; p++) {
            size_t len = strlen(period[p]);
            for (size_t k = 0; k < N; k++) text[k] = period[p][k % len];
            n_cut[p] += is_cut(t, text, N - N % len, name);
        }
        sol_tokenizer_free(&t);
        free(file);
    }
    for (int p = 0; p < 3; p++) ck_assert_msg(n_cut[p] >= 16, "period %d: %d kinds", p, n_cut[p]);
    json_decref(kinds);
}
END_TEST

SOL_TEST_MAIN("tokenizer golden", tcase_add_test(tc, as_tokenizers_has_them);
              tcase_add_test(tc, long_words_are_cut))
