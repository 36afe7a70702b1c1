/* The tables of verbs, options and config keys in the forms that other programs read: manual pages
 * and completions of shells. `make install` writes them with `solera help --as FORM`. */
#ifndef SOLERA_TRAIN_HELP_FORMS_H
#define SOLERA_TRAIN_HELP_FORMS_H

#include "program.h"

/* A page in man(7), section 1: of the program, with every verb; of one verb. */
void sol_man_program(FILE *to);
void sol_man_verb(const sol_verb *v, FILE *to);
/* Section 5: a job file; `reference` is the text of sol_config_reference. */
void sol_man_config(const char *reference, FILE *to);

/* What a shell reads to complete verbs, options, their words, and keys of --set. */
typedef enum { SOL_SHELL_BASH, SOL_SHELL_ZSH, SOL_SHELL_FISH } sol_shell;
void sol_completion(sol_shell shell, FILE *to);

#endif
