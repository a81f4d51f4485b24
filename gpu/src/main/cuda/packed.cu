// SPDX-License-Identifier: Apache-2.0
//
// Products with packed weights on tensor cores: see terms.cuh. Codes become values on their way into shared memory.
#include "terms.cuh"

// out[m,n] = x[m,k] w[n,k]^T
#define PRODUCT(name, S, TYPE)                                                                                       \
  extern "C" __global__ void __launch_bounds__(S::THREADS)                                                            \
      name(float* out, const float* x, const void* codes, const void* scales, const void* zeros, const void* index,   \
           int bits, int words, int group, int groups, int m, int n, int k, int terms) {                              \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    PackedRows<TYPE> w(codes, scales, zeros, index, bits, words, group, groups, n, k);                                \
    product<S, false>(out, x, w, m, n, k, terms, shared);                                                             \
  }

// dx[m,n] += dout[m,k] w[k,n]
#define PRODUCT_INPUT(name, S, TYPE)                                                                                 \
  extern "C" __global__ void __launch_bounds__(S::THREADS)                                                            \
      name(float* dx, const float* dout, const void* codes, const void* scales, const void* zeros, const void* index, \
           int bits, int words, int group, int groups, int m, int n, int k, int terms) {                              \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    PackedRows<TYPE> w(codes, scales, zeros, index, bits, words, group, groups, k, n);                                \
    product<S, true>(dx, dout, w, m, n, k, terms, shared);                                                            \
  }

PRODUCT(packed_f32, Large, F32)
PRODUCT(packed_f32_few, Small, F32)
PRODUCT(packed_f16, Large, F16)
PRODUCT(packed_f16_few, Small, F16)
PRODUCT(packed_bf16, Large, BF16)
PRODUCT(packed_bf16_few, Small, BF16)
PRODUCT_INPUT(packed_input_f32, Large, F32)
PRODUCT_INPUT(packed_input_f16, Large, F16)
PRODUCT_INPUT(packed_input_bf16, Large, BF16)
