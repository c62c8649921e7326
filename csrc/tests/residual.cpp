// Dropout, the residual sum and layer norm: results and gradients against sums in double precision.

#include <cmath>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {
namespace {

// Rows of numbers of a type, with room beyond the last one that nothing may touch.
struct Numbers {
  static constexpr std::size_t BEYOND = 3;
  Type type;
  std::vector<float> numbers;
  std::vector<std::uint16_t> halves;

  Numbers(Type type_, std::int64_t count, float scale) : type(type_), numbers(static_cast<std::size_t>(count) + BEYOND) {
    for (float& number : numbers) number = scale * normal();
    if (type == Type::float32) return;
    for (float& number : numbers) {
      std::uint32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      halves.push_back(static_cast<std::uint16_t>(bits >> 16));
      number = of_half(halves.back());
    }
  }
  void* data() { return type == Type::float32 ? static_cast<void*>(numbers.data()) : halves.data(); }
  double operator[](std::int64_t at) const { return type == Type::float32 ? numbers[at] : of_half(halves[at]); }
  bool whole(const Numbers& before) const {
    for (std::size_t n = numbers.size() - BEYOND; n < numbers.size(); ++n)
      if ((*this)[static_cast<std::int64_t>(n)] != before[static_cast<std::int64_t>(n)]) return false;
    return true;
  }
};

// Errors of means over a row grow as the root of what is added up, one number after the other.
void compare(const char* what, const Numbers& found, std::int64_t at, double expected, double size, std::int64_t width) {
  const double rounding = found.type == Type::float32 ? 2e-6 + 1e-7 * std::sqrt(width) : 0x1p-8;
  near(what, found[at], expected, rounding * (std::fabs(expected) + size * (found.type == Type::float32 ? 1.0 : 1e-2)));
}

}  // namespace

void residual_case() {
  const auto type = [] { return below(2) ? Type::bfloat16 : Type::float32; };
  Residual shape{};
  shape.rows = below(4) ? 1 + below(200) : below(2) * 9000, shape.width = 1 + below(below(2) ? 40 : 300);
  if (shape.rows == 9000) shape.width = 1 + below(3);
  if (below(8) == 0) shape.rows = below(3), shape.width = 5000 + below(9000);
  shape.type = type(), shape.branch_type = type(), shape.threads = 1 + below(3);
  const double p = 0.25 * below(4);
  shape.dropout = {random_bits(), static_cast<std::uint32_t>(std::ldexp(p, 32)), static_cast<float>(1.0 / (1.0 - p))};
  const std::int64_t count = shape.rows * shape.width;
  Numbers inputs(shape.type, count, 1.0f), branch(shape.branch_type, count, 1.0f), gradient(shape.type, count, 1.0f);
  Numbers other(shape.type, count, 1.0f), gain(Type::float32, shape.width, 1.0f), shift(Type::float32, shape.width, 1.0f);
  const bool alone = below(3) == 0, elsewhere = below(2);
  const auto factor = [&](std::int64_t at) {
    return kept(shape.dropout, 0, 0, static_cast<int>(at / shape.width), static_cast<int>(at % shape.width)) ? shape.dropout.scale : 0.0;
  };

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " rows " + std::to_string(shape.rows) + " width " + std::to_string(shape.width) + " p " +
                std::to_string(p) + "\n";
    const Numbers before(shape.type, count, 1.0f), branch_before(shape.branch_type, count, 1.0f);
    Numbers sum = before, again = before, normed = before, of_inputs = before, of_branch = branch_before;
    Numbers mean(Type::float32, shape.rows, 1.0f), inverse(Type::float32, shape.rows, 1.0f);
    Numbers of_gain(Type::float32, shape.width, 1.0f), of_shift(Type::float32, shape.width, 1.0f);

    ResidualForward forward{};
    static_cast<Residual&>(forward) = shape;
    forward.inputs = alone ? nullptr : inputs.data(), forward.branch = branch.data(), forward.sum = again.data();
    if ((*set)->residual(forward) != Status::done) fail("residual", 1, 0);
    forward.sum = sum.data(), forward.eps = 1e-5f, forward.normed = normed.data();
    forward.gain = gain.numbers.data(), forward.shift = shift.numbers.data();
    forward.mean = mean.numbers.data(), forward.inverse = inverse.numbers.data();
    if ((*set)->residual(forward) != Status::done) fail("residual", 1, 0);
    for (std::int64_t at = 0; at < count; ++at) {
      compare("sum", sum, at, branch[at] * factor(at) + (alone ? 0.0 : inputs[at]), 0.1, shape.width);
      near("sum without a norm", again[at], sum[at], 0.0);
    }

    ResidualBackward backward{};
    static_cast<Residual&>(backward) = shape;
    backward.sum = sum.data(), backward.normed_gradient = gradient.data(), backward.sum_gradient = elsewhere ? other.data() : nullptr;
    backward.mean = mean.numbers.data(), backward.inverse = inverse.numbers.data(), backward.gain = gain.numbers.data();
    backward.inputs_gradient = alone ? nullptr : of_inputs.data(), backward.branch_gradient = of_branch.data();
    backward.gain_gradient = of_gain.numbers.data(), backward.shift_gradient = of_shift.numbers.data();
    if ((*set)->residual_backward(backward) != Status::done) fail("gradients of a residual", 1, 0);

    std::vector<Sum> gains(static_cast<std::size_t>(shape.width)), shifts(static_cast<std::size_t>(shape.width));
    for (std::int64_t first = 0; first < count; first += shape.width) {
      double average = 0.0, variance = 0.0, total = 0.0, products = 0.0;
      for (std::int64_t k = 0; k < shape.width; ++k) average += sum[first + k] / static_cast<double>(shape.width);
      for (std::int64_t k = 0; k < shape.width; ++k) variance += std::pow(sum[first + k] - average, 2) / static_cast<double>(shape.width);
      const double scale = 1.0 / std::sqrt(variance + forward.eps);
      const auto unit = [&](std::int64_t k) { return (sum[first + k] - average) * scale; };
      for (std::int64_t k = 0; k < shape.width; ++k) {
        const double g = gradient[first + k];
        total += g * gain[k] / static_cast<double>(shape.width), products += g * gain[k] * unit(k) / static_cast<double>(shape.width);
        gains[k].add(g * unit(k), g * unit(k)), shifts[k].add(g, g);
      }
      for (std::int64_t k = 0; k < shape.width; ++k) {
        const std::int64_t at = first + k;
        // Rounded is the mean: where a row is nearly constant, that is multiplied by a large scale; and it is the sum of many.
        const double many = 1.0 + static_cast<double>(shape.width) / 2000.0;
        compare("normed", normed, at, unit(k) * gain[k] + shift[k], (3.0 + scale) * many, shape.width);
        const double found = (gradient[at] * gain[k] - total - unit(k) * products) * scale + (elsewhere ? other[at] : 0.0);
        const double size = (5.0 + scale) * (1.0 + scale);
        if (!alone) compare("gradient of inputs", of_inputs, at, found, size, shape.width);
        compare("gradient of the branch", of_branch, at, found * factor(at), 4.0 * size, shape.width);
      }
    }
    for (std::int64_t k = 0; k < shape.width; ++k) {
      near("gradient of the gain", of_gain[k], gains[k].value, (1e-5 + 3e-7 * std::sqrt(shape.width)) * (1.0 + std::sqrt(gains[k].squares)));
      near("gradient of the shift", of_shift[k], shifts[k].value, 1e-5 * (1.0 + std::sqrt(shifts[k].squares)));
    }
    if (!sum.whole(before) || !normed.whole(before) || !of_inputs.whole(before) || !of_branch.whole(branch_before))
      fail("written beyond the last number", 1, 0);
  }
  described.clear();
}

}  // namespace regard::tests
