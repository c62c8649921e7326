// Searches over a decoder without blocks, whose next token depends on the last one and its position: every output is walked
// back, and obeys what was asked for; its log-probability is what its tokens have, computed in double precision.

#include "search/search.h"

#include <algorithm>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {
namespace {

bool goes_on() { return true; }

bool repeats(const std::vector<std::int32_t>& tokens, int n) {
  const auto count = static_cast<int>(tokens.size());
  for (int i = 0; n && i + n <= count; ++i)
    for (int j = i + 1; j + n <= count; ++j)
      if (std::equal(tokens.begin() + i, tokens.begin() + i + n, tokens.begin() + j)) return true;
  return false;
}

}  // namespace

void search_case() {
  const std::int64_t dim = 1 + below(20), vocabulary = 5 + below(40), sentences = 1 + below(5), most = 1 + below(45);
  const std::vector<float> weight = numbers(vocabulary * dim), table = numbers(vocabulary * dim), positions = numbers(most * dim);
  std::vector<std::int64_t> longest(static_cast<std::size_t>(sentences)), lengths(longest.size(), 1);
  for (std::int64_t& one : longest) one = 1 + below(static_cast<int>(most));
  const bool placed = below(2);
  Search call{};
  call.table = table.data(), call.scale = 0.7f, call.positions = placed ? positions.data() : nullptr, call.longest = longest.data();
  call.greedy = below(2), call.width = 1 + below(6), call.best = 1 + below(call.width), call.penalty = below(3) * 0.6;
  call.shortest = below(3) ? 0 : below(8), call.ngram = below(2) ? below(4) : 0, call.threads = 1 + below(3), call.goes_on = goes_on;

  const auto log_probability = [&](std::int32_t last, std::int64_t step, std::int32_t token) {
    double own = 0.0, total = 0.0;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      double logit = 0.0;
      for (std::int64_t k = 0; k < dim; ++k)
        logit += weight[v * dim + k] * (table[last * dim + k] * 0.7f + (placed ? positions[step * dim + k] : 0.0f));
      total += std::exp(logit);
      if (v == token) own = logit;
    }
    return own - std::log(total);
  };

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " search of " + std::to_string(sentences) + " sentences, width " + std::to_string(call.width) +
                ", vocabulary " + std::to_string(vocabulary) + ", n-grams of " + std::to_string(call.ngram) + "\n";
    std::vector<float> packed(static_cast<std::size_t>((*set)->packed_numbers(dim, vocabulary)));
    (*set)->pack_weight(weight.data(), dim, vocabulary, packed.data());
    const Decoder decoder{0, dim, sentences, 1, nullptr, lengths.data(), {}, {dim, vocabulary, packed.data(), nullptr}};
    DecoderRows rows(**set, decoder);
    Searched found;
    call.rows = &rows;
    if (search(call, found) != Status::done) fail("search", 1, 0);
    if (found.impossible >= 0 && !call.ngram) fail("nothing may be emitted", static_cast<double>(found.impossible), -1);
    if (found.impossible >= 0) continue;
    std::vector<int> outputs(static_cast<std::size_t>(sentences));
    std::vector<std::size_t> starts{0};
    for (std::int32_t count : found.counts) starts.push_back(starts.back() + static_cast<std::size_t>(count));
    for (const Ending& ending : found.endings) {
      std::vector<std::int32_t> tokens{ending.token};
      std::int32_t row = ending.row;
      for (std::int32_t step = ending.step; step-- > 0;) {
        const std::size_t at = starts[static_cast<std::size_t>(step)] + static_cast<std::size_t>(row);
        if (at >= starts[static_cast<std::size_t>(step) + 1]) fail("a row that there is not", row, 0);
        tokens.push_back(found.tokens[at]), row = found.parents[at];
      }
      std::reverse(tokens.begin(), tokens.end());
      if (row != ending.sentence) fail("the sentence that an output began with", row, ending.sentence);
      double total = 0.0;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const bool barred = tokens[i] == PAD || tokens[i] == UNKNOWN || tokens[i] == START ||
                            (tokens[i] == END && (i + 1 < tokens.size() || static_cast<std::int64_t>(i) < call.shortest));
        if (barred) fail("a token that is forbidden", tokens[i], -1);
        total += log_probability(i ? tokens[i - 1] : START, static_cast<std::int64_t>(i), tokens[i]);
      }
      const auto length = static_cast<std::int64_t>(tokens.size());
      if (length > longest[ending.sentence]) fail("tokens", static_cast<double>(length), static_cast<double>(longest[ending.sentence]));
      if (tokens.back() != END && length != longest[ending.sentence]) fail("cut", static_cast<double>(length), 0);
      if (repeats(tokens, call.ngram)) fail("n-grams that stand twice", 1, 0);
      near("log-probability", ending.log_probability, total, 1e-3 * (1.0 + std::fabs(total)));
      const double score = call.greedy ? total : total / std::pow(static_cast<double>(length), call.penalty);
      near("score", ending.score, score, 1e-3 * (1.0 + std::fabs(score)));
      ++outputs[static_cast<std::size_t>(ending.sentence)];
    }
    for (int count : outputs)
      if (!count) fail("outputs of a sentence", 0, 1);
  }
}

}  // namespace regard::tests
