/* Where an imported model comes from: its name, where it is published, its licence. Internal to
 * foreign. */
#ifndef SOLERA_FOREIGN_ORIGIN_H
#define SOLERA_FOREIGN_ORIGIN_H

#include <jansson.h>

#include "foreign/gguf.h"
#include "foreign/source.h"

/* Of a Hugging Face folder: the front matter of its README.md, config.json's _name_or_path, the
 * name of the folder. A folder that an export of ours wrote names the model that one came from. */
sol_status sol_origin_of_folder(sol_source *s, const json_t *config, sol_err *err);
/* Of a GGUF file: general.license, general.name and general.source.repo_url; of one that an export
 * of ours wrote general.base_model.0. */
void sol_origin_of_gguf(sol_source *s, const sol_gguf *g);
/* What a user says instead; NULL: nothing. base: NAME, ORG/NAME or a URL. */
void sol_origin_set(sol_origin *o, const char *license, const char *base);
/* Of a file without metadata: its name. */
void sol_origin_of_path(sol_source *s, const char *path);

#endif
