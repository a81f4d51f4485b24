// SPDX-License-Identifier: Apache-2.0
//
// The nonlinearities of Op.Activation, in its order, and their derivatives.
#pragma once
#include "llmc.cuh"

enum Activation { SILU = 0, GELU_TANH = 1, GELU_ERF = 2, RELU = 3, SIGMOID = 4, RELU_SQUARED = 5 };

__device__ __forceinline__ float activated(float x, int activation) {
  switch (activation) {
    case SILU: return x / (1.f + expf(-x));
    case GELU_TANH: {
      float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
      return 0.5f * x * (1.f + tanhf(inner));
    }
    case GELU_ERF: return 0.5f * x * (1.f + erff(x * 0.7071067811865476f));
    case SIGMOID: return 1.f / (1.f + expf(-x));
    case RELU_SQUARED: return x > 0.f || x != x ? x * x : 0.f;
    default: return x > 0.f || x != x ? x : 0.f;
  }
}

__device__ __forceinline__ float activation_slope(float x, int activation) {
  switch (activation) {
    case SILU: {
      float s = 1.f / (1.f + expf(-x));
      return s * (1.f + x * (1.f - s));
    }
    case GELU_TANH: {
      float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
      float t = tanhf(inner);
      float slope = 0.7978845608028654f * (1.f + 3.f * 0.044715f * x * x);
      return 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * slope;
    }
    case GELU_ERF: {
      float density = 0.3989422804014327f * expf(-0.5f * x * x);
      return 0.5f * (1.f + erff(x * 0.7071067811865476f)) + x * density;
    }
    case SIGMOID: {
      float s = 1.f / (1.f + expf(-x));
      return s * (1.f - s);
    }
    case RELU_SQUARED: return x > 0.f || x != x ? 2.f * x : 0.f;
    default: return x > 0.f ? 1.f : 0.f;
  }
}

// Bounds that leave NaN what it is.
__device__ __forceinline__ float at_most(float x, float limit) { return x > limit ? limit : x; }
__device__ __forceinline__ float within(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

// square x^2 + beta x for positive x, else bend (e^min(x, eps) - 1 - x) + beta x
struct Xielu {
  float square, bend, beta, eps;

  __device__ Xielu(const void* positive, int positive_type, const void* negative, int negative_type, const void* beta_at, int beta_type,
                   const void* eps_at, int eps_type) {
    beta = load(beta_at, 0, beta_type);
    eps = load(eps_at, 0, eps_type);
    square = softplus(load(positive, 0, positive_type));
    bend = beta + softplus(load(negative, 0, negative_type));
  }

  static __device__ float softplus(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }

  __device__ float value(float x) const {
    float curved = x > 0.f ? x * x * square : (expf(at_most(x, eps)) - 1.f - x) * bend;
    return x * beta + curved;
  }

  // Above eps the exponential stands still.
  __device__ float slope(float x) const {
    if (x > 0.f) return 2.f * square * x + beta;
    return ((x >= eps ? 0.f : expf(x)) - 1.f) * bend + beta;
  }
};
