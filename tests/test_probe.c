/* The probe of what a machine reaches: its end, and shares that are shares. */
#include <math.h>
#include <string.h>

#include "suite.h"
#include "../train/probe.h"

static int tries(sol_probe *p, const double *rate, int n)
{
    int i = 0;
    for (; !sol_probe_settled(p); i++) sol_probe_add(p, rate[i < n ? i : n - 1]);
    return i;
}

START_TEST(settles_on_the_best)
{
    static const double noisy[] = {10, 30, 20, 31, 90, 12, 90.5, 50},
                        growing[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    sol_probe p = sol_probe_begin(1e6);
    ck_assert(!sol_probe_settled(&p));
    /* 90.5 is less than a hundredth more than 90. */
    ck_assert_int_eq(tries(&p, noisy, 8), 5 + SOL_PROBE_CALM);
    ck_assert(p.best == 90.5);
    p = sol_probe_begin(1e6);
    ck_assert_int_eq(tries(&p, growing, 12), 12 + SOL_PROBE_CALM);
    ck_assert(p.best == 12);
    p = sol_probe_begin(-1); /* its time is over: one try still counts */
    ck_assert_int_eq(tries(&p, growing, 12), 1);
    ck_assert(p.best == 1);
}
END_TEST

START_TEST(no_share_beyond_the_whole)
{
    char text[32];
    ck_assert(sol_probe_share(1, 4) == 0.25 && sol_probe_share(4, 4) == 1);
    ck_assert_str_eq(sol_share_json(sol_probe_share(1, 4), text), "0.2500");
    ck_assert_str_eq(sol_share_json(sol_probe_share(1.81, 1), text), "null");
    ck_assert_str_eq(sol_share_json(sol_probe_share(1, 0), text), "null");
    ck_assert_str_eq(sol_share_json(sol_probe_share(0, 0), text), "null");
}
END_TEST

SOL_TEST_MAIN("probe", tcase_add_test(tc, settles_on_the_best);
              tcase_add_test(tc, no_share_beyond_the_whole))
