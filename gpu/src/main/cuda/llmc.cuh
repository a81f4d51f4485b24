// SPDX-License-Identifier: Apache-2.0
//
// What all kernels share: element types, reductions in a fixed tree, tensor-core instructions.
//
// Kernels are compiled without contraction of a * b + c (-fmad=false): where a fused multiply-add is wanted, it is
// written as fmaf, so that a sum means the same here and on a CPU.
#pragma once
#ifdef LLMC_STANDIN
#include "emulator.hpp"
#else
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;
#define DYNAMIC_SHARED(T, name)                 \
  extern __shared__ __align__(128) char name##_[]; \
  T* name = reinterpret_cast<T*>(name##_)
__device__ __forceinline__ float f16_to_f32(u16 x) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x));
  return f;
}
__device__ __forceinline__ u16 f32_to_f16(float x) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// What reads or writes memory behind the compiler's back says so: no access may move across it.
__device__ __forceinline__ void cp_async16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
// Lane 8j + r gives the address of row r of the 8 x 8 matrix j; register j of lane l gets row l/4, halves 2(l%4) and
// 2(l%4) + 1.
__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(u32 (&r)[2], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(p)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(u32 (&r)[2], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(p)) : "memory");
}
// d[16 x 8] += a[16 x 16] b[16 x 8] of one warp, sums in F32.
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_f16_16816(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// ---------------------------------------------------------------- element types
// As io.llmc.gpu.Types numbers them.
enum Type { F32 = 0, F16 = 1, BF16 = 2 };

__device__ __forceinline__ float bf16_to_f32(u16 x) { return __uint_as_float((u32)x << 16); }

// To the nearest, half to even; NaN stays NaN.
__device__ __forceinline__ u16 f32_to_bf16(float x) {
  u32 u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (u16)(u >> 16 | 0x40);
  return (u16)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

__device__ __forceinline__ float load(const void* p, i64 i, int type) {
  if (type == F32) return ((const float*)p)[i];
  u16 h = ((const u16*)p)[i];
  return type == F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

__device__ __forceinline__ void store(void* p, i64 i, int type, float value) {
  if (type == F32) ((float*)p)[i] = value;
  else ((u16*)p)[i] = type == F16 ? f32_to_f16(value) : f32_to_bf16(value);
}

// The value as an element of that type has it.
__device__ __forceinline__ float rounded(float value, int type) {
  if (type == F32) return value;
  return type == F16 ? f16_to_f32(f32_to_f16(value)) : bf16_to_f32(f32_to_bf16(value));
}

// ---------------------------------------------------------------- reductions
// Every tree is fixed by the number of threads of the block: the same bits in every run.
struct Sum {
  template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct Max {
  template <class T> __device__ T operator()(T a, T b) const { return a > b || a != a ? a : b; }
};
struct Min {
  template <class T> __device__ T operator()(T a, T b) const { return a < b || a != a ? a : b; }
};

// All lanes get the result.
template <class T, class F>
__device__ __forceinline__ T warp_reduce(T v, F f) {
  for (int o = 16; o > 0; o >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

// All threads of a block of whole warps get the result; every thread must come. `none` changes nothing it meets.
template <class T, class F>
__device__ __forceinline__ T block_reduce(T v, F f, T none) {
  __shared__ T parts[32];
  v = warp_reduce(v, f);
  int warps = blockDim.x >> 5;
  if (warps == 1) return v;
  __syncthreads();  // an earlier reduction's parts have been read
  if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = v;
  __syncthreads();
  int lane = threadIdx.x & 31;
  v = lane < warps ? parts[lane] : none;
  return warp_reduce(v, f);
}
template <class T>
__device__ __forceinline__ T block_sum(T v) { return block_reduce(v, Sum(), (T)0); }
__device__ __forceinline__ float block_max(float v) { return block_reduce(v, Max(), -__uint_as_float(0x7f800000u)); }

// Many sums over a block of THREADS, of each thread's own numbers: thread i < N gets that of the i-th. Every thread must come,
// once in a kernel.
template <int THREADS, int N, class T>
__device__ __forceinline__ T block_sums(const T (&v)[N]) {
  __shared__ T parts[THREADS / 32][N];
#pragma unroll
  for (int i = 0; i < N; i++) {
    T all = warp_reduce(v[i], Sum());
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5][i] = all;
  }
  __syncthreads();
  T all = 0;
  if (threadIdx.x < N)
    for (int w = 0; w < THREADS / 32; w++) all += parts[w][threadIdx.x];
  return all;
}

// ---------------------------------------------------------------- index of a thread
__device__ __forceinline__ i64 first_element() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 all_threads() { return (i64)gridDim.x * blockDim.x; }
