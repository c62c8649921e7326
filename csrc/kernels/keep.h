// Which weights dropout keeps: the contract of regard/ops/random.py, with the queries in the lanes.
#pragma once

#include "kernels/bounds.h"

namespace regard::REGARD_ISA {

template <typename Word>
static inline Word mix(Word x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

struct Keep {
  std::uint32_t row[QUERIES], mixed[QUERIES], threshold;
  float scale;

  void read(const Dropout& dropout, std::int64_t batch, std::int64_t head, std::int64_t first) {
    threshold = dropout.threshold, scale = dropout.scale;
    const std::uint32_t low = (std::uint32_t)dropout.seed, high = (std::uint32_t)(dropout.seed >> 32);
    const std::uint32_t start = mix((mix(low ^ (std::uint32_t)batch) + (std::uint32_t)head) ^ high);
    for (int i = 0; i < QUERIES; ++i) {
      row[i] = mix(start + (std::uint32_t)(first + i));
      mixed[i] = mix(row[i]);
    }
  }

  // What the weights of the lanes from `lane` on are multiplied by.
  Floats factor(int lane, int key) const {
    Words rows, mixes;
    __builtin_memcpy(&rows, row + lane, sizeof rows);
    __builtin_memcpy(&mixes, mixed + lane, sizeof mixes);
    const Words bits = mix(mix((std::uint32_t)key ^ mixes) + rows);
    return select((Ints)(bits >= threshold), broadcast(scale), Floats{});
  }

  // The same of one query, with keys in the lanes.
  Floats factors_of(int query, Words keys) const {
    const Words bits = mix(mix(keys ^ mixed[query]) + row[query]);
    return select((Ints)(bits >= threshold), broadcast(scale), Floats{});
  }

  float factor_of(int query, int key) const {
    return mix(mix((std::uint32_t)key ^ mixed[query]) + row[query]) >= threshold ? scale : 0.0f;
  }
};

}  // namespace regard::REGARD_ISA
