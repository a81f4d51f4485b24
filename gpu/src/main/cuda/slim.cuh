// SPDX-License-Identifier: Apache-2.0
//
// Products of one to eight rows with a weight, as decoding has them: they wait for the weight to cross memory. A block makes
// four or eight columns of the output: its threads walk along as many rows of the weight, eight neighbours of each at a time,
// the next ones on their way. What is read of x is in the first cache by then, since all blocks of a multiprocessor read the same.
//
// F32 units are fast enough for so few rows, and waste nothing where tensor cores want sixteen. Their sums are others than
// those of terms.cuh: a row's bits do not depend on how many of the eight there are, but on whether there are more.
#pragma once
#include "terms.cuh"

static const int SLIM_THREADS = 128, RUN = 8;

// Columns of a block: enough of the weight on its way, in as few registers as leave room for other blocks.
// As io.llmc.gpu.ProductKernels counts them.
template <int M, class B>
struct Slim {
  static const int COLUMNS = M == 1 && sizeof(typename B::Raw) <= 16 ? 8 : 4;
};

// out[m,n] = x[m,k] b[n,k]^T for m up to M, where k is a multiple of eight and runs are such as b reads. With one of x's terms
// wanted x is rounded to BF16, else it is as it is.
template <int M, class B>
__device__ __forceinline__ void product_of_slim(float* out, const float* x, const B& b, int m, int n, int k, int wanted) {
  constexpr int STRIDE = RUN * SLIM_THREADS, COLUMNS = Slim<M, B>::COLUMNS;
  int col0 = blockIdx.x * COLUMNS, first = RUN * threadIdx.x;
  float sum[M * COLUMNS] = {};
  typename B::Raw now[COLUMNS], next[COLUMNS];
#pragma unroll 1
  for (int c = first - STRIDE; c < k; c += STRIDE) {
    // Columns beyond the last are the last again: nobody stores them.
    if (c + STRIDE < k)
#pragma unroll
      for (int i = 0; i < COLUMNS; i++) b.read(next[i], min(col0 + i, n - 1), c + STRIDE);
    if (c >= 0) {
      float w[COLUMNS][RUN];
#pragma unroll
      for (int i = 0; i < COLUMNS; i++) b.values(now[i], w[i]);
#pragma unroll
      for (int r = 0; r < M; r++) {
        const float4* p = (const float4*)(x + (i64)min(r, m - 1) * k + c);
        float4 low = p[0], high = p[1];
        float v[RUN] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        if (wanted == 1) round_run<BF16>(v);
#pragma unroll
        for (int j = 0; j < RUN; j++) {
#pragma unroll
          for (int i = 0; i < COLUMNS; i++) sum[r * COLUMNS + i] = fmaf(v[j], w[i][j], sum[r * COLUMNS + i]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) now[i] = next[i];
  }
  float all = block_sums<SLIM_THREADS>(sum);
  int r = threadIdx.x / COLUMNS, col = col0 + threadIdx.x % COLUMNS;
  if (r < min(M, m) && col < n) out[(i64)r * n + col] = all;
}

// A kernel of so many rows. `weight` is made of the parameters that follow.
#define SLIM(name, M, weight, ...)                                                                                   \
  extern "C" __global__ void __launch_bounds__(SLIM_THREADS)                                                          \
      name(float* out, const float* x, __VA_ARGS__, int m, int n, int k, int terms) {                                 \
    product_of_slim<M>(out, x, weight, m, n, k, terms);                                                               \
  }
#define FOR_SLIM(make, ...) make(1, __VA_ARGS__) make(2, __VA_ARGS__) make(4, __VA_ARGS__) make(8, __VA_ARGS__)
