// Projections of few rows: what takes the time is to read the weight, and to be called at all.
//
// The weight lies in panels of as many columns as two vectors have, laid out once for many calls, and is read from there in
// order. A task has some panels and a block of rows, which it norms for itself: of so few rows that costs less than to
// wait for others.

#include "kernels/projection.h"

#include "kernels/along.h"
#include "kernels/bounds.h"
#include "kernels/entries.h"
#include "kernels/norm.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

constexpr int PANEL = 2 * LANES;         // columns that are multiplied at a time
constexpr int ROWS = 8 * TILE_ROWS;      // of a task: with their inputs they stay in the caches
constexpr int PANELS = 4;                // of a task
constexpr std::int64_t FEW = 1 << 17;    // products that are not worth a second thread

std::int64_t panels_of(std::int64_t columns) { return (columns + PANEL - 1) / PANEL; }

// What a product becomes: a row of a panel.
INLINE inline void finish(const Projection& call, const float* products, std::int64_t row, std::int64_t column, int columns) {
  const std::int64_t at = row * call.columns + column;
  along(0, columns, [&](std::int64_t k, int count) INLINE {
    Floats x = load(products + k);
    if (call.bias) x += read_some(call.bias + column + k, count);
    if (call.relu) x = larger(x, Floats{});
    if (call.added) x += read_some(call.added + at + k, count);
    write_some(call.outputs + at + k, x, count);
  });
}

std::int64_t blocks_of(std::int64_t rows) { return (rows + ROWS - 1) / ROWS; }

void projection_task(const void* given, std::int64_t index, float* room) {
  const Projection& call = *static_cast<const Projection*>(given);
  const std::int64_t blocks = blocks_of(call.rows), first = index % blocks * ROWS, panel = index / blocks * PANELS;
  const int rows = (int)least_of(ROWS, call.rows - first), depth = (int)call.depth;
  const float* inputs = call.inputs + first * call.depth;
  float *products = room, *normed = room + ROWS * PANEL;
  if (call.gain) {
    for (int row = 0; row < rows; ++row)
      norm_row(inputs + row * call.depth, normed + row * call.depth, call.depth, call.gain, call.shift, call.eps);
    inputs = normed;
  }
  const std::int64_t last = least_of(panel + PANELS, panels_of(call.columns));
  for (std::int64_t p = panel; p < last; ++p) {
    product<false>(Left<float>{inputs, call.depth, 1}, call.packed + p * call.depth * PANEL, PANEL, rows, PANEL, depth, products, PANEL);
    const std::int64_t column = p * PANEL;
    const int columns = (int)least_of(PANEL, call.columns - column);
    for (int row = 0; row < rows; ++row) finish(call, products + row * PANEL, first + row, column, columns);
  }
}

}  // namespace

std::int64_t packed_numbers(std::int64_t depth, std::int64_t columns) noexcept { return panels_of(columns) * depth * PANEL; }

void pack_weight(const float* weight, std::int64_t depth, std::int64_t columns, float* packed) noexcept {
  for (std::int64_t panel = 0; panel < panels_of(columns); ++panel)
    for (std::int64_t k = 0; k < depth; ++k)
      for (std::int64_t c = 0; c < PANEL; ++c, ++packed) {
        const std::int64_t column = panel * PANEL + c;
        *packed = column < columns ? weight[column * depth + k] : 0.0f;
      }
}

Status projection(const Projection& call) noexcept {
  const int threads = call.rows * call.depth * call.columns < FEW ? 1 : call.threads;
  const std::int64_t tasks = blocks_of(call.rows) * ((panels_of(call.columns) + PANELS - 1) / PANELS);
  const std::size_t room = (std::size_t)ROWS * (PANEL + (call.gain ? (std::size_t)call.depth : 0));
  return run_parallel(threads, tasks, room, projection_task, &call);
}

}  // namespace regard::REGARD_ISA
