/* Tokenizers against the ids of other programs and a plain BPE; streams, cuts, special tokens. */
#include "suite.h"

#include <jansson.h>
#include <string.h>

#include "text/blank.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

static const char vocab_test[] = "\n__ggml_vocab_test__\n";

static void encode_into(const sol_tokenizer *t, const char *text, size_t n, int flags, sol_ids *ids)
{
    ids->n = 0;
    ck_ok(sol_tokenizer_encode(t, text, n, flags, ids, err));
}

static void expect_ids(const sol_tokenizer *t, const char *text, size_t n, const int32_t *want,
                       size_t n_want)
{
    sol_ids ids = {0};
    encode_into(t, text, n, 0, &ids);
    ck_assert_msg(ids.n == n_want && memcmp(ids.id, want, n_want * sizeof *want) == 0,
                  "%zu ids instead of %zu for '%.*s'", ids.n, n_want, (int)n, text);
    sol_ids_free(&ids);
}

/* What the ids decode to, appended to out; returns its length. */
static size_t decode(const sol_tokenizer *t, const sol_ids *ids, char *out)
{
    size_t at = 0, n;
    for (size_t i = 0; i < ids->n; i++) {
        const char *piece = sol_tokenizer_piece(t, i ? ids->id[i - 1] : -1, ids->id[i], &n);
        memcpy(out + at, piece, n);
        at += n;
    }
    return at;
}

static void expect_round_trip(const sol_tokenizer *t, const char *text, size_t n)
{
    sol_ids ids = {0};
    char *back = malloc(n + 16);
    encode_into(t, text, n, SOL_ENCODE_BOS, &ids);
    ck_assert_uint_eq(decode(t, &ids, back), n);
    ck_assert_int_eq(memcmp(back, text, n), 0);
    free(back);
    sol_ids_free(&ids);
}

/* Bytes of all kinds: words, blanks, UTF-8 of every length, and without `valid` also bytes that are
 * none. */
static size_t random_text(sol_rng *r, char *out, size_t n, bool valid)
{
    static const char *const part[] = {" ",
                                       "  ",
                                       "\n",
                                       "\r\n",
                                       "\t",
                                       "the",
                                       "The",
                                       " a",
                                       "'s",
                                       "'LL",
                                       "1234567",
                                       "!?",
                                       "...",
                                       "\xC3\xA9",
                                       "\xE6\x97\xA5\xE6\x9C\xAC",
                                       "\xF0\x9F\x98\x80",
                                       "\xC2\x85",
                                       "\xE1\xA0\x8E",
                                       "\xE2\x80\x89",
                                       "\xE2\x96\x81",
                                       "e\xCC\x81",
                                       "<|endoftext|>",
                                       "\xC2\xBD",
                                       "abababababababababababababababababab"};
    size_t at = 0;
    while (at + 64 < n) {
        uint64_t pick = sol_rng_below(r, valid ? 24 : 26);
        if (pick < 24) {
            size_t len = strlen(part[pick]);
            memcpy(out + at, part[pick], len);
            at += len;
        } else {
            out[at++] = (char)sol_rng_below(r, 256);
        }
    }
    return at;
}

static sol_tokenizer *open_data(const char *name)
{
    sol_tokenizer *t = NULL;
    const char *path = sol_test_data(name);
    if (path) ck_ok(sol_tokenizer_open(&t, path, err));
    return t;
}

START_TEST(llama3_vectors)
{
    sol_tokenizer *t = open_data("tokenizers/llama3_2-tokenizer.json.gz");
    const char *path = t ? sol_test_data("oracles/llama3-tokenizer-vectors.jsonl") : NULL;
    if (!path) return;
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    int n = 0;
    while (getline(&line, &capacity, f) > 0) {
        json_t *v = json_loads(line, JSON_ALLOW_NUL, NULL);
        json_t *text = json_object_get(v, "text"), *ids = json_object_get(v, "ids");
        size_t n_want = json_array_size(ids);
        int32_t *want = calloc(n_want + 1, sizeof *want);
        for (size_t i = 0; i < n_want; i++)
            want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        expect_ids(t, json_string_value(text), json_string_length(text), want, n_want);
        expect_round_trip(t, json_string_value(text), json_string_length(text));
        free(want);
        json_decref(v);
        n++;
    }
    ck_assert_int_eq(n, 744);
    ck_assert_int_eq(sol_tokenizer_bos(t), 128000);
    ck_assert_int_eq(sol_tokenizer_eos(t), 128001);
    ck_assert_int_eq(sol_tokenizer_vocab_size(t), 128256);
    ck_assert_int_eq(sol_tokenizer_find(t, "<|eot_id|>"), 128009);
    free(line);
    fclose(f);
    sol_tokenizer_free(&t);
}
END_TEST

/* Inputs and ids as llama.cpp keeps them for its vocabularies. */
static void check_ggml_vectors(const sol_tokenizer *t, const char *inp, const char *out)
{
    char *in_text, *out_text;
    size_t n_in, n_out;
    int n = 0;
    const char *path = sol_test_data(inp);
    if (!path) return;
    ck_ok(sol_file_read(path, &in_text, &n_in, err));
    if (!(path = sol_test_data(out))) return;
    ck_ok(sol_file_read(path, &out_text, &n_out, err));
    char *line = out_text;
    for (const char *at = in_text, *end; (end = strstr(at, vocab_test)) != NULL;
         at = end + strlen(vocab_test), n++) {
        int32_t want[512];
        size_t n_want = 0;
        for (char *next; (next = line, *line && *line != '\n'); line = next) {
            want[n_want++] = (int32_t)strtol(line, &next, 10);
            while (*next == ' ') next++;
        }
        line += *line == '\n';
        expect_ids(t, at, (size_t)(end - at), want, n_want);
    }
    ck_assert_int_eq(n, 46);
    sol_free(in_text);
    sol_free(out_text);
}

START_TEST(ggml_vectors)
{
    static const char *const file[][3] = {
        {"tokenizers/llama3_2-tokenizer.json.gz", "oracles/ggml-vocab-llama-bpe.inp",
         "oracles/ggml-vocab-llama-bpe.out"},
        {"tokenizers/llama2-32k.bin", "oracles/ggml-vocab-llama-spm.inp",
         "oracles/ggml-vocab-llama-spm.out"}};
    sol_tokenizer *t = open_data(file[_i][0]);
    if (t) check_ggml_vectors(t, file[_i][1], file[_i][2]);
    sol_tokenizer_free(&t);
}
END_TEST

static const char *const large[] = {"tokenizers/llama3_2-tokenizer.json.gz",
                                    "tokenizers/llama2-32k.bin", "models/tok512.bin"};

static void expect_random_text_survives(const sol_tokenizer *t)
{
    char text[600];
    sol_rng r = sol_rng_make(7, SOL_STREAM_TEST);
    for (int i = 0; i < 300; i++)
        expect_round_trip(t, text, random_text(&r, text, sizeof text, i % 2));
    expect_round_trip(t, "", 0);
    for (int b = 0; b < 256; b++) {
        char one = (char)b;
        expect_round_trip(t, &one, 1);
    }
}

START_TEST(random_text_survives)
{
    sol_tokenizer *t;
    ck_ok(sol_tokenizer_open(&t, "tests/golden/hf-bytes/tokenizer.json", err));
    expect_random_text_survives(t);
    sol_tokenizer_free(&t);
}
END_TEST

START_TEST(random_text_survives_large_vocabularies)
{
    sol_tokenizer *t = open_data(large[_i]);
    if (t) expect_random_text_survives(t);
    sol_tokenizer_free(&t);
}
END_TEST

/* A byte-level tokenizer over all bytes, with merges that build runs of a and b. */
static sol_tokenizer *small_tokenizer(bool ignore_merges)
{
    static const char *const merge[][2] = {
        {"a", "b"},   {"ab", "ab"}, {"b", "a"},   {"abab", "abab"}, {"t", "h"}, {"th", "e"},
        {" ", "the"}, {"a", "a"},   {"aa", "aa"}, {"b", "b"},       {"ba", "b"}};
    sol_tokenizer *t;
    ck_ok(sol_tok_create(&t, SOL_TOK_BYTE_LEVEL, err));
    ck_ok(sol_pretok_add(&t->pretok, SOL_REGEX_LLAMA3, err));
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        ck_ok(sol_tok_add(t, &c, 1, SOL_TOKEN_NORMAL, 0, err));
    }
    for (size_t i = 0; i < sizeof merge / sizeof *merge; i++) {
        char both[32];
        int32_t left = -1, right = -1;
        snprintf(both, sizeof both, "%s%s", merge[i][0], merge[i][1]);
        for (int32_t id = 0; id < t->n_tokens; id++) {
            size_t n;
            const char *text = sol_tok_text(t, id, &n);
            if (n == strlen(merge[i][0]) && memcmp(text, merge[i][0], n) == 0) left = id;
            if (n == strlen(merge[i][1]) && memcmp(text, merge[i][1], n) == 0) right = id;
        }
        ck_ok(sol_tok_add(t, both, strlen(both), SOL_TOKEN_NORMAL, 0, err));
        ck_ok(sol_tok_add_merge(t, left, right, t->n_tokens - 1, err));
    }
    ck_ok(sol_tok_add(t, "xyz", 3, SOL_TOKEN_NORMAL, 0, err)); /* no merge makes it */
    ck_ok(sol_tok_add(t, "<|begin|>", 9, SOL_TOKEN_CONTROL, 0, err));
    ck_ok(sol_tok_add(t, "<|end|>", 7, SOL_TOKEN_CONTROL, 0, err));
    ck_ok(sol_tok_add(t, "<|end|>!", 8, SOL_TOKEN_CONTROL, 0, err));
    ck_ok(sol_tok_add(t, "<user>", 6, SOL_TOKEN_USER, 0, err));
    t->ignore_merges = ignore_merges;
    t->bos = t->head[t->n_head++] = t->n_tokens - 4;
    t->eos = t->tail[t->n_tail++] = t->n_tokens - 3;
    ck_ok(sol_tok_finish(t, "small", err));
    return t;
}

/* The definition of BPE, one merge at a time over the whole word. */
static size_t merge_by_definition(const sol_tokenizer *t, int32_t *id, size_t n)
{
    for (;;) {
        size_t best = n;
        const sol_merge *found = NULL;
        for (size_t i = 0; i + 1 < n; i++) {
            const sol_merge *m = sol_tok_pair(t, id[i], id[i + 1]);
            if (!m || (found && m->rank >= found->rank)) continue;
            found = m;
            best = i;
        }
        if (!found) return n;
        id[best] = found->result;
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        n--;
    }
}

START_TEST(merges_follow_the_definition)
{
    sol_tokenizer *t = small_tokenizer(false);
    sol_rng r = sol_rng_make(3, SOL_STREAM_TEST);
    char word[400];
    int32_t want[400];
    /* Through the scan, across its limit, through the heap. */
    for (size_t n = 1; n < 400; n += n < 120 ? 1 : 17) {
        for (size_t i = 0; i < n; i++) {
            word[i] = "aabbabth"[sol_rng_below(&r, 8)];
            want[i] = t->byte_id[(uint8_t)word[i]];
        }
        expect_ids(t, word, n, want, merge_by_definition(t, want, n));
    }
    sol_tokenizer_free(&t);
}
END_TEST

/* The same for long words: no merge of small_tokenizer makes a pair of a lower rank than its own,
 * so rank by rank gives it. */
static size_t merge_rank_by_rank(const sol_tokenizer *t, int32_t *id, size_t n)
{
    for (int32_t rank = 0; rank < (int32_t)t->n_merges; rank++) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            const sol_merge *m = i + 1 < n ? sol_tok_pair(t, id[i], id[i + 1]) : NULL;
            bool merges = m && m->rank == rank;
            id[count++] = merges ? m->result : id[i];
            i += merges;
        }
        n = count;
    }
    return n;
}

/* Words of several parts: random ones, and periods that a part's end cuts in every phase. */
START_TEST(long_words_come_part_by_part)
{
    enum { MAX = 150000 };
    static const char *const period[] = {"a",
                                         "ab",
                                         "aba",
                                         "aabb",
                                         "abababb",
                                         "aaaaab",
                                         "\xC3\xA9"
                                         "a"};
    sol_tokenizer *t = small_tokenizer(false);
    sol_rng r = sol_rng_make(5, SOL_STREAM_TEST);
    char *word = malloc(MAX);
    int32_t *want = malloc(MAX * sizeof *want);
    ck_assert(word && want);
    for (size_t k = 0; k < 16; k++) {
        size_t n = MAX - 1 - k * 7919, n_period = k < 14 ? strlen(period[k % 7]) : 0;
        for (size_t i = 0; i < n; i++)
            word[i] = n_period ? period[k % 7][(i + k / 7) % n_period]
                               : "aabbabab"[sol_rng_below(&r, k % 2 ? 8 : 5)];
        if (k % 3 == 0) word[0] = 'b';
        for (size_t i = 0; i < n; i++) want[i] = t->byte_id[(uint8_t)word[i]];
        sol_ids ids = {0};
        encode_into(t, word, n, 0, &ids);
        size_t n_want = merge_rank_by_rank(t, want, n);
        ck_assert_msg(ids.n == n_want && memcmp(ids.id, want, n_want * sizeof *want) == 0,
                      "word %zu", k);
        sol_ids_free(&ids);
    }
    free(word);
    free(want);
    sol_tokenizer_free(&t);
}
END_TEST

typedef struct stream {
    const sol_ids *want;
    size_t at, lumps, most; /* ids that came, how often, at most at once */
} stream;

static sol_status compare_lump(void *user, const int32_t *id, size_t n, sol_err *err)
{
    stream *s = user;
    (void)err;
    ck_assert_uint_le(s->at + n, s->want->n);
    ck_assert_mem_eq(id, s->want->id + s->at, n * sizeof *id);
    s->at += n;
    s->lumps++;
    s->most = n > s->most ? n : s->most;
    return SOL_OK;
}

/* Ids that are handed on while the text is encoded: of one word, and of many. */
START_TEST(a_stream_has_the_same_ids)
{
    enum { N = 1500000 };
    sol_tokenizer *t = small_tokenizer(false);
    sol_rng r = sol_rng_make(7, SOL_STREAM_TEST);
    sol_encoder *e;
    sol_ids want = {0};
    char *text = malloc(N);
    ck_assert_ptr_nonnull(text);
    ck_ok(sol_encoder_create(&e, t, err));
    for (int words = 0; words < 2; words++) {
        for (size_t i = 0; i < N; i++)
            text[i] = words && i % 11 == 0 ? ' ' : "aabbxyzh"[sol_rng_below(&r, 8)];
        encode_into(t, text, N, 0, &want);
        stream s = {.want = &want};
        ck_ok(sol_encoder_stream(e, text, N, 0, compare_lump, &s, err));
        ck_assert_uint_eq(s.at, want.n);
        ck_assert_uint_ge(s.lumps, 3);
        ck_assert_uint_lt(s.most, N / 4);
    }
    sol_ids_free(&want);
    sol_encoder_free(&e);
    free(text);
    sol_tokenizer_free(&t);
}
END_TEST

/* Tokens of 2, 4, ... up to 64 Ki letters: as many of the longest as fit, then one for each bit of
 * the rest. Parts of a long word must find out where the tokens before them end. */
START_TEST(a_word_of_huge_tokens)
{
    enum { N = 200000, DOUBLINGS = 16 };
    sol_tokenizer *t;
    sol_encoder *e;
    sol_ids want = {0};
    char *text = malloc(N);
    memset(text, 'a', N);
    ck_ok(sol_tok_create(&t, SOL_TOK_BYTE_LEVEL, err));
    ck_ok(sol_pretok_add(&t->pretok, SOL_REGEX_LLAMA3, err));
    for (int b = 0; b < 256; b++)
        ck_ok(sol_tok_add(t, (char[]){(char)b}, 1, SOL_TOKEN_NORMAL, 0, err));
    for (int k = 1; k <= DOUBLINGS; k++) {
        int32_t half = k == 1 ? 'a' : t->n_tokens - 1;
        ck_ok(sol_tok_add(t, text, (size_t)1 << k, SOL_TOKEN_NORMAL, 0, err));
        ck_ok(sol_tok_add_merge(t, half, half, t->n_tokens - 1, err));
    }
    ck_ok(sol_tok_finish(t, "doubling", err));
    ck_ok(sol_encoder_create(&e, t, err));
    for (size_t n = N; n > 1; n /= 3) {
        ck_ok(sol_grow_array((void **)&want.id, &want.capacity, 64, sizeof *want.id, err));
        want.n = 0;
        for (size_t rest = n, k = DOUBLINGS; rest > 0; k--)
            for (; rest >= (size_t)1 << k; rest -= (size_t)1 << k)
                want.id[want.n++] = k ? 255 + (int32_t)k : 'a';
        expect_ids(t, text, n, want.id, want.n);
        stream s = {.want = &want};
        ck_ok(sol_encoder_stream(e, text, n, 0, compare_lump, &s, err));
        ck_assert_uint_eq(s.at, want.n);
    }
    sol_ids_free(&want);
    sol_encoder_free(&e);
    sol_tokenizer_free(&t);
    free(text);
}
END_TEST

START_TEST(ignore_merges_takes_whole_words)
{
    sol_tokenizer *t = small_tokenizer(false), *u = small_tokenizer(true);
    int32_t xyz = sol_tokenizer_find(t, "xyz"), apart[] = {'x', 'y', 'z'};
    ck_assert_int_ge(xyz, 256);
    expect_ids(t, "xyz", 3, apart, 3);
    expect_ids(u, "xyz", 3, &xyz, 1);
    ck_assert(sol_tokenizer_hash(t) != sol_tokenizer_hash(u));
    sol_tokenizer_free(&t);
    sol_tokenizer_free(&u);
}
END_TEST

/* Bytes of the character that s[n] begins with, by table 3-7 of the Unicode standard; 0: none. */
static size_t character(const uint8_t *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    uint8_t low = s[0] == 0xE0   ? 0xA0
                  : s[0] == 0xF0 ? 0x90
                                 : 0x80,
            high = s[0] == 0xED   ? 0x9F
                   : s[0] == 0xF4 ? 0x8F
                                  : 0xBF;
    if (s[0] > 0xF4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if (s[i] < (i == 1 ? low : 0x80) || s[i] > (i == 1 ? high : 0xBF)) return 0;
    return len;
}

START_TEST(utf8_by_its_definition)
{
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    enum { EDGES = sizeof edges };
    for (int first = 0; first < 256; first++)
        for (int k = 0; k < EDGES * EDGES * EDGES; k++) {
            uint8_t s[4] = {(uint8_t)first, edges[k % EDGES], edges[k / EDGES % EDGES],
                            edges[k / (EDGES * EDGES)]};
            for (size_t n = 1; n <= 4; n++) {
                size_t valid = 0, want = character(s, n);
                while (valid < n && character(s + valid, n - valid))
                    valid += character(s + valid, n - valid);
                if (sol_utf8_char((char *)s, n) != want ||
                    sol_utf8_valid_prefix((char *)s, n) != valid)
                    ck_abort_msg("%02x %02x %02x %02x, %zu bytes", s[0], s[1], s[2], s[3], n);
            }
        }
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        if (c >= 0xD800 && c < 0xE000) continue;
        size_t n = sol_utf8_put(c, s);
        if (n != character((uint8_t *)s, n) || sol_utf8_get(s, n) != c) ck_abort_msg("%x", c);
    }
}
END_TEST

/* White_Space of Unicode; Python's has four control characters more. */
START_TEST(white_space)
{
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[5] = "";
        if (c >= 0xD800 && c < 0xE000) continue;
        bool space = (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
                     (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
                     c == 0x205F || c == 0x3000;
        size_t n = sol_utf8_put(c, s), blank = space || (c >= 0x1C && c <= 0x1F) ? n : 0;
        if (sol_is_space(c) != space || sol_blank_first(s, n) != blank ||
            sol_blank_last(s, n) != blank)
            ck_abort_msg("U+%04X", c);
    }
    const char *text = " \xE3\x80\x80\x1C"
                       "a b\xC2\x85\n";
    size_t n = strlen(text);
    sol_blank_strip(&text, &n);
    ck_assert(n == 3 && memcmp(text, "a b", 3) == 0);
    text = " \n";
    n = 2;
    sol_blank_strip(&text, &n);
    ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(special_tokens)
{
    sol_tokenizer *t = small_tokenizer(false);
    sol_ids ids = {0};
    static const char text[] = "a<|end|>!<user><|end|>";
    int32_t end = sol_tokenizer_find(t, "<|end|>"), longer = sol_tokenizer_find(t, "<|end|>!");
    int32_t user = sol_tokenizer_find(t, "<user>");
    encode_into(t, text, strlen(text), SOL_ENCODE_SPECIAL, &ids);
    ck_assert_uint_eq(ids.n, 4);
    ck_assert_int_eq(ids.id[1], longer);
    ck_assert_int_eq(ids.id[2], user);
    ck_assert_int_eq(ids.id[3], end);
    /* A user token is one in any text, control tokens are text here. */
    encode_into(t, text, strlen(text), 0, &ids);
    ck_assert_uint_eq(ids.n, 1 + 8 + 1 + 7);
    ck_assert_int_eq(ids.id[9], user);
    encode_into(t, "", 0, SOL_ENCODE_BOS, &ids);
    ck_assert_uint_eq(ids.n, 1);
    ck_assert_int_eq(ids.id[0], sol_tokenizer_bos(t));
    encode_into(t, "", 0, SOL_ENCODE_BOS | SOL_ENCODE_TAIL, &ids);
    ck_assert_uint_eq(ids.n, 2);
    ck_assert_int_eq(ids.id[1], sol_tokenizer_eos(t));
    int32_t first;
    ck_assert_int_eq(sol_tokenizer_count_special(t, text, strlen(text), &first), 2);
    ck_assert_int_eq(first, longer);
    ck_assert_int_eq(sol_tokenizer_count_special(t, "<user> <|end|", 13, &first), 0);
    ck_assert_int_eq(first, -1);
    ck_assert_int_eq(sol_tokenizer_begin(t, "a", 1, false), SOL_ENCODE_BOS);
    ck_assert_int_eq(sol_tokenizer_begin(t, "<|begin|>a", 10, false), SOL_ENCODE_BOS);
    ck_assert_int_eq(sol_tokenizer_begin(t, "a", 1, true), SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL);
    ck_assert_int_eq(sol_tokenizer_begin(t, "<|begin|>a", 10, true), SOL_ENCODE_SPECIAL);
    ck_assert_int_eq(sol_tokenizer_begin(t, "<|begin|>a", 8, true),
                     SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL);
    size_t n;
    sol_tokenizer_piece(t, -1, end, &n);
    ck_assert_uint_eq(n, 0); /* control tokens decode to nothing, */
    sol_tokenizer_piece(t, -1, user, &n);
    ck_assert_uint_eq(n, 6); /* user tokens to their text */
    sol_tokenizer_piece(t, -1, -5, &n);
    ck_assert_uint_eq(n, 0);
    sol_tokenizer_piece(t, -1, sol_tokenizer_vocab_size(t), &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(sol_tokenizer_find(t, "<|begin"), -1);
    ck_assert_int_eq(sol_tokenizer_find(t, ""), -1);
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
}
END_TEST

START_TEST(an_encoder_remembers_nothing)
{
    sol_tokenizer *t = small_tokenizer(true);
    sol_encoder *e;
    sol_ids once = {0}, again = {0};
    sol_rng r = sol_rng_make(9, SOL_STREAM_TEST);
    char text[2000];
    ck_ok(sol_encoder_create(&e, t, err));
    for (int i = 0; i < 200; i++) {
        size_t n = random_text(&r, text, 100 + (size_t)i * 9, i % 2);
        encode_into(t, text, n, SOL_ENCODE_SPECIAL, &once);
        again.n = 0;
        ck_ok(sol_encoder_run(e, text, n, SOL_ENCODE_SPECIAL, &again, err));
        ck_assert_uint_eq(once.n, again.n);
        ck_assert_int_eq(memcmp(once.id, again.id, once.n * sizeof *once.id), 0);
    }
    sol_encoder_free(&e);
    sol_ids_free(&once);
    sol_ids_free(&again);
    sol_tokenizer_free(&t);
}
END_TEST

/* Every place that sol_tokenizer_cut may name is one where the ids of the parts are the ids of the
 * whole. */
static void expect_cuts_change_nothing(const sol_tokenizer *t)
{
    char text[700];
    int cuts = 0, texts = SOL_TEST_SLOW ? 200 : 1000;
    ck_assert(sol_tokenizer_can_cut(t));
    sol_rng r = sol_rng_make(11, SOL_STREAM_TEST);
    sol_ids whole = {0}, parts = {0};
    for (int i = 0; i < texts; i++) {
        size_t n = random_text(&r, text, 100 + (size_t)i % 600, i % 2);
        size_t cut = sol_tokenizer_cut(t, text, 1 + sol_rng_below(&r, n));
        if (cut == 0) continue;
        cuts++;
        encode_into(t, text, n, 0, &whole);
        encode_into(t, text, cut, 0, &parts);
        ck_ok(sol_tokenizer_encode(t, text + cut, n - cut, SOL_ENCODE_CONTINUE, &parts, err));
        ck_assert_uint_eq(whole.n, parts.n);
        ck_assert_int_eq(memcmp(whole.id, parts.id, whole.n * sizeof *whole.id), 0);
    }
    ck_assert_int_gt(cuts, texts / 2);
    sol_ids_free(&whole);
    sol_ids_free(&parts);
}

START_TEST(cuts_change_nothing)
{
    static const char *const file[] = {"tests/golden/hf-bytes/tokenizer.json",
                                       "tests/golden/hf-pieces/tokenizer.json"};
    for (int k = -1; k < 2; k++) {
        sol_tokenizer *t = NULL;
        if (k >= 0) ck_ok(sol_tokenizer_open(&t, file[k], err));
        if (k < 0) t = small_tokenizer(true);
        expect_cuts_change_nothing(t);
        sol_tokenizer_free(&t);
    }
}
END_TEST

START_TEST(cuts_change_nothing_in_large_vocabularies)
{
    sol_tokenizer *t = open_data(large[_i]);
    if (t) expect_cuts_change_nothing(t);
    sol_tokenizer_free(&t);
}
END_TEST

/* Cuts inside words, where the text has no other place. */
START_TEST(words_are_cut_where_ids_stay)
{
    enum { N = 60000 };
    static const char *const period[] = {"wordandmore", "a", "aab", "the", "abababb"};
    sol_tokenizer *t = small_tokenizer(false);
    char *text = malloc(N);
    ck_assert_ptr_nonnull(text);
    for (size_t k = 0; k < sizeof period / sizeof *period; k++) {
        sol_ids whole = {0}, parts = {0};
        for (size_t i = 0; i < N; i++) text[i] = period[k][i % strlen(period[k])];
        size_t cut = sol_tokenizer_cut_word(t, text, N - 9999, false);
        ck_assert_uint_gt(cut, 0);
        ck_assert_uint_lt(cut, N - 9999);
        encode_into(t, text, N, 0, &whole);
        encode_into(t, text, cut, 0, &parts);
        ck_ok(sol_tokenizer_encode(t, text + cut, N - cut, SOL_ENCODE_CONTINUE, &parts, err));
        ck_assert_uint_eq(whole.n, parts.n);
        ck_assert_int_eq(memcmp(whole.id, parts.id, whole.n * sizeof *whole.id), 0);
        ck_assert_uint_eq(sol_tokenizer_cut_word(t, text, 1000, false), 0);
        sol_ids_free(&whole);
        sol_ids_free(&parts);
    }
    free(text);
    sol_tokenizer_free(&t);
}
END_TEST

/* Tokens of up to 64 KiB: what stands behind a place decides farther back than anything looks. */
START_TEST(no_cut_where_tokens_are_long)
{
    enum { DOUBLED = 16, N = 2 << DOUBLED, SEEN = N - (1 << 14) + 100 };
    sol_tokenizer *t;
    sol_ids whole = {0}, parts = {0};
    char *text = malloc(N);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', N);
    ck_ok(sol_tok_create(&t, SOL_TOK_BYTE_LEVEL, err));
    ck_ok(sol_pretok_add(&t->pretok, SOL_REGEX_LLAMA3, err));
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        ck_ok(sol_tok_add(t, &c, 1, SOL_TOKEN_NORMAL, 0, err));
    }
    for (int k = 1; k <= DOUBLED; k++) {
        int32_t half = k == 1 ? 'a' : t->n_tokens - 1;
        ck_ok(sol_tok_add(t, text, (size_t)1 << k, SOL_TOKEN_NORMAL, 0, err));
        ck_ok(sol_tok_add_merge(t, half, half, t->n_tokens - 1, err));
    }
    t->merges_given = true;
    ck_ok(sol_tok_finish(t, "long tokens", err));
    size_t cut = sol_tokenizer_cut_word(t, text, SEEN, false);
    encode_into(t, text, N, 0, &whole);
    encode_into(t, text, cut, 0, &parts);
    ck_ok(sol_tokenizer_encode(t, text + cut, N - cut, SOL_ENCODE_CONTINUE, &parts, err));
    ck_assert_uint_eq(whole.n, 2);
    ck_assert_uint_eq(parts.n, 2);
    sol_ids_free(&whole);
    sol_ids_free(&parts);
    free(text);
    sol_tokenizer_free(&t);
}
END_TEST

START_TEST(llama2c_layout)
{
    sol_tokenizer *t = open_data("models/tok512.bin");
    sol_ids ids = {0};
    size_t n;
    if (!t) return;
    ck_assert_int_eq(sol_tokenizer_vocab_size(t), 512);
    ck_assert_int_eq(sol_tokenizer_bos(t), 1);
    ck_assert_int_eq(sol_tokenizer_eos(t), -1); /* its models end a document at the next BOS */
    ck_assert_str_eq(sol_tokenizer_kind(t), "SentencePiece BPE");
    ck_assert_int_eq(sol_tokenizer_find(t, "<s>"), 1);
    encode_into(t, "", 0, SOL_ENCODE_BOS, &ids);
    ck_assert_uint_eq(ids.n, 1);
    encode_into(t, "Once upon a time", 16, SOL_ENCODE_BOS, &ids);
    const int32_t want[] = {1, 403, 407, 261, 378}; /* llama2.c prompts stories260K with these */
    ck_assert_uint_eq(ids.n, 5);
    ck_assert_int_eq(memcmp(ids.id, want, sizeof want), 0);
    ck_assert_int_eq(sol_tokenizer_piece(t, 1, 403, &n)[0], 'O'); /* no blank after BOS */
    ck_assert_int_eq(sol_tokenizer_piece(t, 407, 403, &n)[0], ' ');
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
}
END_TEST

SOL_TEST_MAIN("tokenizer", tcase_add_test(tc, llama3_vectors);
              tcase_add_loop_test(tc, ggml_vectors, 0, 2); tcase_add_test(tc, random_text_survives);
              tcase_add_loop_test(tc, random_text_survives_large_vocabularies, 0, 3);
              tcase_add_test(tc, merges_follow_the_definition);
              tcase_add_test(tc, long_words_come_part_by_part);
              tcase_add_test(tc, a_stream_has_the_same_ids);
              tcase_add_test(tc, a_word_of_huge_tokens);
              tcase_add_test(tc, ignore_merges_takes_whole_words);
              tcase_add_test(tc, utf8_by_its_definition); tcase_add_test(tc, white_space);
              tcase_add_test(tc, special_tokens); tcase_add_test(tc, an_encoder_remembers_nothing);
              tcase_add_test(tc, cuts_change_nothing);
              tcase_add_test(tc, words_are_cut_where_ids_stay);
              tcase_add_test(tc, no_cut_where_tokens_are_long);
              tcase_add_loop_test(tc, cuts_change_nothing_in_large_vocabularies, 0, 3);
              tcase_add_test(tc, llama2c_layout))
