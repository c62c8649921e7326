// Attention to points of maps: results and gradients against sums in double precision.

#include <cmath>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {
namespace {

// The cells that a point of a map is mixed from, and their shares; by hand, one side after the other.
struct Mixed {
  std::vector<std::pair<std::int64_t, double>> cells;

  Mixed(const float* where, std::int64_t rows, std::int64_t columns) {
    const auto along = [](float share, std::int64_t length) {
      // As the kernel rounds it, so that both see the same cells.
      const double at = std::fmin(std::fmax(share * static_cast<float>(length) - 0.5f, 0.0f), static_cast<float>(length - 1));
      const std::int64_t low = static_cast<std::int64_t>(at);
      return std::vector<std::pair<std::int64_t, double>>{{low, 1.0 - (at - low)}, {std::min(low + 1, length - 1), at - low}};
    };
    for (const auto& [row, down] : along(where[1], rows))
      for (const auto& [column, across] : along(where[0], columns)) cells.push_back({row * columns + column, down * across});
  }
};

}  // namespace

void points_case() {
  Points shape{};
  shape.batch = below(4), shape.queries = below(6), shape.heads = 1 + below(4), shape.width = 1 + below(below(2) ? 6 : 40);
  shape.levels = 1 + below(3), shape.points = 1 + below(9), shape.threads = 1 + below(3), shape.scale = 0.3f;
  if (below(6) == 0) shape.batch = 1 + below(2), shape.queries = 90, shape.heads = 4, shape.width = 32;  // on several threads
  std::vector<std::int64_t> sizes, firsts;
  for (std::int64_t level = 0; level < shape.levels; ++level) {
    firsts.push_back(shape.cells);
    sizes.push_back(1 + below(6)), sizes.push_back(1 + below(6));
    shape.cells += sizes[2 * level] * sizes[2 * level + 1];
  }
  const std::int64_t width = shape.heads * shape.width, keys = shape.levels * shape.points, queries = shape.batch * shape.queries;
  const std::vector<float> query = numbers(queries * width), memory = numbers(shape.batch * shape.cells * 2 * width);
  const std::vector<float> place = numbers(keys * width), gradient = numbers(queries * width);
  std::vector<float> where = numbers(queries * shape.points * 2);  // half of them lie outside
  shape.sizes = sizes.data(), shape.query = query.data(), shape.memory = memory.data();
  shape.where = where.data(), shape.place = place.data();

  std::vector<double> context(query.size()), of_query(query.size()), of_memory(memory.size()), of_place(place.size());
  for (std::int64_t at = 0; at < queries; ++at)
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      const std::int64_t picture = at / shape.queries;
      const float* q = query.data() + at * width + head * shape.width;
      const float* g = gradient.data() + at * width + head * shape.width;
      std::vector<Mixed> mixed;
      std::vector<std::vector<double>> key, value;
      std::vector<double> weight;
      const auto memory_at = [&](std::int64_t n, std::int64_t cell, int kind) {
        return ((picture * shape.cells + firsts[n / shape.points] + cell) * 2 + kind) * width + head * shape.width;
      };
      double total = 0.0, mean = 0.0;
      for (std::int64_t n = 0; n < keys; ++n) {
        const std::int64_t level = n / shape.points;
        mixed.emplace_back(where.data() + 2 * (at * shape.points + n % shape.points), sizes[2 * level], sizes[2 * level + 1]);
        key.emplace_back(shape.width), value.emplace_back(shape.width);
        double score = 0.0;
        for (std::int64_t k = 0; k < shape.width; ++k) {
          key[n][k] = place[n * width + head * shape.width + k];
          for (const auto& [cell, share] : mixed[n].cells)
            key[n][k] += share * memory[memory_at(n, cell, 0) + k], value[n][k] += share * memory[memory_at(n, cell, 1) + k];
          score += q[k] * key[n][k];
        }
        weight.push_back(std::exp(score * shape.scale)), total += weight[n];
      }
      std::vector<double> slope(keys);
      for (std::int64_t n = 0; n < keys; ++n) {
        weight[n] /= total;
        for (std::int64_t k = 0; k < shape.width; ++k) {
          context[at * width + head * shape.width + k] += weight[n] * value[n][k];
          slope[n] += g[k] * value[n][k];
        }
        mean += weight[n] * slope[n];
      }
      for (std::int64_t n = 0; n < keys; ++n) {
        const double of_score = weight[n] * (slope[n] - mean) * shape.scale;
        for (std::int64_t k = 0; k < shape.width; ++k) {
          of_query[at * width + head * shape.width + k] += of_score * key[n][k];
          of_place[n * width + head * shape.width + k] += of_score * q[k];
          for (const auto& [cell, share] : mixed[n].cells) {
            of_memory[memory_at(n, cell, 0) + k] += share * of_score * q[k];
            of_memory[memory_at(n, cell, 1) + k] += share * weight[n] * g[k];
          }
        }
      }
    }

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " batch " + std::to_string(shape.batch) + " queries " + std::to_string(shape.queries) +
                " heads " + std::to_string(shape.heads) + " width " + std::to_string(shape.width) + " keys " + std::to_string(keys) + "\n";
    std::vector<float> found(query.size(), NAN), query_found(query.size(), NAN), memory_found(memory.size(), NAN);
    std::vector<float> place_found(place.size(), NAN);
    PointsForward forward{};
    static_cast<Points&>(forward) = shape;
    forward.context = found.data();
    if ((*set)->points(forward) != Status::done) fail("points", 1, 0);
    PointsBackward backward{};
    static_cast<Points&>(backward) = shape;
    backward.context_gradient = gradient.data(), backward.query_gradient = query_found.data();
    backward.memory_gradient = memory_found.data(), backward.place_gradient = place_found.data();
    if ((*set)->points_backward(backward) != Status::done) fail("gradients of points", 1, 0);
    const auto compare = [](const char* what, const std::vector<float>& numbers, const std::vector<double>& expected, double many) {
      for (std::size_t n = 0; n < numbers.size(); ++n) near(what, numbers[n], expected[n], 2e-5 * many * (1.0 + std::fabs(expected[n])));
    };
    const double many = 1.0 + static_cast<double>(queries) / 50.0;  // sums over queries
    compare("context", found, context, 1.0), compare("gradient of queries", query_found, of_query, 2.0);
    compare("gradient of the memory", memory_found, of_memory, many), compare("gradient of places", place_found, of_place, many);
  }
  described.clear();
}

}  // namespace regard::tests
