// SPDX-License-Identifier: Apache-2.0
//
// Attention without a matrix of all scores: a block has 64 queries of one head and walks their keys tile by tile, with
// a streaming softmax (Milakov and Gimelshein, 2018, arXiv 1805.02867), as FlashAttention-2 has it (Dao, 2023, arXiv
// 2307.08691). Tiles that no query of a block sees are not visited.
//
// Products are those of attention_halves.cuh. The power of two of a row of values is taken into the probability, whose
// running maximum bounds what the product with the values may reach.
#include "attention_halves.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// Of rows of values that are all zeros, or nearly. Only sums of probabilities see it: their powers must not overflow.
constexpr int LEAST_EXPONENT = -64;

// One warp a row of keys (y = 0) or of values (y = 1): `wide` halves of hi, and in another plane of lo. Rows stand head
// by head, `padded` rows a sequence, those past its end zeros. `factors` has for keys what a score is to be multiplied
// with, for values the exponent that was taken out.
extern "C" __global__ void attention_split(u16* halves, float* factors, const float* k, const float* v, int sequences,
                                           int keys, int padded, int kv_heads, int key_dim, int value_dim, int wide) {
  i64 rows = (i64)sequences * kv_heads * padded;
  i64 row = first_element() >> 5;
  if (row >= rows) return;  // a whole warp
  int t = row % padded, head = row / padded % kv_heads;
  i64 sequence = row / padded / kv_heads;
  bool is_value = blockIdx.y == 1;
  int dim = is_value ? value_dim : key_dim;
  const float* x = (is_value ? v : k) + ((sequence * keys + t) * kv_heads + head) * dim;
  u16* hi = halves + (2 * blockIdx.y * rows + row) * wide;
  int e = split_row(hi, hi + rows * wide, x, t < keys ? dim : 0, wide, is_value ? LEAST_EXPONENT : LOWEST_EXPONENT);
  if ((threadIdx.x & 31) == 0) factors[blockIdx.y * rows + row] = is_value ? (float)e : power_of_two(e - TOP);
}

// WIDE: the head's columns, of keys or of values, padded to a multiple of 32. A warp has 16 queries.
template <int WIDE, int KEYS>
__device__ __forceinline__ void attend(float* out, const float* q, const u16* halves, const float* factors,
                                       const float* sinks, int sequences, int padded, int heads, int kv_heads, int dim,
                                       int value_dim, Scoring f) {
  __shared__ __align__(128) HalfTile<WIDE, KEYS> keys;
  __shared__ __align__(128) HalfTile<WIDE, KEYS> values;
  int lane = threadIdx.x & 31, g = lane >> 2, c2 = 2 * (lane & 3);
  Work w(heads, sequences, f.query_tiles(), true);
  f.of(w.head);
  i64 rows = (i64)sequences * kv_heads * padded;
  i64 first_row = ((i64)w.sequence * kv_heads + w.head / (heads / kv_heads)) * padded;
  // Of keys a block shares all, of queries a warp has its own: nothing is reduced between warps.
  int q0 = w.tile * TILE + 16 * (threadIdx.x >> 5);  // the warp's first query
  Range range = f.keys_of(w.tile * TILE, TILE);
  int first = range.first / KEYS, last = range.last / KEYS;

  // Of the keys that come next.
  halves += (first_row + first * KEYS) * WIDE;
  factors += first_row + first * KEYS;
  keys.fetch(halves, factors, rows);
  cp_async_commit();

  // The warp's queries, as left sides.
  u32 q_hi[WIDE / 16][4], q_lo[WIDE / 16][4];
  float q_factor[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int t = q0 + g + 8 * h;
    const float* x = q + (((i64)w.sequence * f.length + t) * heads + w.head) * dim;
    // Four lanes share a row, and need its largest magnitude: it decides the power of two of all its halves.
    float row[WIDE / 8][2];
    float most = 0.f;
#pragma unroll
    for (int i = 0; i < WIDE / 8; i++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int c = 8 * i + c2 + e;
        row[i][e] = t < f.length && c < dim ? x[c] : 0.f;
        most = Max()(most, fabsf(row[i][e]));
      }
    most = Max()(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = Max()(most, __shfl_xor_sync(0xffffffffu, most, 2));
    int e = exponent(most);
    float up = power_of_two(TOP - e);
#pragma unroll
    for (int i = 0; i < WIDE / 8; i++) {
      Halves x2 = split(row[i][0] * up, row[i][1] * up);
      q_hi[i / 2][i % 2 * 2 + h] = x2.hi;
      q_lo[i / 2][i % 2 * 2 + h] = x2.lo;
    }
    // The softmax is of powers of two, whose function the hardware has; a cap is of the score itself, before.
    q_factor[h] = power_of_two(e - TOP) * (f.softcap > 0.f ? f.scale : f.scale * LOG2_E);
  }

  // Of the outputs, still to be divided by `sum`; both are relative to 2^most, which grows.
  float o[WIDE / 8][4];
#pragma unroll
  for (int i = 0; i < WIDE / 8; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) o[i][j] = 0.f;
  float most[2] = {LOWEST, LOWEST}, sum[2] = {0.f, 0.f};

  for (int tile = first; tile <= last; tile++) {
    int k0 = tile * KEYS;
    // Values come while keys are multiplied, the next keys while values are: one tile of each is enough.
    values.fetch(halves + 2 * rows * WIDE, factors + rows, rows);
    halves += KEYS * WIDE;
    factors += KEYS;
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();

    float s[KEYS / 32][4][4];
    bool seen[KEYS / 32];  // whether any of the warp's queries sees any of 32 keys
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++) {
      int k = k0 + 32 * j;
      seen[j] = f.some(q0, 16, k, 32);
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) s[j][n][r] = 0.f;
      if (seen[j]) {
#pragma unroll
        for (int i = 0; i < WIDE / 16; i++) {
          multiply_halves<false, true>(s[j], q_hi[i], q_lo[i], keys, 32 * j, 16 * i);
        }
      }
    }

    // Most tiles need no mask: those that all queries of the warp see whole.
    bool whole = f.whole(q0, 16, k0, KEYS);
    float top[2] = {most[0], most[1]};
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++)
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) s[j][n][r] *= keys.factor[32 * j + 8 * n + c2 + (r & 1)] * q_factor[r >> 1];
    __syncthreads();
    if (tile < last) keys.fetch(halves, factors, rows);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();

    if (f.softcap > 0.f) {
#pragma unroll
      for (int j = 0; j < KEYS / 32; j++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
          for (int r = 0; r < 4; r++) s[j][n][r] = f.softcap * tanhf(s[j][n][r] / f.softcap) * LOG2_E;
    }
    if (f.slope != 0.f) {
#pragma unroll
      for (int j = 0; j < KEYS / 32; j++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
          for (int r = 0; r < 4; r++) {
            // In an int, since a float does not tell two late positions apart.
            int distance = k0 + 32 * j + 8 * n + c2 + (r & 1) - f.position(q0 + g + 8 * (r >> 1));
            s[j][n][r] = fmaf(f.slope * LOG2_E, (float)distance, s[j][n][r]);
          }
    }
    Range ranges[2] = {f.keys_of(q0 + g), f.keys_of(q0 + g + 8)};
    // Scores in powers of two, plus the values' exponents.
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++)
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          int col = 32 * j + 8 * n + c2 + (r & 1), h = r >> 1;
          float u = s[j][n][r] + values.factor[col];
          // Minus infinity gives an exact 0, so that a hidden tile leaves no trace in a row's sums.
          if (!whole && !ranges[h].has(k0 + col)) u = -__uint_as_float(0x7f800000u);
          top[h] = fmaxf(top[h], u);
          s[j][n][r] = u;
        }
    // A new maximum makes all that was summed before it smaller.
    float correction[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 1));
      top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 2));
      correction[h] = exp2f(most[h] - top[h]);
      most[h] = top[h];
      sum[h] *= correction[h];
    }
#pragma unroll
    for (int i = 0; i < WIDE / 8; i++)
#pragma unroll
      for (int r = 0; r < 4; r++) o[i][r] *= correction[r >> 1];

    // Probabilities times 2^TOP, and the sums of them without the values' exponents.
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++)
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          float p = exp2f(s[j][n][r] - (top[r >> 1] - TOP));
          float exponent = values.factor[32 * j + 8 * n + c2 + (r & 1)];
          sum[r >> 1] = fmaf(p, power_of_two(-(int)exponent), sum[r >> 1]);
          s[j][n][r] = p;
        }
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++) {
      // Zeros all: to skip them changes nothing.
      if (!seen[j]) continue;
      u32 p_hi[2][4], p_lo[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          const float(&x)[4] = s[j][2 * i + (r >> 1)];
          Halves h = split(x[2 * (r & 1)], x[2 * (r & 1) + 1]);
          p_hi[i][r] = h.hi;
          p_lo[i][r] = h.lo;
        }
      // Tensor cores cut off what does not fit into a sum: over thousands of keys that would show. Sums are of 32.
#pragma unroll
      for (int d = 0; d < WIDE / 32; d++) {
        float part[4][4];
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
          for (int r = 0; r < 4; r++) part[n][r] = 0.f;
#pragma unroll
        for (int i = 0; i < 2; i++)
          multiply_halves<true, false>(part, p_hi[i], p_lo[i], values, 32 * j + 16 * i, 32 * d);
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
          for (int r = 0; r < 4; r++) o[4 * d + n][r] += part[n][r];
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int h = 0; h < 2; h++) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    // A sink has no value, so it comes into the sum alone, when all maxima are known: earlier it would take halves'
    // bits from probabilities whose values are small.
    if (sinks != nullptr) sum[h] += exp2f(sinks[w.head] * LOG2_E - (most[h] - TOP));
    int t = q0 + g + 8 * h;
    if (t >= f.length) continue;
    float* to = out + (((i64)w.sequence * f.length + t) * heads + w.head) * value_dim;
    bool pairs = value_dim % 2 == 0 && ((size_t)out & 7) == 0;
#pragma unroll
    for (int i = 0; i < WIDE / 8; i++) {
      int c = 8 * i + c2;
      float a = o[i][2 * h] * power_of_two(-TOP) / sum[h], b = o[i][2 * h + 1] * power_of_two(-TOP) / sum[h];
      if (pairs) {
        if (c < value_dim) *(float2*)(to + c) = make_float2(a, b);
      } else {
        if (c < value_dim) to[c] = a;
        if (c + 1 < value_dim) to[c + 1] = b;
      }
    }
  }
}

#define ATTENTION(wide, tile)                                                                                     \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, wide <= 64 ? 3 : 2) attention_##wide(                  \
      float* out, const float* q, const u16* halves, const float* factors, const float* sinks, int sequences,     \
      int padded, int heads, int kv_heads, int dim, int value_dim, SCORING) {                                     \
    attend<wide, tile>(out, q, halves, factors, sinks, sequences, padded, heads, kv_heads, dim, value_dim,        \
                       MADE_SCORING);                                                                             \
  }
ATTENTION(32, 64)
ATTENTION(64, 64)
ATTENTION(96, 32)
ATTENTION(128, 32)
