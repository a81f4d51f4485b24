// SPDX-License-Identifier: Apache-2.0
//
// Products of F32 matrices on F32 units: a block of 256 threads makes a tile of 128 x 128 or 64 x 64, each thread 8 x 8
// or 4 x 4 of it, from shared tiles 8 or 16 deep of which the next is on its way. Every element is a chain of fmaf in the
// order of k, the same in both sizes.
#pragma once
#include "llmc.cuh"

// How an operand's rows (of A) or columns (of B) lie in memory: k along a row, or a row for each k.
enum Layout { ALONG_K, ACROSS_K };

struct Operand {
  const float* p;
  int pitch, rows;  // or columns, for B
  bool whole;

  __device__ Operand(const float* p, int pitch, int rows)
      : p(p), pitch(pitch), rows(rows), whole((((u64)p | 4ull * pitch) & 15) == 0) {}
};

static const int SIMT_THREADS = 256;

template <int T>
struct SimtShared {
  static const int DEPTH = 1024 / T;  // every thread carries one float4 of each operand
  __align__(16) float a[2][DEPTH * (T + 4)];  // read and written as float4
  __align__(16) float b[2][DEPTH * (T + 4)];
};

// The second half of a depth of 16 is turned by 8, so that stores along k meet no bank twice.
template <int T>
__device__ __forceinline__ int simt_at(int k, int row) { return k * (T + 4) + (row ^ (k & 8)); }

template <int T, Layout L>
struct SimtCarrier {
  float4 v;

  static __device__ __forceinline__ int row() {
    return L == ALONG_K ? (int)threadIdx.x / (SimtShared<T>::DEPTH / 4) : (int)threadIdx.x % (T / 4) * 4;
  }
  static __device__ __forceinline__ int depth() {
    return L == ALONG_K ? (int)threadIdx.x % (SimtShared<T>::DEPTH / 4) * 4 : (int)threadIdx.x / (T / 4);
  }

  __device__ __forceinline__ void fetch(const Operand& o, int row0, int k0, int k_end) {
    int r = row0 + row(), k = k0 + depth();
    const float* q = o.p + (L == ALONG_K ? (i64)r * o.pitch + k : (i64)k * o.pitch + r);
    int n = L == ALONG_K ? (r < o.rows ? k_end - k : 0) : (k < k_end ? o.rows - r : 0);
    if (o.whole && n >= 4) v = *(const float4*)q;
    else v = make_float4(n > 0 ? q[0] : 0.f, n > 1 ? q[1] : 0.f, n > 2 ? q[2] : 0.f, n > 3 ? q[3] : 0.f);
  }

  __device__ __forceinline__ void put(float* s) const {
    int r = row(), k = depth();
    if (L == ALONG_K) {
      s[simt_at<T>(k, r)] = v.x;
      s[simt_at<T>(k + 1, r)] = v.y;
      s[simt_at<T>(k + 2, r)] = v.z;
      s[simt_at<T>(k + 3, r)] = v.w;
    } else {
      *(float4*)&s[simt_at<T>(k, r)] = v;
    }
  }
};

// Where element i of a thread's rows or columns lies in the tile: runs of four, 64 apart.
__device__ __forceinline__ int simt_row(int thread, int i) { return thread / 16 * 4 + (i & 3) + (i >> 2) * 64; }
__device__ __forceinline__ int simt_col(int thread, int j) { return thread % 16 * 4 + (j & 3) + (j >> 2) * 64; }

// This thread, so that the compiler does not know it: it would keep every address of the output in registers throughout a
// loop that stores once in a while.
__device__ __forceinline__ int unknown_thread() {
  int t = threadIdx.x;
#ifndef LLMC_STANDIN
  asm volatile("" : "+r"(t));
#endif
  return t;
}

// Sums of a b over each CHUNK of k in [k0, k1), for the tile at (row0, col0): take(sum, k) gets each of them and where it
// began. All threads of the block must come.
template <int T, Layout LA, Layout LB, int CHUNK, class F>
__device__ __forceinline__ void simt_product(const Operand& a, const Operand& b, int row0, int col0, int k0, int k1,
                                             SimtShared<T>& s, F take) {
  constexpr int DEPTH = SimtShared<T>::DEPTH;
  SimtCarrier<T, LA> as;
  SimtCarrier<T, LB> bs;
  float sum[T / 16][T / 16] = {};
  as.fetch(a, row0, k0, k1);
  bs.fetch(b, col0, k0, k1);
  as.put(s.a[0]);
  bs.put(s.b[0]);
  __syncthreads();
  for (int k = k0; k < k1; k += DEPTH) {
    int stage = (k - k0) / DEPTH & 1;
    bool more = k + DEPTH < k1;
    if (more) {
      as.fetch(a, row0, k + DEPTH, k1);
      bs.fetch(b, col0, k + DEPTH, k1);
    }
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      float x[T / 16], y[T / 16];
#pragma unroll
      for (int h = 0; h < T / 64; h++) {
        *(float4*)&x[4 * h] = *(const float4*)&s.a[stage][simt_at<T>(d, simt_row(threadIdx.x, 4 * h))];
        *(float4*)&y[4 * h] = *(const float4*)&s.b[stage][simt_at<T>(d, simt_col(threadIdx.x, 4 * h))];
      }
#pragma unroll
      for (int i = 0; i < T / 16; i++)
#pragma unroll
        for (int j = 0; j < T / 16; j++) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
    }
    if (more) {
      as.put(s.a[stage ^ 1]);
      bs.put(s.b[stage ^ 1]);
    }
    int done = k + DEPTH - k0;
    if (done % CHUNK == 0 || !more) {
      take(sum, k0 + (done - 1) / CHUNK * CHUNK);
#pragma unroll
      for (int i = 0; i < T / 16; i++)
#pragma unroll
        for (int j = 0; j < T / 16; j++) sum[i][j] = 0.f;
    }
    __syncthreads();
  }
}

// c = alpha * sum, or c += alpha * sum, where the tile lies inside of m x n; only the lower triangle if LOWER.
template <int T, bool LOWER = false>
__device__ __forceinline__ void simt_store(float* c, int pitch, const float (&sum)[T / 16][T / 16], int row0, int col0,
                                           int m, int n, float alpha, bool add) {
  int thread = unknown_thread();
#pragma unroll
  for (int i = 0; i < T / 16; i++) {
    int row = row0 + simt_row(thread, i);
    if (row >= m) continue;
#pragma unroll
    for (int j = 0; j < T / 16; j += 4) {
      int col = col0 + simt_col(thread, j);
      float* to = c + (i64)row * pitch + col;
      int end = LOWER ? row + 1 : n;  // of a square matrix
      if (col + 4 <= end && ((u64)to & 15) == 0) {
        float4 v = add ? *(const float4*)to : make_float4(0.f, 0.f, 0.f, 0.f);
        v.x = fmaf(alpha, sum[i][j], v.x);
        v.y = fmaf(alpha, sum[i][j + 1], v.y);
        v.z = fmaf(alpha, sum[i][j + 2], v.z);
        v.w = fmaf(alpha, sum[i][j + 3], v.w);
        *(float4*)to = v;
      } else {
#pragma unroll
        for (int q = 0; q < 4; q++)
          if (col + q < end) to[q] = fmaf(alpha, sum[i][j + q], add ? to[q] : 0.f);
      }
    }
  }
}

// The tile (i, j), j <= i, that is block number t of a lower triangle of tiles.
__device__ __forceinline__ void triangle_tile(i64 t, int& i, int& j) {
  i = (int)((sqrt(8. * t + 1) - 1) / 2);
  while ((i64)i * (i + 1) / 2 > t) i--;
  while ((i64)(i + 1) * (i + 2) / 2 <= t) i++;
  j = (int)(t - (i64)i * (i + 1) / 2);
}
