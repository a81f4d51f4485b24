// SPDX-License-Identifier: Apache-2.0
//
// Small floats: E4M3 (Micikevicius et al.: FP8 Formats for Deep Learning, 2022) and E2M1, and scales that are powers of two
// (OCP Microscaling Formats v1.0, 2023) or small floats themselves. Devices before compute capability 8.9 have no
// instructions for them. `bits` is 8 or 4 and says which.
#pragma once
#include "llmc.cuh"

// Moves the exponent's bias to 127, of subnormal numbers too. The code of all ones is NaN in E4M3; in E2M1 it is 6. No
// branches: where it is unrolled, `bits` costs nothing then.
static __device__ __forceinline__ float small_to_f32(u32 code, int bits) {
  u32 magnitude = code & ((1u << (bits - 1)) - 1);
  float moved = bits == 8 ? 1.329227995784916e36f : 8.507059173023462e37f;  // 2^(127 - 7), 2^(127 - 1)
  float v = __uint_as_float(magnitude << (bits == 8 ? 20 : 22)) * moved;
  if (magnitude == 0x7f) v = __uint_as_float(0x7fc00000u);
  return __uint_as_float(__float_as_uint(v) | (code << (32 - bits) & 0x80000000u));
}

// Four codes of four bits, a byte each.
static __device__ __forceinline__ u32 spread_halves(u32 x) {
  x = (x | x << 8) & 0x00ff00ffu;
  return (x | x << 4) & 0x0f0f0f0fu;
}

// The nearest number that has a code, half to even; beyond the largest it is the largest, NaN stays.
static __device__ __forceinline__ float nearest_small(float x, int bits) {
  u32 sign = __float_as_uint(x) & 0x80000000u, dropped = bits == 8 ? 20 : 22;
  if (x != x) return x;
  float m = fminf(fabsf(x), bits == 8 ? 448.f : 6.f);
  u32 b = __float_as_uint(m);
  // Below the normal numbers steps are 2^-9, or 2^-1: a float's last place where it is 2^23 of them.
  float normal = bits == 8 ? 0.015625f : 1.f, anchor = bits == 8 ? 16384.f : 4194304.f;
  m = m < normal ? (m + anchor) - anchor : __uint_as_float((b + (1u << (dropped - 1)) - 1 + (b >> dropped & 1)) & ~((1u << dropped) - 1));
  return __uint_as_float(__float_as_uint(m) | sign);
}

// The code of a number that has one.
static __device__ __forceinline__ u32 small_code(float x, int bits) {
  float m = fabsf(x);
  u32 sign = __float_as_uint(x) >> (32 - bits) & (1u << (bits - 1));
  if (m != m) return sign | (bits == 8 ? 0x7f : 0);
  if (bits == 8) return sign | (m < 0.015625f ? (u32)(m * 512.f) : (__float_as_uint(m) - (120u << 23)) >> 20);
  return sign | (m < 1.f ? (u32)(m * 2.f) : (__float_as_uint(m) - (126u << 23)) >> 22);
}

// ---------------------------------------------------------------- scales
// Beyond the element types: a byte e of 2^(e - 127), and E4M3 over one number that divides.
enum ScaleType { POWER = 3, NESTED = 4 };

static __device__ __forceinline__ float power_of_two(u32 e) {
  return __uint_as_float(e == 0 ? 0x00400000u : e == 255 ? 0x7fc00000u : e << 23);
}

struct Scales {
  const void* p;
  int type;
  const float* global;  // of nested ones

  __device__ __forceinline__ float value(i64 i) const {
    if (type == POWER) return power_of_two(((const u8*)p)[i]);
    if (type == NESTED) return small_to_f32(((const u8*)p)[i], 8) / global[0];
    return load(p, i, type);
  }

  // Not inlined: a product asks in many places, and seldom.
  __device__ __attribute__((noinline)) float at(i64 i) const { return value(i); }
};

// The scale of a tile, as it is stored, by its largest magnitude: see Encoding.Grid.scale. `kind` is POWER, NESTED or
// neither; `type` what the quotient is rounded to.
static __device__ __forceinline__ float stored_scale(float largest, float reach, int kind, int type, float global) {
  if (kind == POWER) {
    u32 e = (__float_as_uint(largest) + (1u << 21)) >> 23, less = reach == 6.f ? 2 : 8;
    return power_of_two(e >= 255 ? 255 : e > less ? e - less : 0);
  }
  float exact = rounded(largest / reach, type);
  if (kind == NESTED) {
    float s = nearest_small(global * exact, 8);
    return s == 0.f ? 0.125f : s;
  }
  return exact == 0.f ? rounded(1.f / reach, type) : exact;
}
