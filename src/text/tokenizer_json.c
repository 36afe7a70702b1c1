/* tokenizer.json of Hugging Face `tokenizers`, model BPE, read. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer_impl.h"

/* One entry of model.vocab or added_tokens; at most one of each for an id. */
typedef struct entry {
    const char *text; /* of the JSON tree; NULL: no token has this id */
    size_t n;
    uint8_t type;
} entry;

typedef struct loader {
    sol_tokenizer *t;
    json_t *root, *model;
    entry *entries; /* [n_ids] */
    int64_t n_ids;
    sol_bytemap by_text; /* text as in the file -> id */
    char *scratch;
    size_t cap_scratch;
} loader;

static const char *string_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static sol_status want_false(const json_t *object, const char *key, const char *what, sol_err *err)
{
    const json_t *v = json_object_get(object, key);
    if (!v || json_is_null(v) || json_is_false(v)) return SOL_OK;
    if (json_is_string(v) && json_string_length(v) == 0) return SOL_OK;
    if (json_is_number(v) && json_number_value(v) == 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: '%s' is set, which is not supported", what, key);
}

static sol_status add_entry(loader *l, const char *text, size_t n, const json_t *id_value, uint8_t type,
                            sol_err *err)
{
    if (!json_is_integer(id_value))
        return sol_fail(err, SOL_ERR_FORMAT, "token '%.64s': its id is not a whole number", text);
    int64_t id = json_integer_value(id_value);
    if (id < 0 || id >= l->n_ids)
        return sol_fail(err, SOL_ERR_RANGE, "token '%.64s' has the id %lld: the file's tokens fill 0 to %lld",
                        text, (long long)id, (long long)l->n_ids - 1);
    entry *e = &l->entries[id];
    if (e->text && (type == SOL_TOKEN_NORMAL || e->n != n || memcmp(e->text, text, n) != 0))
        return sol_fail(err, SOL_ERR_FORMAT, "tokens '%.64s' and '%.64s' have the same id %lld", e->text, text,
                        (long long)id);
    *e = (entry){text, n, type};
    sol_bytemap_entry *known;
    int is_new;
    sol_status st = sol_bytemap_put(&l->by_text, text, n, &known, &is_new, err);
    if (st != SOL_OK) return st;
    if (!is_new && known->value != id)
        return sol_fail(err, SOL_ERR_FORMAT, "token '%.64s' has two ids: %d and %lld", text, (int)known->value,
                        (long long)id);
    known->value = id;
    return SOL_OK;
}

/* The ids must be dense, and tokens that are listed twice (in vocab and as added) count once. */
static int64_t count_ids(const json_t *vocab, const json_t *added)
{
    int64_t n = (int64_t)json_object_size(vocab);
    for (size_t i = 0; i < json_array_size(added); i++)
        n += !json_object_get(vocab, string_of(json_array_get(added, i), "content"));
    return n;
}

static sol_status collect_entries(loader *l, sol_err *err)
{
    json_t *vocab = json_object_get(l->model, "vocab"), *added = json_object_get(l->root, "added_tokens"), *id;
    const char *text;
    if (!json_is_object(vocab)) return sol_fail(err, SOL_ERR_FORMAT, "model.vocab is missing or not an object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return sol_fail(err, SOL_ERR_FORMAT, "added_tokens is not an array");
    l->n_ids = count_ids(vocab, added);
    if (l->n_ids > SOL_TOK_MAX_IDS) return sol_fail(err, SOL_ERR_RANGE, "more than %d tokens", SOL_TOK_MAX_IDS);
    sol_status st = sol_alloc_array((void **)&l->entries, (size_t)l->n_ids, sizeof *l->entries, err);
    if (st != SOL_OK) return st;
    json_object_foreach (vocab, text, id) {
        st = add_entry(l, text, strlen(text), id, SOL_TOKEN_NORMAL, err);
        if (st != SOL_OK) return st;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i), *content = json_object_get(a, "content");
        if (!json_is_string(content) || json_string_length(content) == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "added_tokens[%zu].content is missing or empty", i);
        st = want_false(a, "single_word", json_string_value(content), err);
        if (st == SOL_OK) st = want_false(a, "lstrip", json_string_value(content), err);
        if (st == SOL_OK) st = want_false(a, "rstrip", json_string_value(content), err);
        uint8_t type = json_is_true(json_object_get(a, "special")) ? SOL_TOKEN_CONTROL : SOL_TOKEN_USER;
        if (st == SOL_OK)
            st = add_entry(l, json_string_value(content), json_string_length(content), json_object_get(a, "id"),
                           type, err);
        if (st != SOL_OK) return st;
    }
    return SOL_OK;
}

/* The bytes a token stands for, in l->scratch. */
static sol_status token_bytes(loader *l, const entry *e, size_t *n, uint8_t *type, sol_err *err)
{
    sol_status st = sol_grow_array((void **)&l->scratch, &l->cap_scratch, e->n + 1, 1, err);
    if (st != SOL_OK) return st;
    *type = e->type;
    *n = e->n;
    if (e->type != SOL_TOKEN_NORMAL) {
        memcpy(l->scratch, e->text, e->n);
    } else if (l->t->kind == SOL_TOK_BYTE_LEVEL) {
        if (!sol_runes_to_bytes(e->text, e->n, l->scratch, n))
            return sol_fail(err, SOL_ERR_FORMAT, "token '%.64s' has characters outside the byte-level alphabet",
                            e->text);
    } else if (sol_byte_token(e->text, e->n) >= 0) {
        l->scratch[0] = (char)sol_byte_token(e->text, e->n);
        *n = 1;
        *type = SOL_TOKEN_BYTE;
    } else {
        *n = sol_underscores_to_blanks(e->text, e->n, l->scratch);
    }
    return SOL_OK;
}

static sol_status add_tokens(loader *l, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int64_t id = 0; st == SOL_OK && id < l->n_ids; id++) {
        size_t n;
        uint8_t type;
        if (!l->entries[id].text)
            return sol_fail(err, SOL_ERR_FORMAT, "no token has the id %lld", (long long)id);
        st = token_bytes(l, &l->entries[id], &n, &type, err);
        if (st == SOL_OK) st = sol_tok_add(l->t, l->scratch, n, type, 0, err);
    }
    return st;
}

static sol_status find_text(const loader *l, const char *text, size_t n, size_t merge, int32_t *id,
                            sol_err *err)
{
    const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, text, n);
    if (!e)
        return sol_fail(err, SOL_ERR_FORMAT, "model.merges[%zu] names '%.*s', which is no token", merge,
                        (int)(n < 64 ? n : 64), text);
    *id = (int32_t)e->value;
    return SOL_OK;
}

static sol_status add_merge(loader *l, const json_t *value, size_t i, sol_err *err)
{
    const char *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    if (json_is_array(value) && json_array_size(value) == 2) {
        const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
        a = json_string_value(left);
        b = json_string_value(right);
        n_a = json_string_length(left);
        n_b = json_string_length(right);
    } else if (json_is_string(value)) {
        a = json_string_value(value);
        const char *blank = strchr(a, ' ');
        b = blank ? blank + 1 : NULL;
        n_a = blank ? (size_t)(blank - a) : 0;
        n_b = b ? strlen(b) : 0;
    }
    if (!a || !b || !n_a || !n_b)
        return sol_fail(err, SOL_ERR_FORMAT, "model.merges[%zu] is not a pair of tokens", i);
    int32_t left = 0, right = 0, result = 0;
    sol_status st = sol_grow_array((void **)&l->scratch, &l->cap_scratch, n_a + n_b, 1, err);
    if (st == SOL_OK) st = find_text(l, a, n_a, i, &left, err);
    if (st == SOL_OK) st = find_text(l, b, n_b, i, &right, err);
    if (st != SOL_OK) return st;
    memcpy(l->scratch, a, n_a);
    memcpy(l->scratch + n_a, b, n_b);
    st = find_text(l, l->scratch, n_a + n_b, i, &result, err);
    return st == SOL_OK ? sol_tok_add_merge(l->t, left, right, result, err) : st;
}

static sol_status add_merges(loader *l, sol_err *err)
{
    json_t *merges = json_object_get(l->model, "merges"), *value;
    sol_status st = SOL_OK;
    size_t i;
    if (!json_is_array(merges)) return sol_fail(err, SOL_ERR_FORMAT, "model.merges is missing or not an array");
    json_array_foreach (merges, i, value) {
        st = add_merge(l, value, i, err);
        if (st != SOL_OK) return st;
    }
    l->t->merges_given = true;
    return st;
}

static sol_status add_split(loader *l, const json_t *p, sol_err *err)
{
    const json_t *pattern = json_object_get(p, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (!regex) return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre_tokenizer Split: pattern is not a Regex");
    if (strcmp(string_of(p, "behavior"), "Isolated") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "pre_tokenizer Split: behavior '%.32s': only Isolated is supported",
                        string_of(p, "behavior"));
    sol_status st = want_false(p, "invert", "pre_tokenizer Split", err);
    return st == SOL_OK ? sol_pretok_add(&l->t->pretok, regex, err) : st;
}

/* One pre-tokenizer; *byte_level is set when it is the one that maps bytes to the printable alphabet. */
static sol_status add_pretokenizer(loader *l, const json_t *p, bool *byte_level, sol_err *err)
{
    const char *type = string_of(p, "type");
    if (*byte_level) return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre_tokenizer '%.32s' behind ByteLevel", type);
    if (strcmp(type, "Split") == 0) return add_split(l, p, err);
    if (strcmp(type, "Digits") == 0) {
        bool single = json_is_true(json_object_get(p, "individual_digits"));
        return sol_pretok_add(&l->t->pretok, single ? "\\p{N}" : "\\p{N}+", err);
    }
    if (strcmp(type, "ByteLevel") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "pre_tokenizer '%.32s': only Split, Digits and ByteLevel are supported", type);
    *byte_level = true;
    sol_status st = want_false(p, "add_prefix_space", "pre_tokenizer ByteLevel", err);
    if (st != SOL_OK || json_is_false(json_object_get(p, "use_regex"))) return st;
    return sol_pretok_add(&l->t->pretok, SOL_REGEX_GPT2, err);
}

static sol_status add_byte_level_pretokenizers(loader *l, sol_err *err)
{
    const json_t *p = json_object_get(l->root, "pre_tokenizer"),
                 *normalizer = json_object_get(l->root, "normalizer");
    bool byte_level = false;
    sol_status st = SOL_OK;
    if (normalizer && !json_is_null(normalizer))
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "normalizer '%.32s' is not supported",
                        string_of(normalizer, "type"));
    if (strcmp(string_of(p, "type"), "Sequence") != 0) {
        st = add_pretokenizer(l, p, &byte_level, err);
    } else {
        const json_t *list = json_object_get(p, "pretokenizers");
        for (size_t i = 0; st == SOL_OK && i < json_array_size(list); i++)
            st = add_pretokenizer(l, json_array_get(list, i), &byte_level, err);
    }
    if (st == SOL_OK && !byte_level)
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "pre_tokenizer: ByteLevel is missing");
    return st;
}

/* LLaMA-2 style files say "a blank in front" as a normalizer (Prepend) or as a pre-tokenizer (Metaspace). */
static sol_status read_sentencepiece_space(loader *l, sol_err *err)
{
    const json_t *normalizer = json_object_get(l->root, "normalizer"),
                 *p = json_object_get(l->root, "pre_tokenizer");
    const json_t *list = json_object_get(normalizer, "normalizers");
    bool replaced = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *step = json_array_get(list, i);
        const char *type = string_of(step, "type");
        if (strcmp(type, "Prepend") == 0 && strcmp(string_of(step, "prepend"), "\xE2\x96\x81") == 0)
            l->t->add_space_prefix = true;
        else if (strcmp(type, "Replace") == 0 && strcmp(string_of(step, "content"), "\xE2\x96\x81") == 0)
            replaced = true;
        else
            return sol_fail(err, SOL_ERR_UNSUPPORTED, "normalizer '%.32s' is not supported", type);
    }
    if (strcmp(string_of(p, "type"), "Metaspace") == 0) {
        const char *scheme = string_of(p, "prepend_scheme");
        replaced = true;
        l->t->add_space_prefix = *scheme ? strcmp(scheme, "never") != 0
                                         : !json_is_false(json_object_get(p, "add_prefix_space"));
    } else if (p && !json_is_null(p)) {
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre_tokenizer '%.32s' is not supported with byte_fallback",
                        string_of(p, "type"));
    }
    return replaced ? SOL_OK
                    : sol_fail(err, SOL_ERR_UNSUPPORTED,
                               "byte_fallback without a step that replaces blanks by U+2581");
}

static sol_status template_id(loader *l, const json_t *processor, const json_t *special, bool behind,
                              sol_err *err)
{
    const char *name = string_of(special, "id");
    const json_t *ids = json_object_get(json_object_get(json_object_get(processor, "special_tokens"), name),
                                        "ids");
    sol_tokenizer *t = l->t;
    if (!json_is_array(ids)) return sol_fail(err, SOL_ERR_FORMAT, "post_processor: no ids for '%.64s'", name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        int *n = behind ? &t->n_tail : &t->n_head;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= l->n_ids)
            return sol_fail(err, SOL_ERR_RANGE,
                            "post_processor: '%.64s' has an id outside the vocabulary of %lld", name,
                            (long long)l->n_ids);
        if (*n == SOL_TOK_MAX_TEMPLATE)
            return sol_fail(err, SOL_ERR_UNSUPPORTED, "post_processor: more than %d special tokens",
                            SOL_TOK_MAX_TEMPLATE);
        (behind ? t->tail : t->head)[(*n)++] = (int32_t)json_integer_value(id);
    }
    return SOL_OK;
}

static sol_status read_template(loader *l, const json_t *processor, sol_err *err)
{
    const json_t *single = json_object_get(processor, "single");
    bool behind = false;
    sol_status st = SOL_OK;
    for (size_t i = 0; st == SOL_OK && i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *special = json_object_get(item, "SpecialToken");
        if (special)
            st = template_id(l, processor, special, behind, err);
        else
            behind = true;
    }
    return st;
}

static sol_status read_post_processor(loader *l, sol_err *err)
{
    const json_t *p = json_object_get(l->root, "post_processor"), *list = json_object_get(p, "processors");
    if (strcmp(string_of(p, "type"), "TemplateProcessing") == 0) return read_template(l, p, err);
    sol_status st = SOL_OK;
    for (size_t i = 0; st == SOL_OK && i < json_array_size(list); i++)
        if (strcmp(string_of(json_array_get(list, i), "type"), "TemplateProcessing") == 0)
            st = read_template(l, json_array_get(list, i), err);
    return st;
}

/* tokenizer.json names no BOS and EOS: the template's first id, else the usual names among the special tokens. */
static void guess_bos_eos(loader *l)
{
    static const char *const bos[] = {"<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>"};
    static const char *const eos[] = {"<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>"};
    sol_tokenizer *t = l->t;
    if (t->n_head) t->bos = t->head[0];
    for (size_t i = 0; i < sizeof bos / sizeof *bos; i++) {
        const sol_bytemap_entry *b = sol_bytemap_get(&l->by_text, bos[i], strlen(bos[i]));
        const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, eos[i], strlen(eos[i]));
        if (t->bos < 0 && b && l->entries[b->value].type == SOL_TOKEN_CONTROL) t->bos = (int32_t)b->value;
        if (t->eos < 0 && e && l->entries[e->value].type == SOL_TOKEN_CONTROL) t->eos = (int32_t)e->value;
    }
}

/* What stands for a byte without a token. */
static sol_status read_unknown(loader *l, sol_err *err)
{
    const char *text = string_of(l->model, "unk_token");
    const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, text, strlen(text));
    if (!*text) return SOL_OK;
    if (!e) return sol_fail(err, SOL_ERR_FORMAT, "model.unk_token '%.64s' is no token", text);
    l->t->unk = (int32_t)e->value;
    return SOL_OK;
}

static sol_status check_model(const loader *l, bool byte_fallback, sol_err *err)
{
    const char *type = string_of(l->model, "type");
    if (!json_is_object(l->model)) return sol_fail(err, SOL_ERR_FORMAT, "'model' is missing or not an object");
    if (*type && strcmp(type, "BPE") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "model.type '%.32s': only BPE is supported", type);
    sol_status st = want_false(l->model, "dropout", "model", err);
    if (st == SOL_OK) st = want_false(l->model, "continuing_subword_prefix", "model", err);
    if (st == SOL_OK) st = want_false(l->model, "end_of_word_suffix", "model", err);
    if (st == SOL_OK && byte_fallback)
        st = want_false(l->model, "ignore_merges", "model with byte_fallback", err);
    return st;
}

static sol_status load(loader *l, sol_err *err)
{
    l->model = json_object_get(l->root, "model");
    bool byte_fallback = json_is_true(json_object_get(l->model, "byte_fallback"));
    sol_status st = check_model(l, byte_fallback, err);
    if (st == SOL_OK)
        st = sol_tok_create(&l->t, byte_fallback ? SOL_TOK_SENTENCEPIECE : SOL_TOK_BYTE_LEVEL, err);
    if (st == SOL_OK) l->t->ignore_merges = json_is_true(json_object_get(l->model, "ignore_merges"));
    if (st == SOL_OK) st = collect_entries(l, err);
    if (st == SOL_OK) st = add_tokens(l, err);
    if (st == SOL_OK) st = add_merges(l, err);
    if (st == SOL_OK)
        st = byte_fallback ? read_sentencepiece_space(l, err) : add_byte_level_pretokenizers(l, err);
    if (st == SOL_OK) st = read_post_processor(l, err);
    if (st == SOL_OK) st = read_unknown(l, err);
    if (st == SOL_OK) guess_bos_eos(l);
    return st;
}

sol_status sol_tok_from_json(sol_tokenizer **t, const char *name, const char *data, size_t size, sol_err *err)
{
    loader l = {0};
    json_error_t where;
    *t = NULL;
    l.root = sol_json_load(data, size, JSON_REJECT_DUPLICATES, &where);
    if (!l.root)
        return sol_fail(err, SOL_ERR_FORMAT, "%s:%d:%d: not a tokenizer.json: %s", name, where.line,
                        where.column, where.text);
    sol_status st = load(&l, err);
    if (st != SOL_OK) {
        sol_tokenizer_free(&l.t);
        sol_err_prefix(err, st, "%s", name);
    }
    sol_bytemap_free(&l.by_text);
    sol_free(l.entries);
    sol_free(l.scratch);
    json_decref(l.root);
    *t = l.t;
    return st;
}
