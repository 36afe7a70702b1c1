/* Python's str.capitalize(). Unicode's SpecialCasing.txt needs no table: the title forms of several
 * characters follow from utf8proc's full case folding. */
#include "text/capitalize.h"

#include <utf8proc.h>

#include "text/normalize.h"
#include "text/utf8.h"

bool sol_has_case(uint32_t c)
{
    utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)c);
    return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
           kind == UTF8PROC_CATEGORY_LT || (uint32_t)utf8proc_toupper((utf8proc_int32_t)c) != c ||
           (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) != c;
}

static sol_status add_rune(sol_text *to, uint32_t c, sol_err *err)
{
    char out[4];
    size_t n = sol_utf8_put(c, out);
    return sol_text_add_bytes(to, err, out, n);
}

/* A small letter without a title form of its own has that of its folding: its first letter with
 * a title form in that, the others as they are; but an iota behind another letter is written
 * below it (U+0345), as in U+1FB2. */
static sol_status add_title(sol_text *to, int32_t c, sol_err *err)
{
    enum { SHARP_S = 0xDF }; /* has none in Unicode, U+1E9E in utf8proc */
    int32_t fold[4], title = c == SHARP_S ? c : utf8proc_totitle(c);
    int bound = 0;
    bool small = title == c && utf8proc_category(c) == UTF8PROC_CATEGORY_LL, found = false;
    utf8proc_ssize_t n = small ? utf8proc_decompose_char(c, fold, 4, UTF8PROC_CASEFOLD, &bound) : 0;
    if (n < 2) return add_rune(to, (uint32_t)title, err);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        title = found ? fold[i] : utf8proc_totitle(fold[i]);
        found = found || title != fold[i];
        if (i > 0 && title == 0x3B9) title = 0x345;
        SOL_TRY(add_rune(to, (uint32_t)title, err));
    }
    return SOL_OK;
}

typedef struct range {
    int32_t first, last;
} range;

static bool is_in(const range *r, size_t n, int32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last) return true;
    return false;
}

/* Unicode's Case_Ignorable: what a word may hold between its letters. */
static bool is_ignored(int32_t c)
{
    static const range marks[] = {
        {'\'', '\''},     {'.', '.'},       {':', ':'},       {0xB7, 0xB7},
        {0x387, 0x387},   {0x55F, 0x55F},   {0x5F4, 0x5F4},   {0x2018, 0x2019},
        {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
        {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A}};
    utf8proc_category_t kind = utf8proc_category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
           kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
           kind == UTF8PROC_CATEGORY_SK || is_in(marks, sizeof marks / sizeof *marks, c);
}

/* Unicode's Cased, of characters that are not ignored. */
static bool is_cased(int32_t c)
{
    static const range others[] = {{0xAA, 0xAA},      {0xBA, 0xBA},       {0x2160, 0x217F},
                                   {0x24B6, 0x24E9},  {0x1F130, 0x1F149}, {0x1F150, 0x1F169},
                                   {0x1F170, 0x1F189}};
    utf8proc_category_t kind = utf8proc_category(c);
    return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
           kind == UTF8PROC_CATEGORY_LT || is_in(others, sizeof others / sizeof *others, c);
}

/* Does a letter stand before s[at], or behind it, with nothing between but what is ignored? */
static bool has_letter_before(const char *s, size_t at)
{
    while (at > 0) {
        size_t from = at - 1;
        while (from > 0 && ((unsigned char)s[from] & 0xC0) == 0x80) from--;
        int32_t c = (int32_t)sol_utf8_get(s + from, at - from);
        if (!is_ignored(c)) return is_cased(c);
        at = from;
    }
    return false;
}

static bool has_letter_behind(const char *s, size_t n, size_t at)
{
    while (at < n) {
        size_t len = sol_utf8_char(s + at, n - at);
        int32_t c = (int32_t)sol_utf8_get(s + at, len);
        if (!is_ignored(c)) return is_cased(c);
        at += len;
    }
    return false;
}

sol_status sol_capitalize(const char *s, size_t n, sol_text *to, sol_err *err)
{
    enum { LARGE_SIGMA = 0x3A3, LAST_SIGMA = 0x3C2 };
    char out[8];
    for (size_t i = 0, len; i < n; i += len) {
        len = sol_utf8_char(s + i, n - i);
        uint32_t c = sol_utf8_get(s + i, len);
        bool last =
            c == LARGE_SIGMA && has_letter_before(s, i) && !has_letter_behind(s, n, i + len);
        if (i == 0)
            SOL_TRY(add_title(to, (int32_t)c, err));
        else if (last)
            SOL_TRY(add_rune(to, LAST_SIGMA, err));
        else
            SOL_TRY(sol_text_add_bytes(to, err, out, sol_letter_lower(c, out)));
    }
    return SOL_OK;
}
