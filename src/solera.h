/* solera: the umbrella header. Include this and link libsolera.a; each header below is the manual of its module. */
#ifndef SOLERA_H
#define SOLERA_H

#define SOL_VERSION "0.1.0"

#include "base/cpu.h"
#include "base/file.h"
#include "base/half.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/text.h"
#include "config/config.h"
#include "eval/eval.h"
#include "infer/infer.h"
#include "kernels/block.h"
#include "kernels/ctx.h"
#include "kernels/dense.h"
#include "kernels/gemm.h"
#include "kernels/ternary.h"
#include "model/model.h"
#include "model/train_graph.h"
#include "optim/optim.h"
#include "quant/codec.h"
#include "quant/quant.h"
#include "quant/residual.h"
#include "store/store.h"
#include "study/measures.h"
#include "study/rank.h"
#include "tensor/tensor.h"
#include "text/dataset.h"
#include "text/tokenizer.h"

#endif
