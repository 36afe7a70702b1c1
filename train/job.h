/* What a job file names, opened: the model with its tokenizer, token data. Shared by the verbs of a
 * job. */
#ifndef SOLERA_TRAIN_JOB_H
#define SOLERA_TRAIN_JOB_H

#include "program.h"
#include "run_dir.h"

/* The job of a YAML file with the --set words' changes, complete. *c is the caller's
 * (sol_config_free), NULL after a failure. */
sol_status sol_job_read(sol_program *p, sol_config **c, const char *path, const sol_words *set,
                        sol_err *err);
/* train.compute auto becomes bf16 where the kernels of p have instructions for it, else fp32. On
 * several ranks all call it, whose processors may differ: rank 0 decides. */
sol_status sol_job_choose_compute(sol_program *p, sol_config *c, sol_err *err);

/* The model's configuration alone, without weights: from the file's header or the shape's name. */
sol_status sol_job_model_config(const sol_config *c, sol_model_config *m, sol_err *err);
/* With the tokenizer, which the caller owns; NULL when the file has none. */
sol_status sol_job_model_header(const sol_config *c, sol_model_config *m, sol_tokenizer **t,
                                sol_err *err);

/* Model, tokenizer and windows from model.init, with a live line while weights are read; nothing
 * else of the file is kept. p NULL: without weights, the model is only described. *f is the
 * caller's (sol_model_file_free), also after a failure. */
sol_status sol_job_open_model(sol_program *p, const sol_config *c, sol_model_file *f, sol_err *err);

/* Every quantized layer against the quantizer: the first that does not fit is named. */
sol_status sol_job_check_quant(const sol_config *c, const sol_model *m, const sol_quant_spec *spec,
                               sol_err *err);

/* The reason of a callee under the key and the place that named the thing. */
sol_status sol_job_blame(const sol_config *c, const char *key, sol_status st, const sol_err *why,
                         sol_err *err);

/* sol_study_plan of the job; an error names study.layers and its place. */
sol_status sol_job_plan_study(const sol_config *c, const sol_model *m, const sol_study_opts *o,
                              int threads, sol_plan *plan, sol_err *err);

/* How a step is cut (train.lanes): into n lanes of `micro` micro-batches, each of `rows` windows,
 * in the order in which windows are drawn. Lanes are whole runs of the job's micro-batches, or
 * where there are more lanes than those, each has an even share of one. */
typedef struct sol_job_cut {
    int64_t lanes, micro, rows;
    int64_t own;   /* lanes of a rank */
    bool in_parts; /* gradients are reduced by layer: with several lanes, and with optim.fused */
    bool by_layer; /* the graph, too: a rank has one micro-batch, nobody wants all gradients */
    bool in_turns; /* and those of a block travel while those of the next one are made */
} sol_job_cut;
/* Of a job whose train.lanes is set, among ranks; 0 stands for 1. SOL_ERR_CONFIG: the lanes do not
 * share the windows of a step, or the ranks not the lanes, with what would. */
sol_status sol_job_cut_step(const sol_config *c, int ranks, sol_job_cut *cut, sol_err *err);

/* How data.source self samples. */
sol_self_opts sol_job_self(const sol_config *c);

/* How the job cuts the data that it is measured on. */
sol_windows sol_job_windows(const sol_config *c);

/* Keys that name files as they did the last time. */
typedef struct sol_job_same {
    bool train, eval, calibrate; /* data.train, data.eval, calibrate.data */
} sol_job_same;

/* The job of a run that is resumed after `done` steps, as YAML named `name`, against c:
 * SOL_ERR_CONFIG where keys that would make it another run differ, else what changed is logged, if
 * `say`; also where more steps are done than it has. What is other in *same becomes false. _run:
 * the job in the directory's config.yaml. */
sol_status sol_job_compare(sol_program *p, const sol_config *c, const char *dir, int64_t done,
                           const char *name, const char *yaml, bool say, sol_job_same *same,
                           sol_err *err);
sol_status sol_job_compare_run(sol_program *p, const sol_config *c, const sol_run_dir *dir,
                               int64_t done, bool say, sol_job_same *same, sol_err *err);

/* Token data: a dataset file, mapped; a text file becomes one first. */
typedef struct sol_job_tokens {
    sol_dataset file;
    bool open;
    bool part; /* the beginning of a text, whose end was not looked at */
} sol_job_tokens;
/* What becomes of a dataset that was made of a text before: it is made again; it is taken, whatever
 * became of the text; or it is taken where the text, which now has another name, is still the same.
 */
typedef enum { SOL_MADE_AGAIN, SOL_MADE_TAKEN, SOL_MADE_COMPARED } sol_job_made;
/* On the first rank, or another one, which comes after it; of a run that goes on with what it made,
 * or not; whose key names the text as it did. */
sol_job_made sol_job_made_how(bool is_first, bool goes_on, bool same);

/* key: "data.train" or "data.eval", for errors. path: where the dataset of a text file is written,
 * and may be. The data must belong to the model's tokenizer. SOL_ERR_CONFIG, too: compared, the
 * text is another one. */
sol_status sol_job_open_tokens(sol_program *p, const sol_config *c, const char *key,
                               const char *path, const char *made, sol_job_made how,
                               const sol_tokenizer *t, sol_job_tokens *d, sol_err *err);
/* The same without leaving anything, for a plan: of a text the first SOL_LOOK_BYTES, which say
 * nearly always whether a run could read it. */
enum { SOL_LOOK_BYTES = 64 << 20 };
sol_status sol_job_look_at_tokens(sol_program *p, const sol_config *c, const char *key,
                                  const char *path, const sol_tokenizer *t, sol_job_tokens *d,
                                  sol_err *err);
void sol_job_close_tokens(sol_job_tokens *d);

#endif
