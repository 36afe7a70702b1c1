#include "kernels/kernels.h"

void sol_kernels_init(sol_kernels *k, const sol_cpu *cpu, sol_tier tier)
{
    sol_tier best = sol_cpu_tier(cpu);
    k->tier = tier < best ? tier : best;
}
