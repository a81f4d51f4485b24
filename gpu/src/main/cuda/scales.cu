// SPDX-License-Identifier: Apache-2.0
//
// What scales of channels are made of, and what they do to weights.
#include "llmc.cuh"

// out[r,c] = factors[c] * w[r,c]
extern "C" __global__ void scale_columns(float* out, const void* w, int type, const float* factors, i64 cols, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = factors[i % cols] * load(w, i, type);
}

// out = w between -limit and the limit of its `width` neighbours
extern "C" __global__ void clamp_groups(float* out, const void* w, int type, const float* limits, i64 width, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    float limit = limits[i / width];
    out[i] = fminf(fmaxf(load(w, i, type), -limit), limit);
  }
}

// most[c] = the largest |x[r,c]|, one thread a column of a slice of rows. Floats that are not negative order as their
// bits do, so that slices may meet in any order.
extern "C" __global__ void column_maxima(float* most, const void* x, int type, i64 rows, i64 cols, i64 slice) {
  i64 c = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  float largest = 0.f;
  i64 end = min(rows, (blockIdx.y + 1) * slice);
  for (i64 r = blockIdx.y * slice; r < end; r++) largest = fmaxf(largest, fabsf(load(x, r * cols + c, type)));
  atomicMax((u32*)most + c, __float_as_uint(largest));
}
