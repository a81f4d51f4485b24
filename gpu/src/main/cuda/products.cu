// SPDX-License-Identifier: Apache-2.0
//
// Sums of products of F32 matrices: gradients, second moments, the error that a block of columns spreads.
//
// A sum goes in chunks of 256 of k, each of which is added to the output once it is whole: short sums round less, and
// rows that come in calls of any multiple of 256 give the same bits.
#include "simt.cuh"

static const int SUM_CHUNK = 256;

template <int T, Layout LA, Layout LB>
__device__ __forceinline__ void accumulate(float* c, int pitch, const Operand& a, const Operand& b, int m, int n, int k,
                                           float alpha, bool add) {
  __shared__ SimtShared<T> s;
  int row0 = blockIdx.x * T, col0 = blockIdx.y * T;
  simt_product<T, LA, LB, SUM_CHUNK>(a, b, row0, col0, 0, k, s, [&](const float(&sum)[T / 16][T / 16], int k0) {
    simt_store<T>(c, pitch, sum, row0, col0, m, n, alpha, add || k0 > 0);
  });
}

// c[m,n] (+)= alpha a[m,k] b[k,n]
extern "C" __global__ void __launch_bounds__(256, 2)
    accumulate_nn(float* c, int c_pitch, const float* a, int a_pitch, const float* b, int b_pitch, int m, int n, int k,
                  float alpha, int add) {
  accumulate<128, ALONG_K, ACROSS_K>(c, c_pitch, Operand(a, a_pitch, m), Operand(b, b_pitch, n), m, n, k, alpha, add);
}
extern "C" __global__ void __launch_bounds__(256, 3)
    accumulate_nn_small(float* c, int c_pitch, const float* a, int a_pitch, const float* b, int b_pitch, int m, int n,
                        int k, float alpha, int add) {
  accumulate<64, ALONG_K, ACROSS_K>(c, c_pitch, Operand(a, a_pitch, m), Operand(b, b_pitch, n), m, n, k, alpha, add);
}

// c[m,n] (+)= alpha a[k,m]^T b[k,n]
extern "C" __global__ void __launch_bounds__(256, 2)
    accumulate_tn(float* c, int c_pitch, const float* a, int a_pitch, const float* b, int b_pitch, int m, int n, int k,
                  float alpha, int add) {
  accumulate<128, ACROSS_K, ACROSS_K>(c, c_pitch, Operand(a, a_pitch, m), Operand(b, b_pitch, n), m, n, k, alpha, add);
}
extern "C" __global__ void __launch_bounds__(256, 3)
    accumulate_tn_small(float* c, int c_pitch, const float* a, int a_pitch, const float* b, int b_pitch, int m, int n,
                        int k, float alpha, int add) {
  accumulate<64, ACROSS_K, ACROSS_K>(c, c_pitch, Operand(a, a_pitch, m), Operand(b, b_pitch, n), m, n, k, alpha, add);
}

// h[n,n] += scale x[k,n]^T x[k,n]: the tiles of the lower triangle, and each mirrored into the upper one.
template <int T>
__device__ __forceinline__ void gram_tile(float* h, const float* x, int n, int k, float scale) {
  __shared__ SimtShared<T> s;
  int i, j;
  triangle_tile(blockIdx.x, i, j);
  int row0 = i * T, col0 = j * T;
  Operand xs(x, n, n);
  simt_product<T, ACROSS_K, ACROSS_K, SUM_CHUNK>(xs, xs, row0, col0, 0, k, s, [&](const float(&sum)[T / 16][T / 16], int) {
    simt_store<T>(h, n, sum, row0, col0, n, n, scale, true);
  });
  __syncthreads();  // a tile on the diagonal reads what other threads wrote
  // Each thread takes from h what it has just written, four columns of which become rows.
  int thread = threadIdx.x;
#pragma unroll 1
  for (int a = 0; a < T / 16; a += 4) {
#pragma unroll 1
    for (int b = 0; b < T / 16; b++) {
      int row = row0 + simt_row(thread, a), col = col0 + simt_col(thread, b);
      if (col >= n) continue;
      for (int q = 0; q < 4; q++)
        if (row + q < n && row + q > col) h[(i64)col * n + row + q] = h[(i64)(row + q) * n + col];
    }
  }
}
extern "C" __global__ void __launch_bounds__(256, 2) gram(float* h, const float* x, int n, int k, float scale) {
  gram_tile<128>(h, x, n, k, scale);
}
extern "C" __global__ void __launch_bounds__(256, 3) gram_small(float* h, const float* x, int n, int k, float scale) {
  gram_tile<64>(h, x, n, k, scale);
}
