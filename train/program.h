/* The program around the library: verbs, their options, the context, what goes to stderr, signals.
 *
 * A verb is one file train/cmd_<verb>.c and one row in commands.def:
 *
 *     struct args { const char *out; int64_t n; bool json; sol_words set; };
 *     static const sol_opt options[] = {
 *         {.name = "-o", .value = "OUT", .kind = SOL_OPT_TEXT,
 *          .offset = offsetof(struct args, out), .required = true, .help = "file to write"},
 *         {.name = "-n", .value = "N", .kind = SOL_OPT_INT, .offset = offsetof(struct args, n),
 *          .preset = "200", .min = 1, .max = 1e9, .help = "tokens"},
 *         {.name = "--json", .kind = SOL_OPT_FLAG, .offset = offsetof(struct args, json),
 *          .help = "..."},
 *         {0}};
 *     static sol_status run(sol_program *p, void *args, sol_err *err)
 *     {
 *         struct args *a = args;
 *         return sol_file_write(a->out, p->word[0], strlen(p->word[0]), err);
 *     }
 *     const sol_verb sol_verb_foo = {
 *         .name = "foo", .words = "FILE", .min_words = 1, .max_words = 1,
 *         .summary = "...", .options = options, .args_size = sizeof(struct args), .run = run};
 *
 * run prints results on stdout and returns a status; main prints the error's text on stderr and
 * turns the status into the exit code. Every verb has the options of sol_common_options and --help
 * besides its own. */
#ifndef SOLERA_TRAIN_PROGRAM_H
#define SOLERA_TRAIN_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "solera.h"

typedef struct sol_program sol_program;

typedef enum sol_opt_kind {
    SOL_OPT_FLAG, /* bool */
    SOL_OPT_TEXT, /* const char * */
    SOL_OPT_ENUM, /* an enum as large as an int, by its names */
    SOL_OPT_INT,  /* int64_t within [min, max] (no limits when both are 0) */
    SOL_OPT_REAL, /* double within [min, max] */
    SOL_OPT_EACH, /* sol_words: one word, may be given again */
    SOL_OPT_LIST, /* sol_words: all words up to the next option, may be given again */
} sol_opt_kind;

typedef struct sol_words {
    const char **word; /* owned by the program, released after run */
    int n;
    size_t capacity;
} sol_words;

typedef struct sol_opt {
    const char *name;  /* "--json", "-o"; NULL ends the table */
    const char *value; /* name of the value in the usage text; NULL for a flag */
    sol_opt_kind kind;
    size_t offset; /* of the field in the verb's args struct */
    const char *help;
    const char *preset;          /* the default as it would be typed; NULL: 0, NULL, empty */
    const char *choices;         /* SOL_OPT_TEXT: the allowed words, "a|b|c"; NULL: any */
    const sol_enumerator *names; /* SOL_OPT_ENUM: what may be typed */
    bool reads;                  /* a file that is read: - stands for /dev/stdin */
    const char *with; /* options of the verb, "--a|--b": without any of them this one has no effect
                         and is refused */
    const char *without; /* likewise: with any of them */
    double min, max;
    bool required;
} sol_opt;

typedef struct sol_verb {
    const char *name;
    const char *words; /* the positional words in the usage line; NULL: none */
    int min_words, max_words;
    bool ranks;          /* runs over the ranks of MPI; others with words do so in one process */
    bool takes_model;    /* the first word is a model file, or the directory of a run */
    const char *summary; /* one line for `solera help` */
    const char *details; /* more for `solera help <verb>`, may be NULL */
    const sol_opt *options;
    size_t args_size;
    sol_status (*run)(sol_program *p, void *args, sol_err *err);
} sol_verb;

struct sol_program {
    const sol_verb *verb;
    const char **word; /* positional words */
    int n_words;
    bool given[64];            /* of each row of the verb's options: was it on the command line? */
    int64_t threads;           /* 0: as many as this process may run on */
    const char *tier;          /* "best" or a tier */
    const char *cpu;           /* "best" or a list of features (sol_cpu_parse) */
    sol_cpu_features features; /* that one of both chose */
    sol_log log;               /* to stderr, and to log_file when it is set */
    FILE *log_file;            /* borrowed */
    sol_ctx *ctx;              /* made by sol_program_ctx */
    sol_dist *dist;            /* made by sol_program_dist; NULL: one rank */
    bool quiet;                /* -q: of the log lines warnings alone; no live line */
    bool verbose;              /* -v: what log.txt gets, too */
    bool terminal;             /* stderr is one that can redraw a line */
    bool color;
    char live[512];           /* the live line on the screen; empty: none */
    double live_at;           /* when it was drawn last */
    char model[SOL_PATH_MAX]; /* the checkpoint of the run that word[0] was (run_model.h) */
};

/* What the program is, in one line. */
#define SOL_PROGRAM_SUMMARY \
    "3:4 sparse ternary (1.25-bit) quantization-aware training of LLaMA models on CPUs"

/* The commit that this program was built from; "": unknown. */
extern const char sol_build_commit[];

/* All verbs in the order of commands.def; find returns NULL for an unknown name. */
int sol_verb_count(void);
const sol_verb *sol_verb_at(int i);
const sol_verb *sol_verb_find(const char *name);

/* The options that every verb has, and its own; NULL names end both tables. */
extern const sol_opt sol_common_options[];
const sol_opt *sol_verb_options(const sol_verb *v);

/* Parses argv[0..n) (what follows the verb) into *args and p->word. *help is set when --help was
 * among them. */
sol_status sol_args_parse(sol_program *p, int n, char **argv, void *args, bool *help, sol_err *err);
void sol_args_free(sol_program *p, void *args);
/* Whether one of the verb's options "--a|--b" was given, be it with its default. */
bool sol_args_given(const sol_program *p, const char *names);
/* "solera foo FILE -o OUT [-n N]", the options and the details. */
void sol_verb_usage(const sol_verb *v, FILE *to);

/* A program without a verb; sol_program_free releases what it holds. */
void sol_program_init(sol_program *p);
void sol_program_free(sol_program *p);
/* Sets p->features by --tier or --cpu. Refused: both, and a feature that this processor lacks. */
sol_status sol_program_choose_kernels(sol_program *p, sol_err *err);
/* The context for -t and p->features, made at the first call; owned by the program. */
sol_status sol_program_ctx(sol_program *p, sol_ctx **ctx, sol_err *err);
/* The ranks of the job, started at the first call; owned by the program. Ranks other than the first
 * are silent from then on, on stdout, too. */
sol_status sol_program_dist(sol_program *p, sol_dist **dist, sol_err *err);

/* The live line: on a terminal drawn over itself (at most 10 times a second unless `now`),
 * otherwise nothing. Log lines go above it. Two spaces part its fields: where it is wider than the
 * terminal, the first and the last one stay, and of the others as many as there is room for. */
bool sol_live_due(const sol_program *p);
void sol_live_show(sol_program *p, bool now, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sol_live_clear(sol_program *p);
/* A phase of known length: a live line with what is done and the time left. `show` is a
 * sol_eval_watch (eval/eval.h), `show_part` a sol_progress (base/progress.h); both take a
 * sol_phase and return !sol_interrupted(). */
typedef struct sol_phase {
    sol_program *program;
    const char *what, *unit; /* "evaluating", "tokens" */
    double begun;            /* sol_clock() */
} sol_phase;
bool sol_phase_show(void *phase, int64_t done, int64_t total);
bool sol_phase_show_part(void *phase, const char *part, int64_t done, int64_t total);
/* "3m20s left" from the share that is done since `begun`, "? left" before there is any; into a
 * buffer of at least 48 bytes; returns it. */
const char *sol_left_text(double begun, double done, double total, char *buffer);

/* "1h02m", "3m20s", "12s" into a buffer of at least 32 bytes; returns it. */
const char *sol_duration_text(double seconds, char *buffer);
/* "1.5 GiB" likewise. */
const char *sol_bytes_text(double bytes, char *buffer);
/* "1.24 M" likewise. */
const char *sol_count_text(double count, char *buffer);

/* After sol_interrupt_catch the first SIGINT, SIGTERM or SIGUSR1 only sets the flag that
 * sol_interrupted reads, a second SIGINT ends the process at once with 130. SIGHUP is ignored from
 * then on; SIGPIPE, too, where files are written: a reader that goes away then ends nothing, while
 * a verb whose results go to stdout is done with it. */
void sol_interrupt_catch(bool writes_files);
bool sol_interrupted(void);
/* Shows nothing, and ends the call that it is given to after a signal. */
extern const sol_progress sol_until_interrupted;
/* Clears the flag: what a signal was to end has ended, and the program goes on. */
void sol_interrupt_forget(void);

#endif
