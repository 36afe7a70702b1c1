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

/* ---- the lanes of a step ---- */

enum { LANES = 8, STEPS = 2 };

/* The gradient of one lane; 0 in the gaps between parameters. */
static void lane_gradient(const sol_model *m, int step, int64_t lane, float *grads)
{
    sol_rng rng = sol_rng_make((uint64_t)(step * LANES + lane), SOL_STREAM_TEST);
    memset(grads, 0, (size_t)m->n_elements * sizeof *grads);
    for (int i = 0; i < m->n_params; i++)
        for (int64_t k = 0; k < sol_param_count(&m->params[i]); k++)
            grads[m->params[i].offset + k] = sol_rng_normal(&rng);
}

/* The sum of lanes [first, first + n) by its definition: halves are summed, and rounded to bf16 if
 * `half`, then added. */
static float *tree_sum(const sol_model *m, int step, int64_t first, int64_t n, bool half)
{
    float *a;
    if (n == 1) {
        ck_ok(sol_alloc_array((void **)&a, (size_t)m->n_elements, sizeof *a, err));
        lane_gradient(m, step, first, a);
        return a;
    }
    a = tree_sum(m, step, first, n / 2, half);
    float *b = tree_sum(m, step, first + n / 2, n / 2, half);
    for (int64_t i = 0; i < m->n_elements; i++)
        a[i] = half
                   ? sol_bf16_to_f32(sol_f32_to_bf16(a[i])) + sol_bf16_to_f32(sol_f32_to_bf16(b[i]))
                   : a[i] + b[i];
    sol_free(b);
    return a;
}

typedef struct put_moments {
    const sol_adamw *want;
    int array;
    size_t at; /* bytes of the array so far */
} put_moments;

static sol_status put(void *user, int array, const void *data, size_t bytes, sol_err *err)
{
    put_moments *p = user;
    const char *arrays[] = {p->want->m, p->want->v, (char *)p->want->m_scale,
                            (char *)p->want->v_scale};
    (void)err;
    if (array != p->array) *p = (put_moments){p->want, array, 0};
    ck_assert_mem_eq(data, arrays[array] + p->at, bytes);
    p->at += bytes;
    return SOL_OK;
}

/* Some steps of training by lanes, against sums and updates of the whole in one process. */
static void check_lanes(const sol_ctx *ctx, bool by_layer, bool half, sol_dtype moments)
{
    sol_model *m = sol_test_tiny_model(SOL_F32, false),
              *whole = sol_test_tiny_model(SOL_F32, false);
    sol_adamw_config adamw = {
        .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.1f, .moments = moments};
    sol_lanes_opts o = {
        .lanes = LANES, .by_layer = by_layer, .transport = half ? SOL_BF16 : SOL_F32};
    sol_adamw *optim, *of_whole;
    sol_lanes *l;
    float *grads, *shard;
    ck_ok(sol_lanes_create(&l, ctx, d, m, &o, err));
    ck_ok(sol_adamw_create_shard(&optim, m, &adamw, sol_lanes_shard(l), err));
    ck_ok(sol_adamw_create(&of_whole, whole, &adamw, err));
    ck_ok(sol_alloc_array((void **)&grads, (size_t)m->n_elements, sizeof *grads, err));
    ck_ok(sol_alloc_array((void **)&shard, (size_t)optim->shard_elements, sizeof *shard, err));
    ck_assert_int_eq(sol_lanes_own(l), LANES / sol_dist_size(d));
    for (int step = 0; step < STEPS; step++) {
        float *sum = tree_sum(m, step, 0, LANES, half);
        for (int64_t i = 0; i < sol_lanes_own(l); i++) {
            lane_gradient(m, step, sol_lanes_first(l) + i, grads);
            sol_lanes_add(l, i, grads);
        }
        sol_adamw_begin(optim, 0.01f);
        for (int i = sol_graph_part_count(m, by_layer) - 1; i >= 0; i--) { /* as backward passes */
            sol_graph_part part = sol_graph_part_at(m, by_layer, i);
            int64_t at = m->params[part.first].offset;
            double norm;
            part.grads = grads + at;
            sol_lanes_begin(l, &part, NULL, m);
            ck_ok(sol_lanes_end(l, &norm, err));
            ck_assert_double_eq(norm, sol_global_norm(ctx, sum + at, part.n_elements));
            sol_lanes_take(l, &part, shard);
            ck_ok(sol_lanes_share_grads(l, &part, err));
            ck_assert_mem_eq(grads + at, sum + at, (size_t)part.n_elements * sizeof *sum);
            sol_adamw_update_shard(ctx, optim, m, part.first, part.n, shard, 0.5f);
            ck_ok(sol_lanes_share_params(l, &part, m, err));
        }
        sol_adamw_update(ctx, of_whole, whole, sum, 0.5f, 0.01f);
        ck_assert_mem_eq(m->data, whole->data, (size_t)m->n_elements * sizeof(float));
        sol_free(sum);
    }
    put_moments all = {of_whole, 0, 0};
    ck_ok(sol_lanes_gather_moments(l, optim, sol_dist_rank(d) == 0 ? put : NULL, &all, err));
    size_t last = moments == SOL_U8 ? (size_t)of_whole->n_blocks * sizeof(float)
                                    : (size_t)m->n_elements * sol_dtype_size(moments);
    if (sol_dist_rank(d) == 0) {
        ck_assert_int_eq(all.array, moments == SOL_U8 ? 3 : 1);
        ck_assert_uint_eq(all.at, last);
    }
    sol_free(shard);
    sol_free(grads);
    sol_adamw_free(&optim);
    sol_adamw_free(&of_whole);
    sol_lanes_free(&l);
    ck_assert_ptr_null(l);
    sol_model_free(&m);
    sol_model_free(&whole);
}

START_TEST(lanes_are_summed_in_a_tree)
{
    static const sol_dtype moments[] = {SOL_F32, SOL_BF16, SOL_U8};
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_assert_int_eq(LANES % sol_dist_size(d), 0);
    for (int i = 0; i < 3; i++)
        for (int by_layer = 0; by_layer < 2; by_layer++)
            for (int half = 0; half < 2; half++) check_lanes(ctx, by_layer, half, moments[i]);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("dist", tcase_add_unchecked_fixture(tc, open_ranks, close_ranks);
              tcase_add_test(tc, who); tcase_add_test(tc, words_of_launchers);
              tcase_add_test(tc, pieces); tcase_add_test(tc, all_get_all);
              tcase_add_test(tc, another_thread_may_ask); tcase_add_test(tc, parts_of_an_array);
              tcase_add_test(tc, one_status_for_all);
              tcase_add_test(tc, lanes_are_summed_in_a_tree))
