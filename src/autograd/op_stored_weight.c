/* out [rows, cols] = a matrix of the teacher in fp32. No inputs and no gradient: on a tape it lives
 * from here to the product that reads it. model/teacher.c records it for every layer. */
#include "autograd/distill.h"

typedef struct attr {
    const sol_stored *s;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_stored *s = ((const attr *)c->attr)->s;
    (void)err;
    c->out[0] = (sol_slot){.shape = sol_shape2(s->rows, s->cols), .dtype = SOL_F32};
    return SOL_OK;
}

static void forward(const sol_op_call *c)
{
    sol_stored_to_f32(c->ctx, ((const attr *)c->attr)->s, c->out[0].data);
}

static void backward(const sol_op_call *c)
{
    (void)c;
}

static bool check_case(int i, sol_op_case *c)
{
    static uint16_t bits[2 * 3];
    static const sol_stored s = {.type = SOL_BF16, .rows = 2, .cols = 3, .data = bits};
    if (i >= 1) return false;
    *(attr *)c->attr = (attr){&s};
    return true;
}

const sol_op sol_op_stored_weight = {.name = "stored_weight",
                                     .n_in = 0,
                                     .n_out = 1,
                                     .attr_size = sizeof(attr),
                                     .shapes = shapes,
                                     .forward = forward,
                                     .backward = backward,
                                     .check_case = check_case};

sol_var sol_stored_weight(sol_tape *t, const sol_stored *s)
{
    sol_var out, none = -1;
    return sol_tape_apply(t, &sol_op_stored_weight, &none, &out, &(attr){s});
}
