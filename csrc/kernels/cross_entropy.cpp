// The loss and its gradients, a block of rows at a time: logits are computed, become weights relative to the largest of
// their part of the vocabulary, and are multiplied with what gives the gradients, while they are in the caches.
//
// Rows of hidden states lie in the lanes, as queries do in attention: so each of the three products is the micro-kernel with
// other strides, and the softmax never adds up the lanes of a vector. A part of the vocabulary is a task: first it has weights
// relative to its own largest logit, and what they are of the hidden states' gradient; when all parts are known, so are the
// factors that make these weights the softmax, and each part adds its rows of the weight's gradient.

#include "kernels/cross_entropy.h"

#include <cstring>

#include "kernels/block.h"
#include "kernels/entries.h"
#include "kernels/workspace.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

constexpr int ROWS = 256;            // of a block: the weight's gradient is read and written once for each
constexpr int PANELS = ROWS / QUERIES;
constexpr int PART = 4 * KEYS;       // words of the vocabulary that a task has: of 128 numbers they are in the second cache

// A block of rows, and what its tasks tell each other.
template <typename T>
struct Block {
  typedef typename WordOf<T>::type Word;
  const CrossEntropy& call;
  const Matrix<const T> hidden, weight;
  const int parts;            // of the vocabulary
  const bool keeps;           // whether there are gradients
  std::int64_t first = 0;     // of the block's rows
  int rows = 0, panels = 0;   // of this block
  float* packed = nullptr;              // [panel] (width, QUERIES), in words
  float* weights = nullptr;             // [part][panel] (PART, QUERIES) in words of the product over rows
  float *highest = nullptr, *sums = nullptr;      // [part] (ROWS): the largest logit, times log2(e), and the sum of the weights
  float* products = nullptr;            // [part][panel] (width, QUERIES): weights of the part times its rows
  float* factors = nullptr;             // [part] (ROWS): what makes a part's weights the softmax, divided by all rows
  float* total = nullptr;               // (width): minus smoothing / vocabulary / rows times the sum of all hidden states
  float* sum_of_weight = nullptr;       // (width)
  float* logsumexp = nullptr;           // (ROWS), times log2(e)

  int words_of(int part) const { return least(PART, (int)call.vocabulary - part * PART); }
  Word* weights_of(int part, int panel) const {
    return (Word*)weights + ((std::int64_t)part * PANELS + panel) * PART * (QUERIES / HELD<Word>);
  }
  float* products_of(int part, int panel) const {
    return products + ((std::int64_t)part * PANELS + panel) * call.width * QUERIES;
  }
  float spread() const { return call.smoothing / (float)call.vocabulary; }
};

// The largest of a panel's logits, and what the others are beside it: weights, and their sum.
template <typename T>
void weigh_panel(const Block<T>& block, int part, int panel, float* logits) {
  const std::int64_t at = (std::int64_t)part * ROWS + panel * QUERIES;
  const int words = block.words_of(part);
  for (int lane = 0; lane < QUERIES; lane += LANES) {
    Floats highest = load(logits + lane), sum{};
    for (int word = 1; word < words; ++word) highest = larger(highest, load(logits + word * QUERIES + lane));
    for (int word = 0; word < words; ++word) {
      float* one = logits + word * QUERIES + lane;
      const Floats weight = exp2(load(one) - highest);
      sum += weight;
      store(one, weight);
    }
    store(block.highest + at + lane, highest), store(block.sums + at + lane, sum);
  }
}

// A part's weights, their sums, and their product with its rows of the projection.
template <typename T>
void weigh_task(const void* given, std::int64_t index, float* room) {
  const Block<T>& block = *static_cast<const Block<T>*>(given);
  typedef typename Block<T>::Word Word;
  const int part = (int)index, words = block.words_of(part), width = (int)block.call.width, depth = in_words<Word>(width);
  Word *rows = (Word*)room, *columns = rows + PART * width, *pairs = columns + PART * width;
  const std::ptrdiff_t first = (std::ptrdiff_t)part * PART;
  const Left<Word> weight = rows_of(block.weight, first, words, width, true, rows);
  const Left<Word> turned = turn_rows(weight, block.weight, first, words, width, columns);
  for (int panel = 0; panel < block.panels; ++panel) {
    Word* kept = block.keeps ? block.weights_of(part, panel) : nullptr;
    float* logits = HELD<Word> == 1 && kept ? (float*)kept : (float*)(pairs + KEYS * QUERIES);
    const Word* packed = (const Word*)block.packed + panel * depth * QUERIES;
    for (int word = 0; word < words; word += KEYS)
      product<false>(Left<Word>{weight.data + word * weight.row, weight.row, weight.step}, packed, QUERIES, least(KEYS, words - word),
                     QUERIES, depth, logits + word * QUERIES, QUERIES);
    if constexpr (HELD<Word> > 1) scale_by(LOG2_E, words, QUERIES, logits);
    weigh_panel(block, part, panel, logits);
    if (!kept) continue;
    float* to = block.products_of(part, panel);
    for (int word = 0; word < words; word += KEYS) {
      const int some = least(KEYS, words - word);
      const Left<Word> left{turned.data + word / HELD<Word> * turned.step, turned.row, turned.step};
      const Word* right = over_keys(logits + word * QUERIES, some, QUERIES, pairs);
      (word == 0 ? product<false, Word> : product<true, Word>)(left, right, QUERIES, width, QUERIES, in_words<Word>(some), to, QUERIES);
    }
    over_queries(logits, words, QUERIES, kept);  // of floats they are there
  }
}

// Where all parts are known: the log-sum-exp of each row, and the factors of its weights.
template <typename T>
void merge(const Block<T>& block) {
  const float share = 1.0f / (float)block.call.rows;
  for (int lane = 0; lane < block.panels * QUERIES; lane += LANES) {
    Floats highest = load(block.highest + lane), sum{};
    for (int part = 1; part < block.parts; ++part) highest = larger(highest, load(block.highest + (std::int64_t)part * ROWS + lane));
    for (int part = 0; part < block.parts; ++part) {
      const std::int64_t at = (std::int64_t)part * ROWS + lane;
      sum += load(block.sums + at) * exp2(load(block.highest + at) - highest);
    }
    store(block.logsumexp + lane, highest + log2(sum));
    for (int part = 0; part < block.parts; ++part) {
      const std::int64_t at = (std::int64_t)part * ROWS + lane;
      store(block.factors + at, exp2(load(block.highest + at) - highest) / sum * share);
    }
  }
}

// What a part adds to the gradient of its rows of the weight: the tile is held for all rows of the block.
template <int HEIGHT, typename Word>
[[gnu::always_inline]] inline void gradient_tile(const Word* weights, std::ptrdiff_t panel_step, int panels, const Word* hidden,
                                                 float* to, std::ptrdiff_t to_row) {
  constexpr int DEPTH = QUERIES / HELD<Word>;
  Floats sum[HEIGHT][2];
#pragma GCC unroll 16
  for (int i = 0; i < HEIGHT; ++i) sum[i][0] = load(to + i * to_row), sum[i][1] = load(to + i * to_row + LANES);
  for (int panel = 0; panel < panels; ++panel, weights += panel_step) {
    for (int i = 0; i < HEIGHT; ++i) __builtin_prefetch(weights + panel_step + i * DEPTH);  // panels lie far apart
    for (int k = 0; k < DEPTH; ++k, hidden += 2 * LANES) {
      const auto right = load(hidden), more = load(hidden + LANES);
#pragma GCC unroll 16
      for (int i = 0; i < HEIGHT; ++i) {
        const auto left = broadcast(weights[i * DEPTH + k]);
        sum[i][0] = multiply_add(sum[i][0], left, right), sum[i][1] = multiply_add(sum[i][1], left, more);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < HEIGHT; ++i) store(to + i * to_row, sum[i][0]), store(to + i * to_row + LANES, sum[i][1]);
}

// Hidden states times a part's factors, two vectors of columns at a time, (ROWS, 2 LANES); in pairs, of neighbouring rows.
template <typename T>
void scaled_columns(const Block<T>& block, int part, int column, float* to) {
  const int width = (int)block.call.width;
  for (int i = 0; i < block.panels * QUERIES; ++i)
    for (int v = 0; v < 2 * LANES; v += LANES) {
      Floats numbers{};
      if (i < block.rows) {
        const T* from = block.hidden.at(block.first + i, column + v);
        if (column + v + LANES <= width)
          numbers = read_lanes(from);
        else
          for (int lane = 0; column + v + lane < width; ++lane) numbers[lane] = read(from + lane);
        numbers *= broadcast(block.factors[(std::int64_t)part * ROWS + i]);
      }
      store(to + i * 2 * LANES + v, numbers);
    }
}
[[maybe_unused]] const float* as_words(const float* numbers, int, float*) { return numbers; }
[[maybe_unused]] const std::uint32_t* as_words(const float* numbers, int rows, std::uint32_t* room) {
  for (int i = 0; i < rows; i += 2)
    for (int v = 0; v < 2 * LANES; v += LANES)
      store(room + i * LANES + v, pairs_of(load(numbers + i * 2 * LANES + v), load(numbers + (i + 1) * 2 * LANES + v)));
  return room;
}

template <typename T>
void weight_gradient(const Block<T>& block, int part, float* room) {
  typedef typename Block<T>::Word Word;
  const CrossEntropy& call = block.call;
  const int words = block.words_of(part), width = (int)call.width;
  const std::ptrdiff_t panel_step = PART * (QUERIES / HELD<Word>);
  const Word* weights = block.weights_of(part, 0);
  float* to = call.weight_gradient + (std::int64_t)part * PART * width;
  if (block.first == 0)
    for (int word = 0; word < words; ++word) __builtin_memcpy(to + word * width, block.total, width * sizeof(float));
  float *columns = room, *tile = columns + ROWS * 2 * LANES, *pairs = tile + TILE_ROWS * 2 * LANES;
  for (int column = 0; column < width; column += 2 * LANES) {
    scaled_columns(block, part, column, columns);
    const Word* right = as_words(columns, block.panels * QUERIES, (Word*)pairs);
    const int some = least(2 * LANES, width - column);
    for (int word = 0; word < words; word += TILE_ROWS) {
      float* at = to + word * width + column;
      const Word* left = weights + word * (QUERIES / HELD<Word>);
      if (word + TILE_ROWS <= words && some == 2 * LANES) {
        gradient_tile<TILE_ROWS>(left, panel_step, block.panels, right, at, width);
        continue;
      }
      const int height = least(TILE_ROWS, words - word);
      for (int i = 0; i < height; ++i) {
        for (int j = 0; j < 2 * LANES; ++j) tile[j] = j < some ? at[i * width + j] : 0.0f;
        gradient_tile<1>(left + i * (QUERIES / HELD<Word>), panel_step, block.panels, right, tile, 2 * LANES);
        for (int j = 0; j < some; ++j) at[i * width + j] = tile[j];
      }
    }
  }
  // What is less by the targets' share.
  const float share = (1.0f - call.smoothing) / (float)call.rows;
  for (int i = 0; i < block.rows; ++i) {
    const std::int64_t word = call.target[block.first + i] - (std::int64_t)part * PART;
    if (word < 0 || word >= words) continue;
    for (int k = 0; k < width; ++k) to[word * width + k] -= share * read(block.hidden.at(block.first + i, k));
  }
}

template <typename T>
void hidden_gradient(const Block<T>& block, int panel, float* room) {
  const CrossEntropy& call = block.call;
  const int width = (int)call.width, first = panel * QUERIES, rows = least(QUERIES, block.rows - first);
  for (int k = 0; k < width; ++k)
    for (int lane = 0; lane < QUERIES; lane += LANES) {
      Floats sum{};
      for (int part = 0; part < block.parts; ++part)
        sum += load(block.products_of(part, panel) + k * QUERIES + lane) * load(block.factors + (std::int64_t)part * ROWS + first + lane);
      store(room + k * QUERIES + lane, sum);
    }
  const Matrix<float> to(Tensor{call.hidden_gradient, 0, 0, width, 1}, 0, 0);
  unpack_columns(room, QUERIES, rows, width, to, block.first + first);
  const float share = (1.0f - call.smoothing) / (float)call.rows, spread = block.spread() / (float)call.rows;
  for (int i = 0; i < rows; ++i) {
    float* row = to.at(block.first + first + i);
    const T* target = block.weight.at(call.target[block.first + first + i]);
    for (int k = 0; k < width; ++k) row[k] -= share * read(target + k) + spread * block.sum_of_weight[k];
  }
}

// The gradients of a block: tasks of the parts, then of the panels.
template <typename T>
void gradient_task(const void* given, std::int64_t index, float* room) {
  const Block<T>& block = *static_cast<const Block<T>*>(given);
  const std::int64_t parts = block.call.weight_gradient ? block.parts : 0;
  if (index < parts)
    weight_gradient(block, (int)index, room);
  else
    hidden_gradient(block, (int)(index - parts), room);
}

template <typename T>
void sum_rows(const Matrix<const T>& from, std::int64_t rows, int width, float factor, float* to) {
  for (int k = 0; k < width; ++k) to[k] = 0.0f;
  for (std::int64_t i = 0; i < rows; ++i)
    for (int k = 0; k < width; ++k) to[k] += read(from.at(i, k));
  for (int k = 0; k < width; ++k) to[k] *= factor;
}

// The loss of a block's rows: ln sum exp less the mean of the logits by q, of which the products are taken at once.
template <typename T>
double loss_of(const Block<T>& block) {
  const CrossEntropy& call = block.call;
  const int width = (int)call.width;
  double loss = 0.0;
  for (int i = 0; i < block.rows; ++i) {
    const T *hidden = block.hidden.at(block.first + i), *target = block.weight.at(call.target[block.first + i]);
    double chosen = 0.0, mean = 0.0;
    int k = 0;
    Floats of_target{}, of_all{};
    for (; k + LANES <= width; k += LANES) {
      const Floats numbers = read_lanes(hidden + k);
      of_target += numbers * read_lanes(target + k), of_all += numbers * load(block.sum_of_weight + k);
    }
    for (int lane = 0; lane < LANES; ++lane) chosen += of_target[lane], mean += of_all[lane];
    for (; k < width; ++k) chosen += read(hidden + k) * read(target + k), mean += read(hidden + k) * block.sum_of_weight[k];
    loss += (double)block.logsumexp[i] * LN_2 - (1.0 - call.smoothing) * chosen - block.spread() * mean;
  }
  return loss;
}

template <typename T>
Status run(const CrossEntropy& call) {
  typedef typename Block<T>::Word Word;
  const int width = (int)call.width, parts = (int)((call.vocabulary + PART - 1) / PART);
  *call.loss = 0.0;
  if (call.rows == 0 && call.weight_gradient) std::memset(call.weight_gradient, 0, sizeof(float) * call.vocabulary * width);
  const bool keeps = call.hidden_gradient || call.weight_gradient;
  const std::int64_t places = (std::int64_t)parts * ROWS;
  const std::int64_t of_products = keeps ? places * width : 0, of_weights = keeps ? places * PART : 0;
  Workspace space(ROWS * width + of_products + of_weights + 3 * places + 2 * width + ROWS);
  if (!space) return Status::no_memory;
  const Matrix<const T> hidden(Tensor{const_cast<void*>(call.hidden), 0, 0, width, 1}, 0, 0);
  const Matrix<const T> weight(Tensor{const_cast<void*>(call.weight), 0, 0, width, 1}, 0, 0);
  Block<T> block{call, hidden, weight, parts, keeps};
  block.weights = space.take(of_weights), block.products = space.take(of_products), block.packed = space.take(ROWS * width);
  block.highest = space.take(places), block.sums = space.take(places), block.factors = space.take(places);
  block.logsumexp = space.take(ROWS), block.total = space.take(width), block.sum_of_weight = space.take(width);
  sum_rows(weight, call.vocabulary, width, 1.0f, block.sum_of_weight);
  if (call.weight_gradient) sum_rows(hidden, call.rows, width, -block.spread() / (float)call.rows, block.total);

  const std::size_t weigh_room = 2 * PART * width + KEYS * QUERIES + PART * QUERIES;
  const std::size_t gradient_room = 2 * ROWS * 2 * LANES + TILE_ROWS * 2 * LANES + (std::size_t)width * QUERIES;
  for (; block.first < call.rows; block.first += ROWS) {
    block.rows = (int)(call.rows - block.first < ROWS ? call.rows - block.first : ROWS);
    block.panels = (block.rows + QUERIES - 1) / QUERIES;
    if (block.rows < ROWS) std::memset(block.packed, 0, sizeof(float) * ROWS * width);  // lanes without a row
    for (int panel = 0; panel < block.panels; ++panel)
      pack_columns(hidden, block.first + panel * QUERIES, least(QUERIES, block.rows - panel * QUERIES), width, LOG2_E,
                   (Word*)block.packed + (std::int64_t)panel * in_words<Word>(width) * QUERIES, QUERIES);
    const Status weighed = run_parallel(call.threads, parts, weigh_room, weigh_task<T>, &block);
    if (weighed != Status::done) return weighed;
    merge(block);
    *call.loss += loss_of(block);
    if (!keeps) continue;
    const std::int64_t tasks = (call.weight_gradient ? parts : 0) + (call.hidden_gradient ? block.panels : 0);
    const Status derived = run_parallel(call.threads, tasks, gradient_room, gradient_task<T>, &block);
    if (derived != Status::done) return derived;
  }
  return Status::done;
}

}  // namespace

Status cross_entropy(const CrossEntropy& call) noexcept {
  return call.type == Type::float32 ? run<float>(call) : run<Half>(call);
}

}  // namespace regard::REGARD_ISA
