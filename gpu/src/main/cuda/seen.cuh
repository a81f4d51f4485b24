// SPDX-License-Identifier: Apache-2.0
//
// What kernels of attention to listed keys share: 32 keys at a time, for some rows that lie in shared memory.
#pragma once
#include "pages.cuh"

constexpr int KEYS = 32, THREADS = 256, WARPS = THREADS / 32;
// Channels of a key that pass through shared memory at a time: 16 for each warp.
constexpr int PIECE = 128, LINE = PIECE + 4;
// Channels of a block's sums.
constexpr int COLUMNS = 2 * THREADS;
// Below any score. Finite, so that differences are.
constexpr float LOWEST = -1e30f;

// What one query sees: keys of the nearest tokens, then those in a list. Both kinds' keys may lie in pages.
struct List {
  const Sequence& s;
  const Source& near;
  const Source& far;
  const Source& values;
  const float* chosen;  // null for all
  int position, windowed, count, rate, head;

  __device__ List(const Sequence& s, const Source& near, const Source& far, const Source& values, const float* chosen, int most,
                  int query, int window, int rate, int head)
      : s(s), near(near), far(far), values(values), chosen(chosen), rate(rate), head(head) {
    position = s.position(query);
    windowed = min(window, position + 1);
    count = windowed + (chosen ? most : (position + 1) / rate);
  }

  // Of a place in the list; below 0 for none. Chosen ones come first.
  __device__ int token(int i) const {
    if (i >= count) return -1;
    if (i < windowed) return position - windowed + 1 + i;
    int entry = chosen ? (int)chosen[i - windowed] : i - windowed;
    return entry < 0 ? -1 : (entry + 1) * rate - 1;
  }

  __device__ Key key(int i, int token) const {
    if (token < 0) return {-1, 0.f};
    return i < windowed ? near.key(s.tables[0], s.first, token, head) : far.key(s.tables[1], s.first, token, head);
  }

  __device__ Key value(int i, int token) const {
    if (token < 0) return {-1, 0.f};
    return i < windowed ? near.key(s.tables[0], s.first, token, head) : values.key(s.tables[2], s.first, token, head);
  }
};

// How the scores of ROWS rows and a tile of keys lie in a warp's lanes.
template <int ROWS>
struct Layout {
  static constexpr int DOWN = ROWS >= 4 ? 4 : 1, ACROSS = 32 / DOWN, EACH_ROWS = ROWS / DOWN, EACH_KEYS = KEYS / ACROSS;
};

__device__ __forceinline__ int padded(int dim) { return (dim + 3) & ~3; }

// One row of a query's heads, zeros behind its channels, to lines of padded(dim) + 4.
template <int ROWS>
__device__ __forceinline__ void stage_rows(float* to, const float* x, int rows, int dim) {
  int line = padded(dim) + 4;
  for (int i = threadIdx.x; i < ROWS * line; i += THREADS) {
    int r = i / line, c = i % line;
    to[i] = r < rows && c < dim ? x[(i64)r * dim + c] : 0.f;
  }
}

// sums[m][r][k] of the products of row r of matrix m and key k, in the order of warps; the block comes together at the end.
// parts: MATRICES * WARPS * ROWS * KEYS.
template <int ROWS, int MATRICES, class F>
__device__ __forceinline__ void products(float* sums, float* parts, float* tile, const float* const (&rows)[MATRICES], int dim,
                                         F four) {
  using L = Layout<ROWS>;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, down = lane / L::ACROSS, across = lane % L::ACROSS;
  int line = padded(dim) + 4;
  float acc[MATRICES][L::EACH_ROWS][L::EACH_KEYS] = {};
  for (int c0 = 0; c0 < dim; c0 += PIECE) {
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS * PIECE / 4; i += THREADS) {
      int k = i / (PIECE / 4), c = i % (PIECE / 4) * 4;
      float v[4] = {0.f, 0.f, 0.f, 0.f};
      if (c0 + c < dim) four(v, k, c0 + c);
      *(float4*)(tile + k * LINE + c) = make_float4(v[0], v[1], v[2], v[3]);
    }
    __syncthreads();
#pragma unroll 1
    for (int d = warp * (PIECE / WARPS); d < (warp + 1) * (PIECE / WARPS) && c0 + d < dim; d += 4) {
      float4 v[L::EACH_KEYS];
#pragma unroll
      for (int j = 0; j < L::EACH_KEYS; j++) v[j] = *(const float4*)(tile + (across + L::ACROSS * j) * LINE + d);
#pragma unroll
      for (int m = 0; m < MATRICES; m++)
#pragma unroll
        for (int i = 0; i < L::EACH_ROWS; i++) {
          float4 u = *(const float4*)(rows[m] + (down + L::DOWN * i) * line + c0 + d);
#pragma unroll
          for (int j = 0; j < L::EACH_KEYS; j++) {
            float sum = fmaf(u.x, v[j].x, acc[m][i][j]);
            sum = fmaf(u.y, v[j].y, sum);
            sum = fmaf(u.z, v[j].z, sum);
            acc[m][i][j] = fmaf(u.w, v[j].w, sum);
          }
        }
    }
  }
#pragma unroll
  for (int m = 0; m < MATRICES; m++)
#pragma unroll
    for (int i = 0; i < L::EACH_ROWS; i++)
#pragma unroll
      for (int j = 0; j < L::EACH_KEYS; j++)
        parts[((m * WARPS + warp) * ROWS + down + L::DOWN * i) * KEYS + across + L::ACROSS * j] = acc[m][i][j];
  __syncthreads();
  for (int i = threadIdx.x; i < MATRICES * ROWS * KEYS; i += THREADS) {
    int m = i / (ROWS * KEYS), at = i % (ROWS * KEYS);
    float sum = 0.f;
    for (int w = 0; w < WARPS; w++) sum += parts[(m * WARPS + w) * ROWS * KEYS + at];
    sums[i] = sum;
  }
  __syncthreads();
}

// Where a row's softmax is: its largest score so far, the sum of exponentials relative to that, and what earlier sums shrink by.
struct Row {
  float most, sum, down;
};

// Scores of a tile become probabilities relative to the largest so far; one warp a row.
template <int ROWS>
__device__ __forceinline__ void soften(float* scores, Row* rows, const Key* keys, float scale) {
  int lane = threadIdx.x & 31;
  for (int r = threadIdx.x >> 5; r < ROWS; r += WARPS) {
    bool there = keys[lane].at >= 0;
    float score = there ? scores[r * KEYS + lane] * scale : LOWEST;
    float most = rows[r].most, top = fmaxf(most, warp_reduce(score, Max())), p = there ? expf(score - top) : 0.f;
    float sum = warp_reduce(p, Sum()), down = expf(most - top);
    scores[r * KEYS + lane] = p;
    __syncwarp();
    if (lane == 0) rows[r] = {top, fmaf(rows[r].sum, down, sum), down};
    __syncwarp();
  }
  __syncthreads();
}

// acc[j][r] += weights[r][k] value(k, column + j * width) over a tile's keys.
template <int EACH, class F>
__device__ __forceinline__ void weigh(float (&acc)[2][EACH], const float* weights, int width, int column, int columns, F value) {
#pragma unroll 1
  for (int k = 0; k < KEYS; k += 4) {
    float v[2][4];
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) v[j][i] = column + j * width < columns ? value(k + i, column + j * width) : 0.f;
#pragma unroll
    for (int r = 0; r < EACH; r++) {
      float4 w = *(const float4*)(weights + r * KEYS + k);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float sum = fmaf(w.x, v[j][0], acc[j][r]);
        sum = fmaf(w.y, v[j][1], sum);
        sum = fmaf(w.z, v[j][2], sum);
        acc[j][r] = fmaf(w.w, v[j][3], sum);
      }
    }
  }
}
