/* The monotonic clock, by which progress, rates and time limits are told. */
#include "base/clock.h"

#include <time.h>

double sol_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
