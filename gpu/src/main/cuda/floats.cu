// SPDX-License-Identifier: Apache-2.0
//
// Weights of small floats, and activations that go through codes.
#include "floats.cuh"
#include "quant.cuh"
#include "slim.cuh"

// Codes [rows, cols], of four bits two to a byte, with a scale for each tile of `height` rows and `width` columns, `across`
// of them beside each other. The values are rounded to TYPE.
template <int TYPE>
struct FloatRows {
  static const int TERMS = TYPE == F32 ? 3 : TYPE == F16 ? 2 : 1;
  static const bool ASYNC = false;
  struct Raw {
    u32 low, high;  // four codes each
    float scale;
  };
  const u8* codes;
  int bits;
  Scales scales;
  int height, width, across, rows, cols;
  bool whole;  // a run of eight is one access
  bool one;    // and of one tile

  __device__ FloatRows(const void* codes, int bits, Scales scales, int height, int width, int across, int rows, int cols)
      : codes((const u8*)codes), bits(bits), scales(scales), height(height), width(width), across(across), rows(rows),
        cols(cols), whole((((u64)codes | (u64)cols * bits / 8) & (bits - 1)) == 0), one(across == 1 || (width & 7) == 0) {}

  __device__ __forceinline__ float scale(int row, int col) const {
    return scales.at((i64)(row / height) * across + (across == 1 ? 0 : col / width));
  }

  __device__ __forceinline__ void read(Raw& r, int row, int col) const {
    const u8* q = codes + ((i64)row * cols + col) * bits / 8;
    if (bits == 4) {
      u32 halves = *(const u32*)q;
      r.low = spread_halves(halves & 0xffff);
      r.high = spread_halves(halves >> 16);
    } else {
      uint2 v = *(const uint2*)q;
      r.low = v.x;
      r.high = v.y;
    }
    r.scale = scales.value((i64)(row / height) * across + (across == 1 ? 0 : col / width));
  }

  __device__ __forceinline__ void values(const Raw& r, float (&v)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] = small_to_f32((j < 4 ? r.low : r.high) >> 8 * (j & 3) & 0xff, bits) * r.scale;
    round_run<TYPE>(v);
  }

  __device__ __forceinline__ void fetch(Raw& r, int row, int col) const {
    r.low = r.high = 0;
    r.scale = 0.f;
    if (row >= rows || col >= cols) return;
    if (bits == 4) {
      const u8* q = codes + ((i64)row * cols + col) / 2;  // a run begins at an even column
      u32 halves = 0;
      if (whole) halves = *(const u32*)q;
      else
#pragma unroll 1
        for (int j = 0; j < 4 && col + 2 * j < cols; j++) halves |= (u32)q[j] << 8 * j;
      r.low = spread_halves(halves & 0xffff);
      r.high = spread_halves(halves >> 16);
    } else {
      const u8* q = codes + (i64)row * cols + col;
      if (whole) {
        uint2 v = *(const uint2*)q;
        r.low = v.x;
        r.high = v.y;
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          if (col + j < cols) r.low |= (u32)q[j] << 8 * j;
          if (col + 4 + j < cols) r.high |= (u32)q[4 + j] << 8 * j;
        }
      }
    }
    if (one) r.scale = scale(row, col);
  }

  __device__ __forceinline__ void terms(const Raw& r, int row, int col, uint4 (&t)[TERMS], int wanted) const {
    float v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      bool inside = row < rows && col + j < cols;
      float s = one ? r.scale : scale(min(row, rows - 1), min(col + j, cols - 1));
      v[j] = inside ? small_to_f32((j < 4 ? r.low : r.high) >> 8 * (j & 3) & 0xff, bits) * s : 0.f;
      if (TYPE != F32) v[j] = rounded(v[j], TYPE);
    }
    split<TERMS>(v, t, wanted);
  }
};

// out[m,n] = x[m,k] w[n,k]^T, the same for few rows, and dx[m,n] += dout[m,k] w[k,n]
#define WEIGHT const void *codes, int bits, const void *scales, int scale_type, const float *global, int height, int width, int across
#define ROWS(rows, cols) codes, bits, Scales{scales, scale_type, global}, height, width, across, rows, cols
#define PRODUCTS(name, TYPE)                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      floats_##name(float* out, const u16* x, i64 pitch, WEIGHT, int m, int n, int k, int terms) {                    \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(ROWS(n, k));                                                                                    \
    product<false>(out, x, pitch, w, m, n, k, terms, shared);                                                         \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
      floats_few_##name(float* out, const float* x, WEIGHT, int m, int n, int k, int terms) {                         \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(ROWS(n, k));                                                                                    \
    product_of_few(out, x, w, m, n, k, terms, shared);                                                                \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                            \
      floats_input_##name(float* dx, const u16* dout, i64 pitch, WEIGHT, int m, int n, int k, int terms) {            \
    DYNAMIC_SHARED(u16, shared);                                                                                      \
    FloatRows<TYPE> w(ROWS(k, n));                                                                                    \
    product<true>(dx, dout, pitch, w, m, n, k, terms, shared);                                                        \
  }
PRODUCTS(f32, F32)
PRODUCTS(f16, F16)
PRODUCTS(bf16, BF16)

// The same for one to eight rows.
#define FLOATS_SLIM(M, name, TYPE) SLIM(floats_slim##M##_##name, M, FloatRows<TYPE>(ROWS(n, k)), WEIGHT)
FOR_SLIM(FLOATS_SLIM, f32, F32)
FOR_SLIM(FLOATS_SLIM, f16, F16)
FOR_SLIM(FLOATS_SLIM, bf16, BF16)

extern "C" __global__ void dequantize_floats(float* out, WEIGHT, int type, int cols) {
  i64 row = blockIdx.x;
  Scales all = {scales, scale_type, global};
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    i64 i = row * cols + c;
    u32 code = bits == 4 ? ((const u8*)codes)[i / 2] >> (i & 1) * 4 : ((const u8*)codes)[i];
    out[i] = rounded(small_to_f32(code, bits) * all.at(row / height * across + c / width), type);
  }
}

// ---------------------------------------------------------------- activations
// Half to even, within the range of the codes; NaN stays.
static __device__ __forceinline__ float nearest_int(float x, float low, float high) {
  x = x < low ? low : x > high ? high : x;
  return (x + 12582912.f) - 12582912.f;
}

// What integers stand for: x is about scale * (q - zero), q of -2^(bits-1) and on.
struct Steps {
  float scale, zero, low, high;
  __device__ __forceinline__ float nearest(float x) const { return nearest_int(x / scale + zero, low, high); }
};

// Those of x[from, to), which a whole block asks for. Dynamic scales of symmetric codes are by the rule of all scales; of
// asymmetric ones the range's.
static __device__ __forceinline__ Steps steps_of(const float* x, int from, int to, float number, const signed char* given_zero,
                                                 int floats, int bits, int symmetric, int kind, int dynamic) {
  Steps s;
  s.low = -(float)(1 << (bits - 1)), s.high = -s.low - 1.f, s.zero = given_zero ? (float)given_zero[0] : 0.f;
  s.scale = number;
  if (dynamic && symmetric) {
    float largest = 0.f;
    for (int c = from + threadIdx.x; c < to; c += blockDim.x) largest = Max()(fabsf(x[c]), largest);
    float reach = floats ? bits == 4 ? 6.f : 448.f : s.high + 0.5f;
    s.scale = stored_scale(block_max(largest), reach, kind, F32, number);
    if (kind == NESTED) s.scale = s.scale / number;
  } else if (dynamic) {
    float least = 0.f, most = 0.f;
    for (int c = from + threadIdx.x; c < to; c += blockDim.x) {
      least = Min()(x[c], least);
      most = Max()(x[c], most);
    }
    least = block_reduce(least, Min(), 0.f);
    s.scale = (block_reduce(most, Max(), 0.f) - least) / (s.high - s.low);
    if (s.scale == 0.f) s.scale = 1.f;  // nothing but zeros
    s.zero = nearest_int(s.low - least / s.scale, s.low, s.high);
  }
  return s;
}

// One block a tile: a part of a row, `across` of them beside each other. Floats of `bits`, or integers. The quotients are
// IEEE's, since a reciprocal would move values at ties.
extern "C" __global__ void round_activations(float* out, const float* x, const void* given, int type, const signed char* given_zero,
                                             int floats, int bits, int symmetric, int kind, int dynamic, int cols, int width,
                                             int across) {
  i64 row = blockIdx.x / across;
  int from = (int)(blockIdx.x % across) * width, to = min(cols, from + width);
  out += row * cols;
  x += row * cols;
  // Where rows do not have scales of their own, tiles beside each other have.
  float number = given ? load(given, dynamic ? 0 : blockIdx.x % across, type) : 1.f;
  Steps s = steps_of(x, from, to, number, given_zero, floats, bits, symmetric, kind, dynamic);
  for (int c = from + threadIdx.x; c < to; c += blockDim.x)
    out[c] = (floats ? nearest_small(x[c] / s.scale, bits) : s.nearest(x[c]) - s.zero) * s.scale;
}

// One block a row: its integers of 8 bits, and zeros up to `pitch`. A row with NaN has it for its scale, since no code has.
extern "C" __global__ void integers_of_activations(signed char* codes, float* scales, int* zeros, const float* x, const void* given,
                                                   int type, const signed char* given_zero, int symmetric, int dynamic, int cols,
                                                   int pitch) {
  i64 row = blockIdx.x;
  codes += row * pitch;
  x += row * cols;
  Steps s = steps_of(x, 0, cols, given ? load(given, 0, type) : 1.f, given_zero, 0, 8, symmetric, F32, dynamic);
  int lost = 0;
  for (int c = threadIdx.x; c < pitch; c += blockDim.x) {
    float q = c < cols ? s.nearest(x[c]) : 0.f;
    lost |= q != q;
    codes[c] = q != q ? 0 : (signed char)q;
  }
  lost = block_sum(lost);
  if (threadIdx.x == 0) {
    scales[row] = lost ? __uint_as_float(0x7fc00000u) : s.scale;
    zeros[row] = s.zero == s.zero ? (int)s.zero : 0;
  }
}

// ---------------------------------------------------------------- grids of weights
// One block a tile of `height` rows and `width` columns.
extern "C" __global__ void tile_maxima(float* out, const void* w, int type, i64 rows, int cols, i64 height, int width, int across) {
  i64 down = blockIdx.x / across, row = down * height, end = min(rows, row + height);
  int from = (int)(blockIdx.x % across) * width, n = min(cols - from, width);
  float largest = 0.f;
  for (i64 i = threadIdx.x; i < (end - row) * n; i += blockDim.x)
    largest = Max()(fabsf(load(w, (row + i / n) * cols + from + i % n, type)), largest);
  largest = block_max(largest);
  if (threadIdx.x == 0) out[blockIdx.x] = largest;
}

// One thread a tile; with `steps` factors of its largest magnitude, the one whose errors, summed in the order of the
// weights as a CPU does, are least.
extern "C" __global__ void choose_scales(void* scales, int scale_type, const float* maxima, const float* global, int bits, int type,
                                         int value_type, i64 tiles, const void* w, int w_type, const float* importance, int cols,
                                         int width, int across, int steps, int parts, float norm) {
  i64 tile = first_element();
  if (tile >= tiles) return;
  float reach = bits == 4 ? 6.f : 448.f, divisor = global ? global[0] : 1.f;
  float best = stored_scale(maxima[tile], reach, scale_type, type, divisor), least = 0.f;
  int from = steps ? (int)(tile % across) * width : 0, n = steps ? min(cols - from, width) : 0;
  for (int f = 0; f < steps; f++) {
    float stored = stored_scale((float)(1.0 - f / (double)parts) * maxima[tile], reach, scale_type, type, divisor);
    float scale = stored / divisor, sum = 0.f;
    for (int i = 0; i < n; i++) {
      float x = load(w, tile / across * cols + from + i, w_type), c = importance ? importance[from + i] : 1.f;
      float d = x - rounded(nearest_small(x / scale, bits) * scale, value_type);
      sum = norm == 2.f ? fmaf(d * c, d, sum) : fmaf(powf(fabsf(d), norm), c, sum);
    }
    // The first one also where its error is not a number.
    if (f == 0 || sum < least) least = sum, best = stored;
  }
  if (scale_type == POWER) ((u8*)scales)[tile] = (u8)(__float_as_uint(best) >> 23);
  else if (scale_type == NESTED) ((u8*)scales)[tile] = (u8)small_code(best, 8);
  else store(scales, tile, scale_type, best);
}

// One block a row.
extern "C" __global__ void round_to_floats(u8* codes, double* squares, const void* w, int w_type, const void* scales, int scale_type,
                                           const float* global, int bits, int quotient, int value_type, int cols, i64 height, int width,
                                           int across) {
  i64 row = blockIdx.x;
  Scales all = {scales, scale_type, global};
  double error = 0, norm = 0;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    float x = load(w, row * cols + c, w_type), scale = all.at(row / height * across + c / width);
    float q = nearest_small(rounded(x / scale, quotient), bits);
    codes[row * cols + c] = (u8)small_code(q, bits);
    double d = x - rounded(q * scale, value_type);
    error = fma(d, d, error);
    norm = fma((double)x, (double)x, norm);
  }
  if (!squares) return;
  error = block_sum(error);
  norm = block_sum(norm);
  if (threadIdx.x == 0) {
    squares[2 * row] = error;
    squares[2 * row + 1] = norm;
  }
}

extern "C" __global__ void pack_pairs(u8* out, const u8* codes, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = (u8)(codes[2 * i] & 15 | codes[2 * i + 1] << 4);
}
