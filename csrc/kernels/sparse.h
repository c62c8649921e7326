// Sparsemax and 1.5-entmax: weights max(x - threshold, 0)^power of scores x, power 1 or 2, that sum to one (Martins and
// Astudillo 2016; Peters et al. 2019), forward and backward.
//
// The threshold needs all scores of a query, so that those of a block are kept, a key a row and a query a lane: O(keys)
// numbers a block. A key whose score is more than 1 below the highest has no weight: those that some query of the block may
// give one, most often few, are gathered, and the rest of the keys take no part in what comes after.
#pragma once

#include "kernels/block.h"

namespace regard::REGARD_ISA {

constexpr int MOST_STEPS = 40;       // of Newton's; a few are enough
constexpr float LOWEST = -2.0f;      // below the highest score: more than 1 below there is no weight
constexpr float PRECISE = 1.2e-7f;   // a step that changes nothing

static inline Floats below(Floats score, Floats highest) {
  const Floats x = score - highest;
  return x < LOWEST ? broadcast(LOWEST) : x;
}

// The scores of a group's blocks, and which keys they are of.
struct SparseScores {
  Range ranges[2];
  int count, total;  // ranges, and keys in them
  Visible visible[MOST_BLOCKS];
  float *query[MOST_BLOCKS], *numbers[MOST_BLOCKS];  // (width, QUERIES) and (total, QUERIES)

  static std::int64_t room(const Attention& call, int queries) {
    return queries * (call.width + call.keys) + KEYS * call.width;
  }

  // Scores times half the power, -inf where a query may not look. `room` is advanced.
  SparseScores(const Attention& call, const Group& group, float*& room) {
    const int width = (int)call.width, blocks = group.blocks();
    const Matrix<const float> rows(call.query, group.batch, group.head), key(call.key, group.batch, group.kv_head);
    for (int b = 0; b < blocks; ++b)
      visible[b].read(call.bounds, group.batch, group.head, group.first_of(b), group.queries_of(b), (int)call.keys);
    count = reach(visible, blocks, ranges);
    total = 0;
    for (int r = 0; r < count; ++r) total += ranges[r].last - ranges[r].first;
    for (int b = 0; b < blocks; ++b) {
      query[b] = room, numbers[b] = room + width * QUERIES;
      room += (width + (std::int64_t)total) * QUERIES;
      pack_columns(rows, group.first_of(b), group.queries_of(b), width, call.power == 1 ? call.scale : 0.5f * call.scale, query[b], QUERIES);
    }
    std::int64_t at = 0;
    for (int r = 0; r < count; ++r)
      for (int first = ranges[r].first; first < ranges[r].last; first += KEYS) {
        const int keys = least(KEYS, ranges[r].last - first);
        const Left<float> tile = rows_of(key, first, keys, width, group.large(), room);
        for (int b = 0; b < blocks; ++b) {
          const int lanes = rounded(group.queries_of(b));
          const Range run = visible[b].within(first, first + keys, 1);
          float* to = numbers[b] + at * QUERIES;
          const int length = run.last - run.first, skipped = run.first - first;
          for (int n = 0; n < keys * QUERIES && length < keys; ++n) to[n] = -__builtin_inff();
          if (run.empty()) continue;
          to += skipped * QUERIES;
          product<false>({tile.data + skipped * tile.row, tile.row, tile.step}, query[b], QUERIES, length, lanes, width, to, QUERIES);
          if (!visible[b].whole(run)) hide(visible[b], run.first, length, lanes, to);
        }
        at += keys;
      }
  }

  // The rows of a block in which some score is as little below its query's highest that it may have a weight: how far, to
  // the front; their keys; and how many they are.
  int near_the_highest(int b, int lanes, const float* highest, int* keys) const {
    float* const rows = numbers[b];
    int held = 0;
    for (int n = 0; n < total; ++n) {
      Ints some{};
      for (int lane = 0; lane < lanes; lane += LANES) {
        const Floats x = below(load(rows + n * QUERIES + lane), load(highest + lane));
        store(rows + held * QUERIES + lane, x);
        some |= ~(x <= -1.0f);  // NaN is, to be seen
      }
      if (any(some)) keys[held++] = key_of(n);
    }
    return held;
  }

  int key_of(int row) const {
    const int first = count > 0 ? ranges[0].last - ranges[0].first : 0;
    return row < first ? ranges[0].first + row : ranges[1].first + row - first;
  }
};

// The highest score of each of some lanes, 0 where there is none.
static inline void find_highest(const float* numbers, int total, float* to) {
  Floats highest = broadcast(-__builtin_inff());
  for (int j = 0; j < total; ++j) highest = larger(load(numbers + j * QUERIES), highest);
  store(to, select(highest == -__builtin_inff(), Floats{}, highest));
}

// The threshold of some lanes, whose scores are as far below the highest as `numbers` say. Newton's steps rise to it from
// below, where the sum of the weights is convex; given its support it is a mean, or the root of a quadratic.
static inline void find_threshold(const float* numbers, int total, int power, float* to) {
  Floats threshold = broadcast(-1.0f);
  for (int step = 0; step < MOST_STEPS; ++step) {
    Floats sum{}, other{};  // and of power 1 how many they are, of power 2 their squares
    for (int j = 0; j < total; ++j) {
      const Floats above = larger(load(numbers + j * QUERIES) - threshold, Floats{});
      sum += above;
      other += power == 1 ? select(above > 0.0f, broadcast(1.0f), Floats{}) : above * above;
    }
    const Floats slope = power == 1 ? other : 2.0f * sum, rest = (power == 1 ? sum : other) - 1.0f;
    const Floats rise = select(rest > 0.0f, rest / slope, Floats{});
    threshold += rise;
    if (!any(rise > PRECISE)) break;
  }
  Floats size{}, sum{};
  for (int j = 0; j < total; ++j) {
    const Floats x = load(numbers + j * QUERIES);
    const Ints in = ~(x <= threshold);  // NaN is, to be seen
    size += select(in, broadcast(1.0f), Floats{}), sum += select(in, x, Floats{});
  }
  size = select(size > 1.0f, size, broadcast(1.0f));
  if (power == 1) {
    threshold = (sum - 1.0f) / size;
  } else {
    const Floats mean = sum / size;
    Floats spread{};
    for (int j = 0; j < total; ++j) {
      const Floats x = load(numbers + j * QUERIES), from = x - mean;
      spread += select(~(x <= threshold), from * from, Floats{});
    }
    const Floats square = (1.0f - spread) / size;
    Floats root;
    for (int lane = 0; lane < LANES; ++lane) root[lane] = square[lane] > 0.0f ? __builtin_sqrtf(square[lane]) : square[lane] * 0.0f;
    threshold = mean - root;
  }
  store(to, threshold);
}

static inline void add_row(const float* from, int padded, float* to) {
  for (int k = 0; k < padded; k += LANES) store(to + k, load(to + k) + load(from + k));
}

static inline void copy_rows(const Matrix<const float>& from, const int* keys, int count, int width, float* to) {
  for (int n = 0; n < count; ++n) pack_rows(from, keys[n], 1, width, to + n * width, width);
}

static std::int64_t sparse_forward_room(const Attention& call, int queries) {
  return SparseScores::room(call, queries) + KEYS * (call.value_width + QUERIES) + call.value_width * QUERIES + call.keys;
}

// `call.logsumexp` holds the thresholds, and behind those of all queries how high the highest score was.
static void sparse_forward_group(const AttentionForward& call, const Group& group, float* room) {
  const int value_width = (int)call.value_width, power = call.power;
  const Matrix<const float> value(call.value, group.batch, group.kv_head);
  const Matrix<float> context(call.context, group.batch, group.head);
  SparseScores scores(call, group, room);
  bool plain = true;
  for (int r = 0; r < scores.count; ++r) plain &= finite(value, scores.ranges[r].first, scores.ranges[r].last, value_width);
  float *values = room, *weights = room + KEYS * value_width, *sums = weights + KEYS * QUERIES;
  int* const keys = (int*)(sums + value_width * QUERIES);
  for (int b = 0; b < group.blocks(); ++b) {
    const std::int64_t first = group.first_of(b), row = (group.batch * call.heads + group.head) * call.queries + first;
    const int queries = group.queries_of(b), lanes = rounded(queries);
    float* const numbers = scores.numbers[b];
    float highest[QUERIES], threshold[QUERIES];
    for (int lane = 0; lane < lanes; lane += LANES) find_highest(numbers + lane, scores.total, highest + lane);
    const int near = scores.near_the_highest(b, lanes, highest, keys);
    for (int lane = 0; lane < lanes; lane += LANES) find_threshold(numbers + lane, near, power, threshold + lane);
    for (int i = 0; i < queries; ++i) {
      call.logsumexp[row + i] = threshold[i];
      call.logsumexp[call.batch * call.heads * call.queries + row + i] = highest[i];
    }
    for (int i = queries; i < lanes; ++i) threshold[i] = 0.0f;  // beyond the queries no weights
    Keep keep;
    if (call.dropout.threshold > 0) keep.read(call.dropout, group.batch, group.head, first);

    for (int n = 0; n < value_width * QUERIES; ++n) sums[n] = 0.0f;
    int held = 0, done = 0;  // rows with a weight, whose keys move to the front
    const auto flush = [&] {
      copy_rows(value, keys + done, held - done, value_width, values);
      product<true>(Left<float>{values, 1, value_width}, weights, QUERIES, value_width, lanes, held - done, sums, QUERIES);
      done = held;
    };
    for (int n = 0; n < near; ++n) {
      Ints some{};
      for (int lane = 0; lane < lanes; lane += LANES) {
        const Floats above = larger(load(numbers + n * QUERIES + lane) - load(threshold + lane), Floats{});
        Floats weight = power == 1 ? above : above * above;
        if (call.dropout.threshold > 0) weight *= keep.factor(lane, keys[n]);
        store(numbers + held * QUERIES + lane, weight), store(weights + (held - done) * QUERIES + lane, weight);
        some |= weight != 0.0f;
      }
      if (!any(some)) continue;
      keys[held++] = keys[n];
      if (held - done == KEYS) flush();
    }
    flush();
    Ints strange{};
    for (int k = 0; k < value_width; ++k)
      for (int lane = 0; lane < lanes; lane += LANES) strange |= load(sums + k * QUERIES + lane) * 0.0f != 0.0f;
    unpack_columns(sums, QUERIES, queries, value_width, context, first);
    // What a query may not see is not to be multiplied with zero; and what it may is, whatever its weight.
    for (int i = 0; (any(strange) || !plain) && i < queries; ++i)
      for (int k = 0; k < value_width; ++k) {
        float sum = 0.0f;
        for (int n = 0; n < held; ++n)
          if (scores.visible[b].sees(i, keys[n])) sum += numbers[n * QUERIES + i] * read(value.at(keys[n], k));
        for (int n = 0; n < scores.total; ++n)
          if (scores.visible[b].sees(i, scores.key_of(n))) sum += 0.0f * read(value.at(scores.key_of(n), k));
        write(context.at(first + i, k), sum);
      }
  }
}

static std::int64_t sparse_backward_room(const AttentionBackward& call, int queries) {
  return SparseScores::room(call, queries) + 3 * QUERIES * call.keys + KEYS * QUERIES +
         (QUERIES + 2 * KEYS) * (call.padded_width + call.padded_value_width) + QUERIES * (call.width + call.value_width);
}

static void sparse_backward_group(const AttentionBackward& call, const Group& group, float* key_gradient, float* value_gradient,
                                  float* room) {
  const int width = (int)call.width, value_width = (int)call.value_width, power = call.power;
  const int padded = (int)call.padded_width, padded_value = (int)call.padded_value_width;
  const Matrix<const float> query(call.query, group.batch, group.head), key(call.key, group.batch, group.kv_head);
  const Matrix<const float> value(call.value, group.batch, group.kv_head), gradient(call.context_gradient, group.batch, group.head);
  const Matrix<float> query_gradient(call.query_gradient, group.batch, group.head);
  SparseScores scores(call, group, room);
  const auto take = [&room](std::int64_t numbers) {
    float* taken = room;
    room += numbers;
    return taken;
  };
  float *changes = take(QUERIES * call.keys), *kept = take(QUERIES * call.keys);
  int* keys = (int*)take(QUERIES * call.keys);
  float *rows = take(QUERIES * padded), *gradient_rows = take(QUERIES * padded_value);
  float *columns = take(QUERIES * value_width), *sums = take(QUERIES * width);
  float *tile = take(KEYS * (padded + padded_value)), *tile_gradient = take(KEYS * (padded + padded_value));
  for (int b = 0; b < group.blocks(); ++b) {
    const std::int64_t first = group.first_of(b), row = (group.batch * call.heads + group.head) * call.queries + first;
    const int queries = group.queries_of(b), lanes = rounded(queries);
    float* const numbers = scores.numbers[b];
    float highest[QUERIES] = {}, threshold[QUERIES];
    for (int i = 0; i < QUERIES; ++i) {
      threshold[i] = i < queries ? call.logsumexp[row + i] : 0.0f;  // beyond the queries no weights
      if (i < queries) highest[i] = call.logsumexp[call.batch * call.heads * call.queries + row + i];
    }
    Keep keep;
    if (call.dropout.threshold > 0) keep.read(call.dropout, group.batch, group.head, first);
    pack_columns(gradient, first, queries, value_width, 1.0f, columns, QUERIES);
    pack_rows(query, first, queries, width, rows, padded);
    pack_rows(gradient, first, queries, value_width, gradient_rows, padded_value);

    // The keys that have a weight, and how far they are above the threshold, to the front.
    const int near = scores.near_the_highest(b, lanes, highest, keys);
    int held = 0;
    for (int n = 0; n < near; ++n) {
      Ints some{};
      for (int lane = 0; lane < lanes; lane += LANES) {
        const Floats above = larger(load(numbers + n * QUERIES + lane) - load(threshold + lane), Floats{});
        store(numbers + held * QUERIES + lane, above);
        some |= above != 0.0f;
      }
      if (any(some)) keys[held++] = keys[n];
    }

    // Gradients of their weights, and the mean of those over the support, by the slope of each weight.
    Floats slopes[QUERIES / LANES]{}, means[QUERIES / LANES]{};
    for (int at = 0; at < held; at += KEYS) {
      const int count = least(KEYS, held - at);
      copy_rows(value, keys + at, count, value_width, tile);
      float* change = changes + at * QUERIES;
      product<false>(Left<float>{tile, value_width, 1}, columns, QUERIES, count, lanes, value_width, change, QUERIES);
      for (int n = at; n < at + count; ++n)
        for (int lane = 0; lane < lanes; lane += LANES) {
          const Floats factor = call.dropout.threshold > 0 ? keep.factor(lane, keys[n]) : broadcast(1.0f);
          const Floats above = load(numbers + n * QUERIES + lane), slope = power == 1 ? select(above > 0.0f, broadcast(1.0f), Floats{}) : above;
          const Floats of_weight = load(changes + n * QUERIES + lane) * factor;
          store(changes + n * QUERIES + lane, of_weight);
          store(kept + n * QUERIES + lane, (power == 1 ? above : above * above) * factor);
          slopes[lane / LANES] += slope, means[lane / LANES] += slope * of_weight;
        }
    }
    for (int v = 0; v < lanes / LANES; ++v) means[v] /= select(slopes[v] > 0.0f, slopes[v], broadcast(1.0f));

    for (int n = 0; n < width * QUERIES; ++n) sums[n] = 0.0f;
    for (int at = 0; at < held; at += KEYS) {
      const int count = least(KEYS, held - at);
      for (int n = at; n < at + count; ++n)
        for (int lane = 0; lane < lanes; lane += LANES) {
          float* change = changes + n * QUERIES + lane;
          const Floats above = load(numbers + n * QUERIES + lane), slope = power == 1 ? select(above > 0.0f, broadcast(1.0f), Floats{}) : above;
          store(change, slope * (load(change) - means[lane / LANES]) * call.scale);
        }
      copy_rows(key, keys + at, count, width, tile);
      product<true>(Left<float>{tile, 1, width}, changes + at * QUERIES, QUERIES, width, lanes, count, sums, QUERIES);
      product<false>(Left<float>{changes + at * QUERIES, QUERIES, 1}, rows, padded, count, padded, queries, tile_gradient, padded);
      for (int n = 0; n < count; ++n) add_row(tile_gradient + n * padded, padded, key_gradient + (std::int64_t)keys[at + n] * padded);
      product<false>(Left<float>{kept + at * QUERIES, QUERIES, 1}, gradient_rows, padded_value, count, padded_value, queries, tile_gradient,
                     padded_value);
      for (int n = 0; n < count; ++n)
        add_row(tile_gradient + n * padded_value, padded_value, value_gradient + (std::int64_t)keys[at + n] * padded_value);
    }
    unpack_columns(sums, QUERIES, queries, width, query_gradient, first);
  }
}

// The same, a pair at a time, where something is NaN or infinite: only what has a weight is read. `room`: keys numbers.
static void exact_sparse_backward(const AttentionBackward& call, const Group& group, float* key_gradient, float* value_gradient,
                                  float* room) {
  const Matrix<const float> query(call.query, group.batch, group.head), key(call.key, group.batch, group.kv_head);
  const Matrix<const float> value(call.value, group.batch, group.kv_head), gradient(call.context_gradient, group.batch, group.head);
  const Matrix<float> query_gradient(call.query_gradient, group.batch, group.head);
  const float scale = call.power == 1 ? call.scale : 0.5f * call.scale;
  float* const changes = room + call.keys;
  for (std::int64_t i = group.first; i < group.first + group.queries; ++i) {
    const std::int64_t row = (group.batch * call.heads + group.head) * call.queries + i;
    const float threshold = call.logsumexp[row], highest = call.logsumexp[call.batch * call.heads * call.queries + row];
    Visible visible;
    Keep keep;
    visible.read(call.bounds, group.batch, group.head, i, 1, (int)call.keys);
    keep.read(call.dropout, group.batch, group.head, i);
    float slopes = 0.0f, mean = 0.0f;
    for (int j = 0; j < call.keys; ++j) {
      room[j] = 0.0f;
      if (!visible.sees(0, j)) continue;
      float score = 0.0f, change = 0.0f;
      for (int k = 0; k < call.width; ++k) score += read(query.at(i, k)) * scale * read(key.at(j, k));
      const float above = score - highest - threshold;
      if (above <= 0.0f) continue;
      for (int k = 0; k < call.value_width; ++k) change += read(gradient.at(i, k)) * read(value.at(j, k));
      if (call.dropout.threshold > 0) change *= keep.factor_of(0, j);
      room[j] = above, changes[j] = change;
      const float slope = call.power == 1 ? 1.0f : above;
      slopes += slope, mean += slope * change;
    }
    mean /= slopes == 0.0f ? 1.0f : slopes;
    for (int k = 0; k < call.width; ++k) write(query_gradient.at(i, k), 0.0f);
    for (int j = 0; j < call.keys; ++j) {
      const float above = room[j];
      if (above == 0.0f) continue;
      const float factor = call.dropout.threshold > 0 ? keep.factor_of(0, j) : 1.0f;
      const float weight = (call.power == 1 ? above : above * above) * factor;
      const float change = (call.power == 1 ? 1.0f : above) * (changes[j] - mean) * call.scale;
      for (int k = 0; k < call.value_width; ++k) value_gradient[j * call.padded_value_width + k] += weight * read(gradient.at(i, k));
      for (int k = 0; k < call.width; ++k) {
        key_gradient[j * call.padded_width + k] += change * read(query.at(i, k));
        write(query_gradient.at(i, k), read(query_gradient.at(i, k)) + change * read(key.at(j, k)));
      }
    }
  }
}

}  // namespace regard::REGARD_ISA
