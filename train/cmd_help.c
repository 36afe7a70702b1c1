/* solera help: the list of verbs, the usage of one, the reference of config keys. */
#include <string.h>

#include "help_forms.h"
#include "program.h"

/* A sol_shell, or for people. */
enum { FORM_TEXT = SOL_SHELL_FISH + 1, FORM_MAN };

struct args {
    int form;
};

static const sol_opt options[] = {
    {.name = "--as",
     .value = "FORM",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, form),
     .preset = "text",
     .names = (const sol_enumerator[]){{"text", FORM_TEXT},
                                       {"man", FORM_MAN},
                                       {"bash", SOL_SHELL_BASH},
                                       {"zsh", SOL_SHELL_ZSH},
                                       {"fish", SOL_SHELL_FISH},
                                       {NULL, 0}},
     .help = "a text, a manual page, or what a shell completes by"},
    {0},
};

static void list_verbs(void)
{
    puts("solera: " SOL_PROGRAM_SUMMARY "\n");
    for (int i = 0; i < sol_verb_count(); i++)
        printf("  solera %-16s %s\n", sol_verb_at(i)->name, sol_verb_at(i)->summary);
    puts("\n`solera help VERB` explains a verb, `solera help config` every key of a job file,\n"
         "`solera help KEY` one of them, as train.steps.\n"
         "Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted and saved.");
}

/* name: of a section or key; NULL: all of them. */
static sol_status explain_config(const char *name, bool man, sol_err *err)
{
    char *text;
    sol_status st = sol_config_reference(name, &text, err);
    if (st == SOL_OK && man) sol_man_config(text, stdout);
    if (st == SOL_OK && !man) fputs(text, stdout);
    sol_free(text);
    return st;
}

static sol_status no_help(const char *word, sol_err *err)
{
    const char *names[64 + SOL_CONFIG_KEYS] = {"config"};
    int n = 1;
    for (int i = 0; i < sol_verb_count() && n < 64; i++) names[n++] = sol_verb_at(i)->name;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) names[n++] = sol_config_key_at(i);
    char hint[SOL_HINT];
    return sol_fail(err, SOL_ERR_USAGE, "no help on '%s'%s", word,
                    sol_name_hint(hint, word, names, n, ""));
}

/* The second word is of the configuration alone. */
static sol_status explain(const sol_program *p, bool man, sol_err *err)
{
    const char *word = p->n_words > 0 ? p->word[0] : NULL;
    const sol_verb *v = word ? sol_verb_find(word) : NULL;
    if (word && strcmp(word, "config") == 0)
        return explain_config(p->n_words > 1 ? p->word[1] : NULL, man, err);
    if (p->n_words > 1) return sol_fail(err, SOL_ERR_USAGE, "unexpected word '%s'", p->word[1]);
    if (!word && man)
        sol_man_program(stdout);
    else if (!word)
        list_verbs();
    else if (v)
        (man ? sol_man_verb : sol_verb_usage)(v, stdout);
    else if (explain_config(word, man, NULL) != SOL_OK)
        return no_help(word, err);
    return SOL_OK;
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    const struct args *args = argp;
    bool man = args->form == FORM_MAN;
    if (man || args->form == FORM_TEXT) return explain(p, man, err);
    if (p->n_words > 0)
        return sol_fail(err, SOL_ERR_USAGE, "unexpected word '%s': a completion is of all verbs",
                        p->word[0]);
    sol_completion((sol_shell)args->form, stdout);
    return SOL_OK;
}

const sol_verb sol_verb_help = {
    .name = "help",
    .words = "[VERB | config [SECTION | KEY] | SECTION | KEY]",
    .max_words = 2,
    .summary = "this list, a verb, or every key of a job file",
    .details = "KEY is SECTION.KEY or KEY alone, as train.steps or steps. A verb goes before a "
               "section of\n"
               "the same name:\n"
               "`solera help train` explains the verb, `solera help config train` the section.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
