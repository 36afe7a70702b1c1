/* What reading and writing GGUF share: constants of RoPE and decimal numbers. Internal to foreign. */
#ifndef SOLERA_FOREIGN_GGUF_NUMBERS_H
#define SOLERA_FOREIGN_GGUF_NUMBERS_H

#include "model/model.h"

/* What llama3 scaling divides the frequency of RoPE pair i by. */
double sol_gguf_rope_divisor(const sol_model_config *c, int64_t i);
/* The decimal number with few digits whose float x is: 1e-5 for 9.99999974738e-06. */
double sol_gguf_decimal(double x);

#endif
