// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for libcuda.so.1: the driver calls that llmc makes, on host memory, with the kernels compiled for a CPU.
//
// It is stricter than a GPU where a GPU would hide a mistake:
//  - new memory is full of NaN, copies are checked against the bounds of their allocation;
//  - a module must be the PTX that ships, and each of its entries a host kernel with parameters of the same sizes;
//  - work on a stream is put off until somebody waits for it, so that a wait that is missing shows;
//  - a device's memory belongs to its own context.
// Settings come from llmc_standin_set and, at first, from the environment: LLMC_STANDIN_<KEY>.
//   kernels        the library of host kernels
//   devices        how many devices there are (1)
//   memory         bytes of each device (4 GiB)
//   version        of the driver, as cuDriverGetVersion has it (13000)
//   reverse        run warps and lanes in the other order, and what waits for nobody on other streams first
//   fail           "kernel:n": the n-th launch of a kernel from now on fails
//   trace          say on standard error what is called
#include "emulator.hpp"
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

typedef int CUresult;
typedef unsigned long long CUdeviceptr;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, UNSUPPORTED_PTX = 222, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_FAILED = 719 };
#define API extern "C" __attribute__((visibility("default")))
static std::recursive_mutex lock_;
#define LOCK std::lock_guard<std::recursive_mutex> guard_(lock_)

// ---------------------------------------------------------------- settings
static std::map<std::string, std::string>& settings() { static std::map<std::string, std::string> s; return s; }
static std::string setting(const char* key) {
  LOCK;
  auto i = settings().find(key);
  if (i != settings().end()) return i->second;
  std::string name = std::string("LLMC_STANDIN_") + key;
  for (auto& c : name) c = (char)toupper(c);
  const char* e = getenv(name.c_str());
  return settings()[key] = e ? e : "";
}
static size_t number(const char* key, size_t otherwise) { auto s = setting(key); return s.empty() ? otherwise : strtoull(s.c_str(), nullptr, 10); }
API void llmc_standin_set(const char* key, const char* value) { LOCK; settings()[key] = value; }
// What was asked for so far: "launches", "launches of KERNEL", "launches on DEVICE", "bytes up", "bytes down".
static std::map<std::string, u64>& counts() { static std::map<std::string, u64> c; return c; }
API u64 llmc_standin_count(const char* key) { LOCK; return counts()[key]; }
#define SAY(...) (setting("trace").empty() ? (void)0 : (void)fprintf(stderr, "[standin] " __VA_ARGS__))

// ---------------------------------------------------------------- kernels
struct Kernel { std::string name; void (*invoke)(void**); std::vector<unsigned> sizes; int maxDynamic = 48 * 1024; };
static std::map<std::string, Kernel>& registry() { static std::map<std::string, Kernel> r; return r; }
API void emu_register(const char* name, void (*invoke)(void**), int n, const unsigned* s) { registry()[name] = Kernel{name, invoke, std::vector<unsigned>(s, s + n)}; }

// ---------------------------------------------------------------- fibres
thread_local EmuThread* emu_t;
thread_local EmuBlock emu_b;
enum State { RUN, WARP, BLOCK, DONE };
struct Copy { void* to; const void* from; unsigned bytes; };
struct Fiber { void* sp; char* stack; EmuThread t; State state; u32 mask; EmuCollective f; void* argument; std::vector<std::vector<Copy>> groups; };
static thread_local std::vector<Fiber> fibers;
static thread_local Fiber* current;
static thread_local void* schedulerSp;
static thread_local void (*currentInvoke)(void**);
static thread_local void** currentParameters;
static thread_local const char* fault;
static const size_t STACK = 64 * 1024;
asm(R"(
.text
.globl emu_switch
.type emu_switch,@function
emu_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
)");
extern "C" __attribute__((visibility("hidden"))) void emu_switch(void** save, void* to);
static void leave(State s) { current->state = s; emu_switch(&current->sp, schedulerSp); }
static void fiberMain() { for (;;) { currentInvoke(currentParameters); leave(DONE); } }
API void emu_sync_block() { leave(BLOCK); }
API void emu_collective(EmuCollective f, u32 mask, void* argument) { current->f = f; current->mask = mask; current->argument = argument; leave(WARP); }
API void emu_fault(const char* what) { fault = what; leave(DONE); }
API void emu_copy_async(void* to, const void* from, unsigned n) {
  if (((uintptr_t)to | (uintptr_t)from) & (n - 1)) emu_fault("cp.async: misaligned address");
  auto& g = current->groups;
  if (g.empty()) g.emplace_back();
  memset(to, 0xff, n);
  g.back().push_back({to, from, n});
}
API void emu_copy_commit() { auto& g = current->groups; if (g.empty()) g.emplace_back(); g.emplace_back(); }
API void emu_copy_wait(unsigned pending) {
  auto& g = current->groups;                                      // the last group is the open one
  while (g.size() > pending + 1) { for (auto& c : g.front()) memcpy(c.to, c.from, c.bytes); g.erase(g.begin()); }
}
// Completes the warp-wide operations for which all lanes have come. True where any was.
static bool collect(Fiber* warp, unsigned lanes) {
  bool any = false;
  u32 there = lanes == 32 ? ~0u : (1u << lanes) - 1;
  for (unsigned j = 0; j < lanes; j++) {
    Fiber& f = warp[j];
    if (f.state != WARP) continue;
    u32 wanted = f.mask & there, in = 0;
    bool all = true;
    void* arguments[32] = {};
    for (unsigned l = 0; l < lanes && all; l++) if (wanted >> l & 1) {
      Fiber& o = warp[l];
      if (o.state == WARP && o.mask == f.mask && o.f == f.f) { in |= 1u << l; arguments[l] = o.argument; }
      else all = o.state == DONE;
    }
    if (!all) continue;
    f.f(arguments, in);
    for (unsigned l = 0; l < lanes; l++) if (in >> l & 1) warp[l].state = RUN;
    any = true;
  }
  return any;
}
static bool runBlock(unsigned n, bool reverse) {                  // false: a fault
  unsigned warps = (n + 31) / 32;
  if (fibers.size() < n) fibers.resize(n);
  for (unsigned i = 0; i < n; i++) {
    Fiber& f = fibers[i];
    if (!f.stack) f.stack = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void** sp = (void**)(f.stack + STACK) - 1;                    // aligned as after a call
    *--sp = (void*)fiberMain;
    sp -= 6;
    f.sp = sp; f.state = RUN; f.groups.clear();
    f.t = {{i % emu_b.dim.x, i / emu_b.dim.x % emu_b.dim.y, i / emu_b.dim.x / emu_b.dim.y}, i & 31, i >> 5};
  }
  fault = nullptr;
  for (;;) {
    for (unsigned k = 0; k < warps; k++) {
      unsigned base = (reverse ? warps - 1 - k : k) * 32, lanes = n - base < 32 ? n - base : 32;
      for (bool again = true; again && !fault;) {
        for (unsigned j = 0; j < lanes; j++) {
          Fiber& f = fibers[base + (reverse ? lanes - 1 - j : j)];
          if (f.state == RUN) { current = &f; emu_t = &f.t; emu_switch(&schedulerSp, f.sp); }
        }
        again = collect(&fibers[base], lanes);
      }
    }
    if (fault) return false;
    bool alive = false, waits = false;
    for (unsigned i = 0; i < n; i++) { alive |= fibers[i].state != DONE; waits |= fibers[i].state == WARP; }
    if (!alive) return true;
    if (waits) { fault = "lanes wait in a warp-wide operation that others never reach"; return false; }
    for (unsigned i = 0; i < n; i++) if (fibers[i].state == BLOCK) fibers[i].state = RUN;
  }
}
struct Launch { Kernel* kernel; dim3 grid, block; unsigned dynamic; std::vector<std::vector<u64>> values; };
static CUresult runGrid(const Launch& l) {
  unsigned threads = l.block.x * l.block.y * l.block.z;
  u64 blocks = (u64)l.grid.x * l.grid.y * l.grid.z;
  bool reverse = !setting("reverse").empty();
  std::vector<void*> parameters;
  for (auto& v : l.values) parameters.push_back((void*)v.data());
  std::atomic<u64> next{0};
  std::atomic<const char*> failed{nullptr};
  auto work = [&] {
    std::vector<char> dynamic(l.dynamic + 256);
    char* aligned = (char*)(((uintptr_t)dynamic.data() + 127) & ~uintptr_t(127));
    currentInvoke = l.kernel->invoke; currentParameters = parameters.data();
    emu_b.dim = l.block; emu_b.grid = l.grid; emu_b.dynamic = aligned;
    for (u64 at; (at = next++) < blocks && !failed;) {
      u64 b = reverse ? blocks - 1 - at : at;
      emu_b.idx = {(unsigned)(b % l.grid.x), (unsigned)(b / l.grid.x % l.grid.y), (unsigned)(b / l.grid.x / l.grid.y)};
      memset(aligned, 0xff, l.dynamic);
      if (!runBlock(threads, reverse)) {
        fprintf(stderr, "[standin] %s: block %u,%u,%u: %s\n", l.kernel->name.c_str(), emu_b.idx.x, emu_b.idx.y, emu_b.idx.z, fault);
        failed = fault;
      }
    }
  };
  if (blocks > 1 && blocks * threads > 4096) { std::thread other(work); work(); other.join(); }
  else work();
  return failed ? LAUNCH_FAILED : OK;
}

// ---------------------------------------------------------------- devices, streams
struct Device;
struct Stream;
struct Work { std::function<CUresult()> f; Stream* after; u64 ticket; };  // not before another stream has come so far
struct Stream { Device* device; std::deque<Work> pending; u64 put = 0, done = 0; };
struct Event { Stream* stream = nullptr; u64 ticket = 0; std::chrono::steady_clock::time_point at; };
struct Device { int index; std::map<CUdeviceptr, size_t> memory; size_t used = 0; std::vector<Stream*> streams; CUresult error = OK; };
static std::map<int, std::unique_ptr<Device>>& devices() { static std::map<int, std::unique_ptr<Device>> all; return all; }
static Device* device(int i) { auto& d = devices()[i]; if (!d) { d.reset(new Device()); d->index = i; } return d.get(); }
static thread_local Device* here;
static bool initialized;
static int deviceCount() { return (int)number("devices", 1); }
static size_t total() { return number("memory", size_t(4) << 30); }
#define CONTEXT if (!here) return INVALID_CONTEXT; if (here->error) return here->error

static bool mayRun(Stream* s) { auto& w = s->pending.front(); return !w.after || w.after->done >= w.ticket; }
static void runOne(Stream* s) {
  Work w = std::move(s->pending.front());
  s->pending.pop_front();
  s->done++;
  if (!s->device->error) { CUresult r = w.f(); if (r) s->device->error = r; }
}
static void runTo(Stream* s, u64 ticket) {
  bool ahead = !setting("reverse").empty();
  while (s->done < ticket) {
    if (ahead)
      for (auto& d : devices()) for (Stream* o : d.second->streams)
        while (o != s && !o->pending.empty() && mayRun(o)) runOne(o);
    if (mayRun(s)) runOne(s);
    else runTo(s->pending.front().after, s->pending.front().ticket);
  }
}
static CUresult drain(Stream* s) { runTo(s, s->put); return s->device->error; }
static CUresult drainAll(Device* d) { for (auto* s : d->streams) drain(s); return d->error; }
static CUresult later(Stream* s, std::function<CUresult()> f, Stream* after = nullptr, u64 ticket = 0) {
  if (!s) return INVALID_HANDLE;                                  // llmc uses streams of its own only
  if (s->device != here) return INVALID_CONTEXT;
  s->pending.push_back({std::move(f), after, ticket}); s->put++;
  return OK;
}
static bool inside(CUdeviceptr p, size_t n, Device* d = here) {
  auto i = d->memory.upper_bound(p);
  if (i == d->memory.begin()) return false;
  --i;
  return p + n <= i->first + i->second;
}

// For the stand-in of cuBLAS: f(argument) in the order of the stream.
API int llmc_standin_enqueue(void* stream, int (*f)(void*), void* argument) { LOCK; CONTEXT; return later((Stream*)stream, [=] { return f(argument) ? LAUNCH_FAILED : OK; }); }

API CUresult cuInit(unsigned) { initialized = true; return OK; }
API CUresult cuGetExportTable(const void** t, const void*) { *t = nullptr; return INVALID_VALUE; }
API CUresult cuDriverGetVersion(int* v) { *v = (int)number("version", 13000); return OK; }
API CUresult cuDeviceGetCount(int* n) { *n = deviceCount(); return initialized ? OK : NOT_INITIALIZED; }
API CUresult cuDeviceGet(int* d, int i) { *d = i; return i < 0 || i >= deviceCount() ? INVALID_DEVICE : OK; }
API CUresult cuDeviceGetName(char* s, int n, int) { snprintf(s, n, "llmc stand-in"); return OK; }
API CUresult cuDeviceTotalMem_v2(size_t* n, int) { *n = total(); return OK; }
API CUresult cuDeviceGetAttribute(int* v, int a, int) {
  switch (a) { case 1: *v = 1024; break; case 8: *v = 49152; break; case 10: *v = 32; break; case 16: *v = 2; break; case 75: *v = 8; break; case 76: *v = 0; break; case 97: *v = 101376; break; default: *v = 0; }
  return OK;
}
API CUresult cuDevicePrimaryCtxRetain(void** c, int i) { LOCK; *c = device(i); device(i)->error = OK; return OK; }
API CUresult cuDevicePrimaryCtxRelease_v2(int i) { LOCK; drainAll(device(i)); return OK; }
API CUresult cuDevicePrimaryCtxRelease(int i) { return cuDevicePrimaryCtxRelease_v2(i); }
API CUresult cuCtxSetCurrent(void* c) { here = (Device*)c; return OK; }
API CUresult cuCtxGetCurrent(void** c) { *c = here; return OK; }
API CUresult cuCtxSynchronize() { LOCK; CONTEXT; return drainAll(here); }
API CUresult cuMemGetInfo_v2(size_t* f, size_t* t) { LOCK; CONTEXT; *t = total(); *f = *t > here->used ? *t - here->used : 0; return OK; }
API CUresult cuMemAlloc_v2(CUdeviceptr* p, size_t n) {
  LOCK; CONTEXT;
  if (!n) return INVALID_VALUE;
  if (here->used + n > total()) return OUT_OF_MEMORY;
  void* q;
  if (posix_memalign(&q, 256, n)) return OUT_OF_MEMORY;           // the exact size, so that AddressSanitizer sees one byte too many
  memset(q, 0xff, n);                                             // NaN in F32, F16 and BF16: an output that nobody wrote shows
  *p = (CUdeviceptr)q; here->memory[*p] = n; here->used += n;
  SAY("alloc %zu\n", n);
  return OK;
}
API CUresult cuMemFree_v2(CUdeviceptr p) {
  LOCK; CONTEXT;
  auto i = here->memory.find(p);
  if (i == here->memory.end()) return INVALID_VALUE;
  drainAll(here);
  here->used -= i->second; here->memory.erase(i); free((void*)p);
  return OK;
}
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void* s, size_t n, void* st) { LOCK; CONTEXT; counts()["bytes up"] += n; if (!inside(d, n)) return INVALID_VALUE; return later((Stream*)st, [=] { memcpy((void*)d, s, n); return OK; }); }
API CUresult cuMemcpyDtoHAsync_v2(void* d, CUdeviceptr s, size_t n, void* st) { LOCK; CONTEXT; counts()["bytes down"] += n; if (!inside(s, n)) return INVALID_VALUE; return later((Stream*)st, [=] { memcpy(d, (void*)s, n); return OK; }); }
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr d, CUdeviceptr s, size_t n, void* st) { LOCK; CONTEXT; if (!inside(d, n) || !inside(s, n)) return INVALID_VALUE; return later((Stream*)st, [=] { memmove((void*)d, (void*)s, n); return OK; }); }
API CUresult cuMemcpyPeerAsync(CUdeviceptr d, void* dc, CUdeviceptr s, void* sc, size_t n, void* st) { LOCK; CONTEXT; if (!inside(d, n, (Device*)dc) || !inside(s, n, (Device*)sc)) return INVALID_VALUE; return later((Stream*)st, [=] { memcpy((void*)d, (void*)s, n); return OK; }); }
API CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, void* st) { LOCK; CONTEXT; if (!inside(d, n)) return INVALID_VALUE; return later((Stream*)st, [=] { memset((void*)d, v, n); return OK; }); }
API CUresult cuMemHostAlloc(void** p, size_t n, unsigned) { *p = aligned_alloc(4096, (n + 4095) & ~size_t(4095)); return *p ? OK : OUT_OF_MEMORY; }
API CUresult cuMemFreeHost(void* p) { LOCK; if (here) drainAll(here); free(p); return OK; }
API CUresult cuStreamCreate(void** s, unsigned) { LOCK; CONTEXT; auto* n = new Stream(); n->device = here; here->streams.push_back(n); *s = n; return OK; }
API CUresult cuStreamDestroy_v2(void* s) { LOCK; auto* x = (Stream*)s; drain(x); auto& v = x->device->streams; for (size_t i = 0; i < v.size(); i++) if (v[i] == x) v.erase(v.begin() + i--); delete x; return OK; }
API CUresult cuStreamSynchronize(void* s) { LOCK; CONTEXT; return s ? drain((Stream*)s) : INVALID_HANDLE; }
API CUresult cuStreamWaitEvent(void* s, void* e, unsigned) {
  LOCK; CONTEXT;
  Event now = *(Event*)e;                                         // a later record does not change this wait
  return later((Stream*)s, [now] { return now.stream ? now.stream->device->error : OK; }, now.stream, now.ticket);
}
API CUresult cuEventCreate(void** e, unsigned) { *e = new Event(); return OK; }
API CUresult cuEventRecord(void* e, void* s) {
  LOCK; CONTEXT;
  auto* x = (Event*)e;
  CUresult r = later((Stream*)s, [x] { x->at = std::chrono::steady_clock::now(); return OK; });
  x->stream = (Stream*)s; x->ticket = ((Stream*)s)->put;
  return r;
}
API CUresult cuEventSynchronize(void* e) { LOCK; CONTEXT; auto* x = (Event*)e; if (x->stream) runTo(x->stream, x->ticket); return here->error; }
API CUresult cuEventQuery(void* e) { LOCK; CONTEXT; auto* x = (Event*)e; return x->stream && x->stream->done < x->ticket ? NOT_READY : OK; }
API CUresult cuEventElapsedTime(float* ms, void* a, void* b) { *ms = std::chrono::duration<float, std::milli>(((Event*)b)->at - ((Event*)a)->at).count(); return OK; }
API CUresult cuEventDestroy_v2(void* e) { LOCK; auto* x = (Event*)e; if (x->stream) runTo(x->stream, x->ticket); delete x; return OK; }
API CUresult cuGetErrorName(int e, const char** s) {
  switch (e) {
    case OK: *s = "CUDA_SUCCESS"; break; case INVALID_VALUE: *s = "CUDA_ERROR_INVALID_VALUE"; break; case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case INVALID_DEVICE: *s = "CUDA_ERROR_INVALID_DEVICE"; break; case INVALID_IMAGE: *s = "CUDA_ERROR_INVALID_IMAGE"; break; case INVALID_CONTEXT: *s = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case UNSUPPORTED_PTX: *s = "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"; break; case INVALID_HANDLE: *s = "CUDA_ERROR_INVALID_HANDLE"; break;
    case NOT_FOUND: *s = "CUDA_ERROR_NOT_FOUND"; break; case LAUNCH_FAILED: *s = "CUDA_ERROR_LAUNCH_FAILED"; break; default: *s = "CUDA_ERROR_UNKNOWN";
  }
  return OK;
}
API CUresult cuGetErrorString(int e, const char** s) { *s = e == LAUNCH_FAILED ? "unspecified launch failure" : e == OUT_OF_MEMORY ? "out of memory" : "an error of the stand-in"; return OK; }

// ---------------------------------------------------------------- modules
struct Module { std::map<std::string, Kernel> kernels; };
API CUresult cuModuleLoadDataEx(void** mod, const void* image, unsigned, int*, void**) {
  LOCK; CONTEXT;
  if (registry().empty()) {
    auto path = setting("kernels");
    if (path.empty() || !dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) { fprintf(stderr, "[standin] no host kernels: %s\n", path.empty() ? "kernels is unset" : dlerror()); return NOT_FOUND; }
  }
  std::string ptx((const char*)image);
  size_t version = ptx.find(".version ");
  if (version == std::string::npos) return INVALID_IMAGE;
  double needs = atof(ptx.c_str() + version + 9);                 // PTX 7.0 came with CUDA 11.0, 8.0 with 12.0
  if (needs > number("version", 13000) / 1000 - 4) return UNSUPPORTED_PTX;
  std::unique_ptr<Module> m(new Module());
  for (size_t at = 0; (at = ptx.find(".entry ", at)) != std::string::npos;) {
    at += 7;
    size_t open = ptx.find('(', at), close = ptx.find(')', open);
    std::string name = ptx.substr(at, open - at), ps = ptx.substr(open + 1, close - open - 1);
    name.erase(name.find_last_not_of(" \t\r\n") + 1);
    std::vector<unsigned> sizes;
    for (size_t p = 0; (p = ps.find(".param", p)) != std::string::npos; p += 6) {
      size_t comma = ps.find(',', p);
      std::string one = ps.substr(p + 6, comma == std::string::npos ? comma : comma - p - 6);
      size_t bracket = one.find('[');
      if (bracket != std::string::npos) sizes.push_back(atoi(one.c_str() + bracket + 1));
      else sizes.push_back(atoi(one.c_str() + one.find_first_of("0123456789", one.find('.'))) / 8);
    }
    auto it = registry().find(name);
    if (it == registry().end() || it->second.sizes != sizes) {
      fprintf(stderr, "[standin] kernel %s: %s\n", name.c_str(), it == registry().end() ? "not in the host build" : "PTX and host build differ in their parameters");
      return INVALID_IMAGE;
    }
    m->kernels[name] = it->second;
  }
  *mod = m.release();
  return OK;
}
API CUresult cuModuleLoadData(void** m, const void* i) { return cuModuleLoadDataEx(m, i, 0, nullptr, nullptr); }
API CUresult cuModuleUnload(void* m) { LOCK; if (here) drainAll(here); delete (Module*)m; return OK; }
API CUresult cuModuleGetFunction(void** f, void* m, const char* name) { LOCK; auto& k = ((Module*)m)->kernels; auto i = k.find(name); if (i == k.end()) return NOT_FOUND; *f = &i->second; return OK; }
API CUresult cuFuncSetAttribute(void* f, int a, int v) { LOCK; if (a == 8) { if (v > 101376) return INVALID_VALUE; ((Kernel*)f)->maxDynamic = v; } return OK; }
API CUresult cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** params, void** extra) {
  LOCK; CONTEXT;
  Kernel* k = (Kernel*)f;
  u64 n = (u64)bx * by * bz;
  SAY("launch %s grid %u,%u,%u block %u,%u,%u shared %u\n", k->name.c_str(), gx, gy, gz, bx, by, bz, shared);
  if (!gx || !gy || !gz || gx > 0x7fffffffu || gy > 65535 || gz > 65535 || !n || n > 1024 || bz > 64 || (int)shared > k->maxDynamic || extra || (!params && !k->sizes.empty())) return INVALID_VALUE;
  counts()["launches"]++;
  counts()["launches on " + std::to_string(here->index)]++;
  counts()["launches of " + k->name]++;
  auto fail = setting("fail");
  if (!fail.empty() && fail.substr(0, fail.find(':')) == k->name) {
    long left = atol(fail.c_str() + fail.find(':') + 1) - 1;
    settings()["fail"] = left > 0 ? k->name + ":" + std::to_string(left) : "";
    if (left <= 0) return later((Stream*)stream, [] { return LAUNCH_FAILED; });
  }
  Launch l{k, {gx, gy, gz}, {bx, by, bz}, shared, {}};
  for (size_t i = 0; i < k->sizes.size(); i++) { std::vector<u64> v((k->sizes[i] + 7) / 8); memcpy(v.data(), params[i], k->sizes[i]); l.values.push_back(v); }
  return later((Stream*)stream, [l] { return runGrid(l); });
}
