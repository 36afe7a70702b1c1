/* A teacher's forward pass as nodes on a tape. Internal to model. */
#ifndef SOLERA_MODEL_TEACHER_NET_H
#define SOLERA_MODEL_TEACHER_NET_H

#include "model/block.h"
#include "model/teacher.h"

typedef struct sol_teacher_net {
    const sol_teacher *teacher;
    sol_block block;
} sol_teacher_net;

/* compute: of its products. Returns the normed last hidden states [B T, C]; out[layer], unless out
 * is NULL: what each block put out. qkv [3], unless NULL: queries, keys and values of block
 * `watched`. After sol_tape_allocate: sol_block_tables_fill(&n->block), for which alone n must
 * outlive the recording. */
sol_var sol_teacher_record(sol_teacher_net *n, const sol_teacher *teacher, sol_tape *t,
                           const sol_block_inputs *in, sol_dtype compute, sol_var *out,
                           int64_t watched, sol_var *qkv);

#endif
