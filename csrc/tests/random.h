// What the tests of kernels share: random numbers and tensors, and how results are compared.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/keep.h"

namespace regard::tests {

inline std::mt19937_64 random_bits;

inline int below(int limit) { return static_cast<int>(random_bits() % static_cast<std::uint64_t>(limit)); }
inline float normal() { return std::normal_distribution<float>()(random_bits); }

inline std::vector<float> numbers(std::int64_t count, float scale = 1.0f) {
  std::vector<float> found(static_cast<std::size_t>(count));
  for (float& number : found) number = scale * normal();
  return found;
}

inline std::string described;  // what is running, where a message should say it

[[noreturn]] inline void fail(const char* what, double found, double expected) {
  std::printf("%s: %.9g, expected %.9g\n%s", what, found, expected, described.c_str());
  std::exit(1);
}

inline void near(const char* what, double found, double expected, double error) {
  if (!(std::fabs(found - expected) <= error)) fail(what, found, expected);
}

inline float of_half(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

// A tensor with room around each row, and between its numbers where they are to be `step` apart, filled at random; in bfloat16
// the same numbers, which then are such.
struct Random {
  std::vector<float> numbers;
  std::vector<std::uint16_t> halves;
  Tensor tensor;

  Random(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t columns, Type type = Type::float32, int step = 1)
      : numbers(static_cast<std::size_t>(batch * heads * rows * (columns * step + 3))) {
    for (float& number : numbers) number = normal();
    const std::int64_t row = columns * step + 3;
    tensor = {numbers.data(), heads * rows * row, rows * row, row, step};
    if (type == Type::float32) return;
    halves.resize(numbers.size());
    narrow();
    tensor.data = halves.data();
  }
  void narrow() {  // what the kernels read
    for (std::size_t n = 0; n < halves.size(); ++n) {
      std::uint32_t bits;
      std::memcpy(&bits, &numbers[n], sizeof bits);
      halves[n] = static_cast<std::uint16_t>(bits >> 16);
    }
    widen();
  }
  void widen() {  // what the kernels wrote
    for (std::size_t n = 0; n < halves.size(); ++n) numbers[n] = of_half(halves[n]);
  }
  void set(std::int64_t b, std::int64_t h, std::int64_t i, int columns, float number) {  // a row
    std::uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    for (int j = 0; j < columns; ++j) {
      at(b, h, i, j) = number;
      if (!halves.empty()) halves[static_cast<std::size_t>(&at(b, h, i, j) - numbers.data())] = static_cast<std::uint16_t>(bits >> 16);
    }
  }
  float& at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
    return numbers[static_cast<std::size_t>(b * tensor.batch + h * tensor.head + i * tensor.row + j * tensor.column)];
  }
};

// Places of the gradients of keys or values, heads before or after keys.
struct Summed {
  std::vector<float> numbers;
  Places places;
  std::int64_t parts;

  Summed(std::int64_t batch, std::int64_t kv_heads, std::int64_t parts_, std::int64_t keys, std::int64_t width)
      : numbers(static_cast<std::size_t>(batch * kv_heads * parts_ * keys * width), NAN), parts(parts_) {
    const std::int64_t all = kv_heads * parts * keys * width;
    places = below(2) ? Places{numbers.data(), all, parts * keys * width, keys * width, width}
                      : Places{numbers.data(), all, width, kv_heads * width, parts * kv_heads * width};
  }
  double at(std::int64_t b, std::int64_t g, std::int64_t j, std::int64_t k) const {
    double total = 0.0;
    for (std::int64_t part = 0; part < parts; ++part)
      total += numbers[static_cast<std::size_t>(b * places.batch + g * places.head + part * places.part + j * places.row + k)];
    return total;
  }
};

inline bool kept(const Dropout& dropout, int b, int h, int i, int j) {
  using plain::mix;
  const std::uint32_t low = static_cast<std::uint32_t>(dropout.seed), high = static_cast<std::uint32_t>(dropout.seed >> 32);
  const std::uint32_t row = mix(mix((mix(low ^ static_cast<std::uint32_t>(b)) + static_cast<std::uint32_t>(h)) ^ high) +
                                static_cast<std::uint32_t>(i));
  return mix(mix(static_cast<std::uint32_t>(j) ^ mix(row)) + row) >= dropout.threshold;
}

// A sum, and the sum of the squares of what is added up: so large are the errors of bfloat16, which rounds every weight,
// also where the sum is small.
struct Sum {
  double value = 0.0, squares = 0.0;

  void add(double one, double size) { value += one, squares += size * size; }
};

// How far results are from what they should be: each of float32 within `error`; of bfloat16 all of them together within half a
// hundredth of what was added up.
struct Distance {
  const char* what;
  double error, of_all = 0.0, squares = 0.0;
  bool half;

  Distance(const char* what_, double error_, bool half_) : what(what_), error(error_), half(half_) {}
  void add(double found, const Sum& expected) {
    if (!half) near(what, found, expected.value, error);
    if (std::isnan(found)) fail(what, found, expected.value);
    of_all += (found - expected.value) * (found - expected.value), squares += expected.squares;
  }
  ~Distance() {
    if (half) near(what, std::sqrt(of_all), 0.0, 0.005 * std::sqrt(squares) + 1e-4);
  }
};

// One random call whose rows of weights are kept, forward and backward, by every instruction set: csrc/tests/rows.cpp.
void rows_case();

// One random output projection with its loss and gradients: csrc/tests/cross_entropy.cpp.
void cross_entropy_case();

// One random call of attention to points of maps, and its gradients: csrc/tests/points.cpp.
void points_case();

// One random residual sum with dropout and layer norm, and gradients: csrc/tests/residual.cpp.
void projection_case();
void ranking_case();
void steps_case();
void search_case();
void residual_case();

}  // namespace regard::tests
