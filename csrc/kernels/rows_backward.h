// Attention whose rows of weights are kept: the gradients.
#pragma once

#include "kernels/rows.h"

namespace regard::REGARD_ISA {

static inline void add_row(const float* from, int padded, float* to) {
  for (int k = 0; k < padded; k += LANES) store(to + k, load(to + k) + load(from + k));
}

// The recorded log-sum-exps that have a gradient.
template <typename Use>
static void each_log_sum_exp(const Rows& rows, const Use& use) {
  for (int o = 0; o < rows.observation_count; ++o)
    if (rows.observations[o].kind == Observation::log_sum_exp && rows.observations[o].gradient) use(rows.observations[o]);
}
static inline bool derives_log_sum_exp(const Rows& rows) {
  bool found = false;
  each_log_sum_exp(rows, [&](const Observation&) { found = true; });
  return found;
}

// What they add to the gradients of the scores.
static inline void log_sum_exp_gradient(const Attention& call, const Block& block, const Kept& kept, float* to) {
  const std::int64_t place = (block.batch * call.heads + block.head) * call.queries + block.first;
  for (int lane = 0; lane < block.lanes; lane += LANES) {
    Floats given{};
    each_log_sum_exp(*call.rows, [&](const Observation& one) {
      for (int l = 0; l < LANES && lane + l < block.queries; ++l) given[l] += one.gradient[place + lane + l];
    });
    const float* from = kept.numbers + lane;
    const Floats found = Observer::log_sum_exp(from, kept.count, highest_of(from, kept.count));
    const Floats base = select(found == -__builtin_inff(), Floats{}, found);
    for (int n = 0; n < kept.count; ++n)
      store(to + n * QUERIES + lane, given * exp2((load(from + n * QUERIES) - base) * LOG2_E));
  }
}

static inline bool caps(const Attention& call) { return call.rows->cap > 0.0f; }

template <typename Score>
static std::int64_t rows_backward_room(const AttentionBackward& call, int queries) {
  return Score::room(call) + Terms::room(*call.rows) + kept_room(call, queries, caps(call)) + Order::room(call) +
         QUERIES * ((derives_log_sum_exp(*call.rows) ? 2 : 1) * call.keys + LANES) +
         QUERIES * (call.padded_width + call.padded_value_width + call.value_width + call.width) +
         KEYS * (2 * call.width + call.value_width + call.padded_width + call.padded_value_width);
}

template <typename Score>
static void rows_backward_group(const AttentionBackward& call, const Group& group, int part, bool exact, Sums key_gradient,
                                Sums value_gradient, float* weight_gradient, float* room) {
  const Rows& rows = *call.rows;
  const int width = (int)call.width, value_width = (int)call.value_width;
  const int padded = (int)call.padded_width, padded_value = (int)call.padded_value_width;
  const Matrix<const float> value(call.value, group.batch, group.kv_head), gradient(call.context_gradient, group.batch, group.head);
  const Matrix<float> query_gradient(call.query_gradient, group.batch, group.head);
  const bool drops = call.dropout.threshold > 0, of_log_sum_exp = derives_log_sum_exp(rows);
  const auto take = [&room](std::int64_t numbers) {
    float* taken = room;
    room += numbers;
    return taken;
  };
  const Reached reached(call, group);
  const std::int64_t all = (std::int64_t)reached.total * QUERIES;
  Score score(call, group, reached.ranges, reached.count, 1.0f, take(Score::room(call)));
  const Terms terms(rows, group, part, take(Terms::room(rows)));
  const Normalizer normalizer(rows, group.head, of_log_sum_exp);
  KeptBlock blocks[MOST_BLOCKS];
  for (int b = 0; b < group.blocks(); ++b)
    blocks[b] = {take(width * QUERIES), take(all), caps(call) ? take(all) : nullptr};
  keep_scores(group, reached, score, terms, blocks, room);

  const Order order(call, take(Order::room(call)));
  float *changes = take(all + LANES * QUERIES), *of_scores = of_log_sum_exp ? take(all) : nullptr;
  float *query_rows = take(QUERIES * padded), *gradient_rows = take(QUERIES * padded_value);
  float *columns = take(QUERIES * value_width), *sums = take(QUERIES * width);
  float *key_room = take(KEYS * width), *column_room = take(KEYS * width), *value_room = take(KEYS * value_width);
  float *key_tile = take(KEYS * padded), *value_tile = take(KEYS * padded_value);
  double of_number = 0.0;
  for (int b = 0; b < group.blocks(); ++b) {
    const Block block(group, b);
    Keep keep;
    if (drops) keep.read(call.dropout, block.batch, block.head, block.first);
    score.pack_more(block.first, block.queries, query_rows, sums);
    pack_columns(gradient, block.first, block.queries, value_width, 1.0f, columns, QUERIES);
    pack_rows(gradient, block.first, block.queries, value_width, gradient_rows, padded_value);
    Kept kept = order.begin(reached, terms, block, blocks[b].numbers, exact);
    if (of_log_sum_exp) log_sum_exp_gradient(call, block, kept, of_scores);
    PerQuery per_query;
    normalizer.weigh(block, kept, per_query);
    order.end(reached, kept);

    // The gradients of the weights, and by what they are averaged.
    Ints in[QUERIES / LANES];
    for (int v = 0; v < block.lanes / LANES; ++v) in[v] = block.in(v * LANES);
    Floats totals[QUERIES / LANES]{}, shares[QUERIES / LANES]{}, means[QUERIES / LANES]{};
    for (int at = 0; at < kept.count; at += KEYS) {
      const Tile tile = Order::tile(order.keys, kept, at);
      float* const change = changes + at * QUERIES;
      const Left<float> values = rows_of(value, tile, value_width, value_room);
      product<false>(values, columns, QUERIES, tile.count, block.lanes, value_width, change, QUERIES);
      for (int n = 0; n < tile.count && drops; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          float* number = change + n * QUERIES + lane;
          store(number, load(number) * keep.factor(lane, tile.keys[n]));
        }
      add_observed(call, block, tile, change);
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        const int v = lane / LANES;
        Floats total = totals[v], share = shares[v], mean = means[v];
        for (int n = 0; n < tile.count; ++n) {
          const Floats weight = load(tile.numbers + n * QUERIES + lane);
          const Floats one = normalizer.share(weight, normalizer.slope(weight, per_query.sum[v]));
          total += weight, share += one, mean += one * load(change + n * QUERIES + lane);
        }
        totals[v] = total, shares[v] = share, means[v] = mean;
      }
    }
    for (int v = 0; v < block.lanes / LANES; ++v) {
      if (normalizer.averages()) means[v] /= select(shares[v] > 0.0f, shares[v], broadcast(1.0f));
      const Floats of_sink = (totals[v] - 1.0f) * means[v];
      for (int l = 0; l < LANES && rows.normalizer == Rows::softmax && v * LANES + l < block.queries; ++l) of_number += of_sink[l];
    }

    // The gradients of the scores, and from those all others.
    bool started = false;
    for (int at = 0; at < kept.count; at += KEYS) {
      const Tile tile = Order::tile(order.keys, kept, at);
      float* const change = changes + at * QUERIES;
      Floats of_bias{};
      for (int n = 0; n < tile.count; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          float *number = tile.numbers + n * QUERIES + lane, *at_change = change + n * QUERIES + lane;
          const int v = lane / LANES;
          const Floats weight = load(number);
          Floats found = normalizer.slope(weight, per_query.sum[v]) * (load(at_change) - means[v]);
          if (rows.normalizer == Rows::sum) {  // the one whose weights of zero have gradients, but for those that are not seen
            Ints seen = terms.allow(block, lane, tile.keys[n]);
            if (reached.visible[b].count > 0) seen &= reached.visible[b].see(lane, tile.keys[n]);
            found = select(seen, found, Floats{});
          }
          found = select(in[v], found, Floats{});
          of_bias += found;
          if (of_log_sum_exp) found += load(of_scores + (at + n) * QUERIES + lane);
          store(at_change, found);
          if (drops) store(number, weight * keep.factor(lane, tile.keys[n]));
        }
      for (int l = 0; l < LANES && rows.normalizer == Rows::sigmoid; ++l) of_number += of_bias[l];
      terms.add_gradients(block, {tile.keys, tile.count, change});
      const float factor = score.factor();
      for (int n = 0; n < tile.count; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          float* at_change = change + n * QUERIES + lane;
          Floats found = load(at_change) * factor;
          if (blocks[b].slopes) found *= load(blocks[b].slopes + (std::int64_t)kept.rows[at + n] * QUERIES + lane);
          store(at_change, found);
        }
      const bool direct = tile.together();
      const Sums of_values = direct ? value_gradient.from(tile.keys[0]) : Sums{value_tile, padded_value};
      const Sums of_keys = direct ? key_gradient.from(tile.keys[0]) : Sums{key_tile, padded};
      for (int n = 0; n < tile.count * padded_value && !direct; ++n) value_tile[n] = 0.0f;
      for (int n = 0; n < tile.count * padded && !direct; ++n) key_tile[n] = 0.0f;
      product<true>(Left<float>{tile.numbers, QUERIES, 1}, gradient_rows, padded_value, tile.count, padded_value, block.queries,
                    of_values.data, of_values.row);
      const Left<float> key_columns = score.columns(score.rows(tile, key_room), tile.keys[0], tile.count, column_room);
      score.add_gradients(change, key_columns, blocks[b].query, query_rows, block.queries, tile.count, block.lanes, started, sums, of_keys,
                          nullptr);
      score.finish_tile(tile.count, of_keys);
      started = true;
      for (int n = 0; n < tile.count && !direct; ++n) {
        add_row(value_tile + n * padded_value, padded_value, value_gradient.at(tile.keys[n]));
        add_row(key_tile + n * padded, padded, key_gradient.at(tile.keys[n]));
      }
    }
    if (!started)
      for (int n = 0; n < width * QUERIES; ++n) sums[n] = 0.0f;
    score.finish_block(sums);
    unpack_columns(sums, QUERIES, block.queries, width, query_gradient, block.first);
  }
  score.finish_group(weight_gradient);
  terms.finish_group();
  if (rows.number_gradient) rows.number_gradient[(group.batch * call.heads + group.head) * call.parts + part] += (float)of_number;
}

}  // namespace regard::REGARD_ISA
