/* Turns text into ids: finds special tokens, cuts what lies between them into words, and merges
 * inside each word, with a cache of words. The verb tokenize and generation call it through
 * sol_encoder_run. */
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

enum {
    CACHE_SLOTS = 1 << 14, /* a power of two; 1 MiB in all */
    CACHE_KEY = 24,        /* longer words are not cached */
    CACHE_IDS = 8,
    SCAN_MAX = 48,   /* words of more symbols go through the heap */
    LONG = 64 << 10, /* bytes; longer words go through it part by part */
    LUMP = 256 << 10 /* ids that are handed on at once */
};

typedef struct cache_slot { /* one cache line */
    char key[CACHE_KEY];
    uint8_t n_key, n_ids; /* n_key 0: empty */
    int32_t id[CACHE_IDS];
} cache_slot;

typedef struct node {       /* a symbol of a long word */
    int32_t id, prev, next; /* id -1: merged away */
} node;

typedef struct candidate { /* a pair that may merge */
    int32_t rank, at;
    int32_t left, right, result;
} candidate;

typedef struct window { /* the last part of a long word */
    int32_t *symbol, *id;
    size_t *end; /* [n_ids] of each token's symbols */
    size_t n_symbols, n_ids, cap_symbol, cap_id, cap_end;
} window;

struct sol_encoder {
    const sol_tokenizer *t;
    sol_pretok_scratch *pretok;
    cache_slot *cache; /* NULL: none */
    sol_ids *out;      /* of the running call */
    sol_ids_fn take;   /* who gets what is in `out` from time to time; NULL: it stays there */
    void *user;
    bool handed_on; /* a part of the word at hand */
    node *nodes;
    candidate *heap;
    size_t cap_nodes, cap_heap;
    char *text; /* SentencePiece: the text with its leading blank */
    size_t cap_text;
    int32_t last_rank; /* of the last merge in the last word; -1: none was made */
    sol_normal_scratch normal;
    window part[2]; /* of a long word */
    int32_t *fresh;
    size_t cap_fresh;
};

static sol_status create(sol_encoder **out, const sol_tokenizer *t, bool cached, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_encoder *e = *out;
    e->t = t;
    sol_status st = sol_pretok_scratch_create(&e->pretok, err);
    if (st == SOL_OK && cached)
        st = sol_alloc_array((void **)&e->cache, CACHE_SLOTS, sizeof *e->cache, err);
    if (st != SOL_OK) sol_encoder_free(out);
    return st;
}

sol_status sol_encoder_create(sol_encoder **e, const sol_tokenizer *t, sol_err *err)
{
    return create(e, t, true, err);
}

void sol_encoder_free(sol_encoder **ep)
{
    sol_encoder *e = *ep;
    if (!e) return;
    sol_pretok_scratch_free(&e->pretok);
    sol_free(e->cache);
    sol_free(e->nodes);
    sol_free(e->heap);
    sol_free(e->text);
    sol_free(e->fresh);
    sol_normal_scratch_free(&e->normal);
    for (int i = 0; i < 2; i++) {
        sol_free(e->part[i].symbol);
        sol_free(e->part[i].id);
        sol_free(e->part[i].end);
    }
    sol_free(e);
    *ep = NULL;
}

/* Makes space for n more ids. */
static inline sol_status reserve(sol_ids *ids, size_t n, sol_err *err)
{
    if (ids->n + n <= ids->capacity) return SOL_OK;
    return sol_grow_array((void **)&ids->id, &ids->capacity, ids->n + n, sizeof *ids->id, err);
}

/* Hands on the ids that no later text changes, all but the last `keep`, once they are many. */
static inline sol_status hand_on(sol_encoder *e, size_t keep, sol_err *err)
{
    sol_ids *out = e->out;
    if (!e->take || out->n < keep + LUMP) return SOL_OK;
    SOL_TRY(e->take(e->user, out->id, out->n - keep, err));
    if (keep) memmove(out->id, out->id + (out->n - keep), keep * sizeof *out->id);
    out->n = keep;
    e->handed_on = true;
    return SOL_OK;
}

/* The tokens of a character's bytes; false: there are none. */
static inline bool bytes_of(const sol_tokenizer *t, const char *text, size_t n, int32_t *id)
{
    for (size_t k = 0; k < n; k++)
        if ((id[k] = t->byte_id[(uint8_t)text[k]]) < 0) return false;
    return true;
}

/* Splits a word, or a part of one, into its first symbols and returns how many: at most one a byte,
 * and one more where the part before left an unknown character *open. Only a known character,
 * another unknown one or the end of the word closes it. */
static size_t first_symbols(const sol_tokenizer *t, const char *word, size_t n, bool last,
                            bool *open, int32_t *id)
{
    size_t count = 0;
    if (t->kind == SOL_TOK_BYTE_LEVEL && !t->fuse_unk) { /* byte_id has the unknown token */
        for (size_t i = 0; i < n; i++) {
            id[count] = t->byte_id[(uint8_t)word[i]];
            count += id[count] >= 0;
        }
        return count;
    }
    for (size_t i = 0;
         i < n;) { /* a character that is a token, or its bytes, or the unknown token */
        size_t len = t->kind == SOL_TOK_BYTE_LEVEL ? 1 : sol_utf8_char(word + i, n - i);
        const sol_bytemap_entry *e = len ? sol_bytemap_get(&t->words, word + i, len) : NULL;
        if (!len) len = 1;
        if (e) {
            if (*open) id[count++] = t->unk;
            *open = false;
            id[count++] = (int32_t)e->value;
        } else if (t->byte_fallback && bytes_of(t, word + i, len, id + count)) {
            count += len;
        } else if (t->unk >= 0) {
            if (*open && !t->fuse_unk) id[count++] = t->unk;
            *open = true;
        }
        i += len;
    }
    if (*open && last) {
        id[count++] = t->unk;
        *open = false;
    }
    return count;
}

/* Merges id[0, n) in place, n <= SCAN_MAX: the best pair is found by looking at all. Returns the
 * new count. */
static size_t merge_by_scan(sol_encoder *e, int32_t *id, size_t n)
{
    const sol_tokenizer *t = e->t;
    const sol_merge *pair[SCAN_MAX];
    for (size_t i = 0; i + 1 < n; i++) pair[i] = sol_tok_pair(t, id[i], id[i + 1]);
    while (n > 1) {
        size_t best = n;
        int32_t rank = INT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (pair[i] && pair[i]->rank < rank) {
                rank = pair[i]->rank;
                best = i;
            }
        }
        if (best == n) break;
        e->last_rank = rank;
        id[best] = pair[best]->result;
        n--;
        for (size_t i = best + 1; i < n; i++) id[i] = id[i + 1];
        for (size_t i = best; i + 1 < n; i++) pair[i] = pair[i + 1];
        if (best + 1 < n) pair[best] = sol_tok_pair(t, id[best], id[best + 1]);
        if (best > 0) pair[best - 1] = sol_tok_pair(t, id[best - 1], id[best]);
    }
    return n;
}

static inline bool before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(candidate *heap, size_t *n, candidate c)
{
    size_t i = (*n)++;
    for (; i > 0 && before(&c, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static candidate heap_pop(candidate *heap, size_t *n)
{
    candidate top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *n) break;
        if (child + 1 < *n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

static void push_pair(sol_encoder *e, size_t *n_heap, int32_t at)
{
    int32_t next = at < 0 ? -1 : e->nodes[at].next;
    if (next < 0) return;
    const sol_merge *m = sol_tok_pair(e->t, e->nodes[at].id, e->nodes[next].id);
    if (m) heap_push(e->heap, n_heap, (candidate){m->rank, at, m->left, m->right, m->result});
}

/* Gives the same result in O(n log n) for any length. Each merge retires one node and offers at
 * most two new pairs, so that the heap never holds more than 3 n. end, unless NULL, says where the
 * symbols of each id end. */
static sol_status merge_by_heap(sol_encoder *e, int32_t *id, size_t *n_ids, size_t *end,
                                sol_err *err)
{
    size_t n = *n_ids, n_heap = 0;
    if (n > INT32_MAX / 4)
        return sol_fail(err, SOL_ERR_RANGE, "a word of %zu bytes is too long to encode", n);
    SOL_TRY(sol_grow_array((void **)&e->nodes, &e->cap_nodes, n, sizeof *e->nodes, err));
    SOL_TRY(sol_grow_array((void **)&e->heap, &e->cap_heap, 3 * n, sizeof *e->heap, err));
    for (size_t i = 0; i < n; i++)
        e->nodes[i] = (node){id[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i < n; i++) push_pair(e, &n_heap, (int32_t)i);
    while (n_heap > 0) {
        candidate c = heap_pop(e->heap, &n_heap);
        node *left = &e->nodes[c.at];
        if (left->id != c.left || left->next < 0 || e->nodes[left->next].id != c.right)
            continue; /* out of date */
        node *right = &e->nodes[left->next];
        e->last_rank = c.rank;
        left->id = c.result;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0) e->nodes[left->next].prev = c.at;
        push_pair(e, &n_heap, left->prev);
        push_pair(e, &n_heap, c.at);
    }
    size_t count = 0;
    for (int32_t i = 0; i >= 0; i = e->nodes[i].next) {
        if (end) end[count] = e->nodes[i].next < 0 ? n : (size_t)e->nodes[i].next;
        id[count++] = e->nodes[i].id;
    }
    *n_ids = count;
    return SOL_OK;
}

/* ---- words of any length, in memory that does not grow with them ----
 *
 * Where BPE leaves a boundary, it leaves both sides what they are alone; and two encoded sides x, y
 * stand beside each other unless the last token of x and the first of y merge when they are encoded
 * together. So the last tokens of what is done are taken back and encoded again with the next part:
 * if the first of them comes out as it was, so does all before it, for it stands beside that
 * already. */

/* Encodes the last `keep` tokens of `from` and the fresh symbols into `to`. */
static sol_status encode_window(sol_encoder *e, const window *from, size_t keep, size_t n_fresh,
                                window *to, sol_err *err)
{
    size_t begin = keep < from->n_ids ? from->end[from->n_ids - keep - 1] : 0,
           n_kept = from->n_symbols - begin, n = n_kept + n_fresh;
    SOL_TRY(sol_grow_array((void **)&to->symbol, &to->cap_symbol, n, sizeof *to->symbol, err));
    SOL_TRY(sol_grow_array((void **)&to->id, &to->cap_id, n, sizeof *to->id, err));
    SOL_TRY(sol_grow_array((void **)&to->end, &to->cap_end, n, sizeof *to->end, err));
    if (n_kept) memcpy(to->symbol, from->symbol + begin, n_kept * sizeof *to->symbol);
    if (n_fresh) memcpy(to->symbol + n_kept, e->fresh, n_fresh * sizeof *to->symbol);
    if (n) memcpy(to->id, to->symbol, n * sizeof *to->id);
    to->n_symbols = to->n_ids = n;
    return n ? merge_by_heap(e, to->id, &to->n_ids, to->end, err) : SOL_OK;
}

/* Whether the first of the tokens taken back came out as it was. */
static bool joins(const window *from, size_t keep, const window *to)
{
    if (keep == 0 || to->n_ids == 0) return keep == 0;
    size_t i = from->n_ids - keep, begin = i ? from->end[i - 1] : 0;
    return to->id[0] == from->id[i] && to->end[0] == from->end[i] - begin;
}

/* Encodes one part more. *done is false if the tokens at hand do not reach back far enough. */
static sol_status join_part(sol_encoder *e, window *from, window *to, bool from_start,
                            size_t n_fresh, bool *done, sol_err *err)
{
    enum { TAKEN_BACK = 16 };
    size_t keep = from->n_ids < TAKEN_BACK ? from->n_ids : TAKEN_BACK;
    for (;; keep = keep * 4 < from->n_ids ? keep * 4 : from->n_ids) {
        SOL_TRY(encode_window(e, from, keep, n_fresh, to, err));
        bool all = keep == from->n_ids;
        *done = (all && from_start) || joins(from, keep, to);
        if (*done || all) break;
    }
    if (!*done) return SOL_OK;
    e->out->n -= keep;
    SOL_TRY(reserve(e->out, to->n_ids, err));
    if (to->n_ids) memcpy(e->out->id + e->out->n, to->id, to->n_ids * sizeof *to->id);
    e->out->n += to->n_ids;
    return SOL_OK;
}

static size_t part_bytes(const char *text, size_t n)
{
    if (n <= LONG) return n;
    size_t at = LONG;
    while (at > LONG - 4 && ((uint8_t)text[at] & 0xC0) == 0x80)
        at--; /* no cut inside a character */
    return at;
}

/* Encodes a word part by part. *done is false where merges reach farther than the parts at hand. */
static sol_status merge_long(sol_encoder *e, const char *word, size_t n, bool *done, sol_err *err)
{
    bool open = false, from_start = true;
    int now = 0;
    SOL_TRY(sol_grow_array((void **)&e->fresh, &e->cap_fresh, LONG + 1, sizeof *e->fresh, err));
    e->part[0].n_symbols = e->part[0].n_ids = 0;
    *done = true;
    while (*done && n > 0) {
        size_t part = part_bytes(word, n),
               count = first_symbols(e->t, word, part, part == n, &open, e->fresh);
        SOL_TRY(join_part(e, &e->part[now], &e->part[!now], from_start, count, done, err));
        from_start = from_start && e->part[now].n_ids == 0;
        now = !now;
        if (*done) SOL_TRY(hand_on(e, e->part[now].n_ids, err)); /* these may be taken back */
        word += part;
        n -= part;
    }
    return SOL_OK;
}

static sol_status merge_word(sol_encoder *e, const char *word, size_t n, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    const sol_bytemap_entry *whole = t->ignore_merges ? sol_bytemap_get(&t->words, word, n) : NULL;
    if (n > LONG && !whole) {
        size_t from = e->out->n;
        bool done;
        e->handed_on = false;
        SOL_TRY(merge_long(e, word, n, &done, err));
        if (done) return SOL_OK;
        if (e->handed_on)
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "a word of %zu bytes, in which merges reach farther than %d KiB", n,
                            LONG >> 10);
        e->out->n = from; /* merges that reach farther than a part: the whole word at once */
    }
    SOL_TRY(reserve(e->out, n + 1, err));
    int32_t *id = e->out->id + e->out->n;
    size_t count = 1;
    e->last_rank = -1;
    if (whole) {
        id[0] = (int32_t)whole->value;
    } else {
        bool open = false;
        count = first_symbols(t, word, n, true, &open, id);
        if (count <= SCAN_MAX) /* 0 symbols: every byte was left out */
            count = merge_by_scan(e, id, count);
        else
            SOL_TRY(merge_by_heap(e, id, &count, NULL, err));
    }
    e->out->n += count;
    return SOL_OK;
}

static sol_status encode_word(void *user, const char *word, size_t n, sol_err *err)
{
    sol_encoder *e = user;
    SOL_TRY(hand_on(e, 0, err));
    if (n > CACHE_KEY || !e->cache) return merge_word(e, word, n, err);
    cache_slot *c = &e->cache[sol_hash_bytes(word, n) & (CACHE_SLOTS - 1)];
    if (c->n_key == n && memcmp(c->key, word, n) == 0) {
        SOL_TRY(reserve(e->out, CACHE_IDS, err));
        memcpy(e->out->id + e->out->n, c->id, sizeof c->id);
        e->out->n += c->n_ids;
        return SOL_OK;
    }
    size_t from = e->out->n;
    SOL_TRY(merge_word(e, word, n, err));
    size_t count = e->out->n - from;
    if (count > CACHE_IDS) return SOL_OK;
    memcpy(c->key, word, n);
    memcpy(c->id, e->out->id + from, count * sizeof *c->id);
    c->n_key = (uint8_t)n;
    c->n_ids = (uint8_t)count;
    return SOL_OK;
}

/* Encodes one by one the words that begin where `space` follows something else, if they are
 * independent; else the whole. */
static sol_status encode_local(sol_encoder *e, const char *text, size_t n, const char *space,
                               sol_err *err)
{
    size_t from = 0, n_space = strlen(space);
    const char *at = text, *end = text + n;
    while (e->t->word_local && (size_t)(end - at) >= n_space &&
           (at = memmem(at, (size_t)(end - at), space, n_space)) != NULL) {
        size_t i = (size_t)(at - text);
        at += n_space;
        if (i < n_space ? i == 0 : memcmp(text + i - n_space, space, n_space) == 0) continue;
        SOL_TRY(encode_word(e, text + from, i - from, err));
        from = i;
    }
    return encode_word(e, text + from, n - from, err);
}

static sol_status encode_characters(void *user, const char *word, size_t n, sol_err *err)
{
    sol_encoder *e = user;
    return encode_local(e, word, n, e->t->space, err);
}

static sol_status encode_sentencepiece(sol_encoder *e, const char *text, size_t n, bool prefix,
                                       sol_err *err)
{
    static const char underscore[] = "\xE2\x96\x81";
    bool in_front = prefix && e->t->add_space_prefix;
    if (in_front || (e->t->underscore_is_blank && memmem(text, n, underscore, 3))) {
        SOL_TRY(sol_grow_bytes(&e->text, &e->cap_text, n + 1, err));
        e->text[0] = ' ';
        if (e->t->underscore_is_blank)
            n = sol_underscores_to_blanks(text, n, e->text + in_front);
        else
            memcpy(e->text + in_front, text, n);
        text = e->text;
        n += in_front;
    }
    return encode_local(e, text, n, " ", err);
}

/* Encodes text between added tokens. `first`: it begins the text; `prefix`: a blank belongs in
 * front of it. */
static sol_status encode_plain(sol_encoder *e, const char *text, size_t n, bool first, bool prefix,
                               sol_err *err)
{
    const sol_tokenizer *t = e->t;
    if (n == 0) return SOL_OK;
    if (t->kind == SOL_TOK_SENTENCEPIECE) return encode_sentencepiece(e, text, n, prefix, err);
    sol_place place = first ? SOL_PLACE_FIRST : prefix ? SOL_PLACE_BEHIND : SOL_PLACE_INSIDE;
    return sol_pretok_run(&t->pretok, e->pretok, text, n, place,
                          t->kind == SOL_TOK_CHARACTERS ? encode_characters : encode_word, e, err);
}

/* ---- added tokens ---- */

/* The character that ends before text[at]; its length in *len, 0: none that is valid. */
static const char *char_before(const char *text, size_t at, size_t *len)
{
    size_t from = at;
    while (from > 0 && at - from < 4 && ((uint8_t)text[--from] & 0xC0) == 0x80) continue;
    *len = from < at ? sol_utf8_char(text + from, at - from) : 0;
    if (*len != at - from) *len = 0;
    return text + from;
}

static sol_status is_word(const sol_encoder *e, const char *text, size_t len, bool *word,
                          sol_err *err)
{
    sol_regex_at m = {0};
    *word = false;
    return len ? sol_regex_next(e->t->word_char, sol_pretok_regex_scratch(e->pretok), text, len, &m,
                                word, err)
               : SOL_OK;
}

/* Whether no word character stands next to text[from, to) on either side. */
static sol_status is_alone(const sol_encoder *e, const char *text, size_t n, size_t from, size_t to,
                           bool *alone, sol_err *err)
{
    size_t len;
    bool before, behind;
    const char *c = char_before(text, from, &len);
    SOL_TRY(is_word(e, c, len, &before, err));
    SOL_TRY(is_word(e, text + to, to < n ? sol_utf8_char(text + to, n - to) : 0, &behind, err));
    *alone = !before && !behind;
    return SOL_OK;
}

/* Where the white space in front of text[at] begins, not before `from`. */
static size_t spaces_before(const char *text, size_t from, size_t at)
{
    size_t len;
    const char *c;
    while (at > from && (c = char_before(text, at, &len), len > 0) &&
           sol_is_space(sol_utf8_get(c, len)))
        at -= len;
    return at > from ? at : from;
}

static size_t spaces_behind(const char *text, size_t n, size_t at)
{
    size_t len;
    while (at < n && (len = sol_utf8_char(text + at, n - at)) > 0 &&
           sol_is_space(sol_utf8_get(text + at, len)))
        at += len;
    return at;
}

typedef sol_status (*plain_fn)(sol_encoder *e, const char *text, size_t n, int flags, bool first,
                               bool prefix, sol_err *err);

/* Finds the set's tokens in text[0, n) and calls `plain` for what lies between them. A control
 * token that `flags` do not let pass hides the shorter ones in it. */
static sol_status encode_added(sol_encoder *e, const sol_added_set *s, const char *text, size_t n,
                               int flags, bool first, bool prefix, plain_fn plain, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    size_t done = 0;
    size_t end = s->n ? n : 0;
    for (size_t i = 0; i < end;) {
        const sol_added *a = sol_tok_longest_added(s, text + i, n - i);
        size_t from = i;
        i += a ? a->n : 1;
        if (!a || (t->type[a->id] == SOL_TOKEN_CONTROL && !(flags & SOL_ENCODE_SPECIAL))) continue;
        uint8_t how = sol_tok_added(t, a->id);
        size_t to = i;
        bool alone = true;
        if (how & SOL_ADDED_SINGLE_WORD) SOL_TRY(is_alone(e, text, n, from, to, &alone, err));
        if (!alone) continue;
        if (how & SOL_ADDED_LSTRIP) from = spaces_before(text, done, from);
        if (how & SOL_ADDED_RSTRIP) to = spaces_behind(text, n, to);
        if (done < from)
            SOL_TRY(plain(e, text + done, from - done, flags, first && done == 0, prefix, err));
        SOL_TRY(reserve(e->out, 1, err));
        e->out->id[e->out->n++] = a->id;
        prefix = true;
        done = to;
    }
    return done < n ? plain(e, text + done, n - done, flags, first && done == 0, prefix, err)
                    : SOL_OK;
}

static sol_status plain_normalized(sol_encoder *e, const char *text, size_t n, int flags,
                                   bool first, bool prefix, sol_err *err)
{
    (void)flags;
    return encode_plain(e, text, n, first, prefix, err);
}

static sol_status plain_raw(sol_encoder *e, const char *text, size_t n, int flags, bool first,
                            bool prefix, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    SOL_TRY(sol_normalizer_run(&t->normalizer, &e->normal, sol_pretok_regex_scratch(e->pretok),
                               prefix, &text, &n, err));
    return encode_added(e, &t->set[1], text, n, flags, first, prefix, plain_normalized, err);
}

sol_status sol_encoder_run(sol_encoder *e, const char *text, size_t n, int flags, sol_ids *ids,
                           sol_err *err)
{
    const sol_tokenizer *t = e->t;
    e->out = ids;
    SOL_TRY(reserve(ids, (e->take ? 0 : n / 3) + 2 * SOL_TOK_MAX_TEMPLATE, err));
    if (flags & SOL_ENCODE_BOS)
        for (int i = 0; i < t->n_head; i++) ids->id[ids->n++] = t->head[i];
    bool begins = !(flags & SOL_ENCODE_CONTINUE);
    SOL_TRY(encode_added(e, &t->set[0], text, n, flags, begins, begins, plain_raw, err));
    SOL_TRY(reserve(ids, SOL_TOK_MAX_TEMPLATE, err));
    if (flags & SOL_ENCODE_TAIL)
        for (int i = 0; i < t->n_tail; i++) ids->id[ids->n++] = t->tail[i];
    return SOL_OK;
}

sol_status sol_encoder_stream(sol_encoder *e, const char *text, size_t n, int flags,
                              sol_ids_fn take, void *user, sol_err *err)
{
    sol_ids rest = {0};
    e->take = take;
    e->user = user;
    sol_status st = sol_encoder_run(e, text, n, flags, &rest, err);
    if (st == SOL_OK && rest.n > 0) st = take(user, rest.id, rest.n, err);
    e->take = NULL;
    sol_ids_free(&rest);
    return st;
}

sol_status sol_tokenizer_encode(const sol_tokenizer *t, const char *text, size_t n, int flags,
                                sol_ids *ids, sol_err *err)
{
    sol_encoder *e;
    SOL_TRY(create(&e, t, false, err));
    sol_status st = sol_encoder_run(e, text, n, flags, ids, err);
    sol_encoder_free(&e);
    return st;
}

static sol_status last_ranks(sol_encoder *e, sol_ids *ids, int32_t *rank, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    e->out = ids;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        rank[id] = SOL_TOK_NOT_MERGED;
        if (t->type[id] != SOL_TOKEN_NORMAL) continue;
        ids->n = 0;
        SOL_TRY(merge_word(e, text, n, err));
        bool reached = ids->n == 1 && ids->id[0] == id;
        rank[id] = reached ? e->last_rank : ids->n == 2 ? SOL_TOK_TWO_LEFT : SOL_TOK_MORE_LEFT;
    }
    return SOL_OK;
}

sol_status sol_tok_last_ranks(const sol_tokenizer *t, int32_t *rank, sol_err *err)
{
    sol_encoder *e;
    sol_ids ids = {0};
    SOL_TRY(create(&e, t, false, err));
    sol_status st = last_ranks(e, &ids, rank, err);
    sol_ids_free(&ids);
    sol_encoder_free(&e);
    return st;
}
