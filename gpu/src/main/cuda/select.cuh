// SPDX-License-Identifier: Apache-2.0
//
// Of a radix select: where in a histogram the wanted-th largest key is, and counts in the order of threads.
#pragma once
#include "llmc.cuh"

#define BINS 2048

// Sums over the threads before this one, and over all of a block; every thread must come.
__device__ __forceinline__ int before_me(int mine, int* all) {
  __shared__ int parts[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, upto = mine;
  for (int o = 1; o < 32; o <<= 1) {
    int other = __shfl_up_sync(0xffffffffu, upto, o);
    if (lane >= o) upto += other;
  }
  __syncthreads();  // earlier parts have been read
  if (lane == 31) parts[warp] = upto;
  __syncthreads();
  int before = upto - mine, total = 0;
  for (int w = 0; w < warps; w++) {
    if (w < warp) before += parts[w];
    total += parts[w];
  }
  *all = total;
  return before;
}

// The first warp finds the bin in which the wanted-th largest is: out = the bin, how many of it are wanted, how many it
// has.
__device__ __forceinline__ void find_bin(const u32* histogram, int wanted, int* out) {
  int lane = threadIdx.x, base = lane * (BINS / 32);
  int mine = 0;
  // Lanes begin at different places, so that they meet different banks.
  for (int j = 0; j < BINS / 32; j++) mine += histogram[base + ((j + lane) & (BINS / 32 - 1))];
  int from = mine;  // of this lane and those above
  for (int o = 1; o < 32; o <<= 1) {
    int other = __shfl_down_sync(0xffffffffu, from, o);
    if (lane + o < 32) from += other;
  }
  int above = from - mine;
  if (above < wanted && wanted <= from) {
    int bin = base + BINS / 32 - 1;
    while (above + (int)histogram[bin] < wanted) above += histogram[bin--];
    out[0] = bin;
    out[1] = wanted - above;
    out[2] = histogram[bin];
  }
}
