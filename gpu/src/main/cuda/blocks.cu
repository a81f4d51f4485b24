// SPDX-License-Identifier: Apache-2.0
//
// Weights in GGML's blocks: products on tensor cores (see terms.cuh), and their dense values.
#include "slim.cuh"

// Q8_0: an F16 scale and 32 signed bytes. A block begins at any even address, so nothing wider than two bytes is read.
struct Q8Rows {
  static const int TERMS = 3;  // a product of 11 and 8 bits
  static const bool ASYNC = false;
  static const int WEIGHTS = 32, BYTES = 34;
  struct Raw {
    u32 low, high;  // four bytes each
    float scale;
  };
  const u8* p;
  i64 pitch;  // bytes of a row
  int rows, cols;

  __device__ Q8Rows(const void* p, int rows, int cols)
      : p((const u8*)p), pitch((i64)((cols + WEIGHTS - 1) / WEIGHTS) * BYTES), rows(rows), cols(cols) {}

  // A run of eight lies in one block, and is there as a whole: what a block has beyond the row is only not used.
  __device__ __forceinline__ void read(Raw& r, int row, int col) const {
    const u16* block = (const u16*)(p + row * pitch + (i64)(col / WEIGHTS) * BYTES);
    const u16* q = block + 1 + col % WEIGHTS / 2;
    r.scale = f16_to_f32(block[0]);
    r.low = q[0] | (u32)q[1] << 16;
    r.high = q[2] | (u32)q[3] << 16;
  }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    r.low = r.high = 0;
    r.scale = 0.f;
    if (row < rows && col < cols) read(r, row, col);
  }

  __device__ __forceinline__ void values(const Raw& r, float (&v)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = (float)(signed char)((j < 4 ? r.low : r.high) >> 8 * (j & 3)) * r.scale;
  }

  __device__ __forceinline__ void terms(const Raw& r, int row, int col, uint4 (&t)[TERMS], int wanted) const {
    float v[8];
    values(r, v);
#pragma unroll
    for (int j = 0; j < 8; j++)
      if (row >= rows || col + j >= cols) v[j] = 0.f;
    split<TERMS>(v, t, wanted);
  }
};

// One block of threads a row, eight weights a thread.
template <class Rows>
static __device__ __forceinline__ void dequantize(float* out, const Rows& w) {
  int row = blockIdx.x;
  for (int c = 8 * threadIdx.x; c < w.cols; c += 8 * blockDim.x) {
    typename Rows::Raw raw;
    float v[8];
    w.read(raw, row, c);
    w.values(raw, v);
#pragma unroll
    for (int j = 0; j < 8; j++)
      if (c + j < w.cols) out[(i64)row * w.cols + c + j] = v[j];
  }
}

// out[m,n] = x[m,k] w[n,k]^T, the same for few rows, dx[m,n] += dout[m,k] w[k,n], and out[rows,cols] = w
#define BLOCKS(name, Rows)                                                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      blocks_##name(float* out, const u16* x, i64 pitch, const void* w, int m, int n, int k, int terms) {             \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product<false>(out, x, pitch, Rows(w, n, k), m, n, k, terms, shared);                                             \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      blocks_few_##name(float* out, const float* x, const void* w, int m, int n, int k, int terms) {                  \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product_of_few(out, x, Rows(w, n, k), m, n, k, terms, shared);                                                    \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      blocks_input_##name(float* dx, const u16* dout, i64 pitch, const void* w, int m, int n, int k, int terms) {     \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product<true>(dx, dout, pitch, Rows(w, k, n), m, n, k, terms, shared);                                            \
  }                                                                                                                   \
  extern "C" __global__ void dequantize_##name(float* out, const void* w, int rows, int cols) {                      \
    dequantize(out, Rows(w, rows, cols));                                                                             \
  }
BLOCKS(q8_0, Q8Rows)

// Products of one to eight rows.
#define BLOCKS_SLIM(M, name, Rows) SLIM(blocks_slim##M##_##name, M, Rows(w, n, k), const void* w)
FOR_SLIM(BLOCKS_SLIM, q8_0, Q8Rows)
