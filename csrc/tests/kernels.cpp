// The kernels without Python: each instruction set that this processor has against sums in double precision, pair by
// pair, on random shapes; and the parts where Python cannot reach. Sanitizers and emulators run this program.
//
//     kernels_test [cases] [seed] [seconds]     ends with the number of cases, or with the first that is wrong

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "dispatch/choose.h"
#include "kernels/product.h"
#include "simd/exp2.h"
#include "simd/transpose.h"
#include "tests/random.h"

namespace {

using namespace regard::tests;

// One random call, forward and backward, by every instruction set.
void one_case() {
  const bool half = below(2), additive = !half && below(2);
  const regard::Type type = half ? regard::Type::bfloat16 : regard::Type::float32;
  const bool documents = !below(3);  // end to end, each of which sees its own keys
  const int batch = documents ? 1 : 1 + below(2), kv_heads = 1 + below(2), shared = 1 + below(2), heads = kv_heads * shared;
  std::vector<std::pair<int, int>> lengths;  // of each document, in queries and keys
  int queries = below(4) ? 1 + below(150) : below(3), keys = below(4) ? 1 + below(250) : below(3);
  if (documents) {
    queries = 0, keys = below(3);  // some of which nobody sees
    for (int n = 2 + below(12); n > 0; --n) {
      lengths.emplace_back(1 + below(below(5) ? 40 : 80), below(8) ? 1 + below(below(5) ? 40 : 120) : 0);
      queries += lengths.back().first, keys += lengths.back().second;
    }
  }
  const int width = below(2) ? 1 + below(70) : 16 * (1 + below(4)), value_width = below(2) ? 1 + below(70) : 16 * (1 + below(4));
  const int intervals = documents ? 1 : below(3);
  const bool causal = below(2);
  Random query(batch, heads, queries, width, type), key(batch, kv_heads, keys, width, type);
  Random value(batch, kv_heads, keys, value_width, type), gradient(batch, heads, queries, value_width, type);
  Random weight(1, 1, heads, width);
  std::vector<float> weights;
  for (int h = 0; h < heads; ++h)
    for (int k = 0; k < width; ++k) weights.push_back(weight.at(0, 0, h, k));
  if (additive && queries > 0 && !below(4)) query.at(batch - 1, heads - 1, queries / 2, width / 2) = 23.0f;  // far from zero
  std::vector<std::int64_t> bounds;
  for (int h = 0; h < heads && documents; ++h) {
    std::int64_t first = 0;
    for (const auto& [some, seen] : lengths) {
      for (int i = 0; i < some; ++i)
        bounds.push_back(first), bounds.push_back(first + (causal && seen > 0 ? 1 + i % seen : seen));
      first += seen;
    }
  }
  for (int n = 0; n < batch * heads * queries && !documents; ++n) {
    std::int64_t from = 0;
    for (int m = 0; m < intervals; ++m) {  // disjoint, some of them empty
      const std::int64_t low = from + below(keys + 1), high = low + below(keys + 1);
      bounds.push_back(low < keys ? low : keys), bounds.push_back(high < keys ? high : keys);
      from = high;
    }
  }
  regard::Attention call{};
  call.batch = batch, call.heads = heads, call.kv_heads = kv_heads, call.queries = queries, call.keys = keys;
  call.width = width, call.value_width = value_width, call.type = type;
  call.scale = 1.0f / std::sqrt(static_cast<float>(width)), call.threads = 1 + below(2);
  call.bounds = {bounds.data(), static_cast<std::int64_t>(heads) * queries * intervals * 2, static_cast<std::int64_t>(queries) * intervals * 2,
                 intervals * 2, intervals};
  if (documents) call.bounds.head = 0;
  const float dropped = below(2) ? 0.0f : 0.3f;
  call.dropout = {random_bits(), static_cast<std::uint32_t>(std::llround(dropped * 4294967296.0)), 1.0f / (1.0f - dropped)};
  call.query = query.tensor, call.key = key.tensor, call.value = value.tensor;
  call.weight = additive ? weights.data() : nullptr;

  const auto sees = [&](int b, int h, int i, int j) {
    if (intervals == 0) return true;
    const std::int64_t* from = bounds.data() + ((static_cast<std::int64_t>(b) * heads + h) * queries + i) * intervals * 2;
    for (int m = 0; m < intervals; ++m)
      if (from[2 * m] <= j && j < from[2 * m + 1]) return true;
    return false;
  };

  // Weights before dropout.
  const auto weights_of = [&](int b, int h, int i) {
    const int g = h / shared;
    std::vector<double> weight(static_cast<std::size_t>(keys));
    double highest = -INFINITY, sum = 0.0;
    for (int j = 0; j < keys; ++j) {
      double score = 0.0;
      for (int k = 0; k < width; ++k) {
        const double q = query.at(b, h, i, k), c = key.at(b, g, j, k);
        score += additive ? weights[h * width + k] * std::tanh(q + c) : q * c;
      }
      weight[j] = sees(b, h, i, j) ? score * call.scale : -INFINITY;
      highest = std::fmax(highest, weight[j]);
    }
    if (highest == -INFINITY) return std::vector<double>(static_cast<std::size_t>(keys));
    for (double& x : weight) x = std::exp(x - highest), sum += x;
    for (double& x : weight) x /= sum;
    return weight;
  };

  for (const regard::Kernels* const* set = regard::BUILT; *set; ++set) {
    if (!regard::supported(**set)) continue;
    Random context(batch, heads, queries, value_width), query_gradient(batch, heads, queries, width, type);
    std::vector<float> logsumexp(static_cast<std::size_t>(batch) * heads * queries * 2 + 1);
    regard::AttentionForward forward{};
    static_cast<regard::Attention&>(forward) = call;
    forward.context = context.tensor, forward.logsumexp = logsumexp.data();
    if ((*set)->forward(forward) != regard::Status::done) fail("forward", 1, 0);

    const regard::BackwardPlan plan = (*set)->plan(call);
    const Summed key_gradient(batch, kv_heads, plan.parts, keys, plan.padded_width),
        value_gradient(batch, kv_heads, plan.parts, keys, plan.padded_value_width);
    regard::AttentionBackward backward{};
    static_cast<regard::Attention&>(backward) = call;
    backward.context = context.tensor, backward.context_gradient = gradient.tensor;
    backward.logsumexp = logsumexp.data(), backward.query_gradient = query_gradient.tensor;
    backward.key_gradient = key_gradient.places, backward.value_gradient = value_gradient.places;
    std::vector<float> weight_gradient(static_cast<std::size_t>(batch) * heads * plan.parts * width);
    backward.weight_gradient = weight_gradient.data();
    backward.parts = plan.parts, backward.padded_width = plan.padded_width;
    backward.padded_value_width = plan.padded_value_width;
    if ((*set)->backward(backward) != regard::Status::done) fail("backward", 1, 0);
    query_gradient.widen();
    Distance contexts("context", 2e-5, half), query_gradients("query gradient", 2e-4, half);

    std::vector<Sum> exact_key(static_cast<std::size_t>(batch) * kv_heads * keys * width), exact_value(
        static_cast<std::size_t>(batch) * kv_heads * keys * value_width), exact_weight(static_cast<std::size_t>(heads) * width);
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i) {
          const int g = h / shared;
          const std::vector<double> weight = weights_of(b, h, i);
          std::vector<double> change(static_cast<std::size_t>(keys));
          double shift = 0.0, total = 0.0;
          std::vector<Sum> expected(static_cast<std::size_t>(value_width)), exact_query(static_cast<std::size_t>(width));
          for (int j = 0; j < keys; ++j) {
            const double factor = dropped == 0.0f ? 1.0 : kept(call.dropout, b, h, i, j) ? call.dropout.scale : 0.0;
            for (int k = 0; k < value_width; ++k) {
              const double part = weight[j] * factor * value.at(b, g, j, k), of_value = weight[j] * factor * gradient.at(b, h, i, k);
              expected[k].add(part, part);
              change[j] += factor * gradient.at(b, h, i, k) * value.at(b, g, j, k);
              exact_value[((static_cast<std::size_t>(b) * kv_heads + g) * keys + j) * value_width + k].add(of_value, of_value);
            }
            shift += weight[j] * change[j], total += weight[j];
          }
          for (int j = 0; j < keys; ++j)
            for (int k = 0; k < width; ++k) {
              const double of_score = weight[j] * (change[j] - shift) * call.scale;
              double q = query.at(b, h, i, k), c = key.at(b, g, j, k);
              if (additive) {
                const double hidden = std::tanh(q + c);
                exact_weight[h * width + k].add(of_score * hidden, 0.0);
                q = c = weights[h * width + k] * (1.0 - hidden * hidden);
              }
              const double size = weight[j] * (std::fabs(change[j]) + std::fabs(shift)) * call.scale;
              exact_query[k].add(of_score * c, size * c);
              exact_key[((static_cast<std::size_t>(b) * kv_heads + g) * keys + j) * width + k].add(of_score * q, size * q);
            }
          for (int k = 0; k < value_width; ++k) contexts.add(context.at(b, h, i, k), expected[k]);
          for (int k = 0; k < width; ++k) query_gradients.add(query_gradient.at(b, h, i, k), exact_query[k]);
          const float found = logsumexp[(static_cast<std::size_t>(b) * heads + h) * queries + i];
          if (total == 0.0 && found != -INFINITY) fail("log-sum-exp of nothing", found, -INFINITY);
          double sum = 0.0;  // of the exponentials: what the weights were divided by
          for (int j = 0; j < keys; ++j)
            if (weight[j] > 1e-3) {
              double score = 0.0;
              for (int k = 0; k < width; ++k) {
                const double q = query.at(b, h, i, k), c = key.at(b, g, j, k);
                score += call.scale * (additive ? weights[h * width + k] * std::tanh(q + c) : q * c);
              }
              sum = score - std::log(weight[j]);
            }
          if (sum != 0.0) near("log-sum-exp", found, sum, 1e-4);
        }
    const auto compare = [&](const char* what, const Summed& found, const std::vector<Sum>& exact, int columns) {
      Distance distance(what, 1e-3, half);
      std::size_t n = 0;
      for (int b = 0; b < batch; ++b)
        for (int g = 0; g < kv_heads; ++g)
          for (int j = 0; j < keys; ++j)
            for (int k = 0; k < columns; ++k) distance.add(found.at(b, g, j, k), exact[n++]);
    };
    for (int h = 0; additive && h < heads; ++h)
      for (int k = 0; k < width; ++k) {
        double total = 0.0;
        for (int b = 0; b < batch; ++b)
          for (int part = 0; part < plan.parts; ++part)
            total += weight_gradient[static_cast<std::size_t>(((b * heads + h) * plan.parts + part) * width + k)];
        near("weight gradient", total, exact_weight[h * width + k].value, 1e-3);
      }
    compare("key gradient", key_gradient, exact_key, width);
    compare("value gradient", value_gradient, exact_value, value_width);
  }
}

// One random call of few queries, by every instruction set: keys where they lie or in pages of any order; those that no query
// sees are NaN, and pages beyond them are none.
void decode_case() {
  const bool half = below(2), paged = below(2), wide = below(2);
  const regard::Type type = half ? regard::Type::bfloat16 : regard::Type::float32;
  const int batch = 1 + below(3), kv_heads = 1 + below(3), shared = 1 + below(7), heads = kv_heads * shared, queries = 1 + below(4);
  const int size = 1 + below(70), row_pages = 1 + below(900 / size), keys = paged ? size * row_pages : 1 + below(900);
  const int width = below(2) ? 16 * (1 + below(9)) : 1 + below(70), value_width = below(2) ? 16 * (1 + below(9)) : 1 + below(70);
  const int intervals = below(3), places = paged ? batch * row_pages : batch, length = paged ? size : keys;
  Random query(batch, heads, queries, width, type);
  Random key(places, kv_heads, length, width, type), value(places, kv_heads, length, value_width, type);

  std::vector<std::int64_t> bounds, table;
  for (int n = 0; n < batch * row_pages; ++n) table.push_back(n);
  std::shuffle(table.begin(), table.end(), random_bits);
  const auto page = [&](int b, int j) { return paged ? static_cast<int>(table[b * row_pages + j / size]) : b; };
  const auto sees = [&](int b, int h, int i, int j) {
    bool found = intervals == 0;
    const std::int64_t* from = bounds.data() + ((static_cast<std::int64_t>(b) * heads + h) * queries + i) * intervals * 2;
    for (int m = 0; m < intervals; ++m) found |= from[2 * m] <= j && j < from[2 * m + 1];
    return found;
  };
  std::vector<int> ends(static_cast<std::size_t>(batch), intervals == 0 ? keys : 0);  // beyond the last key that is seen
  for (int b = 0; b < batch; ++b) {
    for (int n = 0; n < heads * queries; ++n) {
      std::int64_t from = 0;
      for (int m = 0; m < intervals; ++m) {
        const std::int64_t low = from + (below(2) ? below(keys) : 0), high = low + below(keys);
        bounds.push_back(low), bounds.push_back(high);
        if (low < keys && low < high) ends[b] = std::max(ends[b], static_cast<int>(std::min<std::int64_t>(high, keys)));
        from = high;
      }
    }
    for (int j = 0; j < keys; ++j) {
      bool seen = false;
      for (int n = 0; n < heads * queries; ++n) seen |= sees(b, n / queries, n % queries, j);
      for (int g = 0; g < kv_heads && !seen; ++g) {
        key.set(page(b, j), g, j % length, width, NAN), value.set(page(b, j), g, j % length, value_width, NAN);
      }
    }
    for (int n = 0; n < row_pages; ++n)
      if (paged && n * size >= ends[b]) table[b * row_pages + n] = -1;
  }
  const std::vector<std::int32_t> narrow(table.begin(), table.end());

  regard::AttentionForward call{};
  call.batch = batch, call.heads = heads, call.kv_heads = kv_heads, call.queries = queries, call.keys = keys;
  call.width = width, call.value_width = value_width, call.type = type;
  call.scale = 1.0f / std::sqrt(static_cast<float>(width)), call.threads = 1 + below(3);
  call.bounds = {bounds.data(), static_cast<std::int64_t>(heads) * queries * intervals * 2, static_cast<std::int64_t>(queries) * intervals * 2,
                 intervals * 2, intervals};
  call.query = query.tensor, call.key = key.tensor, call.value = value.tensor;
  if (paged)
    call.pages = {wide ? static_cast<const void*>(table.data()) : narrow.data(), row_pages, 1, places, size, wide};

  for (const regard::Kernels* const* set = regard::BUILT; *set; ++set) {
    if (!regard::supported(**set)) continue;
    Random context(batch, heads, queries, value_width);
    std::vector<float> logsumexp(static_cast<std::size_t>(batch) * heads * queries);
    call.context = context.tensor, call.logsumexp = logsumexp.data();
    if ((*set)->forward(call) != regard::Status::done) fail("decode", 1, 0);
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < queries; ++i) {
          std::vector<double> weight(static_cast<std::size_t>(keys), -INFINITY), expected(static_cast<std::size_t>(value_width));
          double highest = -INFINITY, sum = 0.0;
          for (int j = 0; j < keys; ++j) {
            if (!sees(b, h, i, j)) continue;
            weight[j] = 0.0;
            for (int k = 0; k < width; ++k)
              weight[j] += static_cast<double>(call.scale) * query.at(b, h, i, k) * key.at(page(b, j), h / shared, j % length, k);
            highest = std::fmax(highest, weight[j]);
          }
          for (int j = 0; j < keys; ++j) {
            if (!sees(b, h, i, j)) continue;
            sum += weight[j] = std::exp(weight[j] - highest);
            for (int k = 0; k < value_width; ++k) expected[k] += weight[j] * value.at(page(b, j), h / shared, j % length, k);
          }
          for (int k = 0; k < value_width; ++k) near("decoded context", context.at(b, h, i, k), sum == 0.0 ? 0.0 : expected[k] / sum, 2e-5);
          const float found = logsumexp[(static_cast<std::size_t>(b) * heads + h) * queries + i];
          if (sum > 0.0) near("decoded log-sum-exp", found, highest + std::log(sum), 1e-4);
          if (sum == 0.0 && found != -INFINITY) fail("decoded log-sum-exp of nothing", found, -INFINITY);
        }
    if (paged && ends[0] > 0) {
      std::vector<std::int64_t> beyond(table.size(), places);
      regard::AttentionForward lost = call;
      lost.pages.table = beyond.data(), lost.pages.wide = true;
      if ((*set)->forward(lost) != regard::Status::no_such_page) fail("a page that there is not", 1, 0);
    }
  }
}

void parts() {
  using namespace regard::plain;
  for (float x = -140.0f; x < 20.0f; x += 0.00371f) {
    const double expected = x < -126.0f ? 0.0 : std::exp2(static_cast<double>(x));
    near("exp2", exp2(broadcast(x))[0], expected, 2e-7 * expected);
  }
  if (!std::isnan(exp2(broadcast(NAN))[0])) fail("exp2 of NaN", 0, NAN);
  if (exp2(broadcast(-INFINITY))[0] != 0.0f) fail("exp2 of -inf", 1, 0);
  for (float x = 1e-30f; x < 1e30f; x *= 1.0137f)
    near("log2", log2(broadcast(x))[0], std::log2(static_cast<double>(x)), 2e-7 * (1.0 + std::fabs(std::log2(x))));
  if (log2(Floats{})[0] != -INFINITY) fail("log2 of 0", 0, -INFINITY);

  Floats square[LANES];
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < LANES; ++j) square[i][j] = static_cast<float>(LANES * i + j);
  transpose(square);
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < LANES; ++j) near("transpose", square[i][j], LANES * j + i, 0);

  const Floats sums = sums_of([&](int i) { return square[i]; });
  for (int i = 0; i < LANES; ++i) near("sums", sums[i], LANES * (LANES * (LANES - 1) / 2) + LANES * i, 0);

  for (int rows = 1; rows <= 17; ++rows)
    for (int depth = 0; depth <= 5; ++depth) {
      std::vector<float> a(static_cast<std::size_t>(rows * 7)), b(5 * 3 * LANES), c(static_cast<std::size_t>(rows * 3 * LANES), 1.0f);
      for (float& number : a) number = normal();
      for (float& number : b) number = normal();
      product<true>(Left<float>{a.data(), 7, 1}, b.data(), 3 * LANES, rows, 3 * LANES, depth, c.data(), 3 * LANES);
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < 3 * LANES; ++j) {
          double sum = 1.0;
          for (int k = 0; k < depth; ++k) sum += static_cast<double>(a[i * 7 + k]) * b[k * 3 * LANES + j];
          near("product", c[i * 3 * LANES + j], sum, 1e-5);
        }
    }
}

}  // namespace

int main(int count, char** words) {
  const int cases = count > 1 ? std::atoi(words[1]) : 200;
  const unsigned long long seed = count > 2 ? std::strtoull(words[2], nullptr, 10) : 1;
  const double seconds = count > 3 ? std::atof(words[3]) : 1e9;
  random_bits.seed(seed);
  parts();
  const std::time_t start = std::time(nullptr);
  int done = 0;
  for (; done < cases && std::difftime(std::time(nullptr), start) < seconds; ++done)
    one_case(), rows_case(), decode_case(), cross_entropy_case(), points_case(), projection_case(), ranking_case(), residual_case(), steps_case(),
        search_case();
  std::printf("%d cases from seed %llu on", done, seed);
  for (const regard::Kernels* const* set = regard::BUILT; *set; ++set)
    if (regard::supported(**set)) std::printf(" %s", (*set)->name);
  std::printf("\n");
}
