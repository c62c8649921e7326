#include "search/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>

namespace regard {
namespace {

constexpr float NEVER = -std::numeric_limits<float>::infinity();

typedef std::vector<std::int32_t> Tokens;
typedef std::vector<float> Numbers;
typedef std::vector<std::int64_t> Places;

// A continuation of a sentence: a row, what it emits, and the log-probability of all of it.
struct Candidate {
  std::int64_t row;
  std::int32_t token;
  float total;
};

// A search between two steps. Rows of a sentence lie side by side, `beams` of each.
struct Running {
  const Search& call;
  Searched& found;
  const std::int64_t vocabulary = call.rows->decoder().logits.columns, dim = call.rows->decoder().dim;
  std::int64_t beams = 1;
  std::vector<std::int32_t> sentences;  // those that are not done
  Tokens tokens;                        // that each row emitted last
  Numbers totals;                       // of each row; NEVER: a place without an output
  std::vector<std::int32_t> history;    // (rows, steps) where n-grams are counted
  Numbers hidden, logits, sums, best;
  Places places;

  // Of one step: `each` tokens of each row, the likeliest first, NEVER where there are no more.
  std::int64_t each = 0;
  Numbers values;
  Tokens likeliest;

  Running(const Search& call_, Searched& found_) : call(call_), found(found_) {}

  std::int64_t rows() const { return (std::int64_t)tokens.size(); }
  std::int64_t made() const { return call.rows->made(); }  // steps, and tokens of each row when one is ranked
  bool barred(std::int32_t token) const {
    return token == PAD || token == UNKNOWN || token == START || (token == END && made() - 1 < call.shortest);
  }

  Status step() {
    const std::int64_t at = made();
    hidden.resize((std::size_t)(rows() * dim));
    if ((std::int64_t)logits.size() < rows() * vocabulary) logits.resize((std::size_t)(rows() * vocabulary));
    for (std::int64_t row = 0; row < rows(); ++row) {
      const float* from = call.table + tokens[row] * dim;
      const float* position = call.positions ? call.positions + at * dim : nullptr;
      for (std::int64_t k = 0; k < dim; ++k) hidden[row * dim + k] = from[k] * call.scale + (position ? position[k] : 0.0f);
    }
    return call.rows->step(hidden.data(), call.turns ? call.turns + at * call.turn : nullptr, logits.data(), call.threads);
  }

  // Forbids every token that would complete an n-gram for the second time (Paulus et al. 2018), and the special ones.
  void forbid() {
    const std::int64_t length = made() - 1, n = call.ngram;
    for (std::int64_t row = 0; row < rows(); ++row) {
      float* own = logits.data() + row * vocabulary;
      for (std::int32_t token : {PAD, UNKNOWN, START, END})
        if (barred(token)) own[token] = NEVER;
      const std::int32_t* said = history.data() + row * length;
      for (std::int64_t first = 0; first + n <= length; ++first)
        if (std::equal(said + first, said + first + n - 1, said + length - (n - 1))) own[said[first + n - 1]] = NEVER;
    }
  }

  Status rank(std::int64_t wanted) {
    // A few more than wanted, those that may not be emitted among them; where more is forbidden, what is left.
    each = std::min(wanted, vocabulary);
    const std::int64_t count = call.ngram ? each : std::min(each + 4, vocabulary);
    sums.resize(tokens.size()), best.resize((std::size_t)(rows() * count)), places.resize(best.size());
    Ranking ranking{};
    ranking.rows = rows(), ranking.columns = vocabulary, ranking.values = logits.data(), ranking.threads = call.threads;
    ranking.logsumexp = sums.data();
    if (call.ngram) {
      if (const Status status = call.rows->set().ranking(ranking); status != Status::done) return status;
      forbid();
      ranking.logsumexp = nullptr;
    }
    ranking.count = (int)count, ranking.best = best.data(), ranking.places = places.data();
    if (const Status status = call.rows->set().ranking(ranking); status != Status::done) return status;
    values.assign((std::size_t)(rows() * each), NEVER), likeliest.assign(values.size(), PAD);
    for (std::int64_t row = 0; row < rows(); ++row) {
      std::int64_t held = 0;
      for (std::int64_t k = row * count; k < (row + 1) * count && held < each; ++k) {
        const std::int32_t token = (std::int32_t)places[k];
        if (best[k] == best[k] && barred(token)) continue;  // a NaN stays, wherever it is
        values[row * each + held] = best[k] - sums[row], likeliest[row * each + held++] = token;
      }
    }
    return Status::done;
  }

  // Whether a sentence can emit something of this log-probability; else it is noted.
  bool possible(float log_probability, std::int32_t sentence) {
    if (log_probability > NEVER) return true;
    if (found.impossible < 0)
      found.impossible = sentence, found.after = made() - 1, found.strange = log_probability != log_probability;
    return false;
  }

  void end(std::int32_t sentence, const Candidate& candidate, float score) {
    found.endings.push_back(
        {sentence, (std::int32_t)found.counts.size(), (std::int32_t)candidate.row, candidate.token, candidate.total, score});
  }

  // These go on, in this order.
  Status advance(const std::vector<Candidate>& on) {
    const std::int64_t length = made() - 1;
    const bool moved = (std::int64_t)on.size() != rows() ||
                       !std::all_of(on.begin(), on.end(), [&](const Candidate& one) { return one.row == &one - on.data(); });
    std::vector<std::int32_t> longer;
    Places from;
    for (const Candidate& one : on) {
      found.parents.push_back((std::int32_t)one.row), found.tokens.push_back(one.token), from.push_back(one.row);
      if (!call.ngram) continue;
      const std::int32_t* said = history.data() + one.row * length;
      longer.insert(longer.end(), said, said + length), longer.push_back(one.token);
    }
    found.counts.push_back((std::int32_t)on.size());
    tokens.resize(on.size()), totals.resize(on.size());
    for (std::size_t i = 0; i < on.size(); ++i) tokens[i] = on[i].token, totals[i] = on[i].total;
    history.swap(longer);
    return moved && !on.empty() ? call.rows->select(from.data(), (std::int64_t)from.size()) : Status::done;
  }

  void begin() {
    sentences.resize((std::size_t)call.rows->count());
    std::iota(sentences.begin(), sentences.end(), 0);
    tokens.assign(sentences.size(), START), totals.assign(sentences.size(), 0.0f);
  }

  // Every row emits its likeliest token, until that is END or the row has its greatest length.
  Status greedy() {
    for (begin(); !tokens.empty() && call.goes_on();) {
      if (const Status status = step(); status != Status::done) return status;
      if (const Status status = rank(1); status != Status::done) return status;
      std::vector<Candidate> on;
      std::vector<std::int32_t> left;
      for (std::int64_t row = 0; row < rows(); ++row) {
        if (!possible(values[row], sentences[row])) return Status::done;
        const Candidate one{row, likeliest[row], totals[row] + values[row]};
        if (one.token == END || call.longest[sentences[row]] <= made()) {
          end(sentences[row], one, one.total);
        } else {
          on.push_back(one), left.push_back(sentences[row]);
        }
      }
      sentences.swap(left);
      if (const Status status = advance(on); status != Status::done) return status;
    }
    return Status::done;
  }

  // As regard/decoding/beam.py says.
  Status beam() {
    const std::int64_t width = call.width, wanted = call.best;
    std::vector<std::int64_t> finished((std::size_t)call.rows->count());
    Numbers champions((std::size_t)(call.rows->count() * wanted), NEVER);  // the best scores of each, falling
    std::vector<Candidate> candidates;
    for (begin(); !tokens.empty() && call.goes_on();) {
      if (const Status status = step(); status != Status::done) return status;
      // Each beam has one continuation with END, so that among twice the width at least `width` others are.
      if (const Status status = rank(2 * width); status != Status::done) return status;
      const std::int64_t some = std::min(2 * width, beams * each), next = std::min(width, some);
      const float power = (float)std::pow((double)made(), call.penalty);
      std::vector<Candidate> on;
      std::vector<std::int32_t> left;
      for (std::size_t s = 0; s < sentences.size(); ++s) {
        const std::int32_t sentence = sentences[s];
        const std::int64_t first = (std::int64_t)s * beams;
        candidates.clear();
        for (std::int64_t row = first; row < first + beams; ++row)
          for (std::int64_t k = 0; k < each; ++k) {
            const Candidate one{row, likeliest[row * each + k], values[row * each + k] + totals[row]};
            if (one.total != one.total && !possible(one.total, sentence)) return Status::done;
            if ((std::int64_t)candidates.size() == some) {
              if (!(one.total > candidates.back().total)) break;  // nor is what follows in this row
              candidates.pop_back();
            }
            const auto behind = std::upper_bound(candidates.begin(), candidates.end(), one,
                                                 [](const Candidate& a, const Candidate& b) { return a.total > b.total; });
            candidates.insert(behind, one);
          }
        if (!possible(candidates[0].total, sentence)) return Status::done;

        float* own = champions.data() + sentence * wanted;
        for (std::int64_t k = 0; k < std::min(width, some); ++k) {
          const Candidate& one = candidates[k];
          if (one.token != END || one.total == NEVER) continue;
          const float score = one.total / power;
          end(sentence, one, score), ++finished[sentence];
          if (!(score > own[wanted - 1])) continue;
          own[wanted - 1] = score;
          std::inplace_merge(own, own + wanted - 1, own + wanted, std::greater<float>());
        }

        // The beams of the next step; places without an output are filled up.
        const std::size_t begins = on.size();
        for (const Candidate& one : candidates)
          if ((std::int64_t)(on.size() - begins) < next && one.token != END && one.total > NEVER) on.push_back(one);
        while ((std::int64_t)(on.size() - begins) < next) on.push_back({first, PAD, NEVER});
        const float leads = on[begins].total, worst = own[wanted - 1];
        const std::int64_t longest = call.longest[sentence];
        const bool stopped = longest <= made();
        const bool beaten = worst >= leads / (float)std::pow((double)longest, call.penalty);
        const bool enough = finished[sentence] >= width && worst >= leads / power;
        if (stopped && finished[sentence] < wanted)
          for (std::size_t k = begins; k < on.size() && on[k].total > NEVER; ++k) end(sentence, on[k], on[k].total / power);
        if (stopped || beaten || enough) {
          on.resize(begins);
        } else {
          left.push_back(sentence);
        }
      }
      sentences.swap(left);
      beams = next;
      if (const Status status = advance(on); status != Status::done) return status;
    }
    return Status::done;
  }
};

}  // namespace

Status search(const Search& call, Searched& found) noexcept try {
  Running running(call, found);
  return call.greedy ? running.greedy() : running.beam();
} catch (const std::bad_alloc&) {
  return Status::no_memory;
}

}  // namespace regard
