// SPDX-License-Identifier: Apache-2.0
//
// Routes tokens to experts; one warp a token. Scores and weights are those of RouterSpec, in F64.
#include "llmc.cuh"

// RouterSpec.Scores, in its order
enum Scores { SOFTMAX = 0, SIGMOID = 1, SQRT_SOFTPLUS = 2, SPARSE_MIXER = 3 };

struct Token {
  const float* x;
  int n, scores;
  float jitter;
  double most, unit;  // of softmax: the largest logit, and the sum of e^(x - most)

  // Every lane must come.
  __device__ Token(const float* logits, int n, int scores, float jitter) : n(n), scores(scores), jitter(jitter) {
    x = logits + (i64)blockIdx.x * n;
    most = 0;
    unit = 1;
    if (scores != SOFTMAX) return;
    float largest = -__uint_as_float(0x7f800000u);
    for (int i = threadIdx.x; i < n; i += 32) largest = x[i] > largest ? x[i] : largest;
    most = warp_reduce(largest, Max());
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += 32) sum += exp((double)x[i] - most);
    unit = warp_reduce(sum, Sum());
  }

  static __device__ double sigmoid(double v) { return 1 / (1 + exp(-v)); }

  // times the unit
  __device__ double score(int i) const {
    double v = x[i];
    switch (scores) {
      case SOFTMAX: return exp(v - most);
      case SIGMOID: return sigmoid(v);
      case SQRT_SOFTPLUS: return sqrt((v > 0 ? v : 0) + log1p(exp(-fabs(v))));
      default: return v;
    }
  }

  // d score / d logit but for softmax, of the score
  __device__ double slope(int i, double s) const { return scores == SIGMOID ? s * (1 - s) : sigmoid(x[i]) / (2 * s); }

  // SparseMixer's e^(x - best), or 0 where it is too far below
  __device__ double share(int i, double best) const {
    double size = fabs((double)x[i]);
    return (best - x[i]) / (size > best ? size : best) > 2 * jitter ? 0 : exp((double)x[i] - best);
  }
};

// Keys have the order of the numbers; 0 is less than any of them.
__device__ __forceinline__ u64 ordered(double v) {
  i64 bits = __double_as_longlong(v + 0.0);
  return (u64)bits ^ ((u64)(bits >> 63) | 0x8000000000000000ull);
}

__device__ __forceinline__ double number(u64 key) {
  u64 bits = key >> 63 ? key ^ 0x8000000000000000ull : ~key;
  return __longlong_as_double((i64)bits);
}

// The first of the largest keys in [from, to).
__device__ __forceinline__ int best_of(const u64* keys, int from, int to, u64* key) {
  u64 best = 0;
  for (int i = from + threadIdx.x; i < to; i += 32) best = keys[i] > best ? keys[i] : best;
  *key = best = warp_reduce(best, Max());
  int first = to - 1;
  for (int i = from + threadIdx.x; i < to; i += 32) first = keys[i] == best && i < first ? i : first;
  return warp_reduce(first, Min());
}

__device__ __forceinline__ void take(u64* keys, int i) {
  __syncwarp();
  if (threadIdx.x == 0) keys[i] = 0;
  __syncwarp();
}

// Leaves only the experts of the best groups.
__device__ __forceinline__ void drop_groups(u64* keys, u64* sums, int n, int groups, int kept, int best) {
  int size = n / groups;
  for (int g = 0; g < groups; g++) {
    int from = g * size, to = from + size;
    u64 first, second;
    int at = best_of(keys, from, to, &first);
    double sum = number(first);
    if (best == 2) {
      take(keys, at);
      best_of(keys, from, to, &second);
      sum += number(second);
      __syncwarp();
      if (threadIdx.x == 0) keys[at] = first;
    }
    if (threadIdx.x == 0) sums[g] = ordered(sum);
    __syncwarp();
  }
  u64 seen = 0, key;
  for (int j = 0; j < kept; j++) {
    int g = best_of(sums, 0, groups, &key);
    seen |= 1ull << g;
    take(sums, g);
  }
  for (int i = threadIdx.x; i < n; i += 32)
    if (!(seen >> (i / size) & 1)) keys[i] = 0;
  __syncwarp();
}

// Shared memory: n + groups keys.
extern "C" __global__ void route(int* experts, float* weights, const float* logits, const void* bias, int bias_type, int n, int k,
                                 int scores, int groups, int kept, int best, int renormalised, float eps, float factor, float jitter) {
  DYNAMIC_SHARED(u64, keys);
  Token token(logits, n, scores, jitter);
  experts += (i64)blockIdx.x * k;
  weights += (i64)blockIdx.x * k;
  for (int i = threadIdx.x; i < n; i += 32) {
    double rank = bias || groups ? token.score(i) / token.unit : token.x[i];
    keys[i] = ordered(bias ? rank + load(bias, i, bias_type) : rank);
  }
  __syncwarp();
  if (groups) drop_groups(keys, keys + n, n, groups, kept, best);
  double chosen = 0;
  for (int j = 0; j < k; j++) {
    u64 key;
    int pick = best_of(keys, 0, n, &key);
    double w = token.score(pick);
    if (scores == SPARSE_MIXER) {
      double sum = 0;
      for (int i = threadIdx.x; i < n; i += 32) sum += keys[i] ? token.share(i, w) : 0;
      w = 1 / warp_reduce(sum, Sum());
    }
    chosen += w;
    if (threadIdx.x == 0) {
      experts[j] = pick;
      weights[j] = (float)w;
    }
    take(keys, pick);
  }
  double total = renormalised ? chosen + eps * token.unit : token.unit;
  for (int j = threadIdx.x; j < k; j += 32) weights[j] = (float)(factor * weights[j] / total);
}

// The weights of experts that are chosen already. A lane has every 32nd of a token's; SparseMixer's picks follow each other.
extern "C" __global__ void weigh_experts(float* weights, const int* experts, const float* logits, int n, int k, int scores,
                                         int renormalised, float eps, float factor, float jitter) {
  Token token(logits, n, scores, jitter);
  experts += (i64)blockIdx.x * k;
  weights += (i64)blockIdx.x * k;
  if (scores == SPARSE_MIXER) {
    for (int j = 0; j < k; j++) {
      double best = token.x[experts[j]], sum = 0;
      for (int i = threadIdx.x; i < n; i += 32) {
        bool gone = false;
        for (int m = 0; m < j; m++) gone |= experts[m] == i;
        sum += gone ? 0 : token.share(i, best);
      }
      sum = warp_reduce(sum, Sum());
      if (threadIdx.x == 0) weights[j] = (float)(factor * (float)(1 / sum));
    }
    return;
  }
  double chosen = 0;
  for (int j = threadIdx.x; j < k; j += 32) chosen += token.score(experts[j]);
  chosen = warp_reduce(chosen, Sum());
  double total = renormalised ? chosen + eps * token.unit : token.unit;
  for (int j = threadIdx.x; j < k; j += 32) weights[j] = (float)(factor * (float)token.score(experts[j]) / total);
}

// ds_c = (factor dw_c - sum_k dw_k w_k) / sum of the chosen where renormalised, else factor dw_c; then the scores' slopes.
// SparseMixer: each pick's softmax, of the logits that are left and near.
extern "C" __global__ void route_grad(float* dlogits, const float* dweights, const int* experts, const float* weights,
                                      const float* logits, int n, int k, int scores, int renormalised, float eps, float factor,
                                      float jitter) {
  Token token(logits, n, scores, jitter);
  dlogits += (i64)blockIdx.x * n;
  experts += (i64)blockIdx.x * k;
  weights += (i64)blockIdx.x * k;
  dweights += (i64)blockIdx.x * k;
  if (scores == SPARSE_MIXER) {
    for (int j = 0; j < k; j++) {
      double best = token.x[experts[j]], sum = 0;
      for (int part = 0; part < 2; part++) {
        for (int i = threadIdx.x; i < n; i += 32) {
          bool gone = false;
          for (int m = 0; m < j; m++) gone |= experts[m] == i;
          double p = gone ? 0 : token.share(i, best);
          if (part == 0) sum += p;
          else dlogits[i] = (float)(dlogits[i] + (double)factor * dweights[j] / sum * ((i == experts[j] ? 1 : 0) - p / sum));
        }
        if (part == 0) sum = warp_reduce(sum, Sum());
      }
    }
    return;
  }
  double chosen = eps, cross = 0, mean = 0;
  for (int j = 0; j < k; j++) {
    chosen += token.score(experts[j]) / token.unit;
    cross += (double)dweights[j] * weights[j];
  }
  if (!renormalised) {
    cross = 0;
    chosen = 1;
  }
  for (int j = 0; j < k; j++)
    mean += ((double)factor * dweights[j] - cross) / chosen * (token.score(experts[j]) / token.unit);
  for (int i = threadIdx.x; i < n; i += 32) {
    double ds = 0;
    bool picked = false;
    for (int j = 0; j < k; j++) {
      picked |= experts[j] == i;
      ds = experts[j] == i ? ((double)factor * dweights[j] - cross) / chosen : ds;
    }
    if (scores != SOFTMAX && !picked) continue;
    double s = token.score(i) / token.unit;
    dlogits[i] = (float)(dlogits[i] + (scores == SOFTMAX ? s * (ds - mean) : token.slope(i, s) * ds));
  }
}
