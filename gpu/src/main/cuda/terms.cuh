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
// Tiles only say which thread does it: a row has the same bits whatever the number of rows. Few rows are bound by reading
// the weight, so warps then work on chunks side by side, whose sums are added in the same order.
//
// Gradients through 16-bit and packed weights go this way too: 3 or 5 products of bf16 are faster than one in F32 on all
// three. Gradients of dense F32 weights and all sums of F32 matrices have no such bits to keep: see simt.cuh.
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

// Eight floats as elements of a type have them.
template <int TYPE>
__device__ __forceinline__ void round_run(float (&v)[8]) {
  if constexpr (TYPE == F16) {
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = rounded(v[j], F16);
  }
  if constexpr (TYPE == BF16) {
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      u32 pair = bf16_pair(v[j], v[j + 1]);
      v[j] = __uint_as_float(pair << 16);
      v[j + 1] = __uint_as_float(pair & 0xffff0000u);
    }
  }
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
// There are zeros beyond its edges. Runs that lie inside, in whole accesses and in one group, are all that `read` and `values`
// know.
__device__ __forceinline__ bool aligned16(const void* p, i64 pitch_bytes) { return (((u64)p | (u64)pitch_bytes) & 15) == 0; }

struct F32Rows {
  static const int TERMS = 3;
  static const bool ASYNC = false;
  struct Raw {
    float4 a, b;
  };
  const float* p;
  int rows, cols;
  bool whole;

  __device__ F32Rows(const void* p, int rows, int cols)
      : p((const float*)p), rows(rows), cols(cols), whole(aligned16(p, 4ll * cols)) {}

  __device__ __forceinline__ void read(Raw& r, int row, int col) const {
    const float4* q = (const float4*)(p + (i64)row * cols + col);
    r.a = q[0];
    r.b = q[1];
  }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    if (whole && row < rows && col + 8 <= cols) {
      read(r, row, col);
    } else {
      const float* q = p + (i64)row * cols + col;
      int n = row < rows ? cols - col : 0;
      r.a = make_float4(n > 0 ? q[0] : 0.f, n > 1 ? q[1] : 0.f, n > 2 ? q[2] : 0.f, n > 3 ? q[3] : 0.f);
      r.b = make_float4(n > 4 ? q[4] : 0.f, n > 5 ? q[5] : 0.f, n > 6 ? q[6] : 0.f, n > 7 ? q[7] : 0.f);
    }
  }

  __device__ __forceinline__ void values(const Raw& r, float (&v)[8]) const {
    v[0] = r.a.x, v[1] = r.a.y, v[2] = r.a.z, v[3] = r.a.w;
    v[4] = r.b.x, v[5] = r.b.y, v[6] = r.b.z, v[7] = r.b.w;
  }

  __device__ __forceinline__ void terms(const Raw& r, int, int, uint4 (&t)[TERMS], int wanted) const {
    float v[8];
    values(r, v);
    split<TERMS>(v, t, wanted);
  }
};

// F16 or BF16 values.
template <int TYPE>
struct HalfRows {
  static const int TERMS = TYPE == F16 ? 2 : 1;
  static const bool ASYNC = TYPE == BF16;  // what lies in memory is the term: it needs no registers on its way
  struct Raw {
    uint4 v;
  };
  const u16* p;
  int rows, cols;
  bool whole;

  __device__ HalfRows(const void* p, int rows, int cols)
      : p((const u16*)p), rows(rows), cols(cols), whole(aligned16(p, 2ll * cols)) {}

  __device__ __forceinline__ void read(Raw& r, int row, int col) const {
    r.v = *(const uint4*)(p + (i64)row * cols + col);
  }

  static __device__ __forceinline__ u32 two(const u16* q, int n) {
    return (n > 0 ? q[0] : 0u) | (n > 1 ? (u32)q[1] << 16 : 0u);
  }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    if (whole && row < rows && col + 8 <= cols) {
      read(r, row, col);
    } else {
      const u16* q = p + (i64)row * cols + col;
      int n = row < rows ? cols - col : 0;
      r.v = make_uint4(two(q, n), two(q + 2, n - 2), two(q + 4, n - 4), two(q + 6, n - 6));
    }
  }

  __device__ __forceinline__ void values(const Raw& r, float (&v)[8]) const {
    const u32 w[4] = {r.v.x, r.v.y, r.v.z, r.v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      v[2 * i] = TYPE == F16 ? f16_to_f32((u16)w[i]) : __uint_as_float(w[i] << 16);
      v[2 * i + 1] = TYPE == F16 ? f16_to_f32((u16)(w[i] >> 16)) : __uint_as_float(w[i] & 0xffff0000u);
    }
  }

  __device__ __forceinline__ void terms(const Raw& r, int, int, uint4 (&t)[TERMS], int wanted) const {
    if constexpr (TYPE == BF16) {
      t[0] = r.v;
    } else {
      float v[8];
      values(r, v);
      split<TERMS>(v, t, wanted);
    }
  }
};

// Codes of 2 to 8 bits with scales of a TYPE.
template <int TYPE>
struct PackedRows {
  static const int TERMS = TYPE == F32 ? 3 : TYPE == F16 ? 2 : 1;
  static const bool ASYNC = false;
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
    // Eight columns are whole bytes: of two words, and of three where 7 bits begin in the upper half of one.
    i64 bit = (i64)col * bits;
    int word = (int)(bit >> 5), shift = (int)(bit & 31);
    const u32* q = codes + (i64)row * words + word;
    u64 w = q[0];
    if (shift + 8 * bits > 32 && word + 1 < words) w |= (u64)q[1] << 32;
    w >>= shift;
    if (shift + 8 * bits > 64 && word + 2 < words) w |= (u64)q[2] << (64 - shift);
    r.low = (u32)w;
    r.high = (u32)(w >> 4 * bits);
    if (one) {
      i64 g = (i64)row * groups + (groups == 1 ? 0 : col / group);
      r.scale = load(scales, g, TYPE);
      r.zero = BASE + zeros[g];
    }
  }

  __device__ __forceinline__ void read(Raw& r, int row, int col) const {
    i64 bit = (i64)col * bits, g = (i64)row * groups + (groups == 1 ? 0 : col / group);
    const u32* q = codes + (i64)row * words + (bit >> 5);
    if (bits == 4) {
      r.low = q[0];
      r.high = r.low >> 16;
    } else {
      int shift = (int)(bit & 31);
      u64 w = q[0];
      if (shift + 8 * bits > 32) w |= (u64)q[1] << 32;
      w >>= shift;
      if (shift + 8 * bits > 64) w |= (u64)q[2] << (64 - shift);
      r.low = (u32)w;
      r.high = (u32)(w >> 4 * bits);
    }
    r.scale = load(scales, g, TYPE);
    r.zero = BASE + zeros[g];
  }

  __device__ __forceinline__ void values(const Raw& r, float (&v)[8]) const {
    u32 mask = (1u << bits) - 1;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      u32 code = (j < 4 ? r.low : r.high) >> bits * (j & 3) & mask;
      v[j] = (__uint_as_float(0x4b000000u | code) - r.zero) * r.scale;
    }
    round_run<TYPE>(v);
  }

  __device__ __forceinline__ void terms(const Raw& r, int row, int col, uint4 (&t)[TERMS], int wanted) const {
    u32 mask = (1u << bits) - 1;
    float v[8], s[8], z[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      s[j] = r.scale;
      z[j] = r.zero;
    }
    if (!one) {
      // Beyond the edges the last one again: what comes of it is not used.
      i64 first = (i64)min(row, rows - 1) * groups;
      int g[8];
#pragma unroll
      for (int j = 0; j < 8; j++) {
        int c = min(col + j, cols - 1);
        g[j] = index ? index[c] : c / group;
      }
#pragma unroll
      for (int j = 0; j < 8; j++) {
        s[j] = load(scales, first + g[j], TYPE);
        z[j] = BASE + zeros[first + g[j]];
      }
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      u32 code = (j < 4 ? r.low : r.high) >> bits * (j & 3) & mask;
      v[j] = row < rows && col + j < cols ? (__uint_as_float(0x4b000000u | code) - z[j]) * s[j] : 0.f;
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

static const int DEPTH = 32, CHUNK = 128;

// A block makes out[M x N], a warp WM x WN of it.
template <int M_, int N_, int WM_, int WN_>
struct Tiling {
  static const int M = M_, N = N_, WM = WM_, WN = WN_;
};
using Large = Tiling<128, 128, 64, 32>;
using Few = Tiling<16, 32, 16, 32>;  // of one warp
static const int THREADS = 256, FEW_WARPS = 8;

// One operand's ROWS x COLS on their way into shared memory, by THREADS of which this is number `thread`.
template <class O, int ROWS, int COLS, int THREADS>
struct Carrier {
  static const int RUNS = ROWS * COLS / 8 / THREADS;
  typename O::Raw raw[RUNS];

  static __device__ __forceinline__ int row(int thread, int i) { return (thread + i * THREADS) / (COLS / 8); }
  static __device__ __forceinline__ int run(int thread, int i) { return (thread + i * THREADS) % (COLS / 8); }

  __device__ __forceinline__ void fetch(const O& o, int thread, int row0, int col0) {
#pragma unroll
    for (int i = 0; i < RUNS; i++) o.fetch(raw[i], row0 + row(thread, i), col0 + 8 * run(thread, i));
  }

  __device__ __forceinline__ void put(const O& o, int thread, int row0, int col0, u16* shared, int wanted) const {
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
      uint4 t[O::TERMS];
      o.terms(raw[i], row0 + row(thread, i), col0 + 8 * run(thread, i), t, wanted);
      int at = run_at<COLS>(row(thread, i), run(thread, i));
#pragma unroll
      for (int j = 0; j < O::TERMS; j++)
        if (j < wanted) *(uint4*)(shared + j * ROWS * COLS + at) = t[j];
    }
  }

  // Without registers between; every run lies inside or outside as a whole.
  static __device__ __forceinline__ void copy(const O& o, int thread, int row0, int col0, u16* shared) {
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
      int r = row0 + row(thread, i), c = col0 + 8 * run(thread, i);
      u16* to = shared + run_at<COLS>(row(thread, i), run(thread, i));
      if (r < o.rows && c < o.cols) cp_async16(to, o.p + (i64)r * o.cols + c);
      else *(uint4*)to = make_uint4(0, 0, 0, 0);
    }
  }
};

// sum += a b over DEPTH of k, for a warp's part of the tile. Of the products of terms those of i + j < wanted.
template <class S, bool KN, int T>
__device__ __forceinline__ void multiply(float (&sum)[S::WM / 16][S::WN / 8][4], const u16* sa, const u16* sb, int warp_row,
                                         int warp_col, int wanted) {
  constexpr int MF = S::WM / 16, NF = S::WN / 8, B_COLS = KN ? S::N : DEPTH;
  constexpr int A_TERM = S::M * DEPTH, B_TERM = S::N * DEPTH;
  int lane = threadIdx.x & 31, matrix = lane >> 3, r = lane & 7;  // of the address that this lane gives to ldmatrix
#pragma unroll
  for (int ks = 0; ks < DEPTH / 16; ks++) {
    u32 bf[T][NF][2];
#pragma unroll
    for (int t = 0; t < T; t++) {
      if (t >= wanted) break;
#pragma unroll
      for (int p = 0; p < NF / 2; p++) {
        u32 four[4];
        const u16* term = sb + t * B_TERM;
        int along = 2 * ks + (matrix & 1), across = warp_col / 8 + 2 * p + (matrix >> 1);  // in eights, of k and of columns
        if constexpr (KN) ldmatrix_x4_trans(four, term + run_at<B_COLS>(8 * along + r, across));
        else ldmatrix_x4(four, term + run_at<B_COLS>(8 * across + r, along));
        bf[t][2 * p][0] = four[0];
        bf[t][2 * p][1] = four[1];
        bf[t][2 * p + 1][0] = four[2];
        bf[t][2 * p + 1][1] = four[3];
      }
    }
#pragma unroll
    for (int i = 0; i < MF; i++) {
      u32 af[3][4];
      int at = run_at<DEPTH>(warp_row + 16 * i + 8 * (matrix & 1) + r, 2 * ks + (matrix >> 1));
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
}

// out[m,n] = (out +) a[m,k] b, where b is [n,k], or [k,n] if KN. a comes as its terms [3][m, pitch], by `split_rows`:
// once, and not once for every tile of columns.
template <bool KN, class B>
__device__ __forceinline__ void product(float* out, const u16* a, i64 pitch, const B& b, int m, int n, int k, int wanted,
                                        u16* shared) {
  using S = Large;
  constexpr int T = B::TERMS, MF = S::WM / 16, NF = S::WN / 8, STAGES = T == 1 ? 3 : 2;
  constexpr int A_TERM = S::M * DEPTH, STAGE = 3 * A_TERM + T * S::N * DEPTH;
  using Bs = Carrier<B, KN ? DEPTH : S::N, KN ? S::N : DEPTH, THREADS>;
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
  int row0 = blockIdx.x * S::M, col0 = blockIdx.y * S::N;
  int warp_row = warp / (S::N / S::WN) * S::WM, warp_col = warp % (S::N / S::WN) * S::WN;
  int steps = (k + DEPTH - 1) / DEPTH;
  bool async = false;
  if constexpr (B::ASYNC) async = b.whole;

  // Rows beyond the last one are the last one again: nobody stores what comes of them.
  const u16* from[2];
  int to[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int at = thread + i * THREADS, r = at / (DEPTH / 8), run = at % (DEPTH / 8);
    from[i] = a + min(row0 + r, m - 1) * pitch + 8 * run;
    to[i] = run_at<DEPTH>(r, run);
  }
  auto copy_a = [&](int step, u16* stage) {
#pragma unroll
    for (int t = 0; t < 3; t++) {
      if (t >= wanted) break;
#pragma unroll
      for (int i = 0; i < 2; i++) cp_async16(stage + t * A_TERM + to[i], from[i] + t * m * pitch + step * DEPTH);
    }
  };
  Bs bs;
  auto row_of = [&](int step) { return KN ? step * DEPTH : col0; };
  auto col_of = [&](int step) { return KN ? col0 : step * DEPTH; };

  float sum[MF][NF][4] = {}, total[MF][NF][4] = {};
#pragma unroll
  for (int step = 0; step < STAGES - 1; step++) {
    u16* stage = shared + step * STAGE;
    if (step < steps) {
      copy_a(step, stage);
      if (async) {
        if constexpr (B::ASYNC) Bs::copy(b, thread, row_of(step), col_of(step), stage + 3 * A_TERM);
      } else {
        bs.fetch(b, thread, row_of(step), col_of(step));
        bs.put(b, thread, row_of(step), col_of(step), stage + 3 * A_TERM, wanted);
      }
    }
    cp_async_commit();
  }
  int current = 0;
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // this stage is there for all, and the one before has been read by all
    int next = step + STAGES - 1;
    bool more = next < steps;
    u16* free = shared + (current == 0 ? STAGES - 1 : current - 1) * STAGE;
    if (more) {
      copy_a(next, free);
      if (async) {
        if constexpr (B::ASYNC) Bs::copy(b, thread, row_of(next), col_of(next), free + 3 * A_TERM);
      } else {
        bs.fetch(b, thread, row_of(next), col_of(next));
      }
    }
    cp_async_commit();
    const u16* stage = shared + current * STAGE;
    multiply<S, KN, T>(sum, stage, stage + 3 * A_TERM, warp_row, warp_col, wanted);
    if ((step + 1) % (CHUNK / DEPTH) == 0 || step + 1 == steps) {
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
    if (more && !async) bs.put(b, thread, row_of(next), col_of(next), free + 3 * A_TERM, wanted);
    current = current + 1 == STAGES ? 0 : current + 1;
  }
#pragma unroll
  for (int i = 0; i < MF; i++)
#pragma unroll
    for (int j = 0; j < NF; j++)
#pragma unroll
      for (int c = 0; c < 4; c += 2) {
        int row = row0 + warp_row + 16 * i + lane / 4 + 4 * c, col = col0 + warp_col + 8 * j + 2 * (lane & 3);
        if (row >= m || col >= n) continue;
        float* o = out + (i64)row * n + col;
        float2 v = make_float2(total[i][j][c], total[i][j][c + 1]);
        if (KN) {  // a gradient adds to what is there
          v.x += o[0];
          if (col + 1 < n) v.y += o[1];
        }
        if (((u64)o & 7) == 0 && col + 1 < n) {
          *(float2*)o = v;
        } else {
          o[0] = v.x;
          if (col + 1 < n) o[1] = v.y;
        }
      }
}

// out[m,n] = x[m,k] b[n,k]^T for few rows. A block makes 16 x 32 of it, and each of its warps every eighth chunk.
template <class B>
__device__ __forceinline__ void product_of_few(float* out, const float* x, const B& b, int m, int n, int k, int wanted,
                                               u16* shared) {
  using S = Few;
  constexpr int T = B::TERMS, NF = S::WN / 8, A_TERM = S::M * DEPTH, PART = 3 * A_TERM + T * S::N * DEPTH;
  constexpr int STEPS = CHUNK / DEPTH, OUTPUTS = S::M * S::N / THREADS;
  static_assert(S::M * S::N * 4 <= PART * 2, "the sums fit where the operands were");
  F32Rows a(x, m, k);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int row0 = blockIdx.x * S::M, col0 = blockIdx.y * S::N;
  u16* sa = shared + warp * PART;
  u16* sb = sa + 3 * A_TERM;
  Carrier<F32Rows, S::M, DEPTH, 32> as;
  Carrier<B, S::N, DEPTH, 32> bs;
  float total[OUTPUTS] = {};
  int chunks = (k + CHUNK - 1) / CHUNK;
  as.fetch(a, lane, row0, warp * CHUNK);
  bs.fetch(b, lane, col0, warp * CHUNK);
  for (int first = 0; first < chunks; first += FEW_WARPS) {
    float sum[1][NF][4] = {};
    for (int step = 0; step < STEPS; step++) {
      int k0 = (first + warp) * CHUNK + step * DEPTH;
      if (k0 < k) {
        as.put(a, lane, row0, k0, sa, wanted);
        bs.put(b, lane, col0, k0, sb, wanted);
      }
      __syncwarp();
      int next = step + 1 < STEPS ? k0 + DEPTH : (first + FEW_WARPS + warp) * CHUNK;
      as.fetch(a, lane, row0, next);
      bs.fetch(b, lane, col0, next);
      if (k0 < k) multiply<S, false, T>(sum, sa, sb, 0, 0, wanted);
      __syncwarp();
    }
    float* mine = (float*)sa;
#pragma unroll
    for (int j = 0; j < NF; j++)
#pragma unroll
      for (int c = 0; c < 4; c += 2)
        *(float2*)&mine[(lane / 4 + 4 * c) * S::N + 8 * j + 2 * (lane & 3)] = make_float2(sum[0][j][c], sum[0][j][c + 1]);
    __syncthreads();
    int parts = min(FEW_WARPS, chunks - first);
#pragma unroll
    for (int i = 0; i < OUTPUTS; i++)
      for (int w = 0; w < parts; w++) total[i] += ((const float*)(shared + w * PART))[threadIdx.x + i * THREADS];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < OUTPUTS; i++) {
    int at = threadIdx.x + i * THREADS, row = row0 + at / S::N, col = col0 + at % S::N;
    if (row < m && col < n) out[(i64)row * n + col] = total[i];
  }
}
