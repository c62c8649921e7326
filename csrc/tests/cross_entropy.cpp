// Output projection and cross-entropy: the loss and its gradients against sums in double precision.

#include <cmath>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {

void cross_entropy_case() {
  const Type type = below(2) ? Type::bfloat16 : Type::float32;
  const int rows = below(4) ? 1 + below(300) : below(2), vocabulary = 1 + below(below(2) ? 20 : 900);
  const int width = below(2) ? 1 + below(40) : 16 * (1 + below(4));
  const float smoothing = below(2) ? 0.0f : 0.1f;
  std::vector<float> hidden(static_cast<std::size_t>(rows * width)), weight(static_cast<std::size_t>(vocabulary * width));
  for (float& number : hidden) number = normal();
  for (float& number : weight) number = normal() * 0.3f;
  const auto narrow = [](std::vector<float>& numbers) {
    std::vector<std::uint16_t> found;
    for (float& number : numbers) {
      std::uint32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      found.push_back(static_cast<std::uint16_t>(bits >> 16));
      number = of_half(found.back());
    }
    return found;
  };
  std::vector<std::uint16_t> hidden_halves, weight_halves;
  if (type == Type::bfloat16) hidden_halves = narrow(hidden), weight_halves = narrow(weight);
  std::vector<std::int64_t> target;
  for (int i = 0; i < rows; ++i) target.push_back(below(vocabulary));

  double expected = 0.0;
  std::vector<Sum> of_hidden(hidden.size()), of_weight(weight.size());
  for (int i = 0; i < rows; ++i) {
    std::vector<double> logits(static_cast<std::size_t>(vocabulary));
    double highest = -INFINITY, sum = 0.0;
    for (int v = 0; v < vocabulary; ++v) {
      for (int k = 0; k < width; ++k) logits[v] += static_cast<double>(hidden[i * width + k]) * weight[v * width + k];
      highest = std::fmax(highest, logits[v]);
    }
    for (double logit : logits) sum += std::exp(logit - highest);
    for (int v = 0; v < vocabulary; ++v) {
      const double wanted = (v == target[i] ? 1.0 - smoothing : 0.0) + static_cast<double>(smoothing) / vocabulary;
      expected -= wanted * (logits[v] - highest - std::log(sum));
      const double share = std::exp(logits[v] - highest) / sum / rows, change = share - wanted / rows;
      for (int k = 0; k < width; ++k) {  // rounded are the shares, from which what is wanted is taken away
        const double w = weight[v * width + k], h = hidden[i * width + k];
        of_hidden[i * width + k].add(change * w, share * w), of_weight[v * width + k].add(change * h, share * h);
      }
    }
  }

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " rows " + std::to_string(rows) + " width " + std::to_string(width) + " vocabulary " +
                std::to_string(vocabulary) + "\n";
    const bool half = type == Type::bfloat16;
    double loss = NAN;
    std::vector<float> hidden_gradient(hidden.size(), NAN), weight_gradient(weight.size(), NAN);
    CrossEntropy call{rows, width, vocabulary, type, half ? static_cast<const void*>(hidden_halves.data()) : hidden.data(),
                      half ? static_cast<const void*>(weight_halves.data()) : weight.data(), target.data(), smoothing, &loss,
                      hidden_gradient.data(), weight_gradient.data(), 1 + below(3)};
    if ((*set)->cross_entropy(call) != Status::done) fail("cross-entropy", 1, 0);
    near("loss", loss, expected, 1e-5 * (1.0 + std::fabs(expected)) + 2e-7 * rows);
    Distance hidden_distance("gradient of hidden states", 1e-5, half), weight_distance("gradient of the projection", 1e-5, half);
    for (std::size_t n = 0; n < hidden.size(); ++n) hidden_distance.add(hidden_gradient[n], of_hidden[n]);
    for (std::size_t n = 0; n < weight.size(); ++n) weight_distance.add(weight_gradient[n], of_weight[n]);
    double alone = NAN;
    call.loss = &alone, call.hidden_gradient = call.weight_gradient = nullptr;
    if ((*set)->cross_entropy(call) != Status::done) fail("cross-entropy", 1, 0);
    near("loss without gradients", alone, loss, 0.0);
  }
  described.clear();
}

}  // namespace regard::tests
