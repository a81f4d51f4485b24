// SPDX-License-Identifier: Apache-2.0
//
// Small floats of type E4M3 (Micikevicius et al.: FP8 Formats for Deep Learning, 2022): weights with a scale a tile, and
// activations rounded to them. Devices before compute capability 8.9 have no instruction for them.
#include "terms.cuh"

// Moves the exponent's bias from 7 to 127, of subnormal numbers too; the code of all ones is NaN.
static __device__ __forceinline__ float e4m3_to_f32(u32 code) {
  u32 magnitude = code & 0x7f;
  float v = magnitude == 0x7f ? __uint_as_float(0x7fc00000u) : __uint_as_float(magnitude << 20) * 1.329227995784916e36f;
  return __uint_as_float(__float_as_uint(v) | (code & 0x80) << 24);
}

// The nearest number that E4M3 has, half to even; beyond 448 it is 448.
static __device__ __forceinline__ float nearest_e4m3(float x) {
  u32 bits = __float_as_uint(x), sign = bits & 0x80000000u;
  if (x != x) return x;
  float m = fminf(fabsf(x), 448.f);
  u32 b = __float_as_uint(m);
  // Of 23 bits of mantissa 3 stay. Below 2^-6 steps are 2^-9, which is a float's last place between 2^14 and 2^15.
  m = m < 0.015625f ? (m + 16384.f) - 16384.f : __uint_as_float((b + 0x7ffffu + (b >> 20 & 1)) & 0xfff00000u);
  return __uint_as_float(__float_as_uint(m) | sign);
}

// Codes [rows, cols] with a scale of a TYPE for each tile of `height` rows and `width` columns, `across` of them beside
// each other.
template <int TYPE>
struct FloatRows {
  static const int TERMS = TYPE == F32 ? 3 : TYPE == F16 ? 2 : 1;
  static const bool ASYNC = false;
  struct Raw {
    u32 low, high;  // four codes each
    float scale;
  };
  const u8* codes;
  const void* scales;
  int height, width, across, rows, cols;
  bool whole;  // a run of eight is one access
  bool one;    // and of one tile

  __device__ FloatRows(const void* codes, const void* scales, int height, int width, int across, int rows, int cols)
      : codes((const u8*)codes), scales(scales), height(height), width(width), across(across), rows(rows), cols(cols),
        whole((((u64)codes | (u64)cols) & 7) == 0), one(across == 1 || (width & 7) == 0) {}

  __device__ __forceinline__ float scale(int row, int col) const {
    return load(scales, (i64)(row / height) * across + (across == 1 ? 0 : col / width), TYPE);
  }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    r.low = r.high = 0;
    r.scale = 0.f;
    if (row >= rows || col >= cols) return;
    const u8* q = codes + (i64)row * cols + col;
    if (whole) {
      uint2 v = *(const uint2*)q;
      r.low = v.x;
      r.high = v.y;
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (col + j < cols) r.low |= (u32)q[j] << 8 * j;
        if (col + 4 + j < cols) r.high |= (u32)q[4 + j] << 8 * j;
      }
    }
    if (one) r.scale = scale(row, col);
  }

  __device__ __forceinline__ void values(const Raw& r, int row, int col, float (&v)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; j++) {
      bool inside = row < rows && col + j < cols;
      float s = one ? r.scale : scale(min(row, rows - 1), min(col + j, cols - 1));
      v[j] = inside ? e4m3_to_f32((j < 4 ? r.low : r.high) >> 8 * (j & 3) & 0xff) * s : 0.f;
      if (TYPE != F32) v[j] = rounded(v[j], TYPE);
    }
  }

  __device__ __forceinline__ void terms(const Raw& r, int row, int col, uint4 (&t)[TERMS], int wanted) const {
    float v[8];
    values(r, row, col, v);
    split<TERMS>(v, t, wanted);
  }
};

// out[m,n] = x[m,k] w[n,k]^T, the same for few rows, and dx[m,n] += dout[m,k] w[k,n]
#define PRODUCTS(name, TYPE)                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      floats_##name(float* out, const u16* x, i64 pitch, const void* codes, const void* scales, int height, int width, \
                    int across, int m, int n, int k, int terms) {                                                     \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(codes, scales, height, width, across, n, k);                                                    \
    product<false>(out, x, pitch, w, m, n, k, terms, shared);                                                         \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      floats_few_##name(float* out, const float* x, const void* codes, const void* scales, int height, int width,     \
                        int across, int m, int n, int k, int terms) {                                                 \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(codes, scales, height, width, across, n, k);                                                    \
    product_of_few(out, x, w, m, n, k, terms, shared);                                                                \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      floats_input_##name(float* dx, const u16* dout, i64 pitch, const void* codes, const void* scales, int height,   \
                          int width, int across, int m, int n, int k, int terms) {                                    \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(codes, scales, height, width, across, k, n);                                                    \
    product<true>(dx, dout, pitch, w, m, n, k, terms, shared);                                                        \
  }
PRODUCTS(f32, F32)
PRODUCTS(f16, F16)
PRODUCTS(bf16, BF16)

extern "C" __global__ void dequantize_floats(float* out, const u8* codes, const void* scales, int type, int height, int width,
                                             int across, int cols) {
  i64 row = blockIdx.x;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    float scale = load(scales, row / height * across + c / width, type);
    out[row * cols + c] = rounded(e4m3_to_f32(codes[row * cols + c]) * scale, type);
  }
}

// One block a tile: a part of a row, `across` of them beside each other. Without a scale it is the tile's own, its largest
// magnitude over 448; the quotients are IEEE's, since a reciprocal would move values at ties.
extern "C" __global__ void round_to_e4m3(float* out, const float* x, const void* scale, int type, int cols, int width,
                                         int across) {
  i64 row = blockIdx.x / across;
  int from = (int)(blockIdx.x % across) * width, to = min(cols, from + width);
  out += row * cols;
  x += row * cols;
  float s;
  if (scale) {
    s = load(scale, 0, type);
  } else {
    float largest = 0.f;
    for (int c = from + threadIdx.x; c < to; c += blockDim.x) largest = Max()(fabsf(x[c]), largest);
    s = block_max(largest) / 448.f;
    if (s == 0.f) s = 1.f;  // nothing but zeros
  }
  for (int c = from + threadIdx.x; c < to; c += blockDim.x) out[c] = nearest_e4m3(x[c] / s) * s;
}
