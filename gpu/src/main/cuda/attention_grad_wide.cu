// SPDX-License-Identifier: Apache-2.0
//
// The gradient of attention for heads too wide for attention_grad.cu, without tensor cores: one kernel's blocks have 64
// queries and walk keys, another's have 64 keys and walk queries, head by head of their group.
#include "attention.cuh"

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_stats(float2* stats, const float* q, const float* k, int sequences, int length, int heads, int kv_heads,
                    int dim, float scale, int window, float softcap) {
  score_stats(stats, q, k, sequences, heads, kv_heads, dim, Scoring{length, scale, window, softcap});
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
  int sequences, heads, kv_heads, dim;
};

// s: products become probabilities; dp: their gradients become those of the products. The queries' stats are at `at`
// and every `heads` on.
__device__ __forceinline__ void score_gradient(Block& s, Block& dp, const Scoring& f, const float2* stats,
                                               const float* delta, int heads, int q0, int k0) {
  int x = tile_x(), y = tile_y();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int q = q0 + 4 * y + i;
    float2 stat = make_float2(0.f, 0.f);
    float mean = 0.f;
    if (q < f.length) {
      stat = stats[(i64)q * heads];
      mean = delta[(i64)q * heads];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      bool seen = f.sees(q, k0 + x + 16 * j);
      float score = f.score(s[i][j]);
      float p = seen ? expf((score - stat.x) - stat.y) : 0.f;
      s[i][j] = p;
      dp[i][j] = seen ? p * (dp[i][j] - mean) * f.scale * f.slope(score) : 0.f;
    }
  }
}

template <int CHUNKS>
__device__ __forceinline__ void query_gradient(float* dq, const Gradient& g, const Scoring& f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(g.heads, g.sequences, f.tiles(), true);
  i64 row0 = (i64)w.sequence * f.length;
  int kv_head = w.head / (g.heads / g.kv_heads);
  Side queries(g.q, row0, g.heads, w.head, g.dim);
  Side douts(g.dout, row0, g.heads, w.head, g.dim);
  Side keys(g.k, row0, g.kv_heads, kv_head, g.dim);
  Side values(g.v, row0, g.kv_heads, kv_head, g.dim);
  i64 at = row0 * g.heads + w.head;
  Block sum[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) clear(sum[c]);
  int q0 = w.tile * TILE;
  for (int t = f.first_keys(w.tile); t <= w.tile; t++) {
    Block s, dp;
    clear(s);
    clear(dp);
    products(s, ta, tb, queries, q0, f.length, keys, t * TILE, f.length);
    products(dp, ta, tb, douts, q0, f.length, values, t * TILE, f.length);
    score_gradient(s, dp, f, g.stats + at, g.delta + at, g.heads, q0, t * TILE);
    __syncthreads();
    put_scores(ta, dp);
    weigh<CHUNKS, false>(sum, ta, tb, keys, t * TILE, f.length);
  }
  write_rows<CHUNKS, true>(dq + at * g.dim, queries, sum, q0, f.length);
}

template <int CHUNKS>
__device__ __forceinline__ void key_gradient(float* dk, float* dv, const Gradient& g, const Scoring& f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(g.kv_heads, g.sequences, f.tiles(), false);
  i64 row0 = (i64)w.sequence * f.length;
  int group = g.heads / g.kv_heads;
  Side keys(g.k, row0, g.kv_heads, w.head, g.dim);
  Side values(g.v, row0, g.kv_heads, w.head, g.dim);
  Block of_keys[CHUNKS], of_values[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    clear(of_keys[c]);
    clear(of_values[c]);
  }
  int k0 = w.tile * TILE, last = f.last_queries(w.tile);
  for (int head = w.head * group; head < (w.head + 1) * group; head++) {
    Side queries(g.q, row0, g.heads, head, g.dim);
    Side douts(g.dout, row0, g.heads, head, g.dim);
    i64 at = row0 * g.heads + head;
    for (int t = w.tile; t <= last; t++) {
      Block s, dp;
      clear(s);
      clear(dp);
      products(s, ta, tb, queries, t * TILE, f.length, keys, k0, f.length);
      products(dp, ta, tb, douts, t * TILE, f.length, values, k0, f.length);
      score_gradient(s, dp, f, g.stats + at, g.delta + at, g.heads, t * TILE, k0);
      __syncthreads();
      put_scores(ta, s);
      weigh<CHUNKS, true>(of_values, ta, tb, douts, t * TILE, f.length);
      __syncthreads();
      put_scores(ta, dp);
      weigh<CHUNKS, true>(of_keys, ta, tb, queries, t * TILE, f.length);
    }
  }
  i64 at = (row0 * g.kv_heads + w.head) * g.dim;
  write_rows<CHUNKS, true>(dk + at, keys, of_keys, k0, f.length);
  write_rows<CHUNKS, true>(dv + at, keys, of_values, k0, f.length);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dq(float* dq, const float* dout, const float* q, const float* k, const float* v, const float2* stats,
                 const float* delta, int sequences, int length, int heads, int kv_heads, int dim, float scale,
                 int window, float softcap) {
  query_gradient<4>(dq, Gradient{dout, q, k, v, stats, delta, sequences, heads, kv_heads, dim},
                    Scoring{length, scale, window, softcap});
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dkv(float* dk, float* dv, const float* dout, const float* q, const float* k, const float* v,
                  const float2* stats, const float* delta, int sequences, int length, int heads, int kv_heads, int dim,
                  float scale, int window, float softcap) {
  key_gradient<4>(dk, dv, Gradient{dout, q, k, v, stats, delta, sequences, heads, kv_heads, dim},
                  Scoring{length, scale, window, softcap});
}
