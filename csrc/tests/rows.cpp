// Attention whose rows of weights are kept: random calls by every instruction set, against what is expected of them.

#include "tests/rows_expected.h"

namespace regard::tests {
namespace {

struct Case : Expected {
  // What `rows` point to, as it is for one pass.
  void point(std::vector<Term>& terms, std::vector<Observation>& observations) {
    terms.clear(), observations.clear();
    for (const Added& one : added) terms.push_back(one.term);
    for (const Recorded& record : recorded) observations.push_back(record.one);
    rows.terms = terms.data(), rows.term_count = static_cast<int>(terms.size());
    rows.observations = observations.data(), rows.observation_count = static_cast<int>(observations.size());
    call.rows = &rows;
  }

  void forward(const Kernels& kernels) {
    Random context(batch, heads, queries, value_width, Type::float32, step);
    std::fill(context.numbers.begin(), context.numbers.end(), NAN);
    rows.parts = 1 + below(2), rows.by_batch = rows.by_head = true, rows.number_gradient = nullptr;
    for (Recorded& record : recorded) {
      const bool zeros = record.in_parts() || record.one.kind == Observation::rows;
      record.data.assign(record.exact.size() * room(record.in_parts() ? rows.parts : 1), zeros ? 0.0f : NAN);
      if (record.one.kind == Observation::top_k) record.keys.assign(record.exact.size(), -7);
      record.one.data = record.data.data(), record.one.keys = record.keys.data(), record.one.gradient = nullptr;
    }
    std::vector<Term> terms;
    std::vector<Observation> observations;
    point(terms, observations);
    AttentionForward made{};
    static_cast<Attention&>(made) = call;
    made.context = context.tensor;
    spoil(call.threads);
    if (kernels.forward(made) != Status::done) fail("forward", 1, 0);
    std::size_t n = 0;
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i)
          for (int k = 0; k < value_width; ++k) compare("context", context.at(b, h, i, k), exact_context[n++]);
    for (const Recorded& record : recorded)
      if (record.one.kind == Observation::top_k)
        compare_highest(record);
      else
        compare_recorded(record);
  }
  void compare_recorded(const Recorded& record) const {
    const std::string what = std::string("observation ") + OBSERVATIONS[record.one.kind];
    const std::int64_t parts = record.in_parts() ? rows.parts : 1;
    for (std::int64_t n = 0; n < static_cast<std::int64_t>(record.exact.size()); ++n) {
      double found = 0.0;
      for (std::int64_t part = 0; part < parts; ++part)
        found += record.data[room((n / record.columns * parts + part) * record.columns + n % record.columns)];
      const Exact& expected = record.exact[room(n)];
      compare(what.c_str(), found, expected, std::isinf(expected.value) ? 0.0 : ERROR * std::fabs(expected.value));
    }
  }
  // Each key once, none that is not seen, each with its weight, and weights as high as there are; of equal ones the first.
  void compare_highest(const Recorded& record) const {
    const std::int64_t first = record.one.first;
    for (std::int64_t row = 0; row < static_cast<std::int64_t>(batch) * heads * queries; ++row) {
      std::vector<double> order;
      for (std::int64_t j = 0; j < keys; ++j)
        if (seen[room(row * keys + j)]) order.push_back(weights[room(row * keys + j)]);
      std::sort(order.rbegin(), order.rend());
      std::vector<char> named(room(keys));
      for (std::int64_t r = 0; r < first; ++r) {
        const std::int64_t at = row * first + r, j = record.keys[room(at)];
        const double found = record.data[room(at)];
        if (room(r) >= order.size()) {
          if (j != -1 || found != 0.0) fail("key of no highest weight", static_cast<double>(j), -1);
          continue;
        }
        if (j < 0 || j >= keys || named[room(j)] || !seen[room(row * keys + j)])
          fail("key of a highest weight", static_cast<double>(j), static_cast<double>(keys));
        named[room(j)] = 1;
        near("highest weight", found, order[room(r)], ERROR);
        near("weight of a highest key", found, weights[room(row * keys + j)], ERROR);
        if (r > 0 && found > record.data[room(at - 1)]) fail("order of highest weights", found, record.data[room(at - 1)]);
        if (r > 0 && found == record.data[room(at - 1)] && j < record.keys[room(at - 1)])
          fail("order of equal weights", static_cast<double>(j), static_cast<double>(record.keys[room(at - 1)]));
      }
    }
  }

  void backward(const Kernels& kernels) {
    Attention planned = call;  // as src/regard/ops/rows.py does: what shares the gradient of a term is one task
    planned.batch = by_batch ? batch : 1;
    planned.heads = by_head ? heads : 1, planned.kv_heads = by_head ? kv_heads : 1;
    const BackwardPlan plan = kernels.plan(planned);
    for (Added& one : added) {
      const auto& size = one.sizes.of;
      const std::int64_t parts = one.term.kind == Term::near || size[2] != 1 ? 1 : plan.parts;
      one.gradient_sizes = {parts, std::max<std::int64_t>(size[0], by_batch ? batch : 1),
                            std::max<std::int64_t>(size[1], by_head ? heads : 1), size[2], size[3]};
      one.term.gradient = {};
      if (!one.wanted) continue;
      const Sizes of_part{{one.gradient_sizes[1], one.gradient_sizes[2], one.gradient_sizes[3], one.gradient_sizes[4]}};
      one.gradient.assign(room(one.gradient_sizes[0] * of_part.count()), 0.0f);
      one.term.gradient = of_part.tensor(one.gradient.data());
      one.term.part = one.gradient_sizes[0] > 1 ? of_part.count() : 0;
    }
    for (Recorded& record : recorded) {
      record.one.data = nullptr, record.one.keys = record.one.kind == Observation::rows ? record.keys.data() : nullptr;
      record.one.gradient = record.wanted ? record.gradient.data() : nullptr;
    }
    std::vector<Term> terms;
    std::vector<Observation> observations;
    point(terms, observations);
    std::vector<float> number_gradient(room(batch) * room(heads) * room(plan.parts));
    rows.parts = plan.parts, rows.by_batch = by_batch, rows.by_head = by_head;
    rows.number_gradient = number_wanted ? number_gradient.data() : nullptr;

    const Summed key_gradient(batch, kv_heads, plan.parts, keys, plan.padded_width),
        value_gradient(batch, kv_heads, plan.parts, keys, plan.padded_value_width);
    std::vector<float> weight_gradient(room(static_cast<std::int64_t>(batch) * heads * plan.parts * width), NAN);
    Random query_gradient(batch, heads, queries, width, type, step);
    std::fill(query_gradient.numbers.begin(), query_gradient.numbers.end(), NAN);
    query_gradient.narrow();
    AttentionBackward made{};
    static_cast<Attention&>(made) = call;
    made.context_gradient = gradient.tensor, made.query_gradient = query_gradient.tensor;
    made.key_gradient = key_gradient.places, made.value_gradient = value_gradient.places;
    made.weight_gradient = additive ? weight_gradient.data() : nullptr;
    made.parts = plan.parts, made.padded_width = plan.padded_width, made.padded_value_width = plan.padded_value_width;
    spoil(call.threads);
    if (kernels.backward(made) != Status::done) fail("backward", 1, 0);

    query_gradient.widen();
    std::size_t n = 0;
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i)
          for (int k = 0; k < width; ++k, ++n)
            compare("query gradient", query_gradient.at(b, h, i, k), exact_query[n]);
    compare_sums("key gradient", key_gradient, exact_key, width);
    compare_sums("value gradient", value_gradient, exact_value, value_width);
    for (int h = 0; h < heads; ++h) {
      double found = 0.0;
      for (int k = 0; k < width && additive; ++k) {
        double total = 0.0;
        for (int b = 0; b < batch; ++b)
          for (int part = 0; part < plan.parts; ++part) total += weight_gradient[room(((b * heads + h) * plan.parts + part) * width + k)];
        compare("weight gradient", total, exact_weight[room(h * width + k)]);
      }
      for (int b = 0; b < batch; ++b)
        for (int part = 0; part < plan.parts; ++part) found += number_gradient[room((b * heads + h) * plan.parts + part)];
      if (number_wanted) compare("number gradient", found, exact_number[room(h)]);
    }
    for (const Added& one : added)
      if (one.wanted) compare_term(one);
  }
  void compare_sums(const char* what, const Summed& found, const std::vector<Exact>& exact, std::int64_t columns) const {
    for (std::int64_t n = 0; n < static_cast<std::int64_t>(exact.size()); ++n) {
      const std::int64_t row = n / columns, head = row / keys;
      compare(what, found.at(head / kv_heads, head % kv_heads, row % keys, n % columns), exact[room(n)]);
    }
  }
  static void compare_term(const Added& one) {
    const auto& size = one.gradient_sizes;
    std::vector<double> total(one.exact.size());
    std::size_t n = 0;
    for (std::int64_t part = 0; part < size[0]; ++part)
      for (std::int64_t b = 0; b < size[1]; ++b)
        for (std::int64_t h = 0; h < size[2]; ++h)
          for (std::int64_t i = 0; i < size[3]; ++i)
            for (std::int64_t j = 0; j < size[4]; ++j) total[room(one.sizes.place(b, h, i, j))] += one.gradient[n++];
    const std::string what = std::string("gradient of ") + TERMS[one.term.kind];
    for (n = 0; n < total.size(); ++n) compare(what.c_str(), total[n], one.exact[n]);
  }
};

}  // namespace

void rows_case() {
  for (bool done = false; !done;) {
    Case one;
    if (!one.work_out()) continue;  // another
    for (const Kernels* const* set = BUILT; *set; ++set) {
      if (!supported(**set)) continue;
      described = std::string("  ") + (*set)->name + "\n" + one.words;
      one.forward(**set);
      one.backward(**set);
    }
    described.clear(), done = true;
  }
}

}  // namespace regard::tests
