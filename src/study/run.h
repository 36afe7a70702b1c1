/* One run as a report sees it: the records of its study.h5, or the one record that a static look at
 * a model's weights gives.
 *
 *     sol_study_run run = {0};
 *     st = sol_study_run_read(&run, "runs/a/study.h5", "a", err);
 *     sol_study_run_free(&run);
 *
 * The caller fills run.curve and run.calibration, which come from other files of the run. */
#ifndef SOLERA_STUDY_RUN_H
#define SOLERA_STUDY_RUN_H

#include "model/model.h"
#include "store/study_file.h"
#include "study/measures.h"

/* The kinds of histograms, in the order of their columns. */
enum { SOL_HIST_ZEROED, SOL_HIST_KEPT, SOL_HIST_W, SOL_HIST_LOG2, SOL_HIST_KINDS };

/* The columns of study.h5: five series, the measures, the histograms. */
enum {
    SOL_STUDY_STEP,
    SOL_STUDY_TOKENS,
    SOL_STUDY_LAMBDA,
    SOL_STUDY_LR,
    SOL_STUDY_LOSS,
    SOL_STUDY_MEASURES,
    SOL_STUDY_HISTOGRAMS = SOL_STUDY_MEASURES + SOL_MEASURE_COUNT,
    SOL_STUDY_COLUMNS = SOL_STUDY_HISTOGRAMS + SOL_HIST_KINDS
};
extern const sol_study_column sol_study_columns[SOL_STUDY_COLUMNS];

/* From metrics.jsonl: loss, lambda and learning rate of every step, and the evaluations among
 * them. */
typedef struct sol_study_curve {
    int64_t n, n_evals;
    int64_t first_eval;                          /* since when they were measured as the last one */
    double *step, *loss, *lambda, *lr;           /* [n] */
    double *eval_step, *eval_loss, *packed_loss; /* [n_evals]; both losses may hold NaN */
    double *eval_low, *eval_high;                /* [n_evals] of joined seeds; NULL: of one run */
    /* Of the files that were read; 0: unknown. */
    uint64_t model_digest, teacher_digest, data_digest, eval_digest;
} sol_study_curve; /* arrays owned by the run */

/* From calibrate.jsonl: the relative output error of each block (calib/calib.h) rounded, solved,
 * trained, and on windows it has not seen. */
enum { SOL_CALIB_ERRORS = 4 };
typedef struct sol_study_calibration {
    int64_t n;                       /* blocks; 0: not calibrated */
    double *error[SOL_CALIB_ERRORS]; /* [n] each, may hold NaN; owned by the run */
} sol_study_calibration;

/* From config.yaml: what was compared. */
typedef struct sol_study_recipe {
    bool known;
    uint64_t job;                   /* the same for two runs that differ in the seed alone */
    char residual[64], teacher[64]; /* "blend, cosine to 0.4", "self"; "none" */
    char start[96];                 /* "calibrated from base.h5", "base.h5" */
    char schedule[32];              /* of the learning rate */
    double lr;
    int64_t steps, seed;
} sol_study_recipe;

enum { SOL_STUDY_SLICES = 8 }; /* records whose histograms a report shows, at most */

typedef struct sol_study_run {
    char *name;     /* as shown; owned */
    bool is_static; /* weights of a model file: one record, no gradients, no time */
    sol_study_head head;
    int n_layers;
    sol_study_layer *layers; /* owned */
    int64_t n_records;
    double *step, *lambda, *loss;      /* [n_records]; owned */
    float *measure[SOL_MEASURE_COUNT]; /* [n_records, n_layers]; owned */
    int n_seeds;                       /* joined (study/seeds.h); 0: this is one run */
    /* [n_records] of joined seeds: the least and the largest mean over the layers; owned */
    double *low[SOL_MEASURE_COUNT], *high[SOL_MEASURE_COUNT];
    int n_slices;
    int64_t slice[SOL_STUDY_SLICES]; /* record numbers: the first, the last, evenly spaced ones
                                      * between */
    uint32_t *hist[SOL_HIST_KINDS];  /* [n_slices, n_layers, bins]; owned */
    sol_study_curve curve;
    sol_study_calibration calibration; /* for the caller to fill, as curve */
    sol_study_recipe recipe;           /* likewise */
} sol_study_run;

/* Steps whose loss is not a finite number, by the curve, or the records where there is none. */
typedef struct sol_study_divergence {
    int64_t n;    /* of them */
    double first; /* of them; -1: none */
    double from;  /* the first of those that no other step follows; -1: the last loss is a number */
} sol_study_divergence;
sol_study_divergence sol_study_find_divergence(const sol_study_run *run);

/* Reads study.h5 of a run; name: as shown in reports. SOL_ERR_FORMAT: the file is damaged or holds
 * no record yet. The caller owns *run (sol_study_run_free); after a failure it is empty. */
sol_status sol_study_run_read(sol_study_run *run, const char *path, const char *name, sol_err *err);
/* How the weights of the chosen parameters (NULL: of all linear layers) are looked at: as spec
 * quantizes them; without a method as 3:4 would, in the groups that spec asks for (0: 128), by
 * channel where these do not fit. */
sol_status sol_study_view(const sol_model *m, const bool *chosen, const sol_quant_spec *spec,
                          sol_quant_spec *view, sol_err *err);
/* How one layer is looked at: as its override says, and one that is kept in full precision as the
 * others. */
sol_quant_spec sol_study_layer_view(const sol_quant_spec *view, const char *name);

/* One record of the weights of a model (SOL_F32), quantized as sol_study_view says; released as
 * above. */
sol_status sol_study_run_static(sol_study_run *run, const sol_ctx *ctx, const sol_model *model,
                                const sol_quant_spec *spec, const char *name, sol_err *err);
void sol_study_run_free(sol_study_run *run);

/* The runs of one report must have the same layers: SOL_ERR_SHAPE names the first difference,
 * SOL_ERR_USAGE a run beside a model file. */
sol_status sol_study_runs_check(const sol_study_run *runs, int n, sol_err *err);

/* Sets method, granularity, block_layout and group_size of head from spec, which has a method. */
void sol_study_head_quant(sol_study_head *head, const sol_quant_spec *spec);

int sol_hist_bins(int kind); /* of histogram SOL_HIST_ZEROED <= kind < SOL_HIST_KINDS */
/* Mean over the layers of measure m at a record, leaving out NaN; NaN when nothing is left. */
double sol_study_mean(const sol_study_run *run, int m, int64_t record);
/* A record may come sooner or later after its predecessor than the others do (the last one; those
 * after a resume with another study.every): what it counts since then (flips, unchanged) does not
 * compare with theirs. */
bool sol_study_comparable(const sol_study_run *run, int m, int64_t record);
/* The mean at the first, and at the last record that has one (and is comparable). */
double sol_study_first(const sol_study_run *run, int m);
double sol_study_last(const sol_study_run *run, int m);
/* "3 gate" for model.layers.3.mlp.gate_proj.weight, into buffer of `size` bytes; a name of another
 * form as it is. Returns buffer. */
const char *sol_study_layer_label(const sol_study_layer *layer, char *buffer, size_t size);
/* Its kind, "gate": the label without the block; the whole name where it has another form.
 * Borrowed from the layer. */
const char *sol_study_layer_kind(const sol_study_layer *layer);

#endif
