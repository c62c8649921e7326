// A square of LANES x LANES numbers, turned in registers.
#pragma once

#include <utility>

#include "simd/vector.h"

namespace regard::REGARD_ISA {

// Of two rows that lie STEP apart, the one that stays above (ABOVE), or the one that stays below: squares of STEP x STEP
// off the diagonal change places.
template <int STEP, bool ABOVE, std::size_t... LANE>
static inline Floats exchange(Floats x, Floats y, std::index_sequence<LANE...>) {
  return ABOVE ? __builtin_shufflevector(x, y, (LANE & STEP ? LANES + LANE - STEP : LANE)...)
               : __builtin_shufflevector(x, y, (LANE & STEP ? LANES + LANE : LANE + STEP)...);
}

template <int STEP>
static inline void turn(Floats (&rows)[LANES]) {
  constexpr auto lanes = std::make_index_sequence<LANES>{};
  for (int i = 0; i < LANES; ++i)
    if (!(i & STEP)) {
      const Floats x = rows[i], y = rows[i + STEP];
      rows[i] = exchange<STEP, true>(x, y, lanes);
      rows[i + STEP] = exchange<STEP, false>(x, y, lanes);
    }
}

static inline void transpose(Floats (&rows)[LANES]) {
  turn<1>(rows);
  turn<2>(rows);
  if constexpr (LANES >= 8) turn<4>(rows);
  if constexpr (LANES >= 16) turn<8>(rows);
}

// In lane i the sum of the lanes of row(i): of two vectors the upper and lower halves are added into one, and so on. Rows are
// asked for as they are needed, so that few of them are held.
template <int COUNT = LANES, typename Row>
[[gnu::always_inline]] static inline Floats sums_of(const Row& row, int first = 0) {
  if constexpr (COUNT == 1) {
    return row(first);
  } else {
    constexpr auto lanes = std::make_index_sequence<LANES>{};
    const Floats x = sums_of<COUNT / 2>(row, first), y = sums_of<COUNT / 2>(row, first + COUNT / 2);
    return exchange<COUNT / 2, true>(x, y, lanes) + exchange<COUNT / 2, false>(x, y, lanes);
  }
}

}  // namespace regard::REGARD_ISA
