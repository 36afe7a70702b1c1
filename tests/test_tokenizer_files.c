/* Tokenizer files of every form: what is read, and what is refused by name. */
#include "suite.h"

#include <string.h>

#include "base/text.h"
#include "text/tokenizer_impl.h"

/* ---- tokenizer.json ---- */

#define BYTE_LEVEL \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define MODEL \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define MODEL_WITH(more) \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," more "}"
#define ADDED(more) "\"added_tokens\":[{\"content\":\"<s>\",\"special\":true" more "}]"

static sol_status load(sol_tokenizer **t, const char *json, sol_err *err)
{
    return sol_tokenizer_from_memory(t, "t.json", json, strlen(json), err);
}

static void expect(const sol_tokenizer *t, const char *text, int flags, int n, ...)
{
    sol_ids ids = {0};
    va_list ap;
    ck_ok(sol_tokenizer_encode(t, text, strlen(text), flags, &ids, err));
    ck_assert_int_eq((int)ids.n, n);
    va_start(ap, n);
    for (int i = 0; i < n; i++) ck_assert_int_eq(ids.id[i], va_arg(ap, int));
    va_end(ap);
    sol_ids_free(&ids);
}

START_TEST(json_forms)
{
    sol_tokenizer *t;
    ck_ok(load(&t, "{" MODEL "," BYTE_LEVEL "}", err)); /* merges as strings */
    expect(t, "abba", 0, 3, 2, 1, 0);
    expect(t, "a-b", 0, 2, 0, 1); /* no token stands for '-' */
    ck_assert_int_eq(sol_tokenizer_bos(t), -1);
    expect(t, "ab", SOL_ENCODE_BOS, 1, 2); /* nothing is put in front */
    sol_tokenizer_free(&t);
    ck_ok(load(&t,
               "{" MODEL_WITH("\"unk_token\":\"ab\",\"merges\":[[\"a\",\"b\"]]") "," BYTE_LEVEL "}",
               err)); /* merges as pairs */
    expect(t, "a-b", 0, 3, 0, 2, 1);
    sol_tokenizer_free(&t);
    ck_ok(load(&t,
               "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
               "\"Split\",\"pattern\":"
               "{\"Regex\":\"a\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"use_regex\":"
               "false}]}}",
               err));
    expect(t, "abb", 0, 3, 0, 1, 1); /* a stands alone: nothing to merge */
    sol_tokenizer_free(&t);
    ck_ok(load(
        &t,
        "{" MODEL "," BYTE_LEVEL
        "," ADDED(",\"id\":3") ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                               "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}},{"
                               "\"SpecialToken\":{\"id\":\"<s>\"}}],"
                               "\"special_tokens\":{\"<s>\":{\"ids\":[3]}}}}",
        err));
    expect(t, "ab<s>", SOL_ENCODE_BOS | SOL_ENCODE_TAIL | SOL_ENCODE_SPECIAL, 4, 3, 2, 3, 3);
    ck_assert_int_eq(sol_tokenizer_bos(t), 3);
    sol_tokenizer_free(&t);
}
END_TEST

START_TEST(json_digits_and_smollm)
{
    sol_tokenizer *t;
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"1\":0,\"2\":1,\"12\":2},\"merges\":[\"1 2\"]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
        "\"individual_digits\":%s},{\"type\":\"ByteLevel\",\"use_regex\":true}]}}";
    char text[512];
    snprintf(text, sizeof text, json, "true");
    ck_ok(load(&t, text, err));
    expect(t, "1212", 0, 4, 0, 1, 0, 1);
    char *written;
    size_t size;
    /* Digits takes more than the regex \\p{N} does. */
    ck_ok(sol_tokenizer_to_json(t, &written, &size, err));
    ck_assert_ptr_nonnull(strstr(written, "\"individual_digits\":true"));
    sol_free(written);
    ck_assert(sol_pretok_is_known(&t->pretok)); /* the stages of "smollm" */
    sol_tokenizer_free(&t);
    snprintf(text, sizeof text, json, "false");
    ck_ok(load(&t, text, err));
    expect(t, "1212", 0, 2, 2, 2);
    sol_tokenizer_free(&t);
}
END_TEST

/* A LLaMA-2 style tokenizer.json: byte fallback, U+2581, a blank in front. The 256 byte tokens come
 * first. */
static char *sentencepiece_json(const char *normalizer)
{
    char *s = malloc(16384);
    int at = sprintf(s,
                     "{\"normalizer\":%s,\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_"
                     "unk\":true,\"vocab\":{",
                     normalizer);
    for (int b = 0; b < 256; b++) at += sprintf(s + at, "\"<0x%02X>\":%d,", b, b);
    sprintf(s + at, "\"\xE2\x96\x81\":256,\"a\":257,\"\xE2\x96\x81"
                    "a\":258},\"merges\":[\"\xE2\x96\x81 a\"]}}");
    return s;
}

START_TEST(json_sentencepiece)
{
    sol_tokenizer *t;
    char *json = sentencepiece_json(
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xE2\x96\x81\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]}");
    ck_ok(load(&t, json, err));
    expect(t, "a a\n", 0, 3, 258, 258, 10);
    /* A character without a token becomes its bytes. */
    expect(t, "\xE2\x98\x83", 0, 4, 256, 0xE2, 0x98, 0x83);
    sol_tokenizer_free(&t);
    free(json);
    json = sentencepiece_json("{\"type\":\"Lowercase\"}");
    ck_ok(load(&t, json, err));
    /* Nothing makes blanks of blanks here. */
    expect(t,
           "A \xE2\x96\x81"
           "A",
           0, 3, 257, 0x20, 258);
    sol_tokenizer_free(&t);
    free(json);
}
END_TEST

START_TEST(hostile_json)
{
    static const struct {
        const char *json, *part;
    } bad[] = {
        {"{", "t.json:1:1: not a tokenizer.json"},
        {"{}", "'model' is missing"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model.type 'Unigram': only BPE"},
        {"{\"model\":{\"vocab\":[]}}", "model.vocab is missing"},
        {"{\"model\":{\"vocab\":{\"a\":0}}," BYTE_LEVEL "}", "model.merges is missing"},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}," BYTE_LEVEL "}", "the vocabulary is empty"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}," BYTE_LEVEL "}",
         "duplicate object key"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}," BYTE_LEVEL "}",
         "'a' and 'b' have the same id 0"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":70000},\"merges\":[]}," BYTE_LEVEL "}",
         "'b' has the id 70000: the file has 2 tokens and may leave 65536 ids unused"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}," BYTE_LEVEL "}", "has the id -1"},
        {"{\"model\":{\"vocab\":{\"a\":9223372036854775807},\"merges\":[]}," BYTE_LEVEL "}",
         "has the id 9223372036854775807"},
        {"{\"model\":{\"vocab\":{\"a\":0.5},\"merges\":[]}," BYTE_LEVEL "}",
         "'a': its id is not a whole number"},
        {"{\"model\":{\"vocab\":{\"a b\":0},\"merges\":[]}," BYTE_LEVEL "}",
         "outside the byte-level alphabet"},
        {"{\"model\":{\"vocab\":{\"\":0},\"merges\":[]}," BYTE_LEVEL "}", "token 0 is empty"},
        {"{" MODEL_WITH("\"merges\":[\"a c\"]") "," BYTE_LEVEL "}",
         "model.merges[0] names 'c', which is no token"},
        {"{" MODEL_WITH("\"merges\":[\"b a\"]") "," BYTE_LEVEL "}",
         "model.merges[0] names 'ba', which is no token"},
        {"{" MODEL_WITH("\"merges\":[\"a b\",\"a b\"]") "," BYTE_LEVEL "}",
         "merges 0 and 1 are the same pair"},
        {"{" MODEL_WITH("\"merges\":[\"ab\"]") "," BYTE_LEVEL "}", "model.merges[0] is not a pair"},
        {"{" MODEL_WITH("\"merges\":[[\"a\"]]") "," BYTE_LEVEL "}",
         "model.merges[0] is not a pair"},
        {"{" MODEL_WITH("\"merges\":[7]") "," BYTE_LEVEL "}", "model.merges[0] is not a pair"},
        {"{" MODEL_WITH("\"merges\":[],\"dropout\":0.1") "," BYTE_LEVEL "}", "'dropout' is set"},
        {"{" MODEL_WITH("\"merges\":[],\"unk_token\":\"?\"") "," BYTE_LEVEL "}",
         "model.unk_token '?' is no token"},
        {"{" MODEL_WITH("\"merges\":[],\"end_of_word_suffix\":\"_\"") "," BYTE_LEVEL "}",
         "'end_of_word_suffix' is set"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}",
         "pre_tokenizer: 'UnicodeScripts' is not supported"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\"}}",
         "pre_tokenizer: Sequence without 'pretokenizers'"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
         "\"ByteLevel\"},{\"type\":\"ByteLevel\"}]}}",
         "'ByteLevel' behind ByteLevel"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}}",
         "replacement 'ab' is not one character"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_"
         "scheme\":\"last\"}}",
         "prepend_scheme 'last'"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Strip\"},\"pre_tokenizer\":{\"type\":\"Metaspace\","
         "\"replacement\":\"_\","
         "\"prepend_scheme\":\"first\"}}",
         "Metaspace with prepend_scheme first behind"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
         "\"behavior\":\"Isolated\"}}",
         "pre-tokenizer: regex '(': missing"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\"},"
         "\"behavior\":\"Isolated\"}}",
         "neither a String nor a Regex, or empty"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
         "\"behavior\":\"Doubled\"}}",
         "behavior 'Doubled'"},
        {"{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"StripAccents\"}}",
         "normalizer: 'StripAccents' is not supported"},
        {"{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
         "\"\\\\h\"},\"content\":\"\"}}",
         "'\\h' at byte 0 is not supported"},
        {"{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
         "\"x*$\"},\"content\":\"y\"}}",
         "a Regex that matches an empty text"},
        {"{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\"}}",
         "Prepend of an empty text"},
        {"{" MODEL "," BYTE_LEVEL ",\"decoder\":{\"type\":\"WordPiece\"}}", "decoder: 'WordPiece'"},
        {"{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Strip\","
         "\"content\":\" \",\"start\":1,\"stop\":0}]}}",
         "decoder: Strip is supported behind Fuse"},
        {"{" MODEL "," BYTE_LEVEL ",\"post_processor\":{\"type\":\"Other\"}}",
         "post_processor: 'Other'"},
        {"{" MODEL "," BYTE_LEVEL
         ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",9],\"sep\":[\"b\",1]}}",
         "post_processor: an id lies outside the vocabulary of 3"},
        {"{" MODEL "," BYTE_LEVEL
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
         "the text A not once"},
        {"{" MODEL "," BYTE_LEVEL
         ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":"
         "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},"
         "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"x\":{\"ids\":[0]}}},"
         "{\"type\":\"ByteLevel\"},{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",0],"
         "\"sep\":[\"b\",1]}]}}",
         "'RobertaProcessing' behind a TemplateProcessing that adds tokens"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Strip\"},\"added_tokens\":[{\"content\":\" "
         "\",\"id\":3,\"normalized\":true}]}",
         "nothing is left of added token 3"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":[{\"content\":\"X\","
         "\"id\":3,\"normalized\":true},"
         "{\"content\":\"x\",\"id\":4,\"normalized\":true}]}",
         "added tokens 3 and 4 are looked for as the same text"},
        {"{" MODEL "," BYTE_LEVEL "," ADDED("") "}", "not a whole number"},
        {"{" MODEL "," BYTE_LEVEL ",\"added_tokens\":[{\"content\":\"\",\"id\":3}]}",
         "added_tokens[0].content is missing or empty"},
        {"{" MODEL "," BYTE_LEVEL ",\"added_tokens\":7}", "added_tokens is not an array"},
        {"{" MODEL "," BYTE_LEVEL
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
         "\"SpecialToken\":{\"id\":\"x\"}}]}}",
         "no ids for 'x'"},
        {"{" MODEL "," BYTE_LEVEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
         "[{\"SpecialToken\":{\"id\":\"x\"}}],"
         "\"special_tokens\":{\"x\":{\"ids\":[99]}}}}",
         "'x': an id lies outside the vocabulary of 3"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sol_tokenizer *t;
        sol_err err = {0};
        ck_assert_msg(load(&t, bad[i].json, &err) != SOL_OK, "%s", bad[i].json);
        ck_assert_msg(strstr(err.text, bad[i].part) && strncmp(err.text, "t.json", 6) == 0,
                      "%s: '%s'", bad[i].json, err.text);
        ck_assert_int_eq(sol_status_exit_code(err.status), 2);
        ck_assert_ptr_null(t);
    }
}
END_TEST

START_TEST(deep_json)
{
    enum { N = 200000 };
    char *json = malloc(N + 1);
    sol_tokenizer *t;
    memset(json, '[', N);
    json[0] = '{';
    json[N] = 0;
    ck_fails(load(&t, json, err), SOL_ERR_FORMAT, "t.json:1");
    memcpy(json, "{\"a\":", 5);
    ck_fails(load(&t, json, err), SOL_ERR_FORMAT, "depth");
    free(json);
}
END_TEST

START_TEST(a_regex_that_explodes_is_an_error)
{
    sol_pretok p = {0};
    sol_tokenizer *t;
    sol_ids ids = {0};
    char text[64];
    memset(text, 'a', sizeof text);
    ck_ok(load(
        &t,
        "{" MODEL
        ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":"
        "\"(a+)+[bc]\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"use_regex\":false}]}}",
        err));
    ck_fails(sol_tokenizer_encode(t, text, sizeof text, 0, &ids, err), SOL_ERR_RANGE,
             "regex fails at byte");
    sol_tokenizer_free(&t);
    sol_ids_free(&ids);
    for (int i = 0; i < SOL_PRETOK_STAGES; i++) ck_ok(sol_pretok_add(&p, "a*", err));
    ck_fails(sol_pretok_add(&p, "a", err), SOL_ERR_UNSUPPORTED, "more than 8 stages");
    sol_pretok_free(&p);
}
END_TEST

/* ---- pre-tokenizers ---- */

typedef struct seen {
    char text[256]; /* the words with a bar behind each */
    size_t n;
} seen;

static sol_status see(void *user, const char *word, size_t n, sol_err *err)
{
    seen *s = user;
    (void)err;
    memcpy(s->text + s->n, word, n);
    s->n += n;
    s->text[s->n++] = '|';
    s->text[s->n] = 0;
    return SOL_OK;
}

static void expect_words(const char *const *regex, const char *text, const char *want)
{
    sol_pretok p = {0};
    sol_pretok_scratch *scratch;
    seen s = {0};
    for (int i = 0; regex[i]; i++) ck_ok(sol_pretok_add(&p, regex[i], err));
    ck_ok(sol_pretok_scratch_create(&scratch, err));
    ck_ok(sol_pretok_run(&p, scratch, text, strlen(text), SOL_PLACE_FIRST, see, &s, err));
    ck_assert_str_eq(s.text, want);
    sol_pretok_scratch_free(&scratch);
    sol_pretok_free(&p);
}

START_TEST(words)
{
    static const char *const llama3[] = {SOL_REGEX_LLAMA3, NULL}, *const gpt2[] = {SOL_REGEX_GPT2,
                                                                                   NULL};
    static const char *const smollm[] = {"\\p{N}", SOL_REGEX_GPT2, NULL}, *const empty[] = {"x*",
                                                                                            NULL};
    expect_words(llama3, "It's 12345 days\n\n  later", "It|'s| |123|45| days|\n\n| | later|");
    expect_words(llama3, "a...\r\nb \t c", "a|...\r\n|b| \t| c|");
    expect_words(llama3, "WE'LL'\xC5\xBF", "WE|'LL|'\xC5\xBF|"); /* U+017F folds to s */
    expect_words(gpt2, "It's 12345 days\n\n  later", "It|'s| 12345| days|\n\n | later|");
    expect_words(gpt2, "WE'LL", "WE|'|LL|");
    expect_words(smollm, "in 1984!", "in| |1|9|8|4|!|");
    /* Empty matches part, but for one behind a match. */
    expect_words(empty, "axxb\xC3\xA9", "a|xx|b|\xC3\xA9|");
    /* U+0085 and U+3000 are white space, U+180E is not. */
    expect_words(llama3, "a\xC2\x85\xE3\x80\x80z", "a|\xC2\x85|\xE3\x80\x80z|");
    expect_words(llama3, "a\xE1\xA0\x8E!", "a|\xE1\xA0\x8E!|");
    /* Bytes that are no UTF-8 stand apart; a surrogate and an overlong form are none. */
    expect_words(llama3, "ab\xFF\xFExy\xED\xA0\x80z\xC0\xAF",
                 "ab|\xFF\xFE|xy|\xED\xA0\x80|z|\xC0\xAF|");
}
END_TEST

START_TEST(named_pretokenizers)
{
    sol_pretok p = {0};
    bool ignore, bos;
    ck_ok(sol_pretok_add_named(&p, "llama-bpe", &ignore, &bos, err));
    ck_assert(ignore && bos && p.n == 1 && sol_pretok_is_known(&p));
    sol_pretok_free(&p);
    ck_ok(sol_pretok_add_named(&p, NULL, &ignore, &bos, err));
    ck_assert(!ignore && !bos && p.n == 4 && sol_pretok_is_known(&p));
    sol_pretok_free(&p);
    ck_assert(!sol_pretok_is_known(&p));
    ck_fails(sol_pretok_add_named(&p, "smolm", &ignore, &bos, err), SOL_ERR_UNSUPPORTED,
             "did you mean 'smollm'?");
    ck_fails(sol_pretok_add_named(&p, "something-else", &ignore, &bos, err), SOL_ERR_UNSUPPORTED,
             "is not known");
}
END_TEST

/* ---- GGUF arrays ---- */

static sol_span span(const char *text)
{
    return (sol_span){text, strlen(text)};
}

/* Arrays of a tokenizer make the same tokenizer again. */
static void expect_same_arrays(const sol_tokenizer *t, const char *model, const char *pre)
{
    sol_tokenizer_arrays a;
    sol_arrays_owner *owner;
    sol_tokenizer *u;
    sol_ids x = {0}, y = {0};
    static const char text[] = " the a ab\n\xC3\xA9 cat";
    ck_ok(sol_tokenizer_to_arrays(t, sol_tokenizer_vocab_size(t), &a, &owner, err));
    ck_assert_str_eq(a.model, model);
    ck_assert_str_eq(a.pre, pre);
    ck_ok(sol_tokenizer_from_arrays(&u, "again", &a, err));
    ck_ok(
        sol_tokenizer_encode(t, text, sizeof text - 1, SOL_ENCODE_BOS | SOL_ENCODE_TAIL, &x, err));
    ck_ok(
        sol_tokenizer_encode(u, text, sizeof text - 1, SOL_ENCODE_BOS | SOL_ENCODE_TAIL, &y, err));
    ck_assert_uint_eq(x.n, y.n);
    ck_assert_int_eq(memcmp(x.id, y.id, x.n * sizeof *x.id), 0);
    ck_assert_int_eq(sol_tokenizer_bos(t), sol_tokenizer_bos(u));
    ck_assert_int_eq(sol_tokenizer_eos(t), sol_tokenizer_eos(u));
    for (int32_t id = 0; id < sol_tokenizer_vocab_size(t); id++) {
        size_t n, m;
        const char *p = sol_tokenizer_text(t, id, &n), *q = sol_tokenizer_text(u, id, &m);
        ck_assert(n == m && memcmp(p, q, n) == 0 && t->type[id] == u->type[id]);
    }
    sol_ids_free(&x);
    sol_ids_free(&y);
    sol_tokenizer_free(&u);
    sol_arrays_owner_free(&owner);
}

START_TEST(gguf_byte_level)
{
    const sol_span tokens[] = {span("a"), span("\xC4\xA0"),
                               span("\xC4\xA0"
                                    "a"),
                               span("<s>"), span("</s>")};
    const sol_span merges[] = {span("\xC4\xA0 a")}, unknown[] = {span("a b")}, half[] = {span("a")};
    static const int32_t types[] = {1, 1, 1, 3, 3}, bad_types[] = {1, 1, 9, 3, 3};
    sol_tokenizer_arrays a = {.model = "gpt2",
                              .pre = "llama-bpe",
                              .tokens = tokens,
                              .n_tokens = 5,
                              .types = types,
                              .merges = merges,
                              .n_merges = 1,
                              .bos = 3,
                              .eos = 4,
                              .add_bos = -1,
                              .add_eos = -1,
                              .add_space_prefix = -1};
    sol_tokenizer *t;
    ck_ok(sol_tokenizer_from_arrays(&t, "g", &a, err));
    expect(t, "a a", SOL_ENCODE_BOS | SOL_ENCODE_TAIL, 3, 3, 0, 2);
    ck_assert_int_eq(sol_tokenizer_eos(t), 4);
    expect_same_arrays(t, "gpt2", "llama-bpe");
    sol_tokenizer_free(&t);
    a.add_bos = 0;
    a.add_eos = 1;
    ck_ok(sol_tokenizer_from_arrays(&t, "g", &a, err));
    expect(t, "a", SOL_ENCODE_BOS | SOL_ENCODE_TAIL, 2, 0, 4);
    sol_tokenizer_free(&t);
    a.eos = -1;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_UNSUPPORTED,
             "add_eos_token is true, but which token that is");
    /* A name that means NFC, and a file that names neither BOS nor EOS. */
    sol_tokenizer_arrays qwen = a;
    qwen.pre = "qwen2";
    qwen.bos = -1;
    qwen.add_eos = 0;
    qwen.nfc = -1;
    ck_ok(sol_tokenizer_from_arrays(&t, "g", &qwen, err));
    expect(t, "a a", SOL_ENCODE_BOS, 2, 0, 2);
    ck_assert_int_eq(sol_tokenizer_bos(t), -1);
    ck_assert_int_eq(sol_tokenizer_eos(t), -1);
    sol_tokenizer_free(&t);
    a.eos = 4;
    a.merges = unknown;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT,
             "g: merge 0 'a b' names a text that is no token");
    a.merges = half;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT, "merge 0 is not a pair");
    a.merges = merges;
    a.types = bad_types;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT,
             "token 2 has the unknown type 9");
    a.types = NULL;
    a.eos = 5;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_RANGE, "EOS 5");
    a.model = "bert";
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_UNSUPPORTED,
             "tokenizer model 'bert'");
}
END_TEST

START_TEST(gguf_sentencepiece)
{
    enum { N = 262 };
    static const char *const more[] = {"\xE2\x96\x81",
                                       "a",
                                       "b",
                                       "\xE2\x96\x81"
                                       "a",
                                       "ab",
                                       "</s>"};
    static const float more_scores[] = {-9, -9, -9, -2, -1, 0};
    sol_span tokens[N];
    char bytes[256][8];
    float scores[N] = {0};
    int32_t types[N];
    for (int i = 0; i < N; i++) {
        if (i < 256) snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        tokens[i] =
            i < 256 ? (sol_span){bytes[i], 6} : (sol_span){more[i - 256], strlen(more[i - 256])};
        types[i] = i < 256 ? 6 : i == N - 1 ? 3 : 1;
        if (i >= 256) scores[i] = more_scores[i - 256];
    }
    sol_tokenizer_arrays a = {.model = "llama",
                              .tokens = tokens,
                              .n_tokens = N,
                              .scores = scores,
                              .types = types,
                              .bos = -1,
                              .eos = N - 1,
                              .add_bos = -1,
                              .add_eos = -1,
                              .add_space_prefix = -1};
    sol_tokenizer *t, *u;
    void *data;
    size_t size;
    ck_ok(sol_tokenizer_from_arrays(&t, "g", &a, err));
    expect(t, "ab", 0, 2, 256, 260); /* "ab" has the better score: the blank stays alone */
    expect(t, "a\n", 0, 2, 259, 10);
    ck_ok(sol_tokenizer_serialize(t, &data, &size, err));
    ck_ok(sol_tokenizer_from_memory(&u, "again", data, size, err));
    ck_assert(sol_tokenizer_hash(t) == sol_tokenizer_hash(u));
    expect(u, "ab", 0, 2, 256, 260);
    sol_free(data);
    sol_tokenizer_free(&u);
    char *json; /* its tokenizer.json spells the merges out: another tokenizer with the same ids */
    ck_ok(sol_tokenizer_to_json(t, &json, &size, err));
    ck_ok(sol_tokenizer_from_memory(&u, "as json", json, size, err));
    expect(u, "ab a\n\xE2\x98\x83", 0, 7, 256, 260, 259, 10, 0xE2, 0x98, 0x83);
    ck_assert_int_eq(sol_tokenizer_eos(u), N - 1);
    expect_same_arrays(u, "llama", "default"); /* the order of the merges gives scores */
    sol_tokenizer_free(&u);
    sol_free(json);
    expect_same_arrays(t, "llama", "default");
    sol_tokenizer_free(&t);
    scores[258] = 0.0f / 0.0f;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT,
             "score of token 258 is not finite");
    scores[258] = -9;
    types[65] = 1; /* the byte 'A' is no byte token any more, but still spelled like one */
    ck_ok(sol_tokenizer_from_arrays(&t, "g", &a, err));
    sol_tokenizer_free(&t);
    tokens[65] = (sol_span){"zz", 2};
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT,
             "no token stands for byte 0x41");
    a.scores = NULL;
    ck_fails(sol_tokenizer_from_arrays(&t, "g", &a, err), SOL_ERR_FORMAT, "without scores");
}
END_TEST

/* ---- binary forms ---- */

static sol_tokenizer *trained(const char *dir)
{
    char text[96], json[96];
    const char *files[] = {text};
    sol_tokenizer *t;
    snprintf(text, sizeof text, "%s/t.txt", dir);
    snprintf(json, sizeof json, "%s/t.json", dir);
    ck_ok(sol_file_write(text, "the cat and the hat and the bat", 31, err));
    sol_bpe_opts o = {.files = files, .n_files = 1, .vocab_size = 270};
    ck_ok(sol_bpe_train(&o, json, err));
    ck_ok(sol_tokenizer_open(&t, json, err));
    return t;
}

START_TEST(serialized_and_json_are_the_same)
{
    char dir[64], *json;
    void *data;
    size_t size;
    sol_test_dir_make(dir);
    sol_tokenizer *t = trained(dir), *u;
    ck_ok(sol_tokenizer_serialize(t, &data, &size, err));
    ck_ok(sol_tokenizer_from_memory(&u, "again", data, size, err));
    ck_assert(sol_tokenizer_hash(t) == sol_tokenizer_hash(u));
    sol_tokenizer_free(&u);
    sol_free(data);
    ck_ok(sol_tokenizer_to_json(t, &json, &size, err));
    ck_ok(sol_tokenizer_from_memory(&u, "again", json, size, err));
    ck_assert(sol_tokenizer_hash(t) == sol_tokenizer_hash(u));
    sol_free(json);
    /* Its merges reach all its tokens: ignore_merges makes no difference. */
    expect_same_arrays(t, "gpt2", "llama-bpe");
    uint64_t before = sol_tokenizer_hash(u);
    /* What files keep beside the vocabulary is no part of it. */
    ck_assert_ptr_null(sol_tokenizer_chat_template(u));
    ck_ok(sol_tokenizer_set_chat_template(u, "{{ messages }}", 2, err));
    ck_ok(sol_tokenizer_set_generation(u, "{\"a\": 1}", 8, err));
    ck_assert_str_eq(sol_tokenizer_chat_template(u), "{{");
    ck_assert_str_eq(sol_tokenizer_generation(u), "{\"a\": 1}");
    ck_assert_uint_eq(sol_tokenizer_hash(u), before);
    ck_ok(sol_tokenizer_set_bos_eos(u, -1, 5, err));
    ck_assert_int_eq(sol_tokenizer_eos(u), 5);
    ck_assert_int_eq(sol_tokenizer_bos(u), sol_tokenizer_bos(t));
    ck_assert(sol_tokenizer_hash(u) != before);
    ck_fails(sol_tokenizer_set_bos_eos(u, 270, -1, err), SOL_ERR_RANGE, "BOS id 270");
    ck_assert_int_eq(sol_tokenizer_bos(u), sol_tokenizer_bos(t));
    sol_tokenizer_free(&u);
    sol_tokenizer_free(&t);
    sol_test_dir_remove(dir);
}
END_TEST

/* Every truncation is an error; every flipped byte is one or gives a tokenizer that works. */
START_TEST(damaged_serialized)
{
    char dir[64];
    uint8_t *data;
    size_t size;
    sol_test_dir_make(dir);
    sol_tokenizer *t = trained(dir), *u;
    ck_ok(sol_tokenizer_serialize(t, (void **)&data, &size, err));
    for (size_t n = 0; n < size; n++) {
        sol_err err = {0};
        uint8_t *part = malloc(n + 1);
        memcpy(part, data, n);
        ck_assert_int_ne(sol_tokenizer_from_memory(&u, "cut", part, n, &err), SOL_OK);
        ck_assert_int_eq(strncmp(err.text, "cut: ", 5), 0);
        free(part);
    }
    for (size_t i = 0; i < size; i++) {
        data[i] ^= 0x80;
        if (sol_tokenizer_from_memory(&u, "flipped", data, size, NULL) == SOL_OK) {
            sol_ids ids = {0};
            ck_ok(sol_tokenizer_encode(u, "the cat", 7, SOL_ENCODE_BOS | SOL_ENCODE_SPECIAL, &ids,
                                       err));
            sol_ids_free(&ids);
        }
        sol_tokenizer_free(&u);
        data[i] ^= 0x80;
    }
    sol_free(data);
    sol_tokenizer_free(&t);
    sol_test_dir_remove(dir);
}
END_TEST

START_TEST(damaged_llama2c)
{
    uint8_t data[4 + 260 * 14 + 64] = {7};
    size_t size = 4;
    sol_tokenizer *t;
    for (int id = 0; id < 260; id++) {
        char text[8] = "<?>";
        if (id >= 3 && id < 259) snprintf(text, sizeof text, "<0x%02X>", id - 3);
        if (id == 259) strcpy(text, "a");
        uint8_t n = (uint8_t)strlen(text);
        memcpy(data + size + 4, (uint8_t[]){n, 0, 0, 0}, 4);
        memcpy(data + size + 8, text, n);
        size += 8 + (size_t)n;
    }
    ck_ok(sol_tokenizer_from_memory(&t, "t.bin", data, size, err));
    ck_assert_int_eq(sol_tokenizer_vocab_size(t), 260);
    sol_tokenizer_free(&t);
    for (size_t n = 0; n < size - 9; n++)
        ck_fails(sol_tokenizer_from_memory(&t, "t.bin", data, n, err), SOL_ERR_FORMAT,
                 "t.bin: byte ");
    data[8] = 200; /* longer than the longest token */
    ck_fails(sol_tokenizer_from_memory(&t, "t.bin", data, size, err), SOL_ERR_FORMAT,
             "not llama2.c's layout");
    ck_fails(sol_tokenizer_open(&t, "/nonexistent", err), SOL_ERR_IO, "/nonexistent");
    ck_fails(sol_tokenizer_open(&t, "/", err), SOL_ERR_IO, "is a directory");
}
END_TEST

/* Of added tokens that begin alike the longest is taken: every word of up to five letters of two,
 * but each third, looked for in every text of seven. */
START_TEST(added_tokens_that_begin_alike)
{
    sol_text json = {0};
    sol_tokenizer *t;
    int n_tokens = 0;
    ck_ok(sol_text_add(&json, err, "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":["));
    for (int n = 1; n <= 5; n++) {
        for (int bits = 0; bits < 1 << n; bits++) {
            char word[8] = {0};
            if ((bits + n) % 3 == 0) continue;
            for (int k = 0; k < n; k++) word[k] = bits >> k & 1 ? '>' : '<';
            ck_ok(sol_text_add(&json, err, "%s{\"id\":%d,\"content\":\"%s\",\"special\":true}",
                               n_tokens ? "," : "", 3 + n_tokens, word));
            n_tokens++;
        }
    }
    ck_ok(sol_text_add(&json, err, "]}"));
    ck_ok(load(&t, json.data, err));
    for (int bits = 0; bits < 1 << 7; bits++) {
        char text[8] = {0};
        int32_t want = -1;
        size_t longest = 0, n;
        for (int k = 0; k < 7; k++) text[k] = bits >> k & 1 ? '>' : '<';
        for (int32_t id = 3; id < 3 + n_tokens; id++) {
            const char *word = sol_tokenizer_text(t, id, &n);
            if (n <= longest || memcmp(word, text, n) != 0) continue;
            longest = n;
            want = id;
        }
        const sol_added *a = sol_tok_longest_added(&t->set[0], text, 7);
        ck_assert_int_eq(a ? a->id : -1, want);
        a = sol_tok_longest_added(&t->set[0], text, longest ? longest : 1);
        ck_assert_int_eq(a ? a->id : -1, want);
    }
    sol_tokenizer_free(&t);
    sol_free(json.data);
}
END_TEST

/* Control tokens of both sets, as a text is encoded: those that are looked for in normalized text
 * come where the others leave it, in the order of the text. */
START_TEST(control_tokens_are_counted_as_they_are_encoded)
{
    static const char *const pieces[] = {"<A>", "<B>", "<<A>>", "x", "<", ">"};
    sol_tokenizer *t;
    sol_rng rng = sol_rng_make(2, SOL_STREAM_TEST);
    sol_ids ids = {0};
    ck_ok(load(&t,
               "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":["
               "{\"id\":3,\"content\":\"<A>\",\"special\":true,\"normalized\":true},"
               "{\"id\":4,\"content\":\"<B>\",\"special\":true},"
               "{\"id\":5,\"content\":\"<<A>>\",\"special\":true}]}",
               err));
    for (int turn = 0; turn < 2000; turn++) {
        char text[64] = "";
        int64_t want = 0;
        int32_t want_first = -1, first;
        for (int i = 0; i < 6; i++) strcat(text, pieces[sol_rng_below(&rng, 6)]);
        ids.n = 0;
        ck_ok(sol_tokenizer_encode(t, text, strlen(text), SOL_ENCODE_SPECIAL, &ids, err));
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.id[i] < 3 || ids.id[i] > 5) continue;
            if (want++ == 0) want_first = ids.id[i];
        }
        int64_t count = sol_tokenizer_count_special(t, text, strlen(text), &first);
        ck_assert_msg(count == want && first == want_first, "%s: %d, the first %d", text,
                      (int)count, first);
    }
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
}
END_TEST

/* A vocabulary without a single byte of text, as a file from a stranger may have. */
START_TEST(empty_tokens)
{
    sol_span tokens[2] = {{"", 0}, {"", 0}};
    float scores[2] = {0};
    sol_tokenizer_arrays a = {.model = "llama",
                              .tokens = tokens,
                              .n_tokens = 2,
                              .scores = scores,
                              .bos = -1,
                              .eos = -1,
                              .add_bos = -1,
                              .add_eos = -1,
                              .add_space_prefix = -1};
    sol_tokenizer *t;
    sol_ids ids = {0};
    sol_err why = {0};
    sol_status st = sol_tokenizer_from_arrays(&t, "test", &a, &why);
    ck_assert((st == SOL_OK) == (t != NULL));
    if (t) ck_assert_int_eq(sol_tokenizer_encode(t, "a", 1, 0, &ids, &why), SOL_OK);
    sol_ids_free(&ids);
    sol_tokenizer_free(&t);
}
END_TEST

SOL_TEST_MAIN("tokenizer files", tcase_add_test(tc, control_tokens_are_counted_as_they_are_encoded);
              tcase_add_test(tc, added_tokens_that_begin_alike); tcase_add_test(tc, empty_tokens);
              tcase_add_test(tc, json_forms); tcase_add_test(tc, json_digits_and_smollm);
              tcase_add_test(tc, json_sentencepiece); tcase_add_test(tc, hostile_json);
              tcase_add_test(tc, deep_json); tcase_add_test(tc, a_regex_that_explodes_is_an_error);
              tcase_add_test(tc, words); tcase_add_test(tc, named_pretokenizers);
              tcase_add_test(tc, gguf_byte_level); tcase_add_test(tc, gguf_sentencepiece);
              tcase_add_test(tc, serialized_and_json_are_the_same);
              tcase_add_test(tc, damaged_serialized); tcase_add_test(tc, damaged_llama2c))
