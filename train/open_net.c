/* Opens the network of the verbs eval, score and generate, by their common options. */
#include "open_net.h"

#include <string.h>

static sol_activations activations_of(const char *name)
{
    if (strcmp(name, "float") == 0) return SOL_ACTIVATIONS_FLOAT;
    if (strcmp(name, "q8_0") == 0) return SOL_ACTIVATIONS_Q8_0;
    return strcmp(name, "q8_k") == 0 ? SOL_ACTIVATIONS_Q8_K : SOL_ACTIVATIONS_INT8;
}

sol_net_opts sol_program_net_opts(const sol_net_args *a)
{
    return (sol_net_opts){.full_precision = a->full_precision, .activations = activations_of(a->activations),
                          .kv_type = strcmp(a->kv, "f16") == 0 ? SOL_F16 : strcmp(a->kv, "i8") == 0 ? SOL_I8 : SOL_F32};
}

sol_status sol_program_net(sol_program *p, const sol_net_args *a, const char *path, sol_net **net, sol_err *err)
{
    sol_ctx *ctx;
    sol_net_opts o = sol_program_net_opts(a);
    sol_status st = sol_program_ctx(p, &ctx, err);
    return st == SOL_OK ? sol_net_open(net, ctx, path, &o, err) : st;
}
