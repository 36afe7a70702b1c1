/* Checks a model's configuration, and holds the shapes that have a name (`random:SHAPE`). */
#include <math.h>
#include <string.h>

#include "model/model.h"
#include "text/utf8.h"

/* Bounds that keep every product of dimensions far inside int64_t; no published model comes near
 * them. */
enum {
    MAX_VOCAB = 1 << 26,
    MAX_HIDDEN = 1 << 20,
    MAX_FFN = 1 << 22,
    MAX_LAYERS = 1 << 12,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 14,
    MAX_POSITIONS = 1 << 30
};

void sol_origin_take(char *field, size_t size, const char *text, size_t n)
{
    if (n == 0 || n >= size || sol_utf8_valid_prefix(text, n) != n) return;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return;
    memcpy(field, text, n);
    field[n] = 0;
}

/* Whether low <= value <= high; `field` names it. */
static sol_status check_int(const char *field, int64_t value, int64_t low, int64_t high,
                            sol_err *err)
{
    if (value >= low && value <= high) return SOL_OK;
    return sol_fail(err, SOL_ERR_RANGE, "%s is %lld: must lie in %lld..%lld", field,
                    (long long)value, (long long)low, (long long)high);
}

bool sol_model_is_eos(const sol_model_config *c, int64_t id)
{
    bool is = id >= 0 && id == c->eos_token_id;
    for (int64_t i = 0; i < c->n_more_eos; i++) is = is || id == c->more_eos[i];
    return is;
}

sol_status sol_model_add_eos(sol_model_config *c, int64_t id, sol_err *err)
{
    if (id < 0 || sol_model_is_eos(c, id)) return SOL_OK;
    if (c->eos_token_id < 0) {
        c->eos_token_id = id;
        return SOL_OK;
    }
    if (c->n_more_eos == SOL_MAX_EOS - 1)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "more than %d tokens end a text", SOL_MAX_EOS);
    c->more_eos[c->n_more_eos++] = id;
    return SOL_OK;
}

int64_t sol_layer_window(const sol_model_config *c, int64_t layer)
{
    return layer < c->max_window_layers ? 0 : c->sliding_window;
}

bool sol_layer_has_rope(const sol_model_config *c, int64_t layer)
{
    return c->no_rope_layer_interval == 0 || (layer + 1) % c->no_rope_layer_interval != 0;
}

/* Whether every whole number is in its range. */
static sol_status check_sizes(const sol_model_config *c, sol_err *err)
{
    const struct {
        const char *field;
        int64_t value, low, high;
    } rows[] = {
        {"vocab_size", c->vocab_size, 1, MAX_VOCAB},
        {"hidden_size", c->hidden_size, 1, MAX_HIDDEN},
        {"intermediate_size", c->intermediate_size, 1, MAX_FFN},
        {"num_hidden_layers", c->num_hidden_layers, 1, MAX_LAYERS},
        {"num_attention_heads", c->num_attention_heads, 1, MAX_HEADS},
        {"num_key_value_heads", c->num_key_value_heads, 1, MAX_HEADS},
        {"head_dim", c->head_dim, 2, MAX_HEAD_DIM},
        {"max_position_embeddings", c->max_position_embeddings, 1, MAX_POSITIONS},
        {"sliding_window", c->sliding_window, 0, MAX_POSITIONS},
        {"max_window_layers", c->max_window_layers, 0, MAX_LAYERS},
        {"no_rope_layer_interval", c->no_rope_layer_interval, 0, MAX_LAYERS},
        {"bos_token_id", c->bos_token_id, -1, c->vocab_size - 1},
        {"eos_token_id", c->eos_token_id, -1, c->vocab_size - 1},
        {"number of further EOS", c->n_more_eos, 0, c->eos_token_id < 0 ? 0 : SOL_MAX_EOS - 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        SOL_TRY(check_int(rows[i].field, rows[i].value, rows[i].low, rows[i].high, err));
    for (int64_t i = 0; i < c->n_more_eos; i++)
        SOL_TRY(check_int("eos_token_id", c->more_eos[i], 0, c->vocab_size - 1, err));
    return SOL_OK;
}

/* The negated comparisons also catch NaN. */
static sol_status check_rope(const sol_model_config *c, sol_err *err)
{
    if (!(c->rope_theta > 1 && c->rope_theta <= 1e12))
        return sol_fail(err, SOL_ERR_RANGE, "rope_theta is %g: must lie in 1..1e12, 1 excluded",
                        c->rope_theta);
    if (c->rope_factor == 0) return SOL_OK;
    if (!(c->rope_factor >= 1 && c->rope_factor <= 1e6))
        return sol_fail(err, SOL_ERR_RANGE,
                        "rope_scaling factor is %g: must lie in 1..1e6 (0: no scaling)",
                        c->rope_factor);
    if (!(c->rope_low_freq_factor > 0 && c->rope_high_freq_factor > c->rope_low_freq_factor &&
          c->rope_high_freq_factor <= 1e6))
        return sol_fail(
            err, SOL_ERR_RANGE,
            "rope_scaling low_freq_factor %g and high_freq_factor %g: need 0 < low < high",
            c->rope_low_freq_factor, c->rope_high_freq_factor);
    return check_int("rope_scaling original_max_position_embeddings", c->rope_original_max_position,
                     1, MAX_POSITIONS, err);
}

sol_status sol_model_config_check(const sol_model_config *c, sol_err *err)
{
    SOL_TRY(check_sizes(c, err));
    if (c->head_dim % 2 != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "head_dim is %lld: must be even, RoPE rotates pairs",
                        (long long)c->head_dim);
    if (c->num_attention_heads % c->num_key_value_heads != 0)
        return sol_fail(
            err, SOL_ERR_SHAPE,
            "num_attention_heads is %lld: must be a multiple of num_key_value_heads, %lld",
            (long long)c->num_attention_heads, (long long)c->num_key_value_heads);
    if (!(c->rms_norm_eps > 0 && c->rms_norm_eps <= 1))
        return sol_fail(err, SOL_ERR_RANGE, "rms_norm_eps is %g: must lie in 0..1, 0 excluded",
                        c->rms_norm_eps);
    return check_rope(c, err);
}

/* All tied. llama3: with its scaling of RoPE. */
typedef struct shape_row {
    const char *name;
    sol_family family;
    int64_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim, positions;
    double theta, eps;
    bool llama3;
    int64_t bos, eos;
} shape_row;

/* Short for the rows. */
#define LLAMA SOL_FAMILY_LLAMA
#define QWEN2 SOL_FAMILY_QWEN2
#define QWEN3 SOL_FAMILY_QWEN3
#define SMOLLM3 SOL_FAMILY_SMOLLM3

static const shape_row shapes[] = {
    {"llama-3.2-1b", LLAMA, 128256, 2048, 8192, 16, 32, 8, 64, 131072, 5e5, 1e-5, true, 128000,
     128001},
    {"llama-3.2-3b", LLAMA, 128256, 3072, 8192, 28, 24, 8, 128, 131072, 5e5, 1e-5, true, 128000,
     128001},
    /* One block of the 1B model with a vocabulary that does not count: for measuring. */
    {"llama-3.2-1b-layer", LLAMA, 256, 2048, 8192, 1, 32, 8, 64, 131072, 5e5, 1e-5, true, -1, -1},
    {"smollm2-135m", LLAMA, 49152, 576, 1536, 30, 9, 3, 64, 8192, 1e5, 1e-5, false, 1, 2},
    {"smollm3-3b", SMOLLM3, 128256, 2048, 11008, 36, 16, 4, 128, 65536, 5e6, 1e-6, false, 128000,
     128012},
    {"qwen2.5-0.5b", QWEN2, 151936, 896, 4864, 24, 14, 2, 64, 32768, 1e6, 1e-6, false, 151643,
     151643},
    {"qwen3-0.6b", QWEN3, 151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e6, 1e-6, false, 151643,
     151645},
    {"15m", LLAMA, 32000, 288, 768, 6, 6, 6, 48, 256, 1e4, 1e-5, false, 1, 2},
    /* The model of checkpoints/: the last two tokens are begin and end of text. */
    {"embedded", LLAMA, 2048, 256, 768, 4, 4, 2, 64, 2048, 5e5, 1e-5, true, 2046, 2047},
    /* 1.4 M parameters: the second model of configs/study. The vocabulary is that of `embedded`. */
    {"mini", LLAMA, 2048, 128, 384, 6, 4, 2, 32, 2048, 5e5, 1e-5, true, 2046, 2047},
    /* Milliseconds a step: for tests and for trying out a job. */
    {"tiny", LLAMA, 512, 64, 128, 2, 2, 1, 32, 512, 5e5, 1e-5, true, -1, -1},
};
#undef LLAMA
#undef QWEN2
#undef QWEN3
#undef SMOLLM3
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

int sol_model_shape_count(void)
{
    return N_SHAPES;
}

const char *sol_model_shape_name(int i)
{
    return shapes[i].name;
}

/* A named shape as a configuration. */
static void config_from_row(sol_model_config *c, const shape_row *s)
{
    *c = (sol_model_config){
        .vocab_size = s->vocab,
        .hidden_size = s->hidden,
        .intermediate_size = s->ffn,
        .num_hidden_layers = s->layers,
        .num_attention_heads = s->heads,
        .num_key_value_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .max_position_embeddings = s->positions,
        .rms_norm_eps = s->eps,
        .rope_theta = s->theta,
        .tie_word_embeddings = true,
        .bos_token_id = s->bos,
        .eos_token_id = s->eos,
    };
    sol_family_apply(&sol_families[s->family], c);
    if (s->family == SOL_FAMILY_SMOLLM3) c->no_rope_layer_interval = 4;
    if (!s->llama3) return;
    c->rope_factor = 32;
    c->rope_low_freq_factor = 1;
    c->rope_high_freq_factor = 4;
    c->rope_original_max_position = 8192;
}

sol_status sol_model_config_named(const char *name, sol_model_config *c, sol_err *err)
{
    const char *names[N_SHAPES];
    char hint[SOL_HINT];
    for (int i = 0; i < N_SHAPES; i++) {
        names[i] = shapes[i].name;
        if (strcmp(name, names[i]) != 0) continue;
        config_from_row(c, &shapes[i]);
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_USAGE, "unknown model shape '%.64s'%s", name,
                    sol_name_hint(hint, name, names, N_SHAPES, NULL));
}

/* The highest frequency is 1: it turns 1/(2 pi) times in a context of one token, less than the low
 * factor. */
void sol_rope_set_linear(sol_model_config *c, double factor)
{
    c->rope_factor = factor;
    c->rope_low_freq_factor = 1;
    c->rope_high_freq_factor = 4;
    c->rope_original_max_position = 1;
}

bool sol_rope_is_linear(const sol_model_config *c)
{
    return c->rope_factor != 0 && c->rope_original_max_position == 1 &&
           c->rope_low_freq_factor == 1 && c->rope_high_freq_factor == 4;
}

/* Llama3 scaling keeps short wavelengths, divides long ones by the factor, and joins the two in
 * between:
 *
 *   wavelength = 2 pi / f
 *   smooth = (original / wavelength - low) / (high - low), clamped to 0..1
 *   f' = (1 - smooth) f / factor + smooth f */
void sol_rope_inv_freq(const sol_model_config *c, float *inv_freq)
{
    int64_t half = c->head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        double f = pow(c->rope_theta, -(double)(2 * i) / (double)c->head_dim);
        if (c->rope_factor != 0) {
            double turns = (double)c->rope_original_max_position * f / (2 * M_PI);
            double smooth = (turns - c->rope_low_freq_factor) /
                            (c->rope_high_freq_factor - c->rope_low_freq_factor);
            smooth = smooth < 0 ? 0 : smooth > 1 ? 1 : smooth;
            f = (1 - smooth) * f / c->rope_factor + smooth * f;
        }
        inv_freq[i] = (float)f;
    }
}

void sol_rope_tables(const sol_model_config *c, int64_t T, float *cos_table, float *sin_table)
{
    float inv_freq[MAX_HEAD_DIM / 2];
    int64_t half = c->head_dim / 2;
    sol_rope_inv_freq(c, inv_freq);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)t * (double)inv_freq[i];
            cos_table[t * half + i] = (float)cos(angle);
            sin_table[t * half + i] = (float)sin(angle);
        }
    }
}
