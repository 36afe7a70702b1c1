/* Elapsed time, for rates and progress. No result depends on it. */
#ifndef SOLERA_BASE_CLOCK_H
#define SOLERA_BASE_CLOCK_H

/* Seconds since an unspecified moment in the past; never decreases. */
double sol_clock(void);

#endif
