/* Looks up the names of enum constants in the tables that SOL_ENUM_TABLE makes: config, store
 * and the options of verbs read and write words through it. */
#include "base/enums.h"

#include <stdio.h>
#include <string.h>

bool sol_enum_find(const sol_enumerator *table, const char *text, size_t size, int *value)
{
    for (const sol_enumerator *e = table; e->name; e++) {
        if (strlen(e->name) != size || memcmp(e->name, text, size) != 0) continue;
        *value = e->value;
        return true;
    }
    return false;
}

const char *sol_enum_name(const sol_enumerator *table, int value)
{
    for (const sol_enumerator *e = table; e->name; e++)
        if (e->value == value) return e->name;
    return NULL;
}

const char *sol_enum_list(const sol_enumerator *table, const char *between, const char *last,
                          char *buffer, size_t size)
{
    size_t n = 0;
    buffer[0] = 0;
    for (const sol_enumerator *e = table; e->name && n < size; e++) {
        const char *before = e == table ? "" : e[1].name ? between : last;
        n += (size_t)snprintf(buffer + n, size - n, "%s%s", before, e->name);
    }
    return buffer;
}
