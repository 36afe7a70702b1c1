/* The YAML job. One key table (keys.def) drives this struct, the parser, --set, `solera help
 * config` and configs/reference.yaml: a new key is one row there.
 *
 *     sol_config *c;
 *     st = sol_config_read(&c, "job.yaml", err);            // defaults, then the file
 *     st = sol_config_set(c, "train.steps=100", err);
 *     st = sol_config_finish(c, err); // what must be there, and what spans keys
 *     if (st == SOL_OK) printf("%" PRId64 " steps into %s\n", c->train.steps, c->run.dir);
 *     sol_config_free(&c);
 *
 * A file may begin with `extends: FILE`, relative to its own folder: that job is read first, and
 * each key that this file sets replaces the value there. It may extend a third one.
 *
 * A file is a mapping of sections, each a mapping of scalars (quant.overrides: a list; data.train:
 * a scalar or a list). Refused: unknown and duplicate keys, wrong types, values out of range,
 * anchors, aliases, tags, several documents. Errors read job.yaml:7:3: key 'train.step': unknown
 * key; did you mean 'train.steps'? */
#ifndef SOLERA_CONFIG_CONFIG_H
#define SOLERA_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/distill.h"
#include "base/status.h"
#include "calib/calib.h"
#include "optim/optim.h"
#include "quant/overrides.h"
#include "quant/quant.h"
#include "text/batcher.h"

/* Where a value was set: line 0 is the default, -1 the command line. */
typedef struct sol_config_mark {
    int line, column;
    int file; /* index of sol_config.file */
} sol_config_mark;
enum { SOL_CONFIG_FILES = 8 }; /* a job and those that it extends, at most */

/* Words of keys that belong to no other module; the others stand beside the enums of the
 * library. */

#define SOL_DATA_SOURCES(ROW) \
    ROW(SOL_DATA_FILE, "file") \
    ROW(SOL_DATA_SELF, "self")
typedef enum { SOL_DATA_SOURCES(SOL_ENUM_CONSTANT) } sol_data_source;

#define SOL_LOSS_PLACES(ROW) \
    ROW(SOL_LOSS_ON_ALL, "all") \
    ROW(SOL_LOSS_ON_ANSWERS, "answers")
typedef enum { SOL_LOSS_PLACES(SOL_ENUM_CONSTANT) } sol_loss_place;

#define SOL_SPECIAL_MODES(ROW) \
    ROW(SOL_SPECIAL_AUTO, "auto") \
    ROW(SOL_SPECIAL_YES, "yes") \
    ROW(SOL_SPECIAL_NO, "no")
typedef enum { SOL_SPECIAL_MODES(SOL_ENUM_CONSTANT) } sol_special_mode;

#define SOL_COMPUTE_DTYPES(ROW) \
    ROW(SOL_F32, "fp32") \
    ROW(SOL_BF16, "bf16")

/* auto: the program decides by the processor before it runs a job (train/job.h). */
enum { SOL_COMPUTE_AUTO = 255 };
#define SOL_COMPUTE_CHOICES(ROW) SOL_COMPUTE_DTYPES(ROW) ROW(SOL_COMPUTE_AUTO, "auto")

#define SOL_EVAL_FORMS(ROW) \
    ROW(SOL_EVAL_BOTH, "both") \
    ROW(SOL_EVAL_PACKED, "packed")
typedef enum { SOL_EVAL_FORMS(SOL_ENUM_CONSTANT) } sol_eval_form;

#define SOL_PARAM_STORAGES(ROW) \
    ROW(SOL_PARAMS_F32, "fp32") \
    ROW(SOL_PARAMS_BF16_STOCHASTIC, "bf16_stochastic") \
    ROW(SOL_PARAMS_BF16_NEAREST, "bf16_nearest")
typedef enum { SOL_PARAM_STORAGES(SOL_ENUM_CONSTANT) } sol_param_storage;

#define SOL_ON_FULL(ROW) \
    ROW(SOL_ON_FULL_STOP, "stop") \
    ROW(SOL_ON_FULL_CONTINUE, "continue")
typedef enum { SOL_ON_FULL(SOL_ENUM_CONSTANT) } sol_on_full;

/* Number of keys, counted from the table. */
enum {
    SOL_CONFIG_KEYS = 0
#define SOL_KEY_TEXT(section, name, preset, flags, help) +1
#define SOL_KEY_ENUM(section, name, c_type, list, preset, flags, help) +1
#define SOL_KEY_INT(section, name, preset, min, max, flags, help) +1
#define SOL_KEY_REAL(section, name, preset, min, max, flags, help) +1
#define SOL_KEY_BOOL(section, name, preset, flags, help) +1
#define SOL_KEY_OVERRIDES(section, name, flags, help) +1
#define SOL_KEY_SOURCES(section, name, flags, help) +1
#include "config/keys.def"
};

/* Files of data, each with its share of the windows in any unit. */
typedef struct sol_sources {
    int n; /* at least 1 */
    struct {
        char *path; /* owned */
        double weight;
    } row[SOL_MIX_MAX];
} sol_sources;

/* c->section.name for every row of keys.def: char * (owned, never NULL, "" is unset), an enum,
 * int64_t, double, bool, sol_quant_overrides * and sol_sources * (owned, NULL: none). */
typedef struct sol_config {
#define SOL_SECTION(name, help) struct {
#define SOL_SECTION_END(name) \
    } \
    name;
#define SOL_KEY_TEXT(section, name, preset, flags, help) char *name;
#define SOL_KEY_ENUM(section, name, c_type, list, preset, flags, help) c_type name;
#define SOL_KEY_INT(section, name, preset, min, max, flags, help) int64_t name;
#define SOL_KEY_REAL(section, name, preset, min, max, flags, help) double name;
#define SOL_KEY_BOOL(section, name, preset, flags, help) bool name;
#define SOL_KEY_OVERRIDES(section, name, flags, help) sol_quant_overrides *name;
#define SOL_KEY_SOURCES(section, name, flags, help) sol_sources *name;
#include "config/keys.def"
    char *file[SOL_CONFIG_FILES]; /* names for errors: the job's, then those it extends; owned */
    int n_files;
    sol_config_mark mark[SOL_CONFIG_KEYS];
} sol_config;

/* A job of defaults; of a file; of `size` bytes of YAML, which errors call `name` and which extend
 * no file. The caller owns *c. SOL_ERR_CONFIG names file, line, column and key. */
sol_status sol_config_create(sol_config **c, sol_err *err);
sol_status sol_config_read(sol_config **c, const char *path, sol_err *err);
sol_status sol_config_parse(sol_config **c, const char *name, const char *yaml, size_t size,
                            sol_err *err);
void sol_config_free(sol_config **c);

/* Sets a key by "section.key=value". SOL_ERR_CONFIG says "--set" instead of a place in a file. */
sol_status sol_config_set(sol_config *c, const char *assignment, sol_err *err);
/* Checks what spans keys, and that required keys are set: SOL_ERR_CONFIG. The functions below take
 * a job that passed. */
sol_status sol_config_finish(const sol_config *c, sol_err *err);

/* The resolved job as YAML text, every key with its value, which reads back to the same job. Owned
 * by the caller (sol_free). */
sol_status sol_config_write(const sol_config *c, char **yaml, sol_err *err);
/* The reference: every key with type, default, range and meaning, as commented YAML that is itself
 * a job of defaults. name: only this section or key ("train", "train.steps", "steps"), NULL: all;
 * SOL_ERR_USAGE: there is none of this name. Owned by the caller (sol_free). */
sol_status sol_config_reference(const char *name, char **yaml, sol_err *err);
/* "train.steps": of key i in [0, SOL_CONFIG_KEYS), in the order of the reference. Static. */
const char *sol_config_key_at(int i);

/* The keys that differ between two jobs, as "key: old -> new; key: ...", "" for none; owned by the
 * caller (sol_free). *fatal: some of them make it another run (model, data, quantizer, seed,
 * schedule, ...); *text then lists only these. steps: how many the old job has done; another length
 * of the run is fatal where these would have had another rate or lambda. SOL_CONFIG_ENDED: it goes
 * on no more, so that any other length and what changes its measurements (data.eval, ...) is. */
enum { SOL_CONFIG_ENDED = -1 };
sol_status sol_config_diff(const sol_config *old, const sol_config *now, int64_t steps, char **text,
                           bool *fatal, sol_err *err);

/* A digest of the keys that make a job another run; keys about its directory, threads, measures and
 * checkpoints do not count. ended: of those that make it another one when it has ended
 * (SOL_CONFIG_ENDED). */
sol_status sol_config_digest(const sol_config *c, bool ended, uint64_t *digest, sol_err *err);

/* Returns SOL_ERR_CONFIG about the value of a key, with the place that set it: "job.yaml:7:3: key
 * 'a.b': ...". */
sol_status sol_config_fail(const sol_config *c, const char *key, sol_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The word of an enum key, as it is written: sol_config_word(c, "optim.schedule") may be "cosine".
 * NULL: key is none. */
const char *sol_config_word(const sol_config *c, const char *key);

/* Values that are names and not paths: quant.method other than none, model.init random:SHAPE,
 * distill.teacher self. */
bool sol_config_quantizes(const sol_config *c);
const char *sol_config_random_shape(const sol_config *c); /* SHAPE; NULL: init is a file */
bool sol_config_teaches_itself(const sol_config *c);

/* The job as the library's structs. quant.method none gives spec->method NULL and no residual. The
 * overrides of spec are those of c. */
sol_status sol_config_quant(const sol_config *c, sol_quant_spec *spec, sol_err *err);
sol_residual sol_config_residual(const sol_config *c);
sol_lr_schedule sol_config_lr(const sol_config *c);
sol_adamw_config sol_config_adamw(const sol_config *c);
sol_dtype sol_config_param_dtype(const sol_config *c); /* SOL_F32 or SOL_BF16 */

/* calibrate.*, with the default of calibrate.seq resolved. */
sol_calib_opts sol_config_calib(const sol_config *c);

/* distill.*, for a job with distill.teacher; gamma is 0, it is measured before training. */
sol_distill sol_config_distill(const sol_config *c);

#endif
