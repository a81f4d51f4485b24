// SPDX-License-Identifier: Apache-2.0
//
// The nonlinearities of Op.Activation, in its order, and their derivatives.
#pragma once
#include "llmc.cuh"

enum Activation { SILU = 0, GELU_TANH = 1, GELU_ERF = 2, RELU = 3 };

__device__ __forceinline__ float activated(float x, int activation) {
  switch (activation) {
    case SILU: return x / (1.f + expf(-x));
    case GELU_TANH: {
      float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
      return 0.5f * x * (1.f + tanhf(inner));
    }
    case GELU_ERF: return 0.5f * x * (1.f + erff(x * 0.7071067811865476f));
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
    default: return x > 0.f ? 1.f : 0.f;
  }
}
