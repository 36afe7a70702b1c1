/* What generate and chat have in common: a conversation as the ids of a prompt, and text on its way
 * to the terminal. */
#ifndef SOLERA_TRAIN_TALK_H
#define SOLERA_TRAIN_TALK_H

#include "program.h"
#include "chat/chat.h"

/* How tokens are drawn. A verb's args struct has them as `talk`, its option table
 * SOL_TALK_OPTIONS(struct args). */
typedef struct sol_talk_args {
    int64_t seed;
    double temp, top_p;
} sol_talk_args;

#define SOL_TALK_OPTIONS(args) \
    {.name = "--temp", \
     .value = "T", \
     .kind = SOL_OPT_REAL, \
     .offset = offsetof(args, talk.temp), \
     .preset = "0.8", \
     .min = 0, \
     .max = 100, \
     .help = "temperature; 0: always the most likely token"}, \
        {.name = "--seed", \
         .value = "S", \
         .kind = SOL_OPT_INT, \
         .offset = offsetof(args, talk.seed), \
         .preset = "1", \
         .help = "the same seed gives the same text"}, \
    { \
        .name = "--top-p", .value = "P", .kind = SOL_OPT_REAL, \
        .offset = offsetof(args, talk.top_p), .preset = "1", .max = 1, \
        .help = "draw from the fewest tokens that hold P of the probability" \
    }

/* SOL_ERR_USAGE where an option is given that has no effect, because nothing is drawn. */
sol_status sol_talk_check(const sol_program *p, const sol_talk_args *a, sol_err *err);

/* Appends to *ids what a model of this format is given so that it answers messages[n]. */
sol_status sol_talk_prompt(const sol_tokenizer *t, const sol_chat_format *f,
                           const sol_chat_message *messages, size_t n, sol_ids *ids, sol_err *err);

typedef struct sol_printer {
    const char *prompt; /* printed before the first new text: not when the work fails before */
    sol_text *copy;     /* what was printed, without the prompt; NULL: not wanted */
    bool terminal, ends_line;
} sol_printer;

/* A sol_text_fn that prints to stdout; on a terminal control characters of the model stay out of
 * it. user: a sol_printer. */
void sol_talk_print(void *user, const char *text, size_t n);
/* A sol_text_fn that keeps text, for what is a C string later: without the bytes 0 that a token may
 * have. user: a sol_text. */
void sol_talk_keep(void *user, const char *text, size_t n);
/* For sol_generate_opts: whether a signal came. */
bool sol_talk_interrupted(void *user);

#endif
