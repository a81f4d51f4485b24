// SPDX-License-Identifier: Apache-2.0
//
// Causal convolutions of each channel by itself.
#include "rowwise.cuh"

// out[t,c] = bias[c] + sum_j w[c,j] x[t - taps + 1 + j,c]; before a sequence stand the rows of `state`, or zeros.
extern "C" __global__ void convolve(float* out, const float* x, const void* w, int w_type, const void* bias, int bias_type,
                                    const float* state, int taps, i64 length, i64 cols) {
  i64 c = first_column(), row = blockIdx.x, t = row % length;
  if (c >= cols) return;
  float sum[4], v[4];
  load_parameters(sum, bias, c, bias_type, cols - c, 0.f);
  for (int j = 0; j < taps; j++) {
    i64 back = taps - 1 - j;
    if (t >= back) load_four(v, x, (row - back) * cols + c, cols - c);
    else if (state) load_four(v, state, (t + j) * cols + c, cols - c);
    else continue;
    for (int k = 0; k < 4 && c + k < cols; k++) sum[k] = fmaf(load(w, (c + k) * taps + j, w_type), v[k], sum[k]);
  }
  store_four(out, row * cols + c, cols - c, sum);
}

// The last `rows` rows of begin and x, one behind the other, go to end, which may be begin: a thread has four columns.
extern "C" __global__ void keep_rows(float* end, const float* begin, const float* x, int rows, i64 length, i64 cols) {
  i64 c = 4 * first_element();
  if (c >= cols) return;
  for (i64 r = 0; r < rows; r++) {
    i64 t = length - rows + r;
    float v[4] = {0.f, 0.f, 0.f, 0.f};
    if (t >= 0) load_four(v, x, t * cols + c, cols - c);
    else if (begin) load_four(v, begin, (rows + t) * cols + c, cols - c);
    store_four(end, r * cols + c, cols - c, v);
  }
}

// dx[t,c] += sum_j w[c,j] dout[t + taps - 1 - j,c]
extern "C" __global__ void convolve_grad(float* dx, const float* dout, const void* w, int w_type, int taps, i64 length,
                                         i64 cols) {
  i64 c = first_column(), row = blockIdx.x, t = row % length;
  if (c >= cols) return;
  float sum[4], v[4];
  load_four(sum, dx, row * cols + c, cols - c);
  for (int j = taps - 1; j >= 0; j--) {
    i64 later = taps - 1 - j;
    if (t + later >= length) break;
    load_four(v, dout, (row + later) * cols + c, cols - c);
    for (int k = 0; k < 4 && c + k < cols; k++) sum[k] = fmaf(load(w, (c + k) * taps + j, w_type), v[k], sum[k]);
  }
  store_four(dx, row * cols + c, cols - c, sum);
}

// dw[c,j] += sum_t dout[t,c] x[t - taps + 1 + j,c]: a block has 32 channels of one tap, and eight rows at a time.
extern "C" __global__ void convolve_weight_grad(float* dw, const float* dout, const float* x, int taps, i64 length, i64 rows,
                                                i64 cols) {
  __shared__ double parts[8][32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, j = blockIdx.y;
  i64 c = (i64)blockIdx.x * 32 + lane, back = taps - 1 - j;
  double sum = 0;
  if (c < cols)
    for (i64 row = warp; row < rows; row += 8)
      if (row % length >= back) sum += (double)dout[row * cols + c] * x[(row - back) * cols + c];
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp || c >= cols) return;
  for (int i = 1; i < 8; i++) sum += parts[i][lane];
  i64 at = c * taps + j;
  dw[at] = (float)(dw[at] + sum);
}
