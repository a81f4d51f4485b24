// SPDX-License-Identifier: Apache-2.0
//
// Which weights are pruned: those with the smallest |w| * c.
//
// The k-th smallest is found by radix selection, eight bits a pass: scores are not negative, so that their bits order as
// they do. Counts are whole numbers, so that it does not matter in which order they are added up. Of the weights that
// equal the k-th smallest the first ones are taken, in the order of their indices.
#include "quant.cuh"

static const int DIGITS = 256;
static const int COPIES = 8;   // of each count: most scores begin with one of a few digits, and a warp's lanes would queue
static const int TILE = 4096;  // columns of a row, where all rows compete

// The columns [from, from + n) of w.
struct Scores {
  const void* w;
  int type;
  const float* importance;  // of column `from`; null for ones
  i64 cols;
  int from, n;
  bool fours;
};

static __device__ __forceinline__ Scores scores_of(const void* w, int type, const float* importance, int cols, int from, int n,
                                                   int tile) {
  bool fours = by_four(w, bytes_of(type), cols) && by_four(importance, 4, 0) && ((from | tile) & 3) == 0;
  return {w, type, importance ? importance + from : nullptr, cols, from, n, fours};
}

// The bits of the scores of columns [c, c + 4) of a row, as far as they are there. NaN is the largest.
static __device__ __forceinline__ void bits_of(u32 (&bits)[4], const Scores& s, i64 row, int c) {
  float x[4], f[4] = {1.f, 1.f, 1.f, 1.f};
  load_four(x, s.w, row * s.cols + s.from + c, s.n - c, s.type, s.fours);
  if (s.importance) load_four(f, s.importance, c, s.n - c, F32, s.fours);
#pragma unroll
  for (int k = 0; k < 4; k++) bits[k] = __float_as_uint(fabsf(x[k]) * f[k]) & 0x7fffffffu;
}

// Copies of a count lie in neighbouring banks. Every thread must come to all of these.
static __device__ __forceinline__ void clear_counts(u32* copies) {
  for (int i = threadIdx.x; i < DIGITS * COPIES; i += blockDim.x) copies[i] = 0;
  __syncthreads();
}

static __device__ __forceinline__ void count_digits(u32* copies, const u32 (&bits)[4], int n, u32 prefix, int shift) {
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < n && (shift == 24 || bits[k] >> (shift + 8) == prefix))
      atomicAdd(copies + COPIES * (bits[k] >> shift & (DIGITS - 1)) + threadIdx.x % COPIES, 1u);
}

static __device__ __forceinline__ u32 count_of(const u32* copies, int digit) {
  u32 sum = 0;
#pragma unroll
  for (int i = 0; i < COPIES; i++) sum += copies[COPIES * digit + (i + threadIdx.x) % COPIES];
  return sum;
}

// What is known of the weight after which nothing is pruned.
struct Threshold {
  u32 prefix;  // its leading digits
  i64 left;    // how many of those with this prefix are pruned
  i64 equal;   // how many have this prefix
};

// The digit that `left` falls on. For one whole warp; all lanes get the result.
template <class T>
static __device__ __forceinline__ void pick(Threshold& t, const T* counts) {
  const int EACH = DIGITS / 32;
  int lane = threadIdx.x & 31;
  T own[EACH];
  i64 sum = 0;
#pragma unroll
  for (int i = 0; i < EACH; i++) sum += (i64)(own[i] = counts[EACH * lane + i]);
  i64 upto = sum;
  for (int o = 1; o < 32; o <<= 1) {
    i64 other = __shfl_up_sync(0xffffffffu, upto, o);
    if (lane >= o) upto += other;
  }
  i64 before = upto - sum;
  // Where nothing is left, the lowest digit.
  u32 found = __ballot_sync(0xffffffffu, upto >= t.left && (before < t.left || lane == 0));
  int digit = 0;
  while (digit + 1 < EACH && before + (i64)own[0] < t.left) {
    before += (i64)own[0];
#pragma unroll
    for (int i = 0; i + 1 < EACH; i++) own[i] = own[i + 1];
    digit++;
  }
  int source = found ? __ffs((int)found) - 1 : 31;
  i64 equal = (i64)own[0];
  t.prefix = t.prefix << 8 | __shfl_sync(0xffffffffu, (u32)(EACH * lane + digit), source);
  t.left -= __shfl_sync(0xffffffffu, before, source);
  t.equal = __shfl_sync(0xffffffffu, equal, source);
}

// The sum over the threads before this one; `all` becomes the sum over all. Every thread of the block must come.
static __device__ __forceinline__ int before_me(int mine, int& all) {
  __shared__ int parts[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, upto = mine;
  for (int o = 1; o < 32; o <<= 1) {
    int other = __shfl_up_sync(0xffffffffu, upto, o);
    if (lane >= o) upto += other;
  }
  __syncthreads();  // the parts of the call before have been read
  if (lane == 31) parts[warp] = upto;
  __syncthreads();
  int before = upto - mine;
  all = 0;
  for (int w = 0; w < blockDim.x >> 5; w++) {
    if (w < warp) before += parts[w];
    all += parts[w];
  }
  return before;
}

static __device__ __forceinline__ int equal_to(const u32 (&bits)[4], int n, u32 threshold) {
  int equal = 0;
#pragma unroll
  for (int k = 0; k < 4; k++) equal += k < n && bits[k] == threshold;
  return equal;
}

// Marks below the threshold and, of those that equal it, as many as `ties` says.
static __device__ __forceinline__ void mark(u8* mask, i64 at, int n, bool fours, const u32 (&bits)[4], u32 threshold, i64 ties) {
  u32 pruned = 0;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    bool tie = bits[k] == threshold;
    if (bits[k] < threshold || (tie && ties > 0)) pruned |= 1u << 8 * k;
    ties -= tie;
  }
  store_octets(mask, at, n, pruned, fours);
}

// ---------------------------------------------------------------- each row by itself
// One block a row; its first `kept` scores lie in shared memory.
extern "C" __global__ void mask_each_row(u8* mask, const void* w, int type, const float* importance, int cols, int from, int n,
                                         int zeros, int kept) {
  DYNAMIC_SHARED(u32, scores);
  __shared__ u32 copies[DIGITS * COPIES], counts[DIGITS];
  __shared__ Threshold picked;
  i64 row = blockIdx.x;
  Scores s = scores_of(w, type, importance, cols, from, n, 0);
  bool octets = by_four(mask, 1, cols) && (from & 3) == 0;
  Threshold t = {0, zeros, 0};
  u32 bits[4];
  for (int shift = 24; shift >= 0; shift -= 8) {
    clear_counts(copies);
    for (int c = 4 * threadIdx.x; c < n; c += 4 * blockDim.x) {
      if (c >= kept || shift == 24) bits_of(bits, s, row, c);
      else {
        uint4 v = *(const uint4*)(scores + c);
        bits[0] = v.x, bits[1] = v.y, bits[2] = v.z, bits[3] = v.w;
      }
      // Only the same thread reads them again.
      if (shift == 24 && c < kept) *(uint4*)(scores + c) = make_uint4(bits[0], bits[1], bits[2], bits[3]);
      count_digits(copies, bits, n - c, t.prefix, shift);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) counts[i] = count_of(copies, i);
    __syncthreads();
    if (threadIdx.x < 32) {
      pick(t, counts);
      if (threadIdx.x == 0) picked = t;
    }
    __syncthreads();
    t = picked;
  }
  bool all = t.left == t.equal || t.left == 0;
  i64 taken = 0;
  for (int first = 0; first < n; first += 4 * blockDim.x) {
    int c = first + 4 * threadIdx.x;
    bits[0] = bits[1] = bits[2] = bits[3] = 0xffffffffu;
    if (c < n) {
      if (c >= kept) bits_of(bits, s, row, c);
      else {
        uint4 v = *(const uint4*)(scores + c);
        bits[0] = v.x, bits[1] = v.y, bits[2] = v.z, bits[3] = v.w;
      }
    }
    i64 ties = t.left;
    if (!all) {
      int more;
      ties -= taken + before_me(equal_to(bits, n - c, t.prefix), more);
      taken += more;
    } else if (ties > 0) {
      ties = n;
    }
    if (c < n) mark(mask, row * cols + from + c, n - c, octets, bits, t.prefix, ties);
  }
}

// ---------------------------------------------------------------- all rows together
// Units are the tiles of a row, row by row. `counts` are all zero.
extern "C" __global__ void mask_count(u64* counts, const Threshold* t, int shift, const void* w, int type, const float* importance,
                                      int cols, int from, int n, i64 units, int tiles) {
  __shared__ u32 copies[DIGITS * COPIES];
  Scores s = scores_of(w, type, importance, cols, from, n, TILE);
  clear_counts(copies);
  u32 prefix = shift == 24 ? 0 : t->prefix;
  for (i64 u = blockIdx.x; u < units; u += gridDim.x) {
    i64 row = u / tiles;
    int first = (int)(u % tiles) * TILE, end = min(n, first + TILE);
    for (int c = first + 4 * threadIdx.x; c < end; c += 4 * blockDim.x) {
      u32 bits[4];
      bits_of(bits, s, row, c);
      count_digits(copies, bits, n - c, prefix, shift);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) {
    u32 here = count_of(copies, i);
    if (here) atomicAdd(counts + i, (u64)here);
  }
}

// One warp.
extern "C" __global__ void mask_pick(Threshold* t, const u64* counts, int shift, i64 zeros) {
  Threshold now = {0, zeros, 0};
  if (shift < 24) now = *t;
  pick(now, counts);
  if (threadIdx.x == 0) *t = now;
}

static __device__ __forceinline__ bool takes_all(const Threshold* t) { return t->left == t->equal || t->left == 0; }

extern "C" __global__ void mask_ties(i64* ties, const Threshold* t, const void* w, int type, const float* importance, int cols,
                                     int from, int n, i64 units, int tiles) {
  if (takes_all(t)) return;  // every thread of every block
  Scores s = scores_of(w, type, importance, cols, from, n, TILE);
  for (i64 u = blockIdx.x; u < units; u += gridDim.x) {
    i64 row = u / tiles;
    int first = (int)(u % tiles) * TILE, end = min(n, first + TILE), equal = 0;
    for (int c = first + 4 * threadIdx.x; c < end; c += 4 * blockDim.x) {
      u32 bits[4];
      bits_of(bits, s, row, c);
      equal += equal_to(bits, n - c, t->prefix);
    }
    equal = block_sum(equal);
    if (threadIdx.x == 0) ties[u] = equal;
  }
}

// Of each unit's ties those in the units before; one block.
extern "C" __global__ void mask_ties_before(i64* ties, const Threshold* t, i64 units) {
  if (takes_all(t)) return;
  i64 before = 0;
  for (i64 first = 0; first < units; first += blockDim.x) {
    i64 u = first + threadIdx.x;
    int more, mine = u < units ? (int)ties[u] : 0;
    int here = before_me(mine, more);
    if (u < units) ties[u] = before + here;
    before += more;
  }
}

extern "C" __global__ void mask_together(u8* mask, const i64* ties, const Threshold* t, const void* w, int type,
                                         const float* importance, int cols, int from, int n, i64 units, int tiles) {
  Scores s = scores_of(w, type, importance, cols, from, n, TILE);
  bool octets = by_four(mask, 1, cols) && (from & 3) == 0, all = takes_all(t);
  u32 threshold = t->prefix;
  for (i64 u = blockIdx.x; u < units; u += gridDim.x) {
    i64 row = u / tiles, left = t->left - (all ? 0 : ties[u]);
    int end = min(n, (int)(u % tiles) * TILE + TILE);
    for (int first = (int)(u % tiles) * TILE; first < end; first += 4 * blockDim.x) {
      int c = first + 4 * threadIdx.x;
      u32 bits[4] = {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu};
      if (c < end) bits_of(bits, s, row, c);
      i64 mine = left > 0 ? 4 : 0;
      if (!all) {
        int more;
        mine = left - before_me(equal_to(bits, n - c, threshold), more);
        left -= more;
      }
      if (c < end) mark(mask, row * cols + from + c, n - c, octets, bits, threshold, mine);
    }
  }
}

// ---------------------------------------------------------------- without a selection
// One block a row.
extern "C" __global__ void mask_zeros(u8* mask, const void* w, int type, int cols, int from, int n) {
  i64 at = (i64)blockIdx.x * cols + from;
  bool fours = by_four(w, bytes_of(type), cols) && (from & 3) == 0, octets = by_four(mask, 1, cols) && (from & 3) == 0;
  for (int c = 4 * threadIdx.x; c < n; c += 4 * blockDim.x) {
    float x[4];
    load_four(x, w, at + c, n - c, type, fours);
    u32 pruned = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) pruned |= (u32)(x[k] == 0.f) << 8 * k;
    store_octets(mask, at + c, n - c, pruned, octets);
  }
}

static const int SHARED_TILE = 2048;

// Of m neighbours all but `stay`. A tile is a whole number of groups; only a tile of at most SHARED_TILE columns is shared.
extern "C" __global__ void mask_n_of_m(u8* mask, const void* w, int type, const float* importance, int cols, int from, int n,
                                       i64 units, int tiles, int tile, int stay, int m) {
  __shared__ __align__(16) u32 scores[SHARED_TILE];
  Scores s = scores_of(w, type, importance, cols, from, n, tile);
  bool octets = by_four(mask, 1, cols) && ((from | tile) & 3) == 0, shared = tile <= SHARED_TILE;
  for (i64 u = blockIdx.x; u < units; u += gridDim.x) {
    i64 row = u / tiles;
    int first = (int)(u % tiles) * tile, here = min(tile, n - first);
    if (shared) {
      __syncthreads();  // the tile before has been read
      for (int c = 4 * threadIdx.x; c < here; c += 4 * blockDim.x) {
        u32 bits[4];
        bits_of(bits, s, row, first + c);
#pragma unroll
        for (int k = 0; k < 4; k++)
          if (c + k < here) scores[c + k] = bits[k];
      }
      __syncthreads();
    }
    for (int c = 4 * threadIdx.x; c < here; c += 4 * blockDim.x) {
      u32 bits[4], pruned = 0;
      bits_of(bits, s, row, first + c);
      int group = c / m * m;
#pragma unroll
      for (int k = 0; k < 4; k++) {
        if (c + k >= group + m) group += m;
        int before = 0;
        for (int i = group; i < group + m && c + k < here; i++) {
          u32 other;
          if (shared) other = scores[i];
          else {
            float x = load(w, row * cols + from + first + i, type), f = importance ? s.importance[first + i] : 1.f;
            other = __float_as_uint(fabsf(x) * f) & 0x7fffffffu;
          }
          before += other < bits[k] || (other == bits[k] && i < c + k);
        }
        pruned |= (u32)(before < m - stay) << 8 * k;
      }
      store_octets(mask, row * cols + from + first + c, here - c, pruned, octets);
    }
  }
}

// One block a row.
extern "C" __global__ void count_above(double* out, const void* w, int type, const float* importance, float threshold, int cols) {
  bool fours = by_four(w, bytes_of(type), cols) && by_four(importance, 4, 0);
  i64 at = (i64)blockIdx.x * cols;
  int above = 0;
  for (int c = 4 * threadIdx.x; c < cols; c += 4 * blockDim.x) {
    float x[4], f[4];
    load_four(x, w, at + c, cols - c, type, fours);
    load_four(f, importance, c, cols - c, F32, fours);
#pragma unroll
    for (int k = 0; k < 4; k++) above += c + k < cols && fabsf(x[k]) * f[k] > threshold;
  }
  above = block_sum(above);
  if (threadIdx.x == 0) out[blockIdx.x] = (double)above;
}

// ---------------------------------------------------------------- zeroes what a mask says
extern "C" __global__ void apply_mask_32(u32* out, const u32* w, const u8* mask, i64 n) {
  bool wide = (((u64)out | (u64)w) & 15) == 0 && ((u64)mask & 3) == 0;
  for (i64 i = 4 * first_element(); i < n; i += 4 * all_threads()) {
    if (wide && i + 4 <= n) {
      uint4 v = *(const uint4*)(w + i);
      u32 m = *(const u32*)(mask + i);
      *(uint4*)(out + i) = make_uint4(m & 0xff ? 0 : v.x, m & 0xff00 ? 0 : v.y, m & 0xff0000 ? 0 : v.z, m & 0xff000000 ? 0 : v.w);
    } else {
      for (i64 k = i; k < min(n, i + 4); k++) out[k] = mask[k] ? 0 : w[k];
    }
  }
}

// 0xffff for each of two octets that is zero.
static __device__ __forceinline__ u32 stays(u32 mask, int shift) {
  return (mask >> shift & 0xff ? 0u : 0xffffu) | (mask >> (shift + 8) & 0xff ? 0u : 0xffff0000u);
}

extern "C" __global__ void apply_mask_16(u16* out, const u16* w, const u8* mask, i64 n) {
  bool wide = (((u64)out | (u64)w) & 15) == 0 && ((u64)mask & 7) == 0;
  for (i64 i = 8 * first_element(); i < n; i += 8 * all_threads()) {
    if (wide && i + 8 <= n) {
      uint4 v = *(const uint4*)(w + i);
      uint2 m = *(const uint2*)(mask + i);
      *(uint4*)(out + i) = make_uint4(v.x & stays(m.x, 0), v.y & stays(m.x, 16), v.z & stays(m.y, 0), v.w & stays(m.y, 16));
    } else {
      for (i64 k = i; k < min(n, i + 8); k++) out[k] = mask[k] ? (u16)0 : w[k];
    }
  }
}
