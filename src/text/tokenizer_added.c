/* Control and user tokens: indexes what encode.c looks for in a text before it cuts the text into
 * words, and makes the pieces that decoding shows. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

void sol_tok_added_free(sol_tokenizer *t)
{
    sol_free(t->set[0].token);
    sol_free(t->set[1].token);
    sol_free(t->normal_text);
    sol_regex_free(&t->word_char);
}

static int by_bytes_then_id(const void *a, const void *b)
{
    const sol_added *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Fills t->normal_text and end, which normalize_texts describes. */
static sol_status append_normalized(sol_tokenizer *t, sol_normal_scratch *scratch,
                                    sol_regex_scratch *regex, size_t *end, sol_err *err)
{
    size_t n_text = 0, cap = 0, n_done = 0;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n;
        const char *text = sol_tok_text(t, id, &n);
        if (!(sol_tok_added(t, id) & SOL_ADDED_NORMALIZED)) continue;
        SOL_TRY(sol_normalizer_run(&t->normalizer, scratch, regex, true, &text, &n, err));
        if (n == 0)
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "nothing is left of added token %d when it is normalized", id);
        SOL_TRY(sol_grow_array((void **)&t->normal_text, &cap, n_text + n, 1, err));
        memcpy(t->normal_text + n_text, text, n);
        n_text += n;
        end[n_done++] = n_text;
    }
    return SOL_OK;
}

/* Puts the normalized texts of SOL_ADDED_NORMALIZED tokens into t->normal_text; that of the i-th
 * ends at end[i]. */
static sol_status normalize_texts(sol_tokenizer *t, size_t *end, sol_err *err)
{
    sol_normal_scratch scratch = {0};
    sol_regex_scratch *regex;
    SOL_TRY(sol_regex_scratch_create(&regex, err));
    sol_status st = append_normalized(t, &scratch, regex, end, err);
    sol_normal_scratch_free(&scratch);
    sol_regex_scratch_free(&regex);
    return st;
}

/* Sorts a set for sol_tok_longest_added: first[b] becomes the first token that begins with b. */
static sol_status sort_set(sol_added_set *s, bool unique, sol_err *err)
{
    if (s->n) qsort(s->token, (size_t)s->n, sizeof *s->token, by_bytes_then_id);
    for (int32_t i = 0; i < s->n; i++) {
        const sol_added *a = &s->token[i];
        s->first[(uint8_t)a->text[0] + 1]++;
        if (unique && i && a->n == a[-1].n && memcmp(a->text, a[-1].text, a->n) == 0)
            return sol_fail(err, SOL_ERR_FORMAT,
                            "added tokens %d and %d are looked for as the same text", a[-1].id,
                            a->id);
    }
    for (int b = 0; b < 256; b++) s->first[b + 1] += s->first[b];
    return SOL_OK;
}

/* The first of token[lo, hi), which share their first k bytes and are longer, whose next one is not
 * below `byte`. */
static int32_t find_byte(const sol_added *token, int32_t lo, int32_t hi, size_t k, int byte)
{
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if ((uint8_t)token[mid].text[k] < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* token[lo, hi) begin with text[0, k); the one that ends there comes first. */
const sol_added *sol_tok_longest_added(const sol_added_set *s, const char *text, size_t n)
{
    const sol_added *longest = NULL;
    int32_t lo = s->first[(uint8_t)text[0]], hi = s->first[(uint8_t)text[0] + 1];
    for (size_t k = 1; lo < hi; k++) {
        if (s->token[lo].n == k) longest = &s->token[lo];
        while (lo < hi && s->token[lo].n == k) lo++;
        if (k == n) break;
        lo = find_byte(s->token, lo, hi, k, (uint8_t)text[k]);
        hi = find_byte(s->token, lo, hi, k, (uint8_t)text[k] + 1);
    }
    return longest;
}

/* n: the tokens of each set, of which those of the second are looked for in normalized text. end:
 * [n[1]], a buffer. */
static sol_status fill_sets(sol_tokenizer *t, const size_t n[2], size_t *end, sol_err *err)
{
    size_t k = 0;
    for (int i = 0; i < 2; i++)
        SOL_TRY(sol_alloc_array((void **)&t->set[i].token, n[i], sizeof *t->set[i].token, err));
    if (n[1]) SOL_TRY(normalize_texts(t, end, err));
    for (int32_t id = 0; id < t->n_tokens; id++) {
        if (!sol_tok_is_added(t, id)) continue;
        bool normalized = sol_tok_added(t, id) & SOL_ADDED_NORMALIZED;
        sol_added_set *s = &t->set[normalized];
        sol_added *a = &s->token[s->n++];
        a->id = id;
        a->text = sol_tok_text(t, id, &a->n);
        if (a->n == 0) return sol_fail(err, SOL_ERR_FORMAT, "special token %d is empty", id);
        if (!normalized) continue;
        size_t from = k ? end[k - 1] : 0;
        a->text = t->normal_text + from;
        a->n = end[k++] - from;
    }
    SOL_TRY(sort_set(&t->set[0], false, err));
    return sort_set(&t->set[1], true, err);
}

sol_status sol_tok_index_added(sol_tokenizer *t, sol_err *err)
{
    size_t n[2] = {0}, *end;
    bool single = false;
    for (int32_t id = 0; id < t->n_tokens; id++) {
        uint8_t flags = sol_tok_added(t, id);
        if (!sol_tok_is_added(t, id)) continue;
        n[flags & SOL_ADDED_NORMALIZED ? 1 : 0]++;
        single |= (flags & SOL_ADDED_SINGLE_WORD) != 0;
    }
    SOL_TRY(sol_alloc_array((void **)&end, n[1], sizeof *end, err));
    sol_status st = fill_sets(t, n, end, err);
    sol_free(end);
    SOL_TRY(st);
    return single ? sol_regex_create(&t->word_char, SOL_REGEX_RUST_WORD, err) : SOL_OK;
}

/* ---- decoding ---- */

const char *sol_tok_shown_text(const sol_tokenizer *t, int32_t id, size_t *n)
{
    const sol_added_set *s = &t->set[1];
    if (sol_tok_added(t, id) & SOL_ADDED_NORMALIZED)
        for (int32_t i = 0; i < s->n; i++) {
            *n = s->token[i].n;
            if (s->token[i].id == id) return s->token[i].text;
        }
    return sol_tok_text(t, id, n);
}

void sol_decoder_free(sol_decoder *d)
{
    for (int i = 0; i < d->n_replace; i++) {
        sol_free(d->find[i]);
        sol_free(d->content[i]);
    }
    *d = (sol_decoder){0};
}

/* Appends `from`, with every `find` replaced, to p. find is not empty. */
static sol_status append_replaced(sol_pieces *p, const char *from, size_t n, const char *find,
                                  const char *content, sol_err *err)
{
    size_t n_find = strlen(find), n_content = strlen(content);
    for (size_t i = 0; i < n;) {
        bool hit = n - i >= n_find && memcmp(from + i, find, n_find) == 0;
        SOL_TRY(sol_grow_array((void **)&p->bytes, &p->cap_bytes,
                               p->n_bytes + (hit ? n_content : 1), 1, err));
        memcpy(p->bytes + p->n_bytes, hit ? content : from + i, hit ? n_content : 1);
        p->n_bytes += hit ? n_content : 1;
        i += hit ? n_find : 1;
    }
    return SOL_OK;
}

/* Takes a token's text through the decoder's steps. *text is then in one of the two buffers, or the
 * token's own. */
static sol_status decode_token(const sol_decoder *d, sol_pieces buffer[2], bool first,
                               const char **text, size_t *n, sol_err *err)
{
    for (int i = 0; i <= d->n_replace; i++) {
        bool space = i == d->n_replace;
        if (space && !d->space[0]) break;
        sol_pieces *to = &buffer[i & 1];
        to->n_bytes = 0;
        const char *content = !space ? d->content[i] : first && d->drop_first ? "" : " ";
        SOL_TRY(append_replaced(to, *text, *n, space ? d->space : d->find[i], content, err));
        *text = to->bytes;
        *n = to->n_bytes;
    }
    return SOL_OK;
}

/* Takes away what Strip takes from the beginning of a text. */
static void strip_start(const sol_decoder *d, const char **text, size_t *n)
{
    size_t n_strip = strlen(d->strip);
    for (int i = 0; i < d->n_strip && *n >= n_strip && memcmp(*text, d->strip, n_strip) == 0; i++) {
        *text += n_strip;
        *n -= n_strip;
    }
}

/* Appends the piece of token `id` to p; `first`: as it stands at the beginning of a text. */
static sol_status append_piece(const sol_tokenizer *t, int32_t id, bool first, sol_pieces buffer[2],
                               sol_pieces *p, sol_err *err)
{
    size_t n;
    const char *text = sol_tok_shown_text(t, id, &n);
    int value = t->decoder.bytes ? sol_byte_token(text, n) : -1;
    char byte = (char)value;
    if (value >= 0) {
        text = &byte;
        n = 1;
    } else {
        SOL_TRY(decode_token(&t->decoder, buffer, first, &text, &n, err));
    }
    if (first) strip_start(&t->decoder, &text, &n);
    SOL_TRY(sol_grow_array((void **)&p->bytes, &p->cap_bytes, p->n_bytes + n, 1, err));
    if (n) memcpy(p->bytes + p->n_bytes, text, n);
    p->n_bytes += n;
    p->end[id] = p->n_bytes;
    return SOL_OK;
}

static sol_status append_pieces(sol_tokenizer *t, sol_pieces buffer[2], sol_err *err)
{
    for (int first = 0; first < 2; first++) {
        sol_pieces *p = &t->piece[first];
        SOL_TRY(sol_alloc_array((void **)&p->end, (size_t)t->n_tokens, sizeof *p->end, err));
        for (int32_t id = 0; id < t->n_tokens; id++)
            SOL_TRY(append_piece(t, id, first, buffer, p, err));
    }
    return SOL_OK;
}

sol_status sol_tok_index_pieces(sol_tokenizer *t, sol_err *err)
{
    sol_pieces buffer[2] = {{0}};
    sol_status st = append_pieces(t, buffer, err);
    sol_free(buffer[0].bytes);
    sol_free(buffer[1].bytes);
    return st;
}
