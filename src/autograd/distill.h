/* Learning from a teacher: losses between the next-token distributions of student and teacher,
 * fused with both output heads so that logits exist for one chunk of tokens at a time, and a loss
 * between hidden states.
 *
 * With the student's logits z, the teacher's t, a temperature T, q = softmax(z / T), p = softmax(t
 * / T) over V tokens:
 *
 *   forward KL   F = sum_v p ln(p / q)      Hinton et al. 2015, arXiv 1503.02531, section 2
 *   reverse KL   R = sum_v q ln(q / p)      Gu et al. 2023 (MiniLLM), arXiv 2306.08543, section 2
 *   CAKLD        gamma R + (1 - gamma) F    Du et al. 2024 (BitDistiller), 2402.10631, section 3
 *                gamma: mean probability (T = 1) of the true next token by the teacher, measured
 *                before training
 *
 *   loss[n] = weight T^2 D + ce_weight (-ln softmax(z)[target]); D one of these; T^2: Hinton, 2
 *
 *   dF/dz = (q - p) / T            dR/dz = q (ln(q / p) - R) / T
 *
 * top_k = k > 0: the teacher's k most probable tokens stay, everything else is one event, the rest:
 * p and q become distributions over k + 1 events, P = 1 - sum p and Q = 1 - sum q those of the
 * rest, with the same formulas for F and R. That is a lower bound of the full divergence (grouping
 * events loses information), and unlike a renormalized top k it says how much mass the rest may
 * have. For a token v of the rest dF/dz_v = q_v (1 - P / Q) / T and dR/dz_v = q_v (ln(Q / P) - R) /
 * T. In logarithms and quotients p, P and Q below 2^-24, the smallest fp16, count as 2^-24. With a
 * large vocabulary that bound is not tight: SmolLM2 with k = 64 of 49152 loses a fifth of F.
 * Therefore
 *
 * samples = s > 0: k - s most probable tokens, and s tokens drawn from the rest by their
 * probability (systematic sampling; the idea is Anshumann et al. 2025, arXiv 2503.16870). In F the
 * rest then stands for P / s sum_s ln(p_s / q_s), which is right on average, and dF/dz = (q - p^) /
 * T with p^ = p on the most probable tokens and P / s on each that was drawn. R keeps the rest as
 * one event: where the student puts mass on what the teacher excludes, no sample of the teacher's
 * tells. Where the drawing begins is given for every token, so that it may depend on the token's
 * place in the data alone: sol_distill_start.
 *
 * Tokens whose target is -1 have loss 0 and no gradient. Shapes: N tokens, V vocabulary, C and Ct
 * widths of student and teacher. */
#ifndef SOLERA_AUTOGRAD_DISTILL_H
#define SOLERA_AUTOGRAD_DISTILL_H

#include "autograd/tape.h"
#include "base/enums.h"
#include "kernels/stored.h"

/* The types of a teacher's matrices, as jobs name them. */
#define SOL_TEACHER_TYPES(ROW) ROW(SOL_F32, "fp32") ROW(SOL_BF16, "bf16") ROW(SOL_Q8, "int8")

#define SOL_DISTILL_KINDS(ROW) \
    ROW(SOL_DISTILL_FORWARD_KL, "forward_kl") \
    ROW(SOL_DISTILL_REVERSE_KL, "reverse_kl") \
    ROW(SOL_DISTILL_CAKLD, "cakld")
typedef enum { SOL_DISTILL_KINDS(SOL_ENUM_CONSTANT) } sol_distill_kind;

typedef struct sol_distill {
    sol_distill_kind kind;
    float temperature; /* T > 0 */
    int64_t top_k;     /* 0: all tokens */
    float weight, ce_weight;
    float gamma;     /* CAKLD */
    int64_t samples; /* of top_k, less than it */
} sol_distill;

/* The samples in use: d->samples, or 0 when all V tokens are kept. */
static inline int64_t sol_distill_samples(const sol_distill *d, int64_t V)
{
    return d->top_k > 0 && d->top_k < V ? d->samples : 0;
}

/* Columns of the `parts` of a distillation loss: unweighted. */
enum {
    SOL_PART_NEXT_TOKEN, /* -ln softmax(z)[target] */
    SOL_PART_DISTILL,    /* T^2 D */
    SOL_PART_TEACHER,    /* the teacher's probability of the target at T = 1; 0 with a cache */
    SOL_PARTS
};

/* The offset of the systematic sampling for the token at `position` of the data: uniform in [0, 1),
 * a function of both. */
float sol_distill_start(uint64_t seed, uint64_t position);

/* loss [N, 1] plus `extra`, which is masked like the rest, and *parts [N, SOL_PARTS] (call
 * sol_tape_keep to read it). x [N, C], w [V, C], targets [N] i32, teacher_x [N, Ct], head [V, Ct],
 * extra [N, 1]. start [N]: of the drawing, in [0, 1); NULL without samples. head, d and start are
 * read at every run and must outlive the tape. compute: SOL_F32, or SOL_BF16 for the products of
 * both heads. */
sol_var sol_distill_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var teacher_x,
                         sol_var extra, const sol_stored *head, const sol_distill *d,
                         const float *start, sol_dtype compute, sol_var *parts);

/* The same with d->top_k = k from a cache: ids [N, k] i32 of the teacher's tokens, the samples
 * last, probs [N, k + 1] their probabilities at temperature T, the rest last. */
sol_var sol_distill_cached(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var ids,
                           sol_var probs, const sol_distill *d, sol_dtype compute, sol_var *parts);

/* sum [N, 1] + *factor D of hidden states x and teacher [N, C]; no gradient to the teacher.
 *
 *   mse       D = mean_c (x - teacher)^2                     Jiao et al. 2020 (TinyBERT), arXiv
 *             1909.10351, section 3.1, without its projection
 *   relative  D = sum_c (x - teacher)^2 / sum_c teacher^2    each token counts alike, however large
 *             its state is; some are a thousand times the others */
#define SOL_HIDDEN_FORMS(ROW) \
    ROW(SOL_HIDDEN_MSE, "mse") \
    ROW(SOL_HIDDEN_RELATIVE, "relative")
typedef enum { SOL_HIDDEN_FORMS(SOL_ENUM_CONSTANT) } sol_hidden_form;
sol_var sol_hidden_mse(sol_tape *t, sol_var x, sol_var teacher, sol_var sum, sol_hidden_form form,
                       const float *factor);

/* sum [N, 1] + *factor / heads sum_h KL(P_h(n) || Q_h(n)): the self-attention relations of MiniLMv2
 * (Wang et al. 2021, arXiv 2012.15828, section 3.1; one layer of a 1.58-bit student: BitDistill,
 * arXiv 2510.13998, section 3.3). x [N, heads D] and teacher [N, heads Dt] are the queries, the
 * keys or the values of one block,
 *
 *   P(n) = softmax over m of teacher_n . teacher_m / sqrt(Dt)
 *   Q(n) = softmax over m of x_n . x_m / sqrt(D)
 *
 * over m from doc_start[n] to n, what a causal model attends to. Keys and values that query heads
 * share are one relation each, not one for every query head. doc_start [N] i32, counted from the
 * start of the row of `time` tokens. No gradient to the teacher. factor is read at every run, here
 * and above. */
sol_var sol_attention_relation(sol_tape *t, sol_var x, sol_var teacher, sol_var doc_start,
                               sol_var sum, int64_t time, int64_t heads, const float *factor);

/* What a cache keeps: probs [N, k + 2] of k = d->top_k tokens of x head^T at temperature T,
 * d->samples of them drawn from start [N] on, the rest, the target at temperature 1; *ids [N, k]
 * i32. */
sol_var sol_teacher_top(sol_tape *t, sol_var x, sol_var targets, const sol_stored *head,
                        const sol_distill *d, const float *start, sol_dtype compute, sol_var *ids);

/* For the teacher: a stored matrix cast to fp32, [rows, cols], and its rows by token, [N, cols]. s
 * must outlive the tape. */
sol_var sol_stored_weight(sol_tape *t, const sol_stored *s);
sol_var sol_stored_embedding(sol_tape *t, sol_var tokens, const sol_stored *s);

/* index[k]: the indices of the k largest of x[n], largest first, equal ones by index. 0 < k <=
 * n. */
void sol_top_k(const float *x, int64_t n, int64_t k, int32_t *index);

#endif
