/* Templates in Jinja, as chat templates are written and transformers runs them: trim_blocks and
 * lstrip_blocks are on, break and continue known, {% generation %} is a block that is reported.
 *
 *     sol_jinja *t;
 *     json_t *given = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 1);
 *     sol_text out = {0};
 *     st = sol_jinja_create(&t, text, err);
 *     if (st == SOL_OK) st = sol_jinja_render(t, given, NULL, NULL, &out, err);
 *
 * What templates of chats use is here: if, for, set, macro, the operators, slices, tests, the
 * filters and methods of jinja_value.c, namespace, range, dict, raise_exception, strftime_now. All
 * else is refused by name where it is reached, so that what is written is what Jinja writes. */
#ifndef SOLERA_CHAT_JINJA_H
#define SOLERA_CHAT_JINJA_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "base/text.h"

typedef struct sol_jinja sol_jinja;

/* Errors of both begin with the line of the template: SOL_ERR_UNSUPPORTED; SOL_ERR_FORMAT for what
 * is no Jinja or fails in it, and what raise_exception says; SOL_ERR_RANGE for a template that runs
 * or nests without end. The text is copied. */
sol_status sol_jinja_create(sol_jinja **t, const char *text, sol_err *err);
void sol_jinja_free(sol_jinja **t);
bool sol_jinja_has_blocks(const sol_jinja *t); /* of {% generation %} */

/* What a {% generation %} block wrote: bytes [begin, end) of the result. */
typedef sol_status (*sol_jinja_block_fn)(void *user, size_t begin, size_t end, sol_err *err);

/* Appends what the template writes to *out; `given` holds its variables. Strings need not be UTF-8:
 * other bytes are characters by themselves. block: NULL, or called at the end of each block, unless
 * that is in a macro. */
sol_status sol_jinja_render(const sol_jinja *t, json_t *given, sol_jinja_block_fn block, void *user,
                            sol_text *out, sol_err *err);

#endif
