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

// The same for m up to M, one to eight: what waits for the codes to cross memory. A block makes four columns, whose rows of
// codes its threads read four words at a time.
constexpr int SLIM_THREADS = 128, COLUMNS = 4, WORDS = 4;

static __device__ __forceinline__ void load_words(u32 (&to)[WORDS], const u32* p, int count, bool whole) {
  if (whole) {
    uint4 v = *(const uint4*)p;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  } else {
#pragma unroll
    for (int i = 0; i < WORDS; i++) to[i] = i < count ? p[i] : 0;
  }
}

template <int M>
__device__ __forceinline__ void slim_product(float* out, const u32* q, const float* steps, const int* zeros, int shifted,
                                             const u32* codes, const void* scales, int type, int m, int n, int k) {
  int col0 = blockIdx.x * COLUMNS, words = (k + 3) / 4;
  bool whole = (((u64)q | (u64)codes | 4ull * words) & 15) == 0;
  u32 ones = 0x01010101u, last = k % 4 ? ones >> 8 * (4 - k % 4) : ones;
  int sums[M * COLUMNS] = {}, totals[COLUMNS] = {};
#pragma unroll 1
  for (int w = WORDS * threadIdx.x; w < words; w += WORDS * SLIM_THREADS) {
    u32 b[COLUMNS][WORDS];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) load_words(b[j], codes + (i64)min(col0 + j, n - 1) * words + w, words - w, whole);
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int i = 0; i < WORDS; i++) {
        b[j][i] ^= 0x80808080u;
        // Beyond the codes q has zeros, and so must what counts them.
        u32 each = w + i < words - 1 ? ones : w + i == words - 1 ? last : 0;
        if (shifted) totals[j] = __dp4a((int)each, (int)b[j][i], totals[j]);
      }
#pragma unroll
    for (int r = 0; r < M; r++) {
      u32 a[WORDS];
      load_words(a, q + (i64)min(r, m - 1) * words + w, words - w, whole);
#pragma unroll
      for (int j = 0; j < COLUMNS; j++)
#pragma unroll
        for (int i = 0; i < WORDS; i++) sums[r * COLUMNS + j] = __dp4a((int)a[i], (int)b[j][i], sums[r * COLUMNS + j]);
    }
  }
  if (shifted)
#pragma unroll
    for (int i = 0; i < M * COLUMNS; i++) sums[i] -= zeros[min(i / COLUMNS, m - 1)] * totals[i % COLUMNS];
  int all = block_sums<SLIM_THREADS>(sums), r = threadIdx.x / COLUMNS, col = col0 + threadIdx.x % COLUMNS;
  if (r < min(M, m) && col < n) out[(i64)r * n + col] = (float)all * load(scales, col, type) * steps[r];
}

#define SLIM(M)                                                                                                      \
  extern "C" __global__ void __launch_bounds__(SLIM_THREADS)                                                          \
      integer_slim##M(float* out, const u32* q, const float* steps, const int* zeros, int shifted, const u32* codes,  \
                      const void* scales, int type, int m, int n, int k) {                                            \
    slim_product<M>(out, q, steps, zeros, shifted, codes, scales, type, m, n, k);                                     \
  }
SLIM(1)
SLIM(2)
SLIM(4)
SLIM(8)
