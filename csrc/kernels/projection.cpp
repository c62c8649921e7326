// Projections of few rows: what takes the time is to read the weight, and to be called at all.
//
// The weight lies in panels of as many columns as two vectors have, laid out once for many calls, and is read from there in
// order.

#include "kernels/projection.h"

#include "kernels/along.h"
#include "kernels/bounds.h"
#include "kernels/entries.h"
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

// Blocks are alike, and of whole tiles but for the last.
std::int64_t rows_of_block(std::int64_t rows) {
  const std::int64_t blocks = blocks_of(rows), each = (rows + blocks - 1) / blocks;
  return (each + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
}

void projection_task(const void* given, std::int64_t index, float* room) {
  const Projection& call = *static_cast<const Projection*>(given);
  const std::int64_t blocks = blocks_of(call.rows), some = rows_of_block(call.rows), first = index % blocks * some;
  const std::int64_t panel = index / blocks * PANELS;
  const int rows = (int)least_of(some, call.rows - first), depth = (int)call.depth;
  const float* inputs = call.inputs + first * call.depth;
  float* products = room;
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

// A vector of columns at a time is turned in registers, as much of it as there is.
void pack_weight(const float* weight, std::int64_t depth, std::int64_t columns, float* packed) noexcept {
  for (std::int64_t panel = 0; panel < panels_of(columns); ++panel, packed += depth * PANEL)
    for (std::int64_t half = 0; half < PANEL; half += LANES) {
      const std::int64_t column = panel * PANEL + half;
      std::int64_t k = 0;
      if (column + LANES <= columns)
        for (; k + LANES <= depth; k += LANES) {
          Floats square[LANES];
          for (int lane = 0; lane < LANES; ++lane) square[lane] = load(weight + (column + lane) * depth + k);
          transpose(square);
          for (int lane = 0; lane < LANES; ++lane) store(packed + (k + lane) * PANEL + half, square[lane]);
        }
      for (; k < depth; ++k)
        for (std::int64_t lane = 0; lane < LANES; ++lane)
          packed[k * PANEL + half + lane] = column + lane < columns ? weight[(column + lane) * depth + k] : 0.0f;
    }
}

Status projection(const Projection& call) noexcept {
  const int threads = call.rows * call.depth * call.columns < FEW ? 1 : call.threads;
  const std::int64_t tasks = blocks_of(call.rows) * ((panels_of(call.columns) + PANELS - 1) / PANELS);
  return run_parallel(threads, tasks, (std::size_t)ROWS * PANEL, projection_task, &call);
}

}  // namespace regard::REGARD_ISA
