// SPDX-License-Identifier: Apache-2.0
//
// Products of floats on tensor cores that multiply halves. A float is one half and what that half leaves over as a
// second (as Ozaki et al., 2012, Numerical Algorithms 59, split matrices), so that a product of floats is three of
// halves: hi hi + hi lo + lo hi; lo lo is below a float's last bit. Halves have little range, so each row is first made
// to have its largest magnitude near 2^14, by a power of two that the result takes back.
//
// Of a product's 16 x 8, a thread has rows g = lane / 4 and g + 8, columns 2 (lane % 4) and the next.
#pragma once
#include "attention.cuh"

// Values are split at this exponent of a row's largest magnitude: far from both ends of a half's range.
constexpr int TOP = 14;

__device__ __forceinline__ float power_of_two(int e) { return __int_as_float((e + 127) << 23); }

constexpr int LOWEST_EXPONENT = -110;

// The exponent of a finite number's leading bit, but within what has a power of two on both sides.
__device__ __forceinline__ int exponent(float most) {
  return min(max((__float_as_int(most) >> 23 & 255) - 127, LOWEST_EXPONENT), 126);
}

// Two floats as halves, and what these leave over as halves.
struct Halves {
  u32 hi, lo;
};

__device__ __forceinline__ u32 pack_halves(float a, float b) {
#ifdef LLMC_STANDIN
  return f32_to_f16(a) | (u32)f32_to_f16(b) << 16;
#else
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
  return r;
#endif
}

__device__ __forceinline__ Halves split(float a, float b) {
  u32 hi = pack_halves(a, b);
  return {hi, pack_halves(a - f16_to_f32((u16)hi), b - f16_to_f32((u16)(hi >> 16)))};
}

// A row of n floats as `wide` halves of hi and of lo, zeros past its end, by one warp. Gives the exponent that
// became TOP, `least` or more.
__device__ __forceinline__ int split_row(u16* hi, u16* lo, const float* x, int n, int wide, int least) {
  float most = 0.f;
  for (int c = threadIdx.x & 31; c < n; c += 32) most = Max()(most, fabsf(x[c]));
  most = warp_reduce(most, Max());
  int e = max(exponent(most), least);
  float up = power_of_two(TOP - e);
  for (int c = 2 * (threadIdx.x & 31); c < wide; c += 64) {
    Halves h = split(c < n ? x[c] * up : 0.f, c + 1 < n ? x[c + 1] * up : 0.f);
    *(u32*)(hi + c) = h.hi;
    *(u32*)(lo + c) = h.lo;
  }
  return e;
}

constexpr int WARPS = 4;

// Both halves of KEYS rows of an operand, and their factors, in shared memory. Lines are longer than rows by 16
// bytes, so that the eight rows that ldmatrix reads at a time lie in different banks.
template <int WIDE, int KEYS>
struct HalfTile {
  static constexpr int LINE = WIDE + 8;
  u16 x[2][KEYS][LINE];
  float factor[KEYS];

  // From the tile's first row in a plane of hi with so many rows, which that of lo follows.
  __device__ __forceinline__ void fetch(const u16* halves, const float* factors, i64 rows) {
    // A tile's rows follow each other: pieces of 16 bytes are counted through, so that addresses differ by constants.
    constexpr int PIECES = WIDE / 8, THREADS = 32 * WARPS;
    int thread = threadIdx.x;
#pragma unroll
    for (int plane = 0; plane < 2; plane++) {
      const u16* from = halves + plane * rows * WIDE + thread * 8;
#pragma unroll
      for (int i = 0; i < KEYS * PIECES / THREADS; i++) {
        int e = i * THREADS + thread;
        bool even = THREADS % PIECES == 0;
        int r = even ? thread / PIECES + i * (THREADS / PIECES) : e / PIECES;
        int c = (even ? thread : e) % PIECES * 8;
        cp_async16(&x[plane][r][c], from + i * THREADS * 8);
      }
    }
    if (threadIdx.x < KEYS / 4) cp_async16(&factor[threadIdx.x * 4], factors + threadIdx.x * 4);
  }
};

// Four times eight columns of the right side of a product with depth 16. Plain: the tile has columns as rows, 32 of
// them; TURNED: it has them as columns.
template <bool TURNED, int WIDE, int KEYS>
__device__ __forceinline__ void right_side(u32 (&b)[4][2], const HalfTile<WIDE, KEYS>& tile, int plane, int key,
                                           int col) {
  int lane = threadIdx.x & 31, j = lane >> 3, r = lane & 7;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    u32 four[4];
    if (TURNED) ldmatrix_x4_trans(four, &tile.x[plane][key + (j & 1) * 8 + r][col + 16 * h + (j >> 1) * 8]);
    else ldmatrix_x4(four, &tile.x[plane][key + 16 * h + (j >> 1) * 8 + r][col + (j & 1) * 8]);
    b[2 * h][0] = four[0];
    b[2 * h][1] = four[1];
    b[2 * h + 1][0] = four[2];
    b[2 * h + 1][1] = four[3];
  }
}

// d[j] += a b[j]
__device__ __forceinline__ void multiply_side(float (&d)[4][4], const u32 (&a)[4], const u32 (&b)[4][2]) {
#pragma unroll
  for (int j = 0; j < 4; j++) mma_f16_16816(d[j], a, b[j]);
}

// d[j] += a b[j], b of 32 columns from the tile. All products of one kind before the next: one need not wait for the
// last one's sum. SMALL_FIRST: those with a lo, which is a little more exact; the other order takes fewer registers.
template <bool TURNED, bool SMALL_FIRST, int WIDE, int KEYS>
__device__ __forceinline__ void multiply_halves(float (&d)[4][4], const u32 (&a_hi)[4], const u32 (&a_lo)[4],
                                                const HalfTile<WIDE, KEYS>& tile, int key, int col) {
  u32 b[4][2];
  if (SMALL_FIRST) {
    right_side<TURNED>(b, tile, 1, key, col);
    multiply_side(d, a_hi, b);
  }
  right_side<TURNED>(b, tile, 0, key, col);
  multiply_side(d, a_lo, b);
  multiply_side(d, a_hi, b);
  if (!SMALL_FIRST) {
    right_side<TURNED>(b, tile, 1, key, col);
    multiply_side(d, a_hi, b);
  }
}

// Sixteen rows of a product's left side, from the tile.
template <int WIDE, int KEYS>
__device__ __forceinline__ void left_side(u32 (&a)[4], const HalfTile<WIDE, KEYS>& tile, int plane, int row, int col) {
  int lane = threadIdx.x & 31, j = lane >> 3, r = lane & 7;
  ldmatrix_x4(a, &tile.x[plane][row + (j & 1) * 8 + r][col + (j >> 1) * 8]);
}
