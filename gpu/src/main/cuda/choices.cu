// SPDX-License-Identifier: Apache-2.0
//
// The keys of a sequence that count most for each query: SparseOp.Choose, CompressedOp.ChooseEntries.
//
// Scores are products of matrices, and F32 units limit them: tiles of 64 rows, the heads of some queries, by 64 keys, of which
// a thread has 4 x 4. So every element that is read from shared memory takes part in four products, and the heads' sum goes
// over a thread's rows first. A radix select then finds the least score that is chosen, and passes over a row's scores, which
// are in the L2 cache, write what is not below it in order.
#include "pages.cuh"
#include "select.cuh"

constexpr int TILE = 64, LINE = TILE + 4, THREADS = 256;
// Queries of a block at most.
constexpr int QUERIES = 16;

// What may be chosen in all of a sequence: `per` tokens make a key to be seen, `written` keys are chosen together.
__device__ __forceinline__ int units_of(const Sequence& s, int per, int written) {
  int tokens = max(per, written);
  return (s.all + tokens - 1) / tokens;
}

// Of a list, of a query or of each of its heads: scores, and behind them two numbers for each unit; whole groups of 16 bytes.
__device__ __forceinline__ int pitch_of(const Sequence& s, int per) { return (s.keys / per + 3) & ~3; }
__device__ __forceinline__ int stride_of(const Sequence& s, int per, int written) {
  return (pitch_of(s, per) + 2 * units_of(s, per, written) + 3) & ~3;
}

// scores[t,s] = sum_h weights[t,h] max(0, queries[t,h,:] . keys[s,:]); without weights scores[t,h,s], of each head.
// @param rate a key lies at the last of so many tokens, `per` tokens make one to be seen
// @param padded heads, up to a multiple of four
// Blocks: tiles of keys, `each` queries, sequences.
extern "C" __global__ void __launch_bounds__(THREADS)
    choose_scores(float* scores, const float* queries, Source keys, const float* weights, int heads, int padded, int dim, int rate,
                  int per, int written, int each, Sequences sequences) {
  __shared__ __align__(16) float row_tile[TILE * LINE];
  __shared__ __align__(16) float key_tile[TILE * LINE];
  __shared__ float sums[QUERIES * TILE], parts[TILE / 4 * TILE];
  __shared__ Key places[TILE];
  const Sequence s = sequences.of[blockIdx.z];
  int first = blockIdx.y * each, count = min(each, s.length - first), k0 = blockIdx.x * TILE;
  if (count <= 0 || k0 >= (s.position(first + count - 1) + 1) / per) return;
  int stride = stride_of(s, per, written), x = threadIdx.x % 16, y = threadIdx.x / 16, all = s.keys / per;
  queries += (i64)(s.row + first) * heads * dim;
  if (weights) weights += (i64)(s.row + first) * heads;
  scores += s.part + (i64)first * (weights ? 1 : heads) * stride;
  if (threadIdx.x < TILE) {
    int k = k0 + threadIdx.x;
    places[threadIdx.x] = k < all ? keys.key(s.tables[0], s.first, (k + 1) * rate - 1, 0) : Key{-1, 0.f};
  }
  for (int i = threadIdx.x; i < each * TILE; i += THREADS) sums[i] = 0.f;
  for (int r0 = 0; r0 < count * padded; r0 += TILE) {
    float acc[4][4] = {};
    for (int c0 = 0; c0 < dim; c0 += TILE) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < TILE; i += 16) {
        int at = (y + i) * LINE + 4 * x, r = r0 + y + i, t = r / padded, h = r % padded, c = c0 + 4 * x;
        float v[4] = {0.f, 0.f, 0.f, 0.f};
        if (t < count && h < heads) load_four(v, queries, ((i64)t * heads + h) * dim + c, dim - c);
        *(float4*)(row_tile + at) = make_float4(v[0], v[1], v[2], v[3]);
        if (c < dim) keys.four(v, places[y + i], c);
        *(float4*)(key_tile + at) = make_float4(v[0], v[1], v[2], v[3]);
      }
      __syncthreads();
      int depth = min(TILE, dim - c0);
#pragma unroll 1
      for (int d = 0; d < depth; d += 4) {
        float4 u[4], v[4];
#pragma unroll
        for (int i = 0; i < 4; i++) u[i] = *(const float4*)(row_tile + (4 * y + i) * LINE + d);
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = *(const float4*)(key_tile + (x + 16 * j) * LINE + d);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) {
            float sum = fmaf(u[i].x, v[j].x, acc[i][j]);
            sum = fmaf(u[i].y, v[j].y, sum);
            sum = fmaf(u[i].z, v[j].z, sum);
            acc[i][j] = fmaf(u[i].w, v[j].w, sum);
          }
      }
    }
    // Four rows of a thread are heads of one query.
    int t = (r0 + 4 * y) / padded, h = (r0 + 4 * y) % padded;
    if (!weights) {
      for (int i = 0; i < 4 && t < count && h + i < heads; i++)
        for (int j = 0; j < 4; j++)
          if (k0 + x + 16 * j < all) scores[((i64)t * heads + h + i) * stride + k0 + x + 16 * j] = acc[i][j];
      continue;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      float sum = 0.f;
      for (int i = 0; i < 4; i++)
        if (t < count && h + i < heads) sum = fmaf(weights[t * heads + h + i], fmaxf(acc[i][j], 0.f), sum);
      parts[y * TILE + x + 16 * j] = sum;
    }
    __syncthreads();
    int k = threadIdx.x % TILE, groups = padded / 4, from = r0 / 4, to = min(from + TILE / 4, count * groups);
    for (t = from / groups + threadIdx.x / TILE; t * groups < to; t += THREADS / TILE) {
      float sum = sums[t * TILE + k];
      for (int g = max(from, t * groups); g < min(to, (t + 1) * groups); g++) sum += parts[(g - from) * TILE + k];
      sums[t * TILE + k] = sum;
    }
  }
  if (!weights) return;
  __syncthreads();
  for (int i = threadIdx.x; i < count * TILE; i += THREADS)
    if (k0 + i % TILE < all) scores[(i64)(i / TILE) * stride + k0 + i % TILE] = sums[i];
}

// What is chosen together: `size` scores, of which the best counts, and `written` keys.
struct Units {
  const float* scores;
  int keys, size, count, local;

  __device__ float score(int unit) const {
    if (unit >= count) return minus_infinity();
    if (unit >= count - local) return -minus_infinity();
    int from = unit * size, to = min(keys, from + size);
    float best = scores[from];
    for (int i = from + 1; i < to; i++) best = fmaxf(best, scores[i]);
    return best;
  }

  __device__ u32 operator()(int unit) const { return ordered(score(unit)); }
};

// The choice that io.llmc.backend.cpu.Selection makes, which is torch's: introselect as GNU's library has it.
struct Selection {
  float* numbers;
  int* index;

  __device__ bool before(int a, int b) const { return numbers[a] > numbers[b]; }

  __device__ void swap(int a, int b) {
    float number = numbers[a];
    numbers[a] = numbers[b];
    numbers[b] = number;
    int i = index[a];
    index[a] = index[b];
    index[b] = i;
  }

  __device__ int median(int x, int y, int z) const {
    if (before(x, y)) return before(y, z) ? y : before(x, z) ? z : x;
    return before(x, z) ? x : before(y, z) ? z : y;
  }

  __device__ int partition(int first, int last) {
    swap(first, median(first + 1, first + (last - first) / 2, last - 1));
    float pivot = numbers[first];
    for (int low = first + 1, high = last;; low++) {
      while (numbers[low] > pivot) low++;
      high--;
      while (pivot > numbers[high]) high--;
      if (low >= high) return low;
      swap(low, high);
    }
  }

  // Moves the `most` largest of `count` to the front.
  __device__ void largest(int most, int count) {
    int first = 0, last = count;
    while (last - first > 3) {
      int cut = partition(first, last);
      if (cut <= most - 1) first = cut;
      else last = cut;
    }
    for (int i = first + 1; i < last; i++)
      for (int j = i; j > first && before(j, j - 1); j--) swap(j, j - 1);
  }
};

// A row's chosen numbers, ascending, and -1 behind them. Of those that are equal the first ones are chosen; but where no head
// counts, which is one score of many keys in a small model, those that the CPU chooses, by one thread.
// @param beyond these choose among units that the query does not see, too
// @param lists of a query
// @param most units
// @param width of a row that is written
// @param tail keys behind the last whole unit are written, too
// Blocks: lists of queries, 1, sequences.
extern "C" __global__ void __launch_bounds__(1024)
    choose_best(float* out, float* scores, int lists, int per, int size, int written, int most, int local,
                int width, int tail, int beyond, Sequences sequences) {
  __shared__ u32 histogram[BINS];
  __shared__ int found[3];
  const Sequence s = sequences.of[blockIdx.z];
  int row = blockIdx.x, t = row / lists;
  if (t >= s.length) return;
  int seen = s.position(t) + 1, keys = seen / per, count = (keys + size - 1) / size;
  scores += s.part + (i64)row * stride_of(s, per, written);
  Units unit{scores, keys, size, count, local};
  out += ((i64)s.row * lists + row) * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) out[i] = -1.f;
  u32 least = 0;
  int wanted = count;
  if (count > most) {
    wanted = most;
    for (int digit = 0; digit < 3; digit++) {
      int shift = digit == 0 ? 21 : digit == 1 ? 10 : 0, bits = digit == 2 ? 10 : 11;
      for (int i = threadIdx.x; i < BINS; i += blockDim.x) histogram[i] = 0;
      __syncthreads();
      for (int i = threadIdx.x; i < count; i += blockDim.x) {
        u32 key = unit(i);
        if (digit == 0 || key >> (shift + bits) == least) atomicAdd(&histogram[key >> shift & ((1u << bits) - 1)], 1u);
      }
      __syncthreads();
      if (threadIdx.x < 32) find_bin(histogram, wanted, found);
      __syncthreads();
      least = least << bits | (u32)found[0];
      wanted = found[1];
    }
  }
  int* picked = nullptr;
  if (count > most && found[2] > wanted && least == ordered(0.f)) {
    int units = units_of(s, per, written), all = beyond ? units : count;
    Selection selection{scores + pitch_of(s, per), (int*)scores + pitch_of(s, per) + units};
    for (int i = threadIdx.x; i < all; i += blockDim.x) {
      selection.numbers[i] = unit.score(i);
      selection.index[i] = i;
    }
    __syncthreads();
    if (threadIdx.x == 0) selection.largest(most, all);
    __syncthreads();
    picked = (int*)selection.numbers;
    for (int i = threadIdx.x; i < all; i += blockDim.x) picked[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < most; i += blockDim.x) picked[selection.index[i]] = 1;
  }
  __syncthreads();  // the row is all -1
  // Every number is counted in order, so that chosen ones have their places.
  int place = 0, equal = 0;
  for (int i0 = 0; i0 < count; i0 += blockDim.x) {
    int i = i0 + threadIdx.x, all;
    u32 key = i < count ? unit(i) : 0;
    bool same = i < count && key == least, above = i < count && key > least;
    int before = before_me(same, &all);
    bool chosen = count <= most ? i < count : above || (same && equal + before < wanted);
    if (picked) chosen = i < count && picked[i];
    equal += all;
    int to = place + before_me(chosen, &all);
    place += all;
    if (chosen)
      for (int j = 0; j < written && i * written + j < seen; j++) out[to * written + j] = (float)(i * written + j);
  }
  if (tail)
    for (int i = count * written + threadIdx.x; i < seen; i += blockDim.x) out[place * written + i - count * written] = (float)i;
}
