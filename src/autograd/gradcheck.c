/* The gradient check: every op's backward against central differences of its forward, and against
 * itself under every promise of its descriptor. Only tests call it (tests/test_autograd.c, for all
 * ops of ops.def). */
#include "autograd/gradcheck.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"

enum { SPOILED = 0xFF, GUARD = 256 }; /* a byte of a NaN; bytes behind the workspace */

/* What a float32 gradient may differ by when it is rounded to bf16, and when all of its products
 * are of bf16 numbers, relative to the largest gradient. */
static const double bf16_rounding = 1.0 / 256, bf16_products = 1.0 / 32;

typedef struct check {
    const sol_op *op;
    const sol_op_case *item;
    int index; /* of the case */
    double tolerance;
    sol_op_call call;
    int n_in, n_out;             /* without those that are missing */
    void *values[SOL_OP_MAX_IN]; /* input data as it was drawn */
    float
        *want[SOL_OP_MAX_IN];  /* the gradient of a plain backward call; NULL: not differentiated */
    float *got[SOL_OP_MAX_IN]; /* that of another call */
    void *kept[SOL_OP_MAX_OUT]; /* output data of forward */
    float *up[SOL_OP_MAX_OUT];  /* gradients that arrive: numbers of bf16; NULL: none */
    uint16_t *up_bf16[SOL_OP_MAX_OUT];
    size_t workspace;
    void *made[4 * (SOL_OP_MAX_IN + SOL_OP_MAX_OUT) + 1]; /* what to free */
    int n_made;
} check;

/* Elements of a tensor. */
static int64_t count(const sol_slot *s)
{
    return sol_shape_count(&s->shape);
}

static size_t data_bytes(const sol_slot *s)
{
    return (size_t)count(s) * sol_dtype_size(s->dtype);
}

/* ---- inputs, outputs and workspace ---- */

/* Memory that `release` frees. */
static sol_status make(check *k, void *out, size_t n, size_t size, sol_err *err)
{
    SOL_TRY(sol_alloc_array(out, n, size, err));
    k->made[k->n_made++] = *(void **)out;
    return SOL_OK;
}

static void fill_normal(sol_rng *rng, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = sol_rng_normal(rng);
}

/* Draws input i into values, in its type. The buffer has place for n floats. */
static void draw_input(check *k, sol_rng *rng, int i)
{
    int64_t n = count(&k->call.in[i]);
    float *x = k->values[i];
    if (k->item->ints[i]) {
        memcpy(x, k->item->ints[i], (size_t)n * sizeof(int32_t));
        return;
    }
    if (k->item->floats[i])
        memcpy(x, k->item->floats[i], (size_t)n * sizeof(float));
    else
        fill_normal(rng, x, n);
    if (k->item->bf16[i])
        for (int64_t j = 0; j < n; j++) ((uint16_t *)k->values[i])[j] = sol_f32_to_bf16(x[j]);
}

/* Data and gradients have place for floats whatever their type, so that one fits over the other. */
static sol_status make_inputs(check *k, sol_rng *rng, sol_err *err)
{
    for (int i = 0; i < k->op->n_in; i++) {
        sol_slot *s = &k->call.in[i];
        size_t n = (size_t)sol_shape_count(&k->item->in[i]);
        if (k->item->in[i].n_dims == 0) break;
        k->n_in = i + 1;
        s->shape = k->item->in[i];
        s->dtype = k->item->ints[i] ? SOL_I32 : k->item->bf16[i] ? SOL_BF16 : SOL_F32;
        SOL_TRY(make(k, &s->data, n, sizeof(float), err));
        SOL_TRY(make(k, &k->values[i], n, sizeof(float), err));
        draw_input(k, rng, i);
        memcpy(s->data, k->values[i], data_bytes(s));
        if (k->item->ints[i] || k->item->constant[i]) continue;
        SOL_TRY(make(k, &k->want[i], n, sizeof(float), err));
        SOL_TRY(make(k, &k->got[i], n, sizeof(float), err));
    }
    return SOL_OK;
}

static sol_status make_outputs(check *k, sol_rng *rng, sol_err *err)
{
    SOL_TRY(k->op->shapes(&k->call, err));
    for (int o = 0; o < k->op->n_out; o++) {
        sol_slot *s = &k->call.out[o];
        size_t n = (size_t)count(s);
        if (s->shape.n_dims == 0) break;
        k->n_out = o + 1;
        SOL_TRY(make(k, &s->data, n, sizeof(float), err));
        SOL_TRY(make(k, &k->kept[o], n, sizeof(float), err));
        if (o > 0 && !(k->op->out[o] & SOL_OUT_GRAD)) continue;
        SOL_TRY(make(k, &k->up[o], n, sizeof(float), err));
        SOL_TRY(make(k, &k->up_bf16[o], n, sizeof(uint16_t), err));
        fill_normal(rng, k->up[o], (int64_t)n);
        sol_convert(k->up_bf16[o], SOL_BF16, k->up[o], SOL_F32, (int64_t)n);
        sol_convert(k->up[o], SOL_F32, k->up_bf16[o], SOL_BF16, (int64_t)n);
    }
    if (k->op->workspace)
        k->workspace =
            sol_max_size(k->op->workspace(&k->call, false), k->op->workspace(&k->call, true));
    return make(k, &k->call.workspace, k->workspace + GUARD, 1, err);
}

/* ---- memory that a call may not read, and what it may not write ---- */

/* Integers become 0, an index that is valid but most likely wrong. */
static unsigned char spoiled_byte(const sol_slot *s)
{
    return s->dtype == SOL_I32 ? 0 : SPOILED;
}

/* Makes data unreadable. */
static void spoil(const sol_slot *s)
{
    memset(s->data, spoiled_byte(s), data_bytes(s));
}

/* Whether all bytes are `byte`. */
static bool is_all(const void *data, unsigned char byte, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != byte) return false;
    return true;
}

static void spoil_workspace(check *k)
{
    memset(k->call.workspace, SPOILED, k->workspace + GUARD);
}

static sol_status broken(const check *k, const char *what, int operand, sol_err *err)
{
    return sol_fail(err, SOL_ERR_RANGE, "op %s, case %d, operand %d: %s", k->op->name, k->index,
                    operand, what);
}

static sol_status check_workspace(const check *k, sol_err *err)
{
    const unsigned char *end = (const unsigned char *)k->call.workspace + k->workspace;
    return is_all(end, SPOILED, GUARD) ? SOL_OK : broken(k, "writes beyond its workspace", 0, err);
}

/* Before backward: what it does not declare to read is hidden. */
static void hide(check *k)
{
    for (int i = 0; i < k->n_in; i++)
        if (!(k->op->in[i] & SOL_IN_READ)) spoil(&k->call.in[i]);
    for (int o = 0; o < k->n_out; o++) {
        memcpy(k->call.out[o].data, k->kept[o], data_bytes(&k->call.out[o]));
        if (!(k->op->out[o] & SOL_OUT_READ)) spoil(&k->call.out[o]);
    }
}

/* Whether data is what `hide` left. */
static bool untouched(const sol_slot *s, bool read, const void *values)
{
    if (read) return memcmp(s->data, values, data_bytes(s)) == 0;
    return is_all(s->data, spoiled_byte(s), data_bytes(s));
}

/* After backward: it wrote gradients and nothing else, but for the data of input `over`; -1: no. */
static sol_status check_untouched(const check *k, int over, sol_err *err)
{
    SOL_TRY(check_workspace(k, err));
    for (int i = 0; i < k->n_in; i++)
        if (i != over && !untouched(&k->call.in[i], k->op->in[i] & SOL_IN_READ, k->values[i]))
            return broken(k, "backward writes the data of this input", i, err);
    for (int o = 0; o < k->n_out; o++) {
        const sol_slot *s = &k->call.out[o];
        if (k->op->promises & SOL_OP_COMPUTES_IN_BACKWARD) {
            if (memcmp(s->data, k->kept[o], data_bytes(s)) != 0)
                return broken(k, "backward does not compute this output as forward does", o, err);
        } else if (!untouched(s, k->op->out[o] & SOL_OUT_READ, k->kept[o])) {
            return broken(k, "backward writes the data of this output", o, err);
        }
    }
    return SOL_OK;
}

static void restore_inputs(check *k)
{
    for (int i = 0; i < k->n_in; i++)
        memcpy(k->call.in[i].data, k->values[i], data_bytes(&k->call.in[i]));
}

/* ---- forward ---- */

/* Runs forward over outputs full of `byte`. */
static void run_forward(check *k, unsigned char byte)
{
    for (int o = 0; o < k->n_out; o++)
        memset(k->call.out[o].data, byte, data_bytes(&k->call.out[o]));
    spoil_workspace(k);
    k->op->forward(&k->call);
}

static sol_status compare_outputs(const check *k, const char *what, sol_err *err)
{
    for (int o = 0; o < k->n_out; o++)
        if (memcmp(k->call.out[o].data, k->kept[o], data_bytes(&k->call.out[o])) != 0)
            return broken(k, what, o, err);
    return SOL_OK;
}

/* Forward sets its outputs, and nothing else, to the same bits each time. */
static sol_status check_forward(check *k, sol_err *err)
{
    run_forward(k, 0);
    SOL_TRY(check_workspace(k, err));
    for (int o = 0; o < k->n_out; o++)
        memcpy(k->kept[o], k->call.out[o].data, data_bytes(&k->call.out[o]));
    run_forward(k, SPOILED);
    SOL_TRY(compare_outputs(
        k, "forward does not set all of this output, or to the same bits each time", err));
    for (int i = 0; i < k->n_in; i++)
        if (!untouched(&k->call.in[i], true, k->values[i]))
            return broken(k, "forward writes this input", i, err);
    if (!(k->op->promises & SOL_OP_CHEAP_TO_REPEAT)) return SOL_OK;
    hide(k);
    run_forward(k, SPOILED);
    restore_inputs(k);
    return compare_outputs(k, "not cheap to repeat: forward reads an input that backward does not",
                           err);
}

/* ---- backward ---- */

/* How a backward call differs from a plain one. */
typedef enum {
    PLAIN,
    ALONE,     /* no gradient is wanted but that of `operand` */
    SCALED,    /* the gradient of input `operand` by one half */
    IN_BF16,   /* the gradient of input `operand` is bf16 */
    OVER_DATA, /* the gradient of input `operand` lies over its data */
    OUT_BF16,  /* the gradient of output `operand` is bf16 */
    IN_PLACE,  /* the gradient of input 0 is the memory of that of output 0 */
    ONE_OUT,   /* a gradient arrives for output `operand` only; after the first, it is added */
} variant;

static const float half = 0.5f;

static void fill(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

/* Hands out gradients for a call. */
static void set_gradients(check *k, variant v, int operand, bool add)
{
    for (int i = 0; i < k->n_in; i++) {
        sol_slot *s = &k->call.in[i];
        bool meant = i == operand;
        s->grad = k->got[i];
        s->grad_add = add;
        s->grad_scale = v == SCALED && meant ? &half : NULL;
        s->grad_bf16 = v == IN_BF16 && meant;
        if (s->grad && !(v == ONE_OUT && add)) fill(s->grad, count(s), add ? 1 : NAN);
        if (v == OVER_DATA && meant) s->grad = s->data;
        if (v == IN_PLACE && i == 0) memcpy(s->grad, k->up[0], (size_t)count(s) * sizeof(float));
        if (v == ALONE && !meant) s->grad = NULL;
    }
    for (int o = 0; o < k->n_out; o++) {
        sol_slot *s = &k->call.out[o];
        s->grad_bf16 = v == OUT_BF16 && o == operand;
        s->grad = s->grad_bf16 ? (float *)k->up_bf16[o] : k->up[o];
        if (v == IN_PLACE && o == 0) s->grad = k->got[0];
        if (v == ONE_OUT && o != operand) s->grad = NULL;
    }
}

/* Brings the gradients of a call back to those of a plain one, in got. */
static void settle_gradients(check *k, variant v, int operand, bool add)
{
    for (int i = 0; i < k->n_in; i++) {
        float *g = k->got[i];
        int64_t n = count(&k->call.in[i]);
        if (!g) continue;
        if (v == OVER_DATA && i == operand) memcpy(g, k->call.in[i].data, (size_t)n * sizeof *g);
        if (v == IN_BF16 && i == operand)
            for (int64_t j = n - 1; j >= 0; j--)
                g[j] = sol_bf16_to_f32(((uint16_t *)g)[j]); /* in place */
        if (add && v != ONE_OUT)
            for (int64_t j = 0; j < n; j++) g[j] -= 1;
        if (v == SCALED && i == operand)
            for (int64_t j = 0; j < n; j++) g[j] /= half;
    }
}

/* The largest magnitude, at least 1e-3: what differences are relative to. */
static double largest(const float *x, int64_t n)
{
    double max = 1e-3;
    for (int64_t j = 0; j < n; j++) { /* gcc 12 for arm64 ends on fmax here */
        double size = fabs((double)x[j]);
        if (size > max) max = size;
    }
    return max;
}

/* got against want, of the inputs whose gradient was wanted. */
static sol_status compare_gradients(const check *k, const char *what, double tolerance,
                                    sol_err *err)
{
    for (int i = 0; i < k->n_in; i++) {
        if (!k->call.in[i].grad) continue;
        int64_t n = count(&k->call.in[i]);
        double max = largest(k->want[i], n);
        for (int64_t j = 0; j < n; j++) {
            double g = k->got[i][j], w = k->want[i][j];
            if (!(fabs(g - w) <= tolerance * max))
                return sol_fail(
                    err, SOL_ERR_RANGE,
                    "op %s, case %d, input %d, element %lld: %s backward gives %g, not %g",
                    k->op->name, k->index, i, (long long)j, what, g, w);
        }
    }
    return SOL_OK;
}

/* A backward call whose gradients arrive in got. */
static sol_status run_backward(check *k, variant v, int operand, bool add, sol_err *err)
{
    hide(k);
    spoil_workspace(k);
    set_gradients(k, v, operand, add);
    k->op->backward(&k->call);
    sol_status st = check_untouched(k, v == OVER_DATA ? operand : -1, err);
    settle_gradients(k, v, operand, add);
    restore_inputs(k);
    return st;
}

static sol_status rerun(check *k, const char *what, variant v, int operand, bool add,
                        double tolerance, sol_err *err)
{
    SOL_TRY(run_backward(k, v, operand, add, err));
    return compare_gradients(k, what, tolerance, err);
}

/* Backward gives the same gradients under each promise. */
static sol_status check_promises(check *k, sol_err *err)
{
    double exact = k->tolerance, rounded = exact + bf16_rounding;
    SOL_TRY(rerun(k, "adding,", PLAIN, -1, true, exact, err));
    for (int i = 0; i < k->n_in; i++) {
        if (!k->want[i]) continue;
        unsigned in = k->op->in[i];
        SOL_TRY(rerun(k, "for this input alone", ALONE, i, false, exact, err));
        if (in & SOL_IN_GRAD_SCALED) {
            SOL_TRY(rerun(k, "scaled by a half,", SCALED, i, false, exact, err));
            SOL_TRY(rerun(k, "scaled by a half and adding,", SCALED, i, true, exact, err));
        }
        if ((in & SOL_IN_GRAD_BF16) && k->item->bf16[i])
            SOL_TRY(rerun(k, "to bf16", IN_BF16, i, false, rounded, err));
        if (in & SOL_IN_GRAD_OVER_DATA)
            SOL_TRY(rerun(k, "over the data", OVER_DATA, i, false, exact, err));
    }
    for (int o = 0; o < k->n_out; o++)
        if ((k->op->out[o] & SOL_OUT_GRAD_BF16) && k->call.out[o].dtype == SOL_BF16)
            SOL_TRY(rerun(k, "from bf16", OUT_BF16, o, false, exact, err));
    if ((k->op->promises & SOL_OP_GRAD_IN_PLACE) && k->want[0])
        SOL_TRY(rerun(k, "in place", IN_PLACE, 0, false, exact, err));
    int n = 0; /* gradients that arrive */
    while (n < k->n_out && k->up[n]) n++;
    if (n < 2) return SOL_OK;
    for (int o = 0; o < n; o++) SOL_TRY(run_backward(k, ONE_OUT, o, o > 0, err));
    return compare_gradients(k, "output by output", exact, err);
}

/* A straight-through op: the gradient of in[0] is a multiple of what arrives. */
static sol_status check_straight_through(const check *k, sol_err *err)
{
    const float *factor = k->op->factor ? k->op->factor(k->item->attr) : NULL;
    if (!(k->op->promises & SOL_OP_STRAIGHT_THROUGH)) return SOL_OK;
    for (int i = 1; i < k->n_in; i++)
        if (k->want[i])
            return broken(k, "not straight through: this input takes a gradient, too", i, err);
    for (int64_t j = 0; j < count(&k->call.in[0]); j++)
        if (k->want[0][j] != (factor ? *factor : 1) * k->up[0][j])
            return broken(k, "not straight through: backward computes another gradient", 0, err);
    return SOL_OK;
}

/* ---- differences ---- */

/* f at the inputs as they are. */
static double objective(check *k)
{
    sol_op_call at = k->call;
    double sum = 0;
    for (int i = 0; i < k->n_in; i++) at.in[i].data = k->values[i];
    if (k->op->surrogate)
        k->op->surrogate(&k->call, &at);
    else
        k->op->forward(&k->call);
    for (int o = 0; o < k->n_out; o++) {
        const float *y = k->call.out[o].data, *r = k->up[o];
        int64_t n = r ? count(&k->call.out[o]) : 0;
        for (int64_t i = 0; i < n; i++) sum += (double)r[i] * y[i];
    }
    return sum;
}

/* The gradient of input i against differences of f. */
static sol_status compare_input(check *k, int i, double *worst, sol_err *err)
{
    const double h = 1.0 / 128;
    float *x = k->call.in[i].data;
    int64_t n = count(&k->call.in[i]);
    double max = largest(k->want[i], n);
    for (int64_t j = 0; j < n; j++) {
        float old = x[j];
        x[j] = (float)(old + h);
        double up = objective(k), width = x[j];
        x[j] = (float)(old - h);
        double down = objective(k), numeric;
        width -= x[j];
        x[j] = old;
        numeric = (up - down) / width;
        double difference = fabs(numeric - k->want[i][j]) / max;
        if (difference > *worst) *worst = difference;
        if (!(difference <= k->tolerance))
            return sol_fail(
                err, SOL_ERR_RANGE,
                "op %s, case %d, input %d, element %lld: backward gives %g, differences give %g",
                k->op->name, k->index, i, (long long)j, (double)k->want[i][j], numeric);
    }
    return SOL_OK;
}

/* ---- a case ---- */

/* Draws the case and runs forward and backward as they are. fp32_case: the one whose numbers are
 * drawn. */
static sol_status run_plain(check *k, int fp32_case, sol_err *err)
{
    sol_rng rng = sol_rng_make((uint64_t)fp32_case, SOL_STREAM_TEST);
    SOL_TRY(make_inputs(k, &rng, err));
    SOL_TRY(make_outputs(k, &rng, err));
    SOL_TRY(check_forward(k, err));
    SOL_TRY(run_backward(k, PLAIN, -1, false, err));
    for (int i = 0; i < k->n_in; i++)
        if (k->want[i])
            memcpy(k->want[i], k->got[i], (size_t)count(&k->call.in[i]) * sizeof(float));
    return SOL_OK;
}

static void release(check *k)
{
    while (k->n_made) sol_free(k->made[--k->n_made]);
}

/* A case in bf16: its gradients (in want) are near those of the case in fp32. */
static sol_status check_bf16(check *k, sol_err *err)
{
    sol_op_case item = {0};
    check exact = {
        .op = k->op, .item = &item, .index = k->item->fp32_case - 1, .call.ctx = k->call.ctx};
    exact.call.attr = item.attr;
    k->op->check_case(exact.index, &item);
    sol_status st = run_plain(&exact, exact.index, err);
    if (st == SOL_OK) {
        for (int i = 0; i < k->n_in; i++)
            if (k->want[i])
                memcpy(k->got[i], exact.want[i], (size_t)count(&k->call.in[i]) * sizeof(float));
        st = compare_gradients(k, "in fp32", bf16_products, err);
    }
    release(&exact);
    return st;
}

static sol_status check_all(check *k, double *worst, sol_err *err)
{
    int fp32_case = k->item->fp32_case ? k->item->fp32_case - 1 : k->index;
    SOL_TRY(run_plain(k, fp32_case, err));
    if (k->item->fp32_case) {
        SOL_TRY(check_bf16(k, err));
    } else {
        for (int i = 0; i < k->n_in; i++)
            if (k->want[i]) SOL_TRY(compare_input(k, i, worst, err));
    }
    SOL_TRY(check_straight_through(k, err));
    return check_promises(k, err);
}

sol_status sol_gradcheck(const sol_ctx *ctx, const sol_op *op, double tolerance, double *worst,
                         sol_err *err)
{
    *worst = 0;
    for (int i = 0;; i++) {
        sol_op_case item = {0};
        if (!op->check_case || !op->check_case(i, &item))
            return i ? SOL_OK
                     : sol_fail(err, SOL_ERR_UNSUPPORTED, "op %s has no gradient check", op->name);
        check k = {.op = op,
                   .item = &item,
                   .index = i,
                   .tolerance = tolerance,
                   .call = {.ctx = ctx, .attr = item.attr}};
        sol_status st = check_all(&k, worst, err);
        release(&k);
        if (st != SOL_OK) return st;
    }
}
