// SPDX-License-Identifier: Apache-2.0
//
// Matrices whose rows and columns sum to about 1 (Sinkhorn and Knopp, 1967), in F64; ForwardOp.Sinkhorn says how. A block of
// one or two warps has as many matrices as it has threads for their lines: a thread sums a row or a column, in order, and
// divides it. What limits it is how its divisions wait for each other, 2 * rounds - 1 of them; neither memory nor arithmetic.
#include "llmc.cuh"

// One token's matrix in shared memory. Rows are an odd number of elements apart, so that neither the rows nor the columns of
// a warp's threads meet in a bank.
struct Matrix {
  double* v;
  int n, pitch, line;
  float eps;

  __device__ double& row(int k) const { return v[line * pitch + k]; }
  __device__ double& column(int k) const { return v[k * pitch + line]; }
  // Odd steps are those of columns.
  __device__ double& at(int step, int k) const { return step & 1 ? column(k) : row(k); }

  __device__ void soften() const {
    double most = row(0), sum = 0;
    for (int k = 1; k < n; k++) most = Max()(row(k), most);
    for (int k = 0; k < n; k++) sum += row(k) = exp(row(k) - most);
    for (int k = 0; k < n; k++) row(k) = row(k) / sum + eps;
  }

  // Returns what the line was divided by.
  __device__ double divide(int step) const {
    double sum = eps;
    for (int k = 0; k < n; k++) sum += at(step, k);
    double inverse = 1 / sum;
    for (int k = 0; k < n; k++) at(step, k) *= inverse;
    return sum;
  }
};

// Matrices of a block lie behind each other, in memory as in blocks: `matrices` of them.
#define SINKHORN_MATRIX                                                              \
  int each = n * (n | 1), matrices = blockDim.x / n, mine = threadIdx.x / n;         \
  i64 first = (i64)blockIdx.x * matrices;                                            \
  int present = (int)min((i64)matrices, rows - first), numbers = present * n * n;    \
  bool works = mine < present;                                                       \
  Matrix m{shared + (works ? mine : 0) * each, n, n | 1, (int)(threadIdx.x % n), eps}

__device__ __forceinline__ int place(int i, int n) { return i / (n * n) * n * (n | 1) + i / n % n * (n | 1) + i % n; }

// Shared memory: a block's matrices.
extern "C" __global__ void sinkhorn(float* out, const float* x, i64 rows, int n, int steps, float eps) {
  DYNAMIC_SHARED(double, shared);
  SINKHORN_MATRIX;
  for (int i = threadIdx.x; i < numbers; i += blockDim.x) shared[place(i, n)] = x[first * n * n + i];
  __syncthreads();
  if (works) m.soften();
  for (int step = 1; step <= steps; step++) {
    __syncthreads();
    if (works) m.divide(step);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < numbers; i += blockDim.x) out[first * n * n + i] = (float)shared[place(i, n)];
}

// With b = a / s, s being the sum of a and eps: da = (db - sum(db b)) / s. Going back, a is b s: only the sums are kept, a
// thread's own, so that every access to them is whole. Shared memory: a block's matrices, and their gradients.
extern "C" __global__ void sinkhorn_grad(float* dx, const float* dout, const float* x, double* sums, i64 rows, int n, int steps,
                                         float eps) {
  DYNAMIC_SHARED(double, shared);
  SINKHORN_MATRIX;
  double* gradients = shared + matrices * each;
  Matrix d{gradients + (works ? mine : 0) * each, n, n | 1, m.line, eps};
  sums += (i64)blockIdx.x * steps * blockDim.x + threadIdx.x;
  for (int i = threadIdx.x; i < numbers; i += blockDim.x) {
    shared[place(i, n)] = x[first * n * n + i];
    gradients[place(i, n)] = dout[first * n * n + i];
  }
  __syncthreads();
  if (works) m.soften();
  for (int step = 1; step <= steps; step++) {
    __syncthreads();
    if (works) sums[(i64)(step - 1) * blockDim.x] = m.divide(step);
  }
  for (int step = steps; step > 0; step--) {
    __syncthreads();
    if (!works) continue;
    double sum = sums[(i64)(step - 1) * blockDim.x], inverse = 1 / sum, cross = 0;
    for (int k = 0; k < n; k++) cross += d.at(step, k) * m.at(step, k);
    for (int k = 0; k < n; k++) {
      d.at(step, k) = (d.at(step, k) - cross) * inverse;
      m.at(step, k) *= sum;
    }
  }
  __syncthreads();
  if (works) {
    double mean = 0;
    for (int k = 0; k < n; k++) mean += d.row(k) * (m.row(k) - eps);
    for (int k = 0; k < n; k++) d.row(k) = (m.row(k) - eps) * (d.row(k) - mean);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < numbers; i += blockDim.x) dx[first * n * n + i] = (float)(dx[first * n * n + i] + gradients[place(i, n)]);
}
