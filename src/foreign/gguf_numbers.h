/* What reading and writing GGUF share: keys, constants of RoPE and decimal numbers. Internal to
 * foreign. */
#ifndef SOLERA_FOREIGN_GGUF_NUMBERS_H
#define SOLERA_FOREIGN_GGUF_NUMBERS_H

#include "model/model.h"

/* llama.cpp leaves this layer of a family with layers without RoPE so, the fourth, the eighth and
 * so on; no key says otherwise. */
enum { SOL_GGUF_NO_ROPE_INTERVAL = 4 };
/* "qwen3.context_length" for "context_length": a key of the model's architecture, in `key`, which
 * is returned. */
enum { SOL_GGUF_KEY = 96 };
const char *sol_gguf_key(const sol_model_config *c, const char *name, char key[SOL_GGUF_KEY]);
/* What llama3 scaling divides the frequency of RoPE pair i by. */
double sol_gguf_rope_divisor(const sol_model_config *c, int64_t i);
/* The decimal number with few digits whose float x is: 1e-5 for 9.99999974738e-06. */
double sol_gguf_decimal(double x);

#endif
