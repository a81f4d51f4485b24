// SPDX-License-Identifier: Apache-2.0
//
// The gradient of CompressedOp.CompressedAttention over whole sequences. With p the probabilities and k the keys, which are
// values: ds = p (dout . k - dout . out), dq = scale ds k, dk = scale ds q + p dout; a sink's score has no value. F32 units
// limit it: ten operations a channel, head, query and key that it sees.
//
// A block of the first kernel has eight heads of a query and goes through its keys, twice: softmax's sums are found again. One
// of the second has 32 keys and goes through queries that see them, of some heads and a stretch of the sequence, so that there
// are blocks enough; what these bring is added up in their order.
#include "seen.cuh"

constexpr int ROWS = 8;

__device__ __forceinline__ Source rows_of(const float* x, int dim) { return {{(u8*)x, nullptr, F32, 0, dim, 1}, 0, 0}; }

__device__ __forceinline__ Sequence sequence(int length) {
  Sequence s = {};
  s.row = s.first = blockIdx.z * length;
  s.length = s.keys = length;
  return s;
}

// stats: of each head of a row the logarithm of softmax's sum, and dout . out.
// Shared memory: ROWS lines of queries, and of dout. Blocks: queries, heads and columns, sequences.
extern "C" __global__ void __launch_bounds__(THREADS)
    seen_grad_queries(float* dq, float2* stats, const float* dout, const float* out, const float* q, const float* near_keys,
                      const float* entries, const float* chosen, int most, int window, int rate, const float* sinks, int heads,
                      int dim, float scale, int length) {
  __shared__ __align__(16) float tile[KEYS * LINE], parts[2 * WARPS * ROWS * KEYS];
  __shared__ __align__(16) float scores[2 * ROWS * KEYS];
  __shared__ Row rows[ROWS];
  __shared__ Key keys[KEYS];
  __shared__ float logs[ROWS], crosses[ROWS];
  DYNAMIC_SHARED(float, queries);
  float* douts = queries + ROWS * (padded(dim) + 4);
  int tiles = (heads + ROWS - 1) / ROWS, first = blockIdx.y % tiles * ROWS, present = min(ROWS, heads - first);
  int column = blockIdx.y / tiles * COLUMNS + threadIdx.x, t = blockIdx.x, lane = threadIdx.x & 31;
  Sequence s = sequence(length);
  Source near = rows_of(near_keys, dim), far = rows_of(entries, dim);
  i64 row = s.row + t, at = (row * heads + first) * dim;
  if (chosen) chosen += row * most;
  List list(s, near, far, far, chosen, most, t, window, rate, 0);
  stage_rows<ROWS>(queries, q + at, present, dim);
  stage_rows<ROWS>(douts, dout + at, present, dim);
  if (threadIdx.x < ROWS) {
    bool there = (int)threadIdx.x < present;
    rows[threadIdx.x] = {there ? sinks[first + threadIdx.x] : LOWEST, there ? 1.f : 0.f, 1.f};
  }
  __syncthreads();
  for (int r = threadIdx.x >> 5; r < ROWS; r += WARPS) {
    float cross = 0.f;
    if (r < present)
      for (int c = lane; c < dim; c += 32) cross = fmaf(douts[r * (padded(dim) + 4) + c], out[at + (i64)r * dim + c], cross);
    cross = warp_reduce(cross, Sum());
    if (lane == 0) crosses[r] = cross;
  }
  float acc[2][ROWS] = {};
  for (int pass = 0; pass < 2; pass++) {
    for (int k0 = 0; k0 < list.count && list.token(k0) >= 0; k0 += KEYS) {
      __syncthreads();
      if (threadIdx.x < KEYS) keys[threadIdx.x] = list.key(k0 + threadIdx.x, list.token(k0 + threadIdx.x));
      auto four = [&](float (&v)[4], int k, int c) {
        if (k0 + k < list.windowed) near.four(v, keys[k], c);
        else far.four(v, keys[k], c);
      };
      if (pass == 0) {
        const float* matrices[1] = {queries};
        products<ROWS, 1>(scores, parts, tile, matrices, dim, four);
        soften<ROWS>(scores, rows, keys, scale);
        continue;
      }
      const float* matrices[2] = {queries, douts};
      products<ROWS, 2>(scores, parts, tile, matrices, dim, four);
      int r = threadIdx.x / KEYS, k = threadIdx.x % KEYS;
      float p = keys[k].at >= 0 ? expf(scores[threadIdx.x] * scale - logs[r]) : 0.f;
      scores[threadIdx.x] = scale * p * (scores[ROWS * KEYS + threadIdx.x] - crosses[r]);
      __syncthreads();
      weigh<ROWS>(acc, scores, THREADS, column, dim, [&](int k, int c) {
        return k0 + k < list.windowed ? near.value(keys[k], c) : far.value(keys[k], c);
      });
    }
    __syncthreads();
    if (pass == 0 && (int)threadIdx.x < present) {
      int r = threadIdx.x;
      logs[r] = rows[r].most + logf(rows[r].sum);
      if ((int)blockIdx.y < tiles) stats[row * heads + first + r] = make_float2(logs[r], crosses[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    for (int j = 0; j < 2; j++)
      if (r < present && column + j * THREADS < dim) dq[at + (i64)r * dim + column + j * THREADS] += acc[j][r];
}

// Whether a query's list, ascending and -1 behind its last, has a number.
__device__ __forceinline__ bool has(const float* chosen, int most, int number) {
  int low = 0, high = most;
  while (low < high) {
    int middle = (low + high) / 2;
    if (chosen[middle] < 0.f || chosen[middle] >= (float)number) high = middle;
    else low = middle + 1;
  }
  return low < most && chosen[low] == (float)number;
}

// sums[split][sequence][key][channel]: what some heads of a stretch of queries bring to the keys of tokens, which `window`
// queries see, or, where that is 0, to entries.
// Shared memory: ROWS lines of queries, and of dout. Blocks: 32 keys, splits and columns, sequences.
extern "C" __global__ void __launch_bounds__(THREADS)
    seen_grad_keys(float* sums, const float2* stats, const float* dout, const float* q, const float* x, const float* chosen,
                   int most, int window, int rate, int heads, int dim, float scale, int length, int count, int each_heads,
                   int each_queries, int splits) {
  __shared__ __align__(16) float tile[KEYS * LINE], parts[2 * WARPS * ROWS * KEYS];
  __shared__ __align__(16) float scores[2 * ROWS * KEYS];
  __shared__ Key keys[KEYS];
  __shared__ u32 seen;
  DYNAMIC_SHARED(float, queries);
  int line = padded(dim) + 4, head_splits = (heads + each_heads - 1) / each_heads;
  float* douts = queries + ROWS * line;
  int split = blockIdx.y % splits, column = blockIdx.y / splits * COLUMNS + threadIdx.x;
  int head = split % head_splits * each_heads, last_head = min(heads, head + each_heads), stretch = split / head_splits * each_queries;
  int k0 = blockIdx.x * KEYS, k1 = min(count, k0 + KEYS);
  Sequence s = sequence(length);
  Source source = rows_of(x, dim);
  int from = window ? k0 : (k0 + 1) * rate - 1, to = window ? min(length, k1 - 1 + window) : length;
  from = max(from, stretch);
  to = min(to, stretch + each_queries);
  if (threadIdx.x < KEYS) {
    int k = k0 + threadIdx.x;
    keys[threadIdx.x] = k < count ? source.key(nullptr, s.first, window ? k : (k + 1) * rate - 1, 0) : Key{-1, 0.f};
  }
  float acc[2][KEYS] = {};
  for (int t = from; t < to; t++) {
    i64 row = s.row + t;
    if (threadIdx.x < 32) {
      int k = k0 + threadIdx.x;
      bool sees = k < count && (window ? k <= t && t < k + window
                                       : (k + 1) * rate - 1 <= t && (!chosen || has(chosen + row * most, most, k)));
      u32 all = __ballot_sync(0xffffffffu, sees);
      if (threadIdx.x == 0) seen = all;
    }
    __syncthreads();
    u32 mask = seen;
    for (int first = head; first < last_head && mask; first += ROWS) {
      int present = min(ROWS, last_head - first);
      i64 at = (row * heads + first) * dim;
      stage_rows<ROWS>(queries, q + at, present, dim);
      stage_rows<ROWS>(douts, dout + at, present, dim);
      const float* matrices[2] = {queries, douts};
      products<ROWS, 2>(scores, parts, tile, matrices, dim, [&](float (&v)[4], int k, int c) { source.four(v, keys[k], c); });
      int r = threadIdx.x / KEYS, k = threadIdx.x % KEYS;
      float p = 0.f, ds = 0.f;
      if (r < present && mask >> k & 1) {
        float2 of = stats[row * heads + first + r];
        p = expf(scores[threadIdx.x] * scale - of.x);
        ds = scale * p * (scores[ROWS * KEYS + threadIdx.x] - of.y);
      }
      __syncthreads();
      scores[threadIdx.x] = ds;
      scores[ROWS * KEYS + threadIdx.x] = p;
      __syncthreads();
#pragma unroll 1
      for (r = 0; r < present; r++) {
        float u[2], w[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
          int c = column + j * THREADS;
          u[j] = c < dim ? queries[r * line + c] : 0.f;
          w[j] = c < dim ? douts[r * line + c] : 0.f;
        }
#pragma unroll
        for (k = 0; k < KEYS; k += 4) {
          float4 a = *(const float4*)(scores + r * KEYS + k), b = *(const float4*)(scores + (ROWS + r) * KEYS + k);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            acc[j][k] = fmaf(a.x, u[j], fmaf(b.x, w[j], acc[j][k]));
            acc[j][k + 1] = fmaf(a.y, u[j], fmaf(b.y, w[j], acc[j][k + 1]));
            acc[j][k + 2] = fmaf(a.z, u[j], fmaf(b.z, w[j], acc[j][k + 2]));
            acc[j][k + 3] = fmaf(a.w, u[j], fmaf(b.w, w[j], acc[j][k + 3]));
          }
        }
      }
      __syncthreads();  // rows and scores have been read
    }
    __syncthreads();
  }
  sums += (((i64)split * gridDim.z + blockIdx.z) * count + k0) * dim;
#pragma unroll
  for (int k = 0; k < KEYS; k++)
    for (int j = 0; j < 2; j++)
      if (k0 + k < count && column + j * THREADS < dim) sums[(i64)k * dim + column + j * THREADS] = acc[j][k];
}

// The parts of all splits, in their order, to the rows of keys or entries.
extern "C" __global__ void seen_grad_sum(float* dkeys, const float* sums, int splits, int sequences, int count, int rate, int dim,
                                         int length) {
  i64 all = (i64)sequences * count * dim;
  for (i64 i = first_element(); i < all; i += all_threads()) {
    i64 key = i / dim, to = key / count * length + (key % count + 1) * rate - 1;
    float sum = 0.f;
    for (int p = 0; p < splits; p++) sum += sums[p * all + i];
    dkeys[to * dim + i % dim] += sum;
  }
}

// A block a head: -sum_t p dout . out, p being the sink's, in F64.
extern "C" __global__ void seen_grad_sinks(float* dsinks, const float2* stats, const float* sinks, int heads, i64 rows) {
  int head = blockIdx.x;
  double sum = 0;
  for (i64 row = threadIdx.x; row < rows; row += blockDim.x) {
    float2 of = stats[row * heads + head];
    sum -= (double)expf(sinks[head] - of.x) * of.y;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) dsinks[head] = (float)(dsinks[head] + sum);
}
