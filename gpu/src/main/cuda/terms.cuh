// SPDX-License-Identifier: Apache-2.0
//
// Products of F32 activations with a weight on tensor cores, as accurate as in F32.
//
// A float is a sum of three bf16 terms, each the rounding of what the ones before leave: 3 x 8 bits hold its 24 (Henry,
// Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations, 2019). A
// BF16 weight is one term, F16 two, F32 three, and a packed weight as many as the type of its scales. A product of terms
// i and j is about 2^-8(i + j) of the whole, so those of i + j < 3 are enough: 3 products for BF16, 5 for F16, 6 for F32.
//
// Why also a dense F32 weight goes this way and not through F32 units: it is faster on an A100 (312 TF bf16 / 6 against
// 19.5) and an H100 (990 against 67), if not on an RTX 4090 (165 against 82), where F32 weights are rare. And a packed
// weight must give the bits of its dequantized values. It does: the missing terms of a BF16 or F16 value are zeros, which
// change no sum, and the order of all other products is the same in every kernel here:
//   - k in steps of 16, in each of them the products of terms, the smallest first;
//   - after CHUNK of k the sum is added to a total in F32. Tensor cores cut off what does not fit into a sum instead of
//     rounding it; over thousands of k these errors would all point the same way.
// Tiles only say which thread does it: a row has the same bits whatever the number of rows.
//
// Where a first term is not finite the others are 0, so infinity times a BF16 weight is infinity; times a weight with
// more terms, of which some are 0, it is NaN.
#pragma once
#include "llmc.cuh"

// Two floats as bf16, to the nearest; the first in the lower half.
__device__ __forceinline__ u32 bf16_pair(float first, float second) {
#ifdef LLMC_STANDIN
  return f32_to_bf16(first) | (u32)f32_to_bf16(second) << 16;
#else
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
#endif
}

// What a term leaves of a float.
__device__ __forceinline__ float rest(float x, u32 term) {
  float r = x - __uint_as_float(term);
  return fabsf(r) <= 3.402823466e38f ? r : 0.f;
}

// The first `wanted` terms of eight floats; eight bf16 are 16 bytes.
template <int TERMS>
__device__ __forceinline__ void split(const float (&v)[8], uint4 (&terms)[TERMS], int wanted) {
  u32 t[TERMS][4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float a = v[2 * i], b = v[2 * i + 1];
#pragma unroll
    for (int j = 0; j < TERMS; j++) {
      t[j][i] = bf16_pair(a, b);
      if (j + 1 < TERMS) {
        a = rest(a, t[j][i] << 16);
        b = rest(b, t[j][i] & 0xffff0000u);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < TERMS; j++)
    if (j < wanted) terms[j] = make_uint4(t[j][0], t[j][1], t[j][2], t[j][3]);
}

// ---------------------------------------------------------------- operands
// Each is a matrix of rows, read in runs of eight columns: `fetch` starts the read, `terms` makes bf16 of what has come.
// There are zeros beyond its edges.
__device__ __forceinline__ bool aligned16(const void* p, i64 pitch_bytes) { return (((u64)p | (u64)pitch_bytes) & 15) == 0; }

struct F32Rows {
  static const int TERMS = 3;
  struct Raw {
    float4 a, b;
  };
  const float* p;
  int rows, cols;
  bool whole;

  __device__ F32Rows(const void* p, int rows, int cols)
      : p((const float*)p), rows(rows), cols(cols), whole(aligned16(p, 4ll * cols)) {}

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    const float* q = p + (i64)row * cols + col;
    if (whole && row < rows && col + 8 <= cols) {
      r.a = *(const float4*)q;
      r.b = *(const float4*)(q + 4);
    } else {
      int n = row < rows ? cols - col : 0;
      r.a = make_float4(n > 0 ? q[0] : 0.f, n > 1 ? q[1] : 0.f, n > 2 ? q[2] : 0.f, n > 3 ? q[3] : 0.f);
      r.b = make_float4(n > 4 ? q[4] : 0.f, n > 5 ? q[5] : 0.f, n > 6 ? q[6] : 0.f, n > 7 ? q[7] : 0.f);
    }
  }

  __device__ __forceinline__ void terms(const Raw& r, int, int, uint4 (&t)[TERMS], int wanted) const {
    const float v[8] = {r.a.x, r.a.y, r.a.z, r.a.w, r.b.x, r.b.y, r.b.z, r.b.w};
    split<TERMS>(v, t, wanted);
  }
};

// F16 or BF16 values.
template <int TYPE>
struct HalfRows {
  static const int TERMS = TYPE == F16 ? 2 : 1;
  struct Raw {
    uint4 v;
  };
  const u16* p;
  int rows, cols;
  bool whole;

  __device__ HalfRows(const void* p, int rows, int cols)
      : p((const u16*)p), rows(rows), cols(cols), whole(aligned16(p, 2ll * cols)) {}

  static __device__ __forceinline__ u32 two(const u16* q, int n) { return (n > 0 ? q[0] : 0u) | (n > 1 ? (u32)q[1] << 16 : 0u); }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    const u16* q = p + (i64)row * cols + col;
    if (whole && row < rows && col + 8 <= cols) {
      r.v = *(const uint4*)q;
    } else {
      int n = row < rows ? cols - col : 0;
      r.v = make_uint4(two(q, n), two(q + 2, n - 2), two(q + 4, n - 4), two(q + 6, n - 6));
    }
  }

  __device__ __forceinline__ void terms(const Raw& r, int, int, uint4 (&t)[TERMS], int wanted) const {
    if constexpr (TYPE == BF16) {
      t[0] = r.v;
    } else {
      const u32 w[4] = {r.v.x, r.v.y, r.v.z, r.v.w};
      float v[8];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        v[2 * i] = f16_to_f32((u16)w[i]);
        v[2 * i + 1] = f16_to_f32((u16)(w[i] >> 16));
      }
      split<TERMS>(v, t, wanted);
    }
  }
};

// Codes of 2, 3, 4 or 8 bits with scales of a TYPE.
template <int TYPE>
struct PackedRows {
  static const int TERMS = TYPE == F32 ? 3 : TYPE == F16 ? 2 : 1;
  struct Raw {
    u32 low, high;  // four codes each
    float scale, zero;
  };
  // A code in the low bits of this float is the code plus the float.
  static constexpr float BASE = 8388608.f;
  const u32* codes;
  const void* scales;
  const u8* zeros;
  const int* index;
  int bits, words, group, groups, rows, cols;
  bool one;  // a run of eight columns is of one group

  __device__ PackedRows(const void* codes, const void* scales, const void* zeros, const void* index, int bits, int words,
                        int group, int groups, int rows, int cols)
      : codes((const u32*)codes), scales(scales), zeros((const u8*)zeros), index((const int*)index), bits(bits),
        words(words), group(group), groups(groups), rows(rows), cols(cols),
        one(!index && (groups == 1 || (group & 7) == 0)) {}

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    r.low = r.high = 0;
    r.scale = 0.f;
    r.zero = BASE;
    if (row >= rows || col >= cols) return;
    // Eight columns are whole bytes, and whole words where there are two of them.
    i64 bit = (i64)col * bits;
    int word = (int)(bit >> 5), shift = (int)(bit & 31);
    const u32* q = codes + (i64)row * words + word;
    u64 w = q[0];
    if (shift + 8 * bits > 32 && word + 1 < words) w |= (u64)q[1] << 32;
    w >>= shift;
    r.low = (u32)w;
    r.high = (u32)(w >> 4 * bits);
    if (one) {
      i64 g = (i64)row * groups + (groups == 1 ? 0 : col / group);
      r.scale = load(scales, g, TYPE);
      r.zero = BASE + zeros[g];
    }
  }

  __device__ __forceinline__ void terms(const Raw& r, int row, int col, uint4 (&t)[TERMS], int wanted) const {
    u32 mask = (1u << bits) - 1;
    float v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      u32 code = (j < 4 ? r.low : r.high) >> bits * (j & 3) & mask;
      float s = r.scale, z = r.zero;
      bool there = row < rows && col + j < cols;
      if (!one && there) {
        i64 g = (i64)row * groups + (index ? index[col + j] : (col + j) / group);
        s = load(scales, g, TYPE);
        z = BASE + zeros[g];
      }
      v[j] = there ? (__uint_as_float(0x4b000000u | code) - z) * s : 0.f;
      if (TYPE == F16) v[j] = rounded(v[j], F16);
    }
    split<TERMS>(v, t, wanted);  // whose first term rounds to BF16
  }
};

// ---------------------------------------------------------------- tiles in shared memory
// Runs of eight bf16, in rows of COLS, permuted so that eight rows of one column of runs lie in different banks.
template <int COLS>
__device__ __forceinline__ int run_at(int row, int run) {
  return row * COLS + 8 * (run ^ (COLS == 32 ? row >> 1 & 3 : row & 7));
}

// A block makes out[M x N], a warp WM x WN of it, in steps of K.
template <int M_, int N_, int K_, int WM_, int WN_>
struct Tiling {
  static const int M = M_, N = N_, K = K_, WM = WM_, WN = WN_, THREADS = 32 * (M / WM) * (N / WN);
};
using Large = Tiling<128, 128, 32, 64, 32>;
// Few rows: many blocks, each with much of the weight under way.
using Small = Tiling<16, 32, 128, 16, 8>;

static const int CHUNK = 128;

// Bytes of shared memory: two stages of both operands' terms.
template <class S, class B>
constexpr int product_shared() { return 2 * 2 * (3 * S::M + B::TERMS * S::N) * S::K; }

// One operand's part of a stage on its way.
template <class O, int ROWS, int COLS, int THREADS>
struct Carrier {
  static const int RUNS = ROWS * COLS / 8 / THREADS;
  typename O::Raw raw[RUNS];

  static __device__ __forceinline__ int row(int i) { return (int)(threadIdx.x + i * THREADS) / (COLS / 8); }
  static __device__ __forceinline__ int run(int i) { return (int)(threadIdx.x + i * THREADS) % (COLS / 8); }

  __device__ __forceinline__ void fetch(const O& o, int row0, int col0) {
#pragma unroll
    for (int i = 0; i < RUNS; i++) o.fetch(raw[i], row0 + row(i), col0 + 8 * run(i));
  }

  __device__ __forceinline__ void put(const O& o, int row0, int col0, u16* shared, int wanted) const {
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
      uint4 t[O::TERMS];
      o.terms(raw[i], row0 + row(i), col0 + 8 * run(i), t, wanted);
      int at = run_at<COLS>(row(i), run(i));
#pragma unroll
      for (int j = 0; j < O::TERMS; j++)
        if (j < wanted) *(uint4*)(shared + j * ROWS * COLS + at) = t[j];
    }
  }
};

// out[m,n] = (out +) a[m,k] b, where b is [n,k], or [k,n] if KN. Of the products of terms those of i + j < wanted.
template <class S, bool KN, class B>
__device__ __forceinline__ void product(float* out, const float* x, const B& b, int m, int n, int k, int wanted, u16* shared) {
  constexpr int T = B::TERMS, MF = S::WM / 16, NF = S::WN / 8;
  constexpr int B_ROWS = KN ? S::K : S::N, B_COLS = KN ? S::N : S::K;
  constexpr int A_TERM = S::M * S::K, B_TERM = S::N * S::K, STAGE = 3 * A_TERM + T * B_TERM;
  static_assert(NF == 1 || NF % 2 == 0, "columns are read in pairs of fragments");
  F32Rows a(x, m, k);
  int row0 = blockIdx.x * S::M, col0 = blockIdx.y * S::N;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int warp_row = warp / (S::N / S::WN) * S::WM, warp_col = warp % (S::N / S::WN) * S::WN;
  int matrix = lane >> 3, r = lane & 7;  // of the address that this lane gives to ldmatrix

  Carrier<F32Rows, S::M, S::K, S::THREADS> as;
  Carrier<B, B_ROWS, B_COLS, S::THREADS> bs;
  float sum[MF][NF][4] = {}, total[MF][NF][4] = {};
  int steps = (k + S::K - 1) / S::K;
  as.fetch(a, row0, 0);
  bs.fetch(b, KN ? 0 : col0, KN ? col0 : 0);
  as.put(a, row0, 0, shared, wanted);
  bs.put(b, KN ? 0 : col0, KN ? col0 : 0, shared + 3 * A_TERM, wanted);
  __syncthreads();
  for (int step = 0; step < steps; step++) {
    const u16* sa = shared + (step & 1) * STAGE;
    const u16* sb = sa + 3 * A_TERM;
    int next = (step + 1) * S::K;
    bool more = step + 1 < steps;
    if (more) {
      as.fetch(a, row0, next);
      bs.fetch(b, KN ? next : col0, KN ? col0 : next);
    }
#pragma unroll
    for (int ks = 0; ks < S::K / 16; ks++) {
      u32 bf[T][NF][2];
#pragma unroll
      for (int t = 0; t < T; t++) {
        if (t >= wanted) break;
        if constexpr (NF == 1) {
          ldmatrix_x2(bf[t][0], sb + t * B_TERM + run_at<B_COLS>(warp_col + r, 2 * ks + (matrix & 1)));
        } else {
#pragma unroll
          for (int p = 0; p < NF / 2; p++) {
            u32 four[4];
            if constexpr (KN)
              ldmatrix_x4_trans(four, sb + t * B_TERM + run_at<B_COLS>(16 * ks + 8 * (matrix & 1) + r, warp_col / 8 + 2 * p + (matrix >> 1)));
            else
              ldmatrix_x4(four, sb + t * B_TERM + run_at<B_COLS>(warp_col + 16 * p + 8 * (matrix >> 1) + r, 2 * ks + (matrix & 1)));
            bf[t][2 * p][0] = four[0];
            bf[t][2 * p][1] = four[1];
            bf[t][2 * p + 1][0] = four[2];
            bf[t][2 * p + 1][1] = four[3];
          }
        }
      }
#pragma unroll
      for (int i = 0; i < MF; i++) {
        u32 af[3][4];
        int at = run_at<S::K>(warp_row + 16 * i + 8 * (matrix & 1) + r, 2 * ks + (matrix >> 1));
        ldmatrix_x4(af[0], sa + at);
        if (wanted > 1) ldmatrix_x4(af[1], sa + A_TERM + at);
        if (wanted > 2) {
          ldmatrix_x4(af[2], sa + 2 * A_TERM + at);
          if constexpr (T > 2)
#pragma unroll
            for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[0], bf[2][j]);
#pragma unroll
          for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[2], bf[0][j]);
          if constexpr (T > 1)
#pragma unroll
            for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[1], bf[1][j]);
        }
        if (wanted > 1) {
          if constexpr (T > 1)
#pragma unroll
            for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[0], bf[1][j]);
#pragma unroll
          for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[1], bf[0][j]);
        }
#pragma unroll
        for (int j = 0; j < NF; j++) mma_bf16_16816(sum[i][j], af[0], bf[0][j]);
      }
    }
    if (next % CHUNK == 0 || !more) {
#pragma unroll
      for (int i = 0; i < MF; i++)
#pragma unroll
        for (int j = 0; j < NF; j++)
#pragma unroll
          for (int c = 0; c < 4; c++) {
            total[i][j][c] += sum[i][j][c];
            sum[i][j][c] = 0.f;
          }
    }
    if (more) {
      u16* other = shared + (step + 1 & 1) * STAGE;
      as.put(a, row0, next, other, wanted);
      bs.put(b, KN ? next : col0, KN ? col0 : next, other + 3 * A_TERM, wanted);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < MF; i++)
#pragma unroll
    for (int j = 0; j < NF; j++)
#pragma unroll
      for (int c = 0; c < 4; c += 2) {
        int row = row0 + warp_row + 16 * i + lane / 4 + 4 * c, col = col0 + warp_col + 8 * j + 2 * (lane & 3);
        if (row >= m || col >= n) continue;
        float* to = out + (i64)row * n + col;
        float2 v = make_float2(total[i][j][c], total[i][j][c + 1]);
        if (KN) {  // a gradient adds to what is there
          v.x += to[0];
          if (col + 1 < n) v.y += to[1];
        }
        if (((u64)to & 7) == 0 && col + 1 < n) {
          *(float2*)to = v;
        } else {
          to[0] = v.x;
          if (col + 1 < n) to[1] = v.y;
        }
      }
}
