// SPDX-License-Identifier: Apache-2.0
//
// Grids, codes, and dense values of codes.
//
// The search of a range sums a group's errors in the order of its weights, as a CPU does: a sum in a tree differs in its
// last bits and could choose another grid. One thread has one group and one factor.
#include "quant.cuh"

// ---------------------------------------------------------------- grids
struct Range {
  float lo, hi;
};

// Of the weights [at, at + n) and 0, for one whole warp. NaN counts for nothing.
static __device__ __forceinline__ Range range_of(const void* w, int type, i64 at, int n, bool fours) {
  Range r = {0.f, 0.f};
#pragma unroll 4
  for (int i = 4 * (threadIdx.x & 31); i < n; i += 128) {
    float x[4];
    load_four(x, w, at + i, n - i, type, fours);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      r.lo = x[k] < r.lo ? x[k] : r.lo;
      r.hi = x[k] > r.hi ? x[k] : r.hi;
    }
  }
  r.lo = warp_reduce(r.lo, Min());
  r.hi = warp_reduce(r.hi, Max());
  return r;
}

// What all groups have in common.
struct GridRule {
  float max_code;
  int middle;  // the zero point where grids are symmetric, -1 where they are not
  int min_zero;
  int type;    // of the scales
};

static __device__ __forceinline__ Range widened(Range r, const GridRule& rule) {
  if (rule.middle >= 0) {
    r.hi = r.hi < -r.lo ? -r.lo : r.hi;
    r.lo = -r.hi;
  }
  if (r.hi == r.lo) r.hi = 1.f, r.lo = -1.f;
  return r;
}

static __device__ __forceinline__ void grid_of(float& scale, float& zero, Range r, float factor, const GridRule& rule) {
  float low = r.lo * factor;
  scale = rounded((r.hi * factor - low) / rule.max_code, rule.type);
  if (rule.middle >= 0) {
    zero = (float)rule.middle;
    return;
  }
  float z = nearest(-low / scale);
  z = z < (float)rule.min_zero ? (float)rule.min_zero : z;
  zero = z > rule.max_code ? rule.max_code : z;
}

static __device__ __forceinline__ u8 octet(float zero) { return zero == zero ? (u8)(int)zero : (u8)0; }

// One warp a group. `count` groups of a row from `first` on, `total` of all rows.
extern "C" __global__ void choose_range(void* scales, int scale_type, u8* zeros, const void* w, int w_type, int cols, int groups,
                                        int length, int max_code, int middle, int min_zero, int first, int count, i64 total) {
  i64 index = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (index >= total) return;  // a whole warp; there are no barriers
  GridRule rule = {(float)max_code, middle, min_zero, scale_type};
  i64 row = index / count;
  int group = first + (int)(index % count);
  int column = group * length;
  bool fours = by_four(w, bytes_of(w_type), cols) && (length & 3) == 0;
  Range r = widened(range_of(w, w_type, row * cols + column, min(length, cols - column), fours), rule);
  if ((threadIdx.x & 31) == 0) {
    float scale, zero;
    grid_of(scale, zero, r, 1.f, rule);
    store(scales, row * groups + group, scale_type, scale);
    zeros[row * groups + group] = octet(zero);
  }
}

static const int SEARCHED = 32;  // groups of a block, one a lane
static const int PIECE = 64;     // weights of each that lie in shared memory
static const int PITCH = SEARCHED + 1;
static const int MOST_WARPS = 16;

template <int TYPE, bool SQUARED>
static __device__ __forceinline__ float add_errors(float sum, const float* x, const float* c, int n, float scale, float zero,
                                                   float max_code, float norm) {
#pragma unroll(SQUARED ? 4 : 1)
  for (int i = 0; i < n; i++) {
    float w = x[i * PITCH];
    float d = w - value_of(code_of(w, scale, zero, max_code), scale, zero, TYPE);
    sum = SQUARED ? fmaf(d * c[i * PITCH], d, sum) : fmaf(powf(fabsf(d), norm), c[i * PITCH], sum);
  }
  return sum;
}

// Of the range: `positive` factors, then the same ones with a negative sign.
static __device__ __forceinline__ float factor_of(int k, int positive, int parts) {
  float factor = (float)(1.0 - k % positive / (double)parts);
  return k < positive ? factor : -factor;
}

template <int TYPE, bool SQUARED>
static __device__ __forceinline__ void search(void* scales, u8* zeros, const void* w, int w_type, const float* importance, int cols,
                                              int groups, int length, GridRule rule, int first, int count, i64 total, int trials,
                                              int positive, int parts, float norm) {
  __shared__ float x[PIECE * PITCH], c[PIECE * PITCH], lo[SEARCHED], hi[SEARCHED], errors[MOST_WARPS * SEARCHED];
  __shared__ i64 rows[SEARCHED];
  __shared__ int columns[SEARCHED], lengths[SEARCHED];
  int warps = blockDim.x >> 5, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  if (warp == 0) {
    i64 index = (i64)blockIdx.x * SEARCHED + lane;
    bool there = index < total;
    rows[lane] = there ? index / count : 0;
    columns[lane] = there ? (first + (int)(index % count)) * length : 0;
    lengths[lane] = there ? min(length, cols - columns[lane]) : 0;
  }
  __syncthreads();
  bool fours = by_four(w, bytes_of(w_type), cols) && (length & 3) == 0;
  for (int g = warp; g < SEARCHED; g += warps) {
    Range r = widened(range_of(w, w_type, rows[g] * cols + columns[g], lengths[g], fours), rule);
    if (lane == 0) lo[g] = r.lo, hi[g] = r.hi;
  }
  __syncthreads();
  Range range = {lo[lane], hi[lane]};
  int mine = lengths[lane], best = 0;
  float least = 0.f;
  for (int f0 = 0; f0 < trials; f0 += warps) {
    float scale, zero, sum = 0.f;
    grid_of(scale, zero, range, factor_of(f0 + warp, positive, parts), rule);
    for (int from = 0; from < length; from += PIECE) {
      __syncthreads();  // the piece before has been read
      for (int g = warp; g < SEARCHED; g += warps) {
        int n = lengths[g] - from;
        i64 at = rows[g] * cols + columns[g] + from;
        for (int i = lane; i < PIECE; i += 32)
          if (i < n) {
            x[i * PITCH + g] = load(w, at + i, w_type);
            c[i * PITCH + g] = importance ? importance[columns[g] + from + i] : 1.f;
          }
      }
      __syncthreads();
      sum = add_errors<TYPE, SQUARED>(sum, x + lane, c + lane, min(PIECE, mine - from), scale, zero, rule.max_code, norm);
    }
    errors[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0)
      for (int k = 0; k < warps && f0 + k < trials; k++) {
        float e = errors[k * SEARCHED + lane];
        // The first one also where its error is not a number.
        if (f0 + k == 0 || e < least) least = e, best = f0 + k;
      }
    __syncthreads();
  }
  if (warp == 0 && mine > 0) {
    float scale, zero;
    grid_of(scale, zero, range, factor_of(best, positive, parts), rule);
    i64 at = rows[lane] * groups + columns[lane] / length;
    store(scales, at, TYPE, scale);
    zeros[at] = octet(zero);
  }
}

// 32 groups a block, one factor of them a warp.
#define SEARCH(name, TYPE, SQUARED)                                                                                           \
  extern "C" __global__ void name(void* scales, u8* zeros, const void* w, int w_type, const float* importance, int cols,      \
                                  int groups, int length, int max_code, int middle, int min_zero, int first, int count,       \
                                  i64 total, int trials, int positive, int parts, float norm) {                               \
    GridRule rule = {(float)max_code, middle, min_zero, TYPE};                                                                \
    search<TYPE, SQUARED>(scales, zeros, w, w_type, importance, cols, groups, length, rule, first, count, total, trials,      \
                          positive, parts, norm);                                                                             \
  }
SEARCH(search_squares_f32, F32, true)
SEARCH(search_squares_f16, F16, true)
SEARCH(search_squares_bf16, BF16, true)
SEARCH(search_powers_f32, F32, false)
SEARCH(search_powers_f16, F16, false)
SEARCH(search_powers_bf16, BF16, false)

// One group a block: the error that counts is that of the layer's outputs, by the Gram matrix of the group's inputs. What is
// below the diagonal counts twice, a row after the other. The matrix is symmetric, so that a thread's row may be a column.
static const int ROWS = 256;

template <int TYPE>
static __device__ __forceinline__ void search_outputs(void* scales, u8* zeros, const void* w, int w_type, const float* gram, int cols,
                                                      int groups, int length, GridRule rule, int first, int count, int trials,
                                                      int positive, int parts) {
  __shared__ float d[ROWS], sums[ROWS], lo, hi;
  i64 row = blockIdx.x / count;
  int group = first + (int)(blockIdx.x % count), column = group * length, n = min(length, cols - column);
  i64 at = row * cols + column;
  const float* h = gram + (i64)column * length;
  if (threadIdx.x < 32) {
    bool fours = by_four(w, bytes_of(w_type), cols) && (length & 3) == 0;
    Range r = widened(range_of(w, w_type, at, n, fours), rule);
    if (threadIdx.x == 0) lo = r.lo, hi = r.hi;
  }
  __syncthreads();
  Range range = {lo, hi};
  int tid = threadIdx.x, chunk = blockDim.x, best = 0;
  float least = 0.f, scale, zero;
  for (int f = 0; f < trials; f++) {
    grid_of(scale, zero, range, factor_of(f, positive, parts), rule);
    float error = 0.f;
    for (int i0 = 0; i0 < n; i0 += chunk) {
      int i = i0 + tid;
      float sum = 0.f;
      for (int j0 = 0; j0 <= i0; j0 += chunk) {
        __syncthreads();  // the errors before have been read
        if (j0 + tid < n) {
          float x = load(w, at + j0 + tid, w_type);
          d[tid] = x - value_of(code_of(x, scale, zero, rule.max_code), scale, zero, TYPE);
        }
        __syncthreads();
        if (i < n)
          for (int j = 0; j < min(chunk, i - j0); j++) sum = fmaf(h[(i64)(j0 + j) * length + i], d[j], sum);
      }
      if (i < n) sums[tid] = fmaf(h[(i64)i * length + i], d[tid], sum + sum);
      __syncthreads();
      if (tid == 0)
        for (int k = 0; k < min(chunk, n - i0); k++) error = fmaf(d[k], sums[k], error);
    }
    // The first one also where its error is not a number.
    if (f == 0 || error < least) least = error, best = f;
  }
  if (tid == 0) {
    grid_of(scale, zero, range, factor_of(best, positive, parts), rule);
    store(scales, row * groups + group, TYPE, scale);
    zeros[row * groups + group] = octet(zero);
  }
}

#define SEARCH_OUTPUTS(name, TYPE)                                                                                             \
  extern "C" __global__ void name(void* scales, u8* zeros, const void* w, int w_type, const float* gram, int cols, int groups, \
                                  int length, int max_code, int middle, int min_zero, int first, int count, int trials,        \
                                  int positive, int parts) {                                                                   \
    GridRule rule = {(float)max_code, middle, min_zero, TYPE};                                                                 \
    search_outputs<TYPE>(scales, zeros, w, w_type, gram, cols, groups, length, rule, first, count, trials, positive, parts);   \
  }
SEARCH_OUTPUTS(search_outputs_f32, F32)
SEARCH_OUTPUTS(search_outputs_f16, F16)
SEARCH_OUTPUTS(search_outputs_bf16, BF16)

// ---------------------------------------------------------------- codes
// One block a row. A thread's columns are the same whether it reads four at once or not, so that the sums are.
extern "C" __global__ void round_to_grid(u8* codes, double* squares, const void* w, int w_type, const void* scales, int scale_type,
                                         const u8* zeros, int cols, int groups, int length, int max_code) {
  i64 row = blockIdx.x;
  bool fours = by_four(w, bytes_of(w_type), cols), octets = by_four(codes, 1, cols);
  double error = 0, norm = 0;
  for (int c = 4 * threadIdx.x; c < cols; c += 4 * blockDim.x) {
    float x[4];
    int n = cols - c, g = c / length, next = (g + 1) * length;
    load_four(x, w, row * cols + c, n, w_type, fours);
    float scale = load(scales, row * groups + g, scale_type), zero = zeros[row * groups + g];
    u32 packed = 0;
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (k < n) {
        if (c + k >= next) {
          next += length;
          g++;
          scale = load(scales, row * groups + g, scale_type);
          zero = zeros[row * groups + g];
        }
        float code = code_of(x[k], scale, zero, (float)max_code);
        packed |= (u32)code << 8 * k;
        if (squares) {
          double d = x[k] - value_of(code, scale, zero, scale_type), v = x[k];
          error = fma(d, d, error);
          norm = fma(v, v, norm);
        }
      }
    store_octets(codes, row * cols + c, n, packed, octets);
  }
  if (squares) {
    error = block_sum(error);
    norm = block_sum(norm);
    if (threadIdx.x == 0) {
      squares[2 * row] = error;
      squares[2 * row + 1] = norm;
    }
  }
}

// 32 codes are a whole number of words.
template <int BITS>
static __device__ __forceinline__ void pack(u32* out, const u8* codes, i64 rows, int cols, int words) {
  int units = (cols + 31) / 32;
  bool wide = ((u64)codes & 15) == 0 && (cols & 15) == 0, all = ((u64)out & 15) == 0 && (words & 3) == 0;
  for (i64 i = first_element(); i < rows * units; i += all_threads()) {
    i64 row = i / units;
    int unit = (int)(i - row * units), n = cols - 32 * unit;
    const u8* from = codes + row * cols + 32 * unit;
    u32 in[8], packed[BITS] = {};
    if (wide && n >= 32) {
      uint4 a = *(const uint4*)from, b = *(const uint4*)(from + 16);
      in[0] = a.x, in[1] = a.y, in[2] = a.z, in[3] = a.w, in[4] = b.x, in[5] = b.y, in[6] = b.z, in[7] = b.w;
    } else {
#pragma unroll
      for (int k = 0; k < 8; k++) in[k] = load_octets(from, 4 * k, n - 4 * k, false);
    }
#pragma unroll
    for (int k = 0; k < 32; k++) {
      const int word = k * BITS / 32, shift = k * BITS % 32;
      u32 code = in[k / 4] >> 8 * (k % 4) & 0xff;
      packed[word] |= code << shift;
      if (shift + BITS > 32) packed[word + 1] |= code >> (32 - shift);
    }
    u32* to = out + row * words + BITS * unit;
    int m = words - BITS * unit;
    if (all && BITS % 4 == 0 && m >= BITS) {
#pragma unroll
      for (int k = 0; k + 3 < BITS; k += 4) *(uint4*)(to + k) = make_uint4(packed[k], packed[k + 1], packed[k + 2], packed[k + 3]);
    } else {
#pragma unroll
      for (int k = 0; k < BITS; k++)
        if (k < m) to[k] = packed[k];
    }
  }
}
extern "C" __global__ void pack_2(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<2>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_3(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<3>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_4(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<4>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_5(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<5>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_6(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<6>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_7(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<7>(out, codes, rows, cols, words); }
extern "C" __global__ void pack_8(u32* out, const u8* codes, i64 rows, int cols, int words) { pack<8>(out, codes, rows, cols, words); }

// ---------------------------------------------------------------- dense values
extern "C" __global__ void dequantize_dense(float* out, const void* w, int type, i64 n) {
  bool fours = by_four(w, bytes_of(type), 0) && by_four(out, 4, 0);
  for (i64 i = 4 * first_element(); i < n; i += 4 * all_threads()) {
    float x[4];
    int left = (int)min(n - i, (i64)4);
    load_four(x, w, i, left, type, fours);
    store_four(out, i, left, x, fours);
  }
}

// One block a row, four codes a thread: they lie in at most two words.
template <int BITS>
static __device__ __forceinline__ void dequantize(float* out, const u32* codes, const void* scales, int type, const u8* zeros,
                                                  const int* group_index, int cols, int groups, int length, int words) {
  i64 row = blockIdx.x;
  const u32* stream = codes + row * words;
  bool fours = by_four(out, 4, cols), index_fours = by_four(group_index, 4, 0), inside = (length & 3) == 0;
  for (int c = 4 * threadIdx.x; c < cols; c += 4 * blockDim.x) {
    int n = cols - c, bit = c * BITS, word = bit >> 5, shift = bit & 31;
    u32 bits = stream[word] >> shift;
    // Where codes straddle words; the last codes of a row may need no second word, and then there is none.
    if (shift + 4 * BITS > 32 && word + 1 < words) bits |= stream[word + 1] << (32 - shift);
    int g[4];
    if (group_index && index_fours && n >= 4) {
      int4 v = *(const int4*)(group_index + c);
      g[0] = v.x, g[1] = v.y, g[2] = v.z, g[3] = v.w;
    } else {
      int first = c / length, begin = c - first * length;
#pragma unroll
      for (int k = 0; k < 4; k++)
        g[k] = k >= n ? 0 : group_index ? group_index[c + k] : inside || begin + k < length ? first : (c + k) / length;
    }
    float x[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      i64 at = row * groups + g[k];
      float code = (float)(bits >> BITS * k & ((1 << BITS) - 1));
      x[k] = value_of(code, load(scales, at, type), (float)zeros[at], type);
    }
    store_four(out, row * cols + c, n, x, fours);
  }
}
#define DEQUANTIZE(BITS)                                                                                                      \
  extern "C" __global__ void dequantize_##BITS(float* out, const u32* codes, const void* scales, int type, const u8* zeros,   \
                                               const int* group_index, int cols, int groups, int length, int words) {         \
    dequantize<BITS>(out, codes, scales, type, zeros, group_index, cols, groups, length, words);                              \
  }
DEQUANTIZE(2)
DEQUANTIZE(3)
DEQUANTIZE(4)
DEQUANTIZE(5)
DEQUANTIZE(6)
DEQUANTIZE(7)
DEQUANTIZE(8)
