/* What the features of a processor lay over the table of kernels: sol_kernels_<name> for each row
 * of cpu_features.def sets the entries that the feature makes faster and leaves the others alone.
 * Inside kernels only. */
#ifndef SOLERA_KERNELS_KERNELS_IMPL_H
#define SOLERA_KERNELS_KERNELS_IMPL_H

#include "kernels/kernels.h"

#if defined(__x86_64__)
#define SOL_CPU_X86(ID, name, ...) void sol_kernels_##name(sol_kernels *k);
#elif defined(__aarch64__)
#define SOL_CPU_ARM(ID, name, ...) void sol_kernels_##name(sol_kernels *k);
#endif
#include "base/cpu_features.def"

#endif
