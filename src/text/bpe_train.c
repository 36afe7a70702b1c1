/* Byte-level BPE training, for the verb train-tokenizer: counts the words of the text, then merges
 * the most frequent pair of neighbours, over and over. A heap holds the pairs by count; an entry
 * whose count has fallen since it was pushed goes back with the right one when it comes up. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/docs.h"
#include "text/tokenizer_impl.h"

static const char bos_text[] = "<|begin_of_text|>", eos_text[] = "<|end_of_text|>";

typedef struct word {
    size_t at;     /* first symbol in trainer.symbol */
    int32_t n;     /* symbols now */
    int64_t count; /* occurrences in the text */
} word;

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t first;   /* head of the list of words that hold it, in trainer.links; -1: end */
    int32_t touched; /* the merge that made or enlarged it last: it is in trainer.touched once a
                        merge */
} pair;

typedef struct link {
    int32_t word, next;
} link;

typedef struct top { /* heap entry */
    int64_t count;
    int32_t pair;
} top;

typedef struct trainer {
    sol_bytemap counts; /* of words */
    word *words;
    size_t n_words;
    int32_t *symbol;
    pair *pairs; /* every pair ever seen */
    size_t n_pairs, cap_pairs;
    uint32_t *slot; /* index of a pair + 1 by hash */
    size_t n_slots;
    link *links;
    size_t n_links, cap_links;
    top *heap;
    size_t n_heap, cap_heap;
    int32_t *touched; /* pairs that one merge made or enlarged */
    size_t n_touched, cap_touched;
    sol_tokenizer *t;
} trainer;

static void trainer_free(trainer *tr)
{
    sol_bytemap_free(&tr->counts);
    sol_free(tr->words);
    sol_free(tr->symbol);
    sol_free(tr->pairs);
    sol_free(tr->slot);
    sol_free(tr->links);
    sol_free(tr->heap);
    sol_free(tr->touched);
    sol_tokenizer_free(&tr->t);
}

static sol_status count_word(void *user, const char *text, size_t n, sol_err *err)
{
    sol_bytemap_entry *e;
    SOL_TRY(sol_bytemap_put(user, text, n, &e, NULL, err));
    e->value++;
    return SOL_OK;
}

static sol_status tell(const sol_progress *p, const char *part, int64_t done, int64_t total,
                       sol_err *err)
{
    if (sol_progress_show(p, part, done, total)) return SOL_OK;
    return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted: nothing was written");
}

static sol_status count_docs(trainer *tr, sol_docs *docs, sol_batch *batch,
                             sol_pretok_scratch *scratch, const sol_progress *progress,
                             sol_err *err)
{
    for (;;) {
        uint64_t done, total;
        SOL_TRY(sol_docs_read(docs, batch, err));
        sol_docs_progress(docs, &done, &total);
        SOL_TRY(tell(progress, "words", (int64_t)done, (int64_t)total, err));
        if (batch->n_pieces == 0) return SOL_OK;
        for (size_t i = 0; i < batch->n_pieces; i++) {
            const sol_piece *p = &batch->piece[i];
            SOL_TRY(sol_pretok_run(&tr->t->pretok, scratch, batch->text + p->at, p->n,
                                   SOL_PLACE_FIRST, count_word, &tr->counts, err));
        }
    }
}

static sol_status count_files(trainer *tr, const sol_bpe_opts *bpe, sol_err *err)
{
    sol_docs_opts o = {.files = bpe->files,
                       .n_files = bpe->n_files,
                       .unix_lines = bpe->unix_lines,
                       .skip_bad = bpe->skip_bad,
                       .as = bpe->as,
                       .log = bpe->log,
                       .waits = &bpe->progress,
                       .cut = true,
                       .cut_lines = true,
                       .separator = {SOL_DOCS_SEPARATOR, eos_text}};
    sol_docs *docs = NULL;
    sol_batch batch = {0};
    sol_pretok_scratch *scratch = NULL;
    sol_status st = sol_docs_open(&docs, &o, err);
    if (st == SOL_OK) st = sol_pretok_scratch_create(&scratch, err);
    if (st == SOL_OK) st = count_docs(tr, docs, &batch, scratch, &bpe->progress, err);
    if (st == SOL_OK) sol_docs_report(docs);
    sol_pretok_scratch_free(&scratch);
    sol_batch_free(&batch);
    sol_docs_close(&docs);
    return st;
}

/* Ids 0 to 255 are the bytes in the order of the printable alphabet, as in GPT-2 and LLaMA-3. */
static sol_status add_bytes(trainer *tr, int32_t id_of[256], sol_err *err)
{
    for (uint32_t rune = 0; rune < 0x200; rune++) {
        for (int b = 0; b < 256; b++) {
            char byte = (char)b;
            if (sol_byte_to_rune((uint8_t)b) != rune) continue;
            id_of[b] = tr->t->n_tokens;
            SOL_TRY(sol_tok_add(tr->t, &byte, 1, SOL_TOKEN_NORMAL, 0, err));
        }
    }
    return SOL_OK;
}

static sol_status make_words(trainer *tr, const int32_t id_of[256], sol_err *err)
{
    if (tr->counts.n > INT32_MAX || tr->counts.n_bytes > INT32_MAX)
        return sol_fail(err, SOL_ERR_RANGE, "%zu different words are too many to train on",
                        tr->counts.n);
    SOL_TRY(sol_alloc_array((void **)&tr->words, tr->counts.n, sizeof *tr->words, err));
    SOL_TRY(sol_alloc_array((void **)&tr->symbol, tr->counts.n_bytes, sizeof *tr->symbol, err));
    tr->n_words = tr->counts.n;
    for (size_t i = 0; i < tr->counts.n_bytes; i++)
        tr->symbol[i] = id_of[(uint8_t)tr->counts.bytes[i]];
    for (size_t w = 0; w < tr->n_words; w++) {
        const sol_bytemap_entry *e = &tr->counts.entry[w];
        tr->words[w] = (word){e->at, (int32_t)e->n, e->value};
    }
    return SOL_OK;
}

static size_t pair_slot(const trainer *tr, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t mask = tr->n_slots - 1;
    for (size_t i = (size_t)(key >> 32) & mask;; i = (i + 1) & mask) {
        if (!tr->slot[i]) return i;
        const pair *p = &tr->pairs[tr->slot[i] - 1];
        if (p->left == left && p->right == right) return i;
    }
}

static sol_status grow_slots(trainer *tr, sol_err *err)
{
    uint32_t *slot;
    size_t n_slots = tr->n_slots ? tr->n_slots * 2 : 1 << 12;
    SOL_TRY(sol_alloc_array((void **)&slot, n_slots, sizeof *slot, err));
    sol_free(tr->slot);
    tr->slot = slot;
    tr->n_slots = n_slots;
    for (size_t i = 0; i < tr->n_pairs; i++)
        tr->slot[pair_slot(tr, tr->pairs[i].left, tr->pairs[i].right)] = (uint32_t)i + 1;
    return SOL_OK;
}

/* Adds `count` occurrences of a pair in word w. */
static sol_status add_pair(trainer *tr, int32_t left, int32_t right, int32_t w, int64_t count,
                           sol_err *err)
{
    if ((tr->n_pairs + 1) * 2 > tr->n_slots) SOL_TRY(grow_slots(tr, err));
    size_t i = pair_slot(tr, left, right);
    if (!tr->slot[i]) {
        SOL_TRY(sol_grow_array((void **)&tr->pairs, &tr->cap_pairs, tr->n_pairs + 1,
                               sizeof *tr->pairs, err));
        tr->pairs[tr->n_pairs] = (pair){left, right, 0, -1, -1};
        tr->slot[i] = (uint32_t)++tr->n_pairs;
    }
    int32_t index = (int32_t)tr->slot[i] - 1;
    pair *p = &tr->pairs[index];
    p->count += count;
    if (p->touched != (int32_t)tr->t->n_merges) {
        p->touched = (int32_t)tr->t->n_merges;
        SOL_TRY(sol_grow_array((void **)&tr->touched, &tr->cap_touched, tr->n_touched + 1,
                               sizeof *tr->touched, err));
        tr->touched[tr->n_touched++] = index;
    }
    if (p->first >= 0 && tr->links[p->first].word == w)
        return SOL_OK; /* it is in the list already */
    if (tr->n_links >= INT32_MAX)
        return sol_fail(err, SOL_ERR_RANGE, "too much text to train a tokenizer on");
    SOL_TRY(sol_grow_array((void **)&tr->links, &tr->cap_links, tr->n_links + 1, sizeof *tr->links,
                           err));
    tr->links[tr->n_links] = (link){w, p->first};
    p->first = (int32_t)tr->n_links++;
    return SOL_OK;
}

static void take_pair(trainer *tr, int32_t left, int32_t right, int64_t count)
{
    size_t i = pair_slot(tr, left, right);
    if (tr->slot[i]) tr->pairs[tr->slot[i] - 1].count -= count;
}

/* More frequent first, then lower ids. */
static bool above(const trainer *tr, const top *a, const top *b)
{
    const pair *p = &tr->pairs[a->pair], *q = &tr->pairs[b->pair];
    if (a->count != b->count) return a->count > b->count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static sol_status heap_push(trainer *tr, int32_t index, sol_err *err)
{
    top e = {tr->pairs[index].count, index};
    SOL_TRY(
        sol_grow_array((void **)&tr->heap, &tr->cap_heap, tr->n_heap + 1, sizeof *tr->heap, err));
    size_t i = tr->n_heap++;
    for (; i > 0 && above(tr, &e, &tr->heap[(i - 1) / 2]); i = (i - 1) / 2)
        tr->heap[i] = tr->heap[(i - 1) / 2];
    tr->heap[i] = e;
    return SOL_OK;
}

static top heap_pop(trainer *tr)
{
    top first = tr->heap[0], e = tr->heap[--tr->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < tr->n_heap; i = child) {
        if (child + 1 < tr->n_heap && above(tr, &tr->heap[child + 1], &tr->heap[child])) child++;
        if (!above(tr, &tr->heap[child], &e)) break;
        tr->heap[i] = tr->heap[child];
    }
    tr->heap[i] = e;
    return first;
}

/* Puts the pairs that the last merge made or enlarged on the heap. */
static sol_status push_touched(trainer *tr, sol_err *err)
{
    for (size_t i = 0; i < tr->n_touched; i++)
        if (tr->pairs[tr->touched[i]].count > 0) SOL_TRY(heap_push(tr, tr->touched[i], err));
    tr->n_touched = 0;
    return SOL_OK;
}

static sol_status count_pairs(trainer *tr, sol_err *err)
{
    for (size_t w = 0; w < tr->n_words; w++) {
        const int32_t *s = tr->symbol + tr->words[w].at;
        for (int32_t i = 0; i + 1 < tr->words[w].n; i++)
            SOL_TRY(add_pair(tr, s[i], s[i + 1], (int32_t)w, tr->words[w].count, err));
    }
    tr->n_touched = 0;
    for (size_t i = 0; i < tr->n_pairs; i++) SOL_TRY(heap_push(tr, (int32_t)i, err));
    return SOL_OK;
}

/* Replaces the pair in one word and moves the counts of its neighbours. */
static sol_status merge_in_word(trainer *tr, int32_t w, int32_t left, int32_t right, int32_t result,
                                sol_err *err)
{
    word *x = &tr->words[w];
    int32_t *s = tr->symbol + x->at, n = x->n, out = 0;
    for (int32_t i = 0; i < n; i++) {
        if (i + 1 >= n || s[i] != left || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) {
            take_pair(tr, s[out - 1], left, x->count);
            SOL_TRY(add_pair(tr, s[out - 1], result, w, x->count, err));
        }
        if (i + 2 < n) {
            take_pair(tr, right, s[i + 2], x->count);
            SOL_TRY(add_pair(tr, result, s[i + 2], w, x->count, err));
        }
        s[out++] = result;
        i++;
    }
    x->n = out;
    return SOL_OK;
}

/* Finds or adds the token of a text. Two pairs can spell one text; the second is then a merge to
 * the same token, which costs no id. */
static sol_status token_of_text(sol_tokenizer *t, const char *text, size_t n, int32_t *id,
                                sol_err *err)
{
    sol_bytemap_entry *e;
    int is_new;
    SOL_TRY(sol_bytemap_put(&t->words, text, n, &e, &is_new, err));
    if (is_new) {
        e->value = t->n_tokens;
        SOL_TRY(sol_tok_add(t, text, n, SOL_TOKEN_NORMAL, 0, err));
    }
    *id = (int32_t)e->value;
    return SOL_OK;
}

static sol_status token_of_pair(sol_tokenizer *t, int32_t left, int32_t right, int32_t *id,
                                sol_err *err)
{
    size_t n_left, n_right;
    const char *left_text = sol_tok_text(t, left, &n_left),
               *right_text = sol_tok_text(t, right, &n_right);
    char *both;
    SOL_TRY(sol_alloc_array((void **)&both, n_left + n_right, 1, err));
    memcpy(both, left_text, n_left);
    memcpy(both + n_left, right_text, n_right);
    sol_status st = token_of_text(t, both, n_left + n_right, id, err);
    sol_free(both);
    return st;
}

static sol_status merge_best(trainer *tr, int32_t index, sol_err *err)
{
    pair p = tr->pairs[index];
    int32_t result;
    SOL_TRY(token_of_pair(tr->t, p.left, p.right, &result, err));
    SOL_TRY(sol_tok_add_merge(tr->t, p.left, p.right, result, err));
    for (int32_t l = p.first; l >= 0; l = tr->links[l].next)
        SOL_TRY(merge_in_word(tr, tr->links[l].word, p.left, p.right, result, err));
    tr->pairs[index].count = 0;
    tr->pairs[index].first = -1;
    return push_touched(tr, err);
}

/* Merges the best pair of those that make tokens `first` to n_tokens. */
static sol_status merge_and_tell(trainer *tr, int32_t index, int32_t first, int32_t n_tokens,
                                 const sol_progress *progress, sol_err *err)
{
    SOL_TRY(merge_best(tr, index, err));
    return tell(progress, "merges", tr->t->n_tokens - first, n_tokens - first, err);
}

static sol_status learn_merges(trainer *tr, int32_t n_tokens, const sol_progress *progress,
                               sol_err *err)
{
    int32_t first = tr->t->n_tokens;
    SOL_TRY(count_pairs(tr, err));
    while (tr->t->n_tokens < n_tokens) {
        if (tr->n_heap == 0)
            return sol_fail(err, SOL_ERR_RANGE,
                            "the text yields %d tokens only: too little for a vocabulary of %d",
                            tr->t->n_tokens + 2, n_tokens + 2);
        top best = heap_pop(tr);
        int64_t count = tr->pairs[best.pair].count;
        if (count == best.count && count > 0)
            SOL_TRY(merge_and_tell(tr, best.pair, first, n_tokens, progress, err));
        else if (count > 0 && count < best.count)
            SOL_TRY(heap_push(tr, best.pair, err));
    }
    return SOL_OK;
}

static sol_status add_specials(sol_tokenizer *t, sol_err *err)
{
    t->bos = t->head[0] = t->n_tokens;
    t->n_head = 1;
    SOL_TRY(sol_tok_add(t, bos_text, sizeof bos_text - 1, SOL_TOKEN_CONTROL, 0, err));
    t->eos = t->n_tokens;
    return sol_tok_add(t, eos_text, sizeof eos_text - 1, SOL_TOKEN_CONTROL, 0, err);
}

static sol_status train(trainer *tr, const sol_bpe_opts *o, sol_err *err)
{
    int32_t id_of[256];
    SOL_TRY(sol_tok_create(&tr->t, SOL_TOK_BYTE_LEVEL, err));
    SOL_TRY(sol_pretok_add(&tr->t->pretok, SOL_REGEX_LLAMA3, err));
    SOL_TRY(count_files(tr, o, err));
    if (tr->counts.n == 0)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: no text in it",
                        o->n_files ? o->files[0] : "no files");
    SOL_TRY(add_bytes(tr, id_of, err));
    SOL_TRY(make_words(tr, id_of, err));
    SOL_TRY(learn_merges(tr, o->vocab_size - 2, &o->progress, err));
    SOL_TRY(add_specials(tr->t, err));
    sol_bytemap_free(&tr->t->words); /* sol_tok_finish fills it anew */
    return sol_tok_finish(tr->t, "trained tokenizer", err);
}

sol_status sol_bpe_train(const sol_bpe_opts *o, const char *out_path, sol_err *err)
{
    enum { LEAST = 258 };
    trainer tr = {0};
    char *json = NULL;
    size_t size;
    if (o->vocab_size < LEAST || o->vocab_size > SOL_TOK_MAX_IDS)
        return sol_fail(err, SOL_ERR_USAGE,
                        "a vocabulary of %d: from %d (256 bytes and 2 special tokens) to %d fit",
                        o->vocab_size, LEAST, SOL_TOK_MAX_IDS);
    sol_status st = train(&tr, o, err);
    if (st == SOL_OK) st = sol_tokenizer_to_json(tr.t, &json, &size, err);
    if (st == SOL_OK) st = sol_file_write(out_path, json, size, err);
    sol_free(json);
    trainer_free(&tr);
    return st;
}
