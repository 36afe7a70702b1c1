/* Keeps the best of repeated measurements of a rate, for the bench and for speed.c. */
#include "probe.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"

sol_probe sol_probe_begin(double seconds)
{
    return (sol_probe){.end = sol_clock() + seconds};
}

void sol_probe_add(sol_probe *p, double rate)
{
    p->calm = rate > 1.01 * p->best ? 0 : p->calm + 1;
    p->best = fmax(p->best, rate);
}

bool sol_probe_settled(const sol_probe *p)
{
    return p->best > 0 && (p->calm >= SOL_PROBE_CALM || sol_clock() >= p->end);
}

double sol_probe_share(double part, double whole)
{
    return whole > 0 && part <= whole ? part / whole : NAN;
}

const char *sol_share_json(double share, char *buffer)
{
    if (isnan(share))
        snprintf(buffer, 32, "null");
    else
        snprintf(buffer, 32, "%.4f", share);
    return buffer;
}
