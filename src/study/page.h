/* A page of HTML that stands alone: it loads nothing and runs no script.
 *
 *     sol_page_begin(&t, "Sweep", "runs/methods", 0);
 *     sol_text_add(&t, NULL, "<h1>");
 *     sol_page_text(&t, "runs/methods");
 *     sol_text_add(&t, NULL, "</h1>\n</body>\n</html>\n"); */
#ifndef SOLERA_STUDY_PAGE_H
#define SOLERA_STUDY_PAGE_H

#include "base/text.h"

/* The head, and the beginning of the body. The title is "what: of"; `reload`: seconds after which a
 * browser looks again, 0: never. Classes of the style: td.n a number, .look words about a figure,
 * .box, .scroll around a wide table, .nb without line breaks; on paper .more is left out. */
void sol_page_begin(sol_text *t, const char *what, const char *of, int reload);
/* A text, with what HTML would read otherwise as entities. */
void sol_page_text(sol_text *t, const char *s);

#endif
