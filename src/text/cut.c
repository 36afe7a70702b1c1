/* Where a text may be cut into parts whose ids, one part after the other, are those of the whole.
 * docs.c asks sol_tokenizer_cut_word for a place inside a word; places between words it finds
 * itself (sol_text_last_cut), where sol_tokenizer_can_cut allows it. */
#include <string.h>

#include "text/docs.h"
#include "text/tokenizer_impl.h"

bool sol_tokenizer_can_cut(const sol_tokenizer *t)
{
    return t->can_cut;
}

bool sol_tokenizer_can_cut_lines(const sol_tokenizer *t)
{
    return t->kind == SOL_TOK_BYTE_LEVEL && t->can_cut;
}

size_t sol_tokenizer_cut(const sol_tokenizer *t, const char *text, size_t n)
{
    return t->can_cut ? sol_text_last_cut(text, n, sol_tokenizer_can_cut_lines(t)) : 0;
}

/* Whether the ids of text[0, cut) and text[cut, n) are those of the whole. */
static bool keeps_ids(const sol_tokenizer *t, const char *text, size_t n, int flags,
                      const sol_ids *whole, size_t cut)
{
    sol_ids parts = {0};
    bool same =
        sol_tokenizer_encode(t, text, cut, flags, &parts, NULL) == SOL_OK &&
        sol_tokenizer_encode(t, text + cut, n - cut, SOL_ENCODE_CONTINUE, &parts, NULL) == SOL_OK &&
        parts.n == whole->n && memcmp(parts.id, whole->id, whole->n * sizeof *whole->id) == 0;
    sol_ids_free(&parts);
    return same;
}

/* How many bytes of text the first i ids stand for, if each decodes to what it was made of. */
static size_t bytes_of(const sol_tokenizer *t, const sol_ids *ids, size_t i, bool continues)
{
    size_t at = 0, n;
    int32_t before = !continues ? -1 : t->bos == 0 ? 1 : 0; /* any that is not BOS */
    for (size_t k = 0; k < i; k++) {
        sol_tokenizer_piece(t, before, ids->id[k], &n);
        at += n;
        before = ids->id[k];
    }
    return at;
}

size_t sol_tokenizer_cut_word(const sol_tokenizer *t, const char *text, size_t n, bool continues)
{
    enum { LOOK_AHEAD = 16 << 10, TRIES = 8 };
    sol_ids whole = {0};
    size_t found = 0, len = 1;
    int flags = continues ? SOL_ENCODE_CONTINUE : 0;
    if (!t->can_cut_words || n <= 2 * LOOK_AHEAD ||
        sol_tokenizer_encode(t, text, n, flags, &whole, NULL) != SOL_OK) {
        sol_ids_free(&whole);
        return 0;
    }
    size_t i = whole.n, cut = n;
    /* A text that the ids do not spell is tried at one character after the other. */
    bool spelled = bytes_of(t, &whole, i, continues) == n;
    if (!spelled) cut -= LOOK_AHEAD - 1;
    for (int tries = 0; found == 0 && tries < TRIES && i > 1 && cut > len;) {
        if (spelled) sol_tokenizer_piece(t, whole.id[i - 2], whole.id[i - 1], &len);
        cut -= len < cut ? len : cut;
        i -= spelled;
        if (cut == 0 || n - cut < LOOK_AHEAD || ((uint8_t)text[cut] & 0xC0) == 0x80) continue;
        tries++;
        if (keeps_ids(t, text, n, flags, &whole, cut)) found = cut;
    }
    sol_ids_free(&whole);
    return found;
}
