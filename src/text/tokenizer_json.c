/* Reads the tokenizer.json of Hugging Face `tokenizers`, model BPE: vocabulary, merges and
 * template. Normalizer, pre-tokenizer and decoder are read by tokenizer_json_steps.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

/* One entry of model.vocab or added_tokens; at most one of each for an id. */
typedef struct entry {
    const char *text; /* of the JSON tree; NULL: no token has this id */
    size_t n;
    uint8_t type, added; /* SOL_TOKEN_*, SOL_ADDED_* */
    bool merged;         /* a merge spells it (mark_merged) */
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

static sol_status add_entry(loader *l, const char *text, size_t n, int64_t id, sol_err *err)
{
    entry *e = &l->entries[id];
    sol_bytemap_entry *known;
    if (e->text)
        return sol_fail(err, SOL_ERR_FORMAT, "tokens '%.64s' and '%.64s' have the same id %lld",
                        e->text, text, (long long)id);
    *e = (entry){.text = text, .n = n};
    SOL_TRY(sol_bytemap_put(&l->by_text, text, n, &known, NULL, err));
    known->value = id;
    return SOL_OK;
}

/* Ids need not be dense, but a file cannot ask for much more memory than it is long. */
static sol_status count_ids(loader *l, json_t *vocab, const json_t *added, sol_err *err)
{
    enum { MAX_HOLES = 65536 };
    int64_t n = (int64_t)json_object_size(vocab) + (int64_t)json_array_size(added);
    const char *text;
    json_t *id;
    l->n_ids = n;
    json_object_foreach(vocab, text, id)
    {
        int64_t value = json_integer_value(id);
        if (!json_is_integer(id))
            return sol_fail(err, SOL_ERR_FORMAT, "token '%.64s': its id is not a whole number",
                            text);
        if (value < 0 || value >= n + MAX_HOLES)
            return sol_fail(err, SOL_ERR_RANGE,
                            "token '%.64s' has the id %lld: the file has %lld tokens and may leave "
                            "%d ids unused",
                            text, (long long)value, (long long)n, MAX_HOLES);
        if (value >= l->n_ids) l->n_ids = value + 1;
    }
    return l->n_ids > SOL_TOK_MAX_IDS
               ? sol_fail(err, SOL_ERR_RANGE, "more than %d tokens", SOL_TOK_MAX_IDS)
               : SOL_OK;
}

/* `tokenizers` numbers added tokens itself, whatever id the file names: an added token that the
 * vocabulary has keeps its id, any other gets the next one behind the vocabulary. */
static sol_status add_added_token(loader *l, const json_t *a, size_t i, int64_t *next, sol_err *err)
{
    static const struct {
        const char *key;
        uint8_t flag;
    } flags[] = {{"lstrip", SOL_ADDED_LSTRIP},
                 {"rstrip", SOL_ADDED_RSTRIP},
                 {"single_word", SOL_ADDED_SINGLE_WORD},
                 {"normalized", SOL_ADDED_NORMALIZED}};
    const json_t *content = json_object_get(a, "content");
    const char *text = json_string_value(content);
    size_t n = json_string_length(content);
    if (!text || n == 0)
        return sol_fail(err, SOL_ERR_FORMAT, "added_tokens[%zu].content is missing or empty", i);
    if (!json_is_integer(json_object_get(a, "id")))
        return sol_fail(err, SOL_ERR_FORMAT, "token '%.64s': its id is not a whole number", text);
    const sol_bytemap_entry *known = sol_bytemap_get(&l->by_text, text, n);
    int64_t id = known ? known->value : *next;
    if (!known) SOL_TRY(add_entry(l, text, n, (*next)++, err));
    entry *e = &l->entries[id];
    bool in_vocab = known && (e->type == SOL_TOKEN_NORMAL || e->added & SOL_ADDED_IN_VOCAB);
    e->type = json_is_true(json_object_get(a, "special")) ? SOL_TOKEN_CONTROL : SOL_TOKEN_USER;
    e->added = in_vocab ? SOL_ADDED_IN_VOCAB : 0;
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
        if (json_is_true(json_object_get(a, flags[k].key))) e->added |= flags[k].flag;
    return SOL_OK;
}

static sol_status collect_entries(loader *l, sol_err *err)
{
    json_t *vocab = json_object_get(l->model, "vocab"),
           *added = json_object_get(l->root, "added_tokens"), *id;
    const char *text;
    if (!json_is_object(vocab))
        return sol_fail(err, SOL_ERR_FORMAT, "model.vocab is missing or not an object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return sol_fail(err, SOL_ERR_FORMAT, "added_tokens is not an array");
    SOL_TRY(count_ids(l, vocab, added, err));
    SOL_TRY(sol_alloc_array((void **)&l->entries, (size_t)l->n_ids, sizeof *l->entries, err));
    json_object_foreach(vocab, text, id)
        SOL_TRY(add_entry(l, text, strlen(text), json_integer_value(id), err));
    int64_t next = (int64_t)json_object_size(vocab);
    for (size_t i = 0; i < json_array_size(added); i++)
        SOL_TRY(add_added_token(l, json_array_get(added, i), i, &next, err));
    /* count_ids counted all added tokens; those that the vocabulary has need no id of their own. */
    while (l->n_ids > 0 && !l->entries[l->n_ids - 1].text) l->n_ids--;
    return SOL_OK;
}

/* The bytes a token stands for, in l->scratch. */
static sol_status token_bytes(loader *l, const entry *e, size_t *n, uint8_t *type, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&l->scratch, &l->cap_scratch, e->n + 1, 1, err));
    *type = e->type;
    *n = e->n;
    if (!e->text) {
        *type = SOL_TOKEN_UNUSED;
        *n = 0;
    } else if (e->type != SOL_TOKEN_NORMAL) {
        memcpy(l->scratch, e->text, e->n);
    } else if (l->t->kind == SOL_TOK_BYTE_LEVEL) {
        if (!sol_runes_to_bytes(e->text, e->n, l->scratch, n))
            return sol_fail(err, SOL_ERR_FORMAT,
                            "token '%.64s' has characters outside the byte-level alphabet",
                            e->text);
    } else if (l->t->kind == SOL_TOK_SENTENCEPIECE) {
        int byte = sol_byte_token(e->text, e->n);
        if (byte >= 0) l->scratch[0] = (char)byte;
        if (byte >= 0) *type = SOL_TOKEN_BYTE;
        *n = byte >= 0 ? 1 : sol_underscores_to_blanks(e->text, e->n, l->scratch);
    } else {
        memcpy(l->scratch, e->text, e->n);
        if (l->t->byte_fallback && sol_byte_token(e->text, e->n) >= 0) *type = SOL_TOKEN_BYTE;
    }
    return SOL_OK;
}

static sol_status add_tokens(loader *l, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&l->t->added, (size_t)l->n_ids, 1, err));
    for (int64_t id = 0; id < l->n_ids; id++) {
        size_t n;
        uint8_t type;
        SOL_TRY(token_bytes(l, &l->entries[id], &n, &type, err));
        SOL_TRY(sol_tok_add(l->t, l->scratch, n, type, 0, err));
        l->t->added[id] = l->entries[id].added;
    }
    return SOL_OK;
}

static sol_status find_text(const loader *l, const char *text, size_t n, size_t merge, int32_t *id,
                            sol_err *err)
{
    const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, text, n);
    if (!e)
        return sol_fail(err, SOL_ERR_FORMAT, "model.merges[%zu] names '%.*s', which is no token",
                        merge, (int)(n < 64 ? n : 64), text);
    *id = (int32_t)e->value;
    return SOL_OK;
}

/* The two texts of a merge, written as a pair or with a blank between them. */
static bool read_merge(const json_t *value, const char **a, size_t *n_a, const char **b,
                       size_t *n_b)
{
    *a = *b = NULL;
    *n_a = *n_b = 0;
    if (json_is_array(value) && json_array_size(value) == 2) {
        const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
        *a = json_string_value(left);
        *b = json_string_value(right);
        *n_a = json_string_length(left);
        *n_b = json_string_length(right);
    } else if (json_is_string(value)) {
        *a = json_string_value(value);
        const char *blank = strchr(*a, ' ');
        *b = blank ? blank + 1 : NULL;
        *n_a = blank ? (size_t)(blank - *a) : 0;
        *n_b = *b ? strlen(*b) : 0;
    }
    return *a && *b && *n_a && *n_b;
}

/* Both texts of a merge as one, in l->scratch. */
static sol_status join(loader *l, const char *a, size_t n_a, const char *b, size_t n_b,
                       sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&l->scratch, &l->cap_scratch, n_a + n_b, 1, err));
    memcpy(l->scratch, a, n_a);
    memcpy(l->scratch + n_a, b, n_b);
    return SOL_OK;
}

static sol_status add_merge(loader *l, const json_t *value, size_t i, sol_err *err)
{
    const char *a, *b;
    size_t n_a, n_b;
    if (!read_merge(value, &a, &n_a, &b, &n_b))
        return sol_fail(err, SOL_ERR_FORMAT, "model.merges[%zu] is not a pair of tokens", i);
    int32_t left = 0, right = 0, result = 0;
    SOL_TRY(find_text(l, a, n_a, i, &left, err));
    SOL_TRY(find_text(l, b, n_b, i, &right, err));
    SOL_TRY(join(l, a, n_a, b, n_b, err));
    SOL_TRY(find_text(l, l->scratch, n_a + n_b, i, &result, err));
    return sol_tok_add_merge(l->t, left, right, result, err);
}

static sol_status add_merges(loader *l, sol_err *err)
{
    json_t *merges = json_object_get(l->model, "merges"), *value;
    size_t i;
    if (!json_is_array(merges))
        return sol_fail(err, SOL_ERR_FORMAT, "model.merges is missing or not an array");
    json_array_foreach(merges, i, value)
    {
        if (strncmp(json_is_string(value) ? json_string_value(value) : "", "#version", 8) == 0)
            continue; /* of a merges.txt */
        SOL_TRY(add_merge(l, value, i, err));
    }
    l->t->merges_given = true;
    return SOL_OK;
}

/* What a post-processor puts in front of a text and behind it. */
typedef struct frame {
    int32_t head[SOL_TOK_MAX_TEMPLATE], tail[SOL_TOK_MAX_TEMPLATE];
    int n_head, n_tail;
    bool parted; /* by a template: `tokenizers` takes it for several texts from then on */
} frame;

static sol_status frame_id(const loader *l, frame *f, bool behind, const json_t *id, sol_err *err)
{
    int *n = behind ? &f->n_tail : &f->n_head;
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= l->n_ids)
        return sol_fail(err, SOL_ERR_RANGE, "an id lies outside the vocabulary of %lld",
                        (long long)l->n_ids);
    if (*n == SOL_TOK_MAX_TEMPLATE)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "more than %d special tokens",
                        SOL_TOK_MAX_TEMPLATE);
    (behind ? f->tail : f->head)[(*n)++] = (int32_t)json_integer_value(id);
    return SOL_OK;
}

/* The ids of one special token of a template. */
static sol_status frame_special(const loader *l, const json_t *processor, const char *name,
                                frame *f, bool behind, sol_err *err)
{
    const json_t *about = json_object_get(json_object_get(processor, "special_tokens"), name);
    const json_t *ids = json_object_get(about, "ids");
    if (!json_is_array(ids)) return sol_fail(err, SOL_ERR_FORMAT, "no ids for '%.64s'", name);
    for (size_t k = 0; k < json_array_size(ids); k++) {
        sol_status st = frame_id(l, f, behind, json_array_get(ids, k), err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "'%.64s'", name);
    }
    return SOL_OK;
}

static sol_status read_template(const loader *l, const json_t *processor, frame *f, sol_err *err)
{
    const json_t *single = json_object_get(processor, "single");
    int texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i),
                     *special = json_object_get(item, "SpecialToken");
        if (special)
            SOL_TRY(frame_special(l, processor, string_of(special, "id"), f, texts > 0, err));
        else
            texts += strcmp(string_of(json_object_get(item, "Sequence"), "id"), "A") == 0 ? 1 : 2;
    }
    if (texts != 1) return sol_fail(err, SOL_ERR_UNSUPPORTED, "'single' has the text A not once");
    return SOL_OK;
}

/* One processor; those of a sequence wrap each other, the last is outermost. */
static sol_status read_processor(const loader *l, const json_t *p, frame *f, int depth,
                                 sol_err *err)
{
    enum { MAX_DEPTH = 16 };
    const char *type = string_of(p, "type");
    if (!p || json_is_null(p) || strcmp(type, "ByteLevel") == 0)
        return SOL_OK; /* it moves offsets alone */
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(p, "processors");
        for (size_t i = 0; i < json_array_size(list); i++)
            SOL_TRY(read_processor(l, json_array_get(list, i), f, depth + 1, err));
        return SOL_OK;
    }
    frame outer = {0};
    if (f->parted)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%.32s' behind a TemplateProcessing that adds tokens is not supported",
                        type);
    if (strcmp(type, "TemplateProcessing") == 0) {
        SOL_TRY(read_template(l, p, &outer, err));
        f->parted = outer.n_head + outer.n_tail > 0;
    } else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        SOL_TRY(frame_id(l, &outer, false, json_array_get(json_object_get(p, "cls"), 1), err));
        SOL_TRY(frame_id(l, &outer, true, json_array_get(json_object_get(p, "sep"), 1), err));
    } else {
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%.32s' is not supported (TemplateProcessing, ByteLevel, "
                        "RobertaProcessing, BertProcessing are)",
                        type);
    }
    if (outer.n_head + f->n_head > SOL_TOK_MAX_TEMPLATE ||
        outer.n_tail + f->n_tail > SOL_TOK_MAX_TEMPLATE)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "more than %d special tokens",
                        SOL_TOK_MAX_TEMPLATE);
    memcpy(outer.head + outer.n_head, f->head, (size_t)f->n_head * sizeof *f->head);
    memcpy(f->tail + f->n_tail, outer.tail, (size_t)outer.n_tail * sizeof *f->tail);
    memcpy(f->head, outer.head, sizeof f->head);
    f->n_head += outer.n_head;
    f->n_tail += outer.n_tail;
    return SOL_OK;
}

static sol_status read_post_processor(loader *l, sol_err *err)
{
    frame f = {0};
    sol_tokenizer *t = l->t;
    sol_status st = read_processor(l, json_object_get(l->root, "post_processor"), &f, 0, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "post_processor");
    memcpy(t->head, f.head, sizeof t->head);
    memcpy(t->tail, f.tail, sizeof t->tail);
    t->n_head = f.n_head;
    t->n_tail = f.n_tail;
    return SOL_OK;
}

/* A tokenizer.json names no BOS and EOS: they are the template's first id, else what has one of the
 * usual names among the special tokens. */
static void guess_bos_eos(loader *l)
{
    static const char *const bos[] = {"<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>"};
    static const char *const eos[] = {"<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>"};
    sol_tokenizer *t = l->t;
    if (t->n_head) t->bos = t->head[0];
    for (size_t i = 0; i < sizeof bos / sizeof *bos; i++) {
        const sol_bytemap_entry *b = sol_bytemap_get(&l->by_text, bos[i], strlen(bos[i]));
        const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, eos[i], strlen(eos[i]));
        if (t->bos < 0 && b && l->entries[b->value].type == SOL_TOKEN_CONTROL)
            t->bos = (int32_t)b->value;
        if (t->eos < 0 && e && l->entries[e->value].type == SOL_TOKEN_CONTROL)
            t->eos = (int32_t)e->value;
    }
}

/* Reads the unknown token, which stands for a byte that has no token. */
static sol_status read_unknown(loader *l, sol_err *err)
{
    const char *text = string_of(l->model, "unk_token");
    const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, text, strlen(text));
    if (!*text) return SOL_OK;
    if (!e) return sol_fail(err, SOL_ERR_FORMAT, "model.unk_token '%.64s' is no token", text);
    l->t->unk = (int32_t)e->value;
    return SOL_OK;
}

static sol_status check_model(const loader *l, sol_err *err)
{
    const char *type = string_of(l->model, "type");
    if (!json_is_object(l->model))
        return sol_fail(err, SOL_ERR_FORMAT, "'model' is missing or not an object");
    if (*type && strcmp(type, "BPE") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "model.type '%.32s': only BPE is supported; a LLaMA model with another "
                        "tokenizer needs text as ids, "
                        "or one of its BPE conversions",
                        type);
    SOL_TRY(want_false(l->model, "dropout", "model", err));
    SOL_TRY(want_false(l->model, "continuing_subword_prefix", "model", err));
    return want_false(l->model, "end_of_word_suffix", "model", err);
}

/* Whether a byte has no token. A byte-level vocabulary with all 256 never meets an unknown one. */
static bool lacks_a_byte(const loader *l)
{
    for (int b = 0; b < 256; b++) {
        char rune[2], byte = (char)b;
        size_t n = sol_bytes_to_runes(&byte, 1, rune);
        if (!sol_bytemap_get(&l->by_text, rune, n)) return true;
    }
    return false;
}

static sol_status count_word(void *user, const char *word, size_t n, sol_err *err)
{
    (void)word, (void)n, (void)err;
    ++*(int *)user;
    return SOL_OK;
}

/* Whether the pre-tokenizer leaves the text in one piece, which ignore_merges then looks up. */
static sol_status is_one_word(const sol_tokenizer *t, const entry *e, bool *yes, sol_err *err)
{
    sol_pretok_scratch *s;
    int words = 0;
    SOL_TRY(sol_pretok_scratch_create(&s, err));
    sol_status st =
        sol_pretok_run(&t->pretok, s, e->text, e->n, SOL_PLACE_FIRST, count_word, &words, err);
    sol_pretok_scratch_free(&s);
    *yes = words == 1;
    return st;
}

/* Marks the tokens that a merge spells: once for all, since there may be thousands of added tokens
 * and hundreds of thousands of merges. */
static sol_status mark_merged(loader *l, sol_err *err)
{
    const json_t *merges = json_object_get(l->model, "merges");
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *a, *b;
        size_t n_a, n_b;
        if (!read_merge(json_array_get(merges, i), &a, &n_a, &b, &n_b)) continue;
        SOL_TRY(join(l, a, n_a, b, n_b, err));
        const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, l->scratch, n_a + n_b);
        if (e) l->entries[e->value].merged = true;
    }
    return SOL_OK;
}

/* Whether merges, a single symbol, or a whole word can make an added token that the vocabulary
 * has. */
static sol_status is_reachable(const loader *l, int32_t id, bool *yes, sol_err *err)
{
    const entry *e = &l->entries[id];
    *yes = e->merged || sol_utf8_char(e->text, e->n) == e->n;
    return *yes || !l->t->ignore_merges ? SOL_OK : is_one_word(l->t, e, yes, err);
}

/* *what: the property of the added tokens that version 1 cannot hold; NULL: none. */
static sol_status added_beyond_version_1(loader *l, const char **what, sol_err *err)
{
    const uint8_t strips = SOL_ADDED_LSTRIP | SOL_ADDED_RSTRIP | SOL_ADDED_SINGLE_WORD;
    int normalized = -1;
    *what = NULL;
    SOL_TRY(mark_merged(l, err));
    for (int64_t id = 0; id < l->n_ids; id++) {
        const entry *e = &l->entries[id];
        bool reachable = false;
        if (e->text && e->type == SOL_TOKEN_NORMAL) continue;
        int now = (e->added & SOL_ADDED_NORMALIZED) != 0;
        if (e->added & SOL_ADDED_IN_VOCAB) SOL_TRY(is_reachable(l, (int32_t)id, &reachable, err));
        if (!e->text)
            *what = "ids without tokens";
        else if (e->added & strips)
            *what = "added tokens with lstrip, rstrip or single_word";
        else if (normalized >= 0 && now != normalized)
            *what = "added tokens some of which are normalized";
        else if (reachable)
            *what = "an added token that merges make, too";
        if (*what) break;
        normalized = now;
    }
    return SOL_OK;
}

/* Whether it is a tokenizer in the form of LLaMA-2, which version 1 calls SentencePiece: all bytes
 * are tokens, a blank becomes U+2581, mostly with one in front of every text, and nothing else is
 * done to a text. */
static bool is_llama_2(const loader *l)
{
    static const char underscore[] = "\xE2\x96\x81";
    const sol_tokenizer *t = l->t;
    const sol_normal_step *s = t->normalizer.step;
    const sol_decoder *d = &t->decoder;
    const sol_stage *g = t->pretok.stage;
    bool in_front = t->normalizer.n == 2 && s[0].kind == SOL_NORMAL_PREPEND &&
                    strcmp(s[0].content, underscore) == 0;
    bool replaces = t->normalizer.n == 1 + in_front && t->pretok.n == 0 &&
                    s[in_front].kind == SOL_NORMAL_REPLACE;
    bool never = t->normalizer.n == 0 && t->pretok.n == 1 && g->kind == SOL_STAGE_METASPACE &&
                 g->prepend == SOL_PREPEND_NEVER && !g->cut;
    bool back =
        d->n_replace == 1
            ? strcmp(d->find[0], underscore) == 0 && strcmp(d->content[0], " ") == 0 && !d->space[0]
            : d->n_replace == 0 && strcmp(d->space, underscore) == 0 && !d->drop_first;
    if (!t->byte_fallback || t->ignore_merges || !(replaces || never) ||
        strcmp(t->space, underscore) != 0 || !back || !d->bytes || d->n_strip != in_front ||
        (in_front && strcmp(d->strip, " ") != 0))
        return false;
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        const sol_bytemap_entry *e = sol_bytemap_get(&l->by_text, text, 6);
        if (!e || l->entries[e->value].type != SOL_TOKEN_NORMAL) return false;
    }
    for (int64_t id = 0; id < l->n_ids; id++) {
        const entry *e = &l->entries[id];
        if (e->text && (e->type == SOL_TOKEN_NORMAL ? memchr(e->text, ' ', e->n) != NULL
                                                    : e->added & SOL_ADDED_NORMALIZED ||
                                                          memmem(e->text, e->n, underscore, 3)))
            return false;
    }
    return true;
}

/* In front of ByteLevel `tokenizers` doubles bytes or fails where a normalizer puts in a text for
 * nothing, or nothing at all. */
static sol_status check_byte_normalizer(const sol_tokenizer *t, sol_err *err)
{
    for (int i = 0; i < t->normalizer.n; i++) {
        const sol_normal_step *s = &t->normalizer.step[i];
        if (s->kind == SOL_NORMAL_PREPEND && !*s->content)
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "normalizer: Prepend of an empty text in front of ByteLevel is not "
                            "supported: take the step out");
        if (s->kind == SOL_NORMAL_REPLACE && s->regex && sol_regex_may_be_empty(s->regex))
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "normalizer: Replace of a Regex that matches an empty text, in front "
                            "of ByteLevel, is not supported");
    }
    return SOL_OK;
}

/* Settles the kind and what it is that version 1 of the serialized form cannot hold. */
static sol_status settle_kind(loader *l, bool byte_level, sol_err *err)
{
    sol_tokenizer *t = l->t;
    SOL_TRY(added_beyond_version_1(l, &t->beyond, err));
    if (!byte_level && !t->beyond && is_llama_2(l)) {
        t->kind = SOL_TOK_SENTENCEPIECE;
        t->add_space_prefix = t->decoder.n_strip > 0;
        t->underscore_is_blank = true;
        t->fuse_unk = false;
        sol_normalizer_free(&t->normalizer);
        sol_pretok_free(&t->pretok);
        return SOL_OK;
    }
    if (!byte_level) {
        if (!t->beyond) t->beyond = "a vocabulary of characters that is not used as LLaMA-2's is";
        return SOL_OK;
    }
    SOL_TRY(check_byte_normalizer(t, err));
    bool lacks = lacks_a_byte(l);
    if (t->byte_fallback && lacks)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "byte_fallback in a byte-level vocabulary that lacks bytes is not supported");
    t->kind = SOL_TOK_BYTE_LEVEL;
    t->byte_fallback = false;
    t->fuse_unk = t->fuse_unk && lacks && *string_of(l->model, "unk_token");
    if (t->fuse_unk) t->beyond = "fuse_unk";
    if (!sol_pretok_is_plain(&t->pretok))
        t->beyond = "add_prefix_space, or a pre-tokenizer that does not isolate what it matches";
    t->only_nfc =
        !t->beyond && t->normalizer.n == 1 && t->normalizer.step[0].kind == SOL_NORMAL_NFC;
    if (t->normalizer.n) t->beyond = "a normalizer";
    return SOL_OK;
}

/* Keeps the file itself, without white space and without what is about batches. */
static sol_status keep_json(loader *l, sol_err *err)
{
    sol_tokenizer *t = l->t;
    for (int i = 0; i < 2; i++)
        if (json_object_set_new(l->root, i ? "padding" : "truncation", json_null()) != 0)
            return sol_fail(err, SOL_ERR_NOMEM, "out of memory for a tokenizer.json");
    char *text = json_dumps(l->root, JSON_COMPACT | JSON_INDENT(0));
    if (!text) return sol_fail(err, SOL_ERR_NOMEM, "out of memory for a tokenizer.json");
    t->n_json = strlen(text);
    sol_status st = sol_copy_string(&t->json, text, t->n_json, err);
    free(text);
    return st;
}

static sol_status load(loader *l, sol_err *err)
{
    bool byte_level;
    l->model = json_object_get(l->root, "model");
    SOL_TRY(check_model(l, err));
    SOL_TRY(sol_tok_create(&l->t, SOL_TOK_CHARACTERS, err));
    sol_tokenizer *t = l->t;
    t->ignore_merges = json_is_true(json_object_get(l->model, "ignore_merges"));
    t->byte_fallback = json_is_true(json_object_get(l->model, "byte_fallback"));
    t->fuse_unk = json_is_true(json_object_get(l->model, "fuse_unk"));
    SOL_TRY(collect_entries(l, err));
    SOL_TRY(sol_tok_read_steps(t, l->root, &byte_level, err));
    SOL_TRY(settle_kind(l, byte_level, err));
    SOL_TRY(add_tokens(l, err));
    SOL_TRY(add_merges(l, err));
    SOL_TRY(read_post_processor(l, err));
    SOL_TRY(read_unknown(l, err));
    guess_bos_eos(l);
    if (t->beyond) return keep_json(l, err);
    sol_free(t->added); /* it says nothing that version 1 does not */
    t->added = NULL;
    return SOL_OK;
}

sol_status sol_tok_from_json(sol_tokenizer **t, const char *name, const char *data, size_t size,
                             sol_more_tokens *more, sol_err *err)
{
    loader l = {0};
    json_error_t where;
    *t = NULL;
    l.root = sol_json_load(data, size, JSON_REJECT_DUPLICATES, &where);
    if (!l.root)
        return sol_fail(err, SOL_ERR_FORMAT, "%s:%d:%d: not a tokenizer.json: %s", name, where.line,
                        where.column, where.text);
    sol_status st = sol_tok_add_more(l.root, more, err);
    if (st == SOL_OK) st = load(&l, err);
    if (st != SOL_OK) {
        sol_tokenizer_free(&l.t);
        sol_err_prefix(err, st, "%s", name);
    }
    sol_bytemap_free(&l.by_text);
    sol_free(l.entries);
    sol_free(l.scratch);
    json_decref(l.root);
    sol_mem_trim();
    *t = l.t;
    return st;
}
