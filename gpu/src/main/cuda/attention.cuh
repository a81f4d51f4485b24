// SPDX-License-Identifier: Apache-2.0
//
// What the attention kernels share: 64 x 64 tiles of scores in registers, made of 64 x 64 pieces of the operands that
// pass through two tiles of shared memory. A block is 16 x 16 threads. Of a product, a thread has rows 4y to 4y + 3;
// of scores it has columns x, x + 16, x + 32, x + 48, of anything else columns 4x to 4x + 3: so all its reads are of
// 16 bytes, and lanes meet in no bank. Pieces are read again rather than kept: they come from the L2 cache, and little
// shared memory means several blocks on a multiprocessor.
#pragma once
#include "llmc.cuh"

constexpr int TILE = 64;
constexpr int LINE = TILE + 4;
constexpr int ATTENTION_THREADS = 256;

// Below any score: the maximum before the first key. Finite, so that differences are.
constexpr float LOWEST = -1e30f;

// Of one head of one sequence.
struct Side {
  const float* x;
  int stride;
  int dim;

  // x: element 0 of the sequence's first row, of the head
  __device__ Side(const float* x_, i64 row, int heads, int head, int dim_)
      : x(x_ + (row * heads + head) * dim_), stride(heads * dim_), dim(dim_) {}

  // Whether a row can be read 16 bytes at a time.
  __device__ bool wide() const { return dim % 4 == 0 && ((size_t)x & 15) == 0; }
  __device__ int chunks() const { return (dim + TILE - 1) / TILE; }
  __device__ int cols(int chunk) const { return min(TILE, dim - chunk * TILE); }
};

// Rows [row, row + TILE) of a chunk of 64 columns to shared memory, rows from `rows` on as zeros. The copies arrive at
// the next `arrived`.
__device__ __forceinline__ void fetch(float* tile, const Side& s, int row, int rows, int chunk) {
  int cols = s.cols(chunk), c = threadIdx.x % 16 * 4, r = threadIdx.x / 16;
  const float* p = s.x + (i64)(row + r) * s.stride + chunk * TILE + c;
  float* to = tile + r * LINE + c;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (row + r >= rows || c >= cols) {
      *(float4*)to = make_float4(0.f, 0.f, 0.f, 0.f);
    } else if (s.wide()) {
      cp_async16(to, p);
    } else {
#pragma unroll 1
      for (int j = 0; j < 4; j++) to[j] = c + j < cols ? p[j] : 0.f;
    }
    r += 16;
    p += 16 * (i64)s.stride;
    to += 16 * LINE;
  }
}

__device__ __forceinline__ void arrived() {
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
}

__device__ __forceinline__ int tile_x() { return threadIdx.x % 16; }
__device__ __forceinline__ int tile_y() { return threadIdx.x / 16; }

typedef float Block[4][4];

__device__ __forceinline__ void clear(Block& x) {
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) x[i][j] = 0.f;
}

// s += a b^T over all chunks of both; rows a0 on of a and b0 on of b. The block comes together before the tiles are
// written; the last chunk's are still being read when a thread returns.
__device__ __forceinline__ void products(Block& s, float* ta, float* tb, const Side& a, int a0, int a_rows,
                                         const Side& b, int b0, int b_rows) {
  int x = tile_x(), y = tile_y();
  for (int chunk = 0; chunk < a.chunks(); chunk++) {
    __syncthreads();
    fetch(ta, a, a0, a_rows, chunk);
    fetch(tb, b, b0, b_rows, chunk);
    arrived();
    // Past the operand's columns there are zeros, up to a multiple of 4.
    int depth = a.cols(chunk);
#pragma unroll 1
    for (int d = 0; d < depth; d += 4) {
      // Every element that is read takes part in four products: shared memory is the limit, not arithmetic.
      float4 u[4], v[4];
#pragma unroll
      for (int i = 0; i < 4; i++) u[i] = *(const float4*)(ta + (4 * y + i) * LINE + d);
#pragma unroll
      for (int j = 0; j < 4; j++) v[j] = *(const float4*)(tb + (x + 16 * j) * LINE + d);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          float t = fmaf(u[i].x, v[j].x, s[i][j]);
          t = fmaf(u[i].y, v[j].y, t);
          t = fmaf(u[i].z, v[j].z, t);
          s[i][j] = fmaf(u[i].w, v[j].w, t);
        }
    }
  }
}

// Scores' tile to shared memory, which nobody may still be reading.
__device__ __forceinline__ void put_scores(float* tile, const Block& s) {
  int x = tile_x(), y = tile_y();
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) tile[(4 * y + i) * LINE + x + 16 * j] = s[i][j];
}

__device__ __forceinline__ void add_products(float (&sum)[4], float p, float4 v) {
  sum[0] = fmaf(p, v.x, sum[0]);
  sum[1] = fmaf(p, v.y, sum[1]);
  sum[2] = fmaf(p, v.z, sum[2]);
  sum[3] = fmaf(p, v.w, sum[3]);
}

// Blocks side by side in y have so many chunks of the output each.
__device__ __forceinline__ int first_chunk(int chunks) { return blockIdx.y * chunks; }

// sum[c] += p x, chunks first_chunk + c of x; p is in its tile once the block has come together, x passes through the
// other. TURNED: sum[c] += p^T x.
template <int CHUNKS, bool TURNED>
__device__ __forceinline__ void weigh(Block (&sum)[CHUNKS], const float* tp, float* tx, const Side& side, int row,
                                      int rows) {
  int x = tile_x(), y = tile_y(), first = first_chunk(CHUNKS);
  int depth = min(TILE, rows - row);
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    if (first + c < side.chunks()) {
      __syncthreads();
      fetch(tx, side, row, rows, first + c);
      arrived();
#pragma unroll 1
      for (int k = 0; k < depth; k += 4) {
        float4 p[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
          p[i] = *(const float4*)(tp + (TURNED ? (k + i) * LINE + 4 * y : (4 * y + i) * LINE + k));
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float4 v = *(const float4*)(tx + (k + i) * LINE + 4 * x);
          if (TURNED) {
            add_products(sum[c][0], p[i].x, v);
            add_products(sum[c][1], p[i].y, v);
            add_products(sum[c][2], p[i].z, v);
            add_products(sum[c][3], p[i].w, v);
          } else {
#pragma unroll
            for (int r = 0; r < 4; r++)
              add_products(sum[c][r], i == 0 ? p[r].x : i == 1 ? p[r].y : i == 2 ? p[r].z : p[r].w, v);
          }
        }
      }
    }
  }
}

// One head's tile of rows, `at` the head in the sequence's first row: written, or added to.
template <int CHUNKS, bool ADD>
__device__ __forceinline__ void write_rows(float* at, const Side& shape, const Block (&sum)[CHUNKS], int row,
                                           int rows) {
  int x = tile_x(), y = tile_y(), first = first_chunk(CHUNKS);
  bool wide = shape.dim % 4 == 0 && ((size_t)at & 15) == 0;
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    int col = (first + c) * TILE + 4 * x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int r = row + 4 * y + i;
      if (r >= rows || col >= shape.dim) continue;
      float* p = at + (i64)r * shape.stride + col;
      if (wide) {
        float4 v = make_float4(sum[c][i][0], sum[c][i][1], sum[c][i][2], sum[c][i][3]);
        if (ADD) {
          float4 old = *(const float4*)p;
          v = make_float4(old.x + v.x, old.y + v.y, old.z + v.z, old.w + v.w);
        }
        *(float4*)p = v;
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
          if (col + j < shape.dim) p[j] = ADD ? p[j] + sum[c][i][j] : sum[c][i][j];
      }
    }
  }
}

// Rows [first, last] of the other side; none where last < first.
struct Range {
  int first, last;
  __device__ bool has(int i) const { return i >= first && i <= last; }
};

// What makes a score of a product, and who sees whom: AttentionSpec. A sequence has `length` queries, the last of its
// `keys` positions. window and chunk are less than `keys`, so that sums with them stay in an int; 0 for none.
struct Scoring {
  int length, keys, window, chunk;
  float scale, softcap;
  const float* slopes;  // of all heads; null for none
  float slope;          // of the head at work: what a score loses for each position between a query and a key

  __device__ void of(int head) { slope = slopes == nullptr ? 0.f : slopes[head]; }

  __device__ int position(int q) const { return q + (keys - length); }

  __device__ int first_key(int position) const {
    int first = window == 0 ? 0 : max(0, position - window + 1);
    return chunk == 0 ? first : max(first, position / chunk * chunk);
  }
  __device__ Range keys_of(int q) const {
    return q < length ? Range{first_key(position(q)), position(q)} : Range{0, -1};
  }

  // The other way round: queries that see a key, which may be past the last.
  __device__ int last_query(int k) const {
    int last = keys - 1;
    if (window != 0) last = min(last, k + window - 1);
    if (chunk != 0) last = min(last, k / chunk * chunk + chunk - 1);
    return last - (keys - length);
  }
  // A key past the last gets a range that begins behind the last query.
  __device__ Range queries_of(int k) const { return Range{k - (keys - length), last_query(k)}; }

  // For n rows from one on, the rows that any of them sees or is seen by.
  __device__ Range keys_of(int q, int n) const {
    return Range{first_key(position(q)), min(keys - 1, position(q) + n - 1)};
  }
  __device__ Range queries_of(int k, int n) const {
    return Range{max(0, k - (keys - length)), last_query(k + n - 1)};
  }
  // Both ends of keys_of rise with q, so the first and the last query of a tile speak for all.
  // Whether any of n queries sees any of m keys, and whether all see all.
  __device__ bool some(int q, int n, int k, int m) const {
    return k <= position(q) + n - 1 && k + m - 1 >= first_key(position(q));
  }
  __device__ bool whole(int q, int n, int k, int m) const {
    return k + m - 1 <= position(q) && k >= first_key(position(q) + n - 1);
  }

  __device__ float capped(float product) const {
    float s = product * scale;
    return softcap > 0.f ? softcap * tanhf(s / softcap) : s;
  }

  // Of the capped product by the scaled one.
  __device__ float derivative(float capped) const {
    if (!(softcap > 0.f)) return 1.f;
    float r = capped / softcap;
    return 1.f - r * r;
  }

  __device__ float score(float capped, int q, int k) const {
    return slope == 0.f ? capped : fmaf(slope, (float)(k - position(q)), capped);
  }

  __device__ int query_tiles() const { return (length + TILE - 1) / TILE; }
  __device__ int key_tiles() const { return (keys + TILE - 1) / TILE; }
};

// Parameters of kernels, and what they make.
#define SCORING int length, int keys, int window, int chunk, float scale, float softcap, const float *slopes
#define MADE_SCORING Scoring{length, keys, window, chunk, scale, softcap, slopes, 0.f}

// What a block does: heads of one sequence beside each other, since they share keys; tiles with the most work first.
struct Work {
  int head, sequence, tile;
  __device__ Work(int heads, int sequences, int tiles, bool last_first) {
    unsigned b = blockIdx.x;
    // Made once more at a kernel's end it is computed once more, and takes no registers in between.
    asm volatile("" : "+r"(b));
    head = b % heads;
    b /= heads;
    sequence = b % sequences;
    tile = b / sequences;
    if (last_first) tile = tiles - 1 - tile;
  }
};

// Over the 16 threads that have a row of scores: all of them get the result.
template <class T, class F>
__device__ __forceinline__ T row_reduce(T v, F f) {
#pragma unroll
  for (int o = 8; o > 0; o >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

// A tile of products becomes exponentials of scores against the running maximum, 0 where nobody looks; sums are a
// thread's own. `correction` is what earlier sums need.
__device__ __forceinline__ void online_softmax(Block& s, const Scoring& f, int q0, int k0, float (&most)[4],
                                               float (&sum)[4], float (&correction)[4]) {
  int x = tile_x(), y = tile_y();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int q = q0 + 4 * y + i;
    Range range = f.keys_of(q);
    // Of each thread's four keys, then of the 16 threads that have the row.
    float top = most[i];
    bool seen[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int k = k0 + x + 16 * j;
      seen[j] = range.has(k);
      s[i][j] = f.score(f.capped(s[i][j]), q, k);
      if (seen[j]) top = fmaxf(top, s[i][j]);
    }
    top = row_reduce(top, Max());
    correction[i] = expf(most[i] - top);
    most[i] = top;
    float part = 0.f;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      s[i][j] = seen[j] ? expf(s[i][j] - top) : 0.f;
      part += s[i][j];
    }
    sum[i] = fmaf(sum[i], correction[i], part);
  }
}

// Maxima of each query's scores, and logarithms of the sums of exp(score - maximum), at stats[row * heads + head].
__device__ __forceinline__ void score_stats(float2* stats, const float* q, const float* k, const float* sinks,
                                            int sequences, int heads, int kv_heads, int dim, Scoring f) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  Work w(heads, sequences, f.query_tiles(), true);
  f.of(w.head);
  i64 row0 = (i64)w.sequence * f.length;
  Side queries(q, row0, heads, w.head, dim);
  Side keys(k, (i64)w.sequence * f.keys, kv_heads, w.head / (heads / kv_heads), dim);
  float most[4], sum[4], correction[4];
  for (int i = 0; i < 4; i++) most[i] = LOWEST, sum[i] = 0.f;
  int q0 = w.tile * TILE;
  Range range = f.keys_of(q0, TILE);
  for (int t = range.first / TILE; t <= range.last / TILE; t++) {
    Block s;
    clear(s);
    products(s, ta, tb, queries, q0, f.length, keys, t * TILE, f.keys);
    online_softmax(s, f, q0, t * TILE, most, sum, correction);
  }
  for (int i = 0; i < 4; i++) {
    float all = row_reduce(sum[i], Sum());
    // A sink is one more score, met last: everything is made relative to whichever is larger.
    if (sinks != nullptr) {
      float top = fmaxf(most[i], sinks[w.head]);
      all = fmaf(all, expf(most[i] - top), expf(sinks[w.head] - top));
      most[i] = top;
    }
    int r = q0 + 4 * tile_y() + i;
    if (tile_x() == 0 && r < f.length) stats[(row0 + r) * heads + w.head] = make_float2(most[i], logf(all));
  }
}
