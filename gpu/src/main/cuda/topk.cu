// SPDX-License-Identifier: Apache-2.0
//
// The k largest of a row: a radix select of the k-th key, digit by digit from the highest, then a sort of what is not
// below it (Alabi et al., 2012, "Fast k-selection algorithms for graphics processors").
#include "rowwise.cuh"
#include "select.cuh"

// One block a row. Keys are sorted in dynamic shared memory, or in `spill` where they are too many; `padded` is k rounded
// up to a power of two.
extern "C" __global__ void __launch_bounds__(512)
    top_log_probabilities(float* values, int* ids, const float* logits, u64* spill, int n, int k, int padded,
                          float temperature) {
  DYNAMIC_SHARED(u64, sorted);
  __shared__ u32 histogram[BINS];
  __shared__ int found[3];
  __shared__ int places;
  i64 row = blockIdx.x;
  const float* xs = logits + row * n;
  u64* keys = spill ? spill + row * padded : sorted;
  LogSum<float> sum;
  float x[4];
  u32 prefix = 0;
  int wanted = k;
  for (int digit = 0; digit < 3; digit++) {
    int shift = digit == 0 ? 21 : digit == 1 ? 10 : 0, bits = digit == 2 ? 10 : 11;
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) histogram[i] = 0;
    __syncthreads();
    for (i64 c = 4 * (i64)threadIdx.x; c < n; c += 4 * (i64)blockDim.x) {
      load_four(x, xs, c, n - c, minus_infinity());
      for (int j = 0; j < 4; j++) {
        u32 key = ordered(x[j]);
        if (j < n - c && (digit == 0 || key >> (shift + bits) == prefix))
          atomicAdd(&histogram[key >> shift & ((1u << bits) - 1)], 1u);
      }
      if (digit == 0) {
        if (temperature != 1) for (int j = 0; j < 4; j++) x[j] /= temperature;
        sum.add(x);
      }
    }
    __syncthreads();
    if (threadIdx.x < 32) find_bin(histogram, wanted, found);
    __syncthreads();
    prefix = prefix << bits | (u32)found[0];
    wanted = found[1];
  }
  double log = sum.log_of_block();
  // Of those equal to the k-th, the first ones; where all of them are wanted, their order does not matter before the sort.
  bool all_equal = found[2] == wanted;
  int equal = 0, above = k - wanted;
  if (threadIdx.x == 0) places = 0;
  __syncthreads();
  for (i64 c0 = 0; c0 < n; c0 += 4 * (i64)blockDim.x) {
    i64 c = c0 + 4 * (i64)threadIdx.x;
    load_four(x, xs, c < n ? c : 0, n - c, 0.f);
    int mine = 0;
    for (int j = 0; j < 4; j++) {
      u32 key = ordered(x[j]);
      if (j >= n - c || key < prefix) continue;
      if (key > prefix || all_equal) keys[atomicAdd(&places, 1)] = (u64)key << 32 | ~(u32)(c + j);
      else mine++;
    }
    if (!all_equal && equal < wanted) {
      int total, place = equal + before_me(mine, &total);
      for (int j = 0; j < 4; j++)
        if (j < n - c && ordered(x[j]) == prefix && place < wanted)
          keys[above + place++] = (u64)prefix << 32 | ~(u32)(c + j);
      equal += total;
    }
  }
  for (int i = k + threadIdx.x; i < padded; i += blockDim.x) keys[i] = 0;
  __syncthreads();
  // A bitonic sort, the largest first.
  for (int size = 2; size <= padded; size <<= 1) {
    for (int step = size >> 1; step > 0; step >>= 1) {
      for (int i = threadIdx.x; i < padded >> 1; i += blockDim.x) {
        int low = (i & ~(step - 1)) << 1 | (i & (step - 1)), high = low | step;
        u64 a = keys[low], b = keys[high];
        if ((a < b) == ((low & size) == 0)) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
  for (int j = threadIdx.x; j < k; j += blockDim.x) {
    int id = (int)~(u32)keys[j];
    float v = xs[id];
    if (temperature != 1) v /= temperature;
    ids[row * k + j] = id;
    values[row * k + j] = (float)(v - log);
  }
}
