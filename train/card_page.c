/* The page of a model card: front matter as model hubs read it, then what a person wants to know in
 * the order of asking: what it is, how good, whose, how to run it, how it was made. */
#include "card.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

/* Further from full precision than this, in nats a token, a model has a warning: ten percent of
 * perplexity. */
static const double far_gap = 0.1;

static const char *text_of(const json_t *card, const char *group, const char *key)
{
    return json_string_value(json_object_get(json_object_get(card, group), key));
}

static double number_of(const json_t *card, const char *group, const char *key)
{
    const json_t *value = json_object_get(json_object_get(card, group), key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---- front matter ---- */

/* A YAML scalar between double quotes, unless it is one word of safe characters. */
static void add_scalar(sol_text *t, const char *key, const char *value, sol_err *err)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    if (!value) return;
    bool plain = strspn(value, safe) == strlen(value);
    sol_text_add(t, err, "%s: %s", key, plain ? "" : "\"");
    for (; *value; value++)
        sol_text_add(t, err, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    sol_text_add(t, err, plain ? "\n" : "\"\n");
}

static void add_front_matter(sol_text *t, const sol_card *c, const json_t *card, sol_err *err)
{
    const char *repo = text_of(card, "origin", "repo");
    bool gguf = c->format == SOL_CARD_GGUF, folder = c->format == SOL_CARD_FOLDER;
    sol_text_add(t, err, "---\n");
    add_scalar(t, "license", text_of(card, "origin", "license"), err);
    add_scalar(t, "license_name", text_of(card, "origin", "license_name"), err);
    add_scalar(t, "license_link", text_of(card, "origin", "license_link"), err);
    if (repo && !strstr(repo, "://")) {
        add_scalar(t, "base_model", repo, err);
        sol_text_add(t, err, "base_model_relation: %s\n", c->quantized ? "quantized" : "finetune");
    }
    add_scalar(t, "base_model_name", text_of(card, "origin", "name"), err);
    if (folder) sol_text_add(t, err, "library_name: transformers\n");
    sol_text_add(t, err, "pipeline_tag: text-generation\ntags:\n- solera\n%s%s---\n",
                 gguf ? "- gguf\n" : "", c->quantized ? "- ternary\n" : "");
}

/* ---- what it is, how good it is ---- */

static void add_what(sol_text *t, const sol_card *c, const json_t *card, sol_err *err)
{
    const char *base = json_string_value(json_object_get(card, "base_model")),
               *method = text_of(card, "quantizer", "method"),
               *file = json_string_value(json_object_get(card, "file"));
    double bytes = (double)json_integer_value(json_object_get(card, "bytes")),
           weights = (double)json_integer_value(json_object_get(card, "weights"));
    char count[32], facts[SOL_PATH_MAX];
    snprintf(facts, sizeof facts, c->format == SOL_CARD_FOLDER ? "solera.json" : "%s.json", file);
    sol_text_add(t, err, "# %s\n\n%s, ", file, base ? base : "A language model");
    if (c->quantized)
        sol_text_add(t, err, "its linear layers quantized%s%s, %s, by solera %s.",
                     method ? " by " : "", method ? method : "",
                     c->rounded_with ? "without training" : "as the training saw them",
                     SOL_VERSION);
    else
        sol_text_add(t, err, "its linear layers plain weights, written by solera %s.", SOL_VERSION);
    sol_text_add(t, err,
                 " %s weights take %.4g bits each, embedding and scales included: %.1f MB. `%s` "
                 "has all of this in a form for programs.\n\n",
                 sol_count_text(weights, count),
                 json_real_value(json_object_get(card, "bits_per_weight")), bytes / 1e6, facts);
}

/* A model that is not known to be good must not look like a good one. */
static void add_warning(sol_text *t, const sol_card *c, const json_t *card, sol_err *err)
{
    double loss = number_of(card, "evaluation", "loss"),
           full = number_of(card, "evaluation", "full_precision_loss"),
           tokens = number_of(card, "training", "tokens");
    char seen[32] = "0", text[160] = "";
    bool trained = text_of(card, "quantizer", "method") && !c->rounded_with;
    if (tokens > 0) sol_count_text(tokens, seen);
    if (trained && tokens > 0)
        snprintf(text, sizeof text,
                 " It was trained on %s tokens; the published recipe for such weights takes ten "
                 "billion.",
                 seen);
    if (c->rounded_with)
        sol_text_add(t, err,
                     "> **Warning.** The weights were rounded and not trained for it, which "
                     "spoils a model: expect text without sense.\n\n");
    else if (trained && full > 0 && loss - full > far_gap)
        sol_text_add(t, err,
                     "> **Warning.** This model is far from full precision: its perplexity is %.1f "
                     "where the model that it started from has %.1f, %.2f nats a token more.%s\n\n",
                     exp(loss), exp(full), loss - full, text);
    else if (trained && !(full > 0))
        sol_text_add(t, err,
                     "> **Warning.** How far this model is from full precision was not "
                     "measured.%s\n\n",
                     text);
}

static void add_measured(sol_text *t, const json_t *card, sol_err *err)
{
    double loss = number_of(card, "evaluation", "loss"),
           full = number_of(card, "evaluation", "full_precision_loss"),
           step = number_of(card, "evaluation", "step"), own = number_of(card, "training", "step"),
           windows = number_of(card, "evaluation", "windows");
    const char *documents = text_of(card, "evaluation", "documents"),
               *data = text_of(card, "evaluation", "data");
    if (!(loss > 0)) return;
    sol_text_add(t, err,
                 "## Measured\n\n| | loss (nats a token) | perplexity |\n|---|---:|---:|\n");
    if (full > 0)
        sol_text_add(t, err, "| full precision, before the training | %.4f | %.2f |\n", full,
                     exp(full));
    sol_text_add(t, err, "| after step %.0f%s | %.4f | %.2f |\n", step,
                 step == own ? "" : ", the best one", loss, exp(loss));
    sol_text_add(t, err, "\nOn %s, ", data);
    if (windows > 0)
        sol_text_add(t, err, "the first %.0f windows", windows);
    else
        sol_text_add(t, err, "all windows");
    sol_text_add(t, err,
                 " of %.0f tokens, %s, by the run itself at lambda 0: the linear layers as they "
                 "ship.%s\n\n",
                 number_of(card, "evaluation", "seq"),
                 documents && strcmp(documents, "joined") == 0 ? "documents joined"
                                                               : "attention inside documents only",
                 step == own ? "" : " This file is of another step.");
}

static void add_origin(sol_text *t, const json_t *card, sol_err *err)
{
    const char *name = text_of(card, "origin", "name"), *repo = text_of(card, "origin", "repo"),
               *license = text_of(card, "origin", "license"),
               *license_name = text_of(card, "origin", "license_name"),
               *link = text_of(card, "origin", "license_link");
    if (!name && !license) return;
    sol_text_add(t, err, "\n## Base model and licence\n\n");
    if (name)
        sol_text_add(t, err, "- base model: %s%s%s%s\n", name, repo ? " (" : "", repo ? repo : "",
                     repo ? ")" : "");
    sol_text_add(t, err, "- licence: %s%s%s%s%s\n",
                 license ? license : "not known: that of the base model applies",
                 license_name ? ", " : "", license_name ? license_name : "", link ? ", " : "",
                 link ? link : "");
}

/* ---- how it was made ---- */

static void add_value(sol_text *t, const json_t *value, sol_err *err)
{
    const char *name;
    json_t *one;
    int n = 0;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (json_is_string(value))
        sol_text_add(t, err, "%s", json_string_value(value));
    else if (!json_is_object(value))
        sol_text_add(t, err, "%s", text ? text : "?");
    free(text);
    if (json_is_object(value)) json_object_foreach((json_t *)value, name, one)
        {
            sol_text_add(t, err, "%s%s ", n++ ? ", " : "", name);
            add_value(t, one, err);
        }
}

/* "name: value" of a group, a line each; a group in it, as the weights of a mixture, in one line.
 */
static void add_list(sol_text *t, const json_t *card, const char *key, const char *title,
                     sol_err *err)
{
    json_t *group = json_object_get(card, key), *value;
    const char *name;
    if (json_object_size(group) == 0) return;
    sol_text_add(t, err, "\n## %s\n\n", title);
    json_object_foreach(group, name, value)
    {
        if (json_is_string(value) && !json_string_value(value)[0]) continue;
        sol_text_add(t, err, "- %s: ", name);
        add_value(t, value, err);
        sol_text_add(t, err, "\n");
    }
}

static void add_tensor_table(sol_text *t, const json_t *tensors, sol_err *err)
{
    enum { MAX = 64 };
    struct row {
        char name[SOL_PARAM_NAME];
        const json_t *first;
        int count;
    } row[MAX];
    int n = 0;
    size_t i;
    const json_t *one;
    json_array_foreach(tensors, i, one)
    {
        char name[SOL_PARAM_NAME];
        int k = 0;
        sol_param_pattern(json_string_value(json_object_get(one, "name")), name);
        /* cppcheck-suppress negativeIndex -- k counts up from 0 */
        while (k < n && strcmp(row[k].name, name) != 0) k++;
        if (k == MAX) continue;
        if (k == n) {
            row[n].first = one;
            row[n].count = 0;
            memcpy(row[n++].name, name, sizeof name);
        }
        row[k].count++;
    }
    sol_text_add(t, err,
                 "## Weights\n\n| tensors | number | shape | type | bits a weight "
                 "|\n|---|---:|---|---|---:|\n");
    for (int k = 0; k < n; k++) {
        char *shape = json_dumps(json_object_get(row[k].first, "shape"), 0);
        sol_text_add(t, err, "| %s | %d | %s | %s | %.4g |\n", row[k].name, row[k].count,
                     shape ? shape : "?", json_string_value(json_object_get(row[k].first, "type")),
                     json_real_value(json_object_get(row[k].first, "bits_per_weight")));
        free(shape);
    }
}

static void add_how_to_run(sol_text *t, const sol_card *c, const char *file, bool stq, sol_err *err)
{
    sol_text_add(t, err, "\n## How to run it\n\n```sh\n");
    if (c->format == SOL_CARD_GGUF) {
        sol_text_add(t, err,
                     "llama-completion -m %s -no-cnv -p \"Once upon a time\" -n 100      # "
                     "llama.cpp%s; old versions: llama-cli\n",
                     file, stq ? " with STQ1_0" : "");
        sol_text_add(t, err,
                     "solera import %s -o model.h5 && solera generate model.h5 -p \"Once upon a "
                     "time\" -n 100\n",
                     file);
    } else if (c->format == SOL_CARD_FOLDER) {
        sol_text_add(t, err,
                     "python3 -c 'from transformers import pipeline; "
                     "print(pipeline(\"text-generation\", \"%s\")(\"Once upon a time\"))'\n",
                     file);
        sol_text_add(t, err,
                     "solera import %s -o model.h5 && solera generate model.h5 -p \"Once upon a "
                     "time\" -n 100\n",
                     file);
    } else {
        sol_text_add(
            t, err,
            "solera generate %s -p \"Once upon a time\" -n 100\nsolera eval %s --text FILE\n", file,
            file);
        if (c->gguf_type)
            sol_text_add(t, err,
                         "solera export %s -o model.gguf --type %s && \\\n"
                         "    llama-completion -m model.gguf -no-cnv -p \"Once upon a time\" -n "
                         "100      # llama.cpp; old versions: llama-cli\n",
                         file, c->gguf_type);
    }
    sol_text_add(t, err, "```\n");
}

sol_status sol_card_page(const sol_card *c, const json_t *card, sol_text *t, sol_err *err)
{
    static const char *const lists[][2] = {{"quantizer", "Quantizer"},
                                           {"data", "Data"},
                                           {"training", "Training"},
                                           {"objective", "Loss: weights of its terms"},
                                           {"teacher", "Teacher"},
                                           {"residual", "Residual"},
                                           {"calibration", "Calibration"},
                                           {"recipe", "Recipe"},
                                           {"digests", "Digests and program"}};
    const char *file = json_string_value(json_object_get(card, "file"));
    bool stq = false;
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(card, "tensors"), i, one) stq |=
        strcmp(json_string_value(json_object_get(one, "type")), "STQ1_0") == 0;
    add_front_matter(t, c, card, err);
    sol_text_add(t, err, "%s\n", SOL_CARD_MARK);
    add_what(t, c, card, err);
    add_warning(t, c, card, err);
    add_measured(t, card, err);
    add_tensor_table(t, json_object_get(card, "tensors"), err);
    add_how_to_run(t, c, file, stq, err);
    add_origin(t, card, err);
    for (i = 0; i < sizeof lists / sizeof *lists; i++)
        add_list(t, card, lists[i][0], lists[i][1], err);
    sol_text_add(t, err, "- program: solera %s, commit %s\n", SOL_VERSION, sol_build_commit);
    return t->status;
}
