/* Completion in bash, zsh and fish, printed by `solera help --as bash` from the tables of verbs,
 * options and config keys. Where no words are known, a shell offers files. */
#include <string.h>

#include "help_forms.h"

/* ---- words that a value may be ---- */

static bool names_key(const sol_opt *o)
{
    return strcmp(o->name, "--set") == 0;
}

static bool has_words(const sol_opt *o)
{
    return o->choices || o->names || names_key(o);
}

/* The words that an option takes, with spaces between them; a key as "train.steps=", since its
 * value follows. */
static void add_words(const sol_opt *o, FILE *to)
{
    char names[256];
    if (o->choices)
        for (const char *at = o->choices; *at; at++) fputc(*at == '|' ? ' ' : *at, to);
    if (o->names) fputs(sol_enum_list(o->names, " ", " ", names, sizeof names), to);
    int keys = names_key(o) ? SOL_CONFIG_KEYS : 0;
    for (int i = 0; i < keys; i++) fprintf(to, "%s%s=", i ? " " : "", sol_config_key_at(i));
}

static void add_verbs(FILE *to)
{
    for (int i = 0; i < sol_verb_count(); i++)
        fprintf(to, "%s%s", i ? " " : "", sol_verb_at(i)->name);
}

static void add_names(const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) fprintf(to, "%s ", o->name);
}

/* ---- bash ---- */

static void add_bash_values(const char *verb, const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) {
        if (!has_words(o)) continue;
        fprintf(to, "    %s\" %s\")", verb, o->name);
        if (names_key(o)) fputs(" compopt -o nospace;", to);
        fputs(" words=\"", to);
        add_words(o, to);
        fputs("\" ;;\n", to);
    }
}

static void bash(FILE *to)
{
    fputs("# bash completion of solera\n_solera() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local verb=${COMP_WORDS[1]} words=\n    COMPREPLY=()\n"
          "    case \"$verb $prev\" in\n",
          to);
    for (int i = 0; i < sol_verb_count(); i++)
        add_bash_values(sol_verb_at(i)->name, sol_verb_options(sol_verb_at(i)), to);
    add_bash_values("*", sol_common_options, to);
    fputs("    *)\n        case $cur in -*) case $verb in\n", to);
    for (int i = 0; i < sol_verb_count(); i++) {
        fprintf(to, "        %s) words=\"", sol_verb_at(i)->name);
        add_names(sol_verb_options(sol_verb_at(i)), to);
        fputs("\" ;;\n", to);
    }
    fputs("        esac\n        words=\"$words ", to);
    add_names(sol_common_options, to);
    fputs("--help\" ;; esac ;;\n    esac\n    if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"", to);
    add_verbs(to);
    fputs("\"; fi\n"
          "    if [ \"$COMP_CWORD\" -eq 2 ] && [ \"$verb\" = help ]; then words=\"config ",
          to);
    add_verbs(to);
    fputs(
        "\"; fi\n"
        "    [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n"
        "complete -o default -F _solera solera\n",
        to);
}

/* ---- zsh ---- */

/* Inside '...' of zsh, where _arguments and _describe give a meaning to brackets and colons. */
static void add_zsh_text(const char *text, FILE *to)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", to);
            continue;
        }
        if (strchr("[]:\\", *text)) fputc('\\', to);
        fputc(*text, to);
    }
}

static void add_zsh_options(const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) {
        const char *open = "_files", *close = "";
        if (has_words(o)) open = "(", close = ")";
        if (names_key(o)) open = "{compadd -S \"\" -- ", close = "}"; /* no space after = */
        fprintf(to, " \\\n        '%s%s[", o->kind == SOL_OPT_EACH ? "*" : "", o->name);
        add_zsh_text(o->help, to);
        fputc(']', to);
        if (o->value) fputc(':', to);
        if (o->value) add_zsh_text(o->value, to);
        if (o->value) fprintf(to, ":%s", open);
        add_words(o, to);
        fprintf(to, "%s'", o->value ? close : "");
    }
}

static void zsh(FILE *to)
{
    fputs("#compdef solera\n_solera() {\n    local -a verbs=(\n", to);
    for (int i = 0; i < sol_verb_count(); i++) {
        fprintf(to, "        '%s:", sol_verb_at(i)->name);
        add_zsh_text(sol_verb_at(i)->summary, to);
        fputs("'\n", to);
    }
    fputs("    )\n    if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
          "    shift words; (( CURRENT-- ))\n    case $words[1] in\n"
          "    help) _describe verb verbs ;;\n",
          to);
    for (int i = 0; i < sol_verb_count(); i++) {
        const sol_verb *v = sol_verb_at(i);
        if (strcmp(v->name, "help") == 0) continue;
        fprintf(to, "    %s) _arguments", v->name);
        add_zsh_options(sol_verb_options(v), to);
        add_zsh_options(sol_common_options, to);
        fputs(" \\\n        '--help[explain this verb]' '*:file:_files' ;;\n", to);
    }
    fputs("    esac\n}\n_solera \"$@\"\n", to);
}

/* ---- fish ---- */

static void add_fish_text(const char *text, FILE *to)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') fputc('\\', to);
        fputc(*text, to);
    }
}

static void add_fish_options(const char *verb, const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) {
        bool is_long = strncmp(o->name, "--", 2) == 0;
        fputs("complete -c solera", to);
        if (verb) fprintf(to, " -n '__fish_seen_subcommand_from %s'", verb);
        fprintf(to, " -%s %s", is_long ? "l" : "s", o->name + (is_long ? 2 : 1));
        if (o->value) fputs(has_words(o) ? " -x -a '" : " -r", to);
        add_words(o, to);
        fputs(has_words(o) ? "' -d '" : " -d '", to);
        add_fish_text(o->help, to);
        fputs("'\n", to);
    }
}

static void fish(FILE *to)
{
    fputs("# fish completion of solera\n", to);
    for (int i = 0; i < sol_verb_count(); i++) {
        const sol_verb *v = sol_verb_at(i);
        fprintf(to, "complete -c solera -f -n __fish_use_subcommand -a %s -d '", v->name);
        add_fish_text(v->summary, to);
        fputs("'\n", to);
        add_fish_options(v->name, sol_verb_options(v), to);
    }
    fputs("complete -c solera -f -n '__fish_seen_subcommand_from help' -a 'config ", to);
    add_verbs(to);
    fputs("'\n", to);
    add_fish_options(NULL, sol_common_options, to);
    fputs("complete -c solera -l help -d 'explain this verb'\n", to);
}

void sol_completion(sol_shell shell, FILE *to)
{
    static void (*const write[])(FILE *) = {
        [SOL_SHELL_BASH] = bash, [SOL_SHELL_ZSH] = zsh, [SOL_SHELL_FISH] = fish};
    write[shell](to);
}
