/* Writes a tokenizer as the tokenizer.json that Hugging Face `tokenizers` reads: for bpe_train.c
 * and for exports of models. */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

static json_t *text_value(const sol_tokenizer *t, int32_t id)
{
    char *text;
    size_t n;
    if (sol_tok_file_text(t, id, &text, &n, NULL) != SOL_OK) return NULL;
    json_t *value = json_stringn(text, n);
    sol_free(text);
    return value;
}

/* Special tokens behind all others need not be in the vocabulary: `tokenizers` gives them the next
 * ids. */
static json_t *vocab_value(const sol_tokenizer *t)
{
    json_t *vocab = json_object();
    int32_t n_ids = t->n_tokens;
    while (n_ids > 0 && sol_tok_is_added(t, n_ids - 1)) n_ids--;
    if (vocab)
        for (int32_t id = 0; id < n_ids; id++) {
            char *text;
            size_t n;
            int failed = sol_tok_file_text(t, id, &text, &n, NULL) != SOL_OK;
            if (!failed) failed = json_object_set_new(vocab, text, json_integer(id));
            sol_free(text);
            if (failed) {
                json_decref(vocab);
                return NULL;
            }
        }
    return vocab;
}

static json_t *merges_value(const sol_tokenizer *t)
{
    json_t *merges = json_array();
    if (merges)
        for (size_t i = 0; i < t->n_merges; i++) {
            json_t *pair = json_pack("[o, o]", text_value(t, t->merges[i].left),
                                     text_value(t, t->merges[i].right));
            if (!pair || json_array_append_new(merges, pair) != 0) {
                json_decref(merges);
                return NULL;
            }
        }
    return merges;
}

static json_t *added_value(const sol_tokenizer *t)
{
    json_t *added = json_array();
    if (added)
        for (int32_t id = 0; id < t->n_tokens; id++) {
            if (!sol_tok_is_added(t, id)) continue;
            json_t *one = json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", id, "content",
                                    text_value(t, id), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                    "normalized", 0, "special", t->type[id] == SOL_TOKEN_CONTROL);
            if (!one || json_array_append_new(added, one) != 0) {
                json_decref(added);
                return NULL;
            }
        }
    return added;
}

/* A list that lacks an item becomes NULL, which json_pack hands on. */
static void append(json_t **list, json_t *item)
{
    if (json_array_append_new(*list, item) == 0) return;
    json_decref(*list);
    *list = NULL;
}

/* A stage that isolates its matches. */
static json_t *stage_value(const char *regex)
{
    int single = strcmp(regex, SOL_REGEX_DIGIT) == 0;
    if (single || strcmp(regex, SOL_REGEX_DIGITS) == 0)
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", single);
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", regex,
                     "behavior", "Isolated", "invert", 0);
}

static json_t *pretokenizer_value(const sol_tokenizer *t)
{
    if (t->kind == SOL_TOK_SENTENCEPIECE) return json_null();
    json_t *list = json_array();
    for (int i = 0; i < t->pretok.n; i++) append(&list, stage_value(t->pretok.stage[i].source));
    append(&list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                            "trim_offsets", 1, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

#define UNDERSCORE "\xE2\x96\x81"

/* SentencePiece: U+2581 for every blank and, mostly, one in front. */
static json_t *normalizer_value(const sol_tokenizer *t)
{
    if (t->kind == SOL_TOK_BYTE_LEVEL) return json_null();
    json_t *list = json_array();
    if (t->add_space_prefix)
        append(&list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", UNDERSCORE));
    append(&list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                            "content", UNDERSCORE));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *decoder_value(const sol_tokenizer *t)
{
    if (t->kind == SOL_TOK_BYTE_LEVEL)
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                         "trim_offsets", 1, "use_regex", 1);
    json_t *list =
        json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                  UNDERSCORE, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (t->add_space_prefix)
        append(&list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1,
                                "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *special_item(const sol_tokenizer *t, int32_t id)
{
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_value(t, id), "type_id", 0);
}

static json_t *template_value(const sol_tokenizer *t)
{
    json_t *single = json_array(), *specials = json_object();
    for (int i = 0; i < t->n_head; i++) append(&single, special_item(t, t->head[i]));
    append(&single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    for (int i = 0; i < t->n_tail; i++) append(&single, special_item(t, t->tail[i]));
    for (int i = 0; i < t->n_head + t->n_tail; i++) {
        int32_t id = i < t->n_head ? t->head[i] : t->tail[i - t->n_head];
        json_t *text = text_value(t, id);
        const char *name = json_string_value(text);
        json_t *about = json_pack("{s:s, s:[i], s:[s]}", "id", name, "ids", id, "tokens", name);
        if (json_object_set_new(specials, name, about) != 0) { /* NULL for any of them fails, too */
            json_decref(specials);
            specials = NULL;
        }
        json_decref(text);
    }
    /* A pair of texts is the first one's template followed by a bare second text, as far as
     * anything asks for one. */
    json_t *pair = json_deep_copy(single);
    append(&pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", specials);
}

sol_status sol_tokenizer_to_json(const sol_tokenizer *t, char **json, size_t *size, sol_err *err)
{
    int spm = t->kind == SOL_TOK_SENTENCEPIECE;
    *json = NULL;
    *size = t->n_json;
    if (t->json) return sol_copy_string(json, t->json, t->n_json, err);
    json_t *model = json_pack(
        "{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
        t->unk >= 0 ? text_value(t, t->unk) : json_null(), "continuing_subword_prefix",
        "end_of_word_suffix", "fuse_unk", spm, "byte_fallback", spm, "ignore_merges",
        t->ignore_merges, "vocab", vocab_value(t), "merges", merges_value(t));
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added_value(t), "normalizer", normalizer_value(t),
                  "pre_tokenizer", pretokenizer_value(t), "post_processor", template_value(t),
                  "decoder", decoder_value(t), "model", model);
    char *text = root ? json_dumps(root, JSON_INDENT(0) | JSON_COMPACT) : NULL;
    sol_status st =
        text ? SOL_OK : sol_fail(err, SOL_ERR_NOMEM, "out of memory for a tokenizer.json");
    if (st == SOL_OK) *size = strlen(text);
    if (st == SOL_OK) st = sol_copy_string(json, text, *size, err);
    free(text);
    json_decref(root);
    return st;
}
