// SPDX-License-Identifier: Apache-2.0
//
// The gradient of attention for heads too wide for attention_grad.cu, without tensor cores: one kernel's blocks have 64
// queries and walk keys, another's have 64 keys and walk queries, head by head of their group.
#include "attention.cuh"

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_stats(float2* stats, const float* q, const float* k, const float* sinks, int sequences, int heads,
                    int kv_heads, int dim, SCORING) {
  score_stats(stats, q, k, sinks, sequences, heads, kv_heads, dim, MADE_SCORING);
}

// delta[i] = sum_c dout[i,c] out[i,c] for each of n rows of one head; one warp a row.
extern "C" __global__ void attention_delta(float* delta, const float* dout, const float* out, int dim, i64 n) {
  i64 row = first_element() >> 5;
  if (row >= n) return;  // a whole warp
  double sum = 0.;
  i64 at = row * dim;
  for (int c = threadIdx.x & 31; c < dim; c += 32) sum = fma((double)dout[at + c], (double)out[at + c], sum);
  sum = warp_reduce(sum, Sum());
  if ((threadIdx.x & 31) == 0) delta[row] = (float)sum;
}

struct Gradient {
  const float* dout;
  const float* q;
  const float* k;
  const float* v;
  const float2* stats;
  const float* delta;
  int sequences, heads, kv_heads, dim, value_dim;
};

// s: products become probabilities; dp: their gradients become those of the products. The queries' stats are at `at`
// and every `heads` on.
__device__ __forceinline__ void score_gradient(Block& s, Block& dp, const Scoring& f, const float2* stats,
                                               const float* delta, int heads, int q0, int k0) {
  int x = tile_x(), y = tile_y();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int q = q0 + 4 * y + i;
    // Rows past the last query have no stats and see nothing.
    Range range = f.keys_of(q);
    float2 stat = make_float2(0.f, 0.f);
    float mean = 0.f;
    if (q < f.length) {
      stat = stats[(i64)q * heads];
      mean = delta[(i64)q * heads];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int k = k0 + x + 16 * j;
      bool seen = range.has(k);
      float capped = f.capped(s[i][j]);
      // A hidden score may be anything, an overflow too: it is not used, rather than multiplied by 0.
      float p = seen ? expf((f.score(capped, q, k) - stat.x) - stat.y) : 0.f;
      s[i][j] = p;
      dp[i][j] = seen ? p * (dp[i][j] - mean) * f.scale * f.derivative(capped) : 0.f;
    }
  }
}

template <int CHUNKS>
__device__ __forceinline__ void query_gradient(float* dq, const Gradient& g, Scoring f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(g.heads, g.sequences, f.query_tiles(), true);
  f.of(w.head);
  i64 row0 = (i64)w.sequence * f.length, key0 = (i64)w.sequence * f.keys;
  int kv_head = w.head / (g.heads / g.kv_heads);
  Side queries(g.q, row0, g.heads, w.head, g.dim);
  Side douts(g.dout, row0, g.heads, w.head, g.value_dim);
  Side keys(g.k, key0, g.kv_heads, kv_head, g.dim);
  Side values(g.v, key0, g.kv_heads, kv_head, g.value_dim);
  i64 at = row0 * g.heads + w.head;
  Block sum[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) clear(sum[c]);
  // Queries stay, keys pass: s, then dp, then dq += ds k.
  int q0 = w.tile * TILE;
  Range range = f.keys_of(q0, TILE);
  for (int t = range.first / TILE; t <= range.last / TILE; t++) {
    Block s, dp;
    clear(s);
    clear(dp);
    products(s, ta, tb, queries, q0, f.length, keys, t * TILE, f.keys);
    products(dp, ta, tb, douts, q0, f.length, values, t * TILE, f.keys);
    score_gradient(s, dp, f, g.stats + at, g.delta + at, g.heads, q0, t * TILE);
    __syncthreads();
    // Only ds is needed from here on; p was on the way to it.
    put_scores(ta, dp);
    weigh<CHUNKS, false>(sum, ta, tb, keys, t * TILE, f.keys);
  }
  write_rows<CHUNKS, true>(dq + at * g.dim, queries, sum, q0, f.length);
}

template <int CHUNKS>
__device__ __forceinline__ void key_gradient(float* dk, float* dv, const Gradient& g, Scoring f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(g.kv_heads, g.sequences, f.key_tiles(), false);
  i64 row0 = (i64)w.sequence * f.length, key0 = (i64)w.sequence * f.keys;
  // One block adds up all query heads that share its keys, in their order.
  int group = g.heads / g.kv_heads;
  Side keys(g.k, key0, g.kv_heads, w.head, g.dim);
  Side values(g.v, key0, g.kv_heads, w.head, g.value_dim);
  Block of_keys[CHUNKS], of_values[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    clear(of_keys[c]);
    clear(of_values[c]);
  }
  // Keys stay, queries pass: those before the first key of the tile see none of it.
  int k0 = w.tile * TILE;
  Range range = f.queries_of(k0, TILE);
  for (int head = w.head * group; head < (w.head + 1) * group; head++) {
    f.of(head);
    Side queries(g.q, row0, g.heads, head, g.dim);
    Side douts(g.dout, row0, g.heads, head, g.value_dim);
    i64 at = row0 * g.heads + head;
    for (int t = range.first / TILE; t * TILE <= range.last; t++) {
      Block s, dp;
      clear(s);
      clear(dp);
      products(s, ta, tb, queries, t * TILE, f.length, keys, k0, f.keys);
      products(dp, ta, tb, douts, t * TILE, f.length, values, k0, f.keys);
      score_gradient(s, dp, f, g.stats + at, g.delta + at, g.heads, t * TILE, k0);
      __syncthreads();
      put_scores(ta, s);
      // dv += p^T dout, then dk += ds^T q, through the same tile of shared memory.
      weigh<CHUNKS, true>(of_values, ta, tb, douts, t * TILE, f.length);
      __syncthreads();
      put_scores(ta, dp);
      weigh<CHUNKS, true>(of_keys, ta, tb, queries, t * TILE, f.length);
    }
  }
  // Keys and values may differ in width, so in where a head begins.
  i64 at = key0 * g.kv_heads + w.head;
  write_rows<CHUNKS, true>(dk + at * g.dim, keys, of_keys, k0, f.keys);
  write_rows<CHUNKS, true>(dv + at * g.value_dim, values, of_values, k0, f.keys);
}

#define OPERANDS                                                                                                  \
  const float *dout, const float *q, const float *k, const float *v, const float2 *stats, const float *delta,    \
      int sequences, int heads, int kv_heads, int dim, int value_dim, SCORING
#define GRADIENT Gradient{dout, q, k, v, stats, delta, sequences, heads, kv_heads, dim, value_dim}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS) attention_dq(float* dq, OPERANDS) {
  query_gradient<4>(dq, GRADIENT, MADE_SCORING);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS) attention_dkv(float* dk, float* dv, OPERANDS) {
  key_gradient<4>(dk, dv, GRADIENT, MADE_SCORING);
}
