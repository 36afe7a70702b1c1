/* Conversations as text, by the chat templates of the families. The templates that models publish
 * are programs in Jinja; what those of five formats write is built in here:
 *
 *   chatml    <|im_start|>role, a line end, the content, <|im_end|>, a line end
 *   llama3    <|start_header_id|>role<|end_header_id|>, an empty line, the content, <|eot_id|>;
 *             from LLaMA 3.1 on below two dates in the system message
 *   qwen3     chatml, with thoughts before the last answer, and left out of earlier ones
 *   smollm3   chatml, below a system message of its own with today's date and the mode of thinking
 *   mistral   [INST] content [/INST] content</s>, in six forms that differ in blanks and in the
 * place of the system message; by name the first one that had a place for it
 *
 *     sol_chat_format f;
 *     sol_chat_text chat = {0};
 *     sol_chat_message hello = {"user", "Hello"};
 *     sol_ids ids = {0};
 *     st = sol_chat_format_for(&f, tokenizer, NULL, err);
 *     if (st == SOL_OK) st = sol_chat_render(&f, &hello, 1, SOL_CHAT_OPEN, &chat, err);
 *     if (st == SOL_OK) st = sol_chat_encode(encoder, &chat, &ids, err);
 *     sol_chat_text_free(&chat);
 *
 * A template is known by what it holds and what it does not (signs in chat.c), which
 * scripts/compare_chat_templates.py tries on published ones. A further format is a name, its tokens
 * and signs in chat.c, the function that writes a message, its Jinja in
 * scripts/make_golden_chat.py. */
#ifndef SOLERA_TEXT_CHAT_H
#define SOLERA_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"
#include "text/tokenizer.h"

typedef enum {
    SOL_CHAT_CHATML,
    SOL_CHAT_LLAMA3,
    SOL_CHAT_QWEN3,
    SOL_CHAT_MISTRAL,
    SOL_CHAT_SMOLLM3
} sol_chat_kind;
#define SOL_CHAT_FORMATS "chatml|llama3|qwen3|mistral|smollm3" /* their names, in this order */

typedef struct sol_chat_format {
    sol_chat_kind kind;
    char system[512];      /* chatml: what the template says where no system message does, or "" */
    bool tool_response;    /* chatml: results of tools come as a user's, as in qwen3 */
    int form;              /* mistral: row of the table in chat.c; 0: by name */
    char today[32];        /* smollm3, llama3: the date of the system message; "": without one */
    char persona[2][2048]; /* smollm3: what the template says, thinking and not, where no system
                            * message does; "" by name */
    bool override, ends_system; /* smollm3: knows /system_override; ends its system message */
    bool opens_thought; /* qwen3: a prompt ends in <think>, as of the models that always think */
} sol_chat_format;

/* SOL_ERR_USAGE lists the names. */
sol_status sol_chat_format_named(sol_chat_format *f, const char *name, sol_err *err);
/* By the marks of a published template's text. SOL_ERR_UNSUPPORTED: none of these; the text has the
 * template's FNV-1a and the way out. */
sol_status sol_chat_format_of(sol_chat_format *f, const char *jinja, sol_err *err);
/* The format `name`, or where that is NULL the one of the tokenizer's template.
 * SOL_ERR_UNSUPPORTED: there is no template, an unknown one, or the vocabulary lacks a token of the
 * format. */
sol_status sol_chat_format_for(sol_chat_format *f, const sol_tokenizer *t, const char *name,
                               sol_err *err);

typedef struct sol_chat_message {
    const char *role; /* system, user, assistant or tool */
    const char *content;
} sol_chat_message;

/* Bytes of a text, or ids: [begin, end). */
typedef struct sol_chat_range {
    size_t begin, end;
} sol_chat_range;

/* Start from {0}; reused by every call. */
typedef struct sol_chat_text {
    sol_text text;
    sol_chat_range *answer; /* what the assistant says, with the token that ends it; owned */
    size_t n_answers, capacity;
} sol_chat_text;
void sol_chat_text_free(sol_chat_text *c);

/* OPEN: the assistant's turn begins behind the last message. */
enum { SOL_CHAT_WHOLE, SOL_CHAT_OPEN };

/* The text of messages[n] with the ranges of answers. SOL_ERR_FORMAT names the message: an unknown
 * role, an order of roles that the format does not have, no message at all. */
sol_status sol_chat_render(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                           int end, sol_chat_text *c, sol_err *err);
/* The token that ends an answer, in a vocabulary that sol_chat_format_for accepted. */
int32_t sol_chat_end(const sol_chat_format *f, const sol_tokenizer *t);

/* Appends the ids of a rendered text to *ids, and makes its ranges those of ids. The text is cut at
 * the borders of answers: a token never holds bytes of both sides, as when the model answers. */
sol_status sol_chat_encode(sol_encoder *e, sol_chat_text *c, sol_ids *ids, sol_err *err);

#endif
