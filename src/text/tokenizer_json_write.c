/* A byte-level tokenizer as the tokenizer.json that Hugging Face `tokenizers` reads. */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

/* The text of a token as the file writes it; *out is owned by the caller. */
static sol_status file_text(const sol_tokenizer *t, int32_t id, char **out, size_t *n, sol_err *err)
{
    const char *text = sol_tok_text(t, id, n);
    sol_status st = sol_alloc_array((void **)out, *n * 2 + 1, 1, err);
    if (st != SOL_OK) return st;
    if (t->type[id] == SOL_TOKEN_NORMAL)
        *n = sol_bytes_to_runes(text, *n, *out);
    else
        memcpy(*out, text, *n);
    (*out)[*n] = 0;
    return SOL_OK;
}

static json_t *text_value(const sol_tokenizer *t, int32_t id)
{
    char *text;
    size_t n;
    if (file_text(t, id, &text, &n, NULL) != SOL_OK) return NULL;
    json_t *value = json_stringn(text, n);
    sol_free(text);
    return value;
}

static json_t *vocab_value(const sol_tokenizer *t)
{
    json_t *vocab = json_object();
    for (int32_t id = 0; vocab && id < t->n_tokens; id++) {
        char *text;
        size_t n;
        if (t->type[id] != SOL_TOKEN_NORMAL) continue;
        int failed = file_text(t, id, &text, &n, NULL) != SOL_OK;
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
    for (size_t i = 0; merges && i < t->n_merges; i++) {
        json_t *pair = json_pack("[o, o]", text_value(t, t->merges[i].left), text_value(t, t->merges[i].right));
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
    for (int32_t id = 0; added && id < t->n_tokens; id++) {
        if (t->type[id] != SOL_TOKEN_CONTROL && t->type[id] != SOL_TOKEN_USER) continue;
        json_t *one = json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text_value(t, id), "single_word", 0,
                                "lstrip", 0, "rstrip", 0, "normalized", 0, "special", t->type[id] == SOL_TOKEN_CONTROL);
        if (!one || json_array_append_new(added, one) != 0) {
            json_decref(added);
            return NULL;
        }
    }
    return added;
}

static json_t *pretokenizer_value(const sol_tokenizer *t)
{
    json_t *list = json_array();
    for (int i = 0; i < t->pretok.n; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", t->pretok.source[i],
                                              "behavior", "Isolated", "invert", 0));
    json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                                          "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *special_item(const sol_tokenizer *t, int32_t id)
{
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_value(t, id), "type_id", 0);
}

static json_t *template_value(const sol_tokenizer *t)
{
    json_t *single = json_array(), *specials = json_object();
    for (int i = 0; i < t->n_head; i++) json_array_append_new(single, special_item(t, t->head[i]));
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    for (int i = 0; i < t->n_tail; i++) json_array_append_new(single, special_item(t, t->tail[i]));
    for (int i = 0; i < t->n_head + t->n_tail; i++) {
        int32_t id = i < t->n_head ? t->head[i] : t->tail[i - t->n_head];
        json_t *text = text_value(t, id);
        const char *name = json_string_value(text);
        if (name)
            json_object_set_new(specials, name, json_pack("{s:s, s:[i], s:[s]}", "id", name, "ids", id, "tokens", name));
        json_decref(text);
    }
    /* A pair of texts is the first one's template followed by a bare second text, as far as anything asks for one. */
    json_t *pair = json_deep_copy(single);
    json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens",
                     specials);
}

sol_status sol_tokenizer_to_json(const sol_tokenizer *t, char **json, size_t *size, sol_err *err)
{
    *json = NULL;
    *size = 0;
    if (t->kind != SOL_TOK_BYTE_LEVEL)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "a SentencePiece tokenizer has no tokenizer.json form here");
    json_t *model = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                              t->unk >= 0 ? text_value(t, t->unk) : json_null(), "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", t->ignore_merges, "vocab", vocab_value(t), "merges", merges_value(t));
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0", "truncation",
                             "padding", "added_tokens", added_value(t), "normalizer", "pre_tokenizer", pretokenizer_value(t),
                             "post_processor", template_value(t), "decoder", "type", "ByteLevel", "add_prefix_space", 1,
                             "trim_offsets", 1, "use_regex", 1, "model", model);
    char *text = root ? json_dumps(root, JSON_INDENT(0) | JSON_COMPACT) : NULL;
    sol_status st = text ? SOL_OK : sol_fail(err, SOL_ERR_NOMEM, "out of memory for a tokenizer.json");
    if (st == SOL_OK) *size = strlen(text);
    if (st == SOL_OK) st = sol_copy_string(json, text, *size, err);
    free(text);
    json_decref(root);
    return st;
}
