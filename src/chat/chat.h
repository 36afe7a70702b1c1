/* Conversations as text, by the chat template that a model was published with, a program in Jinja
 * (chat/jinja.h), so that the text is that of transformers; or by one of five that are built in:
 *
 *   chatml    <|im_start|>role, a line end, the content, <|im_end|>, a line end
 *   llama3    <|start_header_id|>role<|end_header_id|>, an empty line, the content, <|eot_id|>
 *   qwen3     chatml, with thoughts before the last answer, and left out of earlier ones
 *   smollm3   chatml, below a system message of its own with today's date and the mode of thinking
 *   mistral   [INST] content [/INST] content</s>, as of Mistral 7B v0.2
 *
 *     sol_chat_format f;
 *     sol_chat_text chat = {0};
 *     sol_chat_message hello = {.role = "user", .content = "Hello"};
 *     sol_ids ids = {0};
 *     st = sol_chat_format_for(&f, tokenizer, NULL, err);
 *     if (st == SOL_OK) st = sol_chat_render(&f, &hello, 1, SOL_CHAT_OPEN, &chat, err);
 *     if (st == SOL_OK) st = sol_chat_encode(encoder, &chat, &ids, err);
 *     sol_chat_text_free(&chat);
 *     sol_chat_format_free(&f);
 *
 * What the assistant says is what the template puts between {% generation %} and {% endgeneration
 * %}. In a template without them it is what stands behind the prompt that asks for it, up to the
 * end of the content, with the token that ends it. scripts/compare_chat_templates.py compares
 * published templates with transformers. */
#ifndef SOLERA_CHAT_CHAT_H
#define SOLERA_CHAT_CHAT_H

#include <stddef.h>

#include "base/status.h"
#include "base/text.h"
#include "text/tokenizer.h"

#define SOL_CHAT_FORMATS "chatml|llama3|qwen3|mistral|smollm3"

typedef struct sol_chat_format {
    struct sol_jinja *template; /* owned */
    const char *name;           /* of one that is built in, else NULL; static */
    char *bos, *eos;            /* variables of the template; owned; NULL: undefined */
    int32_t end;                /* the token that ends an answer; -1: none */
    char end_text[64];          /* what follows an answer, up to the end of that token */
} sol_chat_format;
void sol_chat_format_free(sol_chat_format *f);

/* After a failure of any of these *f is empty. One that is built in: SOL_ERR_USAGE lists the names.
 * No vocabulary: end is -1. */
sol_status sol_chat_format_named(sol_chat_format *f, const char *name, sol_err *err);
/* That of a template. Errors of sol_jinja_create. */
sol_status sol_chat_format_of(sol_chat_format *f, const char *jinja, sol_err *err);
/* The format `name`, or where that is NULL the tokenizer's template, whose bos_token and eos_token
 * are the tokenizer's. SOL_ERR_UNSUPPORTED: there is no template, or it needs what is not known
 * here; or the vocabulary lacks a token of the format `name`. */
sol_status sol_chat_format_for(sol_chat_format *f, const sol_tokenizer *t, const char *name,
                               sol_err *err);

typedef struct sol_chat_message {
    const char *role; /* system, user, assistant or tool */
    const char *content;
    const char *name; /* of the speaker, or of the tool that answers; NULL: none */
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

/* The text of messages[n] with the ranges of answers. SOL_ERR_FORMAT: an unknown role, no message
 * at all, what the template refuses. SOL_ERR_UNSUPPORTED: see sol_jinja_render; or the place of an
 * answer cannot be told. */
sol_status sol_chat_render(const sol_chat_format *f, const sol_chat_message *messages, size_t n,
                           int end, sol_chat_text *c, sol_err *err);

/* Appends the ids of a rendered text to *ids, and makes its ranges those of ids. The text is cut at
 * the borders of answers: a token never holds bytes of both sides, as when the model answers. */
sol_status sol_chat_encode(sol_encoder *e, sol_chat_text *c, sol_ids *ids, sol_err *err);

#endif
