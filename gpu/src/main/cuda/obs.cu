// SPDX-License-Identifier: Apache-2.0
//
// The column loop of GPTQ (Frantar et al., 2022, eq. 2 and 3) and of SparseGPT (Frantar and Alistarh, 2023,
// algorithm 1), one launch for a whole block of columns.
//
// The loop is sequential over columns and free over rows, and what it takes is latency. Eight lanes have a row, so that a
// warp has four: each lane keeps 16 of a piece of 128 columns in registers, all eight work out a column's error, and each
// then changes its own columns. The piece's part of U lies in shared memory. Later pieces of a wider block first take the
// errors of the pieces before, column by column: each weight meets the same operations in the same order as on a CPU.
#include "floats.cuh"
#include "quant.cuh"

static const int LANES = 8;                   // of a row
static const int PIECE = 128;                 // columns
static const int SPAN = 4 * LANES;            // columns that a row's lanes have between them, four neighbours each
static const int SPANS = PIECE / SPAN;
static const int PITCH = PIECE + 4;           // of what each row has: the rows of a warp begin in different banks
enum Pruning { NONE, READ, CHOSEN };

// Where a lane's k-th four of a piece begin.
static __device__ __forceinline__ int own(int k) { return SPAN * k + 4 * (threadIdx.x % LANES); }

// Rows [0, n) and columns [0, width) of the part of U at `u`, as [n][PIECE]; they are there after cp_async_wait and a
// barrier. Of the diagonal part only what lies on and above the diagonal is wanted.
static __device__ __forceinline__ void load_u(float* to, const float* u, int pitch, int n, int width, bool diagonal, bool fours) {
  for (int i = threadIdx.x; i < n * (PIECE / 4); i += blockDim.x) {
    int r = i / (PIECE / 4), c = 4 * (i % (PIECE / 4));
    if (c >= width || (diagonal && c + 3 < r)) continue;
    const float* from = u + (i64)r * pitch + c;
    float* at = to + r * PIECE + c;
    if (fours && c + 4 <= width) cp_async16(at, from);
    else
      for (int k = 0; k < 4 && c + k < width; k++) at[k] = from[k];
  }
  cp_async_commit();
}

// The columns of spans [span, width / SPAN) after column j lose err * u[k]; x[0] is of the first of these spans.
static __device__ __forceinline__ void update(float (&x)[SPANS][4], const float* u, float err, int span, int width, int j) {
#pragma unroll
  for (int s = 0; s < SPANS; s++)
    if (SPAN * (span + s) < width) {
      int column = own(span + s);
      float4 v = *(const float4*)(u + column);
      float f[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float next = fmaf(-err, f[e], x[s][e]);
        if (s > 0 || column + e > j) x[s][e] = next;
      }
    }
}

// Of the weights [j, j + m) of each row the m - n that cost least get a flag, ties the first ones. x[0] is of the span of
// column j; `costs` and `flags` are this row's. All lanes of a warp come.
static __device__ __forceinline__ void choose(const float (&x)[SPANS][4], float* costs, u8* flags, const float* u, int span, int j, int m,
                                              int n) {
  int lane = threadIdx.x % LANES;
  __syncwarp();  // the costs of the group before have been read
#pragma unroll
  for (int s = 0; s < SPANS; s++)
    if (SPAN * (span + s) < j + m) *(float4*)(costs + own(span + s)) = make_float4(x[s][0], x[s][1], x[s][2], x[s][3]);
  __syncwarp();
  for (int k = j + lane; k < j + m; k += LANES) {
    float w = costs[k], d = u[k * PIECE + k];
    costs[k] = w * w / (d * d);
  }
  __syncwarp();
  for (int k = j + lane; k < j + m; k += LANES) {
    // Costs are not negative: their bits order as they do, NaN last, so that just as many are pruned with one.
    u32 cost = __float_as_uint(costs[k]) & 0x7fffffffu;
    int before = 0;
    for (int i = j; i < j + m; i++) {
      u32 other = __float_as_uint(costs[i]) & 0x7fffffffu;
      before += other < cost || (other == cost && i < k);
    }
    flags[k] = before < m - n;
  }
  __syncwarp();
}

struct Block {
  float* errors;
  float* w;
  const float* u;
  u8* codes;
  Scales scales;
  int type;  // of values
  const u8* zeros;  // null of small floats
  const int* group_of;
  int groups, max_code, bits;
  i64 height;  // of a tile
  u8* mask;
  int stay, of;  // n of m weights are kept
  i64 rows;
  int cols, from, n, piece;
};

template <bool ROUNDS, int PRUNING>
static __device__ __forceinline__ void block(const Block& b) {
  DYNAMIC_SHARED(float, u);
  int rows_here = blockDim.x / LANES, local = threadIdx.x / LANES;
  float* costs = u + PIECE * PIECE + local * PITCH;
  u8* flags = (u8*)(u + PIECE * PIECE + (PRUNING == CHOSEN ? rows_here * PITCH : 0)) + local * PITCH;
  i64 row = (i64)blockIdx.x * rows_here + local;
  bool there = row < b.rows;
  i64 line = (there ? row : 0) * b.cols + b.from;  // of w, codes and mask
  i64 error_line = (there ? row : 0) * b.n;
  bool u_fours = by_four(b.u, 4, b.cols) && ((b.from | b.piece) & 3) == 0;
  bool w_fours = by_four(b.w, 4, b.cols) && ((b.from | b.piece) & 3) == 0;
  bool error_fours = by_four(b.errors, 4, b.n) && (b.piece & 3) == 0;
  bool code_fours = by_four(b.codes, 1, b.cols) && ((b.from | b.piece) & 3) == 0;
  bool mask_fours = by_four(b.mask, 1, b.cols) && ((b.from | b.piece) & 3) == 0;

  for (int p = 0; p < b.n; p += b.piece) {
    int width = min(b.piece, b.n - p);
    float x[SPANS][4], err[4];
#pragma unroll
    for (int s = 0; s < SPANS; s++) load_four(x[s], b.w, line + p + own(s), there ? width - own(s) : 0, F32, w_fours);

    for (int before = 0; before < p; before += b.piece) {
      __syncthreads();  // the part of U before has been read
      load_u(u, b.u + (i64)(b.from + before) * b.cols + b.from + p, b.cols, b.piece, width, false, u_fours);
      cp_async_wait<0>();
      __syncthreads();
#pragma unroll 1
      for (int s = 0; SPAN * s < b.piece; s++) {
        // What this thread has written.
        load_four(err, b.errors, error_line + before + own(s), there ? b.piece - own(s) : 0, F32, error_fours);
#pragma unroll 1
        for (int j = SPAN * s; j < min(SPAN * (s + 1), b.piece); j += 4)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            float error = __shfl_sync(0xffffffffu, err[e], j / 4 % LANES, LANES);
            if (j + e < b.piece) update(x, u + (j + e) * PIECE, error, 0, width, -1);
          }
      }
    }

    __syncthreads();
    load_u(u, b.u + (i64)(b.from + p) * b.cols + b.from + p, b.cols, width, width, true, u_fours);
    float scale[SPANS][4];
    u32 zeros[SPANS];
#pragma unroll
    for (int s = 0; s < SPANS; s++) {
      int left = there ? width - own(s) : 0;
      if (ROUNDS) {
        zeros[s] = 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
          scale[s][e] = 1.f;
          if (e < left) {
            i64 g = row / b.height * b.groups + b.group_of[b.from + p + own(s) + e];
            scale[s][e] = b.scales.at(g);
            if (b.zeros) zeros[s] |= (u32)b.zeros[g] << 8 * e;
          }
        }
      }
      if (PRUNING != NONE) {
        bool read = PRUNING == READ && b.mask;
        *(u32*)(flags + own(s)) = read ? load_octets(b.mask, line + p + own(s), left, mask_fours) : 0;
      }
    }
    cp_async_wait<0>();
    __syncthreads();

    // The span that is worked on is always the first of x: its registers are known to the compiler, in one copy of the code.
#pragma unroll 1
    for (int s = 0; SPAN * s < width; s++) {
      u32 codes = 0;
#pragma unroll 1
      for (int source = 0; source < LANES; source++) {
        int j = SPAN * s + 4 * source;
        if (j >= width) break;
        bool mine = threadIdx.x % LANES == source;
        u32 zero4 = 0;
        if (ROUNDS) zero4 = __shfl_sync(0xffffffffu, zeros[0], source, LANES);
#pragma unroll
        for (int e = 0; e < 4; e++, j++) {
          if (j >= width) break;
          const float* line_u = u + j * PIECE;
          if (PRUNING == CHOSEN && j % b.of == 0) choose(x, costs, flags, u, s, j, b.of, b.stay);
          float w = __shfl_sync(0xffffffffu, x[0][e], source, LANES);
          bool pruned = PRUNING != NONE && flags[j] != 0;
          float value = w;
          if (ROUNDS) {
            float step = __shfl_sync(0xffffffffu, scale[0][e], source, LANES), zero = (float)(zero4 >> 8 * e & 0xff);
            u32 code;
            if (b.zeros) {
              float q = pruned ? zero : code_of(w, step, zero, (float)b.max_code);
              value = value_of(q, step, zero, b.type);
              code = (u32)q;
            } else {
              float q = pruned ? 0.f : nearest_small(w / step, b.bits);
              value = rounded(q * step, b.type);
              code = small_code(q, b.bits);
            }
            if (mine) codes |= code << 8 * e;
          }
          value = pruned ? 0.f : value;
          float error = (w - value) / line_u[j];
          update(x, line_u, error, s, width, j);
          if (mine) x[0][e] = value, err[e] = error;
        }
      }
      int column = own(s), left = there ? width - column : 0;
      store_four(b.w, line + p + column, left, x[0], w_fours);
      store_four(b.errors, error_line + p + column, left, err, error_fours);
      if (ROUNDS) store_octets(b.codes, line + p + column, left, codes, code_fours);
      if (PRUNING == CHOSEN) store_octets(b.mask, line + p + column, left, *(const u32*)(flags + column), mask_fours);
#pragma unroll
      for (int t = 0; t + 1 < SPANS; t++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          x[t][e] = x[t + 1][e];
          if (ROUNDS) scale[t][e] = scale[t + 1][e];
        }
        if (ROUNDS) zeros[t] = zeros[t + 1];
      }
    }
  }
}

// `bits` of small floats, which have no zero points.
#define GRID_PARAMETERS                                                                                                     \
  u8 *codes, const void *scales, int scale_type, const float *global, int type, const u8 *zeros, const int *group_of, int groups, \
      int max_code, int bits, i64 height
#define GRID codes, Scales{scales, scale_type, global}, type, zeros, group_of, groups, max_code, bits, height
#define NO_GRID nullptr, Scales{nullptr, 0, nullptr}, 0, nullptr, nullptr, 0, 0, 0, 1

extern "C" __global__ void obs_round(float* errors, float* w, const float* u, GRID_PARAMETERS, i64 rows, int cols, int from, int n,
                                     int piece) {
  block<true, NONE>({errors, w, u, GRID, nullptr, 0, 0, rows, cols, from, n, piece});
}
extern "C" __global__ void obs_round_pruned(float* errors, float* w, const float* u, GRID_PARAMETERS, u8* mask, i64 rows, int cols,
                                            int from, int n, int piece) {
  block<true, READ>({errors, w, u, GRID, mask, 0, 0, rows, cols, from, n, piece});
}
extern "C" __global__ void obs_round_choose(float* errors, float* w, const float* u, GRID_PARAMETERS, u8* mask, int stay, int of,
                                            i64 rows, int cols, int from, int n, int piece) {
  block<true, CHOSEN>({errors, w, u, GRID, mask, stay, of, rows, cols, from, n, piece});
}
// Without a mask nothing is pruned.
extern "C" __global__ void obs_pruned(float* errors, float* w, const float* u, u8* mask, i64 rows, int cols, int from, int n,
                                      int piece) {
  block<false, READ>({errors, w, u, NO_GRID, mask, 0, 0, rows, cols, from, n, piece});
}
extern "C" __global__ void obs_choose(float* errors, float* w, const float* u, u8* mask, int stay, int of, i64 rows, int cols,
                                      int from, int n, int piece) {
  block<false, CHOSEN>({errors, w, u, NO_GRID, mask, stay, of, rows, cols, from, n, piece});
}

// Where a group of columns is wider than a piece: one thread a row, in device memory. Nobody does this in earnest.
extern "C" __global__ void obs_choose_wide(float* errors, float* w, const float* u, GRID_PARAMETERS, u8* mask, int stay, int of,
                                           i64 rows, int cols, int from, int n) {
  i64 row = first_element();
  if (row >= rows) return;
  float* x = w + row * cols + from;
  u8* pruned = mask + row * cols + from;
  u += (i64)from * cols + from;
  for (int j = 0; j < n; j++) {
    float d = u[(i64)j * cols + j];
    if (j % of == 0) {
      for (int k = j; k < j + of; k++) pruned[k] = 0;
      for (int zeros = of - stay; zeros > 0; zeros--) {
        int least = -1;
        float cost = 0.f;
        for (int k = j; k < j + of; k++) {
          float v = u[(i64)k * cols + k], c = x[k] * x[k] / (v * v);
          if (!pruned[k] && (least < 0 || c < cost)) least = k, cost = c;
        }
        pruned[least] = 1;
      }
    }
    float value = pruned[j] ? 0.f : x[j];
    if (codes) {
      i64 g = row / height * groups + group_of[from + j];
      float scale = Scales{scales, scale_type, global}.at(g), zero = zeros ? zeros[g] : 0.f;
      if (zeros) {
        float code = pruned[j] ? zero : code_of(x[j], scale, zero, (float)max_code);
        codes[row * cols + from + j] = (u8)code;
        value = pruned[j] ? 0.f : value_of(code, scale, zero, type);
      } else {
        float q = pruned[j] ? 0.f : nearest_small(x[j] / scale, bits);
        codes[row * cols + from + j] = (u8)small_code(q, bits);
        value = rounded(q * scale, type);
      }
    }
    float error = (x[j] - value) / d;
    for (int k = j + 1; k < n; k++) x[k] = fmaf(-error, u[(i64)j * cols + k], x[k]);
    x[j] = value;
    errors[row * n + j] = error;
  }
}

// Coordinate descent over one group of columns, a warp for each row. Lane l has the columns k with k % 32 == l; what another
// lane must know goes by shuffles, or by memory with a __syncwarp between.
static __device__ __forceinline__ float products(const u8* codes, const float* h, int cols, int n, int k, float zero) {
  float sum = 0;
  for (int j = 0; j < n; j++) sum = fmaf(codes[j] - zero, h[(i64)j * cols + k], sum);
  return sum;
}

extern "C" __global__ void descend(float* errors, float* r, u8* codes, void* scales, int type, const u8* zeros, const float* h,
                                   int cols, int groups, int group, int from, int n, int max_code, i64 rows) {
  i64 row = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (row >= rows) return;  // a whole warp; there are no barriers
  int lane = threadIdx.x & 31;
  errors += row * n, r += row * cols + from, codes += row * cols + from, h += (i64)from * cols + from;
  float scale = load(scales, row * groups + group, type), zero = zeros[row * groups + group], max = (float)max_code;
  for (int k = lane; k < n; k += 32) errors[k] = 0;
  for (int j = 0; j < n; j++) {
    float own = h[(i64)j * cols + j], change = 0;
    if (!(own > 0)) continue;  // an input that was never active says nothing
    if ((j & 31) == lane) {
      float was = value_of(codes[j], scale, zero, type), code = code_of(was - r[j] / own, scale, zero, max);
      change = value_of(code, scale, zero, type) - was;
      codes[j] = (u8)code;
      errors[j] = -change;
    }
    change = __shfl_sync(0xffffffffu, change, j & 31);
    if (change != 0)
      for (int k = lane; k < n; k += 32) r[k] = fmaf(change, h[(i64)j * cols + k], r[k]);
  }
  __syncwarp();
  float slope = 0, bend = 0, gain = 0;
  for (int k = lane; k < n; k += 32) {
    float q = codes[k] - zero;
    slope = fmaf(q, r[k], slope);
    bend = fmaf(q, products(codes, h, cols, n, k, zero), bend);
  }
  slope = warp_reduce(slope, Sum());
  bend = warp_reduce(bend, Sum());
  float fitted = rounded(scale - slope / bend, type);
  for (int k = lane; k < n; k += 32) {
    float sum = r[k] + r[k];
    for (int j = 0; j < n; j++)
      sum = fmaf(value_of(codes[j], fitted, zero, type) - value_of(codes[j], scale, zero, type), h[(i64)j * cols + k], sum);
    gain = fmaf(value_of(codes[k], fitted, zero, type) - value_of(codes[k], scale, zero, type), sum, gain);
  }
  gain = warp_reduce(gain, Sum());
  if (!(gain < 0 && bend > 0 && fitted * scale > 0)) return;
  for (int k = lane; k < n; k += 32)
    errors[k] -= value_of(codes[k], fitted, zero, type) - value_of(codes[k], scale, zero, type);
  if (lane == 0) store(scales, row * groups + group, type, fitted);
}
