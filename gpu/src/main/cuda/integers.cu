// SPDX-License-Identifier: Apache-2.0
//
// Products of 8-bit integers. Their sums are exact, so neither tiles nor their order show in a bit.
#include "llmc.cuh"

constexpr int TILE = 64;    // rows and columns of a block's part of the result
constexpr int DEPTH = 16;   // words of four codes in shared memory at a time
constexpr int THREADS = 256;
constexpr int EACH = 4;     // rows and columns of a thread, 16 apart

// Words of 64 rows, [word][row] so that neighbours read neighbours; zeros beyond the matrix.
static __device__ __forceinline__ void stage(u32 (&to)[DEPTH][TILE + 1], const u32* rows, i64 first, i64 count, int from, int words,
                                             u32 sign) {
  for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
    int r = i / DEPTH, w = i % DEPTH;
    bool inside = first + r < count && from + w < words;
    to[w][r] = inside ? rows[(first + r) * words + from + w] ^ sign : 0;
  }
}

// out[m,n] = sum_i (q[m,i] - zero[m]) * c[n,i] * scale[n] * step[m]; q has zeros up to a whole word, c counts from -128.
extern "C" __global__ void __launch_bounds__(THREADS)
    integer_product(float* out, const u32* q, const float* steps, const int* zeros, int shifted, const u32* codes, const void* scales,
                    int type, int m, int n, int k) {
  __shared__ u32 as[DEPTH][TILE + 1], bs[DEPTH][TILE + 1];
  i64 m0 = (i64)blockIdx.x * TILE, n0 = (i64)blockIdx.y * TILE;
  int row = threadIdx.x / 16, col = threadIdx.x % 16, words = (k + 3) / 4;
  // Of the last word, the bytes that are codes.
  u32 ones = 0x01010101u, last = k % 4 ? ones >> 8 * (4 - k % 4) : ones;
  int sums[EACH][EACH] = {}, totals[EACH] = {};
  for (int from = 0; from < words; from += DEPTH) {
    __syncthreads();  // what was there has been read
    stage(as, q, m0, m, from, words, 0);
    stage(bs, codes, n0, n, from, words, 0x80808080u);
    __syncthreads();
#pragma unroll
    for (int w = 0; w < DEPTH; w++) {
      int a[EACH], b[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) a[i] = (int)as[w][row + 16 * i], b[i] = (int)bs[w][col + 16 * i];
#pragma unroll
      for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) sums[i][j] = __dp4a(a[i], b[j], sums[i][j]);
      if (shifted) {
        int each = (int)(from + w == words - 1 ? last : ones);
#pragma unroll
        for (int j = 0; j < EACH; j++) totals[j] = __dp4a(each, b[j], totals[j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    i64 r = m0 + row + 16 * i;
    if (r >= m) continue;
    float step = steps[r];
    int zero = shifted ? zeros[r] : 0;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      i64 c = n0 + col + 16 * j;
      if (c < n) out[r * n + c] = (float)(sums[i][j] - zero * totals[j]) * load(scales, c, type) * step;
    }
  }
}
