#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "program.h"

/* A reader that closed our stdout has seen enough. */
static void on_sigpipe(int sig)
{
    (void)sig;
    _exit(0);
}

static sol_status unknown_verb(const char *word, sol_err *err)
{
    const char *names[64];
    int n = 0;
    for (; n < sol_verb_count() && n < 64; n++) names[n] = sol_verb_at(n)->name;
    const char *near = sol_nearest_name(word, names, n);
    return near ? sol_fail(err, SOL_ERR_USAGE, "unknown verb '%s'; did you mean '%s'? `solera help` lists them all",
                           word, near)
                : sol_fail(err, SOL_ERR_USAGE, "unknown verb '%s'; `solera help` lists them all", word);
}

static sol_status run_verb(sol_program *p, int argc, char **argv, sol_err *err)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    void *args = NULL;
    bool help = false;
    if (!name) return sol_fail(err, SOL_ERR_USAGE, "no verb given; `solera help` lists them");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    p->verb = sol_verb_find(name);
    if (!p->verb) return unknown_verb(name, err);
    sol_status st = sol_alloc_array(&args, 1, p->verb->args_size, err);
    if (st == SOL_OK) st = sol_args_parse(p, argc - 2, argv + 2, args, &help, err);
    if (st == SOL_OK && help)
        sol_verb_usage(p->verb, stdout);
    else if (st == SOL_OK)
        st = p->verb->run(p, args, err);
    if (args) sol_args_free(p, args);
    sol_free(args);
    return st;
}

int main(int argc, char **argv)
{
    sol_err err = {0};
    sol_program p;
    sol_program_init(&p);
    signal(SIGPIPE, on_sigpipe);
    sol_status st = run_verb(&p, argc, argv, &err);
    sol_live_clear(&p);
    if ((fflush(stdout) != 0 || ferror(stdout)) && st == SOL_OK)
        st = sol_fail(&err, SOL_ERR_LIBRARY, "stdout: not all of the output could be written");
    if (st != SOL_OK)
        fprintf(stderr, "solera%s%s: %s\n", p.verb ? " " : "", p.verb ? p.verb->name : "",
                err.text[0] ? err.text : sol_status_text(st));
    sol_program_free(&p);
    return sol_status_exit_code(st);
}
