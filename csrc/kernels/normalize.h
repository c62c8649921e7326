// From the kept scores of a block's queries to their weights, and from the gradients of weights to those of scores.
//
// All scores of a block are kept, a key a row and a query a lane: O(keys) numbers. So every normaliser is its definition
// on whole rows. Weights that are zero for all queries of a block may be left out: the other rows are moved to the front.
#pragma once

#include "kernels/terms.h"

namespace regard::REGARD_ISA {

constexpr int FIRST_STEPS = 2;       // of Newton's, after which few keys are left
constexpr int MOST_STEPS = 40;       // a few are enough
constexpr float LOWEST = -2.0f;      // below the highest score: more than 1 below there is no weight
constexpr float PRECISE = 1.2e-7f;   // a step that changes nothing

// The kept numbers of a block, (count, QUERIES), and which of all keys that the group may see each row is of.
struct Kept {
  float* numbers;
  int* rows;
  int count;

  // Move the rows that `keep` wants to the front; `keep` may change them, and is told where from and where to.
  template <typename Keep>
  void filter(const Keep& keep) {
    int held = 0;
    for (int n = 0; n < count; ++n)
      if (keep(numbers + n * QUERIES, numbers + held * QUERIES, n)) rows[held++] = rows[n];
    count = held;
  }
};

// Of some lanes.
static inline Floats highest_of(const float* numbers, int count) {
  Floats highest = broadcast(-__builtin_inff());
  for (int n = 0; n < count; ++n) highest = larger(load(numbers + n * QUERIES), highest);
  return highest;
}

// Scores below the k highest become -inf; of equal ones the first stay. The k-th highest is found by halving what is left of
// the order of floats, which is that of their bits.
static inline Ints ordered(Floats x) {
  const Ints bits = bits_of(x + 0.0f);  // of two zeros one
  return bits ^ (Ints)((Words)(bits >> 31) >> 1);
}

static inline void keep_highest(float* numbers, int count, std::int64_t k) {
  if (k >= count) return;
  Ints low = ordered(broadcast(-__builtin_inff())), high = ordered(broadcast(__builtin_inff()));  // `low` has k above or at it
  const Ints wanted = broadcast((std::int32_t)k);
  while (any(low != high)) {
    const Ints middle = (Ints)((Words)high - (((Words)high - (Words)low) >> 1));  // above low
    Ints at_least{};
    for (int n = 0; n < count; ++n) at_least -= ~(ordered(load(numbers + n * QUERIES)) < middle);
    const Ints enough = at_least >= wanted;
    low = enough ? middle : low;
    high = enough ? high : middle - 1;
    const Ints exact = at_least == wanted;  // then the lowest of those is the k-th, and nothing between changes the choice
    high = exact ? low : high;
  }
  Ints above{};
  for (int n = 0; n < count; ++n) above -= ordered(load(numbers + n * QUERIES)) > low;
  Ints room = wanted - above;
  for (int n = 0; n < count; ++n) {
    const Floats x = load(numbers + n * QUERIES);
    const Ints order = ordered(x), equal = (order == low) & (room > 0);
    room += equal;
    store(numbers + n * QUERIES, select((order > low) | equal | (x != x), x, broadcast(-__builtin_inff())));
  }
}

// exp(factor * score) by the sum of them, and of exp(sink) where there is one. Returns the entropy, -sum p ln p, for which
// the exponents are at hand.
static inline Floats softmax(float* numbers, int count, float factor, const float* sink, Ints in) {
  const Floats highest = highest_of(numbers, count);
  Floats top = select(highest == -__builtin_inff(), highest, highest * (factor * LOG2_E)), sum{};
  if (sink) {
    top = larger(top, broadcast(*sink * LOG2_E));
    sum = exp2(*sink * LOG2_E - top);
  }
  top = select(top == -__builtin_inff(), Floats{}, top);  // nothing is seen
  Floats total = sum, of_exponents{};
  for (int n = 0; n < count; ++n) {
    const Floats exponent = load(numbers + n * QUERIES) * (factor * LOG2_E) - top, power = exp2(exponent);
    sum += power;
    of_exponents += power * (exponent < -127.0f ? broadcast(-127.0f) : exponent);
    store(numbers + n * QUERIES, power);
  }
  total = sum - total;  // without the sink
  const Floats share = select(sum == 0.0f, Floats{}, 1.0f / sum);
  for (int n = 0; n < count; ++n) store(numbers + n * QUERIES, select(in, load(numbers + n * QUERIES) * share, Floats{}));
  return select(sum == 0.0f, Floats{}, share * (total * log2(sum) - of_exponents) * LN_2);
}

static inline void sigmoid(float* numbers, int count, float bias, Ints in) {
  for (int n = 0; n < count; ++n) {
    const Floats x = load(numbers + n * QUERIES), exponent = (x + bias) * -LOG2_E;
    const Floats weight = 1.0f / (1.0f + exp2(exponent > 126.0f ? broadcast(126.0f) : exponent));
    store(numbers + n * QUERIES, select(in & (x != -__builtin_inff()), weight, Floats{}));
  }
}

// Scores by their sum, which is returned.
static inline Floats divide_by_sum(float* numbers, int count, Ints in) {
  Floats sum{};
  for (int n = 0; n < count; ++n) {
    const Floats x = load(numbers + n * QUERIES);
    const Floats seen = select(in & (x != -__builtin_inff()), x, Floats{});
    sum += seen;
    store(numbers + n * QUERIES, seen);
  }
  sum = select(sum == 0.0f, broadcast(1.0f), sum);
  for (int n = 0; n < count; ++n) store(numbers + n * QUERIES, load(numbers + n * QUERIES) / sum);
  return sum;
}

// The threshold of sparsemax (power 1) or 1.5-entmax (2): weights are max(x - threshold, 0)^power and sum to one (Martins
// and Astudillo 2016; Peters et al. 2019). x is how far a score is below the highest. Newton's steps rise to it from below,
// where the sum of the weights is convex; ...
static inline Floats risen(const float* numbers, int count, int power, Floats threshold, int steps) {
  for (int step = 0; step < steps; ++step) {
    Floats sum{}, other{};  // and of power 1 how many they are, of power 2 their squares
    for (int n = 0; n < count; ++n) {
      const Floats above = larger(load(numbers + n * QUERIES) - threshold, Floats{});
      sum += above;
      other += power == 1 ? select(above > 0.0f, broadcast(1.0f), Floats{}) : above * above;
    }
    const Floats slope = power == 1 ? other : 2.0f * sum, rest = (power == 1 ? sum : other) - 1.0f;
    const Floats rise = select(rest > 0.0f, rest / slope, Floats{});
    threshold += rise;
    if (!any(rise > PRECISE)) break;
  }
  return threshold;
}

// ... given its support it is a mean, or the root of a quadratic.
static inline Floats threshold_of(const float* numbers, int count, int power, Floats threshold) {
  threshold = risen(numbers, count, power, threshold, MOST_STEPS);
  Floats size{}, sum{};
  for (int n = 0; n < count; ++n) {
    const Floats x = load(numbers + n * QUERIES);
    const Ints in = ~(x <= threshold);  // NaN is, to be seen
    size += select(in, broadcast(1.0f), Floats{}), sum += select(in, x, Floats{});
  }
  size = select(size > 1.0f, size, broadcast(1.0f));
  if (power == 1) return (sum - 1.0f) / size;
  const Floats mean = sum / size;
  Floats spread{};
  for (int n = 0; n < count; ++n) {
    const Floats x = load(numbers + n * QUERIES), from = x - mean;
    spread += select(~(x <= threshold), from * from, Floats{});
  }
  const Floats square = (1.0f - spread) / size;
  return mean - square_root(select(square < 0.0f, Floats{}, square));
}

static inline void sparse(const Block& block, Kept& kept, int power, bool gather) {
  const float half = power == 1 ? 1.0f : 0.5f;
  Floats highest[QUERIES / LANES], threshold[QUERIES / LANES];
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    const Floats found = highest_of(kept.numbers + lane, kept.count);
    // Nothing is seen, or there is no query: then every score is far below.
    highest[lane / LANES] = select(block.in(lane) & (found != -__builtin_inff()), found, broadcast(__builtin_inff()));
  }
  kept.filter([&](const float* from, float* to, int) {
    Ints some{};
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      const Floats x = (load(from + lane) - highest[lane / LANES]) * half;
      store(to + lane, x < LOWEST ? broadcast(LOWEST) : x);
      some |= ~(x <= -1.0f);  // NaN is, to be seen
    }
    return !gather || any(some);
  });
  for (int lane = 0; lane < block.lanes; lane += LANES)
    threshold[lane / LANES] = risen(kept.numbers + lane, kept.count, power, broadcast(-1.0f), FIRST_STEPS);
  if (gather)  // what is below the threshold now stays below
    kept.filter([&](const float* from, float* to, int) {
      Ints some{};
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        const Floats x = load(from + lane);
        store(to + lane, x);
        some |= ~(x <= threshold[lane / LANES]);
      }
      return any(some);
    });
  for (int lane = 0; lane < block.lanes; lane += LANES)
    threshold[lane / LANES] = threshold_of(kept.numbers + lane, kept.count, power, threshold[lane / LANES]);
  kept.filter([&](const float* from, float* to, int) {
    Ints some{};
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      const Floats above = larger(load(from + lane) - threshold[lane / LANES], Floats{});
      const Ints seen = block.in(lane) & (highest[lane / LANES] != __builtin_inff());
      const Floats weight = select(seen, power == 1 ? above : above * above, Floats{});
      store(to + lane, weight);
      some |= weight != 0.0f;
    }
    return !gather || any(some);
  });
}

// What comes out beside the weights: the entropy of a softmax, or what was divided by.
struct PerQuery {
  Floats entropy[QUERIES / LANES]{}, sum[QUERIES / LANES]{};
};

// What is the same for all queries of a head.
struct Normalizer {
  const Rows& rows;
  const float* number;
  const bool gather;  // leave out the rows of keys that no query gives a weight

  Normalizer(const Rows& rows_, std::int64_t head, bool all)
      : rows(rows_), number(rows.number ? rows.number + head * rows.number_head : nullptr), gather(!all && gathers(rows)) {}

  static bool gathers(const Rows& rows) {
    return rows.normalizer == Rows::sparsemax || rows.normalizer == Rows::entmax15 || rows.highest > 0;
  }

  // Scores become weights.
  void weigh(const Block& block, Kept& kept, PerQuery& found) const {
    if (rows.normalizer == Rows::sparsemax || rows.normalizer == Rows::entmax15)
      return sparse(block, kept, rows.normalizer == Rows::sparsemax ? 1 : 2, gather);
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      float* at = kept.numbers + lane;
      if (rows.highest > 0) keep_highest(at, kept.count, rows.highest);
      if (rows.normalizer == Rows::softmax) found.entropy[lane / LANES] = softmax(at, kept.count, rows.factor, number, block.in(lane));
      if (rows.normalizer == Rows::sigmoid) sigmoid(at, kept.count, *number, block.in(lane));
      if (rows.normalizer == Rows::sum) found.sum[lane / LANES] = divide_by_sum(at, kept.count, block.in(lane));
    }
    if (gather)
      kept.filter([&](const float* from, float* to, int) {
        Ints some{};
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          const Floats weight = load(from + lane);
          store(to + lane, weight);
          some |= weight != 0.0f;
        }
        return any(some);
      });
  }

  // How much of a weight's gradient is its score's: that is slope (gradient - the mean of gradients by slopes), or of a
  // sigmoid, of which each weight is for itself, less nothing.
  Floats slope(Floats weight, Floats sum) const {
    switch (rows.normalizer) {
      case Rows::softmax: return weight * rows.factor;
      case Rows::sigmoid: return weight - weight * weight;
      case Rows::sparsemax: return select(weight > 0.0f, broadcast(1.0f), Floats{});
      case Rows::entmax15: return square_root(weight);
      case Rows::sum: return 1.0f / sum;
    }
    return weight;
  }
  // By what the gradients are averaged: of a softmax and a sum the weights, which sum to what the sink leaves of one.
  Floats share(Floats weight, Floats slope) const {
    switch (rows.normalizer) {
      case Rows::softmax: case Rows::sum: return weight;
      case Rows::sigmoid: return Floats{};
      default: return slope;
    }
  }
  bool averages() const { return rows.normalizer == Rows::sparsemax || rows.normalizer == Rows::entmax15; }
};

}  // namespace regard::REGARD_ISA
