// SPDX-License-Identifier: Apache-2.0
//
// Moves rows and columns. Where a block has a part of one row, grid.x counts the rows, since
// grid.y ends at 65535.
#include "rowwise.cuh"

// out[t,:] = scale * table[ids[t],:]
extern "C" __global__ void embed(float* out, const int* ids, const void* table, int type, float scale, i64 cols) {
  i64 c = first_column(), row = blockIdx.x;
  if (c >= cols) return;
  float x[4];
  load_four(x, table, ids[row] * cols + c, type, cols - c, 0.f);
  for (int j = 0; j < 4; j++) x[j] *= scale;
  store_four(out, row * cols + c, cols - c, x);
}

template <class T>
__device__ __forceinline__ void copy_units(T* out, const T* x, i64 units) {
  i64 c = 4 * (i64)blockIdx.y * blockDim.x + threadIdx.x;
  for (int j = 0; j < 4; j++, c += blockDim.x) if (c < units) out[c] = x[c];
}

// out[r,:] = a part of x[rows[r],:], or of x[r,:] without rows; all in bytes.
extern "C" __global__ void copy_rows(u8* out, const u8* x, const int* rows, i64 bytes, i64 stride, i64 from, int unit) {
  i64 row = blockIdx.x;
  out += row * bytes;
  x += (rows ? rows[row] : row) * stride + from;
  switch (unit) {
    case 16: copy_units((uint4*)out, (const uint4*)x, bytes / 16); break;
    case 8: copy_units((u64*)out, (const u64*)x, bytes / 8); break;
    case 4: copy_units((u32*)out, (const u32*)x, bytes / 4); break;
    case 2: copy_units((u16*)out, (const u16*)x, bytes / 2); break;
    default: copy_units(out, x, bytes);
  }
}

template <class T>
__device__ __forceinline__ void gather_units(T* out, const T* x, const int* order, i64 cols) {
  i64 c = 4 * (i64)blockIdx.y * blockDim.x + threadIdx.x;
  for (int j = 0; j < 4; j++, c += blockDim.x) if (c < cols) out[c] = x[order[c]];
}

// out[r,j] = x[rows[r], order[j]], or x[r, order[j]] without rows
extern "C" __global__ void gather_columns(void* out, const void* x, const int* rows, const int* order, i64 cols, i64 x_cols,
                                          int size) {
  i64 row = blockIdx.x, to = row * cols, from = (rows ? rows[row] : row) * x_cols;
  switch (size) {
    case 8: gather_units((u64*)out + to, (const u64*)x + from, order, cols); break;
    case 4: gather_units((u32*)out + to, (const u32*)x + from, order, cols); break;
    case 2: gather_units((u16*)out + to, (const u16*)x + from, order, cols); break;
    default: gather_units((u8*)out + to, (const u8*)x + from, order, cols);
  }
}

// For each r, one warp looks for the row before it that names the same sum: previous[r] is that row plus one, or 0, and
// next[] the way back. `next` is zero before.
extern "C" __global__ void link_rows(int* previous, int* next, const int* rows, i64 n) {
  i64 r = first_element() >> 5;
  int lane = threadIdx.x & 31;
  if (r >= n) return;  // the whole warp
  int wanted = rows[r];
  i64 found = -1;
  for (i64 end = r; end > 0 && found < 0; end -= 32) {
    i64 at = end - 1 - lane;
    u32 same = __ballot_sync(0xffffffffu, at >= 0 && rows[at] == wanted);
    if (same) found = end - __ffs(same);
  }
  if (lane == 0) {
    previous[r] = (int)(found + 1);
    if (found >= 0) next[found] = (int)r;
  }
}

// sum[rows[r],:] += factor * weights[r] * x[r,:]: the first row that names a sum walks through all that do, in order.
extern "C" __global__ void accumulate_rows(float* sum, const float* x, const int* rows, const float* weights, float factor,
                                           const int* previous, const int* next, i64 cols) {
  i64 c = first_column(), row = blockIdx.x;
  if (c >= cols || previous[row]) return;
  i64 to = rows[row] * cols + c;
  float s[4], v[4];
  load_four(s, sum, to, cols - c);
  do {
    float f = factor * (weights ? weights[row] : 1.f);
    load_four(v, x, row * cols + c, cols - c);
    row = next[row];
    for (int j = 0; j < 4; j++) s[j] = fmaf(f, v[j], s[j]);
  } while (row);
  store_four(sum, to, cols - c, s);
}

// dx[:, from : from + cols] += dout
extern "C" __global__ void put_columns(float* out, const float* x, i64 out_cols, i64 from, i64 cols) {
  i64 c = first_column(), row = blockIdx.x;
  if (c >= cols) return;
  float a[4];
  load_four(a, x, row * cols + c, cols - c);
  store_four(out, row * out_cols + from + c, cols - c, a);
}

extern "C" __global__ void accumulate_columns(float* dx, const float* dout, i64 dx_cols, i64 from, i64 cols) {
  i64 c = first_column(), row = blockIdx.x;
  if (c >= cols) return;
  i64 to = row * dx_cols + from + c;
  float a[4], b[4];
  load_four(a, dx, to, cols - c);
  load_four(b, dout, row * cols + c, cols - c);
  for (int j = 0; j < 4; j++) a[j] += b[j];
  store_four(dx, to, cols - c, a);
}

// dx[r,:] += factor * weights[r] * dsum[rows[r],:], dweights[r] += factor * dsum[rows[r],:] . x[r,:]; one block a row
extern "C" __global__ void rows_grad(float* dx, float* dweights, const float* dsum, const float* x, const int* rows,
                                     const float* weights, float factor, i64 cols) {
  i64 row = blockIdx.x, at = row * cols, from = rows[row] * cols;
  float f = factor * (weights ? weights[row] : 1.f);
  double dot = 0;
  for (i64 c = 4 * (i64)threadIdx.x; c < cols; c += 4 * (i64)blockDim.x) {
    float a[4], d[4], v[4];
    load_four(a, dx, at + c, cols - c);
    load_four(d, dsum, from + c, cols - c);
    if (dweights) {
      load_four(v, x, at + c, cols - c);
      for (int j = 0; j < 4; j++) dot += (double)v[j] * d[j];
    }
    for (int j = 0; j < 4; j++) a[j] = fmaf(d[j], f, a[j]);
    store_four(dx, at + c, cols - c, a);
  }
  if (dweights) {
    dot = block_sum(dot);
    if (threadIdx.x == 0) dweights[row] = (float)(dweights[row] + factor * dot);
  }
}

extern "C" __global__ void diagonal(float* out, const float* h, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = h[i * (n + 1)];
}

// out[i,j] = factor h[i,j], but for the diagonal
extern "C" __global__ void shrink_correlations(float* out, const float* h, float factor, i64 n, i64 total) {
  for (i64 i = first_element(); i < total; i += all_threads()) out[i] = i % (n + 1) == 0 ? h[i] : factor * h[i];
}

// out[c,r] = x[r,c]: a block of 8 warps has 32 x 32 elements, so that both sides are read and written in whole lines.
extern "C" __global__ void transpose(float* out, const float* x, i64 rows, i64 cols) {
  __shared__ float tile[32][33];
  u32 across = (u32)((cols + 31) / 32);
  i64 r0 = (i64)(blockIdx.x / across) * 32, c0 = (i64)(blockIdx.x % across) * 32;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (int j = warp; j < 32; j += 8)
    if (r0 + j < rows && c0 + lane < cols) tile[j][lane] = x[(r0 + j) * cols + c0 + lane];
  __syncthreads();
  for (int j = warp; j < 32; j += 8)
    if (c0 + j < cols && r0 + lane < rows) out[(c0 + j) * rows + r0 + lane] = tile[lane][j];
}
