// SPDX-License-Identifier: Apache-2.0
//
// What kernels over rows share. A thread has four neighbouring elements at a time, in one access where their address
// allows it; which thread has which elements never depends on the address, so neither does a sum.
#pragma once
#include "llmc.cuh"

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// Elements [at, at + 4), the first `count` of which are there; `rest` for the others.
__device__ __forceinline__ void load_four(float (&x)[4], const void* p, i64 at, int type, i64 count, float rest) {
  if (type == F32) {
    const float* from = (const float*)p + at;
    if (count >= 4 && ((u64)from & 15) == 0) {
      float4 v = *(const float4*)from;
      x[0] = v.x; x[1] = v.y; x[2] = v.z; x[3] = v.w;
      return;
    }
  } else {
    const u16* from = (const u16*)p + at;
    if (count >= 4 && ((u64)from & 7) == 0) {
      uint2 v = *(const uint2*)from;
      u32 halves[4] = {v.x & 0xffff, v.x >> 16, v.y & 0xffff, v.y >> 16};
      for (int j = 0; j < 4; j++) x[j] = type == F16 ? f16_to_f32((u16)halves[j]) : bf16_to_f32((u16)halves[j]);
      return;
    }
  }
  for (int j = 0; j < 4; j++) x[j] = j < count ? load(p, at + j, type) : rest;
}

__device__ __forceinline__ void load_four(float (&x)[4], const float* p, i64 at, i64 count, float rest = 0.f) {
  load_four(x, p, at, F32, count, rest);
}

__device__ __forceinline__ void store_four(float* p, i64 at, i64 count, const float (&x)[4]) {
  float* to = p + at;
  if (count >= 4 && ((u64)to & 15) == 0) {
    *(float4*)to = make_float4(x[0], x[1], x[2], x[3]);
    return;
  }
  for (int j = 0; j < 4; j++) if (j < count) to[j] = x[j];
}

// Of a parameter that may be absent.
__device__ __forceinline__ void load_parameters(float (&w)[4], const void* p, i64 at, int type, i64 count, float absent) {
  if (p) load_four(w, p, at, type, count, 0.f);
  else w[0] = w[1] = w[2] = w[3] = absent;
}

// The first of this thread's four columns where a row has several blocks: grid.y counts them.
__device__ __forceinline__ i64 first_column() { return 4 * ((i64)blockIdx.y * blockDim.x + threadIdx.x); }

// Bits that order floats as numbers; both zeros are one.
__device__ __forceinline__ u32 ordered(float x) {
  u32 bits = __float_as_uint(x + 0.f);
  return bits ^ ((u32)((int)bits >> 31) | 0x80000000u);
}

__device__ __forceinline__ float exponential(float x, float minus) { return expf(x - minus); }
__device__ __forceinline__ double exponential(double x, float minus) { return exp(x - minus); }

// log sum exp(x) in one pass: the sum is scaled anew whenever a larger x comes (Milakov and Gimelshein, 2018, arXiv
// 1805.02867). Sums are in F64; exponentials in E, since F64 ones cost 64 times as much on most devices.
template <class E>
struct LogSum {
  float most = -3.402823466e38f;  // finite, so that an x of minus infinity adds nothing
  double sum = 0;
  double cross = 0;  // of exp(x) (x - y)

  __device__ __forceinline__ void add(const float (&x)[4]) {
    E e[4];
    exponentials(e, x);
    sum += (e[0] + e[1]) + (e[2] + e[3]);
  }

  __device__ __forceinline__ void add(const float (&x)[4], const float (&y)[4]) {
    E e[4];
    exponentials(e, x);
    sum += (e[0] + e[1]) + (e[2] + e[3]);
    E c[4];
    // What has no probability does not count, however far apart.
    for (int j = 0; j < 4; j++) c[j] = e[j] == 0 ? 0 : e[j] * ((E)x[j] - (E)y[j]);
    cross += (c[0] + c[1]) + (c[2] + c[3]);
  }

  __device__ __forceinline__ void exponentials(E (&e)[4], const float (&x)[4]) {
    float m = most;
    for (int j = 0; j < 4; j++) m = x[j] > m ? x[j] : m;
    if (m > most) {
      double down = exp((double)most - m);
      sum *= down;
      cross *= down;
      most = m;
    }
    for (int j = 0; j < 4; j++) e[j] = exponential((E)x[j], m);
  }

  // All threads of the block get its logarithm; every thread must come.
  __device__ __forceinline__ double log_of_block() {
    float m = block_max(most);
    double down = exp((double)most - m);
    sum = block_sum(sum * down);
    cross *= down;
    return m + log(sum);
  }

  // After log_of_block: the mean of x - y.
  __device__ __forceinline__ double mean_of_block() { return block_sum(cross) / sum; }
};
