/* Options of the verbs that run a network: eval, score, generate, chat, bench. The verb's args
 * struct begins with sol_net_args, its option table ends with SOL_NET_OPTIONS. */
#ifndef SOLERA_TRAIN_OPEN_NET_H
#define SOLERA_TRAIN_OPEN_NET_H

#include "program.h"

typedef struct sol_net_args {
    bool full_precision;
    sol_dtype weights;
    sol_activations activations;
    sol_dtype kv;
} sol_net_args;

#define SOL_ACTIVATION_NAMES(ROW) \
    ROW(SOL_ACTIVATIONS_INT8, "int8") \
    ROW(SOL_ACTIVATIONS_FLOAT, "float") \
    ROW(SOL_ACTIVATIONS_Q8_0, "q8_0") \
    ROW(SOL_ACTIVATIONS_Q8_K, "q8_k")
#define SOL_KV_NAMES(ROW) \
    ROW(SOL_F32, "f32") \
    ROW(SOL_F16, "f16") \
    ROW(SOL_I8, "i8")

#define SOL_WEIGHT_NAMES(ROW) \
    ROW(SOL_F32, "f32") \
    ROW(SOL_BF16, "bf16")

#define SOL_NET_OPTIONS \
    {.name = "--full-precision", \
     .kind = SOL_OPT_FLAG, \
     .offset = offsetof(sol_net_args, full_precision), \
     .help = "a checkpoint's weights as they are, without its quantizer"}, \
        {.name = "--weights", \
         .value = "TYPE", \
         .kind = SOL_OPT_ENUM, \
         .offset = offsetof(sol_net_args, weights), \
         .preset = "f32", \
         .names = SOL_ENUM_TABLE(SOL_WEIGHT_NAMES), \
         .help = "of a full-precision model in memory: bf16 takes half of it, and of the time " \
                 "where reading them is what takes it"}, \
        {.name = "--activations", \
         .value = "TYPE", \
         .kind = SOL_OPT_ENUM, \
         .offset = offsetof(sol_net_args, activations), \
         .preset = "int8", \
         .names = SOL_ENUM_TABLE(SOL_ACTIVATION_NAMES), \
         .help = "inputs of products: with packed weights int8, as deployed, or float; as " \
                 "llama.cpp rounds them for Q8_0 or for TQ files"}, \
    { \
        .name = "--kv", .value = "TYPE", .kind = SOL_OPT_ENUM, \
        .offset = offsetof(sol_net_args, kv), .preset = "f32", \
        .names = SOL_ENUM_TABLE(SOL_KV_NAMES), .help = "type of the KV cache" \
    }

/* What the options ask for. */
sol_net_opts sol_program_net_opts(const sol_net_args *a);
/* The network of the file `path`, which the caller frees; p's context is made where needed. */
sol_status sol_program_net(sol_program *p, const sol_net_args *a, const char *path, sol_net **net,
                           sol_err *err);

#endif
