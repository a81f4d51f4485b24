// SPDX-License-Identifier: Apache-2.0
//
// How far attention is from a teacher's, and its gradient, without a matrix of all scores: tiles of both sides' scores
// are computed beside each other, against maxima and sums that each side's attention_score_stats has left.
#include "attention.cuh"

// A sink is no key, so the loss gives none.
extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_score_stats(float2* stats, const float* q, const float* k, const float* sinks, int sequences, int heads,
                          int kv_heads, int dim, SCORING) {
  score_stats(stats, q, k, sinks, sequences, heads, kv_heads, dim, MADE_SCORING);
}

struct Scores {
  const float* q;
  const float* k;
  const float2* stats;
  int kv_heads, dim;
  Scoring f;
};

// p log(p / q) - p + q, which sums to the divergence since both sum to 1, but in which what is nearly equal leaves no
// noise of the first order. r = log(p / q)
__device__ __forceinline__ float divergence(float p, float q, float r) {
  if (fabsf(r) > 0.25f) return fmaf(p, r, q - p);
  float t = fmaf(r, -1.f / 7.f, 1.f);
  t = fmaf(r * (-1.f / 6.f), t, 1.f);
  t = fmaf(r * (-1.f / 5.f), t, 1.f);
  t = fmaf(r * (-1.f / 4.f), t, 1.f);
  t = fmaf(r * (-1.f / 3.f), t, 1.f);
  return p * (0.5f * r * r * t);
}

// s: the student's products become the gradients by them, over `scale`; t: the teacher's become terms of the loss.
__device__ __forceinline__ void loss_gradient(Block& s, Block& t, const Scores& student, const Scores& teacher, i64 at,
                                              int heads, int q0, int k0, float scale) {
  int x = tile_x(), y = tile_y();
  // d loss / d score = q - p, times the slope of the cap; then to the product of q and k by its scale.
  float factor = scale * student.f.scale;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int row = q0 + 4 * y + i;
    Range range = student.f.keys_of(row);
    // The same keys are seen by both: one range for student and teacher.
    float2 mine = make_float2(0.f, 0.f), theirs = mine;
    if (row < student.f.length) {
      mine = student.stats[at + (i64)row * heads];
      theirs = teacher.stats[at + (i64)row * heads];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int k = k0 + x + 16 * j;
      bool seen = range.has(k);
      float capped = student.f.capped(s[i][j]);
      float log_q = (student.f.score(capped, row, k) - mine.x) - mine.y;
      float log_p = (teacher.f.score(teacher.f.capped(t[i][j]), row, k) - theirs.x) - theirs.y;
      // Logarithms of probabilities are differences of scores: neither p nor q is divided by, however small.
      float q = expf(log_q), p = expf(log_p);
      t[i][j] = seen ? divergence(p, q, log_p - log_q) : 0.f;
      s[i][j] = seen ? (q - p) * factor * student.f.derivative(capped) : 0.f;
    }
  }
}

// A block has 64 queries; dq may be null.
template <int CHUNKS>
__device__ __forceinline__ void query_loss(float* dq, double* losses, Scores student, Scores teacher,
                                           int sequences, int heads, float scale) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  const Scoring& f = student.f;
  Work w(heads, sequences, f.query_tiles(), true);
  student.f.of(w.head);
  teacher.f.of(w.head);
  i64 row0 = (i64)w.sequence * f.length, key0 = (i64)w.sequence * f.keys;
  Side queries(student.q, row0, heads, w.head, student.dim);
  Side keys(student.k, key0, student.kv_heads, w.head / (heads / student.kv_heads), student.dim);
  Side their_queries(teacher.q, row0, heads, w.head, teacher.dim);
  Side their_keys(teacher.k, key0, teacher.kv_heads, w.head / (heads / teacher.kv_heads), teacher.dim);
  i64 at = row0 * heads + w.head;
  Block sum[CHUNKS];
  // A row's sum is over thousands of terms that are small beside the first few.
  double loss[4];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) clear(sum[c]);
#pragma unroll
  for (int i = 0; i < 4; i++) loss[i] = 0.;
  int q0 = w.tile * TILE;
  Range range = f.keys_of(q0, TILE);
  for (int t = range.first / TILE; t <= range.last / TILE; t++) {
    Block s, u;
    clear(s);
    clear(u);
    products(s, ta, tb, queries, q0, f.length, keys, t * TILE, f.keys);
    products(u, ta, tb, their_queries, q0, f.length, their_keys, t * TILE, f.keys);
    loss_gradient(s, u, student, teacher, at, heads, q0, t * TILE, scale);
#pragma unroll
    for (int i = 0; i < 4; i++) loss[i] += (u[i][0] + u[i][1]) + (u[i][2] + u[i][3]);
    // Without a gradient there is nothing to weigh with.
    if (dq != nullptr) {
      __syncthreads();
      put_scores(ta, s);
      weigh<CHUNKS, false>(sum, ta, tb, keys, t * TILE, f.keys);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    double all = row_reduce(loss[i], Sum());
    int r = q0 + 4 * tile_y() + i;
    if (tile_x() == 0 && blockIdx.y == 0 && r < f.length) losses[at + (i64)r * heads] = all;
  }
  if (dq != nullptr) write_rows<CHUNKS, true>(dq + at * student.dim, queries, sum, q0, f.length);
}

// A block has 64 keys.
template <int CHUNKS>
__device__ __forceinline__ void key_loss(float* dk, Scores student, Scores teacher, int sequences,
                                         int heads, float scale) {
  __shared__ __align__(16) float ta[TILE * LINE];
  __shared__ __align__(16) float tb[TILE * LINE];
  const Scoring& f = student.f;
  Work w(student.kv_heads, sequences, f.key_tiles(), false);
  i64 row0 = (i64)w.sequence * f.length, key0 = (i64)w.sequence * f.keys;
  // Heads that share the student's keys; the teacher may share otherwise.
  int group = heads / student.kv_heads;
  Side keys(student.k, key0, student.kv_heads, w.head, student.dim);
  Block sum[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) clear(sum[c]);
  int k0 = w.tile * TILE;
  Range range = f.queries_of(k0, TILE);
  for (int head = w.head * group; head < (w.head + 1) * group; head++) {
    student.f.of(head);
    teacher.f.of(head);
    Side queries(student.q, row0, heads, head, student.dim);
    Side their_queries(teacher.q, row0, heads, head, teacher.dim);
    // The teacher's keys of this query head, which need not be those of the last one.
    Side their_keys(teacher.k, key0, teacher.kv_heads, head / (heads / teacher.kv_heads), teacher.dim);
    for (int t = range.first / TILE; t * TILE <= range.last; t++) {
      Block s, u;
      clear(s);
      clear(u);
      products(s, ta, tb, queries, t * TILE, f.length, keys, k0, f.keys);
      products(u, ta, tb, their_queries, t * TILE, f.length, their_keys, k0, f.keys);
      loss_gradient(s, u, student, teacher, row0 * heads + head, heads, t * TILE, k0, scale);
      __syncthreads();
      put_scores(ta, s);
      // dk += ds^T q
      weigh<CHUNKS, true>(sum, ta, tb, queries, t * TILE, f.length);
    }
  }
  write_rows<CHUNKS, true>(dk + (key0 * student.kv_heads + w.head) * student.dim, keys, sum, k0, f.keys);
}

#define SIDES                                                                                                     \
  const float *q, const float *k, const float2 *stats, int kv_heads, int dim, SCORING, const float *teacher_q,    \
      const float *teacher_k, const float2 *teacher_stats, int teacher_kv_heads, int teacher_dim,                 \
      float teacher_scale, float teacher_softcap, const float *teacher_slopes, int sequences, int heads,          \
      float factor
#define STUDENT Scores{q, k, stats, kv_heads, dim, MADE_SCORING}
#define TEACHER                                                              \
  Scores{teacher_q, teacher_k, teacher_stats, teacher_kv_heads, teacher_dim, \
         Scoring{length, keys, window, chunk, teacher_scale, teacher_softcap, teacher_slopes, 0.f}}
#define ATTENTION_LOSS(chunks)                                                                                    \
  extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, chunks == 4 ? 1 : 2)                            \
      attention_loss_dq_##chunks(float* dq, double* losses, SIDES) {                                              \
    query_loss<chunks>(dq, losses, STUDENT, TEACHER, sequences, heads, factor);                                    \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, chunks == 4 ? 1 : 2)                            \
      attention_loss_dk_##chunks(float* dk, SIDES) {                                                              \
    key_loss<chunks>(dk, STUDENT, TEACHER, sequences, heads, factor);                                              \
  }
ATTENTION_LOSS(1)
ATTENTION_LOSS(2)
ATTENTION_LOSS(4)
