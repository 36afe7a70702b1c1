/* Writes jobs: the resolved one that a run directory keeps, the reference that `solera help config`
 * prints, and the difference of two, which a resume refuses or reports. */
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "config/keys.h"

static sol_status add_key(sol_text *t, const sol_config *c, int i, sol_err *err)
{
    SOL_TRY(sol_text_add(t, err, "  %s: ", sol_keys[i].name));
    SOL_TRY(sol_key_add_value(t, c, i, err));
    return sol_text_add(t, err, "\n");
}

static sol_status add_keys(sol_text *t, const sol_config *c, sol_err *err)
{
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        if (i == 0 || strcmp(sol_keys[i].section, sol_keys[i - 1].section) != 0)
            SOL_TRY(sol_text_add(t, err, "%s:\n", sol_keys[i].section));
        SOL_TRY(add_key(t, c, i, err));
    }
    return SOL_OK;
}

/* Hands the text to *out, or frees it where it is not complete. */
static sol_status hand_over(sol_text *t, sol_status st, char **out)
{
    if (st != SOL_OK) {
        sol_free(t->data);
        t->data = NULL;
    }
    *out = t->data;
    return st;
}

sol_status sol_config_write(const sol_config *c, char **yaml, sol_err *err)
{
    sol_text t = {0};
    sol_status st = add_keys(&t, c, err);
    return hand_over(&t, st, yaml);
}

/* Adds the text as comment lines of at most 110 columns, broken at blanks. */
static sol_status add_comment(sol_text *t, const char *indent, const char *text, sol_err *err)
{
    int max = 108 - (int)strlen(indent);
    while (*text) {
        int n = (int)strlen(text);
        if (n > max)
            for (n = max; n > 0 && text[n] != ' '; n--) {}
        if (n == 0) n = (int)strcspn(text, " ");
        SOL_TRY(sol_text_add(t, err, "%s# %.*s\n", indent, n, text));
        text += n;
        while (*text == ' ') text++;
    }
    return SOL_OK;
}

static sol_status add_quantizers(sol_text *t, sol_err *err)
{
    SOL_TRY(add_comment(t, "  ", "none: full precision.", err));
    for (int i = 0; i < sol_quantizer_count(); i++) {
        char line[256];
        snprintf(line, sizeof line, "%s: %s.", sol_quantizer_at(i)->name,
                 sol_quantizer_at(i)->summary);
        SOL_TRY(add_comment(t, "  ", line, err));
    }
    return SOL_OK;
}

static sol_status add_type(sol_text *t, const sol_key *k, sol_err *err)
{
    char text[320], words[256];
    if (strcmp(k->path, "quant.method") == 0) return add_quantizers(t, err);
    switch (k->type) {
    case SOL_TYPE_TEXT:
        snprintf(text, sizeof text, "Text%s.", k->flags & SOL_KEY_REQUIRED ? ", needed" : "");
        break;
    case SOL_TYPE_ENUM:
        snprintf(text, sizeof text, "One of: %s.",
                 sol_enum_list(k->words, ", ", " or ", words, sizeof words));
        break;
    case SOL_TYPE_INT:
        snprintf(text, sizeof text, "Whole number, %.16g to %.16g.", k->min, k->max);
        break;
    case SOL_TYPE_REAL:
        snprintf(text, sizeof text, "Number, %.16g to %.16g.", k->min, k->max);
        break;
    case SOL_TYPE_BOOL: snprintf(text, sizeof text, "true or false."); break;
    case SOL_TYPE_OVERRIDES:
        snprintf(text, sizeof text, "A list of mappings, at most %d.", SOL_QUANT_MAX_OVERRIDES);
        break;
    case SOL_TYPE_SOURCES:
        snprintf(text, sizeof text, "Text, or a list of at most %d mappings.", SOL_MIX_MAX);
        break;
    }
    return add_comment(t, "  ", text, err);
}

static const char *section_help(const char *name)
{
    for (int i = 0; i < sol_key_section_count; i++)
        if (strcmp(sol_key_sections[i].name, name) == 0) return sol_key_sections[i].help;
    return "";
}

static sol_status add_reference_key(sol_text *t, const sol_config *c, int i, bool first,
                                    sol_err *err)
{
    const sol_key *k = &sol_keys[i];
    if (first && t->n > 0) SOL_TRY(sol_text_add(t, err, "\n"));
    if (first) SOL_TRY(add_comment(t, "", section_help(k->section), err));
    if (first) SOL_TRY(sol_text_add(t, err, "%s:\n", k->section));
    SOL_TRY(add_comment(t, "  ", k->help, err));
    SOL_TRY(add_type(t, k, err));
    return add_key(t, c, i, err);
}

const char *sol_config_key_at(int i)
{
    return sol_keys[i].path;
}

/* Is the key asked for by this name? A section goes before a key of the same name. */
static bool is_named(const sol_key *k, const char *name, bool is_section)
{
    if (!name) return true;
    if (is_section) return strcmp(name, k->section) == 0;
    return strcmp(name, k->path) == 0 || strcmp(name, k->name) == 0;
}

static bool is_section(const char *name)
{
    if (name)
        for (int i = 0; i < sol_key_section_count; i++)
            if (strcmp(sol_key_sections[i].name, name) == 0) return true;
    return false;
}

static const char reference_head[] =
    "# Every key of a job file with its default. This text is made by `solera help config`.\n"
    "#\n"
    "# Values are those of YAML 1.2: true and false (also True, TRUE), not yes or on; 0x1f and "
    "0o17, but no\n"
    "# 1_000 and no leading zeros; no anchors, aliases or tags. ~ and $NAME in paths are not "
    "expanded, and refused.\n"
    "# `extends: FILE` as the first line reads that job first, relative to this file; each key "
    "here replaces its value.\n";

/* The keys that `name` asks for (NULL: all, below the head), each with its help and default. */
static sol_status add_reference(sol_text *t, const sol_config *c, const char *name, sol_err *err)
{
    const char *last = "";
    if (!name) SOL_TRY(sol_text_add(t, err, "%s", reference_head));
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        const char *section = sol_keys[i].section;
        if (!is_named(&sol_keys[i], name, is_section(name))) continue;
        SOL_TRY(add_reference_key(t, c, i, strcmp(last, section) != 0, err));
        last = section;
    }
    if (*last) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE, "there is no section or key '%s' in a job file", name);
}

sol_status sol_config_reference(const char *name, char **yaml, sol_err *err)
{
    sol_text t = {0};
    sol_config *c;
    *yaml = NULL;
    SOL_TRY(sol_config_create(&c, err));
    sol_status st = add_reference(&t, c, name, err);
    sol_config_free(&c);
    return hand_over(&t, st, yaml);
}

/* ---- the difference of two jobs ---- */

/* Would the first `steps` steps have had the same rate and lambda in a run of another length? Other
 * keys of a schedule make it another run by themselves. */
static bool same_schedules(const sol_config *old, const sol_config *now, int64_t steps)
{
    sol_lr_schedule lr = sol_config_lr(old);
    sol_residual residual = sol_config_residual(old);
    int64_t a = old->train.steps, b = now->train.steps;
    for (int64_t i = 0; i < steps; i++) {
        if (sol_lr_at(&lr, i, a) != sol_lr_at(&lr, i, b)) return false;
        if (sol_residual_lambda(&residual, i, a) != sol_residual_lambda(&residual, i, b))
            return false;
    }
    return true;
}

/* *text: the value of key i as it is written, owned by the caller; NULL on failure. */
static sol_status value_text(const sol_config *c, int i, char **text, sol_err *err)
{
    sol_text t = {0};
    sol_status st = sol_key_add_value(&t, c, i, err);
    return hand_over(&t, st, text);
}

/* Whether key i says the same in other words: a job that leaves the lanes open goes on with those
 * of the run; a run from before there were lanes has one. */
static bool same_lanes(const sol_config *old, const sol_config *now, int i)
{
    int64_t had = old->train.lanes ? old->train.lanes : 1;
    return sol_keys[i].offset == offsetof(sol_config, train.lanes) &&
           (now->train.lanes == 0 || now->train.lanes == had);
}

/* Can a run that has done `steps` steps not be that of a job with another value of key i? */
static bool makes_another_run(const sol_config *old, const sol_config *now, int i, int64_t steps)
{
    int flags = sol_keys[i].flags;
    if (flags & SOL_KEY_RUN) return true;
    if (steps == SOL_CONFIG_ENDED) return (flags & (SOL_KEY_LENGTH | SOL_KEY_RESULT)) != 0;
    return (flags & SOL_KEY_LENGTH) && !same_schedules(old, now, steps);
}

/* Adds key i where the jobs differ in it. *is_fatal is set where a run cannot go on with the new
 * value; only_fatal: other differences are left out. */
static sol_status add_difference(sol_text *t, const sol_config *old, const sol_config *now, int i,
                                 int64_t steps, bool *is_fatal, bool only_fatal, sol_err *err)
{
    char *a = NULL, *b = NULL;
    sol_status st = value_text(old, i, &a, err);
    if (st == SOL_OK) st = value_text(now, i, &b, err);
    if (st == SOL_OK && strcmp(a, b) != 0 && !same_lanes(old, now, i)) {
        bool fatal = makes_another_run(old, now, i, steps);
        *is_fatal |= fatal;
        if (fatal || !only_fatal)
            st = sol_text_add(t, err, "%s%s: %s -> %s", t->n ? "; " : "", sol_keys[i].path, a, b);
    }
    sol_free(a);
    sol_free(b);
    return st;
}

sol_status sol_config_digest(const sol_config *c, bool ended, uint64_t *digest, sol_err *err)
{
    int counts = SOL_KEY_RUN | SOL_KEY_LENGTH | (ended ? SOL_KEY_RESULT : 0);
    *digest = SOL_FNV_START;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        char *text;
        if (!(sol_keys[i].flags & counts)) continue;
        SOL_TRY(value_text(c, i, &text, err));
        *digest = sol_fnv1a(*digest, sol_keys[i].path, strlen(sol_keys[i].path) + 1);
        *digest = sol_fnv1a(*digest, text, strlen(text) + 1);
        sol_free(text);
    }
    return SOL_OK;
}

/* All differences; where some are fatal, those alone. */
static sol_status add_differences(sol_text *t, const sol_config *old, const sol_config *now,
                                  int64_t steps, bool *fatal, sol_err *err)
{
    SOL_TRY(sol_text_add(t, err, "%s", ""));
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        SOL_TRY(add_difference(t, old, now, i, steps, fatal, false, err));
    if (!*fatal) return SOL_OK;
    t->n = 0;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        SOL_TRY(add_difference(t, old, now, i, steps, fatal, true, err));
    return SOL_OK;
}

sol_status sol_config_diff(const sol_config *old, const sol_config *now, int64_t steps, char **text,
                           bool *fatal, sol_err *err)
{
    sol_text t = {0};
    *fatal = false;
    sol_status st = add_differences(&t, old, now, steps, fatal, err);
    return hand_over(&t, st, text);
}
