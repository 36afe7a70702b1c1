/* Long words in pieces: whatever the merges, a word that is encoded part by part, and one that is
 * cut where sol_tokenizer_cut_word says, has the ids that the definition of BPE gives to the whole.
 * The input is settings, merges of a few letters, and runs of which a long text is made. */
#include <string.h>

#include "fuzz.h"
#include "text/tokenizer_impl.h"

enum { LETTERS = 4, MAX_MERGES = 24, MAX_TEXT = 96 << 10 };

static int32_t letter; /* the token of 'a', in front of those of the other letters */
static int32_t merged; /* the first token that a merge makes */

typedef struct input {
    const uint8_t *at, *end;
} input;

static unsigned take(input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* One of the letters, or of the tokens that merges have made. */
static int32_t symbol(input *in, const sol_tokenizer *t)
{
    int32_t i = (int32_t)take(in) % (LETTERS + t->n_tokens - merged);
    return i < LETTERS ? letter + i : merged + i - LETTERS;
}

static int32_t token_of(const sol_tokenizer *t, const char *text, size_t n)
{
    for (int32_t id = merged; id < t->n_tokens; id++) {
        size_t len;
        const char *have = sol_tok_text(t, id, &len);
        if (len == n && memcmp(have, text, n) == 0) return id;
    }
    return -1;
}

/* A merge of two symbols; of a long text, which is no token, none. */
static void add_merge(input *in, sol_tokenizer *t)
{
    static char text[2 * SOL_TOK_MAX_TOKEN_BYTES];
    int32_t left = symbol(in, t), right = symbol(in, t);
    size_t n_left, n_right;
    const char *l = sol_tok_text(t, left, &n_left), *r = sol_tok_text(t, right, &n_right);
    memcpy(text, l, n_left);
    memcpy(text + n_left, r, n_right);
    if (n_left + n_right > SOL_TOK_MAX_TOKEN_BYTES) return;
    int32_t id = token_of(t, text, n_left + n_right);
    if (id < 0) {
        fuzz_check(sol_tok_add(t, text, n_left + n_right, SOL_TOKEN_NORMAL, 0, NULL) == SOL_OK);
        id = t->n_tokens - 1;
    }
    fuzz_check(sol_tok_add_merge(t, left, right, id, NULL) == SOL_OK);
}

static void add(sol_tokenizer *t, char c, uint8_t type)
{
    fuzz_check(sol_tok_add(t, &c, 1, type, 0, NULL) == SOL_OK);
}

/* NULL: two merges are of the same pair. */
static sol_tokenizer *make(input *in, bool sentencepiece)
{
    sol_tokenizer *t;
    unsigned merges = take(in) % (MAX_MERGES + 1);
    fuzz_check(sol_tok_create(&t, sentencepiece ? SOL_TOK_SENTENCEPIECE : SOL_TOK_BYTE_LEVEL,
                              NULL) == SOL_OK);
    if (!sentencepiece) fuzz_check(sol_pretok_add(&t->pretok, SOL_REGEX_LLAMA3, NULL) == SOL_OK);
    for (int b = 0; b < 256; b++)
        add(t, (char)b, sentencepiece ? SOL_TOKEN_BYTE : SOL_TOKEN_NORMAL);
    for (int i = 0; sentencepiece && i < LETTERS; i++) add(t, (char)('a' + i), SOL_TOKEN_NORMAL);
    letter = sentencepiece ? t->n_tokens - LETTERS : 'a';
    merged = t->n_tokens;
    t->merges_given = t->byte_fallback = true;
    for (unsigned i = 0; i < merges; i++) add_merge(in, t);
    if (sol_tok_finish(t, "fuzz", NULL) != SOL_OK) sol_tokenizer_free(&t);
    return t;
}

/* The rest of the input, from first to last and again: a run of up to 64 symbols, repeated. */
static size_t make_text(input in, const sol_tokenizer *t, size_t want, char *text)
{
    const uint8_t *again = in.at;
    size_t n = 0, len;
    if (in.at == in.end) return 0;
    while (n < want) {
        int32_t run[64];
        if (in.at == in.end) in.at = again;
        unsigned times = 1u << take(&in) % 16, length = 1 + take(&in) % 64;
        for (unsigned i = 0; i < length; i++) run[i] = symbol(&in, t);
        for (unsigned i = 0; i < times * length && n < want; i++, n += len) {
            const char *s = sol_tok_text(t, run[i % length], &len);
            if (len > want - n) len = want - n;
            memcpy(text + n, s, len);
        }
    }
    return n;
}

/* ---- BPE by its definition: of all pairs the one of the lowest rank, of equal ones the leftmost,
 * as a heap of (rank, place) with ends that are out of date left in it ---- */

static uint64_t heap[3 * MAX_TEXT];
static size_t n_heap;
static int32_t id_at[MAX_TEXT], next_of[MAX_TEXT], prev_of[MAX_TEXT];

static void swap(size_t i, size_t k)
{
    uint64_t x = heap[i];
    heap[i] = heap[k];
    heap[k] = x;
}

static void offer(const sol_tokenizer *t, int32_t at)
{
    if (at < 0 || next_of[at] < 0) return;
    const sol_merge *m = sol_tok_pair(t, id_at[at], id_at[next_of[at]]);
    if (!m) return;
    heap[n_heap] = (uint64_t)m->rank << 32 | (uint32_t)at;
    for (size_t i = n_heap++; i > 0 && heap[i] < heap[(i - 1) / 2]; i = (i - 1) / 2)
        swap(i, (i - 1) / 2);
}

static uint64_t lowest(void)
{
    uint64_t top = heap[0];
    heap[0] = heap[--n_heap];
    for (size_t i = 0, child; (child = 2 * i + 1) < n_heap; i = child) {
        if (child + 1 < n_heap && heap[child + 1] < heap[child]) child++;
        if (heap[i] <= heap[child]) break;
        swap(i, child);
    }
    return top;
}

static void define(const sol_tokenizer *t, const char *text, size_t n, sol_ids *ids)
{
    fuzz_check(sol_grow_array((void **)&ids->id, &ids->capacity, n, sizeof *ids->id, NULL) ==
               SOL_OK);
    for (size_t i = 0; i < n; i++) {
        id_at[i] = letter + (text[i] - 'a');
        prev_of[i] = (int32_t)i - 1;
        next_of[i] = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < n; i++) offer(t, (int32_t)i);
    while (n_heap > 0) {
        uint64_t c = lowest();
        int32_t at = (int32_t)(uint32_t)c, right = next_of[at];
        const sol_merge *m =
            id_at[at] < 0 || right < 0 ? NULL : sol_tok_pair(t, id_at[at], id_at[right]);
        if (!m || m->rank != (int32_t)(c >> 32)) continue;
        id_at[at] = m->result;
        id_at[right] = -1;
        next_of[at] = next_of[right];
        if (next_of[at] >= 0) prev_of[next_of[at]] = at;
        offer(t, prev_of[at]);
        offer(t, at);
    }
    for (int32_t i = 0; i >= 0; i = next_of[i]) ids->id[ids->n++] = id_at[i];
}

static void expect(const sol_ids *want, const sol_ids *got)
{
    fuzz_check(want->n == got->n && memcmp(want->id, got->id, want->n * sizeof *want->id) == 0);
}

static void check(const sol_tokenizer *t, const char *text, size_t n, size_t seen)
{
    sol_ids want = {0}, whole = {0}, parts = {0};
    define(t, text, n, &want);
    fuzz_check(sol_tokenizer_encode(t, text, n, SOL_ENCODE_CONTINUE, &whole, NULL) == SOL_OK);
    expect(&want, &whole);
    size_t cut = sol_tokenizer_cut_word(t, text, seen, true);
    fuzz_check(cut < seen);
    fuzz_check(sol_tokenizer_encode(t, text, cut, SOL_ENCODE_CONTINUE, &parts, NULL) == SOL_OK);
    fuzz_check(sol_tokenizer_encode(t, text + cut, n - cut, SOL_ENCODE_CONTINUE, &parts, NULL) ==
               SOL_OK);
    expect(&want, &parts);
    sol_ids_free(&want);
    sol_ids_free(&whole);
    sol_ids_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[MAX_TEXT];
    input in = {data, data + size};
    unsigned settings = take(&in);
    size_t want = (1 + take(&in) % 16) * (MAX_TEXT / 16), seen = want * (1 + settings / 2) / 128;
    sol_tokenizer *t = make(&in, settings & 1);
    if (!t) return -1;
    size_t n = make_text(in, t, want, text);
    if (n > 0) check(t, text, n, seen);
    sol_tokenizer_free(&t);
    return 0;
}
