/* The gradient check: every op's backward against central differences of its forward. Only tests
 * call it (tests/test_autograd.c, for all ops of ops.def). */
#include "autograd/gradcheck.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

typedef struct check {
    const sol_op *op;
    sol_op_case *item;
    sol_op_call call;
    float *copy[SOL_OP_MAX_IN];                           /* input data, to restore */
    float *grad[SOL_OP_MAX_IN];                           /* analytic */
    float *random[SOL_OP_MAX_OUT];                        /* weights of the outputs = their gradients */
    void *made[4 * (SOL_OP_MAX_IN + SOL_OP_MAX_OUT) + 1]; /* what to free */
    int n_made;
} check;

static sol_status make(check *k, void **out, size_t n, size_t size, sol_err *err)
{
    sol_status st = sol_alloc_array(out, n, size, err);
    if (st == SOL_OK) k->made[k->n_made++] = *out;
    return st;
}

static void fill_normal(sol_rng *rng, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = sol_rng_normal(rng);
}

static bool is_checked(const check *k, int i)
{
    return !k->item->ints[i] && !k->item->constant[i];
}

static sol_status make_inputs(check *k, sol_rng *rng, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int i = 0; st == SOL_OK && i < k->op->n_in; i++) {
        sol_slot *s = &k->call.in[i];
        size_t n = (size_t)sol_shape_count(&k->item->in[i]);
        s->shape = k->item->in[i];
        s->dtype = k->item->ints[i] ? SOL_I32 : SOL_F32;
        st = make(k, &s->data, n, sizeof(float), err);
        if (st == SOL_OK) st = make(k, (void **)&k->copy[i], n, sizeof(float), err);
        if (st != SOL_OK) break;
        if (k->item->ints[i])
            memcpy(s->data, k->item->ints[i], n * sizeof(int32_t));
        else if (k->item->floats[i])
            memcpy(s->data, k->item->floats[i], n * sizeof(float));
        else
            fill_normal(rng, s->data, (int64_t)n);
        memcpy(k->copy[i], s->data, n * sizeof(float));
        if (is_checked(k, i)) st = make(k, (void **)&k->grad[i], n, sizeof(float), err);
    }
    return st;
}

static sol_status make_outputs(check *k, sol_rng *rng, sol_err *err)
{
    sol_status st = k->op->shapes(&k->call, err);
    for (int o = 0; st == SOL_OK && o < k->op->n_out; o++) {
        sol_slot *s = &k->call.out[o];
        size_t n = (size_t)sol_shape_count(&s->shape);
        st = make(k, &s->data, n, sizeof(float), err);
        /* Only out[0] carries a gradient; others are kept for the backward pass. */
        if (st == SOL_OK && o == 0) st = make(k, (void **)&k->random[o], n, sizeof(float), err);
        if (st == SOL_OK && o == 0) fill_normal(rng, k->random[o], (int64_t)n);
    }
    size_t bytes = 0;
    for (int back = 0; st == SOL_OK && k->op->workspace && back < 2; back++) {
        size_t b = k->op->workspace(&k->call, back);
        if (b > bytes) bytes = b;
    }
    if (st == SOL_OK && bytes) st = make(k, &k->call.workspace, bytes, 1, err);
    return st;
}

static double objective(check *k)
{
    (k->op->surrogate ? k->op->surrogate : k->op->forward)(&k->call);
    double sum = 0;
    const float *y = k->call.out[0].data, *r = k->random[0];
    for (int64_t i = 0, n = sol_shape_count(&k->call.out[0].shape); i < n; i++) sum += (double)r[i] * y[i];
    return sum;
}

static void spoil(void *data, int64_t n)
{
    for (int64_t i = 0; i < n; i++) ((float *)data)[i] = NAN;
}

/* Backward with everything hidden that it does not declare to read; input data is whole again afterwards. */
static void run_backward(check *k, bool add)
{
    for (int i = 0; i < k->op->n_in; i++) {
        sol_slot *s = &k->call.in[i];
        if (!(k->op->reads_in >> i & 1)) spoil(s->data, sol_shape_count(&s->shape));
        s->grad = k->grad[i];
        s->grad_add = add;
        if (s->grad)
            for (int64_t j = 0; j < sol_shape_count(&s->shape); j++) s->grad[j] = add ? 1 : NAN;
    }
    for (int o = 0; o < k->op->n_out; o++) {
        sol_slot *s = &k->call.out[o];
        if (!(k->op->reads_out >> o & 1)) spoil(s->data, sol_shape_count(&s->shape));
        s->grad = k->random[o];
    }
    k->op->backward(&k->call);
    for (int i = 0; i < k->op->n_in; i++) {
        sol_slot *s = &k->call.in[i];
        memcpy(s->data, k->copy[i], (size_t)sol_shape_count(&s->shape) * sizeof(float));
        if (s->grad && add)
            for (int64_t j = 0; j < sol_shape_count(&s->shape); j++) s->grad[j] -= 1;
    }
}

static sol_status compare_input(check *k, int i, int index, double tolerance, double *worst, sol_err *err)
{
    const double h = 1.0 / 128;
    float *x = k->call.in[i].data;
    int64_t n = sol_shape_count(&k->call.in[i].shape);
    double largest = 1e-3;
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, fabs((double)k->grad[i][j]));
    for (int64_t j = 0; j < n; j++) {
        float old = x[j];
        x[j] = (float)(old + h);
        double up = objective(k), width = x[j];
        x[j] = (float)(old - h);
        double down = objective(k), numeric;
        width -= x[j];
        x[j] = old;
        numeric = (up - down) / width;
        double difference = fabs(numeric - k->grad[i][j]) / largest;
        if (difference > *worst) *worst = difference;
        if (!(difference <= tolerance))
            return sol_fail(err, SOL_ERR_RANGE,
                            "op %s, case %d, input %d, element %lld: backward gives %g, differences give %g",
                            k->op->name, index, i, (long long)j, (double)k->grad[i][j], numeric);
    }
    return SOL_OK;
}

static sol_status run_case(const sol_ctx *ctx, const sol_op *op, sol_op_case *item, int index, double tolerance,
                           double *worst, sol_err *err)
{
    check k = {.op = op, .item = item, .call = {.ctx = ctx, .attr = item->attr}};
    sol_rng rng = sol_rng_make((uint64_t)index, SOL_STREAM_TEST);
    sol_status st = make_inputs(&k, &rng, err);
    if (st == SOL_OK) st = make_outputs(&k, &rng, err);
    for (int add = 0; st == SOL_OK && add < 2; add++) {
        op->forward(&k.call);
        run_backward(&k, add);
        for (int i = 0; st == SOL_OK && i < op->n_in; i++)
            if (is_checked(&k, i)) st = compare_input(&k, i, index, tolerance, worst, err);
    }
    while (k.n_made) sol_free(k.made[--k.n_made]);
    return st;
}

sol_status sol_gradcheck(const sol_ctx *ctx, const sol_op *op, double tolerance, double *worst, sol_err *err)
{
    *worst = 0;
    if (!op->check_case) return sol_fail(err, SOL_ERR_UNSUPPORTED, "op %s has no gradient check", op->name);
    for (int i = 0;; i++) {
        sol_op_case item = {0};
        if (!op->check_case(i, &item))
            return i ? SOL_OK : sol_fail(err, SOL_ERR_UNSUPPORTED, "op %s has no gradient check", op->name);
        sol_status st = run_case(ctx, op, &item, i, tolerance, worst, err);
        if (st != SOL_OK) return st;
    }
}
