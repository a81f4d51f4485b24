// SPDX-License-Identifier: Apache-2.0
//
// Products with dense weights on tensor cores: see terms.cuh.
#include "terms.cuh"

// out[m,n] = x[m,k] w[n,k]^T
#define PRODUCT(name, S, Rows)                                                                                      \
  extern "C" __global__ void __launch_bounds__(S::THREADS)                                                           \
      name(float* out, const float* x, const void* w, int m, int n, int k, int terms) {                              \
    DYNAMIC_SHARED(u16, shared);                                                                                     \
    product<S, false>(out, x, Rows(w, n, k), m, n, k, terms, shared);                                                \
  }

// dx[m,n] += dout[m,k] w[k,n]
#define PRODUCT_INPUT(name, S, Rows)                                                                                \
  extern "C" __global__ void __launch_bounds__(S::THREADS)                                                           \
      name(float* dx, const float* dout, const void* w, int m, int n, int k, int terms) {                            \
    DYNAMIC_SHARED(u16, shared);                                                                                     \
    product<S, true>(dx, dout, Rows(w, k, n), m, n, k, terms, shared);                                               \
  }

PRODUCT(product_f32, Large, F32Rows)
PRODUCT(product_f32_few, Small, F32Rows)
PRODUCT(product_f16, Large, HalfRows<F16>)
PRODUCT(product_f16_few, Small, HalfRows<F16>)
PRODUCT(product_bf16, Large, HalfRows<BF16>)
PRODUCT(product_bf16_few, Small, HalfRows<BF16>)
PRODUCT_INPUT(product_input_f16, Large, HalfRows<F16>)
PRODUCT_INPUT(product_input_bf16, Large, HalfRows<BF16>)
