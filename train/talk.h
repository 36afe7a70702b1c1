/* What generate and chat have in common: a conversation as the ids of a prompt, and text on its way
 * to the terminal. */
#ifndef SOLERA_TRAIN_TALK_H
#define SOLERA_TRAIN_TALK_H

#include "program.h"
#include "text/chat.h"

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
/* For sol_generate_opts: whether a signal came. */
bool sol_talk_interrupted(void *user);

#endif
