// SPDX-License-Identifier: Apache-2.0
//
// A paged cache of keys and values, and keys that lie in one or as rows.
#pragma once
#include "floats.cuh"
#include "rowwise.cuh"

// Beyond the element types: integers and E4M3.
enum PageType { INTEGERS = 3, SMALL = 4 };

__device__ __forceinline__ int bytes_of(int type) { return type == F32 ? 4 : type >= INTEGERS ? 1 : 2; }

struct Pages {
  u8* data;
  float* scales;
  int type, tokens, width, heads;

  // Where a token's row would lie if all were rows; -1 for nowhere. Scales do lie so.
  __device__ i64 line(const int* table, int token, int head) const {
    int page = table[token / tokens];
    return page < 0 ? -1 : ((i64)page * heads + head) * tokens + token % tokens;
  }

  // Of a channel, in elements.
  __device__ i64 turned(i64 line, int channel) const {
    return (line / tokens * width + channel) * tokens + line % tokens;
  }

  __device__ float value(i64 at) const {
    if (type == INTEGERS) return (float)((const signed char*)data)[at];
    return type == SMALL ? small_to_f32(data[at], 8) : load(data, at, type);
  }
};

// One key, of a head of a token.
struct Key {
  i64 at;  // where its channel 0 lies; -1 for nowhere
  float scale;
};

// Keys or values of the sequences of an operation: pages, or rows of F32, where `tokens` is 0. As io.llmc.gpu.KeySource
// packs it.
struct Source {
  Pages pages;
  int turned, unused;

  // @param table of the sequence's pages, where there are pages; else its first row is that one
  __device__ Key key(const int* table, i64 row, int token, int head) const {
    if (pages.tokens == 0) return {((row + token) * pages.heads + head) * pages.width, 1.f};
    i64 line = pages.line(table, token, head);
    if (line < 0) return {-1, 0.f};
    return {turned ? pages.turned(line, 0) : line * pages.width, pages.scales == nullptr ? 1.f : pages.scales[line]};
  }

  __device__ float value(const Key& key, int channel) const {
    if (key.at < 0) return 0.f;
    return pages.value(key.at + (turned ? (i64)channel * pages.tokens : channel)) * key.scale;
  }

  // Channels from that one on; zeros behind the last.
  __device__ void four(float (&x)[4], const Key& key, int channel) const {
    if (key.at >= 0 && pages.type <= BF16 && !turned) {
      load_four(x, pages.data, key.at + channel, pages.type, pages.width - channel, 0.f);
      return;
    }
    for (int j = 0; j < 4; j++) x[j] = channel + j < pages.width ? value(key, channel + j) : 0.f;
  }
};

// One sequence's queries, which are the last of its keys, in a launch.
struct Sequence {
  const int* tables[3];  // of pages
  i64 part;              // of what lies in memory between kernels, the first
  int row, length, keys;
  int first;  // row of the sequence's keys, where they are rows
  int all;    // keys, behind the last query too
  int unused;
  __device__ int position(int query) const { return keys - length + query; }
};

// As io.llmc.gpu.KeySource packs them: parameters, so that no copy goes before a launch.
struct Sequences {
  Sequence of[64];
};
