// SPDX-License-Identifier: Apache-2.0
//
// Losses of rows of logits and of hidden states, one block a row.
//
// Sums are in F64. So are a divergence's exponentials, since it is a small difference of large sums; all others are F32:
// most devices have one F64 unit for 64 of F32, and a vocabulary of exponentials would cost as much as a model's layers.
#include "rowwise.cuh"

#define FOR_FOURS(c, n) for (i64 c = 4 * (i64)threadIdx.x; c < (n); c += 4 * (i64)blockDim.x)

// ---------------------------------------------------------------- evaluation

// out = -log softmax(logits)[target]
extern "C" __global__ void negative_log_likelihood(float* out, const float* logits, const int* targets, i64 n) {
  i64 row = blockIdx.x;
  LogSum<float> sum;
  float x[4];
  FOR_FOURS(c, n) {
    load_four(x, logits, row * n + c, n - c, minus_infinity());
    sum.add(x);
  }
  double log = sum.log_of_block();
  if (threadIdx.x == 0) out[row] = (float)(log - logits[row * n + targets[row]]);
}

// out = sum p (log p - log q), which is the mean of the logits' difference under p, and that of the two normalizers
extern "C" __global__ void divergence(float* out, const float* ps, const float* qs, i64 n) {
  i64 row = blockIdx.x;
  LogSum<double> p, q;
  float x[4], y[4];
  FOR_FOURS(c, n) {
    load_four(x, ps, row * n + c, n - c, minus_infinity());
    load_four(y, qs, row * n + c, n - c, minus_infinity());
    p.add(x, y);
    q.add(y);
  }
  double apart = q.log_of_block() - p.log_of_block();
  double mean = p.mean_of_block();
  if (threadIdx.x == 0) out[row] = (float)(mean + apart);
}

// The column of the largest value, the first of equals; a NaN is larger than nothing, and nothing than a leading one.
extern "C" __global__ void arg_max(int* out, const float* xs, i64 n) {
  i64 row = blockIdx.x;
  u64 best = 0;
  float x[4];
  FOR_FOURS(c, n) {
    load_four(x, xs, row * n + c, n - c, 0.f);
    for (int j = 0; j < 4; j++) {
      u64 key = (u64)ordered(x[j]) << 32 | ~(u32)(c + j);
      if (j < n - c && x[j] == x[j] && key > best) best = key;
    }
  }
  best = block_reduce(best, Max(), (u64)0);
  float first = xs[row * n];
  if (threadIdx.x == 0) out[row] = first != first ? 0 : (int)~(u32)best;
}

// ---------------------------------------------------------------- distillation

// An F64 number that F32 arithmetic can subtract.
struct Split {
  float high, low;
  __device__ __forceinline__ Split() : high(0), low(0) {}
  __device__ __forceinline__ explicit Split(double x) : high((float)x), low((float)(x - (float)x)) {}
  __device__ __forceinline__ float from(float x) const { return (x - high) - low; }
};

// Losses between a teacher's outcomes p and a student's q, whose logits over the temperature are t and s.
struct Against {
  float kl, reverse, jsd, beta, log_beta, factor;
  Split log_s, log_t, gap;
  float reverse_mean, jsd_mean;

  __device__ __forceinline__ float q(float s) const { return expf(log_s.from(s)); }
  __device__ __forceinline__ float p(float t) const { return expf(log_t.from(t)); }
  // log(p / q)
  __device__ __forceinline__ float apart(float s, float t) const { return -gap.from(s - t); }
  // log(m / q) of the mixture m = beta p + (1 - beta) q, without cancellation where p and q are about the same
  __device__ __forceinline__ float mixture(float apart) const {
    return apart > 60.f ? apart + log_beta : log1pf(beta * expm1f(apart));
  }

  // Of the weighted sum, with respect to s: for a sum of f(q), q (f' - sum q f').
  __device__ __forceinline__ float gradient(float s, float t) const {
    float a = q(s), b = p(t), d = 0;
    if (kl != 0) d = factor * kl * (a - b);
    if (a > 0 && (reverse != 0 || jsd != 0)) {
      float r = apart(s, t);
      if (reverse != 0) d += factor * reverse * a * (-r - reverse_mean);
      if (jsd != 0) d += factor * jsd * a * (-(1 - beta) * mixture(r) - jsd_mean);
    }
    return d;
  }

  // One outcome's part of kl.
  __device__ __forceinline__ float kl_term(float s, float t) const {
    float b = p(t);
    return b > 0 ? b * apart(s, t) : 0.f;
  }

  // Reads the outcomes once, twice where jsd counts; the losses of reverse and jsd are known then. Every thread must come.
  // Where asked, the student's logits as they are add to `raw` on the way.
  template <class Outcomes>
  __device__ __forceinline__ void prepare(const Outcomes& outcomes, double* losses, LogSum<float>& raw, bool add_raw) {
    LogSum<float> ss, ts;
    float s[4], t[4];
    FOR_FOURS(c, outcomes.count) {
      outcomes.load_raw(s, t, c);
      if (add_raw) raw.add(s);
      outcomes.divide(s, t);
      if (reverse != 0) ss.add(s, t);
      else ss.add(s);
      ts.add(t);
    }
    double log_student = ss.log_of_block(), log_teacher = ts.log_of_block();
    log_s = Split(log_student);
    log_t = Split(log_teacher);
    gap = Split(log_student - log_teacher);
    if (reverse != 0) {
      losses[1] = ss.mean_of_block() - (log_student - log_teacher);
      reverse_mean = (float)losses[1];
    }
    if (jsd != 0) {
      double loss = 0, mean = 0;
      FOR_FOURS(c, outcomes.count) {
        outcomes.load_raw(s, t, c);
        outcomes.divide(s, t);
        float part = 0, own = 0;
        for (int j = 0; j < 4; j++) {
          float a = q(s[j]), b = p(t[j]);
          if (a == 0 && b == 0) continue;
          float r = apart(s[j], t[j]), m = mixture(r);
          if (b > 0) part += beta * b * (r - m);
          if (a > 0) own -= (1 - beta) * a * m;
        }
        loss += part + own;
        mean += own;
      }
      losses[2] = block_sum(loss);
      jsd_mean = (float)block_sum(mean);
    }
  }
};

__device__ __forceinline__ Against against(float kl, float reverse, float jsd, float temperature, float beta, float scale) {
  Against a;
  a.kl = kl;
  a.reverse = reverse;
  a.jsd = jsd;
  a.beta = beta;
  a.log_beta = logf(beta);
  a.factor = temperature * scale;  // with respect to logits over T, times T^2
  a.reverse_mean = a.jsd_mean = 0;
  return a;
}

__device__ __forceinline__ void divide(float (&x)[4], float temperature) {
  if (temperature != 1) for (int j = 0; j < 4; j++) x[j] /= temperature;
}

__device__ __forceinline__ void write_losses(double* to, i64 row, const double* losses) {
  if (threadIdx.x == 0) for (int i = 0; i < 4; i++) to[4 * row + i] = losses[i];
}

// What a row's cross entropy is made of; no target where it does not count.
struct CrossEntropy {
  float scale;
  int target;
  Split log;

  __device__ __forceinline__ float gradient(float s, i64 i) const {
    if (target < 0) return 0;
    float d = expf(log.from(s)) * scale;
    return i == target ? d - scale : d;
  }
};

struct Dense {
  const float *s, *t;
  i64 count;
  float temperature;
  __device__ __forceinline__ void load_raw(float (&x)[4], float (&y)[4], i64 c) const {
    load_four(x, s, c, count - c, minus_infinity());
    load_four(y, t, c, count - c, minus_infinity());
  }
  __device__ __forceinline__ void divide(float (&x)[4], float (&y)[4]) const {
    ::divide(x, temperature);
    ::divide(y, temperature);
  }
};

// teacher is null where none is asked.
extern "C" __global__ void __launch_bounds__(512)
    distill_loss(float* dlogits, double* losses, const float* student, const float* teacher, const int* targets, i64 n,
                 float kl, float reverse, float jsd, float ce, float temperature, float beta, float scale) {
  i64 row = blockIdx.x;
  const float *s = student + row * n, *t = teacher ? teacher + row * n : nullptr;
  double loss[4] = {0, 0, 0, 0};
  CrossEntropy entropy = {ce * scale, ce == 0 ? -1 : targets[row]};
  Against a = against(kl, reverse, jsd, temperature, beta, scale);
  Dense rows = {s, t, n, temperature};
  LogSum<float> all;
  float raw[4], x[4], y[4], d[4];
  if (t) {
    a.prepare(rows, loss, all, entropy.target >= 0);
  } else {
    FOR_FOURS(c, n) {
      load_four(raw, s, c, n - c, minus_infinity());
      all.add(raw);
    }
  }
  if (entropy.target >= 0) {
    double log = all.log_of_block();
    entropy.log = Split(log);
    loss[3] = log - s[entropy.target];
  }
  double sum = 0;
  FOR_FOURS(c, n) {
    load_four(raw, s, c, n - c, minus_infinity());
    for (int j = 0; j < 4; j++) d[j] = entropy.gradient(raw[j], c + j);
    if (t) {
      for (int j = 0; j < 4; j++) x[j] = raw[j];
      load_four(y, t, c, n - c, minus_infinity());
      rows.divide(x, y);
      for (int j = 0; j < 4; j++) d[j] += a.gradient(x[j], y[j]);
      if (kl != 0) {
        float part = 0;
        for (int j = 0; j < 4; j++) part += a.kl_term(x[j], y[j]);
        sum += part;
      }
    }
    store_four(dlogits, row * n + c, n - c, d);
  }
  if (t && kl != 0) loss[0] = block_sum(sum);
  write_losses(losses, row, loss);
}

// What a sum of F32 probabilities may lack of 1 by rounding alone.
#define LEAST_REST 5.9604644775390625e-8

// A log-probability of nothing that can still be multiplied by zero.
#define NOTHING -1e4f

// The top k, and the rest as one outcome more where there is one.
struct Tops {
  const float* s;
  const int* ids;
  const float* teacher;
  i64 k, count;
  float temperature, own_rest, their_rest;
  __device__ __forceinline__ void one(float* x, float* y, i64 i) const {
    *x = i < k ? s[ids[i]] : own_rest;
    if (i < k && temperature != 1) *x /= temperature;
    *y = i < k ? teacher[i] : their_rest;
  }
  __device__ __forceinline__ void load_raw(float (&x)[4], float (&y)[4], i64 c) const {
    for (int j = 0; j < 4; j++) {
      if (c + j < count) one(&x[j], &y[j], c + j);
      else x[j] = y[j] = minus_infinity();
    }
  }
  __device__ __forceinline__ void divide(float (&)[4], float (&)[4]) const {}
};

// As distill_loss, over k outcomes and the rest, whose gradient goes to its tokens by their share. Dynamic shared memory
// has one bit a token: whether it is among the top k.
extern "C" __global__ void __launch_bounds__(512)
    distill_top_loss(float* dlogits, double* losses, const float* student, const int* ids, const float* teacher,
                     const int* targets, i64 n, i64 k, int zero, float kl, float reverse, float jsd, float ce,
                     float temperature, float beta, float scale) {
  DYNAMIC_SHARED(u32, taken);
  i64 row = blockIdx.x;
  Tops tops = {student + row * n, ids + row * k, teacher + row * k, k, k < n ? k + 1 : k, temperature, 0.f, NOTHING};
  const float* s = tops.s;
  double loss[4] = {0, 0, 0, 0};
  CrossEntropy entropy = {ce * scale, ce == 0 ? -1 : targets[row]};
  Against a = against(kl, reverse, jsd, temperature, beta, scale);
  bool asks = kl != 0 || reverse != 0 || jsd != 0, rest = asks && k < n, entropic = entropy.target >= 0;
  float x[4], d[4], rest_gradient = 0;
  double teachers = 0;
  LogSum<float> all, others;
  Split rest_log;
  if (rest) {
    for (i64 i = threadIdx.x; i < (n + 31) / 32; i += blockDim.x) taken[i] = 0;
    __syncthreads();
    for (i64 j = threadIdx.x; j < k; j += blockDim.x) {
      int id = tops.ids[j];
      atomicOr(&taken[id >> 5], 1u << (id & 31));
      teachers += exp((double)tops.teacher[j]);
    }
    teachers = block_sum(teachers);
    __syncthreads();
  }
  if (rest || entropic) {
    FOR_FOURS(c, n) {
      load_four(x, s, c, n - c, minus_infinity());
      if (entropic) all.add(x);
      if (!rest) continue;
      divide(x, temperature);
      u32 bits = taken[c >> 5] >> (c & 31);
      for (int j = 0; j < 4; j++) if (bits >> j & 1) x[j] = minus_infinity();
      others.add(x);
    }
  }
  if (entropic) {
    double log = all.log_of_block();
    entropy.log = Split(log);
    loss[3] = log - s[entropy.target];
  }
  if (rest) {
    tops.own_rest = (float)others.log_of_block();
    rest_log = Split(tops.own_rest);
    if (!zero) {
      double left = 1 - teachers, most = tops.teacher[k - 1] + log((double)(n - k));
      left = log(left > LEAST_REST ? left : LEAST_REST);
      tops.their_rest = (float)(left < most ? left : most);
    }
  }
  if (asks) a.prepare(tops, loss, all, false);
  if (rest) rest_gradient = a.gradient(tops.own_rest, tops.their_rest);
  // A rest without any probability has no shares.
  rest = rest && tops.own_rest > minus_infinity();
  FOR_FOURS(c, n) {
    load_four(x, s, c, n - c, minus_infinity());
    for (int j = 0; j < 4; j++) d[j] = entropy.gradient(x[j], c + j);
    if (rest) {
      divide(x, temperature);
      u32 bits = taken[c >> 5] >> (c & 31);
      for (int j = 0; j < 4; j++)
        if (!(bits >> j & 1)) d[j] = fmaf(expf(rest_log.from(x[j])), rest_gradient, d[j]);
    }
    store_four(dlogits, row * n + c, n - c, d);
  }
  if (asks) {
    __syncthreads();  // a token of the top k has its other part now, whoever wrote it
    double sum = 0;
    for (i64 j = threadIdx.x; j < tops.count; j += blockDim.x) {
      float own, theirs;
      tops.one(&own, &theirs, j);
      if (j < k) dlogits[row * n + tops.ids[j]] += a.gradient(own, theirs);
      if (kl != 0) sum += a.kl_term(own, theirs);
    }
    if (kl != 0) loss[0] = block_sum(sum);
  }
  write_losses(losses, row, loss);
}

// ---------------------------------------------------------------- hidden states

// mse = mean (x - t)^2 or 1 - x t / (|x| |t|); its gradient is of_x x + of_t t.
extern "C" __global__ void hidden_loss(float* dx, double* losses, const float* xs, const float* ts, int cosine, float factor,
                                       i64 n) {
  i64 at = blockIdx.x * n;
  double scale = factor, first = 0, xx = 0, tt = 0;
  float x[4], t[4], d[4];
  FOR_FOURS(c, n) {
    load_four(x, xs, at + c, n - c);
    load_four(t, ts, at + c, n - c);
    for (int j = 0; j < 4; j++) {
      if (cosine) {
        first += (double)x[j] * t[j];
        xx += (double)x[j] * x[j];
        tt += (double)t[j] * t[j];
      } else {
        double apart = (double)x[j] - t[j];
        first += apart * apart;
      }
    }
  }
  first = block_sum(first);
  double loss = first / n, of_x = 2 * scale / n, of_t = -2 * scale / n;
  if (cosine) {
    xx = block_sum(xx);
    tt = block_sum(tt);
    double norms = sqrt(xx * tt);
    // A row of zeros has no direction: nothing to learn from it.
    bool none = norms == 0;
    loss = none ? 0 : 1 - first / norms;
    of_x = none ? 0 : scale * first / (norms * xx);
    of_t = none ? 0 : -scale / norms;
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = loss;
  if (!dx) return;
  FOR_FOURS(c, n) {
    load_four(x, xs, at + c, n - c);
    load_four(t, ts, at + c, n - c);
    load_four(d, dx, at + c, n - c);
    for (int j = 0; j < 4; j++) d[j] += (float)(of_x * x[j] + of_t * t[j]);
    store_four(dx, at + c, n - c, d);
  }
}
