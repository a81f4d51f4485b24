// SPDX-License-Identifier: Apache-2.0
//
// Attention to keys in a list: SparseOp.ChosenAttention, CompressedOp.CompressedAttention and its gradient.
//
// Every query has keys of its own, so what shares them are the heads of a query: a block has ROWS of them, which lie in shared
// memory, and goes through the list 32 keys at a time. Of scores, each warp adds up some channels for all rows and keys of a
// tile, a lane for up to 4 x 4 of them, so that an element read takes part in four products. Of sums, a thread has channels of
// its own for all rows, so that each value is read from memory by one thread alone, side by side with its neighbours. With 16
// rows F32 units limit it; with fewer, the cache that the keys come from. Orders of sums do not depend on ROWS.
#include "seen.cuh"

// Which heads a block has: `shared` neighbouring ones have the same keys.
template <int ROWS>
struct Part {
  int head, rows, column;
  __device__ Part(int shared, int tiles, int heads) {
    int y = blockIdx.y % (heads / shared * tiles), unit = y / tiles, tile = y % tiles;
    head = unit * shared + tile * ROWS;
    rows = min(ROWS, shared - tile * ROWS);
    column = blockIdx.y / (heads / shared * tiles) * COLUMNS;
  }
};

// SIDES groups of threads have channels side by side, and their own rows.
// Shared memory: ROWS lines of queries.
template <int ROWS, int SIDES>
__device__ __forceinline__ void attend(float* queries, float* out, const float* q, const Source& near, const Source& far,
                                       const Source& values, const float* chosen, int most, int lists, int window, int rate,
                                       const float* sinks, int heads, int kv, int dim, int value_dim, float scale, int shared,
                                       int tiles, const Sequence& s) {
  __shared__ __align__(16) float tile[KEYS * LINE], parts[WARPS * ROWS * KEYS];
  __shared__ __align__(16) float scores[ROWS * KEYS];
  __shared__ Row rows[ROWS];
  __shared__ Key keys[KEYS], sources[KEYS];
  constexpr int EACH = ROWS / SIDES, WIDTH = THREADS / SIDES;
  int t = blockIdx.x;
  if (t >= s.length) return;
  Part<ROWS> part(shared, tiles, heads);
  i64 row = s.row + t;
  if (chosen) chosen += (row * lists + part.head * lists / heads) * most;
  List list(s, near, far, values, chosen, most, t, window, rate, part.head / (heads / kv));
  stage_rows<ROWS>(queries, q + (row * heads + part.head) * dim, part.rows, dim);
  if (threadIdx.x < ROWS) {
    bool sink = sinks && (int)threadIdx.x < part.rows;
    rows[threadIdx.x] = {sink ? sinks[part.head + threadIdx.x] : LOWEST, sink ? 1.f : 0.f, 1.f};
  }
  int side = threadIdx.x / WIDTH, column = part.column + threadIdx.x % WIDTH;
  float acc[2][EACH] = {};
  for (int k0 = 0; k0 < list.count && list.token(k0) >= 0; k0 += KEYS) {
    __syncthreads();
    if (threadIdx.x < KEYS) {
      int i = k0 + threadIdx.x, token = list.token(i);
      keys[threadIdx.x] = list.key(i, token);
      sources[threadIdx.x] = list.value(i, token);
    }
    const float* matrices[1] = {queries};
    products<ROWS, 1>(scores, parts, tile, matrices, dim, [&](float (&v)[4], int k, int c) {
      if (k0 + k < list.windowed) near.four(v, keys[k], c);
      else far.four(v, keys[k], c);
    });
    soften<ROWS>(scores, rows, keys, scale);
#pragma unroll
    for (int r = 0; r < EACH; r++) {
      float down = rows[side * EACH + r].down;
      acc[0][r] *= down;
      acc[1][r] *= down;
    }
    weigh<EACH>(acc, scores + side * EACH * KEYS, WIDTH, column, value_dim, [&](int k, int c) {
      return k0 + k < list.windowed ? near.value(sources[k], c) : values.value(sources[k], c);
    });
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < EACH; r++) {
    int head = side * EACH + r;
    float sum = rows[head].sum;
    for (int j = 0; j < 2; j++) {
      int c = column + j * WIDTH;
      if (head < part.rows && c < value_dim && c < part.column + COLUMNS)
        out[(row * heads + part.head + head) * value_dim + c] = sum > 0.f ? acc[j][r] / sum : 0.f;
    }
  }
}

// Blocks: queries, heads and columns, sequences.
#define ATTEND(ROWS, SIDES)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
      attend_##ROWS##_##SIDES(float* out, const float* q, Source near, Source far, Source values, const float* chosen,       \
                              int most, int lists, int window, int rate, const float* sinks, int heads, int kv, int dim,     \
                              int value_dim, float scale, int shared, int tiles, Sequences sequences) {                      \
    DYNAMIC_SHARED(float, queries);                                                                                          \
    attend<ROWS, SIDES>(queries, out, q, near, far, values, chosen, most, lists, window, rate, sinks, heads, kv, dim,        \
                        value_dim, scale, shared, tiles, sequences.of[blockIdx.z]);                                          \
  }

ATTEND(1, 1)
ATTEND(4, 1)
ATTEND(4, 4)
ATTEND(16, 1)
ATTEND(16, 4)
