/* What test programs share: temporary directories, third-party data, a small tokenizer. */
#include "suite.h"

#include <string.h>
#include <unistd.h>

/* What the programs of SINGLE (Makefile) are linked to in place of pthread_create. */
int __wrap_pthread_create(void);
int __wrap_pthread_create(void)
{
    fprintf(stderr,
            "a program of SINGLE starts a thread: take it from that list in the Makefile\n");
    abort();
}

const char *sol_test_data(const char *name)
{
    static char path[1024];
    const char *root = getenv("SOLERA_DATA");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/data", name);
    if (sol_file_exists(path)) return path;
    printf("further: needs %s\n", name);
    fflush(stdout);
    return NULL;
}

void sol_test_dir_make(char path[64])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/solera-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
}

void sol_test_dir_remove(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}

int sol_test_sets(sol_cpu_features set[SOL_TEST_SETS])
{
    sol_cpu cpu;
    int n = 0;
    set[0] = 0;
    sol_cpu_detect(&cpu);
    do ck_assert_int_lt(++n, SOL_TEST_SETS);
    while ((set[n] = sol_cpu_next(&cpu, set[n - 1])) != 0);
    return n;
}

sol_status sol_test_write_checkpoint(const sol_checkpoint *c, const char *path, sol_dtype dtype,
                                     sol_err *err)
{
    sol_checkpoint_view v = {.model = c->file.model,
                             .tokenizer = c->file.tokenizer,
                             .config_yaml = c->file.config_yaml,
                             .quant = c->file.quant,
                             .windows = c->file.windows,
                             .optim = c->optim,
                             .state = c->state,
                             .study = c->study,
                             .study_bytes = c->study_bytes};
    return sol_checkpoint_write(&v, path, dtype, err);
}

void sol_test_config(sol_model_config *c, const char *path)
{
    sol_model_file f;
    ck_ok(sol_model_file_describe(&f, path, SOL_F32, err));
    *c = f.model->config;
    sol_model_file_free(&f);
}

void sol_test_byte_tokenizer(sol_tokenizer **t)
{
    static char text[256][8];
    static sol_span tokens[SOL_TEST_BYTE_VOCAB] = {{"<unk>", 5},
                                                   {"<s>", 3},
                                                   {"</s>", 4},
                                                   [259] = {"\xe2\x96\x81"
                                                            "ab",
                                                            5},
                                                   [260] = {"ab", 2}};
    static float scores[SOL_TEST_BYTE_VOCAB] = {[259] = -2, [260] = -1};
    static int32_t types[SOL_TEST_BYTE_VOCAB] = {2, 3, 3, [259] = 1, [260] = 1};
    for (int i = 0; i < 256; i++) {
        snprintf(text[i], sizeof text[i], "<0x%02X>", (unsigned)i);
        tokens[3 + i] = (sol_span){text[i], 6};
        types[3 + i] = 6;
    }
    sol_tokenizer_arrays a = {.model = "llama",
                              .tokens = tokens,
                              .n_tokens = SOL_TEST_BYTE_VOCAB,
                              .scores = scores,
                              .types = types,
                              .bos = 1,
                              .eos = 2,
                              .add_bos = 1,
                              .add_eos = 0,
                              .add_space_prefix = 1};
    ck_ok(sol_tokenizer_from_arrays(t, "test", &a, err));
}

sol_model *sol_test_tiny_model(sol_dtype dtype, bool tied)
{
    sol_model_config c = {.vocab_size = 33,
                          .hidden_size = 20,
                          .intermediate_size = 36,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = 10,
                          .max_position_embeddings = 8,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = tied,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    sol_model *m;
    ck_ok(sol_model_create(&m, &c, dtype, err));
    sol_model_init_random(NULL, m, 3);
    return m;
}
