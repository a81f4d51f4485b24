// SPDX-License-Identifier: Apache-2.0
//
// The subset of CUDA C++ that the kernels use, on a CPU: one fibre for each CUDA thread, blocks one after the other on
// each OS thread. driver.cpp schedules the fibres.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __constant__ static
// Dynamic shared memory: the launch says how much.
#define DYNAMIC_SHARED(T, name) T* name = (T*)emu_b.dynamic

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct dim3 { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) int4 { int x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
static inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }

struct EmuThread { dim3 tid; unsigned lane, warp; };
struct EmuBlock { dim3 idx, dim, grid; char* dynamic; };
// Runs once for a warp, when all lanes of the mask have come: arguments by lane, null for lanes that are not there.
typedef void (*EmuCollective)(void* const* arguments, u32 lanes);
#pragma GCC visibility push(default)
extern "C" {
extern thread_local EmuThread* emu_t;
extern thread_local EmuBlock emu_b;
void emu_sync_block();
void emu_collective(EmuCollective f, u32 mask, void* argument);
void emu_copy_async(void* to, const void* from, unsigned bytes);  // takes effect only at the matching wait
void emu_copy_commit();
void emu_copy_wait(unsigned pending);
void emu_fault(const char* what);                                 // ends the launch with an error
void emu_register(const char* name, void (*invoke)(void**), int n, const unsigned* sizes);
}
#pragma GCC visibility pop
#define threadIdx (emu_t->tid)
#define blockIdx (emu_b.idx)
#define blockDim (emu_b.dim)
#define gridDim (emu_b.grid)

static inline void __syncthreads() { emu_sync_block(); }
static inline void emu_nothing(void* const*, u32) {}
static inline void __syncwarp(u32 mask = ~0u) { emu_collective(emu_nothing, mask, nullptr); }

template <class T> struct EmuShuffle { T value; unsigned source; T result; };
template <class T> static void emu_shuffle(void* const* a, u32 lanes) {
  for (int i = 0; i < 32; i++) if (lanes >> i & 1) {
    auto* me = (EmuShuffle<T>*)a[i];
    me->result = lanes >> me->source & 1 ? ((EmuShuffle<T>*)a[me->source])->value : me->value;
  }
}
template <class T> static inline T emu_from(u32 mask, T v, unsigned source) {
  EmuShuffle<T> s{v, source & 31, v};
  emu_collective(emu_shuffle<T>, mask, &s);
  return s.result;
}
template <class T> static inline T __shfl_sync(u32 m, T v, int s, int w = 32) { unsigned l = emu_t->lane; return emu_from(m, v, (l & ~(w - 1)) | (s & (w - 1))); }
template <class T> static inline T __shfl_xor_sync(u32 m, T v, int x, int w = 32) { unsigned l = emu_t->lane, s = l ^ x; return emu_from(m, v, s / w > l / w ? l : s); }
template <class T> static inline T __shfl_down_sync(u32 m, T v, unsigned d, int w = 32) { unsigned l = emu_t->lane; return emu_from(m, v, l % w + d >= (unsigned)w ? l : l + d); }
template <class T> static inline T __shfl_up_sync(u32 m, T v, unsigned d, int w = 32) { unsigned l = emu_t->lane; return emu_from(m, v, l % w < d ? l : l - d); }
struct EmuBallot { int predicate; u32 result; };
static void emu_ballot(void* const* a, u32 lanes) {
  u32 r = 0;
  for (int i = 0; i < 32; i++) if (lanes >> i & 1) r |= (u32)(((EmuBallot*)a[i])->predicate != 0) << i;
  for (int i = 0; i < 32; i++) if (lanes >> i & 1) ((EmuBallot*)a[i])->result = r;
}
static inline u32 __ballot_sync(u32 m, int p) { EmuBallot b{p, 0}; emu_collective(emu_ballot, m, &b); return b.result; }
static inline int __any_sync(u32 m, int p) { return __ballot_sync(m, p) != 0; }
static inline int __popc(u32 x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((u32)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __dp4a(int a, int b, int c) { for (int i = 0; i < 32; i += 8) c += (signed char)(a >> i) * (signed char)(b >> i); return c; }
static inline u32 __brev(u32 x) { u32 r = 0; for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i); return r; }
static inline u32 atomicOr(u32* p, u32 v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }

template <class T> static inline T emu_bits(const void* x) { T r; memcpy(&r, x, sizeof r); return r; }
static inline float __uint_as_float(u32 x) { return emu_bits<float>(&x); }
static inline float __int_as_float(int x) { return emu_bits<float>(&x); }
static inline u32 __float_as_uint(float x) { return emu_bits<u32>(&x); }
static inline int __float_as_int(float x) { return emu_bits<int>(&x); }
static inline double __longlong_as_double(i64 x) { return emu_bits<double>(&x); }
static inline i64 __double_as_longlong(double x) { return emu_bits<i64>(&x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float rsqrtf(float a) { return 1.f / sqrtf(a); }
template <class A, class B> static inline std::common_type_t<A, B> min(A a, B b) { using T = std::common_type_t<A, B>; return (T)a < (T)b ? (T)a : (T)b; }
template <class A, class B> static inline std::common_type_t<A, B> max(A a, B b) { using T = std::common_type_t<A, B>; return (T)a > (T)b ? (T)a : (T)b; }
template <class T, class U> static inline T atomicAdd(T* p, U v) { static_assert(std::is_integral_v<T>); return __atomic_fetch_add(p, (T)v, __ATOMIC_RELAXED); }
static inline u32 atomicMax(u32* p, u32 v) {
  u32 old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (old < v && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}

// ---------------------------------------------------------------- what llmc.cuh has as PTX
static inline float f16_to_f32(u16 x) { return (float)emu_bits<_Float16>(&x); }
static inline u16 f32_to_f16(float x) { _Float16 h = (_Float16)x; return emu_bits<u16>(&h); }
static inline void cp_async16(void* shared, const void* global) { emu_copy_async(shared, global, 16); }
static inline void cp_async_commit() { emu_copy_commit(); }
template <int N> static inline void cp_async_wait() { emu_copy_wait(N); }

// Lane 8j + r gives the address of row r of matrix j; register j of lane l gets row l/4, halves 2(l%4) and 2(l%4)+1.
struct EmuLoad { const void* row; u32* out; };
template <int X, bool TRANSPOSED> static void emu_ldmatrix(void* const* a, u32) {
  for (int l = 0; l < 32; l++) for (int j = 0; j < X; j++) {
    auto half = [&](int row, int column) { return ((const u16*)((EmuLoad*)a[8 * j + row])->row)[column]; };
    int r = l / 4, c = 2 * (l % 4);
    ((EmuLoad*)a[l])->out[j] = TRANSPOSED ? half(c, r) | (u32)half(c + 1, r) << 16 : half(r, c) | (u32)half(r, c + 1) << 16;
  }
}
template <int X, bool TRANSPOSED> static inline void emu_load(u32 (&r)[X], const void* p) {
  if ((uintptr_t)p & 15) emu_fault("ldmatrix: a row's address is not a multiple of 16");
  EmuLoad load{p, r};
  emu_collective(emu_ldmatrix<X, TRANSPOSED>, ~0u, &load);
}
static inline void ldmatrix_x4(u32 (&r)[4], const void* p) { emu_load<4, false>(r, p); }
static inline void ldmatrix_x2(u32 (&r)[2], const void* p) { emu_load<2, false>(r, p); }
static inline void ldmatrix_x4_trans(u32 (&r)[4], const void* p) { emu_load<4, true>(r, p); }
static inline void ldmatrix_x2_trans(u32 (&r)[2], const void* p) { emu_load<2, true>(r, p); }

struct EmuMma { float* d; const u32* a; const u32* b; };
template <bool BF16> static void emu_mma(void* const* x, u32) {
  float a[16][16], b[16][8], d[16][8];
  auto value = [](u32 pair, int which) { u16 h = (u16)(pair >> 16 * which); return BF16 ? __uint_as_float((u32)h << 16) : f16_to_f32(h); };
  for (int l = 0; l < 32; l++) {
    auto* m = (EmuMma*)x[l];
    int g = l / 4, t = l % 4;
    for (int r = 0; r < 4; r++) for (int h = 0; h < 2; h++) a[g + 8 * (r & 1)][2 * t + h + 8 * (r >> 1)] = value(m->a[r], h);
    for (int r = 0; r < 2; r++) for (int h = 0; h < 2; h++) b[2 * t + h + 8 * r][g] = value(m->b[r], h);
    for (int r = 0; r < 4; r++) d[g + 8 * (r >> 1)][2 * t + (r & 1)] = m->d[r];
  }
  for (int i = 0; i < 16; i++) for (int k = 0; k < 16; k++) for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
  for (int l = 0; l < 32; l++) for (int r = 0; r < 4; r++) ((EmuMma*)x[l])->d[r] = d[l / 4 + 8 * (r >> 1)][2 * (l % 4) + (r & 1)];
}
static inline void mma_bf16_16816(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { EmuMma m{d, a, b}; emu_collective(emu_mma<true>, ~0u, &m); }
static inline void mma_f16_16816(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { EmuMma m{d, a, b}; emu_collective(emu_mma<false>, ~0u, &m); }

// ---------------------------------------------------------------- registration
// The sizes of the parameters come from the C++ signature itself.
template <auto F> struct EmuKernel;
template <class... A, void (*F)(A...)> struct EmuKernel<F> {
  template <size_t... I> static void call(void** p, std::index_sequence<I...>) { F(*(A*)p[I]...); }
  static void invoke(void** p) { call(p, std::index_sequence_for<A...>{}); }
  static void add(const char* name) { const unsigned s[] = {(unsigned)sizeof(A)..., 0}; emu_register(name, invoke, sizeof...(A), s); }
};
#define EMU_KERNEL(f) static const int emu_registered_##f = (EmuKernel<&f>::add(#f), 0);
