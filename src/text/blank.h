/* White space as Python has it (str.isspace, the \s of its regular expressions), which decides in
 * lm-evaluation-harness where a context ends, how many words a page has, and what strip() takes
 * away. Texts are UTF-8. */
#ifndef SOLERA_TEXT_BLANK_H
#define SOLERA_TEXT_BLANK_H

#include <stddef.h>

/* Bytes of the blank that text[n] begins or ends with; 0: none. */
size_t sol_blank_first(const char *text, size_t n);
size_t sol_blank_last(const char *text, size_t n);
/* strip(): moves *text and shortens *n. */
void sol_blank_strip(const char **text, size_t *n);

#endif
