/* What ranks do together. Alone it looks at a single rank; tests/cli/mpi.sh runs the same tests
 * under mpirun. */
#include "suite.h"

#include <string.h>

static sol_dist *d;

static void open_ranks(void)
{
    ck_ok(sol_dist_open(&d, err));
}

static void close_ranks(void)
{
    sol_dist_close(&d);
}

/* A number that only rank `from` sends to rank `to`. */
static int64_t letter(int from, int to)
{
    return 1000003 * (from + 1) + to;
}

START_TEST(who)
{
    int rank = sol_dist_rank(d), size = sol_dist_size(d);
    ck_assert(rank >= 0 && rank < size);
    const char *told = getenv("OMPI_COMM_WORLD_SIZE");
    ck_assert_int_eq(size, told ? atoi(told) : 1);
    for (int i = 0; i < size; i++) ck_assert_uint_gt(strlen(sol_dist_host(d, i)), 0);
    ck_assert_int_eq(sol_dist_rank(NULL), 0);
    ck_assert_int_eq(sol_dist_size(NULL), 1);
}
END_TEST

/* What a process must lose to be alone. */
START_TEST(words_of_launchers)
{
    ck_assert(sol_dist_is_launch("PMIX_RANK=0") && sol_dist_is_launch("OMPI_COMM_WORLD_SIZE=2"));
    ck_assert(sol_dist_is_launch("SLURM_PROCID=1") && !sol_dist_is_launch("SLURM_PROCIDS=1"));
    ck_assert(!sol_dist_is_launch("PMI_RANK") && !sol_dist_is_launch("PATH=PMI_RANK=0"));
}
END_TEST

START_TEST(pieces)
{
    int rank = sol_dist_rank(d), size = sol_dist_size(d);
    int64_t out[2][16], in[2][16];
    sol_dist_piece send[16], recv[16];
    ck_assert_int_le(size, 16);
    for (int turn = 0; turn < 2; turn++) { /* two under way at once */
        for (int i = 0; i < size; i++) {
            out[turn][i] = letter(rank, i) + turn;
            in[turn][i] = -1;
            send[i] = (sol_dist_piece){&out[turn][i], sizeof(int64_t)};
            recv[i] = (sol_dist_piece){&in[turn][i], sizeof(int64_t)};
        }
        ck_ok(sol_dist_start(d, send, recv, err));
    }
    ck_ok(sol_dist_wait(d, err));
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < size; i++) ck_assert_int_eq(in[turn][i], letter(i, rank) + turn);
}
END_TEST

START_TEST(all_get_all)
{
    int rank = sol_dist_rank(d), size = sol_dist_size(d);
    int64_t mine = letter(rank, 0), all[16] = {0};
    char text[32] = "nothing";
    if (rank == 0) strcpy(text, "of rank 0");
    ck_ok(sol_dist_broadcast(d, text, sizeof text, err));
    ck_assert_str_eq(text, "of rank 0");
    ck_ok(sol_dist_gather(d, &mine, sizeof mine, all, err));
    for (int i = 0; i < size; i++) ck_assert_int_eq(all[i], letter(i, 0));
}
END_TEST

static void gather_ranks(void *arg)
{
    int64_t mine = sol_dist_rank(d);
    ck_ok(sol_dist_gather(d, &mine, sizeof mine, arg, err));
}

/* As the lanes do it while the backward pass goes on. */
START_TEST(another_thread_may_ask)
{
    int64_t all[16] = {0};
    sol_worker *w;
    if (!sol_dist_any_thread(d)) return;
    ck_ok(sol_worker_create(&w, err));
    for (int turn = 0; turn < 3; turn++) {
        sol_worker_start(w, gather_ranks, all);
        sol_worker_wait(w);
        for (int i = 0; i < sol_dist_size(d); i++) ck_assert_int_eq(all[i], i);
        memset(all, 0, sizeof all);
        gather_ranks(all);
        for (int i = 0; i < sol_dist_size(d); i++) ck_assert_int_eq(all[i], i);
    }
    sol_worker_free(&w);
}
END_TEST

/* Parts of unequal size, the first of them empty, in falling order. */
START_TEST(parts_of_an_array)
{
    int rank = sol_dist_rank(d), size = sol_dist_size(d);
    sol_dist_range of[16];
    size_t n = 0;
    for (int i = size - 1; i >= 0; i--) {
        of[i] = (sol_dist_range){n, (size_t)i * 100003};
        n += of[i].n;
    }
    uint8_t *data = NULL;
    ck_ok(sol_alloc_array((void **)&data, n + 1, 1, err));
    for (size_t i = 0; i < of[rank].n; i++)
        data[of[rank].first + i] = (uint8_t)((of[rank].first + i) * 7 + 1);
    ck_ok(sol_dist_share(d, data, of, err));
    size_t right = 0;
    while (right < n && data[right] == (uint8_t)(right * 7 + 1)) right++;
    ck_assert_uint_eq(right, n);
    ck_assert_uint_eq(data[n], 0);
    sol_free(data);
}
END_TEST

START_TEST(one_status_for_all)
{
    int rank = sol_dist_rank(d), last = sol_dist_size(d) - 1;
    ck_ok(sol_dist_agree(d, SOL_OK, err));
    ck_assert(!sol_dist_agreed(d));
    sol_err err = {0};
    sol_status st = rank == last ? sol_fail(&err, SOL_ERR_RANGE, "seven") : SOL_OK;
    ck_assert_int_eq(sol_dist_agree(d, st, &err), SOL_ERR_RANGE);
    ck_assert(sol_dist_agreed(d));
    char want[128] = "seven";
    if (last > 0) snprintf(want, sizeof want, "rank %d on %s: seven", last, sol_dist_host(d, last));
    ck_assert_str_eq(err.text, want);
    ck_assert_int_eq(sol_dist_agree(d, SOL_ERR_NOMEM, &err), SOL_ERR_NOMEM);
}
END_TEST

SOL_TEST_MAIN("dist", tcase_add_unchecked_fixture(tc, open_ranks, close_ranks);
              tcase_add_test(tc, who); tcase_add_test(tc, words_of_launchers);
              tcase_add_test(tc, pieces); tcase_add_test(tc, all_get_all);
              tcase_add_test(tc, another_thread_may_ask); tcase_add_test(tc, parts_of_an_array);
              tcase_add_test(tc, one_status_for_all))
