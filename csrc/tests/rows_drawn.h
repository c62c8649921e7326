// A random call of attention whose rows of weights are kept, and all that goes with it.
#pragma once

#include <algorithm>
#include <array>

#include "dispatch/choose.h"
#include "parallel/parallel.h"
#include "tests/random.h"


namespace regard::tests {
namespace {

constexpr double LEAST = 1.17549435e-38;  // a logarithm never sees less
constexpr double JUMP = 3e-5;             // so close to a threshold rounding decides what is beyond it
constexpr double ERROR = 2e-5;            // of what was added up

// A result, and the sizes of what was added up for it, which its error is in proportion to.
struct Exact {
  double value = 0.0, size = 0.0;

  void add(double one, double size_of_it) { value += one, size += size_of_it; }
};

void compare(const char* what, double found, const Exact& expected, double more = 0.0) {
  if (found != expected.value) near(what, found, expected.value, ERROR * (1.0 + expected.size) + more);  // or -inf
}

std::size_t room(std::int64_t numbers) { return static_cast<std::size_t>(numbers); }

// Whatever ran before left something in the scratch of the threads: here what spoils everything that it reaches.
constexpr int SPOILT = 200000;
void spoil_task(const void*, std::int64_t, float* numbers) { std::fill_n(numbers, SPOILT, NAN); }
void spoil(int threads) { run_parallel(threads, threads == 1 ? 1 : 8, SPOILT, spoil_task, nullptr); }

// Four sizes, each 1 or whole, of which those that are 1 serve all.
struct Sizes {
  std::array<std::int64_t, 4> of;

  std::int64_t count() const { return of[0] * of[1] * of[2] * of[3]; }
  std::array<std::int64_t, 4> strides(bool turned) const {  // turned: columns lie side by side
    std::array<std::int64_t, 4> found{of[1] * of[2] * of[3], of[2] * of[3], turned ? 1 : of[3], turned ? of[2] : 1};
    for (std::size_t n = 0; n < 4; ++n) found[n] = of[n] > 1 ? found[n] : 0;
    return found;
  }
  Tensor tensor(void* data, bool turned = false) const {
    const auto by = strides(turned);
    return {data, by[0], by[1], by[2], by[3]};
  }
  std::int64_t place(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j, bool turned = false) const {
    const auto by = strides(turned);
    return b * by[0] + h * by[1] + i * by[2] + j * by[3];
  }
};

// Positions of a batch's rows: where they stand, or anywhere, or some beside each other.
struct Places {
  std::vector<std::int32_t> at;
  std::int64_t row = 0;  // stride

  void draw(int batch, int length, int offset) {
    const bool own = below(2);
    const int kind = below(3), period = 1 + below(40);
    row = own ? length : 0;
    for (int n = 0; n < (own ? batch : 1) * length; ++n) {
      const int i = n % std::max(length, 1);
      at.push_back(kind == 0 ? i + offset : kind == 1 ? below(300) - 40 : i % period + offset);
    }
  }
  std::int64_t of(std::int64_t b, std::int64_t i) const { return at[room(b * row + i)]; }
};

struct Added {
  Term term{};
  Sizes sizes{};
  bool turned = false, wanted = false;
  std::vector<float> numbers;
  std::vector<std::uint8_t> bytes;
  Places query, key;
  std::vector<Exact> exact;  // the gradient of each number
  std::array<std::int64_t, 5> gradient_sizes{};
  std::vector<float> gradient;

  double number(int b, int h, int i, std::int64_t j) const { return numbers[room(sizes.place(b, h, i, j, turned))]; }
  void change(int b, int h, int i, std::int64_t j, double one, double size) { exact[room(sizes.place(b, h, i, j))].add(one, size); }
};

struct Recorded {
  Observation one{};
  std::int64_t columns = 0;  // numbers of each head
  bool wanted = false;
  std::vector<float> data, chosen, gradient;
  std::vector<std::int64_t> keys;
  Places query, key;
  std::vector<Exact> exact;

  bool by_query() const { return one.first == 0 && one.kind != Observation::received; }
  bool in_parts() const { return one.kind == Observation::received || one.kind == Observation::pooled; }
};

const char* const NORMALIZERS[] = {"softmax", "sigmoid", "sparsemax", "entmax15", "sum"};
const char* const TERMS[] = {"bias", "hidden", "alibi", "relative", "near"};
const char* const OBSERVATIONS[] = {"top_k", "entropy", "received", "log_sum_exp", "max_score", "mass", "distance", "pooled", "rows"};

// A length: mostly small.
int length_of(int most) {
  const int kind = below(8);
  return kind == 0 ? below(3) : kind < 6 ? 1 + below(24) : 1 + below(most);
}

// One call: what is given.
struct Drawn {
  const bool additive = !below(4);
  const Type type = Type::float32;
  const int batch = 1 + below(2), kv_heads = 1 + below(2), shared = 1 + below(2), heads = kv_heads * shared;
  const int queries = length_of(150), keys = length_of(250);
  const int width = 1 + below(additive ? 24 : 70), value_width = 1 + below(70), intervals = below(3);
  const int step = below(4) ? 1 : 2;
  Random query{batch, heads, queries, width, type, step}, key{batch, kv_heads, keys, width, type, step};
  Random value{batch, kv_heads, keys, value_width, type, step}, gradient{batch, heads, queries, value_width, type, step};
  std::vector<float> weight, number;
  std::vector<std::int64_t> bounds;
  Sizes bound_sizes{};
  Rows rows{};
  Attention call{};
  std::vector<Added> added;
  std::vector<Recorded> recorded;
  bool number_wanted = false, by_batch = true, by_head = true;
  std::string words;

  std::int64_t row_of(int b, int h, int i) const { return (static_cast<std::int64_t>(b) * heads + h) * queries + i; }
  std::int64_t key_of(int b, int h, int j) const { return (static_cast<std::int64_t>(b) * kv_heads + h / shared) * keys + j; }
  int one_or(int whole) const { return below(2) ? whole : 1; }

  Drawn() {
    rows.normalizer = static_cast<Rows::Normalizer>(below(5));
    const bool positive = rows.normalizer == Rows::sum;
    for (int n = 0; n < heads * width; ++n) weight.push_back(normal());
    if (positive) {  // so that no sum is close to zero
      for (Random* one : {&query, &key}) {
        for (float& x : one->numbers) x = std::fabs(x) + 0.1f;
        one->narrow();
      }
      for (float& x : weight) x = std::fabs(x) + 0.1f;
    }
    call.batch = batch, call.heads = heads, call.kv_heads = kv_heads, call.queries = queries, call.keys = keys;
    call.width = width, call.value_width = value_width, call.type = type;
    call.scale = 1.0f / std::sqrt(static_cast<float>(width)), call.threads = 1 + below(2);
    const float dropped = below(2) ? 0.0f : 0.3f;
    call.dropout = {random_bits(), static_cast<std::uint32_t>(std::llround(dropped * 4294967296.0)), 1.0f / (1.0f - dropped)};
    call.query = query.tensor, call.key = key.tensor, call.value = value.tensor;
    call.weight = additive ? weight.data() : nullptr;
    draw_bounds();

    rows.factor = 1.0f;
    if (rows.normalizer == Rows::softmax) {
      rows.factor = below(2) ? 1.0f : 0.3f + 0.1f * static_cast<float>(below(16));
      rows.highest = below(3) ? 0 : 1 + below(below(2) ? 5 : 60);
    }
    if (!additive && !below(3)) rows.cap = below(2) ? 1.5f : 8.0f;
    if (rows.normalizer == Rows::sigmoid || (rows.normalizer == Rows::softmax && !below(3))) {
      number.resize(room(one_or(heads)));
      for (float& x : number) x = normal();
      number_wanted = below(4);
    }
    rows.number = number.empty() ? nullptr : number.data(), rows.number_head = number.size() > 1;
    added.resize(room(below(4)));
    for (Added& one : added) draw(one, positive);
    recorded.resize(room(below(4)));
    for (Recorded& one : recorded) draw(one);
    for (const Added& one : added)  // large: as many numbers as rows of weights have
      if (one.term.kind == Term::bias && one.wanted && one.sizes.of[2] == queries && queries > 1)
        by_batch &= one.sizes.of[0] == batch, by_head &= one.sizes.of[1] == heads;
    describe();
  }

  void draw_bounds() {
    bound_sizes = {{one_or(batch), one_or(heads), below(4) ? queries : 1, intervals * 2}};
    for (std::int64_t n = 0; n < bound_sizes.count() && intervals > 0; n += 2 * intervals) {
      std::int64_t from = 0, found[4];
      for (int m = 0; m < intervals; ++m) {  // disjoint, some of them empty
        const std::int64_t low = from + below(keys + 1), high = low + below(keys + 1);
        found[2 * m] = std::min<std::int64_t>(low, keys), found[2 * m + 1] = std::min<std::int64_t>(high, keys);
        from = high;
      }
      const int first = intervals == 2 ? below(2) : 0;  // in any order
      for (int m = 0; m < intervals; ++m)
        for (int end = 0; end < 2; ++end) bounds.push_back(found[2 * ((m + first) % 2) + end]);
    }
    const auto by = bound_sizes.strides(false);
    call.bounds = {bounds.data(), by[0], by[1], by[2], intervals};
  }
  bool within(int b, int h, int i, int j) const {
    bool found = intervals == 0;
    const std::int64_t* from = bounds.data() + bound_sizes.place(b, h, i, 0);
    for (int m = 0; m < intervals; ++m) found |= from[2 * m] <= j && j < from[2 * m + 1];
    return found;
  }

  void draw(Added& one, bool positive) {
    Term& term = one.term;
    term.kind = static_cast<Term::Kind>(below(5));
    one.sizes = {{one_or(batch), one_or(heads), one_or(queries), one_or(keys)}};
    if (term.kind == Term::alibi) one.sizes = {{1, heads, 1, 1}};
    if (term.kind == Term::relative) one.sizes = {{1, heads, 1, 1 + below(60)}};
    if (term.kind == Term::near) one.sizes = {{batch, heads, queries, 1}};
    one.turned = term.kind < Term::alibi && !below(4);
    one.wanted = term.kind != Term::hidden && term.kind != Term::alibi && below(4);
    for (std::int64_t n = 0; n < one.sizes.count(); ++n) {
      float x = positive ? std::fabs(normal()) : normal();
      if (term.kind == Term::alibi) x = (positive ? -0.03f : 0.03f) * std::fabs(x);
      if (term.kind == Term::near) x = static_cast<float>(keys) * (0.5f + 0.3f * normal());
      one.numbers.push_back(x), one.bytes.push_back(below(10) < 7 ? 1 + below(255) : 0);
    }
    const float wide = 1.0f + 0.25f * static_cast<float>(keys);
    term.factor = (positive ? -0.5f : 0.5f) / (wide * wide);
    term.tensor = one.sizes.tensor(term.kind == Term::hidden ? static_cast<void*>(one.bytes.data()) : one.numbers.data(), one.turned);
    if (term.kind == Term::relative) term.span = one.sizes.of[3], term.low = below(60) - 50;
    const int offset = below(2) ? 0 : keys - queries;
    one.query.draw(batch, queries, offset), one.key.draw(batch, keys, 0);
    term.query_positions = one.query.at.data(), term.query_batch = one.query.row;
    term.key_positions = one.key.at.data(), term.key_batch = one.key.row;
    one.exact.resize(room(one.sizes.count()));
  }

  void draw(Recorded& record) {
    Observation& one = record.one;
    do one.kind = static_cast<Observation::Kind>(below(9));
    while (one.kind == Observation::rows && queries == 0);
    record.columns = queries;
    if (one.kind == Observation::top_k) one.first = 1 + below(6), record.columns = queries * one.first;
    if (one.kind == Observation::received) record.columns = keys;
    if (one.kind == Observation::pooled) one.first = 1 + below(5), one.second = 1 + below(5), record.columns = one.first * one.second;
    if (one.kind == Observation::rows) one.first = 1 + below(3), record.columns = one.first * keys;
    for (int n = 0; n < one.first && one.kind == Observation::rows; ++n) record.keys.push_back(below(queries));
    if (one.kind == Observation::mass && below(3)) {
      const bool own = below(2);
      record.chosen.resize(room((own ? batch : 1) * keys + 1));  // of no keys too it is somewhere
      for (float& x : record.chosen) x = normal();
      one.chosen = record.chosen.data(), one.chosen_batch = own ? keys : 0;
    }
    record.query.draw(batch, queries, below(2) ? 0 : keys - queries), record.key.draw(batch, keys, 0);
    one.query_positions = record.query.at.data(), one.query_batch = record.query.row;
    one.key_positions = record.key.at.data(), one.key_batch = record.key.row;
    const bool derived = one.kind == Observation::entropy || one.kind == Observation::received || one.kind == Observation::log_sum_exp ||
                         one.kind == Observation::mass || one.kind == Observation::rows;
    const std::int64_t numbers = batch * heads * record.columns;
    record.exact.resize(room(numbers));
    record.wanted = derived && below(4);
    for (std::int64_t n = 0; n < numbers && record.wanted; ++n) record.gradient.push_back(normal());
  }

  void describe() {
    char text[400];
    std::snprintf(text, sizeof text,
                  "  float32%s, batch %d, kv_heads %d, heads %d, queries %d, keys %d, width %d, value_width %d, step %d, intervals %d, "
                  "dropout %d, threads %d\n  %s, factor %g, highest %lld, cap %g, numbers %d (gradient %d), by_batch %d, by_head %d\n ",
                  additive ? ", additive" : "", batch, kv_heads, heads, queries, keys, width, value_width,
                  step, intervals, call.dropout.threshold > 0, call.threads, NORMALIZERS[rows.normalizer], rows.factor,
                  static_cast<long long>(rows.highest), rows.cap, static_cast<int>(number.size()), number_wanted, by_batch, by_head);
    words = text;
    for (const Added& one : added) words += std::string(" ") + TERMS[one.term.kind] + (one.wanted ? "'" : "");
    words += ";";
    for (const Recorded& one : recorded) words += std::string(" ") + OBSERVATIONS[one.one.kind] + (one.wanted ? "'" : "");
    words += "\n";
  }

  double number_of(int h) const { return number[number.size() > 1 ? room(h) : 0]; }
};

}  // namespace
}  // namespace regard::tests
