// SPDX-License-Identifier: Apache-2.0
//
// The gradient of attention, as FlashAttention-2 has it (Dao, 2023, arXiv 2307.08691): probabilities are computed again
// from each query's maximum and sum. A block has 64 rows of one head on the left, queries or keys, and walks tiles of
// 32 of the others in order: nobody adds to what is another's. The keys' and the values' gradients have a kernel each,
// since the sums of both would not fit into registers; where query heads share keys, each head's part is kept until all
// can be added, since too few blocks would be at work otherwise.
//
// Products are those of attention_halves.cuh. What one reads as its left side is made to fit halves tile by tile and
// row by row, and each tile's product is added in floats.
#include "attention_halves.cuh"

constexpr float LOG2_E = 1.4426950408889634f;
constexpr int WALK = 32;

// One warp a row of operand a (y = 0) or b (y = 1), sequences `first` on: `wide` halves of hi, and in another plane of
// lo; head by head, `padded` rows a sequence. `factors`: what halves are to be multiplied with.
extern "C" __global__ void attention_grad_split(u16* halves, float* factors, const float* a, const float* b, int first,
                                                int sequences, int length, int padded, int heads, int a_dim, int b_dim,
                                                int wide) {
  i64 rows = (i64)sequences * heads * padded;
  i64 row = first_element() >> 5;
  if (row >= rows) return;  // a whole warp
  int t = row % padded, head = row / padded % heads;
  i64 sequence = row / padded / heads + first;
  int dim = blockIdx.y == 1 ? b_dim : a_dim;
  const float* x = (blockIdx.y == 1 ? b : a) + ((sequence * length + t) * heads + head) * dim;
  u16* hi = halves + (2 * blockIdx.y * rows + row) * wide;
  int e = split_row(hi, hi + rows * wide, x, t < length ? dim : 0, wide, LOWEST_EXPONENT);
  if ((threadIdx.x & 31) == 0) factors[blockIdx.y * rows + row] = power_of_two(e - TOP);
}

// delta = sum_c dout[c] out[c]; one warp a row, laid out as the rows of attention_grad_split.
extern "C" __global__ void attention_grad_delta(float* delta, const float* dout, const float* out, int first,
                                                int sequences, int length, int padded, int heads, int dim) {
  i64 rows = (i64)sequences * heads * padded;
  i64 row = first_element() >> 5;
  int t = row % padded, head = row / padded % heads;
  i64 sequence = row / padded / heads + first;
  if (row >= rows || t >= length) return;  // a whole warp
  i64 at = ((sequence * length + t) * heads + head) * dim;
  double sum = 0.;
  // In F64: it is taken from products of about its size, and what is left over is the gradient.
  for (int c = threadIdx.x & 31; c < dim; c += 32) sum = fma((double)dout[at + c], (double)out[at + c], sum);
  sum = warp_reduce(sum, Sum());
  if ((threadIdx.x & 31) == 0) delta[row] = (float)sum;
}

// dsinks[h] += -sum_t p[t] delta[t], p the sink's probabilities: what it takes from keys, and gives nothing for. One
// block a head. Stats and delta are `row` apart in a sequence, `head` between heads, `sequence` between sequences;
// `unit` makes natural logarithms theirs.
extern "C" __global__ void attention_grad_sinks(float* dsinks, const float* sinks, const float2* stats,
                                                const float* delta, int sequences, int length, i64 row, i64 head,
                                                i64 sequence, float unit) {
  // Rows in strides of the block, then one tree: the same order on every device.
  int h = blockIdx.x;
  float sink = sinks[h] * unit;
  double sum = 0.;
  for (i64 i = threadIdx.x; i < (i64)sequences * length; i += blockDim.x) {
    i64 at = i / length * sequence + h * head + i % length * row;
    float2 stat = stats[at];
    sum = fma((double)exp2f(((sink - stat.x) - stat.y) * (LOG2_E / unit)), (double)delta[at], sum);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) dsinks[h] -= (float)sum;
}

// Two operands with the same heads, as attention_grad_split left them.
struct Pair {
  const u16* halves;
  const float* factors;
  int heads, padded, rows;

  // rows: of all heads and sequences, which is how far apart the planes of hi and lo are.
  __device__ Pair(const u16* halves_, const float* factors_, int heads_, int sequences, int padded_)
      : halves(halves_), factors(factors_), heads(heads_), padded(padded_), rows(sequences * heads_ * padded_) {}

  __device__ int row(int sequence, int head) const { return (sequence * heads + head) * padded; }

  template <int WIDE, int ROWS>
  __device__ __forceinline__ void fetch(HalfTile<WIDE, ROWS>& tile, int operand, int row) const {
    i64 first = (i64)operand * 2 * rows + row;
    tile.fetch(halves + first * WIDE, factors + ((i64)operand * rows + row), rows);
  }
};

// The warp's sixteen rows of a left side, kept in registers.
template <int WIDE>
struct Left {
  u32 hi[WIDE / 16][4], lo[WIDE / 16][4];
  float factor[2];

  // The first operand of a pair, from one row on.
  __device__ __forceinline__ void load(const Pair& x, int row) {
    int lane = threadIdx.x & 31, g = lane >> 2, c2 = 2 * (lane & 3);
    // The layout of an mma's left operand: two neighbouring columns a register, rows g and g + 8, then 8 columns on.
    const u16* from = x.halves + (i64)(row + g) * WIDE + c2;
    const u16* low = from + (i64)x.rows * WIDE;
#pragma unroll
    for (int i = 0; i < WIDE / 16; i++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        int at = (r & 1) * 8 * WIDE + 16 * i + (r >> 1) * 8;
        hi[i][r] = *(const u32*)(from + at);
        lo[i][r] = *(const u32*)(low + at);
      }
    factor[0] = x.factors[row + g];
    factor[1] = x.factors[row + g + 8];
  }
};

typedef float Product[4][4];  // 16 x WALK

__device__ __forceinline__ void clear_product(Product& s) {
#pragma unroll
  for (int n = 0; n < 4; n++)
#pragma unroll
    for (int r = 0; r < 4; r++) s[n][r] = 0.f;
}

template <int WIDE>
__device__ __forceinline__ void multiply(Product& s, const Left<WIDE>& left, const HalfTile<WIDE, WALK>& right) {
  clear_product(s);
#pragma unroll
  for (int i = 0; i < WIDE / 16; i++) {
    multiply_halves<false, false>(s, left.hi[i], left.lo[i], right, 0, 16 * i);
  }
}

template <int WIDE>
__device__ __forceinline__ void multiply(Product& s, const HalfTile<WIDE, TILE>& left, int row,
                                         const HalfTile<WIDE, WALK>& right) {
  clear_product(s);
#pragma unroll
  for (int i = 0; i < WIDE / 16; i++) {
    u32 a_hi[4], a_lo[4];
    left_side(a_hi, left, 0, row, 16 * i);
    left_side(a_lo, left, 1, row, 16 * i);
    multiply_halves<false, false>(s, a_hi, a_lo, right, 0, 16 * i);
  }
}

// Maxima of each query's scores and logarithms of the sums of 2^(score - maximum), scores over log 2.
template <int WIDE>
__device__ __forceinline__ void halves_stats(float2* stats, const Pair& queries, const Pair& keys, const float* sinks,
                                             int sequences, Scoring f) {
  // Two tiles in turn: one is multiplied while the other arrives.
  __shared__ __align__(128) HalfTile<WIDE, WALK> tiles[2];
  int lane = threadIdx.x & 31, g = lane >> 2, c2 = 2 * (lane & 3);
  Work w(queries.heads, sequences, f.query_tiles(), true);
  f.of(w.head);
  int q0 = w.tile * TILE + 16 * (threadIdx.x >> 5);
  int query_row = queries.row(w.sequence, w.head);
  int key_row = keys.row(w.sequence, w.head / (queries.heads / keys.heads));
  Range range = f.keys_of(w.tile * TILE, TILE);
  int first = range.first / WALK, last = range.last / WALK;
  int from = key_row + first * WALK;
  keys.fetch(tiles[first & 1], 0, from);
  cp_async_commit();
  Left<WIDE> left;
  left.load(queries, query_row + q0);
  float most[2] = {LOWEST, LOWEST}, sum[2] = {0.f, 0.f};
  for (int t = first; t <= last; t++) {
    if (t < last) {
      from += WALK;
      keys.fetch(tiles[(t + 1) & 1], 0, from);
    }
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    int k0 = t * WALK;
    // Other warps of the block may need a tile that this one does not.
    if (f.some(q0, 16, k0, WALK)) {
      const HalfTile<WIDE, WALK>& right = tiles[t & 1];
      Product s;
      multiply(s, left, right);
      float top[2] = {most[0], most[1]};
      Range ranges[2] = {f.keys_of(q0 + g), f.keys_of(q0 + g + 8)};
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          int h = r >> 1, col = 8 * n + c2 + (r & 1);
          float capped = f.capped(s[n][r] * (left.factor[h] * right.factor[col]));
          float u = f.score(capped, q0 + g + 8 * h, k0 + col) * LOG2_E;
          s[n][r] = ranges[h].has(k0 + col) ? u : -__uint_as_float(0x7f800000u);
          top[h] = fmaxf(top[h], s[n][r]);
        }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 1));
        top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 2));
        sum[h] *= exp2f(most[h] - top[h]);
        most[h] = top[h];
      }
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) sum[r >> 1] += exp2f(s[n][r] - top[r >> 1]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    if (sinks != nullptr) {
      // The sink takes its part of the sum; as for the keys, what is larger becomes the maximum.
      float sink = sinks[w.head] * LOG2_E, top = fmaxf(most[h], sink);
      sum[h] = fmaf(sum[h], exp2f(most[h] - top), exp2f(sink - top));
      most[h] = top;
    }
    if ((lane & 3) == 0) stats[query_row + q0 + g + 8 * h] = make_float2(most[h], log2f(sum[h]));
  }
}

enum Wanted { OF_QUERIES, OF_KEYS, OF_VALUES };

template <int WIDE>
struct Tiles {
  HalfTile<WIDE, WALK> first, second;
  // What the first product of dq and dk reads on its left, dout or v, would not fit into registers beside the other.
  HalfTile<WIDE, TILE> left;  // not for values
};

// Left sides are rows of `lefts`, first q or k, then dout or v; `rights` are walked, first k or q, then v or dout.
// All of one query head: a tensor of as many heads of `dim` columns is given the result, or has it added.
template <int WIDE, Wanted WANTED>
__device__ __forceinline__ void halves_gradient(float* sum, bool add, const Pair& lefts, const Pair& rights,
                                                const float2* stats, const float* delta, int first_sequence,
                                                int sequences, int heads, int dim, Scoring f) {
  DYNAMIC_SHARED(Tiles<WIDE>, tiles);
  constexpr bool KEYS_LEFT = WANTED != OF_QUERIES, VALUES = WANTED == OF_VALUES;
  int lane = threadIdx.x & 31, g = lane >> 2, c2 = 2 * (lane & 3), row = 16 * (threadIdx.x >> 5);
  Work w(heads, sequences, KEYS_LEFT ? f.key_tiles() : f.query_tiles(), !KEYS_LEFT);
  f.of(w.head);
  // From here on: l counts rows on the left, r those that are walked, whichever of them are queries.
  int t0 = w.tile * TILE, l0 = t0 + row;  // the block's first row, the warp's
  int left_row = lefts.row(w.sequence, w.head / (heads / lefts.heads)) + t0;
  // The tiles walked: none where no query sees any of the keys.
  Range range = KEYS_LEFT ? f.queries_of(t0, TILE) : f.keys_of(t0, TILE);
  int first = range.first / WALK * WALK, last = range.last;
  int right_row = rights.row(w.sequence, w.head / (heads / rights.heads));

  // The right side of the first product is free early: what it holds next is copied while the other is at work. The one
  // that comes last is the right side of the last product, too.
  HalfTile<WIDE, WALK>& early = VALUES ? tiles->first : tiles->second;
  HalfTile<WIDE, WALK>& late = VALUES ? tiles->second : tiles->first;
  if (!VALUES) lefts.fetch(tiles->left, 1, left_row);
  if (first <= last) rights.fetch(early, VALUES ? 0 : 1, right_row + first);
  cp_async_commit();
  Left<WIDE> left;
  left.load(lefts, left_row + row);

  float acc[WIDE / 8][4];
#pragma unroll
  for (int i = 0; i < WIDE / 8; i++)
#pragma unroll
    for (int r = 0; r < 4; r++) acc[i][r] = 0.f;

  for (int r0 = first; r0 <= last; r0 += WALK) {
    int from = right_row + r0;
    // s = q k^T needs the pair's first operands, dp = dout v^T its second.
    rights.fetch(late, VALUES ? 1 : 0, from);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    // Whether any of the warp's queries sees any of the keys.
    bool some = KEYS_LEFT ? f.some(r0, WALK, l0, 16) : f.some(l0, 16, r0, WALK);
    Product s, dp;
    if (some) {
      if (VALUES) multiply(s, left, early);
      else multiply(dp, tiles->left, row, early);
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          int col = 8 * n + c2 + (r & 1), l = row + g + 8 * (r >> 1);
          if (VALUES) s[n][r] *= left.factor[r >> 1] * early.factor[col];
          else dp[n][r] *= tiles->left.factor[l] * early.factor[col];
        }
    }
    cp_async_wait<0>();
    __syncthreads();
    if (r0 + WALK <= last) rights.fetch(early, VALUES ? 0 : 1, from + WALK);
    cp_async_commit();
    if (some) {
      // The gradient's second product; for values s is there already, and all that is wanted.
      if (!VALUES) multiply(s, left, late);
      float most[2] = {0.f, 0.f};
      Range ranges[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int l = t0 + row + g + 8 * h;
        ranges[h] = KEYS_LEFT ? f.queries_of(l) : f.keys_of(l);
      }
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          int col = 8 * n + c2 + e;
          float2 stat;
          float mean = 0.f;
          // A query's maximum, logarithm and delta belong to columns here, to rows there.
          if (KEYS_LEFT) {
            stat = stats[from + col];
            if (!VALUES) mean = delta[from + col];
          }
#pragma unroll
          for (int h = 0; h < 2; h++) {
            int l = row + g + 8 * h, r = 2 * h + e;
            if (!KEYS_LEFT) {
              stat = stats[left_row + l];
              mean = delta[left_row + l];
            }
            float capped = f.capped(VALUES ? s[n][r] : s[n][r] * (left.factor[h] * late.factor[col]));
            float score = KEYS_LEFT ? f.score(capped, r0 + col, t0 + l) : f.score(capped, t0 + l, r0 + col);
            // p = 2^(s - max - log sum); ds = p (dp - delta), through the cap, back to q . k.
            float x = exp2f((score * LOG2_E - stat.x) - stat.y);
            if (!VALUES) x = x * (dp[n][r] - mean) * f.scale * f.derivative(capped);
            // The right side's factor goes where the depth of the product is.
            x = ranges[h].has(r0 + col) ? x * late.factor[col] : 0.f;
            most[h] = Max()(most[h], fabsf(x));
            s[n][r] = x;
          }
        }
      // As halves the rows need a power of two of their own again, for each tile: probabilities have any size.
      float up[2], down[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        most[h] = Max()(most[h], __shfl_xor_sync(0xffffffffu, most[h], 1));
        most[h] = Max()(most[h], __shfl_xor_sync(0xffffffffu, most[h], 2));
        int e = exponent(most[h]);
        up[h] = power_of_two(TOP - e);
        down[h] = power_of_two(e - TOP);
      }
      u32 a_hi[2][4], a_lo[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          const float(&x)[4] = s[2 * i + (r >> 1)];
          float scale = up[r & 1];
          Halves h = split(x[2 * (r & 1)] * scale, x[2 * (r & 1) + 1] * scale);
          a_hi[i][r] = h.hi;
          a_lo[i][r] = h.lo;
        }
#pragma unroll
      for (int d = 0; d < WIDE / 32; d++) {
        // Each tile's product on its own: tensor cores cut off what does not fit into a long sum.
        Product part;
        clear_product(part);
#pragma unroll
        for (int i = 0; i < 2; i++) multiply_halves<true, false>(part, a_hi[i], a_lo[i], late, 16 * i, 32 * d);
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
          for (int r = 0; r < 4; r++) acc[4 * d + n][r] = fmaf(part[n][r], down[r >> 1], acc[4 * d + n][r]);
      }
    }
    __syncthreads();
  }

  cp_async_wait<0>();  // where there was nothing to walk
  Work again(heads, sequences, KEYS_LEFT ? f.key_tiles() : f.query_tiles(), !KEYS_LEFT);
  // A result has as many rows as the left side.
  int rows = KEYS_LEFT ? f.keys : f.length;
  bool pairs = dim % 2 == 0 && ((size_t)sum & 7) == 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int t = again.tile * TILE + row + g + 8 * h;
    if (t >= rows) continue;
    float* to = sum + (((i64)(first_sequence + again.sequence) * rows + t) * heads + again.head) * dim;
#pragma unroll
    for (int i = 0; i < WIDE / 8; i++) {
      int c = 8 * i + c2;
      float a = acc[i][2 * h], b = acc[i][2 * h + 1];
      if (pairs) {
        if (c >= dim) continue;
        float2 old = add ? *(const float2*)(to + c) : make_float2(0.f, 0.f);
        *(float2*)(to + c) = make_float2(old.x + a, old.y + b);
      } else {
        if (c < dim) to[c] = add ? to[c] + a : a;
        if (c + 1 < dim) to[c + 1] = add ? to[c + 1] + b : b;
      }
    }
  }
}

// sum[r, h, :] += the group's x[r, h * group + i, :] in their order; n elements of the sum, `first` on.
extern "C" __global__ void attention_grad_group(float* sum, const float* x, int group, int dim, i64 first, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    const float* from = x + i / dim * group * dim + i % dim;
    float all = 0.f;
    for (int h = 0; h < group; h++) all += from[(i64)h * dim];
    sum[first + i] += all;
  }
}

#define SIDES                                                                                                     \
  const u16 *query_halves, const float *query_factors, int query_rows, const u16 *key_halves,                     \
      const float *key_factors, int key_rows, int sequences, int heads, int kv_heads
#define QUERIES Pair(query_halves, query_factors, heads, sequences, query_rows)
#define KEYS Pair(key_halves, key_factors, kv_heads, sequences, key_rows)
#define GRADIENT(name, wide, wanted, lefts, rights)                                                               \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, 2) attention_grad_##name##_##wide(                     \
      float* sum, int add, const float2* stats, const float* delta, int first, int dim, SIDES, SCORING) {         \
    halves_gradient<wide, wanted>(sum, add != 0, lefts, rights, stats, delta, first, sequences, heads, dim,       \
                                  MADE_SCORING);                                                                  \
  }
#define GRADIENTS(wide)                                                                                           \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, wide <= 64 ? 5 : 4)                                    \
      attention_grad_stats_##wide(float2* stats, const float* sinks, SIDES, SCORING) {                            \
    halves_stats<wide>(stats, QUERIES, KEYS, sinks, sequences, MADE_SCORING);                                     \
  }                                                                                                               \
  GRADIENT(dq, wide, OF_QUERIES, QUERIES, KEYS)                                                                   \
  GRADIENT(dk, wide, OF_KEYS, KEYS, QUERIES)                                                                      \
  GRADIENT(dv, wide, OF_VALUES, KEYS, QUERIES)
GRADIENTS(32)
GRADIENTS(64)
GRADIENTS(96)
GRADIENTS(128)
