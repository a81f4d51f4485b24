// SPDX-License-Identifier: Apache-2.0
//
// A paged cache of keys and values (Kwon et al., 2023, arXiv 2309.06180): io.llmc.backend.CacheOp says how pages lie.
//
// Attention of a few queries waits for the pages to cross memory. A block of threads takes 96 keys of one head of one
// sequence, so that a long sequence fills the device (Dao et al.: Flash-Decoding, 2023), for up to eight rows: queries,
// times the heads that share the keys. What it gives is relative to its own largest score; another kernel puts a row's
// blocks together. Which keys are a block, and every order of sums, hangs on a key's place in its sequence alone: a
// query's bits depend neither on the queries nor on the sequences beside it, nor on how long pages are.
#include "attention.cuh"
#include "pages.cuh"
#include "rowwise.cuh"

// CacheOp.KEYS
constexpr int KEYS = 96;

// One sequence's part in a launch; its queries are the last of its keys.
struct Run {
  const int* table;
  i64 part;  // of the partial results, the first
  int row, length, keys, window, chunk;
  int first;  // block of keys
};

// As io.llmc.gpu.PageKernels packs them: parameters, so that no copy goes before a launch.
struct Runs {
  Run of[64];
};

#define PAGES void *data, float *scales, int type, int tokens, int width, int heads
#define MADE_PAGES Pages{(u8*)data, scales, type, tokens, width, heads}

// One warp a row of x: a token's head.
extern "C" __global__ void pages_store(PAGES, int turned, const float* x, Runs runs) {
  Pages to = MADE_PAGES;
  const Run run = runs.of[blockIdx.z];
  int lane = threadIdx.x & 31, item = (int)(first_element() >> 5);
  if (item >= run.length * heads) return;
  int t = item / heads, head = item % heads;
  i64 line = to.line(run.table, run.keys - run.length + t, head);
  x += ((i64)(run.row + t) * heads + head) * width;
  float scale = 1.f;
  if (scales != nullptr) {
    float most = 0.f;
    for (int c = lane; c < width; c += 32) most = Max()(fabsf(x[c]), most);
    most = warp_reduce(most, Max());
    if (most != 0.f) scale = most / (type == INTEGERS ? 127.f : 448.f);
    if (lane == 0) scales[line] = scale;
  }
  for (int c = lane; c < width; c += 32) {
    i64 at = turned ? to.turned(line, c) : line * width + c;
    // The quotients are IEEE's: a reciprocal would move codes at ties.
    if (type == INTEGERS) to.data[at] = (u8)(int)rintf(fminf(fmaxf(x[c] / scale, -128.f), 127.f));
    else if (type == SMALL) to.data[at] = (u8)small_code(nearest_small(x[c] / scale, 8), 8);
    else store(data, at, type, x[c]);
  }
}

// Keys or values of one sequence from token `start` on as rows, [keys - start, heads * width]; those that lie nowhere are
// zeros. A block turns a page's head, 32 channels at a time.
extern "C" __global__ void pages_gather(float* out, PAGES, int turned, const int* table, int start, int keys) {
  __shared__ float tile[32][KEYS + 1];
  Pages from = MADE_PAGES;
  int index = start / tokens + blockIdx.x, head = blockIdx.y, page = table[index];
  i64 block = (i64)page * heads + head;
  for (int c0 = 0; c0 < width; c0 += 32) {
    int cols = min(32, width - c0), n = cols * tokens;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      int c = turned ? i / tokens : i % cols, t = turned ? i % tokens : i / cols;
      i64 line = block * tokens + t;
      tile[c][t] = page < 0 ? 0.f
                            : from.value(turned ? from.turned(line, c0 + c) : line * width + c0 + c) *
                                  (scales == nullptr ? 1.f : scales[line]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      int c = i % cols, t = i / cols, s = index * tokens + t;
      if (s >= start && s < keys) out[((i64)(s - start) * heads + head) * width + c0 + c] = tile[c][t];
    }
  }
}

// ---------------------------------------------------------------- few queries
// As many as there are keys, so that a thread can have one.
constexpr int FEW_THREADS = KEYS;

// Pages pass through shared memory as they are, in pieces of 96 lines of 128 bytes or as many bytes in longer lines.
constexpr int LINE_BYTES = 128, PIECE_BYTES = KEYS * LINE_BYTES;

// Four neighbours of a matrix in shared memory.
template <int TYPE>
__device__ __forceinline__ void four(float (&x)[4], const u8* matrix, int at) {
  if (TYPE == F32) {
    float4 v = *(const float4*)(matrix + 4 * at);
    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
  } else if (TYPE == INTEGERS || TYPE == SMALL) {
    u32 v = *(const u32*)(matrix + at);
#pragma unroll
    for (int j = 0; j < 4; j++)
      x[j] = TYPE == INTEGERS ? (float)(signed char)(v >> 8 * j) : small_to_f32(v >> 8 * j & 0xff, 8);
  } else {
    uint2 v = *(const uint2*)(matrix + 2 * at);
    u32 halves[4] = {v.x & 0xffff, v.x >> 16, v.y & 0xffff, v.y >> 16};
#pragma unroll
    for (int j = 0; j < 4; j++) x[j] = TYPE == F16 ? f16_to_f32((u16)halves[j]) : bf16_to_f32((u16)halves[j]);
  }
}

// sum[r][j] += factors[r][d] matrix[d][j] over d of [from, to), four at a time.
template <int ROWS, int TYPE>
__device__ __forceinline__ void multiply(float (&sum)[ROWS][4], const float* factors, int factor_pitch, const u8* matrix,
                                         int pitch, int from, int to, int column) {
#pragma unroll 1
  for (int d = from; d < to; d += 4) {
    float x[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++) four<TYPE>(x[i], matrix, (d + i) * pitch + column);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      float4 f = *(const float4*)(factors + r * factor_pitch + d);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float t = fmaf(f.x, x[0][j], sum[r][j]);
        t = fmaf(f.y, x[1][j], t);
        t = fmaf(f.z, x[2][j], t);
        sum[r][j] = fmaf(f.w, x[3][j], t);
      }
    }
  }
}

template <int ROWS>
__device__ __forceinline__ void multiply(float (&sum)[ROWS][4], int type, const float* factors, int factor_pitch,
                                         const u8* matrix, int pitch, int from, int to, int column) {
  switch (type) {
    case F32: return multiply<ROWS, F32>(sum, factors, factor_pitch, matrix, pitch, from, to, column);
    case F16: return multiply<ROWS, F16>(sum, factors, factor_pitch, matrix, pitch, from, to, column);
    case BF16: return multiply<ROWS, BF16>(sum, factors, factor_pitch, matrix, pitch, from, to, column);
    case INTEGERS: return multiply<ROWS, INTEGERS>(sum, factors, factor_pitch, matrix, pitch, from, to, column);
    case SMALL: return multiply<ROWS, SMALL>(sum, factors, factor_pitch, matrix, pitch, from, to, column);
  }
}

// What a thread brings of a block of keys: one of them, or as many as 16 bytes have where these lie in one page.
struct KeyRun {
  int key, each;  // each: 0 for one
  i64 at;         // where its channel 0 lies; -1 for nowhere

  __device__ KeyRun(const Pages& pages, const i64* lines) {
    int size = bytes_of(pages.type);
    bool whole = (((u64)pages.data | (u64)(pages.tokens * size)) & 15) == 0;
    each = whole ? 16 / size : 0;
    key = whole ? threadIdx.x % (KEYS / each) * each : threadIdx.x;
    at = lines[key] < 0 ? -1 : pages.turned(lines[key], 0);
  }
};

// Channels [c0, c0 + cols) of a block of keys to shared memory as [channel][KEYS]. Zeros where there are no keys, and up to
// a multiple of four channels.
__device__ __forceinline__ void stage_keys(u8* to, const Pages& pages, const KeyRun& run, int c0, int cols) {
  int size = bytes_of(pages.type), padded = (cols + 3) & ~3, line = pages.tokens * size;
  const u8* from = pages.data + run.at * size + (i64)c0 * line;
  to += run.key * size;
  if (run.each > 0) {
#pragma unroll 4
    for (int c = threadIdx.x / (KEYS / run.each); c < padded; c += run.each) {
      if (run.at >= 0 && c < cols) cp_async16(to + c * KEYS * size, from + (i64)c * line);
      else *(uint4*)(to + c * KEYS * size) = make_uint4(0, 0, 0, 0);
    }
    return;
  }
#pragma unroll 1
  for (int c = 0; c < padded; c++)
    for (int b = 0; b < size; b++) to[c * KEYS * size + b] = run.at >= 0 && c < cols ? from[(i64)c * line + b] : 0;
}

// Channels [c0, c0 + cols) of a block of values as lines of 128 bytes, zeros where there are no values.
__device__ __forceinline__ void stage_values(u8* to, const Pages& pages, const i64* lines, int c0, int cols) {
  int size = bytes_of(pages.type);
  if ((((u64)pages.data | (u64)(pages.width * size)) & 15) == 0) {
    int at = threadIdx.x % (LINE_BYTES / 16) * 16;
#pragma unroll 4
    for (int key = threadIdx.x / (LINE_BYTES / 16); key < KEYS; key += FEW_THREADS * 16 / LINE_BYTES) {
      i64 line = lines[key];
      if (line >= 0 && at < cols * size) cp_async16(to + key * LINE_BYTES + at, pages.data + (line * pages.width + c0) * size + at);
      else *(uint4*)(to + key * LINE_BYTES + at) = make_uint4(0, 0, 0, 0);
    }
    return;
  }
  i64 line = lines[threadIdx.x];
#pragma unroll 1
  for (int b = 0; b < LINE_BYTES; b++)
    to[threadIdx.x * LINE_BYTES + b] = line >= 0 && b < cols * size ? pages.data[(line * pages.width + c0) * size + b] : 0;
}

// Threads side by side have four columns each, and as many such groups as there are room for share the depth: sums of a
// thread become those of a block. take(row, column, sum) gets each of them.
template <int ROWS, class F>
__device__ __forceinline__ void together(const float (&sum)[ROWS][4], float* parts, int columns, F take) {
  int group = threadIdx.x / (columns / 4), column = threadIdx.x % (columns / 4) * 4;
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    *(float4*)(parts + (group * ROWS + r) * columns + column) = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
  __syncthreads();
  int groups = 4 * FEW_THREADS / columns;
  for (int i = threadIdx.x; i < ROWS * columns; i += FEW_THREADS) {
    float all = 0.f;
    for (int g = 0; g < groups; g++) all += parts[g * ROWS * columns + i];
    take(i / columns, i % columns, all);
  }
}

// A block's products become exponentials of scores against the row's largest of them, times the scales of their values. One
// warp a row.
template <int ROWS>
__device__ __forceinline__ void softmax(float* scores, float2* stats, Scoring f, const Pages& values, const i64* lines,
                                        int first_key, int row, int rows, int group, int kv_head, int heads) {
  int lane = threadIdx.x & 31;
  for (int r = threadIdx.x >> 5; r < ROWS && row + r < rows; r += FEW_THREADS / 32) {
    int t = (row + r) / group, head = kv_head * group + (row + r) % group;
    f.of(head);
    Range range = f.keys_of(t);
    float top = LOWEST, sum = 0.f, s[KEYS / 32];
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++) {
      int k = lane + 32 * j;
      s[j] = f.score(f.capped(scores[r * KEYS + k]), t, first_key + k);
      if (range.has(first_key + k)) top = fmaxf(top, s[j]);
    }
    top = warp_reduce(top, Max());
#pragma unroll
    for (int j = 0; j < KEYS / 32; j++) {
      int k = lane + 32 * j;
      bool seen = range.has(first_key + k);
      float p = seen ? expf(s[j] - top) : 0.f;
      sum += p;
      scores[r * KEYS + k] = seen && values.scales != nullptr ? p * values.scales[lines[k]] : p;
    }
    sum = warp_reduce(sum, Sum());
    if (lane == 0) stats[(i64)t * heads + head] = make_float2(top, sum);
  }
}

#define ATTEND                                                                                                       \
  float *outs, float2 *stats, const float *q, void *key_data, float *key_scales, int key_type, void *value_data,      \
      float *value_scales, int value_type, int tokens, int heads, int kv_heads, int dim, int value_dim, float scale,  \
      float softcap, const float *slopes, Runs runs

// outs[part][value_dim] = sum exp(score - most) v / the same of stats, which has (most, sum exp(score - most)): a block of
// keys after the other, in each all queries, of each all heads.
template <int ROWS>
__device__ __forceinline__ void attend_few(ATTEND) {
  const Run run = runs.of[blockIdx.z];
  int group = heads / kv_heads, rows = run.length * group, tiles = (rows + ROWS - 1) / ROWS;
  // Tiles that read the same keys are neighbours: all but one find them in the cache.
  int tile = blockIdx.x % tiles, rest = blockIdx.x / tiles, kv_head = rest % kv_heads, block = run.first + rest / kv_heads;
  if (block * KEYS >= run.keys) return;
  Pages keys = {(u8*)key_data, key_scales, key_type, tokens, dim, kv_heads};
  Pages values = {(u8*)value_data, value_scales, value_type, tokens, value_dim, kv_heads};
  Scoring f = {run.length, run.keys, run.window, run.chunk, scale, softcap, slopes, 0.f};
  int deep = (dim + 3) & ~3;
  i64 part = run.part + (i64)(block - run.first) * run.length * heads;

  __shared__ i64 lines[KEYS];
  DYNAMIC_SHARED(u8, shared);
  u8* pieces = shared;
  float* parts = (float*)(shared + 2 * PIECE_BYTES);
  float* scores = parts + FEW_THREADS * ROWS * 4;
  float* queries = scores + ROWS * KEYS;

  int key = threadIdx.x, token = block * KEYS + key;
  // Pages before the first key that anybody sees may be gone.
  bool there = token < run.keys && token / tokens >= f.first_key(f.position(0)) / tokens;
  i64 line = there ? keys.line(run.table, token, kv_head) : -1;
  lines[key] = line;
  for (int i = threadIdx.x; i < ROWS * deep; i += FEW_THREADS) {
    int r = i / deep, c = i % deep, row = tile * ROWS + r;
    i64 at = (i64)(run.row + row / group) * heads + kv_head * group + row % group;
    queries[i] = row < rows && c < dim ? q[at * dim + c] : 0.f;
  }
  __syncthreads();

  int key_cols = PIECE_BYTES / KEYS / bytes_of(key_type), value_cols = LINE_BYTES / bytes_of(value_type);
  int key_pieces = (dim + key_cols - 1) / key_cols, all = key_pieces + (value_dim + value_cols - 1) / value_cols;
  KeyRun bring(keys, lines);
  auto stage = [&](int i) {
    u8* to = pieces + (i & 1) * PIECE_BYTES;
    int c = i < key_pieces ? i * key_cols : (i - key_pieces) * value_cols;
    if (i < key_pieces) stage_keys(to, keys, bring, c, min(key_cols, dim - c));
    else if (i < all) stage_values(to, values, lines, c, min(value_cols, value_dim - c));
    cp_async_commit();
  };
  float sum[ROWS][4] = {};
#pragma unroll 1
  for (int i = -2; i < all; i++) {
    bool is_key = i < key_pieces;
    int c0 = is_key ? i * key_cols : (i - key_pieces) * value_cols;
    if (i >= 0) {
      int columns = is_key ? KEYS : value_cols, share = threadIdx.x / (columns / 4), shares = 4 * FEW_THREADS / columns;
      // Of keys' channels as many as there are; of the keys themselves always as many, whoever comes after the last.
      int depth = is_key ? min(key_cols, dim - c0) : KEYS, each = (depth + 4 * shares - 1) / (4 * shares) * 4;
      cp_async_wait<1>();
      __syncthreads();
      multiply<ROWS>(sum, is_key ? key_type : value_type, is_key ? queries + c0 : scores, is_key ? deep : KEYS,
                     pieces + (i & 1) * PIECE_BYTES, columns, share * each, min((share + 1) * each, (depth + 3) & ~3),
                     threadIdx.x % (columns / 4) * 4);
      __syncthreads();
    }
    // Two pieces are on their way, or one and one at work.
    stage(i + 2);
    if (i + 1 < key_pieces) continue;
    if (is_key) {
      float factor = line >= 0 && key_scales != nullptr ? key_scales[line] : 1.f;
      together(sum, parts, KEYS, [&](int r, int k, float all_of_it) { scores[r * KEYS + k] = all_of_it * factor; });
      __syncthreads();
      softmax<ROWS>(scores, stats + part, f, values, lines, block * KEYS, tile * ROWS, rows, group, kv_head, heads);
    } else {
      together(sum, parts, value_cols, [&](int r, int c, float all_of_it) {
        int row = tile * ROWS + r;
        if (row >= rows || c0 + c >= value_dim) return;
        i64 at = part + row / group * heads + kv_head * group + row % group;
        outs[at * value_dim + c0 + c] = all_of_it;
      });
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[r][j] = 0.f;
  }
}

#define FEW(rows)                                                                                     \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS) pages_attend_##rows(ATTEND) {             \
    attend_few<rows>(outs, stats, q, key_data, key_scales, key_type, value_data, value_scales,        \
                     value_type, tokens, heads, kv_heads, dim, value_dim, scale, softcap, slopes,     \
                     runs);                                                                           \
  }
FEW(1)
FEW(2)
FEW(4)
FEW(8)

constexpr int MERGE_THREADS = 256;

// out[row] = sum of all blocks of its keys, one block of threads a query's head and 128 of its channels. A warp takes every
// eighth block of keys, counted from the sequence's first.
extern "C" __global__ void __launch_bounds__(MERGE_THREADS)
    pages_merge(float* out, const float* outs, const float2* stats, const float* sinks, int heads, int value_dim, Runs runs) {
  __shared__ __align__(16) float parts[MERGE_THREADS / 32][128];
  const Run run = runs.of[blockIdx.z];
  int row = blockIdx.x, rows = run.length * heads, end = (run.keys + KEYS - 1) / KEYS;
  if (row >= rows) return;
  auto at = [&](int block) { return run.part + (i64)(block - run.first) * rows + row; };
  int mine = run.first + (int)(threadIdx.x - run.first % MERGE_THREADS + MERGE_THREADS) % MERGE_THREADS;
  // A sink is a key that has no value.
  float top = sinks == nullptr ? LOWEST : sinks[row % heads];
  for (int b = mine; b < end; b += MERGE_THREADS) top = fmaxf(top, stats[at(b)].x);
  top = block_max(top);
  float sum = 0.f;
  for (int b = mine; b < end; b += MERGE_THREADS) {
    float2 s = stats[at(b)];
    sum = fmaf(expf(s.x - top), s.y, sum);
  }
  sum = block_sum(sum);
  if (sinks != nullptr) sum += expf(sinks[row % heads] - top);

  int warps = MERGE_THREADS / 32, warp = threadIdx.x >> 5, c = blockIdx.y * 128 + 4 * (threadIdx.x & 31);
  float o[4] = {};
#pragma unroll 4
  for (int b = run.first + (warp - run.first % warps + warps) % warps; b < end; b += warps) {
    float x[4];
    float factor = expf(stats[at(b)].x - top);
    load_four(x, outs, at(b) * value_dim + c, value_dim - c);
#pragma unroll
    for (int j = 0; j < 4; j++) o[j] = fmaf(factor, x[j], o[j]);
  }
  *(float4*)&parts[warp][4 * (threadIdx.x & 31)] = make_float4(o[0], o[1], o[2], o[3]);
  __syncthreads();
  int channel = blockIdx.y * 128 + threadIdx.x;
  if (threadIdx.x >= 128 || channel >= value_dim) return;
  float all = 0.f;
  for (int w = 0; w < warps; w++) all += parts[w][threadIdx.x];
  out[((i64)run.row * heads + row) * value_dim + channel] = all / sum;
}
