// Backward: the gradients of queries, keys and values, from the log-sum-exp that the forward pass kept.
//
// Weights are computed anew, block by block (Dao et al. 2022). With p the weights, dp = context_gradient value' and
// d = sum(context * context_gradient) of each query: the gradient of a score is p (dp - d). It is kept transposed as
// the scores are, so that each of the five products of a block is the micro-kernel with other strides.
#pragma once

#include "kernels/block.h"

namespace regard::REGARD_ISA {

struct BackwardBlock {
  Keep keep;
  float logsumexp[QUERIES], shift[QUERIES];  // times log2(e); and d, less the gradient of the log-sum-exp
  float *query, *gradient;                   // (width, QUERIES) and (value_width, QUERIES), in words
  float *query_rows, *gradient_rows;         // (QUERIES, padded width) and (QUERIES, padded value width), in words
  float* query_gradient;                     // (width, QUERIES)
  float scale;                               // of the products of queries and keys
  int queries, lanes;
  bool started;
};

// Numbers of a group's blocks for each of its queries.
static inline std::int64_t backward_numbers(const AttentionBackward& call) {
  return 2 * call.width + call.value_width + call.padded_width + call.padded_value_width;
}

static inline std::int64_t backward_room(const AttentionBackward& call, int queries) {
  return backward_numbers(call) * queries + (5 * QUERIES + 2 * call.width + call.value_width) * KEYS;
}

// d of each query, from its context and gradient.
template <typename T>
static void shifts(const AttentionBackward& call, const Group& group, std::int64_t first, BackwardBlock& block) {
  const Matrix<const float> context(call.context, group.batch, group.head);
  const Matrix<const T> gradient(call.context_gradient, group.batch, group.head);
  const std::int64_t at = (group.batch * call.heads + group.head) * call.queries + first;
  for (int i = 0; i < QUERIES; ++i) {
    block.logsumexp[i] = block.shift[i] = 0.0f;
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
  const bool hides = !visible.whole(run);
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    const Floats logsumexp = load(block.logsumexp + lane), shift = load(block.shift + lane);
    for (int j = 0; j < run.last - run.first; ++j) {
      float *at = scores + j * QUERIES + lane, *gradient = gradients + j * QUERIES + lane;
      Floats weight = exp2(load(at) - logsumexp), change = load(gradient);
      if (hides) weight = select(visible.see(lane, run.first + j), weight, Floats{});
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

// The gradients of one group; those of keys and values are added to `key_gradient` and `value_gradient`.
template <typename T>
static void backward_group(const AttentionBackward& call, const Group& group, float* key_gradient,
                           float* value_gradient, float* room) {
  typedef typename WordOf<T>::type Word;
  const int width = (int)call.width, value_width = (int)call.value_width, blocks = group.blocks();
  const int padded = (int)call.padded_width, padded_value = (int)call.padded_value_width;
  const Matrix<const T> query(call.query, group.batch, group.head);
  const Matrix<const T> key(call.key, group.batch, group.kv_head), value(call.value, group.batch, group.kv_head);
  const Matrix<const T> gradient(call.context_gradient, group.batch, group.head);
  const Matrix<T> query_gradient(call.query_gradient, group.batch, group.head);
  const bool drops = call.dropout.threshold > 0;

  BackwardBlock block[MOST_BLOCKS];
  Visible visible[MOST_BLOCKS];
  const auto take = [&room](std::int64_t numbers) {
    float* taken = room;
    room += numbers;
    return taken;
  };
  float *scores = take(KEYS * QUERIES), *gradients = take(KEYS * QUERIES);
  Word *weights = (Word*)take(KEYS * QUERIES), *changes = (Word*)take(KEYS * QUERIES), *turned = (Word*)take(KEYS * QUERIES);
  Word *key_room = (Word*)take(KEYS * width), *value_room = (Word*)take(KEYS * value_width), *column_room = (Word*)take(KEYS * width);
  for (int b = 0; b < blocks; ++b) {
    BackwardBlock& one = block[b];
    const std::int64_t first = group.first_of(b);
    one.queries = group.queries_of(b), one.lanes = rounded(one.queries), one.started = false;
    one.query = take(width * QUERIES), one.gradient = take(value_width * QUERIES);
    one.query_rows = take(padded * QUERIES), one.gradient_rows = take(padded_value * QUERIES);
    one.query_gradient = take(width * QUERIES);
    one.scale = pack_columns(query, first, one.queries, width, call.scale * LOG2_E, (Word*)one.query, QUERIES);
    pack_columns(gradient, first, one.queries, value_width, 1.0f, (Word*)one.gradient, QUERIES);
    pack_rows(query, first, one.queries, width, (Word*)one.query_rows, padded);
    pack_rows(gradient, first, one.queries, value_width, (Word*)one.gradient_rows, padded_value);
    shifts<T>(call, group, first, one);
    visible[b].read(call.bounds, group.batch, group.head, first, one.queries, (int)call.keys);
    if (drops) one.keep.read(call.dropout, group.batch, group.head, first);
  }

  Range ranges[2];
  const int count = reach(visible, blocks, ranges);
  for (int r = 0; r < count; ++r)
    for (int first = ranges[r].first; first < ranges[r].last; first += KEYS) {
      const int keys = least(KEYS, ranges[r].last - first);
      const Left<Word> key_rows = rows_of(key, first, keys, width, group.large(), key_room);
      const Left<Word> key_columns = turn_rows(key_rows, key, first, keys, width, column_room);
      const Left<Word> value_rows = rows_of(value, first, keys, value_width, group.large(), value_room);
      for (int b = 0; b < blocks; ++b) {
        BackwardBlock& one = block[b];
        const Range run = visible[b].within(first, first + keys, HELD<Word>);
        if (run.empty()) continue;
        const int length = run.last - run.first, skipped = run.first - first, queries = in_words<Word>(one.queries);
        const Left<Word> these{key_rows.data + skipped * key_rows.row, key_rows.row, key_rows.step};
        const Left<Word> those{value_rows.data + skipped * value_rows.row, value_rows.row, value_rows.step};
        const Left<Word> columns{key_columns.data + in_words<Word>(skipped) * key_columns.step, key_columns.row, key_columns.step};
        product<false>(these, (const Word*)one.query, QUERIES, length, one.lanes, in_words<Word>(width), scores, QUERIES);
        product<false>(those, (const Word*)one.gradient, QUERIES, length, one.lanes, in_words<Word>(value_width), gradients, QUERIES);
        scale_by(one.scale, length, one.lanes, scores);
        softmax_gradient(one, visible[b], run, call.scale, drops, scores, gradients);
        product<true>(over_queries(scores, length, one.lanes, weights), (const Word*)one.gradient_rows, padded_value, length,
                      padded_value, queries, value_gradient + (std::int64_t)run.first * padded_value, padded_value);
        product<true>(over_queries(gradients, length, one.lanes, changes), (const Word*)one.query_rows, padded, length, padded,
                      queries, key_gradient + (std::int64_t)run.first * padded, padded);
        const Word* change = over_keys(gradients, length, one.lanes, turned);
        const int depth = in_words<Word>(length);
        if (one.started)
          product<true>(columns, change, QUERIES, width, one.lanes, depth, one.query_gradient, QUERIES);
        else
          product<false>(columns, change, QUERIES, width, one.lanes, depth, one.query_gradient, QUERIES);
        one.started = true;
      }
    }

  for (int b = 0; b < blocks; ++b) {
    BackwardBlock& one = block[b];
    if (!one.started)
      for (int k = 0; k < width * QUERIES; ++k) one.query_gradient[k] = 0.0f;
    unpack_columns(one.query_gradient, QUERIES, one.queries, width, query_gradient, group.first_of(b));
  }
}

}  // namespace regard::REGARD_ISA
