// Log-sum-exps of rows and their greatest numbers, against a stable sort.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {

void ranking_case() {
  constexpr float BEYOND = 7.0f;
  Ranking call{};
  call.rows = 1 + below(9), call.columns = 1 + below(below(2) ? 40 : 700), call.threads = 1 + below(3);
  call.count = below(3) ? static_cast<int>(below(std::min<int>(static_cast<int>(call.columns), 40) + 1)) : static_cast<int>(call.columns);
  std::vector<float> values(static_cast<std::size_t>(call.rows * call.columns));
  const int kind = below(4);  // 0: nothing is equal; 1: much is; 2: much is forbidden; 3: some are no numbers
  for (float& value : values) {
    value = kind == 1 ? static_cast<float>(below(5)) : 10.0f * normal();
    if (kind == 2 && below(3)) value = -INFINITY;
    if (kind == 3 && below(200) == 0) value = below(2) ? NAN : INFINITY;
  }
  call.values = values.data();

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " ranking of " + std::to_string(call.rows) + " rows of " + std::to_string(call.columns) + ", the " +
                std::to_string(call.count) + " greatest, kind " + std::to_string(kind) + "\n";
    const std::size_t found = static_cast<std::size_t>(call.rows * call.count);
    std::vector<float> best(found + 1, BEYOND), sums(static_cast<std::size_t>(call.rows) + 1, BEYOND);
    std::vector<std::int64_t> places(found + 1, 7);
    call.best = best.data(), call.places = places.data(), call.logsumexp = sums.data();
    if ((*set)->ranking(call) != Status::done) fail("ranking", 1, 0);
    if (best.back() != BEYOND || sums.back() != BEYOND || places.back() != 7) fail("written beyond its end", BEYOND, best.back());
    for (std::int64_t row = 0; row < call.rows; ++row) {
      const float* from = values.data() + row * call.columns;
      const bool strange = std::any_of(from, from + call.columns, [](float x) { return std::isnan(x); });
      const float highest = *std::max_element(from, from + call.columns, [](float x, float y) { return x < y; });
      double sum = 0.0;
      for (std::int64_t k = 0; k < call.columns; ++k) sum += std::exp(static_cast<double>(from[k]) - highest);
      if (strange || highest == INFINITY) {
        if (!std::isnan(sums[row])) fail("log-sum-exp of what is no number", NAN, sums[row]);
      } else if (highest == -INFINITY) {
        if (sums[row] != -INFINITY) fail("log-sum-exp of nothing", -INFINITY, sums[row]);
      } else {
        near("log-sum-exp", sums[row], highest + std::log(sum), 2e-6 * (1.0 + std::fabs(highest)));
      }
      std::vector<std::int64_t> order(static_cast<std::size_t>(call.columns));
      std::iota(order.begin(), order.end(), 0);
      if (!strange) std::stable_sort(order.begin(), order.end(), [&](std::int64_t x, std::int64_t y) { return from[x] > from[y]; });
      for (int k = 0; k < call.count; ++k) {
        const std::int64_t at = row * call.count + k;
        if (strange ? !std::isnan(best[at]) : places[at] != order[k] || best[at] != from[order[k]]) fail("ranking", order[k], places[at]);
      }
    }
  }
}

}  // namespace regard::tests
