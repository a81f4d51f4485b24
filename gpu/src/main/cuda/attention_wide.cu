// SPDX-License-Identifier: Apache-2.0
//
// Attention of heads too wide for attention.cu, without tensor cores.
#include "attention.cuh"

template <int CHUNKS>
__device__ __forceinline__ void attend(float* out, const float* q, const float* k, const float* v,
                                       const float* sinks, int sequences, int heads, int kv_heads, int dim,
                                       int value_dim, Scoring f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(heads, sequences, f.query_tiles(), true);
  f.of(w.head);
  i64 row0 = (i64)w.sequence * f.length, key0 = (i64)w.sequence * f.keys;
  int kv_head = w.head / (heads / kv_heads);
  Side queries(q, row0, heads, w.head, dim);
  Side keys(k, key0, kv_heads, kv_head, dim);
  Side values(v, key0, kv_heads, kv_head, value_dim);
  Side outs(out, row0, heads, w.head, value_dim);
  // A thread has a 4 x 4 block of scores and of each 64 columns of the output; blocks side by side in y have the rest.
  Block sum[CHUNKS];
  float most[4], all[4], correction[4];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) clear(sum[c]);
#pragma unroll
  for (int i = 0; i < 4; i++) most[i] = LOWEST, all[i] = 0.f;
  int q0 = w.tile * TILE;
  Range range = f.keys_of(q0, TILE);
  for (int t = range.first / TILE; t <= range.last / TILE; t++) {
    Block s;
    clear(s);
    // Each of these blocks computes all scores again: they are shorter than the output is wide.
    products(s, ta, tb, queries, q0, f.length, keys, t * TILE, f.keys);
    online_softmax(s, f, q0, t * TILE, most, all, correction);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[c][i][j] *= correction[i];
    __syncthreads();
    // Probabilities change hands through shared memory: the product needs whole rows of them.
    put_scores(ta, s);
    weigh<CHUNKS, false>(sum, ta, tb, values, t * TILE, f.keys);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float l = row_reduce(all[i], Sum());
    // The sink has no value: it is in the sum alone.
    if (sinks != nullptr) l += expf(sinks[w.head] - most[i]);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[c][i][j] /= l;
  }
  write_rows<CHUNKS, false>(out + (row0 * heads + w.head) * value_dim, outs, sum, q0, f.length);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_wide(float* out, const float* q, const float* k, const float* v, const float* sinks, int sequences,
                   int heads, int kv_heads, int dim, int value_dim, SCORING) {
  attend<4>(out, q, k, v, sinks, sequences, heads, kv_heads, dim, value_dim, MADE_SCORING);
}
