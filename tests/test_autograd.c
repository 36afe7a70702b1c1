/* Every operation against differences of its own forward pass; what the recorder of a graph does
 * with gradients, errors and cheap nodes. */
#include <math.h>
#include <string.h>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "suite.h"

START_TEST(every_op_passes_its_gradient_check)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    ck_assert_int_ge(sol_op_count(), 9);
    for (int f = 0; f < n_sets; f++) {
        sol_ctx *ctx;
        ck_ok(sol_ctx_create(&ctx, 2, set[f], NULL, err));
        for (int i = 0; i < sol_op_count(); i++) {
            double worst;
            ck_ok(sol_gradcheck(ctx, sol_op_at(i), 2e-3, &worst, err));
        }
        sol_ctx_free(&ctx);
    }
}
END_TEST

static void wrong_backward(const sol_op_call *c)
{
    sol_op_add.backward(c);
    c->in[1].grad[2] += 0.5f;
}

static bool no_case(int i, sol_op_case *c)
{
    (void)i;
    (void)c;
    return false;
}

START_TEST(gradient_check_finds_faults)
{
    sol_ctx *ctx;
    double worst;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    sol_op op = sol_op_add;
    op.backward = wrong_backward;
    ck_fails(sol_gradcheck(ctx, &op, 2e-3, &worst, err), SOL_ERR_RANGE,
             "op add, case 0, input 1, element 2");
    op = sol_op_add;
    op.check_case = NULL;
    ck_fails(sol_gradcheck(ctx, &op, 2e-3, &worst, err), SOL_ERR_UNSUPPORTED, "no gradient check");
    op.check_case = no_case;
    ck_fails(sol_gradcheck(ctx, &op, 2e-3, &worst, err), SOL_ERR_UNSUPPORTED, "no gradient check");
    sol_ctx_free(&ctx);
}
END_TEST

/* ---- ops that lie: right in a plain backward call, wrong about one rule or promise ---- */

/* Half of the sum in place of the gradient where it is to be added. */
static void forgets_to_add(const sol_op_call *call)
{
    sol_op_call c = *call;
    c.in[0].grad_add = false;
    sol_op_add.backward(&c);
}

/* Needs both gradients: leaves the second one alone when the first is not wanted. */
static void wants_both(const sol_op_call *c)
{
    if (c->in[0].grad) sol_op_add.backward(c);
}

static void set_zero(float *x, const sol_shape *shape)
{
    memset(x, 0, (size_t)sol_shape_count(shape) * sizeof *x);
}

/* dX is set before dW = dY^T X reads X. */
static void writes_early(const sol_op_call *c)
{
    if (c->in[0].grad && !c->in[0].grad_add) set_zero(c->in[0].grad, &c->in[0].shape);
    sol_op_linear.backward(c);
}

static void writes_input(const sol_op_call *c)
{
    sol_op_add.backward(c);
    *(float *)c->in[1].data = 0;
}

static void writes_output(const sol_op_call *c)
{
    sol_op_add.backward(c);
    *(float *)c->out[0].data = 0;
}

static void leaves_output(const sol_op_call *c)
{
    float last = ((float *)c->out[0].data)[2];
    sol_op_add.forward(c);
    ((float *)c->out[0].data)[2] = last;
}

/* Sets the gradient before it has read what arrives in the same memory. */
static void not_in_place(const sol_op_call *c)
{
    if (c->in[0].grad && !c->in[0].grad_add) set_zero(c->in[0].grad, &c->in[0].shape);
    sol_op_fake_quant_own.backward(c);
}

/* Takes what arrives for the bias twice where nothing arrives for W_eff. */
static void doubles_bias(const sol_op_call *c)
{
    float twice[3];
    sol_op_call d = *c;
    if (c->out[1].grad && !c->out[0].grad) {
        for (int r = 0; r < 3; r++) twice[r] = 2 * c->out[1].grad[r];
        d.out[1].grad = twice;
    }
    sol_op_fake_quant_own.backward(&d);
}

static size_t too_little(const sol_op_call *c, bool backward)
{
    return sol_op_rmsnorm.workspace(c, backward) / 2;
}

START_TEST(gradient_check_finds_lies)
{
    struct lie {
        sol_op op;
        const char *told;
    } lies[] = {{sol_op_swiglu, "op swiglu, case 0, input 0"},
                {sol_op_rmsnorm, "op rmsnorm, case 0, input 0"},
                {sol_op_add, "adding, backward"},
                {sol_op_add, "for this input alone backward"},
                {sol_op_add, "operand 1: backward writes the data of this input"},
                {sol_op_add, "operand 0: backward writes the data of this output"},
                {sol_op_add, "operand 0: forward does not set all of this output"},
                {sol_op_rmsnorm, "writes beyond its workspace"},
                {sol_op_linear, "input 0, element 0: scaled by a half, backward"},
                {sol_op_linear, "over the data backward"},
                {sol_op_linear, "to bf16 backward"},
                {sol_op_swiglu, "from bf16 backward"},
                {sol_op_add, "backward does not compute this output"},
                {sol_op_rope, "not cheap to repeat"},
                {sol_op_rope, "not straight through: backward computes another gradient"},
                {sol_op_add, "operand 1: not straight through: this input takes a gradient, too"},
                {sol_op_fake_quant_own, "in place backward"},
                {sol_op_fake_quant_own, "output by output backward"},
                {sol_op_fake_quant_own, "differences give"}};
    int n = 0;
    lies[n].op.promises = 0;
    lies[n++].op.in[0] = 0;  /* reads the gate */
    lies[n++].op.out[1] = 0; /* reads 1 / rms of each row */
    lies[n++].op.backward = forgets_to_add;
    lies[n++].op.backward = wants_both;
    lies[n++].op.backward = writes_input;
    lies[n++].op.backward = writes_output;
    lies[n++].op.forward = leaves_output;
    lies[n++].op.workspace = too_little;
    lies[n++].op.in[0] |= SOL_IN_GRAD_SCALED;
    lies[n].op.backward = writes_early;
    lies[n++].op.in[0] |= SOL_IN_GRAD_OVER_DATA;
    lies[n++].op.in[0] |= SOL_IN_GRAD_BF16;
    lies[n++].op.out[0] |= SOL_OUT_GRAD_BF16;
    lies[n++].op.promises = SOL_OP_COMPUTES_IN_BACKWARD;
    lies[n++].op.promises = SOL_OP_CHEAP_TO_REPEAT;
    lies[n++].op.promises = SOL_OP_STRAIGHT_THROUGH;
    lies[n++].op.promises = SOL_OP_STRAIGHT_THROUGH;
    lies[n++].op.backward = not_in_place;
    lies[n++].op.backward = doubles_bias;
    lies[n++].op.surrogate = NULL; /* backward is not the derivative of forward */
    ck_assert_int_eq(n, sizeof lies / sizeof *lies);
    sol_ctx *ctx;
    double worst;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < n; i++)
        ck_fails(sol_gradcheck(ctx, &lies[i].op, 2e-3, &worst, err), SOL_ERR_RANGE, lies[i].told);
    sol_ctx_free(&ctx);
}
END_TEST

/* Shapes that do not fit are told with the op's name, once, at planning. */
START_TEST(recording_errors_stick)
{
    sol_tape *t;
    ck_ok(sol_tape_create(&t, NULL, err));
    sol_var x = sol_tape_input(t, SOL_F32, sol_shape2(4, 6));
    sol_var w = sol_tape_param(t, SOL_F32, sol_shape2(3, 5), NULL, NULL);
    sol_var y = sol_linear(t, x, w, SOL_F32);
    ck_assert_int_eq(y, -1);
    ck_assert_int_eq(sol_add(t, y, x), -1);
    ck_fails(sol_tape_plan(t, y, &(sol_tape_opts){0}, err), SOL_ERR_SHAPE,
             "op linear: X [4, 6] and W [3, 5]");
    sol_tape_free(&t);

    ck_ok(sol_tape_create(&t, NULL, err));
    x = sol_tape_input(t, SOL_F32, sol_shape2(4, 6));
    y = sol_add(t, x, x);
    ck_fails(sol_tape_plan(t, y, &(sol_tape_opts){0}, err), SOL_ERR_USAGE, "same tensor");
    sol_tape_free(&t);
}
END_TEST

/* y = (x w^T + x) + x: x's gradient has three parts, on a tape of its own. */
START_TEST(gradients_of_one_tensor_add_up)
{
    sol_ctx *ctx;
    sol_tape *t;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_tape_create(&t, ctx, err));
    float x[] = {1, 2, 3, 4}, w[] = {1, 2, 3, 5}, dx[4] = {100, 0, 0, 0}, dw[4] = {0};
    sol_var vx = sol_tape_param(t, SOL_F32, sol_shape2(2, 2), x, dx),
            vw = sol_tape_param(t, SOL_F32, sol_shape2(2, 2), w, dw);
    sol_var y = sol_add(t, sol_add(t, sol_linear(t, vx, vw, SOL_F32), vx), vx);
    ck_ok(sol_tape_plan(t, y, &(sol_tape_opts){0}, err));
    ck_ok(sol_tape_allocate(t, err));
    float *dy = sol_tape_grad(t, y);
    const float up[] = {1, 0, 2, -1};
    memcpy(dy, up, sizeof up);
    sol_tape_run_backward(t, false, true);
    const float *out = sol_tape_data(t, y);
    ck_assert_float_eq(out[0], 1 * 1 + 2 * 2 + 2);
    ck_assert_float_eq(out[3], 3 * 3 + 4 * 5 + 8);
    /* dx = dy w + 2 dy on top of what was there; dw = dy^T x */
    ck_assert_float_eq(dx[0], 100 + 1 + 2);
    ck_assert_float_eq(dx[1], 2);
    ck_assert_float_eq(dx[2], 2 * 1 - 3 + 4);
    ck_assert_float_eq(dx[3], 2 * 2 - 5 - 2);
    ck_assert_float_eq(dw[0], 1 + 2 * 3);
    ck_assert_float_eq(dw[3], -4);
    sol_tape_run_backward(t, true, true); /* set, not added to */
    ck_assert_float_eq(dx[0], 1 + 2);
    ck_assert_float_eq(dw[3], -4);
    sol_tape_free(&t);
    sol_ctx_free(&ctx);
}
END_TEST

static const char *const own_methods[] = {"lsq", "tequila"};

/* y = x W_eff^T + bias of a method with a backward of its own, recorded in the prologue or where it
 * is read: two micro-batches give the gradients that sol_quant_backward makes of their sum, also
 * when another node reads W, so that the gradients cannot share a buffer. */
START_TEST(prologue_finishes_gradients)
{
    enum { N = 3, ROWS = 4, COLS = 8 };
    static const sol_quant_mix mix = {{0.75f, 0.5f}, 1.25f};
    sol_ctx *ctx;
    float x[N * COLS], w[ROWS * COLS], step[ROWS];
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < N * COLS; i++) x[i] = (float)(i % 7) - 2.5f;
    for (int i = 0; i < ROWS * COLS; i++) w[i] = (float)(i * 5 % 11) / 8 - 0.6f;
    for (int i = 0; i < ROWS; i++) step[i] = 0.25f * (float)(i + 1);
    for (int i = 0; i < 8; i++) {
        bool lsq = i % 2 == 0, prologue = i / 2 % 2, shared = i / 4;
        sol_quant_spec spec = {.method = sol_quantizer_find(own_methods[i % 2]),
                               .granularity = SOL_PER_CHANNEL,
                               .scale_dtype = SOL_F32};
        float dw[ROWS * COLS], dstep[ROWS], want[ROWS * COLS] = {0}, want_step[ROWS] = {0},
                                                        d_bias[ROWS] = {0};
        sol_tape *t;
        sol_var bias, vstep = -1;
        ck_ok(sol_tape_create(&t, ctx, err));
        sol_tape_prologue(t, prologue);
        sol_var vx = sol_tape_constant(t, SOL_F32, sol_shape2(N, COLS), x),
                vw = sol_tape_param(t, SOL_F32, sol_shape2(ROWS, COLS), w, dw);
        if (lsq) vstep = sol_tape_param(t, SOL_F32, sol_shape2(ROWS, 1), step, dstep);
        sol_var w_eff = sol_fake_quant(t, vw, lsq ? &vstep : NULL, &spec, &mix, SOL_F32, &bias);
        ck_assert_int_eq(bias < 0, lsq);
        sol_tape_prologue(t, false);
        sol_var y = sol_linear(t, vx, w_eff, SOL_F32);
        if (!lsq) y = sol_add_bias(t, y, bias);
        if (shared) y = sol_add(t, y, sol_linear(t, vx, vw, SOL_F32));
        ck_ok(sol_tape_plan(t, y, &(sol_tape_opts){0}, err));
        ck_ok(sol_tape_allocate(t, err));
        sol_tape_prepare(t);
        int runs = prologue ? 2 : 1; /* outside the prologue every run finishes its own */
        for (int run = 0; run < runs; run++) {
            for (int k = 0; k < N * ROWS; k++)
                sol_tape_grad(t, y)[k] = (float)((k + run) % 5) - 1.5f;
            for (int k = 0; k < N * ROWS; k++) {
                float dy = sol_tape_grad(t, y)[k];
                d_bias[k % ROWS] += dy;
                for (int c = 0; c < COLS; c++)
                    want[k % ROWS * COLS + c] += dy * x[k / ROWS * COLS + c];
            }
            sol_tape_run_backward(t, run == 0, run == runs - 1);
        }
        float straight[ROWS * COLS];
        memcpy(straight, want, sizeof want);
        sol_quant_matrix m = {.w = w, .rows = ROWS, .cols = COLS, .learned = {lsq ? step : NULL}};
        sol_quant_grads g = {.dw_eff = want,
                             .d_bias = lsq ? NULL : d_bias,
                             .dw = want,
                             .d_learned = {lsq ? want_step : NULL}};
        sol_quant_backward(ctx, &spec, &m, mix.mix, &g);
        for (int k = 0; k < ROWS * COLS; k++)
            ck_assert_float_eq_tol(dw[k], want[k] + (shared ? straight[k] : 0), 1e-4f);
        if (lsq)
            for (int r = 0; r < ROWS; r++) ck_assert_float_eq_tol(dstep[r], want_step[r], 1e-4f);
        sol_tape_free(&t);
    }
    sol_ctx_free(&ctx);
}
END_TEST

static void count_norms(void *user, const sol_op *op, bool backward)
{
    if (op == &sol_op_rmsnorm && !backward) ++*(int *)user;
}

/* A cheap node whose output the backward pass reads runs twice, unless that output is kept; no
 * gradient changes. */
START_TEST(cheap_nodes_run_again)
{
    enum { N = 40, C = 6 };
    sol_ctx *ctx;
    float x[N * C], w[] = {1, 2, 3, 4, 5, 6}, m[2 * C], grads[2][N * C + C + 2 * C];
    size_t bytes[2];
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < N * C; i++) x[i] = (float)(i % 7) - 2.5f;
    for (int i = 0; i < 2 * C; i++) m[i] = (float)(i % 3) - 0.75f;
    for (int kept = 0; kept < 2; kept++) {
        sol_tape *t;
        sol_plan plan = {0};
        int calls = 0;
        float *dx = grads[kept], *dw = dx + N * C, *dm = dw + C;
        ck_ok(sol_tape_create(&t, ctx, err));
        sol_var vx = sol_tape_param(t, SOL_F32, sol_shape2(N, C), x, dx),
                vw = sol_tape_param(t, SOL_F32, sol_shape2(1, C), w, dw);
        sol_var vm = sol_tape_param(t, SOL_F32, sol_shape2(2, C), m, dm),
                h = sol_rmsnorm(t, vx, vw, 1e-5f, SOL_F32);
        sol_var y = sol_linear(t, h, vm, SOL_F32);
        if (kept) sol_tape_keep(t, h);
        ck_ok(sol_tape_plan(t, y, &(sol_tape_opts){0}, err));
        sol_tape_report(t, &plan);
        bytes[kept] = sol_plan_total(&plan);
        ck_ok(sol_tape_allocate(t, err));
        for (int i = 0; i < 2 * N; i++) sol_tape_grad(t, y)[i] = (float)(i % 5) - 1.5f;
        sol_tape_trace(t, count_norms, &calls);
        sol_tape_run_backward(t, true, true);
        ck_assert_int_eq(calls, kept ? 1 : 2);
        sol_tape_free(&t);
    }
    ck_assert_mem_eq(grads[0], grads[1], sizeof grads[0]);
    ck_assert_uint_le(bytes[0], bytes[1]);
    sol_ctx_free(&ctx);
}
END_TEST

/* h read by the loss, whose call opens the backward pass, and by a node before it: the loss finds h
 * where the forward pass left it, and the gradients are those of a kept h. */
START_TEST(a_loss_shares_its_cheap_input)
{
    enum { N = 6, V = 9 };
    static int32_t target[N] = {0, 3, 1, 4, 2, 2};
    sol_ctx *ctx;
    float x[N * N], w[] = {1, 2, 3, 4, 5, 6}, a[V * N], grads[2][N * N + N + V * N], loss[2][N];
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < N * N; i++) x[i] = (float)(i % 7) - 2.5f;
    for (int i = 0; i < V * N; i++) a[i] = (float)(i % 4) / 8 - 0.15f;
    for (int kept = 0; kept < 2; kept++) {
        sol_tape *t;
        float *dx = grads[kept], *dw = dx + N * N, *da = dw + N;
        ck_ok(sol_tape_create(&t, ctx, err));
        sol_var vx = sol_tape_param(t, SOL_F32, sol_shape2(N, N), x, dx),
                vw = sol_tape_param(t, SOL_F32, sol_shape2(1, N), w, dw),
                va = sol_tape_param(t, SOL_F32, sol_shape2(V, N), a, da),
                targets = sol_tape_input(t, SOL_I32, sol_shape1(N));
        sol_var h = sol_rmsnorm(t, vx, vw, 1e-5f, SOL_F32);
        sol_var y = sol_head_loss(t, h, sol_linear(t, va, h, SOL_F32), targets, SOL_F32);
        if (kept) sol_tape_keep(t, h);
        ck_ok(sol_tape_plan(t, y, &(sol_tape_opts){0}, err));
        ck_ok(sol_tape_allocate(t, err));
        memcpy(sol_tape_data(t, targets), target, sizeof target);
        for (int i = 0; i < N; i++) sol_tape_grad(t, y)[i] = 1.0f / N;
        sol_tape_run_backward(t, true, true);
        memcpy(loss[kept], sol_tape_data(t, y), sizeof loss[kept]);
        sol_tape_free(&t);
    }
    ck_assert_mem_eq(loss[0], loss[1], sizeof loss[0]);
    ck_assert_mem_eq(grads[0], grads[1], sizeof grads[0]);
    sol_ctx_free(&ctx);
}
END_TEST

/* A cheap node at the end of a segment that is recomputed, whose output the next one reads: it runs
 * again before its inputs do, and reads them where the forward pass left them. */
START_TEST(a_cheap_node_between_segments)
{
    enum { N = 9, C = 6, V = 20 };
    sol_ctx *ctx;
    float x[N * C], w[] = {1, 2, 3, 4, 5, 6}, a[C * C], b[V * C],
                    grads[2][N * C + C + C * C + V * C];
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < N * C; i++) x[i] = (float)(i % 7) - 2.5f;
    for (int i = 0; i < C * C; i++) a[i] = (float)(i % 5) / 4 - 0.4f;
    for (int i = 0; i < V * C; i++) b[i] = (float)(i % 3) - 0.75f;
    for (int again = 0; again < 2; again++) {
        sol_tape *t;
        float *dx = grads[again], *dw = dx + N * C, *da = dw + C, *db = da + C * C;
        ck_ok(sol_tape_create(&t, ctx, err));
        sol_var vx = sol_tape_param(t, SOL_F32, sol_shape2(N, C), x, dx),
                vw = sol_tape_param(t, SOL_F32, sol_shape2(1, C), w, dw),
                va = sol_tape_param(t, SOL_F32, sol_shape2(C, C), a, da),
                vb = sol_tape_param(t, SOL_F32, sol_shape2(V, C), b, db);
        sol_tape_segment(t, 0);
        sol_var h = sol_rmsnorm(t, sol_linear(t, vx, va, SOL_F32), vw, 1e-5f, SOL_F32);
        sol_tape_segment(t, 1);
        sol_var y = sol_linear(t, h, vb, SOL_F32);
        ck_ok(sol_tape_plan(t, y, &(sol_tape_opts){.recompute = again}, err));
        ck_ok(sol_tape_allocate(t, err));
        for (int i = 0; i < V * N; i++) sol_tape_grad(t, y)[i] = (float)(i % 5) - 1.5f;
        sol_tape_run_backward(t, true, true);
        sol_tape_free(&t);
    }
    ck_assert_mem_eq(grads[0], grads[1], sizeof grads[0]);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("autograd", tcase_add_test(tc, every_op_passes_its_gradient_check);
              tcase_add_test(tc, gradient_check_finds_faults);
              tcase_add_test(tc, gradient_check_finds_lies);
              tcase_add_test(tc, recording_errors_stick);
              tcase_add_test(tc, gradients_of_one_tensor_add_up);
              tcase_add_test(tc, prologue_finishes_gradients);
              tcase_add_test(tc, cheap_nodes_run_again);
              tcase_add_test(tc, a_loss_shares_its_cheap_input);
              tcase_add_test(tc, a_cheap_node_between_segments))
