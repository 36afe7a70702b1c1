/* The planner: from recorded nodes to a schedule of calls, from the schedule to the lifetime of
 * each buffer, from lifetimes to offsets in one block. sol_tape_plan, at the end, calls all of it
 * in that order; what the planner may do to a node is what the op's descriptor promises (op.h). */
#include <limits.h>
#include <stdlib.h>

#include "autograd/tape_impl.h"
#include "base/num.h"

/* Lifetime of memory that must survive from run to run. */
enum { ALWAYS_FIRST = -1, ALWAYS_LAST = INT_MAX };

/* Whether a segment runs again before its backward pass. The backward pass of the last one follows
 * its forward pass at once: to run it again would save nothing. */
static bool is_recomputed_segment(const sol_tape *t, int segment)
{
    return t->opts.recompute && !t->opts.no_grad && segment >= 0 && segment < t->last_segment;
}

/* ---- what is known about vars before anything is scheduled ---- */

/* A buffer in use from step `first` to step `last`; returns its index, -1 when memory is short. */
static int add_buffer(sol_tape *t, size_t bytes, int first, int last)
{
    tape_buffer *b = tape_append(t, &t->buffers, sizeof *b);
    if (!b) return -1;
    *b = (tape_buffer){.bytes = sol_round_up_size(bytes, SOL_ALIGN), .first = first, .last = last};
    return t->buffers.n - 1;
}

/* The buffer is in use at step i; it is made by the first touch. */
static void touch(sol_tape *t, int *buffer, size_t bytes, int i)
{
    if (*buffer < 0) *buffer = add_buffer(t, bytes, i, i);
    if (*buffer < 0) return;
    tape_buffer *b = tape_buffer_at(t, *buffer);
    if (b->last < i) b->last = i;
}

/* Which vars have a gradient: params, and what is computed from something that has one. */
static void mark_gradients(sol_tape *t)
{
    for (int i = 0; i < t->vars.n; i++) {
        tape_var *v = tape_var_at(t, i);
        v->needs_grad = v->kind == VAR_PARAM && !v->constant && !t->opts.no_grad;
    }
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        bool any = false;
        for (int j = 0; j < n->n_in; j++) any = any || tape_var_at(t, n->in[j])->needs_grad;
        for (int o = 0; o < n->n_out; o++)
            tape_var_at(t, n->out[o])->needs_grad =
                any && (o == 0 || (n->op->out[o] & SOL_OUT_GRAD));
    }
}

/* How many nodes read each var. */
static void count_readers(sol_tape *t)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        for (int j = 0; j < n->n_in; j++) tape_var_at(t, n->in[j])->readers++;
    }
}

/* Whether the node that makes v takes its gradient in bf16. */
static bool takes_bf16(const sol_tape *t, int v)
{
    if (tape_var_at(t, v)->kind != VAR_NODE) return false;
    const tape_node *n = tape_node_at(t, tape_var_at(t, v)->node);
    for (int o = 0; o < n->n_out; o++)
        if (n->out[o] == v) return n->op->out[o] & SOL_OUT_GRAD_BF16;
    return false;
}

/* The gradient of a bf16 tensor lies in bf16 where its one reader writes it so and its maker takes
 * it so. */
static void mark_bf16_gradients(sol_tape *t)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        for (int j = 0; j < n->n_in; j++) {
            tape_var *v = tape_var_at(t, n->in[j]);
            v->grad_bf16 = v->readers == 1 && v->dtype == SOL_BF16 &&
                           (n->op->in[j] & SOL_IN_GRAD_BF16) && takes_bf16(t, n->in[j]);
        }
    }
}

/* Which vars are read outside their segment: these are kept, everything else of a recomputed
 * segment is computed again. */
static void mark_crossing(sol_tape *t)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        for (int j = 0; j < n->n_in; j++) {
            tape_var *v = tape_var_at(t, n->in[j]);
            if (v->segment != n->segment) v->crosses = true;
        }
    }
}

/* Whether all readers of v can write its gradient times a factor. */
static bool readers_scale(const sol_tape *t, int v)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        for (int j = 0; j < n->n_in; j++)
            if (n->in[j] == v && !(n->op->in[j] & SOL_IN_GRAD_SCALED)) return false;
    }
    return true;
}

/* Whether v, and what its gradient is a multiple of, have one reader each: all that reaches the
 * gradient of v then comes through that reader. */
static bool has_one_reader(const sol_tape *t, int v)
{
    const tape_var *x = tape_var_at(t, v);
    if (x->readers != 1) return false;
    return x->alias < 0 || has_one_reader(t, tape_node_at(t, x->node)->in[0]);
}

/* Which gradients share a buffer with that of in[0]: of straight-through nodes, and of nodes that
 * work in place. Factors do not multiply: a second one in a row is left to backward. */
static void mark_aliases(sol_tape *t)
{
    if (t->opts.no_grad) return;
    for (int i = 0; i < t->nodes.n; i++) {
        tape_node *n = tape_node_at(t, i);
        tape_var *out = tape_var_at(t, n->out[0]);
        const float *factor = n->op->factor ? n->op->factor(n->attr) : NULL;
        bool straight = tape_promises(n, SOL_OP_STRAIGHT_THROUGH),
             in_place = tape_promises(n, SOL_OP_GRAD_IN_PLACE);
        if (!straight && !in_place) continue;
        const tape_var *in = tape_var_at(t, n->in[0]);
        n->in_place = in_place && in->needs_grad && !in->factor && has_one_reader(t, n->in[0]);
        bool scaled = straight && !in->factor && (!factor || readers_scale(t, n->out[0]));
        if (!scaled && !n->in_place) continue;
        out->alias = tape_grad_home(t, n->in[0]);
        out->factor = factor;
    }
}

/* The nodes of the main part that write the gradient of this param; *over: the last one may write
 * it over the data of var v. */
static int gradient_writers(const sol_tape *t, int param, int v, bool *over)
{
    int writers = 0;
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        if (n->prologue) continue;
        for (int j = 0; j < n->n_in; j++) {
            if (tape_grad_home(t, n->in[j]) != param) continue;
            *over = n->in[j] == v && (n->op->in[j] & SOL_IN_GRAD_OVER_DATA);
            writers++;
        }
    }
    return writers;
}

/* Which prologue tensors lie where the gradient of their param will. */
static void mark_in_grad(sol_tape *t)
{
    if (!t->opts.one_run || t->opts.no_grad) return;
    for (int i = 0; i < t->vars.n; i++) {
        tape_var *v = tape_var_at(t, i);
        bool over = false;
        if (!v->prologue || v->alias < 0 || v->keep || v->readers != 1) continue;
        if (tape_var_at(t, v->alias)->kind != VAR_PARAM) continue;
        v->in_grad = gradient_writers(t, v->alias, i, &over) == 1 && over;
    }
}

/* ---- steps ---- */

/* A call of a node with shapes and types alone, for its `workspace`. */
static sol_op_call call_shapes(const sol_tape *t, const tape_node *n)
{
    sol_op_call c = {.ctx = t->ctx, .attr = n->attr};
    for (int i = 0; i < n->n_in; i++) {
        const tape_var *v = tape_var_at(t, n->in[i]);
        c.in[i] = (sol_slot){.shape = v->shape, .dtype = v->dtype};
    }
    for (int o = 0; o < n->n_out; o++) {
        const tape_var *v = tape_var_at(t, n->out[o]);
        c.out[o] = (sol_slot){.shape = v->shape, .dtype = v->dtype};
    }
    return c;
}

/* Bytes of the gradient of v. */
static size_t grad_bytes(const tape_var *v)
{
    if (v->grad_bf16) return v->bytes;
    return v->bytes / sol_dtype_size(v->dtype) * sizeof(float);
}

/* Marks the data that step s reads or writes, and its workspace, as in use at time i. Once a var is
 * known to be computed again, steps from the backward pass on find it in its second buffer; those
 * that were emitted before, as that of a loss, have read the first. */
static void touch_data(sol_tape *t, tape_step *s, int i)
{
    const tape_node *n = tape_node_at(t, s->node);
    const sol_op *op = n->op;
    bool backward = s->kind == STEP_BACKWARD, late = s->kind != STEP_FORWARD;
    for (int j = 0; j < n->n_in + n->n_out; j++) {
        bool is_in = j < n->n_in;
        int index = is_in ? n->in[j] : n->out[j - n->n_in];
        bool reads = is_in ? op->in[j] & SOL_IN_READ : op->out[j - n->n_in] & SOL_OUT_READ;
        bool sets = !is_in && tape_promises(n, SOL_OP_COMPUTES_IN_BACKWARD);
        tape_var *v = tape_var_at(t, index);
        if (v->kind == VAR_PARAM || v->in_grad || (backward && !reads && !sets)) continue;
        bool second = late && v->recomputed;
        if (second) s->second |= 1u << j;
        touch(t, &v->buffer[second], v->bytes, i);
    }
    size_t bytes = 0, back = 0;
    sol_op_call c = call_shapes(t, n);
    if (op->workspace) bytes = op->workspace(&c, false);
    if (op->workspace && backward) back = op->workspace(&c, true);
    if (bytes < back) bytes = back;
    s->workspace = -1;
    if (bytes) touch(t, &s->workspace, bytes, i);
}

/* The time of a step: lifetimes count the steps of the prologue first. */
static int step_time(const sol_tape *t, int step)
{
    return t->prologue_steps.n + step;
}

/* Appends a step. */
static void emit(sol_tape *t, step_kind kind, int node)
{
    tape_step *s = tape_append(t, &t->steps, sizeof *s);
    if (!s) return;
    s->kind = kind;
    s->node = node;
    touch_data(t, s, step_time(t, t->steps.n - 1));
}

/* Whether a var is computed again, rather than kept, for a backward call that reads it: its node is
 * cheap to repeat, and nothing that the node makes is kept for another reason. */
static bool runs_again(const sol_tape *t, int var)
{
    const tape_var *v = tape_var_at(t, var);
    if (v->kind != VAR_NODE || v->prologue || v->keep || v->recomputed) return false;
    const tape_node *n = tape_node_at(t, v->node);
    bool kept = false;
    for (int o = 0; o < n->n_out; o++) kept = kept || tape_var_at(t, n->out[o])->keep;
    return tape_promises(n, SOL_OP_CHEAP_TO_REPEAT) && !kept;
}

/* Runs again the cheap nodes whose outputs the backward call of `reader` reads, once each. A loss
 * that computes in backward follows the forward pass at once: for it they are still there. */
static void emit_cheap(sol_tape *t, const tape_node *reader)
{
    if (tape_promises(reader, SOL_OP_COMPUTES_IN_BACKWARD)) return;
    for (int j = 0; j < reader->n_in; j++) {
        if (!(reader->op->in[j] & SOL_IN_READ) || !runs_again(t, reader->in[j])) continue;
        int node = tape_var_at(t, reader->in[j])->node;
        const tape_node *n = tape_node_at(t, node);
        emit_cheap(t, n);
        for (int o = 0; o < n->n_out; o++) tape_var_at(t, n->out[o])->recomputed = true;
        emit(t, STEP_RECOMPUTE, node);
    }
}

/* Whether the gradient of v is summed up over the runs of a step: that of a param, or of a prologue
 * tensor, whose maker's backward call comes after the last run. */
static bool sums_up(const tape_var *v)
{
    return v->kind == VAR_PARAM || v->prologue;
}

/* The backward call of a node, if a gradient arrives and one is wanted. In the main part the first
 * call of a step that writes a gradient which is summed up sets it, and all others of this and
 * later runs add; the backward calls of the prologue run once a step. */
static void emit_backward(sol_tape *t, int node)
{
    const tape_node *n = tape_node_at(t, node);
    unsigned arrives = 0, wanted = 0, add = 0, first = 0;
    for (int o = 0; o < n->n_out; o++) {
        const tape_var *v = tape_var_at(t, n->out[o]);
        if (v->needs_grad && tape_var_at(t, tape_grad_home(t, n->out[o]))->grad_written)
            arrives |= 1u << o;
    }
    for (int i = 0; i < n->n_in; i++)
        if (tape_var_at(t, n->in[i])->needs_grad) wanted |= 1u << i;
    if (!arrives || !wanted || (tape_var_at(t, n->out[0])->alias >= 0 && !n->in_place)) return;
    if (!is_recomputed_segment(t, n->segment)) emit_cheap(t, n);
    emit(t, STEP_BACKWARD, node);
    if (t->status != SOL_OK) return;
    int step = t->steps.n - 1, now = step_time(t, step);
    for (int o = 0; o < n->n_out; o++) {
        tape_var *home = tape_var_at(t, tape_grad_home(t, n->out[o]));
        if ((arrives >> o & 1) && home->kind != VAR_PARAM)
            touch(t, &home->grad_buffer, grad_bytes(home), now);
    }
    for (int i = 0; i < n->n_in; i++) {
        if (!(wanted >> i & 1)) continue;
        tape_var *home = tape_var_at(t, tape_grad_home(t, n->in[i]));
        bool replaces = i == 0 && n->in_place && (arrives & 1),
             summed = sums_up(home) && !n->prologue;
        if (summed && !home->grad_written) first |= 1u << i;
        if ((summed || home->grad_written) && !replaces) add |= 1u << i;
        if (home->kind != VAR_PARAM) touch(t, &home->grad_buffer, grad_bytes(home), now);
        home->grad_written = true;
    }
    tape_step *s = (tape_step *)t->steps.items + step;
    s->out_grad = arrives;
    s->grad_wanted = wanted;
    s->grad_add = add;
    s->grad_first = first;
}

/* Runs again the nodes [first, last] of a segment that the backward pass of the segment depends on.
 * From the last node to the first, `recomputed` marks the vars that are needed; then each node with
 * such an output runs again. */
static void emit_recompute(sol_tape *t, int first, int last)
{
    for (int i = last; i >= first; i--) {
        const tape_node *n = tape_node_at(t, i);
        for (int o = 0; o < n->n_out; o++)
            if ((n->op->out[o] & SOL_OUT_READ) && !tape_var_at(t, n->out[o])->crosses &&
                !tape_var_at(t, n->out[o])->keep)
                tape_var_at(t, n->out[o])->recomputed = true;
        bool needed = false;
        for (int o = 0; o < n->n_out; o++) needed = needed || tape_var_at(t, n->out[o])->recomputed;
        for (int j = 0; j < n->n_in; j++) {
            tape_var *v = tape_var_at(t, n->in[j]);
            bool own = v->kind == VAR_NODE && v->node >= first && v->node <= last && !v->crosses &&
                       !v->keep;
            if (own && (needed || (n->op->in[j] & SOL_IN_READ))) v->recomputed = true;
        }
    }
    for (int i = first; i <= last; i++) {
        const tape_node *n = tape_node_at(t, i);
        bool needed = false;
        for (int o = 0; o < n->n_out; o++) needed = needed || tape_var_at(t, n->out[o])->recomputed;
        if (needed) emit(t, STEP_RECOMPUTE, i);
    }
}

/* The steps of a run: forward calls, then backward calls from the root back to the first node, then
 * the backward calls of the prologue. */
static void schedule(sol_tape *t)
{
    int root_node = tape_var_at(t, t->root)->node, last_segment = -1;
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        if (!n->prologue &&
            !(i == root_node && tape_promises(n, SOL_OP_COMPUTES_IN_BACKWARD) && !t->opts.no_grad))
            emit(t, STEP_FORWARD, i);
    }
    t->n_main = t->steps.n;
    if (t->opts.no_grad) return;
    tape_var_at(t, t->root)->grad_written = true;
    for (int i = root_node; i >= 0; i--) {
        int segment = tape_node_at(t, i)->segment;
        if (tape_node_at(t, i)->prologue) continue;
        if (segment != last_segment && is_recomputed_segment(t, segment)) {
            int first = i;
            while (first > 0 && tape_node_at(t, first - 1)->segment == segment) first--;
            emit_recompute(t, first, i);
        }
        last_segment = segment;
        emit_backward(t, i);
    }
    t->n_main = t->steps.n;
    for (int i = t->nodes.n - 1; i >= 0; i--)
        if (tape_node_at(t, i)->prologue) emit_backward(t, i);
}

/* Marks the last backward call of every segment (sol_tape_after_segment). */
static void mark_segment_ends(sol_tape *t)
{
    tape_step *s = t->steps.items;
    int segment = -1;
    for (int i = t->steps.n - 1; i >= 0; i--) {
        if (s[i].kind != STEP_BACKWARD) continue;
        int own = tape_node_at(t, s[i].node)->segment;
        s[i].ends_segment = own >= 0 && own != segment;
        segment = own;
    }
}

/* The steps of sol_tape_prepare. */
static void schedule_prologue(sol_tape *t)
{
    for (int i = 0; i < t->nodes.n; i++) {
        if (!tape_node_at(t, i)->prologue) continue;
        tape_step *s = tape_append(t, &t->prologue_steps, sizeof *s);
        if (!s) return;
        *s = (tape_step){.kind = STEP_FORWARD, .node = i};
        touch_data(t, s, t->prologue_steps.n - 1);
    }
}

/* Whether a call after sol_tape_prepare reads var: one of the main part, or a backward call of the
 * prologue. */
static bool read_after_prologue(const sol_tape *t, int var)
{
    for (int i = 0; i < t->nodes.n; i++) {
        const tape_node *n = tape_node_at(t, i);
        bool backward = n->prologue && tape_var_at(t, n->out[0])->needs_grad;
        for (int j = 0; j < n->n_in; j++)
            if (n->in[j] == var && (!n->prologue || (backward && (n->op->in[j] & SOL_IN_READ))))
                return true;
        for (int o = 0; o < n->n_out; o++)
            if (n->out[o] == var && backward && (n->op->out[o] & SOL_OUT_READ)) return true;
    }
    return false;
}

/* ---- offsets ---- */

/* Memory that lives from run to run, or that the caller reads or fills, never shares its place. */
static void add_permanent(sol_tape *t)
{
    for (int i = 0; i < t->vars.n; i++) {
        tape_var *v = tape_var_at(t, i);
        bool later = v->prologue && read_after_prologue(t, i);
        bool permanent =
            v->kind == VAR_INPUT ||
            (v->kind == VAR_NODE && ((later && !v->in_grad) || v->keep || i == t->root));
        bool summed = later && v->needs_grad && v->alias < 0;
        if (permanent) v->buffer[0] = add_buffer(t, v->bytes, ALWAYS_FIRST, ALWAYS_LAST);
        if (summed || (i == t->root && !t->opts.no_grad))
            v->grad_buffer = add_buffer(t, grad_bytes(v), ALWAYS_FIRST, ALWAYS_LAST);
    }
}

/* A buffer in a list to be sorted; equal ones by index, so that every sort gives one order. */
typedef struct placed {
    const tape_buffer *b;
    int index;
} placed;

static int by_size(const void *x, const void *y)
{
    const placed *a = x, *b = y;
    if (a->b->bytes != b->b->bytes) return a->b->bytes < b->b->bytes ? 1 : -1;
    return a->index - b->index;
}

static int by_offset(const void *x, const void *y)
{
    const placed *a = x, *b = y;
    if (a->b->offset != b->b->offset) return a->b->offset < b->b->offset ? -1 : 1;
    return a->index - b->index;
}

/* The lowest offset at which b overlaps none of the buffers that are placed at a time when it
 * lives. busy: these, by offset. */
static size_t lowest_gap(const tape_buffer *b, const placed *busy, size_t n_busy)
{
    size_t at = 0;
    for (size_t j = 0; j < n_busy; j++) {
        if (busy[j].b->offset >= at + b->bytes) break; /* the gap before it is wide enough */
        at = sol_max_size(at, busy[j].b->offset + busy[j].b->bytes);
    }
    return at;
}

/* Places the largest first, each at the lowest offset that is free during its whole life. order,
 * busy: [buffers.n], what it works in. */
static void place(sol_tape *t, placed *order, placed *busy)
{
    size_t n = (size_t)t->buffers.n;
    for (size_t i = 0; i < n; i++) order[i] = (placed){tape_buffer_at(t, (int)i), (int)i};
    qsort(order, n, sizeof *order, by_size);
    t->block_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        tape_buffer *b = tape_buffer_at(t, order[i].index);
        size_t n_busy = 0;
        for (size_t j = 0; j < i; j++)
            if (order[j].b->first <= b->last && b->first <= order[j].b->last)
                busy[n_busy++] = order[j];
        qsort(busy, n_busy, sizeof *busy, by_offset);
        b->offset = lowest_gap(b, busy, n_busy);
        t->block_bytes = sol_max_size(t->block_bytes, b->offset + b->bytes);
    }
}

static sol_status pack(sol_tape *t, sol_err *err)
{
    placed *order, *busy = NULL;
    size_t n = (size_t)t->buffers.n;
    SOL_TRY(sol_alloc_array((void **)&order, n, sizeof *order, err));
    sol_status st = sol_alloc_array((void **)&busy, n, sizeof *busy, err);
    if (st == SOL_OK) place(t, order, busy);
    sol_free(order);
    sol_free(busy);
    return st;
}

sol_status sol_tape_plan(sol_tape *t, sol_var root, const sol_tape_opts *opts, sol_err *err)
{
    t->opts = *opts;
    t->root = root;
    if (t->status == SOL_OK) {
        for (int i = 0; i < t->nodes.n; i++)
            if (tape_promises(tape_node_at(t, i), SOL_OP_COMPUTES_IN_BACKWARD) &&
                tape_node_at(t, i)->out[0] != root)
                return sol_fail(err, SOL_ERR_USAGE, "op %s must be the last one of its graph",
                                tape_node_at(t, i)->op->name);
        mark_gradients(t);
        count_readers(t);
        mark_bf16_gradients(t);
        mark_crossing(t);
        mark_aliases(t);
        mark_in_grad(t);
        add_permanent(t);
        schedule_prologue(t);
        schedule(t);
        mark_segment_ends(t);
    }
    if (t->status != SOL_OK) return sol_fail(err, t->status, "%s", t->err.text);
    return pack(t, err);
}

void sol_tape_report(const sol_tape *t, sol_plan *plan)
{
    size_t inputs = 0, weights = 0;
    for (int i = 0; i < t->vars.n; i++) {
        const tape_var *v = tape_var_at(t, i);
        if (v->buffer[0] < 0) continue;
        if (v->kind == VAR_INPUT) inputs += tape_buffer_at(t, v->buffer[0])->bytes;
        if (v->prologue && tape_buffer_at(t, v->buffer[0])->first < 0)
            weights += tape_buffer_at(t, v->buffer[0])->bytes;
    }
    if (weights) sol_plan_add(plan, "effective weights", weights);
    sol_plan_add(plan, "inputs and tables", inputs);
    sol_plan_add(plan, "activations and their gradients", t->block_bytes - inputs - weights);
}
