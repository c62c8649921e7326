// Backward: the gradients of queries, keys and values, from the log-sum-exp that the forward pass kept.
//
// Weights are computed anew, block by block (Dao et al. 2022). With p the weights, dp = context_gradient value' and
// d = sum(context * context_gradient) of each query: the gradient of a score is p (dp - d). It is kept transposed as
// the scores are, so that each of the five products of a block is the micro-kernel with other strides.
#pragma once

#include "kernels/additive.h"

namespace regard::REGARD_ISA {

struct BackwardBlock {
  Keep keep;
  float logsumexp[QUERIES], shift[QUERIES];  // times log2(e); and d, less the gradient of the log-sum-exp
  float *query, *gradient;                   // (width, QUERIES) and (value_width, QUERIES), in words
  float *query_rows, *gradient_rows;         // (QUERIES, padded width) and (QUERIES, padded value width), in words
  float* query_gradient;                     // (width, QUERIES)
  int queries, lanes;
  bool started;
};

// Numbers of a group's blocks for each of its queries.
static inline std::int64_t backward_numbers(const AttentionBackward& call) {
  return 2 * call.width + call.value_width + call.padded_width + call.padded_value_width;
}

template <typename Score>
static std::int64_t backward_room(const AttentionBackward& call, int queries) {
  return Score::room(call) + backward_numbers(call) * queries + (4 * QUERIES + 2 * call.width + call.value_width) * KEYS;
}

// d of each query, from its context and gradient.
template <typename T>
static void shifts(const AttentionBackward& call, const Group& group, std::int64_t first, BackwardBlock& block) {
  const Matrix<const float> context(call.context, group.batch, group.head);
  const Matrix<const T> gradient(call.context_gradient, group.batch, group.head);
  const std::int64_t at = (group.batch * call.heads + group.head) * call.queries + first;
  for (int i = 0; i < QUERIES; ++i) {
    block.logsumexp[i] = __builtin_inff(), block.shift[i] = 0.0f;  // beyond the queries no weights
    if (i >= block.queries) continue;
    Floats sums{};
    int k = 0;
    if (context.column == 1 && gradient.column == 1)
      for (; k + LANES <= call.value_width; k += LANES)
        sums += read_lanes(context.at(first + i, k)) * read_lanes(gradient.at(first + i, k));
    float sum = 0.0f;
    for (int lane = 0; lane < LANES; ++lane) sum += sums[lane];
    for (; k < call.value_width; ++k) sum += read(context.at(first + i, k)) * read(gradient.at(first + i, k));
    block.logsumexp[i] = call.logsumexp[at + i] * LOG2_E;
    block.shift[i] = sum - (call.logsumexp_gradient ? call.logsumexp_gradient[at + i] : 0.0f);
  }
}

// Scores and dp of a run of keys become the weights, as dropout leaves them, and the gradients of the scores.
static inline void softmax_gradient(const BackwardBlock& block, const Visible& visible, Range run, float scale,
                                    bool drops, float* scores, float* gradients) {
  const bool hides = visible.count > 0 && (!visible.whole(run) || block.queries < QUERIES);
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    const Floats logsumexp = load(block.logsumexp + lane), shift = load(block.shift + lane);
    for (int j = 0; j < run.last - run.first; ++j) {
      float *at = scores + j * QUERIES + lane, *gradient = gradients + j * QUERIES + lane;
      Floats weight = exp2(load(at) - logsumexp), change = load(gradient);
      if (hides) {
        const Ints seen = visible.see(lane, run.first + j);
        weight = select(seen, weight, Floats{}), change = select(seen, change, Floats{});
      }
      Floats kept = weight;
      if (drops) {
        const Floats factor = block.keep.factor(lane, run.first + j);
        kept *= factor, change *= factor;
      }
      store(at, kept);
      store(gradient, weight * (change - shift) * scale);
    }
  }
}

// The gradients of one group; those of keys, values and the score's weight are added to what is there.
template <typename T, typename Score>
static void backward_group(const AttentionBackward& call, const Group& group, Sums key_gradient, Sums value_gradient,
                           float* weight_gradient, float* room) {
  typedef typename Score::Word Word;
  const int width = (int)call.width, value_width = (int)call.value_width, blocks = group.blocks();
  const int padded = (int)call.padded_width, padded_value = (int)call.padded_value_width;
  const Matrix<const T> value(call.value, group.batch, group.kv_head), gradient(call.context_gradient, group.batch, group.head);
  const Matrix<T> query_gradient(call.query_gradient, group.batch, group.head);
  const bool drops = call.dropout.threshold > 0;

  BackwardBlock block[MOST_BLOCKS];
  Visible visible[MOST_BLOCKS];
  for (int b = 0; b < blocks; ++b)
    visible[b].read(call.bounds, group.batch, group.head, group.first_of(b), group.queries_of(b), (int)call.keys);
  Range ranges[2];
  const int count = reach(visible, blocks, ranges);
  const auto take = [&room](std::int64_t numbers) {
    float* taken = room;
    room += numbers;
    return taken;
  };
  Score score(call, group, ranges, count, LOG2_E, take(Score::room(call)));
  float *scores = take(KEYS * QUERIES), *gradients = take(KEYS * QUERIES);
  float *weights = take(KEYS * QUERIES), *changes = take(KEYS * QUERIES);
  float *key_room = take(KEYS * width), *value_room = take(KEYS * value_width), *column_room = take(KEYS * width);
  for (int b = 0; b < blocks; ++b) {
    BackwardBlock& one = block[b];
    const std::int64_t first = group.first_of(b);
    one.queries = group.queries_of(b), one.lanes = rounded(one.queries), one.started = false;
    one.query = take(width * QUERIES), one.gradient = take(value_width * QUERIES);
    one.query_rows = take(padded * QUERIES), one.gradient_rows = take(padded_value * QUERIES);
    one.query_gradient = take(width * QUERIES);
    score.pack(first, one.queries, one.query);
    score.pack_more(first, one.queries, one.query_rows, one.query_gradient);
    pack_columns(gradient, first, one.queries, value_width, 1.0f, (Word*)one.gradient, QUERIES);
    pack_rows(gradient, first, one.queries, value_width, (Word*)one.gradient_rows, padded_value);
    shifts<T>(call, group, first, one);
    if (drops) one.keep.read(call.dropout, group.batch, group.head, first);
  }

  for (int r = 0; r < count; ++r)
    for (int first = ranges[r].first; first < ranges[r].last; first += KEYS) {
      const int keys = least(KEYS, ranges[r].last - first);
      const Left<Word> key_rows = score.rows(first, keys, key_room), key_columns = score.columns(key_rows, first, keys, column_room);
      const Left<Word> value_rows = rows_of(value, first, keys, value_width, group.large(), (Word*)value_room);
      for (int b = 0; b < blocks; ++b) {
        BackwardBlock& one = block[b];
        const Range run = visible[b].within(first, first + keys, HELD<Word>);
        if (run.empty()) continue;
        const int length = run.last - run.first, skipped = run.first - first;
        const Left<Word> these{key_rows.data + skipped * key_rows.row, key_rows.row, key_rows.step};
        const Left<Word> those{value_rows.data + skipped * value_rows.row, value_rows.row, value_rows.step};
        const Left<Word> columns{key_columns.data + in_words<Word>(skipped) * key_columns.step, key_columns.row, key_columns.step};
        score.scores(these, one.query, length, one.lanes, scores);
        product<false>(those, (const Word*)one.gradient, QUERIES, length, one.lanes, in_words<Word>(value_width), gradients, QUERIES);
        softmax_gradient(one, visible[b], run, score.factor(), drops, scores, gradients);
        product<true>(over_queries(scores, length, one.lanes, (Word*)weights), (const Word*)one.gradient_rows, padded_value, length,
                      padded_value, in_words<Word>(one.queries), value_gradient.at(run.first), value_gradient.row);
        score.add_gradients(gradients, columns, one.query, one.query_rows, one.queries, length, one.lanes, one.started,
                            one.query_gradient, key_gradient.from(run.first), changes);
        one.started = true;
      }
      score.finish_tile(keys, key_gradient.from(first));
    }
  score.finish_group(weight_gradient);

  for (int b = 0; b < blocks; ++b) {
    BackwardBlock& one = block[b];
    if (!one.started)
      for (int k = 0; k < width * QUERIES; ++k) one.query_gradient[k] = 0.0f;
    score.finish_block(one.query_gradient);
    unpack_columns(one.query_gradient, QUERIES, one.queries, width, query_gradient, group.first_of(b));
  }
}

}  // namespace regard::REGARD_ISA
