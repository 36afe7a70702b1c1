/* Opens the network of the verbs eval, score and generate, by their common options. */
#include "open_net.h"

sol_net_opts sol_program_net_opts(const sol_net_args *a)
{
    return (sol_net_opts){.full_precision = a->full_precision,
                          .weights = a->weights,
                          .activations = a->activations,
                          .kv_type = a->kv};
}

sol_status sol_program_net(sol_program *p, const sol_net_args *a, const char *path, sol_net **net,
                           sol_err *err)
{
    sol_ctx *ctx;
    sol_net_opts o = sol_program_net_opts(a);
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    return sol_net_open(net, ctx, path, &o, err);
}
