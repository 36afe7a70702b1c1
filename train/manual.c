/* Manual pages in the macros of man(7), printed by `solera help --as man` from the tables of
 * verbs and options. */
#include <string.h>

#include "help_forms.h"

/* Text of a line: what roff would read as its own is escaped. */
static void add_text(const char *text, size_t n, FILE *to)
{
    if (n > 0 && (*text == '.' || *text == '\'')) fputs("\\&", to);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\\')
            fputs("\\e", to);
        else if (text[i] == '-')
            fputs("\\-", to);
        else
            fputc(text[i], to);
    }
}

static void add_word(const char *text, FILE *to)
{
    add_text(text, strlen(text), to);
}

/* Lines as they stand. */
static void add_lines(const char *text, FILE *to)
{
    fputs(".nf\n", to);
    for (const char *at = text, *end; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, "\n");
        add_text(at, (size_t)(end - at), to);
        fputc('\n', to);
    }
    fputs(".fi\n", to);
}

static void add_title(const char *name, int section, const char *summary, FILE *to)
{
    fprintf(to, ".TH %s %d \"\" \"solera %s\" \"solera\"\n.SH NAME\n", name, section, SOL_VERSION);
    add_word(name, to);
    fputs(" \\- ", to);
    add_word(summary, to);
    fputc('\n', to);
}

static void add_option(const sol_opt *o, FILE *to)
{
    char names[256];
    fputs(".TP\n\\fB", to);
    add_word(o->name, to);
    fputs("\\fR", to);
    if (o->value) fputs(" \\fI", to);
    if (o->value) add_word(o->value, to);
    if (o->value) fputs(o->kind == SOL_OPT_LIST ? "\\fR..." : "\\fR", to);
    fputc('\n', to);
    add_word(o->help, to);
    if (o->choices || o->names) fputs(": ", to);
    if (o->choices) add_word(o->choices, to);
    if (o->names) add_word(sol_enum_list(o->names, "|", "|", names, sizeof names), to);
    if (o->preset) fputs(" (default ", to);
    if (o->preset) add_word(o->preset, to);
    if (o->preset) fputc(')', to);
    if (o->kind == SOL_OPT_EACH) fputs("; may be given again", to);
    fputc('\n', to);
}

static void add_options(const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) add_option(o, to);
}

static void add_exit_codes(FILE *to)
{
    fputs(".SH EXIT STATUS\n"
          "0 done, 1 failed, 2 bad input or usage, 130 interrupted and saved.\n",
          to);
}

void sol_man_program(FILE *to)
{
    add_title("solera", 1, SOL_PROGRAM_SUMMARY, to);
    fputs(".SH SYNOPSIS\n"
          "\\fBsolera\\fR \\fIVERB\\fR [\\fIOPTION\\fR...] [\\fIWORD\\fR...]\n"
          ".SH VERBS\n",
          to);
    for (int i = 0; i < sol_verb_count(); i++) {
        const sol_verb *v = sol_verb_at(i);
        fputs(".TP\n\\fBsolera\\-", to);
        add_word(v->name, to);
        fputs("\\fR(1)\n", to);
        add_word(v->summary, to);
        fputc('\n', to);
    }
    fputs(".SH OPTIONS\nOf every verb:\n", to);
    add_options(sol_common_options, to);
    add_exit_codes(to);
    fputs(".SH SEE ALSO\n\\fBsolera\\-config\\fR(5)\n", to);
}

void sol_man_verb(const sol_verb *v, FILE *to)
{
    char name[64];
    snprintf(name, sizeof name, "solera-%s", v->name);
    add_title(name, 1, v->summary, to);
    fprintf(to, ".SH SYNOPSIS\n\\fBsolera %s\\fR [\\fIOPTION\\fR...]", v->name);
    if (v->words) fputs(" \\fI", to);
    if (v->words) add_word(v->words, to);
    fputs(v->words ? "\\fR\n" : "\n", to);
    if (v->details) fputs(".SH DESCRIPTION\n", to);
    if (v->details) add_lines(v->details, to);
    fputs(".SH OPTIONS\n", to);
    add_options(sol_verb_options(v), to);
    add_options(sol_common_options, to);
    add_exit_codes(to);
    fputs(".SH SEE ALSO\n\\fBsolera\\fR(1), \\fBsolera\\-config\\fR(5)\n", to);
}

void sol_man_config(const char *reference, FILE *to)
{
    add_title("solera-config", 5, "every key of a job file, with its default", to);
    fputs(".SH DESCRIPTION\n", to);
    add_lines(reference, to);
    fputs(".SH SEE ALSO\n\\fBsolera\\fR(1), \\fBsolera\\-train\\fR(1)\n", to);
}
