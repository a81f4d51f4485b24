// SPDX-License-Identifier: Apache-2.0
//
// Steps of Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv 1711.05101), in F32 throughout; with
// moments in 8 bits (Dettmers et al., 2021, arXiv 2110.02861). The result of the latter is the same bits everywhere, so
// every operation is rounded by itself, as a CPU does.
#include "rowwise.cuh"

// first and second undo the bias of m and v towards their zero beginning.
struct Step { float rate, beta1, beta2, eps, decay, first, second, scale; };

__device__ __forceinline__ void update(float& w, float& m, float& v, float g, const Step& s) {
  g = g * s.scale;
  m = m * s.beta1 + g * (1 - s.beta1);
  v = v * s.beta2 + g * g * (1 - s.beta2);
  float step = __fdiv_rn(m * s.first, __fsqrt_rn(v * s.second) + s.eps) + w * s.decay;
  w = w - step * s.rate;
}

extern "C" __global__ void adam_w(float* w, float* m, float* v, const float* g, float rate, float beta1, float beta2,
                                  float eps, float decay, float first, float second, float scale, i64 n) {
  Step s = {rate, beta1, beta2, eps, decay, first, second, scale};
  for (i64 i = 4 * first_element(); i < n; i += 4 * all_threads()) {
    float a[4], b[4], c[4], d[4];
    load_four(a, w, i, n - i);
    load_four(b, m, i, n - i);
    load_four(c, v, i, n - i);
    load_four(d, g, i, n - i);
    for (int j = 0; j < 4; j++) update(a[j], b[j], c[j], d[j], s);
    store_four(w, i, n - i, a);
    store_four(m, i, n - i, b);
    store_four(v, i, n - i, c);
  }
}

// The dynamic tree: 0, then for every e from 6 down to 0 10^-e times the middles of 2^(BITS - e) equal parts of [0.1, 1],
// then 1. By rank; a border is the largest float that is not nearer to the next magnitude.
template <int BITS>
struct Tree {
  static const int RANKS = (2 << BITS) - (1 << (BITS - 6)) + 2;
  float magnitudes[RANKS], borders[RANKS];

  static __device__ __forceinline__ float magnitude(int rank) {
    if (rank == 0) return 0;
    if (rank == RANKS - 1) return 1;
    int at = rank - 1 + (1 << (BITS - 6)), bits = 31 - __clz(at), parts = 1 << bits;
    double power = 1;
    switch (BITS - bits) {  // as decimal constants: a product of tenths would be another number
      case 1: power = 1e-1; break;
      case 2: power = 1e-2; break;
      case 3: power = 1e-3; break;
      case 4: power = 1e-4; break;
      case 5: power = 1e-5; break;
      case 6: power = 1e-6; break;
    }
    return (float)(power * (0.1 + 0.9 * (at - parts + 0.5) / parts));
  }

  // By all threads of the block; a barrier must follow.
  __device__ __forceinline__ void fill() {
    for (int r = threadIdx.x; r < RANKS; r += blockDim.x) {
      magnitudes[r] = magnitude(r);
      if (r == RANKS - 1) {
        borders[r] = __uint_as_float(0x7f800000u);
        continue;
      }
      double middle = ((double)magnitude(r) + magnitude(r + 1)) / 2;
      float border = (float)middle;
      borders[r] = border > middle ? __uint_as_float(__float_as_uint(border) - 1) : border;
    }
  }

  // Of the nearest magnitude, the lower one on a tie; what is no number counts as 1.
  __device__ __forceinline__ int rank(float x) const {
    if (!(x <= 1)) return RANKS - 1;
    int low = 0, high = RANKS - 1;
    while (low < high) {
      int middle = (low + high) >> 1;
      if (x > borders[middle]) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

#define ZERO_CODE 127

__device__ __forceinline__ float decoded(const Tree<6>& tree, u32 code) {
  int rank = (int)code - ZERO_CODE;
  return rank < 0 ? -tree.magnitudes[-rank] : tree.magnitudes[rank];
}
__device__ __forceinline__ float decoded(const Tree<7>& tree, u32 code) { return tree.magnitudes[code]; }

__device__ __forceinline__ u32 encoded(const Tree<6>& tree, float x) {
  int rank = tree.rank(fabsf(x));
  return x < 0 ? (u32)max(0, ZERO_CODE - rank) : (u32)(ZERO_CODE + rank);
}
// Above 0 it stays so.
__device__ __forceinline__ u32 encoded(const Tree<7>& tree, float x) { return (u32)max(x > 0 ? 1 : 0, tree.rank(x)); }

__device__ __forceinline__ u32 zero_code(const Tree<6>&) { return ZERO_CODE; }
__device__ __forceinline__ u32 zero_code(const Tree<7>&) { return 0; }

// Four codes, in the bytes of a word.
__device__ __forceinline__ u32 load_codes(const u8* codes, i64 at, i64 count) {
  const u8* from = codes + at;
  if (count >= 4 && ((u64)from & 3) == 0) return *(const u32*)from;
  u32 word = 0;
  for (int j = 0; j < 4; j++) if (j < count) word |= (u32)from[j] << 8 * j;
  return word;
}
__device__ __forceinline__ void store_codes(u8* codes, i64 at, i64 count, u32 word) {
  u8* to = codes + at;
  if (count >= 4 && ((u64)to & 3) == 0) {
    *(u32*)to = word;
    return;
  }
  for (int j = 0; j < 4; j++) if (j < count) to[j] = (u8)(word >> 8 * j);
}

// Lane l has elements [4l, 4l + 4) of either half of a block of 256.
#define FOR_HALVES(h, at, count, n) \
  for (i64 h = 0, at = block * 256 + 4 * lane, count = n - at; h < 2; h++, at += 128, count -= 128)

template <class T>
__device__ __forceinline__ void decode(float (&x)[8], const T& tree, const u8* codes, float scale, i64 block, int lane,
                                       i64 n) {
#pragma unroll
  FOR_HALVES(h, at, count, n) {
    u32 word = load_codes(codes, at, count);
    // Zeros behind the end do not count in a block's scale.
    for (int j = 0; j < 4; j++) x[4 * h + j] = j < count ? decoded(tree, word >> 8 * j & 0xff) * scale : 0.f;
  }
}

template <class T>
__device__ __forceinline__ void encode(const float (&x)[8], const T& tree, u8* codes, float* scales, i64 block, int lane,
                                       i64 n) {
  float scale = 0;
  for (int j = 0; j < 8; j++) scale = Max()(scale, fabsf(x[j]));
  scale = warp_reduce(scale, Max());
  if (lane == 0) scales[block] = scale;
#pragma unroll
  FOR_HALVES(h, at, count, n) {
    u32 word = 0;
    for (int j = 0; j < 4; j++)
      word |= (scale > 0 ? encoded(tree, __fdiv_rn(x[4 * h + j], scale)) : zero_code(tree)) << 8 * j;
    store_codes(codes, at, count, word);
  }
}

// One warp a block of 256 elements, in strides of all warps, since the trees are made once for each block of threads.
extern "C" __global__ void __launch_bounds__(256, 3)
    adam_w8(float* w, u8* m_codes, float* m_scales, u8* v_codes, float* v_scales, const float* g, float rate, float beta1,
            float beta2, float eps, float decay, float first, float second, float scale, i64 n) {
  __shared__ Tree<6> with_sign;
  __shared__ Tree<7> without;
  with_sign.fill();
  without.fill();
  __syncthreads();
  Step s = {rate, beta1, beta2, eps, decay, first, second, scale};
  int lane = threadIdx.x & 31;
  for (i64 block = first_element() >> 5; block * 256 < n; block += all_threads() >> 5) {
    float m[8], v[8];
    decode(m, with_sign, m_codes, m_scales[block], block, lane, n);
    decode(v, without, v_codes, v_scales[block], block, lane, n);
    __syncwarp();  // all lanes have read the scales
#pragma unroll
    FOR_HALVES(h, at, count, n) {
      float a[4], d[4];
      load_four(a, w, at, count);
      load_four(d, g, at, count);
      for (int j = 0; j < 4; j++) update(a[j], m[4 * h + j], v[4 * h + j], d[j], s);
      store_four(w, at, count, a);
    }
    encode(m, with_sign, m_codes, m_scales, block, lane, n);
    encode(v, without, v_codes, v_scales, block, lane, n);
  }
}

// A step of learned rounding (Cheng et al., 2023, arXiv 2309.05516), a warp for each of `total` groups.
extern "C" __global__ void sign_step(float* w, float* scales, float* g, const u8* codes, const u8* zeros, int cols, int groups,
                                     int length, int max_code, float rate, float range_rate, float momentum, i64 total) {
  i64 group = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (group >= total) return;  // a whole warp; there are no barriers
  int from = (int)(group % groups) * length, n = min(length, cols - from), zero = zeros[group];
  i64 at = group / groups * cols + from;
  float scale = scales[group], step = rate * fabsf(scale), sign = scale > 0 ? 1.f : scale < 0 ? -1.f : 0.f;
  float first = (-zero - 0.5f) * scale, last = (max_code - zero + 0.5f) * scale, low = fminf(first, last), high = fmaxf(first, last);
  double slope = 0;
  for (int i = threadIdx.x & 31; i < n; i += 32) {
    float x = w[at + i], d = g[at + i];
    slope += (double)d * ((int)codes[at + i] - zero);
    x = d > 0 ? x - step : d < 0 ? x + step : x;
    x = x < low ? low : x;
    w[at + i] = x > high ? high : x;
    g[at + i] = d * momentum;
  }
  for (int k = 16; k > 0; k >>= 1) slope += __shfl_xor_sync(0xffffffffu, slope, k);
  if ((threadIdx.x & 31) == 0) scales[group] = scale * (1 - range_rate * ((slope > 0 ? 1.f : slope < 0 ? -1.f : 0.f) * sign));
}

// ---------------------------------------------------------------- scales of packed weights
// dscales[o,g] += sum_i dvalues[o,i] (code[o,i] - zero[o,g]). A warp sums a group; with an index it looks at all of the row.
extern "C" __global__ void scales_gradient(float* dscales, const float* dvalues, const u32* codes, const u8* zeros, const int* index,
                                           int bits, int cols, int groups, int length, int words, i64 total) {
  i64 at = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (at >= total) return;  // a whole warp; there are no barriers
  i64 row = at / groups;
  int g = (int)(at % groups), zero = zeros[at];
  int from = index ? 0 : g * length, to = index ? cols : min(cols, from + length);
  const u32* stream = codes + row * words;
  double sum = 0;
  for (int i = from + (threadIdx.x & 31); i < to; i += 32) {
    if (index && index[i] != g) continue;
    i64 bit = (i64)i * bits;
    int word = (int)(bit >> 5), shift = (int)(bit & 31);
    u32 code = stream[word] >> shift;
    if (shift + bits > 32) code |= stream[word + 1] << (32 - shift);
    sum += (double)dvalues[row * cols + i] * ((int)(code & ((1u << bits) - 1)) - zero);
  }
  for (int k = 16; k > 0; k >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, k);
  if ((threadIdx.x & 31) == 0) dscales[at] = (float)(dscales[at] + sum);
}
