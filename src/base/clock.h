/* Time passed: what speeds and progress are computed from. Never an input of a result. */
#ifndef SOLERA_BASE_CLOCK_H
#define SOLERA_BASE_CLOCK_H

/* Seconds since some moment in the past, monotonic. */
double sol_clock(void);

#endif
