/* solera: the umbrella header. Include it and link libsolera.a and the libraries it needs (the
 * PACKAGES of the Makefile, pthread, math). Each header below is the manual of its module.
 *
 * A whole program: the loss of a sentence under the model in checkpoints/, from the top folder.
 *
 *     #include <stdio.h>
 *     #include <string.h>
 *     #include "solera.h"
 *     int main(void)
 *     {
 *         const char *text = "Once upon a time there was a little dog "
 *                            "who lived in a house by the sea.";
 *         sol_text_opts window = {.context = 64, .stride = 64};
 *         sol_text_result r;
 *         sol_ctx *ctx = NULL;
 *         sol_net *net = NULL;
 *         sol_err err = {0};
 *         sol_status st = sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, &err);
 *         if (st == SOL_OK) st = sol_net_open(&net, ctx, "checkpoints/embedded.h5", NULL, &err);
 *         if (st == SOL_OK) st = sol_eval_text_windows(net, text, strlen(text), &window, &r, &err);
 *         if (st == SOL_OK) printf("%.3f nats a token\n", r.loss);
 *         else fprintf(stderr, "%s\n", err.text);
 *         sol_net_free(&net);
 *         sol_ctx_free(&ctx);
 *         return sol_status_exit_code(st);
 *     }
 *
 * What holds for every function, unless its header says otherwise:
 *
 * Errors. A function that can fail returns a sol_status and takes a sol_err, which may be NULL
 * (base/status.h). Any function that allocates may return SOL_ERR_NOMEM, any that opens a file
 * SOL_ERR_IO or SOL_ERR_SYSTEM, any that reads one SOL_ERR_FORMAT, any that writes one
 * SOL_ERR_NOSPACE; the headers name the codes beyond these. After a failure a `**out` argument is
 * NULL and there is nothing to free. A broken precondition of a function that returns no status
 * (an index out of range, NULL where the header does not allow it) is undefined behaviour.
 *
 * Ownership. "Owned by the caller" means: release it with the function named, for a plain block
 * sol_free (base/mem.h). "Borrowed" means: the caller keeps it alive and unchanged while the callee
 * uses it. X_free, X_close and X_abort take the address of what X_create, X_open or X_begin filled;
 * those that take a `**` accept a pointer to NULL and set it to NULL.
 *
 * Tensors. Row-major, last dimension fastest, shapes written [rows, cols]; B batch, T time (tokens
 * of a window), C hidden size, H heads, K key/value heads, D head dimension, F feed-forward size, V
 * vocabulary, L layers, G weights of a scale group. Sizes in bytes are size_t, counts of elements
 * int64_t. Losses are in nats a token, times in seconds, rates in units a second.
 *
 * Threads. An object is used by one thread at a time; parallel work runs on the pool of its
 * context. The number of threads never changes a result. The library never prints and never exits.
 *
 * Surroundings. A little-endian machine, since files hold arrays as they lie in memory; LC_NUMERIC
 * "C", as a program has it that does not call setlocale, since numbers are written with a point. */
#ifndef SOLERA_H
#define SOLERA_H

#define SOL_VERSION "0.2.0"

/* base: status codes, memory, files, threads, random numbers. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/crc.h"
#include "base/enums.h"
#include "base/file.h"
#include "base/half.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/text.h"
#include "base/textio.h"
#include "base/worker.h"

/* dist: the processes of a job. */
#include "dist/dist.h"

/* kernels: the context, element types, matrices as they are stored, their products. */
#include "kernels/codebook.h"
#include "kernels/ctx.h"
#include "kernels/dtype.h"
#include "kernels/gemm.h"
#include "kernels/matrix.h"
#include "kernels/stored.h"

/* tensor and quant: shapes; quantizers, the Arenas residual, the packed form. */
#include "quant/codec.h"
#include "quant/overrides.h"
#include "quant/quant.h"
#include "quant/residual.h"
#include "tensor/tensor.h"

/* model and optim: parameters, the training graph, the teacher; AdamW and schedules. */
#include "model/model.h"
#include "model/teacher.h"
#include "model/train_graph.h"
#include "optim/lanes.h"
#include "optim/optim.h"

/* chat: conversations as text. text: tokenizers, documents, token batches. */
#include "chat/chat.h"
#include "text/batcher.h"
#include "text/docs.h"
#include "text/filekind.h"
#include "text/jsontext.h"
#include "text/tokenizer.h"

/* h5: the container. store: files of solera. foreign: import from and export to other programs'
 * formats. */
#include "foreign/export.h"
#include "foreign/import.h"
#include "foreign/tensors.h"
#include "h5/h5.h"
#include "store/checkpoint.h"
#include "store/dataset.h"
#include "store/kind.h"
#include "store/model_file.h"
#include "store/packed.h"
#include "store/study_file.h"
#include "store/teacher_cache.h"

/* infer and eval: running a model; perplexity, tasks, the cost of each layer. */
#include "eval/eval.h"
#include "eval/plain_text.h"
#include "eval/sensitivity.h"
#include "eval/tasks.h"
#include "infer/infer.h"

/* calib: a ternary start without end-to-end training. */
#include "calib/calib.h"
#include "calib/sub_norms.h"

/* study: measures of weight trapping, their recorder and report. */
#include "study/measures.h"
#include "study/page.h"
#include "study/rank.h"
#include "study/recorder.h"
#include "study/report.h"
#include "study/run.h"
#include "study/seeds.h"

/* config: jobs and sweeps in YAML. */
#include "config/config.h"
#include "config/sweep.h"

#endif
