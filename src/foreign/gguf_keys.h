/* Which metadata of a GGUF file may stand in it: what would change the model or its tokenizer and
 * is not computed is refused by its key. Internal to foreign. */
#ifndef SOLERA_FOREIGN_GGUF_KEYS_H
#define SOLERA_FOREIGN_GGUF_KEYS_H

#include "foreign/gguf.h"
#include "model/model.h"

/* Everything but the tokenizer; `c` is what the file says about shapes. */
sol_status sol_gguf_check_model_keys(const sol_gguf *g, const sol_model_config *c, sol_err *err);
/* tokenizer.ggml.*, of which `c` is not a part. */
sol_status sol_gguf_check_tokenizer_keys(const sol_gguf *g, sol_err *err);

#endif
