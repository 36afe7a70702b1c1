/* Opens the network of the verbs that run one, by their common options. */
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
    sol_phase phase = {p, "reading", "weights", sol_clock()};
    sol_net_opts o = sol_program_net_opts(a);
    o.progress = (sol_progress){sol_phase_show_part, &phase};
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    sol_status st = sol_net_open(net, ctx, path, &o, err);
    sol_live_clear(p);
    return st;
}
