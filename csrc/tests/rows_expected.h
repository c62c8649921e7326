// What is expected of such a call: the definitions, in double precision, pair by pair.
#pragma once

#include "tests/rows_drawn.h"

namespace regard::tests {
namespace {

struct Expected : Drawn {
  std::vector<double> weights;  // before dropout
  std::vector<char> seen;       // which keys bounds and hidden pairs leave
  std::vector<Exact> exact_context, exact_query, exact_key, exact_value, exact_weight, exact_number;

  // One query of one head: its pairs.
  struct Row {
    std::vector<double> score, cap_slope, weight, slope, share, size;  // `size` of a weight: what its error is in proportion to
    std::vector<char> seen;
  };

  void score(int b, int h, int i, Row& row) {
    const std::size_t count = room(keys);
    row.score.assign(count, -INFINITY), row.cap_slope.assign(count, 1.0), row.seen.assign(count, 0);
    row.weight.assign(count, 0.0), row.slope.assign(count, 0.0), row.share.assign(count, 0.0), row.size.assign(count, 0.0);
    for (int j = 0; j < keys; ++j) {
      bool sees = within(b, h, i, j);
      for (const Added& one : added)
        if (one.term.kind == Term::hidden) sees &= one.bytes[room(one.sizes.place(b, h, i, j, one.turned))] != 0;
      if (!sees) continue;
      double found = 0.0;
      for (int k = 0; k < width; ++k) {
        const double x = query.at(b, h, i, k), y = key.at(b, h / shared, j, k);
        found += additive ? weight[room(h * width + k)] * std::tanh(x + y) : x * y;
      }
      found *= call.scale;
      if (rows.cap > 0.0f) {
        const double bent = std::tanh(found / rows.cap);
        found = rows.cap * bent, row.cap_slope[room(j)] = 1.0 - bent * bent;
      }
      for (const Added& one : added) found += term_of(one, b, h, i, j);
      row.score[room(j)] = found, row.seen[room(j)] = 1;
    }
  }
  static std::int64_t entry(const Added& one, int b, int i, int j) {  // of the table
    return std::clamp<std::int64_t>(one.key.of(b, j) - one.query.of(b, i) - one.term.low, 0, one.term.span - 1);
  }
  static double term_of(const Added& one, int b, int h, int i, int j) {
    switch (one.term.kind) {
      case Term::bias: return one.number(b, h, i, j);
      case Term::hidden: return 0.0;
      case Term::alibi: return -one.number(b, h, i, j) * std::fabs(static_cast<double>(one.key.of(b, j) - one.query.of(b, i)));
      case Term::relative: return one.number(b, h, i, entry(one, b, i, j));
      case Term::near: {
        const double apart = j - one.number(b, h, i, j);
        return -apart * apart * one.term.factor;
      }
    }
    return 0.0;
  }

  // Scores become weights; false where it would hang on rounding which are zero.
  bool weigh(int h, Row& row) const {
    std::vector<double> x = row.score;
    const double highest = x.empty() ? -INFINITY : *std::max_element(x.begin(), x.end());
    if (highest == -INFINITY) return true;
    const std::size_t count = x.size();
    if (rows.highest > 0 && room(rows.highest) < count) {
      std::vector<double> order = x;
      std::sort(order.rbegin(), order.rend());
      const double last = order[room(rows.highest - 1)], next = order[room(rows.highest)];
      if (next != -INFINITY && last - next < JUMP) return false;
      for (double& one : x) one = one < last ? -INFINITY : one;
    }
    double sum = 0.0;
    if (rows.normalizer == Rows::softmax) {
      const double top = number.empty() ? highest * rows.factor : std::max(highest * rows.factor, number_of(h));
      if (!number.empty()) sum = std::exp(number_of(h) - top);
      for (const double one : x) sum += std::exp(one * rows.factor - top);
      for (std::size_t j = 0; j < count; ++j) {
        row.weight[j] = row.share[j] = std::exp(x[j] * rows.factor - top) / sum;
        row.slope[j] = row.weight[j] * rows.factor;
      }
    } else if (rows.normalizer == Rows::sigmoid) {
      for (std::size_t j = 0; j < count; ++j) {
        row.weight[j] = row.seen[j] ? 1.0 / (1.0 + std::exp(-x[j] - number_of(h))) : 0.0;
        row.slope[j] = row.weight[j] * (1.0 - row.weight[j]);
      }
    } else if (rows.normalizer == Rows::sum) {
      for (std::size_t j = 0; j < count; ++j) sum += row.seen[j] ? x[j] : 0.0;
      for (std::size_t j = 0; j < count; ++j)
        if (row.seen[j]) row.weight[j] = row.share[j] = x[j] / sum, row.slope[j] = 1.0 / sum;
    } else {
      const bool squares = rows.normalizer == Rows::entmax15;
      for (double& one : x) one *= squares ? 0.5 : 1.0;
      double high = highest * (squares ? 0.5 : 1.0), low = high - 1.0;  // of the threshold
      for (int halving = 0; halving < 60; ++halving) {
        const double middle = 0.5 * (low + high);
        double total = 0.0;
        for (const double one : x) total += one <= middle ? 0.0 : squares ? (one - middle) * (one - middle) : one - middle;
        (total > 1.0 ? low : high) = middle;
      }
      for (std::size_t j = 0; j < count; ++j) {
        const double above = std::max(x[j] - low, 0.0);
        if (!squares && std::fabs(x[j] - low) < JUMP) return false;
        row.weight[j] = squares ? above * above : above;
        row.slope[j] = row.share[j] = squares ? above : above > 0.0;
      }
    }
    // Sparse weights are as exact as the threshold, however small they are.
    const bool sparse = rows.normalizer == Rows::sparsemax || rows.normalizer == Rows::entmax15;
    for (std::size_t j = 0; j < count; ++j) row.size[j] = row.weight[j] + (sparse && row.weight[j] > 0.0 ? 0.1 : 0.0);
    return true;
  }

  void observe(int b, int h, int i, const Row& row) {
    for (Recorded& record : recorded) {
      const Observation& one = record.one;
      const std::int64_t head = static_cast<std::int64_t>(b) * heads + h, place = head * record.columns;
      double highest = -INFINITY, sum = 0.0;
      Exact total, apart;
      for (std::size_t j = 0; j < room(keys); ++j) highest = std::fmax(highest, row.score[j]);
      for (int j = 0; j < keys; ++j) {
        const double p = row.weight[room(j)], size = row.size[room(j)], log = std::log(std::fmax(p, LEAST));
        if (row.seen[room(j)]) sum += std::exp(row.score[room(j)] - highest);
        if (one.kind == Observation::entropy) total.add(-p * log, size * (std::fabs(log) + 1.0));
        if (one.kind == Observation::mass) {
          const double chosen = one.chosen ? one.chosen[b * one.chosen_batch + j] : 1.0;
          total.add(p * chosen, size * std::fabs(chosen));
        }
        if (one.kind == Observation::distance) {
          const double d = std::fabs(static_cast<double>(record.key.of(b, j) - record.query.of(b, i)));
          total.add(p, size), apart.add(p * d, size * d);
        }
        if (one.kind == Observation::received) record.exact[room(place + j)].add(p, size);
        if (one.kind == Observation::pooled)
          record.exact[room(place + i * one.first / queries * one.second + j * one.second / keys)].add(p, size);
        for (std::int64_t r = 0; one.kind == Observation::rows && r < one.first; ++r)
          if (record.keys[room(r)] == i) record.exact[room(place + r * keys + j)].add(p, size);
      }
      if (one.kind == Observation::log_sum_exp) total.add(highest + std::log(sum), 0.0), total.value = sum > 0.0 ? total.value : -INFINITY;
      if (one.kind == Observation::max_score) total.add(highest, 0.0);
      if (one.kind == Observation::distance && total.value != 0.0) {
        apart.value /= total.value, apart.size /= total.value;
        total = apart;
      }
      if (record.by_query())
        record.exact[room(place + i)] = total;
    }
  }

  // The gradients of the scores of a query's pairs, as terms have them.
  std::vector<Exact> changes_of(int b, int h, int i, const Row& row) {
    const std::int64_t place = row_of(b, h, i);
    std::vector<Exact> change(room(keys));
    for (int j = 0; j < keys; ++j) {
      Exact& to = change[room(j)];
      const double p = row.weight[room(j)], factor = factor_of(b, h, i, j);
      for (int k = 0; k < value_width; ++k) {
        const double one = factor * gradient.at(b, h, i, k) * value.at(b, h / shared, j, k);
        to.add(one, std::fabs(one));
      }
      for (const Recorded& record : recorded) {
        if (!record.wanted) continue;
        const Observation& one = record.one;
        const float* given = record.gradient.data();
        if (one.kind == Observation::received) {
          const double found = given[(b * heads + h) * keys + j];
          to.add(found, std::fabs(found));
        }
        if (one.kind == Observation::mass) {
          const double found = given[place] * (one.chosen ? one.chosen[b * one.chosen_batch + j] : 1.0);
          to.add(found, std::fabs(found));
        }
        for (std::int64_t r = 0; one.kind == Observation::rows && r < one.first; ++r)
          if (record.keys[room(r)] == i) {
            const double found = given[((b * heads + h) * one.first + r) * keys + j];
            to.add(found, std::fabs(found));
          }
        if (one.kind == Observation::entropy && row.slope[room(j)] > 0.0) {
          const double log = std::log(std::fmax(p, LEAST)), inner = p < LEAST ? 0.0 : 1.0;
          // The logarithm of a weight next to a threshold is no better than that weight.
          const double vague = rows.normalizer == Rows::sparsemax ? 0.1 / p : 0.0;
          to.add(-given[place] * (log + inner), std::fabs(given[place]) * (std::fabs(log) + 1.0 + vague));
        }
      }
    }
    Exact mean;
    double shares = 0.0, total = 0.0;
    for (std::size_t j = 0; j < room(keys); ++j) {
      mean.add(row.share[j] * change[j].value, row.share[j] * change[j].size);
      shares += row.share[j], total += row.weight[j];
    }
    if ((rows.normalizer == Rows::sparsemax || rows.normalizer == Rows::entmax15) && shares > 0.0)
      mean.value /= shares, mean.size /= shares;
    for (std::size_t j = 0; j < room(keys); ++j) {
      Exact& one = change[j];
      one = {row.slope[j] * (one.value - mean.value), row.slope[j] * (one.size + mean.size)};
      if (rows.normalizer == Rows::sigmoid) exact_number[room(h)].add(one.value, one.size);
    }
    if (rows.normalizer == Rows::softmax && !number.empty())
      exact_number[room(h)].add((total - 1.0) * mean.value, (1.0 - total) * mean.size);
    for (const Recorded& record : recorded) {
      if (!record.wanted || record.one.kind != Observation::log_sum_exp) continue;
      const double found = record.exact[room(place)].value, given = record.gradient[room(place)];
      for (std::size_t j = 0; j < room(keys); ++j)
        if (row.seen[j]) change[j].add(given * std::exp(row.score[j] - found), std::fabs(given) * std::exp(row.score[j] - found));
    }
    return change;
  }
  double factor_of(int b, int h, int i, int j) const {
    return call.dropout.threshold == 0 ? 1.0 : kept(call.dropout, b, h, i, j) ? call.dropout.scale : 0.0;
  }

  // All that is expected; false where the call is close to a jump.
  bool work_out() {
    const std::int64_t all = row_of(batch, 0, 0), of_keys = key_of(batch, 0, 0);
    weights.resize(room(all * keys)), seen.resize(room(all * keys));
    exact_context.resize(room(all * value_width)), exact_query.resize(room(all * width));
    exact_key.resize(room(of_keys * width)), exact_value.resize(room(of_keys * value_width));
    exact_weight.resize(room(heads * width)), exact_number.resize(room(heads));
    Row row;
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i) {
          score(b, h, i, row);
          if (!weigh(h, row)) return false;
          observe(b, h, i, row);
          const std::vector<Exact> change = changes_of(b, h, i, row);
          for (int j = 0; j < keys; ++j) pair(b, h, i, j, row, change[room(j)]);
        }
    return true;
  }
  void pair(int b, int h, int i, int j, const Row& row, Exact change) {
    const std::int64_t place = row_of(b, h, i), key_place = key_of(b, h, j);
    const double p = row.weight[room(j)], size = row.size[room(j)], factor = factor_of(b, h, i, j);
    weights[room(place * keys + j)] = p, seen[room(place * keys + j)] = row.seen[room(j)];
    for (int k = 0; k < value_width; ++k) {
      const double v = factor * value.at(b, h / shared, j, k), g = factor * gradient.at(b, h, i, k);
      exact_context[room(place * value_width + k)].add(p * v, size * std::fabs(v));
      exact_value[room(key_place * value_width + k)].add(p * g, size * std::fabs(g));
    }
    for (Added& one : added) {
      if (!one.wanted) continue;
      const double apart = one.term.kind == Term::near ? 2.0 * one.term.factor * (j - one.number(b, h, i, j)) : 1.0;
      const std::int64_t column = one.term.kind == Term::relative ? entry(one, b, i, j) : j;
      one.change(b, h, i, column, change.value * apart, change.size * std::fabs(apart));
    }
    change = {change.value * row.cap_slope[room(j)] * call.scale, change.size * (row.cap_slope[room(j)] + 0.02) * call.scale};
    for (int k = 0; k < width && change.value != 0.0; ++k) {
      double q = query.at(b, h, i, k), c = key.at(b, h / shared, j, k);
      if (additive) {
        const double hidden = std::tanh(q + c);
        exact_weight[room(h * width + k)].add(change.value * hidden, change.size);
        q = c = weight[room(h * width + k)] * (1.0 - hidden * hidden);
      }
      exact_query[room(place * width + k)].add(change.value * c, change.size * std::fabs(c));
      exact_key[room(key_place * width + k)].add(change.value * q, change.size * std::fabs(q));
    }
  }
};

}  // namespace
}  // namespace regard::tests
