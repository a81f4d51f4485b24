// SPDX-License-Identifier: Apache-2.0
//
// Products with dense weights on tensor cores: see terms.cuh.
#include "slim.cuh"

// terms[wanted][rows, pitch] of x[rows, cols]; zeros beyond cols.
extern "C" __global__ void split_rows(u16* terms, const float* x, int rows, int cols, i64 pitch, int wanted) {
  F32Rows a(x, rows, cols);
  i64 runs = pitch / 8;
  for (i64 i = first_element(); i < rows * runs; i += all_threads()) {
    int row = (int)(i / runs), col = 8 * (int)(i % runs);
    F32Rows::Raw raw;
    uint4 t[3];
    a.fetch(raw, row, col);
    a.terms(raw, row, col, t, wanted);
#pragma unroll
    for (int j = 0; j < 3; j++)
      if (j < wanted) *(uint4*)(terms + j * rows * pitch + row * pitch + col) = t[j];
  }
}

// out[m,n] = x[m,k] w[n,k]^T
#define PRODUCT(name, Rows)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      name(float* out, const u16* x, i64 pitch, const void* w, int m, int n, int k, int terms) {                      \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product<false>(out, x, pitch, Rows(w, n, k), m, n, k, terms, shared);                                             \
  }
#define PRODUCT_FEW(name, Rows)                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      name(float* out, const float* x, const void* w, int m, int n, int k, int terms) {                               \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product_of_few(out, x, Rows(w, n, k), m, n, k, terms, shared);                                                    \
  }

// dx[m,n] += dout[m,k] w[k,n]
#define PRODUCT_INPUT(name, Rows)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      name(float* dx, const u16* dout, i64 pitch, const void* w, int m, int n, int k, int terms) {                    \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    product<true>(dx, dout, pitch, Rows(w, k, n), m, n, k, terms, shared);                                            \
  }

PRODUCT(product_f32, F32Rows)
PRODUCT(product_f16, HalfRows<F16>)
PRODUCT(product_bf16, HalfRows<BF16>)
PRODUCT_FEW(product_few_f32, F32Rows)
PRODUCT_FEW(product_few_f16, HalfRows<F16>)
PRODUCT_FEW(product_few_bf16, HalfRows<BF16>)
PRODUCT_INPUT(product_input_f16, HalfRows<F16>)
PRODUCT_INPUT(product_input_bf16, HalfRows<BF16>)

// The same for one to eight rows.
#define PRODUCT_SLIM(M, name, Rows) SLIM(product_slim##M##_##name, M, Rows(w, n, k), const void* w)
FOR_SLIM(PRODUCT_SLIM, f32, F32Rows)
FOR_SLIM(PRODUCT_SLIM, f16, HalfRows<F16>)
FOR_SLIM(PRODUCT_SLIM, bf16, HalfRows<BF16>)
