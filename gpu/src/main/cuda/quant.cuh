// SPDX-License-Identifier: Apache-2.0
//
// What the kernels of codes, of grids and of masks share: codes and their values, four neighbours at a time.
#pragma once
#include "llmc.cuh"

// ---------------------------------------------------------------- codes
// Half to even for |x| <= 2^22: between 2^23 and 2^24 a float's last place is 1. Beyond that some number beyond every code.
static __device__ __forceinline__ float nearest(float x) { return (x + 12582912.f) - 12582912.f; }

// The quotient is IEEE's: a reciprocal would move codes at ties. NaN gets 0.
static __device__ __forceinline__ float code_of(float w, float scale, float zero, float max_code) {
  return fminf(fmaxf(nearest(w / scale) + zero, 0.f), max_code);
}

static __device__ __forceinline__ float value_of(float code, float scale, float zero, int type) {
  return rounded((code - zero) * scale, type);
}

// ---------------------------------------------------------------- four neighbours
// True where every fourth element of p can be reached by one access: `bytes` of an element, `pitch` elements of a row.
static __device__ __forceinline__ bool by_four(const void* p, int bytes, i64 pitch) {
  return ((u64)p & (4 * bytes - 1)) == 0 && (pitch & 3) == 0;
}
static __device__ __forceinline__ int bytes_of(int type) { return type == F32 ? 4 : 2; }

// Elements [i, i + n) of p, of n at least 4 the first four; zeros where there are fewer.
static __device__ __forceinline__ void load_four(float (&x)[4], const void* p, i64 i, int n, int type, bool fours) {
  if (fours && n >= 4) {
    if (type == F32) {
      float4 v = *(const float4*)((const float*)p + i);
      x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    } else {
      uint2 v = *(const uint2*)((const u16*)p + i);
      u16 h[4] = {(u16)v.x, (u16)(v.x >> 16), (u16)v.y, (u16)(v.y >> 16)};
#pragma unroll
      for (int k = 0; k < 4; k++) x[k] = type == F16 ? f16_to_f32(h[k]) : bf16_to_f32(h[k]);
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++) x[k] = k < n ? load(p, i + k, type) : 0.f;
}

static __device__ __forceinline__ void store_four(float* p, i64 i, int n, const float (&x)[4], bool fours) {
  if (fours && n >= 4) {
    *(float4*)(p + i) = make_float4(x[0], x[1], x[2], x[3]);
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < n) p[i + k] = x[k];
}

// Octets, the first in the lowest bits.
static __device__ __forceinline__ u32 load_octets(const u8* p, i64 i, int n, bool fours) {
  if (fours && n >= 4) return *(const u32*)(p + i);
  u32 x = 0;
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < n) x |= (u32)p[i + k] << 8 * k;
  return x;
}

static __device__ __forceinline__ void store_octets(u8* p, i64 i, int n, u32 x, bool fours) {
  if (fours && n >= 4) {
    *(u32*)(p + i) = x;
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < n) p[i + k] = (u8)(x >> 8 * k);
}
