// Forward: the context and the log-sum-exp of a group of queries, over all keys that they may see, in one pass.
//
// The softmax is online (Milakov and Gimelshein 2018; Dao et al. 2022): each query keeps the highest score so far, the
// sum of 2^(score - highest), and its context times that sum. Scores are kept transposed, a key a row and a query a
// lane, so that no step of the softmax ever adds up the lanes of a vector.
#pragma once

#include "kernels/additive.h"

namespace regard::REGARD_ISA {

struct ForwardBlock {
  Keep keep;
  float highest[QUERIES], sum[QUERIES];  // scores times log2(e)
  float *query, *context;                // (width, QUERIES), in words, and (value_width, QUERIES)
  int queries, lanes;
  bool started;
};

// Numbers of scratch for each thread, `queries` of a group given.
template <typename Score>
static std::int64_t forward_room(const Attention& call, int queries) {
  return Score::room(call) + (call.width + call.value_width) * (queries + KEYS) + 2 * KEYS * QUERIES;
}

// Scores become weights, up to the division by their sum; what the block holds so far is brought to the same scale.
static inline void online_softmax(ForwardBlock& block, int first, int keys, int value_width, bool drops, float* scores) {
  Ints grown{};
  float shrink[QUERIES];
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    const Floats before = load(block.highest + lane);
    Floats highest = before;
    for (int j = 0; j < keys; ++j) highest = larger(load(scores + j * QUERIES + lane), highest);
    const Floats base = select(highest == -__builtin_inff(), Floats{}, highest);  // so far nothing was seen
    const Floats factor = exp2(before - base);
    Floats sum = load(block.sum + lane) * factor;
    for (int j = 0; j < keys; ++j) {
      float* at = scores + j * QUERIES + lane;
      Floats weight = exp2(load(at) - base);
      sum += weight;
      if (drops) weight *= block.keep.factor(lane, first + j);
      store(at, weight);
    }
    store(block.highest + lane, highest), store(block.sum + lane, sum), store(shrink + lane, factor);
    grown |= highest != before;
  }
  if (!block.started || !any(grown)) return;
  for (int j = 0; j < value_width; ++j)
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      float* at = block.context + j * QUERIES + lane;
      store(at, load(at) * load(shrink + lane));
    }
}

// The context divided by the sum of the weights, and the log-sum-exp; false if something in it is no finite number.
static inline bool finish(ForwardBlock& block, const Visible& visible, int value_width, float* logsumexp) {
  Ints strange{};
  float natural[QUERIES];
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    const Floats sum = load(block.sum + lane);
    const Floats share = select(sum == 0.0f, Floats{}, 1.0f / sum);
    for (int j = 0; j < value_width; ++j) {
      float* at = block.context + j * QUERIES + lane;
      const Floats context = block.started ? load(at) * share : Floats{};
      strange |= context * 0.0f != 0.0f;
      store(at, context);
    }
    store(natural + lane, (load(block.highest + lane) + log2(sum)) * LN_2);
  }
  for (int i = 0; logsumexp && i < block.queries; ++i) logsumexp[i] = visible.nothing(i) ? -__builtin_inff() : natural[i];
  return !any(strange);
}

// False where a context is no finite number.
template <typename T, typename Score>
static bool forward_group(const AttentionForward& call, const Group& group, float* room) {
  typedef typename Score::Word Word;
  const int width = (int)call.width, value_width = (int)call.value_width, blocks = group.blocks();
  const Matrix<const T> value(call.value, group.batch, group.kv_head);
  const Matrix<float> context(call.context, group.batch, group.head);
  const bool drops = call.dropout.threshold > 0;

  ForwardBlock block[MOST_BLOCKS];
  Visible visible[MOST_BLOCKS];
  for (int b = 0; b < blocks; ++b)
    visible[b].read(call.bounds, group.batch, group.head, group.first_of(b), group.queries_of(b), (int)call.keys);
  Range ranges[2];
  const int count = reach(visible, blocks, ranges);
  Score score(call, group, ranges, count, LOG2_E, room);
  room += Score::room(call);
  float *scores = room, *weights = room + KEYS * QUERIES;
  room += 2 * KEYS * QUERIES;
  for (int b = 0; b < blocks; ++b) {
    ForwardBlock& one = block[b];
    one.queries = group.queries_of(b), one.lanes = rounded(one.queries), one.started = false;
    one.query = room, one.context = room + width * QUERIES;
    room += (width + value_width) * QUERIES;
    score.pack(group.first_of(b), one.queries, one.query);
    if (drops) one.keep.read(call.dropout, group.batch, group.head, group.first_of(b));
    for (int i = 0; i < QUERIES; ++i) one.highest[i] = -__builtin_inff(), one.sum[i] = 0.0f;
  }

  for (int r = 0; r < count; ++r)
    for (int first = ranges[r].first; first < ranges[r].last; first += KEYS) {
      const int keys = least(KEYS, ranges[r].last - first);
      const Left<Word> key_rows = score.rows(first, keys, room);
      const Left<Word> value_columns = columns_of(value, first, keys, value_width, group.large(), (Word*)(room + KEYS * width));
      for (int b = 0; b < blocks; ++b) {
        ForwardBlock& one = block[b];
        const Range run = visible[b].within(first, first + keys, HELD<Word>);
        if (run.empty()) continue;
        const int length = run.last - run.first, skipped = run.first - first, depth = in_words<Word>(length);
        score.scores({key_rows.data + skipped * key_rows.row, key_rows.row, key_rows.step}, one.query, length, one.lanes, scores);
        if (!visible[b].whole(run)) hide(visible[b], run.first, length, one.lanes, scores);
        online_softmax(one, run.first, length, value_width, drops, scores);
        const Word* weight = over_keys(scores, length, one.lanes, (Word*)weights);
        const Left<Word> left{value_columns.data + in_words<Word>(skipped) * value_columns.step, value_columns.row, value_columns.step};
        if (one.started)
          product<true>(left, weight, QUERIES, value_width, one.lanes, depth, one.context, QUERIES);
        else
          product<false>(left, weight, QUERIES, value_width, one.lanes, depth, one.context, QUERIES);
        one.started = true;
      }
    }

  bool finite = true;
  for (int b = 0; b < blocks; ++b) {
    ForwardBlock& one = block[b];
    const std::int64_t first = group.first_of(b);
    float* logsumexp = !call.logsumexp ? nullptr : call.logsumexp + (group.batch * call.heads + group.head) * call.queries + first;
    finite &= finish(one, visible[b], value_width, logsumexp);
    unpack_columns(one.context, QUERIES, one.queries, value_width, context, first);
  }
  return finite;
}

// Products of whole blocks multiply a weight of zero with what a query may not see, and zero times NaN is NaN. Where a
// context is no finite number, the group is done again a query at a time, which reads what that query sees and nothing else:
// so a NaN reaches exactly the queries that see it.
template <typename T, typename Score>
static void forward_any(const AttentionForward& call, const Group& group, float* room) {
  if (forward_group<T, Score>(call, group, room)) return;
  for (int i = 0; i < group.queries; ++i) forward_group<T, Score>(call, group.query(i), room);
}

}  // namespace regard::REGARD_ISA
