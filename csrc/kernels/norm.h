// Layer norm of a row, forward alone.
#pragma once

#include "kernels/along.h"

namespace regard::REGARD_ISA {

static inline float sum_of_lanes(Floats x) {
  float total = 0.0f;
  for (int lane = 0; lane < LANES; ++lane) total += x[lane];
  return total;
}

// to = (from - mean) / sqrt(variance + eps) * gain + shift; `to` may be `from`.
static inline void norm_row(const float* from, float* to, std::int64_t width, const float* gain, const float* shift, float eps) {
  Floats sums{};
  along(0, width, [&](std::int64_t k, int count) INLINE { sums += read_some(from + k, count); });
  const float mean = sum_of_lanes(sums) / (float)width;
  Floats squares{};
  along(0, width, [&](std::int64_t k, int count) INLINE {
    Floats x = read_some(from + k, count) - mean;
    for (int lane = count; lane < LANES; ++lane) x[lane] = 0.0f;
    squares += x * x;
  });
  const float inverse = 1.0f / __builtin_sqrtf(sum_of_lanes(squares) / (float)width + eps);
  along(0, width, [&](std::int64_t k, int count) INLINE {
    const Floats x = (read_some(from + k, count) - mean) * inverse;
    write_some(to + k, x * read_some(gain + k, count) + read_some(shift + k, count), count);
  });
}

}  // namespace regard::REGARD_ISA
