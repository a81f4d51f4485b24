// SPDX-License-Identifier: Apache-2.0
//
// One thread an element, in strides of the whole grid.
#include "activation.cuh"
#include "llmc.cuh"

// out = a + scale * b
extern "C" __global__ void add(float* out, const float* a, const float* b, float scale, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = fmaf(scale, b[i], a[i]);
}

// out[t,c] = x[t,c] + row[c]
extern "C" __global__ void add_row(float* out, const float* x, const void* row, int type, i64 cols, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = x[i] + load(row, i % cols, type);
}

extern "C" __global__ void multiply(float* out, const float* a, const float* b, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = a[i] * b[i];
}

extern "C" __global__ void multiply_row(float* out, const float* x, const void* row, int type, float offset, i64 cols,
                                        i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = x[i] * (offset + load(row, i % cols, type));
}

// out = factor * x, between element types
extern "C" __global__ void scale(void* out, int out_type, const void* x, int x_type, float factor, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) store(out, i, out_type, factor * load(x, i, x_type));
}

extern "C" __global__ void softcap(float* out, const float* x, float cap, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = cap * tanhf(x[i] / cap);
}

extern "C" __global__ void activate(float* out, const float* x, int activation, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = activated(x[i], activation);
}

extern "C" __global__ void gated(float* out, const float* gate, const float* up, int activation, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = activated(gate[i], activation) * up[i];
}

// out = g sigmoid(alpha g) (u + shift), g = min(gate, limit), u = clip(up, -limit, limit)
extern "C" __global__ void clamped_swiglu(float* out, const float* gate, const float* up, float limit, float alpha, float shift, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    float g = at_most(gate[i], limit);
    out[i] = g / (1.f + expf(-alpha * g)) * (within(up[i], limit) + shift);
  }
}

extern "C" __global__ void xielu(float* out, const float* x, const void* positive, int positive_type, const void* negative, int negative_type,
                                 const void* beta, int beta_type, const void* eps, int eps_type, i64 n) {
  Xielu curve(positive, positive_type, negative, negative_type, beta, beta_type, eps, eps_type);
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = curve.value(x[i]);
}

// sum += factor * x
extern "C" __global__ void accumulate_scaled(float* sum, const float* x, float factor, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) sum[i] = fmaf(factor, x[i], sum[i]);
}

// dx += dout * (1 - (out / cap)^2)
extern "C" __global__ void clip(float* out, const float* x, float most, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) out[i] = fminf(fmaxf(x[i], -most), most);
}

extern "C" __global__ void clip_grad(float* dx, const float* dout, const float* out, float most, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads())
    if (fabsf(out[i]) < most) dx[i] += dout[i];
}

extern "C" __global__ void softcap_grad(float* dx, const float* dout, const float* out, float cap, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    float r = out[i] / cap;
    dx[i] = fmaf(dout[i], 1.f - r * r, dx[i]);
  }
}

extern "C" __global__ void activate_grad(float* dx, const float* dout, const float* x, int activation, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) dx[i] = fmaf(dout[i], activation_slope(x[i], activation), dx[i]);
}

// dgate += dout * up * slope(gate), dup += dout * activation(gate)
extern "C" __global__ void gated_grad(float* dgate, float* dup, const float* dout, const float* gate, const float* up,
                                      int activation, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    float g = gate[i], d = dout[i];
    dgate[i] = fmaf(d * up[i], activation_slope(g, activation), dgate[i]);
    dup[i] = fmaf(d, activated(g, activation), dup[i]);
  }
}

extern "C" __global__ void clamped_swiglu_grad(float* dgate, float* dup, const float* dout, const float* gate, const float* up, float limit,
                                               float alpha, float shift, i64 n) {
  for (i64 i = first_element(); i < n; i += all_threads()) {
    float g = at_most(gate[i], limit), d = dout[i], t = alpha * g;
    float s = 1.f / (1.f + expf(-t));
    if (!(gate[i] > limit)) dgate[i] = fmaf(d * (within(up[i], limit) + shift), s * (1.f + t * (1.f - s)), dgate[i]);
    if (!(fabsf(up[i]) > limit)) dup[i] = fmaf(d, g * s, dup[i]);
  }
}

extern "C" __global__ void xielu_grad(float* dx, const float* dout, const float* x, const void* positive, int positive_type,
                                      const void* negative, int negative_type, const void* beta, int beta_type, const void* eps,
                                      int eps_type, i64 n) {
  Xielu curve(positive, positive_type, negative, negative_type, beta, beta_type, eps, eps_type);
  for (i64 i = first_element(); i < n; i += all_threads()) dx[i] = fmaf(dout[i], curve.slope(x[i]), dx[i]);
}
