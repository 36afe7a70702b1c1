/* solera help: the list of verbs, the usage of one, the reference of config keys. */
#include <string.h>

#include "program.h"

static void list_verbs(void)
{
    puts("solera: 3:4 sparse ternary (1.25-bit) quantization-aware training of LLaMA models on CPUs\n");
    for (int i = 0; i < sol_verb_count(); i++)
        printf("  solera %-16s %s\n", sol_verb_at(i)->name, sol_verb_at(i)->summary);
    puts("\n`solera help VERB` explains a verb, `solera help config` every key of a job file.");
    puts("Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted and saved.");
}

static sol_status explain_config(const char *section, sol_err *err)
{
    char *text;
    sol_status st = sol_config_reference(section, &text, err);
    if (st == SOL_OK) fputs(text, stdout);
    sol_free(text);
    return st;
}

static sol_status run(sol_program *p, void *args, sol_err *err)
{
    (void)args;
    if (p->n_words > 0 && strcmp(p->word[0], "config") == 0)
        return explain_config(p->n_words > 1 ? p->word[1] : NULL, err);
    if (p->n_words > 1) return sol_fail(err, SOL_ERR_USAGE, "unexpected word '%s'", p->word[1]);
    if (p->n_words == 0) {
        list_verbs();
        return SOL_OK;
    }
    const sol_verb *v = sol_verb_find(p->word[0]);
    if (v) {
        sol_verb_usage(v, stdout);
        return SOL_OK;
    }
    const char *names[64] = {"config"};
    int n = 1;
    for (int i = 0; i < sol_verb_count() && n < 64; i++) names[n++] = sol_verb_at(i)->name;
    const char *near = sol_nearest_name(p->word[0], names, n);
    return sol_fail(err, SOL_ERR_USAGE, "no help on '%s'%s%s%s", p->word[0], near ? "; did you mean '" : "",
                    near ? near : "", near ? "'?" : "");
}

const sol_verb sol_verb_help = {
    .name = "help",
    .words = "[VERB | config [SECTION]]",
    .max_words = 2,
    .summary = "this list, a verb, or every key of a job file",
    .run = run,
};
