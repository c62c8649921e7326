// The greatest of a row are found in one pass: hardly any number is greater than the least of the greatest so far.

#include "kernels/ranking.h"

#include "kernels/along.h"
#include "kernels/block.h"
#include "kernels/entries.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

constexpr int TOGETHER_LANES = 4 * LANES;  // that are asked about at once
constexpr std::int64_t FEW = 1 << 15;      // numbers that are not worth a second thread

// The greatest number; NaN if there is one.
float highest_of_row(const float* row, std::int64_t columns) {
  Floats highest = broadcast(-__builtin_inff());
  Ints strange{};
  along(0, columns, [&](std::int64_t k, int count) INLINE {
    Floats x = read_some(row + k, count);
    for (int lane = count; lane < LANES; ++lane) x[lane] = -__builtin_inff();
    highest = larger(x, highest), strange |= x != x;
  });
  if (any(strange)) return __builtin_nanf("");
  float found = highest[0];
  for (int lane = 1; lane < LANES; ++lane) found = highest[lane] > found ? highest[lane] : found;
  return found;
}

float logsumexp_of_row(const float* row, std::int64_t columns, float highest) {
  if (!(highest - highest == 0.0f)) return highest == -__builtin_inff() ? highest : __builtin_nanf("");
  Floats sums[2]{};
  const Floats base = broadcast(highest * LOG2_E);
  std::int64_t k = 0;
  for (; k + 2 * LANES <= columns; k += 2 * LANES) {
    sums[0] += exp2(load(row + k) * LOG2_E - base);
    sums[1] += exp2(load(row + k + LANES) * LOG2_E - base);
  }
  along(k, columns, [&](std::int64_t at, int count) INLINE {
    Floats x = exp2(read_some(row + at, count) * LOG2_E - base);
    for (int lane = count; lane < LANES; ++lane) x[lane] = 0.0f;
    sums[0] += x;
  });
  const Floats sum = sums[0] + sums[1];
  float total = 0.0f;
  for (int lane = 0; lane < LANES; ++lane) total += sum[lane];
  return highest + log2(broadcast(total))[0] * LN_2;
}

// Puts a number behind those that are as great, in front of those that are less.
INLINE inline void insert(float* best, std::int64_t* places, int held, float x, std::int64_t place) {
  int at = held;
  for (; at > 0 && best[at - 1] < x; --at) best[at] = best[at - 1], places[at] = places[at - 1];
  best[at] = x, places[at] = place;
}

void rank_row(const float* row, std::int64_t columns, int count, float* best, std::int64_t* places) {
  for (int k = 0; k < count; ++k) insert(best, places, k, row[k], k);
  std::int64_t k = count;
  const auto take = [&](std::int64_t last) INLINE {
    for (; k < last; ++k)
      if (row[k] > best[count - 1]) insert(best, places, count - 1, row[k], k);
  };
  for (; k + TOGETHER_LANES <= columns;) {
    const Floats least = broadcast(best[count - 1]);
    Ints greater{};
    for (int lane = 0; lane < TOGETHER_LANES; lane += LANES) greater |= load(row + k + lane) > least;
    if (any(greater)) take(k + TOGETHER_LANES);
    else k += TOGETHER_LANES;
  }
  take(columns);
}

void ranking_task(const void* given, std::int64_t row, float*) {
  const Ranking& call = *static_cast<const Ranking*>(given);
  const float *values = call.values + row * call.columns, highest = highest_of_row(values, call.columns);
  if (call.logsumexp) call.logsumexp[row] = logsumexp_of_row(values, call.columns, highest);
  if (!call.count) return;
  float* best = call.best + row * call.count;
  std::int64_t* places = call.places + row * call.count;
  if (highest == highest) return rank_row(values, call.columns, call.count, best, places);
  for (int k = 0; k < call.count; ++k) best[k] = highest, places[k] = k;
}

}  // namespace

Status ranking(const Ranking& call) noexcept {
  const int threads = call.rows * call.columns < FEW ? 1 : call.threads;
  return run_parallel(threads, call.rows, 1, ranking_task, &call);
}

}  // namespace regard::REGARD_ISA
