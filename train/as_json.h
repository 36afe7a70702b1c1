/* Texts and attributes of files as JSON, for inspect, runs and model cards. */
#ifndef SOLERA_TRAIN_AS_JSON_H
#define SOLERA_TRAIN_AS_JSON_H

#include <jansson.h>

#include "h5/h5.h"

/* A string of n bytes. JSON is UTF-8, the name of a file any bytes: what is no character becomes
 * U+FFFD. NULL: out of memory, as with all of jansson. */
json_t *sol_json_bytes(const char *bytes, size_t n);
/* The same of the last part of a path. */
json_t *sol_json_base_name(const char *path);
/* A digest or hash as a text of hexadecimal digits, since readers of JSON may lose bits of it as a
 * number; null for a number that is not finite; the name of its type for what solera does not
 * write. */
json_t *sol_json_attr(const sol_h5_attr *a);

#endif
