// SPDX-License-Identifier: Apache-2.0
//
// The upper Cholesky factor of a matrix's inverse, and quadratic forms.
//
// With J the reversal of the order, J h J = M M^T gives h^-1 = u^T u with u = J M^-1 J: one factor and one triangular
// inverse instead of a factor, an inverse and another factor. All of it happens in u:
//   - reverse: the lower triangle of J (h + damp I) J, zeros above;
//   - for every 64 columns: their block on the diagonal becomes the inverse of its factor (diagonal), the rows below are
//     multiplied by it (panel), and their products are taken from what is below and to the right (update);
//   - the inverse, from blocks of 64 to blocks of twice the size as long as there are two: below the diagonal
//     -X22 L21 X11, X the inverses of both blocks (invert_left, invert_right). All blocks of a size at once;
//   - turn: reversed again.
// But for the blocks on the diagonal, which are in F64, all are products of tiles. Nothing is read back: after a pivot
// that is not positive *status is not 0, and every later kernel leaves at once.
#include "simt.cuh"

static const int SIDE = 64, DIAGONAL_THREADS = 512, LINALG_CHUNK = 256;

extern "C" __global__ void cholesky_reverse(float* u, int* status, const float* h, int n, float damp) {
  i64 i = blockIdx.x, last = (i64)n * n - 1;
  if (i == 0 && threadIdx.x == 0) *status = 0;
  for (int j = threadIdx.x; j < n; j += blockDim.x) {
    i64 at = i * n + j;
    float v = j <= i ? h[last - at] : 0.f;
    u[at] = j == i ? v + damp : v;
  }
}

// Gauss-Jordan in place: after step j, columns up to j of the block hold the inverse of the factor so far, the others
// what is left to factor.
extern "C" __global__ void __launch_bounds__(DIAGONAL_THREADS) cholesky_diagonal(float* u, int* status, int n, int at) {
  __shared__ double a[SIDE][SIDE + 1];
  __shared__ double column[SIDE];
  if (*status != 0) return;
  int side = min(SIDE, n - at), thread = threadIdx.x;
  float* block = u + (i64)at * n + at;
  for (int i = thread; i < side * SIDE; i += DIAGONAL_THREADS) {
    int r = i / SIDE, c = i % SIDE;
    if (c <= r) a[r][c] = block[(i64)r * n + c];
  }
  __syncthreads();
  for (int j = 0; j < side; j++) {
    double pivot = a[j][j];
    if (!(pivot > 0. && pivot < __longlong_as_double(0x7ff0000000000000ll))) {  // for all threads the same
      if (thread == 0) *status = n - (at + j);
      return;
    }
    double root = sqrt(pivot);
    if (thread < SIDE) {
      if (thread > j && thread < side) column[thread] = a[thread][j] / root;
    } else if (thread < SIDE + j) {
      a[j][thread - SIDE] /= root;
    }
    __syncthreads();
    int r = thread % SIDE;
    if (r > j && r < side) {
      double f = column[r];
      for (int c = thread / SIDE; c <= r; c += DIAGONAL_THREADS / SIDE) {
        if (c == j) a[r][c] = -f / root;
        else a[r][c] = fma(-f, c < j ? a[j][c] : column[c], a[r][c]);
      }
    } else if (thread == j) {
      a[j][j] = 1. / root;
    }
    __syncthreads();
  }
  for (int i = thread; i < side * SIDE; i += DIAGONAL_THREADS) {
    int r = i / SIDE, c = i % SIDE;
    if (c <= r) block[(i64)r * n + c] = (float)a[r][c];
  }
}

// The rows below the block at `at`, times its inverse transposed; a block has its rows to itself.
extern "C" __global__ void __launch_bounds__(256, 3) cholesky_panel(float* u, const int* status, int n, int at) {
  __shared__ SimtShared<64> s;
  if (*status != 0) return;
  int m = n - at - SIDE, row0 = blockIdx.x * 64;
  const float* inverse = u + (i64)at * n + at;
  float* rows = u + (i64)(at + SIDE) * n + at;
  simt_product<64, ALONG_K, ALONG_K, SIDE>(
      Operand(rows, n, m), Operand(inverse, n, SIDE), row0, 0, 0, SIDE, s,
      [&](const float(&sum)[4][4], int) { simt_store<64>(rows, n, sum, row0, 0, m, SIDE, 1.f, false); });
}

// Lower triangle of what is right of the panel: minus panel panel^T.
template <int T>
__device__ __forceinline__ void update(float* u, const int* status, int n, int at) {
  __shared__ SimtShared<T> s;
  if (*status != 0) return;
  int i, j, m = n - at - SIDE;
  triangle_tile(blockIdx.x, i, j);
  int row0 = i * T, col0 = j * T;
  Operand panel(u + (i64)(at + SIDE) * n + at, n, m);
  simt_product<T, ALONG_K, ALONG_K, SIDE>(panel, panel, row0, col0, 0, SIDE, s, [&](const float(&sum)[T / 16][T / 16], int) {
    simt_store<T, true>(u + (i64)(at + SIDE) * n + at + SIDE, n, sum, row0, col0, m, m, -1.f, true);
  });
}
extern "C" __global__ void __launch_bounds__(256, 2) cholesky_update(float* u, const int* status, int n, int at) {
  update<128>(u, status, n, at);
}
extern "C" __global__ void __launch_bounds__(256, 3) cholesky_update_small(float* u, const int* status, int n, int at) {
  update<64>(u, status, n, at);
}

// t = X22 L21 of the pair of blocks of `side` rows that is blockIdx.z; the second one may be shorter.
template <int T>
__device__ __forceinline__ void invert_left(const float* u, float* t, const int* status, int n, int side) {
  __shared__ SimtShared<T> s;
  if (*status != 0) return;
  i64 pair = blockIdx.z, second = (2 * pair + 1) * side;
  int m = (int)min((i64)side, n - second), row0 = blockIdx.x * T, col0 = blockIdx.y * T;
  if (row0 >= m) return;
  const float* x22 = u + second * n + second;
  const float* l21 = x22 - side;
  float* to = t + pair * side * side;
  // X22 is a lower triangle.
  simt_product<T, ALONG_K, ACROSS_K, LINALG_CHUNK>(
      Operand(x22, n, m), Operand(l21, n, side), row0, col0, 0, min(m, row0 + T), s,
      [&](const float(&sum)[T / 16][T / 16], int k0) { simt_store<T>(to, side, sum, row0, col0, m, side, 1.f, k0 > 0); });
}
extern "C" __global__ void __launch_bounds__(256, 2)
    cholesky_invert_left(const float* u, float* t, const int* status, int n, int side) {
  invert_left<128>(u, t, status, n, side);
}
extern "C" __global__ void __launch_bounds__(256, 3)
    cholesky_invert_left_small(const float* u, float* t, const int* status, int n, int side) {
  invert_left<64>(u, t, status, n, side);
}

// What was L21 becomes -t X11.
template <int T>
__device__ __forceinline__ void invert_right(float* u, const float* t, const int* status, int n, int side) {
  __shared__ SimtShared<T> s;
  if (*status != 0) return;
  i64 pair = blockIdx.z, first = 2 * pair * side;
  int m = (int)min((i64)side, n - first - side), row0 = blockIdx.x * T, col0 = blockIdx.y * T;
  if (row0 >= m) return;
  const float* x11 = u + first * n + first;
  float* to = u + (first + side) * n + first;
  // X11 has nothing above its diagonal.
  simt_product<T, ALONG_K, ACROSS_K, LINALG_CHUNK>(
      Operand(t + pair * side * side, side, m), Operand(x11, n, side), row0, col0, col0, side, s,
      [&](const float(&sum)[T / 16][T / 16], int k0) { simt_store<T>(to, n, sum, row0, col0, m, side, -1.f, k0 > col0); });
}
extern "C" __global__ void __launch_bounds__(256, 2)
    cholesky_invert_right(float* u, const float* t, const int* status, int n, int side) {
  invert_right<128>(u, t, status, n, side);
}
extern "C" __global__ void __launch_bounds__(256, 3)
    cholesky_invert_right_small(float* u, const float* t, const int* status, int n, int side) {
  invert_right<64>(u, t, status, n, side);
}

// u = J u J: the array backwards.
extern "C" __global__ void cholesky_turn(float* u, const int* status, i64 size) {
  if (*status != 0) return;
  for (i64 i = first_element(); i < size / 2; i += all_threads()) {
    float a = u[i];
    u[i] = u[size - 1 - i];
    u[size - 1 - i] = a;
  }
}

// ---------------------------------------------------------------- quadratic forms
// Of e h e^T, h symmetric, the part of a tile of columns c: the sum of e_c h_kc e_k over k in the tile, and twice that
// over all k before it. Products with h in F32, in chunks as wide as a tile, everything else in F64.
static const int FORM = 128;

extern "C" __global__ void __launch_bounds__(256, 2)
    quadratic_form(double* parts, const float* e, const float* h, int rows, int n) {
  __shared__ SimtShared<FORM> s;
  __shared__ double totals[8][256];
  int row0 = blockIdx.x * FORM, col0 = blockIdx.y * FORM;
  for (int i = 0; i < 8; i++) totals[i][threadIdx.x] = 0.;
  simt_product<FORM, ALONG_K, ACROSS_K, FORM>(
      Operand(e, n, rows), Operand(h, n, n), row0, col0, 0, min(n, col0 + FORM), s, [&](const float(&sum)[8][8], int k0) {
        int thread = unknown_thread();
        double weight = k0 < col0 ? 2. : 1.;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          int row = row0 + simt_row(thread, i);
          double part = 0.;
#pragma unroll
          for (int j = 0; j < 8; j++) {
            int col = col0 + simt_col(thread, j);
            if (row < rows && col < n) part = fma((double)e[(i64)row * n + col], (double)sum[i][j], part);
          }
          totals[i][thread] = fma(weight, part, totals[i][thread]);
        }
      });
  for (int i = 0; i < 8; i++) {
    double v = totals[i][threadIdx.x];
    for (int o = 8; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    int row = row0 + simt_row(threadIdx.x, i);
    if (threadIdx.x % 16 == 0 && row < rows) parts[(i64)row * gridDim.y + blockIdx.y] = v;
  }
}

// One warp a row.
extern "C" __global__ void quadratic_form_sum(double* out, const double* parts, int rows, int tiles) {
  i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  double v = 0.;
  if (row < rows)
    for (int i = threadIdx.x & 31; i < tiles; i += 32) v += parts[row * tiles + i];
  v = warp_reduce(v, Sum());
  if (row < rows && (threadIdx.x & 31) == 0) out[row] = v;
}
