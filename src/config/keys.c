/* Keys by name, and their values from and to text. parse.c sets keys through it, write.c writes
 * them. */
#include "config/keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "config/scalar.h"
#include "text/utf8.h"

const sol_key sol_keys[SOL_CONFIG_KEYS] = {
#define SOL_ROW(s, n, t, d, w, lo, hi, f, h) \
    {.section = #s, \
     .name = #n, \
     .path = #s "." #n, \
     .type = t, \
     .offset = offsetof(sol_config, s.n), \
     .preset = d, \
     .words = w, \
     .min = lo, \
     .max = hi, \
     .flags = f, \
     .help = h},
#define SOL_KEY_TEXT(s, n, d, f, h) SOL_ROW(s, n, SOL_TYPE_TEXT, d, NULL, 0, 0, f, h)
#define SOL_KEY_ENUM(s, n, t, l, d, f, h) \
    SOL_ROW(s, n, SOL_TYPE_ENUM, d, SOL_ENUM_TABLE(l), 0, 0, f, h)
#define SOL_KEY_INT(s, n, d, lo, hi, f, h) SOL_ROW(s, n, SOL_TYPE_INT, #d, NULL, lo, hi, f, h)
#define SOL_KEY_REAL(s, n, d, lo, hi, f, h) SOL_ROW(s, n, SOL_TYPE_REAL, #d, NULL, lo, hi, f, h)
#define SOL_KEY_BOOL(s, n, d, f, h) SOL_ROW(s, n, SOL_TYPE_BOOL, #d, NULL, 0, 0, f, h)
#define SOL_KEY_OVERRIDES(s, n, f, h) SOL_ROW(s, n, SOL_TYPE_OVERRIDES, "[]", NULL, 0, 0, f, h)
#define SOL_KEY_SOURCES(s, n, f, h) SOL_ROW(s, n, SOL_TYPE_SOURCES, "", NULL, 0, 0, f, h)
#include "config/keys.def"
#undef SOL_ROW
};

/* set_enum and enum_of take the field of any enum key for an int. */
#define SOL_KEY_ENUM(s, n, t, l, d, f, h) \
    _Static_assert(sizeof(t) == sizeof(int), #s "." #n " is as large as an int");
#include "config/keys.def"

const sol_key_section sol_key_sections[] = {
#define SOL_SECTION(section, text) {#section, text},
#include "config/keys.def"
};
const int sol_key_section_count = (int)(sizeof sol_key_sections / sizeof sol_key_sections[0]);

int sol_key_find(const char *path)
{
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        if (strcmp(sol_keys[i].path, path) == 0) return i;
    return -1;
}

/* Suggests a key of the same name in another section, which is the likeliest mistake ("train.lr"),
 * else the one that is spelled most alike. */
const char *sol_key_hint(char out[SOL_HINT], const char *path)
{
    const char *dot = strchr(path, '.'), *leaf = dot ? dot + 1 : path;
    const char *paths[SOL_CONFIG_KEYS];
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        paths[i] = sol_keys[i].path;
        if (strcmp(sol_keys[i].name, leaf) == 0)
            return sol_name_hint(out, paths[i], &paths[i], 1, NULL);
    }
    return sol_name_hint(out, path, paths, SOL_CONFIG_KEYS, "; `solera help config` lists them");
}

/* UTF-8 without NUL, so that what is written into config.yaml can be read back. */
static bool is_text(const char *s, size_t n)
{
    return sol_utf8_valid_prefix(s, n) == n && !memchr(s, 0, n);
}

static sol_status copy_text(char **out, const char *text, size_t size, sol_err *err)
{
    if (!is_text(text, size)) return sol_fail(err, SOL_ERR_CONFIG, "is not valid UTF-8 text");
    return sol_copy_string(out, text, size, err);
}

sol_status sol_key_copy_path(char **out, const char *text, size_t size, sol_err *err)
{
    sol_err why = {0};
    SOL_TRY(copy_text(out, text, size, err));
    if (sol_path_check(*out, &why) == SOL_OK) return SOL_OK;
    sol_free(*out);
    return sol_fail(err, SOL_ERR_CONFIG, "%s", why.text);
}

static sol_status set_text(const sol_key *k, char **field, const char *text, size_t size,
                           bool quoted, sol_err *err)
{
    char *copy;
    if (!quoted && sol_scalar_null(text, size)) size = 0;
    SOL_TRY(k->flags & SOL_KEY_PATH ? sol_key_copy_path(&copy, text, size, err)
                                    : copy_text(&copy, text, size, err));
    sol_free(*field);
    *field = copy;
    return SOL_OK;
}

static sol_status set_enum(const sol_key *k, int *field, const char *text, size_t size, bool quoted,
                           sol_err *err)
{
    char list[256];
    if (!is_text(text, size)) return sol_fail(err, SOL_ERR_CONFIG, "is not valid UTF-8 text");
    if (!quoted && sol_scalar_null(text, size)) size = 0;
    if (sol_enum_find(k->words, text, size, field)) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG, "'%.*s' is not allowed: %s", (int)(size < 80 ? size : 80),
                    text, sol_enum_list(k->words, ", ", " or ", list, sizeof list));
}

static sol_status out_of_range(const sol_key *k, const char *text, sol_err *err)
{
    return sol_fail(err, SOL_ERR_CONFIG, "%s is out of range: %.16g to %.16g", text, k->min,
                    k->max);
}

static sol_status set_int(const sol_key *k, int64_t *field, const char *text, sol_err *err)
{
    int64_t x = 0;
    sol_status st = sol_scalar_int(text, &x, err);
    if (st == SOL_ERR_RANGE || (st == SOL_OK && ((double)x < k->min || (double)x > k->max)))
        return out_of_range(k, text, err);
    if (st == SOL_OK) *field = x;
    return st;
}

static sol_status set_real(const sol_key *k, double *field, const char *text, sol_err *err)
{
    double x = 0;
    SOL_TRY(sol_scalar_real(text, &x, err));
    if (!(x >= k->min && x <= k->max)) return out_of_range(k, text, err);
    *field = x == 0 ? 0 : x; /* -0 is 0 */
    return SOL_OK;
}

static sol_status set_overrides(sol_quant_overrides **field, const sol_yaml *list,
                                const sol_yaml **at, sol_err *err)
{
    sol_quant_overrides *o = NULL;
    sol_status st = sol_overrides_read(&o, list, at, err);
    if (st != SOL_OK) {
        sol_quant_overrides_free(&o);
        return st;
    }
    sol_quant_overrides_free(field);
    *field = o;
    return SOL_OK;
}

/* Takes *s over, or frees it where it is not complete. */
static sol_status set_sources(sol_sources **field, sol_sources *s, sol_status st)
{
    if (st != SOL_OK) {
        sol_sources_free(&s);
        return st;
    }
    sol_sources_free(field);
    *field = s;
    return SOL_OK;
}

sol_status sol_key_set_list(sol_config *c, int i, const sol_yaml *list, const sol_yaml **at,
                            sol_err *err)
{
    void *field = (char *)c + sol_keys[i].offset;
    sol_sources *s = NULL;
    if (sol_keys[i].type == SOL_TYPE_OVERRIDES) return set_overrides(field, list, at, err);
    sol_status st = sol_sources_read(&s, list, at, err);
    return set_sources(field, s, st);
}

/* From --set, a sweep, or the default: one line of YAML. */
static sol_status set_list_text(sol_config *c, int i, const char *text, size_t size, sol_err *err)
{
    sol_yaml *root = NULL;
    const sol_yaml *at;
    sol_status st = sol_yaml_read(&root, "the list", "a list", text, size, err);
    if (st == SOL_OK) st = sol_key_set_list(c, i, root, &at, err);
    sol_yaml_free(&root);
    return st;
}

/* One file, or none. */
static sol_status set_source(sol_sources **field, const char *text, size_t size, bool quoted,
                             sol_err *err)
{
    sol_sources *s = NULL;
    bool none = size == 0 || (!quoted && sol_scalar_null(text, size));
    sol_status st = none ? SOL_OK : sol_sources_add(&s, text, size, 1, err);
    return set_sources(field, s, st);
}

sol_status sol_key_set(sol_config *c, int i, const char *text, size_t size, bool quoted,
                       sol_err *err)
{
    const sol_key *k = &sol_keys[i];
    void *field = (char *)c + k->offset;
    static const char *const want[] = {[SOL_TYPE_INT] = "a whole number",
                                       [SOL_TYPE_REAL] = "a number",
                                       [SOL_TYPE_BOOL] = "true or false"};
    char plain[96];
    if (k->type == SOL_TYPE_TEXT) return set_text(k, field, text, size, quoted, err);
    bool list = size > 0 && !quoted && text[0] == '[';
    if (k->type == SOL_TYPE_SOURCES && !list) return set_source(field, text, size, quoted, err);
    if (k->type == SOL_TYPE_OVERRIDES || k->type == SOL_TYPE_SOURCES)
        return set_list_text(c, i, text, size, err);
    if (k->type == SOL_TYPE_ENUM) return set_enum(k, field, text, size, quoted, err);
    if (size >= sizeof plain || !is_text(text, size))
        return sol_fail(err, SOL_ERR_CONFIG, "this value is not %s", want[k->type]);
    memcpy(plain, text, size);
    plain[size] = 0;
    if (quoted)
        return sol_fail(err, SOL_ERR_CONFIG, "\"%s\" is a text, not %s", plain, want[k->type]);
    if (sol_scalar_null(plain, size))
        return sol_fail(err, SOL_ERR_CONFIG, "has no value: %s is needed", want[k->type]);
    if (k->type == SOL_TYPE_INT) return set_int(k, field, plain, err);
    if (k->type == SOL_TYPE_REAL) return set_real(k, field, plain, err);
    return sol_scalar_bool(plain, field, err);
}

/* ---- text ---- */

/* Whether YAML takes the character for itself between quotes, and so do we (yaml_read.c). */
static bool is_printable(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    bool line_break = c == 0x2028 || c == 0x2029;
    return !control && !line_break && c != 0xfffe && c != 0xffff;
}

/* Plain where every YAML reader takes it as the same text, in double quotes otherwise. */
static sol_status add_text_value(sol_text *t, const char *s, sol_err *err)
{
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
    static const char *const special[] = {"true", "false", "yes", "no", "on",
                                          "off",  "null",  "y",   "n"};
    bool plain = *s && strspn(s, safe) == strlen(s) && !strchr("0123456789.+-", s[0]);
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcasecmp(s, special[i]) == 0) plain = false;
    if (plain || (strncmp(s, "../", 3) == 0 && strspn(s, safe) == strlen(s)))
        return sol_text_add(t, err, "%s", s);
    SOL_TRY(sol_text_add(t, err, "\""));
    for (size_t left = strlen(s), n; left > 0; s += n, left -= n) {
        n = sol_utf8_char(s, left);
        if (n == 0) return sol_fail(err, SOL_ERR_CONFIG, "a text is not valid UTF-8");
        uint32_t c = sol_utf8_get(s, n);
        if (c == '"' || c == '\\')
            SOL_TRY(sol_text_add(t, err, "\\%c", (int)c));
        else if (is_printable(c))
            SOL_TRY(sol_text_add(t, err, "%.*s", (int)n, s));
        else
            SOL_TRY(sol_text_add(t, err, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c));
    }
    return sol_text_add(t, err, "\"");
}

/* Adds the shortest form that reads back to the same number, always with a point: YAML 1.1 takes
 * 1e-4 for a text. */
static sol_status add_real(sol_text *t, double x, sol_err *err)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    int mantissa = (int)strcspn(text, "e");
    bool point = strchr(text, '.') != NULL;
    return sol_text_add(t, err, "%.*s%s%s", mantissa, text, point ? "" : ".0", text + mantissa);
}

static sol_status add_sources(sol_text *t, const sol_sources *s, sol_err *err)
{
    if (!s) return add_text_value(t, "", err);
    if (s->n == 1) return add_text_value(t, s->row[0].path, err);
    for (int i = 0; i < s->n; i++) {
        SOL_TRY(sol_text_add(t, err, "%s{path: ", i ? ", " : "["));
        SOL_TRY(add_text_value(t, s->row[i].path, err));
        SOL_TRY(sol_text_add(t, err, ", weight: "));
        SOL_TRY(add_real(t, s->row[i].weight, err));
        SOL_TRY(sol_text_add(t, err, "}"));
    }
    return sol_text_add(t, err, "]");
}

static const char *enum_of(const sol_key *k, const sol_config *c)
{
    return sol_enum_name(k->words, *(const int *)((const char *)c + k->offset));
}

const char *sol_config_word(const sol_config *c, const char *key)
{
    int i = sol_key_find(key);
    return i >= 0 && sol_keys[i].type == SOL_TYPE_ENUM ? enum_of(&sol_keys[i], c) : NULL;
}

sol_status sol_key_add_value(sol_text *t, const sol_config *c, int i, sol_err *err)
{
    const void *field = (const char *)c + sol_keys[i].offset;
    switch (sol_keys[i].type) {
    case SOL_TYPE_TEXT: return add_text_value(t, *(char *const *)field, err);
    case SOL_TYPE_ENUM: return add_text_value(t, enum_of(&sol_keys[i], c), err);
    case SOL_TYPE_INT: return sol_text_add(t, err, "%lld", (long long)*(const int64_t *)field);
    case SOL_TYPE_REAL: return add_real(t, *(const double *)field, err);
    case SOL_TYPE_BOOL: return sol_text_add(t, err, *(const bool *)field ? "true" : "false");
    case SOL_TYPE_OVERRIDES:
        return sol_quant_overrides_write(*(sol_quant_overrides *const *)field, t, err);
    case SOL_TYPE_SOURCES: return add_sources(t, *(sol_sources *const *)field, err);
    }
    return SOL_OK;
}
