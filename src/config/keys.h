/* Inside the config module: the key table as data, and values from and to text. */
#ifndef SOLERA_CONFIG_KEYS_H
#define SOLERA_CONFIG_KEYS_H

#include "base/text.h"
#include "config/config.h"
#include "config/yaml_read.h"

enum {
    SOL_KEY_FREE = 0,
    SOL_KEY_RUN = 1,
    SOL_KEY_LENGTH = 2,
    SOL_KEY_REQUIRED = 4,
    SOL_KEY_PATH = 8,
    SOL_KEY_RESULT = 16
};

typedef enum {
    SOL_TYPE_TEXT,
    SOL_TYPE_ENUM,
    SOL_TYPE_INT,
    SOL_TYPE_REAL,
    SOL_TYPE_BOOL,
    SOL_TYPE_OVERRIDES,
    SOL_TYPE_SOURCES
} sol_key_type;

typedef struct sol_key {
    const char *section, *name, *path; /* "train", "steps", "train.steps" */
    sol_key_type type;
    size_t offset;               /* in sol_config */
    const char *preset;          /* the default as it would be written */
    const sol_enumerator *words; /* of an enum key; else NULL */
    double min, max;
    int flags;
    const char *help;
} sol_key;

typedef struct sol_key_section {
    const char *name, *help;
} sol_key_section;

extern const sol_key sol_keys[SOL_CONFIG_KEYS];
extern const sol_key_section sol_key_sections[];
extern const int sol_key_section_count;

/* Index of the key, -1: none. */
int sol_key_find(const char *path);
/* What the error about an unknown path ends with, as sol_name_hint has it. */
const char *sol_key_hint(char out[SOL_HINT], const char *path);

/* Sets key i from the text of a scalar; quoted: it stood in quotes, so that it is no number, no
 * bool, no null. The error has neither place nor key. */
sol_status sol_key_set(sol_config *c, int i, const char *text, size_t size, bool quoted,
                       sol_err *err);

/* Sets key i, of a type that may be a list, from the tree of its value. Errors have no place: *at
 * is what they are about. */
sol_status sol_key_set_list(sol_config *c, int i, const sol_yaml *list, const sol_yaml **at,
                            sol_err *err);

/* The rows of such lists, into *o and *s, which are NULL before. The caller owns them, also after
 * an error. */
sol_status sol_overrides_read(sol_quant_overrides **o, const sol_yaml *list, const sol_yaml **at,
                              sol_err *err);
sol_status sol_sources_read(sol_sources **s, const sol_yaml *list, const sol_yaml **at,
                            sol_err *err);
void sol_sources_free(sol_sources **s);
/* Adds a file behind the others. */
sol_status sol_sources_add(sol_sources **s, const char *path, size_t size, double weight,
                           sol_err *err);

/* A copy of a path that a key may have, valid UTF-8 without NUL. */
sol_status sol_key_copy_path(char **out, const char *text, size_t size, sol_err *err);

/* The value of key i as YAML. */
sol_status sol_key_add_value(sol_text *t, const sol_config *c, int i, sol_err *err);

#endif
