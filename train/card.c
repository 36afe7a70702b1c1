/* The facts of a model card, as JSON: reads back what was exported and what it was made from. The
 * page about them is made by card_page.c. */
#include "card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "as_json.h"
#include "base/mem.h"
#include "base/text.h"
#include "foreign/tensors.h"
#include "program.h"

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

/* The attributes of a group; only: those of these names, NULL: all. */
static void add_group(json_t *card, const sol_h5_node *n, const char *name, const char *const *only)
{
    if (!n) return;
    json_t *o = json_object();
    for (size_t i = 0; i < n->n_attrs; i++) {
        bool wanted = !only;
        if (only)
            for (int k = 0; only[k]; k++) wanted |= strcmp(only[k], n->attr[i].name) == 0;
        json_t *value = wanted ? sol_json_attr(&n->attr[i]) : NULL;
        if (value) json_object_set_new(o, n->attr[i].name, value);
    }
    if (json_object_size(o)) json_object_set(card, name, o);
    json_decref(o);
}

/* One name, or of a mixture each name with its weight; files of one name in several folders
 * together. */
static json_t *training_data(const sol_config *c)
{
    static const char sampled[] = "sampled from the base model";
    const sol_sources *files = c->data.train;
    bool self = c->data.source == SOL_DATA_SELF;
    if (!files) return json_string(sampled);
    if (!self && files->n == 1) return sol_json_base_name(files->row[0].path);
    json_t *weights = json_object();
    if (self) json_object_set_new(weights, sampled, json_real(c->data.self_weight));
    for (int i = 0; i < files->n; i++) {
        json_t *name = sol_json_base_name(files->row[i].path);
        const char *key = json_string_value(name);
        double others = json_number_value(json_object_get(weights, key));
        json_object_set_new(weights, key, json_real(others + files->row[i].weight));
        json_decref(name);
    }
    return weights;
}

static json_t *teacher_of(const sol_config *c)
{
    bool self = sol_config_teaches_itself(c);
    return json_pack("{s:o, s:s, s:f, s:I, s:s}", "model",
                     self ? json_string("self: the base model")
                          : sol_json_base_name(c->distill.teacher),
                     "divergence", sol_config_word(c, "distill.loss"), "temperature",
                     c->distill.temperature, "top_k", (json_int_t)c->distill.top_k, "weights",
                     c->distill.cache[0] ? "cached" : sol_config_word(c, "distill.teacher_dtype"));
}

/* The weights of the terms that training minimized. */
static json_t *objective_of(const sol_config *c)
{
    if (!c->distill.teacher[0]) return json_pack("{s:f}", "next_token", 1.0);
    json_t *o = json_object();
    const struct {
        const char *name;
        double weight;
    } terms[] = {{"next_token", c->distill.ce_weight},
                 {"teacher_divergence", c->distill.weight},
                 {"hidden_states", c->distill.hidden_weight},
                 {"attention_relations", c->distill.relation_weight}};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        if (terms[i].weight != 0) json_object_set_new(o, terms[i].name, json_real(terms[i].weight));
    return o;
}

static json_t *calibration_of(const sol_config *c)
{
    sol_calib_opts o = sol_config_calib(c);
    return json_pack(
        "{s:o, s:I, s:I, s:I, s:f, s:s}", "data",
        c->calibrate.data[0] ? sol_json_base_name(c->calibrate.data) : training_data(c), "windows",
        (json_int_t)o.windows, "seq", (json_int_t)o.seq, "steps_per_block", (json_int_t)o.steps,
        "damping", o.damping, "latent", sol_config_word(c, "calibrate.latent"));
}

static json_t *recipe_of(const sol_config *c)
{
    json_t *o = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:I}", "steps", (json_int_t)c->train.steps,
        "batch", (json_int_t)c->train.batch, "seq", (json_int_t)c->train.seq, "accumulate",
        (json_int_t)c->train.accumulate, "tokens_per_step",
        (json_int_t)(c->train.batch * c->train.seq * c->train.accumulate), "lr_schedule",
        sol_config_word(c, "optim.schedule"), "lr", c->optim.lr, "lr_min_ratio", c->optim.min_ratio,
        "lr_warmup_steps", (json_int_t)c->optim.warmup_steps);
    json_t *more = json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:s, s:s, s:s, s:b, s:I}", "optimizer", "AdamW", "beta1",
        c->optim.beta1, "beta2", c->optim.beta2, "weight_decay", c->optim.weight_decay, "grad_clip",
        c->train.grad_clip, "moments", sol_config_word(c, "optim.moments"), "compute",
        sol_config_word(c, "train.compute"), "parameters", sol_config_word(c, "train.param_dtype"),
        "activation_checkpoints", c->train.activation_checkpoints, "seed", (json_int_t)c->run.seed);
    json_object_update(o, more);
    json_decref(more);
    if (c->optim.schedule == SOL_LR_WSD)
        json_object_set_new(o, "lr_decay_fraction", json_real(c->optim.decay_fraction));
    return o;
}

static json_t *residual_of(const sol_config *c)
{
    sol_residual r = sol_config_residual(c);
    if (r.schedule == SOL_RESIDUAL_NONE) return json_pack("{s:s}", "schedule", "none");
    return json_pack("{s:s, s:s, s:f, s:b, s:f}", "schedule",
                     sol_config_word(c, "residual.schedule"), "form",
                     sol_config_word(c, "residual.form"), "lambda_max", (double)r.lambda_max,
                     "warmup", (int)r.warmup, "end_fraction", (double)r.end_fraction);
}

static void set_digest(json_t *card, const char *name, uint64_t digest)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, digest);
    json_object_set_new(json_object_get(card, "digests"), name, json_string(text));
}

/* What another person needs to do it again; folders of this machine are left out, and so is a job
 * that this program does not understand (a later one wrote it). */
static sol_status add_job(json_t *card, const char *yaml, bool trained, sol_err *err)
{
    sol_config *c = NULL;
    sol_err why = {0};
    uint64_t digest;
    sol_status st = sol_config_parse(&c, "job", yaml, strlen(yaml), &why);
    if (st == SOL_ERR_NOMEM) return sol_fail(err, st, "%s", why.text);
    if (st != SOL_OK) return SOL_OK;
    if (!json_object_get(card, "base_model"))
        json_object_set_new(card, "base_model", sol_json_base_name(c->model.init));
    json_object_set_new(card, "data",
                        json_pack("{s:o, s:o, s:s}", "train", training_data(c), "eval",
                                  sol_json_base_name(c->data.eval), "loss_on",
                                  sol_config_word(c, "data.loss_on")));
    if (trained) json_object_set_new(card, "recipe", recipe_of(c));
    if (trained) json_object_set_new(card, "objective", objective_of(c));
    if (trained && c->distill.teacher[0]) json_object_set_new(card, "teacher", teacher_of(c));
    if (trained && sol_config_quantizes(c)) json_object_set_new(card, "residual", residual_of(c));
    if (c->calibrate.enabled || !trained)
        json_object_set_new(card, "calibration", calibration_of(c));
    st = sol_config_digest(c, false, &digest, err);
    if (st == SOL_OK) set_digest(card, "job", digest);
    sol_config_free(&c);
    return st;
}

/* A number of one attribute; NaN: it is not there. */
static double number_of(const sol_h5_node *n, const char *name)
{
    const sol_h5_attr *a = n ? sol_h5_node_attr(n, name) : NULL;
    json_t *value = a ? sol_json_attr(a) : NULL;
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    json_decref(value);
    return x;
}

static const char *text_of(const sol_h5_node *n, const char *name)
{
    const sol_h5_attr *a = n ? sol_h5_node_attr(n, name) : NULL;
    return a && a->type == SOL_H5_STRING ? a->value : NULL;
}

/* What the run measured: the best evaluation, with its windows, and full precision on the same. */
static void add_evaluation(json_t *card, const sol_h5_file *f)
{
    const sol_h5_node *state = sol_h5_find(f, "/state"), *how = sol_h5_find(f, "/evaluation");
    double loss = number_of(state, "best_eval_loss"), full = number_of(state, "full_loss");
    const char *documents = text_of(how, "documents");
    if (!isfinite(loss)) return;
    json_t *o = json_pack("{s:O, s:I, s:I, s:s, s:f, s:f, s:I}", "data",
                          json_object_get(json_object_get(card, "data"), "eval"), "seq",
                          (json_int_t)number_of(how, "seq"), "windows",
                          (json_int_t)number_of(how, "windows"), "documents",
                          documents ? documents : "apart", "loss", loss, "perplexity", exp(loss),
                          "step", (json_int_t)number_of(state, "best_step"));
    if (o && full > 0) json_object_set_new(o, "full_precision_loss", json_real(full));
    if (o) json_object_set_new(card, "evaluation", o);
}

static void add_digest(json_t *card, const sol_h5_node *state, const char *attr, const char *name)
{
    const sol_h5_attr *a = state ? sol_h5_node_attr(state, attr) : NULL;
    uint64_t digest;
    if (!a || a->size != sizeof digest) return;
    memcpy(&digest, a->value, sizeof digest);
    if (digest) set_digest(card, name, digest);
}

/* A packed file keeps no history: that is in the card beside it, if it is of this file. */
static void inherit_card(json_t *card, const sol_card *c)
{
    static const char *const keys[] = {"base_model",  "data",       "recipe",
                                       "objective",   "teacher",    "residual",
                                       "calibration", "evaluation", "training"};
    char path[SOL_PATH_MAX + 8];
    uint32_t crc;
    json_t *was, *digests;
    snprintf(path, sizeof path, "%s.json", c->source);
    if (!(was = json_load_file(path, 0, NULL))) return;
    digests = json_object_get(was, "digests");
    const char *of = json_string_value(json_object_get(digests, "file_crc32c"));
    char text[20] = "";
    if (sol_file_crc(c->source, &crc, NULL) == SOL_OK) snprintf(text, sizeof text, "%08x", crc);
    if (of && strcmp(of, text) == 0) {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (!json_object_get(card, keys[i]) && json_object_get(was, keys[i]))
                json_object_set(card, keys[i], json_object_get(was, keys[i]));
        json_object_update_missing(json_object_get(card, "digests"), digests);
    }
    json_decref(was);
}

static void add_quantizer(json_t *card, const sol_card *c, const sol_h5_file *f)
{
    const sol_quant_spec *q = c->rounded_with;
    if (!q) {
        add_group(card, sol_h5_find(f, "/quant"), "quantizer", NULL);
        return;
    }
    json_object_set_new(card, "quantizer",
                        json_pack("{s:s, s:s, s:i, s:s, s:s}", "method", q->method->name,
                                  "granularity", sol_granularity_name(q->granularity), "group_size",
                                  q->group_size, "block_layout", sol_layout_name(q->layout),
                                  "trained", "no: rounded after training"));
}

static sol_status add_source(json_t *card, const sol_card *c, sol_err *err)
{
    static const char *const losses[] = {"step", "tokens", "skipped", "ema_loss", NULL};
    sol_h5_file f;
    SOL_TRY(sol_h5_open(&f, c->source, err));
    const sol_h5_node *state = sol_h5_find(&f, "/state"), *origin = sol_h5_find(&f, "/origin");
    const char *name = text_of(origin, "name"), *yaml = text_of(&f.tree.node[0], "config");
    const char *format = text_of(&f.tree.node[0], "format");
    add_group(card, origin, "origin", NULL);
    if (name) json_object_set_new(card, "base_model", sol_json_bytes(name, strlen(name)));
    add_group(card, sol_h5_find(&f, "/model"), "model", NULL);
    add_quantizer(card, c, &f);
    add_group(card, state ? state : &f.tree.node[0], "training", losses);
    sol_status st =
        yaml ? add_job(card, yaml, number_of(&f.tree.node[0], "step") > 0, err) : SOL_OK;
    add_evaluation(card, &f);
    add_digest(card, state, "data_digest", "data");
    add_digest(card, state, "teacher_digest", "teacher");
    if (format && strcmp(format, "solera-packed") == 0) inherit_card(card, c);
    sol_h5_close(&f);
    return st;
}

/* ---- */

/* Every weight of the file counts, quantized or not, with scales. */
static void add_bits(json_t *card, const json_t *tensors, json_int_t bytes)
{
    double weights = 0;
    size_t i, d;
    json_t *one, *n;
    json_array_foreach(tensors, i, one)
    {
        double count = 1;
        json_array_foreach(json_object_get(one, "shape"), d, n) count *=
            (double)json_integer_value(n);
        weights += count;
    }
    if (weights <= 0) return;
    json_object_set_new(card, "weights", json_integer((json_int_t)weights));
    json_object_set_new(card, "bits_per_weight", json_real(8 * (double)bytes / weights));
}

static sol_status add_file_digest(json_t *card, const char *path, sol_err *err)
{
    uint32_t crc;
    char text[20];
    SOL_TRY(sol_file_crc(path, &crc, err));
    snprintf(text, sizeof text, "%08x", crc);
    json_object_set_new(json_object_get(card, "digests"), "file_crc32c", json_string(text));
    return SOL_OK;
}

static sol_status make_card(const sol_card *c, json_t *card, sol_err *err)
{
    json_t *tensors = json_array(), *one;
    json_int_t bytes = 0;
    size_t i;
    bool folder = c->format == SOL_CARD_FOLDER;
    char weights[SOL_PATH_MAX + 32];
    json_object_set_new(card, "solera", json_string(SOL_VERSION));
    json_object_set_new(card, "commit", json_string(sol_build_commit));
    json_object_set_new(card, "file", sol_json_base_name(c->out));
    json_object_set_new(
        card, "format",
        json_string(sol_enum_name(SOL_ENUM_TABLE(SOL_CARD_FORMATS), (int)c->format)));
    json_object_set_new(card, "source", sol_json_base_name(c->source));
    json_object_set_new(card, "digests", json_object());
    sol_status st = sol_file_tensors(c->out, add_tensor, tensors, err);
    json_array_foreach(tensors, i, one) bytes += json_integer_value(json_object_get(one, "bytes"));
    uint64_t size = (uint64_t)bytes;
    if (st == SOL_OK && !folder) st = sol_file_size(c->out, &size, err);
    json_object_set_new(card, "bytes", json_integer((json_int_t)size));
    add_bits(card, tensors, bytes);
    snprintf(weights, sizeof weights, folder ? "%s/model.safetensors" : "%s", c->out);
    if (st == SOL_OK) st = add_file_digest(card, weights, err);
    if (st == SOL_OK) st = add_source(card, c, err);
    json_object_set_new(card, "tensors", tensors); /* at the end: they are many */
    return st;
}

/* Writes a part of the card, unless a file of its name is there that lacks the mark of cards. */
static sol_status write_own(const char *path, const char *mark, const char *data, size_t n,
                            char kept[SOL_PATH_MAX], sol_err *err)
{
    char *text = NULL;
    size_t size;
    bool ours = !sol_file_exists(path) ||
                (sol_file_read(path, &text, &size, NULL) == SOL_OK && strstr(text, mark) != NULL);
    sol_free(text);
    if (ours) return sol_file_write(path, data, n, err);
    snprintf(kept, SOL_PATH_MAX, "%s", path);
    return SOL_OK;
}

sol_status sol_card_write(const sol_card *c, char kept[SOL_PATH_MAX], sol_err *err)
{
    bool folder = c->format == SOL_CARD_FOLDER;
    char path[SOL_PATH_MAX], *json = NULL;
    json_t *card = json_object();
    sol_text readme = {0};
    kept[0] = 0;
    sol_status st = make_card(c, card, err);
    if (st == SOL_OK &&
        !(json = json_dumps(card, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9))))
        st = sol_fail(err, SOL_ERR_NOMEM, "out of memory for the model card");
    if (st == SOL_OK) st = sol_card_page(c, card, &readme, err);
    snprintf(path, sizeof path, folder ? "%s/solera.json" : "%s.json", c->out);
    if (st == SOL_OK) st = write_own(path, "{\n \"solera\":", json, strlen(json), kept, err);
    snprintf(path, sizeof path, folder ? "%s/README.md" : "%s.md", c->out);
    if (st == SOL_OK) st = write_own(path, SOL_CARD_MARK, readme.data, readme.n, kept, err);
    sol_free(readme.data);
    free(json);
    json_decref(card);
    return st;
}
