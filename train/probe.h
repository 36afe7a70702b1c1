/* A rate that the machine reaches: the best of many tries, since other programs only ever slow one
 * down. A probe is over when tries no longer improve it, or after its time.
 *
 *     sol_probe p = sol_probe_begin(1);
 *     while (!sol_probe_settled(&p)) sol_probe_add(&p, measured_rate());
 *     printf("%.1f GB/s\n", p.best / 1e9); */
#ifndef SOLERA_TRAIN_PROBE_H
#define SOLERA_TRAIN_PROBE_H

#include <stdbool.h>

typedef struct sol_probe {
    double best; /* 0: no try yet */
    double end;  /* sol_clock() */
    int calm;    /* tries since one improved the best by more than a hundredth */
} sol_probe;

enum { SOL_PROBE_CALM = 8 };

/* Begins a probe of at most so many seconds; _add reports a try. */
sol_probe sol_probe_begin(double seconds);
void sol_probe_add(sol_probe *p, double rate);
/* False before the first try. */
bool sol_probe_settled(const sol_probe *p);

/* part / whole where that is a share, at most 1; NaN where it is none: the part was faster than the
 * probe, or there was no probe. */
double sol_probe_share(double part, double whole);
/* For JSON, a number or null, into a buffer of 32 bytes; returns it. */
const char *sol_share_json(double share, char *buffer);

#endif
