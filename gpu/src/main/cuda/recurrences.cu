// SPDX-License-Identifier: Apache-2.0
//
// Recurrences whose state is a matrix for each head (RecurrentOp.DeltaRule, RecurrentOp.StateSpace), or some numbers for each
// channel (RecurrentOp.SelectiveScan, below).
//
// The columns of a matrix know nothing of each other: a block has some of one head's and goes through a sequence with them,
// the state in registers. LANES neighbouring threads share two columns and have EACH of their rows, every thread groups of
// four of them. So a row's q and k, which lie in shared memory, are read 16 bytes at a time by neighbours side by side. What
// limits it is how long a row takes, since rows wait for each other: two sums over LANES threads, and between them the
// arithmetic of 2 EACH elements.
#include "llmc.cuh"

constexpr int THREADS = 128;
// Of a sequence, prepared at a time; fewer where a state has many rows.
constexpr int ROWS = 16, FEW_ROWS = 4;

struct Run {
  const float* begin;  // null for zeros
  float* end;          // null for nowhere
  int row, length;
};

// As io.llmc.gpu.RecurrentKernels packs them: parameters, so that no copy goes before a launch.
struct Runs {
  Run of[64];
};

struct Heads {
  int keys, values, key_dim, value_dim;
};

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }

// What a state keeps of itself: RecurrentOp.Decay.
struct Decay {
  const float* x;
  const void* bias;
  int bias_type, cols;
  float rate, bound;

  __device__ float kept(i64 row, int column) const {
    float at = x[row * cols + column] + load(bias, column, bias_type);
    return expf(bound == 0.f ? -rate * softplus(at) : bound * sigmoid(rate * at));
  }
};

// Sums of LANES neighbours; all of them get it.
template <int LANES>
__device__ __forceinline__ float together(const float (&part)[4]) {
  float sum = (part[0] + part[1]) + (part[2] + part[3]);
#pragma unroll
  for (int o = LANES / 2; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  return sum;
}

// Rows of one head of q or k, zeros behind its channels; a warp a row. They are divided by their length and by `size` where
// that is not 0.
template <int PITCH>
__device__ __forceinline__ void stage(float* to, const float* x, i64 row, int rows, int head, int heads, int dim, float size) {
  int lane = threadIdx.x & 31;
  for (int r = threadIdx.x >> 5; r < rows; r += THREADS / 32) {
    const float* from = x + ((row + r) * heads + head) * dim;
    float squares = 0.f;
#pragma unroll 4
    for (int c = lane; c < PITCH; c += 32) {
      float v = c < dim ? from[c] : 0.f;
      squares = fmaf(v, v, squares);
      to[r * PITCH + c] = v;
    }
    if (size == 0.f) continue;
    float factor = 1.f / (sqrtf(warp_reduce(squares, Sum()) + 1e-6f) * size);
    for (int c = lane; c < PITCH; c += 32) to[r * PITCH + c] *= factor;
  }
}

template <int EACH>
__device__ __forceinline__ void load_rows(float (&x)[EACH], const float* row, int lanes) {
#pragma unroll
  for (int j = 0; j < EACH / 4; j++) {
    float4 v = *(const float4*)(row + 4 * lanes * j);
    x[4 * j] = v.x, x[4 * j + 1] = v.y, x[4 * j + 2] = v.z, x[4 * j + 3] = v.w;
  }
}

// Shared memory: rows of q and k, and of what is kept by channel, PITCH = LANES * EACH each; then of v and what comes out,
// COLUMNS each; then what is kept, and how much of v counts, a number a row.
template <int LANES, int EACH, bool DELTA, bool BY_CHANNEL>
__device__ __forceinline__ void march(float* shared, float* out, const float* q, const float* k, const float* v, const Decay& decay,
                                      const float* betas, float least, float most, float skip, const Heads& heads, const Run& run) {
  constexpr int PITCH = LANES * EACH, COLUMNS = 2 * THREADS / LANES, AT_ONCE = PITCH > 256 ? FEW_ROWS : ROWS;
  float *qs = shared, *ks = qs + AT_ONCE * PITCH, *as = ks + AT_ONCE * PITCH, *vs = as + (BY_CHANNEL ? AT_ONCE * PITCH : 0);
  float *kept = vs + AT_ONCE * COLUMNS, *shares = kept + AT_ONCE;
  int head = blockIdx.y, key_head = head / (heads.values / heads.keys), dk = heads.key_dim, dv = heads.value_dim;
  int first = blockIdx.x * COLUMNS, columns = min(COLUMNS, dv - first), lane = threadIdx.x % LANES;
  int column = threadIdx.x / LANES * 2;
  float s[2][EACH];
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int row = 4 * (lane + i / 4 * LANES) + i % 4;
#pragma unroll
    for (int c = 0; c < 2; c++)
      s[c][i] = run.begin && row < dk && column + c < columns ? run.begin[((i64)head * dk + row) * dv + first + column + c] : 0.f;
  }
  for (int from = 0; from < run.length; from += AT_ONCE) {
    int rows = min(AT_ONCE, run.length - from);
    i64 row = (i64)run.row + from;
    stage<PITCH>(qs, q, row, rows, key_head, heads.keys, dk, DELTA ? sqrtf((float)dk) : 0.f);
    stage<PITCH>(ks, k, row, rows, key_head, heads.keys, dk, DELTA ? 1.f : 0.f);
    for (int i = threadIdx.x; i < rows * COLUMNS; i += THREADS) {
      int c = i % COLUMNS;
      vs[i] = c < columns ? v[((row + i / COLUMNS) * heads.values + head) * dv + first + c] : 0.f;
    }
    if (BY_CHANNEL)
      for (int i = threadIdx.x; i < rows * PITCH; i += THREADS) {
        int c = i % PITCH;
        as[i] = c < dk ? decay.kept(row + i / PITCH, head * dk + c) : 0.f;
      }
    int r = threadIdx.x;
    if (r < rows) {
      if (DELTA) {
        if (!BY_CHANNEL) kept[r] = decay.kept(row + r, head);
        shares[r] = sigmoid(betas[(row + r) * heads.values + head]);
      } else {
        float step = softplus(decay.x[(row + r) * heads.values + head] + load(decay.bias, head, decay.bias_type));
        step = fminf(fmaxf(step, least), most);
        kept[r] = expf(-decay.rate * step);
        shares[r] = step;
      }
    }
    __syncthreads();
#pragma unroll 1
    for (r = 0; r < rows; r++) {
      float kr[EACH], x[EACH], add[2];
      float *value = vs + r * COLUMNS + column;
      load_rows(kr, ks + r * PITCH + 4 * lane, LANES);
      if (BY_CHANNEL) load_rows(x, as + r * PITCH + 4 * lane, LANES);
      float a = BY_CHANNEL ? 0.f : kept[r];
#pragma unroll
      for (int c = 0; c < 2; c++) {
        float part[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
        for (int i = 0; i < EACH; i++) {
          s[c][i] *= BY_CHANNEL ? x[i] : a;
          if (DELTA) part[i % 4] = fmaf(kr[i], s[c][i], part[i % 4]);
        }
        add[c] = shares[r] * (DELTA ? value[c] - together<LANES>(part) : value[c]);
      }
      load_rows(x, qs + r * PITCH + 4 * lane, LANES);
#pragma unroll
      for (int c = 0; c < 2; c++) {
        float part[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
        for (int i = 0; i < EACH; i++) {
          s[c][i] = fmaf(kr[i], add[c], s[c][i]);
          part[i % 4] = fmaf(x[i], s[c][i], part[i % 4]);
        }
        float sum = together<LANES>(part);
        if (lane == 0) value[c] = DELTA ? sum : fmaf(skip, value[c], sum);
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < rows * COLUMNS; i += THREADS) {
      int c = i % COLUMNS;
      if (c < columns) out[((row + i / COLUMNS) * heads.values + head) * dv + first + c] = vs[i];
    }
  }
  if (!run.end) return;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int row = 4 * (lane + i / 4 * LANES) + i % 4;
#pragma unroll
    for (int c = 0; c < 2; c++)
      if (row < dk && column + c < columns) run.end[((i64)head * dk + row) * dv + first + column + c] = s[c][i];
  }
}

// Blocks: columns of a state, value heads, sequences.
#define RECURRENCES(PITCH, LANES, EACH)                                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                     \
      delta_rule_##PITCH(float* out, const float* q, const float* k, const float* v, const float* decay, const void* rate,  \
                         int rate_type, const void* bias, int bias_type, float bound, const float* beta, int keys,          \
                         int values, int key_dim, int value_dim, Runs runs) {                                               \
    DYNAMIC_SHARED(float, shared);                                                                                          \
    float speed = expf(load(rate, blockIdx.y, rate_type));                                                                  \
    march<LANES, EACH, true, false>(shared, out, q, k, v, Decay{decay, bias, bias_type, values, speed, bound}, beta, 0.f,   \
                                    0.f, 0.f, Heads{keys, values, key_dim, value_dim}, runs.of[blockIdx.z]);                \
  }                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                     \
      delta_rule_channels_##PITCH(float* out, const float* q, const float* k, const float* v, const float* decay,           \
                                  const void* rate, int rate_type, const void* bias, int bias_type, float bound,            \
                                  const float* beta, int keys, int values, int key_dim, int value_dim, Runs runs) {         \
    DYNAMIC_SHARED(float, shared);                                                                                          \
    float speed = expf(load(rate, blockIdx.y, rate_type));                                                                  \
    march<LANES, EACH, true, true>(shared, out, q, k, v, Decay{decay, bias, bias_type, values * key_dim, speed, bound},     \
                                   beta, 0.f, 0.f, 0.f, Heads{keys, values, key_dim, value_dim}, runs.of[blockIdx.z]);      \
  }                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                     \
      state_space_##PITCH(float* out, const float* q, const float* k, const float* v, const float* steps, const void* rate, \
                          int rate_type, const void* bias, int bias_type, float least, float most, const void* skip,        \
                          int skip_type, int keys, int values, int key_dim, int value_dim, Runs runs) {                     \
    DYNAMIC_SHARED(float, shared);                                                                                          \
    float speed = expf(load(rate, blockIdx.y, rate_type));                                                                  \
    march<LANES, EACH, false, false>(shared, out, q, k, v, Decay{steps, bias, bias_type, values, speed, 0.f}, nullptr,      \
                                     least, most, load(skip, blockIdx.y, skip_type),                                        \
                                     Heads{keys, values, key_dim, value_dim}, runs.of[blockIdx.z]);                         \
  }

RECURRENCES(32, 8, 4)
RECURRENCES(128, 8, 16)
RECURRENCES(256, 8, 32)
RECURRENCES(1024, 32, 32)

// RecurrentOp.SelectiveScan: a channel's state is a row of numbers, which SCAN_LANES neighbouring threads share, every thread
// groups of four. Its exponentials, one for each number and row, limit it, and how rows wait for each other.
constexpr int SCAN_LANES = 4, CHANNELS = THREADS / SCAN_LANES;

// Rows of b or c, zeros behind their numbers.
template <int PITCH>
__device__ __forceinline__ void stage(float* to, const float* x, i64 row, int rows, int states) {
  for (int i = threadIdx.x; i < rows * PITCH; i += THREADS) {
    int n = i % PITCH;
    to[i] = n < states ? x[(row + i / PITCH) * states + n] : 0.f;
  }
}

template <int EACH>
__device__ __forceinline__ void scan(float* out, const float* x, const float* step, const float* b, const float* c, const void* rate,
                                     int rate_type, const void* skip, int skip_type, int channels, int states, const Run& run) {
  constexpr int PITCH = SCAN_LANES * EACH;
  __shared__ __align__(16) float bs[ROWS * PITCH], cs[ROWS * PITCH];
  __shared__ float xs[ROWS * CHANNELS], steps[ROWS * CHANNELS];
  int lane = threadIdx.x % SCAN_LANES, mine = threadIdx.x / SCAN_LANES, first = blockIdx.x * CHANNELS, channel = first + mine;
  int present = min(CHANNELS, channels - first);
  float s[EACH], rates[EACH], skipped = mine < present ? load(skip, channel, skip_type) : 0.f;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int n = 4 * (lane + i / 4 * SCAN_LANES) + i % 4;
    bool there = n < states && mine < present;
    s[i] = there && run.begin ? run.begin[(i64)n * channels + channel] : 0.f;
    rates[i] = there ? -expf(load(rate, (i64)channel * states + n, rate_type)) : 0.f;
  }
  for (int from = 0; from < run.length; from += ROWS) {
    int rows = min(ROWS, run.length - from);
    i64 row = (i64)run.row + from;
    stage<PITCH>(bs, b, row, rows, states);
    stage<PITCH>(cs, c, row, rows, states);
    for (int i = threadIdx.x; i < rows * CHANNELS; i += THREADS) {
      int at = i % CHANNELS;
      i64 of = (row + i / CHANNELS) * channels + first + at;
      xs[i] = at < present ? x[of] : 0.f;
      steps[i] = at < present ? softplus(step[of]) : 0.f;
    }
    __syncthreads();
#pragma unroll 1
    for (int r = 0; r < rows; r++) {
      float bn[EACH], cn[EACH], part[4] = {0.f, 0.f, 0.f, 0.f};
      float dt = steps[r * CHANNELS + mine], v = xs[r * CHANNELS + mine];
      load_rows(bn, bs + r * PITCH + 4 * lane, SCAN_LANES);
      load_rows(cn, cs + r * PITCH + 4 * lane, SCAN_LANES);
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        s[i] = fmaf(expf(rates[i] * dt), s[i], dt * v * bn[i]);
        part[i % 4] = fmaf(cn[i], s[i], part[i % 4]);
      }
      float sum = together<SCAN_LANES>(part);
      if (lane == 0) xs[r * CHANNELS + mine] = fmaf(skipped, v, sum);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < rows * CHANNELS; i += THREADS) {
      int at = i % CHANNELS;
      if (at < present) out[(row + i / CHANNELS) * channels + first + at] = xs[i];
    }
  }
  if (!run.end) return;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int n = 4 * (lane + i / 4 * SCAN_LANES) + i % 4;
    if (n < states && mine < present) run.end[(i64)n * channels + channel] = s[i];
  }
}

// Blocks: 32 channels, 1, sequences.
#define SCAN(PITCH, EACH)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                    \
      selective_scan_##PITCH(float* out, const float* x, const float* step, const float* b, const float* c,               \
                             const void* rate, int rate_type, const void* skip, int skip_type, int channels, int states,  \
                             Runs runs) {                                                                                  \
    scan<EACH>(out, x, step, b, c, rate, rate_type, skip, skip_type, channels, states, runs.of[blockIdx.z]);               \
  }

SCAN(16, 4)
SCAN(64, 16)
