/* Text to ids: special tokens, then words, then merges inside each word, with a cache of words. */
#include <string.h>

#include "base/mem.h"
#include "text/docs.h"
#include "text/tokenizer_impl.h"

enum {
    CACHE_SLOTS = 1 << 14, /* a power of two; 1 MiB in all */
    CACHE_KEY = 24,        /* longer words are not cached */
    CACHE_IDS = 8,
    SCAN_MAX = 48 /* words of more symbols go through the heap */
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

struct sol_encoder {
    const sol_tokenizer *t;
    sol_pretok_scratch *pretok;
    cache_slot *cache; /* NULL: none */
    sol_ids *out;      /* of the running call */
    node *nodes;
    candidate *heap;
    size_t cap_nodes, cap_heap;
    char *text; /* SentencePiece: the text with its leading blank */
    size_t cap_text;
    int32_t last_rank; /* of the last merge in the last word; -1: none was made */
};

static sol_status create(sol_encoder **out, const sol_tokenizer *t, bool cached, sol_err *err)
{
    sol_encoder *e;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&e, 1, sizeof *e, err);
    if (st != SOL_OK) return st;
    e->t = t;
    if (t->kind == SOL_TOK_BYTE_LEVEL) st = sol_pretok_scratch_create(&e->pretok, err);
    if (st == SOL_OK && cached) st = sol_alloc_array((void **)&e->cache, CACHE_SLOTS, sizeof *e->cache, err);
    if (st != SOL_OK) sol_encoder_free(&e);
    *out = e;
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
    sol_free(e);
    *ep = NULL;
}

static inline sol_status room(sol_ids *ids, size_t n, sol_err *err)
{
    if (ids->n + n <= ids->capacity) return SOL_OK;
    return sol_grow_array((void **)&ids->id, &ids->capacity, ids->n + n, sizeof *ids->id, err);
}

/* Splits a word into its first symbols, at most one a byte. Returns how many. */
static size_t first_symbols(const sol_tokenizer *t, const char *word, size_t n, int32_t *id)
{
    size_t count = 0;
    if (t->kind == SOL_TOK_BYTE_LEVEL) {
        for (size_t i = 0; i < n; i++) {
            id[count] = t->byte_id[(uint8_t)word[i]];
            count += id[count] >= 0;
        }
        return count;
    }
    for (size_t i = 0; i < n;) { /* a character that is a token, or its bytes */
        size_t len = sol_utf8_char(word + i, n - i);
        const sol_bytemap_entry *e = len ? sol_bytemap_get(&t->words, word + i, len) : NULL;
        if (e)
            id[count++] = (int32_t)e->value;
        else
            for (size_t k = 0; k < (len ? len : 1); k++) id[count++] = t->byte_id[(uint8_t)word[i + k]];
        i += len ? len : 1;
    }
    return count;
}

/* Merges id[0, n) in place, n <= SCAN_MAX: the best pair is found by looking at all. Returns the new count. */
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

/* The same result for any length in O(n log n). Each merge retires one node and offers at most two new pairs,
 * so the heap never holds more than 3 n. */
static sol_status merge_by_heap(sol_encoder *e, int32_t *id, size_t *n_ids, sol_err *err)
{
    size_t n = *n_ids, n_heap = 0;
    if (n > INT32_MAX / 4) return sol_fail(err, SOL_ERR_RANGE, "a word of %zu bytes is too long to encode", n);
    sol_status st = sol_grow_array((void **)&e->nodes, &e->cap_nodes, n, sizeof *e->nodes, err);
    if (st == SOL_OK) st = sol_grow_array((void **)&e->heap, &e->cap_heap, 3 * n, sizeof *e->heap, err);
    if (st != SOL_OK) return st;
    for (size_t i = 0; i < n; i++) e->nodes[i] = (node){id[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
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
    for (int32_t i = 0; i >= 0; i = e->nodes[i].next) id[count++] = e->nodes[i].id;
    *n_ids = count;
    return SOL_OK;
}

static sol_status merge_word(sol_encoder *e, const char *word, size_t n, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    sol_status st = room(e->out, n, err);
    if (st != SOL_OK) return st;
    int32_t *id = e->out->id + e->out->n;
    size_t count = 1;
    e->last_rank = -1;
    const sol_bytemap_entry *whole = t->ignore_merges ? sol_bytemap_get(&t->words, word, n) : NULL;
    if (whole) {
        id[0] = (int32_t)whole->value;
    } else {
        count = first_symbols(t, word, n, id);
        if (count <= SCAN_MAX) /* 0 symbols: every byte was left out */
            count = merge_by_scan(e, id, count);
        else
            st = merge_by_heap(e, id, &count, err);
    }
    if (st == SOL_OK) e->out->n += count;
    return st;
}

static sol_status encode_word(void *user, const char *word, size_t n, sol_err *err)
{
    sol_encoder *e = user;
    if (n > CACHE_KEY || !e->cache) return merge_word(e, word, n, err);
    cache_slot *c = &e->cache[sol_hash_bytes(word, n) & (CACHE_SLOTS - 1)];
    if (c->n_key == n && memcmp(c->key, word, n) == 0) {
        sol_status st = room(e->out, CACHE_IDS, err);
        if (st != SOL_OK) return st;
        memcpy(e->out->id + e->out->n, c->id, sizeof c->id);
        e->out->n += c->n_ids;
        return SOL_OK;
    }
    size_t from = e->out->n;
    sol_status st = merge_word(e, word, n, err);
    size_t count = e->out->n - from;
    if (st != SOL_OK || count > CACHE_IDS) return st;
    memcpy(c->key, word, n);
    memcpy(c->id, e->out->id + from, count * sizeof *c->id);
    c->n_key = (uint8_t)n;
    c->n_ids = (uint8_t)count;
    return SOL_OK;
}

/* Words that begin where a blank follows a non-blank. */
static sol_status encode_sentencepiece(sol_encoder *e, const char *text, size_t n, bool prefix, sol_err *err)
{
    if (prefix && e->t->add_space_prefix) {
        sol_status st = sol_grow_array((void **)&e->text, &e->cap_text, n + 1, 1, err);
        if (st != SOL_OK) return st;
        e->text[0] = ' ';
        memcpy(e->text + 1, text, n);
        text = e->text;
        n++;
    }
    size_t from = 0;
    for (size_t i = 1; e->t->word_local && i < n; i++) {
        if (text[i] != ' ' || text[i - 1] == ' ') continue;
        sol_status st = encode_word(e, text + from, i - from, err);
        if (st != SOL_OK) return st;
        from = i;
    }
    return encode_word(e, text + from, n - from, err);
}

/* Text without special tokens. */
static sol_status encode_plain(sol_encoder *e, const char *text, size_t n, bool prefix, sol_err *err)
{
    if (n == 0) return SOL_OK;
    if (e->t->kind == SOL_TOK_SENTENCEPIECE) return encode_sentencepiece(e, text, n, prefix, err);
    return sol_pretok_run(&e->t->pretok, e->pretok, text, n, encode_word, e, err);
}

/* The longest special token at text[0, n) that `flags` let pass; -1: none. */
static int32_t special_at(const sol_tokenizer *t, const char *text, size_t n, int flags, size_t *len)
{
    uint8_t first = (uint8_t)text[0];
    for (int32_t i = t->special_first[first]; i < t->special_first[first + 1]; i++) {
        int32_t id = t->special[i];
        const char *special = sol_tok_text(t, id, len);
        if (t->type[id] == SOL_TOKEN_CONTROL && !(flags & SOL_ENCODE_SPECIAL)) continue;
        if (*len <= n && memcmp(text, special, *len) == 0) return id;
    }
    return -1;
}

static sol_status encode_text(sol_encoder *e, const char *text, size_t n, int flags, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    size_t from = 0, len;
    bool prefix = !(flags & SOL_ENCODE_CONTINUE);
    for (size_t i = 0; t->n_special && i < n; i++) {
        int32_t id = special_at(t, text + i, n - i, flags, &len);
        if (id < 0) continue;
        sol_status st = encode_plain(e, text + from, i - from, prefix, err);
        if (st == SOL_OK) st = room(e->out, 1, err);
        if (st != SOL_OK) return st;
        e->out->id[e->out->n++] = id;
        prefix = true;
        from = i + len;
        i = from - 1;
    }
    return encode_plain(e, text + from, n - from, prefix, err);
}

sol_status sol_encoder_run(sol_encoder *e, const char *text, size_t n, int flags, sol_ids *ids, sol_err *err)
{
    const sol_tokenizer *t = e->t;
    e->out = ids;
    sol_status st = room(ids, n / 3 + 2 * SOL_TOK_MAX_TEMPLATE, err);
    if (st != SOL_OK) return st;
    if (flags & SOL_ENCODE_BOS)
        for (int i = 0; i < t->n_head; i++) ids->id[ids->n++] = t->head[i];
    st = encode_text(e, text, n, flags, err);
    if (st == SOL_OK) st = room(ids, SOL_TOK_MAX_TEMPLATE, err);
    if (st == SOL_OK && (flags & SOL_ENCODE_TAIL))
        for (int i = 0; i < t->n_tail; i++) ids->id[ids->n++] = t->tail[i];
    return st;
}

sol_status sol_tokenizer_encode(const sol_tokenizer *t, const char *text, size_t n, int flags, sol_ids *ids,
                                sol_err *err)
{
    sol_encoder *e;
    sol_status st = create(&e, t, false, err);
    if (st == SOL_OK) st = sol_encoder_run(e, text, n, flags, ids, err);
    sol_encoder_free(&e);
    return st;
}

sol_status sol_tok_last_ranks(const sol_tokenizer *t, int32_t *rank, sol_err *err)
{
    sol_encoder *e;
    sol_ids ids = {0};
    size_t n;
    sol_status st = create(&e, t, false, err);
    if (st == SOL_OK) e->out = &ids;
    for (int32_t id = 0; st == SOL_OK && id < t->n_tokens; id++) {
        const char *text = sol_tok_text(t, id, &n);
        rank[id] = SOL_TOK_NOT_MERGED;
        if (t->type[id] != SOL_TOKEN_NORMAL) continue;
        ids.n = 0;
        st = merge_word(e, text, n, err);
        bool reached = ids.n == 1 && ids.id[0] == id;
        rank[id] = reached ? e->last_rank : ids.n == 2 ? SOL_TOK_TWO_LEFT : SOL_TOK_MORE_LEFT;
    }
    sol_ids_free(&ids);
    sol_encoder_free(&e);
    return st;
}

bool sol_tokenizer_can_cut(const sol_tokenizer *t)
{
    return t->kind == SOL_TOK_BYTE_LEVEL ? sol_pretok_is_known(&t->pretok) : t->word_local;
}

bool sol_tokenizer_can_cut_lines(const sol_tokenizer *t)
{
    return t->kind == SOL_TOK_BYTE_LEVEL && sol_tokenizer_can_cut(t);
}

size_t sol_tokenizer_cut(const sol_tokenizer *t, const char *text, size_t n)
{
    return sol_tokenizer_can_cut(t) ? sol_text_last_cut(text, n, sol_tokenizer_can_cut_lines(t)) : 0;
}
