/* The text of one JSON value, decoded where it stands: a string, or the string under "text" of an
 * object. No memory besides, so that a document of any length costs its own bytes alone. */
#ifndef SOLERA_TEXT_JSONTEXT_H
#define SOLERA_TEXT_JSONTEXT_H

#include <stdint.h>

#include "text/tokenizer.h"

/* json[n] is overwritten; *text points into it: UTF-8, which may hold the character 0. Other fields
 * must be JSON (NaN and Infinity too, as Python writes them) and are not looked at; of several
 * "text" the last one counts. name and line begin errors, which are SOL_ERR_FORMAT: no JSON, more
 * behind the value, no string under "text", text that is no Unicode (half of a surrogate pair,
 * bytes that are no UTF-8). */
sol_status sol_json_text(char *json, size_t n, const char *name, int64_t line, sol_span *text,
                         sol_err *err);

#endif
