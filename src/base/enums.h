/* Enumerations whose constants have a name in files and on the command line. The owner of the enum
 * lists constants and names once; whoever reads or writes the names takes them from that list:
 *
 *     #define COLORS(ROW) ROW(RED, "red") ROW(BLUE, "blue")
 *     typedef enum { COLORS(SOL_ENUM_CONSTANT) } color;
 *     const sol_enumerator *colors = SOL_ENUM_TABLE(COLORS);
 *     int value = 0;
 *     color c = RED;
 *     if (sol_enum_find(colors, text, strlen(text), &value)) c = (color)value;
 *     puts(sol_enum_name(colors, c)); // "blue" for the text "blue"
 *
 * A list may also name some constants of an enum that is declared elsewhere. */
#ifndef SOLERA_BASE_ENUMS_H
#define SOLERA_BASE_ENUMS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sol_enumerator {
    const char *name; /* NULL ends a table */
    int value;
} sol_enumerator;

#define SOL_ENUM_CONSTANT(constant, name) constant,
#define SOL_ENUM_ROW(constant, name) {name, constant},
/* Static storage at file scope, that of the enclosing block elsewhere. */
#define SOL_ENUM_TABLE(LIST) ((const sol_enumerator[]){LIST(SOL_ENUM_ROW){NULL, 0}})

/* *value of the name, text[0, size); false, and *value as it was, when the table has no such
 * name. */
bool sol_enum_find(const sol_enumerator *table, const char *text, size_t size, int *value);
/* The name of a value; NULL: the table has none for it. Static storage, that of the table. */
const char *sol_enum_name(const sol_enumerator *table, int value);
/* All names, `between` them and `last` before the last one ("a, b or c"), cut to size bytes;
 * returns buffer. */
const char *sol_enum_list(const sol_enumerator *table, const char *between, const char *last,
                          char *buffer, size_t size);

#endif
