// A row of numbers of any length, a vector at a time.
#pragma once

#include "kernels/pack.h"

#define INLINE __attribute__((always_inline))

namespace regard::REGARD_ISA {

// Does `one(column, how many)` for vectors of columns, and for those that are left.
template <typename One>
INLINE static inline void along(std::int64_t column, std::int64_t last, const One& one) {
  for (; column + LANES <= last; column += LANES) one(column, LANES);
  if (column < last) one(column, (int)(last - column));
}

template <typename T>
INLINE static inline Floats read_some(const T* from, int count) {
  if (count == LANES) return read_lanes(from);
  Floats x{};
  for (int lane = 0; lane < count; ++lane) x[lane] = read(from + lane);
  return x;
}

template <typename T>
INLINE static inline void write_some(T* to, Floats x, int count) {
  if (count == LANES) return write_lanes(to, x);
  for (int lane = 0; lane < count; ++lane) write(to + lane, x[lane]);
}

}  // namespace regard::REGARD_ISA
