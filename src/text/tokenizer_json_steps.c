/* Reads normalizer, pre_tokenizer and decoder of a tokenizer.json for tokenizer_json.c. A step that
 * is not known is refused by its name. */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 16 }; /* sequences in sequences */

static const char *string_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static bool is_true(const json_t *object, const char *key, bool missing)
{
    const json_t *v = json_object_get(object, key);
    return v ? json_is_true(v) : missing;
}

static bool is_one_character(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && sol_utf8_char(s, n) == n;
}

typedef sol_status (*step_fn)(sol_tokenizer *t, const json_t *step, void *user, sol_err *err);

/* Calls fn for one step, or for those under `key` of a Sequence, in order. */
static sol_status for_each_step(sol_tokenizer *t, const json_t *step, const char *key, step_fn fn,
                                void *user, int depth, sol_err *err)
{
    if (!step || json_is_null(step)) return SOL_OK;
    if (strcmp(string_of(step, "type"), "Sequence") != 0) return fn(t, step, user, err);
    const json_t *list = json_object_get(step, key);
    if (!json_is_array(list) || depth == MAX_DEPTH)
        return sol_fail(err, SOL_ERR_FORMAT, "Sequence without '%s'", key);
    for (size_t i = 0; i < json_array_size(list); i++)
        SOL_TRY(for_each_step(t, json_array_get(list, i), key, fn, user, depth + 1, err));
    return SOL_OK;
}

/* {"String": s} or {"Regex": s}: one of *find and *regex, the other is NULL. */
static sol_status read_pattern(const json_t *step, const char **find, const char **regex,
                               sol_err *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    *find = json_string_value(json_object_get(pattern, "String"));
    *regex = *find ? NULL : json_string_value(json_object_get(pattern, "Regex"));
    const char *one = *find ? *find : *regex;
    if (!one || !*one)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: its pattern is neither a String nor a Regex, or empty",
                        string_of(step, "type"));
    return SOL_OK;
}

/* ---- normalizer ---- */

static sol_status add_replace(sol_tokenizer *t, const json_t *step, sol_err *err)
{
    const char *find, *regex, *content = string_of(step, "content");
    SOL_TRY(read_pattern(step, &find, &regex, err));
    if (!json_is_string(json_object_get(step, "content")))
        return sol_fail(err, SOL_ERR_FORMAT, "Replace without 'content'");
    if (find && strcmp(find, " ") == 0 && is_one_character(content))
        memcpy(t->space, content, strlen(content) + 1);
    return sol_normalizer_add_replace(&t->normalizer, find, regex, content, err);
}

static sol_status add_normalizer(sol_tokenizer *t, const json_t *step, void *user, sol_err *err)
{
    static const struct {
        const char *name;
        sol_normal_kind kind;
    } plain[] = {{"Lowercase", SOL_NORMAL_LOWERCASE},
                 {"NFC", SOL_NORMAL_NFC},
                 {"NFD", SOL_NORMAL_NFD},
                 {"NFKC", SOL_NORMAL_NFKC},
                 {"NFKD", SOL_NORMAL_NFKD}};
    const char *type = string_of(step, "type");
    (void)user;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(type, plain[i].name) == 0)
            return sol_normalizer_add(&t->normalizer, plain[i].kind, err);
    if (strcmp(type, "Strip") == 0)
        return sol_normalizer_add_strip(&t->normalizer, is_true(step, "strip_left", true),
                                        is_true(step, "strip_right", true), err);
    if (strcmp(type, "Replace") == 0) return add_replace(t, step, err);
    if (strcmp(type, "Prepend") == 0)
        return sol_normalizer_add_prepend(&t->normalizer, string_of(step, "prepend"), err);
    return sol_fail(
        err, SOL_ERR_UNSUPPORTED,
        "'%.32s' is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Strip, Replace, Prepend are)",
        type);
}

/* ---- pre_tokenizer ---- */

/* The punctuation of ASCII, and what unicode_categories 0.1 takes for punctuation: that of
 * Unicode 8. */
#define REGEX_PUNCTUATION \
    "(?![\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B4E}\\x{1B4F}\\x{1B7D}-\\x{1B7F}\\x{2E43}-" \
    "\\x{2E4F}\\x{2E52}-\\x{2E5D}\\x{10D6E}" \
    "\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}\\x{113D4}\\x{113D5}\\x{113D7}\\x{113D8}" \
    "\\x{1144B}-\\x{1144F}\\x{1145A}\\x{1145B}" \
    "\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}" \
    "-\\x{11A46}\\x{11A9A}-\\x{11A9C}" \
    "\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}\\x{11BE1}\\x{11C41}-\\x{11C45}\\x{11C70}\\x{" \
    "11C71}\\x{11EF7}\\x{11EF8}\\x{11F43}-\\x{11F4F}" \
    "\\x{11FFF}\\x{12FF1}\\x{12FF2}\\x{16D6D}-\\x{16D6F}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E5FF}" \
    "\\x{1E95E}\\x{1E95F}])" \
    "[\\p{P}$+<=>^`|~\\x{166D}\\x{111C9}]"

static sol_status read_split(const json_t *step, const char *preset, sol_split *split, sol_err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = json_object_get(step, "behavior") ? string_of(step, "behavior") : preset;
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        *split = (sol_split)i;
        if (strcmp(name, names[i]) == 0) return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: behavior '%.32s' is not known",
                    string_of(step, "type"), name);
}

/* A regex that matches a text and nothing else; out holds 2 n + 1 bytes. */
static void escape(const char *text, char *out)
{
    for (; *text; text++) {
        if (strchr("\\^$.|?*+()[]{}-#&~", *text)) *out++ = '\\';
        *out++ = *text;
    }
    *out = 0;
}

static sol_status add_literal(sol_pretok *p, const char *find, sol_split split, bool invert,
                              sol_err *err)
{
    char *regex;
    SOL_TRY(sol_alloc_array((void **)&regex, strlen(find) + 1, 2, err));
    escape(find, regex);
    sol_status st = sol_pretok_add_split(p, regex, split, invert, err);
    sol_free(regex);
    return st;
}

static sol_status add_split(sol_pretok *p, const json_t *step, sol_err *err)
{
    const char *find, *regex;
    sol_split split;
    bool invert = is_true(step, "invert", false);
    SOL_TRY(read_pattern(step, &find, &regex, err));
    SOL_TRY(read_split(step, "", &split, err));
    if (find) return add_literal(p, find, split, invert, err);
    if (split == SOL_SPLIT_ISOLATED) invert = false; /* no difference */
    if (strcmp(regex, SOL_REGEX_DIGIT) == 0)
        regex = "(?:" SOL_REGEX_DIGIT ")"; /* that text stands for Rust's digits */
    if (strcmp(regex, SOL_REGEX_DIGITS) == 0) regex = "(?:" SOL_REGEX_DIGITS ")";
    return sol_pretok_add_split(p, regex, split, invert, err);
}

static sol_status add_metaspace(sol_tokenizer *t, const json_t *step, sol_err *err)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const char *space = string_of(step, "replacement"), *scheme = string_of(step, "prepend_scheme");
    const json_t *old = json_object_get(step, "add_prefix_space");
    int prepend = json_is_false(old) ? SOL_PREPEND_NEVER : SOL_PREPEND_ALWAYS;
    if (*scheme) {
        for (prepend = 0; prepend < 3 && strcmp(scheme, schemes[prepend]) != 0;) prepend++;
        if (prepend == 3 || (json_is_false(old) && prepend != SOL_PREPEND_NEVER))
            return sol_fail(
                err, SOL_ERR_FORMAT,
                "Metaspace: prepend_scheme '%.16s' is not known or contradicts add_prefix_space",
                scheme);
    }
    if (!is_one_character(space))
        return sol_fail(err, SOL_ERR_FORMAT, "Metaspace: replacement '%.16s' is not one character",
                        space);
    /* What stands first is then no longer plain from the text that is left. */
    if (prepend == SOL_PREPEND_FIRST)
        for (int i = 0; i < t->normalizer.n; i++) {
            const sol_normal_step *s = &t->normalizer.step[i];
            if (s->kind == SOL_NORMAL_STRIP || s->kind == SOL_NORMAL_PREPEND ||
                (s->kind == SOL_NORMAL_REPLACE &&
                 (!s->find || !is_one_character(s->find) || !*s->content)))
                return sol_fail(
                    err, SOL_ERR_UNSUPPORTED,
                    "Metaspace with prepend_scheme first behind a normalizer that may take "
                    "away the beginning of a text");
        }
    memcpy(t->space, space, strlen(space) + 1);
    return sol_pretok_add_metaspace(&t->pretok, space, (sol_prepend)prepend,
                                    is_true(step, "split", true), err);
}

static sol_status add_byte_level(sol_tokenizer *t, const json_t *step, bool *byte_level,
                                 sol_err *err)
{
    *byte_level = true;
    if (is_true(step, "add_prefix_space", false))
        SOL_TRY(sol_pretok_add_prefix_space(&t->pretok, err));
    if (is_true(step, "use_regex", true)) SOL_TRY(sol_pretok_add(&t->pretok, SOL_REGEX_GPT2, err));
    return SOL_OK;
}

static sol_status add_pretokenizer(sol_tokenizer *t, const json_t *step, void *user, sol_err *err)
{
    const char *type = string_of(step, "type");
    bool *byte_level = user;
    sol_pretok *p = &t->pretok;
    sol_split split;
    if (*byte_level)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "'%.32s' behind ByteLevel is not supported",
                        type);
    if (strcmp(type, "Split") == 0) return add_split(p, step, err);
    if (strcmp(type, "ByteLevel") == 0) return add_byte_level(t, step, byte_level, err);
    if (strcmp(type, "Metaspace") == 0) return add_metaspace(t, step, err);
    if (strcmp(type, "Digits") == 0)
        return sol_pretok_add(
            p, is_true(step, "individual_digits", false) ? SOL_REGEX_DIGIT : SOL_REGEX_DIGITS, err);
    if (strcmp(type, "Whitespace") == 0)
        return sol_pretok_add_split(p, SOL_REGEX_RUST_WORD "+|[^\\s" SOL_REGEX_RUST_WORD_SET "]+",
                                    SOL_SPLIT_REMOVED, true, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return sol_pretok_add_split(p, "\\s", SOL_SPLIT_REMOVED, false, err);
    if (strcmp(type, "CharDelimiterSplit") == 0 && is_one_character(string_of(step, "delimiter")))
        return add_literal(p, string_of(step, "delimiter"), SOL_SPLIT_REMOVED, false, err);
    if (strcmp(type, "Punctuation") == 0) {
        SOL_TRY(read_split(step, "Isolated", &split, err));
        return sol_pretok_add_split(p, REGEX_PUNCTUATION, split, false, err);
    }
    if (strcmp(type, "BertPreTokenizer") == 0) {
        SOL_TRY(sol_pretok_add_split(p, "\\s", SOL_SPLIT_REMOVED, false, err));
        return sol_pretok_add(p, REGEX_PUNCTUATION, err);
    }
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "'%.32s' is not supported (ByteLevel, Metaspace, Split, Digits, Punctuation, "
                    "Whitespace, WhitespaceSplit, "
                    "CharDelimiterSplit, BertPreTokenizer are)",
                    type);
}

/* ---- decoder ---- */

typedef struct decoding {
    bool bytes, fused, last; /* seen: ByteFallback, Fuse, what must be the last step */
} decoding;

static sol_status add_decoder_replace(sol_decoder *d, const char *find, const char *content,
                                      sol_err *err)
{
    if (d->n_replace == SOL_TOK_MAX_REPLACE)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "more than %d Replace", SOL_TOK_MAX_REPLACE);
    int i = d->n_replace++;
    SOL_TRY(sol_copy_string(&d->find[i], find, strlen(find), err));
    return sol_copy_string(&d->content[i], content, strlen(content), err);
}

static sol_status read_decoder_replace(sol_decoder *d, const json_t *step, const decoding *seen,
                                       sol_err *err)
{
    const char *find, *regex;
    SOL_TRY(read_pattern(step, &find, &regex, err));
    if (!find || seen->bytes || (seen->fused && !is_one_character(find)))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "Replace of a Regex, behind ByteFallback, or of several characters behind "
                        "Fuse is not supported");
    return add_decoder_replace(d, find, string_of(step, "content"), err);
}

static sol_status read_decoder_strip(sol_decoder *d, const json_t *step, const decoding *seen,
                                     sol_err *err)
{
    const char *content = string_of(step, "content");
    json_int_t start = json_integer_value(json_object_get(step, "start")),
               stop = json_integer_value(json_object_get(step, "stop"));
    if (!seen->fused || !is_one_character(content) || start < 0 || start > 1 || stop != 0)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "Strip is supported behind Fuse, of one character at the start of the text");
    memcpy(d->strip, content, strlen(content) + 1);
    d->n_strip = (int)start;
    return SOL_OK;
}

static sol_status add_decoder(sol_tokenizer *t, const json_t *step, void *user, sol_err *err)
{
    const char *type = string_of(step, "type");
    decoding *seen = user;
    sol_decoder *d = &t->decoder;
    if (seen->last)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%.32s' behind the step that ends a text is not supported", type);
    if (strcmp(type, "Replace") == 0) return read_decoder_replace(d, step, seen, err);
    if (strcmp(type, "ByteFallback") == 0 && !seen->fused) {
        d->bytes = seen->bytes = true;
    } else if (strcmp(type, "Fuse") == 0) {
        seen->fused = true;
    } else if (strcmp(type, "Strip") == 0) {
        seen->last = true;
        SOL_TRY(read_decoder_strip(d, step, seen, err));
    } else if (strcmp(type, "Metaspace") == 0 && !seen->fused && !seen->bytes &&
               is_one_character(string_of(step, "replacement"))) {
        const char *space = string_of(step, "replacement");
        memcpy(d->space, space, strlen(space) + 1);
        d->drop_first = strcmp(string_of(step, "prepend_scheme"), "never") != 0 &&
                        !json_is_false(json_object_get(step, "add_prefix_space"));
        seen->last = true;
    } else {
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%.32s' is not supported here (ByteLevel, Metaspace, or Replace, "
                        "ByteFallback, Fuse, Strip are)",
                        type);
    }
    return SOL_OK;
}

static sol_status only_byte_level(sol_tokenizer *t, const json_t *step, void *user, sol_err *err)
{
    (void)t, (void)user;
    if (strcmp(string_of(step, "type"), "ByteLevel") == 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "'%.32s' of a byte-level tokenizer is not supported",
                    string_of(step, "type"));
}

/* The decoder of a file that has none: it turns the signs for blanks back into blanks. */
static sol_status natural_decoder(sol_tokenizer *t, sol_err *err)
{
    sol_decoder *d = &t->decoder;
    const sol_normal_step *s = t->normalizer.step;
    d->bytes = t->byte_fallback;
    if (t->normalizer.n && t->space[0] && s->kind == SOL_NORMAL_PREPEND &&
        strcmp(s->content, t->space) == 0) {
        d->strip[0] = ' ';
        d->n_strip = 1;
    }
    return t->space[0] ? add_decoder_replace(d, t->space, " ", err) : SOL_OK;
}

static sol_status read_decoder(sol_tokenizer *t, const json_t *decoder, bool byte_level,
                               sol_err *err)
{
    decoding seen = {0};
    if (byte_level) return for_each_step(t, decoder, "decoders", only_byte_level, NULL, 0, err);
    if (!decoder || json_is_null(decoder)) return natural_decoder(t, err);
    return for_each_step(t, decoder, "decoders", add_decoder, &seen, 0, err);
}

sol_status sol_tok_read_steps(sol_tokenizer *t, const json_t *root, bool *byte_level, sol_err *err)
{
    *byte_level = false;
    sol_status st = for_each_step(t, json_object_get(root, "normalizer"), "normalizers",
                                  add_normalizer, NULL, 0, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "normalizer");
    st = for_each_step(t, json_object_get(root, "pre_tokenizer"), "pretokenizers", add_pretokenizer,
                       byte_level, 0, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "pre_tokenizer");
    st = read_decoder(t, json_object_get(root, "decoder"), *byte_level, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "decoder");
}
