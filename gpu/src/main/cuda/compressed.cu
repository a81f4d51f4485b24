// SPDX-License-Identifier: Apache-2.0
//
// Keys of several tokens (CompressedOp.Compress; SparseOp.Choose pools keys likewise): each channel is a mean over tokens with
// weights that are the softmax over these of gates + places. Memory limits it. A block has 32 channels, one for each lane, and
// its eight warps share an entry's tokens; their parts are put together in their order.
#include "pages.cuh"

constexpr int WARPS = 8;

// A softmax's sums so far, relative to its largest logit.
struct Mean {
  float most = -3.402823466e38f, weights = 0.f, sum = 0.f;

  __device__ void add(float logit, float value) {
    float top = fmaxf(most, logit), down = expf(most - top), up = expf(logit - top);
    weights = fmaf(weights, down, up);
    sum = fmaf(sum, down, up * value);
    most = top;
  }

  // All threads of a lane get that of the block; every thread must come.
  __device__ void together() {
    __shared__ float parts[3][WARPS][32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    parts[0][warp][lane] = most;
    parts[1][warp][lane] = weights;
    parts[2][warp][lane] = sum;
    __syncthreads();
    float top = parts[0][0][lane];
    for (int w = 1; w < WARPS; w++) top = fmaxf(top, parts[0][w][lane]);
    weights = sum = 0.f;
    for (int w = 0; w < WARPS; w++) {
      float down = expf(parts[0][w][lane] - top);
      weights = fmaf(parts[1][w][lane], down, weights);
      sum = fmaf(parts[2][w][lane], down, sum);
    }
    most = top;
  }
};

// The tokens of an entry: where it overlaps the one before, that one's come first, with the first half of the columns.
struct Entry {
  int number, rate, dim, cols;
  bool overlaps;

  __device__ int first() const { return overlaps && number > 0 ? 0 : rate; }
  __device__ int token(int i) const { return (number - 1) * rate + i; }
  // Of a channel, in the columns that are averaged; gates are `cols` behind.
  __device__ int column(int i, int channel) const { return overlaps && i >= rate ? dim + channel : channel; }
};

// out: rows of an operation's tokens, zeros where no entry ends, or, where they are `dense`, an entry's row.
// Blocks: 32 channels, entries from that of the first query on, sequences.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    compress(float* out, Source tokens, const void* places, int places_type, int rate, int dim, int cols, int dense,
             Sequences sequences) {
  const Sequence s = sequences.of[blockIdx.z];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane;
  int start = dense ? 0 : s.position(0);
  Entry entry{start / rate + (int)blockIdx.y, rate, dim, cols, cols > dim};
  int from = entry.number * rate, end = from + rate;
  if (from >= s.keys || (dense && end > s.keys)) return;
  if (!dense && channel < dim)
    for (int token = max(from, start) + warp; token < min(end - 1, s.keys); token += WARPS)
      out[(i64)(s.row + token - start) * dim + channel] = 0.f;
  if (end > s.keys) return;
  Mean mean;
  if (channel < dim)
    for (int i = entry.first() + warp; i < 2 * rate; i += WARPS) {
      Key key = tokens.key(s.tables[0], s.first, entry.token(i), 0);
      int column = entry.column(i, channel);
      mean.add(tokens.value(key, cols + column) + load(places, (i64)(i % rate) * cols + column, places_type),
               tokens.value(key, column));
    }
  mean.together();
  if (warp == 0 && channel < dim)
    out[(dense ? s.part + (i64)entry.number * dim : (i64)(s.row + end - 1 - start) * dim) + channel] = mean.sum / mean.weights;
}

// With a the weights of an entry's tokens: dx = a dout, and the gate's is a (x - out) dout. A token's columns belong to one
// entry each. gates: what a token's places get, [tokens, cols].
// Blocks: 32 channels, entries of a sequence, sequences.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    compress_grad(float* dtokens, float* gates, const float* dout, const float* tokens, const void* places, int places_type,
                  int rate, int dim, int cols, int length) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane;
  Entry entry{(int)blockIdx.y, rate, dim, cols, cols > dim};
  i64 row = (i64)blockIdx.z * length;
  Mean mean;
  if (channel < dim)
    for (int i = entry.first() + warp; i < 2 * rate; i += WARPS) {
      const float* token = tokens + (row + entry.token(i)) * 2 * cols;
      int column = entry.column(i, channel);
      mean.add(token[cols + column] + load(places, (i64)(i % rate) * cols + column, places_type), token[column]);
    }
  mean.together();
  if (channel >= dim) return;
  float d = dout[(row + (entry.number + 1) * rate - 1) * dim + channel], out = mean.sum / mean.weights;
  for (int i = entry.first() + warp; i < 2 * rate; i += WARPS) {
    i64 at = row + entry.token(i);
    int column = entry.column(i, channel);
    float x = tokens[at * 2 * cols + column], logit = tokens[at * 2 * cols + cols + column];
    logit += load(places, (i64)(i % rate) * cols + column, places_type);
    float share = expf(logit - mean.most) / mean.weights * d, gate = share * (x - out);
    dtokens[at * 2 * cols + column] += share;
    dtokens[at * 2 * cols + cols + column] += gate;
    if (gates) gates[at * cols + column] = gate;
  }
}

// Sums of the gates of all entries' tokens, in F64.
// Blocks: 32 columns, places.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    compress_places_grad(float* dplaces, const float* gates, int rate, int dim, int cols, int length, int sequences) {
  __shared__ double parts[WARPS][32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, column = blockIdx.x * 32 + lane, place = blockIdx.y;
  // The first half's tokens belong to the entry behind theirs.
  int entries = length / rate - (cols > dim && column < dim ? 1 : 0);
  double sum = 0;
  if (column < cols)
    for (int i = warp; i < entries * sequences; i += WARPS)
      sum += gates[((i64)(i / entries) * length + i % entries * rate + place) * cols + column];
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp || column >= cols) return;
  for (int w = 1; w < WARPS; w++) sum += parts[w][lane];
  i64 at = (i64)place * cols + column;
  dplaces[at] = (float)(dplaces[at] + sum);
}
