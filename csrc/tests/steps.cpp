// A step of a decoder, against the same in double precision, one number after the other.

#include <cmath>
#include <vector>

#include "dispatch/choose.h"
#include "tests/random.h"

namespace regard::tests {
namespace {

typedef std::vector<double> Row;

struct Drawn {
  std::vector<float> weight, bias;
  std::int64_t depth, columns;

  Drawn(std::int64_t depth_, std::int64_t columns_)
      : weight(numbers(depth_ * columns_, 1.0f / std::sqrt(static_cast<float>(depth_)))), depth(depth_), columns(columns_) {
    if (below(2)) bias = numbers(columns_);
  }
  Row of(const Row& inputs) const {
    Row found(static_cast<std::size_t>(columns));
    for (std::int64_t c = 0; c < columns; ++c) {
      found[c] = bias.empty() ? 0.0 : bias[c];
      for (std::int64_t k = 0; k < depth; ++k) found[c] += inputs[k] * weight[c * depth + k];
    }
    return found;
  }
  Linear packed(const Kernels& set, std::vector<std::vector<float>>& kept) const {
    kept.emplace_back(static_cast<std::size_t>(set.packed_numbers(depth, columns)));
    set.pack_weight(weight.data(), depth, columns, kept.back().data());
    return {depth, columns, kept.back().data(), bias.empty() ? nullptr : bias.data()};
  }
};

struct DrawnNorm {
  std::vector<float> gain, shift;

  Norm norm() const { return {gain.empty() ? nullptr : gain.data(), shift.data(), 1e-5f}; }
  Row of(Row row) const {
    if (gain.empty()) return row;
    double mean = 0.0, variance = 0.0;
    for (double x : row) mean += x / static_cast<double>(row.size());
    for (double x : row) variance += (x - mean) * (x - mean) / static_cast<double>(row.size());
    for (std::size_t k = 0; k < row.size(); ++k) row[k] = (row[k] - mean) / std::sqrt(variance + 1e-5f) * gain[k] + shift[k];
    return row;
  }
};

struct DrawnBlock {
  Heads own, cross;
  Activation activation;
  std::vector<Drawn> linears;
  DrawnNorm before[3], after[3];
  std::vector<float> memory, said;
};

// Softmax attention of a row's query, head by head, to keys that `key` gives.
template <typename Key>
Row attended(const Heads& heads, const Row& query, std::int64_t count, const Key& key) {
  Row context(static_cast<std::size_t>(heads.heads * heads.width));
  for (std::int64_t h = 0; h < heads.heads; ++h) {
    const std::int64_t at = h / (heads.heads / heads.kv_heads) * heads.width;
    Row weights(static_cast<std::size_t>(count));
    double total = 0.0;
    for (std::int64_t j = 0; j < count; ++j) {
      double score = 0.0;
      for (std::int64_t k = 0; k < heads.width; ++k) score += query[h * heads.width + k] * key(j)[at + k];
      total += weights[j] = std::exp(score * heads.scale);
    }
    for (std::int64_t j = 0; j < count; ++j)
      for (std::int64_t k = 0; k < heads.width; ++k)
        context[h * heads.width + k] += weights[j] / total * key(j)[heads.kv_heads * heads.width + at + k];
  }
  return context;
}

void turn_row(Row& row, std::int64_t heads, std::int64_t width, const std::vector<float>& turn) {
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t k = 0; k < width / 2; ++k) {
      double &x = row[h * width + k], &y = row[h * width + width / 2 + k];
      const double a = x, b = y;
      x = a * turn[k] - b * turn[width / 2 + k], y = b * turn[k] + a * turn[width / 2 + k];
    }
}

double active(double x, Activation activation) {
  if (activation == Activation::relu) return x > 0.0 ? x : 0.0;
  return activation == Activation::gelu ? 0.5 * x * (1.0 + std::erf(x * std::sqrt(0.5))) : x / (1.0 + std::exp(-x));
}

}  // namespace

void steps_case() {
  const std::int64_t dim = 1 + below(40), sentences = 1 + below(3), places = 1 + below(20), vocabulary = 1 + below(50);
  const std::int64_t rows = 1 + below(9), steps = 1 + below(20), room = rows * steps + below(5), blocks = 1 + below(3);
  const bool pre = below(2), turns = below(2);
  const std::int64_t own_width = 2 * (1 + below(10));
  const auto norm = [&](bool there) {
    DrawnNorm found;
    if (there) found.gain = numbers(dim), found.shift = numbers(dim);
    return found;
  };
  std::vector<DrawnBlock> drawn;
  for (std::int64_t b = 0; b < blocks; ++b) {
    DrawnBlock block;
    const auto heads = [](std::int64_t width) {
      const std::int64_t kv_heads = 1 + below(2);
      return Heads{kv_heads * (1 + below(3)), kv_heads, width, 1.0f / std::sqrt(static_cast<float>(width))};
    };
    block.own = heads(own_width), block.cross = heads(1 + below(20));
    block.activation = static_cast<Activation>(below(3));
    const std::int64_t queries = block.own.heads * block.own.width, said = queries + 2 * block.own.kv_heads * block.own.width;
    const std::int64_t asked = block.cross.heads * block.cross.width, inner = 1 + below(60);
    block.linears = {Drawn(dim, said), Drawn(queries, dim), Drawn(dim, asked), Drawn(asked, dim), Drawn(dim, inner), Drawn(inner, dim)};
    for (int i = 0; i < 3; ++i) block.before[i] = norm(pre), block.after[i] = norm(!pre);
    block.memory = numbers(sentences * places * 2 * block.cross.kv_heads * block.cross.width), block.said = numbers(room * said);
    drawn.push_back(block);
  }
  const DrawnNorm last = norm(pre);
  const Drawn logits(dim, vocabulary);
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(sentences));
  for (std::int64_t& length : lengths) length = 1 + below(static_cast<int>(places));
  const std::int64_t first = rows * (steps - 1), table_row = steps + below(3);
  std::vector<std::int32_t> table(static_cast<std::size_t>(rows * table_row), -1), sentence(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t j = 0; j + 1 < steps; ++j) table[row * table_row + j] = static_cast<std::int32_t>(j * rows + below(static_cast<int>(rows)));
    table[row * table_row + steps - 1] = static_cast<std::int32_t>(first + row);
    sentence[row] = static_cast<std::int32_t>(below(static_cast<int>(sentences)));
  }
  const std::vector<float> inputs = numbers(rows * dim), turn = numbers(own_width);

  // What is expected: first what every row says, since rows may read each other's places.
  std::vector<Row> hidden;
  for (std::int64_t row = 0; row < rows; ++row) hidden.emplace_back(inputs.begin() + row * dim, inputs.begin() + (row + 1) * dim);
  std::vector<std::vector<double>> all_said;
  for (const DrawnBlock& block : drawn) {
    const std::int64_t columns = block.linears[0].columns, queries = block.own.heads * block.own.width;
    std::vector<double> said(block.said.begin(), block.said.end());
    std::vector<Row> read;
    for (std::int64_t row = 0; row < rows; ++row) {
      Row one = block.linears[0].of(block.before[0].of(hidden[row]));
      if (turns) turn_row(one, block.own.heads + block.own.kv_heads, own_width, turn);
      std::copy(one.begin(), one.end(), said.begin() + (first + row) * columns);
      read.push_back(one);
    }
    const auto add = [&](Row& to, const Row& more, const DrawnNorm& after) {
      for (std::int64_t k = 0; k < dim; ++k) to[k] += more[k];
      to = after.of(to);
    };
    for (std::int64_t row = 0; row < rows; ++row) {
      const Row own = attended(block.own, read[row], steps,
                               [&](std::int64_t j) { return said.data() + table[row * table_row + j] * columns + queries; });
      add(hidden[row], block.linears[1].of(own), block.after[0]);
      const std::int64_t wide = 2 * block.cross.kv_heads * block.cross.width;
      const Row cross = attended(block.cross, block.linears[2].of(block.before[1].of(hidden[row])), lengths[sentence[row]],
                                 [&](std::int64_t j) { return block.memory.data() + (sentence[row] * places + j) * wide; });
      add(hidden[row], block.linears[3].of(cross), block.after[1]);
      Row inner = block.linears[4].of(block.before[2].of(hidden[row]));
      for (double& x : inner) x = active(x, block.activation);
      add(hidden[row], block.linears[5].of(inner), block.after[2]);
    }
  }

  for (const Kernels* const* set = BUILT; *set; ++set) {
    if (!supported(**set)) continue;
    described = std::string((*set)->name) + " step of " + std::to_string(blocks) + " blocks, " + std::to_string(rows) + " rows, dim " +
                std::to_string(dim) + ", step " + std::to_string(steps) + "\n";
    std::vector<std::vector<float>> kept;
    kept.reserve(static_cast<std::size_t>(blocks * 6 + 1));
    std::vector<DecoderBlock> given;
    std::vector<std::vector<float>> said;
    for (const DrawnBlock& block : drawn) {
      said.push_back(block.said);
      DecoderBlock one{};
      for (int i = 0; i < 3; ++i) one.before[i] = block.before[i].norm(), one.after[i] = block.after[i].norm();
      Linear* const to[] = {&one.read, &one.write, &one.ask, &one.answer, &one.inner, &one.outer};
      for (int i = 0; i < 6; ++i) *to[i] = block.linears[i].packed(**set, kept);
      one.own = block.own, one.cross = block.cross, one.activation = block.activation, one.memory = block.memory.data();
      given.push_back(one);
    }
    for (std::int64_t b = 0; b < blocks; ++b) given[b].said = said[b].data();
    const Decoder decoder{blocks, dim, sentences, places, given.data(), lengths.data(), last.norm(), logits.packed(**set, kept)};
    std::vector<float> running = inputs, found(static_cast<std::size_t>(rows * vocabulary) + 1, 7.0f);
    Step step{};
    step.decoder = &decoder, step.rows = rows, step.first = first, step.steps = steps, step.table = table.data();
    step.table_row = table_row, step.sentence = sentence.data(), step.turn = turns ? turn.data() : nullptr;
    step.hidden = running.data(), step.logits = found.data(), step.threads = 1 + below(3);
    if ((*set)->decoder_step(step) != Status::done) fail("decoder step", 1, 0);
    if (found.back() != 7.0f) fail("written beyond its end", 7.0, found.back());
    for (std::int64_t row = 0; row < rows; ++row) {
      const Row expected = logits.of(last.of(hidden[row]));
      // Norms of one or two numbers divide by what rounding leaves of their difference.
      if (dim > 3)
        for (std::int64_t v = 0; v < vocabulary; ++v) near("logits", found[row * vocabulary + v], expected[v], 2e-3 * (1.0 + std::fabs(expected[v])));
    }
  }
}

}  // namespace regard::tests
