// SPDX-License-Identifier: Apache-2.0
//
// Norms and rotary positions, one block a row; sums along rows and columns. Sums are in F64: at one multiplication or two
// an element they stay behind memory even on devices with few F64 units.
#include "rowwise.cuh"

#define FOR_FOURS(c, cols) for (i64 c = 4 * (i64)threadIdx.x; c < (cols); c += 4 * (i64)blockDim.x)

// out = x / sqrt(mean(x^2) + eps) * (offset + weight)
extern "C" __global__ void rms_norm(float* out, const float* x, const void* weight, int type, float eps, float offset,
                                    i64 cols) {
  i64 at = blockIdx.x * cols;
  float v[4], w[4];
  double squares = 0;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    for (int j = 0; j < 4; j++) squares += (double)v[j] * v[j];
  }
  float inverse = (float)(1 / sqrt(block_sum(squares) / cols + eps));
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_parameters(w, weight, c, type, cols - c, 1 - offset);
    for (int j = 0; j < 4; j++) v[j] = v[j] * inverse * (w[j] + offset);
    store_four(out, at + c, cols - c, v);
  }
}

// The mean of a row and 1 / sqrt(variance + eps).
struct Moments { double mean, inverse; };
__device__ __forceinline__ Moments moments(const float* x, i64 at, i64 cols, float eps) {
  float v[4];
  double sum = 0, squares = 0;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    for (int j = 0; j < 4; j++) sum += v[j];
  }
  double mean = block_sum(sum) / cols;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    for (int j = 0; j < 4; j++) if (j < cols - c) squares += (v[j] - mean) * (v[j] - mean);
  }
  return {mean, 1 / sqrt(block_sum(squares) / cols + eps)};
}

// out = (x - mean) / sqrt(variance + eps) * weight + bias
extern "C" __global__ void layer_norm(float* out, const float* x, const void* weight, int weight_type, const void* bias,
                                      int bias_type, float eps, i64 cols) {
  i64 at = blockIdx.x * cols;
  Moments row = moments(x, at, cols, eps);
  float mean = (float)row.mean, inverse = (float)row.inverse;
  float v[4], w[4], b[4];
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_parameters(w, weight, c, weight_type, cols - c, 1.f);
    load_parameters(b, bias, c, bias_type, cols - c, 0.f);
    for (int j = 0; j < 4; j++) v[j] = fmaf((v[j] - mean) * inverse, w[j], b[j]);
    store_four(out, at + c, cols - c, v);
  }
}

// Where a thread's pair of a row is; without a second one, the element is not rotated.
struct Pair { i64 first, second; float cos, sin; };
__device__ __forceinline__ bool pair_of(Pair* p, const float* table, int rotated, int dim, int length, int interleaved,
                                        i64 cols) {
  u32 units = dim - rotated / 2, u = blockIdx.y * blockDim.x + threadIdx.x;
  i64 row = blockIdx.x, from = (i64)(u / units) * dim;
  int k = u % units, pairs = rotated / 2;
  if (from >= cols) return false;
  i64 at = row * cols + from;
  if (k >= pairs) {
    p->first = at + pairs + k;
    p->second = -1;
    return true;
  }
  p->first = at + (interleaved ? 2 * k : k);
  p->second = interleaved ? p->first + 1 : p->first + pairs;
  const float* angles = table + (i64)(blockIdx.x % (u32)length) * rotated;
  p->cos = angles[k];
  p->sin = angles[pairs + k];
  return true;
}

extern "C" __global__ void rope(float* out, const float* x, const float* table, int rotated, int dim, int length,
                                int interleaved, i64 cols) {
  Pair p;
  if (!pair_of(&p, table, rotated, dim, length, interleaved, cols)) return;
  float a = x[p.first];
  if (p.second < 0) {
    out[p.first] = a;
    return;
  }
  float b = x[p.second];
  out[p.first] = fmaf(a, p.cos, -(b * p.sin));
  out[p.second] = fmaf(b, p.cos, a * p.sin);
}

extern "C" __global__ void rope_grad(float* dx, const float* dout, const float* table, int rotated, int dim, int length,
                                     int interleaved, i64 cols) {
  Pair p;
  if (!pair_of(&p, table, rotated, dim, length, interleaved, cols)) return;
  float a = dout[p.first];
  if (p.second < 0) {
    dx[p.first] += a;
    return;
  }
  float b = dout[p.second];
  dx[p.first] += fmaf(a, p.cos, b * p.sin);
  dx[p.second] += fmaf(b, p.cos, -(a * p.sin));
}

// dx += inverse (g - x inverse^2 mean(g x)) with g = dout w; inverses are kept for the weight's gradient where asked.
extern "C" __global__ void rms_norm_grad(float* dx, float* inverses, const float* dout, const float* x, const void* weight,
                                         int type, float eps, float offset, i64 cols) {
  i64 at = blockIdx.x * cols;
  float v[4], g[4], w[4], a[4];
  double squares = 0, cross = 0;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_four(g, dout, at + c, cols - c);
    load_parameters(w, weight, c, type, cols - c, 1 - offset);
    for (int j = 0; j < 4; j++) {
      squares += (double)v[j] * v[j];
      cross += (double)(g[j] * (w[j] + offset)) * v[j];
    }
  }
  double inverse = 1 / sqrt(block_sum(squares) / cols + eps);
  cross = block_sum(cross);
  float scale = (float)inverse, back = (float)(-cross / cols * inverse * inverse * inverse);
  if (inverses && threadIdx.x == 0) inverses[blockIdx.x] = scale;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_four(g, dout, at + c, cols - c);
    load_four(a, dx, at + c, cols - c);
    load_parameters(w, weight, c, type, cols - c, 1 - offset);
    for (int j = 0; j < 4; j++) a[j] = fmaf(v[j], back, fmaf(g[j] * (w[j] + offset), scale, a[j]));
    store_four(dx, at + c, cols - c, a);
  }
}

// With y = (x - mean) inverse and g = dout w: dx += inverse (g - mean(g) - y mean(g y)).
extern "C" __global__ void layer_norm_grad(float* dx, float* means, float* inverses, const float* dout, const float* x,
                                           const void* weight, int type, float eps, i64 cols) {
  i64 at = blockIdx.x * cols;
  Moments row = moments(x, at, cols, eps);
  float v[4], g[4], w[4], a[4];
  double sum = 0, cross = 0;
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_four(g, dout, at + c, cols - c);
    load_parameters(w, weight, c, type, cols - c, 1.f);
    for (int j = 0; j < 4; j++) {
      float gw = g[j] * w[j];
      sum += gw;
      cross += gw * (v[j] - row.mean);
    }
  }
  sum = block_sum(sum) / cols;
  cross = block_sum(cross) * row.inverse / cols;
  if (means && threadIdx.x == 0) {
    means[blockIdx.x] = (float)row.mean;
    inverses[blockIdx.x] = (float)row.inverse;
  }
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, cols - c);
    load_four(g, dout, at + c, cols - c);
    load_four(a, dx, at + c, cols - c);
    load_parameters(w, weight, c, type, cols - c, 1.f);
    for (int j = 0; j < 4; j++) {
      double y = (v[j] - row.mean) * row.inverse;
      a[j] += (float)(row.inverse * (g[j] * w[j] - sum - y * cross));
    }
    store_four(dx, at + c, cols - c, a);
  }
}

// Sums over the rows of one slice, in F64: a block of 8 warps has 32 columns, each warp every eighth row, and the eight
// sums are added in order. How rows are sliced depends on their number alone.
template <class F>
__device__ __forceinline__ void sum_slice(double* partials, i64 rows, i64 cols, i64 slice, F term) {
  __shared__ double parts[8][32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  i64 c = (i64)blockIdx.x * 32 + lane, first = blockIdx.y * slice;
  i64 end = first + slice < rows ? first + slice : rows;
  double sum = 0;
  if (c < cols) {
#pragma unroll 4
    for (i64 r = first + warp; r < end; r += 8) sum += term(r, r * cols + c);
  }
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= cols) return;
  for (int w = 1; w < 8; w++) sum += parts[w][lane];
  partials[blockIdx.y * cols + c] = sum;
}

extern "C" __global__ void column_sums(double* partials, const float* x, i64 rows, i64 cols, i64 slice) {
  sum_slice(partials, rows, cols, slice, [=](i64, i64 at) { return (double)x[at]; });
}

// |x|^power
extern "C" __global__ void column_norms(double* partials, const void* x, int type, int power, i64 rows, i64 cols,
                                        i64 slice) {
  sum_slice(partials, rows, cols, slice, [=](i64, i64 at) {
    float v = load(x, at, type);
    return power == 2 ? (double)v * v : (double)fabsf(v);
  });
}

// What the weight of a norm gets back: dout (x - mean) inverse; without means it is an RMS norm.
extern "C" __global__ void column_norm_grads(double* partials, const float* dout, const float* x, const float* means,
                                             const float* inverses, i64 rows, i64 cols, i64 slice) {
  sum_slice(partials, rows, cols, slice, [=](i64 r, i64 at) {
    float v = means ? x[at] - means[r] : x[at];
    return (double)dout[at] * v * inverses[r];
  });
}

// sum += the slices in their order; sum is F64 or F32.
extern "C" __global__ void add_slices(void* sum, int wide, const double* partials, int slices, i64 cols) {
  for (i64 c = first_element(); c < cols; c += all_threads()) {
    double total = 0;
    for (int s = 0; s < slices; s++) total += partials[s * cols + c];
    if (wide) ((double*)sum)[c] += total;
    else ((float*)sum)[c] = (float)(((float*)sum)[c] + total);
  }
}

// out[r] = sum_c x[r,c]^2
extern "C" __global__ void row_squares(double* out, const void* x, int type, i64 cols) {
  i64 at = blockIdx.x * cols;
  double squares = 0;
  float v[4];
  FOR_FOURS(c, cols) {
    load_four(v, x, at + c, type, cols - c, 0.f);
    for (int j = 0; j < 4; j++) squares += (double)v[j] * v[j];
  }
  squares = block_sum(squares);
  if (threadIdx.x == 0) out[blockIdx.x] = squares;
}
