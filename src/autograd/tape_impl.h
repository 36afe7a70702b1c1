/* The inside of a tape, shared by tape.c, which records and runs, and plan.c, which finds schedule,
 * lifetimes and offsets. */
#ifndef SOLERA_AUTOGRAD_TAPE_IMPL_H
#define SOLERA_AUTOGRAD_TAPE_IMPL_H

#include "autograd/tape.h"

typedef enum { VAR_INPUT, VAR_PARAM, VAR_NODE } var_kind;

typedef struct tape_var {
    var_kind kind;
    sol_shape shape;
    sol_dtype dtype;
    size_t bytes;
    int node;    /* that makes it; -1 for leaves */
    int segment; /* of that node */
    bool prologue, keep;
    bool constant; /* a param without gradient */
    bool needs_grad;
    bool grad_bf16;           /* its gradient is bf16 */
    int readers;              /* nodes that read it, counted while planning */
    bool in_grad;             /* its data lies where the gradient of its alias, a param, will */
    bool crosses;             /* read outside its segment: never recomputed */
    bool recomputed;          /* has a second life in the backward pass, in buffer[1] */
    const void *outside_data; /* params */
    float *outside_grad;
    int alias;                  /* the var with whose gradient its own shares a buffer; -1: none */
    const float *factor;        /* of the alias; NULL: 1 */
    int buffer[2], grad_buffer; /* -1: none */
    bool grad_written;          /* while planning: a backward call has set it */
} tape_var;

typedef struct tape_node {
    const sol_op *op;
    int n_in, n_out; /* without optional ones that are missing */
    int in[SOL_OP_MAX_IN], out[SOL_OP_MAX_OUT];
    int segment;
    bool prologue;
    bool in_place; /* backward turns the gradient of out[0] into that of in[0], in its place */
    _Alignas(16) unsigned char attr[SOL_OP_MAX_ATTR];
} tape_node;

typedef enum { STEP_FORWARD, STEP_RECOMPUTE, STEP_BACKWARD } step_kind;

typedef struct tape_step {
    step_kind kind;
    int node;
    int workspace;   /* buffer; -1: none */
    unsigned second; /* bit j: the data of operand j, inputs before outputs, are in buffer[1] */
    /* Bit i stands for in[i]: its gradient is wanted; is added to; is summed up over the runs of a
     * step, and this is the first call of a run to write it: the first run of a step sets it. */
    unsigned grad_wanted, grad_add, grad_first;
    unsigned out_grad; /* bit o: a gradient arrives for out[o] */
    bool ends_segment; /* the last backward call of its node's segment */
    sol_op_call call;  /* filled by sol_tape_allocate */
} tape_step;

/* A range of the block that is in use from step `first` to step `last`. */
typedef struct tape_buffer {
    size_t bytes, offset;
    int first, last;
} tape_buffer;

typedef struct tape_list {
    void *items;
    size_t capacity;
    int n;
} tape_list;

struct sol_tape {
    const sol_ctx *ctx;
    sol_status status; /* first error of the recording */
    sol_err err;
    tape_list vars, nodes, buffers;
    tape_list steps, prologue_steps;
    int n_main; /* steps of every run; the backward calls of the prologue follow */
    int segment, last_segment;
    bool in_prologue;
    int root;
    sol_tape_opts opts;
    size_t block_bytes;
    unsigned char *block;
    sol_tape_watch_fn watch; /* NULL: none */
    void *watch_user;
    sol_tape_trace_fn trace; /* NULL: none */
    void *trace_user;
    sol_tape_segment_fn after_segment; /* NULL: none */
    void *segment_user;
};

static inline tape_var *tape_var_at(const sol_tape *t, int i)
{
    return (tape_var *)t->vars.items + i;
}

static inline tape_node *tape_node_at(const sol_tape *t, int i)
{
    return (tape_node *)t->nodes.items + i;
}

static inline tape_buffer *tape_buffer_at(const sol_tape *t, int i)
{
    return (tape_buffer *)t->buffers.items + i;
}

/* Whether the node's op makes a promise of SOL_OP_... */
static inline bool tape_promises(const tape_node *n, unsigned promise)
{
    return n->op->promises & promise;
}

/* Appends a zeroed item; NULL (with t->status set) when memory is short. */
void *tape_append(sol_tape *t, tape_list *list, size_t size);
/* The var that holds the gradient of v. */
static inline int tape_grad_home(const sol_tape *t, int v)
{
    return tape_var_at(t, v)->alias >= 0 ? tape_var_at(t, v)->alias : v;
}

#endif
