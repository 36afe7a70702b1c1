/* The kernels of AVX-VNNI once more, with the encoding that AVX-512 has for their instruction: a
 * processor that has AVX-512 VNNI and not AVX-VNNI computes the same bits by it. */
#define VPDPBUSD "vpdpbusd"
#define sol_kernels_avxvnni evex_kernels_avxvnni
#define sol_tile_ops_dense_avxvnni evex_tile_ops_dense_avxvnni
#include "kernels/x86/dense_avxvnni.c"
