/* llama2.c .bin models for tests: read here independently of the importer, with gradients written
 * back in the file's order. */
#ifndef SOLERA_TESTS_LLAMA2C_FILE_H
#define SOLERA_TESTS_LLAMA2C_FILE_H

#include "solera.h"

/* The model of a .bin file, q and k rows permuted to half-split RoPE. */
void sol_test_llama2c_read(sol_model **m, const char *path);

/* Walks the tensors of the file's layout (all layers of a kind together): kinds 0..10 are tok_emb,
 * att_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3, final_norm. Copies between `flat` (order of the
 * model's block) and `file` (order of the .bin). */
enum { SOL_TEST_LLAMA2C_KINDS = 11 };
extern const char *const sol_test_llama2c_kind[SOL_TEST_LLAMA2C_KINDS];
void sol_test_llama2c_order(const sol_model *m, float *flat, float *file, bool to_file);
/* Elements of a kind, all layers. */
int64_t sol_test_llama2c_count(const sol_model *m, int kind);

#endif
