/* The tape: recording of nodes, and the runs of what plan.c has planned. model records its graph
 * here once; a training step only runs it. */
#include "autograd/tape_impl.h"

#include <string.h>

#include "kernels/gemm.h"

sol_status sol_tape_create(sol_tape **out, const sol_ctx *ctx, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    **out = (sol_tape){.ctx = ctx, .segment = -1, .last_segment = -1, .root = -1};
    return SOL_OK;
}

void sol_tape_free(sol_tape **tp)
{
    sol_tape *t = *tp;
    if (!t) return;
    sol_free(t->vars.items);
    sol_free(t->nodes.items);
    sol_free(t->buffers.items);
    sol_free(t->steps.items);
    sol_free(t->prologue_steps.items);
    sol_free(t->block);
    sol_free(t);
    *tp = NULL;
}

void *tape_append(sol_tape *t, tape_list *list, size_t size)
{
    if (t->status != SOL_OK) return NULL;
    t->status = sol_grow_array(&list->items, &list->capacity, (size_t)list->n + 1, size, &t->err);
    if (t->status != SOL_OK) return NULL;
    void *item = (char *)list->items + (size_t)list->n++ * size;
    memset(item, 0, size);
    return item;
}

/* Records a tensor; -1 after an error. */
static sol_var add_var(sol_tape *t, var_kind kind, sol_dtype dtype, sol_shape shape)
{
    size_t bytes;
    if (t->status == SOL_OK) t->status = sol_shape_bytes(&shape, dtype, &bytes, &t->err);
    tape_var *v = tape_append(t, &t->vars, sizeof *v);
    if (!v) return -1;
    *v = (tape_var){.kind = kind,
                    .shape = shape,
                    .dtype = dtype,
                    .bytes = bytes,
                    .node = -1,
                    .segment = -1,
                    .alias = -1,
                    .buffer = {-1, -1},
                    .grad_buffer = -1};
    return t->vars.n - 1;
}

sol_var sol_tape_input(sol_tape *t, sol_dtype dtype, sol_shape shape)
{
    return add_var(t, VAR_INPUT, dtype, shape);
}

sol_var sol_tape_param(sol_tape *t, sol_dtype dtype, sol_shape shape, const void *data, float *grad)
{
    sol_var v = add_var(t, VAR_PARAM, dtype, shape);
    if (v < 0) return v;
    tape_var_at(t, v)->outside_data = data;
    tape_var_at(t, v)->outside_grad = grad;
    return v;
}

sol_var sol_tape_constant(sol_tape *t, sol_dtype dtype, sol_shape shape, const void *data)
{
    sol_var v = sol_tape_param(t, dtype, shape, data, NULL);
    if (v >= 0) tape_var_at(t, v)->constant = true;
    return v;
}

/* How many of the optional inputs at the end are there. */
static int given_inputs(const sol_op *op, const sol_var *in)
{
    int n = op->n_in;
    while (n > op->n_in - op->optional_in && in[n - 1] < 0) n--;
    return n;
}

/* How many outputs `shapes` has made. */
static int made_outputs(const sol_op *op, const sol_op_call *c)
{
    int n = op->n_out;
    while (n > op->n_out - op->optional_out && c->out[n - 1].shape.n_dims == 0) n--;
    return n;
}

/* The same tensor twice in one node would make "set" and "add" of its gradient depend on the order
 * inside the op. */
static sol_status check_inputs(sol_tape *t, const sol_op *op, const sol_var *in, int n)
{
    for (int i = 0; i < n; i++) {
        if (in[i] < 0 || in[i] >= t->vars.n)
            return sol_fail(&t->err, SOL_ERR_USAGE, "op %s: input %d is no tensor of this tape",
                            op->name, i);
        for (int j = 0; j < i; j++)
            if (in[i] == in[j])
                return sol_fail(&t->err, SOL_ERR_USAGE,
                                "op %s: inputs %d and %d are the same tensor", op->name, j, i);
        if (t->in_prologue && tape_var_at(t, in[i])->kind == VAR_NODE &&
            !tape_var_at(t, in[i])->prologue)
            return sol_fail(&t->err, SOL_ERR_USAGE,
                            "op %s: a prologue node reads a tensor of the main part", op->name);
    }
    return SOL_OK;
}

sol_var sol_tape_apply(sol_tape *t, const sol_op *op, const sol_var *in, sol_var *out,
                       const void *attr)
{
    for (int o = 0; o < op->n_out; o++) out[o] = -1;
    if (t->status != SOL_OK) return -1;
    int n_in = given_inputs(op, in);
    t->status = check_inputs(t, op, in, n_in);
    if (t->status != SOL_OK) return -1;
    sol_op_call call = {.ctx = t->ctx, .attr = attr};
    for (int i = 0; i < n_in; i++) {
        const tape_var *v = tape_var_at(t, in[i]);
        call.in[i] = (sol_slot){.shape = v->shape, .dtype = v->dtype};
    }
    t->status = op->shapes(&call, &t->err);
    if (t->status != SOL_OK) {
        sol_err_prefix(&t->err, t->status, "op %s", op->name);
        return -1;
    }
    tape_node *n = tape_append(t, &t->nodes, sizeof *n);
    if (!n) return -1;
    n->op = op;
    n->n_in = n_in;
    n->n_out = made_outputs(op, &call);
    n->segment = t->in_prologue ? -1 : t->segment;
    n->prologue = t->in_prologue;
    if (op->attr_size) memcpy(n->attr, attr, op->attr_size);
    memcpy(n->in, in, sizeof *in * (size_t)n_in);
    for (int o = 0; o < n->n_out; o++) {
        out[o] = add_var(t, VAR_NODE, call.out[o].dtype, call.out[o].shape);
        if (out[o] < 0) return -1;
        n->out[o] = out[o];
        tape_var *v = tape_var_at(t, out[o]);
        v->node = t->nodes.n - 1;
        v->segment = n->segment;
        v->prologue = n->prologue;
    }
    return out[0];
}

void sol_tape_prologue(sol_tape *t, bool on)
{
    t->in_prologue = on;
}

void sol_tape_segment(sol_tape *t, int id)
{
    t->segment = id;
    if (id > t->last_segment) t->last_segment = id;
}

void sol_tape_keep(sol_tape *t, sol_var v)
{
    if (t->status == SOL_OK && v >= 0) tape_var_at(t, v)->keep = true;
}

/* Where a buffer lies; NULL: there is none, or the tape is only planned. */
static void *buffer_address(const sol_tape *t, int buffer)
{
    return buffer < 0 || !t->block ? NULL : t->block + tape_buffer_at(t, buffer)->offset;
}

void *sol_tape_data(const sol_tape *t, sol_var v)
{
    int buffer = tape_var_at(t, v)->buffer[0];
    return buffer < 0 || tape_buffer_at(t, buffer)->first >= 0 ? NULL : buffer_address(t, buffer);
}

float *sol_tape_grad(const sol_tape *t, sol_var v)
{
    const tape_var *var = tape_var_at(t, v);
    return var->kind == VAR_PARAM ? var->outside_grad : buffer_address(t, var->grad_buffer);
}

/* What a call sees of var `index`; second: in buffer[1]; data, grad: whether it gets them. */
static sol_slot bind_slot(const sol_tape *t, int index, bool second, bool data, bool grad)
{
    const tape_var *v = tape_var_at(t, index), *home = tape_var_at(t, tape_grad_home(t, index));
    sol_slot s = {.shape = v->shape, .dtype = v->dtype};
    if (data && v->kind == VAR_PARAM) s.data = (void *)(uintptr_t)v->outside_data;
    if (data && v->kind != VAR_PARAM) s.data = buffer_address(t, v->buffer[second]);
    if (data && v->in_grad) s.data = home->outside_grad;
    if (grad) {
        s.grad =
            home->kind == VAR_PARAM ? home->outside_grad : buffer_address(t, home->grad_buffer);
        s.grad_scale = v->factor;
        s.grad_bf16 = v->grad_bf16;
    }
    return s;
}

/* Sets the call of a step, whose memory is now known: a run only passes it on. */
static void bind_step(sol_tape *t, tape_step *s)
{
    const tape_node *n = tape_node_at(t, s->node);
    const sol_op *op = n->op;
    bool backward = s->kind == STEP_BACKWARD;
    s->call =
        (sol_op_call){.ctx = t->ctx, .attr = n->attr, .workspace = buffer_address(t, s->workspace)};
    for (int i = 0; i < n->n_in; i++) {
        bool grad = backward && (s->grad_wanted >> i & 1);
        s->call.in[i] = bind_slot(t, n->in[i], s->second >> i & 1,
                                  !backward || (op->in[i] & SOL_IN_READ), grad);
        s->call.in[i].grad_add = s->grad_add >> i & 1;
    }
    for (int o = 0; o < n->n_out; o++) {
        bool data = !backward || tape_promises(n, SOL_OP_COMPUTES_IN_BACKWARD) ||
                    (op->out[o] & SOL_OUT_READ);
        s->call.out[o] = bind_slot(t, n->out[o], s->second >> (n->n_in + o) & 1, data,
                                   backward && (s->out_grad >> o & 1));
    }
}

sol_status sol_tape_allocate(sol_tape *t, sol_err *err)
{
    SOL_TRY(sol_gemm_reserve(t->ctx, err));
    SOL_TRY(sol_alloc_array((void **)&t->block, t->block_bytes, 1, err));
    for (int i = 0; i < t->prologue_steps.n; i++)
        bind_step(t, (tape_step *)t->prologue_steps.items + i);
    for (int i = 0; i < t->steps.n; i++) bind_step(t, (tape_step *)t->steps.items + i);
    return SOL_OK;
}

void sol_tape_watch(sol_tape *t, sol_tape_watch_fn fn, void *user)
{
    t->watch = fn;
    t->watch_user = user;
}

void sol_tape_after_segment(sol_tape *t, sol_tape_segment_fn fn, void *user)
{
    t->after_segment = fn;
    t->segment_user = user;
}

bool sol_tape_ends_in_prologue(const sol_tape *t)
{
    return t->n_main < t->steps.n;
}

void sol_tape_trace(sol_tape *t, sol_tape_trace_fn fn, void *user)
{
    t->trace = fn;
    t->trace_user = user;
}

/* Calls the op of a step, and those who watch and trace. */
static void run_step(const sol_tape *t, const tape_step *s)
{
    const tape_node *n = tape_node_at(t, s->node);
    if (s->kind == STEP_BACKWARD) {
        if (t->watch && !n->prologue) t->watch(t->watch_user, n->op, n->in, &s->call);
        n->op->backward(&s->call);
    } else {
        n->op->forward(&s->call);
    }
    if (t->trace) t->trace(t->trace_user, n->op, s->kind == STEP_BACKWARD);
}

void sol_tape_prepare(sol_tape *t)
{
    const tape_step *s = t->prologue_steps.items;
    for (int i = 0; i < t->prologue_steps.n; i++) run_step(t, &s[i]);
}

void sol_tape_run_forward(sol_tape *t)
{
    const tape_step *s = t->steps.items;
    int i = 0;
    while (i < t->steps.n && s[i].kind == STEP_FORWARD) run_step(t, &s[i++]);
    /* An op that computes in backward has no forward call: the slots of its backward call serve. */
    if (i < t->steps.n && tape_promises(tape_node_at(t, s[i].node), SOL_OP_COMPUTES_IN_BACKWARD))
        tape_node_at(t, s[i].node)->op->forward(&s[i].call);
}

/* Runs steps [from, end). first: the first call that writes the gradient of a param sets it. */
static void run_steps(sol_tape *t, int from, int end, bool first)
{
    tape_step *s = t->steps.items;
    for (int i = from; i < end; i++) {
        for (int j = 0; s[i].grad_first >> j; j++)
            if (s[i].grad_first >> j & 1) s[i].call.in[j].grad_add = !first;
        run_step(t, &s[i]);
        if (s[i].ends_segment && t->after_segment)
            t->after_segment(t->segment_user, tape_node_at(t, s[i].node)->segment);
    }
}

void sol_tape_run_backward(sol_tape *t, bool first, bool last)
{
    run_steps(t, 0, t->n_main, first);
    if (last) run_steps(t, t->n_main, t->steps.n, first);
}
