/* Small models and files for the fuzzers and for the program that makes their seeds. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_check(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    fuzz_check(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

/* Not inside a longer name, as data_digest. */
static void rename_all(uint8_t *data, size_t size, const char *name)
{
    size_t n = strlen(name) + 1;
    for (uint8_t *at = data; (at = memmem(at, size - (size_t)(at - data), name, n)); at++)
        if (at == data || at[-1] != '_') at[n - 2] = 'X';
}

const char *fuzz_h5_file(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    fuzz_check(copy != NULL);
    if (size) memcpy(copy, data, size);
    rename_all(copy, size, "digest");
    rename_all(copy, size, "crc32c");
    const char *path = fuzz_file(copy, size);
    free(copy);
    return path;
}

sol_model *fuzz_tiny_model(int64_t vocab, int64_t width)
{
    sol_model *m;
    sol_model_config c = {
        .vocab_size = vocab,
        .hidden_size = width,
        .intermediate_size = width,
        .num_hidden_layers = 1,
        .num_attention_heads = 2,
        .num_key_value_heads = 1,
        .head_dim = width / 2,
        .max_position_embeddings = 16,
        .rms_norm_eps = 1e-5,
        .rope_theta = 1e4,
        .tie_word_embeddings = true,
        .bos_token_id = 1,
        .eos_token_id = 2,
        .n_more_eos = 1,
        .more_eos = {0},
    };
    fuzz_check(sol_model_create(&m, &c, SOL_F32, NULL) == SOL_OK);
    sol_model_init_random(NULL, m, 3);
    return m;
}

sol_tokenizer *fuzz_tiny_tokenizer(void)
{
    enum { VOCAB = 3 + 256 + 1 };
    static char text[256][8];
    static sol_span tokens[VOCAB] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, [259] = {"ab", 2}};
    static float scores[VOCAB] = {[259] = -1};
    static int32_t types[VOCAB] = {2, 3, 3, [259] = 1};
    for (int i = 0; i < 256; i++) {
        snprintf(text[i], sizeof text[i], "<0x%02X>", (unsigned)i);
        tokens[3 + i] = (sol_span){text[i], 6};
        types[3 + i] = 6;
    }
    sol_tokenizer_arrays a = {.model = "llama",
                              .tokens = tokens,
                              .n_tokens = VOCAB,
                              .scores = scores,
                              .types = types,
                              .bos = 1,
                              .eos = 2,
                              .add_bos = 1,
                              .add_eos = 0,
                              .add_space_prefix = 1};
    sol_tokenizer *t;
    fuzz_check(sol_tokenizer_from_arrays(&t, "tiny", &a, NULL) == SOL_OK);
    return t;
}

static char dir[64];

static void remove_dir(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) fprintf(stderr, "cannot remove %s\n", dir);
}

const char *fuzz_dir(void)
{
    if (dir[0]) return dir;
    snprintf(dir, sizeof dir, "%s/solera-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_check(mkdtemp(dir) != NULL);
    atexit(remove_dir);
    return dir;
}

void fuzz_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    fuzz_check(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

void fuzz_import(sol_source *s)
{
    char out[96];
    sol_err err = {0};
    int64_t weights;
    snprintf(out, sizeof out, "%s/import.h5", fuzz_dir());
    if (sol_source_to_file(s, out, SOL_F32, NULL, NULL, &weights, &err) == SOL_OK) {
        sol_model_file f;
        fuzz_check(sol_model_file_read(&f, out, SOL_F32, NULL, &err) == SOL_OK);
        sol_model_file_free(&f);
    } else {
        fuzz_check(err.text[0]);
    }
    sol_source_close(s);
}
