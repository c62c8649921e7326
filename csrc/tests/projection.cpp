// Projections of few rows, against sums in double precision.

#include <cmath>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {

void projection_case() {
  constexpr float BEYOND = 7.0f;
  Projection call{};
  call.rows = below(2) ? 1 + below(13) : below(150), call.depth = 1 + below(below(2) ? 20 : 140), call.columns = 1 + below(below(2) ? 40 : 200);
  call.threads = 1 + below(3), call.relu = below(2);
  const auto numbers = [](std::int64_t count) {
    std::vector<float> found(static_cast<std::size_t>(count));
    for (float& number : found) number = normal();
    return found;
  };
  const std::vector<float> inputs = numbers(call.rows * call.depth), weight = numbers(call.columns * call.depth);
  const std::vector<float> bias = numbers(call.columns), added = numbers(call.rows * call.columns);
  const bool biased = below(2), adds = below(2), in_place = adds && below(2);
  call.inputs = inputs.data(), call.bias = biased ? bias.data() : nullptr;

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " projection of " + std::to_string(call.rows) + " rows, depth " + std::to_string(call.depth) +
                ", columns " + std::to_string(call.columns) + "\n";
    std::vector<float> packed(static_cast<std::size_t>((*set)->packed_numbers(call.depth, call.columns)) + 1, BEYOND);
    (*set)->pack_weight(weight.data(), call.depth, call.columns, packed.data());
    if (packed.back() != BEYOND) fail("packed beyond its end", BEYOND, packed.back());
    std::vector<float> outputs = added;
    outputs.push_back(BEYOND);
    call.packed = packed.data(), call.outputs = outputs.data(), call.added = !adds ? nullptr : in_place ? outputs.data() : added.data();
    if ((*set)->projection(call) != Status::done) fail("projection", 1, 0);
    if (outputs.back() != BEYOND) fail("written beyond its end", BEYOND, outputs.back());
    for (std::int64_t row = 0; row < call.rows; ++row) {
      const float* from = inputs.data() + row * call.depth;
      for (std::int64_t c = 0; c < call.columns; ++c) {
        double sum = biased ? bias[c] : 0.0, size = std::fabs(sum);
        for (std::int64_t k = 0; k < call.depth; ++k) {
          const double product = static_cast<double>(from[k]) * weight[c * call.depth + k];
          sum += product, size += std::fabs(product);
        }
        if (call.relu) sum = sum > 0.0 ? sum : 0.0;
        if (adds) sum += added[row * call.columns + c];
        near("projection", outputs[row * call.columns + c], sum, 3e-6 * (1.0 + size));
      }
    }
  }
}

}  // namespace regard::tests
