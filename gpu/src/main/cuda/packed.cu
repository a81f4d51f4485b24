// SPDX-License-Identifier: Apache-2.0
//
// Products with packed weights on tensor cores: see terms.cuh. Codes become values on their way into shared memory.
#include "slim.cuh"

// out[m,n] = x[m,k] w[n,k]^T
#define PRODUCT(name, TYPE)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      name(float* out, const u16* x, i64 pitch, const void* codes, const void* scales, const void* zeros,             \
           const void* index, int bits, int words, int group, int groups, int m, int n, int k, int terms) {           \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    PackedRows<TYPE> w(codes, scales, zeros, index, bits, words, group, groups, n, k);                                \
    product<false>(out, x, pitch, w, m, n, k, terms, shared);                                                         \
  }
#define PRODUCT_FEW(name, TYPE)                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      name(float* out, const float* x, const void* codes, const void* scales, const void* zeros, const void* index,   \
           int bits, int words, int group, int groups, int m, int n, int k, int terms) {                              \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    PackedRows<TYPE> w(codes, scales, zeros, index, bits, words, group, groups, n, k);                                \
    product_of_few(out, x, w, m, n, k, terms, shared);                                                                \
  }

// dx[m,n] += dout[m,k] w[k,n]
#define PRODUCT_INPUT(name, TYPE)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      name(float* dx, const u16* dout, i64 pitch, const void* codes, const void* scales, const void* zeros,           \
           const void* index, int bits, int words, int group, int groups, int m, int n, int k, int terms) {           \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    PackedRows<TYPE> w(codes, scales, zeros, index, bits, words, group, groups, k, n);                                \
    product<true>(dx, dout, pitch, w, m, n, k, terms, shared);                                                        \
  }

PRODUCT(packed_f32, F32)
PRODUCT(packed_f16, F16)
PRODUCT(packed_bf16, BF16)
PRODUCT_FEW(packed_few_f32, F32)
PRODUCT_FEW(packed_few_f16, F16)
PRODUCT_FEW(packed_few_bf16, BF16)
PRODUCT_INPUT(packed_input_f32, F32)
PRODUCT_INPUT(packed_input_f16, F16)
PRODUCT_INPUT(packed_input_bf16, BF16)

// The same for one to eight rows.
#define PACKED_SLIM(M, name, TYPE)                                                                                   \
  SLIM(packed_slim##M##_##name, M, PackedRows<TYPE>(codes, scales, zeros, index, bits, words, group, groups, n, k),   \
       const void* codes, const void* scales, const void* zeros, const void* index, int bits, int words, int group,   \
       int groups)
FOR_SLIM(PACKED_SLIM, f32, F32)
FOR_SLIM(PACKED_SLIM, f16, F16)
FOR_SLIM(PACKED_SLIM, bf16, BF16)
