/* The vocabulary of a tokenizer: tokens, merges, indexes, and lookups in them. Readers fill it
 * (tokenizer_json.c, tokenizer_bin.c, tokenizer_gguf.c), encode.c uses it. */
#include "text/tokenizer_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"

void sol_ids_free(sol_ids *ids)
{
    sol_free(ids->id);
    *ids = (sol_ids){0};
}

sol_status sol_tok_create(sol_tokenizer **out, sol_tok_kind kind, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_tokenizer *t = *out;
    t->kind = kind;
    t->byte_fallback = kind == SOL_TOK_SENTENCEPIECE;
    t->bos = t->eos = t->unk = -1;
    sol_status st = sol_grow_array((void **)&t->offset, &t->cap_offset, 1, sizeof *t->offset, err);
    if (st != SOL_OK) sol_tokenizer_free(out);
    return st;
}

void sol_tokenizer_free(sol_tokenizer **tp)
{
    sol_tokenizer *t = *tp;
    if (!t) return;
    sol_free(t->bytes);
    sol_free(t->offset);
    sol_free(t->type);
    sol_free(t->score);
    sol_free(t->merges);
    sol_free(t->pair);
    sol_free(t->json);
    sol_free(t->chat_template);
    sol_free(t->generation);
    sol_free(t->added);
    sol_tok_added_free(t);
    sol_bytemap_free(&t->words);
    sol_pretok_free(&t->pretok);
    sol_normalizer_free(&t->normalizer);
    sol_decoder_free(&t->decoder);
    for (int i = 0; i < 2; i++) {
        sol_free(t->piece[i].bytes);
        sol_free(t->piece[i].end);
    }
    sol_free(t);
    *tp = NULL;
}

sol_status sol_tok_add(sol_tokenizer *t, const char *text, size_t n, uint8_t type, float score,
                       sol_err *err)
{
    size_t id = (size_t)t->n_tokens;
    if (id >= SOL_TOK_MAX_IDS)
        return sol_fail(err, SOL_ERR_RANGE, "more than %d tokens", SOL_TOK_MAX_IDS);
    if (n > SOL_TOK_MAX_TOKEN_BYTES)
        return sol_fail(err, SOL_ERR_RANGE, "token %zu has %zu bytes: at most %d fit", id, n,
                        SOL_TOK_MAX_TOKEN_BYTES);
    SOL_TRY(sol_grow_array((void **)&t->bytes, &t->cap_bytes, t->n_bytes + n, 1, err));
    SOL_TRY(sol_grow_array((void **)&t->offset, &t->cap_offset, id + 2, sizeof *t->offset, err));
    SOL_TRY(sol_grow_array((void **)&t->type, &t->cap_type, id + 1, 1, err));
    SOL_TRY(sol_grow_array((void **)&t->score, &t->cap_score, id + 1, sizeof *t->score, err));
    if (n) memcpy(t->bytes + t->n_bytes, text, n);
    t->n_bytes += n;
    t->offset[id + 1] = t->n_bytes;
    t->type[id] = type;
    t->score[id] = score;
    t->n_tokens++;
    return SOL_OK;
}

sol_status sol_tok_add_merge(sol_tokenizer *t, int32_t left, int32_t right, int32_t result,
                             sol_err *err)
{
    if (t->n_merges >= INT32_MAX) return sol_fail(err, SOL_ERR_RANGE, "too many merges");
    SOL_TRY(sol_grow_array((void **)&t->merges, &t->cap_merges, t->n_merges + 1, sizeof *t->merges,
                           err));
    t->merges[t->n_merges] = (sol_merge){left, right, result, (int32_t)t->n_merges};
    t->n_merges++;
    return SOL_OK;
}

/* Puts one token into the index of words. */
static sol_status index_word(sol_tokenizer *t, int32_t id, const char *text, size_t n, sol_err *err)
{
    int is_new;
    sol_bytemap_entry *e;
    if (n == 0) return sol_fail(err, SOL_ERR_FORMAT, "token %d is empty", id);
    SOL_TRY(sol_bytemap_put(&t->words, text, n, &e, &is_new, err));
    if (!is_new && t->kind == SOL_TOK_BYTE_LEVEL)
        return sol_fail(err, SOL_ERR_FORMAT, "tokens %d and %d have the same text '%.*s'",
                        (int)e->value, id, (int)(n < 64 ? n : 64), text);
    if (is_new) e->value = id;
    if (t->kind == SOL_TOK_BYTE_LEVEL && n == 1) t->byte_id[(uint8_t)text[0]] = id;
    return SOL_OK;
}

/* Puts token `id` into the index of words if merges may make it, and notes the byte that it stands
 * for. bytes: a buffer that grows as needed. */
static sol_status index_token(sol_tokenizer *t, int32_t id, char **bytes, size_t *cap, sol_err *err)
{
    bool characters = t->kind == SOL_TOK_CHARACTERS;
    size_t n;
    const char *text = sol_tok_text(t, id, &n);
    bool in_vocab = sol_tok_added(t, id) & SOL_ADDED_IN_VOCAB;
    if (t->type[id] == SOL_TOKEN_BYTE || (characters && in_vocab)) {
        int byte = characters ? sol_byte_token(text, n) : n == 1 ? (uint8_t)text[0] : -1;
        if (byte >= 0) t->byte_id[byte] = id;
    }
    if (t->type[id] == SOL_TOKEN_NORMAL ||
        (characters && (in_vocab || t->type[id] == SOL_TOKEN_BYTE)))
        return index_word(t, id, text, n, err);
    if (!in_vocab) return SOL_OK;
    /* A byte-level vocabulary has the text in its alphabet; where it has not, no merge makes it. */
    SOL_TRY(sol_grow_array((void **)bytes, cap, n, 1, err));
    return sol_runes_to_bytes(text, n, *bytes, &n) ? index_word(t, id, *bytes, n, err) : SOL_OK;
}

static sol_status index_tokens(sol_tokenizer *t, char **bytes, size_t *cap, sol_err *err)
{
    memset(t->byte_id, 0xFF, sizeof t->byte_id);
    for (int32_t id = 0; id < t->n_tokens; id++) SOL_TRY(index_token(t, id, bytes, cap, err));
    return SOL_OK;
}

/* Every byte needs a token, or in byte-level vocabularies the unknown one. */
static sol_status complete_bytes(sol_tokenizer *t, sol_err *err)
{
    for (int b = 0; b < 256; b++) {
        if (t->byte_id[b] >= 0) continue;
        if (t->kind != SOL_TOK_BYTE_LEVEL)
            return sol_fail(err, SOL_ERR_FORMAT, "no token stands for byte 0x%02X", b);
        t->byte_id[b] = t->unk;
    }
    return SOL_OK;
}

/* Indexes by their text the tokens that merges may make. SentencePiece files may hold one text
 * twice: the lower id wins, as a linear search would have it. */
static sol_status index_words(sol_tokenizer *t, sol_err *err)
{
    char *bytes = NULL;
    size_t cap = 0;
    sol_status st = index_tokens(t, &bytes, &cap, err);
    sol_free(bytes);
    SOL_TRY(st);
    return t->kind == SOL_TOK_CHARACTERS ? SOL_OK : complete_bytes(t, err);
}

static int32_t find_word(const sol_tokenizer *t, const char *text, size_t n)
{
    const sol_bytemap_entry *e = sol_bytemap_get(&t->words, text, n);
    return e ? (int32_t)e->value : -1;
}

typedef struct score_rank {
    float score;
    int32_t id;
} score_rank;

static int by_score(const void *a, const void *b)
{
    const score_rank *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Fills order with the tokens by falling score. */
static sol_status order_by_score(const sol_tokenizer *t, score_rank *order, size_t *n_order,
                                 sol_err *err)
{
    enum { MAX_SPLIT = 1024 }; /* splitting costs the square of the length */
    *n_order = 0;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        if (t->type[id] != SOL_TOKEN_NORMAL) continue;
        sol_tok_text(t, id, &n);
        if (n > MAX_SPLIT)
            return sol_fail(err, SOL_ERR_RANGE, "token %d has %zu bytes: at most %d fit", id, n,
                            MAX_SPLIT);
        if (!isfinite(t->score[id]))
            return sol_fail(err, SOL_ERR_FORMAT, "score of token %d is not finite", id);
        order[(*n_order)++] = (score_rank){t->score[id], id};
    }
    qsort(order, *n_order, sizeof *order, by_score);
    return SOL_OK;
}

/* Adds a merge for every split of a token into two tokens. */
static sol_status add_splits(sol_tokenizer *t, int32_t id, int32_t rank, sol_err *err)
{
    size_t n;
    const char *text = sol_tok_text(t, id, &n);
    if (find_word(t, text, n) != id) return SOL_OK; /* the text of a lower id */
    for (size_t k = 1; k < n; k++) {
        int32_t left = find_word(t, text, k), right = left < 0 ? -1 : find_word(t, text + k, n - k);
        if (right < 0) continue;
        SOL_TRY(sol_tok_add_merge(t, left, right, id, err));
        t->merges[t->n_merges - 1].rank = rank;
    }
    return SOL_OK;
}

static sol_status add_all_splits(sol_tokenizer *t, score_rank *order, sol_err *err)
{
    size_t n_order;
    int32_t rank = 0;
    SOL_TRY(order_by_score(t, order, &n_order, err));
    for (size_t i = 0; i < n_order; i++) {
        if (i && order[i].score != order[i - 1].score) rank++;
        SOL_TRY(add_splits(t, order[i].id, rank, err));
    }
    return SOL_OK;
}

/* SentencePiece merges any two neighbours that spell a token, best score first, equal scores
 * leftmost first. So every split of every token becomes a merge, ranked by the distinct scores. */
static sol_status derive_merges(sol_tokenizer *t, sol_err *err)
{
    score_rank *order;
    SOL_TRY(sol_alloc_array((void **)&order, (size_t)t->n_tokens, sizeof *order, err));
    sol_status st = add_all_splits(t, order, err);
    sol_free(order);
    return st;
}

static inline size_t pair_hash(int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 32 ^ key >> 15);
}

const sol_merge *sol_tok_pair(const sol_tokenizer *t, int32_t left, int32_t right)
{
    for (size_t i = pair_hash(left, right) & t->pair_mask;; i = (i + 1) & t->pair_mask) {
        const sol_merge *m = &t->pair[i];
        if (m->left == left && m->right == right) return m;
        if (m->left < 0) return NULL;
    }
}

static sol_status index_pairs(sol_tokenizer *t, sol_err *err)
{
    size_t n_slots = 16;
    while (n_slots < t->n_merges * 2) n_slots *= 2;
    SOL_TRY(sol_alloc_array((void **)&t->pair, n_slots, sizeof *t->pair, err));
    t->pair_mask = n_slots - 1;
    for (size_t i = 0; i < n_slots; i++) t->pair[i].left = -1;
    for (size_t k = 0; k < t->n_merges; k++) {
        const sol_merge *m = &t->merges[k];
        size_t n_left, n_right, n_both;
        if (m->left < 0 || m->right < 0 || m->result < 0 || m->left >= t->n_tokens ||
            m->right >= t->n_tokens || m->result >= t->n_tokens)
            return sol_fail(err, SOL_ERR_RANGE,
                            "merge %zu names a token outside the vocabulary of %d", k, t->n_tokens);
        const char *left = sol_tok_text(t, m->left, &n_left),
                   *right = sol_tok_text(t, m->right, &n_right);
        const char *both = sol_tok_text(t, m->result, &n_both);
        /* An added token has its text as it stands in a text, not as the vocabulary spells it;
         * tokenizer.json was searched for what the merge makes. */
        uint8_t added =
            sol_tok_added(t, m->left) | sol_tok_added(t, m->right) | sol_tok_added(t, m->result);
        if (!(added & SOL_ADDED_IN_VOCAB) &&
            (n_both != n_left + n_right || memcmp(both, left, n_left) != 0 ||
             memcmp(both + n_left, right, n_right) != 0))
            return sol_fail(err, SOL_ERR_FORMAT, "merge %zu does not spell the token %d", k,
                            m->result);
        size_t i = pair_hash(m->left, m->right) & t->pair_mask;
        for (; t->pair[i].left >= 0; i = (i + 1) & t->pair_mask)
            if (t->pair[i].left == m->left && t->pair[i].right == m->right)
                return sol_fail(err, SOL_ERR_FORMAT, "merges %d and %zu are the same pair",
                                t->pair[i].rank, k);
        t->pair[i] = *m;
    }
    return SOL_OK;
}

/* Whether words that begin with blanks can be encoded one by one: they can if no token has a blank
 * behind a non-blank. */
static bool words_are_local(const sol_tokenizer *t)
{
    const char *space = t->kind == SOL_TOK_CHARACTERS ? t->space : " ";
    size_t n_space = strlen(space);
    if (!n_space ||
        (t->kind == SOL_TOK_CHARACTERS && (t->ignore_merges || find_word(t, space, n_space) < 0)))
        return false;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n, solid = 0; /* bytes since the start or the last blank */
        const char *text = sol_tok_text(t, id, &n);
        if (t->type[id] != SOL_TOKEN_NORMAL && !(sol_tok_added(t, id) & SOL_ADDED_IN_VOCAB))
            continue;
        for (size_t i = 0; i < n;) {
            bool blank = n - i >= n_space && memcmp(text + i, space, n_space) == 0;
            if (blank && solid) return false;
            solid += !blank;
            i += blank ? n_space : 1;
        }
    }
    return true;
}

/* Whether the characters near a place alone decide how a text is cut into words and tokens there:
 * near enough for sol_tokenizer_cut_word, which looks 16 KiB ahead. */
static bool is_near_sighted(const sol_tokenizer *t)
{
    enum { LONGEST = 1 << 10 };
    sol_pretok rest = t->pretok; /* what it owns stays the tokenizer's */
    for (int i = 0; i < t->normalizer.n; i++) {
        const sol_normal_step *s = &t->normalizer.step[i];
        if (s->kind == SOL_NORMAL_STRIP) return false;
        if (s->kind == SOL_NORMAL_REPLACE && (!s->find || strcmp(s->find, " ") != 0)) return false;
    }
    for (int32_t id = 0; id < t->n_tokens; id++)
        if (t->offset[id + 1] - t->offset[id] > LONGEST ||
            sol_tok_added(t, id) & (SOL_ADDED_LSTRIP | SOL_ADDED_RSTRIP | SOL_ADDED_NORMALIZED))
            return false;
    while (rest.n > 0 && rest.stage[0].kind != SOL_STAGE_SPLIT)
        memmove(rest.stage, rest.stage + 1, (size_t)--rest.n * sizeof *rest.stage);
    return rest.n == 0 || sol_pretok_is_known(&rest) ||
           (rest.n == 1 && strcmp(rest.stage[0].source, " ") == 0);
}

/* Whether sol_text_last_cut finds places where a text may be cut. */
static bool cuts_are_known(const sol_tokenizer *t)
{
    const sol_stage *first = &t->pretok.stage[0];
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        if (t->type[id] == SOL_TOKEN_USER && (memchr(text, ' ', n) || memchr(text, '\n', n)))
            return false;
    }
    if (t->kind == SOL_TOK_BYTE_LEVEL) return sol_pretok_is_known(&t->pretok);
    if (t->kind == SOL_TOK_SENTENCEPIECE) return t->word_local;
    /* U+2581 is no character to cut behind. */
    return strcmp(t->space, "\xE2\x96\x81") == 0 &&
           (t->pretok.n == 0 ? t->word_local
                             : t->pretok.n == 1 && first->kind == SOL_STAGE_METASPACE &&
                                   (first->cut || t->word_local));
}

static sol_status update_hash(sol_tokenizer *t, sol_err *err)
{
    void *data;
    size_t size;
    SOL_TRY(sol_tokenizer_serialize(t, &data, &size, err));
    t->hash = sol_fnv1a(SOL_FNV_START, data, size);
    sol_free(data);
    return SOL_OK;
}

static sol_status check_ids(const sol_tokenizer *t, sol_err *err)
{
    static const char *const name[] = {"BOS", "EOS", "unknown"};
    const int32_t named[] = {t->bos, t->eos, t->unk};
    for (int i = 0; i < 3; i++)
        if (named[i] < -1 || named[i] >= t->n_tokens)
            return sol_fail(err, SOL_ERR_RANGE, "%s id %d lies outside the vocabulary of %d",
                            name[i], named[i], t->n_tokens);
    for (int i = 0; i < t->n_head + t->n_tail; i++) {
        int32_t id = i < t->n_head ? t->head[i] : t->tail[i - t->n_head];
        if (id < 0 || id >= t->n_tokens)
            return sol_fail(err, SOL_ERR_RANGE,
                            "the template's id %d lies outside the vocabulary of %d", id,
                            t->n_tokens);
    }
    return SOL_OK;
}

static sol_status index_all(sol_tokenizer *t, sol_err *err)
{
    if (t->n_tokens == 0) return sol_fail(err, SOL_ERR_FORMAT, "the vocabulary is empty");
    SOL_TRY(check_ids(t, err));
    SOL_TRY(index_words(t, err));
    if (t->kind == SOL_TOK_SENTENCEPIECE && !t->merges_given) SOL_TRY(derive_merges(t, err));
    SOL_TRY(index_pairs(t, err));
    SOL_TRY(sol_tok_index_added(t, err));
    if (t->kind == SOL_TOK_CHARACTERS) SOL_TRY(sol_tok_index_pieces(t, err));
    return update_hash(t, err);
}

sol_status sol_tok_finish(sol_tokenizer *t, const char *name, sol_err *err)
{
    sol_status st = index_all(t, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s", name);
    t->word_local = t->kind != SOL_TOK_BYTE_LEVEL && words_are_local(t);
    t->can_cut_words = is_near_sighted(t);
    t->can_cut = t->can_cut_words && cuts_are_known(t);
    return SOL_OK;
}

sol_status sol_tokenizer_set_bos_eos(sol_tokenizer *t, int32_t bos, int32_t eos, sol_err *err)
{
    int32_t old_bos = t->bos, old_eos = t->eos;
    if (bos != -1) t->bos = bos;
    if (eos != -1) t->eos = eos;
    sol_status st = check_ids(t, err);
    if (st == SOL_OK) st = update_hash(t, err);
    if (st != SOL_OK) {
        t->bos = old_bos;
        t->eos = old_eos;
    }
    return st;
}

/* Replaces a text that belongs to the tokenizer. */
static sol_status set_text(char **to, const char *text, size_t n, sol_err *err)
{
    sol_free(*to);
    *to = NULL;
    return sol_copy_string(to, text, n, err);
}

sol_status sol_tokenizer_set_chat_template(sol_tokenizer *t, const char *jinja, size_t n,
                                           sol_err *err)
{
    return set_text(&t->chat_template, jinja, n, err);
}

const char *sol_tokenizer_chat_template(const sol_tokenizer *t)
{
    return t->chat_template;
}

sol_status sol_tokenizer_set_generation(sol_tokenizer *t, const char *json, size_t n, sol_err *err)
{
    return set_text(&t->generation, json, n, err);
}

const char *sol_tokenizer_generation(const sol_tokenizer *t)
{
    return t->generation;
}

uint64_t sol_tokenizer_hash(const sol_tokenizer *t)
{
    return t->hash;
}

const char *sol_tokenizer_text(const sol_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    return id < 0 || id >= t->n_tokens ? NULL : sol_tok_text(t, id, n);
}

const char *sol_tokenizer_piece(const sol_tokenizer *t, int32_t prev, int32_t id, size_t *n)
{
    *n = 0;
    if (id < 0 || id >= t->n_tokens) return "";
    if (t->type[id] == SOL_TOKEN_CONTROL || t->type[id] == SOL_TOKEN_UNUSED) return "";
    bool first = prev < 0 || prev == t->bos;
    if (t->kind == SOL_TOK_CHARACTERS) {
        const sol_pieces *p = &t->piece[first];
        uint64_t from = id ? p->end[id - 1] : 0;
        *n = (size_t)(p->end[id] - from);
        return *n ? p->bytes + from : "";
    }
    const char *text = sol_tok_shown_text(t, id, n);
    if (t->add_space_prefix && first && *n > 0 && text[0] == ' ') {
        text++;
        --*n;
    }
    return text;
}

int32_t sol_tokenizer_vocab_size(const sol_tokenizer *t)
{
    return t->n_tokens;
}

int32_t sol_tokenizer_bos(const sol_tokenizer *t)
{
    return t->bos;
}

bool sol_tokenizer_has(const sol_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_tokens &&
           (t->type[id] != SOL_TOKEN_UNUSED || t->offset[id + 1] > t->offset[id]);
}

int32_t sol_tokenizer_eos(const sol_tokenizer *t)
{
    return t->eos;
}

int32_t sol_tokenizer_find(const sol_tokenizer *t, const char *text)
{
    size_t n = strlen(text), len;
    int32_t found = find_word(t, text, n);
    if (found >= 0 || n == 0) return found;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        const char *own = sol_tok_text(t, id, &len);
        if (sol_tok_is_added(t, id) && len == n && memcmp(own, text, n) == 0) return id;
    }
    return found;
}

const char *sol_tokenizer_kind(const sol_tokenizer *t)
{
    static const char *const names[] = {"byte-level BPE", "SentencePiece BPE", "character BPE"};
    return names[t->kind];
}

int sol_tokenizer_begin(const sol_tokenizer *t, const char *text, size_t n, bool special)
{
    size_t n_bos = 0;
    const char *bos = sol_tokenizer_text(t, sol_tokenizer_bos(t), &n_bos);
    if (!special) return SOL_ENCODE_BOS;
    bool spelled = bos && n_bos > 0 && n >= n_bos && memcmp(text, bos, n_bos) == 0;
    return SOL_ENCODE_SPECIAL | (spelled ? 0 : SOL_ENCODE_BOS);
}

/* Those in text[n], of which the second set is looked for in what the first one leaves. */
static int64_t count_special(const sol_tokenizer *t, int set, const char *text, size_t n,
                             int32_t *first)
{
    int64_t count = 0;
    size_t done = 0;
    if (set == 2 || n == 0) return 0;
    if (t->set[set].n == 0) return count_special(t, set + 1, text, n, first);
    for (size_t i = 0; i < n; i++) {
        const sol_added *a = sol_tok_longest_added(&t->set[set], text + i, n - i);
        if (!a) continue;
        count += count_special(t, set + 1, text + done, i - done, first);
        done = i + a->n;
        i = done - 1;
        if (t->type[a->id] != SOL_TOKEN_CONTROL) continue;
        if (*first < 0) *first = a->id;
        count++;
    }
    return count + count_special(t, set + 1, text + done, n - done, first);
}

int64_t sol_tokenizer_count_special(const sol_tokenizer *t, const char *text, size_t n,
                                    int32_t *first)
{
    *first = -1;
    return count_special(t, 0, text, n, first);
}
