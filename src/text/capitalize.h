/* Python's str.capitalize(), which lm-evaluation-harness makes HellaSwag's texts with. */
#ifndef SOLERA_TEXT_CAPITALIZE_H
#define SOLERA_TEXT_CAPITALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

/* Appends s[n], UTF-8, to *to: the first character in its title form, which may be several
 * ("Ss" of U+00DF), all others small, and the sigma that ends a word in its own form. */
sol_status sol_capitalize(const char *s, size_t n, sol_text *to, sol_err *err);
/* Whether a character is a letter of one case, or differs in upper or lower case. */
bool sol_has_case(uint32_t c);

#endif
