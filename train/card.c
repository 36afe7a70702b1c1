/* Writes the model card beside an export, a page and a JSON file: reads back what was written
 * and what it was made from. */
#include "card.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "foreign/tensors.h"
#include "h5/h5.h"
#include "program.h"

static const char mark[] = "<!-- model card of solera -->";

static bool is_folder(const sol_card *c)
{
    return strcmp(c->format, "safetensors") == 0;
}

/* Without folders, and without slashes at the end. */
static json_t *base_name(const char *path)
{
    size_t to = strlen(path), from;
    while (to > 1 && path[to - 1] == '/') to--;
    for (from = to; from > 0 && path[from - 1] != '/';) from--;
    return json_stringn(path + from, to - from);
}

/* ---- tensors of the exported file ---- */

/* sol_tensor_fn: one more of the list. */
static void add_tensor(void *list, const sol_tensor_info *t)
{
    double weights = 1;
    json_t *shape = json_array();
    for (int d = 0; d < t->n_dims; d++) {
        json_array_append_new(shape, json_integer(t->dim[d]));
        weights *= (double)t->dim[d];
    }
    json_array_append_new(list, json_pack("{s:s%, s:s, s:o, s:f, s:I}", "name", t->name,
                                          (size_t)t->n_name, "type", t->type, "shape", shape,
                                          "bits_per_weight",
                                          weights > 0 ? 8.0 * (double)t->bytes / weights : 0.0,
                                          "bytes", (json_int_t)t->bytes));
}

/* ---- where it comes from ---- */

static json_t *attr_json(const sol_h5_attr *a)
{
    double real;
    int64_t whole;
    if (a->type == SOL_H5_STRING) return json_string(a->value);
    if (a->type == SOL_H5_F64) {
        memcpy(&real, a->value, sizeof real);
        return real - real == 0 ? json_real(real) : json_null();
    }
    if (a->type != SOL_H5_I64 && a->type != SOL_H5_U64) return NULL;
    memcpy(&whole, a->value, sizeof whole);
    return json_integer(whole);
}

static void add_group(json_t *card, const sol_h5_file *f, const char *path, const char *name,
                      const char *const *only)
{
    const sol_h5_node *n = sol_h5_find(f, path);
    if (!n) return;
    json_t *o = json_object();
    for (size_t i = 0; i < n->n_attrs; i++) {
        bool wanted = !only;
        if (only)
            for (int k = 0; only[k]; k++) wanted |= strcmp(only[k], n->attr[i].name) == 0;
        json_t *value = wanted ? attr_json(&n->attr[i]) : NULL;
        if (value) json_object_set_new(o, n->attr[i].name, value);
    }
    if (json_object_size(o)) json_object_set(card, name, o);
    json_decref(o);
}

/* One name, or of a mixture names and weights. */
static json_t *training_data(const sol_config *c)
{
    const sol_sources *files = c->data.train;
    if (c->data.source == SOL_DATA_SELF) return json_string("sampled from the base model");
    if (files->n == 1) return base_name(files->row[0].path);
    json_t *list = json_array();
    for (int i = 0; i < files->n; i++)
        json_array_append_new(list, json_pack("{s:o, s:f}", "file", base_name(files->row[i].path),
                                              "weight", files->row[i].weight));
    return list;
}

/* What another person needs to do it again; folders of this machine are left out, and so is a job
 * that this program does not understand (a later one wrote it). */
static sol_status add_job(json_t *card, const char *yaml, sol_err *err)
{
    sol_config *c = NULL;
    sol_err why = {0};
    sol_status st = sol_config_parse(&c, "job", yaml, strlen(yaml), &why);
    if (st == SOL_ERR_NOMEM) return sol_fail(err, st, "%s", why.text);
    if (st != SOL_OK) return SOL_OK;
    json_object_set_new(card, "base_model", base_name(c->model.init));
    json_object_set_new(
        card, "data",
        json_pack("{s:o, s:o}", "train", training_data(c), "eval", base_name(c->data.eval)));
    json_object_set_new(
        card, "recipe",
        json_pack("{s:I, s:I, s:I, s:I, s:s, s:f, s:I, s:s, s:s, s:b, s:f, s:I}", "steps",
                  (json_int_t)c->train.steps, "batch", (json_int_t)c->train.batch, "seq",
                  (json_int_t)c->train.seq, "accumulate", (json_int_t)c->train.accumulate,
                  "lr_schedule", sol_config_word(c, "optim.schedule"), "lr", c->optim.lr,
                  "lr_warmup_steps", (json_int_t)c->optim.warmup_steps, "residual_schedule",
                  sol_config_quantizes(c) ? sol_config_word(c, "residual.schedule") : "none",
                  "residual_form", sol_config_word(c, "residual.form"), "residual_warmup",
                  c->residual.warmup, "residual_end_fraction", c->residual.end_fraction, "seed",
                  (json_int_t)c->run.seed));
    sol_config_free(&c);
    return SOL_OK;
}

static sol_status add_source(json_t *card, const sol_card *c, sol_err *err)
{
    static const char *const losses[] = {"step",           "tokens",    "ema_loss",
                                         "best_eval_loss", "best_step", NULL};
    sol_h5_file f;
    sol_status st = sol_h5_open(&f, c->source, err);
    if (st != SOL_OK) return st;
    add_group(card, &f, "/model", "model", NULL);
    if (!c->rounded_with) add_group(card, &f, "/quant", "quantizer", NULL);
    if (c->rounded_with) {
        const sol_quant_spec *q = c->rounded_with;
        json_object_set_new(card, "quantizer",
                            json_pack("{s:s, s:s, s:i, s:s, s:s}", "method", q->method->name,
                                      "granularity", sol_granularity_name(q->granularity),
                                      "group_size", q->group_size, "block_layout",
                                      sol_layout_name(q->layout), "trained",
                                      "no: rounded after training"));
    }
    add_group(card, &f, "/state", "training", losses);
    const sol_h5_attr *yaml = sol_h5_node_attr(&f.tree.node[0], "config");
    if (yaml && yaml->type == SOL_H5_STRING) st = add_job(card, yaml->value, err);
    sol_h5_close(&f);
    return st;
}

/* ---- README.md ---- */

static void add_tensor_table(sol_text *t, const json_t *tensors, sol_err *err)
{
    enum { MOST = 64 };
    struct row {
        char name[SOL_PARAM_NAME];
        const json_t *first;
        int count;
    } row[MOST];
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
        if (k == MOST) continue;
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

/* "name: value" of a group, a line each. */
static void add_list(sol_text *t, const json_t *card, const char *key, const char *title,
                     sol_err *err)
{
    json_t *group = json_object_get(card, key), *value;
    const char *name;
    if (!group) return;
    sol_text_add(t, err, "\n## %s\n\n", title);
    json_object_foreach(group, name, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        sol_text_add(t, err, "- %s: %s\n", name,
                     json_is_string(value) ? json_string_value(value)
                     : text                ? text
                                           : "?");
        free(text);
    }
}

static void add_how_to_run(sol_text *t, const sol_card *c, const char *file, bool stq, sol_err *err)
{
    sol_text_add(t, err, "\n## How to run it\n\n```sh\n");
    if (strcmp(c->format, "gguf") == 0) {
        sol_text_add(t, err,
                     "llama-completion -m %s -no-cnv -p \"Once upon a time\" -n 100      # "
                     "llama.cpp%s; old versions: llama-cli\n",
                     file, stq ? " with STQ1_0" : "");
        sol_text_add(t, err,
                     "solera import %s -o model.h5 && solera generate model.h5 -p \"Once upon a "
                     "time\" -n 100\n",
                     file);
    } else if (is_folder(c)) {
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

static sol_status make_readme(const sol_card *c, const json_t *card, sol_text *t, sol_err *err)
{
    const char *base = json_string_value(json_object_get(card, "base_model")),
               *file = json_string_value(json_object_get(card, "file"));
    const json_t *tensors = json_object_get(card, "tensors");
    char data_file[SOL_PATH_MAX];
    bool stq = false;
    size_t i;
    const json_t *one;
    snprintf(data_file, sizeof data_file, is_folder(c) ? "solera.json" : "%s.json", file);
    json_array_foreach(tensors, i, one) stq |=
        strcmp(json_string_value(json_object_get(one, "type")), "STQ1_0") == 0;
    sol_text_add(t, err, "%s\n# %s\n\nA language model, written by solera %s", mark, file,
                 SOL_VERSION);
    sol_text_add(t, err, base ? " from a model that was trained from %s.\n\n" : ".%s\n\n",
                 base ? base : "");
    sol_text_add(t, err,
                 "Its linear layers are %s. The whole file has %.1f MB. `%s` has all of this in a "
                 "form for programs.\n\n",
                 !c->quantized     ? "plain weights"
                 : c->rounded_with ? "quantized without training"
                                   : "quantized, as the training saw them",
                 (double)json_integer_value(json_object_get(card, "bytes")) / 1e6, data_file);
    add_tensor_table(t, tensors, err);
    add_list(t, card, "quantizer", "Quantizer", err);
    add_list(t, card, "recipe", "Recipe", err);
    add_list(t, card, "data", "Data", err);
    add_list(t, card, "training", "Training and losses (nats a token)", err);
    add_how_to_run(t, c, file, stq, err);
    return t->status;
}

/* ---- */

static sol_status make_card(const sol_card *c, json_t *card, sol_err *err)
{
    json_t *tensors = json_array(), *one;
    json_int_t bytes = 0;
    size_t i;
    bool folder = is_folder(c);
    json_object_set_new(card, "solera", json_string(SOL_VERSION));
    json_object_set_new(card, "file", base_name(c->out));
    json_object_set_new(card, "format", json_string(c->format));
    json_object_set_new(card, "source", base_name(c->source));
    json_object_set_new(card, "tensors", tensors);
    sol_status st = sol_file_tensors(c->out, add_tensor, tensors, err);
    json_array_foreach(tensors, i, one) bytes += json_integer_value(json_object_get(one, "bytes"));
    uint64_t size = (uint64_t)bytes;
    if (st == SOL_OK && !folder) st = sol_file_size(c->out, &size, err);
    json_object_set_new(card, "bytes", json_integer((json_int_t)size));
    return st == SOL_OK ? add_source(card, c, err) : st;
}

/* Writes a part of the card, unless a file of its name is there that does not begin as cards do. */
static sol_status write_own(const char *path, const char *begins, const char *data, size_t n,
                            char kept[SOL_PATH_MAX], sol_err *err)
{
    char *text = NULL;
    size_t size;
    bool ours = !sol_file_exists(path) || (sol_file_read(path, &text, &size, NULL) == SOL_OK &&
                                           strncmp(text, begins, strlen(begins)) == 0);
    sol_free(text);
    if (ours) return sol_file_write(path, data, n, err);
    snprintf(kept, SOL_PATH_MAX, "%s", path);
    return SOL_OK;
}

sol_status sol_card_write(const sol_card *c, char kept[SOL_PATH_MAX], sol_err *err)
{
    bool folder = is_folder(c);
    char path[SOL_PATH_MAX], *json = NULL;
    json_t *card = json_object();
    sol_text readme = {0};
    kept[0] = 0;
    sol_status st = make_card(c, card, err);
    if (st == SOL_OK &&
        !(json = json_dumps(card, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9))))
        st = sol_fail(err, SOL_ERR_NOMEM, "out of memory for the model card");
    if (st == SOL_OK) st = make_readme(c, card, &readme, err);
    snprintf(path, sizeof path, folder ? "%s/solera.json" : "%s.json", c->out);
    if (st == SOL_OK) st = write_own(path, "{\n \"solera\":", json, strlen(json), kept, err);
    snprintf(path, sizeof path, folder ? "%s/README.md" : "%s.md", c->out);
    if (st == SOL_OK) st = write_own(path, mark, readme.data, readme.n, kept, err);
    sol_free(readme.data);
    free(json);
    json_decref(card);
    return st;
}
