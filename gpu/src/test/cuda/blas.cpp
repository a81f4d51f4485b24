// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for libcublas: the calls that llmc makes, column-major, with host pointers for alpha and beta. Products are
// summed in double and run in the order of their stream.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#define API extern "C" __attribute__((visibility("default")))
extern "C" int llmc_standin_enqueue(void* stream, int (*f)(void*), void* argument);
enum { OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { F32 = 0, F16 = 2, BF16 = 14 };           // cudaDataType
enum { COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69 };
struct Handle { void* stream; };
static float load(const void* p, int type, size_t i) {
  if (type == F32) return ((const float*)p)[i];
  uint16_t h = ((const uint16_t*)p)[i];
  if (type == F16) { _Float16 f; memcpy(&f, &h, 2); return (float)f; }
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
struct Gemm { int ta, tb, m, n, k; float alpha; const void* a; int at, lda; const void* b; int bt, ldb; float beta; float* c; int ldc; };
static int run(void* argument) {
  Gemm& g = *(Gemm*)argument;
  for (int j = 0; j < g.n; j++) for (int i = 0; i < g.m; i++) {
    double s = 0;
    for (int l = 0; l < g.k; l++)
      s += (double)load(g.a, g.at, g.ta ? l + (size_t)i * g.lda : i + (size_t)l * g.lda) * load(g.b, g.bt, g.tb ? j + (size_t)l * g.ldb : l + (size_t)j * g.ldb);
    float& out = g.c[i + (size_t)j * g.ldc];
    out = (float)(g.alpha * s + (g.beta != 0 ? g.beta * out : 0));
  }
  delete &g;
  return 0;
}
API int cublasCreate_v2(void** h) { *h = new Handle{nullptr}; return OK; }
API int cublasDestroy_v2(void* h) { delete (Handle*)h; return OK; }
API int cublasSetStream_v2(void* h, void* stream) { ((Handle*)h)->stream = stream; return OK; }
API int cublasSetMathMode(void*, int mode) { return mode == 0 ? OK : NOT_SUPPORTED; }
API int cublasSetPointerMode_v2(void*, int mode) { return mode ? NOT_SUPPORTED : OK; }
API int cublasGetVersion_v2(void*, int* v) { *v = 130000; return OK; }
API int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda, const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, int compute, int) {
  bool half = at == F16 || at == BF16;
  // As the real one: both inputs of one type, sums and results in F32.
  if (at != bt || (at != F32 && !half) || ct != F32 || (compute != COMPUTE_32F && compute != COMPUTE_32F_PEDANTIC)) return NOT_SUPPORTED;
  if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return INVALID_VALUE;
  auto* g = new Gemm{ta, tb, m, n, k, *(const float*)alpha, a, at, lda, b, bt, ldb, *(const float*)beta, (float*)c, ldc};
  return llmc_standin_enqueue(((Handle*)h)->stream, run, g) ? EXECUTION_FAILED : OK;
}
